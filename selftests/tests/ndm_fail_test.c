// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R7: whatever fails, be it the allocation of a page, of a page table of
 * the direct map, or of a node of the page cache, leaves the state it found and
 * yields an errno.  Needs fault injection.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm_guest.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#define DEBUGFS	"/sys/kernel/debug/"

enum {
	PAGES = 40,		/* of each file: few, to get through all of it */
	MAX_NTH = 3000,
};

/* Open before anything can fail. */
static int zero = -1;
static int fail_nth_fd = -1;
static int make_it_fail_fd = -1;

static void open_all(void)
{
	static const struct {
		const char *name;
		const char *value;
	} knobs[] = {
		{ "verbose", "0" },	/* no failure is worth a word in the log */
		{ "task-filter", "Y" },
		{ "times", "-1" },
		{ "ignore-gfp-wait", "N" },
		{ "ignore-gfp-highmem", "N" },
		{ "min-order", "0" },
		{ "probability", "0" },
	};
	static const char * const attrs[] = {
		"fail_page_alloc", "failslab", "fail_usercopy"
	};
	char path[128];
	int i, j;

	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		for (j = 0; j < ARRAY_SIZE(knobs); j++) {
			snprintf(path, sizeof(path), DEBUGFS "%s/%s", attrs[i],
				 knobs[j].name);
			ndm_write_file(path, "%s\n", knobs[j].value);
		}
	}
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	fail_nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	make_it_fail_fd = open("/proc/self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (zero < 0 || fail_nth_fd < 0 || make_it_fail_fd < 0) {
		perror("# fault injection");
		_exit(KSFT_FAIL);
	}
}

/* The write that ends the failures may be the one that fails. */
static void write_number(int fd, unsigned int number)
{
	char buf[16];
	int i, len = snprintf(buf, sizeof(buf), "%u", number);

	for (i = 0; i < 100; i++) {
		if (pwrite(fd, buf, len, 0) == len)
			return;
	}
	perror("# fault injection");
	_exit(KSFT_FAIL);
}

/* From now on the n-th thing that can fail in this thread does. */
static void fail_nth(unsigned int nth)
{
	write_number(fail_nth_fd, nth);
}

/* Has it happened?  The read itself can be what fails. */
static bool has_failed(void)
{
	char buf[16] = "";
	bool failed = pread(fail_nth_fd, buf, sizeof(buf) - 1, 0) > 0 &&
		      !strtoul(buf, NULL, 10);

	fail_nth(0);
	return failed;
}

/*
 * From now on allocations fail at random.  Copies from and to userspace don't:
 * nothing but these would be tested.
 */
static void set_probability(unsigned int percent)
{
	ndm_write_file(DEBUGFS "fail_page_alloc/probability", "%u\n", percent);
	ndm_write_file(DEBUGFS "failslab/probability", "%u\n", percent);
	write_number(make_it_fail_fd, 1);
}

static void no_random(void)
{
	write_number(make_it_fail_fd, 0);
}

static void no_nth(void)
{
	fail_nth(0);
}

FIXTURE(fail) {
	int probe;
	uint64_t missing;
	struct ndm_direct_map dm;
	struct ndm_removals removals;
};

FIXTURE_VARIANT(fail) {
	struct ndm_kind kind;
};

FIXTURE_VARIANT_ADD(fail, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(fail, guest_memfd) { .kind = NDM_MMAP_SHARED };

FIXTURE_SETUP(fail)
{
	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);
	ndm_direct_map(&self->dm);
	ndm_removals(self->probe, &self->removals);
	open_all();
}

FIXTURE_TEARDOWN(fail)
{
	struct ndm_direct_map dm;

	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	/* What fails for want of a block removes, and splits, less at a time. */
	ndm_direct_map(&dm);
	ndm_removals(self->probe, &self->removals);
	EXPECT_LE(dm.kb[0], self->dm.kb[0] +
			    self->removals.split * NDM_BLOCK / 1024)
		TH_LOG("more is split than the %llu entries that removals split",
		       (unsigned long long)self->removals.split);
	close(self->probe);
}

/* Whatever made it into the file obeys the rules. */
static void expect_sane(struct __test_metadata *_metadata, int probe, int fd,
			size_t pages)
{
	struct ndm_check res;

	ndm_check_file(probe, fd, 0, pages, NULL, NULL, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
}

/*
 * All at once, or one after the other by faults: in a system call, which tells
 * when a fault can't be handled, instead of dying of it.
 */
static int populate(struct ndm_file *f, bool by_fault)
{
	size_t i;

	if (!by_fault)
		return ndm_populate(f);

	for (i = 0; i < f->size; i += NDM_PAGE) {
		if (read(zero, f->map + i, 1) != 1)
			return -errno;
	}
	return 0;
}

/* Give all back while things fail; where that fails itself, without. */
static void close_failing(struct ndm_file *f, void (*stop_failing)(void))
{
	if (!munmap(f->map, f->size))
		f->map = NULL;
	close(f->fd);
	f->fd = -1;
	stop_failing();
	ndm_close(f);
}

static void each_nth(struct __test_metadata *_metadata, int probe,
		     const struct ndm_kind *kind, bool by_fault)
{
	unsigned int nth, errors = 0;
	struct ndm_file f;
	uint64_t leaving;
	bool failed;
	int ret;

	for (nth = 1; nth < MAX_NTH; nth++) {
		ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
		/* What waits there needs no allocation that could fail. */
		ndm_empty_pool();
		leaving = ndm_vmstat("nr_no_direct_map_leaving");
		fail_nth(nth);
		ret = populate(&f, by_fault);
		failed = has_failed();
		/* R12: what can't be inserted waits for nobody. */
		EXPECT_LE(ndm_vmstat("nr_no_direct_map_leaving"), leaving);
		errors += ret != 0;
		EXPECT_TRUE(!ret || ret == -ENOMEM || ret == -EFAULT)
			TH_LOG("nth %u: %s", nth, strerror(-ret));
		if (!failed)
			EXPECT_EQ(ret, 0);
		expect_sane(_metadata, probe, f.fd, PAGES);

		/* What failed once works when tried again. */
		ASSERT_EQ(populate(&f, by_fault), 0);
		expect_sane(_metadata, probe, f.fd, PAGES);
		EXPECT_EQ(ndm_nonzero(f.map, f.size), 0);

		/* And the same for giving it all back. */
		ndm_secret_write(f.map, f.size, nth);
		fail_nth(nth);
		close_failing(&f, no_nth);
		if (!failed)
			break;
	}
	TH_LOG("%u places to fail, %u of them with an error", nth - 1, errors);
	EXPECT_LT(nth, MAX_NTH);
	/* A single failure is survived in most places, which is fine. */
	EXPECT_GT(nth, 1);
}

/*
 * All allocations fail from a point on, so that there's nothing to fall back to.
 * Fault injection has a budget for that, in pages or bytes; a block of 2M is
 * beyond it, i.e. pages come from smaller blocks and the direct map is split.
 * Returns what the first attempt to populate a file did.
 */
static int try_budget(struct __test_metadata *_metadata, int probe,
		      const struct ndm_kind *kind, const char *attr,
		      unsigned int budget)
{
	char space[128], probability[128];
	struct ndm_file f;
	int ret;

	snprintf(space, sizeof(space), DEBUGFS "%s/space", attr);
	snprintf(probability, sizeof(probability), DEBUGFS "%s/probability",
		 attr);
	ndm_write_file(probability, "100\n");

	ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
	ndm_empty_pool();
	ASSERT_EQ(ndm_write_file(space, "%u\n", budget), 0);
	write_number(make_it_fail_fd, 1);
	ret = populate(&f, true);
	no_random();
	EXPECT_TRUE(!ret || ret == -ENOMEM || ret == -EFAULT)
		TH_LOG("%s, budget %u: %s", attr, budget, strerror(-ret));
	expect_sane(_metadata, probe, f.fd, PAGES);

	ASSERT_EQ(populate(&f, true), 0);
	expect_sane(_metadata, probe, f.fd, PAGES);
	EXPECT_EQ(ndm_nonzero(f.map, f.size), 0);

	ndm_secret_write(f.map, f.size, budget);
	ASSERT_EQ(ndm_write_file(space, "%u\n", budget), 0);
	write_number(make_it_fail_fd, 1);
	close_failing(&f, no_random);

	ndm_write_file(probability, "0\n");
	ndm_write_file(space, "0\n");
	return ret;
}

static void each_budget(struct __test_metadata *_metadata, int probe,
			const struct ndm_kind *kind, const char *attr,
			unsigned int max, unsigned int step)
{
	unsigned int budget, errors = 0, successes = 0;

	for (budget = 0; budget <= max; budget += step) {
		if (try_budget(_metadata, probe, kind, attr, budget))
			errors++;
		else
			successes++;
	}
	TH_LOG("%s: %u errors, %u successes", attr, errors, successes);
	EXPECT_GT(errors, 0);
	EXPECT_GT(successes, 0);
}

TEST_F(fail, each_page_budget)
{
	each_budget(_metadata, self->probe, &variant->kind, "fail_page_alloc",
		    100, 1);
}

/*
 * Enough for a block of 32 pages, but not for the page table that takes it to
 * split a 2M entry: the removal itself fails.  If there is such an entry: use up
 * the small blocks of free memory, which are where entries are small already,
 * until a removal has failed.
 */
TEST_F(fail, page_table)
{
	enum { TRIES = 200 };
	size_t size = MIB(400);
	char *hog;
	int i;

	hog = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(hog, MAP_FAILED);
	madvise(hog, size, MADV_NOHUGEPAGE);
	for (i = 0; i < TRIES && !self->removals.failed; i++) {
		memset(hog + i * (size / TRIES), 1, size / TRIES);
		/* The user's page tables have a share that varies. */
		try_budget(_metadata, self->probe, &variant->kind,
			   "fail_page_alloc", 33 + i % 5);
		ndm_removals(self->probe, &self->removals);
	}
	munmap(hog, size);

	TH_LOG("%llu removals failed after %d tries",
	       (unsigned long long)self->removals.failed, i);
	EXPECT_GT(self->removals.failed, 0);
}

TEST_F(fail, each_slab_budget)
{
	each_budget(_metadata, self->probe, &variant->kind, "failslab",
		    64 * 1024, 512);
}

TEST_F(fail, each_fault)
{
	each_nth(_metadata, self->probe, &variant->kind, true);
}

TEST(each_in_fallocate)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	uint64_t missing;
	int probe;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	open_all();
	each_nth(_metadata, probe, &kind, false);
	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	close(probe);
}

/* Much at a time, so that large and small blocks and page tables have a part. */
TEST_F(fail, at_random)
{
	const size_t size = MIB(5) + 3 * NDM_PAGE;
	static const unsigned int percent[] = { 30, 10, 3, 1 };
	uint64_t seed = ndm_seed(), failed = 0;
	struct ndm_file f;
	int round, ret, i;

	for (round = 0; round < 12; round++) {
		ASSERT_EQ(ndm_open(&f, &variant->kind, size), 0);
		set_probability(percent[round % ARRAY_SIZE(percent)]);
		for (i = 0; i < 3; i++) {
			ret = populate(&f, round & 1 || variant->kind.secretmem);
			failed += ret != 0;
			if (f.vm >= 0 && i < 2)
				ndm_punch(&f, size / 4 / NDM_PAGE * NDM_PAGE,
					  MIB(2) + NDM_PAGE);
		}
		no_random();
		expect_sane(_metadata, self->probe, f.fd, size / NDM_PAGE);
		ndm_secret_write(f.map, size, seed);
		expect_sane(_metadata, self->probe, f.fd, size / NDM_PAGE);

		set_probability(20);
		close_failing(&f, no_random);
	}
	EXPECT_GT(failed, 0);
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	EXPECT_EQ(ndm_scan(self->probe, seed, NULL), 0);
}

/* In KVM_RUN, for memory that only the guest can populate. */
TEST(guest_fault)
{
	const struct ndm_kind kind = NDM_PROTECTED;
	unsigned int nth, errors = 0;
	struct ndm_guest g;
	uint64_t missing;
	int probe, ret;
	bool failed;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	open_all();

	ASSERT_EQ(ndm_guest_open(&g, &kind, PAGES * NDM_PAGE), 0);
	for (nth = 1; nth < MAX_NTH; nth++) {
		ndm_empty_pool();
		ndm_guest_order(&g, NDM_GUEST_ZERO, 0, g.file.size);
		fail_nth(nth);
		ret = ndm_guest_enter(&g);
		failed = has_failed();
		errors += ret != 0;
		if (!failed)
			EXPECT_EQ(ret, 0)
				TH_LOG("nth %u", nth);
		if (!ret)
			EXPECT_EQ(ndm_guest_result(&g), 0);
		expect_sane(_metadata, probe, g.file.fd, PAGES);
		EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, 0, g.file.size), 0);
		EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, g.file.size), 0);
		expect_sane(_metadata, probe, g.file.fd, PAGES);
		ASSERT_EQ(ndm_punch(&g.file, 0, g.file.size), 0);
		if (!failed)
			break;
	}
	TH_LOG("%u places to fail, %u of them with an error", nth - 1, errors);
	EXPECT_LT(nth, MAX_NTH);
	EXPECT_GT(nth, 1);
	ndm_guest_close(&g);
	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG |
			      NDM_NEED_DEBUGFS);
	if (access(DEBUGFS "fail_page_alloc", F_OK) ||
	    access("/proc/self/fail-nth", F_OK))
		ndm_skip("no fault injection (CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS)");
	return test_harness_run(argc, argv);
}
