// SPDX-License-Identifier: GPL-2.0
/* A guest_memfd takes a memfd's place: in all descriptors and all mappings. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/kvm.h>

#include "preload.h"
#include "preload_files.h"

#define MAX_FILES	256
#define MAX_AREAS	64	/* mappings of a single file */
#define MAX_LENT	32

static struct file files[MAX_FILES];
static struct id lent[MAX_LENT];	/* memfds that others have, for good */
static unsigned int nr_lent;

struct file *file_by_id(struct id id)
{
	unsigned int i;

	for (i = 0; i < MAX_FILES; i++) {
		if (files[i].fd && same(files[i].id, id))
			return &files[i];
	}
	return NULL;
}

struct file *file_by_fd(int fd)
{
	struct id id;
	int err = errno;
	struct file *file = sum.files && id_of(fd, &id) ? file_by_id(id) : NULL;

	errno = err;
	return file;
}

bool wanted(const char *path, uint64_t size, char *name, size_t len)
{
	char pattern[256];
	const char *p;
	size_t n;

	if (opt.off || strncmp(path, "/memfd:", 7) || size < opt.min_size)
		return false;
	snprintf(name, len, "%s", path + 7);
	if (strlen(name) > 10 && !strcmp(name + strlen(name) - 10, " (deleted)"))
		name[strlen(name) - 10] = 0;
	for (p = opt.names; *p; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		snprintf(pattern, sizeof(pattern), "%.*s", (int)n, p);
		if (!fnmatch(pattern, name, 0))
			return true;
	}
	return false;
}

static void copy_pages(char *to, const char *from, uint64_t size)
{
	static const char zeroes[PAGE];
	uint64_t i;

	for (i = 0; i < size; i += PAGE) {
		if (memcmp(from + i, zeroes, PAGE))
			memcpy(to + i, from + i, PAGE);
	}
}

/* What has been written to the memfd already, at best nothing. */
static bool copy_contents(int gmem, uint64_t size, int fd, const struct area *areas,
			  unsigned int nr)
{
	char *to, *from;
	off_t data, hole;
	unsigned int i;

	to = REAL(mmap)(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, gmem, 0);
	if (to == MAP_FAILED)
		return false;
	for (i = 0; fd < 0 && i < nr; i++) {
		if ((areas[i].prot & PROT_READ) && areas[i].offset < size)
			copy_pages(to + areas[i].offset, (char *)areas[i].start,
				   areas[i].end - areas[i].start);
	}
	for (hole = 0; fd >= 0; ) {
		data = lseek(fd, hole, SEEK_DATA);
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			break;
		from = REAL(mmap)(NULL, hole - data, PROT_READ, MAP_SHARED, fd, data);
		if (from == MAP_FAILED) {
			REAL(munmap)(to, size);
			return false;
		}
		copy_pages(to + data, from, hole - data);
		REAL(munmap)(from, hole - data);
	}
	REAL(munmap)(to, size);
	return true;
}

struct file *replace(int vm, struct id id, const char *name, uint64_t size, bool empty)
{
	struct kvm_create_guest_memfd create = {
		.size = (size + PAGE - 1) & -PAGE,
		.flags = opt.flags,
	};
	struct area areas[MAX_AREAS];
	unsigned int nr_areas, nr_fds, i;
	struct file *file;
	int gmem, has, fds[64];

	for (file = files; file < files + MAX_FILES && file->fd; file++)
		;
	nr_areas = areas_of(id, areas, MAX_AREAS);
	nr_fds = fds_of(id, -1, fds, 64);
	if (file == files + MAX_FILES || nr_areas > MAX_AREAS || nr_fds > 64) {
		say(-1, "too many files, mappings or descriptors for %s", name);
		return NULL;
	}
	has = REAL(ioctl)(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (has < 0 || (has & opt.flags) != opt.flags) {
		say(-1, "%s stays as it is: this VM has no guest_memfd with the flags 0x%llx, only 0x%x",
		    name, (unsigned long long)opt.flags, has < 0 ? 0 : has);
		return NULL;
	}
	gmem = REAL(ioctl)(vm, KVM_CREATE_GUEST_MEMFD, &create);
	/* Low numbers are the VMM's. */
	if (gmem >= 0) {
		file->fd = fcntl(gmem, F_DUPFD_CLOEXEC, 256);
		REAL(close)(gmem);
	}
	if (gmem < 0 || file->fd < 0 || !id_of(file->fd, &file->id)) {
		say(-1, "%s stays as it is: no guest_memfd of %llu MiB: %s", name, MIB(size),
		    strerror(errno));
		file->fd = 0;
		return NULL;
	}
	if (!empty) {
		sum.copied++;
		if (!copy_contents(file->fd, create.size, nr_fds ? fds[0] : -1, areas, nr_areas)) {
			say(-1, "%s stays as it is: cannot copy it: %s", name, strerror(errno));
			REAL(close)(file->fd);
			file->fd = 0;
			return NULL;
		}
	}
	for (i = 0; i < nr_areas; i++) {
		if (REAL(mmap)((void *)areas[i].start, areas[i].end - areas[i].start,
			       areas[i].prot, MAP_SHARED | MAP_FIXED, file->fd,
			       areas[i].offset) == MAP_FAILED) {
			say(-1, "cannot map %s again: %s", name, strerror(errno));
			_exit(127);
		}
	}
	for (i = 0; i < nr_fds; i++) {
		if (dup3(file->fd, fds[i], REAL(fcntl)(fds[i], F_GETFD) & FD_CLOEXEC ?
			 O_CLOEXEC : 0) < 0) {
			say(-1, "cannot replace descriptor %d of %s: %s", fds[i], name,
			    strerror(errno));
			_exit(127);
		}
	}
	file->vm = vm;
	file->size = create.size;
	snprintf(file->name, sizeof(file->name), "%s", name);
	sum.files++;
	sum.bytes += create.size;
	say(1, "%s: %llu MiB on a guest_memfd, flags 0x%llx%s", name, MIB(size),
	    (unsigned long long)opt.flags, empty ? "" : ", contents copied");
	return file;
}

void replace_fd(int fd, bool lend)
{
	char link[64], path[128], name[64];
	struct stat st;
	struct id id;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0 || fstat(fd, &st))
		return;
	path[len] = 0;
	id = (struct id){ st.st_dev, st.st_ino };
	if (!wanted(path, st.st_size, name, sizeof(name)))
		return;
	if (nr_vms == 1)
		replace(vms[0], id, name, st.st_size, !st.st_blocks);
	else if (lend && nr_lent < MAX_LENT)
		lent[nr_lent++] = id;
}

bool is_lent(struct id id)
{
	unsigned int i;

	for (i = 0; i < nr_lent; i++) {
		if (same(lent[i], id))
			return true;
	}
	return false;
}

void forget_unused(void)
{
	struct area area;
	struct file *file;
	int fd;

	for (file = files; file < files + MAX_FILES; file++) {
		if (!file->fd || fds_of(file->id, file->fd, &fd, 1) ||
		    areas_of(file->id, &area, 1))
			continue;
		say(1, "%s: the VMM has closed it", file->name);
		REAL(close)(file->fd);
		file->fd = 0;
	}
}
