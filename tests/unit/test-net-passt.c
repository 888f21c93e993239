/* SPDX-License-Identifier: BSD-2-Clause */
/* net/passt.c: a program of the test's own in passt's place, behind the real device. */
#include "tests/unit/board.h"

#include <sys/stat.h>

#include "tests/unit/folder.h"
#include "tests/unit/net-driver.h"

#define FRAME_SIZE	1000u

static char program[64], notes[64];

/* A shell script that says @help, and else notes its arguments and PID, and does @what. */
static void write_program(const char *help, const char *what)
{
	FILE *file = fopen(program, "w");

	ck_assert_ptr_nonnull(file);
	fprintf(file, "#!/bin/sh\n[ \"$1\" != --help ] || { echo '%s'; exit; }\necho \"$$ $*\" > %s\n%s\n", help, notes, what);
	fclose(file);
	ck_assert_int_eq(chmod(program, 0700), 0);
}

static void setup(void)
{
	folder_enter();
	snprintf(program, sizeof(program), "%s/passt", folder_path);
	snprintf(notes, sizeof(notes), "%s/notes", folder_path);
	log_set_sink(net_hear);
	kvm = driver_machine();
}

static void teardown(void)
{
	if (kvm)
		board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	folder_leave();
	log_set_sink(NULL);
}

static int begin(const char *more)
{
	struct board_pick pick = { .name = "networks_init" };
	char text[160];

	snprintf(text, sizeof(text), "mode=passt,program=%s%s", program, more);
	ck_assert_int_eq(config_set(kvm->config, "network", text), 0);
	init_for_each(board_pick_item, &pick);
	return pick.item->init(kvm);
}

static void machine(const char *more)
{
	char text[160];

	snprintf(text, sizeof(text), "mode=passt,program=%s%s", program, more);
	ck_assert_int_eq(config_set(kvm->config, "network", text), 0);
	board_add(kvm, "networks_init");
	board_add(kvm, "net_init");
	driver_start(BIT(VIRTIO_NET_F_CTRL_VQ), 2);
}

static int noted(char *text, int size)
{
	FILE *file = fopen(notes, "r");
	int pid = 0;

	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(fgets(text, size, file));
	fclose(file);
	ck_assert_int_eq(sscanf(text, "%d", &pid), 1);
	ck_assert_int_gt(pid, 1);
	return pid;
}

static bool link_is_down(void)
{
	uint8_t status[2];

	virtio_config_read(driven, offsetof(struct virtio_net_config, status), status, sizeof(status));
	return !(status[0] & VIRTIO_NET_S_LINK_UP);
}

START_TEST(frames_go_to_the_program_and_come_back)
{
	uint8_t frame[FRAME_SIZE], seen[FRAME_SIZE];

	write_program("", "exec cat <&3 >&3");
	machine("");
	memset(frame, 0xff, sizeof(frame));
	for (unsigned int i = 6; i < FRAME_SIZE; i++)
		frame[i] = (uint8_t)(i * 3);
	guest_poke(&driver_ram, FRAME, &(struct virtio_net_hdr_v1){ 0 }, HEADER_SIZE);
	guest_poke(&driver_ram, FRAME + HEADER_SIZE, frame, sizeof(frame));
	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	driver_offer(1, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + FRAME_SIZE, false }, 1);
	driver_kick(kvm, 1);
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), seen, sizeof(seen)), 0);
	ck_assert_mem_eq(seen, frame, sizeof(seen));
}
END_TEST

START_TEST(it_has_its_arguments_and_ends_with_the_vm)
{
	char text[256];
	int pid;

	write_program("", "exec cat <&3 >/dev/null");
	machine(",args=-t 2222:22  --mtu 1500");
	pid = noted(text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, " --foreground --quiet --fd 3 -t 2222:22 --mtu 1500\n"));
	ck_assert_int_eq(kill(pid, 0), 0);
	board_destroy(kvm);
	kvm = NULL;
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(one_that_does_not_end_with_its_socket_is_ended)
{
	char text[256];
	int pid;

	write_program("", "exec sleep 1000");
	machine("");
	pid = noted(text, sizeof(text));
	board_destroy(kvm);
	kvm = NULL;
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(one_that_ends_takes_the_link_down)
{
	char text[256];

	write_program("", "exec cat <&3 >/dev/null");
	machine("");
	ck_assert(!link_is_down());
	ck_assert_int_eq(kill(noted(text, sizeof(text)), SIGKILL), 0);
	ck_assert_msg(driver_wait(kvm, link_is_down), "the link is up after 10 s");
}
END_TEST

START_TEST(one_that_ends_at_once_is_an_error)
{
	write_program("", "exit 1");
	ck_assert_int_lt(begin(""), 0);
	ck_assert_ptr_nonnull(strstr(net_said, "ended at once"));
}
END_TEST

START_TEST(one_that_is_not_there_is_an_error)
{
	ck_assert_int_eq(begin(""), -ENOENT);
	ck_assert_ptr_nonnull(strstr(net_said, "there is no program"));
}
END_TEST

/* This one says back what it hears, which is no answer. */
START_TEST(one_that_knows_vhost_user_is_spoken_to_so)
{
	char text[256];

	write_program("  --vhost-user  Enable vhost-user mode", "exec cat <&3 >&3");
	ck_assert_int_lt(begin(""), 0);
	ck_assert_ptr_nonnull(strstr(net_said, "breaks the protocol"));
	noted(text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, " --vhost-user\n"));
}
END_TEST

START_TEST(unless_that_is_off_or_frames_are_captured)
{
	char text[256];

	write_program("  --vhost-user  Enable vhost-user mode", "exec cat <&3 >&3");
	machine(",vhost-user=off");
	noted(text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "--vhost-user"));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "passt", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, frames_go_to_the_program_and_come_back);
	tcase_add_test(tests, it_has_its_arguments_and_ends_with_the_vm);
	tcase_add_test(tests, one_that_does_not_end_with_its_socket_is_ended);
	tcase_add_test(tests, one_that_ends_takes_the_link_down);
	tcase_add_test(tests, one_that_ends_at_once_is_an_error);
	tcase_add_test(tests, one_that_is_not_there_is_an_error);
	tcase_add_test(tests, one_that_knows_vhost_user_is_spoken_to_so);
	tcase_add_test(tests, unless_that_is_off_or_frames_are_captured);
}
SUITE_MAIN("net-passt", add_tests)
