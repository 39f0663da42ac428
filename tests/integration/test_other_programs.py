#!/usr/bin/env python3
"""Programs that know nothing of us reach an app: curl and WebSocket clients through `ee forward` and through a socket of the SDK, requests and
httpx through their adapters. What is large passes whole, and fills the memory of nobody in between."""
# deadline: 400
import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import textwrap
import unittest

from devnet import BIN, DevnetCase

LARGE = 100 << 20
ROOM = 32 << 20  # that agent and control plane may grow by meanwhile: windows and queues, but no body

# The app's socket as standard input and output, in C and in Go.
C_SOCKET = textwrap.dedent(
    r"""
    #include <eesdk/eesdk.h>
    #include <poll.h>
    #include <stdio.h>
    #include <unistd.h>

    static int carry(int from, int to) {
        char data[65536];
        ssize_t n = read(from, data, sizeof data);
        for (ssize_t at = 0, sent; at < n; at += sent)
            if ((sent = write(to, data + at, (size_t)(n - at))) <= 0) return 0;
        return n > 0;
    }

    int main(int argc, char **argv) {
        ee_error err = {0};
        ee_app *app = NULL;
        int fd = -1;
        if (argc != 2 || ee_connect(NULL, argv[1], NULL, &app, &err) || ee_app_socket(app, NULL, &fd, &err)) {
            (void)fprintf(stderr, "%s: %s\n", err.word, err.message);
            return 1;
        }
        struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        for (int open = 1; open && poll(ends, 2, -1) > 0;) {
            if (ends[0].revents) open = carry(0, fd);
            if (open && ends[1].revents) open = carry(fd, 1);
        }
        close(fd);
        ee_app_free(app);
        return 0;
    }
    """
)
GO_SOCKET = textwrap.dedent(
    """
    package main

    import (
    \t"context"
    \t"io"
    \t"log"
    \t"os"

    \tee "github.com/easyenclave/easyenclave/bindings/go"
    )

    func main() {
    \tapp, err := ee.Connect(context.Background(), os.Args[1])
    \tif err != nil {
    \t\tlog.Fatal(err)
    \t}
    \tdefer app.Close()
    \tconn, err := app.DialContext(context.Background(), "tcp", os.Args[1]+".ee.internal:80")
    \tif err != nil {
    \t\tlog.Fatal(err)
    \t}
    \tdefer conn.Close()
    \tgo io.Copy(os.Stdout, conn)
    \tio.Copy(conn, os.Stdin)
    }
    """
)


class WebSocket:
    """The client's side of RFC 6455 over two files, by hand: nothing in between can be clever about it."""

    def __init__(self, reader, writer, case):
        self.reader, self.writer, self.case = reader, writer, case

    def open(self, host):
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.write(f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        lines = head.decode().split("\r\n")
        self.case.assertEqual(lines[0], "HTTP/1.1 101 Switching Protocols")
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        self.case.assertIn(f"Sec-WebSocket-Accept: {accept}", lines)

    def write(self, data):
        self.writer.write(data)
        self.writer.flush()

    def read(self, size):
        data = self.reader.read(size)
        self.case.assertEqual(len(data), size, "the connection ended")
        return data

    def send(self, op, data):
        mask, size = secrets.token_bytes(4), len(data)
        length = bytes([128 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xff" + size.to_bytes(8, "big")
        masked = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        self.write(bytes([128 | op]) + length + mask + masked)

    def receive(self):
        op, size = self.read(2)
        if size in (126, 127):
            size = int.from_bytes(self.read(2 if size == 126 else 8), "big")
        return op & 15, self.read(size)

    def echoes(self):
        for size in (0, 1, 125, 126, 1000, 65535, 65536, 1 << 20):
            data = secrets.token_bytes(size)
            self.send(2, data)
            self.case.assertEqual(self.receive(), (2, data), f"{size} bytes")
        self.send(1, "grüße".encode())
        self.send(9, b"are you there")
        self.case.assertEqual([self.receive(), self.receive()], [(1, "grüße".encode()), (10, b"are you there")])
        self.send(8, (1000).to_bytes(2, "big"))
        self.case.assertEqual(self.receive(), (8, (1000).to_bytes(2, "big")))


class OtherPrograms(DevnetCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.net.push_hello()
            cls.net.json("apps", "deploy", "hello", "hello:latest", "--port", "8080", "--memory", "512M")
        except BaseException:
            cls.net.down()
            raise

    def forward(self):
        """A port of `ee forward`, until the test's end."""
        process = subprocess.Popen([str(BIN / "ee"), "--json", "forward", "hello"], env=self.net.env, stdout=subprocess.PIPE, text=True)

        def end():
            process.send_signal(2)
            self.assertEqual(process.wait(20), 130)
            process.stdout.close()

        self.addCleanup(end)
        return json.loads(process.stdout.readline())["url"]

    # ---- WebSockets

    def test_websocket_through_ee_forward(self):
        port = int(self.forward().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, connection.makefile("rwb") as both:
            client = WebSocket(both, both, self)
            client.open("hello.ee.internal")
            client.echoes()
            self.assertEqual(both.read(), b"", "the app closed, and so does the port")

    def websocket_through(self, argv):
        with subprocess.Popen(argv, env=self.net.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                client = WebSocket(process.stdout, process.stdin, self)
                client.open("hello.ee.internal")
                client.echoes()
                _, stray = process.communicate(timeout=30)
                self.assertEqual((process.returncode, stray), (0, b""))
            finally:
                process.kill()

    def test_websocket_through_a_socket_of_c(self):
        self.websocket_through([self.net.compile(C_SOCKET, "socket"), "hello"])

    def test_websocket_through_a_connection_of_go(self):
        self.websocket_through([str(self.net.go_program("socket-go", GO_SOCKET)), "hello"])

    # ---- requests and httpx

    ADAPTERS = textwrap.dedent(
        """
        import hashlib, json, sys
        import easyenclave
        app = easyenclave.connect("hello")
        name = sys.argv[1]
        if name == "requests":
            import requests
            client = app.requests_session()
            body = lambda response: b"".join(response.iter_content(65536))
            stream = lambda path: client.get(app.base_url + path, stream=True)
            bad_timeout = requests.exceptions.Timeout
        else:
            import httpx
            client = httpx.Client(transport=app.httpx_transport(), base_url=app.base_url)
            body = lambda response: response.read()
            stream = lambda path: client.send(client.build_request("GET", path), stream=True)
            bad_timeout = httpx.TimeoutException
        url = app.base_url
        got = client.get(url + "/api/private")
        assert (got.status_code, got.json(), got.headers["Content-Type"]) == (200, {"hello": "from behind the tunnel"}, "application/json"), got
        assert client.get(url + "/nothing").status_code == 404
        assert client.get(url + "/healthz").content == b""
        sent = bytes(range(256)) * 4096
        got = client.post(url + "/echo", data=sent, headers={"Content-Type": "x/y"}) if name == "requests" else client.post(url + "/echo", content=sent, headers={"Content-Type": "x/y"})
        assert got.content == sent and got.headers["content-type"] == "x/y"
        assert client.post(url + "/echo", json={"a": 1}).json() == {"a": 1}
        assert client.get(url + "/bytes", params={"n": 3}).text == "abc"
        much = body(stream("/bytes?n=5000001"))
        assert len(much) == 5000001 and much[65536:65562] == b"abcdefghijklmnopqrstuvwxyz"
        lines = [line for line in stream("/events?n=3&interval=1ms").iter_lines() if line.strip()]
        assert len(lines) == 6, lines
        for refused in ("https://example.org/", url + ".evil.example/", url.replace("https", "http") + "/"):
            try:
                client.get(refused)
            except easyenclave.InvalidRequestError as error:
                assert "reaches" in str(error)
            else:
                raise AssertionError(refused)
        try:
            client.get(url + "/events?n=2&interval=50s", timeout=0.3)  # the headers come, and one event
        except bad_timeout as error:
            assert "no answer in time" in str(error)
        else:
            raise AssertionError("no timeout")
        print("ok")
        """
    )

    def adapter(self, name):
        if importlib.util.find_spec(name) is None:
            self.skipTest(f"this Python has no {name}")
        result = self.net.run([sys.executable, "-c", self.ADAPTERS, name])
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "ok\n", ""))

    def test_requests(self):
        self.adapter("requests")

    def test_httpx(self):
        self.adapter("httpx")

    # ---- what is large

    @contextlib.contextmanager
    def flat(self):
        """Agent and control plane hold no body: their peak stays near what they had."""
        node = next(app["node"] for app in self.net.json("apps")["items"] if app["name"] == "hello")
        pids = {name: self.net.pid_of(name) for name in (node, "control")}

        def kib(pid, what):
            return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))

        for pid in pids.values():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        before = {name: kib(pid, "VmRSS:") for name, pid in pids.items()}
        yield
        for name, pid in pids.items():
            self.assertLess((kib(pid, "VmHWM:") - before[name]) << 10, ROOM, f"{name} held a body")

    @classmethod
    def body(cls):
        """LARGE bytes in a file, no two mebibytes alike, and their hash."""
        path, sum_ = cls.net.home / "body", hashlib.sha256()
        block = os.urandom(1 << 20)
        with path.open("wb") as file:
            for i in range(LARGE >> 20):
                piece = i.to_bytes(8, "big") + block[8:]
                file.write(piece)
                sum_.update(piece)
        return path, sum_.hexdigest()

    @staticmethod
    def sent_back(n):
        """Hash of what /bytes?n= sends."""
        block = bytes(97 + i % 26 for i in range(65536))
        return hashlib.sha256(block * (n // 65536) + block[: n % 65536]).hexdigest()

    def test_large_through_ee_forward(self):
        url, (path, want) = self.forward(), self.body()
        with self.flat():
            up = subprocess.run(["curl", "-sf", "--max-time", "120", "-H", "Expect:", "-T", str(path), f"{url}/digest"], capture_output=True, text=True)
            self.assertEqual((up.returncode, json.loads(up.stdout or "null")), (0, {"bytes": LARGE, "sha256": want}), up.stderr)
        with self.flat():
            down = subprocess.run(f"set -o pipefail; curl -sf --max-time 120 '{url}/bytes?n={LARGE}' | sha256sum", shell=True, executable="/bin/bash", capture_output=True, text=True)
            self.assertEqual((down.returncode, down.stdout.split()[0]), (0, self.sent_back(LARGE)), down.stderr)

    def test_large_through_python(self):
        path, want = self.body()
        up = f"""
            import easyenclave, sys
            with open(sys.argv[1], "rb") as file, easyenclave.connect("hello") as app:
                print(app.post("/digest", data=file).text)
            """
        down = f"""
            import easyenclave, hashlib
            sum = hashlib.sha256()
            with easyenclave.connect("hello") as app, app.get("/bytes?n={LARGE}", stream=True) as response:
                for piece in response.iter_bytes():
                    sum.update(piece)
            print(sum.hexdigest())
            """
        with self.flat():
            result = self.net.run(["python3", "-c", textwrap.dedent(up), str(path)])
            self.assertEqual(json.loads(result.stdout or "null"), {"bytes": LARGE, "sha256": want}, result.stderr)
        with self.flat():
            result = self.net.run(["python3", "-c", textwrap.dedent(down)])
            self.assertEqual(result.stdout.strip(), self.sent_back(LARGE), result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
