/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/init.c alone: the order of the lists, what is unwound after a failure, what --trace-init prints.
 *
 * lkvm's own callbacks are on the lists of the objects that this is linked with, so this has the file a second time,
 * under other names, with lists that hold the callbacks below and no others. A struct kvm is a log of their calls.
 */
#define init_register		own_init_register
#define exit_register		own_exit_register
#define init_walk		own_init_walk
#define init_unwind		own_init_unwind
#define init_for_each		own_init_for_each
#define init_level_name		own_init_level_name
#include "core/init.c"

#include "tests/unit/suite.h"

struct kvm {
	const char *fails, *skips;	/* these inits do */
	bool exits_fail;
	char calls[512];
};

static void called(struct kvm *kvm, char sign, const char *name)
{
	size_t length = strlen(kvm->calls);

	snprintf(kvm->calls + length, sizeof(kvm->calls) - length, "%c%s ", sign, name);
}

static int init_called(struct kvm *kvm, const char *name)
{
	called(kvm, '+', name);
	if (kvm->fails && !strcmp(kvm->fails, name))
		return -EIO;
	return kvm->skips && !strcmp(kvm->skips, name) ? INIT_SKIP : 0;
}

static void exit_called(struct kvm *kvm, const char *name)
{
	called(kvm, '-', name);
	if (kvm->exits_fail)
		log_errno(EBUSY, "%s can't be undone", name);
}

#define INIT(level, name)					\
	static int name##_init(struct kvm *kvm)			\
	{							\
		return init_called(kvm, #name);			\
	}							\
	level##_init(name##_init)

#define EXIT(level, name)					\
	static void name##_exit(struct kvm *kvm)		\
	{							\
		exit_called(kvm, #name);			\
	}							\
	level##_exit(name##_exit)

/* Neither in the order of their levels nor in that of their names. */
INIT(late, watch);
EXIT(late, watch);
INIT(core, zebra);
EXIT(core, zebra);
INIT(core, apple);
EXIT(core, apple);
/* an init without an exit */
INIT(firmware, tables);
EXIT(virtio_dev, net);
INIT(virtio_dev, net);
INIT(dev, rtc);
EXIT(dev, rtc);
/* exits without an init: of no such name, and of one that only begins so */
EXIT(dev, orphan);
EXIT(dev, rtcs);
INIT(base, cpu);
EXIT(base, cpu);
/* no twins, as their levels differ */
INIT(dev_base, bus);
EXIT(dev, bus);

/* The same name as another's, in another file. */
static int other_zebra_init(struct kvm *kvm)
{
	return init_called(kvm, "namesake");
}

static void other_zebra_exit(struct kvm *kvm)
{
	exit_called(kvm, "namesake");
}

static struct init_item other_init = { .file = "z.c", .name = "zebra_init", .level = INIT_CORE, .init = other_zebra_init };
static struct exit_item other_exit = { .file = "z.c", .name = "zebra_exit", .level = INIT_CORE, .exit = other_zebra_exit };

static void __attribute__((constructor)) other_register(void)
{
	exit_register(&other_exit);
	init_register(&other_init);
}

static const struct {
	const char *level, *name, *item;
	bool has_exit;
} order[] = {
	{ "core", "apple", "apple_init", true },	{ "core", "zebra", "zebra_init", true },
	{ "core", "namesake", "zebra_init", true },	{ "base", "cpu", "cpu_init", true },
	{ "dev_base", "bus", "bus_init", false },	{ "dev", "rtc", "rtc_init", true },
	{ "virtio_dev", "net", "net_init", true },	{ "firmware", "tables", "tables_init", false },
	{ "late", "watch", "watch_init", true },
};

#define ALL	((int)ARRAY_SIZE(order))

/* What is called when the first @count are, and @unwound of them are unwound but for @skipped. */
static void expect(const struct kvm *kvm, int count, int unwound, int skipped)
{
	struct kvm expected = { .calls = "" };

	for (int i = 0; i < count; i++)
		called(&expected, '+', order[i].name);
	for (int i = unwound - 1; i >= 0; i--)
		if (i != skipped && order[i].has_exit)
			called(&expected, '-', order[i].name);
	ck_assert_str_eq(kvm->calls, expected.calls);
}

static void expect_empty(const struct init_done *done)
{
	ck_assert_uint_eq(done->count, 0);
	ck_assert_ptr_null(done->items);
}

START_TEST(the_order_is_by_level_then_name_then_file)
{
	struct kvm kvm = { .calls = "" };
	struct init_done done = { 0 };

	ck_assert_int_eq(init_walk(&kvm, NULL, &done), 0);

	expect(&kvm, ALL, 0, -1);
	ck_assert_uint_eq(done.count, ALL);
	init_unwind(&kvm, &done);
}
END_TEST

START_TEST(unwinding_is_the_reverse_of_what_has_a_twin_and_happens_once)
{
	struct kvm kvm = { .calls = "" };
	struct init_done done = { 0 };

	ck_assert_int_eq(init_walk(&kvm, NULL, &done), 0);
	init_unwind(&kvm, &done);

	expect(&kvm, ALL, ALL, -1);
	expect_empty(&done);
	init_unwind(&kvm, &done);
	expect(&kvm, ALL, ALL, -1);
}
END_TEST

START_TEST(a_failure_unwinds_exactly_what_had_succeeded)
{
	struct kvm kvm = { .fails = order[_i].name };
	struct init_done done = { 0 };

	ck_assert_int_eq(init_walk(&kvm, NULL, &done), -EIO);

	expect(&kvm, _i + 1, _i, -1);
	expect_empty(&done);
}
END_TEST

START_TEST(a_callback_made_to_fail_is_not_called)
{
	const struct init_options options = { .fail = order[_i].item };
	struct kvm kvm = { .calls = "" };
	struct init_done done = { 0 };
	int first = _i;

	/* of two with one name it is the first */
	while (first && !strcmp(order[first - 1].item, order[_i].item))
		first--;

	ck_assert_int_eq(init_walk(&kvm, &options, &done), -ECANCELED);

	expect(&kvm, first, first, -1);
	expect_empty(&done);
}
END_TEST

START_TEST(what_is_skipped_is_not_undone)
{
	struct kvm kvm = { .skips = order[_i].name };
	struct init_done done = { 0 };

	ck_assert_int_eq(init_walk(&kvm, NULL, &done), 0);
	ck_assert_uint_eq(done.count, ALL - 1);
	init_unwind(&kvm, &done);

	expect(&kvm, ALL, ALL, _i);
}
END_TEST

START_TEST(what_was_skipped_is_not_undone_after_a_later_failure_either)
{
	struct kvm kvm = { .skips = "namesake", .fails = "net" };
	struct init_done done = { 0 };

	ck_assert_int_eq(init_walk(&kvm, NULL, &done), -EIO);

	expect(&kvm, 7, 6, 2);
}
END_TEST

static unsigned int said;

static void count_said(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
	said++;
}

START_TEST(exits_that_fail_keep_no_other_from_being_called)
{
	struct kvm kvm = { .fails = "watch", .exits_fail = true };
	struct init_done done = { 0 };

	log_set_sink(count_said);
	ck_assert_int_eq(init_walk(&kvm, NULL, &done), -EIO);
	log_set_sink(NULL);

	/* and the failure that is returned is the init's */
	expect(&kvm, ALL, ALL - 1, -1);
	ck_assert_uint_eq(said, 6);
}
END_TEST

START_TEST(two_vms_are_undone_each_by_its_own)
{
	struct kvm first = { .skips = "apple" }, second = { .skips = "rtc" };
	struct init_done first_done = { 0 }, second_done = { 0 };

	ck_assert_int_eq(init_walk(&first, NULL, &first_done), 0);
	ck_assert_int_eq(init_walk(&second, NULL, &second_done), 0);
	init_unwind(&first, &first_done);
	expect(&second, ALL, 0, -1);
	init_unwind(&second, &second_done);

	expect(&first, ALL, ALL, 0);
	expect(&second, ALL, ALL, 5);
}
END_TEST

/* ---- shuffled ---- */

/* Which positions of order[] were called, as they were. */
static void parse(const char *calls, int *seen)
{
	int count = 0;

	for (const char *at = calls; *at; at = strchr(at, ' ') + 1) {
		ck_assert_int_eq(*at, '+');
		ck_assert_int_lt(count, ALL);
		for (seen[count] = 0; seen[count] < ALL; seen[count]++) {
			size_t length = strlen(order[seen[count]].name);

			if (!strncmp(at + 1, order[seen[count]].name, length) && at[1 + length] == ' ')
				break;
		}
		ck_assert_int_lt(seen[count++], ALL);
	}
	ck_assert_int_eq(count, ALL);
}

START_TEST(a_seed_shuffles_inside_levels_only_and_always_the_same)
{
	unsigned int orders = 0, bits;

	for (unsigned int seed = 1; seed <= 100; seed++) {
		const struct init_options options = { .shuffle = seed };
		struct kvm first = { .calls = "" }, again = { .calls = "" };
		struct init_done done = { 0 };
		int seen[ALL];
		const char *mirrored;

		ck_assert_int_eq(init_walk(&first, &options, &done), 0);
		parse(first.calls, seen);
		bits = 0;
		for (int i = 0; i < ALL; i++) {
			ck_assert_str_eq(order[seen[i]].level, order[i].level);
			bits |= 1U << seen[i];
		}
		ck_assert_uint_eq(bits, (1U << ALL) - 1);
		/* core has three callbacks: six orders */
		orders |= 1U << (seen[0] * 3 + seen[1]);
		init_unwind(&first, &done);
		mirrored = strrchr(first.calls, '-');
		ck_assert(!strncmp(mirrored + 1, order[seen[0]].name, strlen(order[seen[0]].name)));

		ck_assert_int_eq(init_walk(&again, &options, &done), 0);
		init_unwind(&again, &done);
		ck_assert_str_eq(first.calls, again.calls);
	}
	ck_assert_int_eq(__builtin_popcount(orders), 6);
}
END_TEST

/* ---- what is printed ---- */

static int listed;

static void list(const struct init_item *item, void *opaque)
{
	ck_assert_ptr_eq(opaque, &listed);
	ck_assert_int_lt(listed, ALL);
	ck_assert_str_eq(item->name, order[listed].item);
	ck_assert_str_eq(init_level_name(item->level), order[listed].level);
	listed++;
}

START_TEST(the_list_is_the_order_in_which_they_are_called)
{
	init_for_each(list, &listed);

	ck_assert_int_eq(listed, ALL);
}
END_TEST

/* Walks with a trace; its lines, in @text. */
static int traced(struct kvm *kvm, char *text, size_t size)
{
	const struct init_options options = { .trace = true };
	struct init_done done = { 0 };
	int saved = dup(STDERR_FILENO), result;
	FILE *file = tmpfile();

	ck_assert_ptr_nonnull(file);
	dup2(fileno(file), STDERR_FILENO);
	result = init_walk(kvm, &options, &done);
	init_unwind(kvm, &done);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
	return result;
}

START_TEST(a_trace_has_a_line_for_each_callback_that_is_called)
{
	struct kvm kvm = { .skips = "cpu", .fails = "net" };
	char text[2048], *line, *rest = text;

	ck_assert_int_eq(traced(&kvm, text, sizeof(text)), -EIO);

	for (int i = 0; i < 7; i++) {
		char level[16], name[32], end[32] = "";
		long long microseconds = -1;

		line = strsep(&rest, "\n");
		ck_assert_ptr_nonnull(rest);
		ck_assert_int_ge(sscanf(line, "init %15s %31s %lld us%31[^\n]", level, name, &microseconds, end), 3);
		ck_assert_str_eq(level, order[i].level);
		ck_assert_str_eq(name, order[i].item);
		ck_assert_int_ge(microseconds, 0);
		ck_assert_str_eq(end, i == 3 ? "  (not configured)" : i == 6 ? "  FAILED" : "");
	}
	ck_assert_str_eq(rest, "");
	/* and it changes nothing */
	expect(&kvm, 7, 6, 3);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *walk = suite_case(suite, "walk", NULL, NULL), *said_case = suite_case(suite, "said", NULL, NULL);

	tcase_add_test(walk, the_order_is_by_level_then_name_then_file);
	tcase_add_test(walk, unwinding_is_the_reverse_of_what_has_a_twin_and_happens_once);
	tcase_add_loop_test(walk, a_failure_unwinds_exactly_what_had_succeeded, 0, ALL);
	tcase_add_loop_test(walk, a_callback_made_to_fail_is_not_called, 0, ALL);
	tcase_add_loop_test(walk, what_is_skipped_is_not_undone, 0, ALL);
	tcase_add_test(walk, what_was_skipped_is_not_undone_after_a_later_failure_either);
	tcase_add_test(walk, exits_that_fail_keep_no_other_from_being_called);
	tcase_add_test(walk, two_vms_are_undone_each_by_its_own);
	tcase_add_test(walk, a_seed_shuffles_inside_levels_only_and_always_the_same);
	tcase_add_test(said_case, the_list_is_the_order_in_which_they_are_called);
	tcase_add_test(said_case, a_trace_has_a_line_for_each_callback_that_is_called);
}
SUITE_MAIN("init", add_tests)
