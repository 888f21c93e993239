/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --port name=NAME,socket=PATH | file=PATH | pty: ports that lead to something of the host's (kvm/port.h).
 *
 * Made before the device that carries them, and taken away after it is gone. Main thread.
 */
#include <fcntl.h>
#include <stdio.h>
#include <termios.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/port-fds.h"
#include "port-option.h"

#define PORT_KEYS	"name=, and one of socket=, file=, pty"

struct port_option {
	struct port_option *next;
	struct port_fds *fds;		/* of a file or a pty */
	int slave;			/* of the pty: while we hold it, a user who comes and goes is no hang-up; or -1 */
	struct port_socket *socket;
};

static const char port_options_key[] = "port-options";

/* ---- files and ptys ---- */

static int option_attach(struct port_option *option, struct kvm *kvm, const char *name, int in_fd, int out_fd)
{
	int result = port_fds_create(kvm, name, NULL, NULL, &option->fds);

	if (result)
		return result;
	result = port_fds_attach(option->fds, in_fd, out_fd);
	return result ? log_errno(result, "option --port: port '%s'", name) : 0;
}

static int option_file(struct port_option *option, struct kvm *kvm, const char *name, const char *path)
{
	/* Without O_NONBLOCK a FIFO would make us wait for its reader. */
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);

	if (fd < 0)
		return log_errno(errno, "option --port: file '%s': can't append to it", path);
	return option_attach(option, kvm, name, -1, fd);
}

static int option_pty(struct port_option *option, struct kvm *kvm, const char *name)
{
	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios mode;
	char path[64];
	int result;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof(path)) != 0)
		return log_errno(errno, "option --port: can't make a pty for port '%s'", name);
	option->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (option->slave < 0)
		return log_errno(errno, "option --port: can't open %s for port '%s'", path, name);
	/* Bytes go through as they are. */
	if (tcgetattr(option->slave, &mode) == 0) {
		cfmakeraw(&mode);
		tcsetattr(option->slave, TCSANOW, &mode);
	}
	result = option_attach(option, kvm, name, master, master);
	if (!result)
		dprintf(STDERR_FILENO, "  Assigned port %s to pty %s\n", name, path);
	return result;
}

/* ---- the option ---- */

static int option_open(struct port_option *option, struct kvm *kvm, const char *text)
{
	struct keyval keyval;
	const char *name, *path, *file, *pty;
	int result = keyval_parse(&keyval, "port", text, false);

	if (result)
		return result;
	name = keyval_get(&keyval, "name");
	path = keyval_get(&keyval, "socket");
	file = keyval_get(&keyval, "file");
	pty = keyval_get(&keyval, "pty");
	result = keyval_done(&keyval, "port", PORT_KEYS);
	if (!result && (!name || !!path + !!file + !!pty != 1))
		result = log_error(EUSAGE, "option --port: '%s': say " PORT_KEYS, text);
	if (!result && pty && *pty)
		result = log_error(EUSAGE, "option --port: '%s': pty takes no value", text);
	if (!result)
		result = path ? port_socket_create(kvm, name, path, &option->socket)
			      : file ? option_file(option, kvm, name, file) : option_pty(option, kvm, name);
	keyval_free(&keyval);
	return result;
}

static void options_free(struct port_option *options)
{
	struct port_option *option;

	while ((option = options)) {
		options = option->next;
		port_fds_destroy(option->fds);
		port_socket_destroy(option->socket);
		if (option->slave >= 0)
			close(option->slave);
		free(option);
	}
}

static int options_open(struct kvm *kvm, struct port_option **options)
{
	int result = 0;

	for (size_t i = 0; i < config_count(kvm->config, "port") && !result; i++) {
		struct port_option *option = calloc(1, sizeof(*option));

		if (!option)
			return log_errno(ENOMEM, "option --port");
		option->slave = -1;
		option->next = *options;
		*options = option;
		result = option_open(option, kvm, config_item(kvm->config, "port", i));
	}
	return result;
}

static int port_options_init(struct kvm *kvm)
{
	struct port_option *options = NULL;
	int result;

	if (!config_count(kvm->config, "port"))
		return INIT_SKIP;
	result = options_open(kvm, &options);
	if (!result)
		result = kvm_set_state(kvm, port_options_key, options);
	if (result)
		options_free(options);
	return result;
}
dev_init(port_options_init);

static void port_options_exit(struct kvm *kvm)
{
	struct port_option *options = kvm_get_state(kvm, port_options_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, port_options_key, NULL))
		options_free(options);
}
dev_exit(port_options_exit);

static const struct option_def port_options[] = {
	{ .name = "port", .type = OPTION_LIST, .argument = "name=NAME,TO",
	  .help = "Give the guest a port /dev/vport*, found by its name; TO is socket=PATH (listens), file=PATH (output "
		  "is appended) or pty" },
};
RUN_OPTIONS(port_options_group, "Terminal options", port_options);
