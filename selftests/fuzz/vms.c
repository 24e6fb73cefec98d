// SPDX-License-Identifier: GPL-2.0
/*
 * Operations: VMs, their files and memslots, and what guests do.
 */
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "ops.h"

#define MSR_KVM_SYSTEM_TIME_NEW	0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03

/* --- VMs and files */

void op_vm(struct world *w, struct op *op)
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

void op_vm_close(struct world *w, struct op *op)
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

void op_create(struct world *w, struct op *op)
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
		flags = GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
		if (op->d % 8 >= 5)
			flags = op->d / 8 % 16;
		else if (!vm->type && op->d / 8 % 4)
			flags |= GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
		fd = INJECT(op, ndm_gmem_create(vm->fd, pages * NDM_PAGE, flags));
		errno = fd < 0 ? -fd : 0;
		if ((fd >= 0) != !(flags & ~supported) && !(fd < 0 && excused(false)))
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
	/* R11: in a VM without private memory, KVM ignores no file but this. */
	f->mixed = vm && !vm->type &&
		   !(flags & (GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_NO_DIRECT_MAP));
	mem_init(&f->mem, pages * NDM_PAGE);
	w->files[op->a % FUZZ_FILES] = f;
}

void op_close(struct world *w, struct op *op)
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
		if (!excused(false))
			wrong(w, "%s", strerror(errno));
		return;
	}
	memset(vm->private + attr.address / NDM_PAGE, attributes != 0, nr);
	vm_mark_pv(vm);
}

void op_bind(struct world *w, struct op *op)
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
	if (!ret != expected && !(ret && excused(false)))
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

void op_unbind(struct world *w, struct op *op)
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
void op_change_slot(struct world *w, struct op *op)
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

void op_attributes(struct world *w, struct op *op)
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

/* --- guests */

/*
 * Does KVM access the memory that the guest does?  For files that have a direct map,
 * KVM goes by the userspace address, even if the guest doesn't.
 */
static bool one_memory(const struct slot *slot)
{
	if (slot->file->mixed)
		return false;
	if (cfg.known[KNOWN_R11] && slot->hva_kind != HVA_NONE)
		return false;
	return (slot->file->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP) ||
	       !(slot->file->flags & GUEST_MEMFD_FLAG_MMAP);
}

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
		if (!one_memory(slot))
			return;
	}
	fuzz_done[op->kind]++;
	if (emulate)
		fuzz_done[nr_kinds]++;
	guest_access(w, vm, slot, off, len, write, emulate);
}

void op_guest_read(struct world *w, struct op *op)
{
	guest_op(w, op, false);
}

void op_guest_write(struct world *w, struct op *op)
{
	guest_op(w, op, true);
}

/* Returns as soon as anything can't be mapped. */
static int prefault(struct vm *vm, struct kvm_pre_fault_memory *fault)
{
	int ret;

	do {
		ret = ioctl(vm->vcpu, KVM_PRE_FAULT_MEMORY, fault);
	} while (!ret && fault->size);
	return ret;
}

void op_prefault(struct world *w, struct op *op)
{
	struct kvm_pre_fault_memory fault = {};
	struct slot *slot;
	size_t first, nr, page, off;
	struct mem *mem;
	struct vm *vm;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || slot->file->mixed)
		return;
	range(op, 0, slot->pages, &first, &nr);
	fault.gpa = slot->gpa + first * NDM_PAGE;
	fault.size = nr * NDM_PAGE;
	if (INJECT(op, prefault(vm, &fault)) && !injected && !cfg.pressure) {
		/* What is shared and has no memory fails. */
		page = (fault.gpa - slot->gpa) / NDM_PAGE;
		mem = slot_mem(vm, slot, page, &off);
		if (mem && !mem_poisoned(mem, off, NDM_PAGE))
			wrong(w, "page %zu of the slot: %s", page, strerror(errno));
	}
	vm_mark_pv(vm);
}

void op_pv(struct world *w, struct op *op)
{
	uint32_t msr = op->d & 1 ? MSR_KVM_STEAL_TIME : MSR_KVM_SYSTEM_TIME_NEW;
	struct slot *slot;
	size_t first, nr;
	uint64_t gpa = 0;
	struct mem *mem = NULL;
	struct vm *vm;
	struct pv *pv;
	size_t off;
	int ret;

	slot = slot_pick(w, op->a, &vm);
	if (!slot || !one_memory(slot))
		return;
	pv = &vm->pv[op->d & 1];
	if (op->d / 2 % 4) {
		range(op, 0, slot->pages, &first, &nr);
		gpa = slot->gpa + first * NDM_PAGE + op->b / 16 % 64 * 64;
		mem = slot_mem(vm, slot, first, &off);
	}
	fuzz_done[op->kind]++;
	/* Both addresses are written until it is over. */
	vm_mark_pv(vm);
	ret = vm_set_msr(vm, msr, gpa ? gpa | 1 : 0);
	vm_mark_pv(vm);
	if (ret && (!gpa || (mem && !cfg.pressure && !mem_poisoned(mem, off, NDM_PAGE))))
		wrong(w, "MSR %#x, %#llx: %s", msr, (unsigned long long)gpa, strerror(-ret));
	if (ret)
		return;
	*pv = (struct pv){ .gpa = gpa, .size = 64 };
	vm_mark_pv(vm);
}
