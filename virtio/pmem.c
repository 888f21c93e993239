/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-pmem: a file of the host as the guest's persistent memory (VirtIO 1.3, 5.19).
 *
 * The guest reads and writes it as memory, without an exit (virtio/pmem-file.c). The device says where it is, and has
 * one queue for one request: that all of it be on the medium. That blocks, so threads of the device's own do it.
 */
#include <linux/virtio_pmem.h>
#include <string.h>

#include "kvm/calls.h"
#include "kvm/log.h"
#include "kvm/virtio.h"
#include "virtio/pmem.h"

#define PMEM_THREADS	2
#define PMEM_FAILED	1		/* 5.19.6.1: anything but 0 */

static const char pmem_key[] = "virtio-pmem";

struct pmem {
	struct virtio_device device;
	const struct pmem_file *file;
	struct calls calls;
	struct pmem_flush *pool;
	uint64_t start, size;		/* as in its config; saved, so that a state finds the memory it left */
	struct pmem *next;
};

struct pmem_flush {
	struct call call;
	struct pmem *pmem;
	struct virtio_request *req;
	int result;
	struct pmem_flush *next;
};

/* ---- flushes ---- */

static void flush_run(struct call *call)
{
	struct pmem_flush *flush = container_of(call, struct pmem_flush, call);
	const struct pmem_file *file = flush->pmem->file;

	/* what was written through the mapping is the file's, unless it was cut short, which nobody may have met yet */
	flush->result = fdatasync(file->file->fd) ? -errno : 0;
	file_memory_mend();
	if (file_memory_kept(&file->memory) != file->size)
		flush->result = -EIO;
}

static void flush_respond(struct pmem *pmem, struct virtio_request *req, bool failed)
{
	const struct virtio_pmem_resp response = { .ret = htole32(failed ? PMEM_FAILED : 0) };

	virtqueue_push(&pmem->device.queues[0], req, (uint32_t)virtio_request_write(req, 0, &response, sizeof(response)));
}

static void flush_finish(struct call *call)
{
	struct pmem_flush *flush = container_of(call, struct pmem_flush, call);
	struct pmem *pmem = flush->pmem;

	if (flush->result)
		log_guest(&pmem->device.log_limit, "%s: '%s' can't be flushed: %s", pmem->device.device.name, pmem->file->file->path,
			  strerrordesc_np(-flush->result));
	flush_respond(pmem, flush->req, flush->result);
	flush->next = pmem->pool;
	pmem->pool = flush;
}

static void flush_batch(struct calls *calls)
{
	virtqueue_flush(&container_of(calls, struct pmem, calls)->device.queues[0]);
}

static const struct calls_ops pmem_calls_ops = { .run = flush_run, .finish = flush_finish, .batch = flush_batch };

static struct pmem_flush *flush_take(struct pmem *pmem)
{
	struct pmem_flush *flush = pmem->pool;

	if (flush)
		pmem->pool = flush->next;
	else
		flush = malloc(sizeof(*flush));
	return flush;
}

static int pmem_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct pmem *pmem = container_of(device, struct pmem, device);
	struct virtio_pmem_req header;
	struct pmem_flush *flush;

	if (virtio_request_read(req, 0, &header, sizeof(header)) != sizeof(header) ||
	    req->writable_bytes < sizeof(struct virtio_pmem_resp)) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a request without type or response");
		return 1;
	}
	if (le32toh(header.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH || pmem->file->read_only) {
		flush_respond(pmem, req, le32toh(header.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH);
		return 1;
	}
	flush = flush_take(pmem);
	if (!flush) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	flush->pmem = pmem;
	flush->req = req;
	calls_submit(&pmem->calls, &flush->call);
	return 1;
}

static void pmem_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	virtio_process(device, vq, pmem_handle);
}

/* ---- the device ---- */

static void pmem_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	const struct pmem *pmem = container_of(device, struct pmem, device);
	const struct virtio_pmem_config config = { .start = htole64(pmem->start), .size = htole64(pmem->size) };

	memcpy(buffer, (const char *)&config + offset, size);
}

static int pmem_quiesce(struct virtio_device *device)
{
	calls_drain(&container_of(device, struct pmem, device)->calls);
	return 0;
}

static void pmem_reset(struct virtio_device *device)
{
	struct pmem *pmem = container_of(device, struct pmem, device);
	struct pmem_flush *flush;

	calls_drain(&pmem->calls);
	while ((flush = pmem->pool)) {
		pmem->pool = flush->next;
		free(flush);
	}
}

static const struct state_field pmem_fields[] = {
	STATE_U64(struct pmem, start),
	STATE_U64(struct pmem, size),
};
STATE_TABLE(pmem_table, "virtio-pmem", 1, pmem_fields);

static void pmem_save(struct virtio_device *device, struct state_writer *writer)
{
	state_save(writer, &pmem_table, container_of(device, struct pmem, device));
}

static int pmem_load(struct virtio_device *device, struct state_reader *reader)
{
	struct pmem *pmem = container_of(device, struct pmem, device), loaded = { 0 };
	int result = state_load(reader, &pmem_table, &loaded);

	if (result)
		return result;
	if (loaded.start != pmem->start || loaded.size != pmem->size)
		return log_error(EINVAL, "saved state: %s: %llu MiB of persistent memory at 0x%llx, and here are %llu at 0x%llx",
				 device->device.name, (unsigned long long)(loaded.size >> 20), (unsigned long long)loaded.start,
				 (unsigned long long)(pmem->size >> 20), (unsigned long long)pmem->start);
	return 0;
}

static const struct virtio_device_ops pmem_ops = {
	.name		= "virtio-pmem",
	.id		= VIRTIO_ID_PMEM,
	.class_code	= 0x00ff00,
	.queues		= 1,
	.queue_size	= 64,
	.config_size	= sizeof(struct virtio_pmem_config),
	.handle_queue	= pmem_handle_queue,
	.config_read	= pmem_config_read,
	.reset		= pmem_reset,
	.quiesce	= pmem_quiesce,
	.save		= pmem_save,
	.load		= pmem_load,
};

/* ---- life ---- */

static void pmem_free_all(struct pmem *pmem)
{
	for (struct pmem *next; pmem; pmem = next) {
		next = pmem->next;
		virtio_device_del(&pmem->device);
		calls_exit(&pmem->calls);
		free(pmem);
	}
}

static int pmem_add(struct kvm *kvm, const struct pmem_file *file, unsigned int index, struct pmem **at)
{
	struct pmem *pmem = calloc(1, sizeof(*pmem));
	int result;

	if (!pmem)
		return log_errno(ENOMEM, "--pmem");
	*at = pmem;
	pmem->file = file;
	pmem->start = file->base;
	pmem->size = file->size;
	pmem->device.loop = kvm->loop;
	result = calls_init(&pmem->calls, &pmem_calls_ops, kvm->loop, "pmem", PMEM_THREADS, NULL);
	return result ? log_errno(result, "--pmem") : virtio_device_add(kvm, &pmem->device, &pmem_ops, "virtio-pmem%u", index);
}

static void pmem_exit(struct kvm *kvm)
{
	struct pmem *first = kvm_get_state(kvm, pmem_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, pmem_key, NULL))
		pmem_free_all(first);
}

static int pmem_init(struct kvm *kvm)
{
	struct pmem *first = NULL, **at = &first;
	unsigned int index = 0;
	int result = 0;

	if (!pmem_files(kvm))
		return INIT_SKIP;
	for (const struct pmem_file *file = pmem_files(kvm); file && !result; file = file->next) {
		result = pmem_add(kvm, file, index++, at);
		at = &(*at)->next;
	}
	if (!result)
		result = kvm_set_state(kvm, pmem_key, first);
	if (result)
		pmem_free_all(first);
	return result;
}
virtio_dev_init(pmem_init);
virtio_dev_exit(pmem_exit);
