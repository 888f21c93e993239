/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which files aren't this host's, and who has them.
 */
#include "disk/remote.h"

#include <string.h>

static REGISTRY struct disk_remote_item *registered_remotes;

REGISTERS void disk_remote_register(struct disk_remote_item *item)
{
	item->next = registered_remotes;
	registered_remotes = item;
}

static size_t scheme_length(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz+");

	return length && !strncmp(name + length, "://", 3) ? length : 0;
}

bool disk_is_remote(const char *name)
{
	return scheme_length(name);
}

const struct disk_remote_ops *disk_remote_find(const char *uri)
{
	if (!disk_is_remote(uri))
		return NULL;
	for (struct disk_remote_item *item = registered_remotes; item; item = item->next) {
		size_t length = strlen(item->ops->scheme);

		if (!strncmp(uri, item->ops->scheme, length) && strchr("s+:", uri[length]))
			return item->ops;
	}
	return NULL;
}
