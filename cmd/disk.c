/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm disk: images outside of VMs. Its members are commands of their own, cmd/disk-*.c; here is what they share.
 */
#include "disk.h"

#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

int disk_command_status(int result)
{
	return result == -EUSAGE ? LKVM_STATUS_USAGE : result < 0 ? LKVM_STATUS_ERROR : 0;
}

bool disk_command_operands(const char *names, int argc, char **argv, int least, int most)
{
	if (argc < least)
		log_error(EUSAGE, "lkvm disk: too few operands (say %s)", names);
	else if (argc > most)
		log_error(EUSAGE, "%s: one operand too many (say %s)", argv[most], names);
	return argc >= least && argc <= most;
}

int disk_command_size(const char *text, uint64_t *size)
{
	if (!parse_size(text, 1, size) && *size && *size % 512 == 0)
		return 0;
	return log_error(EUSAGE, "'%s' is no size of a disk (say 512M, 10G, or bytes, a multiple of 512)", text);
}

void disk_command_source(struct disk_options *options, const struct config *config, const char *path)
{
	/* disk_open() copies what it keeps */
	options->path = (char *)(uintptr_t)path;
	if (!options->format)
		options->format = (char *)(uintptr_t)config_string(config, "format");
	options->backing_any = config_flag(config, "backing-any");
}

int disk_command_open(struct image *image, const struct config *config, const char *path, struct disk_options options)
{
	disk_command_source(&options, config, path);
	return image_open(image, &options);
}

/* ---- new images ---- */

static int new_flag(struct keyval *keyval, const char *key, bool *flag)
{
	return keyval_bool(keyval, "options", key, flag);
}

static int new_by_names(struct keyval *keyval, struct image_options *options)
{
	const char *cluster = keyval_get(keyval, "cluster_size"), *subformat = keyval_get(keyval, "subformat"), *compression = keyval_get(keyval, "compression_type");
	uint64_t size;
	int result = new_flag(keyval, "extended_l2", &options->extended_l2);

	if (!result)
		result = new_flag(keyval, "lazy_refcounts", &options->lazy_refcounts);
	if (result)
		return result;
	if (cluster && (parse_size(cluster, 1, &size) || !size || size > MIB(2)))
		return log_error(EUSAGE, "--options: clusters of '%s' can't be (a power of 2 from 512 to 2M)", cluster);
	if (cluster)
		options->cluster_size = (uint32_t)size;
	if (compression && strcmp(compression, "zlib") && strcmp(compression, "zstd"))
		return log_error(EUSAGE, "--options: compression_type '%s' is not known (say zlib or zstd)", compression);
	/* the only two that any format has */
	if (subformat && strcmp(subformat, "fixed") && strcmp(subformat, "dynamic"))
		return log_error(EUSAGE, "--options: subformat '%s' is not known (say dynamic or fixed)", subformat);
	if (subformat)
		options->subformat = *subformat == 'f' ? "fixed" : "dynamic";
	if (compression)
		options->zstd = !strcmp(compression, "zstd");
	return keyval_done(keyval, "options", "cluster_size=, extended_l2=, lazy_refcounts=, compression_type=, subformat=");
}

int disk_command_new(const struct config *config, struct image_options *options)
{
	int result = 0;

	options->cluster_size = (uint32_t)config_uint(config, "cluster-size");
	options->extended_l2 = config_flag(config, "extended-l2");
	options->lazy_refcounts = config_flag(config, "lazy-refcounts");
	options->zstd = config_flag(config, "zstd");
	options->force = config_flag(config, "force");
	for (size_t i = 0; i < config_count(config, "options") && !result; i++) {
		struct keyval keyval;

		result = keyval_parse(&keyval, "options", config_item(config, "options", i), false);
		if (result)
			break;
		result = new_by_names(&keyval, options);
		keyval_free(&keyval);
	}
	return result;
}

/* ---- the bar, and being stopped ---- */

#define BAR_WIDTH 40

static const int ending_signals[] = { SIGINT, SIGTERM, SIGHUP };
_Static_assert(ARRAY_SIZE(ending_signals) == ARRAY_SIZE(((struct progress *)NULL)->before), "one place each");

static volatile sig_atomic_t ending_signal;

static void end_asked(int number)
{
	ending_signal = number;
}

static void bar_draw(struct progress *progress, uint64_t done, uint64_t total)
{
	int percent = (int)((double)done * 100 / (double)total);
	char bar[BAR_WIDTH + 1];

	if (progress->shown < 0 || percent == progress->shown)
		return;
	progress->shown = percent;
	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i * 100 < percent * BAR_WIDTH ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	dprintf(STDERR_FILENO, "\r%s %s %3d %%", progress->what, bar, percent);
}

static void bar_clear(const struct progress *progress)
{
	if (progress->shown >= 0)
		dprintf(STDERR_FILENO, "\r\033[K");
}

static int progress_at(struct image_progress *image, uint64_t done, uint64_t total)
{
	struct progress *progress = container_of(image, struct progress, image);

	if (!ending_signal) {
		bar_draw(progress, done, total);
		return 0;
	}
	bar_clear(progress);
	progress->shown = -1;
	return log_error(EINTR, "disk: ended by signal %d", (int)ending_signal);
}

void progress_begin(struct progress *progress, const char *what)
{
	const struct sigaction action = { .sa_handler = end_asked, .sa_flags = SA_RESTART };

	*progress = (struct progress){ .image.at = progress_at, .what = what, .shown = isatty(STDERR_FILENO) ? 0 : -1 };
	ending_signal = 0;
	for (size_t i = 0; i < ARRAY_SIZE(ending_signals); i++)
		sigaction(ending_signals[i], &action, &progress->before[i]);
}

void progress_end(struct progress *progress)
{
	bar_clear(progress);
	progress->shown = -1;
	for (size_t i = 0; i < ARRAY_SIZE(ending_signals); i++)
		sigaction(ending_signals[i], &progress->before[i], NULL);
}

static struct command disk_command = {
	.name = "disk",
	.help = "Make, describe, check and convert images",
	.family = true,
};
COMMAND(disk_command);
