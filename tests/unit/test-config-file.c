/* SPDX-License-Identifier: BSD-2-Clause */
/* core/config-file.c and core/option-source.c: VMs in files, who has the last word, and what is said of wrong lines. */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kvm/config-file.h"
#include "kvm/log.h"

static const char *const colours[] = { "red", "green", NULL };

static const struct option_def rows[] = {
	{ .name = "name", .type = OPTION_STRING, .help = "Name" },
	{ .name = "config", .type = OPTION_STRING, .help = "File" },
	{ .name = "kernel", .letter = 'k', .type = OPTION_STRING, .help = "Kernel" },
	{ .name = "params", .type = OPTION_STRING, .help = "Parameters" },
	{ .name = "mem", .letter = 'm', .type = OPTION_SIZE, .unit = MIB(1), .takes_address = true, .min = MIB(1), .help = "Memory" },
	{ .name = "cpus", .letter = 'c', .type = OPTION_UINT, .min = 1, .max = 64, .fallback = "1", .help = "vCPUs" },
	{ .name = "rng", .type = OPTION_FLAG, .help = "Entropy" },
	{ .name = "disk", .letter = 'd', .type = OPTION_LIST, .help = "Disk" },
	{ .name = "colour", .type = OPTION_CHOICE, .choices = colours, .fallback = "red", .help = "Colour" },
	{ .name = "green", .type = OPTION_FLAG, .same_as = "colour=green", .help = "As --colour green" },
	{ .name = "huge", .type = OPTION_STRING, .optional_argument = true, .help = "Huge pages" },
	{ .name = "later", .type = OPTION_FLAG, .pending = "an issue", .help = "Later" },
};
static struct option_group group = { .title = "All", .options = rows, .count = ARRAY_SIZE(rows) };

static char path[] = "/tmp/lkvm-test-config.XXXXXX";
static char said[1024];
static unsigned int said_lines;
static struct config *config;
static struct config_file_names names;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	said_lines++;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	int fd;

	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	log_set_sink(remember);
	said_lines = 0;
	said[0] = '\0';
	names = (struct config_file_names){ .names = NULL };
	ck_assert_int_eq(config_new(&config, &group), 0);
}

static void teardown(void)
{
	config_free(config);
	config_file_names_free(&names);
	unlink(path);
	log_set_sink(NULL);
}

static void write_text(const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
}

static int read_text(const char *text)
{
	write_text(text);
	return config_file_read(config, CONFIG_FILE, path);
}

START_TEST(every_kind_of_option_is_read)
{
	ck_assert_int_eq(read_text("# a comment\n; another\nkernel = bz Image ; and one here\nparams=a=b c\n  mem = 2G@3G\ncpus = 4\n"
				   "rng = on\ndisk = a.img,ro\ndisk = b.img\ngreen = true\nhuge =\n"), 0);

	ck_assert_str_eq(config_string(config, "kernel"), "bz Image");
	ck_assert_str_eq(config_string(config, "params"), "a=b c");
	ck_assert_uint_eq(config_uint(config, "mem"), GIB(2));
	ck_assert_uint_eq(config_uint(config, "cpus"), 4);
	ck_assert(config_flag(config, "rng"));
	ck_assert_uint_eq(config_count(config, "disk"), 2);
	ck_assert_str_eq(config_item(config, "disk", 1), "b.img");
	ck_assert_str_eq(config_string(config, "colour"), "green");
	ck_assert(config_given(config, "huge"));
	ck_assert_ptr_null(config_string(config, "huge"));
	ck_assert_uint_eq(said_lines, 0);
}
END_TEST

START_TEST(quotes_keep_what_would_be_a_comment)
{
	ck_assert_int_eq(read_text("params = \" a ; b \"\nkernel = \"\"\n"), 0);
	ck_assert_str_eq(config_string(config, "params"), " a ; b ");
	ck_assert_str_eq(config_string(config, "kernel"), "");
}
END_TEST

START_TEST(a_line_may_be_long)
{
	char text[5000] = "params = ";
	size_t length = 10 + (size_t)_i * 61;

	memset(text + 9, 'x', length);
	memcpy(text + 9 + length, "y\ncpus = 7\n", 12);
	ck_assert_int_eq(read_text(text), 0);
	ck_assert_uint_eq(strlen(config_string(config, "params")), length + 1);
	ck_assert_int_eq(config_string(config, "params")[length], 'y');
	ck_assert_uint_eq(config_uint(config, "cpus"), 7);
}
END_TEST

START_TEST(the_command_line_wins_and_lists_are_not_mixed)
{
	char *words[] = { (char *)"-c2", (char *)"-d", (char *)"mine.img" };
	int rest;

	config_free(config);
	ck_assert_int_eq(config_parse(&config, &group, 3, words, &rest), 0);
	ck_assert_int_eq(read_text("cpus = 4\ndisk = theirs.img\nmem = 64\n"), 0);
	write_text("mem = 32\nkernel = profile\ndisk = third.img\n");
	ck_assert_int_eq(config_file_read(config, CONFIG_PROFILE, path), 0);

	ck_assert_uint_eq(config_uint(config, "cpus"), 2);
	ck_assert_uint_eq(config_count(config, "disk"), 1);
	ck_assert_str_eq(config_item(config, "disk", 0), "mine.img");
	ck_assert_uint_eq(config_uint(config, "mem"), MIB(64));
	ck_assert_str_eq(config_string(config, "kernel"), "profile");
}
END_TEST

#define TWO "kernel = both\n[vm \"web\"]\ncpus = 2\n[vm db]\ncpus = 3\nmem = 64M\n[vm \"idle\"]\n"

START_TEST(vms_are_named_by_their_sections)
{
	write_text(TWO);
	ck_assert_int_eq(config_file_names(&names, path), 0);
	ck_assert_uint_eq(names.count, 3);
	ck_assert_str_eq(names.names[0], "web");
	ck_assert_str_eq(names.names[1], "db");
	ck_assert_str_eq(names.names[2], "idle");
}
END_TEST

START_TEST(a_vm_has_its_own_options_and_those_of_all)
{
	ck_assert_int_eq(config_set(config, "name", "db"), 0);
	ck_assert_int_eq(read_text(TWO), 0);
	ck_assert_str_eq(config_string(config, "kernel"), "both");
	ck_assert_uint_eq(config_uint(config, "cpus"), 3);
}
END_TEST

START_TEST(the_only_vm_needs_no_name)
{
	ck_assert_int_eq(read_text("[vm \"alone\"]\ncpus = 2\n"), 0);
	ck_assert_str_eq(config_string(config, "name"), "alone");
	ck_assert_uint_eq(config_uint(config, "cpus"), 2);
}
END_TEST

START_TEST(which_vm_must_be_clear)
{
	ck_assert_int_lt(read_text(TWO), 0);
	ck_assert_ptr_nonnull(strstr(said, "has 3 VMs (say --name web, or lkvm up)"));
	ck_assert_int_eq(config_set(config, "name", "other"), 0);
	ck_assert_int_lt(read_text(TWO), 0);
	ck_assert_ptr_nonnull(strstr(said, "has no [vm \"other\"] (its first one is \"web\")"));
}
END_TEST

static const struct { const char *text, *said; } wrong[] = {
	{ "cpus = 2\nmme = 4\n", ":2: mme: no such option (did you mean mem?)" },
	{ "\n\nfrobnicate = 4\n", ":3: frobnicate: no such option (lkvm run --help-all lists them)" },
	{ "mem = 12Q\n", ":1: option --mem: '12Q' is no size (say 512M or 4G)" },
	{ "cpus = 99\n", ":1: option --cpus: 99 is out of range (1 to 64)" },
	{ "cpus = many\n", ":1: option --cpus: 'many' is no number" },
	{ "rng = perhaps\n", ":1: option --rng: 'perhaps' is neither true nor false" },
	{ "colour = blue\n", ":1: option --colour: 'blue' is none of its choices (red, green)" },
	{ "later = true\n", ":1: option --later: not built yet (an issue)" },
	{ "cpus = 2\nkernel\n", ":2: is no option (say NAME = VALUE, or [vm \"NAME\"])" },
	{ "[disk]\ncpus = 2\n", ":2: is in a section of no VM (say [vm \"NAME\"])" },
	{ "[vm \"x\"]\nname = y\n", ":2: name: is said by the section" },
	{ "config = other\n", ":1: is an option for the command line only" },
	{ "[vm \"a\"\ncpus = 2\n", ":1: is no option" },
	{ "[vm \"a name that is longer than any that libinih could keep\"]\n", ":1: the section's name is too long" },
};

START_TEST(a_wrong_line_is_named_once)
{
	ck_assert_int_lt(read_text(wrong[_i].text), 0);
	ck_assert_msg(strstr(said, wrong[_i].said), "expected '%s', said '%s'", wrong[_i].said, said);
	ck_assert_ptr_nonnull(strstr(said, path));
	ck_assert_uint_eq(said_lines, 1);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
	unlink(path);
	ck_assert_int_lt(config_file_read(config, CONFIG_FILE, path), 0);
	ck_assert_ptr_nonnull(strstr(said, "No such file"));
	ck_assert_uint_eq(said_lines, 1);
}
END_TEST

START_TEST(no_bytes_do_harm)
{
	uint32_t seed = 1;
	FILE *file;

	for (int round = 0; round < 200; round++) {
		file = fopen(path, "w");
		for (int i = 0; i < 3000; i++) {
			seed = seed * 1664525 + 1013904223;
			fputc("[]=;#\" \n\tvmcpus\0\xff"[seed >> 24 & 15], file);
		}
		fclose(file);
		(void)!config_file_read(config, CONFIG_FILE, path);
	}
}
END_TEST

START_TEST(a_profile_is_found_by_its_name)
{
	char folder[] = "/tmp/lkvm-test-profile.XXXXXX", command[200], file[100];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/lkvm", folder);
	ck_assert_int_eq(mkdir(file, 0700), 0);
	snprintf(command, sizeof(command), "echo 'cpus = 9' > %s/lkvm/big.conf", folder);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(setenv("XDG_CONFIG_HOME", folder, 1), 0);
	ck_assert_int_eq(config_file_profile(config, CONFIG_PROFILE, "big"), 0);
	ck_assert_uint_eq(config_uint(config, "cpus"), 9);
	ck_assert_int_lt(config_file_profile(config, CONFIG_PROFILE, "small"), 0);
	ck_assert_int_lt(config_file_profile(config, CONFIG_PROFILE, "../lkvm/big"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

/* What is printed, read again and printed again, is the same. */
START_TEST(what_is_printed_can_be_read)
{
	static const char *const except[] = { "name", NULL };
	static const char text[] = "kernel = \" ; \"\nparams = a=\"b\" c\nmem = 536870913B@3G\ncpus = 64\nrng = false\n"
				   "disk = a\ndisk = \"b ;c\"\ncolour = green\nhuge =\n";
	char printed[2][1024] = { "", "" };
	int full;

	ck_assert_int_eq(read_text(text), 0);
	for (int i = 0; i < 2; i++) {
		int fd = memfd_create("printed", MFD_CLOEXEC);

		ck_assert_int_eq(config_print(config, except, fd), 0);
		ck_assert_int_gt(pread(fd, printed[i], sizeof(printed[i]) - 1, 0), 0);
		close(fd);
		config_free(config);
		ck_assert_int_eq(config_new(&config, &group), 0);
		ck_assert_int_eq(read_text(printed[0]), 0);
	}
	ck_assert_str_eq(printed[0], printed[1]);
	ck_assert_ptr_nonnull(strstr(printed[0], "mem = 536870913B@3G\n"));
	ck_assert_str_eq(config_string(config, "kernel"), " ; ");
	ck_assert_str_eq(config_string(config, "params"), "a=\"b\" c");
	ck_assert_uint_eq(config_uint(config, "mem"), 536870913);
	ck_assert_str_eq(config_item(config, "disk", 1), "b ;c");
	ck_assert_int_eq(config_set(config, "params", "a\nb"), 0);
	full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	ck_assert_int_lt(config_print(config, except, full), 0);
	close(full);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "config file", setup, teardown);

	tcase_add_test(tests, every_kind_of_option_is_read);
	tcase_add_test(tests, quotes_keep_what_would_be_a_comment);
	tcase_add_loop_test(tests, a_line_may_be_long, 0, 50);
	tcase_add_test(tests, the_command_line_wins_and_lists_are_not_mixed);
	tcase_add_test(tests, vms_are_named_by_their_sections);
	tcase_add_test(tests, a_vm_has_its_own_options_and_those_of_all);
	tcase_add_test(tests, the_only_vm_needs_no_name);
	tcase_add_test(tests, which_vm_must_be_clear);
	tcase_add_loop_test(tests, a_wrong_line_is_named_once, 0, ARRAY_SIZE(wrong));
	tcase_add_test(tests, a_file_that_is_not_there_is_named);
	tcase_add_test(tests, no_bytes_do_harm);
	tcase_add_test(tests, a_profile_is_found_by_its_name);
	tcase_add_test(tests, what_is_printed_can_be_read);
}
SUITE_MAIN("config-file", add_tests)
