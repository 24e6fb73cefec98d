// SPDX-License-Identifier: GPL-2.0
/*
 * Rules R12 and R13 with many VMs at once, most of them small: what they all write is
 * intact, what those leave that are killed is neither lost nor seen, and the direct
 * map is whole when the last one is gone.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "ndm_guest.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

enum {
	VMMS = 12,		/* processes */
	VMS = 25,		/* of each */
};

struct shared {
	unsigned int ready;	/* VMs, of all processes */
	unsigned int go_on;
	uint64_t pages;		/* that are out of the direct map now */
};

/* A page at least, and with every tenth of them a bit more than a block. */
static size_t size_of(unsigned int n)
{
	return n % 10 == 9 ? MIB(2) + 3 * NDM_PAGE : (1 + n * 7 % 40) * NDM_PAGE;
}

static void vmm(unsigned int nr, uint64_t seed, struct shared *s)
{
	const struct ndm_kind kinds[] = { NDM_PROTECTED, NDM_MMAP_SHARED };
	struct ndm_guest *g = calloc(VMS, sizeof(*g));
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < VMS; i++) {
		if (ndm_guest_open(&g[i], &kinds[(nr + i) % 2], size_of(nr * VMS + i)))
			_exit(2);
		g[i].seed = seed + nr * VMS + i;
		if (ndm_guest_run(&g[i], NDM_GUEST_ZERO, 0, g[i].file.size))
			_exit(3);
		if (ndm_guest_run(&g[i], NDM_GUEST_WRITE, 0, g[i].file.size))
			_exit(4);
		__atomic_fetch_add(&s->pages, g[i].file.size / NDM_PAGE, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&s->ready, 1, __ATOMIC_SEQ_CST);
	}
	while (!__atomic_load_n(&s->go_on, __ATOMIC_SEQ_CST))
		usleep(10000);
	for (i = 0; i < VMS; i++) {
		if (ndm_guest_run(&g[i], NDM_GUEST_VERIFY, 0, g[i].file.size))
			_exit(5);
	}
	/* In another order than they came. */
	for (i = 0; i < VMS; i++)
		ndm_guest_close(&g[i * 7 % VMS]);
	_exit(0);
}

TEST(small_vms)
{
	uint64_t seed = ndm_seed(), before, missing;
	struct ndm_removals removals;
	struct ndm_direct_map dm;
	uint64_t split_kb;
	unsigned int i;
	struct shared *s;
	pid_t pids[VMMS];
	int probe, status;

	probe = ndm_probe_open();
	s = mmap(NULL, NDM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(s, MAP_FAILED);
	ndm_compact();
	ndm_empty_pool();
	before = ndm_missing(probe);
	ndm_direct_map(&dm);
	split_kb = dm.kb[0];
	ndm_removals(probe, &removals);

	for (i = 0; i < VMMS; i++) {
		pids[i] = fork();
		ASSERT_GE(pids[i], 0);
		if (!pids[i])
			vmm(i, seed, s);
	}
	/* As long as it takes, if it goes on. */
	do {
		i = s->ready;
	} while (s->ready < VMMS * VMS && ndm_wait(s->ready != i));
	ASSERT_EQ(s->ready, VMMS * VMS);

	missing = ndm_missing(probe) - before;
	TH_LOG("%u VMs with %llu pages, %llu are out of the direct map", s->ready,
	       (unsigned long long)s->pages, (unsigned long long)missing);
	EXPECT_GE(missing, s->pages);

	/* Some die, the others must not notice. */
	for (i = 0; i < VMMS; i += 3)
		kill(pids[i], SIGKILL);
	s->go_on = 1;
	for (i = 0; i < VMMS; i++) {
		ASSERT_EQ(waitpid(pids[i], &status, 0), pids[i]);
		if (i % 3)
			EXPECT_EQ(status, 0)
				TH_LOG("VMM %u: %#x", i, status);
	}

	EXPECT_EQ(ndm_wait_missing(probe, before), 0);
	/* Those of one that was killed, and of one that wasn't. */
	EXPECT_EQ(ndm_scan(probe, seed + 9, NULL), 0);
	EXPECT_EQ(ndm_scan(probe, seed + VMS + 14, NULL), 0);
	EXPECT_TRUE(ndm_wait((ndm_empty_pool(), ndm_direct_map(&dm),
			      ndm_removals(probe, &removals),
			      dm.kb[0] <= split_kb + removals.split * NDM_BLOCK / 1024)))
		TH_LOG("%llu KiB are mapped by small entries, %llu before; %llu blocks were split",
		       (unsigned long long)dm.kb[0], (unsigned long long)split_kb,
		       (unsigned long long)removals.split);
	munmap(s, NDM_PAGE);
	close(probe);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
