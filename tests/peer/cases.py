"""cases.py - the cases of the peers' test suites, and their neighbours: what is done to a good sample of the peer's shape, what our verifier
says, what the peer says, and why. Called by tests/integration/test_peer_cases.py (ours alone) and test_peer_differential.py (both).

ours, peer: "ok" or "no"; the peer is dcap-qvl of the version that the differential test installs. Where the two differ, the reason says why
ours is right or bearable. error: a part of the sentence that our verifier must refuse with, so that a case is refused for what it is about.
"""
import dataclasses
import hashlib
import json
import re
import struct
from typing import Callable, Optional

import der
from p256 import other_half
from world import CERT_SIGN, CRL_SIGN, SIGN, DAY, NOW, SEPT_VE_DISABLE, SGX, Cert, Crl, Sample, date, sgx_extension, svns


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    ours: str
    peer: str
    why: str
    edit: Callable[[Sample], None]
    error: str = ""
    status: Optional[str] = None  # of the accepted


CASES: "list[Case]" = []


def row(name, ours, peer, why, edit, error="", status=None):
    CASES.append(Case(name, ours, peer, why, edit, error, status))


# ---- small edits ----


def body(**fields):
    return lambda s: s.body.update(fields)


def header(**fields):
    return lambda s: s.header.update(fields)


def qe(**fields):
    return lambda s: s.qe.update(fields)


def tcb(**fields):
    return lambda s: s.tcb_info.update(fields)


def identity(**fields):
    return lambda s: s.qe_identity.update(fields)


def module(**fields):
    return lambda s: s.tcb_info["tdxModuleIdentities"][0].update(fields)


def cert(which, **fields):
    return lambda s: s.certs[which].__dict__.update(fields)


def crl(which, **fields):
    return lambda s: s.crls[which].__dict__.update(fields)


def chain(**chains):
    return lambda s: s.chains.update(chains)


def signed_by(**signers):
    return lambda s: s.signers.update(signers)


def sgx(**fields):
    return lambda s: s.certs["pck"].sgx.update(fields)


def level(**fields):
    """The one TCB level of the peer's shape."""
    def edit(s):
        for name, value in fields.items():
            place = s.tcb_info["tcbLevels"][0]
            (place if name in ("tcbStatus", "tcbDate", "advisoryIDs") else place["tcb"])[name] = value
    return edit


def qe_level(**fields):
    return lambda s: s.qe_identity["tcbLevels"][0].update(fields)


def module_level(**fields):
    return lambda s: s.tcb_info["tdxModuleIdentities"][0]["tcbLevels"][0].update(fields)


def all_of(*edits):
    def edit(s):
        for each in edits:
            each(s)
    return edit


def without(document, name):
    return lambda s: getattr(s, document).pop(name)


def collateral(**fields):
    return lambda s: s.edit_collateral.append(lambda c: c.update(fields))


def collateral_edit(edit):
    return lambda s: s.edit_collateral.append(edit)


def quote_edit(edit):
    return lambda s: s.edit_quote.append(edit)


def put(field, value):
    """Bytes of the finished quote, signed or not."""
    return quote_edit(lambda quote, layout: quote[: layout[field][0]] + value + quote[layout[field][0] + len(value) :])


def flip(field, at=0, bit=0):
    def edit(quote, layout):
        changed = bytearray(quote)
        changed[layout[field][0] + at] ^= 1 << bit
        return bytes(changed)
    return quote_edit(edit)


def attributes(*bits, base=SEPT_VE_DISABLE):
    value = base
    for bit in bits:
        value |= 1 << bit
    return body(td_attributes=struct.pack("<Q", value))


def version5(body_type=3, **fields):
    def edit(s):
        s.header["version"], s.body_type = 5, body_type
        s.body.update(fields)
    return edit


def sgx_quote(version):
    """A quote of an SGX enclave, as the peer's suite has it: with QE identity and TCB info of SGX."""
    def edit(s):
        s.header.update(version=version, tee_type=0)
        s.body_type = 1
        s.tcb_info["id"], s.qe_identity["id"] = "SGX", "QE"
        del s.tcb_info["tdxModule"], s.tcb_info["tdxModuleIdentities"], s.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"]
    return edit


def resign_quote(edit):
    """A signature that is made again from the good one."""
    def change(quote, layout):
        at, size = layout["signature"]
        return quote[:at] + edit(quote[at : at + size]) + quote[at + size :]
    return quote_edit(change)


def encrypted_ppid(kind, size):
    def edit(s):
        s.cert_type, s.cert_body = kind, b"\xab" * size + b"\1" * 16 + struct.pack("<H", 1) + b"\0\1"
    return edit


def nothing(_):
    pass


# ---- good ones ----

row("valid_v4", "ok", "ok", "a version 4 quote, all as it should be", nothing, status="UpToDate")
row("valid_v5_td10", "ok", "ok", "a version 5 quote over a TD 1.0 report", version5(2), status="UpToDate")
row("valid_v5_td15", "ok", "ok", "a version 5 quote over a TD 1.5 report", version5(3), status="UpToDate")
row("valid_outer_type_6", "ok", "ok", "what hardware writes where the peer's generator writes 5", lambda s: setattr(s, "outer_type", 6), status="UpToDate")
row("valid_trailing_zeros", "ok", "ok", "configfs-tsm pads with zeros; nothing covers what comes after the quote, nothing reads it", lambda s: setattr(s, "trailing", bytes(70)))
row("valid_trailing_text", "ok", "ok", "a bare quote may have anything after its stated length", lambda s: setattr(s, "trailing", b"left over"))
row("valid_pck_chain_nul", "ok", "ok", "hardware ends the PEM chain with one NUL",
    lambda s: setattr(s, "cert_body", s.chain(s.chains["pck"]).encode() + b"\0"))
row("valid_pck_chain_crlf", "ok", "ok", "PEM with the other line end", lambda s: setattr(s, "cert_body", s.chain(s.chains["pck"]).replace("\n", "\r\n").encode()))
row("valid_lower_case_hex", "ok", "ok", "case means nothing in hex",
    all_of(tcb(fmspc="00906ea10000"), identity(miscselectMask="ffffffff"), module(id="tdx_01")))
row("valid_unknown_fields", "ok", "ok", "a later version may add fields", all_of(tcb(somethingNew={"a": [1, 2]}), identity(somethingNew=None)))
row("valid_unsorted_levels", "ok", "ok", "the order of TCB levels in the JSON means nothing", lambda s: s.tcb_info["tcbLevels"].insert(
    0, dict(tcb=dict(sgxtcbcomponents=svns(255), pcesvn=0, tdxtcbcomponents=svns()), tcbDate="2024-01-01T00:00:00Z", tcbStatus="OutOfDate")), status="UpToDate")
row("valid_no_module_version", "ok", "ok", "TDX module of version 0: judged by tdxModule and all 16 TDX components",
    all_of(body(tee_tcb_svn=b"\1\0" + b"\1" * 14), level(tdxtcbcomponents=svns(1))), status="UpToDate")
row("valid_r_and_n_minus_s", "ok", "ok", "ECDSA signatures have a twin; a quote's hash is no identity", resign_quote(other_half))
row("valid_next_update_now", "ok", "ok", "the last second of nextUpdate is still good", all_of(tcb(nextUpdate=date(NOW)), identity(nextUpdate=date(NOW))))
row("valid_issue_date_now", "ok", "ok", "the first second of issueDate is already good", all_of(tcb(issueDate=date(NOW)), identity(issueDate=date(NOW))))
row("valid_not_after_now", "ok", "ok", "a certificate's last second is still good", all_of(cert("pck", not_after=NOW), cert("signer", not_after=NOW)))
row("valid_not_before_now", "ok", "ok", "a certificate's first second is already good", all_of(cert("pck", not_before=NOW), cert("signer", not_before=NOW)))
row("valid_extra_sgx_entries", "ok", "ok", "a PCK certificate of a Platform CA has instance id and configuration too",
    sgx(platform=bytes(range(16))))
row("valid_other_serials_revoked", "ok", "ok", "a CRL that lists others", all_of(crl("root", revoked=[1, 2, 0x7FFFFFFF]), crl("pck", revoked=[0x1004, 0x1002])))
row("valid_quote_over_zero_xfam", "ok", "ok", "the suite's TDs have no features at all", body(xfam=bytes(8)))
row("valid_real_xfam", "ok", "ok", "what hardware has", body(xfam=struct.pack("<Q", 0x61AE7)))
row("valid_qe_svn_of_later_layouts", "ok", "ok", "reserved header bytes are signed, and mean nothing", header(qe_svn=0, pce_svn=0, user_data=b"\7" * 20))
row("valid_report_data", "ok", "ok", "report data is the caller's", body(report_data=bytes(range(64))))
row("valid_quote_as_json_array_spacing", "ok", "ok", "white space inside the signed text is part of what is signed",
    lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info, indent=3)))

# ---- TD attributes ----

row("attributes_pks", "ok", "ok", "PKS protects the TD's own pages", attributes(30))
row("attributes_kl", "ok", "ok", "Key Locker is the TD's own affair", attributes(31))
row("attributes_of_tdx15", "ok", "ok", "every TD attribute the peer's default lets pass", attributes(16, 18, 19, 20, 21, 22, 27, 30, 31, 62, 63))
for bit in (16, 18, 19, 20, 21, 22, 27, 62, 63):
    row(f"attributes_bit_{bit}", "ok", "ok", "lets nobody look into the TD", attributes(bit))
row("attributes_debug", "no", "no", "the host reads a TD in debug mode", attributes(0), "debug mode")
row("attributes_debug_v5", "no", "no", "the same in a TD 1.5 report", all_of(version5(), attributes(0)), "debug mode")
row("attributes_no_sept_ve_disable", "no", "no", "the host could inject exceptions", attributes(base=0), "SEPT_VE_DISABLE")
row("attributes_migratable", "no", "no", "a migratable TD's state leaves the machine", attributes(29), "migratable")
row("attributes_servtd_ext", "no", "no", "a service TD may take part in the measurement", attributes(17), "bit 17")
for bit in (1, 2, 3, 4, 5, 6, 7):
    row(f"attributes_tud_{bit}", "no", "no", "untrusted debug group: profiling, or reserved", attributes(bit), f"bit {bit} ")
for bit in (8, 15, 23, 24, 25, 26, 32, 38, 39, 40, 47, 55, 61):
    row(f"attributes_reserved_{bit}", "no", "no", "reserved, so nobody knows what it does", attributes(bit), f"bit {bit} (reserved)")
row("attributes_all", "no", "no", "everything at once", attributes(*range(64)), "debug mode")
row("service_td_bound", "no", "no", "a service TD is bound to the TD", version5(mr_service_td=b"\1" + bytes(47)), "MRSERVICETD")

# ---- headers ----

for version in (0, 1, 2, 3, 6, 255, 0x0405):
    row(f"version_{version}", "no", "no", "no TDX quote has this version", header(version=version), "version is")
for kind in (0, 1, 3, 255):
    row(f"key_type_{kind}", "no", "no", "only ECDSA over P-256 exists", header(key_type=kind), "key type")
for kind in (0, 1, 0x80, 0x82, 0x8100, 0x81000000):
    row(f"tee_type_{kind:x}", "no", "no", "not a TDX quote", header(tee_type=kind), "TEE type")
row("vendor_other", "no", "no", "another vendor's quoting enclave", header(vendor=bytes(16)), "vendor")
row("vendor_one_bit", "no", "no", "nearly Intel's", header(vendor=bytes.fromhex("939a7233f79c4ca9940a0db3957f0606")), "vendor")
row("sgx_v3", "no", "ok", "an SGX enclave's quote: the peer verifies both kinds, ours is for TDs alone", sgx_quote(3), "version is 3")
row("sgx_v4", "no", "no", "SGX in a TDX format", sgx_quote(4), "TEE type")
row("sgx_v5", "no", "no", "SGX in a TDX format", sgx_quote(5), "TEE type")
row("sgx_v3_cert_type_3", "no", "ok", "as sgx_v3", all_of(sgx_quote(3), encrypted_ppid(3, 384), chain(collateral_pck=["pck", "root"])), "version is 3")
row("tdx_v3", "no", "no", "version 3 is SGX's", header(version=3), "version is 3")
row("v5_sgx_body", "no", "no", "a TDX quote over an SGX report", all_of(version5(1), header(tee_type=0x81)), "body type is 1")
for kind in (0, 4, 5, 0xFFFF):
    row(f"v5_body_type_{kind}", "no", "no", "no such TD report", all_of(version5(3), lambda s, kind=kind: setattr(s, "descriptor", (kind, 648))), "body type")
row("v5_body_size_large", "no", "no", "the stated size is not the report's", all_of(version5(3), lambda s: setattr(s, "descriptor", (3, 649))), "must be 648")
row("v5_body_size_small", "no", "no", "the stated size is not the report's", all_of(version5(3), lambda s: setattr(s, "descriptor", (3, 584))), "must be 648")
row("v5_body_size_zero", "no", "no", "the stated size is not the report's", all_of(version5(2), lambda s: setattr(s, "descriptor", (2, 0))), "must be 584")
row("v5_td15_called_td10", "no", "no", "the report is longer than its type", all_of(version5(3), lambda s: setattr(s, "descriptor", (2, 584))))

# ---- lengths and ends ----

row("empty", "no", "no", "no bytes", quote_edit(lambda q, _: b""), "quote header")
row("four_bytes", "no", "no", "the suite's truncated quote", quote_edit(lambda q, _: b"\3\0\2\0"), "quote header")
row("hundred_ff", "no", "no", "the suite's invalid quote", quote_edit(lambda q, _: b"\xff" * 100), "version is")
row("too_large", "no", "ok", "64 KiB is the limit, of which a quote needs 8; the peer has none", lambda s: setattr(s, "trailing", bytes(70000)), "limit")
CUTS = ["key_type", "tee_type", "qe_svn", "vendor", "user_data", "tee_tcb_svn", "mr_signer_seam", "td_attributes", "mrtd", "rtmr3", "report_data", "auth_len", "signature",
        "attestation_key", "outer_type", "outer_len", "qe_cpusvn", "qe_report_data", "qe_signature", "qe_auth_len", "qe_auth_data", "cert_type", "cert_len", "cert_data"]
for field in CUTS:
    row(f"cut_before_{field}", "no", "no", "truncated at a boundary", quote_edit(lambda q, at, field=field: q[: at[field][0]]))
row("cut_one_byte", "no", "no", "one byte short", quote_edit(lambda q, _: q[:-1]), "signature data")
for field, sizes in (("auth_len", (-1, 1, -5000)), ("outer_len", (-1, 1)), ("cert_len", (-1, 1))):
    for change in sizes:
        def edit(q, at, field=field, change=change):
            start = at[field][0]
            value = (struct.unpack_from("<I", q, start)[0] + change) & 0xFFFFFFFF
            return q[:start] + struct.pack("<I", value) + q[start + 4 :]
        inside = (field, change) == ("cert_len", -1)
        row(f"{field}_{'minus' if change < 0 else 'plus'}_{abs(change)}", "no", "ok" if inside else "no",
            "a stated length is not the real one" + ("; the peer leaves what is left over inside the quote unread" if inside else ""), quote_edit(edit))
for field in ("auth_len", "outer_len", "cert_len"):
    row(f"{field}_huge", "no", "no", "a length near 2^32 must not wrap around", put(field, b"\xff\xff\xff\xff"))
row("qe_auth_data_31", "ok", "no", "any length of QE authentication data is legal for Intel, and hashed whole; the peer takes 32 bytes only", lambda s: setattr(s, "auth_data", bytes(31)))
row("qe_auth_data_0", "ok", "no", "as qe_auth_data_31", lambda s: setattr(s, "auth_data", b""))
row("qe_auth_data_1000", "ok", "no", "as qe_auth_data_31", lambda s: setattr(s, "auth_data", bytes(1000)))
row("qe_auth_data_unsigned_tail", "no", "no", "longer than what the QE vouched for: the hash must cover all of it",
    lambda s: (setattr(s, "qe_hash", hashlib.sha256(s.key("attestation").xy + bytes(32)).digest() + bytes(32)), setattr(s, "auth_data", bytes(33))), "vouch")
for kind in (0, 1, 4, 7):
    row(f"outer_type_{kind}", "no", "ok", "the outer certification data is a QE report, type 6; the peer does not look at the type", lambda s, kind=kind: setattr(s, "outer_type", kind), "must be 6")

# ---- certification data ----

row("cert_type_5_with_pck_chain", "ok", "ok", "the same chain in quote and collateral", chain(collateral_pck=["pck", "root"]))
for kind, size in ((1, 16), (2, 256), (3, 384)):
    row(f"cert_type_{kind}_with_pck_chain", "ok", "ok", "the chain comes with the collateral; it must still have signed the QE report",
        all_of(encrypted_ppid(kind, size), chain(collateral_pck=["pck", "root"])))
    row(f"cert_type_{kind}_without_pck_chain", "no", "no", "no chain anywhere", encrypted_ppid(kind, size), "pck_certificate_chain")
row("cert_type_4_with_pck_chain", "ok", "ok", "one certificate in the quote, the chain with the collateral",
    all_of(chain(collateral_pck=["pck", "root"]), lambda s: (setattr(s, "cert_type", 4), setattr(s, "cert_body", s.chain(["pck"]).encode()))))
row("cert_type_4_without_pck_chain", "no", "no", "no chain anywhere", lambda s: setattr(s, "cert_type", 4), "pck_certificate_chain")
for kind in (0, 6, 7, 0xFFFF):
    row(f"cert_type_{kind}_with_pck_chain", "no", "ok", "types 1 to 5 exist in a QE's certification data; the peer looks at the collateral's chain first",
        all_of(lambda s, kind=kind: setattr(s, "cert_type", kind), chain(collateral_pck=["pck", "root"])), "known are 1 to 5")
row("cert_data_empty", "no", "no", "type 5 with no chain", lambda s: setattr(s, "cert_body", b""), "empty")
row("cert_data_der", "no", "no", "DER where PEM should be", lambda s: setattr(s, "cert_body", s.certificate("pck") + s.certificate("root")), "PEM")
row("cert_data_text", "no", "no", "not PEM", lambda s: setattr(s, "cert_body", b"DUMMY_CERT"), "PEM")
row("cert_data_bad_but_collateral_good", "no", "ok", "a quote that carries a chain is judged by it; the peer prefers the collateral's",
    all_of(lambda s: setattr(s, "cert_body", b"DUMMY_CERT"), chain(collateral_pck=["pck", "root"])), "PEM")
row("cert_data_good_but_collateral_other", "no", "no", "the chains of quote and collateral are one, where both are there",
    all_of(lambda s: s.certs.update(pck2=Cert("pck2", "Test PCK 2", "root", 0x1005, sgx=s.certs["pck"].sgx)), chain(collateral_pck=["pck2", "root"])), "is another one")
row("collateral_pck_other_platform", "no", "no", "the collateral's chain did not sign this QE report",
    all_of(encrypted_ppid(3, 384), lambda s: s.certs.update(pck2=Cert("pck2", "Test PCK 2", "root", 0x1005, sgx=s.certs["pck"].sgx)), chain(collateral_pck=["pck2", "root"])),
    "does not verify")
row("collateral_pck_text", "no", "no", "a chain that is none", all_of(encrypted_ppid(3, 384), collateral(pck_certificate_chain="DUMMY")), "pck_certificate_chain")

# ---- signatures, each link ----

for field, error in (("signature", "does not verify"), ("attestation_key", "vouch"), ("qe_signature", "does not verify"), ("qe_auth_data", "vouch"), ("mrtd", "does not verify"),
                     ("report_data", "does not verify"), ("user_data", "does not verify"), ("qe_mrsigner", "does not verify"), ("qe_report_data", "does not verify")):
    row(f"flip_{field}", "no", "no", "one bit of what is signed, or of the signature", flip(field), error)
row("signature_zero", "no", "no", "r = s = 0", put("signature", bytes(64)), "does not verify")
row("signature_one", "no", "no", "the suite's r = s = 1", put("signature", (bytes(31) + b"\1") * 2), "does not verify")
row("signature_ff", "no", "no", "r and s above the group's order", put("signature", b"\xff" * 64), "does not verify")
row("signature_swapped", "no", "no", "s before r", resign_quote(lambda rs: rs[32:] + rs[:32]), "does not verify")
row("qe_signature_zero", "no", "no", "the suite's invalid QE report signature", put("qe_signature", bytes(64)), "does not verify")
row("quote_signed_by_pck", "no", "no", "the PCK signs QE reports, not quotes", signed_by(quote="pck"), "does not verify")
row("quote_signed_by_root", "no", "no", "even the root cannot sign a quote", signed_by(quote="root"), "does not verify")
row("qe_report_signed_by_root", "no", "no", "nor a QE report", signed_by(qe_report="root"), "does not verify")
row("qe_report_signed_by_signer", "no", "no", "the TCB signer signs documents", signed_by(qe_report="signer"), "does not verify")
row("qe_report_signed_by_attestation_key", "no", "no", "a QE report that vouches for itself", signed_by(qe_report="attestation"), "does not verify")
row("attestation_key_of_another", "no", "no", "the key in the quote is not the one that signed it", lambda s: setattr(s, "attestation_key", s.key("other").xy), "does not verify")
row("attestation_key_off_curve", "no", "no", "not a point, though the QE vouches for it", lambda s: setattr(s, "attestation_key", b"\1" * 64), "not a point")
row("attestation_key_zero", "no", "no", "not a point, though the QE vouches for it", lambda s: setattr(s, "attestation_key", bytes(64)), "not a point")
row("qe_hash_zero", "no", "no", "the suite's QE report hash mismatch", lambda s: setattr(s, "qe_hash", bytes(64)), "vouch")
row("qe_hash_half", "no", "ok", "the second half of the QE's report data is zero; the peer does not look at it",
    lambda s: setattr(s, "qe_hash", hashlib.sha256(s.key("attestation").xy + bytes(32)).digest() + b"\1" * 32), "vouch")
for document, chain_name in (("tcb_info", "tcb_info"), ("qe_identity", "qe_identity")):
    row(f"{document}_signature_zero", "no", "no", "the suite's invalid signature", collateral(**{f"{document}_signature": "00" * 64}), "does not verify")
    row(f"{document}_signature_short", "no", "no", "63 bytes", collateral(**{f"{document}_signature": "11" * 63}), f"{document}_signature")
    row(f"{document}_signature_text", "no", "no", "not hex", collateral(**{f"{document}_signature": "zz" * 64}), f"{document}_signature")
    row(f"{document}_signed_by_root", "no", "no", "signed by somebody else of the chain", signed_by(**{document: "root"}), "does not verify")
    row(f"{document}_signed_by_ca", "no", "no", "signed by somebody else of the chain", signed_by(**{document: "tcb_ca"}), "does not verify")
    row(f"{document}_signed_by_pck", "no", "no", "signed by the machine itself", signed_by(**{document: "pck"}), "does not verify")
    row(f"{document}_byte_changed", "no", "no", "one digit after signing",
        collateral_edit(lambda c, document=document: c.update({document: c[document].replace('"tcbEvaluationDataNumber":17', '"tcbEvaluationDataNumber":18')})), "does not verify")
    row(f"{document}_space_added", "no", "no", "the same document in other bytes", collateral_edit(lambda c, document=document: c.update({document: c[document] + " "})), "does not verify")
row("documents_swapped", "no", "no", "each under the other's name",
    collateral_edit(lambda c: c.update(tcb_info=c["qe_identity"], tcb_info_signature=c["qe_identity_signature"], qe_identity=c["tcb_info"], qe_identity_signature=c["tcb_info_signature"])))

# ---- certificates ----

for which, error in (("root", "root"), ("pck", ""), ("signer", ""), ("tcb_ca", "")):
    row(f"{which}_expired", "no", "ok" if which == "root" else "no",
        "expired; a trust anchor's own dates are nothing to the peer" if which == "root" else "expired", cert(which, not_after=NOW - 1), "expired")
    row(f"{which}_not_yet", "no", "ok" if which == "root" else "no", "not valid yet; a trust anchor's own dates are nothing to the peer" if which == "root" else "not valid yet",
        cert(which, not_before=NOW + 1), "not valid before")
for which in ("pck", "signer", "tcb_ca"):
    row(f"{which}_bad_signature", "no", "no", "its issuer did not sign it", cert(which, flip_signature=True), "does not verify")
    row(f"{which}_signed_by_other", "no", "no", "its issuer did not sign it", cert(which, signer="other"), "does not verify")
    row(f"{which}_issuer_name", "no", "no", "names an issuer that is not in its chain", cert(which, issuer_name=[("CN", "Somebody Else")]), "Unknown")
    row(f"{which}_version_1", "no", "no", "no extensions, so nothing says what it may do", cert(which, version=1), "certificate")
    row(f"{which}_rsa_signature_algorithm", "no", "no", "another algorithm than the signature's", cert(which, signature_oid="1.2.840.113549.1.1.11"), "certificate")
    row(f"{which}_unknown_critical_extension", "no", "no", "something that must be understood",
        cert(which, extra=[der.sequence(der.oid("1.2.3.4"), der.boolean(True), der.octets(b"\5\0"))]), "extensions")
    row(f"{which}_unknown_extension", "ok", "ok", "something that need not be understood", cert(which, extra=[der.sequence(der.oid("1.2.3.4"), der.octets(b"\5\0"))]))
row("root_another", "no", "no", "the chain ends in another root than the one that is trusted", lambda s: setattr(s, "root_override", Sample("peer", "another").certificate("root")), "root")
row("root_renewed", "no", "ok", "same name, same key, other certificate: ours pins the certificate, the peer name and key",
    lambda s: setattr(s, "root_override", (lambda t: (cert("root", serial=0x7777)(t), t.certificate("root"))[1])(Sample(s.shape, s.seed))), "root")
row("tcb_ca_no_crl_sign", "no", "no", "a CA that may not sign CRLs", cert("tcb_ca", usage=(SIGN, CERT_SIGN)), "IssuerNotCrlSigner")
row("root_no_crl_sign", "no", "ok", "a root that may not sign CRLs, and has signed one; a trust anchor's usage is nothing to the peer", cert("root", usage=(SIGN, CERT_SIGN)), "IssuerNotCrlSigner")
row("root_empty", "no", "no", "no root at all", lambda s: setattr(s, "root_override", b"\x30\0"), "root")
row("pck_is_ca", "no", "no", "CA as end entity", cert("pck", ca=True), "CaUsedAsEndEntity")
row("signer_is_ca", "no", "no", "CA as end entity", cert("signer", ca=True), "CaUsedAsEndEntity")
row("tcb_ca_is_no_ca", "no", "no", "an end entity that issues", cert("tcb_ca", ca=False, path_len=None))
row("ca_used_as_end_entity_tcb", "no", "no", "the suite's: CA signs both documents",
    all_of(chain(tcb_info=["tcb_ca", "root"], qe_identity=["tcb_ca", "root"]), signed_by(tcb_info="tcb_ca", qe_identity="tcb_ca")), "CaUsedAsEndEntity")
row("ca_used_as_end_entity_qe", "no", "no", "the suite's: CA signs the QE identity", all_of(chain(qe_identity=["tcb_ca", "root"]), signed_by(qe_identity="tcb_ca")), "CaUsedAsEndEntity")
row("root_signs_tcb_info", "no", "no", "a chain of the root alone", all_of(chain(tcb_info=["root"]), signed_by(tcb_info="root")), "CaUsedAsEndEntity")
row("pck_signs_documents", "ok", "ok", "neither profile of the peers' suites has roles; the strict one has, and refuses (unit test_x509)",
    all_of(chain(tcb_info=["pck", "root"], qe_identity=["pck", "root"]), signed_by(tcb_info="pck", qe_identity="pck")))
row("tcb_chain_newline", "no", "no", "the suite's short chain", collateral(tcb_info_issuer_chain="\n"), "tcb_info_issuer_chain")
row("tcb_chain_empty", "no", "no", "no chain", collateral(tcb_info_issuer_chain=""), "tcb_info_issuer_chain")
row("tcb_chain_text", "no", "no", "the suite's invalid format", collateral(tcb_info_issuer_chain="INVALID_CERTIFICATE_DATA_NOT_PROPERLY_FORMATTED"), "tcb_info_issuer_chain")
row("qe_chain_newline", "no", "no", "the suite's short chain", collateral(qe_identity_issuer_chain="\n"), "qe_identity_issuer_chain")
row("qe_chain_empty", "no", "no", "no chain", collateral(qe_identity_issuer_chain=""), "qe_identity_issuer_chain")
row("tcb_chain_dummy", "no", "no", "PEM around nothing", collateral(tcb_info_issuer_chain="-----BEGIN CERTIFICATE-----\nDUMMY\n-----END CERTIFICATE-----\n"), "tcb_info_issuer_chain")
row("tcb_chain_missing_link", "no", "no", "the CA between signer and root is not there", chain(tcb_info=["signer", "root"]), "UnknownIssuer")
row("tcb_chain_leaf_only", "no", "no", "the CA between signer and root is not there", chain(tcb_info=["signer"]))
row("tcb_chain_without_root", "no", "ok", "ours wants each chain with its root, as it is delivered; the peer has the root from elsewhere", chain(tcb_info=["signer", "tcb_ca"]))
row("pck_chain_without_root", "no", "ok", "as tcb_chain_without_root", chain(pck=["pck"]))
row("tcb_chain_reversed", "no", "no", "root first", chain(tcb_info=["root", "tcb_ca", "signer"]), "CaUsedAsEndEntity")
row("tcb_chain_order", "no", "ok", "each certificate is followed by its issuer; the peer searches for a path", chain(tcb_info=["signer", "root", "tcb_ca"]))
row("tcb_chain_twice", "no", "ok", "as tcb_chain_order: what has no place in the chain is refused", chain(tcb_info=["signer", "tcb_ca", "tcb_ca", "root"]))
row("pck_chain_with_stranger", "no", "ok", "as tcb_chain_order", chain(pck=["pck", "tcb_ca", "root"]), "UnknownIssuer")
row("pck_chain_overlong", "no", "no", "more certificates than a chain has", chain(pck=["pck", "root", "root", "root", "root", "root"]), "more than 4")
row("tcb_chain_garbage_after", "no", "ok", "nothing but certificates and line ends; the peer skips what is not PEM",
    collateral_edit(lambda c: c.update(tcb_info_issuer_chain=c["tcb_info_issuer_chain"] + "left over\n")), "PEM")
row("tcb_chain_other_label", "no", "ok", "a TRUSTED CERTIFICATE is not a CERTIFICATE; the peer does not look at the label",
    collateral_edit(lambda c: c.update(tcb_info_issuer_chain=c["tcb_info_issuer_chain"].replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-"))), "PEM")
row("crl_chain_text", "no", "ok", "every part of a collateral must be what its name says; the peer does not read this one", collateral(pck_crl_issuer_chain="DUMMY"), "pck_crl_issuer_chain")
row("fmspc_of_other_platform", "no", "no", "the suite's FMSPC mismatch", tcb(fmspc="FFFFFFFFFFFF"), "FMSPC")
row("fmspc_short", "no", "no", "five bytes", tcb(fmspc="00906EA100"), "fmspc")
row("fmspc_text", "no", "no", "not hex", tcb(fmspc="00906EA1000G"), "fmspc")
row("pceid_of_other", "no", "ok", "TCB info of another provisioning enclave; the peer does not compare it", tcb(pceId="0001"), "PCE id")

# ---- the SGX extension ----

row("sgx_missing", "no", "no", "a PCK certificate without it names no platform", cert("pck", sgx=None), "SGX extension")
row("sgx_empty", "no", "no", "nothing in it", cert("pck", sgx=b""), "certificate")
row("sgx_text", "no", "no", "not DER", cert("pck", sgx=b"SGX"), "SGX extension")
row("sgx_cut", "no", "no", "cut", lambda s: setattr(s.certs["pck"], "sgx", sgx_extension(s.certs["pck"].sgx)[:-1]), "SGX extension")
row("sgx_trailing", "no", "ok", "a byte after it; the peer looks for what it needs and reads no further", lambda s: setattr(s.certs["pck"], "sgx", sgx_extension(s.certs["pck"].sgx) + b"\0"), "SGX extension")
row("sgx_15_components", "no", "ok", "one component is missing; the peer reads the CPUSVN alone", sgx(components=[255] * 15, cpusvn=b"\xff" * 16), "SGX extension")
row("sgx_component_256", "no", "ok", "an SVN is one byte; the peer reads the CPUSVN alone", sgx(components=[256] + [255] * 15, cpusvn=b"\xff" * 16), "SGX extension")
row("sgx_cpusvn_short", "no", "no", "15 bytes", sgx(cpusvn=bytes(15)), "SGX extension")
row("sgx_fmspc_short", "no", "no", "five bytes", sgx(fmspc=bytes(5)), "SGX extension")
row("sgx_fmspc_twice", "no", "ok", "two FMSPCs: which one? the peer takes the first", sgx(extra=[der.sequence(der.oid(f"{SGX}.4"), der.octets(b"\xff" * 6))]), "twice")
FLAGS = [(number, der.boolean(True)) for number in (1, 2, 3)]
row("sgx_configuration_false", "ok", "ok", "what the three flags say decides nothing", sgx(platform=bytes(16), configuration=[(n, der.boolean(False)) for n, _ in FLAGS]))
for name, flags in (("empty", []), ("one_part", FLAGS[:1]), ("two_parts", FLAGS[1:]), ("part_twice", [*FLAGS, FLAGS[0]]), ("part_4", [*FLAGS, (4, der.boolean(True))]),
                    ("ber_boolean", [*FLAGS[:2], (3, der.tlv(1, b"\1"))]), ("long_boolean", [*FLAGS[:2], (3, der.tlv(1, b"\xff\xff"))]), ("number", [*FLAGS[:2], (3, der.integer(1))])):
    row(f"sgx_configuration_{name}", "no", "no" if name == "long_boolean" else "ok", "the configuration has three BOOLEANs, in DER; the peer does not read what they say", sgx(platform=bytes(16), configuration=flags), "entry 7")
row("sgx_pcesvn_low", "no", "no", "PCESVN below every level", all_of(sgx(pcesvn=1), level(pcesvn=2)), "below every TCB level")
row("sgx_pcesvn_equal", "ok", "ok", "PCESVN just enough", all_of(sgx(pcesvn=2), level(pcesvn=2)))
row("sgx_pcesvn_two_bytes", "ok", "ok", "a PCESVN is a 16-bit number", all_of(sgx(pcesvn=0x0102), level(pcesvn=0x0101)))
row("sgx_pcesvn_three_bytes", "ok", "no", "in DER an INTEGER from 32768 on has a leading zero byte; the peer takes two bytes at most", sgx(pcesvn=0x8000))
row("sgx_cpusvn_not_components", "no", "ok", "ours compares the 16 component SVNs, as Intel's verifier does, the peer the CPUSVN's bytes; Intel issues none where they differ",
    all_of(sgx(components=[0] * 16, cpusvn=b"\xff" * 16), level(sgxtcbcomponents=svns(1))), "below every TCB level")
row("sgx_components_not_cpusvn", "ok", "no", "as sgx_cpusvn_not_components", all_of(sgx(components=[255] * 16, cpusvn=bytes(16)), level(sgxtcbcomponents=svns(1))))

# ---- revocation and CRLs ----

row("pck_revoked", "no", "no", "listed by its issuer", crl("root", revoked=[0x1004]), "Revoked")
row("pck_revoked_among_many", "no", "no", "listed by its issuer, as the last of many", crl("root", revoked=[*range(5000, 6000), 0x1004]), "Revoked")
row("tcb_ca_revoked", "no", "no", "an intermediate CA is revoked", crl("root", revoked=[0x1002]), "Revoked")
row("signer_revoked", "no", "no", "the TCB signer is revoked", crl("pck", revoked=[0x1003]), "Revoked")
row("root_revoked", "no", "no", "the root lists itself", crl("root", revoked=[0x1001]), "Revoked")
row("serial_in_the_other_crl", "ok", "ok", "a serial number counts in its own issuer's CRL only", all_of(crl("root", revoked=[0x1003]), crl("pck", revoked=[0x1001, 0x1002, 0x1004])))
for which in ("root", "pck"):
    field = "root_ca_crl" if which == "root" else "pck_crl"
    row(f"{which}_crl_expired", "no", "no", "revocations since then are unknown", crl(which, next_update=NOW - 1), "expired")
    row(f"{which}_crl_next_update_now", "ok", "no", "a CRL's last second: good for ours, as for everything; the peer wants more than that", crl(which, next_update=NOW))
    row(f"{which}_crl_not_yet", "no", "ok", "thisUpdate is in the future: the clock is behind, or somebody is; the peer does not look", crl(which, this_update=NOW + 1), "not valid before")
    row(f"{which}_crl_bad_signature", "no", "no", "not signed by its issuer", crl(which, signer="other"), "does not verify")
    row(f"{which}_crl_empty", "no", "no", "a missing CRL is not an empty one", collateral(**{field: ""}), "CRL")
    row(f"{which}_crl_garbage", "no", "no", "the suite's minimal ASN.1", collateral(**{field: "308100"}), "CRL")
    row(f"{which}_crl_text", "no", "no", "not hex", collateral(**{field: "no CRL"}), field)
    row(f"{which}_crl_odd", "no", "no", "half a byte", collateral_edit(lambda c, field=field: c.update({field: c[field][:-1]})), field)
    row(f"{which}_crl_cut", "no", "no", "a byte short", collateral_edit(lambda c, field=field: c.update({field: c[field][:-2]})), "CRL")
    row(f"{which}_crl_trailing", "no", "no", "a byte long", collateral_edit(lambda c, field=field: c.update({field: c[field] + "00"})), "CRL")
    row(f"{which}_crl_version_1", "no", "no", "version 1 has no extensions", crl(which, version=1, extra=[], number=None, authority_key_id=False), "CRL")
    row(f"{which}_crl_no_next_update", "no", "no", "a CRL that never ends", crl(which, next_update=None), "CRL")
    row(f"{which}_crl_no_number", "no", "ok", "RFC 5280 sect. 5.2.3 wants a number in every CRL; the peer does not", crl(which, number=None), "CRL")
    row(f"{which}_crl_delta", "no", "no", "a delta CRL lists changes only",
        crl(which, extra=[der.sequence(der.oid("2.5.29.27"), der.boolean(True), der.octets(der.integer(1)))]), "CRL")
    row(f"{which}_crl_missing", "no", "no", "no such field", collateral_edit(lambda c, field=field: c.pop(field) and None), field)
for field in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
    row(f"{field}_upper_case", "ok", "ok", "case means nothing in hex", collateral_edit(lambda c, field=field: c.update({field: c[field].upper()})))
    row(f"{field}_one_letter_upper_case", "no", "ok", "nobody writes both cases in one text, and a changed bit must not go unnoticed; the peer does not look",
        collateral_edit(lambda c, field=field: c.update({field: re.sub("[a-f]", lambda m: m[0].upper(), c[field], count=1)})), "both cases")
row("crls_swapped", "no", "no", "each CRL under the other's name",
    collateral_edit(lambda c: c.update(root_ca_crl=c["pck_crl"], pck_crl=c["root_ca_crl"])))
row("root_crl_twice", "no", "no", "nothing says what the TCB CA revoked", collateral_edit(lambda c: c.update(pck_crl=c["root_ca_crl"])))
row("pck_crl_twice", "no", "no", "nothing says what the root revoked", collateral_edit(lambda c: c.update(root_ca_crl=c["pck_crl"])))
row("pck_crl_by_stranger", "no", "no", "a CRL of a CA that is in no chain", lambda s: (s.certs.update(stranger=Cert("other", "Test Stranger CA", "root", 0x1009, ca=True, usage=(CERT_SIGN, CRL_SIGN))), s.crls.update(pck=Crl("stranger"))), "CRL")

def pck_under_ca(s):
    """The PCK certificate under the TCB CA, by whose CRL it is judged then; and it is revoked."""
    s.certs["pck"].issuer = "tcb_ca"
    s.chains["pck"] = ["pck", "tcb_ca", "root"]
    s.crls["pck"].revoked = [0x1004]


def crl_of(name, subject, serial, signer=None):
    """An empty CRL, in place of the PCK CRL, by a CA with that name and key; signer: who signed the CA's certificate, if it is not the root."""
    def edit(s):
        s.certs[name] = Cert(name, subject, "root", serial, ca=True, critical=True, path_len=0, usage=(CERT_SIGN, CRL_SIGN), usage_critical=True)
        s.certs[name].signer = signer
        s.chains["pck_crl"] = [name, "root"]
        s.crls["pck"] = Crl(name)
    return edit


row("pck_under_ca_revoked", "no", "no", "listed by its issuer, the TCB CA", pck_under_ca, "Revoked")
row("pck_crl_by_forged_ca", "no", "no", "the issuer's name under another key, which the root never signed: its empty CRL hides the revocation",
    all_of(pck_under_ca, crl_of("forged", "Test TCB Signing CA", 0x1002, signer="forged")), "does not verify")
row("pck_crl_by_revoked_ca", "no", "no", "the issuer's name under an old key that the root revoked: the same",
    all_of(pck_under_ca, crl_of("old", "Test TCB Signing CA", 0x1010), crl("root", revoked=[0x1010])), "Revoked")

# ---- TCB info ----

row("tcb_info_expired", "no", "no", "expired and rightly signed", tcb(issueDate="2020-01-01T00:00:00Z", nextUpdate="2020-12-31T23:59:59Z"), "expired")
row("tcb_info_expired_unsigned", "no", "no", "the suite's: expired, and not signed again",
    lambda s: setattr(s, "tcb_unsigned", json.dumps(dict(s.tcb_info, issueDate="2020-01-01T00:00:00Z", nextUpdate="2020-12-31T23:59:59Z", tcbLevels=[]))), "does not verify")
row("tcb_info_one_second_late", "no", "no", "expired by one second", tcb(nextUpdate=date(NOW - 1)), "expired")
row("tcb_info_not_yet", "no", "no", "issued in the future", tcb(issueDate="2999-01-01T00:00:00Z", nextUpdate="2999-12-31T23:59:59Z"), "not valid before")
row("tcb_info_one_second_early", "no", "no", "issued in one second", tcb(issueDate=date(NOW + 1)), "not valid before")
row("tcb_info_dates_of_other_zone", "no", "ok", "Intel writes UTC with Z; ours takes no other form", tcb(issueDate="2026-09-01T00:00:00+00:00"), "issueDate")
row("tcb_info_date_text", "no", "no", "not a date", tcb(issueDate="yesterday"), "issueDate")
row("tcb_info_date_impossible", "no", "no", "not a date", tcb(nextUpdate="2026-13-01T00:00:00Z"), "nextUpdate")
row("tcb_info_not_json", "no", "no", "the suite's invalid JSON, not signed", lambda s: setattr(s, "tcb_unsigned", "INVALID JSON"), "does not verify")
row("tcb_info_not_json_signed", "no", "no", "signed nonsense", lambda s: setattr(s, "tcb_text", "INVALID JSON"), "TCB info")
row("tcb_info_empty_signed", "no", "no", "signed nothing", lambda s: setattr(s, "tcb_text", ""), "TCB info")
row("tcb_info_array", "no", "no", "not an object", lambda s: setattr(s, "tcb_text", "[]"), "TCB info")
row("tcb_info_trailing", "no", "no", "something after the document", lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info) + "{}"), "TCB info")
row("tcb_info_duplicate_key", "no", "no", "two FMSPCs: which one?", lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info)[:-1] + ', "fmspc": "00906EA10000"}'), "TCB info")
row("tcb_info_duplicate_unknown_key", "no", "ok", "a name twice anywhere is refused, so that no two readers differ; the peer only looks at those it knows",
    lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info)[:-1] + ', "new": 1, "new": 2}'), "TCB info")
row("tcb_info_escaped_name", "no", "ok", "nobody writes names with escapes; the peer reads them", lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info).replace('"fmspc"', '"\\u0066mspc"')), "escape")
row("tcb_info_nul", "no", "ok", "a string with a NUL in a field nobody reads: ours refuses what C would cut; the peer does not", tcb(new="\0"), "no character")
row("tcb_info_deep", "no", "ok", "nested 100 deep in a field nobody reads: ours has a limit of 16", tcb(new=json.loads("[" * 100 + "]" * 100)), "TCB info")
row("tcb_info_of_sgx", "no", "no", "the suite's mismatch of kinds", tcb(id="SGX"), "id")
row("tcb_info_version_2", "no", "no", "before TDX", tcb(version=2), "version")
row("tcb_info_version_4", "no", "ok", "ours knows version 3 alone; the peer takes later ones for 3", tcb(version=4), "version")
row("tcb_info_type_1", "no", "ok", "tcbType 0 is the only one whose comparison is known; the peer does not look", tcb(tcbType=1), "tcbType")
for name in ("id", "version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbLevels", "tdxModule"):
    row(f"tcb_info_without_{name}", "no", "no", "a field is missing", without("tcb_info", name), name)
for name in ("tcbType", "tcbEvaluationDataNumber"):
    row(f"tcb_info_without_{name}", "no", "no", "a field is missing", without("tcb_info", name), name)
row("tcb_info_without_identities", "no", "no", "a module version above 0 needs its identity",
    without("tcb_info", "tdxModuleIdentities"), "does not know TDX module")
row("tcb_info_empty_levels", "no", "no", "the suite's unknown status", tcb(tcbLevels=[]), "tcbLevels")
row("tcb_info_revoked", "no", "no", "the suite's revoked platform", level(tcbStatus="Revoked"), "not at a level")
row("tcb_info_status_unknown", "no", "no", "a word nobody knows", level(tcbStatus="Splendid"), "tcbStatus")
for status in ("SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"):
    row(f"tcb_info_{status}", "ok", "ok", "a status that a policy decides about", level(tcbStatus=status, advisoryIDs=["INTEL-SA-00001"]), status=status)
for name, ids in (("blank", ["INTEL SA 1"]), ("empty", [""]), ("escape", ["INTEL-SA-1\x1b"])):
    row(f"tcb_info_advisory_{name}", "no", "ok", "an advisory's id is shown to people and compared with a policy's: letters, digits, - _ . alone; the peer takes any text", level(advisoryIDs=ids), "odd item")
row("tcb_info_no_tdx_components", "no", "no", "the suite's missing components", lambda s: s.tcb_info["tcbLevels"][0]["tcb"].pop("tdxtcbcomponents"), "tdxtcbcomponents")
row("tcb_info_lower_level_no_tdx_components", "no", "ok", "every level has them, also one that is not come by; the peer looks at those it comes by",
    lambda s: s.tcb_info["tcbLevels"].append(dict(tcb=dict(sgxtcbcomponents=svns(), pcesvn=0), tcbDate="2023-01-01T00:00:00Z", tcbStatus="OutOfDate")), "tdxtcbcomponents")
row("tcb_info_15_components", "no", "no", "a component is missing", level(sgxtcbcomponents=svns()[:15]), "sgxtcbcomponents")
row("tcb_info_17_components", "no", "no", "one too many", level(tdxtcbcomponents=svns() + [dict(svn=0)]), "tdxtcbcomponents")
row("tcb_info_component_256", "no", "no", "an SVN is one byte", level(sgxtcbcomponents=svns(256)), "svn")
row("tcb_info_component_negative", "no", "no", "an SVN is one byte", level(sgxtcbcomponents=svns(-1)), "svn")
row("tcb_info_component_text", "no", "no", "an SVN is a number", level(sgxtcbcomponents=svns("1")), "svn")
row("tcb_info_component_fraction", "no", "no", "an SVN is a whole number", lambda s: setattr(s, "tcb_text", json.dumps(s.tcb_info).replace('"svn": 2', '"svn": 2.0')), "svn")
row("sgx_component_mismatch", "no", "no", "the suite's: one component too low", level(sgxtcbcomponents=svns(11, 11, 3)), "below every TCB level")
row("sgx_component_last", "no", "no", "the sixteenth counts too", level(sgxtcbcomponents=svns(*[0] * 15, 1)), "below every TCB level")
row("sgx_component_equal", "ok", "ok", "just enough", level(sgxtcbcomponents=svns(11, 11, 2, 2, 255, 1)))
row("tdx_component_mismatch", "no", "no", "the suite's: one component too low", level(tdxtcbcomponents=svns(1, 2, 3)), "below every TCB level")
row("tdx_component_last", "no", "no", "the sixteenth counts too", level(tdxtcbcomponents=svns(*[0] * 15, 2)), "below every TCB level")
row("tdx_component_equal", "ok", "ok", "just enough", level(tdxtcbcomponents=svns(*[1] * 16)))
row("tdx_first_two_by_identity", "ok", "ok", "with a module version the first two components are the module identity's to judge", level(tdxtcbcomponents=svns(255, 255)))
row("tdx_first_two_without_version", "no", "no", "without a module version they count", all_of(body(tee_tcb_svn=b"\1\0" + b"\1" * 14), level(tdxtcbcomponents=svns(2))), "below every TCB level")
row("tcb_second_level", "ok", "ok", "the first level that fits, from the top", lambda s: s.tcb_info["tcbLevels"].insert(
    0, dict(tcb=dict(sgxtcbcomponents=svns(12), pcesvn=0, tdxtcbcomponents=svns()), tcbDate="2025-01-01T00:00:00Z", tcbStatus="Revoked")), status="UpToDate")
row("tcb_level_twice", "no", "ok", "one level with two meanings is refused; the peer takes the first",
    lambda s: s.tcb_info["tcbLevels"].append(dict(s.tcb_info["tcbLevels"][0], tcbStatus="OutOfDate")), "twice")
row("tcb_sgx_and_tdx_levels_differ", "ok", "ok", "the TDX components fit a lower level only: that one's status counts", lambda s: s.tcb_info["tcbLevels"].insert(
    0, dict(tcb=dict(sgxtcbcomponents=svns(11), pcesvn=0, tdxtcbcomponents=svns(0, 0, 9)), tcbDate="2025-01-01T00:00:00Z", tcbStatus="SWHardeningNeeded")), status="UpToDate")

# ---- the TDX module ----

row("module_mrsigner", "no", "no", "the suite's module of another signer", module(mrsigner="03" * 48), "another signer")
row("module_mrsigner_of_quote", "no", "no", "the same from the quote's side", body(mr_signer_seam=bytes(48)), "another signer")
row("module_isvsvn_too_low", "no", "no", "the suite's module below every level", module_level(tcb=dict(isvsvn=2)), "below every supported level")
row("module_unknown_version", "no", "no", "TCB info has no such module", body(tee_tcb_svn=b"\1\7" + b"\1" * 14), "does not know TDX module")
row("module_id_other", "no", "no", "TCB info has no such module", module(id="TDX_03"), "does not know TDX module")
row("module_id_odd", "no", "no", "an id of no form", module(id="TDX"), "TDX_")
row("module_id_decimal", "no", "no", "the number in an id is hex of two digits", module(id="TDX_1"), "TDX_")
row("module_twice", "no", "ok", "two identities of one module: which one? the peer takes the first", lambda s: s.tcb_info["tdxModuleIdentities"].append(dict(s.tcb_info["tdxModuleIdentities"][0])), "twice")
row("module_revoked", "no", "no", "a revoked module", module_level(tcbStatus="Revoked"), "revoked")
row("module_out_of_date", "ok", "ok", "the platform is no better than its module", module_level(tcbStatus="OutOfDate"), status="OutOfDate")
row("module_platform_status", "no", "no", "only UpToDate, OutOfDate and Revoked are defined for modules", module_level(tcbStatus="SWHardeningNeeded"), "for platforms")
row("module_no_levels", "no", "no", "an identity without levels", module(tcbLevels=[]), "below every supported level")
row("module_level_without_date", "no", "no", "every level has its date", lambda s: s.tcb_info["tdxModuleIdentities"][0]["tcbLevels"][0].pop("tcbDate"), "tcbDate")
row("module_level_date_text", "no", "no", "every level has its date", module_level(tcbDate="soon"), "tcbDate")
row("seam_attributes", "no", "no", "a SEAM module in debug mode", body(seam_attributes=b"\1" + bytes(7)), "SEAM attributes")
row("seam_attributes_masked", "no", "no", "even where the identity's mask would let it pass", all_of(body(seam_attributes=b"\1" + bytes(7)), module(attributesMask="00" * 8)), "SEAM attributes")
row("seam_attributes_allowed_by_identity", "no", "ok", "SEAM attributes are zero in every production module; ours refuses others even where a signed identity asks for them",
    all_of(body(seam_attributes=b"\1" + bytes(7)), module(attributes="01" + "00" * 7, attributesMask="ff" * 8)), "SEAM attributes")
row("module_attributes", "no", "no", "the identity asks for a bit that is off", module(attributes="01" + "00" * 7, attributesMask="ff" * 8), "SEAM attributes")
row("module_attributes_beyond_mask", "no", "ok", "an identity that asks for bits its own mask hides cannot be met; the peer masks both sides", module(attributes="01" + "00" * 7), "SEAM attributes")
row("module0_mrsigner", "no", "no", "version 0 is judged by tdxModule", all_of(body(tee_tcb_svn=b"\1\0" + b"\1" * 14), level(tdxtcbcomponents=svns()), lambda s: s.tcb_info["tdxModule"].update(mrsigner="03" * 48)), "another signer")
row("svn2_unappraisable", "no", "no", "the suite's: the module that runs now is below every level", version5(tee_tcb_svn2=b"\0\1" + b"\1" * 14), "TEE_TCB_SVN2")
row("svn2_unknown_module", "no", "no", "the module that runs now is unknown", version5(tee_tcb_svn2=b"\1\7" + b"\1" * 14), "TEE_TCB_SVN2")
row("svn2_component_too_low", "no", "no", "the platform now is below every level", all_of(version5(tee_tcb_svn2=b"\1\1\0" + b"\1" * 13), level(tdxtcbcomponents=svns(0, 0, 1))), "TEE_TCB_SVN2")
row("svn2_newer", "ok", "ok", "updated since the TD was started", version5(tee_tcb_svn2=b"\2\1" + b"\1" * 14), status="UpToDate")
row("relaunch_advised", "ok", "ok", "launched on an old module, running on the newest: relaunching is enough",
    all_of(version5(tee_tcb_svn2=b"\2\1" + b"\1" * 14), lambda s: s.tcb_info["tdxModuleIdentities"][0].update(tcbLevels=[
        dict(tcb=dict(isvsvn=2), tcbDate="2026-01-01T00:00:00Z", tcbStatus="UpToDate"), dict(tcb=dict(isvsvn=1), tcbDate="2024-01-01T00:00:00Z", tcbStatus="OutOfDate")])),
    status="TDRelaunchAdvised")

# ---- QE identity ----

row("qe_identity_expired", "no", "no", "the suite's", identity(issueDate="2020-01-01T00:00:00Z", nextUpdate="2020-01-02T00:00:00Z"), "expired")
row("qe_identity_not_yet", "no", "no", "the suite's", identity(issueDate="2999-01-01T00:00:00Z", nextUpdate="2999-12-31T23:59:59Z"), "not valid before")
row("qe_identity_not_json", "no", "no", "the suite's invalid JSON, not signed", lambda s: setattr(s, "qe_unsigned", "not valid json {{{"), "does not verify")
row("qe_identity_not_json_signed", "no", "no", "signed nonsense", lambda s: setattr(s, "qe_text", "not valid json {{{"), "QE identity")
row("qe_identity_of_sgx", "no", "no", "the suite's: the identity of SGX's quoting enclave", identity(id="QE"), "id")
row("qe_identity_version_1", "no", "no", "not for TDX", identity(version=1), "version")
row("qe_identity_version_3", "no", "ok", "ours knows version 2 alone, the one that Intel issues", identity(version=3), "version")
for name in ("id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask", "attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels"):
    row(f"qe_identity_without_{name}", "no", "no", "a field is missing", without("qe_identity", name), name)
row("qe_mrsigner", "no", "no", "the suite's", identity(mrsigner="FF" * 32), "another signer")
row("qe_isvprodid", "no", "no", "the suite's", identity(isvprodid=999), "ISVPRODID")
row("qe_miscselect", "no", "no", "the suite's", identity(miscselect="FFFFFFFF"), "MISCSELECT")
row("qe_attributes", "no", "no", "the suite's", identity(attributes="FF" * 16, attributesMask="FF" * 16), "ATTRIBUTES")
row("qe_attributes_beyond_mask", "no", "ok", "an identity that asks for bits its own mask hides cannot be met; the peer masks both sides", identity(attributes="02" + "00" * 15), "ATTRIBUTES")
row("qe_miscselect_beyond_mask", "no", "ok", "as qe_attributes_beyond_mask", identity(miscselect="01000000", miscselectMask="00000000"), "MISCSELECT")
row("qe_debug", "no", "no", "the suite's: a debug quoting enclave, the mask looks at it", all_of(qe(attributes=b"\2" + bytes(15)), identity(attributesMask="02" + "00" * 15)), "debug")
row("qe_debug_unmasked", "no", "no", "a debug quoting enclave, and the mask does not look", qe(attributes=b"\2" + bytes(15)), "debug")
row("qe_report_mrsigner", "no", "no", "from the report's side", qe(mrsigner=b"\1" * 32), "another signer")
row("qe_report_isvprodid", "no", "no", "from the report's side", qe(isvprodid=b"\1\0"), "ISVPRODID")
row("qe_report_miscselect", "no", "no", "from the report's side", qe(miscselect=b"\1\0\0\0"), "MISCSELECT")
row("qe_report_attributes", "no", "no", "from the report's side", all_of(qe(attributes=b"\4" + bytes(15)), identity(attributesMask="FF" * 16)), "ATTRIBUTES")
row("qe_report_attributes_masked", "ok", "ok", "the mask says which bits matter", qe(attributes=b"\x15" + b"\0" * 7 + b"\xff" * 8))
row("qe_report_free_fields", "ok", "ok", "CPUSVN and MRENCLAVE of the QE are in no identity", qe(cpusvn=b"\7" * 16, mrenclave=b"\7" * 32))
row("qe_miscselect_byte_order", "ok", "ok", "hex of the bytes as they lie in the report", all_of(qe(miscselect=b"\1\0\0\0"), identity(miscselect="01000000")))
row("qe_isvsvn_too_low", "no", "no", "the quoting enclave is below every level", qe_level(tcb=dict(isvsvn=1)), "below every supported level")
row("qe_isvsvn_equal", "ok", "ok", "just enough", all_of(qe(isvsvn=b"\5\0"), qe_level(tcb=dict(isvsvn=5))))
row("qe_isvsvn_16_bit", "ok", "ok", "an ISVSVN has 16 bits", all_of(qe(isvsvn=b"\0\1"), qe_level(tcb=dict(isvsvn=256))))
row("qe_revoked", "no", "no", "the suite's", qe_level(tcbStatus="Revoked"), "revoked")
row("qe_out_of_date", "ok", "ok", "the platform is no better than its quoting enclave", qe_level(tcbStatus="OutOfDate"), status="OutOfDate")
row("qe_platform_status", "no", "ok", "only UpToDate, OutOfDate and Revoked are defined for enclaves; the peer takes any word for platforms", qe_level(tcbStatus="ConfigurationNeeded"), "for platforms")
row("qe_no_levels", "no", "no", "no level at all", identity(tcbLevels=[]), "below every supported level")
row("qe_level_without_date", "no", "no", "every level has its date", lambda s: s.qe_identity["tcbLevels"][0].pop("tcbDate"), "tcbDate")
row("qe_level_date_number", "no", "no", "every level has its date", qe_level(tcbDate=7), "tcbDate")
row("qe_levels_unsorted", "ok", "no", "the order in the JSON means nothing to ours; the peer takes the first that fits, here the revoked one",
    all_of(qe(isvsvn=b"\5\0"), lambda s: s.qe_identity.update(tcbLevels=[
        dict(tcb=dict(isvsvn=1), tcbDate="2024-01-01T00:00:00Z", tcbStatus="Revoked"), dict(tcb=dict(isvsvn=5), tcbDate="2025-01-01T00:00:00Z", tcbStatus="UpToDate")])), status="UpToDate")

# ---- the collateral's envelope ----

row("collateral_empty", "no", "no", "nothing", collateral_edit(lambda c: b" "), "collateral")
row("collateral_object", "no", "no", "nothing in it", collateral_edit(lambda c: b"{}"), "collateral")
row("collateral_array", "no", "no", "not an object", collateral_edit(lambda c: b"[]"), "collateral")
row("collateral_cut", "no", "no", "cut in the middle", collateral_edit(lambda c: json.dumps(c).encode()[:3000]), "collateral")
row("collateral_trailing", "no", "no", "something after it", collateral_edit(lambda c: json.dumps(c).encode() + b"x"), "collateral")
row("collateral_number", "no", "no", "a number where text should be", collateral(tcb_info=7), "tcb_info")
row("collateral_null", "no", "no", "nothing where text should be", collateral(qe_identity=None), "qe_identity")
row("collateral_unknown_field", "ok", "ok", "a later version may add fields", collateral(new="something"))
for name in ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature", "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"):
    row(f"collateral_without_{name}", "no", "no", "a field is missing", collateral_edit(lambda c, name=name: c.pop(name) and None), name)

# ---- clocks ----

row("clock_years_ahead", "no", "no", "everything is expired", lambda s: setattr(s, "time", NOW + 4000 * DAY), "expired")
row("clock_years_behind", "no", "no", "nothing is valid yet", lambda s: setattr(s, "time", NOW - 4000 * DAY), "not valid before")
row("clock_after_next_update", "no", "no", "the documents are expired", lambda s: setattr(s, "time", NOW + 21 * DAY), "expired")
row("clock_1970", "no", "no", "a machine that lost its clock", lambda s: setattr(s, "time", 1), "not valid before")

# ---- the same through the library itself ----

# About the peer's chains, names and one TCB level: they mean something else in the shape of hardware.
PEER_SHAPE = {
    "cert_type_5_with_pck_chain", "cert_type_1_with_pck_chain", "cert_type_2_with_pck_chain", "cert_type_3_with_pck_chain", "cert_type_4_with_pck_chain",
    "sgx_v3_cert_type_3", "collateral_pck_other_platform", "cert_data_good_but_collateral_other", "ca_used_as_end_entity_tcb", "ca_used_as_end_entity_qe",
    "pck_signs_documents", "tcb_chain_missing_link", "tcb_chain_leaf_only", "tcb_chain_without_root", "pck_chain_without_root", "tcb_chain_reversed", "tcb_chain_order",
    "tcb_chain_twice", "pck_chain_with_stranger", "pck_revoked", "pck_revoked_among_many", "tcb_ca_revoked", "signer_revoked", "root_revoked", "serial_in_the_other_crl",
    "sgx_component_mismatch", "sgx_component_last", "tdx_component_mismatch", "tdx_component_last", "module_mrsigner_of_quote", "module_isvsvn_too_low", "svn2_newer",
    "relaunch_advised", "qe_isvsvn_too_low", "pck_crl_by_stranger", "tcb_second_level", "tcb_sgx_and_tdx_levels_differ", "tcb_info_signed_by_ca", "qe_identity_signed_by_ca",
    "pck_under_ca_revoked", "pck_crl_by_forged_ca", "pck_crl_by_revoked_ca",
}
# The strict profile's policy allows fewer TD attributes, and wants what every TD has.
STRICT_REFUSES = {"valid_quote_over_zero_xfam", "attributes_of_tdx15", *(f"attributes_bit_{bit}" for bit in (16, 18, 19, 20, 21, 22, 27, 62, 63))}


def strict_expectation(c):
    """What the library says of the case in hardware's shape; None where the case is about the peer's."""
    if c.name in PEER_SHAPE or c.name.startswith("tcb_ca_"):
        return None
    return "no" if c.name in STRICT_REFUSES else c.ours


STRICT: "list[Case]" = []


def library_cases():
    """Each case that the library's profile is asked, in hardware's shape, with what it must say."""
    expected = [*((c, strict_expectation(c)) for c in CASES), *((c, c.ours) for c in STRICT)]
    return [(c, says) for c, says in expected if says is not None]


def strict(name, ours, peer, why, edit, error="", status=None):
    STRICT.append(Case(name, ours, peer, why, edit, error, status))


def add_pck(s):
    """Another PCK certificate of the same CA."""
    s.certs["pck2"] = Cert("pck2", "Test SGX PCK Certificate", "pck_ca", 0x2005, critical=True, sgx=s.certs["pck"].sgx)


def second_root(s):
    """The documents under another root."""
    s.certs["root2"] = Cert("root2", "Test SGX Root CA", "root2", 0x3001, ca=True, critical=True, usage=(CERT_SIGN, CRL_SIGN))
    s.certs["signer"].issuer = "root2"
    s.chains.update(tcb_info=["signer", "root2"], qe_identity=["signer", "root2"])


strict("intel_v4", "ok", "ok", "hardware's shape, version 4", nothing, status="UpToDate")
strict("intel_v5_td10", "ok", "ok", "hardware's shape, version 5, TD 1.0", version5(2), status="UpToDate")
strict("intel_v5_td15", "ok", "ok", "hardware's shape, version 5, TD 1.5", version5(3), status="UpToDate")
for kind, size in ((1, 16), (2, 256), (3, 384)):
    strict(f"intel_cert_type_{kind}_with_pck_chain", "ok", "ok", "the chain comes with the collateral",
           all_of(encrypted_ppid(kind, size), chain(collateral_pck=["pck", "pck_ca", "root"])))
strict("intel_cert_type_5_with_pck_chain", "ok", "ok", "the same chain in quote and collateral", chain(collateral_pck=["pck", "pck_ca", "root"]), status="UpToDate")
strict("intel_cert_type_5_of_other", "no", "no", "the chain of another machine beside the quote's own", all_of(add_pck, chain(collateral_pck=["pck2", "pck_ca", "root"])), "is another one")
strict("intel_cert_type_3_of_other", "no", "no", "the chain of another machine", all_of(add_pck, encrypted_ppid(3, 384), chain(collateral_pck=["pck2", "pck_ca", "root"])), "does not verify")
strict("intel_processor_ca", "ok", "ok", "the other PCK CA", lambda s: setattr(s.certs["pck_ca"], "subject", [("CN", "Test SGX PCK Processor CA"), ("O", "Test"), ("C", "US")]))
strict("intel_outer_type_5", "no", "ok", "the outer certification data is a QE report, type 6; the peer does not look at the type", lambda s: setattr(s, "outer_type", 5), "must be 6")
strict("role_pck_signs_documents", "no", "ok", "roles: any end entity under the root could sign TCB info; the peer knows no roles",
       all_of(chain(tcb_info=["pck", "pck_ca", "root"], qe_identity=["pck", "pck_ca", "root"]), signed_by(tcb_info="pck", qe_identity="pck")), "TCB signing chain")
strict("role_signer_is_pck", "no", "ok", "roles: the TCB signer's certificate with an SGX extension is no PCK certificate; the peer knows no roles",
       all_of(lambda s: setattr(s.certs["signer"], "sgx", s.certs["pck"].sgx), chain(pck=["signer", "root"]), signed_by(qe_report="signer")), "PCK chain has 2")
for which, wrong in (("pck", "Test SGX Certificate"), ("pck_ca", "Test SGX CA"), ("signer", "Test SGX Signing"), ("root", "Test Root CA")):
    strict(f"role_name_{which}", "no", "ok", "a role is a name; the peer does not read names",
           lambda s, which=which, wrong=wrong: setattr(s.certs[which], "subject", [("CN", wrong), ("O", "Test"), ("C", "US")]), "role")
strict("pck_under_root", "no", "ok", "the peer's chain of two; hardware has three", all_of(cert("pck", issuer="root"), chain(pck=["pck", "root"])), "must have 3")
strict("signer_under_pck_ca", "no", "ok", "the TCB signer stands right under the root; the peer takes any path",
       all_of(cert("signer", issuer="pck_ca"), chain(tcb_info=["signer", "pck_ca", "root"], qe_identity=["signer", "pck_ca", "root"])), "must have 2")
strict("intel_pck_revoked", "no", "no", "listed by the PCK CA", crl("pck", revoked=[0x2004]), "revoked")
strict("intel_pck_ca_revoked", "no", "no", "listed by the root", crl("root", revoked=[0x2002]), "revoked")
strict("intel_signer_revoked", "no", "no", "listed by the root", crl("root", revoked=[0x2003]), "revoked")
strict("intel_root_revoked", "no", "no", "the root lists itself", crl("root", revoked=[0x2001]), "revoked")
strict("intel_serial_in_the_other_crl", "ok", "ok", "a serial number counts in its own issuer's CRL only", all_of(crl("root", revoked=[0x2004]), crl("pck", revoked=[0x2001, 0x2002, 0x2003])))
strict("intel_pck_crl_of_other_ca", "no", "no", "a CRL of another PCK CA under the same root says nothing about this one",
       lambda s: (s.certs.update(other_ca=Cert("other_ca", "Test SGX PCK Processor CA", "root", 0x2009, ca=True, critical=True, path_len=0, usage=(CERT_SIGN, CRL_SIGN))),
                  s.crls.update(pck=Crl("other_ca")), s.chains.update(pck_crl=["other_ca", "root"])), "issued by another CA")
strict("intel_pck_crl_same_name_other_key", "no", "no", "same name, other key",
       lambda s: (s.certs.update(other_ca=Cert("other_ca", "Test SGX PCK Platform CA", "root", 0x2009, ca=True, critical=True, path_len=0, usage=(CERT_SIGN, CRL_SIGN))),
                  s.crls.update(pck=Crl("other_ca")), s.chains.update(pck_crl=["other_ca", "root"])))
strict("intel_pck_crl_by_forged_ca", "no", "no", "name of the PCK CA under another key, which the root never signed: its empty CRL hides the revocation",
       crl_of("forged", "Test SGX PCK Platform CA", 0x2002, signer="forged"), "PCK CA certificate does not verify")
strict("intel_documents_of_other_root", "no", "no", "everything is right, under another root", second_root, "another root")
strict("intel_crl_chain_of_other_root", "no", "ok", "every chain ends in the one root; the peer does not read this chain",
       collateral_edit(lambda c: c.update(pck_crl_issuer_chain=Sample("intel", "another").chain(["pck_ca", "root"]))))
for which in ("pck", "pck_ca", "signer"):
    strict(f"authority_key_{which}", "no", "ok", "names another issuer key; the peer does not read key identifiers",
           lambda s, which=which: s.certs[which].__dict__.update(authority_key_id=False, extra=[der.sequence(der.oid("2.5.29.35"), der.octets(der.sequence(der.tlv(0x80, bytes(20)))))]), "issuer key")
for which in ("pck", "signer"):
    strict(f"usage_{which}_none", "no", "ok", "what may it sign? the profile has the extension always, the peer does not ask", cert(which, usage=None), "key usage")
    strict(f"usage_{which}_cert_sign", "no", "ok", "an end entity that may sign certificates; the peer does not ask", cert(which, usage=(SIGN, CERT_SIGN)), "key usage")
for which in ("pck_ca", "root"):
    strict(f"usage_{which}_none", "no", "ok", "what may it sign? the profile has the extension always, the peer does not ask", cert(which, usage=None), "key usage")
    strict(f"constraints_{which}_not_critical", "no", "ok", "the profile has them critical; the peer does not ask", cert(which, critical=False), "critical")
strict("usage_pck_ca_no_cert_sign", "no", "ok", "a CA that may not sign certificates; the peer does not read key usage of CAs", cert("pck_ca", usage=(CRL_SIGN,)), "key usage")
strict("path_len_root_0", "no", "ok", "the root allows no CA below it, and there is one; a trust anchor's own limits are nothing to the peer", cert("root", path_len=0), "allows a path")
strict("path_len_none", "ok", "ok", "no limit", all_of(cert("root", path_len=None), cert("pck_ca", path_len=None)))
strict("intel_pck_chain_reversed", "no", "no", "root first", chain(pck=["root", "pck_ca", "pck"]))
strict("intel_pck_chain_swapped", "no", "ok", "each certificate is followed by its issuer; the peer searches", chain(pck=["pck", "root", "pck_ca"]), "anchor")
strict("intel_pck_chain_leaf_only", "no", "no", "no issuer", chain(pck=["pck"]), "anchor")
strict("intel_pck_chain_without_root", "no", "ok", "ours wants each chain with its root; the peer has the root from elsewhere", chain(pck=["pck", "pck_ca"]), "anchor")
strict("intel_second_level", "ok", "ok", "the first level that fits, from the top", sgx(components=[6, 9, 3, 3, 255, 1, 0, 3] + [0] * 8), status="SWHardeningNeeded")
strict("intel_third_level", "ok", "ok", "the first level that fits, from the top", body(tee_tcb_svn=bytes([5, 1, 3] + [0] * 13)), status="OutOfDate")
strict("intel_below_all", "no", "no", "no level fits", body(tee_tcb_svn=bytes([5, 1, 2] + [0] * 13)), "below every TCB level")
strict("intel_module_out_of_date", "ok", "ok", "the module is older than the platform", body(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13)), status="OutOfDate")
strict("intel_qe_out_of_date", "ok", "ok", "the quoting enclave is older than the platform", qe(isvsvn=b"\3\0"), status="OutOfDate")
strict("intel_relaunch", "ok", "ok", "launched on an old module, running on the newest",
       version5(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13), tee_tcb_svn2=bytes([5, 1, 4] + [0] * 13)), status="TDRelaunchAdvised")
strict("intel_relaunch_sw_hardening", "ok", "ok", "the same on a platform of the second level",
       all_of(version5(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13), tee_tcb_svn2=bytes([5, 1, 4] + [0] * 13)), sgx(components=[6, 9, 3, 3, 255, 1, 0, 3] + [0] * 8)), status="TDRelaunchAdvised")
strict("intel_relaunch_not_newest", "ok", "ok", "what runs now is out of date as well",
       version5(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13), tee_tcb_svn2=bytes([4, 1, 4] + [0] * 13)), status="OutOfDate")
strict("intel_relaunch_platform", "ok", "ok", "launched on an old SEAM loader and the newest module: ours calls that OutOfDate as Intel did until 2026, the peer advises a relaunch",
       version5(tee_tcb_svn=bytes([5, 1, 3] + [0] * 13), tee_tcb_svn2=bytes([5, 1, 4] + [0] * 13)), status="OutOfDate")
strict("intel_relaunch_newest_is_old", "ok", "ok", "the newest module is out of date itself: relaunching is no use",
       all_of(version5(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13), tee_tcb_svn2=bytes([5, 1, 4] + [0] * 13)), module_level(tcbStatus="OutOfDate")), status="OutOfDate")
strict("intel_configuration_and_module", "ok", "ok", "both count", all_of(body(tee_tcb_svn=bytes([3, 1, 4] + [0] * 13)), lambda s: s.tcb_info["tcbLevels"][0].update(tcbStatus="ConfigurationNeeded")),
       status="OutOfDateConfigurationNeeded")
strict("intel_xfam_below", "no", "ok", "x87 and SSE are on in every TD; the peer does not look at XFAM", body(xfam=struct.pack("<Q", 0x602E4)), "XFAM")
strict("intel_xfam_above", "no", "ok", "a feature no TD may have; the peer does not look at XFAM", body(xfam=struct.pack("<Q", 0x602E7 | 1 << 63)), "XFAM")
