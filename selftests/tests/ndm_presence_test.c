// SPDX-License-Identifier: GPL-2.0
/*
 * Rules R1 and R2: a page in the page cache of such a file has no direct map
 * entry in the page tables nor in any TLB, however it got there, and whoever
 * sees it first sees zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "ndm_fixture.h"
#include "ndm_guest.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

/*
 * Before anything else: does the probe see what it is believed to see?  A block
 * of the probe's own is removed without a flush, while a thread on another CPU
 * reads it.
 */
TEST(probe_sees_tables_and_tlbs)
{
	__u64 pfns[16], first;
	struct ndm_watched seen;
	struct ndm_check res;
	__u8 marks[16];
	int probe, i;

	ndm_pin_here();
	probe = ndm_probe_open();
	ASSERT_EQ(ndm_own(probe, NDM_OWN_ALLOC, &first), 0);
	for (i = 0; i < 16; i++) {
		pfns[i] = first + 16 * i + i;
		marks[i] = 1;
	}

	ndm_check_pfns(probe, pfns, 16, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 16);
	EXPECT_EQ(res.readable, 16);
	EXPECT_EQ(res.nonzero, 0);

	ndm_watch(probe, ndm_other_cpu(), pfns, 16, 0, 0);
	ASSERT_EQ(ndm_own(probe, NDM_OWN_REMOVE, NULL), 0);
	ndm_arm(probe, marks, 16);
	ndm_watch_stop(probe, &seen);
	ndm_check_pfns(probe, pfns, 16, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_GT(seen.stale, 0)
		TH_LOG("a TLB entry that was not flushed went unnoticed");

	ASSERT_EQ(ndm_own(probe, NDM_OWN_FLUSH, NULL), 0);
	ndm_watch(probe, ndm_other_cpu(), pfns, 16, 0, 0);
	ndm_arm(probe, marks, 16);
	ndm_watch_stop(probe, &seen);
	EXPECT_EQ(seen.stale, 0);
	EXPECT_GT(seen.faults, 0);
	ndm_check_pfns(probe, pfns, 16, NULL, 0, &res);
	EXPECT_EQ(res.readable, 0);

	ASSERT_EQ(ndm_own(probe, NDM_OWN_FREE, NULL), 0);
	ndm_check_pfns(probe, pfns, 16, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 16);
	close(probe);
}

/* ... and does the search find a secret, in ordinary memory? */
TEST(probe_finds_a_secret)
{
	uint64_t seed = ndm_seed();
	struct ndm_scan scan;
	int probe, i;
	char *mem;

	probe = ndm_probe_open();
	EXPECT_EQ(ndm_scan(probe, seed, &scan), 0);
	EXPECT_GT(scan.scanned, 0);

	mem = aligned_alloc(NDM_PAGE, 4 * NDM_PAGE);
	ndm_secret_write(mem, 4 * NDM_PAGE, seed);
	EXPECT_EQ(ndm_scan(probe, seed, NULL), 4);

	/* A torn one is none, a single one is, wherever it lies. */
	memset(mem, 0, 4 * NDM_PAGE);
	ndm_secret_write(mem + 2048, 56, seed);
	EXPECT_EQ(ndm_scan(probe, seed, NULL), 0);
	for (i = 0; i < 4; i++)
		ndm_secret_write(mem + i * (NDM_PAGE + 24), 64, seed);
	EXPECT_EQ(ndm_scan(probe, seed, NULL), 4);
	memset(mem, 0, 4 * NDM_PAGE);
	close(probe);
}

#define KIND(fixture, name, init)					\
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = init }

#define PROTECTED_MMAP	NDM_GMEM(KVM_X86_SW_PROTECTED_VM, GUEST_MEMFD_FLAG_MMAP)

/*
 * Fixtures by what can be done with a file: all can be populated, some can be
 * mapped by the host, some can be given to a guest.
 */
NDM_FIXTURE(any);
KIND(any, secretmem, NDM_SECRETMEM);
KIND(any, plain, NDM_GMEM(KVM_X86_DEFAULT_VM, 0));
KIND(any, mmap, NDM_GMEM(KVM_X86_DEFAULT_VM, GUEST_MEMFD_FLAG_MMAP));
KIND(any, shared, NDM_GMEM(KVM_X86_DEFAULT_VM, GUEST_MEMFD_FLAG_INIT_SHARED));
KIND(any, mmap_shared, NDM_MMAP_SHARED);
#ifdef __x86_64__
KIND(any, protected, NDM_PROTECTED);
KIND(any, protected_mmap, PROTECTED_MMAP);
#endif

NDM_FIXTURE(mapped);
KIND(mapped, secretmem, NDM_SECRETMEM);
KIND(mapped, mmap_shared, NDM_MMAP_SHARED);

NDM_FIXTURE(guest);
KIND(guest, mmap_shared, NDM_MMAP_SHARED);
#ifdef __x86_64__
KIND(guest, protected, NDM_PROTECTED);
KIND(guest, protected_mmap, PROTECTED_MMAP);
#endif

#ifdef __x86_64__
/* The kernel ages what userspace maps, and asks KVM along the way. */
NDM_FIXTURE(aged);
KIND(aged, mmap_shared, NDM_MMAP_SHARED);
#endif

#define expect_gone(probe, fd, index, count)				\
do {									\
	struct ndm_check __res;					\
									\
	ndm_check_file(probe, fd, index, count, NULL, NULL, &__res);	\
	EXPECT_EQ(__res.present, count);				\
	EXPECT_EQ(__res.mapped, 0);					\
	EXPECT_EQ(__res.readable, 0);					\
} while (0)

/* All at once.  An odd number of pages exercises blocks that are used in part. */
TEST_F(any, populate)
{
	const size_t size = MIB(4) + 5 * NDM_PAGE;
	struct ndm_file f;

	ASSERT_EQ(ndm_open(&f, &variant->kind, size), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	expect_gone(self->probe, f.fd, 0, size / NDM_PAGE);
	EXPECT_GE(ndm_missing(self->probe), self->missing + size / NDM_PAGE);
	ndm_close(&f);
}

#ifdef __x86_64__	/* where flushes can be counted, and what was one be told */
/*
 * vmalloc() unmaps lazily, i.e. TLBs know pages by addresses that are gone.  A
 * flush of something else may have covered those by chance: so, several times.
 */
TEST_F(any, after_vmalloc)
{
	enum { PAGES = 2 * 512, WANTED = 4, ROUNDS = 40 };
	unsigned int round, used = 0, seen;
	struct ndm_alias before, after;
	struct ndm_check res;
	__u64 pfns[PAGES], pfn;
	struct ndm_file f;
	size_t i;

	for (round = 0; round < ROUNDS && used < WANTED; round++) {
		/* Or the file gets what the last one has left. */
		ndm_empty_pool();
		ASSERT_EQ(ndm_open(&f, &variant->kind, PAGES * NDM_PAGE), 0);
		ASSERT_EQ(ndm_own(self->probe, NDM_OWN_ALLOC, &pfn), 0);
		ASSERT_EQ(ndm_own(self->probe, NDM_OWN_ALIAS, NULL), 0);
		ASSERT_EQ(ndm_alias(self->probe, f.fd, 0, 0, &before), 0);
		ASSERT_EQ(ndm_own(self->probe, NDM_OWN_FREE, NULL), 0);

		ASSERT_EQ(ndm_populate(&f), 0);
		ASSERT_EQ(ndm_alias(self->probe, f.fd, 0, 0, &after), 0);
		ndm_check_file(self->probe, f.fd, 0, PAGES, pfns, NULL, &res);
		for (i = 0, seen = 0; i < PAGES; i++)
			seen += pfns[i] == pfn;
		/* Others purge now and then, which leaves nothing to be seen. */
		if (seen && before.stale && !before.own_flushed) {
			used++;
			EXPECT_EQ(after.stale, 0);
			EXPECT_EQ(after.own_flushed, 1);
		}
		ndm_close(&f);
	}
	EXPECT_EQ(used, WANTED)
		TH_LOG("the file rarely got the block, or no TLB knew it");
}
#endif

/* One by one, as a user faults them in, in no particular order. */
TEST_F(mapped, user_fault)
{
	const size_t pages = 512 + 7;
	size_t i, index, nonzero = 0, mapped = 0;
	struct ndm_check res;
	struct ndm_file f;

	ASSERT_EQ(ndm_open(&f, &variant->kind, pages * NDM_PAGE), 0);
	ndm_dirty_memory(MIB(64));

	for (i = 0; i < pages; i++) {
		index = i * 101 % pages;
		nonzero += ndm_nonzero(f.map + index * NDM_PAGE, NDM_PAGE);
		ndm_check_file(self->probe, f.fd, index, 1, NULL, NULL, &res);
		mapped += res.mapped + res.readable;
	}
	EXPECT_EQ(nonzero, 0);
	EXPECT_EQ(mapped, 0);
	expect_gone(self->probe, f.fd, 0, pages);
	ndm_close(&f);
}

/* As a guest faults them in, and with the guest's secret in them. */
TEST_F(guest, guest_fault)
{
	const size_t size = MIB(2) + 3 * NDM_PAGE;
	struct ndm_check res;
	struct ndm_guest g;

	ndm_dirty_memory(MIB(64));
	ASSERT_EQ(ndm_guest_open(&g, &variant->kind, size), 0);

	/* Part of it was there before the guest came. */
	ASSERT_EQ(fallocate(g.file.fd, FALLOC_FL_KEEP_SIZE, NDM_BLOCK / 2,
			    16 * NDM_PAGE), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, 0, size), 0);
	expect_gone(self->probe, g.file.fd, 0, size / NDM_PAGE);

	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, size), 0);
	expect_gone(self->probe, g.file.fd, 0, size / NDM_PAGE);
	EXPECT_EQ(ndm_scan(self->probe, g.seed, NULL), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, size), 0);
	if (g.file.map)
		EXPECT_EQ(ndm_secret_differs(g.file.map, size, g.seed), 0);

	/* A hole reads as zero, and what comes in its place is gone, too. */
	ASSERT_EQ(ndm_punch(&g.file, 8 * NDM_PAGE, 16 * NDM_PAGE), 0);
	ndm_check_file(self->probe, g.file.fd, 8, 16, NULL, NULL, &res);
	EXPECT_EQ(res.present, 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, 8 * NDM_PAGE,
				16 * NDM_PAGE), 0);
	expect_gone(self->probe, g.file.fd, 0, size / NDM_PAGE);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, 8 * NDM_PAGE), 0);
	ndm_guest_close(&g);
}

#ifdef __x86_64__	/* arm64's configuration has no CONFIG_IDLE_PAGE_TRACKING */
#define PAGE_IDLE	"/sys/kernel/mm/page_idle/bitmap"

static void mark_idle(struct __test_metadata *_metadata, int idle,
		      const __u64 *pfns, size_t count)
{
	uint64_t bits;
	size_t i;

	for (i = 0; i < count; i++) {
		bits = 1ull << pfns[i] % 64;
		ASSERT_EQ(pwrite(idle, &bits, sizeof(bits),
				 pfns[i] / 64 * sizeof(bits)), sizeof(bits));
	}
}

static size_t count_idle(struct __test_metadata *_metadata, int idle,
			 const __u64 *pfns, size_t count)
{
	size_t i, nr = 0;
	uint64_t bits;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(pread(idle, &bits, sizeof(bits),
				pfns[i] / 64 * sizeof(bits)), sizeof(bits));
		nr += bits >> pfns[i] % 64 & 1;
	}
	return nr;
}

/* Ageing tells which pages the guest uses, and does nothing else to any of them. */
TEST_F(aged, page_idle)
{
	/* Not enough for a huge page, which has one age. */
	enum { PAGES = 500, USED = 200 };
	const size_t size = PAGES * NDM_PAGE;
	struct ndm_check res;
	struct ndm_guest g;
	__u64 pfns[PAGES];
	int idle;

	idle = open(PAGE_IDLE, O_RDWR | O_CLOEXEC);
	ASSERT_GE(idle, 0)
		TH_LOG(PAGE_IDLE ": %s", strerror(errno));
	/* One page more, to be punched out. */
	ASSERT_EQ(ndm_guest_open(&g, &variant->kind, size + NDM_PAGE), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, size + NDM_PAGE), 0);
	EXPECT_EQ(ndm_secret_differs(g.file.map, size, g.seed), 0);
	ndm_check_file(self->probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	/* Only pages on an LRU list have an age: have those in batches put there. */
	ASSERT_EQ(ndm_write_file("/proc/sys/vm/drop_caches", "1\n"), 0);

	mark_idle(_metadata, idle, pfns, PAGES);
	expect_gone(self->probe, g.file.fd, 0, PAGES);
	EXPECT_EQ(count_idle(_metadata, idle, pfns, PAGES), PAGES);

	/* Ageing leaves the guest's TLB as it is, which a hole doesn't. */
	ASSERT_EQ(ndm_punch(&g.file, size, NDM_PAGE), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_TOUCH, 0, USED * NDM_PAGE), 0);
	EXPECT_EQ(count_idle(_metadata, idle, pfns, USED), 0);
	EXPECT_EQ(count_idle(_metadata, idle, pfns + USED, PAGES - USED),
		  PAGES - USED);
	expect_gone(self->probe, g.file.fd, 0, PAGES);

	EXPECT_EQ(ndm_scan(self->probe, g.seed, NULL), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, size), 0);
	EXPECT_EQ(ndm_secret_differs(g.file.map, size, g.seed), 0);
	ndm_guest_close(&g);
	close(idle);
}
#endif

/*
 * Another CPU reads pages again and again, so that its TLB has them, while they
 * enter a file.  Which pages will enter is a guess: those that just left one,
 * until enough of them have come.
 */
TEST_F(any, stale_tlb)
{
	enum { WATCHED = 64, ENOUGH = 16, FILES = 24 };
	const size_t size = MIB(8), pages = size / NDM_PAGE;
	__u64 watched[WATCHED], *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_file f, files[FILES];
	__u8 marks[WATCHED] = {};
	struct ndm_watched seen;
	struct ndm_check res;
	int i, n, armed = 0;
	size_t j;

	ASSERT_EQ(ndm_open(&f, &variant->kind, size), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	ndm_check_file(self->probe, f.fd, 0, pages, pfns, NULL, &res);
	ndm_close(&f);
	ASSERT_EQ(ndm_wait_restored(self->probe, pfns, pages), 0);

	/* Runs of pages, since neighbours don't fight for a place in a TLB. */
	for (i = 0; i < WATCHED; i++)
		watched[i] = pfns[i / 16 * (pages / (WATCHED / 16)) + i % 16 + 7];

	ndm_watch(self->probe, ndm_other_cpu(), watched, WATCHED, 0, 0);
	for (n = 0; n < FILES && armed < ENOUGH; n++) {
		ASSERT_EQ(ndm_open(&files[n], &variant->kind, size), 0);
		ASSERT_EQ(ndm_populate(&files[n]), 0);
		ndm_check_file(self->probe, files[n].fd, 0, pages, pfns, NULL,
			       &res);
		for (i = 0; i < WATCHED; i++) {
			for (j = 0; j < pages && !marks[i]; j++)
				marks[i] = watched[i] == pfns[j];
		}
		for (armed = 0, i = 0; i < WATCHED; i++)
			armed += marks[i];
		ndm_arm(self->probe, marks, WATCHED);
	}
	ndm_watch_stop(self->probe, &seen);

	EXPECT_GE(armed, 1)
		TH_LOG("none of the watched pages came back");
	EXPECT_GT(seen.reads, 0);
	EXPECT_EQ(seen.stale, 0)
		TH_LOG("pfn %#llx was read behind its removal (%d pages armed)",
		       (unsigned long long)seen.bad_pfn, armed);
	while (n--)
		ndm_close(&files[n]);
	free(pfns);
}

#ifdef __x86_64__	/* whose page tables look so in debugfs */
static uint64_t symbol(const char *name)
{
	char line[256], found[128], type;
	unsigned long long addr;
	uint64_t value = 0;
	FILE *file;

	file = fopen("/proc/kallsyms", "re");
	while (file && !value && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %c %127s", &addr, &type, found) == 3 &&
		    !strcmp(found, name))
			value = addr;
	}
	if (file)
		fclose(file);
	return value;
}

/*
 * What is freed of the kernel's image can become any memory, and must not keep the
 * mapping that the image has beside the direct map.
 */
TEST(freed_image)
{
	uint64_t begin = symbol("__init_begin"), end = symbol("__init_end");
	unsigned long long start, stop;
	int lines = 0, mapped = 0;
	char line[256];
	FILE *file;

	ASSERT_NE(begin, 0);
	ASSERT_GT(end, begin);
	file = fopen("/sys/kernel/debug/page_tables/kernel", "re");
	ASSERT_NE(file, NULL)
		TH_LOG("no page tables to look at (CONFIG_PTDUMP_DEBUGFS): %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "0x%llx-0x%llx", &start, &stop) != 2)
			continue;
		if (stop <= begin || start >= end)
			continue;
		lines++;
		/* What isn't present has no attributes. */
		if (strstr(line, " RW ") || strstr(line, " ro ")) {
			mapped++;
			TH_LOG("%s", line);
		}
	}
	fclose(file);
	EXPECT_GT(lines, 0);
	EXPECT_EQ(mapped, 0);
}
#endif

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG |
			      NDM_NEED_TWO_CPUS | NDM_NEED_DEBUGFS);
	return test_harness_run(argc, argv);
}
