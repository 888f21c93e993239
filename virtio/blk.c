/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk: a disk for the guest (VirtIO 1.3, 5.2).
 *
 * A kick takes what is in the queue's ring, submits it as one batch, and completions are pushed and told in
 * batches too; data goes between the guest's buffers and the host's file without a copy here. All on the one
 * event loop that owns the device: its queues are for the guest's CPUs, so that none waits for another's lock. A
 * request is checked against the disk's size before it becomes host I/O, so a guest can neither read past the
 * end nor make the file grow.
 */
#include "virtio/blk.h"

#include <string.h>

#define SECTOR		BLK_SECTOR
#define TURN_MAX	1024	/* requests of one queue before others have their turn */

struct blk_request {
	struct disk_request io;
	struct blk *blk;
	struct virtqueue *vq;
	struct virtio_request *req;
	uint8_t *status;		/* in guest RAM, checked */
	uint32_t written;		/* besides the status */
	struct blk_request *next;
};

/*
 * VirtIO 1.3, 5.2.5: a driver that can't flush, or said that it doesn't want to, has each change on the medium when
 * it is done. One that flushes and doesn't know of the choice gets what the disk's own options say.
 */
static bool blk_writes_through(const struct blk *blk)
{
	return !virtio_has_feature(&blk->device, VIRTIO_BLK_F_FLUSH) || !atomic_load(&blk->write_back);
}

/* ---- requests ---- */

static struct blk_request *blk_take(struct blk *blk)
{
	struct blk_request *request = blk->pool;

	if (request)
		blk->pool = request->next;
	else
		request = malloc(sizeof(*request));
	return request;
}

static void blk_give(struct blk_request *request)
{
	request->next = request->blk->pool;
	request->blk->pool = request;
}

static void blk_finish(struct blk_request *request, uint8_t status)
{
	struct blk *blk = request->blk;

	*request->status = status;
	virtqueue_push(request->vq, request->req, (status == VIRTIO_BLK_S_OK ? request->written : 0) + 1);
	blk->pushed |= BIT(request->vq->index);
	blk_give(request);
}

static void blk_io_done(struct disk_request *io, int result)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	enum disk_policy policy = result ? disk_failed(request->blk->disk, io, result) : DISK_IGNORE;

	if (policy != DISK_STOP)
		blk_finish(request, policy == DISK_IGNORE ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
}

void blk_batch_done(void *opaque)
{
	struct blk *blk = opaque;

	while (blk->pushed) {
		unsigned int queue = (unsigned int)__builtin_ctzll(blk->pushed);

		blk->pushed &= blk->pushed - 1;
		virtqueue_flush(&blk->device.queues[queue]);
	}
}

/* Takes the last writable byte for the status, off the segments. NULL if there is none. */
static uint8_t *blk_take_status(struct virtio_request *req)
{
	struct iovec *last;

	while (req->writable && !req->segments[req->readable + req->writable - 1].iov_len)
		req->writable--;
	if (!req->writable)
		return NULL;
	last = &req->segments[req->readable + req->writable - 1];
	last->iov_len--;
	req->writable_bytes--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

/* Takes the header off the readable segments. */
static bool blk_take_header(struct virtio_request *req, struct virtio_blk_outhdr *header)
{
	size_t left = sizeof(*header);

	if (virtio_request_read(req, 0, header, sizeof(*header)) != sizeof(*header))
		return false;
	for (unsigned int i = 0; left; i++) {
		size_t part = MIN(left, req->segments[i].iov_len);

		req->segments[i].iov_base = (char *)req->segments[i].iov_base + part;
		req->segments[i].iov_len -= part;
		left -= part;
	}
	req->readable_bytes -= (uint32_t)sizeof(*header);
	return true;
}

static bool blk_range_ok(const struct blk *blk, uint64_t sector, uint64_t length)
{
	const struct disk_info *info = disk_info(blk->disk);

	return sector <= UINT64_MAX / SECTOR && !(length % info->block_size) && !(sector * SECTOR % info->block_size) &&
	       range_contains(0, info->size, sector * SECTOR, length);
}

/* A host that gets an empty vector or more than IOV_MAX entries refuses the request. */
static unsigned int blk_squeeze(struct iovec *iov, unsigned int count)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < count; i++)
		if (iov[i].iov_len)
			iov[kept++] = iov[i];
	return kept;
}

static uint8_t blk_read_write(struct blk_request *request, uint64_t sector, bool write)
{
	struct virtio_request *req = request->req;
	struct disk_request *io = &request->io;
	struct iovec *iov = req->segments + (write ? 0 : req->readable);

	io->op = write ? DISK_WRITE : DISK_READ;
	io->length = write ? req->readable_bytes : req->writable_bytes;
	io->offset = sector * SECTOR;
	io->fua = write && blk_writes_through(request->blk);
	if (!blk_range_ok(request->blk, sector, io->length) || (write && disk_info(request->blk->disk)->read_only))
		return VIRTIO_BLK_S_IOERR;
	if (!io->length)
		return VIRTIO_BLK_S_OK;
	io->iov = iov;
	io->iov_count = blk_squeeze(iov, write ? req->readable : req->writable);
	if (io->iov_count > 1024)
		return VIRTIO_BLK_S_IOERR;
	request->written = write ? 0 : (uint32_t)io->length;
	disk_queue(request->blk->disk, io);
	return UINT8_MAX;
}

static uint8_t blk_discard(struct blk_request *request, bool zeroes)
{
	struct virtio_blk_discard_write_zeroes range;
	struct disk_request *io = &request->io;
	const struct disk_info *info = disk_info(request->blk->disk);
	uint64_t sector, length;
	uint32_t flags;

	if (request->req->readable_bytes != sizeof(range) ||
	    virtio_request_read(request->req, 0, &range, sizeof(range)) != sizeof(range))
		return VIRTIO_BLK_S_UNSUPP;
	sector = le64toh(range.sector);
	length = le32toh(range.num_sectors) * SECTOR;
	flags = le32toh(range.flags);
	if (flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0U))
		return VIRTIO_BLK_S_UNSUPP;
	if (info->read_only || length > BLK_DISCARD_SECTORS * SECTOR || !blk_range_ok(request->blk, sector, length))
		return VIRTIO_BLK_S_IOERR;
	if (!length)
		return VIRTIO_BLK_S_OK;
	io->op = zeroes ? DISK_WRITE_ZEROES : DISK_DISCARD;
	io->offset = sector * SECTOR;
	io->length = length;
	io->fua = blk_writes_through(request->blk);
	io->may_unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	disk_queue(request->blk->disk, io);
	return UINT8_MAX;
}

static uint8_t blk_get_id(struct blk_request *request)
{
	char id[VIRTIO_BLK_ID_BYTES] = "";
	const char *serial = disk_info(request->blk->disk)->serial;

	memcpy(id, serial, MIN(strlen(serial), sizeof(id)));
	request->written = (uint32_t)virtio_request_write(request->req, 0, id, MIN(sizeof(id), (size_t)request->req->writable_bytes));
	return VIRTIO_BLK_S_OK;
}

/* Returns the status, or UINT8_MAX when the disk has the request. */
static uint8_t blk_execute(struct blk_request *request, const struct virtio_blk_outhdr *header)
{
	uint64_t sector = le64toh(header->sector);

	switch (le32toh(header->type)) {
	case VIRTIO_BLK_T_IN:
		return blk_read_write(request, sector, false);
	case VIRTIO_BLK_T_OUT:
		return blk_read_write(request, sector, true);
	case VIRTIO_BLK_T_FLUSH:
		request->io.op = DISK_FLUSH;
		request->io.length = request->io.offset = 0;
		request->io.fua = false;
		disk_queue(request->blk->disk, &request->io);
		return UINT8_MAX;
	case VIRTIO_BLK_T_DISCARD:
		return blk_discard(request, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return blk_discard(request, true);
	case VIRTIO_BLK_T_GET_ID:
		return blk_get_id(request);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

static int blk_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct blk *blk = container_of(device, struct blk, device);
	struct blk_request *request = blk_take(blk);
	struct virtio_blk_outhdr header;
	uint8_t status;

	if (!request) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	request->blk = blk;
	request->vq = vq;
	request->req = req;
	request->written = 0;
	request->io.done = blk_io_done;
	request->status = blk_take_status(req);
	if (!request->status || !blk_take_header(req, &header)) {
		blk_give(request);
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a block request without header or status");
		return 1;
	}
	status = blk_execute(request, &header);
	if (status != UINT8_MAX)
		blk_finish(request, status);
	return 1;
}

/* Returns what virtqueue_pop() did, or -ENOMEM. */
static int blk_handle_next(struct blk *blk, struct virtqueue *vq)
{
	struct virtio_request *req;
	int popped = virtqueue_pop(vq, &req);

	if (popped <= 0)
		return popped;
	return blk_handle(&blk->device, vq, req) ? 1 : -ENOMEM;
}

void blk_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	struct blk *blk = container_of(device, struct blk, device);
	unsigned int left = TURN_MAX;
	int popped;

	do {
		virtqueue_disable_kick(vq);
		while ((popped = left ? blk_handle_next(blk, vq) : 0) > 0)
			left--;
		disk_submit(blk->disk);
		blk_batch_done(blk);
		/* A driver that never pauses must not have the loop for itself. */
		if (!left) {
			virtio_notify(device, vq->index);
			return;
		}
	} while (!popped && virtqueue_enable_kick(vq));
}

/* ---- requests that wait for the VM to go on ---- */

int blk_waiting(const struct blk *blk, struct virtio_waiting *waiting)
{
	int result = 0;

	for (struct disk_request *io = disk_kept(blk->disk); io && !result; io = io->next) {
		const struct blk_request *request = container_of(io, struct blk_request, io);

		result = virtio_waiting_add(waiting, request->vq, request->req);
	}
	return result;
}

void blk_resume_requests(struct blk *blk)
{
	virtio_waiting_retake(&blk->waiting, &blk->device, blk_handle);
	disk_retry(blk->disk);
	blk_batch_done(blk);
}

static void blk_drop(struct blk_request *request)
{
	virtqueue_unpop(request->vq, request->req);
	blk_give(request);
}

void blk_drop_queue(struct blk *blk, struct virtqueue *vq)
{
	struct disk_request *io;

	while ((io = disk_take_kept(blk->disk))) {
		struct blk_request *request = container_of(io, struct blk_request, io);

		if (request->vq == vq)
			blk_drop(request);
		else
			disk_queue(blk->disk, io);
	}
}

void blk_drop_requests(struct blk *blk)
{
	struct blk_request *request;
	struct disk_request *io;

	virtio_waiting_free(&blk->waiting);
	while ((io = disk_take_kept(blk->disk)))
		blk_drop(container_of(io, struct blk_request, io));
	while ((request = blk->pool)) {
		blk->pool = request->next;
		free(request);
	}
}
