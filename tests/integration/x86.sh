#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# x86-64: a stock Debian kernel by each boot protocol, with SMP, much memory, each virtio transport, ended in each
# way, and systemd from a disk. Runs where KVM boots ordinary kernels, else in one outer machine.
#
# usage: tests/integration/x86.sh [NAME...]     exit 0: passed, 1: failed, 77: this host can't run it
set -eu -o pipefail
cd "$(dirname "$0")/../.."
[ "$(uname -m)" = x86_64 ] || { echo "SKIP x86: this host is not x86-64"; exit 77; }
[ -x ./lkvm ] || { echo "SKIP x86: no ./lkvm (make first)"; exit 77; }

where=$(tests/with-kvm --probe || true)
[ "$where" = direct ] || command -v qemu-system-x86_64 > /dev/null ||
	{ echo "SKIP x86: $where, and no qemu-system-x86_64 (scripts/deps test)"; exit 77; }
exec tests/with-kvm --timeout 1700 --mem 7168 -- bash tests/integration/x86-cases "$(readlink -f ./lkvm)" \
	"$(tests/kernels path x86_64 bzImage)" "$(tests/kernels path x86_64 vmlinux)" \
	"$(tests/kernels path x86_64 generic-bzImage)" \
	"$(tests/guest-initrd x86_64)" "$(tests/guest-disk x86_64)" "$@"
