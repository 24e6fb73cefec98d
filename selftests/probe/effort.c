// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what doesn't scale: locks that all of a node, or of the host, share, and
 * what is done about memory of a node that is full.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/preempt.h>
#include <linux/sched.h>

#include "internal.h"

static atomic64_t locks_pool, locks_node, locks_static, wakeups, compactions;
static pid_t effort_tgid;
static struct session *effort_session;
static DEFINE_MUTEX(effort_lock);

static bool within(unsigned long addr, const void *start, size_t size)
{
	return addr - (unsigned long)start < size;
}

static int on_lock(struct kprobe *p, struct pt_regs *regs)
{
	unsigned long lock = regs_get_kernel_argument(regs, 0);
	int nid;

	/* Those who populate and release, and who helps them. */
	if (!in_task() ||
	    (current->tgid != effort_tgid && !(current->flags & PF_WQ_WORKER)))
		return 0;

	if (static_start && lock - static_start < static_end - static_start) {
		atomic64_inc(&locks_static);
		return 0;
	}
	for_each_online_node(nid) {
		/* A pool begins with its lock. */
		if (pools && lock == (unsigned long)pools[nid])
			atomic64_inc(&locks_pool);
		else if (within(lock, NODE_DATA(nid), sizeof(pg_data_t)))
			atomic64_inc(&locks_node);
	}
	return 0;
}

static int on_wakeup(struct kprobe *p, struct pt_regs *regs)
{
	atomic64_inc(&wakeups);
	return 0;
}

static int on_compaction(struct kprobe *p, struct pt_regs *regs)
{
	atomic64_inc(&compactions);
	return 0;
}

static struct kprobe effort_probes[] = {
	{ .symbol_name = "wakeup_kswapd", .pre_handler = on_wakeup },
	{ .symbol_name = "try_to_compact_pages", .pre_handler = on_compaction },
	{ .symbol_name = "_raw_spin_lock", .pre_handler = on_lock },
	{ .symbol_name = "_raw_spin_lock_irq", .pre_handler = on_lock },
	{ .symbol_name = "_raw_spin_lock_irqsave", .pre_handler = on_lock },
	{ .symbol_name = "mutex_lock", .pre_handler = on_lock },
};

/* The others see each lock that is taken: slow, on request. */
#define NR_CHEAP	2

static unsigned int effort_registered;

static void effort_unregister(void)
{
	while (effort_registered) {
		struct kprobe *kp = &effort_probes[--effort_registered];

		unregister_kprobe(kp);
		/* For the next time */
		kp->addr = NULL;
		kp->flags = 0;
		kp->nmissed = 0;
	}
}

void effort_stop(struct session *s)
{
	guard(mutex)(&effort_lock);

	if (effort_session != s)
		return;
	effort_unregister();
	effort_session = NULL;
}

long do_effort(struct session *s, struct ndm_effort *arg)
{
	unsigned int i, nr = arg->locks ? ARRAY_SIZE(effort_probes) : NR_CHEAP;
	int err;

	guard(mutex)(&effort_lock);

	if (effort_session && effort_session != s)
		return -EBUSY;

	arg->missed = 0;
	for (i = 0; i < effort_registered; i++)
		arg->missed += effort_probes[i].nmissed;
	if (effort_session && (!arg->start || nr < effort_registered)) {
		effort_unregister();
		effort_session = NULL;
	}
	arg->pool = atomic64_xchg(&locks_pool, 0);
	arg->node = atomic64_xchg(&locks_node, 0);
	arg->host = atomic64_xchg(&locks_static, 0);
	arg->wakeups = atomic64_xchg(&wakeups, 0);
	arg->compactions = atomic64_xchg(&compactions, 0);
	if (!arg->start)
		return 0;

	effort_tgid = current->tgid;
	effort_session = s;
	while (effort_registered < nr) {
		err = register_kprobe(&effort_probes[effort_registered]);
		if (err) {
			effort_unregister();
			effort_session = NULL;
			return err;
		}
		effort_registered++;
	}
	return 0;
}
