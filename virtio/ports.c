/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device that carries the VM's ports (kvm/port.h): virtio-console with VIRTIO_CONSOLE_F_MULTIPORT (VirtIO 1.3, 5.3).
 *
 * It stands beside the console's own device (virtio/console.c), which has no MULTIPORT: a console needs no handshake
 * then, and the size of its window comes by config space, as which row and column can't be mistaken. (Linux before 6.16
 * has them the wrong way round in VIRTIO_CONSOLE_RESIZE.) Port 0, which a driver without MULTIPORT takes for a
 * console, leads nowhere. All on the main loop. There is a device if there are ports.
 */
#include <linux/virtio_console.h>
#include <string.h>

#include "kvm/kvm.h"
#include "ports.h"

static struct ports *ports_of(struct virtio_device *device)
{
	return container_of(device, struct ports, device);
}

/* ---- port 0 ---- */

static int nowhere_transmit(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	(void)device;
	virtqueue_push(vq, req, 0);
	return 1;
}

static void nowhere_handle(struct virtio_device *device, struct virtqueue *vq)
{
	if (vq->index % 2)
		virtio_process(device, vq, nowhere_transmit);
	else
		virtqueue_disable_kick(vq);
}

/* ---- the device ---- */

static void ports_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	struct ports *ports = ports_of(device);

	if (vq->index < PORTS_CONTROL_RECEIVE)
		nowhere_handle(device, vq);
	else if (!virtio_has_feature(device, VIRTIO_CONSOLE_F_MULTIPORT))
		return;
	else if (vq->index == PORTS_CONTROL_RECEIVE)
		ports_control_send(ports);
	else if (vq->index == PORTS_CONTROL_TRANSMIT)
		ports_control_receive(ports);
	else if (vq->index % 2)
		port_handle_transmit(ports->port[vq->index / 2 - 1], vq);
	else
		port_handle_receive(ports->port[vq->index / 2 - 1], vq);
}

static void ports_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct virtio_console_config config = { .max_nr_ports = htole32(ports_of(device)->count + 1) };

	memcpy(buffer, (char *)&config + offset, size);
}

static void ports_reset(struct virtio_device *device)
{
	struct ports *ports = ports_of(device);

	for (unsigned int id = 1; id <= ports->count; id++)
		port_reset(ports->port[id]);
}

static void ports_queue_reset(struct virtio_device *device, struct virtqueue *vq)
{
	unsigned int id = vq->index / 2 - 1;

	/* Of those of number 0, which is the console's, and for control nothing is known. */
	if (vq->index > PORTS_CONTROL_TRANSMIT && vq->index % 2)
		port_transmit_reset(ports_of(device)->port[id]);
}

/* ---- saved state ---- */

static const struct state_field port_fields[] = {
	STATE_BOOL(struct port, ready),
	STATE_BOOL(struct port, open),
	STATE_BOOL(struct port, host_told),
	STATE_U8_MAX(struct port, tell, PORT_TELL_ALL),
	STATE_U32(struct port, offset),
	STATE_BOOL(struct port, closing),
	STATE_BOOL(struct port, reopened),
	STATE_BOOL(struct port, dropping),
	STATE_U16(struct port, close_at),
	STATE_U16(struct port, drop_to),
};
STATE_TABLE(port_table, "virtio-port", 1, port_fields);

static void ports_save(struct virtio_device *device, struct state_writer *writer)
{
	struct ports *ports = ports_of(device);

	for (unsigned int id = 1; id <= ports->count; id++) {
		const struct port *port = ports->port[id];

		state_save_blob(writer, "virtio-port-name", port->name, strlen(port->name));
		state_save(writer, &port_table, port);
	}
}

static int port_load(struct port *port, struct state_reader *reader)
{
	char name[PORT_NAME_MAX];
	size_t length;
	int result = state_load_blob(reader, "virtio-port-name", name, sizeof(name), &length);

	if (!result && (length != strlen(port->name) || memcmp(name, port->name, length) != 0))
		result = log_error(EINVAL, "saved state: port %u is '%.*s', but '%s' here", port->id, (int)length, name,
				   port->name);
	return result ? result : state_load(reader, &port_table, port);
}

static int ports_load(struct virtio_device *device, struct state_reader *reader)
{
	struct ports *ports = ports_of(device);
	int result = 0;

	for (unsigned int id = 1; id <= ports->count && !result; id++)
		result = port_load(ports->port[id], reader);
	for (unsigned int id = 1; id <= ports->count && !result; id++)
		port_loaded(ports->port[id]);
	return result;
}

static const struct virtio_device_ops ports_ops = {
	.name		= "virtio-ports",
	.id		= VIRTIO_ID_CONSOLE,
	.class_code	= 0x078000,
	.queues		= 4,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_console_config),
	.in_order	= true,
	.handle_queue	= ports_handle_queue,
	.config_read	= ports_config_read,
	.queue_reset	= ports_queue_reset,
	.reset		= ports_reset,
	.save		= ports_save,
	.load		= ports_load,
};

/* ---- life ---- */

static int virtio_ports_init(struct kvm *kvm)
{
	struct ports *ports = ports_find(kvm);
	int result;

	if (!ports)
		return INIT_SKIP;
	ports->device.features_offered = BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	ports->device.queue_count = 2 * ports->count + 4;
	result = virtio_device_add(kvm, &ports->device, &ports_ops, "virtio-ports");
	ports->added = !result;
	return result;
}
virtio_dev_init(virtio_ports_init);

static void virtio_ports_exit(struct kvm *kvm)
{
	struct ports *ports = ports_find(kvm);

	virtio_device_del(&ports->device);
	ports->added = false;
}
virtio_dev_exit(virtio_ports_exit);
