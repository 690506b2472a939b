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


def add_points(a, b):
    """Affine; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply_point(scalar, point):
    result = None
    while scalar > 0:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result


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
    point = add_points(multiply_point(e * inverse % ORDER, BASE), multiply_point(r * inverse % ORDER, key))
    return point is not None and point[0] % ORDER == r


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
