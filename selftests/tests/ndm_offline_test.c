// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R12: memory goes offline, or it can't, while files without a direct map are
 * filled and closed there; nobody waits for it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#define MEMORY	"/sys/devices/system/memory/"

enum {
	SIZE = 32 * NDM_BLOCK,	/* as many blocks as are removed at once */
	ROUNDS = 40,
	LIMIT = 40,		/* seconds, of which it takes one */
};

struct filler {
	int probe;
	int err;
	bool stop;
	bool busy;		/* memory is going offline, */
	unsigned int nr;	/* for the nr-th time */
	__u64 pfn;		/* where it was the last time, and is likely to be again */
	unsigned int rounds;
	unsigned int usecs;	/* how long it takes to find out that it can't */
};

static uint64_t now_usecs(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ull + ts.tv_nsec / 1000;
}

static bool is_busy(struct filler *filler)
{
	return __atomic_load_n(&filler->busy, __ATOMIC_ACQUIRE);
}

static void *fill(void *arg)
{
	static const struct ndm_kind kind = NDM_MMAP_SHARED;
	struct filler *filler = arg;
	unsigned int seen = 0;
	struct ndm_check res;
	struct ndm_file f;
	__u64 pfn;

	while (!filler->err && !__atomic_load_n(&filler->stop, __ATOMIC_RELAXED)) {
		filler->err = ndm_open(&f, &kind, SIZE);
		if (filler->err)
			break;

		/* At any time while the memory goes offline. */
		while (filler->pfn && !__atomic_load_n(&filler->stop, __ATOMIC_RELAXED) &&
		       __atomic_load_n(&filler->nr, __ATOMIC_ACQUIRE) == seen)
			;
		seen = filler->nr;
		usleep(rand() % (1 + filler->usecs));
		filler->err = ndm_populate(&f);
		ndm_check_file(filler->probe, f.fd, rand() % (SIZE / NDM_BLOCK) * 512, 1,
			       &pfn, NULL, &res);
		/* Nobody who waits for the memory is to get it just because it's closed. */
		while (is_busy(filler))
			usleep(1000);
		ndm_close(&f);
		/* What waits in the pool needn't be removed. */
		ndm_empty_pool();
		if (res.present)
			filler->pfn = pfn;
		__atomic_add_fetch(&filler->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void late(int sig)
{
}

/* The number of pages that go offline together, 0 if the kernel can't do that. */
static unsigned long unit(void)
{
	char size[32];

	if (ndm_read_file(MEMORY "block_size_bytes", size, sizeof(size)) <= 0)
		return 0;
	return strtoul(size, NULL, 16) / NDM_PAGE;
}

/* Memory goes offline.  Returns 0 or -errno, -EINTR if the kernel took too long. */
static int offline(unsigned long nr)
{
	struct itimerspec limit = { .it_value.tv_sec = LIMIT };
	struct sigaction act = { .sa_handler = late };
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
	};
	char path[64];
	timer_t timer;
	int err;

	sigaction(SIGUSR1, &act, NULL);
	snprintf(path, sizeof(path), MEMORY "memory%lu/state", nr);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &limit, NULL);
	err = ndm_write_file(path, "offline\n");
	timer_delete(timer);

	return err;
}

static void online(unsigned long nr)
{
	char path[64];

	snprintf(path, sizeof(path), MEMORY "memory%lu/state", nr);
	if (ndm_write_file(path, "online\n"))
		perror(path);
}

/*
 * What is on its way into the pool and out of it.  Comes first: memory that has been
 * offline is used last.
 */
TEST(filler)
{
	unsigned int round, done = 0, busy = 0;
	unsigned long pages = unit(), nr;
	struct filler filler = {};
	uint64_t missing, start;
	pthread_t thread;
	sigset_t set;
	int err;

	ASSERT_NE(pages, 0)
		TH_LOG("memory can't go offline in this kernel");
	filler.probe = ndm_probe_open();
	missing = ndm_missing(filler.probe);

	/* The signal is for this thread. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ASSERT_EQ(pthread_create(&thread, NULL, fill, &filler), 0);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	for (round = 0; round < ROUNDS && !filler.err; round++) {
		/* The filler waits for the next time, once it has been somewhere. */
		while (__atomic_load_n(&filler.rounds, __ATOMIC_ACQUIRE) <= round &&
		       !filler.err)
			usleep(1000);
		ASSERT_NE(filler.pfn, 0);
		nr = filler.pfn / pages;
		start = now_usecs();
		__atomic_store_n(&filler.busy, true, __ATOMIC_RELAXED);
		__atomic_add_fetch(&filler.nr, 1, __ATOMIC_RELEASE);
		err = offline(nr);
		/* It was given up just when the pool was asked, or the page allocator. */
		if (err == -EBUSY || !filler.usecs)
			filler.usecs = now_usecs() - start;
		__atomic_store_n(&filler.busy, false, __ATOMIC_RELEASE);
		ASSERT_NE(err, -EINTR)
			TH_LOG("waited for %d seconds", LIMIT);
		/* Some of it never can, as it has holes. */
		EXPECT_TRUE(!err || err == -EBUSY || err == -EINVAL)
			TH_LOG("%s", strerror(-err));
		if (!err)
			online(nr);
		done += !err;
		busy += err == -EBUSY;
	}

	__atomic_store_n(&filler.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(filler.err, 0);
	EXPECT_NE(done + busy, 0)
		TH_LOG("nothing was tried");
	TH_LOG("offline %u times, busy %u times, filled %u times", done, busy,
	       filler.rounds);
	EXPECT_EQ(ndm_wait_missing(filler.probe, missing), 0);
	close(filler.probe);
}

/* What waits in the pool goes, unless something else is in the way. */
TEST(pool)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	const size_t nr_pages = MIB(512) / NDM_PAGE;
	unsigned long pages = unit(), nr = ~0ul;
	unsigned int gone = 0, busy = 0;
	struct ndm_check res;
	size_t i, j, n;
	struct ndm_file f;
	__u64 *pfns, *some;
	int probe, err;

	ASSERT_NE(pages, 0)
		TH_LOG("memory can't go offline in this kernel");
	pfns = calloc(2 * nr_pages, sizeof(*pfns));
	ASSERT_NE(pfns, NULL);
	some = pfns + nr_pages;
	probe = ndm_probe_open();
	ASSERT_EQ(ndm_open(&f, &kind, nr_pages * NDM_PAGE), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	ndm_check_file(probe, f.fd, 0, nr_pages, pfns, NULL, &res);
	ASSERT_EQ(res.present, nr_pages);
	ndm_close(&f);

	for (i = 0; i < nr_pages; i++) {
		if (pfns[i] / pages == nr)
			continue;
		nr = pfns[i] / pages;
		for (n = 0, j = 0; j < nr_pages; j++) {
			if (pfns[j] / pages == nr)
				some[n++] = pfns[j];
		}
		/* Has it had its turn? */
		ndm_check_pfns(probe, some, n, NULL, 0, &res);
		if (res.mapped)
			continue;

		err = offline(nr);
		ASSERT_NE(err, -EINTR)
			TH_LOG("waited for %d seconds", LIMIT);
		if (!err)
			online(nr);
		ndm_check_pfns(probe, some, n, NULL, 0, &res);
		if (!err)
			EXPECT_EQ(res.mapped, n);
		EXPECT_TRUE(!err || err == -EBUSY || err == -EINVAL)
			TH_LOG("%s", strerror(-err));
		gone += res.mapped == n;
		busy += !!err;
	}
	TH_LOG("free again %u, busy %u", gone, busy);
	EXPECT_NE(gone, 0);
	free(pfns);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require("ndm_offline_test", NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
