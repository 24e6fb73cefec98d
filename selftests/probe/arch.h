/* SPDX-License-Identifier: GPL-2.0 */
/* How the page tables of an architecture are read. */
#ifndef NDM_PROBE_ARCH_H
#define NDM_PROBE_ARCH_H

#include <linux/mm.h>
#include <linux/pgtable.h>

#ifdef CONFIG_X86_64

static inline u64 *kernel_entry(unsigned long addr, unsigned int *level)
{
	return (u64 *)lookup_address(addr, level);
}

static inline bool entry_present(u64 entry)
{
	return entry & _PAGE_PRESENT;
}

static inline bool entry_global(u64 entry)
{
	return entry & _PAGE_GLOBAL;
}
#endif

#ifdef CONFIG_ARM64
#include <asm/sysreg.h>
#include <asm/tlbflush.h>

/* What x86 calls them. */
#define PG_LEVEL_4K	1
#define PG_LEVEL_2M	2
#define PG_LEVEL_1G	3

/* The page table that this CPU uses, which is nobody's to tell but the CPU's. */
static inline u64 *kernel_entry(unsigned long addr, unsigned int *level)
{
	pgd_t *pgd;
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	*level = 0;
	/* There's no page of RAM before the linear map, __va() notwithstanding. */
	if (addr < _PAGE_OFFSET(vabits_actual))
		return NULL;

	pgd = phys_to_virt(read_sysreg(ttbr1_el1) & GENMASK_ULL(47, PAGE_SHIFT));
	pgd = pgd_offset_pgd(pgd, addr);
	if (!pgd_present(READ_ONCE(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (!p4d_present(READ_ONCE(*p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(READ_ONCE(*pud)))
		return NULL;
	*level = PG_LEVEL_1G;
	if (!(pud_val(READ_ONCE(*pud)) & PTE_VALID) || pud_leaf(READ_ONCE(*pud)))
		return (u64 *)pud;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(READ_ONCE(*pmd)))
		return NULL;
	*level = PG_LEVEL_2M;
	if (!(pmd_val(READ_ONCE(*pmd)) & PTE_VALID) || pmd_leaf(READ_ONCE(*pmd)))
		return (u64 *)pmd;
	*level = PG_LEVEL_4K;
	return (u64 *)pte_offset_kernel(pmd, addr);
}

static inline bool entry_present(u64 entry)
{
	return entry & PTE_VALID;
}

static inline bool entry_global(u64 entry)
{
	return !(entry & PTE_NG);
}
#endif

#endif
