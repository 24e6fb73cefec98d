// SPDX-License-Identifier: GPL-2.0
/*
 * What a balloon and free page reporting do: holes of single pages and of 2 MiB in a
 * file that stays.  The memory comes back to the host within a bounded time, though
 * nobody is short of any, can be taken again, and the direct map is whole when the file
 * is gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	900

#define SIZE		MIB(64)
#define BOUND		200	/* seconds until all of it is back; emulation is slow */
#define SLACK		MIB(2)	/* of what others take meanwhile */

FIXTURE(balloon) {
	int probe;
	uint64_t missing;
	struct ndm_direct_map dm;
	struct ndm_file f;
	uint64_t full;		/* what's free when nothing is in the balloon, KiB */
};

FIXTURE_SETUP(balloon)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;

	ndm_pin_here();
	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);
	ndm_compact();
	ndm_direct_map(&self->dm);
	ASSERT_EQ(ndm_open(&self->f, &kind, SIZE), 0);
	memset(self->f.map, 0x5a, SIZE);
	self->full = ndm_free_kb();
}

/* Wait for the direct map to have as many 4K entries as before, but for a few. */
static bool whole(const struct ndm_direct_map *before)
{
	struct ndm_direct_map now;

	ndm_direct_map(&now);
	return now.kb[0] <= before->kb[0] + 2048;
}

#define wait_long(cond)							\
({									\
	double end_ = ndm_now() + BOUND;				\
	bool ok_;							\
									\
	while (!(ok_ = (cond)) && ndm_now() < end_)			\
		usleep(200000);						\
	ok_;								\
})

FIXTURE_TEARDOWN(balloon)
{
	struct ndm_direct_map now;

	ndm_close(&self->f);
	EXPECT_TRUE(wait_long(ndm_missing(self->probe) <= self->missing));
	EXPECT_TRUE(wait_long(whole(&self->dm)));
	ndm_direct_map(&now);
	TH_LOG("4K entries of the direct map: %llu KiB before, %llu after",
	       (unsigned long long)self->dm.kb[0], (unsigned long long)now.kb[0]);
	close(self->probe);
}

/* Punch @size bytes at every @step, then wait for that much to be free. */
#define inflate(size, step)						\
do {									\
	size_t offset_, bytes_ = 0;					\
	double start_ = ndm_now();					\
	uint64_t free_;							\
									\
	for (offset_ = 0; offset_ < SIZE; offset_ += (step), bytes_ += (size))	\
		ASSERT_EQ(ndm_punch(&self->f, offset_, size), 0);	\
	free_ = self->full + (bytes_ - SLACK) / 1024;			\
	EXPECT_TRUE(wait_long(ndm_free_kb() >= free_))			\
		TH_LOG("only %lld KiB of %zu came back",		\
		       (long long)(ndm_free_kb() - self->full), bytes_ / 1024);	\
	TH_LOG("%zu KiB came back in %.1f s", bytes_ / 1024, ndm_now() - start_);	\
} while (0)

/* What was left is as it was, and what comes again is zero. */
#define deflate(size, step)						\
do {									\
	size_t offset_;							\
									\
	for (offset_ = 0; offset_ < SIZE; offset_ += NDM_PAGE) {	\
		ASSERT_EQ(self->f.map[offset_],				\
			  offset_ % (step) < (size) ? 0 : 0x5a);	\
	}								\
} while (0)

TEST_F(balloon, blocks)
{
	inflate(MIB(2), MIB(4));
	deflate(MIB(2), MIB(4));
}

/* The block goes when its last page does. */
TEST_F(balloon, all_pages)
{
	inflate(NDM_PAGE, NDM_PAGE);
	deflate(NDM_PAGE, NDM_PAGE);
}

/* Every second page: nothing is in one piece any more. */
TEST_F(balloon, pages)
{
	inflate(NDM_PAGE, 2 * NDM_PAGE);
	deflate(NDM_PAGE, 2 * NDM_PAGE);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
