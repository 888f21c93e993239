/* SPDX-License-Identifier: BSD-2-Clause */
/* guest/setup.c, guest/initramfs.c, guest/modules.c: what a guest that runs a command is given. */
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "guest/modules.h"
#include "guest/plan.h"
#include "guest/setup.h"
#include "kvm/option.h"
#include "tests/unit/folder.h"

static void make_file(const char *path, const char *text)
{
	char command[512];
	FILE *file;

	snprintf(command, sizeof(command), "mkdir -p \"$(dirname '%s')\"", path);
	ck_assert_int_eq(system(command), 0);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

/* ---- modules ---- */

#define DEP	"kernel/net/9p/9pnet.ko:\n"							\
		"kernel/net/9p/9pnet_virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko kernel/net/9p/9pnet.ko\n" \
		"kernel/fs/9p/9p.ko: kernel/fs/netfs/netfs.ko kernel/net/9p/9pnet.ko\n"		\
		"kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n" \
		"kernel/x/not9p.ko:\n"

static void check_order(const struct modules *modules, const char *const *expected)
{
	size_t count = 0;

	for (; expected[count]; count++) {
		ck_assert_uint_lt(count, modules->count);
		ck_assert_str_eq(modules->paths[count], expected[count]);
	}
	ck_assert_uint_eq(modules->count, count);
}

START_TEST(modules_stand_behind_what_they_need_and_once)
{
	static const char *const wanted[] = { "virtio_pci", "9pnet_virtio", "9p", "builtin", NULL };
	static const char *const expected[] = {
		"kernel/drivers/virtio/virtio.ko", "kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio-pci.ko",
		"kernel/net/9p/9pnet.ko", "kernel/net/9p/9pnet_virtio.ko.xz", "kernel/fs/netfs/netfs.ko", "kernel/fs/9p/9p.ko", NULL,
	};
	struct modules modules;

	make_file("modules.dep", DEP);
	ck_assert_int_eq(modules_resolve(&modules, ".", wanted), 0);
	check_order(&modules, expected);
	modules_free(&modules);
}
END_TEST

START_TEST(a_folder_without_modules_dep_is_refused)
{
	static const char *const wanted[] = { "9p", NULL };
	struct modules modules;

	ck_assert_int_eq(modules_resolve(&modules, ".", wanted), -ENOENT);
	modules_free(&modules);
}
END_TEST

static const struct { const char *kernel, *modules, *release_file, *found; } layouts[] = {
	{ "lib/modules/6.1/vmlinuz", "lib/modules/6.1", NULL, "lib/modules/6.1" },
	{ "boot/vmlinuz-6.1-x", "lib/modules/6.1-x", NULL, "lib/modules/6.1-x" },
	{ "boot/vmlinuz-6.1-x", "lib/modules/6.1-y", NULL, NULL },
	{ "arch/x86/boot/bzImage", "lib/modules/6.2+", "include/config/kernel.release", "lib/modules/6.2+" },
	{ "arch/x86/boot/bzImage", "lib/modules/6.2+", NULL, NULL },
	{ "bzImage", "lib/modules/6.2+", NULL, NULL },
};

START_TEST(modules_are_found_beside_the_kernel)
{
	char dep[256], kernel[256], expected[256], *found;

	snprintf(dep, sizeof(dep), "%s/modules.dep", layouts[_i].modules);
	snprintf(kernel, sizeof(kernel), "%s/%s", folder_path, layouts[_i].kernel);
	make_file(dep, "");
	make_file(layouts[_i].kernel, "kernel");
	if (layouts[_i].release_file)
		make_file(layouts[_i].release_file, "6.2+\n");
	found = modules_find(kernel);
	if (!layouts[_i].found) {
		ck_assert_ptr_null(found);
		return;
	}
	snprintf(expected, sizeof(expected), "%s/%s", folder_path, layouts[_i].found);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found, expected);
	free(found);
}
END_TEST

static const struct { const char *dep, *builtin, *config; bool virtiofs; } kernels[] = {
	{ DEP, "", NULL, false },
	{ DEP "kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko\n", "", NULL, false },
	{ "kernel/fs/fuse/virtiofs.ko.xz: kernel/fs/fuse/fuse.ko.xz\n", "", NULL, true },
	{ "kernel/fs/fuse/virtiofs.ko:\n", "kernel/fs/9p/9p.ko\n", NULL, false },
	{ "", "kernel/fs/fuse/virtiofs.ko\n", NULL, true },
	{ "", "", NULL, false },
	/* a build without modules */
	{ NULL, NULL, "CONFIG_9P_FS=y\nCONFIG_VIRTIO_FS=y\n", false },
	{ NULL, NULL, "# CONFIG_9P_FS is not set\nCONFIG_VIRTIO_FS=y\n", true },
	{ NULL, NULL, "# CONFIG_9P_FS is not set\n# CONFIG_VIRTIO_FS is not set\n", false },
	{ NULL, NULL, NULL, false },
};

START_TEST(a_kernel_without_9p_may_have_virtiofs)
{
	if (kernels[_i].dep) {
		make_file("modules.dep", kernels[_i].dep);
		make_file("modules.builtin", kernels[_i].builtin);
	}
	if (kernels[_i].config)
		make_file(".config", kernels[_i].config);
	ck_assert_int_eq(modules_want_virtiofs(kernels[_i].dep ? "." : NULL, "arch/x86/boot/bzImage"), kernels[_i].virtiofs);
	ck_assert(!modules_want_virtiofs(NULL, NULL));
	ck_assert(!modules_want_virtiofs(NULL, "bzImage"));
}
END_TEST

/* ---- the image ---- */

/* The contents of @path in the cpio archive @image, by its header's fields; NULL if it isn't there. */
static const char *unpack(const char *image, size_t length, const char *path, size_t *size)
{
	size_t at = 0;

	while (at + 110 < length) {
		unsigned int file_size, name_size;
		const char *name = image + at + 110;

		ck_assert_int_eq(memcmp(image + at, "070701", 6), 0);
		ck_assert_int_eq(sscanf(image + at + 54, "%8x", &file_size), 1);
		ck_assert_int_eq(sscanf(image + at + 94, "%8x", &name_size), 1);
		ck_assert_uint_eq(strlen(name) + 1, name_size);
		at = (at + 110 + name_size + 3) & ~(size_t)3;
		if (strcmp(name, path) == 0) {
			*size = file_size;
			return image + at;
		}
		if (strcmp(name, "TRAILER!!!") == 0)
			return NULL;
		at = (at + file_size + 3) & ~(size_t)3;
	}
	ck_abort_msg("expected a trailer, seen the end");
}

static size_t make_image(const struct guest_setup *setup, char **image)
{
	int fd = guest_setup_image(setup);
	struct stat status;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	*image = malloc((size_t)status.st_size);
	ck_assert_int_eq(pread(fd, *image, (size_t)status.st_size, 0), status.st_size);
	close(fd);
	return (size_t)status.st_size;
}

/* Whether the records have that one. */
static bool has_record(const char *records, size_t length, const char *record)
{
	for (size_t at = 0; at < length; at += strlen(records + at) + 1)
		if (strcmp(records + at, record) == 0)
			return true;
	return false;
}

START_TEST(the_image_has_init_modules_and_setup)
{
	char *words[] = { (char *)"printf", (char *)"a b\n", (char *)"", NULL };
	static const struct guest_mount mounts[] = { { .path = "/data" }, { .path = "/data/a b", .kind = GUEST_MOUNT_LAYERED } };
	struct guest_user user;
	const struct guest_setup setup = {
		.name = "vm", .modules = ".", .mounts = mounts, .mount_count = 2,
		.task = { .user = &user, .words = words, .rows = 3, .columns = 4 },
	};
	static const char *const records[] = {
		"module /lkvm/virtio-pci.ko", "type 9p", "share lkvm.root", "writable 0", "mount writable lkvm.mount0 /data", "mount layered lkvm.mount1 /data/a b",
		"hostname vm", "tty 0", "stderr 0", "size 3 4", "arg printf", "arg a b\n", "arg ", "env LKVM_TEST=1",
	};
	size_t length, size;
	const char *file;
	char *image, cwd[256];

	ck_assert_int_eq(guest_user_caller(&user), 0);
	setenv("LKVM_TEST", "1", 1);
	setenv("SSH_AUTH_SOCK", "/run/x", 1);
	make_file("modules.dep", "a/virtio-pci.ko:\n");
	make_file("a/virtio-pci.ko", "the module");
	length = make_image(&setup, &image);
	file = unpack(image, length, "init", &size);
	ck_assert_ptr_nonnull(file);
	ck_assert_mem_eq(file, "\177ELF", 4);
	file = unpack(image, length, "lkvm/virtio-pci.ko", &size);
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(size, 10);
	ck_assert_mem_eq(file, "the module", 10);
	file = unpack(image, length, "lkvm/setup", &size);
	ck_assert_ptr_nonnull(file);
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		ck_assert_msg(has_record(file, size, records[i]), "expected the record '%s', seen none", records[i]);
	snprintf(cwd, sizeof(cwd), "cwd %s", folder_path);
	ck_assert(has_record(file, size, cwd));
	snprintf(cwd, sizeof(cwd), "user %u", getuid());
	ck_assert(has_record(file, size, cwd));
	ck_assert(!has_record(file, size, "env SSH_AUTH_SOCK=/run/x"));
	free(image);
}
END_TEST

START_TEST(a_guest_with_an_init_of_its_own_needs_no_command)
{
	const struct guest_setup setup = { .name = "vm", .init = "/sbin/init" };
	size_t length, size;
	const char *file;
	char *image;

	length = make_image(&setup, &image);
	file = unpack(image, length, "lkvm/setup", &size);
	ck_assert_ptr_nonnull(file);
	ck_assert(has_record(file, size, "init /sbin/init"));
	ck_assert(!has_record(file, size, "tty 0"));
	free(image);
}
END_TEST

START_TEST(a_root_may_be_a_disk_and_the_command_a_script)
{
	char *words[] = { (char *)GUEST_SCRIPT, NULL };
	struct guest_user user;
	const struct guest_setup setup = {
		.name = "vm", .modules = ".", .script = "script", .virtiofs = true, .image = true, .root_writable = true,
		.task = { .user = &user, .words = words, .cwd = "/" },
	};
	static const char *const records[] = { "module /lkvm/ext4.ko", "type virtiofs", "disk lkvm-root", "writable 1", "cwd /",
					       "arg /run/lkvm-sandbox" };
	size_t length, size;
	const char *file;
	char *image;

	ck_assert_int_eq(guest_user_caller(&user), 0);
	make_file("modules.dep", "a/ext4.ko:\n");
	make_file("a/ext4.ko", "the module");
	make_file("script", "#!/bin/sh\n");
	length = make_image(&setup, &image);
	file = unpack(image, length, "lkvm/script", &size);
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(size, 10);
	ck_assert_mem_eq(file, "#!/bin/sh\n", 10);
	file = unpack(image, length, "lkvm/setup", &size);
	ck_assert_ptr_nonnull(file);
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		ck_assert_msg(has_record(file, size, records[i]), "expected the record '%s', seen none", records[i]);
	ck_assert(!has_record(file, size, "share lkvm.root"));
	free(image);
}
END_TEST

/* ---- roots ---- */

START_TEST(roots_are_folders_images_and_names)
{
	char *path;

	make_file(".lkvm/own/etc/lkvm-root", "own\n");
	make_file(".lkvm/file", "");
	make_file("image", "");
	setenv("HOME", folder_path, 1);
	ck_assert(guest_root_named("own"));
	ck_assert(!guest_root_named("image") && !guest_root_named("file") && !guest_root_named("other"));
	ck_assert(!guest_root_named("..") && !guest_root_named("") && !guest_root_named(".lkvm/own"));
	path = guest_root_find("own");
	ck_assert_ptr_nonnull(path);
	ck_assert_ptr_null(guest_root_cwd(path));
	ck_assert_str_eq(guest_root_below(path), "/host");
	free(path);
	/* What lies here goes before such a name. */
	make_file("own", "");
	ck_assert(!guest_root_named("own"));
	path = guest_root_find("image");
	ck_assert_ptr_nonnull(path);
	ck_assert_str_eq(guest_root_cwd(path), "/");
	ck_assert_ptr_null(guest_root_below(path));
	free(path);
	ck_assert_ptr_null(guest_root_find("nothing"));
}
END_TEST

/* ---- users ---- */

#define PASSWD	"root:x:0:0:root:/root:/bin/bash\nnobody here\nann:x:1001:1002:Ann,,:/home/ann:/bin/zsh\nold:x:1003:1003:::\n"
#define GROUP	"root:x:0:\nusers:x:100:bob,ann\nann:x:1002:ann\naudio:x:29:bob\nkvm:x:104:ann\n"

static void make_root(void)
{
	make_file("root/etc/passwd", PASSWD);
	make_file("root/etc/group", GROUP);
}

START_TEST(a_user_is_found_by_name_and_by_number)
{
	static const char *const names[] = { "ann", "1001" };
	struct guest_user user;

	make_root();
	ck_assert_int_eq(guest_user_find(&user, "root", names[_i]), 0);
	ck_assert_uint_eq(user.uid, 1001);
	ck_assert_str_eq(user.name, "ann");
	ck_assert_str_eq(user.home, "/home/ann");
	ck_assert_str_eq(user.shell, "/bin/zsh");
	ck_assert_uint_eq(user.group_count, 3);
	ck_assert_uint_eq(user.groups[0], 1002);
	ck_assert_uint_eq(user.groups[1], 100);
	ck_assert_uint_eq(user.groups[2], 104);
	guest_user_free(&user);
}
END_TEST

START_TEST(a_number_that_nobody_has_will_do)
{
	struct guest_user user;

	make_root();
	ck_assert_int_eq(guest_user_find(&user, "root", "4711"), 0);
	ck_assert_uint_eq(user.uid, 4711);
	ck_assert_uint_eq(user.group_count, 1);
	ck_assert_uint_eq(user.groups[0], 4711);
	ck_assert_str_eq(user.shell, "/bin/sh");
	guest_user_free(&user);
}
END_TEST

START_TEST(a_user_without_a_shell_or_home_has_those_of_all)
{
	struct guest_user user;

	make_root();
	ck_assert_int_eq(guest_user_find(&user, "root", "old"), 0);
	ck_assert_str_eq(user.home, "/");
	ck_assert_str_eq(user.shell, "/bin/sh");
	guest_user_free(&user);
}
END_TEST

START_TEST(nobody_is_refused)
{
	static const char *const names[] = { "bob", "", "nobody", "4294967295", "99999999999999999999" };
	struct guest_user user;

	make_root();
	ck_assert_int_eq(guest_user_find(&user, _i ? "root" : "nowhere", names[_i]), -EUSAGE);
	guest_user_free(&user);
}
END_TEST

START_TEST(another_user_s_home_is_in_the_environment_and_ours_is_not)
{
	char *words[] = { (char *)"id", NULL }, *text;
	struct guest_user user;
	const struct guest_task task = { .user = &user, .words = words };
	size_t length;

	make_root();
	setenv("HOME", "/home/caller", 1);
	setenv("MAIL", "/var/mail/caller", 1);
	ck_assert_int_eq(guest_user_find(&user, "root", "ann"), 0);
	ck_assert_int_eq(guest_task_text(&task, &text, &length), 0);
	ck_assert(has_record(text, length, "user 1001"));
	ck_assert(has_record(text, length, "group 1002"));
	ck_assert(has_record(text, length, "env HOME=/home/ann"));
	ck_assert(has_record(text, length, "env USER=ann"));
	ck_assert(!has_record(text, length, "env HOME=/home/caller"));
	ck_assert(!has_record(text, length, "env MAIL=/var/mail/caller"));
	ck_assert(has_record(text, length, "arg id"));
	guest_user_free(&user);
	free(text);
}
END_TEST

START_TEST(too_much_is_refused)
{
	static char long_word[GUEST_SETUP_MAX];
	char *words[] = { long_word, NULL };
	struct guest_user user;
	const struct guest_setup setup = { .name = "vm", .task = { .user = &user, .words = words } };

	ck_assert_int_eq(guest_user_caller(&user), 0);
	memset(long_word, 'x', sizeof(long_word) - 1);
	ck_assert_int_eq(guest_setup_image(&setup), -E2BIG);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "guest-setup", folder_enter, folder_leave);

	tcase_add_test(tests, modules_stand_behind_what_they_need_and_once);
	tcase_add_test(tests, a_folder_without_modules_dep_is_refused);
	tcase_add_loop_test(tests, modules_are_found_beside_the_kernel, 0, sizeof(layouts) / sizeof(layouts[0]));
	tcase_add_test(tests, the_image_has_init_modules_and_setup);
	tcase_add_test(tests, a_guest_with_an_init_of_its_own_needs_no_command);
	tcase_add_loop_test(tests, a_kernel_without_9p_may_have_virtiofs, 0, sizeof(kernels) / sizeof(kernels[0]));
	tcase_add_test(tests, a_root_may_be_a_disk_and_the_command_a_script);
	tcase_add_test(tests, roots_are_folders_images_and_names);
	tcase_add_test(tests, too_much_is_refused);
	tcase_add_loop_test(tests, a_user_is_found_by_name_and_by_number, 0, 2);
	tcase_add_test(tests, a_number_that_nobody_has_will_do);
	tcase_add_test(tests, a_user_without_a_shell_or_home_has_those_of_all);
	tcase_add_loop_test(tests, nobody_is_refused, 0, 5);
	tcase_add_test(tests, another_user_s_home_is_in_the_environment_and_ours_is_not);
}
SUITE_MAIN("guest-setup", add_tests)
