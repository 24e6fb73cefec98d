// SPDX-License-Identifier: GPL-2.0
/*
 * Rule R12: memory goes offline, or it can't, while files without a direct map are
 * filled and closed there; nobody waits for it.
 */
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/mempolicy.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#define MEMORY	"/sys/devices/system/memory/"
#define THP	"/sys/kernel/mm/transparent_hugepage/enabled"

enum {
	SIZE = 32 * NDM_BLOCK,	/* as many blocks as are removed at once */
	ROUNDS = 4,
	ENOUGH = 2,		/* of those where memory went offline */
	LIMIT = 40,		/* seconds, of which it takes one */
	NR_BLOCKS = 1024,	/* of memory that goes offline as a whole, at most */
	NODE = 1,		/* where the kernel has little memory of its own */
	REST = 24 * 1024,	/* kB there that this test leaves for others */
	SOME = 8 * 1024,	/* kB by which what is free differs for other reasons */
};

struct filler {
	int err;
	bool stop;
	unsigned int nr;	/* what was asked for, */
	unsigned int filled;	/* what is filled, */
	unsigned int let_go;	/* what may be closed, */
	unsigned int closed;	/* and what is closed */
};

static unsigned int get(unsigned int *nr)
{
	return __atomic_load_n(nr, __ATOMIC_ACQUIRE);
}

static void set(unsigned int *nr, unsigned int value)
{
	__atomic_store_n(nr, value, __ATOMIC_RELEASE);
}

static bool stopped(struct filler *filler)
{
	return __atomic_load_n(&filler->stop, __ATOMIC_RELAXED);
}

static int set_node(struct ndm_file *f, int mode)
{
	const unsigned long nodes = 1ul << NODE;

	return syscall(__NR_mbind, f->map, f->size, mode, &nodes,
		       8 * sizeof(nodes), 0) ? -errno : 0;
}

static void *fill(void *arg)
{
	static const struct ndm_kind kind = NDM_MMAP_SHARED;
	struct filler *filler = arg;
	unsigned int nr = 0;
	struct ndm_file f;

	while (!stopped(filler)) {
		if (get(&filler->nr) == nr) {
			usleep(1000);
			continue;
		}
		nr++;
		filler->err = ndm_open(&f, &kind, SIZE) ?: set_node(&f, MPOL_PREFERRED) ?:
			      ndm_populate(&f);
		set(&filler->filled, nr);
		/* Nobody who waits for the memory is to get it just because it's closed. */
		while (get(&filler->let_go) != nr)
			usleep(1000);
		ndm_close(&f);
		/* What waits in the pool needn't be removed. */
		ndm_empty_pool();
		set(&filler->closed, nr);
	}
	return NULL;
}

static void too_late(int sig)
{
}

/* The number of pages that go offline together, 0 if the kernel can't do that. */
static unsigned long unit(void)
{
	char size[32];

	if (ndm_read_file(MEMORY "block_size_bytes", size, sizeof(size)) <= 0)
		return 0;
	return strtoul(size, NULL, 16) / NDM_PAGE;
}

/* Memory goes offline.  Returns 0 or -errno, -EINTR if the kernel took too long. */
static int offline(unsigned long nr)
{
	struct itimerspec limit = { .it_value.tv_sec = LIMIT };
	struct sigaction act = { .sa_handler = too_late };
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
	};
	char path[64];
	timer_t timer;
	int err;

	sigaction(SIGUSR1, &act, NULL);
	snprintf(path, sizeof(path), MEMORY "memory%lu/state", nr);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &limit, NULL);
	err = ndm_write_file(path, "offline\n");
	timer_delete(timer);

	return err;
}

static void online(unsigned long nr)
{
	char path[64];

	snprintf(path, sizeof(path), MEMORY "memory%lu/state", nr);
	if (ndm_write_file(path, "online_kernel\n"))
		perror(path);
}

/* The last CPU of a node. */
static int cpu_of(int nid)
{
	char path[64], cpus[64];
	size_t len;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", nid);
	if (ndm_read_file(path, cpus, sizeof(cpus)) <= 0)
		return -1;
	len = strcspn(cpus, "\n");
	while (len && isdigit(cpus[len - 1]))
		len--;
	return atoi(cpus + len);
}

static uint64_t node_free_kb(void)
{
	char buf[512], *p;

	if (ndm_read_file("/sys/devices/system/node/node1/meminfo", buf, sizeof(buf)) <= 0)
		return 0;
	p = strstr(buf, "MemFree:");
	return p ? strtoull(p + strlen("MemFree:"), NULL, 10) : 0;
}

/* Set when to use huge pages, or NULL: as before. */
static int use_thp(const char *when)
{
	static char before[64];
	size_t len;

	if (!when) {
		when = strchr(before, '[') + 1;
		len = strcspn(when, "]");
		return ndm_write_file(THP, "%.*s\n", (int)len, when);
	}
	if (ndm_read_file(THP, before, sizeof(before)) <= 0 || !strchr(before, '['))
		return -ENOENT;
	return ndm_write_file(THP, "%s\n", when);
}

/* Take memory of the node, which needn't be zeroed. */
static int fill_node(struct ndm_file *f, size_t size)
{
	*f = (struct ndm_file){
		.fd = memfd_create("ballast", MFD_CLOEXEC),
		.vm = -1,
		.size = size,
	};
	if (f->fd < 0 || ftruncate(f->fd, size))
		return -errno;
	f->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	if (f->map == MAP_FAILED)
		return -errno;
	return set_node(f, MPOL_BIND) ?: ndm_populate(f);
}

/* Memory of a node that nothing but what a test allocates is in; the rest is used up. */
FIXTURE(node) {
	struct ndm_file ballast;
	bool offline[NR_BLOCKS];
	unsigned long nr;	/* of these, the one that comes and goes */
	int probe;
	uint64_t missing;
};

FIXTURE_SETUP(node)
{
	unsigned long nr;
	char path[64];

	ASSERT_NE(unit(), 0)
		TH_LOG("memory can't go offline in this kernel");
	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);

	/* What is offline needn't be used up, which takes longer than all else. */
	for (nr = 1; nr < NR_BLOCKS; nr++) {
		if (self->nr && node_free_kb() < REST + 2 * unit() * NDM_PAGE / 1024)
			break;
		snprintf(path, sizeof(path), "/sys/devices/system/node/node1/memory%lu", nr);
		if (access(path, F_OK) || offline(nr))
			continue;
		self->offline[nr] = true;
		self->nr = nr;
	}
	ASSERT_NE(self->nr, 0)
		TH_LOG("there must be two nodes");

	/* Or the kernel has more for itself than this test would leave. */
	ASSERT_EQ(use_thp("never"), 0);
	ASSERT_GT(node_free_kb(), REST);
	ASSERT_EQ(fill_node(&self->ballast,
			    (node_free_kb() - REST) * 1024 / NDM_PAGE * NDM_PAGE), 0);

	/* What the kernel allocates for this test comes from the other node. */
	ndm_pin(cpu_of(0));
}

FIXTURE_TEARDOWN(node)
{
	unsigned long nr;

	for (nr = 1; nr < NR_BLOCKS; nr++) {
		if (self->offline[nr])
			online(nr);
	}
	ndm_close(&self->ballast);
	use_thp(NULL);
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	close(self->probe);
}

/*
 * What is on its way into the pool: memory goes offline that blocks were allocated from,
 * while others are being allocated and zeroed, before all are removed together.
 */
static void check_filler(struct __test_metadata *_metadata, FIXTURE_DATA(node) *self)
{
	unsigned int round, met = 0;
	uint64_t rest = 0, low;
	struct filler filler = {};
	pthread_t thread;
	sigset_t signals;
	int err;

	/* The signal is for this thread. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	ASSERT_EQ(pthread_create(&thread, NULL, fill, &filler), 0);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);

	for (round = 1; round <= ROUNDS; round++) {
		if (self->offline[self->nr]) {
			rest = node_free_kb();
			online(self->nr);
		}
		/* It has more than there is elsewhere. */
		low = node_free_kb() - rest - SOME;

		set(&filler.nr, round);
		while (node_free_kb() > low && get(&filler.filled) != round)
			usleep(1000);
		err = offline(self->nr);
		self->offline[self->nr] = !err;
		ASSERT_NE(err, -EINTR)
			TH_LOG("waited for %d seconds", LIMIT);
		EXPECT_TRUE(!err || err == -EBUSY)
			TH_LOG("%s", strerror(-err));
		met += !err;

		set(&filler.let_go, round);
		while (get(&filler.closed) != round)
			usleep(1000);
		EXPECT_EQ(filler.err, 0);
	}

	__atomic_store_n(&filler.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	TH_LOG("with blocks on their way: offline %u times of %d", met, ROUNDS);
	/* Or nothing was on its way. */
	EXPECT_NE(met, 0);
}

/* What waits in the pool goes, unless something else is in the way. */
static void check_pool(struct __test_metadata *_metadata, FIXTURE_DATA(node) *self)
{
	static const struct ndm_kind kind = NDM_MMAP_SHARED;
	const size_t nr_pages = SIZE / NDM_PAGE;
	const unsigned long pages = unit();
	unsigned int round, gone = 0;
	size_t i, here;
	struct ndm_check res;
	struct ndm_file f;
	__u64 *pfns;
	bool waiting;
	int err;

	pfns = calloc(nr_pages, sizeof(*pfns));
	ASSERT_NE(pfns, NULL);

	if (self->offline[self->nr])
		online(self->nr);
	self->offline[self->nr] = false;

	for (round = 0; round < ROUNDS && gone < ENOUGH; round++) {
		ASSERT_EQ(ndm_open(&f, &kind, SIZE), 0);
		ASSERT_EQ(set_node(&f, MPOL_PREFERRED), 0);
		ASSERT_EQ(ndm_populate(&f), 0);
		ndm_check_file(self->probe, f.fd, 0, nr_pages, pfns, NULL, &res);
		ASSERT_EQ(res.present, nr_pages);
		ndm_close(&f);

		for (i = here = 0; i < nr_pages; i++) {
			if (pfns[i] / pages == self->nr)
				pfns[here++] = pfns[i];
		}
		ASSERT_NE(here, 0);
		/* Short of memory, the pool may have given them back. */
		ndm_check_pfns(self->probe, pfns, here, NULL, 0, &res);
		waiting = !res.mapped;

		err = offline(self->nr);
		ASSERT_NE(err, -EINTR)
			TH_LOG("waited for %d seconds", LIMIT);
		EXPECT_TRUE(!err || err == -EBUSY)
			TH_LOG("%s", strerror(-err));
		if (!err) {
			online(self->nr);
			ndm_check_pfns(self->probe, pfns, here, NULL, 0, &res);
			EXPECT_EQ(res.mapped, here);
		}
		gone += !err && waiting;
		ndm_empty_pool();
	}
	TH_LOG("with blocks in the pool: offline %u times of %u", gone, round);
	EXPECT_NE(gone, 0);
	free(pfns);
}

TEST_F(node, goes_offline)
{
	check_filler(_metadata, self);
	check_pool(_metadata, self);
}

int main(int argc, char **argv)
{
	ndm_require("ndm_offline_test", NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
