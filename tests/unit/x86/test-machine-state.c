/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests state/machine.c and x86/state-*.c on this host's KVM, hardware or software: what one VM has is saved, and loaded
 * into another; what is damaged, or more than the host has, is refused.
 */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "kvm/arch.h"
#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "state/machine.h"
#include "x86/state.h"

/* Offsets in the XSAVE area */
#define XMM3		208
#define XSTATE_BV	512
#define MSR_LSTAR	0xc0000082
#define MSR_KERNEL_GS	0xc0000102

static char folder[40], kernel[64];
static const uint8_t payload[] = { 0xf4 };	/* hlt */

static struct {
	struct config *config;
	struct kvm *kvm;
} vms[2];

static void quiet(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void vm_make(unsigned int index)
{
	static const char *const settings[][2] = {
		{ "boot", "flat" }, { "mem", "16M" }, { "cpus", "2" }, { "rng", "true" }, { "console", "serial" },
	};
	char name[32];

	ck_assert_int_eq(config_new(&vms[index].config, run_options()), 0);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		ck_assert_int_eq(config_set(vms[index].config, settings[i][0], settings[i][1]), 0);
	ck_assert_int_eq(config_set(vms[index].config, "kernel", kernel), 0);
	snprintf(name, sizeof(name), "test-state-%d-%u", (int)getpid(), index);
	ck_assert_int_eq(config_set(vms[index].config, "name", name), 0);
	ck_assert_int_eq(kvm_create(&vms[index].kvm, vms[index].config), 0);
	ck_assert_int_eq(kvm_init(vms[index].kvm, NULL), 0);
}

static void setup(void)
{
	int fd;

	strcpy(folder, "/tmp/lkvm-state.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	setenv("XDG_RUNTIME_DIR", folder, 1);
	snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
	fd = open(kernel, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, payload, sizeof(payload)), sizeof(payload));
	close(fd);
	vm_make(0);
	vm_make(1);
}

static void teardown(void)
{
	char path[64];

	for (unsigned int i = 0; i < 2; i++) {
		kvm_exit(vms[i].kvm);
		kvm_free(vms[i].kvm);
		config_free(vms[i].config);
	}
	unlink(kernel);
	snprintf(path, sizeof(path), "%s/lkvm", folder);
	rmdir(path);
	rmdir(folder);
}

/* KVM_SET_FPU would leave XSTATE_BV as it is, and so what it sets may not count. */
static void xsave_disturb(struct kvm_cpu *cpu, uint64_t seed)
{
	struct kvm_xsave xsave;
	uint8_t *bytes = (uint8_t *)xsave.region;
	const uint16_t fcw = 0x27f;

	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_XSAVE, &xsave), 0);
	memcpy(bytes, &fcw, sizeof(fcw));
	memset(bytes + XMM3, (int)(seed & 0x7f), 16);
	bytes[XSTATE_BV] |= 3;
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_XSAVE, &xsave), 0);
}

/* Something in every part that a new vCPU doesn't have. */
static void cpu_disturb(struct kvm_cpu *cpu, uint64_t seed)
{
	struct kvm_regs regs = { .rax = seed, .rbx = seed + 1, .r15 = seed * 3, .rip = 0x1234, .rsp = 0x8000, .rflags = 0x46 };
	struct kvm_debugregs debug = { .db = { seed, seed + 8, 0, 0 }, .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	struct kvm_mp_state state = { KVM_MP_STATE_HALTED };
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
	struct kvm_sregs sregs;

	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cr2 = seed;
	sregs.ds.base = 0x5000;
	sregs.ds.selector = 0x500;
	sregs.gdt.base = 0x700;
	sregs.idt.limit = 0x123;
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_SREGS, &sregs), 0);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_REGS, &regs), 0);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_DEBUGREGS, &debug), 0);
	xsave_disturb(cpu, seed);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0x80] = 0x30;	/* task priority */
	lapic.regs[0xf0] = (char)0xef;	/* spurious vector, enabled */
	lapic.regs[0xf1] = 1;
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_LAPIC, &lapic), 0);
	ck_assert_int_eq(msr_write(cpu, MSR_LSTAR, 0xffffffff81000000ULL + seed), 0);
	ck_assert_int_eq(msr_write(cpu, MSR_KERNEL_GS, 0xffff888000000000ULL + seed), 0);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &events), 0);
	events.nmi.masked = 1;
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &events), 0);
	ck_assert_int_eq(ioctl(cpu->fd, KVM_SET_MP_STATE, &state), 0);
}

static void chips_disturb(struct kvm *kvm)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_pit_state2 pit;

	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.ioapic.redirtbl[4].bits = 0x0100000000000031ULL;
	chip.chip.ioapic.redirtbl[17].bits = 0x000000000000a042ULL | 1 << 16;
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip), 0);
	memset(&chip, 0, sizeof(chip));
	chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.pic.imr = 0x5a;
	chip.chip.pic.irq_base = 0x28;
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip), 0);
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_GET_PIT2, &pit), 0);
	pit.channels[2].count = 0x1234;
	pit.channels[2].mode = 3;
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_SET_PIT2, &pit), 0);
}

static void save(struct kvm *kvm, struct state_writer *writer)
{
	ck_assert_int_eq(kvm_pause(kvm), 0);
	ck_assert_int_eq(machine_save(kvm, writer), 0);
	kvm_resume(kvm);
}

static int load(struct kvm *kvm, const struct state_writer *from)
{
	struct state_reader reader = { .data = from->data, .length = from->length };

	return machine_load(kvm, &reader);
}

/* The elements of the field @name behind @from, which is as in "name, size, count, elements"; what goes on is made still. */
static void blank_field(struct state_writer *writer, const char *name)
{
	size_t length = strlen(name), at = 0;

	while (at + length + 5 < writer->length) {
		uint8_t *found = memmem(writer->data + at, writer->length - at, name, length);
		uint32_t count;

		if (!found)
			return;
		at = (size_t)(found - writer->data) + length;
		if (found[-1] != length)
			continue;
		memcpy(&count, writer->data + at + 1, sizeof(count));
		memset(writer->data + at + 5, 0, (size_t)writer->data[at] * count);
	}
}

static void blank_clocks(struct state_writer *writer)
{
	static const char *const clocks[] = { "wall_ns", "kvmclock_ns", "host_tsc", "tsc", "offset", "ticks", "looked_ns", "cmos" };

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++)
		blank_field(writer, clocks[i]);
}

START_TEST(loaded_machine_is_the_one_that_was_saved)
{
	struct kvm *from = vms[0].kvm, *to = vms[1].kvm;
	struct state_writer first = { 0 }, fresh = { 0 }, second = { 0 };
	struct kvm_regs regs;
	struct kvm_xsave xsave;
	uint64_t value;

	for (unsigned int i = 0; i < 2; i++)
		cpu_disturb(from->cpus[i], 0x1111111111 * (i + 1));
	chips_disturb(from);
	save(from, &first);
	save(to, &fresh);
	ck_assert_int_eq(load(to, &first), 0);
	save(to, &second);

	blank_clocks(&first);
	blank_clocks(&fresh);
	blank_clocks(&second);
	ck_assert_uint_eq(first.length, second.length);
	for (size_t i = 0; i < first.length; i++)
		ck_assert_msg(first.data[i] == second.data[i], "byte %zu of %zu differs: %02x and %02x, behind '%.40s'", i, first.length,
			      first.data[i], second.data[i], (const char *)first.data + (i > 60 ? i - 60 : 0));
	ck_assert(fresh.length != first.length || memcmp(fresh.data, first.data, first.length) != 0);
	/* and KVM has it, not only the stream */
	ck_assert_int_eq(ioctl(to->cpus[1]->fd, KVM_GET_REGS, &regs), 0);
	ck_assert_uint_eq(regs.rbx, 0x2222222223);
	ck_assert_int_eq(ioctl(to->cpus[0]->fd, KVM_GET_XSAVE, &xsave), 0);
	ck_assert_uint_eq(((uint8_t *)xsave.region)[XMM3 + 7], 0x11);
	ck_assert_uint_eq(*(uint16_t *)xsave.region, 0x27f);
	ck_assert_int_eq(msr_read(to->cpus[1], MSR_LSTAR, &value), 0);
	ck_assert_uint_eq(value, 0xffffffff81000000ULL + 0x2222222222);
	state_writer_free(&first);
	state_writer_free(&fresh);
	state_writer_free(&second);
}
END_TEST

START_TEST(tsc_goes_on_from_where_it_was)
{
	struct state_writer state = { 0 };
	uint64_t before[2], after[2];

	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(msr_write(vms[0].kvm->cpus[i], MSR_TSC, 1ULL << 50), 0);
	ck_assert_int_eq(msr_read(vms[0].kvm->cpus[0], MSR_TSC, &before[0]), 0);
	/* software KVM shows its guests the host's own, whatever is written */
	if (before[0] < 1ULL << 50) {
		printf("SKIP machine-state/%s: this KVM gives guests the host's TSC\n", __func__);
		return;
	}
	save(vms[0].kvm, &state);
	usleep(50000);
	ck_assert_int_eq(load(vms[1].kvm, &state), 0);
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert_int_eq(msr_read(vms[0].kvm->cpus[i], MSR_TSC, &before[i]), 0);
		ck_assert_int_eq(msr_read(vms[1].kvm->cpus[i], MSR_TSC, &after[i]), 0);
		/* the one that never stood still and the other are no second apart */
		ck_assert_uint_ge(after[i], 1ULL << 50);
		ck_assert_uint_lt(after[i] > before[i] ? after[i] - before[i] : before[i] - after[i], 5000000000ULL);
	}
	state_writer_free(&state);
}
END_TEST

START_TEST(level_line_that_was_up_is_down_until_its_device_says_so)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct state_writer state = { 0 };

	ck_assert_int_eq(ioctl(vms[0].kvm->vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	chip.chip.ioapic.redirtbl[17].bits = 0x42 | 1 << 15 | 1 << 16;		/* level, masked */
	chip.chip.ioapic.redirtbl[18].bits = 0x43 | 1 << 16;			/* edge */
	chip.chip.ioapic.irr = 1 << 17 | 1 << 18;
	ck_assert_int_eq(ioctl(vms[0].kvm->vm_fd, KVM_SET_IRQCHIP, &chip), 0);
	save(vms[0].kvm, &state);
	ck_assert_int_eq(load(vms[1].kvm, &state), 0);
	ck_assert_int_eq(ioctl(vms[1].kvm->vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	ck_assert_uint_eq(chip.chip.ioapic.irr & 1 << 17, 0);
	ck_assert_uint_ne(chip.chip.ioapic.redirtbl[17].bits & 1 << 15, 0);
	state_writer_free(&state);
}
END_TEST

static void turn_cpuid_bit(struct state_writer *state, uint32_t function, unsigned int word, uint32_t bit)
{
	uint8_t *at = memmem(state->data, state->length, "x86-cpuid", 9);
	uint32_t words[7];

	ck_assert_ptr_nonnull(at);
	for (at += 9 + 4 + 4 + 8;; at += sizeof(words)) {
		memcpy(words, at, sizeof(words));
		if (words[0] == function && !words[1])
			break;
		ck_assert(at < state->data + state->length);
	}
	words[3 + word] |= bit;
	memcpy(at, words, sizeof(words));
}

static char said[512];

static void keep(enum log_level level, const char *line)
{
	(void)level;
	if (strstr(line, "lacks"))
		snprintf(said, sizeof(said), "%s", line);
}

START_TEST(feature_that_this_host_lacks_is_named)
{
	struct state_writer state = { 0 };

	save(vms[0].kvm, &state);
	/* one that is reserved for ever, and VIA's */
	turn_cpuid_bit(&state, 1, 3, 1U << 10);
	log_set_sink(keep);
	ck_assert_int_eq(load(vms[1].kvm, &state), -ENOTSUP);
	log_set_sink(NULL);
	ck_assert_msg(strstr(said, "CPUID 0x1.0 EDX bit 10") != NULL, "seen: %s", said);
	state_writer_free(&state);
}
END_TEST

START_TEST(machine_of_another_size_is_refused)
{
	struct state_writer state = { 0 };
	uint8_t *at;

	log_set_sink(quiet);
	save(vms[0].kvm, &state);
	at = memmem(state.data, state.length, "cpus", 4);
	ck_assert_ptr_nonnull(at);
	at[4 + 5]++;
	ck_assert_int_eq(load(vms[1].kvm, &state), -EINVAL);
	state_writer_free(&state);
	log_set_sink(NULL);
}
END_TEST

START_TEST(damaged_state_is_refused_or_harmless)
{
	struct state_writer state = { 0 };
	uint32_t random = 4711;
	uint8_t *damaged;

	log_set_sink(quiet);
	save(vms[0].kvm, &state);
	damaged = malloc(state.length);
	for (int i = 0; i < 200; i++) {
		struct state_writer cut = { .data = damaged, .length = state.length };

		memcpy(damaged, state.data, state.length);
		random = random * 1664525 + 1013904223;
		damaged[(random >> 3) % state.length] ^= (uint8_t)(1 << (random & 7));
		if (i % 4 == 0) {
			cut.length = random % state.length;
			ck_assert_msg(load(vms[1].kvm, &cut) < 0, "%zu of %zu bytes are taken", cut.length, state.length);
		} else {
			ck_assert_int_le(load(vms[1].kvm, &cut), 0);
		}
	}
	free(damaged);
	state_writer_free(&state);
	log_set_sink(NULL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "machines", setup, teardown);

	tcase_add_test(tests, loaded_machine_is_the_one_that_was_saved);
	tcase_add_test(tests, tsc_goes_on_from_where_it_was);
	tcase_add_test(tests, level_line_that_was_up_is_down_until_its_device_says_so);
	tcase_add_test(tests, feature_that_this_host_lacks_is_named);
	tcase_add_test(tests, machine_of_another_size_is_refused);
	tcase_add_test(tests, damaged_state_is_refused_or_harmless);
}
SUITE_MAIN_KVM("machine-state", add_tests)
