/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --vhost-user type=T,socket=PATH, and the other words for the same: -d vhost-user:PATH for a disk, --fs TAG,socket=PATH
 * for a folder.
 */
#include "user-option.h"

#include <string.h>

#include "kvm/kvm.h"
#include "kvm/vhost-option.h"
#include "kvm/virtio.h"

static int parse_queues(struct keyval *keyval, const char *name, unsigned int *queues)
{
	const char *text = keyval_get(keyval, "queues");
	uint64_t value = 0;

	if (text && (parse_uint(text, &value) || !value || value > VIRTIO_QUEUES_MAX / 2))
		return log_error(EUSAGE, "option --%s: queues=%s is no number of queues up to %d", name, text, VIRTIO_QUEUES_MAX / 2);
	*queues = (unsigned int)value;
	return 0;
}

static int parse_own(struct keyval *keyval, const char *text, struct user_option *option)
{
	const char *tag;
	int result = keyval_parse(keyval, "vhost-user", text, false);

	if (result)
		return result;
	option->type = keyval_get(keyval, "type");
	option->path = keyval_get(keyval, "socket");
	tag = keyval_get(keyval, "tag");
	option->tag = tag ? tag : "";
	result = parse_queues(keyval, "vhost-user", &option->queues);
	if (!result)
		result = keyval_done(keyval, "vhost-user", "type, socket, queues, tag");
	if (!result && (!option->type || !option->path || !*option->path))
		result = log_error(EUSAGE, "option --vhost-user: '%s' needs type= and socket=", text);
	return result;
}

static int parse_disk(struct keyval *keyval, const char *text, struct user_option *option)
{
	int result = keyval_parse(keyval, "disk", text + strlen(DISK_VHOST_USER), true);

	if (result)
		return result;
	*option = (struct user_option){ .type = "blk", .path = keyval->first, .tag = "" };
	result = parse_queues(keyval, "disk", &option->queues);
	return result ? result : keyval_done(keyval, "disk", "queues behind " DISK_VHOST_USER "PATH");
}

static int parse_fs(struct keyval *keyval, const char *text, struct user_option *option)
{
	int result = keyval_parse(keyval, "fs", text, true);

	if (result)
		return result;
	*option = (struct user_option){ .type = "fs", .tag = keyval->first, .path = keyval_get(keyval, "socket") };
	result = parse_queues(keyval, "fs", &option->queues);
	return result ? result : keyval_done(keyval, "fs", "socket, queues with an external daemon");
}

static bool is_own(const char *text)
{
	(void)text;
	return true;
}

bool disk_is_vhost_user(const char *text)
{
	return !strncmp(text, DISK_VHOST_USER, strlen(DISK_VHOST_USER));
}

bool fs_is_vhost_user(const char *text)
{
	const char *at = strstr(text, ",socket=");

	/* A comma inside a name is written twice. */
	return at && (at == text || at[-1] != ',');
}

static const struct {
	const char *name;
	bool (*is_ours)(const char *text);
	int (*parse)(struct keyval *keyval, const char *text, struct user_option *option);
} user_words[] = {
	{ "disk", disk_is_vhost_user, parse_disk },
	{ "fs", fs_is_vhost_user, parse_fs },
	{ "vhost-user", is_own, parse_own },
};

int user_options_each(struct kvm *kvm, int (*each)(struct kvm *kvm, const struct user_option *option, void *opaque), void *opaque)
{
	int result = 0;

	for (size_t word = 0; word < ARRAY_SIZE(user_words); word++)
		for (size_t i = 0; i < config_count(kvm->config, user_words[word].name) && !result; i++) {
			const char *text = config_item(kvm->config, user_words[word].name, i);
			struct user_option option = { .tag = "" };
			struct keyval keyval;

			if (!user_words[word].is_ours(text))
				continue;
			memset(&keyval, 0, sizeof(keyval));
			result = user_words[word].parse(&keyval, text, &option);
			if (!result)
				result = each(kvm, &option, opaque);
			keyval_free(&keyval);
		}
	return result;
}

static const struct option_def user_options[] = {
	{ .name = "vhost-user", .type = OPTION_LIST, .argument = "type=blk|fs|scsi|rng|gpio|...,socket=PATH[,queues=N][,tag=TAG]",
	  .help = "A device of another process, which listens at PATH; repeat for more (see VHOST-USER in lkvm(1))" },
};
RUN_OPTIONS(user_options_group, "Device options", user_options);
