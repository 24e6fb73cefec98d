// SPDX-License-Identifier: GPL-2.0
/* VMs and memslots, as they are made and changed by ioctl(). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/kvm.h>

#include "preload.h"
#include "preload_files.h"
#include "preload_slots.h"

struct slot {
	int vm;
	bool gmem;
	bool left_out;		/* KVM doesn't know of it */
	struct kvm_userspace_memory_region2 region;	/* as it was asked for */
};

static struct slot *slots;
static unsigned int nr_slots;

void forget_vm(int vm)
{
	unsigned int i;

	for (i = 0; i < (unsigned int)nr_vms; i++) {
		if (vms[i] == vm)
			vms[i--] = vms[--nr_vms];
	}
	for (i = 0; i < nr_slots; i++) {
		if (slots[i].vm == vm)
			slots[i--] = slots[--nr_slots];
	}
}

static void add_vm(int vm)
{
	forget_vm(vm);
	vms_ever++;
	if (nr_vms < MAX_VMS)
		vms[nr_vms++] = vm;
}

static struct slot *find_slot(int vm, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < nr_slots; i++) {
		if (slots[i].vm == vm && slots[i].region.slot == id)
			return &slots[i];
	}
	return NULL;
}

static struct slot *put_slot(int vm, bool gmem,
			     const struct kvm_userspace_memory_region2 *region)
{
	struct slot *slot = find_slot(vm, region->slot);

	if (!slot) {
		slot = reallocarray(slots, nr_slots + 1, sizeof(*slots));
		if (!slot) {
			say(-1, "no memory");
			_exit(127);
		}
		slots = slot;
		slot = &slots[nr_slots++];
	}
	*slot = (struct slot){ .vm = vm, .gmem = gmem, .region = *region };
	sum.slots += gmem;
	sum.other_slots += !gmem;
	if (!gmem && region->memory_size >= opt.min_size)
		sum.other_bytes += region->memory_size;
	return slot;
}

static int set_region(int vm, const struct kvm_userspace_memory_region2 *region)
{
	return REAL(ioctl)(vm, KVM_SET_USER_MEMORY_REGION2, region);
}

/* The file that backs a memslot as a whole; NULL: @why, if that's worth a word. */
static struct file *slot_file(int vm, const struct kvm_userspace_memory_region2 *region,
			      uint64_t *offset, const char **why)
{
	struct file *file;
	struct area area;
	struct stat st;
	bool whole;
	char name[64];
	int fd;

	*why = NULL;
	whole = area_at(region->userspace_addr, region->memory_size, &area);
	if (!area_at(region->userspace_addr, 1, &area)) {
		*why = "nothing is mapped there";
		return NULL;
	}
	file = file_by_id(area.id);
	if (!file && !wanted(area.path, UINT64_MAX, name, sizeof(name))) {
		*why = opt.off ? NULL : !area.path[0] || area.path[0] == '[' ?
		       "it is anonymous memory; a memfd is needed (QEMU: -object memory-backend-memfd,share=on)" :
		       "it isn't a memfd, or not one of those that were asked for";
		return NULL;
	}
	if (!whole) {
		*why = "only a part of it is a memfd";
		return NULL;
	}
	if (!file) {
		if (!area.shared) {
			*why = "it is a private mapping; share=on is needed";
			return NULL;
		}
		/* Its size: that of the file, if it is open, or what is mapped. */
		st.st_size = area.offset + area.end - area.start;
		if (fds_of(area.id, -1, &fd, 1))
			fstat(fd, &st);
		if ((uint64_t)st.st_size < opt.min_size) {
			*why = "it is smaller than MIN_SIZE";
			return NULL;
		}
		if (is_lent(area.id)) {
			*why = "it was passed to another process when it wasn't known which VM it is for";
			return NULL;
		}
		file = replace(vm, area.id, name, st.st_size, false);
	}
	*offset = area.offset;
	return file;
}

static int bind_slot(int vm, const struct kvm_userspace_memory_region2 *asked,
		     const struct file *file, uint64_t offset)
{
	struct kvm_userspace_memory_region2 region = *asked;

	region.flags &= ~(KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
	region.flags |= KVM_MEM_GUEST_MEMFD;
	region.guest_memfd = file->fd;
	region.guest_memfd_offset = offset;
	return set_region(vm, &region);
}

/* A memslot is gone: maybe one that was left out because of it can be there now. */
static void retry_left_out(int vm)
{
	struct file *file;
	struct slot *slot;
	const char *why;
	uint64_t offset;

	for (slot = slots; slot < slots + nr_slots; slot++) {
		if (slot->vm != vm || !slot->left_out)
			continue;
		file = slot_file(vm, &slot->region, &offset, &why);
		slot->left_out = !file || bind_slot(vm, &slot->region, file, offset);
		sum.slots += !slot->left_out;
	}
}

static int set_memslot(int vm, unsigned long cmd, void *arg)
{
	struct kvm_userspace_memory_region2 region = {}, old;
	struct slot *slot;
	struct file *file;
	const char *why;
	uint64_t offset;
	int r;

	/* The older structure is the beginning of the newer one. */
	memcpy(&region, arg, cmd == KVM_SET_USER_MEMORY_REGION ?
	       sizeof(struct kvm_userspace_memory_region) : sizeof(region));
	slot = find_slot(vm, region.slot);
	if (!region.memory_size) {
		r = slot && slot->left_out ? 0 : REAL(ioctl)(vm, cmd, arg);
		if (!r && slot) {
			*slot = slots[--nr_slots];
			retry_left_out(vm);
		}
		return r;
	}
	/* A VMM that does all of it by itself. */
	if (region.flags & KVM_MEM_GUEST_MEMFD)
		return REAL(ioctl)(vm, cmd, arg);

	file = slot_file(vm, &region, &offset, &why);
	if (!file) {
		if (why && region.memory_size >= opt.min_size) {
			say(opt.require ? -1 : 0, "memslot %u, %llu MiB at 0x%llx, %s: %s", region.slot & 0xffff,
			    MIB(region.memory_size), region.guest_phys_addr,
			    opt.require ? "refused" : "stays in the direct map", why);
			if (opt.require) {
				errno = EINVAL;
				return -1;
			}
		}
		r = REAL(ioctl)(vm, cmd, arg);
		if (!r)
			put_slot(vm, false, &region);
		return r;
	}

	old = region;
	if (region.flags & KVM_MEM_READONLY && !sum.read_only++)
		say(0, "memslot %u: guest_memfd can't be read-only, the guest may write to that ROM",
		    region.slot & 0xffff);
	if (region.flags & KVM_MEM_LOG_DIRTY_PAGES && opt.refuse_dirty_log) {
		say(-1, "memslot %u: refused: guest_memfd has no dirty logging, thus no live migration (NDM_PRELOAD_FLAGS=off)",
		    region.slot & 0xffff);
		errno = EOPNOTSUPP;
		return -1;
	}
	if (region.flags & KVM_MEM_LOG_DIRTY_PAGES && !sum.dirty_log++)
		say(0, "guest_memfd has no dirty logging: all pages count as dirty; a live migration won't end before the guest is stopped");

	if (slot && slot->gmem) {
		/* Such a memslot can be deleted, not be changed. */
		if (slot->region.guest_phys_addr == region.guest_phys_addr &&
		    slot->region.userspace_addr == region.userspace_addr &&
		    slot->region.memory_size == region.memory_size) {
			slot->region.flags = old.flags;
			return 0;
		}
		region.memory_size = 0;
		region.flags = 0;
		r = slot->left_out ? 0 : set_region(vm, &region);
		if (r)
			return r;
		region.memory_size = old.memory_size;
		*slot = slots[--nr_slots];
	}
	r = bind_slot(vm, &region, file, offset);
	if (r && errno == EEXIST && !(opt.flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)) {
		/* KVM finds the pages by their address as well. */
		say(1, "memslot %u of address space %u: %s is bound already, leave it to the address",
		    region.slot & 0xffff, region.slot >> 16, file->name);
		r = REAL(ioctl)(vm, cmd, arg);
		if (!r)
			put_slot(vm, false, &old);
		return r;
	}
	if (r && errno == EEXIST) {
		/*
		 * A second view of the same memory, e.g. q35's of SMRAM.  Without a memslot,
		 * the VMM gets the guest's accesses as MMIO, and does the same.
		 */
		if (!sum.left_out++)
			say(0, "memslot %u of address space %u: this part of %s is in another memslot already, leave its accesses to the VMM",
			    region.slot & 0xffff, region.slot >> 16, file->name);
		put_slot(vm, true, &old)->left_out = true;
		sum.slots--;
		return 0;
	}
	if (r && file->vm != vm)
		say(-1, "memslot %u: %s belongs to another VM, and can't be in two", region.slot & 0xffff,
		    file->name);
	else if (r)
		say(-1, "memslot %u: KVM refuses %s: %s", region.slot & 0xffff, file->name, strerror(errno));
	else
		say(1, "memslot %u of address space %u: 0x%llx, %llu KiB, is %s at 0x%llx",
		    region.slot & 0xffff, region.slot >> 16, region.guest_phys_addr, region.memory_size >> 10, file->name,
		    (unsigned long long)offset);
	if (!r) {
		put_slot(vm, true, &old);
		retry_left_out(vm);
	}
	return r;
}

/* Returns false if that's a memslot that KVM can tell something about. */
static bool all_dirty(int vm, const struct kvm_dirty_log *log)
{
	struct slot *slot = find_slot(vm, log->slot);
	uint64_t pages, i;

	if (!slot || !slot->gmem)
		return false;
	pages = slot->region.memory_size / PAGE;
	memset(log->dirty_bitmap, 0, (pages + 63) / 64 * 8);
	for (i = 0; i < pages; i++)
		((uint8_t *)log->dirty_bitmap)[i / 8] |= 1 << i % 8;
	return true;
}

EXPORT int ioctl(int fd, unsigned long cmd, ...)
{
	struct slot *slot;
	va_list args;
	void *arg;
	int r;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);

	switch (cmd) {
	case KVM_CREATE_VM:
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_USER_MEMORY_REGION2:
	case KVM_GET_DIRTY_LOG:
	case KVM_CLEAR_DIRTY_LOG:
		break;
	default:
		return REAL(ioctl)(fd, cmd, arg);
	}

	pthread_mutex_lock(&lock);
	switch (cmd) {
	case KVM_CREATE_VM:
		r = REAL(ioctl)(fd, cmd, arg);
		if (r >= 0)
			add_vm(r);
		break;
	case KVM_GET_DIRTY_LOG:
		r = all_dirty(fd, arg) ? 0 : REAL(ioctl)(fd, cmd, arg);
		break;
	case KVM_CLEAR_DIRTY_LOG:
		slot = find_slot(fd, ((struct kvm_clear_dirty_log *)arg)->slot);
		r = slot && slot->gmem ? 0 : REAL(ioctl)(fd, cmd, arg);
		break;
	default:
		r = set_memslot(fd, cmd, arg);
	}
	pthread_mutex_unlock(&lock);
	return r;
}
