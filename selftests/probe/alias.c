// SPDX-License-Identifier: GPL-2.0
/* Other addresses of pages, and what they leave in TLBs. */
#include <linux/atomic.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "internal.h"

/* Aliases, for NDM_IOC_OWN and NDM_IOC_ALIAS */

struct alias_reads {
	void *addr;
	atomic_t nr;
};

static void read_alias(void *data)
{
	struct alias_reads *reads = data;
	u64 word;

	if (!copy_from_kernel_nofault(&word, reads->addr, sizeof(word)))
		atomic_inc(&reads->nr);
}

static unsigned int reads_of_alias(void *addr)
{
	struct alias_reads reads = { .addr = addr };

	on_each_cpu(read_alias, &reads, 1);
	return atomic_read(&reads.nr);
}

/* NDM_IOC_OWN */

void own_free(struct session *s)
{
	if (!s->own)
		return;

	/* A block that can't be put back is better leaked. */
	if (!s->own_removed || !set_valid_noflush(s->own, BLOCK_PAGES, true))
		__free_pages(s->own, ilog2(BLOCK_PAGES));
	s->own_removed = false;
	s->own = NULL;
}

/* What it leaves in TLBs is the business of who uses the block next. */
static long own_alias(struct session *s)
{
	struct page *pages[64];
	unsigned int i;
	void *addr;

	if ((probed & 3) != 3)
		return -EOPNOTSUPP;
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = s->own + i;
	addr = vmap(pages, ARRAY_SIZE(pages), VM_MAP, PAGE_KERNEL);
	if (!addr)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		s->aliases[i] = addr + i * PAGE_SIZE;
		reads_of_alias(s->aliases[i]);
	}
	s->nr_aliases = i;
	WRITE_ONCE(own_alias_flushed, false);
	WRITE_ONCE(own_alias_start, (unsigned long)addr);
	WRITE_ONCE(own_alias_end, own_alias_start + i * PAGE_SIZE);
	vunmap(addr);
	return 0;
}

long do_own(struct session *s, struct ndm_own *arg)
{
	unsigned long addr;
	int err;

	if (!set_valid_noflush || !flush_range)
		return -EOPNOTSUPP;
	if (arg->op == NDM_OWN_ALLOC) {
		if (s->own)
			return -EBUSY;
		s->own = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN,
				     ilog2(BLOCK_PAGES));
		if (!s->own)
			return -ENOMEM;
		arg->pfn = page_to_pfn(s->own);
		return 0;
	}

	if (!s->own)
		return -EINVAL;
	addr = (unsigned long)page_address(s->own);

	switch (arg->op) {
	case NDM_OWN_REMOVE:
		err = set_valid_noflush(s->own, BLOCK_PAGES, false);
		s->own_removed = true;
		return err;
	case NDM_OWN_FLUSH:
		flush_range(addr, addr + BLOCK_PAGES * PAGE_SIZE);
		return 0;
	case NDM_OWN_FREE:
		own_free(s);
		return 0;
	case NDM_OWN_ALIAS:
		return own_alias(s);
	}
	return -EINVAL;
}

/* NDM_IOC_ALIAS */
static bool alias_in_tables(void *addr)
{
	unsigned int level;
	unsigned long flags;
	u64 *pte;
	bool found;

	local_irq_save(flags);
	pte = kernel_entry((unsigned long)addr, &level);
	found = pte && entry_present(READ_ONCE(*pte));
	local_irq_restore(flags);
	return found;
}

/* Others may get to use the address: then it isn't the TLBs who have it. */
static unsigned int stale_reads_of_alias(void *addr)
{
	unsigned int nr;

	if (alias_in_tables(addr))
		return 0;
	nr = reads_of_alias(addr);
	return alias_in_tables(addr) ? 0 : nr;
}

long do_alias(struct session *s, struct ndm_alias *arg)
{
	struct file *file;
	struct folio *folio;
	long ret = 0;
	void *addr;
	u32 i;

	if (!alias_map || !alias_unmap)
		return -EOPNOTSUPP;
	if (arg->rounds > NDM_ALIAS_MAX)
		return -EINVAL;

	file = fget(arg->fd);
	if (!file)
		return -EBADF;
	if (arg->rounds)
		s->nr_aliases = 0;

	arg->reads = 0;
	arg->stale = 0;
	for (i = 0; i < arg->rounds; i++) {
		folio = filemap_lock_folio(file->f_mapping, arg->index);
		if (IS_ERR(folio)) {
			ret = PTR_ERR(folio);
			break;
		}
		addr = alias_map(folio, 0);
		folio_unlock(folio);
		if (IS_ERR(addr)) {
			folio_put(folio);
			ret = PTR_ERR(addr);
			break;
		}

		arg->reads += reads_of_alias(addr);
		alias_unmap(folio, addr);
		folio_put(folio);
		s->aliases[s->nr_aliases++] = addr;
	}
	for (i = 0; i < s->nr_aliases; i++)
		arg->stale += stale_reads_of_alias(s->aliases[i]);
	arg->own_flushed = READ_ONCE(own_alias_flushed);

	fput(file);
	return ret;
}
