/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/fs*.c with a real folder behind it: what clients ask for, and what hostile ones try. */
#include "tests/unit/board.h"

#include <linux/fuse.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include "tests/unit/folder.h"
#include "tests/unit/virtio-driver.h"
#include "virtio/fs.h"

#define REQUEST		(RAM_BASE + 0x20000ULL)
#define REPLY		(RAM_BASE + 0x30000ULL)
#define MESSAGE_MAX	0x4000U
#define ROOT		FUSE_ROOT_ID

static struct kvm *kvm;

/* ---- messages ---- */

static struct {
	uint8_t bytes[MESSAGE_MAX];
	size_t length;
} message;
static struct fuse_out_header answer;
static uint8_t reply[MESSAGE_MAX];
static size_t reply_length;

static void message_put(const void *data, size_t length)
{
	memcpy(message.bytes + message.length, data, length);
	message.length += length;
}

static void message_begin(uint32_t opcode, uint64_t node)
{
	const struct fuse_in_header header = { .opcode = opcode, .unique = 77, .nodeid = node, .uid = geteuid(), .gid = getegid() };

	message.length = 0;
	message_put(&header, sizeof(header));
}

static void message_name(const char *name)
{
	message_put(name, strlen(name) + 1);
}

static void message_set_length(uint32_t length)
{
	memcpy(message.bytes, &length, sizeof(length));
}

/* Offers it with @room bytes for the reply, the header in a piece of its own; waits. */
static void message_send_raw(unsigned int queue, uint32_t room)
{
	uint32_t first = MIN((uint32_t)message.length, 40U), rest = (uint32_t)message.length - first, half = MIN(room, 16U);
	const struct driver_buffer buffers[] = {
		{ REQUEST, first, false }, { REQUEST + first, rest, false }, { REPLY, half, true }, { REPLY + half, room - half, true },
	};

	guest_poke(&driver_ram, REQUEST, message.bytes, message.length);
	driver_offer(queue, 0, buffers, room ? 4 : 2);
	driver_finish(kvm, queue);
}

/* Sends it; the result is the answer's error, as an errno. */
static int message_send(uint32_t room)
{
	uint32_t written;

	message_set_length((uint32_t)message.length);
	message_send_raw(1, room);
	written = driver_used_length(1, 0);
	ck_assert_uint_ge(written, sizeof(answer));
	ck_assert_uint_le(written, room);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(REPLY), &answer, sizeof(answer)), 0);
	ck_assert_uint_eq(answer.len, written);
	ck_assert_uint_eq(answer.unique, 77);
	reply_length = written - sizeof(answer);
	if (reply_length)
		ck_assert_int_eq(memory_read(&kvm->memory, gpa(REPLY + sizeof(answer)), reply, reply_length), 0);
	ck_assert(!answer.error || !reply_length);
	return -answer.error;
}

/* A message of one structure and up to two names. */
static int ask(uint32_t opcode, uint64_t node, const void *body, size_t length, const char *name, const char *second)
{
	message_begin(opcode, node);
	if (length)
		message_put(body, length);
	if (name)
		message_name(name);
	if (second)
		message_name(second);
	return message_send(MESSAGE_MAX);
}

#define ASK(opcode, node, body, ...) ask(opcode, node, &(body), sizeof(body), __VA_ARGS__)

static int session_start(uint32_t minor)
{
	const struct fuse_init_in init = { .major = 7, .minor = minor, .max_readahead = 65536, .flags = UINT32_MAX };

	return ASK(FUSE_INIT, 0, init, NULL, NULL);
}

static int look(uint64_t dir, const char *name, struct fuse_entry_out *entry)
{
	int error = ask(FUSE_LOOKUP, dir, NULL, 0, name, NULL);

	if (!error) {
		ck_assert_uint_eq(reply_length, sizeof(*entry));
		memcpy(entry, reply, sizeof(*entry));
	}
	return error;
}

static uint64_t node_of(const char *name)
{
	struct fuse_entry_out entry;

	ck_assert_int_eq(look(ROOT, name, &entry), 0);
	return entry.nodeid;
}

static uint64_t open_node(uint32_t opcode, uint64_t node, uint32_t flags)
{
	const struct fuse_open_in asked = { .flags = flags };
	struct fuse_open_out opened;

	ck_assert_int_eq(ASK(opcode, node, asked, NULL, NULL), 0);
	memcpy(&opened, reply, sizeof(opened));
	return opened.fh;
}

static int read_file(uint64_t node, uint64_t handle, uint64_t offset, uint32_t size)
{
	const struct fuse_read_in asked = { .fh = handle, .offset = offset, .size = size };

	return ASK(FUSE_READ, node, asked, NULL, NULL);
}

static int write_file(uint64_t node, uint64_t handle, uint64_t offset, const char *text)
{
	const struct fuse_write_in asked = { .fh = handle, .offset = offset, .size = (uint32_t)strlen(text) };

	message_begin(FUSE_WRITE, node);
	message_put(&asked, sizeof(asked));
	message_put(text, strlen(text));
	return message_send(64);
}

static void assert_read(uint64_t node, uint64_t handle, const char *want)
{
	ck_assert_int_eq(read_file(node, handle, 0, 100), 0);
	ck_assert_uint_eq(reply_length, strlen(want));
	ck_assert_mem_eq(reply, want, strlen(want));
}

/* ---- the machine ---- */

static void machine(const char *settings)
{
	char text[64];

	log_set_sink(board_hush);
	folder_enter_shared();
	kvm = driver_machine();
	snprintf(text, sizeof(text), "in,share%s", settings);
	ck_assert_int_eq(config_set(kvm->config, "fs", text), 0);
	board_add(kvm, "shares_init");
	board_add(kvm, "fs_init");
	driver_start(0, 2);
	ck_assert_int_eq(session_start(38), 0);
}

static void setup(void)
{
	machine("");
}

static void setup_read_only(void)
{
	machine(",ro");
}

static void setup_few(void)
{
	/* As a process that may have a thousand files and no more. */
	const struct rlimit limit = { 1100, 1100 };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	setup();
}

static void teardown(void)
{
	struct stat stat_;

	/* What the share lies in is as it was, whatever was tried. */
	ck_assert_int_eq(stat("secret", &stat_), 0);
	ck_assert_int_eq(stat_.st_size, 6);
	ck_assert_uint_eq(stat_.st_nlink, 1);
	ck_assert_int_lt(stat("made", &stat_), 0);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	folder_leave();
	log_set_sink(NULL);
}

/* ---- as clients do ---- */

START_TEST(a_session_begins_with_what_both_sides_know)
{
	struct fuse_init_out init;
	struct fuse_init_in later = { .major = 8, .minor = 1 };
	uint8_t config[40];

	ck_assert_int_eq(session_start(31), 0);
	memcpy(&init, reply, sizeof(init));
	ck_assert_uint_eq(init.major, 7);
	ck_assert_uint_eq(init.minor, FUSE_KERNEL_MINOR_VERSION);
	ck_assert_uint_eq(init.max_write, 1 << 20);
	ck_assert(init.flags & FUSE_MAX_PAGES);
	ck_assert(!(init.flags & (FUSE_POSIX_LOCKS | FUSE_WRITEBACK_CACHE | FUSE_SETXATTR_EXT)));
	ck_assert_int_eq(session_start(30), EPROTO);
	ck_assert_int_eq(ASK(FUSE_INIT, 0, later, NULL, NULL), 0);
	virtio_config_read(driven, 0, config, sizeof(config));
	ck_assert_mem_eq(config, "share\0\0\0", 8);
	ck_assert_mem_eq(config + 36, "\1\0\0\0", 4);
	ck_assert_int_eq(ask(FUSE_DESTROY, 0, NULL, 0, NULL, NULL), 0);
	ck_assert_int_eq(ask(FUSE_GETATTR, ROOT, NULL, 0, NULL, NULL), EPROTO);
}
END_TEST

START_TEST(a_file_is_made_written_read_and_truncated)
{
	const struct fuse_create_in create = { .flags = O_RDWR | O_EXCL, .mode = S_IFREG | 0640 };
	const struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 3 };
	struct fuse_entry_out entry;
	struct fuse_open_out opened;
	struct fuse_fsync_in sync = { 0 };
	struct fuse_release_in release = { 0 };
	struct stat stat_;

	ck_assert_int_eq(ASK(FUSE_CREATE, ROOT, create, "new", NULL), 0);
	memcpy(&entry, reply, sizeof(entry));
	memcpy(&opened, reply + sizeof(entry), sizeof(opened));
	ck_assert_uint_eq(entry.attr.mode, S_IFREG | 0640);
	ck_assert_int_eq(write_file(entry.nodeid, opened.fh, 0, "one two"), 0);
	ck_assert_int_eq(write_file(entry.nodeid, opened.fh, 4, "2"), 0);
	assert_read(entry.nodeid, opened.fh, "one 2wo");
	sync.fh = opened.fh;
	ck_assert_int_eq(ASK(FUSE_FSYNC, entry.nodeid, sync, NULL, NULL), 0);
	ck_assert_int_eq(ASK(FUSE_SETATTR, entry.nodeid, size, NULL, NULL), 0);
	ck_assert_int_eq(stat("in/new", &stat_), 0);
	ck_assert_int_eq(stat_.st_size, 3);
	/* It works on without its name, and is gone when it is released. */
	ck_assert_int_eq(ask(FUSE_UNLINK, ROOT, NULL, 0, "new", NULL), 0);
	assert_read(entry.nodeid, opened.fh, "one");
	release.fh = opened.fh;
	ck_assert_int_eq(ASK(FUSE_RELEASE, entry.nodeid, release, NULL, NULL), 0);
	ck_assert_int_eq(ASK(FUSE_RELEASE, entry.nodeid, release, NULL, NULL), EBADF);
	ck_assert_int_eq(read_file(entry.nodeid, opened.fh, 0, 10), EBADF);
}
END_TEST

START_TEST(one_file_is_one_node_until_it_is_forgotten_as_often_as_it_was_found)
{
	struct fuse_forget_in forget = { .nlookup = 2 };
	const struct fuse_batch_forget_in batch = { .count = 2 };
	struct fuse_forget_one ones[2] = { { 0 } };
	struct fuse_entry_out entry;
	uint64_t node = node_of("file");

	ck_assert_int_eq(link("in/file", "in/hard"), 0);
	ck_assert_uint_eq(node_of("hard"), node);
	ck_assert_uint_eq(node_of("file"), node);
	message_begin(FUSE_FORGET, node);
	message_put(&forget, sizeof(forget));
	message_set_length((uint32_t)message.length);
	message_send_raw(0, 0);
	ck_assert_uint_eq(driver_used_length(0, 0), 0);
	ck_assert_int_eq(ask(FUSE_GETATTR, node, NULL, 0, NULL, NULL), 0);
	/* In a batch with one too many for the root, which stays. */
	ones[0] = (struct fuse_forget_one){ node, 1 };
	ones[1] = (struct fuse_forget_one){ ROOT, 100 };
	message_begin(FUSE_BATCH_FORGET, 0);
	message_put(&batch, sizeof(batch));
	message_put(ones, sizeof(ones));
	message_set_length((uint32_t)message.length);
	message_send_raw(0, 0);
	ck_assert_int_eq(ask(FUSE_GETATTR, node, NULL, 0, NULL, NULL), ENOENT);
	ck_assert_int_eq(look(ROOT, "file", &entry), 0);
	ck_assert_uint_ne(entry.nodeid, node);
}
END_TEST

START_TEST(names_are_made_linked_renamed_and_removed)
{
	const struct fuse_mkdir_in folder = { .mode = 0750 };
	const struct fuse_mknod_in pipe_ = { .mode = S_IFIFO | 0600 }, device = { .mode = S_IFCHR | 0600, .rdev = 0x103 };
	struct fuse_rename2_in rename_ = { .newdir = ROOT, .flags = RENAME_NOREPLACE };
	struct fuse_rename_in plain = { 0 };
	struct fuse_link_in link_ = { .oldnodeid = node_of("file") };
	struct fuse_entry_out entry;
	struct stat stat_;

	ck_assert_int_eq(ASK(FUSE_MKDIR, ROOT, folder, "folder", NULL), 0);
	memcpy(&entry, reply, sizeof(entry));
	ck_assert_int_eq(ASK(FUSE_LINK, entry.nodeid, link_, "hard", NULL), 0);
	ck_assert_int_eq(stat("in/folder/hard", &stat_), 0);
	ck_assert_uint_eq(stat_.st_nlink, 2);
	plain.newdir = entry.nodeid;
	ck_assert_int_eq(ASK(FUSE_RENAME, ROOT, plain, "file", "moved"), 0);
	ck_assert_int_eq(ASK(FUSE_RENAME2, entry.nodeid, rename_, "moved", "folder"), EEXIST);
	ck_assert_int_eq(ASK(FUSE_RENAME2, entry.nodeid, rename_, "moved", "file"), 0);
	rename_.flags = 4;	/* a whiteout */
	ck_assert_int_eq(ASK(FUSE_RENAME2, ROOT, rename_, "file", "x"), EINVAL);
	ck_assert_int_eq(ask(FUSE_RMDIR, ROOT, NULL, 0, "folder", NULL), ENOTEMPTY);
	ck_assert_int_eq(ask(FUSE_UNLINK, ROOT, NULL, 0, "folder", NULL), EISDIR);
	ck_assert_int_eq(ask(FUSE_SYMLINK, ROOT, NULL, 0, "link", "../secret"), 0);
	ck_assert_int_eq(ask(FUSE_READLINK, node_of("link"), NULL, 0, NULL, NULL), 0);
	ck_assert_uint_eq(reply_length, 9);
	ck_assert_mem_eq(reply, "../secret", 9);
	ck_assert_int_eq(ASK(FUSE_MKNOD, ROOT, pipe_, "pipe", NULL), 0);
	ck_assert_int_eq(ASK(FUSE_MKNOD, ROOT, device, "null", NULL), EPERM);
	ck_assert_int_eq(ask(FUSE_STATFS, ROOT, NULL, 0, NULL, NULL), 0);
}
END_TEST

#define ENTRIES 300

/* The names of the root, @plus what a look-up would say of each. */
static void read_root(bool plus, unsigned char seen[ENTRIES])
{
	struct fuse_read_in asked = { .fh = open_node(FUSE_OPENDIR, ROOT, 0), .size = 1000 };

	for (;;) {
		ck_assert_int_eq(ASK(plus ? FUSE_READDIRPLUS : FUSE_READDIR, ROOT, asked, NULL, NULL), 0);
		if (!reply_length)
			return;
		for (size_t at = 0; at < reply_length; ) {
			struct fuse_entry_out entry = { 0 };
			struct fuse_dirent dirent;

			if (plus)
				memcpy(&entry, reply + at, sizeof(entry));
			at += plus ? sizeof(entry) : 0;
			memcpy(&dirent, reply + at, FUSE_NAME_OFFSET);
			if (reply[at + FUSE_NAME_OFFSET] == 'n') {
				seen[atoi((char *)reply + at + FUSE_NAME_OFFSET + 1)]++;
				ck_assert(!plus || (entry.nodeid && entry.attr.ino == dirent.ino));
			}
			if (reply[at + FUSE_NAME_OFFSET] == '.')
				ck_assert_uint_eq(entry.nodeid, 0);
			asked.offset = dirent.off;
			at += FUSE_DIRENT_SIZE(&dirent);
		}
	}
}

START_TEST(a_folder_is_read_in_pieces)
{
	unsigned char seen[ENTRIES] = { 0 };
	char name[32];

	for (unsigned int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "in/n%u", i);
		put_file(name, "");
	}
	read_root(_i, seen);
	for (unsigned int i = 0; i < ENTRIES; i++)
		ck_assert_uint_eq(seen[i], 1);
}
END_TEST

START_TEST(extended_attributes_are_set_read_listed_and_removed)
{
	struct { uint32_t size, flags; } set = { 3, 0 };
	struct fuse_getxattr_in get = { .size = 0 };
	uint64_t node = node_of("file");

	if (setxattr("in/file", "user.first", "1", 1, 0) < 0)
		return;
	message_begin(FUSE_SETXATTR, node);
	message_put(&set, sizeof(set));
	message_name("user.x");
	message_put("abc", 3);
	ck_assert_int_eq(message_send(64), 0);
	ck_assert_int_eq(ASK(FUSE_GETXATTR, node, get, "user.x", NULL), 0);
	ck_assert_uint_eq(reply[0], 3);
	get.size = 2;
	ck_assert_int_eq(ASK(FUSE_GETXATTR, node, get, "user.x", NULL), ERANGE);
	get.size = 1000;
	ck_assert_int_eq(ASK(FUSE_GETXATTR, node, get, "user.x", NULL), 0);
	ck_assert_uint_eq(reply_length, 3);
	ck_assert_mem_eq(reply, "abc", 3);
	ck_assert_int_eq(ASK(FUSE_LISTXATTR, node, get, NULL, NULL), 0);
	ck_assert_uint_ge(reply_length, 18);
	ck_assert_int_eq(ask(FUSE_REMOVEXATTR, node, NULL, 0, "user.x", NULL), 0);
	ck_assert_int_eq(ASK(FUSE_GETXATTR, node, get, "user.x", NULL), ENODATA);
	/* A value that isn't all there */
	set.size = 100;
	message_begin(FUSE_SETXATTR, node);
	message_put(&set, sizeof(set));
	message_name("user.x");
	ck_assert_int_eq(message_send(64), EINVAL);
	set.size = 65537;
	ck_assert_int_eq(ASK(FUSE_SETXATTR, node, set, "user.x", NULL), E2BIG);
}
END_TEST

START_TEST(holes_and_ranges_are_the_file_s)
{
	uint64_t node = node_of("file"), handle = open_node(FUSE_OPEN, node, O_RDWR);
	const struct fuse_fallocate_in more = { .fh = handle, .offset = 0, .length = 8192 };
	const struct fuse_lseek_in seek = { .fh = handle, .offset = 0, .whence = SEEK_HOLE }, wrong = { .fh = handle, .whence = SEEK_SET };
	const struct fuse_copy_file_range_in copy = { .fh_in = handle, .fh_out = handle, .nodeid_out = node, .off_out = 100, .len = 5 };
	struct stat stat_;

	ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE, node, copy, NULL, NULL), 0);
	ck_assert_int_eq(read_file(node, handle, 100, 100), 0);
	ck_assert_mem_eq(reply, "hello", 5);
	ck_assert_int_eq(ASK(FUSE_LSEEK, node, seek, NULL, NULL), 0);
	ck_assert_int_eq(ASK(FUSE_LSEEK, node, wrong, NULL, NULL), EINVAL);
	if (ASK(FUSE_FALLOCATE, node, more, NULL, NULL))
		return;
	ck_assert_int_eq(stat("in/file", &stat_), 0);
	ck_assert_int_eq(stat_.st_size, 8192);
}
END_TEST

START_TEST(a_read_only_share_is_read_only)
{
	const struct fuse_open_in write_ = { .flags = O_RDWR };
	const struct fuse_mkdir_in folder = { .mode = 0750 };
	const struct fuse_setattr_in mode = { .valid = FATTR_MODE, .mode = 0777 };
	uint64_t node = node_of("file");

	ck_assert_int_eq(ASK(FUSE_OPEN, node, write_, NULL, NULL), EROFS);
	ck_assert_int_eq(ASK(FUSE_MKDIR, ROOT, folder, "x", NULL), EROFS);
	ck_assert_int_eq(ASK(FUSE_SETATTR, node, mode, NULL, NULL), EROFS);
	ck_assert_int_eq(ask(FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), EROFS);
	assert_read(node, open_node(FUSE_OPEN, node, O_RDONLY), "hello");
}
END_TEST

/* ---- saved state ---- */

START_TEST(saved_loaded_and_saved_again_its_state_is_the_same)
{
	open_node(FUSE_OPEN, node_of("file"), O_RDWR);
	open_node(FUSE_OPENDIR, ROOT, 0);
	board_save_load(kvm, "virtio-fs0");
	log_set_sink(board_hush);
}
END_TEST

START_TEST(a_loaded_session_goes_on)
{
	struct device *device = device_find(kvm, "virtio-fs0");
	uint64_t node = node_of("file"), handle = open_node(FUSE_OPEN, node, O_RDWR);
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	if (_i)
		ck_assert_int_eq(unlink("in/file"), 0);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	state_writer_free(&writer);
	if (_i) {
		ck_assert_int_eq(read_file(node, handle, 0, 10), ESTALE);
		ck_assert_int_eq(ask(FUSE_GETATTR, node, NULL, 0, NULL, NULL), ESTALE);
	} else {
		assert_read(node, handle, "hello");
		ck_assert_uint_eq(node_of("file"), node);
		ck_assert_uint_ne(open_node(FUSE_OPEN, node, O_RDONLY), handle);
	}
	ck_assert_int_eq(ask(FUSE_GETATTR, ROOT, NULL, 0, NULL, NULL), 0);
}
END_TEST

/* The next number is one more: nothing may become the root. */
static void numbers_never_come_round(void)
{
	const struct fs *fs = container_of(driven, struct fs, device);

	ck_assert_uint_le(fs->last_node, INT64_MAX);
	ck_assert_uint_le(fs->last_handle, INT64_MAX);
}

START_TEST(hostile_saved_state_is_refused_or_harmless)
{
	open_node(FUSE_OPEN, node_of("file"), O_RDWR);
	open_node(FUSE_OPENDIR, ROOT, 0);
	board_load_hostile(kvm, "virtio-fs0", numbers_never_come_round);
	log_set_sink(board_hush);
}
END_TEST

/* ---- hostile ---- */

static const char *const bad_names[] = { "../secret", "/etc/passwd", "a/b", "/", "", ".", "file/" };

START_TEST(names_are_single_components)
{
	const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0640 };
	const struct fuse_mkdir_in folder = { .mode = 0750 };
	const struct fuse_rename_in rename_ = { .newdir = ROOT };
	const struct fuse_link_in link_ = { .oldnodeid = node_of("file") };
	const char *name = bad_names[_i];
	struct fuse_entry_out entry;

	ck_assert_int_eq(look(ROOT, name, &entry), EINVAL);
	ck_assert_int_eq(ASK(FUSE_CREATE, ROOT, create, name, NULL), EINVAL);
	ck_assert_int_eq(ASK(FUSE_MKDIR, ROOT, folder, name, NULL), EINVAL);
	ck_assert_int_eq(ASK(FUSE_LINK, ROOT, link_, name, NULL), EINVAL);
	ck_assert_int_eq(ASK(FUSE_RENAME, ROOT, rename_, "file", name), EINVAL);
	ck_assert_int_eq(ASK(FUSE_RENAME, ROOT, rename_, name, "made"), EINVAL);
	ck_assert_int_eq(ask(FUSE_SYMLINK, ROOT, NULL, 0, name, "x"), EINVAL);
	ck_assert_int_eq(ask(FUSE_UNLINK, ROOT, NULL, 0, name, NULL), EINVAL);
	ck_assert_int_eq(ask(FUSE_RMDIR, ROOT, NULL, 0, "..", NULL), EINVAL);
	ck_assert_int_eq(look(ROOT, "..", &entry), EINVAL);
}
END_TEST

static const char *const targets[] = { "..", "/", "../secret", "/proc/self/root" };

START_TEST(symlinks_are_not_followed)
{
	const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0640 };
	const struct fuse_setattr_in size = { .valid = FATTR_SIZE }, mode = { .valid = FATTR_MODE, .mode = 0777 };
	const struct fuse_open_in open_ = { .flags = O_RDONLY };
	struct fuse_entry_out entry;
	uint64_t node;

	ck_assert_int_eq(symlink(targets[_i], "in/link"), 0);
	node = node_of("link");
	ck_assert_int_eq(look(node, "secret", &entry), ENOTDIR);
	ck_assert_int_eq(ASK(FUSE_OPEN, node, open_, NULL, NULL), ELOOP);
	ck_assert_int_eq(ASK(FUSE_OPENDIR, node, open_, NULL, NULL), ELOOP);
	ck_assert_int_eq(ASK(FUSE_CREATE, node, create, "made", NULL), ENOTDIR);
	ck_assert_int_eq(ASK(FUSE_CREATE, ROOT, create, "link", NULL), ELOOP);
	ck_assert_int_eq(ASK(FUSE_SETATTR, node, size, NULL, NULL), EINVAL);
	ck_assert_int_eq(ASK(FUSE_SETATTR, node, mode, NULL, NULL), EOPNOTSUPP);
}
END_TEST

START_TEST(every_kind_of_message_is_answered_however_short)
{
	static const uint32_t extra[] = { 1000, 4096, 1 << 20, UINT32_MAX };

	for (uint32_t opcode = 0; opcode < 64 + ARRAY_SIZE(extra); opcode++) {
		uint32_t asked = opcode < 64 ? opcode : extra[opcode - 64];

		if (asked == FUSE_FORGET || asked == FUSE_BATCH_FORGET)
			continue;
		for (size_t length = 40; length < 60; length++) {
			message_begin(asked, ROOT);
			message.length = length;
			message_send(512);
			if (asked == FUSE_DESTROY)
				ck_assert_int_eq(session_start(38), 0);
		}
	}
	ck_assert_int_eq(ask(FUSE_LOOKUP, ROOT, NULL, 0, "file", NULL), 0);
	/* A name without its end */
	message_begin(FUSE_LOOKUP, ROOT);
	message_put("file", 4);
	ck_assert_int_eq(message_send(512), EINVAL);
	ck_assert_int_eq(ask(FUSE_IOCTL, ROOT, NULL, 0, NULL, NULL), ENOSYS);
}
END_TEST

static const uint32_t bad_lengths[] = { 0, 39, 4096, UINT32_MAX };

START_TEST(a_length_that_is_not_the_message_s_is_an_error)
{
	message_begin(FUSE_GETATTR, ROOT);
	message_set_length(bad_lengths[_i]);
	message_send_raw(1, 256);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(REPLY), &answer, sizeof(answer)), 0);
	ck_assert_int_eq(answer.error, -ENOSYS);
}
END_TEST

START_TEST(writes_and_reads_stay_in_their_message)
{
	uint64_t node = node_of("file"), handle = open_node(FUSE_OPEN, node, O_RDWR);
	struct fuse_write_in write_ = { .fh = handle, .size = 1 };
	struct fuse_read_in read_ = { .fh = handle, .size = 8000 };

	ck_assert_int_eq(ASK(FUSE_WRITE, node, write_, NULL, NULL), EINVAL);
	write_.size = UINT32_MAX;
	ck_assert_int_eq(ASK(FUSE_WRITE, node, write_, "x", NULL), EINVAL);
	write_.size = 1;
	write_.offset = INT64_MAX;
	ck_assert_int_eq(ASK(FUSE_WRITE, node, write_, "x", NULL), EFBIG);
	put_file("in/file", "0123456789012345678901234567890123456789012345678901234567890123456789");
	for (uint32_t room = 16; room < 80; room++) {
		static const uint8_t marks[128] = { [0 ... 127] = 0xee };

		guest_poke(&driver_ram, REPLY, marks, sizeof(marks));
		message_begin(FUSE_READ, node);
		message_put(&read_, sizeof(read_));
		ck_assert_int_eq(message_send(room), 0);
		ck_assert_uint_eq(reply_length, room - 16);
		ck_assert_uint_eq(driver_peek(REPLY + room), 0xee);
	}
	message_begin(FUSE_GETATTR, node);
	ck_assert_int_eq(message_send(50), EMSGSIZE);
}
END_TEST

START_TEST(handles_and_nodes_that_are_not_known_are_errors)
{
	struct fuse_read_in read_ = { .size = 10 };
	struct fuse_setattr_in attr = { .valid = FATTR_FH | FATTR_SIZE };
	uint64_t node = node_of("file"), handle = open_node(FUSE_OPEN, node, O_RDWR), folder = open_node(FUSE_OPENDIR, ROOT, 0);

	for (uint64_t number = 0; number < 64; number++) {
		read_.fh = 1ULL << number;
		if (read_.fh != handle && read_.fh != folder)
			ck_assert_int_eq(ASK(FUSE_READ, node, read_, NULL, NULL), EBADF);
		if (number > 8)
			ck_assert_int_eq(ask(FUSE_GETATTR, 1ULL << number, NULL, 0, NULL, NULL), ENOENT);
	}
	ck_assert_int_eq(ask(FUSE_GETATTR, 0, NULL, 0, NULL, NULL), ENOENT);
	read_.fh = folder;
	ck_assert_int_eq(ASK(FUSE_READ, ROOT, read_, NULL, NULL), EISDIR);
	read_.fh = handle;
	ck_assert_int_eq(ASK(FUSE_READDIR, node, read_, NULL, NULL), ENOTDIR);
	/* Another file's handle */
	attr.fh = folder;
	ck_assert_int_eq(ASK(FUSE_SETATTR, node, attr, NULL, NULL), EBADF);
}
END_TEST

START_TEST(what_a_guest_has_in_use_has_a_ceiling)
{
	const struct fuse_open_in asked = { .flags = O_RDONLY };
	uint64_t node = node_of("file");
	unsigned int opened = 0;
	int error;

	while ((error = ASK(FUSE_OPEN, node, asked, NULL, NULL)) == 0)
		ck_assert_uint_lt(opened++, 1100);
	ck_assert_int_eq(error, ENFILE);
	ck_assert_uint_ge(opened, 100);
	/* What is known already takes nothing. */
	ck_assert_uint_eq(node_of("file"), node);
	put_file("in/other", "");
	ck_assert_int_eq(ask(FUSE_LOOKUP, ROOT, NULL, 0, "other", NULL), ENFILE);
}
END_TEST

static const struct driver_buffer odd[][2] = {
	{ { REQUEST, 40, false }, { REPLY, 15, true } }, { { REQUEST, 39, false }, { REPLY, 64, true } },
	{ { REQUEST, 40, false }, { NOWHERE, 64, true } },
};

START_TEST(a_chain_that_is_no_call_stops_the_device_until_reset)
{
	message_begin(FUSE_GETATTR, ROOT);
	message_set_length(40);
	guest_poke(&driver_ram, REQUEST, message.bytes, message.length);
	driver_offer(1, 0, odd[_i], 2);
	driver_kick(kvm, 1);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 2);
	ck_assert_int_eq(session_start(38), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "fs", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_session_begins_with_what_both_sides_know);
	tcase_add_test(tests, a_file_is_made_written_read_and_truncated);
	tcase_add_test(tests, one_file_is_one_node_until_it_is_forgotten_as_often_as_it_was_found);
	tcase_add_test(tests, names_are_made_linked_renamed_and_removed);
	tcase_add_loop_test(tests, a_folder_is_read_in_pieces, 0, 2);
	tcase_add_test(tests, extended_attributes_are_set_read_listed_and_removed);
	tcase_add_test(tests, holes_and_ranges_are_the_file_s);

	tests = suite_case(suite, "read-only", setup_read_only, teardown);
	tcase_add_test(tests, a_read_only_share_is_read_only);

	tests = suite_case(suite, "saved state", setup, teardown);
	tcase_add_test(tests, saved_loaded_and_saved_again_its_state_is_the_same);
	tcase_add_loop_test(tests, a_loaded_session_goes_on, 0, 2);
	tcase_add_test(tests, hostile_saved_state_is_refused_or_harmless);

	tests = suite_case(suite, "hostile", setup, teardown);
	tcase_add_loop_test(tests, names_are_single_components, 0, (int)ARRAY_SIZE(bad_names));
	tcase_add_loop_test(tests, symlinks_are_not_followed, 0, (int)ARRAY_SIZE(targets));
	tcase_add_test(tests, every_kind_of_message_is_answered_however_short);
	tcase_add_loop_test(tests, a_length_that_is_not_the_message_s_is_an_error, 0, (int)ARRAY_SIZE(bad_lengths));
	tcase_add_test(tests, writes_and_reads_stay_in_their_message);
	tcase_add_test(tests, handles_and_nodes_that_are_not_known_are_errors);
	tcase_add_loop_test(tests, a_chain_that_is_no_call_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));

	tests = suite_case(suite, "few files", setup_few, teardown);
	tcase_add_test(tests, what_a_guest_has_in_use_has_a_ceiling);
}
SUITE_MAIN("fs", add_tests)
