/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine that moves here: `lkvm run --incoming ADDRESS`.
 *
 * The description that comes first has the options that make the machine. Memory comes next, into RAM that no VM has yet;
 * meanwhile the guest runs at the source, which has the disks. When the state has come, the source has let go of them: then the
 * machine is made, with its disks, and loads it, and stands still. READY says so, and it runs behind GO and our RUNNING; why,
 * state/migrate.h tells. Whatever fails ends this process, and leaves the guest where it was. Main thread.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kvm/log.h"
#include "kvm/migrate.h"
#include "state/machine.h"
#include "state/migrate-address.h"
#include "state/migrate-receive.h"
#include "state/postcopy.h"
#include "state/snapshot-info.h"

#define GO_NS	30000000000u		/* the source says it at once */

struct incoming {
	struct kvm *kvm;
	const char *address;
	struct migrate_connection connection;
	struct migrate_receiver receiver;
	struct event_source source;
	struct event_timer patience;
	struct postcopy *postcopy;	/* reads the connection, and writes it, while it is there */
};

static int say(struct incoming *incoming, enum migrate_type type, const char *text)
{
	return incoming->postcopy ? postcopy_say(incoming->postcopy, type, text) :
				    migrate_say(&incoming->receiver.stream, type, text);
}

/* The source's user shall read it too; it may have gone. */
static int refused(struct incoming *incoming, int result)
{
	if (incoming->receiver.stream.fd >= 0 && result != -EPIPE)
		(void)!say(incoming, MIGRATE_FAILED, strerrordesc_np(-result));
	return result;
}

/* ---- behind GO ---- */

static void incoming_close(struct incoming *incoming)
{
	postcopy_stop(incoming->postcopy);
	incoming->postcopy = NULL;
	event_del(&incoming->source);
	event_timer_cancel(&incoming->patience);
	migrate_receive_exit(&incoming->receiver);
	migrate_disconnect(&incoming->connection);
}

static void give_up(struct incoming *incoming, int result)
{
	log_error(result, "migration: the guest doesn't come: %s", result == -EPIPE ? "the other side hung up" : strerrordesc_np(-result));
	refused(incoming, result);
	incoming_close(incoming);
	kvm_end_request(incoming->kvm, KVM_END_HOST_ERROR);
}

static void guest_is_here(struct incoming *incoming)
{
	struct kvm *kvm = incoming->kvm;

	if (incoming->receiver.paused && kvm_user_pause(kvm))
		log_debug("migration: the guest isn't paused");
	event_timer_cancel(&incoming->patience);
	if (!incoming->postcopy)
		incoming_close(incoming);
	kvm->incoming = NULL;
	kvm_resume(kvm);
	log_info("migration: the guest runs here");
}

static void source_speaks(struct event_source *source, uint32_t events)
{
	struct incoming *incoming = container_of(source, struct incoming, source);
	struct migrate_frame frame;
	int result = migrate_next(&incoming->receiver.stream, &frame, false);

	(void)events;
	if (result == -EAGAIN)
		return;
	if (!result && frame.type != MIGRATE_GO)
		result = -EPROTO;
	/* what couldn't be sent the source won't hear, and it goes on there */
	if (!result)
		result = migrate_say(&incoming->receiver.stream, MIGRATE_RUNNING, NULL);
	if (result)
		give_up(incoming, result);
	else
		guest_is_here(incoming);
}

static bool postcopy_goes(void *opaque)
{
	struct incoming *incoming = opaque;
	int result = say(incoming, MIGRATE_RUNNING, NULL);

	if (result)
		give_up(incoming, result);
	else
		guest_is_here(incoming);
	return !result;
}

static void postcopy_done(void *opaque)
{
	struct incoming *incoming = opaque;

	incoming->postcopy = NULL;
	incoming_close(incoming);
	log_info("migration: all of the guest's memory is here");
}

static void postcopy_ends(void *opaque)
{
	incoming_close(opaque);
}

static void postcopy_lost(void *opaque, int result)
{
	give_up(opaque, result);
}

static void patience_ends(struct event_timer *timer)
{
	give_up(container_of(timer, struct incoming, patience), -ETIMEDOUT);
}

/* ---- the machine ---- */

/* In kvm_run(), in place of a kernel; the pause that it takes is GO's to end. */
static int incoming_restore(struct kvm *kvm)
{
	struct incoming *incoming = kvm->incoming;
	struct state_reader reader = { .data = incoming->receiver.state.data, .length = incoming->receiver.state.length };
	int result = kvm_pause(kvm);
	char ends[MIGRATE_ENDS];

	migrate_ends(incoming->connection.fd, false, ends);
	if (!result)
		result = machine_load(kvm, &reader);
	if (!result && incoming->postcopy)
		postcopy_keep(incoming->postcopy);
	else if (!result)
		result = event_add(kvm->loop, &incoming->source, incoming->connection.fd, EPOLLIN, source_speaks);
	if (!result)
		result = say(incoming, MIGRATE_READY, ends);
	if (result) {
		log_error(result, "migration: the machine can't be here");
		return refused(incoming, result);
	}
	event_timer_set(&incoming->patience, event_now_ns() + GO_NS);
	return 0;
}

static int incoming_postcopy(struct incoming *incoming)
{
	const struct postcopy_owner owner = {
		.go = postcopy_goes, .lost = postcopy_lost, .done = postcopy_done, .ends = postcopy_ends, .opaque = incoming, .address = incoming->address,
		.connection = &incoming->connection, .receiver = &incoming->receiver,
	};

	return postcopy_start(&incoming->postcopy, incoming->kvm, &owner);
}

int incoming_attach(struct incoming *incoming, struct kvm *kvm)
{
	json_int_t memory = json_integer_value(json_object_get(incoming->receiver.info, "memory"));
	int result = kvm_make_ram(kvm);

	incoming->kvm = kvm;
	incoming->receiver.ram = kvm->ram_host;
	incoming->receiver.ram_size = kvm->ram_size;
	event_timer_init(kvm->loop, &incoming->patience, patience_ends);
	if (!result && (memory <= 0 || (uint64_t)memory != kvm->ram_size))
		result = log_error(EINVAL, "migration: a machine of %lld bytes of memory, which would have %llu here", (long long)memory,
				   (unsigned long long)kvm->ram_size);
	if (!result && incoming->receiver.postcopy_page)
		result = postcopy_check(kvm);
	if (!result)
		result = migrate_say(&incoming->receiver.stream, MIGRATE_ACCEPTED, NULL);
	if (!result)
		result = migrate_receive_machine(&incoming->receiver);
	if (!result && incoming->receiver.postcopy)
		result = incoming_postcopy(incoming);
	else if (!result && incoming->receiver.postcopy_page)
		postcopy_over(kvm);
	if (result) {
		kvm_free_ram(kvm);
		return refused(incoming, result);
	}
	kvm->incoming = incoming;
	kvm->restore = incoming_restore;
	return 0;
}

/* ---- its options ---- */

/* That they are there is known before the guest stands still for them. */
static int check_disks(const json_t *info)
{
	const json_t *disks = json_object_get(info, "disks");

	for (size_t i = 0; i < json_array_size(disks); i++) {
		const json_t *files = json_object_get(json_array_get(disks, i), "files");

		for (size_t n = 0; n < json_array_size(files); n++) {
			const json_t *file = json_array_get(files, n);
			const char *path = json_string_value(json_object_get(file, "path"));

			if (path && *path == '/' && access(path, R_OK | (json_is_true(json_object_get(file, "writable")) ? W_OK : 0)))
				return log_errno(errno, "migration: its disk '%s' (it has to be shared; say where it is here by --disk)", path);
		}
	}
	return 0;
}

static int prepare(struct incoming *incoming, struct config *config)
{
	bool disks_given = config_given(config, "disk");
	int result = migrate_address_check(incoming->address);

	if (!result)
		result = migrate_accept(&incoming->connection, incoming->address, -1);
	if (!result)
		result = migrate_receive_init(&incoming->receiver, incoming->connection.fd);
	if (!result)
		result = migrate_receive_info(&incoming->receiver);
	if (!result)
		result = snapshot_apply(incoming->receiver.info, incoming->address, config);
	/* who names disks answers for them */
	if (!result && !disks_given)
		result = check_disks(incoming->receiver.info);
	return result ? refused(incoming, result) : 0;
}

int incoming_prepare(struct incoming **out, struct config *config)
{
	struct incoming *incoming = calloc(1, sizeof(*incoming));
	int result;

	if (!incoming)
		return log_errno(ENOMEM, "migration");
	incoming->address = config_string(config, "incoming");
	incoming->connection.fd = incoming->receiver.stream.fd = -1;
	result = prepare(incoming, config);
	if (result)
		incoming_free(incoming);
	else
		*out = incoming;
	return result;
}

void incoming_free(struct incoming *incoming)
{
	if (!incoming)
		return;
	postcopy_stop(incoming->postcopy);
	incoming->postcopy = NULL;
	/* what failed has said why, here */
	if (incoming->receiver.stream.fd >= 0)
		(void)!migrate_say(&incoming->receiver.stream, MIGRATE_FAILED, "the machine can't be made there (its own messages say why)");
	migrate_receive_exit(&incoming->receiver);
	migrate_disconnect(&incoming->connection);
	free(incoming);
}

/* For its exit, which follows an init that succeeded only. */
static int incoming_init(struct kvm *kvm)
{
	return kvm->incoming ? 0 : INIT_SKIP;
}
late_init(incoming_init);

/* The VM ends, and perhaps it hasn't begun. */
static void incoming_exit(struct kvm *kvm)
{
	if (!kvm->incoming)
		return;
	event_del(&kvm->incoming->source);
	event_timer_cancel(&kvm->incoming->patience);
	postcopy_stop(kvm->incoming->postcopy);
	kvm->incoming->postcopy = NULL;
}
late_exit(incoming_exit);

static const struct option_def incoming_options[] = {
	{ .name = "incoming", .type = OPTION_STRING, .argument = "tcp:HOST:PORT|unix:PATH|exec:COMMAND|fd:N",
	  .help = "Go on with a guest that lkvm migrate sends there, whose machine this is" },
};
RUN_OPTIONS(incoming_options_group, "Basic options", incoming_options);
