// SPDX-License-Identifier: GPL-2.0
/*
 * Operations: on files.
 */
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <linux/falloc.h>

#include "ops.h"

void op_fallocate(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t first, nr;
	int ret;

	if (!f || f->secret)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	if (!w->shared && op->d / 3 % 16 == 0) {
		if (!fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE + 1, NDM_PAGE) ||
		    !fallocate(f->fd, 0, first * NDM_PAGE, NDM_PAGE) ||
		    !fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE,
			       (f->pages - first + 1) * NDM_PAGE))
			wrong(w, "what mustn't be possible");
		return;
	}
	ret = INJECT(op, fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * NDM_PAGE, nr * NDM_PAGE));
	if (ret && !excused(mem_poisoned(&f->mem, first * NDM_PAGE, nr * NDM_PAGE)))
		wrong(w, "%zu pages at %zu: %s", nr, first, strerror(errno));
}

void op_punch(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t first, nr;
	size_t i;

	if (!f || f->secret)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	for (i = 0; i < FUZZ_VMS; i++) {
		if (w->vms[i].fd >= 0)
			vm_mark_pv(&w->vms[i]);
	}
	if (INJECT(op, fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				 first * NDM_PAGE, nr * NDM_PAGE))) {
		if (!excused(false))
			wrong(w, "%zu pages at %zu: %s", nr, first, strerror(errno));
		mem_unknown(&f->mem, first * NDM_PAGE, nr * NDM_PAGE);
		return;
	}
	mem_zero(&f->mem, first * NDM_PAGE, nr * NDM_PAGE);
}

static void on_alarm(int sig)
{
}

void alarm_init(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &sa, NULL);
}

/* Signals for this thread, twice a millisecond. */
static bool alarm_start(timer_t *timer)
{
	const struct itimerspec every = { { 0, 500000 }, { 0, 500000 } };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGALRM,
		._sigev_un._tid = gettid(),
	};

	return !timer_create(CLOCK_MONOTONIC, &event, timer) &&
	       !timer_settime(*timer, 0, &every, NULL);
}

/*
 * From a buffer that may end early, while signals arrive that don't kill, or in
 * pieces.  Only fatal signals end it.
 */
void op_pwrite(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	size_t off, len, good, mapped, nr, first;
	bool signals = op->d / 8 % 8 == 0;
	struct iovec iov[3];
	timer_t timer;
	ssize_t ret;
	char *buf;

	if (!f)
		return;
	range(op, f->lo, f->hi, &first, &nr);
	off = first * NDM_PAGE;
	len = nr * NDM_PAGE;
	if (op->d & 1) {
		off += op->b / 16 % NDM_PAGE;
		len = 1 + op->c / 16 % len;
		if (off + len > f->hi * NDM_PAGE)
			len = f->hi * NDM_PAGE - off;
	}
	/* Beyond the end, now and then. */
	if (!w->shared && op->d / 64 % 16 == 0)
		len += NDM_PAGE + 3;

	mapped = (len + NDM_PAGE - 1) / NDM_PAGE * NDM_PAGE + NDM_PAGE;
	buf = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		wrong(w, "mmap: %s", strerror(errno));
	data_fill(w, buf, len);
	good = len;
	if (op->d / 2 % 4 == 0) {
		good = op->b / 7 % (len / NDM_PAGE + 1) * NDM_PAGE;
		mprotect(buf + good, mapped - good, PROT_NONE);
		if (good > len)
			good = len;
	}
	if (signals && !alarm_start(&timer))
		signals = false;
	if (op->d / 128 & 1) {
		iov[0] = (struct iovec){ buf, len / 3 };
		iov[1] = (struct iovec){ buf + len / 3, 0 };
		iov[2] = (struct iovec){ buf + len / 3, len - len / 3 };
		ret = INJECT(op, pwritev(f->fd, iov, 3, off));
	} else {
		ret = INJECT(op, pwrite(f->fd, buf, len, off));
	}
	if (signals) {
		int err = errno;

		timer_delete(timer);
		errno = err;
	}

	if (f->secret || !(f->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP)) {
		if (ret >= 0)
			wrong(w, "that isn't writable");
		goto out;
	}
	if (off + len > f->pages * NDM_PAGE) {
		len = f->pages * NDM_PAGE - off;
		if (good > len)
			good = len;
	}
	if (injected || mem_poisoned(&f->mem, off, len)) {
		if (ret < 0 && !excused(mem_poisoned(&f->mem, off, len)))
			wrong(w, "%zu at %#zx: %s", len, off, strerror(errno));
		if (ret > (ssize_t)good)
			wrong(w, "%zd of %zu", ret, good);
	} else if (signals && cfg.known[KNOWN_SIGNALS]) {
		if (ret < 0 && errno != EINTR && errno != EFAULT)
			wrong(w, "%zu at %#zx: %s", len, off, strerror(errno));
	} else if (good == len) {
		if (ret != (ssize_t)len)
			wrong(w, "%zd of %zu at %#zx: %s", ret, len, off,
			      ret < 0 ? strerror(errno) : "short");
	} else if (ret < 0) {
		if (good || errno != EFAULT)
			wrong(w, "%zu of %zu at %#zx: %s", good, len, off, strerror(errno));
	} else if (ret + NDM_PAGE < good || (good && !ret)) {
		wrong(w, "%zd at %#zx, of %zu that can be read", ret, off, good);
	}
	if (ret > (ssize_t)good)
		wrong(w, "%zd of %zu, of which %zu could be read", ret, len, good);
	/* No more than what it says has been written. */
	if (ret > 0)
		mem_write(&f->mem, off, ret, buf);
out:
	munmap(buf, mapped);
}

/* From pages of the file itself, as userspace maps them. */
void op_pwrite_self(struct world *w, struct op *op)
{
	struct map *map = map_pick(w, op->a);
	size_t first, nr, to, from;
	struct file *f;
	ssize_t ret;

	if (!map || map->file->fd < 0 || !NDM_FILE(map->file) || map->file->secret ||
	    !map_range(op, map, &first, &nr) ||
	    !map_allows(map, first, nr, PROT_READ) || !TOUCHABLE(map->file))
		return;
	f = map->file;
	if (nr > 3)
		nr = 3;
	to = f->lo + op->d % (f->hi - f->lo);
	if (nr > f->hi - to)
		nr = f->hi - to;
	fuzz_done[op->kind]++;
	ret = pwrite(f->fd, map->addr + first * NDM_PAGE, nr * NDM_PAGE, to * NDM_PAGE);
	if (ret != (ssize_t)(nr * NDM_PAGE) &&
	    !mem_poisoned(&f->mem, to * NDM_PAGE, nr * NDM_PAGE) &&
	    !map_poisoned(map, first, nr))
		wrong(w, "%zd of %zu: %s", ret, nr * NDM_PAGE, strerror(errno));
	from = map->pgoff + first;
	if (ret == (ssize_t)(nr * NDM_PAGE) && (from + nr <= to || to + nr <= from))
		mem_copy(&f->mem, to * NDM_PAGE, from * NDM_PAGE, nr * NDM_PAGE);
	else
		mem_unknown(&f->mem, to * NDM_PAGE, nr * NDM_PAGE);
}

void op_refused(struct world *w, struct op *op)
{
	struct file *f = file_pick(w, op->a);
	char page[64];

	if (!f)
		return;
	fuzz_done[op->kind]++;
	if (pread(f->fd, page, sizeof(page), f->lo * NDM_PAGE) >= 0)
		wrong(w, "it can be read");
	if (!ftruncate(f->fd, f->pages * NDM_PAGE + NDM_PAGE))
		wrong(w, "it can grow");
	if (mmap(NULL, NDM_PAGE, PROT_READ, MAP_PRIVATE, f->fd, 0) != MAP_FAILED)
		wrong(w, "it can be mapped privately");
}
