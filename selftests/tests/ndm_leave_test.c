// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R3: a page that leaves such a file is zeroed before anybody can reach
 * it, is in the direct map again when it is free, and all of that only when
 * nobody has a reference to it anymore.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "ndm_fixture.h"
#include "ndm_guest.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

/* memfd_secret() has no holes. */
NDM_FIXTURE(leave);
FIXTURE_VARIANT_ADD(leave, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(leave, guest_memfd) { .kind = NDM_MMAP_SHARED };

NDM_FIXTURE(hole);
FIXTURE_VARIANT_ADD(hole, guest_memfd) { .kind = NDM_MMAP_SHARED };

static void fill(struct __test_metadata *_metadata, int probe,
		 struct ndm_file *f, const struct ndm_kind *kind,
		 size_t pages, uint64_t seed, __u64 *pfns)
{
	struct ndm_check res;

	ASSERT_EQ(ndm_open(f, kind, pages * NDM_PAGE), 0);
	ndm_secret_write(f->map, f->size, seed);
	ndm_check_file(probe, f->fd, 0, pages, pfns, NULL, &res);
	ASSERT_EQ(res.present, pages);
	ASSERT_EQ(res.mapped, 0);
}

/*
 * Free pages with the secret in them while another CPU looks at some of them,
 * round after round because it has to look at the right moment.
 */
static void leave_watched(struct __test_metadata *_metadata, int probe,
			  const struct ndm_kind *kind, bool punch)
{
	enum { PAGES = 512 + 3, WATCHED = 16, ROUNDS = 4 };
	__u64 *pfns = calloc(PAGES, sizeof(*pfns)), watched[WATCHED];
	struct ndm_watched seen, sum = {};
	uint64_t seed = ndm_seed();
	struct ndm_check res;
	struct ndm_file f;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		fill(_metadata, probe, &f, kind, PAGES, seed, pfns);
		for (i = 0; i < WATCHED; i++)
			watched[i] = pfns[i * (PAGES / WATCHED) + round];

		ndm_watch(probe, ndm_other_cpu(), watched, WATCHED, seed,
			  NDM_WATCH_PRESENT);
		if (punch) {
			ASSERT_EQ(ndm_punch(&f, 0, f.size), 0);
		} else {
			ndm_close(&f);
		}
		EXPECT_EQ(ndm_wait_restored(probe, pfns, PAGES), 0);
		ndm_watch_stop(probe, &seen);
		sum.hits += seen.hits;
		sum.reads += seen.reads;

		ndm_check_pfns(probe, pfns, PAGES, NULL, seed, &res);
		EXPECT_EQ(res.hits, 0);
		if (punch) {
			/* What comes next in the same place is new. */
			EXPECT_EQ(ndm_nonzero(f.map, f.size), 0);
			ndm_close(&f);
		}
	}
	EXPECT_GT(sum.reads, 0);
	EXPECT_EQ(sum.hits, 0)
		TH_LOG("the secret was seen in the direct map %llu times",
		       (unsigned long long)sum.hits);
	EXPECT_EQ(ndm_scan(probe, seed, NULL), 0);
	free(pfns);
}

TEST_F(leave, close)
{
	leave_watched(_metadata, self->probe, &variant->kind, false);
}

TEST_F(hole, punch)
{
	leave_watched(_metadata, self->probe, &variant->kind, true);
}

/* Part of a file leaves, the rest stays what and where it is. */
TEST_F(hole, neighbours_stay)
{
	enum { PAGES = 512, HOLE = 100, HOLE_PAGES = 50 };
	struct ndm_check res;
	__u64 pfns[PAGES];
	struct ndm_file f;

	fill(_metadata, self->probe, &f, &variant->kind, PAGES, self->seed, pfns);
	ASSERT_EQ(ndm_punch(&f, HOLE * NDM_PAGE, HOLE_PAGES * NDM_PAGE), 0);

	ndm_check_file(self->probe, f.fd, 0, PAGES, NULL, NULL, &res);
	EXPECT_EQ(res.present, PAGES - HOLE_PAGES);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
	EXPECT_EQ(ndm_secret_differs(f.map, HOLE * NDM_PAGE, self->seed), 0);
	EXPECT_EQ(ndm_secret_differs(f.map + (HOLE + HOLE_PAGES) * NDM_PAGE,
				     (PAGES - HOLE - HOLE_PAGES) * NDM_PAGE,
				     self->seed), 0);
	EXPECT_EQ(ndm_scan(self->probe, self->seed, NULL), 0);
	ndm_close(&f);
}

/*
 * A hole ends in the middle of a block while others touch pages: the huge page that
 * they get there is partly outside the hole, and that part has to stay.
 */
#define BESIDE_BLOCKS	4

struct beside {
	struct ndm_file *f;
	volatile bool stop;
	double began, ended;		/* when the hole was made */
	pthread_barrier_t start, end;
};

/* Keep the one who makes the hole busy: it is done when nothing is left in there. */
static void *touch_inside(void *arg)
{
	struct beside *b = arg;
	unsigned int i;

	for (;;) {
		pthread_barrier_wait(&b->start);
		if (b->stop)
			return NULL;
		for (i = 0; i < 5 * (BESIDE_BLOCKS - 1); i++)
			*(volatile char *)(b->f->map +
					   (1 + i % (BESIDE_BLOCKS - 1)) * NDM_BLOCK) = 1;
		pthread_barrier_wait(&b->end);
	}
}

static void *punch_beside(void *arg)
{
	struct beside *b = arg;

	for (;;) {
		pthread_barrier_wait(&b->start);
		if (b->stop)
			return NULL;
		b->began = ndm_now();
		ndm_punch(b->f, NDM_BLOCK / 2, b->f->size - NDM_BLOCK / 2);
		b->ended = ndm_now();
		pthread_barrier_wait(&b->end);
	}
}

TEST_F(hole, beside_added_page)
{
	enum { HITS = 100, SECONDS = 15 };
	double begin, at, took = 0.001;
	pthread_t inside, puncher;
	unsigned int round, hits = 0, lost = 0;
	volatile uint64_t *word;
	struct beside b = {};
	struct ndm_file f;
	cpu_set_t all;

	ASSERT_EQ(ndm_open(&f, &variant->kind, BESIDE_BLOCKS * NDM_BLOCK), 0);
	b.f = &f;
	word = (volatile uint64_t *)f.map;
	pthread_barrier_init(&b.start, NULL, 3);
	pthread_barrier_init(&b.end, NULL, 3);

	/* The fixture has pinned the thread, and so would be the others. */
	CPU_ZERO(&all);
	for (round = 0; round < CPU_SETSIZE; round++)
		CPU_SET(round, &all);
	ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
	ASSERT_EQ(pthread_create(&inside, NULL, touch_inside, &b), 0);
	ASSERT_EQ(pthread_create(&puncher, NULL, punch_beside, &b), 0);

	begin = ndm_now();
	for (round = 0; hits < HITS && !lost && ndm_now() < begin + SECONDS; round++) {
		ASSERT_EQ(ndm_punch(&f, 0, NDM_BLOCK), 0);
		pthread_barrier_wait(&b.start);
		/* At any time of what goes on there: how long that takes, the last one knows. */
		at = ndm_now() + took * (round % 16) / 16;
		while (ndm_now() < at)
			ndm_relax();
		at = ndm_now();
		*word = round + 1;
		pthread_barrier_wait(&b.end);
		lost += *word != round + 1;
		hits += b.began < at && at < b.ended;
		took = b.ended - b.began;
	}
	TH_LOG("%u of %u rounds met a hole that was being made", hits, round);
	EXPECT_EQ(lost, 0)
		TH_LOG("round %u: a page outside the hole has left", round);
	EXPECT_GT(hits, 0);

	b.stop = true;
	pthread_barrier_wait(&b.start);
	pthread_join(puncher, NULL);
	pthread_join(inside, NULL);
	ndm_close(&f);
}

/*
 * Someone has a reference: GUP refuses, but a page can be found by its frame
 * number, in the page cache, or in a batch on its way to an LRU list.
 */
TEST_F(leave, extra_reference)
{
	enum { PAGES = 512 + 64, HELD = 3 };
	static const size_t held[HELD] = { 5, 300, 540 };
	__u64 pfns[PAGES], held_pfns[HELD];
	struct ndm_watched seen;
	struct ndm_check res;
	struct ndm_file f;
	int i;

	fill(_metadata, self->probe, &f, &variant->kind, PAGES, self->seed, pfns);
	for (i = 0; i < HELD; i++)
		held_pfns[i] = ndm_hold(self->probe, f.fd, held[i]);
	ndm_close(&f);

	/* The worker has seen them, more than once, and all else that frees has run. */
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(ndm_turn(self->probe));
		ndm_provoke(self->probe);
	}
	ndm_check_pfns(self->probe, held_pfns, HELD, NULL, self->seed, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
	EXPECT_EQ(ndm_scan(self->probe, self->seed, NULL), 0);

	ndm_watch(self->probe, ndm_other_cpu(), held_pfns, HELD, self->seed,
		  NDM_WATCH_PRESENT);
	ndm_put(self->probe);
	EXPECT_EQ(ndm_wait_restored(self->probe, pfns, PAGES), 0);
	ndm_watch_stop(self->probe, &seen);
	EXPECT_GT(seen.reads, 0);
	EXPECT_EQ(seen.hits, 0);
	EXPECT_EQ(ndm_scan(self->probe, self->seed, NULL), 0);
}

/* The same, but the file stays, and gets another page in the same place. */
TEST_F(hole, held_page)
{
	enum { PAGES = 16, HELD = 5 };
	__u64 pfns[PAGES], held;
	struct ndm_check res;
	struct ndm_file f;
	int i;

	fill(_metadata, self->probe, &f, &variant->kind, PAGES, self->seed, pfns);
	held = ndm_hold(self->probe, f.fd, HELD);
	ASSERT_EQ(held, pfns[HELD]);
	ASSERT_EQ(ndm_punch(&f, HELD * NDM_PAGE, NDM_PAGE), 0);
	EXPECT_EQ(ndm_nonzero(f.map + HELD * NDM_PAGE, NDM_PAGE), 0);
	ndm_check_file(self->probe, f.fd, 0, PAGES, pfns, NULL, &res);
	EXPECT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_NE(pfns[HELD], held);

	/* The rest of its block may be kept back, as that returns as a whole. */
	ndm_close(&f);
	for (i = 0; i < 4; i++) {
		EXPECT_TRUE(ndm_turn(self->probe));
		ndm_provoke(self->probe);
	}
	ndm_check_pfns(self->probe, &held, 1, NULL, self->seed, &res);
	EXPECT_EQ(res.mapped, 0);
	ndm_put(self->probe);
	EXPECT_EQ(ndm_wait_restored(self->probe, pfns, PAGES), 0);
	EXPECT_EQ(ndm_wait_restored(self->probe, &held, 1), 0);
	EXPECT_EQ(ndm_scan(self->probe, self->seed, NULL), 0);
}

/* Ask for pages to be evicted in every way there is. */
static void expect_unevictable(struct __test_metadata *_metadata, int probe,
			       int fd, size_t pages)
{
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	__u64 *later = calloc(pages, sizeof(*pfns));
	struct ndm_check res;

	ndm_check_file(probe, fd, 0, pages, pfns, NULL, &res);
	ASSERT_EQ(ndm_write_file("/proc/sys/vm/drop_caches", "3\n"), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	EXPECT_EQ(ndm_soft_offline(probe, pfns[pages / 2]), -EBUSY);
	EXPECT_EQ(ndm_soft_offline(probe, pfns[pages - 1]), -EBUSY);

	ndm_check_file(probe, fd, 0, pages, later, NULL, &res);
	EXPECT_EQ(res.present, pages);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(memcmp(pfns, later, pages * sizeof(*pfns)), 0);
	free(pfns);
	free(later);
}

/*
 * The file holds the only copy of its pages, though none of them is dirty, and
 * none is mapped at the moment.
 */
TEST_F(leave, no_eviction)
{
	enum { PAGES = 64, CLEAN = 32 };
	struct ndm_file f;

	ASSERT_EQ(ndm_open(&f, &variant->kind, PAGES * NDM_PAGE), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	/* munmap() would make all of it dirty that was written to. */
	ndm_secret_write(f.map, CLEAN * NDM_PAGE, self->seed);
	ASSERT_EQ(munmap(f.map, f.size), 0);

	expect_unevictable(_metadata, self->probe, f.fd, PAGES);
	f.map = mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
	ASSERT_NE(f.map, MAP_FAILED);
	EXPECT_EQ(ndm_secret_differs(f.map, CLEAN * NDM_PAGE, self->seed), 0);
	EXPECT_EQ(ndm_nonzero(f.map + CLEAN * NDM_PAGE,
			      (PAGES - CLEAN) * NDM_PAGE), 0);
	EXPECT_EQ(ndm_scan(self->probe, self->seed, NULL), 0);
	ndm_close(&f);
}

/* What has to be the same again, but for some free memory that has other users. */
struct books {
	struct ndm_direct_map dm;
	uint64_t free_kb;
};

/* No file's memory is in slabs, where KASAN keeps much of what was freed. */
static uint64_t not_lost_kb(void)
{
	return ndm_free_kb() + ndm_meminfo_kb("Slab");
}

static void open_books(struct books *books)
{
	ndm_direct_map(&books->dm);
	books->free_kb = not_lost_kb();
}

static void expect_balanced(struct __test_metadata *_metadata,
			    const struct books *books)
{
	const uint64_t noise_kb = MIB(6) / 1024;
	struct ndm_direct_map dm;
	uint64_t free_kb;

	/* There were free blocks, hence no need to split any. */
	ndm_direct_map(&dm);
	EXPECT_LE(dm.kb[0], books->dm.kb[0])
		TH_LOG("the direct map stays split");
	EXPECT_TRUE(ndm_wait((free_kb = not_lost_kb(),
			      free_kb + noise_kb >= books->free_kb)))
		TH_LOG("%llu kB free or in slabs before, %llu kB after",
		       (unsigned long long)books->free_kb,
		       (unsigned long long)free_kb);
}

/* The books are balanced afterwards. */
TEST_F(leave, counters)
{
	const size_t size = MIB(24), pages = size / NDM_PAGE;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_check res;
	struct books books;
	struct ndm_file f;
	int round;

	ndm_compact();
	for (round = 0; round < 2; round++) {
		open_books(&books);

		ASSERT_EQ(ndm_open(&f, &variant->kind, size), 0);
		ndm_secret_write(f.map, f.size, self->seed);
		ndm_check_file(self->probe, f.fd, 0, pages, pfns, NULL, &res);
		EXPECT_EQ(res.present, pages);
		EXPECT_EQ(res.mapped, 0);
		EXPECT_GE(ndm_missing(self->probe), self->missing + pages);
		ndm_close(&f);

		EXPECT_EQ(ndm_wait_restored(self->probe, pfns, pages), 0);
		expect_balanced(_metadata, &books);
	}
	free(pfns);
}

/* Wait for the kernel's numbers to say where the pages went since some moment. */
static void expect_counts(struct __test_metadata *_metadata, int probe,
			  const struct ndm_counts *before, uint64_t missing,
			  int64_t file, int64_t leaving)
{
	struct ndm_counts c;
	int64_t sum, gone;

	/*
	 * Every page without an entry is in one of the numbers, and no other is.
	 * What leaves is on its way for a while: look until all of it agrees.
	 */
	(void)ndm_wait((ndm_empty_pool(), ndm_counts(&c),
			gone = ndm_missing(probe) - missing,
			sum = c.file + c.free + c.leaving + c.quarantined -
			      before->file - before->free - before->leaving -
			      before->quarantined,
			c.file - before->file == file && c.free == before->free &&
			c.leaving - before->leaving == leaving && gone == sum));
	EXPECT_EQ(c.file - before->file, file);
	EXPECT_EQ(c.free, before->free);
	EXPECT_EQ(c.leaving - before->leaving, leaving);
	EXPECT_EQ(c.quarantined, before->quarantined);
	EXPECT_EQ(gone, sum);
}

/* R12: whoever looks at /proc/vmstat knows where the memory is. */
TEST_F(leave, vmstat)
{
	enum { PAGES = 512, HELD = 300 };
	struct ndm_counts before;
	__u64 pfns[PAGES];
	uint64_t missing;
	struct ndm_file f;

	/* What an earlier test left must be gone, or it goes in the middle of this one. */
	ASSERT_TRUE(ndm_wait((ndm_empty_pool(), ndm_counts(&before),
			      !before.free && !before.leaving)));
	missing = ndm_missing(self->probe);

	fill(_metadata, self->probe, &f, &variant->kind, PAGES, self->seed, pfns);
	expect_counts(_metadata, self->probe, &before, missing, PAGES, 0);

	/* All pages wait for the one, in a folio or in their block's pool. */
	ASSERT_EQ(ndm_hold(self->probe, f.fd, HELD), pfns[HELD]);
	ndm_close(&f);
	expect_counts(_metadata, self->probe, &before, missing, 0,
		      variant->kind.secretmem ? 1 : PAGES);

	ndm_put(self->probe);
	EXPECT_EQ(ndm_wait_restored(self->probe, pfns, PAGES), 0);
	expect_counts(_metadata, self->probe, &before, missing, 0, 0);
}

/* A kernel with PTI has no global entries, but for those that users may see. */
static bool no_global_entries(void)
{
	return !system("grep -qw pti /proc/cpuinfo");
}

/*
 * What comes back is what was there before.  Entries that aren't global anymore
 * would show no difference here, as emulated TLBs know no PCIDs: on hardware,
 * their translations outlive the next removal.
 */
TEST_F(leave, global_entries)
{
	enum { PAGES = 512 + 3 };
	__u64 pfns[PAGES];
	__u32 states[PAGES];
	struct ndm_check res;
	struct ndm_file f;
	int i, global = 0;

	if (no_global_entries())
		SKIP(return, "the direct map isn't global with PTI");

	fill(_metadata, self->probe, &f, &variant->kind, PAGES, self->seed, pfns);
	ndm_close(&f);
	ASSERT_EQ(ndm_wait_restored(self->probe, pfns, PAGES), 0);

	ndm_check_pfns(self->probe, pfns, PAGES, states, self->seed, &res);
	ASSERT_EQ(res.mapped, PAGES);
	for (i = 0; i < PAGES; i++)
		global += !!(states[i] & NDM_GLOBAL);
	EXPECT_EQ(global, PAGES);
}

/* Memory that only a guest could write to. */
TEST(private_memory)
{
	enum { PAGES = 512 + 16, HOLE_PAGES = 200, WATCHED = 16 };
	const struct ndm_kind kind = NDM_PROTECTED;
	__u64 pfns[PAGES], watched[WATCHED];
	struct ndm_watched seen;
	struct ndm_check res;
	struct ndm_guest g;
	uint64_t missing;
	int probe, i;

	ndm_pin_here();
	probe = ndm_probe_open();
	missing = ndm_missing(probe);
	ASSERT_EQ(ndm_guest_open(&g, &kind, PAGES * NDM_PAGE), 0);
	ASSERT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, g.file.size), 0);
	ndm_check_file(probe, g.file.fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	ASSERT_EQ(res.mapped, 0);

	/* KVM maps pages without a reference: nothing but a rule keeps them. */
	expect_unevictable(_metadata, probe, g.file.fd, PAGES);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, g.file.size), 0);

	for (i = 0; i < WATCHED; i++)
		watched[i] = pfns[i * HOLE_PAGES / WATCHED];
	ndm_watch(probe, ndm_other_cpu(), watched, WATCHED, g.seed,
		  NDM_WATCH_PRESENT);
	ASSERT_EQ(ndm_punch(&g.file, 0, HOLE_PAGES * NDM_PAGE), 0);
	ndm_check_file(probe, g.file.fd, HOLE_PAGES, PAGES - HOLE_PAGES, NULL,
		       NULL, &res);
	EXPECT_EQ(res.present, PAGES - HOLE_PAGES);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, 0, HOLE_PAGES * NDM_PAGE),
		  0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_VERIFY, HOLE_PAGES * NDM_PAGE,
				(PAGES - HOLE_PAGES) * NDM_PAGE), 0);
	EXPECT_EQ(ndm_scan(probe, g.seed, NULL), 0);

	ndm_guest_close(&g);
	EXPECT_EQ(ndm_wait_restored(probe, pfns, PAGES), 0);
	ndm_watch_stop(probe, &seen);
	EXPECT_GT(seen.reads, 0);
	EXPECT_EQ(seen.hits, 0);
	EXPECT_EQ(ndm_scan(probe, g.seed, NULL), 0);
	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	close(probe);
}

/* Counts its steps, for somebody who waits for one of them to kill it. */
static void vmm(const struct ndm_kind *kind, size_t size, uint64_t seed,
		volatile unsigned int *steps)
{
	struct ndm_guest g;

	if (ndm_guest_open(&g, kind, size))
		_exit(1);
	g.seed = seed;
	for (;;) {
		++*steps;
		if (ndm_guest_run(&g, NDM_GUEST_WRITE, 0, size))
			_exit(1);
		++*steps;
		ndm_punch(&g.file, 0, size / 2);
		++*steps;
		ndm_populate(&g.file);
		++*steps;
		ndm_punch(&g.file, size / 4, size);
	}
}

/* Kill the VMM at any point: populating, running the guest, making holes. */
TEST(killed)
{
	const struct ndm_kind kind = NDM_PROTECTED;
	uint64_t seed = ndm_seed(), missing;
	const size_t size = MIB(12);
	volatile unsigned int *steps;
	unsigned int round, wanted;
	struct books books;
	pid_t pid;
	int probe;

	probe = ndm_probe_open();
	steps = mmap(NULL, NDM_PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(steps, MAP_FAILED);
	ndm_compact();
	missing = ndm_missing(probe);
	open_books(&books);

	for (round = 0; round < 20; round++) {
		*steps = 0;
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			vmm(&kind, size, seed, steps);

		/* From nothing at all to being through once. */
		wanted = round % 5;
		EXPECT_TRUE(ndm_wait(*steps >= wanted))
			TH_LOG("the VMM made %u steps of %u", *steps, wanted);
		usleep(round * round * 100);
		ASSERT_EQ(waitpid(pid, NULL, WNOHANG), 0);
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid);
		/* A search takes longer than all of the above. */
		if (wanted == 4)
			EXPECT_EQ(ndm_scan(probe, seed, NULL), 0);
	}

	EXPECT_EQ(ndm_wait_missing(probe, missing), 0);
	expect_balanced(_metadata, &books);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG |
			      NDM_NEED_TWO_CPUS);
	return test_harness_run(argc, argv);
}
