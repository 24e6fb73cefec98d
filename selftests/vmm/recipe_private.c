// SPDX-License-Identifier: GPL-2.0
/*
 * Recipe: a VM whose memory nobody maps, neither this program nor the kernel.
 *
 * All of its memory is private and comes from a guest_memfd without a direct map.
 * It is loaded by pwrite().  The memslot's userspace address is a reservation, at
 * which nothing can be accessed but pages that the guest has made shared.
 *
 * The guest adds two numbers, makes a page shared, leaves the sum there for us to
 * read, takes our answer, makes the page private again and halts.  Errors of the
 * VMM end it, by check().
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/falloc.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>

#define MEMORY		(4ul << 20)
#define PAGE		4096ul
#define CODE		0x1000		/* where the guest starts */
#define SHARED		0x3000		/* the page that it converts */
#define PORT		0x10		/* by which it says that there is something */

#define STR(x)		#x
#define VALUE(x)	STR(x)

/*
 * Real mode, linked to nowhere: jumps are relative.  The hypercall takes its number
 * in EAX, the page in EBX, how many in ECX and the new attributes in EDX.  Three
 * NOPs become VMCALL or VMMCALL.
 */
extern const char guest[], guest_hypercall_1[], guest_hypercall_2[], guest_end[];
asm(".pushsection .rodata\n"
    ".code16\n"
    "guest:\n"
    "	movl $40, %eax\n"
    "	addl $2, %eax\n"
    "	movl %eax, %esi\n"
    "	movl $" VALUE(KVM_HC_MAP_GPA_RANGE) ", %eax\n"
    "	movl $" VALUE(SHARED) ", %ebx\n"
    "	movl $1, %ecx\n"
    "	xorl %edx, %edx\n"
    "guest_hypercall_1:\n"
    "	.byte 0x90, 0x90, 0x90\n"
    "	testl %eax, %eax\n"
    "	jnz 1f\n"
    "	movl %esi, " VALUE(SHARED) "\n"
    "	outb %al, $" VALUE(PORT) "\n"
    "	movl " VALUE(SHARED) ", %esi\n"		/* our answer */
    "	movl $" VALUE(KVM_HC_MAP_GPA_RANGE) ", %eax\n"
    "	movl $0x10, %edx\n"			/* private */
    "guest_hypercall_2:\n"
    "	.byte 0x90, 0x90, 0x90\n"
    "	testl %eax, %eax\n"
    "	jnz 1f\n"
    "	addl " VALUE(SHARED) ", %esi\n"		/* new memory: adds zero */
    "	movl %esi, " VALUE(SHARED) "\n"		/* a secret from now on */
    "1:	hlt\n"
    "guest_end:\n"
    ".code64\n"
    ".popsection\n");

static int gmem;
static char *hva;

static int check(const char *what, int ret)
{
	if (ret < 0) {
		printf("%s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

static void reserve(uint64_t gpa, uint64_t size)
{
	if (mmap(hva + gpa, size, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE, -1, 0) == MAP_FAILED)
		check("mmap", -1);
}

static void set_private(int vm, uint64_t gpa, uint64_t size, int private)
{
	struct kvm_memory_attributes attributes = {
		.address = gpa,
		.size = size,
		.attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	check("KVM_SET_MEMORY_ATTRIBUTES", ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attributes));
}

/*
 * What becomes shared is new memory of ours, and the file's memory goes.  What
 * becomes private is new memory of the file, and ours goes.  Neither keeps contents.
 */
static void convert(int vm, uint64_t gpa, uint64_t size, int private)
{
	if (private) {
		set_private(vm, gpa, size, 1);
		reserve(gpa, size);
		return;
	}
	check("mprotect", mprotect(hva + gpa, size, PROT_READ | PROT_WRITE));
	set_private(vm, gpa, size, 0);
	check("PUNCH_HOLE", fallocate(gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				      gpa, size));
}

/* By pwrite(), any number of times and at any offset, as if to an ordinary file. */
static void load(void)
{
	static const unsigned char vmcall[] = { 0x0f, 0x01, 0xc1 };
	static const unsigned char vmmcall[] = { 0x0f, 0x01, 0xd9 };
	unsigned int eax, ebx, ecx, edx;
	const unsigned char *call;
	size_t size = guest_end - guest;

	__cpuid(0, eax, ebx, ecx, edx);
	call = ebx == signature_INTEL_ebx ? vmcall : vmmcall;
	if (pwrite(gmem, guest, size, CODE) != (ssize_t)size ||
	    pwrite(gmem, call, 3, CODE + (guest_hypercall_1 - guest)) != 3 ||
	    pwrite(gmem, call, 3, CODE + (guest_hypercall_2 - guest)) != 3)
		check("pwrite", -1);
}

int main(void)
{
	struct kvm_enable_cap hypercalls = {
		.cap = KVM_CAP_EXIT_HYPERCALL,
		.args[0] = 1ull << KVM_HC_MAP_GPA_RANGE,
	};
	struct kvm_create_guest_memfd create = {
		.size = MEMORY,
		.flags = GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
	};
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = MEMORY,
	};
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	int kvm, vm, vcpu, flags, size, seen = 0;
	struct kvm_sregs sregs;
	struct kvm_run *run;

	kvm = check("/dev/kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	if (!(check("KVM_CAP_VM_TYPES", ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES)) &
	      1 << KVM_X86_SW_PROTECTED_VM)) {
		printf("no software-protected VMs here (CONFIG_KVM_SW_PROTECTED_VM)\n");
		return 4;
	}
	vm = check("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, KVM_X86_SW_PROTECTED_VM));
	check("KVM_CAP_EXIT_HYPERCALL", ioctl(vm, KVM_ENABLE_CAP, &hypercalls));

	/* A mask: look at the bit that is needed, on the VM that shall have it. */
	flags = check("KVM_CAP_GUEST_MEMFD_FLAGS",
		      ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS));
	if (!(flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)) {
		printf("no guest_memfd without a direct map here\n");
		return 4;
	}
	gmem = check("KVM_CREATE_GUEST_MEMFD", ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create));

	hva = mmap(NULL, MEMORY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hva == MAP_FAILED)
		check("mmap", -1);
	region.userspace_addr = (uintptr_t)hva;
	region.guest_memfd = gmem;
	check("KVM_SET_USER_MEMORY_REGION2", ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region));
	set_private(vm, 0, MEMORY, 1);
	load();

	vcpu = check("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	size = check("KVM_GET_VCPU_MMAP_SIZE", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		check("mmap", -1);
	check("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	check("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &sregs));
	check("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));

	for (;;) {
		check("KVM_RUN", ioctl(vcpu, KVM_RUN, 0));
		switch (run->exit_reason) {
		case KVM_EXIT_HYPERCALL:
			if (run->hypercall.nr != KVM_HC_MAP_GPA_RANGE ||
			    run->hypercall.args[0] % PAGE ||
			    run->hypercall.args[0] >= MEMORY ||
			    run->hypercall.args[1] > (MEMORY - run->hypercall.args[0]) / PAGE) {
				run->hypercall.ret = -KVM_EINVAL;
				break;
			}
			convert(vm, run->hypercall.args[0], run->hypercall.args[1] * PAGE,
				!!(run->hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED));
			run->hypercall.ret = 0;
			break;
		case KVM_EXIT_IO:
			seen = *(volatile int *)(hva + SHARED);
			*(volatile int *)(hva + SHARED) = 1000 * seen;
			break;
		case KVM_EXIT_HLT:
			check("KVM_GET_REGS", ioctl(vcpu, KVM_GET_REGS, &regs));
			printf("the guest shared %d, and keeps %u\n", seen, (unsigned int)regs.rsi);
			return seen == 42 && regs.rsi == 42000 ? 0 : 1;
		case KVM_EXIT_MEMORY_FAULT:
			/* KVM_RUN has failed with EFAULT: an address that nobody backs. */
		default:
			printf("unexpected exit %u\n", run->exit_reason);
			return 1;
		}
	}
}
