/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit tests of cmd/: the register, and the exit statuses of what can be said without a VM.
 */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/command.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static char said[4096];
static char output[65536];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	said[0] = '\0';
	log_set_sink(remember);
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", "/nonexistent", 1), 0);
	ck_assert_int_eq(setenv("HOME", "/nonexistent", 1), 0);
}

/* Runs `lkvm @line` and keeps what goes to stdout and stderr. */
static int lkvm(const char *line)
{
	static char copy[512];
	char *words[32] = { (char *)"lkvm" };
	int count = 1, status, fd = memfd_create("output", MFD_CLOEXEC);
	int saved[2] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
	ssize_t length;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[count++] = word;
	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	status = command_main(count, words);
	fflush(stdout);
	dup2(saved[0], STDOUT_FILENO);
	dup2(saved[1], STDERR_FILENO);
	close(saved[0]);
	close(saved[1]);
	length = pread(fd, output, sizeof(output) - 1, 0);
	output[MAX(length, 0)] = '\0';
	close(fd);
	return status;
}

static void usage(const char *line, const char *expected)
{
	ck_assert_int_eq(lkvm(line), LKVM_STATUS_USAGE);
	ck_assert_msg(strstr(said, expected), "'%s': expected '%s', said '%s'", line, expected, said);
}

START_TEST(no_command_prints_the_usage)
{
	ck_assert_int_eq(lkvm(""), LKVM_STATUS_USAGE);

	ck_assert_ptr_nonnull(strstr(output, "usage: lkvm COMMAND"));
	ck_assert_ptr_nonnull(strstr(output, "  run "));
	ck_assert_ptr_null(strstr(output, "migrate"));
}
END_TEST

START_TEST(help_and_version_succeed)
{
	ck_assert_int_eq(lkvm("--help"), 0);
	ck_assert_int_eq(lkvm("--version"), 0);
	ck_assert_ptr_nonnull(strstr(output, "lkvm "));
	ck_assert_int_eq(lkvm("help"), 0);
	ck_assert_int_eq(lkvm("help run"), 0);
	ck_assert_ptr_nonnull(strstr(output, "  -c, --cpus N"));
	ck_assert_int_eq(lkvm("run -h"), 0);
	ck_assert_ptr_nonnull(strstr(output, "usage: lkvm run [OPTIONS] [KERNEL]"));
	ck_assert_int_eq(lkvm("version"), 0);
}
END_TEST

START_TEST(every_command_explains_itself)
{
	char line[64];

	for (struct command *command = command_first(); command; command = command->next) {
		ck_assert_ptr_nonnull(command->help);
		if (command->next)
			ck_assert_int_lt(strcmp(command->name, command->next->name), 0);
		if (command->pending)
			continue;
		snprintf(line, sizeof(line), "%s --help", command->name);
		ck_assert_int_eq(lkvm(line), 0);
		ck_assert_ptr_nonnull(strstr(output, command->help));
	}
}
END_TEST

START_TEST(a_family_lists_its_members_and_leads_to_them)
{
	ck_assert_int_eq(lkvm("disk"), LKVM_STATUS_USAGE);
	ck_assert_int_eq(lkvm("disk --help"), 0);
	ck_assert_ptr_nonnull(strstr(output, "\n  info "));
	ck_assert_int_eq(lkvm("help disk create"), 0);
	ck_assert_ptr_nonnull(strstr(output, "usage: lkvm disk create [OPTIONS] IMAGE [SIZE]"));
	ck_assert_int_eq(lkvm("help"), 0);
	ck_assert_ptr_nonnull(strstr(output, "\n  disk "));
	ck_assert_ptr_null(strstr(output, "disk info"));
	usage("disk info", "too few operands (say IMAGE)");
	usage("disk info a b", "b: one operand too many");
}
END_TEST

START_TEST(help_on_what_is_not_built_yet_says_so)
{
	ck_assert_int_eq(lkvm("help monitor"), 0);

	ck_assert_ptr_nonnull(strstr(output, "Not built yet: the state issue."));
}
END_TEST

START_TEST(a_control_directory_that_is_none_is_named)
{
	char path[] = "/tmp/test-command.XXXXXX", expected[128];
	char file[64];

	ck_assert_ptr_nonnull(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/lkvm", path);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", path, 1), 0);

	ck_assert_int_eq(lkvm("list"), LKVM_STATUS_ERROR);

	snprintf(expected, sizeof(expected), "control directory '%s': Not a directory", file);
	unlink(file);
	rmdir(path);
	ck_assert_msg(strstr(said, expected), "said '%s'", said);
}
END_TEST

START_TEST(unknown_commands_get_a_suggestion)
{
	usage("rnu", "rnu: no such command (did you mean `lkvm run`?)");
	usage("frobnicate", "frobnicate: no such command (`lkvm help` lists them)");
	usage("help frobnicate", "no such command");
	usage("help lsit", "did you mean `lkvm list`?");
	usage("help run list", "list: one command at a time");
	usage("disk nifo", "disk nifo: no such command (did you mean `lkvm disk info`?)");
	usage("disk frobnicate", "(`lkvm help disk` lists them)");
	usage("disk -f raw", "-f: the command comes first, as in `lkvm disk info -f`");
	usage("help disk frobnicate", "disk frobnicate: no such command");
	usage("help disk info list", "list: one command at a time");
	usage("-k bzImage", "-k: the command comes first");
	usage("monitor -n x", "monitor: not built yet (the state issue)");
}
END_TEST

START_TEST(wrong_command_lines_of_run_are_refused_before_anything_is_made)
{
	usage("run --mem 12Q", "option --mem: '12Q' is no size");
	usage("run -c 0", "option --cpus: 0 is out of range (1 to 4096)");
	usage("run a b", "b: one kernel is enough");
	usage("run -k a b", "b: the kernel was named by --kernel already");
	usage("run --name a/b", "option --name: 'a/b' won't do");
	usage("run --name a\001b", "option --name: 'a\001b' won't do");
	usage("run --name \377\376", "won't do");
	usage("run --on-reboot never", "none of its choices (exit, restart)");
	usage("run --vnc", "option --vnc: not built yet (displays come later)");
	usage("run -i x -- true", "--: the command needs an initrd of lkvm's own");
	usage("run a b -- true", "b: one kernel is enough");
}
END_TEST

START_TEST(a_missing_kernel_is_said_in_the_words_that_runners_look_for)
{
	ck_assert_int_eq(lkvm("run --nodefaults --network mode=none --loglevel=warning --kernel _NO_FILE_4Uhere_"),
			 LKVM_STATUS_ERROR);

	ck_assert_ptr_nonnull(strstr(said, "Fatal: Unable to open kernel _NO_FILE_4Uhere_"));
}
END_TEST

START_TEST(list_init_prints_the_order)
{
	ck_assert_int_eq(lkvm("run --list-init"), 0);

	ck_assert_ptr_nonnull(strstr(output, "control_init"));
}
END_TEST

START_TEST(commands_without_a_vm_fail_clearly)
{
	usage("stop", "which VM?");
	usage("stop -a name", "option --all: means every VM");
	usage("list name", "name: lkvm list takes options only");
	usage("version name", "name: lkvm version takes options only");
	usage("debug -s hh name", "option --sysrq: 'hh' is no key");
	ck_assert_int_eq(lkvm("pause -n ghost"), LKVM_STATUS_ERROR);
	ck_assert_ptr_nonnull(strstr(said, "ghost: no VM of this name runs"));
	ck_assert_int_eq(lkvm("list"), 0);
	ck_assert_int_eq(lkvm("list --json"), 0);
	ck_assert_str_eq(output, "[]\n");
	ck_assert_int_eq(lkvm("stop --all"), 0);
}
END_TEST

START_TEST(the_man_page_section_has_every_command)
{
	ck_assert_int_eq(lkvm("help --man-options"), 0);

	ck_assert_ptr_nonnull(strstr(output, ".Ss lkvm run\n"));
	ck_assert_ptr_nonnull(strstr(output, ".Ss lkvm stop\n"));
	ck_assert_ptr_nonnull(strstr(output, ".It Fl c , Fl -cpus Ar N\n"));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "command", setup, NULL);

	tcase_add_test(tcase, no_command_prints_the_usage);
	tcase_add_test(tcase, help_and_version_succeed);
	tcase_add_test(tcase, every_command_explains_itself);
	tcase_add_test(tcase, unknown_commands_get_a_suggestion);
	tcase_add_test(tcase, a_family_lists_its_members_and_leads_to_them);
	tcase_add_test(tcase, help_on_what_is_not_built_yet_says_so);
	tcase_add_test(tcase, a_control_directory_that_is_none_is_named);
	tcase_add_test(tcase, wrong_command_lines_of_run_are_refused_before_anything_is_made);
	tcase_add_test(tcase, a_missing_kernel_is_said_in_the_words_that_runners_look_for);
	tcase_add_test(tcase, list_init_prints_the_order);
	tcase_add_test(tcase, commands_without_a_vm_fail_clearly);
	tcase_add_test(tcase, the_man_page_section_has_every_command);
}
SUITE_MAIN("command", add_tests)
