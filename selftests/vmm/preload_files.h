/* SPDX-License-Identifier: GPL-2.0 */
/* Files: a guest_memfd takes a memfd's place. */
#ifndef PRELOAD_FILES_H
#define PRELOAD_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload_proc.h"

struct file {
	struct id id;		/* of the guest_memfd */
	int fd;			/* ours; others may be closed.  0: free */
	int vm;
	uint64_t size;
	char name[64];
};

/* The guest_memfds that took a memfd's place, or NULL.  The second keeps errno. */
struct file *file_by_id(struct id id);
struct file *file_by_fd(int fd);

/* Is that what the kernel shows for a memfd, and one that we shall take? */
bool wanted(const char *path, uint64_t size, char *name, size_t len);

/* Returns NULL if the memory has to stay as it is, and says why. */
struct file *replace(int vm, struct id id, const char *name, uint64_t size, bool empty);

/*
 * Replace a memfd early, best before anything is in it, if it's clear which VM it is
 * for.  @lend: it's about to be passed to another process.
 */
void replace_fd(int fd, bool lend);

/* Was it passed to another process as it was? */
bool is_lent(struct id id);

/* The VMM uses the file no longer: then it has to go, and its memory with it. */
void forget_unused(void);

#endif
