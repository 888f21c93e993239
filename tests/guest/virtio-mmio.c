/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tests of virtio-rng.c on the MMIO transport.
 *
 * args: --rng --virtio-transport mmio
 */
#define ON_MMIO
#include "virtio-rng.c"
