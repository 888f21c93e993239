#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# vCPUs that come and go, by a payload that starts them (tests/guest/cpu-plug.c): any /dev/kvm will do, hardware or software.
# Every wait is bounded.
#
# usage: tests/integration/cpus.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
payload=build/x86_64/tests/guest/cpu-plug.bin
[ "$(uname -m)" = x86_64 ] || { echo "SKIP cpus: the payload is for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP cpus: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] && make -s guest-payloads > /dev/null || { echo "SKIP cpus: no $lkvm (make first)"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-cpus.XXXXXX)
mkdir -m 700 "$dir/run"
export XDG_RUNTIME_DIR=$dir/run TMPDIR=$dir
trap '"$lkvm" stop --force --all > /dev/null 2>&1; rm -rf "$dir"' EXIT
failed=0

# expect WHAT STATUS TEXT COMMAND...: its status, and what it prints
expect()
{
	local what=$1 want=$2 text=$3 output got
	shift 3
	output=$(timeout 30 "$@" 2>&1)
	got=$?
	case $output in
	*"$text"*) [ "$got" != "$want" ] || return ;;
	esac
	echo "FAIL cpus: $what: status $got instead of $want, or no '$text' in: $output"
	failed=1
}

# said COUNT TEXT: until the guest has said it so often
said()
{
	for _ in $(seq 100); do
		[ "$(grep -c "$2" "$dir/out")" -ge "$1" ] && return
		sleep 0.1
	done
	echo "FAIL cpus: expected '$2' $1 times, seen: $(tail -5 "$dir/out")"
	failed=1
}

mkfifo "$dir/in"
timeout 120 "$lkvm" run --boot flat -k "$payload" -m 16 -c 3,max=6 --name v --nodefaults < "$dir/in" > "$dir/out" 2>&1 &
exec 5> "$dir/in"
printf i >&5
said 1 '^# ready'
expect "two are added" 0 'device cpu4, vCPU 4' "$lkvm" device add v cpu cpu,id=4
said 1 '^# started 2'
said 1 '^# started 4'
expect "one that is there" 1 already "$lkvm" device add v cpu,id=4
expect "vCPU 0" 1 'not found' "$lkvm" device remove v cpu0
expect "the guest lets go" 0 'no device cpu2 any more' "$lkvm" device remove v cpu2
expect "the guest says no" 1 'does not let go' "$lkvm" device remove v cpu4
expect "the list" 0 refused "$lkvm" device list v
"$lkvm" pause -n v > /dev/null
expect "one comes in a pause" 0 'vCPU 2' "$lkvm" device add v cpu
"$lkvm" resume -n v > /dev/null
said 2 '^# started 2'
expect "those that are there" 0 running "$lkvm" list
expect "a snapshot" 0 saved "$lkvm" snapshot v "$dir/snapshot"
expect "what is in it" 0 present=0-2:4 "$lkvm" snapshot --info "$dir/snapshot"
printf q >&5
wait
timeout 60 "$lkvm" run --restore "$dir/snapshot" --name r < "$dir/in" > "$dir/out" 2>&1 &
for _ in $(seq 100); do "$lkvm" device list r > "$dir/list" 2>&1 && break; sleep 0.1; done
grep -q '^cpu4 ' "$dir/list" || { echo "FAIL cpus: expected cpu4 after a restore, seen $(cat "$dir/list")"; failed=1; }
printf s >&5
said 1 '^# started 4'
expect "one goes after a restore" 0 'no device cpu2 any more' "$lkvm" device remove r cpu2
expect "another comes" 0 'vCPU 5' "$lkvm" device add r cpu,id=5
said 1 '^# started 5'
printf q >&5
wait
[ "$failed" != 0 ] || echo "ok   cpus"
exit "$failed"
