// SPDX-License-Identifier: GPL-2.0
/* A memory cgroup for each slot, which limits it and tells what it is charged for. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "soak.h"

/* The number behind a name in a cgroup's file, or the one that it begins with. */
unsigned long cgroup_read(const char *group, const char *file, const char *name)
{
	char path[PATH_MAX], buf[8192], *at = buf;

	snprintf(path, sizeof(path), CGROUP "/%s/%s", group, file);
	if (ndm_read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	if (name)
		at = strstr(buf, name);
	return at ? strtoul(at + (name ? strlen(name) : 0), NULL, 10) : 0;
}

void cgroup_write(const char *group, const char *file, const char *value)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), CGROUP "/%s/%s", group, file);
	err = ndm_write_file(path, "%s\n", value);
	if (err)
		ndm_fail("%s: %s", path, strerror(-err));
}

void cgroups_make(void)
{
	char path[PATH_MAX];
	unsigned int i;

	ndm_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory\n");
	mkdir(CGROUP, 0755);
	cgroup_write(".", "cgroup.subtree_control", "+memory");
	for (i = 0; i < nr_slots; i++) {
		snprintf(slots[i].name, sizeof(slots[i].name), "%u", i);
		snprintf(slots[i].output, sizeof(slots[i].output), "/tmp/soak.%u", i);
		snprintf(path, sizeof(path), CGROUP "/%u", i);
		mkdir(path, 0755);
		cgroup_write(slots[i].name, "memory.oom.group", "1");
	}
}

void cgroups_remove(void)
{
	char path[PATH_MAX];
	unsigned int i;

	for (i = 0; i < nr_slots; i++) {
		snprintf(path, sizeof(path), CGROUP "/%u", i);
		if (rmdir(path))
			ndm_fail("%s: %s", path, strerror(errno));
	}
	rmdir(CGROUP);
}

void print_charges(void)
{
	char path[PATH_MAX], line[256];
	unsigned int i;
	FILE *file;

	for (i = 0; i < nr_slots; i++) {
		snprintf(path, sizeof(path), CGROUP "/%s/memory.stat", slots[i].name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			if (strstr(line, "pg") || strstr(line, "workingset"))
				break;
			if (!strstr(line, " 0\n"))
				printf("  %s: %s", slots[i].name, line);
		}
		if (file)
			fclose(file);
	}
}
