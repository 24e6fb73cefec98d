// SPDX-License-Identifier: GPL-2.0
/*
 * Launch a guest whose whole memory, its code and page tables included, comes
 * from one guest_memfd without a direct map; tell for each class of its pages
 * whether the host's direct map has them, before the guest exists, when it is
 * loaded, while it runs, and after.
 *
 * The same guest runs on a guest_memfd with a direct map first: if nothing of
 * it is found there, then what looks has no eyes.
 * --help says how to use it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#include "ndm_guest.h"

/* Memory slots, in the order in which they lie in the file. */
enum { CODE, DATA, TABLES, FREE, NR_CLASSES };

static const char * const class_names[] = {
	[CODE] = "code (the program's image)",
	[DATA] = "data (stack, descriptors, secret)",
	[TABLES] = "page tables",
	[FREE] = "free (never touched by the guest)",
};

enum { BEFORE, LOADED, RUNNING, AFTER, NR_PHASES };

static const char * const phase_names[] = {
	"before", "loaded", "running", "after"
};

/* The low 16 MiB stay empty: nothing of a PC's memory map is in the way. */
#define GUEST_BASE	MIB(16)
#define CODE_SIZE	MIB(2)
#define TABLES_SIZE	MIB(1)
#define SECRET_SIZE	(256 * NDM_PAGE)

struct class {
	size_t pages;
	size_t mapped[NR_PHASES];	/* in the page tables */
	size_t readable[NR_PHASES];	/* by at least one CPU */
};

struct run {
	bool ordinary;
	size_t size;
	uint64_t seed;
	struct class classes[NR_CLASSES];
	struct ndm_look looks[NR_PHASES];
	uint64_t guest_result;	/* words of the secret that were wrong */
	size_t not_restored;
};

static int probe;
static struct ndm_picture picture;

/* The guest: write the secret, then check it over and over until told to end. */
static uint64_t guest_rounds;
static uint64_t guest_stop;

static void guest_code(uint64_t addr, uint64_t seed)
{
	void *secret = (void *)addr;
	uint64_t differs = 0;

	ndm_secret_write(secret, SECRET_SIZE, seed);
	GUEST_SYNC(0);

	while (!READ_ONCE(guest_stop)) {
		differs += ndm_secret_differs(secret, SECRET_SIZE, seed);
		WRITE_ONCE(guest_rounds, guest_rounds + 1);
	}
	GUEST_SYNC(differs);
}

static uint64_t run_to_sync(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT(uc.cmd == UCALL_SYNC, "Unexpected exit %u, %s",
		    vcpu->run->exit_reason,
		    exit_reason_str(vcpu->run->exit_reason));
	return uc.args[1];
}

static void *vcpu_thread(void *data)
{
	return (void *)run_to_sync(data);
}

/*
 * One slot per class.  The library fills slots through a mapping of its own, which is
 * replaced by one of the file, as is its memslot.
 */
static void add_slot(struct kvm_vm *vm, int fd, int slot, size_t offset,
		     size_t size)
{
	struct userspace_mem_region *region;
	gpa_t gpa = GUEST_BASE + offset;
	void *mem;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, gpa, slot,
				    size / NDM_PAGE, 0);
	region = memslot2region(vm, slot);
	mem = mmap(region->host_mem, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, offset);
	TEST_ASSERT(mem == region->host_mem, "mmap() of guest_memfd failed");

	vm_set_user_memory_region2(vm, slot, 0, gpa, 0, NULL, 0, 0);
	vm_set_user_memory_region2(vm, slot, KVM_MEM_GUEST_MEMFD, gpa, size, mem,
				   fd, offset);
}

static struct kvm_vm *create_vm(int *fd, struct run *run,
				struct kvm_vcpu **vcpu)
{
	const size_t data_size = SECRET_SIZE + MIB(1);
	const struct ndm_kind kind = {
		.ordinary = run->ordinary,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	size_t offset = 0;
	struct kvm_vm *vm;
	gva_t secret;
	int i;

	vm = ____vm_create(VM_SHAPE_DEFAULT);
	*fd = vm_create_guest_memfd(vm, run->size, ndm_flags(&kind));
	TEST_ASSERT(!fallocate(*fd, FALLOC_FL_KEEP_SIZE, 0, run->size),
		    "fallocate() of guest_memfd failed");

	add_slot(vm, *fd, CODE, offset, CODE_SIZE);
	offset += CODE_SIZE;
	add_slot(vm, *fd, DATA, offset, data_size);
	offset += data_size;
	add_slot(vm, *fd, TABLES, offset, TABLES_SIZE);
	offset += TABLES_SIZE;
	add_slot(vm, *fd, FREE, offset, run->size - offset);

	for (i = 0; i < NR_MEM_REGIONS; i++)
		vm->memslots[i] = DATA;
	vm->memslots[MEM_REGION_CODE] = CODE;
	vm->memslots[MEM_REGION_PT] = TABLES;

	kvm_vm_elf_load(vm, program_invocation_name);
	ucall_init(vm, GUEST_BASE + run->size);
	kvm_arch_vm_post_create(vm, 1);

	*vcpu = vm_vcpu_add(vm, 0, guest_code);
	kvm_arch_vm_finalize_vcpus(vm);

	secret = __vm_alloc(vm, SECRET_SIZE, KVM_UTIL_MIN_VADDR,
			    MEM_REGION_DATA);
	vcpu_args_set(*vcpu, 2, secret, run->seed);
	guest_stop = 0;
	guest_rounds = 0;
	sync_global_to_guest(vm, guest_stop);
	sync_global_to_guest(vm, guest_rounds);
	return vm;
}

/* What the library didn't give away is free, in whatever slot it is. */
static void classify(struct kvm_vm *vm, size_t pages, uint8_t *class_of)
{
	struct userspace_mem_region *region;
	sparsebit_idx_t gfn;
	size_t i;
	int slot;

	for (slot = CODE; slot < NR_CLASSES; slot++) {
		region = memslot2region(vm, slot);
		for (i = 0; i < region->region.memory_size / NDM_PAGE; i++) {
			gfn = region->region.guest_phys_addr / NDM_PAGE + i;
			class_of[gfn - GUEST_BASE / NDM_PAGE] =
				sparsebit_is_set(region->unused_phy_pages, gfn) ?
				FREE : slot;
		}
	}
}

static void look(struct run *run, int phase, const uint8_t *class_of, int fd,
		 __u64 *pfns)
{
	const size_t pages = run->size / NDM_PAGE;
	__u32 *states = calloc(pages, sizeof(*states));
	struct ndm_check res;
	struct class *class;
	size_t i;

	ndm_look(probe, run->seed, true, &run->looks[phase]);
	if (fd >= 0)
		ndm_check_file(probe, fd, 0, pages, pfns, states, &res);
	else
		ndm_check_pfns(probe, pfns, pages, states, run->seed, &res);
	for (i = 0; i < pages; i++) {
		class = &run->classes[class_of[i]];
		class->mapped[phase] += !!(states[i] & NDM_MAPPED);
		class->readable[phase] += !!(states[i] & NDM_READABLE);
	}
	free(states);
}

static void launch(struct run *run)
{
	const size_t pages = run->size / NDM_PAGE;
	uint8_t *class_of = calloc(pages, 1);
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_look *before = &run->looks[BEFORE];
	struct kvm_vcpu *vcpu;
	struct class *class;
	pthread_t thread;
	struct kvm_vm *vm;
	void *result;
	size_t i;
	int fd;

	run->seed = ndm_seed();
	ndm_picture(probe, &picture);
	ndm_look(probe, run->seed, false, before);
	before->flushes = -1;

	vm = create_vm(&fd, run, &vcpu);
	classify(vm, pages, class_of);
	look(run, LOADED, class_of, fd, pfns);

	/* Which pages it would be is known only now. */
	for (i = 0; i < pages; i++) {
		class = &run->classes[class_of[i]];
		class->pages++;
		class->mapped[BEFORE] += ndm_was_present(&picture, pfns[i]);
		class->readable[BEFORE] += ndm_was_present(&picture, pfns[i]);
	}
	ndm_picture_free(&picture);

	run_to_sync(vcpu);
	pthread_create(&thread, NULL, vcpu_thread, vcpu);
	TEST_ASSERT(ndm_wait((sync_global_from_guest(vm, guest_rounds),
			      guest_rounds)), "The guest makes no progress");
	look(run, RUNNING, class_of, fd, pfns);
	guest_stop = 1;
	sync_global_to_guest(vm, guest_stop);
	pthread_join(thread, &result);
	run->guest_result = (uint64_t)result;

	close(fd);
	kvm_vm_free(vm);
	run->not_restored = ndm_wait_restored(probe, pfns, pages);
	ndm_wait_missing(probe, before->missing);
	look(run, AFTER, class_of, -1, pfns);
	free(class_of);
	free(pfns);
}

/* Until the next call. */
static const char *yes_no(const struct class *class, int phase)
{
	static char buf[32];

	if (!class->mapped[phase] && class->readable[phase])
		snprintf(buf, sizeof(buf), "TLB: %zu", class->readable[phase]);
	else if (!class->mapped[phase])
		return "no";
	else if (class->mapped[phase] == class->pages)
		return "yes";
	else
		snprintf(buf, sizeof(buf), "%zu of %zu", class->mapped[phase],
			 class->pages);
	return buf;
}

static void print_run(const struct run *run)
{
	int i, j;

	printf("%-35s%8s", "In the host's direct map?", "pages");
	for (i = 0; i < NR_PHASES; i++)
		printf("%12s", phase_names[i]);
	printf("\n");
	for (i = 0; i < NR_CLASSES; i++) {
		printf("  %-33s%8zu", class_names[i], run->classes[i].pages);
		for (j = 0; j < NR_PHASES; j++)
			printf("%12s", yes_no(&run->classes[i], j));
		printf("\n");
	}

	ndm_print_looks(run->looks, sizeof(*run->looks), phase_names, NR_PHASES);
}

static void judge(const struct run *run)
{
	const struct class *class;
	int i, j;

	if (run->guest_result)
		ndm_fail("the guest found %llu words of its memory changed",
			 (unsigned long long)run->guest_result);
	for (i = 0; i < NR_CLASSES; i++) {
		class = &run->classes[i];
		if (!class->pages)
			ndm_fail("no pages of class %s", class_names[i]);
		if (class->mapped[BEFORE] != class->pages)
			ndm_fail("%s: not in the direct map from the start",
				 class_names[i]);
		for (j = LOADED; j <= RUNNING; j++) {
			if (class->mapped[j] || class->readable[j])
				ndm_fail("%s, %s: %zu pages have an entry, %zu can be read",
					 class_names[i], phase_names[j],
					 class->mapped[j], class->readable[j]);
		}
		if (class->mapped[AFTER] != class->pages)
			ndm_fail("%s: %zu pages did not return to the direct map",
				 class_names[i], class->pages - class->mapped[AFTER]);
	}
	for (i = LOADED; i < NR_PHASES; i++) {
		if (run->looks[i].found)
			ndm_fail("%s: the guest's secret is in the direct map",
				 phase_names[i]);
	}
	ndm_judge(&run->looks[BEFORE], &run->looks[AFTER], 0);
}

#ifdef __x86_64__
/* Memory that the host can't map, and only the guest itself ever writes to. */
static void private_memory(size_t size)
{
	const struct ndm_kind kind = NDM_PROTECTED;
	const size_t pages = size / NDM_PAGE;
	__u64 *pfns = calloc(pages, sizeof(*pfns));
	struct ndm_check during, after;
	uint64_t found, found_after;
	struct ndm_guest g;

	TEST_ASSERT(!ndm_guest_open(&g, &kind, size),
		    "No private guest_memfd");
	TEST_ASSERT(!ndm_guest_run(&g, NDM_GUEST_ZERO, 0, size),
		    "Private memory is not zero at first sight");
	ndm_guest_run(&g, NDM_GUEST_WRITE, 0, size);
	ndm_check_file(probe, g.file.fd, 0, pages, pfns, NULL, &during);
	found = ndm_scan(probe, g.seed, NULL);
	if (ndm_guest_run(&g, NDM_GUEST_VERIFY, 0, size))
		ndm_fail("private memory changed");
	ndm_guest_close(&g);
	ndm_wait_restored(probe, pfns, pages);
	ndm_check_pfns(probe, pfns, pages, NULL, g.seed, &after);
	found_after = ndm_scan(probe, g.seed, NULL);

	printf("\nPrivate memory of a software-protected VM, populated by its guest\n");
	printf("  pages %zu; running: in the direct map %llu, secret found in %llu; after: in the direct map %llu, secret found in %llu\n",
	       pages, (unsigned long long)during.mapped,
	       (unsigned long long)found, (unsigned long long)after.mapped,
	       (unsigned long long)found_after);
	if (during.present != pages || during.mapped || during.readable ||
	    found)
		ndm_fail("private memory is in the direct map");
	if (after.mapped != pages || found_after)
		ndm_fail("private memory did not return zeroed");
	free(pfns);
}
#endif

static void usage(const char *self)
{
	printf("Usage: %s [--size MIB]\n"
	       "\n"
	       "Run a guest of MIB (default 16) on memory that isn't in the direct map, and look\n"
	       "for that memory.\n"
	       "\n"
	       "Exit codes: 0 all is as it must be, 1 something is wrong or can't be tested here,\n"
	       "%d bad usage.\n", self, NDM_BAD_USAGE);
}

int main(int argc, char **argv)
{
	struct run comparison = { .ordinary = true }, run = {};
	size_t total = 0, mapped = 0;
	unsigned int size = 16;
	const struct ndm_option options[] = {
		{ "size", .number = &size, .min = 8, .max = 1024 },
		{}
	};
	int i;

	ndm_options(argc, argv, options, usage);
	probe = ndm_begin(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	ndm_compact();

	comparison.size = MIB(size);
	launch(&comparison);
	for (i = 0; i < NR_CLASSES; i++) {
		total += comparison.classes[i].pages;
		mapped += comparison.classes[i].readable[RUNNING];
	}
	ndm_print_host();
	printf("Guest: %u MiB, 1 vCPU, all of its memory in one guest_memfd\n\n",
	       size);
	printf("Without the flag, for comparison\n");
	printf("  pages %zu; running: in the direct map %zu, secret found in %llu; after: secret found in %llu\n\n",
	       total, mapped,
	       (unsigned long long)comparison.looks[RUNNING].found,
	       (unsigned long long)comparison.looks[AFTER].found);
	if (mapped != total || comparison.looks[RUNNING].found <
			       (int64_t)(SECRET_SIZE / NDM_PAGE))
		ndm_fail("the probe doesn't see what is there: nothing below counts");

	printf("With GUEST_MEMFD_FLAG_NO_DIRECT_MAP\n");
	run.size = MIB(size);
	launch(&run);
	print_run(&run);
	judge(&run);

#ifdef __x86_64__
	private_memory(MIB(4));
#endif

	return ndm_verdict("The guest ran, and the host's direct map had none of its memory.");
}
