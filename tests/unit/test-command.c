/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unit tests of cmd/: the register, and the exit statuses of what can be said without a VM.
 */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cmd/run.h"
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
	ck_assert_ptr_nonnull(strstr(output, "  monitor "));
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
	usage("run -k /dev/null --root-rw -- true", "option --root-rw: for which root?");
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

/* How many lines begin with @text */
static size_t count_lines_with(const char *text, const char *beginning)
{
	size_t count = 0;

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		count += strncmp(text, beginning, strlen(beginning)) == 0;
	}
	return count;
}

START_TEST(help_shows_what_is_used_most_and_help_all_the_rest)
{
	ck_assert_int_eq(lkvm("run --help"), 0);
	ck_assert_ptr_nonnull(strstr(output, "  -d, --disk IMAGE"));
	ck_assert_uint_eq(count_lines_with(output, "  -") + count_lines_with(output, "      --"), 10);
	ck_assert_ptr_null(strstr(output, "--trace-init"));
	ck_assert_ptr_nonnull(strstr(output, "lkvm run --help-all shows them all"));
	ck_assert_int_eq(lkvm("run --help-all"), 0);
	ck_assert_ptr_nonnull(strstr(output, "--trace-init"));
	ck_assert_int_eq(lkvm("help --all run"), 0);
	ck_assert_ptr_nonnull(strstr(output, "--trace-init"));
	ck_assert_int_eq(lkvm("list --help"), 0);
	ck_assert_ptr_nonnull(strstr(output, "--json"));
}
END_TEST

/* What bash makes of the words, the last of which is to be completed; a blank between each two proposals. */
static void completes(const char *words, const char *expected)
{
	char script[512], seen[4096] = "";
	FILE *bash;

	snprintf(script, sizeof(script), "bash -c '. ./bash; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _lkvm; "
		 "echo \"${COMPREPLY[*]}\"'", words);
	bash = popen(script, "r");
	ck_assert_ptr_nonnull(bash);
	ck_assert_ptr_nonnull(fgets(seen, sizeof(seen), bash));
	pclose(bash);
	seen[strcspn(seen, "\n")] = '\0';
	ck_assert_str_eq(seen, expected);
}

/* Whether that shell, if there is one, ends with 0 when it reads the output */
static bool understood_by(const char *command)
{
	char whole[256];
	FILE *shell;

	snprintf(whole, sizeof(whole), "command -v %.*s > /dev/null || exec cat > /dev/null; %s", (int)strcspn(command, " "), command,
		 command);
	shell = popen(whole, "w");
	ck_assert_ptr_nonnull(shell);
	fputs(output, shell);
	return pclose(shell) == 0;
}

START_TEST(shells_complete_from_the_tables)
{
	char folder[] = "/tmp/test-command.XXXXXX";
	FILE *file;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(lkvm("completion bash"), 0);
	file = fopen("bash", "w");
	fputs(output, file);
	fclose(file);

	completes("lkvm ru", "run");
	completes("lkvm run --oo", "--oops");
	completes("lkvm run --oops \"\"", "fail ignore");
	completes("lkvm run --oops = f", "fail");
	completes("lkvm disk cr", "create");
	completes("lkvm disk create --lazy", "--lazy-refcounts");
	completes("lkvm help completio", "completion");
	completes("lkvm run --vn", "");
	ck_assert_int_eq(chdir("/"), 0);
	snprintf(output, sizeof(output), "rm -rf %s", folder);
	ck_assert_int_eq(system(output), 0);
	ck_assert_int_eq(lkvm("completion zsh"), 0);
	ck_assert(understood_by("zsh -n"));
	ck_assert_ptr_nonnull(strstr(output, "'--oops=["));
	ck_assert_ptr_nonnull(strstr(output, ":value:(fail ignore)'"));
	ck_assert_int_eq(lkvm("completion fish"), 0);
	ck_assert(understood_by("fish -n"));
	ck_assert(understood_by("fish -c 'source; complete -C \"lkvm run --oo\"' | grep -q -e --oops"));
	ck_assert_ptr_nonnull(strstr(output, "complete -c lkvm -n '__lkvm_is run' -l oops -x -a 'fail ignore'"));
	usage("completion csh", "csh: for which shell? (say bash, zsh or fish)");
	usage("completion", "say bash, zsh or fish");
}
END_TEST

START_TEST(git_bisect_hears_what_the_kernel_did)
{
	static const struct {
		enum kvm_end end;
		int status, said;
	} ends[] = {
		{ KVM_END_COMMAND, 0, 0 }, { KVM_END_COMMAND, 7, 1 }, { KVM_END_COMMAND, 118, 1 }, { KVM_END_COMMAND, 139, 1 },
		{ KVM_END_COMMAND, 125, 125 }, { KVM_END_COMMAND, 127, 125 },
		{ KVM_END_POWEROFF, 0, 0 }, { KVM_END_POWEROFF, LKVM_STATUS_ERROR, 1 }, { KVM_END_REBOOT, 0, 0 },
		{ KVM_END_PANIC, LKVM_STATUS_PANIC, 1 }, { KVM_END_OOPS, LKVM_STATUS_OOPS, 1 },
		{ KVM_END_HANG, LKVM_STATUS_HANG, 1 }, { KVM_END_BOOT_TIMEOUT, LKVM_STATUS_BOOT_TIMEOUT, 1 },
		{ KVM_END_TRIPLE_FAULT, LKVM_STATUS_TRIPLE_FAULT, 1 },
		{ KVM_END_SETUP, LKVM_STATUS_ERROR, 125 }, { KVM_END_HOST_ERROR, LKVM_STATUS_HOST_ERROR, 125 },
		{ KVM_END_INTERNAL_ERROR, LKVM_STATUS_INTERNAL_ERROR, 125 }, { KVM_END_NONE, LKVM_STATUS_ERROR, 125 },
		{ KVM_END_QUIT, 0, 125 }, { KVM_END_SIGNAL, 130, 130 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		ck_assert_msg(run_bisect_status(ends[i].end, ends[i].status) == ends[i].said, "%s with %d",
			      kvm_end_name(ends[i].end), ends[i].status);
	ck_assert_int_eq(lkvm("run --bisect -k /no/such/kernel"), 125);
	ck_assert_int_eq(lkvm("run --bisect --no-such-option"), 125);
	ck_assert_int_eq(lkvm("run --no-such-option -- git bisect --bisect"), LKVM_STATUS_USAGE);
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
	tcase_add_test(tcase, a_control_directory_that_is_none_is_named);
	tcase_add_test(tcase, wrong_command_lines_of_run_are_refused_before_anything_is_made);
	tcase_add_test(tcase, a_missing_kernel_is_said_in_the_words_that_runners_look_for);
	tcase_add_test(tcase, list_init_prints_the_order);
	tcase_add_test(tcase, commands_without_a_vm_fail_clearly);
	tcase_add_test(tcase, the_man_page_section_has_every_command);
	tcase_add_test(tcase, help_shows_what_is_used_most_and_help_all_the_rest);
	tcase_add_test(tcase, shells_complete_from_the_tables);
	tcase_add_test(tcase, git_bisect_hears_what_the_kernel_did);
}
SUITE_MAIN("command", add_tests)
