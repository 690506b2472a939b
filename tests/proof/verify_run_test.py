#!/usr/bin/env python3
"""scripts/verify_run.py against a run of the real program: it passes what is right, and refuses, with its reason and
without a traceback, what is not: one bit of any file that it reads, and bytes that are no such file at all.

    verify_run_test.py --baekji PROGRAM --openssl PROGRAM --work FOLDER

The log and the notes are written here, from docs/formats/log.md, with keys and signatures of stock openssl.
"""

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "scripts"))
import verify_run  # noqa: E402

# ffn: a slice of a matrix has two chunks. vocab: tables are padded.
EXPERIMENT = """
experiment = { name = 'verified', seed = 11 }
data = { tokenizer = 'tok.model', source = [{ name = 'a', path = 'a.h5' }] }
numerics = { global_batch = 4, micro_batch = 2, replicas = 2, tensor_grains = 2 }
stage = [{ from_step = 4, global_batch = 8, context = 8 }]
layout = { threads = 1 }
log = { tensorboard = false, measure_ceiling = false }
[model]
layers = 1
hidden = 64
ffn = 2080
vocab = 333
context = 16
heads = 4
kv_heads = 2
qk_norm = true
output_norms = true
[run]
steps = 6
output = 'run'
checkpoint_every = 2
anchor_every = 2
root_every = 3
evaluate_every = 0
evaluate_sequences = 2
"""
WITNESS = "witness.example/1"
ROUND = 1000  # of drand-quicknet
ROUND_TIME = 1692803367 + 3 * (ROUND - 1)

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


class Key:
    def __init__(self, bench, name):
        self.bench, self.private, self.public = bench, bench.work / f"{name}.key", bench.work / f"{name}.pem"
        bench.openssl("genpkey", "-algorithm", "ed25519", "-out", self.private)
        bench.openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        self.raw = bench.openssl("pkey", "-in", self.private, "-pubout", "-outform", "DER")[-32:]

    def sign(self, message):
        (self.bench.work / "message").write_bytes(message)
        return self.bench.openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.private, "-in", self.bench.work / "message")

    def line(self, name, kind, signature):
        key_id = sha256(name.encode(), b"\n", bytes([kind]), self.raw)[:4]
        return f"\u2014 {name} {base64.b64encode(key_id + signature).decode()}\n".encode()

    def owner_line(self, name, text):
        return self.line(name, 1, self.sign(text))

    def witness_line(self, text, when):
        cosigned = b"cosignature/v1\ntime %d\n" % when + text
        return self.line(WITNESS, 4, when.to_bytes(8, "big") + self.sign(cosigned))


class Bench:
    def __init__(self, arguments):
        self.baekji, self.openssl_program = str(Path(arguments.baekji).resolve()), arguments.openssl
        self.work = Path(arguments.work).resolve()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.run, self.state, self.step0 = self.work / "run", self.work / "state", self.work / "step0"
        self.env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        if shutil.which("ssh") is None:
            self.env["OMPI_MCA_plm"] = "isolated"
        things = ["the moon", "a blank page", "seven stones", "the river", "an open door", "my old friend", "a dog"]
        texts = [" ".join(f"{things[(i * k) % 7]} meets {things[(i + k * k) % 7]}." for k in range(12))
                 for i in range(200)]
        (self.work / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        (self.work / "verified.toml").write_text(EXPERIMENT)
        self.program("tokenizer", "--input", "a.jsonl", "--vocab", "331", "--output", "tok.model")
        self.program("data", "--tokenizer", "tok.model", "--input", "a.jsonl", "--output", "a.h5")
        self.owner, self.witness = Key(self, "owner"), Key(self, "witness")

    def program(self, *arguments, status=0):
        done = subprocess.run([self.baekji, *map(str, arguments)], cwd=self.work, env=self.env, capture_output=True,
                              text=True, check=False)
        assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def openssl(self, *arguments):
        done = subprocess.run([self.openssl_program, *map(str, arguments)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def keys(self):
        return ["--key", self.owner.public, "--witness", f"{WITNESS}={self.witness.public}"]

def verify(*arguments):
    """Exit status and what was printed, of the verifier in this process: an exception of it fails the test."""
    out, before = io.StringIO(), sys.argv
    out.reconfigure = lambda **options: None
    sys.argv = ["verify_run.py", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out):
            status = verify_run.main()
    finally:
        sys.argv = before
    return status, out.getvalue()


def expect(status, arguments, *wanted):
    came, text = verify(*arguments)
    assert came == status, f"status {came}, not {status}:\n{text}"
    for part in wanted:
        assert part in text, f"'{part}' is missing:\n{text}"
    return text


@contextlib.contextmanager
def changed(path, data):
    """The file holds `data` (None: it is not there) inside the block."""
    before = path.read_bytes()
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    return changed(path, bytes(data))


def records_of(run):
    return [json.loads(line) for line in (run / "ledger.jsonl").read_bytes().splitlines()]


def write_ledger(run, records):
    """Chains these (kind, body) anew."""
    previous, out = "0" * 64, b""
    for index, (kind, body) in enumerate(records):
        line = canonical({"body": body, "index": index, "kind": kind, "previous": previous})
        previous, out = sha256(line).hex(), out + line + b"\n"
    (run / "ledger.jsonl").write_bytes(out)


def tile_file(folder, level, number, nodes):
    """A tile or bundle of up to 256 nodes, in a log of less than 256,000 entries."""
    name = f"{number:03}" + ("" if len(nodes) == 256 else f".p/{len(nodes)}")
    path = folder / "tile" / str(level) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(nodes))


def write_log(bench, run, size=None, name="checkpoint", when=1700000000):
    """log/ of the ledger's first `size` lines, signed by owner and witness."""
    lines = (run / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
    lines = lines[:size or len(lines)]
    nodes, level = [sha256(b"\0", line) for line in lines], 0
    root = tree(nodes)
    entries = [len(line).to_bytes(2, "big") + line for line in lines]
    for begin in range(0, len(entries), 256):
        tile_file(run / "log", "entries", begin // 256, entries[begin:begin + 256])
    while nodes:
        for begin in range(0, len(nodes), 256):
            tile_file(run / "log", level, begin // 256, nodes[begin:begin + 256])
        nodes = [tree(nodes[i:i + 256]) for i in range(0, len(nodes) - 255, 256)]
        level += 1
    origin = "baekji/" + sha256((run / "contract.json").read_bytes()).hex()
    text = f"{origin}\n{len(lines)}\n{base64.b64encode(root).decode()}\n".encode()
    note = text + b"\n" + bench.owner.owner_line(origin, text) + bench.witness.witness_line(text, when)
    (run / "log" / name).write_bytes(note)


def write_contract_note(bench, run, when):
    text = f"baekji/contract\n{sha256((run / 'contract.json').read_bytes()).hex()}\n".encode()
    note = text + b"\n" + bench.owner.owner_line("baekji/contract", text) + bench.witness.witness_line(text, when)
    (run / "contract.note").write_bytes(note)


def check_good_run(bench):
    """What the program wrote passes: ledger, log, signatures, an exported state, step 0 in full and by sample."""
    bench.program("train", "verified.toml")
    bench.program("chunks", "run", "--output", "state")
    bench.program("chunks", "run", "--output", "step0/", "--step", "0")
    bench.program("chunks", bench.run / "checkpoints" / "step-00000002", "--output", "state2")
    text = expect(0, [bench.run, "--chunks", bench.work / "state2", "--genesis", "all"], "seed not proved: the contract names",
                  "for step 2", "is the genesis record's", "note    log: none")
    print("\n".join("    " + line for line in text.splitlines() if "genesis" in line))
    write_log(bench, bench.run, size=5, name="earlier")
    write_log(bench, bench.run)
    write_contract_note(bench, bench.run, 1700000000)
    head = json.loads((bench.run / "ledger.jsonl").read_bytes().splitlines()[-1])["previous"]
    arguments = [bench.run, *bench.keys(), "--witnessed", bench.run / "log" / "earlier", "--chunks", bench.state,
                 "--chunks", bench.step0, "--genesis", 3, "--nonce", "00ff", "--head", head]
    expect(0, arguments, "for step 6", "for step 0", "3 of ", "nonce 00ff", "every bit equal", "2023-11-14 22:13:20 UTC",
           "the ledger begins with exactly these entries", "everything that was asked passed")
    text = bench.program("chunks", "run", "--output", "state", status=1)
    assert "already there" in text, text
    text = bench.program("chunks", "run", "--output", "none", "--step", "77", status=1)
    assert "--step 77" in text, text
    with flipped(bench.run / "checkpoints" / "step-00000004" / "shard-00000.h5", 5000):
        text = bench.program("chunks", "run", "--output", "none", "--step", "4", status=1)
    assert "damaged" in text and not list(bench.work.glob("none*")), text
    print("a run of the real program passes")
    return arguments


def still_base64(data, at):
    # The first place from `at` on where a flipped lowest bit leaves a letter or digit: another value, not another form.
    return next(i for i in range(at, len(data)) if all(chr(c).isascii() and chr(c).isalnum() for c in (data[i], data[i] ^ 1)))

def check_flips(bench, arguments):
    """One bit each, with the reason that must be given."""
    run, ledger = bench.run, bench.run / "ledger.jsonl"
    lines = ledger.read_bytes().split(b"\n")
    third = sum(len(line) + 1 for line in lines[:2])
    loss = third + lines[2].index(b'"loss":"') + 8
    last = ledger.read_bytes().rindex(b"checkpoint") + 9  # the name of an event: nothing else binds it
    size = len(lines) - 1
    tile, bundle = run / "log" / "tile" / "0" / f"000.p/{size}", run / "log" / "tile" / "entries" / f"000.p/{size}"
    checkpoint, slice_file = run / "log" / "checkpoint", bench.state / "master" / "layers.0.feed_forward.up" / "1.f32"
    note, earlier = checkpoint.read_bytes(), (run / "log" / "earlier").read_bytes()
    for what, path, at, wanted in [
        ("a ledger record", ledger, loss, "the chain is broken"),
        ("a line's head", ledger, third, "not canonical JSON"),
        ("the ledger's last line", ledger, last, "lines of the ledger have another root"),
        ("the contract", run / "contract.json", (run / "contract.json").read_bytes().index(b'"seed":11') + 8,
         "belongs to another contract"),
        ("a chunk file", slice_file, slice_file.stat().st_size - 5, "another state root than their chunks.json says"),
        ("a moment of step 0", bench.step0 / "moment2" / "head" / "0.f32", 9, "a moment of step 0"),
        ("a tile", tile, 32 * 4 + 7, "node 4 is not the ledger's"),
        ("a bundle of entries", bundle, 30, "node 0 is not the ledger's"),
        ("the owner's signature", checkpoint, still_base64(note, note.index(b"\n\n") + 2 + 4 + 72 + 20), "is false"),
        ("the witness's signature", checkpoint, still_base64(note, len(note) - 60), f"a signature of {WITNESS} is false"),
        ("the checkpoint's root", checkpoint, still_base64(note, note.index(b"\n\n") - 20), "have another root"),
        ("the witnessed root", run / "log" / "earlier", still_base64(earlier, earlier.index(b"\n\n") - 20),
         "the first 5 lines of the ledger have another root"),
        ("the contract note", run / "contract.note", 30, "a note of another contract"),
        ("the owner's key", bench.owner.public, 50, ""),
    ]:
        with flipped(path, at):
            text = expect(1, arguments, wanted)
        print(f"one bit of {what}: {next(line for line in text.splitlines() if line.startswith('FAILED'))}"[:150])


def check_forged_genesis(bench):
    """A step 0 with one element that the seed does not give, and a ledger that agrees with it: the sample finds it."""
    run, state = bench.work / "forged", bench.work / "forged0"
    shutil.copytree(bench.run, run, ignore=shutil.ignore_patterns("log", "checkpoints"))
    shutil.copytree(bench.step0, state)
    head, described = state / "master" / "head" / "0.f32", json.loads((state / "chunks.json").read_bytes())
    data = bytearray(head.read_bytes())
    data[4 * 7 + 1] ^= 1
    head.write_bytes(data)
    text = expect(1, [run, "--chunks", state], "another state root than their chunks.json says")
    root = text.split("came:     ")[1].split("\n")[0]
    (state / "chunks.json").write_bytes(canonical({**described, "state_root": root}) + b"\n")
    expect(1, [run, "--chunks", state], "the ledger holds no such state")
    records = [(r["kind"], r["body"]) for r in records_of(bench.run)]
    write_ledger(run, [("genesis", {**records[0][1], "state_root": root})] + records[1:])
    expect(1, [run, "--chunks", state, "--genesis", 1000], "does not come from the seed", "0.f32, element 7")
    expect(1, [run, "--genesis", 5], "a sample is held against an exported step 0")
    print("a forged step 0")


def check_random_flips(bench, arguments, count):
    """Any bit of any file that was asked for."""
    run = bench.run
    files = [run / "contract.json", run / "contract.note", run / "ledger.jsonl", *(run / "log").rglob("*")]
    files += [path for folder in (bench.state, bench.step0) for path in folder.rglob("*")]
    files = sorted(path for path in files if path.is_file())
    draw = random.Random(7)
    for i in range(count):
        path = files[i % len(files)] if i < 2 * len(files) else draw.choice(files)
        at, bit = draw.randrange(path.stat().st_size), draw.randrange(8)
        state = next((folder for folder in (bench.state, bench.step0) if folder in path.parents), None)
        with flipped(path, at, bit):
            status, text = verify(*([run, "--chunks", state] if state else arguments[:7]))
        # A flip in the name of a key makes it another key's signature, and those of unknown keys are nobody's concern.
        assert status == 1 or "not cosigned" in text, f"bit {bit} of byte {at} of {path} was not noticed:\n{text}"
    print(f"{count} single bits of {len(files)} files: every one was noticed")


def check_garbage(bench, arguments):
    """Bytes that are no such file: refused, never a traceback."""
    run = bench.run
    good = (run / "contract.json").read_bytes()
    garbage = [None, b"", b"\n", b"\xff\xfe\x00", b"{}", b"[]\n", b"null\n", b"1e5", b"NaN\n", b'{"a":' * 100000, b"9" * 5000,
               b'{"body":{},"index":0,"kind":"genesis","previous":"' + b"0" * 64 + b'"}\n', b'"\\ud800"\n',
               b"a\n\n\xe2\x80\x94 b AAAA\n", b"a\n\n\xe2\x80\x94 b !\n", good.replace(b'"seed":11', b'"seed":true'),
               good.replace(b'"seed":11', b'"beacon":7'), good.replace(b'"0.02"', b'"1e999"'),
               good.replace(b'"hidden":64', b'"hidden":9223372036854775807'), good.replace(b'"stages":[', b'"stages":[[],'),
               good.replace(b'"tensor_grains":2', b'"tensor_grains":3')]
    files = [run / "contract.json", run / "contract.note", run / "ledger.jsonl", run / "log" / "checkpoint",
             next((run / "log" / "tile" / "0").rglob("*.p")) / str(len(records_of(run))), bench.state / "chunks.json",
             bench.state / "master" / "head" / "0.f32", bench.owner.public, bench.witness.public]
    cases = 0
    for path in files:
        for data in garbage:
            if path.name == "contract.note" and data is None:
                continue  # a run need not have one
            with changed(path, data):
                status, text = verify(*arguments[:7], "--chunks", bench.state)
            assert status == 1, f"{str(data)[:60]} in place of {path} was not noticed:\n{text}"
            cases += 1
    print(f"{cases} files that are none: every one was refused")
    done = subprocess.run([sys.executable, SOURCE / "scripts" / "verify_run.py", bench.work / "nowhere"], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout, done.stderr
    assert verify_run.tile_name(0, 1234067, 256) == "0/x001/x234/067"


def check_ledger_rules(bench):
    """Ledgers that are chained as they should be and wrong in what they say; torn tails; rollbacks."""
    run = bench.work / "rules"
    shutil.copytree(bench.run, run, ignore=shutil.ignore_patterns("log", "checkpoints", "contract.note"))
    good = [(r["kind"], r["body"]) for r in records_of(bench.run)]
    steps = [i for i, (kind, _) in enumerate(good) if kind == "step"]

    def case(status, wanted, records):
        write_ledger(run, records)
        expect(status, [run], wanted)

    def with_step(number, **members):
        body = {**good[steps[number - 1]][1], **members}
        return [("step", body) if i == steps[number - 1] else r for i, r in enumerate(good)]

    case(0, "every member", good)
    case(0, "2 surprise", good + [("surprise", {})] * 2)
    case(1, "begins with its one genesis", good[1:])
    case(1, "steps are not in order", good[:steps[2]] + good[steps[2] + 1:])
    case(1, "position is not batch 4's", with_step(4, position=16))
    case(1, "tokens do not add up", with_step(4, tokens=999))
    case(1, "updates do not count", with_step(2, updates=1))
    case(1, "only a void step names a tensor", with_step(2, void_tensor="head"))
    case(1, "member loss has the wrong form", with_step(2, loss="7ff8000000000001"))
    case(1, "two state roots of step 2", good + [("event", {"event": "checkpoint", "step": 2, "state_root": "0" * 64})])
    case(1, "a step that has no record", good + [("event", {"event": "checkpoint", "step": 9, "state_root": "0" * 64})])
    case(1, "do not belong there", [("genesis", {**good[0][1], "more": 1})] + good[1:])
    case(1, "when, and only when", [("genesis", {**good[0][1], "seed": {"value": "00"}})] + good[1:])
    write_ledger(run, good)
    whole = (run / "ledger.jsonl").read_bytes()
    for torn in (b'{"body":{"ba', b"\0\0\0\n"):
        (run / "ledger.jsonl").write_bytes(whole + torn)
        expect(0, [run], f"the last {len(torn)} bytes are part of a line")
    (run / "ledger.jsonl").write_bytes(whole + b"{}\n")
    expect(1, [run], "a member is missing")
    # Back to step 2, without batches 4 and 5: step 3 is batch 3 again, step 4 is batch 6, in the second stage.
    back = ("event", {"event": "rollback", "to": 2, "skip": [4, 5]})
    step3 = ("step", {k: v for k, v in good[steps[2]][1].items() if k != "state_root"})
    step4 = ("step", {**good[steps[3]][1], "position": 3 * 4 + 3 * 8, "tokens": 3 * 64 + 64})
    step5 = ("step", {**good[steps[4]][1], "position": 3 * 4 + 4 * 8, "tokens": 3 * 64 + 128})
    case(0, "[(4, 5)]", good + [back, step3, step4, step5])
    case(1, "position is not batch 6's", good + [back, step3, good[steps[3]]])
    case(1, "steps are not in order", good + [back, step4])
    more = ("event", {"event": "rollback", "to": 2, "skip": [3, 3]})
    step3b = ("step", {**step3[1], "position": 3 * 4 + 3 * 8, "tokens": 2 * 64 + 64})
    case(0, "[(3, 5)]", good + [back, step3, more, step3b])
    case(1, "skips batches behind", good + [("event", {"event": "rollback", "to": 2, "skip": [2, 5]})])
    case(1, "whose root the ledger holds", good + [("event", {"event": "rollback", "to": 1, "skip": [4, 5]})])
    print("rules of the ledger, torn tails, rollbacks")


def check_large_log(bench):
    """A log with two levels of tiles, full and partial, and one that stands at a multiple of 256."""
    run = bench.work / "long"
    shutil.copytree(bench.work / "rules", run)
    good = [(r["kind"], r["body"]) for r in records_of(bench.run)]
    for count in (256, 700):
        shutil.rmtree(run / "log", ignore_errors=True)
        write_ledger(run, good + [("event", {"event": "note", "n": n}) for n in range(count - len(good))])
        write_log(bench, run)
        arguments = [run, *bench.keys()]
        expect(0, arguments, f"size {count} of {count} lines")
        with flipped(run / "log" / "tile" / "1" / "000.p" / str(count // 256), 5):
            expect(1, arguments, "node 0 is not the ledger's")
        with changed(run / "log" / "tile" / "entries" / "000", None):
            expect(1, arguments, "a tile is missing", "entries/000")
    write_ledger(run, good + [("event", {"event": "note", "n": n}) for n in range(650 - len(good))])
    expect(1, arguments, "the ledger lacks published entries")
    print("logs of 256 and 700 entries")


def check_seed(bench):
    """A contract that names a beacon, and the notes that prove its seed or do not."""
    run = bench.work / "beacon"
    shutil.copytree(bench.work / "rules", run)
    contract = json.loads((run / "contract.json").read_bytes())
    del contract["seed"]
    contract["beacon"] = {"name": "drand-quicknet", "round": ROUND}
    (run / "contract.json").write_bytes(canonical(contract))
    digest, value = sha256(canonical(contract)), sha256(b"a round")
    records = [(r["kind"], r["body"]) for r in records_of(bench.run)]
    genesis = {**records[0][1], "contract": digest.hex(), "seed": {"value": value.hex()}}
    write_ledger(run, [("genesis", genesis)] + records[1:])
    seed = int.from_bytes(sha256(digest, value)[:8], "little")
    arguments = [run, "--witness", f"{WITNESS}={bench.witness.public}"]
    expect(1, arguments, "seed not proved: the run has no contract.note", "a witness that cosigned nothing")
    write_contract_note(bench, run, ROUND_TIME - 60)
    expect(0, arguments, f"seed proved: {WITNESS} cosigned the contract 60 s before", f"seed {seed}.", value.hex())
    expect(0, [run], "seed not proved: no --witness key was given")
    expect(1, [run, "--seed-proved"], "no --witness key was given")
    expect(1, [*arguments, "--genesis", "all"], "step 0 has another state root")  # the seed of this run is another one
    write_contract_note(bench, run, ROUND_TIME)
    expect(0, arguments, "seed not proved: cosigned at", "not before the round came")
    write_contract_note(bench, bench.run, ROUND_TIME - 60)
    shutil.copy(bench.run / "contract.note", run)
    expect(1, arguments, "a note of another contract")
    stranger = Key(bench, "stranger")
    expect(1, [run, "--witness", f"{WITNESS}={stranger.public}"], "a witness that cosigned nothing")
    print("seeds of a beacon")


def check_signatures(bench):
    """The verifier's own Ed25519 against openssl, and what RFC 8032 refuses."""
    draw = random.Random(3)
    for length in (1, 100, 5000):
        message = draw.randbytes(length)
        signature = bench.owner.sign(message)
        assert verify_run.verify_ed25519(bench.owner.raw, message, signature)
        assert not verify_run.verify_ed25519(bench.witness.raw, message, signature)
        assert not verify_run.verify_ed25519(bench.owner.raw, message + b"x", signature)
        for at in range(0, 64, 7):
            wrong = bytearray(signature)
            wrong[at] ^= 0x10
            assert not verify_run.verify_ed25519(bench.owner.raw, message, bytes(wrong)), at
        again = int.from_bytes(signature[32:], "little") + verify_run.ORDER  # the same point, another spelling
        assert not verify_run.verify_ed25519(bench.owner.raw, message, signature[:32] + again.to_bytes(32, "little"))
    for text in ("0", "100", "2.5", "0.95", "0.0003", "1e-8", "1.5e+22", "-3", "0.000001", "1e+21", "100000000000000000000"):
        assert verify_run.is_real(text), text
    for text in ("-0", "1.0", "01", "1e3", "1e-6", "0.0000001", "1e+20", "NaN", "0.1000000000000000055511151231257827", "", "1e+400"):
        assert not verify_run.is_real(text), text
    print("Ed25519 agrees with openssl; real numbers have one spelling")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--baekji", "--openssl", "--work"):
        parser.add_argument(name, required=True)
    begin = time.monotonic()
    try:
        bench = Bench(parser.parse_args())
        check_signatures(bench)
        arguments = check_good_run(bench)
        check_flips(bench, arguments)
        check_forged_genesis(bench)
        check_garbage(bench, arguments)
        check_random_flips(bench, arguments, 250)
        check_ledger_rules(bench)
        check_large_log(bench)
        check_seed(bench)
    except AssertionError as error:
        print(f"verify_run_test.py: {error}")
        return 1
    print(f"verify_run_test.py: {time.monotonic() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
