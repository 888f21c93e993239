/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address spaces: regions, and how they are flattened into the view that look-ups use.
 *
 * Changes are made under the space's lock (recursive, so that a transaction can hold it) by any thread, also
 * by a vCPU that moves a BAR; readers never take it. The listener (core/memslot.c) makes KVM follow: memory
 * slots before the swap, so that a refusal changes nothing; doorbells and coalesced zones around it.
 */
#include <string.h>

#include "kvm/log.h"
#include "kvm/memory.h"
#include "kvm/rcu.h"

/* ---- regions ---- */

static void region_init(struct region *region, const char *name, enum region_kind kind, uint64_t size)
{
	memset(region, 0, sizeof(*region));
	region->name = name;
	region->kind = kind;
	region->size = size;
	region->fd = -1;
}

void region_init_ram(struct region *region, const char *name, void *host, uint64_t size, int fd, uint64_t fd_offset)
{
	region_init(region, name, REGION_RAM, size);
	region->host = host;
	region->fd = fd;
	region->fd_offset = fd_offset;
}

void region_init_rom(struct region *region, const char *name, void *host, uint64_t size, int fd, uint64_t fd_offset)
{
	region_init_ram(region, name, host, size, fd, fd_offset);
	region->kind = REGION_ROM;
}

void region_init_io(struct region *region, const char *name, const struct io_ops *ops, void *device, uint64_t size)
{
	region_init(region, name, REGION_IO, size);
	region->ops = ops;
	region->device = device;
}

void region_init_alias(struct region *region, const char *name, struct region *target, uint64_t offset, uint64_t size)
{
	region_init(region, name, REGION_ALIAS, size);
	region->target = target;
	region->target_offset = offset;
}

/* ---- flattening ---- */

/* A view under construction: the array is grown by doubling. */
struct flattening {
	struct flat_view *view;
	size_t capacity;
};

static int flatten_insert(struct flattening *flat, size_t at, const struct flat_range *range)
{
	struct flat_view *view = flat->view;

	if (view->count == flat->capacity) {
		size_t capacity = flat->capacity * 2;

		view = realloc(view, sizeof(*view) + capacity * sizeof(view->ranges[0]));
		if (!view)
			return -ENOMEM;
		flat->view = view;
		flat->capacity = capacity;
	}
	memmove(&view->ranges[at + 1], &view->ranges[at], (view->count - at) * sizeof(view->ranges[0]));
	view->ranges[at] = *range;
	view->count++;
	return 0;
}

/* Follows aliases down to what is really there. False if the alias reaches past its target. */
static bool region_resolve(struct flat_range *range)
{
	/* An alias of an alias of ... is a mistake of ours beyond this depth. */
	for (int depth = 0; range->region->kind == REGION_ALIAS; depth++) {
		struct region *alias = range->region;

		if (depth == 8 || !range_contains(0, alias->target->size, alias->target_offset, alias->size))
			return false;
		range->offset += alias->target_offset;
		range->region = alias->target;
	}
	return true;
}

/* Puts @region into the gaps that regions of higher priority left. */
static int flatten_region(struct flattening *flat, struct region *region)
{
	uint64_t at = region->base, left = region->size;
	size_t i = 0;

	while (left) {
		struct flat_range piece = { .base = at, .region = region, .offset = at - region->base };
		struct flat_range *ranges = flat->view->ranges;
		uint64_t skip;
		int result;

		while (i < flat->view->count && ranges[i].base + (ranges[i].size - 1) < at)
			i++;
		if (i < flat->view->count && ranges[i].base <= at) {
			skip = MIN(ranges[i].size - (at - ranges[i].base), left);
		} else {
			skip = left;
			if (i < flat->view->count)
				skip = MIN(left, ranges[i].base - at);
			piece.size = skip;
			if (region_resolve(&piece)) {
				result = flatten_insert(flat, i, &piece);
				if (result)
					return result;
			}
		}
		at += skip;
		left -= skip;
	}
	return 0;
}

static struct flat_view *space_flatten(const struct address_space *space)
{
	struct flattening flat = { .capacity = 32 };

	flat.view = malloc(sizeof(*flat.view) + flat.capacity * sizeof(flat.view->ranges[0]));
	if (!flat.view)
		return NULL;
	flat.view->count = 0;
	/* The list is sorted by descending priority. */
	for (struct region *region = space->regions; region; region = region->next) {
		if (flatten_region(&flat, region)) {
			free(flat.view);
			return NULL;
		}
	}
	return flat.view;
}

/* ---- doorbells and coalesced zones follow the view ---- */

static bool binding_same(const struct space_binding *a, const struct space_binding *b)
{
	return a->address == b->address && a->doorbell == b->doorbell && a->size == b->size;
}

static bool binding_in(const struct space_binding *binding, const struct space_binding *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (binding_same(binding, &list[i]))
			return true;
	return false;
}

static int binding_append(struct space_binding **list, size_t *count, struct space_binding binding)
{
	/* Grown in steps of 16; the count says when a step is full. */
	if (*count % 16 == 0) {
		struct space_binding *grown = realloc(*list, (*count + 16) * sizeof(**list));

		if (!grown)
			return -ENOMEM;
		*list = grown;
	}
	(*list)[(*count)++] = binding;
	return 0;
}

static int bindings_of_range(const struct flat_range *range, struct space_binding **list, size_t *count)
{
	struct region *region = range->region;
	int result = 0;

	for (struct doorbell *bell = region->doorbells; bell && !result; bell = bell->next)
		if (range_contains(range->offset, range->size, bell->offset, bell->size ? bell->size : 1))
			result = binding_append(list, count, (struct space_binding){
				.address = range->base + (bell->offset - range->offset), .doorbell = bell });
	for (struct coalesced *zone = atomic_load(&region->coalesced); zone && !result; zone = atomic_load(&zone->next))
		if (atomic_load(&zone->writes) >= COALESCE_AFTER &&
		    range_contains(range->offset, range->size, zone->offset, zone->size))
			result = binding_append(list, count, (struct space_binding){
				.address = range->base + (zone->offset - range->offset), .size = zone->size });
	return result;
}

static int bindings_of_view(const struct flat_view *view, struct space_binding **list, size_t *count)
{
	int result = 0;

	for (size_t i = 0; i < view->count && !result; i++)
		if (view->ranges[i].region->kind == REGION_IO)
			result = bindings_of_range(&view->ranges[i], list, count);
	return result;
}

static int binding_set(struct address_space *space, const struct space_binding *binding, bool add)
{
	struct space_listener *listener = space->listener;

	if (binding->doorbell)
		return listener->doorbell(listener, binding->address, binding->doorbell, add);
	return listener->coalesce(listener, binding->address, binding->size, add);
}

/*
 * Takes off what is gone. What is new is added after the swap. A zone or doorbell that KVM refuses only
 * makes its device slower, since the write then exits to the region's callback: it is left out of the list.
 */
static void bindings_remove_stale(struct address_space *space, const struct space_binding *next, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < space->binding_count; i++) {
		if (binding_in(&space->bindings[i], next, count))
			space->bindings[kept++] = space->bindings[i];
		else
			binding_set(space, &space->bindings[i], false);
	}
	space->binding_count = kept;
}

static void bindings_add_new(struct address_space *space, struct space_binding *next, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (binding_in(&next[i], space->bindings, space->binding_count) ||
		    !binding_set(space, &next[i], true))
			next[kept++] = next[i];
	free(space->bindings);
	space->bindings = next;
	space->binding_count = kept;
}

/* ---- changes ---- */

static int space_update_locked(struct address_space *space)
{
	struct flat_view *old = atomic_load_explicit(&space->view, memory_order_relaxed);
	struct flat_view *next = space_flatten(space);
	struct space_listener *listener = space->listener;
	struct space_binding *bindings = NULL;
	size_t count = 0;
	int result = next ? 0 : -ENOMEM;

	if (!result && listener) {
		result = bindings_of_view(next, &bindings, &count);
		if (!result)
			result = listener->commit(listener, old, next);
	}
	if (result) {
		free(next);
		free(bindings);
		return result;
	}

	if (listener)
		bindings_remove_stale(space, bindings, count);
	/* seq_cst, as the load in address_space_find(): either a reader sees this, or rcu_oldest() sees the reader. */
	atomic_store(&space->view, next);
	if (listener)
		bindings_add_new(space, bindings, count);
	space->dirty = false;
	rcu_defer(free, old);
	return 0;
}

static int space_changed_locked(struct address_space *space)
{
	space->dirty = true;
	return space->transaction ? 0 : space_update_locked(space);
}

static void region_link_locked(struct address_space *space, struct region *region)
{
	struct region **at = &space->regions;

	/* Of equal priority the one added last is on top. */
	while (*at && (*at)->priority > region->priority)
		at = &(*at)->next;
	region->next = *at;
	*at = region;
	atomic_store(&region->space, space);
}

static void region_unlink_locked(struct region *region)
{
	struct region **at = &atomic_load(&region->space)->regions;

	while (*at && *at != region)
		at = &(*at)->next;
	if (*at)
		*at = region->next;
	atomic_store(&region->space, NULL);
}

static bool space_fits(const struct address_space *space, uint64_t base, uint64_t size)
{
	uint64_t last = base + (size - 1);

	return size && last >= base && (!space->limit || last < space->limit);
}

/* The space that @region is in, with its lock held; NULL, and no lock, while it is in none. */
static struct address_space *region_lock(struct region *region)
{
	struct address_space *space;

	while ((space = atomic_load(&region->space))) {
		pthread_mutex_lock(&space->lock);
		if (atomic_load(&region->space) == space)
			return space;
		pthread_mutex_unlock(&space->lock);
	}
	return NULL;
}

static void region_unlock(struct address_space *space)
{
	if (space)
		pthread_mutex_unlock(&space->lock);
}

static int region_add_locked(struct address_space *space, struct region *region, uint64_t base, int priority)
{
	int result;

	if (atomic_load(&region->space))
		return -EEXIST;
	region->base = base;
	region->priority = priority;
	region_link_locked(space, region);
	result = space_changed_locked(space);
	if (result)
		region_unlink_locked(region);
	return result;
}

int region_add(struct address_space *space, struct region *region, uint64_t base, int priority)
{
	int result;

	if (!space_fits(space, base, region->size))
		return -ERANGE;
	pthread_mutex_lock(&space->lock);
	result = region_add_locked(space, region, base, priority);
	pthread_mutex_unlock(&space->lock);
	return result;
}

void region_del(struct region *region)
{
	struct address_space *space = region_lock(region);

	if (!space)
		return;
	region_unlink_locked(region);
	if (space_changed_locked(space))
		log_error(ENOMEM, "address space %s: region %s is gone but the view is stale", space->name,
			  region->name);
	region_unlock(space);
}

int region_move(struct region *region, uint64_t base)
{
	struct address_space *space = region_lock(region);
	int result = -EINVAL;

	if (space && space_fits(space, base, region->size)) {
		uint64_t from = region->base;

		region->base = base;
		result = space_changed_locked(space);
		if (result)
			region->base = from;
	} else if (space) {
		result = -ERANGE;
	}
	region_unlock(space);
	return result;
}

static int region_link_doorbell(struct region *region, struct doorbell *doorbell)
{
	for (struct doorbell *bell = region->doorbells; bell; bell = bell->next)
		if (bell == doorbell || (bell->offset == doorbell->offset && bell->size == doorbell->size &&
		    bell->match == doorbell->match && bell->datamatch == doorbell->datamatch))
			return -EEXIST;
	doorbell->next = region->doorbells;
	region->doorbells = doorbell;
	return 0;
}

static void region_unlink_doorbell(struct region *region, struct doorbell *doorbell)
{
	struct doorbell **at = &region->doorbells;

	while (*at && *at != doorbell)
		at = &(*at)->next;
	if (*at)
		*at = doorbell->next;
}

int region_add_doorbell(struct region *region, struct doorbell *doorbell)
{
	struct address_space *space = region_lock(region);
	int result = region_link_doorbell(region, doorbell);

	if (!result && space) {
		result = space_changed_locked(space);
		if (result)
			region_unlink_doorbell(region, doorbell);
	}
	region_unlock(space);
	return result;
}

void region_del_doorbell(struct region *region, struct doorbell *doorbell)
{
	struct address_space *space = region_lock(region);

	region_unlink_doorbell(region, doorbell);
	if (space && space_changed_locked(space))
		log_error(ENOMEM, "address space %s: a doorbell of %s can't be taken off", space->name, region->name);
	region_unlock(space);
}

static void region_unlink_coalesced(struct region *region, struct coalesced *coalesced)
{
	_Atomic(struct coalesced *) *at = &region->coalesced;
	struct coalesced *zone;

	while ((zone = atomic_load(at)) && zone != coalesced)
		at = &zone->next;
	if (zone)
		atomic_store(at, atomic_load(&zone->next));
}

int region_coalesce(struct region *region, struct coalesced *coalesced)
{
	struct address_space *space = region_lock(region);
	int result = 0;

	atomic_store(&coalesced->next, atomic_load(&region->coalesced));
	atomic_store(&region->coalesced, coalesced);
	if (space)
		result = space_changed_locked(space);
	if (result)
		region_unlink_coalesced(region, coalesced);
	region_unlock(space);
	return result;
}

void region_count_coalesced(struct region *region, uint64_t offset)
{
	for (struct coalesced *zone = atomic_load(&region->coalesced); zone; zone = atomic_load(&zone->next)) {
		struct address_space *space;

		if (!range_contains(zone->offset, zone->size, offset, 1) ||
		    atomic_load_explicit(&zone->writes, memory_order_relaxed) >= COALESCE_AFTER ||
		    atomic_fetch_add(&zone->writes, 1) != COALESCE_AFTER - 1)
			continue;
		space = region_lock(region);
		if (space && space_changed_locked(space))
			log_debug("address space %s: writes to %s stay uncoalesced", space->name, region->name);
		region_unlock(space);
	}
}

void region_uncoalesce(struct region *region, struct coalesced *coalesced)
{
	struct address_space *space = region_lock(region);

	region_unlink_coalesced(region, coalesced);
	if (space && space_changed_locked(space))
		log_error(ENOMEM, "address space %s: a coalesced zone of %s stays", space->name, region->name);
	region_unlock(space);
}

void address_space_begin(struct address_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->transaction++;
}

int address_space_commit(struct address_space *space)
{
	int result = 0;

	if (--space->transaction == 0 && space->dirty)
		result = space_update_locked(space);
	pthread_mutex_unlock(&space->lock);
	return result;
}

/* ---- life ---- */

int address_space_init(struct address_space *space, const char *name, uint64_t limit)
{
	struct flat_view *empty = calloc(1, sizeof(*empty));
	pthread_mutexattr_t recursive;

	if (!empty)
		return -ENOMEM;
	memset(space, 0, sizeof(*space));
	space->name = name;
	space->limit = limit;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&space->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	atomic_store(&space->view, empty);
	return 0;
}

void address_space_exit(struct address_space *space)
{
	struct flat_view *view = atomic_exchange(&space->view, NULL);

	if (!view)
		return;
	rcu_synchronize();
	while (space->regions)
		region_unlink_locked(space->regions);
	free(view);
	free(space->bindings);
	space->bindings = NULL;
	space->binding_count = 0;
	pthread_mutex_destroy(&space->lock);
}

void address_space_set_listener(struct address_space *space, struct space_listener *listener)
{
	pthread_mutex_lock(&space->lock);
	space->listener = listener;
	if (!listener)
		space->binding_count = 0;
	pthread_mutex_unlock(&space->lock);
}

void address_space_for_each(struct address_space *space,
			    void (*each)(const struct flat_range *range, void *opaque), void *opaque)
{
	const struct flat_view *view;
	RCU_READ_SCOPE();

	view = atomic_load(&space->view);
	for (size_t i = 0; i < view->count; i++)
		each(&view->ranges[i], opaque);
}
