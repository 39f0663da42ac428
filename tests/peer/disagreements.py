"""disagreements.py - where our verifier and dcap-qvl are known to judge differently, and why that is right or bearable. A verdict that differs
and fits no row fails the differential test, and so does a row that no case of cases.py shows. docs/peers.md has this table for people.
Called by tests/integration/test_peer_differential.py."""
import base64
import dataclasses
import hashlib
import json
import re
import struct
from typing import Callable, Optional

from mutations import layout_of
from verdicts import ACCEPTABLE


@dataclasses.dataclass(frozen=True)
class Known:
    kind: str
    stricter: str  # "ours" or "peer": who refuses, or has the worse status
    pattern: str  # in the refusal; in "ours -> peer" where both accept
    why: str
    when: Optional[Callable] = None  # (given) -> bool: also asked of the input


# ---- questions to an input ----


def collateral_of(given):
    return given.collateral if isinstance(given.collateral, dict) else {}


def changed(given):
    """Names of what differs from the good input that this one was made of."""
    if given.origin is None:
        return set()
    mine, good = collateral_of(given), given.origin.collateral
    names = {name for name in {*mine, *good} if mine.get(name) != good.get(name)} if mine else {"all"}
    return names | {name for name in ("quote", "root", "time") if getattr(given, name) != getattr(given.origin, name)}


def only_crl_chain(given):
    return changed(given) == {"pck_crl_issuer_chain"}


def certificates(pem):
    """DER of each certificate, as far as they can be read."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.S)
    try:
        return [base64.b64decode("".join(text.split()), validate=True) for text in found]
    except ValueError:
        return None


def chains(given):
    out = {name: value for name, value in collateral_of(given).items() if name.endswith("_chain") and isinstance(value, str)}
    try:
        at, size = layout_of(given.quote)["cert_data"]
        out["quote"] = given.quote[at : at + size].decode("ascii", "replace")
    except (KeyError, struct.error):
        pass
    return out


def same_but_chain(mine, good):
    """Two quotes that differ in their certification data and the lengths around it."""
    try:
        ours, theirs = layout_of(mine), layout_of(good)
    except struct.error:
        return False
    skip = ("auth_len", "outer_len", "cert_len", "cert_data")
    return ours.keys() == theirs.keys() and all(
        mine[a : a + size] == good[theirs[name][0] : theirs[name][0] + theirs[name][1]] for name, (a, size) in ours.items() if name not in skip)


def only_roots(given):
    """Nothing differs but chains and the root, and every chain begins with the certificates that the good one has before its root."""
    if given.origin is None or any(not name.endswith("_chain") and name not in ("quote", "root") for name in changed(given)):
        return False
    if not same_but_chain(given.quote, given.origin.quote):
        return False
    mine, good = chains(given), chains(given.origin)
    for name in mine.keys() - {"pck_crl_issuer_chain"}:
        before_root = max(0, len(certificates(good.get(name, "")) or []) - 1)
        end = "-----END CERTIFICATE-----"
        if mine[name].split(end)[:before_root] != good.get(name, "").split(end)[:before_root]:
            return False
    return True


def two_pck_chains(given):
    """The quote has one and the collateral, too."""
    try:
        at, _ = layout_of(given.quote)["cert_type"]
    except (KeyError, struct.error):
        return False
    return given.quote[at : at + 2] == b"\5\0" and collateral_of(given).get("pck_certificate_chain") is not None


def half_hash(given):
    at, _ = layout_of(given.quote)["qe_report_data"]
    key, auth = (given.quote[a : a + n] for a, n in (layout_of(given.quote)[name] for name in ("attestation_key", "qe_auth_data")))
    return given.quote[at : at + 32] == hashlib.sha256(key + auth).digest() and given.quote[at + 32 : at + 64] != bytes(32)


def components_are_not_cpusvn(given):
    """In the PCK certificate, read by looking for the object identifiers."""
    arc = bytes.fromhex("2a864886f84d010d0102")
    for der in certificates(chains(given).get("quote", "")) or []:
        if arc + b"\x12\x04\x10" not in der:
            continue
        at = der.index(arc + b"\x12\x04\x10") + len(arc) + 3
        numbers = []
        for number in range(1, 17):
            start = der.index(arc + bytes([number]) + b"\2") + len(arc) + 2
            numbers.append(int.from_bytes(der[start + 1 : start + 1 + der[start]], "big"))
        return numbers != list(der[at : at + 16])
    return False


def document(given, name):
    try:
        return json.loads(collateral_of(given)[name])
    except (KeyError, ValueError, TypeError):
        return {}


def unsorted_qe_levels(given):
    levels = [level["tcb"]["isvsvn"] for level in document(given, "qe_identity").get("tcbLevels", [])]
    return levels != sorted(levels, reverse=True)


def bits_beyond_mask(given):
    tcb = document(given, "tcb_info")
    asked = [document(given, "qe_identity"), tcb.get("tdxModule", {}), *tcb.get("tdxModuleIdentities", [])]
    return any(int(one[name], 16) & ~int(one[name + "Mask"], 16) for one in asked for name in ("attributes", "miscselect") if name in one)


# ---- the table ----

KNOWN = [
    # What is there to verify at all.
    Known("SGX quotes", "ours", r"quote version is 3\b", "ours is for TDs; an SGX enclave's quote is refused by its version"),
    Known("size of a quote", "ours", r"quote is \d+ bytes, limit", "64 KiB is eight times what hardware makes; the peer has no limit"),
    Known("outer certification data type", "ours", r"certification data type is \d+, must be 6", "a TDX quote's outer type is 6, as Intel's verifier demands; the peer does not read it"),
    Known("inner certification data type", "ours", r"inner certification data type is", "types 1 to 5 exist inside; the peer takes any when the collateral brings the chain"),
    Known("bytes inside lengths", "ours", r"bytes too many after offset", "a structure ends where its length says, as in Intel's verifier; the peer skips what is left over"),
    Known("second half of the QE's report data", "ours", r"attestation_key: ", "it is zero in every QE report; the peer does not look", half_hash),
    Known("length of QE authentication data", "peer", r"Invalid QE auth data length", "any length is legal for Intel and is hashed whole; the peer takes 32 bytes alone"),
    Known("which PCK chain", "ours", r"pck_chain|tcb_info_signature|qe_report_signature", "a quote that carries its chain is judged by it, and the collateral's must be the same; the peer reads the collateral's alone", two_pck_chains),
    # Certificates.
    Known("PCK CRL issuer chain", "ours", r"", "ours reads every part of a collateral, and the CRL by this chain; the peer does not read it", only_crl_chain),
    Known("dates of the root", "ours", r"root certificate is (expired|not valid)", "ours holds the root to its own dates; a trust anchor's dates are nothing to the peer"),
    Known("limits of the root", "ours", r"root certificate (allows a path|has the wrong key usage|lacks critical|is not a CA|names another issuer)|IssuerNotCrlSigner|role its place needs|anchor_der",
          "ours holds the root to its own constraints, usage and name; a trust anchor's are nothing to the peer", lambda g: "root" in changed(g)),
    Known("the pinned certificate", "ours", r"is not the policy's trust anchor|is not the one that was given|ends in another root|another root than",
          "ours pins the root's certificate; the peer takes any with that name and key, and chains without it"),
    Known("roots inside chains", "ours", r"root|PEM|certificate|anchor|anchor_der|signature",
          "the root of every chain must be the pinned certificate, byte for byte; the peer has the root from elsewhere and does not read these", only_roots),
    Known("order and length of chains", "ours", r"certificates, must have|UnknownIssuer: certificate|CaUsedAsEndEntity: certificate|names another issuer than the next",
          "there are three chains, each of one shape; the peer searches for a path among what is there"),
    Known("roles", "ours", r"does not have the role its place needs", "a certificate signs what its name says, or any end entity could sign TCB info; the peer knows no roles"),
    Known("authority key identifiers", "ours", r"names another issuer key", "RFC 5280 sect. 4.2.1.1; the peer does not read them"),
    Known("key usage and constraints", "ours", r"wrong key usage|lacks critical basic constraints", "Intel's profile has them in every certificate; the peer asks for CA flags alone"),
    Known("form of PEM", "ours", r"PEM (certificate|chain|line|has)", "nothing but certificates and line ends, in one form; the peer's reader skips what it does not know"),
    Known("SGX extension", "ours", r"SGX extension (has entry|entry|is not)", "complete, each entry once, nothing after it; the peer picks out what it needs"),
    Known("large PCESVN", "peer", r"PceSvn length mismatch", "in DER an INTEGER from 32768 on has a leading zero byte; the peer takes two bytes at most"),
    Known("component SVNs", "ours", r"below every TCB level", "ours compares the 16 numbers, as Intel's verifier does, the peer CPUSVN's bytes; Intel issues none where they differ", components_are_not_cpusvn),
    Known("component SVNs, the other way round", "peer", r"No matching TCB level", "as above", components_are_not_cpusvn),
    # CRLs.
    Known("hex in both cases", "ours", r"has hex digits in both cases", "a changed bit would turn a letter into the same one; the peer takes any"),
    Known("CRL number", "ours", r"CRL must have one number", "RFC 5280 sect. 5.2 demands number and authority key identifier; the peer does not"),
    Known("CRL from the future", "ours", r"CRL is not valid before", "thisUpdate has not come: the clock is wrong, or somebody's was; the peer does not look"),
    Known("last second of a CRL", "peer", r"CrlExpired \{ time: UnixTime\((\d+)\), next_update: UnixTime\(\1\) \}", "nextUpdate itself is good for ours, as all ends of validity are; one second"),
    # Documents.
    Known("PCE id", "ours", r"\(PCE id\)|pceId: ", "TCB info is for one provisioning enclave, as Intel's verifier checks; the peer reads the FMSPC alone"),
    Known("names twice", "ours", r"JSON has a name twice", "two readers could read two documents; the peer minds only names it knows"),
    Known("depth", "ours", r"JSON is nested more than", "16 deep is twice what these documents need; the peer takes 128"),
    Known("escapes in names", "ours", r"JSON has an escape in a name", "nobody writes these; the peer reads them"),
    Known("NUL in strings", "ours", r"escape that means no character", "refused everywhere, before C could cut a string; the peer minds only fields it knows"),
    Known("form of dates", "ours", r"a time must look like", "RFC 3339 in UTC with T and Z, as Intel writes them; the peer takes other zones and small letters"),
    Known("form of advisory ids", "ours", r'field "advisoryIDs" has an odd item', "shown to people and compared with a policy's exceptions: letters, digits, - _ . alone; the peer takes any text"),
    Known("versions and types", "ours", r'field "(version|tcbType)" is \d+, must be', "what these numbers mean is known for TCB info 3, type 0 and QE identity 2; the peer takes more"),
    Known("number of components", "ours", r'field "(sgx|tdx)tcbcomponents" (has (over )?\d+ items|is missing)', "16, in every level; the peer looks at those levels it comes by"),
    Known("levels twice", "ours", r"(has a level|is there) twice", "one level with two statuses has none; the peer takes the first"),
    Known("statuses of levels", "ours", r"which is for platforms|has a word that is not known", "modules and enclaves have three statuses; the peer takes any in levels of the QE, and in those it does not come by"),
    Known("masks", "ours", r"qe_identity: the quoting enclave's (ATTRIBUTES|MISCSELECT)|SEAM attributes are not the ones of", "an identity that asks for bits its own mask hides cannot be met, as in Intel's verifier; the peer masks both sides",
          bits_beyond_mask),
    Known("order of the QE's levels", "peer", r"Revoked|-> ", "the order in the JSON means nothing to ours; the peer takes the first that fits", unsorted_qe_levels),
    # TDs.
    Known("XFAM", "ours", r"XFAM (has|lacks) bits", "features that no TD has, or lacks what every TD has; the peer does not look"),
    Known("TD attributes", "ours", r"TD attribute bit (16|18|19|20|21|22|27|62|63) ", "the library allows what its policy names; the peer has a fixed list"),
    Known("SEAM attributes", "ours", r"SEAM attributes are not zero", "zero in every production module; the peer takes what the signed identity says"),
    Known("when a relaunch helps", "ours", r"^(OutOfDate|OutOfDateConfigurationNeeded|TDRelaunchAdvisedConfigurationNeeded) -> TDRelaunchAdvised",
          "Intel's rule changed in 2026 (EvaluateTcb.cpp); ours wants the old one and the new one to hold, so that its status is the worse one"),
]


def explain(given, ours, peer):
    """The row that says why these two differ; None when there is none."""
    if ours.ok and peer.ok:
        text, stricter = f"{ours.status} -> {peer.status}", "ours" if ACCEPTABLE.index(ours.status) != ACCEPTABLE.index(peer.status) else ""
    else:
        text, stricter = (peer.why, "peer") if ours.ok else (ours.why, "ours")
    for known in KNOWN:
        both = ours.ok and peer.ok
        if (known.stricter == stricter or both) and ("->" in known.pattern or not both) and re.search(known.pattern, text) and (known.when is None or known.when(given)):
            return known
    return None
