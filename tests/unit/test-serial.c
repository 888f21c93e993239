/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/serial.c: a 16550A on a terminal whose two ends are pipes. */
#include <fcntl.h>
#include <linux/serial_reg.h>

#include "board.h"
#include "kvm/serial.h"

#define COM1	0x3f8
#define GSI	4

static struct kvm *kvm;
static struct terminal *terminal;
static struct serial *serial;
static int guest_in[2], guest_out[2];

static void setup(void)
{
	const struct serial_place place = { .name = "serial0", .space = NULL, .base = COM1, .gsi = GSI };
	struct serial_place here = place;

	kvm = board_create();
	here.space = &kvm->ports;
	ck_assert_int_eq(pipe2(guest_in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(guest_out, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_eq(terminal_open(kvm, 1, guest_in[0], guest_out[1], &terminal), 0);
	ck_assert_int_eq(serial_create(kvm, &here, terminal, true, &serial), 0);
	board_listen(kvm);
	board_poll(kvm, 2);
}

static void teardown(void)
{
	serial_destroy(serial);
	terminal_close(terminal);
	board_destroy(kvm);
	close(guest_in[0]);
	close(guest_in[1]);
	close(guest_out[0]);
	close(guest_out[1]);
}

static uint8_t in(unsigned int reg)
{
	return board_in(kvm, (uint16_t)(COM1 + reg));
}

static void out(unsigned int reg, uint8_t value)
{
	board_out(kvm, (uint16_t)(COM1 + reg), value);
}

static void type(const char *text)
{
	ck_assert_int_eq(write(guest_in[1], text, strlen(text)), (ssize_t)strlen(text));
	board_poll(kvm, 3);
}

/* Whether there is input, as a guest without interrupts asks. */
static bool has_input(void)
{
	uint8_t status = 0;

	for (int i = 0; i < 3; i++)
		status = in(UART_LSR);
	return status & UART_LSR_DR;
}

/* What the guest has printed. */
static const char *printed(void)
{
	static char text[256];
	ssize_t length;

	terminal_flush(terminal);
	length = read(guest_out[0], text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = '\0';
	return text;
}

START_TEST(power_on_state_is_idle_and_ready)
{
	ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	ck_assert_uint_eq(in(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
	ck_assert_uint_eq(in(UART_IER), 0);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
}
END_TEST

START_TEST(bytes_reach_the_terminal)
{
	for (const char *c = "hello\n"; *c; c++)
		out(UART_TX, (uint8_t)*c);

	ck_assert_str_eq(printed(), "hello\n");
}
END_TEST

START_TEST(fifos_show_in_iir_and_fcr_is_not_lcr)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	ck_assert_uint_eq(in(UART_IIR), 0xc0 | UART_IIR_NO_INT);

	out(UART_IER, UART_IER_RDI);
	type("abc");
	out(UART_LCR, UART_FCR_CLEAR_RCVR);
	ck_assert(in(UART_LSR) & UART_LSR_DR);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	ck_assert(!(in(UART_LSR) & UART_LSR_DR));

	out(UART_FCR, 0);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
}
END_TEST

START_TEST(dlab_hides_data_and_ier)
{
	out(UART_IER, UART_IER_MSI);
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(UART_DLL, 0x34);
	out(UART_DLM, 0x12);
	ck_assert_uint_eq(in(UART_DLL), 0x34);
	ck_assert_uint_eq(in(UART_DLM), 0x12);
	out(UART_LCR, UART_LCR_WLEN8);

	ck_assert_uint_eq(in(UART_IER), UART_IER_MSI);
	ck_assert_str_eq(printed(), "");
}
END_TEST

START_TEST(scratch_remembers_and_ier_has_four_bits)
{
	out(UART_SCR, 0xa5);
	ck_assert_uint_eq(in(UART_SCR), 0xa5);
	out(UART_IER, 0xff);
	ck_assert_uint_eq(in(UART_IER), 0x0f);
	out(UART_MCR, 0xff);
	ck_assert_uint_eq(in(UART_MCR), 0x1f);
}
END_TEST

START_TEST(thri_is_raised_when_enabled_with_an_empty_holding_register)
{
	out(UART_IER, UART_IER_THRI);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);

	out(UART_IER, 0);
	out(UART_IER, UART_IER_THRI);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
}
END_TEST

START_TEST(a_burst_of_bytes_is_one_interrupt)
{
	out(UART_IER, UART_IER_THRI);
	in(UART_IIR);
	board_interrupts(kvm, GSI);

	for (int i = 0; i < 16; i++)
		out(UART_TX, 'x');

	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
}
END_TEST

START_TEST(input_interrupts_by_trigger_level_or_time_out)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	out(UART_IER, UART_IER_RDI);

	type("abc");
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(UART_IIR) & 0x0f, UART_IIR_RX_TIMEOUT);
	type("defgh");
	ck_assert_uint_eq(in(UART_IIR) & 0x0f, UART_IIR_RDI);

	for (const char *c = "abcdefgh"; *c; c++)
		ck_assert_uint_eq(in(UART_RX), (uint8_t)*c);
	ck_assert_uint_eq(in(UART_IIR) & 0x0f, UART_IIR_NO_INT);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
}
END_TEST

START_TEST(more_input_than_the_fifo_holds_is_never_lost)
{
	char byte;

	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	for (int i = 0; i < 1000; i++) {
		byte = (char)(i % 251);
		ck_assert_int_eq(write(guest_in[1], &byte, 1), 1);
	}
	board_poll(kvm, 5);

	for (int i = 0; i < 1000; i++) {
		ck_assert_msg(has_input(), "byte %d is missing", i);
		ck_assert(!(in(UART_LSR) & UART_LSR_OE));
		ck_assert_uint_eq(in(UART_RX), i % 251);
	}
	ck_assert(!(in(UART_LSR) & UART_LSR_DR));
}
END_TEST

START_TEST(loopback_returns_bytes_and_modem_lines)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	ck_assert_uint_eq(in(UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_DTR);
	ck_assert_uint_eq(in(UART_MSR), UART_MSR_RI | UART_MSR_DSR | UART_MSR_DDCD | UART_MSR_DCTS | UART_MSR_DDSR);
	ck_assert_uint_eq(in(UART_MSR) & 0x0f, 0);
	out(UART_MCR, UART_MCR_LOOP);
	ck_assert(in(UART_MSR) & UART_MSR_TERI);

	out(UART_TX, 0x5a);
	ck_assert_uint_eq(in(UART_RX), 0x5a);
	for (int i = 0; i < 17; i++)
		out(UART_TX, (uint8_t)i);
	ck_assert(in(UART_LSR) & UART_LSR_OE);
	ck_assert(!(in(UART_LSR) & UART_LSR_OE));
	for (int i = 0; i < 16; i++)
		ck_assert_uint_eq(in(UART_RX), i);
	ck_assert_str_eq(printed(), "");
}
END_TEST

START_TEST(input_waits_while_the_loop_is_closed)
{
	out(UART_MCR, UART_MCR_LOOP);
	type("z");
	ck_assert(!has_input());

	out(UART_MCR, 0);

	ck_assert(has_input());
	ck_assert_uint_eq(in(UART_RX), 'z');
}
END_TEST

START_TEST(modem_status_change_interrupts_until_read)
{
	out(UART_IER, UART_IER_MSI);
	out(UART_MCR, UART_MCR_LOOP);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_MSI);
	in(UART_MSR);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
}
END_TEST

START_TEST(sysrq_is_a_break_before_the_key)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_IER, UART_IER_RLSI | UART_IER_RDI);
	ck_assert_int_eq(terminal_sysrq(terminal, 's'), 0);
	board_poll(kvm, 2);

	ck_assert_uint_eq(in(UART_IIR) & 0x0f, UART_IIR_RLSI);
	ck_assert(in(UART_LSR) & UART_LSR_BI);
	ck_assert(!(in(UART_LSR) & UART_LSR_BI));
	ck_assert_uint_eq(in(UART_RX), 0);
	ck_assert_uint_eq(in(UART_RX), 's');
}
END_TEST

START_TEST(input_stays_in_the_terminal_while_quiesced)
{
	struct device *device = device_find(kvm, "serial0");

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	out(UART_IER, UART_IER_RDI);
	type("q");
	ck_assert(!has_input());

	device->ops->resume(device);

	ck_assert_uint_eq(in(UART_RX), 'q');
}
END_TEST

START_TEST(linux_opens_the_port_and_loses_no_input)
{
	static const char text[] = "ls -l\npoweroff\n and more than a FIFO holds\n";

	type(text);
	/* as serial8250_do_startup() and set_termios() do it */
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	out(UART_FCR, 0);
	for (int i = 0; i < 2; i++) {
		in(UART_LSR);
		in(UART_RX);
		in(UART_IIR);
		in(UART_MSR);
	}
	out(UART_IER, UART_IER_RLSI | UART_IER_RDI);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		/* a console message in between: interrupts off, and on again */
		if (i == 10) {
			out(UART_IER, 0);
			in(UART_LSR);
			out(UART_TX, '.');
			out(UART_IER, UART_IER_RLSI | UART_IER_RDI);
		}
		ck_assert(in(UART_LSR) & UART_LSR_DR);
		ck_assert_uint_eq(in(UART_RX), (uint8_t)text[i]);
	}
	ck_assert(!has_input());
}
END_TEST

START_TEST(saved_state_loads_the_same)
{
	out(UART_LCR, UART_LCR_DLAB);
	out(UART_DLL, 1);
	out(UART_LCR, UART_LCR_WLEN8);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14);
	out(UART_IER, UART_IER_RDI | UART_IER_THRI);
	out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
	out(UART_SCR, 0x77);
	type("state");

	board_save_load(kvm, "serial0");

	ck_assert_uint_eq(in(UART_SCR), 0x77);
	for (const char *c = "state"; *c; c++)
		ck_assert_uint_eq(in(UART_RX), (uint8_t)*c);
}
END_TEST

static void drain(void)
{
	for (int i = 0; i < 20; i++)
		in(UART_RX);
	in(UART_LSR);
}

START_TEST(hostile_state_is_refused_or_harmless)
{
	type("abc");
	board_load_hostile(kvm, "serial0", drain);
}
END_TEST

START_TEST(the_panic_line_is_seen)
{
	for (const char *c = "[    1.5] Kernel panic - not syncing: test\n"; *c; c++)
		out(UART_TX, (uint8_t)*c);

	ck_assert(atomic_load(&kvm->panicked));
}
END_TEST

/* As Linux's driver, when the kernel opens its console for init. */
START_TEST(opening_the_port_is_user_space)
{
	out(UART_IER, UART_IER_THRI);
	out(UART_IER, 0x0f);
	ck_assert(!atomic_load(&kvm->booted));
	out(UART_IER, UART_IER_RDI | UART_IER_RLSI);
	ck_assert(atomic_load(&kvm->booted));
}
END_TEST

START_TEST(talk_of_panics_is_no_panic)
{
	for (const char *c = "grep 'Kernel panic - not syncing' log\nKKernel panic - not syncing"; *c; c++)
		out(UART_TX, (uint8_t)*c);

	ck_assert(!atomic_load(&kvm->panicked));
}
END_TEST

START_TEST(any_access_of_any_size_is_harmless)
{
	board_hammer(kvm, COM1 - 8, 24, 2000);
	type("input in between");
	board_hammer(kvm, COM1 - 8, 24, 2000);

	device_find(kvm, "serial0")->ops->reset(device_find(kvm, "serial0"));
	ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "16550A", setup, teardown);

	tcase_add_test(tests, power_on_state_is_idle_and_ready);
	tcase_add_test(tests, bytes_reach_the_terminal);
	tcase_add_test(tests, fifos_show_in_iir_and_fcr_is_not_lcr);
	tcase_add_test(tests, dlab_hides_data_and_ier);
	tcase_add_test(tests, scratch_remembers_and_ier_has_four_bits);
	tcase_add_test(tests, thri_is_raised_when_enabled_with_an_empty_holding_register);
	tcase_add_test(tests, a_burst_of_bytes_is_one_interrupt);
	tcase_add_test(tests, input_interrupts_by_trigger_level_or_time_out);
	tcase_add_test(tests, more_input_than_the_fifo_holds_is_never_lost);
	tcase_add_test(tests, loopback_returns_bytes_and_modem_lines);
	tcase_add_test(tests, input_waits_while_the_loop_is_closed);
	tcase_add_test(tests, modem_status_change_interrupts_until_read);
	tcase_add_test(tests, sysrq_is_a_break_before_the_key);
	tcase_add_test(tests, input_stays_in_the_terminal_while_quiesced);
	tcase_add_test(tests, linux_opens_the_port_and_loses_no_input);
	tcase_add_test(tests, saved_state_loads_the_same);
	tcase_add_test(tests, hostile_state_is_refused_or_harmless);
	tcase_add_test(tests, the_panic_line_is_seen);
	tcase_add_test(tests, opening_the_port_is_user_space);
	tcase_add_test(tests, talk_of_panics_is_no_panic);
	tcase_add_test(tests, any_access_of_any_size_is_harmless);
}
SUITE_MAIN("serial", add_tests)
