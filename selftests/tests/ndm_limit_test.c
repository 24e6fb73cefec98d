// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R12: who may not have memory can't make the kernel take it, however often
 * they ask, and others don't have to clear away what was taken in vain.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

enum {
	LOOPERS = 20,
	LIMIT = 16,		/* pages that each may have */
	PUNCHES = 20,
};

struct shared {
	volatile bool go, stop;
	volatile int ready, bad;
	volatile uint64_t refused[LOOPERS];
};

/* Whoever has no page of their own, or PROT_NONE, gets EFAULT alike. */
static void looper(struct shared *shared, int i, bool beyond)
{
	struct rlimit limit = { LIMIT * NDM_PAGE, LIMIT * NDM_PAGE };
	char *map, *victim;
	int fd, n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The memory of a user is counted, whatever the number of files. */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(4000 + i))
		goto bad;
	fd = syscall(SYS_memfd_secret, 0);
	if (fd < 0 || ftruncate(fd, 2 * LIMIT * NDM_PAGE))
		goto bad;
	map = mmap(NULL, 2 * LIMIT * NDM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, 0);
	if (map == MAP_FAILED)
		goto bad;
	for (n = 0; n < 2 * LIMIT; n++) {
		if (sysinfo((struct sysinfo *)(map + n * NDM_PAGE)))
			break;
	}
	if (n != LIMIT)
		goto bad;
	victim = map + LIMIT * NDM_PAGE;
	if (!beyond && mprotect(victim, NDM_PAGE, PROT_NONE))
		goto bad;

	__sync_fetch_and_add(&shared->ready, 1);
	while (!shared->go && !shared->stop)
		usleep(1000);
	while (!shared->stop) {
		if (!sysinfo((struct sysinfo *)victim))
			goto bad;
		shared->refused[i]++;
	}
	_exit(0);

bad:
	__sync_fetch_and_add(&shared->bad, 1);
	__sync_fetch_and_add(&shared->ready, 1);
	_exit(1);
}

struct result {
	uint64_t parked;	/* the most pages out of the direct map at a time */
	double punching;	/* seconds, all of them */
	uint64_t refused;
};

static void run(struct __test_metadata *_metadata, int probe, struct ndm_file *f,
		bool beyond, struct result *res)
{
	struct shared *shared;
	uint64_t before, now;
	double start;
	int i, status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(shared, MAP_FAILED);
	for (i = 0; i < LOOPERS; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid)
			looper(shared, i, beyond);
	}
	EXPECT_TRUE(ndm_wait(shared->ready == LOOPERS));
	EXPECT_EQ(shared->bad, 0);
	before = ndm_missing(probe);

	*res = (struct result){};
	shared->go = true;
	EXPECT_TRUE(ndm_wait(shared->refused[0] && shared->refused[LOOPERS - 1]));
	for (i = 0; i < PUNCHES; i++) {
		f->map[0] = 1;
		start = ndm_now();
		EXPECT_EQ(ndm_punch(f, 0, NDM_PAGE), 0);
		res->punching += ndm_now() - start;
		now = ndm_missing(probe);
		if (now > before && now - before > res->parked)
			res->parked = now - before;
	}
	shared->stop = true;
	for (i = 0; i < LOOPERS; i++)
		EXPECT_GE(wait(&status), 0);
	EXPECT_EQ(shared->bad, 0);
	for (i = 0; i < LOOPERS; i++)
		res->refused += shared->refused[i];
	munmap(shared, sizeof(*shared));
}

TEST(beyond_the_limit)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	struct result control, res;
	struct ndm_file f;
	uint64_t missing;
	int probe;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	ASSERT_EQ(ndm_open(&f, &kind, NDM_PAGE), 0);
	f.map[0] = 1;

	/* As many processes are busy with refusals that have nothing to do with it. */
	run(_metadata, probe, &f, false, &control);
	run(_metadata, probe, &f, true, &res);
	TH_LOG("refused %llu times: at most %llu pages out of the direct map in vain, %d holes in %.3f s",
	       (unsigned long long)res.refused, (unsigned long long)res.parked,
	       PUNCHES, res.punching);
	TH_LOG("for comparison, %llu refusals for other reasons: %llu pages, %.3f s",
	       (unsigned long long)control.refused,
	       (unsigned long long)control.parked, control.punching);

	/* Two blocks may be on their way in or out. */
	EXPECT_LE(res.parked, 2 * 512);
	EXPECT_LE(res.punching, 5 * control.punching + 0.5);

	ndm_close(&f);
	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
