/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit tests of core/option*.c and core/keyval.c: what the command line may look like, and what is said when
 * it is wrong.
 */
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/option.h"

static const char *const colours[] = { "red", "green", NULL };

static const struct option_def basic[] = {
	{ .name = "kernel", .letter = 'k', .type = OPTION_STRING, .argument = "FILE", .help = "Kernel" },
	{ .name = "mem", .letter = 'm', .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1), .min = MIB(1),
	  .takes_address = true, .takes_settings = true, .max = GIB(4096), .fallback = "64", .help = "Memory" },
	{ .name = "cpus", .letter = 'c', .type = OPTION_UINT, .argument = "N", .min = 1, .max = 64,
	  .takes_settings = true, .fallback = "1", .help = "vCPUs" },
	{ .name = "nodefaults", .type = OPTION_FLAG, .help = "No defaults" },
	{ .name = "rng", .letter = 'r', .type = OPTION_FLAG, .help = "Entropy" },
	{ .name = "verbose", .letter = 'v', .type = OPTION_FLAG, .fallback = "true", .help = "Talk" },
};

static const struct option_def devices[] = {
	{ .name = "disk", .letter = 'd', .type = OPTION_LIST, .argument = "IMAGE", .help = "Disk" },
	{ .name = "colour", .type = OPTION_CHOICE, .choices = colours, .fallback = "red", .help = "Colour" },
	{ .name = "debug", .type = OPTION_FLAG, .help = "Debug" },
	{ .name = "debug-mmio", .type = OPTION_FLAG, .help = "Debug MMIO" },
	{ .name = "debug-ioport", .type = OPTION_FLAG, .help = "Debug ports" },
	{ .name = "huge", .type = OPTION_STRING, .argument = "DIR", .optional_argument = true, .help = "Huge pages" },
	{ .name = "old-green", .type = OPTION_FLAG, .same_as = "colour=green", .help = "As --colour green" },
	{ .name = "orphan", .type = OPTION_FLAG, .same_as = "left-out=true", .help = "As what this build has not" },
	{ .name = "balloon", .type = OPTION_FLAG, .pending = "the networking issue", .help = "Balloon" },
};

static struct option_group device_group = { .title = "Devices", .options = devices, .count = ARRAY_SIZE(devices) };
static struct option_group groups = { .title = "Basic", .options = basic, .count = ARRAY_SIZE(basic),
				      .next = &device_group };

static char said[1024];
static unsigned int said_lines;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	said_lines++;
	snprintf(said, sizeof(said), "%s", line);
}

static struct config *config;
static char *words[32];
static int word_count, rest;

/* Splits @line at blanks and parses it. */
static int parse(const char *line)
{
	static char copy[512];

	word_count = 0;
	said[0] = '\0';
	said_lines = 0;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[word_count++] = word;
	words[word_count] = NULL;
	return config_parse(&config, &groups, word_count, words, &rest);
}

static void setup(void)
{
	log_set_sink(remember);
	config = NULL;
}

static void teardown(void)
{
	config_free(config);
	log_set_sink(NULL);
}

static void refused(const char *line, const char *expected)
{
	ck_assert_int_eq(parse(line), -EINVAL);
	ck_assert_ptr_null(config);
	ck_assert_msg(strstr(said, expected), "'%s': expected '%s', said '%s'", line, expected, said);
	ck_assert_uint_eq(said_lines, 1);
}

START_TEST(no_words_give_the_defaults)
{
	ck_assert_int_eq(parse(""), 0);

	ck_assert_uint_eq(config_uint(config, "mem"), MIB(64));
	ck_assert_uint_eq(config_uint(config, "cpus"), 1);
	ck_assert_str_eq(config_string(config, "colour"), "red");
	ck_assert(config_flag(config, "verbose"));
	ck_assert(!config_given(config, "mem"));
	ck_assert_ptr_null(config_string(config, "kernel"));
	ck_assert_uint_eq(config_count(config, "disk"), 0);
	ck_assert_int_eq(rest, 0);
}
END_TEST

START_TEST(every_way_to_say_a_value_is_understood)
{
	ck_assert_int_eq(parse("--kernel=a --mem 2G -c4 -d x.img -dy.img,ro --colour=green"), 0);

	ck_assert_str_eq(config_string(config, "kernel"), "a");
	ck_assert_uint_eq(config_uint(config, "mem"), GIB(2));
	ck_assert_uint_eq(config_uint(config, "cpus"), 4);
	ck_assert_uint_eq(config_count(config, "disk"), 2);
	ck_assert_str_eq(config_item(config, "disk", 0), "x.img");
	ck_assert_str_eq(config_item(config, "disk", 1), "y.img,ro");
	ck_assert_ptr_null(config_item(config, "disk", 2));
	ck_assert_str_eq(config_string(config, "colour"), "green");
	ck_assert(config_given(config, "mem"));
}
END_TEST

START_TEST(the_last_of_two_values_counts)
{
	ck_assert_int_eq(parse("-k a -k b"), 0);

	ck_assert_str_eq(config_string(config, "kernel"), "b");
}
END_TEST

START_TEST(a_bare_size_has_the_tables_unit)
{
	ck_assert_int_eq(parse("-m 512"), 0);

	ck_assert_uint_eq(config_uint(config, "mem"), MIB(512));
}
END_TEST

START_TEST(a_size_may_have_an_address)
{
	uint64_t address;

	ck_assert_int_eq(parse("-m 1G@3072"), 0);
	ck_assert_uint_eq(config_uint(config, "mem"), GIB(1));
	ck_assert(config_address(config, "mem", &address));
	ck_assert_uint_eq(address, GIB(3));
	config_free(config);
	ck_assert_int_eq(parse("-m 1G@0"), 0);
	ck_assert(config_address(config, "mem", &address));
	ck_assert_uint_eq(address, 0);
	config_free(config);
	ck_assert_int_eq(parse("-m 1G@3072 -m 2G"), 0);
	ck_assert_uint_eq(config_uint(config, "mem"), GIB(2));
	ck_assert(!config_address(config, "mem", &address));
}
END_TEST

static void join(const struct option_def *def, const char *text, void *opaque)
{
	char *line = opaque;
	size_t used = strlen(line);

	snprintf(line + used, 256 - used, "%s=%s;", def->name, text);
}

START_TEST(a_number_may_have_settings_which_go_where_it_goes)
{
	char line[256] = "", file[256] = "";
	uint64_t address;
	int fd = memfd_create("printed", 0);

	ck_assert_int_eq(parse("-c 4,cores=2,threads=2 -m 1G@3072,thp=off"), 0);
	ck_assert_uint_eq(config_uint(config, "cpus"), 4);
	ck_assert_str_eq(config_string(config, "cpus"), "cores=2,threads=2");
	ck_assert_uint_eq(config_uint(config, "mem"), GIB(1));
	ck_assert(config_address(config, "mem", &address));
	ck_assert_str_eq(config_string(config, "mem"), "thp=off");

	config_each_given(config, join, line);
	ck_assert_str_eq(line, "mem=1073741824B@3221225472B,thp=off;cpus=4,cores=2,threads=2;");
	ck_assert_int_eq(config_print(config, (const char *const[]){ NULL }, fd), 0);
	ck_assert_int_gt(pread(fd, file, sizeof(file) - 1, 0), 0);
	ck_assert_str_eq(file, "mem = 1G@3G,thp=off\ncpus = 4,cores=2,threads=2\n");
	close(fd);
}
END_TEST

START_TEST(the_last_number_counts_with_its_settings_or_without)
{
	ck_assert_int_eq(parse("-c 4,cores=2 -c 8"), 0);
	ck_assert_uint_eq(config_uint(config, "cpus"), 8);
	ck_assert_ptr_null(config_string(config, "cpus"));
	/* and a wrong one changes neither */
	ck_assert_int_eq(config_set(config, "cpus", "8,threads=2"), 0);
	ck_assert_int_eq(config_set(config, "cpus", "99,threads=4"), -EINVAL);
	ck_assert_int_eq(config_set(config, "cpus", ",threads=4"), -EINVAL);
	ck_assert_str_eq(config_string(config, "cpus"), "threads=2");
}
END_TEST

START_TEST(flags_can_be_said_and_unsaid_and_bundled)
{
	ck_assert_int_eq(parse("--no-verbose -rv --no-verbose --nodefaults"), 0);

	ck_assert(!config_flag(config, "verbose"));
	ck_assert(config_flag(config, "rng"));
	ck_assert(config_flag(config, "nodefaults"));
}
END_TEST

START_TEST(a_bundle_may_end_in_a_letter_with_a_value)
{
	ck_assert_int_eq(parse("-rk bzImage -rvc8"), 0);

	ck_assert_str_eq(config_string(config, "kernel"), "bzImage");
	ck_assert_uint_eq(config_uint(config, "cpus"), 8);
}
END_TEST

START_TEST(an_option_may_stand_for_another_and_the_last_said_counts)
{
	ck_assert_int_eq(parse("--old-green"), 0);
	ck_assert_str_eq(config_string(config, "colour"), "green");
	ck_assert(config_given(config, "colour"));
	config_free(config);
	ck_assert_int_eq(parse("--old --colour red"), 0);
	ck_assert_str_eq(config_string(config, "colour"), "red");
	config_free(config);
	ck_assert_int_eq(parse("--colour red --old-green"), 0);
	ck_assert_str_eq(config_string(config, "colour"), "green");
	ck_assert_int_eq(config_set(config, "colour", "red"), 0);
	ck_assert_int_eq(config_set(config, "old-green", "true"), 0);
	ck_assert_str_eq(config_string(config, "colour"), "green");
	ck_assert_int_eq(config_set(config, "orphan", "true"), -EINVAL);
}
END_TEST

START_TEST(a_unique_prefix_will_do)
{
	ck_assert_int_eq(parse("--ker a --nod --no-verb --debug-m"), 0);

	ck_assert_str_eq(config_string(config, "kernel"), "a");
	ck_assert(config_flag(config, "nodefaults"));
	ck_assert(!config_flag(config, "verbose"));
	ck_assert(config_flag(config, "debug-mmio"));
}
END_TEST

START_TEST(a_full_name_beats_the_longer_ones)
{
	ck_assert_int_eq(parse("--debug"), 0);

	ck_assert(config_flag(config, "debug"));
	ck_assert(!config_flag(config, "debug-mmio"));
}
END_TEST

START_TEST(an_ambiguous_prefix_names_two)
{
	refused("--debug-", "option --debug-: could be --debug-mmio or --debug-ioport");
}
END_TEST

START_TEST(operands_may_stand_between_options)
{
	ck_assert_int_eq(parse("bzImage -m 512 second -- -k third"), 0);

	ck_assert_uint_eq(config_uint(config, "mem"), MIB(512));
	ck_assert_int_eq(word_count - rest, 4);
	ck_assert_str_eq(words[rest], "bzImage");
	ck_assert_str_eq(words[rest + 1], "second");
	ck_assert_str_eq(words[rest + 2], "-k");
	ck_assert_str_eq(words[rest + 3], "third");
	ck_assert_uint_eq(config_split(config), 2);
	ck_assert_ptr_null(config_string(config, "kernel"));
}
END_TEST

START_TEST(without_two_dashes_there_is_no_split)
{
	ck_assert_int_eq(parse("a -"), 0);

	ck_assert_uint_eq(config_split(config), SIZE_MAX);
	ck_assert_int_eq(word_count - rest, 2);
}
END_TEST

START_TEST(an_optional_value_needs_the_equals_sign)
{
	ck_assert_int_eq(parse("--huge bzImage"), 0);

	ck_assert(config_given(config, "huge"));
	ck_assert_ptr_null(config_string(config, "huge"));
	ck_assert_str_eq(words[rest], "bzImage");
	config_free(config);
	ck_assert_int_eq(parse("--huge=/mnt"), 0);
	ck_assert_str_eq(config_string(config, "huge"), "/mnt");
}
END_TEST

START_TEST(a_mistyped_option_gets_a_suggestion)
{
	refused("--kernal x", "option --kernal: no such option (did you mean --kernel?)");
	refused("--nodefualts", "did you mean --nodefaults?");
	refused("--zzzzzz", "option --zzzzzz: no such option (--help lists them)");
	refused("-z", "option -z: no such option");
}
END_TEST

START_TEST(wrong_values_say_what_would_be_right)
{
	refused("--mem 12Q", "option --mem: '12Q' is no size (say 512M or 4G)");
	refused("-m 0", "option --mem: 0 is too small (at least 1M)");
	refused("-m 5P", "option --mem: 5P is too large (at most 4T)");
	refused("-m 99999999999999999999", "is no size");
	refused("-m -5", "is no size");
	refused("--no-old-green", "option --no-old-green: no such option");
	refused("--no-old", "option --no-old: no such option");
	refused("--old-green=red", "option --old-green: takes no value (say --old-green)");
	refused("--orphan", "option --orphan: not in this build");
	refused("-m 512@", "option --mem: '512@' is no size (say 512M or 4G)");
	refused("-m @2G", "is no size");
	refused("-m 512M@2G@", "is no size");
	refused("-m 000000000000000000000000000000000000000000000000512", "is no size");
	refused("-c 0", "option --cpus: 0 is out of range (1 to 64)");
	refused("-c 65", "option --cpus: 65 is out of range (1 to 64)");
	refused("-c two", "option --cpus: 'two' is no number");
	refused("-c 99999999999999999999", "out of range");
	refused("--colour blue", "option --colour: 'blue' is none of its choices (red, green)");
	refused("--rng=yes", "option --rng: takes no value");
	refused("--no-mem", "no such option");
	refused("-k", "option --kernel: needs a value (--kernel FILE)");
	refused("--disk", "option --disk: needs a value (--disk IMAGE)");
	refused("--balloon", "option --balloon: not built yet (the networking issue)");
}
END_TEST

START_TEST(help_needs_no_table)
{
	ck_assert_int_eq(parse("-h"), 0);

	ck_assert(config_flag(config, "help"));
}
END_TEST

START_TEST(unknown_names_read_as_empty)
{
	ck_assert_int_eq(parse(""), 0);

	ck_assert(!config_given(config, "nothing"));
	ck_assert(!config_flag(config, "nothing"));
	ck_assert_ptr_null(config_string(config, "nothing"));
	ck_assert_uint_eq(config_uint(config, "nothing"), 0);
	ck_assert_uint_eq(config_count(config, "nothing"), 0);
	ck_assert_ptr_null(config_item(config, "nothing", 0));
}
END_TEST

START_TEST(config_set_is_as_if_it_had_been_given)
{
	ck_assert_int_eq(config_new(&config, &groups), 0);

	ck_assert_int_eq(config_set(config, "cpus", "3"), 0);
	ck_assert_int_eq(config_set(config, "rng", "true"), 0);
	ck_assert_int_eq(config_set(config, "cpus", "-3"), -EINVAL);
	ck_assert_int_eq(config_set(config, "nothing", "3"), -EINVAL);

	ck_assert_uint_eq(config_uint(config, "cpus"), 3);
	ck_assert(config_given(config, "cpus"));
	ck_assert(config_flag(config, "rng"));
}
END_TEST

START_TEST(an_item_is_taken_out_of_a_list)
{
	ck_assert_int_eq(config_new(&config, &groups), 0);
	for (const char *const *text = (const char *const[]){ "a", "b", "c", NULL }; *text; text++)
		ck_assert_int_eq(config_set(config, "disk", *text), 0);

	config_drop_item(config, "disk", 1);
	ck_assert_uint_eq(config_count(config, "disk"), 2);
	ck_assert_str_eq(config_item(config, "disk", 1), "c");
	config_drop_item(config, "disk", 1);
	config_drop_item(config, "disk", 0);
	ck_assert_uint_eq(config_count(config, "disk"), 0);
	ck_assert_int_eq(config_set(config, "disk", "d"), 0);

	ck_assert_str_eq(config_item(config, "disk", 0), "d");
}
END_TEST

START_TEST(sizes_and_numbers_are_whole_or_refused)
{
	static const struct { const char *text; uint64_t value; } good[] = {
		{ "0", 0 }, { "7B", 7 }, { "1k", 1024 }, { "3M", MIB(3) }, { "2g", GIB(2) }, { "1T", GIB(1024) },
		{ "0x10", 16 }, { "0x10B", 0x10b }, { "0x10K", 16384 }, { "15P", GIB(15ULL << 20) },
	};
	static const char *const bad[] = { "", "M", "1MM", "1.5G", " 1", "+1", "1 M", "0x", "99999P", "G1", "12Q" };
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(parse_size(good[i].text, 0, &value) == 0, "'%s' refused", good[i].text);
		ck_assert_uint_eq(value, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(parse_size(bad[i], 0, &value) == -EINVAL, "'%s' taken", bad[i]);
	ck_assert_int_eq(parse_uint("18446744073709551615", &value), 0);
	ck_assert_int_eq(parse_uint("18446744073709551616", &value), -ERANGE);
	ck_assert_int_eq(parse_uint("1x", &value), -EINVAL);
}
END_TEST

START_TEST(help_shows_every_option_once)
{
	int fd = memfd_create("help", 0);
	char text[8192];
	ssize_t length;

	option_help(&groups, fd);
	option_man(&groups, fd);

	length = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	ck_assert_int_gt(length, 0);
	text[length] = '\0';
	ck_assert_ptr_nonnull(strstr(text, "Basic:\n"));
	ck_assert_ptr_nonnull(strstr(text, "  -k, --kernel FILE"));
	ck_assert_ptr_nonnull(strstr(text, "      --huge[=DIR]"));
	ck_assert_ptr_nonnull(strstr(text, "Colour: red|green (default: red)"));
	ck_assert_ptr_nonnull(strstr(text, "Balloon [not built yet]"));
	ck_assert_ptr_nonnull(strstr(text, ".It Fl m , Fl -mem Ar SIZE\n"));
}
END_TEST

START_TEST(keyval_splits_words_and_pairs)
{
	struct keyval kv;
	bool ro = false, direct = true;

	ck_assert_int_eq(keyval_parse(&kv, "disk", "a,,b.img,ro,direct=off,serial=x=y,", true), 0);

	ck_assert_str_eq(kv.first, "a,b.img");
	ck_assert_int_eq(keyval_bool(&kv, "disk", "ro", &ro), 0);
	ck_assert_int_eq(keyval_bool(&kv, "disk", "direct", &direct), 0);
	ck_assert(ro);
	ck_assert(!direct);
	ck_assert_int_eq(keyval_done(&kv, "disk", "ro, direct"), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(said, "option --disk: no setting is called 'serial' (known: ro, direct)"));
	ck_assert_str_eq(keyval_get(&kv, "serial"), "x=y");
	ck_assert_int_eq(keyval_done(&kv, "disk", ""), 0);
	ck_assert_ptr_null(keyval_get(&kv, "absent"));
	keyval_free(&kv);
}
END_TEST

START_TEST(keyval_refuses_nonsense_and_floods)
{
	struct keyval kv;
	bool value = true;

	ck_assert_int_eq(keyval_parse(&kv, "net", "mode=user,dhcp=maybe", false), 0);
	ck_assert_str_eq(kv.first, "");
	ck_assert_str_eq(keyval_get(&kv, "mode"), "user");
	ck_assert_int_eq(keyval_bool(&kv, "net", "dhcp", &value), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(said, "option --net: dhcp=maybe is neither on nor off"));
	keyval_free(&kv);

	ck_assert_int_eq(keyval_parse(&kv, "net", "a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", false), -EUSAGE);
}
END_TEST

START_TEST(the_tables_of_run_have_no_name_twice)
{
	struct option_group *all = run_options();

	ck_assert_ptr_nonnull(all);
	for (struct option_group *a = all; a; a = a->next) {
		for (size_t i = 0; i < a->count; i++) {
			/* but for what lkvm says to itself */
			ck_assert_msg(a->options[i].help != NULL || !strcmp(a->options[i].name, "ready-fd"), "--%s has no help",
				      a->options[i].name);
			for (struct option_group *b = all; b; b = b->next)
				for (size_t j = 0; j < b->count; j++)
					ck_assert_msg((a == b && i == j) ||
						      strcmp(a->options[i].name, b->options[j].name) != 0,
						      "--%s is defined twice", a->options[i].name);
		}
	}
	ck_assert_int_eq(config_new(&config, all), 0);
}
END_TEST

START_TEST(the_letters_of_run_are_given_out_once)
{
	const char *owner[256] = { NULL };

	for (struct option_group *group = run_options(); group; group = group->next) {
		for (size_t i = 0; i < group->count; i++) {
			unsigned char letter = (unsigned char)group->options[i].letter;

			if (!letter)
				continue;
			ck_assert_msg(!owner[letter], "-%c is --%s and --%s", letter, owner[letter],
				      group->options[i].name);
			owner[letter] = group->options[i].name;
		}
	}
	ck_assert_ptr_null(owner['h']);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "option", setup, teardown);

	tcase_add_test(tcase, no_words_give_the_defaults);
	tcase_add_test(tcase, every_way_to_say_a_value_is_understood);
	tcase_add_test(tcase, the_last_of_two_values_counts);
	tcase_add_test(tcase, a_bare_size_has_the_tables_unit);
	tcase_add_test(tcase, a_size_may_have_an_address);
	tcase_add_test(tcase, a_number_may_have_settings_which_go_where_it_goes);
	tcase_add_test(tcase, the_last_number_counts_with_its_settings_or_without);
	tcase_add_test(tcase, flags_can_be_said_and_unsaid_and_bundled);
	tcase_add_test(tcase, a_bundle_may_end_in_a_letter_with_a_value);
	tcase_add_test(tcase, an_option_may_stand_for_another_and_the_last_said_counts);
	tcase_add_test(tcase, a_unique_prefix_will_do);
	tcase_add_test(tcase, a_full_name_beats_the_longer_ones);
	tcase_add_test(tcase, an_ambiguous_prefix_names_two);
	tcase_add_test(tcase, operands_may_stand_between_options);
	tcase_add_test(tcase, without_two_dashes_there_is_no_split);
	tcase_add_test(tcase, an_optional_value_needs_the_equals_sign);
	tcase_add_test(tcase, a_mistyped_option_gets_a_suggestion);
	tcase_add_test(tcase, wrong_values_say_what_would_be_right);
	tcase_add_test(tcase, help_needs_no_table);
	tcase_add_test(tcase, unknown_names_read_as_empty);
	tcase_add_test(tcase, config_set_is_as_if_it_had_been_given);
	tcase_add_test(tcase, an_item_is_taken_out_of_a_list);
	tcase_add_test(tcase, sizes_and_numbers_are_whole_or_refused);
	tcase_add_test(tcase, help_shows_every_option_once);
	tcase_add_test(tcase, keyval_splits_words_and_pairs);
	tcase_add_test(tcase, keyval_refuses_nonsense_and_floods);
	tcase_add_test(tcase, the_tables_of_run_have_no_name_twice);
	tcase_add_test(tcase, the_letters_of_run_are_given_out_once);
}
SUITE_MAIN("option", add_tests)
