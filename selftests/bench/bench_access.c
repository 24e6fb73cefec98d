// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs KVM to get at guest memory: by its userspace address, by windows
 * that no other CPU sees, and by windows in the direct map, as architectures
 * without the former have them; in turns, in one boot.
 *
 * Usage: bench_access [--count N] [--rounds N] [--check | --icount]
 *
 *   --check   print KTAP, and fail when a figure is missed that depends neither on
 *             speed nor on luck: no flush of other CPUs' TLBs by a window, and vCPUs
 *             that walk the same page tables at once don't sleep on each other
 *   --icount  the same, and fail if a read by a window takes more than half of the
 *             instructions that one in the direct map takes
 *
 * Emulated time misleads, because loading CR3 empties the whole emulated TLB.
 * Under QEMU's -icount (scripts/boot --icount) a nanosecond is an instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "kselftest.h"
#include "ndm.h"

#define GENERIC_WINDOW	"/sys/kernel/debug/no_direct_map/generic_window"

#define MAX_ROUNDS	31
#define MEM_SIZE	MIB(4)
#define NR_WALKERS	8

/* Page tables that map GVA, and don't map GVA_NONE from the first level on. */
#define TABLES		0x10000ul
#define GVA		0x201000ul
#define GVA_NONE	(1ul << 40)
/* Two pages for the cache to go back and forth between. */
#define INFO		0x20000ul

enum { UACCESS, WINDOW, GENERIC, NR_HOWS };

static const char * const how_names[] = {
	[UACCESS] = "uaccess", [WINDOW] = "window", [GENERIC] = "generic",
};

enum { READ, WALK, WRITE, REFRESH, NR_OPS };

static const char * const op_texts[] = {
	[READ] = "read 8 bytes (first level of a walk)",
	[WALK] = "walk 4 levels of page tables",
	[WRITE] = "write 4 KiB (pwrite)",
	[REFRESH] = "refresh a gfn_to_pfn_cache",
};

struct machine {
	int vm, vcpu, gmem;
	char *mem;
};

struct walker {
	struct machine m;
	pthread_t thread;
	size_t count;
	long switches;
};

struct walks {
	double ns;
	long switches;
};

struct sample {
	double ns;
	double flushes;
	bool done;
};

static const char *prefix = "";
static int probe;

static int xioctl(int fd, unsigned long request, void *arg, const char *name)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		ksft_exit_fail_msg("%s: %s\n", name, strerror(errno));
	return ret;
}
#define do_ioctl(fd, request, arg) xioctl(fd, request, arg, #request)

static void put(struct machine *m, uint64_t gpa, const void *data, size_t size)
{
	if (m->gmem < 0)
		memcpy(m->mem + gpa, data, size);
	else if (pwrite(m->gmem, data, size, gpa) != size)
		ksft_exit_fail_msg("pwrite: %s\n", strerror(errno));
}

static void put_word(struct machine *m, uint64_t gpa, uint64_t word)
{
	put(m, gpa, &word, sizeof(word));
}

static void add_vcpu(struct machine *m, unsigned int id)
{
	struct kvm_cpuid2 *cpuid;
	struct kvm_sregs sregs;
	int kvm;

	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, id);
	if (m->vcpu < 0)
		ksft_exit_fail_msg("KVM_CREATE_VCPU: %s\n", strerror(errno));
	cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	cpuid->nent = 256;
	kvm = open("/dev/kvm", O_RDWR);
	do_ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	do_ioctl(m->vcpu, KVM_SET_CPUID2, cpuid);
	close(kvm);
	free(cpuid);

	do_ioctl(m->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cr0 = 0x80000011;		/* PG, ET, PE */
	sregs.cr3 = TABLES;
	sregs.cr4 = 0x20;		/* PAE */
	sregs.efer = 0x500;		/* LMA, LME */
	do_ioctl(m->vcpu, KVM_SET_SREGS, &sregs);
}

static void start(struct machine *m, bool ordinary)
{
	struct kvm_userspace_memory_region2 slot = { .memory_size = MEM_SIZE };
	struct kvm_memory_attributes attrs = {
		.size = MEM_SIZE, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct kvm_xen_hvm_config xen = {};
	int i;

	m->vm = ndm_vm_create(ordinary ? 0 : KVM_X86_SW_PROTECTED_VM);
	if (m->vm < 0)
		ksft_exit_fail_msg("KVM_CREATE_VM: %s\n", strerror(-m->vm));

	m->gmem = -1;
	m->mem = mmap(NULL, MEM_SIZE, ordinary ? PROT_READ | PROT_WRITE : PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->mem == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));
	slot.userspace_addr = (uintptr_t)m->mem;

	if (!ordinary) {
		m->gmem = ndm_gmem_create(m->vm, MEM_SIZE,
					  GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
		if (m->gmem < 0)
			ksft_exit_fail_msg("guest_memfd: %s\n", strerror(-m->gmem));
		slot.flags = KVM_MEM_GUEST_MEMFD;
		slot.guest_memfd = m->gmem;
	}
	do_ioctl(m->vm, KVM_SET_USER_MEMORY_REGION2, &slot);
	if (!ordinary)
		do_ioctl(m->vm, KVM_SET_MEMORY_ATTRIBUTES, &attrs);
	do_ioctl(m->vm, KVM_XEN_HVM_CONFIG, &xen);

	/* Present, writable, user, accessed, dirty. */
	for (i = 0; i < 3; i++)
		put_word(m, TABLES + i * NDM_PAGE, (TABLES + (i + 1) * NDM_PAGE) | 0x67);
	put_word(m, TABLES + 2 * NDM_PAGE + (GVA >> 21) * 8, (TABLES + 3 * NDM_PAGE) | 0x67);
	put_word(m, TABLES + 3 * NDM_PAGE + (GVA >> 12) % 512 * 8, GVA | 0x67);
	put_word(m, INFO, 0);
	put_word(m, INFO + NDM_PAGE, 0);

	add_vcpu(m, 0);
}

static void end(struct machine *m)
{
	close(m->vcpu);
	close(m->vm);
	if (m->gmem >= 0)
		close(m->gmem);
	munmap(m->mem, MEM_SIZE);
}

static void translate(struct machine *m, uint64_t gva, bool valid)
{
	struct kvm_translation tr = { .linear_address = gva };

	do_ioctl(m->vcpu, KVM_TRANSLATE, &tr);
	if (tr.valid != valid || (valid && tr.physical_address != GVA))
		ksft_exit_fail_msg("%#lx is at %#llx, valid %d\n", (long)gva,
				   tr.physical_address, tr.valid);
}

static void do_op(struct machine *m, int op, unsigned int i)
{
	static char page[NDM_PAGE];
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO,
		.u.gpa = INFO + i % 2 * NDM_PAGE,
	};

	switch (op) {
	case READ:
		translate(m, GVA_NONE, false);
		break;
	case WALK:
		translate(m, GVA, true);
		break;
	case WRITE:
		put(m, MIB(2), page, sizeof(page));
		break;
	case REFRESH:
		do_ioctl(m->vcpu, KVM_XEN_VCPU_SET_ATTR, &attr);
		break;
	}
}

/* A refresh of the direct map's own takes none; those of aliases count as well. */
static uint64_t flushes(void)
{
	struct ndm_flushes now;

	ndm_flushes(probe, true, &now);
	return now.direct + now.other + now.all + now.cpa / sysconf(_SC_NPROCESSORS_ONLN);
}

static void use_window(int how)
{
	if (ndm_write_file(GENERIC_WINDOW, "%d", how == GENERIC) < 0)
		ksft_exit_fail_msg("%s can't be written\n", GENERIC_WINDOW);
}

static void measure(int how, size_t count, struct sample samples[NR_OPS])
{
	struct machine m;
	double begin;
	size_t i;
	int op;

	use_window(how);
	start(&m, how == UACCESS);
	for (op = 0; op < NR_OPS; op++) {
		/* There's no KVM in between when a VMM writes to its own memory. */
		if (op == WRITE && how == UACCESS)
			continue;

		/* Holes, splits, and what else happens only once. */
		do_op(&m, op, 0);
		do_op(&m, op, 1);
		flushes();

		begin = ndm_now();
		for (i = 0; i < count; i++)
			do_op(&m, op, i);
		samples[op].ns = (ndm_now() - begin) * 1e9 / count;
		samples[op].flushes = (double)flushes() / count;
		samples[op].done = true;
	}
	end(&m);
	use_window(WINDOW);
}

static pthread_barrier_t barrier;

static void *walk(void *arg)
{
	struct walker *walker = arg;
	struct rusage before, after;
	size_t i;

	pthread_barrier_wait(&barrier);
	getrusage(RUSAGE_THREAD, &before);
	for (i = 0; i < walker->count; i++)
		translate(&walker->m, GVA, true);
	getrusage(RUSAGE_THREAD, &after);
	walker->switches = after.ru_nvcsw - before.ru_nvcsw;
	return NULL;
}

/* Have some vCPUs walk the same page tables at once, and add up what they did. */
static void walk_at_once(int how, unsigned int nr, size_t count, struct walks *walks)
{
	struct walker walkers[NR_WALKERS];
	struct machine m;
	unsigned int i;
	double begin;

	use_window(how);
	start(&m, how == UACCESS);
	pthread_barrier_init(&barrier, NULL, nr + 1);
	for (i = 0; i < nr; i++) {
		walkers[i].m = m;
		walkers[i].count = count / nr;
		if (i)
			add_vcpu(&walkers[i].m, i);
		/* Holes, and page tables of the kernel. */
		translate(&walkers[i].m, GVA, true);
		if (pthread_create(&walkers[i].thread, NULL, walk, &walkers[i]))
			ksft_exit_fail_msg("pthread_create: %s\n", strerror(errno));
	}

	pthread_barrier_wait(&barrier);
	begin = ndm_now();
	walks->switches = 0;
	for (i = 0; i < nr; i++) {
		pthread_join(walkers[i].thread, NULL);
		walks->switches += walkers[i].switches;
		if (i)
			close(walkers[i].m.vcpu);
	}
	walks->ns = (ndm_now() - begin) * 1e9 / (count / nr * nr);
	pthread_barrier_destroy(&barrier);
	end(&m);
	use_window(WINDOW);
}

/* As bench_populate does. */
static void print_row(const char *key, const char *text, double off, double on,
		      const char *target)
{
	const double limit = *target ? atof(target + 2) : 0;
	const bool met = !*target || (*target == '<' ? on <= limit : on >= limit);

	printf("%sbench\t%s\t%s\t", prefix, key, text);
	if (isnan(off))
		printf("-");
	else
		printf("%.2f", off);
	printf("\t%.2f\t%s\t%s\n", on, *target ? target : "-", met ? "met" : "missed");
}

static int by_ns(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

static void usage(const char *self)
{
	printf("Usage: %s [--count N] [--rounds N] [--check | --icount]\n", self);
}

int main(int argc, char **argv)
{
	static struct sample samples[NR_HOWS][MAX_ROUNDS][NR_OPS];
	unsigned int count = 2000, rounds = 3;
	struct sample best[NR_HOWS][NR_OPS];
	struct ndm_flushes counters;
	struct walks one, all, few[NR_HOWS] = {}, many[NR_HOWS] = {};
	bool check = false, icount = false;
	const struct ndm_option options[] = {
		{ "count", .number = &count, .min = 1, .max = 10000000 },
		{ "rounds", .number = &rounds, .min = 1, .max = MAX_ROUNDS },
		{ "check", .flag = &check },
		{ "icount", .flag = &icount },
		{}
	};
	double reads[NR_HOWS];
	size_t nr_walks, round;
	cpu_set_t cpus;
	int how, op;

	ndm_options(argc, argv, options, usage);
	check |= icount;
	if (check)
		prefix = "# ";

	ndm_is_no_test = !check;
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG | NDM_NEED_DEBUGFS);
	if (access(GENERIC_WINDOW, W_OK))
		ndm_skip("no %s: CONFIG_NO_DIRECT_MAP_GENERIC_WINDOW is missing",
			 GENERIC_WINDOW);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (check) {
		ksft_print_header();
		ksft_set_plan(icount ? 4 : 5);
	}
	sched_getaffinity(0, sizeof(cpus), &cpus);
	ndm_pin_here();
	probe = ndm_probe_open();
	ndm_flushes(probe, true, &counters);
	if (!(counters.probed & 1))
		ksft_exit_fail_msg("flush_tlb_kernel_range() can't be counted\n");

	for (round = 0; round < rounds; round++)
		for (how = 0; how < NR_HOWS; how++)
			measure(how, count, samples[how][round]);

	/* The median of each; a round's samples lie NR_OPS apart. */
	for (how = 0; how < NR_HOWS; how++) {
		for (op = 0; op < NR_OPS; op++) {
			struct sample sorted[MAX_ROUNDS];

			for (round = 0; round < rounds; round++)
				sorted[round] = samples[how][round][op];
			qsort(sorted, rounds, sizeof(*sorted), by_ns);
			best[how][op] = sorted[rounds / 2];
		}
	}

	printf("%s%-38s", prefix, "ns (flushes of all CPUs' TLBs) each");
	for (how = 0; how < NR_HOWS; how++)
		printf(" %18s", how_names[how]);
	printf("\n");
	for (op = 0; op < NR_OPS; op++) {
		printf("%s%-38s", prefix, op_texts[op]);
		for (how = 0; how < NR_HOWS; how++) {
			if (best[how][op].done)
				printf(" %10.0f (%5.2f)", best[how][op].ns,
				       best[how][op].flushes);
			else
				printf(" %18s", "-");
		}
		printf("\n");
	}

	/* Without what the ioctl takes, which is the same for all. */
	for (how = 0; how < NR_HOWS; how++)
		reads[how] = (best[how][WALK].ns - best[how][READ].ns) / 3;
	printf("%sa single read of 8 bytes: window / generic %.2f\n", prefix,
	       reads[WINDOW] / reads[GENERIC]);

	/* One thread's time is what counts under -icount. */
	sched_setaffinity(0, sizeof(cpus), &cpus);
	nr_walks = count * 100 < 100000 ? count * 100 : 100000;
	for (round = 0; !icount && round < rounds; round++) {
		for (how = 0; how < NR_HOWS; how++) {
			/* They do wait for each other in the direct map. */
			size_t nr = how == GENERIC ? nr_walks / 10 : nr_walks;

			walk_at_once(how, 1, nr, &one);
			walk_at_once(how, NR_WALKERS, nr, &all);
			/* The best of all rounds, others are disturbed. */
			if (!round || one.ns / all.ns > few[how].ns / many[how].ns) {
				few[how] = one;
				many[how] = all;
			}
		}
	}
	for (how = 0; !icount && how < NR_HOWS; how++)
		printf("%s%zu walks by %s: %d threads together do %.2f times what one does, %ld voluntary switches (one: %ld)\n",
		       prefix, how == GENERIC ? nr_walks / 10 : nr_walks, how_names[how], NR_WALKERS,
		       few[how].ns / many[how].ns, many[how].switches, few[how].switches);

	/* For scripts/bench; "off" is what is accessed by its userspace address. */
	print_row("window_flushes", "flushes per window", best[UACCESS][READ].flushes,
		  best[WINDOW][READ].flushes, "<=0");
	if (icount) {
		print_row("window_instructions", "instructions, 8 bytes, ioctl included",
			  best[UACCESS][READ].ns, best[WINDOW][READ].ns, "");
		print_row("window_uaccess", "... window / uaccess", 1,
			  best[WINDOW][READ].ns / best[UACCESS][READ].ns, "<=1.5");
		print_row("window_generic", "instructions: window / generic window", NAN,
			  reads[WINDOW] / reads[GENERIC], "<=0.5");
	} else {
		print_row("walk_switches", "sleeps in 100000 walks of 8 threads",
			  many[UACCESS].switches * 100000.0 / nr_walks,
			  many[WINDOW].switches * 100000.0 / nr_walks, "<=100");
		print_row("walk_throughput", "throughput of 8 threads / one's",
			  few[UACCESS].ns / many[UACCESS].ns,
			  few[WINDOW].ns / many[WINDOW].ns, ">=1");
	}

	if (check) {
		ksft_test_result(best[WINDOW][READ].flushes == 0 &&
				 best[WINDOW][WALK].flushes == 0 &&
				 best[WINDOW][WRITE].flushes == 0,
				 "no flush by a window\n");
		/* Shows that the above could be seen. */
		ksft_test_result(best[GENERIC][READ].flushes >= 1 &&
				 best[GENERIC][WRITE].flushes >= 1,
				 "a flush by a window in the direct map\n");
		ksft_test_result(best[GENERIC][WALK].flushes >= 4 * best[GENERIC][READ].flushes,
				 "four times that by a walk of four levels\n");
		if (icount)
			ksft_test_result(reads[WINDOW] <= reads[GENERIC] / 2,
					 "half of the instructions or less\n");
		if (!icount) {
			/* The end of a thread, and what else isn't a walk's. */
			ksft_test_result(many[WINDOW].switches <= nr_walks / 1000,
					 "walks of the same page tables don't sleep on each other\n");
			/* Convoys make it a third.  A busy host may take a fifth. */
			ksft_test_result(few[WINDOW].ns * 5 >= many[WINDOW].ns * 4,
					 "nor are they slower than one thread's\n");
		}
		ksft_finished();
	}
	return KSFT_PASS;
}
