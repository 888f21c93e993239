#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A QMP client as they are used with QEMU: greets, negotiates, looks at the schema, and goes through a VM's life by it.
The guest is a payload of two bytes in real mode, so that any /dev/kvm will do. Run by tests/integration/control.sh.

usage: qmp-session.py LKVM     exit 0: passed, 1: failed
"""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

lkvm = os.path.abspath(sys.argv[1])
work = tempfile.mkdtemp(prefix="lkvm-qmp.")
os.environ["XDG_RUNTIME_DIR"] = work
NAME = "qmp-session"


class Refused(Exception):
    pass


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.file = self.socket.makefile("r")
        self.events = []
        self.id = 0
        greeting = self.message()
        assert set(greeting["QMP"]) == {"version", "capabilities"}, greeting
        assert set(greeting["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}, greeting
        self.call("qmp_capabilities", enable=[])

    def message(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def call(self, command, **arguments):
        self.id += 1
        name = "__qmp#%05d" % self.id
        message = {"execute": command, "id": name}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps(message).encode())
        while True:
            reply = self.message()
            if "event" in reply:
                self.events.append(reply)
                continue
            assert reply["id"] == name, reply
            if "error" in reply:
                raise Refused(reply["error"]["desc"])
            return reply["return"]

    def event(self, name):
        """The next event of this name; those before it are forgotten."""
        while True:
            event = self.events.pop(0) if self.events else self.message()
            if event.get("event") == name:
                return event.get("data")

    def refuses(self, text, command, **arguments):
        try:
            self.call(command, **arguments)
        except Refused as refused:
            assert text in str(refused), refused
            return
        raise AssertionError("%s was not refused" % command)


def start(*options):
    """A VM that loops, and its client."""
    payload = os.path.join(work, "loop")
    with open(payload, "wb") as file:
        file.write(b"\xeb\xfe")
    process = subprocess.Popen([lkvm, "run", "--boot", "flat", "-k", payload, "-m", "16", "-c", "2", "--name", NAME, *options],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    path = os.path.join(work, "lkvm", NAME + ".sock")
    for _ in range(200):
        try:
            return process, Client(path)
        except (FileNotFoundError, ConnectionRefusedError):
            assert process.poll() is None, "the VM has ended"
            time.sleep(0.05)
    raise TimeoutError("no VM")


def image(name, size=1 << 20):
    path = os.path.join(work, name)
    with open(path, "wb") as file:
        file.truncate(size)
    return path


# ---- what a client does first ----

def wait_running(client):
    while client.call("query-status")["status"] == "prelaunch":
        time.sleep(0.02)


def introspection(client):
    schema = {info["name"]: info for info in client.call("query-qmp-schema")}
    commands = {command["name"] for command in client.call("query-commands")}
    assert commands == {name for name, info in schema.items() if info["meta-type"] == "command"}
    add = schema[schema["device_add"]["arg-type"]]["members"]
    assert {"name": "driver", "type": "str"} in add, add
    assert {"name": "id", "type": "str", "default": None} in add, add
    # none of these takes an argument that is needed, so all can be asked
    for name in sorted(commands):
        needed = [member for member in schema[schema[name]["arg-type"]]["members"] if "default" not in member]
        if name.startswith("query-") and not needed:
            try:
                result = client.call(name)
            except Refused as refused:
                assert name in ("query-balloon", "query-hotpluggable-cpus"), refused
                continue
            assert isinstance(result, list) == schema[name]["ret-type"].startswith("["), name
            assert schema[name]["ret-type"] != "q_empty", name


def beginning(client):
    assert client.call("query-version")["package"].startswith("lkvm ")
    assert client.call("query-name") == {"name": NAME}
    assert client.call("query-kvm") == {"enabled": True, "present": True}
    assert client.call("query-status") == {"status": "running", "running": True, "singlestep": False}
    cpus = client.call("query-cpus-fast")
    assert [cpu["cpu-index"] for cpu in cpus] == [0, 1] and all(cpu["thread-id"] > 0 for cpu in cpus), cpus
    assert client.call("query-memory-size-summary")["base-memory"] == 16 << 20
    assert client.call("query-command-line-options", option="disk") == [{"option": "disk", "parameters": []}]


def disks(client, path):
    [disk] = client.call("query-block")
    assert disk["device"] == "disk0" and disk["qdev"] == "virtio-blk0" and not disk["removable"], disk
    node = disk["inserted"]
    assert node["file"] == path and node["drv"] == "raw" and node["iops_rd"] == 100 and node["bps"] == 0, node
    assert node["image"]["virtual-size"] == 1 << 20, node
    [named] = client.call("query-named-block-nodes")
    assert named["node-name"] == "disk0" and named["image"] == node["image"], named
    client.refuses("Parameter 'size' is missing", "block_resize", device="disk0")


def statistics(client):
    try:
        schemas = client.call("query-stats-schemas")
    except Refused as refused:
        assert "KVM's statistics" in str(refused), refused
        return
    assert [schema["target"] for schema in schemas] == ["vm", "vcpu"], schemas
    exits = next(stat for stat in schemas[1]["stats"] if stat["name"] == "exits")
    assert exits["type"] == "cumulative" and exits["exponent"] == 0, exits
    wish = {"target": "vcpu", "vcpus": ["/machine/cpu[1]"], "providers": [{"provider": "kvm", "names": ["exits"]}]}
    [cpu] = client.call("query-stats", **wish)
    assert cpu["qom-path"] == "/machine/cpu[1]" and [stat["name"] for stat in cpu["stats"]] == ["exits"], cpu
    [vm] = client.call("query-stats", target="vm")
    assert len(vm["stats"]) == len(schemas[0]["stats"]), vm
    assert client.call("query-stats", target="vm", providers=[]) == []
    client.refuses("does not accept value 'host'", "query-stats", target="host")


def slots(client):
    client.call("device_add", driver="virtio-rng-pci", id="rng")
    client.call("device_del", id="rng", x_force=True)
    assert client.event("DEVICE_DELETED") == {"device": "rng", "path": "/machine/peripheral/rng"}


def migration(client):
    client.call("migrate", uri="unix:/nowhere/there")
    states = [client.event("MIGRATION")["status"]]
    while states[-1] != "failed":
        states.append(client.event("MIGRATION")["status"])
    assert states[0] == "setup", states
    assert client.call("query-status")["status"] == "running"


def monitor(client):
    def say(line):
        return client.call("human-monitor-command", command_line=line)

    assert "status: running" in say("info status"), say("info status")
    assert say("  stop ") == "" and client.event("STOP") is None
    assert say("c") == "" and client.event("RESUME") is None
    assert "disk0" in say("info block") and "ram" in say("info mtree"), say("info mtree")
    assert say("xp /4xb 0x10000").startswith("0000000000010000: 0xeb 0xfe"), say("xp /4xb 0x10000")
    for line, text in {"nonsense": "unknown command: 'nonsense'", "stop it": "Error: stop takes no more than: nothing",
                       "infostatus": "unknown command", "xp /5000xb 0": "Error: xp", "xp 0x123456789000": "Error: there is no memory",
                       "device_del": "Error: Parameter 'id' is missing", "block_resize disk0 x": "Error: Invalid parameter type for 'size'",
                       "set_link nothing off": "Error: there is no network device", "": ""}.items():
        assert say(line).startswith(text), (line, say(line))
    assert say("block_resize disk0 2") == ""
    assert client.call("query-block")[0]["inserted"]["image"]["virtual-size"] == 2 << 20
    assert say("device_add virtio-rng-pci,id=two,bus=root-port0") == "", say("info slots")
    assert "two" in say("info slots")
    say("device_del two")
    names = [line.split()[0] for line in say("help").splitlines()]
    assert "system_reset" in names and "c" not in names, names
    run = subprocess.run([lkvm, "monitor", NAME, "info", "name"], stdout=subprocess.PIPE, text=True, check=True, timeout=20)
    assert run.stdout == "name: %s\n" % NAME, run.stdout
    run = subprocess.run([lkvm, "monitor", NAME], input="info name\nnonsense\n", stdout=subprocess.PIPE, text=True, check=False, timeout=20)
    assert run.returncode == 1 and run.stdout.startswith("name: %s\nunknown" % NAME), run


def has_library():
    run = subprocess.run(["ldconfig", "-p"], stdout=subprocess.PIPE, text=True, check=False)
    return "libedit.so.2" in run.stdout


def prompt():
    """As a person at a terminal: a word is completed by a tab, where there is libedit."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(lkvm, [lkvm, "monitor", NAME])
    said = b""

    def until(text):
        nonlocal said
        while text not in said:
            assert select.select([terminal], [], [], 20)[0], said
            said += os.read(terminal, 4096)
        said = said[said.index(text) + len(text):]

    until(b"(%s) " % NAME.encode())
    os.write(terminal, b"info na\t\n" if has_library() else b"info name\n")
    until(b"name: %s" % NAME.encode())
    until(b"(%s) " % NAME.encode())
    os.write(terminal, b"\x04")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def overlay(client, path):
    """The disk goes on in another image, twice; a refusal leaves it where it is."""
    def where():
        node = client.call("query-block")[0]["inserted"]
        return node["file"], node["drv"], node.get("backing_file"), node["backing_file_depth"]

    first, second = os.path.join(work, "first.qcow2"), os.path.join(work, "second.qcow2")
    before = os.stat(path).st_mtime_ns
    client.refuses("absolute path", "blockdev-snapshot-sync", device="disk0", snapshot_file="first.qcow2")
    client.refuses("no disk 'disk7'", "blockdev-snapshot-sync", device="disk7", snapshot_file=first)
    client.refuses("", "blockdev-snapshot-sync", device="disk0", snapshot_file=path)
    client.refuses("", "blockdev-snapshot-sync", device="disk0", snapshot_file=first, mode="existing")
    client.refuses("", "blockdev-snapshot-sync", device="disk0", snapshot_file=work + "/no/first.qcow2")
    assert where() == (path, "raw", None, 0), where()
    client.call("blockdev-snapshot-sync", device="virtio-blk0", snapshot_file=first, format="qcow2")
    assert where() == (first, "qcow2", path, 1), where()
    client.call("stop")
    client.call("blockdev-snapshot-sync", node_name="disk0", snapshot_file=second)
    assert client.call("query-status")["status"] == "paused"
    client.call("cont")
    assert where() == (second, "qcow2", first, 2), where()
    assert client.call("query-block")[0]["inserted"]["iops_rd"] == 100
    assert os.stat(path).st_mtime_ns == before
    # what lies behind is in use for reading, and the front one for writing
    busy = subprocess.run([lkvm, "run", "--boot", "flat", "-k", os.path.join(work, "loop"), "-m", "16", "-d", first], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    assert busy.returncode == 1 and "in use" in busy.stdout, busy
    client.call("system_reset")


def get(request):
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(os.path.join(work, "metrics"))
        connection.sendall(request)
        while True:
            part = connection.recv(65536)
            answer += part
            if not part:
                return answer.decode()


def metrics():
    """As Prometheus reads them: each sample is a name, perhaps labels, and a number."""
    idle = []
    for _ in range(8):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(os.path.join(work, "metrics"))
        idle[-1].sendall(b"GET")
    head, body = get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").split("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200 OK\r\n") and "text/plain; version=0.0.4" in head, head
    samples = {}
    for line in body.splitlines():
        assert re.fullmatch(r'# TYPE lkvm_\w+ (gauge|counter)|lkvm_\w+(\{\w+="[^"]*"\})? -?[0-9.e+-]+', line), line
        if line[0] != "#":
            name, value = line.rsplit(" ", 1)
            assert name not in samples, name
            samples[name] = float(value)
    assert samples['lkvm_running{name="%s"}' % NAME] == 1 and samples["lkvm_memory_bytes"] == 16 << 20, samples
    assert samples['lkvm_device_requests_total{device="virtio-blk0"}'] == 0, samples
    assert "lkvm_vcpu_exits_total{vcpu=\"1\"}" in samples, samples
    assert get(b"POST / HTTP/1.0\r\n\r\n").startswith("HTTP/1.0 405 ")
    assert get(b"x" * 4095) == ""
    for connection in idle:
        connection.close()


def life(client, process):
    client.call("system_powerdown")
    client.event("POWERDOWN")
    client.call("stop")
    client.event("STOP")
    assert client.call("query-status")["status"] == "paused"
    client.call("cont")
    client.event("RESUME")
    client.call("system_reset")
    assert client.event("RESET") == {"guest": False, "reason": "host-qmp-system-reset"}
    client.call("quit")
    shutdown = client.event("SHUTDOWN")
    assert shutdown["reason"] == "host-qmp-quit" and not shutdown["guest"], shutdown
    assert process.wait(20) == 0


def service():
    """In the background, with its id in a file; and told to systemd, by its socket, which it is given too."""
    pidfile, loop = os.path.join(work, "pid"), os.path.join(work, "loop")
    background = [lkvm, "run", "--daemonize", "--boot", "flat", "-m", "16", "-c", "1", "--pidfile", pidfile, "--name", NAME]

    def run(*options):
        return subprocess.run([*background, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False, timeout=30)

    failed = run("-k", os.path.join(work, "nothing"))
    assert failed.returncode == 1 and "nothing" in failed.stderr, failed
    failed = run("-k", loop, "--pidfile", os.path.join(work, "no", "pid"))
    assert failed.returncode == 1 and "option --pidfile: '" in failed.stderr, failed
    failed = run("-k", loop, "--", "true")
    assert failed.returncode == 2 and "option --daemonize" in failed.stderr, failed
    started = run("-k", loop)
    assert started.returncode == 0, started
    with open(pidfile, encoding="ascii") as file:
        pid = int(file.read())
    client = Client(os.path.join(work, "lkvm", NAME + ".sock"))
    assert client.call("query-status")["status"] == "running"
    assert client.call("x-lkvm-info")["pid"] == pid and os.getsid(pid) == pid
    assert os.readlink("/proc/%d/fd/2" % pid) == "/dev/null"
    client.call("quit")
    for _ in range(200):
        if not os.path.exists(pidfile):
            break
        time.sleep(0.05)
    assert not os.path.exists(pidfile)


def systemd():
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(os.path.join(work, "notify"))
    told.settimeout(20)
    listens = socket.socket(socket.AF_UNIX)
    listens.bind(os.path.join(work, "activated"))
    listens.listen()
    script = 'exec 3<&%d; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"' % listens.fileno()
    process = subprocess.Popen(["bash", "-c", script, "-", lkvm, "run", "--boot", "flat", "-k", os.path.join(work, "loop"), "-m", "16", "-c",
                                "1", "--name", NAME], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[listens.fileno()],
                               env={**os.environ, "NOTIFY_SOCKET": os.path.join(work, "notify")})
    try:
        # before it runs, as who starts it by this would be
        client = Client(os.path.join(work, "activated"))
        assert b"READY=1\n" in told.recv(4096)
        assert client.call("query-name") == {"name": NAME} and client.call("query-status")["running"]
        process.send_signal(signal.SIGTERM)
        assert told.recv(4096) == b"STOPPING=1\n"
        assert process.wait(20) == 128 + signal.SIGTERM
        assert os.path.exists(os.path.join(work, "activated"))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def session():
    path = image("disk.raw")
    process, client = start("-d", path + ",iops_rd=100", "--root-ports", "1", "--metrics", "unix:" + os.path.join(work, "metrics"))
    try:
        wait_running(client)
        beginning(client)
        introspection(client)
        disks(client, path)
        statistics(client)
        slots(client)
        migration(client)
        metrics()
        monitor(client)
        overlay(client, path)
        prompt()
        life(client, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


try:
    for part in (session, service, systemd):
        part()
except Exception as error:      # pylint: disable=broad-except
    print("FAIL qmp-session, %s: %s: %s" % (part.__name__, type(error).__name__, error))
    raise
finally:
    shutil.rmtree(work)
print("PASS qmp-session")
