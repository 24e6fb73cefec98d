// SPDX-License-Identifier: GPL-2.0
/*
 * The preload library, by small VMMs that know nothing of guest_memfd: memory that
 * comes before or after the VM, several of both, memslots that come, move, split and
 * go, and what a memfd can do that a guest_memfd can't.
 *
 * Each case is this program again, with the library preloaded; some have to say
 * something on standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <linux/kvm.h>
#include <linux/magic.h>

#define SIZE		(4ul << 20)
#define HALF		(SIZE / 2)
#define PAGE		4096ul
#define CODE		0x1000
#define RESULT		0x3000
#define SEEN		42

#ifndef GUEST_MEMFD_MAGIC
#define GUEST_MEMFD_MAGIC	0x474d454d
#endif

#define must(cond)							\
do {									\
	if (!(cond)) {							\
		printf("line %d: %s: %s\n", __LINE__, #cond, strerror(errno)); \
		exit(1);						\
	}								\
} while (0)

/* movl (0x3000), %eax; incl %eax; movl %eax, (0x3000); hlt */
static const char code[] = {
	0x66, 0xa1, 0x00, 0x30, 0x66, 0x40, 0x66, 0xa3, 0x00, 0x30, 0xf4
};

static bool plain;

static int new_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	must(kvm >= 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0);
	close(kvm);
	return vm;
}

static int new_memfd(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0);
	must(!ftruncate(fd, SIZE));
	return fd;
}

static char *map(int fd, size_t size, off_t offset)
{
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	must(mem != MAP_FAILED);
	return mem;
}

static int memslot(int vm, unsigned int slot, unsigned int flags, uint64_t gpa,
		   uint64_t size, void *mem)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)mem,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static bool is_gmem(int fd)
{
	struct statfs st;

	must(!fstatfs(fd, &st));
	return st.f_type == GUEST_MEMFD_MAGIC;
}

/* Is what's mapped there in no direct map?  Then GUP refuses it, else it doesn't. */
static bool is_right(char *mem)
{
	char c;
	struct iovec local = { &c, 1 }, remote = { mem, 1 };
	bool refused;

	(void)*(volatile char *)mem;
	refused = process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0;
	return refused == !plain;
}

static int new_vcpu(int vm, struct kvm_run **run)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;
	int vcpu;

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	must(vcpu >= 0);
	*run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	must(*run != MAP_FAILED);
	must(!ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	must(!ioctl(vcpu, KVM_SET_SREGS, &sregs));
	must(!ioctl(vcpu, KVM_SET_REGS, &regs));
	return vcpu;
}

/* Have a guest increment what's at RESULT. */
static void run(int vm)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_run *run;
	int vcpu = new_vcpu(vm, &run);

	must(!ioctl(vcpu, KVM_SET_REGS, &regs));
	must(!ioctl(vcpu, KVM_RUN, 0));
	must(run->exit_reason == KVM_EXIT_HLT);
	munmap(run, PAGE);
	close(vcpu);
}

static void load(char *mem, unsigned int value)
{
	memcpy(mem + CODE, code, sizeof(code));
	memcpy(mem + RESULT, &value, sizeof(value));
}

static unsigned int result(char *mem)
{
	return *(volatile unsigned int *)(mem + RESULT);
}

/* --- the cases */

static void after_vm(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	must(is_gmem(fd) && is_right(mem));
	load(mem, SEEN);
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	run(vm);
	must(result(mem) == SEEN + 1);
}

/* Contents, mappings and descriptors that there were before. */
static void before_vm(void)
{
	int fd = new_memfd(), copy = dup(fd), vm;
	char *mem = map(fd, SIZE, 0), *part = map(copy, PAGE, RESULT);

	must(!is_gmem(fd));
	load(mem, SEEN);
	must(!mprotect(mem + SIZE - PAGE, PAGE, PROT_READ));
	vm = new_vm();
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	must(is_gmem(fd) && is_gmem(copy) && is_right(mem) && is_right(part));
	run(vm);
	must(result(mem) == SEEN + 1);
	must(*(volatile unsigned int *)part == SEEN + 1);
	must(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0);
}

/* The descriptor is closed by then. */
static void closed(void)
{
	int fd = new_memfd(), vm;
	char *mem = map(fd, SIZE, 0);

	load(mem, SEEN);
	close(fd);
	vm = new_vm();
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	must(is_right(mem));
	run(vm);
	must(result(mem) == SEEN + 1);
}

static void several(void)
{
	int vm[2] = { new_vm(), new_vm() }, fd[4], i;
	char *mem[4];

	for (i = 0; i < 4; i++) {
		fd[i] = new_memfd();
		mem[i] = map(fd[i], SIZE, 0);
		/* Nobody knows yet which VM it is for. */
		must(!is_gmem(fd[i]));
		load(mem[i], 100 * i);
	}
	for (i = 0; i < 4; i++)
		must(!memslot(vm[i % 2], i / 2, 0, i / 2 * SIZE, SIZE, mem[i]));
	for (i = 0; i < 4; i++)
		must(is_gmem(fd[i]) && is_right(mem[i]));
	run(vm[0]);
	run(vm[1]);
	for (i = 0; i < 4; i++)
		must(result(mem[i]) == (unsigned int)(100 * i + (i < 2)));
	/* A memory that's in both can't be. */
	must(memslot(vm[1], 5, 0, 4 * SIZE, SIZE, mem[0]) && errno == EINVAL);
	must(!memslot(vm[0], 0, 0, 0, 0, mem[0]));
	must(memslot(vm[1], 5, 0, 4 * SIZE, SIZE, mem[0]));
}

static void memslots(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	must(is_gmem(fd));
	/* The second half is below the first. */
	load(mem + HALF, SEEN);
	must(!memslot(vm, 0, 0, 0, HALF, mem + HALF));
	must(!memslot(vm, 1, 0, HALF, HALF, mem));
	run(vm);
	must(result(mem + HALF) == SEEN + 1);
	/* Moved: the other way around. */
	load(mem, 1000);
	must(!memslot(vm, 0, 0, SIZE, HALF, mem + HALF));
	must(!memslot(vm, 1, 0, 0, HALF, mem));
	must(!memslot(vm, 0, 0, HALF, HALF, mem + HALF));
	/* One vCPU per id and VM. */
	must(!memslot(vm, 1, 0, 0, 0, mem));
	/* Split in three, the middle with flags that it can't have. */
	must(!memslot(vm, 1, 0, 0, PAGE, mem));
	must(!memslot(vm, 2, KVM_MEM_READONLY, PAGE, PAGE, mem + PAGE));
	must(!memslot(vm, 3, 0, 2 * PAGE, HALF - 2 * PAGE, mem + 2 * PAGE));
	must(!memslot(vm, 3, KVM_MEM_LOG_DIRTY_PAGES, 2 * PAGE, HALF - 2 * PAGE, mem + 2 * PAGE));
	must(!memslot(vm, 3, 0, 2 * PAGE, HALF - 2 * PAGE, mem + 2 * PAGE));
	must(!memslot(vm, 3, 0, 2 * PAGE, 0, mem + 2 * PAGE));
	must(!memslot(vm, 3, 0, 2 * PAGE, HALF - 2 * PAGE, mem + 2 * PAGE));
	/* Beyond the file: KVM or we say no. */
	must(memslot(vm, 9, 0, 8 * SIZE, 0, mem) && errno == EINVAL);
}

static void moved(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	load(mem, 1000);
	must(!memslot(vm, 7, 0, SIZE, SIZE, mem));
	must(!memslot(vm, 7, 0, 0, SIZE, mem));
	run(vm);
	must(result(mem) == 1001);
}

/* As q35 has SMRAM twice: the second one is there once the first is gone. */
static void two_views(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	load(mem, SEEN);
	must(!memslot(vm, 4, 0, 4 * SIZE, SIZE, mem));
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	must(!memslot(vm, 4, 0, 4 * SIZE, 0, mem));
	run(vm);
	must(result(mem) == SEEN + 1);
	must(!memslot(vm, 4, 0, 4 * SIZE, SIZE, mem));
	must(!memslot(vm, 4, 0, 4 * SIZE, 0, mem));
	must(memslot(vm, 4, 0, 4 * SIZE, 0, mem) && errno == EINVAL);
	must(!memslot(vm, 0, 0, 0, 0, mem));
}

static void dirty_log(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);
	unsigned char bitmap[SIZE / PAGE / 8] = {};
	struct kvm_dirty_log log = { .slot = 2, .dirty_bitmap = bitmap };
	struct kvm_clear_dirty_log clear = {
		.slot = 2, .num_pages = 64, .dirty_bitmap = bitmap,
	};
	unsigned int i;

	must(!memslot(vm, 2, 0, 0, SIZE, mem));
	must(!memslot(vm, 2, KVM_MEM_LOG_DIRTY_PAGES, 0, SIZE, mem));
	must(!ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	for (i = 0; i < sizeof(bitmap); i++)
		must(bitmap[i] == 0xff);
	must(!ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear));
}

static void dirty_log_refused(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	must(!memslot(vm, 2, 0, 0, SIZE, mem));
	must(memslot(vm, 2, KVM_MEM_LOG_DIRTY_PAGES, 0, SIZE, mem));
	must(errno == EOPNOTSUPP);
}

/* Number of descriptors that lead to a guest_memfd. */
static int count_gmem(void)
{
	int fd, nr = 0;

	for (fd = 0; fd < 1024; fd++)
		nr += fcntl(fd, F_GETFD) >= 0 && is_gmem(fd);
	return nr;
}

/* Hot-unplug: the file goes when the VMM has let go of it, not earlier. */
static void unplug(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	load(mem, SEEN);
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	close(fd);
	must(count_gmem() == 1);
	run(vm);
	must(result(mem) == SEEN + 1);
	must(!memslot(vm, 0, 0, 0, 0, mem));
	must(count_gmem() == 1);
	munmap(mem, SIZE);
	must(count_gmem() == 0);
}

static void files(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0), *private;

	must(is_gmem(fd));
	must(!ftruncate(fd, SIZE));
	must(ftruncate(fd, 2 * SIZE) && errno == EINVAL);
	must(!fallocate(fd, 0, 0, SIZE));
	must(!posix_fallocate(fd, 0, SIZE));
	mem[0] = 1;
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	must(!mem[0]);
	must(!fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
	must(fcntl(fd, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK));
	must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) && errno == EINVAL);
	private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(private != MAP_FAILED);
	close(vm);
}

/* In a child: to a process which has what came through the socket, and no more. */
static void passed(void)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd, vm, sock[2], status;
	char *mem;
	pid_t pid;

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		must(recvmsg(sock[1], &msg, 0) == 1);
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		must(is_gmem(fd));
		mem = map(fd, SIZE, 0);
		must(is_right(mem) && result(mem) == SEEN);
		*(volatile unsigned int *)(mem + RESULT) = 7;
		_exit(0);
	}
	fd = new_memfd();
	mem = map(fd, SIZE, 0);
	vm = new_vm();
	load(mem, SEEN);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	must(sendmsg(sock[0], &msg, 0) == 1);
	must(waitpid(pid, &status, 0) == pid && !status);
	must(result(mem) == 7);
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	run(vm);
	must(result(mem) == 8);
}

static void forked(void)
{
	int vm = new_vm(), fd = new_memfd(), status;
	char *mem = map(fd, SIZE, 0);
	pid_t pid;

	load(mem, SEEN);
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	pid = fork();
	if (!pid) {
		must(result(mem) == SEEN);
		*(volatile unsigned int *)(mem + RESULT) = 9;
		close(fd);
		munmap(mem, SIZE);
		exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && !status);
	run(vm);
	must(result(mem) == 10);
}

static void o_direct(void)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT);
	int vm = new_vm(), ram = new_memfd();
	char *mem = map(ram, SIZE, 0);

	must(fd >= 0);
	mem[5] = 5;
	must(pwrite(fd, mem, PAGE, 0) == PAGE);
	mem[5] = 0;
	must(pread(fd, mem, PAGE, 0) == PAGE && mem[5] == 5);
	must(!!(fcntl(fd, F_GETFL) & O_DIRECT) == plain);
	must(!fcntl(fd, F_SETFL, O_DIRECT));
	must(pread(fd, mem, PAGE, 0) == PAGE);
	close(vm);
}

static void anonymous(void)
{
	char *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int vm = new_vm();

	must(mem != MAP_FAILED);
	load(mem, SEEN);
	must(!memslot(vm, 0, 0, 0, SIZE, mem));
	run(vm);
	must(result(mem) == SEEN + 1);
}

static void required(void)
{
	char *mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int vm = new_vm();

	must(memslot(vm, 0, 0, 0, SIZE, mem) && errno == EINVAL);
}

static void not_taken(void)
{
	int vm = new_vm(), fd = new_memfd();
	char *mem = map(fd, SIZE, 0);

	must(!is_gmem(fd));
	load(mem, SEEN);
	must(!memslot(vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, SIZE, mem));
	must(!is_gmem(fd));
	run(vm);
	must(result(mem) == SEEN + 1);
}

static const struct {
	const char *name;
	void (*function)(void);
	const char *env;	/* beside FLAGS */
	const char *says;	/* on standard error */
} cases[] = {
	{ "after_vm", after_vm, "", "1 file(s), 4 MiB, 1 memslot(s)" },
	{ "before_vm", before_vm, "", "copied 1" },
	{ "closed", closed, "", "copied 1" },
	{ "several", several, "", "belongs to another VM" },
	{ "memslots", memslots, "", "guest_memfd can't be read-only" },
	{ "moved", moved, "", "2 memslot(s)" },
	{ "two_views", two_views, "", "1 file(s), 4 MiB" },
	{ "dirty_log", dirty_log, "", "all pages count as dirty" },
	{ "dirty_log_refused", dirty_log_refused, "DIRTY_LOG=refuse", "no live migration" },
	{ "unplug", unplug, "", "1 file(s)" },
	{ "files", files, "", "mapped as shared 1" },
	{ "passed", passed, "", "1 file(s)" },
	{ "forked", forked, "", "1 file(s)" },
	{ "o_direct", o_direct, "", "1 file(s)" },
	{ "anonymous", anonymous, "", "it is anonymous memory" },
	{ "required", required, "REQUIRE=1", "refused: it is anonymous" },
	{ "other_name", not_taken, "NAMES=guest*,x", "not one of those" },
	{ "too_small", not_taken, "MIN_SIZE=8M", "0 file(s)" },
	{ "off", not_taken, "FLAGS=off", "(off)" },
	{ "bad_option", not_taken, "FLAGS=best", "is not understood" },
};

#define NR_CASES	(sizeof(cases) / sizeof(cases[0]))

static bool run_case(unsigned int i, const char *self, const char *library, bool without)
{
	char said[8192] = "", index[16], env[64];
	int err[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;
	bool ok;

	must(!pipe(err));
	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		dup2(err[1], STDERR_FILENO);
		close(err[0]);
		close(err[1]);
		setenv("LD_PRELOAD", library, 1);
		setenv("NDM_PRELOAD_FLAGS", without ? "plain" : "no-direct-map", 1);
		if (*cases[i].env) {
			snprintf(env, sizeof(env), "NDM_PRELOAD_%s", cases[i].env);
			putenv(env);
		}
		snprintf(index, sizeof(index), "%u", i);
		execl(self, self, "--case", index, without ? "plain" : "no-direct-map", NULL);
		_exit(126);
	}
	close(err[1]);
	while (len < sizeof(said) - 1 && (n = read(err[0], said + len, sizeof(said) - 1 - len)) > 0)
		len += n;
	close(err[0]);
	must(waitpid(pid, &status, 0) == pid);
	ok = !strcmp(cases[i].name, "bad_option") ?
	     WIFEXITED(status) && WEXITSTATUS(status) == 127 : !status;
	ok &= !!strstr(said, cases[i].says);
	printf("%s: %s, %s\n", ok ? "ok" : "FAILED", cases[i].name, without ? "plain" : "no direct map");
	if (!ok)
		printf("status 0x%x, wanted \"%s\", it said:\n%s", status, cases[i].says, said);
	return ok;
}

int main(int argc, char **argv)
{
	char self[512], library[600], copy[512];
	unsigned int i, failed = 0;
	ssize_t len;

	if (argc == 4 && !strcmp(argv[1], "--case")) {
		plain = !strcmp(argv[3], "plain");
		cases[atoi(argv[2])].function();
		return 0;
	}
	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	must(len > 0);
	self[len] = 0;
	strcpy(copy, self);
	snprintf(library, sizeof(library), "%s/libndm-preload.so", dirname(copy));
	must(!access(library, R_OK));
	for (i = 0; i < NR_CASES; i++) {
		failed += !run_case(i, self, library, false);
		failed += !run_case(i, self, library, true);
	}
	return failed ? 1 : 0;
}
