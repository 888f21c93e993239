/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM follows the address spaces: memory slots, ioeventfds, coalesced zones.
 *
 * The listener of both spaces of a VM. Called with the space's lock held, on whatever thread changes it.
 * A slot is the page-aligned inside of a RAM or ROM range; what sticks out is served by exits, as memory.
 */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "core/memslot.h"
#include "kvm/arch.h"
#include "kvm/log.h"

#define MEMSLOT_PAGE	((uint64_t)sysconf(_SC_PAGESIZE))

struct memslot {
	uint64_t gpa, size;		/* size 0: free */
	void *host;
	bool read_only;
};

struct memslots {
	struct kvm *kvm;
	struct space_listener memory, ports;
	struct memslot *slots;
	size_t count;			/* of the array; grows up to KVM's ceiling */
	size_t max;
	bool logging;			/* KVM records what is written to RAM */
};

/* ---- memory slots ---- */

static bool memslot_of_range(const struct flat_range *range, struct memslot *slot)
{
	uint64_t base = ALIGN_UP(range->base, MEMSLOT_PAGE);
	uint64_t end = ALIGN_DOWN(range->base + range->size, MEMSLOT_PAGE);

	if (range->region->kind == REGION_IO || end <= base)
		return false;
	slot->gpa = base;
	slot->size = end - base;
	slot->host = (char *)range->region->host + range->offset + (base - range->base);
	slot->read_only = range->region->kind == REGION_ROM;
	return true;
}

static bool memslot_same(const struct memslot *a, const struct memslot *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->host == b->host && a->read_only == b->read_only;
}

static int memslot_set(struct memslots *slots, size_t index, const struct memslot *slot, bool present)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)index,
		.flags = !present ? 0 : slot->read_only ? KVM_MEM_READONLY : slots->logging ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = slot->gpa,
		.memory_size = present ? slot->size : 0,
		.userspace_addr = (uintptr_t)slot->host,
	};

	if (!present && slots->kvm->closing)
		return 0;
	if (ioctl(slots->kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return log_errno(errno, "guest memory at 0x%llx, %llu bytes",
				 (unsigned long long)slot->gpa, (unsigned long long)slot->size);
	return 0;
}

static int memslot_add(struct memslots *slots, const struct memslot *slot)
{
	size_t index = 0;
	int result;

	while (index < slots->count && slots->slots[index].size)
		index++;
	if (index == slots->count) {
		size_t count = slots->count ? slots->count * 2 : 8;
		struct memslot *grown;

		if (count > slots->max)
			return log_error(ENOSPC, "guest memory: KVM has no more than %zu slots", slots->max);
		grown = realloc(slots->slots, count * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		for (size_t i = slots->count; i < count; i++)
			grown[i] = (struct memslot){ 0 };
		slots->slots = grown;
		slots->count = count;
	}
	result = memslot_set(slots, index, slot, true);
	if (!result)
		slots->slots[index] = *slot;
	return result;
}

static bool memslot_in_view(const struct memslot *slot, const struct flat_view *view)
{
	const struct flat_range *range = flat_view_find(view, slot->gpa);
	struct memslot other;

	return range && memslot_of_range(range, &other) && memslot_same(slot, &other);
}

static bool memslot_exists(const struct memslots *slots, const struct memslot *slot)
{
	for (size_t i = 0; i < slots->count; i++)
		if (slots->slots[i].size && memslot_same(&slots->slots[i], slot))
			return true;
	return false;
}

/*
 * A slot can't be cut or moved while others overlap it, so what changes goes first and comes back in its new
 * shape. A vCPU that touches it in between exits, and is served from the view as memory.
 */
static int memslots_apply(struct memslots *slots, const struct flat_view *view)
{
	struct memslot slot;
	int result;

	for (size_t i = 0; i < slots->count; i++) {
		if (!slots->slots[i].size || memslot_in_view(&slots->slots[i], view))
			continue;
		result = memslot_set(slots, i, &slots->slots[i], false);
		if (result)
			return result;
		/* its record has gone with it */
		memory_dirty(&slots->kvm->memory, slots->slots[i].host, slots->slots[i].size);
		slots->slots[i].size = 0;
	}
	for (size_t i = 0; i < view->count; i++) {
		if (!memslot_of_range(&view->ranges[i], &slot) || memslot_exists(slots, &slot))
			continue;
		result = memslot_add(slots, &slot);
		if (result)
			return result;
	}
	return 0;
}

static int memslots_commit(struct space_listener *listener, const struct flat_view *old,
			   const struct flat_view *next)
{
	struct memslots *slots = container_of(listener, struct memslots, memory);
	int result = memslots_apply(slots, next);

	if (result && memslots_apply(slots, old))
		log_error(EIO, "guest memory: the earlier layout can't be put back");
	return result;
}

static int ports_commit(struct space_listener *listener, const struct flat_view *old,
			const struct flat_view *next)
{
	(void)listener;
	(void)old;
	(void)next;
	return 0;
}

/* ---- which pages were written ---- */

int memslots_log(struct kvm *kvm, bool on)
{
	struct memslots *slots = kvm->memslots;
	int result = 0;

	pthread_mutex_lock(&kvm->memory.lock);
	slots->logging = on;
	for (size_t i = 0; i < slots->count && !result; i++)
		if (slots->slots[i].size && !slots->slots[i].read_only)
			result = memslot_set(slots, i, &slots->slots[i], true);
	slots->logging = on && !result;
	pthread_mutex_unlock(&kvm->memory.lock);
	return result;
}

static void memslot_mark(const struct memslot *slot, const uint64_t *bits, struct dirty_map *map)
{
	uint64_t pages = slot->size / MEMSLOT_PAGE;

	for (uint64_t first = 0; first < pages; first += 64)
		for (uint64_t word = bits[first / 64]; word; word &= word - 1)
			memory_dirty_mark(map, (char *)slot->host + (first + (unsigned int)__builtin_ctzll(word)) * MEMSLOT_PAGE,
					  MEMSLOT_PAGE);
}

int memslots_collect(struct kvm *kvm, struct dirty_map *map)
{
	struct memslots *slots = kvm->memslots;
	int result = 0;

	pthread_mutex_lock(&kvm->memory.lock);
	for (size_t i = 0; i < slots->count && !result; i++) {
		const struct memslot *slot = &slots->slots[i];
		struct kvm_dirty_log log = { .slot = (uint32_t)i };
		_cleanup_free_ uint64_t *bits = NULL;

		if (!slot->size || slot->read_only)
			continue;
		bits = calloc((size_t)(slot->size / MEMSLOT_PAGE / 64 + 1), sizeof(*bits));
		log.dirty_bitmap = bits;
		if (!bits)
			result = log_errno(ENOMEM, "guest memory: what was written");
		else if (ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
			result = log_errno(errno, "guest memory: KVM can't say what was written");
		else
			memslot_mark(slot, bits, map);
	}
	pthread_mutex_unlock(&kvm->memory.lock);
	return result;
}

/* ---- doorbells and coalesced zones ---- */

static int doorbell_set(struct kvm *kvm, uint64_t address, const struct doorbell *bell, bool add, bool pio)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = bell->datamatch,
		.addr = address,
		.len = bell->size,
		.fd = bell->fd,
		.flags = (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0U) |
			 (pio ? KVM_IOEVENTFD_FLAG_PIO : 0U) |
			 (add ? 0U : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (!add && kvm->closing)
		return 0;
	return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioeventfd) < 0 ? -errno : 0;
}

static int coalesced_set(struct kvm *kvm, uint64_t address, uint64_t size, bool add, bool pio)
{
	struct kvm_coalesced_mmio_zone zone = {
		.addr = address,
		.size = (uint32_t)size,
		.pio = pio,
	};

	if (!add && kvm->closing)
		return 0;
	if (pio && !kvm_check_extension(kvm, KVM_CAP_COALESCED_PIO))
		return -EOPNOTSUPP;
	if (ioctl(kvm->vm_fd, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone) < 0)
		return -errno;
	return 0;
}

static int memory_doorbell(struct space_listener *listener, uint64_t address, const struct doorbell *bell, bool add)
{
	return doorbell_set(container_of(listener, struct memslots, memory)->kvm, address, bell, add, false);
}

static int memory_coalesce(struct space_listener *listener, uint64_t address, uint64_t size, bool add)
{
	return coalesced_set(container_of(listener, struct memslots, memory)->kvm, address, size, add, false);
}

static int ports_doorbell(struct space_listener *listener, uint64_t address, const struct doorbell *bell, bool add)
{
	return doorbell_set(container_of(listener, struct memslots, ports)->kvm, address, bell, add, true);
}

static int ports_coalesce(struct space_listener *listener, uint64_t address, uint64_t size, bool add)
{
	return coalesced_set(container_of(listener, struct memslots, ports)->kvm, address, size, add, true);
}

/* ---- life ---- */

int memslots_init(struct kvm *kvm)
{
	struct memslots *slots = calloc(1, sizeof(*slots));
	int max = kvm_check_extension(kvm, KVM_CAP_NR_MEMSLOTS);

	if (!slots)
		return log_errno(ENOMEM, "memory slots");
	slots->kvm = kvm;
	slots->max = max > 0 ? (size_t)max : 32;
	slots->memory = (struct space_listener){ memslots_commit, memory_doorbell, memory_coalesce };
	slots->ports = (struct space_listener){ ports_commit, ports_doorbell, ports_coalesce };
	kvm->memslots = slots;
	address_space_set_listener(&kvm->memory, &slots->memory);
	/* Without port instructions the ports are a window in memory, and KVM knows none of them. */
	if (!arch_platform(kvm)->pci_io_window)
		address_space_set_listener(&kvm->ports, &slots->ports);
	return 0;
}

void memslots_exit(struct kvm *kvm)
{
	if (!kvm->memslots)
		return;
	address_space_set_listener(&kvm->memory, NULL);
	address_space_set_listener(&kvm->ports, NULL);
	free(kvm->memslots->slots);
	free(kvm->memslots);
	kvm->memslots = NULL;
}
