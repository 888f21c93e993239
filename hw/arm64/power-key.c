/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A power key that is a virtio-input device (VirtIO 1.3, 5.8): cloud kernels have no driver for keys on a
 * GPIO, but one for this. When no driver runs it, the key that was there before it, hw/arm64/gpio.c's, is
 * pressed instead, so that a guest with both drivers sees one press.
 *
 * Owned by the VM's main loop; the driver's choice of what to read of the configuration is atomic, because
 * vCPUs read.
 */
#include <linux/input-event-codes.h>
#include <linux/virtio_input.h>
#include <stdatomic.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/virtio.h"

#define KEY_EVENTS	0	/* queues */
#define KEY_STATUS	1

struct power_key {
	struct virtio_device device;
	_Atomic uint8_t select, subsel;
	/* the button that was there before */
	void (*next_press)(void *opaque);
	void *next_opaque;
};

/* struct power_key_state - what is saved */
struct power_key_state {
	uint8_t select, subsel;
};

static const char power_key_key;

static const struct state_field power_key_fields[] = {
	STATE_U8(struct power_key_state, select), STATE_U8(struct power_key_state, subsel),
};
STATE_TABLE(power_key_table, "power-key", 1, power_key_fields);

/* ---- pressing it ---- */

static void key_send(struct virtqueue *vq, uint16_t type, uint16_t code, uint32_t value)
{
	const struct virtio_input_event event = {
		.type = htole16(type), .code = htole16(code), .value = htole32(value),
	};
	struct virtio_request *req;

	/* No buffer: the event is lost, as the specification has it. */
	if (virtqueue_pop(vq, &req) <= 0)
		return;
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &event, sizeof(event)));
}

static void key_press(void *opaque)
{
	struct power_key *key = opaque;
	struct virtqueue *vq = &key->device.queues[KEY_EVENTS];

	if (!key->device.running || !vq->enabled) {
		if (key->next_press)
			key->next_press(key->next_opaque);
		return;
	}
	key_send(vq, EV_KEY, KEY_POWER, 1);
	key_send(vq, EV_SYN, SYN_REPORT, 0);
	key_send(vq, EV_KEY, KEY_POWER, 0);
	key_send(vq, EV_SYN, SYN_REPORT, 0);
	virtqueue_flush(vq);
}

/* ---- the device ---- */

static int key_drop_status(struct virtio_device *device, struct virtqueue *vq,
			   struct virtio_request *req)
{
	(void)device;
	virtqueue_push(vq, req, 0);
	return 1;
}

/* Buffers for events stay in the ring until there are some. */
static void key_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	if (vq->index == KEY_STATUS)
		virtio_process(device, vq, key_drop_status);
}

static void key_fill_config(const struct power_key *key, struct virtio_input_config *config)
{
	static const char name[] = "lkvm power key";

	memset(config, 0, sizeof(*config));
	config->select = atomic_load(&key->select);
	config->subsel = atomic_load(&key->subsel);
	if (config->select == VIRTIO_INPUT_CFG_ID_NAME && !config->subsel) {
		memcpy(config->u.string, name, sizeof(name) - 1);
		config->size = sizeof(name) - 1;
	} else if (config->select == VIRTIO_INPUT_CFG_ID_DEVIDS && !config->subsel) {
		config->u.ids.bustype = htole16(0x06);	/* BUS_VIRTUAL */
		config->size = sizeof(config->u.ids);
	} else if (config->select == VIRTIO_INPUT_CFG_EV_BITS && config->subsel == EV_KEY) {
		config->u.bitmap[KEY_POWER / 8] = BIT(KEY_POWER % 8);
		config->size = KEY_POWER / 8 + 1;
	}
}

static void key_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct virtio_input_config config;

	key_fill_config(container_of(device, struct power_key, device), &config);
	memcpy(buffer, (char *)&config + offset, size);
}

static void key_config_write(struct virtio_device *device, size_t offset, const void *buffer,
			     size_t size)
{
	struct power_key *key = container_of(device, struct power_key, device);
	const uint8_t *bytes = buffer;

	for (size_t i = 0; i < size; i++) {
		if (offset + i == offsetof(struct virtio_input_config, select))
			atomic_store(&key->select, bytes[i]);
		if (offset + i == offsetof(struct virtio_input_config, subsel))
			atomic_store(&key->subsel, bytes[i]);
	}
}

static void key_reset(struct virtio_device *device)
{
	struct power_key *key = container_of(device, struct power_key, device);

	atomic_store(&key->select, 0);
	atomic_store(&key->subsel, 0);
}

static void key_save(struct virtio_device *device, struct state_writer *writer)
{
	struct power_key *key = container_of(device, struct power_key, device);
	struct power_key_state state = { atomic_load(&key->select), atomic_load(&key->subsel) };

	state_save(writer, &power_key_table, &state);
}

static int key_load(struct virtio_device *device, struct state_reader *reader)
{
	struct power_key *key = container_of(device, struct power_key, device);
	struct power_key_state state = { 0 };
	int error = state_load(reader, &power_key_table, &state);

	if (error < 0)
		return error;
	atomic_store(&key->select, state.select);
	atomic_store(&key->subsel, state.subsel);
	return 0;
}

static const struct virtio_device_ops power_key_ops = {
	.name		= "virtio-input",
	.id		= VIRTIO_ID_INPUT,
	.class_code	= 0x090000,	/* keyboard */
	.queues		= 2,
	.queue_size	= 64,
	.config_size	= sizeof(struct virtio_input_config),
	.in_order	= true,
	.handle_queue	= key_handle_queue,
	.config_read	= key_config_read,
	.config_write	= key_config_write,
	.reset		= key_reset,
	.save		= key_save,
	.load		= key_load,
};

/* ---- registration ---- */

static void power_key_destroy(struct kvm *kvm, struct power_key *key)
{
	kvm_set_power_button(kvm, key->next_press, key->next_opaque);
	virtio_device_del(&key->device);
	free(key);
}

static int power_key_init(struct kvm *kvm)
{
	const char *transport = config_string(kvm->config, "virtio-transport");
	struct power_key *key;
	int error;

	/* There never was a legacy virtio-input. */
	if (config_flag(kvm->config, "nodefaults") || (transport && strstr(transport, "legacy")))
		return INIT_SKIP;
	key = calloc(1, sizeof(*key));
	if (!key)
		return log_errno(ENOMEM, "power key");
	error = virtio_device_add(kvm, &key->device, &power_key_ops, "power-key");
	if (error < 0) {
		free(key);
		return error;
	}
	key->next_press = kvm->power_button;
	key->next_opaque = kvm->power_button_opaque;
	kvm_set_power_button(kvm, key_press, key);
	error = kvm_set_state(kvm, &power_key_key, key);
	if (error < 0)
		power_key_destroy(kvm, key);
	return error;
}

static void power_key_exit(struct kvm *kvm)
{
	struct power_key *key = kvm_get_state(kvm, &power_key_key);

	if (kvm_set_state(kvm, &power_key_key, NULL) == 0)
		power_key_destroy(kvm, key);
}

virtio_dev_init(power_key_init);
virtio_dev_exit(power_key_exit);
