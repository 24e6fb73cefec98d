// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that has no direct map entry is where the NUMA policy says that it is, also
 * when it comes page by page.  Needs fault injection and two nodes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include <linux/mempolicy.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240

#define FAIL	"/sys/kernel/debug/fail_page_alloc/"

enum { PAGES = 64, SIZE = PAGES * NDM_PAGE, MANY = 1000000 };

/* In this program, whatever is larger than a page can't be allocated. */
static void begin_to_fail(struct __test_metadata *_metadata)
{
	static const char * const knobs[][2] = {
		{ "verbose", "0" }, { "task-filter", "Y" },
		{ "ignore-gfp-wait", "N" }, { "ignore-gfp-highmem", "N" },
		{ "min-order", "1" }, { "probability", "100" },
	};
	char path[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), FAIL "%s", knobs[i][0]);
		ASSERT_EQ(ndm_write_file(path, "%s\n", knobs[i][1]), 0)
			TH_LOG("%s", path);
	}
	ASSERT_EQ(ndm_write_file(FAIL "times", "%d\n", MANY), 0);
	ASSERT_EQ(ndm_write_file("/proc/self/make-it-fail", "1\n"), 0);
}

/* Returns how many allocations have failed. */
static long end_to_fail(void)
{
	char left[16];
	int len;

	ndm_write_file("/proc/self/make-it-fail", "0\n");
	ndm_write_file(FAIL "probability", "0\n");
	len = ndm_read_file(FAIL "times", left, sizeof(left));
	ndm_write_file(FAIL "times", "-1\n");
	return len > 0 ? MANY - strtol(left, NULL, 10) : 0;
}

/* The number of a mapping's pages on a node. */
static unsigned long on_node(void *map, int nid)
{
	char line[512], start[32], node[16], *p;
	unsigned long nr = 0;
	FILE *f;

	snprintf(start, sizeof(start), "%lx ", (unsigned long)map);
	snprintf(node, sizeof(node), " N%d=", nid);
	f = fopen("/proc/self/numa_maps", "re");
	while (f && fgets(line, sizeof(line), f)) {
		p = strstr(line, node);
		if (!strncmp(line, start, strlen(start)) && p)
			nr = strtoul(p + strlen(node), NULL, 10);
	}
	if (f)
		fclose(f);
	return nr;
}

static int set_policy(int mode, unsigned long nodes)
{
	return syscall(__NR_set_mempolicy, mode, nodes ? &nodes : NULL,
		       nodes ? 8 * sizeof(nodes) : 0);
}

static void interleave(struct __test_metadata *_metadata, bool large_fail)
{
	const struct ndm_kind kind = NDM_SECRETMEM;
	struct ndm_file f;
	volatile char *p;
	size_t i;

	ndm_empty_pool();
	ASSERT_EQ(ndm_open(&f, &kind, SIZE), 0);
	ASSERT_EQ(set_policy(MPOL_INTERLEAVE, 3), 0)
		TH_LOG("%s: there must be two nodes", strerror(errno));

	if (large_fail)
		begin_to_fail(_metadata);
	for (p = f.map, i = 0; i < SIZE; i += NDM_PAGE)
		p[i] = 1;
	/* Or it would be the other test once more. */
	if (large_fail)
		EXPECT_GT(end_to_fail(), 0);

	EXPECT_EQ(set_policy(MPOL_DEFAULT, 0), 0);
	EXPECT_EQ(on_node(f.map, 0) + on_node(f.map, 1), PAGES);
	/* What else the kernel allocates for this task takes turns, too. */
	EXPECT_GE(on_node(f.map, 0), PAGES / 4);
	EXPECT_GE(on_node(f.map, 1), PAGES / 4);
	ndm_close(&f);
}

/* Returns the probe, on a CPU of node 0, with nothing in the pool. */
static int begin_on_node0(struct __test_metadata *_metadata)
{
	char cpus[64];

	ASSERT_GT(ndm_read_file("/sys/devices/system/node/node0/cpulist", cpus,
				sizeof(cpus)), 0);
	ndm_pin(strtol(cpus, NULL, 10));
	ndm_empty_pool();
	return ndm_probe_open();
}

static unsigned int flushes_of(int probe)
{
	struct ndm_flushes flushes;

	ndm_flushes(probe, true, &flushes);
	return flushes.direct;
}

/* Many blocks take one flush also if they are to come from another node. */
TEST(bind_blocks)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	const size_t size = 16 * NDM_BLOCK;
	unsigned int nr, i;
	struct ndm_file f;
	int probe = begin_on_node0(_metadata);

	ASSERT_EQ(ndm_open(&f, &kind, size), 0);
	ASSERT_EQ(set_policy(MPOL_BIND, 2), 0)
		TH_LOG("%s: there must be two nodes", strerror(errno));
	flushes_of(probe);
	ASSERT_EQ(ndm_populate(&f), 0);
	nr = flushes_of(probe);
	EXPECT_EQ(set_policy(MPOL_DEFAULT, 0), 0);

	for (i = 0; i < size; i += NDM_PAGE)
		(void)*(volatile char *)(f.map + i);
	EXPECT_EQ(on_node(f.map, 1), size / NDM_PAGE);
	/* The kernel may have some of its own. */
	EXPECT_LE(nr, 4)
		TH_LOG("%u flushes for 16 blocks", nr);
	ndm_close(&f);
	close(probe);
}

static unsigned long free_kb(int nid)
{
	unsigned long kb = 0;
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/sys/devices/system/node/node%d/meminfo", nid);
	f = fopen(line, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d MemFree: %lu kB", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb;
}

/* Take memory of node 0 until it comes from the other one. */
static void fill_node0(struct __test_metadata *_metadata, struct ndm_file *hog)
{
	const struct ndm_kind ordinary = NDM_ORDINARY;
	unsigned long before, step = 16 * 1024;
	size_t size;

	ASSERT_EQ(ndm_open(hog, &ordinary, MIB(4096)), 0);
	ASSERT_EQ(set_policy(MPOL_PREFERRED, 1), 0);
	for (size = 0; size < hog->size; size += step * 1024) {
		before = free_kb(1);
		ASSERT_EQ(fallocate(hog->fd, FALLOC_FL_KEEP_SIZE, size, step * 1024), 0);
		if (free_kb(1) + step / 2 < before)
			break;
	}
	EXPECT_EQ(set_policy(MPOL_DEFAULT, 0), 0);
	ASSERT_LT(size, hog->size);
}

/* Where other nodes are second best, it's blocks of theirs that are, not pages. */
TEST(prefer_many)
{
	const struct ndm_kind kind = NDM_MMAP_SHARED;
	const size_t size = 32 * NDM_BLOCK;
	struct ndm_file f, hog;
	unsigned int nr;
	size_t i;
	int probe = begin_on_node0(_metadata);

	fill_node0(_metadata, &hog);

	ASSERT_EQ(ndm_open(&f, &kind, size), 0);
	ASSERT_EQ(set_policy(MPOL_PREFERRED_MANY, 1), 0)
		TH_LOG("%s: there must be two nodes", strerror(errno));
	flushes_of(probe);
	for (i = 0; i < size; i += NDM_PAGE)
		(void)*(volatile char *)(f.map + i);
	nr = flushes_of(probe);
	EXPECT_EQ(set_policy(MPOL_DEFAULT, 0), 0);

	EXPECT_GT(on_node(f.map, 1), size / NDM_PAGE / 2);
	/* One for each block, and for parts of those that are left of the node. */
	EXPECT_LT(nr, 4 * size / NDM_BLOCK)
		TH_LOG("%u flushes for %zu blocks", nr, size / NDM_BLOCK);
	ndm_close(&f);
	ndm_close(&hog);
	close(probe);
}

TEST(interleave_blocks)
{
	interleave(_metadata, false);
}

TEST(interleave_pages)
{
	interleave(_metadata, true);
}

int main(int argc, char **argv)
{
	ndm_require("ndm_numa_test", NDM_NEED_PROBE | NDM_NEED_DEBUGFS);
	return test_harness_run(argc, argv);
}
