/* SPDX-License-Identifier: BSD-2-Clause */
/* See virtio/waiting.h. Saved state and the rings are hostile: what is taken again is checked as any new request is. */
#include "virtio/waiting.h"

int virtio_waiting_add(struct virtio_waiting *waiting, const struct virtqueue *vq, const struct virtio_request *req)
{
	if (waiting->count == waiting->capacity) {
		size_t capacity = MAX(2 * waiting->capacity, (size_t)16);
		void *entries = reallocarray(waiting->entries, capacity, sizeof(*waiting->entries));

		if (!entries)
			return -ENOMEM;
		waiting->entries = entries;
		waiting->capacity = capacity;
	}
	waiting->entries[waiting->count++] = (struct virtio_waiting_entry){ le16_of((uint16_t)vq->index), le16_of(req->head) };
	return 0;
}

void virtio_waiting_free(struct virtio_waiting *waiting)
{
	free(waiting->entries);
	*waiting = (struct virtio_waiting){ 0 };
}

void virtio_waiting_save(const struct virtio_waiting *waiting, const char *name, struct state_writer *writer)
{
	state_save_blob(writer, name, waiting->entries ? (const void *)waiting->entries : "",
			waiting->count * sizeof(*waiting->entries));
}

int virtio_waiting_load(struct virtio_waiting *waiting, const char *name, const struct virtio_device *device,
			unsigned int first, struct state_reader *reader)
{
	size_t max = 0, length;
	struct virtio_waiting_entry *entries;
	int result;

	for (unsigned int i = 0; i < device->queue_count; i++)
		max += device->queues[i].size_max * sizeof(*entries);
	entries = malloc(MAX(max, sizeof(*entries)));
	result = entries ? state_load_blob(reader, name, entries, max, &length) : -ENOMEM;
	for (size_t i = 0; !result && i < length / sizeof(*entries); i++)
		if (le16_get(entries[i].queue) < first || le16_get(entries[i].queue) >= device->queue_count)
			result = log_error(EINVAL, "saved state: %s: a request of a queue that isn't there", device->device.name);
	if (!result && length % sizeof(*entries))
		result = log_error(EINVAL, "saved state: %s: part of a request that waits", device->device.name);
	virtio_waiting_free(waiting);
	if (result || !length) {
		free(entries);
		return result;
	}
	waiting->entries = entries;
	waiting->count = waiting->capacity = length / sizeof(*entries);
	return 0;
}

void virtio_waiting_retake(struct virtio_waiting *waiting, struct virtio_device *device,
			   int (*handle)(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req))
{
	for (size_t i = 0; i < waiting->count; i++) {
		struct virtqueue *vq = &device->queues[le16_get(waiting->entries[i].queue)];
		struct virtio_request *req;
		int result = virtqueue_retake(vq, le16_get(waiting->entries[i].head), &req);

		if (!result && !handle(device, vq, req))
			result = -ENOMEM;
		if (result == -ENOMEM)
			virtqueue_fail(vq, "no memory for a request that was saved");
	}
	virtio_waiting_free(waiting);
}
