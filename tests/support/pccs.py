"""pccs.py - a PCCS for tests, over HTTPS with a certificate made here: it serves a simulated platform's collateral as version 4 of the API does,
and misbehaves on request. Not a test itself. Imported by tests/bindings/python/test_collateral.py and tests/integration/test_collateral.py."""
import contextlib
import json
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.parse
import warnings

SOURCE = pathlib.Path(os.environ.get("EE_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("EE_BUILD_DIR") or SOURCE / "build")

TCB, QE, PCK, ROOT = "tcb", "qe", "pckcrl", "rootcacrl"
PARTS = (TCB, QE, PCK, ROOT)


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stderr}")


class Platform:
    """A simulated platform: its quote, collateral, root and policy. `now` and `until` are Unix seconds."""

    def __init__(self, folder, now=None, until=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        options = [part for name, value in (("--now", now), ("--until", until)) if value for part in (name, int(value))]
        run(BUILD / "tests/ee-sim-platform", self.folder, *options)
        self.quote = (self.folder / "quote.bin").read_bytes()
        self.json = (self.folder / "collateral.json").read_bytes()
        self.collateral = json.loads(self.json)
        self.policy = (self.folder / "policy.toml").read_text()


class Authority:
    """A CA of its own, and a certificate by it for 127.0.0.1 and localhost."""

    def __init__(self, folder, name="test CA", host="IP:127.0.0.1,DNS:localhost"):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.key, self.certificate = folder / "ca.pem", folder / "key.pem", folder / "certificate.pem"
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        run("openssl", "req", "-x509", *ec, "-keyout", folder / "ca.key", "-out", self.ca, "-subj", f"/CN={name}")
        run("openssl", "req", *ec[:-2], "-keyout", self.key, "-out", folder / "request.pem", "-subj", "/CN=pccs", "-addext", f"subjectAltName={host}")
        run("openssl", "x509", "-req", "-in", folder / "request.pem", "-CA", self.ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2",
            "-out", self.certificate, "-copy_extensions", "copy")

    def context(self, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if version is not None:  # an old one, which needs the old ciphers, too
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.certificate, self.key)
        return context


def percent(text):
    return urllib.parse.quote(text, safe="")


class Answer:
    def __init__(self, status=200, headers=(), body=b"", length=True):
        self.status, self.headers, self.body, self.length = status, list(headers), body, length

    def head(self):
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers)]
        if self.length:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Pccs:
    """`with Pccs(platform, authority) as pccs`: pccs.url, pccs.asked (paths, in order), pccs.misbehave[part] = name of a function of Modes.
    authority None: plain http. The platform may be changed while it runs."""

    def __init__(self, platform, authority=None, tls=None):
        self.platform, self.authority = platform, authority
        self.context = authority.context(tls) if authority else None
        self.misbehave, self.asked, self.other = {}, [], None
        self.sent = 0  # bytes of the answer that a mode without end could send
        self.gate = None  # an Event: answers wait for it
        self.changed = threading.Condition()
        self.stop = threading.Event()
        self.threads = []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"
        self.spawn(self.accept)
        return self

    def __exit__(self, *failure):
        self.stop.set()
        if self.gate:
            self.gate.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(20)

    def spawn(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def wait_asked(self, count, seconds=20):
        """Until so many requests came."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.asked) >= count, seconds):
                raise AssertionError(f"{len(self.asked)} requests in {seconds} s, wanted {count}: {self.asked}")

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.spawn(self.serve, connection)

    def serve(self, connection):
        connection.settimeout(20)
        with contextlib.suppress(OSError, ssl.SSLError), connection:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                while not self.stop.is_set():
                    request = self.read(connection)
                    if not request or not self.answer(connection, request):
                        return

    @staticmethod
    def read(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(4096)
            if not more:
                return ""
            head += more
        return head.split(b" ")[1].decode("latin-1")

    @staticmethod
    def part_of(path):
        path = path.split("/again", 1)[-1] if path.startswith("/again") else path
        return {"/tdx/certification/v4/tcb": TCB, "/tdx/certification/v4/qe/identity": QE, "/sgx/certification/v4/pckcrl": PCK,
                "/sgx/certification/v4/rootcacrl": ROOT}.get(path.split("?")[0])

    def good(self, part, path):
        c = self.platform.collateral
        if part == TCB:
            if "fmspc=454553494d00" not in path.lower():
                return Answer(404)
            body = '{"tcbInfo":%s,"signature":"%s"}' % (c["tcb_info"], c["tcb_info_signature"])
            return Answer(200, [("Content-Type", "application/json"), ("TCB-Info-Issuer-Chain", percent(c["tcb_info_issuer_chain"]))], body.encode())
        if part == QE:
            body = '{"enclaveIdentity":%s,"signature":"%s"}' % (c["qe_identity"], c["qe_identity_signature"])
            chain = percent(c["qe_identity_issuer_chain"])
            return Answer(200, [("Content-Type", "application/json"), ("SGX-Enclave-Identity-Issuer-Chain", chain)], body.encode())
        if part == PCK:
            if "ca=platform" not in path or "encoding=der" not in path:
                return Answer(404)
            chain = percent(c["pck_crl_issuer_chain"])
            return Answer(200, [("Content-Type", "application/pkix-crl"), ("SGX-PCK-CRL-Issuer-Chain", chain)], bytes.fromhex(c["pck_crl"]))
        if part == ROOT:
            return Answer(200, [("Content-Type", "text/html; charset=utf-8")], c["root_ca_crl"].encode())
        return Answer(404)

    def answer(self, connection, path):
        part = self.part_of(path)
        with self.changed:
            self.asked.append(path)
            self.changed.notify_all()
        if self.gate:
            self.gate.wait(20)
        mode = getattr(Modes, self.misbehave.get(part) or self.misbehave.get("all") or "fine")
        return mode(self, connection, part, path)

    def send(self, connection, answer):
        connection.sendall(answer.head() + answer.body)
        return True


class Modes:
    """One function each: (pccs, connection, part, path) -> may the connection be used again."""

    @staticmethod
    def fine(pccs, connection, part, path):
        return pccs.send(connection, pccs.good(part, path))

    @staticmethod
    def silent(pccs, connection, part, path):
        connection.settimeout(None)
        with contextlib.suppress(OSError):
            connection.recv(1)  # until the other side has had enough
        return False

    @staticmethod
    def drip(pccs, connection, part, path):
        """A slow loris: a byte of the body now and then, for ever."""
        answer = pccs.good(part, path)
        connection.sendall(answer.head())
        while not pccs.stop.wait(0.05):
            connection.sendall(b" ")
        return False

    @staticmethod
    def drip_head(pccs, connection, part, path):
        connection.sendall(b"HTTP/1.1 200 X\r\n")
        while not pccs.stop.wait(0.05):
            connection.sendall(b"X")
        return False

    @staticmethod
    def endless(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.length = False
        connection.sendall(answer.head())
        block = b" " * 65536
        while not pccs.stop.is_set():
            connection.sendall(block)
            pccs.sent += len(block)
        return False

    @staticmethod
    def endless_head(pccs, connection, part, path):
        connection.sendall(b"HTTP/1.1 200 X\r\n")
        line = b"X-More: " + b"y" * 4000 + b"\r\n"
        while not pccs.stop.is_set():
            connection.sendall(line)
            pccs.sent += len(line)
        return False

    @staticmethod
    def huge_header(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.headers.append(("X-More", "y" * 300000))
        return pccs.send(connection, answer)

    @staticmethod
    def wrong_type(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.headers[0] = ("Content-Type", "text/html" if part in (TCB, QE) else "application/json")
        return pccs.send(connection, answer)

    @staticmethod
    def login_page(pccs, connection, part, path):
        return pccs.send(connection, Answer(200, [("Content-Type", "text/html")], b"<html>Please log in to the network</html>"))

    @staticmethod
    def cut_json(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.body = answer.body[: len(answer.body) // 2]
        return pccs.send(connection, answer)

    @staticmethod
    def escapes(pccs, connection, part, path):
        """A signature written in escapes, and far too long."""
        answer = pccs.good(part, path)
        answer.body = answer.body.replace(b'"signature":"', b'"signature":"' + rb"\u0041" * 1000)
        return pccs.send(connection, answer)

    @staticmethod
    def cut_off(pccs, connection, part, path):
        """Ends in the middle of what was announced."""
        answer = pccs.good(part, path)
        connection.sendall(answer.head() + answer.body[: len(answer.body) // 2])
        return False

    @staticmethod
    def no_header(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.headers = answer.headers[:1]
        return pccs.send(connection, answer)

    @staticmethod
    def header_twice(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.headers.append(answer.headers[-1])
        return pccs.send(connection, answer)

    @staticmethod
    def other_chain(pccs, connection, part, path):
        """The right text with another CA's chain."""
        answer = pccs.good(part, path)
        name = {TCB: "tcb_info_issuer_chain", QE: "qe_identity_issuer_chain", PCK: "pck_crl_issuer_chain"}[part]
        answer.headers[1] = (answer.headers[1][0], percent(pccs.other.collateral[name]))
        return pccs.send(connection, answer)

    @staticmethod
    def other_platform(pccs, connection, part, path):
        """All of it by another CA, and in itself in order."""
        mine, pccs.platform = pccs.platform, pccs.other
        try:
            return pccs.send(connection, pccs.good(part, path))
        finally:
            pccs.platform = mine

    @staticmethod
    def changed_byte(pccs, connection, part, path):
        answer = pccs.good(part, path)
        answer.body = answer.body.replace(b'"UpToDate"', b'"uPToDate"', 1)
        return pccs.send(connection, answer)

    @staticmethod
    def status_401(pccs, connection, part, path):
        return pccs.send(connection, Answer(401))

    @staticmethod
    def status_404(pccs, connection, part, path):
        return pccs.send(connection, Answer(404))

    @staticmethod
    def status_461(pccs, connection, part, path):
        return pccs.send(connection, Answer(461))

    @staticmethod
    def status_429(pccs, connection, part, path):
        return pccs.send(connection, Answer(429, [("Retry-After", "7")]))

    @staticmethod
    def status_500(pccs, connection, part, path):
        return pccs.send(connection, Answer(500))

    @staticmethod
    def status_500_once(pccs, connection, part, path):
        first = pccs.asked.count(path) == 1
        return pccs.send(connection, Answer(500) if first else pccs.good(part, path))

    @staticmethod
    def hang_up_once(pccs, connection, part, path):
        return pccs.asked.count(path) > 1 and pccs.send(connection, pccs.good(part, path))

    @staticmethod
    def status_204(pccs, connection, part, path):
        return pccs.send(connection, Answer(204, length=False))

    @staticmethod
    def redirect_elsewhere(pccs, connection, part, path):
        return pccs.send(connection, Answer(302, [("Location", f"https://localhost:{pccs.port}{path}")]))

    @staticmethod
    def redirect_to_http(pccs, connection, part, path):
        return pccs.send(connection, Answer(301, [("Location", f"http://127.0.0.1:{pccs.port}{path}")]))

    @staticmethod
    def redirect_here(pccs, connection, part, path):
        if path.startswith("/again"):
            return pccs.send(connection, pccs.good(part, path))
        return pccs.send(connection, Answer(307, [("Location", "/again" + path)]))

    @staticmethod
    def redirect_loop(pccs, connection, part, path):
        return pccs.send(connection, Answer(307, [("Location", path)]))

    @staticmethod
    def no_http(pccs, connection, part, path):
        connection.sendall(b"220 smtp.example ESMTP\r\n")
        return False
