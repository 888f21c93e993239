/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices whose daemon does all but config space and status: --vhost-user, -d vhost-user:PATH, --fs TAG,socket=PATH.
 *
 * A type is a row: what the guest finds, how many queues, and who knows its config space. Each device has a loop of
 * its own, which may wait for its daemon. Config space is kept here: vCPUs read it, daemons are asked when it changes.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_input.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_snd.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "user-option.h"
#include "user.h"
#include "vhost/device.h"

static const char user_devices_key[] = "vhost-user";

#define FS_TAG_SIZE	36
#define GPIO_CONFIG	8
#define CAN_CONFIG	2

/** struct user_type - @fixed queues and as many more as queues= says, if @more; of GET_CONFIG's bytes at least @least */
struct user_type {
	const char *name;
	unsigned int fixed;
	bool more;
	uint16_t least;
	bool local;			/* config space is made here */
	bool keeps;			/* the daemon knows things of its guest that a saved VM would have to bring along */
	uint8_t mq_feature;		/* that makes a driver use more than one queue; 0: none */
	struct virtio_device_ops ops;
};

struct user_device {
	struct vhost_device base;
	const struct user_type *type;
	struct vhost_user *user;
	struct event_loop *loop;
	struct user_device *next;
	pthread_mutex_t config_lock;	/* guards what follows; innermost */
	uint8_t config[VIRTIO_CONFIG_MAX];
	size_t config_size;		/* what the daemon has of it */
};

static struct user_device *device_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct user_device, base.virtio);
}

/* ---- config space ---- */

/* What a daemon says of its queues is what it could have: the driver gets what was asked for. */
static void config_adapt(const struct user_device *device, uint8_t config[VIRTIO_CONFIG_MAX])
{
	const uint16_t queues = htole16((uint16_t)(device->base.virtio.queue_count - device->type->fixed));
	const uint32_t many = htole32(device->base.virtio.queue_count - device->type->fixed);

	if (device->type->ops.id == VIRTIO_ID_BLOCK)
		memcpy(config + offsetof(struct virtio_blk_config, num_queues), &queues, sizeof(queues));
	if (device->type->ops.id == VIRTIO_ID_SCSI)
		memcpy(config, &many, sizeof(many));
}

/* Returns whether it is another now. */
static bool config_fetch(struct user_device *device)
{
	uint8_t config[VIRTIO_CONFIG_MAX] = { 0 };
	bool changed;

	if (device->type->local || !device->config_size ||
	    vhost_user_read_config(device->user, config, device->config_size))
		return false;
	config_adapt(device, config);
	pthread_mutex_lock(&device->config_lock);
	changed = memcmp(config, device->config, sizeof(config)) != 0;
	memcpy(device->config, config, sizeof(config));
	pthread_mutex_unlock(&device->config_lock);
	return changed;
}

/* An older daemon knows less of it, and refuses to say more than that. */
static int config_first(struct user_device *device)
{
	const struct user_type *type = device->type;
	uint8_t config[VIRTIO_CONFIG_MAX];
	int result = -EOPNOTSUPP;

	if (type->local || !type->least)
		return 0;
	if (!vhost_user_has_config(device->user))
		return log_error(EOPNOTSUPP, "option --vhost-user: type=%s: its daemon has no configuration (another type?)", type->name);
	for (size_t size = type->ops.config_size; size >= type->least && result == -EOPNOTSUPP; size -= 4) {
		result = vhost_user_read_config(device->user, config, size);
		device->config_size = size;
	}
	if (result)
		return log_error(result, "option --vhost-user: type=%s: its daemon says nothing of its configuration", type->name);
	config_fetch(device);
	return 0;
}

static void device_config_read(struct virtio_device *virtio, size_t offset, void *buffer, size_t size)
{
	struct user_device *device = device_of(virtio);

	pthread_mutex_lock(&device->config_lock);
	memcpy(buffer, device->config + offset, size);
	pthread_mutex_unlock(&device->config_lock);
}

/* What the write leads to, its daemon knows: input's selectors choose what the rest says. */
static void device_config_write(struct virtio_device *virtio, size_t offset, const void *buffer, size_t size)
{
	struct user_device *device = device_of(virtio);

	if (device->type->local || !range_contains(0, device->config_size, offset, size))
		return;
	if (!vhost_user_write_config(device->user, offset, buffer, size))
		config_fetch(device);
}

static void device_config_changed(void *opaque)
{
	struct user_device *device = opaque;

	if (config_fetch(device))
		virtio_config_changed(&device->base.virtio);
}

static const struct vhost_user_client device_client = { .config_changed = device_config_changed };

/* ---- as a virtio device ---- */

/* Rings are saved by the core; there is nothing else here, and what a daemon knows can't be asked for. */
static void device_save(struct virtio_device *virtio, struct state_writer *writer)
{
	if (device_of(virtio)->type->keeps && virtio->running && !writer->error)
		writer->error = log_error(EOPNOTSUPP, "%s: what its daemon knows of the guest can't be saved", virtio->device.name);
}

#define USER_OPS(id_, class_, config_) {							\
	.name = "vhost-user", .id = (id_), .class_code = (class_), .queues = 1, .config_size = (config_),	\
	.handle_queue = vhost_device_handle_queue, .config_read = device_config_read,		\
	.config_write = device_config_write, .start = vhost_device_start,			\
	.interrupts_moved = vhost_device_interrupts_moved, .reset = vhost_device_reset,		\
	.quiesce = vhost_device_quiesce, .resume = vhost_device_resume, .save = device_save }

static const struct user_type user_types[] = {
	{ .name = "blk", .more = true, .least = 24, .mq_feature = VIRTIO_BLK_F_MQ,
	  .ops = USER_OPS(VIRTIO_ID_BLOCK, 0x010000, sizeof(struct virtio_blk_config)) },
	{ .name = "fs", .fixed = 1, .more = true, .local = true, .keeps = true,
	  .ops = USER_OPS(VIRTIO_ID_FS, 0x018000, FS_TAG_SIZE + 4) },
	{ .name = "scsi", .fixed = 2, .more = true, .least = sizeof(struct virtio_scsi_config),
	  .ops = USER_OPS(VIRTIO_ID_SCSI, 0x010000, sizeof(struct virtio_scsi_config)) },
	{ .name = "rng", .fixed = 1, .ops = USER_OPS(VIRTIO_ID_RNG, 0x00ff00, 0) },
	{ .name = "gpio", .fixed = 2, .keeps = true, .least = GPIO_CONFIG, .ops = USER_OPS(VIRTIO_ID_GPIO, 0x00ff00, GPIO_CONFIG) },
	{ .name = "i2c", .fixed = 1, .keeps = true, .ops = USER_OPS(VIRTIO_ID_I2C_ADAPTER, 0x0c8000, 0) },
	{ .name = "input", .fixed = 2, .least = sizeof(struct virtio_input_config),
	  .ops = USER_OPS(VIRTIO_ID_INPUT, 0x098000, sizeof(struct virtio_input_config)) },
	{ .name = "sound", .fixed = 4, .keeps = true, .least = sizeof(struct virtio_snd_config),
	  .ops = USER_OPS(VIRTIO_ID_SOUND, 0x040100, sizeof(struct virtio_snd_config)) },
	{ .name = "vsock", .fixed = 3, .keeps = true, .least = 8, .ops = USER_OPS(VIRTIO_ID_VSOCK, 0x078000, 8) },
	{ .name = "console", .fixed = 2, .least = 4,
	  .ops = USER_OPS(VIRTIO_ID_CONSOLE, 0x078000, sizeof(struct virtio_console_config)) },
	{ .name = "scmi", .fixed = 2, .keeps = true, .ops = USER_OPS(VIRTIO_ID_SCMI, 0x00ff00, 0) },
	{ .name = "can", .fixed = 3, .keeps = true, .least = CAN_CONFIG, .ops = USER_OPS(VIRTIO_ID_CAN, 0x0c0900, CAN_CONFIG) },
};

static const struct user_type *type_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(user_types); i++)
		if (!strcmp(user_types[i].name, name))
			return &user_types[i];
	return NULL;
}

/* ---- making them ---- */

static int type_unknown(const char *name)
{
	char known[160];
	size_t length = 0;

	for (size_t i = 0; i < ARRAY_SIZE(user_types); i++)
		length += (size_t)snprintf(known + length, sizeof(known) - length, ", %s", user_types[i].name);
	return log_error(EUSAGE, "option --vhost-user: no type is called '%s' (known: %s; for net: -n mode=vhost-user)", name, known + 2);
}

static int device_queues(struct user_device *device, const struct user_option *option)
{
	const struct user_type *type = device->type;
	unsigned int most = vhost_user_queues(device->user);

	device->base.virtio.queue_count = type->fixed + (type->more ? MAX(option->queues, 1U) : 0);
	if (option->queues > 1 && !type->more)
		return log_error(EUSAGE, "option --vhost-user: type=%s has no queues=", type->name);
	if (device->base.virtio.queue_count > most)
		return log_error(EUSAGE, "option --vhost-user: %s: its daemon has %u queues, not %u", option->path, most,
				 device->base.virtio.queue_count);
	return 0;
}

static void device_features(struct user_device *device)
{
	uint64_t features = device->base.vhost->features;

	if (device->type->mq_feature && device->base.virtio.queue_count == device->type->fixed + 1)
		features &= ~BIT(device->type->mq_feature);
	device->base.virtio.features_offered = features;
	device->base.virtio.features_refused = ~features;
}

static void device_free(struct user_device *device)
{
	virtio_device_del(&device->base.virtio);
	vhost_close(device->base.vhost);
	event_loop_destroy(device->loop);
	pthread_mutex_destroy(&device->config_lock);
	free(device);
}

static void device_local_config(struct user_device *device, const struct user_option *option)
{
	const uint32_t queues = htole32(device->base.virtio.queue_count - device->type->fixed);

	memcpy(device->config, option->tag, strlen(option->tag));
	memcpy(device->config + FS_TAG_SIZE, &queues, sizeof(queues));
}

static int device_make(struct kvm *kvm, struct user_device *device, const struct user_option *option, size_t index)
{
	int result = event_loop_create(&device->loop, "vhost");

	if (!result)
		result = vhost_user_open(&device->user, option->path, -1, device->loop, &device_client, device);
	if (result)
		return result;
	device->base.vhost = vhost_user_base(device->user);
	result = device_queues(device, option);
	if (!result)
		result = config_first(device);
	if (result)
		return result;
	if (device->type->local)
		device_local_config(device, option);
	device_features(device);
	device->base.virtio.loop = device->loop;
	result = virtio_device_add(kvm, &device->base.virtio, &device->type->ops, "vhost-user-%s%zu", device->type->name, index);
	if (!result)
		result = vhost_attach(device->base.vhost, &device->base.virtio, 0, device->base.virtio.queue_count);
	return result ? result : event_loop_start_thread(device->loop);
}

static int user_device_add(struct kvm *kvm, const struct user_option *option, void *opaque)
{
	struct user_device **first = opaque, *device;
	const struct user_type *type = type_find(option->type);
	size_t index = 0;
	int result;

	if (!type)
		return type_unknown(option->type);
	if (strlen(option->tag) > FS_TAG_SIZE || (type->local && !*option->tag))
		return log_error(EUSAGE, "option --vhost-user: type=%s needs tag= with 1 to %d bytes", type->name, FS_TAG_SIZE);
	for (device = *first; device; device = device->next)
		index += device->type == type;
	device = calloc(1, sizeof(*device));
	if (!device)
		return log_errno(ENOMEM, "--vhost-user");
	device->type = type;
	pthread_mutex_init(&device->config_lock, NULL);
	result = device_make(kvm, device, option, index);
	if (result) {
		device_free(device);
		return result;
	}
	device->next = *first;
	*first = device;
	return 0;
}

static void devices_free(struct user_device *device)
{
	for (struct user_device *next; device; device = next) {
		next = device->next;
		device_free(device);
	}
}

static void user_devices_exit(struct kvm *kvm)
{
	struct user_device *first = kvm_get_state(kvm, user_devices_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, user_devices_key, NULL))
		devices_free(first);
}

static int user_devices_init(struct kvm *kvm)
{
	struct user_device *first = NULL;
	int result = user_options_each(kvm, user_device_add, &first);

	if (!result && !first)
		return INIT_SKIP;
	if (!result)
		result = kvm_set_state(kvm, user_devices_key, first);
	if (result)
		devices_free(first);
	return result;
}
virtio_dev_init(user_devices_init);
virtio_dev_exit(user_devices_exit);
