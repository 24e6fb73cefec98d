// SPDX-License-Identifier: GPL-2.0
/*
 * Operations: on what userspace maps.
 */
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/mempolicy.h>

#include "ops.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

void op_mmap(struct world *w, struct op *op)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE,
	};
	struct file *f = file_pick(w, op->a);
	int prot = prots[op->d / 4 % 4], flags = MAP_SHARED;
	struct map *map = map_new(w);
	size_t first, nr;
	char *addr;

	if (!f || !map)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	if (op->d / 16 % 8 == 0)
		flags |= MAP_POPULATE;
	if (op->d / 128 % 8 == 0)
		flags |= MAP_LOCKED;
	fuzz_done[op->kind]++;
	addr = mmap(NULL, nr * NDM_PAGE, prot, flags, f->fd, first * NDM_PAGE);
	if (addr == MAP_FAILED) {
		if (f->secret || (f->flags & GUEST_MEMFD_FLAG_MMAP))
			wrong(w, "%s", strerror(errno));
		return;
	}
	if (!f->secret && !(f->flags & GUEST_MEMFD_FLAG_MMAP))
		wrong(w, "it can be mapped");
	*map = (struct map){ .file = f, .addr = addr, .pgoff = first, .pages = nr };
	map->prot = malloc(nr);
	memset(map->prot, prot, nr);
	f->users++;
}

void op_munmap(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map)
		return;
	range(op, 0, map->pages, &first, &nr);
	if (nr > 16 && nr < map->pages)
		nr = 16;
	fuzz_done[op->kind]++;
	map_hole(w, map, first, nr);
}

void op_mprotect(struct world *w, struct op *op)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE };
	struct map *map = map_pick(w, op->a);
	int prot = prots[op->d % 3];
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	fuzz_done[op->kind]++;
	if (mprotect(map->addr + first * NDM_PAGE, nr * NDM_PAGE, prot))
		wrong(w, "%s", strerror(errno));
	memset(map->prot + first, prot, nr);
}

void op_mremap(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t i, nr;
	char *addr;

	if (!map)
		return;
	for (i = 0; i < map->pages; i++) {
		if (map->prot[i] != map->prot[0] || map->prot[i] == PAGE_GONE)
			return;
	}
	nr = op->b & 1 ? map->pages : 1 + op->c % map->pages;
	addr = mmap(NULL, nr * NDM_PAGE + MIB(2), PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	munmap(addr, nr * NDM_PAGE + MIB(2));
	addr += op->d % 512 * NDM_PAGE;
	fuzz_done[op->kind]++;
	addr = mremap(map->addr, map->pages * NDM_PAGE, nr * NDM_PAGE,
		      MREMAP_MAYMOVE | (w->shared || cfg.threads ? 0 : MREMAP_FIXED), addr);
	if (addr == MAP_FAILED) {
		/* Locked parts of it, e.g., make more than one. */
		if (errno != EFAULT && errno != EAGAIN && errno != EINVAL)
			wrong(w, "%s", strerror(errno));
		return;
	}
	map->addr = addr;
	map->pages = nr;
}

void op_madvise(struct world *w, struct op *op)
{
	static const int advices[] = {
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED, MADV_WILLNEED,
		MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_FREE,
		MADV_MERGEABLE, MADV_COLLAPSE, MADV_RANDOM, MADV_REMOVE,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED,
	};
	int advice = advices[op->d / 3 % 16], ret;
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	ret = INJECT(op, madvise(map->addr + first * NDM_PAGE, nr * NDM_PAGE, advice));
	if (advice == MADV_REMOVE) {
		if (!ret)
			mem_zero(&map->file->mem, (map->pgoff + first) * NDM_PAGE,
				 nr * NDM_PAGE);
		/*
		 * What comes first may be gone when the rest is locked, or can't be
		 * written to.  If even that can't be, nothing is.
		 */
		else if (injected || (nr > 1 && !map->file->secret &&
				      (map->prot[first] & PROT_WRITE)))
			mem_unknown(&map->file->mem, (map->pgoff + first) * NDM_PAGE,
				    nr * NDM_PAGE);
	}
	if (ret && (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) &&
	    TOUCHABLE(map->file) && !cfg.known[KNOWN_POPULATE] &&
	    !excused(map_poisoned(map, first, nr)) &&
	    map_allows(map, first, nr, advice == MADV_POPULATE_READ ? PROT_READ : PROT_WRITE))
		wrong(w, "%zu pages at %zu can't be populated: %s", nr, map->pgoff + first,
		      strerror(errno));
}

/* Where memory comes from.  What is there doesn't move. */
void op_mbind(struct world *w, struct op *op)
{
	static const int modes[] = {
		MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_LOCAL,
	};
	static const int flags[] = {
		0, MPOL_MF_STRICT, MPOL_MF_MOVE, MPOL_MF_MOVE_ALL,
	};
	struct map *map = map_pick(w, op->a);
	int mode = modes[op->d / 4 % 5];
	unsigned long nodes = mode == MPOL_DEFAULT || mode == MPOL_LOCAL ? 0 : 1;
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	/* Only if it is to look at what is there, that may be in its way. */
	if (INJECT(op, syscall(SYS_mbind, map->addr + first * NDM_PAGE, nr * NDM_PAGE, mode,
			       &nodes, 64, flags[op->d % 4])) &&
	    !(errno == EIO && flags[op->d % 4]) && !excused(false))
		wrong(w, "%s", strerror(errno));
}

void op_mlock(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr;

	if (!map || !map_range(op, map, &first, &nr))
		return;
	fuzz_done[op->kind]++;
	if (!(op->d & 1)) {
		if (munlock(map->addr + first * NDM_PAGE, nr * NDM_PAGE))
			wrong(w, "munlock: %s", strerror(errno));
		return;
	}
	/* It populates, which not all of it allows. */
	if (mlock(map->addr + first * NDM_PAGE, nr * NDM_PAGE) && TOUCHABLE(map->file) &&
	    map_allows(map, first, nr, PROT_READ) && !cfg.known[KNOWN_POPULATE] &&
	    !cfg.pressure &&
	    !map_poisoned(map, first, nr))
		wrong(w, "%zu pages at %zu: %s", nr, map->pgoff + first, strerror(errno));
}

void op_host_write(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, off;
	struct file *f;
	char *buf;
	int ret;

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_WRITE))
		return;
	f = map->file;
	if (nr > 64)
		nr = 64;
	off = (map->pgoff + first) * NDM_PAGE;
	buf = malloc(nr * NDM_PAGE);
	data_fill(w, buf, nr * NDM_PAGE);
	ret = INJECT(op, try_copy(map->addr + first * NDM_PAGE, buf, nr * NDM_PAGE));
	if (!ret != TOUCHABLE(f) && !(ret && excused(map_poisoned(map, first, nr))))
		wrong(w, "%zu pages at %zu: %s", nr, off / NDM_PAGE,
		      ret ? "can't be written" : "can be written");
	if (ret)
		mem_unknown(&f->mem, off, nr * NDM_PAGE);
	else
		mem_write(&f->mem, off, nr * NDM_PAGE, buf);
	free(buf);
}

void op_host_read(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, i, off;
	char page[NDM_PAGE];

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ))
		return;
	for (i = first; i < first + nr && i < first + 64; i++) {
		off = (map->pgoff + i) * NDM_PAGE;
		if (INJECT(op, try_copy(page, map->addr + i * NDM_PAGE, NDM_PAGE))) {
			if (TOUCHABLE(map->file) && !excused(map_poisoned(map, i, 1)))
				wrong(w, "page %zu can't be read", map->pgoff + i);
			continue;
		}
		if (!TOUCHABLE(map->file))
			wrong(w, "page %zu can be read", map->pgoff + i);
		mem_check(w, &map->file->mem, off, NDM_PAGE, page, "a mapping");
	}
}

/* GUP hands out nothing of it. */
void op_gup(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	struct iovec local, remote;
	size_t first, nr;
	char page[NDM_PAGE];
	ssize_t ret;

	if (!map || !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ) || !TOUCHABLE(map->file))
		return;
	local = (struct iovec){ page, NDM_PAGE };
	remote = (struct iovec){ map->addr + first * NDM_PAGE, NDM_PAGE };
	fuzz_done[op->kind]++;
	ret = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	/* Only what has no direct map gets memory errors. */
	if (NDM_FILE(map->file) ? ret >= 0 : ret != (ssize_t)NDM_PAGE)
		wrong(w, "process_vm_readv: %zd %s", ret, strerror(errno));
	if (ret > 0)
		mem_check(w, &map->file->mem, (map->pgoff + first) * NDM_PAGE, NDM_PAGE,
			  page, "process_vm_readv");
}

/* A child with the same descriptors and mappings, that may outlive ours. */
void op_fork(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first = 0, nr = 0, i, off = 0;
	char *buf = NULL;
	int status;
	pid_t pid;

	if (map && TOUCHABLE(map->file) && map_range(op, map, &first, &nr) &&
	    map_allows(map, first, nr, PROT_READ | PROT_WRITE)) {
		if (nr > 8)
			nr = 8;
		off = (map->pgoff + first) * NDM_PAGE;
		buf = malloc(nr * NDM_PAGE);
		data_fill(w, buf, nr * NDM_PAGE);
	}
	fuzz_done[op->kind]++;
	pid = fork();
	if (pid < 0)
		wrong(w, "fork: %s", strerror(errno));
	if (!pid) {
		if (buf && try_copy(map->addr + first * NDM_PAGE, buf, nr * NDM_PAGE))
			_exit(1);
		if (op->d & 1) {
			for (i = 0; i < FUZZ_FILES; i++) {
				if (w->files[i])
					close(w->files[i]->fd);
			}
		}
		if ((op->d & 2) && map)
			munmap(map->addr, map->pages * NDM_PAGE);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status && !(buf && map_poisoned(map, first, nr)))
		wrong(w, "the child: %#x", status);
	if (buf && status)
		mem_unknown(&map->file->mem, off, nr * NDM_PAGE);
	else if (buf)
		mem_write(&map->file->mem, off, nr * NDM_PAGE, buf);
	free(buf);
}
