// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of the Linux that launch_linux boots in the VMM.  Proves
 * that the guest lives, and says so in lines that launch_linux reads:
 *
 *   ndm: <what> ok: <figures>     or     ndm: <what> FAILED: <why>
 *
 * The kernel's command line says what to do:
 *
 *   ndm.do=prove   all of it, with the secret of ndm.seed=<hex>; default
 *   ndm.do=secret  only the secret
 *   ndm.do=shell   a shell on the console, and power off when it ends
 *   ndm.do=panic   make the kernel panic;  reset: reset;  hang: do nothing;
 *                   off: power off
 *   ndm.cpus=N     CPUs that must have come up
 *   ndm.convert=N  rounds of conversions on each CPU (0: none)
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "ndm.h"

#define CHILDREN	60
#define CHILD_END	42		/* exit code */
#define TICKS		50
#define MARGIN		MIB(24)		/* of memory that is left alone */
#define LOAD		MIB(1)		/* of memory, for each CPU */

static int failures;
static unsigned int cpus;

static void say(const char *what, bool ok, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	printf("ndm: %s %s: %s\n", what, ok ? "ok" : "FAILED", text);
	failures += !ok;
}

static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, text, size - 1);

	text[len > 0 ? len : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	if (fd >= 0)
		close(fd);
}

static const char *parameter(const char *name)
{
	static char cmdline[4096];
	char *found;

	read_text("/proc/cmdline", cmdline, sizeof(cmdline));
	found = strstr(cmdline, name);
	if (!found)
		return "";
	found += strlen(name);
	found[strcspn(found, " ")] = 0;
	return found;
}

static size_t available(void)
{
	unsigned long long kb = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kb << 10;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* --- what the machine is */

static void about(void)
{
	unsigned int wanted = atoi(parameter("ndm.cpus="));
	struct utsname uts;
	char clock[64];
	struct stat st;

	uname(&uts);
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	say("boot", !wanted || cpus == wanted, "Linux %s, %u of %u CPUs, %zu MiB available",
	    uts.release, cpus, wanted ?: cpus, available() >> 20);
	read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		  clock, sizeof(clock));
	say("clock", !strcmp(clock, "kvm-clock"), "%s", clock);
	if (stat("/dev/ttyS0", &st))
		say("console", false, "no ttyS0");
}

/* --- timers: signals come, and sleeping takes as long as it should */

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	ticks++;
}

static void timers(void)
{
	struct itimerval every = { { 0, 10000 }, { 0, 10000 } }, stop = {};
	struct timespec nap = { 0, 20000000 };
	double start, slept;

	signal(SIGALRM, on_tick);
	start = seconds();
	setitimer(ITIMER_REAL, &every, NULL);
	while (ticks < TICKS && seconds() - start < 60)
		pause();
	setitimer(ITIMER_REAL, &stop, NULL);
	slept = seconds() - start;
	start = seconds();
	nanosleep(&nap, NULL);
	say("timers", ticks >= TICKS && slept >= TICKS * 0.0099 &&
	    seconds() - start >= 0.02, "%d ticks of 10 ms in %.2f s", (int)ticks,
	    slept);
}

/* --- processes: fork, exec, exit, on all CPUs */

static void start_child(unsigned int cpu)
{
	static const char * const again[] = { "/init", "--child", NULL };

	if (!fork()) {
		pin(cpu);
		execv(again[0], (char **)again);
		_exit(1);
	}
}

/* Returns how many of them ended as they should. */
static unsigned int wait_for_children(void)
{
	unsigned int good = 0;
	int status;

	while (wait(&status) > 0)
		good += WIFEXITED(status) && WEXITSTATUS(status) == CHILD_END;
	return good;
}

static void processes(void)
{
	unsigned int i, good = 0;
	double start = seconds();

	for (i = 0; i < CHILDREN; i++) {
		start_child(i % cpus);
		if (i % 4 == 3)
			good += wait_for_children();
	}
	say("processes", good == CHILDREN, "%u of %u forked, executed and waited for in %.1f s",
	    good, CHILDREN, seconds() - start);
}

/* --- memory */

enum { LOAD_MEMORY, LOAD_PROCESSES, NR_LOADS };

struct shared {
	volatile size_t done;		/* bytes */
	volatile size_t wrong;		/* words */
	volatile unsigned int ready;
	volatile bool stop;
	volatile size_t rounds;
	volatile size_t load[][NR_LOADS];	/* rounds, by CPU */
};

static struct shared *shared;

static size_t test_memory(uint64_t *mem, size_t size, uint64_t flip)
{
	size_t i, wrong = 0;

	for (i = 0; i < size / sizeof(*mem); i++)
		mem[i] = (uintptr_t)&mem[i] ^ flip;
	for (i = 0; i < size / sizeof(*mem); i++)
		wrong += mem[i] != ((uintptr_t)&mem[i] ^ flip);
	return wrong;
}

static void *get_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		_exit(1);
	return mem;
}

/* What each CPU can have of the memory; 0 if there is none. */
static size_t share(const char *what)
{
	const size_t bytes = available();

	if (bytes < MARGIN + cpus * NDM_PAGE) {
		say(what, false, "only %zu MiB are available", bytes >> 20);
		return 0;
	}
	return (bytes - MARGIN) / cpus & -NDM_PAGE;
}

static void memory_child(unsigned int cpu, size_t size)
{
	void *mem = get_memory(size);
	size_t wrong;

	pin(cpu);
	wrong = test_memory(mem, size, 0);
	wrong += test_memory(mem, size, ~0ull);
	__sync_fetch_and_add(&shared->wrong, wrong);
	__sync_fetch_and_add(&shared->done, size);
	_exit(0);
}

static void memory(void)
{
	const size_t each = share("memory");
	double start = seconds();
	unsigned int i;

	if (!each)
		return;
	for (i = 0; i < cpus; i++) {
		if (!fork())
			memory_child(i, each);
	}
	while (wait(NULL) > 0)
		;
	say("memory", shared->done == each * cpus && !shared->wrong,
	    "%zu MiB tested twice in %.1f s, %zu words wrong", shared->done >> 20,
	    seconds() - start, shared->wrong);
}

static void secret_child(unsigned int cpu, size_t size, uint64_t seed)
{
	volatile void *mem = get_memory(size);

	pin(cpu);
	ndm_secret_write(mem, size, seed);
	__sync_fetch_and_add(&shared->ready, 1);
	do {
		__sync_fetch_and_add(&shared->wrong,
				     ndm_secret_differs(mem, size, seed));
		__sync_fetch_and_add(&shared->rounds, 1);
		/* The host has to work, too. */
		usleep(200000);
	} while (!shared->stop);
	_exit(0);
}

/* Hold the secret, looking at it all the time, until a line comes in. */
static void secret(uint64_t seed)
{
	const size_t each = share("secret");
	char line[64] = "";
	unsigned int i;
	int status, bad = 0;

	if (!each)
		return;
	for (i = 0; i < cpus; i++) {
		if (!fork())
			secret_child(i, each, seed);
	}
	while (shared->ready < cpus) {
		usleep(10000);
		if (waitpid(-1, &status, WNOHANG) > 0) {
			say("secret", false, "a process that should hold it is gone");
			return;
		}
	}
	printf("ndm: secret written: %zu pages\n", each * cpus / NDM_PAGE);
	if (!fgets(line, sizeof(line), stdin))
		strcpy(line, "end of file");
	line[strcspn(line, "\n")] = 0;
	shared->stop = true;
	while (wait(&status) > 0)
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	say("input", !strcmp(line, "go"), "\"%s\" came in on the console", line);
	say("secret", !bad && !shared->wrong && shared->rounds >= cpus,
	    "read %zu times on %u CPUs, %zu words wrong", shared->rounds, cpus,
	    shared->wrong);
}

/* --- load: memory comes and goes, processes start and end, on all CPUs */

static void load_child(unsigned int kind, unsigned int cpu)
{
	volatile size_t *rounds = &shared->load[cpu][kind];
	unsigned int i;
	void *mem;

	pin(cpu);
	/* What it is the load for shall not take several times as long. */
	nice(5);
	for (i = 0; !shared->stop; i++) {
		if (kind == LOAD_MEMORY) {
			mem = get_memory(LOAD);
			__sync_fetch_and_add(&shared->wrong, test_memory(mem, LOAD, i));
			munmap(mem, LOAD);
		} else {
			start_child(cpu);
			__sync_fetch_and_add(&shared->wrong, wait_for_children() != 1);
		}
		__sync_fetch_and_add(rounds, 1);
	}
	_exit(0);
}

/* The number of rounds, on the CPU where it is least. */
static size_t load_done(unsigned int kind)
{
	size_t least = shared->load[0][kind];
	unsigned int i;

	for (i = 1; i < cpus; i++) {
		if (shared->load[i][kind] < least)
			least = shared->load[i][kind];
	}
	return least;
}

static void load_start(void)
{
	unsigned int kind, i;
	int status;

	shared->wrong = 0;
	for (kind = 0; kind < NR_LOADS; kind++) {
		for (i = 0; i < cpus; i++) {
			if (!fork())
				load_child(kind, i);
		}
	}
	while (!load_done(LOAD_MEMORY) || !load_done(LOAD_PROCESSES)) {
		usleep(10000);
		if (waitpid(-1, &status, WNOHANG) > 0) {
			say("load", false, "a process of it is gone");
			break;
		}
	}
	/* What counts is what comes from now on. */
	for (kind = 0; kind < NR_LOADS; kind++) {
		for (i = 0; i < cpus; i++)
			__sync_fetch_and_and(&shared->load[i][kind], 0);
	}
}

static void load_stop(void)
{
	const size_t memory = load_done(LOAD_MEMORY);
	const size_t processes = load_done(LOAD_PROCESSES);
	unsigned int bad = 0;
	int status;

	shared->stop = true;
	while (wait(&status) > 0)
		bad += status != 0;
	say("load", memory && processes && !bad && !shared->wrong,
	    "meanwhile, each CPU tested memory %zu times and ran %zu processes, %zu wrong",
	    memory, processes, shared->wrong);
	shared->stop = false;
}

/* --- in the kernel: paravirtual features, conversions */

static void tell(const char *what)
{
	char path[128], text[256];

	snprintf(path, sizeof(path), "/sys/module/ndm_convert/parameters/%s", what);
	read_text(path, text, sizeof(text));
	printf("ndm: %s %s\n", what, *text ? text : "FAILED: no result");
	failures += strncmp(text, "ok", 2) != 0;
}

static void kernel_part(const char *rounds)
{
	unsigned long long n[8] = {};
	const bool convert = atoi(rounds);
	char args[64], stat[256];
	int fd, err;

	fd = open("/ndm_convert.ko", O_RDONLY | O_CLOEXEC);
	snprintf(args, sizeof(args), "rounds=%s", *rounds ? rounds : "0");
	if (convert)
		load_start();
	err = fd < 0 || syscall(SYS_finit_module, fd, args, 0) ? errno : 0;
	if (convert)
		load_stop();
	if (err) {
		say("module", false, "%s", strerror(err));
		return;
	}
	tell("paravirtual");
	if (convert)
		tell("conversions");

	read_text("/proc/stat", stat, sizeof(stat));
	sscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", n, n + 1, n + 2,
	       n + 3, n + 4, n + 5, n + 6, n + 7);
	printf("ndm: stolen by the host: %llu ticks of 10 ms\n", n[7]);
}

static void shell(void)
{
	static const char * const sh[] = { "/bin/sh", "-l", NULL };
	pid_t pid = fork();

	if (!pid) {
		setsid();
		ioctl(0, TIOCSCTTY, 1);
		execv(sh[0], (char **)sh);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
}

static void become_init(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/", 1);
	setenv("PS1", "guest# ", 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(int argc, char **argv)
{
	const char *todo;
	uint64_t seed;
	int fd;

	if (argc > 1 && !strcmp(argv[1], "--child"))
		return CHILD_END;
	become_init();
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
	}
	todo = strdup(parameter("ndm.do="));
	about();
	shared = mmap(NULL, sizeof(*shared) + cpus * sizeof(shared->load[0]),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!strcmp(todo, "shell")) {
		shell();
	} else if (!strcmp(todo, "panic")) {
		fd = open("/proc/sysrq-trigger", O_WRONLY);
		sleep(write(fd, "c", 1) + 60);
	} else if (!strcmp(todo, "reset")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(todo, "hang")) {
		pause();
	} else if (!strcmp(todo, "off")) {
		printf("ndm: powering off\n");
	} else if (!strcmp(todo, "secret")) {
		secret(strtoull(parameter("ndm.seed="), NULL, 16));
		printf("ndm: guest %s\n", failures ? "FAILED" : "lives");
	} else {
		seed = strtoull(parameter("ndm.seed="), NULL, 16);
		timers();
		processes();
		memory();
		kernel_part(parameter("ndm.convert="));
		shared->wrong = 0;
		secret(seed);
		printf("ndm: guest %s\n", failures ? "FAILED" : "lives: all of it ok");
	}
	sync();
	usleep(100000);
	reboot(RB_POWER_OFF);
	return 1;
}
