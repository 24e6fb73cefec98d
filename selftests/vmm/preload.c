// SPDX-License-Identifier: GPL-2.0
/*
 * LD_PRELOAD=libndm-preload.so VMM...
 *
 * Puts the guest memory of a VMM that knows nothing of guest_memfd on one, as long as
 * it comes from memfd_create():  with QEMU,
 *
 *   -object memory-backend-memfd,id=m,size=SIZE,share=on -machine memory-backend=m
 *
 * When a memfd gets its size and the process has a single VM, or when the memfd's
 * mapping becomes a memslot, a guest_memfd of that size takes its place: in all file
 * descriptors, which keep their numbers, and in all mappings, which keep their
 * addresses.  Memslots in it become guest_memfd slots.
 *
 * Environment (all names begin with NDM_PRELOAD_):
 *
 *   FLAGS=no-direct-map   GUEST_MEMFD_FLAG_NO_DIRECT_MAP (default); "plain": a
 *                         guest_memfd without it; "off": only tell what there is
 *   NAMES=PATTERN,...     only memfds with such names, as in the shell (default *)
 *   MIN_SIZE=SIZE         only memfds of that size (K, M, G) or more, default 1M
 *   DIRTY_LOG=all         guest_memfd has no dirty logs: tell that all pages are dirty,
 *                         thus a live migration is right, but never converges
 *                         (default); "refuse": fail, which ends most VMMs
 *   REQUIRE=1             fail where the memory of a large memslot has to stay as it
 *                         is, instead of telling so
 *   VERBOSE=1             tell what happens; 0 (default): only what matters, and a
 *                         summary at exit; -1: only errors
 *
 * It can't help where memory is anonymous, and where nothing can be preloaded: in
 * statically linked VMMs, which don't even say so, and setuid ones.
 *
 * The library's files, of which each knows only what is above it:
 *
 *   preload.c             options, what all have in common, the summary
 *   preload_proc.c        what /proc knows of files and mappings
 *   preload_files.c       a guest_memfd takes a memfd's place
 *   preload_slots.c       VMs, memslots: ioctl()
 *   preload_io.c          the other functions that the VMM gets from here
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "preload.h"

#define SHARED_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

struct options opt = {
	.flags = SHARED_FLAGS | GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
	.min_size = 1 << 20,
	.names = "*",
};
pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
int vms[MAX_VMS], nr_vms, vms_ever;
struct sum sum;

static pid_t owner;

void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function) {
		fprintf(stderr, "ndm-preload: no %s()\n", name);
		_exit(127);
	}
	return function;
}

void say(int level, const char *fmt, ...)
{
	int err = errno;
	char text[512];
	va_list args;

	if (level > opt.verbose)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dprintf(STDERR_FILENO, "ndm-preload: %s\n", text);
	errno = err;
}

static const char *option(const char *name)
{
	char full[64];

	snprintf(full, sizeof(full), "NDM_PRELOAD_%s", name);
	return getenv(full) ?: "";
}

static void bad_option(const char *name)
{
	say(-1, "NDM_PRELOAD_%s=%s is not understood", name, option(name));
	_exit(127);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* Its only thread is none that could unlock it. */
static void in_child(void)
{
	lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
}

__attribute__((constructor))
static void begin(void)
{
	const char *text = option("FLAGS");
	char *end;

	owner = getpid();
	opt.off = !strcmp(text, "off");
	if (!strcmp(text, "plain"))
		opt.flags = SHARED_FLAGS;
	else if (*text && !opt.off && strcmp(text, "no-direct-map"))
		bad_option("FLAGS");
	if (*option("NAMES"))
		opt.names = option("NAMES");
	text = option("MIN_SIZE");
	if (*text) {
		opt.min_size = strtoull(text, &end, 0);
		opt.min_size <<= *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
		if (end == text || (*end && !strchr("KMG", *end)) || opt.min_size < PAGE)
			bad_option("MIN_SIZE");
	}
	text = option("DIRTY_LOG");
	opt.refuse_dirty_log = !strcmp(text, "refuse");
	if (*text && !opt.refuse_dirty_log && strcmp(text, "all"))
		bad_option("DIRTY_LOG");
	opt.require = atoi(option("REQUIRE"));
	opt.verbose = atoi(option("VERBOSE"));
	pthread_atfork(before_fork, after_fork, in_child);
}

__attribute__((destructor))
static void summary(void)
{
	/* Not in helpers that the VMM starts, nor in its children. */
	if (!vms_ever || getpid() != owner)
		return;
	say(0, "%u file(s), %llu MiB, %u memslot(s) on guest_memfd %s; %u beside, %llu MiB in large ones; "
	    "dropped: read-only %u, dirty logging %u, O_DIRECT %u; mapped as shared %u, copied %u, left to the VMM %u",
	    sum.files, MIB(sum.bytes), sum.slots,
	    opt.off ? "(off)" : opt.flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP ? "without a direct map" : "(plain)",
	    sum.other_slots, MIB(sum.other_bytes), sum.read_only, sum.dirty_log, sum.o_direct,
	    sum.private, sum.copied, sum.left_out);
}

