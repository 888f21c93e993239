/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-fs: folders of the host for the guest (VirtIO 1.3, 5.11; the protocol is FUSE, version 7.31 and later).
 *
 * A device is one share on two queues: what the guest forgets comes on the first, all else on the second. Its calls are
 * carried out by a pool of threads of its own, several at once and in no order; what is in the host's page cache is read
 * at once on the event loop that all shares have, which never waits.
 */
#include "virtio/fs.h"

#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/vhost-option.h"

#define QUEUE_SIZE	512
#define POOL_THREADS	8

static const char fs_key[] = "virtio-fs";

/* ---- calls ---- */

static struct fs_call *call_take(struct fs *fs)
{
	struct fs_call *call = fs->spare;

	if (call)
		fs->spare = call->next;
	else
		call = malloc(sizeof(*call));
	return call;
}

/* Gives the reply, and the call, back. */
static void call_push(struct fs_call *call)
{
	struct fs *fs = call->fs;

	virtqueue_push(call->vq, call->req, call->written);
	call->next = fs->spare;
	fs->spare = call;
}

static void fs_call_run(struct call *base)
{
	struct fs_call *call = container_of(base, struct fs_call, call);

	call->may_block = true;
	fs_run(call);
}

static void fs_call_finish(struct call *base)
{
	call_push(container_of(base, struct fs_call, call));
}

static void fs_call_batch(struct calls *calls)
{
	struct fs *fs = container_of(calls, struct fs, calls);
	bool again = fs->stopped && fs->device.running;

	fs->stopped = false;
	for (unsigned int i = 0; i < fs->device.queue_count; i++) {
		virtqueue_flush(&fs->device.queues[i]);
		if (again)
			virtio_kick(&fs->device, i);
	}
}

static const struct calls_ops fs_calls_ops = {
	.run = fs_call_run, .finish = fs_call_finish, .batch = fs_call_batch,
};

/* ---- requests ---- */

/* Takes the header, which must be there, and whose length must be that of what follows. */
static int call_read_header(struct fs_call *call)
{
	struct fuse_in_header *header = &call->header;

	if (virtio_request_read(call->req, 0, header, sizeof(*header)) != sizeof(*header))
		return virtqueue_fail(call->vq, "a FUSE message without a header");
	call->silent = header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET;
	if (!call->silent && call->req->writable_bytes < FS_HEADER)
		return virtqueue_fail(call->vq, "a FUSE message without room for an answer");
	/* Too short or too long for what was sent: no message that there is, which fs_run() says. */
	if (header->len < sizeof(*header) || header->len > call->req->readable_bytes) {
		header->len = sizeof(*header);
		header->opcode = UINT32_MAX;
	}
	return 0;
}

static int fs_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct fs *fs = container_of(device, struct fs, device);
	struct fs_call *call = call_take(fs);

	if (!call) {
		fs->stopped = true;
		virtqueue_unpop(vq, req);
		return 0;
	}
	*call = (struct fs_call){ .fs = fs, .vq = vq, .req = req };
	if (call_read_header(call) || (call->header.opcode == FUSE_READ && fs_run(call) == 0))
		call_push(call);
	else
		calls_submit(&fs->calls, &call->call);
	return 1;
}

static void fs_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	virtio_process(device, vq, fs_handle);
}

/* ---- the device ---- */

static void fs_reset(struct virtio_device *device)
{
	struct fs *fs = container_of(device, struct fs, device);
	struct fs_call *call;

	calls_drain(&fs->calls);
	fs->stopped = false;
	fs_session_end(fs);
	while ((call = fs->spare)) {
		fs->spare = call->next;
		free(call);
	}
}

static int fs_quiesce(struct virtio_device *device)
{
	calls_drain(&container_of(device, struct fs, device)->calls);
	return 0;
}

static void fs_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	memcpy(buffer, (char *)&container_of(device, struct fs, device)->config + offset, size);
}

static void fs_save_op(struct virtio_device *device, struct state_writer *writer)
{
	fs_save(container_of(device, struct fs, device), writer);
}

static int fs_load_op(struct virtio_device *device, struct state_reader *reader)
{
	return fs_load(container_of(device, struct fs, device), reader);
}

static const struct virtio_device_ops fs_device_ops = {
	.name		= "virtio-fs",
	.id		= VIRTIO_ID_FS,
	.class_code	= 0x018000,
	.queues		= 2,
	.queue_size	= QUEUE_SIZE,
	.config_size	= sizeof(struct fs_config),
	.handle_queue	= fs_handle_queue,
	.config_read	= fs_config_read,
	.reset		= fs_reset,
	.quiesce	= fs_quiesce,
	.save		= fs_save_op,
	.load		= fs_load_op,
};

static void fs_free(struct fs *fs)
{
	calls_exit(&fs->calls);
	share_close(fs->share);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}

static struct fs *fs_new(const struct kvm *kvm, const char *tag)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	pthread_mutex_init(&fs->lock, NULL);
	fs->device.loop = shares_loop(kvm);
	fs->handles_max = shares_handles(kvm);
	fs->config.request_queues = le32_of(1);
	memcpy(fs->config.tag, tag, strlen(tag));
	return fs;
}

static int check_tag(const struct fs *first, const char *tag)
{
	if (strlen(tag) > FS_TAG_MAX)
		return log_error(EUSAGE, "option --fs: the tag '%s' has more than %u bytes", tag, FS_TAG_MAX);
	for (; first; first = first->next)
		if (strncmp(tag, first->config.tag, FS_TAG_MAX) == 0)
			return log_error(EUSAGE, "option --fs: two shares have the tag '%s'", tag);
	return 0;
}

static int fs_add(struct kvm *kvm, struct fs **first, const struct share_options *options, size_t index)
{
	int result = check_tag(*first, options->tag);
	struct fs *fs;

	if (result)
		return result;
	fs = fs_new(kvm, options->tag);
	if (!fs)
		return log_errno(ENOMEM, "--fs");
	result = share_open(&fs->share, "fs", options);
	if (!result) {
		result = calls_init(&fs->calls, &fs_calls_ops, fs->device.loop, "fs", POOL_THREADS, share_thread_enter);
		if (result)
			log_errno(result, "--fs");
	}
	if (!result)
		result = virtio_device_add(kvm, &fs->device, &fs_device_ops, "virtio-fs%zu", index);
	if (result) {
		fs_free(fs);
		return result;
	}
	fs->next = *first;
	*first = fs;
	return 0;
}

static int fs_add_option(struct kvm *kvm, struct fs **first, size_t index)
{
	const char *text = config_item(kvm->config, "fs", index);
	struct share_options options;
	int result;

	if (fs_is_vhost_user(text))
		return 0;
	result = share_options_parse(&options, "fs", text, NULL);
	if (result)
		return result;
	result = fs_add(kvm, first, &options, index);
	share_options_free(&options);
	return result;
}

static void fs_free_all(struct fs *fs)
{
	for (struct fs *next; fs; fs = next) {
		next = fs->next;
		virtio_device_del(&fs->device);
		fs_free(fs);
	}
}

static void fs_exit(struct kvm *kvm)
{
	struct fs *first = kvm_get_state(kvm, fs_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, fs_key, NULL))
		fs_free_all(first);
}

static int fs_init(struct kvm *kvm)
{
	struct fs *first = NULL;
	int result = 0;

	if (!config_count(kvm->config, "fs"))
		return INIT_SKIP;
	for (size_t i = 0; i < config_count(kvm->config, "fs") && !result; i++)
		result = fs_add_option(kvm, &first, i);
	if (!result)
		result = kvm_set_state(kvm, fs_key, first);
	if (result)
		fs_free_all(first);
	return result;
}

static const struct option_def fs_options[] = {
	{ .name = "fs", .type = OPTION_LIST, .argument = "DIR,TAG[,ro][,security=none|passthrough|mapped][,map=UID[:GID]]|TAG,socket=PATH",
	  .help = "Share a folder by virtio-fs: the guest mounts it as TAG; repeat for more" },
};
RUN_OPTIONS(fs_options_group, "Basic options", fs_options);

virtio_dev_init(fs_init);
virtio_dev_exit(fs_exit);
