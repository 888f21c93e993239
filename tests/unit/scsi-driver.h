/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of virtio-scsi for tests: a controller with what setup() put on its bus, commands through the real queues.
 * Include first.
 */
#ifndef TESTS_UNIT_SCSI_DRIVER_H
#define TESTS_UNIT_SCSI_DRIVER_H

#define DRIVER_RINGS	4		/* control, events, two of requests */

#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/virtio_scsi.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm/disk.h"
#include "tests/unit/virtio-driver.h"
#include "virtio/scsi.h"

#define HEADER		(RAM_BASE + 0x20000)
#define RESPONSE	(RAM_BASE + 0x20100)
#define CONTROL		(RAM_BASE + 0x20400)
#define EVENTS		(RAM_BASE + 0x20800)
#define DATA		(RAM_BASE + 0x24000)
#define HEADER_SIZE	((uint32_t)sizeof(struct virtio_scsi_cmd_req))
#define RESPONSE_SIZE	((uint32_t)sizeof(struct virtio_scsi_cmd_resp))
#define UNTOUCHED	0xee
#define ISO_BLOCKS	600u
#define SECTORS		8192u

static struct kvm *kvm;
static char image[64], iso[64];

static inline uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(at * 5 + (at >> 9) * 11 + 3);
}

static inline void file_make(char path[64], size_t size)
{
	static const char template[] = "/tmp/lkvm-test-scsi-XXXXXX";
	uint8_t *bytes = malloc(size);
	int fd;

	memcpy(path, template, sizeof(template));
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern_byte(i);
	ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	free(bytes);
}

static inline uint8_t file_byte(uint64_t at)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC);
	uint8_t value = 0;

	ck_assert_int_eq(pread(fd, &value, 1, (off_t)at), 1);
	close(fd);
	return value;
}

/* Target 0: a disk with @options. Target 1: a CD-ROM drive. Target 5, LUN 3: the ISO image as a disk. */
static inline void scsi_machine(const char *options)
{
	char text[256];

	log_set_sink(board_hush);
	file_make(image, SECTORS * 512);
	file_make(iso, ISO_BLOCKS * 2048);
	kvm = driver_machine();
	kvm->cpu_count = 2;
	snprintf(text, sizeof(text), "%s,if=scsi,format=raw%s", image, options);
	ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
	snprintf(text, sizeof(text), "%s,cdrom", iso);
	ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
	snprintf(text, sizeof(text), "%s,if=scsi,ro,format=raw,target=5,lun=3", iso);
	ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
	board_add(kvm, "disks_init");
	board_add(kvm, "scsi_init");
	kvm->cpu_count = 0;
	driver_start(0, 4);
}

static inline void scsi_teardown(void)
{
	struct stat status;

	/* Whatever was asked for: no guest makes the files grow. */
	ck_assert_int_eq(stat(image, &status), 0);
	ck_assert_int_eq(status.st_size, SECTORS * 512);
	ck_assert_int_eq(stat(iso, &status), 0);
	ck_assert_int_eq(status.st_size, ISO_BLOCKS * 2048);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	unlink(image);
	unlink(iso);
	log_set_sink(NULL);
}

static inline struct scsi *controller(void)
{
	return container_of(driven, struct scsi, device);
}

/* ---- requests ---- */

struct answer {
	uint8_t response, status;
	uint32_t sense;			/* key, code, qualifier */
	uint32_t resid, sense_length, written;
	uint8_t bytes[VIRTIO_SCSI_SENSE_SIZE];
};

struct bytes {
	uint8_t data[16];
};
#define CDB(...)	((struct bytes){ { __VA_ARGS__ } })
#define BE16(v)		(uint8_t)((v) >> 8), (uint8_t)(v)
#define BE32(v)		(uint8_t)((v) >> 24), (uint8_t)((v) >> 16), (uint8_t)((v) >> 8), (uint8_t)(v)
#define BE64(v)		BE32((uint64_t)(v) >> 32), BE32((uint64_t)(v))

static inline void lun_of(uint8_t lun[8], uint8_t target, uint16_t number)
{
	const uint8_t bytes[8] = { 1, target, (uint8_t)(0x40 | number >> 8), (uint8_t)number };

	memcpy(lun, bytes, 8);
}

static inline bool queue_all_used(unsigned int queue)
{
	return ring_used_index(&driver_rings[queue]) == driver_rings[queue].next_avail;
}

/* Whether the first queue of requests had come back whole when queue_finish() last saw its own queue do so. */
static bool requests_were_back;

/* Waits for one queue alone: buffers for events stay. */
static inline void queue_finish(unsigned int queue)
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	driver_kick(kvm, queue);
	while (!queue_all_used(queue)) {
		ck_assert_msg(event_now_ns() < end, "queue %u: a request is unused for 10 s", queue);
		event_loop_poll(kvm->loop, 1);
	}
	atomic_thread_fence(memory_order_acquire);
	requests_were_back = queue_all_used(2);
	/* the loop's thread wrote it all before it says that it is idle */
	event_loop_call(driven->loop, (void (*)(void *))(uintptr_t)driver_nothing, driven);
}

static inline struct answer take_answer(uint64_t at)
{
	struct virtio_scsi_cmd_resp response;
	struct answer answer = { 0 };

	ck_assert_int_eq(memory_read(&kvm->memory, gpa(at), &response, sizeof(response)), 0);
	answer.response = response.response;
	answer.status = response.status;
	answer.resid = le32toh(response.resid);
	answer.sense_length = le32toh(response.sense_len);
	memcpy(answer.bytes, response.sense, sizeof(answer.bytes));
	if (answer.sense_length)
		answer.sense = (uint32_t)(response.sense[2] & 15) << 16 | (uint32_t)response.sense[12] << 8 | response.sense[13];
	return answer;
}

static inline void put_header(uint64_t at, const uint8_t lun[8], uint64_t tag, const uint8_t cdb[16])
{
	struct virtio_scsi_cmd_req header = { .tag = htole64(tag) };

	memcpy(header.lun, lun, 8);
	memcpy(header.cdb, cdb, 16);
	guest_poke(&driver_ram, at, &header, sizeof(header));
}

static inline struct answer ask_lun(const uint8_t lun[8], struct bytes cdb, uint32_t out, uint32_t in)
{
	struct driver_buffer buffers[4] = { { HEADER, HEADER_SIZE, false } };
	unsigned int count = 1;
	uint8_t untouched[RESPONSE_SIZE];
	struct answer answer;

	memset(untouched, UNTOUCHED, sizeof(untouched));
	guest_poke(&driver_ram, RESPONSE, untouched, sizeof(untouched));
	put_header(HEADER, lun, 7, cdb.data);
	if (out)
		buffers[count++] = (struct driver_buffer){ DATA, out, false };
	buffers[count++] = (struct driver_buffer){ RESPONSE, RESPONSE_SIZE, true };
	if (in)
		buffers[count++] = (struct driver_buffer){ DATA, in, true };
	driver_offer(2, 0, buffers, count);
	queue_finish(2);
	answer = take_answer(RESPONSE);
	answer.written = driver_used_length(2, 0);
	return answer;
}

static inline struct answer ask_at(uint8_t target, uint16_t number, struct bytes cdb, uint32_t out, uint32_t in)
{
	uint8_t lun[8];

	lun_of(lun, target, number);
	return ask_lun(lun, cdb, out, in);
}

static inline struct answer ask(struct bytes cdb, uint32_t out, uint32_t in)
{
	return ask_at(0, 0, cdb, out, in);
}

static inline void is_good(struct answer answer, uint32_t resid)
{
	ck_assert_uint_eq(answer.response, VIRTIO_SCSI_S_OK);
	ck_assert_msg(answer.status == SCSI_GOOD, "expected GOOD, seen status %u with sense %06x", answer.status, answer.sense);
	ck_assert_uint_eq(answer.sense_length, 0);
	ck_assert_uint_eq(answer.resid, resid);
}

static inline void is_check(struct answer answer, uint32_t sense)
{
	ck_assert_uint_eq(answer.response, VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(answer.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(answer.sense_length, 18);
	ck_assert_uint_eq(answer.bytes[0] & 0x7f, 0x70);
	ck_assert_msg(answer.sense == sense, "expected sense %06x, seen %06x", sense, answer.sense);
}

/* Takes what each unit says first: that it was turned on. */
static inline void take_attentions(void)
{
	is_check(ask_at(0, 0, CDB(0x00), 0, 0), 0x062900);
	is_check(ask_at(1, 0, CDB(0x00), 0, 0), 0x062900);
	is_check(ask_at(5, 3, CDB(0x00), 0, 0), 0x062900);
}

static inline void fill_data(uint8_t with, size_t length)
{
	uint8_t *bytes = malloc(length);

	memset(bytes, with, length);
	guest_poke(&driver_ram, DATA, bytes, length);
	free(bytes);
}

static inline void put_data(const void *bytes, size_t length)
{
	guest_poke(&driver_ram, DATA, bytes, length);
}

static inline uint8_t data_byte(uint64_t at)
{
	return driver_peek(DATA + at);
}

static inline uint32_t data_be(uint64_t at, unsigned int size)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value = value << 8 | data_byte(at + i);
	return value;
}

/* ---- the control queue ---- */

static inline uint8_t manage_lun(uint32_t subtype, const uint8_t lun[8], uint64_t tag)
{
	struct virtio_scsi_ctrl_tmf_req header = { .type = htole32(VIRTIO_SCSI_T_TMF), .subtype = htole32(subtype), .tag = htole64(tag) };
	const struct driver_buffer buffers[] = { { CONTROL, sizeof(header), false }, { CONTROL + 0x100, 1, true } };

	memcpy(header.lun, lun, 8);
	guest_poke(&driver_ram, CONTROL, &header, sizeof(header));
	driver_offer(0, 0, buffers, 2);
	queue_finish(0);
	return driver_peek(CONTROL + 0x100);
}

static inline uint8_t manage(uint32_t subtype, uint8_t target, uint16_t number, uint64_t tag)
{
	uint8_t lun[8];

	lun_of(lun, target, number);
	return manage_lun(subtype, lun, tag);
}

/* Returns the response; *@actual is what the device agreed to. */
static inline uint8_t notify_me(uint32_t type, uint8_t target, uint16_t number, uint32_t events, uint32_t *actual)
{
	struct virtio_scsi_ctrl_an_req header = { .type = htole32(type), .event_requested = htole32(events) };
	const struct driver_buffer buffers[] = { { CONTROL, sizeof(header), false }, { CONTROL + 0x100, 5, true } };

	lun_of(header.lun, target, number);
	guest_poke(&driver_ram, CONTROL, &header, sizeof(header));
	driver_offer(0, 0, buffers, 2);
	queue_finish(0);
	*actual = guest_peek32(&driver_ram, CONTROL + 0x100);
	return driver_peek(CONTROL + 0x104);
}

/* ---- the event queue ---- */

static inline void offer_event(unsigned int slot)
{
	const struct driver_buffer buffer = { EVENTS + 32ULL * slot, sizeof(struct virtio_scsi_event), true };

	driver_offer(1, (uint16_t)slot, &buffer, 1);
	driver_kick(kvm, 1);
}

static inline struct virtio_scsi_event take_event(unsigned int slot)
{
	struct virtio_scsi_event event;

	ck_assert_int_eq(memory_read(&kvm->memory, gpa(EVENTS + 32ULL * slot), &event, sizeof(event)), 0);
	return event;
}

#endif
