/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that does one thing at a time to the pages of a file under test,
 * which it sees as one region of memory.  Its code and page tables are in
 * ordinary memory; launch_guest has one that is all in the file.
 */
#ifndef NDM_GUEST_H
#define NDM_GUEST_H

#include "ndm.h"

struct kvm_vm;
struct kvm_vcpu;

enum ndm_guest_op {
	NDM_GUEST_ZERO,	/* count the words that are not zero */
	NDM_GUEST_TOUCH,	/* read a word of each page, nothing else */
	NDM_GUEST_WRITE,	/* write the secret */
	NDM_GUEST_VERIFY,	/* count the words that are not the secret's */
};

struct ndm_guest {
	struct ndm_file file;	/* .vm is -1, it belongs to .vm below */
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	uint64_t gpa;
	uint64_t seed;
};

/*
 * Memory that only the guest can reach needs KVM_X86_SW_PROTECTED_VM, where it
 * is private; else the kind must be one that the host can map.
 */
int ndm_guest_open(struct ndm_guest *g, const struct ndm_kind *kind,
		   size_t size);
void ndm_guest_close(struct ndm_guest *g);

/* Returns what the operation counted, or -errno if KVM_RUN failed. */
long ndm_guest_run(struct ndm_guest *g, enum ndm_guest_op op, size_t offset,
		   size_t size);

/* The same in three steps: say what to do, KVM_RUN, fetch what was counted. */
void ndm_guest_order(struct ndm_guest *g, enum ndm_guest_op op,
		     size_t offset, size_t size);
int ndm_guest_enter(struct ndm_guest *g);
long ndm_guest_result(struct ndm_guest *g);

void ndm_guest_main(void);

#endif
