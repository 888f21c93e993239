/* SPDX-License-Identifier: BSD-2-Clause */
/* A migration that comes in, under fuzz: frames, in which checksums are put right unless the first byte says otherwise. */
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>
#include <zlib.h>

#include "kvm/option.h"
#include "kvm/state.h"
#include "state/migrate-receive.h"
#include "state/snapshot-info.h"

#define INPUT_MAX	KIB(64)		/* what a socket takes at once */
#define MEMORY		KIB(512)

static uint8_t memory[MEMORY];

static void fix_sums(uint8_t *bytes, size_t length)
{
	struct migrate_header header;
	size_t payload;

	for (size_t at = 0; length - at >= sizeof(header); at += sizeof(header) + payload) {
		memcpy(&header, bytes + at, sizeof(header));
		payload = MIN((size_t)le32_get(header.length), length - at - sizeof(header));
		header.magic = le32_of(MIGRATE_FRAME_MAGIC);
		header.payload_crc = le32_of((uint32_t)crc32_z(0, bytes + at + sizeof(header), payload));
		header.crc = le32_of((uint32_t)crc32_z(0, (const uint8_t *)&header, offsetof(struct migrate_header, crc)));
		memcpy(bytes + at, &header, sizeof(header));
	}
}

static void receive(struct migrate_receiver *receiver)
{
	struct config *config;

	if (migrate_receive_info(receiver))
		return;
	FUZZ_CHECK(!config_new(&config, run_options()));
	(void)!snapshot_apply(receiver->info, "somewhere", config);
	config_free(config);
	receiver->ram = memory;
	receiver->ram_size = MEMORY;
	if (migrate_receive_machine(receiver))
		return;
	FUZZ_CHECK(receiver->state.whole && receiver->info_text.whole);
	state_print_stream(&(struct state_writer){ .data = receiver->state.data, .length = receiver->state.length }, -1);
}

static void migrate_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	struct fuzz_input input = { data, length };
	uint8_t flags = fuzz_u8(&input);
	size_t size = MIN(input.left, (size_t)INPUT_MAX);
	uint8_t *bytes = malloc(size + 1);
	struct migrate_receiver receiver;
	int ends[2];

	(void)target;
	FUZZ_CHECK(bytes && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	memcpy(bytes, input.at, size);
	if (!(flags & 1))
		fix_sums(bytes, size);
	FUZZ_CHECK(send(ends[0], bytes, size, MSG_DONTWAIT) == (ssize_t)size);
	close(ends[0]);
	FUZZ_CHECK(!migrate_receive_init(&receiver, ends[1]));
	receive(&receiver);
	migrate_receive_exit(&receiver);
	close(ends[1]);
	free(bytes);
}
FUZZ_TARGET(migrate, .name = "migrate", .one = migrate_one);
