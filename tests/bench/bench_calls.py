#!/usr/bin/env python3
"""The three calls end to end on a devnet, as a user of the Python SDK sees them, next to the raw limits of this machine in the same rounds:
a process start, a loopback round trip, a durable write. Writes build/bench/calls.json. Run by ./dev bench calls."""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
sys.path.insert(0, str(ROOT / "tests/integration"))
os.environ.setdefault("EE_SOURCE_DIR", str(ROOT))

from bench import machine  # noqa: E402
from devnet import BUILD, Devnet  # noqa: E402


def timed(fn):
    start = time.perf_counter()
    fn()
    return (time.perf_counter() - start) * 1000


def echo_pair():
    """A connected loopback socket whose other end echoes."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    for s in (client, other):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve():
        while data := other.recv(65536):
            other.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return client


def round_trip(sock, payload):
    sock.sendall(payload)
    left = len(payload)
    while left:
        left -= len(sock.recv(left))


def durable_write(fd, block):
    os.pwrite(fd, block, os.lseek(fd, 0, os.SEEK_END))
    os.fdatasync(fd)


def idle_kib(net, count):
    """What an idle connection costs the control plane in resident memory: first API connections alone, then clients that hold a tunnel
    beside it (session, mux, one relayed stream). Returns (API connection, tunnel)."""
    import easyenclave as ee

    def rss():
        status = pathlib.Path(f"/proc/{net.pid_of('control')}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    kept = [ee.Client() for _ in range(count)]
    before = rss()
    for client in kept:
        client.balance()
    middle = rss()
    apps = [client.connect("app-name") for client in kept]
    after = rss()
    for app, client in zip(apps, kept):
        app.close()
        client.close()
    return (middle - before) / count, (after - middle) / count


def main():
    quick = "--quick" in sys.argv
    rounds = 10 if quick else 100
    ups = 1 if quick else 3
    cases = []

    def add(name, samples, unit, against=None, against_samples=None):
        value = statistics.median(samples)
        ratio = value / statistics.median(against_samples) if against_samples else None
        cases.append({"id": name, "value": value, "unit": unit, "against": against, "ratio": ratio, "runs": len(samples)})

    Devnet().up().down()  # makes the image and warms the page cache
    up_seconds = []
    for _ in range(ups):
        net = Devnet().up()
        up_seconds.append(net.up_seconds)
        net.down()
    add("devnet_up_warm", up_seconds, "s")

    net = Devnet().up()
    try:
        for key in list(os.environ):
            if key.startswith(("EE_", "XDG_")):
                del os.environ[key]
        os.environ.update({k: net.env[k] for k in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")})
        sys.path.insert(0, str(BUILD / "python"))
        import easyenclave as ee

        client = ee.Client()
        cold = timed(lambda: client.run_private_job(image="myapp:latest", env={"SECRET": "value"}, node="node-a"))
        add("run_private_job_cold", [cold], "ms")
        net.push_hello()
        net.json("apps", "deploy", "bench-hello", "hello:latest", "--port", "8080", "--memory", "64M")
        app = client.connect("bench-hello")
        sock, payload = echo_pair(), b"x" * 1024
        fd = os.open(net.home / "durable", os.O_RDWR | os.O_CREAT, 0o600)
        # Each call beside its peer, round by round; one call a time, because after a job its agent makes the next sandbox, and what
        # would be measured then is two cores at work for three things.
        for name, peer, call, limit in (
            ("run_private_job_warm", "process_start", lambda: client.run_private_job(image="myapp:latest", env={"SECRET": "value"}, node="node-a"), lambda: subprocess.run(["/bin/busybox", "true"])),
            ("get_1k", "loopback_round_trip", lambda: app.get("/bytes?n=1024").content, lambda: round_trip(sock, payload)),
            ("transfer", "durable_write", lambda: client.transfer_credits(to="contractor-id", amount="$0.01"), lambda: durable_write(fd, b"x" * 4096)),
        ):
            pairs = [(timed(limit), timed(call)) for _ in range(rounds + 2)][2:]  # the first rounds open connections
            limits, calls = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            add(peer, limits, "ms")
            add(name, calls, "ms", peer, limits)
        app.close()
        client.close()
        api, tunnel = idle_kib(net, 20 if quick else 100)
        add("idle_api_connection", [api], "KiB")
        add("idle_tunnel", [tunnel], "KiB")
    finally:
        net.down()

    folder = pathlib.Path(os.environ.get("EE_BENCH_DIR", BUILD / "bench"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calls.json").write_text(json.dumps({"name": "calls", "machine": machine(), "quick": quick, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
