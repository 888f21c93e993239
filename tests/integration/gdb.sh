#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The gdb server and `lkvm gdb` on this host's KVM, hardware or software: addresses that are refused, the protocol by a
# client of our own (gdb-protocol.py), and gdb itself. Stock kernels under gdb are scenarios of x86.sh and arm64.sh.
#
# usage: tests/integration/gdb.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
here=$(dirname "$(readlink -f "$0")")
[ "$(uname -m)" = x86_64 ] || { echo "SKIP gdb: the payloads are for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP gdb: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] || { echo "SKIP gdb: no $lkvm (make first)"; exit 77; }
command -v python3 >/dev/null || { echo "SKIP gdb: no python3 (scripts/deps test)"; exit 77; }

work=$(mktemp -d /tmp/lkvm-gdb.XXXXXX)
export XDG_RUNTIME_DIR=$work
vm=
trap '[ -z "$vm" ] || kill -9 "$vm" 2>/dev/null; rm -rf "$work"' EXIT
failed=0

verdict()
{
	if [ -z "$2" ]; then
		echo "ok   gdb/$1"
	else
		echo "FAIL gdb/$1: $2"
		failed=1
	fi
}

# mov $0xfe, %al; out %al, $0x64: resets at once, if it ever runs
printf '\xb0\xfe\xe6\x64\xeb\xfe' > "$work/reset"
printf '\x40\xeb\xfd' > "$work/loop"	# inc %ax; jmp to it

# refused NAME STATUS TEXT OPTIONS...: one line that says why, and the guest doesn't start
refused()
{
	local name=$1 want=$2 text=$3 output status
	shift 3
	output=$(timeout 30 "$lkvm" run --boot flat -k "$work/reset" -m 16 -c 1 --loglevel warning "$@" 2>&1 < /dev/null)
	status=$?
	if [ "$status" != "$want" ]; then
		verdict "$name" "status $status instead of $want: $output"
	elif [ "$(wc -l <<< "$output")" != 1 ] || ! grep -qF -- "$text" <<< "$output"; then
		verdict "$name" "expected one line with '$text', seen: $output"
	else
		verdict "$name" ""
	fi
}

refused address_of_no_kind 2 "is no address" --gdb=1234
refused port_that_is_none 2 "is no port" --gdb tcp:70000
refused port_of_other_hosts 2 "loopback only" --gdb tcp:0.0.0.0:1234
refused path_too_long 2 "too long" --gdb "unix:$(printf '%0200d' 0)"
refused path_in_no_folder 1 "can't listen at" --gdb "unix:$work/nosuch/socket"
refused path_of_a_file 1 "can't listen at" --gdb "unix:$work/loop"
refused stepping_by_two 2 "--debug-single-step" --gdb tcp:0 --debug-single-step
[ -s "$work/loop" ] || verdict path_of_a_file_kept "the file is gone"

# start OPTIONS...: a VM called gdb-sh, which answers; a boot sector, whose addresses are those of memory, as gdb believes
start()
{
	"$lkvm" run --boot bios16 -k "$work/loop" -m 16 -c 2 --name gdb-sh "$@" < /dev/null > "$work/log" 2>&1 &
	vm=$!
	for _ in $(seq 100); do
		"$lkvm" list 2>/dev/null | grep -q gdb-sh && return
		sleep 0.1
	done
	verdict start "no VM: $(cat "$work/log")"
	exit 1
}

start --gdb tcp:0
port=$("$lkvm" gdb gdb-sh --print 2>/dev/null | sed -n "s/.*'target remote 127.0.0.1:\([0-9]*\)'.*/\1/p")
[ -n "$port" ] || verdict lkvm_gdb_knows_the_address "none in: $("$lkvm" gdb gdb-sh --print 2>&1)"
refused port_that_is_taken 1 "can't listen on port $port" --gdb "tcp:$port"
if command -v gdb >/dev/null; then
	timeout 60 "$lkvm" gdb gdb-sh -- -nx -batch -ex 'info threads' -ex 'stepi' -ex 'p $rip' -ex 'p/x $cr0' -ex 'p $mxcsr' \
		-ex 'hbreak *0x7c01' -ex 'continue' -ex 'monitor info version' -ex 'detach' < /dev/null > "$work/gdb" 2>&1
	why=
	for want in 'Thread 2 .*vCPU 1' '^\$2 = 0x60000010' 'hit Breakpoint 1' '^lkvm [0-9]' 'detached'; do
		grep -qE "$want" "$work/gdb" || why="expected '$want' in: $(cat "$work/gdb")"
	done
	verdict gdb_itself "$why"
else
	echo "SKIP gdb/gdb_itself: no gdb (scripts/deps test)"
fi
"$lkvm" stop --force gdb-sh > /dev/null
wait "$vm"
vm=

start
output=$("$lkvm" gdb gdb-sh 2>&1)
verdict vm_without_a_server "$([ $? = 1 ] && grep -qF 'lkvm run --gdb' <<< "$output" || echo "expected a hint, seen: $output")"
"$lkvm" stop --force gdb-sh > /dev/null
wait "$vm"
vm=

timeout 300 python3 "$here/gdb-protocol.py" "$lkvm" || failed=1
exit $failed
