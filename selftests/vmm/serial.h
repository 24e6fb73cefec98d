/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The VM whose interrupt line it drives. */
void serial_init(int vm);
void serial_out(unsigned int reg, uint8_t value);
uint8_t serial_in(unsigned int reg);
/* Returns how many of the characters were taken. */
size_t serial_receive(const char *data, size_t size);
bool serial_saw_panic(void);

#endif
