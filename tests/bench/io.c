/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads from a block device inside a guest, and prints how fast: static, so that an initramfs is enough.
 *
 *	io DEVICE SIZE DEPTH SECONDS [seq]
 *
 * Random (or sequential) direct reads of SIZE bytes with DEPTH requests in flight, by libaio, for SECONDS.
 * Prints: io SIZE DEPTH reads_per_second bytes_per_second
 */
#include <fcntl.h>
#include <libaio.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define DEPTH_MAX 64

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* xorshift64: the same blocks in every run */
static uint64_t next_block(uint64_t *state, uint64_t blocks, int sequential)
{
	if (sequential)
		return (*state)++ % blocks;
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % blocks;
}

int main(int argc, char **argv)
{
	struct iocb blocks[DEPTH_MAX], *free_list[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
	io_context_t context = NULL;
	uint64_t bytes = 0, state = 88172645463325252ULL, done = 0;
	size_t size;
	int fd, depth, sequential;
	double seconds, begin;

	if (argc < 5)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	depth = (int)strtol(argv[3], NULL, 0);
	seconds = strtod(argv[4], NULL);
	sequential = argc > 5;
	fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) || bytes < size || depth < 1 || depth > DEPTH_MAX ||
	    io_setup(DEPTH_MAX, &context)) {
		perror(argv[1]);
		return 1;
	}
	begin = now();
	for (int i = 0; i < depth; i++) {
		void *buffer;

		if (posix_memalign(&buffer, 4096, size))
			return 1;
		free_list[i] = &blocks[i];
		io_prep_pread(&blocks[i], fd, buffer, size, (off_t)(next_block(&state, bytes / size, sequential) * size));
	}
	if (io_submit(context, depth, free_list) != depth)
		return 1;
	while (now() - begin < seconds) {
		int got = io_getevents(context, 1, DEPTH_MAX, events, NULL);

		if (got <= 0)
			return 1;
		for (int i = 0; i < got; i++) {
			struct iocb *block = events[i].obj;

			if ((size_t)events[i].res != size)
				return 1;
			free_list[i] = block;
			io_prep_pread(block, fd, block->u.c.buf, size,
				      (off_t)(next_block(&state, bytes / size, sequential) * size));
		}
		done += (uint64_t)got;
		if (io_submit(context, got, free_list) != got)
			return 1;
	}
	seconds = now() - begin;
	printf("io %zu %d %.0f %.0f\n", size, depth, (double)done / seconds, (double)done * (double)size / seconds);
	return 0;
}
