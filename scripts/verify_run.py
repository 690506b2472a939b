#!/usr/bin/env python3
"""Verifies a run of Baekji from its files, with nothing but Python's standard library.

  verify_run.py RUN                           ledger, contract, log and seed of a run folder
  verify_run.py RUN --key OWNER.pem           also the owner's signatures
  verify_run.py RUN --witness NAME=PUB.pem    also a witness's; may stand several times
  verify_run.py RUN --witnessed NOTE          the ledger must contain this earlier checkpoint of its log
  verify_run.py RUN --head HEX                the ledger must contain the line with this SHA-256
  verify_run.py RUN --chunks DIR              the state that `baekji chunks` wrote must be one of the ledger's
  verify_run.py RUN --genesis all             computes step 0 again from the contract: some 7 s for a million weights
  verify_run.py RUN --chunks STEP0 --genesis N    the same for N chunks of an exported step 0, drawn by a nonce

The exit status is 0 only if everything that was asked passed. This file shares no code with the program that made the
run; it was written from docs/formats/*.md, and every section names the page that it follows. Read it from top to
bottom: each section uses only what stands above it. It trusts SHA-256, this machine, the public keys that it is given,
and nothing in the run folder. It reads no training data and does not train: only a replay can tell whether the batch and
the arithmetic of a step are right.
"""
import argparse
import base64
import hashlib
import itertools
import json
import math
import os
import re
import secrets
import struct
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path


# ==== 1. Refusing, and saying so ======================================================================================
class Rejected(Exception):
    """A check that did not pass: what must hold, both values, the place."""

    def __init__(self, what, required, came, where):
        super().__init__(what)
        self.what, self.required, self.came, self.where = what, required, came, where

def show(value, most=160):
    """A value from a file as printable ASCII, not too long."""
    text = str(value) if isinstance(value, (str, Path)) else repr(value)
    text = ascii(text)[1:-1] if not (text.isascii() and text.isprintable()) else text
    return text if len(text) <= most else text[:most] + "..."

class Report:
    """One line for each check; three more when it fails."""

    def __init__(self):
        self.failures = 0

    def note(self, what, text):
        print(f"note    {what}: {text}", flush=True)

    def fail(self, what, error):
        self.failures += 1
        print(f"FAILED  {what}: {show(error.what)}\n          required: {show(error.required)}\n"
              f"          came:     {show(error.came)}\n          where:    {show(error.where, 400)}", flush=True)

    def check(self, what, function, *arguments):
        """Calls function, which gives (result, text) or raises; gives the result, or None where it was refused."""
        try:
            result, text = function(*arguments)
        except Rejected as error:
            return self.fail(what, error)
        except OSError as error:
            return self.fail(what, Rejected("cannot be read", "a readable file", error.strerror, error.filename))
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            # Every known kind of damage is refused by name above; what was not foreseen is refused all the same.
            return self.fail(what, Rejected("could not be checked", "well-formed input", repr(error), what))
        print(f"ok      {what}: {text}", flush=True)
        return result

def require(holds, what, required, came, where):
    if not holds:
        raise Rejected(what, required, came, where)

def require_equal(required, came, what, where):
    require(required == came, what, required, came, where)

def read_file(path, most_bytes):
    """A whole regular file; one that is larger than anything it could hold is refused unread."""
    require(path.is_file(), "a file is missing", "a regular file", "none", path)
    with open(path, "rb") as file:
        data = file.read(most_bytes + 1)
    require(len(data) <= most_bytes, "a file is too long", f"at most {most_bytes} bytes", "more", path)
    return data


# ==== 2. Canonical JSON and the forms of its values: docs/formats/contract.md, "Canonical JSON" =======================
def sha256(data):
    return hashlib.sha256(data).digest()

def refuse_number(text):
    raise ValueError(f"a floating-point number: {text}")

def whole_number(text):
    value = int(text)
    if not -2**63 <= value < 2**64:
        raise ValueError(f"a number beyond 64 bits: {text}")
    return value

def parse_canonical(data, where):
    """The value of bytes that are canonical JSON; all others are refused."""
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

def is_json(data):
    try:
        json.loads(data.decode("utf-8"), parse_constant=refuse_number)
    except (ValueError, RecursionError):
        return False
    return True

def is_integer(value, least=0, most=2**63 - 1):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

def is_hex(value, digits):
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value) is not None

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
}

def check_members(value, forms, where, optional=None, others=False):
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
    require(others or not unknown, "members that do not belong there", sorted(forms), unknown, where)


# ==== 3. The contract: docs/formats/contract.md; the parameters of its model: docs/formats/parameters.md ==============
MODEL = {
    "head_dim": "count",
    **dict.fromkeys("layers hidden heads kv_heads ffn vocab context".split(), "positive"),
    **dict.fromkeys("qk_norm output_norms tied_embeddings document_mask init_residual_scaling".split(), "flag"),
    **dict.fromkeys("rope_theta norm_eps init_std embedding_multiplier attention_multiplier residual_multiplier "
                    "logits_multiplier".split(), "real")}
CHUNK = 65536  # elements
BEACONS = {"drand-quicknet": (1692803367, 3), "drand-default": (1595431050, 30)}  # time of round 1, period

@dataclass(frozen=True)
class Contract:
    digest: str
    value: dict

    def position(self, batch):
        """docs/formats/batch-order.md: the sequences of batches 1 to `batch`."""
        ends = [stage["from_step"] - 1 for stage in self.value["stages"][1:]] + [batch]
        return sum(max(0, min(batch, end) - stage["from_step"] + 1) * stage["global_batch"]
                   for stage, end in zip(self.value["stages"], ends))

    def batch_tokens(self, batch):
        stage = [stage for stage in self.value["stages"] if stage["from_step"] <= batch][-1]
        return stage["global_batch"] * stage["context"]

def read_contract(path):
    data = read_file(path, 2**24)
    value = parse_canonical(data, path)
    seed = {"beacon": "object"} if isinstance(value, dict) and "beacon" in value else {"seed": "count"}
    check_members(value, {**dict.fromkeys(("formats", "model", "numerics", "optimizer"), "object"), "format": "text",
                          "sources": "array", "stages": "array", "tokenizer": "digest", **seed}, path)
    require_equal("baekji-contract-1", value["format"], "another format", path)
    formats = dict.fromkeys(("batch_order", "checkpoint", "genesis", "ledger", "state_root", "token_store"), 1)
    require_equal(formats, value["formats"], "formats that this program does not know", path)
    if "beacon" in value:
        check_members(value["beacon"], {"name": "text", "round": "positive"}, f"{path}: beacon")
    check_members(value["model"], MODEL, f"{path}: model")
    check_members(value["numerics"], {"tensor_grains": "positive"}, f"{path}: numerics", others=True)
    for i, source in enumerate(value["sources"]):
        check_members(source, {"data_root": "digest", "name": "text", "weight": "real"}, f"{path}: sources[{i}]")
    before = 0
    for i, stage in enumerate(value["stages"]):
        where = f"{path}: stages[{i}]"
        check_members(stage, {"context": "positive", "from_step": "positive", "global_batch": "positive",
                              "micro_batch": "positive", "rope_theta": "real", "weights": "array"}, where)
        require(stage["from_step"] == 1 if i == 0 else stage["from_step"] > before, "stages are not in order",
                "1, then ascending", stage["from_step"], where)
        before = stage["from_step"]
    require(before > 0, "a contract needs a stage", "one at least", "none", path)
    return Contract(sha256(data).hex(), value), f"canonical, {len(data)} bytes, digest {sha256(data).hex()}"

class Tensor:
    """A parameter and its slices: docs/formats/state-root.md, "Geometry". `kind` is "normal" with a standard deviation,
    or "constant"; padded_rows is 0 where the tensor is not padded."""

    def __init__(self, name, shape, split, slices, padded_rows, kind, value):
        self.name, self.shape, self.split, self.slices = name, shape, split, slices
        self.padded_rows, self.kind, self.value = padded_rows, kind, value
        self.rows, self.columns = (1, *shape)[-2:]
        self.all_rows = padded_rows or self.rows
        self.slice_rows = self.all_rows // (slices if split == "rows" else 1)
        self.slice_columns = self.columns // (slices if split == "columns" else 1)
        self.slice_elements = self.slice_rows * self.slice_columns
        self.chunks = -(-self.slice_elements // CHUNK)

    def chunk_elements(self, chunk):
        return min(CHUNK, self.slice_elements - chunk * CHUNK)

    def geometry(self):
        return {"name": self.name, "padded_rows": self.padded_rows, "shape": list(self.shape), "slices": self.slices,
                "split": self.split}

def declare_parameters(contract, where):
    """docs/formats/parameters.md: every parameter that [model] has, sorted by name."""
    m, grains = contract.value["model"], contract.value["numerics"]["tensor_grains"]
    hidden, ffn, std = m["hidden"], m["ffn"], float(m["init_std"])
    require(m["layers"] <= 10**5 and max(hidden, ffn, m["vocab"], m["heads"], m["kv_heads"], m["head_dim"]) <= 2**32,
            "a model beyond what this program takes", "at most 100,000 layers, extents up to 2^32", m, where)
    width = m["head_dim"] or hidden // m["heads"]
    require(math.gcd(hidden, ffn, m["kv_heads"]) % grains == 0 and m["heads"] % m["kv_heads"] == 0 and
            (m["head_dim"] > 0 or width * m["heads"] == hidden), "the model cannot be cut", "parameters.md", m, where)
    residual_std = std / math.sqrt(2.0 * float(m["layers"])) if m["init_residual_scaling"] else std / 1.0
    tensors = []

    def gain(name, extent):
        tensors.append(Tensor(name, (extent,), "none", 1, 0, "constant", 1.0))

    def matrix(name, rows, columns, split, deviation, padded_rows=0):
        tensors.append(Tensor(name, (rows, columns), split, grains, padded_rows, "normal", deviation))

    for name in ("embedding",) if m["tied_embeddings"] else ("embedding", "head"):
        matrix(name, m["vocab"], hidden, "rows", std, -(-m["vocab"] // grains) * grains)
    gain("final_norm", hidden)
    for layer in range(m["layers"]):
        attention, feed_forward = f"layers.{layer}.attention.", f"layers.{layer}.feed_forward."
        for name, rows in (("q", m["heads"] * width), ("k", m["kv_heads"] * width), ("v", m["kv_heads"] * width)):
            matrix(attention + name, rows, hidden, "rows", std)
        for name in ("gate", "up"):
            matrix(feed_forward + name, ffn, hidden, "rows", std)
        matrix(attention + "output", hidden, m["heads"] * width, "columns", residual_std)
        matrix(feed_forward + "down", hidden, ffn, "columns", residual_std)
        for prefix in (attention, feed_forward):
            gain(prefix + "norm", hidden)
            if m["output_norms"]:
                gain(prefix + "output_norm", hidden)
        if m["qk_norm"]:
            gain(attention + "q_norm", width)
            gain(attention + "k_norm", width)
    return sorted(tensors, key=lambda tensor: tensor.name.encode())


# ==== 4. The ledger: docs/formats/ledger.md ===========================================================================
STEP = {"step": "positive", "batch_root": "digest", "loss": "bits", "gradient_norm": "bits", "learning_rate": "bits",
        "position": "count", "tokens": "count", "updates": "count", "void": "flag"}
KERNEL_SET = {**dict.fromkeys(("device", "processor", "instruction_set", "compiler"), "text"), "libraries": "object",
              "numerics_sources": "digest"}

@dataclass
class Ledger:
    """What the lines read so far say. `contract` may be None: then nothing is held against it."""
    contract: Contract
    genesis: dict = None
    lines: list = field(default_factory=list)   # SHA-256 of each line
    leaves: list = field(default_factory=list)  # RFC 6962 leaf hash of each line
    kinds: dict = field(default_factory=dict)   # how many records of each kind
    steps: list = field(default_factory=list)   # (tokens, updates) after step i + 1, along the history that counts
    roots: dict = field(default_factory=dict)   # step to state root, along the history that counts
    known: set = field(default_factory=set)     # every (step, state root) that the ledger holds
    skipped: list = field(default_factory=list)  # ranges of batches that rollbacks left out, merged and sorted
    torn_bytes: int = 0

    def batch(self, step):
        """The batch that optimizer step `step` trains on: the step-th number that is in no skipped range."""
        batch = step
        for first, last in self.skipped:
            if first <= batch:
                batch += last - first + 1
        return batch

    def add_root(self, step, root, where):
        require_equal(self.roots.get(step, root), root, f"two state roots of step {step}", where)
        self.roots[step] = root
        self.known.add((step, root))

    def take_line(self, line, where):
        record = parse_canonical(line, where)
        check_members(record, {"body": "object", "index": "count", "kind": "text", "previous": "digest"}, where)
        require_equal(self.lines[-1].hex() if self.lines else "0" * 64, record["previous"],
                      "the chain is broken: previous is not the SHA-256 of the line before", where)
        require_equal(len(self.lines), record["index"], "a record has the wrong index", where)
        kind, body = record["kind"], record["body"]
        require((kind == "genesis") == (not self.lines), "a ledger begins with its one genesis record",
                "genesis" if not self.lines else "another kind", kind, where)
        take = {"genesis": self.take_genesis, "step": self.take_step, "event": self.take_event}.get(kind)
        if take:
            take(body, where)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.lines.append(sha256(line))
        self.leaves.append(sha256(b"\0" + line))

    def take_genesis(self, body, where):
        check_members(body, {"format": "text", "contract": "digest", "kernel_set": "object", "state_root": "digest"},
                      where, {"seed": "object"})
        require_equal("baekji.ledger.v1", body["format"], "another format", where)
        check_members(body["kernel_set"], KERNEL_SET, f"{where}: kernel_set")
        for name, text in body["kernel_set"]["libraries"].items():
            require(isinstance(text, str), "a library is described by text", "a string", text, f"{where}: {name}")
        if "seed" in body:
            check_members(body["seed"], {"value": "bytes"}, f"{where}: seed")
        if self.contract:
            require_equal(self.contract.digest, body["contract"], "the ledger belongs to another contract", where)
            require_equal("beacon" in self.contract.value, "seed" in body,
                          "seed stands in genesis when, and only when, the contract names a beacon", where)
        self.genesis = body
        self.add_root(0, body["state_root"], where)

    def take_step(self, body, where):
        check_members(body, STEP, where, {"void_tensor": "name", "state_root": "digest"})
        step = body["step"]
        require_equal(len(self.steps) + 1, step, "steps are not in order", where)
        require_equal(body["void"], "void_tensor" in body, "only a void step names a tensor", where)
        tokens, updates = self.steps[-1] if self.steps else (0, 0)
        require_equal(updates + (not body["void"]), body["updates"], "updates do not count the steps not void", where)
        if self.contract:
            batch = self.batch(step)
            require_equal(self.contract.position(batch), body["position"], f"position is not batch {batch}'s", where)
            require_equal(tokens + self.contract.batch_tokens(batch), body["tokens"], "tokens do not add up", where)
        self.steps.append((body["tokens"], body["updates"]))
        if "state_root" in body:
            self.add_root(step, body["state_root"], where)

    def take_event(self, body, where):
        check_members(body, {"event": "text"}, where, others=True)
        if body["event"] == "checkpoint":
            check_members(body, {"event": "text", "state_root": "digest", "step": "count"}, where, others=True)
            require(body["step"] <= len(self.steps), "a checkpoint of a step that has no record",
                    f"at most {len(self.steps)}", body["step"], where)
            self.add_root(body["step"], body["state_root"], where)
        elif body["event"] == "rollback":
            check_members(body, {"event": "text", "to": "count", "skip": "array"}, where, others=True)
            self.roll_back(body["to"], body["skip"], where)

    def roll_back(self, to, skip, where):
        require(to in self.roots and to <= len(self.steps), "a rollback goes to a state whose root the ledger holds",
                f"one of {sorted(self.roots)}", to, where)
        before = self.batch(to) if to > 0 else 0
        require(len(skip) == 2 and all(is_integer(n, 1) for n in skip) and before < skip[0] <= skip[1],
                "a rollback skips batches behind its state's", f"[from, to], {before} < from <= to", skip, where)
        del self.steps[to:]
        self.roots = {step: root for step, root in self.roots.items() if step <= to}
        merged = []
        for first, last in sorted([*self.skipped, tuple(skip)]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self.skipped = merged

def read_ledger(path, contract=None):
    require(path.is_file(), "a run has a ledger", "a regular file", "none", path)
    ledger = Ledger(contract)
    size_bytes = path.stat().st_size
    with open(path, "rb") as file:
        while line := file.readline():
            whole, last = line.endswith(b"\n"), file.tell() >= size_bytes
            text = line[:-1] if whole else line
            if ledger.lines and last and not (whole and is_json(text)):  # what a crash leaves; readers leave it out
                ledger.torn_bytes = len(line)
                break
            where = f"{path}, line {len(ledger.lines) + 1}"
            require(whole, "the ledger ends inside its first record", "a newline", "none", where)
            ledger.take_line(text, where)
    require(ledger.lines, "the ledger is empty", "a genesis record", "no line", path)
    kinds = ", ".join(f"{count} {show(kind, 20)}" for kind, count in ledger.kinds.items())
    return ledger, (f"{len(ledger.lines)} records ({kinds}), chained; steps 1 to {len(ledger.steps)} in order, every "
                    f"member; {len(ledger.known)} state roots")


# ==== 5. Ed25519: RFC 8032, sections 5.1.3, 5.1.4 and 5.1.7 ===========================================================
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)

def add_points(a, b):
    """Extended homogeneous coordinates (X, Y, Z, T), x = X/Z, y = Y/Z, xy = T/Z."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P

def multiply_point(scalar, point):
    result = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result

def decode_point(data):
    """None when the 32 bytes are no point."""
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P != 0 or (x == 0 and sign == 1):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P

def encode_point(point):
    x, y = (value * pow(point[2], P - 2, P) % P for value in point[:2])
    return (y | (x & 1) << 255).to_bytes(32, "little")

BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))

def verify_ed25519(public_key, message, signature):
    """Whether [S]B = R + [k]A, without the cofactor."""
    a, s = decode_point(public_key), int.from_bytes(signature[32:], "little")
    if a is None or len(signature) != 64 or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % ORDER
    minus_a = (P - a[0], a[1], a[2], P - a[3])
    return encode_point(add_points(multiply_point(s, BASE), multiply_point(k, minus_a))) == signature[:32]

def read_public_key(path):
    """The 32 bytes of a PEM file as `openssl pkey -pubout` writes it; what is fixed before them is RFC 8410's."""
    text = read_file(path, 2**16).decode("ascii", "replace")
    begin, end = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
    match = re.fullmatch(rf"{begin}\s+MCowBQYDK2VwAyEA([A-Za-z0-9+/]{{43}}=)\s+{end}\s*", text)
    key = base64.b64decode(match[1]) if match else b""
    require(match and decode_point(key), "not an Ed25519 public key", "what `openssl pkey -pubout` writes", text, path)
    return key


# ==== 6. Trees and signed notes: docs/formats/log.md, "Tree" and "Checkpoint"; RFC 6962, section 2.1 ==================
OWNER, WITNESS = 0x01, 0x04  # kinds of keys

def tree_root(leaves, begin=0, end=None):
    """The root over leaf hashes [begin, end), at least one."""
    end = len(leaves) if end is None else end
    if end - begin == 1:
        return leaves[begin]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    return sha256(b"\1" + tree_root(leaves, begin, middle) + tree_root(leaves, middle, end))

def strict_base64(text):
    """The bytes; none when text is not their one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""

@dataclass
class Note:
    where: Path
    text: bytes
    signatures: list  # (key name, key id, signature)

def read_note(path):
    data = read_file(path, 2**20)
    at = data.rfind(b"\n\n")
    require(at > 0 and data.endswith(b"\n"), "not a signed note", "a text, an empty line, signatures", repr(data), path)
    note = Note(path, data[:at + 1], [])
    for line in data[at + 2:-1].split(b"\n"):
        match = re.fullmatch("\u2014 ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})", line.decode("utf-8", "replace"))
        blob = strict_base64(match[2]) if match else b""
        require(len(blob) > 4, "not a signature line", "a dash, a key name, base64", repr(line), path)
        note.signatures.append((match[1], blob[:4], blob[4:]))
    return note

def verify_signature(note, name, kind, public_key):
    """How often this key signed the note, and a witness's first time. A false signature is refused."""
    key_id = sha256(name.encode() + bytes([0x0A, kind]) + public_key)[:4]
    count, times = 0, []
    for _, _, signature in (s for s in note.signatures if s[:2] == (name, key_id)):
        message = note.text
        if kind == WITNESS:
            require(len(signature) == 72, "a cosignature has 72 bytes", 72, len(signature), note.where)
            times.append(struct.unpack(">Q", signature[:8])[0])
            message, signature = b"cosignature/v1\ntime %d\n" % times[-1] + note.text, signature[8:]
        require(verify_ed25519(public_key, message, signature), f"a signature of {name} is false",
                f"an Ed25519 signature by {public_key.hex()}", signature.hex(), note.where)
        count += 1
    return count, min(times, default=None)

def parse_checkpoint(note, contract_digest):
    """(size, root) of a log's checkpoint."""
    lines = note.text.decode("utf-8", "replace").split("\n")
    require(len(lines) == 4 and lines[3] == "", "a checkpoint has three lines", 3, len(lines) - 1, note.where)
    require_equal(f"baekji/{contract_digest}", lines[0], "a checkpoint of another log: its origin", note.where)
    require(re.fullmatch("[1-9][0-9]{0,17}", lines[1]), "the size of a log", "a decimal number", lines[1], note.where)
    root = strict_base64(lines[2])
    require(len(root) == 32, "the root of a log", "base64 of 32 bytes", lines[2], note.where)
    return int(lines[1]), root

def require_contained(size, root, ledger, where):
    require(size <= len(ledger.leaves), "the ledger lacks published entries", size, len(ledger.leaves), where)
    require_equal(root.hex(), tree_root(ledger.leaves, 0, size).hex(),
                  f"the first {size} lines of the ledger have another root", where)


# ==== 7. The published log: docs/formats/log.md, "Files" ==============================================================
TILE = 256  # nodes of a tile

def tile_name(level, number, width):
    groups = [group.zfill(3) for group in f"{number:,}".split(",")]
    return "/".join([str(level), *("x" + g for g in groups[:-1]), groups[-1]]) + (f".p/{width}" if width < TILE else "")

def parse_tile_name(name):
    """(level, number, width), or None for what is no name of a tile."""
    match = re.fullmatch(r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?", name)
    if not match:
        return None
    level = match[1] if match[1] == "entries" else int(match[1])
    number, width = int(match[2].replace("/", "").replace("x", "")), int(match[3] or TILE)
    return (level, number, width) if tile_name(level, number, width) == name and width > 0 else None

def tree_levels(leaves):
    levels = [leaves]
    while len(levels[-1]) >= TILE:
        below = levels[-1]
        levels.append([tree_root(below, i, i + TILE) for i in range(0, len(below) - TILE + 1, TILE)])
    return levels

def tile_hashes(path, level, width):
    """The hashes that a tile holds; those of an entry bundle are its entries' leaf hashes."""
    data = read_file(path, TILE * (2 + 65535))
    if level != "entries":
        require_equal(32 * width, len(data), "a tile has the wrong size (bytes)", path)
        return [data[i:i + 32] for i in range(0, len(data), 32)]
    hashes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        require(at + 2 + size <= len(data), "an entry ends behind its file", size, len(data) - at - 2, path)
        hashes.append(sha256(b"\0" + data[at + 2:at + 2 + size]))
        at += 2 + size
    require_equal(width, len(hashes), "a bundle has the wrong number of entries", path)
    return hashes

def check_tiles(folder, size, ledger):
    levels = tree_levels(ledger.leaves)
    present = set()
    for path in sorted(Path(base) / name for base, _, files in os.walk(folder) for name in files):
        tile = parse_tile_name(path.relative_to(folder).as_posix())
        if tile is None:
            continue  # what a crash left of a file that was not yet renamed
        level, number, width = tile
        depth, first = 0 if level == "entries" else level, number * TILE
        nodes = levels[depth] if depth < len(levels) else []
        require(first + width <= len(nodes), "a tile holds more than the ledger", len(nodes), first + width, path)
        for i, came in enumerate(tile_hashes(path, level, width)):
            require_equal(nodes[first + i].hex(), came.hex(), f"node {first + i} is not the ledger's", path)
        present.add(tile)
    for level in ("entries", *range(len(levels))):
        nodes = size >> (0 if level == "entries" else 8 * level)
        for number in range(-(-nodes // TILE)):
            width = min(TILE, nodes - number * TILE)
            # A complete tile serves for its partial forms.
            require({(level, number, width), (level, number, TILE)} & present, "a tile is missing",
                    tile_name(level, number, width), "nothing", folder)
    return present

def check_log(folder, ledger):
    note = read_note(folder / "checkpoint")
    size, root = parse_checkpoint(note, ledger.genesis["contract"])
    require_contained(size, root, ledger, note.where)
    present = check_tiles(folder / "tile", size, ledger)
    return note, (f"size {size} of {len(ledger.lines)} lines, root {root.hex()}; {len(present)} tiles and bundles, "
                  "every hash and entry")


# ==== 8. Keys, witnesses and the seed: docs/formats/log.md, "Contract note"; docs/formats/contract.md, "Seed" =========
class Signatures:
    """The notes of a run, held against the keys that the evaluator has."""

    def __init__(self, report, key_path, witnesses):
        self.report, self.owner = report, None
        self.witnesses, self.cosigned = {}, set()
        if key_path:
            self.owner = report.check("key", lambda: (read_public_key(key_path), f"Ed25519, {key_path}"))
        for option in witnesses:
            name, _, path = option.partition("=")
            key = report.check(f"witness {show(name)}", lambda: (read_public_key(Path(path)), f"Ed25519, {path}"))
            if key:
                self.witnesses[name] = key

    def hold(self, what, note, owner_name):
        """Every signature of a known key; gives the witnesses' times by name."""
        times = {}

        def signed(name, kind, key):
            count, when = verify_signature(note, name, kind, key)
            if kind == WITNESS and count > 0:
                times[name] = when
                self.cosigned.add(name)
            names = [signature[0] for signature in note.signatures]
            require(count > 0 or kind == WITNESS, "no signature of the owner's key", owner_name, names, note.where)
            how = "not cosigned" if count == 0 else f"{count} Ed25519 signature of the key given"
            return count, f"{note.where}: {how}" + (f", {clock(when)}" if name in times else "")

        if self.owner:
            self.report.check(f"{what}, owner", signed, owner_name, OWNER, self.owner)
        else:
            self.report.note(f"{what}, owner", "signature not checked: no --key")
        for name, key in self.witnesses.items():
            self.report.check(f"{what}, witness {show(name)}", signed, name, WITNESS, key)
        return times

    def require_all(self):
        for name in sorted(set(self.witnesses) - self.cosigned):
            self.report.fail(f"witness {show(name)}",
                             Rejected("a witness that cosigned nothing", "a cosignature", "none", "all notes read"))

def clock(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds < 2**36 else f"POSIX time {seconds}"

def seed_of(contract, genesis):
    """The seed that keys step 0."""
    if "seed" in contract.value:
        return contract.value["seed"]
    return struct.unpack("<Q", sha256(bytes.fromhex(contract.digest) + bytes.fromhex(genesis["seed"]["value"]))[:8])[0]

def judge_seed(contract, genesis, times, has_note, witnesses):
    """(whether the seed is proved, why)"""
    if "seed" in contract.value:
        return False, f"the contract names no beacon: its owner chose {contract.value['seed']}"
    name, number, value = contract.value["beacon"]["name"], contract.value["beacon"]["round"], genesis["seed"]["value"]
    if name not in BEACONS:
        return False, f"the beacon {show(name)} is not known"
    if len(value) != 64:
        return False, f"a round of {name} has a value of 32 bytes, not {len(value) // 2}"
    if not has_note:
        return False, "the run has no contract.note that passed"
    if not witnesses:
        return False, "no --witness key was given to check the contract note with"
    if not times:
        return False, "no witness given cosigned the contract note"
    first, period = BEACONS[name]
    came = first + period * (number - 1)
    early = {witness: when for witness, when in times.items() if when < came}
    if not early:
        return False, f"cosigned at {clock(min(times.values()))}, not before the round came at {clock(came)}"
    witness = min(early, key=early.get)
    return True, (f"{show(witness)} cosigned the contract {came - early[witness]} s before round {number} of {name} "
                  f"came ({clock(came)}); seed {seed_of(contract, genesis)}. LOOK UP that the round's value is {value}")

def read_contract_note(path, contract):
    note = read_note(path)
    text = note.text.decode("utf-8", "replace")
    require_equal(f"baekji/contract\n{contract.digest}\n", text, "a note of another contract", path)
    return note, "names this contract"


# ==== 9. The state root and exported states: docs/formats/state-root.md, docs/formats/chunks.md =======================
KINDS = ("master", "moment1", "moment2")

def state_leaf(tensor, kind, slice_index, chunk, data):
    name = tensor.name.encode()
    header = b"baekji.state.v1\0" + struct.pack("<I", len(name)) + name
    header += bytes([kind, 0, ("none", "rows", "columns").index(tensor.split), len(tensor.shape)])
    header += b"".join(struct.pack("<Q", extent) for extent in tensor.shape)
    header += struct.pack("<QQQQQ", tensor.all_rows, tensor.slices, slice_index, chunk, len(data) // 4)
    return sha256(b"\0" + header + data)

@dataclass
class Export:
    """A state that `baekji chunks` wrote, as its files were when they were read."""
    folder: Path
    step: int
    leaves: dict  # (tensor's index by name, slice, chunk, kind) to leaf hash: sorted, the order of the tree

    def path(self, tensor, kind, slice_index):
        return self.folder / KINDS[kind] / tensor.name / f"{slice_index}.f32"

def hash_slice(export, tensor, index, kind, slice_index):
    """The leaves of one array of one slice, chunk by chunk."""
    path = export.path(tensor, kind, slice_index)
    require(path.is_file(), "a slice is missing", "a regular file", "none", path)
    require_equal(4 * tensor.slice_elements, path.stat().st_size, "a slice has the wrong size (bytes)", path)
    with open(path, "rb") as file:
        for chunk in range(tensor.chunks):
            data = file.read(4 * tensor.chunk_elements(chunk))
            require_equal(4 * tensor.chunk_elements(chunk), len(data), "a slice became shorter", path)
            require(kind == 0 or export.step > 0 or not any(data), "a moment of step 0", "zeros", "others", path)
            export.leaves[index, slice_index, chunk, kind] = state_leaf(tensor, kind, slice_index, chunk, data)

def read_export(folder, contract, ledger):
    where = folder / "chunks.json"
    data = read_file(where, 2**28)
    require(data.endswith(b"\n"), "chunks.json is one line", "a newline at its end", "none", where)
    value = parse_canonical(data[:-1], where)
    check_members(value, {"format": "text", "step": "count", "contract": "digest", "state_root": "digest",
                          "tensors": "array"}, where)
    require_equal("baekji.chunks.v1", value["format"], "another format", where)
    require_equal(contract.digest, value["contract"], "chunks of another contract", where)
    declared = declare_parameters(contract, where)
    require_equal(len(declared), len(value["tensors"]), "not the parameters of the contract's model", where)
    for i, (tensor, came) in enumerate(zip(declared, value["tensors"])):
        require_equal(tensor.geometry(), came, "a tensor is not the contract's", f"{where}: tensors[{i}]")
    export = Export(folder, value["step"], {})
    for index, tensor in enumerate(declared):
        for kind, slice_index in itertools.product(range(3), range(tensor.slices)):
            hash_slice(export, tensor, index, kind, slice_index)
    root = tree_root([leaf for _, leaf in sorted(export.leaves.items())]).hex()
    require_equal(value["state_root"], root, "the chunks have another state root than their chunks.json says", folder)
    recorded = sorted(known for step, known in ledger.known if step == export.step)
    require(root in recorded, "the ledger holds no such state", recorded, root, f"{folder}, step {export.step}")
    history = "" if ledger.roots.get(export.step) == root else ", which a rollback left behind"
    return export, (f"{folder}: {len(declared)} tensors, {len(export.leaves)} chunks; the ledger holds their root "
                    f"{root} for step {export.step}{history}")


# ==== 10. Step 0: docs/formats/genesis.md =============================================================================
MASK32 = 0xFFFFFFFF

def philox(counter, key):
    """Philox4x32-10: section 1."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (p1 >> 32) ^ b ^ k0, p1 & MASK32, (p0 >> 32) ^ d ^ k1, p0 & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return a, b, c, d

def stream_key(seed, name):
    return struct.unpack("<II", sha256(b"baekji.genesis.v1\0" + struct.pack("<Q", seed) + name.encode())[:8])

def uniforms(key, first, count):
    """uniform(i) for i from `first`: section 2. One block of Philox gives two of them."""
    result = []
    for block in range(first >> 1, (first + count + 1) >> 1):
        a, b, c, d = philox((block & MASK32, block >> 32, 0, 0), key)
        result.append((float((b << 32 | a) >> 12) + 0.5) * 2.0**-52)
        result.append((float((d << 32 | c) >> 12) + 0.5) * 2.0**-52)
    return result[first & 1:][:count]

def log(x):
    """Section 4. The C library's logarithm differs between machines."""
    bits = struct.unpack("<Q", struct.pack("<d", x))[0]
    exponent = (bits >> 52) - 1023
    m = struct.unpack("<d", struct.pack("<Q", bits & 0x000FFFFFFFFFFFFF | 0x3FF0000000000000))[0]
    if m > 1.4142135623730951:
        m, exponent = m * 0.5, exponent + 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 21.0
    for k in (19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        p = p * z + 1.0 / k
    p = p * z + 1.0
    e = float(exponent)
    return e * 6.93147180369123816490e-01 + (((2.0 * s) * p) + e * 1.90821492927058770002e-10)

# Section 3: AS 241. Each row is one of the polynomials A to F, highest power first.
A = (2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
     1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0)
B = (5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
     5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0)
C = (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
     3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0)
DD = (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0)
E = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0)
F = (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0)

def horner(coefficients, x):
    p = coefficients[0]
    for a in coefficients[1:]:
        p = p * x + a
    return p

def quantile(p):
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return (horner(A, r) * q) / horner(B, r)
    r = math.sqrt(-log(p)) if q <= 0.0 else math.sqrt(-log(1.0 - p))
    if r <= 5.0:
        r = r - 1.6
        x = horner(C, r) / horner(DD, r)
    else:
        r = r - 5.0
        x = horner(E, r) / horner(F, r)
    return -x if q < 0.0 else x

def step0_elements(tensor, seed, first, count):
    """Master weights [first, first + count) in the row-major order of the logical tensor, as bytes: section 5."""
    if tensor.kind == "constant":
        return struct.pack("<f", tensor.value) * count
    key = stream_key(seed, tensor.name)
    return struct.pack(f"<{count}f", *(quantile(u) * tensor.value for u in uniforms(key, first, count)))

def step0_chunk(tensor, seed, slice_index, chunk):
    """The master weights of one chunk: runs of elements that stand together in the logical tensor, then the padding."""
    out, at = [], chunk * CHUNK
    end = at + tensor.chunk_elements(chunk)
    while at < end:
        row, column = divmod(at, tensor.slice_columns)
        count = min(tensor.slice_columns - column, end - at)
        if tensor.split == "rows":
            row += slice_index * tensor.slice_rows
        elif tensor.split == "columns":
            column += slice_index * tensor.slice_columns
        first = row * tensor.columns + column
        out.append(step0_elements(tensor, seed, first, count) if row < tensor.rows else bytes(4 * count))
        at += count
    return b"".join(out)

def every_chunk(tensors):
    return [(index, s, c) for index, t in enumerate(tensors) for s in range(t.slices) for c in range(t.chunks)]

def step0_root(tensors, seed):
    """The state root of step 0, from nothing but seed and declarations; the moments are zero."""
    leaves = []
    for index, slice_index, chunk in every_chunk(tensors):
        master = step0_chunk(tensors[index], seed, slice_index, chunk)
        for kind, data in enumerate((master, bytes(len(master)), bytes(len(master)))):
            leaves.append(state_leaf(tensors[index], kind, slice_index, chunk, data))
    return tree_root(leaves)

def check_whole_genesis(contract, ledger, report):
    tensors, seed = declare_parameters(contract, "contract.json"), seed_of(contract, ledger.genesis)
    count, begin = sum(t.rows * t.columns for t in tensors if t.kind == "normal"), time.monotonic()
    step0_elements(Tensor("trial", (4096,), "none", 1, 0, "normal", 1.0), seed, 0, 4096)
    seconds = (time.monotonic() - begin) / 4096 * count
    report.note("genesis", f"{count} random elements to compute: about {seconds:.0f} s")
    root = step0_root(tensors, seed).hex()
    require_equal(ledger.genesis["state_root"], root, "step 0 has another state root than the genesis record", "line 1")
    return True, (f"all {len(every_chunk(tensors))} chunks of {len(tensors)} tensors computed from seed {seed} in "
                  f"{time.monotonic() - begin:.1f} s; state root {root} is the genesis record's")

def sample_chunks(chunks, count, nonce):
    """`count` different chunks: SHA-256(nonce, i) for i = 0, 1, 2, ... as numbers, modulo how many there are."""
    drawn, i = {}, 0
    while len(drawn) < min(count, len(chunks)):
        number = int.from_bytes(sha256(nonce + struct.pack("<Q", i)), "little") % len(chunks)
        drawn[number] = chunks[number]
        i += 1
    return list(drawn.values())

def check_sampled_genesis(contract, ledger, export, count, nonce):
    """The export's root was found to be that of genesis, and its moments to be zero; here its master weights."""
    require(export is not None, "a sample is held against an exported step 0", "--chunks of step 0 that passed", "none",
            "command line (--genesis all needs no export)")
    tensors, seed = declare_parameters(contract, "contract.json"), seed_of(contract, ledger.genesis)
    chunks = every_chunk(tensors)
    sample = sample_chunks(chunks, count, nonce)
    for index, slice_index, chunk in sample:
        tensor = tensors[index]
        computed = step0_chunk(tensor, seed, slice_index, chunk)
        if state_leaf(tensor, 0, slice_index, chunk, computed) == export.leaves[index, slice_index, chunk, 0]:
            continue
        path = export.path(tensor, 0, slice_index)
        came = path.read_bytes()[4 * chunk * CHUNK:][:len(computed)]
        at = next((i for i in range(0, len(computed), 4) if computed[i:i + 4] != came[i:i + 4]), 0)
        raise Rejected("an element of step 0 does not come from the seed (bytes)", computed[at:at + 4].hex(),
                       came[at:at + 4].hex(), f"{path}, element {chunk * CHUNK + at // 4}")
    return True, (f"{len(sample)} of {len(chunks)} chunks, drawn by nonce {nonce.hex()}, computed from seed {seed}: "
                  "every bit equal")


# ==== 11. The command line ============================================================================================
def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--head", metavar="HEX", help="SHA-256 of a line that the ledger must contain")
    parser.add_argument("--key", type=Path, metavar="PEM", help="the owner's public key")
    several = {"action": "append", "default": []}
    parser.add_argument("--witness", **several, metavar="NAME=PEM", help="a witness's name and public key")
    parser.add_argument("--witnessed", **several, type=Path, metavar="NOTE", help="an earlier log/checkpoint")
    parser.add_argument("--chunks", **several, type=Path, metavar="DIR", help="what `baekji chunks` wrote")
    parser.add_argument("--genesis", metavar="N|all", help="chunks of step 0 to compute again (4 of a step 0)")
    parser.add_argument("--nonce", metavar="HEX", help="draws the sample again that an earlier report named")
    parser.add_argument("--seed-proved", action="store_true", help="fail unless the seed is proved")
    a = parser.parse_args()
    if a.genesis and not re.fullmatch("all|[1-9][0-9]{0,8}", a.genesis):
        parser.error("--genesis takes a number of chunks, or all")
    if (a.nonce and not re.fullmatch("([0-9a-f]{2}){1,64}", a.nonce)) or (a.head and not is_hex(a.head, 64)):
        parser.error("--nonce takes bytes in hex, --head 64 hex digits, both lower-case")
    if any("=" not in option for option in a.witness):
        parser.error("--witness takes NAME=PEM")
    return a

def verify_log(arguments, ledger, signatures, report):
    folder, contract_digest = arguments.run / "log", ledger.genesis["contract"]
    if os.path.lexists(folder) or arguments.key:
        note = report.check("log", check_log, folder, ledger)
        if note:
            signatures.hold("log", note, f"baekji/{contract_digest}")
    else:
        report.note("log", "none in the run folder: nothing signed, nothing published")
    for path in arguments.witnessed:
        def contained():
            earlier = read_note(path)
            size, root = parse_checkpoint(earlier, contract_digest)
            require_contained(size, root, ledger, path)
            return earlier, f"{path}: size {size}, root {root.hex()}: the ledger begins with exactly these entries"

        earlier = report.check("witnessed checkpoint", contained)
        if earlier:
            signatures.hold("witnessed checkpoint", earlier, f"baekji/{contract_digest}")

def verify_seed(arguments, contract, ledger, signatures, report):
    path, times, note = arguments.run / "contract.note", {}, None
    if os.path.lexists(path):
        note = report.check("contract note", read_contract_note, path, contract)
        if note:
            times = signatures.hold("contract note", note, "baekji/contract")
    proved, why = judge_seed(contract, ledger.genesis, times, note is not None, signatures.witnesses)
    if arguments.seed_proved and not proved:
        report.fail("seed", Rejected("seed not proved", "a seed that nobody could choose", why, arguments.run))
    else:
        print(f"{'ok      seed: seed proved' if proved else 'note    seed: seed not proved'}: {why}")

def verify_state(arguments, contract, ledger, report):
    exports = [report.check("chunks", read_export, folder, contract, ledger) for folder in arguments.chunks]
    step0 = next((export for export in exports if export and export.step == 0), None)
    if arguments.genesis == "all":
        report.check("genesis", check_whole_genesis, contract, ledger, report)
    elif arguments.genesis or step0:
        nonce = bytes.fromhex(arguments.nonce) if arguments.nonce else secrets.token_bytes(16)
        report.check("genesis", check_sampled_genesis, contract, ledger, step0, int(arguments.genesis or 4), nonce)
    else:
        report.note("genesis", "not computed again: ask for --genesis all, or give an exported step 0")

def main():
    sys.stdout.reconfigure(errors="backslashreplace")
    arguments, report = parse_arguments(), Report()
    signatures = Signatures(report, arguments.key, arguments.witness)
    contract = report.check("contract", read_contract, arguments.run / "contract.json")
    ledger = report.check("ledger", read_ledger, arguments.run / "ledger.jsonl", contract)
    if ledger:
        report.note("head", ledger.lines[-1].hex())
        if ledger.torn_bytes:
            report.note("torn tail", f"the last {ledger.torn_bytes} bytes are part of a line, left by a crash: ignored")
        if ledger.skipped:
            report.note("rollback", f"batches that were left out: {show(ledger.skipped)}")
        if arguments.head:
            held = bytes.fromhex(arguments.head) in ledger.lines
            report.check("head given", lambda: (require_equal(True, held, "not in the ledger", arguments.head), "held"))
        verify_log(arguments, ledger, signatures, report)
    if ledger and contract:
        verify_seed(arguments, contract, ledger, signatures, report)
        signatures.require_all()
        verify_state(arguments, contract, ledger, report)
    else:
        report.note("the rest", "not checked: it needs a ledger and a contract that passed")
    failures = report.failures
    print(f"verify_run: {'everything that was asked passed' if failures == 0 else f'{failures} checks FAILED'}")
    return 0 if failures == 0 else 1

if __name__ == "__main__":
    sys.exit(main())
