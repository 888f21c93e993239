/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of `lkvm disk`: the folder of disk-driver.h, commands run in this process, and images that hold something. */
#ifndef TESTS_UNIT_DISK_COMMAND_H
#define TESTS_UNIT_DISK_COMMAND_H

#include "tests/unit/disk-driver.h"

#include <sys/mman.h>

#include "kvm/command.h"
#include "kvm/image.h"
#include "kvm/kvm.h"
#include "kvm/option.h"

static char output[65536];

/* Runs `lkvm @format` (words at blanks), keeps what it prints and says; the status. */
static int printf_like(1, 2) lkvm(const char *format, ...)
{
	int saved = dup(STDOUT_FILENO), fd = memfd_create("output", MFD_CLOEXEC), count = 1, status;
	char line[1024], *words[32] = { (char *)"lkvm" }, *rest = NULL;
	va_list arguments;
	ssize_t length;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	driver_said[0] = '\0';
	for (char *word = strtok_r(line, " ", &rest); word && count < 31; word = strtok_r(NULL, " ", &rest))
		words[count++] = word;
	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	status = command_main(count, words);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	length = pread(fd, output, sizeof(output) - 1, 0);
	output[MAX(length, (ssize_t)0)] = '\0';
	close(fd);
	return status;
}

#define lkvm_ok(...) do {									\
		int status_ = lkvm(__VA_ARGS__);						\
		ck_assert_msg(!status_, "status %d: %s", status_, driver_said);		\
	} while (0)

#define lkvm_fails(status, because, ...) do {							\
		ck_assert_int_eq(lkvm(__VA_ARGS__), status);					\
		ck_assert_msg(strstr(driver_said, because) != NULL, "expected '%s' in '%s'", because, driver_said); \
	} while (0)

static inline bool have_qemu_img(void)
{
	return !system("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null");
}

/* For the main() of tests that are nothing without QEMU's programs. */
static inline bool suite_has_qemu_img(const char *name)
{
	if (have_qemu_img())
		return true;
	printf("SKIP %s: qemu-img and qemu-io aren't installed (scripts/deps test)\n", name);
	return false;
}

static inline bool file_exists(const char *path)
{
	return !access(path, F_OK);
}

static inline unsigned int files_in_folder(void)
{
	return (unsigned int)shell("exit $(ls -A | wc -l)") >> 8;
}

/* A raw image with something at its beginning, in its middle and at its end, and holes between. */
static inline void make_raw(const char *path, uint64_t size)
{
	uint64_t state = 7, places[] = { 0, MIN(size / 2 / 4096 * 4096, MIB(1) + 512), size - 1536 };
	uint8_t bytes[1536];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		for (size_t n = 0; n < sizeof(bytes); n++)
			bytes[n] = (uint8_t)random_next(&state);
		file_poke(path, places[i], bytes, sizeof(bytes));
	}
}

static inline uint64_t file_allocated(const char *path)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

#endif
