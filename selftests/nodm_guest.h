/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that does one thing at a time to the pages of a file under test,
 * which it sees as one region of memory.  Its code and page tables are in
 * ordinary memory; launch_guest has one that is all in the file.
 */
#ifndef NODM_GUEST_H
#define NODM_GUEST_H

#include "nodm.h"

struct kvm_vm;
struct kvm_vcpu;

enum nodm_guest_op {
	NODM_GUEST_ZERO,	/* count the words that are not zero */
	NODM_GUEST_TOUCH,	/* read a word of each page, nothing else */
	NODM_GUEST_WRITE,	/* write the secret */
	NODM_GUEST_VERIFY,	/* count the words that are not the secret's */
};

struct nodm_guest {
	struct nodm_file file;	/* .vm is -1, it belongs to .vm below */
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	uint64_t gpa;
	uint64_t seed;
};

/*
 * Memory that only the guest can reach needs KVM_X86_SW_PROTECTED_VM, where it
 * is private; else the kind must be one that the host can map.
 */
int nodm_guest_open(struct nodm_guest *g, const struct nodm_kind *kind,
		    size_t size);
void nodm_guest_close(struct nodm_guest *g);

/* Returns what the operation counted, or -errno if KVM_RUN failed. */
long nodm_guest_run(struct nodm_guest *g, enum nodm_guest_op op, size_t offset,
		    size_t size);

/* The same in three steps: say what to do, KVM_RUN, fetch what was counted. */
void nodm_guest_order(struct nodm_guest *g, enum nodm_guest_op op,
		      size_t offset, size_t size);
int nodm_guest_enter(struct nodm_guest *g);
long nodm_guest_result(struct nodm_guest *g);

void nodm_guest_main(void);

#endif
