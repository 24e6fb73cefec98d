// SPDX-License-Identifier: GPL-2.0
/*
 * LD_PRELOAD=libndm-preload.so VMM...
 *
 * Puts the guest memory of a VMM that knows nothing of guest_memfd on one, as long as
 * it comes from memfd_create():  with QEMU,
 *
 *   -object memory-backend-memfd,id=m,size=SIZE,share=on -machine memory-backend=m
 *
 * When a memfd gets its size and the process has a single VM, or when the memfd's
 * mapping becomes a memslot, a guest_memfd of that size takes its place: in all file
 * descriptors, which keep their numbers, and in all mappings, which keep their
 * addresses.  Memslots in it become guest_memfd slots.
 *
 * Environment (all names begin with NDM_PRELOAD_):
 *
 *   FLAGS=no-direct-map   GUEST_MEMFD_FLAG_NO_DIRECT_MAP (default); "plain": a
 *                         guest_memfd without it; "off": only tell what there is
 *   NAMES=PATTERN,...     only memfds with such names, as in the shell (default *)
 *   MIN_SIZE=SIZE         only memfds of that size (K, M, G) or more, default 1M
 *   DIRTY_LOG=all         guest_memfd has no dirty logs: tell that all pages are dirty,
 *                         thus a live migration is right, but never converges
 *                         (default); "refuse": fail, which ends most VMMs
 *   REQUIRE=1             fail where the memory of a large memslot has to stay as it
 *                         is, instead of telling so
 *   VERBOSE=1             tell what happens; 0 (default): only what matters, and a
 *                         summary at exit; -1: only errors
 *
 * It can't help where memory is anonymous, and where nothing can be preloaded: in
 * statically linked VMMs, which don't even say so, and setuid ones.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/falloc.h>
#include <linux/kvm.h>

#define EXPORT		__attribute__((visibility("default")))
#define PAGE		4096ul
#define MAX_VMS		64
#define MAX_FILES	256
#define MAX_AREAS	64	/* mappings of a single file */
#define MAX_LENT	32
#define SHARED_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

/* --- what there is; all of it under the lock */

struct id {
	dev_t dev;
	ino_t ino;
};

struct file {
	struct id id;		/* of the guest_memfd */
	int fd;			/* ours; others may be closed.  0: free */
	int vm;
	uint64_t size;
	char name[64];
};

struct slot {
	int vm;
	bool gmem;
	bool left_out;		/* KVM doesn't know of it */
	struct kvm_userspace_memory_region2 region;	/* as it was asked for */
};

struct area {
	uint64_t start, end, offset;
	int prot;
	bool shared;
	struct id id;
	char path[128];
};

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int vms[MAX_VMS], nr_vms, vms_ever;
static struct file files[MAX_FILES];
static struct slot *slots;
static unsigned int nr_slots;
static struct id lent[MAX_LENT];	/* memfds that others have, for good */
static unsigned int nr_lent;

static bool off;
static uint64_t flags = SHARED_FLAGS | GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
static uint64_t min_size = 1 << 20;
static const char *names = "*";
static bool refuse_dirty_log, require;
static int verbose;
static pid_t owner;

static struct {
	unsigned int files, slots, other_slots, read_only, dirty_log, o_direct, private,
		     copied, left_out;
	uint64_t bytes, other_bytes;
} sum;

/* --- the real functions */

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function) {
		fprintf(stderr, "ndm-preload: no %s()\n", name);
		_exit(127);
	}
	return function;
}

#define REAL(name)							\
({									\
	static __typeof__(name) *real_;				\
									\
	if (!real_)							\
		real_ = real(#name);					\
	real_;								\
})

__attribute__((format(printf, 2, 3)))
static void say(int level, const char *fmt, ...)
{
	int err = errno;
	char text[512];
	va_list args;

	if (level > verbose)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dprintf(STDERR_FILENO, "ndm-preload: %s\n", text);
	errno = err;
}

#define MIB(bytes)	((unsigned long long)(bytes) >> 20)

static bool same(struct id a, struct id b)
{
	return a.dev == b.dev && a.ino == b.ino;
}

static bool id_of(int fd, struct id *id)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	id->dev = st.st_dev;
	id->ino = st.st_ino;
	return true;
}

static struct file *file_by_id(struct id id)
{
	unsigned int i;

	for (i = 0; i < MAX_FILES; i++) {
		if (files[i].fd && same(files[i].id, id))
			return &files[i];
	}
	return NULL;
}

static struct file *file_by_fd(int fd)
{
	struct id id;
	int err = errno;
	struct file *file = sum.files && id_of(fd, &id) ? file_by_id(id) : NULL;

	errno = err;
	return file;
}

/* Is that what the kernel shows for a memfd, and one that we shall take? */
static bool wanted(const char *path, uint64_t size, char *name, size_t len)
{
	char pattern[256];
	const char *p;
	size_t n;

	if (off || strncmp(path, "/memfd:", 7) || size < min_size)
		return false;
	snprintf(name, len, "%s", path + 7);
	if (strlen(name) > 10 && !strcmp(name + strlen(name) - 10, " (deleted)"))
		name[strlen(name) - 10] = 0;
	for (p = names; *p; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		snprintf(pattern, sizeof(pattern), "%.*s", (int)n, p);
		if (!fnmatch(pattern, name, 0))
			return true;
	}
	return false;
}

/* --- /proc: who maps a file, which descriptors are open on it */

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

/* All mappings of a file.  Returns how many there are. */
static unsigned int areas_of(struct id id, struct area *areas, unsigned int max)
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

/*
 * What is mapped at [start, start + size)?  One file, in one piece, though maybe by
 * several mappings; else @area->end says how far that goes.
 */
static bool area_at(uint64_t start, uint64_t size, struct area *area)
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

/* All descriptors of a file but @not.  Returns how many there are. */
static unsigned int fds_of(struct id id, int not, int *fds, unsigned int max)
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

/* --- a guest_memfd takes a memfd's place */

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
		if (from == MAP_FAILED)
			return false;
		copy_pages(to + data, from, hole - data);
		REAL(munmap)(from, hole - data);
	}
	REAL(munmap)(to, size);
	return true;
}

/* Returns NULL if the memory has to stay as it is, and says why. */
static struct file *replace(int vm, struct id id, const char *name, uint64_t size,
			    bool empty)
{
	struct kvm_create_guest_memfd create = {
		.size = (size + PAGE - 1) & -PAGE,
		.flags = flags,
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
	if (has < 0 || (has & flags) != flags) {
		say(-1, "%s stays as it is: this VM has no guest_memfd with the flags 0x%llx, only 0x%x",
		    name, (unsigned long long)flags, has < 0 ? 0 : has);
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
	    (unsigned long long)flags, empty ? "" : ", contents copied");
	return file;
}

/*
 * Replace a memfd early, best before anything is in it, if it's clear which VM it is
 * for.  @lend: it's about to be passed to another process.
 */
static void replace_fd(int fd, bool lend)
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

static bool is_lent(struct id id)
{
	unsigned int i;

	for (i = 0; i < nr_lent; i++) {
		if (same(lent[i], id))
			return true;
	}
	return false;
}

/* The VMM uses the file no longer: then it has to go, and its memory with it. */
static void forget_unused(void)
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

/* --- VMs and memslots */

static void forget_vm(int vm)
{
	unsigned int i;

	for (i = 0; i < (unsigned int)nr_vms; i++) {
		if (vms[i] == vm)
			vms[i--] = vms[--nr_vms];
	}
	for (i = 0; i < nr_slots; i++) {
		if (slots[i].vm == vm)
			slots[i--] = slots[--nr_slots];
	}
}

static void add_vm(int vm)
{
	forget_vm(vm);
	vms_ever++;
	if (nr_vms < MAX_VMS)
		vms[nr_vms++] = vm;
}

static struct slot *find_slot(int vm, uint32_t id)
{
	unsigned int i;

	for (i = 0; i < nr_slots; i++) {
		if (slots[i].vm == vm && slots[i].region.slot == id)
			return &slots[i];
	}
	return NULL;
}

static struct slot *put_slot(int vm, bool gmem,
			     const struct kvm_userspace_memory_region2 *region)
{
	struct slot *slot = find_slot(vm, region->slot);

	if (!slot) {
		slot = reallocarray(slots, nr_slots + 1, sizeof(*slots));
		if (!slot) {
			say(-1, "no memory");
			_exit(127);
		}
		slots = slot;
		slot = &slots[nr_slots++];
	}
	*slot = (struct slot){ .vm = vm, .gmem = gmem, .region = *region };
	sum.slots += gmem;
	sum.other_slots += !gmem;
	if (!gmem && region->memory_size >= min_size)
		sum.other_bytes += region->memory_size;
	return slot;
}

static int set_region(int vm, const struct kvm_userspace_memory_region2 *region)
{
	return REAL(ioctl)(vm, KVM_SET_USER_MEMORY_REGION2, region);
}

/* The file that backs a memslot as a whole; NULL: @why, if that's worth a word. */
static struct file *slot_file(int vm, const struct kvm_userspace_memory_region2 *region,
			      uint64_t *offset, const char **why)
{
	struct file *file;
	struct area area;
	struct stat st;
	bool whole;
	char name[64];
	int fd;

	*why = NULL;
	whole = area_at(region->userspace_addr, region->memory_size, &area);
	if (!area_at(region->userspace_addr, 1, &area)) {
		*why = "nothing is mapped there";
		return NULL;
	}
	file = file_by_id(area.id);
	if (!file && !wanted(area.path, UINT64_MAX, name, sizeof(name))) {
		*why = off ? NULL : !area.path[0] || area.path[0] == '[' ?
		       "it is anonymous memory; a memfd is needed (QEMU: -object memory-backend-memfd,share=on)" :
		       "it isn't a memfd, or not one of those that were asked for";
		return NULL;
	}
	if (!whole) {
		*why = "only a part of it is a memfd";
		return NULL;
	}
	if (!file) {
		if (!area.shared) {
			*why = "it is a private mapping; share=on is needed";
			return NULL;
		}
		/* Its size: that of the file, if it is open, or what is mapped. */
		st.st_size = area.offset + area.end - area.start;
		if (fds_of(area.id, -1, &fd, 1))
			fstat(fd, &st);
		if ((uint64_t)st.st_size < min_size) {
			*why = "it is smaller than MIN_SIZE";
			return NULL;
		}
		if (is_lent(area.id)) {
			*why = "it was passed to another process when it wasn't known which VM it is for";
			return NULL;
		}
		file = replace(vm, area.id, name, st.st_size, false);
	}
	*offset = area.offset;
	return file;
}

static int bind_slot(int vm, const struct kvm_userspace_memory_region2 *asked,
		     const struct file *file, uint64_t offset)
{
	struct kvm_userspace_memory_region2 region = *asked;

	region.flags &= ~(KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES);
	region.flags |= KVM_MEM_GUEST_MEMFD;
	region.guest_memfd = file->fd;
	region.guest_memfd_offset = offset;
	return set_region(vm, &region);
}

/* A memslot is gone: maybe one that was left out because of it can be there now. */
static void retry_left_out(int vm)
{
	struct file *file;
	struct slot *slot;
	const char *why;
	uint64_t offset;

	for (slot = slots; slot < slots + nr_slots; slot++) {
		if (slot->vm != vm || !slot->left_out)
			continue;
		file = slot_file(vm, &slot->region, &offset, &why);
		slot->left_out = !file || bind_slot(vm, &slot->region, file, offset);
		sum.slots += !slot->left_out;
	}
}

static int set_memslot(int vm, unsigned long cmd, void *arg)
{
	struct kvm_userspace_memory_region2 region = {}, old;
	struct slot *slot;
	struct file *file;
	const char *why;
	uint64_t offset;
	int r;

	/* The older structure is the beginning of the newer one. */
	memcpy(&region, arg, cmd == KVM_SET_USER_MEMORY_REGION ?
	       sizeof(struct kvm_userspace_memory_region) : sizeof(region));
	slot = find_slot(vm, region.slot);
	if (!region.memory_size) {
		r = slot && slot->left_out ? 0 : REAL(ioctl)(vm, cmd, arg);
		if (!r && slot) {
			*slot = slots[--nr_slots];
			retry_left_out(vm);
		}
		return r;
	}
	/* A VMM that does all of it by itself. */
	if (region.flags & KVM_MEM_GUEST_MEMFD)
		return REAL(ioctl)(vm, cmd, arg);

	file = slot_file(vm, &region, &offset, &why);
	if (!file) {
		if (why && region.memory_size >= min_size) {
			say(require ? -1 : 0, "memslot %u, %llu MiB at 0x%llx, %s: %s", region.slot & 0xffff,
			    MIB(region.memory_size), region.guest_phys_addr,
			    require ? "refused" : "stays in the direct map", why);
			if (require) {
				errno = EINVAL;
				return -1;
			}
		}
		r = REAL(ioctl)(vm, cmd, arg);
		if (!r)
			put_slot(vm, false, &region);
		return r;
	}

	old = region;
	if (region.flags & KVM_MEM_READONLY && !sum.read_only++)
		say(0, "memslot %u: guest_memfd can't be read-only, the guest may write to that ROM",
		    region.slot & 0xffff);
	if (region.flags & KVM_MEM_LOG_DIRTY_PAGES && refuse_dirty_log) {
		say(-1, "memslot %u: refused: guest_memfd has no dirty logging, thus no live migration (NDM_PRELOAD_FLAGS=off)",
		    region.slot & 0xffff);
		errno = EOPNOTSUPP;
		return -1;
	}
	if (region.flags & KVM_MEM_LOG_DIRTY_PAGES && !sum.dirty_log++)
		say(0, "guest_memfd has no dirty logging: all pages count as dirty; a live migration won't end before the guest is stopped");

	if (slot && slot->gmem) {
		/* Such a memslot can be deleted, not be changed. */
		if (slot->region.guest_phys_addr == region.guest_phys_addr &&
		    slot->region.userspace_addr == region.userspace_addr &&
		    slot->region.memory_size == region.memory_size) {
			slot->region.flags = old.flags;
			return 0;
		}
		region.memory_size = 0;
		region.flags = 0;
		r = slot->left_out ? 0 : set_region(vm, &region);
		if (r)
			return r;
		region.memory_size = old.memory_size;
		*slot = slots[--nr_slots];
	}
	r = bind_slot(vm, &region, file, offset);
	if (r && errno == EEXIST && !(flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)) {
		/* KVM finds the pages by their address as well. */
		say(1, "memslot %u of address space %u: %s is bound already, leave it to the address",
		    region.slot & 0xffff, region.slot >> 16, file->name);
		r = REAL(ioctl)(vm, cmd, arg);
		if (!r)
			put_slot(vm, false, &old);
		return r;
	}
	if (r && errno == EEXIST) {
		/*
		 * A second view of the same memory, e.g. q35's of SMRAM.  Without a memslot,
		 * the VMM gets the guest's accesses as MMIO, and does the same.
		 */
		if (!sum.left_out++)
			say(0, "memslot %u of address space %u: this part of %s is in another memslot already, leave its accesses to the VMM",
			    region.slot & 0xffff, region.slot >> 16, file->name);
		put_slot(vm, true, &old)->left_out = true;
		sum.slots--;
		return 0;
	}
	if (r && file->vm != vm)
		say(-1, "memslot %u: %s belongs to another VM, and can't be in two", region.slot & 0xffff,
		    file->name);
	else if (r)
		say(-1, "memslot %u: KVM refuses %s: %s", region.slot & 0xffff, file->name, strerror(errno));
	else
		say(1, "memslot %u of address space %u: 0x%llx, %llu KiB, is %s at 0x%llx",
		    region.slot & 0xffff, region.slot >> 16, region.guest_phys_addr, region.memory_size >> 10, file->name,
		    (unsigned long long)offset);
	if (!r) {
		put_slot(vm, true, &old);
		retry_left_out(vm);
	}
	return r;
}

/* Returns false if that's a memslot that KVM can tell something about. */
static bool all_dirty(int vm, const struct kvm_dirty_log *log)
{
	struct slot *slot = find_slot(vm, log->slot);
	uint64_t pages, i;

	if (!slot || !slot->gmem)
		return false;
	pages = slot->region.memory_size / PAGE;
	memset(log->dirty_bitmap, 0, (pages + 63) / 64 * 8);
	for (i = 0; i < pages; i++)
		((uint8_t *)log->dirty_bitmap)[i / 8] |= 1 << i % 8;
	return true;
}

EXPORT int ioctl(int fd, unsigned long cmd, ...)
{
	struct slot *slot;
	va_list args;
	void *arg;
	int r;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);

	switch (cmd) {
	case KVM_CREATE_VM:
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_USER_MEMORY_REGION2:
	case KVM_GET_DIRTY_LOG:
	case KVM_CLEAR_DIRTY_LOG:
		break;
	default:
		return REAL(ioctl)(fd, cmd, arg);
	}

	pthread_mutex_lock(&lock);
	switch (cmd) {
	case KVM_CREATE_VM:
		r = REAL(ioctl)(fd, cmd, arg);
		if (r >= 0)
			add_vm(r);
		break;
	case KVM_GET_DIRTY_LOG:
		r = all_dirty(fd, arg) ? 0 : REAL(ioctl)(fd, cmd, arg);
		break;
	case KVM_CLEAR_DIRTY_LOG:
		slot = find_slot(fd, ((struct kvm_clear_dirty_log *)arg)->slot);
		r = slot && slot->gmem ? 0 : REAL(ioctl)(fd, cmd, arg);
		break;
	default:
		r = set_memslot(fd, cmd, arg);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

/* --- files: what guest_memfd does in another way than a memfd */

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
	if (!r && sum.files && len >= min_size) {
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
	if (off || !(flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP) || !(how & O_DIRECT))
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

/* --- begin and end */

static const char *option(const char *name)
{
	char full[64];

	snprintf(full, sizeof(full), "NDM_PRELOAD_%s", name);
	return getenv(full) ?: "";
}

static void bad_option(const char *name)
{
	say(-1, "NDM_PRELOAD_%s=%s is not understood", name, option(name));
	_exit(127);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* Its only thread is none that could unlock it. */
static void in_child(void)
{
	lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
}

__attribute__((constructor))
static void begin(void)
{
	const char *text = option("FLAGS");
	char *end;

	owner = getpid();
	off = !strcmp(text, "off");
	if (!strcmp(text, "plain"))
		flags = SHARED_FLAGS;
	else if (*text && !off && strcmp(text, "no-direct-map"))
		bad_option("FLAGS");
	if (*option("NAMES"))
		names = option("NAMES");
	text = option("MIN_SIZE");
	if (*text) {
		min_size = strtoull(text, &end, 0);
		min_size <<= *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
		if (end == text || (*end && !strchr("KMG", *end)) || min_size < PAGE)
			bad_option("MIN_SIZE");
	}
	text = option("DIRTY_LOG");
	refuse_dirty_log = !strcmp(text, "refuse");
	if (*text && !refuse_dirty_log && strcmp(text, "all"))
		bad_option("DIRTY_LOG");
	require = atoi(option("REQUIRE"));
	verbose = atoi(option("VERBOSE"));
	pthread_atfork(before_fork, after_fork, in_child);
}

__attribute__((destructor))
static void summary(void)
{
	/* Not in helpers that the VMM starts, nor in its children. */
	if (!vms_ever || getpid() != owner)
		return;
	say(0, "%u file(s), %llu MiB, %u memslot(s) on guest_memfd %s; %u beside, %llu MiB in large ones; "
	    "dropped: read-only %u, dirty logging %u, O_DIRECT %u; mapped as shared %u, copied %u, left to the VMM %u",
	    sum.files, MIB(sum.bytes), sum.slots,
	    off ? "(off)" : flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP ? "without a direct map" : "(plain)",
	    sum.other_slots, MIB(sum.other_bytes), sum.read_only, sum.dirty_log, sum.o_direct,
	    sum.private, sum.copied, sum.left_out);
}
