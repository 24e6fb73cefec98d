/* SPDX-License-Identifier: GPL-2.0 */
/* The guest's memory: one memslot at address 0. */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum backing {
	BACKING_NO_DIRECT_MAP,	/* private, KVM_X86_SW_PROTECTED_VM */
	BACKING_GUEST_MEMFD,	/* ordinary guest_memfd, for comparison */
	BACKING_ANONYMOUS,	/* as for any VM, for comparison */
};

struct memory {
	int vm;
	enum backing backing;
	uint64_t size;		/* bytes */
	int gmem;		/* -1: anonymous memory */
	char *hva;		/* of the memslot: PROT_NONE unless anonymous */
};

/* Both end the program if they fail. */
void memory_create(struct memory *memory);
void memory_write(struct memory *memory, uint64_t gpa, const void *data, size_t size);
/* Returns 0 or -errno; the guest asks for it. */
int memory_convert(struct memory *memory, uint64_t gpa, uint64_t pages, bool private);

#endif
