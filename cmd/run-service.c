/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm run as a service: --daemonize, --pidfile, and what systemd is told (sd_notify(3): a datagram to $NOTIFY_SOCKET). All
 * three wait for the main loop's first round, which is when the vCPUs run.
 *
 * A fork of a VM (lkvm fork) has none of it: the service is its parent.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "run.h"

struct service {
	struct kvm *kvm;
	struct event_work running;
	struct kvm_listener listener;
	struct stat pidfile;
	int pid_fd;			/* of the pidfile, locked as long as the VM lives; -1: there is none */
};

static const char service_key;

static const struct option_def service_options[] = {
	{ .name = "daemonize", .type = OPTION_FLAG, .help = "Go to the background when the guest runs; fail in the foreground if it can't" },
	{ .name = "pidfile", .type = OPTION_STRING, .argument = "FILE", .help = "Write the process's id there for as long as the VM lives" },
	/* what the process in the background tells the one in front by */
	{ .name = "ready-fd", .type = OPTION_UINT, .argument = "FD" },
};
RUN_OPTIONS(service_options_group, "Basic options", service_options);

/* ---- in the foreground ---- */

/* Waits until the VM runs, or the process ends: a terminal's reader sees its messages until then. */
static int await(pid_t pid, int fd)
{
	int status;
	char ready;

	if (read(fd, &ready, 1) == 1)
		return 0;
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return LKVM_STATUS_ERROR;
	return WEXITSTATUS(status);
}

int run_daemonize(struct config *config)
{
	int ends[2], null, status;
	char number[16];
	pid_t pid;

	if (!config_flag(config, "daemonize"))
		return -1;
	if (config_split(config) != SIZE_MAX) {
		log_error(EUSAGE, "option --daemonize: a command behind -- has its streams here (start the VM without one, and say lkvm exec)");
		return LKVM_STATUS_USAGE;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || pipe2(ends, O_CLOEXEC) < 0) {
		log_errno(errno, "option --daemonize");
		return LKVM_STATUS_ERROR;
	}
	pid = fork();
	if (pid) {
		close(null);
		close(ends[1]);
		status = pid < 0 ? log_errno(errno, "option --daemonize") : await(pid, ends[0]);
		close(ends[0]);
		return status < 0 ? LKVM_STATUS_ERROR : status;
	}
	close(ends[0]);
	setsid();
	/* at once, since consoles keep copies of them; messages are still the foreground's */
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
	snprintf(number, sizeof(number), "%d", ends[1]);
	return config_set(config, "ready-fd", number) < 0 ? LKVM_STATUS_ERROR : -1;
}

/* ---- when it runs ---- */

static void notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = path ? strlen(path) : 0;
	_cleanup_close_ int fd = -1;

	if (!length || length >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, length);
	/* systemd's way to say an abstract one */
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		log_warn("$NOTIFY_SOCKET '%s': %s", path, strerrordesc_np(errno));
}

static void tell_foreground(const struct config *config)
{
	int fd = (int)config_uint(config, "ready-fd"), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
	(void)!write(fd, "", 1);
	close(fd);
}

static void service_running(struct event_work *work)
{
	struct service *service = container_of(work, struct service, running);

	notify("READY=1\nSTATUS=The guest runs\n");
	if (config_given(service->kvm->config, "ready-fd"))
		tell_foreground(service->kvm->config);
}

static void service_changed(struct kvm_listener *listener, const char *event, enum kvm_end end)
{
	(void)listener;
	(void)end;
	if (!strcmp(event, "SHUTDOWN"))
		notify("STOPPING=1\n");
}

/* ---- life ---- */

static int write_pidfile(struct service *service, const char *path)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	struct stat named;

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return log_error(EBUSY, "option --pidfile: '%s' is another process's, which runs", path);
	/* who had it may have removed it just now */
	if (fd >= 0 && !fstat(fd, &service->pidfile) &&
	    (stat(path, &named) || named.st_ino != service->pidfile.st_ino || named.st_dev != service->pidfile.st_dev))
		return log_error(EAGAIN, "option --pidfile: '%s' was removed by another process just now", path);
	if (fd < 0 || ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return log_errno(errno, "option --pidfile: '%s'", path);
	service->pid_fd = take_fd(&fd);
	return 0;
}

static int service_init(struct kvm *kvm)
{
	const char *path = config_string(kvm->config, "pidfile");
	struct service *service;
	int result;

	if (kvm->origin || (!path && !getenv("NOTIFY_SOCKET") && !config_given(kvm->config, "ready-fd")))
		return INIT_SKIP;
	service = calloc(1, sizeof(*service));
	if (!service)
		return log_errno(ENOMEM, "service");
	service->kvm = kvm;
	service->pid_fd = -1;
	result = path ? write_pidfile(service, path) : 0;
	if (!result)
		result = kvm_set_state(kvm, &service_key, service);
	if (result) {
		if (path && service->pid_fd >= 0) {
			unlink(path);
			close(service->pid_fd);
		}
		free(service);
		return result;
	}
	service->listener.changed = service_changed;
	kvm_add_listener(kvm, &service->listener);
	event_work_init(kvm->loop, &service->running, service_running);
	event_work_post(&service->running);
	return 0;
}
late_init(service_init);

static void service_exit(struct kvm *kvm)
{
	struct service *service = kvm_get_state(kvm, &service_key);
	const char *path = config_string(kvm->config, "pidfile");
	struct stat now;

	kvm_del_listener(kvm, &service->listener);
	event_work_cancel(&service->running);
	/* not what somebody else has put there since */
	if (path && !stat(path, &now) && now.st_ino == service->pidfile.st_ino && now.st_dev == service->pidfile.st_dev)
		unlink(path);
	if (service->pid_fd >= 0)
		close(service->pid_fd);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, &service_key, NULL))
		free(service);
}
late_exit(service_exit);
