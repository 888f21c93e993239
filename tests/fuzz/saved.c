/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was saved, under fuzz: the files of snapshots, and the state of the board's devices. (That of virtio devices is loaded
 * by their own targets; vCPUs' and chips' goes to KVM, which isn't there.)
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

#include "kvm/option.h"
#include "state/snapshot-file.h"
#include "state/snapshot-info.h"
#include "tests/unit/board.h"
#include "tests/fuzz/chips.h"

/* ---- files ---- */

#define SECTION_MAX	MIB(1)

static void fix_section(int fd, struct snapshot_section *section)
{
	uint8_t *bytes = malloc(SECTION_MAX);
	size_t length = (size_t)MIN(le64_get(section->length), SECTION_MAX);
	ssize_t got;

	FUZZ_CHECK(bytes);
	got = pread(fd, bytes, length, (off_t)(le64_get(section->offset) & INT64_MAX));
	if (got >= 0)
		section->crc = le32_of((uint32_t)crc32_z(0, bytes, (size_t)got));
	free(bytes);
}

/* The sums of all that has one, as nobody would find them. */
static void fix_sums(const char *path)
{
	struct snapshot_header header;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	if (pread(fd, &header, sizeof(header), 0) == sizeof(header)) {
		for (unsigned int i = 0; i < SNAPSHOT_SECTIONS; i++)
			if (header.section[i].name[0] && strcmp(header.section[i].name, "memory"))
				fix_section(fd, &header.section[i]);
		header.crc = le32_of((uint32_t)crc32(0, (const uint8_t *)&header, offsetof(struct snapshot_header, crc)));
		FUZZ_CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
	}
	close(fd);
}

static void read_state(const struct snapshot_file *file)
{
	struct state_reader reader = { 0 };
	uint8_t *state;

	if (snapshot_file_read(file, "state", SNAPSHOT_STATE_MAX, &state, &reader.length))
		return;
	/* as `lkvm snapshot --info` shows it, to nobody */
	state_print_stream(&(struct state_writer){ .data = state, .length = reader.length }, -1);
	free(state);
}

static void snapshot_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	uint8_t flags = fuzz_u8(&input);
	const char *path = fuzz_write_image("snapshot", &input);
	struct snapshot_file file;
	struct config *config;
	uint64_t offset, memory;

	(void)target;
	if (!(flags & 1))
		fix_sums(path);
	if (snapshot_file_open(&file, path))
		return;
	FUZZ_CHECK(!config_new(&config, run_options()));
	if (!snapshot_file_memory(&file, &offset, &memory))
		(void)!snapshot_file_load_memory(&file, NULL, memory);
	read_state(&file);
	(void)!snapshot_check_disks(file.info, path);
	(void)!snapshot_apply(file.info, path, config);
	config_free(config);
	snapshot_file_close(&file);
}
FUZZ_TARGET(snapshot, .name = "snapshot", .one = snapshot_one);

/* ---- devices ---- */

static struct kvm *board;

static void state_begin(const struct fuzz_target *target)
{
	(void)target;
	board = board_create();
	FUZZ_CHECK(!config_set(board->config, "watchdog", "none") && !config_set(board->config, "pvpanic", "true"));
	for (size_t i = 0; i < fuzz_chip_count; i++)
		board_add(board, fuzz_chips[i].init);
}

/* The bytes that were saved, as the input changes them, or others altogether. */
static struct state_reader make_state(struct device *device, struct fuzz_input *input, struct state_writer *writer)
{
	uint8_t changes = fuzz_u8(input);

	if (changes & 0x80)
		return (struct state_reader){ .data = input->at, .length = input->left };
	device->ops->save(device, writer);
	FUZZ_CHECK(!writer->error && writer->length);
	for (unsigned int i = 0; i < changes; i++) {
		uint16_t at = fuzz_u16(input);

		writer->data[at % writer->length] = fuzz_u8(input);
	}
	return (struct state_reader){ .data = writer->data, .length = writer->length };
}

static void state_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	unsigned int which = (unsigned int)(fuzz_u8(&input) % fuzz_chip_count);
	struct device *device = device_find(board, fuzz_chips[which].device);
	struct state_writer writer = { 0 }, again = { 0 };
	struct state_reader reader;

	(void)target;
	FUZZ_CHECK(device);
	device->ops->reset(device);
	if (device->ops->quiesce)
		FUZZ_CHECK(!device->ops->quiesce(device));
	reader = make_state(device, &input, &writer);
	if (!device->ops->load(device, &reader)) {
		/* what was taken can be saved, and taken once more */
		device->ops->save(device, &again);
		FUZZ_CHECK(!again.error);
		reader = (struct state_reader){ .data = again.data, .length = again.length };
		FUZZ_CHECK(!device->ops->load(device, &reader));
	}
	if (device->ops->resume)
		device->ops->resume(device);
	if (fuzz_chips[which].use)
		fuzz_chips[which].use(board);
	event_loop_poll(board->loop, 0);
	state_writer_free(&writer);
	state_writer_free(&again);
}
FUZZ_TARGET(state, .name = "state", .begin = state_begin, .one = state_one);
