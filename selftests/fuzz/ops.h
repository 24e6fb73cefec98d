/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fuzzer's operations have in common.
 */
#ifndef NDM_FUZZ_OPS_H
#define NDM_FUZZ_OPS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define NDM_FILE(f)	((f)->secret || ((f)->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
/* May userspace touch what it maps? */
#define TOUCHABLE(f)	((f)->secret || ((f)->flags & GUEST_MEMFD_FLAG_INIT_SHARED))

/* From now on the n-th thing that can fail in this thread does, 0: nothing. */
void fail_nth(unsigned int nth);
/*
 * Something did fail in the last INJECT() of this operation, or FAILING().  It is a
 * matter of this thread alone: what others do doesn't fail.
 */
extern __thread bool injected;
/* The value of an expression while things fail, if they shall; @op: NULL at the end. */
#define FAILING(op, call)						\
({									\
	bool __fail = cfg.faults && (op) && (op)->d % 3 == 0;		\
	__typeof__(call) __ret;						\
	int __errno;							\
									\
	if (__fail)							\
		fail_nth((op)->d / 3 % 50 + 1);				\
	__ret = call;							\
	__errno = errno;						\
	if (__fail)							\
		fail_nth(0);						\
	errno = __errno;						\
	__ret;								\
})
#define INJECT(op, call)						\
({									\
	fuzz_done[(op)->kind]++;					\
	FAILING(op, call);						\
})

/*
 * Is errno that of a failure that was asked for, if that was of pages some of which are
 * poisoned?  Only for what has failed, otherwise errno may be anything.
 */
bool excused(bool poisoned);
/* A range of some of the pages that are ours.  Where 2M end is worth a try. */
void range(const struct op *op, size_t lo, size_t hi, size_t *first, size_t *nr);
/* A range in a mapping, the pages of which are ours and not gone. */
bool map_range(const struct op *op, struct map *map, size_t *first, size_t *nr);
bool map_allows(const struct map *map, size_t first, size_t nr, int prot);
void data_fill(struct world *w, void *buf, size_t len);
/* So that signals that don't kill do nothing else, either. */
void alarm_init(void);

void op_vm(struct world *w, struct op *op);
void op_vm_close(struct world *w, struct op *op);
void op_create(struct world *w, struct op *op);
void op_close(struct world *w, struct op *op);
void op_bind(struct world *w, struct op *op);
void op_unbind(struct world *w, struct op *op);
void op_change_slot(struct world *w, struct op *op);
void op_attributes(struct world *w, struct op *op);
void op_fallocate(struct world *w, struct op *op);
void op_punch(struct world *w, struct op *op);
void op_pwrite(struct world *w, struct op *op);
void op_pwrite_self(struct world *w, struct op *op);
void op_refused(struct world *w, struct op *op);
void op_mmap(struct world *w, struct op *op);
void op_munmap(struct world *w, struct op *op);
void op_mprotect(struct world *w, struct op *op);
void op_mremap(struct world *w, struct op *op);
void op_madvise(struct world *w, struct op *op);
void op_mbind(struct world *w, struct op *op);
void op_mlock(struct world *w, struct op *op);
void op_host_write(struct world *w, struct op *op);
void op_host_read(struct world *w, struct op *op);
void op_gup(struct world *w, struct op *op);
void op_fork(struct world *w, struct op *op);
void op_guest_read(struct world *w, struct op *op);
void op_guest_write(struct world *w, struct op *op);
void op_prefault(struct world *w, struct op *op);
void op_pv(struct world *w, struct op *op);
void op_probe(struct world *w, struct op *op);
void op_poison(struct world *w, struct op *op);
void op_drop_caches(struct world *w, struct op *op);
void op_dirty(struct world *w, struct op *op);
void op_window(struct world *w, struct op *op);
void op_cpu(struct world *w, struct op *op);
void op_offline(struct world *w, struct op *op);

#endif
