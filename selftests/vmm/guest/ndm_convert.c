// SPDX-License-Identifier: GPL-2.0
/*
 * Runs in the kernel of the guest.  Tells which paravirtual features are on, and
 * converts pages from private to shared and back by hypercall, from all CPUs at
 * once, looking each time for what must not be there any more.
 */
#include <linux/completion.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/kvm_para.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include <asm/msr.h>

#define BLOCK_ORDER	9
#define BLOCK_PAGES	(1u << BLOCK_ORDER)
#define PAGE_WORDS	(PAGE_SIZE / sizeof(u64))

static unsigned int rounds;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "conversions to shared and back by each CPU");

/* Results, as init passes them on: "ok: ..." or "FAILED: ..." */
static char paravirtual[160];
module_param_string(paravirtual, paravirtual, sizeof(paravirtual), 0444);
static char conversions[160];
module_param_string(conversions, conversions, sizeof(conversions), 0444);

struct worker {
	struct task_struct *task;
	struct completion done;
	struct page *block;
	struct rnd_state rnd;
	u64 tag;
	unsigned int cpu;
	unsigned long conversions;	/* each way, in pages */
	unsigned long wrong;		/* pages */
	long error;
};

static u64 word_of(struct worker *w, unsigned int page)
{
	return w->tag + page;
}

static u64 *page_of(struct worker *w, unsigned int page)
{
	return page_address(w->block + page);
}

static void fill(struct worker *w, unsigned int page, u64 value)
{
	memset64(page_of(w, page), value, PAGE_WORDS);
}

static bool holds(struct worker *w, unsigned int page, u64 value)
{
	u64 *word = page_of(w, page);
	unsigned int i;

	for (i = 0; i < PAGE_WORDS; i++) {
		if (READ_ONCE(word[i]) != value)
			return false;
	}
	return true;
}

static long convert(struct worker *w, unsigned int first, unsigned int nr,
		    bool private)
{
	return kvm_hypercall3(KVM_HC_MAP_GPA_RANGE,
			      page_to_phys(w->block + first), nr,
			      KVM_MAP_GPA_RANGE_PAGE_SZ_4K |
			      (private ? KVM_MAP_GPA_RANGE_ENCRYPTED :
			       KVM_MAP_GPA_RANGE_DECRYPTED));
}

static void one_round(struct worker *w, bool whole)
{
	unsigned int first = 0, nr = BLOCK_PAGES, i;
	bool in;

	if (!whole) {
		first = prandom_u32_state(&w->rnd) % BLOCK_PAGES;
		nr = 1 + prandom_u32_state(&w->rnd) %
		     min(BLOCK_PAGES - first, 32u);
	}

	w->error = convert(w, first, nr, false);
	if (w->error)
		return;
	for (i = first; i < first + nr; i++) {
		w->wrong += !holds(w, i, 0);
		fill(w, i, ~word_of(w, i));
	}
	for (i = first; i < first + nr; i++)
		w->wrong += !holds(w, i, ~word_of(w, i));

	w->error = convert(w, first, nr, true);
	if (w->error)
		return;
	for (i = first; i < first + nr; i++) {
		w->wrong += !holds(w, i, 0);
		fill(w, i, word_of(w, i));
	}
	w->conversions += nr;

	/* The neighbours must not have noticed. */
	for (i = first ? first - 1 : 0; i < min(first + nr + 1, BLOCK_PAGES); i++) {
		in = i >= first && i < first + nr;
		w->wrong += !in && !holds(w, i, word_of(w, i));
	}
}

static int worker(void *data)
{
	struct worker *w = data;
	unsigned int i;

	for (i = 0; i < BLOCK_PAGES; i++)
		fill(w, i, word_of(w, i));
	for (i = 0; i < rounds && !w->error; i++) {
		one_round(w, i % 16 == 8);
		cond_resched();
	}
	for (i = 0; i < BLOCK_PAGES && !w->error; i++)
		w->wrong += !holds(w, i, word_of(w, i));
	complete(&w->done);
	return 0;
}

static int start(struct worker *w, unsigned int cpu)
{
	w->cpu = cpu;
	w->tag = get_random_u64() | 1;
	prandom_seed_state(&w->rnd, w->tag);
	init_completion(&w->done);
	w->block = alloc_pages(GFP_KERNEL, BLOCK_ORDER);
	if (!w->block)
		return -ENOMEM;
	w->task = kthread_create(worker, w, "ndm_convert/%u", cpu);
	if (IS_ERR(w->task))
		return PTR_ERR(w->task);
	kthread_bind(w->task, cpu);
	wake_up_process(w->task);
	return 0;
}

static void convert_on_all_cpus(void)
{
	unsigned long pages = 0, wrong = 0;
	struct worker *workers, *w;
	unsigned int cpu, nr = 0;
	long error = 0;
	int err = 0;

	workers = kzalloc_objs(*workers, nr_cpu_ids);
	if (!workers)
		return;
	for_each_online_cpu(cpu) {
		err = start(&workers[cpu], cpu);
		if (err)
			break;
		nr++;
	}
	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		w = &workers[cpu];
		if (!IS_ERR_OR_NULL(w->task)) {
			wait_for_completion(&w->done);
			pages += w->conversions;
			wrong += w->wrong;
			error = error ?: w->error;
		}
		/* After an error, pages may be left shared: nobody gets them. */
		if (w->block && !w->error)
			__free_pages(w->block, BLOCK_ORDER);
	}
	kfree(workers);

	snprintf(conversions, sizeof(conversions),
		 "%s: %lu pages to shared and back by %u CPUs, %lu pages wrong, errors %d and %ld",
		 err || wrong || error ? "FAILED" : "ok", pages, nr, wrong, err,
		 error);
}

static void count_features(void *data)
{
	static const u32 msrs[] = {
		MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_STEAL_TIME, MSR_KVM_PV_EOI_EN,
		MSR_KVM_ASYNC_PF_EN,
	};
	atomic_t *counts = data;
	unsigned int i;
	u64 value;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (!rdmsrq_safe(msrs[i], &value) && (value & KVM_MSR_ENABLED))
			atomic_inc(&counts[i]);
	}
}

static void tell_features(void)
{
	atomic_t counts[4] = {};
	bool ok = true;
	int i;

	on_each_cpu(count_features, counts, 1);
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		ok &= atomic_read(&counts[i]) == num_online_cpus();
	snprintf(paravirtual, sizeof(paravirtual),
		 "%s: kvm-clock on %d CPUs, steal time on %d, PV EOI on %d, async #PF on %d",
		 ok ? "ok" : "FAILED", atomic_read(&counts[0]),
		 atomic_read(&counts[1]), atomic_read(&counts[2]),
		 atomic_read(&counts[3]));
}

static int __init convert_init(void)
{
	tell_features();
	if (rounds)
		convert_on_all_cpus();
	return 0;
}

static void __exit convert_exit(void)
{
}

module_init(convert_init);
module_exit(convert_exit);

MODULE_DESCRIPTION("Converts guest memory from private to shared and back");
MODULE_LICENSE("GPL");
