/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm setup: a root of one's own in ~/.lkvm/NAME, made of a few folders and of links to the host's programs, which the
 * guest sees in /host. For `lkvm sandbox --root NAME` and `lkvm run --root NAME`.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "guest/plan.h"
#include "kvm/command.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const char *const folders[] = {
	"dev", "etc", "home", "host", "mnt", "proc", "root", "run", "sys", "tmp", "var", "var/tmp", "var/lib", "var/log",
};
/* Of the root: where the host has a folder, or a link into /usr. */
static const char *const programs[] = { "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt" };
static const char *const settings[] = {
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "nsswitch.conf", "ssl", "terminfo", "profile", "bash.bashrc",
};

static int make_folders(int root)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		if (mkdirat(root, folders[i], 0755) < 0)
			return -errno;
	if (fchmodat(root, "tmp", 01777, 0) < 0 || fchmodat(root, "var/tmp", 01777, 0) < 0)
		return -errno;
	return 0;
}

/* The host's own link, or one to what it has. */
static int link_program(int root, const char *name)
{
	_cleanup_free_ char *path = NULL;
	char target[256];
	ssize_t length;

	if (asprintf(&path, "/%s", name) < 0)
		return -ENOMEM;
	if (access(path, F_OK) < 0)
		return 0;
	length = readlink(path, target, sizeof(target) - 1);
	if (length > 0 && target[0] != '/')
		target[length] = '\0';
	else
		snprintf(target, sizeof(target), "%s%s", &GUEST_ROOT_HOST[1], path);
	return symlinkat(target, root, name) < 0 ? -errno : 0;
}

static int link_setting(int root, const char *name)
{
	char from[64], target[96];

	snprintf(from, sizeof(from), "/etc/%s", name);
	snprintf(target, sizeof(target), "..%s%s", GUEST_ROOT_HOST, from);
	if (access(from, F_OK) < 0)
		return 0;
	return symlinkat(target, root, from + 1) < 0 ? -errno : 0;
}

static int make_links(int root)
{
	int result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(programs) && !result; i++)
		result = link_program(root, programs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(settings) && !result; i++)
		result = link_setting(root, settings[i]);
	return result;
}

static int make_file(int root, const char *path, const char *format, ...) printf_like(3, 4);
static int make_file(int root, const char *path, const char *format, ...)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), length;
	va_list arguments;

	if (fd < 0)
		return -errno;
	va_start(arguments, format);
	length = vdprintf(fd, format, arguments);
	va_end(arguments);
	return close(fd) < 0 || length < 0 ? -EIO : 0;
}

/* What a name in passwd can be: nothing of the environment's that would make another line of it. */
static bool is_user_name(const char *name)
{
	return name && *name && !name[strcspn(name, ":\n/,")] && strcmp(name, "root") != 0;
}

static int make_users(int root)
{
	const char *name = getenv("USER"), *own = getuid() && is_user_name(name) ? name : NULL;
	char passwd[256] = "", group[256] = "";
	int result;

	if (own) {
		snprintf(passwd, sizeof(passwd), "%.64s:x:%u:%u::/root:/bin/sh\n", own, getuid(), getgid());
		snprintf(group, sizeof(group), "%.64s:x:%u:\n", own, getgid());
	}
	result = make_file(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n%snobody:x:65534:65534:nobody:/:/bin/false\n", passwd);
	if (!result)
		result = make_file(root, "etc/group", "root:x:0:\ntty:x:5:\n%snogroup:x:65534:\n", group);
	return result;
}

static int fill(int root, const char *name)
{
	int result = make_folders(root);

	if (!result)
		result = make_links(root);
	if (!result)
		result = make_users(root);
	if (!result)
		result = make_file(root, "etc/hostname", "%s\n", name);
	if (!result)
		result = make_file(root, "etc/hosts", "127.0.0.1\tlocalhost %s\n::1\tlocalhost\n", name);
	return result ? result : make_file(root, &GUEST_ROOT_MARK[1], "%s\n", name);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

static int make_root(const char *path, const char *name)
{
	_cleanup_close_ int root = -1;
	int result;

	if (mkdir(path, 0755) < 0)
		return log_errno(errno, "root '%s'%s", path, errno == EEXIST ? " (remove it, or take another name)" : "");
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result = root < 0 ? -errno : fill(root, name);
	if (!result)
		return 0;
	log_errno(result, "root '%s': can't be filled", path);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return result;
}

static int setup_run(struct config *config, int argc, char **argv)
{
	_cleanup_free_ char *parent = NULL, *path = NULL;
	const char *home = getenv("HOME");

	(void)config;
	if (argc != 1 || !*argv[0] || strchr(argv[0], '/') || argv[0][0] == '.' || strchr(argv[0], ',') || strlen(argv[0]) > 64) {
		log_error(EINVAL, "which name? (one: up to 64 bytes, no '/', no ',', no '.' in front)");
		return LKVM_STATUS_USAGE;
	}
	if (!home || asprintf(&parent, "%s/" GUEST_ROOTS, home) < 0 || asprintf(&path, "%s/%s", parent, argv[0]) < 0) {
		log_error(ENOENT, "setup: there is no $HOME to make a root in");
		return LKVM_STATUS_ERROR;
	}
	if (mkdir(parent, 0700) < 0 && errno != EEXIST) {
		log_errno(errno, "setup: '%s'", parent);
		return LKVM_STATUS_ERROR;
	}
	if (make_root(path, argv[0]) < 0)
		return LKVM_STATUS_ERROR;
	printf("The root '%s' is in %s. To run a command in it:\n\tlkvm sandbox --root %s KERNEL -- COMMAND\n", argv[0], path, argv[0]);
	return fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static struct command setup_command = {
	.name = "setup",
	.operands = "ROOT",
	.help = "Make a root in ~/.lkvm/ROOT, of the host's programs and with nothing else of it",
	.run = setup_run,
};
COMMAND(setup_command);
