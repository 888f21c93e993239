/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/net*.c before a back end of the test's own: frames, what drivers ask for, and what hostile ones try. */
#include "tests/unit/board.h"
#include "tests/unit/net-fake.h"

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

static void add_tests(Suite *suite)
{
	TCase *tests;

	virtio_transport_register(&driver_transport);
	add_sending(suite);
	add_receiving(suite);
	tests = suite_case(suite, "options and frames", NULL, NULL);
	tcase_add_test(tests, wrong_networks_are_refused);
	tcase_add_test(tests, checksums_are_those_of_rfc_1071);
}
SUITE_MAIN("net", add_tests)
