/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-mem: RAM that the guest takes and gives back while it runs, in blocks, as the host wishes.
 *
 * VirtIO 1.3, 5.15. The host says how much (requested_size), the driver asks for blocks of its choice, and core/ram-blocks.c
 * makes them RAM or takes them away. On the main loop, which alone changes the machine. A driver's reset leaves all as it
 * is, as a kernel may run in there; the machine's reset unplugs.
 */
#include <linux/virtio_mem.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/control.h"
#include "kvm/memory-device.h"
#include "kvm/ram-blocks.h"
#include "kvm/virtio.h"

/* Of Linux 5.17, newer than some distributions' headers */
#ifndef VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE
#define VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE	1
#endif

#define USABLE_BEYOND	MIB(256)	/* so that a driver finds blocks when some of those it wants can't be had */
#define TURN_BLOCKS	256u		/* that may come or go before others have their turn */
#define EVENT_PERIOD_NS	1000000000ULL

static const char mem_key[] = "virtio-mem";

struct mem {
	struct virtio_device device;
	_Atomic uint64_t usable, requested;	/* bytes from the first block on; bytes */
	unsigned int turn;			/* blocks that came or went in this turn */
	/* MEMORY_DEVICE_SIZE_CHANGE, which a driver may cause as often as it likes */
	struct event_timer event;
	uint64_t event_ns;
};

static struct mem *mem_of(struct virtio_device *device)
{
	return container_of(device, struct mem, device);
}

static const struct ram_range *range_of(const struct kvm *kvm)
{
	return &kvm->ram[kvm->ram_count];
}

/* ---- what clients are told ---- */

static void mem_tell(struct mem *mem)
{
	struct kvm *kvm = mem->device.kvm;

	mem->event_ns = event_now_ns();
	control_event(kvm, "MEMORY_DEVICE_SIZE_CHANGE",
		      json_pack("{s:s,s:I,s:s}", "id", MEMORY_DEVICE_ID, "size", (json_int_t)atomic_load(&kvm->ram_plugged),
				"qom-path", MEMORY_DEVICE_PATH));
}

static void mem_event_expired(struct event_timer *timer)
{
	mem_tell(container_of(timer, struct mem, event));
}

/* Once a second at most, and the last one counts. */
static void mem_changed(struct mem *mem)
{
	if (event_now_ns() - mem->event_ns >= EVENT_PERIOD_NS)
		mem_tell(mem);
	else if (!mem->event.deadline_ns)
		event_timer_set(&mem->event, mem->event_ns + EVENT_PERIOD_NS);
}

/* ---- requests ---- */

/* It never shrinks but by UNPLUG_ALL. */
static void mem_widen(struct mem *mem, uint64_t at_least)
{
	uint64_t wanted = MIN(ALIGN_UP(at_least + USABLE_BEYOND, mem->device.kvm->ram_block), mem->device.kvm->ram_more);

	if (wanted > atomic_load(&mem->usable))
		atomic_store(&mem->usable, wanted);
}

struct blocks {
	unsigned int first, count, plugged;
};

/* All that a driver may get wrong about where: 5.15.6. */
static bool blocks_find(const struct mem *mem, uint64_t address, unsigned int count, struct blocks *blocks)
{
	const struct kvm *kvm = mem->device.kvm;
	uint64_t base = range_of(kvm)->base;

	if (!count || address % kvm->ram_block || !range_contains(base, atomic_load(&mem->usable), address, count * kvm->ram_block))
		return false;
	*blocks = (struct blocks){ .first = (unsigned int)((address - base) / kvm->ram_block), .count = count };
	for (unsigned int i = 0; i < count; i++)
		blocks->plugged += ram_block_is_plugged(kvm, blocks->first + i);
	return true;
}

static uint16_t mem_plug(struct mem *mem, const struct blocks *blocks)
{
	struct kvm *kvm = mem->device.kvm;

	if (blocks->plugged)
		return VIRTIO_MEM_RESP_ERROR;
	if (atomic_load(&kvm->ram_plugged) + blocks->count * kvm->ram_block > atomic_load(&mem->requested))
		return VIRTIO_MEM_RESP_NACK;
	mem->turn += blocks->count;
	if (ram_blocks_plug(kvm, blocks->first, blocks->count))
		return VIRTIO_MEM_RESP_BUSY;
	mem_changed(mem);
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t mem_take(struct mem *mem, unsigned int first, unsigned int count)
{
	struct kvm *kvm = mem->device.kvm;

	mem->turn += count;
	if (ram_blocks_are_held(kvm) || ram_blocks_unplug(kvm, first, count))
		return VIRTIO_MEM_RESP_BUSY;
	mem_changed(mem);
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t mem_unplug(struct mem *mem, const struct blocks *blocks)
{
	return blocks->plugged == blocks->count ? mem_take(mem, blocks->first, blocks->count) : VIRTIO_MEM_RESP_ERROR;
}

static uint16_t mem_unplug_all(struct mem *mem)
{
	struct kvm *kvm = mem->device.kvm;
	uint16_t answer = atomic_load(&kvm->ram_plugged) ? mem_take(mem, 0, ram_block_count(kvm)) : VIRTIO_MEM_RESP_ACK;

	if (answer == VIRTIO_MEM_RESP_ACK) {
		atomic_store(&mem->usable, 0);
		mem_widen(mem, atomic_load(&mem->requested));
	}
	return answer;
}

static uint16_t blocks_state(const struct blocks *blocks)
{
	if (!blocks->plugged)
		return VIRTIO_MEM_STATE_UNPLUGGED;
	return blocks->plugged == blocks->count ? VIRTIO_MEM_STATE_PLUGGED : VIRTIO_MEM_STATE_MIXED;
}

static uint16_t mem_answer(struct mem *mem, const struct virtio_mem_req *req, uint16_t *state)
{
	const uint16_t type = le16toh(req->type);
	struct blocks blocks;

	if (type == VIRTIO_MEM_REQ_UNPLUG_ALL)
		return mem_unplug_all(mem);
	/* the three others have it at the same place */
	if (type > VIRTIO_MEM_REQ_STATE || !blocks_find(mem, le64toh(req->u.plug.addr), le16toh(req->u.plug.nb_blocks), &blocks))
		return VIRTIO_MEM_RESP_ERROR;
	if (type == VIRTIO_MEM_REQ_PLUG)
		return mem_plug(mem, &blocks);
	if (type == VIRTIO_MEM_REQ_UNPLUG)
		return mem_unplug(mem, &blocks);
	*state = blocks_state(&blocks);
	return VIRTIO_MEM_RESP_ACK;
}

static int mem_request(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct mem *mem = mem_of(device);
	struct virtio_mem_resp response = { 0 };
	struct virtio_mem_req asked;
	uint16_t answer = VIRTIO_MEM_RESP_ERROR, state = 0;

	if (mem->turn >= TURN_BLOCKS) {
		virtqueue_unpop(vq, req);
		virtio_notify(device, vq->index);
		return 0;
	}
	mem->turn++;
	/* what can't be answered isn't done */
	if (req->writable_bytes >= sizeof(response) && virtio_request_read(req, 0, &asked, sizeof(asked)) == sizeof(asked))
		answer = mem_answer(mem, &asked, &state);
	response.type = htole16(answer);
	response.u.state.state = htole16(state);
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &response, sizeof(response)));
	return 1;
}

static void mem_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	mem_of(device)->turn = 0;
	virtio_process(device, vq, mem_request);
}

static void mem_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	const struct kvm *kvm = device->kvm;
	const struct mem *mem = mem_of(device);
	const struct virtio_mem_config config = {
		.block_size = htole64(kvm->ram_block),
		.addr = htole64(range_of(kvm)->base),
		.region_size = htole64(kvm->ram_more),
		.usable_region_size = htole64(atomic_load(&mem->usable)),
		.plugged_size = htole64(atomic_load(&kvm->ram_plugged)),
		.requested_size = htole64(atomic_load(&mem->requested)),
	};

	memcpy(buffer, (const char *)&config + offset, size);
}

/* ---- the wish ---- */

bool memory_device_query(struct kvm *kvm, struct memory_device_info *info)
{
	const struct mem *mem = kvm_get_state(kvm, mem_key);

	if (!mem)
		return false;
	*info = (struct memory_device_info){
		.base = range_of(kvm)->base, .block = kvm->ram_block, .max = kvm->ram_more, .requested = atomic_load(&mem->requested),
		.plugged = atomic_load(&kvm->ram_plugged), .driven = mem->device.running,
	};
	return true;
}

int memory_device_request(struct kvm *kvm, uint64_t bytes)
{
	struct mem *mem = kvm_get_state(kvm, mem_key);

	if (!mem)
		return -ENODEV;
	if (bytes > kvm->ram_more || bytes % kvm->ram_block)
		return -EINVAL;
	atomic_store(&mem->requested, bytes);
	mem_widen(mem, bytes);
	virtio_config_changed(&mem->device);
	return 0;
}

/* ---- life ---- */

static int mem_start(struct virtio_device *device)
{
	ram_blocks_sweep(device->kvm);
	return 0;
}

/* The wish outlives it: it is the host's. */
static void mem_power_on(struct virtio_device *device)
{
	struct mem *mem = mem_of(device);
	struct kvm *kvm = device->kvm;

	if (atomic_load(&kvm->ram_plugged)) {
		if (ram_blocks_unplug(kvm, 0, ram_block_count(kvm)))
			log_warn("%s: memory stays plugged over the reset", device->device.name);
		mem_tell(mem);
	}
	atomic_store(&mem->usable, 0);
	mem_widen(mem, MAX(atomic_load(&mem->requested), atomic_load(&kvm->ram_plugged)));
}

static int mem_quiesce(struct virtio_device *device)
{
	struct mem *mem = mem_of(device);

	/* a driver that resets its queue quiesces too, and as often as it likes */
	if (!mem->event.deadline_ns || !device->kvm->pause_depth)
		return 0;
	event_timer_cancel(&mem->event);
	mem_tell(mem);
	return 0;
}

/* Which blocks are plugged is saved with the machine, since more than this device stands on it. */
static const struct state_field mem_fields[] = { STATE_U64(struct mem, usable), STATE_U64(struct mem, requested) };
STATE_TABLE(mem_table, "virtio-mem", 1, mem_fields);

static void mem_save(struct virtio_device *device, struct state_writer *writer)
{
	state_save(writer, &mem_table, mem_of(device));
}

static bool size_is_valid(const struct kvm *kvm, uint64_t size)
{
	return size <= kvm->ram_more && size % kvm->ram_block == 0;
}

static int mem_load(struct virtio_device *device, struct state_reader *reader)
{
	struct mem *mem = mem_of(device);
	const struct kvm *kvm = device->kvm;
	uint64_t top = 0, usable = atomic_load(&mem->usable), requested = atomic_load(&mem->requested);
	int result = state_load(reader, &mem_table, mem);

	for (unsigned int i = 0; i < ram_block_count(kvm); i++)
		if (ram_block_is_plugged(kvm, i))
			top = (i + 1) * kvm->ram_block;
	if (result || (size_is_valid(kvm, atomic_load(&mem->usable)) && size_is_valid(kvm, atomic_load(&mem->requested)) &&
		       atomic_load(&mem->usable) >= MAX(top, atomic_load(&mem->requested))))
		return result;
	atomic_store(&mem->usable, usable);
	atomic_store(&mem->requested, requested);
	return log_error(EINVAL, "saved state: %s: of other memory", device->device.name);
}

static const struct virtio_device_ops mem_ops = {
	.name		= "virtio-mem",
	.id		= VIRTIO_ID_MEM,
	.class_code	= 0x00ff00,
	.queues		= 1,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_mem_config),
	.in_order	= true,
	.handle_queue	= mem_handle_queue,
	.config_read	= mem_config_read,
	.start		= mem_start,
	.power_on	= mem_power_on,
	.quiesce	= mem_quiesce,
	.save		= mem_save,
	.load		= mem_load,
};

static void mem_exit(struct kvm *kvm)
{
	struct mem *mem = kvm_get_state(kvm, mem_key);

	virtio_device_del(&mem->device);
	event_timer_cancel(&mem->event);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, mem_key, NULL))
		free(mem);
}

static int mem_init(struct kvm *kvm)
{
	struct mem *mem;
	int result;

	if (!kvm->ram_more)
		return INIT_SKIP;
	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return log_errno(ENOMEM, "virtio-mem");
	event_timer_init(kvm->loop, &mem->event, mem_event_expired);
	mem->device.features_offered = BIT(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
	result = virtio_device_add(kvm, &mem->device, &mem_ops, MEMORY_DEVICE_ID);
	if (!result) {
		mem_widen(mem, 0);
		result = kvm_set_state(kvm, mem_key, mem);
		if (result)
			virtio_device_del(&mem->device);
	}
	if (result)
		free(mem);
	return result;
}
virtio_dev_init(mem_init);
virtio_dev_exit(mem_exit);
