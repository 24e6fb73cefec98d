// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzzer's operations: which there are, how often, and what they share.  What one
 * works on is looked up when it runs: any part of a list is a list again.
 */
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <unistd.h>

#include "ops.h"

/* How often each kind did anything, and then how often KVM had to emulate. */
uint32_t *fuzz_done;
uint32_t *fuzz_offline_tries;

/* --- failures on demand */

static __thread int fail_fd = -1;
__thread bool injected;

void fail_nth(unsigned int nth)
{
	char buf[16];
	int i, len;

	if (fail_fd < 0)
		fail_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	/* How much there was left to count.  Should this fail, that was not nothing. */
	injected = !nth && pread(fail_fd, buf, 1, 0) == 1 && *buf == '0';
	len = snprintf(buf, sizeof(buf), "%u", nth);
	/* That write may be what fails. */
	for (i = 0; i < 100 && pwrite(fail_fd, buf, len, 0) != len; i++)
		;
}

bool excused(bool poisoned)
{
	if (injected && (errno == ENOMEM || errno == EFAULT))
		return true;
	return poisoned && (errno == EIO || errno == EHWPOISON || errno == EFAULT);
}

void range(const struct op *op, size_t lo, size_t hi, size_t *first, size_t *nr)
{
	static const size_t edges[] = { 0, 1, 511, 512, 513, 1023, 1024 };
	size_t pages = hi - lo;

	switch (op->b % 4) {
	case 0:
		*first = lo;
		*nr = pages;
		return;
	case 1:
		*first = edges[op->b / 4 % 7];
		*first = *first < pages ? lo + *first : lo;
		break;
	default:
		*first = lo + op->b / 4 % pages;
		break;
	}
	switch (op->c % 4) {
	case 0:
		*nr = 1;
		break;
	case 1:
		*nr = 512;
		break;
	default:
		*nr = 1 + op->c / 4 % pages;
		break;
	}
	if (*nr > hi - *first)
		*nr = hi - *first;
}

bool map_range(const struct op *op, struct map *map, size_t *first, size_t *nr)
{
	size_t lo = 0, hi = map->pages, i;

	if (map->pgoff < map->file->lo)
		lo = map->file->lo - map->pgoff;
	if (map->pgoff + hi > map->file->hi)
		hi = map->file->hi - map->pgoff;
	if (map->pgoff >= map->file->hi || lo >= hi)
		return false;
	range(op, lo, hi, first, nr);
	for (i = 0; i < *nr; i++) {
		if (map->prot[*first + i] == PAGE_GONE)
			break;
	}
	*nr = i;
	return i;
}

bool map_allows(const struct map *map, size_t first, size_t nr, int prot)
{
	size_t i;

	for (i = first; i < first + nr; i++) {
		if ((map->prot[i] & prot) != prot)
			return false;
	}
	return true;
}

void data_fill(struct world *w, void *buf, size_t len)
{
	uint64_t *word = buf;
	size_t i;

	for (i = 0; i < len / 8; i++)
		word[i] = fuzz_random(&w->random);
	memset(buf + len / 8 * 8, 0x5a, len % 8);
}

/* --- the host */

void op_probe(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	struct ndm_check res;

	if (!f || !NDM_FILE(f))
		return;
	fuzz_done[op->kind]++;
	ndm_check_file(cfg.probe, f->fd, f->lo, f->hi - f->lo, NULL, NULL, &res);
	if (res.mapped || res.readable)
		wrong(w, "of %llu pages, %llu are in the direct map, %llu readable",
		      (unsigned long long)res.present, (unsigned long long)res.mapped,
		      (unsigned long long)res.readable);
}

void op_drop_caches(struct world *w, struct op *op)
{
	if (!cfg.pressure)
		return;
	fuzz_done[op->kind]++;
	ndm_write_file("/proc/sys/vm/drop_caches", "%u\n", 1 + op->b % 3);
	if (op->b / 3 % 4 == 0)
		ndm_write_file("/proc/sys/vm/compact_memory", "1\n");
}

void op_dirty(struct world *w, struct op *op)
{
	fuzz_done[op->kind]++;
	ndm_dirty_memory(MIB(4 + op->b % 28));
}

/* R4: nobody is to use the page again, nor to be disturbed in using its neighbours. */
void op_poison(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t first, nr;
	struct ndm_check res;
	__u32 state;
	__u64 pfn;
	int ret;

	if (!cfg.poison || !f || !NDM_FILE(f))
		return;
	range(op, f->lo, f->hi, &first, &nr);
	ndm_check_file(cfg.probe, f->fd, first, 1, &pfn, &state, &res);
	if (!(state & NDM_PRESENT) || (state & NDM_POISONED))
		return;
	ret = ndm_write_file("/sys/kernel/debug/hwpoison/corrupt-pfn", "%#llx\n",
			     (unsigned long long)pfn);
	ndm_check_pfns(cfg.probe, &pfn, 1, &state, 0, &res);
	if (!(state & NDM_POISONED)) {
		if (!ret)
			wrong(w, "page %zu got no memory error", first);
		return;
	}
	/* What could be read before can't be anymore. */
	mem_poison(&f->mem, first * NDM_PAGE);
	__atomic_fetch_add(&fuzz_done[op->kind], 1, __ATOMIC_RELAXED);
}

/*
 * Windows of the other kind, which restore the direct map entry for a moment: not if
 * others look at the direct map meanwhile.
 */
void op_window(struct world *w, struct op *op)
{
	if (cfg.threads)
		return;
	if (ndm_write_file(GENERIC_WINDOW, "%u\n", op->b % 2))
		wrong(w, "%s: %s", GENERIC_WINDOW, strerror(errno));
	fuzz_done[op->kind]++;
}

/* A processor that goes away and comes back finds all as it was, as do others. */
void op_cpu(struct world *w, struct op *op)
{
	char path[64];
	long cpu = sysconf(_SC_NPROCESSORS_CONF) - 1;

	if (!cfg.pressure || cpu < 2 || op->b % 4)
		return;
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/online", cpu);
	if (ndm_write_file(path, "0\n"))
		return;
	fuzz_done[op->kind]++;
	if (ndm_write_file(path, "1\n"))
		wrong(w, "%s can't be online again: %s", path, strerror(errno));
}

#define MEMORY	"/sys/devices/system/memory/memory*/"

/* R12: memory that goes offline is waited for by nobody, or can't go. */
void op_offline(struct world *w, struct op *op)
{
	char state[PATH_MAX], removable[16] = "";
	glob_t found;
	const char *dir;

	/* None: the kernel can't do it. */
	if (!cfg.pressure || op->b % 4 || glob(MEMORY, 0, NULL, &found))
		return;
	/* Not all numbers below the highest are there. */
	dir = found.gl_pathv[op->c % found.gl_pathc];
	snprintf(state, sizeof(state), "%sremovable", dir);
	ndm_read_file(state, removable, sizeof(removable));
	snprintf(state, sizeof(state), "%sstate", dir);
	globfree(&found);
	if (atoi(removable) != 1)
		return;
	__atomic_fetch_add(fuzz_offline_tries, 1, __ATOMIC_RELAXED);
	/* Many have something that can't be moved. */
	if (ndm_write_file(state, "offline\n"))
		return;
	__atomic_fetch_add(&fuzz_done[op->kind], 1, __ATOMIC_RELAXED);
	if (ndm_write_file(state, "online\n"))
		wrong(w, "%s can't be online again: %s", state, strerror(errno));
}

/* What was offline when a sequence was killed. */
void bring_back(void)
{
	glob_t found;
	char is[16];
	size_t i;

	if (!glob("/sys/devices/system/cpu/cpu*/online", 0, NULL, &found)) {
		for (i = 0; i < found.gl_pathc; i++) {
			memset(is, 0, sizeof(is));
			ndm_read_file(found.gl_pathv[i], is, sizeof(is) - 1);
			if (*is == '0')
				ndm_write_file(found.gl_pathv[i], "1\n");
		}
		globfree(&found);
	}
	if (glob(MEMORY "state", 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++) {
		memset(is, 0, sizeof(is));
		ndm_read_file(found.gl_pathv[i], is, sizeof(is) - 1);
		if (!strncmp(is, "offline", 7))
			ndm_write_file(found.gl_pathv[i], "online\n");
	}
	globfree(&found);
}

static const struct kind {
	const char *name;
	void (*run)(struct world *w, struct op *op);
	unsigned int weight;
	bool shared;		/* can be done to memory that others use as well */
	bool more;		/* only if asked for */
} kinds[] = {
	/* First what others need. */
	{ "vm",			op_vm,		3,	false },
	{ "create",		op_create,	12,	false },
	{ "bind",		op_bind,	12,	true },
	{ "mmap",		op_mmap,	10,	true },
	{ "attributes",		op_attributes,	8,	true },
	{ "fallocate",		op_fallocate,	8,	true },
	{ "punch",		op_punch,	12,	true },
	{ "pwrite",		op_pwrite,	14,	true },
	{ "pwrite_self",	op_pwrite_self,	3,	true },
	{ "guest_read",		op_guest_read,	18,	true },
	{ "guest_write",	op_guest_write,	18,	true },
	{ "prefault",		op_prefault,	4,	true },
	{ "pv",			op_pv,		6,	true },
	{ "host_read",		op_host_read,	10,	true },
	{ "host_write",		op_host_write,	12,	true },
	{ "mprotect",		op_mprotect,	4,	true },
	{ "mremap",		op_mremap,	4,	true },
	{ "madvise",		op_madvise,	10,	true },
	{ "mlock",		op_mlock,	4,	true },
	{ "fork",		op_fork,	2,	true },
	{ "gup",		op_gup,		3,	true },
	{ "probe",		op_probe,	6,	true },
	{ "refused",		op_refused,	2,	true },
	{ "change_slot",	op_change_slot,	2,	true },
	{ "unbind",		op_unbind,	5,	true },
	{ "munmap",		op_munmap,	5,	true },
	{ "close",		op_close,	5,	false },
	{ "vm_close",		op_vm_close,	1,	false },
	{ "drop_caches",	op_drop_caches,	2,	true },
	{ "poison",		op_poison,	2,	true },
	{ "dirty",		op_dirty,	1,	true },
	{ "mbind",		op_mbind,	3,	true,	true },
	{ "window",		op_window,	2,	false,	true },
	{ "cpu",		op_cpu,		1,	true,	true },
	{ "offline",		op_offline,	1,	true,	true },
};

#define NR_KINDS (sizeof(kinds) / sizeof(*kinds))

const unsigned int nr_kinds = NR_KINDS;

enum { VM, CREATE, BIND, MMAP };

static bool can_be_made(const struct kind *kind, bool shared)
{
	return (kind->shared || !shared) && (!kind->more || cfg.more);
}

void op_make(struct op *op, uint64_t *random, bool shared, size_t nth)
{
	static const uint8_t start[] = {
		VM, VM, CREATE, CREATE, CREATE, BIND, BIND, BIND, MMAP, MMAP,
	};
	unsigned int i, sum = 0, n;

	for (i = 0; i < NR_KINDS; i++)
		sum += can_be_made(&kinds[i], shared) ? kinds[i].weight : 0;
	n = fuzz_random(random) % sum;
	for (i = 0; ; i++) {
		if (!can_be_made(&kinds[i], shared))
			continue;
		if (n < kinds[i].weight)
			break;
		n -= kinds[i].weight;
	}
	/* Without these, nothing could be done at first. */
	op->kind = nth < sizeof(start) && !shared ? start[nth] : i;
	op->a = fuzz_random(random) >> 32;
	op->b = fuzz_random(random) >> 32;
	op->c = fuzz_random(random) >> 32;
	op->d = fuzz_random(random) >> 32;
}

const char *op_name(const struct op *op)
{
	return kinds[op->kind].name;
}

void op_run(struct world *w, struct op *op)
{
	static bool once;

	if (!once)
		alarm_init();
	once = true;
	w->op = op;
	injected = false;
	kinds[op->kind].run(w, op);
	injected = false;
	w->op = NULL;
}

uint32_t nr_poisoned(void)
{
	size_t i;

	for (i = 0; i < NR_KINDS; i++) {
		if (kinds[i].run == op_poison)
			return fuzz_done[i];
	}
	return 0;
}
