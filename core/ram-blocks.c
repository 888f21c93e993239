/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RAM in blocks, for who lets the guest have more of it or less (virtio/mem.c).
 *
 * A block that is plugged is a region of its own, and so a memory slot of KVM's. One that comes or goes leaves the others
 * as they are; a slot that grows would be away for a moment, with code in it that a vCPU is at. A block that isn't plugged is
 * no memory at all: what the guest does there exits, as where nothing is, and takes nothing of the host's.
 */
#include "kvm/ram-blocks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/migrate.h"
#include "kvm/ram-options.h"
#include "kvm/snapshot.h"

static const struct ram_range *more_of(const struct kvm *kvm)
{
	return &kvm->ram[kvm->ram_count];
}

static struct region *block_of(const struct kvm *kvm, unsigned int index)
{
	return &kvm->ram_regions[kvm->ram_count + index];
}

bool ram_block_is_plugged(const struct kvm *kvm, unsigned int index)
{
	return atomic_load(&block_of(kvm, index)->space);
}

bool ram_blocks_are_held(const struct kvm *kvm)
{
	/* where RAM's file takes no holes for a while, somebody still fills it, or reads it */
	return snapshot_is_written(kvm) || migration_is_active(kvm) || (kvm->ram_fd >= 0 && !kvm->ram_regions[0].discard_page);
}

/* ---- what is in them ---- */

/* Where memory lies over a file that others have too, a hole would show what is in that. */
static int part_replace(const struct kvm *kvm, void *host, size_t length)
{
	struct ram_options options;

	if (mmap(host, length, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -errno;
	madvise(host, length, MADV_DONTDUMP);
	/* nonsense was refused when RAM was made */
	if (!ram_options_parse(kvm->config, &options))
		madvise(host, length, options.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return 0;
}

static int part_give_back(const struct kvm *kvm, unsigned int first, unsigned int count)
{
	uint64_t offset = more_of(kvm)->offset + first * kvm->ram_block, length = count * kvm->ram_block;
	char *host = (char *)kvm->ram_host + offset;
	int result;

	if (kvm->ram_fd < 0 && !kvm->ram_regions[0].discard_page)
		return part_replace(kvm, host, length);
	result = kvm->ram_fd >= 0 ?
		fallocate(kvm->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) :
		madvise(host, length, MADV_DONTNEED);
	return result < 0 ? -errno : 0;
}

/* Of these blocks, those that are no RAM. */
static void give_back(const struct kvm *kvm, unsigned int first, unsigned int count)
{
	const unsigned int end = first + count;
	int result = 0;

	if (ram_blocks_are_held(kvm))
		return;
	for (unsigned int last; first < end && !result; first = last + 1) {
		for (last = first; last < end && !ram_block_is_plugged(kvm, last); last++)
			;
		if (last > first)
			result = part_give_back(kvm, first, last - first);
	}
	if (result)
		log_warn("guest memory: what was unplugged can't be given back: %s", strerrordesc_np(-result));
}

void ram_blocks_sweep(struct kvm *kvm)
{
	give_back(kvm, 0, ram_block_count(kvm));
}

/* ---- plugged, unplugged ---- */

static int block_add(struct kvm *kvm, unsigned int index)
{
	const struct ram_range *more = more_of(kvm);
	struct region *region = block_of(kvm, index);
	uint64_t at = index * kvm->ram_block;

	/* once: somebody may look at one that was RAM before */
	if (!region->host)
		region_init_ram(region, "ram", (char *)kvm->ram_host + more->offset + at, kvm->ram_block, kvm->ram_fd, more->offset + at);
	__atomic_store_n(&region->discard_page, kvm->ram_regions[0].discard_page, __ATOMIC_RELAXED);
	return region_add(&kvm->memory, region, more->base + at, 0);
}

static void count_plugged(struct kvm *kvm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < ram_block_count(kvm); i++)
		sum += ram_block_is_plugged(kvm, i) ? kvm->ram_block : 0;
	atomic_store(&kvm->ram_plugged, sum);
}

typedef uint8_t block_bits[RAM_BLOCKS_MAX / 8];

static void blocks_now(const struct kvm *kvm, block_bits bits)
{
	memset(bits, 0, sizeof(block_bits));
	for (unsigned int i = 0; i < ram_block_count(kvm); i++)
		bits[i / 8] |= (uint8_t)(ram_block_is_plugged(kvm, i) << (i % 8));
}

/* Inside a transaction. */
static int blocks_put(struct kvm *kvm, const block_bits wanted)
{
	int result = 0;

	for (unsigned int i = 0; i < ram_block_count(kvm) && !result; i++) {
		bool to_be = wanted[i / 8] >> (i % 8) & 1;

		if (to_be && !ram_block_is_plugged(kvm, i))
			result = block_add(kvm, i);
		else if (!to_be)
			region_del(block_of(kvm, i));
	}
	return result;
}

/* The blocks of @wanted and no others, in one step, or as it was. */
static int blocks_change(struct kvm *kvm, const block_bits wanted)
{
	block_bits before;
	int result;

	blocks_now(kvm, before);
	address_space_begin(&kvm->memory);
	result = blocks_put(kvm, wanted);
	if (!result) {
		result = address_space_commit(&kvm->memory);
		if (!result) {
			count_plugged(kvm);
			return 0;
		}
		address_space_begin(&kvm->memory);
	}
	if (blocks_put(kvm, before) || address_space_commit(&kvm->memory))
		log_error(EIO, "guest memory: the earlier layout can't be put back");
	return result;
}

static int blocks_set(struct kvm *kvm, unsigned int first, unsigned int count, bool plugged)
{
	block_bits wanted;

	blocks_now(kvm, wanted);
	for (unsigned int i = first; i < first + count; i++)
		if (plugged)
			wanted[i / 8] |= (uint8_t)(1U << (i % 8));
		else
			wanted[i / 8] &= (uint8_t)~(1U << (i % 8));
	return blocks_change(kvm, wanted);
}

int ram_blocks_plug(struct kvm *kvm, unsigned int first, unsigned int count)
{
	return blocks_set(kvm, first, count, true);
}

/* When nobody finds them any more, and not before: who still looks would fill them again. */
int ram_blocks_unplug(struct kvm *kvm, unsigned int first, unsigned int count)
{
	int result = blocks_set(kvm, first, count, false);

	if (!result)
		give_back(kvm, first, count);
	return result;
}

/* ---- saved state ---- */

static const char section[] = "ram-blocks";

void ram_blocks_save(const struct kvm *kvm, struct state_writer *writer)
{
	block_bits bits;

	blocks_now(kvm, bits);
	if (kvm->ram_more)
		state_save_blob(writer, section, bits, (ram_block_count(kvm) + 7) / 8);
}

int ram_blocks_load(struct kvm *kvm, struct state_reader *reader)
{
	const unsigned int count = ram_block_count(kvm);
	block_bits bits = { 0 };
	bool had_any = atomic_load(&kvm->ram_plugged);
	size_t length;
	int result;

	if (!kvm->ram_more)
		return 0;
	result = state_load_blob(reader, section, bits, sizeof(bits), &length);
	if (result)
		return result;
	if (length != (count + 7) / 8 || (count % 8 && bits[count / 8] >> (count % 8)))
		return log_error(EINVAL, "saved state: RAM grows by other blocks than this machine's %u", count);
	result = blocks_change(kvm, bits);
	if (result)
		return log_errno(result, "saved state: memory can't be plugged");
	if (had_any)
		ram_blocks_sweep(kvm);
	return 0;
}
