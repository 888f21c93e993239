/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free page hints (VirtIO 1.3, 5.5.6.6): which pages the guest had no use for at one time, for those who save or move
 * its memory.
 *
 * They are noted, and not given back as reported pages are: a driver short of memory takes hinted pages back without a
 * word, before the hint may have been read here. Hence a hint stands only for a page that nobody wrote to since the
 * hints were asked for.
 */
#include "balloon-hints.h"

#include <linux/virtio_balloon.h>
#include <string.h>

#include "kvm/balloon.h"
#include "kvm/kvm.h"

#define HINT_PAGE	(1ULL << VIRTIO_BALLOON_PFN_SHIFT)
#define ID_FIRST	2u	/* 0 and 1 mean stop and done */

int balloon_hints_start(struct balloon_hints *hints, const struct kvm *kvm)
{
	uint64_t count = kvm->ram_size / HINT_PAGE;
	uint64_t *pages = calloc(count / 64 + 1, sizeof(*pages));

	if (!pages)
		return -ENOMEM;
	free(hints->pages);
	hints->pages = pages;
	hints->page_count = count;
	hints->bytes = 0;
	hints->answering = hints->finished = false;
	hints->last_id = MAX(hints->last_id + 1, ID_FIRST);
	atomic_store(&hints->command, hints->last_id);
	return 0;
}

void balloon_hints_done(struct balloon_hints *hints)
{
	hints->answering = false;
	atomic_store(&hints->command, VIRTIO_BALLOON_CMD_ID_DONE);
}

void balloon_hints_reset(struct balloon_hints *hints)
{
	free(hints->pages);
	hints->pages = NULL;
	hints->page_count = hints->bytes = 0;
	hints->answering = hints->finished = false;
	atomic_store(&hints->command, VIRTIO_BALLOON_CMD_ID_STOP);
}

static void note(struct balloon_hints *hints, uint64_t page)
{
	uint64_t *word = &hints->pages[page / 64], bit = BIT(page % 64);

	if (!(*word & bit))
		hints->bytes += HINT_PAGE;
	*word |= bit;
}

/* Whole pages of the RAM file; other memory is of no interest to anybody. */
static void note_segment(struct balloon_hints *hints, const struct kvm *kvm, const struct iovec *segment)
{
	uintptr_t ram = (uintptr_t)kvm->ram_host, at = (uintptr_t)segment->iov_base;
	uint64_t end;

	if (!range_contains(ram, hints->page_count * HINT_PAGE, at, segment->iov_len))
		return;
	end = ALIGN_DOWN(at - ram + segment->iov_len, HINT_PAGE);
	for (uint64_t offset = ALIGN_UP(at - ram, HINT_PAGE); offset < end; offset += HINT_PAGE)
		note(hints, offset / HINT_PAGE);
}

static void take_id(struct balloon_hints *hints, uint32_t id)
{
	if (id == VIRTIO_BALLOON_CMD_ID_STOP && hints->answering)
		hints->finished = true;
	hints->answering = hints->pages && id >= ID_FIRST && id == atomic_load(&hints->command);
}

void balloon_hints_take(struct balloon_hints *hints, const struct kvm *kvm, const struct virtio_request *req)
{
	le32 id;

	if (virtio_request_read(req, 0, &id, sizeof(id)) == sizeof(id))
		take_id(hints, le32_get(id));
	for (unsigned int i = 0; i < req->writable && hints->answering; i++)
		note_segment(hints, kvm, &req->segments[req->readable + i]);
}
