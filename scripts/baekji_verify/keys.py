"""Whose log it is: docs/formats/log.md, "Opening", "Keys" and "Revocations"."""
import os
import re
from dataclasses import dataclass

from .canonical import is_hex, sha256
from .files import names_in
from .notes import decimal, owner_signed, read_note, require_signed, short_name, strict_base64
from .report import require, require_equal


@dataclass
class Key:
    """A key of the chain: it signs from `start` to `end` (None: it is in force), and not beyond `until`."""
    key: bytes
    start: int
    end: int = None
    until: int = None


class KeyChain:
    """Opening, hand-overs and revocations, with every signature of them."""

    def __init__(self, log, contract_digest, revocations):
        self.log, self.contract = log, contract_digest
        note = read_note(log / "opening")
        lines = note.text.split("\n")
        require(len(lines) >= 4 and lines[-1] == "", "not the opening of a log", "contract, key, kernel sets", note.text, note.where)
        self.require_contract(lines[0], "baekji/opening", note.where)
        first = self.key_in(lines[1], note.where)
        self.kernel_sets = []
        for line in lines[2:-1]:
            digest = line.removeprefix("kernel_set ")
            ascends = not self.kernel_sets or self.kernel_sets[-1] < digest
            require(line.startswith("kernel_set ") and is_hex(digest, 64) and ascends, "not an admissible kernel set",
                    "kernel_set <digest>, ascending, each once", line, note.where)
            self.kernel_sets.append(digest)
        require_signed(note, "baekji/opening", first)
        self.opening = sha256(note.text.encode()).hex()
        self.keys = [Key(first, 0)]
        self.files = 1
        self.read_hand_overs()
        for name in self.names("revoked"):
            self.revoke(log / "revoked" / name, name)
        for path in revocations:
            self.revoke(path, None)
        for index, key in enumerate(self.keys[:-1]):
            require(key.until is None or key.end <= key.until, "a key was handed over that is revoked",
                    f"a hand-over at size {key.until} or before", self.describe(index), log)

    def require_contract(self, line, name, where):
        require_equal(f"{name}/{self.contract}", line, "a note of the log is of another contract, or another note", where)

    def key_in(self, line, where):
        key = strict_base64(line)
        require(len(key) == 32, "not a key", "base64 of 32 bytes", line, where)
        return key

    def names(self, folder):
        if not os.path.lexists(self.log / folder):
            return []
        return [name for name in names_in(self.log / folder) if not name.endswith(".new")]

    def read_hand_overs(self):
        for name in self.names("keys"):
            where = self.log / "keys" / name
            require_equal(f"{len(self.keys):04}", name, "hand-overs of keys are numbered without a gap", where)
            note = read_note(where)
            lines = note.lines(4, "a hand-over", "contract, old key, new key, size")
            self.require_contract(lines[0], "baekji/key", where)
            old, new, size = self.key_in(lines[1], where), self.key_in(lines[2], where), decimal(lines[3], 1)
            last = self.keys[-1]
            require(size is not None, "the size of a hand-over", "a decimal number from 1", lines[3], where)
            require(old == last.key, "a key hands over that is not in force", short_name(last.key), short_name(old), where)
            require(self.find(new) is None, "a key cannot come back", "a key that this log never had", short_name(new), where)
            require(size > last.start, "a hand-over lies in the past", f"a size above {last.start}", size, where)
            for key in (old, new):
                require_signed(note, "baekji/key", key)
            last.end = size
            self.keys.append(Key(new, size))
            self.files += 1

    def revoke(self, path, name):
        note = read_note(path)
        lines = note.lines(3, "a revocation", "contract, key, size")
        self.require_contract(lines[0], "baekji/revoked", path)
        key, size = self.key_in(lines[1], path), decimal(lines[2])
        require(size is not None, "the size of a revocation", "a decimal number", lines[2], path)
        index = self.find(key)
        require(index is not None, "a revocation is of a key that this log never had", self.short_names(), short_name(key), path)
        require(name is None or name == short_name(key), "a revocation lies under the name of another key", short_name(key), name, path)
        signed = [owner_signed(note, "baekji/revoked", later.key) for later in self.keys[index:]]
        require(any(signed), "a revocation is signed by nobody who may", "the key itself, or a later one of the log",
                [who for who, _, _ in note.signatures], path)
        until = self.keys[index].until
        self.keys[index].until = size if until is None else min(until, size)
        self.files += name is not None

    def find(self, key):
        return next((index for index, known in enumerate(self.keys) if known.key == key), None)

    def short_names(self):
        return ", ".join(short_name(key.key) for key in self.keys)

    def require_given(self, key):
        """The key that a verifier was told must be one of the chain."""
        index = self.find(key)
        require(index is not None, "the key is none of this log's", self.short_names(), short_name(key), self.log)
        return index

    def signer(self, note, name, size):
        """The index of the key that signed a checkpoint of this size. Every key of the chain is asked: one that may not
        have signed it makes it false."""
        signer = None
        for index, key in enumerate(self.keys):
            if not owner_signed(note, name, key.key):
                continue
            most = min(x for x in (key.end, key.until, 2**63) if x is not None)
            require(key.start <= size <= most, "a checkpoint is signed by a key that may not sign it",
                    f"sizes {key.start} to {most}", f"size {size} by {self.describe(index)}", note.where)
            signer = index
        require(signer is not None, "no signature of a key of this log", self.short_names(),
                [who for who, _, _ in note.signatures], note.where)
        return signer

    def describe(self, index):
        key = self.keys[index]
        text = f"key {index + 1} of {len(self.keys)} ({short_name(key.key)})"
        text += ", in force" if key.end is None else f", handed over at size {key.end}"
        return text + ("" if key.until is None else f", revoked beyond size {key.until}")


def is_key_file(path):
    return re.fullmatch("opening|keys/[0-9]{4}|revoked/[0-9a-f]{8}", path) is not None
