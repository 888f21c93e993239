/* SPDX-License-Identifier: BSD-2-Clause */
/* guest/agent.c and agent-client.c: clients' frames over one port, with a guest and clients that don't keep to the rules. */
#include "tests/unit/board.h"

#include <fcntl.h>

#include "guest/agent.h"
#include "kvm/port.h"
#include "tests/unit/port-driver.h"

#define FROM_GUEST	(RAM_SECOND + 0x20000)	/* bytes on their way, FRAME_SIZE_MAX each */

static unsigned int lines;
static uint8_t zeroes[FRAME_WINDOW];

static void count_line(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
	lines++;
}

static void setup(void)
{
	log_set_sink(count_line);
	signal(SIGPIPE, SIG_IGN);
	kvm = driver_machine();
	lines = 0;
	ck_assert_int_eq(agent_add(kvm), 0);
	board_add(kvm, "virtio_ports_init");
	start(0, 6);
	greet(1);
}

static void teardown(void)
{
	struct config *config = kvm->config;

	init_unwind(kvm, &kvm->init_done);
	agent_remove(kvm);
	irqs_exit(kvm);
	kvm_free(kvm);
	config_free(config);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

/* ---- the guest ---- */

static void guest_read(uint8_t *bytes, size_t wanted)
{
	for (size_t length = 0; length < wanted;) {
		uint16_t before = used(RECEIVE);
		uint32_t got;

		offer_one(RECEIVE, DATA, (uint32_t)MIN(wanted - length, (size_t)4096), true);
		for (unsigned int i = 0; i < 100 && used(RECEIVE) == before; i++)
			kick(RECEIVE);
		ck_assert_msg(used(RECEIVE) != before, "expected %zu more bytes for the guest, seen none", wanted - length);
		got = used_length(RECEIVE, before);
		ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), bytes + length, got), 0);
		length += got;
	}
}

/* The guest hears that frame next; its bytes are returned. */
static const uint8_t *guest_hears(uint16_t session, uint8_t type, uint8_t stream)
{
	static uint8_t bytes[FRAME_SIZE_MAX];
	struct frame frame;

	guest_read(bytes, FRAME_HEADER);
	ck_assert(frame_decode(bytes, &frame));
	ck_assert_uint_eq(frame.type, type);
	ck_assert_uint_eq(frame.session, session);
	ck_assert_uint_eq(frame.stream, stream);
	guest_read(bytes, frame.length);
	return bytes;
}

static void guest_opens(void)
{
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	guest_hears(0, FRAME_RESET, 0);
}

static void guest_says_bytes(const uint8_t *bytes, uint32_t length)
{
	uint64_t at = FROM_GUEST + 0x8000ULL * (rings[TRANSMIT].next_avail % 4);

	guest_poke(&driver_ram, at, bytes, length);
	offer_one(TRANSMIT, at, length, false);
	kick(TRANSMIT);
}

static void guest_says(uint16_t session, uint8_t type, uint8_t stream, const void *bytes, uint16_t length)
{
	uint8_t whole[FRAME_SIZE_MAX];

	frame_encode(whole, (struct frame){ .session = session, .type = type, .stream = stream, .length = length });
	memcpy(whole + FRAME_HEADER, bytes, length);
	guest_says_bytes(whole, FRAME_HEADER + (uint32_t)length);
}

/* As much as the client has room for. */
static void guest_fills(uint16_t session, uint8_t stream)
{
	for (unsigned int i = 0; i < FRAME_WINDOW / FRAME_MAX; i++)
		guest_says(session, FRAME_DATA, stream, zeroes, FRAME_MAX - FRAME_HEADER);
}

/* ---- clients ---- */

static int client_new(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	ck_assert_int_eq(agent_take(kvm, ends[1]), 0);
	return ends[0];
}

static void client_says(int fd, uint8_t type, uint8_t stream, const void *bytes, uint16_t length)
{
	uint8_t whole[FRAME_SIZE_MAX];

	frame_encode(whole, (struct frame){ .type = type, .stream = stream, .length = length });
	memcpy(whole + FRAME_HEADER, bytes, length);
	ck_assert_int_eq(send(fd, whole, FRAME_HEADER + (size_t)length, MSG_DONTWAIT), FRAME_HEADER + length);
	settle();
}

/* A client whose command runs as session @number. */
static int client_runs(uint16_t number)
{
	int fd = client_new();

	client_says(fd, FRAME_SETUP, 0, "arg x", 6);
	client_says(fd, FRAME_START, 0, "", 0);
	ck_assert_str_eq((const char *)guest_hears(number, FRAME_SETUP, 0), "arg x");
	guest_hears(number, FRAME_START, 0);
	return fd;
}

static void client_hears(int fd, uint8_t type, uint8_t stream, const void *bytes, uint16_t length)
{
	uint8_t whole[FRAME_SIZE_MAX];
	struct frame frame;

	settle();
	ck_assert_int_eq(recv(fd, whole, FRAME_HEADER, MSG_DONTWAIT), FRAME_HEADER);
	ck_assert(frame_decode(whole, &frame));
	ck_assert_uint_eq(frame.type, type);
	ck_assert_uint_eq(frame.session, 0);
	ck_assert_uint_eq(frame.stream, stream);
	ck_assert_uint_eq(frame.length, length);
	for (size_t got = 0; got < length;) {
		ssize_t n = recv(fd, whole + got, length - got, MSG_DONTWAIT);

		ck_assert_int_gt(n, 0);
		got += (size_t)n;
	}
	ck_assert_mem_eq(whole, bytes, length);
}

static void client_hears_nothing(int fd)
{
	char byte;

	settle();
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void client_is_dropped(int fd)
{
	char byte;

	settle();
	errno = 0;
	ck_assert_int_le(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_ne(errno, EAGAIN);
	close(fd);
}

/* ---- in good order ---- */

START_TEST(each_client_has_a_number_and_its_own_frames)
{
	int first, second;

	guest_opens();
	first = client_runs(0);
	second = client_runs(1);
	client_says(second, FRAME_DATA, 0, "in", 2);
	ck_assert_mem_eq(guest_hears(1, FRAME_DATA, 0), "in", 2);
	guest_says(1, FRAME_DATA, 2, "error", 5);
	guest_says(0, FRAME_DATA, 1, "output", 6);
	client_hears(first, FRAME_DATA, 1, "output", 6);
	client_hears(second, FRAME_DATA, 2, "error", 5);
	client_hears_nothing(first);
}
END_TEST

START_TEST(the_last_words_come_before_the_end)
{
	int fd;

	guest_opens();
	fd = client_runs(0);
	guest_says(0, FRAME_DATA, 1, "last", 4);
	guest_says(0, FRAME_EXIT, 0, "\0\7", 2);
	client_hears(fd, FRAME_DATA, 1, "last", 4);
	client_hears(fd, FRAME_EXIT, 0, "\0\7", 2);
	client_is_dropped(fd);
	ck_assert_int_ge(client_runs(0), 0);
}
END_TEST

START_TEST(frames_in_pieces_are_put_together)
{
	uint8_t whole[FRAME_HEADER + 3];
	int fd;

	guest_opens();
	fd = client_runs(0);
	frame_encode(whole, (struct frame){ .type = FRAME_DATA, .stream = 1, .length = 3 });
	memcpy(whole + FRAME_HEADER, "abc", 3);
	for (size_t i = 0; i < sizeof(whole); i++)
		guest_says_bytes(whole + i, 1);
	client_hears(fd, FRAME_DATA, 1, "abc", 3);
}
END_TEST

START_TEST(a_client_waits_for_the_agent)
{
	int fd = client_new();

	client_says(fd, FRAME_SETUP, 0, "arg x", 6);
	client_hears_nothing(fd);
	guest_opens();
	guest_hears(0, FRAME_SETUP, 0);
}
END_TEST

/* ---- who stalls ---- */

START_TEST(a_client_that_does_not_read_holds_up_nobody)
{
	int stalled, other;

	guest_opens();
	stalled = client_runs(0);
	other = client_runs(1);
	guest_fills(0, 1);
	guest_fills(0, 2);
	guest_says(1, FRAME_DATA, 1, "word", 4);
	client_hears(other, FRAME_DATA, 1, "word", 4);
	for (unsigned int i = 0; i < 2 * FRAME_WINDOW / FRAME_MAX; i++)
		client_hears(stalled, FRAME_DATA, i < FRAME_WINDOW / FRAME_MAX ? 1 : 2, zeroes, FRAME_MAX - FRAME_HEADER);
	ck_assert_uint_eq(lines, 0);
}
END_TEST

START_TEST(a_guest_that_does_not_read_takes_no_more_than_a_frame)
{
	int fd, sent = 0;
	uint8_t whole[FRAME_SIZE_MAX] = { 0 };

	guest_opens();
	fd = client_runs(0);
	frame_encode(whole, (struct frame){ .type = FRAME_SIZE, .length = 4 });
	while (sent < 100000 && send(fd, whole, FRAME_HEADER + 4, MSG_DONTWAIT) == FRAME_HEADER + 4) {
		sent++;
		settle();
	}
	ck_assert_int_lt(sent, 100000);
	for (int i = 0; i < sent; i++)
		guest_hears(0, FRAME_SIZE, 0);
}
END_TEST

START_TEST(credit_makes_room_again)
{
	uint8_t credit[4];
	int fd;

	guest_opens();
	fd = client_runs(0);
	guest_fills(0, 1);
	client_hears(fd, FRAME_DATA, 1, zeroes, FRAME_MAX - FRAME_HEADER);
	frame_put32(credit, FRAME_MAX);
	client_says(fd, FRAME_CREDIT, 1, credit, 4);
	ck_assert_uint_eq(frame_get32(guest_hears(0, FRAME_CREDIT, 1)), FRAME_MAX);
	guest_says(0, FRAME_DATA, 1, zeroes, FRAME_MAX - FRAME_HEADER);
	ck_assert_uint_eq(lines, 0);
}
END_TEST

/* ---- who breaks the rules ---- */

static const struct guest_lie {
	struct frame frame;
	bool fill;
} guest_lies[] = {
	{ .fill = true, .frame = { .type = FRAME_DATA, .stream = 1, .length = 1 } },
	{ .frame = { .type = FRAME_DATA, .length = 1 } },
	{ .frame = { .type = FRAME_CREDIT, .length = 4 } },
	{ .frame = { .type = FRAME_CREDIT, .length = 3 } },
	{ .frame = { .type = FRAME_EXIT, .length = 1 } },
	{ .frame = { .type = FRAME_EXIT, .length = 600 } },
	{ .frame = { .type = FRAME_SETUP, .length = 1 } },
	{ .frame = { .type = FRAME_EXIT + 1 } },
	{ .frame = { .session = FRAME_SESSIONS, .type = FRAME_DATA } },
	{ .frame = { .type = FRAME_DATA, .stream = 3 } },
	{ .frame = { .type = FRAME_DATA, .stream = 1, .length = FRAME_MAX + 1 } },
};

START_TEST(a_guest_that_breaks_the_rules_loses_its_clients)
{
	const struct guest_lie *lie = &guest_lies[_i];
	uint8_t whole[FRAME_SIZE_MAX + 1];
	int fd;

	memset(whole, 0xff, sizeof(whole));
	guest_opens();
	fd = client_runs(0);
	if (lie->fill)
		guest_fills(0, 1);
	while (lie->fill && recv(fd, whole, sizeof(whole), MSG_DONTWAIT) > 0)
		;
	frame_encode(whole, lie->frame);
	guest_says_bytes(whole, FRAME_HEADER + (uint32_t)lie->frame.length);
	client_is_dropped(fd);
	ck_assert_uint_eq(lines, 1);
	ck_assert_str_eq(hear(), "open 1 0");
}
END_TEST

START_TEST(what_is_no_frame_is_the_end_of_all)
{
	int fd;

	guest_opens();
	fd = client_runs(0);
	guest_says_bytes((const uint8_t *)"login: \r\n", 9);
	client_is_dropped(fd);
}
END_TEST

static const struct client_lie {
	bool running;
	struct frame frame;
} client_lies[] = {
	{ .frame = { .type = FRAME_START } },
	{ .frame = { .type = FRAME_DATA, .length = 1 } },
	{ .frame = { .type = FRAME_RESET } },
	{ .frame = { .type = FRAME_SETUP, .length = 1, .session = 1 } },
	{ .running = true, .frame = { .type = FRAME_SETUP, .length = 1 } },
	{ .running = true, .frame = { .type = FRAME_START } },
	{ .running = true, .frame = { .type = FRAME_RESET } },
	{ .running = true, .frame = { .type = FRAME_EXIT, .length = 2 } },
	{ .running = true, .frame = { .type = FRAME_DATA, .stream = 1, .length = 1 } },
	{ .running = true, .frame = { .type = FRAME_SIZE, .length = 3 } },
	{ .running = true, .frame = { .type = FRAME_SIGNAL, .length = 2 } },
	{ .running = true, .frame = { .type = FRAME_GONE } },
	{ .running = true, .frame = { .type = FRAME_CREDIT, .stream = 1, .length = 4 } },
	{ .running = true, .frame = { .type = FRAME_CREDIT, .length = 4 } },
};

START_TEST(a_client_that_breaks_the_rules_harms_no_other)
{
	const struct client_lie *lie = &client_lies[_i];
	uint8_t whole[FRAME_SIZE_MAX];
	int other, fd;

	memset(whole, 0xff, sizeof(whole));
	guest_opens();
	other = client_runs(0);
	fd = lie->running ? client_runs(1) : client_new();
	frame_encode(whole, lie->frame);
	ck_assert_int_gt(send(fd, whole, FRAME_HEADER + (size_t)lie->frame.length, 0), 0);
	client_is_dropped(fd);
	if (lie->running)
		guest_hears(1, FRAME_CLOSE, 0);
	client_says(other, FRAME_DATA, 0, "in", 2);
	ck_assert_mem_eq(guest_hears(0, FRAME_DATA, 0), "in", 2);
}
END_TEST

START_TEST(a_client_sends_no_more_input_than_there_is_room_for)
{
	int fd;

	guest_opens();
	fd = client_runs(0);
	for (unsigned int i = 0; i < FRAME_WINDOW / FRAME_MAX; i++) {
		client_says(fd, FRAME_DATA, 0, zeroes, FRAME_MAX - FRAME_HEADER);
		guest_hears(0, FRAME_DATA, 0);
	}
	client_says(fd, FRAME_DATA, 0, zeroes, 1);
	client_is_dropped(fd);
}
END_TEST

/* ---- who leaves ---- */

START_TEST(the_number_of_a_client_that_left_is_free_when_the_guest_says_so)
{
	int fd;

	guest_opens();
	close(client_runs(0));
	settle();
	guest_hears(0, FRAME_CLOSE, 0);
	fd = client_runs(1);
	guest_says(0, FRAME_DATA, 1, "late", 4);
	guest_says(0, FRAME_EXIT, 0, "\1\1", 2);
	client_hears_nothing(fd);
	client_runs(0);
}
END_TEST

START_TEST(there_are_so_many_and_no_more)
{
	int ends[2];

	for (unsigned int i = 0; i < FRAME_SESSIONS; i++)
		client_new();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	ck_assert_int_eq(agent_take(kvm, ends[1]), -EBUSY);
	client_is_dropped(ends[0]);
}
END_TEST

START_TEST(an_agent_that_ends_takes_its_clients_along)
{
	int fd, waiting;

	guest_opens();
	fd = client_runs(0);
	waiting = client_new();
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	client_is_dropped(fd);
	client_hears_nothing(waiting);
	guest_opens();
	client_says(waiting, FRAME_SETUP, 0, "arg x", 6);
	guest_hears(1, FRAME_SETUP, 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "agent", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, each_client_has_a_number_and_its_own_frames);
	tcase_add_test(tests, the_last_words_come_before_the_end);
	tcase_add_test(tests, frames_in_pieces_are_put_together);
	tcase_add_test(tests, a_client_waits_for_the_agent);
	tcase_add_test(tests, a_client_that_does_not_read_holds_up_nobody);
	tcase_add_test(tests, a_guest_that_does_not_read_takes_no_more_than_a_frame);
	tcase_add_test(tests, credit_makes_room_again);
	tcase_add_loop_test(tests, a_guest_that_breaks_the_rules_loses_its_clients, 0, ARRAY_SIZE(guest_lies));
	tcase_add_test(tests, what_is_no_frame_is_the_end_of_all);
	tcase_add_loop_test(tests, a_client_that_breaks_the_rules_harms_no_other, 0, ARRAY_SIZE(client_lies));
	tcase_add_test(tests, a_client_sends_no_more_input_than_there_is_room_for);
	tcase_add_test(tests, the_number_of_a_client_that_left_is_free_when_the_guest_says_so);
	tcase_add_test(tests, there_are_so_many_and_no_more);
	tcase_add_test(tests, an_agent_that_ends_takes_its_clients_along);
}
SUITE_MAIN("agent", add_tests)
