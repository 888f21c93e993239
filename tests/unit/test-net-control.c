/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/net-control.c, net-link.c, and the state of a network device. */
#include "tests/unit/board.h"
#include "control/control-internal.h"
#include "tests/unit/net-fake.h"

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
	ring_restart(&driver_rings[CTRL]);
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
}
SUITE_MAIN("net-control", add_tests)
