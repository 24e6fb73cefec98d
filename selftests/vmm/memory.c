// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's memory is one memslot at address 0.  All of it is private and
 * comes from one guest_memfd that is not in the direct map of the host; the
 * address that the memslot has in the VMM is that of a reservation, at which
 * nothing is mapped but what the guest made shared.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/falloc.h>
#include <linux/kvm.h>

#include "end.h"
#include "machine.h"
#include "memory.h"

#define RESERVE_FLAGS	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

static int set_private(struct memory *memory, uint64_t gpa, uint64_t size, bool private)
{
	struct kvm_memory_attributes attributes = {
		.address = gpa,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	return ioctl(memory->vm, KVM_SET_MEMORY_ATTRIBUTES, &attributes) ? -errno : 0;
}

static void create_gmem(struct memory *memory)
{
	const bool no_direct_map = memory->backing == BACKING_NO_DIRECT_MAP;
	struct kvm_create_guest_memfd create = {
		.size = memory->size,
		/* The other kind can only be filled through a mapping, which stays. */
		.flags = no_direct_map ? GUEST_MEMFD_FLAG_NO_DIRECT_MAP :
			 GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int flags = ioctl(memory->vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);

	if (flags < 0 || (flags & create.flags) != create.flags)
		die("this kernel has no guest_memfd %s",
		    no_direct_map ? "without a direct map" : "with mmap()");
	memory->gmem = ioctl(memory->vm, KVM_CREATE_GUEST_MEMFD, &create);
	if (memory->gmem < 0)
		die("KVM_CREATE_GUEST_MEMFD: %s", strerror(errno));
	if (no_direct_map)
		return;

	/* KVM, too, reaches memory that has a direct map by its address. */
	if (mmap(memory->hva, memory->size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, memory->gmem, 0) == MAP_FAILED)
		die("cannot map the guest_memfd: %s", strerror(errno));
}

void memory_create(struct memory *memory)
{
	const bool anonymous = memory->backing == BACKING_ANONYMOUS;
	const uint64_t align = 2ul << 20;
	struct kvm_userspace_memory_region2 region = {
		.flags = anonymous ? 0 : KVM_MEM_GUEST_MEMFD,
		.memory_size = memory->size,
	};
	int err;

	memory->gmem = -1;
	memory->hva = mmap(NULL, memory->size + align,
			anonymous ? PROT_READ | PROT_WRITE : PROT_NONE,
			RESERVE_FLAGS, -1, 0);
	if (memory->hva == MAP_FAILED)
		die("cannot reserve %llu MiB: %s",
		    (unsigned long long)memory->size >> 20, strerror(errno));
	memory->hva += -(uintptr_t)memory->hva % align;

	region.userspace_addr = (uintptr_t)memory->hva;
	if (!anonymous) {
		create_gmem(memory);
		region.guest_memfd = memory->gmem;
	}
	if (ioctl(memory->vm, KVM_SET_USER_MEMORY_REGION2, &region))
		die("KVM_SET_USER_MEMORY_REGION2: %s", strerror(errno));
	if (memory->backing != BACKING_NO_DIRECT_MAP)
		return;
	err = set_private(memory, 0, memory->size, true);
	if (err)
		die("KVM_SET_MEMORY_ATTRIBUTES: %s", strerror(-err));
}

void memory_write(struct memory *memory, uint64_t gpa, const void *data, size_t size)
{
	ssize_t written;

	if (gpa > memory->size || size > memory->size - gpa)
		die("%zu bytes at 0x%llx don't fit into the guest's memory", size,
		    (unsigned long long)gpa);
	if (memory->backing != BACKING_NO_DIRECT_MAP) {
		memcpy(memory->hva + gpa, data, size);
		return;
	}
	while (size) {
		written = pwrite(memory->gmem, data, size, gpa);
		if (written <= 0)
			die("cannot write %zu bytes to the guest_memfd at 0x%llx: %s",
			    size, (unsigned long long)gpa,
			    written ? strerror(errno) : "nothing was written");
		data += written;
		gpa += written;
		size -= written;
	}
}

/*
 * What becomes shared leaves the file and is the VMM's ordinary memory; what
 * becomes private again is new memory of the file.  Both start with zeroes.
 * vCPUs that convert the same page at the same time harm only their own guest.
 */
int memory_convert(struct memory *memory, uint64_t gpa, uint64_t pages, bool private)
{
	const uint64_t size = pages * VMM_PAGE;
	int err;

	if (memory->backing != BACKING_NO_DIRECT_MAP)
		return -ENOSYS;
	if (gpa % VMM_PAGE || gpa > memory->size || !pages ||
	    pages > (memory->size - gpa) / VMM_PAGE)
		return -EINVAL;

	if (private) {
		err = set_private(memory, gpa, size, true);
		if (err)
			return err;
		if (mmap(memory->hva + gpa, size, PROT_NONE,
			 RESERVE_FLAGS | MAP_FIXED, -1, 0) == MAP_FAILED)
			return -errno;
		return 0;
	}

	if (mmap(memory->hva + gpa, size, PROT_READ | PROT_WRITE,
		 RESERVE_FLAGS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	err = set_private(memory, gpa, size, false);
	if (err)
		return err;
	return fallocate(memory->gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			 gpa, size) ? -errno : 0;
}
