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
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "nodm.h"

enum { BEFORE, LOADED, RUNNING, CONVERTING, SECRET, AFTER, NR_PHASES };

static const char * const phase_names[] = {
	"before", "loaded", "running", "converting", "secret", "after"
};

/* Lines of the guest: what is looked at when one of them has come. */
#define LINE_RUNNING	"nodm: processes "	/* memory test follows */
#define LINE_CONVERTING	"nodm: memory "
#define LINE_SECRET	"nodm: secret written: "
#define LINE_LIVES	"nodm: guest lives"

/* Each of them must have said ok. */
static const char * const proofs[] = {
	"boot", "clock", "timers", "processes", "memory", "paravirtual",
	"conversions", "input", "secret",
};

#define NR_PROOFS	(sizeof(proofs) / sizeof(proofs[0]))
#define LAST_LINES	40
#define KCORE_STEP	MIB(1)
#define KERNEL_TEXT	0xffffffff80000000ull

struct phase {
	uint64_t pages;		/* in the file */
	uint64_t mapped;	/* in the page tables of the direct map */
	uint64_t readable;	/* by at least one CPU */
	int64_t found;		/* pages with the secret in all of the direct map */
	int64_t kcore;		/* the same in /proc/kcore; -1: not looked at */
	struct nodm_direct_map dm;
	uint64_t missing;
	uint64_t flushes;	/* since the phase before */
};

struct run {
	const char *backing;
	bool brief;		/* the secret and nothing else */
	uint64_t seed;
	struct phase phases[NR_PHASES];
	bool proved[NR_PROOFS];
	bool lives;
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
static struct nodm_picture picture;
static __u64 *pfns;		/* of all looks, one after another */
static size_t nr_pfns;
static int failures;

static void fail(const char *fmt, ...)
{
	va_list args;

	failures++;
	printf("  WRONG: ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

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

	for (i = 0; i < NODM_PAGE / 8; i += NODM_PATTERN_WORDS) {
		for (j = 0; j < NODM_PATTERN_WORDS; j++) {
			if (~page[i] == inverted[j])
				break;
		}
		if (j < NODM_PATTERN_WORDS && ~page[i + 1] ==
		    inverted[(j + 1) % NODM_PATTERN_WORDS])
			return true;
	}
	return false;
}

static int64_t kcore_pages(int kcore, off_t offset, size_t size,
			   const __u64 *inverted)
{
	static uint64_t buf[KCORE_STEP / sizeof(uint64_t)]
		__attribute__((aligned(NODM_PAGE)));
	int64_t found = 0;
	size_t i;

	if (pread(kcore, buf, size, offset) != (ssize_t)size)
		die("/proc/kcore");
	for (i = 0; i < size; i += NODM_PAGE)
		found += page_holds(&buf[i / sizeof(*buf)], inverted);
	/* A copy of ours would be found by the next search. */
	memset(buf, 0, size);
	return found;
}

/*
 * How many of the guest's pages with the secret does /proc/kcore show?  It is
 * slow, and the probe has searched the rest of memory: --kcore reads all of it.
 */
static int64_t scan_kcore(uint64_t seed, const __u64 *list, size_t count)
{
	int kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	uint64_t pa, end, step, seen = 0;
	__u64 inverted[NODM_PATTERN_WORDS];
	int64_t found = 0;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	size_t i;
	int n;

	nodm_inverted(seed, inverted);
	if (kcore < 0 || pread(kcore, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr))
		die("/proc/kcore");
	for (n = 0; n < ehdr.e_phnum; n++) {
		if (pread(kcore, &phdr, sizeof(phdr), ehdr.e_phoff +
			  n * sizeof(phdr)) != sizeof(phdr))
			die("/proc/kcore");
		/* The kernel's text has a physical address as well. */
		if (phdr.p_type != PT_LOAD || phdr.p_paddr == (Elf64_Addr)-1 ||
		    phdr.p_vaddr >= KERNEL_TEXT)
			continue;
		end = phdr.p_paddr + phdr.p_filesz;
		for (i = 0; i < count && !whole_kcore; i++) {
			pa = list[i] * NODM_PAGE;
			if (pa < phdr.p_paddr || pa >= end)
				continue;
			found += kcore_pages(kcore, phdr.p_offset + pa - phdr.p_paddr,
					     NODM_PAGE, inverted);
			seen += NODM_PAGE;
		}
		for (pa = phdr.p_paddr; pa < end && whole_kcore; pa += step) {
			step = end - pa < KCORE_STEP ? end - pa : KCORE_STEP;
			found += kcore_pages(kcore, phdr.p_offset + pa - phdr.p_paddr,
					     step, inverted);
			seen += step;
		}
	}
	if (seen < (whole_kcore ? nodm_meminfo_kb("MemTotal") * 1024 :
		    count * NODM_PAGE))
		fail("/proc/kcore shows only %llu MiB", (unsigned long long)seen >> 20);
	close(kcore);
	return found;
}

static void look(struct run *run, int phase, pid_t pid)
{
	const size_t count = (size_t)memory << 8;
	struct phase *p = &run->phases[phase];
	struct nodm_flushes flushes;
	double start = nodm_now(), checked, scanned;
	struct nodm_check res = {};
	size_t i, first = nr_pfns;
	int fd;

	nodm_flushes(probe, true, &flushes);
	p->flushes = flushes.direct + flushes.all;
	if (phase == AFTER) {
		nodm_check_pfns(probe, pfns, nr_pfns, NULL, run->seed, &res);
	} else if (phase != BEFORE) {
		fd = borrow_gmem(pid);
		if (fd < 0)
			die("the VMM's guest_memfd");
		pfns = reallocarray(pfns, nr_pfns + count, sizeof(*pfns));
		nodm_check_file(probe, fd, 0, count, pfns + nr_pfns, NULL, &res);
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
	checked = nodm_now();

	/* All of memory, some ways slow: not before there is anything to find. */
	p->found = phase < SECRET ? -1 : (int64_t)nodm_scan(probe, run->seed, NULL);
	scanned = nodm_now();
	p->kcore = phase != SECRET ? -1 :
		   scan_kcore(run->seed, pfns + first, nr_pfns - first);
	p->missing = nodm_missing(probe);
	nodm_direct_map(&p->dm);
	if (verbose)
		printf("  %s: checked in %.1f s, memory searched in %.1f s, /proc/kcore in %.1f s\n",
		       phase_names[phase], checked - start, scanned - checked,
		       nodm_now() - scanned);
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
		 "console=ttyS0 panic=-1 loglevel=%d clocksource=kvm-clock nodm.do=%s nodm.seed=%llx nodm.convert=%u",
		 verbose ? 7 : 4, run->brief ? "secret" : "prove",
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

/* "nodm: <what> ok: ..." */
static void take_line(struct run *run, const char *line)
{
	unsigned int i;
	size_t len;

	if (!strncmp(line, LINE_SECRET, strlen(LINE_SECRET)))
		run->secret_pages = strtoull(line + strlen(LINE_SECRET), NULL, 10);
	run->lives |= !strncmp(line, LINE_LIVES, strlen(LINE_LIVES));
	for (i = 0; i < NR_PROOFS; i++) {
		len = strlen(proofs[i]);
		if (!strncmp(line, "nodm: ", 6) && !strncmp(line + 6, proofs[i], len) &&
		    !strncmp(line + 6 + len, " ok: ", 5))
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
		text = strstr(line, "nodm: ") ?: line;
		if (verbose || !strncmp(text, "nodm: ", 6))
			printf("  | %s\n", line);
		take_line(run, text);
		for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
			if (strncmp(text, events[i].line, strlen(events[i].line)) ||
			    run->phases[events[i].phase].pages)
				continue;
			/* Let it begin what follows. */
			if (events[i].phase != SECRET)
				usleep(500000);
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
	run->seed = nodm_seed();
	nodm_compact();
	look(run, BEFORE, 0);
	nodm_picture(probe, &picture);

	pid = start_vmm(run, &in, &out);
	if (waitpid(pid, &status, WUNTRACED) != pid)
		die("waitpid");
	if (!WIFSTOPPED(status)) {
		fail("the VMM didn't load the guest");
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
		before->mapped += nodm_was_present(&picture, pfns[i]);
	before->readable = before->mapped;
	nodm_picture_free(&picture);
	run->not_restored = nodm_wait_restored(probe, pfns, nr_pfns);
	nodm_wait_missing(probe, before->missing);
	look(run, AFTER, 0);
}

static void print_head(const char *name)
{
	int i;

	printf("%-43s", name);
	for (i = 0; i < NR_PHASES; i++)
		printf("%11s", phase_names[i]);
	printf("\n");
}

#define print_row(name, run, field, first)				\
do {									\
	int __i;							\
									\
	printf("  %-41s", name);					\
	for (__i = 0; __i < NR_PHASES; __i++) {				\
		if (__i < (first) || (int64_t)(run)->phases[__i].field < 0) \
			printf("%11s", "-");				\
		else							\
			printf("%11llu", (unsigned long long)		\
			       (run)->phases[__i].field);		\
	}								\
	printf("\n");							\
} while (0)

static void print_run(const struct run *run)
{
	const struct phase *p;
	int i;

	print_head("In the host's direct map?");
	print_row("pages of the guest", run, pages, 0);
	printf("  %-41s", "are they in the direct map?");
	for (i = 0; i < NR_PHASES; i++) {
		p = &run->phases[i];
		printf("%11s", !p->pages ? "?" : !p->mapped && !p->readable ? "no" :
		       p->mapped == p->pages ? "yes" : "some");
	}
	printf("\n");
	print_row("  pages with an entry in the page tables", run, mapped, 0);
	print_row("  pages that some CPU could read", run, readable, 0);
	print_row("pages of the direct map with the secret", run, found, 0);
	print_row("pages of /proc/kcore with the secret", run, kcore, 0);
	print_head("The direct map");
	print_row("KiB mapped by entries of 4 KiB", run, dm.kb[0], 0);
	print_row("KiB mapped by entries of 2 MiB", run, dm.kb[1], 0);
	print_row("KiB mapped by entries of 1 GiB", run, dm.kb[2], 0);
	print_row("pages of RAM that have no entry", run, missing, 0);
	print_row("TLB flushes on all CPUs, since then", run, flushes, 1);
}

static void judge(const struct run *run)
{
	const struct phase *before = &run->phases[BEFORE];
	const struct phase *after = &run->phases[AFTER];
	const struct phase *p;
	unsigned int i;

	for (i = 0; i < NR_PROOFS; i++) {
		/* Nothing to convert with. */
		if (!rounds && !strcmp(proofs[i], "conversions"))
			continue;
		if (!run->proved[i])
			fail("the guest didn't say: nodm: %s ok", proofs[i]);
	}
	if (!run->lives)
		fail("the guest didn't say that it lives");
	if (!WIFEXITED(run->status) || WEXITSTATUS(run->status))
		fail("the VMM ended with %s %d", WIFEXITED(run->status) ?
		     "exit code" : "signal", WIFEXITED(run->status) ?
		     WEXITSTATUS(run->status) : WTERMSIG(run->status));
	/* A good part of it; what the guest's kernel and a busy start leave differs. */
	if (run->secret_pages * NODM_PAGE * 3 < MIB(memory) ||
	    !run->secret_pages)
		fail("the secret was in %llu pages only",
		     (unsigned long long)run->secret_pages);
	if (run->phases[SECRET].pages < run->secret_pages)
		fail("there are fewer pages in the file than hold the secret");
	if (before->mapped != before->pages)
		fail("before: not all of the pages were in the direct map");
	for (i = LOADED; i <= SECRET; i++) {
		p = &run->phases[i];
		if (!p->pages)
			fail("%s: the guest has no pages", phase_names[i]);
		if (p->mapped || p->readable)
			fail("%s: PRESENT in the direct map: %llu pages have an entry, %llu can be read",
			     phase_names[i], (unsigned long long)p->mapped,
			     (unsigned long long)p->readable);
	}
	for (i = SECRET; i < NR_PHASES; i++) {
		p = &run->phases[i];
		if (p->found > 0)
			fail("%s: the secret is in %lld pages of the direct map",
			     phase_names[i], (long long)p->found);
		if (p->kcore > 0)
			fail("%s: the secret is in /proc/kcore", phase_names[i]);
	}
	if (run->not_restored || after->mapped != after->pages)
		fail("%llu pages did not return to the direct map",
		     (unsigned long long)(after->pages - after->mapped));
	if (after->missing != before->missing)
		fail("%lld pages of RAM more than before have no entry",
		     (long long)(after->missing - before->missing));
	/* The machine's own doings may split an entry or two. */
	if (after->dm.kb[0] > before->dm.kb[0] + 4096)
		fail("the direct map stays split: %llu KiB more in 4 KiB entries",
		     (unsigned long long)(after->dm.kb[0] - before->dm.kb[0]));
}

static void compare(struct run *run)
{
	const struct phase *p = &run->phases[SECRET];

	printf("The same guest on an ordinary guest_memfd, for comparison\n");
	launch(run);
	printf("  pages %llu; in the direct map %llu; secret found in %lld pages of the direct map, in %lld of /proc/kcore, after its end in %lld\n\n",
	       (unsigned long long)p->pages, (unsigned long long)p->mapped,
	       (long long)p->found, (long long)p->kcore, (long long)run->phases[AFTER].found);
	if (!p->pages || p->mapped != p->pages || p->readable != p->pages ||
	    p->found < (int64_t)run->secret_pages ||
	    p->kcore < (int64_t)run->secret_pages)
		fail("what looks doesn't see what is there: nothing below counts");
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
	       "  --kernel FILE, --initrd FILE\n",
	       self, memory, cpus, rounds, timeout);
}

static unsigned int number(const char *self, const char *option, const char *text)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 10);
	if (*end || end == text || *text == '-' || value > 1000000) {
		fprintf(stderr, "%s: --%s needs a number, not \"%s\"\n", self, option,
			text);
		exit(1);
	}
	return value;
}

int main(int argc, char **argv)
{
	enum { MEMORY = 1, CPUS, CONVERT, TIMEOUT, BACKING, ALONE, KCORE,
	       VERBOSE, KERNEL, INITRD, HELP };
	static const struct option options[] = {
		{ "memory", required_argument, NULL, MEMORY },
		{ "cpus", required_argument, NULL, CPUS },
		{ "convert", required_argument, NULL, CONVERT },
		{ "timeout", required_argument, NULL, TIMEOUT },
		{ "backing", required_argument, NULL, BACKING },
		{ "no-comparison", no_argument, NULL, ALONE },
		{ "kcore", no_argument, NULL, KCORE },
		{ "verbose", no_argument, NULL, VERBOSE },
		{ "kernel", required_argument, NULL, KERNEL },
		{ "initrd", required_argument, NULL, INITRD },
		{ "help", no_argument, NULL, HELP },
		{}
	};
	struct run run = { .backing = "no-direct-map" };
	struct run ordinary = { .backing = "guest_memfd", .brief = true };
	char self[PATH_MAX], paths[3][PATH_MAX + 32];
	struct utsname host;
	bool alone = false;
	const char *dir;
	int opt, index;

	if (!realpath("/proc/self/exe", self))
		die("/proc/self/exe");
	dir = dirname(self);
	snprintf(paths[0], sizeof(paths[0]), "%s/vmm", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/guest/bzImage", dir);
	snprintf(paths[2], sizeof(paths[2]), "%s/guest/initramfs.gz", dir);
	vmm = paths[0];
	kernel = paths[1];
	initrd = paths[2];

	while ((opt = getopt_long(argc, argv, "", options, &index)) != -1) {
		switch (opt) {
		case MEMORY:
			memory = number(argv[0], "memory", optarg);
			break;
		case CPUS:
			cpus = number(argv[0], "cpus", optarg);
			break;
		case CONVERT:
			rounds = number(argv[0], "convert", optarg);
			break;
		case TIMEOUT:
			timeout = number(argv[0], "timeout", optarg);
			break;
		case BACKING:
			run.backing = optarg;
			break;
		case ALONE:
			alone = true;
			break;
		case KCORE:
			whole_kcore = true;
			break;
		case VERBOSE:
			verbose = true;
			break;
		case KERNEL:
			kernel = optarg;
			break;
		case INITRD:
			initrd = optarg;
			break;
		case HELP:
			usage(argv[0]);
			return 0;
		default:
			return 1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unknown argument \"%s\" (try --help)\n", argv[0],
			argv[optind]);
		return 1;
	}

	nodm_is_no_test = true;
	nodm_require(argv[0], NODM_NEED_PROBE | NODM_NEED_FLAG);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	probe = nodm_probe_open();

	uname(&host);
	printf("Host: Linux %s, %ld CPUs, %llu MiB\n", host.release,
	       sysconf(_SC_NPROCESSORS_ONLN),
	       (unsigned long long)nodm_meminfo_kb("MemTotal") / 1024);
	printf("Guest: Linux as well, %u MiB, %u vCPUs\n\n", memory, cpus);
	if (!alone)
		compare(&ordinary);

	printf("The guest on %s memory\n", run.backing);
	launch(&run);
	printf("\n");
	print_run(&run);
	judge(&run);

	printf("\n\"no\" is: no entry in the page tables, and a read fails on each of %ld CPUs.\n",
	       sysconf(_SC_NPROCESSORS_ONLN));
	if (failures) {
		printf("VERDICT: FAILED, %d wrong\n", failures);
		return 1;
	}
	printf("VERDICT: OK. Linux ran, and the host's direct map had none of its memory.\n");
	return 0;
}
