"""Signed notes and the keys that sign them: docs/formats/log.md, "Checkpoint"."""
import base64
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from .canonical import sha256
from .ed25519 import decode_point, verify_ed25519
from .files import NOTE, read_file
from .report import require

OWNER, WITNESS = 0x01, 0x04  # kinds of keys


def strict_base64(text):
    """The bytes; none when text is not their one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def read_public_key(path):
    """The 32 bytes of a PEM file as `openssl pkey -pubout` writes it; what is fixed before them is RFC 8410's."""
    text = read_file(path, 2**16).decode("ascii", "replace")
    begin, end = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
    match = re.fullmatch(rf"{begin}\s+MCowBQYDK2VwAyEA([A-Za-z0-9+/]{{43}}=)\s+{end}\s*", text)
    key = strict_base64(match[1]) if match else b""
    require(len(key) == 32 and decode_point(key), "not an Ed25519 public key", "what `openssl pkey -pubout` writes", text, path)
    return key


def short_name(key):
    return sha256(key).hex()[:8]


def clock(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds < 2**36 else f"POSIX time {seconds}"


@dataclass
class Note:
    where: Path
    text: str
    signatures: list  # (key name, key id, signature)

    def lines(self, count, what, layout):
        """The lines of a text of so many."""
        lines = self.text.split("\n")
        require(len(lines) == count + 1 and lines[-1] == "", f"not {what}", layout, self.text, self.where)
        return lines[:-1]


def is_control(character):
    return ord(character) < 0x20 or ord(character) == 0x7F


def read_note(path, most_bytes=NOTE):
    data = read_file(path, most_bytes)
    at = data.rfind(b"\n\n")
    try:
        text, below = data[:at + 1].decode("utf-8"), data[at + 2:-1].decode("utf-8")
    except UnicodeDecodeError:
        text = below = ""
    whole = at > 0 and data.endswith(b"\n") and at + 2 < len(data)
    require(whole and text and not any(is_control(c) and c != "\n" for c in text), "not a signed note",
            "a text, an empty line, signatures", data[:200], path)
    note = Note(path, text, [])
    for line in below.split("\n"):
        match = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/]+={0,2})", line)
        blob = strict_base64(match[2]) if match and not any(map(is_control, match[1])) else b""
        require(len(blob) > 4, "not a signature line", "a dash, a key name, base64", line, path)
        note.signatures.append((match[1], blob[:4], blob[4:]))
    return note


def signatures_of(note, name, kind, key):
    key_id = sha256(name.encode() + bytes([0x0A, kind]) + key)[:4]
    return [signature for who, which, signature in note.signatures if (who, which) == (name, key_id)]


def owner_signed(note, name, key):
    """Whether this key signed the note; a false signature is refused."""
    found = signatures_of(note, name, OWNER, key)
    for signature in found:
        require(verify_ed25519(key, note.text.encode(), signature), f"a signature of {name} is false",
                f"an Ed25519 signature by {key.hex()}", signature.hex(), note.where)
    return bool(found)


def require_signed(note, name, key):
    require(owner_signed(note, name, key), f"not signed by key {short_name(key)}", name,
            [who for who, _, _ in note.signatures], note.where)


def cosigned_at(note, name, key):
    """The witness's first time, or None; a false signature is refused."""
    times = []
    for signature in signatures_of(note, name, WITNESS, key):
        require(len(signature) == 72, "a cosignature has 72 bytes", 72, len(signature), note.where)
        times.append(struct.unpack(">Q", signature[:8])[0])
        message = b"cosignature/v1\ntime %d\n" % times[-1] + note.text.encode()
        require(verify_ed25519(key, message, signature[8:]), f"a signature of {name} is false",
                f"an Ed25519 signature by {key.hex()}", signature.hex(), note.where)
    return min(times, default=None)


def decimal(text, least=0):
    """The number in its one spelling, or None."""
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text) or not least <= int(text) < 2**63:
        return None
    return int(text)
