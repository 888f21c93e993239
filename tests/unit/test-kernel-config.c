/* SPDX-License-Identifier: BSD-2-Clause */
/* guest/kernel-config.c: the table, and .config files that have it all or don't. */
#include "tests/unit/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/kernel-config.h"
#include "kvm/log.h"

static char folder[] = "/tmp/lkvm-test-kernel-config.XXXXXX";
static struct kernel_config config;

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void setup(void)
{
	memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	log_set_sink(hush);
	config = (struct kernel_config){ .has = NULL };
}

static void teardown(void)
{
	char command[64];

	kernel_config_free(&config);
	log_set_sink(NULL);
	ck_assert_int_eq(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static void write_config(const char *text)
{
	FILE *file = fopen(".config", "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	kernel_config_free(&config);
	ck_assert_int_eq(kernel_config_read(&config, ".config"), 0);
}

/* Of an option that @arch has. */
static bool has(const char *name)
{
	const struct kernel_option *option = kernel_option_next(NULL, KERNEL_X86);

	while (option && strcmp(option->name, name) != 0)
		option = kernel_option_next(option, KERNEL_X86);
	ck_assert_ptr_nonnull(option);
	return kernel_config_has(&config, option);
}

static char *printed(enum kernel_arch arch, const struct kernel_config *only)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	kernel_config_print(file, arch, only);
	fclose(file);
	return text;
}

START_TEST(no_option_stands_twice_and_each_has_its_reason)
{
	for (const struct kernel_option *a = NULL; (a = kernel_option_next(a, KERNEL_X86 | KERNEL_ARM64));) {
		ck_assert(strlen(a->why) > 3);
		ck_assert_int_ne(strncmp(a->name, "CONFIG_", 7), 0);
		for (const struct kernel_option *b = a; (b = kernel_option_next(b, KERNEL_X86 | KERNEL_ARM64));)
			ck_assert_str_ne(a->name, b->name);
	}
}
END_TEST

START_TEST(built_in_and_modules_will_do_and_nothing_else)
{
	write_config("CONFIG_X86=y\nCONFIG_PCI=y\nCONFIG_9P_FS=m\n# CONFIG_TTY is not set\nCONFIG_NET=n\nCONFIG_PCI_MSI_X=y\n"
		     "CONFIG_SMP=y\n# CONFIG_SMP is not set\nXCONFIG_INET=y\n");

	ck_assert_int_eq(config.arch, KERNEL_X86);
	ck_assert(has("PCI") && has("9P_FS"));
	ck_assert(!has("TTY") && !has("NET") && !has("PCI_MSI") && !has("SMP") && !has("INET"));
}
END_TEST

START_TEST(what_is_missing_is_printed_with_its_reason)
{
	char *text;

	write_config("CONFIG_ARM64=y\nCONFIG_PCI=y\n");
	ck_assert_int_eq(config.arch, KERNEL_ARM64);
	text = printed(KERNEL_ARM64, &config);
	ck_assert_ptr_nonnull(strstr(text, "# --rng\nCONFIG_HW_RANDOM=y\nCONFIG_HW_RANDOM_VIRTIO=y\n"));
	ck_assert_ptr_nonnull(strstr(text, "CONFIG_GPIO_PL061=y\n"));
	ck_assert_ptr_null(strstr(text, "CONFIG_PCI=y\n"));
	ck_assert_ptr_null(strstr(text, "CONFIG_KVM_GUEST=y\n"));
	free(text);
}
END_TEST

START_TEST(the_fragment_passes_its_own_check)
{
	enum kernel_arch arch = _i ? KERNEL_ARM64 : KERNEL_X86;
	char *text = printed(arch, NULL), *left;

	write_config(text);
	left = printed(arch, &config);
	ck_assert_str_eq(left, "");
	free(left);
	free(text);
}
END_TEST

START_TEST(merging_replaces_and_keeps_the_rest)
{
	char text[65536] = "";
	FILE *file;

	write_config("# CONFIG_PCI is not set\nCONFIG_9P_FS=m\nCONFIG_LOCALVERSION=\"-mine\"\nCONFIG_NET=n\nCONFIG_X86=y\n");
	ck_assert_int_eq(kernel_config_merge(&config, KERNEL_X86, ".config"), 0);
	file = fopen(".config", "r");
	ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, file), 0);
	fclose(file);
	ck_assert_ptr_null(strstr(text, "CONFIG_PCI is not set"));
	ck_assert_ptr_null(strstr(text, "CONFIG_NET=n"));
	ck_assert_ptr_nonnull(strstr(text, "CONFIG_9P_FS=m\nCONFIG_LOCALVERSION=\"-mine\"\nCONFIG_X86=y\n#\n"));
	ck_assert_ptr_null(strstr(text, "CONFIG_9P_FS=y"));
	ck_assert_ptr_nonnull(strstr(text, "\nCONFIG_PCI=y\n"));
	write_config(text);
	ck_assert(has("PCI") && has("NET") && has("9P_FS"));
}
END_TEST

START_TEST(a_file_that_is_not_there_is_an_error)
{
	ck_assert_int_eq(kernel_config_read(&config, "nothing"), -ENOENT);
	kernel_config_free(&config);
	ck_assert_int_eq(kernel_config_read(&config, "."), -EIO);
}
END_TEST

START_TEST(architectures_have_the_names_that_people_say)
{
	ck_assert_int_eq(kernel_arch_of("x86"), KERNEL_X86);
	ck_assert_int_eq(kernel_arch_of("x86_64"), KERNEL_X86);
	ck_assert_int_eq(kernel_arch_of("aarch64"), KERNEL_ARM64);
	ck_assert_int_eq(kernel_arch_of("arm64"), KERNEL_ARM64);
	ck_assert_int_eq(kernel_arch_of("riscv"), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "kernel config", setup, teardown);

	tcase_add_test(tests, no_option_stands_twice_and_each_has_its_reason);
	tcase_add_test(tests, built_in_and_modules_will_do_and_nothing_else);
	tcase_add_test(tests, what_is_missing_is_printed_with_its_reason);
	tcase_add_loop_test(tests, the_fragment_passes_its_own_check, 0, 2);
	tcase_add_test(tests, merging_replaces_and_keeps_the_rest);
	tcase_add_test(tests, a_file_that_is_not_there_is_an_error);
	tcase_add_test(tests, architectures_have_the_names_that_people_say);
}
SUITE_MAIN("kernel-config", add_tests)
