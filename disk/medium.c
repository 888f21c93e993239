/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies in a drive, and that it can be something else, or nothing, while the VM runs. The option says what it is now:
 * a snapshot records it from there. An empty drive has a disk too, of no bytes, so that a unit always has one.
 */
#include <errno.h>
#include <stdio.h>

#include "disk/disks.h"
#include "disk/engine.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

/* ---- no medium ---- */

static int no_medium_probe(const uint8_t *head, size_t length)
{
	(void)head;
	(void)length;
	return 0;
}

static int no_medium_open(struct disk *disk)
{
	(void)disk;
	return 0;
}

static void no_medium_submit(struct disk *disk)
{
	struct disk_request *next, *requests = disk_take_queued(disk);

	for (struct disk_request *request = requests; request; request = next) {
		next = request->next;
		disk_complete(request, request->op == DISK_FLUSH ? 0 : -ENOMEDIUM);
	}
	disk_batch_done(disk->engine);
}

/* Not among those that format= finds. */
const struct disk_format disk_no_medium_format = {
	.name = "none", .probe = no_medium_probe, .open = no_medium_open, .submit = no_medium_submit,
};

/* ---- another medium ---- */

/* @path, with its commas doubled. */
static void put_path(FILE *file, const char *path)
{
	for (; *path; path++)
		fprintf(file, *path == ',' ? ",," : "%c", *path);
}

/* What stands behind the path in @text: "" or ",cdrom...". */
static const char *settings_of(const char *text)
{
	for (; *text; text++)
		if (*text == ',' && *++text != ',')
			return text - 1;
	return text;
}

/* -d of the new medium: the same drive, another disc. The last format= counts, and an empty drive has none. */
static char *medium_text(const char *text, const char *path, const char *format)
{
	char *new_text = NULL;
	size_t length;
	FILE *file = open_memstream(&new_text, &length);

	if (!file)
		return NULL;
	put_path(file, path ? path : "");
	fputs(settings_of(text), file);
	if (format) {
		fputs(",format=", file);
		put_path(file, format);
	}
	if (!fclose(file))
		return new_text;
	free(new_text);
	return NULL;
}

int disks_medium_open(struct kvm *kvm, size_t index, const char *path, const char *format, struct disks_medium *medium)
{
	const struct disks_item *item = disks_of(kvm)->items[index];
	struct disk_options options;
	int result;

	medium->disk = NULL;
	medium->text = medium_text(config_item(kvm->config, "disk", item->option), path, format);
	if (!medium->text)
		return log_errno(ENOMEM, "--disk");
	result = disk_options_parse(&options, medium->text);
	if (!result) {
		result = disk_open(&medium->disk, &options);
		disk_options_free(&options);
	}
	if (result)
		disks_medium_close(medium);
	return result;
}

int disks_medium_use(struct kvm *kvm, size_t index, struct disks_medium *medium)
{
	struct disks_item *item = disks_of(kvm)->items[index];
	struct disk *old = item->disk;
	int result = config_change_item(kvm->config, "disk", item->option, medium->text);

	item->disk = medium->disk;
	medium->disk = old;
	return result;
}

void disks_medium_close(struct disks_medium *medium)
{
	disk_close(medium->disk);
	free(medium->text);
	*medium = (struct disks_medium){ 0 };
}
