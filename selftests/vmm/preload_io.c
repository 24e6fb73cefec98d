// SPDX-License-Identifier: GPL-2.0
/* Files: what guest_memfd does in another way than a memfd, and what it can't do. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <linux/falloc.h>
#include <linux/kvm.h>

#include "preload.h"
#include "preload_files.h"
#include "preload_slots.h"

EXPORT int ftruncate64(int fd, off64_t size)
{
	struct file *file;
	int r;

	pthread_mutex_lock(&lock);
	file = file_by_fd(fd);
	if (!file) {
		r = REAL(ftruncate64)(fd, size);
		if (!r)
			replace_fd(fd, false);
	} else if ((uint64_t)size == file->size) {
		r = 0;
	} else {
		say(-1, "%s: the size of a guest_memfd can't change", file->name);
		errno = EINVAL;
		r = -1;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

EXPORT int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	pthread_mutex_lock(&lock);
	if (file_by_fd(fd))
		mode |= FALLOC_FL_KEEP_SIZE;
	pthread_mutex_unlock(&lock);
	return REAL(fallocate64)(fd, mode, offset, len);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fallocate64(fd, mode, offset, len);
}

EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
	struct file *file;

	pthread_mutex_lock(&lock);
	file = file_by_fd(fd);
	pthread_mutex_unlock(&lock);
	if (!file)
		return REAL(posix_fallocate64)(fd, offset, len);
	return fallocate64(fd, 0, offset, len) ? errno : 0;
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t len)
{
	return posix_fallocate64(fd, offset, len);
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int map, int fd, off64_t offset)
{
	struct file *file = NULL;

	if (fd >= 0) {
		pthread_mutex_lock(&lock);
		file = file_by_fd(fd);
		/* The VMM has asked for a copy of its own; nobody else has one. */
		if (file && (map & MAP_TYPE) == MAP_PRIVATE) {
			if (!sum.private++)
				say(0, "%s: mapped as shared, there is no private mapping of a guest_memfd",
				    file->name);
			map = (map & ~MAP_TYPE) | MAP_SHARED;
		}
		pthread_mutex_unlock(&lock);
	}
	return REAL(mmap64)(addr, len, prot, map, fd, offset);
}

EXPORT void *mmap(void *addr, size_t len, int prot, int map, int fd, off_t offset)
{
	return mmap64(addr, len, prot, map, fd, offset);
}

EXPORT int munmap(void *addr, size_t len)
{
	int r = REAL(munmap)(addr, len);

	/* An allocator may get here that isn't to be called now. */
	if (!r && sum.files && len >= opt.min_size) {
		pthread_mutex_lock(&lock);
		forget_unused();
		pthread_mutex_unlock(&lock);
	}
	return r;
}

EXPORT int close(int fd)
{
	bool ours, known;
	int r, i;

	if (!vms_ever)
		return REAL(close)(fd);
	pthread_mutex_lock(&lock);
	ours = file_by_fd(fd);
	for (known = false, i = 0; i < nr_vms; i++)
		known |= vms[i] == fd;
	r = REAL(close)(fd);
	if (known)
		forget_vm(fd);
	if (ours)
		forget_unused();
	pthread_mutex_unlock(&lock);
	return r;
}

/* Who gets the descriptor maps what it is now. */
EXPORT ssize_t sendmsg(int sock, const struct msghdr *msg, int how)
{
	struct cmsghdr *cmsg;
	unsigned int i, n;
	int fd;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR((struct msghdr *)msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		pthread_mutex_lock(&lock);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (!file_by_fd(fd))
				replace_fd(fd, true);
		}
		pthread_mutex_unlock(&lock);
	}
	return REAL(sendmsg)(sock, msg, how);
}

/* --- O_DIRECT pins pages, which such memory's refuse */

static int without_direct(int how, const char *path)
{
	if (opt.off || !(opt.flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP) || !(how & O_DIRECT))
		return how;
	if (!sum.o_direct++)
		say(0, "%s: opened without O_DIRECT, which can't access memory without a direct map",
		    path);
	return how & ~O_DIRECT;
}

#define OPEN(name, ...)							\
	mode_t mode = 0;						\
									\
	if (how & O_CREAT || (how & O_TMPFILE) == O_TMPFILE) {		\
		va_list args;						\
									\
		va_start(args, how);					\
		mode = va_arg(args, mode_t);				\
		va_end(args);						\
	}								\
	return REAL(name)(__VA_ARGS__, without_direct(how, path), mode)

EXPORT int open(const char *path, int how, ...)
{
	OPEN(open, path);
}

EXPORT int open64(const char *path, int how, ...)
{
	OPEN(open64, path);
}

EXPORT int openat(int dir, const char *path, int how, ...)
{
	OPEN(openat, dir, path);
}

EXPORT int openat64(int dir, const char *path, int how, ...)
{
	OPEN(openat64, dir, path);
}

/* What _FORTIFY_SOURCE makes of them. */
EXPORT int __open_2(const char *path, int how)
{
	return open(path, how);
}

EXPORT int __open64_2(const char *path, int how)
{
	return open64(path, how);
}

EXPORT int __openat_2(int dir, const char *path, int how)
{
	return openat(dir, path, how);
}

EXPORT int __openat64_2(int dir, const char *path, int how)
{
	return openat64(dir, path, how);
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
	struct file *file;
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);

	if (cmd == F_SETFL)
		arg = (void *)(long)without_direct((long)arg, "a file");
	if (cmd == F_ADD_SEALS || cmd == F_GET_SEALS) {
		pthread_mutex_lock(&lock);
		file = file_by_fd(fd);
		pthread_mutex_unlock(&lock);
		/* Its size can't change anyway. */
		if (file && cmd == F_GET_SEALS)
			return F_SEAL_GROW | F_SEAL_SHRINK;
		if (file && !((long)arg & ~(F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK)))
			return 0;
	}
	return REAL(fcntl64)(fd, cmd, arg);
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return fcntl64(fd, cmd, arg);
}
