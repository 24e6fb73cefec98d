// SPDX-License-Identifier: GPL-2.0
/* All of the direct map: which entries are missing, and where a pattern is. */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "internal.h"

/* NDM_IOC_MAP */

long do_map(struct ndm_map *arg)
{
	u64 __user *bitmap = u64_to_user_ptr(arg->bitmap);
	u8 __user *levels = u64_to_user_ptr(arg->levels);
	u64 present[BLOCK_PAGES / 64], pfn, end;
	unsigned int i, level, nr;

	arg->end = end_pfn();
	arg->missing = 0;
	end = arg->count ? min(arg->start + arg->count, arg->end) : arg->end;
	if (arg->start % BLOCK_PAGES)
		return -EINVAL;

	for (pfn = arg->start; pfn < end; pfn += BLOCK_PAGES) {
		nr = min_t(u64, BLOCK_PAGES, end - pfn);
		level = block_level(pfn, present);
		for (i = nr; i < BLOCK_PAGES; i++)
			present[i / 64] &= ~(1ull << (i % 64));
		/* A block of RAM is one subsection: all of it is valid or none. */
		if (pfn_valid(pfn)) {
			arg->missing += nr;
			for (i = 0; i < BLOCK_PAGES / 64; i++)
				arg->missing -= hweight64(present[i]);
		}

		if (bitmap && copy_to_user(bitmap + (pfn - arg->start) / 64,
					   present, DIV_ROUND_UP(nr, 64) * 8))
			return -EFAULT;
		if (levels && put_user((u8)level, levels + (pfn - arg->start) /
						  BLOCK_PAGES))
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

/* NDM_IOC_SCAN */

/*
 * Wherever a pattern of 8 words lies, one of them is at a multiple of 8 words:
 * look only there, for any word of the pattern.
 */
static bool find(unsigned long pfn, const u64 *inverted, u64 filter)
{
	u64 *word = (u64 *)pfn_to_kaddr(pfn);
	unsigned int i, j, k;
	bool found = false;
	u64 value;

	pagefault_disable();
	for (i = 0; i < PAGE_WORDS; i += NDM_PATTERN_WORDS) {
		__get_kernel_nofault(&value, word + i, u64, fault);
		if (!(filter >> (value & 63) & 1))
			continue;
		for (j = 0; j < NDM_PATTERN_WORDS && ~value != inverted[j]; j++)
			;
		if (j == NDM_PATTERN_WORDS || j > i ||
		    i - j + NDM_PATTERN_WORDS > PAGE_WORDS)
			continue;
		for (k = 0; k < NDM_PATTERN_WORDS; k++) {
			__get_kernel_nofault(&value, word + i - j + k, u64, fault);
			if (~value != inverted[k])
				break;
		}
		if (k == NDM_PATTERN_WORDS) {
			found = true;
			break;
		}
	}
fault:
	pagefault_enable();
	return found;
}

long do_scan(struct ndm_scan *arg)
{
	u64 pfn, end = end_pfn(), filter = 0, present[BLOCK_PAGES / 64];
	unsigned int i;

	if (arg->start % BLOCK_PAGES)
		return -EINVAL;
	if (arg->count)
		end = min(arg->start + arg->count, end);
	for (i = 0; i < NDM_PATTERN_WORDS; i++)
		filter |= 1ull << (~arg->inverted[i] & 63);

	arg->scanned = 0;
	arg->found = 0;
	memset(arg->pfns, 0, sizeof(arg->pfns));

	for (pfn = arg->start; pfn < end; pfn++) {
		i = pfn % BLOCK_PAGES;
		if (!i) {
			if (fatal_signal_pending(current))
				return -EINTR;
			cond_resched();
			/* A fault costs more than a look at the page table. */
			block_level(pfn, present);
			if (!pfn_valid(pfn))
				memset(present, 0, sizeof(present));
		}
		if (!(present[i / 64] >> (i % 64) & 1))
			continue;
		/* The legacy video memory below 1M is a device. */
		if (pfn >= PHYS_PFN(0xa0000) && pfn < PHYS_PFN(0x100000))
			continue;

		arg->scanned++;
		if (find(pfn, arg->inverted, filter)) {
			if (arg->found < ARRAY_SIZE(arg->pfns))
				arg->pfns[arg->found] = pfn;
			arg->found++;
		}
	}
	return 0;
}
