#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Between the two sides of a migration: hands frames on until one of a type comes, kills who it is told to, and cuts
the connection instead of handing that one on.

usage: migrate-proxy.py LISTEN CONNECT TYPE [PID]     TYPE: as in state/migrate-stream.h, 0: none
Prints "cut" when it has; both ends are Unix sockets."""
import os, select, signal, socket, struct, sys

HEADER, MAGIC = 32, 0x6b76464d


def whole(data):
    """The length and type of the first frame, or None while it isn't all there."""
    if len(data) < HEADER:
        return None
    magic, kind, _, length = struct.unpack_from("<IHHI", data)
    assert magic == MAGIC, "no frame"
    return (HEADER + length, kind) if len(data) >= HEADER + length else None


def relay(source, there, wanted, victim):
    to = {source: there, there: source}
    waiting = {source: b"", there: b""}
    while True:
        for end in select.select(list(to), [], [], 60)[0]:
            got = end.recv(1 << 20)
            if not got:
                return
            waiting[end] += got
            while (frame := whole(waiting[end])) is not None:
                if frame[1] == wanted:
                    if victim:
                        os.kill(victim, signal.SIGKILL)
                    print("cut", flush=True)
                    return
                to[end].sendall(waiting[end][:frame[0]])
                waiting[end] = waiting[end][frame[0]:]


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
source = listener.accept()[0]
os.unlink(sys.argv[1])
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[2])
try:
    relay(source, there, int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
except OSError:
    pass
