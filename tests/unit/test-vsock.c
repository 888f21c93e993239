/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio/vsock*.c: connections from both sides over real Unix sockets, credit, ends of all kinds, and drivers and host
 * programs that lie.
 */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/virtio-driver.h"

enum { RECEIVE, TRANSMIT, EVENT };

#define CID		42
#define RX_BUFFER	4096U
#define RX_DATA		(RAM_BASE + 0x10000)	/* one for each of the first RX_COUNT descriptors */
#define RX_COUNT	16U
#define TX_DATA		(RAM_BASE + 0x20000)
#define HEADER		((uint32_t)sizeof(struct virtio_vsock_hdr))
#define BUFFER		KIB(128)
#define GUEST_PORT	1234
#define HOST_PORT	5000

static struct kvm *kvm;
static char folder[64], path[96];
static unsigned int rings_used[2];
static uint16_t rx_seen, rx_posted;
static struct virtio_vsock_hdr last;
static uint8_t last_data[KIB(64)];

/* ---- the driver ---- */

static void start(unsigned int first, unsigned int second)
{
	const unsigned int queues[2] = { first, second };

	virtio_set_status(driven, 0);
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_set_features(driven, driven->features_offered & ~BIT(VIRTIO_RING_F_EVENT_IDX));
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < 2; i++) {
		struct ring *ring = &driver_rings[i];
		static const uint8_t zeroes[0x8000];

		guest_poke(&driver_ram, DRIVER_RING(i), zeroes, sizeof(zeroes));
		ring_restart(ring);
		rings_used[i] = queues[i];
		virtio_queue_setup(driven, queues[i], ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
		virtio_queue_enable(driven, queues[i]);
	}
	rx_seen = rx_posted = 0;
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
				  VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(driven->running);
}

static void post_buffers(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		const uint16_t id = rx_posted++ % RX_COUNT;
		const struct driver_buffer buffer = { RX_DATA + id * RX_BUFFER, RX_BUFFER, true };

		driver_offer(0, id, &buffer, 1);
	}
	driver_kick(kvm, rings_used[0]);
}

/* The next packet into last and last_data, its buffer given again; false if none comes in @ms. */
static bool next_packet(unsigned int ms)
{
	struct ring *ring = &driver_rings[0];
	uint64_t end = event_now_ns() + (uint64_t)ms * 1000000;
	uint32_t id, length;

	while (ring_used_index(ring) == rx_seen) {
		if (event_now_ns() > end)
			return false;
		event_loop_poll(kvm->loop, 1);
	}
	id = ring_used_id(ring, (uint16_t)rx_seen);
	length = ring_used_length(ring, (uint16_t)rx_seen++);
	ck_assert_uint_ge(length, HEADER);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(RX_DATA + id * RX_BUFFER), &last, HEADER), 0);
	ck_assert_uint_eq(le32toh(last.len), length - HEADER);
	ck_assert_uint_eq(le64toh(last.src_cid), 2);
	ck_assert_uint_eq(le64toh(last.dst_cid), CID);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(RX_DATA + id * RX_BUFFER + HEADER), last_data, length - HEADER), 0);
	post_buffers(1);
	return true;
}

static void expect(uint16_t operation, uint32_t guest_port, uint32_t host_port)
{
	ck_assert_msg(next_packet(5000), "expected a packet of operation %u, seen none", operation);
	ck_assert_uint_eq(le16toh(last.op), operation);
	ck_assert_uint_eq(le32toh(last.dst_port), guest_port);
	if (host_port)
		ck_assert_uint_eq(le32toh(last.src_port), host_port);
}

static struct virtio_vsock_hdr packet(uint16_t operation, uint32_t guest_port, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(CID), .dst_cid = htole64(2), .src_port = htole32(guest_port),
		.dst_port = htole32(host_port), .type = htole16(VIRTIO_VSOCK_TYPE_STREAM), .op = htole16(operation),
		.buf_alloc = htole32(KIB(64)),
	};
}

static void offer_packet(const struct virtio_vsock_hdr *header, const void *data, uint32_t length)
{
	const struct driver_buffer buffers[] = { { TX_DATA, HEADER, false }, { TX_DATA + HEADER, length, false } };
	struct ring *ring = &driver_rings[1];

	guest_poke(&driver_ram, TX_DATA, header, HEADER);
	if (length)
		guest_poke(&driver_ram, TX_DATA + HEADER, data, length);
	driver_offer(1, (uint16_t)(ring->next_avail * 2 % DRIVER_QUEUE_SIZE), buffers, length ? 2 : 1);
	driver_kick(kvm, TRANSMIT);
}

static bool all_sent(void)
{
	return ring_used_index(&driver_rings[1]) == driver_rings[1].next_avail;
}

static void put(const struct virtio_vsock_hdr *header, const void *data, uint32_t length)
{
	offer_packet(header, data, length);
	ck_assert(driver_wait(kvm, all_sent));
}

static void say(uint16_t operation, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	struct virtio_vsock_hdr header = packet(operation, guest_port, host_port);

	header.flags = htole32(flags);
	put(&header, NULL, 0);
}

static void say_data(uint32_t host_port, const void *data, uint32_t length)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, GUEST_PORT, host_port);

	header.len = htole32(length);
	put(&header, data, length);
}

/* ---- host programs ---- */

static struct sockaddr_un address_of(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	return address;
}

static int listen_on(uint32_t port)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	char name[108];

	snprintf(name, sizeof(name), "%s_%u", path, port);
	address = address_of(name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 512), 0);
	return fd;
}

static int dial(const char *line)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = address_of(path);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(send(fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
	return fd;
}

/* What comes on @fd, up to @want bytes; the loop goes on meanwhile. -1 for none in 5 s. */
static ssize_t hear(int fd, void *buffer, size_t want)
{
	uint64_t end = event_now_ns() + 5000000000ULL;
	ssize_t got;

	while ((got = recv(fd, buffer, want, 0)) < 0 && errno == EAGAIN && event_now_ns() < end)
		event_loop_poll(kvm->loop, 1);
	return got;
}

static void setup(void)
{
	char option[128];

	log_set_sink(board_hush);
	snprintf(folder, sizeof(folder), "/tmp/lkvm-test-vsock.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/v", folder);
	kvm = driver_machine();
	snprintf(option, sizeof(option), "%u,path=%s", CID, path);
	ck_assert_int_eq(config_set(kvm->config, "vsock", option), 0);
	board_add(kvm, "vsock_init");
	start(RECEIVE, TRANSMIT);
	post_buffers(RX_COUNT);
}

static void teardown(void)
{
	char command[128];

	board_destroy(kvm);
	ck_assert_int_ne(access(path, F_OK), 0);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* A connection of the guest's to HOST_PORT; the host's end. */
static int connect_out(void)
{
	int listener = listen_on(HOST_PORT), fd;

	say(VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT, 0);
	expect(VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, HOST_PORT);
	ck_assert_uint_eq(le32toh(last.buf_alloc), BUFFER);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	close(listener);
	return fd;
}

/* ---- good programs ---- */

START_TEST(the_guest_reaches_a_program_on_the_host)
{
	int fd = connect_out();
	char text[16] = "";

	say_data(HOST_PORT, "ping", 4);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 4);
	ck_assert_str_eq(text, "ping");
	ck_assert_int_eq(send(fd, "pong!", 5, MSG_NOSIGNAL), 5);
	expect(VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);
	ck_assert_uint_eq(le32toh(last.len), 5);
	ck_assert_mem_eq(last_data, "pong!", 5);
	ck_assert_uint_eq(le32toh(last.fwd_cnt), 4);
	say(VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, 3);
	expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 0);
	close(fd);
}
END_TEST

START_TEST(a_port_where_nobody_listens_is_refused)
{
	say(VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT, 0);
	expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
}
END_TEST

START_TEST(a_program_on_the_host_reaches_the_guest)
{
	int fd = dial("CONNECT 80\nGET"), length;
	char line[32] = "", expected[32];
	uint32_t port;

	expect(VIRTIO_VSOCK_OP_REQUEST, 80, 0);
	port = le32toh(last.src_port);
	say(VIRTIO_VSOCK_OP_RESPONSE, 80, port, 0);
	length = snprintf(expected, sizeof(expected), "OK %u\n", port);
	ck_assert_int_eq(hear(fd, line, sizeof(line) - 1), length);
	ck_assert_str_eq(line, expected);
	/* What stood behind the line is the guest's. */
	expect(VIRTIO_VSOCK_OP_RW, 80, port);
	ck_assert_uint_eq(le32toh(last.len), 3);
	ck_assert_mem_eq(last_data, "GET", 3);
	close(fd);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN, 80, port);
	ck_assert_uint_eq(le32toh(last.flags), 3);
}
END_TEST

START_TEST(a_guest_that_refuses_ends_the_hosts_connection)
{
	int fd = dial("CONNECT 80\n");
	char line[32];

	expect(VIRTIO_VSOCK_OP_REQUEST, 80, 0);
	say(VIRTIO_VSOCK_OP_RST, 80, le32toh(last.src_port), 0);
	ck_assert_int_eq(hear(fd, line, sizeof(line)), 0);
	close(fd);
}
END_TEST

START_TEST(a_line_may_come_in_pieces)
{
	int fd = dial("CONN");

	board_poll(kvm, 5);
	ck_assert_int_eq(send(fd, "ECT 7", 5, MSG_NOSIGNAL), 5);
	board_poll(kvm, 5);
	ck_assert_int_eq(send(fd, "7\n", 2, MSG_NOSIGNAL), 2);
	expect(VIRTIO_VSOCK_OP_REQUEST, 77, 0);
	close(fd);
	expect(VIRTIO_VSOCK_OP_RST, 77, le32toh(last.src_port));
}
END_TEST

START_TEST(one_side_may_end_before_the_other)
{
	int fd = connect_out();
	char text[16];

	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
	ck_assert_uint_eq(le32toh(last.flags), VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_data(HOST_PORT, "late", 4);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 4);
	say(VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, VIRTIO_VSOCK_SHUTDOWN_SEND);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 0);
	close(fd);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT);
	ck_assert_uint_eq(le32toh(last.flags), 3);
}
END_TEST

/* ---- credit ---- */

START_TEST(no_more_is_sent_than_the_guest_has_room_for)
{
	struct virtio_vsock_hdr update = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
	int fd = connect_out();
	static char data[KIB(100)];
	uint32_t sum = 0;

	update.buf_alloc = htole32(10000);
	put(&update, NULL, 0);
	ck_assert_int_eq(send(fd, data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
	while (next_packet(100))
		sum += le32toh(last.len);
	ck_assert_uint_eq(sum, 10000);
	update.fwd_cnt = htole32(4000);
	put(&update, NULL, 0);
	while (next_packet(100))
		sum += le32toh(last.len);
	ck_assert_uint_eq(sum, 14000);
	/* It says that it has taken more than there was. */
	update.fwd_cnt = htole32(20000);
	put(&update, NULL, 0);
	ck_assert(!next_packet(50));
	close(fd);
}
END_TEST

START_TEST(what_the_host_does_not_take_is_held_so_far_and_no_further)
{
	static uint8_t chunk[KIB(16)], taken[KIB(16)];
	uint32_t sent = 0, taken_sum = 0, told;
	int fd = connect_out(), size = 4096;
	ssize_t got;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	/* As much as was promised: what the socket takes, and BUFFER. */
	do {
		memset(chunk, (int)(sent / sizeof(chunk)), sizeof(chunk));
		say_data(HOST_PORT, chunk, sizeof(chunk));
		sent += (uint32_t)sizeof(chunk);
		told = 0;
		while (next_packet(0))
			told = le32toh(last.fwd_cnt);
	} while (sent - told <= BUFFER - sizeof(chunk) && sent < MIB(4));
	ck_assert_uint_lt(sent, MIB(4));
	while (taken_sum < sent) {
		got = hear(fd, taken, sizeof(taken));
		ck_assert_int_gt(got, 0);
		for (ssize_t i = 0; i < got; i++)
			ck_assert_uint_eq(taken[i], (uint8_t)((taken_sum + (uint32_t)i) / sizeof(chunk)));
		taken_sum += (uint32_t)got;
	}
	say(VIRTIO_VSOCK_OP_CREDIT_REQUEST, GUEST_PORT, HOST_PORT, 0);
	do
		expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, HOST_PORT);
	while (le32toh(last.fwd_cnt) != sent);
	/* And beyond. */
	for (unsigned int i = 0; i < 1000 && le16toh(last.op) != VIRTIO_VSOCK_OP_RST; i++) {
		say_data(HOST_PORT, chunk, sizeof(chunk));
		next_packet(0);
	}
	ck_assert_uint_eq(le16toh(last.op), VIRTIO_VSOCK_OP_RST);
	close(fd);
}
END_TEST

START_TEST(an_end_comes_behind_the_data)
{
	static uint8_t chunk[KIB(16)];
	int fd = connect_out(), size = 4096;
	ssize_t got;
	size_t sum = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (unsigned int i = 0; i < 8; i++)
		say_data(HOST_PORT, chunk, sizeof(chunk));
	say(VIRTIO_VSOCK_OP_SHUTDOWN, GUEST_PORT, HOST_PORT, 3);
	while ((got = hear(fd, chunk, sizeof(chunk))) > 0)
		sum += (size_t)got;
	ck_assert_int_eq(got, 0);
	ck_assert_uint_eq(sum, 8 * sizeof(chunk));
	close(fd);
}
END_TEST

START_TEST(without_buffers_data_waits_in_the_socket)
{
	int fd = connect_out();
	uint64_t begin;
	char text[64] = "x";

	/* Uses up all buffers without giving one back. */
	for (unsigned int i = 0; i < 200; i++) {
		(void)!send(fd, text, sizeof(text), MSG_NOSIGNAL);
		board_poll(kvm, 1);
	}
	ck_assert_uint_eq(ring_used_index(&driver_rings[0]), rx_posted);
	/* The loop sleeps meanwhile. */
	begin = event_now_ns();
	for (unsigned int i = 0; i < 3; i++)
		event_loop_poll(kvm->loop, 20);
	ck_assert_uint_ge(event_now_ns() - begin, 55000000ULL);
	expect(VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);
	close(fd);
}
END_TEST

/* ---- ends ---- */

START_TEST(a_reset_of_the_device_ends_all_connections)
{
	int fd = connect_out();
	char text[16];

	start(RECEIVE, TRANSMIT);
	post_buffers(RX_COUNT);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 0);
	close(fd);
	say_data(HOST_PORT, "old", 3);
	expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
}
END_TEST

START_TEST(saved_and_loaded_it_tells_of_lost_connections)
{
	struct device *device = device_find(kvm, "virtio-vsock");
	const struct driver_buffer buffer = { TX_DATA, 64, true };
	struct state_writer writer = { 0 };
	struct state_reader reader;
	le64 cid;

	start(RECEIVE, EVENT);
	driver_offer(1, 0, &buffer, 1);
	driver_kick(kvm, EVENT);
	ck_assert_uint_eq(ring_used_index(&driver_rings[1]), 0);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	ck_assert_uint_eq(ring_used_index(&driver_rings[1]), 1);
	ck_assert_uint_eq(guest_peek32(&driver_ram, TX_DATA), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	virtio_config_read(driven, 0, &cid, sizeof(cid));
	ck_assert_uint_eq(le64_get(cid), CID);
	state_writer_free(&writer);
	board_save_load(kvm, "virtio-vsock");
}
END_TEST

START_TEST(a_pause_holds_everything)
{
	struct device *device = device_find(kvm, "virtio-vsock");
	int fd = connect_out(), other;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	ck_assert_int_eq(send(fd, "data", 4, MSG_NOSIGNAL), 4);
	other = dial("CONNECT 9\n");
	ck_assert(!next_packet(30));
	device->ops->resume(device);
	ck_assert(next_packet(5000));
	ck_assert(next_packet(5000));
	close(other);
	close(fd);
}
END_TEST

/* ---- who lies ---- */

static const char *const lines[] = {
	"\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT 4294967296\n", "CONNECT -1\n", "connect 5\n", "CONNECT 5 \n",
	"CONNECT 000000000000000000000000000000000000000000000005\n", "GET / HTTP/1.1\n",
};

START_TEST(what_is_no_connect_ends_the_connection)
{
	int fd = dial(lines[_i]);
	char text[16];
	ssize_t got = hear(fd, text, sizeof(text));

	ck_assert(got == 0 || (got < 0 && errno == ECONNRESET));
	ck_assert(!next_packet(5));
	close(fd);
}
END_TEST

START_TEST(packets_of_no_connection_are_answered_by_a_reset)
{
	static const uint16_t operations[] = { 0, 2, 4, 5, 6, 7, 99 };

	for (unsigned int i = 0; i < ARRAY_SIZE(operations); i++) {
		say(operations[i], GUEST_PORT + i, HOST_PORT, 0);
		expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT + i, HOST_PORT);
	}
	say(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT, 0);
	ck_assert(!next_packet(5));
}
END_TEST

START_TEST(packets_of_others_are_dropped_and_of_other_types_refused)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT);
	int listener = listen_on(HOST_PORT);

	header.src_cid = htole64(CID + 1);
	put(&header, NULL, 0);
	header = packet(VIRTIO_VSOCK_OP_REQUEST, GUEST_PORT, HOST_PORT);
	header.dst_cid = htole64(3);
	put(&header, NULL, 0);
	ck_assert(!next_packet(5));
	header.dst_cid = htole64(2);
	header.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	put(&header, NULL, 0);
	expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
	close(listener);
}
END_TEST

static const uint16_t out_of_place[] = { 0, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, 42 };

START_TEST(what_is_out_of_place_ends_the_connection)
{
	int fd = connect_out();
	char text[16];

	say(out_of_place[_i], GUEST_PORT, HOST_PORT, 0);
	expect(VIRTIO_VSOCK_OP_RST, GUEST_PORT, HOST_PORT);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 0);
	close(fd);
}
END_TEST

START_TEST(lengths_that_lie_are_nothing)
{
	struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, GUEST_PORT, HOST_PORT);
	const struct driver_buffer half = { TX_DATA, HEADER - 1, false }, none = { TX_DATA, HEADER, true };
	int fd = connect_out();
	char text[16];

	header.len = htole32(UINT32_MAX);
	put(&header, "data", 4);
	header.len = htole32(5);
	put(&header, "data", 4);
	header.len = htole32(KIB(64) + 1);
	put(&header, "data", 4);
	driver_offer(1, 10, &half, 1);
	driver_offer(1, 11, &none, 1);
	driver_kick(kvm, TRANSMIT);
	ck_assert(driver_wait(kvm, all_sent));
	say_data(HOST_PORT, "good", 4);
	ck_assert_int_eq(hear(fd, text, sizeof(text)), 4);
	close(fd);
}
END_TEST

/* More resets than are kept: the transmit queue waits for the driver to take them. */
START_TEST(resets_that_nobody_takes_hold_up_their_cause)
{
	unsigned int offered = 0, seen = 0;

	start(RECEIVE, TRANSMIT);
	for (; offered < 31; offered++) {
		struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, offered, HOST_PORT);

		offer_packet(&header, NULL, 0);
	}
	for (unsigned int round = 0; round < 3; round++) {
		ck_assert(driver_wait(kvm, all_sent));
		for (unsigned int i = 0; i < 20; i++, offered++) {
			struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, offered, HOST_PORT);

			offer_packet(&header, NULL, 0);
		}
		if (offered > 64)
			break;
	}
	board_poll(kvm, 5);
	ck_assert(!all_sent());
	post_buffers(RX_COUNT);
	while (next_packet(200)) {
		ck_assert_uint_eq(le16toh(last.op), VIRTIO_VSOCK_OP_RST);
		seen++;
	}
	ck_assert(all_sent());
	ck_assert_uint_eq(seen, offered);
}
END_TEST

START_TEST(connections_have_a_ceiling_on_both_sides)
{
	int listener = listen_on(HOST_PORT), fds[300], greeting;
	unsigned int good = 0;
	char text[8];

	for (unsigned int i = 0; i < 300; i++) {
		say(VIRTIO_VSOCK_OP_REQUEST, i, HOST_PORT, 0);
		ck_assert(next_packet(5000));
		good += le16toh(last.op) == VIRTIO_VSOCK_OP_RESPONSE;
		fds[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	ck_assert_uint_eq(good, 256);
	greeting = dial("CONNECT 9\n");
	ck_assert(!next_packet(50));
	say(VIRTIO_VSOCK_OP_RST, 0, HOST_PORT, 0);
	ck_assert_int_eq(hear(fds[0], text, sizeof(text)), 0);
	expect(VIRTIO_VSOCK_OP_REQUEST, 9, 0);
	for (unsigned int i = 0; i < 300; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	close(greeting);
	close(listener);
}
END_TEST

START_TEST(random_packets_do_no_harm)
{
	int listener = listen_on(HOST_PORT), fds[64] = { 0 };
	uint8_t data[512] = { 0 };
	uint32_t seed = 99;

	for (unsigned int i = 0; i < 20000; i++) {
		struct virtio_vsock_hdr header;
		unsigned int slot = i % 64;

		seed = seed * 1664525 + 1013904223;
		header = packet((uint16_t)(seed >> 28 & 7), seed >> 20 & 15, HOST_PORT);
		header.len = htole32(seed >> 8 & 511);
		header.flags = htole32(seed >> 5 & 3);
		header.buf_alloc = htole32(seed & 0x10 ? UINT32_MAX : seed & 0xffff);
		header.fwd_cnt = htole32(seed & 8 ? seed : 0);
		put(&header, data, (seed >> 8 & 511) + 1);
		next_packet(0);
		if (!fds[slot] || i % 7)
			continue;
		if (fds[slot] > 0)
			close(fds[slot]);
		fds[slot] = 0;
	}
	for (unsigned int slot = 0; slot < 64; slot++)
		fds[slot] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	for (unsigned int slot = 0; slot < 64; slot++)
		if (fds[slot] >= 0)
			close(fds[slot]);
	while (next_packet(10))
		;
	ck_assert(!driver_needs_reset());
	close(listener);
}
END_TEST

/* ---- options ---- */

static int init_with(const char *option)
{
	struct board_pick pick = { .name = "vsock_init" };
	struct kvm *other = board_create();
	struct config *config = other->config;
	int result;

	init_for_each(board_pick_item, &pick);
	ck_assert_int_eq(config_set(config, "vsock", option), 0);
	result = pick.item->init(other);
	irqs_exit(other);
	kvm_free(other);
	config_free(config);
	return result;
}

START_TEST(wrong_options_are_said)
{
	static const char *const wrong[] = { "2", "0", "4294967295", "x", "", "5,file=/tmp/x" };
	char option[300];

	for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_int_eq(init_with(wrong[i]), -EUSAGE);
	/* one that somebody listens on, and one that is no socket */
	snprintf(option, sizeof(option), "auto,path=%s", path);
	ck_assert_int_eq(init_with(option), -EADDRINUSE);
	snprintf(option, sizeof(option), "auto,path=%s", folder);
	ck_assert_int_lt(init_with(option), 0);
	snprintf(option, sizeof(option), "auto,path=/%0120d", 0);
	ck_assert_int_eq(init_with(option), -ENAMETOOLONG);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "good programs", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, the_guest_reaches_a_program_on_the_host);
	tcase_add_test(tests, a_port_where_nobody_listens_is_refused);
	tcase_add_test(tests, a_program_on_the_host_reaches_the_guest);
	tcase_add_test(tests, a_guest_that_refuses_ends_the_hosts_connection);
	tcase_add_test(tests, a_line_may_come_in_pieces);
	tcase_add_test(tests, one_side_may_end_before_the_other);
	tests = suite_case(suite, "credit", setup, teardown);
	tcase_add_test(tests, no_more_is_sent_than_the_guest_has_room_for);
	tcase_add_test(tests, what_the_host_does_not_take_is_held_so_far_and_no_further);
	tcase_add_test(tests, an_end_comes_behind_the_data);
	tcase_add_test(tests, without_buffers_data_waits_in_the_socket);
	tests = suite_case(suite, "ends", setup, teardown);
	tcase_add_test(tests, a_reset_of_the_device_ends_all_connections);
	tcase_add_test(tests, saved_and_loaded_it_tells_of_lost_connections);
	tcase_add_test(tests, a_pause_holds_everything);
	tests = suite_case(suite, "who lies", setup, teardown);
	tcase_add_loop_test(tests, what_is_no_connect_ends_the_connection, 0, (int)ARRAY_SIZE(lines));
	tcase_add_test(tests, packets_of_no_connection_are_answered_by_a_reset);
	tcase_add_test(tests, packets_of_others_are_dropped_and_of_other_types_refused);
	tcase_add_loop_test(tests, what_is_out_of_place_ends_the_connection, 0, (int)ARRAY_SIZE(out_of_place));
	tcase_add_test(tests, lengths_that_lie_are_nothing);
	tcase_add_test(tests, resets_that_nobody_takes_hold_up_their_cause);
	tcase_add_test(tests, connections_have_a_ceiling_on_both_sides);
	tcase_add_test(tests, random_packets_do_no_harm);
	tcase_add_test(tests, wrong_options_are_said);
}
SUITE_MAIN("vsock", add_tests)
