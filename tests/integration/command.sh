#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# `lkvm run -- COMMAND`: stock Debian kernels run commands on the host's own files. Runs where KVM boots ordinary
# kernels, else in an outer machine.
#
# usage: tests/integration/command.sh [NAME...]     exit 0: passed, 1: failed, 77: this host can't run it
set -eu -o pipefail
cd "$(dirname "$0")/../.."
[ "$(uname -m)" = x86_64 ] || { echo "SKIP command: this host is not x86-64"; exit 77; }
[ -x ./lkvm ] || { echo "SKIP command: no ./lkvm (make first)"; exit 77; }
command -v python3 > /dev/null || { echo "SKIP command: no python3 (scripts/deps test)"; exit 77; }

where=$(tests/with-kvm --probe || true)
[ "$where" = direct ] || command -v qemu-system-x86_64 > /dev/null ||
	{ echo "SKIP command: $where, and no qemu-system-x86_64 (scripts/deps test)"; exit 77; }
exec tests/with-kvm --timeout 1500 --mem 3072 --smp 1 ${LKVM_SLOW:+--env LKVM_SLOW} -- python3 tests/integration/command-cases "$(readlink -f ./lkvm)" \
	"$(tests/kernels path x86_64 generic-bzImage)" "$(tests/kernels path x86_64 generic-modules)" \
	"$(tests/kernels path x86_64 bzImage)" "$(tests/kernels path x86_64 modules)" \
	"$(tests/guest-disk x86_64)" "$@"
