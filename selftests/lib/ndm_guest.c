// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#include "ndm_guest.h"

/* Behind the first 4G, out of the way of the library's own memory. */
#define GUEST_GPA	(1ull << 32)
#define GUEST_SLOT	10

static struct {
	uint64_t op;
	uint64_t addr;
	uint64_t size;
	uint64_t seed;
} cmd;

void ndm_guest_main(void)
{
	volatile void *mem;
	uint64_t i, result;

	for (;;) {
		mem = (void *)READ_ONCE(cmd.addr);
		result = 0;

		switch (READ_ONCE(cmd.op)) {
		case NDM_GUEST_ZERO:
			result = ndm_nonzero(mem, cmd.size);
			break;
		case NDM_GUEST_TOUCH:
			for (i = 0; i < cmd.size; i += NDM_PAGE)
				(void)READ_ONCE(*(uint64_t *)(cmd.addr + i));
			break;
		case NDM_GUEST_WRITE:
			ndm_secret_write(mem, cmd.size, cmd.seed);
			break;
		case NDM_GUEST_VERIFY:
			result = ndm_secret_differs(mem, cmd.size, cmd.seed);
			break;
		}
		GUEST_SYNC(result);
	}
}

int ndm_guest_open(struct ndm_guest *g, const struct ndm_kind *kind,
		   size_t size)
{
	struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = kind->vm_type,
	};
	uint64_t flags = ndm_flags(kind);
	void *hva;

	*g = (struct ndm_guest){
		.file = { .fd = -1, .vm = -1, .size = size },
		.gpa = GUEST_GPA,
		.seed = ndm_seed(),
	};

	g->vm = __vm_create_shape_with_one_vcpu(shape, &g->vcpu,
						size / NDM_PAGE,
						ndm_guest_main);

	g->file.fd = ndm_gmem_create(g->vm->fd, size, flags);
	if (g->file.fd < 0)
		return g->file.fd;

	/* KVM wants an address for shared memory, even if none is used. */
	if (flags & GUEST_MEMFD_FLAG_INIT_SHARED) {
		hva = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED,
			       g->file.fd);
		g->file.map = hva;
	} else {
		hva = kvm_mmap(size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1);
	}
	vm_set_user_memory_region2(g->vm, GUEST_SLOT, KVM_MEM_GUEST_MEMFD,
				   g->gpa, size, hva, g->file.fd, 0);
	virt_map(g->vm, g->gpa, g->gpa, size / NDM_PAGE);
#ifdef __x86_64__
	if (!(flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		vm_mem_set_private(g->vm, g->gpa, size);
#endif
	return 0;
}

void ndm_guest_close(struct ndm_guest *g)
{
	ndm_close(&g->file);
	if (g->vm)
		kvm_vm_free(g->vm);
	g->vm = NULL;
}

void ndm_guest_order(struct ndm_guest *g, enum ndm_guest_op op,
		     size_t offset, size_t size)
{
	cmd.op = op;
	cmd.addr = g->gpa + offset;
	cmd.size = size;
	cmd.seed = g->seed;
	sync_global_to_guest(g->vm, cmd);
}

int ndm_guest_enter(struct ndm_guest *g)
{
	int ret;

	/* Nothing but KVM_RUN, unlike _vcpu_run(). */
	do {
		ret = __vcpu_run(g->vcpu);
	} while (ret && errno == EINTR);

	return ret ? -errno : 0;
}

long ndm_guest_result(struct ndm_guest *g)
{
	struct ucall uc;

	switch (get_ucall(g->vcpu, &uc)) {
	case UCALL_SYNC:
		return uc.args[1];
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	default:
		TEST_FAIL("Unexpected exit %u", g->vcpu->run->exit_reason);
	}
	return -EIO;
}

long ndm_guest_run(struct ndm_guest *g, enum ndm_guest_op op, size_t offset,
		   size_t size)
{
	int ret;

	ndm_guest_order(g, op, offset, size);
	ret = ndm_guest_enter(g);
	return ret ?: ndm_guest_result(g);
}
