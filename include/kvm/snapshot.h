/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine that is made from a snapshot: `lkvm run --restore FILE` (state/restore.c).
 */
#ifndef KVM_SNAPSHOT_H
#define KVM_SNAPSHOT_H

#include "kvm/kvm.h"

struct restore;

/**
 * restore_prepare() - opens and checks the file that --restore names, and puts the options of its machine into @config
 * What was said beside --restore stays where it may differ; anything else is refused. 0 or negative errno (said).
 */
int __must_check restore_prepare(struct restore **restore, struct config *config);
/** restore_attach() - to the VM that was made by that config, before its init lists run; 0 or negative errno (said) */
int __must_check restore_attach(struct restore *restore, struct kvm *kvm);
/** restore_free() - after kvm_exit(); NULL is fine */
void restore_free(struct restore *restore);

/** snapshot_is_written() - whether a snapshot of @kvm is on its way to its file; main thread */
bool snapshot_is_written(const struct kvm *kvm);

/** snapshot_print_info() - what a snapshot is of, as text or as JSON, to stdout; 0 or negative errno (said) */
int __must_check snapshot_print_info(const char *path, bool json);
/** snapshot_check() - reads all of it and compares every checksum; 0 or negative errno (said) */
int __must_check snapshot_check(const char *path);

#endif
