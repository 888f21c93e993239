/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-scsi with a disk: hw/scsi.c, hw/scsi-disk.c and what is about them, through virtio/scsi*.c, as drivers use it. */
#include "tests/unit/scsi-driver.h"

#include "disk/engine.h"
#include "disk/file.h"
#include "tests/unit/disk-tap.h"

#define DISK_BLOCKS	SECTORS

static void setup(void)
{
	scsi_machine(",serial=LKVM-SCSI");
	take_attentions();
}

static void setup_first(void)
{
	scsi_machine("");
}

static void setup_read_only(void)
{
	scsi_machine(",ro");
	take_attentions();
}

static void setup_through(void)
{
	scsi_machine(",cache=writethrough");
	take_attentions();
}

static void is_pattern(uint64_t from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		ck_assert_uint_eq(data_byte(i), pattern_byte(from + i));
}

static void file_is(uint64_t from, uint64_t length, uint8_t value)
{
	for (uint64_t i = 0; i < length; i += 101)
		ck_assert_uint_eq(file_byte(from + i), value);
	ck_assert_uint_eq(file_byte(from + length - 1), value);
	ck_assert_uint_eq(file_byte(from - 1), pattern_byte(from - 1));
	ck_assert_uint_eq(file_byte(from + length), pattern_byte(from + length));
}

/* ---- who is there ---- */

START_TEST(a_unit_says_first_that_it_was_turned_on)
{
	is_good(ask(CDB(0x12, 0, 0, 0, 36), 0, 36), 0);
	is_good(ask(CDB(0xa0, 0, 0, 0, 0, 0, BE32(16)), 0, 16), 0);
	is_check(ask(CDB(0x28, 0, BE32(0), 0, BE16(1)), 0, 512), 0x062900);
	is_good(ask(CDB(0x28, 0, BE32(0), 0, BE16(1)), 0, 512), 0);
	/* REQUEST SENSE takes it too */
	is_good(ask_at(1, 0, CDB(0x03, 0, 0, 0, 18), 0, 18), 0);
	ck_assert_uint_eq(data_byte(2), 6);
	ck_assert_uint_eq(data_byte(12), 0x29);
	is_good(ask_at(1, 0, CDB(0x00), 0, 0), 0);
}
END_TEST

START_TEST(inquiry_says_what_a_unit_is)
{
	char vendor[9] = "";

	is_good(ask(CDB(0x12, 0, 0, 0, 36), 0, 36), 0);
	ck_assert_uint_eq(data_byte(0), 0);
	ck_assert_uint_eq(data_byte(1), 0);
	ck_assert_uint_eq(data_byte(2), 6);
	ck_assert_uint_eq(data_byte(4), 31);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA + 8), vendor, 8), 0);
	ck_assert_str_eq(vendor, "LKVM    ");
	is_good(ask_at(1, 0, CDB(0x12, 0, 0, 0, 36), 0, 36), 0);
	ck_assert_uint_eq(data_byte(0), 5);
	ck_assert_uint_eq(data_byte(1), 0x80);
	/* cut at the allocation length, and no more than that of the buffer is used */
	fill_data(UNTOUCHED, 64);
	is_good(ask(CDB(0x12, 0, 0, 0, 5), 0, 36), 31);
	ck_assert_uint_eq(data_byte(4), 31);
	ck_assert_uint_eq(data_byte(5), UNTOUCHED);
	is_good(ask(CDB(0x12, 0, 0, 0, 255), 0, 64), 28);
	is_check(ask(CDB(0x12, 0, 0x80, 0, 36), 0, 36), 0x052400);
}
END_TEST

START_TEST(vital_product_data_are_the_disk_s)
{
	static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
	char serial[10] = "";

	is_good(ask(CDB(0x12, 1, 0x00, BE16(64)), 0, 64), 64 - 4 - sizeof(pages));
	for (size_t i = 0; i < sizeof(pages); i++)
		ck_assert_uint_eq(data_byte(4 + i), pages[i]);
	is_good(ask(CDB(0x12, 1, 0x80, BE16(13)), 0, 13), 0);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA + 4), serial, 9), 0);
	ck_assert_str_eq(serial, "LKVM-SCSI");
	is_good(ask(CDB(0x12, 1, 0x83, BE16(25)), 0, 25), 0);
	ck_assert_uint_eq(data_byte(4), 2);
	ck_assert_uint_eq(data_byte(5), 1);
	ck_assert_uint_eq(data_byte(7), 17);
	is_good(ask(CDB(0x12, 1, 0xb0, BE16(64)), 0, 64), 0);
	ck_assert_uint_eq(data_be(2, 2), 60);
	ck_assert_uint_eq(data_be(20, 4), (1u << 30) / 512);
	ck_assert_uint_eq(data_be(24, 4), 256);
	ck_assert_uint_eq(data_be(40, 4), (1u << 30) / 512);
	is_good(ask(CDB(0x12, 1, 0xb1, BE16(64)), 0, 64), 0);
	ck_assert_uint_eq(data_be(4, 2), 1);
	is_good(ask(CDB(0x12, 1, 0xb2, BE16(8)), 0, 8), 0);
	ck_assert_uint_eq(data_byte(5), 0xe0);
	is_check(ask(CDB(0x12, 1, 0xb3, BE16(64)), 0, 64), 0x052400);
	/* a field pointer says which byte of the CDB it is */
	ck_assert_uint_eq(ask(CDB(0x12, 1, 0xb3, BE16(64)), 0, 64).bytes[15], 0xc0);
	ck_assert_uint_eq(ask(CDB(0x12, 1, 0xb3, BE16(64)), 0, 64).bytes[17], 2);
	/* no serial number: no such page */
	is_good(ask_at(5, 3, CDB(0x12, 1, 0x00, BE16(9)), 0, 9), 0);
	ck_assert_uint_eq(data_byte(5), 0x83);
	is_check(ask_at(5, 3, CDB(0x12, 1, 0x80, BE16(9)), 0, 9), 0x052400);
}
END_TEST

START_TEST(targets_and_luns_are_found_and_others_are_not)
{
	uint8_t well_known[8] = { 0xc1, 0x01 }, peripheral[8] = { 1, 5, 0, 3 }, second_level[8] = { 1, 5, 0x40, 3, 0x40, 1 };

	is_good(ask_at(5, 3, CDB(0x00), 0, 0), 0);
	is_good(ask_lun(peripheral, CDB(0x00), 0, 0), 0);
	ck_assert_uint_eq(ask_lun(second_level, CDB(0x00), 0, 0).response, VIRTIO_SCSI_S_BAD_TARGET);
	ck_assert_uint_eq(ask_at(2, 0, CDB(0x12, 0, 0, 0, 36), 0, 36).response, VIRTIO_SCSI_S_BAD_TARGET);
	/* LUN 0 of a target that has others answers for it */
	is_good(ask_at(5, 0, CDB(0x12, 0, 0, 0, 36), 0, 36), 0);
	ck_assert_uint_eq(data_byte(0), 0x7f);
	is_check(ask_at(5, 0, CDB(0x00), 0, 0), 0x052500);
	is_check(ask_at(5, 0, CDB(0x28, 0, BE32(0), 0, BE16(1)), 0, 512), 0x052500);
	is_good(ask_at(5, 0, CDB(0x03, 0, 0, 0, 18), 0, 18), 0);
	ck_assert_uint_eq(data_byte(12), 0x25);
	is_good(ask_at(5, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(64)), 0, 64), 64 - 24);
	ck_assert_uint_eq(data_be(0, 4), 16);
	ck_assert_uint_eq(data_be(8, 2), 0);
	ck_assert_uint_eq(data_be(16, 2), 3);
	/* the well known unit knows all targets, as the transport writes them */
	is_good(ask_lun(well_known, CDB(0xa0, 0, 0, 0, 0, 0, BE32(64)), 0, 64), 64 - 32);
	ck_assert_uint_eq(data_be(0, 4), 24);
	ck_assert_uint_eq(data_be(8, 2), 0x0100);
	ck_assert_uint_eq(data_be(16, 2), 0x0101);
	ck_assert_uint_eq(data_be(24, 4), 0x01050003);
	is_check(ask_lun(well_known, CDB(0x00), 0, 0), 0x052000);
	is_check(ask(CDB(0xa0, 0, 0, 0, 0, 0, BE32(15)), 0, 15), 0x052400);
	is_check(ask(CDB(0xa0, 0, 3, 0, 0, 0, BE32(16)), 0, 16), 0x052400);
}
END_TEST

START_TEST(sense_data_are_there_on_request_in_both_formats)
{
	is_good(ask(CDB(0x03, 0, 0, 0, 18), 0, 18), 0);
	ck_assert_uint_eq(data_byte(0), 0x70);
	ck_assert_uint_eq(data_byte(2), 0);
	is_good(ask(CDB(0x03, 1, 0, 0, 8), 0, 8), 0);
	ck_assert_uint_eq(data_byte(0), 0x72);
	ck_assert_uint_eq(data_byte(1), 0);
}
END_TEST

/* ---- reads and writes ---- */

static const struct {
	struct bytes read, write;
} sizes[] = {
	{ { { 0x08, 0, 0, 7, 4 } }, { { 0x0a, 0, 0, 100, 2 } } },
	{ { { 0x28, 0, BE32(7), 0, BE16(4) } }, { { 0x2a, 0, BE32(100), 0, BE16(2) } } },
	{ { { 0xa8, 0, BE32(7), BE32(4) } }, { { 0xaa, 0, BE32(100), BE32(2) } } },
	{ { { 0x88, 0, BE64(7), BE32(4) } }, { { 0x8a, 0, BE64(100), BE32(2) } } },
	/* DPO, FUA */
	{ { { 0x28, 0x18, BE32(7), 0, BE16(4) } }, { { 0x2a, 0x18, BE32(100), 0, BE16(2) } } },
};

START_TEST(reads_and_writes_of_each_size_reach_the_file)
{
	struct answer answer = ask(sizes[_i].read, 0, 2048);

	is_good(answer, 0);
	ck_assert_uint_eq(answer.written, RESPONSE_SIZE + 2048);
	is_pattern(7 * 512, 2048);
	fill_data(0x5a, 1024);
	answer = ask(sizes[_i].write, 1024, 0);
	is_good(answer, 0);
	ck_assert_uint_eq(answer.written, RESPONSE_SIZE);
	is_good(ask(CDB(0x35), 0, 0), 0);
	file_is(100 * 512, 1024, 0x5a);
}
END_TEST

START_TEST(a_buffer_larger_than_the_transfer_keeps_the_rest)
{
	fill_data(UNTOUCHED, 4096);
	is_good(ask(CDB(0x28, 0, BE32(3), 0, BE16(2)), 0, 4096), 4096 - 1024);
	is_pattern(3 * 512, 1024);
	ck_assert_uint_eq(data_byte(1024), UNTOUCHED);
	fill_data(0x11, 4096);
	is_good(ask(CDB(0x2a, 0, BE32(20), 0, BE16(1)), 4096, 0), 4096 - 512);
	file_is(20 * 512, 512, 0x11);
	/* READ (6) of 0 blocks is of 256, of the others of none */
	is_good(ask(CDB(0x08, 0, 0, 0, 0), 0, 256 * 512), 0);
	is_good(ask(CDB(0x28, 0, BE32(0), 0, BE16(0)), 0, 512), 512);
}
END_TEST

START_TEST(requests_may_be_cut_anywhere)
{
	const struct driver_buffer buffers[] = {
		{ HEADER, 1, false }, { HEADER + 1, HEADER_SIZE - 2, false }, { HEADER + HEADER_SIZE - 1, 1, false },
		{ RESPONSE, 5, true }, { RESPONSE + 5, RESPONSE_SIZE - 5 + 16, true }, { DATA, 1, true }, { DATA + 1, 1023 - 16, true },
	};
	uint8_t lun[8];

	lun_of(lun, 0, 0);
	put_header(HEADER, lun, 1, CDB(0x28, 0, BE32(9), 0, BE16(2)).data);
	driver_offer(3, 0, buffers, ARRAY_SIZE(buffers));
	queue_finish(3);
	is_good(take_answer(RESPONSE), 0);
	for (unsigned int i = 0; i < 16; i++)
		ck_assert_uint_eq(driver_peek(RESPONSE + RESPONSE_SIZE + i), pattern_byte(9 * 512 + i));
	is_pattern(9 * 512 + 16, 1024 - 16);
}
END_TEST

START_TEST(the_capacity_is_the_disk_s)
{
	is_good(ask(CDB(0x25), 0, 8), 0);
	ck_assert_uint_eq(data_be(0, 4), DISK_BLOCKS - 1);
	ck_assert_uint_eq(data_be(4, 4), 512);
	is_good(ask(CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, BE32(32)), 0, 32), 0);
	ck_assert_uint_eq(data_be(0, 4), 0);
	ck_assert_uint_eq(data_be(4, 4), DISK_BLOCKS - 1);
	ck_assert_uint_eq(data_be(8, 4), 512);
	ck_assert_uint_eq(data_byte(14), 0x80);
	is_check(ask(CDB(0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, BE32(32)), 0, 32), 0x052400);
}
END_TEST

START_TEST(unmap_and_write_same_act_on_their_ranges_alone)
{
	static const uint8_t list[] = {
		BE16(6 + 32), BE16(32), 0, 0, 0, 0,
		BE64(1024), BE32(64), 0, 0, 0, 0,
		BE64(2048), BE32(8), 0, 0, 0, 0,
	};

	put_data(list, sizeof(list));
	is_good(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(sizeof(list))), sizeof(list), 0), 0);
	ck_assert_uint_eq(file_byte(1024 * 512 - 1), pattern_byte(1024 * 512 - 1));
	ck_assert_uint_eq(file_byte(1088 * 512), pattern_byte(1088 * 512));
	ck_assert_uint_eq(file_byte(2056 * 512), pattern_byte(2056 * 512));
	is_good(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(0)), 0, 0), 0);
	/* zeroes by data, by NDOB, with UNMAP, and a block of something else in more than one step */
	fill_data(0, 512);
	is_good(ask(CDB(0x41, 0, BE32(10), 0, BE16(5)), 512, 0), 0);
	file_is(10 * 512, 5 * 512, 0);
	is_good(ask(CDB(0x93, 0x01, BE64(30), BE32(6)), 0, 0), 0);
	file_is(30 * 512, 6 * 512, 0);
	is_good(ask(CDB(0x93, 0x08, BE64(40), BE32(8)), 512, 0), 0);
	file_is(40 * 512, 8 * 512, 0);
	fill_data(0xa7, 512);
	is_good(ask(CDB(0x93, 0, BE64(3000), BE32(700)), 512, 0), 0);
	file_is(3000 * 512, 700 * 512, 0xa7);
}
END_TEST

START_TEST(verify_looks_at_the_range)
{
	is_good(ask(CDB(0x2f, 0, BE32(DISK_BLOCKS - 4), 0, BE16(4)), 0, 0), 0);
	is_good(ask(CDB(0x8f, 0, BE64(0), BE32(DISK_BLOCKS)), 0, 0), 0);
	is_check(ask(CDB(0xaf, 0, BE32(DISK_BLOCKS - 4), BE32(5)), 0, 0), 0x052100);
	is_check(ask(CDB(0x2f, 2, BE32(0), 0, BE16(1)), 512, 0), 0x052400);
}
END_TEST

START_TEST(many_at_once_on_two_queues_all_come_back)
{
	for (unsigned int round = 0; round < 8; round++) {
		for (unsigned int i = 0; i < 32; i++) {
			uint64_t header = DATA + 0x10000 + i * 0x200ULL;
			const struct driver_buffer buffers[] = {
				{ header, HEADER_SIZE, false }, { header + 0x100, RESPONSE_SIZE, true }, { DATA + i * 512ULL, 512, true },
			};
			uint8_t lun[8];

			lun_of(lun, 0, 0);
			put_header(header, lun, i, CDB(0x28, 0, BE32(round * 32 + i), 0, BE16(1)).data);
			driver_offer(2 + i % 2, (uint16_t)(i / 2 * 3), buffers, 3);
		}
		driver_kick(kvm, 3);
		queue_finish(2);
		queue_finish(3);
		for (unsigned int i = 0; i < 32; i++) {
			is_good(take_answer(DATA + 0x10000 + i * 0x200ULL + 0x100), 0);
			ck_assert_uint_eq(data_byte(i * 512 + 9), pattern_byte((round * 32 + i) * 512ULL + 9));
		}
	}
}
END_TEST

/* ---- modes ---- */

START_TEST(mode_pages_say_what_can_be_changed)
{
	/* all pages, six bytes: header, block descriptor, 01h, 08h, 0Ah */
	is_good(ask(CDB(0x1a, 0, 0x3f, 0, 255), 0, 255), 255 - 4 - 8 - 12 - 20 - 12);
	ck_assert_uint_eq(data_byte(0), 4 + 8 + 12 + 20 + 12 - 1);
	ck_assert_uint_eq(data_byte(2), 0x10);
	ck_assert_uint_eq(data_byte(3), 8);
	ck_assert_uint_eq(data_be(4, 4), DISK_BLOCKS);
	ck_assert_uint_eq(data_be(8, 4), 512);
	ck_assert_uint_eq(data_byte(12), 0x01);
	ck_assert_uint_eq(data_byte(24), 0x08);
	ck_assert_uint_eq(data_byte(26), 0x04);
	ck_assert_uint_eq(data_byte(44), 0x0a);
	/* ten bytes, no block descriptor; what is changeable */
	is_good(ask(CDB(0x5a, 0x08, 0x48, 0, 0, 0, 0, BE16(28)), 0, 28), 0);
	ck_assert_uint_eq(data_be(0, 2), 26);
	ck_assert_uint_eq(data_be(6, 2), 0);
	ck_assert_uint_eq(data_byte(8), 0x08);
	ck_assert_uint_eq(data_byte(10), 0x04);
	/* LLBAA */
	is_good(ask(CDB(0x5a, 0x10, 0x08, 0, 0, 0, 0, BE16(44)), 0, 44), 0);
	ck_assert_uint_eq(data_byte(4), 1);
	ck_assert_uint_eq(data_be(6, 2), 16);
	ck_assert_uint_eq(data_be(12, 4), DISK_BLOCKS);
	is_check(ask(CDB(0x1a, 0, 0x02, 0, 255), 0, 255), 0x052400);
	is_check(ask(CDB(0x1a, 0, 0x08, 1, 255), 0, 255), 0x052400);
	is_check(ask(CDB(0x1a, 0, 0xc8, 0, 255), 0, 255), 0x053900);
}
END_TEST

static struct answer select_caching(uint8_t wce, bool ten)
{
	uint8_t list[8 + 20] = { 0 };
	size_t header = ten ? 8 : 4;

	list[header] = 0x08;
	list[header + 1] = 0x12;
	list[header + 2] = wce;
	put_data(list, sizeof(list));
	return ten ? ask(CDB(0x55, 0x10, 0, 0, 0, 0, 0, BE16(28)), 28, 0) : ask(CDB(0x15, 0x10, 0, 0, 24), 24, 0);
}

static uint8_t caching(void)
{
	is_good(ask(CDB(0x1a, 0x08, 0x08, 0, 24), 0, 24), 0);
	return data_byte(6);
}

/* Writes, zeroes and unmaps, then a flush: how many waited for the medium. */
static void changes_wait(unsigned int fua, unsigned int flushes)
{
	static const uint8_t list[] = { BE16(22), BE16(16), 0, 0, 0, 0, BE64(64), BE32(64), 0, 0, 0, 0 };

	tap_start(disks_get(kvm, 0));
	fill_data(0x5a, 1024);
	is_good(ask(CDB(0x2a, 0, BE32(200), 0, BE16(2)), 1024, 0), 0);
	is_good(ask(CDB(0x93, 1, BE64(16), BE32(8)), 0, 0), 0);
	put_data(list, sizeof(list));
	is_good(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(sizeof(list))), sizeof(list), 0), 0);
	is_good(ask(CDB(0x35), 0, 0), 0);
	tap_expect(fua, flushes);
	tap_stop(disks_get(kvm, 0));
}

START_TEST(a_driver_chooses_whether_writes_wait_for_the_medium)
{
	changes_wait(0, 1);
	is_good(select_caching(0, false), 0);
	ck_assert_uint_eq(caching(), 0);
	changes_wait(3, 1);
	is_good(select_caching(0x04, true), 0);
	ck_assert_uint_eq(caching(), 0x04);
	/* FUA asks for one write; a read with it has all on the medium first */
	tap_start(disks_get(kvm, 0));
	is_good(ask(CDB(0x2a, 0x08, BE32(200), 0, BE16(1)), 512, 0), 0);
	ck_assert_uint_eq(atomic_load(&tap_fua), 1);
	is_good(ask(CDB(0x28, 0x08, BE32(200), 0, BE16(1)), 0, 512), 0);
	ck_assert_uint_eq(atomic_load(&tap_flushes), 1);
	tap_stop(disks_get(kvm, 0));
}
END_TEST

START_TEST(write_through_is_the_option_s)
{
	ck_assert_uint_eq(caching(), 0);
	changes_wait(3, 1);
	/* its default too, and back there after a reset */
	is_good(ask(CDB(0x1a, 0x08, 0x88, 0, 24), 0, 24), 0);
	ck_assert_uint_eq(data_byte(6), 0);
	is_good(select_caching(0x04, false), 0);
	changes_wait(0, 1);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0), VIRTIO_SCSI_S_OK);
	is_check(ask(CDB(0x00), 0, 0), 0x062903);
	ck_assert_uint_eq(caching(), 0);
}
END_TEST

START_TEST(mode_select_changes_nothing_else)
{
	static const struct { uint8_t list[24]; uint8_t length; uint32_t sense; } bad[] = {
		{ { 0, 0, 0, 0, 0x08, 0x12, 0x05 }, 24, 0x052600 },		/* RCD */
		{ { 0, 0, 0, 0, 0x08, 0x11, 0x04 }, 24, 0x052600 },		/* a shorter page */
		{ { 0, 0, 0, 0, 0x48, 0x12, 0x04 }, 24, 0x052600 },		/* a subpage */
		{ { 0, 0, 0, 0, 0x2a, 0x14 }, 24, 0x052600 },			/* a page it hasn't */
		{ { 0, 0, 0, 0, 0x08, 0x12, 0x00 }, 20, 0x051a00 },		/* cut */
		{ { 0, 0, 0, 0, 0x08 }, 5, 0x051a00 },
		{ { 0, 0, 0, 200, 0x08, 0x12 }, 24, 0x051a00 },			/* a descriptor longer than the list */
		{ { 0, 0, 0, 4, 0, 0, 0, 0 }, 8, 0x052600 },
		{ { 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x10, 0 }, 12, 0x052600 },	/* blocks of 4096 bytes */
		{ { 0, 0, 0 }, 3, 0x051a00 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put_data(bad[i].list, sizeof(bad[i].list));
		is_check(ask(CDB(0x15, 0x10, 0, 0, bad[i].length), bad[i].length, 0), bad[i].sense);
		ck_assert_uint_eq(caching(), 0x04);
	}
	is_check(ask(CDB(0x15, 0x11, 0, 0, 24), 24, 0), 0x052400);
	is_check(ask(CDB(0x15, 0x00, 0, 0, 24), 24, 0), 0x052400);
	ck_assert_uint_eq(ask(CDB(0x15, 0x10, 0, 0, 24), 23, 0).response, VIRTIO_SCSI_S_OVERRUN);
	is_good(ask(CDB(0x15, 0x10, 0, 0, 0), 0, 0), 0);
}
END_TEST

START_TEST(a_read_only_disk_stays_as_it_is)
{
	is_good(ask(CDB(0x1a, 0x08, 0x08, 0, 24), 0, 24), 0);
	ck_assert_uint_eq(data_byte(2), 0x90);
	fill_data(0x77, 512);
	is_check(ask(CDB(0x2a, 0, BE32(0), 0, BE16(1)), 512, 0), 0x072700);
	is_check(ask(CDB(0x93, 1, BE64(0), BE32(1)), 0, 0), 0x072700);
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(8)), 8, 0), 0x072700);
	is_good(ask(CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, BE32(32)), 0, 32), 0);
	ck_assert_uint_eq(data_byte(14), 0);
	is_good(ask(CDB(0x28, 0x08, BE32(0), 0, BE16(1)), 0, 512), 0);
	is_pattern(0, 512);
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

START_TEST(a_stopped_disk_waits_for_its_start)
{
	is_good(ask(CDB(0x1b, 0, 0, 0, 0), 0, 0), 0);
	is_check(ask(CDB(0x00), 0, 0), 0x020402);
	is_check(ask(CDB(0x28, 0, BE32(0), 0, BE16(1)), 0, 512), 0x020402);
	is_good(ask(CDB(0x03, 0, 0, 0, 18), 0, 18), 0);
	ck_assert_uint_eq(data_byte(2), 2);
	is_good(ask(CDB(0x1b, 0, 0, 0, 1), 0, 0), 0);
	is_good(ask(CDB(0x00), 0, 0), 0);
	is_check(ask(CDB(0x1b, 0, 0, 0, 2), 0, 0), 0x052400);
}
END_TEST

/* ---- management, events, state ---- */

START_TEST(task_management_answers_by_the_book)
{
	uint8_t nobody[8] = { 0 };

	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 1), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0, 0), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, 0, 0, 0), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 1), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0, 0), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0, 0, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
	ck_assert_uint_eq(manage(99, 0, 0, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 9, 0, 0), VIRTIO_SCSI_S_BAD_TARGET);
	ck_assert_uint_eq(manage_lun(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, nobody, 0), VIRTIO_SCSI_S_BAD_TARGET);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 5, 0, 0), VIRTIO_SCSI_S_INCORRECT_LUN);
	is_good(ask_at(5, 3, CDB(0x00), 0, 0), 0);
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 5, 0, 0), VIRTIO_SCSI_S_OK);
	is_check(ask_at(5, 3, CDB(0x00), 0, 0), 0x062907);
	/* the others weren't reset */
	is_good(ask(CDB(0x00), 0, 0), 0);
}
END_TEST

/* Commands that take time: each writes half of the disk, in steps. */
static void offer_slow(unsigned int slot)
{
	uint64_t header = DATA + 0x10000 + slot * 0x200ULL;
	const struct driver_buffer buffers[] = {
		{ header, HEADER_SIZE, false }, { DATA, 512, false }, { header + 0x100, RESPONSE_SIZE, true },
	};
	uint8_t lun[8];

	lun_of(lun, 0, 0);
	put_header(header, lun, 100 + slot, CDB(0x93, 0, BE64(DISK_BLOCKS / 2 * (slot % 2)), BE32(DISK_BLOCKS / 2)).data);
	driver_offer(2, (uint16_t)(slot * 3), buffers, 3);
}

START_TEST(commands_that_are_ended_come_back_before_what_ended_them)
{
	unsigned int ended = 0;

	fill_data(0x33, 512);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 16; i++)
			offer_slow(i);
		virtio_notify(driven, 2);
		ck_assert_uint_eq(manage(round % 2 ? VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET : VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, 0, 0),
				  VIRTIO_SCSI_S_OK);
		/* they were there first, so that all of them are back when it is */
		ck_assert(requests_were_back);
		for (unsigned int i = 0; i < 16; i++)
			ended += take_answer(DATA + 0x10000 + i * 0x200ULL + 0x100).response ==
				 (round % 2 ? VIRTIO_SCSI_S_RESET : VIRTIO_SCSI_S_ABORTED);
		ck_assert_ptr_null(controller()->functions);
		ck_assert_ptr_null(controller()->flying);
	}
	ck_assert_uint_gt(ended, 0);
}
END_TEST

START_TEST(one_task_can_be_asked_for_and_ended)
{
	unsigned int running = 0, ended = 0;

	fill_data(0x34, 512);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 16; i++)
			offer_slow(i);
		virtio_notify(driven, 2);
		running += manage(VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 115) == VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
		ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 99), VIRTIO_SCSI_S_OK);
		ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 115), VIRTIO_SCSI_S_OK);
		queue_finish(2);
		ended += take_answer(DATA + 0x10000 + 15 * 0x200ULL + 0x100).response == VIRTIO_SCSI_S_ABORTED;
		for (unsigned int i = 0; i < 15; i++)
			is_good(take_answer(DATA + 0x10000 + i * 0x200ULL + 0x100), 0);
	}
	ck_assert_uint_gt(running, 0);
	ck_assert_uint_gt(ended, 0);
}
END_TEST

static void resize_on_loop(void *opaque)
{
	scsi_unit_resized(opaque);
}

START_TEST(a_new_size_is_an_event)
{
	struct scsi_unit *unit = scsi_bus_find(&controller()->bus, 5, 3);
	struct virtio_scsi_event event;

	offer_event(0);
	event_loop_call(driven->loop, resize_on_loop, unit);
	ck_assert(queue_all_used(1));
	event = take_event(0);
	ck_assert_uint_eq(le32toh(event.event), VIRTIO_SCSI_T_PARAM_CHANGE);
	ck_assert_uint_eq(le32toh(event.reason), 0x092a);
	ck_assert_uint_eq(event.lun[0], 1);
	ck_assert_uint_eq(event.lun[1], 5);
	ck_assert_uint_eq(event.lun[3], 3);
	is_check(ask_at(5, 3, CDB(0x00), 0, 0), 0x062a09);
	/* a driver that didn't want them gets none */
	driver_start(BIT(VIRTIO_SCSI_F_CHANGE), 4);
	offer_event(1);
	event_loop_call(driven->loop, resize_on_loop, unit);
	ck_assert(!queue_all_used(1));
}
END_TEST

START_TEST(events_without_a_buffer_are_said_to_be_missed)
{
	struct scsi_unit *unit = scsi_bus_find(&controller()->bus, 0, 0);

	event_loop_call(driven->loop, resize_on_loop, unit);
	event_loop_call(driven->loop, resize_on_loop, unit);
	offer_event(0);
	queue_finish(1);
	ck_assert_uint_eq(le32toh(take_event(0).event), VIRTIO_SCSI_T_NO_EVENT | VIRTIO_SCSI_T_EVENTS_MISSED);
	offer_event(1);
	event_loop_call(driven->loop, resize_on_loop, unit);
	ck_assert_uint_eq(le32toh(take_event(1).event), VIRTIO_SCSI_T_PARAM_CHANGE);
}
END_TEST

START_TEST(state_is_saved_and_loads_as_it_was)
{
	uint32_t sense_size = htole32(32), actual;

	virtio_config_write(driven, offsetof(struct virtio_scsi_config, sense_size), &sense_size, 4);
	ck_assert_uint_eq(notify_me(VIRTIO_SCSI_T_AN_SUBSCRIBE, 1, 0, 0xff, &actual), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(actual, 0x10);
	controller()->slots[0].unit.write_back = 0;
	controller()->missed = 1;
	board_save_load(kvm, "virtio-scsi");
	driver_start(0, 4);
	take_attentions();
	is_good(ask(CDB(0x28, 0, BE32(1), 0, BE16(1)), 0, 512), 0);
	is_pattern(512, 512);
}
END_TEST

START_TEST(what_a_driver_set_is_there_behind_a_load)
{
	struct device *device = device_find(kvm, "virtio-scsi");
	struct scsi_unit *unit = scsi_bus_find(&controller()->bus, 0, 0);
	struct state_writer writer = { 0 };
	struct state_reader reader;
	uint32_t sense_size = htole32(32);

	virtio_config_write(driven, offsetof(struct virtio_scsi_config, sense_size), &sense_size, 4);
	unit->write_back = 0;
	unit->stopped = 1;
	unit->attention = SCSI_ATTENTION_CAPACITY;
	scsi_slot_of(scsi_bus_find(&controller()->bus, 1, 0))->subscribed = 0x10;
	controller()->missed = 1;
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	ck_assert_uint_eq(unit->write_back, 1);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	ck_assert_uint_eq(atomic_load(&controller()->sense_size), 32);
	ck_assert_uint_eq(controller()->missed, 1);
	ck_assert_uint_eq(unit->write_back, 0);
	ck_assert_uint_eq(unit->stopped, 1);
	ck_assert_uint_eq(unit->attention, SCSI_ATTENTION_CAPACITY);
	ck_assert_uint_eq(scsi_slot_of(scsi_bus_find(&controller()->bus, 1, 0))->subscribed, 0x10);
	device->ops->resume(device);
	state_writer_free(&writer);
}
END_TEST

START_TEST(saved_state_that_is_hostile_is_refused)
{
	board_load_hostile(kvm, "virtio-scsi", NULL);
}
END_TEST

START_TEST(the_driver_s_sizes_are_kept_to)
{
	uint32_t sense_size = htole32(8), cdb_size = htole32(16), seen;
	const struct driver_buffer buffers[] = { { HEADER, 19 + 16, false }, { RESPONSE, 12 + 8, true } };
	uint8_t lun[8];

	virtio_config_write(driven, offsetof(struct virtio_scsi_config, sense_size), &sense_size, 4);
	virtio_config_write(driven, offsetof(struct virtio_scsi_config, cdb_size), &cdb_size, 4);
	virtio_config_read(driven, offsetof(struct virtio_scsi_config, sense_size), &seen, 4);
	ck_assert_uint_eq(le32toh(seen), 8);
	lun_of(lun, 0, 0);
	put_header(HEADER, lun, 1, CDB(0x5e).data);
	driver_offer(2, 0, buffers, 2);
	queue_finish(2);
	ck_assert_uint_eq(driver_used_length(2, 0), 20);
	ck_assert_uint_eq(guest_peek32(&driver_ram, RESPONSE), 8);
	ck_assert_uint_eq(driver_peek(RESPONSE + 12 + 2), 5);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *first = suite_case(suite, "first", setup_first, scsi_teardown);
	TCase *tests = suite_case(suite, "drivers", setup, scsi_teardown);
	TCase *read_only = suite_case(suite, "read-only", setup_read_only, scsi_teardown);
	TCase *through = suite_case(suite, "write-through", setup_through, scsi_teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(first, a_unit_says_first_that_it_was_turned_on);
	tcase_add_test(tests, inquiry_says_what_a_unit_is);
	tcase_add_test(tests, vital_product_data_are_the_disk_s);
	tcase_add_test(tests, targets_and_luns_are_found_and_others_are_not);
	tcase_add_test(tests, sense_data_are_there_on_request_in_both_formats);
	tcase_add_loop_test(tests, reads_and_writes_of_each_size_reach_the_file, 0, (int)ARRAY_SIZE(sizes));
	tcase_add_test(tests, a_buffer_larger_than_the_transfer_keeps_the_rest);
	tcase_add_test(tests, requests_may_be_cut_anywhere);
	tcase_add_test(tests, the_capacity_is_the_disk_s);
	tcase_add_test(tests, unmap_and_write_same_act_on_their_ranges_alone);
	tcase_add_test(tests, verify_looks_at_the_range);
	tcase_add_test(tests, many_at_once_on_two_queues_all_come_back);
	tcase_add_test(tests, mode_pages_say_what_can_be_changed);
	tcase_add_test(tests, a_driver_chooses_whether_writes_wait_for_the_medium);
	tcase_add_test(tests, mode_select_changes_nothing_else);
	tcase_add_test(tests, a_stopped_disk_waits_for_its_start);
	tcase_add_test(tests, task_management_answers_by_the_book);
	tcase_add_test(tests, commands_that_are_ended_come_back_before_what_ended_them);
	tcase_add_test(tests, one_task_can_be_asked_for_and_ended);
	tcase_add_test(tests, a_new_size_is_an_event);
	tcase_add_test(tests, events_without_a_buffer_are_said_to_be_missed);
	tcase_add_test(tests, state_is_saved_and_loads_as_it_was);
	tcase_add_test(tests, what_a_driver_set_is_there_behind_a_load);
	tcase_add_test(tests, saved_state_that_is_hostile_is_refused);
	tcase_add_test(tests, the_driver_s_sizes_are_kept_to);
	tcase_add_test(read_only, a_read_only_disk_stays_as_it_is);
	tcase_add_test(through, write_through_is_the_option_s);
}
SUITE_MAIN("scsi", add_tests)
