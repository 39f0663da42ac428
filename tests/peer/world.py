"""world.py - quotes with collateral of two shapes, under keys that a seed gives, every field open to a caller who wants it wrong:
"peer" is what the test suite of Phala's dcap-qvl makes (its own names, a PCK certificate right under the root, a TCB signer under a CA that
signs the PCK CRL too, outer certification data type 5, XFAM 0), "intel" is what hardware and our strict profile have. Written from the
layouts alone; shares no code with the verifier. Called by cases.py, mutations.py and the tests of tests/integration/test_peer_*.py."""
import copy
import functools
import hashlib
import json
import struct

import der
from p256 import Key

NOW = 1790000000  # 2026-09-21T13:33:20Z
DAY = 86400
INTEL_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
SGX = "1.2.840.113741.1.13.1"
FMSPC, PCEID = bytes.fromhex("00906ea10000"), b"\0\0"
SEPT_VE_DISABLE = 1 << 28
SIGN, CERT_SIGN, CRL_SIGN = 0, 5, 6  # bits of keyUsage, RFC 5280 sect. 4.2.1.3

# Field, bytes. The order is the layout.
BODY = [
    ("tee_tcb_svn", 16), ("mr_seam", 48), ("mr_signer_seam", 48), ("seam_attributes", 8), ("td_attributes", 8), ("xfam", 8), ("mrtd", 48),
    ("mr_config_id", 48), ("mr_owner", 48), ("mr_owner_config", 48), ("rtmr0", 48), ("rtmr1", 48), ("rtmr2", 48), ("rtmr3", 48),
    ("report_data", 64),
]
BODY15 = [("tee_tcb_svn2", 16), ("mr_service_td", 48)]
QE_REPORT = [
    ("cpusvn", 16), ("miscselect", 4), ("reserved1", 28), ("attributes", 16), ("mrenclave", 32), ("reserved2", 32), ("mrsigner", 32),
    ("reserved3", 96), ("isvprodid", 2), ("isvsvn", 2), ("reserved4", 60), ("report_data", 64),
]


@functools.lru_cache(maxsize=None)
def key_of(seed, name):
    return Key(f"{seed}/{name}".encode())


@functools.lru_cache(maxsize=65536)
def signed(seed, name, message):
    return key_of(seed, name).sign(message)


# ---- certificates ----


class Cert:
    """What a certificate is made of. key, issuer and signer are names in the sample; signer is the issuer's key where it is None."""

    def __init__(self, key, common_name, issuer, serial, **more):
        self.key, self.issuer, self.serial, self.signer = key, issuer, serial, None
        self.subject = [("CN", common_name), ("O", "Test"), ("C", "US")]
        self.issuer_name = None  # the issuer's subject
        self.not_before, self.not_after = NOW - 30 * DAY, NOW + 3000 * DAY
        self.ca, self.path_len, self.critical, self.usage = False, None, False, (SIGN,)
        self.constraints = self.key_id = self.authority_key_id = True
        self.sgx = None
        self.version, self.extra = 3, []
        self.signature_oid, self.public_key = "1.2.840.10045.4.3.2", None
        self.flip_signature = False
        self.__dict__.update(more)


def sgx_extension(e):
    """The SGX extension's value; e: see SGX_OF."""
    def entry(number, value):
        return der.sequence(der.oid(f"{SGX}.{number}"), value)

    tcb = [entry(f"2.{i + 1}", der.integer(svn)) for i, svn in enumerate(e["components"])]
    tcb += [entry("2.17", der.integer(e["pcesvn"])), entry("2.18", der.octets(e["cpusvn"] or bytes(e["components"])))]
    parts = [entry(1, der.octets(e["ppid"])), entry(2, der.sequence(*tcb)), entry(3, der.octets(e["pceid"])), entry(4, der.octets(e["fmspc"])),
             entry(5, der.enumerated(e["type"]))]
    if e["platform"]:
        flags = e.get("configuration", [(1, der.boolean(True)), (2, der.boolean(True)), (3, der.boolean(True))])
        parts += [entry(6, der.octets(e["platform"])), entry(7, der.sequence(*(entry(f"7.{number}", value) for number, value in flags)))]
    return der.sequence(*parts, *e["extra"])


SGX_OF = {
    "peer": dict(components=[11, 11, 2, 2, 255, 1] + [0] * 10, pcesvn=13, cpusvn=None, ppid=bytes(range(16)), pceid=PCEID, fmspc=FMSPC, type=0,
                 platform=None, extra=[]),
    "intel": dict(components=[7, 9, 3, 3, 255, 1, 0, 3] + [0] * 8, pcesvn=13, cpusvn=None, ppid=bytes(range(16)), pceid=PCEID, fmspc=FMSPC, type=1,
                  platform=bytes(range(16, 32)), extra=[]),
}


def extension(dotted, value, critical=False):
    return der.sequence(der.oid(dotted), *([der.boolean(True)] if critical else []), der.octets(value))


def key_identifier(xy):
    return hashlib.sha1(b"\x04" + xy).digest()


def usage_bits(usage):
    value = sum(0x80 >> bit for bit in usage)
    unused = (value & -value).bit_length() - 1 if value else 0
    return der.bits(bytes([value]), unused)


# ---- samples ----


class Built:
    """A sample as bytes: what a verifier gets."""

    def __init__(self, quote, collateral, root, layout):
        self.quote, self.collateral, self.root, self.layout = quote, collateral, root, layout

    @property
    def collateral_json(self):
        return self.collateral if isinstance(self.collateral, bytes) else json.dumps(self.collateral, indent=2).encode()


class Sample:
    """A quote and its collateral in parts. Change what you like, then build(); edit_quote and edit_collateral get the finished parts."""

    def __init__(self, shape, seed):
        self.shape, self.seed = shape, seed
        self.time = NOW
        self.root_override = None
        self.header = dict(version=4, key_type=2, tee_type=0x81, qe_svn=1, pce_svn=1, vendor=INTEL_VENDOR, user_data=bytes(20))
        self.body_type, self.descriptor = 2, None
        self.qe = {name: bytes(size) for name, size in QE_REPORT}
        self.qe["cpusvn"] = b"\1" * 16
        self.qe_hash = None  # of key and auth data
        self.auth_data = bytes(32)
        self.cert_type, self.cert_body = 5, None
        self.trailing = b""
        self.signers = dict(quote="attestation", qe_report="pck", tcb_info="signer", qe_identity="signer")
        self.attestation_key = None  # 64 bytes in place of the key that signs
        self.edit_quote, self.edit_collateral = [], []
        self.tcb_text = self.qe_text = None  # the document in place of what tcb_info and qe_identity give; signed as it is
        self.tcb_unsigned = self.qe_unsigned = None  # put in place after signing
        getattr(self, f"_{shape}")()

    def copy(self):
        return copy.deepcopy(self)

    # ---- the two shapes ----

    def _peer(self):
        self.certs = {
            "root": Cert("root", "Test Root CA", "root", 0x1001, ca=True, critical=True, usage=None),
            "tcb_ca": Cert("tcb_ca", "Test TCB Signing CA", "root", 0x1002, ca=True, path_len=0, usage=(SIGN, CERT_SIGN, CRL_SIGN)),
            "signer": Cert("signer", "Test TCB Signer", "tcb_ca", 0x1003),
            "pck": Cert("pck", "Test PCK", "root", 0x1004, sgx=copy.deepcopy(SGX_OF["peer"])),
        }
        self.chains = dict(pck=["pck", "root"], tcb_info=["signer", "tcb_ca", "root"], qe_identity=["signer", "tcb_ca", "root"],
                           pck_crl=["tcb_ca", "root"], collateral_pck=None)
        self.crls = dict(root=Crl("root"), pck=Crl("tcb_ca"))
        self.outer_type = 5
        self.body = self._body(b"\1" * 16, b"\2" * 48, 0)
        components = dict(sgxtcbcomponents=svns(), pcesvn=0, tdxtcbcomponents=svns(2))
        self.tcb_info = self._tcb_info([dict(tcb=components, tcbDate="2024-01-01T00:00:00Z", tcbStatus="UpToDate")], b"\2" * 48)
        self.qe_identity = self._qe_identity(mrsigner=bytes(32), isvprodid=0, attributes=bytes(16), mask=bytes(16))

    def _intel(self):
        def ca(*args, **more):
            return Cert(*args, ca=True, critical=True, usage=(CERT_SIGN, CRL_SIGN), usage_critical=True, **more)

        self.certs = {
            "root": ca("root", "Test SGX Root CA", "root", 0x2001, path_len=1),
            "pck_ca": ca("pck_ca", "Test SGX PCK Platform CA", "root", 0x2002, path_len=0),
            "signer": Cert("signer", "Test SGX TCB Signing", "root", 0x2003, critical=True),
            "pck": Cert("pck", "Test SGX PCK Certificate", "pck_ca", 0x2004, critical=True, sgx=copy.deepcopy(SGX_OF["intel"])),
        }
        self.chains = dict(pck=["pck", "pck_ca", "root"], tcb_info=["signer", "root"], qe_identity=["signer", "root"], pck_crl=["pck_ca", "root"],
                           collateral_pck=None)
        self.crls = dict(root=Crl("root"), pck=Crl("pck_ca"))
        self.outer_type = 6
        self.body = self._body(bytes([5, 1, 4] + [0] * 13), bytes(48), 0x602E7)
        self.qe.update(attributes=bytes([0x11] + [0] * 7 + [0xE7] + [0] * 7), mrsigner=b"\xdc" * 32, isvprodid=struct.pack("<H", 2), isvsvn=struct.pack("<H", 4))
        levels = []
        for sgx, tdx, status, advisories in ((7, 4, "UpToDate", []), (6, 4, "SWHardeningNeeded", ["INTEL-SA-00001"]), (5, 3, "OutOfDate", ["INTEL-SA-00001", "INTEL-SA-00002"])):
            tcb = dict(sgxtcbcomponents=svns(sgx, sgx, 2, 2, 255, 1, 0, 3), pcesvn=13, tdxtcbcomponents=svns(5, 0, tdx))
            levels.append(dict(tcb=tcb, tcbDate="2026-01-01T00:00:00Z", tcbStatus=status, advisoryIDs=advisories))
        self.tcb_info = self._tcb_info(levels, bytes(48), least=5)
        self.tcb_info["tdxModuleIdentities"][0]["tcbLevels"].append(dict(tcb=dict(isvsvn=2), tcbDate="2024-01-01T00:00:00Z", tcbStatus="OutOfDate"))
        mask = bytes([0xFB] + [0xFF] * 7 + [0] * 8)
        self.qe_identity = self._qe_identity(mrsigner=b"\xdc" * 32, isvprodid=2, attributes=bytes([0x11] + [0] * 15), mask=mask)
        self.qe_identity["tcbLevels"] = [dict(tcb=dict(isvsvn=4), tcbDate="2026-01-01T00:00:00Z", tcbStatus="UpToDate"),
                                         dict(tcb=dict(isvsvn=2), tcbDate="2024-01-01T00:00:00Z", tcbStatus="OutOfDate", advisoryIDs=["INTEL-SA-00003"])]

    def _body(self, svn, module_signer, xfam):
        body = {name: bytes(size) for name, size in BODY + BODY15}
        for number, name in enumerate(("mr_seam", "mrtd", "mr_config_id", "mr_owner", "mr_owner_config", "rtmr0", "rtmr1", "rtmr2", "rtmr3"), 1):
            body[name] = bytes([number + (number > 1)]) * 48
        body.update(tee_tcb_svn=svn, tee_tcb_svn2=svn, mr_signer_seam=module_signer, xfam=struct.pack("<Q", xfam), td_attributes=struct.pack("<Q", SEPT_VE_DISABLE))
        return body

    @staticmethod
    def _tcb_info(levels, module_signer, least=1):
        module = dict(mrsigner=module_signer.hex().upper(), attributes="00" * 8, attributesMask="00" * 8)
        level = dict(tcb=dict(isvsvn=least), tcbDate="2024-01-01T00:00:00Z", tcbStatus="UpToDate", advisoryIDs=[])
        return dict(id="TDX", version=3, issueDate=date(NOW - 10 * DAY), nextUpdate=date(NOW + 20 * DAY), fmspc=FMSPC.hex().upper(), pceId=PCEID.hex(), tcbType=0,
                    tcbEvaluationDataNumber=17, tdxModule=dict(module), tdxModuleIdentities=[dict(id="TDX_01", **module, tcbLevels=[level])],
                    tcbLevels=levels)

    @staticmethod
    def _qe_identity(mrsigner, isvprodid, attributes, mask):
        level = dict(tcb=dict(isvsvn=0), tcbDate="2024-01-01T00:00:00Z", tcbStatus="UpToDate", advisoryIDs=[])
        return dict(id="TD_QE", version=2, issueDate=date(NOW - 10 * DAY), nextUpdate=date(NOW + 20 * DAY), tcbEvaluationDataNumber=17, miscselect="00000000",
                    miscselectMask="FFFFFFFF", attributes=attributes.hex().upper(), attributesMask=mask.hex().upper(), mrsigner=mrsigner.hex().upper(),
                    isvprodid=isvprodid, tcbLevels=[level])

    # ---- building ----

    def key(self, name):
        return key_of(self.seed, name)

    def sign(self, name, message):
        return signed(self.seed, name, message)

    def certificate(self, name):
        c = self.certs[name]
        issuer = self.certs[c.issuer]
        algorithm = der.sequence(der.oid(c.signature_oid))
        public = c.public_key or der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7")), der.bits(b"\x04" + self.key(c.key).xy))
        constraints = der.sequence(*([der.boolean(True)] if c.ca else []), *([der.integer(c.path_len)] if c.path_len is not None else []))
        extensions = list(c.extra)
        if c.constraints:
            extensions.append(extension("2.5.29.19", constraints, c.critical))
        if c.usage is not None:
            extensions.append(extension("2.5.29.15", usage_bits(c.usage), getattr(c, "usage_critical", False)))
        if c.key_id:
            extensions.append(extension("2.5.29.14", der.octets(key_identifier(self.key(c.key).xy))))
        if c.authority_key_id:
            extensions.append(extension("2.5.29.35", der.sequence(der.tlv(0x80, key_identifier(self.key(issuer.key).xy)))))
        if c.sgx is not None:
            extensions.append(extension(SGX, c.sgx if isinstance(c.sgx, bytes) else sgx_extension(c.sgx)))
        parts = [der.integer(c.serial), algorithm, der.name(c.issuer_name or issuer.subject), der.sequence(der.time(c.not_before), der.time(c.not_after)),
                 der.name(c.subject), public]
        if c.version == 3:
            parts = [der.tlv(0xA0, der.integer(2)), *parts, der.tlv(0xA3, der.sequence(*extensions))]
        tbs = der.sequence(*parts)
        rs = self.sign(c.signer or issuer.key, tbs)
        if c.flip_signature:
            rs = rs[:63] + bytes([rs[63] ^ 1])
        return der.sequence(tbs, algorithm, der.bits(der.signature(rs)))

    def chain(self, names):
        return "".join(name if name.startswith("-----") else der.pem(self.certificate(name)) for name in names)

    def crl(self, which):
        c = self.crls[which]
        if isinstance(c, bytes):
            return c
        issuer = self.certs[c.issuer]
        algorithm = der.sequence(der.oid("1.2.840.10045.4.3.2"))
        entries = [der.sequence(der.integer(serial), der.time(NOW - 3 * DAY)) for serial in c.revoked]
        extensions = list(c.extra)
        if c.authority_key_id:
            extensions.append(extension("2.5.29.35", der.sequence(der.tlv(0x80, key_identifier(self.key(issuer.key).xy)))))
        if c.number is not None:
            extensions.append(extension("2.5.29.20", der.integer(c.number)))
        tbs = der.sequence(
            *([der.integer(1)] if c.version == 2 else []), algorithm, der.name(issuer.subject), der.time(c.this_update),
            *([der.time(c.next_update)] if c.next_update is not None else []), *([der.sequence(*entries)] if entries else []),
            *([der.tlv(0xA0, der.sequence(*extensions))] if extensions else []))
        rs = self.sign(c.signer or issuer.key, tbs)
        return der.sequence(tbs, algorithm, der.bits(der.signature(rs)))

    def collateral(self):
        tcb_info = self.tcb_text if self.tcb_text is not None else json.dumps(self.tcb_info, separators=(",", ":"))
        qe_identity = self.qe_text if self.qe_text is not None else json.dumps(self.qe_identity, separators=(",", ":"))
        out = {
            "pck_crl_issuer_chain": self.chain(self.chains["pck_crl"]),
            "root_ca_crl": self.crl("root").hex(),
            "pck_crl": self.crl("pck").hex(),
            "tcb_info_issuer_chain": self.chain(self.chains["tcb_info"]),
            "tcb_info": tcb_info if self.tcb_unsigned is None else self.tcb_unsigned,
            "tcb_info_signature": self.sign(self.signers["tcb_info"], tcb_info.encode()).hex(),
            "qe_identity_issuer_chain": self.chain(self.chains["qe_identity"]),
            "qe_identity": qe_identity if self.qe_unsigned is None else self.qe_unsigned,
            "qe_identity_signature": self.sign(self.signers["qe_identity"], qe_identity.encode()).hex(),
        }
        if self.chains["collateral_pck"] is not None:
            out["pck_certificate_chain"] = self.chain(self.chains["collateral_pck"])
        return out

    def quote(self):
        """(bytes, {field: (offset, size)})"""
        layout, out = {}, bytearray()

        def put(name, value):
            layout[name] = (len(out), len(value))
            out.extend(value)

        h = self.header
        for name, value in (("version", struct.pack("<H", h["version"])), ("key_type", struct.pack("<H", h["key_type"])), ("tee_type", struct.pack("<I", h["tee_type"])),
                            ("qe_svn", struct.pack("<H", h["qe_svn"])), ("pce_svn", struct.pack("<H", h["pce_svn"])), ("vendor", h["vendor"]), ("user_data", h["user_data"])):
            put(name, value)
        fields = QE_REPORT if self.body_type == 1 else BODY + (BODY15 if self.body_type == 3 else [])
        source = self.qe if self.body_type == 1 else self.body
        if h["version"] >= 5:
            kind, size = self.descriptor or (self.body_type, sum(size for _, size in fields))
            put("body_type", struct.pack("<H", kind))
            put("body_size", struct.pack("<I", size))
        for name, _ in fields:
            put("sgx_" + name if self.body_type == 1 else name, source[name])
        signed_part = bytes(out)
        layout["signed"] = (0, len(signed_part))
        put("auth_len", bytes(4))
        start = len(out)
        put("signature", self.sign(self.signers["quote"], signed_part))
        key = self.attestation_key or self.key("attestation").xy
        put("attestation_key", key)
        wrapped = h["version"] != 3
        if wrapped:
            put("outer_type", struct.pack("<H", self.outer_type))
            put("outer_len", bytes(4))
        outer = len(out)
        qe = dict(self.qe)
        if self.qe_hash is not None or qe["report_data"] == bytes(64):
            qe["report_data"] = self.qe_hash if self.qe_hash is not None else hashlib.sha256(key + self.auth_data).digest() + bytes(32)
        report = b"".join(qe[name] for name, _ in QE_REPORT)
        for name, _ in QE_REPORT:
            put("qe_" + name, qe[name])
        put("qe_signature", self.sign(self.signers["qe_report"], report))
        put("qe_auth_len", struct.pack("<H", len(self.auth_data)))
        put("qe_auth_data", self.auth_data)
        put("cert_type", struct.pack("<H", self.cert_type))
        body = self.cert_body if self.cert_body is not None else self.chain(self.chains["pck"]).encode()
        put("cert_len", struct.pack("<I", len(body)))
        put("cert_data", body)
        struct.pack_into("<I", out, layout["auth_len"][0], len(out) - start)
        if wrapped:
            struct.pack_into("<I", out, layout["outer_len"][0], len(out) - outer)
        put("trailing", self.trailing)
        return bytes(out), layout

    def build(self):
        quote, layout = self.quote()
        collateral = self.collateral()
        root = self.root_override or self.certificate("root")
        for edit in self.edit_quote:
            quote = edit(quote, layout)
        for edit in self.edit_collateral:
            collateral = edit(collateral) or collateral
        return Built(quote, collateral, root, layout)


class Crl:
    def __init__(self, issuer, **more):
        self.issuer, self.signer, self.revoked, self.number, self.authority_key_id = issuer, None, [], 1, True
        self.version, self.this_update, self.next_update, self.extra = 2, NOW - 10 * DAY, NOW + 3000 * DAY, []
        self.__dict__.update(more)


def svns(*values):
    """16 components, the rest 0."""
    return [dict(svn=value) for value in list(values) + [0] * (16 - len(values))]


def date(unix_s):
    import datetime as dt

    return dt.datetime.fromtimestamp(unix_s, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
