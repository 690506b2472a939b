"""Canonical JSON and the forms of its values: docs/formats/contract.md, "Canonical JSON"."""
import hashlib
import json
import math
import re
from decimal import Decimal

from .json_text import MOST_DEPTH, is_deep
from .report import Rejected, require

def sha256(data):
    return hashlib.sha256(data).digest()


def refuse_number(text):
    raise ValueError(f"a floating-point number: {text[:40]}")


def whole_number(text):
    value = int(text) if len(text) <= 20 else 2**64
    if not -2**63 <= value < 2**64:
        raise ValueError(f"a number beyond 64 bits: {text[:40]}")
    return value


def parse_canonical(data, where):
    """The value of bytes that are canonical JSON; all others are refused."""
    require(not is_deep(data), "JSON that nests too deeply", f"at most {MOST_DEPTH} levels", "more", where)
    try:
        value = json.loads(data.decode("utf-8"), parse_int=whole_number, parse_float=refuse_number,
                           parse_constant=refuse_number)
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Rejected("not canonical JSON", "canonical JSON", str(error), where) from None
    if again != data:
        at = next((i for i, (a, b) in enumerate(zip(again, data)) if a != b), min(len(again), len(data)))
        raise Rejected("not canonical JSON", again[at:at + 40], data[at:at + 40], f"{where}, byte {at}")
    return value


def canonical(value):
    """The canonical bytes of a value without floating-point numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def is_integer(value, least=0, most=2**63 - 1):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


HEX = re.compile("[0-9a-f]*")


def is_hex(value, digits):
    return isinstance(value, str) and len(value) == digits and HEX.fullmatch(value) is not None


def is_fp64_bits(value):
    """docs/formats/ledger.md, "Fp64 values": every NaN has one spelling."""
    if not is_hex(value, 16):
        return False
    return int(value, 16) & (2**63 - 1) <= 0x7FF0000000000000 or value == "7ff8000000000000"


def is_real(value):
    """docs/formats/contract.md, "Real numbers": the shortest digits of a finite fp64, as ECMAScript writes them."""
    plain, power = r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", r"-?[1-9](\.[0-9]*[1-9])?e[+-][1-9][0-9]*"
    if not isinstance(value, str) or len(value) > 40 or not re.fullmatch(f"{plain}|{power}", value) or value == "-0":
        return False
    number = float(value)
    form = plain if number == 0 or 1e-6 <= abs(number) < 1e21 else power
    return math.isfinite(number) and re.fullmatch(form, value) is not None and Decimal(value) == Decimal(repr(number))


FORMS = {
    "digest": (lambda v: is_hex(v, 64), "64 lower-case hex digits"),
    "bits": (is_fp64_bits, "the bits of an fp64: 16 lower-case hex digits"),
    "bytes": (lambda v: isinstance(v, str) and re.fullmatch("([0-9a-f]{2})+", v) is not None, "bytes in hex"),
    "count": (is_integer, "an integer of at least 0"),
    "positive": (lambda v: is_integer(v, 1), "an integer of at least 1"),
    "real": (is_real, "a real number as text"),
    "text": (lambda v: isinstance(v, str), "a string"),
    "name": (lambda v: isinstance(v, str) and v != "", "a string, not empty"),
    "flag": (lambda v: isinstance(v, bool), "true or false"),
    "object": (lambda v: isinstance(v, dict), "an object"),
    "array": (lambda v: isinstance(v, list), "an array"),
    "texts": (lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v), "an array of strings"),
    "digests": (lambda v: isinstance(v, list) and all(is_hex(t, 64) for t in v), "an array of digests"),
    "reals": (lambda v: isinstance(v, list) and all(is_real(t) for t in v), "an array of real numbers as text"),
}


def check_members(value, forms, where, optional=None):
    """`value` is an object with exactly these members (and some of the optional ones), each of its form."""
    require(isinstance(value, dict), "not an object", "an object", value, where)
    optional = optional or {}
    for name, form in {**forms, **optional}.items():
        if name not in value:
            require(name in optional, "a member is missing", name, sorted(value), where)
            continue
        fits, wanted = FORMS[form]
        require(fits(value[name]), f"member {name} has the wrong form", wanted, value[name], where)
    unknown = sorted(set(value) - set(forms) - set(optional))
    require(not unknown, "members that do not belong there", sorted(forms), unknown, where)
