// SPDX-License-Identifier: GPL-2.0
/*
 * What I/O from and to a mapping of memory without a direct map does: it works, with
 * the right contents, or fails with an error which is part of the documentation.
 *
 * Usage: ndm_io_test [DOCUMENTATION]
 *
 * Prints a line per operation.  All of them have to work on a guest_memfd that has a
 * direct map, or else the test doesn't test what it's meant to.  With the name of
 * guest-memfd-no-direct-map.rst, the table there must say the same.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/udmabuf.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>

#include "ndm.h"

#define SIZE		MIB(2)
#define LEN		(4 * NDM_PAGE)
#define DISK		"/dev/ram0"
#define WRONG		-1	/* contents */

/* Rings of vhost, and what they lead to, in the memory under test. */
#define RING(n)		((n) * 4 * NDM_PAGE)
#define DESC		0
#define AVAIL		NDM_PAGE
#define USED		(2 * NDM_PAGE)
#define BUFFERS		MIB(1)
#define ENTRIES		8

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY	60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY	0x4000000
#endif

static struct ndm_file file;
static char *mem;		/* the memory under test */
static char other[LEN];		/* ordinary memory */

/* A prerequisite that is missing is no result. */
#define must(cond)							\
({									\
	__typeof__(cond) cond_ = (cond);				\
									\
	if (!cond_) {							\
		printf("FAILED: line %d: %s: %s\n", __LINE__, #cond, strerror(errno)); \
		exit(1);						\
	}								\
	cond_;								\
})

/* 0 or errno of a system call that shall do LEN bytes. */
static int done(ssize_t ret, ssize_t len)
{
	return ret < 0 ? errno : ret == len ? 0 : WRONG;
}

static void fill(char *buf, char c)
{
	memset(buf, c, LEN);
}

static int right(const char *buf, char c)
{
	size_t i;

	for (i = 0; i < LEN; i++) {
		if (buf[i] != c)
			return WRONG;
	}
	return 0;
}

/* --- files */

static int file_write(int how)
{
	int fd = open(DISK, O_RDWR | O_CLOEXEC | how), r;

	must(fd >= 0);
	fill(mem, 'w');
	r = done(pwrite(fd, mem, LEN, 0), LEN);
	close(fd);
	fd = open(DISK, O_RDONLY | O_CLOEXEC);
	if (!r)
		r = done(pread(fd, other, LEN, 0), LEN) ?: right(other, 'w');
	close(fd);
	return r;
}

static int file_read(int how)
{
	int fd = open(DISK, O_RDWR | O_CLOEXEC), r;

	must(fd >= 0);
	fill(other, 'r');
	must(pwrite(fd, other, LEN, 0) == (ssize_t)LEN);
	must(!fsync(fd));
	close(fd);
	fd = open(DISK, O_RDWR | O_CLOEXEC | how);
	must(fd >= 0);
	fill(mem, 0);
	r = done(pread(fd, mem, LEN, 0), LEN) ?: right(mem, 'r');
	close(fd);
	return r;
}

static int buffered_write(void) { return file_write(0); }
static int buffered_read(void) { return file_read(0); }
static int direct_write(void) { return file_write(O_DIRECT); }
static int direct_read(void) { return file_read(O_DIRECT); }

static int tmpfs(void)
{
	int fd = memfd_create("io", MFD_CLOEXEC), r;

	must(fd >= 0);
	fill(mem, 't');
	r = done(pwrite(fd, mem, LEN, 0), LEN);
	fill(mem, 0);
	r = r ?: done(pread(fd, mem, LEN, 0), LEN) ?: right(mem, 't');
	close(fd);
	return r;
}

/* --- asynchronous */

static int aio(int how)
{
	int fd = open(DISK, O_RDWR | O_CLOEXEC | how), r;
	aio_context_t context = 0;
	struct io_event event;
	struct iocb iocb = {}, *iocbs[] = { &iocb };

	must(fd >= 0);
	must(!syscall(SYS_io_setup, 1, &context));
	fill(mem, 'a');
	iocb.aio_fildes = fd;
	iocb.aio_lio_opcode = IOCB_CMD_PWRITE;
	iocb.aio_buf = (uintptr_t)mem;
	iocb.aio_nbytes = LEN;
	r = syscall(SYS_io_submit, context, 1, iocbs) == 1 ? 0 : errno;
	if (!r) {
		must(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
		r = event.res < 0 ? -event.res : event.res == (long)LEN ? 0 : WRONG;
	}
	syscall(SYS_io_destroy, context);
	close(fd);
	return r;
}

static int aio_buffered(void) { return aio(0); }
static int aio_direct(void) { return aio(O_DIRECT); }

struct ring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static void ring_open(struct ring *ring)
{
	size_t sq, cq;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 4, &ring->params);
	must(ring->fd >= 0);
	sq = ring->params.sq_off.array + ring->params.sq_entries * 4;
	cq = ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe);
	ring->sq = mmap(NULL, sq, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, cq, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, ring->params.sq_entries * sizeof(struct io_uring_sqe),
			  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	must(ring->sq != MAP_FAILED && ring->cq != MAP_FAILED && ring->sqes != MAP_FAILED);
}

static int ring_do(struct ring *ring, const struct io_uring_sqe *sqe)
{
	unsigned int *tail = (unsigned int *)(ring->sq + ring->params.sq_off.tail);
	unsigned int *head = (unsigned int *)(ring->cq + ring->params.cq_off.head);
	unsigned int mask = *(unsigned int *)(ring->sq + ring->params.sq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(ring->cq + ring->params.cq_off.cqes);
	unsigned int cq_mask = *(unsigned int *)(ring->cq + ring->params.cq_off.ring_mask);
	int res;

	ring->sqes[*tail & mask] = *sqe;
	((unsigned int *)(ring->sq + ring->params.sq_off.array))[*tail & mask] = *tail & mask;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	res = cqes[*head & cq_mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

static int uring(int how, bool write)
{
	int fd = open(DISK, O_RDWR | O_CLOEXEC | how), res;
	struct io_uring_sqe sqe = {
		.opcode = write ? IORING_OP_WRITE : IORING_OP_READ,
		.fd = fd,
		.addr = (uintptr_t)mem,
		.len = LEN,
	};
	struct ring ring;
	int plain = open(DISK, O_RDWR | O_CLOEXEC);

	must(fd >= 0 && plain >= 0);
	fill(other, 'd');
	must(pwrite(plain, other, LEN, 0) == (ssize_t)LEN && !fsync(plain));
	ring_open(&ring);
	fill(mem, 'u');
	res = ring_do(&ring, &sqe);
	close(ring.fd);
	close(fd);
	if (write)
		must(pread(plain, other, LEN, 0) == (ssize_t)LEN);
	close(plain);
	if (res != (int)LEN)
		return res < 0 ? -res : WRONG;
	return write ? right(other, 'u') : right(mem, 'd');
}

static int uring_write(void) { return uring(0, true); }
static int uring_read(void) { return uring(0, false); }
static int uring_direct_write(void) { return uring(O_DIRECT, true); }
static int uring_direct_read(void) { return uring(O_DIRECT, false); }

static int uring_register(void)
{
	struct iovec iov = { mem, LEN };
	struct ring ring;
	int r;

	ring_open(&ring);
	r = syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1) ? errno : 0;
	if (!r)
		syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	close(ring.fd);
	return r;
}

/* --- pipes */

static int pipe_copy(void)
{
	int fds[2], r;

	must(!pipe(fds));
	fill(mem, 'p');
	r = done(write(fds[1], mem, LEN), LEN);
	fill(mem, 0);
	r = r ?: done(read(fds[0], mem, LEN), LEN) ?: right(mem, 'p');
	close(fds[0]);
	close(fds[1]);
	return r;
}

static int vmsplice_to(void)
{
	struct iovec iov = { mem, LEN };
	int fds[2], r;

	must(!pipe(fds));
	r = done(vmsplice(fds[1], &iov, 1, 0), LEN);
	close(fds[0]);
	close(fds[1]);
	return r;
}

/* From the file itself, not its mapping; on no guest_memfd. */
static int sendfile_from(void)
{
	int fd = memfd_create("io", MFD_CLOEXEC), r;

	must(fd >= 0);
	r = done(sendfile(fd, file.fd, NULL, LEN), LEN);
	close(fd);
	return r;
}

/* --- sockets */

static void tcp_pair(int sock[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(fd >= 0 && !bind(fd, (void *)&addr, len) && !listen(fd, 1) &&
	     !getsockname(fd, (void *)&addr, &len));
	sock[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(!connect(sock[0], (void *)&addr, len));
	sock[1] = accept(fd, NULL, NULL);
	must(sock[1] >= 0);
	close(fd);
}

/* By the kernel's loopback of vsock. */
static void vsock_pair(int sock[2])
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = VMADDR_PORT_ANY,
	};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	must(fd >= 0 && !bind(fd, (void *)&addr, len) && !listen(fd, 1) &&
	     !getsockname(fd, (void *)&addr, &len));
	addr.svm_cid = VMADDR_CID_LOCAL;
	sock[0] = socket(AF_VSOCK, SOCK_STREAM, 0);
	must(!connect(sock[0], (void *)&addr, len));
	sock[1] = accept(fd, NULL, NULL);
	must(sock[1] >= 0);
	close(fd);
}

static int send_and_receive(int sock[2], int how)
{
	struct timeval patience = { NDM_PATIENCE };
	int one = 1, r;

	setsockopt(sock[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (how & MSG_ZEROCOPY)
		must(!setsockopt(sock[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
	fill(mem, 's');
	r = done(send(sock[0], mem, LEN, how), LEN);
	/* What is on its way by reference can be received into other memory only. */
	fill(other, 0);
	if (!r && how & MSG_ZEROCOPY)
		r = done(recv(sock[1], other, LEN, MSG_WAITALL), LEN) ?: right(other, 's');
	else if (!r) {
		/* What was sent is a copy. */
		fill(mem, 0);
		r = done(recv(sock[1], mem, LEN, MSG_WAITALL), LEN) ?: right(mem, 's');
	}
	close(sock[0]);
	close(sock[1]);
	return r;
}

static int tcp(void)
{
	int sock[2];

	tcp_pair(sock);
	return send_and_receive(sock, 0);
}

static int tcp_zerocopy(void)
{
	int sock[2];

	tcp_pair(sock);
	return send_and_receive(sock, MSG_ZEROCOPY);
}

static int vsock(void)
{
	int sock[2];

	vsock_pair(sock);
	return send_and_receive(sock, 0);
}

static int vsock_zerocopy(void)
{
	int sock[2];

	vsock_pair(sock);
	return send_and_receive(sock, MSG_ZEROCOPY);
}

static int unix_socket(void)
{
	int sock[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	return send_and_receive(sock, 0);
}

static int uring_send_zc(void)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_SEND_ZC,
		.addr = (uintptr_t)mem,
		.len = LEN,
	};
	struct ring ring;
	int sock[2], res;

	tcp_pair(sock);
	ring_open(&ring);
	fill(mem, 'z');
	sqe.fd = sock[0];
	res = ring_do(&ring, &sqe);
	close(ring.fd);
	close(sock[0]);
	close(sock[1]);
	return res < 0 ? -res : res == (int)LEN ? 0 : WRONG;
}

/* --- network: a tap device, and a peer that only exists in frames */

#define TAP_IP		0x0a620001	/* 10.98.0.1 */
#define PEER_IP		0x0a620002
#define PORT		4000
static const unsigned char peer_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	char data[64];
} __attribute__((packed));

static struct {
	int fd, udp;
	unsigned char mac[ETH_ALEN];
} tap;

static void set_in(struct sockaddr *addr, uint32_t ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip) };

	memcpy(addr, &in, sizeof(in));
}

static void tap_open(void)
{
	struct ifreq req = { .ifr_name = "ndmio", .ifr_flags = IFF_TAP | IFF_NO_PI };
	struct timeval patience = { NDM_PATIENCE };
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(TAP_IP),
	};
	struct arpreq arp = { .arp_flags = ATF_PERM | ATF_COM, .arp_dev = "ndmio" };
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	tap.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	must(tap.fd >= 0 && !ioctl(tap.fd, TUNSETIFF, &req));
	must(!ioctl(s, SIOCGIFHWADDR, &req));
	memcpy(tap.mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	set_in(&req.ifr_addr, TAP_IP);
	must(!ioctl(s, SIOCSIFADDR, &req));
	set_in(&req.ifr_netmask, 0xffffff00);
	must(!ioctl(s, SIOCSIFNETMASK, &req));
	req.ifr_flags = IFF_UP;
	must(!ioctl(s, SIOCSIFFLAGS, &req));
	set_in(&arp.arp_pa, PEER_IP);
	arp.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(arp.arp_ha.sa_data, peer_mac, ETH_ALEN);
	must(!ioctl(s, SIOCSARP, &arp));
	must(!bind(s, (void *)&addr, sizeof(addr)));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	tap.udp = s;
}

static void tap_close(void)
{
	close(tap.fd);
	close(tap.udp);
}

static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *byte = data;
	uint32_t sum = 0;

	for (; len; len -= 2, byte += 2)
		sum += byte[0] << 8 | byte[1];
	sum = (sum & 0xffff) + (sum >> 16);
	return htons(~(sum + (sum >> 16)));
}

/* A datagram of the peer's. */
static void make_frame(char *to)
{
	struct frame f = {
		.eth.h_proto = htons(ETH_P_IP),
		.ip = {
			.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
			.tot_len = htons(sizeof(f) - sizeof(f.eth)),
			.saddr = htonl(PEER_IP), .daddr = htonl(TAP_IP),
		},
		.udp = {
			.source = htons(PORT), .dest = htons(PORT),
			.len = htons(sizeof(f.udp) + sizeof(f.data)),
		},
		.data = "by the guest's network",
	};

	memcpy(f.eth.h_dest, tap.mac, ETH_ALEN);
	memcpy(f.eth.h_source, peer_mac, ETH_ALEN);
	f.ip.check = checksum(&f.ip, sizeof(f.ip));
	memcpy(to, &f, sizeof(f));
}

static int came_in(void)
{
	char data[64] = "";

	return recv(tap.udp, data, sizeof(data), 0) == sizeof(data) &&
	       !strcmp(data, "by the guest's network") ? 0 : WRONG;
}

static void send_to_peer(const char *text)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(PEER_IP),
	};

	must(sendto(tap.udp, text, strlen(text) + 1, 0, (void *)&addr, sizeof(addr)) > 0);
}

/* Does the frame that went to the peer hold that? */
static int went_out(const char *data, size_t len, const char *text)
{
	return memmem(data, len, text, strlen(text) + 1) ? 0 : WRONG;
}

static int tap_write(void)
{
	int r;

	tap_open();
	make_frame(mem);
	r = done(write(tap.fd, mem, sizeof(struct frame)), sizeof(struct frame)) ?: came_in();
	tap_close();
	return r;
}

static int tap_read(void)
{
	struct pollfd fds = { .events = POLLIN };
	int r = WRONG, tries;
	ssize_t len;

	tap_open();
	fds.fd = tap.fd;
	send_to_peer("to the guest");
	/* Others send frames of their own. */
	for (tries = 0; r == WRONG && tries < 50 && poll(&fds, 1, 1000 * NDM_PATIENCE) == 1; tries++) {
		len = read(tap.fd, mem, LEN);
		r = len < 0 ? errno : went_out(mem, len, "to the guest");
	}
	tap_close();
	return r;
}

/* --- vhost: the kernel reads rings and buffers on its own */

struct vhost {
	int fd;
	struct {
		int kick, call;
		struct vring_desc *desc;
		struct vring_avail *avail;
		volatile struct vring_used *used;
		uint16_t seen;
	} ring[2];
};

static void vhost_open(struct vhost *vhost, const char *path)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region;
	} table = {
		.head.nregions = 1,
		.region = { .memory_size = SIZE, .userspace_addr = (uintptr_t)mem },
	};
	uint64_t features;
	unsigned int i;

	memset(mem, 0, SIZE);
	vhost->fd = open(path, O_RDWR | O_CLOEXEC);
	must(vhost->fd >= 0);
	must(!ioctl(vhost->fd, VHOST_SET_OWNER));
	must(!ioctl(vhost->fd, VHOST_GET_FEATURES, &features));
	features &= 1ull << VIRTIO_F_VERSION_1 | 1ull << VHOST_NET_F_VIRTIO_NET_HDR;
	if (strstr(path, "vsock"))
		features &= 1ull << VIRTIO_F_VERSION_1;
	must(!ioctl(vhost->fd, VHOST_SET_FEATURES, &features));
	must(!ioctl(vhost->fd, VHOST_SET_MEM_TABLE, &table));
	for (i = 0; i < 2; i++) {
		struct vhost_vring_state num = { i, ENTRIES }, base = { i, 0 };
		struct vhost_vring_addr addr = {
			.index = i,
			.desc_user_addr = (uintptr_t)mem + RING(i) + DESC,
			.avail_user_addr = (uintptr_t)mem + RING(i) + AVAIL,
			.used_user_addr = (uintptr_t)mem + RING(i) + USED,
		};
		struct vhost_vring_file kick = { i, eventfd(0, EFD_CLOEXEC) };
		struct vhost_vring_file call = { i, eventfd(0, EFD_CLOEXEC) };

		must(!ioctl(vhost->fd, VHOST_SET_VRING_NUM, &num));
		must(!ioctl(vhost->fd, VHOST_SET_VRING_BASE, &base));
		must(!ioctl(vhost->fd, VHOST_SET_VRING_ADDR, &addr));
		must(!ioctl(vhost->fd, VHOST_SET_VRING_KICK, &kick));
		must(!ioctl(vhost->fd, VHOST_SET_VRING_CALL, &call));
		vhost->ring[i].kick = kick.fd;
		vhost->ring[i].call = call.fd;
		vhost->ring[i].desc = (void *)addr.desc_user_addr;
		vhost->ring[i].avail = (void *)addr.avail_user_addr;
		vhost->ring[i].used = (void *)addr.used_user_addr;
		vhost->ring[i].seen = 0;
	}
}

static void vhost_close(struct vhost *vhost)
{
	unsigned int i;

	close(vhost->fd);
	for (i = 0; i < 2; i++) {
		close(vhost->ring[i].kick);
		close(vhost->ring[i].call);
	}
}

/* A buffer in the memory for ring @i, one after another. */
static char *vhost_give(struct vhost *vhost, unsigned int i, size_t len, bool device_writes)
{
	uint16_t idx = vhost->ring[i].avail->idx, n = idx % ENTRIES;
	uint64_t addr = BUFFERS + (i * ENTRIES + n) * NDM_PAGE;

	vhost->ring[i].desc[n] = (struct vring_desc) {
		.addr = addr,
		.len = len,
		.flags = device_writes ? VRING_DESC_F_WRITE : 0,
	};
	vhost->ring[i].avail->ring[n] = n;
	return mem + addr;
}

static void vhost_kick(struct vhost *vhost, unsigned int i)
{
	uint64_t one = 1;

	__atomic_store_n(&vhost->ring[i].avail->idx, vhost->ring[i].avail->idx + 1,
			 __ATOMIC_SEQ_CST);
	must(write(vhost->ring[i].kick, &one, sizeof(one)) == sizeof(one));
}

/* Wait for the next buffer to be used.  Returns how much was written to it, or -1. */
static long vhost_used(struct vhost *vhost, unsigned int i, char **data)
{
	struct vring_used_elem elem;

	if (!ndm_wait(__atomic_load_n(&vhost->ring[i].used->idx, __ATOMIC_ACQUIRE) !=
		      vhost->ring[i].seen))
		return -1;
	elem = *(struct vring_used_elem *)&vhost->ring[i].used->ring[vhost->ring[i].seen++ % ENTRIES];
	*data = mem + vhost->ring[i].desc[elem.id % ENTRIES].addr;
	return elem.len;
}

static int vhost_net(bool send)
{
	const size_t header = sizeof(struct virtio_net_hdr_v1);
	struct vhost_vring_file backend;
	struct vhost vhost;
	int i, r = WRONG;
	char *data;
	long len;

	tap_open();
	vhost_open(&vhost, "/dev/vhost-net");
	for (i = 0; i < 2; i++) {
		backend = (struct vhost_vring_file){ i, tap.fd };
		must(!ioctl(vhost.fd, VHOST_NET_SET_BACKEND, &backend));
	}
	if (send) {
		data = vhost_give(&vhost, 1, header + sizeof(struct frame), false);
		make_frame(data + header);
		vhost_kick(&vhost, 1);
		if (vhost_used(&vhost, 1, &data) >= 0)
			r = came_in();
	} else {
		for (i = 0; i < ENTRIES - 1; i++) {
			vhost_give(&vhost, 0, NDM_PAGE, true);
			vhost_kick(&vhost, 0);
		}
		send_to_peer("to the guest");
		while (r == WRONG && (len = vhost_used(&vhost, 0, &data)) >= 0)
			r = went_out(data, len, "to the guest");
	}
	vhost_close(&vhost);
	tap_close();
	return r;
}

static int vhost_net_send(void) { return vhost_net(true); }
static int vhost_net_receive(void) { return vhost_net(false); }

/* The host connects to the guest, which answers, and sends a text. */
static int vhost_vsock(void)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = 77, .svm_port = PORT,
	};
	struct virtio_vsock_hdr *request, *answer;
	int sock, one = 1, r = WRONG, i;
	uint64_t cid = addr.svm_cid;
	struct vhost vhost;
	char text[16] = "";
	char *data;

	vhost_open(&vhost, "/dev/vhost-vsock");
	must(!ioctl(vhost.fd, VHOST_VSOCK_SET_GUEST_CID, &cid));
	for (i = 0; i < 4; i++) {
		vhost_give(&vhost, 0, NDM_PAGE, true);
		vhost.ring[0].avail->idx++;
	}
	must(!ioctl(vhost.fd, VHOST_VSOCK_SET_RUNNING, &one));
	sock = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	must(sock >= 0);
	must(connect(sock, (void *)&addr, sizeof(addr)) && errno == EINPROGRESS);
	if (vhost_used(&vhost, 0, &data) < (long)sizeof(*request))
		goto out;
	request = (void *)data;
	if (request->op != VIRTIO_VSOCK_OP_REQUEST || request->dst_port != PORT)
		goto out;
	for (i = 0; i < 2; i++) {
		data = vhost_give(&vhost, 1, sizeof(*answer) + (i ? 6 : 0), false);
		answer = (void *)data;
		*answer = (struct virtio_vsock_hdr) {
			.src_cid = request->dst_cid, .dst_cid = request->src_cid,
			.src_port = request->dst_port, .dst_port = request->src_port,
			.type = VIRTIO_VSOCK_TYPE_STREAM,
			.op = i ? VIRTIO_VSOCK_OP_RW : VIRTIO_VSOCK_OP_RESPONSE,
			.len = i ? 6 : 0, .buf_alloc = 1 << 16,
		};
		memcpy(answer + 1, "hello", 6);
		vhost_kick(&vhost, 1);
	}
	if (ndm_wait(recv(sock, text, sizeof(text), 0) == 6))
		r = strcmp(text, "hello") ? WRONG : 0;
out:
	close(sock);
	vhost_close(&vhost);
	return r;
}

/* --- other processes and pins */

static int process_vm_from(void)
{
	struct iovec local = { other, LEN }, remote = { mem, LEN };

	fill(mem, 'v');
	return done(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), LEN) ?: right(other, 'v');
}

static int process_vm_to(void)
{
	struct iovec local = { mem, LEN }, remote = { other, LEN };

	fill(other, 'v');
	return done(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), LEN) ?: right(mem, 'v');
}

/* What vhost-user does: another process that maps the file. */
static int other_process(void)
{
	int status;
	pid_t pid;
	char *map;

	fill(mem, 'm');
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		munmap(mem, SIZE);
		map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
		if (map == MAP_FAILED || right(map, 'm'))
			_exit(1);
		fill(map, 'n');
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	return status ? WRONG : right(mem, 'n');
}

static int shared_futex(void)
{
	return syscall(SYS_futex, mem, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? errno : 0;
}

static int private_futex(void)
{
	return syscall(SYS_futex, mem, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0 ? errno : 0;
}

/* The file as a dma-buf, of which devices and other processes have pages. */
static int udmabuf(void)
{
	struct udmabuf_create create = {
		.memfd = file.fd,
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.size = LEN,
	};
	int fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buf, r;

	must(fd >= 0);
	buf = ioctl(fd, UDMABUF_CREATE, &create);
	r = buf < 0 ? errno : 0;
	if (!r)
		close(buf);
	close(fd);
	return r;
}

/* A mapping's holes can be told without filling them. */
static int holes(void)
{
	unsigned char vec[3];

	memset(mem, 1, 3 * NDM_PAGE);
	if (ndm_punch(&file, NDM_PAGE, NDM_PAGE) || mincore(mem, 3 * NDM_PAGE, vec))
		return errno;
	return (vec[0] & 1) && !(vec[1] & 1) && (vec[2] & 1) ? 0 : WRONG;
}

/* ... and made, which MADV_DONTNEED doesn't do. */
static int madvise_remove(void)
{
	memset(mem, 1, 3 * NDM_PAGE);
	if (madvise(mem, NDM_PAGE, MADV_DONTNEED) || mem[0] != 1)
		return WRONG;
	if (madvise(mem + NDM_PAGE, NDM_PAGE, MADV_REMOVE))
		return errno;
	return mem[0] == 1 && !mem[NDM_PAGE] && mem[2 * NDM_PAGE] == 1 ? 0 : WRONG;
}

static int pin(void)
{
	int probe = ndm_probe_open();
	long r;

	fill(mem, 1);
	r = ndm_gup(probe, mem, LEN / NDM_PAGE, NDM_PIN_FAST | NDM_GUP_WRITE | NDM_GUP_LONGTERM);
	close(probe);
	return r < 0 ? -r : r == (long)(LEN / NDM_PAGE) ? 0 : WRONG;
}

static const struct {
	const char *name;	/* in the documentation's table */
	int (*function)(void);
	int expected;		/* on memory without a direct map */
	int always;		/* and on any guest_memfd */
} operations[] = {
	{ "read() of a file, page cache", buffered_read },
	{ "write() to a file, page cache", buffered_write },
	{ "read() and write() of tmpfs", tmpfs },
	{ "read(), O_DIRECT", direct_read, EFAULT },
	{ "write(), O_DIRECT", direct_write, EFAULT },
	{ "io_submit(), page cache", aio_buffered },
	{ "io_submit(), O_DIRECT", aio_direct, EFAULT },
	{ "io_uring read, page cache", uring_read },
	{ "io_uring write, page cache", uring_write },
	{ "io_uring read, O_DIRECT", uring_direct_read, EFAULT },
	{ "io_uring write, O_DIRECT", uring_direct_write, EFAULT },
	{ "io_uring, registering buffers", uring_register, EFAULT },
	{ "io_uring, zero-copy send", uring_send_zc, EFAULT },
	{ "read() and write() of a pipe", pipe_copy },
	{ "vmsplice()", vmsplice_to, EFAULT },
	{ "sendfile() from the file", sendfile_from, EINVAL, EINVAL },
	{ "send() and recv(), TCP", tcp },
	{ "send() and recv(), AF_UNIX", unix_socket },
	{ "send() and recv(), AF_VSOCK", vsock },
	{ "send(), TCP, MSG_ZEROCOPY", tcp_zerocopy, EFAULT },
	{ "send(), AF_VSOCK, MSG_ZEROCOPY", vsock_zerocopy, ENOMEM },
	{ "read() of a tap device", tap_read },
	{ "write() to a tap device", tap_write },
	{ "vhost-net, receive", vhost_net_receive },
	{ "vhost-net, send", vhost_net_send },
	{ "vhost-vsock", vhost_vsock },
	{ "mapped by another process", other_process },
	{ "process_vm_readv() from it", process_vm_from, EFAULT },
	{ "process_vm_readv() to it", process_vm_to },
	{ "futex, private", private_futex },
	{ "futex, shared", shared_futex, EFAULT },
	{ "udmabuf", udmabuf, EBADFD, EBADFD },
	{ "mincore(), of holes and pages", holes },
	{ "madvise(), MADV_REMOVE", madvise_remove },
	{ "pin_user_pages(), FOLL_LONGTERM", pin, EFAULT },
};

#define NR_OPERATIONS	(sizeof(operations) / sizeof(operations[0]))

static const char *result_name(int result)
{
	static char text[16];

	switch (result) {
	case 0:
		return "works";
	case WRONG:
		return "wrong";
	case EFAULT:
		return "EFAULT";
	case EINVAL:
		return "EINVAL";
	case ENOMEM:
		return "ENOMEM";
	case EBADFD:
		return "EBADFD";
	}
	snprintf(text, sizeof(text), "errno %d", result);
	return text;
}

static int results[2][NR_OPERATIONS];

static void run_all(unsigned int n, const struct ndm_kind *kind)
{
	unsigned int i;
	int err = ndm_open(&file, kind, SIZE);

	if (err) {
		printf("FAILED: no file: %s\n", strerror(-err));
		exit(1);
	}
	mem = file.map;
	for (i = 0; i < NR_OPERATIONS; i++)
		results[n][i] = operations[i].function();
	ndm_close(&file);
}

/* Does the table have the row, with that result? */
static bool documented(const char *path, const char *name, const char *result)
{
	FILE *doc = fopen(path, "re");
	size_t len = strlen(name);
	bool found = false;
	char line[256], *rest;

	if (!doc) {
		printf("FAILED: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	while (!found && fgets(line, sizeof(line), doc)) {
		if (strncmp(line, name, len) || strncmp(line + len, "  ", 2))
			continue;
		for (rest = line + len; *rest == ' '; rest++)
			;
		found = !strncmp(rest, result, strlen(result)) && isspace(rest[strlen(result)]);
	}
	fclose(doc);
	return found;
}

int main(int argc, char **argv)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED, ordinary = NDM_ORDINARY;
	unsigned int i, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	run_all(0, &kind);
	run_all(1, &ordinary);
	printf("%-36s %-12s %s\n", "", "flag on", "flag off");
	for (i = 0; i < NR_OPERATIONS; i++) {
		bool ok = results[0][i] == operations[i].expected &&
			  results[1][i] == operations[i].always;
		bool said = argc < 2 || documented(argv[1], operations[i].name,
						   result_name(operations[i].expected));

		printf("%-36s %-12s", operations[i].name, result_name(results[0][i]));
		printf(" %s%s%s\n", result_name(results[1][i]), ok ? "" : "   FAILED",
		       said ? "" : "   FAILED: the documentation says something else");
		failed += !ok || !said;
	}
	return failed ? 1 : 0;
}
