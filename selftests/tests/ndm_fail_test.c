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
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
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
	bool failed;
	int ret;

	for (nth = 1; nth < MAX_NTH; nth++) {
		ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
		/* What waits there needs no allocation that could fail. */
		ndm_empty_pool();
		fail_nth(nth);
		ret = populate(&f, by_fault);
		failed = has_failed();
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
	struct ndm_counts before, now;
	struct ndm_file f;
	int ret;

	snprintf(space, sizeof(space), DEBUGFS "%s/space", attr);
	snprintf(probability, sizeof(probability), DEBUGFS "%s/probability",
		 attr);
	ndm_write_file(probability, "100\n");

	ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
	ndm_empty_pool();
	ndm_counts(&before);
	ASSERT_EQ(ndm_write_file(space, "%u\n", budget), 0);
	write_number(make_it_fail_fd, 1);
	ret = populate(&f, true);
	no_random();
	/* R12: what can't be inserted, as here, waits for nobody. */
	ndm_counts(&now);
	EXPECT_LE(now.leaving, before.leaving);
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

#ifdef __x86_64__	/* elsewhere there may be no entry to split */
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
#endif

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
		/* What waits there needn't be allocated, so that nothing fails. */
		ndm_empty_pool();
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
	/* What the first KVM_RUN sets up is not the subject; on arm64, a VM dies of it. */
	ASSERT_EQ(ndm_guest_run(&g, NDM_GUEST_TOUCH, 0, NDM_PAGE), 0);
	ASSERT_EQ(ndm_punch(&g.file, 0, g.file.size), 0);
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

/*
 * Every other operation, once for each thing in it that can fail, until nothing
 * does: whatever it says, the memory of the file is what it was, or what it is to be,
 * and the same operation works right afterwards.
 */
#define BIG	(MIB(2) + 8 * NDM_PAGE)

struct each {
	int probe;
	int vm;			/* without a vCPU */
	struct ndm_guest g;	/* .vm is NULL if the operation needs none */
	struct ndm_file f;
	struct kvm_userspace_memory_region2 region;
	unsigned int nth;
};

struct each_op {
	const char *name;
	size_t size;		/* of the file, 0: the guest's */
	int (*prepare)(struct each *e);
	/* Returns 0 or -errno. */
	int (*run)(struct each *e);
	/* Returns what is wrong, or NULL.  @ret is what run() said. */
	const char *(*check)(struct each *e, int ret);
	void (*undo)(struct each *e);
};

static char pattern(size_t i)
{
	return i * 7 + i / NDM_PAGE + 1;
}

static int fill_pattern(struct each *e)
{
	size_t i;

	for (i = 0; i < e->f.size; i++)
		e->f.map[i] = pattern(i);
	return 0;
}

static bool holds_pattern(struct each *e, size_t from, size_t to)
{
	size_t i;

	for (i = from; i < to; i++) {
		if (e->f.map[i] != pattern(i))
			return false;
	}
	return true;
}

static int run_create(struct each *e)
{
	int fd = ndm_gmem_create(e->vm, MIB(2), GUEST_MEMFD_FLAG_NO_DIRECT_MAP);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Neither the start nor the end of a page, nor of 2M. */
#define WRITE_OFF	(MIB(2) - 5 * NDM_PAGE - 17)
#define WRITE_LEN	(7 * NDM_PAGE)

static char write_buf[WRITE_LEN];
static ssize_t written;

static int prepare_pwrite(struct each *e)
{
	memset(write_buf, 0x5a, sizeof(write_buf));
	return ndm_punch(&e->f, 0, e->f.size);
}

static int run_pwrite(struct each *e)
{
	written = pwrite(e->f.fd, write_buf, WRITE_LEN, WRITE_OFF);
	return written < 0 ? -errno : written == WRITE_LEN ? 0 : -ENOMEM;
}

static const char *check_pwrite(struct each *e, int ret)
{
	size_t i, end = WRITE_OFF + (written > 0 ? written : 0);

	for (i = 0; i < e->f.size; i++) {
		if (e->f.map[i] != (i >= WRITE_OFF && i < end ? 0x5a : 0))
			return "other bytes are written than it says";
	}
	return NULL;
}

static int run_populate(struct each *e)
{
	return madvise(e->f.map, e->f.size, 23 /* MADV_POPULATE_WRITE */) ? -errno : 0;
}

static const char *check_zero(struct each *e, int ret)
{
	return ndm_nonzero(e->f.map, e->f.size) ? "not zero" : NULL;
}

/* In the middle of 2M, and over its end. */
#define HOLE_OFF	(MIB(2) - 3 * NDM_PAGE)
#define HOLE_LEN	(5 * NDM_PAGE)

static int run_punch(struct each *e)
{
	return ndm_punch(&e->f, HOLE_OFF, HOLE_LEN);
}

static const char *check_punch(struct each *e, int ret)
{
	if (!holds_pattern(e, 0, HOLE_OFF) ||
	    !holds_pattern(e, HOLE_OFF + HOLE_LEN, e->f.size))
		return "what is beside the hole has changed";
	if (!ret && ndm_nonzero(e->f.map + HOLE_OFF, HOLE_LEN))
		return "the hole isn't zero";
	return NULL;
}

static void undo_pages(struct each *e)
{
	ndm_punch(&e->f, 0, e->f.size);
}

static int run_release(struct each *e)
{
	/* It may take memory. */
	if (!munmap(e->f.map, e->f.size))
		e->f.map = NULL;
	close(e->f.fd);
	return 0;
}

static const char *check_release(struct each *e, int ret)
{
	if (e->f.map)
		munmap(e->f.map, e->f.size);
	/* Another with the same number may have been opened since. */
	e->f.map = NULL;
	e->f.fd = -1;
	return NULL;
}

static int prepare_bind(struct each *e)
{
	e->region = (struct kvm_userspace_memory_region2){
		.slot = 3,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = MIB(1024),
		.memory_size = e->f.size,
		.userspace_addr = (uintptr_t)e->f.map,
		.guest_memfd = e->f.fd,
	};
	return 0;
}

static int run_bind(struct each *e)
{
	return ioctl(e->f.vm, KVM_SET_USER_MEMORY_REGION2, &e->region) ? -errno : 0;
}

static void undo_bind(struct each *e)
{
	e->region.memory_size = 0;
	ioctl(e->f.vm, KVM_SET_USER_MEMORY_REGION2, &e->region);
}

#ifdef __x86_64__
/* A cache with its alias, made anew and then refreshed. */
static int run_cache(struct each *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = {
		.head.nmsrs = 1,
		.entry = {
			.index = 0x4b564d01 /* MSR_KVM_SYSTEM_TIME_NEW */,
			.data = e->g.gpa | 1,
		},
	};
	int ret;

	ret = ioctl(e->g.vcpu->fd, KVM_SET_MSRS, &msrs);
	if (ret != 1)
		return ret < 0 ? -errno : -ENOMEM;
	return ndm_guest_enter(&e->g);
}

static int prepare_cache(struct each *e)
{
	ndm_guest_order(&e->g, NDM_GUEST_TOUCH, 0, NDM_PAGE);
	return ndm_punch(&e->g.file, 0, e->g.file.size);
}

static int run_attributes(struct each *e)
{
	struct kvm_memory_attributes attr = {
		.address = e->g.gpa,
		.size = e->g.file.size,
	};
	int i;

	for (i = 0; i < 2; i++) {
		if (ioctl(e->g.vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr))
			return -errno;
		attr.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
	}
	return 0;
}
#endif

static const struct each_op each_ops[] = {
	{ "create", BIG, NULL, run_create, NULL, NULL },
	{ "pwrite", BIG, prepare_pwrite, run_pwrite, check_pwrite, undo_pages },
	{ "populate", BIG, NULL, run_populate, check_zero, undo_pages },
	{ "split", BIG, fill_pattern, run_punch, check_punch, undo_pages },
	{ "release", BIG, fill_pattern, run_release, check_release, NULL },
	{ "bind", BIG, prepare_bind, run_bind, NULL, undo_bind },
#ifdef __x86_64__
	{ "cache", 0, prepare_cache, run_cache, NULL, NULL },
	{ "attributes", 0, NULL, run_attributes, NULL, NULL },
#endif
};

/* A file of its own for each time, as it may be gone then. */
static int each_open(struct each *e, const struct each_op *op)
{
	const struct ndm_kind shared = NDM_MMAP_SHARED;

	return op->size ? ndm_open(&e->f, &shared, op->size) : 0;
}

static int each_once(struct each *e, const struct each_op *op, bool fail, bool *failed)
{
	int ret;

	if (op->prepare && op->prepare(e))
		return -EIO;
	if (fail)
		fail_nth(e->nth);
	ret = op->run(e);
	if (fail)
		*failed = has_failed();
	return ret;
}

TEST(each_operation)
{
	const struct ndm_kind protected = NDM_PROTECTED;
	const struct each_op *op;
	struct each e = {};
	unsigned int errors;
	uint64_t missing;
	const char *why;
	bool failed;
	int ret;

	e.probe = ndm_probe_open();
	open_all();
	e.vm = ndm_vm_create(0);
	ASSERT_GE(e.vm, 0);
	ASSERT_EQ(ndm_guest_open(&e.g, &protected, PAGES * NDM_PAGE), 0);

	for (op = each_ops; op < each_ops + ARRAY_SIZE(each_ops); op++) {
		missing = ndm_missing(e.probe);
		errors = 0;
		for (e.nth = 1, failed = true; failed && e.nth < MAX_NTH; e.nth++) {
			ASSERT_EQ(each_open(&e, op), 0);
			ret = each_once(&e, op, true, &failed);
			errors += ret != 0;
			EXPECT_TRUE(!ret || (failed && (ret == -ENOMEM || ret == -EFAULT ||
							ret == -EINTR)))
				TH_LOG("%s, nth %u: %s", op->name, e.nth, strerror(-ret));
			if (op->size && e.f.fd >= 0 && op->run != run_release)
				expect_sane(_metadata, e.probe, e.f.fd, op->size / NDM_PAGE);
			why = op->check ? op->check(&e, ret) : NULL;
			EXPECT_EQ(why, NULL)
				TH_LOG("%s, nth %u, %s: %s", op->name, e.nth,
				       ret ? strerror(-ret) : "success", why);
			if (!ret && op->undo)
				op->undo(&e);

			/* What failed works when tried again. */
			if (ret) {
				EXPECT_EQ(each_once(&e, op, false, NULL), 0)
					TH_LOG("%s, again after nth %u", op->name, e.nth);
				why = op->check ? op->check(&e, 0) : NULL;
				EXPECT_EQ(why, NULL)
					TH_LOG("%s, again after nth %u: %s", op->name, e.nth,
					       why);
				if (op->undo)
					op->undo(&e);
			}
			if (op->size)
				ndm_close(&e.f);
		}
		TH_LOG("%s: %u places to fail, %u of them with an error", op->name,
		       e.nth - 1, errors);
		EXPECT_LT(e.nth, MAX_NTH);
		EXPECT_GT(e.nth, 2);
		if (!op->size)
			ndm_punch(&e.g.file, 0, e.g.file.size);
		EXPECT_EQ(ndm_wait_missing(e.probe, missing), 0)
			TH_LOG("%s", op->name);
	}
	ndm_guest_close(&e.g);
	close(e.vm);
	close(e.probe);
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
