#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes first inputs for the targets whose protocols nobody guesses: seeds.py build/fuzz/corpus

Only needed when a device or a protocol learns something new: tests/fuzz/corpus has what came of them.
"""
import gzip
import os
import struct
import sys

corpus = sys.argv[1]
count = 0


def put(target, data):
    global count
    os.makedirs(os.path.join(corpus, target), exist_ok=True)
    with open(os.path.join(corpus, target, "seed-%03d" % count), "wb") as out:
        out.write(data)
    count += 1


def u8(*values):
    return bytes(values)


def u16(*values):
    return struct.pack("<%dH" % len(values), *values)


def u32(*values):
    return struct.pack("<%dI" % len(values), *values)


def u64(*values):
    return struct.pack("<%dQ" % len(values), *values)


# ---- steps of tests/fuzz/virtio.c ----

REQUEST, INDIRECT, KICK, DESCRIBE, OFFER, INDEX, CONFIG_WRITE, CONFIG_READ, RESTART, STATUS, SAVE, EVENT, RAM, POWER = range(14)


def queue_byte(queue, queues):
    """One that has its message's length put right, and is told of."""
    return next(v for v in range(0x20, 0x80) if v % queues == queue)


def request(queue, queues, data=b"", room=0, pieces=0, indirect=False):
    return u8(INDIRECT if indirect else REQUEST, queue_byte(queue, queues), pieces) + u16(len(data), room) + data


SAVED = u8(SAVE, 0)
ENDS = [b"", SAVED, u8(POWER), u8(RESTART, 1, 29), u8(SAVE, 1) + u16(40) + u8(255)]


def put_steps(target, steps):
    """Each alone, all together, and with what comes over a device now and then behind them."""
    for step in steps:
        put(target, step)
    for end in ENDS:
        put(target, b"".join(steps) + end + b"".join(steps[:3]))


# ---- disks ----

blk = [request(0, 2, u32(kind, 0) + u64(sector) + data, room, pieces, indirect)
       for kind, sector, data, room in [
           (0, 0, b"", 513), (0, 5, b"", 4097), (1, 3, b"w" * 512, 1), (4, 0, b"", 1), (8, 0, b"", 21),
           (11, 0, u64(8) + u32(8, 0), 1), (13, 0, u64(16) + u32(8, 1), 1), (13, 0, u64(16) + u32(8, 0), 1), (0, 2047, b"", 1025)]
       for pieces, indirect in [(0, False), (0x12, True)]]
put_steps("blk", blk)
put_steps("blk-packed", blk)
put("blk", blk[0] + u8(EVENT, 2) + blk[1] + u8(CONFIG_WRITE, 32, 0, 1) + blk[4] + u8(CONFIG_READ, 0, 60))


def lun(target, number):
    return u8(1, target, 0x40 | number >> 8, number & 255, 0, 0, 0, 0)


def cdb(*values):
    return bytes(values) + bytes(32 - len(values))


def command(where, block, out=b"", room=0):
    return request(2, 4, where + u64(7) + u8(0, 0, 0) + block + out, 108 + room)


DISK, DISC, READ_ONLY = lun(0, 0), lun(1, 0), lun(5, 3)
blocks = [cdb(0), cdb(0x12, 0, 0, 0, 96), cdb(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), cdb(0x25), cdb(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32),
          cdb(0x1a, 0, 0x3f, 0, 255), cdb(0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255), cdb(0x28, 0, 0, 0, 0, 1, 0, 0, 2), cdb(0x08, 0, 0, 1, 1),
          cdb(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2), cdb(0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 1), cdb(0x03, 0, 0, 0, 18), cdb(0x35),
          cdb(0x2f, 0, 0, 0, 0, 1, 0, 0, 2), cdb(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), cdb(0x1b), cdb(0x1e),
          cdb(0x43, 0, 0, 0, 0, 0, 0, 0, 64), cdb(0x46, 0, 0, 0, 0, 0, 0, 0, 64), cdb(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8),
          cdb(0x51, 0, 0, 0, 0, 0, 0, 0, 34), cdb(0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 1, 0), cdb(0xad, 0, 0, 0, 0, 0, 0, 0, 0, 64),
          cdb(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8)]
blocks += [cdb(0x12, 1, page, 0, 255) for page in (0, 0x80, 0x83, 0xb0, 0xb1, 0xb2)]
scsi = [command(where, block, b"", 512) for block in blocks for where in (DISK, DISC)]
scsi += [command(DISK, cdb(0x2a, 0, 0, 0, 0, 1, 0, 0, 1), b"w" * 512), command(DISK, cdb(0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1), b"w" * 512),
         command(DISK, cdb(0x41, 8, 0, 0, 0, 1, 0, 0, 4), b"s" * 512), command(DISK, cdb(0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4), b"s" * 512),
         command(DISK, cdb(0x42, 0, 0, 0, 0, 0, 0, 0, 24), b"\0\x16\0\x10\0\0\0\0" + b"\0" * 7 + b"\x04\0\0\0\x10" + bytes(4)),
         command(DISK, cdb(0x15, 0x10, 0, 0, 24), bytes(4) + u8(8, 18, 4) + bytes(17)),
         command(READ_ONLY, cdb(0x2a, 0, 0, 0, 0, 1, 0, 0, 1), b"w" * 512)]
scsi += [request(0, 4, u32(0, kind) + DISK + u64(7), 1) for kind in range(8)]
scsi += [request(0, 4, u32(1) + DISC + u32(0x7e), 5), request(1, 4, b"", 16), request(1, 4, b"", 16)]
# what each unit says first is that it was turned on
awake = command(DISK, cdb(0)) + command(DISC, cdb(0)) + command(READ_ONLY, cdb(0))
for at in range(0, len(scsi), 4):
    put("scsi", awake + b"".join(scsi[at:at + 4]))
put_steps("scsi", [awake] + scsi[-10:])
for event in range(4, 10):
    put("scsi", awake + scsi[-1] + scsi[-2] + u8(EVENT, event) + scsi[9] + u8(EVENT, event + 1) + scsi[5] + command(DISC, cdb(0x1b, 0, 0, 0, 2)) + scsi[21])
put("scsi", scsi[-1] + u8(EVENT, 2) + b"".join(scsi[:6]) + SAVED)

# ---- net ----

header = u8(0, 0) + u16(0, 0, 0, 0, 0)
frame = bytes.fromhex("021515010203525400123456") + b"\x08\x00" + bytes(50)
checksum = u8(1, 0) + u16(0, 0, 34, 16, 0)
segments = u8(1, 1) + u16(54, 1000, 34, 16, 0)
mac = bytes.fromhex("021515010204")
net = [request(1, 5, header + frame), request(1, 5, checksum + frame), request(1, 5, segments + frame, 0, 2), request(3, 5, header + frame),
       request(0, 5, b"", 2048), request(0, 5, b"", 200, 0x20), request(2, 5, b"", 4096), u8(EVENT, 0, 2) + u16(100) + u8(2),
       u8(EVENT, 1, 1) + u16(1500) + u8(255)]
net += [request(4, 5, body, 1) for body in [
    u8(0, 0, 1), u8(0, 1, 1), u8(0, 3, 1), u8(1, 1) + mac, u8(1, 0) + u32(1) + mac + u32(1) + b"\x33\x33\0\0\0\1",
    u8(2, 0) + u16(5), u8(2, 1) + u16(5), u8(3, 0), u8(4, 0) + u16(2), u8(5, 0) + u64(3)]]
put_steps("net", net)
put_steps("net-packed", net)

# ---- the small ones ----

put_steps("rng", [request(0, 1, b"", 64), request(0, 1, b"", 16384, 0x30), request(0, 1, b"x", 8)])
pages = u32(*[(0x140000 >> 12) + i for i in range(8)])
put_steps("balloon", [request(0, 5, pages), request(1, 5, pages), request(2, 5, b"".join(u16(i) + u64(1000 * i) for i in range(10))),
                      u8(EVENT, 2), request(3, 5, u32(1)), request(3, 5, b"", 16384), request(3, 5, u32(1)), request(4, 5, b"", 8192, 0x30),
                      u8(EVENT, 3), u8(EVENT, 1), u8(EVENT, 0) + u32(1 << 20), u8(CONFIG_WRITE, 4, 2, 1, 0, 0, 0), u8(CONFIG_READ, 0, 16)])


def block(kind, index, count):
    return request(0, 1, u16(kind, 0, 0, 0) + u64((4 << 30) + (index << 21)) + u16(count, 0, 0, 0), 16)


put_steps("mem", [u8(EVENT, 0) + u16(12), block(0, 3, 8), u8(EVENT, 2) + u16(4), block(3, 0, 14), block(3, 3, 8), block(1, 4, 2), block(0, 0, 300),
                  u8(CONFIG_READ, 0, 56), u8(EVENT, 1) + u16(20) + u8(15), block(2, 0, 0), block(9, 0, 1), request(0, 1, b"x" * 23, 16)])
put_steps("console", [request(0, 2, b"", 64), request(1, 2, b"hello\n"), u8(EVENT, 5) + b"typed", request(1, 2, b"x" * 300, 0, 3), u8(EVENT, 0x83) + b"abc",
                      u8(CONFIG_READ, 0, 8)])


def control(port, event, value):
    return request(3, 8, u32(port) + u16(event, value))


ports = [request(2, 8, b"", 128)] * 8 + [control(0xffffffff, 0, 1), control(1, 3, 1), control(2, 3, 1), control(1, 6, 1), control(2, 6, 1),
                                         request(4, 8, b"", 64), request(5, 8, b"from the guest"), u8(EVENT, 0, 2, 5) + b"hello",
                                         u8(EVENT, 0, 3) + u16(5), request(5, 8, b"more of it"), u8(EVENT, 0, 1), u8(EVENT, 0, 0),
                                         request(7, 8, b"second"), u8(EVENT, 1, 4), control(1, 6, 0)]
put_steps("ports", ports)
put("ports", b"".join(ports))


def packet(operation, guest, host, data=b"", room=64 << 10, flags=0, count=0):
    return request(1, 3, u64(42, 2) + u32(guest, host, len(data)) + u16(1, operation) + u32(flags, room, count) + data)


buffers = [request(0, 3, b"", 4096)] * 8
vsock = buffers + [packet(1, 1234, 5000), u8(EVENT, 1), packet(5, 1234, 5000, b"to the host"), u8(EVENT, 4) + u16(100), u8(EVENT, 2, 5) + b"hello",
                   packet(6, 1234, 5000), packet(7, 1234, 5000), u8(EVENT, 3) + u16(9000), packet(4, 1234, 5000, flags=3), packet(3, 1234, 5000),
                   u8(EVENT, 16 * 7) + u16(77), u8(EVENT, 5, 1), u8(EVENT, 6)]
put_steps("vsock", vsock)
for index in range(8, len(vsock)):
    put("vsock", b"".join(vsock[:index]))

# ---- shares ----


def text(name):
    return u16(len(name)) + name.encode()


def nine(kind, body, tag=1, room=4096):
    return request(0, 1, u32(0) + u8(kind) + u16(tag) + body, room, 0x12)


session = nine(100, u32(8192) + text("9P2000.L"), 0xffff) + nine(104, u32(0, 0xffffffff) + text("") + text("") + u32(0))


def walk(fid, *names):
    return nine(110, u32(0, fid) + u16(len(names)) + b"".join(map(text, names)))


calls = [walk(1, "file"), walk(2, "dir", "inner"), walk(3), walk(4, "link"), walk(5, "..", "..", "secret"), nine(12, u32(1, 2)), nine(116, u32(1) + u64(0) + u32(100)),
         nine(118, u32(1) + u64(3) + u32(4) + b"data"), nine(24, u32(1) + u64(0x3fff)), nine(8, u32(0)), nine(50, u32(1, 0)),
         nine(26, u32(1, 0x1ff, 0o600, 0, 0) + u64(4, 0, 0, 0, 0)), nine(52, u32(1) + u8(1) + u32(0) + u64(0, 10) + u32(1) + text("me")),
         nine(54, u32(1) + u8(1) + u64(0, 10) + u32(1) + text("me")), nine(120, u32(1)), nine(12, u32(3, 0x10000)), nine(40, u32(3) + u64(0) + u32(2000)),
         walk(6), nine(14, u32(6) + text("made") + u32(2, 0o644, 0)), nine(16, u32(0) + text("sym") + text("file") + u32(0)), nine(22, u32(4)),
         nine(18, u32(0) + text("pipe") + u32(0o10644, 0, 0, 0)), walk(7, "other"), nine(20, u32(7, 0) + text("renamed")), nine(70, u32(0, 7) + text("hard")),
         nine(72, u32(0) + text("new") + u32(0o755, 0)), nine(74, u32(0) + text("new") + u32(0) + text("newer")), nine(76, u32(0) + text("newer") + u32(0x200)),
         nine(30, u32(7, 8) + text("")), nine(30, u32(7, 9) + text("user.x")), nine(32, u32(7) + text("user.x") + u64(3) + u32(0)), nine(118, u32(7) + u64(0) + u32(3) + b"abc"),
         nine(120, u32(7)), nine(108, u16(1), 2), nine(122, u32(2)), nine(102, u32(9) + text("") + text("") + u32(0))]
for target in ("9p", "9p-mapped"):
    for call in calls:
        put(target, session + call)
    for at in range(0, len(calls), 4):
        put(target, session + b"".join(calls[:5]) + b"".join(calls[at:at + 4]) + SAVED + calls[6])
    put(target, session + b"".join(calls))
    put(target, session + b"".join(calls[:12]) + SAVED + b"".join(calls[6:]) + u8(SAVE, 1) + u16(300) + u8(7) + calls[3])


def fuse(kind, node, body=b"", room=4096, queue=1):
    return request(queue, 2, u32(0, kind) + u64(77, node) + u32(0, 0, 1, 0) + body, room, 0x12)


def name(*names):
    return b"".join(n.encode() + b"\0" for n in names)


begun = fuse(26, 0, u32(7, 38, 65536, 0xffffffff) + u32(0) * 12)
calls = [fuse(1, 1, name("file")), fuse(1, 1, name("dir")), fuse(1, 3, name("inner")), fuse(1, 1, name("link")), fuse(1, 1, name("..")),
         fuse(3, 2, u32(0, 0) + u64(0)), fuse(14, 2, u32(2, 0)), fuse(15, 2, u64(1, 0) + u32(100, 0) + u64(0) + u32(0, 0)),
         fuse(16, 2, u64(1, 3) + u32(4, 0) + u64(0) + u32(0, 0) + b"data"), fuse(25, 2, u64(1) + u32(0, 0) + u64(0)), fuse(20, 2, u64(1) + u32(0, 0)),
         fuse(46, 2, u64(1, 0, 2) + u64(0)), fuse(43, 2, u64(1, 0, 100) + u32(0, 0)), fuse(18, 2, u64(1) + u32(0, 0) + u64(0)),
         fuse(27, 1, u32(0, 0)), fuse(28, 1, u64(2, 0) + u32(2000, 0) + u64(0) + u32(0, 0)), fuse(44, 1, u64(2, 0) + u32(2000, 0) + u64(0) + u32(0, 0)),
         fuse(29, 1, u64(2) + u32(0, 0) + u64(0)), fuse(17, 1), fuse(4, 2, u32(0x69, 0) + u64(0, 5, 0, 0, 0, 0) + u32(0, 0, 0, 0o600, 0, 0, 0, 0)),
         fuse(5, 5), fuse(6, 1, name("sym", "file")), fuse(8, 1, u32(0o10644, 0, 0, 0) + name("pipe")), fuse(9, 1, u32(0o755, 0) + name("new")),
         fuse(12, 1, u64(1) + name("new", "newer")), fuse(45, 1, u64(1) + u32(1, 0) + name("newer", "newest")), fuse(11, 1, name("newest")), fuse(10, 1, name("pipe")),
         fuse(13, 1, u64(2) + name("hard")), fuse(21, 2, u32(1, 0) + name("user.x") + b"v"), fuse(22, 2, u32(100, 0) + name("user.x")), fuse(23, 2, u32(100, 0)),
         fuse(24, 2, name("user.x")), fuse(34, 2, u32(4, 0)), fuse(35, 1, u32(2, 0o644, 0, 0) + name("made")), fuse(31, 2, u64(1, 7, 0, 9) + u32(1, 1) + u32(0, 0)),
         fuse(32, 2, u64(1, 7, 0, 9) + u32(1, 1) + u32(0, 0)), fuse(47, 2, u64(1, 0, 2, 1, 2, 3, 0)), fuse(2, 2, u64(1), 0, 0), fuse(42, 0, u32(1, 0) + u64(2, 1), 0, 0),
         fuse(36, 0, u64(5)), fuse(38, 0), fuse(50, 1, u64(0) + u32(0, 0)), fuse(52, 2, u32(0xfff, 0))]
for call in calls:
    put("fs", begun + b"".join(calls[:2]) + call)
for at in range(0, len(calls), 4):
    put("fs", begun + b"".join(calls[:2]) + calls[6] + b"".join(calls[at:at + 4]) + SAVED + calls[7])
put("fs", begun + b"".join(calls))
put("fs", begun + b"".join(calls[:9]) + SAVED + b"".join(calls[5:]) + u8(SAVE, 1) + u16(300) + u8(7) + calls[3])

# ---- transports ----

CFG_READ, CFG_WRITE, PORT, RING, SAVE_ALL, SETTLE, MEMORY = range(7)


def config(devfn, offset, size, value):
    return u8(CFG_WRITE, devfn) + u16(offset) + u8(size) + u32(value)


def memory(where, offset, size, value):
    return u8(MEMORY, where) + u16(offset) + u8(size) + value.to_bytes(1 << size, "little")


def port(offset, size, value):
    return u8(PORT, offset, size) + value.to_bytes(1 << size, "little")


RINGS = 0x100000
on = config(1, 4, 1, 7) + config(2, 4, 1, 7)
chain = b"".join(u8(RING) + u32(at) + u8(7) + body for at, body in [
    (0, u64(RINGS + 0x20000)), (8, u32(5) + u16(1, 1)), (16, u64(RINGS + 0x20100)), (24, u32(32) + u16(2, 0)), (0x400, u16(0, 1, 0, 0))])
for bar in range(6):
    where = bar * 4
    modern = [memory(where, at, size, value) for at, size, value in [
        (20, 0, 1), (20, 0, 3), (8, 2, 0), (12, 2, 1 << 5), (8, 2, 1), (12, 2, 1), (20, 0, 11), (22, 1, 0), (24, 1, 64), (32, 2, RINGS), (36, 2, 0),
        (40, 2, RINGS + 0x400), (48, 2, RINGS + 0x1000), (26, 1, 0), (28, 1, 1), (20, 0, 15)]]
    put("transports", on + chain + b"".join(modern) + u8(SETTLE) + b"".join(memory(where, 0x1000 * i, 1, 0) for i in range(4)) + u8(SAVE_ALL, 0))
legacy = [port(at, size, value) for at, size, value in [(18, 0, 1), (18, 0, 3), (4, 2, 1 << 5), (14, 1, 0), (8, 2, RINGS >> 12), (18, 0, 7), (16, 1, 0)]]
put("transports", on + chain + b"".join(legacy) + u8(SETTLE, SAVE_ALL, 0) + legacy[-1])
for slot in (1, 3):
    registers = [memory(slot, at, 2, value) for at, value in [
        (0x70, 1), (0x70, 3), (0x24, 0), (0x20, 1 << 5), (0x24, 1), (0x20, 1), (0x70, 11), (0x28, 4096), (0x30, 0), (0x38, 64), (0x3c, 4096), (0x40, RINGS >> 12),
        (0x80, RINGS), (0x84, 0), (0x90, RINGS + 0x400), (0xa0, RINGS + 0x1000), (0x44, 1), (0x70, 15), (0x50, 0)]]
    put("transports", chain + b"".join(registers) + u8(SETTLE, SAVE_ALL, 1) + u16(100) + u8(3) + memory(slot, 0x50, 2, 0) + memory(slot, 0x64, 2, 1))
put("transports", on + b"".join(config(1, at, 2, value) for at, value in [(0x10, 0xffffffff), (0x10, 0x140000), (0x14, 1), (0x20, 0xfe000004)]) + u8(CFG_READ, 1, 0x10, 0, 2))

# ---- text ----

for line in ["-c\n4\n-m\n512M@1G\n--disk\na,ro", "--mem=1T\n--no-rng\n--\n-x", "-k\nfile\n--network\nmode=user,hostfwd=tcp::22-:22", "--console=virtio\nx",
             "--help-all", "--cpus", "--name=\n--vcpu-affinity\n0-3,5:7"]:
    put("options", b"\0" + line.encode())
for line in ["image,ro,direct,cache=none,aio=threads,serial=S,format=qcow2", "a,,b,if=scsi,target=3,lun=2,queues=4,rerror=stop,werror=enospc",
             "x,iops=100,bps-max=1G,iops-max-length=3,snapshot=on,overlay=o", "nbd://host/export,cdrom", "i,physical_block_size=4096,min_io_size=64K,snapshot-name=n"]:
    put("options", b"\1" + line.encode())
put("options", b"\2dir,tag,ro,security=mapped,map=1:2")
put("options", b"\3first,,,key=value,flag=off,key")
put("config", b'name = one\nmem = 512M\n# none\n[vm "two"]\ncpus = 4\ndisk = a\ndisk = b,ro\n[vm "three"]\nrng = true\n')
put("config", b"cpus = 2\nnetwork = mode=none\nno-such = 1\n")
put("kernel-config", b"# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_VIRTIO=y\nCONFIG_VIRTIO_PCI=m\n# CONFIG_VIRTIO_BLK is not set\n")
put("kernel-config", b"CONFIG_ARM64=y\nCONFIG_VIRTIO_MMIO=y\n")

negotiated = b'{"execute": "qmp_capabilities"}\n'
for message in ['{"execute": "query-commands", "id": [1, {"a": "\\u00e9"}]}', '{"execute": "query-status"}', '{"execute": "stop"}{"execute": "cont"}',
                '{"execute": "block_resize", "arguments": {"device": "disk0", "size": 1048576}}', '{"execute": "balloon", "arguments": {"value": 1}}',
                '{"execute": "block_set_io_throttle", "arguments": {"id": "disk0", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 1, "iops_rd": 0, "iops_wr": 0}}',
                '{"execute": "inject-nmi"}', '{"execute": "set_link", "arguments": {"name": "net0", "up": true}}', '{"execute": "system_reset"}',
                '{"execute": "x-lkvm-debug", "arguments": {}}', '{"execute": "x-lkvm-stats"}', '{"execute": "x-lkvm-exec", "arguments": {"a": 1}}',
                '{"execute": "query-block"}', '{"execute": "query-cpus-fast"}', '{"execute": "quit"}', '{"execute": "x-lkvm-sysrq", "arguments": {"key": "h"}}',
                '{"execute": "query-version", "arguments": {"x": []}}', 'no JSON\n{', '{"a": {"b": [[[[]]]]}}', '{"execute": 5}', '[]\n\n', '{"execute": "system_powerdown"}']:
    put("qmp", negotiated + message.encode() + b"\n")
put("qmp", b'{"execute": "query-status"}')


def packets(*payloads):
    return b"".join(b"$%s#%02x" % (p, sum(p) & 255) for p in payloads)


put("gdb", packets(b"qSupported:multiprocess+;swbreak+;hwbreak+", b"QStartNoAckMode", b"?", b"qfThreadInfo", b"qsThreadInfo", b"qThreadExtraInfo,1", b"qC", b"Hg1"))
put("gdb", packets(b"qXfer:features:read:target.xml:0,fff", b"qXfer:threads:read::0,fff", b"g", b"p0", b"P1=0011223344556677", b"G" + b"00" * 64))
put("gdb", packets(b"m100000,40", b"M100000,4:01020304", b"X100000,4:abc}]", b"Z0,100000,1", b"Z0,100004,1", b"m100000,8", b"M100000,2:ffff", b"z0,100000,1", b"Z1,ffffffff81000000,1", b"Z2,2000,8", b"z2,2000,8"))
put("gdb", packets(b"vCont?", b"vCont;s:1;c", b"c", b"s1000", b"C05", b"Hc-1", b"T1", b"D") + b"+-\x03garbage$OK#00")
put("gdb", packets(b"qRcmd,68656c70", b"qAttached", b"qOffsets", b"QPassSignals:", b"qSymbol::", b"vKill;1", b"k"))
put("watch", u8(60) + b"[    1.0] Kernel panic - not syncing: Attempted to kill init!\n")
put("watch", u8(30) + b"BUG: unable to handle page fau" + u8(40) + b"lt for address: 0\nOops: 0000 [#1] SMP\n RIP")
put("watch", u8(50) + b"\x1b[0mRun /sbin/init as init process\r\nlogin: ----[ end")
put("watch", u8(90) + b"Internal error: Oops: 96000004 [#1]\nCall trace:\n f+0x10/0x20\n---[ end trace 0 ]---\nWARNING: CPU: 0\n")

# ---- kernels ----


def bzimage(version=0x20f, xload=1, loadflags=1, setup=1, payload=4096):
    head = bytearray(512 * (setup + 1))
    struct.pack_into("<BHI", head, 0x1f1, setup, 0, payload // 16)
    struct.pack_into("<HHIHIHHIB", head, 0x1fe, 0xaa55, 0x6aeb, 0x53726448, version, 0, 0, 0, 0, 0)
    head[0x211] = loadflags
    struct.pack_into("<III", head, 0x22c, 0x7fffffff, 1 << 21, 1 | 21 << 8 | xload << 16)
    struct.pack_into("<I", head, 0x238, 2047)
    struct.pack_into("<QI", head, 0x258, 1 << 24, 1 << 20)
    return bytes(head) + b"k" * payload


def elf(machine=62, width=2, notes=True, at=1 << 20, count=2):
    note = u32(4, 4, 18) + b"Xen\0" + u32(at)
    data_at = 64 + 56 * count
    head = b"\x7fELF" + u8(width, 1, 1) + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, at, 64, 0, 0, 64, 56, count, 0, 0, 0)
    headers = struct.pack("<IIQQQQQQ", 1, 5, data_at, at, at, 64, 4096, 4096)
    headers += struct.pack("<IIQQQQQQ", 4 if notes else 1, 4, data_at + 64, at + 8192, at + 8192, len(note), len(note), 4)
    return head + headers + b"c" * 64 + note


for how in (0, 8, 1, 9):
    put("boot", u8(how) + bzimage())
put("boot", u8(0) + bzimage(0x200, 0, 0))
put("boot", u8(5) + bzimage(0x202, 0, 1, 4, 64))
for how in (0, 8, 2, 3, 11):
    put("boot", u8(how) + elf())
put("boot", u8(0) + elf(notes=False))
put("boot", u8(0) + elf(183))
put("boot", u8(4) + b"\xf4" * 100)
put("boot", u8(5) + b"\xf4" * 100)

arm64 = bytearray(b"i" * 512)
struct.pack_into("<QQQ", arm64, 8, 0, 1 << 20, 10)
arm64[56:60] = b"ARM\x64"
arm64 = bytes(arm64)
packed = gzip.compress(arm64, mtime=0)
zboot = b"MZ\0\0zimg" + u32(64, len(packed), 0, 0) + b"gzip" + bytes(28)
put("image", u8(0) + arm64)
put("image", u8(1) + arm64)
put("image", u8(0) + packed)
put("image", u8(0) + zboot + bytes(8) + packed)
put("image", u8(0) + bytes(0x24) + u32(0x016f2818, 0, 4096) + bytes(100))

# ---- what was saved ----


def pieces(size, *parts):
    return u32(size) + b"".join(u32(at) + u16(len(data)) + data for at, data in parts)


def section(title, offset, length):
    return title.encode().ljust(16, b"\0") + u64(offset, length) + u32(0, 0)


info = (b'{"lkvm": "0.1.0", "machine": "x86_64", "name": "one", "time-ns": 17, "vcpus": 2, "memory": 1048576, "ends": true, "options": '
        b'{"mem": "512M", "cpus": "2", "disk": ["a,ro", "b"], "rng": true}, "disks": [{"size": 512, "read-only": false, "files": '
        b'[{"path": "/nonexistent", "bytes": 512, "changed-ns": 3, "writable": true}]}], "devices": ["rng0"]}')


def name_of(title):
    return u16(len(title)) + title.encode()


for memory in (1 << 20, 4096):
    size = (2 << 20) + memory
    sections = section("info", 4096, len(info)) + section("state", 8192, 64) + section("sums", 12288, 16) + section("memory", 2 << 20, memory)
    put("snapshot", u8(0) + pieces(size, (0, b"LKVMSNAP" + u32(1, 4) + u64(size) + sections), (4096, info), (8192, b"s" * 64), (2 << 20, b"memory" * 9)))
put("snapshot", u8(1) + pieces(4096, (0, b"LKVMSNAP" + u32(1, 0) + u64(4096))))
for which in range(6):
    for changes in range(4):
        put("state", u8(which, changes) + b"".join(u16(40 * i + 30) + u8(255 - i) for i in range(changes)))
    put("state", u8(which, 0x80) + b"s" * 40)
