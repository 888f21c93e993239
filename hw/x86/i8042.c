/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i8042: the keyboard controller, with an AT keyboard on its first port and nothing on the second.
 *
 * IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller". Nobody types on it: it is there
 * because 0xfe to port 0x64 is how kernels and payloads reset a PC, and because software that looks for a
 * controller must get quick answers. The ACPI tables say that there is none, which saves Linux the probe.
 *
 * vCPUs access the registers; `lock` guards them. Nothing happens by itself.
 */
#include <pthread.h>
#include <string.h>

#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/rcu.h"

#define I8042_BASE		0x60	/* data; 0x64 is status and command */
#define I8042_DATA		0
#define I8042_COMMAND		4
#define I8042_GSI		1

#define STATUS_OUTPUT_FULL	0x01
#define STATUS_SYSTEM		0x04	/* the self-test has passed */
#define STATUS_COMMAND		0x08	/* the last write was to port 0x64 */
#define STATUS_UNLOCKED		0x10

#define MODE_KEYBOARD_IRQ	0x01
#define MODE_SYSTEM		0x04
#define MODE_KEYBOARD_OFF	0x10
#define MODE_AUX_OFF		0x20
#define MODE_TRANSLATE		0x40
#define MODE_DEFAULT		(MODE_TRANSLATE | MODE_AUX_OFF | MODE_SYSTEM)

#define OUTPUT_PORT_RESET	0x01	/* active low */
#define OUTPUT_PORT_A20		0x02
#define OUTPUT_PORT_DEFAULT	0xcf

#define KEYBOARD_ACK		0xfa
#define KEYBOARD_RESEND		0xfe

#define I8042_REPLY_SIZE	8

struct i8042 {
	struct device device;
	struct region data_region, command_region;
	struct irq_line irq;

	pthread_mutex_t lock;		/* guards all below */
	uint8_t status;			/* but for STATUS_OUTPUT_FULL */
	uint8_t mode;			/* the command byte */
	uint8_t output_port;
	uint8_t command;		/* controller command that waits for its data, or 0 */
	uint8_t keyboard_command;	/* keyboard command that waits for its data, or 0 */
	uint8_t scancode_set;
	uint8_t last;			/* what data reads when nothing is there */
	uint8_t reply[I8042_REPLY_SIZE];
	uint8_t reply_start, reply_count;
	uint8_t ram[32];		/* commands 0x20-0x3f, 0x60-0x7f; byte 0 is the mode */
};

static const char i8042_key;

static void i8042_interrupt_locked(struct i8042 *i8042)
{
	if (i8042->reply_count && (i8042->mode & MODE_KEYBOARD_IRQ))
		irq_line_pulse(&i8042->irq);
}

/* A guest that asks and never reads loses the newest answers. */
static void i8042_reply_locked(struct i8042 *i8042, uint8_t byte)
{
	if (i8042->reply_count == I8042_REPLY_SIZE)
		return;
	i8042->reply[(i8042->reply_start + i8042->reply_count) % I8042_REPLY_SIZE] = byte;
	if (i8042->reply_count++ == 0)
		i8042_interrupt_locked(i8042);
}

static uint8_t i8042_read_data_locked(struct i8042 *i8042)
{
	if (i8042->reply_count) {
		i8042->last = i8042->reply[i8042->reply_start];
		i8042->reply_start = (i8042->reply_start + 1) % I8042_REPLY_SIZE;
		i8042->reply_count--;
		/* The next byte moves into the output buffer. */
		i8042_interrupt_locked(i8042);
	}
	return i8042->last;
}

/* Returns whether the reset line was pulled. */
static bool i8042_set_output_port(struct i8042 *i8042, uint8_t value)
{
	i8042->output_port = value;
	return !(value & OUTPUT_PORT_RESET);
}

/* ---- the keyboard ---- */

static void keyboard_write_locked(struct i8042 *i8042, uint8_t byte)
{
	uint8_t command = i8042->keyboard_command;

	i8042->keyboard_command = 0;
	if (command && byte < 0xed) {
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		if (command == 0xf0 && byte == 0)
			i8042_reply_locked(i8042, i8042->scancode_set);
		else if (command == 0xf0 && byte <= 3)
			i8042->scancode_set = byte;
		return;
	}
	switch (byte) {
	case 0xed:	/* lights */
	case 0xf0:	/* scan code set */
	case 0xf3:	/* repeat rate */
		i8042->keyboard_command = byte;
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		break;
	case 0xee:	/* echo */
		i8042_reply_locked(i8042, 0xee);
		break;
	case 0xf2:	/* identify: an MF2 keyboard, behind translation or not */
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		i8042_reply_locked(i8042, 0xab);
		i8042_reply_locked(i8042, i8042->mode & MODE_TRANSLATE ? 0x41 : 0x83);
		break;
	case 0xf4:	/* enable */
	case 0xf5:	/* disable */
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		break;
	case 0xf6:	/* defaults */
		i8042->scancode_set = 2;
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		break;
	case 0xff:	/* reset: the self-test passes */
		i8042->scancode_set = 2;
		i8042_reply_locked(i8042, KEYBOARD_ACK);
		i8042_reply_locked(i8042, 0xaa);
		break;
	default:
		i8042_reply_locked(i8042, KEYBOARD_RESEND);
		break;
	}
}

/* ---- the controller ---- */

static void i8042_set_mode_locked(struct i8042 *i8042, uint8_t mode)
{
	bool enabled = (mode & ~i8042->mode) & MODE_KEYBOARD_IRQ;

	i8042->mode = mode;
	i8042->status = (uint8_t)((i8042->status & ~STATUS_SYSTEM) | (mode & MODE_SYSTEM ? STATUS_SYSTEM : 0));
	if (enabled)
		i8042_interrupt_locked(i8042);
}

static void i8042_self_test_locked(struct i8042 *i8042)
{
	i8042->reply_count = 0;
	i8042->command = i8042->keyboard_command = 0;
	i8042_set_mode_locked(i8042, MODE_DEFAULT | MODE_KEYBOARD_OFF);
	i8042_reply_locked(i8042, 0x55);
}

/* Data for a command that waits for it. Returns whether the machine must be reset. */
static bool i8042_write_argument_locked(struct i8042 *i8042, uint8_t value)
{
	uint8_t command = i8042->command;

	i8042->command = 0;
	switch (command) {
	case 0x60:
		i8042_set_mode_locked(i8042, value);
		return false;
	case 0xd1:
		return i8042_set_output_port(i8042, value);
	case 0xd2:	/* as if from the keyboard */
	case 0xd3:	/* as if from the mouse: not marked so, which says that there is no port for one */
		i8042_reply_locked(i8042, value);
		return false;
	case 0xd4:	/* to the mouse: nobody answers; an error instead of a time-out */
		i8042_reply_locked(i8042, KEYBOARD_RESEND);
		return false;
	default:
		if (command > 0x60 && command < 0x80)
			i8042->ram[command & 0x1f] = value;
		return false;
	}
}

/* Returns whether the machine must be reset. */
static bool i8042_write_command_locked(struct i8042 *i8042, uint8_t command)
{
	i8042->command = 0;
	if (command >= 0xf0)	/* pulses the lines whose bits are 0 */
		return !(command & OUTPUT_PORT_RESET);
	if (command >= 0x20 && command < 0x40) {
		i8042_reply_locked(i8042, command == 0x20 ? i8042->mode : i8042->ram[command & 0x1f]);
		return false;
	}
	if (command >= 0x60 && command < 0x80) {
		i8042->command = command;
		return false;
	}
	switch (command) {
	case 0xa7:	i8042_set_mode_locked(i8042, i8042->mode | MODE_AUX_OFF); break;
	case 0xa8:	i8042_set_mode_locked(i8042, i8042->mode & (uint8_t)~MODE_AUX_OFF); break;
	case 0xa9:	i8042_reply_locked(i8042, 0x01); break;	/* the mouse's clock line is stuck low */
	case 0xaa:	i8042_self_test_locked(i8042); break;
	case 0xab:	i8042_reply_locked(i8042, 0x00); break;	/* the keyboard's lines are fine */
	case 0xad:	i8042_set_mode_locked(i8042, i8042->mode | MODE_KEYBOARD_OFF); break;
	case 0xae:	i8042_set_mode_locked(i8042, i8042->mode & (uint8_t)~MODE_KEYBOARD_OFF); break;
	case 0xc0:	i8042_reply_locked(i8042, 0x80); break;	/* input port: not locked */
	case 0xd0:	i8042_reply_locked(i8042, i8042->output_port); break;
	case 0xdd:	i8042->output_port &= (uint8_t)~OUTPUT_PORT_A20; break;
	case 0xdf:	i8042->output_port |= OUTPUT_PORT_A20; break;
	case 0xd1: case 0xd2: case 0xd3: case 0xd4:
		i8042->command = command;
		break;
	default:
		break;
	}
	return false;
}

static uint64_t i8042_data_read(struct i8042 *i8042, uint64_t offset, unsigned int size)
{
	uint8_t value;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&i8042->lock);
	value = i8042_read_data_locked(i8042);
	pthread_mutex_unlock(&i8042->lock);
	return value;
}

static uint64_t i8042_status_read(struct i8042 *i8042, uint64_t offset, unsigned int size)
{
	uint8_t value;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&i8042->lock);
	value = i8042->status | (i8042->reply_count ? STATUS_OUTPUT_FULL : 0);
	pthread_mutex_unlock(&i8042->lock);
	return value;
}

static void i8042_data_write(struct i8042 *i8042, uint64_t offset, uint64_t value, unsigned int size)
{
	bool reset = false;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&i8042->lock);
	i8042->status &= (uint8_t)~STATUS_COMMAND;
	if (i8042->command)
		reset = i8042_write_argument_locked(i8042, (uint8_t)value);
	else
		keyboard_write_locked(i8042, (uint8_t)value);
	pthread_mutex_unlock(&i8042->lock);
	if (reset)
		kvm_reset_request(i8042->device.kvm);
}

static void i8042_command_write(struct i8042 *i8042, uint64_t offset, uint64_t value, unsigned int size)
{
	bool reset;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&i8042->lock);
	i8042->status |= STATUS_COMMAND;
	reset = i8042_write_command_locked(i8042, (uint8_t)value);
	pthread_mutex_unlock(&i8042->lock);
	if (reset)
		kvm_reset_request(i8042->device.kvm);
}

IO_OPS(i8042_data_ops, struct i8042, i8042_data_read, i8042_data_write, 1, 1);
IO_OPS(i8042_command_ops, struct i8042, i8042_status_read, i8042_command_write, 1, 1);

/* ---- device ---- */

static void i8042_reset(struct device *device)
{
	struct i8042 *i8042 = container_of(device, struct i8042, device);

	pthread_mutex_lock(&i8042->lock);
	i8042->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	i8042->mode = MODE_DEFAULT;
	i8042->output_port = OUTPUT_PORT_DEFAULT;
	i8042->command = i8042->keyboard_command = 0;
	i8042->scancode_set = 2;
	i8042->last = 0;
	i8042->reply_start = i8042->reply_count = 0;
	memset(i8042->ram, 0, sizeof(i8042->ram));
	pthread_mutex_unlock(&i8042->lock);
}

static const struct state_field i8042_fields[] = {
	STATE_U8(struct i8042, status),
	STATE_U8(struct i8042, mode),
	STATE_U8(struct i8042, output_port),
	STATE_U8(struct i8042, command),
	STATE_U8(struct i8042, keyboard_command),
	STATE_U8_MAX(struct i8042, scancode_set, 3),
	STATE_U8(struct i8042, last),
	STATE_BYTES(struct i8042, reply),
	STATE_U8_MAX(struct i8042, reply_start, I8042_REPLY_SIZE - 1),
	STATE_U8_MAX(struct i8042, reply_count, I8042_REPLY_SIZE),
	STATE_BYTES(struct i8042, ram),
};
STATE_TABLE(i8042_state, "i8042", 1, i8042_fields);

static void i8042_save(struct device *device, struct state_writer *writer)
{
	struct i8042 *i8042 = container_of(device, struct i8042, device);

	pthread_mutex_lock(&i8042->lock);
	state_save(writer, &i8042_state, i8042);
	pthread_mutex_unlock(&i8042->lock);
}

static int i8042_load(struct device *device, struct state_reader *reader)
{
	struct i8042 *i8042 = container_of(device, struct i8042, device);
	int error;

	pthread_mutex_lock(&i8042->lock);
	error = state_load(reader, &i8042_state, i8042);
	i8042->status &= (uint8_t)~STATUS_OUTPUT_FULL;
	pthread_mutex_unlock(&i8042->lock);
	return error;
}

static const struct device_ops i8042_device_ops = {
	.reset	= i8042_reset,
	.save	= i8042_save,
	.load	= i8042_load,
};

static void i8042_free(struct i8042 *i8042)
{
	region_del(&i8042->data_region);
	region_del(&i8042->command_region);
	rcu_synchronize();
	pthread_mutex_destroy(&i8042->lock);
	free(i8042);
}

static int i8042_init(struct kvm *kvm)
{
	struct i8042 *i8042 = calloc(1, sizeof(*i8042));
	int error;

	if (!i8042)
		return -ENOMEM;
	pthread_mutex_init(&i8042->lock, NULL);
	region_init_io(&i8042->data_region, "i8042-data", &i8042_data_ops, i8042, 1);
	region_init_io(&i8042->command_region, "i8042-command", &i8042_command_ops, i8042, 1);
	error = irq_line_init(kvm, &i8042->irq, I8042_GSI, IRQ_EDGE);
	if (error)
		goto out_free;
	error = device_add(kvm, &i8042->device, &i8042_device_ops, "i8042");
	if (error)
		goto out_irq;
	i8042_reset(&i8042->device);
	error = region_add(&kvm->ports, &i8042->data_region, I8042_BASE + I8042_DATA, 1);
	if (!error)
		error = region_add(&kvm->ports, &i8042->command_region, I8042_BASE + I8042_COMMAND, 1);
	if (!error)
		error = kvm_set_state(kvm, &i8042_key, i8042);
	if (!error)
		return 0;

	device_del(&i8042->device);
out_irq:
	irq_line_exit(&i8042->irq);
out_free:
	i8042_free(i8042);
	return error;
}
dev_init(i8042_init);

static void i8042_exit(struct kvm *kvm)
{
	struct i8042 *i8042 = kvm_get_state(kvm, &i8042_key);

	if (kvm_set_state(kvm, &i8042_key, NULL) < 0)
		return;
	device_del(&i8042->device);
	irq_line_exit(&i8042->irq);
	i8042_free(i8042);
}
dev_exit(i8042_exit);
