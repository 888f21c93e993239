/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which files a disk is made of and in what state they are, for who wants to find them again as they were.
 *
 * Main thread, the disk's device quiesced.
 */
#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"

int disk_identify(const struct disk *disk, unsigned int depth, struct disk_identity *identity)
{
	struct stat status;

	for (; disk && depth; depth--)
		disk = disk->backing;
	if (!disk || !disk->file)
		return 0;
	/* a server's: it has a name, and no more is known of it */
	if (disk->file->remote_ops) {
		*identity = (struct disk_identity){ .path = strdup(disk->file->path), .bytes = disk->file->size,
						    .writable = !disk->file->read_only };
		return identity->path ? 1 : log_errno(ENOMEM, "disk '%s'", disk->file->path);
	}
	if (fstat(disk->file->fd, &status))
		return log_errno(errno, "disk '%s'", disk->file->path);
	*identity = (struct disk_identity){
		.path = disk_file_real_path(disk->file), .bytes = disk->file->size,
		.writable = !disk->file->read_only, .nameless = !status.st_nlink,
	};
	if (S_ISREG(status.st_mode))
		identity->changed_ns = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
	return identity->path ? 1 : log_errno(ENOMEM, "disk '%s'", disk->file->path);
}

struct sync_call {
	struct disk *disk;
	struct disk_request request;
	int result;
};

static void sync_done(struct disk_request *request, int result)
{
	container_of(request, struct sync_call, request)->result = result;
}

static void sync_on_loop(void *opaque)
{
	struct sync_call *call = opaque;

	call->request.done = sync_done;
	disk_queue(call->disk, &call->request);
	disk_submit(call->disk);
	disk_drain(call->disk);
}

int disk_sync(struct disk *disk)
{
	struct sync_call call = { .disk = disk, .request = { .op = DISK_FLUSH } };

	/* nobody has written to a disk that no device has taken, or to none */
	if (disk->engine->loop && !disk->info.no_medium)
		event_loop_call(disk->engine->loop, sync_on_loop, &call);
	return call.result ? log_errno(call.result, "disk '%s': can't be flushed", disk->file->path) : 0;
}
