// SPDX-License-Identifier: GPL-2.0
/* Allocations that fail, in tasks that are told to. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

enum { FAULTS = 1000000000 };

static const char * const fault_attrs[] = { "failslab", "fail_page_alloc" };

enum { NR_ATTRS = sizeof(fault_attrs) / sizeof(*fault_attrs) };

static void fault_knob(const char *attr, const char *knob, const char *value)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", attr, knob);
	err = ndm_write_file(path, "%s\n", value);
	if (err)
		ndm_fail("%s: %s", path, strerror(-err));
}

void fault_knobs(const char *knob, const char *value)
{
	int i;

	for (i = 0; i < NR_ATTRS; i++)
		fault_knob(fault_attrs[i], knob, value);
}

void faults_start(void)
{
	static const char * const knobs[][2] = {
		{ "verbose", "0" },
		{ "task-filter", "Y" },
		{ "ignore-gfp-wait", "N" },
		{ "space", "0" },
		{ "times", "1000000000" },
		{ "probability", "100" },
	};
	size_t i;

	fault_knob("fail_page_alloc", "ignore-gfp-highmem", "N");
	fault_knob("fail_page_alloc", "min-order", "0");
	for (i = 0; i < sizeof(knobs) / sizeof(*knobs); i++)
		fault_knobs(knobs[i][0], knobs[i][1]);
}

/* Rarely, for a task to get far before it fails; often, to fail all over. */
void faults_change(void)
{
	static const char * const intervals[] = { "1", "3", "10", "30", "100", "300" };
	static unsigned int state = 1;

	/* Not from the numbers that tell what is started. */
	fault_knobs("interval", intervals[rand_r(&state) % 6]);
}

void faults_check(void)
{
	char path[PATH_MAX], buf[32];
	long injected;
	int i, len;

	for (i = 0; i < NR_ATTRS; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/times", fault_attrs[i]);
		len = ndm_read_file(path, buf, sizeof(buf));
		if (len <= 0) {
			ndm_fail("%s: %s", path, strerror(-len));
			continue;
		}
		injected = FAULTS - strtol(buf, NULL, 10);
		printf("allocations made to fail by %s: %ld\n", fault_attrs[i], injected);
		if (injected <= 0)
			ndm_fail("no allocation was made to fail by %s", fault_attrs[i]);
	}
}

void for_each_thread(pid_t pid, thread_fn fn)
{
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] != '.')
			fn(pid, d->d_name);
	}
	if (dir)
		closedir(dir);
}

void make_it_fail(pid_t pid, const char *tid)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/make-it-fail", pid, tid);
	err = ndm_write_file(path, "1\n");
	/* It may have ended. */
	if (err && err != -ENOENT && err != -ESRCH)
		ndm_fail("%s: %s", path, strerror(-err));
}
