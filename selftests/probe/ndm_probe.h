/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interface of the probe module, shared by the module and the tests.
 *
 * A pattern to look for is passed with every word inverted and compared that
 * way.  Otherwise the search would find its own argument, on the stack of the
 * caller and of the kernel.
 */
#ifndef NDM_PROBE_H
#define NDM_PROBE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NDM_DEVICE		"/dev/ndm_probe"
#define NDM_PATTERN_WORDS	8

/* State of a page, as reported by NDM_IOC_CHECK. */
#define NDM_PRESENT	(1u << 0)	/* in the file, or a page of RAM */
#define NDM_MAPPED	(1u << 1)	/* the direct map's page table has it */
#define NDM_READABLE	(1u << 2)	/* at least one CPU can read it */
#define NDM_NONZERO	(1u << 3)	/* readable, and not zero */
#define NDM_HIT	(1u << 4)	/* readable, and holds the pattern */
#define NDM_POISONED	(1u << 5)	/* marked by memory_failure() */
#define NDM_FREE	(1u << 6)	/* nobody holds a reference */
#define NDM_GLOBAL	(1u << 7)	/* mapped, and INVLPG reaches all PCIDs */
#define NDM_LEVEL(s)	((s) >> 8)	/* 1: 4K entry, 2: 2M, 3: 1G, 0: none */

/*
 * Check pages @index to @index + @count of the file @fd, or with @fd < 0 the
 * @count page frames in @pfns.  Every CPU tries to read every page, so that an
 * entry which is gone from the page tables but not from a TLB shows.
 */
struct ndm_check {
	__s32 fd;
	__u32 flags;
#define NDM_CHECK_CONTENTS	(1u << 0)	/* look for non-zero and pattern */
	__u64 index;
	__u64 count;
	__u64 pfns;		/* __u64[count], output when @fd is given, or 0 */
	__u64 states;		/* __u32[count], output, or 0 */
	__u64 inverted[NDM_PATTERN_WORDS];
	/* Numbers of pages, output. */
	__u64 present;
	__u64 mapped;
	__u64 readable;
	__u64 nonzero;
	__u64 hits;
	__u64 large;		/* mapped by a present entry of 2M or more */
};

/*
 * Take the direct map's picture: one bit per page that has a present entry, and
 * one byte per 2M block with the level of its first page's entry.
 */
struct ndm_map {
	__u64 start;		/* multiple of 512 */
	__u64 count;		/* in pages, 0: to the end of RAM */
	__u64 bitmap;		/* __u64[DIV_ROUND_UP(count, 64)], or 0 */
	__u64 levels;		/* __u8[DIV_ROUND_UP(count, 512)], or 0 */
	__u64 end;		/* output: page frame after the last one of RAM */
	__u64 missing;		/* output: pages of RAM without an entry */
};

/* Search all of RAM that the direct map shows for a pattern. */
struct ndm_scan {
	__u64 start;		/* multiple of 512 */
	__u64 count;		/* 0: to the end of RAM */
	__u64 inverted[NDM_PATTERN_WORDS];
	__u64 scanned;		/* output: pages read */
	__u64 found;		/* output: pages that hold the pattern */
	__u64 pfns[8];		/* output: the first of them */
};

/*
 * Have a kernel thread on @cpu read page frames over and over, one watch per
 * open file.  A read of a page that is marked as "must be gone" by NDM_ARM is
 * counted as stale.
 */
struct ndm_watch {
	__u64 pfns;		/* __u64[count] */
	__u32 count;
	__u32 cpu;
	__u32 flags;
#define NDM_WATCH_PRESENT	(1u << 0)	/* skip what has no entry: faster */
	__u32 pad;
	__u64 inverted[NDM_PATTERN_WORDS];
};

#define NDM_WATCH_MAX	4096

struct ndm_watched {
	__u64 loops;
	__u64 reads;		/* that succeeded */
	__u64 faults;		/* that did not, or had no entry */
	__u64 stale;		/* that succeeded although they must not */
	__u64 hits;		/* that saw the pattern */
	__u64 bad_pfn;		/* the first with a stale read or a hit */
};

struct ndm_arm {
	__u64 marks;		/* __u8[count of the watch] */
	__u32 count;
	__u32 pad;
};

/* Hold a reference to the folio at an index of a file until NDM_PUT. */
struct ndm_hold {
	__s32 fd;
	__u32 pad;
	__u64 index;
	__u64 pfn;		/* output */
};

#define NDM_HOLD_MAX	64

/* Try to get at pages of the caller as drivers do, and let go of them. */
struct ndm_gup {
	__u64 addr;
	__u32 nr;
	__u32 how;
#define NDM_GET_FAST_ONLY	0
#define NDM_GET_FAST		1
#define NDM_GET		2
#define NDM_PIN_FAST		3
#define NDM_PIN		4
#define NDM_HOW_MASK		0xffu
#define NDM_GUP_WRITE		(1u << 8)
#define NDM_GUP_LONGTERM	(1u << 9)
	__s64 ret;		/* output: pages or -errno */
};

#define NDM_GUP_MAX	64

/* Kernel-range flushes since the last reset. */
struct ndm_flushes {
	__u32 reset;		/* input: reset after reading */
	__u32 probed;		/* output: bit n: counter n works */
	__u64 direct;		/* 0: flush_tlb_kernel_range(), of the direct map; on
				 * arm64, what has to be followed by one of these */
	__u64 other;		/* 0: flush_tlb_kernel_range(), of anything else */
	__u64 all;		/* 1: flush_tlb_all() */
	__u64 cpa;		/* 2: CPUs that ran __cpa_flush_tlb() */
};

/*
 * Play with a 2M block of the module's own, to show that the checks above see
 * what they are meant to see.
 */
struct ndm_own {
	__u32 op;
#define NDM_OWN_ALLOC		0
#define NDM_OWN_REMOVE		1	/* leaves TLBs as they are */
#define NDM_OWN_FLUSH		2
#define NDM_OWN_FREE		3	/* puts it back first */
#define NDM_OWN_ALIAS		4	/* vmap(), read by all CPUs, and vunmap() */
	__u32 pad;
	__u64 pfn;		/* output */
};

/*
 * Have the kernel soft offline a page, as it does when a page has had too many
 * corrected errors.  madvise() gets there only by way of GUP.
 */
struct ndm_soft_offline {
	__u64 pfn;
	__s64 ret;		/* output: 0 or -errno */
};

/*
 * Have the kernel make an alias of a page of a file, which all CPUs then read, and
 * take it away, several times.  See by reads from all CPUs whether a TLB still has
 * any of them; do only that, for the aliases of the last time or those made by
 * NDM_OWN_ALIAS, if @rounds is 0.
 */
struct ndm_alias {
	__s32 fd;
	__u32 rounds;
	__u64 index;
	__u64 reads;		/* output: that succeeded while it was there */
	__u64 stale;		/* output: ... when page tables have no entry */
	__u64 own_flushed;	/* output: those of NDM_OWN_ALIAS were flushed since,
				 * by a flush that says so: on emulated CPUs, any
				 * flush of an address may take all others along */
};

#define NDM_ALIAS_MAX	256

/*
 * Have the kernel map a page of a file for the current CPU only, and unmap it.
 * Emulated TLBs are empty after each load of CR3, so that no read could tell
 * whether a stale entry would be left on hardware: look at what the kernel does.
 */
struct ndm_local {
	__s32 fd;
	__u32 state;		/* output */
#define NDM_LOCAL_MAPPED	(1u << 0)	/* the entry was there, then */
#define NDM_LOCAL_GLOBAL	(1u << 1)	/* ... and outlives a load of CR3 */
#define NDM_LOCAL_LEFT		(1u << 2)	/* an entry is there afterwards */
#define NDM_LOCAL_FLUSHED	(1u << 3)	/* TLB entries can't be used again */
	__u64 index;
	__u64 addr;		/* output: where it was mapped */
};

/*
 * Count removals from the direct map, from the first call on; one open file at a
 * time can.
 */
struct ndm_removals {
	__u64 failed;		/* output */
	__u64 split;		/* output: 2M or larger entries that became small */
};

/*
 * Have the kernel map a page again, as it does when a memory error that took the
 * page out of the direct map is repaired.
 */
struct ndm_clear_mce {
	__u64 pfn;
};

/*
 * Count what the caller's process, and whoever works for it, takes of what others
 * need, too, from one call to the next; one open file at a time can.  The numbers are
 * those since the call before.
 */
struct ndm_effort {
	__u32 start;		/* input: count from now on */
	__u32 locks;		/* input: locks, too, which is slow */
	__u64 pool;		/* output: locks of the nodes' pools */
	__u64 node;		/* output: ... in other things that a node has */
	__u64 host;		/* output: ... in the kernel's static data */
	__u64 wakeups;		/* output: of kswapd, by anybody */
	__u64 compactions;	/* output: direct ones, by anybody */
	__u64 missed;		/* output: what couldn't be counted */
};

/*
 * Have the kernel's worker that looks after pages with references take its turn now,
 * and wait for its end.
 */
struct ndm_turn {
	__u32 taken;		/* output: it had something to look after */
	__u32 pad;
};

/*
 * Bring a CPU online, and map something there for it alone as soon as kernel threads
 * can run there.
 */
struct ndm_new_cpu {
	__u32 cpu;
	__u32 mapped;		/* output: so often */
};

#define NDM_IOC_CHECK	_IOWR('N', 0x40, struct ndm_check)
#define NDM_IOC_MAP	_IOWR('N', 0x41, struct ndm_map)
#define NDM_IOC_SCAN	_IOWR('N', 0x42, struct ndm_scan)
#define NDM_IOC_WATCH	_IOW('N', 0x43, struct ndm_watch)
#define NDM_IOC_ARM	_IOW('N', 0x44, struct ndm_arm)
#define NDM_IOC_STOP	_IOR('N', 0x45, struct ndm_watched)
#define NDM_IOC_HOLD	_IOWR('N', 0x46, struct ndm_hold)
#define NDM_IOC_PUT	_IO('N', 0x47)
#define NDM_IOC_GUP	_IOWR('N', 0x48, struct ndm_gup)
#define NDM_IOC_FLUSHES _IOWR('N', 0x49, struct ndm_flushes)
#define NDM_IOC_OWN	_IOWR('N', 0x4a, struct ndm_own)
#define NDM_IOC_SOFT_OFFLINE _IOWR('N', 0x4b, struct ndm_soft_offline)
#define NDM_IOC_ALIAS	_IOWR('N', 0x4c, struct ndm_alias)
#define NDM_IOC_LOCAL	_IOWR('N', 0x4d, struct ndm_local)
#define NDM_IOC_REMOVALS _IOR('N', 0x4e, struct ndm_removals)
#define NDM_IOC_CLEAR_MCE _IOW('N', 0x4f, struct ndm_clear_mce)
#define NDM_IOC_EFFORT	_IOWR('N', 0x50, struct ndm_effort)
#define NDM_IOC_TURN	_IOR('N', 0x51, struct ndm_turn)
#define NDM_IOC_NEW_CPU	_IOWR('N', 0x52, struct ndm_new_cpu)

#endif
