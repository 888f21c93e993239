/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What users, clients and guests say in text, under fuzz: options, files of VMs, kernels' .config, QMP, gdb's packets, and
 * what a guest prints.
 */
#include "tests/fuzz/fuzz.h"

#include "control/control-internal.h"
#include "control/gdb-internal.h"
#include "kvm/config-file.h"
#include "kvm/console-watch.h"
#include "kvm/disk.h"
#include "kvm/kernel-config.h"
#include "kvm/share.h"
#include "tests/unit/board.h"
#include "tests/unit/guest-ring.h"

/* ---- options ---- */

#define WORDS_MAX	16

static void no_option(const struct option_def *def, const char *text, void *opaque)
{
	(void)opaque;
	FUZZ_CHECK(def->name && text);
}

/* The lines are the words of a command line. */
static void options_words(char *text)
{
	char *words[WORDS_MAX], *line;
	struct config *config;
	int count = 0, rest;

	while (count < WORDS_MAX && (line = strsep(&text, "\n")))
		words[count++] = line;
	if (config_parse(&config, run_options(), count, words, &rest))
		return;
	FUZZ_CHECK(rest >= 0 && rest <= count);
	config_each_given(config, no_option, NULL);
	config_free(config);
}

static void options_disk(char *text)
{
	struct disk_options options;

	if (!disk_options_parse(&options, text))
		disk_options_free(&options);
}

static void options_share(char *text)
{
	struct share_options options;

	if (!share_options_parse(&options, "9p", text, NULL))
		share_options_free(&options);
}

static void options_keyval(char *text)
{
	struct keyval keyval;
	bool value = false;

	if (keyval_parse(&keyval, "fuzz", text, true))
		return;
	FUZZ_CHECK(keyval.first);
	(void)keyval_get(&keyval, "key");
	(void)!keyval_bool(&keyval, "fuzz", "flag", &value);
	(void)!keyval_done(&keyval, "fuzz", "key, flag");
	keyval_free(&keyval);
}

static void options_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	static void (*const parsers[])(char *text) = { options_words, options_disk, options_share, options_keyval };
	struct fuzz_input input = { data, length };
	unsigned int which = fuzz_u8(&input) % ARRAY_SIZE(parsers);
	char *text = fuzz_text(&input);

	(void)target;
	parsers[which](text);
	free(text);
}
FUZZ_TARGET(options, .name = "options", .one = options_one);

/* ---- files ---- */

static void config_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	const char *path = fuzz_write_file("config", data, length);
	struct config_file_names names = { .names = NULL };
	struct config *config;
	int result;

	(void)target;
	FUZZ_CHECK(!config_new(&config, run_options()));
	result = config_file_read(config, CONFIG_FILE, path);
	if (!result)
		config_each_given(config, no_option, NULL);
	config_free(config);
	result = config_file_names(&names, path);
	for (size_t i = 0; i < names.count && !result; i++)
		FUZZ_CHECK(*names.names[i]);
	config_file_names_free(&names);
}
FUZZ_TARGET(config, .name = "config", .one = config_one);

static void kernel_config_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	const char *path = fuzz_write_file("kernel.config", data, length);
	struct kernel_config config;

	(void)target;
	if (!kernel_config_read(&config, path) && !kernel_config_merge(&config, config.arch ? config.arch : KERNEL_X86, path)) {
		struct kernel_config merged;

		/* nothing is missing from what was completed */
		FUZZ_CHECK(!kernel_config_read(&merged, path));
		kernel_config_free(&merged);
	}
	kernel_config_free(&config);
}
FUZZ_TARGET(kernel_config, .name = "kernel-config", .one = kernel_config_one);

/* ---- clients ---- */

static int refuse_to_fork(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)result;
	*error = NULL;
	return -EPERM;
}

/* A fuzzer that makes processes is one too many. */
static void qmp_begin(const struct fuzz_target *target)
{
	(void)target;
	for (const struct qmp_command *command = qmp_command_first(); command; command = command->next)
		if (!strcmp(command->name, "x-lkvm-fork"))
			((struct qmp_command *)(uintptr_t)command)->run = refuse_to_fork;
}

/* As control/server.c does it: messages out of a stream, an answer to each. */
static void qmp_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct qmp_framer framer = { 0 };
	struct kvm *kvm = board_create();
	struct qmp_session session = { .kvm = kvm };
	struct fuzz_input input = { data, length };
	char *text, *at;
	size_t scanned = 0;

	(void)target;
	board_add(kvm, "snapshot_init");
	board_add(kvm, "fork_init");
	length = MIN(length, (size_t)QMP_MESSAGE_MAX);
	/* in the process's own folder, and in no other: one command writes files */
	FUZZ_CHECK(!chdir(fuzz_folder()));
	text = at = fuzz_text(&input);
	for (size_t i = 0; i < length; i++)
		text[i] = text[i] == '/' ? '_' : text[i];
	while (length && qmp_frame(&framer, at, length, &scanned)) {
		FUZZ_CHECK(scanned && scanned <= length);
		free(qmp_handle(&session, at, scanned));
		at += scanned;
		length -= scanned;
		scanned = 0;
		framer = (struct qmp_framer){ 0 };
		event_loop_poll(kvm->loop, 0);
	}
	free(text);
	board_destroy(kvm);
}
FUZZ_TARGET(qmp, .name = "qmp", .begin = qmp_begin, .one = qmp_one);

/*
 * What gdb asks of a vCPU, in the place of <arch>/gdb-*.c: registers that lie in memory, addresses that are physical ones, and
 * every kind of breakpoint.
 */
int __wrap_arch_gdb_fetch(struct kvm_cpu *cpu, uint8_t file[GDB_FILE_MAX]);
int __wrap_arch_gdb_store(struct kvm_cpu *cpu, const uint8_t file[GDB_FILE_MAX], unsigned int number);
int __wrap_arch_gdb_translate(struct kvm_cpu *cpu, uint64_t address, uint64_t *physical);
void __wrap_arch_gdb_code_changed(struct kvm *kvm, uint64_t physical, size_t length);
unsigned int __wrap_arch_gdb_probe(struct kvm *kvm);
int __wrap_arch_gdb_set_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug);

static uint8_t registers[GDB_FILE_MAX];

int __wrap_arch_gdb_fetch(struct kvm_cpu *cpu, uint8_t file[GDB_FILE_MAX])
{
	(void)cpu;
	memcpy(file, registers, sizeof(registers));
	return 0;
}

int __wrap_arch_gdb_store(struct kvm_cpu *cpu, const uint8_t file[GDB_FILE_MAX], unsigned int number)
{
	(void)cpu;
	(void)number;
	memcpy(registers, file, sizeof(registers));
	return 0;
}

int __wrap_arch_gdb_translate(struct kvm_cpu *cpu, uint64_t address, uint64_t *physical)
{
	(void)cpu;
	*physical = address;
	return address >> 60 ? -EFAULT : 0;
}

void __wrap_arch_gdb_code_changed(struct kvm *kvm, uint64_t physical, size_t length)
{
	(void)kvm;
	(void)physical;
	FUZZ_CHECK(length);
}

unsigned int __wrap_arch_gdb_probe(struct kvm *kvm)
{
	(void)kvm;
	return GDB_CAN_TRAP | GDB_CAN_BREAK | GDB_CAN_WATCH;
}

int __wrap_arch_gdb_set_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	(void)cpu;
	for (size_t i = 0; debug && i < debug->count; i++)
		FUZZ_CHECK(debug->points[i].kind <= GDB_ACCESS);
	return 0;
}

/* As control/gdb-server.c does it, with such a vCPU that never runs. */
static void gdb_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	static char input[GDB_INPUT_MAX + 1], payload[GDB_PACKET_MAX], packet[GDB_ENCODED_MAX];
	struct kvm_cpu cpu = { .fd = -1 }, *cpus[] = { &cpu };
	struct gdb_cpu debugged = { .stop.kind = GDB_STOP_NONE };
	struct kvm *kvm = board_create();
	struct gdb gdb = { .kvm = kvm, .cpus = &debugged, .attached = true, .holding = true, .step_thread = GDB_THREAD_ALL };
	size_t scanned = 0;
	char *at = input;
	struct gdb_frame frame;
	struct guest_ram ram;

	(void)target;
	guest_ram_add(&ram, &kvm->memory);
	cpu.kvm = kvm;
	kvm->cpus = cpus;
	kvm->cpu_count = 1;
	kvm->pause_depth = 1;
	event_work_init(kvm->loop, &gdb.stopped, gdb_stopped_work);
	length = MIN(length, (size_t)GDB_INPUT_MAX);
	memcpy(input, data, length);
	while (length) {
		struct gdb_reply reply = { .data = payload, .size = sizeof(payload) };

		gdb_frame(at, length, &scanned, &frame);
		if (frame.kind == GDB_FRAME_MORE)
			break;
		FUZZ_CHECK(frame.used && frame.used <= length);
		if (frame.kind == GDB_FRAME_PACKET && gdb_packet(&gdb, frame.payload, frame.length, &reply)) {
			FUZZ_CHECK(reply.length <= reply.size);
			FUZZ_CHECK(gdb_encode(reply.data, reply.length, packet) <= sizeof(packet));
		}
		/* the prompt comes back at once */
		gdb.holding = true;
		kvm->pause_depth = 1;
		at += frame.used;
		length -= frame.used;
		scanned = 0;
	}
	gdb_points_clear(&gdb);
	event_work_cancel(&gdb.stopped);
	free(gdb.description);
	kvm->cpus = NULL;
	kvm->cpu_count = 0;
	guest_ram_remove(&ram);
	board_destroy(kvm);
}
FUZZ_TARGET(gdb, .name = "gdb", .one = gdb_one);

/* ---- a guest's console ---- */

static struct kvm *watched;

static void watch_begin(const struct fuzz_target *target)
{
	(void)target;
	watched = board_create();
	FUZZ_CHECK(!config_set(watched->config, "oops", "fail"));
	board_add(watched, "life_init");
}

static void watch_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct console_watch watch = { 0 };
	struct fuzz_input input = { data, length };

	(void)target;
	while (input.left) {
		size_t got;
		const uint8_t *bytes = fuzz_bytes(&input, fuzz_u8(&input), &got);

		console_watch_write(&watch, watched, bytes, got);
	}
	fuzz_settle(watched->loop);
}
FUZZ_TARGET(watch, .name = "watch", .begin = watch_begin, .one = watch_one);
