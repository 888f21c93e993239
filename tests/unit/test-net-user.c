/* SPDX-License-Identifier: BSD-2-Clause */
/* net/user*.c on the real libslirp, behind the real device: an ARP request is answered, options that won't do are refused. */
#include "tests/unit/board.h"

#include <arpa/inet.h>
#include <dlfcn.h>

#include "tests/unit/net-driver.h"

START_TEST(wrong_options_are_refused)
{
	net_refused("user,hostfwd=22-22", EUSAGE, "no protocol");
	net_refused("user,hostfwd=sctp::22-:22", EUSAGE, "no protocol");
	net_refused("user,hostfwd=tcp::2222", EUSAGE, "leads nowhere");
	net_refused("user,hostfwd=tcp::0-:22", EUSAGE, "no address and port of the host");
	net_refused("user,hostfwd=tcp:300.0.0.1:2222-:22", EUSAGE, "no address and port of the host");
	net_refused("user,hostfwd=tcp::65536-:22", EUSAGE, "no address and port of the host");
	net_refused("user,hostfwd=tcp::2222-:", EUSAGE, "no address and port of the guest");
	net_refused("user,hostfwd=tcp::2222-22", EUSAGE, "no address and port of the guest");
	net_refused("user,hostfwd", EUSAGE, "no protocol");
	net_refused("user,guest_ip=10.0.0.2", EUSAGE, "not two addresses of one network");
	net_refused("user,guest_ip=192.168.33.1", EUSAGE, "not two addresses of one network");
	net_refused("user,restrict=maybe", EUSAGE, "restrict");
	net_refused("user,tapif=tap0", EUSAGE, "tapif");
}
END_TEST

START_TEST(a_port_that_is_taken_is_said_to_be)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char network[64];

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(network, sizeof(network), "user,hostfwd=tcp::%u-:22", ntohs(address.sin_port));
	net_refused(network, EADDRINUSE, "can't listen on 127.0.0.1");
	close(fd);
}
END_TEST

/* Who has 192.168.33.1? */
static const uint8_t question[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x15, 0x15, 1, 2, 3, 8, 6,
	0, 1, 8, 0, 6, 4, 0, 1, 2, 0x15, 0x15, 1, 2, 3, 192, 168, 33, 15, 0, 0, 0, 0, 0, 0, 192, 168, 33, 1,
};

static void ask(void)
{
	static const struct virtio_net_hdr_v1 header;

	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	guest_poke(&driver_ram, FRAME, &header, HEADER_SIZE);
	guest_poke(&driver_ram, FRAME + HEADER_SIZE, question, sizeof(question));
	driver_offer(1, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + sizeof(question), false }, 1);
	driver_kick(kvm, 1);
}

static void expect_answer(void)
{
	uint8_t answer[42];

	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no answer within 10 s");
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), answer, sizeof(answer)), 0);
	ck_assert_mem_eq(answer, question + 6, 6);
	ck_assert_uint_eq(answer[21], 2);
	ck_assert_mem_eq(answer + 28, "\xc0\xa8\x21\x01", 4);
}

static void machine(const char *network)
{
	net_machine(network);
	driver_start(BIT(VIRTIO_NET_F_CTRL_VQ), 2);
}

START_TEST(the_host_of_the_network_answers)
{
	machine("mode=user");
	ask();
	expect_answer();
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
}
END_TEST

START_TEST(a_vm_that_says_nothing_has_a_network)
{
	machine(NULL);
	ask();
	expect_answer();
	/* And again behind a reset. */
	driver_start(BIT(VIRTIO_NET_F_CTRL_VQ), 2);
	ask();
	expect_answer();
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
}
END_TEST

START_TEST(a_vm_without_defaults_has_none)
{
	struct board_pick pick = { .name = "networks_init" };

	init_for_each(board_pick_item, &pick);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "nodefaults", "true"), 0);
	ck_assert_int_eq(pick.item->init(kvm), INIT_SKIP);
	board_destroy(kvm);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "user mode", NULL, NULL);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, wrong_options_are_refused);
	tcase_add_test(tests, a_port_that_is_taken_is_said_to_be);
	tcase_add_test(tests, the_host_of_the_network_answers);
	tcase_add_test(tests, a_vm_that_says_nothing_has_a_network);
	tcase_add_test(tests, a_vm_without_defaults_has_none);
}

int main(void)
{
	/* The library is loaded when it is used, so that it may be missing where its header was there. */
	void *library = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		printf("SKIP net-user: no libslirp.so.0 here\n");
		return 0;
	}
	dlclose(library);
	return suite_run("net-user", add_tests);
}
