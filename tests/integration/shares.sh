#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Folders of the host in a stock Debian guest: by 9p and virtio-fs, by each transport, and as the root file system. Runs where KVM boots
# ordinary kernels, else in an outer machine.
#
# usage: tests/integration/shares.sh [NAME...]     exit 0: passed, 1: failed, 77: this host can't run it
set -eu -o pipefail
cd "$(dirname "$0")/../.."
[ "$(uname -m)" = x86_64 ] || { echo "SKIP shares: this host is not x86-64, and arm64's test kernel has no 9p"; exit 77; }
[ -x ./lkvm ] || { echo "SKIP shares: no ./lkvm (make first)"; exit 77; }

where=$(tests/with-kvm --probe || true)
[ "$where" = direct ] || command -v qemu-system-x86_64 > /dev/null ||
	{ echo "SKIP shares: $where, and no qemu-system-x86_64 (scripts/deps test)"; exit 77; }
tests/with-kvm --timeout 900 --smp 1 ${LKVM_SLOW:+--env LKVM_SLOW} -- bash tests/integration/shares-cases "$(readlink -f "${LKVM-./lkvm}")" \
	"$(tests/kernels path x86_64 generic-vmlinux)" "$(tests/guest-initrd --generic --raw x86_64)" \
	"$(tests/kernels path x86_64 busybox)" "$@"
