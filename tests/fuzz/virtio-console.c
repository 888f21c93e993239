/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-console under fuzz: that of the console, between two pipes, and that of ports, with two owners. */
#include "tests/fuzz/virtio.h"

#include <fcntl.h>

#include "kvm/kvm.h"
#include "kvm/port.h"

static int typed = -1, shown = -1;	/* our ends of the terminal's pipes */

static void console_machine(struct kvm *kvm)
{
	int in[2], out[2];

	FUZZ_CHECK(!pipe2(in, O_CLOEXEC | O_NONBLOCK) && !pipe2(out, O_CLOEXEC | O_NONBLOCK));
	/* terminal 0 is standard input and output */
	FUZZ_CHECK(dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1);
	close(in[0]);
	close(out[1]);
	typed = in[1];
	shown = out[0];
	fuzz_machine_set(kvm, "console", "virtio");
	fuzz_machine_add(kvm, "terminals_init");
	fuzz_machine_add(kvm, "console_init");
}

static void console_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	uint8_t bytes[4096];
	size_t length = fuzz_u8(input), got;
	const uint8_t *text = fuzz_bytes(input, length % 64, &got);

	(void)kvm;
	(void)device;
	if (length & 0x80)
		(void)!read(shown, bytes, sizeof(bytes));
	/* escape sequences are the user's own, who may well end the VM */
	for (size_t i = 0; i < got; i++)
		bytes[i] = text[i] % 26 + 'a';
	(void)!write(typed, bytes, got);
}

static const struct fuzz_virtio console_spec = { .machine = console_machine, .queues = 2, .event = console_event };
FUZZ_VIRTIO(console, "console", console_spec);

/* ---- ports ---- */

#define PORTS	2

static struct owner {
	struct port *port;
	bool opened;			/* by the guest */
	size_t takes;			/* bytes, before it has enough */
} owners[PORTS];

static void owner_opened(struct port *port, void *opaque)
{
	struct owner *owner = opaque;

	FUZZ_CHECK(port == owner->port && !owner->opened);
	owner->opened = true;
}

static void owner_closed(struct port *port, void *opaque)
{
	struct owner *owner = opaque;

	FUZZ_CHECK(port == owner->port && owner->opened);
	owner->opened = false;
}

static size_t owner_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct owner *owner = opaque;
	size_t taken = MIN(length, owner->takes);
	uint8_t sum = 0;

	FUZZ_CHECK(port == owner->port && length);
	for (size_t i = 0; i < length; i++)
		sum ^= ((const uint8_t *)data)[i];
	owner->takes -= taken & (sum | ~0UL);
	return taken;
}

static const struct port_ops owner_ops = { .opened = owner_opened, .closed = owner_closed, .receive = owner_receive };

static void ports_machine(struct kvm *kvm)
{
	static const char *const names[PORTS] = { "first", "second" };

	for (unsigned int i = 0; i < PORTS; i++) {
		FUZZ_CHECK(!port_create(kvm, names[i], &owner_ops, &owners[i], &owners[i].port));
		port_open(owners[i].port);
	}
	fuzz_machine_add(kvm, "virtio_ports_init");
}

static void ports_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	struct owner *owner = &owners[fuzz_u8(input) % PORTS];
	uint8_t what = fuzz_u8(input);
	size_t got;
	const uint8_t *bytes;

	(void)kvm;
	(void)device;
	switch (what % 5) {
	case 0: port_open(owner->port); break;
	case 1: port_close(owner->port); break;
	case 2:
		bytes = fuzz_bytes(input, fuzz_u8(input), &got);
		FUZZ_CHECK(port_write(owner->port, bytes, got) <= got);
		break;
	case 3:
		owner->takes = fuzz_u16(input);
		port_resume(owner->port);
		break;
	default: FUZZ_CHECK(port_is_open(owner->port) == owner->opened); break;
	}
}

static void ports_between(struct virtio_device *device)
{
	(void)device;
	for (unsigned int i = 0; i < PORTS; i++) {
		FUZZ_CHECK(!owners[i].opened);
		owners[i].takes = 4096;
		port_open(owners[i].port);
	}
}

/* those of port 0, which nobody has, control, and two ports' */
static const struct fuzz_virtio ports_spec = {
	.machine = ports_machine, .queues = 8, .event = ports_event, .between = ports_between,
};
FUZZ_VIRTIO(ports, "ports", ports_spec);
