/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a snapshot says of itself, in JSON: which machine, by which options, on which disks, when.
 */
#ifndef STATE_SNAPSHOT_INFO_H
#define STATE_SNAPSHOT_INFO_H

#include <jansson.h>

#include "kvm/kvm.h"

/** snapshot_describe() - a new object; NULL having said why it can't be. The VM is paused, its disks are synced. */
json_t *snapshot_describe(struct kvm *kvm, bool ends);

/**
 * snapshot_apply() - puts the recorded options into @config
 * @path: names the snapshot in messages. 0, -EUSAGE for options that can't go with it, or -ENOTSUP; all said.
 */
int __must_check snapshot_apply(const json_t *info, const char *path, struct config *config);

/** snapshot_check_disks() - whether the files of its disks are as they were; before they are opened */
int __must_check snapshot_check_disks(const json_t *info, const char *path);

#endif
