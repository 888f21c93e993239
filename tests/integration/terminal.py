#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The terminal is restored on every way out of `lkvm run`: a guest's reset, Ctrl-A x, signals that ask, signals of
a crash. On a pty of the test's own, with a payload of two bytes, so that any /dev/kvm will do.

usage: tests/integration/terminal.py [LKVM]     exit 0: passed, 1: failed, 77: this host can't run it
"""
import fcntl
import os
import platform
import pty
import select
import signal
import shutil
import sys
import tempfile
import termios
import time

LOOP = b"\xeb\xfe"
RESET = b"\xb0\xfe\xe6\x64\xeb\xfe"


def wait_for(condition, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def run(lkvm, folder, what, payload, act, expected):
    """Starts lkvm on a pty, waits until it is raw, calls act(pid, master); what went wrong, or None"""
    image = os.path.join(folder, "payload")
    with open(image, "wb") as file:
        file.write(payload)
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.execv(lkvm, [lkvm, "run", "--boot", "flat", "-m", "16", "-c", "1", "-k", image])
    ended = []

    def has_ended():
        if not ended:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                ended.append(os.waitstatus_to_exitcode(status))
        while select.select([master], [], [], 0)[0]:
            os.read(master, 4096)
        return bool(ended)

    try:
        if act:
            if not wait_for(lambda: termios.tcgetattr(slave)[3] != before[3] or has_ended()) or ended:
                return "the terminal was never made raw"
            act(pid, master)
        if not wait_for(has_ended):
            return "still runs"
        if termios.tcgetattr(slave) != before:
            return "the terminal is not restored"
        if expected >= 0 and set(os.listdir(os.path.join(folder, "lkvm"))) - {"cpuid.cache"}:
            return "a socket is left behind"
        if ended[0] != expected:
            return "exit status %d instead of %d" % (ended[0], expected)
        return None
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(master)
        os.close(slave)


def kill(number):
    return lambda pid, master: os.kill(pid, number)


def main():
    lkvm = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "./lkvm")
    if platform.machine() != "x86_64" or not os.access("/dev/kvm", os.R_OK | os.W_OK) or not os.access(lkvm, os.X_OK):
        print("SKIP terminal: needs x86-64, /dev/kvm and a built lkvm")
        return 77
    folder = tempfile.mkdtemp(prefix="lkvm-terminal.")
    os.environ["XDG_RUNTIME_DIR"] = folder
    ways = [("a guest's reset", RESET, None, 0),
            ("Ctrl-A x", LOOP, lambda pid, master: os.write(master, b"\x01x"), 0)]
    ways += [(number.name, LOOP, kill(number), 128 + number)
             for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
                           signal.SIGALRM, signal.SIGXCPU, signal.SIGPWR)]
    ways += [(number.name, LOOP, kill(number), -number) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTRAP,
                                                                              signal.SIGPROF, signal.SIGIO)]
    failed = 0
    for what, payload, act, expected in ways:
        wrong = run(lkvm, folder, what, payload, act, expected)
        if wrong:
            print("FAIL %s: %s" % (what, wrong))
            failed = 1
    shutil.rmtree(folder)
    if not failed:
        print("PASS terminal")
    return failed


if __name__ == "__main__":
    sys.exit(main())
