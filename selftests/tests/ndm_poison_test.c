// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R4: a page with a memory error is given to nobody anymore, not even to
 * the direct map, where the next stray read would be a machine check.
 *
 * The errors stay in the kernel until the next boot, and so do one page each,
 * the direct map's hole, and the refusal to hibernate.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm_guest.h"

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

/* Whatever the kernel is asked to give back. */
static void expect_quarantined(struct __test_metadata *_metadata, int probe,
			       __u64 pfn, bool was_freed)
{
	__u32 state, always = ~0u, ever = 0;
	struct ndm_check res;
	int i;

	for (i = 0; i < 4; i++) {
		ndm_check_pfns(probe, &pfn, 1, &state, 0, &res);
		always &= state;
		ever |= state;
		ndm_provoke(probe);
	}
	EXPECT_TRUE(always & NDM_POISONED);
	EXPECT_FALSE(ever & NDM_MAPPED);
	EXPECT_FALSE(ever & NDM_READABLE);
	/* A free page without an entry is the next user's oops. */
	EXPECT_FALSE(ever & NDM_FREE);
	if (!was_freed)
		return;

	/*
	 * unpoison-pfn undoes simulated errors.  Whether it does for such a page
	 * is the kernel's choice, but not to free it as it is.
	 */
	ndm_write_file(UNPOISON, "%#llx\n", (unsigned long long)pfn);
	ndm_provoke(probe);
	ndm_check_pfns(probe, &pfn, 1, &state, 0, &res);
	EXPECT_FALSE(state & NDM_MAPPED);
	EXPECT_FALSE(state & NDM_FREE);
}

static void hard_error(struct __test_metadata *_metadata,
		       const struct ndm_kind *kind, bool punch)
{
	uint64_t seed = ndm_seed(), missing;
	struct ndm_counts before, after;
	struct ndm_check res;
	__u64 pfns[PAGES], bad, clean;
	struct ndm_file f;
	int probe;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	ndm_counts(&before);
	ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
	ndm_secret_write(f.map, CLEAN * NDM_PAGE, seed);
	/* The last page is only read, and could be dropped were it ordinary. */
	EXPECT_FALSE(touch_fails(f.map + CLEAN * NDM_PAGE));
	ndm_check_file(probe, f.fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	bad = pfns[BAD];
	clean = pfns[CLEAN];

	ndm_write_file(INJECT, "%#llx\n", (unsigned long long)bad);
	ndm_write_file(INJECT, "%#llx\n", (unsigned long long)clean);
	expect_quarantined(_metadata, probe, bad, false);
	expect_quarantined(_metadata, probe, clean, false);
	EXPECT_TRUE(touch_fails(f.map + BAD * NDM_PAGE));
	EXPECT_TRUE(touch_fails(f.map + CLEAN * NDM_PAGE));
	EXPECT_FALSE(touch_fails(f.map + (BAD - 1) * NDM_PAGE));
	EXPECT_FALSE(touch_fails(f.map + (BAD + 1) * NDM_PAGE));

	/*
	 * pwrite() stops in front of it.  What is written is the secret, from the
	 * file itself, so that it is nowhere else.
	 */
	if (!kind->secretmem) {
		char *src = f.map + (BAD - 2) * NDM_PAGE;

		errno = 0;
		EXPECT_EQ(pwrite(f.fd, src, 64, BAD * NDM_PAGE + 128), -1);
		EXPECT_EQ(errno, EIO);
		EXPECT_EQ(pwrite(f.fd, src, 2 * NDM_PAGE, (BAD - 1) * NDM_PAGE),
			  NDM_PAGE);
		EXPECT_EQ(pwrite(f.fd, src, NDM_PAGE, (BAD + 1) * NDM_PAGE),
			  NDM_PAGE);
		expect_quarantined(_metadata, probe, bad, false);
	}

	/* The error is the file's: a new mapping doesn't make it go away. */
	ASSERT_EQ(munmap(f.map, f.size), 0);
	f.map = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	ASSERT_NE(f.map, MAP_FAILED);
	EXPECT_TRUE(touch_fails(f.map + BAD * NDM_PAGE));
	EXPECT_TRUE(touch_fails(f.map + CLEAN * NDM_PAGE));
	EXPECT_EQ(ndm_secret_differs(f.map, BAD * NDM_PAGE, seed), 0);
	EXPECT_EQ(ndm_secret_differs(f.map + (BAD + 1) * NDM_PAGE,
				     (CLEAN - BAD - 1) * NDM_PAGE, seed), 0);
	expect_quarantined(_metadata, probe, bad, false);
	expect_quarantined(_metadata, probe, clean, false);

	/* Neither is awaited below. */
	pfns[BAD] = pfns[BAD + 1];
	pfns[CLEAN] = pfns[BAD + 1];
	if (punch) {
		ASSERT_EQ(ndm_punch(&f, BAD * NDM_PAGE, NDM_PAGE), 0);
		expect_quarantined(_metadata, probe, bad, true);
		/* The hole can be filled with another page. */
		EXPECT_FALSE(touch_fails(f.map + BAD * NDM_PAGE));
		ndm_check_file(probe, f.fd, BAD, 1, pfns + BAD, NULL, &res);
		EXPECT_NE(pfns[BAD], bad);
		EXPECT_EQ(res.mapped, 0);
	}

	ndm_close(&f);
	EXPECT_EQ(ndm_wait_restored(probe, pfns, PAGES), 0);
	expect_quarantined(_metadata, probe, bad, true);
	expect_quarantined(_metadata, probe, clean, true);
	EXPECT_EQ(ndm_wait_missing(probe, missing + 2), 0);
	/* R12: they are counted, once. */
	ndm_counts(&after);
	EXPECT_EQ(after.quarantined, before.quarantined + 2);
	EXPECT_EQ(after.file, before.file);
	EXPECT_EQ(after.leaving, before.leaving);
	EXPECT_EQ(ndm_scan(probe, seed, NULL), 0);
	close(probe);
}

FIXTURE(poison) {
};

FIXTURE_VARIANT(poison) {
	struct ndm_kind kind;
};

FIXTURE_VARIANT_ADD(poison, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(poison, guest_memfd) { .kind = NDM_MMAP_SHARED };

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
	const struct ndm_kind kind = NDM_MMAP_SHARED;

	hard_error(_metadata, &kind, true);
}

/* The page is on an LRU list, and charged to a memory cgroup if that's in use. */
static bool on_lru(__u64 pfn)
{
	const unsigned int kpf_lru = 5;
	int fd = open("/proc/kpageflags", O_RDONLY);
	uint64_t flags = ~0ull;

	if (fd < 0 || pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		flags = ~0ull;
	close(fd);
	return flags >> kpf_lru & 1;
}

/*
 * The error is met when the page is in no file anymore, but somebody has a reference to
 * it.  The kernel gets one too then, and never drops it.
 */
TEST(hard_error_while_leaving)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	struct ndm_counts before, after;
	struct ndm_file f;
	int probe;
	__u64 pfn;

	probe = ndm_probe_open();
	ndm_counts(&before);
	ASSERT_EQ(ndm_open(&f, &kind, NDM_PAGE), 0);
	*(volatile char *)f.map = 1;
	pfn = ndm_hold(probe, f.fd, 0);
	ASSERT_EQ(ndm_punch(&f, 0, NDM_PAGE), 0);
	EXPECT_TRUE(ndm_wait(on_lru(pfn)));

	ndm_write_file(INJECT, "%#llx\n", (unsigned long long)pfn);
	ndm_put(probe);
	ndm_close(&f);
	EXPECT_TRUE(ndm_wait((ndm_counts(&after),
			      after.quarantined == before.quarantined + 1)));
	EXPECT_EQ(after.leaving, before.leaving);
	EXPECT_FALSE(on_lru(pfn));
	expect_quarantined(_metadata, probe, pfn, true);
	close(probe);
}

/*
 * A soft error asks for the page's contents to be moved elsewhere, which nobody
 * can do: refused, and nothing happens to the page, be it mapped or not.
 */
static void soft_error(struct __test_metadata *_metadata,
		       const struct ndm_kind *kind)
{
	uint64_t seed = ndm_seed(), missing;
	struct ndm_check res;
	__u64 pfns[PAGES];
	struct ndm_file f;
	int probe;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	ASSERT_EQ(ndm_open(&f, kind, PAGES * NDM_PAGE), 0);
	ndm_secret_write(f.map, f.size, seed);
	if (!kind->ordinary) {
		errno = 0;
		EXPECT_EQ(madvise(f.map + BAD * NDM_PAGE, NDM_PAGE,
				  MADV_SOFT_OFFLINE), -1);
		EXPECT_EQ(errno, EFAULT);
	}
	ndm_check_file(probe, f.fd, 0, PAGES, pfns, NULL, &res);
	EXPECT_EQ(ndm_soft_offline(probe, pfns[BAD]), -EBUSY);
	ASSERT_EQ(munmap(f.map, f.size), 0);
	EXPECT_EQ(ndm_soft_offline(probe, pfns[BAD + 1]), -EBUSY);

	f.map = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	ASSERT_NE(f.map, MAP_FAILED);
	EXPECT_EQ(ndm_secret_differs(f.map, f.size, seed), 0);
	ndm_check_file(probe, f.fd, 0, PAGES, NULL, NULL, &res);
	EXPECT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, kind->ordinary ? PAGES : 0);
	ndm_close(&f);
	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	close(probe);
}

TEST_F(poison, soft_error)
{
	soft_error(_metadata, &variant->kind);
}

/* Of any guest_memfd, there is no other copy. */
TEST(soft_error_ordinary)
{
	const struct ndm_kind kind = NDM_ORDINARY;

	soft_error(_metadata, &kind);
}

#ifdef __x86_64__	/* elsewhere nothing is removed for its memory error */
/*
 * A page that is out of the direct map for its memory error is mapped again when
 * that is repaired, as it was before, i.e. by an entry that INVLPG gets rid of
 * whatever the PCID.
 */
TEST(repaired)
{
	__u32 before, after;
	struct ndm_check res;
	int probe;
	__u64 own;

	probe = ndm_probe_open();
	ASSERT_EQ(ndm_own(probe, NDM_OWN_ALLOC, &own), 0);
	ndm_check_pfns(probe, &own, 1, &before, 0, &res);
	ASSERT_EQ(ndm_own(probe, NDM_OWN_REMOVE, NULL), 0);
	ASSERT_EQ(ndm_own(probe, NDM_OWN_FLUSH, NULL), 0);
	ndm_clear_mce(probe, own);
	ndm_check_pfns(probe, &own, 1, &after, 0, &res);
	EXPECT_EQ(res.mapped, 1);
	EXPECT_EQ(res.readable, 1);
	EXPECT_EQ(after & NDM_GLOBAL, before & NDM_GLOBAL);
	ASSERT_EQ(ndm_own(probe, NDM_OWN_FREE, NULL), 0);
	close(probe);
}
#endif

/*
 * A huge page of which a small one has an error, and which can't be split because of
 * a reference: it will never leave as it is, so nothing else gets aliases of it out of
 * the TLBs.
 */
TEST(alias_of_unsplit)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	struct ndm_alias alias;
	struct ndm_check res;
	__u64 pfns[512];
	struct ndm_file f;
	int probe;

	probe = ndm_probe_open();
	ASSERT_EQ(ndm_open(&f, &kind, NDM_BLOCK), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	ndm_check_file(probe, f.fd, 0, 512, pfns, NULL, &res);
	ASSERT_EQ(res.present, 512);
	ASSERT_EQ(pfns[0] % 512, 0) TH_LOG("no huge page");

	ndm_hold(probe, f.fd, 0);
	ndm_write_file(INJECT, "%#llx\n", (unsigned long long)pfns[BAD]);
	expect_quarantined(_metadata, probe, pfns[BAD], false);

	/* Of its first page, which has no error. */
	ASSERT_EQ(ndm_alias(probe, f.fd, 0, 16, &alias), 0);
	EXPECT_GT(alias.reads, 0);
	EXPECT_EQ(alias.stale, 0);

	ndm_put(probe);
	expect_quarantined(_metadata, probe, pfns[BAD], false);
	ndm_close(&f);
	expect_quarantined(_metadata, probe, pfns[BAD], true);
	close(probe);
}

/* Memory that only the guest has: KVM_RUN returns the error. */
TEST(guest_hits_error)
{
	const struct ndm_kind kind = NDM_PROTECTED;
	struct ndm_check res;
	__u64 pfns[PAGES], bad;
	struct ndm_guest g;
	uint64_t missing;
	int probe;

	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	ASSERT_EQ(ndm_guest_open(&g, &kind, PAGES * NDM_PAGE), 0);
	ASSERT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, g.file.size), 0);
	ndm_check_file(probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	bad = pfns[BAD];

	ndm_write_file(INJECT, "%#llx\n", (unsigned long long)bad);
	expect_quarantined(_metadata, probe, bad, false);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_TOUCH, BAD * NDM_PAGE,
				NDM_PAGE), -EHWPOISON);
	expect_quarantined(_metadata, probe, bad, false);

	/* A new page, and the guest goes on where it was. */
	ASSERT_EQ(ndm_punch(&g.file, BAD * NDM_PAGE, NDM_PAGE), 0);
	expect_quarantined(_metadata, probe, bad, true);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, BAD * NDM_PAGE,
				NDM_PAGE), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, BAD * NDM_PAGE), 0);
	ndm_check_file(probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	EXPECT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, 0);

	ndm_guest_close(&g);
	EXPECT_EQ(ndm_wait_restored(probe, pfns, PAGES), 0);
	expect_quarantined(_metadata, probe, bad, true);
	EXPECT_EQ(ndm_wait_missing(probe, missing + 1), 0);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG |
			      NDM_NEED_DEBUGFS);
	if (access(INJECT, W_OK))
		ndm_skip("no " INJECT " (CONFIG_HWPOISON_INJECT)");
	return test_harness_run(argc, argv);
}
