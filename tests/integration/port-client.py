#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The host's side of the ports scenario of tests/integration/x86-cases: a client of a port's socket, again and again.

usage: tests/integration/port-client.py SOCKET DATA LOG     exit 0: all came through; else one line says what didn't
LOG is the file of the guest's other port, where it says what it is about to do.
"""
import socket
import sys
import threading
import time

SECONDS = 120


def wait_for(log, word):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with open(log, encoding="ascii") as file:
            if word in file.read().split():
                return
        time.sleep(0.1)
    sys.exit(f"expected the guest to say '{word}' through its port")


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(SECONDS)
    client.connect(path)
    return client


def expect(client, data, what):
    seen = b""
    while len(seen) < len(data):
        part = client.recv(65536)
        if not part:
            break
        seen += part
    if seen != data:
        sys.exit(f"{what}: expected {len(data)} bytes as they were, seen {len(seen)} bytes")


def main():
    path, data, log = sys.argv[1:]
    with open(data, "rb") as file:
        data = file.read()
    wait_for(log, "reads")
    with connect(path) as client:
        client.sendall(data)
    # The guest's cat has ended, so it has seen the end of the file.
    wait_for(log, "writes")
    with connect(path) as client:
        expect(client, data, "host to guest and back")
        wait_for(log, "echoes")
        sender = threading.Thread(target=client.sendall, args=(data,), daemon=True)
        sender.start()
        expect(client, data, "both ways at once")
        # It stays while the guest's driver goes.
        wait_for(log, "unbound")
        expect(client, b"bound again\n", "after unbind and bind")


try:
    main()
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
