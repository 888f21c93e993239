/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text that names a share: a folder, its tag, and how it is shared.
 */
#include <string.h>

#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/share.h"

static int parse_security(struct share_options *options, const char *option, const char *text)
{
	static const char *const names[] = {
		[SHARE_NONE] = "none", [SHARE_PASSTHROUGH] = "passthrough", [SHARE_MAPPED] = "mapped",
	};

	if (!text)
		return 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			options->security = (enum share_security)i;
			return 0;
		}
	}
	return log_error(EUSAGE, "option --%s: security=%s is not known (there are passthrough, mapped and none)", option, text);
}

/* "UID" or "UID:GID"; the group is the user's number where it isn't said. */
static int parse_map(struct share_options *options, const char *option, const char *text)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	_cleanup_free_ char *uid = text ? strndup(text, colon ? (size_t)(colon - text) : strlen(text)) : NULL;
	uint64_t user, group;

	if (!text)
		return 0;
	if (!uid)
		return log_errno(ENOMEM, "option --%s", option);
	if (parse_uint(uid, &user) || parse_uint(colon ? colon + 1 : uid, &group) || user >= UINT32_MAX || group >= UINT32_MAX)
		return log_error(EUSAGE, "option --%s: map=%s is no user (say map=UID or map=UID:GID, in numbers)", option, text);
	options->map = true;
	options->map_uid = (uint32_t)user;
	options->map_gid = (uint32_t)group;
	return 0;
}

static int copy_words(struct share_options *options, const char *path, const char *tag)
{
	options->path = strdup(path);
	options->tag = strdup(tag);
	return options->path && options->tag ? 0 : log_errno(ENOMEM, "shares");
}

static int options_fill(struct share_options *options, const char *option, struct keyval *keyval, const char *tag)
{
	int result;

	/* The tag is the one word behind the folder that is no setting. */
	if (!tag && keyval->count && !keyval->pairs[0].value && strcmp(keyval->pairs[0].key, "ro") != 0) {
		tag = keyval->pairs[0].key;
		keyval->pairs[0].used = true;
	}
	if (!*keyval->first || !tag || !*tag)
		return log_error(EUSAGE, "option --%s: '%s' names no %s (say --%s DIR,TAG[,ro][,security=MODEL][,map=UID])", option,
				 keyval->first, *keyval->first ? "tag" : "folder", option);
	result = copy_words(options, keyval->first, tag);
	if (!result)
		result = keyval_bool(keyval, option, "ro", &options->read_only);
	if (!result)
		result = parse_security(options, option, keyval_get(keyval, "security"));
	if (!result)
		result = parse_map(options, option, keyval_get(keyval, "map"));
	return result ? result : keyval_done(keyval, option, "ro, security=, map=");
}

int share_options_parse(struct share_options *options, const char *option, const char *text, const char *tag)
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, option, text, true);

	memset(options, 0, sizeof(*options));
	if (result)
		return result;
	result = options_fill(options, option, &keyval, tag);
	keyval_free(&keyval);
	if (result)
		share_options_free(options);
	return result;
}

bool share_names_folder(const char *text)
{
	struct keyval keyval;
	struct stat stat_;
	bool folder;

	if (keyval_parse(&keyval, "disk", text, true))
		return false;
	folder = stat(keyval.first, &stat_) == 0 && S_ISDIR(stat_.st_mode);
	keyval_free(&keyval);
	return folder;
}

const char *share_root_option(const struct config *config)
{
	for (size_t i = 0; i < config_count(config, "disk"); i++)
		if (share_names_folder(config_item(config, "disk", i)))
			return config_item(config, "disk", i);
	return NULL;
}

void share_options_free(struct share_options *options)
{
	free(options->path);
	free(options->tag);
	memset(options, 0, sizeof(*options));
}
