/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The options of a VM, for its forks: the same devices, with something of their own behind them.
 *
 * What names one thing on the host that a VM has to itself is left out, or gets the fork's name behind its own: two VMs
 * can't listen at one socket. What can't be had twice is refused by name, before anything is done.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/option.h"
#include "kvm/ram-options.h"
#include "kvm/vhost-option.h"
#include "state/fork.h"

/* They belong to the one run, not to the machine. */
static const char *const of_the_run[] = {
	"name", "restore", "prefault", "trace-init", "list-init", "gdb", "gdb-wait", "daemonize", "pidfile", "ready-fd", "metrics", "tty", "bisect", "config", "profile", "print-config",
	NULL,
};

static bool begins_with_one_of(const char *text, size_t length, const char *const *words)
{
	for (; *words; words++)
		if (length >= strlen(*words) && strncmp(text, *words, strlen(*words)) == 0)
			return true;
	return false;
}

static bool is_one_of(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

/* How long the piece up to the next comma is; one that is written twice is part of a value. */
static size_t piece_length(const char *text)
{
	size_t length = 0;

	for (; text[length] && text[length] != ','; length++)
		;
	while (text[length] == ',' && text[length + 1] == ',') {
		length += 2;
		length += strcspn(text + length, ",");
	}
	return length;
}

/* ---- what changes ---- */

struct edit {
	const char *option;
	const char *const *left_out;	/* pieces that begin so; or NULL */
	const char *const *named;	/* these get "-VM" behind them; or NULL */
	const char *first;		/* instead of the first piece; or NULL */
};

static const char *const network_left_out[] = { "guest_mac=", "hostfwd=", "pcap=", NULL };
static const char *const vsock_left_out[] = { "path=", NULL };
static const char *const port_named[] = { "socket=", "file=", NULL };

static const struct edit edits[] = {
	{ .option = "network", .left_out = network_left_out },
	{ .option = "vsock", .left_out = vsock_left_out, .first = "auto" },
	{ .option = "port", .named = port_named },
};

static void put_piece(FILE *out, const char **comma, const char *text, size_t length)
{
	fprintf(out, "%s%.*s", *comma, (int)length, text);
	*comma = ",";
}

/* @text without "-PARENT" at its end: of a fork, whose own name stands there. */
static size_t unnamed_length(const char *text, size_t length, const char *parent)
{
	size_t suffix = parent ? strlen(parent) + 1 : 0;

	if (!suffix || length <= suffix || text[length - suffix] != '-' || strncmp(text + length - suffix + 1, parent, suffix - 1) != 0)
		return length;
	return length - suffix;
}

static char *edit_text(const struct edit *edit, const char *text, const char *vm, const char *parent)
{
	const char *comma = "", *at = text;
	size_t length, size;
	char *changed = NULL;
	FILE *out = open_memstream(&changed, &size);

	for (; out; at += length + 1) {
		length = piece_length(at);
		if (at == text && edit->first) {
			put_piece(out, &comma, edit->first, strlen(edit->first));
		} else if (edit->named && begins_with_one_of(at, length, edit->named)) {
			put_piece(out, &comma, at, unnamed_length(at, length, parent));
			fprintf(out, "-%s", vm);
		} else if (!edit->left_out || !begins_with_one_of(at, length, edit->left_out)) {
			put_piece(out, &comma, at, length);
		}
		if (!at[length])
			break;
	}
	if (out && fclose(out) != 0) {
		free(changed);
		changed = NULL;
	}
	return changed;
}

int fork_option(const char *name, const char *text, const char *vm, const char *parent, char **changed)
{
	const struct edit *edit = NULL;

	if (is_one_of(name, of_the_run))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++)
		if (strcmp(edits[i].option, name) == 0)
			edit = &edits[i];
	*changed = edit ? edit_text(edit, text, vm, parent) : strdup(text);
	return *changed ? 1 : -ENOMEM;
}

/* ---- what can't be ---- */

static char *say(const char *option, const char *text, const char *why)
{
	char *said;

	return asprintf(&said, "--%s %s %s", option, text, why) < 0 ? strdup(why) : said;
}

/* Whether one of its pieces is one of these. */
static bool has_piece(const char *text, const char *const *pieces)
{
	for (size_t length;; text += length + 1) {
		length = piece_length(text);
		for (const char *const *piece = pieces; *piece; piece++)
			if (strlen(*piece) == length && strncmp(text, *piece, length) == 0)
				return true;
		if (!text[length])
			return false;
	}
}

bool fork_network_is_none(const char *text)
{
	static const char *const none[] = { "none", "mode=none", NULL };

	return has_piece(text, none);
}

/* User mode's and no network; without a mode it is kvmtool's default, tap. */
static bool network_is_own(const char *text)
{
	static const char *const user[] = { "user", "mode=user", NULL };

	return has_piece(text, user) || fork_network_is_none(text);
}

static char *refuse_disks(const struct config *config)
{
	for (size_t i = 0; i < config_count(config, "disk"); i++) {
		const char *text = config_item(config, "disk", i);

		if (disk_is_vhost_user(text) || disk_is_vhost_scsi(text))
			return say("disk", text, "can't be forked: somebody else works on it");
	}
	return NULL;
}

static char *refuse_devices(const struct config *config)
{
	for (size_t i = 0; i < config_count(config, "pmem"); i++)
		if (!strstr(config_item(config, "pmem", i), ",ro"))
			return say("pmem", config_item(config, "pmem", i),
				   "can't be forked: what is written to it is in its file alone (say ,ro)");
	for (size_t i = 0; i < config_count(config, "fs"); i++)
		if (fs_is_vhost_user(config_item(config, "fs", i)))
			return say("fs", config_item(config, "fs", i), "can't be forked: its daemon shares the guest's memory");
	if (config_count(config, "vhost-user"))
		return say("vhost-user", config_item(config, "vhost-user", 0), "can't be forked: its daemon shares the guest's memory");
	return NULL;
}

/* Whatever stands behind them then, a daemon that shares memory with this VM sees its writes no more. */
static char *refuse_networks(const struct config *config, bool given)
{
	for (size_t i = 0; i < config_count(config, "network"); i++) {
		const char *text = config_item(config, "network", i);

		if (strstr(text, "vhost-user") || strstr(text, "passt"))
			return say("network", text, "can't be forked: its daemon may share the guest's memory");
		if (!given && !network_is_own(text))
			return say("network", text, "can't be had twice (say what the forks have instead by -n)");
	}
	return NULL;
}

char *fork_refusal(const struct config *config, bool networks)
{
	char *why;

	if (config_split(config) != SIZE_MAX || config_flag(config, "systemd"))
		return strdup("A VM that runs a command of the host's (run -- COMMAND) can't go on without it");
	if (ram_is_hugetlb(config))
		return strdup("--hugetlbfs (and hugepages= of --mem) can't be forked: its pages are reserved once");
	if (config_count(config, "plug"))
		return say("plug", config_item(config, "plug", 0), "can't be forked: take it out first (lkvm device remove)");
	why = refuse_networks(config, networks);
	if (!why)
		why = refuse_disks(config);
	return why ? why : refuse_devices(config);
}
