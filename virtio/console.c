/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-console: one port on terminal 0, when --console says virtio (VirtIO 1.3, 5.3).
 *
 * Queue 0 receives, queue 1 transmits, both on the main loop, where the terminal's input arrives too. Input
 * that the guest has no buffer for stays in the terminal. The size is told when the terminal is a tty.
 */
#include <linux/virtio_console.h>
#include <stdatomic.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/console-watch.h"
#include "kvm/terminal.h"
#include "kvm/virtio.h"

#define RECEIVE		0
#define TRANSMIT	1
#define CHUNK		4096
/* A chain may name the same page again and again: what a driver sends at once ends here, or the loop would not. */
#define TRANSMIT_MAX	MIB(1)

static const char console_key[] = "virtio-console";

struct console {
	struct virtio_device device;
	struct terminal *terminal;
	struct console_watch watch;
	/* columns in the low, rows in the high half: read by vCPUs, written by the loop */
	atomic_uint size;
};

/* ---- guest to terminal ---- */

static int console_transmit(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct console *console = container_of(device, struct console, device);
	char chunk[CHUNK];
	size_t at = 0, got;

	while (at < TRANSMIT_MAX && (got = virtio_request_read(req, at, chunk, sizeof(chunk))) > 0) {
		terminal_write(console->terminal, chunk, got);
		console_watch_write(&console->watch, device->kvm, chunk, got);
		at += got;
	}
	virtqueue_push(vq, req, 0);
	return 1;
}

/* ---- terminal to guest ---- */

static int console_receive(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct console *console = container_of(device, struct console, device);
	char chunk[CHUNK];
	size_t got = terminal_read(console->terminal, chunk, MIN(sizeof(chunk), (size_t)req->writable_bytes));

	if (!got) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, chunk, got));
	return 1;
}

static void console_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	if (vq->index == TRANSMIT)
		virtio_process(device, vq, console_transmit);
	else
		virtio_process(device, vq, console_receive);
}

static void console_input(void *opaque)
{
	struct console *console = opaque;

	virtio_kick(&console->device, RECEIVE);
}

/* ---- config ---- */

static void console_measure(struct console *console)
{
	uint16_t columns = 0, rows = 0;

	if (terminal_size(console->terminal, &columns, &rows))
		atomic_store(&console->size, (uint32_t)rows << 16 | columns);
}

static void console_resized(void *opaque)
{
	struct console *console = opaque;

	console_measure(console);
	virtio_config_changed(&console->device);
}

static void console_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	uint32_t now = atomic_load(&container_of(device, struct console, device)->size);
	struct virtio_console_config config = {
		.cols = htole16((uint16_t)now), .rows = htole16((uint16_t)(now >> 16)), .max_nr_ports = htole32(1),
	};

	memcpy(buffer, (char *)&config + offset, size);
}

/* Linux, without F_MULTIPORT, looks at the size only when it is told of a change. */
static int console_start(struct virtio_device *device)
{
	if (atomic_load(&container_of(device, struct console, device)->size))
		virtio_config_changed(device);
	return 0;
}

static void console_reset(struct virtio_device *device)
{
	console_watch_reset(&container_of(device, struct console, device)->watch);
}

static const struct virtio_device_ops console_ops = {
	.name		= "virtio-console",
	.id		= VIRTIO_ID_CONSOLE,
	.class_code	= 0x078000,
	.queues		= 2,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_console_config),
	.in_order	= true,
	.handle_queue	= console_handle_queue,
	.config_read	= console_config_read,
	.start		= console_start,
	.reset		= console_reset,
};

/* ---- life ---- */

static void console_exit(struct kvm *kvm)
{
	struct console *console = kvm_get_state(kvm, console_key);

	terminal_set_reader(console->terminal, NULL, NULL);
	terminal_set_resize(console->terminal, NULL, NULL);
	virtio_device_del(&console->device);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, console_key, NULL))
		free(console);
}

static int console_add(struct kvm *kvm, struct console *console)
{
	int result;

	console->device.features_offered = BIT(VIRTIO_CONSOLE_F_SIZE);
	console_measure(console);
	result = virtio_device_add(kvm, &console->device, &console_ops, "virtio-console");
	if (result)
		return result;
	result = kvm_set_state(kvm, console_key, console);
	if (result) {
		virtio_device_del(&console->device);
		return result;
	}
	terminal_set_reader(console->terminal, console_input, console);
	terminal_set_resize(console->terminal, console_resized, console);
	return 0;
}

static int console_init(struct kvm *kvm)
{
	const char *kind = config_string(kvm->config, "console");
	struct console *console;
	int result;

	if (!kind || strcmp(kind, "virtio") || !terminal_get(kvm, 0))
		return INIT_SKIP;
	console = calloc(1, sizeof(*console));
	if (!console)
		return log_errno(ENOMEM, "virtio-console");
	console->terminal = terminal_get(kvm, 0);
	result = console_add(kvm, console);
	if (result)
		free(console);
	return result;
}
virtio_dev_init(console_init);
virtio_dev_exit(console_exit);
