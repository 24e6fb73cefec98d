// SPDX-License-Identifier: GPL-2.0
/* Sets vCPUs up, runs them and handles their exits. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/kvm_para.h>

#include "end.h"
#include "machine.h"
#include "memory.h"
#include "serial.h"
#include "vcpu.h"

#define MAX_CPUID	256

#define CR0_PE		(1ul << 0)
#define CR0_ET		(1ul << 4)
#define CR0_NE		(1ul << 5)
#define CR0_PG		(1ul << 31)
#define CR4_PAE		(1ul << 5)
#define EFER_LME	(1ul << 8)
#define EFER_LMA	(1ul << 10)

#define CPUID_1_ECX_TSC_DEADLINE	(1u << 24)
#define CPUID_1_ECX_HYPERVISOR		(1u << 31)

struct vcpu {
	unsigned int id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool stopped;
};

static struct vcpu vcpus[VMM_MAX_CPUS];
static unsigned int nr_vcpus;
static struct memory *guest_memory;
static uint16_t pm1_enable;
static bool stop;

/* All that KVM offers, its paravirtual features included. */
static void set_cpuid(int kvm, struct vcpu *vcpu)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[MAX_CPUID];
	} cpuid = { .head.nent = MAX_CPUID };
	struct kvm_cpuid_entry2 *e;
	unsigned int i;

	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid))
		die("KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	for (i = 0; i < cpuid.head.nent; i++) {
		e = &cpuid.entries[i];
		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0xffff) | nr_vcpus << 16 |
				 vcpu->id << 24;
			e->ecx |= CPUID_1_ECX_HYPERVISOR;
			if (ioctl(kvm, KVM_CHECK_EXTENSION,
				  KVM_CAP_TSC_DEADLINE_TIMER) > 0)
				e->ecx |= CPUID_1_ECX_TSC_DEADLINE;
			break;
		/* Each vCPU is a core of its own. */
		case 0xb:
		case 0x1f:
			e->eax = e->index ? 4 : 0;
			e->ebx = e->index ? nr_vcpus : 1;
			e->ecx = e->index | (e->index ? 2 : 1) << 8;
			e->edx = vcpu->id;
			if (e->index > 1)
				e->eax = e->ebx = e->ecx = 0;
			break;
		case 0x80000008:
			e->ecx = (e->ecx & ~0xf0ffu) | 2 << 12 |
				 (nr_vcpus - 1);
			break;
		case 0x8000001e:
			e->eax = vcpu->id;
			e->ebx = vcpu->id;
			e->ecx = 0;
			break;
		case KVM_CPUID_FEATURES:
			if (guest_memory->backing == BACKING_NO_DIRECT_MAP)
				e->eax |= 1u << KVM_FEATURE_HC_MAP_GPA_RANGE;
			break;
		}
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid))
		die("KVM_SET_CPUID2: %s", strerror(errno));
}

/* As the 64-bit boot protocol wants it; the other vCPUs wait for their SIPI. */
static void set_registers(struct vcpu *vcpu, uint64_t entry)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x10, .type = 0xb,
		.present = 1, .s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x18, .type = 0x3,
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = entry,
		.rsi = GPA_ZERO_PAGE,
		.rsp = GPA_ZERO_PAGE,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		die("KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr.type = 0xb;
	sregs.gdt.base = GPA_GDT;
	sregs.gdt.limit = 4 * 8 - 1;
	sregs.idt.limit = 0;
	sregs.cr3 = GPA_PAGE_TABLES;
	sregs.cr4 = CR4_PAE;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		die("KVM_SET_SREGS: %s", strerror(errno));
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS: %s", strerror(errno));
}

static void reset(enum vmm_end how)
{
	end_here(serial_saw_panic() ? END_PANIC : how);
}

static void port_out(unsigned int port, unsigned int size,
		     uint32_t value)
{
	if (port >= PORT_SERIAL && port < PORT_SERIAL + 8) {
		serial_out(port - PORT_SERIAL, value);
		return;
	}
	switch (port) {
	case PORT_KBD:
		if ((value & 0xff) == KBD_RESET)
			reset(END_RESET);
		break;
	case PORT_PM1_EVENT + 2:
		pm1_enable = value;
		break;
	case PORT_PM1_CTRL:
		if ((value & PM1_SLP_EN) && PM1_SLP_TYP(value) == SLP_TYP_OFF)
			end_here(END_POWEROFF);
		break;
	}
}

/* Where nothing is, all lines are high. */
static uint32_t port_in(unsigned int port)
{
	if (port >= PORT_SERIAL && port < PORT_SERIAL + 8)
		return serial_in(port - PORT_SERIAL);
	switch (port) {
	case PORT_KBD:
	case PORT_PM1_EVENT:
		return 0;
	case PORT_PM1_EVENT + 2:
		return pm1_enable;
	case PORT_PM1_CTRL:
		return PM1_SCI_EN;
	}
	return ~0u;
}

static void handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t value, i;

	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			value = 0;
			memcpy(&value, data, run->io.size);
			port_out(run->io.port, run->io.size, value);
		} else {
			value = port_in(run->io.port);
			memcpy(data, &value, run->io.size);
		}
	}
}

static void handle_hypercall(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->hypercall.nr != KVM_HC_MAP_GPA_RANGE) {
		run->hypercall.ret = -KVM_ENOSYS;
		return;
	}
	run->hypercall.ret = memory_convert(guest_memory, run->hypercall.args[0],
					    run->hypercall.args[1],
					    run->hypercall.args[2] &
					    KVM_MAP_GPA_RANGE_ENCRYPTED);
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		/* No device there: all lines are high. */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		break;
	case KVM_EXIT_HYPERCALL:
		handle_hypercall(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		reset(END_TRIPLE);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		die("vCPU %u: KVM's internal error %u (0x%llx)", vcpu->id,
		    run->internal.suberror, run->internal.ndata ?
		    (unsigned long long)run->internal.data[0] : 0);
	case KVM_EXIT_FAIL_ENTRY:
		die("vCPU %u can't be entered: hardware reason 0x%llx", vcpu->id,
		    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	default:
		die("vCPU %u: unexpected exit, reason %u", vcpu->id,
		    run->exit_reason);
	}
}

static void *vcpu_thread(void *data)
{
	struct vcpu *vcpu = data;
	struct kvm_run *run = vcpu->run;
	int err;

	for (;;) {
		if (!ioctl(vcpu->fd, KVM_RUN, NULL)) {
			handle_exit(vcpu);
			continue;
		}
		err = errno;
		if (__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
			break;
		if (err == EINTR || err == EAGAIN)
			continue;
		if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
			die("vCPU %u: no memory for %s page at 0x%llx: %s", vcpu->id,
			    run->memory_fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE ?
			    "the private" : "the shared",
			    (unsigned long long)run->memory_fault.gpa, strerror(err));
		die("vCPU %u: KVM_RUN: %s", vcpu->id, strerror(err));
	}
	__atomic_store_n(&vcpu->stopped, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void interrupt(int sig)
{
}

void vcpus_report(void)
{
	struct sigaction sa = { .sa_handler = interrupt };
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	unsigned int i, tries;

	sigaction(SIGUSR1, &sa, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < nr_vcpus; i++) {
		vcpus[i].run->immediate_exit = 1;
		pthread_kill(vcpus[i].thread, SIGUSR1);
	}
	for (i = 0; i < nr_vcpus; i++) {
		/* KVM lets nobody else look at a vCPU that runs. */
		for (tries = 0; tries < 20; tries++) {
			if (__atomic_load_n(&vcpus[i].stopped, __ATOMIC_SEQ_CST))
				break;
			usleep(100000);
		}
		if (tries == 20)
			fprintf(stderr, "vmm: vCPU %u does not stop\n", i);
		else if (!ioctl(vcpus[i].fd, KVM_GET_REGS, &regs) &&
			 !ioctl(vcpus[i].fd, KVM_GET_SREGS, &sregs))
			fprintf(stderr, "vmm: vCPU %u: rip 0x%llx rsp 0x%llx rflags 0x%llx cr2 0x%llx cr3 0x%llx\n",
				i, regs.rip, regs.rsp, regs.rflags, sregs.cr2, sregs.cr3);
	}
}

void vcpus_start(int kvm, struct memory *memory, unsigned int nr, uint64_t entry)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	struct vcpu *vcpu;
	unsigned int i;

	if (size < 0)
		die("KVM_GET_VCPU_MMAP_SIZE: %s", strerror(errno));
	guest_memory = memory;
	nr_vcpus = nr;
	for (i = 0; i < nr_vcpus; i++) {
		vcpu = &vcpus[i];
		vcpu->id = i;
		vcpu->fd = ioctl(memory->vm, KVM_CREATE_VCPU, i);
		if (vcpu->fd < 0)
			die("KVM_CREATE_VCPU %u: %s", i, strerror(errno));
		vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
				 vcpu->fd, 0);
		if (vcpu->run == MAP_FAILED)
			die("cannot map vCPU %u: %s", i, strerror(errno));
		set_cpuid(kvm, vcpu);
	}
	set_registers(&vcpus[0], entry);
	for (i = 0; i < nr_vcpus; i++) {
		if (pthread_create(&vcpus[i].thread, NULL, vcpu_thread, &vcpus[i]))
			die("cannot start a thread for vCPU %u", i);
	}
}
