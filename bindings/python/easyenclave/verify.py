"""Attestation on its own: what is acceptable (Policy), what was found (Attestation), and checking saved evidence with no network."""
from __future__ import annotations

import datetime as dt
import json
import os
import stat
import tempfile
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Mapping, NoReturn, Optional, Tuple, Union, cast

from . import _calls, errors
from . import eesdk_raw as raw

DEVNET_FILE_MAX: Final = 1 << 16
MEASUREMENTS: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_seam", "mr_config_id", "mr_owner", "mr_owner_config")
ABOUT: Final = ("verified", "simulated", "node", "tcb_status", "advisory_ids", "checks", "verified_at", "policy_hash", "authentic",
                "boot_events")
"""What a verdict's JSON says of itself; the rest is what the quote says."""


def parse_time(text: object) -> dt.datetime:
    """ "2026-01-31T13:00:00Z"; the epoch for what is no time."""
    try:
        return dt.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return dt.datetime.fromtimestamp(0, dt.timezone.utc)


@dataclass(frozen=True)
class Check:
    """One named check of an attestation."""

    name: str
    status: Literal["pass", "fail", "skipped"]
    expected: str
    actual: str
    explain: str
    """A sentence for people; names the next step when it failed."""
    reason: str = ""
    """Of a failed check: "expired" (get newer collateral, or set the clock), "malformed" or "attestation"."""


@dataclass(frozen=True)
class BootEvent:
    """What firmware, boot loader or kernel measured before anything of ours ran. Register, digest and data are proved by the quote."""

    rtmr: int
    """0 to 3."""
    type: int
    """TCG event type: the log's own word, proved by nothing."""
    name: str
    """Of the type, "EV_SEPARATOR"; empty for one that has no name."""
    digest: str
    """SHA-384 in hex: what the register was extended with."""
    data: Optional[bytes]
    """What was measured; None where the log does not hold it, or it is long."""


@dataclass(frozen=True)
class Attestation:
    """What was checked about the other side, and how it came out. A value: it holds no connection and can be kept."""

    verified: bool
    simulated: bool
    """True on a devnet; never accepted by Policy.production()."""
    checks: Tuple[Check, ...] = field(repr=False)
    measurements: Mapping[str, str] = field(repr=False)
    """mrtd, rtmr0 to rtmr3, mr_seam, mr_config_id, mr_owner, mr_owner_config; empty when the quote is not authentic."""
    quote: Mapping[str, Union[str, int]] = field(repr=False)
    """Everything the quote and its PCK certificate say, bytes in hex as they lie there; empty when the quote is not authentic."""
    boot_events: Tuple[BootEvent, ...] = field(repr=False)
    """The boot log that replays to the quote's registers; empty when there was none, or one that does not."""
    tcb_status: str
    advisory_ids: Tuple[str, ...]
    node: str
    verified_at: dt.datetime
    policy_hash: str
    text: str = field(repr=False, compare=False)
    evidence: bytes = field(repr=False, compare=False)
    """The evidence file that export() writes; empty when nothing authentic came."""

    def export(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Write the evidence, for verify_evidence() or `ee verify` on any machine. Mode 0600, all or nothing. A symbolic link is followed; a
        device or FIFO is written to."""
        if not self.evidence:
            raise errors.StateError("there is no evidence to export: the check ended before there was any")
        if _is_stream(path):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), "wb") as file:
                file.write(self.evidence)
            return
        path = os.path.realpath(path)
        folder = os.path.dirname(path)
        descriptor, temporary = tempfile.mkstemp(prefix=".ee-evidence-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.evidence)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def __str__(self) -> str:
        return self.text


def attestation_of(verdict: raw.Verdict) -> Attestation:
    """All of a verdict as a value. The verdict stays the caller's."""
    told = json.loads(raw.ee_verdict_json(verdict))
    vouched = told if told.get("authentic") is True else {}
    evidence = b""
    try:
        evidence = _calls.plain(raw.ees_verdict_evidence, verdict)
    except errors.Error:
        pass  # a verdict without evidence is still worth showing; export() says that there is none
    return Attestation(
        verified=bool(told.get("verified")),
        simulated=bool(told.get("simulated")),
        checks=tuple(
            Check(
                c.get("name", ""), c.get("status", "fail"), c.get("expected", ""), c.get("actual", ""), c.get("explain", ""), c.get("reason", "")
            )
            for c in told.get("checks", [])
        ),
        measurements={name: vouched[name] for name in MEASUREMENTS if name in vouched},
        quote={name: value for name, value in vouched.items() if name not in ABOUT},
        boot_events=tuple(
            BootEvent(e["rtmr"], e["type"], e.get("name", ""), e["digest"], None if e["data"] is None else bytes.fromhex(e["data"]))
            for e in told.get("boot_events", [])
        ),
        tcb_status=told.get("tcb_status") or "",
        advisory_ids=tuple(told.get("advisory_ids") or ()),
        node=told.get("node") or "",
        verified_at=parse_time(told.get("verified_at")),
        policy_hash=told.get("policy_hash") or "",
        text=raw.ee_verdict_text(verdict) or "",
        evidence=evidence,
    )


class Policy:
    """What is acceptable, under which trust anchor. Immutable; with_() returns a copy. A pin that the evidence cannot answer is a failure."""

    _handle: _calls.Handle

    def __init__(self) -> None:
        raise TypeError("use Policy.production(), Policy.load(path), Policy.parse(toml) or Policy.devnet()")

    @classmethod
    def _of(cls, pointer: raw.Policy) -> Policy:
        self = cls.__new__(cls)
        self._handle = _calls.Handle(pointer, raw.ee_policy_free, "policy")
        return self

    @classmethod
    def production(cls) -> Policy:
        """Intel's root, sealed and non-debug TDs, TCB up to date: the strictest there is, and the default."""
        return cls._of(_calls.plain(raw.ees_policy_production))

    @classmethod
    def load(cls, path: Union[str, "os.PathLike[str]"]) -> Policy:
        """Read a policy.toml; ConfigError names file, line and key of what is wrong."""
        return cls._of(_calls.plain(raw.ees_policy_load, _calls.text_of("the policy's path", os.fspath(path))))

    @classmethod
    def parse(cls, toml: str, name: str = "policy") -> Policy:
        """The same from text; `name` stands for the file in errors."""
        return cls._of(_calls.plain(raw.ees_policy_parse, _calls.text_of("the policy", toml), _calls.text_of("name", name)))

    @classmethod
    def devnet(cls) -> Policy:
        """Accepts simulated quotes of the devnet that runs on this machine, and nothing else."""
        path, told = _devnet_file()
        policy = told.get("policy")
        if not isinstance(policy, str):
            raise errors.ConfigError(f"devnet file {path} names no policy")
        return cls.parse(policy, path)

    def with_(
        self,
        *,
        mrtd: Optional[str] = None,
        rtmrs: Optional[Mapping[int, str]] = None,
        mr_seam: Optional[str] = None,
        mr_config_id: Optional[str] = None,
        mr_owner: Optional[str] = None,
        mr_owner_config: Optional[str] = None,
        image_digest: Optional[str] = None,
        genesis: Optional[str] = None,
    ) -> Policy:
        """A copy with more pins, each in hex of its full length; image_digest may have "sha256:" in front. genesis is the SHA-256 of the
        file that a control plane must have been started from."""
        pins = {"mrtd": mrtd, "mr_seam": mr_seam, "mr_config_id": mr_config_id, "mr_owner": mr_owner, "mr_owner_config": mr_owner_config}
        pins["genesis"] = genesis
        pins.update({f"rtmr{number}": value for number, value in (rtmrs or {}).items()})
        if image_digest is not None:
            pins["image"] = image_digest
        policy = self
        for what, value in pins.items():
            if value is not None:
                policy = Policy._of(_calls.plain(raw.ees_policy_pin, policy._handle, what, _calls.text_of(what, value)))
        return policy

    def unpinned(self) -> Policy:
        """A copy that pins no measurement and accepts any: for a first look at a quote, which shows what could be pinned."""
        return Policy._of(_calls.plain(raw.ees_policy_unpinned, self._handle))

    @property
    def hash(self) -> str:
        """SHA-256 of the policy's canonical form, as in every attestation."""
        return _calls.plain(raw.ee_policy_hash, self._handle)

    @property
    def toml(self) -> str:
        """The whole policy as policy.toml: Policy.parse() makes the same one of it, with the same hash. Reasons and comments are not kept."""
        return _calls.plain(raw.ees_policy_toml, self._handle)

    @property
    def simulated(self) -> bool:
        """Whether simulated quotes are acceptable."""
        return bool(_calls.plain(raw.ee_policy_simulated, self._handle))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Policy(hash={self.hash[:16]!r}, simulated={self.simulated})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a policy cannot be pickled: keep its toml and use Policy.parse()")


def verify_evidence(path: Union[str, "os.PathLike[str]"], policy: Optional[Policy] = None, *, at: Optional[dt.datetime] = None) -> Attestation:
    """Check saved evidence with no network at all. `at` is the time it is judged for; None = the time stored in the file.
    AttestationError.attestation has every check when it is refused."""
    text = _calls.text_of("the evidence's path", os.fspath(path))
    return _verdict_call(raw.ees_verify_file, text, policy._handle if policy else None, _unix(at))


def verify_quote(
    quote: bytes,
    collateral: Union[bytes, str],
    policy: Optional[Policy] = None,
    *,
    report_data: Optional[bytes] = None,
    now: Optional[dt.datetime] = None,
    ccel: Optional[bytes] = None,
) -> Attestation:
    """Check a raw TDX quote against collateral JSON, offline. Returns only what is authentic and acceptable; else AttestationError, whose
    attestation has every check. Input that cannot be read is refused in the same way. `ccel` is the machine's boot log
    (/sys/firmware/acpi/tables/data/CCEL), which then must replay to the quote's registers."""
    if report_data is not None and len(report_data) != 64:
        raise errors.InvalidRequestError(f"report_data has {len(report_data)} bytes; it must have 64")
    if ccel is not None and not ccel:
        raise errors.InvalidRequestError("ccel is empty: give the machine's boot log, or None to leave its check out")
    source = collateral.encode() if isinstance(collateral, str) else collateral
    return _verdict_call(raw.ees_verify_quote, quote, source, policy._handle if policy else None, _unix(now), report_data or b"", ccel or b"")


def fetch_collateral(
    quote: bytes,
    *,
    pccs_url: Optional[str] = None,
    pccs_ca: Union[str, "os.PathLike[str]", None] = None,
    cache: Union[str, "os.PathLike[str]", Literal[False], None] = None,
    timeout: Union[float, str] = 20.0,
) -> bytes:
    """The collateral JSON that verify_quote() checks this quote with, from the cache or a PCCS. Keep it in a file to verify with no network.

    pccs_url: "https://host:port"; None = EE_PCCS_URL, else Intel's PCS. pccs_ca: PEM file of what its certificate is checked against; None =
    EE_PCCS_CA, else this machine's CAs. cache: a folder; None = EE_PCCS_CACHE, else one below ~/.cache; False = nothing is kept."""
    cancel = _calls.cancel_of_this_call()
    return _calls.wait(
        raw.ees_collateral_fetch,
        quote,
        _calls.text_of("pccs_url", pccs_url or ""),
        _calls.text_of("pccs_ca", os.fspath(pccs_ca or "")),
        _calls.text_of("cache", os.fspath(cache or "")),
        int(cache is False),
        min(_calls.milliseconds("timeout", timeout), 2**32 - 1),
        cancel,
        cancel=cancel,
    )


def collateral_valid_until(collateral: Union[bytes, str]) -> Optional[dt.datetime]:
    """Until when everything in it is valid; None when that cannot be known: it is not signed throughout under one root."""
    source = collateral.encode() if isinstance(collateral, str) else collateral
    seconds = _calls.plain(raw.ees_collateral_valid_until, source)
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc) if seconds else None


def _unix(time: Optional[dt.datetime]) -> int:
    if time is None:
        return 0
    if time.tzinfo is None:
        raise errors.InvalidRequestError("the time has no time zone: use datetime.now(timezone.utc) or the like")
    seconds = int(time.timestamp())
    if seconds <= 0:
        raise errors.InvalidRequestError(f"the time {time} is before 1970")
    return seconds


def _verdict_call(function: Any, *args: Any) -> Attestation:
    refused: Optional[errors.Error] = None
    try:
        verdict = cast("raw.Verdict", _calls._run(function, args))
    except raw.RawError as failure:
        refused, verdict = errors.from_fields(failure.args), failure.args[-1]
    try:
        attestation = attestation_of(verdict) if verdict is not None else None
    finally:
        if verdict is not None:
            raw.ee_verdict_free(verdict)
    if refused is not None:
        if isinstance(refused, errors.AttestationError):
            refused.attestation = attestation
        raise refused
    assert attestation is not None
    return attestation


def _is_stream(path: Union[str, "os.PathLike[str]"]) -> bool:
    """There, and neither a regular file nor a folder: it is written to, not replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _devnet_file() -> Tuple[str, Mapping[str, Any]]:
    """The running devnet's file, trusted only if it is a regular file, ours alone, in a folder of ours: as C does it for the client."""
    runtime, home = os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("HOME", "")
    base = runtime if runtime.startswith("/") else os.path.join(home, ".local/state")
    path = os.path.join(base, "easyenclave", "devnet.json")
    hint = "run `ee devnet up`"
    try:
        folder = os.stat(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise errors.ConfigError(f"no devnet file at {path}: {error.strerror}", hint=hint) from None
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise errors.ConfigError(f"devnet file {path} must be a regular file of yours with mode 0600", hint="remove a file that is not yours; " + hint)
        if folder.st_uid != os.geteuid() or stat.S_IMODE(folder.st_mode) & 0o022:
            raise errors.ConfigError(f"the folder of devnet file {path} must be yours and not writable by others", hint=hint)
        text = file.read(DEVNET_FILE_MAX + 1)
    try:
        told = json.loads(text) if len(text) <= DEVNET_FILE_MAX else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise errors.ConfigError(f"devnet file {path} cannot be read as JSON", hint=hint)
    return path, told
