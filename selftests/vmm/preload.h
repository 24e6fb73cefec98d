/* SPDX-License-Identifier: GPL-2.0 */
/* What all parts of the preload library have in common. */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The VMM gets these functions; nothing else of the library can be seen. */
#define EXPORT		__attribute__((visibility("default")))
#define PAGE		4096ul
#define MIB(bytes)	((unsigned long long)(bytes) >> 20)
#define MAX_VMS		64

/* The environment, which is read once. */
extern struct options {
	bool off;
	uint64_t flags;		/* of each guest_memfd */
	uint64_t min_size;
	const char *names;
	bool refuse_dirty_log, require;
	int verbose;
} opt;

/* What is there, here and in the parts, is under this lock. */
extern pthread_mutex_t lock;

extern int vms[MAX_VMS], nr_vms, vms_ever;

/* For the summary.  Some are told of when they are counted first. */
extern struct sum {
	unsigned int files, slots, other_slots, read_only, dirty_log, o_direct, private,
		     copied, left_out;
	uint64_t bytes, other_bytes;
} sum;

/* Keeps errno. */
__attribute__((format(printf, 2, 3)))
void say(int level, const char *fmt, ...);

/* The function that would be called without the library. */
void *real(const char *name);

#define REAL(name)							\
({									\
	static __typeof__(name) *real_;				\
									\
	if (!real_)							\
		real_ = real(#name);					\
	real_;								\
})

#endif
