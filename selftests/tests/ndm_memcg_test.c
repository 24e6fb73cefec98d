// SPDX-License-Identifier: GPL-2.0
/*
 * The limit of a memory cgroup, hit in each way that a file gets its memory: whoever
 * does that gets an error or is killed, nothing is kept, and what there is room for
 * works afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

#define GROUP	"/sys/fs/cgroup/ndm_memcg_test"
#define LIMIT	MIB(24)

enum { OK, NO_MEMORY, BROKEN };

/* Each returns 0 or -errno. */
static int by_fault(struct ndm_file *f)
{
	size_t i;

	for (i = 0; i < f->size; i += NDM_PAGE)
		*(volatile char *)(f->map + i) = 1;
	return 0;
}

static int by_fallocate(struct ndm_file *f)
{
	return fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, f->size) ? -errno : 0;
}

static int by_pwrite(struct ndm_file *f)
{
	static char buf[MIB(1) + 1];
	size_t done = 0, len;
	ssize_t ret;

	while (done < f->size) {
		len = f->size - done < sizeof(buf) ? f->size - done : sizeof(buf);
		ret = pwrite(f->fd, buf, len, done);
		if (ret <= 0)
			return ret ? -errno : -EIO;
		done += ret;
	}
	return 0;
}

FIXTURE(memcg) {
	int probe;
	uint64_t missing;
	struct ndm_counts counts;
};

FIXTURE_VARIANT(memcg) {
	struct ndm_kind kind;
	int (*populate)(struct ndm_file *f);
};

FIXTURE_VARIANT_ADD(memcg, secretmem_fault) {
	.kind = NDM_SECRETMEM, .populate = by_fault,
};
FIXTURE_VARIANT_ADD(memcg, fault) {
	.kind = NDM_MMAP_SHARED, .populate = by_fault,
};
FIXTURE_VARIANT_ADD(memcg, fallocate) {
	.kind = NDM_MMAP_SHARED, .populate = by_fallocate,
};
FIXTURE_VARIANT_ADD(memcg, fallocate_private) {
	.kind = NDM_PROTECTED, .populate = by_fallocate,
};
FIXTURE_VARIANT_ADD(memcg, pwrite) {
	.kind = NDM_MMAP_SHARED, .populate = by_pwrite,
};

static uint64_t group_read(const char *file, const char *name)
{
	char path[128], buf[1024] = "", *at = buf;

	snprintf(path, sizeof(path), GROUP "/%s", file);
	ndm_read_file(path, buf, sizeof(buf));
	if (name) {
		at = strstr(buf, name);
		if (!at)
			return ~0ull;
		at += strlen(name);
	}
	return strtoull(at, NULL, 10);
}

FIXTURE_SETUP(memcg)
{
	self->probe = ndm_probe_open();

	mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	ndm_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory\n");
	/* What an interrupted run has left has counts of its own. */
	rmdir(GROUP);
	ASSERT_EQ(mkdir(GROUP, 0755), 0);
	ASSERT_EQ(ndm_write_file(GROUP "/memory.max", "%zu\n", LIMIT), 0)
		TH_LOG("no memory controller (CONFIG_MEMCG)");

	ndm_counts(&self->counts);
	self->missing = ndm_missing(self->probe);
}

FIXTURE_TEARDOWN(memcg)
{
	EXPECT_TRUE(ndm_wait(!rmdir(GROUP)));
	EXPECT_EQ(ndm_wait_missing(self->probe, self->missing), 0);
	close(self->probe);
}

static pid_t in_group(const struct ndm_kind *kind, size_t size,
		      int (*populate)(struct ndm_file *f))
{
	struct ndm_file f;
	pid_t pid = fork();
	int err;

	if (pid)
		return pid;

	if (ndm_write_file(GROUP "/cgroup.procs", "0\n") || ndm_open(&f, kind, size))
		_exit(BROKEN);
	err = populate(&f);
	ndm_close(&f);
	_exit(!err ? OK : err == -ENOMEM ? NO_MEMORY : BROKEN);
}

/* Wait for a process to end.  Returns the largest number of pages in files meanwhile. */
static int64_t wait_counting(pid_t pid, int *status)
{
	struct ndm_counts counts;
	int64_t most = 0;

	while (!waitpid(pid, status, WNOHANG)) {
		ndm_counts(&counts);
		if (counts.file > most)
			most = counts.file;
	}
	return most;
}

TEST_F(memcg, limit)
{
	struct ndm_counts counts;
	int64_t most;
	int status;
	pid_t pid;

	pid = in_group(&variant->kind, 4 * LIMIT, variant->populate);
	ASSERT_GT(pid, 0);
	most = wait_counting(pid, &status);
	TH_LOG("%s, at most %ld pages in files, at the limit %lu times",
	       WIFSIGNALED(status) ? "killed" : "an error", (long)most,
	       (long)group_read("memory.events", "\nmax "));
	if (WIFSIGNALED(status)) {
		EXPECT_EQ(WTERMSIG(status), SIGKILL);
		EXPECT_GT(group_read("memory.events", "\noom_kill "), 0);
	} else {
		EXPECT_EQ(WEXITSTATUS(status), NO_MEMORY);
	}
	EXPECT_GT(group_read("memory.events", "\nmax "), 0);
	EXPECT_LE(group_read("memory.peak", NULL), LIMIT);
	/* A block is handed out before it's charged. */
	EXPECT_GT(most, self->counts.file);
	EXPECT_LE(most, self->counts.file + (int64_t)((LIMIT + 2 * NDM_BLOCK) / NDM_PAGE));

	EXPECT_TRUE(ndm_wait((ndm_counts(&counts), counts.file <= self->counts.file)));
	EXPECT_EQ(counts.quarantined, self->counts.quarantined);

	pid = in_group(&variant->kind, LIMIT / 2, variant->populate);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, OK);
}

int main(int argc, char **argv)
{
	ndm_require(argv[0], NDM_NEED_PROBE | NDM_NEED_FLAG);
	return test_harness_run(argc, argv);
}
