/* SPDX-License-Identifier: BSD-2-Clause */
/* Modules, and the root that the command sees: the host's files, or a disk, under a layer that is thrown away. */
#include "init.h"

#include <asm/fcntl.h>
#include <linux/if.h>
#include <linux/mount.h>
#include <linux/sockios.h>
#include <linux/stat.h>

#define MODULE_COMPRESSED	4	/* MODULE_INIT_COMPRESSED_FILE, Linux 5.17 */
#define EEXIST			17
#define EBUSY			16
#define ENODEV			19
#define AT_SYMLINK_NOFOLLOW	0x100
#define PARTITIONS_MAX		15	/* as many as virtio-blk has minor numbers for */

/* What a guest can't do without, wherever the root comes from. */
static void mount_kernel_files(void)
{
	sys_mkdir("/proc");
	sys_mkdir("/sys");
	sys_mkdir("/dev");
	sys_mount("proc", "/proc", "proc", 0, NULL);
	sys_mount("sysfs", "/sys", "sysfs", 0, NULL);
	sys_mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

void mount_early(void)
{
	mount_kernel_files();
}

/* ---- modules ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t length = text_length(text), of_end = text_length(end);

	return length >= of_end && text_equal(text + length - of_end, end);
}

static void load_module(const char *path)
{
	int fd = sys_open(path, O_RDONLY);
	long result = fd;

	if (fd >= 0)
		result = sys(__NR_finit_module, fd, "", ends_with(path, ".ko") ? 0 : MODULE_COMPRESSED);
	sys_close(fd);
	/* EBUSY, ENODEV: a driver whose device isn't there; what needs it will say so. */
	if (result < 0 && result != -EEXIST && result != -EBUSY && result != -ENODEV)
		fail("the kernel refuses its own module ", path, result);
}

void load_modules(const struct setup *setup)
{
	const char *path;
	size_t at = 0;

	while ((path = setup_next(setup, "module", &at)))
		load_module(path);
}

/* ---- shares ---- */

static bool by_virtiofs;

static void mount_share(const char *tag, const char *target, bool writable)
{
	unsigned long flags = (writable ? 0 : MS_RDONLY) | MS_NOATIME;
	int result = by_virtiofs ? sys_mount(tag, target, "virtiofs", flags, NULL) :
				   sys_mount(tag, target, "9p", flags,
					     writable ? "trans=virtio,version=9p2000.L,msize=512000,cache=mmap" :
							"trans=virtio,version=9p2000.L,msize=512000,cache=loose");

	if (result == -ENODEV)
		fail("this kernel can't mount 9p: it wants CONFIG_9P_FS and CONFIG_NET_9P_VIRTIO, or CONFIG_VIRTIO_FS", "", 0);
	if (result < 0)
		fail("a share can't be mounted over ", target, result);
}

/* ---- a root that is a disk ---- */

static bool is_there(const char *path)
{
	struct statx status;

	return sys(__NR_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status) >= 0;
}

/* By each file system that there is; what has no programs is no root. */
static bool mount_device(const char *device, bool writable)
{
	static const char *const types[] = { "ext4", "xfs", "btrfs", "squashfs", "erofs", "f2fs", "iso9660" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (sys_mount(device, "/lower", types[i], (writable ? 0 : MS_RDONLY) | MS_NOATIME, NULL) < 0)
			continue;
		if (is_there("/lower/bin") || is_there("/lower/usr") || is_there("/lower/sbin"))
			return true;
		sys(__NR_umount2, "/lower", 0);
	}
	return false;
}

/* The whole disk, or the first of its partitions that is a root */
static bool mount_partitions(const char *disk, bool writable)
{
	struct line device = { .length = 0 };
	size_t length;

	line_add(&device, "/dev/");
	line_add(&device, disk);
	length = device.length;
	if (mount_device(device.text, writable))
		return true;
	for (uint64_t partition = 1; partition <= PARTITIONS_MAX; partition++) {
		device.length = length;
		line_add_number(&device, partition);
		if (is_there(device.text) && mount_device(device.text, writable))
			return true;
	}
	return false;
}

static bool disk_is(const char *disk, const char *serial)
{
	struct line path = { .length = 0 };
	char found[32];
	long n;
	int fd;

	line_add(&path, "/sys/block/");
	line_add(&path, disk);
	line_add(&path, "/serial");
	fd = sys_open(path.text, O_RDONLY);
	n = fd < 0 ? fd : sys(__NR_read, fd, found, sizeof(found) - 1);
	sys_close(fd);
	if (n <= 0)
		return false;
	found[found[n - 1] == '\n' ? n - 1 : n] = '\0';
	return text_equal(found, serial);
}

static void mount_disk(const char *serial, bool writable)
{
	char disk[] = "vda";

	for (; disk[2] <= 'z'; disk[2]++) {
		if (!disk_is(disk, serial))
			continue;
		if (mount_partitions(disk, writable))
			return;
		fail("the image has no root that this kernel can mount: tried are ext4, xfs, btrfs, squashfs, erofs, f2fs and iso9660", "", 0);
	}
	fail("this kernel found no disk: it wants CONFIG_VIRTIO_BLK", "", 0);
}

/* ---- the root ---- */

static void mount_lower(const struct setup *setup, const char *target, bool writable)
{
	const char *disk = setup_get(setup, "disk"), *share = setup_get(setup, "share");

	if (!disk) {
		mount_share(share ? share : "", target, writable);
		return;
	}
	mount_disk(disk, writable);
	/* It was mounted where there is a layer over it otherwise. */
	if (!text_equal(target, "/lower") && sys_mount("/lower", target, NULL, MS_MOVE, NULL) < 0)
		fail("the root can't be moved", "", 0);
}

static void mount_overlay(const struct setup *setup)
{
	int result;

	sys_mkdir("/layer");
	mount_lower(setup, "/lower", false);
	result = sys_mount("tmpfs", "/layer", "tmpfs", 0, "mode=755");
	if (result < 0)
		fail("this kernel can't mount tmpfs: it wants CONFIG_TMPFS", "", result);
	sys_mkdir("/layer/upper");
	sys_mkdir("/layer/work");
	result = sys_mount("overlay", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work");
	if (result == -ENODEV)
		fail("this kernel can't mount overlayfs: it wants CONFIG_OVERLAY_FS", "", 0);
	if (result < 0)
		fail("the overlay can't be mounted", "", result);
}

/* A folder for each component, where there is none. */
static void make_path(const char *path)
{
	struct line line = { .length = 0 };
	char letter[2] = "";

	for (; *path; path++) {
		if (*path == '/' && line.length)
			sys_mkdir(line.text);
		letter[0] = *path;
		line_add(&line, letter);
	}
	sys_mkdir(line.text);
}

/* The layer's root is what is seen of the folder itself. */
static void copy_owner(const char *from, const char *to)
{
	struct statx status;

	if (sys(__NR_statx, AT_FDCWD, from, 0, STATX_BASIC_STATS, &status) < 0)
		return;
	sys(__NR_fchownat, AT_FDCWD, to, status.stx_uid, status.stx_gid, 0);
	sys(__NR_fchmodat, AT_FDCWD, to, status.stx_mode & 07777);
}

/* The share and its layer lie in a tmpfs that the overlay itself covers, and are named from in there: no path is too odd. */
static void mount_layered(const char *tag, const char *path)
{
	long result = sys_mount("tmpfs", path, "tmpfs", 0, "mode=755");

	if (result >= 0)
		result = sys(__NR_chdir, path);
	if (result < 0)
		fail("there can't be an overlay over ", path, result);
	sys_mkdir("lower");
	sys_mkdir("upper");
	sys_mkdir("work");
	mount_share(tag, "lower", false);
	copy_owner("lower", "upper");
	result = sys_mount("overlay", ".", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work");
	if (result < 0)
		fail("there can't be an overlay over ", path, result);
	sys(__NR_chdir, "/");
}

/* "KIND TAG PATH" */
static void mount_folder(const char *value)
{
	const char *writable = text_after(value, "writable "), *layered = text_after(value, "layered "), *at = value;
	struct line tag = { .length = 0 };
	char letter[2] = "";

	while (*at && *at++ != ' ')
		;
	for (; *at && *at != ' '; at++) {
		letter[0] = *at;
		line_add(&tag, letter);
	}
	if (!*at)
		return;
	make_path(at + 1);
	if (layered)
		mount_layered(tag.text, at + 1);
	else
		mount_share(tag.text, at + 1, writable);
}

static void mount_private(void)
{
	sys_mkdir("/dev/pts");
	sys_mkdir("/dev/shm");
	sys_mkdir("/run");
	sys_mount("devpts", "/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666");
	sys_mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	sys_mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	sys(__NR_symlinkat, "/proc/self/fd", AT_FDCWD, "/dev/fd");
	sys(__NR_symlinkat, "/proc/self/fd/0", AT_FDCWD, "/dev/stdin");
	sys(__NR_symlinkat, "/proc/self/fd/1", AT_FDCWD, "/dev/stdout");
	sys(__NR_symlinkat, "/proc/self/fd/2", AT_FDCWD, "/dev/stderr");
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = (int)sys(__NR_socket, AF_INET, SOCK_DGRAM, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0)
		return;
	sys(__NR_ioctl, fd, SIOCSIFFLAGS, &request);
	sys_close(fd);
}

void mount_root(const struct setup *setup)
{
	const char *type = setup_get(setup, "type"), *name = setup_get(setup, "hostname"), *value;
	size_t at = 0;
	int result;

	by_virtiofs = type && text_equal(type, "virtiofs");
	sys_mkdir("/lower");
	sys_mkdir("/root");
	if (setup_flag(setup, "writable"))
		mount_lower(setup, "/root", true);
	else
		mount_overlay(setup);
	sys(__NR_chdir, "/root");
	result = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (result < 0)
		fail("the root can't be moved", "", result);
	sys(__NR_chroot, ".");
	sys(__NR_chdir, "/");
	mount_kernel_files();
	mount_private();
	while ((value = setup_next(setup, "mount", &at)))
		mount_folder(value);
	if (name)
		sys(__NR_sethostname, name, text_length(name));
	loopback_up();
}
