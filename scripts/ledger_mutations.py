"""Ledgers for scripts/ledger_fuzz: honest ones in many shapes (docs/formats/ledger.md), and what may be done to them."""
import copy
import json
import struct

from baekji_verify.canonical import canonical, sha256
from baekji_verify.contract import contract_of
from baekji_verify.ledger import Ledger, bits_of

KERNEL_SET = {"compiler": "gcc 12.2.0", "device": "cpu", "flags": "-O2 -std=c++20", "instruction_set": "x86_64 avx2",
              "libraries": {"onednn": "3.1"}, "numerics_sources": "ab" * 32, "processor": "a processor"}
NUMBERS = [0, 1, 2, 3, 7, -1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -2**63]
VALUES = [None, True, False, [], {}, "", "a", "0" * 64, "A" * 64, [0, 1], [1], ["a"], {"value": "00" * 32}, "\u00e9\x7f\x01"]
BITS = ["8000000000000000", "7ff8000000000000", "fff8000000000000", "7ff0000000000000", "7ff0000000000001",
        "0000000000000000", "0000000000000001", "ffffffffffffffff", "3FF0000000000000", "3ff000000000000"]
EVENTS = ["start", "resume", "checkpoint", "rollback", "divergence", "restart", "recheck", "spike", "opened", "anomaly", ""]
EXTRA = {"seed": {"value": "cd" * 32}, "void_tensor": "embedding", "state_root": "12" * 32, "torn_bytes": 5,
         "problems": ["a shard is missing"], "hosts": ["ef" * 32], "details": "said", "step": 1, "layout": "one rank",
         "members": ["loss"], "to": 0, "skip": [1, 1], "kernel_set": KERNEL_SET, "event": "spike", "unknown": 1}


def random_contract(draw):
    grains = draw.choice([1, 2])
    model = {"layers": draw.choice([1, 2]), "hidden": 8, "heads": 2, "kv_heads": 2, "head_dim": draw.choice([0, 4, 6]),
             "ffn": 16, "vocab": 33, "context": 16, "rope_theta": "10000", "norm_eps": "0.00001",
             "qk_norm": draw.random() < 0.5, "output_norms": draw.random() < 0.5, "tied_embeddings": draw.random() < 0.5,
             "document_mask": False, "init_std": "0.02", "init_residual_scaling": True, "embedding_multiplier": "1",
             "attention_multiplier": "0", "residual_multiplier": "1", "logits_multiplier": "1"}
    schedule = draw.choice(["cosine", "wsd"])
    optimizer = {"kind": "adamw", "schedule": schedule, "lr": draw.choice(["0.0003", "0.003", "1", "1e-8", "0.1"]),
                 "betas": ["0.9", "0.95"], "eps": "1e-8", "weight_decay": "0.1", "clip": "1",
                 "warmup": draw.choice([0, 1, 3, 5, 100]), "stable": draw.choice([0, 2, 7]) if schedule == "wsd" else 0,
                 "decay": draw.choice([1, 3, 9, 17, 1000]), "min_lr_ratio": draw.choice(["0", "0.1", "1", "0.33"])}
    numerics = {"precision": draw.choice(["fp32", "bf16", "fp8"]), "residual": draw.choice(["compute", "fp32"]),
                "global_batch": 4, "micro_batch": 2, "replicas": 2, "tensor_grains": grains, "loss_chunk": 512}
    stages, at = [], 1
    for _ in range(draw.choice([1, 1, 2, 3])):
        stages.append({"from_step": at, "context": draw.choice([8, 16]), "rope_theta": "10000",
                       "global_batch": draw.choice([4, 8, 12]), "micro_batch": 2, "weights": ["1"]})
        at += draw.randrange(1, 7)
    value = {"format": "baekji-contract-1", "formats": {"batch_order": 2, "checkpoint": 1, "genesis": 1, "ledger": 2,
                                                       "state_root": 1, "token_store": 1},
             "model": model, "optimizer": optimizer, "numerics": numerics, "stages": stages, "tokenizer": "34" * 32,
             "sources": [{"data_root": "56" * 32, "name": "a", "weight": "1"}]}
    if draw.random() < 0.3:
        value["beacon"] = {"name": draw.choice(["drand-quicknet", "drand-default"]), "round": draw.randrange(1, 10**6)}
    else:
        value["seed"] = draw.randrange(2**40)
    if draw.random() < 0.3:
        value["max_skipped_batches"] = draw.choice([0, 1, 2, 5, 1000])
    return canonical(value)


class Honest:
    """Writes a history as the program would."""

    def __init__(self, draw, contract_bytes):
        self.draw, self.records = draw, []
        self.ledger = Ledger(contract_of(contract_bytes))
        self.salt = draw.randbytes(4)

    def root(self, step):
        return sha256(self.salt + struct.pack("<qq", step, self.ledger.batch(step))).hex()

    def add(self, kind, body):
        """Takes a record where the reader that writes this allows it; what the other one says is the question."""
        previous = self.ledger.lines[-1].hex() if self.ledger.lines else "0" * 64
        line = canonical({"body": body, "index": len(self.records), "kind": kind, "previous": previous})
        self.ledger.take_line(line, "honest")
        self.records.append((kind, body))

    def event(self, name, **members):
        self.add("event", {"event": name, **members})

    def begin(self):
        contract = self.ledger.contract
        body = {"format": "baekji.ledger.v2", "contract": contract.digest, "kernel_set": KERNEL_SET, "state_root": self.root(0)}
        if contract.beacon_value_bytes:
            body["seed"] = {"value": self.draw.randbytes(contract.beacon_value_bytes).hex()}
        self.add("genesis", body)
        if self.draw.random() < 0.9:
            self.event("start", layout="one rank")
        else:
            self.resume()

    def step(self):
        ledger, draw = self.ledger, self.draw
        step, void = len(ledger.steps) + 1, draw.random() < 0.1
        batch, before = ledger.batch(step), ledger.steps[-1] if ledger.steps else None
        norm, move = ("0" * 16,) * 2 if void else (bits_of(draw.uniform(0, 9)), bits_of(draw.uniform(0, 1)))
        body = {"step": step, "batch_root": sha256(struct.pack("<q", batch)).hex(), "loss": bits_of(draw.uniform(0, 9)),
                "gradient_norm": norm, "learning_rate": bits_of(ledger.contract.learning_rate(step)), "move": move,
                "position": ledger.contract.position(batch), "void": void,
                "tokens": (before.tokens if before else 0) + ledger.contract.batch_tokens(batch),
                "updates": (before.updates if before else 0) + (not void)}
        if void:
            body["void_tensor"] = draw.choice(sorted(ledger.contract.parameter_names))
        if draw.random() < 0.4:
            body["state_root"] = self.root(step)
        self.add("step", body)

    def resume(self):
        step = self.draw.choice(sorted(self.ledger.roots))
        kernels = dict(KERNEL_SET, compiler=self.draw.choice(["gcc 12.2.0", "gcc 13.1.0"]))
        members = {}
        if self.draw.random() < 0.3:
            members["torn_bytes"] = self.draw.randrange(1, 400)
        if self.draw.random() < 0.3:
            members["problems"] = ["a shard is missing"] * self.draw.randrange(3)
        self.event("resume", step=step, kernel_set=kernels, layout="two ranks", **members)

    def checkpoint(self):
        least, most = self.ledger.saved_at + 1, len(self.ledger.steps)
        if least <= most:
            step = self.draw.choice([most, most, self.draw.randint(least, most)])
            self.event("checkpoint", step=step, state_root=self.root(step))

    def rollback(self):
        ledger, draw = self.ledger, self.draw
        last = len(ledger.steps)
        if last == 0:
            return
        to = draw.randrange(last)
        first = draw.randint(ledger.batch(to) + 1, ledger.batch(last))
        end = draw.randint(first, ledger.batch(last))
        limit = ledger.contract.max_skipped_batches
        if limit >= 0 and ledger.left_out() + end - first + 1 > limit:
            return
        self.event("rollback", to=to, skip=[first, end])
        if draw.random() < 0.2:
            self.reserved("restart")
        self.resume()

    def divergence(self):
        if self.ledger.resumed_at < len(self.ledger.steps):
            step = self.draw.randint(self.ledger.resumed_at + 1, len(self.ledger.steps))
            self.event("divergence", step=step, members=["loss", "move"][:self.draw.randrange(3)])
            self.resume()

    def reserved(self, name):
        members = {"hosts": ["ef" * 32] * self.draw.randrange(3)} if self.draw.random() < 0.5 else {}
        if self.draw.random() < 0.5:
            members["details"] = "said"
        self.event(name, step=self.draw.randint(0, len(self.ledger.steps)), **members)

    def run(self):
        self.begin()
        for _ in range(self.draw.randrange(2, 26)):
            act = self.draw.choices(["step", "checkpoint", "resume", "rollback", "divergence", "reserved"],
                                    [12, 3, 1, 1, 0.4, 0.5])[0]
            if act == "reserved":
                self.reserved(self.draw.choice(["recheck", "spike", "opened", "restart"]))
            else:
                getattr(self, act)()
        return self.records


def compose(records, draw=None):
    """The bytes of these records, chained; with `draw` one line keeps a wrong link."""
    previous, out = "0" * 64, []
    wrong = draw.randrange(len(records)) if draw and records else -1
    for index, (kind, body) in enumerate(records):
        line = canonical({"body": body, "index": index + (index == wrong and draw.random() < 0.5), "kind": kind,
                          "previous": previous if index != wrong else "0" * 63 + "1"})
        previous = sha256(line).hex()
        out.append(line)
    return b"".join(line + b"\n" for line in out)


def places(value, path=()):
    """Every place inside a body."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield (*path, key)
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield (*path, index)
            yield from places(element, (*path, index))


def changed_value(draw, value):
    if draw.random() < 0.2:
        return copy.deepcopy(draw.choice(NUMBERS + VALUES))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice([value + 1, value - 1, value + draw.randrange(-9, 10), draw.choice(NUMBERS)])
    if isinstance(value, str) and len(value) == 16:
        near = f"{int(value, 16) ^ 1 << draw.choice([0, 0, 51, 62, 63]):016x}" if set(value) <= set("0123456789abcdef") else ""
        return draw.choice([near, near, draw.choice(BITS)])
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        return draw.choice([value[:at] + draw.choice("0af9gZ\"\u00e9") + value[at + 1:], value[:-1], value + "0", value.upper()])
    return copy.deepcopy(draw.choice(NUMBERS + VALUES))


def change_field(draw, records):
    index = draw.randrange(len(records))
    body = records[index][1]
    every = list(places(body)) if isinstance(body, (dict, list)) else []
    if not every:
        return
    *path, last = draw.choice(every)
    for key in path:
        body = body[key]
    body[last] = changed_value(draw, body[last])


def remove_member(draw, records):
    body = draw.choice(records)[1]
    if isinstance(body, dict) and body:
        del body[draw.choice(sorted(body))]


def add_member(draw, records):
    body = draw.choice(records)[1]
    if isinstance(body, dict):
        name = draw.choice(sorted(EXTRA))
        target = draw.choice([body, *[v for v in body.values() if isinstance(v, dict)]])
        target[name] = copy.deepcopy(EXTRA[name])


def change_kind(draw, records):
    index = draw.randrange(len(records))
    kind, body = records[index]
    if kind == "event" and isinstance(body, dict) and draw.random() < 0.7:
        body["event"] = draw.choice(EVENTS)
    else:
        records[index] = (draw.choice(["genesis", "step", "event", "note", "", "Step"]), body)


def change_body(draw, records):
    index = draw.randrange(len(records))
    records[index] = (records[index][0], copy.deepcopy(draw.choice(VALUES + [5])))


def delete_record(draw, records):
    begin = draw.randrange(len(records))
    del records[begin:begin + draw.choice([1, 1, 1, 2, 5])]


def swap_records(draw, records):
    i = draw.randrange(len(records))
    j = min(i + 1, len(records) - 1) if draw.random() < 0.6 else draw.randrange(len(records))
    records[i], records[j] = records[j], records[i]


def copy_record(draw, records):
    record = copy.deepcopy(draw.choice(records))
    records.insert(draw.randint(0, len(records)), record)


def insert_event(draw, records):
    """An event with all that it needs, anywhere: places and numbers are what is wrong, or right."""
    near = draw.randint(0, len(records))
    steps = [body["step"] for kind, body in records[:near] if kind == "step" and isinstance(body, dict) and isinstance(
        body.get("step"), int)]
    step = max(0, (steps[-1] if steps else 0) + draw.choice([0, 0, 0, -1, -2, 1, -5]))
    name = draw.choice(EVENTS)
    body = {"event": name}
    if name in ("start", "resume"):
        body["layout"] = "one rank"
    if name == "resume":
        body.update(step=step, kernel_set=copy.deepcopy(KERNEL_SET))
    elif name == "checkpoint":
        body.update(step=step, state_root="12" * 32)
    elif name == "rollback":
        first = max(0, step + draw.randrange(-3, 3))
        body.update(to=max(0, step - draw.randrange(4)), skip=[first, first + draw.randrange(-1, 4)])
    elif name == "divergence":
        body.update(step=step, members=["loss"])
    elif name not in ("start", ""):
        body["step"] = step
    records.insert(near, ("event", body))


def shift_steps(draw, records):
    """A change that later records follow, as a careful liar would make it."""
    name = draw.choice(["step", "position", "tokens", "updates"])
    begin, by = draw.randrange(len(records)), draw.choice([1, -1, 4, 2**62])
    for kind, body in records[begin:]:
        if kind == "step" and isinstance(body, dict) and isinstance(body.get(name), int):
            body[name] = max(0, body[name] + by)


def toggle_void(draw, records):
    steps = [body for kind, body in records if kind == "step" and isinstance(body, dict)]
    if not steps:
        return
    body = draw.choice(steps)
    body["void"] = not body.get("void")
    if body["void"]:
        body["void_tensor"] = draw.choice(["embedding", "head", "final_norm", "layers.0.attention.q", "layers.1.attention.q",
                                           "x"])
        body.update(gradient_norm="0" * 16, move=draw.choice(["0" * 16, "0" * 15 + "1"]))
    else:
        body.pop("void_tensor", None)
    behind = False
    for other in steps:
        behind = behind or other is body
        if behind and draw.random() < 0.95 and isinstance(other.get("updates"), int):
            other["updates"] += -1 if body["void"] else 1


def change_rollback(draw, records):
    bodies = [body for kind, body in records if kind == "event" and isinstance(body, dict) and ("step" in body or "to" in body)]
    if bodies:
        body = draw.choice(bodies)
        name = "to" if "to" in body and draw.random() < 0.5 else "step" if "step" in body else "skip"
        if name == "skip" and isinstance(body.get("skip"), list) and body["skip"]:
            at = draw.randrange(len(body["skip"]))
            body["skip"][at] = draw.randrange(0, 12)
        elif name != "skip":
            body[name] = draw.randrange(0, 12)


def add_root(draw, records):
    steps = [body for kind, body in records if kind == "step" and isinstance(body, dict)]
    if steps:
        body = draw.choice(steps)
        if body.pop("state_root", None) is None:
            body["state_root"] = "78" * 32


STRUCTURAL = [change_field] * 8 + [remove_member, add_member, add_member, change_kind, change_body, delete_record,
                                   delete_record, swap_records, copy_record, insert_event, insert_event, insert_event,
                                   shift_steps, toggle_void, toggle_void, change_rollback, change_rollback,
                                   change_rollback, add_root]


def deep(draw):
    depth = draw.choice([10, 60, 61, 62, 63, 64, 65, 66, 100, 900, 5000])
    opening = draw.choice([b"[", b'{"a":'])
    close = b"]" if opening == b"[" else b"}"
    inner = draw.choice([b"", b"1", b"1,", b'"' + b"[" * 70 + b'"', b"01"]) if opening == b"[" else b"1"
    return opening * depth + inner + close * (depth - draw.choice([0, 0, 0, 1]))


def raw_change(draw, data):
    """Bytes, with no regard to the chain."""
    at = draw.randrange(len(data))
    what = draw.randrange(12)
    if what == 0:
        return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1:]
    if what == 1:
        return data[:at]
    if what == 2:
        return data + draw.choice([b"\0\0\0\n", b"{}\n", b"{}", b"\n", b" \n", b"[1e999]\n", b"[1e99]\n", b'"\\ud800"\n',
                                   b"{}\0x\n", b"\xef\xbb\xbf{}\n", b"\xef\xbb\xbf\n", b"\xff\n", b"nan\n", b"NaN\n", b"-0\n",
                                   b"9" * 400 + b"\n", b"9" * 300 + b"\n", b"{}{}\n", b'{"a":1,"a":2}\n', b"'a'\n", b"1 \n",
                                   b'"' + b"a" * 70000 + b'"\n', b"a" * 70000 + b"\n", b"\r\n", b'"\t"\n', b"[1,]\n",
                                   b"\xed\xa0\x80\n", b'"\xed\xa0\x80"\n', b'"\\u0000"\n', b"true\x0b\n", b"-\n", b"1.\n"])
    if what == 3:
        return data + deep(draw) + b"\n"
    if what == 4:
        return data[:at] + draw.choice([b"\n", b" ", b"\0", b"\r\n", b"\\", b'"', b"\xc3"]) + data[at:]
    if what == 5:
        return data.replace(b'"event"', draw.choice([b'"\\u0065vent"', b'"event" ']), 1)
    if what == 6:
        return data.replace(b'"step":1,', draw.choice([b'"step":1.0,', b'"step":1e0,', b'"step":01,', b'"step":-0,',
                                                       b'"step":1,"step":1,']))
    if what == 7:
        return data.rstrip(b"\n")
    if what == 8:
        lines = data.splitlines(keepends=True)
        return b"".join(lines[:draw.randint(0, len(lines))])
    if what == 9:
        return b""
    if what == 10:
        return data.replace(b'"layout":"one rank"', b'"layout":' + deep(draw), 1)
    return data.replace(b'"layout":"one rank"', b'"layout":"' + b"a" * draw.choice([65000, 65300, 65535, 70000]) + b'"', 1)


REALS = ["0", "-0", "1", "-1", "1.0", "0.5", "0.10", "1e-8", "1e-7", "0.000001", "1e400", "nan", "inf", "", "9", "01", "+1", "1e5",
         "100000", "1e+21", "0.30000000000000004", "5e-324", "1.7976931348623157e+308", " 1", "0x1"]


def change_contract(draw, contract):
    """One value, member or element of a contract; mostly canonical still."""
    if draw.random() < 0.15:
        return raw_change(draw, contract)
    value = json.loads(contract)
    *path, last = draw.choice(list(places(value)))
    parent = value
    for key in path:
        parent = parent[key]
    what = draw.random()
    if what < 0.15:
        del parent[last]
    elif what < 0.25 and isinstance(parent, dict):
        parent[draw.choice(["max_skipped_batches", "seed", "beacon", "name", "round", "unknown"])] = draw.choice(
            [0, -1, 1, "a", {"name": "drand-default", "round": 1}])
    elif what < 0.35 and isinstance(parent, list):
        parent.insert(last, copy.deepcopy(parent[last]))
    elif what < 0.6 and isinstance(parent[last], str):
        parent[last] = draw.choice(REALS)
    else:
        parent[last] = changed_value(draw, parent[last])
    return canonical(value)


def make_item(draw):
    """(contract bytes, ledger bytes, what was done)."""
    contract = random_contract(draw)
    records = copy.deepcopy(Honest(draw, contract).run())
    changes = []
    if draw.random() < 0.08:
        contract = change_contract(draw, contract)
        records[0][1]["contract"] = sha256(contract).hex()
        changes.append("change_contract")
    if draw.random() < 0.85:
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            if draw.random() < 0.92 and records:
                change = draw.choice(STRUCTURAL)
                change(draw, records)
                changes.append(change.__name__)
    try:
        data = compose(records, draw if draw.random() < 0.03 else None)
    except UnicodeEncodeError:
        data = b""
    if data and draw.random() < 0.12:
        data = raw_change(draw, data)
        changes.append("raw_change")
    return contract, data, changes or ["honest"]
