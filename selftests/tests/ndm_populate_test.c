// SPDX-License-Identifier: GPL-2.0
/*
 * What only faults pages in works on memory that has no direct map entry as on
 * any other: MAP_POPULATE, MADV_POPULATE_*, mlock() and its kin.  It hands out
 * no page, and whatever would do so is refused as before (R10).  What was locked
 * can be unlocked.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <linux/futex.h>

#include "kselftest_harness.h"
#include "ndm.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

enum { PAGES = 64, SIZE = PAGES * NDM_PAGE };

FIXTURE(populate) {
	int probe;
	uint64_t missing;
	struct ndm_file f;
	__u64 pfns[PAGES];
};

FIXTURE_VARIANT(populate) {
	struct ndm_kind kind;
};

FIXTURE_VARIANT_ADD(populate, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(populate, guest_memfd) { .kind = NDM_MMAP_SHARED };
FIXTURE_VARIANT_ADD(populate, ordinary_guest_memfd) { .kind = NDM_ORDINARY };

FIXTURE_SETUP(populate)
{
	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);
	ASSERT_EQ(ndm_open(&self->f, &variant->kind, SIZE), 0);
}

/* All pages come back: nobody has kept one. */
FIXTURE_TEARDOWN(populate)
{
	ndm_close(&self->f);
	if (self->pfns[0])
		EXPECT_EQ(ndm_wait_restored(self->probe, self->pfns, PAGES), 0);
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	close(self->probe);
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* The number of faults that it takes to read, or write, each page. */
static long touch(volatile char *map, bool write)
{
	long before = faults();
	size_t i;

	for (i = 0; i < SIZE; i += NDM_PAGE) {
		if (write)
			map[i] = 1;
		else
			(void)map[i];
	}
	return faults() - before;
}

static uint64_t locked_kb(void)
{
	char status[8192], *line;

	if (ndm_read_file("/proc/self/status", status, sizeof(status)) < 0)
		return ~0ull;
	line = strstr(status, "VmLck:");
	return line ? strtoull(line + 6, NULL, 10) : ~0ull;
}

static size_t in_file(struct __test_metadata *_metadata, int probe,
		      struct ndm_file *f, const struct ndm_kind *kind, __u64 *pfns)
{
	struct ndm_check res;

	ndm_check_file(probe, f->fd, 0, PAGES, pfns, NULL, &res);
	if (!kind->ordinary) {
		EXPECT_EQ(res.mapped, 0);
		EXPECT_EQ(res.readable, 0);
	}
	return res.present;
}

#define present()							\
	in_file(_metadata, self->probe, &self->f, &variant->kind, self->pfns)

/* Whatever was done to the mapping, nobody gets a page of it. */
#define expect_no_page(map)						\
do {									\
	static const unsigned int ways[] = {				\
		NDM_GET_FAST_ONLY, NDM_GET_FAST, NDM_GET, NDM_PIN_FAST,	\
		NDM_PIN,						\
		NDM_GET_FAST_ONLY | NDM_GUP_WRITE,			\
		NDM_GET_FAST | NDM_GUP_WRITE, NDM_GET | NDM_GUP_WRITE,	\
		NDM_PIN_FAST | NDM_GUP_WRITE, NDM_PIN | NDM_GUP_WRITE,	\
		NDM_PIN_FAST | NDM_GUP_WRITE | NDM_GUP_LONGTERM,	\
	};								\
	int __i;							\
									\
	for (__i = 0; !variant->kind.ordinary &&			\
		      __i < ARRAY_SIZE(ways); __i++) {			\
		long __got = ndm_gup(self->probe, map, PAGES, ways[__i]); \
									\
		EXPECT_LE(__got, 0)					\
			TH_LOG("way %#x", ways[__i]);			\
	}								\
} while (0)

TEST_F(populate, madvise_read)
{
	ASSERT_EQ(present(), 0);
	ASSERT_EQ(madvise(self->f.map, SIZE, MADV_POPULATE_READ), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(self->f.map, false), 0);
	EXPECT_EQ(ndm_nonzero(self->f.map, SIZE), 0);
	expect_no_page(self->f.map);
}

TEST_F(populate, madvise_write)
{
	ASSERT_EQ(madvise(self->f.map, SIZE, MADV_POPULATE_WRITE), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(self->f.map, true), 0);
	expect_no_page(self->f.map);
	/* It changes nothing, however often. */
	ASSERT_EQ(madvise(self->f.map, SIZE, MADV_POPULATE_WRITE), 0);
	EXPECT_EQ(self->f.map[0], 1);
}

/* Refused for the same reasons as on any other file. */
TEST_F(populate, madvise_errors)
{
	char *map;

	map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, self->f.fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	errno = 0;
	EXPECT_EQ(madvise(map, SIZE, MADV_POPULATE_WRITE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(present(), 0);
	EXPECT_EQ(madvise(map, SIZE, MADV_POPULATE_READ), 0);
	EXPECT_EQ(present(), PAGES);
	munmap(map, SIZE);

	map = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->f.fd, 0);
	if (map != MAP_FAILED) {
		errno = 0;
		EXPECT_EQ(madvise(map + SIZE, NDM_PAGE, MADV_POPULATE_READ), -1);
		EXPECT_EQ(errno, EFAULT);
		munmap(map, 2 * SIZE);
	}
}

TEST_F(populate, mmap)
{
	char *map;

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		   self->f.fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(map, false), 0);
	expect_no_page(map);
	munmap(map, SIZE);
}

TEST_F(populate, mlock)
{
	uint64_t before = locked_kb();

	ASSERT_EQ(mlock(self->f.map, SIZE), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(locked_kb(), before + SIZE / 1024);
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(self->f.map, false), 0);
	expect_no_page(self->f.map);

	/* By parts, too, and once is enough. */
	ASSERT_EQ(munlock(self->f.map + SIZE / 4, SIZE / 2), 0);
	EXPECT_EQ(locked_kb(), before + SIZE / 2 / 1024);
	ASSERT_EQ(munlock(self->f.map, SIZE), 0);
	EXPECT_EQ(locked_kb(), before);
	/* The memory is as it was. */
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(self->f.map, false), 0);
	expect_no_page(self->f.map);
}

TEST_F(populate, mlock_onfault)
{
	uint64_t before = locked_kb();

	ASSERT_EQ(syscall(SYS_mlock2, self->f.map, SIZE, MLOCK_ONFAULT), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(locked_kb(), before + SIZE / 1024);
	EXPECT_EQ(present(), 0);
	touch(self->f.map, true);
	EXPECT_EQ(present(), PAGES);
	ASSERT_EQ(munlock(self->f.map, SIZE), 0);
	EXPECT_EQ(locked_kb(), before);
}

/* Who locks everything locks this, what is there and what will be. */
TEST_F(populate, mlockall)
{
	char *map;

	ASSERT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(self->f.map, false), 0);
	ASSERT_EQ(munlockall(), 0);
	EXPECT_EQ(locked_kb(), 0);

	ASSERT_EQ(mlockall(MCL_FUTURE), 0);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->f.fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	EXPECT_EQ(touch(map, false), 0);
	expect_no_page(map);
	ASSERT_EQ(munlockall(), 0);
	munmap(map, SIZE);
	EXPECT_EQ(locked_kb(), 0);
}

/* What mmap() locked, munlock() unlocks, and holes can be made again. */
TEST_F(populate, map_locked)
{
	uint64_t before = locked_kb();
	char *map;

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_LOCKED,
		   self->f.fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	EXPECT_EQ(locked_kb(), before + SIZE / 1024);
	EXPECT_EQ(present(), PAGES);
	EXPECT_EQ(touch(map, false), 0);
	expect_no_page(map);

	if (!variant->kind.secretmem) {
		errno = 0;
		EXPECT_EQ(madvise(map, SIZE, MADV_REMOVE), -1);
		EXPECT_EQ(errno, EINVAL);
	}
	ASSERT_EQ(munlock(map, SIZE), 0);
	EXPECT_EQ(locked_kb(), before);
	if (!variant->kind.secretmem) {
		EXPECT_EQ(madvise(map, SIZE, MADV_REMOVE), 0)
			TH_LOG("%s", strerror(errno));
		EXPECT_EQ(ndm_wait_restored(self->probe, self->pfns, PAGES), 0);
		EXPECT_EQ(present(), 0);
		self->pfns[0] = 0;
	}
	munmap(map, SIZE);
	EXPECT_EQ(locked_kb(), before);
}

/* Locked or not, the pages go when their file goes, and take the lock along. */
TEST_F(populate, locked_file_goes)
{
	uint64_t before = ndm_vmstat("nr_mlock"), after;

	ndm_pin_here();
	ASSERT_EQ(mlock(self->f.map, SIZE), 0);
	EXPECT_EQ(present(), PAGES);
	munmap(self->f.map, SIZE);
	self->f.map = NULL;
	close(self->f.fd);
	self->f.fd = -1;
	EXPECT_EQ(ndm_wait_restored(self->probe, self->pfns, PAGES), 0);
	ASSERT_TRUE(ndm_wait((after = ndm_vmstat("nr_mlock")) <= before + PAGES / 2))
		TH_LOG("%llu pages locked before, %llu after",
		       (unsigned long long)before, (unsigned long long)after);
}

/*
 * What needs the page, not only the memory: a futex whose key is the file's, and
 * the simulation of a memory error by address.
 */
TEST_F(populate, by_address)
{
	ASSERT_EQ(madvise(self->f.map, SIZE, MADV_POPULATE_WRITE), 0);
	EXPECT_EQ(present(), PAGES);

	/* The word is 0, thus there is nothing to wait for. */
	errno = 0;
	EXPECT_EQ(syscall(SYS_futex, self->f.map, FUTEX_WAIT_PRIVATE, 1, NULL), -1);
	EXPECT_EQ(errno, EAGAIN);
	errno = 0;
	EXPECT_EQ(syscall(SYS_futex, self->f.map, FUTEX_WAIT, 1, NULL), -1);
	EXPECT_EQ(errno, variant->kind.ordinary ? EAGAIN : EFAULT);
	if (variant->kind.ordinary)
		return;
	errno = 0;
	EXPECT_EQ(madvise(self->f.map, NDM_PAGE, MADV_HWPOISON), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(self->f.map[0], 0);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
