#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# list, pause, resume, debug and stop, signals and exit statuses, a QMP client (qmp-session.py), against VMs that live: payloads of a few
# bytes in real mode, so that any /dev/kvm will do, hardware or software. Every wait is bounded.
#
# usage: tests/integration/control.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
name=control-test-$$
[ "$(uname -m)" = x86_64 ] || { echo "SKIP control: the payloads are for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP control: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] || { echo "SKIP control: no $lkvm (make first)"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-control.XXXXXX)
mkdir -m 700 "$dir/run"
export XDG_RUNTIME_DIR=$dir/run
vm=
trap '[ -z "$vm" ] || kill -9 "$vm" 2>/dev/null; rm -rf "$dir"' EXIT
failed=0

printf '\xeb\xfe' > "$dir/loop"				# jmp .
printf '\xb0\xfe\xe6\x64\xeb\xfe' > "$dir/reset"	# mov $0xfe, %al; out %al, $0x64; jmp .

# expect WHAT STATUS COMMAND...: its status, and in $output what it printed
expect()
{
	local what=$1 want=$2 got
	shift 2
	output=$(timeout 30 "$@" 2>&1)
	got=$?
	[ "$got" = "$want" ] && return
	echo "FAIL $what: status $got instead of $want: $output"
	failed=1
}

# contains WHAT TEXT: in $output
contains()
{
	case $output in
	*"$2"*) ;;
	*)
		echo "FAIL $1: no '$2' in: $output"
		failed=1 ;;
	esac
}

# start NAME OPTIONS...: a VM that loops, its messages in $dir/log; waits until it answers
start()
{
	local name=$1
	shift
	"$lkvm" run --boot flat -k "$dir/loop" -m 16 -c 1 --name "$name" "$@" \
		</dev/null >"$dir/log" 2>&1 &
	vm=$!
	for _ in $(seq 100); do
		case $("$lkvm" list --json 2>/dev/null) in
		*'"running"'*) return ;;
		esac
		kill -0 "$vm" 2>/dev/null || break
		sleep 0.1
	done
	echo "FAIL start $name: $(cat "$dir/log")"
	exit 1
}

# ended WHAT STATUS: the VM started last ends so
ended()
{
	local got
	for _ in $(seq 100); do
		kill -0 "$vm" 2>/dev/null || break
		sleep 0.1
	done
	if kill -0 "$vm" 2>/dev/null; then
		echo "FAIL $1: still runs"
		exit 1
	fi
	wait "$vm"
	got=$?
	vm=
	[ "$got" = "$2" ] && return
	echo "FAIL $1: exit status $got instead of $2: $(cat "$dir/log")"
	failed=1
}

expect "a payload that resets ends" 0 "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 1 --name "$name"
contains "the first line is kvmtool's" "# lkvm run -k $dir/reset -m 16 -c 1 --name $name"
expect "a boot protocol that isn't" 2 "$lkvm" run --boot nosuch -k "$dir/reset" -m 16
contains "a boot protocol that isn't" "is no boot protocol"
# mov $0x0e41, %ax; int $0x10; mov $0x0e0a, %ax; int $0x10; and reset: the BIOS's service prints an A
printf '\xb8\x41\x0e\xcd\x10\xb8\x0a\x0e\xcd\x10\xb0\xfe\xe6\x64\xeb\xfe' > "$dir/sector"
expect "a boot sector that prints" 0 "$lkvm" run --boot bios16 -k "$dir/sector" -m 16 -c 1 --loglevel error </dev/null
[ "$output" = A ] || { echo "FAIL a boot sector that prints: $output"; failed=1; }
mkdir -p "$dir/tree/arch/x86/boot"
cp "$dir/reset" "$dir/tree/arch/x86/boot/bzImage"
expect "a kernel that is found" 0 bash -c 'cd "$1" && "$0" run --boot flat -m 16 -c 1' "$lkvm" "$dir/tree"
contains "a kernel that is found is named" "# lkvm run -k arch/x86/boot/bzImage -m 16"
expect "a terminal that isn't" 2 "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 1 --tty 4
contains "a terminal that isn't" "option --tty: '4' is no terminal (0 to 3)"
expect "a kernel that isn't" 1 "$lkvm" run -k "$dir/reset" -m 16
contains "a kernel that isn't" "ELF vmlinux"
[ "$(grep -o 'ELF vmlinux' <<< "$output" | wc -l)" = 1 ] || { echo "FAIL each kind is listed once: $output"; failed=1; }
# Without standard descriptors, /dev/kvm must not become one.
expect "closed descriptors" 0 bash -c 'exec "$0" "$@" <&- >&- 2>&-' "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 1 --name "$name"
# A pool without pages is an error before the start, not a SIGBUS at the guest's first access.
if [ "$(awk '/^HugePages_(Free|Total)/ { n += $2 } END { print n + 0 }' /proc/meminfo)" = 0 ] &&
	[ "$(cat /proc/sys/vm/nr_overcommit_hugepages 2>/dev/null)" = 0 ]; then
	expect "huge pages that aren't there" 1 "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 1 --hugetlbfs
	contains "huge pages that aren't there" "option --hugetlbfs: "
	expect "--mem's huge pages that aren't there" 1 "$lkvm" run --boot flat -k "$dir/reset" -m 16,hugepages=2M -c 1
	contains "--mem's huge pages that aren't there" "option --mem: "
fi
expect "kvmtool's way to say a hugetlbfs" 1 "$lkvm" run --hugetlbfs "$dir" --boot flat -k "$dir/reset" -m 16
contains "kvmtool's way to say a hugetlbfs" "option --hugetlbfs: '$dir' is no hugetlbfs mount"
expect "more vCPUs than KVM allows" 1 "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 4096
contains "more vCPUs than KVM allows" "option --cpus: 4096, but KVM allows at most"
expect "memory that isn't there" 1 "$lkvm" run --boot flat -k "$dir/reset" -m 1P
contains "memory that isn't there" "option --mem: 1073741824 MiB, but this host has only"
expect "memory that begins elsewhere" 2 "$lkvm" run --boot flat -k "$dir/reset" -m 16@2G
contains "memory that begins elsewhere" "option --mem: a PC's memory begins at 0"
expect "a device that isn't KVM's" 1 "$lkvm" run --boot flat -k "$dir/reset" -m 16 --dev /dev/null
contains "a device that isn't KVM's" "option --dev: '/dev/null': is not KVM's device"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$dir"
	cp "$lkvm" "$dir/lkvm"
	for mode in 600:'no group has it' 660:"be in group daemon"; do
		: > "$dir/kvm-node"
		chgrp daemon "$dir/kvm-node"
		chmod "${mode%%:*}" "$dir/kvm-node"
		expect "no permission" 1 setpriv --reuid 65534 --regid 65534 --clear-groups \
			"$dir/lkvm" run --boot flat -k "$dir/reset" -m 16 --dev "$dir/kvm-node"
		contains "no permission, mode ${mode%%:*}" "${mode#*:}"
	done
fi
# mov $4096, %cx; mov $0x3f8, %dx; mov $'A', %al; 1: out %al, %dx; loop 1b; and reset
printf '\xb9\x00\x10\xba\xf8\x03\xb0\x41\xee\xe2\xfd\xb0\xfe\xe6\x64\xeb\xfe' > "$dir/print"
truncate -s 1M "$dir/limited"
expect "output to a file at its limit" 0 bash -c 'ulimit -f 1024; exec "$0" run --boot flat -k "$1/print" -m 1 -c 1 >>"$1/limited"' \
	"$lkvm" "$dir"
expect "memory past the limit of files" 1 bash -c 'ulimit -f 1024; exec "$0" run --boot flat -k "$1/reset" -m 16 -c 1' \
	"$lkvm" "$dir"
contains "memory past the limit of files" "ulimit -f"
expect "nothing runs" 0 "$lkvm" list --json
contains "nothing runs" "[]"

start "$name"
expect "list" 0 "$lkvm" list
contains "list" "$name"
expect "a name in use" 1 "$lkvm" run --boot flat -k "$dir/loop" -m 16 -c 1 --name "$name"
contains "a name in use" "option --name: '$name' is taken"
expect "pause" 0 "$lkvm" pause "$name"
expect "list of a paused one" 0 "$lkvm" list
contains "list of a paused one" "paused"
expect "debug of a paused one" 0 "$lkvm" debug -n "$name"
contains "debug of a paused one" "vCPU 0"
expect "resume" 0 "$lkvm" resume -n "$name"
expect "debug" 0 "$lkvm" debug -a -d
expect "an NMI to a vCPU that isn't there" 1 "$lkvm" debug --nmi 7 "$name"
contains "an NMI to a vCPU that isn't there" "There is no such vCPU"
expect "a SysRq key" 0 "$lkvm" debug --sysrq t "$name"
expect "a SysRq key of two" 2 "$lkvm" debug --sysrq tt "$name"
expect "stop asks, and waits, and cuts the power" 0 "$lkvm" stop --timeout 1 "$name"
ended "stop" 0

start "$name" --rng --balloon
expect "stat" 0 "$lkvm" stat "$name"
contains "stat" "size                                     16.0M"
contains "stat" "virtio-rng"
expect "stat of memory" 0 "$lkvm" stat --memory -n "$name"
contains "stat of memory" "balloon: to be left                      16.0M"
expect "stat as JSON" 0 bash -c '"$0" stat --json "$1" | python3 -c "
import json, sys
stat = json.load(sys.stdin)
assert stat[\"memory\"][\"size\"] == 16 << 20 and len(stat[\"exits\"]) == 1, stat
assert stat[\"vcpus\"] is None or stat[\"vcpus\"][\"exits\"] > 0, stat"' "$lkvm" "$name"
expect "a balloon" 0 "$lkvm" balloon "$name" 10
expect "a balloon, inflated" 0 "$lkvm" balloon -i 2 -n "$name"
contains "a balloon, inflated" "is to keep 8 MiB"
expect "a balloon as JSON" 0 "$lkvm" balloon --json --deflate 1M "$name"
contains "a balloon as JSON" '"target": 9437184}'
expect "a balloon of more than there is" 1 "$lkvm" balloon --inflate 9 -n "$name"
contains "a balloon of more than there is" "nothing would be left"
expect "stat on two at once" 2 "$lkvm" stat --watch "$name" "$name"
timeout 30 "$lkvm" stat --watch "$name" > "$dir/watch" 2>&1 &
watch=$!
for _ in $(seq 100); do
	[ "$(grep -c '^exits' "$dir/watch")" -lt 2 ] || break
	sleep 0.1
done
expect "stop of a watched VM" 0 "$lkvm" stop --force "$name"
ended "stop of a watched VM" 0
wait "$watch" || { echo "FAIL stat --watch ends with the VM: status $?: $(cat "$dir/watch")"; failed=1; }
grep -q '/s$' "$dir/watch" || { echo "FAIL stat --watch says rates: $(cat "$dir/watch")"; failed=1; }

start "$name" -m 16M,max=64M
expect "memory that grows" 0 "$lkvm" memory "$name" 32
contains "memory that grows" "has 16 MiB and is to have 32 MiB, of at most 64 MiB (it has no driver for that yet)"
expect "memory that grows, as JSON" 0 "$lkvm" memory --json "$name"
contains "memory that grows, as JSON" '"actual": 16777216, "target": 33554432, "max": 67108864, "block": 2097152, "driven": false}'
expect "stat of memory that grows" 0 "$lkvm" stat --memory "$name"
contains "stat of memory that grows" "to be had                                32.0M"
expect "more memory than there can be" 1 "$lkvm" memory -n "$name" 65
contains "more memory than there can be" "can have 16 MiB, and up to 48 more in steps of 2"
expect "less memory than there was" 1 "$lkvm" memory "$name" 8
expect "half a block of memory" 1 "$lkvm" memory "$name" 17
expect "stop of memory that grows" 0 "$lkvm" stop --force "$name"
ended "stop of memory that grows" 0

start "$name"
expect "memory that doesn't grow" 1 "$lkvm" memory "$name" 32
contains "memory that doesn't grow" "max=SIZE"
expect "no balloon" 1 "$lkvm" balloon "$name" 10
contains "no balloon" "lkvm run --balloon"
expect "pause" 0 "$lkvm" pause -a
expect "a paused VM can be stopped" 0 "$lkvm" stop --force --all
ended "stop of a paused VM" 0

for signal in TERM HUP; do
	start "$name"
	kill -$signal "$vm"
	ended "SIG$signal" $((128 + $(kill -l $signal)))
done
# a background job is started with INT ignored, and what was ignored stays so
start "$name"
kill -INT "$vm"
expect "an ignored SIGINT" 0 "$lkvm" list --json
contains "an ignored SIGINT" '"running"'
expect "stop --force" 0 "$lkvm" stop --force "$name"
ended "stop --force" 0
expect "no socket is left behind" 0 ls --ignore=cpuid.cache "$XDG_RUNTIME_DIR/lkvm"
[ -z "$output" ] || { echo "FAIL left behind: $output"; failed=1; }

start "$name"
kill -KILL "$vm"
ended "SIGKILL" 137
expect "a killed VM's socket is cleared away" 0 "$lkvm" list --json
contains "a killed VM's socket is cleared away" "[]"
expect "and can be used again" 0 "$lkvm" run --boot flat -k "$dir/reset" -m 16 -c 1 --name "$name"

if command -v socat >/dev/null; then
	start "$name"
	output=$(printf '%s' '{"execute":"qmp_capabilities"}{"execute":"query-status","id":1}{"execute":"quit"}' |
		timeout 30 socat -t 5 - "UNIX-CONNECT:$XDG_RUNTIME_DIR/lkvm/$name.sock")
	contains "QMP by socat" '"status":"running"'
	contains "QMP by socat" '"reason":"host-qmp-quit"'
	ended "quit" 0

	# A client that only listens is told why, before the socket goes. Its input stays open behind the fifo.
	mkfifo "$dir/say"
	for signal in TERM INT HUP QUIT; do
		# a background job has INT and QUIT ignored, unless it is made with job control
		set -m
		start "$name"
		set +m
		timeout 30 socat -t 0.5 - "UNIX-CONNECT:$XDG_RUNTIME_DIR/lkvm/$name.sock" <"$dir/say" >"$dir/heard" &
		listener=$!
		exec 3>"$dir/say"
		echo '{"execute":"qmp_capabilities"}{"execute":"query-status"}' >&3
		for _ in $(seq 100); do
			grep -q '"status"' "$dir/heard" && break
			sleep 0.1
		done
		kill -$signal "$vm"
		ended "SIG$signal with a client" $((128 + $(kill -l $signal)))
		wait "$listener"
		exec 3>&-
		output=$(grep '"event":"SHUTDOWN"' "$dir/heard")
		contains "SIG$signal's event" '"guest":false'
		contains "SIG$signal's event" '"reason":"host-signal"'
		contains "SIG$signal's event" "\"x-status\":$((128 + $(kill -l $signal)))"
	done
fi

timeout 300 python3 "$(dirname "$0")/qmp-session.py" "$lkvm" || failed=1

[ $failed = 0 ] && echo "PASS control"
exit $failed
