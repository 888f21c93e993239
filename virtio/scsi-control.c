/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-scsi's control queue, by which a driver ends commands and asks for notifications, and its event queue, by which
 * it gets them (VirtIO 1.3, 5.6.6.2 and 5.6.6.3).
 *
 * Host I/O can't be called back. A function that ends commands marks them, waits until each has come to its end, and
 * answers then; one with many steps ends at its next.
 */
#include "virtio/scsi.h"

#include <string.h>

/* VirtIO 1.3, 5.6.6.2.2: classes of events, as MMC's GET EVENT STATUS NOTIFICATION has them. */
#define ASYNC_MEDIA_CHANGE	0x10
#define CAPACITY_HAS_CHANGED	(0x2a | 0x09 << 8)	/* additional sense code, and its qualifier */

static void respond(struct scsi *scsi, struct virtqueue *vq, struct virtio_request *req, const void *response, size_t size)
{
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, response, size));
	scsi->pushed |= BIT(vq->index);
}

static void respond_byte(struct scsi *scsi, struct virtqueue *vq, struct virtio_request *req, uint8_t response)
{
	respond(scsi, vq, req, &response, 1);
}

/* ---- task management ---- */

static bool function_covers(const struct scsi_tmf *function, const struct scsi_request *request)
{
	const struct scsi_unit *unit = request->command.unit;

	if (!unit || request->serial >= function->before || unit->target != function->target)
		return false;
	if (function->unit && function->unit != unit)
		return false;
	switch (function->subtype) {
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
		return request->tag == function->tag;
	default:
		return true;
	}
}

static bool function_has_commands(const struct scsi *scsi, const struct scsi_tmf *function)
{
	for (const struct scsi_request *request = scsi->flying; request; request = request->next)
		if (function_covers(function, request))
			return true;
	return false;
}

void scsi_functions_end(struct scsi *scsi)
{
	struct scsi_tmf **at = &scsi->functions, *function;

	while ((function = *at)) {
		if (function_has_commands(scsi, function)) {
			at = &function->next;
			continue;
		}
		*at = function->next;
		respond_byte(scsi, function->vq, function->req, VIRTIO_SCSI_S_OK);
		free(function);
	}
}

/* Marks what is to end, and waits for it. */
static void function_end_commands(struct scsi *scsi, const struct scsi_tmf *wanted, uint8_t with)
{
	struct scsi_tmf *function = malloc(sizeof(*function));

	if (!function) {
		respond_byte(scsi, wanted->vq, wanted->req, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	*function = *wanted;
	function->next = scsi->functions;
	scsi->functions = function;
	for (struct scsi_request *request = scsi->flying; request; request = request->next) {
		if (!function_covers(function, request))
			continue;
		request->ended_by = with;
		request->command.cancelled = true;
	}
	/* commands that end here come back before the function */
	scsi_requests_end(scsi);
	scsi_batch_done(scsi);
}

static void function_reset(struct scsi *scsi, const struct scsi_tmf *wanted, uint8_t attention)
{
	for (struct scsi_unit *unit = scsi->bus.first; unit; unit = unit->next)
		if (unit->target == wanted->target && (!wanted->unit || wanted->unit == unit))
			scsi_unit_reset(unit, attention);
	function_end_commands(scsi, wanted, VIRTIO_SCSI_S_RESET);
}

static void function_run(struct scsi *scsi, struct scsi_tmf *wanted)
{
	switch (wanted->subtype) {
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
	case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
	case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
		function_end_commands(scsi, wanted, VIRTIO_SCSI_S_ABORTED);
		return;
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		function_reset(scsi, wanted, SCSI_ATTENTION_RESET);
		return;
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
		wanted->unit = NULL;
		function_reset(scsi, wanted, SCSI_ATTENTION_NEXUS);
		return;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		respond_byte(scsi, wanted->vq, wanted->req,
			     function_has_commands(scsi, wanted) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK);
		return;
	default:
		/* CLEAR ACA too: no unit ever gets there */
		respond_byte(scsi, wanted->vq, wanted->req, VIRTIO_SCSI_S_FUNCTION_REJECTED);
		return;
	}
}

static void control_function(struct scsi *scsi, struct virtqueue *vq, struct virtio_request *req)
{
	struct virtio_scsi_ctrl_tmf_req header;
	struct scsi_tmf wanted = { .vq = vq, .req = req, .before = scsi->serial };
	struct scsi_unit *unit;

	virtio_request_read(req, 0, &header, sizeof(header));
	wanted.subtype = le32toh(header.subtype);
	wanted.tag = le64toh(header.tag);
	if (!scsi_find_lun(scsi, header.lun, &wanted.target, &unit)) {
		respond_byte(scsi, vq, req, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	wanted.unit = unit;
	if (!unit && wanted.subtype != VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET) {
		respond_byte(scsi, vq, req, VIRTIO_SCSI_S_INCORRECT_LUN);
		return;
	}
	function_run(scsi, &wanted);
}

/* ---- asynchronous notifications ---- */

static void control_notifications(struct scsi *scsi, struct virtqueue *vq, struct virtio_request *req, bool subscribe)
{
	struct virtio_scsi_ctrl_an_req header;
	struct virtio_scsi_ctrl_an_resp response = { .response = VIRTIO_SCSI_S_OK };
	struct scsi_unit *unit;
	uint8_t target;
	uint32_t granted;

	virtio_request_read(req, 0, &header, sizeof(header));
	if (!scsi_find_lun(scsi, header.lun, &target, &unit)) {
		response.response = VIRTIO_SCSI_S_BAD_TARGET;
	} else if (!unit) {
		response.response = VIRTIO_SCSI_S_INCORRECT_LUN;
	} else {
		granted = le32toh(header.event_requested) & (scsi_unit_is_cdrom(unit) ? ASYNC_MEDIA_CHANGE : 0);
		response.event_actual = htole32(granted);
		if (subscribe)
			scsi_slot_of(unit)->subscribed = (uint8_t)granted;
	}
	respond(scsi, vq, req, &response, sizeof(response));
}

static int control_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	uint32_t type = 0;
	size_t had = virtio_request_read(req, 0, &type, sizeof(type));
	bool function = le32toh(type) == VIRTIO_SCSI_T_TMF;

	if (had < sizeof(type) || le32toh(type) > VIRTIO_SCSI_T_AN_SUBSCRIBE ||
	    req->readable_bytes < (function ? sizeof(struct virtio_scsi_ctrl_tmf_req) : sizeof(struct virtio_scsi_ctrl_an_req)) ||
	    req->writable_bytes < (function ? sizeof(struct virtio_scsi_ctrl_tmf_resp) : sizeof(struct virtio_scsi_ctrl_an_resp))) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a control request of no known shape");
		return 1;
	}
	if (function)
		control_function(scsi, vq, req);
	else
		control_notifications(scsi, vq, req, le32toh(type) == VIRTIO_SCSI_T_AN_SUBSCRIBE);
	return 1;
}

void scsi_handle_control(struct scsi *scsi, struct virtqueue *vq)
{
	virtio_process(&scsi->device, vq, control_handle);
}

/* ---- events ---- */

/* Into the next buffer; without one, the driver learns with the next that it missed some. */
static void event_send(struct scsi *scsi, uint32_t event, const struct scsi_unit *unit, uint32_t reason)
{
	struct virtqueue *vq = &scsi->device.queues[SCSI_QUEUE_EVENT];
	struct virtio_scsi_event message = { .reason = htole32(reason) };
	struct virtio_request *req;
	int popped;

	if (!scsi->device.running || !vq->enabled)
		return;
	/* while it is quiesced nothing of the guest's may change */
	popped = scsi->device.quiesced ? 0 : virtqueue_pop(vq, &req);
	if (popped <= 0) {
		scsi->missed = true;
		if (!scsi->device.quiesced && virtqueue_enable_kick(vq))
			virtio_notify(&scsi->device, SCSI_QUEUE_EVENT);
		return;
	}
	message.event = htole32(event | (scsi->missed ? VIRTIO_SCSI_T_EVENTS_MISSED : 0));
	if (unit) {
		message.lun[0] = 1;
		message.lun[1] = unit->target;
		scsi_lun_encode(message.lun + 2, unit->lun);
	}
	if (req->writable_bytes < sizeof(message)) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a buffer too small for an event");
		return;
	}
	scsi->missed = false;
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &message, sizeof(message)));
	virtqueue_flush(vq);
}

void scsi_handle_event_queue(struct scsi *scsi, struct virtqueue *vq)
{
	if (scsi->missed && virtqueue_waiting(vq))
		event_send(scsi, VIRTIO_SCSI_T_NO_EVENT, NULL, 0);
	else if (scsi->missed && virtqueue_enable_kick(vq))
		virtio_notify(&scsi->device, SCSI_QUEUE_EVENT);
}

void scsi_unit_changed(struct scsi_unit *unit, enum scsi_change change)
{
	struct scsi *scsi = container_of(unit->bus, struct scsi, bus);

	scsi_drive_look(scsi_slot_of(unit));
	if (change == SCSI_CHANGE_CAPACITY && virtio_has_feature(&scsi->device, VIRTIO_SCSI_F_CHANGE))
		event_send(scsi, VIRTIO_SCSI_T_PARAM_CHANGE, unit, CAPACITY_HAS_CHANGED);
	if (change == SCSI_CHANGE_MEDIUM && (scsi_slot_of(unit)->subscribed & ASYNC_MEDIA_CHANGE))
		event_send(scsi, VIRTIO_SCSI_T_ASYNC_NOTIFY, unit, ASYNC_MEDIA_CHANGE);
}
