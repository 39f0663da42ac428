"""wire.py - tunnels and inner channels as an attacker makes them: by docs/protocol.md alone, and nobody's evidence is checked. And proxies
that end TLS. Not a test itself. Imported by the test_*.py beside it."""
import base64
import os
import re
import secrets
import select
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path

from callers import Http, pack

HELLO, EVIDENCE, ACCEPT, REJECT, CHALLENGE, OPEN, DATA, WINDOW, CLOSE, RESET = 1, 2, 3, 4, 5, 9, 10, 11, 12, 13
CONTROL, AGENT, UPTIME, CLIENT = 1, 2, 3, 5
CRITICAL = 0x8000
HEADER = struct.Struct(">BBHII")


class Ended(Exception):
    """The peer closed the connection or the stream."""


def unpack(data):
    """One value of the strict msgpack profile."""
    value, rest = unpack_first(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes more")
    return value


def unpack_first(data):
    head, rest = data[0], data[1:]

    def sized(size):
        n = int.from_bytes(rest[:size], "big")
        return rest[size : size + n], rest[size + n :]

    def items(count, rest):
        values = []
        for _ in range(count):
            value, rest = unpack_first(rest)
            values.append(value)
        return values, rest

    if head < 0x80:
        return head, rest
    if head & 0xF0 == 0x80:
        values, rest = items(2 * (head & 15), rest)
        return dict(zip(values[::2], values[1::2])), rest
    if head & 0xF0 == 0x90:
        return items(head & 15, rest)
    if head & 0xE0 == 0xA0:
        return rest[: head & 31].decode(), rest[head & 31 :]
    if head in (0xC2, 0xC3):
        return head == 0xC3, rest
    if 0xC4 <= head <= 0xC6:
        return sized(1 << (head - 0xC4))
    if 0xCC <= head <= 0xCF:
        size = 1 << (head - 0xCC)
        return int.from_bytes(rest[:size], "big"), rest[size:]
    if 0xD9 <= head <= 0xDB:
        text, rest = sized(1 << (head - 0xD9))
        return text.decode(), rest
    if head == 0xDC:
        return items(int.from_bytes(rest[:2], "big"), rest[2:])
    raise ValueError(f"byte {head:#x}")


def trusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Tunnel:
    """The dialing side, up to and with its HELLO. What comes is read with receive()."""

    def __init__(self, net, role, node="", instance_pub=bytes(32), hello=None, timeout=20):
        self.url = net.profile()["url"]
        host, port = self.url.removeprefix("https://").rsplit(":", 1)
        self.socket = trusting().wrap_socket(socket.create_connection((host, int(port)), timeout=timeout))
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall(f"GET /v1/tunnel HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ee.v1\r\n\r\n".encode())
        self.bytes, self.frames, self.streams = b"", [], 1
        head = self.until(b"\r\n\r\n")
        if b" 101 " not in head:
            raise Ended(head.decode())
        self.r = secrets.token_bytes(32)
        self.send(HELLO, hello if hello is not None else pack({1: [1], 3: role, 4: instance_pub, 5: self.r, 9: "0.1.0", 10: node}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def more(self):
        try:
            got = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Ended(str(error)) from error
        if not got:
            raise Ended("end")
        self.bytes += got

    def until(self, mark):
        while mark not in self.bytes:
            self.more()
        head, _, self.bytes = self.bytes.partition(mark)
        return head

    def take(self, count):
        while len(self.bytes) < count:
            self.more()
        got, self.bytes = self.bytes[:count], self.bytes[count:]
        return got

    def message(self, payload):
        """One binary websocket message, masked."""
        mask = secrets.token_bytes(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big") if len(payload) < 65536 else b"\xff" + len(payload).to_bytes(8, "big")
        covered = bytes(b ^ m for b, m in zip(payload, mask * (len(payload) // 4 + 1)))
        try:
            self.socket.sendall(b"\x82" + length + mask + covered)
        except (ConnectionError, ssl.SSLError) as error:
            raise Ended(str(error)) from error

    def send(self, kind, payload=b"", stream=0, flags=CRITICAL):
        self.message(HEADER.pack(1, kind, flags, stream, len(payload)) + payload)

    def receive(self, *kinds):
        """The next frame of these kinds: (type, stream, payload). Ended when the tunnel is."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if not kinds or frame[0] in kinds:
                    return frame
            first, length = self.take(2)
            if length & 127 > 125:
                length = int.from_bytes(self.take(2 if length & 127 == 126 else 8), "big")
            payload = self.take(length)
            if first & 15 == 8:
                raise Ended(f"websocket code {int.from_bytes(payload[:2], 'big')}")
            while first & 15 == 2 and payload:
                _, kind, _, stream, length = HEADER.unpack(payload[:12])
                self.frames.append((kind, stream, payload[12 : 12 + length]))
                payload = payload[12 + length :]

    def rejected(self):
        """The word and message of the REJECT that must come."""
        told = unpack(self.receive(REJECT)[2])
        return told[1], told.get(2, "")

    def open(self, kind, target, instance, token):
        stream, self.streams = self.streams, self.streams + 2
        self.send(OPEN, struct.pack(">I", 1 << 18) + pack({1: kind, 2: target, 3: instance, 4: token}), stream)
        return stream


class Inner:
    """The client's side of an inner channel, up to its handshake."""

    def __init__(self, tunnel, stream, alpn):
        self.tunnel, self.stream = tunnel, stream
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = trusting()
        context.set_alpn_protocols([alpn])
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.step(self.tls.do_handshake)
        self.certificate = self.tls.getpeercert(True)

    def step(self, act):
        while True:
            try:
                result = act()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                kind, stream, payload = self.tunnel.receive(DATA, CLOSE, RESET)
                if stream == self.stream and kind != DATA:
                    raise Ended(payload.decode() or "closed")
                if stream == self.stream:
                    self.incoming.write(payload)

    def flush(self):
        while self.outgoing.pending:
            self.tunnel.send(DATA, self.outgoing.read(16000), self.stream)

    def ask(self, challenge):
        """EVIDENCE over this CHALLENGE."""
        self.step(lambda: self.tls.write(HEADER.pack(1, CHALLENGE, CRITICAL, 0, len(challenge)) + challenge))
        got = b""
        while len(got) < 12 or len(got) < 12 + HEADER.unpack(got[:12])[4]:
            got += self.step(lambda: self.tls.read(65536))
        if got[1] != EVIDENCE:
            raise Ended(f"frame {got[1]}")
        return got[12:]


def ask_agent(net, node, challenge):
    """What the agent of a node says to this CHALLENGE, as any account may ask it: for a connection of ours."""
    way = Http(net).request("GET", f"/v1/attest/{node}")
    if way.word != "ok":
        raise Ended(way.message)
    told = way.details
    with Tunnel(net, CLIENT) as tunnel:
        tunnel.receive(ACCEPT)
        stream = tunnel.open(4, node, bytes.fromhex(told["instance_id"]), base64.urlsafe_b64decode(told["token"] + "==="))
        return Inner(tunnel, stream, "ee-attest/1").ask(challenge)


class Relay:
    """Where a lying agent (LIE=relay) hands over what it was asked: another node's agent answers it."""

    def __init__(self, net, node, path):
        self.net, self.node, self.path = net, node, str(path)
        self.asked, self.answers, self.failed = [], [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                question = b""
                while piece := connection.recv(4096):
                    question += piece
                self.asked.append(question)
                try:
                    answer = ask_agent(self.net, self.node, question[32:] or pack({1: 3, 2: question[:32], 5: True, 6: bytes(32)}))
                    self.answers.append(answer)
                    connection.sendall(answer)
                except (Ended, OSError, ValueError) as error:
                    self.failed.append(error)

    def close(self):
        self.listener.close()


class Proxy:
    """Ends TLS with a certificate of its own, or with one that was stolen, and passes on what is inside."""

    def __init__(self, net, folder, certificate=None, key=None):
        self.to = net.profile()["url"].removeprefix("https://").rsplit(":", 1)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is None:
            certificate, key = Path(folder) / "proxy.pem", Path(folder) / "proxy.key"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.context.load_cert_chain(certificate, key)
        self.inside = bytearray()  # what came from who was let in
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with self.context.wrap_socket(client, server_side=True) as near, trusting().wrap_socket(socket.create_connection((self.to[0], int(self.to[1])))) as far:
                while True:
                    ready = [s for s in (near, far) if s.pending()] or select.select([near, far], [], [], 60)[0]
                    for one, other in ((near, far), (far, near)):
                        if one not in ready:
                            continue
                        data = one.recv(65536)
                        if not data:
                            return
                        if one is near:
                            self.inside += data
                        other.sendall(data)
        except (OSError, ssl.SSLError):
            return

    def close(self):
        self.listener.close()


def pem_of(folder):
    """The certificate and key that LIE=leak left in a folder, as files for a TLS server."""
    out = []
    for name, label in (("certificate", "CERTIFICATE"), ("tls", "EC PRIVATE KEY")):
        der = (Path(folder) / f"{name}.der").read_bytes()
        path = Path(folder) / f"{name}.pem"
        path.write_text(f"-----BEGIN {label}-----\n" + re.sub("(.{64})", r"\1\n", base64.b64encode(der).decode()) + f"\n-----END {label}-----\n")
        os.chmod(path, 0o600)
        out.append(path)
    return out
