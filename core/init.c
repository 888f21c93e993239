/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Init and exit lists: constructors register, kvm_init() walks up, kvm_exit() walks down.
 *
 * The lists are written by constructors only, before main(); afterwards they are read-only, and may be
 * walked for several VMs.
 */
#include "kvm/init.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/log.h"

static REGISTRY struct init_item *init_items;
static REGISTRY struct exit_item *exit_items;

/* By level, then by name and file: the linker's order must not matter. */
static int init_compare(const void *left, const void *right)
{
	const struct init_item *a = *(const struct init_item *const *)left, *b = *(const struct init_item *const *)right;
	int order;

	if (a->level != b->level)
		return a->level < b->level ? -1 : 1;
	order = strcmp(a->name, b->name);
	return order ? order : strcmp(a->file, b->file);
}

REGISTERS void init_register(struct init_item *item)
{
	item->next = init_items;
	init_items = item;
}

REGISTERS void exit_register(struct exit_item *item)
{
	item->next = exit_items;
	exit_items = item;
}

const char *init_level_name(enum init_level level)
{
	switch (level) {
	case INIT_CORE:		return "core";
	case INIT_BASE:		return "base";
	case INIT_DEV_BASE:	return "dev_base";
	case INIT_DEV:		return "dev";
	case INIT_VIRTIO_DEV:	return "virtio_dev";
	case INIT_FIRMWARE:	return "firmware";
	case INIT_LATE:		return "late";
	}
	return "?";
}

/*
 * All items in order, to be freed; NULL: out of memory. Sorted here and not as they come: every start of any command
 * registers them, few walk them.
 */
static const struct init_item **init_sorted(size_t *count)
{
	const struct init_item **items;
	size_t n = 0;

	for (const struct init_item *item = init_items; item; item = item->next)
		n++;
	items = calloc(n + 1, sizeof(*items));
	if (!items)
		return NULL;
	*count = 0;
	for (const struct init_item *item = init_items; item; item = item->next)
		items[(*count)++] = item;
	qsort(items, n, sizeof(*items), init_compare);
	return items;
}

int init_for_each(void (*each)(const struct init_item *item, void *opaque), void *opaque)
{
	_cleanup_free_ const struct init_item **items = NULL;
	size_t count;

	items = init_sorted(&count);
	if (!items)
		return log_errno(ENOMEM, "init list");
	for (size_t i = 0; i < count; i++)
		each(items[i], opaque);
	return 0;
}

/* Length of a name without its _init or _exit. */
static size_t init_stem(const char *name)
{
	size_t length = strlen(name);

	return length > 5 ? length - 5 : length;
}

static const struct exit_item *init_twin(const struct init_item *item)
{
	size_t stem = init_stem(item->name);

	for (const struct exit_item *twin = exit_items; twin; twin = twin->next)
		if (twin->level == item->level && init_stem(twin->name) == stem &&
		    !memcmp(twin->name, item->name, stem) && !strcmp(twin->file, item->file))
			return twin;
	return NULL;
}

/* Fisher-Yates inside each level, by a generator that is the same everywhere, so that a seed can be quoted. */
static void init_shuffle(const struct init_item **items, size_t count, unsigned int seed)
{
	uint64_t state = seed * 6364136223846793005ULL + 1442695040888963407ULL;

	for (size_t first = 0, last; first < count; first = last) {
		for (last = first; last < count && items[last]->level == items[first]->level; last++)
			;
		for (size_t n = last - first; n > 1; n--) {
			const struct init_item *swapped;
			size_t other;

			state = state * 6364136223846793005ULL + 1442695040888963407ULL;
			other = first + (size_t)(state >> 33) % n;
			swapped = items[first + n - 1];
			items[first + n - 1] = items[other];
			items[other] = swapped;
		}
	}
}

static const struct init_item **init_order(const struct init_options *options, size_t *count)
{
	const struct init_item **items = init_sorted(count);

	if (items && options->shuffle)
		init_shuffle(items, *count, options->shuffle);
	return items;
}

static int init_call(struct kvm *kvm, const struct init_item *item, const struct init_options *options)
{
	struct timespec before, after;
	int result;

	if (options->fail && !strcmp(options->fail, item->name))
		return -ECANCELED;
	if (!options->trace)
		return item->init(kvm);

	clock_gettime(CLOCK_MONOTONIC, &before);
	result = item->init(kvm);
	clock_gettime(CLOCK_MONOTONIC, &after);
	fprintf(stderr, "init %-10s %-28s %7lld us%s\n", init_level_name(item->level), item->name,
		(long long)(after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000,
		result == INIT_SKIP ? "  (not configured)" : result ? "  FAILED" : "");
	return result;
}

int init_walk(struct kvm *kvm, const struct init_options *options, struct init_done *done)
{
	static const struct init_options normal;
	const struct init_item **items;
	size_t count = 0;

	options = options ? options : &normal;
	items = init_order(options, &count);
	if (!items)
		return log_errno(ENOMEM, "init lists");
	/* @done reuses the array: what succeeded never overtakes what is still to be called. */
	done->items = items;
	done->count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct init_item *item = items[i];
		int result = init_call(kvm, item, options);

		if (result < 0) {
			init_unwind(kvm, done);
			return result;
		}
		if (result != INIT_SKIP)
			items[done->count++] = item;
	}
	return 0;
}

void init_unwind(struct kvm *kvm, struct init_done *done)
{
	while (done->count) {
		const struct exit_item *twin = init_twin(done->items[--done->count]);

		if (twin)
			twin->exit(kvm);
	}
	free(done->items);
	done->items = NULL;
}
