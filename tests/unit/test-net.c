/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/net*.c before a back end of the test's own: what drivers ask for, and what hostile ones try. */
#include "tests/unit/board.h"

#include <stdlib.h>

#define DRIVER_RINGS	5
#include "control/control-internal.h"
#include "tests/unit/net-driver.h"

#define RX		0
#define TX		1
#define CTRL		2		/* with one pair; 4 with two */
#define HEADER		FRAME
#define DATA		(RAM_BASE + 0x31000)
#define ACK		(RAM_BASE + 0x30800)
#define FRAME_SIZE	1000u
#define OFFLOADS	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
			 BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))

static const uint8_t our_mac[6] = { 0x02, 0x15, 0x15, 1, 2, 3 };

/* ---- a back end: what it got, and what it gives ---- */

static struct fake {
	struct net_backend backend;
	bool started, wanted;
	uint64_t offloads;
	unsigned int sent, batches, left, served;	/* frames: from the guest; for it, still and so far */
	struct virtio_net_hdr_v1 header;
	uint8_t frame[NET_FRAME_MAX], given[NET_FRAME_MAX];
	size_t frame_length, given_length;
} fakes[2];

static struct fake *fake_of(struct net_backend *backend)
{
	return container_of(backend, struct fake, backend);
}

static int fake_start(struct net_backend *backend)
{
	fake_of(backend)->started = fake_of(backend)->wanted = true;
	return 0;
}

static void fake_stop(struct net_backend *backend)
{
	fake_of(backend)->started = false;
}

static void fake_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct fake *fake = fake_of(backend);

	ck_assert(fake->started);
	ck_assert_uint_eq(iov[0].iov_len, HEADER_SIZE);
	memcpy(&fake->header, iov[0].iov_base, HEADER_SIZE);
	for (unsigned int i = 1; i < count; i++)
		ck_assert(guest_owns(&driver_ram, &iov[i]));
	fake->frame_length = net_iov_read(iov + 1, count - 1, 0, fake->frame, sizeof(fake->frame));
	fake->sent++;
}

static void fake_send_done(struct net_backend *backend)
{
	fake_of(backend)->batches++;
}

static size_t fake_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct fake *fake = fake_of(backend);
	struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	ck_assert(fake->started);
	if (!fake->left)
		return 0;
	fake->left--;
	fake->served++;
	return net_iov_write(iov, count, 0, &header, HEADER_SIZE) +
	       net_iov_write(iov, count, HEADER_SIZE, fake->given, fake->given_length);
}

static void fake_want(struct net_backend *backend, bool wanted)
{
	fake_of(backend)->wanted = wanted;
}

static void fake_offloads(struct net_backend *backend, uint64_t features)
{
	fake_of(backend)->offloads = features;
}

static void fake_close(struct net_backend *backend)
{
	ck_assert(!fake_of(backend)->started);
}

static const struct net_backend_ops fake_ops = {
	.start = fake_start, .stop = fake_stop, .send = fake_send, .send_done = fake_send_done, .receive = fake_receive,
	.want = fake_want, .offloads = fake_offloads, .close = fake_close,
};

static const struct net_backend_type fake_type;

static int fake_create(struct net_setup *setup, struct network *network)
{
	int result = net_setup_done(setup, &fake_type);

	for (unsigned int i = 0; i < setup->pairs && i < 2 && !result; i++) {
		fakes[i].backend = (struct net_backend){ .ops = &fake_ops, .features = OFFLOADS, .loop = setup->loop, .link_up = true };
		network->backends[network->backend_count++] = &fakes[i].backend;
	}
	return result;
}

static const struct net_backend_type fake_type = { .name = "test", .keys = "", .create = fake_create };
NET_BACKEND(fake_type);

/* ---- the machine ---- */

static void machine(const char *network)
{
	log_set_sink(board_hush);
	net_machine(network);
}

static void setup(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03,mtu=1400");
	driver_start(0, 3);
}

static void setup_small(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03");
	driver_start(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CSUM), 3);
}

static void setup_pairs(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03,mq=2");
	driver_start(0, 5);
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

/* The loop has done what it was kicked for. */
static void nothing(void *opaque)
{
	(void)opaque;
}

static void settle(void)
{
	/* A batch that is cut short posts its rest. */
	for (unsigned int i = 0; i < 3; i++)
		event_loop_call(driven->loop, nothing, NULL);
}

static void on_loop_readable(void *opaque)
{
	struct fake *fake = opaque;

	/* As a back end without an fd to be watched does it. */
	if (!fake->started || !fake->wanted)
		return;
	fake->backend.client->readable(fake->backend.opaque);
	fake->backend.client->batch_done(fake->backend.opaque);
}

/* @count frames of @length bytes for the guest, to @mac. */
static void give(struct fake *fake, const uint8_t *mac, size_t length, unsigned int count)
{
	for (size_t i = 0; i < length; i++)
		fake->given[i] = (uint8_t)(i * 7 + length);
	memcpy(fake->given, mac, 6);
	fake->given_length = length;
	fake->left = count;
	event_loop_call(driven->loop, on_loop_readable, fake);
	settle();
}

static void wait_kicked(unsigned int queue)
{
	virtio_notify(driven, queue);
	/* The kick's eventfd and the call's are seen by one epoll_wait(), the kick first, or in two. */
	for (unsigned int i = 0; i < 100 && ring_used_index(&driver_rings[queue]) != driver_rings[queue].next_avail; i++) {
		settle();
		usleep(1000);
	}
	settle();
}

/* For a queue that doesn't use all at once. */
static void kick(unsigned int queue)
{
	virtio_notify(driven, queue);
	settle();
	usleep(2000);
	settle();
}

static uint16_t used(unsigned int queue)
{
	return ring_used_index(&driver_rings[queue]);
}

/* A frame of @length bytes behind @header, in one piece each. */
static void send_frame(unsigned int queue, const struct virtio_net_hdr_v1 *header, uint32_t length)
{
	const struct driver_buffer buffers[] = { { HEADER, HEADER_SIZE, false }, { DATA, length, false } };

	guest_poke(&driver_ram, HEADER, header, HEADER_SIZE);
	driver_offer(queue, 0, buffers, 2);
	wait_kicked(queue);
}

static void offer_buffers(unsigned int queue, unsigned int count, uint32_t size)
{
	for (unsigned int i = 0; i < count; i++)
		driver_offer(queue, (uint16_t)i, &(struct driver_buffer){ BUFFERS + (uint64_t)i * size, size, true }, 1);
	kick(queue);
}

static uint8_t control(unsigned int queue, const void *command, uint32_t length)
{
	const struct driver_buffer buffers[] = { { DATA, length, false }, { ACK, 1, true } };
	uint8_t untouched = 0xee;

	guest_poke(&driver_ram, DATA, command, length);
	guest_poke(&driver_ram, ACK, &untouched, 1);
	driver_offer(queue, 0, buffers, 2);
	wait_kicked(queue);
	return driver_peek(ACK);
}

#define COMMAND_(...) ((const uint8_t[]){ __VA_ARGS__ })
#define ask(...) control(CTRL, COMMAND_(__VA_ARGS__), sizeof(COMMAND_(__VA_ARGS__)))

static uint16_t config16(size_t offset)
{
	le16 value;

	virtio_config_read(driven, offset, &value, sizeof(value));
	return le16_get(value);
}

/* ---- sending ---- */

START_TEST(a_frame_reaches_the_back_end_whole_behind_a_clean_header)
{
	struct virtio_net_hdr_v1 header = { .flags = 0xfe, .num_buffers = 77, .csum_start = 9, .gso_size = 3, .hdr_len = 4 };
	static const struct virtio_net_hdr_v1 clean;
	uint8_t bytes[FRAME_SIZE];
	unsigned int batches = fakes[0].batches;

	for (unsigned int i = 0; i < FRAME_SIZE; i++)
		bytes[i] = (uint8_t)(i * 3);
	guest_poke(&driver_ram, DATA, bytes, FRAME_SIZE);
	send_frame(TX, &header, FRAME_SIZE);
	ck_assert_uint_eq(fakes[0].sent, 1);
	ck_assert_uint_eq(fakes[0].batches, batches + 1);
	ck_assert_mem_eq(&fakes[0].header, &clean, HEADER_SIZE);
	ck_assert_uint_eq(fakes[0].frame_length, FRAME_SIZE);
	ck_assert_mem_eq(fakes[0].frame, bytes, FRAME_SIZE);
	ck_assert_uint_eq(used(TX), 1);
	ck_assert_uint_eq(driver_used_length(TX, 0), 0);
}
END_TEST

START_TEST(a_header_may_lie_in_pieces_and_with_the_frame)
{
	const struct driver_buffer buffers[] = {
		{ DATA, 5, false }, { DATA + 5, 0, false }, { DATA + 5, 30, false }, { DATA + 35, 40, false },
	};

	driver_offer(TX, 0, buffers, 4);
	wait_kicked(TX);
	ck_assert_uint_eq(fakes[0].sent, 1);
	ck_assert_uint_eq(fakes[0].frame_length, 75 - HEADER_SIZE);
}
END_TEST

START_TEST(offloads_that_were_negotiated_are_handed_on)
{
	const struct virtio_net_hdr_v1 header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = htole16(34), .csum_offset = htole16(16),
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = htole16(1400), .hdr_len = htole16(54),
	};

	send_frame(TX, &header, 3000);
	ck_assert_uint_eq(fakes[0].sent, 1);
	ck_assert_mem_eq(&fakes[0].header, &header, HEADER_SIZE);
}
END_TEST

START_TEST(a_header_that_lies_costs_its_frame_only)
{
	static const struct virtio_net_hdr_v1 lies[] = {
		{ .flags = 1, .csum_start = 999, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 998, .csum_offset = 1 },
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 34, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 0 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 1400, .hdr_len = 1001 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 3, .gso_size = 1400 },	/* UFO: not offered */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x81, .gso_size = 1400 },	/* nor ECN */
		{ .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x7f, .gso_size = 1400 },
		{ .flags = 0, .gso_type = 1, .gso_size = 1400 },
	};
	static const struct virtio_net_hdr_v1 plain;

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
		send_frame(TX, &lies[i], FRAME_SIZE);
	ck_assert_uint_eq(used(TX), ARRAY_SIZE(lies));
	ck_assert_uint_eq(fakes[0].sent, 0);
	send_frame(TX, &plain, FRAME_SIZE);
	ck_assert_uint_eq(fakes[0].sent, 1);
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(frames_of_a_length_that_none_has_are_dropped)
{
	static const struct virtio_net_hdr_v1 plain;
	const struct driver_buffer header_only[] = { { HEADER, HEADER_SIZE, false } };

	driver_offer(TX, 0, header_only, 1);
	wait_kicked(TX);
	send_frame(TX, &plain, 13);
	send_frame(TX, &plain, NET_FRAME_MAX + 1);
	ck_assert_uint_eq(fakes[0].sent, 0);
	send_frame(TX, &plain, 14);
	send_frame(TX, &plain, NET_FRAME_MAX);
	ck_assert_uint_eq(fakes[0].sent, 2);
	ck_assert_uint_eq(fakes[0].frame_length, NET_FRAME_MAX);
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(a_frame_that_is_shorter_than_its_header_breaks_the_device)
{
	driver_offer(TX, 0, &(struct driver_buffer){ HEADER, HEADER_SIZE - 1, false }, 1);
	wait_kicked(TX);
	ck_assert(driver_needs_reset());
	ck_assert_uint_eq(fakes[0].sent, 0);
}
END_TEST

START_TEST(without_the_feature_no_checksum_is_asked_for)
{
	const struct virtio_net_hdr_v1 header = { .flags = 1, .csum_start = htole16(34), .csum_offset = htole16(16) };

	send_frame(TX, &header, FRAME_SIZE);
	ck_assert_uint_eq(fakes[0].sent, 0);
}
END_TEST

/* ---- receiving ---- */

START_TEST(a_frame_fills_one_buffer)
{
	uint8_t seen[FRAME_SIZE];

	offer_buffers(RX, 4, 1600);
	give(&fakes[0], our_mac, FRAME_SIZE, 1);
	ck_assert_uint_eq(used(RX), 1);
	ck_assert_uint_eq(driver_used_length(RX, 0), HEADER_SIZE + FRAME_SIZE);
	ck_assert_uint_eq(driver_peek(BUFFERS), VIRTIO_NET_HDR_F_DATA_VALID);
	ck_assert_uint_eq(guest_peek16(&driver_ram, BUFFERS + 10), 1);
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), seen, FRAME_SIZE), 0);
	ck_assert_mem_eq(seen, fakes[0].given, FRAME_SIZE);
}
END_TEST

START_TEST(a_large_frame_is_spread_over_buffers)
{
	uint8_t seen[3000];

	offer_buffers(RX, 8, 1000);
	give(&fakes[0], our_mac, 2500, 2);
	ck_assert_uint_eq(used(RX), 6);
	ck_assert_uint_eq(guest_peek16(&driver_ram, BUFFERS + 10), 3);
	ck_assert_uint_eq(driver_used_length(RX, 5), 1000);
	ck_assert_uint_eq(driver_used_length(RX, 3), 500 + HEADER_SIZE);
	ck_assert_uint_eq(guest_peek16(&driver_ram, BUFFERS + 3000 + 10), 3);
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), seen, 2500), 0);
	ck_assert_mem_eq(seen, fakes[0].given, 2500);
}
END_TEST

START_TEST(a_frame_waits_for_buffers_and_then_comes_in_its_turn)
{
	offer_buffers(RX, 1, 1000);
	give(&fakes[0], our_mac, 2500, 2);
	ck_assert_uint_eq(used(RX), 0);
	ck_assert(!fakes[0].wanted);
	ck_assert_uint_eq(fakes[0].served, 1);
	offer_buffers(RX, 2, 1000);
	ck_assert_uint_eq(used(RX), 3);
	offer_buffers(RX, 3, 1000);
	ck_assert_uint_eq(used(RX), 6);
	ck_assert_uint_eq(fakes[0].served, 2);
	offer_buffers(RX, 1, 1000);
	ck_assert(fakes[0].wanted);
}
END_TEST

START_TEST(a_driver_without_buffers_is_not_served)
{
	give(&fakes[0], our_mac, FRAME_SIZE, 1000);
	ck_assert_uint_eq(fakes[0].served, 0);
	ck_assert(!fakes[0].wanted);
	offer_buffers(RX, 10, 1600);
	ck_assert_uint_eq(used(RX), 10);
	ck_assert_uint_eq(fakes[0].served, 10);
	ck_assert(!fakes[0].wanted);
}
END_TEST

START_TEST(without_merging_a_frame_that_is_too_large_is_dropped)
{
	offer_buffers(RX, 2, 500);
	give(&fakes[0], our_mac, 600, 1);
	ck_assert_uint_eq(used(RX), 0);
	give(&fakes[0], our_mac, 500 - HEADER_SIZE, 1);
	ck_assert_uint_eq(used(RX), 1);
	ck_assert_uint_eq(driver_used_length(RX, 0), 500);
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(a_buffer_that_is_shorter_than_the_header_breaks_the_device)
{
	offer_buffers(RX, 1, HEADER_SIZE - 1);
	give(&fakes[0], our_mac, FRAME_SIZE, 1);
	ck_assert(driver_needs_reset());
	ck_assert_uint_eq(fakes[0].served, 0);
	/* What comes then is nobody's, and the back end hears so instead of being asked for ever. */
	give(&fakes[0], our_mac, FRAME_SIZE, 1);
	ck_assert(!fakes[0].wanted);
}
END_TEST

START_TEST(a_readable_receive_buffer_breaks_the_device)
{
	driver_offer(RX, 0, &(struct driver_buffer){ BUFFERS, 1600, false }, 1);
	kick(RX);
	give(&fakes[0], our_mac, FRAME_SIZE, 1);
	ck_assert(driver_needs_reset());
}
END_TEST

START_TEST(buffers_in_a_thousand_pieces_cut_nothing_but_the_frame)
{
	struct driver_buffer pieces[60];

	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++)
		pieces[i] = (struct driver_buffer){ BUFFERS + i, 1, true };
	driver_offer(RX, 0, pieces, ARRAY_SIZE(pieces));
	kick(RX);
	give(&fakes[0], our_mac, 60 - HEADER_SIZE, 1);
	ck_assert_uint_eq(used(RX), 1);
	ck_assert_uint_eq(driver_used_length(RX, 0), 60);
	ck_assert_uint_eq(driver_peek(BUFFERS + HEADER_SIZE + 47), fakes[0].given[47]);
}
END_TEST

START_TEST(frames_of_a_peer_that_are_too_short_are_dropped)
{
	offer_buffers(RX, 4, 1600);
	give(&fakes[0], our_mac, 13, 1);
	give(&fakes[0], our_mac, 1, 1);
	ck_assert_uint_eq(used(RX), 0);
	ck_assert_uint_eq(fakes[0].served, 2);
}
END_TEST

/* ---- control ---- */

static unsigned int let_through(const uint8_t *mac)
{
	uint16_t before = used(RX);

	give(&fakes[0], mac, FRAME_SIZE, 1);
	return (uint16_t)(used(RX) - before);
}

START_TEST(filters_let_through_what_was_asked_for)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t group[6] = { 0x33, 0x33, 0, 0, 0, 1 }, other_group[6] = { 0x33, 0x33, 0, 0, 0, 2 };
	static const uint8_t other[6] = { 2, 0, 0, 0, 0, 9 };

	offer_buffers(RX, 32, 1600);
	ck_assert_uint_eq(let_through(other), 1);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(other), 0);
	ck_assert_uint_eq(let_through(our_mac), 1);
	ck_assert_uint_eq(let_through(broadcast), 1);
	ck_assert_uint_eq(let_through(group), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 1, 0, 0, 0, 2, 0, 0, 0, 0, 9,
			      1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(other), 1);
	ck_assert_uint_eq(let_through(group), 1);
	ck_assert_uint_eq(let_through(other_group), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(other_group), 1);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(broadcast), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(our_mac), 0);
}
END_TEST

/* The tag lies in what give() makes of the length: bytes 12 and 13 are set here, the VLAN is in bytes 14 and 15. */
static unsigned int let_through_tagged(uint16_t vlan)
{
	uint16_t before = used(RX);

	give(&fakes[0], our_mac, FRAME_SIZE, 0);
	fakes[0].given[12] = 0x81;
	fakes[0].given[13] = 0x00;
	fakes[0].given[14] = (uint8_t)(0xe0 | vlan >> 8);
	fakes[0].given[15] = (uint8_t)vlan;
	fakes[0].left = 1;
	event_loop_call(driven->loop, on_loop_readable, &fakes[0]);
	return (uint16_t)(used(RX) - before);
}

START_TEST(vlans_pass_that_were_added)
{
	offer_buffers(RX, 8, 1600);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through_tagged(0x123), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0x23, 0x01), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through_tagged(0x123), 1);
	ck_assert_uint_eq(let_through_tagged(0x124), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, 0x23, 0x01), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through_tagged(0x123), 0);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0x00, 0x10), VIRTIO_NET_ERR);
}
END_TEST

START_TEST(the_mac_address_follows_the_driver_until_a_reset)
{
	uint8_t seen[6];

	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 9, 9, 9, 9, 9), VIRTIO_NET_OK);
	virtio_config_read(driven, 0, seen, 6);
	ck_assert_mem_eq(seen, ((uint8_t[]){ 2, 9, 9, 9, 9, 9 }), 6);
	/* 5.1.4.2: not by config space, but for legacy drivers */
	virtio_config_write(driven, 0, our_mac, 6);
	virtio_config_read(driven, 0, seen, 6);
	ck_assert_uint_eq(seen[1], 9);
	virtio_set_status(driven, 0);
	virtio_config_read(driven, 0, seen, 6);
	ck_assert_mem_eq(seen, our_mac, 6);
}
END_TEST

START_TEST(control_garbage_is_refused_and_changes_nothing)
{
	uint8_t table[2 + 4] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 0xff, 0xff, 0xff, 0xff };

	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, 77, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(200, 0, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 1, 2), VIRTIO_NET_ERR);
	ck_assert_uint_eq(control(CTRL, table, sizeof(table)), VIRTIO_NET_ERR);
	ck_assert_uint_eq(control(CTRL, table, 5), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_VLAN, 0, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 0), VIRTIO_NET_ERR);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 0xff, 0xff, 0xff, 0xff,
			      0, 0, 0, 0), VIRTIO_NET_ERR);
	ck_assert_uint_eq(fakes[0].offloads, BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4));
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(a_control_command_without_room_for_its_status_breaks_the_device)
{
	driver_offer(CTRL, 0, &(struct driver_buffer){ DATA, 3, false }, 1);
	wait_kicked(CTRL);
	ck_assert(driver_needs_reset());
}
END_TEST

START_TEST(too_many_addresses_are_taken_for_all)
{
	static const uint8_t other[6] = { 2, 0, 0, 0, 0, 9 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint8_t table[2 + 4 + 65 * 6 + 4] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 65 };

	offer_buffers(RX, 8, 1600);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(other), 0);
	ck_assert_uint_eq(control(CTRL, table, sizeof(table)), VIRTIO_NET_OK);
	ck_assert_uint_eq(let_through(other), 1);
	ck_assert_uint_eq(let_through(group), 0);
}
END_TEST

START_TEST(guest_offloads_are_turned_off_and_on)
{
	const uint8_t csum = BIT(VIRTIO_NET_F_GUEST_CSUM);

	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, csum, 0, 0, 0, 0, 0, 0, 0),
			  VIRTIO_NET_OK);
	ck_assert_uint_eq(fakes[0].offloads, csum);
}
END_TEST

/* ---- pairs, link, state ---- */

START_TEST(pairs_are_started_and_stopped_as_the_driver_says)
{
	static const uint8_t two[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0 };
	static const uint8_t three[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 3, 0 };
	static const uint8_t none[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 0, 0 };
	static const uint8_t one[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 0 };
	static const struct virtio_net_hdr_v1 plain;

	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, max_virtqueue_pairs)), 2);
	ck_assert(fakes[0].started && !fakes[1].started);
	ck_assert_uint_eq(control(4, three, 4), VIRTIO_NET_ERR);
	ck_assert_uint_eq(control(4, none, 4), VIRTIO_NET_ERR);
	ck_assert_uint_eq(control(4, two, 4), VIRTIO_NET_OK);
	ck_assert(fakes[1].started);
	offer_buffers(2, 4, 1600);
	give(&fakes[1], our_mac, FRAME_SIZE, 1);
	ck_assert_uint_eq(used(2), 1);
	send_frame(3, &plain, FRAME_SIZE);
	ck_assert_uint_eq(fakes[1].sent, 1);
	ck_assert_uint_eq(control(4, one, 4), VIRTIO_NET_OK);
	ck_assert(fakes[0].started && !fakes[1].started);
	/* A driver that sends on by the second one all the same. */
	send_frame(3, &plain, FRAME_SIZE);
	ck_assert_uint_eq(fakes[0].sent, 1);
}
END_TEST

START_TEST(a_driver_of_one_pair_finds_its_control_queue)
{
	driver_start(BIT(VIRTIO_NET_F_MQ), 3);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
}
END_TEST

static void link_down(void *opaque)
{
	struct net_backend *backend = opaque;

	atomic_store(&backend->link_up, false);
	backend->client->link_changed(backend->opaque);
}

START_TEST(the_link_is_told_to_the_driver)
{
	unsigned int before = atomic_load(&driver_config_interrupts);

	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, status)), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, mtu)), 1400);
	event_loop_call(driven->loop, link_down, &fakes[0].backend);
	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, status)), 0);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), before + 1);
}
END_TEST

static int set_link(const char *name, const json_t *up)
{
	const struct qmp_command *command = qmp_command_first();
	json_t *arguments = json_pack("{s:s,s:O}", "name", name, "up", up), *result = NULL;
	char *error = NULL;
	int status;

	while (strcmp(command->name, "set_link"))
		command = command->next;
	status = command->run(kvm, arguments, &result, &error);
	ck_assert(!status == !error);
	free(error);
	json_decref(arguments);
	return status;
}

START_TEST(a_cable_that_is_pulled_lets_no_frame_pass)
{
	static const struct virtio_net_hdr_v1 plain;

	offer_buffers(RX, 4, 1600);
	ck_assert_int_eq(set_link("virtio-net1", json_false()), -ENOENT);
	ck_assert_int_eq(set_link("virtio-net0", json_null()), -EINVAL);
	ck_assert_int_eq(set_link("virtio-net0", json_false()), 0);
	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, status)), 0);
	send_frame(TX, &plain, FRAME_SIZE);
	give(&fakes[0], our_mac, FRAME_SIZE, 2);
	ck_assert_uint_eq(used(TX), 1);
	ck_assert_uint_eq(used(RX), 0);
	ck_assert_uint_eq(fakes[0].sent, 0);
	ck_assert_uint_eq(fakes[0].served, 2);
	ck_assert_int_eq(set_link("virtio-net0", json_true()), 0);
	ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, status)), VIRTIO_NET_S_LINK_UP);
	send_frame(TX, &plain, FRAME_SIZE);
	ck_assert_uint_eq(fakes[0].sent, 1);
}
END_TEST

START_TEST(its_state_is_saved_and_loaded)
{
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 9, 9, 9, 9, 9), VIRTIO_NET_OK);
	offer_buffers(RX, 4, 1600);
	give(&fakes[0], ((uint8_t[]){ 2, 9, 9, 9, 9, 9 }), FRAME_SIZE, 1);
	board_save_load(kvm, "virtio-net0");
}
END_TEST

START_TEST(buffers_that_were_taken_are_the_drivers_again_after_a_pause)
{
	struct device *device = device_find(kvm, "virtio-net0");

	offer_buffers(RX, 2, 1000);
	give(&fakes[0], our_mac, 2500, 1);
	ck_assert_uint_eq(used(RX), 0);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert(!fakes[0].started);
	ck_assert_uint_eq(driven->queues[RX].in_flight, 0);
	device->ops->resume(device);
	ck_assert(fakes[0].started);
	give(&fakes[0], our_mac, 1500, 1);
	ck_assert_uint_eq(used(RX), 2);
}
END_TEST

START_TEST(after_a_load_the_driver_is_asked_to_announce_itself)
{
	struct device *device = device_find(kvm, "virtio-net0");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	state_writer_free(&writer);
	ck_assert(config16(offsetof(struct virtio_net_config, status)) & VIRTIO_NET_S_ANNOUNCE);
	driver_rings[CTRL].next_avail = 0;
	ck_assert_uint_eq(ask(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK), VIRTIO_NET_OK);
	ck_assert(!(config16(offsetof(struct virtio_net_config, status)) & VIRTIO_NET_S_ANNOUNCE));
}
END_TEST

START_TEST(hostile_state_is_refused)
{
	offer_buffers(RX, 4, 1600);
	board_load_hostile(kvm, "virtio-net0", NULL);
}
END_TEST

/* ---- what -n says ---- */

START_TEST(wrong_networks_are_refused)
{
	net_refused("mode=nosuch", EUSAGE, "no mode is called 'nosuch'");
	net_refused("mode=test,colour=red", EUSAGE, "colour");
	net_refused("mode=none,guest_mac=02:15:15:01:02:03", EUSAGE, "guest_mac");
	net_refused("mode=test,guest_mac=03:15:15:01:02:03", EUSAGE, "guest_mac=03:15:15:01:02:03 is no MAC address");
	net_refused("mode=test,guest_mac=02:15:15:01:02", EUSAGE, "no MAC address");
	net_refused("mode=test,guest_mac=02:15:15:01:02:03:04", EUSAGE, "no MAC address");
	net_refused("mode=test,guest_mac=02:15:15:01:02:0", EUSAGE, "no MAC address");
	net_refused("mode=test,guest_mac=02:15:15:01:02:0g", EUSAGE, "no MAC address");
	net_refused("mode=test,mtu=67", EUSAGE, "mtu=67 is not between");
	net_refused("mode=test,mtu=65536", EUSAGE, "mtu=65536 is not between");
	net_refused("mode=test,mq=17", EUSAGE, "mq=17 is no number of queue pairs");
	net_refused("mode=test,mq=x", EUSAGE, "mq=x is no number");
	net_refused("mode=test,vhost=1", EUSAGE, "vhost= is for mode=tap");
	net_refused("mode=test,trans=usb", EUSAGE, "trans=usb is no transport");
	net_refused("mode=test,host_ip=1.2.3", EUSAGE, "host_ip=1.2.3 is no IPv4 address");
	net_refused("mode=vhost-user", EUSAGE, "needs socket=");
}
END_TEST

/* ---- frames ---- */

START_TEST(checksums_are_those_of_rfc_1071)
{
	uint8_t frame[] = { 0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0 };
	uint8_t odd[] = { 9, 9, 9, 1, 0, 0 }, zero[] = { 0, 0 }, past[] = { 1, 2, 3, 4 };

	/* The RFC's own example: 2ddf0 -> ddf2, inverted 220d */
	net_checksum_fill(frame, sizeof(frame), 0, 8);
	ck_assert_mem_eq(frame + 8, "\x22\x0d", 2);
	net_checksum_fill(odd, sizeof(odd), 3, 1);
	ck_assert_mem_eq(odd, ((uint8_t[]){ 9, 9, 9, 1, 0xfe, 0xff }), 6);
	net_checksum_fill(zero, sizeof(zero), 0, 0);
	ck_assert_mem_eq(zero, "\xff\xff", 2);
	net_checksum_fill(past, sizeof(past), 2, 1);
	net_checksum_fill(past, sizeof(past), 5, 0);
	ck_assert_mem_eq(past, ((uint8_t[]){ 1, 2, 3, 4 }), 4);
}
END_TEST

static void add_sending(Suite *suite)
{
	TCase *tests = suite_case(suite, "sending", setup, teardown);

	tcase_add_test(tests, a_frame_reaches_the_back_end_whole_behind_a_clean_header);
	tcase_add_test(tests, a_header_may_lie_in_pieces_and_with_the_frame);
	tcase_add_test(tests, offloads_that_were_negotiated_are_handed_on);
	tcase_add_test(tests, a_header_that_lies_costs_its_frame_only);
	tcase_add_test(tests, frames_of_a_length_that_none_has_are_dropped);
	tcase_add_test(tests, a_frame_that_is_shorter_than_its_header_breaks_the_device);
	tests = suite_case(suite, "without offloads", setup_small, teardown);
	tcase_add_test(tests, without_the_feature_no_checksum_is_asked_for);
	tcase_add_test(tests, without_merging_a_frame_that_is_too_large_is_dropped);
}

static void add_receiving(Suite *suite)
{
	TCase *tests = suite_case(suite, "receiving", setup, teardown);

	tcase_add_test(tests, a_frame_fills_one_buffer);
	tcase_add_test(tests, a_large_frame_is_spread_over_buffers);
	tcase_add_test(tests, a_frame_waits_for_buffers_and_then_comes_in_its_turn);
	tcase_add_test(tests, a_driver_without_buffers_is_not_served);
	tcase_add_test(tests, a_buffer_that_is_shorter_than_the_header_breaks_the_device);
	tcase_add_test(tests, a_readable_receive_buffer_breaks_the_device);
	tcase_add_test(tests, buffers_in_a_thousand_pieces_cut_nothing_but_the_frame);
	tcase_add_test(tests, frames_of_a_peer_that_are_too_short_are_dropped);
}

static void add_control(Suite *suite)
{
	TCase *tests = suite_case(suite, "control", setup, teardown);

	tcase_add_test(tests, filters_let_through_what_was_asked_for);
	tcase_add_test(tests, vlans_pass_that_were_added);
	tcase_add_test(tests, the_mac_address_follows_the_driver_until_a_reset);
	tcase_add_test(tests, control_garbage_is_refused_and_changes_nothing);
	tcase_add_test(tests, a_control_command_without_room_for_its_status_breaks_the_device);
	tcase_add_test(tests, too_many_addresses_are_taken_for_all);
	tcase_add_test(tests, guest_offloads_are_turned_off_and_on);
}

static void add_tests(Suite *suite)
{
	TCase *tests;

	virtio_transport_register(&driver_transport);
	add_sending(suite);
	add_receiving(suite);
	add_control(suite);
	tests = suite_case(suite, "pairs", setup_pairs, teardown);
	tcase_add_test(tests, pairs_are_started_and_stopped_as_the_driver_says);
	tcase_add_test(tests, a_driver_of_one_pair_finds_its_control_queue);
	tests = suite_case(suite, "state", setup, teardown);
	tcase_add_test(tests, the_link_is_told_to_the_driver);
	tcase_add_test(tests, a_cable_that_is_pulled_lets_no_frame_pass);
	tcase_add_test(tests, its_state_is_saved_and_loaded);
	tcase_add_test(tests, buffers_that_were_taken_are_the_drivers_again_after_a_pause);
	tcase_add_test(tests, after_a_load_the_driver_is_asked_to_announce_itself);
	tcase_add_test(tests, hostile_state_is_refused);
	tests = suite_case(suite, "options and frames", NULL, NULL);
	tcase_add_test(tests, wrong_networks_are_refused);
	tcase_add_test(tests, checksums_are_those_of_rfc_1071);
}
SUITE_MAIN("net", add_tests)
