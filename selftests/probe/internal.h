/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the probe have in common. */
#ifndef NDM_PROBE_INTERNAL_H
#define NDM_PROBE_INTERNAL_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#ifdef CONFIG_CPU_LOCAL_MAP
#include <asm/cpu_local_map.h>
#endif
#include <asm/pgtable.h>
#include <asm/processor.h>

#include "arch.h"
#include "ndm_probe.h"

#define BLOCK_PAGES	512u	/* of the 4K pages that a 2M entry maps */
#define BATCH		256u	/* pages per interrupt: keeps each below a ms */
#define PAGE_WORDS	(PAGE_SIZE / sizeof(u64))

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

/* look.c */
unsigned long end_pfn(void);
unsigned int direct_map_level(unsigned long pfn, bool *present);
unsigned int block_level(unsigned long pfn, u64 present[BLOCK_PAGES / 64]);
bool look(unsigned long pfn, unsigned int first, const u64 *inverted, bool *nonzero,
	  bool *hit);
long do_check(struct ndm_check *arg);

/* search.c */
long do_map(struct ndm_map *arg);
long do_scan(struct ndm_scan *arg);

/* watch.c */
long do_watch(struct session *s, const struct ndm_watch *arg);
long do_arm(struct session *s, const struct ndm_arm *arg);
long do_stop(struct session *s, struct ndm_watched *arg);

/* pages.c */
long do_hold(struct session *s, struct ndm_hold *arg);
void do_put(struct session *s);
long do_gup(struct ndm_gup *arg);
long do_soft_offline(struct ndm_soft_offline *arg);
long do_clear_mce(const struct ndm_clear_mce *arg);
long do_turn(struct ndm_turn *arg);

/* count.c */
extern u32 probed;		/* a bit for each function that is probed */
extern unsigned long own_alias_start, own_alias_end;
extern bool own_alias_flushed;
void flushes_start(void);
void flushes_stop(void);
void do_flushes(struct ndm_flushes *arg);
void removals_stop(struct session *s);
long do_removals(struct session *s, struct ndm_removals *arg);

/* effort.c */
void effort_stop(struct session *s);
long do_effort(struct session *s, struct ndm_effort *arg);

/* alias.c */
void own_free(struct session *s);
long do_own(struct session *s, struct ndm_own *arg);
long do_alias(struct session *s, struct ndm_alias *arg);

/* local.c */
long do_local(struct ndm_local *arg);
long do_new_cpu(struct ndm_new_cpu *arg);

/* main.c: what the kernel doesn't export; may be NULL */
extern struct delayed_work *held_work;
extern int (*set_valid_noflush)(struct page *page, unsigned int nr, bool valid);
extern void (*flush_range)(unsigned long start, unsigned long end);
extern int (*soft_offline)(unsigned long pfn, int flags);
extern unsigned long static_start, static_end;	/* the kernel's own data */
extern void **pools;				/* of the nodes */
extern void *(*alias_map)(struct folio *folio, size_t offset);
extern void (*alias_unmap)(struct folio *folio, void *addr);
#ifdef CONFIG_CPU_LOCAL_MAP
extern int (*local_init)(void);
extern void *(*local_map)(struct cpu_local_map *map, struct page **pages, unsigned int nr);
extern void (*local_unmap)(struct cpu_local_map *map);
extern pte_t *(*lookup_in_pgd)(pgd_t *pgd, unsigned long addr, unsigned int *level);
#endif

#endif
