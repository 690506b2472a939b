"""Whether bytes are JSON at all: docs/formats/ledger.md, "Lines". What is not may be what a crash left of a line.

Every reader must draw this line at the same place: a byte order mark is passed over, a zero byte ends the text, numbers
beyond fp64 and halves of surrogate pairs are no JSON, and nesting does not matter.
"""
import json
import math
import re

MOST_DEPTH = 64  # objects and lists in one another; what a run writes has fewer than ten

# At a quote this always matches, to the end where the string is not closed: no byte is looked at twice.
BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def is_deep(data):
    """Whether brackets nest too deeply: no parser that works by recursion is asked before this."""
    if data.count(b"[") + data.count(b"{") <= MOST_DEPTH:
        return False
    depth = 0
    for bracket in BRACKETS.finditer(data):
        if bracket[0] in (b"[", b"{"):
            depth += 1
            if depth > MOST_DEPTH:
                return True
        elif bracket[0] in (b"]", b"}"):
            depth -= 1
    return False


def refuse_constant(text):
    raise ValueError(text)


def finite_number(text):
    if not math.isfinite(float(text)):
        raise ValueError(f"a number beyond fp64: {text[:40]}")
    return 0


def is_json(data):
    data = data.split(b"\0")[0].removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
        if is_deep(data):
            return is_nested_json(text)
        value = json.loads(text, parse_int=finite_number, parse_float=finite_number, parse_constant=refuse_constant,
                           object_pairs_hook=list)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair has no UTF-8
    except (ValueError, RecursionError):
        return False
    return True


TOKEN = re.compile(r'[ \t\n\r]*+(?:([\[\]{},:])|("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")'
                   r'|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)|(true|false|null))')
VALUE, VALUE_OR_END, KEY, KEY_OR_END, COLON, AFTER = range(6)


def is_nested_json(text):
    """The same without recursion, for what nests deeply. Raises ValueError as the parser does."""
    at, stack, expected = 0, [], VALUE
    while match := TOKEN.match(text, at):
        at = match.end()
        sign, string, number, _ = match.groups()
        if string:
            json.loads(string).encode("utf-8")
        if number:
            finite_number(number)
        if sign in ("[", "{") and expected in (VALUE, VALUE_OR_END):
            stack.append(sign)
            expected = VALUE_OR_END if sign == "[" else KEY_OR_END
        elif sign in ("]", "}"):
            allowed = (AFTER, VALUE_OR_END) if sign == "]" else (AFTER, KEY_OR_END)
            if expected not in allowed or not stack or stack.pop() != {"]": "[", "}": "{"}[sign]:
                return False
            expected = AFTER
        elif sign == ":" and expected == COLON:
            expected = VALUE
        elif sign == "," and expected == AFTER and stack:
            expected = VALUE if stack[-1] == "[" else KEY
        elif string and expected in (KEY, KEY_OR_END):
            expected = COLON
        elif sign is None and expected in (VALUE, VALUE_OR_END):
            expected = AFTER
        else:
            return False
    return expected == AFTER and not stack and text[at:].strip(" \t\n\r") == ""
