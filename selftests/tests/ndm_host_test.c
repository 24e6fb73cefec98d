// SPDX-License-Identifier: GPL-2.0
/*
 * The rest of the host: interfaces that show memory, and those that account for
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

enum { PAGES = 64 };

FIXTURE(host) {
	int probe;
	uint64_t missing;
	uint64_t seed;
};

FIXTURE_VARIANT(host) {
	struct ndm_kind kind;
	bool shown;
};

FIXTURE_VARIANT_ADD(host, secretmem) { .kind = NDM_SECRETMEM };
FIXTURE_VARIANT_ADD(host, guest_memfd) { .kind = NDM_MMAP_SHARED };
FIXTURE_VARIANT_ADD(host, ordinary_guest_memfd) {
	.kind = NDM_ORDINARY,
	.shown = true,
};

FIXTURE_SETUP(host)
{
	self->probe = ndm_probe_open();
	self->missing = ndm_missing(self->probe);
	self->seed = ndm_seed();
}

FIXTURE_TEARDOWN(host)
{
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	close(self->probe);
}

static bool holds_secret(const char *buf, size_t size, uint64_t seed)
{
	const uint64_t *word = (const uint64_t *)buf;
	size_t i, j;

	for (i = 0; i + NDM_PATTERN_WORDS <= size / sizeof(*word); i++) {
		for (j = 0; j < NDM_PATTERN_WORDS; j++) {
			if (word[i + j] != ndm_secret_word(seed, j))
				break;
		}
		if (j == NDM_PATTERN_WORDS)
			return true;
	}
	return false;
}

TEST_F(host, kcore)
{
	int i, hits = 0, nonzero = 0;
	struct ndm_kcore kcore;
	__u64 pfns[PAGES];
	struct ndm_check res;
	struct ndm_file f;
	off_t offset;
	size_t size;
	ssize_t len;
	char *buf;

	ASSERT_EQ(ndm_kcore_open(&kcore), 0);
	ASSERT_EQ(ndm_open(&f, &variant->kind, PAGES * NDM_PAGE), 0);
	ndm_secret_write(f.map, f.size, self->seed);
	ndm_check_file(self->probe, f.fd, 0, PAGES, pfns, NULL, &res);

	buf = aligned_alloc(NDM_PAGE, NDM_PAGE);
	for (i = 0; i < PAGES; i++) {
		size = NDM_PAGE;
		offset = ndm_kcore_ram(&kcore, pfns[i] * NDM_PAGE, &size);
		ASSERT_GE(offset, 0);
		memset(buf, 0, NDM_PAGE);
		len = pread(kcore.fd, buf, size, offset);
		if (len > 0) {
			hits += holds_secret(buf, len, self->seed);
			nonzero += ndm_nonzero(buf, len) != 0;
		}
	}
	EXPECT_EQ(hits, variant->shown ? PAGES : 0);
	EXPECT_EQ(nonzero, variant->shown ? PAGES : 0);
	/* Reading left a copy in our own buffer, if anything. */
	memset(buf, 0, NDM_PAGE);
	free(buf);
	ndm_close(&f);
	ndm_kcore_close(&kcore);
}

TEST_F(host, core_dump)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char old_pattern[256], path[64], *anon, *buf;
	bool found = false, found_anon = false;
	uint64_t seed_anon = ndm_seed();
	struct ndm_file f;
	int status, fd;
	ssize_t len;
	pid_t pid;

	ASSERT_GT(ndm_read_file("/proc/sys/kernel/core_pattern", old_pattern,
				sizeof(old_pattern)), 0);
	ASSERT_EQ(ndm_write_file("/proc/sys/kernel/core_pattern",
				 "/tmp/ndm-core\n"), 0);

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &unlimited);
		/* Everything, file mappings included. */
		ndm_write_file("/proc/self/coredump_filter", "0xff\n");
		if (ndm_open(&f, &variant->kind, PAGES * NDM_PAGE))
			_exit(1);
		ndm_secret_write(f.map, f.size, self->seed);
		/* Not even when it is asked for. */
		madvise(f.map, f.size, MADV_DODUMP);
		anon = mmap(NULL, NDM_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ndm_secret_write(anon, NDM_PAGE, seed_anon);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(WCOREDUMP(status));
	ndm_write_file("/proc/sys/kernel/core_pattern", "%s", old_pattern);

	snprintf(path, sizeof(path), "/tmp/ndm-core");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/ndm-core.%d", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	ASSERT_GE(fd, 0);
	/* Segments are dumped page by page, at page boundaries of the file. */
	buf = aligned_alloc(NDM_PAGE, NDM_PAGE);
	while ((len = read(fd, buf, NDM_PAGE)) > 0) {
		found |= holds_secret(buf, len, self->seed);
		found_anon |= holds_secret(buf, len, seed_anon);
	}
	EXPECT_TRUE(found_anon);
	EXPECT_EQ(found, variant->shown);
	free(buf);
	close(fd);
	unlink(path);
}

static bool hibernation_offered(void)
{
	char buf[128] = "";

	ndm_read_file("/sys/power/disk", buf, sizeof(buf));
	return buf[0] && !strstr(buf, "[disabled]");
}

/* Who wonders why finds it in the log, once. */
static unsigned int hibernation_explained(void)
{
	static char log[1 << 20];
	unsigned int found = 0;
	char *line;
	int len;

	len = syscall(SYS_syslog, 3 /* SYSLOG_ACTION_READ_ALL */, log, sizeof(log) - 1);
	log[len < 0 ? 0 : len] = 0;
	for (line = log; (line = strstr(line, "have no direct map entry")); line++)
		found++;
	return found;
}

/* An image of memory on a disk is what nobody must make of such memory. */
TEST_F(host, hibernation)
{
	struct ndm_file f;

	ASSERT_EQ(access("/sys/power/disk", F_OK), 0)
		TH_LOG("no hibernation (CONFIG_HIBERNATION)");
	ASSERT_TRUE(ndm_wait(hibernation_offered()))
		TH_LOG("disabled from the start; poisoned pages do that, too");

	ASSERT_EQ(ndm_open(&f, &variant->kind, PAGES * NDM_PAGE), 0);
	ASSERT_EQ(ndm_populate(&f), 0);
	EXPECT_EQ(hibernation_offered(), variant->shown);
	if (!variant->shown) {
		EXPECT_EQ(ndm_write_file("/sys/power/disk", "shutdown\n"),
			  -EPERM);
		EXPECT_EQ(ndm_write_file("/sys/power/state", "disk\n"), -EPERM);
		EXPECT_EQ(hibernation_explained(), 1);
	}
	ndm_close(&f);
	EXPECT_TRUE(ndm_wait(hibernation_offered()));
}

#define CGROUP	"/sys/fs/cgroup/ndm_host_test"

static uint64_t cgroup_current(void)
{
	char buf[64] = "";

	ndm_read_file(CGROUP "/memory.current", buf, sizeof(buf));
	return strtoull(buf, NULL, 10);
}

static uint64_t cgroup_stat(const char *name)
{
	char buf[8192] = "", *line;
	size_t len = strlen(name);

	ndm_read_file(CGROUP "/memory.stat", buf, sizeof(buf));
	for (line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
		if (!strncmp(line, name, len) && line[len] == ' ')
			return strtoull(line + len, NULL, 10);
	}
	return ~0ull;
}

/* What is charged is uncharged; the pages are those of the one who asked. */
TEST_F(host, memory_cgroup)
{
	/* The kernel hands out charges in batches for each CPU. */
	const uint64_t slack = MIB(1);
	const size_t size = MIB(8);
	int status, up[2], down[2];
	uint64_t before;
	pid_t pid;
	char c;

	mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	ndm_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory\n");
	ASSERT_TRUE(!mkdir(CGROUP, 0755) || errno == EEXIST);
	ASSERT_EQ(access(CGROUP "/memory.current", F_OK), 0)
		TH_LOG("no memory controller (CONFIG_MEMCG)");
	ASSERT_EQ(pipe(up), 0);
	ASSERT_EQ(pipe(down), 0);

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct ndm_file f;
		int step;

		close(up[0]);
		close(down[1]);
		if (ndm_write_file(CGROUP "/cgroup.procs", "0\n"))
			_exit(1);
		for (step = 0; step < 4; step++) {
			if (step == 1 && ndm_open(&f, &variant->kind, size))
				_exit(2);
			if (step == 2 && ndm_populate(&f))
				_exit(3);
			if (step == 3)
				ndm_close(&f);
			if (write(up[1], "", 1) != 1 || read(down[0], &c, 1) != 1)
				_exit(4);
		}
		_exit(0);
	}
	close(up[1]);
	close(down[0]);

	/* In the group; with an empty file; populated; closed. */
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_EQ(write(down[1], "", 1), 1);
	ASSERT_EQ(read(up[0], &c, 1), 1);
	before = cgroup_current();
	ASSERT_EQ(write(down[1], "", 1), 1);
	ASSERT_EQ(read(up[0], &c, 1), 1);
	EXPECT_GE(cgroup_current() + slack, before + size);
	EXPECT_LE(cgroup_current(), before + size + size / 8 + slack);
	/* CPUs keep changes to themselves for a while. */
	EXPECT_TRUE(ndm_wait(cgroup_stat("file") >= size));
	ASSERT_EQ(write(down[1], "", 1), 1);
	ASSERT_EQ(read(up[0], &c, 1), 1);
	EXPECT_TRUE(ndm_wait(cgroup_current() <= before + slack));
	EXPECT_TRUE(ndm_wait(cgroup_stat("file") == 0));
	EXPECT_TRUE(ndm_wait(cgroup_stat("unevictable") == 0));
	ASSERT_EQ(write(down[1], "", 1), 1);

	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(ndm_wait(cgroup_current() <= slack));
	EXPECT_TRUE(ndm_wait(!rmdir(CGROUP)));
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
