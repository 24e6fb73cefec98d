// SPDX-License-Identifier: GPL-2.0
/*
 * Loads a bzImage as Documentation/arch/x86/boot.rst has it (64-bit protocol)
 * and writes what Linux wants to find in memory: page tables, a GDT, the zero
 * page, and the ACPI tables that tell of vCPUs and of how to power off.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <asm/bootparam.h>

#include "boot.h"
#include "end.h"
#include "machine.h"

#define E820_RAM	1
#define E820_RESERVED	2

#define PTE_TABLE	0x3ull		/* present, writable */
#define PTE_LARGE	0x83ull

static void *map_file(const char *path, size_t *size)
{
	struct stat st;
	void *data;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !st.st_size)
		die("%s: not a file, or empty", path);
	*size = st.st_size;
	data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return data;
}

/* The first 4 GiB, each address at itself. */
static void write_page_tables(struct memory *memory)
{
	uint64_t table[512] = {};
	unsigned int i, j;

	table[0] = (GPA_PAGE_TABLES + VMM_PAGE) | PTE_TABLE;
	memory_write(memory, GPA_PAGE_TABLES, table, sizeof(table));
	for (i = 0; i < 4; i++)
		table[i] = (GPA_PAGE_TABLES + (2 + i) * VMM_PAGE) | PTE_TABLE;
	memory_write(memory, GPA_PAGE_TABLES + VMM_PAGE, table, sizeof(table));
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 512; j++)
			table[j] = ((uint64_t)(i * 512 + j) << 21) | PTE_LARGE;
		memory_write(memory, GPA_PAGE_TABLES + (2 + i) * VMM_PAGE, table,
			     sizeof(table));
	}
}

static void write_gdt(struct memory *memory)
{
	static const uint64_t gdt[4] = {
		[2] = 0x00af9b000000ffffull,	/* __BOOT_CS */
		[3] = 0x00cf93000000ffffull,	/* __BOOT_DS */
	};

	memory_write(memory, GPA_GDT, gdt, sizeof(gdt));
}

/* ACPI: a table is a header and bytes, summing up to 0. */

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_address {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint16_t sci_irq;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control;
	uint32_t pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length;
	uint8_t pm2_control_length, pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base, cst;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day, month, century;
	uint16_t boot_flags;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_register;
	uint8_t reset_value;
	uint16_t arm_flags;
	uint8_t minor_revision;
	uint64_t xfacs, xdsdt;
	struct acpi_address xpm1a_event, xpm1b_event, xpm1a_control,
		xpm1b_control, xpm2_control, xpm_timer, xgpe0, xgpe1,
		sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

#define FADT_WBINVD		(1u << 0)
#define FADT_NO_POWER_BUTTON	(1u << 4)
#define FADT_NO_SLEEP_BUTTON	(1u << 5)
#define FADT_NO_FIXED_RTC	(1u << 6)
#define FADT_RESET		(1u << 10)
#define FADT_BOOT_LEGACY	(1u << 0)
#define FADT_BOOT_NO_VGA	(1u << 2)
#define FADT_BOOT_NO_CMOS	(1u << 5)

struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic;
	uint32_t flags;
	struct {
		uint8_t type, length, processor, apic;
		uint32_t flags;
	} __attribute__((packed)) cpu[VMM_MAX_CPUS];
	struct {
		uint8_t type, length, id, reserved;
		uint32_t address, gsi;
	} __attribute__((packed)) ioapic;
	struct {
		uint8_t type, length, bus, irq;
		uint32_t gsi;
		uint16_t flags;
	} __attribute__((packed)) sci;
} __attribute__((packed));

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

static uint8_t negative_sum(const void *data, size_t size)
{
	const uint8_t *byte = data;
	uint8_t sum = 0;

	while (size--)
		sum -= *byte++;
	return sum;
}

/* Returns the table's address; @next is that of the next. */
static uint64_t write_table(struct memory *memory, uint64_t *next, const char *signature,
			    unsigned int revision, void *table, size_t size)
{
	struct acpi_header *header = table;
	uint64_t gpa = *next;

	memcpy(header->signature, signature, 4);
	memcpy(header->oem, "NDM  ", 6);
	memcpy(header->oem_table, "NDMVMM ", 8);
	memcpy(header->creator, "NDM", 4);
	header->oem_revision = 1;
	header->creator_revision = 1;
	header->revision = revision;
	header->length = size;
	header->checksum = 0;
	header->checksum = negative_sum(table, size);
	memory_write(memory, gpa, table, size);
	*next = (gpa + size + 63) & ~63ull;
	return gpa;
}

static void write_acpi(struct memory *memory, unsigned int cpus)
{
	struct {
		struct acpi_header header;
		uint8_t aml[16];
	} __attribute__((packed)) dsdt = {
		/* Name (\_S5, Package (4) { 5, 5, 0, 0 }) */
		.aml = { 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x08, 0x04,
			 0x0a, SLP_TYP_OFF, 0x0a, SLP_TYP_OFF, 0x00, 0x00,
			 0xa3 /* Noop */ },
	};
	struct acpi_fadt fadt = {
		.sci_irq = IRQ_SCI,
		.pm1a_event = PORT_PM1_EVENT,
		.pm1a_control = PORT_PM1_CTRL,
		.pm1_event_length = 4,
		.pm1_control_length = 2,
		.c2_latency = 0xffff,
		.c3_latency = 0xffff,
		.boot_flags = FADT_BOOT_LEGACY | FADT_BOOT_NO_VGA |
			      FADT_BOOT_NO_CMOS,
		.flags = FADT_WBINVD | FADT_NO_POWER_BUTTON |
			 FADT_NO_SLEEP_BUTTON | FADT_NO_FIXED_RTC | FADT_RESET,
		.reset_register = { .space = 1, .width = 8, .access = 1,
				    .address = PORT_KBD },
		.reset_value = KBD_RESET,
		.xpm1a_event = { .space = 1, .width = 32, .access = 2,
				 .address = PORT_PM1_EVENT },
		.xpm1a_control = { .space = 1, .width = 16, .access = 2,
				   .address = PORT_PM1_CTRL },
	};
	struct acpi_madt madt = {
		.lapic = 0xfee00000,
		.flags = 1,		/* has 8259s, too */
		.ioapic = { .type = 1, .length = 12, .address = 0xfec00000 },
		/* level-triggered, active high */
		.sci = { .type = 2, .length = 10, .irq = IRQ_SCI, .gsi = IRQ_SCI,
			 .flags = 0xd },
	};
	struct {
		struct acpi_header header;
		uint64_t tables[2];
	} __attribute__((packed)) xsdt = {};
	struct acpi_rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem = { 'N', 'O', 'D', 'M', ' ', ' ' },
		.revision = 2,
		.length = sizeof(rsdp),
	};
	uint64_t next = GPA_ACPI + 64;
	unsigned int i;

	for (i = 0; i < VMM_MAX_CPUS; i++) {
		madt.cpu[i].length = 8;
		madt.cpu[i].processor = i;
		madt.cpu[i].apic = i;
		madt.cpu[i].flags = i < cpus;
	}
	fadt.xdsdt = write_table(memory, &next, "DSDT", 2, &dsdt, sizeof(dsdt));
	fadt.dsdt = fadt.xdsdt;
	xsdt.tables[0] = write_table(memory, &next, "FACP", 6, &fadt, sizeof(fadt));
	xsdt.tables[1] = write_table(memory, &next, "APIC", 4, &madt, sizeof(madt));
	rsdp.xsdt = write_table(memory, &next, "XSDT", 1, &xsdt, sizeof(xsdt));
	rsdp.checksum = negative_sum(&rsdp, offsetof(struct acpi_rsdp, length));
	rsdp.extended_checksum = negative_sum(&rsdp, sizeof(rsdp));
	memory_write(memory, GPA_ACPI, &rsdp, sizeof(rsdp));
}

static void add_e820(struct boot_params *zero_page, uint64_t start, uint64_t end,
		     uint32_t type)
{
	struct boot_e820_entry *e = &zero_page->e820_table[zero_page->e820_entries++];

	e->addr = start;
	e->size = end - start;
	e->type = type;
}

uint64_t boot_load(struct memory *memory, unsigned int cpus, const char *kernel,
		   const char *initrd, const char *append)
{
	struct boot_params zero_page = {};
	struct setup_header *header;
	size_t size, setup, initrd_size = 0;
	uint64_t initrd_gpa = 0, entry, end, top;
	void *image, *file;

	image = map_file(kernel, &size);
	header = image + offsetof(struct boot_params, hdr);
	if (size < sizeof(zero_page) || header->boot_flag != 0xaa55 ||
	    header->header != 0x53726448 /* "HdrS" */ ||
	    header->version < 0x20c || !(header->xloadflags & XLF_KERNEL_64))
		die("%s: not a bzImage of a 64-bit Linux", kernel);
	setup = ((header->setup_sects ?: 4) + 1) * 512;
	if (setup >= size)
		die("%s: truncated", kernel);
	if (strlen(append) > header->cmdline_size)
		die("the command line is longer than the kernel's %u bytes",
		    header->cmdline_size);

	/* The header reaches as far as the jump at its start does. */
	memcpy(&zero_page.hdr, header,
	       0x202 + ((uint8_t *)image)[0x201] -
	       offsetof(struct boot_params, hdr));
	end = header->pref_address + header->init_size;
	if (end > memory->size)
		die("%s needs %llu MiB of memory at least", kernel,
		    (unsigned long long)(end >> 20) + 1);
	memory_write(memory, header->pref_address, image + setup, size - setup);
	entry = header->pref_address + 0x200;

	if (initrd) {
		file = map_file(initrd, &initrd_size);
		top = (uint64_t)header->initrd_addr_max + 1;
		if (top > memory->size)
			top = memory->size;
		initrd_gpa = (top - initrd_size) & ~(VMM_PAGE - 1);
		if (initrd_size > top || initrd_gpa < end)
			die("%s: %zu MiB don't fit into the memory above the kernel",
			    initrd, initrd_size >> 20);
		memory_write(memory, initrd_gpa, file, initrd_size);
		munmap(file, initrd_size);
	}

	zero_page.hdr.type_of_loader = 0xff;
	zero_page.hdr.ramdisk_image = initrd_gpa;
	zero_page.hdr.ramdisk_size = initrd_size;
	zero_page.hdr.cmd_line_ptr = GPA_CMDLINE;
	zero_page.acpi_rsdp_addr = GPA_ACPI;
	add_e820(&zero_page, 0, GPA_LOW_END, E820_RAM);
	add_e820(&zero_page, GPA_LOW_END, GPA_HIGH, E820_RESERVED);
	add_e820(&zero_page, GPA_HIGH, memory->size, E820_RAM);

	memory_write(memory, GPA_ZERO_PAGE, &zero_page, sizeof(zero_page));
	memory_write(memory, GPA_CMDLINE, append, strlen(append) + 1);
	write_page_tables(memory);
	write_gdt(memory);
	write_acpi(memory, cpus);
	munmap(image, size);
	return entry;
}
