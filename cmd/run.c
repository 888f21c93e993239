/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm run: makes a VM of the command line, runs it to its end, and turns the end into an exit status.
 *
 * Most options of `lkvm run` belong to the devices and lie in their files; here are those of the VM as a
 * whole. This file is on the way to the first KVM_RUN: nothing here may read directories, look up users or
 * load a locale.
 */
#include <fcntl.h>
#include <jansson.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>

#include "guest/plan.h"
#include "kvm/arch.h"
#include "kvm/boot.h"
#include "kvm/command.h"
#include "kvm/guest-command.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/snapshot.h"
#include "kvm/terminal.h"
#include "kvm/topology.h"
#include "run.h"

#define NAME_LENGTH_MAX		64
#define MEM_MIN			MIB(1)
#define MEM_DEFAULT_MIN		MIB(512)

static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };
static const char *const reboot_choices[] = { "exit", "restart", NULL };

static const struct option_def basic_options[] = {
	{ .name = "name", .type = OPTION_STRING, .argument = "NAME",
	  .help = "Name of the VM, by which the other commands find it (default: guest-PID)" },
	{ .name = "cpus", .letter = 'c', .type = OPTION_UINT,
	  .argument = "N[,max=N][,sockets=N][,dies=N][,clusters=N][,cores=N][,threads=N]", .min = 1, .max = VCPUS_MAX, .takes_settings = true,
	  .help = "Number of vCPUs, how many there may be later, and what they are to the guest (default: cores, as many as the host's CPUs that lkvm may use)" },
	{ .name = "mem", .letter = 'm', .type = OPTION_SIZE,
	  .argument = "SIZE[@ADDRESS][,prealloc][,hugepages=2M|1G][,thp=off][,ksm=on][,max=SIZE]", .takes_settings = true, .min = MEM_MIN, .unit = MIB(1), .takes_address = true,
	  .help = "Guest memory: 512M, 4G; a bare number is in MiB; on arm64, ADDRESS is where it begins "
		  "(default: 64M per vCPU and 192M, at least 512M, at most 80 % of the host's)" },
	{ .name = "nodefaults", .type = OPTION_FLAG,
	  .help = "Only what is asked for: no default kernel parameters and no default devices" },
	{ .name = "loglevel", .type = OPTION_CHOICE, .argument = "LEVEL", .choices = log_levels,
	  .help = "Least urgent messages to print (default: warning, and a line when the VM starts)" },
	{ .name = "dev", .type = OPTION_STRING, .argument = "FILE", .fallback = "/dev/kvm",
	  .help = "KVM's device file" },
	{ .name = "hugetlbfs", .type = OPTION_STRING, .argument = "DIR", .optional_argument = true,
	  .help = "Guest memory in huge pages, of 2 MiB, or those of the pool mounted at DIR" },
	{ .name = "on-reboot", .type = OPTION_CHOICE, .argument = "ACTION",
	  .choices = reboot_choices,
	  .fallback = "exit", .help = "What a guest's reboot does" },
};
RUN_OPTIONS(basic_options_group, "Basic options", basic_options);

static const struct option_def debug_options[] = {
	{ .name = "debug", .type = OPTION_FLAG, .same_as = "loglevel=debug",
	  .help = "Print debug messages, as --loglevel debug" },
	{ .name = "debug-single-step", .type = OPTION_FLAG,
	  .help = "Step through the guest, printing each state" },
	{ .name = "debug-ioport", .type = OPTION_FLAG,
	  .help = "Print accesses to I/O ports that nobody has" },
	{ .name = "debug-mmio", .type = OPTION_FLAG,
	  .help = "Print accesses to addresses that nobody has" },
	{ .name = "debug-iodelay", .type = OPTION_UINT, .argument = "MS", .max = 10000,
	  .help = "Delay every I/O port access by MS milliseconds" },
	{ .name = "trace-init", .type = OPTION_FLAG,
	  .help = "Print each init callback with its level and microseconds" },
	{ .name = "list-init", .type = OPTION_FLAG,
	  .help = "Print the order of the init callbacks, and exit" },
};
RUN_OPTIONS(debug_options_group, "Debug options", debug_options);

/* Signals that end the VM in an orderly way, read from a signalfd on the main loop. */
struct run_signals {
	struct event_source source;
	struct kvm *kvm;
};

/* ---- options ---- */

static bool lies_on_hugetlbfs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

/* @argc: those in front of a `--` */
static int take_operands(struct config *config, int argc, char **argv)
{
	/*
	 * kvmtool's --hugetlbfs takes the next word; ours needs the =, but no kernel lies on hugetlbfs, and with
	 * one named already a mistyped folder shall be called that
	 */
	if (argc && config_given(config, "hugetlbfs") && !config_string(config, "hugetlbfs") &&
	    (config_given(config, "kernel") || lies_on_hugetlbfs(argv[0]))) {
		if (config_set(config, "hugetlbfs", argv[0]) < 0)
			return -EUSAGE;
		argc--;
		argv++;
	}
	/* --gdb with its address as the next word: no kernel is called so */
	if (argc && config_given(config, "gdb") && !config_string(config, "gdb") &&
	    (strncmp(argv[0], "tcp:", 4) == 0 || strncmp(argv[0], "unix:", 5) == 0)) {
		if (config_set(config, "gdb", argv[0]) < 0)
			return -EUSAGE;
		argc--;
		argv++;
	}
	if (!argc)
		return 0;
	if (argc > 1)
		return log_error(EUSAGE, "%s: one kernel is enough (options start with --)",
				 argv[1]);
	/* a file's kernel gives way */
	if (config_source(config, "kernel") == CONFIG_COMMAND_LINE)
		return log_error(EUSAGE, "%s: the kernel was named by --kernel already", argv[0]);
	return config_set(config, "kernel", argv[0]) < 0 ? -EUSAGE : 0;
}

/* What is a file's name, prints as one word, and can be said in JSON. */
static bool is_name(const char *name)
{
	json_t *text = json_string(name);
	bool good = text && *name && *name != '.' && strlen(name) <= NAME_LENGTH_MAX;

	json_decref(text);
	for (; *name; name++)
		good = good && (unsigned char)*name > ' ' && *name != 0x7f && *name != '/';
	return good;
}

static int check_name(const char *name)
{
	if (!name)
		return 0;
	if (!is_name(name))
		return log_error(EUSAGE, "option --name: '%s' won't do (1 to %d bytes of printable UTF-8, no blanks, "
				 "no '/', no '.' in front)", name, NAME_LENGTH_MAX);
	return 0;
}

/* Said before anything of the host is touched, in the words that kvm-unit-tests' runner waits for. */
static int check_kernel(struct config *config)
{
	const char *kernel = config_string(config, "kernel");
	_cleanup_free_ char *found = NULL;
	struct stat status;
	int error;

	if (!kernel || (access(kernel, R_OK) == 0 && stat(kernel, &status) == 0 && !S_ISDIR(status.st_mode)))
		return 0;
	error = errno;
	found = boot_find_kernel_named(kernel);
	if (found)
		return config_set(config, "kernel", found);
	if (access(kernel, R_OK) == 0)
		return log_error(ENOENT, "kernel '%s': no kernel in that folder (looked for %s, arch/*/boot/%s and boot/vmlinuz-*)",
				 kernel, arch_kernel_names[0], arch_kernel_names[0]);
	return log_errno(error, "Fatal: Unable to open kernel %s", kernel);
}

static int set_number(struct config *config, const char *name, uint64_t value, const char *suffix)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, suffix);
	return config_set(config, name, text);
}

/* What sysconf() would count in /sys, in one system call, and true to taskset and cpusets. */
static unsigned int usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return (unsigned int)MAX(get_nprocs(), 1);
	return (unsigned int)CPU_COUNT(&set);
}

static int set_defaults(struct config *config)
{
	int r = 0;

	if (!config_given(config, "cpus"))
		r = set_number(config, "cpus", usable_cpus(), "");
	if (r == 0 && !config_given(config, "mem")) {
		uint64_t size = MAX(MIB(64) * (config_uint(config, "cpus") + 3), MEM_DEFAULT_MIN);
		struct sysinfo info;

		if (sysinfo(&info) == 0)
			size = MIN(size, (uint64_t)info.totalram * info.mem_unit / 10 * 8);
		r = set_number(config, "mem", MAX(size / MIB(1), 1u), "M");
	}
	return r;
}

static void set_loglevel(const struct config *config)
{
	const char *text = config_string(config, "loglevel");

	for (size_t level = 0; text && log_levels[level]; level++)
		if (strcmp(text, log_levels[level]) == 0)
			log_set_level((enum log_level)level);
}

/* kvmtool's first and last line; a caller that wants quiet says --loglevel warning, as it does to kvmtool. */
static bool wants_session_lines(const struct kvm *kvm)
{
	if (guest_command_root(kvm))
		return false;
	return !config_given(kvm->config, "loglevel") || log_get_level() >= LOG_LEVEL_INFO;
}

/* Not by dprintf(), which asks what standard error is, and where in it, each time. */
static void printf_like(1, 2) print_line(const char *format, ...)
{
	_cleanup_free_ char *line = NULL;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&line, format, arguments);
	va_end(arguments);
	/* It is for people: that nobody can read it ends nothing. */
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		errno = 0;
}

static void print_start(const struct kvm *kvm)
{
	const struct boot *boot = boot_get(kvm);
	const char *kernel = boot ? boot->kernel.path : NULL;

	if (wants_session_lines(kvm))
		print_line("  Info: # lkvm run %s%s%s-m %llu -c %u --name %s\n",
			   kernel ? "-k " : "", kernel ? kernel : "", kernel ? " " : "",
			   (unsigned long long)(kvm_boot_ram(kvm) / MIB(1)), kvm->cpu_count, kvm->name);
}

/* ---- signals ---- */

/* What the caller ignores stays ignored: nohup, and a script's background job. A blocked signal comes all the same. */
static bool signal_is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void signals_ready(struct event_source *source, uint32_t events)
{
	struct run_signals *signals = container_of(source, struct run_signals, source);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info) || signal_is_ignored((int)info.ssi_signo))
		return;
	if (atomic_load(&signals->kvm->end_signal)) {
		/* asked twice: something hangs, so leave at once, but leave the terminal usable */
		terminal_restore_all();
		_exit(128 + (int)info.ssi_signo);
	}
	atomic_store(&signals->kvm->end_signal, (int)info.ssi_signo);
	kvm_end_request(signals->kvm, KVM_END_SIGNAL);
}

/* A bug's own signal: put the terminal back, then die of it as if this handler had never been. */
static void fatal_signal(int number)
{
	terminal_restore_all();
	raise(number);
}

static void catch_fatal_signals(void)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE };
	const struct sigaction ours = { .sa_handler = fatal_signal,
					.sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };
	struct sigaction old;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (sigaction(numbers[i], &ours, &old) < 0)
			continue;
		/* a sanitizer was there first and has more to tell */
		if ((old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
			(void)!sigaction(numbers[i], &old, NULL);
	}
}

/* All that end a process from outside. */
static void watched_signals(sigset_t *set)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGPWR };

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(set, numbers[i]);
}

/* Before any thread is made: they all inherit the mask, so only the signalfd sees these. */
static int signals_init(struct run_signals *signals, struct kvm *kvm)
{
	sigset_t set;
	int fd, r;

	signals->kvm = kvm;
	/* A reader that left, a file at its limit (ulimit -f): errors of write(2), which a guest must not end us by. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	catch_fatal_signals();
	watched_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return log_errno(errno, "signals: can't watch them");
	r = event_add(kvm->loop, &signals->source, fd, EPOLLIN, signals_ready);
	if (r < 0)
		close(fd);
	return r;
}

static void signals_exit(struct run_signals *signals)
{
	int fd = signals->source.fd;

	event_del(&signals->source);
	close(fd);
}

/* ---- the VM's life ---- */

static int error_status(int error)
{
	return error == -EUSAGE ? LKVM_STATUS_USAGE : LKVM_STATUS_ERROR;
}

static int end_status(const struct kvm *kvm)
{
	enum kvm_end end = atomic_load(&kvm->end);

	if (end == KVM_END_SIGNAL)
		return kvm_end_status(kvm);
	if (end == KVM_END_POWEROFF || end == KVM_END_REBOOT || end == KVM_END_QUIT || end == KVM_END_COMMAND ||
	    end == KVM_END_SETUP) {
		if (wants_session_lines(kvm))
			print_line("  Info: # KVM session ended normally.\n");
	} else {
		log_warn("%s ended: %s", kvm->name, kvm_end_name(end));
	}
	return kvm_end_status(kvm);
}

int run_vm(struct kvm *kvm)
{
	const struct init_options options = { .trace = config_flag(kvm->config, "trace-init") };
	struct run_signals signals;
	int r = signals_init(&signals, kvm);
	int status;

	if (r < 0)
		return error_status(r);
	r = kvm_init(kvm, &options);
	if (r < 0) {
		status = error_status(r);
		goto out;
	}
	print_start(kvm);
	r = kvm_run(kvm);
	status = r < 0 && atomic_load(&kvm->end) == KVM_END_NONE ? error_status(r) : -1;
	kvm_exit(kvm);
	terminal_restore_all();
	if (status < 0)
		status = end_status(kvm);
out:
	signals_exit(&signals);
	return status;
}

static void list_init(const struct init_item *item, void *opaque)
{
	(void)opaque;
	dprintf(STDOUT_FILENO, "%-10s %-28s %s\n", init_level_name(item->level), item->name,
		item->file);
}

#ifdef __SANITIZE_ADDRESS__
#define LEAKS_ARE_LOOKED_FOR true
#else
#define LEAKS_ARE_LOOKED_FOR false
#endif

/* @words: the command that stands behind `--`; NULL: there was none, and the VM is its own man, or its init's */
static int run_with(struct config *config, char **words, struct restore *restore, struct incoming *incoming)
{
	bool ours = words || (!restore && !incoming && (config_flag(config, "systemd") || config_given(config, "sandbox")));
	struct guest_command *command = NULL;
	struct kvm *kvm;
	uint64_t started_ns = event_now_ns();
	_cleanup_close_ int report_fd = -1;
	int result, status;

	result = run_report_open(config, &report_fd);
	if (!result && ours)
		result = guest_command_prepare(&command, config, words);
	if (result < 0)
		return error_status(result);
	if (set_defaults(config) < 0 || kvm_create(&kvm, config) < 0) {
		guest_command_free(command);
		return LKVM_STATUS_ERROR;
	}
	kvm->run_forks = run_forks;
	kvm->process_ends = !LEAKS_ARE_LOOKED_FOR;
	result = command ? guest_command_attach(command, kvm) : restore ? restore_attach(restore, kvm) :
		 incoming ? incoming_attach(incoming, kvm) : 0;
	status = result < 0 ? error_status(result) : run_vm(kvm);
	if (command && !result && atomic_load(&kvm->end) != KVM_END_NONE)
		status = guest_command_status(command, status);
	if (report_fd >= 0)
		run_report(kvm, status, report_fd, started_ns);
	status = run_judge(kvm, status);
	guest_command_free(command);
	if (!kvm->process_ends)
		kvm_free(kvm);
	return status;
}

static int run_restored(struct config *config, char **words)
{
	struct restore *restore = NULL;
	int result, status;

	if (words) {
		log_error(EUSAGE, "option --restore: its guest runs already, and can't be given a command");
		return LKVM_STATUS_USAGE;
	}
	result = restore_prepare(&restore, config);
	status = result < 0 ? error_status(result) : run_with(config, NULL, restore, NULL);
	restore_free(restore);
	return status;
}

static int run_incoming(struct config *config, char **words)
{
	struct incoming *incoming = NULL;
	int result, status;

	if (words || config_given(config, "restore")) {
		log_error(EUSAGE, "option --incoming: its guest runs already, and can't be given %s", words ? "a command" : "a snapshot's state");
		return LKVM_STATUS_USAGE;
	}
	result = incoming_prepare(&incoming, config);
	status = result < 0 ? error_status(result) : run_with(config, NULL, NULL, incoming);
	incoming_free(incoming);
	return status;
}

/* kvmtool's -d NAME, a root that `lkvm setup` made: the guest may write to it, and is in a shell there if no command is named */
static int take_named_root(struct config *config, char ***words, char **none)
{
	for (size_t i = 0; i < config_count(config, "disk"); i++) {
		const char *name = config_item(config, "disk", i);
		int result;

		if (!guest_root_named(name))
			continue;
		if (config_given(config, "root"))
			return log_error(EUSAGE, "option --disk: '%s' is a root, and one is enough (--root said another)", name);
		result = config_set(config, "root", name);
		if (!result)
			result = config_set(config, "root-rw", "true");
		config_drop_item(config, "disk", i);
		if (!*words && !config_given(config, "sandbox") && !config_flag(config, "systemd"))
			*words = none;
		return result;
	}
	return 0;
}

int run_machine(struct config *config, int operands, char **argv, char **words)
{
	char *none[] = { NULL };

	if (take_operands(config, operands, argv) < 0 || check_name(config_string(config, "name")) < 0 ||
	    take_named_root(config, &words, none) < 0)
		return LKVM_STATUS_USAGE;
	if (config_given(config, "incoming"))
		return run_incoming(config, words);
	if (config_given(config, "restore"))
		return run_restored(config, words);
	if (check_kernel(config) < 0)
		return LKVM_STATUS_ERROR;
	return run_with(config, words, NULL, NULL);
}

static int run_run(struct config *config, int argc, char **argv)
{
	size_t operands = MIN(config_split(config), (size_t)argc);
	int status;

	set_loglevel(config);
	if (config_flag(config, "list-init"))
		return init_for_each(list_init, NULL);
	if (arch_answers(config))
		return 0;
	status = run_daemonize(config);
	if (status >= 0)
		return status;
	return run_machine(config, (int)operands, argv, config_split(config) == SIZE_MAX ? NULL : argv + operands);
}

/* Files first, so that run_run() sees one set of options, whoever said them. */
static int run_main(struct config *config, int argc, char **argv)
{
	size_t operands = MIN(config_split(config), (size_t)argc);

	if (run_config_files(config) < 0)
		return run_judged(config, LKVM_STATUS_USAGE);
	if (!config_flag(config, "print-config"))
		return run_judged(config, run_run(config, argc, argv));
	return take_operands(config, (int)operands, argv) < 0 ? LKVM_STATUS_USAGE : run_print_config(config);
}

/* What --help shows: the options that people use first. */
static const char *const often[] = {
	"kernel", "initrd", "params", "disk", "mem", "cpus", "network", "name", "rw", "gdb", NULL,
};

static struct command run_command = {
	.name = "run",
	.operands = "[KERNEL] [-- COMMAND...]",
	.help = "Boot a kernel in a new VM, or run a command on it",
	.groups = run_options,
	.often = often,
	.run = run_main,
};
COMMAND(run_command);
