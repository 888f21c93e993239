/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The attributes in which a mapped share keeps what the guest believes: user.virtfs.uid, .gid, .mode (with the file's
 * type) and .rdev, little-endian, as QEMU's security_model=mapped-xattr has them, so that either serves the other's
 * folders. A file without them is shown as the host has it.
 */
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "share/share.h"

#define PREFIX	"user.virtfs."

static bool mapped_get(const char *path, const char *name, uint32_t *value)
{
	le32 stored;

	if (getxattr(path, name, &stored, sizeof(stored)) != sizeof(stored))
		return false;
	*value = le32_get(stored);
	return true;
}

void share_mapped_stat(const struct share_node *node, struct stat *stat)
{
	struct proc_path path = proc_path(node);
	uint32_t value;
	le64 device;

	/* Only these can have attributes of users. */
	if (!S_ISREG(stat->st_mode) && !S_ISDIR(stat->st_mode))
		return;
	if (mapped_get(path.text, PREFIX "uid", &value))
		stat->st_uid = value;
	if (mapped_get(path.text, PREFIX "gid", &value))
		stat->st_gid = value;
	/* A folder is one, whatever an attribute says, and nothing else is. */
	if (mapped_get(path.text, PREFIX "mode", &value) && S_ISDIR(value) == S_ISDIR(stat->st_mode))
		stat->st_mode = value & 0177777;
	if ((S_ISCHR(stat->st_mode) || S_ISBLK(stat->st_mode)) &&
	    getxattr(path.text, PREFIX "rdev", &device, sizeof(device)) == sizeof(device))
		stat->st_rdev = (dev_t)le64_get(device);
}

static int mapped_put(const char *path, const char *name, uint32_t value)
{
	le32 stored = le32_of(value);

	return setxattr(path, name, &stored, sizeof(stored), 0) < 0 ? -errno : 0;
}

int share_mapped_set(const struct share_node *node, const struct share_mapped *mapped)
{
	struct proc_path path = proc_path(node);
	le64 device = le64_of(mapped->device);
	int result = 0;

	if (mapped->set & SHARE_SET_UID)
		result = mapped_put(path.text, PREFIX "uid", mapped->uid);
	if (!result && (mapped->set & SHARE_SET_GID))
		result = mapped_put(path.text, PREFIX "gid", mapped->gid);
	if (!result && (mapped->set & SHARE_SET_MODE))
		result = mapped_put(path.text, PREFIX "mode", mapped->mode);
	if (!result && (mapped->set & SHARE_MAPPED_DEVICE) && setxattr(path.text, PREFIX "rdev", &device, sizeof(device), 0) < 0)
		result = -errno;
	return result;
}

/* What isn't a user's would take effect on the host: capabilities of files, ACLs, labels. */
bool share_mapped_hides(const char *name)
{
	return strncmp(name, "user.", 5) != 0 || strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}
