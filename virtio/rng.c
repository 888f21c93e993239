/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-rng: entropy for the guest (VirtIO 1.3, 5.4).
 *
 * One queue of device-writable buffers, filled from getrandom(2) on the event loop that owns the device. A
 * guest can't keep the host busy: each period has a budget of bytes; when it is used up, requests wait in
 * the ring for the next one.
 */
#include <sys/random.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/pci-port.h"
#include "kvm/plug.h"
#include "kvm/virtio.h"

#define RNG_REQUEST_MAX		256		/* getrandom() of this size never blocks or is interrupted */
#define RNG_PERIOD_NS		100000000ULL
#define RNG_BYTES_PER_PERIOD	KIB(64)

static const char rng_key[] = "virtio-rng";

struct rng {
	struct virtio_device device;
	struct event_timer timer;
	uint64_t period_start;		/* event_now_ns() */
	uint64_t budget;
};

/* True if a request may be served now; else the timer looks again when the period is over. */
static bool rng_may_serve(struct rng *rng)
{
	uint64_t now = event_now_ns();

	if (now - rng->period_start >= RNG_PERIOD_NS) {
		rng->period_start = now;
		rng->budget = RNG_BYTES_PER_PERIOD;
	}
	if (rng->budget)
		return true;
	event_timer_set(&rng->timer, rng->period_start + RNG_PERIOD_NS);
	return false;
}

static int rng_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct rng *rng = container_of(device, struct rng, device);
	uint8_t bytes[RNG_REQUEST_MAX];
	size_t want = MIN((size_t)req->writable_bytes, sizeof(bytes));
	ssize_t got;

	if (!rng_may_serve(rng)) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	got = getrandom(bytes, want, 0);
	if (got < 0)
		got = 0;
	rng->budget -= MIN(rng->budget, (uint64_t)MAX(got, (ssize_t)1));
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, bytes, (size_t)got));
	return 1;
}

static void rng_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	virtio_process(device, vq, rng_handle);
}

static void rng_expired(struct event_timer *timer)
{
	virtio_kick(&container_of(timer, struct rng, timer)->device, 0);
}

static void rng_reset(struct virtio_device *device)
{
	struct rng *rng = container_of(device, struct rng, device);

	event_timer_cancel(&rng->timer);
}

static int rng_quiesce(struct virtio_device *device)
{
	rng_reset(device);
	return 0;
}

static const struct virtio_device_ops rng_ops = {
	.name		= "virtio-rng",
	.id		= VIRTIO_ID_RNG,
	.class_code	= 0x00ff00,
	.queues		= 1,
	.queue_size	= 64,
	.in_order	= true,
	.handle_queue	= rng_handle_queue,
	.reset		= rng_reset,
	.quiesce	= rng_quiesce,
};

static void rng_del(struct rng *rng)
{
	virtio_device_del(&rng->device);
	free(rng);
}

/* @plug: what it belongs to; NULL: it is there from the start */
static int rng_add(struct kvm *kvm, const struct plug *plug, struct rng **out)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	int result;

	if (!rng)
		return log_errno(ENOMEM, "virtio-rng");
	event_timer_init(kvm->loop, &rng->timer, rng_expired);
	rng->device.bridge = plug ? pci_port_bridge(plug->port) : NULL;
	result = plug ? virtio_device_add(kvm, &rng->device, &rng_ops, "virtio-rng-%s", plug->id) :
		 virtio_device_add(kvm, &rng->device, &rng_ops, "virtio-rng");
	if (result)
		free(rng);
	else
		*out = rng;
	return result;
}

static void rng_exit(struct kvm *kvm)
{
	struct rng *rng = kvm_get_state(kvm, rng_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, rng_key, NULL))
		rng_del(rng);
}

static int rng_init(struct kvm *kvm)
{
	struct rng *rng;
	int result;

	if (!config_flag(kvm->config, "rng"))
		return INIT_SKIP;
	result = rng_add(kvm, NULL, &rng);
	if (result)
		return result;
	result = kvm_set_state(kvm, rng_key, rng);
	if (result)
		rng_del(rng);
	return result;
}

static int rng_plug_open(struct plug *plug)
{
	return *plug->text ? log_error(EUSAGE, "option --rng: takes no '%s'", plug->text) : 0;
}

static int rng_plug_add(struct plug *plug)
{
	struct rng *rng;
	int result = rng_add(plug->kvm, plug, &rng);

	if (!result)
		plug->device = &rng->device;
	return result;
}

static void rng_plug_del(struct plug *plug)
{
	rng_del(container_of(plug->device, struct rng, device));
}

static struct plug_kind rng_plug_item = { .option = "rng", .open = rng_plug_open, .add = rng_plug_add, .del = rng_plug_del };
PLUG_KIND(rng_plug_item);

static const struct option_def rng_options[] = {
	{ .name = "rng", .type = OPTION_FLAG, .help = "Give the guest a virtio entropy source" },
};
RUN_OPTIONS(rng_options_group, "Device options", rng_options);

virtio_dev_init(rng_init);
virtio_dev_exit(rng_exit);
