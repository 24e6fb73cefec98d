// SPDX-License-Identifier: GPL-2.0
/* What others in the kernel do with pages: hold them, pin them, take them offline. */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/set_memory.h>

#include "internal.h"

/* NDM_IOC_HOLD, NDM_IOC_PUT */

long do_hold(struct session *s, struct ndm_hold *arg)
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

void do_put(struct session *s)
{
	while (s->nr_held)
		folio_put(s->held[--s->nr_held]);
}

/* NDM_IOC_GUP */

long do_gup(struct ndm_gup *arg)
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

/* NDM_IOC_SOFT_OFFLINE */

long do_soft_offline(struct ndm_soft_offline *arg)
{
	if (!soft_offline)
		return -EOPNOTSUPP;
	arg->ret = soft_offline(arg->pfn, 0);
	return 0;
}

/* NDM_IOC_CLEAR_MCE */

long do_clear_mce(const struct ndm_clear_mce *arg)
{
	if (!pfn_valid(arg->pfn) || arg->pfn >= end_pfn())
		return -EINVAL;
	return clear_mce_nospec(arg->pfn);
}

/* NDM_IOC_TURN */

long do_turn(struct ndm_turn *arg)
{
	if (!held_work)
		return -EOPNOTSUPP;
	/* It waits for itself again as long as there is something, maybe since before. */
	arg->taken = flush_delayed_work(held_work) || delayed_work_pending(held_work);
	arg->pad = 0;
	return 0;
}
