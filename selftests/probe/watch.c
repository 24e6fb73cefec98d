// SPDX-License-Identifier: GPL-2.0
/* A thread that reads pages all the time, and holds on to them. */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

struct watch {
	struct task_struct *task;
	u64 *pfns;
	u8 *marks;
	u32 count;
	u32 flags;
	u64 inverted[NDM_PATTERN_WORDS];
	struct ndm_watched seen;
};

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

long do_watch(struct session *s, const struct ndm_watch *arg)
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

long do_arm(struct session *s, const struct ndm_arm *arg)
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

long do_stop(struct session *s, struct ndm_watched *arg)
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
