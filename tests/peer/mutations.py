"""mutations.py - one random change to a good quote or its collateral: bytes that no signature was made for, parts of another sample, and
documents, certificates and reports that are signed again after the change, so that what they say is judged and not their signature.
Called by tests/integration/test_peer_differential.py."""
import dataclasses
import json
import pathlib
import struct
from typing import Optional

import p256
from world import BODY, BODY15, DAY, NOW, QE_REPORT, Crl, Sample, date, svns

STATUSES = ["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"]
HEX = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
PEM = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
DOCUMENTS = ("tcb_info", "qe_identity")


@dataclasses.dataclass
class Input:
    """What verifiers are given. shape "peer": our relaxed profile is asked, else the library. root None: Intel's."""
    name: str
    shape: str
    quote: bytes
    collateral: dict
    root: Optional[bytes]
    time: int
    origin: "Optional[Input]" = None  # the good one that this was made of

    @property
    def collateral_json(self):
        return self.collateral if isinstance(self.collateral, bytes) else json.dumps(self.collateral).encode()


def of_sample(name, sample):
    built = sample.build()
    return Input(name, sample.shape, built.quote, built.collateral, built.root, sample.time)


def sample_cases(folder):
    """The cases of EE_TESTDATA: [(Input or None, quote, case)]."""
    index = json.loads((folder / "tdx/index.json").read_text())
    out = []
    for entry in index["vectors"]:
        path = pathlib.Path(folder) / "tdx" / entry["path"]
        case = json.loads((path / "case.json").read_text())
        quote = (path / "quote.bin").read_bytes()
        given = None
        if case["mode"] == "verify":
            root = (path / "root_ca.der").read_bytes() if (path / "root_ca.der").exists() else None
            given = Input(entry["path"], "intel", quote, json.loads((path / "collateral.json").read_text()), root, case["now"])
        out.append((given, quote, case, entry["path"]))
    return out


# ---- bytes of a quote ----


def layout_of(quote):
    """{field: (offset, size)} of a well-formed TDX quote."""
    at, out = 0, {}

    def take(name, size):
        nonlocal at
        out[name] = (at, size)
        at += size
        return quote[at - size : at]

    version = struct.unpack("<H", take("version", 2))[0]
    for name, size in (("key_type", 2), ("tee_type", 4), ("qe_svn", 2), ("pce_svn", 2), ("vendor", 16), ("user_data", 20)):
        take(name, size)
    kind = 2
    if version == 5:
        kind = struct.unpack("<H", take("body_type", 2))[0]
        take("body_size", 4)
    for name, size in BODY + (BODY15 if kind == 3 else []):
        take(name, size)
    for name, size in (("auth_len", 4), ("signature", 64), ("attestation_key", 64), ("outer_type", 2), ("outer_len", 4)):
        take(name, size)
    for name, size in QE_REPORT:
        take("qe_" + name, size)
    take("qe_signature", 64)
    take("qe_auth_data", struct.unpack("<H", take("qe_auth_len", 2))[0])
    take("cert_type", 2)
    take("cert_data", struct.unpack("<I", take("cert_len", 4))[0])
    return out


def change_bytes(rng, data):
    """One small accident."""
    at = rng.randrange(len(data))
    kind = rng.randrange(7)
    if kind <= 2:
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + data[at + 1 :]
    return data[:at] + data[at : at + 1 + rng.randrange(8)] + data[at:]


def quote_bytes(rng, given, _):
    return dataclasses.replace(given, quote=change_bytes(rng, given.quote))


def quote_field(rng, given, other):
    """A field set to something else, exchanged with another of its size, or taken from another quote."""
    layout = layout_of(given.quote)
    name = rng.choice([name for name in layout if layout[name][1]])
    at, size = layout[name]
    kind = rng.randrange(5)
    value = given.quote[at : at + size]
    if kind == 0:
        value = bytes(size)
    elif kind == 1:
        value = b"\xff" * size
    elif kind == 2 and size <= 4:
        number = int.from_bytes(value, "little") + rng.choice((-2, -1, 1, 2, 6, 256))
        value = (number % 256**size).to_bytes(size, "little")
    elif kind == 3:
        twins = [n for n in layout if layout[n][1] == size and n != name]
        if twins:
            twin = rng.choice(twins)
            first, second = sorted((at, layout[twin][0]))
            q = given.quote
            return dataclasses.replace(given, quote=q[:first] + q[second : second + size] + q[first + size : second] + q[first : first + size] + q[second + size :])
        value = bytes(reversed(value))
    elif name in (theirs := layout_of(other.quote)) and theirs[name][1] == size:
        value = other.quote[theirs[name][0] : theirs[name][0] + size]
    else:
        value = bytes(reversed(value))
    return dataclasses.replace(given, quote=given.quote[:at] + value + given.quote[at + size :])


def quote_twin(rng, given, _):
    """(r, n - s), which is as good; or r and s in each other's place, which is not."""
    at, size = layout_of(given.quote)[rng.choice(("signature", "qe_signature"))]
    rs = given.quote[at : at + size]
    rs = p256.other_half(rs) if rng.randrange(3) else rs[32:] + rs[:32]
    return dataclasses.replace(given, quote=given.quote[:at] + rs + given.quote[at + size :])


def quote_tail(rng, given, other):
    """Another's signature data under this report, or something after it."""
    mine, theirs = layout_of(given.quote), layout_of(other.quote)
    if rng.randrange(2):
        return dataclasses.replace(given, quote=given.quote + rng.choice((b"\0", bytes(70), b"text", other.quote)))
    return dataclasses.replace(given, quote=given.quote[: mine["auth_len"][0]] + other.quote[theirs["auth_len"][0] :])


# ---- bytes of a collateral ----


def with_field(given, name, value):
    return dataclasses.replace(given, collateral=dict(given.collateral, **{name: value}))


def collateral_text(rng, given, _):
    name = rng.choice([n for n in HEX + PEM + DOCUMENTS + ("pck_certificate_chain",) if n in given.collateral])
    text = given.collateral[name]
    if name in HEX and rng.randrange(3):
        raw = change_bytes(rng, bytes.fromhex(text))
        return with_field(given, name, raw.hex())
    at = rng.randrange(len(text))
    kind = rng.randrange(5)
    if kind == 0:
        text = text[:at] + rng.choice("0123456789abcdefABCDEF+/=-\n \"{}[],:") + text[at + 1 :]
    elif kind == 1:
        text = text[:at] + text[at + 1 :]
    elif kind == 2:
        text = text[:at] + rng.choice("0aZ \n\"") + text[at:]
    elif kind == 3:
        text = text[:at]
    else:
        text = text[:at] + chr(ord(text[at]) ^ 1 << rng.randrange(6)) + text[at + 1 :]
    return with_field(given, name, text)


def collateral_swap(rng, given, other):
    """A part from another collateral, or from another place of this one."""
    name = rng.choice(HEX + PEM + DOCUMENTS)
    if rng.randrange(2):
        return with_field(given, name, other.collateral[name])
    group = next(g for g in (HEX[:2], HEX[2:], PEM, DOCUMENTS) if name in g)
    twin = rng.choice([n for n in group if n != name])
    return dataclasses.replace(given, collateral=dict(given.collateral, **{name: given.collateral[twin], twin: given.collateral[name]}))


def collateral_shape(rng, given, _):
    name = rng.choice(sorted(given.collateral))
    kind = rng.randrange(5)
    changed = dict(given.collateral)
    if kind == 0:
        del changed[name]
    elif kind == 1:
        changed[name] = rng.choice((None, 0, [], {}, "", True))
    elif kind == 2:
        changed[f"new_{rng.randrange(100)}"] = rng.choice((None, 1, "x", [1], {"a": {}}))
    else:
        text = json.dumps(changed).encode()
        return dataclasses.replace(given, collateral=text[: rng.randrange(len(text))] if kind == 3 else text + rng.choice((b" ", b"\n", b"x", b"{}", b"\0")))
    return dataclasses.replace(given, collateral=changed)


def clock(rng, given, _):
    edges = [NOW - 30 * DAY, NOW - 10 * DAY, NOW + 20 * DAY, NOW + 3000 * DAY, NOW] if given.root else [given.time]
    return dataclasses.replace(given, time=max(1, rng.choice(edges) + rng.choice((-1, 0, 1, -DAY, DAY, -400 * DAY, 400 * DAY))))


# ---- signed again ----


def near(rng, value, most=255):
    return max(0, min(most, value + rng.choice((-2, -1, -1, 0, 0, 0, 0, 1, 1, 2))))


def random_levels(rng, sample):
    """TCB levels around what the platform has, so that each comparison is decided both ways."""
    levels = []
    have, running = sample.certs["pck"].sgx["components"], sample.body["tee_tcb_svn"]
    for _ in range(rng.randrange(1, 6)):
        sgx = [near(rng, svn) if rng.randrange(4) == 0 else max(0, svn - rng.randrange(2)) for svn in have]
        tdx = [near(rng, svn) if rng.randrange(4) == 0 else max(0, svn - rng.randrange(2)) for svn in running]
        tcb = dict(sgxtcbcomponents=svns(*sgx), pcesvn=near(rng, 13, 65535), tdxtcbcomponents=svns(*tdx))
        levels.append(dict(tcb=tcb, tcbDate="2025-01-01T00:00:00Z", tcbStatus=rng.choice(STATUSES[:6] if rng.randrange(6) else STATUSES),
                           advisoryIDs=[f"INTEL-SA-{rng.randrange(9):05}" for _ in range(rng.randrange(3))]))
    levels.sort(key=lambda e: [c["svn"] for c in e["tcb"]["sgxtcbcomponents"]] + [e["tcb"]["pcesvn"]] + [c["svn"] for c in e["tcb"]["tdxtcbcomponents"]], reverse=True)
    if rng.randrange(8):  # one that everything reaches, so that most are accepted
        levels.append(dict(tcb=dict(sgxtcbcomponents=svns(), pcesvn=0, tdxtcbcomponents=svns()), tcbDate="2023-01-01T00:00:00Z", tcbStatus=rng.choice(STATUSES[:6])))
    if not rng.randrange(4):
        rng.shuffle(levels)
    sample.tcb_info["tcbLevels"] = levels


def svn_levels(rng, around, words):
    chosen = sorted({max(0, around + rng.randrange(-3, 3)) for _ in range(rng.randrange(1, 4))} | ({0} if rng.randrange(4) else set()), reverse=True)
    return [dict(tcb=dict(isvsvn=svn), tcbDate="2025-01-01T00:00:00Z", tcbStatus=rng.choice(words), advisoryIDs=[f"INTEL-SA-{rng.randrange(9):05}"] * rng.randrange(2)) for svn in chosen]


WORDS = ["UpToDate"] * 6 + ["OutOfDate"] * 6 + ["Revoked"]


def signed_levels(rng, sample):
    """Statuses: platform, module and quoting enclave at random levels; a TD 1.5 with another module running than it was launched with."""
    if rng.randrange(2):
        sample.header["version"], sample.body_type = 5, rng.choice((2, 3, 3, 3))
    svn = bytes([rng.randrange(1, 6), rng.choice((0, 1, 1, 1, 1, 2)), rng.randrange(2, 6), *([rng.randrange(2)] * 13)])
    now = svn if rng.randrange(2) else bytes([near(rng, svn[0]) or 1, rng.choice((svn[1], 0, 1, 2)), near(rng, svn[2]), *svn[3:]])
    sample.body.update(tee_tcb_svn=svn, tee_tcb_svn2=now)
    random_levels(rng, sample)
    known = dict(sample.tcb_info["tdxModuleIdentities"][0])
    sample.tcb_info["tdxModuleIdentities"] = [dict(known, id=f"TDX_0{n}", tcbLevels=svn_levels(rng, svn[0], WORDS)) for n in rng.sample((1, 2, 3), rng.choice((1, 2, 3, 3, 3)))]
    if rng.randrange(2):
        sample.qe["isvsvn"] = struct.pack("<H", 4)
        sample.qe_identity["tcbLevels"] = svn_levels(rng, 4, WORDS)


def places(node, path=()):
    """Every value in a document, with the way to it."""
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


ODD = [None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**32, 2**64, 1.5, "", "0", "zz", "00", "TDX", "TD_QE", [], {}, [[]], "UpToDate", "OutOfDate", "Revoked",
       "2026-09-21T13:33:20Z", "2026-09-21", "9999-12-31T23:59:59Z", "\u00e9", "\0", "x" * 5000]


def signed_document(rng, sample):
    """Any value of either document replaced, removed, doubled or moved."""
    document = rng.choice((sample.tcb_info, sample.qe_identity))
    node, key = rng.choice(list(places(document)))
    kind = rng.randrange(6)
    if kind <= 2:
        node[key] = rng.choice(ODD)
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, list):
        node.append(node[key])
    elif isinstance(node[key], str):
        text = node[key]
        at = rng.randrange(len(text) + 1)
        node[key] = rng.choice((text.lower(), text.upper(), text[:at], text + "0", text[:at] + "f" + text[at + 1 :]))
    elif isinstance(node[key], int):
        node[key] += rng.choice((-1, 1, 16, 255))
    else:
        node[key] = rng.choice(ODD)


def signed_text(rng, sample):
    """The text of a document as no writer of JSON would have it."""
    which = rng.choice(("tcb", "qe"))
    text = json.dumps(sample.tcb_info if which == "tcb" else sample.qe_identity)
    name = rng.choice(list(sample.tcb_info if which == "tcb" else sample.qe_identity))
    kind = rng.randrange(8)
    at = rng.randrange(len(text))
    if kind == 0:
        text = text[:-1] + f', "{name}": 1}}'
    elif kind == 1:
        text = text[:-1] + ', "new": {"a": 1, "a": 2}}'
    elif kind == 2:
        text = text + rng.choice((" ", "\n", "x", "{}", ","))
    elif kind == 3:
        text = text[:at]
    elif kind == 4:
        text = text.replace(f'"{name}"', '"\\u%04x%s"' % (ord(name[0]), name[1:]))
    elif kind == 5:
        text = text.replace("0", "00", 1) if rng.randrange(2) else text.replace(": ", ":\t", 3)
    elif kind == 6:
        text = text[:at] + rng.choice(" \"{}[],:0\\") + text[at + 1 :]
    else:
        text = "\ufeff" + text
    setattr(sample, "tcb_text" if which == "tcb" else "qe_text", text)


def signed_dates(rng, sample):
    document = rng.choice((sample.tcb_info, sample.qe_identity))
    name, sign = rng.choice((("issueDate", 1), ("nextUpdate", -1)))
    document[name] = date(NOW + sign * rng.choice((-1, 0, 1, -DAY, DAY)))


def signed_report(rng, sample):
    """Fields of TD report, QE report and header, with good signatures over them."""
    if rng.randrange(3) == 0:
        sample.header["version"], sample.body_type = 5, rng.choice((2, 3))
    kind = rng.randrange(4)
    if kind == 0:
        name, size = rng.choice(BODY + BODY15)
        sample.body[name] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), b"\1" + bytes(size - 1)))
    elif kind == 1:
        name, size = rng.choice(QE_REPORT)
        sample.qe[name] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), b"\1" + bytes(size - 1)))
    elif kind == 2:
        bits = rng.sample(range(64), rng.choice((1, 1, 1, 2, 3)))
        sample.body["td_attributes"] = struct.pack("<Q", (0 if rng.randrange(8) == 0 else 1 << 28) | sum(1 << b for b in bits if b != 28))
    else:
        name = rng.choice(("version", "key_type", "tee_type", "qe_svn", "pce_svn"))
        sample.header[name] = rng.choice((0, 1, 2, 3, 4, 5, 6, 0x81, 0xFFFF))


def signed_certificate(rng, sample):
    """A certificate that says something else and is signed all the same, or that is revoked."""
    name = rng.choice(list(sample.certs))
    c = sample.certs[name]
    kind = rng.randrange(9)
    if kind == 0:
        c.not_before = NOW + rng.choice((-1, 0, 1, -DAY, DAY))
    elif kind == 1:
        c.not_after = NOW + rng.choice((-1, 0, 1, -DAY, DAY))
    elif kind == 2:
        c.ca = not c.ca
    elif kind == 3:
        c.path_len = rng.choice((None, 0, 1, 2)) if c.ca else None
    elif kind == 4:
        c.usage = rng.choice((None, (0,), (5,), (6,), (5, 6), (0, 5, 6), (1,)))
    elif kind == 5:
        c.signer = rng.choice(list(sample.certs))
    elif kind == 6:
        c.subject = rng.choice(list(sample.certs.values())).subject
    elif kind == 7:
        sample.crls[rng.choice(("root", "pck"))].revoked = [rng.choice(list(sample.certs.values())).serial, *rng.sample(range(10**6), 3)]
    elif c.sgx:
        c.sgx.update(rng.choice((dict(pcesvn=rng.randrange(65536)), dict(components=[near(rng, v) for v in c.sgx["components"]]), dict(fmspc=rng.randbytes(6)),
                                 dict(pceid=b"\0\1"), dict(type=rng.randrange(4)), dict(platform=rng.choice((None, bytes(16)))), dict(ppid=rng.randbytes(16)))))
    else:
        c.issuer_name = rng.choice(list(sample.certs.values())).subject


def signed_crl(rng, sample):
    which = rng.choice(("root", "pck"))
    c = sample.crls[which]
    kind = rng.randrange(6)
    if kind == 0:
        c.next_update = rng.choice((None, NOW - 1, NOW, NOW + 1))
    elif kind == 1:
        c.this_update = NOW + rng.choice((-1, 0, 1, DAY))
    elif kind == 2:
        c.signer = rng.choice(list(sample.certs))
    elif kind == 3:
        sample.crls[which] = Crl(rng.choice([n for n in sample.certs if sample.certs[n].ca]))
    elif kind == 4:
        c.number = rng.choice((None, 0, 2**64))
    else:
        c.authority_key_id = False


def signed_chain(rng, sample):
    which = rng.choice(list(sample.chains))
    names = list(sample.certs)
    chain = list(sample.chains[which] or sample.chains["pck"])
    kind = rng.randrange(4)
    if kind == 0:
        chain.insert(rng.randrange(len(chain) + 1), rng.choice(names))
    elif kind == 1:
        del chain[rng.randrange(len(chain))]
    elif kind == 2:
        rng.shuffle(chain)
    else:
        chain[rng.randrange(len(chain))] = rng.choice(names)
    sample.chains[which] = chain


def signed_by(rng, sample):
    sample.signers[rng.choice(list(sample.signers))] = rng.choice([*sample.certs, "attestation", "nobody"])


def signed_certification(rng, sample):
    """Certification data of other types and QE authentication data of other lengths."""
    if rng.randrange(2):
        sample.auth_data = rng.randbytes(rng.choice((0, 1, 31, 32, 33, 64, 1000)))
        return
    sample.cert_type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7))
    if rng.randrange(3):
        sample.chains["collateral_pck"] = sample.chains["pck"]
    if sample.cert_type != 5:
        sample.cert_body = rng.randbytes(rng.choice((36, 276, 404)))


UNSIGNED = [(quote_bytes, 6), (quote_field, 6), (quote_twin, 1), (quote_tail, 1), (collateral_text, 6), (collateral_swap, 2), (collateral_shape, 2), (clock, 2)]
SIGNED = [(signed_levels, 10), (signed_document, 6), (signed_text, 3), (signed_dates, 1), (signed_report, 4), (signed_certificate, 4), (signed_crl, 2), (signed_chain, 3),
          (signed_by, 1), (signed_certification, 2)]


def weighted(rng, table):
    return rng.choices([edit for edit, _ in table], [weight for _, weight in table])[0]


def mutants(rng, seed, originals, count):
    """count inputs, each with one change. originals: accepted inputs to change without a signature, samples of ours among them."""
    good = {shape: of_sample(shape, Sample(shape, seed)) for shape in ("peer", "intel")}
    for number in range(count):
        if rng.randrange(2):
            given, other = rng.choice(originals), rng.choice(originals)
            edit = weighted(rng, UNSIGNED)
            changed = dataclasses.replace(edit(rng, given, other), origin=given)
        else:
            shape = rng.choice(("peer", "intel"))
            sample = Sample(shape, seed)
            edit = weighted(rng, SIGNED)
            edit(rng, sample)
            changed = dataclasses.replace(of_sample(shape, sample), origin=good[shape])
        yield dataclasses.replace(changed, name=f"{number} {edit.__name__} of {changed.name}")
