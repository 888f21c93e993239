/* SPDX-License-Identifier: BSD-2-Clause */
/* core/console-watch.c and core/trouble-log.c: what is found in a guest's words, and what is kept of them. */
#include "tests/unit/board.h"

#include "kvm/console-watch.h"
#include "kvm/trouble-log.h"

static struct kvm *kvm;
static struct console_watch watch;

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "oops", "fail"), 0);
	board_add(kvm, "life_init");
	console_watch_reset(&watch);
}

static void teardown(void)
{
	board_destroy(kvm);
	log_set_sink(NULL);
}

static void print(const char *text)
{
	console_watch_write(&watch, kvm, text, strlen(text));
}

static const char *const oopses[] = {
	"BUG: kernel NULL pointer dereference, address: 0000000000000000\n",
	"[   12.345678] BUG: unable to handle page fault for address: ffffc900\r\n",
	"[   12.345678][  T103] Oops: 0002 [#1] PREEMPT SMP NOPTI\n",
	"a line\n[    1.0] kernel BUG at fs/ext4/inode.c:42!\n",
	"general protection fault, probably for non-canonical address 0xdead: 0000 [#1]\n",
	"[    3.1] Internal error: Oops: 0000000096000045 [#1] SMP\n",
	"[    3.1] Unable to handle kernel paging request at virtual address 1\n",
	"[    3.1] BUG: KASAN: use-after-free in x+0x1/0x2\n",
	"[    3.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\n",
};

START_TEST(an_oops_is_seen_whole_and_byte_by_byte)
{
	const char *text = oopses[_i / 2];

	if (_i % 2)
		print(text);
	else
		for (const char *c = text; *c; c++)
			console_watch_write(&watch, kvm, c, 1);

	ck_assert(atomic_load(&kvm->oopsed));
	ck_assert(!atomic_load(&kvm->panicked));
}
END_TEST

static const char *const harmless[] = {
	"it said BUG: no\n", "DEBUG: all is well\n", "traps: sh[1] general protection fault ip:1\n",
	"[    1.0] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2\n", "BUGS: none\nOops\nOopsBUG: \n", "grep 'Oops: ' log\n",
};

START_TEST(talk_of_oopses_is_no_oops)
{
	print(harmless[_i]);
	ck_assert(!atomic_load(&kvm->oopsed));
	ck_assert_ptr_null(trouble_log_text(kvm));
}
END_TEST

START_TEST(user_space_is_seen_where_no_command_is_to_be_run)
{
	print("[    0.7] Running\n");
	ck_assert(!atomic_load(&kvm->booted));
	print("[    0.7] Run /init as init process\n");
	ck_assert(atomic_load(&kvm->booted));
}
END_TEST

START_TEST(the_log_begins_with_the_first_line_of_trouble)
{
	static const char text[] = "BUG: bad page state\n[    1.0] Call Trace:\n[    1.1]  f+0x1/0x2\n"
				   "[    1.2] Kernel panic - not syncing: Fatal exception\n[    1.2] Kernel Offset: disabled\n";

	print("boots\n[    1.0] ");
	if (_i)
		print(text);
	else
		for (const char *c = text; *c; c++)
			console_watch_write(&watch, kvm, c, 1);

	ck_assert(atomic_load(&kvm->panicked));
	ck_assert_str_eq(trouble_log_text(kvm), text);
}
END_TEST

START_TEST(a_log_without_end_is_cut)
{
	static char line[1024];

	memset(line, 'x', sizeof(line) - 1);
	line[100] = '\0';
	print("Kernel panic - not syncing: y\n");
	for (int i = 0; i < 200; i++)
		console_watch_write(&watch, kvm, line, sizeof(line));

	ck_assert_uint_eq(strlen(trouble_log_text(kvm)), TROUBLE_LOG_SIZE);
	ck_assert_int_eq(strncmp(trouble_log_text(kvm), "Kernel panic - not syncing: y\nxxx", 33), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "console watch", setup, teardown);

	tcase_add_loop_test(tests, an_oops_is_seen_whole_and_byte_by_byte, 0, 2 * ARRAY_SIZE(oopses));
	tcase_add_loop_test(tests, talk_of_oopses_is_no_oops, 0, ARRAY_SIZE(harmless));
	tcase_add_test(tests, user_space_is_seen_where_no_command_is_to_be_run);
	tcase_add_loop_test(tests, the_log_begins_with_the_first_line_of_trouble, 0, 2);
	tcase_add_test(tests, a_log_without_end_is_cut);
}
SUITE_MAIN("console-watch", add_tests)
