#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Between the two sides of a migration: hands frames on until one of a type comes, kills who it is told to, and cuts
the connection instead of handing that one on.

usage: migrate-proxy.py LISTEN CONNECT TYPE[,TYPE...] [PID]     TYPE: as in state/migrate-stream.h; of several the last one
is cut that comes when the others have gone, in their order, and memory goes slowly behind END, so that some is left
Prints "cut" when it has; both ends are Unix sockets."""
import os, select, signal, socket, struct, sys, time

HEADER, MAGIC = 32, 0x6b76464d
PAGES, END = 3, 6


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
    slow, ended = len(wanted) > 1, False
    while True:
        for end in select.select(list(to), [], [], 60)[0]:
            got = end.recv(1 << 20)
            if not got:
                return
            waiting[end] += got
            while (frame := whole(waiting[end])) is not None:
                if frame[1] == wanted[0] and len(wanted) > 1:
                    wanted.pop(0)
                elif frame[1] == wanted[0]:
                    if victim:
                        os.kill(victim, signal.SIGKILL)
                    print("cut", flush=True)
                    return
                ended = ended or frame[1] == END
                if slow and ended and frame[1] == PAGES:
                    time.sleep(0.02)
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
    relay(source, there, [int(kind) for kind in sys.argv[3].split(",")], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
except OSError:
    pass
