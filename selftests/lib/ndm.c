// SPDX-License-Identifier: GPL-2.0
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include <linux/falloc.h>

#include "kselftest.h"
#include "ndm.h"

/* A probe or a kernel interface that fails unexpectedly leaves no verdict. */
#define die(fmt, ...)							\
do {									\
	printf("# %s: " fmt ": %s\n", __func__, ##__VA_ARGS__,		\
	       strerror(errno));					\
	exit(KSFT_FAIL);						\
} while (0)

uint64_t ndm_seed(void)
{
	static uint64_t last;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	last += ts.tv_sec * 1000000007ull + ts.tv_nsec + getpid() * 7919ull;
	return last;
}

void ndm_inverted(uint64_t seed, __u64 inverted[NDM_PATTERN_WORDS])
{
	volatile __u64 *out = inverted;
	int i;

	for (i = 0; i < NDM_PATTERN_WORDS; i++)
		out[i] = ~ndm_secret_word(seed, i);
}

bool ndm_without_flag(void)
{
	const char *env = getenv("NDM_WITHOUT_FLAG");

	return env && !strcmp(env, "1");
}

bool ndm_is_no_test;

void ndm_skip(const char *why, ...)
{
	va_list args;

	printf(ndm_is_no_test ? "Can't run here: " :
				 "TAP version 13\n1..0 # SKIP ");
	va_start(args, why);
	vprintf(why, args);
	va_end(args);
	printf("\n");
	exit(ndm_is_no_test ? KSFT_FAIL : KSFT_SKIP);
}

unsigned int ndm_failures;

void ndm_fail(const char *fmt, ...)
{
	va_list args;

	ndm_failures++;
	printf("WRONG: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

unsigned int ndm_number(const char *option, const char *text,
			unsigned int min, unsigned int max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max) {
		fprintf(stderr, "%s: --%s needs a number from %u to %u, not \"%s\"\n",
			program_invocation_name, option, min, max, text);
		exit(NDM_BAD_USAGE);
	}
	return value;
}

void ndm_end_of_options(int argc, char **argv)
{
	if (optind >= argc)
		return;
	fprintf(stderr, "%s: unknown argument \"%s\" (try --help)\n", argv[0], argv[optind]);
	exit(NDM_BAD_USAGE);
}

enum { NDM_OPTIONS_MAX = 16 };

void ndm_options(int argc, char **argv, const struct ndm_option *options,
		 void (*usage)(const char *self))
{
	struct option longs[NDM_OPTIONS_MAX + 2] = {};
	const struct ndm_option *o;
	unsigned int nr;
	int opt;

	for (nr = 0; options[nr].name && nr < NDM_OPTIONS_MAX; nr++) {
		longs[nr].name = options[nr].name;
		longs[nr].has_arg = options[nr].flag ? no_argument : required_argument;
		longs[nr].val = nr + 1;
	}
	longs[nr] = (struct option){ "help", no_argument, NULL, 'h' };

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == 'h') {
			usage(argv[0]);
			exit(0);
		}
		if (opt == '?')
			exit(NDM_BAD_USAGE);
		o = &options[opt - 1];
		if (o->flag)
			*o->flag = true;
		else if (o->text)
			*o->text = optarg;
		else
			*o->number = ndm_number(o->name, optarg, o->min, o->max);
	}
	if (!options[nr].more)
		ndm_end_of_options(argc, argv);
}

int ndm_begin(const char *program, unsigned int needs)
{
	ndm_is_no_test = true;
	ndm_require(program, needs);
	setvbuf(stdout, NULL, _IOLBF, 0);
	return ndm_probe_open();
}

void ndm_print_host(void)
{
	struct utsname host;

	uname(&host);
	printf("Host: Linux %s, %ld CPUs, %llu MiB\n", host.release,
	       sysconf(_SC_NPROCESSORS_ONLN),
	       (unsigned long long)ndm_meminfo_kb("MemTotal") / 1024);
}

int ndm_verdict(const char *ok)
{
	printf("\n\"no\" is: no entry in the page tables, and a read fails on each of %ld CPUs.\n",
	       sysconf(_SC_NPROCESSORS_ONLN));
	if (ndm_failures) {
		printf("VERDICT: FAILED, %u wrong\n", ndm_failures);
		return 1;
	}
	printf("VERDICT: OK. %s\n", ok);
	return 0;
}

/* The module lies beside the programs. */
static void load_probe(const char *program)
{
	char self[PATH_MAX], path[PATH_MAX + 32];
	int fd;

	if (!access(NDM_DEVICE, F_OK))
		return;
	if (!realpath("/proc/self/exe", self))
		snprintf(self, sizeof(self), "%s", program);
	snprintf(path, sizeof(path), "%s/ndm_probe.ko", dirname(self));

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ndm_skip("no probe: %s: %s", path, strerror(errno));
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		ndm_skip("no probe: loading %s: %s", path, strerror(errno));
	close(fd);

	if (!ndm_wait(!access(NDM_DEVICE, F_OK)))
		ndm_skip("no probe: " NDM_DEVICE " does not appear");
}

void ndm_require(const char *program, unsigned int needs)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int kvm, flags;

	if (geteuid())
		ndm_skip("needs root");

	/* memfd_secret() is accounted as locked memory. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);

	if ((needs & NDM_NEED_DEBUGFS) &&
	    access("/sys/kernel/debug/sched", F_OK) &&
	    mount("none", "/sys/kernel/debug", "debugfs", 0, NULL) &&
	    errno != EBUSY)
		ndm_skip("no debugfs: %s", strerror(errno));

	if ((needs & NDM_NEED_TWO_CPUS) &&
	    sysconf(_SC_NPROCESSORS_ONLN) < 2)
		ndm_skip("needs two CPUs");

	if ((needs & NDM_NEED_FLAG) && !ndm_without_flag()) {
		kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		if (kvm < 0)
			ndm_skip("/dev/kvm: %s", strerror(errno));
		flags = ioctl(kvm, KVM_CHECK_EXTENSION,
			      KVM_CAP_GUEST_MEMFD_FLAGS);
		close(kvm);
		if (flags < 0 || !(flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
			ndm_skip("GUEST_MEMFD_FLAG_NO_DIRECT_MAP is not offered");
	}

	if (needs & NDM_NEED_PROBE)
		load_probe(program);
}

uint64_t ndm_flags(const struct ndm_kind *kind)
{
	if (kind->ordinary || ndm_without_flag())
		return kind->flags;
	return kind->flags | GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
}

int ndm_vm_create(unsigned long type)
{
	int kvm, vm;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return -errno;
	vm = ioctl(kvm, KVM_CREATE_VM, type);
	if (vm < 0)
		vm = -errno;
	close(kvm);
	return vm;
}

int ndm_gmem_create(int vm, size_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };
	int fd;

	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	return fd < 0 ? -errno : fd;
}

int ndm_open(struct ndm_file *f, const struct ndm_kind *kind, size_t size)
{
	const uint64_t mappable = GUEST_MEMFD_FLAG_MMAP |
				  GUEST_MEMFD_FLAG_INIT_SHARED;
	bool map;
	int err;

	*f = (struct ndm_file){
		.fd = -1,
		.vm = -1,
		.secretmem = kind->secretmem,
		.size = size,
	};

	if (kind->secretmem) {
		f->fd = syscall(SYS_memfd_secret, 0);
		if (f->fd < 0 || ftruncate(f->fd, size))
			goto err;
		map = true;
	} else {
		f->vm = ndm_vm_create(kind->vm_type);
		if (f->vm < 0)
			return f->vm;
		f->fd = ndm_gmem_create(f->vm, size, ndm_flags(kind));
		if (f->fd < 0) {
			errno = -f->fd;
			goto err;
		}
		map = (kind->flags & mappable) == mappable;
	}

	if (map) {
		f->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			      f->fd, 0);
		if (f->map == MAP_FAILED) {
			f->map = NULL;
			goto err;
		}
	}
	return 0;

err:
	err = -errno;
	ndm_close(f);
	return err;
}

void ndm_close(struct ndm_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
	if (f->fd >= 0)
		close(f->fd);
	if (f->vm >= 0)
		close(f->vm);
	*f = (struct ndm_file){ .fd = -1, .vm = -1 };
}

int ndm_populate(struct ndm_file *f)
{
	size_t i;

	if (!f->secretmem)
		return fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, f->size) ?
		       -errno : 0;

	for (i = 0; i < f->size; i += NDM_PAGE)
		(void)*(volatile char *)(f->map + i);
	return 0;
}

int ndm_punch(struct ndm_file *f, size_t offset, size_t size)
{
	return fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			 offset, size) ? -errno : 0;
}

int ndm_probe_open(void)
{
	int fd = open(NDM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(NDM_DEVICE);

	/* What other tests have left there is nobody's leak. */
	ndm_empty_pool();
	return fd;
}

void ndm_check_file(int probe, int fd, size_t index, size_t count,
		    __u64 *pfns, __u32 *states, struct ndm_check *res)
{
	*res = (struct ndm_check){
		.fd = fd,
		.index = index,
		.count = count,
		.pfns = (uintptr_t)pfns,
		.states = (uintptr_t)states,
	};
	if (ioctl(probe, NDM_IOC_CHECK, res))
		die("file");
}

void ndm_check_pfns(int probe, const __u64 *pfns, size_t count, __u32 *states,
		    uint64_t seed, struct ndm_check *res)
{
	*res = (struct ndm_check){
		.fd = -1,
		.flags = NDM_CHECK_CONTENTS,
		.count = count,
		.pfns = (uintptr_t)pfns,
		.states = (uintptr_t)states,
	};
	ndm_inverted(seed, res->inverted);
	if (ioctl(probe, NDM_IOC_CHECK, res))
		die("page frames");
}

uint64_t ndm_picture(int probe, struct ndm_picture *pic)
{
	struct ndm_map map = {};

	if (ioctl(probe, NDM_IOC_MAP, &map))
		die("map");
	pic->pages = map.end;
	pic->bitmap = calloc(map.end / 512 + 1, 512 / 8);
	pic->levels = calloc(map.end / 512 + 1, 1);
	map.bitmap = (uintptr_t)pic->bitmap;
	map.levels = (uintptr_t)pic->levels;
	if (ioctl(probe, NDM_IOC_MAP, &map))
		die("map");
	return map.missing;
}

void ndm_picture_free(struct ndm_picture *pic)
{
	free(pic->bitmap);
	free(pic->levels);
	*pic = (struct ndm_picture){};
}

bool ndm_was_present(const struct ndm_picture *pic, uint64_t pfn)
{
	return pfn < pic->pages && (pic->bitmap[pfn / 64] >> pfn % 64 & 1);
}

bool ndm_was_large(const struct ndm_picture *pic, uint64_t pfn)
{
	return ndm_was_present(pic, pfn) && pic->levels[pfn / 512] > 1;
}

uint64_t ndm_missing(int probe)
{
	struct ndm_map map = {};

	if (ioctl(probe, NDM_IOC_MAP, &map))
		die("map");
	return map.missing;
}

uint64_t ndm_scan(int probe, uint64_t seed, struct ndm_scan *res)
{
	struct ndm_scan scan = {};

	ndm_inverted(seed, scan.inverted);
	if (ioctl(probe, NDM_IOC_SCAN, &scan))
		die("scan");
	if (res)
		*res = scan;
	return scan.found;
}

void ndm_watch(int probe, int cpu, const __u64 *pfns, size_t count,
	       uint64_t seed, unsigned int flags)
{
	struct ndm_watch watch = {
		.pfns = (uintptr_t)pfns,
		.count = count,
		.cpu = cpu,
		.flags = flags,
	};

	ndm_inverted(seed, watch.inverted);
	if (ioctl(probe, NDM_IOC_WATCH, &watch))
		die("CPU %d", cpu);
}

void ndm_arm(int probe, const __u8 *marks, size_t count)
{
	struct ndm_arm arm = { .marks = (uintptr_t)marks, .count = count };

	if (ioctl(probe, NDM_IOC_ARM, &arm))
		die("arm");
}

void ndm_watch_stop(int probe, struct ndm_watched *res)
{
	if (ioctl(probe, NDM_IOC_STOP, res))
		die("stop");
}

__u64 ndm_hold(int probe, int fd, size_t index)
{
	struct ndm_hold hold = { .fd = fd, .index = index };

	if (ioctl(probe, NDM_IOC_HOLD, &hold))
		die("index %zu", index);
	return hold.pfn;
}

void ndm_put(int probe)
{
	if (ioctl(probe, NDM_IOC_PUT))
		die("put");
}

long ndm_gup(int probe, void *addr, unsigned int nr, unsigned int how)
{
	struct ndm_gup gup = { .addr = (uintptr_t)addr, .nr = nr, .how = how };

	if (ioctl(probe, NDM_IOC_GUP, &gup))
		die("how %u", how);
	return gup.ret;
}

void ndm_flushes(int probe, bool reset, struct ndm_flushes *res)
{
	*res = (struct ndm_flushes){ .reset = reset };
	if (ioctl(probe, NDM_IOC_FLUSHES, res))
		die("flushes");
}

int ndm_own(int probe, unsigned int op, __u64 *pfn)
{
	struct ndm_own own = { .op = op };

	if (ioctl(probe, NDM_IOC_OWN, &own))
		return -errno;
	if (pfn)
		*pfn = own.pfn;
	return 0;
}

int ndm_soft_offline(int probe, __u64 pfn)
{
	struct ndm_soft_offline arg = { .pfn = pfn };

	return ioctl(probe, NDM_IOC_SOFT_OFFLINE, &arg) ? -errno : arg.ret;
}

bool ndm_turn(int probe)
{
	struct ndm_turn arg;

	if (ioctl(probe, NDM_IOC_TURN, &arg))
		die("the turn of the worker");
	return arg.taken;
}

void ndm_provoke(int probe)
{
	ndm_turn(probe);
	ndm_empty_pool();
	ndm_compact();
	ndm_turn(probe);
}

int ndm_alias(int probe, int fd, size_t index, unsigned int rounds,
	      struct ndm_alias *res)
{
	*res = (struct ndm_alias){ .fd = fd, .index = index, .rounds = rounds };

	return ioctl(probe, NDM_IOC_ALIAS, res) ? -errno : 0;
}

int ndm_local(int probe, int fd, size_t index, struct ndm_local *res)
{
	*res = (struct ndm_local){ .fd = fd, .index = index };

	return ioctl(probe, NDM_IOC_LOCAL, res) ? -errno : 0;
}

int ndm_new_cpu(int probe, unsigned int cpu)
{
	struct ndm_new_cpu arg = { .cpu = cpu };

	return ioctl(probe, NDM_IOC_NEW_CPU, &arg) ? -errno : (int)arg.mapped;
}

void ndm_removals(int probe, struct ndm_removals *res)
{
	if (ioctl(probe, NDM_IOC_REMOVALS, res))
		die("removals");
}

void ndm_clear_mce(int probe, __u64 pfn)
{
	struct ndm_clear_mce arg = { .pfn = pfn };

	if (ioctl(probe, NDM_IOC_CLEAR_MCE, &arg))
		die("pfn %#llx", (unsigned long long)pfn);
}

/*
 * Have the kernel give back what it keeps out of the direct map for the next file.
 * That takes no more than memory pressure, which is what this looks like.
 */
void ndm_empty_pool(void)
{
	/* 4: without a message each time */
	ndm_write_file("/proc/sys/vm/drop_caches", "4\n");
	ndm_write_file("/proc/sys/vm/drop_caches", "2\n");
}

size_t ndm_wait_restored(int probe, const __u64 *pfns, size_t count)
{
	struct ndm_check res;

	(void)ndm_wait((ndm_empty_pool(),
			ndm_check_pfns(probe, pfns, count, NULL, 0, &res),
			res.mapped == count));
	return count - res.mapped;
}

uint64_t ndm_wait_missing(int probe, uint64_t before)
{
	uint64_t now;

	(void)ndm_wait((ndm_empty_pool(), (now = ndm_missing(probe)) <= before));
	return now > before ? now - before : 0;
}

static uint64_t number_in(const char *path, const char *name)
{
	size_t len = strlen(name);
	uint64_t value = 0;
	char line[256];
	FILE *file;

	file = fopen(path, "re");
	if (!file)
		die("%s", path);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) &&
		    (line[len] == ':' || line[len] == ' ')) {
			value = strtoull(line + len + 1, NULL, 10);
			break;
		}
	}
	fclose(file);
	return value;
}

uint64_t ndm_meminfo_kb(const char *name)
{
	return number_in("/proc/meminfo", name);
}

uint64_t ndm_free_kb(void)
{
	uint64_t kb = ndm_meminfo_kb("MemFree");
	unsigned long long count;
	char line[256];
	FILE *file;

	file = fopen("/proc/zoneinfo", "re");
	if (!file)
		die("/proc/zoneinfo");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " count: %llu", &count) == 1)
			kb += count * NDM_PAGE / 1024;
	}
	fclose(file);
	return kb;
}

uint64_t ndm_vmstat(const char *name)
{
	return number_in("/proc/vmstat", name);
}

void ndm_counts(struct ndm_counts *counts)
{
	unsigned long long value;
	char line[256];
	FILE *file;

	/* CPUs keep changes to themselves for a while.  Writing is as good as reading. */
	if (ndm_write_file("/proc/sys/vm/stat_refresh", "1\n"))
		die("stat_refresh");

	/* In one go: pages that change from one number to another are in one. */
	*counts = (struct ndm_counts){};
	file = fopen("/proc/vmstat", "re");
	if (!file)
		die("/proc/vmstat");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "nr_no_direct_map_file %llu", &value) == 1)
			counts->file = value;
		else if (sscanf(line, "nr_no_direct_map_free %llu", &value) == 1)
			counts->free = value;
		else if (sscanf(line, "nr_no_direct_map_leaving %llu", &value) == 1)
			counts->leaving = value;
		else if (sscanf(line, "nr_no_direct_map_quarantined %llu", &value) == 1)
			counts->quarantined = value;
	}
	fclose(file);
}

void ndm_direct_map(struct ndm_direct_map *dm)
{
	dm->kb[0] = ndm_meminfo_kb("DirectMap4k");
	dm->kb[1] = ndm_meminfo_kb("DirectMap2M");
	dm->kb[2] = ndm_meminfo_kb("DirectMap1G");
}

int ndm_read_file(const char *path, char *buf, size_t size)
{
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	else
		buf[len] = 0;
	close(fd);
	return len;
}

int ndm_write_file(const char *path, const char *fmt, ...)
{
	int fd, ret = 0;
	va_list args;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	va_start(args, fmt);
	if (vdprintf(fd, fmt, args) < 0)
		ret = -errno;
	va_end(args);
	close(fd);
	return ret;
}

void ndm_look(int probe, uint64_t seed, bool search, struct ndm_look *look)
{
	struct ndm_flushes flushes;

	ndm_flushes(probe, true, &flushes);
	look->flushes = flushes.direct + flushes.all;
	look->found = search ? (int64_t)ndm_scan(probe, seed, NULL) : -1;
	look->missing = ndm_missing(probe);
	ndm_direct_map(&look->dm);
}

void ndm_judge(const struct ndm_look *before, const struct ndm_look *after,
	       unsigned int tolerance_kb)
{
	if (after->missing != before->missing)
		ndm_fail("%lld pages of RAM more than before have no entry",
			 (long long)(after->missing - before->missing));
	if (after->dm.kb[0] > before->dm.kb[0] + tolerance_kb)
		ndm_fail("the direct map stays split: %llu KiB more in 4 KiB entries",
			 (unsigned long long)(after->dm.kb[0] - before->dm.kb[0]));
}

void ndm_print_head(const char *name, const char * const *times, size_t nr)
{
	size_t i;

	printf("%-43s", name);
	for (i = 0; i < nr; i++)
		printf("%12s", times[i]);
	printf("\n");
}

void ndm_print_row(const char *name, const void *first, size_t stride, size_t nr)
{
	const int64_t *value;
	size_t i;

	printf("  %-41s", name);
	for (i = 0; i < nr; i++) {
		value = first + i * stride;
		if (*value < 0)
			printf("%12s", "-");
		else
			printf("%12lld", (long long)*value);
	}
	printf("\n");
}

void ndm_print_looks(const struct ndm_look *first, size_t stride,
		     const char * const *times, size_t nr)
{
	ndm_print_head("The direct map", times, nr);
	ndm_print_row("KiB mapped by entries of 4 KiB", &first->dm.kb[0], stride, nr);
	ndm_print_row("KiB mapped by entries of 2 MiB", &first->dm.kb[1], stride, nr);
	ndm_print_row("KiB mapped by entries of 1 GiB", &first->dm.kb[2], stride, nr);
	ndm_print_row("pages of RAM that have no entry", &first->missing, stride, nr);
	ndm_print_row("TLB flushes on all CPUs, since then", &first->flushes, stride, nr);
	ndm_print_row("pages in which the secret is found", &first->found, stride, nr);
}

/* The kernel's text has a physical address as well. */
#define KERNEL_TEXT	0xffffffff80000000ull

int ndm_kcore_open(struct ndm_kcore *kcore)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	int i;

	kcore->nr = 0;
	kcore->fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (kcore->fd < 0)
		return -errno;
	if (pread(kcore->fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr))
		goto bad;
	for (i = 0; i < ehdr.e_phnum; i++) {
		if (pread(kcore->fd, &phdr, sizeof(phdr),
			  ehdr.e_phoff + i * sizeof(phdr)) != sizeof(phdr))
			goto bad;
		if (phdr.p_type != PT_LOAD)
			continue;
		if (kcore->nr == NDM_KCORE_MAX)
			goto bad;
		kcore->segments[kcore->nr].va = phdr.p_vaddr;
		kcore->segments[kcore->nr].pa = phdr.p_vaddr >= KERNEL_TEXT ?
						~0ull : phdr.p_paddr;
		kcore->segments[kcore->nr].size = phdr.p_memsz;
		kcore->segments[kcore->nr++].offset = phdr.p_offset;
	}
	return 0;

bad:
	close(kcore->fd);
	return -EIO;
}

void ndm_kcore_close(struct ndm_kcore *kcore)
{
	close(kcore->fd);
}

static off_t kcore_find(const struct ndm_kcore *kcore, bool ram, uint64_t addr,
			size_t *size)
{
	uint64_t start;
	unsigned int i;

	for (i = 0; i < kcore->nr; i++) {
		if ((kcore->segments[i].pa != ~0ull) != ram)
			continue;
		start = ram ? kcore->segments[i].pa : kcore->segments[i].va;
		if (addr < start || addr - start >= kcore->segments[i].size)
			continue;
		addr -= start;
		if (*size > kcore->segments[i].size - addr)
			*size = kcore->segments[i].size - addr;
		return kcore->segments[i].offset + addr;
	}
	return -1;
}

off_t ndm_kcore_ram(const struct ndm_kcore *kcore, uint64_t pa, size_t *size)
{
	return kcore_find(kcore, true, pa, size);
}

off_t ndm_kcore_other(const struct ndm_kcore *kcore, uint64_t va, size_t *size)
{
	return kcore_find(kcore, false, va, size);
}

double ndm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void ndm_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU %d", cpu);
}

void ndm_pin_here(void)
{
	ndm_pin(sched_getcpu());
}

int ndm_other_cpu(void)
{
	cpu_set_t set;
	int cpu, nr = sysconf(_SC_NPROCESSORS_CONF);

	if (sched_getaffinity(0, sizeof(set), &set))
		die("affinity");
	for (cpu = nr - 1; cpu > 0; cpu--) {
		if (!CPU_ISSET(cpu, &set))
			break;
	}
	return cpu;
}

void ndm_dirty_memory(size_t size)
{
	char *mem;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("%zu bytes", size);
	memset(mem, 0xa5, size);
	munmap(mem, size);
}

void ndm_compact(void)
{
	sync();
	ndm_write_file("/proc/sys/vm/drop_caches", "3\n");
	ndm_write_file("/proc/sys/vm/compact_memory", "1\n");
}
