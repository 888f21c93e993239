/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The QMP commands of the VM as a whole: its state, its vCPUs, stop, cont, quit, reset, power button, NMI;
 * and, under names of our own, what `lkvm list` and `lkvm debug` show. Main thread only.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "control-internal.h"
#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/fork.h"
#include "kvm/kvm-cpu.h"
#include "kvm/migrate.h"
#include "kvm/terminal.h"

/* For commands that differ in what they do only: name, help, function. */
#define SIMPLE_COMMAND(function, name_, help_, returns_)					\
	static struct qmp_command function##_command = {					\
		.name = (name_), .help = (help_), .returns = (returns_), .run = (function) };	\
	QMP_COMMAND(function##_command)

/* QEMU's word, which clients know */
static const char *target_name(void)
{
	return strcmp(arch_name, "arm64") == 0 ? "aarch64" : arch_name;
}

static const char *status_name(const struct kvm *kvm)
{
	if (atomic_load(&kvm->end) != KVM_END_NONE)
		return "shutdown";
	switch (atomic_load(&kvm->state)) {
	case KVM_RUNNING:	return "running";
	case KVM_PAUSED:	return kvm->io_error ? "io-error" : migration_pause_name(kvm);
	case KVM_STOPPED:	break;
	}
	return "prelaunch";
}

static int query_status(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *status = status_name(kvm);

	(void)arguments;
	(void)error;
	*result = json_pack("{s:s,s:b,s:b}", "status", status, "running", strcmp(status, "running") == 0,
			    "singlestep", config_flag(kvm->config, "debug-single-step"));
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(query_status, "query-status", "Whether the guest runs", "any");

/* ---- vCPUs ---- */

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	/* A thread that ends has no name any more. */
	ok = fgets(line, (int)size, file) != NULL;
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	fclose(file);
	return ok;
}

#define THREAD_NAME_MS	100
#define VCPU_THREAD "kvm-vcpu-"

/* vCPU threads carry their number in their name. Their ids are wanted here only, so they are looked up. */
static void find_threads(long *ids, unsigned int count)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *task;
	char path[300], name[32];

	while (tasks && (task = readdir(tasks))) {
		unsigned long index;
		char *end;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
		if (!read_line(path, name, sizeof(name)) || strncmp(name, VCPU_THREAD, strlen(VCPU_THREAD)))
			continue;
		index = strtoul(name + strlen(VCPU_THREAD), &end, 10);
		if (*end == '\0' && index < count)
			ids[index] = strtol(task->d_name, NULL, 10);
	}
	if (tasks)
		closedir(tasks);
}

void cpu_qom_path(unsigned int index, char path[QOM_PATH_SIZE])
{
	snprintf(path, QOM_PATH_SIZE, "/machine/cpu[%u]", index);
}

/* Their threads name themselves, and one that has just begun may not have come to it. */
static void find_named_threads(struct kvm *kvm, long *ids)
{
	bool all = false;

	for (unsigned int tries = 0; tries < THREAD_NAME_MS && !all; tries++) {
		if (tries)
			usleep(1000);
		find_threads(ids, kvm_cpus_possible(kvm));
		all = true;
		for (unsigned int i = 0; i < kvm_cpus_possible(kvm); i++)
			all = all && (ids[i] || !kvm_cpu_is_there(kvm, i));
	}
}

static int query_cpus_fast(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	_cleanup_free_ long *ids = calloc(kvm_cpus_possible(kvm) + 1, sizeof(*ids));

	(void)arguments;
	(void)error;
	if (!ids)
		return -ENOMEM;
	find_named_threads(kvm, ids);
	*result = json_array();
	for (unsigned int i = 0; i < kvm_cpus_possible(kvm); i++) {
		char path[QOM_PATH_SIZE];

		if (!kvm_cpu_is_there(kvm, i))
			continue;
		cpu_qom_path(i, path);
		json_array_append_new(*result, json_pack("{s:i,s:s,s:I,s:s,s:{s:i,s:i,s:i}}",
							 "cpu-index", (int)i, "qom-path", path,
							 "thread-id", (json_int_t)ids[i], "target",
							 target_name(), "props", "socket-id", 0,
							 "core-id", (int)i, "thread-id", 0));
	}
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(query_cpus_fast, "query-cpus-fast", "The vCPUs and their threads", "[any]");

static int query_name(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)error;
	*result = json_pack("{s:s}", "name", control_name(kvm));
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(query_name, "query-name", "The VM's name", "any");

static int query_kvm(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)error;
	*result = json_pack("{s:b,s:b}", "enabled", 1, "present", 1);
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(query_kvm, "query-kvm", "Whether KVM is used: it is", "any");

static int query_target(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)error;
	*result = json_pack("{s:s}", "arch", target_name());
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(query_target, "query-target", "The guest's architecture", "any");

/* QEMU says options by the groups that they have there; of ours there is one group a name, and no more to tell. */
static int query_options(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *wanted = json_string_value(json_object_get(arguments, "option"));

	(void)kvm;
	(void)error;
	*result = json_array();
	for (const struct option_group *group = run_options(); group; group = group->next)
		for (size_t i = 0; i < group->count; i++)
			if (!wanted || !strcmp(wanted, group->options[i].name))
				json_array_append_new(*result, json_pack("{s:s,s:[]}", "option", group->options[i].name, "parameters"));
	return *result ? 0 : -ENOMEM;
}

static const char *const options_arguments[] = { "option?:str", NULL };
static struct qmp_command options_command = {
	.name = "query-command-line-options", .help = "The options of lkvm run", .arguments = options_arguments, .returns = "[any]",
	.run = query_options };
QMP_COMMAND(options_command);

/* ---- the VM's life ---- */

static int stop(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)result;
	(void)error;
	return kvm_user_pause(kvm);
}
SIMPLE_COMMAND(stop, "stop", "Pause the guest", NULL);

static int cont(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *held = migration_holds(kvm);
	int r;

	(void)arguments;
	(void)result;
	if (held)
		return qmp_fail(error, EBUSY, "%s", held);
	r = kvm_user_resume(kvm);
	/* between commands nobody else pauses a VM */
	if (r == 0 && kvm->pause_depth)
		return qmp_fail(error, EBUSY, "The guest stands still in gdb: let it go on there (x-lkvm-query-gdb says where)");
	return r;
}
SIMPLE_COMMAND(cont, "cont", "Let the guest go on", NULL);

static int quit(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)result;
	(void)error;
	kvm_end_request(kvm, KVM_END_QUIT);
	return 0;
}
SIMPLE_COMMAND(quit, "quit", "Cut the power: the VM ends at once", NULL);

static int system_powerdown(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	int r = kvm_power_button(kvm);

	(void)arguments;
	(void)result;
	return r == -EOPNOTSUPP ? qmp_fail(error, EOPNOTSUPP, "This machine has no power button") : r;
}
SIMPLE_COMMAND(system_powerdown, "system_powerdown", "Press the power button", NULL);

static int system_reset(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)result;
	(void)error;
	return kvm_reset(kvm);
}
SIMPLE_COMMAND(system_reset, "system_reset", "Restart the machine in place", NULL);

static int inject_nmi(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *cpu = json_object_get(arguments, "cpu");
	json_int_t index = json_integer_value(cpu);
	int r;

	(void)result;
	if (!arch_has_nmi)
		return qmp_fail(error, EOPNOTSUPP, "This architecture has no NMI");
	if (!cpu) {
		r = kvm_nmi(kvm);
	} else {
		if (!json_is_integer(cpu) || index < 0 || index >= (json_int_t)kvm->cpu_possible || !kvm_cpu_find(kvm, (unsigned int)index))
			return qmp_fail(error, EINVAL, "There is no such vCPU");
		kvm_cpu_request(kvm_cpu_find(kvm, (unsigned int)index), CPU_REQUEST_NMI);
		r = 0;
	}
	return r;
}

static const char *const inject_nmi_arguments[] = { "cpu?:int", NULL };
static struct qmp_command inject_nmi_command = {
	.name = "inject-nmi", .help = "An NMI to every vCPU, or to one", .arguments = inject_nmi_arguments,
	.run = inject_nmi };
QMP_COMMAND(inject_nmi_command);

/* ---- for lkvm's own commands ---- */

static int x_lkvm_info(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	uint64_t uptime = kvm->started_ns ? event_now_ns() - kvm->started_ns : 0;
	json_int_t memory = (json_int_t)kvm_boot_ram(kvm) + (json_int_t)atomic_load(&kvm->ram_plugged);

	(void)arguments;
	(void)error;
	*result = json_pack("{s:i,s:s,s:s,s:i,s:I,s:f,s:s*}", "pid", (int)getpid(), "name",
			    control_name(kvm), "state", status_name(kvm), "vcpus",
			    (int)kvm_cpus_present(kvm), "memory", memory, "uptime",
			    (double)uptime / 1e9, "parent", kvm->origin ? kvm->origin->parent : NULL);
	return *result ? 0 : -ENOMEM;
}
SIMPLE_COMMAND(x_lkvm_info, "x-lkvm-info", "What `lkvm list` shows", "any");

static void dump_state(struct kvm *kvm, bool registers, bool devices, int fd)
{
	for (unsigned int i = 0; registers && i < kvm->cpu_count; i++) {
		dprintf(fd, kvm_cpu_is_off(kvm->cpus[i]) ? "vCPU %u (taken out):\n" : "vCPU %u:\n", kvm->cpus[i]->index);
		arch_cpu_dump(kvm->cpus[i], fd);
	}
	if (devices) {
		struct state_writer writer = { .data = NULL };

		devices_save(kvm, &writer);
		state_print_stream(&writer, fd);
		state_writer_free(&writer);
	}
}

/* The dump is written to a file of memory and sent as one string, cut to what a client is likely to hold. */
static json_t *file_string(int fd)
{
	off_t length = MIN(lseek(fd, 0, SEEK_END), (off_t)MIB(1));
	_cleanup_free_ char *text = malloc((size_t)length + 1);

	if (length < 0 || !text || pread(fd, text, (size_t)length, 0) != length)
		return NULL;
	/* kernel bytes may be shown as text: what isn't ASCII could not be sent as JSON */
	for (off_t i = 0; i < length; i++)
		if ((unsigned char)text[i] >= 0x7f ||
		    (text[i] < ' ' && text[i] != '\n' && text[i] != '\t'))
			text[i] = '?';
	return json_stringn(text, (size_t)length);
}

static int x_lkvm_debug(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *what = json_string_value(json_object_get(arguments, "what"));
	bool registers = !what || strcmp(what, "registers") == 0;
	bool devices = !what || !registers;
	_cleanup_close_ int fd = -1;
	json_t *text;
	int r;

	if (!kvm->started_ns)
		return qmp_fail(error, EAGAIN, "The guest has not started yet");
	fd = memfd_create("lkvm-debug", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = kvm_pause(kvm);
	if (r < 0)
		return r;
	dump_state(kvm, registers, devices, fd);
	kvm_resume(kvm);
	text = file_string(fd);
	if (!text)
		return -ENOMEM;
	*result = json_pack("{s:o}", "text", text);
	return *result ? 0 : -ENOMEM;
}

static const char *const debug_arguments[] = { "what?:registers|devices", NULL };
static struct qmp_command debug_command = {
	.name = "x-lkvm-debug", .help = "Registers and device state as text", .arguments = debug_arguments, .returns = "any",
	.run = x_lkvm_debug };
QMP_COMMAND(debug_command);

static int x_lkvm_sysrq(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *key = json_string_value(json_object_get(arguments, "key"));
	struct terminal *terminal = terminal_get(kvm, 0);

	(void)result;
	if (!key || strlen(key) != 1)
		return qmp_fail(error, EINVAL, "Parameter 'key' has to be one character");
	if (!terminal || terminal_sysrq(terminal, key[0]))
		return qmp_fail(error, EOPNOTSUPP, "The VM's console takes no break (it has to be serial)");
	return 0;
}

static const char *const sysrq_arguments[] = { "key:str", NULL };
static struct qmp_command sysrq_command = {
	.name = "x-lkvm-sysrq", .help = "A SysRq key, by a break on the serial console", .arguments = sysrq_arguments,
	.run = x_lkvm_sysrq };
QMP_COMMAND(sysrq_command);
