/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `lkvm run -- COMMAND`, on the host's side: guest/init runs the command, and talks with us over ports, whose
 * language stands in guest/init/init.h.
 *
 * The host's files come by 9p, read-only, and the guest puts a layer over them that goes with it. The kernel's console
 * is kept for when something goes wrong. The VM ends when the command has, and its exit status is ours.
 */
#include "kvm/guest-command.h"

#include <stdio.h>
#include <string.h>

#include "guest/console-log.h"
#include "guest/outlet.h"
#include "guest/plan.h"
#include "kvm/boot.h"
#include "kvm/guest-life.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/port.h"
#include "kvm/terminal.h"
#include "kvm/tty.h"

#define LINE_MAX_	1024	/* that the guest may say */
#define KERNEL_PARAMS	"panic=-1"
/* The host's disks aren't there, and nobody looks at a desktop. */
#define KERNEL_PARAMS_SYSTEMD " fstab=no systemd.gpt_auto=no systemd.firstboot=off systemd.unit=multi-user.target"

struct sink {
	struct guest_command *command;
	const char *name;
	struct port *port;
	struct outlet outlet;
	uint64_t expected;		/* bytes that it will have got when the command is over */
};

struct guest_command {
	struct kvm *kvm;
	struct guest_plan plan;
	char params[128];
	struct boot_given given;
	struct terminal_fds console;
	struct console_log *log;

	struct port *control, *input_port;	/* input: stdin, or with tty the terminal, both ways */
	struct terminal *input;
	struct sink output, error;

	char line[LINE_MAX_];
	size_t line_length;
	char pending[512];		/* for the guest's ear, until the port has room */
	size_t pending_length;
	uint64_t sent;			/* bytes of standard input */
	bool ended_input, started, over;
	int status;
};

static const char command_key;

/* ---- what we say ---- */

static void control_push(struct guest_command *command)
{
	size_t n = port_write(command->control, command->pending, command->pending_length);

	command->pending_length -= n;
	memmove(command->pending, command->pending + n, command->pending_length);
}

/* A line that finds no room is one of many that say the same. */
static void control_say(struct guest_command *command, const char *format, ...) printf_like(2, 3);
static void control_say(struct guest_command *command, const char *format, ...)
{
	size_t room = sizeof(command->pending) - command->pending_length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(command->pending + command->pending_length, room, format, arguments);
	va_end(arguments);
	if (n > 0 && (size_t)n < room)
		command->pending_length += (size_t)n;
	control_push(command);
}

static void control_opened(struct port *port, void *opaque)
{
	struct guest_command *command = opaque;

	(void)port;
	guest_life_mark(command->kvm, KVM_MARK_INIT);
	control_push(command);
}

static void control_ready(struct port *port, void *opaque)
{
	(void)port;
	control_push(opaque);
}

/* ---- the end ---- */

static void maybe_over(struct guest_command *command)
{
	if (!command->over || command->output.outlet.taken < command->output.expected ||
	    command->error.outlet.taken < command->error.expected)
		return;
	atomic_store(&command->kvm->command_status, command->status);
	kvm_end_request(command->kvm, KVM_END_COMMAND);
}

/* @numbers: "N OUT ERR" */
static void command_over(struct guest_command *command, const char *numbers, int base)
{
	char *end;

	if (command->over)
		return;
	command->over = true;
	command->status = (base + (int)strtoul(numbers, &end, 10)) & 0xff;
	command->output.expected = strtoull(end, &end, 10);
	command->error.expected = strtoull(end, &end, 10);
	maybe_over(command);
}

/* ---- what the guest says ---- */

static void printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void obey(struct guest_command *command, char *line)
{
	if (strcmp(line, "started") == 0) {
		command->started = true;
		guest_life_mark(command->kvm, KVM_MARK_COMMAND);
		guest_life_booted(command->kvm);
	} else if (strncmp(line, "exit ", 5) == 0) {
		command_over(command, line + 5, 0);
	} else if (strncmp(line, "signal ", 7) == 0) {
		command_over(command, line + 7, 128);
	} else if (strncmp(line, "error ", 6) == 0) {
		printable(line + 6);
		log_error(EIO, "in the guest: %s", line + 6);
		kvm_end_request(command->kvm, KVM_END_SETUP);
	}
}

static size_t control_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct guest_command *command = opaque;
	const char *bytes = data;

	(void)port;
	guest_life_sign(command->kvm);
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != '\n') {
			if (command->line_length < sizeof(command->line) - 1)
				command->line[command->line_length++] = bytes[i];
			continue;
		}
		command->line[command->line_length] = '\0';
		command->line_length = 0;
		obey(command, command->line);
	}
	return length;
}

static const struct port_ops control_ops = {
	.opened = control_opened, .receive = control_receive, .writable = control_ready,
};

/* ---- input ---- */

static void input_push(void *opaque)
{
	struct guest_command *command = opaque;
	char bytes[4096];
	size_t room, n;

	while ((room = MIN(port_room(command->input_port), sizeof(bytes))) && (n = terminal_read(command->input, bytes, room)))
		command->sent += port_write(command->input_port, bytes, n);
	if (!command->ended_input && !command->plan.tty && terminal_at_end(command->input)) {
		command->ended_input = true;
		control_say(command, "eof %llu\n", (unsigned long long)command->sent);
	}
}

static void input_ready(struct port *port, void *opaque)
{
	(void)port;
	input_push(opaque);
}

static void input_resized(void *opaque)
{
	struct guest_command *command = opaque;
	uint16_t columns, rows;

	if (terminal_size(command->input, &columns, &rows))
		control_say(command, "size %u %u\n", rows, columns);
}

/* ---- output ---- */

static size_t sink_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct sink *sink = opaque;
	size_t n = outlet_write(&sink->outlet, data, length);

	(void)port;
	guest_life_sign(sink->command->kvm);
	maybe_over(sink->command);
	return n;
}

static void sink_ready(struct outlet *outlet)
{
	port_resume(container_of(outlet, struct sink, outlet)->port);
}

static void sink_gone(struct outlet *outlet)
{
	struct sink *sink = container_of(outlet, struct sink, outlet);

	control_say(sink->command, "closed %s\n", sink->name);
}

static const struct port_ops sink_ops = { .receive = sink_receive };
static const struct port_ops input_ops = { .opened = input_ready, .writable = input_ready };

/* The terminal's port goes both ways. */
static size_t tty_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	return sink_receive(port, &((struct guest_command *)opaque)->output, data, length);
}

static const struct port_ops tty_ops = { .opened = input_ready, .writable = input_ready, .receive = tty_receive };

/* ---- with the VM ---- */

static int sink_open(struct guest_command *command, struct sink *sink, const char *name, const char *port, int fd)
{
	int result;

	sink->command = command;
	sink->name = name;
	sink->outlet.ready = sink_ready;
	sink->outlet.gone = sink_gone;
	result = outlet_open(&sink->outlet, command->kvm->loop, fd);
	if (result)
		return log_errno(result, "the command's %s", name);
	return port ? port_create(command->kvm, port, &sink_ops, sink, &sink->port) : 0;
}

static int open_ports(struct guest_command *command)
{
	struct kvm *kvm = command->kvm;
	int result = port_create(kvm, "lkvm.control", &control_ops, command, &command->control);

	if (!result)
		result = port_create(kvm, command->plan.tty ? "lkvm.tty" : "lkvm.stdin", command->plan.tty ? &tty_ops : &input_ops, command,
				     &command->input_port);
	if (!result)
		result = sink_open(command, &command->output, "stdout", command->plan.tty ? NULL : "lkvm.stdout", STDOUT_FILENO);
	if (!result && command->plan.tty)
		command->output.port = command->input_port;
	if (!result && command->plan.stderr_apart)
		result = sink_open(command, &command->error, "stderr", "lkvm.stderr", STDERR_FILENO);
	/* With a terminal it is terminal 0 to the user: raw, and with the escape keys. */
	if (!result)
		result = terminal_open(kvm, command->plan.tty ? 0 : 1, STDIN_FILENO, command->plan.tty ? STDOUT_FILENO : -1, &command->input);
	if (result)
		return result;
	terminal_set_reader(command->input, input_push, command);
	if (command->plan.tty) {
		tty_raw_output(STDIN_FILENO);
		terminal_set_resize(command->input, input_resized, command);
		/* It may have changed since the setup was written. */
		input_resized(command);
	}
	port_open(command->control);
	port_open(command->input_port);
	if (command->output.port != command->input_port)
		port_open(command->output.port);
	if (command->error.port)
		port_open(command->error.port);
	return 0;
}

static void close_ports(struct guest_command *command)
{
	terminal_close(command->input);
	command->input = NULL;
	if (command->output.port != command->input_port)
		port_destroy(command->output.port);
	port_destroy(command->error.port);
	port_destroy(command->input_port);
	port_destroy(command->control);
	command->control = command->input_port = command->output.port = command->error.port = NULL;
	if (command->output.command)
		outlet_close(&command->output.outlet);
	if (command->error.command)
		outlet_close(&command->error.outlet);
}

static int command_init(struct kvm *kvm)
{
	struct guest_command *command = kvm_get_state(kvm, &command_key);
	int result;

	if (!command || command->plan.login)
		return INIT_SKIP;
	result = open_ports(command);
	if (result)
		close_ports(command);
	return result;
}
dev_init(command_init);

static void command_exit(struct kvm *kvm)
{
	close_ports(kvm_get_state(kvm, &command_key));
}
dev_exit(command_exit);

/* The kernel's console is kept, unless it is the user's. */
static int take_console(struct guest_command *command)
{
	bool verbose = config_flag(command->kvm->config, "verbose");
	int result;

	if (command->plan.login)
		return 0;
	result = console_log_open(&command->log, command->kvm->loop, verbose, &command->console.out);
	command->console.in = -1;
	return result ? result : terminal_redirect(command->kvm, &command->console);
}

int guest_command_attach(struct guest_command *command, struct kvm *kvm)
{
	bool loud = command->plan.login || config_flag(kvm->config, "verbose");
	int result;

	command->kvm = kvm;
	result = take_console(command);
	if (result)
		return log_errno(result, "--: the console");
	snprintf(command->params, sizeof(command->params), "%s%s%s", loud ? "" : "quiet ", KERNEL_PARAMS,
		 command->plan.systemd ? KERNEL_PARAMS_SYSTEMD : "");
	command->given.fd = command->plan.initrd;
	command->given.params = command->params;
	result = kvm_set_state(kvm, &command_key, command);
	if (!result)
		result = boot_give_initrd(kvm, &command->given);
	return result ? log_errno(result, "--") : 0;
}

const char *guest_command_root(const struct kvm *kvm)
{
	const struct guest_command *command = kvm_get_state(kvm, &command_key);

	return command ? command->plan.root : NULL;
}

int guest_command_status(struct guest_command *command, int status)
{
	enum kvm_end end = atomic_load(&command->kvm->end);

	if (command->plan.login || end == KVM_END_COMMAND || end == KVM_END_SETUP)
		return status;
	console_log_print(command->log);
	if (status)
		return status;
	log_error(EIO, "--: the machine turned itself off before the command %s", command->started ? "ended" : "was started");
	return LKVM_STATUS_ERROR;
}

void guest_command_free(struct guest_command *command)
{
	if (!command)
		return;
	console_log_close(command->log);
	guest_plan_free(&command->plan);
	free(command);
}

int guest_command_prepare(struct guest_command **out, struct config *config, char **words)
{
	struct guest_command *command = calloc(1, sizeof(*command));
	int result;

	if (!command)
		return log_errno(ENOMEM, "--");
	command->output.outlet.stream.fd = command->error.outlet.stream.fd = -1;
	result = guest_plan_make(&command->plan, config, words);
	if (result) {
		guest_command_free(command);
		return result;
	}
	*out = command;
	return 0;
}
