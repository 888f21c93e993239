#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# arm64: a stock Debian kernel in each of its forms, on each interrupt controller, ended in each way; a payload
# of our own; bad input. Runs where KVM/arm64 is, else in outer machines that QEMU emulates: one with a GICv3,
# one with a GICv2, one with all that QEMU's CPU has (SVE, pointer authentication, PMU).
#
# usage: tests/integration/arm64.sh [v3] [v2] [max]     exit 0: passed, 1: failed, 77: this host can't run it
set -eu -o pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

variant=arm64-static cross=(CROSS_COMPILE=aarch64-linux-gnu-)
[ "$(uname -m)" != aarch64 ] || cross=()
[ ${#cross[@]} = 0 ] || command -v aarch64-linux-gnu-gcc >/dev/null ||
	{ echo "SKIP arm64: no aarch64-linux-gnu-gcc (scripts/deps cross)"; exit 77; }
make -j"$(nproc)" ARCH=arm64 "${cross[@]}" STATIC=1 all guest-payloads >/dev/null 2>&1 ||
	{ echo "FAIL arm64: doesn't build: make ARCH=arm64 ${cross[*]} STATIC=1"; exit 1; }

kernels=$(dirname "$(tests/kernels path arm64 Image)")
initrd=$(tests/guest-initrd --raw --module virtio-rng arm64)
disk=$(tests/guest-disk arm64)
lkvm=$PWD/build/$variant/lkvm
payloads=$PWD/build/$variant/tests/guest
cases=$PWD/tests/integration/arm64-cases
[ $# != 0 ] || set -- v3 v2 max

failed=0
for set; do
	case $set in
	v3) options=(--gic 3) ;;
	v2) options=(--gic 2) ;;
	max) options=(--gic 3 --cpu max) ;;
	*) echo "usage: tests/integration/arm64.sh [v3] [v2] [max]" >&2; exit 2 ;;
	esac
	[ "$set" != v3 ] || options+=(--file "$disk")
	for file in "$lkvm" "$initrd" "$kernels"/{Image,Image.gz,zboot} "$payloads"; do
		options+=(--file "$file")
	done
	tests/with-kvm --arch arm64 --timeout 580 --mem 2048 "${options[@]}" --env LKVM="$lkvm" \
		"$cases" "$set" "$kernels" "$initrd" "$payloads" "$disk" || failed=1
done
exit $failed
