// SPDX-License-Identifier: GPL-2.0
/*
 * Boot a whole Linux in the VMM next to this program, and tell where its memory
 * is not: before it exists, when it is loaded, while it runs, while it converts
 * memory, while it holds a secret in most of its memory, and after.
 *
 * The guest itself is guest/init.c below vmm/.  It is run on ordinary memory
 * first: if its secret isn't found there, then what looks has no eyes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ndm.h"

enum { BEFORE, LOADED, RUNNING, CONVERTING, SECRET, AFTER, NR_PHASES };

static const char * const phase_names[] = {
	"before", "loaded", "running", "converting", "secret", "after"
};

/* Lines of the guest: what is looked at when one of them has come. */
#define LINE_RUNNING	"ndm: processes "	/* memory test follows */
#define LINE_CONVERTING	"ndm: memory "
#define LINE_TESTED	"ndm: memory ok: "
#define LINE_SECRET	"ndm: secret written: "
#define LINE_LIVES	"ndm: guest lives"
#define LINE_PREFIX	"ndm: "

/* Each of them must have said ok. */
static const char * const proofs[] = {
	"boot", "clock", "timers", "processes", "memory", "paravirtual",
	"conversions", "load", "input", "secret",
};

/* Anonymous memory, which the VMM knows as well, has no file to look at. */
enum { NO_DIRECT_MAP, ORDINARY, NR_BACKINGS };

static const char * const backings[] = { "no-direct-map", "guest_memfd" };

#define NR_PROOFS	(sizeof(proofs) / sizeof(proofs[0]))
#define LAST_LINES	40
#define KCORE_STEP	MIB(1)

struct phase {
	uint64_t pages;		/* in the file */
	uint64_t mapped;	/* in the page tables of the direct map */
	uint64_t readable;	/* by at least one CPU */
	int64_t kcore;		/* pages with the secret there; -1: not looked at */
	uint64_t aliases;	/* other mappings, which the kernel uses for kvm-clock */
	struct ndm_look look;
};

struct run {
	const char *backing;
	bool brief;		/* the secret and nothing else */
	uint64_t seed;
	struct phase phases[NR_PHASES];
	bool proved[NR_PROOFS];
	bool lives;
	uint64_t tested;	/* MiB of its memory */
	uint64_t secret_pages;
	int status;		/* as waitpid() has it */
	size_t not_restored;
};

static const char *kernel, *initrd, *vmm;
static unsigned int memory = 128, cpus = 2, rounds = 60, timeout = 240;
static bool verbose, whole_kcore;
static char last_lines[LAST_LINES][160];
static unsigned int nr_lines;
static int probe;
static struct ndm_picture picture;
static __u64 *pfns;		/* of all looks, one after another */
static size_t nr_pfns;

static void die(const char *what)
{
	printf("launch_linux: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The VMM needs not know that it is looked at. */
static int borrow_gmem(pid_t pid)
{
	char path[64], link[PATH_MAX], target[128];
	int pidfd, fd = -1;
	struct dirent *entry;
	ssize_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	while (fd < 0 && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		len = readlink(link, target, sizeof(target) - 1);
		if (len <= 0)
			continue;
		target[len] = 0;
		if (strstr(target, "kvm-gmem") || strstr(target, "guest_memfd"))
			fd = syscall(SYS_pidfd_getfd, pidfd, atoi(entry->d_name), 0);
	}
	close(pidfd);
	closedir(dir);
	return fd;
}

/* Where the pattern lies, one of its words is at a multiple of its size. */
static bool page_holds(const uint64_t *page, const __u64 *inverted)
{
	unsigned int i, j;

	for (i = 0; i < NDM_PAGE / 8; i += NDM_PATTERN_WORDS) {
		for (j = 0; j < NDM_PATTERN_WORDS; j++) {
			if (~page[i] == inverted[j])
				break;
		}
		if (j < NDM_PATTERN_WORDS && ~page[i + 1] ==
		    inverted[(j + 1) % NDM_PATTERN_WORDS])
			return true;
	}
	return false;
}

/*
 * Reads @size bytes there, in steps.  Returns how many pages hold the secret, and
 * how many aren't zero.
 */
static int64_t kcore_pages(const struct ndm_kcore *kcore, off_t offset, size_t size,
			   const __u64 *inverted, uint64_t *nonzero)
{
	static uint64_t buf[KCORE_STEP / sizeof(uint64_t)]
		__attribute__((aligned(NDM_PAGE)));
	int64_t found = 0;
	size_t i, step;

	for (; size; size -= step, offset += step) {
		step = size < KCORE_STEP ? size : KCORE_STEP;
		if (pread(kcore->fd, buf, step, offset) != (ssize_t)step)
			die("/proc/kcore");
		for (i = 0; i < step; i += NDM_PAGE) {
			found += page_holds(&buf[i / sizeof(*buf)], inverted);
			if (nonzero)
				*nonzero += !!ndm_nonzero(&buf[i / sizeof(*buf)], NDM_PAGE);
		}
		/* A copy of ours would be found by the next search. */
		memset(buf, 0, step);
	}
	return found;
}

/* All RAM that it shows. */
static int64_t kcore_ram(const struct ndm_kcore *kcore, const __u64 *inverted)
{
	uint64_t seen = 0;
	int64_t found = 0;
	unsigned int i;

	for (i = 0; i < kcore->nr; i++) {
		if (kcore->segments[i].pa == ~0ull)
			continue;
		found += kcore_pages(kcore, kcore->segments[i].offset,
				     kcore->segments[i].size, inverted, NULL);
		seen += kcore->segments[i].size;
	}
	if (seen < ndm_meminfo_kb("MemTotal") * 1024)
		ndm_fail("/proc/kcore shows only %llu MiB", (unsigned long long)seen >> 20);
	return found;
}

/*
 * The kernel's other mappings of memory: stacks, modules, and aliases of what isn't
 * in the direct map.  They are few in a huge range, thus only where there are any.
 */
static int64_t kcore_vmalloc(const struct ndm_kcore *kcore, const __u64 *inverted)
{
	char restrict_pointers[16], line[512];
	unsigned long long start, end;
	uint64_t nonzero = 0;
	int64_t found = 0;
	size_t size;
	off_t offset;
	FILE *file;

	if (ndm_read_file("/proc/sys/kernel/kptr_restrict", restrict_pointers,
			  sizeof(restrict_pointers)) <= 0 ||
	    ndm_write_file("/proc/sys/kernel/kptr_restrict", "1\n"))
		die("kptr_restrict");
	file = fopen("/proc/vmallocinfo", "re");
	if (!file)
		die("/proc/vmallocinfo");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "0x%llx-0x%llx", &start, &end) != 2 ||
		    strstr(line, " ioremap"))
			continue;
		for (; start < end; start += size) {
			size = end - start;
			offset = ndm_kcore_other(kcore, start, &size);
			if (offset < 0)
				break;
			found += kcore_pages(kcore, offset, size, inverted, &nonzero);
		}
	}
	fclose(file);
	ndm_write_file("/proc/sys/kernel/kptr_restrict", "%s", restrict_pointers);
	if (!nonzero)
		ndm_fail("/proc/kcore shows nothing but RAM");
	return found;
}

/*
 * How many pages with the secret does /proc/kcore show?  It is slow, and the probe
 * has searched the rest of memory, thus only the guest's; --kcore reads all of it.
 */
static int64_t scan_kcore(uint64_t seed, const __u64 *list, size_t count)
{
	__u64 inverted[NDM_PATTERN_WORDS];
	struct ndm_kcore kcore;
	int64_t found = 0;
	size_t i, n, size;
	off_t offset;

	ndm_inverted(seed, inverted);
	errno = -ndm_kcore_open(&kcore);
	if (errno)
		die("/proc/kcore");
	if (whole_kcore) {
		found = kcore_ram(&kcore, inverted) + kcore_vmalloc(&kcore, inverted);
		ndm_kcore_close(&kcore);
		return found;
	}

	for (i = 0; i < count; i += n) {
		for (n = 1; i + n < count && list[i + n] == list[i] + n; n++)
			;
		size = n * NDM_PAGE;
		offset = ndm_kcore_ram(&kcore, list[i] * NDM_PAGE, &size);
		if (offset < 0) {
			ndm_fail("/proc/kcore doesn't show page frame 0x%llx",
				 (unsigned long long)list[i]);
			break;
		}
		n = size / NDM_PAGE;
		found += kcore_pages(&kcore, offset, size, inverted, NULL);
	}
	ndm_kcore_close(&kcore);
	return found;
}

static unsigned int count_aliases(void)
{
	FILE *file = fopen("/proc/vmallocinfo", "re");
	unsigned int count = 0;
	char line[512];

	if (!file)
		die("/proc/vmallocinfo");
	while (fgets(line, sizeof(line), file))
		count += !!strstr(line, " folio_alias_map+");
	fclose(file);
	return count;
}

static uint64_t kvm_stat(const char *name)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s", name);
	if (ndm_read_file(path, text, sizeof(text)) <= 0)
		die(path);
	return strtoull(text, NULL, 10);
}

/* Wait for the guest to be at what it has said that follows. */
static void wait_for_phase(int phase)
{
	const char *name = phase == CONVERTING ? "hypercalls" : "exits";
	const uint64_t before = kvm_stat(name);
	const double end = ndm_now() + timeout;

	if (phase == SECRET || (phase == CONVERTING && !rounds))
		return;
	while (kvm_stat(name) < before + 16) {
		if (ndm_now() >= end) {
			ndm_fail("%s: the guest has no %s", phase_names[phase], name);
			break;
		}
		usleep(1000);
	}
}

static void look(struct run *run, int phase, pid_t pid)
{
	const size_t count = (size_t)memory << 8;
	struct phase *p = &run->phases[phase];
	double start = ndm_now(), searched, checked;
	struct ndm_check res = {};
	size_t i, first = nr_pfns;
	int fd;

	/* It takes long: not before there is anything to find. */
	ndm_look(probe, run->seed, phase >= SECRET, &p->look);
	p->aliases = count_aliases();
	searched = ndm_now();
	if (phase == AFTER) {
		first = 0;
		ndm_check_pfns(probe, pfns, nr_pfns, NULL, run->seed, &res);
	} else if (phase != BEFORE) {
		fd = borrow_gmem(pid);
		if (fd < 0)
			die("the VMM's guest_memfd");
		pfns = reallocarray(pfns, nr_pfns + count, sizeof(*pfns));
		ndm_check_file(probe, fd, 0, count, pfns + nr_pfns, NULL, &res);
		/* Or the file would outlive its VM. */
		close(fd);
		for (i = first; i < first + count; i++) {
			if (pfns[i])
				pfns[nr_pfns++] = pfns[i];
		}
	}
	p->pages = res.present;
	p->mapped = res.mapped;
	p->readable = res.readable;
	checked = ndm_now();
	p->kcore = phase < SECRET ? -1 :
		   scan_kcore(run->seed, pfns + first, nr_pfns - first);
	if (verbose)
		printf("  %s: memory searched in %.1f s, checked in %.1f s, /proc/kcore in %.1f s\n",
		       phase_names[phase], searched - start, checked - searched,
		       ndm_now() - checked);
}

static pid_t start_vmm(const struct run *run, int *in, int *out)
{
	char mem[16], nr[16], limit[16], append[256];
	int to[2], from[2];
	pid_t pid;

	snprintf(mem, sizeof(mem), "%u", memory);
	snprintf(nr, sizeof(nr), "%u", cpus);
	snprintf(limit, sizeof(limit), "%u", timeout);
	snprintf(append, sizeof(append),
		 "console=ttyS0 panic=-1 loglevel=%d clocksource=kvm-clock ndm.do=%s ndm.cpus=%u ndm.seed=%llx ndm.convert=%u",
		 verbose ? 7 : 4, run->brief ? "secret" : "prove", cpus,
		 (unsigned long long)run->seed, rounds);
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		execl(vmm, vmm, "--kernel", kernel, "--initrd", initrd, "--memory", mem,
		      "--cpus", nr, "--backing", run->backing, "--timeout", limit,
		      "--append", append, "--stopped", NULL);
		fprintf(stderr, "launch_linux: %s: %s\n", vmm, strerror(errno));
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
	*in = to[1];
	*out = from[0];
	return pid;
}

/* "ndm: <what> ok: ..." */
static void take_line(struct run *run, const char *line)
{
	unsigned int i;
	size_t len;

	if (!strncmp(line, LINE_SECRET, strlen(LINE_SECRET)))
		run->secret_pages = strtoull(line + strlen(LINE_SECRET), NULL, 10);
	if (!strncmp(line, LINE_TESTED, strlen(LINE_TESTED)))
		run->tested = strtoull(line + strlen(LINE_TESTED), NULL, 10);
	run->lives |= !strncmp(line, LINE_LIVES, strlen(LINE_LIVES));
	if (strncmp(line, LINE_PREFIX, strlen(LINE_PREFIX)))
		return;
	line += strlen(LINE_PREFIX);
	for (i = 0; i < NR_PROOFS; i++) {
		len = strlen(proofs[i]);
		if (!strncmp(line, proofs[i], len) &&
		    !strncmp(line + len, " ok: ", strlen(" ok: ")))
			run->proved[i] = true;
	}
}

static void follow(struct run *run, pid_t pid, int in, FILE *out)
{
	static const struct {
		const char *line;
		int phase;
	} events[] = {
		{ LINE_RUNNING, RUNNING },
		{ LINE_CONVERTING, CONVERTING },
		{ LINE_SECRET, SECRET },
	};
	char line[512], *text;
	unsigned int i;

	while (fgets(line, sizeof(line), out)) {
		line[strcspn(line, "\r\n")] = 0;
		snprintf(last_lines[nr_lines++ % LAST_LINES], sizeof(last_lines[0]),
			 "%.150s", line);
		text = strstr(line, LINE_PREFIX) ?: line;
		if (verbose || !strncmp(text, LINE_PREFIX, strlen(LINE_PREFIX)))
			printf("  | %s\n", line);
		take_line(run, text);
		for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
			if (strncmp(text, events[i].line, strlen(events[i].line)) ||
			    run->phases[events[i].phase].pages)
				continue;
			wait_for_phase(events[i].phase);
			look(run, events[i].phase, pid);
			if (events[i].phase == SECRET && write(in, "go\n", 3) != 3)
				die("the VMM's input");
		}
	}
}

/* What a guest that panicked said of it. */
static void print_last_lines(void)
{
	unsigned int i = nr_lines < LAST_LINES ? 0 : nr_lines - LAST_LINES;

	if (verbose)
		return;
	printf("  the end of the guest's console:\n");
	for (; i < nr_lines; i++)
		printf("  | %s\n", last_lines[i % LAST_LINES]);
}

static int by_number(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void sort_pfns(void)
{
	size_t i, n = 0;

	qsort(pfns, nr_pfns, sizeof(*pfns), by_number);
	for (i = 0; i < nr_pfns; i++) {
		if (!i || pfns[i] != pfns[i - 1])
			pfns[n++] = pfns[i];
	}
	nr_pfns = n;
}

static void launch(struct run *run)
{
	struct phase *before = &run->phases[BEFORE];
	int in, out, status;
	FILE *file;
	size_t i;
	pid_t pid;

	nr_pfns = 0;
	nr_lines = 0;
	run->seed = ndm_seed();
	ndm_compact();
	look(run, BEFORE, 0);
	before->look.flushes = -1;
	ndm_picture(probe, &picture);

	pid = start_vmm(run, &in, &out);
	if (waitpid(pid, &status, WUNTRACED) != pid)
		die("waitpid");
	if (!WIFSTOPPED(status)) {
		ndm_fail("the VMM didn't load the guest");
		exit(1);
	}
	look(run, LOADED, pid);
	kill(pid, SIGCONT);
	file = fdopen(out, "r");
	follow(run, pid, in, file);
	if (waitpid(pid, &run->status, 0) != pid)
		die("waitpid");
	fclose(file);
	close(in);
	if (!WIFEXITED(run->status) || WEXITSTATUS(run->status))
		print_last_lines();

	sort_pfns();
	/* Which pages it would be is known only now. */
	before->pages = nr_pfns;
	for (i = 0; i < nr_pfns; i++)
		before->mapped += ndm_was_present(&picture, pfns[i]);
	before->readable = before->mapped;
	ndm_picture_free(&picture);
	run->not_restored = ndm_wait_restored(probe, pfns, nr_pfns);
	ndm_wait_missing(probe, before->look.missing);
	look(run, AFTER, 0);
}

static void print_run(const struct run *run)
{
	const struct phase *p = run->phases;
	int i;

	ndm_print_head("In the host's direct map?", phase_names, NR_PHASES);
	ndm_print_row("pages of the guest", &p->pages, sizeof(*p), NR_PHASES);
	printf("  %-41s", "are they in the direct map?");
	for (i = 0; i < NR_PHASES; i++)
		printf("%12s", !p[i].pages ? "?" : !p[i].mapped && !p[i].readable ? "no" :
		       p[i].mapped == p[i].pages ? "yes" : "some");
	printf("\n");
	ndm_print_row("  pages with an entry in the page tables", &p->mapped, sizeof(*p),
		      NR_PHASES);
	ndm_print_row("  pages that some CPU could read", &p->readable, sizeof(*p),
		      NR_PHASES);
	ndm_print_row("aliases that the kernel has", &p->aliases, sizeof(*p), NR_PHASES);
	ndm_print_row("pages of /proc/kcore with the secret", &p->kcore, sizeof(*p),
		      NR_PHASES);
	ndm_print_looks(&p->look, sizeof(*p), phase_names, NR_PHASES);
}

static void judge(const struct run *run)
{
	const struct phase *before = &run->phases[BEFORE];
	const struct phase *after = &run->phases[AFTER];
	const struct phase *p;
	unsigned int i;

	for (i = 0; i < NR_PROOFS; i++) {
		/* Nothing to convert with. */
		if (!rounds && (!strcmp(proofs[i], "conversions") ||
				!strcmp(proofs[i], "load")))
			continue;
		if (!run->proved[i])
			ndm_fail("the guest didn't say: ndm: %s ok", proofs[i]);
	}
	if (!run->lives)
		ndm_fail("the guest didn't say that it lives");
	if (!WIFEXITED(run->status) || WEXITSTATUS(run->status))
		ndm_fail("the VMM ended with %s %d", WIFEXITED(run->status) ?
			 "exit code" : "signal", WIFEXITED(run->status) ?
			 WEXITSTATUS(run->status) : WTERMSIG(run->status));
	/* A good part of it; what the guest's kernel and a busy start leave differs. */
	if (run->tested * 3 < memory || !run->tested)
		ndm_fail("the guest tested %llu MiB of its memory only",
			 (unsigned long long)run->tested);
	if (run->secret_pages * NDM_PAGE * 3 < MIB(memory) ||
	    !run->secret_pages)
		ndm_fail("the secret was in %llu pages only",
			 (unsigned long long)run->secret_pages);
	if (run->phases[SECRET].pages < run->secret_pages)
		ndm_fail("there are fewer pages in the file than hold the secret");
	if (before->mapped != before->pages)
		ndm_fail("before: not all of the pages were in the direct map");
	for (i = LOADED; i <= SECRET; i++) {
		p = &run->phases[i];
		if (!p->pages)
			ndm_fail("%s: the guest has no pages", phase_names[i]);
		if (p->mapped || p->readable)
			ndm_fail("%s: PRESENT in the direct map: %llu pages have an entry, %llu can be read",
				 phase_names[i], (unsigned long long)p->mapped,
				 (unsigned long long)p->readable);
	}
	for (i = SECRET; i < NR_PHASES; i++) {
		p = &run->phases[i];
		if (p->look.found > 0)
			ndm_fail("%s: the secret is in %lld pages of the direct map",
				 phase_names[i], (long long)p->look.found);
		if (p->kcore > 0)
			ndm_fail("%s: the secret is in /proc/kcore", phase_names[i]);
	}
	if (run->not_restored || after->mapped != after->pages)
		ndm_fail("%llu pages did not return to the direct map",
			 (unsigned long long)(after->pages - after->mapped));
	if (!run->phases[SECRET].aliases)
		ndm_fail("no alias is seen, though kvm-clock takes some");
	if (after->aliases != before->aliases)
		ndm_fail("there are %lld aliases more than before",
			 (long long)(after->aliases - before->aliases));
	/* The machine's own doings may split an entry or two. */
	ndm_judge(&before->look, &after->look, 4096);
}

static void compare(struct run *run)
{
	const struct phase *p = &run->phases[SECRET];

	printf("The same guest on an ordinary guest_memfd, for comparison\n");
	launch(run);
	printf("  pages %llu; in the direct map %llu; secret found in %lld pages of the direct map, in %lld of /proc/kcore, after its end in %lld\n\n",
	       (unsigned long long)p->pages, (unsigned long long)p->mapped,
	       (long long)p->look.found, (long long)p->kcore,
	       (long long)run->phases[AFTER].look.found);
	if (!p->pages || p->mapped != p->pages || p->readable != p->pages ||
	    p->look.found < (int64_t)run->secret_pages ||
	    p->kcore < (int64_t)run->secret_pages)
		ndm_fail("what looks doesn't see what is there: nothing below counts");
}

static void usage(const char *self)
{
	printf("Usage: %s [OPTION...]\n"
	       "\n"
	       "Boot Linux on memory that isn't in the direct map, and look for that memory.\n"
	       "\n"
	       "  --memory MIB       the guest's memory (default %u)\n"
	       "  --cpus N           its vCPUs (default %u)\n"
	       "  --convert N        rounds of conversions by each vCPU (default %u)\n"
	       "  --timeout SECONDS  for each boot (default %u)\n"
	       "  --backing KIND     no-direct-map (default), or guest_memfd, which must fail\n"
	       "  --no-comparison    don't run it on ordinary memory first\n"
	       "  --kcore            read all of /proc/kcore, not only the guest's pages\n"
	       "  --verbose          show all of the guest's console\n"
	       "  --kernel FILE, --initrd FILE\n"
	       "\n"
	       "Exit codes: 0 all is as it must be, 1 something is wrong or can't be tested here,\n"
	       "%d bad usage.\n",
	       self, memory, cpus, rounds, timeout, NDM_BAD_USAGE);
}

int main(int argc, char **argv)
{
	struct run run = { .backing = backings[NO_DIRECT_MAP] };
	struct run ordinary = { .backing = backings[ORDINARY], .brief = true };
	char self[PATH_MAX], paths[3][PATH_MAX + 32];
	bool alone = false;
	const struct ndm_option options[] = {
		{ "memory", .number = &memory, .min = 1, .max = 1000000 },
		{ "cpus", .number = &cpus, .min = 1, .max = 1000000 },
		{ "convert", .number = &rounds, .max = 1000000 },
		{ "timeout", .number = &timeout, .min = 1, .max = 1000000 },
		{ "backing", .text = &run.backing },
		{ "no-comparison", .flag = &alone },
		{ "kcore", .flag = &whole_kcore },
		{ "verbose", .flag = &verbose },
		{ "kernel", .text = &kernel },
		{ "initrd", .text = &initrd },
		{}
	};
	const char *dir;
	int i;

	if (!realpath("/proc/self/exe", self))
		die("/proc/self/exe");
	dir = dirname(self);
	snprintf(paths[0], sizeof(paths[0]), "%s/vmm", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/guest/bzImage", dir);
	snprintf(paths[2], sizeof(paths[2]), "%s/guest/initramfs.gz", dir);
	vmm = paths[0];
	kernel = paths[1];
	initrd = paths[2];

	ndm_options(argc, argv, options, usage);
	for (i = 0; i < NR_BACKINGS && strcmp(run.backing, backings[i]); i++)
		;
	if (i == NR_BACKINGS) {
		fprintf(stderr, "%s: --backing needs no-direct-map or guest_memfd, not \"%s\"\n",
			argv[0], run.backing);
		return NDM_BAD_USAGE;
	}

	probe = ndm_begin(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG | NDM_NEED_DEBUGFS);
	signal(SIGPIPE, SIG_IGN);

	ndm_print_host();
	printf("Guest: Linux as well, %u MiB, %u vCPUs\n\n", memory, cpus);
	if (!alone)
		compare(&ordinary);

	printf("The guest on %s memory\n", run.backing);
	launch(&run);
	printf("\n");
	print_run(&run);
	judge(&run);

	return ndm_verdict("Linux ran, and the host's direct map had none of its memory.");
}
