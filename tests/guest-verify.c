/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For guests of tests: works on a block device at random for some seconds, from several threads, past the guest's cache, and
 * looks at all that it reads. What each sector has to hold follows from its number and from how often it was written.
 *
 * usage: verify DEVICE SECONDS [SEED]	the device begins as zeroes; prints "verify DEVICE: right, N operations" or what is wrong
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECTOR		512u
#define THREADS		4u
#define MOST		256u		/* sectors at once */
#define UNKNOWN		UINT32_MAX	/* discarded: whatever it is */

static int device;
static const char *name;
static uint64_t seed, sectors, end_ns;
static uint32_t *generations;		/* of each sector; 0: zeroes. Each thread has its own stretch of them */

struct worker {
	pthread_t thread;
	uint64_t first, count;		/* sectors */
	uint64_t random;
	uint32_t generation;
	unsigned long operations;
	uint8_t *buffer;
};

static uint64_t mix(uint64_t value)
{
	value ^= value >> 30;
	value *= 0xbf58476d1ce4e5b9;
	value ^= value >> 27;
	value *= 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static uint64_t next_random(struct worker *worker)
{
	worker->random += 0x9e3779b97f4a7c15;
	return mix(worker->random);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void wrong(const char *what, uint64_t sector)
{
	printf("verify %s: WRONG: %s at sector %llu\n", name, what, (unsigned long long)sector);
	fflush(stdout);
	_exit(1);
}

static void failed(const char *what, uint64_t sector)
{
	char text[128];

	snprintf(text, sizeof(text), "%s failed: %s", what, strerror(errno));
	wrong(text, sector);
}

static void fill(uint64_t *words, uint64_t sector, uint32_t generation)
{
	uint64_t value = mix(seed ^ sector << 32 ^ generation);

	for (unsigned int i = 0; i < SECTOR / 8; i++)
		words[i] = generation ? value + i : 0;
}

static void check(const uint8_t *bytes, uint64_t sector, uint64_t count)
{
	uint64_t want[SECTOR / 8];

	for (uint64_t i = 0; i < count; i++) {
		if (generations[sector + i] == UNKNOWN)
			continue;
		fill(want, sector + i, generations[sector + i]);
		if (memcmp(bytes + i * SECTOR, want, SECTOR) != 0)
			wrong("not what was written", sector + i);
	}
}

static void set(uint64_t sector, uint64_t count, uint32_t generation)
{
	for (uint64_t i = 0; i < count; i++)
		generations[sector + i] = generation;
}

static void do_read(struct worker *worker, uint64_t sector, uint64_t count)
{
	if (pread(device, worker->buffer, count * SECTOR, (off_t)(sector * SECTOR)) != (ssize_t)(count * SECTOR))
		failed("a read", sector);
	check(worker->buffer, sector, count);
}

static void do_write(struct worker *worker, uint64_t sector, uint64_t count)
{
	worker->generation++;
	for (uint64_t i = 0; i < count; i++)
		fill((uint64_t *)(void *)(worker->buffer + i * SECTOR), sector + i, worker->generation);
	if (pwrite(device, worker->buffer, count * SECTOR, (off_t)(sector * SECTOR)) != (ssize_t)(count * SECTOR))
		failed("a write", sector);
	set(sector, count, worker->generation);
}

/* A disk that can't is none the worse. */
static void do_range(unsigned long request, uint64_t sector, uint64_t count, uint32_t then)
{
	uint64_t range[2] = { sector * SECTOR, count * SECTOR };

	if (!ioctl(device, request, range))
		set(sector, count, then);
	else if (errno != EOPNOTSUPP && errno != EINVAL)
		failed(request == BLKDISCARD ? "a discard" : "a write of zeroes", sector);
}

static void *work(void *opaque)
{
	struct worker *worker = opaque;

	for (; now_ns() < end_ns; worker->operations++) {
		uint64_t count = next_random(worker) % MOST + 1, choice = next_random(worker) % 100, sector;

		/* half of them as file systems do it */
		if (choice & 1)
			count = count / 8 * 8 + 8;
		sector = worker->first + next_random(worker) % (worker->count - count);
		if (choice & 1)
			sector &= ~7ULL;
		if (choice < 45)
			do_write(worker, sector, count);
		else if (choice < 88)
			do_read(worker, sector, count);
		else if (choice < 92)
			do_range(BLKDISCARD, sector, count, UNKNOWN);
		else if (choice < 96)
			do_range(BLKZEROOUT, sector, count, 0);
		else if (fdatasync(device))
			failed("a flush", sector);
	}
	return NULL;
}

static void read_all(uint8_t *buffer)
{
	for (uint64_t sector = 0; sector < sectors; sector += MOST) {
		uint64_t count = sectors - sector < MOST ? sectors - sector : MOST;

		if (pread(device, buffer, count * SECTOR, (off_t)(sector * SECTOR)) != (ssize_t)(count * SECTOR))
			failed("a read", sector);
		check(buffer, sector, count);
	}
}

int main(int argc, char **argv)
{
	struct worker workers[THREADS] = { 0 };
	unsigned long operations = 0;
	uint64_t bytes = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: verify DEVICE SECONDS [SEED]\n");
		return 2;
	}
	name = argv[1];
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	device = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (device < 0 || ioctl(device, BLKGETSIZE64, &bytes))
		failed("opening it", 0);
	sectors = bytes / SECTOR;
	generations = calloc(sectors, sizeof(*generations));
	end_ns = now_ns() + strtoull(argv[2], NULL, 0) * 1000000000;
	for (unsigned int i = 0; i < THREADS; i++) {
		/* stretches of whole 4 KiB, so that none writes into another's by rounding */
		workers[i].first = sectors / THREADS / 8 * 8 * i;
		workers[i].count = sectors / THREADS / 8 * 8;
		workers[i].random = seed * 1000003 + i;
		workers[i].buffer = aligned_alloc(4096, (MOST + 8) * SECTOR);
		if (!generations || !workers[i].buffer || pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			failed("memory", 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		operations += workers[i].operations;
	}
	if (fsync(device))
		failed("a flush", 0);
	read_all(workers[0].buffer);
	printf("verify %s: right, %lu operations\n", name, operations);
	return 0;
}
