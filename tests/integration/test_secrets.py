#!/usr/bin/env python3
"""Threats L1-L4, W11: a secret given to a job is found nowhere but in the job, whoever gave it, while the job runs and after it. With positive
controls, so that a search that finds nothing is known to be able to find something."""
# deadline: 400
import base64
import contextlib
import os
import pathlib
import re
import resource
import secrets
import signal
import socket
import stat
import struct
import subprocess
import threading
import unittest

import callers
from devnet import BIN, DevnetCase, ended, wait_for

OURS = ("control", "node-a", "node-b", "uptime-1")
STARTED = "echo started ${#SECRET}; sleep 60"


def forms(marker):
    """A secret as it may lie around: as it is, in hex, in base64 at each of the three offsets."""
    raw = marker.encode()
    found = [raw, raw.hex().encode(), raw.hex().upper().encode()]
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        found.append(text[4 if before else 0 : len(text) // 4 * 4 - 4])
    return found


def holds(data, needles):
    return any(needle in data for needle in needles)


def memory_has(pid, needles):
    """Search a process's whole writable memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not m or "[vvar" in line:
                continue
            start, end, tail = int(m[1], 16), int(m[2], 16), b""
            try:
                memory.seek(start)
                while start < end:
                    block = memory.read(min(end - start, 1 << 24))
                    if not block:
                        break
                    if holds(tail + block, needles):
                        return True
                    tail = block[-256:]
                    start += len(block)
            except OSError:
                continue
    return False


def files_with(folder, needles):
    hits = []
    for path in pathlib.Path(folder).rglob("*"):
        try:
            if path.is_file() and not path.is_symlink() and holds(path.read_bytes(), needles):
                hits.append(str(path))
        except OSError:
            pass
    return hits


def open_files_with(pid, needles):
    """Files that a process holds, also those that have no name any more."""
    hits = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            if stat.S_ISREG(os.stat(path).st_mode) and holds(path.read_bytes(), needles):
                hits.append(os.readlink(path))
        except OSError:
            pass
    return hits


def processes_with(what, needles):
    """Process ids whose cmdline or environ has it: of this test's own namespace, so that the job's are not among them."""
    hits, here = [], os.readlink("/proc/self/ns/pid")
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if os.readlink(entry / "ns/pid") == here and holds((entry / what).read_bytes(), needles):
                    hits.append(int(entry.name))
            except OSError:
                pass
    return hits


class Wire:
    """Everything that goes over loopback. Root reads it where the kernel has it; anybody else is in between as a proxy of the control plane."""

    def __init__(self, net):
        self.seen, self.flows, self.lock = 0, {}, threading.Lock()  # lock guards both
        self.needles, self.hits, self.ends = [], [], []
        self.stop = threading.Event()
        self.net = net
        self.env = {}
        if os.geteuid() == 0:
            self.source = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.source.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE: nothing is to be missed while Python is slow
            self.source.bind(("lo", 0))
            self.work = self.sniff
        else:
            self.source = socket.create_server(("127.0.0.1", 0))
            profile = net.profile()
            self.env = {"EE_URL": f"https://127.0.0.1:{self.source.getsockname()[1]}", "EE_API_KEY": profile["api_key"], "EE_NETWORK_ID": profile["network_id"],
                        "EE_POLICY": str(net.dir / "policy.toml"), "EE_REGISTRY": profile["registry"]}
            self.work = self.proxy
        self.source.settimeout(0.2)
        self.threads = [threading.Thread(target=self.work)]
        self.threads[0].start()

    def watch(self, needles):
        with self.lock:
            self.needles += needles

    def saw(self, flow, data):
        with self.lock:
            text = self.flows.get(flow, b"") + data
            self.flows[flow] = text[-256:]
            self.seen += len(data)
            self.hits += [(flow, needle) for needle in self.needles if needle in text]

    def sniff(self):
        while not self.stop.is_set():
            try:
                frame, (_, _, direction, *_) = self.source.recvfrom(1 << 17)
            except socket.timeout:
                continue
            if direction != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:  # each is there twice
                start = 14 + (frame[14] & 15) * 4
                self.saw(struct.unpack_from("!HH", frame, start), frame[start + (frame[start + 12] >> 4) * 4 :])

    def proxy(self):
        host, port = self.net.profile()["url"].removeprefix("https://").split(":")
        while not self.stop.is_set():
            try:
                caller, address = self.source.accept()
            except socket.timeout:
                continue
            control = socket.create_connection((host, int(port)))
            self.ends += [caller, control]
            for a, b, flow in ((caller, control, (address[1], port)), (control, caller, (port, address[1]))):
                self.threads.append(threading.Thread(target=self.carry, args=(a, b, flow)))
                self.threads[-1].start()

    def carry(self, a, b, flow):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                self.saw(flow, data)
                b.sendall(data)
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def send(self, data):
        """Data in the clear, over the same wire."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = self.source.getsockname() if self.env else other.getsockname()
            with socket.create_connection(address) as one:
                one.sendall(data)

    def close(self):
        self.stop.set()
        self.threads[0].join()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for end in (*self.ends, self.source):
            end.close()


class Secrets(DevnetCase):
    def setUp(self):
        self.wire = Wire(self.net)
        self.addCleanup(self.wire.close)

    def start_with_file(self, marker):
        """ee with --env-file; the file is gone once the job runs."""
        self.env_file = self.net.home / "job.env"
        self.env_file.write_text(f"# of this job\nSECRET={marker}\n")
        return subprocess.Popen([str(BIN / "ee"), "run", "--node", "node-a", "--env-file", str(self.env_file), "myapp:latest", "--", "sh", "-c", STARTED],
                                env={**self.net.env, **self.wire.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start_ee(self, marker):
        return subprocess.Popen([str(BIN / "ee"), "run", "--node", "node-a", "myapp:latest", "-e", "SECRET", "--", "sh", "-c", STARTED],
                                env={**self.net.env, **self.wire.env, "SECRET": marker}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def starters(self):
        programs = callers.sdk_callers(self.net)
        starters = {name: lambda marker, name=name: programs[name].start("run", "myapp:latest", "node-a", "1", "", "SECRET", "sh", "-c", STARTED, **self.wire.env, SECRET=marker)
                    for name in ("c", "python", "go")}
        return {"ee -e": self.start_ee, "ee --env-file": self.start_with_file, **starters}

    def places_with(self, needles, but=()):
        """Where in this network, on this wire and on this machine's disks and process lists it is."""
        found = [f"argv of {pid}" for pid in processes_with("cmdline", needles)]
        found += [f"environ of {pid}" for pid in processes_with("environ", needles) if pid not in but]
        for name in OURS:
            pid = self.net.pid_of(name)
            found += [f"memory of {name}"] if memory_has(pid, needles) else []
            found += [f"{path}, open in {name}" for path in open_files_with(pid, needles)]
        for folder in (self.net.home, self.net.env["XDG_CACHE_HOME"], "/run", "/dev/shm", "/var/log", "/var/lib/containers"):
            found += files_with(folder, needles) if os.path.isdir(folder) else []
        with self.wire.lock:
            return found + [f"wire {flow}: {needle}" for flow, needle in self.wire.hits]

    def test_L2_L3_W11_marker_is_nowhere_but_in_the_job(self):
        every = []
        for who, start in self.starters().items():
            with self.subTest(caller=who):
                marker = "marker-" + secrets.token_hex(16)
                needles = forms(marker)
                every += needles
                self.wire.watch(needles)
                seen = self.wire.seen
                job = start(marker)
                try:
                    self.assertEqual(job.stdout.readline(), f"started {len(marker)}\n")
                    if who == "ee --env-file":
                        self.env_file.unlink()
                    # Its caller has it, and the search knows: the agent's memory is searched in the same way.
                    self.assertTrue(memory_has(job.pid, needles), "the search of memory finds nothing where the secret is")
                    self.assertGreater(self.wire.seen, seen, "nothing of this job was seen on the wire")
                    self.assertEqual(self.places_with(needles, but=(job.pid,)), [])
                finally:
                    job.send_signal(signal.SIGINT)
                    job.communicate(timeout=30)
        self.assertEqual(self.places_with(every), [], "after the jobs")
        # To its own end, and after that.
        marker = "marker-" + secrets.token_hex(16)
        self.wire.watch(forms(marker))
        done = self.net.ee("run", "--node", "node-a", "myapp:latest", "-e", "SECRET", "--", "sh", "-c", "echo ${#SECRET}", env={**self.wire.env, "SECRET": marker})
        self.assertEqual((done.returncode, done.stdout), (0, f"{len(marker)}\n"), done.stderr)
        self.assertEqual(self.places_with(forms(marker)), [], "after a job that ended by itself")

    def test_the_search_finds_what_is_there(self):
        """Positive controls: each place, with a secret put there on purpose."""
        marker = "marker-" + secrets.token_hex(16)
        for form in (marker.encode(), marker.encode().hex().encode(), base64.b64encode(b"x" + marker.encode() + b"yz"), base64.b64encode(marker.encode() + b"y")):
            self.assertTrue(holds(b"before " + form + b" after", forms(marker)), form)
        needles = forms(marker)
        self.assertEqual(self.places_with(needles), [])
        control = self.net.home / "control.txt"
        control.write_text(marker)
        self.assertEqual(self.places_with(needles), [str(control)])
        with open(control) as kept:
            control.unlink()
            self.assertEqual(open_files_with(os.getpid(), needles), [f"{control} (deleted)"])
            self.assertTrue(kept.readable())
        for what, argv, env in (("cmdline", ["sh", "-c", "read line", marker], {}), ("environ", ["sh", "-c", "read line"], {"SECRET": marker})):
            with subprocess.Popen(argv, stdin=subprocess.PIPE, env={**os.environ, **env}) as shown:  # ends with its input
                wait_for(f"{what} is found", lambda: processes_with(what, needles) == [shown.pid])
        self.wire.watch(needles)
        self.wire.send(b"GET /" + needles[1] + b" HTTP/1.1\r\n\r\n")
        wait_for("the wire is searched", lambda: self.places_with(needles))

    def test_L2_keys_are_not_in_logs(self):
        key = self.net.profile()["api_key"].encode()
        self.net.ee("balance")
        self.assertEqual(files_with(self.net.dir / "logs", [key, b"ee_sk_"]), [])


class Cores(DevnetCase):
    def test_L4_no_core_dumps(self):
        """Killed by a fault while a job with a secret runs: no core. A program that is not ours leaves one at the same place."""
        for name in OURS:
            limits = pathlib.Path(f"/proc/{self.net.pid_of(name)}/limits").read_text()
            core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
            self.assertEqual(core.split()[4:6], ["0", "0"], name)
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if pattern.startswith("|"):
            self.skipTest(f"the kernel gives cores to a program here: {pattern}")
        job = subprocess.Popen([str(BIN / "ee"), "run", "--node", "node-a", "myapp:latest", "-e", "SECRET", "--", "sh", "-c", STARTED],
                               env={**self.net.env, "SECRET": "value"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.assertEqual(job.stdout.readline(), "started 5\n")
            for name in ("node-a", "control"):
                pid = self.net.pid_of(name)
                place = pathlib.Path(os.readlink(f"/proc/{pid}/cwd"))
                with self.subTest(program=name):
                    self.assertTrue(self.leaves_a_core(place, pattern), "the positive control left none")
                    self.assertEqual(self.cores(place, pattern, lambda: self.segfault(pid)), [])
        finally:
            job.kill()
            job.communicate()

    def segfault(self, pid):
        os.kill(pid, signal.SIGSEGV)
        wait_for("it is dead", lambda: ended(pid))

    def cores(self, place, pattern, act):
        """Files that look like a core and were not there before."""
        folder = pathlib.Path(pattern).parent if pattern.startswith("/") else place
        name = re.sub(r"%.", "*", pathlib.Path(pattern).name) + "*"
        before = set(folder.glob(name))
        act()
        return sorted(set(folder.glob(name)) - before)

    def leaves_a_core(self, place, pattern):
        def act():
            crash = subprocess.Popen(["sleep", "60"], cwd=place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))
            crash.send_signal(signal.SIGSEGV)
            crash.wait()

        found = self.cores(place, pattern, act)
        for path in found:
            path.unlink()
        return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
