/* SPDX-License-Identifier: GPL-2.0 */
/* The machine that the guest finds: what is where. */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#define VMM_PAGE	4096ul
#define VMM_MAX_CPUS	4

/* In the guest's memory. */
#define GPA_GDT		0x6000
#define GPA_ZERO_PAGE	0x7000
#define GPA_PAGE_TABLES	0x9000		/* 6 pages */
#define GPA_CMDLINE	0x20000
#define GPA_LOW_END	0x9f000
#define GPA_ACPI	0xe0000
#define GPA_HIGH	0x100000

/* I/O ports and interrupts. */
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

#endif
