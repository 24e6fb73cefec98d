// SPDX-License-Identifier: GPL-2.0
/*
 * Recipe: a VM whose memory this program maps, as most VMMs do, and which is in no
 * direct map of the kernel.
 *
 * It's an ordinary VM.  The guest_memfd takes the place of what a VMM got by
 * memfd_create() or mmap(): it is mapped, the guest is loaded through the mapping,
 * and the memslot has both the mapping's address and the file.
 *
 * The guest runs in real mode, adds the words of a list in its memory, stores the
 * sum and halts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kvm.h>

#define MEMORY		(4ul << 20)
#define CODE		0x1000		/* where the guest starts */
#define LIST		0x2000
#define COUNT		100
#define SUM		0x3000

#define FLAGS		(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |	\
			 GUEST_MEMFD_FLAG_NO_DIRECT_MAP)

#define STR(x)		#x
#define VALUE(x)	STR(x)

extern const char guest[], guest_end[];
asm(".pushsection .rodata\n"
    ".code16\n"
    "guest:\n"
    "	xorl %eax, %eax\n"
    "	movw $" VALUE(LIST) ", %si\n"
    "	movw $" VALUE(COUNT) ", %cx\n"
    "1:	addl (%si), %eax\n"
    "	addw $4, %si\n"
    "	loop 1b\n"
    "	movl %eax, " VALUE(SUM) "\n"
    "	hlt\n"
    "guest_end:\n"
    ".code64\n"
    ".popsection\n");

static int check(const char *what, int ret)
{
	if (ret < 0) {
		printf("%s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

int main(void)
{
	struct kvm_create_guest_memfd create = { .size = MEMORY, .flags = FLAGS };
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = MEMORY,
	};
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	int kvm, vm, vcpu, gmem, flags, size;
	struct kvm_sregs sregs;
	struct kvm_run *run;
	uint32_t i, *list;
	char *memory;

	kvm = check("/dev/kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	vm = check("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));

	/* A mask: look at the bits that are needed, on the VM that shall have them. */
	flags = check("KVM_CAP_GUEST_MEMFD_FLAGS",
		      ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS));
	if ((flags & FLAGS) != FLAGS) {
		printf("no guest_memfd with mmap() and without a direct map here\n");
		return 4;
	}
	gmem = check("KVM_CREATE_GUEST_MEMFD", ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create));

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, gmem, 0);
	if (memory == MAP_FAILED)
		check("mmap", -1);
	memcpy(memory + CODE, guest, guest_end - guest);
	list = (uint32_t *)(memory + LIST);
	for (i = 0; i < COUNT; i++)
		list[i] = i + 1;

	/* Without the file, KVM would have to find pages by address, and may not. */
	region.userspace_addr = (uintptr_t)memory;
	region.guest_memfd = gmem;
	region.guest_memfd_offset = 0;
	check("KVM_SET_USER_MEMORY_REGION2", ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region));

	vcpu = check("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	size = check("KVM_GET_VCPU_MMAP_SIZE", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		check("mmap", -1);
	check("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	check("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &sregs));
	check("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));

	check("KVM_RUN", ioctl(vcpu, KVM_RUN, 0));
	if (run->exit_reason != KVM_EXIT_HLT) {
		printf("unexpected exit %u\n", run->exit_reason);
		return 1;
	}
	printf("the guest's sum is %u\n", *(uint32_t *)(memory + SUM));
	return *(uint32_t *)(memory + SUM) == COUNT * (COUNT + 1) / 2 ? 0 : 1;
}
