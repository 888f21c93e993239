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
# One CPU an outer machine: with more, QEMU 7.2 with its emulation of AMD-V stands still now and then, all of its
# CPUs spinning in QEMU's own loop (seen with QEMU as the inner hypervisor). Two machines keep two cores busy.
parts=(1/1)
[ "$where" = direct ] || [ $# != 0 ] || parts=(1/2 2/2)
run_part()
{
	tests/with-kvm --timeout 1700 --mem 7168 --smp 1 ${LKVM_SLOW:+--env LKVM_SLOW --module loop --module crc32c_generic --module ext4} -- bash tests/integration/x86-cases "$part" "$(readlink -f ./lkvm)" \
		"$(tests/kernels path x86_64 bzImage)" "$(tests/kernels path x86_64 vmlinux)" \
		"$(tests/kernels path x86_64 generic-vmlinux)" "$(tests/guest-initrd --generic x86_64)" \
		"$initrd" "$(tests/guest-disk x86_64)" "$@"
}

# What they share is made before they start.
tests/kernels fetch x86_64
mkdir -p build
"${CC:-cc}" -O2 -static -o build/guest-vsock tests/guest-vsock.c
"${CC:-cc}" -O2 -static -o build/guest-verify tests/guest-verify.c
"${CC:-cc}" -O2 -static -o build/guest-ring tests/guest-ring.c
initrd=$(tests/guest-initrd --file build/guest-vsock:bin/vsock --file build/guest-verify:bin/verify --file build/guest-ring:bin/ring x86_64)
tests/guest-initrd --generic x86_64 > /dev/null
tests/guest-disk x86_64 > /dev/null
status=0 pids=()
for part in "${parts[@]}"; do
	run_part "$@" &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || status=$?
done
exit "$status"
