// SPDX-License-Identifier: GPL-2.0
/*
 * A witness for what the direct map holds.
 *
 * Tests must not believe what the kernel under test says about its own direct
 * map, so this module looks for itself: at the page tables, and with reads that
 * may fault from every CPU, which tell whether a TLB still knows an entry that
 * the page tables no longer have.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#ifdef CONFIG_CPU_LOCAL_MAP
#include <asm/cpu_local_map.h>
#endif
#include <asm/pgtable.h>
#include <asm/processor.h>

#include "ndm_probe.h"

#define BLOCK_PAGES	512u	/* of the 4K pages that a 2M entry maps */
#define BATCH		256u	/* pages per interrupt: keeps each below a ms */
#define PAGE_WORDS	(PAGE_SIZE / sizeof(u64))

struct watch {
	struct task_struct *task;
	u64 *pfns;
	u8 *marks;
	u32 count;
	u32 flags;
	u64 inverted[NDM_PATTERN_WORDS];
	struct ndm_watched seen;
};

/* One per open file, so that a test that dies leaves nothing behind. */
struct session {
	struct mutex lock;	/* one ioctl at a time */
	struct watch *watch;
	struct folio *held[NDM_HOLD_MAX];
	unsigned int nr_held;
	void *aliases[NDM_ALIAS_MAX];
	unsigned int nr_aliases;
	struct page *own;
	bool own_removed;
	bool counts_removals;
};

static unsigned long end_pfn(void)
{
	return PHYS_PFN(__pa((unsigned long)high_memory - 1)) + 1;
}

/*
 * The page table's view: the level of the entry and, if it is present, its
 * flags.  Interrupts are off because the kernel frees page
 * tables of the direct map, when it collapses them, after a flush which waits
 * for all CPUs.
 */
static unsigned int direct_map_entry(unsigned long pfn, pteval_t *entry)
{
	unsigned int level = 0;
	unsigned long flags;
	pte_t *pte;

	local_irq_save(flags);
	pte = lookup_address((unsigned long)pfn_to_kaddr(pfn), &level);
	*entry = pte ? pte_flags(READ_ONCE(*pte)) : 0;
	if (!(*entry & _PAGE_PRESENT))
		*entry = 0;
	local_irq_restore(flags);

	return pte ? level : 0;
}

static unsigned int direct_map_level(unsigned long pfn, bool *present)
{
	pteval_t entry;
	unsigned int level = direct_map_entry(pfn, &entry);

	*present = entry;
	return level;
}

/*
 * The same for a block: its 4K entries, if it has any, lie side by side.
 * Returns the level of the first page.
 */
static unsigned int block_level(unsigned long pfn, u64 present[BLOCK_PAGES / 64])
{
	unsigned int i, level = 0;
	unsigned long flags;
	pte_t *pte;

	memset(present, 0, BLOCK_PAGES / 8);

	local_irq_save(flags);
	pte = lookup_address((unsigned long)pfn_to_kaddr(pfn), &level);
	if (pte && level == PG_LEVEL_4K) {
		for (i = 0; i < BLOCK_PAGES; i++) {
			if (pte_flags(READ_ONCE(pte[i])) & _PAGE_PRESENT)
				present[i / 64] |= 1ull << (i % 64);
		}
	} else if (pte && (pte_flags(READ_ONCE(*pte)) & _PAGE_PRESENT)) {
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
static bool look(unsigned long pfn, unsigned int first, const u64 *inverted,
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
	pteval_t entry;
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
		if (entry & _PAGE_GLOBAL)
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

static long do_check(struct ndm_check *arg)
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

/* NDM_IOC_MAP */

static long do_map(struct ndm_map *arg)
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

static long do_scan(struct ndm_scan *arg)
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

/* NDM_IOC_WATCH, NDM_IOC_ARM, NDM_IOC_STOP */

static void watch_bad(struct watch *w, u64 pfn, u64 *counter)
{
	if (!w->seen.stale && !w->seen.hits)
		w->seen.bad_pfn = pfn;
	(*counter)++;
}

static int watch_fn(void *data)
{
	struct watch *w = data;
	bool present, nonzero, hit, mark;
	u32 i;

	while (!kthread_should_stop()) {
		for (i = 0; i < w->count; i++) {
			/* Before the read, which must be the later one. */
			mark = smp_load_acquire(&w->marks[i]);

			present = true;
			if (w->flags & NDM_WATCH_PRESENT)
				direct_map_level(w->pfns[i], &present);

			/* Zeroing reaches the end of a page last. */
			if (!present ||
			    !look(w->pfns[i], PAGE_WORDS - NDM_PATTERN_WORDS,
				  w->inverted, &nonzero, &hit)) {
				w->seen.faults++;
				continue;
			}
			w->seen.reads++;
			if (mark)
				watch_bad(w, w->pfns[i], &w->seen.stale);
			if (hit)
				watch_bad(w, w->pfns[i], &w->seen.hits);
		}
		WRITE_ONCE(w->seen.loops, w->seen.loops + 1);
		cond_resched();
	}
	return 0;
}

static void watch_free(struct watch *w)
{
	kvfree(w->pfns);
	kvfree(w->marks);
	kfree(w);
}

static long do_watch(struct session *s, const struct ndm_watch *arg)
{
	struct watch *w;
	long ret;
	u32 i;

	if (s->watch)
		return -EBUSY;
	if (!arg->count || arg->count > NDM_WATCH_MAX || arg->cpu >= nr_cpu_ids ||
	    !cpu_online(arg->cpu) || (arg->flags & ~NDM_WATCH_PRESENT))
		return -EINVAL;

	w = kzalloc_obj(*w);
	if (!w)
		return -ENOMEM;
	w->count = arg->count;
	w->flags = arg->flags;
	memcpy(w->inverted, arg->inverted, sizeof(w->inverted));
	w->marks = kvcalloc(w->count, sizeof(*w->marks), GFP_KERNEL);
	w->pfns = kvcalloc(w->count, sizeof(*w->pfns), GFP_KERNEL);
	ret = -ENOMEM;
	if (!w->marks || !w->pfns)
		goto err;
	ret = -EFAULT;
	if (copy_from_user(w->pfns, u64_to_user_ptr(arg->pfns),
			   w->count * sizeof(*w->pfns)))
		goto err;
	ret = -EINVAL;
	for (i = 0; i < w->count; i++) {
		if (!pfn_valid(w->pfns[i]) || w->pfns[i] >= end_pfn())
			goto err;
	}

	w->task = kthread_create(watch_fn, w, "ndm_watch/%u", arg->cpu);
	if (IS_ERR(w->task)) {
		ret = PTR_ERR(w->task);
		goto err;
	}
	kthread_bind(w->task, arg->cpu);
	s->watch = w;
	wake_up_process(w->task);

	/* A watch that has not begun proves nothing. */
	while (READ_ONCE(w->seen.loops) < 2 && !fatal_signal_pending(current))
		usleep_range(100, 1000);
	return 0;

err:
	watch_free(w);
	return ret;
}

static long do_arm(struct session *s, const struct ndm_arm *arg)
{
	struct watch *w = s->watch;
	u64 loops;
	u8 *marks;
	u32 i;

	if (!w || arg->count != w->count)
		return -EINVAL;

	marks = kvmalloc(w->count, GFP_KERNEL);
	if (!marks)
		return -ENOMEM;
	if (copy_from_user(marks, u64_to_user_ptr(arg->marks), w->count)) {
		kvfree(marks);
		return -EFAULT;
	}

	/* Pairs with the acquire in watch_fn(). */
	for (i = 0; i < w->count; i++)
		smp_store_release(&w->marks[i], marks[i]);
	kvfree(marks);

	/* Have all of it seen with and without marks at least once. */
	loops = READ_ONCE(w->seen.loops);
	while (READ_ONCE(w->seen.loops) < loops + 2 &&
	       !fatal_signal_pending(current))
		usleep_range(100, 1000);
	return 0;
}

static long do_stop(struct session *s, struct ndm_watched *arg)
{
	struct watch *w = s->watch;

	if (!w)
		return -EINVAL;

	kthread_stop(w->task);
	if (arg)
		*arg = w->seen;
	watch_free(w);
	s->watch = NULL;
	return 0;
}

/* NDM_IOC_HOLD, NDM_IOC_PUT */

static long do_hold(struct session *s, struct ndm_hold *arg)
{
	struct folio *folio;
	struct file *file;

	if (s->nr_held == NDM_HOLD_MAX)
		return -ENOSPC;

	file = fget(arg->fd);
	if (!file)
		return -EBADF;
	folio = filemap_get_folio(file->f_mapping, arg->index);
	fput(file);
	if (IS_ERR(folio))
		return PTR_ERR(folio);

	arg->pfn = page_to_pfn(folio_file_page(folio, arg->index));
	s->held[s->nr_held++] = folio;
	return 0;
}

static void do_put(struct session *s)
{
	while (s->nr_held)
		folio_put(s->held[--s->nr_held]);
}

/* NDM_IOC_GUP */

static long do_gup(struct ndm_gup *arg)
{
	struct page *pages[NDM_GUP_MAX];
	unsigned int flags = 0;
	bool pinned = false;
	int i;

	if (!arg->nr || arg->nr > NDM_GUP_MAX)
		return -EINVAL;
	if (arg->how & NDM_GUP_WRITE)
		flags |= FOLL_WRITE;
	if (arg->how & NDM_GUP_LONGTERM)
		flags |= FOLL_LONGTERM;

	switch (arg->how & NDM_HOW_MASK) {
	case NDM_GET_FAST_ONLY:
		arg->ret = get_user_pages_fast_only(arg->addr, arg->nr, flags,
						    pages);
		break;
	case NDM_GET_FAST:
		arg->ret = get_user_pages_fast(arg->addr, arg->nr, flags, pages);
		break;
	case NDM_GET:
		arg->ret = get_user_pages_unlocked(arg->addr, arg->nr, pages,
						   flags);
		break;
	case NDM_PIN_FAST:
		arg->ret = pin_user_pages_fast(arg->addr, arg->nr, flags, pages);
		pinned = true;
		break;
	case NDM_PIN:
		arg->ret = pin_user_pages_unlocked(arg->addr, arg->nr, pages,
						   flags);
		pinned = true;
		break;
	default:
		return -EINVAL;
	}

	for (i = 0; i < arg->ret; i++) {
		if (pinned)
			unpin_user_page(pages[i]);
		else
			put_page(pages[i]);
	}
	return 0;
}

/* NDM_IOC_FLUSHES */

static atomic64_t flushes_direct, flushes_other, flushes_all, flushes_cpa;

/* The addresses that NDM_OWN_ALIAS has left in TLBs. */
static unsigned long own_alias_start, own_alias_end;
static bool own_alias_flushed;

static int on_flush_range(struct kprobe *p, struct pt_regs *regs)
{
	unsigned long start = regs_get_kernel_argument(regs, 0);
	unsigned long end = regs_get_kernel_argument(regs, 1);

	if (start <= READ_ONCE(own_alias_start) && end >= READ_ONCE(own_alias_end))
		WRITE_ONCE(own_alias_flushed, true);
	if (start >= PAGE_OFFSET && start < (unsigned long)high_memory)
		atomic64_inc(&flushes_direct);
	else
		atomic64_inc(&flushes_other);
	return 0;
}

static int on_flush_all(struct kprobe *p, struct pt_regs *regs)
{
	atomic64_inc(&flushes_all);
	WRITE_ONCE(own_alias_flushed, true);
	return 0;
}

static int on_flush_cpa(struct kprobe *p, struct pt_regs *regs)
{
	atomic64_inc(&flushes_cpa);
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "flush_tlb_kernel_range", .pre_handler = on_flush_range },
	{ .symbol_name = "flush_tlb_all", .pre_handler = on_flush_all },
	{ .symbol_name = "__cpa_flush_tlb", .pre_handler = on_flush_cpa },
};

static u32 probed;

static void do_flushes(struct ndm_flushes *arg)
{
	bool reset = arg->reset;

	arg->probed = probed;
	arg->direct = reset ? atomic64_xchg(&flushes_direct, 0) :
			      atomic64_read(&flushes_direct);
	arg->other = reset ? atomic64_xchg(&flushes_other, 0) :
			     atomic64_read(&flushes_other);
	arg->all = reset ? atomic64_xchg(&flushes_all, 0) :
			   atomic64_read(&flushes_all);
	arg->cpa = reset ? atomic64_xchg(&flushes_cpa, 0) :
			   atomic64_read(&flushes_cpa);
}

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

static int (*set_valid_noflush)(struct page *page, unsigned int nr, bool valid);
static void (*flush_range)(unsigned long start, unsigned long end);

static void own_free(struct session *s)
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

static long do_own(struct session *s, struct ndm_own *arg)
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

/* NDM_IOC_SOFT_OFFLINE */

static int (*soft_offline)(unsigned long pfn, int flags);

static long do_soft_offline(struct ndm_soft_offline *arg)
{
	if (!soft_offline)
		return -EOPNOTSUPP;
	arg->ret = soft_offline(arg->pfn, 0);
	return 0;
}

/* NDM_IOC_ALIAS */

static void *(*alias_map)(struct folio *folio, size_t offset);
static void (*alias_unmap)(struct folio *folio, void *addr);

static bool alias_in_tables(void *addr)
{
	unsigned int level;
	unsigned long flags;
	pte_t *pte;
	bool found;

	local_irq_save(flags);
	pte = lookup_address((unsigned long)addr, &level);
	found = pte && (pte_flags(READ_ONCE(*pte)) & _PAGE_PRESENT);
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

static long do_alias(struct session *s, struct ndm_alias *arg)
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

/* NDM_IOC_LOCAL */

#ifdef CONFIG_CPU_LOCAL_MAP
static int (*local_init)(void);
static void *(*local_map)(struct cpu_local_map *map, struct page **pages,
			  unsigned int nr);
static void (*local_unmap)(struct cpu_local_map *map);
static pte_t *(*lookup_in_pgd)(pgd_t *pgd, unsigned long addr,
			       unsigned int *level);

static pteval_t pte_in_mm(struct mm_struct *mm, unsigned long addr)
{
	unsigned int level;
	pte_t *pte = lookup_in_pgd(pgd_offset(mm, addr), addr, &level);

	return pte && level == PG_LEVEL_4K ? pte_val(READ_ONCE(*pte)) : 0;
}

static long do_local(struct ndm_local *arg)
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
#else
static long do_local(struct ndm_local *arg)
{
	return -EOPNOTSUPP;
}
#endif

/* NDM_IOC_REMOVALS */

static atomic64_t removals_failed, removals_split;
static struct session *removals_session;
static DEFINE_MUTEX(removals_lock);

struct removal {
	unsigned long pfn;
	unsigned int level;
};

static int on_set_valid(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct removal *removal = (void *)instance->data;
	struct page *page;
	bool present;

	/* No removal: don't care how it ends. */
	if ((u8)regs_get_kernel_argument(regs, 2))
		return 1;

	page = (struct page *)regs_get_kernel_argument(regs, 0);
	removal->pfn = page_to_pfn(page);
	removal->level = direct_map_level(removal->pfn, &present);
	return 0;
}

static int on_set_valid_end(struct kretprobe_instance *instance,
			    struct pt_regs *regs)
{
	struct removal *removal = (void *)instance->data;
	bool present;

	if ((int)regs_return_value(regs))
		atomic64_inc(&removals_failed);
	if (removal->level > PG_LEVEL_4K &&
	    direct_map_level(removal->pfn, &present) == PG_LEVEL_4K)
		atomic64_inc(&removals_split);
	return 0;
}

static struct kretprobe removals_probe;

static void removals_stop(struct session *s)
{
	guard(mutex)(&removals_lock);

	if (!s->counts_removals)
		return;
	unregister_kretprobe(&removals_probe);
	removals_session = NULL;
	s->counts_removals = false;
}

static long do_removals(struct session *s, struct ndm_removals *arg)
{
	int err;

	guard(mutex)(&removals_lock);

	if (!s->counts_removals) {
		if (removals_session)
			return -EBUSY;
		atomic64_set(&removals_failed, 0);
		atomic64_set(&removals_split, 0);
		removals_probe = (struct kretprobe) {
			.kp.symbol_name	= "set_direct_map_valid_noflush",
			.entry_handler	= on_set_valid,
			.handler	= on_set_valid_end,
			.data_size	= sizeof(struct removal),
			/* They may sleep for memory. */
			.maxactive	= 64,
		};
		err = register_kretprobe(&removals_probe);
		if (err)
			return err;
		removals_session = s;
		s->counts_removals = true;
	}

	arg->failed = atomic64_read(&removals_failed);
	arg->split = atomic64_read(&removals_split);
	return removals_probe.nmissed ? -EOVERFLOW : 0;
}

/* NDM_IOC_CLEAR_MCE */

static long do_clear_mce(const struct ndm_clear_mce *arg)
{
	if (!pfn_valid(arg->pfn) || arg->pfn >= end_pfn())
		return -EINVAL;
	return clear_mce_nospec(arg->pfn);
}

/*
 * None of these is exported, and kallsyms_lookup_name() isn't either, but a
 * kprobe knows where it is.  The rest works without them.
 */
static void find_symbols(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *name);

	if (register_kprobe(&kp))
		return;
	unregister_kprobe(&kp);

	lookup = (void *)kp.addr;
#ifdef CONFIG_X86_KERNEL_IBT
	/* The probe sits behind ENDBR, where an indirect call must not go. */
	if (~*((u32 *)kp.addr - 1) == ~0xfa1e0ff3u)
		lookup = (void *)kp.addr - 4;
#endif
	set_valid_noflush = (void *)lookup("set_direct_map_valid_noflush");
	flush_range = (void *)lookup("flush_tlb_kernel_range");
	soft_offline = (void *)lookup("soft_offline_page");
	alias_map = (void *)lookup("folio_alias_map");
	alias_unmap = (void *)lookup("folio_alias_unmap");
#ifdef CONFIG_CPU_LOCAL_MAP
	local_init = (void *)lookup("cpu_local_map_init");
	local_map = (void *)lookup("cpu_local_map");
	local_unmap = (void *)lookup("cpu_local_unmap");
	lookup_in_pgd = (void *)lookup("lookup_address_in_pgd");
#endif
}

/* The device */

static int probe_open(struct inode *inode, struct file *file)
{
	struct session *s;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;

	s = kzalloc_obj(*s);
	if (!s)
		return -ENOMEM;
	mutex_init(&s->lock);
	file->private_data = s;
	return 0;
}

static int probe_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;

	if (s->watch)
		do_stop(s, NULL);
	do_put(s);
	own_free(s);
	removals_stop(s);
	kfree(s);
	return 0;
}

static long probe_ioctl(struct file *file, unsigned int cmd, unsigned long data)
{
	struct session *s = file->private_data;
	void __user *user = (void __user *)data;
	union {
		struct ndm_check check;
		struct ndm_map map;
		struct ndm_scan scan;
		struct ndm_watch watch;
		struct ndm_watched watched;
		struct ndm_arm arm;
		struct ndm_hold hold;
		struct ndm_gup gup;
		struct ndm_flushes flushes;
		struct ndm_own own;
		struct ndm_soft_offline soft_offline;
		struct ndm_alias alias;
		struct ndm_local local;
		struct ndm_removals removals;
		struct ndm_clear_mce clear_mce;
	} arg;
	long ret = 0;

	if (_IOC_SIZE(cmd) > sizeof(arg))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) &&
	    copy_from_user(&arg, user, _IOC_SIZE(cmd)))
		return -EFAULT;

	mutex_lock(&s->lock);
	switch (cmd) {
	case NDM_IOC_CHECK:
		ret = do_check(&arg.check);
		break;
	case NDM_IOC_MAP:
		ret = do_map(&arg.map);
		break;
	case NDM_IOC_SCAN:
		ret = do_scan(&arg.scan);
		break;
	case NDM_IOC_WATCH:
		ret = do_watch(s, &arg.watch);
		break;
	case NDM_IOC_ARM:
		ret = do_arm(s, &arg.arm);
		break;
	case NDM_IOC_STOP:
		ret = do_stop(s, &arg.watched);
		break;
	case NDM_IOC_HOLD:
		ret = do_hold(s, &arg.hold);
		break;
	case NDM_IOC_PUT:
		do_put(s);
		break;
	case NDM_IOC_GUP:
		ret = do_gup(&arg.gup);
		break;
	case NDM_IOC_FLUSHES:
		do_flushes(&arg.flushes);
		break;
	case NDM_IOC_OWN:
		ret = do_own(s, &arg.own);
		break;
	case NDM_IOC_SOFT_OFFLINE:
		ret = do_soft_offline(&arg.soft_offline);
		break;
	case NDM_IOC_ALIAS:
		ret = do_alias(s, &arg.alias);
		break;
	case NDM_IOC_LOCAL:
		ret = do_local(&arg.local);
		break;
	case NDM_IOC_REMOVALS:
		ret = do_removals(s, &arg.removals);
		break;
	case NDM_IOC_CLEAR_MCE:
		ret = do_clear_mce(&arg.clear_mce);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&s->lock);

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) &&
	    copy_to_user(user, &arg, _IOC_SIZE(cmd)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations probe_fops = {
	.owner		= THIS_MODULE,
	.open		= probe_open,
	.release	= probe_release,
	.unlocked_ioctl	= probe_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice probe_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ndm_probe",
	.fops	= &probe_fops,
	.mode	= 0600,
};

static int __init probe_init(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		err = register_kprobe(&probes[i]);
		if (err)
			pr_notice("ndm_probe: %s can't be counted: %d\n",
				  probes[i].symbol_name, err);
		else
			probed |= 1u << i;
	}
	find_symbols();

	err = misc_register(&probe_device);
	if (err) {
		for (i = 0; i < ARRAY_SIZE(probes); i++) {
			if (probed & (1u << i))
				unregister_kprobe(&probes[i]);
		}
	}
	return err;
}

static void __exit probe_exit(void)
{
	unsigned int i;

	misc_deregister(&probe_device);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probed & (1u << i))
			unregister_kprobe(&probes[i]);
	}
}

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("Tells what the direct map holds, page tables and TLBs");
MODULE_LICENSE("GPL");
