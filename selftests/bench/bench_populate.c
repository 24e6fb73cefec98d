// SPDX-License-Identifier: GPL-2.0
/*
 * What the flag costs: populate and free a guest_memfd with the flag off and on,
 * in turns, in one boot.  Seconds of one machine say little, so only their ratio
 * is a claim; flushes and splits of the direct map are counted.
 *
 * Usage: bench_populate [--size MIB] [--rounds N] [--check]
 *
 *   --check  print KTAP, and fail when a figure that doesn't depend on speed is
 *            missed: at most 512 flushes and no split per GiB populated, all 2M
 *            entries whole again after the file is gone, 512 page faults of the
 *            guest and 2M SPTEs
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/param.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "ndm_guest.h"

#define MAX_ROUNDS	31

enum { FALLOCATE, MMAP, GUEST, NR_WAYS };

static const char * const way_names[] = {
	[FALLOCATE] = "fallocate", [MMAP] = "mmap", [GUEST] = "guest"
};

static const char * const way_texts[] = {
	[FALLOCATE] = "fallocate() all at once",
	[MMAP] = "the host touches each page",
	[GUEST] = "the guest touches each page",
};

struct sample {
	double populate, release;		/* seconds */
	uint64_t populate_flushes, release_flushes;
	uint64_t splits;
	uint64_t blocks, whole;			/* 2M blocks: used, whole again */
	uint64_t faults, huge;			/* of the guest: page faults, 2M SPTEs */
};

/* Times are medians, counts are the worst round's and per GiB. */
struct summary {
	double populate[2], release[2];		/* by flag */
	uint64_t flushes[2], splits[2];
	uint64_t release_flushes;
	uint64_t blocks, whole;
	uint64_t faults[2], huge[2];		/* the most, the fewest */
};

static const char *prefix = "";
static int probe;

static void say(const char *fmt, ...)
{
	va_list args;

	printf("%s", prefix);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

static uint64_t splits(void)
{
	return ndm_vmstat("direct_map_level2_splits");
}

static uint64_t flushes(void)
{
	struct ndm_flushes now;

	ndm_flushes(probe, true, &now);
	/* The last one counts CPUs, not flushes. */
	return now.direct + now.all + now.cpa / sysconf(_SC_NPROCESSORS_ONLN);
}

/* Blocks that the file used and one entry mapped before: are they whole again? */
static void count_whole(const struct ndm_picture *before, const __u64 *pfns,
			size_t pages, struct sample *s)
{
	uint8_t *seen = calloc(before->pages / 512 + 1, 1);
	struct ndm_picture after;
	size_t i;

	ndm_picture(probe, &after);
	for (i = 0; i < pages; i++) {
		if (seen[pfns[i] / 512] || !ndm_was_large(before, pfns[i]))
			continue;
		seen[pfns[i] / 512] = 1;
		s->blocks++;
		s->whole += ndm_was_large(&after, pfns[i]);
	}
	ndm_picture_free(&after);
	free(seen);
}

/* Only faults on the file's memory are to be counted, not those on page tables. */
static void map_slot0(struct ndm_guest *g)
{
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
}

static void measure(int way, bool flag, size_t size, struct sample *s)
{
	const struct ndm_kind kind = {
		.ordinary = !flag,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	const size_t pages = size / NDM_PAGE;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_picture before;
	struct ndm_file f = {};
	struct ndm_guest g = {};
	struct ndm_check res;
	uint64_t splits_before;
	double start;
	long ret = 0;
	size_t i;

	ndm_compact();
	ndm_picture(probe, &before);
	ret = way == GUEST ? ndm_guest_open(&g, &kind, size) :
			     ndm_open(&f, &kind, size);
	if (ret)
		ksft_exit_fail_msg("guest_memfd: %s\n", strerror(-ret));

	if (way == GUEST) {
		map_slot0(&g);
		s->faults = vcpu_get_stat(g.vcpu, pf_fixed);
		s->huge = vm_get_stat(g.vm, pages_2m);
	}

	splits_before = splits();
	flushes();
	start = ndm_now();
	switch (way) {
	case FALLOCATE:
		ret = ndm_populate(&f);
		break;
	case MMAP:
		for (i = 0; i < size; i += NDM_PAGE)
			*(volatile char *)(f.map + i) = 1;
		break;
	case GUEST:
		ret = ndm_guest_run(&g, NDM_GUEST_TOUCH, 0, size);
		break;
	}
	s->populate = ndm_now() - start;
	s->populate_flushes = flushes();
	s->splits = splits() - splits_before;
	if (ret)
		ksft_exit_fail_msg("populate: %s\n", strerror(-ret));
	if (way == GUEST) {
		s->faults = vcpu_get_stat(g.vcpu, pf_fixed) - s->faults;
		s->huge = vm_get_stat(g.vm, pages_2m) - s->huge;
	}

	ndm_check_file(probe, way == GUEST ? g.file.fd : f.fd, 0, pages, pfns,
		       NULL, &res);
	if (res.present != pages || (flag && !ndm_without_flag() && res.readable))
		ksft_exit_fail_msg("%llu of %zu pages populated, %llu readable\n",
				   (unsigned long long)res.present, pages,
				   (unsigned long long)res.readable);

	flushes();
	start = ndm_now();
	if (way == GUEST)
		ndm_guest_close(&g);
	else
		ndm_close(&f);
	s->release = ndm_now() - start;
	if (ndm_wait_restored(probe, pfns, pages))
		ksft_exit_fail_msg("pages don't return to the direct map\n");
	s->release_flushes = flushes();
	count_whole(&before, pfns, pages, s);
	ndm_picture_free(&before);
	free(pfns);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const struct sample *samples, size_t offset, int n)
{
	double values[MAX_ROUNDS];
	int i;

	for (i = 0; i < n; i++)
		values[i] = *(const double *)((const char *)&samples[i] + offset);
	qsort(values, n, sizeof(*values), compare);
	return n & 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

#define MEDIAN(samples, field, n)	\
	median(samples, offsetof(struct sample, field), n)

static void summarize(struct sample samples[2][MAX_ROUNDS], int rounds,
		      size_t size, struct summary *sum)
{
	double per_gib = (double)MIB(1024) / size;
	struct sample *s;
	int flag, i;

	for (flag = 0; flag < 2; flag++) {
		sum->populate[flag] = MEDIAN(samples[flag], populate, rounds);
		sum->release[flag] = MEDIAN(samples[flag], release, rounds);
		sum->huge[flag] = UINT64_MAX;
		for (i = 0; i < rounds; i++) {
			s = &samples[flag][i];
			sum->flushes[flag] = MAX(sum->flushes[flag],
						 s->populate_flushes * per_gib);
			sum->splits[flag] = MAX(sum->splits[flag],
						s->splits * per_gib);
			sum->faults[flag] = MAX(sum->faults[flag],
						s->faults * per_gib);
			sum->huge[flag] = MIN(sum->huge[flag], s->huge * per_gib);
			if (!flag)
				continue;
			sum->release_flushes = MAX(sum->release_flushes,
						   s->release_flushes * per_gib);
			sum->blocks += s->blocks;
			sum->whole += s->whole;
		}
	}
}

static void print_table(const struct summary *sums, size_t size, int rounds)
{
	const struct summary *sum;
	int way;

	say("guest_memfd of %zu MiB populated and freed, flag off and on, %d rounds, %ld CPUs",
	    size >> 20, rounds, sysconf(_SC_NPROCESSORS_ONLN));
	say("%-28s %23s  %23s  %13s  %13s  %9s", "", "seconds to populate",
	    "seconds to free", "flushes/GiB", "splits/GiB", "2M whole");
	say("%-28s %7s %7s %7s  %7s %7s %7s  %6s %6s  %6s %6s  %9s", "populated by",
	    "off", "on", "on/off", "off", "on", "on/off", "off", "on", "off", "on",
	    "again, %");
	for (way = 0; way < NR_WAYS; way++) {
		sum = &sums[way];
		say("%-28s %7.3f %7.3f %7.2f  %7.3f %7.3f %7.2f  %6llu %6llu  %6llu %6llu  %9.1f",
		    way_texts[way], sum->populate[0], sum->populate[1],
		    sum->populate[1] / sum->populate[0],
		    sum->release[0], sum->release[1],
		    sum->release[1] / sum->release[0],
		    (unsigned long long)sum->flushes[0],
		    (unsigned long long)sum->flushes[1],
		    (unsigned long long)sum->splits[0],
		    (unsigned long long)sum->splits[1],
		    sum->blocks ? 100.0 * sum->whole / sum->blocks : 0.0);
	}
	sum = &sums[GUEST];
	say("Per GiB that the guest touches: page faults off %llu, on %llu; 2M SPTEs off %llu, on %llu",
	    (unsigned long long)sum->faults[0], (unsigned long long)sum->faults[1],
	    (unsigned long long)sum->huge[0], (unsigned long long)sum->huge[1]);
	say("Without the flag, fallocate() leaves it to the first access to zero a page.");
}

/* The same for programs. */
static void print_lines(const struct summary *sums, size_t size, int rounds)
{
	const struct summary *sum;
	int way;

	for (way = 0; way < NR_WAYS; way++) {
		sum = &sums[way];
		say("bench way=%s size_mib=%zu rounds=%d populate_off_s=%.4f populate_on_s=%.4f populate_ratio=%.3f "
		    "free_off_s=%.4f free_on_s=%.4f free_ratio=%.3f flushes_per_gib=%llu free_flushes_per_gib=%llu "
		    "splits_per_gib=%llu blocks=%llu whole_again=%llu "
		    "faults_off_per_gib=%llu faults_per_gib=%llu huge_off_per_gib=%llu huge_per_gib=%llu",
		    way_names[way], size >> 20, rounds,
		    sum->populate[0], sum->populate[1],
		    sum->populate[1] / sum->populate[0],
		    sum->release[0], sum->release[1],
		    sum->release[1] / sum->release[0],
		    (unsigned long long)sum->flushes[1],
		    (unsigned long long)sum->release_flushes,
		    (unsigned long long)sum->splits[1],
		    (unsigned long long)sum->blocks,
		    (unsigned long long)sum->whole,
		    (unsigned long long)sum->faults[0],
		    (unsigned long long)sum->faults[1],
		    (unsigned long long)sum->huge[0],
		    (unsigned long long)sum->huge[1]);
	}
}

static void check_figures(const struct summary *sums)
{
	const uint64_t pages = (1ull << 30) / NDM_PAGE;
	const struct summary *sum;
	uint64_t other = 0;
	unsigned int most;
	int way;

	for (way = 0; way < NR_WAYS; way++) {
		sum = &sums[way];
		most = way == FALLOCATE ? 32 : 512;
		ksft_test_result(sum->flushes[1] <= most,
				 "%s: at most %u flushes per GiB: %llu\n",
				 way_names[way], most,
				 (unsigned long long)sum->flushes[1]);
		ksft_test_result(!sum->splits[1],
				 "%s: no splits of 2M entries per GiB: %llu\n",
				 way_names[way],
				 (unsigned long long)sum->splits[1]);
		ksft_test_result(sum->blocks && sum->whole == sum->blocks,
				 "%s: all 2M entries whole again: %llu of %llu\n",
				 way_names[way], (unsigned long long)sum->whole,
				 (unsigned long long)sum->blocks);
	}

	sum = &sums[GUEST];
	/* What the guest faults in beside the memory that is measured, it does with "off", too. */
	if (sum->faults[0] > pages)
		other = sum->faults[0] - pages;
	ksft_test_result(sum->faults[1] <= 512 + other,
			 "guest: at most 512 page faults per GiB, and %llu elsewhere: %llu\n",
			 (unsigned long long)other, (unsigned long long)sum->faults[1]);
	ksft_test_result(sum->huge[1] >= 512, "guest: 512 2M SPTEs per GiB: %llu\n",
			 (unsigned long long)sum->huge[1]);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "check", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	static struct sample samples[NR_WAYS][2][MAX_ROUNDS];
	struct summary sums[NR_WAYS] = {};
	size_t size = 128, rounds = 3, value;
	struct ndm_flushes counters;
	bool check = false;
	int opt, way, round, flag, i;
	char *end;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
		case 'r':
			value = strtoul(optarg, &end, 10);
			if (*end || !value || value > (opt == 's' ? 65536 : MAX_ROUNDS)) {
				fprintf(stderr, "%s: not a good number: \"%s\"\n",
					argv[0], optarg);
				return KSFT_FAIL;
			}
			if (opt == 's')
				size = value;
			else
				rounds = value;
			break;
		case 'c':
			check = true;
			prefix = "# ";
			break;
		case 'h':
			printf("Usage: %s [--size MIB] [--rounds N] [--check]\n",
			       argv[0]);
			return KSFT_PASS;
		default:
			return KSFT_FAIL;
		}
	}
	ndm_end_of_options(argc, argv);

	ndm_is_no_test = !check;
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (check) {
		ksft_print_header();
		ksft_set_plan(3 * NR_WAYS + 2);
	}
	ndm_pin_here();
	probe = ndm_probe_open();
	ndm_flushes(probe, true, &counters);
	if (!(counters.probed & 1))
		ksft_exit_fail_msg("flush_tlb_kernel_range() can't be counted\n");

	for (way = 0; way < NR_WAYS; way++) {
		for (round = 0; round < rounds; round++) {
			for (i = 0; i < 2; i++) {
				/* In turns, so that neither is always first. */
				flag = i ^ (round & 1);
				measure(way, flag, MIB(size),
					&samples[way][flag][round]);
			}
		}
	}

	for (way = 0; way < NR_WAYS; way++)
		summarize(samples[way], rounds, MIB(size), &sums[way]);
	print_table(sums, MIB(size), rounds);
	print_lines(sums, MIB(size), rounds);
	if (check) {
		check_figures(sums);
		ksft_finished();
	}
	return KSFT_PASS;
}
