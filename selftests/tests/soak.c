// SPDX-License-Identifier: GPL-2.0
/*
 * Soak: guests start, run, convert memory and end, at random, or are killed, or
 * run out of memory, or have allocations fail.  When all of them are gone, and
 * what is only kept in stock is given back, the machine's books must be as they
 * were before.  --help says how to use it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ndm.h"

#define CGROUP	"/sys/fs/cgroup/soak"
#define DEBUGFS	"/sys/kernel/debug/"
#define TRACING	"/sys/kernel/tracing/"

enum {
	SECONDS = 60,
	MAX_SLOTS = 16,
	DEATH = 120,		/* seconds that it may take to die */
	SETTLE = 60,		/* ... and for the books to be balanced */
	PROGRESS = 15,		/* ... between two lines that tell of it */
	FAULTS = 1000000000,
	CHARGE_TOLERANCE_KB = 128,	/* directory entries, and the like */
};

enum {
	GUEST	 = 1 << 0,	/* may have allocations fail, or little memory */
	HOG	 = 1 << 1,	/* is to die for want of memory in its cgroup */
	PRESSURE = 1 << 2,	/* takes nearly all memory there is; one at a time */
	ENDLESS	 = 1 << 3,	/* is always killed */
	COMPARES = 1 << 4,	/* complains of what others do meanwhile, too */
	TELLS	 = 1 << 5,	/* prints what is wrong, and goes on */
};

#define NO_HVA	"KVM_SELFTEST_MEM_SRC=guest_memfd_no_direct_map_no_hva "
#define LINUX	"exec /selftests/vmm --kernel /selftests/guest/bzImage " \
		"--initrd /selftests/guest/initramfs.gz --memory $((64 + N * 16)) "
#define APPEND	"--append \"console=ttyS0 panic=-1 loglevel=4 clocksource=kvm-clock "

/* $N is 1 to 4 and $RACE a name, both at random; $SLOW is 5 under "debug", else 1. */
static struct kind {
	const char *name, *cmd;
	unsigned int weight;
	unsigned int seconds;	/* that it takes under "test", roughly */
	unsigned int kill;	/* percent */
	unsigned int flags;

	unsigned int started, ended, killed, oom, errors, failed, injected, limited;
	double time;		/* of those that ended */
} kinds[] = {
	{ "launch_guest", "exec /selftests/launch_guest --size $((N * 8))",
	  3, 20, 40, GUEST | COMPARES },
	{ "Linux", LINUX "--cpus $((1 + N % 2)) " APPEND "ndm.cpus=$((1 + N % 2)) ndm.do=off\"",
	  3, 25, 50, GUEST | TELLS },
	{ "Linux, converting",
	  LINUX "--cpus 2 " APPEND "ndm.cpus=2 ndm.do=prove ndm.convert=60\"",
	  2, 40, 100, GUEST | ENDLESS | TELLS },
	{ "private_mem_conversions", "exec /kvm/x86/private_mem_conversions_test",
	  3, 8, 80, GUEST },
	{ "private_mem_race", "exec /kvm/x86/private_mem_race_test -d $((2 * SLOW)) -t $RACE",
	  6, 5, 50, GUEST },
	{ "guest_memfd_caches", "exec /kvm/x86/guest_memfd_caches_test",
	  2, 8, 40, GUEST },
	{ "private_mem_nested", "exec /kvm/x86/private_mem_nested_test",
	  2, 15, 40, GUEST },
	{ "state, no hva", NO_HVA "exec /kvm/x86/state_test", 1, 3, 40, GUEST },
	{ "guest_memfd", "exec /kvm/guest_memfd_test", 1, 2, 30, GUEST },
	{ "bench_populate", "exec /selftests/bench_populate --size 16 --rounds 1",
	  2, 10, 40, GUEST | COMPARES },
	{ "memory hog", NULL, 1, 2, 20, HOG },
	{ "memory pressure", NULL, 2, 5, 30, PRESSURE },
	{ "drop_caches",
	  "for i in 1 2; do echo 3 > /proc/sys/vm/drop_caches; sleep 0.$N; done; "
	  "echo 1 > /proc/sys/vm/compact_memory", 1, 3, 0, 0 },
};

enum { NR_KINDS = sizeof(kinds) / sizeof(*kinds) };

static const char * const races[] = {
	"kvm-clock", "steal-time", "pv-eoi", "emulation", "pwrite", "page-walk", "vmsave",
	"vmrun", "xen",
};

static struct slot {
	struct kind *kind;
	pid_t pid;
	char name[16];		/* of its cgroup */
	char output[32];
	bool injected, limited, killed, stuck;
	unsigned long oom_kills;
	double start;
	double inject, kill, limit, gone;	/* when it is due, 0: never */
} slots[MAX_SLOTS];

static unsigned int nr_slots = 3, nr_started;
static unsigned int seed;
static unsigned int slow = 1;	/* which "debug" is */
/*
 * Slabs that are in use in part, page tables of the direct map.  Under "debug"
 * also the stacks that KASAN and page_owner keep, all there ever were.
 */
static unsigned int free_tolerance_kb = 8 << 10;
static bool faults;
static int probe;

static unsigned int below(unsigned int n)
{
	return random() % n;
}

static bool percent(unsigned int n)
{
	return below(100) < n;
}

/* The number behind a name in a cgroup's file, or the one that it begins with. */
static unsigned long cgroup_read(const char *group, const char *file, const char *name)
{
	char path[PATH_MAX], buf[8192], *at = buf;

	snprintf(path, sizeof(path), CGROUP "/%s/%s", group, file);
	if (ndm_read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	if (name)
		at = strstr(buf, name);
	return at ? strtoul(at + (name ? strlen(name) : 0), NULL, 10) : 0;
}

static void cgroup_write(const char *group, const char *file, const char *value)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), CGROUP "/%s/%s", group, file);
	err = ndm_write_file(path, "%s\n", value);
	if (err)
		ndm_fail("%s: %s", path, strerror(-err));
}

/* --- what has to be the same again */

struct books {
	struct ndm_direct_map dm;
	uint64_t missing, free_kb, charged_kb, users;
};

static void take_stock(struct books *b)
{
	char buf[32] = "";
	unsigned int i;

	ndm_direct_map(&b->dm);
	b->missing = ndm_missing(probe);
	b->free_kb = ndm_free_kb();
	b->charged_kb = 0;
	for (i = 0; i < nr_slots; i++)
		b->charged_kb += cgroup_read(slots[i].name, "memory.current", NULL) / 1024;
	ndm_read_file("/sys/module/kvm_amd/refcnt", buf, sizeof(buf));
	b->users = strtoul(buf, NULL, 10);
}

/*
 * What is kept in stock: blocks of the pool, caches, KASAN's freed objects, and
 * what the CPUs have charged in advance.
 */
static void give_back(void)
{
	glob_t caches;
	size_t i;

	for (i = 0; i < nr_slots; i++) {
		cgroup_write(slots[i].name, "memory.high", "0");
		cgroup_write(slots[i].name, "memory.high", "max");
	}

	if (!glob("/sys/kernel/slab/*/shrink", GLOB_NOSORT, NULL, &caches)) {
		for (i = 0; i < caches.gl_pathc; i++)
			ndm_write_file(caches.gl_pathv[i], "1\n");
		globfree(&caches);
	}
	ndm_compact();
	usleep(200000);
}

/*
 * A 2M entry is split, for good, where less than a block is removed, because
 * there is no free block, or is given back, because there is little memory.
 * Nothing else may split one.  The kernel's trace, which tells of both, is read
 * all the time, as it has little room.
 */
static int trace = -1;
static unsigned int nr_blocks;	/* of which a part was removed or given back */

static void blocks_watch(void)
{
	static const char * const settings[][2] = {
		{ "buffer_size_kb", "4096" },
		{ "events/no_direct_map/filter", "0" },
		{ "events/no_direct_map/no_direct_map_remove/filter", "nr != 512" },
		{ "events/no_direct_map/no_direct_map_restore/filter", "nr != 512" },
		{ "events/no_direct_map/no_direct_map_remove/enable", "1" },
		{ "events/no_direct_map/no_direct_map_restore/enable", "1" },
	};
	char path[PATH_MAX];
	int err, fd;
	size_t i;

	/* Forget what others have left, and lost. */
	fd = open(TRACING "trace", O_WRONLY | O_TRUNC);
	if (fd >= 0)
		close(fd);
	for (i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		snprintf(path, sizeof(path), TRACING "%s", settings[i][0]);
		err = ndm_write_file(path, "%s\n", settings[i][1]);
		if (err)
			ndm_fail("%s: %s", path, strerror(-err));
	}
	trace = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (trace < 0)
		ndm_fail(TRACING "trace_pipe: %s", strerror(errno));
}

static void blocks_count(void)
{
	static bool seen[1 << 20];
	static char buf[65536];
	static size_t left;
	char *line, *end, *at;
	unsigned long block;
	ssize_t len;

	while ((len = read(trace, buf + left, sizeof(buf) - 1 - left)) > 0) {
		buf[left + len] = 0;
		for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			if (strstr(line, " EVENTS]"))
				ndm_fail("the kernel's trace is incomplete: %s", line);
			at = strstr(line, "pfn=0x");
			if (!at)
				continue;
			block = strtoul(at + 4, NULL, 16) >> 9 & 0xfffff;
			nr_blocks += !seen[block];
			seen[block] = true;
		}
		left = strlen(line);
		memmove(buf, line, left);
	}
}

static void settle(const struct books *before, struct books *now)
{
	double end = ndm_now() + SETTLE * slow;

	do {
		give_back();
		take_stock(now);
		blocks_count();
	} while (ndm_now() < end &&
		 (now->missing > before->missing || now->users > before->users ||
		  now->charged_kb > CHARGE_TOLERANCE_KB ||
		  now->free_kb + free_tolerance_kb < before->free_kb));
}

/* --- fault injection, in tasks that are told to fail */

static const char * const fault_attrs[] = { "failslab", "fail_page_alloc" };

enum { NR_ATTRS = sizeof(fault_attrs) / sizeof(*fault_attrs) };

static void fault_knob(const char *attr, const char *knob, const char *value)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", attr, knob);
	err = ndm_write_file(path, "%s\n", value);
	if (err)
		ndm_fail("%s: %s", path, strerror(-err));
}

static void fault_knobs(const char *knob, const char *value)
{
	int i;

	for (i = 0; i < NR_ATTRS; i++)
		fault_knob(fault_attrs[i], knob, value);
}

static void faults_start(void)
{
	static const char * const knobs[][2] = {
		{ "verbose", "0" },
		{ "task-filter", "Y" },
		{ "ignore-gfp-wait", "N" },
		{ "space", "0" },
		{ "times", "1000000000" },
		{ "probability", "100" },
	};
	size_t i;

	fault_knob("fail_page_alloc", "ignore-gfp-highmem", "N");
	fault_knob("fail_page_alloc", "min-order", "0");
	for (i = 0; i < sizeof(knobs) / sizeof(*knobs); i++)
		fault_knobs(knobs[i][0], knobs[i][1]);
}

/* Rarely, for a task to get far before it fails; often, to fail all over. */
static void faults_change(void)
{
	static const char * const intervals[] = { "1", "3", "10", "30", "100", "300" };
	static unsigned int state = 1;

	/* Not from the numbers that tell what is started. */
	fault_knobs("interval", intervals[rand_r(&state) % 6]);
}

static void faults_check(void)
{
	char path[PATH_MAX], buf[32];
	long injected;
	int i, len;

	for (i = 0; i < NR_ATTRS; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/times", fault_attrs[i]);
		len = ndm_read_file(path, buf, sizeof(buf));
		if (len <= 0) {
			ndm_fail("%s: %s", path, strerror(-len));
			continue;
		}
		injected = FAULTS - strtol(buf, NULL, 10);
		printf("allocations made to fail by %s: %ld\n", fault_attrs[i], injected);
		if (injected <= 0)
			ndm_fail("no allocation was made to fail by %s", fault_attrs[i]);
	}
}

typedef void (*thread_fn)(pid_t pid, const char *tid);

static void for_each_thread(pid_t pid, thread_fn fn)
{
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] != '.')
			fn(pid, d->d_name);
	}
	if (dir)
		closedir(dir);
}

static void make_it_fail(pid_t pid, const char *tid)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/make-it-fail", pid, tid);
	err = ndm_write_file(path, "1\n");
	/* It may have ended. */
	if (err && err != -ENOENT && err != -ESRCH)
		ndm_fail("%s: %s", path, strerror(-err));
}

/* --- workers */

static void print_stack(pid_t pid, const char *tid)
{
	char path[PATH_MAX], buf[4096] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, tid);
	ndm_read_file(path, buf, 120);
	printf("%s\n", buf);
	snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", pid, tid);
	ndm_read_file(path, buf, sizeof(buf));
	printf("%s\n", buf);
}

static void print_output(const struct slot *s)
{
	char buf[65536] = "", *at;
	int lines = 20;

	ndm_read_file(s->output, buf, sizeof(buf));
	for (at = buf + strlen(buf); at > buf && lines; at--)
		lines -= at[-1] == '\n';
	/* Not at the start of a line, where what is wrong with the soak is told. */
	for (at = strtok(at, "\n"); at; at = strtok(NULL, "\n"))
		printf("  %s\n", at);
}

/*
 * Some look at all of the direct map, in which others are busy, or expect pages
 * to stay in it that others get.  The rest of what they say counts.
 */
static bool excused(const char *output)
{
	static const char * const excuses[] = {
		"from the start", "did not return", "than before have no entry",
		"stays split", "pages don't return",
	};
	enum { NR = sizeof(excuses) / sizeof(*excuses) };
	const char *line, *end;
	bool any = false;
	size_t i;

	for (line = output; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		if (!memmem(line, end - line, "WRONG: ", 7) &&
		    !memmem(line, end - line, "Bail out! ", 10))
			continue;
		for (i = 0; i < NR; i++) {
			if (memmem(line, end - line, excuses[i], strlen(excuses[i])))
				break;
		}
		if (i == NR)
			return false;
		any = true;
	}
	return any;
}

static struct kind *choose(void)
{
	unsigned int i, sum = 0, n;

	for (i = 0; i < NR_KINDS; i++)
		sum += kinds[i].weight;
	n = below(sum);
	for (i = 0; n >= kinds[i].weight; i++)
		n -= kinds[i].weight;
	return &kinds[i];
}

/* Is there one with all of these flags? */
static bool running(unsigned int flags)
{
	unsigned int i;

	for (i = 0; i < nr_slots; i++) {
		if (slots[i].pid && (slots[i].kind->flags & flags) == flags)
			return true;
	}
	return false;
}

static void take_memory(size_t size)
{
	volatile char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (mem == MAP_FAILED)
		_exit(1);
	for (i = 0; i < size; i += NDM_PAGE)
		mem[i] = 1;
	sleep(1);
	_exit(0);
}

static void child(const struct slot *s)
{
	const size_t available = ndm_meminfo_kb("MemAvailable") << 10;
	char path[PATH_MAX];
	int fd;

	setsid();
	snprintf(path, sizeof(path), CGROUP "/%s/cgroup.procs", s->name);
	fd = open(s->output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 ||
	    ndm_write_file(path, "0\n"))
		_exit(127);
	close(fd);
	fd = open("/dev/null", O_RDONLY);
	dup2(fd, 0);
	if (s->kind->flags & HOG)
		take_memory(MIB(256));
	if (s->kind->flags & PRESSURE) {
		ndm_write_file("/proc/self/oom_score_adj", "1000\n");
		take_memory(available > MIB(64) ? available - MIB(32) : MIB(32));
	}
	if (s->injected && ndm_write_file("/proc/self/make-it-fail", "1\n"))
		_exit(127);
	execl("/bin/sh", "sh", "-c", s->kind->cmd, NULL);
	_exit(127);
}

static void start(struct slot *s)
{
	double now = ndm_now(), usual;
	struct kind *k;
	char number[32];

	srandom(seed + 7919 * nr_started++);
	do {
		k = choose();
	} while ((k->flags & PRESSURE) && running(PRESSURE));

	usual = k->seconds * slow;
	s->kind = k;
	s->start = now;
	s->inject = 0;
	s->kill = 0;
	s->gone = 0;
	/* Others may keep the host busy. */
	s->limit = now + 20 * usual + 300;
	s->killed = false;
	s->injected = false;
	if ((k->flags & ENDLESS) || percent(k->kill))
		s->kill = now + below(700) / 1000. * usual;
	if ((k->flags & GUEST) && faults && percent(50)) {
		s->injected = percent(20);
		if (!s->injected)
			s->inject = now + below(600) / 1000. * usual;
		/* What it waits for may never come. */
		if (!s->kill)
			s->kill = now + 4 * usual;
	}
	s->limited = (k->flags & HOG) || ((k->flags & GUEST) && percent(20));
	k->injected += s->injected;
	k->limited += s->limited;
	k->started++;

	snprintf(number, sizeof(number), "%u", (8 + below(64)) << 20);
	cgroup_write(s->name, "memory.max", s->limited ? number : "max");
	s->oom_kills = cgroup_read(s->name, "memory.events", "oom_kill ");
	snprintf(number, sizeof(number), "%u", 1 + below(4));
	setenv("N", number, 1);
	setenv("RACE", races[below(sizeof(races) / sizeof(*races))], 1);

	fflush(stdout);
	s->pid = fork();
	if (!s->pid)
		child(s);
	if (s->pid < 0) {
		ndm_fail("fork: %s", strerror(errno));
		s->pid = 0;
	}
}

static void end(struct slot *s, int status)
{
	bool oom = cgroup_read(s->name, "memory.events", "oom_kill ") > s->oom_kills;
	double patience = ndm_now() + DEATH;
	char output[65536] = "";
	struct kind *k = s->kind;

	/* Nothing of it may survive. */
	cgroup_write(s->name, "cgroup.kill", "1");
	while (cgroup_read(s->name, "cgroup.events", "populated ")) {
		if (ndm_now() > patience) {
			ndm_fail("%s: a process of it can't be killed", k->name);
			s->stuck = true;
			break;
		}
		usleep(10000);
	}

	ndm_read_file(s->output, output, sizeof(output));
	if (s->killed) {
		k->killed++;
	} else if (oom && WIFSIGNALED(status) && (s->limited || (k->flags & PRESSURE))) {
		k->oom++;
	} else if (!status && !(k->flags & HOG)) {
		k->ended++;
		k->time += ndm_now() - s->start;
	} else if (s->injected || (s->limited && !(k->flags & HOG))) {
		k->errors++;
	} else if ((k->flags & COMPARES) && WIFEXITED(status) && excused(output)) {
		k->ended++;
		k->time += ndm_now() - s->start;
	} else {
		k->failed++;
		ndm_fail("%s, %s %d:", k->name, WIFSIGNALED(status) ? "signal" : "exit code",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		print_output(s);
	}
	if ((k->flags & TELLS) && strstr(output, "FAILED") && !s->injected && !s->limited) {
		k->failed++;
		ndm_fail("%s:", k->name);
		print_output(s);
	}
	unlink(s->output);
	s->pid = 0;
}

static void look_after(struct slot *s, double now)
{
	if (s->inject && now >= s->inject) {
		s->inject = 0;
		s->injected = true;
		s->kind->injected++;
		for_each_thread(s->pid, make_it_fail);
	}
	if (!s->killed && now >= s->limit) {
		s->kind->failed++;
		ndm_fail("%s: no end after %.0f seconds", s->kind->name, now - s->start);
		ndm_write_file("/proc/sysrq-trigger", "w\n");
		for_each_thread(s->pid, print_stack);
		print_output(s);
		s->kill = now;
	}
	if (!s->killed && s->kill && now >= s->kill) {
		s->killed = true;
		s->gone = now + DEATH;
		kill(-s->pid, SIGKILL);
	}
	if (s->gone && now >= s->gone) {
		ndm_fail("%s: alive %d seconds after it was killed", s->kind->name, DEATH);
		ndm_write_file("/proc/sysrq-trigger", "w\n");
		for_each_thread(s->pid, print_stack);
		s->stuck = true;
		s->pid = 0;
	}
}

static void reap(void)
{
	unsigned int i;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < nr_slots; i++) {
			if (slots[i].pid == pid)
				end(&slots[i], status);
		}
	}
}

static void progress(double since)
{
	unsigned int i, ended = 0, killed = 0, oom = 0, errors = 0;

	for (i = 0; i < NR_KINDS; i++) {
		ended += kinds[i].ended;
		killed += kinds[i].killed;
		oom += kinds[i].oom;
		errors += kinds[i].errors;
	}
	printf("%4.0f s: %u started, %u ended, %u killed, %u out of memory, %u with errors; "
	       "%llu pages removed, %llu MiB free;",
	       ndm_now() - since, nr_started, ended, killed, oom, errors,
	       (unsigned long long)ndm_missing(probe),
	       (unsigned long long)ndm_free_kb() / 1024);
	for (i = 0; i < nr_slots; i++) {
		if (slots[i].pid)
			printf(" [%s]", slots[i].kind->name);
	}
	printf("\n");
	/* scripts/boot is told how long silence is no hang */
	dprintf(4, "expect 300\n");
}

static void soak(unsigned int seconds)
{
	double begin = ndm_now(), now = begin, next = begin, change = begin;
	bool last = false;
	unsigned int i;

	while (!last || running(0)) {
		now = ndm_now();
		if (now >= next) {
			progress(begin);
			next = now + PROGRESS;
		}
		if (faults && now >= change) {
			faults_change();
			change = now + 5;
		}
		last = now >= begin + seconds;
		blocks_count();
		reap();
		for (i = 0; i < nr_slots; i++) {
			if (slots[i].pid)
				look_after(&slots[i], now);
			else if (!last && !slots[i].stuck)
				start(&slots[i]);
		}
		usleep(20000);
	}
	progress(begin);
}

/* --- before and after */

static void cgroups_make(void)
{
	char path[PATH_MAX];
	unsigned int i;

	ndm_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory\n");
	mkdir(CGROUP, 0755);
	cgroup_write(".", "cgroup.subtree_control", "+memory");
	for (i = 0; i < nr_slots; i++) {
		snprintf(slots[i].name, sizeof(slots[i].name), "%u", i);
		snprintf(slots[i].output, sizeof(slots[i].output), "/tmp/soak.%u", i);
		snprintf(path, sizeof(path), CGROUP "/%u", i);
		mkdir(path, 0755);
		cgroup_write(slots[i].name, "memory.oom.group", "1");
	}
}

static void cgroups_remove(void)
{
	char path[PATH_MAX];
	unsigned int i;

	for (i = 0; i < nr_slots; i++) {
		snprintf(path, sizeof(path), CGROUP "/%u", i);
		if (rmdir(path))
			ndm_fail("%s: %s", path, strerror(errno));
	}
	rmdir(CGROUP);
}

static void module_reload(void)
{
	if (access("/sys/module/kvm_amd/refcnt", F_OK)) {
		printf("%-42s%24s\n", "kvm_amd", "no module");
		return;
	}
	if (syscall(SYS_delete_module, "kvm_amd", O_NONBLOCK))
		ndm_fail("kvm_amd can't be unloaded: %s", strerror(errno));
	else if (system("modprobe kvm_amd"))
		ndm_fail("kvm_amd can't be loaded again");
	else
		printf("%-42s%24s\n", "kvm_amd", "unloaded, loaded");
}

static void print_kinds(void)
{
	struct kind *k;

	printf("\n%-26s%8s%8s%8s%8s%8s%8s | %8s%8s%8s\n", "", "started", "ended",
	       "killed", "no mem", "errors", "FAILED", "faults", "limited", "seconds");
	for (k = kinds; k < kinds + NR_KINDS; k++)
		printf("%-26s%8u%8u%8u%8u%8u%8u | %8u%8u%8.1f\n", k->name, k->started,
		       k->ended, k->killed, k->oom, k->errors, k->failed,
		       k->injected, k->limited, k->ended ? k->time / k->ended : 0);
}

static void print_row(const char *name, uint64_t before, uint64_t after)
{
	printf("%-42s%12llu%12llu\n", name, (unsigned long long)before,
	       (unsigned long long)after);
}

static void print_charges(void)
{
	char path[PATH_MAX], line[256];
	unsigned int i;
	FILE *file;

	for (i = 0; i < nr_slots; i++) {
		snprintf(path, sizeof(path), CGROUP "/%s/memory.stat", slots[i].name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			if (strstr(line, "pg") || strstr(line, "workingset"))
				break;
			if (!strstr(line, " 0\n"))
				printf("  %s: %s", slots[i].name, line);
		}
		if (file)
			fclose(file);
	}
}

static void compare(const struct books *before, const struct books *after)
{
	printf("\n%-42s%12s%12s\n", "", "before", "after");
	printf("direct map, KiB\n");
	print_row("  by entries of 4 KiB", before->dm.kb[0], after->dm.kb[0]);
	print_row("  by entries of 2 MiB", before->dm.kb[1], after->dm.kb[1]);
	print_row("  by entries of 1 GiB", before->dm.kb[2], after->dm.kb[2]);
	print_row("pages of RAM that have no entry", before->missing, after->missing);
	printf("%-42s%24u\n", "blocks of 2 MiB that went in parts", nr_blocks);
	print_row("free memory, KiB", before->free_kb, after->free_kb);
	print_row("charged to memory cgroups, KiB", before->charged_kb, after->charged_kb);
	print_row("references to kvm_amd", before->users, after->users);

	if (after->dm.kb[0] > before->dm.kb[0] + nr_blocks * NDM_BLOCK / 1024)
		ndm_fail("2M entries stay split of which no part was given back by itself");
	if (after->missing != before->missing)
		ndm_fail("%lld pages more than before have no entry in the direct map",
			 (long long)(after->missing - before->missing));
	if (after->free_kb + free_tolerance_kb < before->free_kb)
		ndm_fail("%llu KiB of free memory are lost, of which up to %u are tolerated",
			 (unsigned long long)(before->free_kb - after->free_kb),
			 free_tolerance_kb);
	if (after->charged_kb > CHARGE_TOLERANCE_KB) {
		ndm_fail("%llu KiB are still charged to memory cgroups:",
			 (unsigned long long)after->charged_kb);
		print_charges();
	}
	if (after->users != before->users)
		ndm_fail("references to kvm_amd are left");
}

static void usage(const char *self)
{
	printf("Usage: %s [--seconds N] [--seed N] [--slots N]\n"
	       "\n"
	       "  --seconds N  how long guests are started (default %u)\n"
	       "  --seed N     repeat what another run has started\n"
	       "  --slots N    how many at a time, 1 to %u (default %u)\n"
	       "\n"
	       "Exit codes: 0 all is as before, 1 something is wrong or can't be tested here,\n"
	       "%d bad usage.\n", self, SECONDS, MAX_SLOTS, nr_slots, NDM_BAD_USAGE);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "slots", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	unsigned int seconds = SECONDS;
	struct books before, after;
	int opt;

	seed = ndm_seed() % 1000000;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			seconds = ndm_number("seconds", optarg, 1, INT_MAX);
			break;
		case 'r':
			seed = ndm_number("seed", optarg, 0, UINT_MAX);
			break;
		case 'n':
			nr_slots = ndm_number("slots", optarg, 1, MAX_SLOTS);
			break;
		case 'h':
			usage(argv[0]);
			return 0;
		default:
			return NDM_BAD_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unknown argument \"%s\" (try --help)\n", argv[0],
			argv[optind]);
		return NDM_BAD_USAGE;
	}

	ndm_is_no_test = true;
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG | NDM_NEED_DEBUGFS);
	setvbuf(stdout, NULL, _IOLBF, 0);
	fcntl(4, F_SETFD, FD_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	probe = ndm_probe_open();
	setenv("SLOW", "1", 1);
	faults = !access(DEBUGFS "failslab", F_OK);
	if (faults) {
		slow = 5;
		setenv("SLOW", "5", 1);
		free_tolerance_kb = 16 << 10;
		faults_start();
	}
	printf("seed %u, %u seconds, %u at a time, fault injection: %s\n", seed, seconds,
	       nr_slots, faults ? "failslab, fail_page_alloc" :
	       "left out, this kernel has none");
	ndm_write_file("/proc/sys/vm/oom_dump_tasks", "0\n");
	cgroups_make();
	blocks_watch();

	give_back();
	give_back();
	take_stock(&before);
	soak(seconds);
	if (faults)
		fault_knobs("probability", "0");
	settle(&before, &after);

	print_kinds();
	if (faults)
		faults_check();
	compare(&before, &after);
	cgroups_remove();
	module_reload();
	printf("%u things are wrong\n", ndm_failures);
	return ndm_failures ? 1 : 0;
}
