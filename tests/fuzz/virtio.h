/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio devices under fuzz: a machine that is made once, with one device, the real virtqueues over RAM of the target's
 * own, and a driver that does what the input says (tests/fuzz/virtio.c).
 */
#ifndef TESTS_FUZZ_VIRTIO_H
#define TESTS_FUZZ_VIRTIO_H

#include "tests/fuzz/fuzz.h"

#include "kvm/virtio.h"

/**
 * struct fuzz_virtio - what is a device's own
 * @machine: sets @kvm's options, and names the init callbacks that make the device (board_add())
 * @queues: how many the driver sets up, at most FUZZ_QUEUES
 * @packed: with packed rings; others have them if LKVM_TEST_RING=packed says so
 * @fix: puts right what a message of @length bytes must have to be looked at at all: its own length; or NULL
 * @event: something happens on the host's side: @input says what; or NULL
 * @between: before each input, with the device reset: the host's side is as at first; or NULL
 */
struct fuzz_virtio {
	void (*machine)(struct kvm *kvm);
	unsigned int queues;
	bool packed;
	void (*fix)(uint8_t *message, size_t length, unsigned int queue);
	void (*event)(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input);
	void (*between)(struct virtio_device *device);
};

#define FUZZ_QUEUES	8

void fuzz_virtio_begin(const struct fuzz_target *target);
void fuzz_virtio_one(const struct fuzz_target *target, const uint8_t *data, size_t length);
/** fuzz_machine_add() - calls the init callback of this name */
void fuzz_machine_add(struct kvm *kvm, const char *init_name);
/** fuzz_machine_set() - an option, which must be a good one */
void fuzz_machine_set(struct kvm *kvm, const char *option, const char *value);

#define FUZZ_VIRTIO(symbol, name_, spec_)						\
	FUZZ_TARGET(symbol, .name = (name_), .begin = fuzz_virtio_begin, .one = fuzz_virtio_one, .opaque = &(spec_))

#endif
