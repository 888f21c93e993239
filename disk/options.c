/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text behind -d: an image and how to open it.
 */
#include <string.h>

#include "disk/engine.h"
#include "disk/limits.h"
#include "kvm/log.h"
#include "kvm/option.h"

static int option_copy(char **to, const char *from)
{
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : log_errno(ENOMEM, "--disk");
}

/* By QEMU's names: direct I/O, waiting for the medium at each write, and not waiting for it at all. */
static const struct { const char *name; bool direct, write_through, no_flush; } caches[] = {
	{ "writeback", false, false, false }, { "writethrough", false, true, false }, { "none", true, false, false },
	{ "directsync", true, true, false }, { "unsafe", false, false, true },
};

static int options_set_cache(struct disk_options *options, const char *name)
{
	if (!name)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(caches); i++) {
		if (strcmp(caches[i].name, name))
			continue;
		if (options->direct && !caches[i].direct)
			return log_error(EUSAGE, "--disk: cache=%s is not direct (leave ',direct' out, or say cache=none or directsync)",
					 name);
		options->direct |= caches[i].direct;
		options->write_through = caches[i].write_through;
		options->no_flush = caches[i].no_flush;
		return 0;
	}
	return log_error(EUSAGE, "--disk: cache=%s is not known (say writeback, writethrough, none, directsync or unsafe)", name);
}

static int options_set_aio(struct disk_options *options, const char *name)
{
	if (!name)
		return 0;
	options->aio = disk_aio_find(name);
	if (!options->aio && !strcmp(name, "io_uring"))
		return log_error(EUSAGE, "--disk: aio=io_uring is not in this build, which found no liburing (say native or threads)");
	return options->aio ? 0 : log_error(EUSAGE, "--disk: aio=%s is not known (say native, io_uring or threads)", name);
}

/* Bytes may be said as 10M; requests are counted. */
static int get_limit(void *opaque, const char *name, uint64_t *value)
{
	const char *text = keyval_get(opaque, name);
	int result;

	if (!text)
		return 0;
	if (strstr(name, "length") || (!strncmp(name, "iops", 4) && strcmp(name, "iops_size")))
		result = parse_uint(text, value);
	else
		result = parse_size(text, 1, value);
	return result ? log_error(EUSAGE, "--disk: %s=%s is no number", name, text) : 1;
}

static int options_set_limits(struct disk_options *options, struct keyval *keyval)
{
	int result = disk_limits_fill(&options->limits, get_limit, keyval);
	char why[128];

	if (result)
		return result;
	return disk_limits_check(&options->limits, why, sizeof(why)) ? log_error(EUSAGE, "--disk: %s", why) : 0;
}

static int options_set_overlay(struct disk_options *options, struct keyval *keyval)
{
	const char *overlay = keyval_get(keyval, "overlay");
	int result = keyval_bool(keyval, "disk", "snapshot", &options->throw_away);

	/* snapshot=on,overlay=FILE: the same, but for its being kept */
	if (!result && overlay && !*overlay)
		result = log_error(EUSAGE, "--disk: overlay= names no file");
	if (!result && overlay) {
		options->throw_away = false;
		result = option_copy(&options->overlay, overlay);
	}
	return result;
}

static int options_number(struct keyval *keyval, const char *key, unsigned int max, int *number)
{
	const char *text = keyval_get(keyval, key);
	uint64_t value;

	if (!text)
		return 0;
	if (parse_uint(text, &value) || value > max)
		return log_error(EUSAGE, "--disk: %s=%s is not between 0 and %u", key, text, max);
	*number = (int)value;
	return 0;
}

/* if= and media= are QEMU's, for those who know them. */
static int options_set_place(struct disk_options *options, struct keyval *keyval)
{
	const char *interface = keyval_get(keyval, "if"), *media = keyval_get(keyval, "media");
	struct disk_place *place = &options->place;
	int result = keyval_bool(keyval, "disk", "cdrom", &place->cdrom);

	place->target = -1;
	if (media && strcmp(media, "cdrom") && strcmp(media, "disk"))
		return log_error(EUSAGE, "--disk: media=%s is not known (say disk or cdrom)", media);
	if (interface && strcmp(interface, "virtio") && strcmp(interface, "scsi"))
		return log_error(EUSAGE, "--disk: if=%s is not known (say virtio or scsi)", interface);
	place->cdrom |= media && !strcmp(media, "cdrom");
	place->scsi = interface ? !strcmp(interface, "scsi") : place->cdrom;
	if (place->cdrom && !place->scsi)
		return log_error(EUSAGE, "--disk: a CD-ROM is on the SCSI bus (leave if=virtio out)");
	if (!result)
		result = options_number(keyval, "target", 255, &place->target);
	if (!result)
		result = options_number(keyval, "lun", 16383, &place->lun);
	if (!result && ((place->target >= 0 && !place->scsi) || (place->lun && place->target < 0)))
		result = log_error(EUSAGE, "--disk: target= is for if=scsi, and lun= goes with it");
	options->read_only |= place->cdrom;
	return result;
}

static int options_fill(struct disk_options *options, struct keyval *keyval)
{
	const char *serial = keyval_get(keyval, "serial");
	const char *backing = keyval_get(keyval, "backing");
	int result;

	if (backing && strcmp(backing, "any"))
		return log_error(EUSAGE, "--disk: backing=%s is not known (say backing=any to follow an image of unknown format "
				 "out of its folder)", backing);
	options->backing_any = backing;
	if (serial && strlen(serial) > 20)
		return log_error(EUSAGE, "--disk: serial '%s' has more than 20 characters", serial);
	result = keyval_bool(keyval, "disk", "ro", &options->read_only);
	if (!result)
		result = keyval_bool(keyval, "disk", "direct", &options->direct);
	if (!result)
		result = options_set_place(options, keyval);
	if (!result && !*keyval->first && !options->place.cdrom)
		result = log_error(EUSAGE, "--disk: no image named (say -d FILE[,ro][,cache=MODE][,serial=TEXT][,format=raw|qcow2], "
				   "or -d ,cdrom for a drive without a disc)");
	if (!result)
		result = options_set_cache(options, keyval_get(keyval, "cache"));
	if (!result)
		result = options_set_aio(options, keyval_get(keyval, "aio"));
	if (!result)
		result = options_set_limits(options, keyval);
	if (!result)
		result = option_copy(&options->format, keyval_get(keyval, "format"));
	/* an ISO image is raw, whatever it begins with */
	if (!result && options->place.cdrom && !options->format)
		result = option_copy(&options->format, "raw");
	if (!result)
		result = option_copy(&options->serial, serial);
	if (!result)
		result = option_copy(&options->snapshot, keyval_get(keyval, "snapshot-name"));
	/* What others share can't be changed. */
	options->read_only |= options->snapshot != NULL;
	if (!result)
		result = options_set_overlay(options, keyval);
	if (!result && options->place.cdrom && (options->throw_away || options->overlay))
		result = log_error(EUSAGE, "--disk: a disc isn't written, so that it has no overlay");
	if (!result && options->snapshot && (options->throw_away || options->overlay))
		result = log_error(EUSAGE, "--disk: snapshot-name= with an overlay can't be (say one of the two)");
	if (!result)
		result = disk_device_options_fill(&options->device, keyval);
	if (!result)
		result = option_copy(&options->path, keyval->first);
	return result ? result : keyval_done(keyval, "disk", "ro, direct, cache=, aio=, serial=, format=, snapshot-name=, snapshot=, overlay=, backing=any, "
					      "if=, cdrom, media=, target=, lun=, "
					      "iops=, bps= with _rd, _wr, _max, _max_length, iops_size=; queues=, iothread=, rerror=, werror=, "
					      "physical-block-size=, min-io-size=, opt-io-size=");
}

int disk_options_parse(struct disk_options *options, const char *text)
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, "disk", text, true);

	memset(options, 0, sizeof(*options));
	if (result)
		return result;
	result = options_fill(options, &keyval);
	keyval_free(&keyval);
	if (result)
		disk_options_free(options);
	return result;
}

void disk_options_free(struct disk_options *options)
{
	free(options->path);
	free(options->format);
	free(options->serial);
	free(options->overlay);
	free(options->snapshot);
	disk_device_options_free(&options->device);
	memset(options, 0, sizeof(*options));
}
