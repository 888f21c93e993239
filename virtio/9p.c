/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-9p: folders of the host for the guest (VirtIO 1.3, 5.16; the protocol is 9P2000.L).
 *
 * A device is one share on one queue. Its calls are carried out by a pool of threads of its own, several at once and
 * in no order, as the protocol allows: a file system that hangs keeps up its own share's calls and nothing else. What
 * is in the host's page cache is read at once on the event loop that all shares have, which never waits. Only Tversion
 * runs alone, since it ends all that was before.
 */
#include "virtio/9p.h"

#include <linux/virtio_9p.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

#define QUEUE_SIZE	128
#define POOL_THREADS	8
#define RFLUSH		109

static const char nine_key[] = "virtio-9p";

/* ---- calls ---- */

static struct nine_call *call_take(struct nine *nine)
{
	struct nine_call *call = nine->spare;

	if (call)
		nine->spare = call->next;
	else
		call = malloc(sizeof(*call));
	return call;
}

static void call_link(struct nine *nine, struct nine_call *call)
{
	call->next = nine->in_flight;
	call->link = &nine->in_flight;
	if (call->next)
		call->next->link = &call->next;
	nine->in_flight = call;
}

static void call_unlink(struct nine_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
}

/* Gives the reply, and the call, back. */
static void call_push(struct nine_call *call)
{
	struct nine *nine = call->nine;

	virtqueue_push(call->vq, call->req, call->written);
	call->next = nine->spare;
	nine->spare = call;
}

/* A reply without contents. */
static void call_acknowledge(struct nine_call *call)
{
	const struct { le32 size; uint8_t type; uint8_t tag[2]; } __packed reply = {
		le32_of(NINE_HEADER), RFLUSH, { (uint8_t)call->tag, (uint8_t)(call->tag >> 8) },
	};

	_Static_assert(sizeof(reply) == NINE_HEADER, "size[4] type[1] tag[2]");
	call->written = (uint32_t)virtio_request_write(call->req, 0, &reply, sizeof(reply));
	call_push(call);
}

static void nine_call_run(struct call *base)
{
	struct nine_call *call = container_of(base, struct nine_call, call);

	call->may_block = true;
	nine_run(call);
}

/* A call is over: so are the Tflushes that waited for it. */
static void nine_call_finish(struct call *base)
{
	struct nine_call *call = container_of(base, struct nine_call, call), *flush = call->flushes, *next;
	struct nine *nine = call->nine;

	call_unlink(call);
	if (nine->version == call)
		nine->version = NULL;
	call_push(call);
	for (; flush; flush = next) {
		next = flush->next;
		call_acknowledge(flush);
	}
}

/* A Tversion runs once it is the only call. */
static void version_run(struct nine *nine)
{
	if (!nine->version || nine->version_runs || nine->calls.flights)
		return;
	nine->version_runs = true;
	calls_submit(&nine->calls, &nine->version->call);
}

static void nine_call_batch(struct calls *calls)
{
	struct nine *nine = container_of(calls, struct nine, calls);

	virtqueue_flush(&nine->device.queues[0]);
	version_run(nine);
	if (!nine->stopped || nine->version || !nine->device.running)
		return;
	nine->stopped = false;
	virtio_kick(&nine->device, 0);
}

static const struct calls_ops nine_calls_ops = {
	.run = nine_call_run, .finish = nine_call_finish, .batch = nine_call_batch,
};

/* ---- requests ---- */

static struct nine_call *call_find(struct nine *nine, uint16_t tag)
{
	struct nine_call *call = nine->in_flight;

	while (call && call->tag != tag)
		call = call->next;
	return call;
}

/* Nothing is aborted: the answer comes behind that of the call which it is about. */
static void call_flush(struct nine_call *call)
{
	uint8_t body[2] = { 0 };
	struct nine_call *about = NULL;

	if (virtio_request_read(call->req, NINE_HEADER, body, sizeof(body)) == sizeof(body))
		about = call_find(call->nine, (uint16_t)(body[0] | body[1] << 8));
	if (!about) {
		call_acknowledge(call);
		return;
	}
	call->next = about->flushes;
	about->flushes = call;
}

static void call_start(struct nine_call *call)
{
	struct nine *nine = call->nine;

	if (call->type == NINE_TFLUSH) {
		call_flush(call);
		return;
	}
	if (call->type == NINE_TREAD && nine_run(call) == 0) {
		call_push(call);
		return;
	}
	call_link(nine, call);
	if (call->type != NINE_TVERSION) {
		calls_submit(&nine->calls, &call->call);
		return;
	}
	nine->version = call;
	nine->version_runs = false;
	version_run(nine);
}

/* Takes the header, which must be there, and whose size must be that of what follows. */
static int call_read_header(struct nine_call *call)
{
	uint8_t bytes[NINE_HEADER];
	struct nine_in in = { .data = bytes, .length = sizeof(bytes) };

	if (virtio_request_read(call->req, 0, bytes, sizeof(bytes)) != sizeof(bytes))
		return virtqueue_fail(call->vq, "a 9p message without a header");
	if (call->req->writable_bytes < NINE_IO_HEADER)
		return virtqueue_fail(call->vq, "a 9p message without room for an answer");
	call->size = nine_get32(&in);
	call->type = nine_get8(&in);
	call->tag = nine_get16(&in);
	/* Too short or too long for what was sent: no message that there is, which nine_run() says. */
	if (call->size < NINE_HEADER || call->size > call->req->readable_bytes) {
		call->size = NINE_HEADER;
		call->type = 0;
	}
	return 0;
}

static int nine_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct nine *nine = container_of(device, struct nine, device);
	struct nine_call *call = nine->version ? NULL : call_take(nine);

	if (!call) {
		nine->stopped = true;
		virtqueue_unpop(vq, req);
		return 0;
	}
	*call = (struct nine_call){ .nine = nine, .vq = vq, .req = req };
	if (call_read_header(call)) {
		call_push(call);
		return 1;
	}
	call_start(call);
	return 1;
}

static void nine_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	virtio_process(device, vq, nine_handle);
}

/* ---- the device ---- */

static void nine_reset(struct virtio_device *device)
{
	struct nine *nine = container_of(device, struct nine, device);
	struct nine_call *call;

	calls_drain(&nine->calls);
	nine->stopped = false;
	nine_fids_clear(nine);
	atomic_store(&nine->msize, 0);
	while ((call = nine->spare)) {
		nine->spare = call->next;
		free(call);
	}
}

static int nine_quiesce(struct virtio_device *device)
{
	calls_drain(&container_of(device, struct nine, device)->calls);
	return 0;
}

static void nine_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	memcpy(buffer, (char *)&container_of(device, struct nine, device)->config + offset, size);
}

static void nine_save_op(struct virtio_device *device, struct state_writer *writer)
{
	nine_save(container_of(device, struct nine, device), writer);
}

static int nine_load_op(struct virtio_device *device, struct state_reader *reader)
{
	return nine_load(container_of(device, struct nine, device), reader);
}

static const struct virtio_device_ops nine_ops = {
	.name		= "virtio-9p",
	.id		= VIRTIO_ID_9P,
	.class_code	= 0x018000,
	.queues		= 1,
	.queue_size	= QUEUE_SIZE,
	.config_size	= sizeof(struct nine_config),
	.handle_queue	= nine_handle_queue,
	.config_read	= nine_config_read,
	.reset		= nine_reset,
	.quiesce	= nine_quiesce,
	.save		= nine_save_op,
	.load		= nine_load_op,
};

static void nine_free(struct nine *nine)
{
	calls_exit(&nine->calls);
	share_close(nine->share);
	pthread_mutex_destroy(&nine->lock);
	free(nine);
}

static struct nine *nine_new(const struct kvm *kvm, const char *tag)
{
	struct nine *nine = calloc(1, sizeof(*nine));

	if (!nine)
		return NULL;
	pthread_mutex_init(&nine->lock, NULL);
	nine->device.loop = shares_loop(kvm);
	nine->handles_max = shares_handles(kvm);
	nine->device.features_offered = BIT(VIRTIO_9P_MOUNT_TAG);
	nine->config.length = le16_of((uint16_t)strlen(tag));
	memcpy(nine->config.tag, tag, strlen(tag));
	return nine;
}

static int nine_add(struct kvm *kvm, struct nine **first, const char *option, const struct share_options *options, unsigned int index)
{
	struct nine *nine;
	int result;

	for (nine = *first; nine; nine = nine->next)
		if (strlen(options->tag) == le16_get(nine->config.length) && !memcmp(options->tag, nine->config.tag, strlen(options->tag)))
			return log_error(EUSAGE, "option --%s: two shares have the tag '%s'", option, options->tag);
	if (strlen(options->tag) > NINE_TAG_MAX)
		return log_error(EUSAGE, "option --%s: a tag of more than %u bytes", option, NINE_TAG_MAX);
	nine = nine_new(kvm, options->tag);
	if (!nine)
		return log_errno(ENOMEM, "--%s", option);
	result = share_open(&nine->share, option, options);
	if (!result) {
		result = calls_init(&nine->calls, &nine_calls_ops, nine->device.loop, "9p", POOL_THREADS, share_thread_enter);
		if (result)
			log_errno(result, "--%s", option);
	}
	if (!result)
		result = virtio_device_add(kvm, &nine->device, &nine_ops, "virtio-9p%u", index);
	if (result) {
		nine_free(nine);
		return result;
	}
	nine->next = *first;
	*first = nine;
	return 0;
}

static int nine_add_option(struct kvm *kvm, struct nine **first, const char *option, const char *text, const char *tag,
			   unsigned int index)
{
	struct share_options options;
	int result = share_options_parse(&options, option, text, tag);

	if (result)
		return result;
	result = nine_add(kvm, first, option, &options, index);
	share_options_free(&options);
	return result;
}

static int nines_add_all(struct kvm *kvm, struct nine **first)
{
	const char *root = share_root_option(kvm->config);
	unsigned int index = 0;
	int result = 0;

	if (root)
		result = nine_add_option(kvm, first, "disk", root, SHARE_ROOT_TAG, index++);
	for (size_t i = 0; i < config_count(kvm->config, "9p") && !result; i++)
		result = nine_add_option(kvm, first, "9p", config_item(kvm->config, "9p", i), NULL, index++);
	return result;
}

static void nines_free(struct nine *nine)
{
	for (struct nine *next; nine; nine = next) {
		next = nine->next;
		virtio_device_del(&nine->device);
		nine_free(nine);
	}
}

static void nine_exit(struct kvm *kvm)
{
	struct nine *first = kvm_get_state(kvm, nine_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, nine_key, NULL))
		nines_free(first);
}

static int nine_init(struct kvm *kvm)
{
	struct nine *first = NULL;
	int result;

	if (!config_count(kvm->config, "9p") && !share_root_option(kvm->config))
		return INIT_SKIP;
	result = nines_add_all(kvm, &first);
	if (!result)
		result = kvm_set_state(kvm, nine_key, first);
	if (result)
		nines_free(first);
	return result;
}

static const struct option_def nine_options[] = {
	{ .name = "9p", .type = OPTION_LIST, .argument = "DIR,TAG[,ro][,security=none|passthrough|mapped][,map=UID[:GID]]",
	  .help = "Share a folder over 9p: the guest mounts it as TAG; repeat for more" },
};
RUN_OPTIONS(nine_options_group, "Basic options", nine_options);

virtio_dev_init(nine_init);
virtio_dev_exit(nine_exit);
