/* SPDX-License-Identifier: BSD-2-Clause */
/* What a qcow2 image's header says of it, by the names that QEMU uses. */
#include <limits.h>

#include "disk/compression.h"
#include "disk/qcow2.h"

static int set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value);
}

static json_t *text_of(const char *text)
{
	json_t *value = json_string(text);

	return value ? value : json_string("?");
}

static int describe_backing(const struct qcow2 *q, json_t *facts)
{
	char path[PATH_MAX];
	int failed = set(facts, "backing-filename", text_of(q->backing_name));

	if (q->backing_format)
		failed |= set(facts, "backing-filename-format", text_of(q->backing_format));
	if (!disk_resolve(q->file->path, q->backing_name, path, sizeof(path)))
		failed |= set(facts, "full-backing-filename", text_of(path));
	return failed;
}

int qcow2_describe(struct disk *disk, json_t *facts)
{
	const struct qcow2 *q = disk->format_state;
	json_t *data = json_object(), *specific = json_object();
	int failed = set(facts, "cluster-size", json_integer(q->cluster_size));

	failed |= set(facts, "dirty-flag", json_boolean(q->incompatible & QCOW2_DIRTY));
	failed |= set(facts, "snapshot-count", json_integer(q->snapshots));
	if (q->backing_name)
		failed |= describe_backing(q, facts);
	failed |= set(data, "compat", json_string(q->version == 3 ? "1.1" : "0.10"));
	failed |= set(data, "compression-type", json_string(q->compression->name));
	if (q->version == 3) {
		failed |= set(data, "lazy-refcounts", json_boolean(q->compatible & 1));
		failed |= set(data, "refcount-bits", json_integer(1 << q->refcount_order));
		failed |= set(data, "corrupt", json_boolean(q->incompatible & QCOW2_CORRUPT));
		failed |= set(data, "extended-l2", json_boolean(q->extended));
	}
	if (q->data_file_name)
		failed |= set(data, "data-file", text_of(q->data_file_name));
	failed |= set(specific, "type", json_string("qcow2"));
	failed |= set(specific, "data", data);
	failed |= set(facts, "format-specific", specific);
	return failed ? -ENOMEM : 0;
}
