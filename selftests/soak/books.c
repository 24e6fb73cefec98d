// SPDX-License-Identifier: GPL-2.0
/* The machine's books: what has to be the same before and after. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soak.h"

#define TRACING	"/sys/kernel/tracing/"

enum {
	SETTLE = 60,		/* seconds for the books to be balanced */
	CHARGE_TOLERANCE_KB = 128,	/* directory entries, and the like */
};

/*
 * Slabs that are in use in part, page tables of the direct map.  Under "debug"
 * also the stacks that KASAN and page_owner keep, all there ever were.
 */
unsigned int free_tolerance_kb = 8 << 10;

/* The module that has the processor's virtualization, or that would be it. */
const char *kvm_module(void)
{
	return access("/sys/module/kvm_intel", F_OK) ? "kvm_amd" : "kvm_intel";
}

void take_stock(struct books *b)
{
	char buf[32] = "", path[64];
	unsigned int i;

	ndm_direct_map(&b->dm);
	b->missing = ndm_missing(probe);
	b->free_kb = ndm_free_kb();
	b->charged_kb = 0;
	for (i = 0; i < nr_slots; i++)
		b->charged_kb += cgroup_read(slots[i].name, "memory.current", NULL) / 1024;
	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", kvm_module());
	ndm_read_file(path, buf, sizeof(buf));
	b->users = strtoul(buf, NULL, 10);
}

/*
 * What is kept in stock: blocks of the pool, caches, KASAN's freed objects, and
 * what the CPUs have charged in advance.
 */
void give_back(void)
{
	glob_t caches;
	size_t i;

	for (i = 0; i < nr_slots; i++) {
		cgroup_write(slots[i].name, "memory.high", "0");
		cgroup_write(slots[i].name, "memory.high", "max");
	}

	if (!glob("/sys/kernel/slab/*/shrink", GLOB_NOSORT, NULL, &caches)) {
		for (i = 0; i < caches.gl_pathc; i++)
			ndm_write_file(caches.gl_pathv[i], "1\n");
		globfree(&caches);
	}
	ndm_compact();
	usleep(200000);
}

/*
 * A 2M entry is split, for good, where less than a block is removed, because
 * there is no free block, or is given back, because there is little memory.
 * Nothing else may split one.  The kernel's trace, which tells of both, is read
 * all the time, as it has little room.
 */
static int trace = -1;
static unsigned int nr_blocks;	/* of which a part was removed or given back */

void blocks_watch(void)
{
	static const char * const settings[][2] = {
		{ "buffer_size_kb", "4096" },
		{ "events/no_direct_map/filter", "0" },
		{ "events/no_direct_map/no_direct_map_remove/filter", "nr != 512" },
		{ "events/no_direct_map/no_direct_map_restore/filter", "nr != 512" },
		{ "events/no_direct_map/no_direct_map_remove/enable", "1" },
		{ "events/no_direct_map/no_direct_map_restore/enable", "1" },
	};
	char path[PATH_MAX];
	int err, fd;
	size_t i;

	/* Forget what others have left, and lost. */
	fd = open(TRACING "trace", O_WRONLY | O_TRUNC);
	if (fd >= 0)
		close(fd);
	for (i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		snprintf(path, sizeof(path), TRACING "%s", settings[i][0]);
		err = ndm_write_file(path, "%s\n", settings[i][1]);
		if (err)
			ndm_fail("%s: %s", path, strerror(-err));
	}
	trace = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (trace < 0)
		ndm_fail(TRACING "trace_pipe: %s", strerror(errno));
}

void blocks_count(void)
{
	static bool seen[1 << 20];
	static char buf[65536];
	static size_t left;
	char *line, *end, *at;
	unsigned long block;
	ssize_t len;

	while ((len = read(trace, buf + left, sizeof(buf) - 1 - left)) > 0) {
		buf[left + len] = 0;
		for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			if (strstr(line, " EVENTS]"))
				ndm_fail("the kernel's trace is incomplete: %s", line);
			at = strstr(line, "pfn=0x");
			if (!at)
				continue;
			block = strtoul(at + 4, NULL, 16) >> 9 & 0xfffff;
			nr_blocks += !seen[block];
			seen[block] = true;
		}
		left = strlen(line);
		memmove(buf, line, left);
	}
}

void settle(const struct books *before, struct books *now)
{
	double end = ndm_now() + SETTLE * slow;

	do {
		give_back();
		take_stock(now);
		blocks_count();
	} while (ndm_now() < end &&
		 (now->missing > before->missing || now->users > before->users ||
		  now->charged_kb > CHARGE_TOLERANCE_KB ||
		  now->free_kb + free_tolerance_kb < before->free_kb));
}

static void print_row(const char *name, uint64_t before, uint64_t after)
{
	printf("%-42s%12llu%12llu\n", name, (unsigned long long)before,
	       (unsigned long long)after);
}

void compare(const struct books *before, const struct books *after)
{
	printf("\n%-42s%12s%12s\n", "", "before", "after");
	printf("direct map, KiB\n");
	print_row("  by entries of 4 KiB", before->dm.kb[0], after->dm.kb[0]);
	print_row("  by entries of 2 MiB", before->dm.kb[1], after->dm.kb[1]);
	print_row("  by entries of 1 GiB", before->dm.kb[2], after->dm.kb[2]);
	print_row("pages of RAM that have no entry", before->missing, after->missing);
	printf("%-42s%24u\n", "blocks of 2 MiB that went in parts", nr_blocks);
	print_row("free memory, KiB", before->free_kb, after->free_kb);
	print_row("charged to memory cgroups, KiB", before->charged_kb, after->charged_kb);
	print_row("references to KVM's module", before->users, after->users);

	if (after->dm.kb[0] > before->dm.kb[0] + nr_blocks * NDM_BLOCK / 1024)
		ndm_fail("2M entries stay split of which no part was given back by itself");
	if (after->missing != before->missing)
		ndm_fail("%lld pages more than before have no entry in the direct map",
			 (long long)(after->missing - before->missing));
	if (after->free_kb + free_tolerance_kb < before->free_kb)
		ndm_fail("%llu KiB of free memory are lost, of which up to %u are tolerated",
			 (unsigned long long)(before->free_kb - after->free_kb),
			 free_tolerance_kb);
	if (after->charged_kb > CHARGE_TOLERANCE_KB) {
		ndm_fail("%llu KiB are still charged to memory cgroups:",
			 (unsigned long long)after->charged_kb);
		print_charges();
	}
	if (after->users != before->users)
		ndm_fail("references to %s are left", kvm_module());
}
