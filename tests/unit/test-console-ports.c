/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio/ports.c, ports-control.c and port.c: the handshake, bytes both ways with either side slow, closes, saved
 * state, and drivers that lie.
 */
#include "tests/unit/board.h"

#include "kvm/port.h"
#include "tests/unit/port-driver.h"

/* What the owner of a port saw, and how much it is ready to take. */
struct owner {
	struct port *port;
	unsigned int opened, closed, writable;
	char log[64];			/* o, c, and what was received */
	uint64_t received;
	size_t ready;
	bool closes;			/* its end, when something comes */
};

static struct owner owners[2];

/* ---- the owner ---- */

static void owner_log(struct owner *owner, const char *text, size_t length)
{
	size_t at = strlen(owner->log);

	if (at + length < sizeof(owner->log))
		memcpy(owner->log + at, text, length);
}

static void owner_opened(struct port *port, void *opaque)
{
	struct owner *owner = opaque;

	ck_assert_ptr_eq(port, owner->port);
	ck_assert(port_is_open(port));
	owner->opened++;
	owner_log(owner, "o", 1);
}

static void owner_closed(struct port *port, void *opaque)
{
	struct owner *owner = opaque;

	ck_assert(!port_is_open(port));
	owner->closed++;
	owner_log(owner, "c", 1);
}

static size_t owner_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct owner *owner = opaque;
	size_t taken = MIN(length, owner->ready);

	ck_assert_uint_gt(length, 0);
	owner_log(owner, data, taken);
	owner->ready -= taken;
	owner->received += taken;
	if (owner->closes)
		port_close(port);
	return taken;
}

static void owner_writable(struct port *port, void *opaque)
{
	(void)port;
	((struct owner *)opaque)->writable++;
}

static const struct port_ops owner_ops = {
	.opened = owner_opened, .closed = owner_closed, .receive = owner_receive, .writable = owner_writable,
};

static void open_port(void)
{
	greet(2);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_str_eq(owners[0].log, "o");
	owners[0].log[0] = 0;
}

static void setup(void)
{
	static const char *const names[] = { "first", "org.second.0" };

	log_set_sink(board_hush);
	memset(owners, 0, sizeof(owners));
	kvm = driver_machine();
	for (unsigned int i = 0; i < 2; i++) {
		owners[i].ready = SIZE_MAX;
		ck_assert_int_eq(port_create(kvm, names[i], &owner_ops, &owners[i], &owners[i].port), 0);
	}
	port_open(owners[0].port);
	board_add(kvm, "virtio_ports_init");
	start(0, QUEUES);
}

static void teardown(void)
{
	struct config *config = kvm->config;

	init_unwind(kvm, &kvm->init_done);
	for (unsigned int i = 0; i < 2; i++)
		port_destroy(owners[i].port);
	irqs_exit(kvm);
	kvm_free(kvm);
	config_free(config);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

/* ---- the handshake ---- */

START_TEST(the_guest_is_told_of_ports_then_of_open_ends_then_of_names)
{
	le32 ports;

	virtio_config_read(driven, offsetof(struct virtio_console_config, max_nr_ports), &ports, sizeof(ports));
	ck_assert_uint_eq(le32_get(ports), 3);
	give_inbox(16);
	ck_assert_str_eq(hear(), "");
	say(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	ck_assert_str_eq(hear(), "add 1 1");
	ck_assert_str_eq(hear(), "add 2 1");
	ck_assert_str_eq(hear(), "");
	say(2, VIRTIO_CONSOLE_PORT_READY, 1);
	ck_assert_str_eq(hear(), "name 2 1 org.second.0");
	say(1, VIRTIO_CONSOLE_PORT_READY, 1);
	ck_assert_str_eq(hear(), "open 1 1");
	ck_assert_str_eq(hear(), "name 1 1 first");
	ck_assert_str_eq(hear(), "");
}
END_TEST

START_TEST(messages_wait_for_buffers)
{
	say(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	give_inbox(1);
	ck_assert_str_eq(hear(), "add 1 1");
	ck_assert_str_eq(hear(), "");
	give_inbox(1);
	ck_assert_str_eq(hear(), "add 2 1");
}
END_TEST

START_TEST(a_close_and_a_new_open_are_both_told_and_writing_waits_for_them)
{
	open_port();
	offer_one(RECEIVE, DATA, 64, true);
	while (used(CONTROL_RECEIVE) != rings[CONTROL_RECEIVE].next_avail)
		port_close(owners[0].port), settle(), port_open(owners[0].port), settle();
	while (*hear())
		;
	for (unsigned int i = 0; i < 5; i++)
		port_close(owners[0].port), settle(), port_open(owners[0].port), settle();
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	give_inbox(8);
	ck_assert_str_eq(hear(), "open 1 0");
	ck_assert_str_eq(hear(), "open 1 1");
	ck_assert_str_eq(hear(), "");
	ck_assert_uint_eq(owners[0].writable, 1);
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 1);
}
END_TEST

START_TEST(the_guests_opens_and_closes_are_told_once_each)
{
	greet(2);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_str_eq(owners[0].log, "oco");
	ck_assert_str_eq(owners[1].log, "");
	virtio_set_status(driven, 0);
	ck_assert_str_eq(owners[0].log, "ococ");
}
END_TEST

/* ---- guest to owner ---- */

START_TEST(what_the_guest_sends_is_received_in_order)
{
	const struct driver_buffer pieces[] = { { DATA + 2000, 3, false }, { DATA + 2003, 4, false } };

	open_port();
	guest_poke(&driver_ram, DATA + 2000, "pieces.", 7);
	send_text("one ");
	offer(TRANSMIT, 8, pieces, 2);
	kick(TRANSMIT);
	send_text(" end");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "one pieces. end");
	ck_assert_uint_eq(used(TRANSMIT), 3);
	ck_assert_uint_eq(used_length(TRANSMIT, 1), 0);
}
END_TEST

START_TEST(an_owner_that_takes_less_gets_the_rest_when_it_asks)
{
	open_port();
	owners[0].ready = 3;
	send_text("abcdef");
	send_text("ghi");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "abc");
	kick(TRANSMIT);
	ck_assert_uint_eq(used(TRANSMIT), 0);
	owners[0].ready = 4;
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "abc");
	port_resume(owners[0].port);
	settle();
	ck_assert_str_eq(owners[0].log, "abcdefg");
	ck_assert_uint_eq(used(TRANSMIT), 1);
	/* The other port isn't held up. */
	say(2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	port_open(owners[1].port);
	guest_poke(&driver_ram, DATA, "other", 5);
	offer_one(TRANSMIT_2, DATA, 5, false);
	kick(TRANSMIT_2);
	ck_assert_str_eq(owners[1].log, "oother");
	owners[0].ready = SIZE_MAX;
	port_resume(owners[0].port);
	settle();
	ck_assert_str_eq(owners[0].log, "abcdefghi");
	ck_assert_uint_eq(used(TRANSMIT), 2);
}
END_TEST

START_TEST(data_that_overtakes_its_open_is_received)
{
	struct virtio_console_control message = { htole32(1), htole16(VIRTIO_CONSOLE_PORT_OPEN), htole16(1) };

	greet(2);
	guest_poke(&driver_ram, OUTBOX, &message, sizeof(message));
	offer_one(CONTROL_TRANSMIT, OUTBOX, sizeof(message), false);
	send_text("quick");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "oquick");
}
END_TEST

START_TEST(the_close_comes_behind_all_that_was_sent)
{
	open_port();
	owners[0].ready = 2;
	send_text("abc");
	send_text("def");
	kick(TRANSMIT);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_str_eq(owners[0].log, "ab");
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	/* Opened and closed again meanwhile: a second stream follows the first. */
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	send_text("ghi");
	kick(TRANSMIT);
	if (_i)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_str_eq(owners[0].log, "ab");
	owners[0].ready = SIZE_MAX;
	port_resume(owners[0].port);
	settle();
	ck_assert_str_eq(owners[0].log, _i ? "abcdefcoghic" : "abcdefcoghi");
}
END_TEST

/* What was half received is gone with its ring; a close behind it is told. */
START_TEST(a_queue_s_reset_forgets_what_was_sent)
{
	static const uint8_t zeroes[0x8000];
	struct ring *ring = &rings[TRANSMIT];

	open_port();
	owners[0].ready = 2;
	send_text("abc");
	send_text("def");
	kick(TRANSMIT);
	if (_i)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_str_eq(owners[0].log, "ab");
	virtio_queue_reset(driven, TRANSMIT);
	ck_assert_str_eq(owners[0].log, _i ? "abc" : "ab");

	guest_poke(&driver_ram, DRIVER_RING(TRANSMIT), zeroes, sizeof(zeroes));
	ring_restart(ring);
	virtio_queue_setup(driven, TRANSMIT, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, TRANSMIT);
	owners[0].ready = SIZE_MAX;
	port_resume(owners[0].port);
	settle();
	if (_i)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	send_text("new");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, _i ? "abconew" : "abnew");
	ck_assert_uint_eq(used(TRANSMIT), 1);
}
END_TEST

START_TEST(what_comes_while_an_end_is_closed_is_dropped)
{
	if (_i == 0)
		open_port(), port_close(owners[0].port);
	else if (_i == 1)
		greet(2);
	else
		open_port(), owners[0].closes = true;
	send_text("lost");
	send_text("too");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, _i == 2 ? "lost" : "");
	ck_assert_uint_eq(used(TRANSMIT), 2);
}
END_TEST

START_TEST(a_close_drops_what_was_held_back)
{
	open_port();
	owners[0].ready = 1;
	send_text("abc");
	kick(TRANSMIT);
	send_text("def");
	port_close(owners[0].port);
	port_open(owners[0].port);
	owners[0].ready = SIZE_MAX;
	send_text("new");
	settle();
	ck_assert_uint_eq(used(TRANSMIT), 3);
	ck_assert_str_eq(owners[0].log, "anew");
}
END_TEST

/* ---- owner to guest ---- */

START_TEST(what_is_written_fills_buffers_and_more_waits_for_room)
{
	char text[16] = "";

	open_port();
	ck_assert_uint_eq(port_room(owners[0].port), 0);
	ck_assert_uint_eq(port_write(owners[0].port, "abcdefgh", 8), 0);
	offer_one(RECEIVE, DATA, 4, true);
	offer_one(RECEIVE, DATA + 4, 2, true);
	kick(RECEIVE);
	ck_assert_uint_eq(owners[0].writable, 1);
	ck_assert_uint_eq(port_room(owners[0].port), 4);
	ck_assert_uint_eq(port_write(owners[0].port, "abcdefgh", 8), 6);
	ck_assert_uint_eq(used(RECEIVE), 2);
	ck_assert_uint_eq(used_length(RECEIVE, 0), 4);
	ck_assert_uint_eq(used_length(RECEIVE, 1), 2);
	offer_one(RECEIVE, DATA + 6, 64, true);
	kick(RECEIVE);
	ck_assert_uint_eq(owners[0].writable, 2);
	ck_assert_uint_eq(port_write(owners[0].port, "gh", 2), 2);
	ck_assert_uint_eq(used_length(RECEIVE, 2), 2);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), text, 8), 0);
	ck_assert_str_eq(text, "abcdefgh");
	/* Nobody waits: more room is no news. */
	offer_one(RECEIVE, DATA, 64, true);
	kick(RECEIVE);
	ck_assert_uint_eq(owners[0].writable, 2);
}
END_TEST

START_TEST(nothing_is_written_before_the_guest_opens)
{
	greet(2);
	offer_one(RECEIVE, DATA, 64, true);
	kick(RECEIVE);
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	ck_assert_uint_eq(owners[0].writable, 0);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(owners[0].writable, 1);
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 1);
	ck_assert_uint_eq(driver_peek(DATA), 'x');
}
END_TEST

START_TEST(a_paused_machine_takes_nothing_and_says_when_it_does)
{
	struct device *device = device_find(kvm, "virtio-ports");

	open_port();
	offer_one(RECEIVE, DATA, 64, true);
	owners[0].ready = 0;
	send_text("abc");
	kick(TRANSMIT);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	owners[0].ready = SIZE_MAX;
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	port_resume(owners[0].port);
	port_close(owners[0].port);
	port_open(owners[0].port);
	settle();
	ck_assert_str_eq(owners[0].log, "");
	ck_assert_str_eq(hear(), "");
	ck_assert_uint_eq(used(RECEIVE), 0);
	device->ops->resume(device);
	settle();
	ck_assert_str_eq(hear(), "open 1 0");
	ck_assert_uint_eq(owners[0].writable, 1);
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 1);
}
END_TEST

/* ---- saved state, reset ---- */

START_TEST(saved_and_loaded_it_is_the_same)
{
	open_port();
	owners[0].ready = 2;
	send_text("abcdef");
	kick(TRANSMIT);
	if (_i)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	board_save_load(kvm, "virtio-ports");
	/* The torn stream that it tried last left a device that was reset. */
	ck_assert_str_eq(owners[0].log, "abcoc");
}
END_TEST

START_TEST(a_half_received_request_goes_on_after_a_load)
{
	struct device *device = device_find(kvm, "virtio-ports");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	open_port();
	owners[0].ready = 2;
	send_text("abcdef");
	kick(TRANSMIT);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	port_close(owners[0].port);
	owners[0].ready = SIZE_MAX;
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	port_open(owners[0].port);
	device->ops->resume(device);
	settle();
	ck_assert_str_eq(owners[0].log, "abcocdef");
	/* And the guest hears that the host's end is another. */
	ck_assert_str_eq(hear(), "open 1 0");
	ck_assert_str_eq(hear(), "open 1 1");
	state_writer_free(&writer);
}
END_TEST

static void poke(void)
{
	struct device *device = device_find(kvm, "virtio-ports");

	device->ops->resume(device);
	settle();
	port_write(owners[0].port, "x", 1);
	port_resume(owners[0].port);
	settle();
	ck_assert_int_eq(device->ops->quiesce(device), 0);
}

START_TEST(hostile_saved_state_is_refused_or_harmless)
{
	open_port();
	offer_one(RECEIVE, DATA, 64, true);
	send_text("abcdef");
	say(2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	board_load_hostile(kvm, "virtio-ports", poke);
}
END_TEST

START_TEST(a_driver_that_comes_back_starts_anew)
{
	open_port();
	owners[0].ready = 1;
	send_text("abc");
	kick(TRANSMIT);
	start(0, QUEUES);
	ck_assert_str_eq(owners[0].log, "ac");
	owners[0].log[0] = 0, owners[0].log[1] = 0;
	owners[0].ready = SIZE_MAX;
	give_inbox(8);
	ck_assert_str_eq(hear(), "");
	open_port();
	send_text("new");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "new");
}
END_TEST

/* ---- drivers that lie ---- */

static const struct virtio_console_control nonsense[] = {
	{ 3, VIRTIO_CONSOLE_PORT_READY, 1 }, { UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1 }, { 0, VIRTIO_CONSOLE_PORT_OPEN, 1 },
	{ 0x80000001, VIRTIO_CONSOLE_PORT_READY, 1 }, { 1, VIRTIO_CONSOLE_PORT_ADD, 1 }, { 1, VIRTIO_CONSOLE_PORT_NAME, 1 },
	{ 1, VIRTIO_CONSOLE_RESIZE, 1 }, { 1, UINT16_MAX, UINT16_MAX }, { 1, VIRTIO_CONSOLE_PORT_OPEN, 1 },
	{ 0, VIRTIO_CONSOLE_DEVICE_READY, 0 }, { 31, VIRTIO_CONSOLE_PORT_READY, 1 }, { 1, VIRTIO_CONSOLE_PORT_REMOVE, 0 },
};

START_TEST(control_messages_without_sense_do_nothing)
{
	give_inbox(8);
	say(nonsense[_i].id, nonsense[_i].event, nonsense[_i].value);
	ck_assert_uint_eq(used(CONTROL_TRANSMIT), 1);
	ck_assert_str_eq(hear(), "");
	ck_assert_str_eq(owners[0].log, "");
	ck_assert_str_eq(owners[1].log, "");
	ck_assert(!driver_needs_reset());
	rings[CONTROL_RECEIVE].next_avail = 8;
	open_port();
}
END_TEST

START_TEST(control_messages_of_any_length_and_buffers_too_small_do_no_harm)
{
	static const uint32_t lengths[] = { 0, 1, 7, 9, 4096, 0x10000 };

	offer_one(CONTROL_TRANSMIT, OUTBOX, lengths[_i], false);
	offer_one(CONTROL_TRANSMIT, OUTBOX, lengths[_i], true);
	kick(CONTROL_TRANSMIT);
	ck_assert_uint_eq(used(CONTROL_TRANSMIT), 2);
	say(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	offer_one(CONTROL_RECEIVE, INBOX, lengths[_i] < 8 ? lengths[_i] : 7, true);
	kick(CONTROL_RECEIVE);
	ck_assert_uint_eq(used_length(CONTROL_RECEIVE, 0), 0);
	messages_read = 1;
	give_inbox(4);
	ck_assert_str_eq(hear(), "add 1 1");
	ck_assert(!driver_needs_reset());
}
END_TEST

START_TEST(random_control_messages_do_no_harm)
{
	uint32_t seed = 4711;

	give_inbox(20);
	for (unsigned int i = 0; i < 20000; i++) {
		seed = seed * 1664525 + 1013904223;
		say(seed >> 8 & 3, (uint16_t)(seed >> 10 & 7), (uint16_t)(seed >> 13 & 1));
		if (seed >> 28 == 0)
			send_text("text"), kick(TRANSMIT);
		if (seed >> 28 == 1)
			give_inbox(1);
		if (seed >> 28 == 2)
			port_open(owners[1].port);
		if (seed >> 28 == 3)
			port_close(owners[1].port);
		ck_assert_uint_le(owners[0].closed, owners[0].opened);
		ck_assert_uint_le(owners[0].opened - owners[0].closed, 1);
	}
	ck_assert(!driver_needs_reset());
	ck_assert_uint_gt(owners[0].opened, 50);
}
END_TEST

START_TEST(endless_data_leaves_the_loop_its_time)
{
	struct driver_buffer buffers[32];
	uint64_t before;

	open_port();
	for (unsigned int i = 0; i < 32; i++)
		buffers[i] = (struct driver_buffer){ RAM_BASE, 0x80000, false };
	offer(TRANSMIT, 0, buffers, 32);
	offer(TRANSMIT, 32, buffers, 32);
	virtio_notify(driven, TRANSMIT);
	for (unsigned int turn = 0; turn < 40 && used(TRANSMIT) < 2; turn++) {
		before = owners[0].received;
		event_loop_poll(kvm->loop, 0);
		ck_assert_uint_le(owners[0].received - before, MIB(1) + KIB(32));
	}
	ck_assert(driver_wait(kvm, driver_needs_reset) || used(TRANSMIT) == 2);
	ck_assert_uint_eq(used(TRANSMIT), 2);
	ck_assert_uint_eq(owners[0].received, MIB(32));
}
END_TEST

START_TEST(empty_buffers_are_given_back)
{
	open_port();
	for (unsigned int i = 0; i < 30; i++)
		offer_one(RECEIVE, DATA, 0, true);
	for (unsigned int i = 0; i < 30; i++)
		offer_one(RECEIVE, DATA, 16, false);
	ck_assert_uint_eq(_i ? port_room(owners[0].port) : port_write(owners[0].port, "x", 1), 0);
	ck_assert_uint_eq(used(RECEIVE), 60);
	offer_one(TRANSMIT, DATA, 0, false);
	offer_one(TRANSMIT, DATA, 16, true);
	kick(TRANSMIT);
	ck_assert_uint_eq(used(TRANSMIT), 2);
	ck_assert_str_eq(owners[0].log, "");
}
END_TEST

static const struct { unsigned int queue; struct driver_buffer buffer; } odd[] = {
	{ TRANSMIT, { NOWHERE, 64, false } }, { TRANSMIT, { RAM_END - 8, 0x10000, false } }, { CONTROL_TRANSMIT, { IO_BASE, 8, false } },
	{ CONTROL_RECEIVE, { ROM_BASE, 64, true } }, { RECEIVE, { ROM_BASE, 64, true } }, { RECEIVE, { UINT64_MAX - 8, 64, true } },
	{ NOWHERE_TRANSMIT, { NOWHERE, 64, false } },
};

START_TEST(a_buffer_outside_memory_stops_the_device_until_reset)
{
	open_port();
	while (used(CONTROL_RECEIVE) != rings[CONTROL_RECEIVE].next_avail)
		port_close(owners[0].port), settle(), port_open(owners[0].port), settle();
	port_close(owners[0].port);
	port_open(owners[0].port);
	if (odd[_i].queue == RECEIVE)
		give_inbox(8);
	offer(odd[_i].queue, 0, &odd[_i].buffer, 1);
	kick(odd[_i].queue);
	if (odd[_i].queue == RECEIVE)
		ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	ck_assert(driver_needs_reset());
	ck_assert_uint_eq(port_write(owners[0].port, "x", 1), 0);
	owners[0].log[0] = 0;
	start(0, QUEUES);
	memset(owners[0].log, 0, sizeof(owners[0].log));
	open_port();
	send_text("ok");
	kick(TRANSMIT);
	ck_assert_str_eq(owners[0].log, "ok");
}
END_TEST

START_TEST(a_driver_without_multiport_has_a_port_that_leads_nowhere)
{
	start(BIT(VIRTIO_CONSOLE_F_MULTIPORT), QUEUES);
	offer_one(NOWHERE_TRANSMIT, DATA, 64, false);
	offer_one(NOWHERE_RECEIVE, DATA, 64, true);
	offer_one(TRANSMIT, DATA, 64, false);
	give_inbox(4);
	for (unsigned int queue = 0; queue < QUEUES; queue++)
		kick(queue);
	say(1, VIRTIO_CONSOLE_PORT_READY, 1);
	ck_assert_uint_eq(used(NOWHERE_TRANSMIT), 1);
	ck_assert_uint_eq(used(NOWHERE_RECEIVE), 0);
	ck_assert_uint_eq(used(TRANSMIT), 0);
	ck_assert_str_eq(hear(), "");
	ck_assert(!driver_needs_reset());
}
END_TEST

/* ---- names ---- */

START_TEST(names_that_cannot_be_are_refused)
{
	static const char *const names[] = { "", "a b", "a/b", "\x7f", "caf\xc3\xa9", "new\nline", "plain" };
	char name[PORT_NAME_MAX + 2];
	struct port *port, *more[PORTS_MAX];
	struct kvm *other = board_create();

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		ck_assert_int_eq(port_create(other, names[i], &owner_ops, NULL, &more[0]), i == 6 ? 0 : -EUSAGE);
	ck_assert_int_eq(port_create(other, "plain", &owner_ops, NULL, &port), -EUSAGE);
	ck_assert_int_eq(port_create(kvm, "late", &owner_ops, NULL, &port), -EBUSY);
	memset(name, 'n', sizeof(name));
	name[PORT_NAME_MAX + 1] = 0;
	ck_assert_int_eq(port_create(other, name, &owner_ops, NULL, &port), -EUSAGE);
	name[PORT_NAME_MAX] = 0;
	for (unsigned int i = 1; i < PORTS_MAX; i++) {
		name[0] = (char)('a' + i);
		ck_assert_int_eq(port_create(other, name, &owner_ops, NULL, &more[i]), 0);
		ck_assert_str_eq(port_name(more[i]), name);
	}
	ck_assert_int_eq(port_create(other, "more", &owner_ops, NULL, &port), -ENOSPC);
	for (unsigned int i = 0; i < PORTS_MAX; i++)
		port_destroy(more[i * 7 % PORTS_MAX]);
	board_destroy(other);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "ports", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, the_guest_is_told_of_ports_then_of_open_ends_then_of_names);
	tcase_add_test(tests, messages_wait_for_buffers);
	tcase_add_test(tests, a_close_and_a_new_open_are_both_told_and_writing_waits_for_them);
	tcase_add_test(tests, the_guests_opens_and_closes_are_told_once_each);
	tcase_add_test(tests, what_the_guest_sends_is_received_in_order);
	tcase_add_test(tests, an_owner_that_takes_less_gets_the_rest_when_it_asks);
	tcase_add_test(tests, data_that_overtakes_its_open_is_received);
	tcase_add_loop_test(tests, a_queue_s_reset_forgets_what_was_sent, 0, 2);
	tcase_add_loop_test(tests, the_close_comes_behind_all_that_was_sent, 0, 2);
	tcase_add_loop_test(tests, what_comes_while_an_end_is_closed_is_dropped, 0, 3);
	tcase_add_test(tests, a_close_drops_what_was_held_back);
	tcase_add_test(tests, what_is_written_fills_buffers_and_more_waits_for_room);
	tcase_add_test(tests, nothing_is_written_before_the_guest_opens);
	tcase_add_test(tests, a_paused_machine_takes_nothing_and_says_when_it_does);
	tcase_add_loop_test(tests, saved_and_loaded_it_is_the_same, 0, 2);
	tcase_add_test(tests, a_half_received_request_goes_on_after_a_load);
	tcase_add_test(tests, hostile_saved_state_is_refused_or_harmless);
	tcase_add_test(tests, a_driver_that_comes_back_starts_anew);
	tcase_add_loop_test(tests, control_messages_without_sense_do_nothing, 0, (int)ARRAY_SIZE(nonsense));
	tcase_add_loop_test(tests, control_messages_of_any_length_and_buffers_too_small_do_no_harm, 0, 6);
	tcase_add_test(tests, random_control_messages_do_no_harm);
	tcase_add_test(tests, endless_data_leaves_the_loop_its_time);
	tcase_add_loop_test(tests, empty_buffers_are_given_back, 0, 2);
	tcase_add_loop_test(tests, a_buffer_outside_memory_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(tests, a_driver_without_multiport_has_a_port_that_leads_nowhere);
	tcase_add_test(tests, names_that_cannot_be_are_refused);
}
SUITE_MAIN("console-ports", add_tests)
