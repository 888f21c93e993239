/* SPDX-License-Identifier: BSD-2-Clause */
/* The devices of arm64's board that are on no bus of their own architecture's. */
#include "tests/fuzz/chips.h"

#include "kvm/types.h"

const struct fuzz_chip fuzz_chips[] = { { "pci_init", "pci", NULL }, { "i6300esb_init", "i6300esb", NULL } };
const size_t fuzz_chip_count = ARRAY_SIZE(fuzz_chips);
