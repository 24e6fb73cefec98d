// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R10: GUP, fast and slow, refuses memory that has no direct map entry,
 * and so does everything that is built on it.  The same calls succeed on a
 * guest_memfd without the flag, so that a refusal is one for the right reason.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/io_uring.h>

#include "kselftest_harness.h"
#include "ndm.h"

enum { PAGES = 16 };

FIXTURE(gup) {
	int probe;
	uint64_t missing;
	struct ndm_file f;
	char *map;
	__u64 pfns[PAGES];
};

FIXTURE_VARIANT(gup) {
	struct ndm_kind kind;
	bool allowed;
};

FIXTURE_VARIANT_ADD(gup, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(gup, guest_memfd) { .kind = NDM_MMAP_SHARED };
FIXTURE_VARIANT_ADD(gup, ordinary_guest_memfd) {
	.kind = NDM_ORDINARY,
	.allowed = true,
};

FIXTURE_SETUP(gup)
{
	struct ndm_check res;

	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);
	ASSERT_EQ(ndm_open(&self->f, &variant->kind, PAGES * NDM_PAGE), 0);
	self->map = self->f.map;
	/* GUP-fast looks at nothing but page tables: have entries there. */
	memset(self->map, 0x5a, self->f.size);
	ndm_check_file(self->probe, self->f.fd, 0, PAGES, self->pfns, NULL,
		       &res);
	ASSERT_EQ(res.present, PAGES);
}

/* A reference that was taken and forgotten would keep the pages. */
FIXTURE_TEARDOWN(gup)
{
	ndm_close(&self->f);
	EXPECT_EQ(ndm_wait_restored(self->probe, self->pfns, PAGES), 0);
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	close(self->probe);
}

/* @ret of a system call on @size bytes, with errno. */
#define expect_refused(ret, size, err)					\
do {									\
	errno = 0;							\
	long __ret = (ret);						\
	int __errno = errno;						\
									\
	if (variant->allowed) {						\
		EXPECT_EQ(__ret, (long)(size))				\
			TH_LOG(#ret ": %s", strerror(__errno));		\
	} else {							\
		EXPECT_EQ(__ret, -1)					\
			TH_LOG(#ret);					\
		EXPECT_EQ(__errno, err)					\
			TH_LOG(#ret);					\
	}								\
} while (0)

TEST_F(gup, kernel_callers)
{
	static const struct {
		const char *name;
		unsigned int how;
	} ways[] = {
		{ "get_user_pages_fast", NDM_GET_FAST },
		{ "get_user_pages_fast, write", NDM_GET_FAST | NDM_GUP_WRITE },
		{ "get_user_pages_unlocked", NDM_GET },
		{ "get_user_pages_unlocked, write", NDM_GET | NDM_GUP_WRITE },
		{ "pin_user_pages_fast", NDM_PIN_FAST },
		{ "pin_user_pages_fast, long term",
		  NDM_PIN_FAST | NDM_GUP_LONGTERM },
		{ "pin_user_pages_fast, write, long term",
		  NDM_PIN_FAST | NDM_GUP_WRITE | NDM_GUP_LONGTERM },
		{ "pin_user_pages_unlocked", NDM_PIN },
		{ "pin_user_pages_unlocked, write", NDM_PIN | NDM_GUP_WRITE },
	};
	long ret;
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ret = ndm_gup(self->probe, self->map, PAGES, ways[i].how);
		EXPECT_EQ(ret, variant->allowed ? PAGES : -EFAULT)
			TH_LOG("%s", ways[i].name);
	}

	/* It has no slow path that could say why not. */
	ret = ndm_gup(self->probe, self->map, PAGES, NDM_GET_FAST_ONLY);
	EXPECT_EQ(ret, variant->allowed ? PAGES : 0);
	ret = ndm_gup(self->probe, self->map, PAGES,
		      NDM_GET_FAST_ONLY | NDM_GUP_WRITE);
	EXPECT_EQ(ret, variant->allowed ? PAGES : 0);
}

/* A range that begins with other memory ends where that does. */
TEST_F(gup, mixed_range)
{
	char *mem, *gmem;
	long ret;

	mem = mmap(NULL, 4 * NDM_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(mem, MAP_FAILED);
	gmem = mmap(mem + 2 * NDM_PAGE, 2 * NDM_PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, self->f.fd, 0);
	ASSERT_EQ(gmem, mem + 2 * NDM_PAGE);
	memset(mem, 1, 4 * NDM_PAGE);

	ret = ndm_gup(self->probe, mem, 4, NDM_GET_FAST | NDM_GUP_WRITE);
	EXPECT_EQ(ret, variant->allowed ? 4 : 2);
	ret = ndm_gup(self->probe, mem, 4, NDM_PIN | NDM_GUP_WRITE);
	EXPECT_EQ(ret, variant->allowed ? 4 : 2);
	munmap(mem, 4 * NDM_PAGE);
}

#ifdef __x86_64__	/* arm64's configuration has no block devices */
TEST_F(gup, o_direct)
{
	int fd = open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC);

	ASSERT_GE(fd, 0)
		TH_LOG("/dev/ram0 (CONFIG_BLK_DEV_RAM): %s", strerror(errno));
	expect_refused(pwrite(fd, self->map, NDM_PAGE, 0), NDM_PAGE, EFAULT);
	expect_refused(pread(fd, self->map, NDM_PAGE, 0), NDM_PAGE, EFAULT);
	close(fd);
}
#endif

TEST_F(gup, vmsplice)
{
	struct iovec iov = { self->map, NDM_PAGE };
	int pipefd[2];

	ASSERT_EQ(pipe(pipefd), 0);
	expect_refused(vmsplice(pipefd[1], &iov, 1, 0), NDM_PAGE, EFAULT);
	expect_refused(vmsplice(pipefd[1], &iov, 1, SPLICE_F_GIFT), NDM_PAGE,
		       EFAULT);
	close(pipefd[0]);
	close(pipefd[1]);
}

#ifdef __x86_64__	/* nor has it io_uring */
TEST_F(gup, io_uring_buffers)
{
	struct io_uring_params params = {};
	struct iovec iov = { self->map, 4 * NDM_PAGE };
	int ring;

	ring = syscall(SYS_io_uring_setup, 4, &params);
	ASSERT_GE(ring, 0)
		TH_LOG("io_uring (CONFIG_IO_URING): %s", strerror(errno));
	expect_refused(syscall(SYS_io_uring_register, ring,
			       IORING_REGISTER_BUFFERS, &iov, 1), 0, EFAULT);
	/* Let go of what may have been registered, before the pages are awaited. */
	syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	close(ring);
}
#endif

TEST_F(gup, process_vm)
{
	char buf[64] = "";
	struct iovec local = { buf, sizeof(buf) };
	struct iovec remote = { self->map, sizeof(buf) };

	expect_refused(process_vm_readv(getpid(), &local, 1, &remote, 1, 0),
		       sizeof(buf), EFAULT);
	if (!variant->allowed)
		EXPECT_EQ(buf[0], 0);
	expect_refused(process_vm_writev(getpid(), &local, 1, &remote, 1, 0),
		       sizeof(buf), EFAULT);
	if (!variant->allowed)
		EXPECT_EQ(self->map[0], 0x5a);
}

TEST_F(gup, proc_mem)
{
	char buf[64] = "";
	int fd;

	fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	expect_refused(pread(fd, buf, sizeof(buf), (uintptr_t)self->map),
		       sizeof(buf), EIO);
	if (!variant->allowed)
		EXPECT_EQ(buf[0], 0);
	memset(buf, 1, sizeof(buf));
	expect_refused(pwrite(fd, buf, sizeof(buf), (uintptr_t)self->map),
		       sizeof(buf), EIO);
	if (!variant->allowed)
		EXPECT_EQ(self->map[0], 0x5a);
	close(fd);
}

TEST_F(gup, ptrace)
{
	int status;
	pid_t pid;
	long word;

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)*(volatile char *)self->map;
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSTOPPED(status));

	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, self->map, NULL);
	if (variant->allowed) {
		EXPECT_EQ(errno, 0);
		EXPECT_EQ(word, 0x5a5a5a5a5a5a5a5a);
	} else {
		EXPECT_EQ(word, -1);
		EXPECT_EQ(errno, EIO);
	}
	expect_refused(ptrace(PTRACE_POKEDATA, pid, self->map, 0L), 0, EIO);

	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
