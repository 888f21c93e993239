/* SPDX-License-Identifier: BSD-2-Clause */
/* What fuzz targets share; see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kvm/arch.h"
#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/pool.h"

#define LOOPS_MAX	8
#define TURNS_MAX	64

static struct fuzz_target *registered;
static struct event_loop *loops[LOOPS_MAX];
static unsigned int loop_count;
static char folder[PATH_MAX];
static pid_t folder_owner;

void fuzz_register(struct fuzz_target *target)
{
	target->next = registered;
	registered = target;
}

struct fuzz_target *fuzz_targets(void)
{
	return registered;
}

void fuzz_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: this must hold: %s\n", file, line, what);
	abort();
}

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

void fuzz_begin(const struct fuzz_target *target)
{
	const struct rlimit limit = { FUZZ_IMAGE_MAX, FUZZ_IMAGE_MAX };

	/* A guest that fills the host's disk is not what is looked for. */
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGPIPE, SIG_IGN);
	/* FUZZ_SAY=1: to see why something is refused */
	if (!getenv("FUZZ_SAY"))
		log_set_sink(hush);
	if (target->begin)
		target->begin(target);
}

void fuzz_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
{
	uint8_t *copy = malloc(length ? length : 1);

	FUZZ_CHECK(copy);
	if (length)
		memcpy(copy, data, length);
	target->one(target, copy, length);
	free(copy);
}

/* ---- inputs ---- */

const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t length, size_t *got)
{
	const uint8_t *bytes = input->at;

	*got = MIN(length, input->left);
	input->at += *got;
	input->left -= *got;
	return bytes;
}

uint64_t fuzz_number(struct fuzz_input *input, unsigned int count)
{
	uint64_t value = 0;
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, count, &got);

	for (size_t i = 0; i < got; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

char *fuzz_text(struct fuzz_input *input)
{
	size_t got;
	const uint8_t *bytes = fuzz_bytes(input, input->left, &got);
	char *text = malloc(got + 1);

	FUZZ_CHECK(text);
	memcpy(text, bytes, got);
	text[got] = 0;
	return text;
}

/* ---- files ---- */

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	(void)stat;
	(void)type;
	(void)where;
	return remove(path);
}

static void folder_remove(void)
{
	if (folder_owner == getpid())
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
	const char *where = getenv("TMPDIR");
	char template[PATH_MAX];

	if (folder_owner == getpid())
		return folder;
	snprintf(template, sizeof(template), "%s/lkvm-fuzz-XXXXXX", where ? where : "/tmp");
	FUZZ_CHECK(mkdtemp(template));
	FUZZ_CHECK(realpath(template, folder));
	folder_owner = getpid();
	atexit(folder_remove);
	return folder;
}

static int file_make(const char *name, char path[PATH_MAX])
{
	int fd;

	FUZZ_CHECK((size_t)snprintf(path, PATH_MAX, "%s/%s", fuzz_folder(), name) < PATH_MAX);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	return fd;
}

const char *fuzz_write_file(const char *name, const void *bytes, size_t length)
{
	static char path[PATH_MAX];
	int fd = file_make(name, path);

	FUZZ_CHECK(write(fd, bytes, length) == (ssize_t)length);
	close(fd);
	return path;
}

const char *fuzz_write_image(const char *name, struct fuzz_input *input)
{
	uint64_t size = fuzz_u32(input) % (FUZZ_IMAGE_MAX + 1);
	static char path[PATH_MAX];
	int fd = file_make(name, path);

	FUZZ_CHECK(!ftruncate(fd, (off_t)size));
	while (input->left) {
		uint64_t at = fuzz_u32(input);
		size_t length = fuzz_u16(input), got;
		const uint8_t *bytes = fuzz_bytes(input, length, &got);

		if (at < size)
			got = MIN(got, (size_t)(size - at));
		FUZZ_CHECK(at >= size || pwrite(fd, bytes, got, (off_t)at) == (ssize_t)got);
	}
	close(fd);
	return path;
}

/* ---- what there is not: these stand in the place of threads, and of KVM (--wrap in rules.mk) ---- */

int __wrap_event_loop_start_thread(struct event_loop *loop);
void __wrap_event_loop_destroy(struct event_loop *loop);
void __real_event_loop_destroy(struct event_loop *loop);
void __wrap_pool_submit(struct pool *pool, struct pool_job *job);

int __wrap_event_loop_start_thread(struct event_loop *loop)
{
	FUZZ_CHECK(loop_count < LOOPS_MAX);
	loops[loop_count++] = loop;
	return 0;
}

void __wrap_event_loop_destroy(struct event_loop *loop)
{
	for (unsigned int i = 0; i < loop_count; i++)
		if (loops[i] == loop)
			loops[i--] = loops[--loop_count];
	__real_event_loop_destroy(loop);
}

void __wrap_pool_submit(struct pool *pool, struct pool_job *job)
{
	(void)pool;
	job->run(job);
}

int __wrap_arch_vm_reset(struct kvm *kvm);

int __wrap_arch_vm_reset(struct kvm *kvm)
{
	(void)kvm;
	return 0;
}

void fuzz_settle(struct event_loop *loop)
{
	for (unsigned int turn = 0, busy = 1; turn < TURNS_MAX && busy; turn++) {
		busy = 0;
		for (unsigned int i = 0; i < loop_count; i++)
			busy |= event_loop_poll(loops[i], 0) > 0;
		if (loop)
			busy |= event_loop_poll(loop, 0) > 0;
	}
}
