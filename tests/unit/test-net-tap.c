/* SPDX-License-Identifier: BSD-2-Clause */
/* net/tap*.c behind the real device, on a tap in a network namespace of the test's own, with a packet socket on it. */
#include "tests/unit/board.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>

#define DRIVER_RINGS	5
#include "tests/unit/net-driver.h"

#define OUR_TYPE	0x88b5		/* for experiments: the host's own frames are of others */

static int wire;

START_TEST(wrong_options_are_refused)
{
	net_refused("mode=tap,tapif=", EUSAGE, "no name of an interface");
	net_refused("mode=tap,tapif=sixteencharacter", EUSAGE, "no name of an interface");
	net_refused("mode=tap,bridge=", EUSAGE, "no name of a bridge");
	net_refused("mode=tap,tapif=tap0,fd=3", EUSAGE, "two interfaces");
	net_refused("mode=tap,fd=three", EUSAGE, "no descriptor");
	net_refused("mode=tap,fd=9999", EBADF, "fd=9999");
	net_refused("mode=tap,fd=0", EINVAL, "fd=0 is no tap interface");
	net_refused("mode=tap,hostfwd=tcp::1-:1", EUSAGE, "hostfwd");
}
END_TEST

START_TEST(scripts_that_fail_are_said_to)
{
	net_refused("mode=tap,script=/bin/false", EIO, "'/bin/false' failed for tap0 (status 1)");
	net_refused("mode=tap,script=/no/such", ENOENT, "'/no/such'");
	net_refused("mode=tap,bridge=nosuch0", ENODEV, "bridge=nosuch0");
}
END_TEST

/* ---- frames ---- */

static void machine(const char *network, unsigned int queues)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(OUR_TYPE) };

	net_machine(network);
	driver_start(0, queues);
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(OUR_TYPE));
	ck_assert_int_ge(wire, 0);
	address.sll_ifindex = (int)if_nametoindex("tap0");
	ck_assert_int_gt(address.sll_ifindex, 0);
	ck_assert_int_eq(bind(wire, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void setup(void)
{
	machine("mode=tap,host_mac=02:00:00:00:00:07", 3);
}

static void setup_pairs(void)
{
	machine("mode=tap,mq=2", 5);
}

static void teardown(void)
{
	close(wire);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	/* It was ours, and went with us. */
	ck_assert_uint_eq(if_nametoindex("tap0"), 0);
}

static void make_frame(uint8_t *frame, size_t length)
{
	for (size_t i = 0; i < length; i++)
		frame[i] = (uint8_t)(i * 5);
	memset(frame, 0xff, 6);
	frame[12] = OUR_TYPE >> 8;
	frame[13] = OUR_TYPE & 0xff;
}

START_TEST(frames_go_out_and_come_in)
{
	static const struct virtio_net_hdr_v1 header;
	uint8_t frame[1000], seen[1200];

	make_frame(frame, sizeof(frame));
	guest_poke(&driver_ram, FRAME, &header, HEADER_SIZE);
	guest_poke(&driver_ram, FRAME + HEADER_SIZE, frame, sizeof(frame));
	driver_offer(1, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + sizeof(frame), false }, 1);
	driver_finish(kvm, 1);
	ck_assert_int_eq(recv(wire, seen, sizeof(seen), 0), sizeof(frame));
	ck_assert_mem_eq(seen, frame, sizeof(frame));

	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	ck_assert_int_eq(send(wire, frame, sizeof(frame), 0), sizeof(frame));
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
	ck_assert_uint_eq(driver_used_length(0, 0), HEADER_SIZE + sizeof(frame));
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), seen, sizeof(frame)), 0);
	ck_assert_mem_eq(seen, frame, sizeof(frame));
}
END_TEST

START_TEST(what_came_before_the_driver_is_dropped)
{
	uint8_t frame[100];

	make_frame(frame, sizeof(frame));
	virtio_set_status(driven, 0);
	for (unsigned int i = 0; i < 50; i++)
		ck_assert_int_eq(send(wire, frame, sizeof(frame), 0), sizeof(frame));
	driver_start(0, 3);
	frame[20] = 77;
	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	ck_assert_int_eq(send(wire, frame, sizeof(frame), 0), sizeof(frame));
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
	ck_assert_uint_eq(driver_peek(BUFFERS + HEADER_SIZE + 20), 77);
}
END_TEST

START_TEST(a_flood_is_dropped_by_the_host_while_the_guest_has_no_buffers)
{
	uint8_t frame[100];

	make_frame(frame, sizeof(frame));
	for (unsigned int i = 0; i < 3000; i++)
		if (send(wire, frame, sizeof(frame), MSG_DONTWAIT) < 0)
			ck_assert_int_eq(errno, ENOBUFS);
	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
}
END_TEST

START_TEST(an_interface_that_is_deleted_takes_the_link_down)
{
	/* As `ip link del` does it, by hand: RTM_DELLINK. */
	const struct { struct nlmsghdr { uint32_t length; uint16_t type, flags; uint32_t sequence, port; } header;
		       struct { uint8_t family, pad; uint16_t type; int32_t index; uint32_t flags, change; } link; } request = {
		{ sizeof(request), 17, 1, 0, 0 }, { .index = (int)if_nametoindex("tap0") }
	};
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	uint8_t status[2] = { 1 };

	log_set_sink(board_hush);
	/* A guest without buffers isn't listened for, so that it would hear later. */
	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
	usleep(10000);
	ck_assert_int_eq(send(netlink, &request, sizeof(request), 0), sizeof(request));
	close(netlink);
	for (unsigned int i = 0; i < 1000 && (status[0] & VIRTIO_NET_S_LINK_UP); i++) {
		usleep(10000);
		virtio_config_read(driven, offsetof(struct virtio_net_config, status), status, sizeof(status));
	}
	ck_assert(!(status[0] & VIRTIO_NET_S_LINK_UP));
	/* And a reset doesn't trip over it. */
	driver_start(0, 3);
	log_set_sink(NULL);
}
END_TEST

START_TEST(a_second_pair_is_a_second_queue_of_the_interface)
{
	static const uint8_t two[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0 };
	static const struct virtio_net_hdr_v1 header;
	const struct driver_buffer command[] = { { FRAME, sizeof(two), false }, { FRAME + 16, 1, true } };
	uint8_t frame[100], seen[200];

	guest_poke(&driver_ram, FRAME, two, sizeof(two));
	driver_offer(4, 0, command, 2);
	driver_finish(kvm, 4);
	ck_assert_uint_eq(driver_peek(FRAME + 16), VIRTIO_NET_OK);
	make_frame(frame, sizeof(frame));
	guest_poke(&driver_ram, FRAME, &header, HEADER_SIZE);
	guest_poke(&driver_ram, FRAME + HEADER_SIZE, frame, sizeof(frame));
	driver_offer(3, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + sizeof(frame), false }, 1);
	driver_finish(kvm, 3);
	ck_assert_int_eq(recv(wire, seen, sizeof(seen), 0), sizeof(frame));
	ck_assert_mem_eq(seen, frame, sizeof(frame));
}
END_TEST

static bool can_have_taps(void)
{
	int fd;

	if (access("/dev/net/tun", R_OK | W_OK) || geteuid() || unshare(CLONE_NEWNET))
		return false;
	/* The host says nothing by itself then. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) == 1)
		close(fd);
	return true;
}

static void add_options(Suite *suite)
{
	TCase *tests = suite_case(suite, "options", NULL, NULL);

	tcase_add_test(tests, wrong_options_are_refused);
}

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "scripts", NULL, NULL);

	add_options(suite);
	tcase_add_test(tests, scripts_that_fail_are_said_to);
	tests = suite_case(suite, "frames", setup, teardown);
	tcase_add_test(tests, frames_go_out_and_come_in);
	tcase_add_test(tests, what_came_before_the_driver_is_dropped);
	tcase_add_test(tests, a_flood_is_dropped_by_the_host_while_the_guest_has_no_buffers);
	tcase_add_test(tests, an_interface_that_is_deleted_takes_the_link_down);
	tests = suite_case(suite, "pairs", setup_pairs, teardown);
	tcase_add_test(tests, a_second_pair_is_a_second_queue_of_the_interface);
}

int main(void)
{
	virtio_transport_register(&driver_transport);
	if (can_have_taps())
		return suite_run("net-tap", add_tests);
	printf("SKIP net-tap: no network namespace or /dev/net/tun for the frames' tests (not root)\n");
	return suite_run("net-tap", add_options);
}
