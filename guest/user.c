/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Users of a root: read from its files, since it may be another system's, and since a static program has no other way.
 */
#include "guest/user.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"
#include "kvm/option.h"

#define LINE_MAX_	KIB(64)	/* of either file; longer ones are passed over */

int guest_user_caller(struct guest_user *user)
{
	int count;

	*user = (struct guest_user){ .uid = getuid(), .groups = { getgid() }, .group_count = 1 };
	count = getgroups(GUEST_GROUPS_MAX - 1, user->groups + 1);
	if (count < 0)
		return log_errno(errno, "--: your groups");
	for (size_t i = 1; i <= (size_t)count; i++)
		if (user->groups[i] != user->groups[0])
			user->groups[user->group_count++] = user->groups[i];
	return 0;
}

static FILE *open_table(const char *root, const char *path)
{
	_cleanup_free_ char *full = NULL;

	return asprintf(&full, "%s%s", strcmp(root, "/") == 0 ? "" : root, path) < 0 ? NULL : fopen(full, "re");
}

static int take_entry(struct guest_user *user, const struct passwd *entry)
{
	user->uid = entry->pw_uid;
	user->groups[0] = entry->pw_gid;
	user->group_count = 1;
	user->name = strdup(entry->pw_name);
	user->home = strdup(entry->pw_dir && *entry->pw_dir ? entry->pw_dir : "/");
	user->shell = strdup(entry->pw_shell && *entry->pw_shell ? entry->pw_shell : "/bin/sh");
	return user->name && user->home && user->shell ? 0 : -ENOMEM;
}

/* 1: found */
static int find_user(struct guest_user *user, const char *root, const char *name, bool numeric, uint64_t number)
{
	_cleanup_free_ char *line = malloc(LINE_MAX_);
	FILE *file = open_table(root, "/etc/passwd");
	struct passwd entry, *found;
	int result = 0, error;

	while (file && line && !result) {
		error = fgetpwent_r(file, &entry, line, LINE_MAX_, &found);
		if (error == ERANGE)
			continue;
		if (error)
			break;
		if (strcmp(entry.pw_name, name) == 0 || (numeric && entry.pw_uid == number))
			result = take_entry(user, &entry) ? -ENOMEM : 1;
	}
	if (file)
		fclose(file);
	return line ? result : -ENOMEM;
}

static void add_group(struct guest_user *user, gid_t gid)
{
	for (size_t i = 0; i < user->group_count; i++)
		if (user->groups[i] == gid)
			return;
	if (user->group_count < GUEST_GROUPS_MAX)
		user->groups[user->group_count++] = gid;
}

static void find_groups(struct guest_user *user, const char *root)
{
	_cleanup_free_ char *line = malloc(LINE_MAX_);
	FILE *file = open_table(root, "/etc/group");
	struct group entry, *found;
	int error;

	while (file && line) {
		error = fgetgrent_r(file, &entry, line, LINE_MAX_, &found);
		if (error == ERANGE)
			continue;
		if (error)
			break;
		for (char **member = entry.gr_mem; *member; member++)
			if (strcmp(*member, user->name) == 0)
				add_group(user, entry.gr_gid);
	}
	if (file)
		fclose(file);
}

int guest_user_find(struct guest_user *user, const char *root, const char *name)
{
	uint64_t number = 0;
	bool numeric = parse_uint(name, &number) == 0 && number < UINT32_MAX;
	int found;

	*user = (struct guest_user){ .group_count = 0 };
	found = find_user(user, root, name, numeric, number);
	if (found < 0)
		return log_errno(-found, "option --user");
	if (!found && !numeric)
		return log_error(EUSAGE, "option --user: '%s': there is no such user in %s/etc/passwd (a number will do)", name,
				 strcmp(root, "/") == 0 ? "" : root);
	if (found) {
		find_groups(user, root);
		return 0;
	}
	user->uid = (uid_t)number;
	user->groups[0] = (gid_t)number;
	user->group_count = 1;
	user->name = strdup(name);
	user->home = strdup("/");
	user->shell = strdup("/bin/sh");
	return user->name && user->home && user->shell ? 0 : log_errno(ENOMEM, "option --user");
}

void guest_user_free(struct guest_user *user)
{
	free(user->name);
	free(user->home);
	free(user->shell);
	*user = (struct guest_user){ .group_count = 0 };
}
