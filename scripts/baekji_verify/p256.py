"""ECDSA on the curve P-256 with SHA-256, verification only: FIPS 186-5, section 6.4.2; SEC 1, sections 2.3.4 and C.8."""
import hashlib
import re

from .files import read_file
from .notes import strict_base64
from .report import require

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
# What stands before the 65 bytes of an uncompressed point in a public key of this curve (RFC 5480).
PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


INFINITY = (1, 1, 0)


def double_point(a):
    """Jacobian coordinates (X, Y, Z), x = X / Z^2, y = Y / Z^3; Z is 0 at infinity."""
    x, y, z = a
    delta, gamma = z * z % P, y * y % P
    beta, alpha = x * gamma % P, 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, 2 * y * z % P


def add_points(a, b):
    if a[2] == 0 or b[2] == 0:
        return b if a[2] == 0 else a
    za, zb = a[2] * a[2] % P, b[2] * b[2] % P
    u, s = a[0] * zb % P, a[1] * zb * b[2] % P
    h, r = (b[0] * za - u) % P, (b[1] * za * a[2] - s) % P
    if h == 0:
        return double_point(a) if r == 0 else INFINITY
    hh, hhh = h * h % P, h * h * h % P
    x3 = (r * r - hhh - 2 * u * hh) % P
    return x3, (r * (u * hh - x3) - s * hhh) % P, h * a[2] * b[2] % P


def multiply_sum(m, a, n, b):
    """The x of m a + n b, for points (x, y); None at infinity."""
    a, b = (*a, 1), (*b, 1)
    choices = (None, a, b, add_points(a, b))
    result = INFINITY
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        result = double_point(result)
        choice = (m >> bit & 1) + 2 * (n >> bit & 1)
        if choice:
            result = add_points(result, choices[choice])
    return None if result[2] == 0 else result[0] * pow(result[2], -2, P) % P


def is_on_curve(point):
    x, y = point
    return x < P and y < P and (y * y - x * x * x + 3 * x - B) % P == 0


def der_integers(data):
    """The two numbers of a signature in DER, in their one spelling; None otherwise."""
    if len(data) < 8 or len(data) > 72 or data[0] != 0x30 or data[1] != len(data) - 2:
        return None
    numbers, at = [], 2
    for _ in range(2):
        if at + 2 > len(data) or data[at] != 0x02:
            return None
        body = data[at + 2:at + 2 + data[at + 1]]
        plain = 0 < len(body) == data[at + 1] and body[0] < 0x80 and not (len(body) > 1 and body[0] == 0 and body[1] < 0x80)
        if not plain:
            return None
        numbers.append(int.from_bytes(body, "big"))
        at += 2 + len(body)
    return numbers if at == len(data) else None


def verify_p256(key, message, signature):
    """Whether `signature` (DER) is that of `message` under the public point `key`."""
    numbers = der_integers(signature)
    if numbers is None or not all(1 <= number < ORDER for number in numbers):
        return False
    r, s = numbers
    e, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, ORDER)
    x = multiply_sum(e * inverse % ORDER, BASE, r * inverse % ORDER, key)
    return x is not None and x % ORDER == r


def read_p256_key(path):
    """(point, key id) of a PEM file as `openssl pkey -pubout` writes it; the id is the SHA-256 of that text."""
    data = read_file(path, 2**16)
    match = re.fullmatch(rb"-----BEGIN PUBLIC KEY-----\n((?:[A-Za-z0-9+/=]{1,64}\n)+)-----END PUBLIC KEY-----\n", data)
    der = strict_base64(match[1].replace(b"\n", b"").decode()) if match else b""
    require(len(der) == 91 and der.startswith(PREFIX) and der[26] == 4, "not a public key on the curve P-256",
            "what `openssl pkey -pubout` writes", data[:200], path)
    point = int.from_bytes(der[27:59], "big"), int.from_bytes(der[59:], "big")
    require(is_on_curve(point), "a public key that is no point of the curve", "P-256", point, path)
    return point, hashlib.sha256(data).hexdigest()
