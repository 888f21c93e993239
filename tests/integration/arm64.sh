#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# arm64: a stock Debian kernel in each of its forms, on each interrupt controller, ended in each way; a payload
# of our own; bad input. Runs where KVM/arm64 is, else in outer machines that QEMU emulates: one with a GICv3,
# one with a GICv2, one with all that QEMU's CPU has (SVE, pointer authentication, PMU). The set gdb, for emulated ones
# only, has gdb-multiarch outside, and a port of the outer machine that leads to a guest's gdb server.
#
# usage: tests/integration/arm64.sh [v3] [v2] [max] [gdb]     exit 0: passed, 1: failed, 77: this host can't run it
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
[ $# != 0 ] || set -- v3 v2 max gdb

# debug WORK: gdb at the port, once the cases have said where the system call is; what it says is kept
debug()
{
	local call
	for _ in $(seq 1500); do
		call=$(sed -n 's/^gdb-symbol //p' "$1/out" 2>/dev/null)
		[ -z "$call" ] || break
		sleep 0.1
	done
	# the relay in there tries every 0.1 s
	sleep 1
	timeout 150 gdb-multiarch -q -nx -batch -ex 'set pagination off' -ex 'set remotetimeout 30' -ex "target remote $1/port" \
		-ex 'info threads' -ex "break *$call" -ex continue -ex "p \$pc == $call" -ex stepi -ex stepi -ex "p \$pc == $call + 8" \
		-ex 'p $SP_EL0 != 0 && $TTBR1_EL1 != 0' -ex 'p $v0' -ex continue -ex delete -ex "hbreak *$call" -ex continue \
		-ex 'set $at = $sp - 32' -ex delete -ex 'watch *(long *)$at' -ex continue -ex delete -ex 'thread 2' -ex 'p $sp != 0' \
		-ex detach </dev/null >"$1/gdb" 2>&1
}

# debugged WORK: whether it did all that
debugged()
{
	local want
	for want in 'Thread 2 .*vCPU 1' 'hit Breakpoint 1' '^\$1 = 1$' '^\$2 = 1$' '^\$3 = 1$' '^\$4 = {d = ' 'hit Breakpoint 2' \
		'hit Hardware watchpoint 3' '^\$5 = 1$' 'detached'; do
		grep -qE "$want" "$1/gdb" && continue
		echo "FAIL arm64/gdb/breaks_steps_and_watches: no '$want' in what gdb says"
		sed 's/^/     | /' "$1/gdb"
		return 1
	done
	echo "ok   arm64/gdb/breaks_steps_and_watches"
}

failed=0 work='' staged=$(mktemp -d /tmp/lkvm-modules.XXXXXX)
trap 'rm -rf "$staged" ${work:+"$work"}' EXIT
# What a command's guest loads: this kernel has virtio-fs, and no 9p.
modules_copy "$kernels/modules" "$staged" virtio_pci virtio_mmio virtio_console virtiofs overlay
modules=$(echo "$staged"/lib/modules/*)
for set; do
	said=/dev/null
	case $set in
	v3) options=(--gic 3) ;;
	v2) options=(--gic 2) ;;
	max) options=(--gic 3 --cpu max) ;;
	gdb)
		[ "$(uname -m)" != aarch64 ] || continue
		command -v gdb-multiarch >/dev/null || { echo "SKIP arm64/gdb: no gdb-multiarch (scripts/deps test)"; continue; }
		work=$(mktemp -d /tmp/lkvm-arm64.XXXXXX)
		said=$work/out
		options=(--gic 3 --qemu "-chardev socket,id=gdb,path=$work/port,server=on,wait=off"
			--qemu "-device virtserialport,chardev=gdb,nr=3") ;;
	*) echo "usage: tests/integration/arm64.sh [v3] [v2] [max] [gdb]" >&2; exit 2 ;;
	esac
	[ "$set" != v3 ] || options+=(--file "$disk" --file "$modules")
	for file in "$lkvm" "$initrd" "$kernels"/{Image,Image.gz,zboot} "$payloads"; do
		options+=(--file "$file")
	done
	[ "$set" != gdb ] || debug "$work" &
	tests/with-kvm --arch arm64 --timeout 580 --mem 2048 "${options[@]}" --env LKVM="$lkvm" ${LKVM_SLOW:+--env LKVM_SLOW} \
		"$cases" "$set" "$kernels" "$initrd" "$payloads" "$disk" "$modules" | tee "$said" || failed=1
	wait
	[ "$set" != gdb ] || debugged "$work" || failed=1
done
exit $failed
