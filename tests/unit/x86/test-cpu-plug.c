/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests hw/cpu-plug.c and core/cpus.c on this host's KVM, hardware or software: vCPUs that come and go, what they leave
 * behind, and guests that work their registers well or not at all.
 */
#include "tests/unit/suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "control/control-internal.h"
#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "kvm/plug.h"
#include "state/machine.h"

#define EJECT	3
#define TELL	0x10000U
#define COME	(1U << 16)
#define GO	(3U << 16)

static char folder[40], kernel[64], said[256];
static const uint8_t payload[] = { 0xf4 };	/* hlt */

static struct config *config;
static struct kvm *kvm;

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void vm_make(const char *cpus, struct config **of, struct kvm **made)
{
	const char *const settings[][2] = {
		{ "boot", "flat" }, { "mem", "16M" }, { "nodefaults", "true" }, { "kernel", kernel }, { "cpus", cpus },
		{ "on-reboot", "restart" },
	};
	char name[32];

	ck_assert_int_eq(config_new(of, run_options()), 0);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		ck_assert_int_eq(config_set(*of, settings[i][0], settings[i][1]), 0);
	snprintf(name, sizeof(name), "test-cpus-%d-%d", (int)getpid(), made == &kvm);
	ck_assert_int_eq(config_set(*of, "name", name), 0);
	ck_assert_int_eq(kvm_create(made, *of), 0);
	ck_assert_msg(!kvm_init(*made, NULL), "%s", said);
}

static void turn(void)
{
	while (event_loop_poll(kvm->loop, 0) > 0)
		;
}

/* As kvm_run() does, but that the loop is turned here. */
static void vm_start(void)
{
	for (struct firmware *at = kvm->firmware; at; at = at->next)
		ck_assert_int_eq(at->load(kvm), 0);
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		ck_assert_int_eq(arch_cpu_reset(kvm->cpus[i]), 0);
	kvm->started_ns = event_now_ns();
	atomic_store(&kvm->state, KVM_RUNNING);
	ck_assert_int_eq(kvm_cpus_start(kvm), 0);
}

static void setup(void)
{
	int fd;

	log_set_sink(keep_line);
	strcpy(folder, "/tmp/lkvm-cpus.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	setenv("XDG_RUNTIME_DIR", folder, 1);
	snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
	fd = open(kernel, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, payload, sizeof(payload)), sizeof(payload));
	close(fd);
	vm_make("2,max=5", &config, &kvm);
	vm_start();
}

static void teardown(void)
{
	char path[64];

	kvm_end_request(kvm, KVM_END_QUIT);
	kvm_cpus_stop(kvm);
	kvm_exit(kvm);
	kvm_free(kvm);
	config_free(config);
	unlink(kernel);
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	rmdir(path);
	rmdir(folder);
	log_set_sink(NULL);
}

/* ---- the guest's side ---- */

static uint32_t in(unsigned int offset)
{
	uint64_t value = 0;

	ck_assert(space_io_read(&kvm->ports, ACPI_CPUS_PORT + offset, 4, &value));
	return (uint32_t)value;
}

static uint32_t work(uint32_t cpu, uint32_t what, uint32_t value)
{
	space_io_write(&kvm->ports, ACPI_CPUS_PORT, 4, cpu);
	space_io_write(&kvm->ports, ACPI_CPUS_PORT + 4, 4, what);
	space_io_write(&kvm->ports, ACPI_CPUS_PORT + 8, 4, value);
	return in(8);
}

static bool event(void)
{
	uint64_t value = 0;

	ck_assert(space_io_read(&kvm->ports, ACPI_GPE0_PORT, 2, &value));
	space_io_write(&kvm->ports, ACPI_GPE0_PORT, 2, value);
	return value & (1U << ACPI_GPE_CPUS);
}

/* ---- the host's side ---- */

static struct plug *try_plug(const char *text)
{
	struct plug *plug;

	if (plug_open(kvm, "cpu", text, NULL, &plug))
		return NULL;
	if (!plug_insert(plug, NULL))
		return plug;
	plug_close(plug);
	return NULL;
}

static struct plug *put_in(const char *text)
{
	struct plug *plug = try_plug(text);

	ck_assert_msg(plug != NULL, "%s", said);
	return plug;
}

static void assert_refused(const char *text, const char *because)
{
	ck_assert_ptr_null(try_plug(text));
	ck_assert_msg(strstr(said, because) != NULL, "%s", said);
}

static uint32_t mp_state(unsigned int number)
{
	struct kvm_cpu *cpu = kvm_cpu_find(kvm, number);
	struct kvm_mp_state state = { 99 };

	ck_assert_ptr_nonnull(cpu);
	kvm_cpus_park(kvm);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_MP_STATE, &state), 0);
	kvm_cpus_unpark(kvm);
	return state.mp_state;
}

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---- coming ---- */

START_TEST(one_that_comes_waits_to_be_started)
{
	ck_assert(!event());
	ck_assert_uint_eq(work(3, 0, 0), 0);
	ck_assert_str_eq(put_in("3")->id, "cpu3");

	ck_assert_uint_eq(kvm_cpus_present(kvm), 3);
	ck_assert(kvm_cpu_find(kvm, 3)->started);
	ck_assert_uint_eq(mp_state(3), KVM_MP_STATE_UNINITIALIZED);
	ck_assert_str_eq(config_string(config, "cpus"), "max=5,present=0-1:3");
	ck_assert_uint_eq(config_uint(config, "cpus"), 3);
	ck_assert(event());
	ck_assert_uint_eq(work(3, 0, 0), 0xf);
	ck_assert_uint_eq(in(12), COME | 3);
	ck_assert_uint_eq(in(12), 0);
}
END_TEST

START_TEST(the_first_that_is_not_there_comes_if_none_is_named)
{
	put_in("2");
	ck_assert_uint_eq(put_in("")->port_index, 3);
	ck_assert_uint_eq(put_in("")->port_index, 4);
	assert_refused("", "max=MORE");
	ck_assert_uint_eq(kvm_cpus_present(kvm), 5);
}
END_TEST

START_TEST(what_can_not_come_is_refused_by_name)
{
	struct kvm_debugger debugger = { NULL, NULL };

	assert_refused("0", "1 to 4");
	assert_refused("5", "1 to 4");
	assert_refused("x", "1 to 4");
	assert_refused("1", "already");
	kvm->debugger = &debugger;
	assert_refused("2", "gdb");
	kvm->debugger = NULL;
	kvm->started_ns = 0;
	assert_refused("2", "not started");
	kvm->started_ns = 1;
	ck_assert_uint_eq(kvm->cpu_count, 2);
}
END_TEST

START_TEST(a_vm_of_which_nothing_was_said_has_none_of_it)
{
	struct config *other_config;
	struct plug *plug;
	struct kvm *other;

	vm_make("2", &other_config, &other);
	ck_assert_ptr_null(device_find(other, "cpu-plug"));
	ck_assert_int_lt(plug_open(other, "cpu", "", NULL, &plug), 0);
	ck_assert_msg(strstr(said, "max=MORE") != NULL, "%s", said);
	kvm_exit(other);
	kvm_free(other);
	config_free(other_config);
}
END_TEST

START_TEST(one_that_comes_in_a_pause_waits_for_its_end)
{
	ck_assert_int_eq(kvm_pause(kvm), 0);
	put_in("4");
	ck_assert(atomic_load(&kvm_cpu_find(kvm, 4)->requests) & CPU_REQUEST_PAUSE);
	kvm_resume(kvm);
	ck_assert(!(atomic_load(&kvm_cpu_find(kvm, 4)->requests) & CPU_REQUEST_PAUSE));
	/* it answers to the next */
	ck_assert_int_eq(kvm_pause(kvm), 0);
	plug_remove(plug_find(kvm, "cpu4"));
	kvm_resume(kvm);
	ck_assert_int_eq(kvm_pause(kvm), 0);
	kvm_resume(kvm);
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
}
END_TEST

START_TEST(one_that_comes_keeps_to_its_cpus)
{
	cpu_set_t cpus;

	ck_assert_int_eq(config_set(config, "vcpu-affinity", "0"), 0);
	put_in("2");
	ck_assert_int_eq(pthread_getaffinity_np(kvm_cpu_find(kvm, 2)->thread, sizeof(cpus), &cpus), 0);
	ck_assert_int_eq(CPU_COUNT(&cpus), 1);
	ck_assert(CPU_ISSET(0, &cpus));
}
END_TEST

/* ---- going ---- */

START_TEST(one_that_is_asked_goes_when_the_guest_lets_go)
{
	struct plug *plug = plug_find(kvm, "cpu1");

	ck_assert_int_eq(plug_ask(plug, 30000), 0);
	ck_assert_int_eq(plug_ask(plug, 30000), -EALREADY);
	ck_assert(event());
	ck_assert_uint_eq(in(12), GO | 1);
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
	ck_assert_uint_eq(work(1, EJECT, 0), 0);
	turn();

	ck_assert_ptr_null(plug_find(kvm, "cpu1"));
	ck_assert_uint_eq(kvm_cpus_present(kvm), 1);
	ck_assert_str_eq(config_string(config, "cpus"), "max=5,present=0");
}
END_TEST

START_TEST(a_guest_that_says_no_keeps_it)
{
	struct plug *plug = plug_find(kvm, "cpu1");

	ck_assert_int_eq(plug_ask(plug, 30000), 0);
	work(1, TELL + 3, 0x84);
	turn();
	ck_assert_int_eq(plug->state, PLUG_ASKED);
	work(1, TELL + 3, 1);
	turn();
	ck_assert_int_eq(plug->state, PLUG_REFUSED);
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
}
END_TEST

START_TEST(a_guest_that_says_nothing_keeps_it)
{
	struct plug *plug = plug_find(kvm, "cpu1");

	ck_assert_int_eq(plug_ask(plug, 1), 0);
	for (unsigned int i = 0; i < 100 && plug->state == PLUG_ASKED; i++)
		event_loop_poll(kvm->loop, 10);
	ck_assert_int_eq(plug->state, PLUG_UNANSWERED);
	/* nor is it bothered with it later */
	ck_assert_uint_eq(in(12), 0);
	ck_assert_uint_eq(work(1, 0, 0), 0xf);
}
END_TEST

START_TEST(one_that_comes_again_is_as_new)
{
	struct kvm_lapic_state lapic;
	struct kvm_cpu *cpu;
	int fd;

	put_in("2");
	cpu = kvm_cpu_find(kvm, 2);
	fd = cpu->fd;
	kvm_cpus_park(kvm);
	ck_assert_int_eq(ioctl(fd, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0x80] = 0x30;
	ck_assert_int_eq(ioctl(fd, KVM_SET_LAPIC, &lapic), 0);
	ck_assert_int_eq(ioctl(fd, KVM_SET_MP_STATE, &(struct kvm_mp_state){ KVM_MP_STATE_HALTED }), 0);
	kvm_cpus_unpark(kvm);
	plug_remove(plug_find(kvm, "cpu2"));
	ck_assert_ptr_null(kvm_cpu_find(kvm, 2));
	/* what is meant for all doesn't reach it */
	ck_assert_int_eq(kvm_nmi(kvm), 0);

	put_in("2");
	ck_assert_ptr_eq(kvm_cpu_find(kvm, 2), cpu);
	ck_assert_int_eq(cpu->fd, fd);
	ck_assert_uint_eq(atomic_load(&cpu->requests) & CPU_REQUEST_NMI, 0);
	ck_assert_uint_eq(mp_state(2), KVM_MP_STATE_UNINITIALIZED);
	kvm_cpus_park(kvm);
	ck_assert_int_eq(ioctl(fd, KVM_GET_LAPIC, &lapic), 0);
	kvm_cpus_unpark(kvm);
	ck_assert_int_eq(lapic.regs[0x80], 0);
}
END_TEST

START_TEST(a_hundred_rounds_leave_nothing_behind)
{
	unsigned int fds, threads;

	put_in("4");
	plug_remove(plug_find(kvm, "cpu4"));
	fds = entries("/proc/self/fd");
	threads = entries("/proc/self/task");
	for (unsigned int i = 0; i < 100; i++) {
		put_in("4");
		ck_assert_uint_eq(in(12), COME | 4);
		work(4, EJECT, 0);
		turn();
		ck_assert_ptr_null(plug_find(kvm, "cpu4"));
	}
	/* others of the process may go meanwhile */
	ck_assert_uint_le(entries("/proc/self/fd"), fds);
	/* a thread that was joined may be on its way out for a moment yet */
	for (unsigned int i = 0; i < 1000 && entries("/proc/self/task") > threads; i++)
		usleep(1000);
	ck_assert_uint_le(entries("/proc/self/task"), threads);
	ck_assert_uint_eq(kvm->cpu_count, 3);
}
END_TEST

START_TEST(a_vm_ends_with_some_that_are_out)
{
	put_in("2");
	put_in("3");
	plug_remove(plug_find(kvm, "cpu2"));
	kvm_end_request(kvm, KVM_END_POWEROFF);
	/* nobody waits for what doesn't run any more */
	plug_remove(plug_find(kvm, "cpu3"));
	put_in("4");
}
END_TEST

/* ---- hostile guests ---- */

START_TEST(vcpu_0_and_those_that_are_not_there_do_not_go)
{
	static const uint32_t numbers[] = { 0, 2, 4, 5, 6, 0x80000000, 0xffffffff };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		work(numbers[i], EJECT, 1);
		work(numbers[i], TELL + 3, 1);
		turn();
	}
	ck_assert_ptr_null(plug_find(kvm, "cpu0"));
	ck_assert_uint_eq(work(0, 0, 0), 0xf);
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
}
END_TEST

START_TEST(rubbish_in_the_registers_changes_nothing)
{
	uint32_t random = 4711;

	for (unsigned int i = 0; i < 3000; i++) {
		uint32_t what;

		random = random * 1103515245 + 12345;
		what = random >> 3 == EJECT ? 0 : random >> 3;
		space_io_write(&kvm->ports, ACPI_CPUS_PORT + random % 16, 1U << random % 3, random);
		work(random >> 8 & 7, what, random);
		if (!(i % 100))
			turn();
	}
	turn();
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
}
END_TEST

START_TEST(a_guest_that_never_stops_telling_is_heard_four_times)
{
	struct plug *plug = plug_find(kvm, "cpu1");

	ck_assert_int_eq(plug_ask(plug, 30000), 0);
	for (unsigned int i = 0; i < 4; i++) {
		work(1, TELL + 3, 0x84);
		turn();
	}
	work(1, TELL + 3, 1);
	turn();
	ck_assert_int_eq(plug->state, PLUG_ASKED);
}
END_TEST

/* ---- reset, saved state ---- */

START_TEST(a_reset_keeps_those_that_came_and_takes_those_that_were_to_go)
{
	put_in("2");
	put_in("3");
	ck_assert_int_eq(plug_ask(plug_find(kvm, "cpu2"), 30000), 0);
	work(1, EJECT, 0);
	ck_assert_int_eq(kvm_reset(kvm), 0);

	ck_assert_ptr_null(plug_find(kvm, "cpu1"));
	ck_assert_ptr_null(plug_find(kvm, "cpu2"));
	ck_assert_ptr_nonnull(plug_find(kvm, "cpu3"));
	ck_assert_uint_eq(in(12), 0);
	ck_assert_uint_eq(work(3, 0, 0), 0xf);
	ck_assert_uint_eq(mp_state(3), KVM_MP_STATE_UNINITIALIZED);
}
END_TEST

static void device_save(struct state_writer *writer)
{
	struct device *device = device_find(kvm, "cpu-plug");

	ck_assert_int_eq(kvm_pause(kvm), 0);
	device->ops->save(device, writer);
	kvm_resume(kvm);
}

static int device_load(const struct state_writer *writer)
{
	struct device *device = device_find(kvm, "cpu-plug");
	struct state_reader reader = { .data = writer->data, .length = writer->length };

	return device->ops->load(device, &reader);
}

START_TEST(what_the_guest_has_not_heard_of_is_saved)
{
	struct state_writer writer = { 0 };

	put_in("3");
	space_io_write(&kvm->ports, ACPI_CPUS_PORT + 4, 4, 77);
	device_save(&writer);
	ck_assert_uint_eq(in(12), COME | 3);
	space_io_write(&kvm->ports, ACPI_CPUS_PORT + 4, 4, 0);
	ck_assert_int_eq(device_load(&writer), 0);
	ck_assert_uint_eq(in(12), COME | 3);
	ck_assert_uint_eq(in(4), 77);
	state_writer_free(&writer);
}
END_TEST

START_TEST(one_that_was_on_its_way_out_goes_where_it_is_loaded)
{
	struct device *device = device_find(kvm, "cpu-plug");
	struct state_writer writer = { 0 };

	ck_assert_int_eq(kvm_pause(kvm), 0);
	work(1, EJECT, 0);
	device->ops->save(device, &writer);
	ck_assert_int_eq(device_load(&writer), 0);
	kvm_resume(kvm);
	turn();
	ck_assert_uint_eq(kvm_cpus_present(kvm), 1);
	state_writer_free(&writer);
}
END_TEST

START_TEST(saved_state_of_other_vcpus_is_refused)
{
	struct state_writer writer = { 0 };
	uint8_t *bits, good[5];

	device_save(&writer);
	bits = writer.data + writer.length - 5;
	memcpy(good, bits, 5);
	for (unsigned int i = 0; i < 5; i++) {
		for (unsigned int value = 0; value < 256; value++) {
			/* there, and what goes with it; one that was let go of */
			bool right = i < 2 ? (value & 9) == 1 && value < 8 : !value;

			bits[i] = (uint8_t)value;
			ck_assert_msg((!device_load(&writer)) == (right || (i == 1 && value == 8)), "vCPU %u as 0x%x", i, value);
			bits[i] = good[i];
		}
	}
	for (size_t length = 0; length < writer.length; length++) {
		struct state_writer cut = { .data = writer.data, .length = length };

		ck_assert_int_eq(device_load(&cut), -EINVAL);
	}
	/* what the last good one left behind */
	ck_assert_int_eq(device_load(&writer), 0);
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_machine_is_loaded_with_those_that_came)
{
	struct state_writer state = { 0 };
	struct config *other_config;
	struct state_reader reader;
	struct kvm_regs regs = { .rax = 0x1234, .rflags = 2 }, seen;
	struct kvm *other;
	char cpus[80];

	put_in("4");
	put_in("2");
	plug_remove(plug_find(kvm, "cpu1"));
	ck_assert_int_eq(kvm_pause(kvm), 0);
	ck_assert_int_eq(ioctl(kvm_cpu_find(kvm, 4)->fd, KVM_SET_REGS, &regs), 0);
	ck_assert_int_eq(machine_save(kvm, &state), 0);
	kvm_resume(kvm);
	snprintf(cpus, sizeof(cpus), "%u,%s", (unsigned int)config_uint(config, "cpus"), config_string(config, "cpus"));
	ck_assert_str_eq(cpus, "3,max=5,present=0:2:4");

	vm_make(cpus, &other_config, &other);
	reader = (struct state_reader){ .data = state.data, .length = state.length };
	ck_assert_msg(!machine_load(other, &reader), "%s", said);
	ck_assert_uint_eq(other->cpu_count, 3);
	ck_assert_int_eq(ioctl(kvm_cpu_find(other, 4)->fd, KVM_GET_REGS, &seen), 0);
	ck_assert_uint_eq(seen.rax, 0x1234);
	ck_assert_ptr_nonnull(plug_find(other, "cpu4"));
	ck_assert_ptr_null(plug_find(other, "cpu1"));
	kvm_exit(other);
	kvm_free(other);
	config_free(other_config);
	state_writer_free(&state);
}
END_TEST

/* ---- QMP ---- */

static const char *qmp(const char *message)
{
	static struct qmp_session session;
	static char reply[4096];
	char *text;

	session = (struct qmp_session){ .kvm = kvm, .negotiated = true };
	text = qmp_handle(&session, message, strlen(message));
	snprintf(reply, sizeof(reply), "%s", text ? text : "nothing");
	free(text);
	return reply;
}

START_TEST(clients_add_one_by_its_place)
{
	static const char *const bad[] = {
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"cpu\",\"core-id\":5}}",
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"cpu\",\"core-id\":1}}",
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"cpu\",\"core-id\":3,\"socket-id\":1}}",
		"{\"execute\":\"device_del\",\"arguments\":{\"id\":\"cpu0\"}}",
		"{\"execute\":\"device_del\",\"arguments\":{\"id\":\"cpu4\"}}",
	};

	ck_assert_str_eq(qmp("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"cpu\",\"id\":\"mine\",\"core-id\":3,\"socket-id\":0,\"thread-id\":0}}"),
			 "{\"return\":{}}");
	ck_assert_ptr_nonnull(kvm_cpu_find(kvm, 3));
	ck_assert_uint_eq(plug_find(kvm, "mine")->port_index, 3);
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"query-hotpluggable-cpus\"}"), "/machine/cpu[3]"));
	ck_assert_ptr_null(strstr(qmp("{\"execute\":\"query-hotpluggable-cpus\"}"), "/machine/cpu[2]"));
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"query-cpus-fast\"}"), "\"cpu-index\":3"));
	ck_assert_str_eq(qmp("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"mine\"}}"), "{\"return\":{}}");
	work(3, EJECT, 0);
	turn();
	ck_assert_ptr_null(kvm_cpu_find(kvm, 3));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(strstr(qmp(bad[i]), "\"error\"") != NULL, "%s", bad[i]);
	ck_assert_uint_eq(kvm_cpus_present(kvm), 2);
}
END_TEST

START_TEST(statistics_and_nmis_go_to_those_that_are_there)
{
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"x-lkvm-stats\"}"), "\"return\""));
	put_in("3");
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"x-lkvm-stats\"}"), "\"return\""));
	ck_assert_str_eq(qmp("{\"execute\":\"inject-nmi\",\"arguments\":{\"cpu\":3}}"), "{\"return\":{}}");
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"inject-nmi\",\"arguments\":{\"cpu\":2}}"), "no such vCPU"));
	plug_remove(plug_find(kvm, "cpu3"));
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"inject-nmi\",\"arguments\":{\"cpu\":3}}"), "no such vCPU"));
	ck_assert_ptr_nonnull(strstr(qmp("{\"execute\":\"x-lkvm-debug\",\"arguments\":{\"what\":\"registers\"}}"), "vCPU 3 (taken out)"));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "cpu-plug", setup, teardown);

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, one_that_comes_waits_to_be_started);
	tcase_add_test(tests, the_first_that_is_not_there_comes_if_none_is_named);
	tcase_add_test(tests, what_can_not_come_is_refused_by_name);
	tcase_add_test(tests, a_vm_of_which_nothing_was_said_has_none_of_it);
	tcase_add_test(tests, one_that_comes_in_a_pause_waits_for_its_end);
	tcase_add_test(tests, one_that_comes_keeps_to_its_cpus);
	tcase_add_test(tests, one_that_is_asked_goes_when_the_guest_lets_go);
	tcase_add_test(tests, a_guest_that_says_no_keeps_it);
	tcase_add_test(tests, a_guest_that_says_nothing_keeps_it);
	tcase_add_test(tests, one_that_comes_again_is_as_new);
	tcase_add_test(tests, a_hundred_rounds_leave_nothing_behind);
	tcase_add_test(tests, a_vm_ends_with_some_that_are_out);
	tcase_add_test(tests, vcpu_0_and_those_that_are_not_there_do_not_go);
	tcase_add_test(tests, rubbish_in_the_registers_changes_nothing);
	tcase_add_test(tests, a_guest_that_never_stops_telling_is_heard_four_times);
	tcase_add_test(tests, a_reset_keeps_those_that_came_and_takes_those_that_were_to_go);
	tcase_add_test(tests, what_the_guest_has_not_heard_of_is_saved);
	tcase_add_test(tests, one_that_was_on_its_way_out_goes_where_it_is_loaded);
	tcase_add_test(tests, saved_state_of_other_vcpus_is_refused);
	tcase_add_test(tests, a_machine_is_loaded_with_those_that_came);
	tcase_add_test(tests, clients_add_one_by_its_place);
	tcase_add_test(tests, statistics_and_nmis_go_to_those_that_are_there);
}
SUITE_MAIN_KVM("cpu-plug", add_tests)
