// SPDX-License-Identifier: GPL-2.0
/* Counts flushes of TLBs, and removals from the direct map that fail or split. */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/mm.h>

#include "internal.h"

/* NDM_IOC_FLUSHES */

static atomic64_t flushes_direct, flushes_other, flushes_all, flushes_cpa;

/* The addresses that NDM_OWN_ALIAS has left in TLBs. */
unsigned long own_alias_start, own_alias_end;
bool own_alias_flushed;

#ifdef CONFIG_ARM64
/*
 * To flush is no function there.  Whoever is about to remove pages has the aliases of
 * vmalloc() flushed first, once for all that goes by one flush; a window puts a page
 * back, and removes and flushes that one again.
 */
static struct page *window_page;

static int on_unmap_aliases(struct kprobe *p, struct pt_regs *regs)
{
	atomic64_inc(&flushes_direct);
	return 0;
}

static int on_window(struct kprobe *p, struct pt_regs *regs)
{
	struct page *page = (struct page *)regs_get_kernel_argument(regs, 0);

	if (regs_get_kernel_argument(regs, 1) != 1)
		return 0;
	if ((u8)regs_get_kernel_argument(regs, 2))
		WRITE_ONCE(window_page, page);
	else if (READ_ONCE(window_page) == page)
		atomic64_inc(&flushes_direct);
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "vm_unmap_aliases", .pre_handler = on_unmap_aliases },
	{ .symbol_name = "set_direct_map_valid_noflush", .pre_handler = on_window },
};
#else
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
#endif

static u32 registered;
u32 probed;

void do_flushes(struct ndm_flushes *arg)
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

void flushes_start(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		err = register_kprobe(&probes[i]);
		if (err)
			pr_notice("ndm_probe: %s can't be counted: %d\n",
				  probes[i].symbol_name, err);
		else
			registered |= 1u << i;
	}
	probed = registered;
	/* There, one counter takes both. */
	if (IS_ENABLED(CONFIG_ARM64))
		probed = registered == 3;
}

void flushes_stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (registered & (1u << i))
			unregister_kprobe(&probes[i]);
	}
}

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

void removals_stop(struct session *s)
{
	guard(mutex)(&removals_lock);

	if (!s->counts_removals)
		return;
	unregister_kretprobe(&removals_probe);
	removals_session = NULL;
	s->counts_removals = false;
}

long do_removals(struct session *s, struct ndm_removals *arg)
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
