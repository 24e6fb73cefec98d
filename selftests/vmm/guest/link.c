// SPDX-License-Identifier: GPL-2.0
/*
 * What busybox has no program for, in the guest of vmm_qemu_test and beside it:
 *
 *   link frames FROM TO     standard input leaves by one network interface, in frames,
 *                           and what comes in by the other one is standard output
 *   link vsock CID PORT     connect to it, send standard input, then receive
 *   link vsock-listen PORT  the other end: receive from one who connects, then send
 *   link kexec KERNEL INITRD CMDLINE   start it
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>

#define PROTOCOL	0x88b5		/* for experiments */
#define TRIES		20
#define PATIENCE	1000		/* ms per try */

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_all(int fd, const char *buf, size_t len)
{
	ssize_t n;

	for (; len; buf += n, len -= n) {
		n = write(fd, buf, len);
		check(n > 0, "write");
	}
}

static void copy(int from, int to)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		write_all(to, buf, n);
	check(!n, "read");
}

/* --- frames */

struct frame {
	struct ethhdr eth;
	uint32_t number;
	uint32_t len;
	char data[1400];
} __attribute__((packed));

static int packets(const char *name, unsigned char *mac)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PROTOCOL),
		.sll_ifindex = if_nametoindex(name),
	};
	int fd = socket(AF_PACKET, SOCK_RAW, htons(PROTOCOL));
	struct ifreq req = {};

	check(fd >= 0 && addr.sll_ifindex, name);
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	check(!ioctl(fd, SIOCGIFHWADDR, &req), "SIOCGIFHWADDR");
	memcpy(mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	check(!ioctl(fd, SIOCGIFFLAGS, &req), "SIOCGIFFLAGS");
	req.ifr_flags |= IFF_UP;
	check(!ioctl(fd, SIOCSIFFLAGS, &req), "SIOCSIFFLAGS");
	check(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	return fd;
}

/* One frame after another: each has to arrive before the next one leaves. */
static void frames(const char *from, const char *to)
{
	static struct frame out, in;
	struct pollfd fds = { .events = POLLIN };
	unsigned int tries;
	uint32_t number;
	bool came;
	ssize_t n;
	int tx;

	tx = packets(from, out.eth.h_source);
	fds.fd = packets(to, out.eth.h_dest);
	out.eth.h_proto = htons(PROTOCOL);
	for (number = 1; (n = read(STDIN_FILENO, out.data, sizeof(out.data))) > 0; number++) {
		out.number = number;
		out.len = n;
		for (tries = 0, came = false; !came && tries < TRIES; tries++) {
			n = offsetof(struct frame, data) + out.len;
			check(write(tx, &out, n) == n || errno == ENETDOWN, "send");
			while (!came && poll(&fds, 1, PATIENCE) == 1) {
				n = read(fds.fd, &in, sizeof(in));
				came = n >= (ssize_t)offsetof(struct frame, data) && in.number == number &&
				       in.len == out.len;
			}
		}
		errno = ETIMEDOUT;
		check(came, "receive");
		write_all(STDOUT_FILENO, in.data, in.len);
	}
	check(!n, "read");
}

/* --- vsock */

static void vsock(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = cid,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	check(fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)), "vsock");
	copy(STDIN_FILENO, fd);
	shutdown(fd, SHUT_WR);
	copy(fd, STDOUT_FILENO);
}

static void vsock_listen(unsigned int port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	check(fd >= 0 && !bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 1),
	      "vsock");
	fd = accept(fd, NULL, NULL);
	check(fd >= 0, "accept");
	copy(fd, STDOUT_FILENO);
	copy(STDIN_FILENO, fd);
	shutdown(fd, SHUT_WR);
	/* Data that was not fetched yet is lost with the socket. */
	copy(fd, STDOUT_FILENO);
}

static void kexec(const char *kernel, const char *initrd, const char *cmdline)
{
	int kernel_fd = open(kernel, O_RDONLY), initrd_fd = open(initrd, O_RDONLY);

	check(kernel_fd >= 0 && initrd_fd >= 0, "open");
	check(!syscall(SYS_kexec_file_load, kernel_fd, initrd_fd, strlen(cmdline) + 1, cmdline, 0),
	      "kexec_file_load");
	reboot(RB_KEXEC);
	check(false, "kexec");
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "frames"))
		frames(argv[2], argv[3]);
	else if (argc == 4 && !strcmp(argv[1], "vsock"))
		vsock(atoi(argv[2]), atoi(argv[3]));
	else if (argc == 3 && !strcmp(argv[1], "vsock-listen"))
		vsock_listen(atoi(argv[2]));
	else if (argc == 5 && !strcmp(argv[1], "kexec"))
		kexec(argv[2], argv[3], argv[4]);
	else {
		fprintf(stderr, "Usage: link frames FROM TO | vsock CID PORT | vsock-listen PORT | kexec KERNEL INITRD CMDLINE\n");
		return 2;
	}
	return 0;
}
