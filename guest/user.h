/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a command is run as: the caller, or a user of the guest's root. */
#ifndef GUEST_USER_H
#define GUEST_USER_H

#include <sys/types.h>

#include "kvm/types.h"

#define GUEST_GROUPS_MAX	256	/* as guest/init has it */

struct guest_user {
	uid_t uid;
	gid_t groups[GUEST_GROUPS_MAX];	/* the first is the primary one */
	size_t group_count;
	char *name, *home, *shell;	/* NULL: the caller's, as the environment has them */
};

/** guest_user_caller() - who runs lkvm; 0 or negative errno (said) */
int __must_check guest_user_caller(struct guest_user *user);
/**
 * guest_user_find() - the user called @name, or with that number, by @root/etc/passwd and @root/etc/group
 * A number that nobody has is a user with that group, and none other. 0 or negative errno (said): -EUSAGE, no such user.
 */
int __must_check guest_user_find(struct guest_user *user, const char *root, const char *name);
void guest_user_free(struct guest_user *user);

#endif
