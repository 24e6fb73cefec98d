/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the soak have in common. */
#ifndef SOAK_H
#define SOAK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ndm.h"

#define CGROUP	"/sys/fs/cgroup/soak"
#define DEBUGFS	"/sys/kernel/debug/"

enum { MAX_SLOTS = 16 };

/* One of the guests, or what else is started at random. */
struct kind {
	const char *name, *cmd;
	unsigned int weight;
	unsigned int seconds;	/* that it takes under "test", roughly */
	unsigned int kill;	/* percent */
	unsigned int flags;

	unsigned int started, ended, killed, oom, errors, failed, injected, limited;
	double time;		/* of those that ended */
};

/* What is running. */
struct slot {
	struct kind *kind;
	pid_t pid;
	char name[16];		/* of its cgroup */
	char output[32];
	bool injected, limited, killed, stuck;
	unsigned long oom_kills;
	double start;
	double inject, kill, limit, gone;	/* when it is due, 0: never */
};

/* What has to be the same again. */
struct books {
	struct ndm_direct_map dm;
	uint64_t missing, free_kb, charged_kb, users;
};

/* soak.c */
extern unsigned int nr_slots, nr_started;
extern unsigned int seed;
extern unsigned int slow;	/* as "debug" is */
extern bool faults;
extern int probe;

/* guests.c */
extern struct kind kinds[];
extern const unsigned int nr_kinds;
extern struct slot slots[MAX_SLOTS];
bool running(unsigned int flags);
void start(struct slot *s);
void look_after(struct slot *s, double now);
void reap(void);

/* cgroups.c */
unsigned long cgroup_read(const char *group, const char *file, const char *name);
void cgroup_write(const char *group, const char *file, const char *value);
void cgroups_make(void);
void cgroups_remove(void);
void print_charges(void);

/* books.c */
extern unsigned int free_tolerance_kb;
const char *kvm_module(void);
void take_stock(struct books *b);
void give_back(void);
void blocks_watch(void);
void blocks_count(void);
void settle(const struct books *before, struct books *now);
void compare(const struct books *before, const struct books *after);

/* faults.c */
typedef void (*thread_fn)(pid_t pid, const char *tid);
void fault_knobs(const char *knob, const char *value);
void faults_start(void);
void faults_change(void);
void faults_check(void);
void for_each_thread(pid_t pid, thread_fn fn);
void make_it_fail(pid_t pid, const char *tid);

#endif
