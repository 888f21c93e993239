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
#include <sys/resource.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

#define QUEUE_SIZE	128
#define POOL_THREADS	8
#define RFLUSH		109
#define FDS_KEPT	512UL		/* for everything but shares */
#define HANDLES_MAX	262144U

static const char nine_key[] = "virtio-9p";

struct nines {
	struct event_loop *loop;
	struct nine *first;
};

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
	nine->flights++;
}

static void call_unlink(struct nine *nine, struct nine_call *call)
{
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	nine->flights--;
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

/* A call is over: so are the Tflushes that waited for it. */
static void call_finish(struct nine_call *call)
{
	struct nine *nine = call->nine;
	struct nine_call *flush = call->flushes, *next;

	call_unlink(nine, call);
	if (nine->version == call)
		nine->version = NULL;
	call_push(call);
	for (; flush; flush = next) {
		next = flush->next;
		call_acknowledge(flush);
	}
}

/* On a thread of the pool. */
static void call_run(struct pool_job *job)
{
	struct nine_call *call = container_of(job, struct nine_call, job);
	struct nine *nine = call->nine;

	call->may_block = true;
	nine_run(call);
	pthread_mutex_lock(&nine->done_lock);
	call->done_next = NULL;
	*nine->done_tail = call;
	nine->done_tail = &call->done_next;
	pthread_cond_signal(&nine->any_done);
	pthread_mutex_unlock(&nine->done_lock);
	event_work_post(&nine->finished);
}

static struct nine_call *done_take(struct nine *nine, bool wait)
{
	struct nine_call *done;

	pthread_mutex_lock(&nine->done_lock);
	while (wait && !nine->done)
		pthread_cond_wait(&nine->any_done, &nine->done_lock);
	done = nine->done;
	nine->done = NULL;
	nine->done_tail = &nine->done;
	pthread_mutex_unlock(&nine->done_lock);
	return done;
}

/* A Tversion runs once it is the only call. */
static void version_run(struct nine *nine)
{
	if (!nine->version || nine->version_runs || nine->flights > 1)
		return;
	nine->version_runs = true;
	pool_submit(nine->pool, &nine->version->job);
}

static void calls_finish(struct nine *nine, bool wait)
{
	struct nine_call *call = done_take(nine, wait), *next;
	struct virtqueue *vq = call ? call->vq : NULL;

	for (; call; call = next) {
		next = call->done_next;
		call_finish(call);
	}
	if (vq)
		virtqueue_flush(vq);
	version_run(nine);
}

static void nine_finished(struct event_work *work)
{
	struct nine *nine = container_of(work, struct nine, finished);
	bool waited = nine->version;

	calls_finish(nine, false);
	/* What came behind the Tversion. */
	if (waited && !nine->version && nine->device.running)
		virtio_kick(&nine->device, 0);
}

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
	call_link(nine, call);
	if (call->type == NINE_TVERSION) {
		nine->version = call;
		nine->version_runs = false;
		version_run(nine);
	} else if (call->type == NINE_TREAD && nine_run(call) == 0) {
		call_finish(call);
	} else {
		pool_submit(nine->pool, &call->job);
	}
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
		virtqueue_unpop(vq, req);
		return 0;
	}
	*call = (struct nine_call){ .job.run = call_run, .nine = nine, .vq = vq, .req = req };
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

static void nine_drain(struct nine *nine)
{
	while (nine->flights)
		calls_finish(nine, true);
}

static void nine_reset(struct virtio_device *device)
{
	struct nine *nine = container_of(device, struct nine, device);
	struct nine_call *call;

	nine_drain(nine);
	nine_fids_clear(nine);
	atomic_store(&nine->msize, 0);
	while ((call = nine->spare)) {
		nine->spare = call->next;
		free(call);
	}
}

static int nine_quiesce(struct virtio_device *device)
{
	nine_drain(container_of(device, struct nine, device));
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
	/* Waits for the threads, which may still be about to post the work. */
	pool_destroy(nine->pool);
	event_work_cancel(&nine->finished);
	share_close(nine->share);
	pthread_cond_destroy(&nine->any_done);
	pthread_mutex_destroy(&nine->done_lock);
	pthread_mutex_destroy(&nine->lock);
	free(nine);
}

static struct nine *nine_new(struct event_loop *loop, const char *tag)
{
	struct nine *nine = calloc(1, sizeof(*nine));

	if (!nine)
		return NULL;
	pthread_mutex_init(&nine->lock, NULL);
	pthread_mutex_init(&nine->done_lock, NULL);
	pthread_cond_init(&nine->any_done, NULL);
	nine->done_tail = &nine->done;
	nine->device.loop = loop;
	nine->device.features_offered = BIT(VIRTIO_9P_MOUNT_TAG);
	event_work_init(loop, &nine->finished, nine_finished);
	nine->config.length = le16_of((uint16_t)strlen(tag));
	memcpy(nine->config.tag, tag, strlen(tag));
	return nine;
}

static int nine_add(struct kvm *kvm, struct nines *nines, const char *option, const struct share_options *options, unsigned int index)
{
	struct nine *nine;
	int result;

	for (nine = nines->first; nine; nine = nine->next)
		if (strlen(options->tag) == le16_get(nine->config.length) && !memcmp(options->tag, nine->config.tag, strlen(options->tag)))
			return log_error(EUSAGE, "option --%s: two shares have the tag '%s'", option, options->tag);
	if (strlen(options->tag) > NINE_TAG_MAX)
		return log_error(EUSAGE, "option --%s: a tag of more than %u bytes", option, NINE_TAG_MAX);
	nine = nine_new(nines->loop, options->tag);
	if (!nine)
		return log_errno(ENOMEM, "--%s", option);
	result = share_open(&nine->share, option, options);
	if (!result) {
		result = pool_create(&nine->pool, "9p", POOL_THREADS, share_thread_enter);
		if (result)
			log_errno(result, "--%s", option);
	}
	if (!result)
		result = virtio_device_add(kvm, &nine->device, &nine_ops, "virtio-9p%u", index);
	if (result) {
		nine_free(nine);
		return result;
	}
	nine->next = nines->first;
	nines->first = nine;
	return 0;
}

static int nine_add_option(struct kvm *kvm, struct nines *nines, const char *option, const char *text, const char *tag, unsigned int index)
{
	struct share_options options;
	int result = share_options_parse(&options, option, text, tag);

	if (result)
		return result;
	result = nine_add(kvm, nines, option, &options, index);
	share_options_free(&options);
	return result;
}

static int nines_add_all(struct kvm *kvm, struct nines *nines)
{
	const char *root = share_root_option(kvm->config);
	unsigned int index = 0;
	int result = 0;

	if (root)
		result = nine_add_option(kvm, nines, "disk", root, SHARE_ROOT_TAG, index++);
	for (size_t i = 0; i < config_count(kvm->config, "9p") && !result; i++)
		result = nine_add_option(kvm, nines, "9p", config_item(kvm->config, "9p", i), NULL, index++);
	return result;
}

/* A guest's fid keeps a file open; each share has its part of what the host allows the process. */
static void handles_allot(struct nines *nines)
{
	struct rlimit limit;
	rlim_t shares = 0;
	rlim_t each = 0;

	for (struct nine *nine = nines->first; nine; nine = nine->next)
		shares++;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur > 2 * FDS_KEPT)
		each = (limit.rlim_cur - FDS_KEPT) / MAX(shares, (rlim_t)1);
	for (struct nine *nine = nines->first; nine; nine = nine->next)
		nine->handles_max = (size_t)MAX(MIN(each, (rlim_t)HANDLES_MAX), (rlim_t)128);
}

static void nines_free(struct nines *nines)
{
	struct nine *nine;

	while ((nine = nines->first)) {
		nines->first = nine->next;
		virtio_device_del(&nine->device);
		nine_free(nine);
	}
	event_loop_destroy(nines->loop);
	free(nines);
}

static void nine_exit(struct kvm *kvm)
{
	struct nines *nines = kvm_get_state(kvm, nine_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, nine_key, NULL))
		nines_free(nines);
}

static int nine_init(struct kvm *kvm)
{
	struct nines *nines;
	int result;

	if (!config_count(kvm->config, "9p") && !share_root_option(kvm->config))
		return INIT_SKIP;
	nines = calloc(1, sizeof(*nines));
	if (!nines)
		return log_errno(ENOMEM, "virtio-9p");
	result = event_loop_create(&nines->loop, "share");
	if (!result)
		result = event_loop_start_thread(nines->loop);
	if (!result)
		result = nines_add_all(kvm, nines);
	if (!result) {
		handles_allot(nines);
		result = kvm_set_state(kvm, nine_key, nines);
	}
	if (result)
		nines_free(nines);
	return result;
}

static const struct option_def nine_options[] = {
	{ .name = "9p", .type = OPTION_LIST, .argument = "DIR,TAG[,ro][,security=none|passthrough|mapped][,map=UID[:GID]]",
	  .help = "Share a folder over 9p: the guest mounts it as TAG; repeat for more" },
};
RUN_OPTIONS(nine_options_group, "Basic options", nine_options);

virtio_dev_init(nine_init);
virtio_dev_exit(nine_exit);
