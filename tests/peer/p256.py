"""p256.py - ECDSA over P-256 with SHA-256 that signs the same message alike each time, so that a seed gives the same bytes on every machine.
For keys of tests alone: its time depends on the key. Called by world.py. Spec: FIPS 186-4, SEC 1."""
import hashlib
import hmac

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def _add(a, b):
    """Jacobian coordinates; Z = 0 is the point at infinity."""
    if not a[2]:
        return b
    if not b[2]:
        return a
    z1, z2 = a[2] * a[2] % P, b[2] * b[2] % P
    u1, u2 = a[0] * z2 % P, b[0] * z1 % P
    s1, s2 = a[1] * b[2] * z2 % P, b[1] * a[2] * z1 % P
    h, r = (u2 - u1) % P, (s2 - s1) % P
    if not h:
        return (0, 1, 0) if r else _double(a)
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x = (r * r - hhh - 2 * v) % P
    return x, (r * (v - x) - s1 * hhh) % P, h * a[2] * b[2] % P


def _double(a):
    x, y, z = a
    if not z:
        return a
    zz, yy = z * z % P, y * y % P
    s, m = 4 * x * yy % P, 3 * (x - zz) * (x + zz) % P
    out = (m * m - 2 * s) % P
    return out, (m * (s - out) - 8 * yy * yy) % P, 2 * y * z % P


def _table():
    """64 rows of 15 multiples of G: one addition for each four bits of a scalar."""
    rows, base = [], (*G, 1)
    for _ in range(64):
        row = [base]
        for _ in range(14):
            row.append(_add(row[-1], base))
        rows.append(row)
        base = _add(row[-1], base)
    return rows


TABLE = _table()


def multiply(k):
    """k * G as (x, y)."""
    at = (0, 1, 0)
    for row in TABLE:
        if k & 15:
            at = _add(at, row[(k & 15) - 1])
        k >>= 4
    inverse = pow(at[2], -1, P)
    return at[0] * inverse * inverse % P, at[1] * inverse * inverse * inverse % P


class Key:
    """A private key of the given seed."""

    def __init__(self, seed):
        self.d = int.from_bytes(hashlib.sha512(seed).digest(), "big") % (N - 1) + 1
        x, y = multiply(self.d)
        self.xy = x.to_bytes(32, "big") + y.to_bytes(32, "big")

    def sign(self, message):
        """r || s."""
        digest = hashlib.sha256(message).digest()
        k = int.from_bytes(hmac.new(self.d.to_bytes(32, "big"), b"nonce" + digest, hashlib.sha512).digest(), "big") % (N - 1) + 1
        r = multiply(k)[0] % N
        s = pow(k, -1, N) * (int.from_bytes(digest, "big") + r * self.d) % N
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def other_half(signature):
    """(r, n - s) verifies where (r, s) does."""
    return signature[:32] + (N - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
