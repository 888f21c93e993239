/* SPDX-License-Identifier: BSD-2-Clause */
/* What the members of `lkvm disk` share: opening the images they are given, exit statuses, and a bar while they work. */
#ifndef CMD_DISK_H
#define CMD_DISK_H

#include <signal.h>

#include "kvm/command.h"
#include "kvm/image.h"

/* For the option table of a command that opens images. */
#define DISK_IMAGE_OPTIONS									\
	{ .name = "format", .letter = 'f', .type = OPTION_STRING, .argument = "FORMAT",		\
	  .help = "The image's format (default: what its first bytes look like)" },		\
	{ .name = "backing-any", .type = OPTION_FLAG,						\
	  .help = "Let an image whose format wasn't said refer to files in other folders" }
/* For that of a command that makes images. */
#define DISK_NEW_OPTIONS									\
	{ .name = "cluster-size", .type = OPTION_SIZE, .argument = "SIZE", .max = MIB(2),	\
	  .help = "qcow2: what is allocated at once, a power of 2 from 512 to 2M (default: 64K)" }, \
	{ .name = "extended-l2", .type = OPTION_FLAG, .help = "qcow2: with 32 subclusters in a cluster" }, \
	{ .name = "lazy-refcounts", .type = OPTION_FLAG,					\
	  .help = "qcow2: refcounts may be written late, to be repaired after a crash" },	\
	{ .name = "zstd", .type = OPTION_FLAG, .help = "qcow2: compressed clusters are compressed by zstd" }, \
	{ .name = "options", .letter = 'o', .type = OPTION_LIST, .argument = "NAME=VALUE[,...]", \
	  .help = "The same by the names of qemu-img: cluster_size=, extended_l2=, lazy_refcounts=, compression_type=, of VHD subformat=" }, \
	{ .name = "force", .type = OPTION_FLAG, .help = "Over a file that exists, or on a block device" }
#define DISK_JSON_OPTION { .name = "json", .type = OPTION_FLAG, .help = "Print JSON" }

/** disk_command_status() - the exit status for a negative errno, or for 0 */
int disk_command_status(int result);
/** disk_command_operands() - whether there are @least to @most of them; says which are missing, or too many */
bool disk_command_operands(const char *names, int argc, char **argv, int least, int most);
/** disk_command_size() - @text as a size in bytes, a multiple of 512; -EUSAGE (said) */
int __must_check disk_command_size(const char *text, uint64_t *size);

/** disk_command_new() - what DISK_NEW_OPTIONS say; -EUSAGE (said) */
int __must_check disk_command_new(const struct config *config, struct image_options *options);

/** disk_command_source() - fills in @path and what DISK_IMAGE_OPTIONS say; @options may not outlive them */
void disk_command_source(struct disk_options *options, const struct config *config, const char *path);
/** disk_command_open() - @options gives how; its path and what DISK_IMAGE_OPTIONS say is filled in */
int __must_check disk_command_open(struct image *image, const struct config *config, const char *path,
				   struct disk_options options);

/*
 * A bar on stderr, if that is a terminal. Meanwhile SIGINT, SIGTERM and SIGHUP make the call that tells of its progress
 * fail, so that it leaves nothing behind.
 */
struct progress {
	struct image_progress image;
	const char *what;
	int shown;			/* percent, or -1: no bar */
	struct sigaction before[3];
};

void progress_begin(struct progress *progress, const char *what);
/** progress_end() - takes the bar away */
void progress_end(struct progress *progress);

#endif
