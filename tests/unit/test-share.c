/* SPDX-License-Identifier: BSD-2-Clause */
/* share/: a folder of the host, and attempts to leave it. */
#include "tests/unit/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/share.h"
#include "tests/unit/folder.h"

static struct share *share;
static struct share_node *root;
static const struct share_owner self;

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void open_share(const char *settings)
{
	struct share_options options;
	char text[128];

	snprintf(text, sizeof(text), "in,tag%s", settings);
	ck_assert_int_eq(share_options_parse(&options, "9p", text, NULL), 0);
	ck_assert_int_eq(share_open(&share, "9p", &options), 0);
	share_options_free(&options);
	root = share_root(share);
}

static void folder_make(void)
{
	log_set_sink(hush);
	folder_enter_shared();
	ck_assert_int_eq(mkdir("in/sub", 0755), 0);
	share_thread_enter();
}

static void setup(void)
{
	folder_make();
	open_share("");
}

static void teardown(void)
{
	share_node_put(root);
	share_close(share);
	root = NULL;
	share = NULL;
	folder_leave();
	log_set_sink(NULL);
}

static void reopen(const char *settings)
{
	share_node_put(root);
	share_close(share);
	open_share(settings);
}

static struct share_node *look(const char *name)
{
	struct share_node *node;

	ck_assert_int_eq(share_lookup(share, root, name, &node), 0);
	return node;
}

static ino_t inode_of(struct share_node *node)
{
	struct share_attr attr;

	ck_assert_int_eq(share_stat(share, node, &attr), 0);
	return attr.stat.st_ino;
}

static bool same(struct share_node *a, struct share_node *b)
{
	return inode_of(a) == inode_of(b);
}

static void assert_content(struct share_node *node, const char *want)
{
	char seen[64] = "";
	int fd = share_file_open(share, node, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(read(fd, seen, sizeof(seen) - 1), 0);
	ck_assert_str_eq(seen, want);
	close(fd);
}

/* ---- staying inside ---- */

static const struct { const char *name; bool good; } names[] = {
	{ "a", true }, { "...", true }, { ".a", true }, { "..a", true }, { " ", true }, { "", false }, { ".", false },
	{ "..", false }, { "a/b", false }, { "/", false }, { "a/", false },
};

START_TEST(names_are_one_component)
{
	char longest[NAME_MAX + 2];

	ck_assert_int_eq(share_name_ok(names[_i].name, strlen(names[_i].name)), names[_i].good);
	ck_assert(!share_name_ok("a\0b", 3));
	memset(longest, 'x', sizeof(longest));
	ck_assert(share_name_ok(longest, NAME_MAX));
	ck_assert(!share_name_ok(longest, NAME_MAX + 1));
}
END_TEST

static const char *const ways_out[] = { "/", "/etc/passwd", "..", "../secret", "sub/../../secret", "away", "away/secret", "up/secret",
					"file/x", "nothing", "sub/up2/secret" };

START_TEST(no_path_leads_out)
{
	struct share_node *node;

	ck_assert_int_eq(symlink(folder_path, "in/away"), 0);
	ck_assert_int_eq(symlink("..", "in/up"), 0);
	ck_assert_int_eq(symlink("../..", "in/sub/up2"), 0);
	if (strcmp(ways_out[_i], "away") == 0) {
		/* The link itself is in there; whither it leads is the guest's business. */
		struct share_attr attr;

		ck_assert_int_eq(share_at(share, "away", &node), 0);
		ck_assert_int_eq(share_stat(share, node, &attr), 0);
		ck_assert(S_ISLNK(attr.stat.st_mode));
		share_node_put(node);
		return;
	}
	ck_assert_int_lt(share_at(share, ways_out[_i], &node), 0);
	if (strchr(ways_out[_i], '/'))
		ck_assert_int_lt(share_lookup(share, root, ways_out[_i], &node), 0);
}
END_TEST

START_TEST(a_symlink_is_a_node_that_nothing_goes_through)
{
	struct share_node *link, *node;
	char target[PATH_MAX];

	ck_assert_int_eq(symlink(folder_path, "in/away"), 0);
	link = look("away");
	ck_assert_int_eq(share_lookup(share, link, "secret", &node), -ENOTDIR);
	ck_assert_int_eq(share_file_open(share, link, O_RDONLY), -ELOOP);
	ck_assert_int_lt(share_create(share, link, "new", O_RDWR, 0644, self, &node), 0);
	ck_assert_int_lt(share_mkdir(share, link, "new", 0755, self, &node), 0);
	ck_assert_int_lt(share_unlink(share, link, "secret", false), 0);
	ck_assert_int_lt(share_rename(share, root, "file", link, "taken", 0), 0);
	ck_assert_int_eq(share_readlink(share, link, target, sizeof(target)), (int)strlen(folder_path));
	ck_assert_str_eq(target, folder_path);
	share_node_put(link);
}
END_TEST

/* Changes of a symlink's node are the link's own, or fail: what it leads to is never touched. */
START_TEST(a_symlinks_target_outside_can_not_be_changed)
{
	struct share_change change = { .set = SHARE_SET_MODE, .mode = 0777 };
	struct stat before, after;
	struct share_node *link;
	int result;

	ck_assert_int_eq(symlink("../secret", "in/away"), 0);
	ck_assert_int_eq(stat("secret", &before), 0);
	link = look("away");
	ck_assert_int_lt(share_change(share, link, -1, &change), 0);
	change.set = SHARE_SET_SIZE;
	ck_assert_int_lt(share_change(share, link, -1, &change), 0);
	change.set = SHARE_SET_ATIME | SHARE_SET_MTIME;
	ck_assert_int_eq(share_change(share, link, -1, &change), 0);
	result = share_xattr_set(share, link, "user.x", "y", 1, 0);
	ck_assert_int_lt(result, 0);
	ck_assert_int_eq(share_link(share, link, root, "hard"), 0);
	ck_assert_int_eq(stat("secret", &after), 0);
	ck_assert_uint_eq(after.st_mode, before.st_mode);
	ck_assert_int_eq(after.st_size, before.st_size);
	ck_assert_int_eq(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
	ck_assert_uint_eq(after.st_nlink, 1);
	share_node_put(link);
}
END_TEST

START_TEST(the_folder_above_the_root_is_the_root)
{
	struct share_node *up = look(".."), *sub = look("sub"), *above;

	ck_assert(same(up, root));
	ck_assert_int_eq(share_lookup(share, sub, "..", &above), 0);
	ck_assert(same(above, root));
	share_node_put(up);
	share_node_put(sub);
	share_node_put(above);
}
END_TEST

START_TEST(above_a_folder_that_was_moved_is_where_it_is_now)
{
	struct share_node *sub = look("sub"), *other, *above;
	char path[PATH_MAX];

	ck_assert_int_eq(mkdir("in/other", 0755), 0);
	other = look("other");
	ck_assert_int_eq(rename("in/sub", "in/other/sub"), 0);
	ck_assert_int_eq(share_lookup(share, sub, "..", &above), 0);
	ck_assert(same(above, other));
	ck_assert_int_eq(share_path(share, sub, path), 0);
	ck_assert_str_eq(path, "other/sub");
	share_node_put(above);
	/* Out of the share: nothing is above it. */
	ck_assert_int_eq(rename("in/other/sub", "sub"), 0);
	ck_assert_int_eq(share_lookup(share, sub, "..", &above), -ENOENT);
	ck_assert_int_eq(share_path(share, sub, path), -ENOENT);
	/* Into a folder whose path begins as the share's does. */
	ck_assert_int_eq(mkdir("inside", 0755), 0);
	ck_assert_int_eq(rename("sub", "inside/sub"), 0);
	ck_assert_int_eq(share_path(share, sub, path), -ENOENT);
	share_node_put(sub);
	share_node_put(other);
}
END_TEST

static atomic_bool race_over;

/* "turn" is a folder and a symlink to the folder outside by turns, "in/sub" now inside and now outside. */
static void *race_thread(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&race_over)) {
		syscall(SYS_renameat2, AT_FDCWD, "in/turn", AT_FDCWD, "in/link", 2 /* RENAME_EXCHANGE */);
		if (rename("in/sub", "sub") == 0 && rename("sub", "in/sub") < 0)
			break;
	}
	return NULL;
}

static void race_try(struct share_node *sub, struct share_node *outside, struct share_node *secret)
{
	struct share_node *node, *found;

	if (share_at(share, "turn/secret", &node) == 0) {
		ck_assert(!same(node, secret));
		share_node_put(node);
	}
	if (share_lookup(share, root, "turn", &node) == 0) {
		if (share_lookup(share, node, "secret", &found) == 0) {
			ck_assert(!same(found, secret));
			share_node_put(found);
		}
		share_node_put(node);
	}
	if (share_lookup(share, sub, "..", &node) == 0) {
		ck_assert(!same(node, outside));
		share_node_put(node);
	}
}

START_TEST(no_race_of_renames_leads_out)
{
	int out_fd = open(".", O_PATH | O_CLOEXEC);
	struct share_options options = { .path = folder_path };
	struct share_node *sub = look("sub"), *outside, *secret;
	struct share *outer;
	pthread_t thread;

	ck_assert_int_eq(share_open(&outer, "9p", &options), 0);
	outside = share_root(outer);
	ck_assert_int_eq(share_at(outer, "secret", &secret), 0);
	ck_assert_int_eq(mkdir("in/turn", 0755), 0);
	put_file("in/turn/secret", "harmless");
	ck_assert_int_eq(symlink(folder_path, "in/link"), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, race_thread, NULL), 0);
	for (unsigned int i = 0; i < 5000; i++)
		race_try(sub, outside, secret);
	atomic_store(&race_over, true);
	pthread_join(thread, NULL);
	share_node_put(sub);
	share_node_put(outside);
	share_node_put(secret);
	share_close(outer);
	close(out_fd);
}
END_TEST

/* ---- files ---- */

START_TEST(a_node_and_an_open_file_outlive_their_name)
{
	struct share_node *node = look("file");
	struct share_change change = { .set = SHARE_SET_MODE, .mode = 0 };
	struct share_attr attr;
	char path[PATH_MAX], text[8] = "";
	int fd = share_file_open(share, node, O_RDWR);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(share_rename(share, root, "file", root, "other", 0), 0);
	ck_assert_int_eq(share_path(share, node, path), 0);
	ck_assert_str_eq(path, "other");
	ck_assert_int_eq(share_change(share, node, fd, &change), 0);
	ck_assert_int_eq(share_unlink(share, root, "other", false), 0);
	ck_assert_int_eq(share_path(share, node, path), -ENOENT);
	ck_assert_int_eq(pread(fd, text, sizeof(text), 0), 5);
	ck_assert_str_eq(text, "hello");
	change = (struct share_change){ .set = SHARE_SET_SIZE, .size = 2 };
	ck_assert_int_eq(share_change(share, node, fd, &change), 0);
	ck_assert_int_eq(share_stat(share, node, &attr), 0);
	ck_assert_int_eq(attr.stat.st_size, 2);
	ck_assert_uint_eq(attr.stat.st_nlink, 0);
	ck_assert_uint_eq(attr.stat.st_mode & 07777, 0);
	close(fd);
	share_node_put(node);
}
END_TEST

START_TEST(a_file_called_deleted_is_not)
{
	struct share_node *node;
	char path[PATH_MAX];

	put_file("in/file (deleted)", "x");
	node = look("file (deleted)");
	ck_assert_int_eq(share_path(share, node, path), 0);
	ck_assert_str_eq(path, "file (deleted)");
	share_node_put(node);
}
END_TEST

START_TEST(files_are_made_with_their_modes_whatever_the_umask)
{
	const struct share_owner owner = { geteuid(), getegid() };
	struct share_node *node;
	struct stat stat_;
	int fd = share_create(share, root, "new", O_RDWR | O_EXCL, 0666, owner, &node);

	ck_assert_int_ge(fd, 0);
	share_node_put(node);
	close(fd);
	ck_assert_int_eq(stat("in/new", &stat_), 0);
	ck_assert_uint_eq(stat_.st_mode, S_IFREG | 0666);
	ck_assert_int_eq(share_create(share, root, "new", O_RDWR | O_EXCL, 0666, owner, &node), -EEXIST);
	fd = share_create(share, root, "new", O_RDWR, 0666, owner, &node);
	ck_assert_int_ge(fd, 0);
	share_node_put(node);
	close(fd);
	ck_assert_int_eq(share_mkdir(share, root, "folder", 0777, owner, &node), 0);
	share_node_put(node);
	ck_assert_int_eq(stat("in/folder", &stat_), 0);
	ck_assert_uint_eq(stat_.st_mode, S_IFDIR | 0777);
	ck_assert_int_eq(share_unlink(share, root, "folder", false), -EISDIR);
	ck_assert_int_eq(share_unlink(share, root, "folder", true), 0);
	ck_assert_int_eq(share_unlink(share, root, "file", true), -ENOTDIR);
}
END_TEST

START_TEST(pipes_and_devices_of_the_host_are_not_opened)
{
	const struct share_owner owner = { geteuid(), getegid() };
	struct share_node *node;

	ck_assert_int_eq(share_mknod(share, root, "pipe", S_IFIFO | 0644, 0, owner, &node), 0);
	ck_assert_int_eq(share_file_open(share, node, O_RDONLY), -ENXIO);
	ck_assert_int_eq(share_file_open(share, node, O_WRONLY), -ENXIO);
	share_node_put(node);
	ck_assert_int_eq(share_mknod(share, root, "null", S_IFCHR | 0644, makedev(1, 3), owner, &node), -EPERM);
	ck_assert_int_eq(share_mknod(share, root, "folder", S_IFDIR | 0755, 0, owner, &node), -EINVAL);
}
END_TEST

START_TEST(a_read_only_share_takes_no_change)
{
	struct share_change change = { .set = SHARE_SET_MODE, .mode = 0600 };
	struct share_node *file, *node;

	reopen(",ro");
	file = look("file");
	ck_assert_int_eq(share_file_open(share, file, O_RDWR), -EROFS);
	ck_assert_int_eq(share_file_open(share, file, O_RDONLY | O_TRUNC), -EROFS);
	ck_assert_int_eq(share_create(share, root, "new", O_RDONLY, 0644, self, &node), -EROFS);
	ck_assert_int_eq(share_mkdir(share, root, "new", 0755, self, &node), -EROFS);
	ck_assert_int_eq(share_mknod(share, root, "new", S_IFREG, 0, self, &node), -EROFS);
	ck_assert_int_eq(share_symlink(share, root, "new", "x", self, &node), -EROFS);
	ck_assert_int_eq(share_link(share, file, root, "new"), -EROFS);
	ck_assert_int_eq(share_rename(share, root, "file", root, "new", 0), -EROFS);
	ck_assert_int_eq(share_unlink(share, root, "file", false), -EROFS);
	ck_assert_int_eq(share_change(share, file, -1, &change), -EROFS);
	ck_assert_int_eq(share_xattr_set(share, file, "user.x", "y", 1, 0), -EROFS);
	ck_assert_int_eq(share_xattr_remove(share, file, "user.x"), -EROFS);
	assert_content(file, "hello");
	share_node_put(file);
}
END_TEST

/* ---- owners ---- */

START_TEST(map_exchanges_the_host_user_and_the_guest_s)
{
	struct share_owner owner = { 4711, 4712 };
	struct share_attr attr;
	struct share_node *node;
	struct stat stat_;
	int fd;

	reopen(",map=4711:4712");
	node = look("file");
	ck_assert_int_eq(share_stat(share, node, &attr), 0);
	ck_assert_uint_eq(attr.stat.st_uid, 4711);
	ck_assert_uint_eq(attr.stat.st_gid, 4712);
	share_node_put(node);
	fd = share_create(share, root, "new", O_RDWR, 0644, owner, &node);
	ck_assert_int_ge(fd, 0);
	close(fd);
	share_node_put(node);
	ck_assert_int_eq(stat("in/new", &stat_), 0);
	ck_assert_uint_eq(stat_.st_uid, geteuid());
	ck_assert_uint_eq(stat_.st_gid, getegid());
}
END_TEST

static bool has_user_attributes(void)
{
	return setxattr("in", "user.probe", "x", 1, 0) == 0 && removexattr("in", "user.probe") == 0;
}

START_TEST(a_mapped_share_keeps_owners_modes_and_kinds_in_attributes)
{
	const struct share_owner owner = { 12, 34 };
	struct share_change change = { .set = SHARE_SET_MODE | SHARE_SET_UID, .mode = 04755, .uid = 99 };
	struct share_node *node, *link, *device;
	struct share_attr attr;
	struct stat stat_;
	char text[64];
	int fd;

	if (!has_user_attributes())
		return;
	reopen(",security=mapped");
	fd = share_create(share, root, "new", O_RDWR, 02664, owner, &node);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(share_stat(share, node, &attr), 0);
	ck_assert_uint_eq(attr.stat.st_mode, S_IFREG | 02664);
	ck_assert_uint_eq(attr.stat.st_uid, 12);
	ck_assert_uint_eq(attr.stat.st_gid, 34);
	ck_assert_int_eq(share_change(share, node, -1, &change), 0);
	ck_assert_int_eq(share_stat(share, node, &attr), 0);
	ck_assert_uint_eq(attr.stat.st_mode, S_IFREG | 04755);
	ck_assert_uint_eq(attr.stat.st_uid, 99);
	ck_assert_uint_eq(attr.stat.st_gid, 34);
	ck_assert_int_eq(stat("in/new", &stat_), 0);
	ck_assert_uint_eq(stat_.st_mode, S_IFREG | 0600);
	ck_assert_uint_eq(stat_.st_uid, geteuid());

	/* What would be dangerous on the host is a plain file there. */
	ck_assert_int_eq(share_symlink(share, root, "link", "/etc/passwd", owner, &link), 0);
	ck_assert_int_eq(share_readlink(share, link, text, sizeof(text)), 11);
	ck_assert_str_eq(text, "/etc/passwd");
	ck_assert_int_eq(share_file_open(share, link, O_RDONLY), -ELOOP);
	ck_assert_int_eq(lstat("in/link", &stat_), 0);
	ck_assert(S_ISREG(stat_.st_mode));
	ck_assert_int_eq(share_mknod(share, root, "null", S_IFCHR | 0666, makedev(1, 3), owner, &device), 0);
	ck_assert_int_eq(share_stat(share, device, &attr), 0);
	ck_assert_uint_eq(attr.stat.st_mode, S_IFCHR | 0666);
	ck_assert_uint_eq(attr.stat.st_rdev, makedev(1, 3));
	ck_assert_int_eq(share_file_open(share, device, O_RDONLY), -ENXIO);
	ck_assert_int_eq(lstat("in/null", &stat_), 0);
	ck_assert(S_ISREG(stat_.st_mode));

	/* The share's own attributes are hidden, and so are those that work on the host. */
	ck_assert_int_eq(share_xattr_get(share, node, "user.virtfs.uid", text, sizeof(text)), -EOPNOTSUPP);
	ck_assert_int_eq(share_xattr_set(share, node, "security.capability", "x", 1, 0), -EOPNOTSUPP);
	ck_assert_int_eq(share_xattr_set(share, node, "user.own", "x", 1, 0), 0);
	ck_assert_int_eq(share_xattr_list(share, node, text, sizeof(text)), 9);
	ck_assert_str_eq(text, "user.own");
	share_node_put(node);
	share_node_put(link);
	share_node_put(device);
}
END_TEST

/* ---- folders ---- */

#define ENTRIES 3000

START_TEST(a_large_folder_is_read_whole_and_every_name_once)
{
	static unsigned char seen[ENTRIES];
	struct share_node *sub = look("sub");
	struct share_entry entry;
	struct share_dir *dir;
	uint64_t at = 0, before = 0;
	unsigned int others = 0;
	char name[32];

	for (unsigned int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "in/sub/n%u", i);
		put_file(name, "");
	}
	ck_assert_int_eq(share_dir_open(share, sub, share_file_open(share, sub, O_RDONLY | O_DIRECTORY), &dir), 0);
	for (unsigned int step = 0; share_dir_read(dir, at, &entry) == 1; step++) {
		/* One step back, as for an entry that had no room, and now and then far away. */
		if (step % 3 == 1) {
			snprintf(name, sizeof(name), "%s", entry.name);
			ck_assert_int_eq(share_dir_read(dir, at, &entry), 1);
			ck_assert_str_eq(entry.name, name);
		}
		if (step % 500 == 7) {
			ck_assert_int_eq(share_dir_read(dir, 0, &entry), 1);
			ck_assert_int_eq(share_dir_read(dir, at, &entry), 1);
		}
		if (entry.name[0] == 'n')
			seen[atoi(entry.name + 1)]++;
		else
			others++;
		before = at;
		at = entry.next;
	}
	ck_assert_int_eq(share_dir_read(dir, before, &entry), 1);
	ck_assert_uint_eq(others, 2);
	for (unsigned int i = 0; i < ENTRIES; i++)
		ck_assert_uint_eq(seen[i], 1);
	share_dir_close(dir);
	share_node_put(sub);
}
END_TEST

START_TEST(the_root_s_entry_for_the_folder_above_is_its_own)
{
	struct share_entry entry;
	struct share_attr attr;
	struct share_dir *dir;
	uint64_t at = 0;

	ck_assert_int_eq(share_stat(share, root, &attr), 0);
	ck_assert_int_eq(share_dir_open(share, root, share_file_open(share, root, O_RDONLY), &dir), 0);
	while (share_dir_read(dir, at, &entry) == 1) {
		if (strcmp(entry.name, "..") == 0)
			ck_assert_uint_eq(entry.id, attr.id);
		at = entry.next;
	}
	share_dir_close(dir);
}
END_TEST

/* ---- options ---- */

static const char *const bad_options[] = { "", "in", "in,", ",tag", "in,ro", "in,tag,what", "in,tag,security=strong", "in,tag,map=x",
					   "in,tag,map=1:", "in,tag,map=4294967295", "in,tag,ro=maybe", "in,tag,other" };

START_TEST(wrong_options_are_refused)
{
	struct share_options options;

	ck_assert_int_eq(share_options_parse(&options, "9p", bad_options[_i], NULL), -EUSAGE);
}
END_TEST

START_TEST(options_are_understood)
{
	struct share_options options;

	ck_assert_int_eq(share_options_parse(&options, "9p", "a,,b,tag,ro,security=mapped,map=7", NULL), 0);
	ck_assert_str_eq(options.path, "a,b");
	ck_assert_str_eq(options.tag, "tag");
	ck_assert(options.read_only && options.map);
	ck_assert_int_eq(options.security, SHARE_MAPPED);
	ck_assert_uint_eq(options.map_uid, 7);
	ck_assert_uint_eq(options.map_gid, 7);
	share_options_free(&options);
	ck_assert_int_eq(share_options_parse(&options, "disk", "in,ro", SHARE_ROOT_TAG), 0);
	ck_assert_str_eq(options.tag, "/dev/root");
	ck_assert(options.read_only && !options.map);
	ck_assert_int_eq(options.security, SHARE_NONE);
	share_options_free(&options);
	ck_assert(share_names_folder("in,ro"));
	ck_assert(!share_names_folder("secret"));
	ck_assert(!share_names_folder("nothing"));
}
END_TEST

START_TEST(what_can_not_be_shared_is_refused)
{
	struct share_options options = { .path = (char[]){ "secret" } };
	struct share *other;

	ck_assert_int_eq(share_open(&other, "9p", &options), -ENOTDIR);
	options.path = (char[]){ "nothing" };
	ck_assert_int_eq(share_open(&other, "9p", &options), -ENOENT);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "confined", setup, teardown);

	tcase_add_loop_test(tests, names_are_one_component, 0, (int)(sizeof(names) / sizeof(names[0])));
	tcase_add_loop_test(tests, no_path_leads_out, 0, (int)(sizeof(ways_out) / sizeof(ways_out[0])));
	tcase_add_test(tests, a_symlink_is_a_node_that_nothing_goes_through);
	tcase_add_test(tests, a_symlinks_target_outside_can_not_be_changed);
	tcase_add_test(tests, the_folder_above_the_root_is_the_root);
	tcase_add_test(tests, above_a_folder_that_was_moved_is_where_it_is_now);
	tcase_add_test(tests, no_race_of_renames_leads_out);

	tests = suite_case(suite, "files", setup, teardown);
	tcase_add_test(tests, a_node_and_an_open_file_outlive_their_name);
	tcase_add_test(tests, a_file_called_deleted_is_not);
	tcase_add_test(tests, files_are_made_with_their_modes_whatever_the_umask);
	tcase_add_test(tests, pipes_and_devices_of_the_host_are_not_opened);
	tcase_add_test(tests, a_read_only_share_takes_no_change);
	tcase_add_test(tests, map_exchanges_the_host_user_and_the_guest_s);
	tcase_add_test(tests, a_mapped_share_keeps_owners_modes_and_kinds_in_attributes);
	tcase_add_test(tests, a_large_folder_is_read_whole_and_every_name_once);
	tcase_add_test(tests, the_root_s_entry_for_the_folder_above_is_its_own);

	tests = suite_case(suite, "options", setup, teardown);
	tcase_add_loop_test(tests, wrong_options_are_refused, 0, (int)(sizeof(bad_options) / sizeof(bad_options[0])));
	tcase_add_test(tests, options_are_understood);
	tcase_add_test(tests, what_can_not_be_shared_is_refused);
}
SUITE_MAIN("share", add_tests)
