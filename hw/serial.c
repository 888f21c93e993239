/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A UART, whose other end is a terminal.
 *
 * National Semiconductor PC16550D. The line is infinitely fast: a transmitted byte is gone at once, so that
 * the holding register is always empty, and received bytes come as fast as the guest takes them. What the
 * guest has no room for stays in the terminal: there are no overruns but in loopback. A byte that waits
 * below the trigger level is a character timeout at once.
 *
 * vCPUs access the registers, the main loop brings input; `lock` guards them. The interrupt line is an edge:
 * it pulses when the first cause becomes pending.
 */
#include "kvm/serial.h"

#include <assert.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <string.h>

#include "kvm/console-watch.h"
#include "kvm/device.h"
#include "kvm/guest-life.h"
#include "kvm/rcu.h"

#define SERIAL_FIFO_SIZE	16
#define SERIAL_IIR_FIFOS	0xc0
#define SERIAL_MSR_LINES	(UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)	/* someone is there, always */
#define SERIAL_MSR_DELTA	0x0f
#define SERIAL_POLLS		3	/* reads of LSR in a row that show a guest which polls for input */
#define SERIAL_IER_MASK		0x0f
#define SERIAL_MCR_MASK		0x1f
#define SERIAL_RX_ERRORS	(UART_LSR_OE | UART_LSR_PE | UART_LSR_FE | UART_LSR_BI)

struct serial {
	struct device device;
	struct region region;
	struct irq_line *irq;		/* ours, or that of the port we share it with */
	struct irq_line own_irq;
	struct terminal *terminal;
	bool input;			/* we are the terminal's reader */

	pthread_mutex_t lock;		/* guards all below; the terminal's locks are taken inside */
	uint8_t ier, lcr, mcr, msr, scratch;
	uint16_t divisor;
	bool fifo;			/* FCR: FIFOs are enabled */
	uint8_t trigger;		/* FCR: receive level, 1 to 14 */
	uint8_t overrun;		/* UART_LSR_OE or 0: since LSR was read last */
	bool transmit_empty;		/* the cause of a THRI; cleared by reading it, and by writing THR */
	bool irq_active;		/* a cause is pending: the next one is no edge */
	bool break_waits;		/* the user sent a break that has had no room yet */
	uint8_t rx[SERIAL_FIFO_SIZE];
	uint8_t rx_status[SERIAL_FIFO_SIZE];	/* what LSR says of each byte: UART_LSR_BI */
	uint8_t rx_start, rx_count;
	uint8_t polls;			/* reads of LSR since any access but to LSR and RBR, up to SERIAL_POLLS */
	bool quiesced;			/* the terminal's input stays where it is */
	struct console_watch watch;
};

/* ---- interrupts ---- */

/* The pending cause of the highest priority, as IIR encodes it. */
static uint8_t serial_cause(const struct serial *serial)
{
	bool error = serial->overrun || (serial->rx_count && serial->rx_status[serial->rx_start]);

	if ((serial->ier & UART_IER_RLSI) && error)
		return UART_IIR_RLSI;
	if ((serial->ier & UART_IER_RDI) && serial->rx_count)
		return serial->fifo && serial->rx_count < serial->trigger ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI;
	if ((serial->ier & UART_IER_THRI) && serial->transmit_empty)
		return UART_IIR_THRI;
	if ((serial->ier & UART_IER_MSI) && (serial->msr & SERIAL_MSR_DELTA))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

static void serial_update_irq_locked(struct serial *serial)
{
	bool active = serial_cause(serial) != UART_IIR_NO_INT;

	if (active && !serial->irq_active)
		irq_line_pulse(serial->irq);
	serial->irq_active = active;
}

/* ---- the receiver ---- */

static unsigned int serial_rx_room(const struct serial *serial)
{
	unsigned int depth = serial->fifo ? SERIAL_FIFO_SIZE : 1;

	return serial->rx_count < depth ? depth - serial->rx_count : 0;
}

static void serial_rx_push_locked(struct serial *serial, uint8_t byte, uint8_t status)
{
	unsigned int at = (serial->rx_start + serial->rx_count) % SERIAL_FIFO_SIZE;

	serial->rx[at] = byte;
	serial->rx_status[at] = status;
	serial->rx_count++;
}

static bool serial_listens(const struct serial *serial)
{
	return !serial->quiesced && !(serial->mcr & UART_MCR_LOOP) &&
	       ((serial->ier & UART_IER_RDI) || serial->polls == SERIAL_POLLS);
}

/* Takes from the terminal what there is room for. */
static void serial_rx_fill_locked(struct serial *serial)
{
	uint8_t bytes[SERIAL_FIFO_SIZE];
	size_t count;

	if (!serial_listens(serial))
		return;
	if (serial->break_waits && serial_rx_room(serial)) {
		serial_rx_push_locked(serial, 0, UART_LSR_BI);
		serial->break_waits = false;
	}
	if (!serial->input || !serial_rx_room(serial))
		return;
	count = terminal_read(serial->terminal, bytes, serial_rx_room(serial));
	for (size_t i = 0; i < count; i++)
		serial_rx_push_locked(serial, bytes[i], 0);
}

/* Gives back to the terminal what the guest has not read; not for what came by the loop. */
static void serial_rx_return_locked(struct serial *serial)
{
	uint8_t bytes[SERIAL_FIFO_SIZE];
	size_t count = 0;
	unsigned int at;

	static_assert(SERIAL_FIFO_SIZE <= TERMINAL_UNREAD_MAX, "a full FIFO can't be put back");
	for (unsigned int i = 0; i < serial->rx_count; i++) {
		at = (serial->rx_start + i) % SERIAL_FIFO_SIZE;
		if (!serial->rx_status[at])
			bytes[count++] = serial->rx[at];
	}
	terminal_unread(serial->terminal, bytes, count);
	serial->rx_start = serial->rx_count = 0;
}

/* The guest did something else than polling. */
static void serial_stop_polling_locked(struct serial *serial)
{
	if (serial->polls == SERIAL_POLLS && !(serial->ier & UART_IER_RDI) && !(serial->mcr & UART_MCR_LOOP))
		serial_rx_return_locked(serial);
	serial->polls = 0;
}

static uint8_t serial_rx_pop_locked(struct serial *serial)
{
	uint8_t byte;

	if (!serial->rx_count)
		return 0;
	byte = serial->rx[serial->rx_start];
	serial->rx_start = (serial->rx_start + 1) % SERIAL_FIFO_SIZE;
	serial->rx_count--;
	if (!serial->rx_count)
		serial_rx_fill_locked(serial);
	return byte;
}

static void serial_input_ready(void *opaque)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(&serial->lock);
	serial_rx_fill_locked(serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static void serial_break(void *opaque)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(&serial->lock);
	serial->break_waits = true;
	serial_rx_fill_locked(serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* ---- registers ---- */

static uint8_t serial_modem_lines(const struct serial *serial)
{
	uint8_t lines = 0;

	if (!(serial->mcr & UART_MCR_LOOP))
		return SERIAL_MSR_LINES;
	if (serial->mcr & UART_MCR_RTS)
		lines |= UART_MSR_CTS;
	if (serial->mcr & UART_MCR_DTR)
		lines |= UART_MSR_DSR;
	if (serial->mcr & UART_MCR_OUT1)
		lines |= UART_MSR_RI;
	if (serial->mcr & UART_MCR_OUT2)
		lines |= UART_MSR_DCD;
	return lines;
}

static void serial_write_mcr_locked(struct serial *serial, uint8_t value)
{
	bool loop_before = serial->mcr & UART_MCR_LOOP, loop = value & UART_MCR_LOOP;
	uint8_t lines, changed;

	if (loop && !loop_before)
		serial_rx_return_locked(serial);
	else if (!loop && loop_before)
		serial->rx_count = 0;
	serial->mcr = value & SERIAL_MCR_MASK;
	lines = serial_modem_lines(serial);
	changed = (serial->msr ^ lines) & 0xf0;
	/* RI counts when it falls only (TERI). */
	if (lines & UART_MSR_RI)
		changed &= (uint8_t)~UART_MSR_RI;
	serial->msr = lines | (serial->msr & SERIAL_MSR_DELTA) | changed >> 4;
	/* What came in while the loop was closed has waited in the terminal. */
	serial_rx_fill_locked(serial);
}

static void serial_write_fcr_locked(struct serial *serial, uint8_t value)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };
	bool enable = value & UART_FCR_ENABLE_FIFO;

	/* Linux turns the FIFOs on with its interrupts enabled already: no reason to lose the first byte. */
	if (enable != serial->fifo && !(serial->mcr & UART_MCR_LOOP))
		serial_rx_return_locked(serial);
	if (enable != serial->fifo || (enable && (value & UART_FCR_CLEAR_RCVR))) {
		serial->fifo = enable;
		serial->rx_start = serial->rx_count = 0;
		serial->overrun = 0;
		serial_rx_fill_locked(serial);
	}
	serial->trigger = enable ? levels[value >> 6 & 3] : 1;
}

static void serial_write_ier_locked(struct serial *serial, uint8_t value)
{
	/* Enabling it with an empty holding register raises it, which drivers wait for to get going. */
	if ((value & ~serial->ier) & UART_IER_THRI)
		serial->transmit_empty = true;
	if ((serial->ier & ~value & UART_IER_RDI) && !(serial->mcr & UART_MCR_LOOP))
		serial_rx_return_locked(serial);
	serial->ier = value & SERIAL_IER_MASK;
	/* What Linux's driver says when its port is opened: by the kernel, for init, as the last thing before it. */
	if (serial->ier == (UART_IER_RDI | UART_IER_RLSI))
		guest_life_user_space(serial->device.kvm);
	serial_rx_fill_locked(serial);
}

static void serial_transmit_locked(struct serial *serial, uint8_t byte)
{
	serial->transmit_empty = true;
	if (!(serial->mcr & UART_MCR_LOOP)) {
		terminal_write(serial->terminal, &byte, 1);
		console_watch_write(&serial->watch, serial->device.kvm, &byte, 1);
	} else if (serial_rx_room(serial)) {
		serial_rx_push_locked(serial, byte, 0);
	} else {
		serial->overrun = UART_LSR_OE;
	}
}

static uint8_t serial_read_iir_locked(struct serial *serial)
{
	uint8_t cause = serial_cause(serial);

	if (cause == UART_IIR_THRI)
		serial->transmit_empty = false;
	return cause | (serial->fifo ? SERIAL_IIR_FIFOS : 0);
}

static uint8_t serial_read_lsr_locked(struct serial *serial)
{
	uint8_t status = UART_LSR_THRE | UART_LSR_TEMT | serial->overrun;

	if (serial->polls < SERIAL_POLLS && ++serial->polls == SERIAL_POLLS)
		serial_rx_fill_locked(serial);
	serial->overrun = 0;
	if (!serial->rx_count)
		return status;
	for (unsigned int i = 0; serial->fifo && i < serial->rx_count; i++) {
		if (serial->rx_status[(serial->rx_start + i) % SERIAL_FIFO_SIZE])
			status |= 0x80;
	}
	status |= UART_LSR_DR | serial->rx_status[serial->rx_start];
	serial->rx_status[serial->rx_start] = 0;
	return status;
}

static uint8_t serial_read_msr_locked(struct serial *serial)
{
	uint8_t msr = serial->msr;

	serial->msr &= (uint8_t)~SERIAL_MSR_DELTA;
	return msr;
}

static uint8_t serial_read_locked(struct serial *serial, uint64_t offset)
{
	bool dlab = serial->lcr & UART_LCR_DLAB;

	if (offset != UART_RX && offset != UART_LSR && serial->polls)
		serial_stop_polling_locked(serial);
	switch (offset) {
	case UART_RX:	return dlab ? serial->divisor & 0xff : serial_rx_pop_locked(serial);
	case UART_IER:	return dlab ? serial->divisor >> 8 : serial->ier;
	case UART_IIR:	return serial_read_iir_locked(serial);
	case UART_LCR:	return serial->lcr;
	case UART_MCR:	return serial->mcr;
	case UART_LSR:	return serial_read_lsr_locked(serial);
	case UART_MSR:	return serial_read_msr_locked(serial);
	default:	return serial->scratch;
	}
}

static void serial_write_divisor_locked(struct serial *serial, uint64_t offset, uint8_t value)
{
	if (offset == UART_DLL)
		serial->divisor = (serial->divisor & 0xff00) | value;
	else
		serial->divisor = (uint16_t)(value << 8) | (serial->divisor & 0xff);
}

static void serial_write_locked(struct serial *serial, uint64_t offset, uint8_t value)
{
	if (serial->polls)
		serial_stop_polling_locked(serial);
	if (offset <= UART_DLM && (serial->lcr & UART_LCR_DLAB)) {
		serial_write_divisor_locked(serial, offset, value);
		return;
	}
	switch (offset) {
	case UART_TX:	serial_transmit_locked(serial, value); break;
	case UART_IER:	serial_write_ier_locked(serial, value); break;
	case UART_FCR:	serial_write_fcr_locked(serial, value); break;
	case UART_LCR:	serial->lcr = value; break;
	case UART_MCR:	serial_write_mcr_locked(serial, value); break;
	case UART_SCR:	serial->scratch = value; break;
	default:	break;	/* LSR and MSR are read-only */
	}
}

static uint64_t serial_read(struct serial *serial, uint64_t offset, unsigned int size)
{
	uint8_t value;

	(void)size;
	pthread_mutex_lock(&serial->lock);
	value = serial_read_locked(serial, offset);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
	return value;
}

static void serial_write(struct serial *serial, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)size;
	pthread_mutex_lock(&serial->lock);
	serial_write_locked(serial, offset, (uint8_t)value);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

IO_OPS(serial_io_ops, struct serial, serial_read, serial_write, 1, 1);

/* ---- device ---- */

static void serial_reset(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	serial->ier = serial->lcr = serial->mcr = serial->scratch = 0;
	serial->msr = SERIAL_MSR_LINES;
	serial->divisor = 12;	/* 9600 baud */
	serial->fifo = false;
	serial->trigger = 1;
	serial->overrun = 0;
	serial->transmit_empty = true;
	serial->irq_active = false;
	serial->break_waits = false;
	serial->polls = 0;
	serial->rx_start = serial->rx_count = 0;
	console_watch_reset(&serial->watch);
	pthread_mutex_unlock(&serial->lock);
}

static int serial_quiesce(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	serial->quiesced = true;
	pthread_mutex_unlock(&serial->lock);
	return 0;
}

static void serial_resume(struct device *device)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	serial->quiesced = false;
	if (!serial->rx_count)
		serial_rx_fill_locked(serial);
	serial_update_irq_locked(serial);
	pthread_mutex_unlock(&serial->lock);
}

static const struct state_field serial_fields[] = {
	STATE_U8_MAX(struct serial, ier, SERIAL_IER_MASK),
	STATE_U8(struct serial, lcr),
	STATE_U8_MAX(struct serial, mcr, SERIAL_MCR_MASK),
	STATE_U8(struct serial, msr),
	STATE_U8(struct serial, scratch),
	STATE_U16(struct serial, divisor),
	STATE_BOOL(struct serial, fifo),
	STATE_U8_MAX(struct serial, trigger, 14),
	STATE_U8_MAX(struct serial, overrun, UART_LSR_OE),
	STATE_BOOL(struct serial, transmit_empty),
	STATE_BOOL(struct serial, irq_active),
	STATE_BOOL(struct serial, break_waits),
	STATE_BYTES(struct serial, rx),
	STATE_BYTES(struct serial, rx_status),
	STATE_U8_MAX(struct serial, rx_start, SERIAL_FIFO_SIZE - 1),
	STATE_U8_MAX(struct serial, rx_count, SERIAL_FIFO_SIZE),
	STATE_U8_MAX(struct serial, polls, SERIAL_POLLS),
};
STATE_TABLE(serial_state, "serial", 1, serial_fields);

static void serial_save(struct device *device, struct state_writer *writer)
{
	struct serial *serial = container_of(device, struct serial, device);

	pthread_mutex_lock(&serial->lock);
	state_save(writer, &serial_state, serial);
	pthread_mutex_unlock(&serial->lock);
}

static int serial_load(struct device *device, struct state_reader *reader)
{
	struct serial *serial = container_of(device, struct serial, device);
	int error;

	pthread_mutex_lock(&serial->lock);
	error = state_load(reader, &serial_state, serial);
	for (unsigned int i = 0; i < SERIAL_FIFO_SIZE; i++)
		serial->rx_status[i] &= SERIAL_RX_ERRORS;
	pthread_mutex_unlock(&serial->lock);
	return error;
}

static const struct device_ops serial_device_ops = {
	.reset		= serial_reset,
	.quiesce	= serial_quiesce,
	.resume		= serial_resume,
	.save		= serial_save,
	.load		= serial_load,
};

bool serial_takes_input(const struct kvm *kvm, unsigned int index)
{
	const char *console = config_string(kvm->config, "console");

	return index != 0 || !console || strcmp(console, "virtio") != 0;
}

int serial_create(struct kvm *kvm, const struct serial_place *place, struct terminal *terminal, bool input,
		  struct serial **serial)
{
	struct serial *new = calloc(1, sizeof(*new));
	int error;

	if (!new)
		return -ENOMEM;
	new->terminal = terminal;
	new->input = input;
	pthread_mutex_init(&new->lock, NULL);
	new->irq = place->shares ? place->shares->irq : &new->own_irq;
	error = place->shares ? 0 : irq_line_init(kvm, new->irq, place->gsi, IRQ_EDGE);
	if (error)
		goto out_free;
	error = device_add(kvm, &new->device, &serial_device_ops, "%s", place->name);
	if (error)
		goto out_irq;
	serial_reset(&new->device);
	region_init_io(&new->region, place->name, &serial_io_ops, new, SERIAL_SIZE);
	error = region_add(place->space, &new->region, place->base, 1);
	if (error)
		goto out_device;
	terminal_set_break(terminal, serial_break, new);
	if (input)
		terminal_set_reader(terminal, serial_input_ready, new);
	*serial = new;
	return 0;

out_device:
	device_del(&new->device);
out_irq:
	if (!place->shares)
		irq_line_exit(new->irq);
out_free:
	pthread_mutex_destroy(&new->lock);
	free(new);
	return error;
}

void serial_destroy(struct serial *serial)
{
	if (!serial)
		return;
	terminal_set_break(serial->terminal, NULL, NULL);
	if (serial->input)
		terminal_set_reader(serial->terminal, NULL, NULL);
	region_del(&serial->region);
	rcu_synchronize();
	device_del(&serial->device);
	if (serial->irq == &serial->own_irq)
		irq_line_exit(serial->irq);
	pthread_mutex_destroy(&serial->lock);
	free(serial);
}
