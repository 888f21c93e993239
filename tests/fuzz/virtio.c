/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of any virtio device that does what a fuzzer's input says: requests as good drivers make them, with contents of
 * the input's, and rings as no driver would leave them. See virtio.h.
 *
 * The input is a list of steps, each of a byte (enum step, the highest values being more of STEP_REQUEST) and what it takes.
 */
#include "tests/fuzz/virtio.h"

#include "tests/unit/board.h"

#define DRIVER_RINGS	FUZZ_QUEUES
#include "tests/unit/virtio-driver.h"

#define DATA_BASE	DRIVER_RING(FUZZ_QUEUES)
#define REQUEST_MAX	KIB(4)
#define ROOM_MAX	KIB(16)
#define PIECES_MAX	4
#define STEPS_MAX	64

enum step {
	STEP_REQUEST, STEP_INDIRECT, STEP_KICK, STEP_DESCRIBE, STEP_OFFER, STEP_INDEX, STEP_CONFIG_WRITE, STEP_CONFIG_READ,
	STEP_RESTART, STEP_STATUS, STEP_SAVE, STEP_EVENT, STEP_RAM, STEP_POWER, STEP_DISABLE, STEPS
};

static struct kvm *kvm;
static const struct fuzz_virtio *spec;
static uint64_t free_at;		/* where the next buffer lies */

void fuzz_machine_add(struct kvm *machine, const char *init_name)
{
	board_add(machine, init_name);
}

void fuzz_machine_set(struct kvm *machine, const char *option, const char *value)
{
	FUZZ_CHECK(!config_set(machine->config, option, value));
}

static void machine_end(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
}

void fuzz_virtio_begin(const struct fuzz_target *target)
{
	spec = target->opaque;
	virtio_transport_register(&driver_transport);
	if (spec->packed)
		FUZZ_CHECK(!setenv("LKVM_TEST_RING", "packed", 1));
	kvm = driver_machine();
	driver_ram.ram[0].discard_page = driver_ram.ram[1].discard_page = (uint64_t)sysconf(_SC_PAGESIZE);
	spec->machine(kvm);
	FUZZ_CHECK(driven && driven->queue_count >= spec->queues && spec->queues <= FUZZ_QUEUES);
	atexit(machine_end);
}

static void settle(void)
{
	fuzz_settle(kvm->loop);
}

/* ---- memory ---- */

static uint64_t place(size_t length)
{
	uint64_t at = free_at;

	/* round and round: what is in flight may be written to by the next */
	if (length > RAM_END - at)
		at = DATA_BASE;
	free_at = ALIGN_UP(at + length, 16);
	return at;
}

/* Where a liar's descriptors and rings point to. */
static uint64_t any_address(struct fuzz_input *input)
{
	static const uint64_t bases[] = {
		RAM_BASE, DATA_BASE, RAM_SECOND - 64, RAM_SECOND, RAM_END - 64, ROM_BASE, IO_BASE, NOWHERE, 0, UINT64_MAX - 0xffff, 1ULL << 63,
	};
	uint64_t base = bases[fuzz_u8(input) % ARRAY_SIZE(bases)];

	return base + fuzz_u16(input);
}

static struct ring *ring_of(struct fuzz_input *input, unsigned int *queue)
{
	*queue = fuzz_u8(input);
	return &driver_rings[*queue % spec->queues];
}

/* ---- rings ---- */

static uint16_t flags_of(const struct driver_buffer *buffer, bool last)
{
	return (uint16_t)((buffer->writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT));
}

/* The next slot of a packed ring, whatever is there: a liar doesn't wait for what it overwrites. */
static void put_packed(struct ring *ring, uint64_t address, uint32_t length, uint16_t flags)
{
	guest_describe(ring->guest, ring->desc + 16ULL * ring->avail_slot, address, length, ring->avail_slot,
		       flags | (ring->avail_odd ? PACKED_USED : PACKED_AVAIL));
	packed_advance(ring, &ring->avail_slot, &ring->avail_odd, 1);
}

static void offer(struct ring *ring, const struct driver_buffer *buffers, unsigned int count)
{
	uint16_t head = (uint16_t)(ring->next_avail * 8U % ring->size);

	if (!ring->packed) {
		driver_offer((unsigned int)(ring - driver_rings), head, buffers, count);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		put_packed(ring, buffers[i].address, buffers[i].length, flags_of(&buffers[i], i + 1 == count));
}

/* By a table of its own; that of a packed ring has its descriptors in order, and no links. */
static void offer_table(struct ring *ring, const struct driver_buffer *buffers, unsigned int count)
{
	uint16_t head = (uint16_t)(ring->next_avail * 8U % ring->size);
	uint64_t table = place(16ULL * count);

	for (unsigned int i = 0; i < count; i++)
		guest_describe(&driver_ram, table + 16ULL * i, buffers[i].address, buffers[i].length,
			       ring->packed ? 0 : flags_of(&buffers[i], i + 1 == count),
			       ring->packed ? flags_of(&buffers[i], true) : (uint16_t)(i + 1));
	if (ring->packed) {
		put_packed(ring, table, 16 * count, VRING_DESC_F_INDIRECT);
		return;
	}
	ring_describe(ring, head, table, 16 * count, VRING_DESC_F_INDIRECT, 0);
	ring_offer(ring, head);
}

/* ---- steps ---- */

static void request_fill(struct fuzz_input *input, unsigned int queue, uint64_t at, size_t length)
{
	static uint8_t message[REQUEST_MAX];
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, length, &got);

	memset(message, 0, length);
	memcpy(message, bytes, got);
	/* every fourth is left as it is */
	if (spec->fix && (queue & 0x60))
		spec->fix(message, length, queue % spec->queues);
	guest_poke(&driver_ram, at, message, length);
}

static unsigned int cut(struct driver_buffer *buffers, uint64_t at, size_t length, unsigned int pieces, bool writable)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < pieces && length; i++) {
		size_t part = i + 1 < pieces ? MIN(length, MAX(length / (pieces - i), (size_t)1)) : length;

		buffers[count++] = (struct driver_buffer){ at, (uint32_t)part, writable };
		at += part;
		length -= part;
	}
	return count;
}

/*
 * A request as it should be: readable bytes, then room, each in some pieces; the queue's byte has the highest bit set when it
 * isn't told of. In a table of its own, if @indirect.
 */
static void step_request(struct fuzz_input *input, bool indirect)
{
	unsigned int queue, count;
	struct ring *ring = ring_of(input, &queue);
	uint8_t pieces = fuzz_u8(input);
	size_t length = fuzz_u16(input) % (REQUEST_MAX + 1), room = fuzz_u16(input) % (ROOM_MAX + 1);
	struct driver_buffer buffers[2 * PIECES_MAX];
	uint64_t at = place(length);

	request_fill(input, queue, at, length);
	count = cut(buffers, at, length, 1 + pieces % PIECES_MAX, false);
	count += cut(buffers + count, place(room), room, 1 + pieces / 16 % PIECES_MAX, true);
	if (indirect)
		offer_table(ring, buffers, count);
	else
		offer(ring, buffers, count);
	if (!(queue & 0x80)) {
		virtio_notify(driven, (unsigned int)(ring - driver_rings));
		settle();
	}
}

static void step_kick(struct fuzz_input *input)
{
	virtio_notify(driven, fuzz_u8(input));
	settle();
}

static void step_describe(struct fuzz_input *input)
{
	unsigned int queue;
	struct ring *ring = ring_of(input, &queue);
	unsigned int index = fuzz_u8(input) % ring->size;
	uint64_t address = any_address(input);
	uint32_t length = fuzz_u32(input);
	uint8_t flags = fuzz_u8(input), next = fuzz_u8(input);

	if (ring->packed)
		guest_describe(ring->guest, ring->desc + 16ULL * index, address, length, next,
			       (uint16_t)(flags & 7) | (flags & 8 ? PACKED_AVAIL : 0) | (flags & 16 ? PACKED_USED : 0));
	else
		ring_describe(ring, index, address, length, flags, next);
}

static void step_offer(struct fuzz_input *input)
{
	unsigned int queue;
	struct ring *ring = ring_of(input, &queue);

	if (ring->packed)
		/* what lies there already, once more */
		guest_poke16(ring->guest, ring->desc + 16ULL * (fuzz_u8(input) % ring->size) + 14,
			     ring->avail_odd ? PACKED_USED : PACKED_AVAIL);
	else
		ring_offer(ring, fuzz_u8(input));
	virtio_notify(driven, (unsigned int)(ring - driver_rings));
	settle();
}

static void step_index(struct fuzz_input *input)
{
	unsigned int queue;
	struct ring *ring = ring_of(input, &queue);
	uint16_t index = fuzz_u16(input);

	if (ring->packed) {
		/* when the driver wants to be interrupted */
		guest_poke16(ring->guest, ring->avail, index);
		guest_poke16(ring->guest, ring->avail + 2, fuzz_u8(input) % 4);
		return;
	}
	ring->next_avail = index;
	ring_set_avail_index(ring, ring->next_avail);
}

static void step_config_write(struct fuzz_input *input)
{
	uint16_t offset = fuzz_u8(input);
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, 1U << fuzz_u8(input) % 4, &got);

	virtio_config_write(driven, offset, bytes, got);
	settle();
}

static void step_config_read(struct fuzz_input *input)
{
	uint8_t bytes[256];
	uint16_t offset = fuzz_u8(input);

	virtio_config_read(driven, offset, bytes, fuzz_u8(input));
}

/* @without: features that the driver doesn't take. The rings may lie anywhere. */
static void start(uint64_t without, struct fuzz_input *input)
{
	static const uint8_t zeroes[0x8000];
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_status(driven, 0);
	virtio_set_status(driven, status);
	virtio_set_features(driven, driven->features_offered & ~without);
	virtio_set_status(driven, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < spec->queues; i++) {
		struct ring *ring = &driver_rings[i];

		guest_poke(&driver_ram, DRIVER_RING(i), zeroes, sizeof(zeroes));
		ring_restart(ring);
		/* a driver that didn't take packed rings has split ones */
		ring->packed = driver_is_packed() && virtio_has_feature(driven, VIRTIO_F_RING_PACKED);
		virtio_queue_setup(driven, i, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(input ? any_address(input) : ring->used));
		virtio_queue_enable(driven, i);
	}
	virtio_set_status(driven, status | VIRTIO_CONFIG_S_DRIVER_OK);
	settle();
}

static void step_restart(struct fuzz_input *input)
{
	uint8_t how = fuzz_u8(input);
	uint64_t without = 0;

	/* three features at a time, or any */
	for (unsigned int i = 0; i < how % 4U; i++)
		without |= BIT(fuzz_u8(input) % 64);
	if (how & 0x40)
		without = fuzz_number(input, 8);
	start(without, how & 0x80 ? input : NULL);
}

/* Its state is saved, perhaps changed in some place, and loaded. */
static void step_save(struct fuzz_input *input)
{
	const struct device_ops *ops = driven->device.ops;
	struct state_writer writer = { 0 };
	struct state_reader reader;
	uint8_t changes = fuzz_u8(input) % 4;

	if (ops->quiesce(&driven->device))
		return;
	settle();
	ops->save(&driven->device, &writer);
	FUZZ_CHECK(!writer.error && writer.length);
	for (unsigned int i = 0; i < changes; i++) {
		uint16_t at = fuzz_u16(input);

		writer.data[at % writer.length] = fuzz_u8(input);
	}
	ops->reset(&driven->device);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	/* What was not changed is taken again, unless the host has something against it: a file that is gone by now. */
	(void)!ops->load(&driven->device, &reader);
	FUZZ_CHECK(reader.position <= writer.length);
	ops->resume(&driven->device);
	state_writer_free(&writer);
	settle();
}

static void step_event(struct fuzz_input *input)
{
	if (spec->event)
		spec->event(kvm, driven, input);
	settle();
}

/* What lies in RAM changes under the device's hands. */
static void step_ram(struct fuzz_input *input)
{
	uint64_t at = RAM_BASE + fuzz_u32(input) % (2 * RAM_PART - 8);
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, 1 + fuzz_u8(input) % 8, &got);

	guest_poke(&driver_ram, at, bytes, got);
}

static void step(struct fuzz_input *input)
{
	switch ((enum step)(fuzz_u8(input) % (STEPS + 3))) {
	case STEP_INDIRECT: step_request(input, true); break;
	case STEP_KICK: step_kick(input); break;
	case STEP_DESCRIBE: step_describe(input); break;
	case STEP_OFFER: step_offer(input); break;
	case STEP_INDEX: step_index(input); break;
	case STEP_CONFIG_WRITE: step_config_write(input); break;
	case STEP_CONFIG_READ: step_config_read(input); break;
	case STEP_RESTART: step_restart(input); break;
	case STEP_STATUS: virtio_set_status(driven, fuzz_u8(input)); settle(); break;
	case STEP_SAVE: step_save(input); break;
	case STEP_EVENT: step_event(input); break;
	case STEP_RAM: step_ram(input); break;
	case STEP_POWER: driven->device.ops->reset(&driven->device); start(0, NULL); break;
	case STEP_DISABLE: virtio_queue_disable(driven, fuzz_u8(input) % spec->queues); break;
	default: step_request(input, false); break;
	}
}

void fuzz_virtio_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };

	(void)target;
	driven->device.ops->reset(&driven->device);
	settle();
	if (spec->between)
		spec->between(driven);
	for (unsigned int i = 0; i < 2; i++)
		memset(driver_ram.host[i], 0, RAM_PART);
	free_at = DATA_BASE;
	start(0, NULL);
	for (unsigned int i = 0; i < STEPS_MAX && input.left; i++)
		step(&input);
	settle();
}
