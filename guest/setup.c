/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initramfs of `lkvm run -- COMMAND`: guest/init, what it shall do, and the modules for it. The command is run
 * as who called, where they called, with their environment but for what only means something on the host.
 */
#include "guest/setup.h"

#include <stdio.h>
#include <stdarg.h>
#include <string.h>
#include <zlib.h>

#include "guest/initramfs.h"
#include "guest/modules.h"
#include "kvm/log.h"

/* guest/init-image.S: gzip's, whose last word is the length of what is packed */
extern const uint8_t guest_init_start[];
extern const uint64_t guest_init_size;

/* What the way to the root and back may need; what isn't a module is built in, or is missed by init. */
#define MODULES_ALWAYS	"virtio_pci", "virtio_mmio", "virtio_console", "overlay"
static const char *const modules_9p[] = { MODULES_ALWAYS, "9pnet_virtio", "9p", NULL };
static const char *const modules_virtiofs[] = { MODULES_ALWAYS, "virtiofs", NULL };
/* Folders of the host's may be shared beside it. */
static const char *const modules_image[] = {
	MODULES_ALWAYS, "9pnet_virtio", "9p", "virtiofs", "virtio_blk", "crc32c_generic", "ext4", "xfs", "squashfs", "erofs", NULL,
};

/* Sockets and folders that live in the host's /run, and names of the host's terminal. */
static const char *const left_out[] = {
	"XDG_RUNTIME_DIR=", "DBUS_SESSION_BUS_ADDRESS=", "SSH_AUTH_SOCK=", "SSH_TTY=", "SSH_CONNECTION=", "SSH_CLIENT=", "DISPLAY=",
	"WAYLAND_DISPLAY=", "XAUTHORITY=", "TMUX=", "TMUX_PANE=", "STY=", "WINDOWID=", "NOTIFY_SOCKET=", "LISTEN_FDS=", "LISTEN_PID=",
	"LISTEN_FDNAMES=", "INVOCATION_ID=", "JOURNAL_STREAM=", NULL,
};

static const char *const mount_kinds[] = {
	[GUEST_MOUNT_WRITABLE] = "writable", [GUEST_MOUNT_LAYERED] = "layered", [GUEST_MOUNT_READ] = "read",
};

/* Said anew for --user. */
static const char *const of_the_user[] = { "USER=", "LOGNAME=", "HOME=", "SHELL=", "MAIL=", NULL };

void guest_mount_tag(char tag[32], size_t index)
{
	snprintf(tag, 32, "lkvm.mount%zu", index);
}

/* ---- records ---- */

static void record(FILE *file, const char *key, const char *format, ...) printf_like(3, 4);
static void record(FILE *file, const char *key, const char *format, ...)
{
	va_list arguments;

	fprintf(file, "%s ", key);
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	fputc('\0', file);
}

static bool begins_with_any(const char *variable, const char *const *names)
{
	for (; *names; names++)
		if (strncmp(variable, *names, strlen(*names)) == 0)
			return true;
	return false;
}

static void record_user(FILE *file, const struct guest_user *user)
{
	record(file, "user", "%u", user->uid);
	for (size_t i = 0; i < user->group_count; i++)
		record(file, "group", "%u", user->groups[i]);
	if (!user->name)
		return;
	record(file, "env", "USER=%s", user->name);
	record(file, "env", "LOGNAME=%s", user->name);
	record(file, "env", "HOME=%s", user->home);
	record(file, "env", "SHELL=%s", user->shell);
}

static int record_environment(FILE *file, const struct guest_user *user)
{
	size_t count = ARRAY_SIZE(of_the_user);

	for (char **variable = environ; *variable; variable++) {
		if (begins_with_any(*variable, left_out) || (user->name && begins_with_any(*variable, of_the_user)))
			continue;
		if (++count <= GUEST_WORDS_MAX)
			record(file, "env", "%s", *variable);
	}
	return count > GUEST_WORDS_MAX ? log_error(E2BIG, "--: %zu variables in the environment (%d can be)", count, GUEST_WORDS_MAX) : 0;
}

static int record_words(FILE *file, char **words)
{
	size_t count = 0;

	for (; words[count]; count++)
		if (count < GUEST_WORDS_MAX)
			record(file, "arg", "%s", words[count]);
	return count > GUEST_WORDS_MAX ? log_error(E2BIG, "--: a command of %zu words (%d can be)", count, GUEST_WORDS_MAX) : 0;
}

static int record_task(FILE *file, const struct guest_task *task)
{
	_cleanup_free_ char *cwd = getcwd(NULL, 0);
	int result;

	if (task->cwd)
		record(file, "cwd", "%s", task->cwd);
	else
		record(file, "cwd", "%s%s", task->cwd_below ? task->cwd_below : "", cwd ? cwd : "/");
	record(file, "tty", "%d", task->tty);
	record(file, "stderr", "%d", task->stderr_apart);
	record(file, "heartbeat", "%d", task->heartbeat);
	if (task->rows)
		record(file, "size", "%u %u", task->rows, task->columns);
	record_user(file, task->user);
	result = record_environment(file, task->user);
	return result ? result : record_words(file, task->words);
}

static int record_all(FILE *file, const struct guest_setup *setup, const struct modules *modules)
{
	for (size_t i = 0; i < modules->count; i++) {
		const char *name = strrchr(modules->paths[i], '/');

		record(file, "module", "/lkvm/%s", name ? name + 1 : modules->paths[i]);
	}
	record(file, "type", "%s", setup->virtiofs ? "virtiofs" : "9p");
	if (setup->image)
		record(file, "disk", "%s", GUEST_ROOT_SERIAL);
	else
		record(file, "share", "%s", GUEST_ROOT_TAG);
	record(file, "writable", "%d", setup->root_writable);
	for (size_t i = 0; i < setup->mount_count; i++) {
		char tag[32];

		guest_mount_tag(tag, i);
		record(file, "mount", "%s %s %s", mount_kinds[setup->mounts[i].kind], tag, setup->mounts[i].path);
	}
	record(file, "hostname", "%.64s", setup->name);
	if (setup->init)
		record(file, "init", "%s", setup->init);
	return setup->task.words ? record_task(file, &setup->task) : 0;
}

static int finish_text(FILE *file, int result, const size_t *length)
{
	if (fclose(file) && !result)
		result = log_errno(ENOMEM, "--");
	if (!result && *length > GUEST_SETUP_MAX)
		result = log_error(E2BIG, "--: the command and the environment have %zu bytes (%zu can be)", *length, GUEST_SETUP_MAX);
	return result;
}

int guest_task_text(const struct guest_task *task, char **text, size_t *length)
{
	FILE *file;
	int result;

	*text = NULL;
	file = open_memstream(text, length);
	if (!file)
		return log_errno(errno, "--");
	result = finish_text(file, record_task(file, task), length);
	if (result) {
		free(*text);
		*text = NULL;
	}
	return result;
}

/* ---- the image ---- */

static int add_setup(struct initramfs *image, const struct guest_setup *setup, const struct modules *modules)
{
	_cleanup_free_ char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);
	int result;

	if (!file)
		return log_errno(errno, "--");
	result = finish_text(file, record_all(file, setup, modules), &length);
	if (!result)
		initramfs_add(image, "lkvm/setup", S_IFREG | 0600, text, length);
	return result;
}

static int add_modules(struct initramfs *image, const struct modules *modules)
{
	int result = 0;

	for (size_t i = 0; i < modules->count && !result; i++) {
		const char *name = strrchr(modules->paths[i], '/');
		_cleanup_free_ char *from = NULL, *to = NULL;

		if (asprintf(&from, "%s/%s", modules->folder, modules->paths[i]) < 0 ||
		    asprintf(&to, "lkvm/%s", name ? name + 1 : modules->paths[i]) < 0)
			return log_errno(ENOMEM, "modules");
		result = initramfs_copy(image, to, from);
		if (result)
			return log_errno(result, "module '%s'", from);
	}
	return result;
}

static int add_init(struct initramfs *image)
{
	z_stream stream = { .next_in = (uint8_t *)guest_init_start, .avail_in = (unsigned int)guest_init_size };
	_cleanup_free_ uint8_t *init = NULL;
	le32 length;
	int result;

	memcpy(&length, guest_init_start + guest_init_size - sizeof(length), sizeof(length));
	init = malloc(le32_get(length));
	if (!init || inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
		return log_errno(ENOMEM, "--: the initramfs");
	stream.next_out = init;
	stream.avail_out = le32_get(length);
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	if (result != Z_STREAM_END)
		return log_error(EIO, "--: lkvm's own init is damaged (build it again)");
	initramfs_add(image, "init", S_IFREG | 0755, init, le32_get(length));
	return 0;
}

static int add_all(struct initramfs *image, const struct guest_setup *setup)
{
	struct modules modules = { .folder = NULL };
	const char *const *wanted = setup->image ? modules_image : setup->virtiofs ? modules_virtiofs : modules_9p;
	int result = setup->modules ? modules_resolve(&modules, setup->modules, wanted) : 0;

	initramfs_add(image, "dev", S_IFDIR | 0755, NULL, 0);
	initramfs_add_device(image, "dev/console", 5, 1);
	initramfs_add(image, "lkvm", S_IFDIR | 0700, NULL, 0);
	if (!result)
		result = add_init(image);
	if (!result)
		result = add_setup(image, setup, &modules);
	if (!result)
		result = add_modules(image, &modules);
	if (!result && setup->script) {
		result = initramfs_copy(image, "lkvm/script", setup->script);
		if (result)
			log_errno(result, "option --sandbox: '%s'", setup->script);
	}
	modules_free(&modules);
	return result;
}

int guest_setup_image(const struct guest_setup *setup)
{
	struct initramfs image;
	int result = initramfs_begin(&image), fd;

	if (result)
		return log_errno(result, "--: the initramfs");
	result = add_all(&image, setup);
	fd = initramfs_end(&image);
	if (result) {
		if (fd >= 0)
			close(fd);
		return result;
	}
	return fd < 0 ? log_errno(-fd, "--: the initramfs") : fd;
}
