#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lkvm migrate, by a payload that checks its memory (tests/guest/migrate.c): any /dev/kvm will do, hardware or software.
# Every wait is bounded.
#
# usage: tests/integration/migrate.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
payload=build/x86_64/tests/guest/migrate.bin
[ "$(uname -m)" = x86_64 ] || { echo "SKIP migrate: the payload is for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP migrate: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] && make -s guest-payloads > /dev/null || { echo "SKIP migrate: no $lkvm (make first)"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-migrate.XXXXXX)
mkdir -m 700 "$dir/run"
export XDG_RUNTIME_DIR=$dir/run TMPDIR=$dir
declare -A pids=()
trap '"$lkvm" stop --force --all > /dev/null 2>&1; [ ${#pids[@]} = 0 ] || kill -9 "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT
failed=0

fail()
{
	echo "FAIL $*"
	failed=1
}

ok()
{
	[ "$failed" != 0 ] || echo "ok   migrate/$1"
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

# wait_for WHAT COMMAND...: until it succeeds
wait_for()
{
	local what=$1 n
	shift
	for ((n = 0; n < 400; n++)); do
		"$@" > /dev/null 2>&1 && return
		sleep 0.05
	done
	fail "$what: not within 20 s"
	return 1
}

# says TEXT COMMAND...: whether that is in what it prints
says()
{
	"$lkvm" "${@:2}" 2>&1 | grep -q "$1"
}

# What it has said since it was asked last.
speaks()
{
	local seen
	seen=$(grep -c '^# alive' "$dir/$1" 2>/dev/null)
	[ "${seen:-0}" -gt "${spoken[$1]:-0}" ]
}
declare -A spoken=()

# runs NAME: it says something that it has not said yet, and has found nothing wrong
runs()
{
	spoken[$1]=$(grep -c '^# alive' "$dir/$1" 2>/dev/null)
	wait_for "$1 runs" speaks "$1" || tail -n 5 "$dir/$1"
	grep '^FAIL' "$dir/$1" && fail "$1: its memory"
}

# A VM's output is $dir/NAME, what is typed comes by $dir/keys of NAME.
launch()
{
	local name=$1
	shift
	rm -f "$dir/keys-$name"
	mkfifo "$dir/keys-$name"
	# both ends, so that neither waits and none ends
	"$lkvm" run --name "$name" "$@" <> "$dir/keys-$name" > "$dir/$name" 2>&1 &
	pids[$name]=$!
}

start()
{
	launch "$1" --boot flat -k "$payload" -m "${memory:-32}" -c "${cpus:-1}" --nodefaults --rng "${@:2}"
	printf g > "$dir/keys-$1"
	runs "$1"
}

# await NAME ADDRESS OPTIONS...: one that waits there
await()
{
	launch "$1" --incoming "$2" --loglevel info "${@:3}"
	wait_for "$1 waits" grep -q 'waiting at' "$dir/$1"
}

end()
{
	{ kill -9 "${pids[$1]}"; wait "${pids[$1]}"; } 2>/dev/null
	unset "pids[$1]"
}

# left NAME: with which status it ends by itself
left()
{
	wait_for "$1 ends" test ! -e "/proc/${pids[$1]}/exe"
	{ wait "${pids[$1]}"; } 2> /dev/null
	status=$?
	unset "pids[$1]"
}

# ---- to and fro ----

truncate -s 1M "$dir/disk"
start v0 -d "$dir/disk"
hops=${LKVM_SLOW:+60}
hops=${hops:-6}
for ((i = 1; i <= hops; i++)); do
	case $((i % 4)) in
	0) from=tcp:127.0.0.1:$((20000 + $$ % 20000 + i)) to=$from ;;
	3) from=unix:$dir/socket to="exec:socat - UNIX-CONNECT:$dir/socket"
	   command -v socat > /dev/null || to=$from ;;
	*) from=unix:$dir/socket to=$from ;;
	esac
	await "v$i" "$from"
	options=
	[ $((i % 3)) != 2 ] || options=--compress
	expect "hop $i" 0 "$lkvm" migrate "v$((i - 1))" "$to" $options
	contains "hop $i" "Guest v$((i - 1)) moved to $to"
	left "v$((i - 1))"
	[ "$status" = 0 ] || fail "hop $i: the source ended with status $status: $(tail -n 3 "$dir/v$((i - 1))")"
	runs "v$i"
	[ "$failed" = 0 ] || exit 1
done
printf q > "$dir/keys-v$hops"
left "v$hops"
[ "$status" = 0 ] && grep -q '^ok memory_stays_whole' "$dir/v$hops" || fail "the end, status $status: $(tail -n 3 "$dir/v$hops")"
ok "guest_moves_to_and_fro_$hops""_times_with_its_memory_whole"

# ---- a guest that outruns the limit; cancel ----

start here -d "$dir/disk"
await there "unix:$dir/socket"
expect "detached" 0 "$lkvm" migrate here "unix:$dir/socket" --bandwidth 1M --downtime 1 --no-slow-down --detach
wait_for "it is under way" says active migrate --status here
expect "a second one" 1 "$lkvm" migrate here "unix:$dir/socket"
contains "a second one" "being migrated already"
expect "a snapshot" 1 "$lkvm" snapshot here "$dir/snapshot"
contains "a snapshot" "being migrated"
runs here
expect "status" 0 "$lkvm" migrate --status --json here
contains "status" '"status": "active"'
expect "cancel" 0 "$lkvm" migrate --cancel here
left there
[ "$status" != 0 ] || fail "what waited for a guest that didn't come has succeeded"
runs here
wait_for "it is over" says cancelled migrate --status here
await there "unix:$dir/socket"
expect "with a limit" 0 "$lkvm" migrate here "unix:$dir/socket" --bandwidth 16M --json
contains "with a limit" '"status": "completed"'
left here
runs there
ok migration_is_limited_cancelled_and_begun_again

# ---- what can't be ----

expect "nobody is there" 1 "$lkvm" migrate there "unix:$dir/nobody"
contains "nobody is there" "failed"
expect "no address" 1 "$lkvm" migrate there nonsense
contains "no address" "tcp:HOST:PORT"
launch other --incoming "unix:$dir/socket" --mem 64
wait_for "other waits" test -S "$dir/socket"
expect "another machine" 1 "$lkvm" migrate there "unix:$dir/socket"
left other
grep -q 'option --mem: the machine is made already' "$dir/other" || fail "expected --mem to be refused, seen $(cat "$dir/other")"
runs there
await other "unix:$dir/socket" --disk "$dir/none"
expect "a disk that isn't" 1 "$lkvm" migrate there "unix:$dir/socket"
left other
grep -q "'$dir/none': no such file" "$dir/other" || fail "expected the disk to be missing, seen $(cat "$dir/other")"
runs there
expect "and its disk is locked again" 1 "$lkvm" run --boot flat -k "$payload" --nodefaults -d "$dir/disk"
contains "and its disk is locked again" "in use by another VM"
"$lkvm" pause there > /dev/null
await paused "unix:$dir/socket"
expect "a paused guest" 0 "$lkvm" migrate there "unix:$dir/socket"
left there
wait_for "it is paused" says paused list
grep -q '^# alive' "$dir/paused" && fail "a paused guest runs"
"$lkvm" resume paused > /dev/null
runs paused
ok guest_that_can_not_go_stays_and_a_paused_one_stays_paused

# ---- the connection ends, or either side, in place of each message ----

# by TYPE VICTIM [OPTION...]: from $here to another, through a proxy that cuts there, and kills VICTIM (none, here, there) before;
# which of the two has the guest afterwards is $here
by()
{
	local type=$1 victim=$2 what="the message $1, ${2/none/nobody} killed"
	there=x$((++crossings))
	await "$there" "unix:$dir/behind"
	case $victim in
	none) victim= ;;
	here) victim=${pids[$here]} ;;
	there) victim=${pids[$there]} ;;
	esac
	rm -f "$dir/socket"
	timeout 60 python3 tests/integration/migrate-proxy.py "$dir/socket" "$dir/behind" "$type" $victim > "$dir/proxy" &
	proxy=$!
	wait_for "the proxy" test -S "$dir/socket"
	# nearly all of its memory is to come, then
	[ $# = 2 ] || { wait_for "it is under way" says active migrate --status "$here"; "$lkvm" migrate --switch "$here"; } &
	timeout 60 "$lkvm" migrate "$here" "unix:$dir/socket" "${@:3}" > "$dir/said" 2>&1 && fail "$what: it has moved"
	wait "$proxy"
	grep -q cut "$dir/proxy" || fail "$what: it never came: $(cat "$dir/said" "$dir/$there")"
}

# stays WHAT: the guest is at the source, and the other side ends by itself
stays()
{
	runs "$here"
	left "$there"
	[ "$status" != 0 ] || fail "$1: what waited for a guest that didn't come has succeeded"
	grep -q '^# alive' "$dir/$there" && fail "$1: it runs there too"
}

crossings=0
if command -v python3 > /dev/null; then
	here=paused
	for type in 1 2 8 3 5 6 9 7; do
		by "$type" none
		stays "a cut at $type"
		# before its machine is made, and behind
		case $type in 3|9) ;; *) continue ;; esac
		by "$type" there
		stays "the destination killed at $type"
	done
	ok guest_goes_on_at_the_source_when_a_message_up_to_GO_is_lost
	# RUNNING: it is there by now; the source waits for the disk, or for its user
	by 10 none
	runs "$there"
	says finish-migrate list || fail "the source is not paused: $("$lkvm" list)"
	expect "it is held" 1 "$lkvm" resume "$here"
	contains "it is held" "in use elsewhere"
	end "$here"
	here=$there
	runs "$here"
	by 10 there
	wait_for "the guest goes on here" grep -q 'the guest goes on here' "$dir/$here"
	runs "$here"
	end "$there" 2> /dev/null
	by 10 here
	end "$here"
	here=$there
	runs "$here"
	end "$here"
	ok guest_is_where_its_disk_is_when_RUNNING_is_lost
	# without one nobody knows: a proxy's end of the connection isn't the other side's
	start bare
	here=bare
	by 10 none
	runs "$there"
	grep -q 'so the guest stays paused here' "$dir/bare" || fail "the source without a disk: $(tail -n 3 "$dir/bare")"
	sleep 0.3
	before=$(grep -c '^# alive' "$dir/bare")
	sleep 0.3
	[ "$before" = "$(grep -c '^# alive' "$dir/bare")" ] || fail "a guest runs on both sides"
	end "$there"
	expect "its user says" 0 "$lkvm" resume bare
	runs bare
	end bare
	ok guest_without_a_disk_waits_for_its_user_when_RUNNING_is_lost_in_a_tunnel
else
	end paused
	echo "SKIP migrate/proxy: no python3 (scripts/deps test)"
fi
[ "$failed" = 0 ] || exit 1

# ---- post-copy: the guest goes first, and its memory behind it ----

if [ -w /dev/userfaultfd ]; then
	start p0 -d "$dir/disk"
	# at a word, with nearly all of its memory to come
	for i in 1 2 3; do
		await "p$i" "unix:$dir/socket"
		expect "to be switched" 0 "$lkvm" migrate "p$((i - 1))" "unix:$dir/socket" --postcopy 0 --bandwidth 1M --no-slow-down --detach
		wait_for "it is under way" says active migrate --status "p$((i - 1))"
		expect "switched" 0 "$lkvm" migrate --switch "p$((i - 1))"
		wait_for "it is there" says completed migrate --status "p$((i - 1))"
		wait_for "all is there" grep -q "all of the guest's memory is here" "$dir/p$i"
		[ "$failed" = 0 ] || exit 1
		end "p$((i - 1))"
		runs "p$i"
	done
	# by itself, if there is something left
	await p4 "unix:$dir/socket"
	expect "after a round" 0 "$lkvm" migrate p3 "unix:$dir/socket" --postcopy 1 --downtime 1 --no-slow-down --json
	contains "after a round" '"postcopy-requests"'
	left p3
	runs p4
	ok guest_goes_before_its_memory
	if command -v python3 > /dev/null; then
		here=p4 crossings=100
		# the machine is made with memory that doesn't come: no guest there, and it goes on here
		for type in 12 6 9 7; do
			by "$type" none --postcopy 0 --bandwidth 1M --no-slow-down
			[ "$failed" = 0 ] || exit 1
			stays "post-copy, a cut at $type"
		done
		# it runs there, and waits for its memory
		by 10,3 none --postcopy 0 --bandwidth 1M --no-slow-down
		[ "$failed" = 0 ] || exit 1
		grep -q "needs the memory that is still here" "$dir/said" || fail "post-copy lost: $(cat "$dir/said")"
		wait_for "it waits" grep -q 'the guest waits for it' "$dir/$there"
		says postcopy-paused migrate --status "$here" || fail "post-copy lost: $("$lkvm" migrate --status "$here")"
		expect "it isn't to go on here" 1 "$lkvm" resume "$here"
		wait_for "it waits there" test -S "$dir/behind"
		expect "recovered" 0 "$lkvm" migrate --recover "$here" "unix:$dir/behind"
		left "$here"
		here=$there
		runs "$here"
		printf q > "$dir/keys-$here"
		left "$here"
		[ "$status" = 0 ] && grep -q '^ok memory_stays_whole' "$dir/$here" || fail "the end, status $status: $(tail -n 3 "$dir/$here")"
		ok guest_waits_for_its_memory_when_the_connection_is_lost
	fi
else
	echo "SKIP migrate/postcopy: no userfaultfd"
fi
[ "$failed" = 0 ] || exit 1

# ---- kill -9 of either side, at any moment ----

# Of a guest there is one: where the source says it has gone, or else here.
here=last
start last -d "$dir/disk"
for ((i = 0; i < ${LKVM_SLOW:+6}6; i++)); do
	there=k$i victim=$([ $((i % 2)) = 0 ] && echo "k$i" || echo "$here")
	await "$there" "unix:$dir/socket"
	"$lkvm" migrate "$here" "unix:$dir/socket" > "$dir/said" 2>&1 &
	command=$!
	sleep "0.0$((i * 7 % 10))"
	kill -9 "${pids[$victim]}"
	wait "$command"
	moved=$?
	if [ "$victim" = "$there" ]; then
		end "$there"
		if [ "$moved" = 0 ]; then
			left "$here"
			rm -f "$dir/socket"
			start "n$i" -d "$dir/disk"
			here=n$i
		else
			runs "$here"
		fi
	else
		end "$here"
		if grep -q '^# alive' "$dir/$there" || { sleep 0.5; grep -q '^# alive' "$dir/$there"; }; then
			runs "$there"
			here=$there
		else
			# one that nobody has come to waits for the next
			end "$there"
			rm -f "$dir/socket"
			start "n$i" -d "$dir/disk"
			here=n$i
		fi
	fi
	[ "$failed" = 0 ] || exit 1
done
ok guest_survives_on_one_side_when_the_other_is_killed
{ end "$here"; } 2>/dev/null

exit "$failed"
