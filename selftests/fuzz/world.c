// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzzer's files, mappings, and what they must hold.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "fuzz.h"

uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void wrong(struct world *w, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (w->op)
		printf("# thread %u, op %zu, %s %u %u %u %u: %s\n", w->thread, w->nr,
		       op_name(w->op), w->op->a, w->op->b, w->op->c, w->op->d, text);
	else
		printf("# thread %u, at the end: %s\n", w->thread, text);
	fflush(stdout);
	_exit(1);
}

/* --- the oracle */

void mem_init(struct mem *m, size_t size)
{
	m->size = size;
	m->is = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	m->unknown = calloc(1, size / GRANULE);
	m->poisoned = calloc(1, size / NDM_PAGE);
	if (m->is == MAP_FAILED || !m->unknown || !m->poisoned)
		abort();
}

void mem_free(struct mem *m)
{
	if (m->is && !m->borrowed) {
		munmap(m->is, m->size);
		free(m->unknown);
		free(m->poisoned);
	}
	*m = (struct mem){};
}

/* Only what is written as a whole is known again. */
static void mem_known(struct mem *m, size_t off, size_t len)
{
	size_t first = (off + GRANULE - 1) / GRANULE, end = (off + len) / GRANULE;

	if (end > first)
		memset(m->unknown + first, 0, end - first);
}

void mem_write(struct mem *m, size_t off, size_t len, const void *data)
{
	memcpy(m->is + off, data, len);
	mem_known(m, off, len);
}

/* A hole, of whole pages. */
void mem_zero(struct mem *m, size_t off, size_t len)
{
	size_t i;

	memset(m->is + off, 0, len);
	mem_known(m, off, len);
	for (i = off / NDM_PAGE; i < (off + len) / NDM_PAGE; i++) {
		if (m->poisoned[i])
			m->poisoned[i] = WAS_POISONED;
	}
}

void mem_unknown(struct mem *m, size_t off, size_t len)
{
	if (len)
		memset(m->unknown + off / GRANULE, 1,
		       (off + len - 1) / GRANULE - off / GRANULE + 1);
}

void mem_copy(struct mem *m, size_t to, size_t from, size_t len)
{
	memcpy(m->is + to, m->is + from, len);
	memcpy(m->unknown + to / GRANULE, m->unknown + from / GRANULE, len / GRANULE);
}

void mem_poison(struct mem *m, size_t off)
{
	m->poisoned[off / NDM_PAGE] = POISONED;
	mem_unknown(m, off, NDM_PAGE);
}

bool mem_poisoned(const struct mem *m, size_t off, size_t len)
{
	size_t first = off / NDM_PAGE;

	return len && memchr(m->poisoned + first, POISONED,
			     (off + len - 1) / NDM_PAGE - first + 1);
}

bool map_poisoned(const struct map *map, size_t first, size_t nr)
{
	size_t i;

	for (i = map->pgoff + first; i < map->pgoff + first + nr; i++) {
		if (map->file->mem.poisoned[i])
			return true;
	}
	return false;
}

void mem_check(struct world *w, const struct mem *m, size_t off, size_t len,
	       const char *got, const char *who)
{
	size_t i;

	if (!memcmp(m->is + off, got, len))
		return;
	for (i = 0; i < len; i++) {
		if (m->is[off + i] == got[i] || m->unknown[(off + i) / GRANULE])
			continue;
		wrong(w, "%s sees %#04x at %#zx (page %zu) instead of %#04x", who,
		      (uint8_t)got[i], off + i, (off + i) / NDM_PAGE,
		      (uint8_t)m->is[off + i]);
	}
}

/* --- accesses that may fault */

static __thread sigjmp_buf jump;
static __thread volatile bool may_fault;

static void on_fault(int sig)
{
	if (!may_fault) {
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	may_fault = false;
	siglongjmp(jump, 1);
}

int try_copy(void *to, const void *from, size_t len)
{
	if (sigsetjmp(jump, 1)) {
		errno = EFAULT;
		return -EFAULT;
	}
	may_fault = true;
	memcpy(to, from, len);
	may_fault = false;
	return 0;
}

/* --- files */

struct file *file_pick(struct world *w, uint32_t n)
{
	size_t i;

	/* Rather another one than none. */
	for (i = 0; i < FUZZ_FILES; i++, n++) {
		if (w->files[n % FUZZ_FILES])
			return w->files[n % FUZZ_FILES];
	}
	return NULL;
}

static void file_free(struct file *f)
{
	mem_free(&f->mem);
	free(f);
}

/* A descriptor or a mapping is gone. */
void file_put(struct file *f)
{
	if (--f->users)
		return;
	f->dead = true;
	if (!f->slots)
		file_free(f);
}

void file_close_fd(struct world *w, struct file *f)
{
	size_t i;

	close(f->fd);
	f->fd = -1;
	for (i = 0; i < FUZZ_FILES; i++) {
		if (w->files[i] == f)
			w->files[i] = NULL;
	}
	file_put(f);
}

/* --- mappings */

struct map *map_pick(struct world *w, uint32_t n)
{
	size_t i;

	for (i = 0; i < FUZZ_MAPS; i++, n++) {
		if (w->maps[n % FUZZ_MAPS].file)
			return &w->maps[n % FUZZ_MAPS];
	}
	return NULL;
}

struct map *map_new(struct world *w)
{
	size_t i;

	for (i = 0; i < FUZZ_MAPS; i++) {
		if (!w->maps[i].file)
			return &w->maps[i];
	}
	return NULL;
}

void map_hole(struct world *w, struct map *map, size_t first, size_t nr)
{
	size_t i;

	for (i = first; i < first + nr; i++) {
		if (map->prot[i] == PAGE_GONE)
			continue;
		if (munmap(map->addr + i * NDM_PAGE, NDM_PAGE))
			wrong(w, "munmap: %s", strerror(errno));
		map->prot[i] = PAGE_GONE;
	}
	for (i = 0; i < map->pages; i++) {
		if (map->prot[i] != PAGE_GONE)
			return;
	}
	free(map->prot);
	file_put(map->file);
	*map = (struct map){};
}

/* --- all of it */

void world_open(struct world *w, unsigned int thread, uint64_t seed)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	size_t i;

	*w = (struct world){ .thread = thread, .random = seed };
	for (i = 0; i < FUZZ_VMS; i++)
		w->vms[i].fd = -1;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

static void map_check(struct world *w, struct map *map)
{
	char page[NDM_PAGE];
	struct file *f = map->file;
	size_t i;

	for (i = 0; i < map->pages; i++) {
		if (map->prot[i] == PAGE_GONE || !(map->prot[i] & PROT_READ) ||
		    map->pgoff + i < f->lo || map->pgoff + i >= f->hi)
			continue;
		/* Reading is populating: leave some as they are. */
		if (try_copy(page, map->addr + i * NDM_PAGE, NDM_PAGE)) {
			if ((!f->secret && !(f->flags & GUEST_MEMFD_FLAG_INIT_SHARED)) ||
			    map_poisoned(map, i, 1))
				continue;
			wrong(w, "page %zu can't be read", map->pgoff + i);
		}
		mem_check(w, &f->mem, (map->pgoff + i) * NDM_PAGE, NDM_PAGE, page,
			  "a mapping");
	}
}

static void slot_check(struct world *w, struct vm *vm, struct slot *slot)
{
	size_t i;

	for (i = 0; i < slot->pages; i += 16)
		guest_access(w, vm, slot, i * NDM_PAGE,
			     (slot->pages - i < 16 ? slot->pages - i : 16) * NDM_PAGE,
			     false, false);
	if (slot->hva_kind == HVA_ANON)
		mem_check(w, &slot->anon, 0, slot->anon.size, slot->hva,
			  "the host, where KVM was told that the memory is,");
}

static void file_check(struct world *w, struct file *f)
{
	struct ndm_check res;

	if (!f->secret && !(f->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP))
		return;
	ndm_check_file(cfg.probe, f->fd, f->lo, f->hi - f->lo, NULL, NULL, &res);
	if (res.mapped || res.readable)
		wrong(w, "of %llu pages, %llu are in the direct map, %llu readable",
		      (unsigned long long)res.present, (unsigned long long)res.mapped,
		      (unsigned long long)res.readable);
}

void world_check(struct world *w)
{
	size_t i, j;

	for (i = 0; i < FUZZ_FILES; i++) {
		if (w->files[i])
			file_check(w, w->files[i]);
	}
	for (i = 0; i < FUZZ_MAPS; i++) {
		if (w->maps[i].file)
			map_check(w, &w->maps[i]);
	}
	for (i = 0; i < FUZZ_VMS; i++) {
		for (j = 0; w->vms[i].fd >= 0 && j < FUZZ_SLOTS; j++) {
			if (w->vms[i].slots[j].used)
				slot_check(w, &w->vms[i], &w->vms[i].slots[j]);
		}
	}
	for (i = 0; i < FUZZ_FILES; i++) {
		if (w->files[i])
			file_check(w, w->files[i]);
	}
}

void world_close(struct world *w, uint32_t order)
{
	size_t n, i, end = FUZZ_FILES + FUZZ_MAPS + FUZZ_VMS;

	for (n = 0; n < end; n++) {
		i = order & 1 ? end - 1 - n : n;
		if (order & 2)
			i = (i * 5) % end;
		if (i < FUZZ_FILES) {
			if (w->files[i])
				file_close_fd(w, w->files[i]);
		} else if (i < FUZZ_FILES + FUZZ_MAPS) {
			struct map *map = &w->maps[i - FUZZ_FILES];

			if (map->file)
				map_hole(w, map, 0, map->pages);
		} else {
			vm_close(&w->vms[i - FUZZ_FILES - FUZZ_MAPS]);
		}
	}
}
