/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests core/boot.c and core/boot-file.c: the command line, the files, and the kernel that is found. */
#include "tests/unit/suite.h"

#include "kvm/arch.h"
#include "kvm/boot.h"
#include "kvm/log.h"
#include "tests/unit/folder.h"

#define RAM_BASE	0x80000000ULL
#define RAM_SIZE	0x10000

static char last_line[512];
static struct boot_file file;

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static void setup(void)
{
	folder_enter();
	log_set_sink(keep_line);
	file = (struct boot_file){ 0 };
}

static void teardown(void)
{
	boot_file_close(&file);
	log_set_sink(NULL);
	folder_leave();
}

static void write_file(const char *path, const void *bytes, size_t length)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(bytes, 1, length, out), length);
	fclose(out);
}

/* ---- the command line ---- */

#define DISK "root=/dev/vda rw"

static void assert_line(const char *defaults, const char *root, const char *params, const char *want)
{
	char *line = boot_command_line(defaults, root, params);

	ck_assert_str_eq(line, want);
	free(line);
}

START_TEST(parts_of_the_command_line_have_one_space_between)
{
	assert_line("console=ttyS0", DISK, "quiet", "console=ttyS0 root=/dev/vda rw quiet");
	assert_line("console=ttyS0", NULL, NULL, "console=ttyS0");
	assert_line("", NULL, "quiet", "quiet");
	assert_line("", DISK, NULL, "root=/dev/vda rw");
	assert_line("", NULL, NULL, "");
}
END_TEST

START_TEST(root_of_the_users_is_not_overruled)
{
	assert_line("a", DISK, "root=/dev/vdb", "a root=/dev/vdb");
	assert_line("a", DISK, "quiet root=LABEL=x ro", "a quiet root=LABEL=x ro");
}
END_TEST

START_TEST(words_that_only_end_in_root_are_not_it)
{
	assert_line("a", DISK, "nfsroot=x", "a root=/dev/vda rw nfsroot=x");
	assert_line("a", DISK, "my.root=x root=/dev/vdb", "a my.root=x root=/dev/vdb");
}
END_TEST

/* ---- files ---- */

static void assert_refused(const char *path, const char *word)
{
	ck_assert_int_lt(boot_file_open(&file, "initrd", path), 0);
	ck_assert_msg(strstr(last_line, "initrd") && strstr(last_line, path) && strstr(last_line, word),
		      "not well said: %s", last_line);
}

START_TEST(what_is_no_file_is_refused)
{
	write_file("empty", "", 0);
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);

	assert_refused("missing", "No such file");
	assert_refused(".", "not a regular file");
	assert_refused("fifo", "not a regular file");
	assert_refused("empty", "empty");
}
END_TEST

START_TEST(peek_gives_what_there_is_and_read_wants_all)
{
	char buffer[16];

	write_file("f", "0123456789", 10);
	ck_assert_int_eq(boot_file_open(&file, "kernel", "f"), 0);

	ck_assert_int_eq(boot_file_peek(&file, 8, buffer, 16), 2);
	ck_assert_int_eq(boot_file_peek(&file, 100, buffer, 16), 0);
	ck_assert_int_eq(boot_file_read(&file, 2, buffer, 8), 0);
	ck_assert_mem_eq(buffer, "23456789", 8);
	ck_assert_int_eq(boot_file_read(&file, 2, buffer, 9), -EINVAL);
	ck_assert_ptr_nonnull(strstr(last_line, "truncated"));
}
END_TEST

START_TEST(files_are_loaded_across_regions_and_not_past_ram)
{
	struct region ram[2];
	struct config *config;
	uint8_t *host = calloc(1, RAM_SIZE), data[256];
	struct kvm *kvm;

	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = i & 0xff;
	write_file("f", data, sizeof(data));
	ck_assert_int_eq(boot_file_open(&file, "kernel", "f"), 0);
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	/* In guest memory the halves are adjacent, on the host they are the other way round. */
	for (unsigned int i = 0; i < 2; i++) {
		region_init_ram(&ram[i], "ram", host + (1 - i) * RAM_SIZE / 2, RAM_SIZE / 2, -1, 0);
		ck_assert_int_eq(region_add(&kvm->memory, &ram[i], RAM_BASE + i * RAM_SIZE / 2, 0), 0);
	}

	ck_assert_int_eq(boot_file_load(kvm, &file, 0, 256, gpa(RAM_BASE + RAM_SIZE / 2 - 100)), 0);
	ck_assert_mem_eq(host + RAM_SIZE - 100, data, 100);
	ck_assert_mem_eq(host, data + 100, 156);
	ck_assert_int_lt(boot_file_load(kvm, &file, 0, 256, gpa(RAM_BASE + RAM_SIZE - 255)), 0);
	ck_assert_ptr_nonnull(strstr(last_line, "--mem"));
	ck_assert_int_eq(boot_file_load(kvm, &file, 1, 256, gpa(RAM_BASE)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(last_line, "truncated"));

	for (unsigned int i = 0; i < 2; i++)
		region_del(&ram[i]);
	kvm_free(kvm);
	config_free(config);
	free(host);
}
END_TEST

/* ---- the kernel that is found ---- */

static void assert_found(const char *want)
{
	char *found = boot_find_kernel();

	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found, want);
	free(found);
}

START_TEST(kernel_built_here_comes_before_the_trees_and_boots)
{
	char path[128], older[128];
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };

	ck_assert_int_eq(system("mkdir -p arch/one/boot arch/two/boot"), 0);
	snprintf(older, sizeof(older), "arch/one/boot/%s", arch_kernel_names[0]);
	snprintf(path, sizeof(path), "arch/two/boot/%s", arch_kernel_names[0]);
	write_file(older, "a", 1);
	write_file(path, "b", 1);
	ck_assert_int_eq(utimensat(AT_FDCWD, older, times, 0), 0);
	assert_found(path);

	write_file(arch_kernel_names[0], "c", 1);
	assert_found(arch_kernel_names[0]);
}
END_TEST

START_TEST(folder_of_that_name_is_no_kernel)
{
	char *found;

	ck_assert_int_eq(mkdir(arch_kernel_names[0], 0700), 0);

	found = boot_find_kernel();

	ck_assert(!found || strcmp(found, arch_kernel_names[0]) != 0);
	free(found);
}
END_TEST

static const struct { const char *name, *there, *found; } named_kernels[] = {
	{ "src", "src/arch/x86/boot/@", "src/arch/x86/boot/@" },
	{ "src", "src/@", "src/@" },
	{ "odd*[name]", "odd*[name]/@", "odd*[name]/@" },
	{ "package", "package/boot/vmlinuz-6.1", "package/boot/vmlinuz-6.1" },
	{ "package", "package/vmlinuz", "package/vmlinuz" },
	{ "empty", "empty/README", NULL },
	{ "odd*", "oddly/@", NULL },
	{ "6.1-is-not-installed", "x", NULL },
};

/* @ stands for the architecture's name of a kernel. */
static void with_name(char path[256], const char *pattern)
{
	const char *at = strchr(pattern, '@');

	snprintf(path, 256, "%.*s%s", at ? (int)(at - pattern) : 200, pattern, at ? arch_kernel_names[0] : "");
}

START_TEST(a_kernel_is_named_by_its_folder)
{
	char path[256], command[512], *found;

	with_name(path, named_kernels[_i].there);
	snprintf(command, sizeof(command), "mkdir -p \"$(dirname '%s')\"", path);
	ck_assert_int_eq(system(command), 0);
	write_file(path, "k", 1);
	found = boot_find_kernel_named(named_kernels[_i].name);
	if (!named_kernels[_i].found) {
		ck_assert_ptr_null(found);
		return;
	}
	with_name(path, named_kernels[_i].found);
	ck_assert_ptr_nonnull(found);
	ck_assert_str_eq(found, path);
	free(found);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *boot = suite_case(suite, "boot", setup, teardown);

	tcase_add_test(boot, parts_of_the_command_line_have_one_space_between);
	tcase_add_test(boot, root_of_the_users_is_not_overruled);
	tcase_add_test(boot, words_that_only_end_in_root_are_not_it);
	tcase_add_test(boot, what_is_no_file_is_refused);
	tcase_add_test(boot, peek_gives_what_there_is_and_read_wants_all);
	tcase_add_test(boot, files_are_loaded_across_regions_and_not_past_ram);
	tcase_add_test(boot, kernel_built_here_comes_before_the_trees_and_boots);
	tcase_add_test(boot, folder_of_that_name_is_no_kernel);
	tcase_add_loop_test(boot, a_kernel_is_named_by_its_folder, 0, sizeof(named_kernels) / sizeof(named_kernels[0]));
}
SUITE_MAIN("boot", add_tests)
