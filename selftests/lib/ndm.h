/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests have in common: the files under test, the secret that must not
 * be found, and the kernel's numbers.
 */
#ifndef NDM_H
#define NDM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/kvm.h>

#include "probe/ndm_probe.h"

#ifndef GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_NO_DIRECT_MAP	(1ULL << 2)
#endif

#define NDM_PAGE	4096ul
#define NDM_BLOCK	(512 * NDM_PAGE)
#define MIB(n)		((size_t)(n) << 20)

/*
 * The secret: 64 bytes over and over.  Its words exist only in registers, made
 * from the seed one by one, so that no stack, no program text and no guest's
 * saved state holds 64 bytes of it.  A function for the guest, too.
 */
static inline __attribute__((always_inline)) uint64_t
ndm_secret_word(uint64_t seed, size_t i)
{
	uint64_t z = seed + (i % NDM_PATTERN_WORDS + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline __attribute__((always_inline)) void
ndm_secret_write(volatile void *mem, size_t size, uint64_t seed)
{
	volatile uint64_t *word = mem;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		word[i] = ndm_secret_word(seed, i);
}

/* Returns the number of words that are not the secret's. */
static inline __attribute__((always_inline)) size_t
ndm_secret_differs(volatile void *mem, size_t size, uint64_t seed)
{
	volatile uint64_t *word = mem;
	size_t i, differs = 0;

	for (i = 0; i < size / sizeof(*word); i++)
		differs += word[i] != ndm_secret_word(seed, i);
	return differs;
}

static inline __attribute__((always_inline)) size_t
ndm_nonzero(volatile void *mem, size_t size)
{
	volatile uint64_t *word = mem;
	size_t i, nonzero = 0;

	for (i = 0; i < size / sizeof(*word); i++)
		nonzero += word[i] != 0;
	return nonzero;
}

uint64_t ndm_seed(void);
void ndm_inverted(uint64_t seed, __u64 inverted[NDM_PATTERN_WORDS]);

/*
 * Prerequisites.  A missing one ends the program with KTAP's skip, which fails
 * the run for a test that is required.
 *
 * With NDM_WITHOUT_FLAG=1 in the environment all files are made without the
 * flag: a test of the flag that passes then tests nothing.
 */
#define NDM_NEED_PROBE		(1u << 0)
#define NDM_NEED_FLAG		(1u << 1)
#define NDM_NEED_DEBUGFS	(1u << 2)
#define NDM_NEED_TWO_CPUS	(1u << 3)
void ndm_require(const char *program, unsigned int needs);
void ndm_skip(const char *why, ...) __attribute__((format(printf, 1, 2), noreturn));
bool ndm_without_flag(void);
/* Say what is missing in plain words, and fail. */
extern bool ndm_is_no_test;
/* Such programs go on after what is wrong, and end with a number of failures. */
void ndm_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern unsigned int ndm_failures;
#define NDM_BAD_USAGE		2	/* exit code */
/* The value of an option.  Ends the program if it is none. */
unsigned int ndm_number(const char *option, const char *text,
			unsigned int min, unsigned int max);

/* Ends the program, with NDM_BAD_USAGE, if there is more than options. */
void ndm_end_of_options(int argc, char **argv);
/*
 * Options of a program, up to one without a name, which says whether there may be more
 * arguments, from optind on; of the others one of the pointers is set.
 */
struct ndm_option {
	const char *name;
	bool *flag;
	const char **text;
	unsigned int *number, min, max;
	bool more;
};

/* --help prints @usage's and ends the program, and so does what is wrong. */
void ndm_options(int argc, char **argv, const struct ndm_option *options,
		 void (*usage)(const char *self));

/*
 * A program that isn't one of kselftest's, but tells by a verdict what it has seen:
 * ndm_begin() returns the probe, ndm_verdict() the exit code.
 */
int ndm_begin(const char *program, unsigned int needs);
void ndm_print_host(void);
int ndm_verdict(const char *ok);

/*
 * A file whose pages have no direct map entry.  KVM_X86_DEFAULT_VM is 0, and
 * what a kind doesn't say.  On arm64 guests have no memory that only they can reach.
 */
struct ndm_kind {
	bool secretmem;
	bool ordinary;		/* a guest_memfd without the flag, for comparison */
	unsigned long vm_type;
	uint64_t flags;		/* beside the flag under test */
};

#define NDM_SECRETMEM		{ .secretmem = true }
#define NDM_GMEM(type, more)	{ .vm_type = (type), .flags = (more) }
#define NDM_MMAP_SHARED	{ .flags = GUEST_MEMFD_FLAG_MMAP | \
					   GUEST_MEMFD_FLAG_INIT_SHARED }
#define NDM_ORDINARY		{ .ordinary = true,			\
				  .flags = GUEST_MEMFD_FLAG_MMAP |	\
					   GUEST_MEMFD_FLAG_INIT_SHARED }
#ifdef __x86_64__
#define NDM_PROTECTED		{ .vm_type = KVM_X86_SW_PROTECTED_VM }
#else
#define KVM_X86_DEFAULT_VM	0
#define NDM_PROTECTED		NDM_MMAP_SHARED
#endif

struct ndm_file {
	int fd;
	int vm;			/* -1: none, or not ours */
	bool secretmem;
	size_t size;
	char *map;		/* NULL: the host can't map its pages */
};

/* Flags for a new guest_memfd of a kind. */
uint64_t ndm_flags(const struct ndm_kind *kind);
/* Both return a descriptor or -errno. */
int ndm_vm_create(unsigned long type);
int ndm_gmem_create(int vm, size_t size, uint64_t flags);
int ndm_open(struct ndm_file *f, const struct ndm_kind *kind, size_t size);
void ndm_close(struct ndm_file *f);
/* Allocate all pages.  Returns 0 or -errno. */
int ndm_populate(struct ndm_file *f);
/* Returns 0 or -errno.  memfd_secret() has no holes. */
int ndm_punch(struct ndm_file *f, size_t offset, size_t size);

/* The probe.  All of them end the program when the probe itself fails. */
int ndm_probe_open(void);
void ndm_check_file(int probe, int fd, size_t index, size_t count,
		    __u64 *pfns, __u32 *states, struct ndm_check *res);
void ndm_check_pfns(int probe, const __u64 *pfns, size_t count, __u32 *states,
		    uint64_t seed, struct ndm_check *res);
/*
 * A picture of the whole direct map; returns the number of pages of RAM that
 * have no entry.  ndm_missing() is only that number.
 */
struct ndm_picture {
	size_t pages;
	uint64_t *bitmap;	/* by page: has a present entry */
	uint8_t *levels;	/* by 2M block: of its first page's entry */
};

uint64_t ndm_picture(int probe, struct ndm_picture *pic);
void ndm_picture_free(struct ndm_picture *pic);
bool ndm_was_present(const struct ndm_picture *pic, uint64_t pfn);
/* Does a present entry of 2M or more map the block that a page is in? */
bool ndm_was_large(const struct ndm_picture *pic, uint64_t pfn);
uint64_t ndm_missing(int probe);
uint64_t ndm_scan(int probe, uint64_t seed, struct ndm_scan *res);
void ndm_watch(int probe, int cpu, const __u64 *pfns, size_t count,
	       uint64_t seed, unsigned int flags);
void ndm_arm(int probe, const __u8 *marks, size_t count);
void ndm_watch_stop(int probe, struct ndm_watched *res);
__u64 ndm_hold(int probe, int fd, size_t index);
void ndm_put(int probe);
long ndm_gup(int probe, void *addr, unsigned int nr, unsigned int how);
void ndm_flushes(int probe, bool reset, struct ndm_flushes *res);
/* These return 0 or -errno, -EOPNOTSUPP without kallsyms. */
int ndm_own(int probe, unsigned int op, __u64 *pfn);
int ndm_soft_offline(int probe, __u64 pfn);
int ndm_alias(int probe, int fd, size_t index, unsigned int rounds,
	      struct ndm_alias *res);
int ndm_local(int probe, int fd, size_t index, struct ndm_local *res);
/* Bring a CPU online.  Returns how often something was mapped there, or -errno. */
int ndm_new_cpu(int probe, unsigned int cpu);
/* Removals from the direct map since the first call. */
void ndm_removals(int probe, struct ndm_removals *res);
/*
 * Have the worker that looks after pages with references take its turn, and wait for
 * that.  False: it had none to look after.
 */
bool ndm_turn(int probe);
/* Have the kernel give back all that it may, now. */
void ndm_provoke(int probe);
/* Have the kernel map a page again whose memory error is gone. */
void ndm_clear_mce(int probe, __u64 pfn);

/* Wait for the pages to be in the direct map again.  Returns how many aren't. */
void ndm_empty_pool(void);
size_t ndm_wait_restored(int probe, const __u64 *pfns, size_t count);
/* Wait for the number of pages without an entry to fall.  Returns the excess. */
uint64_t ndm_wait_missing(int probe, uint64_t before);

/* The kernel's numbers. */
struct ndm_direct_map {
	uint64_t kb[3];		/* by 4K, 2M and 1G entries */
};

void ndm_direct_map(struct ndm_direct_map *dm);
uint64_t ndm_meminfo_kb(const char *name);
/* What the allocator has, its lists of each CPU included. */
uint64_t ndm_free_kb(void);
uint64_t ndm_vmstat(const char *name);
/* Where the pages are that are out of the direct map, by /proc/vmstat. */
struct ndm_counts {
	int64_t file, free, leaving, quarantined;
};

void ndm_counts(struct ndm_counts *counts);
int ndm_read_file(const char *path, char *buf, size_t size);
int ndm_write_file(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The whole machine at one time, to be compared to another. */
struct ndm_look {
	struct ndm_direct_map dm;
	uint64_t missing;
	int64_t flushes;	/* since the look before, -1: there was none */
	int64_t found;		/* pages with the secret, -1: not searched */
};

void ndm_look(int probe, uint64_t seed, bool search, struct ndm_look *look);
/* Is the direct map as it was, but for some KiB of 4K entries more? */
void ndm_judge(const struct ndm_look *before, const struct ndm_look *after,
	       unsigned int tolerance_kb);
/*
 * Tables with a column per time.  The values of a row are 64-bit members of
 * structs that follow each other; negative ones are left out.
 */
void ndm_print_head(const char *name, const char * const *times, size_t nr);
void ndm_print_row(const char *name, const void *first, size_t stride, size_t nr);
void ndm_print_looks(const struct ndm_look *first, size_t stride,
		     const char * const *times, size_t nr);

/* Where in /proc/kcore things are. */
#define NDM_KCORE_MAX		64

struct ndm_kcore {
	int fd;
	unsigned int nr;
	struct {
		uint64_t va, pa, size;	/* pa is ~0ull if it isn't RAM */
		off_t offset;
	} segments[NDM_KCORE_MAX];
};

/* Returns 0 or -errno. */
int ndm_kcore_open(struct ndm_kcore *kcore);
void ndm_kcore_close(struct ndm_kcore *kcore);
/*
 * The offset of a physical address, and of a virtual one that isn't the direct
 * map's, or -1.  What follows is next to it for @size bytes, which is reduced.
 */
off_t ndm_kcore_ram(const struct ndm_kcore *kcore, uint64_t pa, size_t *size);
off_t ndm_kcore_other(const struct ndm_kcore *kcore, uint64_t va, size_t *size);

double ndm_now(void);
void ndm_pin(int cpu);
/* To a CPU that is allowed. */
void ndm_pin_here(void);
/* A CPU that the caller isn't pinned to. */
int ndm_other_cpu(void);
/* Leave garbage in free memory, so that pages which aren't zeroed show. */
void ndm_dirty_memory(size_t size);
/* Have the kernel merge what it can, so that free 2M blocks are found. */
void ndm_compact(void);

#define NDM_PATIENCE	15	/* seconds; emulation with KASAN is slow */

/* What a loop that waits for no time does. */
static inline void ndm_relax(void)
{
#ifdef __x86_64__
	__asm__ volatile("pause");
#else
	__asm__ volatile("yield");
#endif
}

/* Poll until cond holds or patience ends; yields cond. */
#define ndm_wait(cond)							\
({									\
	double __end = ndm_now() + NDM_PATIENCE;			\
	bool __ok;							\
									\
	while (!(__ok = (cond)) && ndm_now() < __end)			\
		usleep(20000);						\
	__ok;								\
})

#endif
