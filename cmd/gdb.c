/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm gdb: starts gdb on the vmlinux of a VM's kernel, connected to its gdb server.
 *
 * The VM says where it listens and which kernel it boots. The symbols are looked for where kernel builds and
 * Debian's debug packages put them; a build's own scripts (vmlinux-gdb.py) may be loaded, if the file is the user's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/log.h"
#include "vm-names.h"
#include "vmlinux.h"

#define GDB_ARGUMENTS_MAX	64

static const struct option_def gdb_options[] = {
	{ .name = "vmlinux", .letter = 'v', .type = OPTION_STRING, .argument = "FILE",
	  .help = "The kernel with its symbols (default: looked for near the kernel that the VM boots, and where debug "
		  "packages have it)" },
	{ .name = "gdb", .type = OPTION_STRING, .argument = "PROGRAM",
	  .help = "The gdb to start (default: gdb, else gdb-multiarch)" },
	{ .name = "print", .type = OPTION_FLAG, .help = "Print the command instead" },
};

/* ---- the vmlinux ---- */

static char *join(const char *a, size_t a_length, const char *b, const char *c)
{
	char *path;

	return asprintf(&path, "%.*s%s%s", (int)a_length, a, b, c) < 0 ? NULL : path;
}

static char *find_vmlinux(const char *kernel)
{
	char *path = vmlinux_find(kernel);

	if (!path)
		log_warn("gdb: no vmlinux found for kernel '%s', so there are no symbols (--vmlinux FILE)", kernel);
	return path;
}

/* gdb runs scripts of folders that it was told to trust: a kernel build's, if they are the user's own. */
static char *trust_scripts(const char *vmlinux)
{
	_cleanup_free_ char *real = realpath(vmlinux, NULL);
	_cleanup_free_ char *script = real ? join(real, strlen(real), "-gdb.py", "") : NULL;
	struct stat st;

	if (!script || stat(script, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0))
		return NULL;
	return join("add-auto-load-safe-path ", strlen("add-auto-load-safe-path "), script, "");
}

/* ---- gdb ---- */

static void start_gdb(struct config *config, const char **arguments)
{
	const char *program = config_string(config, "gdb");

	if (config_flag(config, "print")) {
		for (size_t i = 0; arguments[i]; i++)
			printf("%s'%s'", i ? " " : "", arguments[i]);
		printf("\n");
		return;
	}
	execvp(arguments[0], (char **)arguments);
	if (errno == ENOENT && !program) {
		arguments[0] = "gdb-multiarch";
		execvp(arguments[0], (char **)arguments);
	}
	log_errno(errno, "gdb: can't start '%s'%s", program ? program : "gdb", program ? "" : " (is gdb installed?)");
}

static int run_gdb(struct config *config, const json_t *server, int argc, char **argv)
{
	const char *address = json_string_value(json_object_get(server, "address"));
	const char *kernel = json_string_value(json_object_get(server, "kernel"));
	const char *given = config_string(config, "vmlinux"), *program = config_string(config, "gdb");
	_cleanup_free_ char *found = !given && kernel ? find_vmlinux(kernel) : NULL;
	const char *vmlinux = given ? given : found;
	_cleanup_free_ char *trust = vmlinux ? trust_scripts(vmlinux) : NULL;
	_cleanup_free_ char *connect = address ? join("target remote ", strlen("target remote "), address, "") : NULL;
	const char *arguments[GDB_ARGUMENTS_MAX] = { program ? program : "gdb", "-q" };
	size_t count = 2;

	if (!connect)
		return LKVM_STATUS_ERROR;
	if (trust) {
		arguments[count++] = "-iex";
		arguments[count++] = trust;
	}
	if (vmlinux)
		arguments[count++] = vmlinux;
	arguments[count++] = "-ex";
	arguments[count++] = connect;
	for (int i = 0; i < argc && count + 1 < GDB_ARGUMENTS_MAX; i++)
		arguments[count++] = argv[i];
	start_gdb(config, arguments);
	return config_flag(config, "print") && fflush(stdout) == 0 ? 0 : LKVM_STATUS_ERROR;
}

static int gdb_run(struct config *config, int argc, char **argv)
{
	size_t split = config_split(config);
	int names = split == SIZE_MAX ? argc : (int)split;
	struct qmp_client *client;
	json_t *server;
	int result;

	if (names != 1) {
		log_error(EINVAL, "which VM? (say one NAME; lkvm list shows them; what is for gdb stands behind --)");
		return LKVM_STATUS_USAGE;
	}
	if (control_connect(argv[0], CONTROL_TIMEOUT_MS, &client) < 0)
		return LKVM_STATUS_ERROR;
	result = control_call(client, "x-lkvm-query-gdb", NULL, &server);
	control_disconnect(client);
	if (result < 0)
		return LKVM_STATUS_ERROR;
	result = run_gdb(config, server, argc - 1, argv + 1);
	json_decref(server);
	return result;
}

static struct command gdb_command = {
	.name = "gdb",
	.operands = "NAME [-- ARGUMENT...]",
	.help = "Debug a guest's kernel with gdb",
	.options = gdb_options,
	.option_count = ARRAY_SIZE(gdb_options),
	.run = gdb_run,
};
COMMAND(gdb_command);
