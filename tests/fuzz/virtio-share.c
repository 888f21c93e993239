/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-9p and virtio-fs under fuzz, with a real folder behind them that is the same at each beginning. What lies beside it
 * must stay as it is.
 */
#include "tests/fuzz/virtio.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include "kvm/kvm.h"
#include "virtio/fs.h"

#define SECRET "nobody's business"

static char share[PATH_MAX], secret[PATH_MAX];

static void put_file(const char *name, const char *text)
{
	char path[PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", share, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_EXCL, 0644);
	FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int remove_below(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	(void)stat;
	(void)type;
	return where->level ? remove(path) : 0;
}

static void share_between(struct virtio_device *device)
{
	char path[PATH_MAX + 32];
	struct stat status;

	(void)device;
	FUZZ_CHECK(!stat(secret, &status) && status.st_size == (off_t)strlen(SECRET) && status.st_nlink == 1 &&
		   status.st_mode == (S_IFREG | 0600));
	FUZZ_CHECK(!chmod(share, 0755));
	FUZZ_CHECK(!nftw(share, remove_below, 16, FTW_DEPTH | FTW_PHYS));
	put_file("file", "hello");
	put_file("other", "");
	snprintf(path, sizeof(path), "%s/dir", share);
	FUZZ_CHECK(!mkdir(path, 0755));
	put_file("dir/inner", "within");
	snprintf(path, sizeof(path), "%s/link", share);
	FUZZ_CHECK(!symlink("../secret", path));
}

static void share_make(struct kvm *kvm, const char *option, const char *settings)
{
	char text[PATH_MAX + 32];

	snprintf(secret, sizeof(secret), "%s", fuzz_write_file("secret", SECRET, strlen(SECRET)));
	snprintf(share, sizeof(share), "%.*s/in", (int)sizeof(share) - 4, fuzz_folder());
	FUZZ_CHECK(!mkdir(share, 0755));
	snprintf(text, sizeof(text), "%s,share%s", share, settings);
	fuzz_machine_set(kvm, option, text);
	fuzz_machine_add(kvm, "shares_init");
}

/* Both protocols begin their messages with how long they are. */
static void message_fix(uint8_t *message, size_t length, unsigned int queue)
{
	const le32 size = le32_of((uint32_t)length);

	(void)queue;
	if (length >= sizeof(size))
		memcpy(message, &size, sizeof(size));
}

static void nine_machine(struct kvm *kvm)
{
	share_make(kvm, "9p", "");
	fuzz_machine_add(kvm, "nine_init");
}

static const struct fuzz_virtio nine_spec = { .machine = nine_machine, .queues = 1, .fix = message_fix, .between = share_between };
FUZZ_VIRTIO(nine, "9p", nine_spec);

/* Owners, modes, symlinks and devices in extended attributes, which the guest may have a word in. */
static void nine_mapped_machine(struct kvm *kvm)
{
	share_make(kvm, "9p", ",security=mapped");
	fuzz_machine_add(kvm, "nine_init");
}

static const struct fuzz_virtio nine_mapped_spec = {
	.machine = nine_mapped_machine, .queues = 1, .fix = message_fix, .between = share_between,
};
FUZZ_VIRTIO(nine_mapped, "9p-mapped", nine_mapped_spec);

static void fs_machine(struct kvm *kvm)
{
	share_make(kvm, "fs", "");
	fuzz_machine_add(kvm, "fs_init");
}

/* Numbers that no session has had before are what inputs can't know. */
static void fs_between(struct virtio_device *device)
{
	struct fs *fs = container_of(device, struct fs, device);

	fs->last_node = FUSE_ROOT_ID;
	fs->last_handle = 0;
	share_between(device);
}

/* urgent requests, and the others */
static const struct fuzz_virtio fs_spec = { .machine = fs_machine, .queues = 2, .fix = message_fix, .between = fs_between };
FUZZ_VIRTIO(fs, "fs", fs_spec);
