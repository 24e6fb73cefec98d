// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R12: who may not have memory can't make the kernel take it, however often
 * they ask, and others don't have to clear away what was taken in vain.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
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

/* Take what whole blocks there are, from index i on.  Returns the next index. */
static unsigned int take_blocks(struct __test_metadata *_metadata, int probe,
				struct ndm_file *f, unsigned int i)
{
	struct ndm_check res;

	for (; i < f->size / NDM_BLOCK; i++) {
		*(volatile char *)(f->map + i * NDM_BLOCK) = 1;
		ndm_check_file(probe, f->fd, i * 512, 512, NULL, NULL, &res);
		if (res.present < 512)
			break;
	}
	EXPECT_LT(i, f->size / NDM_BLOCK);
	return i + 1;
}

/* How many flushes does it take to have one more page? */
static unsigned int touch(int probe, char *page)
{
	struct ndm_flushes flushes;

	ndm_flushes(probe, true, &flushes);
	*(volatile char *)page = 1;
	ndm_flushes(probe, true, &flushes);
	return flushes.direct;
}

/*
 * Pages that can't be moved, and then of the first ones a hole in each period: so many are
 * free that the watermarks are far, below which there are single pages only.
 */
static void fragment(struct __test_metadata *_metadata, struct ndm_file *hog, size_t max,
		     unsigned int hole, unsigned int period)
{
	const struct ndm_kind ordinary = NDM_ORDINARY;
	size_t i, size;

	ndm_empty_pool();
	size = (ndm_free_kb() - 160 * 1024) * 1024 / NDM_BLOCK * NDM_BLOCK;
	ASSERT_EQ(ndm_open(hog, &ordinary, size), 0);
	ASSERT_EQ(ndm_populate(hog), 0);
	size = size < max ? size : max;
	for (i = 0; i < size; i += period * NDM_PAGE)
		ASSERT_EQ(ndm_punch(hog, i, hole * NDM_PAGE), 0);
}

/*
 * R13: memory is so fragmented that there are no blocks of 2M.  Files that grow in turn
 * get pages that are next to each other, but not in each other's blocks, for a flush or
 * two at a time.
 */
TEST(fragmented)
{
	enum { FILES = 6, EACH = 300, HOLE = 64, TRIES = 20 };
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	unsigned int i, j, k, try, mixed = 0, huge, nr_blocks = 0, nr, many = 0, max = 0;
	static __u64 pfns[FILES][EACH];
	struct ndm_file f[FILES], hog, blocks;
	struct ndm_check res;
	int probe;

	probe = ndm_probe_open();
	fragment(_metadata, &hog, MIB(512), HOLE, 2 * HOLE);

	/*
	 * The blocks that there are have to go.  Others turn up while what else runs in
	 * the machine frees memory: then it was too early.
	 */
	ASSERT_EQ(ndm_open(&blocks, &kind, MIB(256)), 0);
	for (try = 0, huge = 1; huge && try < TRIES; try++) {
		nr_blocks = take_blocks(_metadata, probe, &blocks, nr_blocks);

		for (i = 0; i < FILES; i++)
			ASSERT_EQ(ndm_open(&f[i], &kind, NDM_BLOCK), 0);
		for (j = 0; j < EACH; j++) {
			for (i = 0; i < FILES; i++) {
				nr = touch(probe, f[i].map + j * NDM_PAGE);
				max = nr > max ? nr : max;
				many += nr > 2;
			}
		}

		for (i = 0, huge = 0; i < FILES; i++) {
			ndm_check_file(probe, f[i].fd, 0, EACH, pfns[i], NULL, &res);
			EXPECT_EQ(res.present, EACH);
			EXPECT_EQ(res.mapped, 0);
			ndm_check_file(probe, f[i].fd, EACH, 512 - EACH, NULL, NULL,
				       &res);
			huge += res.present;
		}
		for (i = 0; huge && i < FILES; i++)
			ndm_close(&f[i]);
	}
	ASSERT_EQ(huge, 0) TH_LOG("memory isn't fragmented");

	for (i = 1; i < FILES; i++) {
		for (j = 0; j < EACH; j++) {
			for (k = 0; k < i * EACH; k++) {
				if (pfns[k / EACH][k % EACH] / 512 == pfns[i][j] / 512)
					break;
			}
			mixed += k < i * EACH;
		}
	}
	EXPECT_EQ(mixed, 0)
		TH_LOG("%u of %u pages are in another file's block", mixed, FILES * EACH);
	/* One for those of others and one for its own; the kernel may have some, too. */
	EXPECT_LT(many, 3)
		TH_LOG("%u pages took more than two flushes, one took %u", many, max);

	for (i = 0; i < FILES; i++)
		ndm_close(&f[i]);
	ndm_close(&blocks);
	ndm_close(&hog);
	close(probe);
}

static uint64_t present_pages(void)
{
	unsigned long long count;
	uint64_t sum = 0;
	char line[256];
	FILE *file;

	file = fopen("/proc/zoneinfo", "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " present %llu", &count) == 1)
			sum += count;
	}
	if (file)
		fclose(file);
	return sum;
}

static uint64_t pool_pages(void)
{
	struct ndm_counts counts;

	ndm_counts(&counts);
	return counts.free;
}

/*
 * Parts of others' blocks, which turn up while somebody looks for a part of a block of
 * their own, don't pile up there: a quarter of the memory at most, and when nobody has
 * wanted them for a minute, they go back.
 */
TEST(foreign)
{
	enum { FILES = 320, HOLE = 96, PERIOD = 128, MORE = 4096, SLACK = 1024, WAIT = 180 };
	const struct ndm_kind kind = NDM_SECRETMEM, huge = NDM_MMAP_SHARED;
	struct ndm_file f[FILES], more, hog, blocks;
	uint64_t limit = present_pages() / 4, max = 0, now;
	double start;
	static __u64 pfns[FILES];
	struct ndm_check res;
	size_t i, j, nr;
	__u64 pfn;
	int probe;

	probe = ndm_probe_open();
	fragment(_metadata, &hog, MIB(1024), HOLE, PERIOD);
	ASSERT_EQ(ndm_open(&blocks, &huge, MIB(256)), 0);
	take_blocks(_metadata, probe, &blocks, 0);

	/* Each has a block of its own, of which others find the rest. */
	for (nr = 0; nr < FILES && max < limit; nr++) {
		ASSERT_EQ(ndm_open(&f[nr], &kind, NDM_BLOCK), 0);
		*(volatile char *)f[nr].map = 1;
		now = pool_pages();
		max = now > max ? now : max;
	}
	EXPECT_GE(max, limit)
		TH_LOG("not enough to try the limit: %llu", (unsigned long long)max);

	/* Of those blocks, have yet more turn up. */
	for (i = 0; i < nr; i++) {
		ndm_check_file(probe, f[i].fd, 0, 1, &pfns[i], NULL, &res);
		ASSERT_EQ(res.present, 1);
	}
	for (i = HOLE; i < hog.size / NDM_PAGE; i += PERIOD) {
		ndm_check_file(probe, hog.fd, i, 1, &pfn, NULL, &res);
		for (j = 0; j < nr && pfns[j] / 512 != pfn / 512; j++)
			;
		if (res.present && j < nr)
			ndm_punch(&hog, i * NDM_PAGE, (PERIOD - HOLE) * NDM_PAGE);
	}
	ASSERT_EQ(ndm_open(&more, &kind, MORE * NDM_PAGE), 0);
	for (i = 0; i < MORE; i++) {
		*(volatile char *)(more.map + i * NDM_PAGE) = 1;
		if (i % 64)
			continue;
		now = pool_pages();
		max = now > max ? now : max;
	}
	EXPECT_LE(max, limit + SLACK);

	start = ndm_now();
	while ((now = pool_pages()) > limit / 8 && ndm_now() < start + WAIT)
		sleep(1);
	TH_LOG("at most %llu of %llu pages, %llu after %.0f s", (unsigned long long)max,
	       (unsigned long long)limit, (unsigned long long)now, ndm_now() - start);
	EXPECT_LE(now, limit / 8);

	ndm_close(&more);
	for (i = 0; i < nr; i++)
		ndm_close(&f[i]);
	ndm_close(&blocks);
	ndm_close(&hog);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
