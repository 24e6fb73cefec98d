// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

#include "end.h"

static void (*tidy_up)(void);
static int wake = -1;
static int ended = -1;

void die(const char *fmt, ...)
{
	va_list args;

	if (tidy_up)
		tidy_up();
	fprintf(stderr, "vmm: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	_exit(END_ERROR);
}

int end_init(void (*tidy)(void))
{
	tidy_up = tidy;
	wake = eventfd(0, EFD_CLOEXEC);
	if (wake < 0)
		die("eventfd: %s", strerror(errno));
	return wake;
}

void end_wake(void)
{
	uint64_t one = 1;

	if (write(wake, &one, sizeof(one)) != sizeof(one))
		die("cannot wake the main thread: %s", strerror(errno));
}

void end_set(enum vmm_end how)
{
	int none = -1;

	__atomic_compare_exchange_n(&ended, &none, how, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	end_wake();
}

int end_get(void)
{
	return __atomic_load_n(&ended, __ATOMIC_SEQ_CST);
}

void end_here(enum vmm_end how)
{
	end_set(how);
	for (;;)
		pause();
}
