/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-mem under fuzz: what is plugged is RAM and nothing else is, whatever the driver asks for and the state says. */
#include "tests/fuzz/virtio.h"

#include "kvm/kvm.h"
#include "kvm/memory-device.h"
#include "kvm/rcu.h"
#include "tests/unit/growing-ram.h"

#define BLOCKS	14	/* a file here can't be larger */

static struct region *regions;

static void regions_free(void)
{
	free(regions);
}

static void mem_machine(struct kvm *kvm)
{
	kvm->ram_size = GROWING_BLOCK;
	FUZZ_CHECK(growing_ram_add(kvm, BLOCKS));
	regions = kvm->ram_regions;
	/* behind the machine's own end, which is registered when it is made */
	atexit(regions_free);
	fuzz_machine_add(kvm, "mem_init");
}

static void check(struct kvm *kvm)
{
	struct memory_device_info info;
	uint64_t plugged = 0;
	char byte;

	for (unsigned int i = 0; i < BLOCKS; i++) {
		bool is = ram_block_is_plugged(kvm, i);

		plugged += is ? GROWING_BLOCK : 0;
		FUZZ_CHECK((memory_read(&kvm->memory, gpa(GROWING_BASE + (i + 1) * GROWING_BLOCK - 1), &byte, 1) == 0) == is);
	}
	FUZZ_CHECK(memory_device_query(kvm, &info) && info.plugged == plugged && info.requested <= info.max);
	FUZZ_CHECK(growing_ram_held(kvm) <= plugged);
}

/* State as it is, with a byte that isn't. */
static void load_damaged(struct kvm *kvm, struct fuzz_input *input)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ram_blocks_save(kvm, &writer);
	FUZZ_CHECK(!writer.error);
	writer.data[fuzz_u16(input) % writer.length] = fuzz_u8(input);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	(void)!ram_blocks_load(kvm, &reader);
	state_writer_free(&writer);
}

static void mem_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	(void)device;
	switch (fuzz_u8(input) % 3) {
	case 0: (void)!memory_device_request(kvm, fuzz_u16(input) * GROWING_BLOCK); break;
	case 1: load_damaged(kvm, input); break;
	default: (void)!memory_set(&kvm->memory, gpa(GROWING_BASE + fuzz_u16(input) * GROWING_BLOCK), 1, 4096); break;
	}
	check(kvm);
}

static void mem_between(struct virtio_device *device)
{
	check(device->kvm);
	FUZZ_CHECK(!memory_device_request(device->kvm, 0) && !ram_blocks_unplug(device->kvm, 0, BLOCKS));
	FUZZ_CHECK(growing_ram_held(device->kvm) == 0);
}

static const struct fuzz_virtio mem_spec = { .machine = mem_machine, .queues = 1, .event = mem_event, .between = mem_between };
FUZZ_VIRTIO(mem, "mem", mem_spec);
