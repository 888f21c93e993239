/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files that are booted: opening them, reading them straight into guest RAM, and finding the kernel that
 * is meant when no one is named. Called by core/boot.c and the boot protocols on the main thread; a file may
 * change or shrink between two reads, so every length is checked when it is used.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "kvm/arch.h"
#include "kvm/boot.h"
#include "kvm/io.h"
#include "kvm/log.h"

/* Takes @fd. */
static int file_take(struct boot_file *file, const char *what, const char *path, int fd_)
{
	_cleanup_close_ int fd = fd_;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return log_errno(errno, "%s '%s'", what, path);
	if (!S_ISREG(status.st_mode))
		return log_error(EINVAL, "%s '%s': not a regular file", what, path);
	if (status.st_size == 0)
		return log_error(EINVAL, "%s '%s': the file is empty", what, path);

	file->path = strdup(path);
	if (!file->path)
		return log_errno(ENOMEM, "%s '%s'", what, path);
	file->what = what;
	file->size = status.st_size;
	file->fd = take_fd(&fd);
	return 0;
}

int boot_file_open(struct boot_file *file, const char *what, const char *path)
{
	/* O_NONBLOCK: a FIFO must not hang us before fstat() says what it is. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? log_errno(errno, "%s '%s': can't open it", what, path) : file_take(file, what, path, fd);
}

int boot_file_take(struct boot_file *file, const char *what, const char *name, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? log_errno(errno, "%s", what) : file_take(file, what, name, copy);
}

void boot_file_close(struct boot_file *file)
{
	if (!file->path)
		return;
	close(file->fd);
	free(file->path);
	file->path = NULL;
}

ssize_t boot_file_peek(const struct boot_file *file, uint64_t offset, void *buffer, size_t length)
{
	return fd_read_at(file->fd, offset, buffer, length);
}

static int file_truncated(const struct boot_file *file, uint64_t offset, uint64_t length)
{
	return log_error(EINVAL, "%s '%s': truncated: it should have %llu bytes, it has %llu",
			 file->what, file->path, (unsigned long long)(offset + length),
			 (unsigned long long)file->size);
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *buffer, size_t length)
{
	ssize_t n = boot_file_peek(file, offset, buffer, length);

	if (n < 0)
		return log_errno((int)-n, "%s '%s': can't read it", file->what, file->path);
	if ((size_t)n < length)
		return file_truncated(file, offset, length);
	return 0;
}

/* fill_segments() - fills @iov from @offset, whole; 0, -ENODATA at the file's end, or negative errno */
static int fill_segments(const struct boot_file *file, uint64_t offset, struct iovec *iov,
			 int count)
{
	while (count > 0) {
		ssize_t n = preadv(file->fd, iov, count, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		offset += (uint64_t)n;
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= n;
		}
	}
	return 0;
}

/* It is read straight into memory, and fill_segments() has used the segments up. */
static void boot_file_dirty(struct kvm *kvm, uint64_t length, gpa_t to)
{
	struct iovec iov[RAM_RANGES_MAX];
	int count = memory_iov(&kvm->memory, to, length, true, iov, ARRAY_SIZE(iov));

	for (int i = 0; i < count; i++)
		memory_dirty(&kvm->memory, iov[i].iov_base, iov[i].iov_len);
}

int boot_file_load(struct kvm *kvm, const struct boot_file *file, uint64_t offset, uint64_t length,
		   gpa_t to)
{
	struct iovec iov[RAM_RANGES_MAX];
	int count, error;

	count = memory_iov(&kvm->memory, to, length, true, iov, ARRAY_SIZE(iov));
	if (count < 0)
		return log_error(-count,
				 "%s '%s': %llu bytes at 0x%llx don't fit into guest RAM (a "
				 "larger --mem may help)",
				 file->what, file->path, (unsigned long long)length,
				 (unsigned long long)to.value);
	error = fill_segments(file, offset, iov, count);
	boot_file_dirty(kvm, length, to);
	if (error == -ENODATA)
		return file_truncated(file, offset, length);
	if (error < 0)
		return log_errno(-error, "%s '%s': can't read it", file->what, file->path);
	return 0;
}

/* ---- the kernel that is booted without -k ---- */

static bool newer(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* newest_match() - the newest readable regular file that @pattern matches, to be freed, or NULL */
static char *newest_match(const char *pattern)
{
	struct timespec newest = { 0 };
	const char *best = NULL;
	char *found = NULL;
	glob_t matches;

	if (glob(pattern, 0, NULL, &matches) != 0)
		return NULL;
	for (size_t i = 0; i < matches.gl_pathc; i++) {
		const char *path = matches.gl_pathv[i];
		struct stat status;

		if (stat(path, &status) < 0 || !S_ISREG(status.st_mode) || access(path, R_OK) < 0)
			continue;
		if (best && !newer(&status.st_mtim, &newest))
			continue;
		best = path;
		newest = status.st_mtim;
	}
	if (best)
		found = strdup(best);
	globfree(&matches);
	return found;
}

/* newest_in() - the same for @pattern in @folder, which is taken as it is written */
static char *newest_in(const char *folder, const char *pattern)
{
	_cleanup_free_ char *escaped = calloc(2, strlen(folder) + 1);
	_cleanup_free_ char *text = NULL;
	size_t used = 0;

	if (!escaped)
		return NULL;
	for (const char *at = folder; *at; at++) {
		if (strchr("*?[\\", *at))
			escaped[used++] = '\\';
		escaped[used++] = *at;
	}
	if (asprintf(&text, "%s%s%s", escaped, used ? "/" : "", pattern) < 0)
		return NULL;
	return newest_match(text);
}

/* built_in() - what make has left in a source or build folder, "" for this one */
static char *built_in(const char *folder)
{
	char *found = NULL;

	for (const char *const *name = arch_kernel_names; *name && !found; name++)
		found = newest_in(folder, *name);
	for (const char *const *name = arch_kernel_names; *name && !found; name++) {
		char pattern[64];

		if ((size_t)snprintf(pattern, sizeof(pattern), "arch/*/boot/%s", *name) <
		    sizeof(pattern))
			found = newest_in(folder, pattern);
	}
	return found;
}

char *boot_find_kernel(void)
{
	char *found = built_in("");

	return found ? found : newest_match("/boot/vmlinuz-*");
}

char *boot_find_kernel_named(const char *name)
{
	char *found, *path;

	found = built_in(name);
	if (!found)
		found = newest_in(name, "boot/vmlinuz-*");
	if (!found)
		found = newest_in(name, "vmlinuz*");
	if (found || strchr(name, '/') || asprintf(&path, "/boot/vmlinuz-%s", name) < 0)
		return found;
	if (access(path, R_OK) == 0)
		return path;
	free(path);
	if (asprintf(&path, "/lib/modules/%s/vmlinuz", name) < 0)
		return NULL;
	if (access(path, R_OK) == 0)
		return path;
	free(path);
	return NULL;
}
