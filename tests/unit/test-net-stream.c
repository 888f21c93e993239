/* SPDX-License-Identifier: BSD-2-Clause */
/* net/stream.c behind the real device: peers that are slow, hostile, or leave. */
#include "tests/unit/board.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/net-driver.h"

#define FRAME_SIZE	1000u

static char folder[32], path[64];
static int peer = -1;

/* ---- what is refused ---- */

static const char *with_path(const char *before, const char *behind)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s%s%s", before, path, behind);
	return text;
}

static void setup_folder(void)
{
	strcpy(folder, "/tmp/lkvm-test-stream-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
}

static void teardown_folder(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static int listen_at_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, sizeof(path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	return fd;
}

START_TEST(wrong_options_are_refused)
{
	int fd;

	net_refused("mode=stream", EUSAGE, "wants either unix=PATH or fd=N");
	net_refused("mode=stream,unix=/a,fd=3", EUSAGE, "wants either unix=PATH or fd=N");
	net_refused("mode=stream,unix=", EUSAGE, "no path of");
	net_refused("mode=stream,fd=x", EUSAGE, "no descriptor");
	net_refused("mode=stream,fd=3,server=on", EUSAGE, "server=on goes with unix=");
	net_refused("mode=stream,fd=9999", EBADF, "fd=9999");
	net_refused("mode=stream,fd=0", ENOTSOCK, "fd=0");
	net_refused(with_path("mode=stream,unix=", ""), ENOENT, "nobody listens there");
	net_refused("mode=stream,unix=/no/such/folder,server=on", ENOENT, "can't make the socket");
	fd = listen_at_path();
	net_refused(with_path("mode=stream,unix=", ",server=on"), EADDRINUSE, "somebody listens there");
	close(fd);
	net_refused(with_path("mode=stream,unix=", ""), ECONNREFUSED, "nobody listens there");
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	net_refused(with_path("mode=stream,unix=", ",server=on"), EADDRINUSE, "no socket");
}
END_TEST

/* ---- frames ---- */

static void machine(const char *network)
{
	log_set_sink(board_hush);
	net_machine(network);
	driver_start(BIT(VIRTIO_NET_F_CTRL_VQ), 2);
}

static void teardown(void)
{
	close(peer);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

static void setup_pair(void)
{
	char network[32];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	peer = fds[1];
	snprintf(network, sizeof(network), "mode=stream,fd=%d", fds[0]);
	machine(network);
}

static bool link_is(bool up)
{
	uint8_t status[2];

	virtio_config_read(driven, offsetof(struct virtio_net_config, status), status, sizeof(status));
	return (status[0] & VIRTIO_NET_S_LINK_UP) == (up ? VIRTIO_NET_S_LINK_UP : 0);
}

static bool link_is_up(void)
{
	return link_is(true);
}

static bool link_is_down(void)
{
	return link_is(false);
}

static bool frame_left(void)
{
	return ring_used_index(&driver_rings[1]) != 0;
}

static void offer_buffer(void)
{
	driver_offer(0, 0, &(struct driver_buffer){ BUFFERS, 1600, true }, 1);
	driver_kick(kvm, 0);
}

static void send_frames(unsigned int count)
{
	static const struct virtio_net_hdr_v1 header;

	guest_poke(&driver_ram, FRAME, &header, HEADER_SIZE);
	for (unsigned int i = 0; i < count; i++) {
		driver_offer(1, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + FRAME_SIZE, false }, 1);
		if (i % DRIVER_QUEUE_SIZE == DRIVER_QUEUE_SIZE - 1 || i == count - 1)
			driver_finish(kvm, 1);
	}
}

static void put_frame(uint8_t record[4 + FRAME_SIZE])
{
	uint32_t prefix = htonl(FRAME_SIZE);

	memcpy(record, &prefix, 4);
	for (unsigned int i = 0; i < FRAME_SIZE; i++)
		record[4 + i] = (uint8_t)(i * 3);
	memset(record + 4, 0xff, 6);
}

START_TEST(frames_go_out_behind_their_length)
{
	uint8_t record[4 + FRAME_SIZE], seen[2 * sizeof(record)];

	put_frame(record);
	guest_poke(&driver_ram, FRAME + HEADER_SIZE, record + 4, FRAME_SIZE);
	send_frames(1);
	ck_assert_int_eq(recv(peer, seen, sizeof(seen), MSG_DONTWAIT), sizeof(record));
	ck_assert_mem_eq(seen, record, sizeof(record));
}
END_TEST

START_TEST(frames_come_in_whatever_their_pieces)
{
	uint8_t record[4 + FRAME_SIZE], seen[FRAME_SIZE];

	put_frame(record);
	offer_buffer();
	for (size_t i = 0; i < sizeof(record); i += i < 6 ? 1 : 333)
		ck_assert_int_gt(send(peer, record + i, i < 6 ? 1 : MIN((size_t)333, sizeof(record) - i), 0), 0);
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
	ck_assert_uint_eq(driver_used_length(0, 0), HEADER_SIZE + FRAME_SIZE);
	ck_assert_int_eq(memory_read(driver_ram.space, gpa(BUFFERS + HEADER_SIZE), seen, FRAME_SIZE), 0);
	ck_assert_mem_eq(seen, record + 4, FRAME_SIZE);
}
END_TEST

START_TEST(a_peer_that_does_not_read_loses_whole_frames)
{
	static uint8_t seen[4 + FRAME_SIZE];
	unsigned int frames = 0, idle = 0;

	send_frames(64 * 40);
	while (idle < 50) {
		if (recv(peer, seen, sizeof(seen), MSG_DONTWAIT | MSG_PEEK) < (ssize_t)sizeof(seen)) {
			usleep(1000);
			idle++;
			continue;
		}
		ck_assert_int_eq(recv(peer, seen, sizeof(seen), MSG_WAITALL), sizeof(seen));
		ck_assert_mem_eq(seen, "\0\0\x03\xe8", 4);
		frames++;
		idle = 0;
	}
	ck_assert_uint_gt(frames, 100);
	ck_assert_uint_lt(frames, 64 * 40);
	ck_assert_int_lt(recv(peer, seen, 1, MSG_DONTWAIT), 0);
	/* And is served again. */
	send_frames(1);
	ck_assert_int_eq(recv(peer, seen, sizeof(seen), MSG_WAITALL), sizeof(seen));
}
END_TEST

START_TEST(a_peer_that_floods_fills_its_own_socket)
{
	uint8_t record[4 + FRAME_SIZE];
	unsigned int sent = 0;

	put_frame(record);
	usleep(10000);
	while (send(peer, record, sizeof(record), MSG_DONTWAIT) > 0)
		ck_assert_uint_lt(++sent, 100000);
	offer_buffer();
	ck_assert_msg(driver_wait(kvm, net_frame_arrived), "no frame within 10 s");
	ck_assert_uint_eq(driver_used_length(0, 0), HEADER_SIZE + FRAME_SIZE);
}
END_TEST

START_TEST(a_peer_that_sends_no_frames_is_disconnected)
{
	static const uint8_t garbage[][4] = { { 0, 0, 0, 0 }, { 0xff, 0xff, 0xff, 0xff }, { 0, 1, 0, 0x12 } };
	uint8_t byte;

	offer_buffer();
	ck_assert(link_is(true));
	ck_assert_int_eq(send(peer, garbage[_i], 4, 0), 4);
	ck_assert(driver_wait(kvm, link_is_down));
	ck_assert_uint_eq(recv(peer, &byte, 1, MSG_WAITALL), 0);
	/* A guest that sends on sends nowhere. */
	driver_offer(1, 0, &(struct driver_buffer){ FRAME, HEADER_SIZE + FRAME_SIZE, false }, 1);
	driver_kick(kvm, 1);
	ck_assert(driver_wait(kvm, frame_left));
}
END_TEST

START_TEST(a_peer_that_leaves_takes_the_link_down_while_the_guest_has_no_buffers)
{
	usleep(10000);
	close(peer);
	ck_assert(driver_wait(kvm, link_is_down));
	driver_start(BIT(VIRTIO_NET_F_CTRL_VQ), 2);
	ck_assert(link_is(false));
}
END_TEST

static int connect_to_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, sizeof(path));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

START_TEST(a_server_takes_one_peer_after_another)
{
	uint8_t record[4 + FRAME_SIZE], seen[4 + FRAME_SIZE];
	struct stat status;
	int next;

	setup_folder();
	/* One that is dead is taken away. */
	close(listen_at_path());
	machine(with_path("mode=stream,unix=", ",server=on"));
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0600);
	ck_assert(link_is(false));
	send_frames(1);
	peer = connect_to_path();
	ck_assert(driver_wait(kvm, link_is_up));
	next = connect_to_path();
	put_frame(record);
	offer_buffer();
	ck_assert_int_eq(send(peer, record, sizeof(record), 0), sizeof(record));
	ck_assert(driver_wait(kvm, net_frame_arrived));
	close(peer);
	peer = next;
	for (unsigned int i = 0; i < 1000 && recv(peer, seen, sizeof(seen), MSG_DONTWAIT) < 0; i++) {
		send_frames(1);
		usleep(1000);
	}
	ck_assert(link_is(true));
	teardown();
	ck_assert_int_lt(stat(path, &status), 0);
	teardown_folder();
}
END_TEST

START_TEST(a_client_connects_again)
{
	int listener, first;

	setup_folder();
	listener = listen_at_path();
	machine(with_path("mode=stream,unix=", ""));
	first = accept(listener, NULL, NULL);
	ck_assert(link_is(true));
	offer_buffer();
	close(first);
	ck_assert(driver_wait(kvm, link_is_down));
	peer = accept(listener, NULL, NULL);
	ck_assert(driver_wait(kvm, link_is_up));
	close(listener);
	teardown();
	teardown_folder();
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "options", setup_folder, teardown_folder);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, wrong_options_are_refused);
	tests = suite_case(suite, "frames", setup_pair, teardown);
	tcase_add_test(tests, frames_go_out_behind_their_length);
	tcase_add_test(tests, frames_come_in_whatever_their_pieces);
	tcase_add_test(tests, a_peer_that_does_not_read_loses_whole_frames);
	tcase_add_test(tests, a_peer_that_floods_fills_its_own_socket);
	tcase_add_loop_test(tests, a_peer_that_sends_no_frames_is_disconnected, 0, 3);
	tcase_add_test(tests, a_peer_that_leaves_takes_the_link_down_while_the_guest_has_no_buffers);
	tests = suite_case(suite, "peers", NULL, NULL);
	tcase_add_test(tests, a_server_takes_one_peer_after_another);
	tcase_add_test(tests, a_client_connects_again);
}
SUITE_MAIN("net-stream", add_tests)
