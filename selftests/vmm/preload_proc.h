/* SPDX-License-Identifier: GPL-2.0 */
/* /proc: who maps a file, which descriptors are open on it. */
#ifndef PRELOAD_PROC_H
#define PRELOAD_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A file, by whatever descriptor or mapping it was found. */
struct id {
	dev_t dev;
	ino_t ino;
};

/* A mapping. */
struct area {
	uint64_t start, end, offset;
	int prot;
	bool shared;
	struct id id;
	char path[128];
};

static inline bool same(struct id a, struct id b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

bool id_of(int fd, struct id *id);

/* All mappings of a file.  Returns how many there are. */
unsigned int areas_of(struct id id, struct area *areas, unsigned int max);

/*
 * What is mapped at [start, start + size)?  One file, in one piece, though maybe by
 * several mappings; else @area->end says how far that goes.
 */
bool area_at(uint64_t start, uint64_t size, struct area *area);

/* All descriptors of a file but @not.  Returns how many there are. */
unsigned int fds_of(struct id id, int not, int *fds, unsigned int max);

#endif
