/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/space.c and core/memory.c: the flattened view and the checked accessors, against a model that has one owner
 * for each byte and no cleverness.
 */
#include "tests/unit/board.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "kvm/memory.h"

#define LIMIT		4096u
#define REGIONS		14
#define ROUNDS		3000

static struct address_space space;

/* One region of the model: what the flattener must see. */
struct model {
	struct region region;
	bool added;
	int priority;
	unsigned int order;		/* of equal priority the one added last is on top */
	uint64_t base;
	struct model *target;
	uint64_t target_offset;
	uint8_t *host;
};

static struct model models[REGIONS];
static unsigned int orders;
static uint32_t random_state;

/* The same at each run, unless LKVM_TEST_SEED asks for another; what fails under it is repeated by it. */
static uint32_t seed(void)
{
	const char *text = getenv("LKVM_TEST_SEED");

	return text ? (uint32_t)strtoul(text, NULL, 0) : 20260102u;
}

static uint32_t random_below(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)(random_state >> 4) * below) >> 28);
}

static uint64_t no_read(void *device, uint64_t offset, unsigned int size)
{
	(void)device;
	(void)size;
	return 0xa500 + offset;
}

static const struct io_ops plain_ops = { .read = no_read };

static void setup(void)
{
	log_set_sink(board_hush);
	ck_assert_int_eq(address_space_init(&space, "test", LIMIT), 0);
	random_state = seed();
	orders = 0;
	memset(models, 0, sizeof(models));
	for (unsigned int i = 0; i < REGIONS; i++) {
		struct model *model = &models[i];
		uint64_t size = 1 + random_below(i % 3 ? 700 : 60);

		switch (i % 4) {
		case 0:
			region_init_io(&model->region, "io", &plain_ops, model, size);
			break;
		case 1:
			model->host = calloc(1, size);
			region_init_ram(&model->region, "ram", model->host, size, -1, 0);
			break;
		case 2:
			model->host = calloc(1, size);
			region_init_rom(&model->region, "rom", model->host, size, -1, 0);
			break;
		default:
			model->target = &models[i - 2];
			model->target_offset = random_below((uint32_t)model->target->region.size);
			size = 1 + random_below((uint32_t)(model->target->region.size - model->target_offset));
			region_init_alias(&model->region, "alias", &model->target->region, model->target_offset, size);
		}
	}
}

static void teardown(void)
{
	for (unsigned int i = 0; i < REGIONS; i++)
		region_del(&models[i].region);
	address_space_exit(&space);
	for (unsigned int i = 0; i < REGIONS; i++)
		free(models[i].host);
	log_set_sink(NULL);
}

/* Who owns @address by the rules alone. */
static const struct model *model_owner(uint64_t address)
{
	const struct model *best = NULL;

	for (unsigned int i = 0; i < REGIONS; i++) {
		const struct model *model = &models[i];

		if (!model->added || address < model->base || address - model->base >= model->region.size)
			continue;
		if (!best || model->priority > best->priority || (model->priority == best->priority && model->order > best->order))
			best = model;
	}
	return best;
}

static void compare_all(unsigned int round)
{
	uint64_t end = 0;
	RCU_READ_SCOPE();

	for (uint64_t at = 0; at < LIMIT; at++) {
		const struct flat_range *range = address_space_find(&space, at);
		const struct model *owner = model_owner(at);
		const struct model *real = owner && owner->target ? owner->target : owner;
		uint64_t offset;

		EXPECT(!range == !owner, "seed %u, round %u, address %llu: %s expected", seed(), round, (unsigned long long)at,
			      owner ? "a region" : "nothing");
		if (!range)
			continue;
		offset = at - owner->base + (owner->target ? owner->target_offset : 0);
		EXPECT(range->region == &real->region && range->offset + (at - range->base) == offset,
			      "seed %u, round %u, address %llu: region %d at %llu expected, seen %s at %llu", seed(), round, (unsigned long long)at,
			      (int)(real - models), (unsigned long long)offset, range->region->name,
			      (unsigned long long)(range->offset + (at - range->base)));
		EXPECT(range->base >= end || (at >= range->base && at - range->base < range->size),
		       "seed %u, round %u: ranges overlap at %llu", seed(), round, (unsigned long long)at);
		end = range->base;
	}
}

static void change_one(void)
{
	struct model *model = &models[random_below(REGIONS)];
	uint64_t base = random_below(LIMIT + 200);
	bool fits = base + model->region.size <= LIMIT;
	int result;

	if (!model->added) {
		model->priority = (int)random_below(3);
		result = region_add(&space, &model->region, base, model->priority);
		ck_assert_int_eq(result, fits ? 0 : -ERANGE);
		if (!result) {
			model->added = true;
			model->base = base;
			model->order = ++orders;
		}
	} else if (random_below(3)) {
		result = region_move(&model->region, base);
		ck_assert_int_eq(result, fits ? 0 : -ERANGE);
		if (!result)
			model->base = base;
	} else {
		region_del(&model->region);
		model->added = false;
	}
}

START_TEST(view_is_what_the_rules_say_after_any_changes)
{
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int together = random_below(4) ? 1 : 1 + random_below(5);

		if (together > 1)
			address_space_begin(&space);
		for (unsigned int i = 0; i < together; i++)
			change_one();
		if (together > 1)
			ck_assert_int_eq(address_space_commit(&space), 0);
		compare_all(round);
	}
}
END_TEST

/* ---- a listener that refuses ---- */

static bool refuse;

static int picky_commit(struct space_listener *listener, const struct flat_view *old, const struct flat_view *next)
{
	(void)listener;
	(void)old;
	(void)next;
	return refuse ? -ENOSPC : 0;
}

START_TEST(a_change_that_kvm_refuses_leaves_all_as_it_was)
{
	struct space_listener listener = { .commit = picky_commit };

	address_space_set_listener(&space, &listener);
	refuse = false;
	for (unsigned int round = 0; round < 400; round++) {
		struct model *model = &models[random_below(REGIONS)];
		uint64_t base = random_below((uint32_t)(LIMIT - model->region.size));
		int priority = (int)random_below(3);

		refuse = random_below(2);
		if (!model->added) {
			ck_assert_int_eq(region_add(&space, &model->region, base, priority), refuse ? -ENOSPC : 0);
			if (!refuse) {
				model->added = true;
				model->base = base;
				model->priority = priority;
				model->order = ++orders;
			}
		} else {
			ck_assert_int_eq(region_move(&model->region, base), refuse ? -ENOSPC : 0);
			if (!refuse)
				model->base = base;
		}
		compare_all(round);
	}
	refuse = false;
	address_space_set_listener(&space, NULL);
}
END_TEST

static unsigned int coalescings;
static bool refuse_coalesce;

static int count_coalesce(struct space_listener *listener, uint64_t address, uint64_t size, bool add)
{
	(void)listener;
	(void)address;
	(void)size;
	if (add && refuse_coalesce)
		return -ENOSPC;
	coalescings += add ? 1 : -1u;
	return 0;
}

static void no_write(void *device, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)device;
	(void)offset;
	(void)value;
	(void)size;
}

START_TEST(a_zone_that_kvm_refuses_is_not_left_behind)
{
	static const struct io_ops write_ops = { .write = no_write };
	struct space_listener listener = { .commit = picky_commit, .coalesce = count_coalesce };
	struct coalesced zone = { .offset = 0, .size = 4 };
	struct region io;

	region_init_io(&io, "io", &write_ops, NULL, 16);
	ck_assert_int_eq(region_add(&space, &io, 64, 3), 0);
	address_space_set_listener(&space, &listener);
	refuse = true;
	ck_assert_int_eq(region_coalesce(&io, &zone), -ENOSPC);
	ck_assert_ptr_null(io.coalesced);
	refuse = false;
	ck_assert_int_eq(region_coalesce(&io, &zone), 0);
	for (unsigned int i = 1; i < COALESCE_AFTER; i++)
		space_io_write(&space, 64, 1, 0);
	ck_assert_uint_eq(coalescings, 0);
	space_io_write(&space, 68, 1, 0);	/* beside the zone: doesn't count */
	ck_assert_uint_eq(coalescings, 0);
	space_io_write(&space, 64, 1, 0);
	ck_assert_uint_eq(coalescings, 1);
	/* It goes where the region goes, and goes with it. */
	ck_assert_int_eq(region_move(&io, 128), 0);
	ck_assert_uint_eq(coalescings, 1);
	region_uncoalesce(&io, &zone);
	ck_assert_uint_eq(coalescings, 0);
	ck_assert_ptr_null(io.coalesced);
	region_del(&io);
	address_space_set_listener(&space, NULL);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
	struct address_space whole;
	struct region ram, none;
	char host[16];

	region_init_ram(&ram, "ram", host, sizeof(host), -1, 0);
	ck_assert_int_eq(region_add(&space, &ram, LIMIT - 15, 0), -ERANGE);
	ck_assert_int_eq(region_add(&space, &ram, UINT64_MAX, 0), -ERANGE);
	region_init_ram(&none, "none", host, 0, -1, 0);
	ck_assert_int_eq(region_add(&space, &none, 0, 0), -ERANGE);
	ck_assert_int_eq(region_add(&space, &ram, LIMIT - 16, 0), 0);
	ck_assert_int_eq(region_add(&space, &ram, 0, 0), -EEXIST);
	region_del(&ram);
	region_del(&ram);

	/* A space of 2^64: its very last byte can be used. */
	ck_assert_int_eq(address_space_init(&whole, "whole", 0), 0);
	ck_assert_int_eq(region_add(&whole, &ram, UINT64_MAX - 14, 0), -ERANGE);
	ck_assert_int_eq(region_add(&whole, &ram, UINT64_MAX - 15, 0), 0);
	ck_assert_int_eq(memory_set(&whole, gpa(UINT64_MAX), 7, 1), 0);
	ck_assert_int_eq(host[15], 7);
	ck_assert_int_eq(memory_set(&whole, gpa(UINT64_MAX), 7, 2), -EFAULT);
	region_del(&ram);
	address_space_exit(&whole);
}
END_TEST

/* RAM at both ends of 2^64: an access that runs over the end must not come out at 0. */
START_TEST(nothing_is_past_the_end_of_a_whole_space)
{
	char low_host[16] = "at the bottom..", high_host[16] = "and at the top.", bytes[8];
	struct address_space whole;
	struct region low, high;
	uint64_t value;

	ck_assert_int_eq(address_space_init(&whole, "whole", 0), 0);
	region_init_ram(&low, "low", low_host, sizeof(low_host), -1, 0);
	region_init_ram(&high, "high", high_host, sizeof(high_host), -1, 0);
	ck_assert_int_eq(region_add(&whole, &low, 0, 0), 0);
	ck_assert_int_eq(region_add(&whole, &high, UINT64_MAX - 15, 0), 0);
	ck_assert(space_io_read(&whole, UINT64_MAX - 3, 8, &value));
	ck_assert_uint_eq(value >> 32, 0xffffffff);
	ck_assert_int_eq(memcmp(&value, high_host + 12, 4), 0);
	ck_assert(space_io_write(&whole, UINT64_MAX - 3, 8, 0x4141414142424242ULL));
	ck_assert_int_eq(memcmp(high_host + 12, "BBBB", 4), 0);
	ck_assert_str_eq(low_host, "at the bottom..");
	ck_assert_int_eq(memory_read(&whole, gpa(UINT64_MAX - 3), bytes, 8), -EFAULT);
	ck_assert_int_eq(memory_write(&whole, gpa(UINT64_MAX - 3), "overflow", 8), -EFAULT);
	ck_assert_ptr_null(memory_window(&whole, gpa(UINT64_MAX - 3), 8));
	ck_assert_int_eq(memcmp(high_host + 12, "BBBB", 4), 0);
	ck_assert_str_eq(low_host, "at the bottom..");
	ck_assert_int_eq(memory_read(&whole, gpa(UINT64_MAX - 3), bytes, 4), 0);
	region_del(&low);
	region_del(&high);
	address_space_exit(&whole);
}
END_TEST

/* ---- accessors ---- */

/* RAM [256, 512) and [512, 640) of other host memory, ROM [640, 768), a hole, RAM [1024, 1280) with I/O on [1100, 1104). */
static struct region part[4], window;
static uint8_t *part_host[4];
static const struct { uint64_t base, size; bool rom; } parts[4] = { { 256, 256, false }, { 512, 128, false }, { 640, 128, true }, { 1024, 256, false } };

static void setup_parts(void)
{
	log_set_sink(board_hush);
	ck_assert_int_eq(address_space_init(&space, "test", LIMIT), 0);
	for (unsigned int i = 0; i < 4; i++) {
		part_host[i] = malloc(parts[i].size);	/* exact, so that ASan sees a byte too many */
		for (unsigned int n = 0; n < parts[i].size; n++)
			part_host[i][n] = (uint8_t)(parts[i].base + n);
		if (parts[i].rom)
			region_init_rom(&part[i], "rom", part_host[i], parts[i].size, -1, 0);
		else
			region_init_ram(&part[i], "ram", part_host[i], parts[i].size, -1, 0);
		ck_assert_int_eq(region_add(&space, &part[i], parts[i].base, 0), 0);
	}
	region_init_io(&window, "io", &plain_ops, NULL, 4);
	ck_assert_int_eq(region_add(&space, &window, 1100, 1), 0);
}

static void teardown_parts(void)
{
	region_del(&window);
	for (unsigned int i = 0; i < 4; i++)
		region_del(&part[i]);
	address_space_exit(&space);
	for (unsigned int i = 0; i < 4; i++)
		free(part_host[i]);
	log_set_sink(NULL);
}

static bool is_memory(uint64_t at, bool write)
{
	for (unsigned int i = 0; i < 4; i++)
		if (at >= parts[i].base && at - parts[i].base < parts[i].size)
			return !(write && parts[i].rom) && !(at >= 1100 && at < 1104);
	return false;
}

static bool all_memory(uint64_t at, uint64_t length, bool write)
{
	for (uint64_t i = 0; i < length; i++)
		if (!is_memory(at + i, write))
			return false;
	return true;
}

static uint8_t host_byte(uint64_t at)
{
	for (unsigned int i = 0; i < 4; i++)
		if (at >= parts[i].base && at - parts[i].base < parts[i].size)
			return part_host[i][at - parts[i].base];
	return 0;
}

START_TEST(accessors_reach_all_memory_and_not_a_byte_more)
{
	uint8_t bytes[700], before;

	random_state = seed();
	for (unsigned int round = 0; round < 200000; round++) {
		uint64_t at = 200 + random_below(1200), length = random_below(random_below(8) ? 40 : 600);
		bool readable = all_memory(at, length, false), writable = all_memory(at, length, true);

		switch (random_below(3)) {
		case 0:
			ck_assert_int_eq(memory_read(&space, gpa(at), bytes, length), readable ? 0 : -EFAULT);
			for (uint64_t i = 0; readable && i < length; i++)
				EXPECT(bytes[i] == host_byte(at + i), "seed %u, round %u: byte %llu", seed(), round,
				       (unsigned long long)i);
			break;
		case 1:
			memset(bytes, (int)round, sizeof(bytes));
			before = host_byte(at);
			ck_assert_int_eq(memory_write(&space, gpa(at), bytes, length), writable ? 0 : -EFAULT);
			/* Nothing is written if not all can be. */
			if (length)
				ck_assert_uint_eq(host_byte(at), writable ? (uint8_t)round : before);
			for (uint64_t i = 0; writable && i < length; i++)
				EXPECT(host_byte(at + i) == (uint8_t)round, "seed %u, round %u: byte %llu", seed(),
				       round, (unsigned long long)i);
			break;
		default:
			before = host_byte(at);
			ck_assert_int_eq(memory_set(&space, gpa(at), (int)(round & 0xff), length), writable ? 0 : -EFAULT);
			if (length)
				ck_assert_uint_eq(host_byte(at), writable ? (uint8_t)round : before);
		}
	}
}
END_TEST

START_TEST(segments_cover_the_range_exactly)
{
	struct iovec iov[8];

	random_state = seed();
	for (unsigned int round = 0; round < 100000; round++) {
		uint64_t at = 200 + random_below(1200), length = random_below(500), done = 0;
		bool for_write = random_below(2);
		int max = (int)random_below(4), count = memory_iov(&space, gpa(at), length, for_write, iov, max);

		if (!length) {
			ck_assert_int_eq(count, 0);
			continue;
		}
		if (!all_memory(at, length, for_write)) {
			ck_assert(count == -EFAULT || count == -E2BIG);
			continue;
		}
		if (count == -E2BIG) {
			ck_assert_int_lt(max, 3);
			continue;
		}
		ck_assert_int_ge(count, 1);
		ck_assert_int_le(count, max);
		for (int i = 0; i < count; i++)
			for (size_t n = 0; n < iov[i].iov_len; n++, done++)
				EXPECT(((uint8_t *)iov[i].iov_base)[n] == host_byte(at + done),
				       "seed %u, round %u: byte %llu", seed(), round, (unsigned long long)done);
		ck_assert_uint_eq(done, length);
	}
	ck_assert_int_eq(memory_iov(&space, gpa(256), UINT64_MAX, false, iov, 8), -EFAULT);
	ck_assert_int_eq(memory_iov(&space, gpa(UINT64_MAX - 1), 4, false, iov, 8), -EFAULT);
}
END_TEST

START_TEST(a_window_lies_in_one_region_of_ram_or_is_refused)
{
	random_state = seed();
	for (unsigned int round = 0; round < 100000; round++) {
		uint64_t at = 200 + random_below(1200), length = 1 + random_below(300);
		uint8_t *host = memory_window(&space, gpa(at), length);
		bool crosses = at < 512 && at + length > 512;	/* from one RAM region to the next */

		if (!all_memory(at, length, true) || crosses) {
			EXPECT(!host, "seed %u, round %u: no window of %llu bytes at %llu expected", seed(), round,
				      (unsigned long long)length, (unsigned long long)at);
			continue;
		}
		EXPECT(host && host[0] == host_byte(at) && host[length - 1] == host_byte(at + length - 1),
			      "seed %u, round %u: a window of %llu bytes at %llu expected", seed(), round,
			      (unsigned long long)length, (unsigned long long)at);
	}
	ck_assert_ptr_null(memory_window(&space, gpa(256), UINT64_MAX));
}
END_TEST

START_TEST(io_accesses_split_at_borders_and_miss_as_ones)
{
	uint64_t value;

	ck_assert(!space_io_read(&space, 900, 4, &value));
	ck_assert_uint_eq(value & 0xffffffff, 0xffffffff);
	ck_assert(!space_io_write(&space, 900, 4, 0));
	ck_assert(space_io_write(&space, 700, 4, 0));	/* ROM: dropped */
	ck_assert_uint_eq(host_byte(700), (uint8_t)700);
	ck_assert(space_io_read(&space, 256, 8, &value));
	ck_assert_uint_eq(value, 0x0706050403020100ULL);
	ck_assert(space_io_read(&space, 1100, 2, &value));
	ck_assert_uint_eq(value, 0xa500);
	for (unsigned int size = 1; size <= 8; size++)
		for (uint64_t at = 1020; at < 1290; at++) {
			space_io_read(&space, at, size, &value);
			space_io_write(&space, at, size, value);
		}
}
END_TEST

/* ---- readers beside a writer ---- */

static atomic_bool stop;
static atomic_ulong looked;

struct moving {
	struct region region;
	uint32_t mark;
};

static void *reader(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		RCU_READ_SCOPE();
		const struct flat_range *range = address_space_find(&space, 2048);

		if (range) {
			const struct moving *owner = container_of(range->region, struct moving, region);

			EXPECT_EQ(owner->mark, 0xfeedface);
			EXPECT(2048 >= range->base && 2048 - range->base < range->size, "a range that is not around 2048");
		}
		atomic_fetch_add_explicit(&looked, 1, memory_order_relaxed);
	}
	return NULL;
}

START_TEST(readers_never_meet_a_freed_or_torn_region)
{
	uint64_t start = event_now_ns(), enough = start + 400000000ULL, late = start + 30000000000ULL;
	pthread_t threads[3];
	unsigned long changes = 0;

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, NULL), 0);
	while (event_now_ns() < enough || ((atomic_load(&looked) < 1000 || changes <= 10) && event_now_ns() < late)) {
		struct moving *moving = malloc(sizeof(*moving));

		moving->mark = 0xfeedface;
		region_init_io(&moving->region, "moving", &plain_ops, NULL, 64);
		ck_assert_int_eq(region_add(&space, &moving->region, 2000, 1), 0);
		ck_assert_int_eq(region_move(&moving->region, 2040), 0);
		ck_assert_int_eq(region_move(&moving->region, 3000), 0);
		ck_assert_int_eq(region_move(&moving->region, 2048), 0);
		region_del(&moving->region);
		rcu_synchronize();
		moving->mark = 0;
		free(moving);
		changes++;
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(changes, 10);
}
END_TEST

static void *mover(void *opaque)
{
	struct region *region = opaque;

	for (uint64_t base = 0; !atomic_load(&stop); base = (base + 64) % LIMIT)
		(void)!region_move(region, base);
	return NULL;
}

static void *deleter(void *opaque)
{
	while (!atomic_load(&stop))
		region_del(opaque);
	return NULL;
}

/* As when a guest moves a BAR on one vCPU while the device is unplugged. */
START_TEST(a_region_may_be_deleted_twice_while_another_thread_moves_it)
{
	uint64_t end = event_now_ns() + 300000000ULL;
	struct region region;
	pthread_t threads[3];
	unsigned int added = 0;

	region_init_io(&region, "contested", &plain_ops, NULL, 64);
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&threads[0], NULL, mover, &region), 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, deleter, &region), 0);
	ck_assert_int_eq(pthread_create(&threads[2], NULL, deleter, &region), 0);
	while (event_now_ns() < end || added < 100) {
		int result = region_add(&space, &region, 0, 1);

		ck_assert(result == 0 || result == -EEXIST);
		added += result == 0;
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	region_del(&region);
	ck_assert_ptr_null(space.regions);
}
END_TEST

static void *writer(void *refused)
{
	uint8_t byte = 0, bytes[300];

	while (!atomic_load(&stop)) {
		uint8_t before = part_host[0][0];

		memset(bytes, ++byte, sizeof(bytes));
		if (memory_write(&space, gpa(256), bytes, sizeof(bytes))) {
			EXPECT(part_host[0][0] == before, "a write was refused behind its first region");
			atomic_fetch_add((atomic_uint *)refused, 1);
		}
	}
	return NULL;
}

/* A write over two regions, of which the second comes and goes: never does the first alone change. */
START_TEST(a_write_that_is_refused_has_written_nothing)
{
	uint64_t end = event_now_ns() + 300000000ULL;
	atomic_uint refused = 0;
	pthread_t thread;

	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, writer, &refused), 0);
	while (event_now_ns() < end || atomic_load(&refused) < 10) {
		region_del(&part[1]);
		ck_assert_int_eq(region_add(&space, &part[1], 512, 0), 0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(part_host[0][255], part_host[1][0]);
	ck_assert_int_eq(part_host[0][0], part_host[1][43]);
}
END_TEST

static Suite *space_suite(void)
{
	Suite *suite = suite_create("space");
	TCase *view = tcase_create("view"), *access = tcase_create("accessors");

	tcase_add_checked_fixture(view, setup, teardown);
	tcase_set_timeout(view, 60);
	tcase_add_test(view, view_is_what_the_rules_say_after_any_changes);
	tcase_add_test(view, a_change_that_kvm_refuses_leaves_all_as_it_was);
	tcase_add_test(view, a_zone_that_kvm_refuses_is_not_left_behind);
	tcase_add_test(view, what_does_not_fit_is_refused);
	tcase_add_test(view, nothing_is_past_the_end_of_a_whole_space);
	tcase_add_test(view, readers_never_meet_a_freed_or_torn_region);
	tcase_add_test(view, a_region_may_be_deleted_twice_while_another_thread_moves_it);
	suite_add_tcase(suite, view);
	tcase_add_checked_fixture(access, setup_parts, teardown_parts);
	tcase_set_timeout(access, 60);
	tcase_add_test(access, accessors_reach_all_memory_and_not_a_byte_more);
	tcase_add_test(access, segments_cover_the_range_exactly);
	tcase_add_test(access, io_accesses_split_at_borders_and_miss_as_ones);
	tcase_add_test(access, a_window_lies_in_one_region_of_ram_or_is_refused);
	tcase_add_test(access, a_write_that_is_refused_has_written_nothing);
	suite_add_tcase(suite, access);
	return suite;
}

int main(void)
{
	return board_main(space_suite());
}
