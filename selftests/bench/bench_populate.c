// SPDX-License-Identifier: GPL-2.0
/*
 * What the flag costs: populate and free guest_memfds with the flag off and on, in
 * turns, in one boot.  Seconds of one machine say little, so only their ratio is a
 * claim; flushes, splits of the direct map, faults and locks are counted.
 *
 * Usage: bench_populate [--size MIB] [--rounds N] [--check] [SECTION...]
 *
 *   --size MIB   of a file (default 64); what is released while others work is larger
 *   --rounds N   default 3: times are medians, counts are the worst round's
 *   --check      print KTAP, and fail when a figure is missed that doesn't depend on
 *                speed
 *
 * Sections, by default all that the machine is fit for:
 *   single       one file, populated in each way there is, in new blocks and in those
 *                that the last file has left; or one way: fallocate, pwrite, populate
 *                (MADV_POPULATE_WRITE), touch (the host's faults), guest, private
 *   locks        what is taken of state that others share (on x86: elsewhere, kprobes
 *                may not be where locks are)
 *   files1, files33, files300
 *                so many files that grow in turn, of which 9 in 10 are freed
 *   release      freed with one CPU and with all
 *   hole         a hole of a page while another file is freed
 *   node         memory of a node that is full
 *   window       (not on x86, which has bench_access) what it takes to write through a
 *                window
 *
 * For scripts/bench, each row is printed once more, separated by tabs.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "ndm_guest.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

#define MAX_ROUNDS	31
#define MAX_ROWS	128

enum { HOLES = 200, NR_FILES_MAX = 300 };

static const char *prefix = "";
static int probe;
static unsigned int rounds = 3;
static size_t size = MIB(64);

/* What the table has. */
static struct row {
	char key[48];
	char text[80];
	double off, on;		/* NAN: nothing to say */
	double limit;		/* of "on", or NAN */
	bool at_least;		/* it's the least */
	bool counted;		/* doesn't depend on speed */
} rows[MAX_ROWS];
static unsigned int nr_rows;

static void add_row(const char *key, const char *text, double off, double on,
		    double limit, bool counted)
{
	struct row *row = &rows[nr_rows++];

	if (nr_rows > MAX_ROWS)
		ksft_exit_fail_msg("too many rows\n");
	snprintf(row->key, sizeof(row->key), "%s", key);
	snprintf(row->text, sizeof(row->text), "%s", text);
	row->off = off;
	row->on = on;
	row->limit = limit;
	row->counted = counted;
}

/* A time: "off" is the unit. */
static void add_ratio(const char *key, const char *text, double off, double on,
		      double limit)
{
	add_row(key, text, off > 0 ? 1 : NAN, off > 0 ? on / off : NAN, limit, false);
}

static void at_least(void)
{
	rows[nr_rows - 1].at_least = true;
}

static bool row_met(const struct row *row)
{
	/* Without large entries there's nothing to be whole. */
	if (isnan(row->limit) || isnan(row->on))
		return true;
	return row->at_least ? row->on >= row->limit : row->on <= row->limit;
}

static const char *number(double value, char *buf, size_t len)
{
	if (isnan(value))
		snprintf(buf, len, "-");
	else if (value == (long)value)
		snprintf(buf, len, "%ld", (long)value);
	else
		snprintf(buf, len, "%.2f", value);
	return buf;
}

static void print_rows(void)
{
	char off[32], on[32], limit[32];
	struct row *row;

	printf("%s%-44s %9s %9s %10s\n", prefix, "", "off", "on", "target");
	for (row = rows; row < rows + nr_rows; row++) {
		number(row->limit, limit, sizeof(limit));
		printf("%s%-44s %9s %9s %2s%8s%s\n", prefix, row->text,
		       number(row->off, off, sizeof(off)),
		       number(row->on, on, sizeof(on)),
		       isnan(row->limit) ? "" : row->at_least ? ">=" : "<=", limit,
		       row_met(row) ? "" : "  missed");
	}
	for (row = rows; row < rows + nr_rows; row++)
		printf("%sbench\t%s\t%s\t%s\t%s\t%s%s\t%s\n", prefix, row->key, row->text,
		       number(row->off, off, sizeof(off)),
		       number(row->on, on, sizeof(on)),
		       isnan(row->limit) ? "" : row->at_least ? ">=" : "<=",
		       number(row->limit, limit, sizeof(limit)),
		       row_met(row) ? "met" : "missed");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int nr)
{
	qsort(values, nr, sizeof(*values), compare);
	return nr & 1 ? values[nr / 2] : (values[nr / 2 - 1] + values[nr / 2]) / 2;
}

#ifdef __x86_64__
static const bool has_private = true, local_windows = true, kernel_counts_splits = true;
/* Faults of the guest, and how many entries of 2M there are. */
#define guest_faults(g)		vcpu_get_stat((g)->vcpu, pf_fixed)
#define guest_huge(g)		vm_get_stat((g)->vm, pages_2m)
#define FAULTS_TEXT		"faults"
#define HUGE_LIMIT		512

static uint64_t splits(void)
{
	return ndm_vmstat("direct_map_level2_splits");
}
#else
/* Faults are most of the exits; guests have entries of 4K only. */
static const bool has_private, local_windows, kernel_counts_splits;
#define guest_faults(g)		vcpu_get_stat((g)->vcpu, exits)
#define guest_huge(g)		0
#define FAULTS_TEXT		"exits"
#define HUGE_LIMIT		NAN

/* Nobody counts them, but count_splits(). */
static uint64_t splits(void)
{
	return 0;
}
#endif

static uint64_t flushes(void)
{
	struct ndm_flushes now;

	ndm_flushes(probe, true, &now);
	/* The last one counts CPUs, not flushes. */
	return now.direct + now.all + now.cpa / sysconf(_SC_NPROCESSORS_ONLN);
}

static void effort(bool start, bool locks, struct ndm_effort *arg)
{
	*arg = (struct ndm_effort){ .start = start, .locks = locks };
	if (ioctl(probe, NDM_IOC_EFFORT, arg))
		ksft_exit_fail_msg("NDM_IOC_EFFORT: %s\n", strerror(errno));
	if (arg->missed)
		printf("# %llu events missed\n", (unsigned long long)arg->missed);
}

/* --- One file */

enum { FALLOCATE, PWRITE, POPULATE, TOUCH, GUEST, PRIVATE, NR_WAYS };

static const struct {
	const char *name, *text;
	unsigned int flushes;		/* at most, per GiB */
	double fresh, recycled;		/* time to populate, at most */
	double churn;			/* ... and to free */
} ways[NR_WAYS] = {
	[FALLOCATE] = { "fallocate", "fallocate()", 32, NAN, NAN, NAN },
	[PWRITE] = { "pwrite", "pwrite(), off: memcpy()", 32, 1.0, 1.0, NAN },
	[POPULATE] = { "populate", "MADV_POPULATE_WRITE", 32, NAN, NAN, 1.0 },
	[TOUCH] = { "touch", "host's faults", 512, NAN, NAN, 1.0 },
	[GUEST] = { "guest", "guest's faults, shared", 512, 0.6, 0.3, 1.0 },
	[PRIVATE] = { "private", "guest's faults, private", 512, 0.6, 0.3, 1.0 },
};

static unsigned int chosen_ways;

/* In new blocks, and in those of the file before. */
enum { FRESH, RECYCLED, NR_CYCLES };

struct sample {
	double populate, release;		/* seconds */
	uint64_t flushes;
	uint64_t splits;
	uint64_t blocks, whole;			/* 2M blocks: used, whole again */
	uint64_t faults, huge;			/* of the guest: page faults, 2M SPTEs */
	struct ndm_effort effort;
};

/* Blocks that a file used and one entry mapped before: are they whole again? */
static void count_whole(const struct ndm_picture *before, const __u64 *pfns,
			size_t pages, uint64_t *blocks, uint64_t *whole)
{
	uint8_t *seen = calloc(before->pages / 512 + 1, 1);
	struct ndm_picture after;
	size_t i;

	ndm_picture(probe, &after);
	for (i = 0; i < pages; i++) {
		if (seen[pfns[i] / 512] || !ndm_was_large(before, pfns[i]))
			continue;
		seen[pfns[i] / 512] = 1;
		++*blocks;
		*whole += ndm_was_large(&after, pfns[i]);
	}
	ndm_picture_free(&after);
	free(seen);
}

/* Blocks that one entry mapped before, and smaller ones do now. */
static uint64_t count_splits(const struct ndm_picture *before)
{
	struct ndm_picture now;
	uint64_t nr = 0;
	size_t i;

	ndm_picture(probe, &now);
	for (i = 0; i < now.pages; i += NDM_BLOCK / NDM_PAGE)
		nr += ndm_was_large(before, i) && now.levels[i / 512] == 1;
	ndm_picture_free(&now);
	return nr;
}

/* Only faults on the file's memory are to be counted, not those on page tables. */
static void map_slot0(struct ndm_guest *g)
{
#ifdef __x86_64__
	struct userspace_mem_region *slot0 = memslot2region(g->vm, 0);
	struct kvm_pre_fault_memory range = {
		.gpa = slot0->region.guest_phys_addr,
		.size = slot0->region.memory_size,
	};

	while (range.size) {
		if (__vcpu_ioctl(g->vcpu, KVM_PRE_FAULT_MEMORY, &range) &&
		    errno != EINTR && errno != EAGAIN)
			ksft_exit_fail_msg("KVM_PRE_FAULT_MEMORY: %s\n", strerror(errno));
	}
#endif
}

static void touch(char *map, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += NDM_PAGE)
		*(volatile char *)(map + i) = 1;
}

/* What the library has for memcpy() is a byte at a time. */
static void copy_words(void *to, const void *from, size_t len)
{
#ifdef __x86_64__
	size_t words = len / 8;

	__asm__ volatile("rep movsq" : "+D" (to), "+S" (from), "+c" (words) : : "memory");
#else
	const uint64_t *src = from;
	uint64_t *dst = to;
	size_t i;

	for (i = 0; i < len / 8; i += 8) {
		dst[i] = src[i];
		dst[i + 1] = src[i + 1];
		dst[i + 2] = src[i + 2];
		dst[i + 3] = src[i + 3];
		dst[i + 4] = src[i + 4];
		dst[i + 5] = src[i + 5];
		dst[i + 6] = src[i + 6];
		dst[i + 7] = src[i + 7];
	}
#endif
}

/* As a VMM loads a guest: by as few calls as it can, or by its mapping. */
static long load_image(struct ndm_file *f, bool flag)
{
	static char *image;
	struct iovec iov[64];
	size_t i, nr = 0;

	if (!image) {
		image = malloc(MIB(2));
		memset(image, 0x5a, MIB(2));
	}

	for (i = 0; i < f->size; i += MIB(2)) {
		if (!flag) {
			copy_words(f->map + i, image, MIB(2));
			continue;
		}
		iov[nr++] = (struct iovec){ image, MIB(2) };
		if (nr < ARRAY_SIZE(iov) && i + MIB(2) < f->size)
			continue;
		if (pwritev(f->fd, iov, nr, i + MIB(2) - nr * MIB(2)) != (ssize_t)(nr * MIB(2)))
			return -errno;
		nr = 0;
	}
	return 0;
}

static long populate(int way, struct ndm_file *f, struct ndm_guest *g, bool flag)
{
	switch (way) {
	case FALLOCATE:
		return ndm_populate(f);
	case PWRITE:
		return load_image(f, flag);
	case POPULATE:
		return madvise(f->map, f->size, MADV_POPULATE_WRITE) ? -errno : 0;
	case TOUCH:
		touch(f->map, f->size);
		return 0;
	default:
		return ndm_guest_run(g, NDM_GUEST_TOUCH, 0, f->size);
	}
}

static void one_cycle(int way, bool flag, int locks, struct sample *s, __u64 *pfns,
		      const struct ndm_picture *first)
{
	const struct ndm_kind kind = {
		.ordinary = !flag,
#ifdef __x86_64__
		.vm_type = way == PRIVATE ? KVM_X86_SW_PROTECTED_VM : 0,
#endif
		.flags = way == PRIVATE ? 0 : GUEST_MEMFD_FLAG_MMAP |
					      GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	const bool guest = way == GUEST || way == PRIVATE;
	const size_t pages = size / NDM_PAGE;
	struct ndm_file file = {}, *f = &file;
	struct ndm_guest g = {};
	struct ndm_check res;
	uint64_t before;
	double start;
	long ret;

	ret = guest ? ndm_guest_open(&g, &kind, size) : ndm_open(f, &kind, size);
	if (ret)
		ksft_exit_fail_msg("guest_memfd: %s\n", strerror(-ret));
	if (guest) {
		f = &g.file;
		map_slot0(&g);
		s->faults = guest_faults(&g);
		s->huge = guest_huge(&g);
	}

	before = splits();
	if (locks)
		effort(true, true, &s->effort);
	flushes();
	start = ndm_now();
	ret = populate(way, f, &g, flag);
	s->populate = ndm_now() - start;
	s->flushes = flushes();
	s->splits = splits() - before;
	if (ret)
		ksft_exit_fail_msg("%s: %s\n", ways[way].name, strerror(-ret));
	if (guest) {
		s->faults = guest_faults(&g) - s->faults;
		s->huge = guest_huge(&g) - s->huge;
	}
	if (!kernel_counts_splits)
		s->splits = count_splits(first);

	if (!locks) {
		ndm_check_file(probe, f->fd, 0, pages, pfns, NULL, &res);
		if (res.present != pages || (flag && !ndm_without_flag() && res.readable))
			ksft_exit_fail_msg("%llu of %zu pages populated, %llu readable\n",
					   (unsigned long long)res.present, pages,
					   (unsigned long long)res.readable);
	}

	start = ndm_now();
	if (guest)
		ndm_guest_close(&g);
	else
		ndm_close(f);
	s->release = ndm_now() - start;
	if (locks)
		effort(true, true, &s->effort);
}

static void measure(int way, bool flag, bool locks, struct sample s[NR_CYCLES])
{
	const size_t pages = size / NDM_PAGE;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_picture before;
	int cycle;

	ndm_compact();
	ndm_empty_pool();
	ndm_picture(probe, &before);
	for (cycle = 0; cycle < NR_CYCLES; cycle++)
		one_cycle(way, flag, locks, &s[cycle], pfns, &before);

	if (!locks) {
		if (ndm_wait_restored(probe, pfns, pages))
			ksft_exit_fail_msg("pages don't return to the direct map\n");
		count_whole(&before, pfns, pages, &s[0].blocks, &s[0].whole);
	}
	ndm_picture_free(&before);
	free(pfns);
}

static struct sample samples[2][MAX_ROUNDS][NR_CYCLES];

static double median_of(bool flag, int cycle, int what)
{
	double values[MAX_ROUNDS];
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		const struct sample *s = &samples[flag][i][cycle];

		values[i] = (what & 1 ? s->populate : 0) + (what & 2 ? s->release : 0);
	}
	return median(values, rounds);
}

static void in_turns(int way, bool locks)
{
	unsigned int round, i;

	memset(samples, 0, sizeof(samples));
	for (round = 0; round < rounds; round++) {
		/* So that neither is always first. */
		for (i = 0; i < 2; i++)
			measure(way, i ^ (round & 1), locks,
				samples[i ^ (round & 1)][round]);
	}
}

static void single(void)
{
	/* Apart: what windows that others can see do. */
	struct {
		uint64_t splits[2], blocks, whole;
	} entries[2] = {}, *e;
	uint64_t max[2][NR_CYCLES];
	const double per_gib = (double)MIB(1024) / size;
	uint64_t faults[2], huge[2], again[2] = {};
	unsigned int round, i;
	char key[48], text[80];
	int way, flag, cycle;
	double more;

	for (way = 0; way < NR_WAYS; way++) {
		if (!(chosen_ways & (1u << way)) || (way == PRIVATE && !has_private))
			continue;
		printf("# %s\n", ways[way].name);
		in_turns(way, false);

		memset(max, 0, sizeof(max));
		e = &entries[way == PWRITE && !local_windows];
		for (flag = 0; flag < 2; flag++) {
			faults[flag] = 0;
			huge[flag] = UINT64_MAX;
			for (round = 0; round < rounds; round++) {
				struct sample *s = samples[flag][round];

				for (cycle = 0; cycle < NR_CYCLES; cycle++) {
					max[flag][cycle] = MAX(max[flag][cycle], s[cycle].flushes);
					e->splits[flag] = MAX(e->splits[flag], s[cycle].splits);
					faults[flag] = MAX(faults[flag], s[cycle].faults);
					huge[flag] = MIN(huge[flag], s[cycle].huge);
				}
				/* Those of windows have been told. */
				if (way != PWRITE || local_windows)
					again[flag] = MAX(again[flag], s[RECYCLED].flushes);
				if (flag) {
					e->blocks += s->blocks;
					e->whole += s->whole;
				}
			}
		}

#define ROW(stem, words, ...)							\
	(snprintf(key, sizeof(key), "%s_%s", stem, ways[way].name),		\
	 snprintf(text, sizeof(text), "%s, %s", words, ways[way].text),	\
	 __VA_ARGS__)

		if (way == GUEST || way == PRIVATE) {
			/* What the guest faults in elsewhere, it does with "off", too. */
			more = faults[0] > size / NDM_PAGE ? faults[0] - size / NDM_PAGE : 0;
			snprintf(text, sizeof(text), FAULTS_TEXT " of the guest per GiB%s",
				 way == PRIVATE ? ", private" : ", shared");
			snprintf(key, sizeof(key), "faults_%s", ways[way].name);
			add_row(key, text, (faults[0] - more) * per_gib,
				(faults[1] - more) * per_gib, HUGE_LIMIT, true);
#ifdef __x86_64__
			snprintf(text, sizeof(text), "2M SPTEs per GiB%s",
				 way == PRIVATE ? ", private" : ", shared");
			snprintf(key, sizeof(key), "huge_%s", ways[way].name);
			add_row(key, text, huge[0] * per_gib, huge[1] * per_gib, HUGE_LIMIT, true);
			at_least();
#endif
		}
		ROW("flushes", "flushes per GiB",
		    add_row(key, text, max[0][FRESH] * per_gib, max[1][FRESH] * per_gib,
			    ways[way].flushes, true));
		ROW("fresh", "time, new blocks",
		    add_ratio(key, text, median_of(0, FRESH, 1), median_of(1, FRESH, 1),
			      ways[way].fresh));
		ROW("recycled", "time, recycled",
		    add_ratio(key, text, median_of(0, RECYCLED, 1),
			      median_of(1, RECYCLED, 1), ways[way].recycled));
		if (way == TOUCH)
			ROW("free", "time to free",
			    add_ratio(key, text, median_of(0, RECYCLED, 2),
				      median_of(1, RECYCLED, 2), NAN));
		ROW("churn", "... and to free",
		    add_ratio(key, text, median_of(0, RECYCLED, 3),
			      median_of(1, RECYCLED, 3), ways[way].churn));
	}

	add_row("flushes_recycled", "flushes per GiB, recycled blocks, any way",
		again[0] * per_gib, again[1] * per_gib, 32, true);
	for (i = 0, e = entries; i < 1 + !local_windows; i++, e++) {
		add_row(i ? "splits_pwrite" : "splits",
			i ? "splits of the direct map per GiB, pwrite()" : "splits of the direct map per GiB",
			e->splits[0] * per_gib, e->splits[1] * per_gib, 0, true);
		add_row(i ? "whole_pwrite" : "whole",
			i ? "% of 2M entries whole again after, pwrite()" : "% of 2M entries whole again after free", NAN,
			e->blocks ? 100.0 * e->whole / e->blocks : NAN, 100, true);
		at_least();
	}
}

#ifdef __x86_64__
/* --- Locks */

static void locks(void)
{
	static const char * const names[NR_CYCLES] = { "fresh", "recycled" };
	const double blocks = size / NDM_BLOCK;
	unsigned int saved = rounds;
	char key[48], text[80];
	struct ndm_effort unused;
	double sum[2], own[2];
	int cycle, flag;

	rounds = 1;
	in_turns(TOUCH, true);
	rounds = saved;
	effort(false, false, &unused);

	for (cycle = 0; cycle < NR_CYCLES; cycle++) {
		for (flag = 0; flag < 2; flag++) {
			const struct ndm_effort *e = &samples[flag][0][cycle].effort;

			/* To a tenth: what others do meanwhile counts, too. */
			own[flag] = (long)(e->pool / blocks * 10 + 0.5) / 10.0;
			sum[flag] = (long)((e->pool + e->node + e->host) / blocks * 10 + 0.5) / 10.0;
		}
		snprintf(key, sizeof(key), "locks_pool_%s", names[cycle]);
		snprintf(text, sizeof(text), "locks of a node's pool per 2M, %s",
			 cycle ? "recycled" : "new blocks");
		add_row(key, text, own[0], own[1], 2, true);
		snprintf(key, sizeof(key), "locks_all_%s", names[cycle]);
		snprintf(text, sizeof(text), "... and other locks of node and host");
		/* Those of others on the machine are among them. */
		add_row(key, text, sum[0], sum[1], NAN, false);
	}
}
#endif

/* --- Many files */

static void many(unsigned int nr)
{
	/* A huge folio, and part of a block in pages */
	const size_t each = NDM_BLOCK + NDM_BLOCK / 8, pages = each / NDM_PAGE;
	const unsigned int keep = nr < 10 ? 0 : nr / 10;
	static struct ndm_file files[NR_FILES_MAX];
	__u64 *pfns = calloc(nr * pages, sizeof(*pfns));
	uint64_t missing, before, split, small = 0, blocks = 0, whole = 0, mixed = 0;
	double start, seconds[2], freed[2], stranded = 0;
	struct ndm_picture picture;
	unsigned int i, flag;
	struct ndm_check res;
	uint16_t *owner;
	char key[48], text[80];
	size_t j;

	for (flag = 0; flag < 2; flag++) {
		const struct ndm_kind kind = {
			.ordinary = !flag,
			.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
		};

		ndm_compact();
		ndm_empty_pool();
		ndm_picture(probe, &picture);
		missing = ndm_missing(probe);
		split = splits();
		for (i = 0; i < nr; i++) {
			if (ndm_open(&files[i], &kind, each))
				ksft_exit_fail_msg("file %u: %s\n", i, strerror(errno));
		}
		start = ndm_now();
		for (j = 0; j < each; j += NDM_PAGE) {
			for (i = 0; i < nr; i++)
				*(volatile char *)(files[i].map + j) = 1;
		}
		seconds[flag] = ndm_now() - start;
		if (!kernel_counts_splits)
			small = count_splits(&picture);

		for (i = 0; i < nr; i++)
			ndm_check_file(probe, files[i].fd, 0, pages, pfns + i * pages,
				       NULL, &res);
		start = ndm_now();
		for (i = keep; i < nr; i++)
			ndm_close(&files[i]);
		freed[flag] = ndm_now() - start;
		if (!flag) {
			for (i = 0; i < keep; i++)
				ndm_close(&files[i]);
			ndm_picture_free(&picture);
			continue;
		}

		owner = calloc(picture.pages / 512 + 1, sizeof(*owner));
		for (j = 0; j < nr * pages; j++) {
			uint16_t *o = &owner[pfns[j] / 512];

			mixed += *o && *o != j / pages + 1;
			*o = j / pages + 1;
		}
		free(owner);

		/* All that isn't in use goes back under pressure, and nothing else. */
		if (ndm_wait_restored(probe, pfns + keep * pages, (nr - keep) * pages))
			ksft_exit_fail_msg("pages don't return to the direct map\n");
		before = ndm_missing(probe);
		stranded = before > missing + keep * pages ?
			   (before - missing - keep * pages) * 4096.0 / MIB(1) : 0;
		count_whole(&picture, pfns + keep * pages, (nr - keep) * pages,
			    &blocks, &whole);
		for (i = 0; i < keep; i++)
			ndm_close(&files[i]);
		if (ndm_wait_missing(probe, missing))
			ksft_exit_fail_msg("pages don't return to the direct map\n");
		/* Breaking up the rest of the others' blocks was asked for above. */
		split = splits() - split;
		split -= MIN(split, keep);
		split += small;
		ndm_picture_free(&picture);
	}

#undef ROW
#define ROW(stem, words, ...)							\
	(snprintf(key, sizeof(key), "%s_%u", stem, nr),				\
	 snprintf(text, sizeof(text), "%u file%s in turn: %s", nr,		\
		  nr > 1 ? "s" : "", words), __VA_ARGS__)

	ROW("n_splits", "splits", add_row(key, text, 0, split, 0, true));
	ROW("n_whole", "% of 2M whole again", add_row(key, text, NAN,
	    blocks ? 100.0 * whole / blocks : NAN, 100, true));
	at_least();
	ROW("n_mixed", "pages in others' blocks",
	    add_row(key, text, NAN, mixed, 0, true));
	ROW("n_stranded", "MiB stranded",
	    add_row(key, text, 0, stranded, 0, true));
	ROW("n_populate", "time to populate", add_ratio(key, text, seconds[0], seconds[1], NAN));
	ROW("n_free", "time to free", add_ratio(key, text, freed[0], freed[1], NAN));
	free(pfns);
}

/* --- Freed by one CPU and by all */

#define WQ_CPUMASK	"/sys/devices/virtual/workqueue/cpumask"

static void open_full(struct ndm_file *f, bool flag, size_t len)
{
	const struct ndm_kind kind = {
		.ordinary = !flag,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int err;

	err = ndm_open(f, &kind, len) ?: ndm_populate(f);
	if (err)
		ksft_exit_fail_msg("guest_memfd: %s\n", strerror(-err));
}

static void release(void)
{
	double times[2][2][MAX_ROUNDS], start;
	const size_t len = MIB(128);
	unsigned int round, all;
	struct ndm_file f;
	char mask[256];
	int flag;

	if (ndm_read_file(WQ_CPUMASK, mask, sizeof(mask)) < 0)
		return;
	mask[strcspn(mask, "\n")] = '\0';

	for (round = 0; round < rounds; round++) {
		for (all = 0; all < 2; all++) {
			if (all)
				ndm_write_file(WQ_CPUMASK, "%s\n", mask);
			else
				ndm_write_file(WQ_CPUMASK, "%x\n", 1u << sched_getcpu());
			for (flag = 0; flag < 2; flag++) {
				open_full(&f, flag, len);
				start = ndm_now();
				ndm_close(&f);
				times[flag][all][round] = ndm_now() - start;
			}
		}
	}
	ndm_write_file(WQ_CPUMASK, "%s\n", mask);
	ndm_empty_pool();

	add_row("release_cpus", "time to free 128 MiB: all CPUs / one",
		median(times[0][1], rounds) / median(times[0][0], rounds),
		median(times[1][1], rounds) / median(times[1][0], rounds), 0.6, false);
}

/* --- A hole in one file while another one is freed */

static volatile bool releasing;
static pthread_barrier_t barrier;

static void *releaser(void *arg)
{
	struct ndm_file *f = arg;

	ndm_pin(ndm_other_cpu());
	pthread_barrier_wait(&barrier);
	ndm_close(f);
	releasing = false;
	return NULL;
}

static unsigned int punch(struct ndm_file *f, double *us, bool while_releasing)
{
	unsigned int nr = 0;
	double start;

	while (nr < HOLES && (!while_releasing || releasing)) {
		size_t offset = nr % 16 * NDM_PAGE;

		*(volatile char *)(f->map + offset) = 1;
		start = ndm_now();
		if (ndm_punch(f, offset, NDM_PAGE))
			ksft_exit_fail_msg("PUNCH_HOLE: %s\n", strerror(errno));
		us[nr++] = (ndm_now() - start) * 1e6;
	}
	return nr;
}

static double whole_us(double us)
{
	return isnan(us) ? us : (long)(us + 0.5);
}

static void hole(void)
{
	double idle[2][HOLES], busy[2][HOLES], result[2][4];
	unsigned int nr_idle, nr_busy;
	struct ndm_file big, small;
	char text[80];
	pthread_t thread;
	size_t len;
	int flag;

	len = MIN(MIB(1024), ndm_free_kb() * 1024 / 3) / MIB(2) * MIB(2);
	for (flag = 0; flag < 2; flag++) {
		open_full(&big, flag, len);
		open_full(&small, flag, 16 * NDM_PAGE);

		nr_idle = punch(&small, idle[flag], false);
		pthread_barrier_init(&barrier, NULL, 2);
		releasing = true;
		if (pthread_create(&thread, NULL, releaser, &big))
			ksft_exit_fail_msg("pthread_create: %s\n", strerror(errno));
		pthread_barrier_wait(&barrier);
		nr_busy = punch(&small, busy[flag], true);
		pthread_join(thread, NULL);
		pthread_barrier_destroy(&barrier);
		ndm_close(&small);

		result[flag][0] = median(idle[flag], nr_idle);
		result[flag][1] = nr_busy ? median(busy[flag], nr_busy) : NAN;
		/* After sorting */
		result[flag][2] = nr_busy ? busy[flag][nr_busy - 1] : NAN;
		result[flag][3] = nr_busy;
	}
	ndm_empty_pool();

	add_row("hole_idle", "us for a hole of a page", whole_us(result[0][0]),
		whole_us(result[1][0]), NAN, false);
	snprintf(text, sizeof(text), "... while %zu MiB are freed, median", len >> 20);
	add_row("hole_busy", text, whole_us(result[0][1]), whole_us(result[1][1]), NAN, false);
	add_row("hole_worst", "... the longest", whole_us(result[0][2]),
		whole_us(result[1][2]), NAN, false);
}

/* --- Memory of a node that is full */

static double node_free_mib(void)
{
	uint64_t kb = 0;
	char line[256];
	FILE *file = fopen("/sys/devices/system/node/node0/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node 0 MemFree: %lu kB", &kb) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kb / 1024.0;
}

static void node(void)
{
	const size_t step = MIB(4), most = MIB(8192), len = MIB(64);
	const struct ndm_kind ordinary = NDM_ORDINARY;
	const double pages = len / NDM_PAGE;
	double wakeups[2] = {}, compactions[2] = {}, seconds[2] = {};
	unsigned long nodes = 1;
	struct ndm_effort e;
	struct ndm_file f, hog;
	cpu_set_t old, set;
	double start, before;
	size_t filled = 0;
	int flag, cpu, err;

	if (access("/sys/devices/system/node/node1", F_OK))
		return;

	/* A CPU of the node that is full */
	sched_getaffinity(0, sizeof(old), &old);
	CPU_ZERO(&set);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/node0", cpu);
		if (!access(path, F_OK))
			CPU_SET(cpu, &set);
	}
	if (sched_setaffinity(0, sizeof(set), &set))
		ksft_exit_fail_msg("affinity: %s\n", strerror(errno));

	/* Nothing can be reclaimed of it.  What doesn't fit goes to the other node. */
	err = ndm_open(&hog, &ordinary, most);
	if (err || syscall(SYS_mbind, hog.map, most, 1 /* MPOL_PREFERRED */, &nodes, 64, 0))
		ksft_exit_fail_msg("no file on node 0: %s\n", strerror(errno));
	ndm_empty_pool();
	do {
		before = node_free_mib();
		if (fallocate(hog.fd, FALLOC_FL_KEEP_SIZE, filled, step))
			ksft_exit_fail_msg("fallocate: %s\n", strerror(errno));
		filled += step;
	} while (filled < most && (before > 64 || node_free_mib() < before - 1));

	for (flag = 0; flag < 2; flag++) {
		const struct ndm_kind kind = {
			.ordinary = !flag,
			.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
		};

		err = ndm_open(&f, &kind, len);
		if (err)
			ksft_exit_fail_msg("guest_memfd: %s\n", strerror(-err));
		effort(true, false, &e);
		start = ndm_now();
		touch(f.map, len);
		seconds[flag] = ndm_now() - start;
		effort(false, false, &e);
		wakeups[flag] = e.wakeups;
		compactions[flag] = e.compactions;
		ndm_close(&f);
		ndm_empty_pool();
	}
	ndm_close(&hog);
	sched_setaffinity(0, sizeof(old), &old);

	add_row("node_kswapd", "wakeups of kswapd per GiB, node full",
		wakeups[0] / pages * 262144, wakeups[1] / pages * 262144,
		MAX(wakeups[0] / pages * 262144 * 1.1, 0), true);
	add_row("node_compact", "direct compactions per GiB, node full",
		compactions[0] / pages * 262144, compactions[1] / pages * 262144,
		MAX(compactions[0] / pages * 262144 * 1.1, 0), true);
	add_ratio("node_populate", "time to populate, node full", seconds[0], seconds[1], NAN);
}

#ifndef __x86_64__
/* --- Windows, which are open to all CPUs */

enum { WINDOWS = 2000 };

static double write_often(int fd, size_t len)
{
	static char data[NDM_PAGE];
	double start = ndm_now();
	unsigned int i;

	for (i = 0; i < WINDOWS; i++) {
		if (pwrite(fd, data, len, i % 512 * NDM_PAGE) != len)
			ksft_exit_fail_msg("pwrite: %s\n", strerror(errno));
	}
	return ndm_now() - start;
}

static void window(void)
{
	static const size_t lens[] = { 8, NDM_PAGE };
	double times[2][2][MAX_ROUNDS];
	uint64_t nr, worst = 0;
	unsigned int round, i;
	struct ndm_file f;
	int memfd;

	memfd = memfd_create("off", MFD_CLOEXEC);
	if (memfd < 0 || fallocate(memfd, 0, 0, NDM_BLOCK))
		ksft_exit_fail_msg("memfd_create: %s\n", strerror(errno));
	open_full(&f, true, NDM_BLOCK);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < ARRAY_SIZE(lens); i++) {
			times[0][i][round] = write_often(memfd, lens[i]);
			flushes();
			times[1][i][round] = write_often(f.fd, lens[i]);
			nr = flushes();
			worst = MAX(worst, nr);
		}
	}
	ndm_close(&f);
	close(memfd);
	ndm_empty_pool();

	add_row("window_flushes", "flushes per window", NAN, (double)worst / WINDOWS, 1, true);
	add_ratio("window_8", "time, pwrite() of 8 bytes, off: a memfd's",
		  median(times[0][0], rounds), median(times[1][0], rounds), NAN);
	add_ratio("window_page", "time, pwrite() of 4 KiB, off: a memfd's",
		  median(times[0][1], rounds), median(times[1][1], rounds), NAN);
}
#endif

static void files1(void)
{
	many(1);
}

static void files33(void)
{
	many(33);
}

static void files300(void)
{
	many(NR_FILES_MAX);
}

static const struct {
	const char *name;
	void (*run)(void);
} sections[] = {
	{ "single", single },
#ifdef __x86_64__
	{ "locks", locks },
#else
	{ "window", window },
#endif
	{ "files1", files1 }, { "files33", files33 }, { "files300", files300 },
	{ "release", release }, { "hole", hole }, { "node", node },
};

static void usage(const char *self)
{
	printf("Usage: %s [--size MIB] [--rounds N] [--check] [SECTION...]\n", self);
}

int main(int argc, char **argv)
{
	unsigned int mib = size >> 20;
	bool check = false, chosen;
	const struct ndm_option options[] = {
		{ "size", .number = &mib, .min = 2, .max = 65536 },
		{ "rounds", .number = &rounds, .min = 1, .max = MAX_ROUNDS },
		{ "check", .flag = &check },
		{ .more = true }
	};
	struct ndm_flushes counters;
	unsigned int i, nr;
	int arg;

	ndm_options(argc, argv, options, usage);
	size = MIB(mib / 2 * 2);
	if (check)
		prefix = "# ";
	for (arg = optind; arg < argc; arg++) {
		for (i = 0; i < NR_WAYS; i++) {
			if (!strcmp(argv[arg], ways[i].name))
				break;
		}
		if (i < NR_WAYS) {
			chosen_ways |= 1u << i;
			argv[arg] = "single";
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(sections); i++) {
			if (!strcmp(argv[arg], sections[i].name))
				break;
		}
		if (i == ARRAY_SIZE(sections)) {
			fprintf(stderr, "%s: no such section: \"%s\"\n", argv[0], argv[arg]);
			return NDM_BAD_USAGE;
		}
	}

	if (!chosen_ways)
		chosen_ways = -1u;

	ndm_is_no_test = !check;
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (check)
		ksft_print_header();
	ndm_pin_here();
	probe = ndm_probe_open();
	ndm_flushes(probe, true, &counters);
	if (!(counters.probed & 1))
		ksft_exit_fail_msg("flush_tlb_kernel_range() can't be counted\n");

	for (i = 0; i < ARRAY_SIZE(sections); i++) {
		chosen = optind == argc;
		for (arg = optind; arg < argc; arg++)
			chosen |= !strcmp(argv[arg], sections[i].name);
		if (!chosen)
			continue;
		printf("# section %s\n", sections[i].name);
		sections[i].run();
	}

	printf("%s%zu MiB, %u rounds, %ld CPUs\n", prefix, size >> 20, rounds,
	       sysconf(_SC_NPROCESSORS_ONLN));
	print_rows();
	if (!check)
		return KSFT_PASS;

	for (i = 0, nr = 0; i < nr_rows; i++)
		nr += rows[i].counted && !isnan(rows[i].limit);
	ksft_set_plan(nr);
	for (i = 0; i < nr_rows; i++) {
		if (rows[i].counted && !isnan(rows[i].limit))
			ksft_test_result(row_met(&rows[i]), "%s: %g, %s %g\n", rows[i].key,
					 rows[i].on, rows[i].at_least ? "at least" : "at most",
					 rows[i].limit);
	}
	ksft_finished();
}
