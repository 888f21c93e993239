/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/irq.c on a real KVM: level lines that a guest's EOI asks about, and the table of message routes up to its end.
 *
 * The guest is 60 bytes in real mode: it sets the PICs up, and is at a port of its own while nothing happens, and at
 * others in the handlers of IRQ 9 and IRQ 10, before the EOI.
 */
#include "tests/unit/x86/chip.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define LEVEL_GSI	10
#define EDGE_GSI	9
#define PORT_IDLE	0x50
#define PORT_LEVEL	0x51
#define PORT_EDGE	0x52

static struct chip chip;
static struct kvm *kvm;

static void setup(void)
{
	log_set_sink(board_hush);
	chip_create(&chip);
	kvm = chip.kvm;
}

static void teardown(void)
{
	chip_destroy(&chip);
	log_set_sink(NULL);
}

/* ---- a guest that handles interrupts ---- */

#define CODE		0x1000
#define HANDLER_LEVEL	0x1100
#define HANDLER_EDGE	0x1200
#define GUEST_SIZE	0x10000

static const uint8_t code[] = {
	0xb0, 0x11, 0xe6, 0x20, 0xe6, 0xa0,		/* ICW1 */
	0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x28, 0xe6, 0xa1,	/* vectors 0x20 and 0x28 */
	0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x02, 0xe6, 0xa1,	/* cascaded on 2 */
	0xb0, 0x01, 0xe6, 0x21, 0xe6, 0xa1,
	0xb0, 0xfb, 0xe6, 0x21, 0xb0, 0xf9, 0xe6, 0xa1,	/* open: 2; 9 and 10 */
	0xba, 0xd1, 0x04, 0xb0, 0x04, 0xee,		/* ELCR: 10 is level */
	0xfb,						/* sti */
	0xe6, PORT_IDLE, 0xeb, 0xfc,			/* for ever */
};

#define HANDLER(port) {								\
	0x50, 0xe6, (port),			/* push ax; out port, al */	\
	0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20,	/* EOI to both */		\
	0x58, 0xcf,				/* pop ax; iret */		\
}

static const uint8_t level_handler[] = HANDLER(PORT_LEVEL), edge_handler[] = HANDLER(PORT_EDGE);
static uint8_t *guest;
static struct kvm_run *run;

static void vector_set(unsigned int vector, uint16_t offset)
{
	guest[4 * vector] = (uint8_t)offset;
	guest[4 * vector + 1] = (uint8_t)(offset >> 8);
}

static void guest_make(void)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	struct kvm_regs regs = { .rip = CODE, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;
	int size = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	guest = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, chip.cpu_fd, 0);
	ck_assert_ptr_ne(guest, MAP_FAILED);
	ck_assert_ptr_ne(run, MAP_FAILED);
	memcpy(guest + CODE, code, sizeof(code));
	memcpy(guest + HANDLER_LEVEL, level_handler, sizeof(level_handler));
	memcpy(guest + HANDLER_EDGE, edge_handler, sizeof(edge_handler));
	vector_set(0x28 + LEVEL_GSI - 8, HANDLER_LEVEL);
	vector_set(0x28 + EDGE_GSI - 8, HANDLER_EDGE);
	region.userspace_addr = (uintptr_t)guest;
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
	ck_assert_int_eq(ioctl(chip.cpu_fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	ck_assert_int_eq(ioctl(chip.cpu_fd, KVM_SET_SREGS, &sregs), 0);
	ck_assert_int_eq(ioctl(chip.cpu_fd, KVM_SET_REGS, &regs), 0);
}

/* Lets the guest go on to its next port, and says which. */
static unsigned int guest_step(void)
{
	while (ioctl(chip.cpu_fd, KVM_RUN, 0) < 0)
		ck_assert_int_eq(errno, EINTR);
	ck_assert_uint_eq(run->exit_reason, KVM_EXIT_IO);
	return run->io.port;
}

/* Whether the guest is at @port within a few rounds of its loop. */
static bool guest_comes_to(unsigned int port)
{
	for (unsigned int i = 0; i < 1000; i++)
		if (guest_step() == port)
			return true;
	return false;
}

static bool guest_stays_idle(void)
{
	for (unsigned int i = 0; i < 200; i++)
		if (guest_step() != PORT_IDLE)
			return false;
	return true;
}

static void setup_guest(void)
{
	setup();
	guest_make();
	ck_assert(guest_stays_idle());
}

static void teardown_guest(void)
{
	munmap(guest, GUEST_SIZE);
	munmap(run, (size_t)ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	teardown();
}

START_TEST(a_level_line_interrupts_until_its_cause_is_gone)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, LEVEL_GSI, IRQ_LEVEL), 0);
	irq_line_set(&line, true);
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert(guest_comes_to(PORT_LEVEL));
		/* KVM dropped it at the EOI; the main loop is what raises it again. */
		ck_assert(guest_stays_idle());
		board_poll(kvm, 2);
	}
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_set(&line, false);
	ck_assert(guest_stays_idle());
	board_poll(kvm, 2);
	ck_assert(guest_stays_idle());

	irq_line_set(&line, true);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_exit(&line);
}
END_TEST

START_TEST(a_cause_that_is_gone_and_back_before_the_eoi_interrupts_again)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, LEVEL_GSI, IRQ_LEVEL), 0);
	irq_line_set(&line, true);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_set(&line, false);
	irq_line_set(&line, true);
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_set(&line, false);
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_stays_idle());
	irq_line_exit(&line);
}
END_TEST

START_TEST(a_shared_gsi_is_up_while_one_of_its_lines_is)
{
	struct irq_line first, second;

	ck_assert_int_eq(irq_line_init(kvm, &first, LEVEL_GSI, IRQ_LEVEL), 0);
	ck_assert_int_eq(irq_line_init(kvm, &second, LEVEL_GSI, IRQ_LEVEL), 0);
	irq_line_set(&first, true);
	irq_line_set(&second, true);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_set(&first, false);
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_comes_to(PORT_LEVEL));
	/* A line that leaves takes nothing of the other's along. */
	irq_line_exit(&first);
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_set(&second, false);
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_stays_idle());
	irq_line_exit(&second);
}
END_TEST

START_TEST(a_line_that_went_while_it_was_up_is_down)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, LEVEL_GSI, IRQ_LEVEL), 0);
	irq_line_set(&line, true);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_exit(&line);
	ck_assert(guest_stays_idle());
	board_poll(kvm, 2);
	ck_assert(guest_stays_idle());
}
END_TEST

START_TEST(a_pulse_is_one_interrupt)
{
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, EDGE_GSI, IRQ_EDGE), 0);
	for (unsigned int i = 0; i < 5; i++) {
		irq_line_pulse(&line);
		ck_assert(guest_comes_to(PORT_EDGE));
		ck_assert(guest_stays_idle());
		board_poll(kvm, 1);
		ck_assert(guest_stays_idle());
	}
	irq_line_exit(&line);
}
END_TEST

START_TEST(a_line_that_kvm_refused_works_when_it_no_longer_does)
{
	int vm_fd = kvm->vm_fd;
	struct irq_line line;

	ck_assert_int_eq(irq_line_init(kvm, &line, LEVEL_GSI, IRQ_LEVEL), 0);
	kvm->vm_fd = -1;
	irq_line_set(&line, true);
	irq_line_set(&line, false);
	kvm->vm_fd = vm_fd;
	ck_assert(guest_stays_idle());
	irq_line_set(&line, true);
	ck_assert(guest_comes_to(PORT_LEVEL));
	ck_assert_uint_eq(guest_step(), PORT_IDLE);
	board_poll(kvm, 2);
	ck_assert(guest_comes_to(PORT_LEVEL));
	irq_line_exit(&line);
}
END_TEST

/* ---- messages ---- */

static void message_make(struct irq_message *message, uint32_t vector)
{
	ck_assert_int_eq(irq_message_init(kvm, message, 0), 0);
	ck_assert_int_eq(irq_message_route(message, LAPIC_ADDRESS, vector), 0);
}

START_TEST(a_route_is_made_changed_and_given_back)
{
	struct irq_message first, second;
	uint32_t gsi;

	message_make(&first, 0x41);
	message_make(&second, 0x42);
	ck_assert_uint_ne(first.gsi, second.gsi);
	ck_assert_uint_ge(first.gsi, arch_irq_lines());
	irq_message_raise(&second);
	ck_assert(chip_arrives(&chip, 0x42));
	ck_assert(!chip_requested(&chip, 0x41));

	gsi = first.gsi;
	ck_assert_int_eq(irq_message_route(&first, LAPIC_ADDRESS, 0x61), 0);
	ck_assert_uint_eq(first.gsi, gsi);
	irq_message_raise(&first);
	ck_assert(chip_arrives(&chip, 0x61));
	ck_assert(!chip_requested(&chip, 0x41));

	/* The table closes the gap: the route that is left is still the other's. */
	irq_message_exit(&first);
	chip_clear_requests(&chip);
	irq_message_raise(&second);
	ck_assert(chip_arrives(&chip, 0x42));
	message_make(&first, 0x43);
	ck_assert_uint_eq(first.gsi, gsi);
	irq_message_raise(&first);
	ck_assert(chip_arrives(&chip, 0x43));
	irq_message_exit(&first);
	irq_message_exit(&second);
}
END_TEST

START_TEST(a_message_raised_while_it_is_masked_fires_once_when_it_is_not)
{
	struct irq_message message;
	uint32_t gsi;

	message_make(&message, 0x41);
	gsi = message.gsi;
	irq_message_unroute(&message);
	ck_assert(!message.routed && message.has_gsi);
	irq_message_raise(&message);
	irq_message_raise(&message);
	ck_assert(chip_stays_away(&chip, 0x41));
	/* It may be another vector meanwhile. */
	ck_assert_int_eq(irq_message_route(&message, LAPIC_ADDRESS, 0x51), 0);
	ck_assert_uint_eq(message.gsi, gsi);
	ck_assert(chip_arrives(&chip, 0x51));
	ck_assert(!chip_requested(&chip, 0x41));

	chip_clear_requests(&chip);
	irq_message_unroute(&message);
	ck_assert(!irq_message_consume(&message));
	irq_message_raise(&message);
	ck_assert(irq_message_consume(&message));
	ck_assert_int_eq(irq_message_route(&message, LAPIC_ADDRESS, 0x51), 0);
	ck_assert(chip_stays_away(&chip, 0x51));
	irq_message_exit(&message);
}
END_TEST

START_TEST(a_route_that_kvm_refuses_leaves_the_old_one)
{
	int vm_fd = kvm->vm_fd;
	struct irq_message message, other;

	message_make(&message, 0x41);
	kvm->vm_fd = -1;
	ck_assert_int_eq(irq_message_route(&message, LAPIC_ADDRESS, 0x51), -EBADF);
	kvm->vm_fd = vm_fd;
	ck_assert_uint_eq(message.data, 0x41);
	/* Another's route hands the whole table to KVM again. */
	message_make(&other, 0x42);
	irq_message_raise(&message);
	ck_assert(chip_arrives(&chip, 0x41));
	ck_assert(chip_stays_away(&chip, 0x51));
	irq_message_exit(&other);
	irq_message_exit(&message);
}
END_TEST

START_TEST(a_first_route_that_kvm_refuses_takes_no_gsi)
{
	int vm_fd = kvm->vm_fd;
	struct irq_message message, other;

	ck_assert_int_eq(irq_message_init(kvm, &message, 0), 0);
	kvm->vm_fd = -1;
	ck_assert_int_eq(irq_message_route(&message, LAPIC_ADDRESS, 0x51), -EBADF);
	kvm->vm_fd = vm_fd;
	ck_assert(!message.has_gsi && !message.routed);
	message_make(&other, 0x42);
	ck_assert_uint_eq(other.gsi, arch_irq_lines());
	ck_assert_int_eq(irq_message_route(&message, LAPIC_ADDRESS, 0x51), 0);
	irq_message_raise(&message);
	ck_assert(chip_arrives(&chip, 0x51));
	irq_message_exit(&other);
	irq_message_exit(&message);
}
END_TEST

#define MESSAGES_MAX	2048	/* core/irq.c's ceiling */

START_TEST(when_routes_run_out_one_is_refused_and_the_others_work)
{
	static struct irq_message messages[MESSAGES_MAX], late;
	struct rlimit files = { .rlim_cur = MESSAGES_MAX + 256, .rlim_max = MESSAGES_MAX + 256 };
	unsigned int count = 0;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (; count < MESSAGES_MAX; count++)
		message_make(&messages[count], 0x40 + count % 0x80);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_int_eq(irq_message_init(kvm, &late, 0), 0);
		ck_assert_int_eq(irq_message_route(&late, LAPIC_ADDRESS, 0xe1), -ENOSPC);
		ck_assert(!late.has_gsi && !late.routed);
		irq_message_exit(&late);
	}
	irq_message_raise(&messages[1]);
	irq_message_raise(&messages[MESSAGES_MAX - 2]);
	ck_assert(chip_arrives(&chip, 0x41));
	ck_assert(chip_arrives(&chip, 0xbe));

	irq_message_exit(&messages[1000]);
	message_make(&late, 0xe1);
	ck_assert_uint_eq(late.gsi, arch_irq_lines() + 1000);
	irq_message_raise(&late);
	ck_assert(chip_arrives(&chip, 0xe1));

	/* As at a VM's end: what KVM frees with the VM is left to it. */
	kvm->closing = true;
	irq_message_exit(&late);
	for (unsigned int i = 0; i < MESSAGES_MAX; i++)
		irq_message_exit(&messages[i]);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *lines = suite_case(suite, "lines", setup_guest, teardown_guest);
	TCase *messages = suite_case(suite, "messages", setup, teardown);

	tcase_add_test(lines, a_level_line_interrupts_until_its_cause_is_gone);
	tcase_add_test(lines, a_cause_that_is_gone_and_back_before_the_eoi_interrupts_again);
	tcase_add_test(lines, a_shared_gsi_is_up_while_one_of_its_lines_is);
	tcase_add_test(lines, a_line_that_went_while_it_was_up_is_down);
	tcase_add_test(lines, a_pulse_is_one_interrupt);
	tcase_add_test(lines, a_line_that_kvm_refused_works_when_it_no_longer_does);
	tcase_add_test(messages, a_route_is_made_changed_and_given_back);
	tcase_add_test(messages, a_message_raised_while_it_is_masked_fires_once_when_it_is_not);
	tcase_add_test(messages, a_route_that_kvm_refuses_leaves_the_old_one);
	tcase_add_test(messages, a_first_route_that_kvm_refuses_takes_no_gsi);
	tcase_add_test(messages, when_routes_run_out_one_is_refused_and_the_others_work);
}
SUITE_MAIN_KVM("irq-kvm", add_tests)
