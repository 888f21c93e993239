/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's kernel printed from its oops or panic on, kept to be decoded when the VM has ended.
 */
#ifndef KVM_TROUBLE_LOG_H
#define KVM_TROUBLE_LOG_H

#include "kvm/types.h"

struct kvm;

#define TROUBLE_LOG_SIZE	KIB(64)

/** trouble_log_begin() - a line of an oops or a panic came: what was kept of an older one is dropped; any thread */
void trouble_log_begin(struct kvm *kvm);
/** trouble_log_write() - what the kernel goes on to say; what finds no room is left out; any thread */
void trouble_log_write(struct kvm *kvm, const void *data, size_t length);
/** trouble_log_text() - all of it, NUL-terminated, the VM's; NULL: there was no trouble. Once the vCPUs have ended */
const char *trouble_log_text(const struct kvm *kvm);
/** trouble_log_free() - by kvm_free() */
void trouble_log_free(struct kvm *kvm);

#endif
