/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "memory.h"

/* Returns the address of the kernel's entry. */
uint64_t boot_load(struct memory *memory, unsigned int cpus, const char *kernel,
		   const char *initrd, const char *append);

#endif
