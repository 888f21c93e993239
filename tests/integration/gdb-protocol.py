#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
gdb's remote protocol against a VM that lives, as a client of the test's own speaks it: good, broken, stalled and
vanishing ones. The guest is a payload of a few bytes in real mode, so that any /dev/kvm will do; breakpoints are
whatever that KVM can do of them. Run by tests/integration/gdb.sh.

usage: gdb-protocol.py LKVM     exit 0: passed, 1: failed
"""
import os
import socket
import subprocess
import sys
import tempfile
import time

# inc %ax; mov %ax, 0x500; nop; jmp to the start: at 1000:0000
COUNT = b"\x40\xa3\x00\x05\x90\xeb\xf9"
BASE = 0x10000
AT_STORE, AT_NOP, AT_JUMP = BASE + 1, BASE + 4, BASE + 5
COUNTER = BASE + 0x500
RAX, RIP = 0, 16

failed = False
work = tempfile.mkdtemp(prefix="lkvm-gdb.")
os.environ["XDG_RUNTIME_DIR"] = work


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.input = b""
        self.acknowledged = 0

    def send(self, payload):
        if isinstance(payload, str):
            payload = payload.encode("latin1")
        self.socket.sendall(b"$" + payload + b"#%02x" % (sum(payload) & 255))

    def byte(self):
        if not self.input:
            self.input = self.socket.recv(65536)
            if not self.input:
                raise EOFError
        first, self.input = self.input[:1], self.input[1:]
        return first

    def receive(self):
        first = self.byte()
        while first != b"$":
            self.acknowledged += first == b"+"
            first = self.byte()
        text = b""
        while not text.endswith(b"#"):
            text += self.byte()
        text = text[:-1]
        assert int(self.byte() + self.byte(), 16) == sum(text) & 255, "a wrong checksum"
        payload, i = b"", 0
        while i < len(text):
            if text[i:i + 1] == b"*":
                payload += payload[-1:] * (text[i + 1] - 29)
            elif text[i:i + 1] == b"}":
                payload += bytes([text[i + 1] ^ 0x20])
            else:
                payload += text[i:i + 1]
                i -= 1
            i += 2
        return payload.decode("latin1")

    def call(self, payload):
        self.send(payload)
        return self.receive()

    def register(self, number):
        return int.from_bytes(bytes.fromhex(self.call("p%x" % number)), "little")

    def interrupt(self):
        self.socket.sendall(b"\x03")
        return self.receive()

    def greet(self):
        expect(self.call("qSupported:swbreak+;hwbreak+").startswith("PacketSize="), "qSupported is answered")
        return self

    def closed(self):
        try:
            while True:
                self.byte()
        except (EOFError, ConnectionError):
            return True
        except socket.timeout:
            return False


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class VM:
    def __init__(self, *options, cpus=1):
        self.path = os.path.join(work, "gdb")
        kernel = os.path.join(work, "count")
        with open(kernel, "wb") as file:
            file.write(COUNT)
        self.log = open(os.path.join(work, "log"), "wb")
        self.process = subprocess.Popen(
            [lkvm, "run", "--boot", "flat", "-k", kernel, "-m", "16", "-c", str(cpus), "--name", "gdb-test",
             "--gdb", "unix:" + self.path, *options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(200):
            if self.state():
                return
            time.sleep(0.05)
        raise AssertionError("the VM doesn't start")

    def state(self):
        output = subprocess.run([lkvm, "list"], stdout=subprocess.PIPE, timeout=20, check=False).stdout.decode()
        return next((state for state in ("running", "paused") if " %s " % state in output), None)

    def wait_state(self, state):
        for _ in range(100):
            if self.state() == state:
                return
            time.sleep(0.05)
        raise AssertionError("the VM is not %s" % state)

    def command(self, *words):
        run = subprocess.run([lkvm, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        return run.returncode, run.stdout.decode()

    def connect(self):
        return Client(self.path)

    def stop(self):
        self.command("stop", "--force", "gdb-test")
        status = self.process.wait(timeout=20)
        self.log.close()
        expect(status == 0, "status 0 after stop --force, not %d" % status)
        expect(not os.path.exists(self.path), "the socket is taken away")


def with_vm(*options, cpus=1):
    def decorate(test):
        def run():
            vm = VM(*options, cpus=cpus)
            try:
                test(vm)
            finally:
                if vm.process.poll() is None:
                    vm.stop()
        run.__name__ = test.__name__
        tests.append(run)
        return run
    return decorate


tests = []


@with_vm()
def a_client_stops_the_guest_reads_it_and_lets_it_go(vm):
    gdb = vm.connect().greet()
    expect(gdb.acknowledged == 1, "packets are acknowledged")
    vm.wait_state("paused")
    expect(gdb.call("?") == "T05thread:1;", "? says why it stands")
    expect(gdb.call("m%x,7" % BASE) == COUNT.hex(), "the code is read")
    expect(gdb.call("qfThreadInfo") == "m1" and gdb.call("qsThreadInfo") == "l", "there is one thread")
    gdb.send("vCont;c")
    time.sleep(0.2)
    expect(gdb.interrupt() == "T02thread:1;", "Ctrl-C stops it")
    counter = gdb.call("m%x,2" % COUNTER)
    gdb.send("c")
    time.sleep(0.2)
    gdb.interrupt()
    expect(gdb.call("m%x,2" % COUNTER) != counter, "it ran between")
    expect(gdb.call("D") == "OK" and gdb.closed(), "it is let go")
    vm.wait_state("running")


@with_vm()
def no_acknowledgements_when_asked(vm):
    gdb = vm.connect().greet()
    expect(gdb.call("QStartNoAckMode") == "OK", "the mode is there")
    before = gdb.acknowledged
    expect(gdb.call("?") == "T05thread:1;" and gdb.acknowledged == before, "none comes")


@with_vm()
def a_lost_reply_is_sent_again(vm):
    gdb = vm.connect().greet()
    gdb.socket.sendall(b"-")
    expect(gdb.receive().startswith("PacketSize="), "the same again")


@with_vm()
def registers_and_memory_are_written(vm):
    gdb = vm.connect().greet()
    expect(gdb.call("P0=8877665544332211") == "OK" and gdb.register(RAX) == 0x1122334455667788, "one register")
    every = gdb.call("g")
    expect(gdb.call("G" + every) == "OK" and gdb.call("g") == every, "all registers")
    expect(gdb.call("M%x,4:deadbeef" % COUNTER) == "OK", "memory by digits")
    expect(gdb.call(b"X%x,4:}\x03}]ab" % COUNTER) == "OK", "memory by bytes")
    expect(gdb.call("m%x,4" % COUNTER) == "237d6162", "is there")
    expect(gdb.call("mffffffff00000000,8").startswith("E"), "what isn't there is an error")
    expect(gdb.call("M%x,4:00" % COUNTER).startswith("E"), "too few digits are too")
    for wrong in ("P999=00", "pfff", "G00", "Hg99", "m", "Z0", "Z0,,", "vCont;x", "vCont;c:99", "T99", "Hg", "H"):
        expect(gdb.call(wrong).startswith("E"), "%s is an error" % wrong)
    large = gdb.call("m%x,8000" % BASE)
    expect(len(large) == 0x10000, "32 KiB come in one packet")
    expect(gdb.call(b"X%x,7000:" % COUNTER + b"a" * 0x7000) == "OK", "28 KiB go in one")


@with_vm()
def a_step_is_one_instruction(vm):
    gdb = vm.connect().greet()
    for _ in range(8):
        before = gdb.register(RIP)
        expect(gdb.call("vCont;s:1") == "T05thread:1;", "the step ends")
        expect(gdb.register(RIP) == {0: 1, 1: 4, 4: 5, 5: 0}[before], "at the next instruction from %d" % before)


@with_vm()
def breakpoints_stop_it_and_are_not_seen(vm):
    gdb = vm.connect().greet()
    for kind in "01":
        expect(gdb.call("Z%s,%x,1" % (kind, AT_NOP)) == "OK", "a breakpoint is set")
        expect(gdb.call("Z%s,%x,1" % (kind, AT_NOP)) == "OK", "twice is once")
        for _ in range(3):
            stop = gdb.call("vCont;c")
            expect(stop.startswith("T05") and "thread:1;" in stop, "it stops: %s" % stop)
            expect("swbreak" in stop or "hwbreak" in stop, "it says by what")
            expect(gdb.register(RIP) + BASE == AT_NOP, "it stops there")
            expect(gdb.call("m%x,7" % BASE) == COUNT.hex(), "it isn't seen in memory")
            expect(gdb.call("z%s,%x,1" % (kind, AT_NOP)) == "OK", "it is removed")
            expect(gdb.call("vCont;s:1").startswith("T05") and gdb.register(RIP) + BASE == AT_JUMP, "stepped over")
            expect(gdb.call("Z%s,%x,1" % (kind, AT_NOP)) == "OK", "and set again")
        expect(gdb.call("z%s,%x,1" % (kind, AT_NOP)) == "OK", "removed for good")
    gdb.send("vCont;c")
    time.sleep(0.2)
    expect(gdb.interrupt().startswith("T02"), "nothing stops it any more")


@with_vm()
def watchpoints_stop_it_or_are_refused(vm):
    gdb = vm.connect().greet()
    answer = gdb.call("Z2,%x,2" % COUNTER)
    if answer == "":
        return
    expect(answer == "OK", "a watchpoint is set")
    stop = gdb.call("vCont;c")
    expect(stop == "T05watch:%x;thread:1;" % COUNTER, "it stops: %s" % stop)
    expect(gdb.register(RIP) + BASE == AT_NOP, "behind the store")
    expect(gdb.call("Z2,%x,8" % (COUNTER + 0x101)).startswith("E"), "one that needs too many registers is refused")


@with_vm(cpus=2)
def one_thread_steps_while_the_other_stays(vm):
    gdb = vm.connect().greet()
    expect(gdb.call("qfThreadInfo") == "m1,2", "there are two")
    second = gdb.call("Hg2") and gdb.call("g")
    expect(gdb.call("vCont;s:1").startswith("T05"), "the first steps")
    expect(gdb.call("Hg2") == "OK" and gdb.call("g") == second, "the second doesn't")
    gdb.send("vCont;c:2")
    time.sleep(0.2)
    gdb.interrupt()
    expect(gdb.call("Hg1") == "OK", "")
    counter = gdb.call("m%x,2" % COUNTER)
    gdb.send("vCont;c:2")
    time.sleep(0.2)
    gdb.interrupt()
    expect(gdb.call("m%x,2" % COUNTER) == counter, "the first stayed")


@with_vm()
def a_client_that_vanishes_takes_its_breakpoints_along(vm):
    gdb = vm.connect().greet()
    expect(gdb.call("Z0,%x,1" % AT_NOP) == "OK", "a breakpoint")
    gdb.socket.close()
    vm.wait_state("running")
    gdb = vm.connect().greet()
    counter = gdb.call("m%x,2" % COUNTER)
    gdb.send("c")
    time.sleep(0.2)
    expect(gdb.interrupt().startswith("T02"), "it isn't met any more")
    expect(gdb.call("m%x,2" % COUNTER) != counter, "the guest runs")
    gdb.send("c")
    gdb.socket.close()
    vm.wait_state("running")


@with_vm()
def a_second_client_hears_why_it_is_refused(vm):
    gdb = vm.connect().greet()
    answer = vm.connect().call("qSupported")
    expect(answer.startswith("E.") and "another gdb" in answer, "it hears: %s" % answer)
    expect(gdb.call("?") == "T05thread:1;", "the first isn't disturbed")


@with_vm()
def who_says_nothing_stops_nobody(vm):
    silent = vm.connect()
    garbage = vm.connect()
    expect(silent.closed(), "one that has said nothing makes room")
    garbage.socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    expect(vm.state() == "running", "no packet, no stop")
    gdb = vm.connect().greet()
    expect(garbage.closed() and gdb.call("?") == "T05thread:1;", "gdb comes in")


@with_vm()
def garbage_costs_the_connection(vm):
    for bytes_sent in (b"$x#00" * 40, b"$" + b"a" * 100000, b"-" * 1000, b"x+" * 100):
        client = vm.connect()
        try:
            client.socket.sendall(bytes_sent)
        except ConnectionError:
            pass
        expect(client.closed(), "%r... is no client" % bytes_sent[:10])
        vm.wait_state("running")


@with_vm()
def who_does_not_read_blocks_nobody(vm):
    gdb = vm.connect().greet()
    gdb.socket.settimeout(0.3)
    try:
        for _ in range(2000):
            gdb.send("m%x,8000" % BASE)
    except socket.timeout:
        pass
    expect(vm.command("list")[0] == 0, "the control socket answers")
    gdb.socket.close()
    vm.wait_state("running")


@with_vm()
def other_commands_know_of_gdb(vm):
    gdb = vm.connect().greet()
    status, text = vm.command("resume", "gdb-test")
    expect(status == 1 and "gdb" in text, "resume says who holds the guest: %s" % text)
    expect(vm.command("debug", "gdb-test")[0] == 0, "debug shows it")
    gdb.send("c")
    expect(vm.command("pause", "gdb-test")[0] == 0, "pause")
    expect(gdb.interrupt().startswith("T02"), "Ctrl-C while paused")
    gdb.send("c")
    time.sleep(0.1)
    expect(vm.state() == "paused", "gdb doesn't end another's pause")
    expect(vm.command("resume", "gdb-test")[0] == 0, "resume")
    vm.wait_state("running")
    vm.stop()
    expect(gdb.receive() == "W00", "gdb hears of the end")


@with_vm()
def stop_force_ends_a_guest_that_gdb_holds(vm):
    vm.connect().greet()
    vm.stop()


@with_vm()
def kill_ends_the_vm(vm):
    gdb = vm.connect().greet()
    gdb.send("k")
    expect(gdb.closed() and vm.process.wait(timeout=20) == 0, "by the power's cut")


@with_vm("--gdb-wait")
def the_first_instruction_waits_for_gdb(vm):
    expect(vm.state() == "paused", "it waits")
    gdb = vm.connect().greet()
    expect(gdb.register(RIP) == 0 and gdb.call("m%x,2" % COUNTER) == "0000", "nothing has run")
    expect(gdb.call("D") == "OK", "")
    vm.wait_state("running")


@with_vm("--on-reboot", "restart")
def a_reset_keeps_the_client(vm):
    gdb = vm.connect().greet()
    expect(gdb.call("Z0,%x,1" % AT_JUMP) == "OK", "a breakpoint")
    expect("reset" in bytes.fromhex(gdb.call("qRcmd," + b"system_reset".hex())).decode(), "monitor system_reset")
    expect(gdb.register(RIP) == 0 and gdb.call("m%x,7" % BASE) == COUNT.hex(), "it begins anew, clean")
    # gdb sets its breakpoints anew whenever the guest goes on
    expect(gdb.call("Z0,%x,1" % AT_JUMP) == "OK", "the breakpoint again")
    gdb.call("vCont;c")
    expect(gdb.register(RIP) + BASE == AT_JUMP, "it is met")


@with_vm()
def an_attach_is_quick(vm):
    times = []
    for _ in range(10):
        start = time.monotonic()
        gdb = vm.connect().greet()
        gdb.call("?")
        gdb.call("qXfer:features:read:target.xml:0,fffb")
        gdb.call("g")
        times.append((time.monotonic() - start) * 1000)
        gdb.call("D")
        vm.wait_state("running")
    print("attach: %.1f to %.1f ms" % (min(times), max(times)))
    expect(min(times) < 50 or "LKVM_NESTED" in os.environ, "in less than 50 ms, not %.1f" % min(times))


lkvm = os.path.abspath(sys.argv[1])
for test in tests:
    if len(sys.argv) > 2 and test.__name__ not in sys.argv[2:]:
        continue
    try:
        test()
        print("ok   gdb/%s" % test.__name__)
    except (AssertionError, EOFError, OSError, ValueError, subprocess.SubprocessError) as error:
        failed = True
        print("FAIL gdb/%s: %s %s" % (test.__name__, type(error).__name__, error))
        with open(os.path.join(work, "log"), "rb") as log:
            print(log.read().decode("latin1"), end="")
    sys.stdout.flush()
subprocess.run(["rm", "-rf", work], check=False)
sys.exit(failed)
