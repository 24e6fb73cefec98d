// SPDX-License-Identifier: GPL-2.0
/*
 * Soak: guests start, run, convert memory and end, at random, or are killed, or
 * run out of memory, or have allocations fail.  When all of them are gone, and
 * what is only kept in stock is given back, the machine's books must be as they
 * were before.  --help says how to use it.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "soak.h"

enum {
	SECONDS = 60,
	PROGRESS = 15,		/* seconds between two lines that tell of it */
};

unsigned int nr_slots = 3, nr_started;
unsigned int seed;
unsigned int slow = 1;
bool faults;
int probe;

static void progress(double since)
{
	unsigned int i, ended = 0, killed = 0, oom = 0, errors = 0;

	for (i = 0; i < nr_kinds; i++) {
		ended += kinds[i].ended;
		killed += kinds[i].killed;
		oom += kinds[i].oom;
		errors += kinds[i].errors;
	}
	printf("%4.0f s: %u started, %u ended, %u killed, %u out of memory, %u with errors; "
	       "%llu pages removed, %llu MiB free;",
	       ndm_now() - since, nr_started, ended, killed, oom, errors,
	       (unsigned long long)ndm_missing(probe),
	       (unsigned long long)ndm_free_kb() / 1024);
	for (i = 0; i < nr_slots; i++) {
		if (slots[i].pid)
			printf(" [%s]", slots[i].kind->name);
	}
	printf("\n");
	/* scripts/boot is told how long silence is no hang */
	dprintf(4, "expect 300\n");
}

static void soak(unsigned int seconds)
{
	double begin = ndm_now(), now = begin, next = begin, change = begin;
	bool last = false;
	unsigned int i;

	while (!last || running(0)) {
		now = ndm_now();
		if (now >= next) {
			progress(begin);
			next = now + PROGRESS;
		}
		if (faults && now >= change) {
			faults_change();
			change = now + 5;
		}
		last = now >= begin + seconds;
		blocks_count();
		reap();
		for (i = 0; i < nr_slots; i++) {
			if (slots[i].pid)
				look_after(&slots[i], now);
			else if (!last && !slots[i].stuck)
				start(&slots[i]);
		}
		usleep(20000);
	}
	progress(begin);
}

static void module_reload(void)
{
	const char *module = kvm_module();
	char path[64], cmd[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module);
	snprintf(cmd, sizeof(cmd), "modprobe %s", module);
	if (access(path, F_OK)) {
		printf("%-42s%24s\n", module, "no module");
		return;
	}
	if (syscall(SYS_delete_module, module, O_NONBLOCK))
		ndm_fail("%s can't be unloaded: %s", module, strerror(errno));
	else if (system(cmd))
		ndm_fail("%s can't be loaded again", module);
	else
		printf("%-42s%24s\n", module, "unloaded, loaded");
}

static void print_kinds(void)
{
	struct kind *k;

	printf("\n%-26s%8s%8s%8s%8s%8s%8s | %8s%8s%8s\n", "", "started", "ended",
	       "killed", "no mem", "errors", "FAILED", "faults", "limited", "seconds");
	for (k = kinds; k < kinds + nr_kinds; k++)
		printf("%-26s%8u%8u%8u%8u%8u%8u | %8u%8u%8.1f\n", k->name, k->started,
		       k->ended, k->killed, k->oom, k->errors, k->failed,
		       k->injected, k->limited, k->ended ? k->time / k->ended : 0);
}

static void usage(const char *self)
{
	printf("Usage: %s [--seconds N] [--seed N] [--slots N]\n"
	       "\n"
	       "  --seconds N  how long guests are started (default %u)\n"
	       "  --seed N     repeat what another run has started\n"
	       "  --slots N    how many at a time, 1 to %u (default %u)\n"
	       "\n"
	       "Exit codes: 0 all is as before, 1 something is wrong or can't be tested here,\n"
	       "%d bad usage.\n", self, SECONDS, MAX_SLOTS, nr_slots, NDM_BAD_USAGE);
}

int main(int argc, char **argv)
{
	unsigned int seconds = SECONDS;
	const struct ndm_option options[] = {
		{ "seconds", .number = &seconds, .min = 1, .max = INT_MAX },
		{ "seed", .number = &seed, .max = UINT_MAX },
		{ "slots", .number = &nr_slots, .min = 1, .max = MAX_SLOTS },
		{}
	};
	struct books before, after;

	seed = ndm_seed() % 1000000;
	ndm_options(argc, argv, options, usage);
	probe = ndm_begin(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG | NDM_NEED_DEBUGFS);
	fcntl(4, F_SETFD, FD_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setenv("SLOW", "1", 1);
	faults = !access(DEBUGFS "failslab", F_OK);
	if (faults) {
		slow = 5;
		setenv("SLOW", "5", 1);
		free_tolerance_kb = 16 << 10;
		faults_start();
	}
	printf("seed %u, %u seconds, %u at a time, fault injection: %s\n", seed, seconds,
	       nr_slots, faults ? "failslab, fail_page_alloc" :
	       "left out, this kernel has none");
	ndm_write_file("/proc/sys/vm/oom_dump_tasks", "0\n");
	cgroups_make();
	blocks_watch();

	give_back();
	give_back();
	take_stock(&before);
	soak(seconds);
	if (faults)
		fault_knobs("probability", "0");
	settle(&before, &after);

	print_kinds();
	if (faults)
		faults_check();
	compare(&before, &after);
	cgroups_remove();
	module_reload();
	printf("%u things are wrong\n", ndm_failures);
	return ndm_failures ? 1 : 0;
}
