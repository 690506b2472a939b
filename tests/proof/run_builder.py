"""Runs made in Python for the tests of scripts/baekji_verify: contract, ledger, states, checkpoints, log, notes and
statements, with keys and signatures of stock openssl. Nothing in them was trained."""
import base64
import contextlib
import copy
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "scripts"))
from baekji_verify import command, contract as contracts, genesis, ledger as ledgers, merkle, parameters, report, state  # noqa: E402

WITNESS = "witness.example/1"
ROUND = 1000  # of drand-quicknet
ROUND_TIME = 1692803367 + 3 * (ROUND - 1)
NAME = "a consortium/an experiment".replace(" ", "-")
KERNEL_SET = {"compiler": "gcc 12.2.0", "device": "cpu", "flags": "-O2", "instruction_set": "x86_64 avx2",
              "libraries": {}, "numerics_sources": "ab" * 32, "processor": "a processor"}


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def tree(leaves):
    """RFC 6962, section 2.1, as it stands there."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1", tree(leaves[:k]), tree(leaves[k:]))


def b64(data):
    return base64.b64encode(data).decode()


class Openssl:
    def __init__(self, program, work):
        self.program, self.work = str(program), Path(work).resolve()

    def __call__(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


class Key:
    """An Ed25519 key, and what it signs."""

    def __init__(self, openssl, name):
        self.openssl, self.private, self.public = openssl, openssl.work / f"{name}.key", openssl.work / f"{name}.pem"
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        self.raw = openssl("pkey", "-in", self.private, "-pubout", "-outform", "DER")[-32:]

    def sign(self, message):
        (self.openssl.work / "message").write_bytes(message)
        return self.openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", self.openssl.work / "message")

    def line(self, name, kind, signature):
        key_id = sha256(name.encode(), b"\n", bytes([kind]), self.raw)[:4]
        return f"\u2014 {name} {b64(key_id + signature)}\n".encode()

    def owner_line(self, name, text):
        return self.line(name, 1, self.sign(text))

    def witness_line(self, text, when, name=WITNESS):
        cosigned = b"cosignature/v1\ntime %d\n" % when + text
        return self.line(name, 4, when.to_bytes(8, "big") + self.sign(cosigned))


class StatementKey:
    """A key on the curve P-256, and the envelopes that it signs."""

    def __init__(self, openssl, name):
        self.openssl, self.private, self.public = openssl, openssl.work / f"{name}.key", openssl.work / f"{name}.pem"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        self.key_id = sha256(self.public.read_bytes()).hex()

    def sign(self, message):
        (self.openssl.work / "message").write_bytes(message)
        return self.openssl("dgst", "-sha256", "-sign", self.private, self.openssl.work / "message")

    def envelope(self, statement):
        kind, payload = "application/vnd.in-toto+json", canonical(statement)
        signature = self.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload))
        return {"payload": b64(payload), "payloadType": kind, "signatures": [{"keyid": self.key_id, "sig": b64(signature)}]}


def verify(*arguments):
    """Exit status and what was printed, of the verifier in this process: an exception of it fails the test."""
    out, before = io.StringIO(), sys.argv
    sys.argv = ["verify_run.py", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = command.main()
    except SystemExit as error:
        status = error.code
    finally:
        sys.argv = before
    return status, out.getvalue()


def expect(status, arguments, *wanted):
    came, text = verify(*arguments)
    assert came == status, f"status {came}, not {status}:\n{text}"
    for part in wanted:
        assert part in text, f"'{part}' is missing:\n{text}"
    last = {0: "verified: ", 1: "NOT verified: ", 2: "partly verified: "}[status]
    assert text.splitlines()[-1].startswith(last) or "usage:" in text, text
    return text


@contextlib.contextmanager
def changed(path, data):
    """The file holds `data` (None: it is not there) inside the block."""
    before = path.read_bytes() if path.exists() else None
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def flipped(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    return changed(path, bytes(data))


def records_of(run):
    return [json.loads(line) for line in (run / "ledger.jsonl").read_bytes().splitlines()]


def chained(records):
    """The bytes of these (kind, body)."""
    previous, out = "0" * 64, b""
    for index, (kind, body) in enumerate(records):
        line = canonical({"body": body, "index": index, "kind": kind, "previous": previous})
        previous, out = sha256(line).hex(), out + line + b"\n"
    return out


def write_ledger(run, records):
    (run / "ledger.jsonl").write_bytes(chained(records))


def bits(number):
    return struct.pack(">d", number).hex()


def small_tokenizer():
    """A tokenizer.model with four pieces."""
    def field(number, value):
        return bytes([number << 3 | 2, len(value)]) + value

    pieces = [(b"<unk>", 2), (b"<s>", 3), (b"</s>", 3), (b"a", 1)]
    return b"".join(field(1, field(1, text) + bytes([3 << 3, kind])) for text, kind in pieces)


def small_contract(**changes):
    model = {"layers": 1, "hidden": 8, "heads": 2, "kv_heads": 2, "head_dim": 0, "ffn": 16, "vocab": 33, "context": 16,
             "rope_theta": "10000", "norm_eps": "0.00001", "qk_norm": True, "output_norms": False, "tied_embeddings": False,
             "document_mask": False, "init_std": "0.02", "init_residual_scaling": True, "embedding_multiplier": "1",
             "attention_multiplier": "0", "residual_multiplier": "1", "logits_multiplier": "1"}
    optimizer = {"kind": "adamw", "schedule": "cosine", "lr": "0.003", "betas": ["0.9", "0.95"], "eps": "1e-8",
                 "weight_decay": "0.1", "clip": "1", "warmup": 2, "stable": 0, "decay": 9, "min_lr_ratio": "0.1"}
    numerics = {"precision": "bf16", "residual": "compute", "global_batch": 4, "micro_batch": 2, "replicas": 2,
                "tensor_grains": 2, "loss_chunk": 512}
    stage = {"rope_theta": "10000", "micro_batch": 2, "weights": ["1"]}
    value = {"format": "baekji-contract-1", "formats": contracts.FORMATS, "model": model, "optimizer": optimizer,
             "numerics": numerics, "sources": [{"data_root": "56" * 32, "name": "a", "weight": "1"}], "seed": 11,
             "stages": [{**stage, "from_step": 1, "context": 16, "global_batch": 4},
                        {**stage, "from_step": 4, "context": 8, "global_batch": 8}],
             "tokenizer": sha256(small_tokenizer()).hex(), **copy.deepcopy(changes)}
    if "beacon" in value:
        del value["seed"]
    return value


class Run:
    """A run of six steps; states of steps 2, 4 and 6 are committed, those of 0 and 6 lie beside it as chunks."""

    def __init__(self, work, name, contract=None, value=b"a round".ljust(32, b".")):
        self.work, self.folder = Path(work).resolve(), Path(work).resolve() / name
        self.folder.mkdir(parents=True)
        self.data = canonical(contract or small_contract())
        (self.folder / "contract.json").write_bytes(self.data)
        (self.folder / "tokenizer.model").write_bytes(small_tokenizer())
        self.contract = contracts.parse_contract(self.data, "contract")
        self.value = value
        self.tensors = parameters.declare_parameters(self.contract)
        self.records, self.roots = [], {}
        self.make_records()
        write_ledger(self.folder, self.records)

    def seed(self):
        if "seed" in self.contract.value:
            return self.contract.value["seed"]
        return int.from_bytes(sha256(bytes.fromhex(self.contract.digest), self.value)[:8], "little")

    def arrays(self, step, kind, tensor, slice_index):
        """A slice of a state: from the seed at step 0, drawn otherwise."""
        count = tensor.slice_elements
        if step == 0 and kind > 0:
            return bytes(4 * count)
        if step == 0:
            return b"".join(genesis.step0_chunk(tensor, self.seed(), slice_index, c) for c in range(tensor.chunks))
        draw = random.Random(f"{self.folder.name}/{step}/{kind}/{tensor.name}/{slice_index}")
        return struct.pack(f"<{count}f", *(draw.gauss(0, 0.05) for _ in range(count)))

    def root(self, step):
        if step not in self.roots:
            leaves = [state.state_leaf(tensor, kind, s, c, self.arrays(step, kind, tensor, s)[4 * 65536 * c:][:4 * 65536])
                      for tensor in self.tensors for s in range(tensor.slices) for c in range(tensor.chunks) for kind in range(3)]
            self.roots[step] = merkle.tree_root(leaves).hex()
        return self.roots[step]

    def step(self, step, tokens, batch=None):
        batch = batch or step
        return ("step", {"step": step, "batch_root": sha256(b"batch %d" % batch).hex(), "loss": bits(3.0 / step),
                         "gradient_norm": bits(1.5), "learning_rate": bits(self.contract.learning_rate(step)),
                         "move": bits(0.25 / step), "position": self.contract.position(batch), "tokens": tokens,
                         "updates": step, "void": False})

    def make_records(self):
        body = {"format": "baekji.ledger.v2", "contract": self.contract.digest, "kernel_set": KERNEL_SET,
                "state_root": self.root(0)}
        if "beacon" in self.contract.value:
            body["seed"] = {"value": self.value.hex()}
        self.records = [("genesis", body), ("event", {"event": "start", "layout": "one rank"})]
        for step in range(1, 7):
            self.records.append(self.step(step, 64 * step))
            if step in (2, 6):
                self.records.append(("event", {"event": "checkpoint", "step": step, "state_root": self.root(step)}))
            if step == 4:
                self.records[-1][1]["state_root"] = self.root(4)

    def at_step(self, number):
        """The index of a step's record."""
        return next(i for i, (kind, body) in enumerate(self.records) if kind == "step" and body["step"] == number)

    def with_body(self, index, **members):
        records = copy.deepcopy(self.records)
        records[index] = (records[index][0], {**records[index][1], **members})
        return records

    def write_chunks(self, folder, step):
        for tensor in self.tensors:
            for kind, name in enumerate(state.KINDS):
                for s in range(tensor.slices):
                    path = folder / name / tensor.name / f"{s}.f32"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self.arrays(step, kind, tensor, s))
        (folder / "chunks.json").write_bytes(canonical({
            "format": "baekji.chunks.v1", "contract": self.contract.digest, "state_root": self.root(step), "step": step,
            "tensors": [tensor.geometry() for tensor in self.tensors]}) + b"\n")
        return folder

    def manifest(self, step, files):
        files = [{"name": name, "sha256": sha256(data).hex(), "size_bytes": len(data)} for name, data in files.items()]
        record = self.records[self.at_step(step)][1]
        ranges = [[0, t, s, 0, tensor.slice_elements] for t, tensor in enumerate(self.tensors) for s in range(tensor.slices)]
        return {"format": "baekji.checkpoint.v1", "contract": self.contract.digest, "state_root": self.root(step),
                "kernel_set": KERNEL_SET, "step": step, "tensor_grains": 2, "index": files[0], "shards": files[1:],
                "tensors": [tensor.geometry() for tensor in self.tensors], "ranges": ranges,
                **{name: record[name] for name in ("updates", "position", "tokens")}}

    def write_checkpoint(self, step, name=None, parent="checkpoints", **changes):
        folder = self.folder / parent / (name or f"step-{step:08}")
        folder.mkdir(parents=True)
        files = {"index.h5": b"an index", "shard-00000.h5": b"a shard" * 9}
        body = {**self.manifest(step, files), **changes}
        for name_of_file, data in files.items():
            (folder / name_of_file).write_bytes(data)
        (folder / "manifest.json").write_bytes(canonical({"body": body, "sha256": sha256(canonical(body)).hex()}) + b"\n")
        return folder

    def read(self):
        """As the verifier reads it."""
        return ledgers.read_ledger_bytes((self.folder / "ledger.jsonl").read_bytes(), self.data)


def tile_file(folder, level, number, nodes):
    """A tile or bundle of up to 256 nodes, in a log of less than 256,000 entries."""
    name = f"{number:03}" + ("" if len(nodes) == 256 else f".p/{len(nodes)}")
    path = folder / "tile" / str(level) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(nodes))


def write_opening(run, key, kernel_sets=(KERNEL_SET,)):
    digests = sorted(sha256(canonical(value)).hex() for value in kernel_sets)
    contract = sha256((run / "contract.json").read_bytes()).hex()
    text = f"baekji/opening/{contract}\n{b64(key.raw)}\n" + "".join(f"kernel_set {digest}\n" for digest in digests)
    (run / "log").mkdir(exist_ok=True)
    (run / "log" / "opening").write_bytes(text.encode() + b"\n" + key.owner_line("baekji/opening", text.encode()))


def signed(text, *lines):
    return text + b"\n" + b"".join(lines)


def checkpoint_note(run, keys, size, witnesses=()):
    """A signed checkpoint of the ledger's first lines; witnesses are (key, time)."""
    lines = (run / "ledger.jsonl").read_bytes().split(b"\n")[:-1][:size]
    origin = "baekji/" + sha256((run / "contract.json").read_bytes()).hex()
    opening = (run / "log" / "opening").read_bytes().rpartition(b"\n\n")[0] + b"\n"
    root = tree([sha256(b"\0", line) for line in lines])
    text = f"{origin}\n{len(lines)}\n{b64(root)}\nopening {sha256(opening).hex()}\n".encode()
    return signed(text, *(key.owner_line(origin, text) for key in keys), *(key.witness_line(text, when) for key, when in witnesses))


def write_log(run, key, size=None, name="checkpoint", witnesses=(), kernel_sets=(KERNEL_SET,)):
    """log/ of the ledger's first `size` lines, signed by the owner's key."""
    if not (run / "log" / "opening").exists():
        write_opening(run, key, kernel_sets)
    lines = (run / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
    lines = lines[:size or len(lines)]
    nodes, level = [sha256(b"\0", line) for line in lines], 0
    entries = [len(line).to_bytes(2, "big") + line for line in lines]
    for begin in range(0, len(entries), 256):
        tile_file(run / "log", "entries", begin // 256, entries[begin:begin + 256])
    while nodes:
        for begin in range(0, len(nodes), 256):
            tile_file(run / "log", level, begin // 256, nodes[begin:begin + 256])
        nodes = [tree(nodes[i:i + 256]) for i in range(0, len(nodes) - 255, 256)]
        level += 1
    (run / "log" / name).write_bytes(checkpoint_note(run, [key], len(lines), witnesses))


def write_contract_note(run, key, witnesses=(), name=NAME, seed=None):
    contract = json.loads((run / "contract.json").read_bytes())
    beacon = contract.get("beacon")
    line = seed or (f"beacon {beacon['name']} {beacon['round']}" if beacon else "seed")
    digest = sha256((run / "contract.json").read_bytes()).hex()
    text = f"baekji/contract/v2\n{digest}\n{name}\n{line}\n".encode()
    lines = [key.owner_line("baekji/contract", text), *(witness.witness_line(text, when) for witness, when in witnesses)]
    (run / "contract.note").write_bytes(signed(text, *lines))


def make_state(run, folder):
    """The state in a folder of chunks, as the verifier reads it."""
    return state.read_export(folder, run.contract, run.read())[0]


Rejected = report.Rejected
REMOVED = os.devnull
