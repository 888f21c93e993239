/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit tests of control/: the protocol, the server with well- and ill-behaved clients on a real socket in a
 * directory of the test's own, and lkvm's own client against it. The VM is created and not initialised: no
 * /dev/kvm is touched.
 */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control/control-internal.h"
#include "kvm/log.h"

#define TURNS 2000

static char dir[64];
static char said[1024];
static struct config *config;
static struct kvm *kvm;
static const struct init_item *control_item;
static struct init_done done;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void find_control(const struct init_item *item, void *opaque)
{
	(void)opaque;
	if (strcmp(item->name, "control_init") == 0)
		control_item = item;
}

static int control_up(const char *name)
{
	int r;

	ck_assert_int_eq(config_new(&config, run_options()), 0);
	if (name)
		ck_assert_int_eq(config_set(config, "name", name), 0);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	init_for_each(find_control, NULL);
	ck_assert_ptr_nonnull(control_item);
	r = control_item->init(kvm);
	if (r == 0) {
		done.items = calloc(1, sizeof(*done.items));
		done.items[0] = control_item;
		done.count = 1;
	}
	return r;
}

static void control_down(void)
{
	if (done.count)
		init_unwind(kvm, &done);
	kvm_free(kvm);
	config_free(config);
}

static void setup_directory(void)
{
	snprintf(dir, sizeof(dir), "/tmp/lkvm-test-qmp-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", dir, 1), 0);
	signal(SIGPIPE, SIG_IGN);
	log_set_sink(remember);
	said[0] = '\0';
}

static void teardown_directory(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/lkvm", dir);
	ck_assert_msg(rmdir(path) == 0 || errno == ENOENT, "%s is not empty: %s", path, strerror(errno));
	rmdir(dir);
}

static void setup(void)
{
	setup_directory();
	ck_assert_int_eq(control_up("vm"), 0);
}

static void teardown(void)
{
	control_down();
	teardown_directory();
}

static void address_of(const char *name, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/lkvm/%s.sock", dir, name);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;

	address_of("vm", &address);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Runs the loop until a whole line came; it is good until the next call. "" at the end of the connection. */
static const char *hear(int fd)
{
	static char line[65536];
	size_t length = 0;

	for (unsigned int turn = 0; turn < TURNS; turn++) {
		ssize_t got = recv(fd, line + length, 1, 0);

		if (got == 0 || (got < 0 && errno != EAGAIN))
			return "";
		if (got < 0) {
			event_loop_poll(kvm->loop, 1);
			continue;
		}
		turn = 0;
		if (line[length] == '\n') {
			line[length] = '\0';
			return line;
		}
		ck_assert_uint_lt(++length, sizeof(line) - 1);
	}
	ck_abort_msg("no answer; so far: %.*s", (int)length, line);
	return NULL;
}

static void expect(int fd, const char *part)
{
	const char *line = hear(fd);

	ck_assert_msg(strstr(line, part), "expected '%s', heard '%s'", part, line);
}

static int dial_negotiated(void)
{
	int fd = dial();

	expect(fd, "{\"QMP\":{\"version\":{\"qemu\":{\"major\":");
	say(fd, "{\"execute\":\"qmp_capabilities\"}\n");
	expect(fd, "{\"return\":{}}");
	return fd;
}

/* ---- the protocol ---- */

START_TEST(nothing_but_qmp_capabilities_works_before_it)
{
	int fd = dial();

	expect(fd, "\"capabilities\":[]");
	say(fd, "{\"execute\":\"query-status\",\"id\":7}\n");
	expect(fd, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities negotiation");
	say(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}\n");
	expect(fd, "GenericError");
	say(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}\n");
	expect(fd, "{\"return\":{}}");
	say(fd, "{\"execute\":\"qmp_capabilities\"}\n");
	expect(fd, "\"class\":\"CommandNotFound\"");
	close(fd);
}
END_TEST

START_TEST(an_id_of_any_kind_comes_back)
{
	int fd = dial_negotiated();

	say(fd, "{\"execute\":\"query-status\",\"id\":{\"a\":[1,\"}\"]}}\n");
	expect(fd, "\"id\":{\"a\":[1,\"}\"]}}");
	say(fd, "{\"execute\":\"nonsense\",\"id\":\"x\"}\n");
	expect(fd, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command nonsense has not been found\"},"
		   "\"id\":\"x\"}");
	close(fd);
}
END_TEST

START_TEST(messages_need_no_newline_between_them)
{
	int fd = dial_negotiated();

	say(fd, "{\"execute\":\"query-name\",\"id\":1}{\"execute\":\"query-kvm\",\"id\":2}\r\n {\"execute\":");
	expect(fd, "{\"return\":{\"name\":\"vm\"},\"id\":1}");
	expect(fd, "\"id\":2}");
	say(fd, "\n\t\"query-version\"}");
	expect(fd, "\"package\":\"lkvm ");
	close(fd);
}
END_TEST

START_TEST(two_hundred_pipelined_commands_are_answered_in_order)
{
	int fd = dial_negotiated();
	char text[64], expected[64];

	for (int i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "{\"execute\":\"query-name\",\"id\":%d}", i);
		say(fd, text);
	}
	for (int i = 0; i < 200; i++) {
		snprintf(expected, sizeof(expected), "\"id\":%d}", i);
		expect(fd, expected);
	}
	close(fd);
}
END_TEST

START_TEST(malformed_commands_are_errors_and_no_more)
{
	static const char *const lines[] = {
		"{}\n", "{\"execute\":5}\n", "{\"execute\":\"stop\",\"arguments\":[]}\n",
		"{\"execute\":\"stop\",\"arguments\":{\"hard\":true}}\n", "{\"execute\":\"stop\",\"extra\":1}\n",
		"{\"execute\":\"x-lkvm-debug\",\"arguments\":{\"what\":\"soul\"}}\n",
	};
	int fd = dial_negotiated();

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		say(fd, lines[i]);
		expect(fd, "{\"error\":{\"class\":\"GenericError\",\"desc\":");
	}
	say(fd, "{\"execute\":\"query-status\"}");
	expect(fd, "\"running\":false");
	close(fd);
}
END_TEST

START_TEST(arguments_of_another_type_are_refused_with_qemus_words)
{
	static const struct { const char *say, *hear; } cases[] = {
		{ "{\"execute\":\"inject-nmi\",\"arguments\":{\"cpu\":\"0\"}}\n", "Invalid parameter type for 'cpu', expected: integer" },
		{ "{\"execute\":\"x-lkvm-sysrq\"}\n", "Parameter 'key' is missing" },
		{ "{\"execute\":\"x-lkvm-sysrq\",\"arguments\":{\"key\":\"a\",\"k\":1}}\n", "Parameter 'k' is unexpected" },
		{ "{\"execute\":\"x-lkvm-debug\",\"arguments\":{\"what\":\"device\"}}\n", "Parameter 'what' does not accept value 'device'" },
		{ "{\"execute\":\"x-lkvm-debug\",\"arguments\":{\"what\":\"\"}}\n", "Parameter 'what' does not accept value ''" },
		{ "{\"execute\":\"eject\",\"arguments\":{\"force\":0}}\n", "Invalid parameter type for 'force', expected: boolean" },
		{ "{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"user\",\"id\":\"n\",\"hostfwd\":\"x\"}}\n", "expected: array" },
	};
	int fd = dial_negotiated();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		say(fd, cases[i].say);
		expect(fd, cases[i].hear);
	}
	close(fd);
}
END_TEST

/* ---- introspection ---- */

static json_t *ask(int fd, const char *command)
{
	char text[100];
	json_t *reply;

	snprintf(text, sizeof(text), "{\"execute\":\"%s\"}\n", command);
	say(fd, text);
	reply = json_loads(hear(fd), 0, NULL);
	ck_assert_ptr_nonnull(json_object_get(reply, "return"));
	return reply;
}

static const json_t *named(const json_t *list, const char *name)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
		if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0)
			return item;
	return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

START_TEST(the_schema_has_each_command_and_every_type_that_it_speaks_of)
{
	int fd = dial_negotiated();
	json_t *reply = ask(fd, "query-qmp-schema"), *schema = json_object_get(reply, "return"), *info, *member;
	json_t *names = ask(fd, "query-commands"), *name;
	size_t i, j;

	json_array_foreach(json_object_get(names, "return"), i, name)
		ck_assert_str_eq(text_of(named(schema, text_of(name, "name")), "meta-type"), "command");
	json_array_foreach(schema, i, info) {
		static const char *const keys[] = { "arg-type", "ret-type", "element-type" };

		ck_assert_ptr_eq(named(schema, text_of(info, "name")), info);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			if (text_of(info, keys[k]))
				ck_assert_msg(named(schema, text_of(info, keys[k])), "no type %s", text_of(info, keys[k]));
		json_array_foreach(json_object_get(info, "members"), j, member)
			if (text_of(member, "type"))
				ck_assert_msg(named(schema, text_of(member, "type")), "no type %s", text_of(member, "type"));
	}
	json_decref(names);
	json_decref(reply);
	close(fd);
}
END_TEST

START_TEST(the_schema_says_what_may_be_left_out)
{
	int fd = dial_negotiated();
	json_t *reply = ask(fd, "query-qmp-schema"), *schema = json_object_get(reply, "return");
	const json_t *resize = named(schema, text_of(named(schema, "block_resize"), "arg-type"));
	const json_t *members = json_object_get(resize, "members"), *device = named(members, "device"), *size = named(members, "size");

	ck_assert_str_eq(text_of(resize, "meta-type"), "object");
	ck_assert_str_eq(text_of(size, "type"), "int");
	ck_assert_ptr_null(json_object_get(size, "default"));
	ck_assert(json_is_null(json_object_get(device, "default")));
	ck_assert_str_eq(text_of(named(schema, "int"), "json-type"), "int");
	ck_assert_str_eq(text_of(named(schema, "registers|devices"), "meta-type"), "enum");
	ck_assert_uint_eq(json_array_size(json_object_get(named(schema, "registers|devices"), "values")), 2);
	json_decref(reply);
	close(fd);
}
END_TEST

START_TEST(the_schema_has_every_event_that_the_source_sends)
{
	FILE *names = popen("grep -rhoE '(control_event|kvm_notify)\\([^\"]*\"[A-Z_]+\"' --include=*.c --exclude-dir=tests --exclude-dir=build . "
			    "| grep -oE '[A-Z_]{4,}\"$' | tr -d '\"'", "r");
	int fd = dial_negotiated();
	json_t *reply = ask(fd, "query-qmp-schema"), *schema = json_object_get(reply, "return");
	unsigned int count = 0;
	char line[64];

	while (fgets(line, sizeof(line), names)) {
		line[strcspn(line, "\n")] = '\0';
		ck_assert_msg(named(schema, line), "no event %s (control/schema.c)", line);
		count++;
	}
	ck_assert_uint_gt(count, 8);
	pclose(names);
	json_decref(reply);
	close(fd);
}
END_TEST

START_TEST(what_is_no_json_is_answered_a_few_times_and_then_dropped)
{
	int fd = dial_negotiated();

	for (unsigned int i = 0; i < 8; i++) {
		say(fd, i % 2 ? "GET / HTTP/1.1\r\n" : "{\"a\":\"b\n");
		expect(fd, "JSON parse error");
	}
	say(fd, "again\n");
	while (*hear(fd))
		;
	close(fd);
	close(dial_negotiated());
}
END_TEST

START_TEST(deep_nesting_is_garbage)
{
	char text[300];
	int fd = dial_negotiated();

	memset(text, '[', sizeof(text));
	memcpy(text, "{\"a\":", 5);
	text[sizeof(text) - 2] = '\n';
	text[sizeof(text) - 1] = '\0';
	say(fd, text);
	expect(fd, "JSON parse error");
	say(fd, "{\"execute\":\"query-status\"}");
	expect(fd, "\"running\":false");
	close(fd);
}
END_TEST

START_TEST(binary_noise_harms_nobody)
{
	int good = dial_negotiated(), bad = dial();
	char noise[4096];
	unsigned int seed = 1;

	for (unsigned int i = 0; i < 50; i++) {
		for (size_t n = 0; n < sizeof(noise); n++)
			noise[n] = (char)(rand_r(&seed) >> 8);
		if (send(bad, noise, sizeof(noise), MSG_NOSIGNAL) < 0 && errno == EPIPE)
			break;
		event_loop_poll(kvm->loop, 0);
	}
	say(good, "{\"execute\":\"query-status\"}");
	expect(good, "\"running\":false");
	close(bad);
	close(good);
}
END_TEST

START_TEST(a_message_of_ten_megabytes_costs_its_sender_the_connection)
{
	int fd = dial_negotiated();
	static char chunk[65536];
	bool dropped = false;

	memset(chunk, 'x', sizeof(chunk));
	say(fd, "{\"execute\":\"");
	for (size_t sent = 0; sent < MIB(10) && !dropped;) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n < 0)
			dropped = errno == EPIPE || errno == ECONNRESET;
		else
			sent += (size_t)n;
		event_loop_poll(kvm->loop, 0);
	}

	ck_assert(dropped);
	close(fd);
	close(dial_negotiated());
}
END_TEST

/* ---- clients that stall ---- */

START_TEST(a_client_that_never_reads_does_not_hold_up_another)
{
	int stalled = dial_negotiated(), good = dial_negotiated();
	static const char text[] = "{\"execute\":\"query-commands\"}";
	size_t sent = 0;

	for (unsigned int turn = 0; turn < 20000; turn++) {
		ssize_t n = send(stalled, text, sizeof(text) - 1, MSG_NOSIGNAL);

		if (n < 0)
			break;
		sent += (size_t)n;
		event_loop_poll(kvm->loop, 0);
	}

	ck_assert_uint_lt(sent, MIB(2));
	say(good, "{\"execute\":\"query-name\"}");
	expect(good, "\"name\":\"vm\"");
	close(stalled);
	close(good);
}
END_TEST

START_TEST(events_that_pile_up_end_the_stalled_connection)
{
	int stalled = dial_negotiated();
	char *padding = malloc(KIB(64));

	memset(padding, 'x', KIB(64) - 1);
	padding[KIB(64) - 1] = '\0';
	for (unsigned int i = 0; i < 200; i++)
		control_event(kvm, "X_TEST", json_pack("{s:s}", "padding", padding));
	free(padding);
	for (unsigned int turn = 0; turn < TURNS; turn++) {
		static char sink[65536];

		if (recv(stalled, sink, sizeof(sink), 0) == 0) {
			close(stalled);
			return;
		}
		event_loop_poll(kvm->loop, 0);
	}
	ck_abort_msg("still connected");
}
END_TEST

START_TEST(forty_idlers_do_not_lock_out_the_next)
{
	int idle[40];

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		idle[i] = dial();
		event_loop_poll(kvm->loop, 0);
		event_loop_poll(kvm->loop, 0);
	}
	close(dial_negotiated());
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		close(idle[i]);
}
END_TEST

START_TEST(a_client_that_shuts_its_side_still_gets_its_answers)
{
	int fd = dial();

	say(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\"}");
	shutdown(fd, SHUT_WR);
	expect(fd, "\"QMP\"");
	expect(fd, "\"return\":{}");
	expect(fd, "\"name\":\"vm\"");
	ck_assert_str_eq(hear(fd), "");
	close(fd);
}
END_TEST

/* ---- events ---- */

START_TEST(stop_and_cont_send_events_to_everyone_negotiated)
{
	int fd = dial_negotiated(), other = dial_negotiated(), fresh = dial();

	expect(fresh, "\"QMP\"");
	say(fd, "{\"execute\":\"stop\"}");
	expect(other, "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":");
	expect(fd, "\"event\":\"STOP\"");
	expect(fd, "{\"return\":{}}");
	say(fd, "{\"execute\":\"stop\"}{\"execute\":\"query-status\"}");
	expect(fd, "{\"return\":{}}");
	expect(fd, "\"status\":\"paused\"");
	say(fd, "{\"execute\":\"cont\"}");
	expect(other, "\"event\":\"RESUME\"");
	say(fresh, "{\"execute\":\"qmp_capabilities\"}");
	expect(fresh, "{\"return\":{}}");
	close(fd);
	close(other);
	close(fresh);
}
END_TEST

START_TEST(shutdown_says_why)
{
	int fd = dial_negotiated();

	say(fd, "{\"execute\":\"quit\"}");
	expect(fd, "{\"return\":{}}");
	kvm_notify(kvm, "SHUTDOWN");
	expect(fd, "\"data\":{\"guest\":false,\"reason\":\"host-qmp-quit\"");
	close(fd);
}
END_TEST

START_TEST(a_panic_is_told_before_the_shutdown)
{
	int fd = dial_negotiated();

	kvm_panic_seen(kvm);
	kvm_end_request(kvm, KVM_END_REBOOT);
	kvm_notify(kvm, "SHUTDOWN");
	expect(fd, "\"event\":\"GUEST_PANICKED\"");
	expect(fd, "\"reason\":\"guest-panic\"");
	close(fd);
}
END_TEST

/* ---- the socket ---- */

START_TEST(the_socket_is_for_its_owner_only)
{
	struct sockaddr_un address;
	struct stat st;

	address_of("vm", &address);
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	*strrchr(address.sun_path, '/') = '\0';
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0700);
}
END_TEST

START_TEST(a_name_in_use_is_refused)
{
	struct config *other_config;
	struct kvm *other;

	ck_assert_int_eq(config_new(&other_config, run_options()), 0);
	ck_assert_int_eq(config_set(other_config, "name", "vm"), 0);
	ck_assert_int_eq(kvm_create(&other, other_config), 0);
	ck_assert_int_eq(control_item->init(other), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(said, "option --name: 'vm' is taken by a VM that runs"));
	kvm_free(other);
	config_free(other_config);
	close(dial_negotiated());
}
END_TEST

START_TEST(the_socket_of_a_killed_vm_is_taken_over)
{
	struct sockaddr_un address;
	char path[128];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(path, sizeof(path), "%s/lkvm", dir);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	address_of("vm", &address);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);

	ck_assert_int_eq(control_up("vm"), 0);

	close(dial_negotiated());
	control_down();
}
END_TEST

START_TEST(made_up_names_give_way_to_each_other)
{
	struct init_done first_done;
	struct config *first_config;
	struct kvm *first;

	ck_assert_int_eq(control_up(NULL), 0);
	first = kvm;
	first_config = config;
	first_done = done;
	ck_assert_int_eq(control_up(NULL), 0);

	ck_assert_str_ne(control_name(first), control_name(kvm));

	control_down();
	init_unwind(first, &first_done);
	kvm_free(first);
	config_free(first_config);
}
END_TEST

START_TEST(without_a_directory_the_vm_runs_all_the_same)
{
	ck_assert_int_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
	ck_assert_int_eq(setenv("HOME", "/proc", 1), 0);

	ck_assert_int_eq(control_up("vm"), INIT_SKIP);

	ck_assert_ptr_nonnull(strstr(said, "control socket: none"));
	control_down();
	ck_assert_int_eq(unsetenv("HOME"), 0);
	ck_assert_int_eq(control_up("vm"), INIT_SKIP);
	control_down();
}
END_TEST

START_TEST(a_long_directory_is_no_obstacle)
{
	static char longest[256];
	char path[300];

	snprintf(longest, sizeof(longest), "%s/%0*d", dir, 150, 0);
	ck_assert_int_eq(mkdir(longest, 0700), 0);
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", longest, 1), 0);

	ck_assert_int_eq(control_up("vm"), 0);

	snprintf(path, sizeof(path), "%s/lkvm/vm.sock", longest);
	ck_assert_int_eq(access(path, F_OK), 0);
	control_down();
	ck_assert_int_eq(access(path, F_OK), -1);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(longest);
}
END_TEST

/* ---- lkvm's own client ---- */

static unsigned int seen;

static void count_name(const char *name, void *opaque)
{
	ck_assert_str_eq(name, opaque);
	seen++;
}

/* The loop belongs to the thread that created the VM, so it is the client that moves to another one. */
static void *call_and_wait(void *opaque)
{
	struct qmp_client *client;
	json_t *result;

	ck_assert_int_eq(control_for_each(count_name, opaque), 0);
	ck_assert_uint_eq(seen, 1);
	ck_assert_int_eq(control_connect("vm", 2000, &client), 0);
	ck_assert_int_eq(control_call(client, "x-lkvm-info", NULL, &result), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(result, "pid")), getpid());
	json_decref(result);
	ck_assert_int_eq(control_call(client, "stop", NULL, NULL), 0);
	ck_assert_int_eq(control_wait_event(client, "STOP", 2000), 0);
	ck_assert_int_eq(control_wait_event(client, "STOP", 50), -ETIMEDOUT);
	ck_assert_int_eq(control_call(client, "nonsense", NULL, NULL), -EREMOTEIO);
	ck_assert_ptr_nonnull(strstr(said, "vm: nonsense: The command nonsense has not been found"));
	ck_assert_int_eq(control_call(client, "quit", NULL, NULL), 0);
	control_disconnect(client);
	return NULL;
}

START_TEST(the_client_connects_calls_and_waits)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, call_and_wait, (void *)"vm"), 0);
	ck_assert_int_eq(event_loop_run(kvm->loop), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_QUIT);
}
END_TEST

START_TEST(the_client_gives_up_on_a_vm_that_hangs)
{
	struct qmp_client *client;

	ck_assert_int_eq(control_connect("vm", 100, &client), -ETIMEDOUT);

	ck_assert_ptr_nonnull(strstr(said, "doesn't answer"));
}
END_TEST

START_TEST(the_client_clears_a_dead_socket_away)
{
	struct sockaddr_un address;
	struct qmp_client *client;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	address_of("dead", &address);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);

	ck_assert_int_eq(control_connect("dead", 100, &client), -ENOENT);

	ck_assert_int_eq(access(address.sun_path, F_OK), -1);
	ck_assert_int_eq(control_connect("../vm", 100, &client), -EINVAL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *server = suite_case(suite, "server", setup, teardown);
	TCase *socket_case = suite_case(suite, "socket", setup_directory, teardown_directory);

	tcase_add_test(server, nothing_but_qmp_capabilities_works_before_it);
	tcase_add_test(server, an_id_of_any_kind_comes_back);
	tcase_add_test(server, messages_need_no_newline_between_them);
	tcase_add_test(server, two_hundred_pipelined_commands_are_answered_in_order);
	tcase_add_test(server, malformed_commands_are_errors_and_no_more);
	tcase_add_test(server, arguments_of_another_type_are_refused_with_qemus_words);
	tcase_add_test(server, the_schema_has_each_command_and_every_type_that_it_speaks_of);
	tcase_add_test(server, the_schema_says_what_may_be_left_out);
	tcase_add_test(server, the_schema_has_every_event_that_the_source_sends);
	tcase_add_test(server, what_is_no_json_is_answered_a_few_times_and_then_dropped);
	tcase_add_test(server, deep_nesting_is_garbage);
	tcase_add_test(server, binary_noise_harms_nobody);
	tcase_add_test(server, a_message_of_ten_megabytes_costs_its_sender_the_connection);
	tcase_add_test(server, a_client_that_never_reads_does_not_hold_up_another);
	tcase_add_test(server, events_that_pile_up_end_the_stalled_connection);
	tcase_add_test(server, forty_idlers_do_not_lock_out_the_next);
	tcase_add_test(server, a_client_that_shuts_its_side_still_gets_its_answers);
	tcase_add_test(server, stop_and_cont_send_events_to_everyone_negotiated);
	tcase_add_test(server, shutdown_says_why);
	tcase_add_test(server, a_panic_is_told_before_the_shutdown);
	tcase_add_test(server, the_socket_is_for_its_owner_only);
	tcase_add_test(server, a_name_in_use_is_refused);
	tcase_add_test(server, the_client_connects_calls_and_waits);
	tcase_add_test(server, the_client_gives_up_on_a_vm_that_hangs);
	tcase_add_test(server, the_client_clears_a_dead_socket_away);
	tcase_add_test(socket_case, the_socket_of_a_killed_vm_is_taken_over);
	tcase_add_test(socket_case, made_up_names_give_way_to_each_other);
	tcase_add_test(socket_case, without_a_directory_the_vm_runs_all_the_same);
	tcase_add_test(socket_case, a_long_directory_is_no_obstacle);
}
SUITE_MAIN("qmp", add_tests)
