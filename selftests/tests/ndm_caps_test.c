// SPDX-License-Identifier: GPL-2.0
/*
 * The flag is reported where it is honoured, and nowhere else; and it is
 * accepted exactly where it is reported.
 *
 * Usage: ndm_caps_test [--expect-absent] [--expect-mte] [-t TEST ...]
 *
 *   --expect-absent  the kernel was started in a way in which it can't honour
 *                    the flag, with kvm.tdp_mmu=0 or kvm_amd.npt=0, on arm64 with
 *                    rodata=noalias or kvm-arm.mode=protected, or runs on a CPU
 *                    without FEAT_S2FWB or CTR_EL0.DIC
 *   --expect-mte     arm64: there are VMs with MTE here
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "ndm_guest.h"

#define ALL_OTHER_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)
#define FLAG		GUEST_MEMFD_FLAG_NO_DIRECT_MAP

#ifndef KVM_X86_SEV_VM
#define KVM_X86_SEV_VM	2
#endif

static bool expect_absent, expect_mte;

static int check_extension(int fd, long cap)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, cap);
}

static bool try_flags(int vm, uint64_t flags)
{
	int fd = ndm_gmem_create(vm, 2 * NDM_PAGE, flags);

	if (fd < 0) {
		errno = -fd;
		return false;
	}
	close(fd);
	return true;
}

TEST(dev_kvm)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), flags;

	ASSERT_GE(kvm, 0);
	flags = check_extension(kvm, KVM_CAP_GUEST_MEMFD_FLAGS);
	EXPECT_EQ(flags & ALL_OTHER_FLAGS, ALL_OTHER_FLAGS);
	EXPECT_EQ(!(flags & FLAG), expect_absent);
	EXPECT_EQ(flags & ~(ALL_OTHER_FLAGS | FLAG), 0);
	close(kvm);
}

#ifdef __x86_64__
/* Every VM type that this machine can make. */
TEST(vm_types)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), types, type, vm;
	uint64_t offered, flags, wanted;
	bool honoured;

	ASSERT_GE(kvm, 0);
	types = check_extension(kvm, KVM_CAP_VM_TYPES);
	EXPECT_TRUE(types & (1 << KVM_X86_DEFAULT_VM));

	for (type = 0; type < 32; type++) {
		if (!(types & (1u << type)))
			continue;
		vm = ndm_vm_create(type);
		ASSERT_GE(vm, 0)
			TH_LOG("type %d", type);

		honoured = type < KVM_X86_SEV_VM && !expect_absent;
		offered = check_extension(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
		EXPECT_EQ(!!(offered & FLAG), honoured)
			TH_LOG("type %d", type);

		for (flags = 0; flags <= (ALL_OTHER_FLAGS | FLAG); flags++) {
			wanted = flags & ~offered;
			errno = 0;
			EXPECT_EQ(try_flags(vm, flags), !wanted)
				TH_LOG("type %d, flags %#llx", type,
				       (unsigned long long)flags);
			if (wanted)
				EXPECT_EQ(errno, EINVAL);
		}
		close(vm);
	}
	close(kvm);
}
#else
/* Of an ordinary VM and of one with MTE, if this machine can make one. */
TEST(vm_types)
{
	struct kvm_enable_cap mte = { .cap = KVM_CAP_ARM_MTE };
	uint64_t offered, flags;
	bool honoured, has_mte;
	int i, vm;

	for (i = 0; i < 2; i++) {
		vm = ndm_vm_create(KVM_X86_DEFAULT_VM);
		ASSERT_GE(vm, 0);
		has_mte = i && !ioctl(vm, KVM_ENABLE_CAP, &mte);
		TH_LOG("a VM with%s MTE", has_mte ? "" : "out");
		EXPECT_TRUE(has_mte || !i || !expect_mte);

		honoured = !has_mte && !expect_absent;
		offered = check_extension(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
		EXPECT_EQ(!!(offered & FLAG), honoured);
		for (flags = 0; flags <= (ALL_OTHER_FLAGS | FLAG); flags++) {
			errno = 0;
			EXPECT_EQ(try_flags(vm, flags), !(flags & ~offered))
				TH_LOG("flags %#llx", (unsigned long long)flags);
			if (flags & ~offered)
				EXPECT_EQ(errno, EINVAL);
		}
		close(vm);
	}
}
#endif

/* Bad arguments get what they get without the flag. */
TEST(bad_arguments)
{
	uint64_t flag = expect_absent ? 0 : FLAG;
	int vm = ndm_vm_create(KVM_X86_DEFAULT_VM), bit;
	static const uint64_t sizes[] = { 0, 1, NDM_PAGE - 1, NDM_PAGE + 1,
					  1ull << 63, -NDM_PAGE };
	int i;

	ASSERT_GE(vm, 0);
	for (bit = 3; bit < 64; bit++) {
		EXPECT_FALSE(try_flags(vm, (1ull << bit) | flag));
		EXPECT_EQ(errno, EINVAL);
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		EXPECT_EQ(ndm_gmem_create(vm, sizes[i], flag), -EINVAL);
	close(vm);
}

/* The flag neither gives nor takes the right to map the file. */
TEST(mmap_rights)
{
	uint64_t flag = expect_absent ? 0 : FLAG, flags;
	int vm = ndm_vm_create(KVM_X86_DEFAULT_VM), fd;
	void *mem;

	ASSERT_GE(vm, 0);
	for (flags = 0; flags <= ALL_OTHER_FLAGS; flags++) {
		fd = ndm_gmem_create(vm, NDM_PAGE, flags | flag);
		ASSERT_GE(fd, 0);

		mem = mmap(NULL, NDM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd, 0);
		EXPECT_EQ(mem != MAP_FAILED, !!(flags & GUEST_MEMFD_FLAG_MMAP));
		if (mem != MAP_FAILED)
			munmap(mem, NDM_PAGE);
		mem = mmap(NULL, NDM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			   fd, 0);
		EXPECT_EQ(mem, MAP_FAILED);
		close(fd);
	}
	close(vm);
}

/* Everything else works in either case. */
TEST(ordinary_guest)
{
	const struct ndm_kind kind = NDM_ORDINARY;
	struct ndm_check res;
	struct ndm_guest g;
	int probe;

	probe = ndm_probe_open();
	ASSERT_EQ(ndm_guest_open(&g, &kind, 16 * NDM_PAGE), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_ZERO, 0, g.file.size), 0);
	EXPECT_EQ(ndm_guest_run(&g, NDM_GUEST_WRITE, 0, g.file.size), 0);
	EXPECT_EQ(ndm_secret_differs(g.file.map, g.file.size, g.seed), 0);
	ndm_check_file(probe, g.file.fd, 0, 16, NULL, NULL, &res);
	EXPECT_EQ(res.present, 16);
	EXPECT_EQ(res.mapped, 16);
	ndm_guest_close(&g);
	close(probe);
}

TEST(secretmem)
{
	const struct ndm_kind kind = NDM_SECRETMEM;
	struct ndm_check res;
	struct ndm_file f;
	int probe, err;

	probe = ndm_probe_open();
	err = ndm_open(&f, &kind, 16 * NDM_PAGE);
	/* Where the direct map can't be changed at all. */
	if (err == -ENOSYS && expect_absent)
		return;
	ASSERT_EQ(err, 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	ndm_check_file(probe, f.fd, 0, 16, NULL, NULL, &res);
	EXPECT_EQ(res.present, 16);
	EXPECT_EQ(res.mapped, 0);
	EXPECT_EQ(res.readable, 0);
	ndm_close(&f);
	close(probe);
}

int main(int argc, char **argv)
{
	int i, n = 1;

	/* Ours are not for the harness. */
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--expect-absent"))
			expect_absent = true;
		else if (!strcmp(argv[i], "--expect-mte"))
			expect_mte = true;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	argc = n;
	ndm_require(argv[0], NDM_NEED_PROBE);
	return test_harness_run(argc, argv);
}
