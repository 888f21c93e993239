/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-rng and virtio-balloon under fuzz. */
#include "tests/fuzz/virtio.h"

#include "kvm/balloon.h"
#include "kvm/kvm.h"

static void rng_machine(struct kvm *kvm)
{
	fuzz_machine_set(kvm, "rng", "1");
	fuzz_machine_add(kvm, "rng_init");
}

static const struct fuzz_virtio rng_spec = { .machine = rng_machine, .queues = 1 };
FUZZ_VIRTIO(rng, "rng", rng_spec);

static void balloon_machine(struct kvm *kvm)
{
	fuzz_machine_set(kvm, "balloon", "1");
	fuzz_machine_add(kvm, "balloon_init");
}

static void balloon_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	struct balloon_info info;

	(void)device;
	switch (fuzz_u8(input) % 5) {
	case 0: (void)!balloon_set_target(kvm, fuzz_u32(input)); break;
	case 1: balloon_ask_stats(kvm); break;
	case 2: (void)!balloon_hint_start(kvm); break;
	case 3: balloon_hint_done(kvm); break;
	default: (void)balloon_hinted(kvm, fuzz_u32(input)); break;
	}
	FUZZ_CHECK(balloon_query(kvm, &info));
}

/* inflate, deflate, statistics, hints, reports */
static const struct fuzz_virtio balloon_spec = { .machine = balloon_machine, .queues = 5, .event = balloon_event };
FUZZ_VIRTIO(balloon, "balloon", balloon_spec);
