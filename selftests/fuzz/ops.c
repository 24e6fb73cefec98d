// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzzer's operations.  What one works on is looked up when it runs: any part
 * of a list is a list again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/falloc.h>

#include "fuzz.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define MSR_KVM_SYSTEM_TIME_NEW	0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03

#define NDM_FILE(f)	((f)->secret || ((f)->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
/* May userspace touch what it maps? */
#define TOUCHABLE(f)	((f)->secret || ((f)->flags & GUEST_MEMFD_FLAG_INIT_SHARED))

/* How often each kind did anything, and then how often KVM had to emulate. */
uint32_t *fuzz_done;

/* --- failures on demand */

static __thread int fail_fd = -1;

static void fail_nth(unsigned int nth)
{
	char buf[16];
	int i, len = snprintf(buf, sizeof(buf), "%u", nth);

	if (fail_fd < 0)
		fail_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	/* That write may be what fails. */
	for (i = 0; i < 100 && pwrite(fail_fd, buf, len, 0) != len; i++)
		;
}

/* The value of an expression while things fail, if they shall. */
#define INJECT(op, call)						\
({									\
	__typeof__(call) __ret;						\
	int __errno;							\
									\
	fuzz_done[(op)->kind]++;					\
	if (cfg.faults && (op)->d % 3 == 0)				\
		fail_nth((op)->d / 3 % 50 + 1);				\
	__ret = call;							\
	__errno = errno;						\
	if (cfg.faults && (op)->d % 3 == 0)				\
		fail_nth(0);						\
	errno = __errno;						\
	__ret;								\
})

static bool excused(void)
{
	return (cfg.faults && (errno == ENOMEM || errno == EFAULT)) ||
	       (cfg.poison && (errno == EIO || errno == EHWPOISON));
}

/* A range of some of the pages that are ours.  Where 2M end is worth a try. */
static void range(const struct op *op, size_t lo, size_t hi, size_t *first, size_t *nr)
{
	static const size_t edges[] = { 0, 1, 511, 512, 513, 1023, 1024 };
	size_t pages = hi - lo;

	switch (op->b % 4) {
	case 0:
		*first = lo;
		*nr = pages;
		return;
	case 1:
		*first = edges[op->b / 4 % 7];
		*first = *first < pages ? lo + *first : lo;
		break;
	default:
		*first = lo + op->b / 4 % pages;
		break;
	}
	switch (op->c % 4) {
	case 0:
		*nr = 1;
		break;
	case 1:
		*nr = 512;
		break;
	default:
		*nr = 1 + op->c / 4 % pages;
		break;
	}
	if (*nr > hi - *first)
		*nr = hi - *first;
}

/* A range in a mapping, the pages of which are ours and not gone. */
static bool map_range(const struct op *op, struct map *map, size_t *first, size_t *nr)
{
	size_t lo = 0, hi = map->pages, i;

	if (map->pgoff < map->file->lo)
		lo = map->file->lo - map->pgoff;
	if (map->pgoff + hi > map->file->hi)
		hi = map->file->hi - map->pgoff;
	if (map->pgoff >= map->file->hi || lo >= hi)
		return false;
	range(op, lo, hi, first, nr);
	for (i = 0; i < *nr; i++) {
		if (map->prot[*first + i] == PAGE_GONE)
			break;
	}
	*nr = i;
	return i;
}

static bool map_allows(const struct map *map, size_t first, size_t nr, int prot)
{
	size_t i;

	for (i = first; i < first + nr; i++) {
		if ((map->prot[i] & prot) != prot)
			return false;
	}
	return true;
}

static void data_fill(struct world *w, void *buf, size_t len)
{
	uint64_t *word = buf;
	size_t i;

	for (i = 0; i < len / 8; i++)
		word[i] = fuzz_random(&w->random);
	memset(buf + len / 8 * 8, 0x5a, len % 8);
}

/* --- VMs and files */

static void op_vm(struct world *w, struct op *op)
{
	struct vm *vm = &w->vms[op->a % FUZZ_VMS];
	int ret;

	if (vm->fd >= 0)
		return;
	fuzz_done[op->kind]++;
	ret = vm_open(vm, w->thread, op->b & 1 ? KVM_X86_SW_PROTECTED_VM : 0);
	if (ret)
		wrong(w, "no VM: %s", strerror(-ret));
}

static void op_vm_close(struct world *w, struct op *op)
{
	struct vm *vm = &w->vms[op->a % FUZZ_VMS];
	size_t i;

	if (vm->fd < 0)
		return;
	fuzz_done[op->kind]++;
	for (i = 0; i < FUZZ_FILES; i++) {
		if (w->files[i] && w->files[i]->vm == vm)
			w->files[i]->vm = NULL;
	}
	for (i = 0; i < FUZZ_MAPS; i++) {
		if (w->maps[i].file && w->maps[i].file->vm == vm)
			w->maps[i].file->vm = NULL;
	}
	vm_close(vm);
}

static void op_create(struct world *w, struct op *op)
{
	static const size_t sizes[] = { 1, 3, 8, 64, 511, 512, 513, 1024, 1100, MAX_PAGES };
	struct vm *vm = &w->vms[op->b % FUZZ_VMS];
	uint64_t flags, supported = 0;
	struct file *f;
	size_t pages;
	int fd;

	if (w->files[op->a % FUZZ_FILES])
		return;
	pages = sizes[op->c % 10];
	if (op->d % 8 == 7) {
		fd = syscall(SYS_memfd_secret, 0);
		if (fd < 0 || ftruncate(fd, pages * NDM_PAGE))
			wrong(w, "memfd_secret: %s", strerror(errno));
		vm = NULL;
		flags = 0;
	} else {
		if (vm->fd < 0)
			return;
		supported = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
		/* What makes sense, mostly. */
		if (op->d % 8 < 5)
			flags = vm->type ? GUEST_MEMFD_FLAG_NO_DIRECT_MAP :
				GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |
				GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
		else
			flags = op->d / 8 % 16;
		fd = INJECT(op, ndm_gmem_create(vm->fd, pages * NDM_PAGE, flags));
		errno = fd < 0 ? -fd : 0;
		if ((fd >= 0) != !(flags & ~supported) && !excused())
			wrong(w, "flags %#llx of %#llx: %s", (unsigned long long)flags,
			      (unsigned long long)supported, strerror(errno));
		if (fd < 0)
			return;
	}
	f = calloc(1, sizeof(*f));
	f->fd = fd;
	f->users = 1;
	f->vm = vm;
	f->secret = !vm;
	f->flags = flags;
	f->pages = f->hi = pages;
	/* Which memory a guest without private memory has there isn't settled. */
	f->mixed = vm && !vm->type && !(flags & GUEST_MEMFD_FLAG_MMAP);
	mem_init(&f->mem, pages * NDM_PAGE);
	w->files[op->a % FUZZ_FILES] = f;
}

static void op_close(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);

	if (!f)
		return;
	fuzz_done[op->kind]++;
	file_close_fd(w, f);
}

/* --- slots */

static bool bound(struct vm *vm, struct file *f, size_t first, size_t nr)
{
	size_t i;

	for (i = 0; i < FUZZ_SLOTS; i++) {
		struct slot *s = &vm->slots[i];

		if (s->used && s->file == f && s->pgoff < first + nr &&
		    first < s->pgoff + s->pages)
			return true;
	}
	return false;
}

/* A mapping of these very pages. */
static char *file_mapped(struct world *w, struct file *f, size_t first, size_t nr)
{
	size_t i;

	for (i = 0; i < FUZZ_MAPS; i++) {
		struct map *m = &w->maps[i];

		if (m->file == f && m->pgoff <= first &&
		    first + nr <= m->pgoff + m->pages &&
		    map_allows(m, first - m->pgoff, nr, PROT_READ | PROT_WRITE) &&
		    m->prot[first - m->pgoff] != PAGE_GONE)
			return m->addr + (first - m->pgoff) * NDM_PAGE;
	}
	return NULL;
}

static void set_attributes(struct world *w, struct vm *vm, struct slot *slot,
			   size_t first, size_t nr, uint64_t attributes, struct op *op)
{
	struct kvm_memory_attributes attr = {
		.address = slot->gpa + first * NDM_PAGE,
		.size = nr * NDM_PAGE,
		.attributes = attributes,
	};

	vm_mark_pv(vm);
	if (INJECT(op, ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &attr))) {
		if (!excused())
			wrong(w, "%s", strerror(errno));
		return;
	}
	memset(vm->private + attr.address / NDM_PAGE, attributes != 0, nr);
	vm_mark_pv(vm);
}

static void op_bind(struct world *w, struct op *op)
{
	size_t nr_slot = op->a / FUZZ_VMS % FUZZ_SLOTS, first, nr;
	struct kvm_userspace_memory_region2 region = {};
	struct file *f = file_pick(w, op->d);
	struct slot *slot;
	bool expected;
	struct vm *vm;
	size_t disp;
	int ret;

	if (!f)
		return;
	/* Another VM can't have it, or one that is gone. */
	vm = f->vm && op->a / 1024 % 16 ? f->vm : &w->vms[op->a % FUZZ_VMS];
	if (vm->fd < 0)
		return;
	slot = &vm->slots[nr_slot];
	if (slot->used)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	switch (op->d / 8 % 4) {
	case 0:
		disp = 0;
		break;
	case 1:
		disp = 1;
		break;
	case 2:
		disp = op->d / 32 % 512;
		break;
	default:
		disp = first % 512;
		break;
	}
	*slot = (struct slot){
		.file = f,
		.gpa = GPA_SLOT(vm->thread, nr_slot) + disp * NDM_PAGE,
		.pgoff = first,
		.pages = nr,
		.hva_kind = op->a / 16 % 3,
	};
	region = (struct kvm_userspace_memory_region2){
		.slot = 1 + vm->thread * FUZZ_SLOTS + nr_slot,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = slot->gpa,
		.memory_size = nr * NDM_PAGE,
		.guest_memfd = f->fd,
		.guest_memfd_offset = first * NDM_PAGE,
	};
	/* Beyond the end, now and then. */
	if (!w->shared && op->a / 64 % 16 == 0)
		region.guest_memfd_offset = (f->pages - nr + 1) * NDM_PAGE;

	if (slot->hva_kind == HVA_FILE) {
		region.userspace_addr = (uintptr_t)file_mapped(w, f, first, nr);
		/* What is mapped there later is no business of the slot's. */
		if (!region.userspace_addr)
			slot->hva_kind = HVA_NONE;
	}
	if (slot->hva_kind != HVA_FILE) {
		slot->hva = mmap(NULL, nr * NDM_PAGE, slot->hva_kind == HVA_ANON ?
				 PROT_READ | PROT_WRITE : PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (slot->hva == MAP_FAILED)
			wrong(w, "mmap: %s", strerror(errno));
		region.userspace_addr = (uintptr_t)slot->hva;
	}

	expected = f->vm == vm && !bound(vm, f, first, nr) &&
		   region.guest_memfd_offset / NDM_PAGE + nr <= f->pages;
	ret = INJECT(op, ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region));
	if (!ret != expected && !excused())
		wrong(w, "%zu pages at %zu of %zu: %s", nr, (size_t)region.guest_memfd_offset
		      / NDM_PAGE, f->pages, ret ? strerror(errno) : "could be bound");
	if (ret) {
		if (slot->hva)
			munmap(slot->hva, nr * NDM_PAGE);
		*slot = (struct slot){};
		return;
	}
	slot->used = true;
	f->slots++;
	if (slot->hva_kind == HVA_ANON)
		mem_init(&slot->anon, nr * NDM_PAGE);
	if (vm->type == KVM_X86_SW_PROTECTED_VM && op->c & 8)
		set_attributes(w, vm, slot, 0, nr, KVM_MEMORY_ATTRIBUTE_PRIVATE, op);
}

static void op_unbind(struct world *w, struct op *op)
{
	struct kvm_userspace_memory_region2 region = {};
	struct slot *slot;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot)
		return;
	region.slot = 1 + vm->thread * FUZZ_SLOTS + (slot - vm->slots);
	region.flags = KVM_MEM_GUEST_MEMFD;
	fuzz_done[op->kind]++;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		wrong(w, "%s", strerror(errno));
	if (slot->hva_kind == HVA_ANON && !slot->file->mixed)
		mem_check(w, &slot->anon, 0, slot->anon.size, slot->hva,
			  "the host, where KVM was told that the memory is,");
	slot_forget(vm, slot);
}

/* Neither may such a slot move, nor its pages be logged. */
static void op_change_slot(struct world *w, struct op *op)
{
	struct kvm_userspace_memory_region2 region = {};
	struct slot *slot;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || slot->file->fd < 0 || slot->file->dead || !slot->hva)
		return;
	region = (struct kvm_userspace_memory_region2){
		.slot = 1 + vm->thread * FUZZ_SLOTS + (slot - vm->slots),
		.flags = KVM_MEM_GUEST_MEMFD | (op->b & 1 ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa + (op->b & 1 ? 0 : NDM_PAGE),
		.memory_size = slot->pages * NDM_PAGE,
		.userspace_addr = (uintptr_t)slot->hva,
		.guest_memfd = slot->file->fd,
		.guest_memfd_offset = slot->pgoff * NDM_PAGE,
	};
	fuzz_done[op->kind]++;
	if (!ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &region))
		wrong(w, "such a slot can be changed");
}

static void op_attributes(struct world *w, struct op *op)
{
	struct slot *slot;
	size_t first, nr;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || vm->type != KVM_X86_SW_PROTECTED_VM)
		return;
	range(op, 0, slot->pages, &first, &nr);
	/* Most of the time private, whence the files get their pages. */
	set_attributes(w, vm, slot, first, nr,
		       op->d / 3 % 4 ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0, op);
}

/* --- file operations */

static void op_fallocate(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t first, nr;
	int ret;

	if (!f || f->secret)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	if (!w->shared && op->d / 3 % 16 == 0) {
		if (!fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE + 1, NDM_PAGE) ||
		    !fallocate(f->fd, 0, first * NDM_PAGE, NDM_PAGE) ||
		    !fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE,
			       (f->pages - first + 1) * NDM_PAGE))
			wrong(w, "what mustn't be possible");
		return;
	}
	ret = INJECT(op, fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE, nr * NDM_PAGE));
	if (ret && !excused())
		wrong(w, "%zu pages at %zu: %s", nr, first, strerror(errno));
}

static void op_punch(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t first, nr;
	size_t i;

	if (!f || f->secret)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	for (i = 0; i < FUZZ_VMS; i++) {
		if (w->vms[i].fd >= 0)
			vm_mark_pv(&w->vms[i]);
	}
	if (INJECT(op, fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				 first * NDM_PAGE, nr * NDM_PAGE))) {
		if (!excused())
			wrong(w, "%zu pages at %zu: %s", nr, first, strerror(errno));
		mem_unknown(&f->mem, first * NDM_PAGE, nr * NDM_PAGE);
		return;
	}
	mem_zero(&f->mem, first * NDM_PAGE, nr * NDM_PAGE);
}

static void on_alarm(int sig)
{
}

/* Signals for this thread, twice a millisecond. */
static bool alarm_start(timer_t *timer)
{
	const struct itimerspec every = { { 0, 500000 }, { 0, 500000 } };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGALRM,
		._sigev_un._tid = gettid(),
	};

	return !timer_create(CLOCK_MONOTONIC, &event, timer) &&
	       !timer_settime(*timer, 0, &every, NULL);
}

/*
 * From a buffer that may end early, while signals arrive that don't kill, or in
 * pieces.  Only fatal signals end it.
 */
static void op_pwrite(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t off, len, good, mapped, nr, first;
	bool signals = op->d / 8 % 8 == 0;
	struct iovec iov[3];
	timer_t timer;
	ssize_t ret;
	char *buf;

	if (!f)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	off = first * NDM_PAGE;
	len = nr * NDM_PAGE;
	if (op->d & 1) {
		off += op->b / 16 % NDM_PAGE;
		len = 1 + op->c / 16 % len;
		if (off + len > f->hi * NDM_PAGE)
			len = f->hi * NDM_PAGE - off;
	}
	/* Beyond the end, now and then. */
	if (!w->shared && op->d / 64 % 16 == 0)
		len += NDM_PAGE + 3;

	mapped = (len + NDM_PAGE - 1) / NDM_PAGE * NDM_PAGE + NDM_PAGE;
	buf = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		wrong(w, "mmap: %s", strerror(errno));
	data_fill(w, buf, len);
	good = len;
	if (op->d / 2 % 4 == 0) {
		good = op->b / 7 % (len / NDM_PAGE + 1) * NDM_PAGE;
		mprotect(buf + good, mapped - good, PROT_NONE);
		if (good > len)
			good = len;
	}
	if (signals && !alarm_start(&timer))
		signals = false;
	if (op->d / 128 & 1) {
		iov[0] = (struct iovec){ buf, len / 3 };
		iov[1] = (struct iovec){ buf + len / 3, 0 };
		iov[2] = (struct iovec){ buf + len / 3, len - len / 3 };
		ret = INJECT(op, pwritev(f->fd, iov, 3, off));
	} else {
		ret = INJECT(op, pwrite(f->fd, buf, len, off));
	}
	if (signals) {
		int err = errno;

		timer_delete(timer);
		errno = err;
	}

	if (f->secret || !(f->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)) {
		if (ret >= 0)
			wrong(w, "that isn't writable");
		goto out;
	}
	if (off + len > f->pages * NDM_PAGE) {
		len = f->pages * NDM_PAGE - off;
		if (good > len)
			good = len;
	}
	if (cfg.faults || cfg.poison) {
		if (ret < 0 && !excused())
			wrong(w, "%zu at %#zx: %s", len, off, strerror(errno));
		if (ret > (ssize_t)good)
			wrong(w, "%zd of %zu", ret, good);
	} else if (signals && cfg.known[KNOWN_SIGNALS]) {
		if (ret < 0 && errno != EINTR && errno != EFAULT)
			wrong(w, "%zu at %#zx: %s", len, off, strerror(errno));
	} else if (good == len) {
		if (ret != (ssize_t)len)
			wrong(w, "%zd of %zu at %#zx: %s", ret, len, off,
			      ret < 0 ? strerror(errno) : "short");
	} else if (good < 64 || ret < 0) {
		if (ret > (ssize_t)good || (ret < 0 && errno != EFAULT))
			wrong(w, "%zd of %zu at %#zx: %s", ret, good, off, strerror(errno));
	}
	if (ret > (ssize_t)good)
		wrong(w, "%zd of %zu, of which %zu could be read", ret, len, good);
	/* No more than what it says has been written. */
	if (ret > 0)
		mem_write(&f->mem, off, ret, buf);
out:
	munmap(buf, mapped);
}

/* From pages of the file itself, as userspace maps them. */
static void op_pwrite_self(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, to;
	struct file *f;
	ssize_t ret;

	if (!map || map->file->fd < 0 || !NDM_FILE(map->file) || map->file->secret ||
	    !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ) || !TOUCHABLE(map->file))
		return;
	f = map->file;
	if (nr > 3)
		nr = 3;
	to = f->lo + op->d % (f->hi - f->lo);
	if (nr > f->hi - to)
		nr = f->hi - to;
	fuzz_done[op->kind]++;
	ret = pwrite(f->fd, map->addr + first * NDM_PAGE, nr * NDM_PAGE, to * NDM_PAGE);
	if (ret != (ssize_t)(nr * NDM_PAGE) && !excused())
		wrong(w, "%zd of %zu: %s", ret, nr * NDM_PAGE, strerror(errno));
	mem_unknown(&f->mem, to * NDM_PAGE, nr * NDM_PAGE);
}

static void op_refused(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	char page[64];

	if (!f)
		return;
	fuzz_done[op->kind]++;
	if (pread(f->fd, page, sizeof(page), f->lo * NDM_PAGE) >= 0)
		wrong(w, "it can be read");
	if (!ftruncate(f->fd, f->pages * NDM_PAGE + NDM_PAGE))
		wrong(w, "it can grow");
	if (mmap(NULL, NDM_PAGE, PROT_READ, MAP_PRIVATE, f->fd, 0) != MAP_FAILED)
		wrong(w, "it can be mapped privately");
}

/* --- mappings */

static void op_mmap(struct world *w, struct op *op)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE,
	};
	struct file *f = file_pick(w, op->a);
	int prot = prots[op->d / 4 % 4], flags = MAP_SHARED;
	struct map *map = map_new(w);
	size_t first, nr;
	char *addr;

	if (!f || !map)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	if (op->d / 16 % 8 == 0)
		flags |= MAP_POPULATE;
	if (op->d / 128 % 8 == 0)
		flags |= MAP_LOCKED;
	fuzz_done[op->kind]++;
	addr = mmap(NULL, nr * NDM_PAGE, prot, flags, f->fd, first * NDM_PAGE);
	if (addr == MAP_FAILED) {
		if (f->secret || (f->flags & GUEST_MEMFD_FLAG_MMAP))
			wrong(w, "%s", strerror(errno));
		return;
	}
	if (!f->secret && !(f->flags & GUEST_MEMFD_FLAG_MMAP))
		wrong(w, "it can be mapped");
	*map = (struct map){ .file = f, .addr = addr, .pgoff = first, .pages = nr };
	map->prot = malloc(nr);
	memset(map->prot, prot, nr);
	f->users++;
}

static void op_munmap(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map)
		return;
	range(op, 0, map->pages, &first, &nr);
	if (nr > 16 && nr < map->pages)
		nr = 16;
	fuzz_done[op->kind]++;
	map_hole(w, map, first, nr);
}

static void op_mprotect(struct world *w, struct op *op)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };
	struct map *map = map_pick(w, op->a);
	int prot = prots[op->d % 3];
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	fuzz_done[op->kind]++;
	if (mprotect(map->addr + first * NDM_PAGE, nr * NDM_PAGE, prot))
		wrong(w, "%s", strerror(errno));
	memset(map->prot + first, prot, nr);
}

static void op_mremap(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t i, nr;
	char *addr;

	if (!map)
		return;
	for (i = 0; i < map->pages; i++) {
		if (map->prot[i] != map->prot[0] || map->prot[i] == PAGE_GONE)
			return;
	}
	nr = op->b & 1 ? map->pages : 1 + op->c % map->pages;
	addr = mmap(NULL, nr * NDM_PAGE + MIB(2), PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	munmap(addr, nr * NDM_PAGE + MIB(2));
	addr += op->d % 512 * NDM_PAGE;
	fuzz_done[op->kind]++;
	addr = mremap(map->addr, map->pages * NDM_PAGE, nr * NDM_PAGE,
		      MREMAP_MAYMOVE | (w->shared || cfg.threads ? 0 : MREMAP_FIXED), addr);
	if (addr == MAP_FAILED) {
		/* Locked parts of it, e.g., make more than one. */
		if (errno != EFAULT && errno != EAGAIN && errno != EINVAL)
			wrong(w, "%s", strerror(errno));
		return;
	}
	map->addr = addr;
	map->pages = nr;
}

static void op_madvise(struct world *w, struct op *op)
{
	static const int advices[] = {
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED, MADV_WILLNEED,
		MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_FREE,
		MADV_MERGEABLE, MADV_COLLAPSE, MADV_RANDOM, MADV_REMOVE,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED,
	};
	int advice = advices[op->d / 3 % 16], ret;
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	ret = INJECT(op, madvise(map->addr + first * NDM_PAGE, nr * NDM_PAGE, advice));
	if (advice == MADV_REMOVE) {
		if (ret)
			mem_unknown(&map->file->mem, (map->pgoff + first) * NDM_PAGE,
				    nr * NDM_PAGE);
		else
			mem_zero(&map->file->mem, (map->pgoff + first) * NDM_PAGE,
				 nr * NDM_PAGE);
	}
	if (ret && (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) &&
	    TOUCHABLE(map->file) && !cfg.known[KNOWN_POPULATE] && !excused() &&
	    map_allows(map, first, nr, advice == MADV_POPULATE_READ ? PROT_READ : PROT_WRITE))
		wrong(w, "%zu pages at %zu can't be populated: %s", nr, map->pgoff + first,
		      strerror(errno));
}

static void op_mlock(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	fuzz_done[op->kind]++;
	/* What it says depends on what is there. */
	if (op->d & 1)
		mlock(map->addr + first * NDM_PAGE, nr * NDM_PAGE);
	else
		munlock(map->addr + first * NDM_PAGE, nr * NDM_PAGE);
}

static void op_host_write(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, off;
	struct file *f;
	char *buf;
	int ret;

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_WRITE))
		return;
	f = map->file;
	if (nr > 64)
		nr = 64;
	off = (map->pgoff + first) * NDM_PAGE;
	buf = malloc(nr * NDM_PAGE);
	data_fill(w, buf, nr * NDM_PAGE);
	ret = INJECT(op, try_copy(map->addr + first * NDM_PAGE, buf, nr * NDM_PAGE));
	if (ret)
		mem_unknown(&f->mem, off, nr * NDM_PAGE);
	else
		mem_write(&f->mem, off, nr * NDM_PAGE, buf);
	free(buf);
	if (!ret != TOUCHABLE(f) && !cfg.faults && !cfg.poison)
		wrong(w, "%zu pages at %zu: %s", nr, off / NDM_PAGE,
		      ret ? "can't be written" : "can be written");
}

static void op_host_read(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, i;
	char page[NDM_PAGE];

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ))
		return;
	for (i = first; i < first + nr && i < first + 64; i++) {
		if (INJECT(op, try_copy(page, map->addr + i * NDM_PAGE, NDM_PAGE))) {
			if (TOUCHABLE(map->file) && !cfg.faults && !cfg.poison)
				wrong(w, "page %zu can't be read", map->pgoff + i);
			return;
		}
		if (!TOUCHABLE(map->file))
			wrong(w, "page %zu can be read", map->pgoff + i);
		mem_check(w, &map->file->mem, (map->pgoff + i) * NDM_PAGE, NDM_PAGE, page,
			  "a mapping");
	}
}

/* GUP hands out nothing of it. */
static void op_gup(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	struct iovec local, remote;
	size_t first, nr;
	char page[NDM_PAGE];
	ssize_t ret;

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ) || !TOUCHABLE(map->file))
		return;
	local = (struct iovec){ page, NDM_PAGE };
	remote = (struct iovec){ map->addr + first * NDM_PAGE, NDM_PAGE };
	fuzz_done[op->kind]++;
	ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (NDM_FILE(map->file) ? ret >= 0 : ret != (ssize_t)NDM_PAGE && !excused())
		wrong(w, "process_vm_readv: %zd %s", ret, strerror(errno));
	if (ret > 0)
		mem_check(w, &map->file->mem, (map->pgoff + first) * NDM_PAGE, NDM_PAGE,
			  page, "process_vm_readv");
}

/* A child with the same descriptors and mappings, that may outlive ours. */
static void op_fork(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first = 0, nr = 0, i, off = 0;
	char *buf = NULL;
	int status;
	pid_t pid;

	if (map && TOUCHABLE(map->file) && map_range(op, map, &first, &nr) &&
	    map_allows(map, first, nr, PROT_READ | PROT_WRITE)) {
		if (nr > 8)
			nr = 8;
		off = (map->pgoff + first) * NDM_PAGE;
		buf = malloc(nr * NDM_PAGE);
		data_fill(w, buf, nr * NDM_PAGE);
	}
	fuzz_done[op->kind]++;
	pid = fork();
	if (pid < 0)
		wrong(w, "fork: %s", strerror(errno));
	if (!pid) {
		if (buf && try_copy(map->addr + first * NDM_PAGE, buf, nr * NDM_PAGE))
			_exit(1);
		if (op->d & 1) {
			for (i = 0; i < FUZZ_FILES; i++) {
				if (w->files[i])
					close(w->files[i]->fd);
			}
		}
		if ((op->d & 2) && map)
			munmap(map->addr, map->pages * NDM_PAGE);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status && !cfg.faults && !cfg.poison)
		wrong(w, "the child: %#x", status);
	if (buf && status)
		mem_unknown(&map->file->mem, off, nr * NDM_PAGE);
	else if (buf)
		mem_write(&map->file->mem, off, nr * NDM_PAGE, buf);
	free(buf);
}

/* --- guests */

static void guest_op(struct world *w, struct op *op, bool write)
{
	bool emulate = cfg.emulate && op->d / 3 % 4 == 0;
	size_t first, nr, off, len;
	struct slot *slot;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot)
		return;
	range(op, 0, slot->pages, &first, &nr);
	off = first * NDM_PAGE;
	len = nr * NDM_PAGE;
	if (emulate) {
		/* Each word takes an emulation, or part of one. */
		off += op->b / 16 % NDM_PAGE / 8 * 8;
		if (len > 512)
			len = 512;
		if (off + len > slot->pages * NDM_PAGE)
			len = slot->pages * NDM_PAGE - off;
		if (cfg.known[KNOWN_R11] && slot->hva_kind != HVA_NONE)
			return;
	}
	if (cfg.faults && op->d % 3 == 0)
		fail_nth(op->d / 3 % 50 + 1);
	fuzz_done[op->kind]++;
	if (emulate)
		fuzz_done[nr_kinds]++;
	guest_access(w, vm, slot, off, len, write, emulate);
	if (cfg.faults && op->d % 3 == 0)
		fail_nth(0);
}

static void op_guest_read(struct world *w, struct op *op)
{
	guest_op(w, op, false);
}

static void op_guest_write(struct world *w, struct op *op)
{
	guest_op(w, op, true);
}

static void op_prefault(struct world *w, struct op *op)
{
	struct kvm_pre_fault_memory fault = {};
	struct slot *slot;
	size_t first, nr;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || slot->file->mixed)
		return;
	range(op, 0, slot->pages, &first, &nr);
	fault.gpa = slot->gpa + first * NDM_PAGE;
	fault.size = nr * NDM_PAGE;
	/* What is shared and has no memory fails. */
	INJECT(op, ioctl(vm->vcpu, KVM_PRE_FAULT_MEMORY, &fault));
	vm_mark_pv(vm);
}

static void op_pv(struct world *w, struct op *op)
{
	uint32_t msr = op->d & 1 ? MSR_KVM_STEAL_TIME : MSR_KVM_SYSTEM_TIME_NEW;
	struct slot *slot;
	size_t first, nr;
	uint64_t gpa = 0;
	struct vm *vm;
	struct pv *pv;
	int ret;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || slot->file->mixed)
		return;
	if (cfg.known[KNOWN_R11] && slot->hva_kind != HVA_NONE)
		return;
	pv = &vm->pv[op->d & 1];
	if (op->d / 2 % 4) {
		range(op, 0, slot->pages, &first, &nr);
		gpa = slot->gpa + first * NDM_PAGE + op->b / 16 % 64 * 64;
	}
	fuzz_done[op->kind]++;
	/* Both addresses are written until it is over. */
	vm_mark_pv(vm);
	ret = vm_set_msr(vm, msr, gpa ? gpa | 1 : 0);
	vm_mark_pv(vm);
	if (ret && gpa)
		return;
	*pv = (struct pv){ .gpa = gpa, .size = 64 };
	vm_mark_pv(vm);
}

/* --- the host */

static void op_probe(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	struct ndm_check res;

	if (!f || !NDM_FILE(f))
		return;
	fuzz_done[op->kind]++;
	ndm_check_file(cfg.probe, f->fd, f->lo, f->hi - f->lo, NULL, NULL, &res);
	if (res.mapped || res.readable)
		wrong(w, "of %llu pages, %llu are in the direct map, %llu readable",
		      (unsigned long long)res.present, (unsigned long long)res.mapped,
		      (unsigned long long)res.readable);
}

static void op_drop_caches(struct world *w, struct op *op)
{
	if (!cfg.pressure)
		return;
	fuzz_done[op->kind]++;
	ndm_write_file("/proc/sys/vm/drop_caches", "%u\n", 1 + op->b % 3);
	if (op->b / 3 % 4 == 0)
		ndm_write_file("/proc/sys/vm/compact_memory", "1\n");
}

static void op_dirty(struct world *w, struct op *op)
{
	fuzz_done[op->kind]++;
	ndm_dirty_memory(MIB(4 + op->b % 28));
}

static const struct kind {
	const char *name;
	void (*run)(struct world *w, struct op *op);
	unsigned int weight;
	bool shared;		/* can be done to memory that others use as well */
} kinds[] = {
	/* First what others need. */
	{ "vm",			op_vm,		3,	false },
	{ "create",		op_create,	12,	false },
	{ "bind",		op_bind,	12,	true },
	{ "mmap",		op_mmap,	10,	true },
	{ "attributes",		op_attributes,	8,	true },
	{ "fallocate",		op_fallocate,	8,	true },
	{ "punch",		op_punch,	12,	true },
	{ "pwrite",		op_pwrite,	14,	true },
	{ "pwrite_self",	op_pwrite_self,	3,	true },
	{ "guest_read",		op_guest_read,	18,	true },
	{ "guest_write",	op_guest_write,	18,	true },
	{ "prefault",		op_prefault,	4,	true },
	{ "pv",			op_pv,		6,	true },
	{ "host_read",		op_host_read,	10,	true },
	{ "host_write",		op_host_write,	12,	true },
	{ "mprotect",		op_mprotect,	4,	true },
	{ "mremap",		op_mremap,	4,	true },
	{ "madvise",		op_madvise,	10,	true },
	{ "mlock",		op_mlock,	4,	true },
	{ "fork",		op_fork,	2,	true },
	{ "gup",		op_gup,		3,	true },
	{ "probe",		op_probe,	6,	true },
	{ "refused",		op_refused,	2,	true },
	{ "change_slot",	op_change_slot,	2,	true },
	{ "unbind",		op_unbind,	5,	true },
	{ "munmap",		op_munmap,	5,	true },
	{ "close",		op_close,	5,	false },
	{ "vm_close",		op_vm_close,	1,	false },
	{ "drop_caches",	op_drop_caches,	2,	true },
	{ "dirty",		op_dirty,	1,	true },
};

#define NR_KINDS (sizeof(kinds) / sizeof(*kinds))

const unsigned int nr_kinds = NR_KINDS;

enum { VM, CREATE, BIND, MMAP };

void op_make(struct op *op, uint64_t *random, bool shared, size_t nth)
{
	static const uint8_t start[] = {
		VM, VM, CREATE, CREATE, CREATE, BIND, BIND, BIND, MMAP, MMAP,
	};
	unsigned int i, sum = 0, n;

	for (i = 0; i < NR_KINDS; i++)
		sum += shared && !kinds[i].shared ? 0 : kinds[i].weight;
	n = fuzz_random(random) % sum;
	for (i = 0; ; i++) {
		if (shared && !kinds[i].shared)
			continue;
		if (n < kinds[i].weight)
			break;
		n -= kinds[i].weight;
	}
	/* Without these, nothing could be done at first. */
	op->kind = nth < sizeof(start) && !shared ? start[nth] : i;
	op->a = fuzz_random(random) >> 32;
	op->b = fuzz_random(random) >> 32;
	op->c = fuzz_random(random) >> 32;
	op->d = fuzz_random(random) >> 32;
}

const char *op_name(const struct op *op)
{
	return kinds[op->kind].name;
}

void op_run(struct world *w, struct op *op)
{
	static bool once;

	if (!once) {
		struct sigaction sa = { .sa_handler = on_alarm };

		sigaction(SIGALRM, &sa, NULL);
		once = true;
	}
	w->op = op;
	kinds[op->kind].run(w, op);
	w->op = NULL;
}
