"""der.py - writes the little DER that certificates and CRLs take, right or wrong as the caller likes. Reads nothing. Called by world.py.
Spec: ITU-T X.690; RFC 5280 appendix A."""
import base64
import datetime as dt
import functools


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def sequence(*parts):
    return tlv(0x30, *parts)


def integer(value):
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def enumerated(value):
    return tlv(0x0A, bytes([value]))


def boolean(value):
    return tlv(0x01, b"\xff" if value else b"\0")


def octets(value):
    return tlv(0x04, value)


def bits(value, unused=0):
    return tlv(0x03, bytes([unused]), value)


@functools.lru_cache(maxsize=None)
def oid(dotted):
    numbers = [int(n) for n in dotted.split(".")]
    out = bytearray([numbers[0] * 40 + numbers[1]])
    for number in numbers[2:]:
        group = [number & 0x7F]
        while number := number >> 7:
            group.append(number & 0x7F | 0x80)
        out += bytes(reversed(group))
    return tlv(0x06, bytes(out))


def time(unix_s):
    at = dt.datetime.fromtimestamp(unix_s, dt.timezone.utc)
    if at.year < 2050:
        return tlv(0x17, at.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())


def name(parts):
    """[("CN", "Test"), ("C", "US")]: one RDN each, in this order."""
    types = {"CN": "2.5.4.3", "O": "2.5.4.10", "L": "2.5.4.7", "ST": "2.5.4.8", "C": "2.5.4.6"}
    return sequence(*(tlv(0x31, sequence(oid(types[t]), tlv(0x13 if t == "C" else 0x0C, text.encode()))) for t, text in parts))


def signature(rs):
    """ECDSA-Sig-Value."""
    return sequence(integer(int.from_bytes(rs[:32], "big")), integer(int.from_bytes(rs[32:], "big")))


def pem(der, label="CERTIFICATE"):
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
