/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine monitor, just large enough for Linux: memory that it need
 * not map, a serial port, ACPI tables, up to four vCPUs.  See vmm.c.
 */
#ifndef VMM_H
#define VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMM_PAGE	4096ul
#define VMM_MAX_CPUS	4

/* Exit codes. */
enum vmm_end {
	END_POWEROFF	= 0,
	END_ERROR	= 1,	/* the VMM or KVM failed, or was asked for nonsense */
	END_PANIC	= 10,	/* the guest's kernel panicked, then reset */
	END_RESET	= 11,
	END_TRIPLE	= 12,	/* triple fault */
	END_TIMEOUT	= 13,
};

/* Where things lie in the guest's memory. */
#define GPA_GDT		0x6000
#define GPA_ZERO_PAGE	0x7000
#define GPA_PAGE_TABLES	0x9000		/* 6 pages */
#define GPA_CMDLINE	0x20000
#define GPA_LOW_END	0x9f000
#define GPA_ACPI	0xe0000
#define GPA_HIGH	0x100000

/* I/O ports. */
#define PORT_PM1_EVENT	0x600
#define PORT_PM1_CTRL	0x604
#define PORT_KBD	0x64
#define PORT_SERIAL	0x3f8
#define PM1_SCI_EN	(1u << 0)
#define PM1_SLP_TYP(v)	((v) >> 10 & 7)
#define PM1_SLP_EN	(1u << 13)
#define SLP_TYP_OFF	5
#define KBD_RESET	0xfe
#define IRQ_SERIAL	4
#define IRQ_SCI		9

enum backing {
	BACKING_NO_DIRECT_MAP,	/* private, KVM_X86_SW_PROTECTED_VM */
	BACKING_GUEST_MEMFD,	/* ordinary guest_memfd, for comparison */
	BACKING_ANONYMOUS,	/* as for any VM, for comparison */
};

struct vmm {
	int kvm;
	int vm;
	unsigned int cpus;

	enum backing backing;
	uint64_t memory;	/* bytes */
	int gmem;		/* -1: anonymous memory */
	char *hva;		/* of the memslot: PROT_NONE unless anonymous */
};

/* All of them end the program with one line on standard error if they fail. */
void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...);

/* memory.c */
void memory_create(struct vmm *vmm);
void memory_write(struct vmm *vmm, uint64_t gpa, const void *data, size_t size);
/* Returns 0 or -errno; the guest asks for it. */
int memory_convert(struct vmm *vmm, uint64_t gpa, uint64_t pages, bool private);

/* boot.c */
void boot_load(struct vmm *vmm, const char *kernel, const char *initrd,
	       const char *append);
uint64_t boot_entry(void);

/* vcpu.c */
void vcpus_start(struct vmm *vmm);
/* Stops the vCPUs and prints where they were. */
void vcpus_report(struct vmm *vmm);

/* serial.c */
void serial_out(struct vmm *vmm, unsigned int reg, uint8_t value);
uint8_t serial_in(struct vmm *vmm, unsigned int reg);
/* Returns how many of the characters were taken. */
size_t serial_receive(struct vmm *vmm, const char *data, size_t size);
bool serial_saw_panic(void);

/* vmm.c */
void vmm_end(enum vmm_end end);
/* There is room for input again. */
void vmm_input_wanted(void);

#endif
