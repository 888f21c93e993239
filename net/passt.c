/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=passt: passt(1), started for this network, is what the guest's frames go to: the host's own network, without a
 * privilege.
 *
 * It gets a socket that is connected already. A passt that can (--help says so) works on the device's rings itself, by
 * vhost-user; others are sent frames, as by mode=stream. It ends with its socket, and is waited for behind that.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kvm/spawn.h"
#include "stream.h"
#include "vhost-user.h"

#define ARGUMENTS_MAX	32
#define SOCKET_FD	3		/* the socket's number in passt */
#define BEGIN_MS	300		/* in which one that can't start has said so */
#define END_MS		2000
#define HELP_MAX	KIB(16)

/* ---- the program ---- */

/* @to: what becomes its descriptor SOCKET_FD, or its standard output and error if @output. */
static int passt_spawn(char *const *arguments, int to, bool output, pid_t *child)
{
	posix_spawn_file_actions_t actions;
	int result;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, to, output ? STDOUT_FILENO : SOCKET_FD);
	if (output)
		posix_spawn_file_actions_adddup2(&actions, to, STDERR_FILENO);
	result = spawn_program(child, NULL, arguments, &actions);
	posix_spawn_file_actions_destroy(&actions);
	if (result == ENOENT)
		return log_error(result, "option --network: mode=passt: there is no program '%s' (install passt, or say program=)",
				 arguments[0]);
	return result ? log_errno(result, "option --network: mode=passt: can't run '%s'", arguments[0]) : 0;
}

/* Whether the child ended within @ms; it is reaped then. */
static bool passt_ended(pid_t child, int ms)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	if (fd >= 0)
		poll(&entry, 1, ms);
	return waitpid(child, NULL, WNOHANG) == child;
}

static void passt_end(struct network *network)
{
	if (!passt_ended(network->helper, END_MS)) {
		kill(network->helper, SIGKILL);
		waitpid(network->helper, NULL, 0);
	}
}

/* It writes no more than a pipe takes, or what it writes is not looked at; nor is what comes too late. */
static int passt_can_vhost_user(const char *program, bool *can)
{
	char *const arguments[] = { (char *)program, (char *)"--help", NULL };
	char help[HELP_MAX] = "";
	size_t length = 0;
	ssize_t got = 1;
	pid_t child;
	int ends[2], result;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return log_errno(errno, "option --network: mode=passt");
	result = passt_spawn(arguments, ends[1], true, &child);
	close(ends[1]);
	while (!result && got > 0 && length < sizeof(help) - 1) {
		struct pollfd entry = { .fd = ends[0], .events = POLLIN };

		if (poll(&entry, 1, END_MS) <= 0)
			break;
		got = read(ends[0], help + length, sizeof(help) - 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	close(ends[0]);
	if (!result && !passt_ended(child, END_MS)) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	*can = strstr(help, "--vhost-user");
	return result;
}

/* ---- the keys ---- */

struct passt_options {
	const char *program;
	bool vhost_user, vhost_user_said;
	char words[1024];		/* args=, cut at its blanks */
	char *arguments[ARGUMENTS_MAX];
	size_t count;
};

static int options_words(struct passt_options *options, const char *text)
{
	static const char *const first[] = { "--foreground", "--quiet", "--fd", "3" };
	char *rest = options->words;

	options->arguments[options->count++] = (char *)options->program;
	for (size_t i = 0; i < ARRAY_SIZE(first); i++)
		options->arguments[options->count++] = (char *)first[i];
	if (strlen(text) >= sizeof(options->words))
		return log_error(EUSAGE, "option --network: args= has more than %zu characters", sizeof(options->words) - 1);
	memcpy(options->words, text, strlen(text) + 1);
	for (char *word; (word = strsep(&rest, " ")); ) {
		if (!*word)
			continue;
		/* The last two are for --vhost-user and the end. */
		if (options->count >= ARGUMENTS_MAX - 2)
			return log_error(EUSAGE, "option --network: args= has too many words");
		options->arguments[options->count++] = word;
	}
	return 0;
}

static const struct net_backend_type passt_type;

static int options_parse(struct net_setup *setup, struct passt_options *options)
{
	const char *program = keyval_get(&setup->keyval, "program"), *words = keyval_get(&setup->keyval, "args");
	int result;

	memset(options, 0, sizeof(*options));
	options->program = program && *program ? program : "passt";
	options->vhost_user_said = keyval_get(&setup->keyval, "vhost-user");
	result = keyval_bool(&setup->keyval, "network", "vhost-user", &options->vhost_user);
	if (!result)
		result = net_setup_done(setup, &passt_type);
	return result ? result : options_words(options, words ? words : "");
}

/* ---- making it ---- */

static int passt_begin(struct network *network, struct passt_options *options, int socket)
{
	int result;

	if (options->vhost_user)
		options->arguments[options->count++] = (char *)"--vhost-user";
	result = passt_spawn(options->arguments, socket, false, &network->helper);
	if (result)
		return result;
	network->closed = passt_end;
	if (!passt_ended(network->helper, BEGIN_MS))
		return 0;
	network->closed = NULL;
	return log_error(EIO, "option --network: mode=passt: '%s' ended at once, having said why", options->program);
}

static int passt_create(struct net_setup *setup, struct network *network)
{
	struct passt_options options;
	int pair[2], result = options_parse(setup, &options);

	if (!result && !options.vhost_user_said && !setup->pcap)
		result = passt_can_vhost_user(options.program, &options.vhost_user);
	if (result)
		return result;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return log_errno(errno, "option --network: mode=passt");
	result = passt_begin(network, &options, pair[1]);
	close(pair[1]);
	if (result)
		close(pair[0]);
	else if (options.vhost_user)
		result = net_vhost_user_open(setup, network, "passt", pair[0]);
	else
		result = net_stream_take(setup, network, pair[0]);
	return result;
}

static const struct net_backend_type passt_type = {
	.name = "passt", .keys = "program=, args=, vhost-user=", .create = passt_create,
};
NET_BACKEND(passt_type);
