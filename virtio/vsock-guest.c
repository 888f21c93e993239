/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/vsock-guest.h"

#include <linux/virtio_vsock.h>
#include <string.h>

#include "kvm/log.h"
#include "kvm/option.h"

/* A guest's CID is its VM's own where the host has no sockets of the family, but people like to tell VMs apart. */
int vsock_guest_parse(struct vsock_guest *guest, const char *text)
{
	uint64_t cid = (uint64_t)getpid() + VSOCK_CID_FIRST;

	if (strcmp(text, "auto") && (parse_uint(text, &cid) || cid < VSOCK_CID_FIRST || cid >= UINT32_MAX))
		return log_error(EUSAGE, "option --vsock: '%s' is no CID of a guest (auto, or 3 to 4294967294)", text);
	guest->cid = (uint32_t)cid;
	return 0;
}

void vsock_guest_config(const struct vsock_guest *guest, size_t offset, void *buffer, size_t size)
{
	const struct virtio_vsock_config config = { .guest_cid = htole64(guest->cid) };

	memcpy(buffer, (const char *)&config + offset, size);
}

int vsock_guest_event(struct vsock_guest *guest, struct virtqueue *vq, struct virtio_request *req)
{
	const struct virtio_vsock_event event = { .id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) };

	if (!guest->transport_reset) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	guest->transport_reset = false;
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &event, sizeof(event)));
	return 1;
}
