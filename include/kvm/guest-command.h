/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A command that is run in the guest, on the host's own files: `lkvm run -- COMMAND` (guest/command.c).
 *
 * Main thread.
 */
#ifndef KVM_GUEST_COMMAND_H
#define KVM_GUEST_COMMAND_H

#include "kvm/option.h"

struct kvm;
struct guest_command;

/**
 * guest_command_prepare() - says in @config what the VM must have for it: shares, kernel parameters
 * @words: the command, NULL-terminated; none: a shell; NULL: the root's own init alone. They outlive the command.
 * Before kvm_create(). Returns 0 or negative errno (said).
 */
int __must_check guest_command_prepare(struct guest_command **command, struct config *config, char **words);
/** guest_command_attach() - to the VM that was made by that config, before its init lists run; 0 or negative errno (said) */
int __must_check guest_command_attach(struct guest_command *command, struct kvm *kvm);
/**
 * guest_command_status() - once the VM has ended: what the exit status is, @status being the VM's own
 * Prints the guest's last words where the command didn't get to its end.
 */
int guest_command_status(struct guest_command *command, int status);
/** guest_command_root() - the folder that is the guest's root; NULL: the VM has no such command, nor our init */
const char *guest_command_root(const struct kvm *kvm);
/** guest_command_free() - after kvm_exit(); NULL is fine */
void guest_command_free(struct guest_command *command);

#endif
