/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Post-copy, on the side that the guest has left (the other one: postcopy.c): the rest of its memory goes behind it, what is
 * asked for first. The sending thread's; memory doesn't change any more.
 */
#include <string.h>

#include "kvm/dirty.h"
#include "kvm/io.h"
#include "state/migrate.h"

#define WORD_BITS	64
#define RUN_BYTES	KIB(64)		/* who asks for a page waits behind one of these, and what lies in the socket */

_Static_assert(sizeof(unsigned long) == sizeof(uint64_t), "the bitmap goes as it is");

static uint64_t bitmap_bytes(const struct migration *job)
{
	return migrate_missing_words(job->kvm->ram_size, dirty_page_size(job->kvm)) * sizeof(uint64_t);
}

int postcopy_announce(struct migration *job)
{
	int result = migrate_put_all(&job->stream, MIGRATE_MISSING, job->pages, bitmap_bytes(job));

	job->postcopy = !result;
	return result;
}

static bool page_waits(const struct migration *job, uint64_t page)
{
	return job->pages[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

/* From @page on what still has to go, up to a limit. */
static int send_from(struct migration *job, uint64_t page)
{
	const uint64_t size = dirty_page_size(job->kvm), offset = page * size, most = MIN((uint64_t)RUN_BYTES, job->kvm->ram_size - offset);
	const char *data = (const char *)job->kvm->ram_host + offset;
	uint32_t length = 0;
	bool zero;
	int result;

	/* the other side's bitmap may name pages behind the last one */
	if (offset >= job->kvm->ram_size)
		return -EPROTO;
	for (; length < most && page_waits(job, page); page++, length += (uint32_t)size)
		job->pages[page / WORD_BITS] &= ~(1UL << (page % WORD_BITS));
	zero = bytes_are_zero(data, length);
	atomic_fetch_add(zero ? &job->counts.zero : &job->counts.normal, length / size);
	atomic_fetch_sub(&job->counts.remaining, length);
	job->cursor = page;
	result = migrate_put_memory(&job->stream, zero ? MIGRATE_ZEROES : MIGRATE_PAGES, 0, offset, length, data, zero ? 0 : length);
	if (!result)
		result = migrate_flush(&job->stream);
	atomic_store(&job->counts.sent, job->sent_before + job->stream.sent);
	return result;
}

/* What has gone is on its way, in this connection, and comes before whatever is sent now. */
static int send_wanted(struct migration *job, uint64_t offset)
{
	if (offset >= job->kvm->ram_size)
		return -EPROTO;
	atomic_fetch_add(&job->counts.wanted, 1);
	offset /= dirty_page_size(job->kvm);
	return page_waits(job, offset) ? send_from(job, offset) : 0;
}

/* -ENODATA: all has gone. What was asked for last has more of the same behind it. */
static int send_next(struct migration *job)
{
	const uint64_t words = bitmap_bytes(job) / sizeof(uint64_t), first = job->cursor / WORD_BITS;

	for (uint64_t n = 0; n <= words; n++) {
		uint64_t word = (first + n) % words;
		unsigned long waits = job->pages[word];

		if (!n)
			waits &= ~0UL << (job->cursor % WORD_BITS);
		if (waits)
			return send_from(job, word * WORD_BITS + (unsigned int)__builtin_ctzl(waits));
	}
	return -ENODATA;
}

int postcopy_serve(struct migration *job, struct migrate_frame *frame)
{
	bool all = false;

	for (;;) {
		int result = migrate_next(&job->stream, frame, all);

		if (result == -EAGAIN) {
			result = send_next(job);
			all = result == -ENODATA;
			if (result && !all)
				return result;
			continue;
		}
		if (result || frame->type != MIGRATE_WANT)
			return result;
		result = send_wanted(job, frame->offset);
		if (result)
			return result;
	}
}

/* ---- the connection was lost ---- */

static int take_missing(struct migration *job)
{
	const uint64_t bytes = bitmap_bytes(job);
	struct migrate_frame frame = { .flags = 0 };
	uint64_t count = 0;

	while (!(frame.flags & MIGRATE_LAST)) {
		int result = migrate_next(&job->stream, &frame, true);

		if (result)
			return result;
		if (frame.type != MIGRATE_MISSING || !range_contains(0, bytes, frame.offset, frame.length) || frame.offset != count)
			return -EPROTO;
		memcpy((char *)job->pages + frame.offset, frame.payload, frame.length);
		count += frame.length;
	}
	if (count != bytes)
		return -EPROTO;
	count = 0;
	for (uint64_t word = 0; word < bytes / sizeof(uint64_t); word++)
		count += (unsigned int)__builtin_popcountl(job->pages[word]);
	atomic_store(&job->counts.remaining, count * dirty_page_size(job->kvm));
	return 0;
}

int postcopy_again(struct migration *job)
{
	int result = migration_introduce(job);

	return result ? result : take_missing(job);
}
