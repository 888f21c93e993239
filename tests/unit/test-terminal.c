/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/terminal.c, hw/output.c and hw/tty.c: ptys, pipes and files as terminals, and readers that stall. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "board.h"
#include "kvm/output.h"
#include "kvm/terminal.h"
#include "kvm/tty.h"

static struct kvm *kvm;
static struct terminal *terminal;
static int master, slave;
static unsigned int ready_calls;

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	kvm = board_create();
	terminal = NULL;
	ready_calls = 0;
}

static void teardown(void)
{
	terminal_close(terminal);
	board_destroy(kvm);
}

static void setup_pty(void)
{
	struct winsize size = { .ws_col = 97, .ws_row = 31 };

	setup();
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, &size), 0);
	ck_assert_int_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, slave, slave, &terminal), 0);
	board_poll(kvm, 2);
}

static void teardown_pty(void)
{
	teardown();
	close(master);
	close(slave);
}

static void count_ready(void *opaque)
{
	(void)opaque;
	ready_calls++;
}

static void set_flag(void *opaque)
{
	*(bool *)opaque = true;
}

static void type(const char *keys, size_t length)
{
	size_t done = 0;
	ssize_t wrote;

	/* The pty holds 4 KiB at most, and nobody but us makes room in it. */
	while (done < length) {
		wrote = write(master, keys + done, length - done);
		ck_assert(wrote > 0 || errno == EAGAIN);
		done += wrote > 0 ? (size_t)wrote : 0;
		board_poll(kvm, 1);
	}
	board_poll(kvm, 5);
}

static bool is_raw(void)
{
	struct termios mode;

	ck_assert_int_eq(tcgetattr(slave, &mode), 0);
	return !(mode.c_lflag & (ECHO | ICANON | ISIG));
}

/* Everything that has come out of @fd, waiting at most @timeout_ms for the first byte. */
static size_t read_all(int fd, char *data, size_t size, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	size_t total = 0;
	ssize_t got;

	while (total < size && poll(&poll_fd, 1, total ? 0 : timeout_ms) > 0) {
		got = read(fd, data + total, size - total);
		if (got <= 0)
			break;
		total += (size_t)got;
	}
	return total;
}

/* ---- tty ---- */

START_TEST(keys_reach_the_reader_unprocessed)
{
	char keys[16];

	terminal_set_reader(terminal, count_ready, NULL);
	type("a\r\x03\x1a", 4);

	ck_assert_uint_gt(ready_calls, 0);
	ck_assert_uint_eq(terminal_read(terminal, keys, sizeof(keys)), 4);
	ck_assert_mem_eq(keys, "a\r\x03\x1a", 4);
	ck_assert_uint_eq(terminal_read(terminal, keys, sizeof(keys)), 0);
}
END_TEST

START_TEST(tty_is_raw_until_closed)
{
	ck_assert(is_raw());
	terminal_close(terminal);
	terminal = NULL;
	ck_assert(!is_raw());
}
END_TEST

START_TEST(restore_all_puts_the_tty_back)
{
	terminal_restore_all();
	ck_assert(!is_raw());
}
END_TEST

START_TEST(second_terminal_leaves_the_first_ones_tty_alone)
{
	struct terminal *other;

	ck_assert_int_eq(terminal_open(kvm, 0, slave, slave, &other), 0);
	terminal_close(other);
	ck_assert(is_raw());
}
END_TEST

START_TEST(ctrl_a_x_ends_the_vm)
{
	type("\x01", 1);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	type("x", 1);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_QUIT);
}
END_TEST

START_TEST(ctrl_a_x_is_heard_when_nobody_takes_input)
{
	char keys[4000];

	memset(keys, 'k', sizeof(keys));
	for (int i = 0; i < 10; i++)
		type(keys, sizeof(keys));
	type("\x01x", 2);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_QUIT);
}
END_TEST

START_TEST(ctrl_a_twice_sends_one)
{
	char keys[16];

	type("\x01\x01q\x01?w", 6);
	ck_assert_uint_eq(terminal_read(terminal, keys, sizeof(keys)), 3);
	ck_assert_mem_eq(keys, "\x01qw", 3);
}
END_TEST

START_TEST(ctrl_a_h_lists_every_key)
{
	char text[2048] = "";

	type("\x01h", 2);
	terminal_flush(terminal);
	read_all(master, text, sizeof(text) - 1, 1000);
	ck_assert_ptr_nonnull(strstr(text, "Ctrl-A x"));
	ck_assert_ptr_nonnull(strstr(text, "Ctrl-A Ctrl-A"));
}
END_TEST

START_TEST(ctrl_a_b_is_a_break)
{
	bool seen = false;

	terminal_set_break(terminal, set_flag, &seen);
	type("\x01" "b", 2);
	ck_assert(seen);
}
END_TEST

START_TEST(size_is_the_ttys_and_its_change_is_told)
{
	struct winsize size = { .ws_col = 120, .ws_row = 40 };
	uint16_t columns, rows;
	bool resized = false;

	terminal_set_resize(terminal, set_flag, &resized);
	ck_assert(terminal_size(terminal, &columns, &rows));
	ck_assert_uint_eq(columns, 97);
	ck_assert_uint_eq(rows, 31);

	ck_assert_int_eq(ioctl(master, TIOCSWINSZ, &size), 0);
	raise(SIGWINCH);
	board_poll(kvm, 5);

	ck_assert(resized);
	ck_assert(terminal_size(terminal, &columns, &rows));
	ck_assert_uint_eq(columns, 120);
}
END_TEST

START_TEST(shared_descriptions_stay_blocking)
{
	ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

/* Runs a child with the pty as its controlling tty, and returns its pid when the tty is raw. */
static pid_t spawn_owner(int *pty_master, int *pty_slave)
{
	struct terminal *owned;
	char byte = 0;
	int done[2];
	pid_t pid;

	ck_assert_int_eq(pipe(done), 0);
	ck_assert_int_eq(openpty(pty_master, pty_slave, NULL, NULL, NULL), 0);
	slave = *pty_slave;
	pid = fork();
	if (pid == 0) {
		/* libcheck's own handlers are not the user's */
		for (int number = 1; number < 32; number++)
			signal(number, SIG_DFL);
		setsid();
		ioctl(*pty_slave, TIOCSCTTY, 0);
		if (terminal_open(kvm, 0, *pty_slave, *pty_slave, &owned) < 0 || write(done[1], "r", 1) != 1)
			_exit(99);
		for (;;)
			event_loop_poll(kvm->loop, 1000);
	}
	ck_assert_int_gt(pid, 0);
	close(done[1]);
	ck_assert_int_eq(read(done[0], &byte, 1), 1);
	close(done[0]);
	return pid;
}

static void assert_restored_by(int number)
{
	int pty_master, pty_slave, status;
	pid_t pid = spawn_owner(&pty_master, &pty_slave);

	ck_assert(is_raw());
	kill(pid, number);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == number);
	ck_assert(!is_raw());
	close(pty_master);
	close(pty_slave);
}

START_TEST(fatal_signals_restore_the_tty_and_kill)
{
	assert_restored_by(SIGTERM);
	assert_restored_by(SIGINT);
	assert_restored_by(SIGHUP);
	assert_restored_by(SIGSEGV);
	assert_restored_by(SIGABRT);
}
END_TEST

START_TEST(tty_is_given_back_while_stopped)
{
	int pty_master, pty_slave, status;
	pid_t pid = spawn_owner(&pty_master, &pty_slave);

	kill(pid, SIGTSTP);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	ck_assert(!is_raw());
	kill(pid, SIGCONT);
	for (int i = 0; i < 200 && !is_raw(); i++)
		usleep(10000);
	ck_assert(is_raw());
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(pty_master);
	close(pty_slave);
}
END_TEST

/* ---- pipes and files ---- */

START_TEST(pipe_is_read_to_its_end_and_the_vm_goes_on)
{
	char data[64];
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, fds[0], -1, &terminal), 0);
	terminal_set_reader(terminal, count_ready, NULL);
	ck_assert_int_eq(write(fds[1], "last words", 10), 10);
	close(fds[1]);
	board_poll(kvm, 10);

	ck_assert_uint_eq(terminal_read(terminal, data, sizeof(data)), 10);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	close(fds[0]);
}
END_TEST

/* Dispatches for a while and counts how often the loop had anything to do. */
static unsigned int wakeups(int milliseconds)
{
	uint64_t end = event_now_ns() + (uint64_t)milliseconds * 1000000;
	unsigned int count = 0;

	while (event_now_ns() < end) {
		event_loop_poll(kvm->loop, milliseconds);
		count++;
	}
	return count;
}

START_TEST(closed_pipe_does_not_spin)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, fds[0], -1, &terminal), 0);
	close(fds[1]);
	board_poll(kvm, 5);
	ck_assert_uint_le(wakeups(100), 3);
	close(fds[0]);
}
END_TEST

START_TEST(dev_null_does_not_spin)
{
	int fd = open("/dev/null", O_RDWR);

	ck_assert_int_eq(terminal_open(kvm, 0, fd, fd, &terminal), 0);
	terminal_set_reader(terminal, count_ready, NULL);
	board_poll(kvm, 5);
	ck_assert_uint_le(wakeups(100), 3);
	close(fd);
}
END_TEST

START_TEST(full_pipe_waits_without_spinning_and_loses_nothing)
{
	static char data[3 * TERMINAL_INPUT_SIZE];
	size_t total = 0, got;
	char piece[1000];
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)('a' + i % 23);
	ck_assert_int_eq(terminal_open(kvm, 1, fds[0], -1, &terminal), 0);
	ck_assert_int_eq(write(fds[1], data, sizeof(data)), (ssize_t)sizeof(data));
	close(fds[1]);
	board_poll(kvm, 20);
	ck_assert_uint_le(wakeups(100), 3);

	while (total < sizeof(data)) {
		got = terminal_read(terminal, piece, sizeof(piece));
		ck_assert_mem_eq(piece, data + total, got);
		total += got;
		board_poll(kvm, 1);
	}
	ck_assert_uint_eq(terminal_read(terminal, piece, sizeof(piece)), 0);
	close(fds[0]);
}
END_TEST

START_TEST(file_is_read_as_there_is_room)
{
	char path[] = "/tmp/test-terminal-XXXXXX", piece[512];
	size_t total = 0, wanted = 100000;
	int fd = mkstemp(path);

	unlink(path);
	ck_assert_int_eq(ftruncate(fd, (off_t)wanted), 0);
	ck_assert_int_eq(terminal_open(kvm, 1, fd, -1, &terminal), 0);
	terminal_set_reader(terminal, count_ready, NULL);
	/* until the room is full, under a sanitizer as well */
	board_poll(kvm, 200);
	ck_assert_uint_le(wakeups(50), 3);
	for (int i = 0; i < 3000 && total < wanted; i++) {
		total += terminal_read(terminal, piece, sizeof(piece));
		board_poll(kvm, 0);
	}
	ck_assert_uint_eq(total, wanted);
	close(fd);
}
END_TEST

START_TEST(output_to_a_file_keeps_its_place)
{
	char path[] = "/tmp/test-terminal-XXXXXX", text[32] = "";
	int fd = mkstemp(path);

	unlink(path);
	ck_assert_int_eq(write(fd, "before ", 7), 7);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fd, &terminal), 0);
	terminal_write(terminal, "guest ", 6);
	terminal_close(terminal);
	terminal = NULL;
	ck_assert_int_eq(write(fd, "after", 5), 5);

	ck_assert_int_eq(pread(fd, text, sizeof(text) - 1, 0), 18);
	ck_assert_str_eq(text, "before guest after");
	close(fd);
}
END_TEST

/* ---- batching and stalled readers ---- */

START_TEST(a_boot_log_costs_far_fewer_writes_than_bytes)
{
	char data[65536];
	unsigned int packets = 0;
	ssize_t got;
	size_t total = 0;
	int fds[2];

	/* A packet socket shows each write by itself. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	for (int i = 0; i < 60000; i++) {
		terminal_write(terminal, "x", 1);
		if (i % 1000 == 0)
			event_loop_poll(kvm->loop, 0);
	}
	terminal_flush(terminal);
	while ((got = recv(fds[0], data, sizeof(data), MSG_DONTWAIT)) > 0) {
		packets++;
		total += (size_t)got;
	}

	ck_assert_uint_eq(total, 60000);
	ck_assert_uint_le(packets, 60);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_prompt_appears_soon_without_a_newline)
{
	struct pollfd poll_fd;
	char text[8] = "";
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	terminal_write(terminal, "# ", 2);
	poll_fd = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	ck_assert_int_eq(poll(&poll_fd, 1, 0), 0);

	board_poll(kvm, 4 * TERMINAL_FLUSH_MS);

	ck_assert_int_eq(poll(&poll_fd, 1, 0), 1);
	ck_assert_int_eq(read(fds[0], text, sizeof(text)), 2);
	ck_assert_uint_le(wakeups(100), 3);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Writes 4 MiB into the terminal on @fd, whose reader is asleep; how long the slowest write took. */
static uint64_t slowest_write_ns(void)
{
	uint64_t start, worst = 0;
	char line[64];

	memset(line, 'o', sizeof(line));
	for (int i = 0; i < 65536; i++) {
		start = event_now_ns();
		terminal_write(terminal, line, sizeof(line));
		worst = MAX(worst, event_now_ns() - start);
		if (i % 256 == 0)
			event_loop_poll(kvm->loop, 0);
	}
	return worst;
}

static bool dropped_was_said;

static void hear_dropped(enum log_level level, const char *line)
{
	(void)level;
	dropped_was_said |= strstr(line, "dropped") != NULL;
}

START_TEST(stalled_pipe_never_blocks_the_guest)
{
	char data[4096];
	size_t got, total = 0;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	ck_assert_uint_lt(slowest_write_ns(), 500000000);
	ck_assert_uint_le(wakeups(100), 30);

	/* A reader that wakes up gets the latest output, to its end. */
	terminal_write(terminal, "THE END", 7);
	for (int i = 0; i < 1000 && (got = read_all(fds[0], data, sizeof(data), 10)) > 0; i++) {
		total += got;
		board_poll(kvm, 0);
		if (got >= 7 && memcmp(data + got - 7, "THE END", 7) == 0)
			break;
	}
	ck_assert_mem_eq(data + got - 7, "THE END", 7);
	ck_assert_uint_ge(total, OUTPUT_CEILING);
	ck_assert_uint_le(total, OUTPUT_CEILING + 65536 + 4096);

	log_set_sink(hear_dropped);
	terminal_close(terminal);
	terminal = NULL;
	log_set_sink(NULL);
	ck_assert(dropped_was_said);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(stalled_tty_never_blocks_the_guest)
{
	log_set_sink(hear_dropped);
	ck_assert_uint_lt(slowest_write_ns(), 500000000);
}
END_TEST

START_TEST(stalled_socket_never_blocks_the_guest)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	ck_assert_uint_lt(slowest_write_ns(), 500000000);
	log_set_sink(hear_dropped);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(flush_waits_for_a_stalled_reader_for_a_bounded_time)
{
	uint64_t start;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	slowest_write_ns();
	start = event_now_ns();
	terminal_flush(terminal);
	ck_assert_uint_lt(event_now_ns() - start, (OUTPUT_STALL_MS + 1000) * 1000000ULL);
	close(fds[0]);
	close(fds[1]);
	log_set_sink(hear_dropped);
}
END_TEST

static void *read_slowly(void *opaque)
{
	char data[2000];
	size_t total = 0;
	ssize_t got;

	while ((got = read(*(int *)opaque, data, sizeof(data))) > 0) {
		total += (size_t)got;
		usleep(1000);
	}
	return (void *)total;
}

START_TEST(close_gets_everything_out_to_a_slow_reader)
{
	char line[1000];
	void *total;
	pthread_t thread;
	int fds[2];

	memset(line, 's', sizeof(line));
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_slowly, &fds[0]), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	for (int i = 0; i < 400; i++)
		terminal_write(terminal, line, sizeof(line));
	terminal_close(terminal);
	terminal = NULL;
	close(fds[1]);
	pthread_join(thread, &total);
	ck_assert_uint_eq((size_t)total, 400000);
	close(fds[0]);
}
END_TEST

START_TEST(closed_output_is_forgotten)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(terminal_open(kvm, 0, -1, fds[1], &terminal), 0);
	close(fds[0]);
	ck_assert_uint_lt(slowest_write_ns(), 500000000);
	ck_assert_uint_le(wakeups(100), 3);
	close(fds[1]);
}
END_TEST

START_TEST(tty_option_makes_a_pty_and_says_so)
{
	char text[256] = "", path[64];
	int saved = dup(STDERR_FILENO), fds[2], fd;
	unsigned int index;

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(config_set(kvm->config, "tty", "0"), 0);
	ck_assert_int_eq(config_set(kvm->config, "tty", "2"), 0);
	dup2(fds[1], STDERR_FILENO);
	board_add(kvm, "terminals_init");
	dup2(saved, STDERR_FILENO);
	read_all(fds[0], text, sizeof(text) - 1, 1000);

	ck_assert_int_eq(sscanf(text, "  Assigned terminal %u to pty %63s", &index, path), 2);
	ck_assert_uint_eq(index, 0);
	ck_assert_ptr_nonnull(terminal_get(kvm, 0));
	ck_assert_ptr_null(terminal_get(kvm, 1));
	ck_assert_ptr_nonnull(terminal_get(kvm, 2));

	fd = open(path, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	terminal_write(terminal_get(kvm, 0), "login: ", 7);
	terminal_flush(terminal_get(kvm, 0));
	ck_assert_uint_eq(read_all(fd, text, sizeof(text), 1000), 7);
	ck_assert_int_eq(write(fd, "root", 4), 4);
	board_poll(kvm, 5);
	ck_assert_uint_eq(terminal_read(terminal_get(kvm, 0), text, sizeof(text)), 4);

	/* The user leaves: no hang-up, no spinning, and the VM goes on. */
	close(fd);
	ck_assert_uint_le(wakeups(100), 3);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	close(saved);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tty = suite_case(suite, "tty", setup_pty, teardown_pty);
	TCase *other = suite_case(suite, "pipes and files", setup, teardown);

	tcase_add_test(tty, keys_reach_the_reader_unprocessed);
	tcase_add_test(tty, tty_is_raw_until_closed);
	tcase_add_test(tty, restore_all_puts_the_tty_back);
	tcase_add_test(tty, second_terminal_leaves_the_first_ones_tty_alone);
	tcase_add_test(tty, ctrl_a_x_ends_the_vm);
	tcase_add_test(tty, ctrl_a_x_is_heard_when_nobody_takes_input);
	tcase_add_test(tty, ctrl_a_twice_sends_one);
	tcase_add_test(tty, ctrl_a_h_lists_every_key);
	tcase_add_test(tty, ctrl_a_b_is_a_break);
	tcase_add_test(tty, size_is_the_ttys_and_its_change_is_told);
	tcase_add_test(tty, shared_descriptions_stay_blocking);
	tcase_add_test(tty, stalled_tty_never_blocks_the_guest);

	tcase_add_test(other, fatal_signals_restore_the_tty_and_kill);
	tcase_add_test(other, tty_is_given_back_while_stopped);
	tcase_add_test(other, pipe_is_read_to_its_end_and_the_vm_goes_on);
	tcase_add_test(other, closed_pipe_does_not_spin);
	tcase_add_test(other, dev_null_does_not_spin);
	tcase_add_test(other, full_pipe_waits_without_spinning_and_loses_nothing);
	tcase_add_test(other, file_is_read_as_there_is_room);
	tcase_add_test(other, output_to_a_file_keeps_its_place);
	tcase_add_test(other, a_boot_log_costs_far_fewer_writes_than_bytes);
	tcase_add_test(other, a_prompt_appears_soon_without_a_newline);
	tcase_add_test(other, stalled_pipe_never_blocks_the_guest);
	tcase_add_test(other, stalled_socket_never_blocks_the_guest);
	tcase_add_test(other, flush_waits_for_a_stalled_reader_for_a_bounded_time);
	tcase_add_test(other, close_gets_everything_out_to_a_slow_reader);
	tcase_add_test(other, closed_output_is_forgotten);
	tcase_add_test(other, tty_option_makes_a_pty_and_says_so);
}
SUITE_MAIN("terminal", add_tests)
