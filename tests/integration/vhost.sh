#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Devices whose rings others work on, in one stock Debian guest: a disk and a folder of daemons, a network, sockets and
# a SCSI target of the host's kernel. Runs where KVM boots ordinary kernels, else in an outer machine.
#
# usage: tests/integration/vhost.sh     exit 0: passed, 1: failed, 77: this host can't run it
set -eu -o pipefail
cd "$(dirname "$0")/../.."
[ "$(uname -m)" = x86_64 ] || { echo "SKIP vhost: this host is not x86-64"; exit 77; }
[ -x ./lkvm ] || { echo "SKIP vhost: no ./lkvm (make first)"; exit 77; }
for program in qemu-storage-daemon socat; do
	command -v $program > /dev/null || { echo "SKIP vhost: no $program (scripts/deps test)"; exit 77; }
done
where=$(tests/with-kvm --probe || true)
[ "$where" = direct ] || command -v qemu-system-x86_64 > /dev/null ||
	{ echo "SKIP vhost: $where, and no qemu-system-x86_64 (scripts/deps test)"; exit 77; }

[ "$where" = direct ] || [ -n "${LKVM_SLOW-}" ] ||
	{ echo "SKIP vhost: three minutes where KVM is nested (LKVM_SLOW=1 runs it)"; exit 77; }

tests/kernels fetch x86_64
mkdir -p build
"${CC:-cc}" -O2 -static -o build/guest-vsock tests/guest-vsock.c
initrd=$(tests/guest-initrd --generic --raw --file build/guest-vsock:bin/vsock x86_64)
tests/with-kvm --timeout 900 --smp 1 --module vhost_scsi --module target_core_file -- bash tests/integration/vhost-cases "$(readlink -f "${LKVM-./lkvm}")" \
	"$(tests/kernels path x86_64 generic-vmlinux)" "$initrd"
