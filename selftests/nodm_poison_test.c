// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R4: a page with a memory error is given to nobody anymore, not even to
 * the direct map, where the next stray read would be a machine check.
 *
 * The errors stay in the kernel until the next boot, and so do one page each,
 * the direct map's hole, and the refusal to hibernate.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "nodm_guest.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define INJECT		"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

enum { PAGES = 512 + 32, BAD = 77, CLEAN = PAGES - 1 };

static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	siglongjmp(on_sigbus, 1);
}

static bool touch_fails(volatile char *addr)
{
	struct sigaction action = { .sa_handler = sigbus }, old;
	bool failed = true;

	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(on_sigbus, 1)) {
		(void)*addr;
		failed = false;
	}
	sigaction(SIGBUS, &old, NULL);
	return failed;
}

/* For a while, and not even when somebody insists. */
static void expect_quarantined(struct __test_metadata *_metadata, int probe,
			       __u64 pfn, bool was_freed)
{
	__u32 state, always = ~0u, ever = 0;
	struct nodm_check res;
	int i;

	for (i = 0; i < 4; i++) {
		nodm_clear_mce(probe, pfn);
		nodm_check_pfns(probe, &pfn, 1, &state, 0, &res);
		always &= state;
		ever |= state;
		usleep(150000);
	}
	EXPECT_TRUE(always & NODM_POISONED);
	EXPECT_FALSE(ever & NODM_MAPPED);
	EXPECT_FALSE(ever & NODM_READABLE);
	/* A free page without an entry is the next user's oops. */
	EXPECT_FALSE(ever & NODM_FREE);
	if (!was_freed)
		return;

	/*
	 * unpoison-pfn undoes simulated errors.  Whether it does for such a page
	 * is the kernel's choice, but not to free it as it is.
	 */
	nodm_write_file(UNPOISON, "%#llx\n", (unsigned long long)pfn);
	usleep(300000);
	nodm_check_pfns(probe, &pfn, 1, &state, 0, &res);
	EXPECT_FALSE(state & NODM_MAPPED);
	EXPECT_FALSE(state & NODM_FREE);
}

static void hard_error(struct __test_metadata *_metadata,
		       const struct nodm_kind *kind, bool punch)
{
	uint64_t seed = nodm_seed(), missing;
	struct nodm_check res;
	__u64 pfns[PAGES], bad, clean;
	struct nodm_file f;
	int probe;

	probe = nodm_probe_open();
	missing = nodm_missing(probe);
	ASSERT_EQ(nodm_open(&f, kind, PAGES * NODM_PAGE), 0);
	nodm_secret_write(f.map, CLEAN * NODM_PAGE, seed);
	/* The last page is only read, and could be dropped were it ordinary. */
	EXPECT_FALSE(touch_fails(f.map + CLEAN * NODM_PAGE));
	nodm_check_file(probe, f.fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	bad = pfns[BAD];
	clean = pfns[CLEAN];

	nodm_write_file(INJECT, "%#llx\n", (unsigned long long)bad);
	nodm_write_file(INJECT, "%#llx\n", (unsigned long long)clean);
	expect_quarantined(_metadata, probe, bad, false);
	expect_quarantined(_metadata, probe, clean, false);
	EXPECT_TRUE(touch_fails(f.map + BAD * NODM_PAGE));
	EXPECT_TRUE(touch_fails(f.map + CLEAN * NODM_PAGE));
	EXPECT_FALSE(touch_fails(f.map + (BAD - 1) * NODM_PAGE));
	EXPECT_FALSE(touch_fails(f.map + (BAD + 1) * NODM_PAGE));

	/*
	 * pwrite() stops in front of it.  What is written is the secret, from the
	 * file itself, so that it is nowhere else.
	 */
	if (!kind->secretmem) {
		char *src = f.map + (BAD - 2) * NODM_PAGE;

		errno = 0;
		EXPECT_EQ(pwrite(f.fd, src, 64, BAD * NODM_PAGE + 128), -1);
		EXPECT_EQ(errno, EIO);
		EXPECT_EQ(pwrite(f.fd, src, 2 * NODM_PAGE, (BAD - 1) * NODM_PAGE),
			  NODM_PAGE);
		EXPECT_EQ(pwrite(f.fd, src, NODM_PAGE, (BAD + 1) * NODM_PAGE),
			  NODM_PAGE);
		expect_quarantined(_metadata, probe, bad, false);
	}

	/* The error is the file's: a new mapping doesn't make it go away. */
	ASSERT_EQ(munmap(f.map, f.size), 0);
	f.map = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	ASSERT_NE(f.map, MAP_FAILED);
	EXPECT_TRUE(touch_fails(f.map + BAD * NODM_PAGE));
	EXPECT_TRUE(touch_fails(f.map + CLEAN * NODM_PAGE));
	EXPECT_EQ(nodm_secret_differs(f.map, BAD * NODM_PAGE, seed), 0);
	EXPECT_EQ(nodm_secret_differs(f.map + (BAD + 1) * NODM_PAGE,
				      (CLEAN - BAD - 1) * NODM_PAGE, seed), 0);
	expect_quarantined(_metadata, probe, bad, false);
	expect_quarantined(_metadata, probe, clean, false);

	/* Neither is awaited below. */
	pfns[BAD] = pfns[BAD + 1];
	pfns[CLEAN] = pfns[BAD + 1];
	if (punch) {
		ASSERT_EQ(nodm_punch(&f, BAD * NODM_PAGE, NODM_PAGE), 0);
		expect_quarantined(_metadata, probe, bad, true);
		/* The hole can be filled with another page. */
		EXPECT_FALSE(touch_fails(f.map + BAD * NODM_PAGE));
		nodm_check_file(probe, f.fd, BAD, 1, pfns + BAD, NULL, &res);
		EXPECT_NE(pfns[BAD], bad);
		EXPECT_EQ(res.mapped, 0);
	}

	nodm_close(&f);
	EXPECT_EQ(nodm_wait_restored(probe, pfns, PAGES), 0);
	expect_quarantined(_metadata, probe, bad, true);
	expect_quarantined(_metadata, probe, clean, true);
	EXPECT_EQ(nodm_wait_missing(probe, missing + 2), 0);
	EXPECT_EQ(nodm_scan(probe, seed, NULL), 0);
	close(probe);
}

FIXTURE(poison) {
};

FIXTURE_VARIANT(poison) {
	struct nodm_kind kind;
};

FIXTURE_VARIANT_ADD(poison, secretmem) { .kind = NODM_SECRETMEM };
FIXTURE_VARIANT_ADD(poison, guest_memfd) { .kind = NODM_MMAP_SHARED };

FIXTURE_SETUP(poison)
{
}

FIXTURE_TEARDOWN(poison)
{
}

TEST_F(poison, hard_error)
{
	hard_error(_metadata, &variant->kind, false);
}

TEST(hard_error_and_hole)
{
	const struct nodm_kind kind = NODM_MMAP_SHARED;

	hard_error(_metadata, &kind, true);
}

/*
 * A soft error asks for the page's contents to be moved elsewhere, which nobody
 * can do: refused, and nothing happens to the page, be it mapped or not.
 */
TEST_F(poison, soft_error)
{
	uint64_t seed = nodm_seed(), missing;
	struct nodm_check res;
	__u64 pfns[PAGES];
	struct nodm_file f;
	int probe;

	probe = nodm_probe_open();
	missing = nodm_missing(probe);
	ASSERT_EQ(nodm_open(&f, &variant->kind, PAGES * NODM_PAGE), 0);
	nodm_secret_write(f.map, f.size, seed);
	errno = 0;
	EXPECT_EQ(madvise(f.map + BAD * NODM_PAGE, NODM_PAGE, MADV_SOFT_OFFLINE),
		  -1);
	EXPECT_EQ(errno, EFAULT);
	nodm_check_file(probe, f.fd, 0, PAGES, pfns, NULL, &res);
	EXPECT_EQ(nodm_soft_offline(probe, pfns[BAD]), -EBUSY);
	ASSERT_EQ(munmap(f.map, f.size), 0);
	EXPECT_EQ(nodm_soft_offline(probe, pfns[BAD + 1]), -EBUSY);

	f.map = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	ASSERT_NE(f.map, MAP_FAILED);
	EXPECT_EQ(nodm_secret_differs(f.map, f.size, seed), 0);
	nodm_check_file(probe, f.fd, 0, PAGES, NULL, NULL, &res);
	EXPECT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, 0);
	nodm_close(&f);
	EXPECT_EQ(nodm_wait_missing(probe, missing), 0);
	close(probe);
}

/*
 * A page that is out of the direct map for its memory error is mapped again when
 * that is repaired, as one of the probe's own shows; a live page of such a file
 * isn't, whatever was said of it.
 */
TEST_F(poison, repaired)
{
	uint64_t seed = nodm_seed(), missing;
	__u64 pfns[PAGES], own;
	struct nodm_check res;
	struct nodm_file f;
	int probe, i;

	probe = nodm_probe_open();
	missing = nodm_missing(probe);
	ASSERT_EQ(nodm_own(probe, NODM_OWN_ALLOC, &own), 0);
	ASSERT_EQ(nodm_own(probe, NODM_OWN_REMOVE, NULL), 0);
	ASSERT_EQ(nodm_own(probe, NODM_OWN_FLUSH, NULL), 0);
	nodm_clear_mce(probe, own);
	nodm_check_pfns(probe, &own, 1, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 1);
	EXPECT_EQ(res.readable, 1);
	ASSERT_EQ(nodm_own(probe, NODM_OWN_FREE, NULL), 0);

	ASSERT_EQ(nodm_open(&f, &variant->kind, PAGES * NODM_PAGE), 0);
	nodm_secret_write(f.map, f.size, seed);
	nodm_check_file(probe, f.fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	for (i = 0; i < PAGES; i++)
		nodm_clear_mce(probe, pfns[i]);
	nodm_check_file(probe, f.fd, 0, PAGES, NULL, NULL, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
	EXPECT_EQ(nodm_scan(probe, seed, NULL), 0);
	EXPECT_EQ(nodm_secret_differs(f.map, f.size, seed), 0);
	nodm_close(&f);
	EXPECT_EQ(nodm_wait_missing(probe, missing), 0);
	close(probe);
}

/* Memory that only the guest has: KVM_RUN returns the error. */
TEST(guest_hits_error)
{
	const struct nodm_kind kind = NODM_PROTECTED;
	struct nodm_check res;
	__u64 pfns[PAGES], bad;
	struct nodm_guest g;
	uint64_t missing;
	int probe;

	probe = nodm_probe_open();
	missing = nodm_missing(probe);
	ASSERT_EQ(nodm_guest_open(&g, &kind, PAGES * NODM_PAGE), 0);
	ASSERT_EQ(nodm_guest_run(&g, NODM_GUEST_WRITE, 0, g.file.size), 0);
	nodm_check_file(probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	bad = pfns[BAD];

	nodm_write_file(INJECT, "%#llx\n", (unsigned long long)bad);
	expect_quarantined(_metadata, probe, bad, false);
	EXPECT_EQ(nodm_guest_run(&g, NODM_GUEST_TOUCH, BAD * NODM_PAGE,
				 NODM_PAGE), -EHWPOISON);
	expect_quarantined(_metadata, probe, bad, false);

	/* A new page, and the guest goes on where it was. */
	ASSERT_EQ(nodm_punch(&g.file, BAD * NODM_PAGE, NODM_PAGE), 0);
	expect_quarantined(_metadata, probe, bad, true);
	EXPECT_EQ(nodm_guest_run(&g, NODM_GUEST_ZERO, BAD * NODM_PAGE,
				 NODM_PAGE), 0);
	EXPECT_EQ(nodm_guest_run(&g, NODM_GUEST_VERIFY, 0, BAD * NODM_PAGE), 0);
	nodm_check_file(probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	EXPECT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, 0);

	nodm_guest_close(&g);
	EXPECT_EQ(nodm_wait_restored(probe, pfns, PAGES), 0);
	expect_quarantined(_metadata, probe, bad, true);
	EXPECT_EQ(nodm_wait_missing(probe, missing + 1), 0);
	close(probe);
}

int main(int argc, char **argv)
{
	nodm_require(argv[0], NODM_NEED_PROBE | NODM_NEED_FLAG |
			      NODM_NEED_DEBUGFS);
	if (access(INJECT, W_OK))
		nodm_skip("no " INJECT " (CONFIG_HWPOISON_INJECT)");
	return test_harness_run(argc, argv);
}
