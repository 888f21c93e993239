/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The corpora as they are kept: a file a target, in which each input stands behind its length (4 bytes, little-endian).
 *
 *	pack DIR FILE           the files of DIR, smallest first
 *	pack -x FILE DIR        and back, each called by its number
 *	pack -i FLAGS IMAGE     an image in pieces, as tests/fuzz/disk.c takes it, to standard output
 */
#include <dirent.h>
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ZEROES		16		/* shorter runs of them are part of a piece */

struct input {
	uint8_t *bytes;
	size_t length;
};

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static uint8_t *read_whole(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;
	struct stat status;

	if (file && !fstat(fileno(file), &status) && S_ISREG(status.st_mode)) {
		*length = (size_t)status.st_size;
		bytes = malloc(*length + 1);
		if (bytes && fread(bytes, 1, *length, file) != *length) {
			free(bytes);
			bytes = NULL;
		}
	}
	if (file)
		fclose(file);
	return bytes;
}

static void put32(FILE *file, size_t value)
{
	uint32_t encoded = htole32((uint32_t)value);

	fwrite(&encoded, sizeof(encoded), 1, file);
}

static int by_length(const void *a, const void *b)
{
	const struct input *left = a, *right = b;

	if (left->length != right->length)
		return left->length < right->length ? -1 : 1;
	return memcmp(left->bytes, right->bytes, left->length);
}

static int pack(const char *folder, const char *to)
{
	struct input *inputs = NULL;
	size_t count = 0;
	char path[4096];
	struct dirent *entry;
	DIR *dir = opendir(folder);
	FILE *out = dir ? fopen(to, "wb") : NULL;

	if (!out)
		return fail(dir ? to : folder);
	while ((entry = readdir(dir))) {
		struct input input;

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] == '.' || !(input.bytes = read_whole(path, &input.length)))
			continue;
		inputs = realloc(inputs, (count + 1) * sizeof(*inputs));
		if (!inputs)
			return fail(folder);
		inputs[count++] = input;
	}
	closedir(dir);
	if (count)
		qsort(inputs, count, sizeof(*inputs), by_length);
	for (size_t i = 0; i < count; i++) {
		put32(out, inputs[i].length);
		fwrite(inputs[i].bytes, 1, inputs[i].length, out);
		free(inputs[i].bytes);
	}
	free(inputs);
	return fclose(out) ? fail(to) : 0;
}

static int unpack(const char *from, const char *folder)
{
	size_t length, at = 0, number = 0;
	uint8_t *bytes = read_whole(from, &length);
	char path[4096];

	if (!bytes)
		return fail(from);
	while (at + 4 <= length) {
		uint32_t size;
		FILE *out;

		memcpy(&size, bytes + at, sizeof(size));
		size = le32toh(size);
		at += 4;
		if (size > length - at)
			break;
		snprintf(path, sizeof(path), "%s/%zu", folder, number++);
		out = fopen(path, "wb");
		if (!out || fwrite(bytes + at, 1, size, out) != size || fclose(out))
			return fail(path);
		at += size;
	}
	free(bytes);
	if (at == length)
		return 0;
	fprintf(stderr, "%s: it ends in the middle of an input\n", from);
	return 1;
}

static int in_pieces(unsigned int flags, const char *path)
{
	size_t length, at = 0;
	uint8_t *bytes = read_whole(path, &length);

	if (!bytes)
		return fail(path);
	putchar((int)flags);
	put32(stdout, length);
	while (at < length) {
		size_t end, zeroes = 0;

		if (!bytes[at]) {
			at++;
			continue;
		}
		for (end = at; end < length && zeroes < ZEROES && end - at < 60000; end++)
			zeroes = bytes[end] ? 0 : zeroes + 1;
		end -= zeroes;
		put32(stdout, at);
		putchar((int)((end - at) & 255));
		putchar((int)((end - at) >> 8));
		fwrite(bytes + at, 1, end - at, stdout);
		at = end;
	}
	free(bytes);
	return fflush(stdout) ? fail("standard output") : 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "-x"))
		return unpack(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "-i"))
		return in_pieces((unsigned int)strtoul(argv[2], NULL, 0), argv[3]);
	if (argc == 3)
		return pack(argv[1], argv[2]);
	fprintf(stderr, "usage: pack DIR FILE | pack -x FILE DIR | pack -i FLAGS IMAGE\n");
	return 2;
}
