// SPDX-License-Identifier: GPL-2.0
/* What is started, how it may end, and what is wrong then. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "soak.h"

enum {
	DEATH = 120,		/* seconds that it may take to die */
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
struct kind kinds[] = {
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
	{ "bench_populate", "exec /selftests/bench_populate --size 16 --rounds 1 single",
	  2, 10, 40, GUEST | COMPARES },
	{ "memory hog", NULL, 1, 2, 20, HOG },
	{ "memory pressure", NULL, 2, 5, 30, PRESSURE },
	{ "drop_caches",
	  "for i in 1 2; do echo 3 > /proc/sys/vm/drop_caches; sleep 0.$N; done; "
	  "echo 1 > /proc/sys/vm/compact_memory", 1, 3, 0, 0 },
};

const unsigned int nr_kinds = sizeof(kinds) / sizeof(*kinds);

static const char * const races[] = {
	"kvm-clock", "steal-time", "pv-eoi", "emulation", "pwrite", "page-walk", "vmsave",
	"vmrun", "xen",
};

struct slot slots[MAX_SLOTS];

static unsigned int below(unsigned int n)
{
	return random() % n;
}

static bool percent(unsigned int n)
{
	return below(100) < n;
}

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

/* What no failure of anything explains, nor the death of who has said it. */
static bool corrupted(const char *output)
{
	static const char * const signs[] = {
		"KVM has written", "KVM wrote to", "The guest has written",
		"memory changed", "have an entry,", "secret is in",
	};
	size_t i;

	for (i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
		if (strstr(output, signs[i]))
			return true;
	}
	return false;
}

static struct kind *choose(void)
{
	unsigned int i, sum = 0, n;

	for (i = 0; i < nr_kinds; i++)
		sum += kinds[i].weight;
	n = below(sum);
	for (i = 0; n >= kinds[i].weight; i++)
		n -= kinds[i].weight;
	return &kinds[i];
}

/* Is there one with all of these flags? */
bool running(unsigned int flags)
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

void start(struct slot *s)
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
	if (corrupted(output)) {
		k->failed++;
		ndm_fail("%s: memory is not what it must be:", k->name);
		print_output(s);
	} else if (s->killed) {
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

void look_after(struct slot *s, double now)
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

void reap(void)
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
