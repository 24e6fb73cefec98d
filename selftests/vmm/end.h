/* SPDX-License-Identifier: GPL-2.0 */
/* How it ends, and who is told. */
#ifndef VMM_END_H
#define VMM_END_H

/* Exit codes. */
enum vmm_end {
	END_POWEROFF	= 0,
	END_ERROR	= 1,	/* the VMM or KVM failed, or was asked for nonsense */
	END_PANIC	= 10,	/* the guest's kernel panicked, then reset */
	END_RESET	= 11,
	END_TRIPLE	= 12,	/* triple fault */
	END_TIMEOUT	= 13,
};

/* Ends the program with a line on standard error, after what end_init() was given. */
void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...);

/* Returns an eventfd: something has happened that the main thread should see to. */
int end_init(void (*tidy)(void));
void end_wake(void);

/* The first one that sets it counts.  -1: it goes on. */
void end_set(enum vmm_end how);
int end_get(void);
/* The same for a vCPU, which must not go on. */
void __attribute__((noreturn)) end_here(enum vmm_end how);

#endif
