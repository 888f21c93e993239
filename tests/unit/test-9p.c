/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/9p*.c with a real folder behind it: what clients ask for. */
#include "tests/unit/board.h"

#include <signal.h>
#include <sys/xattr.h>

#include "tests/unit/nine-driver.h"

static void setup(void)
{
	machine("");
}

static void setup_read_only(void)
{
	machine(",ro");
}

static void assert_file(const char *path, const char *want)
{
	char seen[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(read(fd, seen, sizeof(seen) - 1), 0);
	ck_assert_str_eq(seen, want);
	close(fd);
}

static void ask_read(uint32_t number, uint64_t offset, uint32_t count, const char *want)
{
	ask(0, TREAD, "484", number, offset, count);
	ck_assert_uint_eq(reply_get(4), strlen(want));
	ck_assert_mem_eq(reply_bytes + reply_at, want, strlen(want));
}

static void ask_write(int error, uint32_t number, uint64_t offset, const char *text)
{
	static struct message message;

	message_make(&message, TWRITE, 1, "484", number, offset, (unsigned int)strlen(text));
	memcpy(message.bytes + message.length, text, strlen(text));
	message.length += strlen(text);
	message.bytes[0] = (uint8_t)message.length;
	if (message_send(&message, 64) == RLERROR)
		ck_assert_int_eq((int)reply_get(4), error);
	else
		ck_assert_uint_eq(reply_get(4), strlen(text));
}

/* ---- the session ---- */

START_TEST(the_tag_is_in_the_config_space)
{
	uint8_t config[7];

	virtio_config_read(driven, 0, config, sizeof(config));
	ck_assert_mem_eq(config, "\5\0share", 7);
}
END_TEST

START_TEST(a_version_ends_all_that_was_before)
{
	walk_to(1, "file");
	ask(0, TVERSION, "4s", 65536U * 1024, "9P2000.L");
	ck_assert_uint_eq(reply_get(4), 1 << 20);
	ask(EBADF, TCLUNK, "4", 1U);
	ask(EBADF, TCLUNK, "4", 0U);
	ask(0, TVERSION, "4s", 8192U, "9P2000");
	reply_get(4);
	ck_assert_uint_eq(reply_get(2), 7);
	ck_assert_mem_eq(reply_bytes + reply_at, "unknown", 7);
	ask(EPROTO, TATTACH, "44ss4", 0U, NOFID, "", "", 0U);
	ask(EMSGSIZE, TVERSION, "4s", 100U, "9P2000.L");
}
END_TEST

START_TEST(a_subfolder_can_be_attached_to)
{
	ck_assert_int_eq(mkdir("in/a", 0755), 0);
	put_file("in/a/b", "x");
	ask(0, TATTACH, "44ss4", 5U, NOFID, "", "/a", 0U);
	ask(0, TWALK, "442s", 5U, 6U, 1U, "b");
	ask(ENOENT, TATTACH, "44ss4", 7U, NOFID, "", "nothing", 0U);
	ask(EXDEV, TATTACH, "44ss4", 7U, NOFID, "", "/../secret", 0U);
	ask(EINVAL, TATTACH, "44ss4", 5U, NOFID, "", "", 0U);
	ask(EOPNOTSUPP, TATTACH, "44ss4", 8U, 5U, "", "", 0U);
	ask(EOPNOTSUPP, TAUTH, "4ss4", 9U, "", "", 0U);
}
END_TEST

/* ---- files ---- */

START_TEST(a_file_is_made_written_read_and_truncated)
{
	ask(0, TWALK, "442", 0U, 1U, 0U);
	ask(0, TLCREATE, "4s444", 1U, "new", 0302U, 0640U, (unsigned int)getegid());
	ask_write(0, 1, 0, "one two");
	ask_write(0, 1, 4, "2");
	ask_read(1, 0, 100, "one 2wo");
	ask_read(1, 4, 1, "2");
	ask_read(1, 100, 10, "");
	ask(0, TFSYNC, "44", 1U, 0U);
	assert_file("in/new", "one 2wo");
	/* mode, uid, gid, size, atime, mtime: only the size counts */
	ask(0, TSETATTR, "444448" "8888", 1U, 8U, 0U, 0U, 0U, (uint64_t)3, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0);
	assert_file("in/new", "one");
	ask(0, TCLUNK, "4", 1U);
	walk_to(1, "new");
	ask(EBADF, TREAD, "484", 1U, (uint64_t)0, 10U);
	ask(0, TLOPEN, "44", 1U, 0U);
	ask(EINVAL, TLOPEN, "44", 1U, 0U);
	ask_write(EBADF, 1, 0, "x");
	ask_read(1, 0, 100, "one");
}
END_TEST

START_TEST(an_open_file_works_on_after_its_name_is_gone)
{
	walk_to(1, "file");
	ask(0, TLOPEN, "44", 1U, 2U);
	ask(0, TRENAMEAT, "4s4s", 0U, "file", 0U, "other");
	ask_read(1, 0, 10, "hello");
	ask(0, TUNLINKAT, "4s4", 0U, "other", 0U);
	ask_write(0, 1, 5, " all");
	ask_read(1, 0, 10, "hello all");
	ask(0, TSETATTR, "444448" "8888", 1U, 9U, 0U, 0U, 0U, (uint64_t)2, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0);
	ask(0, TGETATTR, "48", 1U, (uint64_t)0x7ff);
	reply_get(8);
	reply_at += 13;
	ck_assert_uint_eq(reply_get(4), S_IFREG);
	ask_read(1, 0, 10, "he");
}
END_TEST

START_TEST(attributes_are_the_file_s)
{
	struct stat stat_;

	walk_to(1, "file");
	/* mode 0600, mtime 1234.5 */
	ask(0, TSETATTR, "444448" "8888", 1U, 0x1a1U, 0600U, 0U, 0U, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)1234, (uint64_t)5);
	ck_assert_int_eq(stat("in/file", &stat_), 0);
	ck_assert_uint_eq(stat_.st_mode, S_IFREG | 0600);
	ck_assert_int_eq(stat_.st_mtim.tv_sec, 1234);
	ck_assert_int_eq(stat_.st_mtim.tv_nsec, 5);
	ask(0, TGETATTR, "48", 1U, (uint64_t)0x7ff);
	ck_assert_uint_eq(reply_get(8) & 0x7ff, 0x7ff);
	ck_assert_uint_eq(reply_get(1), 0);
	reply_get(4);
	ck_assert_uint_eq(reply_get(8), stat_.st_ino);
	ck_assert_uint_eq(reply_get(4), S_IFREG | 0600);
	ck_assert_uint_eq(reply_get(4), stat_.st_uid);
	ck_assert_uint_eq(reply_get(4), stat_.st_gid);
	ck_assert_uint_eq(reply_get(8), 1);
	reply_get(8);
	ck_assert_uint_eq(reply_get(8), 5);
	/* A time that is none */
	ask(EINVAL, TSETATTR, "444448" "8888", 1U, 0x1a0U, 0U, 0U, 0U, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)UTIME_NOW);
	ask(0, TSTATFS, "4", 1U);
}
END_TEST

START_TEST(names_are_made_linked_renamed_and_removed)
{
	struct stat stat_;
	char target[8] = "";

	ask(0, TMKDIR, "4s44", 0U, "folder", 0750U, (unsigned int)getegid());
	ck_assert_uint_eq(reply_get(1), 0x80);
	ask(0, TSYMLINK, "4ss4", 0U, "link", "../secret", (unsigned int)getegid());
	walk_to(1, "link");
	ask(0, TREADLINK, "4", 1U);
	ck_assert_uint_eq(reply_get(2), 9);
	ck_assert_mem_eq(reply_bytes + reply_at, "../secret", 9);
	walk_to(2, "file");
	walk_to(3, "folder");
	ask(0, TLINK, "44s", 3U, 2U, "hard");
	ck_assert_int_eq(stat("in/folder/hard", &stat_), 0);
	ck_assert_uint_eq(stat_.st_nlink, 2);
	ask(0, TRENAME, "44s", 2U, 3U, "moved");
	ck_assert_int_lt(readlink("in/file", target, sizeof(target)), 0);
	assert_file("in/folder/moved", "hello");
	ask(ENOTEMPTY, TUNLINKAT, "4s4", 0U, "folder", 0x200U);
	ask(EISDIR, TUNLINKAT, "4s4", 0U, "folder", 0U);
	ask(0, TREMOVE, "4", 2U);
	ask(EBADF, TCLUNK, "4", 2U);
	ask(0, TMKNOD, "4s4444", 0U, "pipe", (unsigned int)S_IFIFO | 0600, 0U, 0U, (unsigned int)getegid());
	ask(EPERM, TMKNOD, "4s4444", 0U, "null", (unsigned int)S_IFCHR | 0600, 1U, 3U, (unsigned int)getegid());
	ask(EEXIST, TMKDIR, "4s44", 0U, "pipe", 0750U, (unsigned int)getegid());
}
END_TEST

START_TEST(a_walk_says_how_far_it_came)
{
	ck_assert_int_eq(mkdir("in/a", 0755), 0);
	ck_assert_int_eq(mkdir("in/a/b", 0755), 0);
	ask(0, TWALK, "442ss", 0U, 1U, 2U, "a", "b");
	ck_assert_uint_eq(reply_get(2), 2);
	ask(0, TWALK, "442sss", 0U, 2U, 3U, "a", "x", "b");
	ck_assert_uint_eq(reply_get(2), 1);
	ask(EBADF, TCLUNK, "4", 2U);
	ask(ENOENT, TWALK, "442s", 0U, 2U, 1U, "x");
	ask(0, TWALK, "442sss", 1U, 2U, 3U, "..", "..", "file");
	ask(EINVAL, TWALK, "442", 0U, 2U, 0U);
	/* To itself */
	ask(0, TWALK, "442s", 1U, 1U, 1U, "..");
	ask(0, TWALK, "442s", 1U, 3U, 1U, "b");
}
END_TEST

#define ENTRIES 400

START_TEST(a_folder_is_read_in_pieces)
{
	static unsigned char seen[ENTRIES];
	uint64_t offset = 0;
	unsigned int replies = 0;
	char name[256] = "";

	for (unsigned int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "in/n%u", i);
		put_file(name, "");
	}
	ask(0, TWALK, "442", 0U, 1U, 0U);
	ask(EBADF, TREADDIR, "484", 1U, (uint64_t)0, 1000U);
	ask(0, TLOPEN, "44", 1U, 0200000U);
	for (;; replies++) {
		ask(0, TREADDIR, "484", 1U, offset, 1000U);
		if (!reply_get(4))
			break;
		while (reply_at < reply_length) {
			size_t length;

			reply_at += 13;
			offset = reply_get(8);
			reply_get(1);
			length = reply_get(2);
			memcpy(name, reply_bytes + reply_at, length);
			name[length] = '\0';
			reply_at += length;
			if (name[0] == 'n')
				seen[atoi(name + 1)]++;
		}
	}
	ck_assert_uint_gt(replies, 10);
	for (unsigned int i = 0; i < ENTRIES; i++)
		ck_assert_uint_eq(seen[i], 1);
	/* No room for one entry */
	ask(EINVAL, TREADDIR, "484", 1U, (uint64_t)0, 10U);
	ask(EISDIR, TREAD, "484", 1U, (uint64_t)0, 10U);
}
END_TEST

START_TEST(locks_are_the_host_s)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };
	int fd = open("in/file", O_RDWR | O_CLOEXEC);

	walk_to(1, "file");
	ask(0, TLOPEN, "44", 1U, 2U);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	ask(0, TLOCK, "4148" "84s", 1U, 1U, 1U, (uint64_t)0, (uint64_t)0, 7U, "guest");
	ck_assert_uint_eq(reply_get(1), 1);
	ask(0, TGETLOCK, "4188" "4s", 1U, 1U, (uint64_t)0, (uint64_t)0, 7U, "guest");
	ck_assert_uint_eq(reply_get(1), 1);
	ck_assert_uint_eq(reply_get(8), 10);
	ck_assert_uint_eq(reply_get(8), 5);
	ask(0, TLOCK, "4148" "84s", 1U, 1U, 1U, (uint64_t)0, (uint64_t)10, 7U, "guest");
	ck_assert_uint_eq(reply_get(1), 0);
	lock.l_start = 0;
	ck_assert_int_lt(fcntl(fd, F_OFD_SETLK, &lock), 0);
	ask(0, TLOCK, "4148" "84s", 1U, 2U, 0U, (uint64_t)0, (uint64_t)0, 7U, "guest");
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	ask(EINVAL, TLOCK, "4148" "84s", 1U, 3U, 0U, (uint64_t)0, (uint64_t)0, 7U, "guest");
	close(fd);
}
END_TEST

START_TEST(extended_attributes_are_set_read_listed_and_removed)
{
	char value[16];

	if (setxattr("in/file", "user.first", "1", 1, 0) < 0)
		return;
	walk_to(1, "file");
	ask(0, TXATTRCREATE, "4s84", 1U, "user.second", (uint64_t)5, 0U);
	ask_write(0, 1, 0, "abc");
	ask_write(ENOSPC, 1, 0, "abc");
	ask_write(ENOSPC, 1, 3, "dex");
	ask_write(0, 1, 3, "de");
	ask(0, TCLUNK, "4", 1U);
	ck_assert_int_eq(getxattr("in/file", "user.second", value, sizeof(value)), 5);
	ck_assert_mem_eq(value, "abcde", 5);
	walk_to(1, "file");
	ask(0, TXATTRWALK, "44s", 1U, 2U, "user.second");
	ck_assert_uint_eq(reply_get(8), 5);
	ask_read(2, 1, 3, "bcd");
	ask_write(EBADF, 2, 5, "x");
	ask(0, TXATTRWALK, "44s", 1U, 3U, "");
	ck_assert_uint_ge(reply_get(8), 23);
	ask(ENODATA, TXATTRWALK, "44s", 1U, 4U, "user.none");
	/* Not all of it written */
	ask(0, TWALK, "442", 1U, 5U, 0U);
	ask(0, TXATTRCREATE, "4s84", 5U, "user.third", (uint64_t)5, 0U);
	ask(EINVAL, TCLUNK, "4", 5U);
	/* Removed */
	ask(0, TWALK, "442", 1U, 5U, 0U);
	ask(0, TXATTRCREATE, "4s84", 5U, "user.second", (uint64_t)0, 2U);
	ask(0, TCLUNK, "4", 5U);
	ck_assert_int_lt(getxattr("in/file", "user.second", value, sizeof(value)), 0);
	/* Empty is a value, too. */
	ask(0, TWALK, "442", 1U, 5U, 0U);
	ask(0, TXATTRCREATE, "4s84", 5U, "user.empty", (uint64_t)0, 0U);
	ask(0, TCLUNK, "4", 5U);
	ck_assert_int_eq(getxattr("in/file", "user.empty", value, sizeof(value)), 0);
}
END_TEST

START_TEST(a_read_only_share_is_read_only)
{
	walk_to(1, "file");
	ask(EROFS, TLOPEN, "44", 1U, 2U);
	ask(EROFS, TLOPEN, "44", 1U, 01000U);
	ask(EROFS, TUNLINKAT, "4s4", 0U, "file", 0U);
	ask(EROFS, TREMOVE, "4", 1U);
	ask(EROFS, TMKDIR, "4s44", 0U, "x", 0750U, 0U);
	ask(EROFS, TLCREATE, "4s444", 0U, "x", 0302U, 0640U, 0U);
	ask(EROFS, TRENAMEAT, "4s4s", 0U, "file", 0U, "other");
	walk_to(1, "file");
	ask(EROFS, TXATTRCREATE, "4s84", 1U, "user.x", (uint64_t)1, 0U);
	ask(0, TLOPEN, "44", 1U, 0U);
	ask_read(1, 0, 10, "hello");
}
END_TEST

/* ---- several at once ---- */

static void no_signal(int number)
{
	(void)number;
}

static unsigned int replies_wanted;

static bool replies_came(void)
{
	return (uint16_t)(ring_used_index(&driver_rings[0])) == (uint16_t)replies_wanted;
}

/* Truncating "held" takes until its lease is given back. */
static int hold_file(void)
{
	int fd;

	put_file("in/held", "held");
	signal(SIGIO, no_signal);
	fd = open("in/held", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
		return fd;
	close(fd);
	return -1;
}

static void offer_truncate(unsigned int slot, uint16_t tag, uint32_t number)
{
	static struct message message;

	message_make(&message, TSETATTR, tag, "444448" "8888", number, 8U, 0U, 0U, 0U, (uint64_t)1, (uint64_t)0, (uint64_t)0, (uint64_t)0,
		     (uint64_t)0);
	message_offer(&message, slot, 64);
}

START_TEST(a_call_that_waits_holds_up_no_other_and_its_flush_comes_behind_it)
{
	static struct message message;
	int fd = hold_file();

	if (fd < 0)
		return;
	walk_to(1, "held");
	walk_to(2, "file");
	replies_wanted = ring_used_index(&driver_rings[0]);
	offer_truncate(1, 11, 1);
	message_make(&message, TGETATTR, 12, "48", 2U, (uint64_t)0x7ff);
	message_offer(&message, 2, 512);
	message_make(&message, TFLUSH, 13, "2", 11U);
	message_offer(&message, 3, 64);
	message_make(&message, TFLUSH, 14, "2", 99U);
	message_offer(&message, 4, 64);
	driver_kick(kvm, 0);
	replies_wanted += 2;
	ck_assert(driver_wait(kvm, replies_came));
	ck_assert_uint_eq(reply_take(2, 12, 7 + 153), TGETATTR + 1);
	ck_assert_uint_eq(reply_take(4, 14, 7), TFLUSH + 1);
	ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	replies_wanted += 2;
	ck_assert(driver_wait(kvm, replies_came));
	ck_assert_uint_eq(driver_used_length(0, 1), 7);
	ck_assert_uint_eq(reply_take(1, 11, 7), TSETATTR + 1);
	ck_assert_uint_eq(reply_take(3, 13, 7), TFLUSH + 1);
	close(fd);
}
END_TEST

START_TEST(a_version_waits_for_the_calls_before_it_and_holds_those_behind_it)
{
	static struct message message;
	int fd = hold_file();

	if (fd < 0)
		return;
	walk_to(1, "held");
	replies_wanted = ring_used_index(&driver_rings[0]);
	offer_truncate(1, 11, 1);
	message_make(&message, TVERSION, 0xffff, "4s", 8192U, "9P2000.L");
	message_offer(&message, 2, 512);
	message_make(&message, TCLUNK, 12, "4", 0U);
	message_offer(&message, 3, 64);
	driver_kick(kvm, 0);
	board_poll(kvm, 50);
	ck_assert(replies_came());
	ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	replies_wanted += 3;
	ck_assert(driver_wait(kvm, replies_came));
	ck_assert_uint_eq(reply_take(1, 11, 7), TSETATTR + 1);
	ck_assert_uint_eq(reply_take(2, 0xffff, 7 + 14), TVERSION + 1);
	ck_assert_uint_eq(reply_take(3, 12, 11), RLERROR);
	close(fd);
}
END_TEST

static void *lease_thread(void *opaque)
{
	const struct timespec nap = { .tv_nsec = 50000000 };

	nanosleep(&nap, NULL);
	fcntl(*(int *)opaque, F_SETLEASE, F_UNLCK);
	return NULL;
}

/* Nothing of the guest's memory is touched any more once they have returned. */
START_TEST(quiesce_and_reset_wait_for_what_is_in_flight)
{
	struct device *device = device_find(kvm, "virtio-9p0");
	pthread_t thread;
	int fd = hold_file();

	if (fd < 0)
		return;
	walk_to(1, "held");
	replies_wanted = ring_used_index(&driver_rings[0]) + 1;
	offer_truncate(1, 11, 1);
	driver_kick(kvm, 0);
	board_poll(kvm, 20);
	ck_assert_int_eq(pthread_create(&thread, NULL, lease_thread, &fd), 0);
	if (_i == 0) {
		ck_assert_int_eq(device->ops->quiesce(device), 0);
		ck_assert(replies_came());
		device->ops->resume(device);
	} else {
		virtio_set_status(driven, 0);
		driver_start(0, 1);
		session_start();
	}
	pthread_join(thread, NULL);
	assert_file("in/held", "h");
	walk_to(5, "file");
	close(fd);
}
END_TEST

/* ---- options ---- */

static int init_named(const char *name)
{
	struct board_pick pick = { .name = name };

	init_for_each(board_pick_item, &pick);
	ck_assert_ptr_nonnull(pick.item);
	return pick.item->init(kvm);
}

static void setup_options(void)
{
	log_set_sink(board_hush);
	folder_enter();
	ck_assert_int_eq(mkdir("in", 0755), 0);
	kvm = driver_machine();
}

START_TEST(a_folder_among_the_disks_is_the_root_file_system)
{
	uint8_t config[11];

	ck_assert_int_eq(config_set(kvm->config, "disk", "in"), 0);
	ck_assert_int_eq(init_named("disks_init"), INIT_SKIP);
	board_add(kvm, "shares_init");
	board_add(kvm, "nine_init");
	virtio_config_read(driven, 0, config, sizeof(config));
	ck_assert_mem_eq(config, "\11\0/dev/root", 11);
}
END_TEST

START_TEST(there_is_one_root_file_system)
{
	ck_assert_int_eq(config_set(kvm->config, "disk", "in"), 0);
	ck_assert_int_eq(config_set(kvm->config, "disk", "/"), 0);
	ck_assert_int_eq(init_named("disks_init"), -EUSAGE);
}
END_TEST

static const char *const bad_shares[] = {
	"in,same", "nothing,other", "in,", "in",
	"in,a-tag-of-more-than-126-bytes-------------------------------------------------------------------------------------------------------------------"
};

START_TEST(shares_that_can_not_be_are_refused)
{
	ck_assert_int_eq(config_set(kvm->config, "9p", "in,same"), 0);
	ck_assert_int_eq(config_set(kvm->config, "9p", bad_shares[_i]), 0);
	board_add(kvm, "shares_init");
	ck_assert_int_lt(init_named("nine_init"), 0);
}
END_TEST

/* ---- saved state ---- */

START_TEST(saved_loaded_and_saved_again_its_state_is_the_same)
{
	ck_assert_int_eq(mkdir("in/folder", 0755), 0);
	walk_to(1, "file");
	ask(0, TLOPEN, "44", 1U, 02U);
	walk_to(2, "folder");
	ask(0, TLOPEN, "44", 2U, 0200000U);
	ask(0, TWALK, "442", 0U, 3U, 0U);
	ask(0, TLCREATE, "4s444", 3U, "new", 01302U, 0640U, (unsigned int)getegid());
	ask_write(0, 3, 0, "kept");
	walk_to(4, "file");
	ask(0, TXATTRCREATE, "4s84", 4U, "user.x", (uint64_t)3, 0U);
	ask_write(0, 4, 0, "ab");
	board_save_load(kvm, "virtio-9p0");
	log_set_sink(board_hush);
}
END_TEST

static void save_and_load(bool unlink_first)
{
	struct device *device = device_find(kvm, "virtio-9p0");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	ck_assert_int_eq(writer.error, 0);
	device->ops->reset(device);
	if (unlink_first)
		ck_assert_int_eq(unlink("in/new"), 0);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	state_writer_free(&writer);
}

START_TEST(a_loaded_session_goes_on)
{
	walk_to(1, "file");
	ask(0, TLOPEN, "44", 1U, 02U);
	ask(0, TWALK, "442", 0U, 3U, 0U);
	ask(0, TLCREATE, "4s444", 3U, "new", 01302U, 0640U, (unsigned int)getegid());
	ask_write(0, 3, 0, "kept");
	save_and_load(_i);
	ask_read(1, 0, 10, "hello");
	ask_write(0, 1, 0, "j");
	assert_file("in/file", "jello");
	if (_i)
		ask(ESTALE, TREAD, "484", 3U, (uint64_t)0, 10U);
	else
		ask_read(3, 0, 10, "kept");
	ask(0, TCLUNK, "4", 3U);
	walk_to(7, "file");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "9p", setup, machine_end);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, the_tag_is_in_the_config_space);
	tcase_add_test(tests, a_version_ends_all_that_was_before);
	tcase_add_test(tests, a_subfolder_can_be_attached_to);
	tcase_add_test(tests, a_file_is_made_written_read_and_truncated);
	tcase_add_test(tests, an_open_file_works_on_after_its_name_is_gone);
	tcase_add_test(tests, attributes_are_the_file_s);
	tcase_add_test(tests, names_are_made_linked_renamed_and_removed);
	tcase_add_test(tests, a_walk_says_how_far_it_came);
	tcase_add_test(tests, a_folder_is_read_in_pieces);
	tcase_add_test(tests, locks_are_the_host_s);
	tcase_add_test(tests, extended_attributes_are_set_read_listed_and_removed);

	tests = suite_case(suite, "read-only", setup_read_only, machine_end);
	tcase_add_test(tests, a_read_only_share_is_read_only);

	tests = suite_case(suite, "several at once", setup, machine_end);
	tcase_add_test(tests, a_call_that_waits_holds_up_no_other_and_its_flush_comes_behind_it);
	tcase_add_test(tests, a_version_waits_for_the_calls_before_it_and_holds_those_behind_it);
	tcase_add_loop_test(tests, quiesce_and_reset_wait_for_what_is_in_flight, 0, 2);

	tests = suite_case(suite, "options", setup_options, machine_end);
	tcase_add_test(tests, a_folder_among_the_disks_is_the_root_file_system);
	tcase_add_test(tests, there_is_one_root_file_system);
	tcase_add_loop_test(tests, shares_that_can_not_be_are_refused, 0, (int)ARRAY_SIZE(bad_shares));

	tests = suite_case(suite, "saved state", setup, machine_end);
	tcase_add_test(tests, saved_loaded_and_saved_again_its_state_is_the_same);
	tcase_add_loop_test(tests, a_loaded_session_goes_on, 0, 2);
}
SUITE_MAIN("9p", add_tests)
