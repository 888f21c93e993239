#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lkvm fork, by a payload that checks its memory (tests/guest/fork.c): any /dev/kvm will do, hardware or software.
# Every wait is bounded.
#
# usage: tests/integration/fork.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
payload=build/x86_64/tests/guest/fork.bin
[ "$(uname -m)" = x86_64 ] || { echo "SKIP fork: the payload is for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP fork: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] && make -s guest-payloads > /dev/null || { echo "SKIP fork: no $lkvm (make first)"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-fork.XXXXXX)
mkdir -m 700 "$dir/run" "$dir/logs"
export XDG_RUNTIME_DIR=$dir/run TMPDIR=$dir
vm=
trap '"$lkvm" stop --force --all > /dev/null 2>&1; [ -z "$vm" ] || kill -9 "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
failed=0

fail()
{
	echo "FAIL $*"
	failed=1
}

ok()
{
	[ "$failed" != 0 ] || echo "ok   fork/$1"
}

# expect WHAT STATUS COMMAND...: its status, and in $output what it printed
expect()
{
	local what=$1 want=$2 got
	shift 2
	output=$(timeout 60 "$@" 2>&1)
	got=$?
	[ "$got" = "$want" ] || fail "$what: status $got instead of $want: $output"
}

contains()
{
	case $output in
	*"$2"*) ;;
	*) fail "$1: no '$2' in: $output" ;;
	esac
}

# wait_lines COUNT TEXT FILE...: until TEXT stands in so many lines of them
wait_lines()
{
	local count=$1 text=$2 n
	shift 2
	for ((n = 0; n < 300; n++)); do
		[ "$(cat "$@" 2>/dev/null | grep -c "$text")" -ge "$count" ] && return
		sleep 0.1
	done
	fail "expected '$text' $count times, seen $(cat "$@" 2>/dev/null | grep -c "$text"); others: $(cat "$@" | grep -v "^ok\|^end\|Info:" | head -5)"
}

# start NAME KERNEL OPTIONS...: a VM, its output in $dir/NAME
start()
{
	local name=$1 kernel=$2
	shift 2
	# What is typed makes the payload go on for ever.
	printf f | "$lkvm" run --boot flat -k "$kernel" -m 16 -c 1 --name "$name" --nodefaults "$@" > "$dir/$name" 2>&1 &
	vm=$!
	for _ in $(seq 100); do
		"$lkvm" list --json 2>/dev/null | grep -q "\"name\": \"$name\"" && return
		sleep 0.05
	done
	fail "start $name: $(cat "$dir/$name")"
	exit 1
}

start parent "$payload"
wait_lines 1 '^# changes' "$dir/parent"
before=$(date +%s%N)
expect "a hundred forks" 0 "$lkvm" fork parent 100 --log "$dir/logs"
after=$(date +%s%N)
contains "a hundred forks" "parent forked 100 times"
wait_lines 100 '^end' "$dir"/logs/*.log
wait_lines 100 '^ok memory_is_that_of_the_moment' "$dir"/logs/*.log
wait_lines 100 '^ok memory_is_its_own' "$dir"/logs/*.log
ok "hundred_forks_have_the_memory_of_their_moment ($(((after - before) / 1000000)) ms)"

expect "their parent" 0 "$lkvm" list
contains "their parent" "parent               running"
"$lkvm" stop --force parent > /dev/null
wait "$vm"
grep -q '^FAIL' "$dir/parent" && fail "the parent's memory: $(cat "$dir/parent")"
ok parent_keeps_its_own_memory

printf '\xf4\xeb\xfd' > "$dir/sleep"	# 1: hlt; jmp 1b
truncate -s 1M "$dir/disk"
start still "$dir/sleep" -d "$dir/disk,snapshot=on" --rng --port "name=a,socket=$dir/port" --vsock 7
expect "forks of a VM with devices" 0 "$lkvm" fork still 2
expect "a fork of a fork" 0 "$lkvm" fork still-2
expect "a paused fork" 0 "$lkvm" pause still-2-1
expect "a fork of that" 0 "$lkvm" fork still-2-1 --name other --json
contains "a fork of that" '"other-1"'
expect "list" 0 "$lkvm" list
for line in "still-1 .* still$" "still-2-1 *paused .* still-2$" "other-1 *running .* still-2-1$"; do
	grep -q "$line" <<< "$output" || fail "expected '$line' in $output"
done
for port in still-1 still-2 still-2-1; do
	[ -S "$dir/port-$port" ] || fail "no port for $port"
done
[ -S "$dir/run/lkvm/still-1.vsock" ] || fail "no vsock for still-1: $(ls "$dir/run/lkvm")"
"$lkvm" stop --force still > /dev/null
wait "$vm"
expect "they outlive their parent" 0 "$lkvm" stop --force still-1 still-2 still-2-1 other-1
ok forks_are_forked_and_outlive_their_parents

start still "$dir/sleep" -d "$dir/disk"
expect "a disk that is written to" 1 "$lkvm" fork still
grep -q "disk '$dir/disk': its guest writes to it, and can't be two (run it with snapshot=on)" "$dir/still" ||
	fail "expected the disk to be named, seen $(cat "$dir/still")"
"$lkvm" stop --force still > /dev/null
wait "$vm"
start last "$dir/sleep" -n mode=user,guest_mac=02:00:00:00:00:01
files=$(ls "$dir/run/lkvm")
for bad in "more or fewer networks:-n none:as many networks" "a mode that isn't:-n mode=nonsense:no mode is called 'nonsense'" \
	"a folder that isn't:--log /nowhere:'/nowhere'" "a folder for no logs:--log /proc:where its output would go" \
	"a name that won't do:--name a/b:'name' won't do"; do
	IFS=: read -r what options text <<< "$bad"
	# shellcheck disable=SC2086 # words
	expect "$what" 1 "$lkvm" fork last 3 $options
	contains "$what" "$text"
done
expect "no number" 2 "$lkvm" fork last none
expect "too many" 2 "$lkvm" fork last 1001
expect "no VM" 1 "$lkvm" fork nobody
expect "list" 0 "$lkvm" list --json
[ "$(grep -c '"name"' <<< "$output")" = 1 ] || fail "what failed is left: $output"
contains "the parent runs" '"running"'
[ "$(ls "$dir/run/lkvm")" = "$files" ] || fail "files of what failed are left: $(ls "$dir/run/lkvm")"
expect "and can be forked behind that" 0 "$lkvm" fork last
ok failed_fork_leaves_the_parent_running_and_nothing_behind
"$lkvm" stop --force --all > /dev/null
wait "$vm"
vm=

exit "$failed"
