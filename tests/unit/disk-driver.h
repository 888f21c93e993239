/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of disk/: a folder of images, one attached disk, and requests on it that are waited for. */
#ifndef TESTS_UNIT_DISK_DRIVER_H
#define TESTS_UNIT_DISK_DRIVER_H

#include "tests/unit/board.h"
#include "tests/unit/disk-engines.h"

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/disk.h"
#include "tests/unit/folder.h"

static char driver_said[1024];
static struct event_loop *driver_loop;
static struct disk *driver_disk;

static void driver_keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(driver_said, sizeof(driver_said), "%s", line);
}

static void disk_driver_setup(void)
{
	folder_enter();
	log_set_sink(driver_keep_line);
	driver_said[0] = 0;
	ck_assert_int_eq(event_loop_create(&driver_loop, "test"), 0);
}

static inline void driver_close(void)
{
	if (driver_disk) {
		disk_detach(driver_disk);
		disk_close(driver_disk);
	}
	driver_disk = NULL;
}

static inline int shell(const char *format, ...) printf_like(1, 2);
static inline int shell(const char *format, ...)
{
	char command[4096];
	va_list arguments;

	va_start(arguments, format);
	ck_assert_int_lt(vsnprintf(command, sizeof(command), format, arguments), (int)sizeof(command));
	va_end(arguments);
	return system(command);
}

static void disk_driver_teardown(void)
{
	driver_close();
	event_loop_destroy(driver_loop);
	log_set_sink(NULL);
	folder_leave();
}

/* "image,options"; opened but not attached. */
static int driver_try_open(const char *text)
{
	struct disk_options options;
	int result;

	ck_assert_int_eq(disk_options_parse(&options, text), 0);
	if (*engine_option)
		options.aio = disk_aio_find(strchr(engine_option, '=') + 1);
	result = disk_open(&driver_disk, &options);
	disk_options_free(&options);
	return result;
}

static inline void driver_open(const char *text)
{
	int result = driver_try_open(text);

	ck_assert_msg(!result, "%s: %d, %s", text, result, driver_said);
	ck_assert_int_eq(disk_attach(driver_disk, driver_loop, NULL, NULL), 0);
}

static inline void driver_refused(const char *text, const char *because)
{
	driver_said[0] = 0;
	ck_assert_msg(driver_try_open(text) < 0, "%s was opened; expected '%s'", text, because);
	ck_assert_msg(strstr(driver_said, because) != NULL, "%s: expected '%s' in '%s'", text, because, driver_said);
}

/* ---- requests ---- */

struct driver_request {
	struct disk_request io;
	int result;
	bool done;
};

static inline void driver_request_done(struct disk_request *io, int result)
{
	struct driver_request *request = container_of(io, struct driver_request, io);

	ck_assert(!request->done);
	request->done = true;
	request->result = result;
}

static inline void driver_queue(struct driver_request *request, enum disk_op op, uint64_t offset, uint64_t length,
				const struct iovec *iov, unsigned int count)
{
	*request = (struct driver_request){ .io = { .op = op, .offset = offset, .length = length, .iov = iov,
						    .iov_count = count, .done = driver_request_done } };
	disk_queue(driver_disk, &request->io);
}

static inline int driver_run(enum disk_op op, uint64_t offset, void *data, uint64_t length)
{
	struct iovec iov = { data, length };
	struct driver_request request;
	uint64_t end = event_now_ns() + 20000000000ULL;

	driver_queue(&request, op, offset, length, data ? &iov : NULL, data ? 1 : 0);
	disk_submit(driver_disk);
	while (!request.done && event_now_ns() < end)
		event_loop_poll(driver_loop, 10);
	ck_assert_msg(request.done, "a request didn't complete in 20 s");
	return request.result;
}

/* ---- files beside the disk ---- */

static inline void file_poke(const char *path, uint64_t at, const void *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, length, (off_t)at), (ssize_t)length);
	close(fd);
}

static inline uint64_t file_size(const char *path)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	return (uint64_t)status.st_size;
}

/* The whole of a file, to be freed. */
static inline uint8_t *file_read(const char *path, uint64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes = malloc(file_size(path) + 1);

	ck_assert_int_ge(fd, 0);
	*size = file_size(path);
	ck_assert_int_eq(read(fd, bytes, *size), (ssize_t)*size);
	close(fd);
	return bytes;
}

/* Small, repeatable randomness. */
static inline uint32_t random_next(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*state >> 33);
}

#endif
