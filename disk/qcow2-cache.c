/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cache of L2 tables and refcount blocks, in slices of a page: a random read of a large disk costs one page of
 * its tables, not a cluster of them. Sets of a few ways; within a set the one longest unused gives way.
 */
#include <string.h>

#include "disk/qcow2.h"

int qcow2_cache_init(struct qcow2 *q)
{
	struct qcow2_cache *cache = &q->cache;
	size_t slices;

	cache->slice_bits = MIN(q->cluster_bits, 12u);
	slices = QCOW2_CACHE_BYTES >> cache->slice_bits;
	cache->sets = (uint32_t)(slices / QCOW2_CACHE_WAYS);
	cache->slices = calloc(slices, sizeof(cache->slices[0]));
	cache->memory = malloc(QCOW2_CACHE_BYTES);
	return cache->slices && cache->memory ? 0 : -ENOMEM;
}

void qcow2_cache_exit(struct qcow2 *q)
{
	free(q->cache.slices);
	free(q->cache.memory);
}

static struct qcow2_slice *cache_set(struct qcow2_cache *cache, uint64_t offset)
{
	uint64_t number = offset >> cache->slice_bits;

	/* Tables lie clusters apart: the upper bits must matter too. */
	return &cache->slices[((number * 0x9e3779b97f4a7c15ULL) >> 32) % cache->sets * QCOW2_CACHE_WAYS];
}

static uint8_t *slice_memory(const struct qcow2_cache *cache, const struct qcow2_slice *slice)
{
	return cache->memory + ((size_t)(slice - cache->slices) << cache->slice_bits);
}

static struct qcow2_slice *cache_find(struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_slice *set = cache_set(cache, offset);

	for (unsigned int way = 0; way < QCOW2_CACHE_WAYS; way++)
		if (set[way].offset == offset)
			return &set[way];
	return NULL;
}

static int slice_write(struct qcow2 *q, struct qcow2_slice *slice)
{
	struct qcow2_cache *cache = &q->cache;
	int result = disk_file_write(q->file, slice->offset, slice_memory(cache, slice), (size_t)1 << cache->slice_bits);

	if (result)
		return result;
	cache->dirty--;
	cache->dirty_maps -= slice->is_map;
	slice->dirty = slice->is_map = false;
	return 0;
}

int qcow2_cache_write(struct qcow2 *q, bool maps)
{
	struct qcow2_cache *cache = &q->cache;
	size_t slices = (size_t)cache->sets * QCOW2_CACHE_WAYS;
	int result = 0;

	if (!(maps ? cache->dirty_maps : cache->dirty - cache->dirty_maps))
		return 0;
	for (size_t i = 0; i < slices && !result; i++)
		if (cache->slices[i].dirty && cache->slices[i].is_map == maps)
			result = slice_write(q, &cache->slices[i]);
	return result;
}

void qcow2_cache_drop(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	struct qcow2_cache *cache = &q->cache;

	for (uint64_t at = offset; at < offset + length; at += BIT(cache->slice_bits)) {
		struct qcow2_slice *slice = cache_find(cache, at);

		if (!slice)
			continue;
		cache->dirty -= slice->dirty;
		cache->dirty_maps -= slice->is_map;
		*slice = (struct qcow2_slice){ .offset = 0 };
	}
}

static int cache_fill(struct qcow2 *q, uint64_t offset, struct qcow2_slice **out)
{
	struct qcow2_cache *cache = &q->cache;
	struct qcow2_slice *set = cache_set(cache, offset), *victim = set;
	int result = 0;

	for (unsigned int way = 1; way < QCOW2_CACHE_WAYS; way++)
		if (set[way].used < victim->used)
			victim = &set[way];
	/* Entries wait for what they refer to: with one of them, all go. */
	if (victim->dirty)
		result = victim->is_map ? qcow2_write_maps(q) : slice_write(q, victim);
	if (result)
		return result;
	*victim = (struct qcow2_slice){ .offset = 0 };
	result = disk_file_read(q->file, offset, slice_memory(cache, victim), (size_t)1 << cache->slice_bits);
	if (result)
		return result;
	victim->offset = offset;
	*out = victim;
	return 0;
}

static int cache_get(struct qcow2 *q, uint64_t offset, struct qcow2_slice **out)
{
	uint64_t start = ALIGN_DOWN(offset, BIT(q->cache.slice_bits));
	int result = 0;

	*out = cache_find(&q->cache, start);
	if (!*out)
		result = cache_fill(q, start, out);
	if (!result)
		(*out)->used = ++q->cache.clock;
	return result;
}

int qcow2_cache_get(struct qcow2 *q, uint64_t offset, void **at)
{
	struct qcow2_slice *slice;
	int result = cache_get(q, offset, &slice);

	if (!result)
		*at = slice_memory(&q->cache, slice) + (offset - slice->offset);
	return result;
}

int qcow2_cache_get_dirty(struct qcow2 *q, uint64_t offset, bool is_map, void **at)
{
	struct qcow2_slice *slice;
	int result = cache_get(q, offset, &slice);

	if (result)
		return result;
	q->cache.dirty += !slice->dirty;
	q->cache.dirty_maps += is_map && !slice->is_map;
	slice->dirty = true;
	slice->is_map |= is_map;
	*at = slice_memory(&q->cache, slice) + (offset - slice->offset);
	return 0;
}
