/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-scsi's request queues: SCSI commands out of the ring and their ends back into it (VirtIO 1.3, 5.6.6.1).
 *
 * Data go between the guest's buffers and the disk without a copy: the request's own segments, less what the header and
 * the response take of them.
 */
#include "virtio/scsi.h"

#include <string.h>

#define HEADER_BYTES	offsetof(struct virtio_scsi_cmd_req, cdb)
#define RESPONSE_BYTES	offsetof(struct virtio_scsi_cmd_resp, sense)

/* ---- the pool, and what is in flight ---- */

static struct scsi_request *request_take(struct scsi *scsi)
{
	struct scsi_request *request = scsi->pool;

	if (request)
		scsi->pool = request->next;
	else
		request = malloc(sizeof(*request));
	return request;
}

static void request_give(struct scsi_request *request)
{
	request->next = request->scsi->pool;
	request->scsi->pool = request;
}

void scsi_requests_free(struct scsi *scsi)
{
	struct scsi_request *request;

	while ((request = scsi->pool)) {
		scsi->pool = request->next;
		free(request);
	}
}

static void request_fly(struct scsi_request *request)
{
	struct scsi *scsi = request->scsi;

	request->serial = scsi->serial++;
	request->next = scsi->flying;
	request->link = &scsi->flying;
	if (request->next)
		request->next->link = &request->next;
	scsi->flying = request;
}

static void request_land(struct scsi_request *request)
{
	*request->link = request->next;
	if (request->next)
		request->next->link = request->link;
}

/* ---- the end of a command ---- */

static uint8_t request_response(const struct scsi_request *request)
{
	if (request->ended_by)
		return request->ended_by;
	switch (request->command.delivery) {
	case SCSI_DELIVERED:	return VIRTIO_SCSI_S_OK;
	case SCSI_OVERRUN:	return VIRTIO_SCSI_S_OVERRUN;
	default:		return VIRTIO_SCSI_S_FAILURE;
	}
}

static void request_finish(struct scsi_request *request, uint8_t code)
{
	struct scsi *scsi = request->scsi;
	const struct scsi_command *command = &request->command;
	uint32_t sense_size = atomic_load(&scsi->sense_size), data = command->out.bytes + command->in.bytes, written;
	struct {
		struct virtio_scsi_cmd_resp fixed;
		uint8_t more[SCSI_SENSE_SIZE_MAX - VIRTIO_SCSI_SENSE_SIZE];
	} response = { .fixed = { .response = code, .resid = htole32(data) } };

	if (request->trimmed) {
		request->trimmed->iov_base = (char *)request->trimmed->iov_base - request->trim;
		request->trimmed->iov_len += request->trim;
	}
	written = RESPONSE_BYTES + sense_size;
	if (code == VIRTIO_SCSI_S_OK) {
		uint32_t length = MIN((uint32_t)command->sense_length, sense_size);

		response.fixed.status = command->status;
		response.fixed.sense_len = htole32(length);
		response.fixed.resid = htole32(data - command->transferred);
		memcpy(response.fixed.sense, command->sense, length);
		written += command->in.bytes ? command->transferred : 0;
	}
	virtio_request_write(request->req, 0, &response, RESPONSE_BYTES + sense_size);
	virtqueue_push(request->vq, request->req, written);
	scsi->pushed |= BIT(request->vq->index);
	request_give(request);
}

static void request_done(struct scsi_command *command)
{
	struct scsi_request *request = container_of(command, struct scsi_request, command);

	request_land(request);
	request_finish(request, request_response(request));
}

/* ---- out of the ring ---- */

/*
 * What lies behind the first @skip bytes of @count segments. The segment that is cut, if any, stays so: for data-in it
 * holds the end of the response, and is mended when that is written.
 */
static struct scsi_data data_behind(struct iovec *segments, unsigned int count, uint32_t bytes, size_t skip,
				    struct scsi_request *cut)
{
	struct scsi_data data = { .bytes = bytes - (uint32_t)skip };
	unsigned int i = 0;

	while (i < count && skip >= segments[i].iov_len)
		skip -= segments[i++].iov_len;
	data.iov = segments + i;
	data.count = count - i;
	if (!skip)
		return data;
	segments[i].iov_base = (char *)segments[i].iov_base + skip;
	segments[i].iov_len -= skip;
	if (cut) {
		cut->trimmed = &segments[i];
		cut->trim = skip;
	}
	return data;
}

static void request_run(struct scsi_request *request, const struct virtio_scsi_cmd_req *header)
{
	struct scsi *scsi = request->scsi;
	struct scsi_unit *unit;
	uint8_t target;
	uint16_t lun;

	if (header->lun[0] == 0xc1 && header->lun[1] == 0x01) {
		request_fly(request);
		scsi_execute_well_known(&scsi->bus, &request->command);
		return;
	}
	if (!scsi_find_lun(scsi, header->lun, &target, &unit) || !scsi_lun_decode(header->lun + 2, &lun)) {
		request_finish(request, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	request_fly(request);
	scsi_execute(&scsi->bus, target, lun, &request->command);
}

static int request_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	uint32_t cdb_size = atomic_load(&scsi->cdb_size), sense_size = atomic_load(&scsi->sense_size);
	struct virtio_scsi_cmd_req header = { 0 };
	struct scsi_request *request;

	if (req->readable_bytes < HEADER_BYTES + cdb_size || req->writable_bytes < RESPONSE_BYTES + sense_size) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a SCSI request without room for header and response");
		return 1;
	}
	request = request_take(scsi);
	if (!request) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	virtio_request_read(req, 0, &header, MIN(HEADER_BYTES + cdb_size, sizeof(header)));
	request->scsi = scsi;
	request->vq = vq;
	request->req = req;
	request->tag = le64toh(header.tag);
	request->ended_by = 0;
	request->trimmed = NULL;
	request->command.done = request_done;
	request->command.transferred = 0;
	memcpy(request->command.cdb, header.cdb, sizeof(request->command.cdb));
	request->command.out = data_behind(req->segments, req->readable, req->readable_bytes, HEADER_BYTES + cdb_size, NULL);
	request->command.in = data_behind(req->segments + req->readable, req->writable, req->writable_bytes,
					  RESPONSE_BYTES + sense_size, request);
	request_run(request, &header);
	return 1;
}

/* ---- commands that wait for the VM to go on ---- */

int scsi_requests_waiting(const struct scsi *scsi, struct virtio_waiting *waiting)
{
	int result = 0;

	for (size_t i = 0; i < scsi->count; i++)
		for (struct disk_request *io = disk_kept(scsi->slots[i].unit.disk); io && !result; io = io->next) {
			const struct scsi_request *request = container_of(io, struct scsi_request, command.io);

			result = virtio_waiting_add(waiting, request->vq, request->req);
		}
	return result;
}

void scsi_requests_resume(struct scsi *scsi)
{
	/* those that were cancelled meanwhile, as their disc was taken away */
	scsi_requests_end(scsi);
	virtio_waiting_retake(&scsi->waiting, &scsi->device, request_handle);
	for (size_t i = 0; i < scsi->count; i++)
		disk_retry(scsi->slots[i].unit.disk);
	scsi_batch_done(scsi);
}

void scsi_requests_end(struct scsi *scsi)
{
	for (size_t i = 0; i < scsi->count; i++)
		scsi_unit_end_cancelled(&scsi->slots[i].unit);
}

/* ---- the queues ---- */

void scsi_handle_requests(struct scsi *scsi, struct virtqueue *vq)
{
	virtio_process(&scsi->device, vq, request_handle);
	scsi_submit_all(scsi);
	scsi_batch_done(scsi);
}
