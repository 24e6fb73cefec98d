// SPDX-License-Identifier: GPL-2.0
/*
 * A fuzzer for all that userspace can do to memory without a direct map: random
 * operations, of which everything is known that has to be seen in memory.
 *
 * A sequence is made from its seed, and runs in a process of its own: one thread, or
 * some that have VMs and files of their own, or that share a VM and files of which
 * each owns a part.  Afterwards all must be as it was before.  A sequence that fails
 * is shortened, and the options are printed that repeat it.
 */
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "kselftest.h"
#include "fuzz.h"

enum mode { ALONE, APART, TOGETHER, NR_MODES };

static const char * const modes[] = { "alone", "apart", "together" };
static const char * const knowns[NR_KNOWN] = { "r11", "signals", "populate" };

struct fuzz_config cfg;

static unsigned int nr_ops = 150;
static unsigned int limit = 120;		/* seconds an operation may take */
static int only_mode = -1;
static bool shorten = true;
static bool killed;			/* sequences don't come to their end */
static unsigned int *nr_begun;		/* operations of the current one */

struct sequence {
	uint64_t seed;
	enum mode mode;
	unsigned int threads;
	size_t nr;		/* of all threads */
	struct op *ops;
	uint8_t *keep;
};

static void sequence_make(struct sequence *s, uint64_t seed)
{
	uint64_t random = seed * 0x1000193;
	size_t i;

	s->seed = seed;
	/* Drawn in any case, so that a sequence is the same if its mode is asked for. */
	s->mode = fuzz_random(&random) % 4 ? ALONE : 1 + fuzz_random(&random) % 2;
	if (only_mode >= 0)
		s->mode = only_mode;
	s->threads = s->mode == ALONE ? 1 : 2 + fuzz_random(&random) % (FUZZ_THREADS - 1);
	s->nr = s->threads * nr_ops;
	s->ops = calloc(s->nr, sizeof(*s->ops));
	s->keep = malloc(s->nr);
	memset(s->keep, 1, s->nr);
	for (i = 0; i < s->nr; i++)
		op_make(&s->ops[i], &random, s->mode == TOGETHER, i % nr_ops);
}

static void sequence_free(struct sequence *s)
{
	free(s->ops);
	free(s->keep);
}

/* --- in the process that runs a sequence */

struct runner {
	struct sequence *s;
	unsigned int thread;
	struct world world;
	pthread_t id;
};

/* Files and a VM for all threads, each of which gets descriptors of its own. */
static void share(struct runner *runners, struct sequence *s)
{
	static const struct {
		size_t pages;
		bool secret;
	} kinds[] = { { MAX_PAGES, false }, { 1030, false }, { 700, true } };
	uint64_t random = s->seed, flags;
	struct vm *vm = &runners[0].world.vms[0];
	unsigned int i, t, type = s->seed & 1 ? KVM_X86_SW_PROTECTED_VM : 0;
	int ret;

	ret = vm_open(vm, 0, type);
	for (t = 1; !ret && t < s->threads; t++)
		ret = vm_join(&runners[t].world.vms[0], dup(vm->fd), t, type);
	if (ret)
		wrong(&runners[0].world, "no VM: %s", strerror(-ret));

	flags = GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
	if (!type && s->seed / 4 % 4)
		flags |= GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct mem mem = {};
		struct ndm_kind kind = { .secretmem = true };
		struct ndm_file file;
		size_t start = 0;
		int fd;

		mem_init(&mem, kinds[i].pages * NDM_PAGE);
		if (kinds[i].secret) {
			fd = ndm_open(&file, &kind, mem.size);
			if (!fd) {
				munmap(file.map, file.size);
				fd = file.fd;
			}
		} else {
			fd = ndm_gmem_create(vm->fd, mem.size, flags);
		}
		if (fd < 0)
			wrong(&runners[0].world, "no file: %s", strerror(-fd));
		for (t = 0; t < s->threads; t++) {
			struct file *f = calloc(1, sizeof(*f));

			f->fd = t ? dup(fd) : fd;
			f->users = 1;
			f->vm = kinds[i].secret ? NULL : &runners[t].world.vms[0];
			f->secret = kinds[i].secret;
			f->flags = f->secret ? 0 : flags;
			f->pages = kinds[i].pages;
			f->mem = mem;
			f->mem.borrowed = true;
			f->lo = start;
			/* Neighbours share a block wherever they meet. */
			if (t < s->threads - 1)
				start += 1 + fuzz_random(&random) % (f->pages / s->threads);
			else
				start = f->pages;
			f->hi = start;
			runners[t].world.files[i] = f;
			runners[t].world.shared = true;
		}
	}
}

static void *run_thread(void *arg)
{
	struct runner *r = arg;
	struct world *w = &r->world;
	size_t i;

	for (i = 0; i < nr_ops; i++) {
		size_t n = r->thread * nr_ops + i;
		struct op *op = &r->s->ops[n];

		if (!r->s->keep[n])
			continue;
		w->nr = n;
		__atomic_fetch_add(nr_begun, 1, __ATOMIC_RELAXED);
		if (cfg.trace) {
			printf("# thread %u, op %zu, %s %u %u %u %u\n", r->thread, n,
			       op_name(op), op->a, op->b, op->c, op->d);
			fflush(stdout);
		}
		/* What one draws doesn't depend on who came before. */
		w->random = r->s->seed + n * 0x9e3779b9ull;
		op_run(w, op);
	}
	world_check(w);
	return NULL;
}

static void run(struct sequence *s)
{
	struct runner runners[FUZZ_THREADS] = {};
	unsigned int t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cfg.threads = s->threads > 1;
	cfg.pressure = s->seed % 4 == 0;
	for (t = 0; t < s->threads; t++) {
		runners[t].s = s;
		runners[t].thread = t;
		world_open(&runners[t].world, t, s->seed);
	}
	if (s->mode == TOGETHER)
		share(runners, s);
	for (t = 1; t < s->threads; t++) {
		if (pthread_create(&runners[t].id, NULL, run_thread, &runners[t]))
			abort();
	}
	run_thread(&runners[0]);
	for (t = 1; t < s->threads; t++)
		pthread_join(runners[t].id, NULL);
	for (t = 0; t < s->threads; t++)
		world_close(&runners[t].world, s->seed + t);
	fflush(stdout);
	_exit(0);
}

/* --- before and after */

struct books {
	struct ndm_direct_map dm;
	struct ndm_counts counts;
	struct ndm_removals removals;
	uint64_t missing;
	uint64_t free_kb;
	uint32_t poisoned;
};

/* What is kept for the next one is given back when memory is short. */
static void give_back(void)
{
	ndm_write_file("/proc/sys/vm/drop_caches", "3\n");
}

/* KASAN keeps what is freed, up to a part of all memory, until caches shrink. */
static void shrink_slabs(void)
{
	glob_t found;
	size_t i;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++)
		ndm_write_file(found.gl_pathv[i], "1\n");
	globfree(&found);
}

static void books_take(struct books *b)
{
	ndm_counts(&b->counts);
	b->missing = ndm_missing(cfg.probe);
	ndm_removals(cfg.probe, &b->removals);
	ndm_direct_map(&b->dm);
	b->free_kb = ndm_free_kb();
	b->poisoned = nr_poisoned();
}

/* Pages that are out of the direct map and can't be due to errors. */
static uint64_t lost(const struct books *before, const struct books *now)
{
	uint64_t most = before->missing + now->poisoned - before->poisoned;

	return now->missing > most ? now->missing - most : 0;
}

/* Pages with errors that are in the direct map again.  Both must be without a pool. */
static uint64_t mapped_again(const struct books *before, const struct books *now)
{
	uint64_t least = before->missing + now->poisoned - before->poisoned;

	return cfg.poison && now->missing < least ? least - now->missing : 0;
}

/* Pages that are counted as a file's, or as leaving, and of which there are none. */
static int64_t miscounted(const struct books *before, const struct books *now)
{
	return llabs(now->counts.file - before->counts.file) +
	       llabs(now->counts.leaving - before->counts.leaving);
}

/* Pages that aren't used again although they have no error, or the other way round. */
static int64_t misjudged(const struct books *before, const struct books *now)
{
	return llabs(now->counts.quarantined - before->counts.quarantined -
		     (int64_t)(now->poisoned - before->poisoned));
}

/* KiB of the direct map that stay split although no removal had to split them. */
static uint64_t split(const struct books *before, const struct books *now, bool pressure)
{
	uint64_t most = before->dm.kb[0] + (now->removals.split - before->removals.split) *
					   NDM_BLOCK / 1024;

	/* Then parts are given back. */
	if (pressure || cfg.faults || cfg.poison)
		return 0;
	return now->dm.kb[0] > most ? now->dm.kb[0] - most : 0;
}

static bool books_differ(const struct books *before, bool pressure)
{
	double end = ndm_now() + NDM_PATIENCE;
	struct books now;

	books_take(&now);
	while ((lost(before, &now) || miscounted(before, &now) || misjudged(before, &now) ||
		split(before, &now, pressure)) && ndm_now() < end) {
		usleep(20000);
		give_back();
		books_take(&now);
	}
	if (lost(before, &now))
		printf("# %llu pages more than before have no entry in the direct map\n",
		       (unsigned long long)lost(before, &now));
	if (mapped_again(before, &now))
		printf("# %llu pages with memory errors have an entry in the direct map again\n",
		       (unsigned long long)mapped_again(before, &now));
	if (miscounted(before, &now))
		printf("# nr_no_direct_map_file is %lld, was %lld; nr_no_direct_map_leaving %lld, was %lld\n",
		       (long long)now.counts.file, (long long)before->counts.file,
		       (long long)now.counts.leaving, (long long)before->counts.leaving);
	if (misjudged(before, &now))
		printf("# nr_no_direct_map_quarantined is %lld, was %lld, with %u errors since\n",
		       (long long)now.counts.quarantined, (long long)before->counts.quarantined,
		       now.poisoned - before->poisoned);
	if (split(before, &now, pressure))
		printf("# the direct map stays split: %llu KiB more in 4 KiB entries\n",
		       (unsigned long long)split(before, &now, pressure));
	return lost(before, &now) || mapped_again(before, &now) ||
	       miscounted(before, &now) || misjudged(before, &now) ||
	       split(before, &now, pressure);
}

/* --- a sequence and what becomes of it */

static bool has_ended(pid_t pid)
{
	siginfo_t info = {};

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

static unsigned int begun(void)
{
	return __atomic_load_n(nr_begun, __ATOMIC_RELAXED);
}

/* Kill a sequence in, or soon after, any of its operations. */
static void kill_sometime(pid_t pid, const struct sequence *s)
{
	uint64_t random = s->seed * 0x9e3779b9;
	unsigned int nth = fuzz_random(&random) % s->nr;
	double end = ndm_now() + limit;

	while (begun() < nth && !has_ended(pid) && ndm_now() < end)
		usleep(200);
	usleep(fuzz_random(&random) % (1u << fuzz_random(&random) % 14));
	kill(pid, SIGKILL);
}

static bool fails(struct sequence *s)
{
	struct books before;
	bool bad = false;
	unsigned int last;
	double end;
	int status;
	pid_t pid;

	/* What the last one left in the pool isn't to hide what this one leaves. */
	give_back();
	books_take(&before);
	fflush(stdout);
	*nr_begun = 0;
	pid = fork();
	if (!pid)
		run(s);
	if (killed)
		kill_sometime(pid, s);
	/* A busy host makes all of it slow, but doesn't stop it. */
	last = begun();
	end = ndm_now() + limit;
	while (waitpid(pid, &status, WNOHANG) != pid) {
		usleep(2000);
		if (begun() != last) {
			last = begun();
			end = ndm_now() + limit;
		}
		if (ndm_now() < end)
			continue;
		printf("# operation %u doesn't end, after %u seconds\n", last, limit);
		bad = true;
		ndm_write_file("/proc/sysrq-trigger", "w\n");
		ndm_write_file("/proc/sysrq-trigger", "l\n");
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		break;
	}
	ndm_write_file(GENERIC_WINDOW, "0\n");
	if (cfg.more)
		bring_back();
	if (status && !(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
		if (WIFSIGNALED(status))
			printf("# signal %d\n", WTERMSIG(status));
		bad = true;
	}
	bad |= books_differ(&before, s->seed % 4 == 0);
	return bad;
}

static void print_keep(const struct sequence *s)
{
	const char *sep = "";
	size_t i, j;

	printf("# repeat: --seed %llu --ops %u --count 1 --mode %s%s%s%s --keep ",
	       (unsigned long long)s->seed, nr_ops, modes[s->mode],
	       cfg.more ? " --more" : "", cfg.faults ? " --faults" : "",
	       cfg.poison ? " --poison" : "");
	for (i = 0; i < s->nr; i = j) {
		for (j = i; j < s->nr && s->keep[j]; j++)
			;
		if (j > i)
			printf(j > i + 1 ? "%s%zu-%zu" : "%s%zu", sep, i, j - 1);
		if (j > i)
			sep = ",";
		else
			j++;
	}
	printf("\n");
	for (i = 0; i < s->nr; i++) {
		if (s->keep[i])
			printf("#   %zu %s %u %u %u %u\n", i, op_name(&s->ops[i]),
			       s->ops[i].a, s->ops[i].b, s->ops[i].c, s->ops[i].d);
	}
	fflush(stdout);
}

static void parse_keep(struct sequence *s, char *text)
{
	char *part;

	memset(s->keep, 0, s->nr);
	for (part = strtok(text, ","); part; part = strtok(NULL, ",")) {
		size_t from, to;
		int n = sscanf(part, "%zu-%zu", &from, &to);

		if (n == 1)
			to = from;
		for (; n >= 1 && from <= to && from < s->nr; from++)
			s->keep[from] = 1;
	}
}

static bool fails_again(struct sequence *s)
{
	int i, tries = s->threads > 1 ? 5 : 1;

	for (i = 0; i < tries; i++) {
		if (fails(s))
			return true;
	}
	return false;
}

/* Leave out halves, quarters, and so on, as long as it still fails. */
static void minimise(struct sequence *s)
{
	uint8_t *keep = malloc(s->nr);
	double end = ndm_now() + 5 * limit;
	bool left = false;
	size_t size, i, n;

	for (size = s->nr / 2; size && ndm_now() < end; size = left ? size : size / 2) {
		left = false;
		for (i = 0; i < s->nr && ndm_now() < end; i += size) {
			memcpy(keep, s->keep, s->nr);
			n = s->nr - i < size ? s->nr - i : size;
			if (!memchr(s->keep + i, 1, n))
				continue;
			memset(s->keep + i, 0, n);
			if (!fails_again(s))
				memcpy(s->keep, keep, s->nr);
			else if (size == 1)
				left = true;
		}
	}
	free(keep);
	print_keep(s);
}

static void print_done(void)
{
	struct op op = {};

	printf("# done:");
	for (op.kind = 0; op.kind < nr_kinds; op.kind++)
		printf(" %s %u", op_name(&op), fuzz_done[op.kind]);
	printf(" emulated %u; offline was tried %u times\n", fuzz_done[nr_kinds],
	       *fuzz_offline_tries);
}

/*
 * What changes contents, what looks at them, and what was asked for: without any of
 * these, nothing is found.
 */
static unsigned int never_done(bool alone)
{
	const struct {
		const char *name;
		bool needed;
	} kinds[] = {
		{ "guest_read", true }, { "guest_write", true }, { "host_read", true },
		{ "host_write", true }, { "pwrite", true }, { "punch", true },
		{ "probe", true }, { "poison", cfg.poison }, { "mbind", cfg.more },
		{ "window", cfg.more && alone },
		/* Any block may have something that can't be moved, not all of them. */
		{ "offline", *fuzz_offline_tries >= 20 },
	};
	unsigned int i, never = 0;
	struct op op = {};

	for (op.kind = 0; op.kind < nr_kinds; op.kind++) {
		for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
			if (!kinds[i].needed || strcmp(op_name(&op), kinds[i].name) ||
			    fuzz_done[op.kind])
				continue;
			printf("# never done: %s\n", kinds[i].name);
			never++;
		}
	}
	if (cfg.emulate && !fuzz_done[nr_kinds]) {
		printf("# never emulated\n");
		never++;
	}
	return never;
}

static int lookup(const char *option, const char *text, const char * const *names, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!strcmp(text, names[i]))
			return i;
	}
	fprintf(stderr, "--%s: no such value \"%s\"\n", option, text);
	exit(NDM_BAD_USAGE);
}

static void usage(const char *self)
{
	printf("Usage: %s [OPTION...]\n"
	       "\n"
	       "  --seed N      of the first sequence, the others follow (default 1)\n"
	       "  --count N     so many sequences (default 50)\n"
	       "  --seconds N   as many as can be done in that time instead\n"
	       "  --ops N       operations of a thread in a sequence (default %u)\n"
	       "  --limit N     seconds that an operation may take (default %u)\n"
	       "  --mode MODE   alone, apart or together; by default it depends on the seed\n"
	       "  --faults      let things fail in the kernel (fault injection)\n"
	       "  --poison      let pages have memory errors (they are lost until the next boot)\n"
	       "  --more        processors and memory come and go, policies of nodes change,\n"
	       "                windows are of the generic kind: each waits for all processors\n"
	       "  --kill        kill each sequence at some point\n"
	       "  --keep LIST   only these operations, e.g. 3,17,20-25\n"
	       "  --known LIST  don't insist on r11, signals, populate\n"
	       "  --trace       print each operation before it is done\n"
	       "  --no-shorten  only say which sequence fails\n"
	       "\n"
	       "Exit codes: 0 nothing found, 1 a sequence failed, 4 can't run here.\n",
	       self, nr_ops, limit);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 'S' },
		{ "ops", required_argument, NULL, 'o' },
		{ "limit", required_argument, NULL, 'l' },
		{ "mode", required_argument, NULL, 'm' },
		{ "faults", no_argument, NULL, 'f' },
		{ "poison", no_argument, NULL, 'p' },
		{ "more", no_argument, NULL, 'M' },
		{ "kill", no_argument, NULL, '9' },
		{ "keep", required_argument, NULL, 'k' },
		{ "known", required_argument, NULL, 'K' },
		{ "trace", no_argument, NULL, 't' },
		{ "no-shorten", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	unsigned int first = 1, count = 50, seconds = 0, bad = 0, n, of[NR_MODES] = {};
	char *keep = NULL, *part, text[16] = "";
	struct books before, after;
	double start;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			first = ndm_number("seed", optarg, 0, UINT_MAX);
			break;
		case 'c':
			count = ndm_number("count", optarg, 1, UINT_MAX);
			break;
		case 'S':
			seconds = ndm_number("seconds", optarg, 1, UINT_MAX);
			break;
		case 'o':
			nr_ops = ndm_number("ops", optarg, 1, 100000);
			break;
		case 'l':
			limit = ndm_number("limit", optarg, 1, 100000);
			break;
		case 'm':
			only_mode = lookup("mode", optarg, modes, NR_MODES);
			break;
		case 'f':
			cfg.faults = true;
			break;
		case 'p':
			cfg.poison = true;
			break;
		case 'M':
			cfg.more = true;
			break;
		case '9':
			killed = true;
			shorten = false;
			break;
		case 'k':
			keep = optarg;
			break;
		case 'K':
			for (part = strtok(optarg, ","); part; part = strtok(NULL, ","))
				cfg.known[lookup("known", part, knowns, NR_KNOWN)] = true;
			break;
		case 't':
			cfg.trace = true;
			break;
		case 'n':
			shorten = false;
			break;
		case 'h':
			usage(argv[0]);
			return 0;
		default:
			return NDM_BAD_USAGE;
		}
	}

	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG | NDM_NEED_DEBUGFS);
	if (cfg.faults && access("/proc/self/fail-nth", F_OK))
		ndm_skip("no fault injection");
	if (ndm_read_file("/sys/module/kvm/parameters/force_emulation_prefix", text,
			  sizeof(text)) > 0)
		cfg.emulate = atoi(text) > 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	fuzz_done = mmap(NULL, (nr_kinds + 3) * sizeof(*fuzz_done), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	nr_begun = fuzz_done + nr_kinds + 1;
	fuzz_offline_tries = nr_begun + 1;
	cfg.probe = ndm_probe_open();
	ksft_print_header();
	ksft_set_plan(1);

	give_back();
	shrink_slabs();
	books_take(&before);
	start = ndm_now();
	for (n = 0; seconds ? ndm_now() < start + seconds : n < count; n++) {
		struct sequence s;

		sequence_make(&s, first + n);
		of[s.mode]++;
		if (keep)
			parse_keep(&s, keep);
		/* Should the kernel not survive it. */
		ndm_write_file("/dev/kmsg", "<4>ndm_fuzz: seed %llu, %s\n",
			       (unsigned long long)s.seed, modes[s.mode]);
		if (fails(&s)) {
			bad++;
			printf("# seed %llu, %s, %u threads: failed\n",
			       (unsigned long long)s.seed, modes[s.mode], s.threads);
			if (shorten && !keep && bad < 4) {
				if (fails_again(&s))
					minimise(&s);
				else
					printf("# not so the second time\n");
			}
		}
		sequence_free(&s);
		if (bad >= 10)
			break;
	}

	give_back();
	shrink_slabs();
	for (opt = 0; opt < 10; opt++) {
		books_take(&after);
		if (!lost(&before, &after) &&
		    after.free_kb + (8 << 10) >= before.free_kb)
			break;
		usleep(200000);
		give_back();
	}
	printf("# %u sequences of %u operations from seed %u on (alone %u, apart %u, together %u)"
	       " in %.0f seconds, %u failed; free KiB %llu, %llu before\n",
	       n, nr_ops, first, of[ALONE], of[APART], of[TOGETHER], ndm_now() - start, bad,
	       (unsigned long long)after.free_kb, (unsigned long long)before.free_kb);
	if (lost(&before, &after) || mapped_again(&before, &after) ||
	    after.free_kb + (8 << 10) < before.free_kb) {
		printf("# memory is missing, or is there again with its errors\n");
		bad++;
	}
	print_done();
	/* A few sequences may happen to have none of one kind. */
	if (!keep && n * nr_ops >= 1500)
		bad += never_done(of[ALONE]);
	ksft_test_result(!bad, "fuzz\n");
	ksft_finished();
}
