"""callers.py - the same calls through C, Python, Go, the command line and bare HTTP, each a process (HTTP: this one) with the caller's
environment. Not a test itself. Every caller takes one of

    balance                                   transfer TO AMOUNT KEY
    get APP PATH                              run IMAGE NODE VCPUS MAX_COST ENV_NAME COMMAND...

where "" is "not given", and gives an Outcome: a stable word, and what came with it. The programs in callers/ print what the job or app
says, then `== outcome` and one line for each of Outcome's fields."""
import atexit
import base64
import functools
import hashlib
import hmac
import http.client
import json
import pathlib
import re
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field

from devnet import BIN, environment, go_build

SOURCES = pathlib.Path(__file__).resolve().parent / "callers"


@dataclass
class Outcome:
    word: str
    message: str = ""
    hint: str = ""
    needed: int = 0
    available: int = 0
    details: dict = field(default_factory=dict)
    code: int = 0  # exit code of the command line; HTTP status
    output: str = ""
    stray: str = ""  # on standard error


class Program:
    """A program of callers/: starts as one process a call."""

    def __init__(self, net, command):
        self.net, self.command = net, command

    def start(self, *args, **env):
        return subprocess.Popen([*self.command, *args], env={**self.net.env, **env}, cwd=self.net.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, process, before=""):
        """before: what was read of its output already."""
        output, stray = process.communicate(timeout=60)
        output, mark, outcome = (before + output).partition("== outcome\n")
        if process.returncode or not mark:
            raise AssertionError(f"{self.command[0]}: exit {process.returncode}: {output}{stray}")
        word, message, hint, needed, available, details = outcome.removesuffix("\n").split("\n")
        return Outcome(word, message, hint, int(needed), int(available), json.loads(details or "{}"), 0, output, stray)

    def call(self, *args, **env):
        return self.finish(self.start(*args, **env))


class Command(Program):
    """ee, with --json: errors are a document on standard error."""

    def __init__(self, net):
        super().__init__(net, [str(BIN / "ee"), "--json"])

    def start(self, action, *args, **env):
        if action == "transfer":
            to, amount, key = args
            argv = ["transfer", *(["--key", key] if key else []), "--", to, amount]
        elif action == "run":
            image, node, vcpus, max_cost, name, *command = args
            options = [("--node", node), ("--vcpus", vcpus), ("--max-cost", max_cost), ("-e", name)]
            argv = ["run", *(word for option in options if option[1] for word in option), image, *(["--", *command] if command else [])]
        else:
            argv = ["balance"] if action == "balance" else ["curl", f"{args[0]}{args[1]}"]
        return super().start(*argv, **env)

    def finish(self, process, before=""):
        output, stray = process.communicate(timeout=60)
        if process.returncode == 0:
            return Outcome("ok", output=before + output, stray=stray)
        last = stray.rstrip("\n").rpartition("\n")
        error = json.loads(last[2])["error"]
        needed, available = (error.get(name, {}).get("micros", 0) for name in ("needed", "available"))
        return Outcome(error["code"], error["message"], error["hint"], needed, available, error["details"], process.returncode, before + output, last[0])


# ---- bare HTTP: nothing of ours, by docs/protocol.md alone ----------------------------------------------------------------------------


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pack(value):
    """The strict msgpack profile: maps by ascending number, numbers in their shortest form."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        for limit, head, size in ((0x80, b"", 1), (1 << 8, b"\xcc", 1), (1 << 16, b"\xcd", 2), (1 << 32, b"\xce", 4), (1 << 64, b"\xcf", 8)):
            if value < limit:
                return head + value.to_bytes(size, "big")
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(pack, value))
    kept = {k: v for k, v in value.items() if v not in (0, "", [], b"")}
    return bytes([0x80 | len(kept)]) + b"".join(pack(k) + pack(kept[k]) for k in sorted(kept))


class AccountKey:
    """Proto: docs/protocol.md#account-keys. openssl signs: there is no Ed25519 in Python's library."""

    def __init__(self, api_key):
        seed = base64.urlsafe_b64decode(api_key.removeprefix("ee_sk_"))[:32]
        extracted = hmac.digest(b"easyenclave", seed, "sha256")
        self.der = bytes.fromhex("302e020100300506032b657004220420") + hmac.digest(extracted, b"EE1-account-sign\x01", "sha256")
        self.public = self.openssl("pkey", "-inform", "DER", "-in", "@key", "-pubout", "-outform", "DER")[-32:]
        self.id = hashlib.sha256(b"EE1-key" + b"ed25519" + self.public).digest()

    def openssl(self, *args, message=b""):
        with tempfile.TemporaryDirectory() as folder:
            paths = {"@key": f"{folder}/key", "@message": f"{folder}/message"}
            pathlib.Path(paths["@key"]).write_bytes(self.der)
            pathlib.Path(paths["@message"]).write_bytes(message)
            return subprocess.run(["openssl", *(paths.get(a, a) for a in args)], check=True, capture_output=True).stdout

    def sign(self, kind, body):
        """(signature, envelope) of docs/protocol.md#envelope."""
        head = kind.to_bytes(2, "big") + self.id + len(body).to_bytes(4, "big")
        signature = self.openssl("pkeyutl", "-sign", "-keyform", "DER", "-inkey", "@key", "-rawin", "-in", "@message", message=b"EE1\0" + head + body)
        return signature, head + body + signature


class Http:
    """The control plane's HTTP as somebody without our library calls it. It checks no attestation: it is about the answers."""

    SPEND_AUTH, TRANSFER, REQUEST = 0x10, 0x11, 0x13

    def __init__(self, net):
        self.net = net

    def request(self, method, path, body=None, key="", profile=None, headers=None):
        profile = profile or self.net.profile()
        url, account = profile["url"], AccountKey(profile["api_key"])
        host = url.removeprefix("https://")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, context=context, timeout=30)
        try:
            connection.connect()
            self.instance = re.search(rb"ee://[a-z0-9-]+/([0-9a-f]{64})", connection.sock.getpeercert(True)).group(1).decode()
            text = json.dumps(body(bytes.fromhex(self.instance), account)) if body else ""
            now, nonce = str(int(time.time() * 1000)), secrets.token_hex(16)
            signed = "\n".join(["EE-REQUEST-1", method, host, path, hashlib.sha256(text.encode()).hexdigest(), now, nonce, self.instance, key, ""])
            headers = headers or {"Ee-Key": account.public.hex(), "Ee-Time": now, "Ee-Nonce": nonce, "Ee-Sig": b64url(account.sign(self.REQUEST, signed.encode())[0])}
            connection.request(method, path, text or None, {**headers, "Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        finally:
            connection.close()
        if "error" not in document:
            return Outcome("ok", code=answer.status, details=document)
        error = document["error"]
        needed, available = (error.get(name, {}).get("micros", 0) for name in ("needed", "available"))
        return Outcome(error["code"], error["message"], error["hint"], needed, available, error.get("details", {}), answer.status)

    def call(self, action, *args):
        later = int(time.time() * 1000) + 60_000
        if action == "balance":
            return self.request("GET", "/v1/balances/me")
        if action == "get":
            return self.request("GET", f"/v1/resolve/{args[0]}")
        key = (args[2] if action == "transfer" else "") or secrets.token_hex(8)
        if action == "transfer":
            order = {1: self.net.profile()["account"], 2: args[0], 3: args[1], 5: key, 6: later}
            return self.request("POST", "/v1/credits/transfer", lambda instance, account: {"order": b64url(account.sign(self.TRANSFER, pack({**order, 7: instance}))[1])}, key)
        return self.run(key, later, *args)

    def run(self, key, later, image, node, vcpus, max_cost, name, *command):
        """Admission: what comes after it is between caller and agent, and no HTTP."""
        registry, (repository, tag) = self.net.profile()["registry"].removeprefix("http://"), image.split(":")
        ask = urllib.request.Request(f"http://{registry}/v2/{repository}/manifests/{tag}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        digest = hashlib.sha256(urllib.request.urlopen(ask).read()).digest()
        spec = pack({1: 1, 2: f"{registry}/{repository}", 3: tag, 4: digest, 5: list(command), 6: [name] if name else [], 7: int(float(vcpus or 1) * 1000), 8: 512 << 20, 9: 600_000,
                     10: 1 << 20, 13: node, 14: True})
        quoted = self.request("POST", "/v1/quotes", lambda instance, account: {"spec": b64url(spec)})
        offer = quoted.details["items"][0] if quoted.word == "ok" and quoted.details["items"] else {"node": node or "node-a", "price_per_vcpu_hour": {"micros": 40_000}, "ceiling": {"micros": 1_000_000}}
        most = int(float(max_cost.strip("$")) * 1_000_000) if max_cost else offer["ceiling"]["micros"]
        auth = {1: secrets.token_bytes(16), 2: hashlib.sha256(spec).digest(), 3: offer["price_per_vcpu_hour"]["micros"], 4: offer["node"], 5: most, 6: later}
        return self.request("POST", "/v1/jobs", lambda instance, account: {"spec": b64url(spec), "authorization": b64url(account.sign(self.SPEND_AUTH, pack({**auth, 7: instance}))[1])}, key)


@functools.lru_cache(maxsize=None)
def go_program():
    """Built once a process of tests."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ee-caller-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(go_build(folder, "caller", (SOURCES / "main.go").read_text(), environment(folder)))


def sdk_callers(net):
    """By name, those that attest: C, Python, Go and the command line."""
    return {"c": Program(net, [net.compile((SOURCES / "caller.c").read_text(), "caller")]), "python": Program(net, ["python3", str(SOURCES / "caller.py")]),
            "go": Program(net, [go_program()]), "cli": Command(net)}


def all_callers(net):
    return {**sdk_callers(net), "http": Http(net)}
