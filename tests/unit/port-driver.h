/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver for tests of ports: all queues of the ports' device up to port 2's, and control messages as text.
 *
 * Include after board.h. The test's setup makes `kvm` by driver_machine().
 */
#ifndef TESTS_UNIT_PORT_DRIVER_H
#define TESTS_UNIT_PORT_DRIVER_H

#include <linux/virtio_console.h>

#include "tests/unit/virtio-driver.h"

enum { NOWHERE_RECEIVE, NOWHERE_TRANSMIT, CONTROL_RECEIVE, CONTROL_TRANSMIT, RECEIVE, TRANSMIT, RECEIVE_2, TRANSMIT_2, QUEUES };

#define INBOX		RAM_SECOND		/* buffers for control messages, MESSAGE_MAX each */
#define MESSAGE_MAX	128u
#define OUTBOX		(RAM_SECOND + 0x4000)
#define DATA		(RAM_SECOND + 0x8000)

static struct kvm *kvm;
static struct ring rings[QUEUES];
static unsigned int messages_read;
static char all_heard[256];

static inline void offer(unsigned int queue, uint16_t head, const struct driver_buffer *buffers, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		ring_describe(&rings[queue], head + i, buffers[i].address, buffers[i].length,
			      (uint16_t)((buffers[i].writable ? VRING_DESC_F_WRITE : 0) | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
			      (uint16_t)(head + i + 1));
	ring_offer(&rings[queue], head);
}

static inline void offer_one(unsigned int queue, uint64_t address, uint32_t length, bool writable)
{
	const struct driver_buffer buffer = { address, length, writable };

	offer(queue, rings[queue].next_avail % DRIVER_QUEUE_SIZE, &buffer, 1);
}

static inline void settle(void)
{
	for (unsigned int i = 0; i < 10; i++)
		event_loop_poll(kvm->loop, 0);
}

static inline void kick(unsigned int queue)
{
	virtio_notify(driven, queue);
	settle();
}

static inline uint16_t used(unsigned int queue)
{
	return ring_used_index(&rings[queue]);
}

static inline uint32_t used_length(unsigned int queue, unsigned int index)
{
	return ring_used_length(&rings[queue], (uint16_t)index);
}

static inline void say(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control message = { htole32(id), htole16(event), htole16(value) };
	uint64_t at = OUTBOX + 16ULL * (rings[CONTROL_TRANSMIT].next_avail % DRIVER_QUEUE_SIZE);

	guest_poke(&driver_ram, at, &message, sizeof(message));
	offer_one(CONTROL_TRANSMIT, at, sizeof(message), false);
	kick(CONTROL_TRANSMIT);
}

static inline void give_inbox(unsigned int count)
{
	while (count--)
		offer_one(CONTROL_RECEIVE, INBOX + MESSAGE_MAX * (rings[CONTROL_RECEIVE].next_avail % DRIVER_QUEUE_SIZE),
			  MESSAGE_MAX, true);
	kick(CONTROL_RECEIVE);
}

/* The next control message as text: "add 1", "open 1 0", "name 1 first"; "" if there is none. */
static inline const char *hear(void)
{
	static const char *const names[] = { [1] = "add", [6] = "open", [7] = "name" };
	static char text[160];
	struct virtio_console_control header;
	char rest[MESSAGE_MAX] = "";
	uint64_t at = INBOX + MESSAGE_MAX * (messages_read % DRIVER_QUEUE_SIZE);
	uint32_t length;

	if (used(CONTROL_RECEIVE) == (uint16_t)messages_read)
		return "";
	length = used_length(CONTROL_RECEIVE, messages_read++);
	ck_assert_uint_ge(length, sizeof(header));
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(at), &header, sizeof(header)), 0);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(at + sizeof(header)), rest, length - sizeof(header)), 0);
	ck_assert(le16toh(header.event) < ARRAY_SIZE(names) && names[le16toh(header.event)]);
	snprintf(text, sizeof(text), "%s %u %u%s%s", names[le16toh(header.event)], le32toh(header.id), le16toh(header.value),
		 *rest ? " " : "", rest);
	return text;
}

/* Through the status machine to DRIVER_OK, with the first @queues queues. */
static inline void start(uint64_t without, unsigned int queues)
{
	static const uint8_t zeroes[0x8000];
	const uint8_t known = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_status(driven, 0);
	virtio_set_status(driven, known);
	virtio_set_features(driven, driven->features_offered & ~without & ~BIT(VIRTIO_RING_F_EVENT_IDX));
	virtio_set_status(driven, known | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < queues; i++) {
		driver_ring_init(&rings[i], i);
		guest_poke(&driver_ram, DRIVER_RING(i), zeroes, sizeof(zeroes));
		virtio_queue_setup(driven, i, rings[i].size, gpa(rings[i].desc), gpa(rings[i].avail), gpa(rings[i].used));
		virtio_queue_enable(driven, i);
	}
	messages_read = 0;
	virtio_set_status(driven, known | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(driven->running);
}

/* The driver knows ports 1 to @ports; what it heard is in all_heard. */
static inline void greet(uint32_t ports)
{
	const char *heard;

	give_inbox(32);
	say(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t id = 1; id <= ports; id++)
		say(id, VIRTIO_CONSOLE_PORT_READY, 1);
	for (all_heard[0] = 0; *(heard = hear()); )
		snprintf(all_heard + strlen(all_heard), sizeof(all_heard) - strlen(all_heard), "%s;", heard);
}

static inline void send_text(const char *text)
{
	uint64_t at = DATA + 64ULL * (rings[TRANSMIT].next_avail % DRIVER_QUEUE_SIZE);

	guest_poke(&driver_ram, at, text, strlen(text));
	offer_one(TRANSMIT, at, (uint32_t)strlen(text), false);
}

#endif
