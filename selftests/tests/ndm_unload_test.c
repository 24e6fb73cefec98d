// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's module of the processor's vendor, with which guest_memfd comes and goes, stays
 * until the last inode is gone, which takes longer than file and VM.  Else the kernel
 * complains, or dies.  Nobody else may be using the module, which is loaded again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/falloc.h>

#include "kselftest_harness.h"
#include "ndm.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

enum { SIZE = 128 << 20 };

static int unload(const char *module)
{
	return syscall(SYS_delete_module, module, O_NONBLOCK) ? -errno : 0;
}

struct closing {
	int fd;
	bool done;
};

static void *close_file(void *arg)
{
	struct closing *c = arg;

	close(c->fd);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	return NULL;
}

FIXTURE(module) {
	const char *name;
};

FIXTURE_VARIANT(module) {
	struct ndm_kind kind;
};

/* Eviction takes longest for many small folios. */
FIXTURE_VARIANT_ADD(module, ordinary) { .kind = NDM_ORDINARY };
FIXTURE_VARIANT_ADD(module, no_direct_map) { .kind = NDM_MMAP_SHARED };

FIXTURE_SETUP(module)
{
	self->name = access("/sys/module/kvm_intel", F_OK) ? "kvm_amd" : "kvm_intel";
}

FIXTURE_TEARDOWN(module)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "modprobe %s", self->name);
	EXPECT_EQ(system(cmd), 0);
}

TEST_F(module, stays_until_the_inode_is_gone)
{
	unsigned int refused = 0;
	struct closing c = {};
	pthread_t thread;
	int vm, err;

	vm = ndm_vm_create(variant->kind.vm_type);
	ASSERT_GE(vm, 0);
	c.fd = ndm_gmem_create(vm, SIZE, ndm_flags(&variant->kind));
	ASSERT_GE(c.fd, 0);
	ASSERT_EQ(fallocate(c.fd, FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
	close(vm);

	ASSERT_EQ(pthread_create(&thread, NULL, close_file, &c), 0);
	do {
		err = unload(self->name);
		refused += err == -EWOULDBLOCK;
	} while (err && !__atomic_load_n(&c.done, __ATOMIC_ACQUIRE));
	pthread_join(thread, NULL);

	/* All the time that it took to close, but for where it ended. */
	TH_LOG("refused %u times", refused);
	EXPECT_GE(refused, 10);
	/* Nothing holds it anymore. */
	EXPECT_EQ(err ? unload(self->name) : 0, 0);
}

TEST_HARNESS_MAIN
