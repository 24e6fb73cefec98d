/* SPDX-License-Identifier: GPL-2.0 */
/* VMs and memslots: all of it is behind ioctl(), but that a VM ends by close(). */
#ifndef PRELOAD_SLOTS_H
#define PRELOAD_SLOTS_H

void forget_vm(int vm);

#endif
