#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lkvm test, with guests that are payloads of a few bytes in real mode, so that any /dev/kvm will do: how they end is told
# apart, none is lost, and nothing is left behind. What needs a Linux guest is in command-cases.
#
# usage: tests/integration/testing.sh [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
set -u

lkvm=$(readlink -f "${1:-./lkvm}")
[ "$(uname -m)" = x86_64 ] || { echo "SKIP testing: the payloads are for x86"; exit 77; }
[ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo "SKIP testing: no access to /dev/kvm"; exit 77; }
[ -x "$lkvm" ] || { echo "SKIP testing: no $lkvm (make first)"; exit 77; }
command -v python3 > /dev/null || { echo "SKIP testing: no python3 (scripts/deps test)"; exit 77; }

dir=$(mktemp -d /tmp/lkvm-testing.XXXXXX)
mkdir -m 700 "$dir/run"
export XDG_RUNTIME_DIR=$dir/run
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

printf '\xeb\xfe' > loop				# jmp .
printf '\xb0\xfe\xe6\x64\xeb\xfe' > reset		# mov $0xfe, %al; out %al, $0x64; jmp .
# no interrupts, and in protected mode a segment that isn't there: lidt %cs:0x15; mov %cr0, %eax; or $1, %al; mov %eax, %cr0;
# jmp; mov $0x18, %ax; mov %ax, %gs
printf '\x2e\x0f\x01\x1e\x15\x00\x0f\x20\xc0\x0c\x01\x0f\x22\xc0\xeb\x00\xb8\x18\x00\x8e\xe8\x00\x00\x00\x00\x00\x00' > fault

# says TEXT: a payload that prints it on the serial port, and resets: mov $0x3f8, %dx; mov $0x15, %si; lods %cs:(%si), %al;
# test %al, %al; je; out %al, (%dx); jmp; and as above
says()
{
	printf '\xba\xf8\x03\xbe\x15\x00\x2e\xac\x84\xc0\x74\x03\xee\xeb\xf7\xb0\xfe\xe6\x64\xeb\xfe%b\x00' "$1"
}
says '[    0.1] Kernel panic - not syncing: by itself\n' > panic
says '[    0.1] BUG: kernel NULL pointer dereference\n' > oops
says '[    0.1] KTAP version 1\n[    0.1] 1..2\n[    0.1] ok 1 first\n[    0.1] not ok 2 second # why\n' > kunit

fail()
{
	echo "FAIL $1"
	failed=1
}

# run_test WHAT STATUS ARGUMENT...: lkvm test, its TAP in ./tap and the folder ./out
run_test()
{
	local what=$1 want=$2 got
	shift 2
	rm -rf out
	timeout 120 "$lkvm" test --output out --set boot=flat --set mem=16M "$@" > tap 2> messages
	got=$?
	[ "$got" = "$want" ] || fail "$what: status $got instead of $want: $(tail -3 messages)"
}

# contains WHAT FILE TEXT
contains()
{
	grep -qF -- "$3" "$2" || fail "$1: no '$3' in $2: $(head -40 "$2")"
}

# none_left WHAT: no VM lives, within 10 s
none_left()
{
	for _ in $(seq 100); do
		[ "$("$lkvm" list --json 2>/dev/null | tr -d ' \n')" != "[]" ] || return
		sleep 0.1
	done
	fail "$1: VMs are left: $("$lkvm" list)"
}

# Each end by its name, in TAP, in JUnit and in JSON
run_test outcomes 1 -k reset -k fault -k panic -k oops -k kunit -k loop -k /nowhere --timeout 3 -- true
outcomes=$(python3 - <<'END'
import json, xml.etree.ElementTree as xml
runs = json.load(open("out/results.json"))["runs"]
suites = xml.parse("out/junit.xml").getroot()
assert len(suites) == len(runs), suites
assert all("kvm-run" in run["tries"][0]["times"] for run in runs[:-1]), runs
print(*[run["outcome"] for run in runs])
END
)
[ "$outcomes" = "early-end triple-fault panic oops early-end timeout host-error" ] || fail "outcomes: $outcomes"
contains outcomes tap 'reason: "Kernel panic - not syncing: by itself"'
contains outcomes tap "    not ok 2 - second"
contains outcomes out/results.tap "not ok 7 - /nowhere/true"
contains outcomes out/report.html "BUG: kernel NULL pointer dereference"
contains outcomes out/0003-panic_true.1.log "not syncing: by itself"
none_left outcomes

# The page, as a browser shows it: what a guest printed is text, nothing is fetched, nothing is wider than the window.
if command -v chromium > /dev/null; then
	says '[    0.1] BUG: kernel <script>document.title = "obeyed"</script>\n' > script
	rm -rf page
	"$lkvm" test --output page --set boot=flat --set mem=16M -k oops -k script -k kunit -- true > /dev/null 2>&1
	cat > look.html <<-'END'
		<iframe id=page src=page/report.html width=1000 height=800></iframe>
		<script>
		onload = () => {
			const page = document.getElementById("page").contentDocument, body = page.body;
			const bars = [...page.querySelectorAll(".bar i")].filter(bar => bar.getBoundingClientRect().width > 0);
			document.body.dataset.seen = [page.title != "obeyed", body.innerText.includes("of 3 runs"), bars.length > 5,
				page.documentElement.scrollWidth <= page.documentElement.clientWidth,
				page.defaultView.performance.getEntriesByType("resource").length].join(" ");
		};
		</script>
	END
	timeout 60 chromium --headless --no-sandbox --disable-gpu --allow-file-access-from-files --user-data-dir="$dir/browser" \
		--virtual-time-budget=3000 --dump-dom "file://$dir/look.html" 2> /dev/null > dom
	contains page dom 'data-seen="true true true true 0"'
else
	echo "SKIP testing/page: no chromium"
fi

# Colour is for terminals, and not for who says NO_COLOR.
colours()
{
	"$@" python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$lkvm" no-such-command < /dev/null | grep -c $'\033'
}
[ "$(colours env -u NO_COLOR TERM=xterm)" = 1 ] || fail "colour: none on a terminal"
[ "$(colours env NO_COLOR=1 TERM=xterm)$(colours env -u NO_COLOR TERM=dumb)" = 00 ] || fail "colour: it isn't wanted"

# Forty, four at a time: each is there once
configs=()
for n in $(seq 40); do
	configs+=(-p "n=$n")
done
run_test forty 1 --jobs 4 --cpus 4 --retries 1 -k kunit "${configs[@]}" -- true
[ "$(grep -c '^not ok [0-9]* - kunit/n=[0-9]*/true$' tap)" = 40 ] || fail "forty: $(grep -c '^not ok' tap) runs"
[ "$(find out -name '*.[12].log' -size +0 | wc -l)" = 80 ] || fail "forty: $(find out -name '*.log' -size +0 | wc -l) logs"
[ "$(grep -c 'tries: 2' tap)" = 40 ] || fail "forty: $(grep -c 'tries: 2' tap) were tried again"
none_left forty

# Ctrl-C ends those that run, and reports are written
rm -rf out
env --default-signal=INT "$lkvm" test --output out --set boot=flat --set mem=16M --timeout 60 --jobs 2 --cpus 2 -k loop -p a -p b -p c -- true > tap 2> messages &
pid=$!
for _ in $(seq 100); do
	[ "$("$lkvm" list --json 2>/dev/null | grep -c running)" != 2 ] || break
	sleep 0.1
done
kill -INT "$pid"
wait "$pid"
status=$?
pid=
[ "$status" = 130 ] || fail "interrupt: status $status instead of 130"
[ "$(grep -c 'outcome: interrupted' tap)" = 2 ] || fail "interrupt: $(cat tap)"
contains interrupt out/junit.xml 'type="not-run"'
none_left interrupt

# Whatever ends lkvm test, its guests end
"$lkvm" test --output out --set boot=flat --set mem=16M -k loop --timeout 60 -- true > tap 2> messages &
pid=$!
for _ in $(seq 100); do
	[ "$("$lkvm" list --json 2>/dev/null | grep -c running)" != 1 ] || break
	sleep 0.1
done
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
none_left kill

# A file, --list and --only
cat > suite.conf <<'END'
[kernel "a"]
kernel = reset
[kernel "b"]
kernel = kunit
[test "t"]
command = true
[test "u"]
command = true
END
[ "$("$lkvm" test suite.conf --list | tr '\n' ' ')" = "a/t a/u b/t b/u " ] || fail "list: $("$lkvm" test suite.conf --list)"
run_test only 1 suite.conf --only 'b/*' --only a/u
[ "$(grep -c '^not ok' tap)" = 3 ] || fail "only: $(cat tap)"

# What is wrong is said before anything runs
run_test usage 2 -k loop
run_test usage 2 -k loop --set spu=4 -- true
contains usage messages "option --set: spu: no such option"
[ ! -e out ] || fail "usage: there is a folder"

[ "$failed" = 0 ] && echo "ok   testing"
exit "$failed"
