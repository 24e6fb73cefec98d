/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "memory.h"

/* The first one begins at @entry, the others wait for it. */
void vcpus_start(int kvm, struct memory *memory, unsigned int nr, uint64_t entry);
/* Stops the vCPUs and prints where they were. */
void vcpus_report(void);

#endif
