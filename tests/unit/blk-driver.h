/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of virtio/blk.c with a real image behind it, for the tests of virtio-blk. Include first; a test that wants
 * more than two queues defines DRIVER_RINGS before.
 */
#ifndef TESTS_UNIT_BLK_DRIVER_H
#define TESTS_UNIT_BLK_DRIVER_H

#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/disk.h"
#include "tests/unit/virtio-driver.h"

#define SECTORS		4096u
#define HEADER		DRIVER_RING(DRIVER_RINGS)
#define STATUS		(HEADER + 0x100)
#define DATA		(HEADER + 0x10000)
#define UNTOUCHED	0xee

static struct kvm *kvm;
static char image[64];

static inline uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(at * 5 + (at >> 9) * 11 + 3);
}

static inline void image_make(void)
{
	uint8_t *bytes = malloc(SECTORS * 512);
	int fd;

	strcpy(image, "/tmp/lkvm-test-blk-XXXXXX");
	fd = mkstemp(image);
	ck_assert_int_ge(fd, 0);
	for (unsigned int i = 0; i < SECTORS * 512; i++)
		bytes[i] = pattern_byte(i);
	ck_assert_int_eq(write(fd, bytes, SECTORS * 512), SECTORS * 512);
	close(fd);
	free(bytes);
}

/* A VM with the image as its disk, opened as @options say; no device yet. */
static inline void machine_without_device(const char *options)
{
	char text[128];

	log_set_sink(board_hush);
	image_make();
	kvm = driver_machine();
	snprintf(text, sizeof(text), "%s%s", image, options);
	ck_assert_int_eq(config_set(kvm->config, "disk", text), 0);
}

static inline void machine(const char *options)
{
	machine_without_device(options);
	board_add(kvm, "disks_init");
	board_add(kvm, "blk_init");
	driver_start(0, 1);
}

static inline void teardown(void)
{
	struct stat status;

	/* Whatever was asked for: no guest makes the file grow. */
	ck_assert_int_eq(stat(image, &status), 0);
	ck_assert_int_eq(status.st_size, SECTORS * 512);
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	unlink(image);
	log_set_sink(NULL);
}

static inline uint8_t file_byte(uint64_t at)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC);
	uint8_t value = 0;

	ck_assert_int_eq(pread(fd, &value, 1, (off_t)at), 1);
	close(fd);
	return value;
}

static inline void put_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };
	uint8_t untouched = UNTOUCHED;

	guest_poke(&driver_ram, HEADER, &header, sizeof(header));
	guest_poke(&driver_ram, STATUS, &untouched, 1);
}

/* A request as drivers make it: header, data, status. Returns the status. */
static inline uint8_t ask_queue(unsigned int queue, uint32_t type, uint64_t sector, uint32_t length, bool writable)
{
	const struct driver_buffer buffers[] = {
		{ HEADER, sizeof(struct virtio_blk_outhdr), false }, { DATA, length, writable }, { STATUS, 1, true },
	};
	const struct driver_buffer bare[] = { buffers[0], buffers[2] };

	put_header(type, sector);
	driver_offer(queue, 0, length ? buffers : bare, length ? 3 : 2);
	driver_finish(kvm, queue);
	return driver_peek(STATUS);
}

static inline uint8_t ask(uint32_t type, uint64_t sector, uint32_t length, bool writable)
{
	return ask_queue(0, type, sector, length, writable);
}

static inline void fill_data(uint8_t with, size_t length)
{
	uint8_t *bytes = malloc(length);

	memset(bytes, with, length);
	guest_poke(&driver_ram, DATA, bytes, length);
	free(bytes);
}

static inline uint8_t ask_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { htole64(sector), htole32(sectors), htole32(flags) };

	guest_poke(&driver_ram, DATA, &range, sizeof(range));
	return ask(type, 0, sizeof(range), false);
}

#endif
