/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that comes when it is wanted (postcopy.h). */
#include "state/postcopy.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kvm/init.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/ram-options.h"
#include "kvm/thread.h"
#include "state/machine.h"
#include "state/protect.h"

#define GREETING_S	30		/* for who comes again to say who it is */

static const char postcopy_key[] = "postcopy";

enum { NEWS_GO = 1, NEWS_LOST = 2, NEWS_DONE = 4 };

#define FRAMES_A_TURN	4

struct postcopy {
	struct kvm *kvm;
	struct postcopy_owner owner;
	uint32_t page;
	int fault_fd, stop_fd;
	pthread_t thread;
	uint64_t discard_page;		/* main thread */
	bool kept;
	struct event_work told;
	atomic_uint news;
	int result;			/* of NEWS_LOST */
	/* the thread's: pages that are still to come, GO was there */
	uint64_t left;
	bool gone;
	pthread_mutex_t write_lock;	/* guards the stream's writing half, and that it is exchanged */
};

bool postcopy_is_active(const struct kvm *kvm)
{
	return kvm_get_state(kvm, postcopy_key);
}

static void tell_owner(struct postcopy *postcopy, unsigned int news)
{
	atomic_fetch_or(&postcopy->news, news);
	event_work_post(&postcopy->told);
}

static struct migrate_stream *stream_of(const struct postcopy *postcopy)
{
	return &postcopy->owner.receiver->stream;
}

int postcopy_say(struct postcopy *postcopy, enum migrate_type type, const char *text)
{
	int result;

	pthread_mutex_lock(&postcopy->write_lock);
	result = migrate_say(stream_of(postcopy), type, text);
	pthread_mutex_unlock(&postcopy->write_lock);
	return result;
}

/* ---- pages ---- */

static bool is_missing(const struct postcopy *postcopy, uint64_t page)
{
	return postcopy->owner.receiver->missing[page / 64] >> (page % 64) & 1;
}

static struct uffdio_range range_of(const struct postcopy *postcopy, uint64_t offset, uint64_t length)
{
	return (struct uffdio_range){ (uintptr_t)postcopy->kvm->ram_host + offset, length };
}

/* Who waits for it goes on, and if it isn't there waits again. */
static void wake(const struct postcopy *postcopy, uint64_t offset, uint64_t length)
{
	struct uffdio_range range = range_of(postcopy, offset, length);

	if (ioctl(postcopy->fault_fd, UFFDIO_WAKE, &range) < 0)
		log_debug("migration: nobody is woken");
}

/* @data: NULL: zeroes. What is there already stays. */
static int page_put(const struct postcopy *postcopy, uint64_t offset, const uint8_t *data)
{
	struct uffdio_zeropage zero = { .range = range_of(postcopy, offset, postcopy->page) };
	struct uffdio_copy copy = { .dst = zero.range.start, .src = (uintptr_t)data, .len = postcopy->page };

	while (data ? ioctl(postcopy->fault_fd, UFFDIO_COPY, &copy) : ioctl(postcopy->fault_fd, UFFDIO_ZEROPAGE, &zero)) {
		if (errno == EEXIST) {
			wake(postcopy, offset, postcopy->page);
			return 0;
		}
		if (errno != EAGAIN)
			return log_errno(errno, "migration: a page of memory can't be put in its place");
	}
	return 0;
}

/* The guest may have written to what was there before: a page comes once. */
static int take_pages(struct postcopy *postcopy, const struct migrate_frame *frame)
{
	const uint32_t page = postcopy->page;
	int result = 0;

	if ((frame->flags & MIGRATE_ZSTD) || frame->offset % page || frame->room % page ||
	    !range_contains(0, postcopy->kvm->ram_size, frame->offset, frame->room))
		return -EPROTO;
	for (uint32_t at = 0; at < frame->room && !result; at += page) {
		uint64_t index = (frame->offset + at) / page;

		if (!is_missing(postcopy, index))
			continue;
		result = page_put(postcopy, frame->offset + at, frame->type == MIGRATE_PAGES ? frame->payload + at : NULL);
		if (result)
			break;
		postcopy->owner.receiver->missing[index / 64] &= ~(1ULL << (index % 64));
		postcopy->left--;
	}
	return result;
}

/* ---- who waits ---- */

static int ask_for(struct postcopy *postcopy, uint64_t offset)
{
	int result;

	pthread_mutex_lock(&postcopy->write_lock);
	result = migrate_put(stream_of(postcopy), MIGRATE_WANT, 0, offset, NULL, 0);
	if (!result)
		result = migrate_flush(stream_of(postcopy));
	pthread_mutex_unlock(&postcopy->write_lock);
	return result;
}

static int serve_faults(struct postcopy *postcopy)
{
	struct uffd_msg message;
	int result = 0;

	while (!result && read(postcopy->fault_fd, &message, sizeof(message)) == sizeof(message)) {
		uint64_t offset = ALIGN_DOWN(message.arg.pagefault.address - (uintptr_t)postcopy->kvm->ram_host, (uint64_t)postcopy->page);

		if (message.event != UFFD_EVENT_PAGEFAULT || offset >= postcopy->kvm->ram_size)
			continue;
		/* a page of zeroes is never sent */
		result = is_missing(postcopy, offset / postcopy->page) ? ask_for(postcopy, offset) : page_put(postcopy, offset, NULL);
	}
	return result;
}

/* 0: there are no more yet; 1: there may be, and who waits has a turn first; or negative errno. */
static int take_frames(struct postcopy *postcopy)
{
	struct migrate_frame frame;

	for (unsigned int n = 0; n < FRAMES_A_TURN; n++) {
		int result = migrate_next(stream_of(postcopy), &frame, false);

		if (result)
			return result == -EAGAIN ? 0 : result;
		if (frame.type == MIGRATE_PAGES || frame.type == MIGRATE_ZEROES) {
			result = take_pages(postcopy, &frame);
		} else if (frame.type == MIGRATE_GO && !postcopy->gone) {
			postcopy->gone = true;
			tell_owner(postcopy, NEWS_GO);
		} else {
			result = -EPROTO;
		}
		if (result)
			return result;
	}
	return 1;
}

/* Until all is there (0), or the connection is lost, or it shall end (-ECANCELED). */
static int serve(struct postcopy *postcopy)
{
	struct pollfd fds[] = { { .fd = stream_of(postcopy)->fd, .events = POLLIN }, { .fd = postcopy->fault_fd, .events = POLLIN },
				{ .fd = postcopy->stop_fd, .events = POLLIN } };

	for (;;) {
		int more = take_frames(postcopy), result = more < 0 ? more : serve_faults(postcopy);

		if (result || (postcopy->gone && !postcopy->left))
			return result;
		if (poll(fds, ARRAY_SIZE(fds), more ? 0 : -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[2].revents)
			return -ECANCELED;
	}
}

/* ---- the source comes again ---- */

static int greet(struct postcopy *postcopy, struct migrate_receiver *again)
{
	const struct migrate_blob *known = &postcopy->owner.receiver->info_text, *text = &again->info_text;
	const struct timeval patience = { .tv_sec = GREETING_S };
	const uint64_t words = migrate_missing_words(postcopy->kvm->ram_size, postcopy->page);
	int result;

	(void)!setsockopt(again->stream.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	result = migrate_receive_info(again);
	if (result)
		return result;
	if (!again->again || text->length != known->length || memcmp(text->data, known->data, known->length)) {
		(void)!migrate_say(&again->stream, MIGRATE_FAILED, "Another guest runs there, and waits for its own memory");
		return log_error(EPROTO, "migration: who came isn't who has the rest of the guest's memory");
	}
	result = migrate_say(&again->stream, MIGRATE_ACCEPTED, NULL);
	if (!result)
		result = migrate_put_all(&again->stream, MIGRATE_MISSING, postcopy->owner.receiver->missing, words * sizeof(uint64_t));
	return result ? result : migrate_flush(&again->stream);
}

/* 0: there is a new connection. */
static int come_again(struct postcopy *postcopy)
{
	struct migrate_connection connection = { .fd = -1 };
	struct migrate_receiver again;
	int result = migrate_accept(&connection, postcopy->owner.address, postcopy->stop_fd);

	if (result)
		return result;
	result = migrate_receive_init(&again, connection.fd);
	if (!result)
		result = greet(postcopy, &again);
	if (!result) {
		struct migrate_stream old = *stream_of(postcopy);

		pthread_mutex_lock(&postcopy->write_lock);
		*stream_of(postcopy) = again.stream;
		*postcopy->owner.connection = connection;
		pthread_mutex_unlock(&postcopy->write_lock);
		/* with it the old one goes */
		again.stream = old;
		connection = (struct migrate_connection){ .fd = -1 };
		wake(postcopy, 0, postcopy->kvm->ram_size);
		log_info("migration: the connection is there again");
	}
	migrate_receive_exit(&again);
	migrate_disconnect(&connection);
	return result == 0 ? 0 : -EAGAIN;
}

/* Nobody runs the guest's vCPUs without their memory: they wait, whatever else fails. */
static int wait_for_source(struct postcopy *postcopy, int why)
{
	struct pollfd stop = { .fd = postcopy->stop_fd, .events = POLLIN };
	int result = -EAGAIN;

	log_error(why, "migration: the connection to the rest of the guest's memory is lost, and the guest waits for it");
	if (postcopy->owner.connection->addressed) {
		/* RUNNING, if it isn't said yet, must not go to who has the number next */
		pthread_mutex_lock(&postcopy->write_lock);
		stream_of(postcopy)->fd = -1;
		pthread_mutex_unlock(&postcopy->write_lock);
		migrate_disconnect(postcopy->owner.connection);
		postcopy->owner.connection->addressed = true;
		while (result == -EAGAIN)
			result = come_again(postcopy);
	}
	if (result && result != -ECANCELED)
		log_error(EPIPE, "migration: it can't come again at '%s': the guest is lost", postcopy->owner.address);
	while (result && result != -ECANCELED)
		if (poll(&stop, 1, -1) > 0)
			result = -ECANCELED;
	return result;
}

static void *postcopy_thread(void *opaque)
{
	struct postcopy *postcopy = opaque;
	int result = serve(postcopy);

	while (result && result != -ECANCELED && postcopy->gone) {
		result = wait_for_source(postcopy, result);
		if (!result)
			result = serve(postcopy);
	}
	if (result == -ECANCELED)
		return NULL;
	/*
	 * Nobody answers from here on, and the main thread, which is to hear of it, may be the one that waits: for memory
	 * that never comes, or for zeroes, which are never sent.
	 */
	close(postcopy->fault_fd);
	postcopy->fault_fd = -1;
	postcopy->result = result;
	tell_owner(postcopy, result ? NEWS_LOST : NEWS_DONE);
	return NULL;
}

/* ---- life ---- */

static void postcopy_free(struct postcopy *postcopy)
{
	event_work_cancel(&postcopy->told);
	/* which wakes all who wait */
	if (postcopy->fault_fd >= 0)
		close(postcopy->fault_fd);
	if (postcopy->stop_fd >= 0)
		close(postcopy->stop_fd);
	if (postcopy->kept) {
		machine_set_discards(postcopy->kvm, postcopy->discard_page);
		if (kvm_set_state(postcopy->kvm, postcopy_key, NULL))
			log_debug("migration: a state stays");
	}
	pthread_mutex_destroy(&postcopy->write_lock);
	free(postcopy);
}

void postcopy_over(const struct kvm *kvm)
{
	struct ram_options options;

	/* as core/vm.c has it: x86's first 2 MiB stay small pages */
	if (kvm->ram_size > MIB(2) && !ram_options_parse(kvm->config, &options) && options.thp)
		(void)!madvise((char *)kvm->ram_host + MIB(2), kvm->ram_size - MIB(2), MADV_HUGEPAGE);
}

static void postcopy_told(struct event_work *work)
{
	struct postcopy *postcopy = container_of(work, struct postcopy, told);
	const struct postcopy_owner owner = postcopy->owner;
	unsigned int news = atomic_exchange(&postcopy->news, 0);
	const struct kvm *kvm = postcopy->kvm;

	if (news & NEWS_LOST) {
		owner.lost(owner.opaque, postcopy->result);
		return;
	}
	if ((news & NEWS_GO) && !owner.go(owner.opaque))
		return;
	if (!(news & NEWS_DONE))
		return;
	pthread_join(postcopy->thread, NULL);
	/* if it isn't heard, the source knows no better than that it has to keep what it has */
	if (postcopy_say(postcopy, MIGRATE_HERE, NULL))
		log_debug("migration: the source doesn't hear that all is here");
	postcopy_free(postcopy);
	postcopy_over(kvm);
	owner.done(owner.opaque);
}

int postcopy_check(const struct kvm *kvm)
{
	_cleanup_close_ int fd = userfault_open(UFFD_FEATURE_MISSING_SHMEM);

	if (kvm->ram_fd < 0 || ram_is_hugetlb(kvm->config) || memory_is_shared(kvm->config))
		return log_error(ENOTSUP, "migration: no post-copy to memory of hugepages= or ksm=, or that vhost-user shares");
	if (fd < 0)
		return log_error(ENOTSUP, "migration: no post-copy without userfaultfd (access to /dev/userfaultfd, or CAP_SYS_PTRACE)");
	/* a hole in a huge page isn't one for sure */
	if (madvise(kvm->ram_host, kvm->ram_size, MADV_NOHUGEPAGE) && errno != EINVAL)
		return log_errno(errno, "migration: guest memory");
	return 0;
}

/* What is there of a page that is to come again isn't right any more. */
static int holes_make(struct postcopy *postcopy)
{
	const uint64_t pages = (postcopy->kvm->ram_size + postcopy->page - 1) / postcopy->page;

	for (uint64_t at = 0, end; at < pages; at = end) {
		bool missing = is_missing(postcopy, at);

		for (end = at + 1; end < pages && is_missing(postcopy, end) == missing; end++)
			;
		if (!missing)
			continue;
		postcopy->left += end - at;
		if (fallocate(postcopy->kvm->ram_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(at * postcopy->page),
			      (off_t)((end - at) * postcopy->page)))
			return -errno;
	}
	return 0;
}

static int faults_begin(struct postcopy *postcopy)
{
	struct uffdio_register all = { .range = range_of(postcopy, 0, postcopy->kvm->ram_size), .mode = UFFDIO_REGISTER_MODE_MISSING };
	int result = holes_make(postcopy);

	if (!result)
		result = postcopy->fault_fd = userfault_open(UFFD_FEATURE_MISSING_SHMEM);
	if (result >= 0)
		result = postcopy->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (result >= 0)
		result = ioctl(postcopy->fault_fd, UFFDIO_REGISTER, &all) < 0 ? -errno : 0;
	return result;
}

int postcopy_start(struct postcopy **out, struct kvm *kvm, const struct postcopy_owner *owner)
{
	struct postcopy *postcopy = calloc(1, sizeof(*postcopy));
	int result;

	if (!postcopy)
		return log_errno(ENOMEM, "migration");
	*postcopy = (struct postcopy){ .kvm = kvm, .owner = *owner, .page = owner->receiver->postcopy_page, .fault_fd = -1, .stop_fd = -1 };
	pthread_mutex_init(&postcopy->write_lock, NULL);
	event_work_init(kvm->loop, &postcopy->told, postcopy_told);
	result = faults_begin(postcopy);
	if (!result)
		result = thread_start(&postcopy->thread, postcopy_thread, postcopy, "postcopy");
	if (result) {
		postcopy_free(postcopy);
		return log_errno(result, "migration: post-copy");
	}
	*out = postcopy;
	return 0;
}

void postcopy_keep(struct postcopy *postcopy)
{
	postcopy->discard_page = machine_set_discards(postcopy->kvm, 0);
	postcopy->kept = true;
	if (kvm_set_state(postcopy->kvm, postcopy_key, postcopy))
		log_warn("migration: post-copy isn't known to others");
}

/* For its exit, which follows an init that succeeded only. */
static int postcopy_init(struct kvm *kvm)
{
	return kvm->incoming ? 0 : INIT_SKIP;
}
late_init(postcopy_init);

/* Before GO incoming_exit() stops it, and the source is told FAILED. */
static void postcopy_exit(struct kvm *kvm)
{
	struct postcopy *postcopy = kvm_get_state(kvm, postcopy_key);

	if (!postcopy || kvm->incoming)
		return;
	log_warn("migration: the VM has ended before all of its memory was here");
	postcopy->owner.ends(postcopy->owner.opaque);
}
late_exit(postcopy_exit);

void postcopy_stop(struct postcopy *postcopy)
{
	static const uint64_t one = 1;

	if (!postcopy)
		return;
	if (write(postcopy->stop_fd, &one, sizeof(one)) < 0)
		log_debug("migration: a thread isn't told to end");
	pthread_join(postcopy->thread, NULL);
	postcopy_free(postcopy);
}
