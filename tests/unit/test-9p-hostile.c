/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/9p*.c and clients that break the rules, or try to leave the share. */
#include "tests/unit/board.h"

#include <sys/resource.h>

#include "tests/unit/nine-driver.h"

static void setup(void)
{
	machine("");
}

/* What the share lies in must be as it was, whatever was tried. */
static void teardown(void)
{
	char seen[16] = "";
	struct stat stat_;
	int fd = open("secret", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(read(fd, seen, sizeof(seen)), 6);
	ck_assert_str_eq(seen, "secret");
	close(fd);
	ck_assert_int_eq(stat("secret", &stat_), 0);
	ck_assert_uint_eq(stat_.st_nlink, 1);
	ck_assert_int_eq(stat(".", &stat_), 0);
	ck_assert_int_lt(stat("made", &stat_), 0);
	machine_end();
}

/* The session still works. */
static void assert_alive(void)
{
	ask(0, TWALK, "442s", 0U, 777U, 1U, "file");
	ask(0, TCLUNK, "4", 777U);
}

/* ---- ways out ---- */

static const char *const bad_names[] = { "../secret", "/etc/passwd", "a/b", "/", "", ".", "./file", "file/" };

START_TEST(names_are_single_components)
{
	const char *name = bad_names[_i];
	unsigned int gid = (unsigned int)getegid();

	ask(0, TWALK, "442s", 0U, 1U, 1U, "file");
	ask(EINVAL, TWALK, "442s", 0U, 2U, 1U, name);
	ask(EINVAL, TLCREATE, "4s444", 0U, name, 0302U, 0640U, gid);
	ask(EINVAL, TMKDIR, "4s44", 0U, name, 0750U, gid);
	ask(EINVAL, TMKNOD, "4s4444", 0U, name, (unsigned int)S_IFREG | 0600, 0U, 0U, gid);
	ask(EINVAL, TSYMLINK, "4ss4", 0U, name, "x", gid);
	ask(EINVAL, TLINK, "44s", 0U, 1U, name);
	ask(EINVAL, TRENAME, "44s", 1U, 0U, name);
	ask(EINVAL, TRENAMEAT, "4s4s", 0U, "file", 0U, name);
	ask(EINVAL, TRENAMEAT, "4s4s", 0U, name, 0U, "made");
	ask(EINVAL, TUNLINKAT, "4s4", 0U, name, 0U);
	ask(EINVAL, TUNLINKAT, "4s4", 0U, name, 0x200U);
	assert_alive();
}
END_TEST

START_TEST(the_folder_above_is_no_name_to_make_or_remove)
{
	unsigned int gid = (unsigned int)getegid();

	ask(EINVAL, TMKDIR, "4s44", 0U, "..", 0750U, gid);
	ask(EINVAL, TLCREATE, "4s444", 0U, "..", 0302U, 0640U, gid);
	ask(EINVAL, TRENAMEAT, "4s4s", 0U, "file", 0U, "..");
	ask(EINVAL, TUNLINKAT, "4s4", 0U, "..", 0x200U);
	/* Upwards from the root is the root. */
	ask(0, TWALK, "442sss", 0U, 1U, 3U, "..", "..", "..");
	ask(0, TWALK, "442s", 1U, 2U, 1U, "file");
	ask(ENOENT, TWALK, "442s", 1U, 3U, 1U, "secret");
	ask(EBUSY, TREMOVE, "4", 1U);
	assert_alive();
}
END_TEST

static const char *const targets[] = { "..", "/", "../secret", "/proc/self/root" };

START_TEST(symlinks_are_not_followed)
{
	unsigned int gid = (unsigned int)getegid();

	ask(0, TSYMLINK, "4ss4", 0U, "link", targets[_i], gid);
	ask(0, TWALK, "442s", 0U, 1U, 1U, "link");
	ask(0, TWALK, "442ss", 0U, 2U, 2U, "link", "secret");
	ck_assert_uint_eq(reply_get(2), 1);
	ask(ENOTDIR, TWALK, "442s", 1U, 2U, 1U, "secret");
	ask(ELOOP, TLOPEN, "44", 1U, 0U);
	ask(ELOOP, TLOPEN, "44", 1U, 0200000U);
	ask(ENOTDIR, TLCREATE, "4s444", 1U, "made", 0302U, 0640U, gid);
	ask(ENOTDIR, TMKDIR, "4s44", 1U, "made", 0750U, gid);
	ask(ENOTDIR, TRENAMEAT, "4s4s", 0U, "file", 1U, "made");
	ask(ENOTDIR, TUNLINKAT, "4s4", 1U, "secret", 0U);
	/* An existing name that is a symlink is not created through. */
	ask(ELOOP, TLCREATE, "4s444", 0U, "link", 0102U, 0640U, gid);
	/* Its size, mode and owner are not the target's. */
	ask(EINVAL, TSETATTR, "444448" "8888", 1U, 8U, 0U, 0U, 0U, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0);
	ask(EOPNOTSUPP, TSETATTR, "444448" "8888", 1U, 1U, 0777U, 0U, 0U, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0);
	assert_alive();
}
END_TEST

/* ---- sizes and counts ---- */

static uint8_t send_raw(struct message *message, uint32_t size, uint32_t room)
{
	le32 encoded = le32_of(size);

	memcpy(message->bytes, &encoded, sizeof(encoded));
	return message_send(message, room);
}

START_TEST(a_message_cut_short_anywhere_is_an_error)
{
	static const struct { uint8_t type; const char *format; } kinds[] = {
		{ TWALK, "442s" }, { TLCREATE, "4s444" }, { TSYMLINK, "4ss4" }, { TMKDIR, "4s44" }, { TRENAMEAT, "4s4s" },
		{ TUNLINKAT, "4s4" }, { TLINK, "44s" }, { TXATTRWALK, "44s" },
	};
	static struct message message;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		if (strcmp(kinds[kind].format, "442s") == 0)
			message_make(&message, TWALK, 1, "442s", 0U, 5U, 1U, "file");
		else
			message_make(&message, kinds[kind].type, 1, "444444", 0U, 0U, 0U, 0U, 0U, 0U);
		for (size_t cut = 7; cut < MIN(message.length, (size_t)16); cut++) {
			static struct message shorter;

			memcpy(&shorter, &message, sizeof(message));
			shorter.length = cut;
			ck_assert_uint_eq(send_raw(&shorter, (uint32_t)cut, 512), RLERROR);
		}
	}
	assert_alive();
}
END_TEST

static const uint32_t bad_sizes[] = { 0, 1, 6, 4096, 0x7fffffff, UINT32_MAX };

START_TEST(a_size_that_is_not_the_message_s_is_an_error)
{
	static struct message message;

	message_make(&message, TCLUNK, 1, "4", 0U);
	ck_assert_uint_eq(send_raw(&message, bad_sizes[_i], 64), RLERROR);
	assert_alive();
}
END_TEST

START_TEST(a_string_longer_than_the_message_is_an_error)
{
	static struct message message;

	message_make(&message, TMKDIR, 1, "42", 0U, 0xffffU);
	ck_assert_uint_eq(send_raw(&message, (uint32_t)message.length, 64), RLERROR);
	/* A NUL in a name */
	message_make(&message, TMKDIR, 1, "4s44", 0U, "a_b", 0750U, 0U);
	message.bytes[14] = 0;
	ck_assert_uint_eq(message_send(&message, 64), RLERROR);
	ck_assert_int_eq((int)reply_get(4), EINVAL);
	/* A name of 256 bytes, and a path of 4096 */
	memset(reply_bytes, 'x', 5000);
	reply_bytes[256] = '\0';
	ask(ENAMETOOLONG, TMKDIR, "4s44", 0U, (char *)reply_bytes, 0750U, 0U);
	memset(reply_bytes, 'x', 5000);
	reply_bytes[4096] = '\0';
	ask(ENAMETOOLONG, TSYMLINK, "4ss4", 0U, "made", (char *)reply_bytes, 0U);
	assert_alive();
}
END_TEST

START_TEST(a_walk_has_sixteen_names_at_most)
{
	ask(EINVAL, TWALK, "442ssssssssssssssss" "s", 0U, 1U, 17U, "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..",
	    "..", "..", "..", "..");
	ask(EINVAL, TWALK, "442", 0U, 1U, 0xffffU);
	/* Fewer than it says */
	ask(EINVAL, TWALK, "442ss", 0U, 1U, 3U, "..", "..");
	ask(0, TWALK, "442ssssssssssssssss", 0U, 1U, 16U, "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..", "..",
	    "..");
	ck_assert_uint_eq(reply_get(2), 16);
}
END_TEST

START_TEST(a_write_of_more_than_was_sent_is_an_error)
{
	ask(0, TWALK, "442s", 0U, 1U, 1U, "file");
	ask(0, TLOPEN, "44", 1U, 2U);
	ask(EINVAL, TWRITE, "484", 1U, (uint64_t)0, 1U);
	ask(EINVAL, TWRITE, "484", 1U, (uint64_t)0, UINT32_MAX);
	ask(EINVAL, TWRITE, "48", 1U, (uint64_t)0);
	ask(EFBIG, TWRITE, "4841", 1U, (uint64_t)INT64_MAX, 1U, 'x');
	ask(EFBIG, TWRITE, "4841", 1U, UINT64_MAX, 1U, 'x');
	ask(EINVAL, TREAD, "484", 1U, UINT64_MAX, 10U);
	ask(0, TREAD, "484", 1U, (uint64_t)INT64_MAX - 8192, 10U);
	assert_alive();
}
END_TEST

/* Marks what is behind the room of a reply. */
static void mark_replies(void)
{
	static uint8_t marks[SLOT_SIZE];

	memset(marks, 0xee, sizeof(marks));
	guest_poke(&driver_ram, REPLY, marks, sizeof(marks));
}

START_TEST(nothing_is_written_behind_the_room_of_a_reply)
{
	static struct message message;
	uint32_t room;

	put_file("in/long", "0123456789012345678901234567890123456789");
	ask(0, TWALK, "442s", 0U, 1U, 1U, "long");
	ask(0, TLOPEN, "44", 1U, 0U);
	ask(0, TWALK, "442", 0U, 2U, 0U);
	ask(0, TLOPEN, "44", 2U, 0200000U);
	for (room = 11; room < 200; room++) {
		mark_replies();
		if (_i == 0)
			message_make(&message, TREAD, 1, "484", 1U, (uint64_t)0, 8000U);
		else if (_i == 1)
			message_make(&message, TREADDIR, 1, "484", 2U, (uint64_t)0, 8000U);
		else
			message_make(&message, TGETATTR, 1, "48", 1U, (uint64_t)0x7ff);
		/* What fits of a file is an answer; all else needs its room. */
		if (message_send(&message, room) == TREAD + 1)
			ck_assert_uint_eq(reply_get(4), MIN(room - 11, 40U));
		else
			ck_assert_int_ne(_i, 0);
		ck_assert_uint_le(driver_used_length(0, 0), room);
		for (uint32_t i = room; i < 256; i++)
			ck_assert_uint_eq(driver_peek(REPLY + i), 0xee);
	}
	assert_alive();
}
END_TEST

START_TEST(messages_past_the_session_s_size_are_refused)
{
	static struct message message;

	message_make(&message, TWRITE, 1, "484", 0U, (uint64_t)0, 1U);
	message.length = 8193;
	ck_assert_uint_eq(send_raw(&message, 8193, 64), RLERROR);
	ck_assert_int_eq((int)reply_get(4), EMSGSIZE);
	/* And one that is no write stays small whatever was agreed. */
	ask(0, TVERSION, "4s", 1U << 20, "9P2000.L");
	message_make(&message, TMKDIR, 1, "4s", 0U, "made");
	message.length = 0x7000;
	ck_assert_uint_eq(send_raw(&message, 0x7000, 64), RLERROR);
	ck_assert_int_eq((int)reply_get(4), EMSGSIZE);
}
END_TEST

START_TEST(every_type_of_message_is_answered)
{
	static struct message message;

	for (unsigned int type = 0; type < 256; type++) {
		/* Tversion is allowed to succeed, and Tflush of nothing. */
		if (type == TVERSION || type == TFLUSH)
			continue;
		message_make(&message, (uint8_t)type, 1, "");
		ck_assert_uint_eq(message_send(&message, 64), RLERROR);
	}
	message_make(&message, TFLUSH, 1, "");
	ck_assert_uint_eq(message_send(&message, 64), TFLUSH + 1);
	ask(EOPNOTSUPP, 99, "");
	ask(EOPNOTSUPP, 255, "");
	assert_alive();
}
END_TEST

static uint64_t seed = 1;

static uint32_t random_word(void)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 33);
}

/* A message of a type that there is, with integers that are now and then sensible, and names. */
static void random_message(struct message *message)
{
	static const uint8_t types[] = { 8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 104, 108, 110, 116, 118, 120, 122 };
	static const char *const strings[] = { "file", "..", "a", "b", "/", "", "link", "user.x" };

	message_make(message, types[random_word() % ARRAY_SIZE(types)], 1, "");
	while (random_word() % 8 && message->length < 200) {
		if (random_word() % 2)
			message_put(message, random_word() % 4, 4);
		else if (random_word() % 4)
			message_string(message, strings[random_word() % ARRAY_SIZE(strings)]);
		else
			message_put(message, random_word(), 1 + random_word() % 8);
	}
	message->bytes[0] = (uint8_t)message->length;
}

START_TEST(random_messages_are_all_answered)
{
	static struct message message;

	seed = (uint64_t)_i + 1;
	for (unsigned int i = 0; i < 500; i++) {
		random_message(&message);
		message_send(&message, 11 + random_word() % 500);
		if (i % 100 == 99)
			session_start();
	}
}
END_TEST

/* ---- what a guest can pile up ---- */

START_TEST(fids_have_a_ceiling)
{
	static struct message message;
	unsigned int made = 0;

	for (unsigned int i = 1; i < 2000; i++) {
		message_make(&message, TWALK, 1, "442", 0U, i, 0U);
		if (message_send(&message, 64) == RLERROR) {
			ck_assert_int_eq((int)reply_get(4), ENFILE);
			break;
		}
		made = i;
	}
	ck_assert_uint_ge(made, 100);
	ck_assert_uint_lt(made, 1100);
	/* Opening takes one more. */
	ask(ENFILE, TLOPEN, "44", 1U, 0U);
	ask(0, TCLUNK, "4", 2U);
	ask(0, TLOPEN, "44", 1U, 0U);
	ask(ENFILE, TXATTRWALK, "44s", 1U, 9999U, "");
	ask(0, TCLUNK, "4", 1U);
	assert_alive();
}
END_TEST

static void setup_few(void)
{
	/* As a process that may have a thousand files and no more. */
	const struct rlimit limit = { 1100, 1100 };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	setup();
}

START_TEST(attributes_have_a_ceiling)
{
	ask(0, TWALK, "442s", 0U, 1U, 1U, "file");
	ask(E2BIG, TXATTRCREATE, "4s84", 1U, "user.x", (uint64_t)65537, 0U);
	ask(E2BIG, TXATTRCREATE, "4s84", 1U, "user.x", UINT64_MAX, 0U);
	ask(EINVAL, TXATTRCREATE, "4s84", 1U, "user.x", (uint64_t)5, 3U);
	ask(EINVAL, TXATTRCREATE, "4s84", 1U, "", (uint64_t)5, 0U);
	ask(0, TXATTRCREATE, "4s84", 1U, "user.x", (uint64_t)5, 0U);
	ask(EINVAL, TXATTRCREATE, "4s84", 1U, "user.x", (uint64_t)5, 0U);
	ask(EINVAL, TLOPEN, "44", 1U, 0U);
	ask(EBADF, TWALK, "442", 1U, 2U, 0U);
	assert_alive();
}
END_TEST

/* ---- descriptors ---- */

static const struct driver_buffer odd[][2] = {
	{ { REQUEST, 11, false }, { REPLY, 10, true } },	/* no room for any answer */
	{ { REQUEST, 6, false }, { REPLY, 64, true } },		/* no whole header */
	{ { REQUEST, 11, false }, { REPLY, 0, true } },
	{ { REQUEST, 11, false }, { NOWHERE, 64, true } },
	{ { NOWHERE, 11, false }, { REPLY, 64, true } },
};

START_TEST(a_chain_that_is_no_call_stops_the_device_until_reset)
{
	static struct message message;

	message_make(&message, TCLUNK, 1, "4", 0U);
	guest_poke(&driver_ram, REQUEST, message.bytes, message.length);
	driver_offer(0, 0, odd[_i], 2);
	driver_kick(kvm, 0);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 1);
	session_start();
	assert_alive();
}
END_TEST

START_TEST(a_message_in_many_pieces_is_the_same_message)
{
	struct driver_buffer buffers[32];
	static struct message message;

	message_make(&message, TWALK, 1, "442s", 0U, 1U, 1U, "file");
	guest_poke(&driver_ram, REQUEST, message.bytes, message.length);
	for (unsigned int i = 0; i < message.length; i++)
		buffers[i] = (struct driver_buffer){ REQUEST + i, 1, false };
	for (unsigned int i = 0; i < 9; i++)
		buffers[message.length + i] = (struct driver_buffer){ REPLY + i, i < 8 ? 1 : 56, true };
	driver_offer(0, 0, buffers, (unsigned int)message.length + 9);
	driver_finish(kvm, 0);
	ck_assert_uint_eq(reply_take(0, 1, driver_used_length(0, 0)), TWALK + 1);
}
END_TEST

START_TEST(hostile_saved_state_is_refused_or_harmless)
{
	ask(0, TWALK, "442s", 0U, 1U, 1U, "file");
	ask(0, TLOPEN, "44", 1U, 2U);
	ask(0, TWALK, "442s", 0U, 2U, 1U, "file");
	ask(0, TXATTRCREATE, "4s84", 2U, "user.x", (uint64_t)5, 0U);
	board_load_hostile(kvm, "virtio-9p0", NULL);
	log_set_sink(board_hush);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "ways out", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_loop_test(tests, names_are_single_components, 0, (int)ARRAY_SIZE(bad_names));
	tcase_add_test(tests, the_folder_above_is_no_name_to_make_or_remove);
	tcase_add_loop_test(tests, symlinks_are_not_followed, 0, (int)ARRAY_SIZE(targets));

	tests = suite_case(suite, "sizes", setup, teardown);
	tcase_add_test(tests, a_message_cut_short_anywhere_is_an_error);
	tcase_add_loop_test(tests, a_size_that_is_not_the_message_s_is_an_error, 0, (int)ARRAY_SIZE(bad_sizes));
	tcase_add_test(tests, a_string_longer_than_the_message_is_an_error);
	tcase_add_test(tests, a_walk_has_sixteen_names_at_most);
	tcase_add_test(tests, a_write_of_more_than_was_sent_is_an_error);
	tcase_add_loop_test(tests, nothing_is_written_behind_the_room_of_a_reply, 0, 3);
	tcase_add_test(tests, messages_past_the_session_s_size_are_refused);
	tcase_add_test(tests, every_type_of_message_is_answered);
	tcase_add_loop_test(tests, random_messages_are_all_answered, 0, 4);
	tcase_add_test(tests, attributes_have_a_ceiling);
	tcase_add_loop_test(tests, a_chain_that_is_no_call_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(tests, a_message_in_many_pieces_is_the_same_message);
	tcase_add_test(tests, hostile_saved_state_is_refused_or_harmless);

	tests = suite_case(suite, "few files", setup_few, teardown);
	tcase_add_test(tests, fids_have_a_ceiling);
}
SUITE_MAIN("9p-hostile", add_tests)
