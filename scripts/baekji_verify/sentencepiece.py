"""What an export takes from a tokenizer.model: the pieces, and which of them ends a document.

The file is a protocol buffer, `ModelProto` of SentencePiece: field 1 is a piece (1: text, 3: type), field 2 the trainer's
settings (45 and 47: the pieces for what is unknown and for the end).
"""
from .report import Rejected, require

NORMAL, UNKNOWN, CONTROL = 1, 2, 3


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
        require(shift < 70, "not a protocol buffer", "a number of 64 bits", "more", "tokenizer.model")


def fields(data):
    """(number, value) of each field: a number, or bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 2, 5):
            size, at = varint(data, at) if wire == 2 else (8 if wire == 1 else 4, at)
            value, at = data[at:at + size], at + size
            require(at <= len(data), "a protocol buffer ends inside a field", at, len(data), "tokenizer.model")
        else:
            raise Rejected("not a protocol buffer", "a field of a known kind", wire, "tokenizer.model")
        yield tag >> 3, value


class Tokenizer:
    def __init__(self, data):
        self.pieces, names = [], {45: b"<unk>", 47: b"</s>"}
        for number, value in fields(data):
            if number == 1:
                piece = dict(fields(value))
                self.pieces.append((piece.get(1, b""), piece.get(3, NORMAL)))
            elif number == 2:
                names.update({n: v for n, v in fields(value) if n in names and v})
        self.unknown, self.end = self.find(names[45], UNKNOWN), self.find(names[47], CONTROL)

    def find(self, text, kind):
        index = next((i for i, piece in enumerate(self.pieces) if piece == (text, kind)), None)
        require(index is not None, "the tokenizer lacks a piece", text, "none", "tokenizer.model")
        return index

    def text(self, index):
        return self.pieces[index][0].decode("utf-8")
