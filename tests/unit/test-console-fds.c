/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/port-fds.c, port-socket.c and port-option.c: ports on pipes, files, ptys and a socket's clients. */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kvm/port-fds.h"
#include "tests/unit/port-driver.h"

#define BULK	0x10000u

static struct port_fds *fds;
static unsigned int ended, lines;
static char folder[] = "/tmp/lkvm-test-console-fds.XXXXXX", where[sizeof(folder) + 16];
static uint8_t pattern[BULK];

static void count_line(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
	lines++;
}

static void count_end(void *opaque)
{
	(void)opaque;
	ended++;
}

static void setup(void)
{
	log_set_sink(count_line);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(where, sizeof(where), "%s/port", folder);
	for (unsigned int i = 0; i < BULK; i++)
		pattern[i] = (uint8_t)(i ^ i >> 8);
	kvm = driver_machine();
	fds = NULL;
	ended = lines = 0;
}

static void teardown(void)
{
	struct config *config = kvm->config;

	init_unwind(kvm, &kvm->init_done);
	port_fds_destroy(fds);
	irqs_exit(kvm);
	kvm_free(kvm);
	config_free(config);
	guest_ram_remove(&driver_ram);
	unlink(where);
	rmdir(folder);
	log_set_sink(NULL);
}

/* The device with port 1 on the fds, which the guest's driver knows, and opens if it is told to. */
static void run_fds(int in_fd, int out_fd, bool open)
{
	ck_assert_int_eq(port_fds_create(kvm, "fds", count_end, NULL, &fds), 0);
	ck_assert_int_eq(port_fds_attach(fds, in_fd, out_fd), 0);
	board_add(kvm, "virtio_ports_init");
	start(0, 6);
	greet(1);
	if (open)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void run_option(const char *to)
{
	char text[128];

	snprintf(text, sizeof(text), "name=opt,%s", to);
	ck_assert_int_eq(config_set(kvm->config, "port", text), 0);
	board_add(kvm, "port_options_init");
	board_add(kvm, "virtio_ports_init");
	start(0, 6);
	greet(1);
}

/* What the guest reads, at most @size bytes, until @wanted are there or none came for a while. */
static size_t guest_read(char *text, size_t size, size_t wanted)
{
	size_t length = 0;

	for (unsigned int idle = 0; length < wanted && idle < 100;) {
		uint16_t before = used(RECEIVE);
		uint32_t got;

		if (rings[RECEIVE].next_avail == before)
			offer_one(RECEIVE, DATA, (uint32_t)MIN(size - length, (size_t)4096), true);
		kick(RECEIVE);
		if (used(RECEIVE) == before) {
			idle++;
			event_loop_poll(kvm->loop, 1);
			continue;
		}
		got = used_length(RECEIVE, before);
		ck_assert_uint_le(got, size - length);
		ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), text + length, got), 0);
		length += got;
		idle = 0;
	}
	return length;
}

/* @length bytes of the pattern, again and again, as one request. */
static void guest_send(uint32_t length)
{
	guest_poke(&driver_ram, RAM_SECOND + 0x20000, pattern, BULK);
	offer_one(TRANSMIT, RAM_SECOND + 0x20000, length, false);
	kick(TRANSMIT);
}

static void write_all(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void poll_for(unsigned int *counter, unsigned int value)
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	while (*counter < value && event_now_ns() < end)
		event_loop_poll(kvm->loop, 5);
	ck_assert_uint_eq(*counter, value);
}

/* The next control message, waiting for it. */
static const char *await(void)
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	while (used(CONTROL_RECEIVE) == (uint16_t)messages_read && event_now_ns() < end)
		event_loop_poll(kvm->loop, 5);
	return hear();
}

/* ---- fds ---- */

START_TEST(input_ends_behind_its_last_byte)
{
	char text[64] = "";
	int in[2], out[2];

	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	if (_i)
		write_all(in[1], "all of it"), close(in[1]);
	run_fds(in[0], out[1], true);
	if (!_i)
		write_all(in[1], "all of it"), board_poll(kvm, 5), close(in[1]);
	board_poll(kvm, 5);
	ck_assert_str_eq(hear(), "");
	ck_assert_uint_eq(guest_read(text, 4, 4), 4);
	ck_assert_str_eq(hear(), "");
	ck_assert_uint_eq(guest_read(text + 4, 32, 5), 5);
	ck_assert_str_eq(text, "all of it");
	poll_for(&ended, 1);
	ck_assert_str_eq(await(), "open 1 0");
	close(in[0]), close(out[0]), close(out[1]);
}
END_TEST

START_TEST(empty_input_is_an_end_before_the_guest_opens)
{
	int in = open("/dev/null", O_RDONLY);

	run_fds(in, -1, _i);
	offer_one(RECEIVE, DATA, 64, true);
	kick(RECEIVE);
	if (_i)
		ck_assert_str_eq(await(), "open 1 0");
	close(in);
}
END_TEST

START_TEST(a_file_that_epoll_refuses_is_read_whole)
{
	static char text[4 * BULK];
	int in = open(where, O_RDWR | O_CREAT, 0600);

	for (unsigned int i = 0; i < 3; i++)
		ck_assert_int_eq(write(in, pattern, BULK), BULK);
	lseek(in, 0, SEEK_SET);
	run_fds(in, -1, true);
	ck_assert_uint_eq(guest_read(text, sizeof(text), sizeof(text)), 3 * BULK);
	ck_assert_mem_eq(text + 2 * BULK, pattern, BULK);
	ck_assert_str_eq(await(), "open 1 0");
	close(in);
}
END_TEST

START_TEST(output_that_nobody_reads_stays_with_the_guest)
{
	static char text[2 * BULK];
	size_t length = 0;
	int out[2], flags;

	ck_assert_int_eq(_i ? socketpair(AF_UNIX, SOCK_STREAM, 0, out) : pipe(out), 0);
	flags = fcntl(out[1], F_GETFL);
	run_fds(-1, out[1], true);
	/* The caller's own may go. */
	ck_assert_int_eq(fcntl(out[1], F_GETFL), flags);
	close(out[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	for (unsigned int i = 0; i < 8; i++)
		guest_send(BULK);
	ck_assert_uint_lt(used(TRANSMIT), 8);
	for (uint64_t end = event_now_ns() + DRIVER_WAIT_NS; length < 8 * BULK && event_now_ns() < end;) {
		ssize_t got = read(out[0], text, MIN(BULK - length % BULK, (size_t)5000));

		if (got > 0)
			ck_assert_mem_eq(text, pattern + length % BULK, (size_t)got);
		length += got > 0 ? (size_t)got : 0;
		event_loop_poll(kvm->loop, got > 0 ? 0 : 1);
	}
	ck_assert_uint_eq(length, 8 * BULK);
	ck_assert_uint_eq(used(TRANSMIT), 8);
	ck_assert_uint_eq(ended, 0);
	close(out[0]);
}
END_TEST

START_TEST(the_end_of_input_waits_for_output_that_is_full)
{
	static char text[BULK];
	int in[2], out[2];

	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	run_fds(in[0], out[1], true);
	guest_send(10000);
	offer_one(RECEIVE, DATA, 64, true);
	kick(RECEIVE);
	close(in[1]);
	board_poll(kvm, 10);
	ck_assert_uint_eq(ended, 0);
	for (size_t length = 0; length < 10000;) {
		ssize_t got = read(out[0], text, sizeof(text));

		ck_assert_int_gt(got, 0);
		ck_assert_mem_eq(text, pattern + length, (size_t)got);
		length += (size_t)got;
		board_poll(kvm, 5);
	}
	poll_for(&ended, 1);
	ck_assert_str_eq(await(), "open 1 0");
	close(in[0]), close(out[0]), close(out[1]);
}
END_TEST

START_TEST(a_reader_that_left_closes_the_port)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	run_fds(in[0], out[1], true);
	if (_i)
		guest_send(BULK), guest_send(BULK);
	close(out[0]);
	guest_send(100);
	poll_for(&ended, 1);
	ck_assert_str_eq(await(), "open 1 0");
	board_poll(kvm, 5);
	ck_assert_uint_eq(used(TRANSMIT), rings[TRANSMIT].next_avail);
	close(in[0]), close(in[1]), close(out[1]);
}
END_TEST

START_TEST(input_waits_while_the_guest_does_not_read)
{
	char chunk[4096] = { 0 };
	size_t length = 0;
	int in[2];

	ck_assert_int_eq(pipe2(in, O_NONBLOCK), 0);
	run_fds(in[0], -1, _i);
	for (unsigned int i = 0; i < 100; i++) {
		ssize_t got = write(in[1], chunk, sizeof(chunk));

		length += got > 0 ? (size_t)got : 0;
		event_loop_poll(kvm->loop, 0);
	}
	/* What a pipe holds, and no byte more. */
	ck_assert_uint_le(length, 65536);
	/* And the loop sleeps: nothing is ready again and again. */
	event_loop_poll(kvm->loop, 0);
	ck_assert_int_eq(event_loop_poll(kvm->loop, 20), 0);
	close(in[1]);
	event_loop_poll(kvm->loop, 5);
	event_loop_poll(kvm->loop, 0);
	ck_assert_int_eq(event_loop_poll(kvm->loop, 20), 0);
	ck_assert_uint_eq(ended, 0);
	close(in[0]);
}
END_TEST

/* ---- --port ---- */

static int client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void run_socket(void)
{
	char text[64];

	snprintf(text, sizeof(text), "socket=%s", where);
	run_option(text);
}

START_TEST(clients_come_one_at_a_time_and_the_guest_sees_them)
{
	char text[64] = "";
	int first, second;

	run_socket();
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_str_eq(hear(), "");
	first = client();
	second = client();
	write_all(second, "second");
	ck_assert_str_eq(await(), "open 1 1");
	write_all(first, "first");
	ck_assert_uint_eq(guest_read(text, sizeof(text), 5), 5);
	ck_assert_str_eq(text, "first");
	guest_send(3);
	ck_assert_int_eq(recv(first, text, sizeof(text), 0), 3);
	ck_assert_mem_eq(text, pattern, 3);
	close(first);
	ck_assert_str_eq(await(), "open 1 0");
	ck_assert_str_eq(await(), "open 1 1");
	memset(text, 0, sizeof(text));
	ck_assert_uint_eq(guest_read(text, sizeof(text), 6), 6);
	ck_assert_str_eq(text, "second");
	/* Half a close is one: the guest couldn't answer behind it. */
	shutdown(second, SHUT_WR);
	ck_assert_str_eq(await(), "open 1 0");
	ck_assert_int_eq(recv(second, text, sizeof(text), 0), 0);
	close(second);
}
END_TEST

START_TEST(a_slow_client_gets_all_that_was_sent_before_a_close)
{
	static char text[BULK];
	size_t length = 0;
	int fd;

	run_socket();
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	fd = client();
	ck_assert_str_eq(await(), "open 1 1");
	for (unsigned int i = 0; i < 16; i++)
		guest_send(BULK);
	ck_assert_uint_lt(used(TRANSMIT), 16);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	if (_i)
		say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	while (length < 16 * BULK) {
		ssize_t got = recv(fd, text, MIN(BULK - length % BULK, (size_t)7000), MSG_DONTWAIT);

		if (got < 0) {
			event_loop_poll(kvm->loop, 1);
			continue;
		}
		ck_assert_int_gt(got, 0);
		ck_assert_mem_eq(text, pattern + length % BULK, (size_t)got);
		length += (size_t)got;
	}
	ck_assert_uint_eq(used(TRANSMIT), 16);
	close(fd);
}
END_TEST

START_TEST(a_client_that_left_leaves_its_words)
{
	char text[64] = "";
	int fd;

	run_socket();
	/* Without words, it is as if it had never been. */
	close(client());
	ck_assert_str_eq(await(), "open 1 1");
	ck_assert_str_eq(await(), "open 1 0");
	fd = client();
	write_all(fd, "words");
	close(fd);
	ck_assert_str_eq(await(), "open 1 1");
	board_poll(kvm, 10);
	ck_assert_str_eq(hear(), "");
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(guest_read(text, sizeof(text), 5), 5);
	ck_assert_str_eq(text, "words");
	ck_assert_str_eq(await(), "open 1 0");
}
END_TEST

START_TEST(a_socket_of_the_dead_is_taken_over_and_goes_with_its_owner)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct stat status;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	run_socket();
	ck_assert_int_eq(stat(where, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0600);
	close(client());
	init_unwind(kvm, &kvm->init_done);
	ck_assert_int_lt(stat(where, &status), 0);
}
END_TEST

static int option_result(const char *text)
{
	struct board_pick pick = { .name = "port_options_init" };
	struct kvm *other = board_create();
	int result;

	ck_assert_int_eq(config_set(other->config, "port", text), 0);
	init_for_each(board_pick_item, &pick);
	lines = 0;
	result = pick.item->init(other);
	ck_assert_uint_eq(lines, 1);
	board_destroy(other);
	return result;
}

START_TEST(nothing_alive_is_taken_over)
{
	struct stat status;
	char text[128];
	int fd;

	snprintf(text, sizeof(text), "name=n,socket=%s", where);
	fd = open(where, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_int_eq(option_result(text), -EEXIST);
	ck_assert_int_eq(stat(where, &status), 0);
	unlink(where);
	run_socket();
	ck_assert_int_eq(option_result(text), -EADDRINUSE);
	ck_assert_int_eq(stat(where, &status), 0);
	close(client());
}
END_TEST

static const struct { const char *text; int result; } bad[] = {
	{ "", -EUSAGE }, { "name=n", -EUSAGE }, { "pty", -EUSAGE }, { "socket=/tmp/x", -EUSAGE }, { "name=,pty", -EUSAGE },
	{ "name=a b,pty", -EUSAGE }, { "name=n,pty,file=/tmp/x", -EUSAGE }, { "name=n,pty=yes", -EUSAGE },
	{ "name=n,pty,colour=red", -EUSAGE }, { "name=n,socket=", -EUSAGE }, { "name=n,file=", -ENOENT },
	{ "name=n,file=/no/such/folder/x", -ENOENT }, { "name=n,file=/tmp", -EISDIR }, { "name=n,socket=/no/such/folder/x", -ENOENT },
	{ "name=n,socket=/tmp/012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	  "01234567890123456789", -EUSAGE },
};

START_TEST(bad_options_are_one_line)
{
	ck_assert_int_eq(option_result(bad[_i].text), bad[_i].result);
}
END_TEST

START_TEST(a_file_is_appended_to)
{
	char text[64] = "", option[64];
	int fd = open(where, O_CREAT | O_WRONLY, 0600);

	write_all(fd, "old ");
	close(fd);
	snprintf(option, sizeof(option), "file=%s", where);
	run_option(option);
	ck_assert_str_eq(all_heard, "add 1 1;open 1 1;name 1 1 opt;");
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	send_text("new");
	kick(TRANSMIT);
	fd = open(where, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "old new");
	close(fd);
}
END_TEST

START_TEST(a_pty_carries_bytes_both_ways)
{
	char line[128] = "", text[64] = "";
	int saved = dup(2), err[2], fd;

	ck_assert_int_eq(pipe(err), 0);
	dup2(err[1], 2);
	run_option("pty");
	dup2(saved, 2);
	ck_assert_int_gt(read(err[0], line, sizeof(line) - 1), 0);
	ck_assert_int_eq(sscanf(line, " Assigned port opt to pty %63s", text), 1);
	fd = open(text, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	say(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	write_all(fd, "a\rb\x03\x04\n");
	memset(text, 0, sizeof(text));
	ck_assert_uint_eq(guest_read(text, sizeof(text), 6), 6);
	ck_assert_str_eq(text, "a\rb\x03\x04\n");
	send_text("c\nd");
	kick(TRANSMIT);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	ck_assert_mem_eq(text, "c\nd", 3);
	close(fd), close(saved), close(err[0]), close(err[1]);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "fds", setup, teardown), *options;

	virtio_transport_register(&driver_transport);
	tcase_add_loop_test(tests, input_ends_behind_its_last_byte, 0, 2);
	tcase_add_loop_test(tests, empty_input_is_an_end_before_the_guest_opens, 0, 2);
	tcase_add_test(tests, a_file_that_epoll_refuses_is_read_whole);
	tcase_add_loop_test(tests, output_that_nobody_reads_stays_with_the_guest, 0, 2);
	tcase_add_test(tests, the_end_of_input_waits_for_output_that_is_full);
	tcase_add_loop_test(tests, a_reader_that_left_closes_the_port, 0, 2);
	tcase_add_loop_test(tests, input_waits_while_the_guest_does_not_read, 0, 2);
	options = suite_case(suite, "--port", setup, teardown);
	tcase_add_test(options, clients_come_one_at_a_time_and_the_guest_sees_them);
	tcase_add_loop_test(options, a_slow_client_gets_all_that_was_sent_before_a_close, 0, 2);
	tcase_add_test(options, a_client_that_left_leaves_its_words);
	tcase_add_test(options, a_socket_of_the_dead_is_taken_over_and_goes_with_its_owner);
	tcase_add_test(options, nothing_alive_is_taken_over);
	tcase_add_loop_test(options, bad_options_are_one_line, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(options, a_file_is_appended_to);
	tcase_add_test(options, a_pty_carries_bytes_both_ways);
}
SUITE_MAIN("console-fds", add_tests)
