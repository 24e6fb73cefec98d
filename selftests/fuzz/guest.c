// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzzer's guests, which do nothing but copy: no selftest library, as whatever
 * that does by itself would have to be known to the oracle.
 */
#include <fcntl.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "ops.h"

#define SLOT_RAM(t)	(32 + (t))
#define RAM_SIZE	(NDM_PAGE + BUF_SIZE)

/* rep movsl; hlt.  Flat 32-bit code, without paging. */
static const uint8_t code[] = { 0xf3, 0xa5, 0xf4 };
/* The same behind the prefix that asks KVM to emulate. */
static const uint8_t emulated[] = { 0x0f, 0x0b, 'k', 'v', 'm', 0xf3, 0xa5, 0xf4 };

static int vcpu_init(struct vm *vm)
{
	struct kvm_segment seg = {
		.limit = 0xffffffff, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1,
	};
	struct kvm_sregs sregs;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = seg;
	seg.type = 11;
	sregs.cs = seg;
	sregs.cr0 |= 1;
	return ioctl(vm->vcpu, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

/*
 * Make the vCPU usable again, of which a shutdown may be left, or an access to be
 * completed by userspace: the instruction then goes on, in the same piece of memory.
 */
static int vcpu_restart(struct vm *vm)
{
	struct kvm_vcpu_events events = {};
	int ret;

	vm->run->immediate_exit = 1;
	do {
		ret = ioctl(vm->vcpu, KVM_RUN, 0);
	} while (!ret && vm->run->exit_reason == KVM_EXIT_MMIO);
	vm->run->immediate_exit = 0;
	if (ret && errno != EINTR)
		return -errno;
	return ioctl(vm->vcpu, KVM_SET_VCPU_EVENTS, &events) ? -errno : vcpu_init(vm);
}

int vm_join(struct vm *vm, int fd, unsigned int thread, unsigned long type)
{
	struct kvm_userspace_memory_region2 ram = {
		.slot = SLOT_RAM(thread),
		.guest_phys_addr = GPA_CODE(thread),
		.memory_size = RAM_SIZE,
	};
	int kvm, size;

	*vm = (struct vm){ .fd = fd, .thread = thread, .type = type };
	vm->private = calloc(1, GPA_END / NDM_PAGE);
	vm->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->ram == MAP_FAILED)
		return -errno;
	memcpy(vm->ram, code, sizeof(code));
	memcpy(vm->ram + 16, emulated, sizeof(emulated));

	ram.userspace_addr = (uintptr_t)vm->ram;
	if (ioctl(fd, KVM_SET_USER_MEMORY_REGION2, &ram))
		return -errno;
	vm->vcpu = ioctl(fd, KVM_CREATE_VCPU, thread);
	if (vm->vcpu < 0)
		return -errno;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	close(kvm);
	vm->run_size = size;
	vm->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED)
		return -errno;
	return vcpu_init(vm);
}

int vm_open(struct vm *vm, unsigned int thread, unsigned long type)
{
	int fd = ndm_vm_create(type);

	return fd < 0 ? fd : vm_join(vm, fd, thread, type);
}

void slot_forget(struct vm *vm, struct slot *slot)
{
	if (!slot->used)
		return;
	if (slot->hva)
		munmap(slot->hva, slot->pages * NDM_PAGE);
	mem_free(&slot->anon);
	if (!--slot->file->slots && slot->file->dead) {
		mem_free(&slot->file->mem);
		free(slot->file);
	}
	*slot = (struct slot){};
}

void vm_close(struct vm *vm)
{
	size_t i;

	if (vm->fd < 0)
		return;
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	for (i = 0; i < FUZZ_SLOTS; i++)
		slot_forget(vm, &vm->slots[i]);
	munmap(vm->ram, RAM_SIZE);
	free(vm->private);
	*vm = (struct vm){ .fd = -1 };
}

struct slot *slot_pick(struct world *w, uint32_t n, struct vm **vm)
{
	struct slot *slot;
	size_t i;

	for (i = 0; i < FUZZ_VMS * FUZZ_SLOTS; i++, n++) {
		*vm = &w->vms[n % FUZZ_VMS];
		slot = &(*vm)->slots[n / FUZZ_VMS % FUZZ_SLOTS];
		if ((*vm)->fd >= 0 && slot->used)
			return slot;
	}
	return NULL;
}

struct mem *slot_mem(struct vm *vm, struct slot *slot, size_t page, size_t *off)
{
	bool private = vm->private[slot->gpa / NDM_PAGE + page];
	uint64_t flags = slot->file->flags;

	if (private || (flags & GUEST_MEMFD_FLAG_MMAP) ||
	    (!vm->type && (flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))) {
		*off = (slot->pgoff + page) * NDM_PAGE;
		return slot->file->dead ? NULL : &slot->file->mem;
	}
	*off = page * NDM_PAGE;
	return slot->hva_kind == HVA_ANON ? &slot->anon : NULL;
}

void vm_mark_pv(struct vm *vm)
{
	struct slot *slot;
	struct mem *mem;
	size_t i, j, off;

	for (i = 0; i < 2; i++) {
		if (!vm->pv[i].gpa)
			continue;
		for (j = 0; j < FUZZ_SLOTS; j++) {
			slot = &vm->slots[j];
			if (!slot->used || vm->pv[i].gpa < slot->gpa ||
			    vm->pv[i].gpa >= slot->gpa + slot->pages * NDM_PAGE)
				continue;
			mem = slot_mem(vm, slot, (vm->pv[i].gpa - slot->gpa) / NDM_PAGE,
				       &off);
			if (mem)
				mem_unknown(mem, off + vm->pv[i].gpa % NDM_PAGE,
					    vm->pv[i].size);
			/* Without the flag, KVM may go by the userspace address. */
			if (slot->anon.size &&
			    !(slot->file->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
				mem_unknown(&slot->anon, vm->pv[i].gpa - slot->gpa,
					    vm->pv[i].size);
		}
	}
}

int vm_set_msr(struct vm *vm, uint32_t msr, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { .head.nmsrs = 1, .entry = { .index = msr, .data = value } };
	int ret;

	ret = ioctl(vm->vcpu, KVM_SET_MSRS, &msrs);
	return ret < 0 ? -errno : ret == 1 ? 0 : -EINVAL;
}

/* Returns 0, -errno, or -EPROTO for any exit but the end. */
static int guest_copy(struct vm *vm, uint64_t from, uint64_t to, size_t len,
		      bool emulate)
{
	struct kvm_regs regs = {
		.rip = emulate ? GPA_EMULATED(vm->thread) : GPA_CODE(vm->thread),
		.rsi = from,
		.rdi = to,
		.rcx = len / 4,
		.rflags = 2,
	};
	int ret;

	/* KVM writes how it preempts, and the time, whenever it has the vCPU. */
	ret = ioctl(vm->vcpu, KVM_SET_REGS, &regs);
	if (ret)
		return -errno;
	do {
		ret = ioctl(vm->vcpu, KVM_RUN, 0);
	} while (ret && (errno == EINTR || errno == EAGAIN));
	if (ret)
		ret = -errno;
	else if (vm->run->exit_reason != KVM_EXIT_HLT)
		ret = -EPROTO;
	vm_mark_pv(vm);
	return ret;
}

/* The pages from @page on that are in one piece of memory, up to @max. */
static size_t same_mem(struct vm *vm, struct slot *slot, size_t page, size_t max,
		       struct mem **mem, size_t *off)
{
	struct mem *next;
	size_t nr, o;

	*mem = slot_mem(vm, slot, page, off);
	for (nr = 1; nr < max; nr++) {
		next = slot_mem(vm, slot, page + nr, &o);
		if (next != *mem)
			break;
	}
	return nr;
}

static void guest_piece(struct world *w, struct vm *vm, struct slot *slot,
			struct mem *mem, uint64_t gpa, size_t off, size_t len,
			bool write, bool emulate)
{
	char *buf = vm->ram + NDM_PAGE;
	uint64_t *word = (uint64_t *)buf;
	uint32_t reason;
	size_t i;
	int ret, err;

	if (write) {
		for (i = 0; i < len / 8; i++)
			word[i] = fuzz_random(&w->random);
		ret = FAILING(w->op, guest_copy(vm, GPA_BUF(vm->thread), gpa, len, emulate));
	} else {
		memset(buf, 0xee, len);
		ret = FAILING(w->op, guest_copy(vm, gpa, GPA_BUF(vm->thread), len, emulate));
	}

	reason = vm->run->exit_reason;
	err = ret ? vcpu_restart(vm) : 0;
	if (err)
		wrong(w, "the vCPU is of no use anymore: %s", strerror(-err));
	/* The part that has been done isn't worth to be found out. */
	if (ret && write && mem)
		mem_unknown(mem, off, len);
	if (!mem) {
		/* Another thread's child may still have the file. */
		if (!ret && !cfg.threads)
			wrong(w, "the guest reached %#llx, where nothing is",
			      (unsigned long long)gpa);
		return;
	}
	if (ret) {
		/* KVM has many ways to say so. */
		if (injected || mem_poisoned(mem, off, len))
			return;
		wrong(w, "KVM_RUN at %#llx: %s, exit reason %u", (unsigned long long)gpa,
		      strerror(-ret), reason);
	}
	if (write)
		mem_write(mem, off, len, buf);
	else
		mem_check(w, mem, off, len, buf, emulate ? "KVM's emulator" : "the guest");
	vm_mark_pv(vm);
}

void guest_access(struct world *w, struct vm *vm, struct slot *slot,
		  size_t off, size_t len, bool write, bool emulate)
{
	size_t page, nr, now, mem_off;
	struct mem *mem;

	if (slot->file->mixed)
		return;
	vm_mark_pv(vm);
	while (len) {
		page = off / NDM_PAGE;
		nr = same_mem(vm, slot, page, slot->pages - page, &mem, &mem_off);
		now = nr * NDM_PAGE - off % NDM_PAGE;
		if (now > len)
			now = len;
		if (now > BUF_SIZE)
			now = BUF_SIZE;
		/* What KVM says then depends on the instruction. */
		if (mem || !emulate)
			guest_piece(w, vm, slot, mem, slot->gpa + off,
				    mem_off + off % NDM_PAGE, now, write, emulate);
		off += now;
		len -= now;
	}
}
