/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending of a machine, on a thread of its own: memory in rounds while the guest runs, each time the pages that were
 * written since the last, until what is left goes over in the time that the guest may stand still.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "disk/compression.h"
#include "kvm/dirty.h"
#include "kvm/io.h"
#include "state/migrate.h"

#define WORD_BITS		(8 * sizeof(unsigned long))
#define REPLY_S			60	/* for the destination to make the machine */
#define FIRST_BANDWIDTH		MIB(512) /* until it is known */
#define LIMIT_NAP_NS		5000000
#define SETTLED_PAGES		128	/* so few need no further round */
#define ROUNDS_MAX		64	/* then what fits into the downtime is good enough, shrinking or not */
#define THROTTLE_MAX		99
#define COMPRESSION_ZSTD	1	/* as qcow2 counts */

static bool is_cancelled(struct migration *job)
{
	return atomic_load(&job->phase) == PHASE_CANCELLED;
}

static bool page_test(const unsigned long *pages, uint64_t page)
{
	return pages[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

static void page_set(unsigned long *pages, uint64_t page, bool on)
{
	unsigned long bit = 1UL << (page % WORD_BITS);

	if (on)
		pages[page / WORD_BITS] |= bit;
	else
		pages[page / WORD_BITS] &= ~bit;
}

static uint64_t pages_count(const struct migration *job)
{
	uint64_t count = 0;

	for (size_t i = 0; i < dirty_words(job->kvm); i++)
		count += (unsigned int)__builtin_popcountl(job->pages[i]);
	return count;
}

/* ---- pages ---- */

/* As much as the limit gives; what was left unused while there was nothing to send is gone. */
static void keep_to_limit(struct migration *job)
{
	uint64_t limit = atomic_load(&job->parameters.max_bandwidth), sent = job->stream.sent + job->stream.out_length, due;

	if (!limit || job->stopped)
		return;
	due = job->limit_from_ns + (uint64_t)((double)(sent - job->limit_sent) / (double)limit * 1e9);
	while (due > event_now_ns() && !is_cancelled(job)) {
		const struct timespec pause = { .tv_nsec = LIMIT_NAP_NS };

		nanosleep(&pause, NULL);
	}
}

static int put_data(struct migration *job, const struct disk_compression *zstd, uint64_t offset, const char *data, uint32_t length)
{
	/* what may change while it is packed comes out as something that may be no copy of any moment */
	uint8_t copy[KIB(64)], packed[KIB(64)];
	ssize_t room;

	job->frames++;
	if (!zstd || length > sizeof(copy))
		return migrate_put_memory(&job->stream, MIGRATE_PAGES, 0, offset, length, data, length);
	memcpy(copy, data, length);
	room = zstd->pack(copy, length, packed, length - 1);
	if (room <= 0)
		return migrate_put_memory(&job->stream, MIGRATE_PAGES, 0, offset, length, copy, length);
	return migrate_put_memory(&job->stream, MIGRATE_PAGES, MIGRATE_ZSTD, offset, length, packed, (size_t)room);
}

struct run {
	uint64_t first, pages;
	bool zero;
};

static int put_run(struct migration *job, const struct disk_compression *zstd, const struct run *run)
{
	const uint32_t page = dirty_page_size(job->kvm);
	uint64_t offset = run->first * page, length = MIN(run->pages * page, job->kvm->ram_size - run->first * page);
	int result;

	if (!run->pages)
		return 0;
	if (run->zero) {
		job->frames++;
		atomic_fetch_add(&job->counts.zero, run->pages);
		result = migrate_put_memory(&job->stream, MIGRATE_ZEROES, 0, offset, (uint32_t)length, NULL, 0);
	} else {
		atomic_fetch_add(&job->counts.normal, run->pages);
		result = put_data(job, zstd, offset, (const char *)job->kvm->ram_host + offset, (uint32_t)length);
	}
	atomic_store(&job->counts.sent, job->stream.sent + job->stream.out_length);
	keep_to_limit(job);
	return result ? result : is_cancelled(job) ? -ECANCELED : 0;
}

/* Whether there is something to say of the page: what is zero here and there needs no word. */
static bool page_counts(const struct migration *job, uint64_t page, bool *zero)
{
	const uint64_t size = dirty_page_size(job->kvm), offset = page * size;

	*zero = bytes_are_zero((const char *)job->kvm->ram_host + offset, (size_t)MIN(size, job->kvm->ram_size - offset));
	if (*zero && !page_test(job->there, page))
		return false;
	page_set(job->there, page, !*zero);
	return true;
}

static int send_word(struct migration *job, const struct disk_compression *zstd, size_t word, struct run *run, uint64_t max)
{
	int result = 0;

	for (unsigned long left = job->pages[word]; left && !result; left &= left - 1) {
		uint64_t page = word * WORD_BITS + (unsigned int)__builtin_ctzl(left);
		bool zero;

		if (!page_counts(job, page, &zero))
			continue;
		if (run->zero != zero || run->first + run->pages != page || run->pages == max) {
			result = put_run(job, zstd, run);
			*run = (struct run){ .first = page, .zero = zero };
		}
		run->pages++;
	}
	return result;
}

/* All pages of job->pages, which is empty afterwards. */
static int send_round(struct migration *job)
{
	const struct disk_compression *zstd = atomic_load(&job->parameters.compress) ? disk_compression(COMPRESSION_ZSTD) : NULL;
	const uint64_t page = dirty_page_size(job->kvm), max = (zstd ? KIB(64) : MIGRATE_PAYLOAD_MAX) / page;
	uint64_t left = pages_count(job);
	struct run run = { 0 };
	int result = 0;

	job->limit_from_ns = event_now_ns();
	job->limit_sent = job->stream.sent;
	for (size_t word = 0; word < dirty_words(job->kvm) && !result && !atomic_load(&job->switches); word++) {
		left -= (unsigned int)__builtin_popcountl(job->pages[word]);
		if (job->pages[word]) {
			result = send_word(job, zstd, word, &run, max);
			atomic_store(&job->counts.remaining, left * page);
		}
		job->pages[word] = 0;
	}
	if (!result)
		result = put_run(job, zstd, &run);
	return result ? result : migrate_flush(&job->stream);
}

/* ---- rounds ---- */

static void pages_all(struct migration *job, uint64_t from, uint64_t to)
{
	const uint64_t page = dirty_page_size(job->kvm);

	for (uint64_t at = from / page; at * page < to; at++)
		page_set(job->pages, at, true);
}

/* What the guest never touched is a hole in RAM's file, and zeroes over there too. */
static void pages_first(struct migration *job)
{
	struct kvm *kvm = job->kvm;
	off_t at = 0, hole;

	if (kvm->ram_fd < 0) {
		pages_all(job, 0, kvm->ram_size);
		return;
	}
	while ((at = lseek(kvm->ram_fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < kvm->ram_size) {
		hole = lseek(kvm->ram_fd, at, SEEK_HOLE);
		if (hole <= at)
			hole = (off_t)kvm->ram_size;
		pages_all(job, (uint64_t)at, (uint64_t)hole);
		at = hole;
	}
	if (at < 0 && errno != ENXIO)
		pages_all(job, 0, kvm->ram_size);
}

/*
 * The time that vCPUs may run is halved. A fixed step would cost a round each until it is felt at all: where CPUs are short
 * vCPUs get a part of their time anyway, and what they sleep of the rest takes nothing from them.
 */
static void throttle_more(struct migration *job)
{
	unsigned int now = atomic_load(&job->counts.throttle);

	if (atomic_load(&job->parameters.auto_converge))
		atomic_store(&job->counts.throttle, MIN(now + (101 - now) / 2, (unsigned int)THROTTLE_MAX));
}

struct pace {
	uint64_t bandwidth, before;	/* pages that the last round had */
};

/* Whether what was written during the last round may be the last. */
static bool round_is_last(struct migration *job, struct pace *pace, uint64_t pages)
{
	const uint64_t bytes = pages * dirty_page_size(job->kvm), rounds = atomic_load(&job->counts.rounds);
	const uint64_t limit = atomic_load(&job->parameters.max_bandwidth), speed = limit ? MIN(limit, pace->bandwidth) : pace->bandwidth;
	uint64_t expected = (uint64_t)((double)bytes / (double)MAX(pace->bandwidth, 1u) * 1e9);
	bool shrinks = pages < pace->before / 2;

	atomic_store(&job->counts.bandwidth, speed);
	atomic_store(&job->counts.dirty_pages, pages);
	atomic_store(&job->counts.expected_downtime_ns, expected);
	/* the guest wrote nearly as much as was sent */
	if (!shrinks && expected > atomic_load(&job->parameters.downtime_limit_ns))
		throttle_more(job);
	pace->before = pages;
	return expected <= atomic_load(&job->parameters.downtime_limit_ns) && (!shrinks || pages <= SETTLED_PAGES || rounds > ROUNDS_MAX);
}

/* What is left may come when the guest is there. */
static bool is_time_to_switch(const struct migration *job)
{
	const uint64_t after = atomic_load(&job->parameters.postcopy_after);

	return atomic_load(&job->parameters.postcopy) &&
	       (atomic_load(&job->switches) || (after && atomic_load(&job->counts.rounds) >= after));
}

static int send_memory(struct migration *job)
{
	struct pace pace = { .bandwidth = FIRST_BANDWIDTH };
	int result;

	pages_first(job);
	do {
		uint64_t from = event_now_ns(), sent = job->stream.sent, took;

		pace.before = pages_count(job);
		result = send_round(job);
		took = event_now_ns() - from;
		/* too little says nothing */
		if (job->stream.sent - sent > MIB(1) && took && !atomic_load(&job->parameters.max_bandwidth))
			pace.bandwidth = (uint64_t)((double)(job->stream.sent - sent) / (double)took * 1e9);
		atomic_fetch_add(&job->counts.rounds, 1);
		if (!result)
			result = dirty_collect(job->kvm, job->pages);
		if (!result && round_is_last(job, &pace, pages_count(job)))
			return 0;
	} while (!result && !is_time_to_switch(job));
	atomic_store(&job->switches, !result);
	return result;
}

/* ---- the other side ---- */

static void note_error(struct migration *job, const char *text, size_t length)
{
	size_t n = 0;

	/* it may be anybody's, and is shown to people */
	for (; n < length && n < sizeof(job->error) - 1; n++)
		job->error[n] = text[n] < ' ' || text[n] > '~' ? '?' : text[n];
	job->error[n] = '\0';
}

/* Whether the connection's ends are as the other side has them: then the other end is its own. */
static void note_ends(struct migration *job, const char *text, size_t length)
{
	char ends[MIGRATE_ENDS];

	migrate_ends(job->stream.fd, true, ends);
	job->direct = *ends && length == strlen(ends) && memcmp(text, ends, length) == 0;
}

/* The frame that has to come now. */
static int expect(struct migration *job, enum migrate_type type)
{
	const struct timeval patience = { .tv_sec = REPLY_S };
	struct migrate_frame frame;
	int result;

	(void)!setsockopt(job->stream.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* who comes again sends nothing before it has heard what is missing: the other side doesn't read until then */
	result = job->postcopy && type != MIGRATE_ACCEPTED ? postcopy_serve(job, &frame) : migrate_next(&job->stream, &frame, true);
	if (result)
		return result;
	if (frame.type == MIGRATE_FAILED) {
		note_error(job, (const char *)frame.payload, frame.length);
		return -EREMOTEIO;
	}
	if (frame.type == MIGRATE_READY)
		note_ends(job, (const char *)frame.payload, frame.length);
	return frame.type == type ? 0 : -EPROTO;
}

/* Why it hung up, if it said so. */
static void hear_why(struct migration *job)
{
	struct migrate_frame frame;

	while (!job->error[0] && job->stream.in && !migrate_next(&job->stream, &frame, false))
		if (frame.type == MIGRATE_FAILED)
			note_error(job, (const char *)frame.payload, frame.length);
}

/* ---- all of it ---- */

static void connection_made(void *opaque, int fd)
{
	struct migration *job = opaque;

	pthread_mutex_lock(&job->lock);
	job->fd = fd;
	if (fd >= 0 && is_cancelled(job))
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&job->lock);
}

int migration_introduce(struct migration *job)
{
	const bool postcopy = atomic_load(&job->parameters.postcopy) || job->again;
	const struct migrate_hello hello = { .magic = "LKVMMIGR", .version = le32_of(MIGRATE_VERSION),
					     .postcopy_page = le32_of(postcopy ? dirty_page_size(job->kvm) : 0) };
	int result = migrate_connect(&job->connection, job->address, connection_made, job);

	if (!result)
		result = migrate_stream_init(&job->stream, job->connection.fd);
	if (!result)
		result = migrate_put(&job->stream, MIGRATE_HELLO, job->again ? MIGRATE_AGAIN : 0, 0, &hello, sizeof(hello));
	if (!result)
		result = migrate_put_all(&job->stream, MIGRATE_INFO, job->info, strlen(job->info));
	if (!result)
		result = migrate_flush(&job->stream);
	return result ? result : expect(job, MIGRATE_ACCEPTED);
}

/* The guest stands still from here on; 0 or why it couldn't be stopped. */
static int stop_guest(struct migration *job)
{
	atomic_store(&job->counts.throttle, 0);
	event_work_post(&job->stop);
	while (sem_wait(&job->stop_done) && errno == EINTR)
		;
	return is_cancelled(job) ? -ECANCELED : job->stop_result;
}

static int send_rest(struct migration *job)
{
	int result = dirty_collect(job->kvm, job->pages);
	const struct dirty_map *map = atomic_load(&job->kvm->memory.written);

	/* somebody writes to memory and doesn't say where */
	if (map && atomic_load(&map->blind))
		pages_all(job, 0, job->kvm->ram_size);
	atomic_store(&job->counts.remaining, pages_count(job) * dirty_page_size(job->kvm));
	if (!result)
		result = atomic_load(&job->switches) ? postcopy_announce(job) : send_round(job);
	if (!result)
		result = migrate_put_all(&job->stream, MIGRATE_STATE, job->state.data, job->state.length);
	if (!result)
		result = migrate_put(&job->stream, MIGRATE_END, (job->user_paused ? MIGRATE_PAUSED : 0) |
				     (job->postcopy ? MIGRATE_POSTCOPY : 0), job->frames, NULL, 0);
	if (!result)
		result = migrate_flush(&job->stream);
	return result ? result : expect(job, MIGRATE_READY);
}

/* It may have said so before it went: what failed was perhaps to send it more. */
static int hear_running(struct migration *job, int result)
{
	struct migrate_frame frame;

	while (job->stream.in && !migrate_next(&job->stream, &frame, false)) {
		if (frame.type == MIGRATE_RUNNING)
			return 0;
		if (frame.type == MIGRATE_FAILED) {
			note_error(job, (const char *)frame.payload, frame.length);
			return -EREMOTEIO;
		}
	}
	return result;
}

/* See migrate.h. */
static int give_guest(struct migration *job)
{
	enum migration_phase open = PHASE_OPEN;
	int result;

	if (!atomic_compare_exchange_strong(&job->phase, &open, PHASE_COMMITTED))
		return -ECANCELED;
	job->outcome = GUEST_IS_ANYWHERE;
	result = migrate_say(&job->stream, MIGRATE_GO, NULL);
	/* also if it could not be sent: what was sent before that tells */
	if (!result)
		result = expect(job, MIGRATE_RUNNING);
	if (job->postcopy && result && result != -EREMOTEIO && result != -EPROTO)
		result = hear_running(job, result);
	atomic_store(&job->counts.downtime_ns, event_now_ns() - job->stopped_ns);
	if (!result)
		job->outcome = GUEST_IS_THERE;
	else if (result == -EREMOTEIO || (job->direct && (result == -EPIPE || result == -ECONNRESET)))
		job->outcome = GUEST_IS_HERE;
	return result;
}

/* The guest runs there. */
static int send_behind(struct migration *job)
{
	atomic_store(&job->status, MIGRATION_POSTCOPY);
	return expect(job, MIGRATE_HERE);
}

static int migrate(struct migration *job)
{
	int result = job->again ? postcopy_again(job) : migration_introduce(job);

	if (result)
		return result;
	if (job->again)
		return send_behind(job);
	atomic_store(&job->status, MIGRATION_ACTIVE);
	result = send_memory(job);
	if (!result)
		result = stop_guest(job);
	if (!result)
		result = send_rest(job);
	if (!result)
		result = give_guest(job);
	return !result && job->postcopy ? send_behind(job) : result;
}

void *migration_thread(void *opaque)
{
	struct migration *job = opaque;

	job->outcome = job->again ? GUEST_IS_THERE : GUEST_IS_HERE;
	job->result = migrate(job);
	if (job->result && job->outcome == GUEST_IS_HERE)
		hear_why(job);
	connection_made(job, -1);
	job->sent_before += job->stream.sent;
	migrate_stream_exit(&job->stream);
	migrate_disconnect(&job->connection);
	event_work_post(&job->finished);
	return NULL;
}
