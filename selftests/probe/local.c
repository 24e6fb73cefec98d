// SPDX-License-Identifier: GPL-2.0
/* Mappings that only one CPU has. */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "internal.h"

/* NDM_IOC_LOCAL, NDM_IOC_NEW_CPU */

#ifdef CONFIG_CPU_LOCAL_MAP
static pteval_t pte_in_mm(struct mm_struct *mm, unsigned long addr)
{
	unsigned int level;
	pte_t *pte = lookup_in_pgd(pgd_offset(mm, addr), addr, &level);

	return pte && level == PG_LEVEL_4K ? pte_val(READ_ONCE(*pte)) : 0;
}

long do_local(struct ndm_local *arg)
{
	struct cpu_local_map map;
	struct mm_struct *mm;
	struct folio *folio;
	struct page *page;
	struct file *file;
	pteval_t pte;
	u64 tlb_gen;
	int err;

	if (!local_init || !local_map || !local_unmap || !lookup_in_pgd)
		return -EOPNOTSUPP;
	err = local_init();
	if (err)
		return err;

	file = fget(arg->fd);
	if (!file)
		return -EBADF;
	folio = filemap_lock_folio(file->f_mapping, arg->index);
	fput(file);
	if (IS_ERR(folio))
		return PTR_ERR(folio);
	page = folio_file_page(folio, arg->index);

	/* The mm is for keeps, and only this CPU changes its page tables. */
	preempt_disable();
	arg->addr = (unsigned long)local_map(&map, &page, 1);
	mm = virt_to_ptdesc(__va(read_cr3_pa()))->pt_mm;
	tlb_gen = atomic64_read(&mm->context.tlb_gen);
	pte = pte_in_mm(mm, arg->addr);
	local_unmap(&map);

	arg->state = 0;
	if ((pte & _PAGE_PRESENT) && pte_pfn(__pte(pte)) == page_to_pfn(page))
		arg->state |= NDM_LOCAL_MAPPED;
	if (pte & _PAGE_GLOBAL)
		arg->state |= NDM_LOCAL_GLOBAL;
	if (pte_in_mm(mm, arg->addr))
		arg->state |= NDM_LOCAL_LEFT;
	/* This CPU flushes when it loads the mm the next time. */
	if (atomic64_read(&mm->context.tlb_gen) != tlb_gen)
		arg->state |= NDM_LOCAL_FLUSHED;
	preempt_enable();

	folio_unlock(folio);
	folio_put(folio);
	return 0;
}

static struct page *new_cpu_page;
static unsigned int new_cpu_mapped;

static int new_cpu_online(unsigned int cpu)
{
	struct cpu_local_map map;

	memset(local_map(&map, &new_cpu_page, 1), cpu, PAGE_SIZE);
	local_unmap(&map);
	new_cpu_mapped += !memchr_inv(page_address(new_cpu_page), cpu, PAGE_SIZE);
	return 0;
}

/* Some other architecture's callback, of about the first that a new CPU calls. */
#define NEW_CPU_STATE	CPUHP_AP_ARM_MVEBU_SYNC_CLOCKS

long do_new_cpu(struct ndm_new_cpu *arg)
{
	static DEFINE_MUTEX(lock);
	int err;

	if (!local_init || !local_map || !local_unmap)
		return -EOPNOTSUPP;
	if (arg->cpu >= nr_cpu_ids || !cpu_present(arg->cpu))
		return -EINVAL;
	err = local_init();
	if (err)
		return err;

	guard(mutex)(&lock);

	new_cpu_mapped = 0;
	new_cpu_page = alloc_page(GFP_KERNEL);
	if (!new_cpu_page)
		return -ENOMEM;
	err = cpuhp_setup_state_nocalls(NEW_CPU_STATE, "ndm_probe", new_cpu_online, NULL);
	if (!err) {
		err = add_cpu(arg->cpu);
		cpuhp_remove_state_nocalls(NEW_CPU_STATE);
	}
	__free_page(new_cpu_page);
	arg->mapped = new_cpu_mapped;
	return err;
}
#else
long do_local(struct ndm_local *arg)
{
	return -EOPNOTSUPP;
}

long do_new_cpu(struct ndm_new_cpu *arg)
{
	return -EOPNOTSUPP;
}
#endif
