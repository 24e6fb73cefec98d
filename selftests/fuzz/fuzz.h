/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fuzzer's parts: main.c makes lists of operations from a seed, runs them in
 * processes of their own and shortens those that fail; ops.c, vms.c, files.c and maps.c
 * have the operations, world.c what they work on, and guest.c the guest.
 *
 * The oracle: next to each piece of memory lies what it must hold, byte by byte.
 * Where that can't be known, e.g. since KVM writes a clock there, it is marked as
 * unknown, in units of a granule.
 */
#ifndef NDM_FUZZ_H
#define NDM_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ndm.h"

#define GRANULE		32
#define FUZZ_FILES	5
#define FUZZ_MAPS	6
#define FUZZ_VMS	2
#define FUZZ_SLOTS	3
#define MAX_PAGES	1536		/* of a file */
#define GENERIC_WINDOW	"/sys/kernel/debug/no_direct_map/generic_window"

/*
 * Where the guest of a thread has its code, the buffer it copies from or to, and
 * its slots.  Threads may have vCPUs of the same VM.
 */
#define FUZZ_THREADS	4
#define GPA_CODE(t)	((t) * MIB(1))
#define GPA_EMULATED(t)	(GPA_CODE(t) + 16)	/* the same code, to be emulated */
#define GPA_BUF(t)	(GPA_CODE(t) + NDM_PAGE)
#define BUF_SIZE	(256ul << 10)
#define GPA_SLOT(t, i)	(((t) * FUZZ_SLOTS + (i) + 1ul) * MIB(32))
#define GPA_END		GPA_SLOT(FUZZ_THREADS, 0)

struct op {
	uint32_t kind;
	uint32_t a, b, c, d;
};

/* What a piece of memory must hold. */
struct mem {
	size_t size;
	bool borrowed;		/* from the thread that made the file */
	char *is;
	uint8_t *unknown;	/* by granule */
	uint8_t *poisoned;	/* by page, for all that share it: */
#define POISONED	1		/* it has an error */
#define WAS_POISONED	2		/* mappings from before the hole may still say so */
};

struct file {
	int fd;			/* -1: closed, mappings may keep the file */
	unsigned int users;	/* descriptor and mappings */
	bool dead;		/* released, a slot may still have it */
	unsigned int slots;	/* that have it, dead or not */
	struct vm *vm;		/* NULL: memfd_secret(), or closed */
	bool secret;
	uint64_t flags;
	size_t pages;
	size_t lo, hi;		/* the pages that this thread owns */
	struct mem mem;
	bool mixed;		/* guests get to see other memory */
};

enum { PAGE_GONE = 0xff };	/* a hole in a mapping */

struct map {
	struct file *file;	/* NULL: none */
	char *addr;
	size_t pgoff, pages;
	uint8_t *prot;		/* by page */
};

enum hva_kind { HVA_ANON, HVA_NONE, HVA_FILE };

struct slot {
	bool used;
	struct file *file;
	uint64_t gpa;
	size_t pgoff, pages;
	enum hva_kind hva_kind;
	char *hva;		/* NULL: a mapping's */
	struct mem anon;	/* what is at @hva under HVA_ANON */
};

/* What KVM writes by itself once an MSR says so. */
struct pv {
	uint64_t gpa;		/* 0: off */
	size_t size;
};

struct vm {
	int fd;			/* -1: none */
	unsigned int thread;
	int vcpu;
	struct kvm_run *run;
	size_t run_size;
	unsigned long type;
	char *ram;		/* code and buffer */
	uint8_t *private;	/* by page, attributes as they were set */
	struct slot slots[FUZZ_SLOTS];
	struct pv pv[2];	/* kvm-clock, steal time */
};

struct world {
	unsigned int thread;
	bool shared;		/* other threads have other pages of the files */
	struct vm vms[FUZZ_VMS];
	struct file *files[FUZZ_FILES];
	struct map maps[FUZZ_MAPS];
	struct op *op;		/* the current one */
	size_t nr;		/* its number */
	uint64_t random;	/* state of the data's generator */
};

/* How to run. */
struct fuzz_config {
	bool trace;		/* print each operation */
	bool pressure;
	bool faults;		/* things fail at random */
	bool poison;
	bool emulate;		/* any instruction can be emulated */
	bool known[8];		/* don't insist on these */
	bool threads;		/* others run beside */
	bool more;		/* what is slow, see --more */
	int probe;
};

enum known { KNOWN_R11, KNOWN_SIGNALS, KNOWN_POPULATE, NR_KNOWN };

extern struct fuzz_config cfg;

/* What is wrong, with the operation; ends the process. */
void wrong(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
uint64_t fuzz_random(uint64_t *state);

/* --- the oracle */
void mem_init(struct mem *m, size_t size);
void mem_free(struct mem *m);
void mem_write(struct mem *m, size_t off, size_t len, const void *data);
void mem_zero(struct mem *m, size_t off, size_t len);
void mem_unknown(struct mem *m, size_t off, size_t len);
/* Whole pages, which don't overlap. */
void mem_copy(struct mem *m, size_t to, size_t from, size_t len);
void mem_check(struct world *w, const struct mem *m, size_t off, size_t len,
	       const char *got, const char *who);
/* A page has a memory error, until there is a hole. */
void mem_poison(struct mem *m, size_t off);
bool mem_poisoned(const struct mem *m, size_t off, size_t len);
/* May mappings of the file have errors? */
bool map_poisoned(const struct map *map, size_t first, size_t nr);

/* --- the world */
void world_open(struct world *w, unsigned int thread, uint64_t seed);
/* Check all that can be seen. */
void world_check(struct world *w);
/* Close all of it, in an order made from the number. */
void world_close(struct world *w, uint32_t order);
struct file *file_pick(struct world *w, uint32_t n);
void file_put(struct file *f);
void file_close_fd(struct world *w, struct file *f);
struct map *map_pick(struct world *w, uint32_t n);
struct map *map_new(struct world *w);
void map_hole(struct world *w, struct map *map, size_t first, size_t nr);
/* Access to memory that may not be there: 0 or -EFAULT, as is errno then. */
int try_copy(void *to, const void *from, size_t len);

/* --- guests */
int vm_open(struct vm *vm, unsigned int thread, unsigned long type);
/* A vCPU of its own for a thread, in a VM of which it has the descriptor. */
int vm_join(struct vm *vm, int fd, unsigned int thread, unsigned long type);
void vm_close(struct vm *vm);
struct slot *slot_pick(struct world *w, uint32_t n, struct vm **vm);
void slot_forget(struct vm *vm, struct slot *slot);
/*
 * Have the guest read or write some of a slot's memory, and check.  @emulate: by
 * KVM's emulator.
 */
void guest_access(struct world *w, struct vm *vm, struct slot *slot,
		  size_t off, size_t len, bool write, bool emulate);
/* What KVM writes by itself may have changed. */
void vm_mark_pv(struct vm *vm);
int vm_set_msr(struct vm *vm, uint32_t msr, uint64_t value);
/* Which memory has a guest's page?  NULL: none. */
struct mem *slot_mem(struct vm *vm, struct slot *slot, size_t page, size_t *off);

/* --- operations */
extern const unsigned int nr_kinds;
extern uint32_t *fuzz_done;
/* How often memory was to go offline: fuzz_done has how often it did. */
extern uint32_t *fuzz_offline_tries;
/* The n-th of a thread. */
void op_make(struct op *op, uint64_t *random, bool shared, size_t n);
void op_run(struct world *w, struct op *op);
/* What a sequence has left offline, processors and memory. */
void bring_back(void);
/* How many pages have been poisoned, all of them out of the direct map. */
uint32_t nr_poisoned(void);
const char *op_name(const struct op *op);

#endif
