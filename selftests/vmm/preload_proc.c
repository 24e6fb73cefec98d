// SPDX-License-Identifier: GPL-2.0
/* What /proc knows of this process's files and mappings. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "preload_proc.h"

bool id_of(int fd, struct id *id)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	id->dev = st.st_dev;
	id->ino = st.st_ino;
	return true;
}

static bool next_area(FILE *maps, struct area *area)
{
	unsigned long long start, end, offset, ino;
	unsigned int major, minor;
	char line[512], perms[8];
	int at = 0;

	if (!fgets(line, sizeof(line), maps))
		return false;
	if (sscanf(line, "%llx-%llx %7s %llx %x:%x %llu %n", &start, &end, perms, &offset,
		   &major, &minor, &ino, &at) < 7)
		return false;
	line[strcspn(line, "\n")] = 0;
	area->start = start;
	area->end = end;
	area->offset = offset;
	area->prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
		     (perms[2] == 'x' ? PROT_EXEC : 0);
	area->shared = perms[3] == 's';
	area->id.dev = makedev(major, minor);
	area->id.ino = ino;
	snprintf(area->path, sizeof(area->path), "%s", at ? line + at : "");
	return true;
}

unsigned int areas_of(struct id id, struct area *areas, unsigned int max)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int nr = 0;
	struct area area;

	if (!maps)
		return 0;
	while (next_area(maps, &area)) {
		if (!same(area.id, id))
			continue;
		if (nr < max)
			areas[nr] = area;
		nr++;
	}
	fclose(maps);
	return nr;
}

bool area_at(uint64_t start, uint64_t size, struct area *area)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;
	struct area next;

	if (!maps)
		return false;
	while (next_area(maps, &next)) {
		if (!found && start >= next.start && start < next.end) {
			*area = next;
			area->offset += start - next.start;
			area->start = start;
			found = true;
		} else if (found && next.start == area->end && same(next.id, area->id) &&
			   next.offset == area->offset + area->end - area->start) {
			area->end = next.end;
		} else if (found) {
			break;
		}
	}
	fclose(maps);
	return found && start + size <= area->end;
}

unsigned int fds_of(struct id id, int not, int *fds, unsigned int max)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned int nr = 0;
	struct id other;
	int fd;

	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || fd == dirfd(dir) || fd == not ||
		    !id_of(fd, &other) || !same(other, id))
			continue;
		if (nr < max)
			fds[nr] = fd;
		nr++;
	}
	closedir(dir);
	return nr;
}
