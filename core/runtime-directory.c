/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm/runtime-directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ours, and closed to all others: whoever may write here could put sockets in a VM's place. */
static int check_directory(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid())
		return -EPERM;
	if ((st.st_mode & 077) && chmod(path, 0700) < 0)
		return -errno;
	return 0;
}

int runtime_directory(char **path, bool create)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
	_cleanup_free_ char *dir = NULL;
	int r;

	/* a login without a session may have the variable and not the directory */
	if (runtime && *runtime == '/' && access(runtime, X_OK) == 0)
		r = asprintf(&dir, "%s/lkvm", runtime);
	else if (home && *home == '/')
		r = asprintf(&dir, "%s/.lkvm", home);
	else
		return -ENOENT;
	if (r < 0) {
		dir = NULL;
		return -ENOMEM;
	}
	r = create && mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : check_directory(dir);
	*path = take_pointer(&dir);
	return r;
}
