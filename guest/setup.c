/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initramfs of `lkvm run -- COMMAND`: guest/init, what it shall do, and the modules for it. The command is run
 * as who called, where they called, with their environment but for what only means something on the host.
 */
#include "guest/setup.h"

#include <stdio.h>
#include <stdarg.h>
#include <string.h>

#include "guest/initramfs.h"
#include "guest/modules.h"
#include "kvm/log.h"

/* guest/init-image.S */
extern const char guest_init_start[];
extern const uint64_t guest_init_size;

/* What the way to the host's files and back may need; what isn't a module is built in, or is missed by init. */
static const char *const wanted_modules[] = {
	"virtio_pci", "virtio_mmio", "virtio_console", "9pnet_virtio", "9p", "overlay", NULL,
};

/* Sockets and folders that live in the host's /run, and names of the host's terminal. */
static const char *const left_out[] = {
	"XDG_RUNTIME_DIR=", "DBUS_SESSION_BUS_ADDRESS=", "SSH_AUTH_SOCK=", "SSH_TTY=", "SSH_CONNECTION=", "SSH_CLIENT=", "DISPLAY=",
	"WAYLAND_DISPLAY=", "XAUTHORITY=", "TMUX=", "TMUX_PANE=", "STY=", "WINDOWID=", "NOTIFY_SOCKET=", "LISTEN_FDS=", "LISTEN_PID=",
	"LISTEN_FDNAMES=", "INVOCATION_ID=", "JOURNAL_STREAM=", NULL,
};

void guest_writable_tag(char tag[32], size_t index)
{
	snprintf(tag, 32, "lkvm.rw%zu", index);
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

static bool is_left_out(const char *variable)
{
	for (const char *const *name = left_out; *name; name++)
		if (strncmp(variable, *name, strlen(*name)) == 0)
			return true;
	return false;
}

static int record_user(FILE *file)
{
	gid_t groups[GUEST_GROUPS_MAX];
	int count = getgroups(ARRAY_SIZE(groups) - 1, groups);

	if (count < 0)
		return log_errno(errno, "--: your groups");
	record(file, "user", "%u", getuid());
	record(file, "group", "%u", getgid());
	for (int i = 0; i < count; i++)
		if (groups[i] != getgid())
			record(file, "group", "%u", groups[i]);
	return 0;
}

static int record_environment(FILE *file)
{
	size_t count = 0;

	for (char **variable = environ; *variable; variable++)
		if (!is_left_out(*variable) && ++count <= GUEST_WORDS_MAX)
			record(file, "env", "%s", *variable);
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

static int record_all(FILE *file, const struct guest_setup *setup, const struct modules *modules)
{
	_cleanup_free_ char *cwd = getcwd(NULL, 0);
	int result;

	for (size_t i = 0; i < modules->count; i++) {
		const char *name = strrchr(modules->paths[i], '/');

		record(file, "module", "/lkvm/%s", name ? name + 1 : modules->paths[i]);
	}
	record(file, "share", "%s", GUEST_ROOT_TAG);
	for (size_t i = 0; setup->writable && setup->writable[i]; i++) {
		char tag[32];

		guest_writable_tag(tag, i);
		record(file, "writable", "%s %s", tag, setup->writable[i]);
	}
	record(file, "hostname", "%.64s", setup->name);
	record(file, "cwd", "%s", cwd ? cwd : "/");
	record(file, "tty", "%d", setup->tty);
	record(file, "stderr", "%d", setup->stderr_apart);
	record(file, "heartbeat", "%d", setup->heartbeat);
	if (setup->rows)
		record(file, "size", "%u %u", setup->rows, setup->columns);
	result = record_user(file);
	if (!result)
		result = record_environment(file);
	return result ? result : record_words(file, setup->words);
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
	result = record_all(file, setup, modules);
	if (fclose(file) && !result)
		result = log_errno(ENOMEM, "--");
	if (!result && length > GUEST_SETUP_MAX)
		result = log_error(E2BIG, "--: the command and the environment have %zu bytes (%zu can be)", length, GUEST_SETUP_MAX);
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

static int add_all(struct initramfs *image, const struct guest_setup *setup)
{
	struct modules modules = { .folder = NULL };
	int result = setup->modules ? modules_resolve(&modules, setup->modules, wanted_modules) : 0;

	initramfs_add(image, "dev", S_IFDIR | 0755, NULL, 0);
	initramfs_add_device(image, "dev/console", 5, 1);
	initramfs_add(image, "lkvm", S_IFDIR | 0700, NULL, 0);
	initramfs_add(image, "init", S_IFREG | 0755, guest_init_start, guest_init_size);
	if (!result)
		result = add_setup(image, setup, &modules);
	if (!result)
		result = add_modules(image, &modules);
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
