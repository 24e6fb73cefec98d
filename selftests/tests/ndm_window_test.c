// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R5: while the kernel accesses a page in a window, no other CPU can, and
 * once the window is closed, none.  The generic window, which a debug option
 * selects on x86 and which is the only one elsewhere, shows the page to all CPUs while
 * it is open, but has to leave nothing behind, not in a TLB either.
 *
 * Rule R6: an alias of a page, which any CPU can use, leaves no TLB entry behind
 * when the page is free.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#define GENERIC		"/sys/kernel/debug/no_direct_map/generic_window"

enum { PAGES = 32, SECONDS = 3, ALIASES = 200 };

FIXTURE(window) {
	struct ndm_kind kind;
	struct ndm_file f;
	__u64 pfns[PAGES];
	uint64_t seed;
	int probe;
};

FIXTURE_SETUP(window)
{
	self->kind = (struct ndm_kind)NDM_MMAP_SHARED;
	ndm_pin_here();
	self->probe = ndm_probe_open();
	self->seed = ndm_seed();
	ASSERT_EQ(ndm_open(&self->f, &self->kind, PAGES * NDM_PAGE), 0);
}

FIXTURE_TEARDOWN(window)
{
	ndm_write_file(GENERIC, "0\n");
	ndm_close(&self->f);
	close(self->probe);
}

static void write_page(struct __test_metadata *_metadata, struct ndm_file *f,
		       size_t i, int value)
{
	char buf[NDM_PAGE];

	memset(buf, value, sizeof(buf));
	ASSERT_EQ(pwrite(f->fd, buf, NDM_PAGE, i * NDM_PAGE), NDM_PAGE);
}

static void fill(struct __test_metadata *_metadata, int probe,
		 struct ndm_file *f, __u64 *pfns)
{
	struct ndm_check res;
	size_t i;

	for (i = 0; i < PAGES; i++)
		write_page(_metadata, f, i, 1);
	ndm_check_file(probe, f->fd, 0, PAGES, pfns, NULL, &res);
	ASSERT_EQ(res.present, PAGES);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
}

static void check(struct __test_metadata *_metadata, int probe,
		  const struct ndm_watched *seen, const __u64 *pfns)
{
	struct ndm_check res;

	TH_LOG("%llu reads in %llu rounds succeeded, %llu of them when no window was open",
	       (unsigned long long)seen->reads, (unsigned long long)seen->loops,
	       (unsigned long long)seen->stale);
	EXPECT_GT(seen->faults, 0);
	EXPECT_EQ(seen->stale, 0)
		TH_LOG("page frame %#llx could be read although its window was closed",
		       (unsigned long long)seen->bad_pfn);

	/* From all CPUs, and from the page tables. */
	ndm_check_pfns(probe, pfns, PAGES, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
}

static bool page_is(const struct ndm_file *f, size_t i, int value)
{
	size_t n;

	for (n = 0; n < NDM_PAGE; n++)
		if (f->map[i * NDM_PAGE + n] != (char)value)
			return false;
	return true;
}

#ifdef __x86_64__
/* Not even once, and not even while a window is open. */
TEST_F(window, local)
{
	double end = ndm_now() + SECONDS;
	struct ndm_watched seen;
	unsigned int n;
	__u8 mark = 1;
	size_t i;

	/* The file is there if the kernel was built for debugging that. */
	ndm_write_file(GENERIC, "0\n");
	fill(_metadata, self->probe, &self->f, self->pfns);
	/* One page only, as the windows are short: don't look at another one. */
	ndm_watch(self->probe, ndm_other_cpu(), self->pfns, 1, self->seed, 0);
	ndm_arm(self->probe, &mark, 1);

	for (n = 1; n < PAGES; n++)
		write_page(_metadata, &self->f, n, n);
	do {
		write_page(_metadata, &self->f, 0, n++);
	} while (ndm_now() < end);

	ndm_watch_stop(self->probe, &seen);
	check(_metadata, self->probe, &seen, self->pfns);
	EXPECT_EQ(seen.reads, 0);

	/* What was written is where it belongs. */
	EXPECT_TRUE(page_is(&self->f, 0, n - 1));
	for (i = 1; i < PAGES; i++)
		EXPECT_TRUE(page_is(&self->f, i, i));
}

#endif

TEST_F(window, generic)
{
	enum { TRIES = 10 };
	struct ndm_watched seen;
	unsigned int try;
	double end;
	__u8 mark;
	int i;

#ifdef __x86_64__
	ASSERT_EQ(ndm_write_file(GENERIC, "1\n"), 0)
		TH_LOG("needs CONFIG_NO_DIRECT_MAP_GENERIC_WINDOW");
#endif

	/* One page only, as the windows are short: don't look at another one. */
	fill(_metadata, self->probe, &self->f, self->pfns);
	seen.reads = 0;
	for (try = 0; !seen.reads && try < TRIES; try++) {
		ndm_watch(self->probe, ndm_other_cpu(), self->pfns, 1, self->seed, 0);
		end = ndm_now() + SECONDS;
		while (ndm_now() < end) {
			mark = 0;
			ndm_arm(self->probe, &mark, 1);
			for (i = 0; i < 50; i++)
				write_page(_metadata, &self->f, 0, i);
			mark = 1;
			ndm_arm(self->probe, &mark, 1);
		}
		ndm_watch_stop(self->probe, &seen);
		check(_metadata, self->probe, &seen, self->pfns);
	}
	/* Had there been none, the watch would prove nothing: a busy machine takes longer. */
	EXPECT_GT(seen.reads, 0);

	EXPECT_TRUE(page_is(&self->f, 0, 49));
	for (i = 1; i < PAGES; i++)
		EXPECT_TRUE(page_is(&self->f, i, 1));
}

#ifdef __x86_64__
/* Not in the page tables, and not in the TLB of the CPU that had it. */
TEST_F(window, nothing_left)
{
	struct ndm_local seen;
	size_t i;

	fill(_metadata, self->probe, &self->f, self->pfns);
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(ndm_local(self->probe, self->f.fd, i, &seen), 0);
		ASSERT_EQ(seen.state, NDM_LOCAL_MAPPED | NDM_LOCAL_FLUSHED);
	}
}

struct reader {
	void *addr;
	int pipe[2];
	int cpu;
	bool stop;
	unsigned long faults, reads;
};

/* Have the kernel read at the address of a window, in the mm of this process. */
static bool local_address_readable(struct reader *r)
{
	char buf[8];

	if (write(r->pipe[1], r->addr, sizeof(buf)) < 0) {
		r->faults += errno == EFAULT;
		return false;
	}
	r->reads++;
	return read(r->pipe[0], buf, sizeof(buf)) == sizeof(buf);
}

static void *reader_thread(void *data)
{
	struct reader *r = data;

	ndm_pin(r->cpu);
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		local_address_readable(r);
	return NULL;
}

TEST_F(window, address)
{
	struct reader here = {}, there = {};
	char buf[NDM_PAGE] = {};
	struct ndm_local local;
	pthread_t thread;
	size_t i = 0;
	double end;

	ndm_write_file(GENERIC, "0\n");
	fill(_metadata, self->probe, &self->f, self->pfns);
	ASSERT_EQ(ndm_local(self->probe, self->f.fd, 0, &local), 0);
	here.addr = (void *)local.addr;
	there.addr = (void *)local.addr;
	there.cpu = ndm_other_cpu();
	ASSERT_EQ(pipe2(here.pipe, O_NONBLOCK), 0);
	ASSERT_EQ(pipe2(there.pipe, O_NONBLOCK), 0);
	/* This process has nothing there. */
	ASSERT_FALSE(local_address_readable(&here));
	ASSERT_EQ(here.faults, 1);

	ASSERT_EQ(pthread_create(&thread, NULL, reader_thread, &there), 0);
	end = ndm_now() + SECONDS;
	while (ndm_now() < end) {
		ASSERT_EQ(pwrite(self->f.fd, buf, NDM_PAGE, i++ % PAGES * NDM_PAGE),
			  NDM_PAGE);
		local_address_readable(&here);
	}
	__atomic_store_n(&there.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);

	EXPECT_GT(there.faults, 0);
	EXPECT_EQ(here.faults, i + 1);
	EXPECT_EQ(here.reads, 0);
	EXPECT_EQ(there.reads, 0);
}

#endif

TEST_F(window, alias)
{
	struct ndm_alias seen, after;
	struct ndm_check res;
	__u32 state;

	fill(_metadata, self->probe, &self->f, self->pfns);
	ASSERT_EQ(ndm_alias(self->probe, self->f.fd, 0, ALIASES, &seen), 0);
	EXPECT_EQ(seen.reads, ALIASES * sysconf(_SC_NPROCESSORS_ONLN));
	ndm_check_pfns(self->probe, self->pfns, PAGES, NULL, 0, &res);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);

	/* Before anybody else can get the page. */
	ASSERT_EQ(ndm_punch(&self->f, 0, NDM_PAGE), 0);
	EXPECT_TRUE(ndm_wait((ndm_check_pfns(self->probe, self->pfns, 1, &state,
					     0, &res), state & NDM_FREE)));
	ASSERT_EQ(ndm_alias(self->probe, self->f.fd, 0, 0, &after), 0);
	TH_LOG("%llu reads of aliases, and of what they had left, %llu before the page left and %llu afterwards",
	       (unsigned long long)seen.reads, (unsigned long long)seen.stale,
	       (unsigned long long)after.stale);
	EXPECT_EQ(after.stale, 0);
}

#ifdef __x86_64__
/*
 * A CPU that comes online for the first time can map something as soon as kernel
 * threads run there, some of which free memory.
 */
TEST(new_cpu)
{
	const struct ndm_kind kind = NDM_SECRETMEM;
	unsigned int cpu = sysconf(_SC_NPROCESSORS_CONF) - 1;
	char path[64], online[8] = "";
	struct ndm_file f;
	int probe;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	if (ndm_read_file(path, online, sizeof(online)) <= 0 || online[0] != '0')
		SKIP(return, "all CPUs are online");

	/* Should it be missing, then not for good. */
	ndm_write_file("/proc/sys/kernel/panic_on_oops", "1\n");
	probe = ndm_probe_open();
	ASSERT_EQ(ndm_open(&f, &kind, PAGES * NDM_PAGE), 0);
	EXPECT_EQ(ndm_populate(&f), 0);
	EXPECT_EQ(ndm_new_cpu(probe, cpu), 1);
	ndm_close(&f);
	close(probe);
}
#endif

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG |
			      NDM_NEED_DEBUGFS | NDM_NEED_TWO_CPUS);
	return test_harness_run(argc, argv);
}
