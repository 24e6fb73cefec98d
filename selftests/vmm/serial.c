// SPDX-License-Identifier: GPL-2.0
/*
 * A 16550A as far as Linux's 8250 driver needs one.  Output goes to standard
 * output at once, hence the transmitter is always empty.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>
#include <linux/serial_reg.h>

#include "end.h"
#include "machine.h"
#include "serial.h"

static struct {
	pthread_mutex_t lock;
	int vm;
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t dll, dlm;
	bool thr_irq;		/* transmitter empty, and not yet told */
	bool level;		/* of the interrupt line */
	uint8_t fifo[16];
	unsigned int head, count;
	char line[256];		/* the last line of output */
	size_t length;
	bool panic;
} port = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.dll = 1,
};

static uint8_t iir(void)
{
	if ((port.ier & UART_IER_RDI) && port.count)
		return UART_IIR_RDI;
	if ((port.ier & UART_IER_THRI) && port.thr_irq)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_irq(void)
{
	struct kvm_irq_level irq = { .irq = IRQ_SERIAL };
	bool level = !(iir() & UART_IIR_NO_INT);

	if (level == port.level)
		return;
	port.level = level;
	irq.level = level;
	if (ioctl(port.vm, KVM_IRQ_LINE, &irq))
		die("KVM_IRQ_LINE: %s", strerror(errno));
}

static void receive(uint8_t c)
{
	if (port.count == sizeof(port.fifo))
		return;
	port.fifo[(port.head + port.count++) % sizeof(port.fifo)] = c;
}

static void transmit(uint8_t c)
{
	if (write(STDOUT_FILENO, &c, 1) != 1 && errno != EAGAIN)
		die("cannot write to standard output: %s", strerror(errno));
	if (c != '\n' && port.length < sizeof(port.line) - 1) {
		port.line[port.length++] = c;
		return;
	}
	port.line[port.length] = 0;
	port.length = 0;
	if (strstr(port.line, "Kernel panic - not syncing"))
		port.panic = true;
}

void serial_init(int vm)
{
	port.vm = vm;
}

bool serial_saw_panic(void)
{
	return port.panic;
}

void serial_out(unsigned int reg, uint8_t value)
{
	bool dlab;

	pthread_mutex_lock(&port.lock);
	dlab = port.lcr & UART_LCR_DLAB;
	switch (reg) {
	case UART_TX:
		if (dlab)
			port.dll = value;
		else if (port.mcr & UART_MCR_LOOP)
			receive(value);
		else
			transmit(value);
		if (!dlab)
			port.thr_irq = true;
		break;
	case UART_IER:
		if (dlab) {
			port.dlm = value;
			break;
		}
		/* Asking for it when the transmitter is empty yields one. */
		if ((value & ~port.ier) & UART_IER_THRI)
			port.thr_irq = true;
		port.ier = value & 0xf;
		break;
	case UART_FCR:
		port.fcr = value;
		if (value & UART_FCR_CLEAR_RCVR)
			port.count = 0;
		break;
	case UART_LCR:
		port.lcr = value;
		break;
	case UART_MCR:
		port.mcr = value;
		break;
	case UART_SCR:
		port.scr = value;
		break;
	}
	update_irq();
	pthread_mutex_unlock(&port.lock);
}

uint8_t serial_in(unsigned int reg)
{
	bool dlab, room = false;
	uint8_t value = 0;

	pthread_mutex_lock(&port.lock);
	dlab = port.lcr & UART_LCR_DLAB;
	switch (reg) {
	case UART_RX:
		if (dlab) {
			value = port.dll;
		} else if (port.count) {
			value = port.fifo[port.head];
			port.head = (port.head + 1) % sizeof(port.fifo);
			room = !--port.count;
		}
		break;
	case UART_IER:
		value = dlab ? port.dlm : port.ier;
		break;
	case UART_IIR:
		value = iir();
		if (value == UART_IIR_THRI)
			port.thr_irq = false;
		if (port.fcr & UART_FCR_ENABLE_FIFO)
			value |= UART_IIR_FIFO_ENABLED_16550A;
		break;
	case UART_LCR:
		value = port.lcr;
		break;
	case UART_MCR:
		value = port.mcr;
		break;
	case UART_LSR:
		value = UART_LSR_TEMT | UART_LSR_THRE |
			(port.count ? UART_LSR_DR : 0);
		break;
	case UART_MSR:
		value = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
		/* DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD. */
		if (port.mcr & UART_MCR_LOOP)
			value = (port.mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
				(port.mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
				(port.mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
				(port.mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
		break;
	case UART_SCR:
		value = port.scr;
		break;
	}
	update_irq();
	pthread_mutex_unlock(&port.lock);
	/* There is room for input again. */
	if (room)
		end_wake();
	return value;
}

size_t serial_receive(const char *data, size_t size)
{
	size_t i = 0;

	pthread_mutex_lock(&port.lock);
	/* What comes before the driver has opened the port would be lost. */
	if (port.ier & UART_IER_RDI) {
		while (i < size && port.count < sizeof(port.fifo))
			receive(data[i++]);
	}
	update_irq();
	pthread_mutex_unlock(&port.lock);
	return i;
}
