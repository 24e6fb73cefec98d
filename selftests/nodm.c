// SPDX-License-Identifier: GPL-2.0
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
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

#include <linux/falloc.h>

#include "kselftest.h"
#include "nodm.h"

/* A probe or a kernel interface that fails unexpectedly leaves no verdict. */
#define die(fmt, ...)							\
do {									\
	printf("# %s: " fmt ": %s\n", __func__, ##__VA_ARGS__,		\
	       strerror(errno));					\
	exit(KSFT_FAIL);						\
} while (0)

uint64_t nodm_seed(void)
{
	static uint64_t last;
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	last += ts.tv_sec * 1000000007ull + ts.tv_nsec + getpid() * 7919ull;
	return last;
}

void nodm_inverted(uint64_t seed, __u64 inverted[NODM_PATTERN_WORDS])
{
	volatile __u64 *out = inverted;
	int i;

	for (i = 0; i < NODM_PATTERN_WORDS; i++)
		out[i] = ~nodm_secret_word(seed, i);
}

bool nodm_without_flag(void)
{
	const char *env = getenv("NODM_WITHOUT_FLAG");

	return env && !strcmp(env, "1");
}

bool nodm_is_no_test;

void nodm_skip(const char *why, ...)
{
	va_list args;

	printf(nodm_is_no_test ? "Can't run here: " :
				 "TAP version 13\n1..0 # SKIP ");
	va_start(args, why);
	vprintf(why, args);
	va_end(args);
	printf("\n");
	exit(nodm_is_no_test ? KSFT_FAIL : KSFT_SKIP);
}

unsigned int nodm_failures;

void nodm_fail(const char *fmt, ...)
{
	va_list args;

	nodm_failures++;
	printf("WRONG: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

unsigned int nodm_number(const char *option, const char *text,
			 unsigned int min, unsigned int max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || value < min || value > max) {
		fprintf(stderr, "%s: --%s needs a number from %u to %u, not \"%s\"\n",
			program_invocation_name, option, min, max, text);
		exit(NODM_BAD_USAGE);
	}
	return value;
}

/* The module lies beside the programs. */
static void load_probe(const char *program)
{
	char self[PATH_MAX], path[PATH_MAX + 32];
	int fd;

	if (!access(NODM_DEVICE, F_OK))
		return;
	if (!realpath("/proc/self/exe", self))
		snprintf(self, sizeof(self), "%s", program);
	snprintf(path, sizeof(path), "%s/nodm_probe.ko", dirname(self));

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		nodm_skip("no probe: %s: %s", path, strerror(errno));
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		nodm_skip("no probe: loading %s: %s", path, strerror(errno));
	close(fd);

	if (!nodm_wait(!access(NODM_DEVICE, F_OK)))
		nodm_skip("no probe: " NODM_DEVICE " does not appear");
}

void nodm_require(const char *program, unsigned int needs)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int kvm, flags;

	if (geteuid())
		nodm_skip("needs root");

	/* memfd_secret() is accounted as locked memory. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);

	if ((needs & NODM_NEED_DEBUGFS) &&
	    access("/sys/kernel/debug/sched", F_OK) &&
	    mount("none", "/sys/kernel/debug", "debugfs", 0, NULL) &&
	    errno != EBUSY)
		nodm_skip("no debugfs: %s", strerror(errno));

	if ((needs & NODM_NEED_TWO_CPUS) &&
	    sysconf(_SC_NPROCESSORS_ONLN) < 2)
		nodm_skip("needs two CPUs");

	if ((needs & NODM_NEED_FLAG) && !nodm_without_flag()) {
		kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		if (kvm < 0)
			nodm_skip("/dev/kvm: %s", strerror(errno));
		flags = ioctl(kvm, KVM_CHECK_EXTENSION,
			      KVM_CAP_GUEST_MEMFD_FLAGS);
		close(kvm);
		if (flags < 0 || !(flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
			nodm_skip("GUEST_MEMFD_FLAG_NO_DIRECT_MAP is not offered");
	}

	if (needs & NODM_NEED_PROBE)
		load_probe(program);
}

uint64_t nodm_flags(const struct nodm_kind *kind)
{
	if (kind->ordinary || nodm_without_flag())
		return kind->flags;
	return kind->flags | GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
}

int nodm_vm_create(unsigned long type)
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

int nodm_gmem_create(int vm, size_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };
	int fd;

	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	return fd < 0 ? -errno : fd;
}

int nodm_open(struct nodm_file *f, const struct nodm_kind *kind, size_t size)
{
	const uint64_t mappable = GUEST_MEMFD_FLAG_MMAP |
				  GUEST_MEMFD_FLAG_INIT_SHARED;
	bool map;
	int err;

	*f = (struct nodm_file){
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
		f->vm = nodm_vm_create(kind->vm_type);
		if (f->vm < 0)
			return f->vm;
		f->fd = nodm_gmem_create(f->vm, size, nodm_flags(kind));
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
	nodm_close(f);
	return err;
}

void nodm_close(struct nodm_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
	if (f->fd >= 0)
		close(f->fd);
	if (f->vm >= 0)
		close(f->vm);
	*f = (struct nodm_file){ .fd = -1, .vm = -1 };
}

int nodm_populate(struct nodm_file *f)
{
	size_t i;

	if (!f->secretmem)
		return fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, f->size) ?
		       -errno : 0;

	for (i = 0; i < f->size; i += NODM_PAGE)
		(void)*(volatile char *)(f->map + i);
	return 0;
}

int nodm_punch(struct nodm_file *f, size_t offset, size_t size)
{
	return fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			 offset, size) ? -errno : 0;
}

int nodm_probe_open(void)
{
	int fd = open(NODM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(NODM_DEVICE);
	return fd;
}

void nodm_check_file(int probe, int fd, size_t index, size_t count,
		     __u64 *pfns, __u32 *states, struct nodm_check *res)
{
	*res = (struct nodm_check){
		.fd = fd,
		.index = index,
		.count = count,
		.pfns = (uintptr_t)pfns,
		.states = (uintptr_t)states,
	};
	if (ioctl(probe, NODM_IOC_CHECK, res))
		die("file");
}

void nodm_check_pfns(int probe, const __u64 *pfns, size_t count, __u32 *states,
		     uint64_t seed, struct nodm_check *res)
{
	*res = (struct nodm_check){
		.fd = -1,
		.flags = NODM_CHECK_CONTENTS,
		.count = count,
		.pfns = (uintptr_t)pfns,
		.states = (uintptr_t)states,
	};
	nodm_inverted(seed, res->inverted);
	if (ioctl(probe, NODM_IOC_CHECK, res))
		die("page frames");
}

uint64_t nodm_picture(int probe, struct nodm_picture *pic)
{
	struct nodm_map map = {};

	if (ioctl(probe, NODM_IOC_MAP, &map))
		die("map");
	pic->pages = map.end;
	pic->bitmap = calloc(map.end / 512 + 1, 512 / 8);
	pic->levels = calloc(map.end / 512 + 1, 1);
	map.bitmap = (uintptr_t)pic->bitmap;
	map.levels = (uintptr_t)pic->levels;
	if (ioctl(probe, NODM_IOC_MAP, &map))
		die("map");
	return map.missing;
}

void nodm_picture_free(struct nodm_picture *pic)
{
	free(pic->bitmap);
	free(pic->levels);
	*pic = (struct nodm_picture){};
}

bool nodm_was_present(const struct nodm_picture *pic, uint64_t pfn)
{
	return pfn < pic->pages && (pic->bitmap[pfn / 64] >> pfn % 64 & 1);
}

bool nodm_was_large(const struct nodm_picture *pic, uint64_t pfn)
{
	return nodm_was_present(pic, pfn) && pic->levels[pfn / 512] > 1;
}

uint64_t nodm_missing(int probe)
{
	struct nodm_map map = {};

	if (ioctl(probe, NODM_IOC_MAP, &map))
		die("map");
	return map.missing;
}

uint64_t nodm_scan(int probe, uint64_t seed, struct nodm_scan *res)
{
	struct nodm_scan scan = {};

	nodm_inverted(seed, scan.inverted);
	if (ioctl(probe, NODM_IOC_SCAN, &scan))
		die("scan");
	if (res)
		*res = scan;
	return scan.found;
}

void nodm_watch(int probe, int cpu, const __u64 *pfns, size_t count,
		uint64_t seed, unsigned int flags)
{
	struct nodm_watch watch = {
		.pfns = (uintptr_t)pfns,
		.count = count,
		.cpu = cpu,
		.flags = flags,
	};

	nodm_inverted(seed, watch.inverted);
	if (ioctl(probe, NODM_IOC_WATCH, &watch))
		die("CPU %d", cpu);
}

void nodm_arm(int probe, const __u8 *marks, size_t count)
{
	struct nodm_arm arm = { .marks = (uintptr_t)marks, .count = count };

	if (ioctl(probe, NODM_IOC_ARM, &arm))
		die("arm");
}

void nodm_watch_stop(int probe, struct nodm_watched *res)
{
	if (ioctl(probe, NODM_IOC_STOP, res))
		die("stop");
}

__u64 nodm_hold(int probe, int fd, size_t index)
{
	struct nodm_hold hold = { .fd = fd, .index = index };

	if (ioctl(probe, NODM_IOC_HOLD, &hold))
		die("index %zu", index);
	return hold.pfn;
}

void nodm_put(int probe)
{
	if (ioctl(probe, NODM_IOC_PUT))
		die("put");
}

long nodm_gup(int probe, void *addr, unsigned int nr, unsigned int how)
{
	struct nodm_gup gup = { .addr = (uintptr_t)addr, .nr = nr, .how = how };

	if (ioctl(probe, NODM_IOC_GUP, &gup))
		die("how %u", how);
	return gup.ret;
}

void nodm_flushes(int probe, bool reset, struct nodm_flushes *res)
{
	*res = (struct nodm_flushes){ .reset = reset };
	if (ioctl(probe, NODM_IOC_FLUSHES, res))
		die("flushes");
}

int nodm_own(int probe, unsigned int op, __u64 *pfn)
{
	struct nodm_own own = { .op = op };

	if (ioctl(probe, NODM_IOC_OWN, &own))
		return -errno;
	if (pfn)
		*pfn = own.pfn;
	return 0;
}

int nodm_soft_offline(int probe, __u64 pfn)
{
	struct nodm_soft_offline arg = { .pfn = pfn };

	return ioctl(probe, NODM_IOC_SOFT_OFFLINE, &arg) ? -errno : arg.ret;
}

int nodm_alias(int probe, int fd, size_t index, unsigned int rounds,
	       struct nodm_alias *res)
{
	*res = (struct nodm_alias){ .fd = fd, .index = index, .rounds = rounds };

	return ioctl(probe, NODM_IOC_ALIAS, res) ? -errno : 0;
}

int nodm_local(int probe, int fd, size_t index, struct nodm_local *res)
{
	*res = (struct nodm_local){ .fd = fd, .index = index };

	return ioctl(probe, NODM_IOC_LOCAL, res) ? -errno : 0;
}

void nodm_removals(int probe, struct nodm_removals *res)
{
	if (ioctl(probe, NODM_IOC_REMOVALS, res))
		die("removals");
}

void nodm_clear_mce(int probe, __u64 pfn)
{
	struct nodm_clear_mce arg = { .pfn = pfn };

	if (ioctl(probe, NODM_IOC_CLEAR_MCE, &arg))
		die("pfn %#llx", (unsigned long long)pfn);
}

size_t nodm_wait_restored(int probe, const __u64 *pfns, size_t count)
{
	struct nodm_check res;

	(void)nodm_wait((nodm_check_pfns(probe, pfns, count, NULL, 0, &res),
			 res.mapped == count));
	return count - res.mapped;
}

uint64_t nodm_wait_missing(int probe, uint64_t before)
{
	uint64_t now;

	(void)nodm_wait((now = nodm_missing(probe)) <= before);
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

uint64_t nodm_meminfo_kb(const char *name)
{
	return number_in("/proc/meminfo", name);
}

uint64_t nodm_free_kb(void)
{
	uint64_t kb = nodm_meminfo_kb("MemFree");
	unsigned long long count;
	char line[256];
	FILE *file;

	file = fopen("/proc/zoneinfo", "re");
	if (!file)
		die("/proc/zoneinfo");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " count: %llu", &count) == 1)
			kb += count * NODM_PAGE / 1024;
	}
	fclose(file);
	return kb;
}

uint64_t nodm_vmstat(const char *name)
{
	return number_in("/proc/vmstat", name);
}

void nodm_direct_map(struct nodm_direct_map *dm)
{
	dm->kb[0] = nodm_meminfo_kb("DirectMap4k");
	dm->kb[1] = nodm_meminfo_kb("DirectMap2M");
	dm->kb[2] = nodm_meminfo_kb("DirectMap1G");
}

int nodm_read_file(const char *path, char *buf, size_t size)
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

int nodm_write_file(const char *path, const char *fmt, ...)
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

void nodm_look(int probe, uint64_t seed, bool search, struct nodm_look *look)
{
	struct nodm_flushes flushes;

	nodm_flushes(probe, true, &flushes);
	look->flushes = flushes.direct + flushes.all;
	look->found = search ? (int64_t)nodm_scan(probe, seed, NULL) : -1;
	look->missing = nodm_missing(probe);
	nodm_direct_map(&look->dm);
}

void nodm_judge(const struct nodm_look *before, const struct nodm_look *after,
		unsigned int tolerance_kb)
{
	if (after->missing != before->missing)
		nodm_fail("%lld pages of RAM more than before have no entry",
			  (long long)(after->missing - before->missing));
	if (after->dm.kb[0] > before->dm.kb[0] + tolerance_kb)
		nodm_fail("the direct map stays split: %llu KiB more in 4 KiB entries",
			  (unsigned long long)(after->dm.kb[0] - before->dm.kb[0]));
}

void nodm_print_head(const char *name, const char * const *times, size_t nr)
{
	size_t i;

	printf("%-43s", name);
	for (i = 0; i < nr; i++)
		printf("%12s", times[i]);
	printf("\n");
}

void nodm_print_row(const char *name, const void *first, size_t stride, size_t nr)
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

void nodm_print_looks(const struct nodm_look *first, size_t stride,
		      const char * const *times, size_t nr)
{
	nodm_print_head("The direct map", times, nr);
	nodm_print_row("KiB mapped by entries of 4 KiB", &first->dm.kb[0], stride, nr);
	nodm_print_row("KiB mapped by entries of 2 MiB", &first->dm.kb[1], stride, nr);
	nodm_print_row("KiB mapped by entries of 1 GiB", &first->dm.kb[2], stride, nr);
	nodm_print_row("pages of RAM that have no entry", &first->missing, stride, nr);
	nodm_print_row("TLB flushes on all CPUs, since then", &first->flushes, stride, nr);
	nodm_print_row("pages in which the secret is found", &first->found, stride, nr);
}

/* The kernel's text has a physical address as well. */
#define KERNEL_TEXT	0xffffffff80000000ull

int nodm_kcore_open(struct nodm_kcore *kcore)
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
		if (kcore->nr == NODM_KCORE_MAX)
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

void nodm_kcore_close(struct nodm_kcore *kcore)
{
	close(kcore->fd);
}

static off_t kcore_find(const struct nodm_kcore *kcore, bool ram, uint64_t addr,
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

off_t nodm_kcore_ram(const struct nodm_kcore *kcore, uint64_t pa, size_t *size)
{
	return kcore_find(kcore, true, pa, size);
}

off_t nodm_kcore_other(const struct nodm_kcore *kcore, uint64_t va, size_t *size)
{
	return kcore_find(kcore, false, va, size);
}

double nodm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void nodm_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU %d", cpu);
}

void nodm_pin_here(void)
{
	nodm_pin(sched_getcpu());
}

int nodm_other_cpu(void)
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

void nodm_dirty_memory(size_t size)
{
	char *mem;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("%zu bytes", size);
	memset(mem, 0xa5, size);
	munmap(mem, size);
}

void nodm_compact(void)
{
	sync();
	nodm_write_file("/proc/sys/vm/drop_caches", "3\n");
	nodm_write_file("/proc/sys/vm/compact_memory", "1\n");
}
