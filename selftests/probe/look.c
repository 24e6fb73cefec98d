// SPDX-License-Identifier: GPL-2.0
/* What the page tables say of a page of the direct map, and what can be read. */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "internal.h"

unsigned long end_pfn(void)
{
	return PHYS_PFN(__pa((unsigned long)high_memory - 1)) + 1;
}

/*
 * The page table's view: the level of the entry and, if it is present, the entry.
 * Interrupts are off because the kernel frees page tables of the direct map, when it
 * collapses them, after a flush which waits for all CPUs.
 */
static unsigned int direct_map_entry(unsigned long pfn, u64 *entry)
{
	unsigned int level = 0;
	unsigned long flags;
	u64 *pte;

	local_irq_save(flags);
	pte = kernel_entry((unsigned long)pfn_to_kaddr(pfn), &level);
	*entry = pte ? READ_ONCE(*pte) : 0;
	if (!entry_present(*entry))
		*entry = 0;
	local_irq_restore(flags);

	return pte ? level : 0;
}

unsigned int direct_map_level(unsigned long pfn, bool *present)
{
	u64 entry;
	unsigned int level = direct_map_entry(pfn, &entry);

	*present = entry;
	return level;
}

/*
 * The same for a block: its 4K entries, if it has any, lie side by side.
 * Returns the level of the first page.
 */
unsigned int block_level(unsigned long pfn, u64 present[BLOCK_PAGES / 64])
{
	unsigned int i, level = 0;
	unsigned long flags;
	u64 *pte;

	memset(present, 0, BLOCK_PAGES / 8);

	local_irq_save(flags);
	pte = kernel_entry((unsigned long)pfn_to_kaddr(pfn), &level);
	if (pte && level == PG_LEVEL_4K) {
		for (i = 0; i < BLOCK_PAGES; i++) {
			if (entry_present(READ_ONCE(pte[i])))
				present[i / 64] |= 1ull << (i % 64);
		}
	} else if (pte && entry_present(READ_ONCE(*pte))) {
		memset(present, 0xff, BLOCK_PAGES / 8);
	}
	local_irq_restore(flags);

	return pte ? level : 0;
}

static bool readable(unsigned long pfn)
{
	u64 word;

	/* The last word, because it is the last one that zeroing reaches. */
	return !copy_from_kernel_nofault(&word, pfn_to_kaddr(pfn) + PAGE_SIZE -
					 sizeof(word), sizeof(word));
}

/*
 * Look for the pattern in place: a copy would be found by the next search, and
 * would take twice as long.  Returns false if the page can't be read.
 */
bool look(unsigned long pfn, unsigned int first, const u64 *inverted,
	  bool *nonzero, bool *hit)
{
	u64 *word = (u64 *)pfn_to_kaddr(pfn);
	unsigned int i, j;
	u64 value;

	*nonzero = false;
	*hit = false;

	pagefault_disable();
	for (i = first; i < PAGE_WORDS; i++) {
		__get_kernel_nofault(&value, word + i, u64, fault);
		if (!value)
			continue;
		*nonzero = true;
		if (~value != inverted[0] ||
		    i + NDM_PATTERN_WORDS > PAGE_WORDS)
			continue;
		for (j = 1; j < NDM_PATTERN_WORDS; j++) {
			__get_kernel_nofault(&value, word + i + j, u64, fault);
			if (~value != inverted[j])
				break;
		}
		if (j == NDM_PATTERN_WORDS) {
			*hit = true;
			break;
		}
	}
	pagefault_enable();
	return true;

fault:
	pagefault_enable();
	return false;
}

/* NDM_IOC_CHECK */

struct batch {
	u64 pfns[BATCH];
	u32 states[BATCH];
	/* Written by all CPUs, with the same value: no need to be atomic. */
	u8 readable[BATCH];
	struct folio *folios[BATCH];
	unsigned int nr;
};

static void read_batch(void *data)
{
	struct batch *batch = data;
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		if ((batch->states[i] & NDM_PRESENT) &&
		    readable(batch->pfns[i]))
			WRITE_ONCE(batch->readable[i], 1);
	}
}

static void check_batch(struct batch *batch, struct ndm_check *arg)
{
	unsigned int i, level;
	bool nonzero, hit;
	struct page *page;
	u64 entry;
	u32 state;

	memset(batch->readable, 0, sizeof(batch->readable));
	on_each_cpu(read_batch, batch, 1);

	for (i = 0; i < batch->nr; i++) {
		state = batch->states[i];
		if (!(state & NDM_PRESENT))
			continue;

		level = direct_map_entry(batch->pfns[i], &entry);
		state |= level << 8;
		if (entry)
			state |= NDM_MAPPED;
		if (entry && entry_global(entry))
			state |= NDM_GLOBAL;
		if (batch->readable[i])
			state |= NDM_READABLE;
		if ((arg->flags & NDM_CHECK_CONTENTS) && batch->readable[i] &&
		    look(batch->pfns[i], 0, arg->inverted, &nonzero, &hit)) {
			if (nonzero)
				state |= NDM_NONZERO;
			if (hit)
				state |= NDM_HIT;
		}

		page = pfn_to_page(batch->pfns[i]);
		if (PageHWPoison(page))
			state |= NDM_POISONED;
		if (!batch->folios[i] && !page_count(page))
			state |= NDM_FREE;
		batch->states[i] = state;

		arg->present++;
		arg->mapped += !!(state & NDM_MAPPED);
		arg->readable += !!(state & NDM_READABLE);
		arg->nonzero += !!(state & NDM_NONZERO);
		arg->hits += !!(state & NDM_HIT);
		arg->large += (state & NDM_MAPPED) && level > PG_LEVEL_4K;
	}
}

static void fill_from_file(struct batch *batch, struct address_space *mapping,
			   pgoff_t index)
{
	struct folio *folio;
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		batch->states[i] = 0;
		batch->pfns[i] = 0;

		folio = filemap_get_folio(mapping, index + i);
		batch->folios[i] = IS_ERR(folio) ? NULL : folio;
		if (!batch->folios[i])
			continue;

		batch->states[i] = NDM_PRESENT;
		batch->pfns[i] = page_to_pfn(folio_file_page(folio, index + i));
	}
}

static int fill_from_user(struct batch *batch, u64 __user *pfns)
{
	unsigned int i;

	if (copy_from_user(batch->pfns, pfns, batch->nr * sizeof(*pfns)))
		return -EFAULT;

	for (i = 0; i < batch->nr; i++) {
		batch->folios[i] = NULL;
		batch->states[i] = pfn_valid(batch->pfns[i]) &&
				   batch->pfns[i] < end_pfn() ? NDM_PRESENT : 0;
	}
	return 0;
}

long do_check(struct ndm_check *arg)
{
	u32 __user *states = u64_to_user_ptr(arg->states);
	u64 __user *pfns = u64_to_user_ptr(arg->pfns);
	struct file *file = NULL;
	struct batch *batch;
	unsigned int i;
	long ret = 0;
	u64 done;

	if (arg->flags & ~NDM_CHECK_CONTENTS)
		return -EINVAL;
	if (arg->fd < 0 && !arg->pfns)
		return -EINVAL;

	batch = kvzalloc_obj(*batch);
	if (!batch)
		return -ENOMEM;

	if (arg->fd >= 0) {
		file = fget(arg->fd);
		if (!file) {
			kvfree(batch);
			return -EBADF;
		}
	}

	arg->present = 0;
	arg->mapped = 0;
	arg->readable = 0;
	arg->nonzero = 0;
	arg->hits = 0;
	arg->large = 0;

	for (done = 0; done < arg->count && !ret; done += batch->nr) {
		batch->nr = min_t(u64, BATCH, arg->count - done);
		if (file)
			fill_from_file(batch, file->f_mapping, arg->index + done);
		else
			ret = fill_from_user(batch, pfns + done);
		if (ret)
			break;

		check_batch(batch, arg);

		for (i = 0; i < batch->nr; i++) {
			if (batch->folios[i])
				folio_put(batch->folios[i]);
		}

		if (file && arg->pfns &&
		    copy_to_user(pfns + done, batch->pfns,
				 batch->nr * sizeof(*pfns)))
			ret = -EFAULT;
		if (states && copy_to_user(states + done, batch->states,
					   batch->nr * sizeof(*states)))
			ret = -EFAULT;
		if (fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}

	if (file)
		fput(file);
	kvfree(batch);
	return ret;
}
