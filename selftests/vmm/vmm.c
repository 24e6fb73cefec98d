// SPDX-License-Identifier: GPL-2.0
/*
 * Boot an unmodified Linux as a software-protected VM: all of its memory is
 * private and comes from one guest_memfd that isn't in the host's direct map.
 * The VMM maps nothing of it, either.  --help says how to use it.
 *
 *   vmm.c      options, the VM, standard input
 *   vcpu.c     vCPUs and their exits
 *   boot.c     loads the kernel and its tables
 *   memory.c   the guest's memory, and its conversion
 *   serial.c   the console
 *   end.c      how it ends
 *
 * Each knows only those below it, and machine.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>
#include <linux/kvm_para.h>

#include "boot.h"
#include "end.h"
#include "machine.h"
#include "memory.h"
#include "serial.h"
#include "vcpu.h"

static const char * const backings[] = {
	[BACKING_NO_DIRECT_MAP] = "no-direct-map",
	[BACKING_GUEST_MEMFD] = "guest_memfd",
	[BACKING_ANONYMOUS] = "anonymous",
};

#define MIN_MEMORY	64	/* MiB */
#define MAX_MEMORY	3072	/* devices lie above */
#define ESCAPE		0x01	/* Ctrl-A */
#define DEFAULT_APPEND	"console=ttyS0 panic=-1"

static struct termios terminal;
static bool terminal_changed;

static void restore_terminal(void)
{
	if (terminal_changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
	terminal_changed = false;
}

/* Returns the descriptor of KVM. */
static int create_vm(struct memory *memory)
{
	const bool protect = memory->backing == BACKING_NO_DIRECT_MAP;
	struct kvm_enable_cap hypercalls = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args[0] = 1ull << KVM_HC_MAP_GPA_RANGE,
	};
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity_map = 0xfeffc000;
	int kvm;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm: %s", strerror(errno));
	if (protect && !(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) &
			 1 << KVM_X86_SW_PROTECTED_VM))
		die("this kernel has no software-protected VMs (CONFIG_KVM_SW_PROTECTED_VM)");
	memory->vm = ioctl(kvm, KVM_CREATE_VM,
		       protect ? KVM_X86_SW_PROTECTED_VM : KVM_X86_DEFAULT_VM);
	if (memory->vm < 0)
		die("KVM_CREATE_VM: %s", strerror(errno));
	if (protect && ioctl(memory->vm, KVM_ENABLE_CAP, &hypercalls))
		die("KVM_CAP_EXIT_HYPERCALL: %s", strerror(errno));
	/* Pages of KVM's own, which Intel needs, behind all memory. */
	if (ioctl(memory->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) ||
	    ioctl(memory->vm, KVM_SET_TSS_ADDR, identity_map + 0x1000))
		die("KVM_SET_TSS_ADDR: %s", strerror(errno));
	if (ioctl(memory->vm, KVM_CREATE_IRQCHIP))
		die("KVM_CREATE_IRQCHIP: %s", strerror(errno));
	if (ioctl(memory->vm, KVM_CREATE_PIT2, &pit))
		die("KVM_CREATE_PIT2: %s", strerror(errno));
	return kvm;
}

static void change_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &terminal))
		return;
	raw = terminal;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		die("cannot set up the terminal: %s", strerror(errno));
	terminal_changed = true;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Ctrl-A x ends, Ctrl-A Ctrl-A is Ctrl-A. */
static ssize_t filter_escapes(char *data, ssize_t size)
{
	static bool escaped;
	ssize_t in, out = 0;

	for (in = 0; in < size; in++) {
		if (!escaped && data[in] == ESCAPE) {
			escaped = true;
			continue;
		}
		if (escaped && data[in] == 'x')
			end_set(END_POWEROFF);
		escaped = false;
		data[out++] = data[in];
	}
	return out;
}

/* Feeds standard input to the guest until it ends.  Returns how it ended. */
static enum vmm_end main_loop(int wake, unsigned int timeout, bool interactive)
{
	const double end = now() + timeout;
	struct pollfd fds[2] = {
		{ .fd = wake, .events = POLLIN },
		{ .events = POLLIN },
	};
	ssize_t size = 0, done = 0;
	bool input = true;
	char data[256];
	uint64_t count;
	int wait;

	for (;;) {
		if (end_get() >= 0)
			return end_get();
		if (timeout && now() >= end)
			return END_TIMEOUT;

		if (done < size)
			done += serial_receive(data + done, size - done);
		fds[1].fd = input && done == size ? STDIN_FILENO : -1;
		/* Nobody tells when the guest begins to take input. */
		wait = done < size ? 50 : 1000;
		if (poll(fds, 2, wait) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if ((fds[0].revents & POLLIN) &&
		    read(wake, &count, sizeof(count)) != sizeof(count))
			die("eventfd: %s", strerror(errno));
		if (fds[1].fd >= 0 && fds[1].revents) {
			size = read(STDIN_FILENO, data, sizeof(data));
			done = 0;
			if (size <= 0) {
				input = size < 0 && (errno == EINTR || errno == EAGAIN);
				size = 0;
			}
			if (interactive)
				size = filter_escapes(data, size);
		}
	}
}

static void usage(void)
{
	printf("Usage: vmm --kernel BZIMAGE [OPTION...]\n"
	       "\n"
	       "Boot Linux in a VM.  Its console, ttyS0, is on standard input and output.\n"
	       "\n"
	       "  --kernel FILE     the kernel, a bzImage\n"
	       "  --initrd FILE     its initramfs\n"
	       "  --append ARGS     its command line (default: %s);\n"
	       "                    without panic=-1 a panic never ends, nor does the VMM\n"
	       "  --memory MIB      its memory, %d to %d (default 256)\n"
	       "  --cpus N          vCPUs, 1 to %d (default 1)\n"
	       "  --backing KIND    no-direct-map (default): a software-protected VM, all of its\n"
	       "                    memory private and in no direct map; for comparison\n"
	       "                    guest_memfd and anonymous, ordinary VMs\n"
	       "  --timeout SECONDS end the VM after that time\n"
	       "  --interactive     raw terminal; Ctrl-A x ends the VM\n"
	       "  --stopped         load everything, then stop until SIGCONT comes\n"
	       "\n"
	       "Exit codes: %d power off, %d error, %d guest panic, %d reset, %d triple fault,\n"
	       "%d timeout.\n",
	       DEFAULT_APPEND, MIN_MEMORY, MAX_MEMORY, VMM_MAX_CPUS, END_POWEROFF,
	       END_ERROR, END_PANIC, END_RESET, END_TRIPLE, END_TIMEOUT);
}

static unsigned int number(const char *option, const char *text,
			   unsigned int min, unsigned int max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max)
		die("--%s needs a number from %u to %u, not \"%s\"", option, min,
		    max, text);
	return value;
}

int main(int argc, char **argv)
{
	enum { KERNEL = 1, INITRD, APPEND, MEMORY, CPUS, BACKING, TIMEOUT,
	       INTERACTIVE, STOPPED, HELP };
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, KERNEL },
		{ "initrd", required_argument, NULL, INITRD },
		{ "append", required_argument, NULL, APPEND },
		{ "memory", required_argument, NULL, MEMORY },
		{ "cpus", required_argument, NULL, CPUS },
		{ "backing", required_argument, NULL, BACKING },
		{ "timeout", required_argument, NULL, TIMEOUT },
		{ "interactive", no_argument, NULL, INTERACTIVE },
		{ "stopped", no_argument, NULL, STOPPED },
		{ "help", no_argument, NULL, HELP },
		{}
	};
	const char *kernel = NULL, *initrd = NULL, *append = DEFAULT_APPEND;
	bool interactive = false, stopped = false;
	struct memory memory = { .size = 256ull << 20 };
	unsigned int timeout = 0, cpus = 1, i;
	int opt, index, kvm, wake;
	enum vmm_end end;
	uint64_t entry;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, &index)) != -1) {
		switch (opt) {
		case KERNEL:
			kernel = optarg;
			break;
		case INITRD:
			initrd = optarg;
			break;
		case APPEND:
			append = optarg;
			break;
		case MEMORY:
			memory.size = (uint64_t)number("memory", optarg, MIN_MEMORY,
						       MAX_MEMORY) << 20;
			break;
		case CPUS:
			cpus = number("cpus", optarg, 1, VMM_MAX_CPUS);
			break;
		case BACKING:
			for (i = 0; i < 3 && strcmp(optarg, backings[i]); i++)
				;
			if (i == 3)
				die("--backing needs no-direct-map, guest_memfd or anonymous, not \"%s\"",
				    optarg);
			memory.backing = i;
			break;
		case TIMEOUT:
			timeout = number("timeout", optarg, 1, 86400);
			break;
		case INTERACTIVE:
			interactive = true;
			break;
		case STOPPED:
			stopped = true;
			break;
		case HELP:
			usage();
			return 0;
		default:
			die("\"%s\" is unknown, or needs a value (try --help)",
			    argv[optind - 1]);
		}
	}
	if (optind < argc)
		die("unknown argument \"%s\" (try --help)", argv[optind]);
	if (!kernel)
		die("--kernel is missing (try --help)");

	wake = end_init(restore_terminal);
	kvm = create_vm(&memory);
	memory_create(&memory);
	serial_init(memory.vm);
	entry = boot_load(&memory, cpus, kernel, initrd, append);
	if (stopped)
		raise(SIGSTOP);
	if (interactive)
		change_terminal();
	vcpus_start(kvm, &memory, cpus, entry);
	end = main_loop(wake, timeout, interactive);
	restore_terminal();

	switch (end) {
	case END_PANIC:
		fprintf(stderr, "vmm: the guest's kernel panicked\n");
		break;
	case END_RESET:
		fprintf(stderr, "vmm: the guest reset\n");
		break;
	case END_TRIPLE:
		fprintf(stderr, "vmm: the guest had a triple fault\n");
		break;
	case END_TIMEOUT:
		vcpus_report();
		fprintf(stderr, "vmm: the guest ran for longer than %u seconds\n",
			timeout);
		break;
	default:
		break;
	}
	/* vCPUs still run: nothing of theirs is to be torn down under them. */
	_exit(end);
}
