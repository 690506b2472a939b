"""The ledger and its grammar: docs/formats/ledger.md. Which record may follow what, and what a record must say."""
import io
import os
import struct
from dataclasses import dataclass

from .canonical import check_members, is_integer, parse_canonical, sha256
from .contract import contract_of
from .files import LEDGER_LINE, open_regular
from .functions import log
from .json_text import is_json
from .kernel_set import check_kernel_set
from .report import Rejected, require, require_equal

STEP = {"step": "count", "batch_root": "digest", "loss": "bits", "gradient_norm": "bits", "learning_rate": "bits",
        "move": "bits", "position": "count", "tokens": "count", "updates": "count", "void": "flag"}
RESERVED = ("restart", "recheck", "spike", "opened")
MOST_ROLLBACKS = 1000
NOTHING, BEGUN, SESSION, BETWEEN = "nothing", "begun", "session", "between sessions"  # where in a history one stands
PLUS_ZERO = "0" * 16


@dataclass(frozen=True)
class Step:
    """What later records and statements need of a step."""
    tokens: int
    updates: int
    move: float
    session: int  # index in Ledger.kernel_sets
    record: int   # index of its line


def bits_of(number):
    """"Fp64 values"."""
    return struct.pack(">d", number).hex()


def number_of(bits):
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def rollback_bits(last):
    """log2 of how many (to, from, last) a rollback could have named: n steps behind `to` have n (n + 1) / 2 ranges."""
    n = float(last)
    return 1.4426950408889634 * log(n * (n + 1.0) * (n + 2.0) / 6.0)


class Ledger:
    """What the lines taken so far say: the history that counts, and what rollbacks left behind."""

    def __init__(self, contract=None):
        self.contract = contract  # None: nothing is held against it
        self.genesis = None
        self.lines, self.leaves = [], []    # SHA-256 of each line, and its leaf hash of RFC 6962
        self.kinds = {}                     # how many records of each kind or event
        self.steps = []                     # of step i + 1
        self.roots = {}                     # step to state root
        self.root_records = {}              # step to the index of the record that holds its root
        self.known = set()                  # every (step, state root), those left behind too
        self.skipped = []                   # ranges of batches that rollbacks left out, merged and sorted
        self.kernel_sets = []               # of the sessions, genesis's first
        self.rollbacks, self.steps_undone, self.freedom_bits, self.divergences = 0, 0, 0.0, 0
        self.torn_bytes = 0
        self.phase, self.session, self.resumed_at, self.saved_at = NOTHING, 0, 0, 0

    def batch(self, step):
        """The batch that optimizer step `step` trains on: the step-th number that is in no skipped range."""
        batch = step
        for first, last in self.skipped:
            if step == 0 or first > batch:
                break
            batch += last - first + 1
        return batch

    def left_out(self):
        return sum(last - first + 1 for first, last in self.skipped)

    def kernel_set_of(self, step):
        return self.kernel_sets[self.steps[step - 1].session]

    def add_root(self, step, root, where):
        require_equal(self.roots.get(step, root), root, f"the ledger holds two states of step {step}", where)
        if step not in self.roots:
            self.root_records[step] = len(self.lines)
        self.roots[step] = root
        self.known.add((step, root))

    def take_line(self, line, where):
        record = parse_canonical(line, where)
        check_members(record, {"body": "object", "index": "count", "kind": "text", "previous": "digest"}, where)
        require_equal(self.lines[-1].hex() if self.lines else "0" * 64, record["previous"],
                      "the chain is broken: previous is not the SHA-256 of the line before", where)
        require_equal(len(self.lines), record["index"], "a record has the wrong index", where)
        kind, body = record["kind"], record["body"]
        if kind == "event":
            require(isinstance(body.get("event"), str), "an event has no name", "event: text", body, where)
        name = body["event"] if kind == "event" else kind
        self.require_place(kind, name, where)
        take = {"genesis": self.take_genesis, "step": self.take_step, "event": self.take_event}.get(kind)
        require(take, "a ledger has no records of that kind", "genesis, step or event", kind, where)
        take(body, where)
        self.kinds[name] = self.kinds.get(name, 0) + 1
        self.lines.append(sha256(line))
        self.leaves.append(sha256(b"\0" + line))

    def require_place(self, kind, name, where):
        """Which record may stand here: "Order"."""
        begins = kind == "event" and name in ("resume", "rollback", "restart")
        start = kind == "event" and name == "start"
        allowed, holds = {
            NOTHING: ("genesis first", kind == "genesis"),
            BEGUN: ("start, resume, rollback or restart after genesis", begins or start),
            SESSION: ("one genesis and one start", kind != "genesis" and not start),
            BETWEEN: ("resume, rollback or restart: no session is open", begins),
        }[self.phase]
        require(holds, "a record stands where it may not", allowed, name, where)

    def take_genesis(self, body, where):
        check_members(body, {"format": "text", "contract": "digest", "kernel_set": "object", "state_root": "digest"},
                      where, {"seed": "object"})
        require(body["format"] == "baekji.ledger.v2", "the ledger has another format",
                "baekji.ledger.v2; the build that wrote the run verifies it", body["format"], where)
        check_kernel_set(body["kernel_set"], f"{where}: kernel_set")
        if "seed" in body:
            check_members(body["seed"], {"value": "bytes"}, f"{where}: seed")
        if self.contract:
            require_equal(self.contract.digest, body["contract"], "the ledger belongs to another contract", where)
            require_equal(self.contract.beacon_value_bytes, len(body.get("seed", {"value": ""})["value"]) // 2,
                          "the seed's beacon value is not what the contract asks for (bytes)", where)
        self.genesis = body
        self.kernel_sets.append(body["kernel_set"])
        self.add_root(0, body["state_root"], where)
        self.phase = BEGUN

    def take_step(self, body, where):
        check_members(body, STEP, where, {"void_tensor": "name", "state_root": "digest"})
        step, void = body["step"], body["void"]
        require_equal(len(self.steps) + 1, step, "a step of the ledger is missing or stands twice", where)
        require_equal(void, "void_tensor" in body, "a void step, and no other, names a tensor", where)
        before = self.steps[-1] if self.steps else Step(0, 0, 0.0, 0, 0)
        require_equal(before.updates + (not void), body["updates"], "updates do not count the steps not void", where)
        for name in ("gradient_norm", "move"):
            require(int(body[name], 16) < 2**63, "a norm has a sign", "from +0", body[name], f"{where}: {name}")
            require(not void or body[name] == PLUS_ZERO, "a void step moves nothing", PLUS_ZERO, body[name], f"{where}: {name}")
        if self.contract:
            self.check_terms(body, before.tokens, where)
        if "state_root" in body:
            self.add_root(step, body["state_root"], where)
        self.steps.append(Step(body["tokens"], body["updates"], number_of(body["move"]), self.session, len(self.lines)))

    def check_terms(self, body, tokens, where):
        """What of a step follows from the contract."""
        batch = self.batch(body["step"])
        require_equal(bits_of(self.contract.learning_rate(body["step"])), body["learning_rate"],
                      "the learning rate is not the contract's", where)
        require_equal(self.contract.position(batch), body["position"], f"position is not batch {batch}'s", where)
        require_equal(tokens + self.contract.batch_tokens(batch), body["tokens"], "tokens do not add up", where)
        if body["void"]:
            require(body["void_tensor"] in self.contract.parameter_names, "a void step names no parameter of the model",
                    "a parameter's name", body["void_tensor"], where)

    def take_event(self, body, where):
        name, last = body["event"], len(self.steps)
        if name == "start":
            check_members(body, {"event": "text", "layout": "text"}, where)
            self.phase = SESSION
        elif name == "resume":
            self.take_resume(body, where)
        elif name == "checkpoint":
            check_members(body, {"event": "text", "state_root": "digest", "step": "count"}, where)
            require(self.saved_at < body["step"] <= last, "a checkpoint is of a step of its session",
                    f"{self.saved_at + 1} to {last}", body["step"], where)
            self.add_root(body["step"], body["state_root"], where)
            self.saved_at = body["step"]
        elif name == "rollback":
            check_members(body, {"event": "text", "to": "count", "skip": "array"}, where)
            self.roll_back(body["to"], body["skip"], where)
        elif name == "divergence":
            check_members(body, {"event": "text", "step": "count", "members": "texts"}, where)
            require(self.resumed_at < body["step"] <= last, "a divergence is of a step that was trained again",
                    f"{self.resumed_at + 1} to {last}", body["step"], where)
            self.divergences += 1
            self.phase = BETWEEN
        else:
            require(name in RESERVED, "the ledger knows no such event", "start, resume, checkpoint, ...", name, where)
            check_members(body, {"event": "text", "step": "count"}, where, {"hosts": "digests", "details": "text"})
            require(body["step"] <= last, "an event is about a step of the ledger", f"0 to {last}", body["step"], where)
            if name == "restart" and self.phase != SESSION:
                self.phase = BETWEEN

    def take_resume(self, body, where):
        check_members(body, {"event": "text", "step": "count", "kernel_set": "object", "layout": "text"}, where,
                      {"torn_bytes": "positive", "problems": "texts"})
        check_kernel_set(body["kernel_set"], f"{where}: kernel_set")
        require(body["step"] in self.roots, "a run resumes from a state whose root the ledger holds", "a committed step",
                body["step"], where)
        self.kernel_sets.append(body["kernel_set"])
        self.session = len(self.kernel_sets) - 1
        self.resumed_at = self.saved_at = body["step"]
        self.phase = SESSION

    def roll_back(self, to, skip, where):
        last = len(self.steps)
        require(self.rollbacks < MOST_ROLLBACKS, "a run rolls back too often", f"at most {MOST_ROLLBACKS}", "another", where)
        require(to <= last, "a rollback goes back to a step of the ledger", f"0 to {last}", to, where)
        before, newest = self.batch(to), self.batch(last)
        require(len(skip) == 2 and all(is_integer(n) for n in skip) and before < skip[0] <= skip[1] <= newest,
                "a rollback leaves out batches that were trained on behind its step",
                f"[from, last], {before} < from <= last <= {newest}", skip, where)
        merged = []
        for first, end in sorted([*self.skipped, tuple(skip)]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((first, end))
        self.skipped = merged
        if self.contract and self.contract.max_skipped_batches >= 0:
            most = self.contract.max_skipped_batches
            require(self.left_out() <= most, "rollbacks leave out more batches than the contract allows",
                    f"at most {most} (max_skipped_batches)", self.left_out(), where)
        self.rollbacks += 1
        self.steps_undone += last - to
        self.freedom_bits += rollback_bits(last)
        del self.steps[to:]
        for step in [step for step in self.roots if step > to]:
            del self.roots[step], self.root_records[step]
        self.phase = BETWEEN


def take_lines(ledger, lines, size_bytes, where):
    """`lines` with their newlines; what a crash left of the last one is left out: "Lines"."""
    at = 0
    for line in lines:
        at += len(line)
        whole = line.endswith(b"\n")
        text = line[:-1] if whole else line
        place = f"{where}, line {len(ledger.lines) + 1}"
        require(len(text) <= LEDGER_LINE, "a line of the ledger is too long", f"at most {LEDGER_LINE} bytes", len(text),
                place)
        if ledger.lines and at >= size_bytes and not (whole and is_json(text)):
            ledger.torn_bytes = len(line)
            break
        require(whole, "the ledger ends inside its first record", "a newline", "none", place)
        ledger.take_line(text, place)
    require(ledger.lines, "the ledger is empty", "a genesis record", "no line", where)
    return ledger


def read_ledger_bytes(ledger_bytes, contract_bytes):
    """The ledger in these bytes, held against the contract in those; raises Rejected whatever they are."""
    contract = contract_of(contract_bytes)
    return take_lines(Ledger(contract), io.BytesIO(ledger_bytes), len(ledger_bytes), "ledger")


def read_ledger(path, contract=None):
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        ledger = take_lines(Ledger(contract), bounded_lines(file, path), size_bytes, path)
    kinds = ", ".join(f"{count} {kind}" for kind, count in ledger.kinds.items())
    return ledger, (f"{len(ledger.lines)} records ({kinds}), chained; steps 1 to {len(ledger.steps)} in order, every "
                    f"member; {len(ledger.known)} state roots")


def bounded_lines(file, path):
    most = LEDGER_LINE + 2  # with its newline, and one byte that says that there is more
    while line := file.readline(most):
        if len(line) == most:
            raise Rejected("a line of the ledger is too long", f"at most {LEDGER_LINE} bytes", "more", path)
        yield line
