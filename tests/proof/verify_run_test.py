#!/usr/bin/env python3
"""scripts/verify_run.py against a run of the real program: it passes what is right, and refuses, with its reason and
without a traceback, what is not: one bit of any file that it reads, and bytes that are no such file at all.

    verify_run_test.py --baekji PROGRAM --openssl PROGRAM --work FOLDER

Attacks that need no program are in verify_attacks_test.py.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run_builder import (SOURCE, WITNESS, Key, Openssl, Run, StatementKey, canonical, changed, checkpoint_note, expect,  # noqa: E402
                         flipped, records_of, verify, write_contract_note, write_log)
from baekji_verify import canonical as forms, ed25519  # noqa: E402

# ffn: a slice of a matrix has two chunks. vocab: tables are padded.
EXPERIMENT = """
experiment = { name = 'verified', seed = 11 }
data = { tokenizer = 'tok.model', source = [{ name = 'a', path = 'a.h5' }] }
numerics = { global_batch = 4, micro_batch = 2, replicas = 2, tensor_grains = 2 }
stage = [{ from_step = 4, global_batch = 8, context = 8 }]
optimizer = { warmup = 2, decay = 5 }
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
[run]
steps = 6
output = 'run'
signing_key = 'owner.key'
checkpoint_every = 2
anchor_every = 2
root_every = 3
evaluate_every = 0
evaluate_sequences = 2
"""


class Bench:
    def __init__(self, arguments):
        self.baekji = str(Path(arguments.baekji).resolve())
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
        self.openssl = openssl = Openssl(arguments.openssl, self.work)
        self.owner, self.witness, self.attester = Key(openssl, "owner"), Key(openssl, "witness"), StatementKey(openssl, "attester")

    def program(self, *arguments, status=0):
        done = subprocess.run([self.baekji, *map(str, arguments)], cwd=self.work, env=self.env, capture_output=True,
                              text=True, check=False)
        assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def keys(self):
        return ["--key", self.owner.public, "--witness", f"{WITNESS}={self.witness.public}"]


def check_good_run(bench):
    """What the program wrote passes: ledger, log, checkpoints, signatures, an exported state, step 0 in full and by sample."""
    bench.program("train", "verified.toml")
    bench.program("chunks", "run", "--output", "state")
    bench.program("chunks", "run", "--output", "step0/", "--step", "0")
    bench.program("chunks", bench.run / "checkpoints" / "step-00000002", "--output", "state2")
    text = expect(0, [bench.run, "--key", bench.owner.public, "--digests", "--chunks", bench.work / "state2", "--genesis", "all",
                      "--require", "ledger,contract,tokenizer,genesis,log,kernel-set,no-rollback"],
                  "not proved: the contract names no beacon", "for step 2", "is the genesis record's", "every byte")
    print("\n".join("    " + line for line in text.splitlines() if "genesis" in line))
    size, time_s = len(records_of(bench.run)), 1700000000
    (bench.work / "earlier").write_bytes(checkpoint_note(bench.run, [bench.owner], 5, [(bench.witness, time_s)]))
    (bench.run / "log" / "checkpoint").write_bytes(checkpoint_note(bench.run, [bench.owner], size, [(bench.witness, time_s)]))
    write_contract_note(bench.run, bench.owner, [(bench.witness, time_s)])
    head = records_of(bench.run)[-1]["previous"]
    arguments = [bench.run, *bench.keys(), "--witnessed", bench.work / "earlier", "--chunks", bench.state,
                 "--chunks", bench.step0, "--genesis", 3, "--nonce", "00ff", "--head", head]
    expect(0, arguments, "for step 6", "for step 0", "3 of ", "nonce 00ff", "every bit equal", "2023-11-14 22:13:20 UTC",
           f"the first 5 of {size} records are those that were kept")
    text = bench.program("chunks", "run", "--output", "state", status=1)
    assert "already there" in text, text
    with flipped(bench.run / "checkpoints" / "step-00000004" / "shard-00000.h5", 5000):
        text = bench.program("chunks", "run", "--output", "none", "--step", "4", status=1)
        expect(1, [bench.run, "--digests"], "a file has another digest")
    assert "damaged" in text and not list(bench.work.glob("none*")), text
    print("a run of the real program passes")
    return arguments


def check_release(bench):
    """What `baekji attest` signs of an export, in both types, passes; what is not of the state's weights does not."""
    for dtype in ("fp32", "bf16"):
        release, statements = bench.work / f"release-{dtype}", bench.work / f"statements-{dtype}"
        bench.program("export", "run", "--output", release, "--dtype", dtype, "--shard-bytes", "100000")
        bench.program("attest", "run", "--key", bench.attester.private, "--output", statements, "--export", release)
        base = [bench.run, "--attestations", statements, "--attestation-key", bench.attester.public, "--release", release]
        expect(2, base, "whether they come from the state of step 6")
        expect(0, [*base, "--chunks", bench.state, "--require", "attested"], "exported again, gives each", "none more")
        with flipped(sorted(release.glob("model-*.safetensors"))[1], -1):
            expect(1, base, "not what was signed")
    print("releases of the real program pass")


def still_base64(data, at):
    # The first place from `at` on where a flipped lowest bit leaves a letter or digit: another value, not another form.
    return next(i for i in range(at, len(data)) if all(chr(c).isascii() and chr(c).isalnum() for c in (data[i], data[i] ^ 1)))


def check_flips(bench, arguments):
    run = bench.run
    ledger = run / "ledger.jsonl"
    lines = ledger.read_bytes().split(b"\n")
    third = sum(len(line) + 1 for line in lines[:2])
    loss = third + lines[2].index(b'"loss":"') + 8
    last = ledger.read_bytes().rindex(b'"state_root":"') + 16  # a digest: nothing else binds it
    size = len(lines) - 1
    tile, bundle = run / "log" / "tile" / "0" / f"000.p/{size}", run / "log" / "tile" / "entries" / f"000.p/{size}"
    checkpoint, slice_file = run / "log" / "checkpoint", bench.state / "master" / "layers.0.feed_forward.up" / "1.f32"
    note, earlier = checkpoint.read_bytes(), (bench.work / "earlier").read_bytes()
    for what, path, at, wanted in [
        ("a ledger record", ledger, loss, "the chain is broken"),
        ("a line's head", ledger, third, "not canonical JSON"),
        ("the ledger's last line", ledger, last, ""),
        ("the contract", run / "contract.json", (run / "contract.json").read_bytes().index(b'"seed":11') + 8,
         "belongs to another contract"),
        ("a chunk file", slice_file, slice_file.stat().st_size - 5, "another state root than their chunks.json says"),
        ("a moment of step 0", bench.step0 / "moment2" / "head" / "0.f32", 9, "a moment of step 0"),
        ("a tile", tile, 32 * 4 + 7, "node 4 is not the ledger's"),
        ("a bundle of entries", bundle, 30, "node 0 is not the ledger's"),
        ("the opening", run / "log" / "opening", 20, "of another contract"),
        ("the owner's signature", checkpoint, still_base64(note, note.index(b"\n\n") + 2 + 4 + 72 + 20), "is false"),
        ("the witness's signature", checkpoint, still_base64(note, len(note) - 60), f"a signature of {WITNESS} is false"),
        ("the kept checkpoint", bench.work / "earlier", still_base64(earlier, 90), ""),
        ("the contract note", run / "contract.note", 30, "a note of another contract"),
        ("the tokenizer", run / "tokenizer.model", 30, "not the one of the contract"),
        ("the owner's key", bench.owner.public, 50, ""),
    ]:
        with flipped(path, at):
            text = expect(1, arguments, wanted)
        print(f"one bit of {what}: {next(line for line in text.splitlines() if line.startswith('FAIL'))}"[:150])


def check_random_flips(bench, arguments, count):
    """Any bit of any file that was asked for."""
    run = bench.run
    files = [run / "contract.json", run / "contract.note", run / "ledger.jsonl", run / "tokenizer.model", *(run / "log").rglob("*")]
    files += [path for path in (run / "checkpoints").rglob("*")]
    files += [path for folder in (bench.state, bench.step0) for path in folder.rglob("*")]
    files = sorted(path for path in files if path.is_file())
    draw = random.Random(7)
    for i in range(count):
        path = files[i % len(files)] if i < 2 * len(files) else draw.choice(files)
        at, bit = draw.randrange(path.stat().st_size), draw.randrange(8)
        state = next((folder for folder in (bench.state, bench.step0) if folder in path.parents), None)
        with flipped(path, at, bit):
            status, text = verify(*([run, "--chunks", state] if state else [*arguments[:7], "--digests"]))
        # A flip in the name of a key makes it another key's signature, and those of unknown keys are nobody's concern.
        assert status == 1 or path.name in ("contract.note", "checkpoint"), f"bit {bit} of byte {at} of {path}:\n{text}"
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
               good.replace(b'"tensor_grains":2', b'"tensor_grains":0'), good.replace(b'"tensor_grains":2', b'"tensor_grains":3')]
    size = len(records_of(run))
    files = [run / "contract.json", run / "contract.note", run / "ledger.jsonl", run / "log" / "checkpoint", run / "log" / "opening",
             run / "checkpoints" / "step-00000004" / "manifest.json", run / "log" / "tile" / "0" / f"000.p/{size}",
             bench.state / "chunks.json", bench.state / "master" / "head" / "0.f32", bench.owner.public, bench.witness.public]
    cases = 0
    for path in files:
        for data in garbage:
            if path.name == "contract.note" and data is None:
                continue  # a run need not have one
            with changed(path, data):
                status, text = verify(*arguments[:7], "--chunks", bench.state)
            assert status == 1, f"{str(data)[:60]} in place of {path} was not noticed:\n{text}"
            assert "could not be checked" not in text, f"{str(data)[:60]} in place of {path}:\n{text}"
            cases += 1
    print(f"{cases} files that are none: every one was refused")
    done = subprocess.run([sys.executable, SOURCE / "scripts" / "verify_run.py", bench.work / "nowhere"], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout, done.stderr


def check_resumed(bench):
    """A run that goes on, and one that goes back to a step without a root, are runs as any other."""
    (bench.work / "verified.toml").write_text(EXPERIMENT.replace("steps = 6", "steps = 8"))
    bench.program("train", "verified.toml")
    expect(0, [bench.run, "--key", bench.owner.public, "--digests"], "steps 1 to 8", "1 resume")
    bench.program("train", "verified.toml", "--rollback", "7", "--skip", "8:8")
    expect(0, [bench.run, "--key", bench.owner.public, "--digests"], "1 rollbacks, 1 batches left out, 1 steps trained and thrown "
           "away", "batches that were left out: 8 to 8", "freedom: at most 6.9 bits")
    expect(1, [bench.run, "--require", "no-rollback"], "no-rollback is required, and is not so")
    print("a run that went on passes, and one that went back")


def check_keys(bench):
    """Hand-overs and revocations that the program writes."""
    second = Key(bench.openssl, "second")
    size = len(records_of(bench.run))
    bench.program("log", "run", "--hand-over", second.private, "--key", bench.owner.private)
    (bench.work / "verified.toml").write_text(EXPERIMENT.replace("steps = 6", "steps = 10").replace("owner.key", "second.key"))
    bench.program("train", "verified.toml")
    expect(0, [bench.run, "--key", second.public, "--require", "log"], "by key 2 of 2")
    expect(0, [bench.run, "--key", bench.owner.public], "the given key is key 1 of 2", f"handed over at size {size}")
    bench.program("log", "run", "--revoke", bench.owner.private)
    expect(0, [bench.run, "--key", bench.owner.public], f"revoked beyond size {size}")
    print("keys of the real program are handed over and revoked")


def check_beacon(bench):
    """A contract that a witness of the program cosigned, and its list, beside a ledger that was made of it here."""
    beacon = EXPERIMENT.replace("seed = 11", f"beacon = 'drand-quicknet', beacon_round = {10**9}").replace("'run'", "'beacon'")
    (bench.work / "beacon.toml").write_text(beacon)
    bench.program("contract", "beacon.toml", "--key", bench.owner.private, "--note", "note")
    written = bench.program("contract", "beacon.toml")
    data = next(line for line in written.splitlines() if line.startswith("{")).encode()
    run = Run(bench.work, "beacon", json.loads(data))
    assert run.data == data, data
    shutil.copy(bench.work / "tok.model", run.folder / "tokenizer.model")
    shutil.move(bench.work / "note", run.folder / "contract.note")
    bench.program("contract", "--cosign", run.folder / "contract.note", "--contract", run.folder / "contract.json", "--key",
                  bench.witness.private, "--name", WITNESS, "--register", "register")
    bench.program("contract", "--list-register", "register", "--key", bench.witness.private, "--name", WITNESS, "--output", "list")
    write_log(run.folder, bench.owner)
    expect(2, [run.folder, *bench.keys(), "--witness-list", f"{WITNESS}={bench.work / 'list'}"],
           "signed 1 contracts for that round: 1 under", "before the round came")
    print("a note that the real program signed and cosigned is read, and its list")


def check_signatures(bench):
    """The verifier's own Ed25519 against openssl, and what RFC 8032 refuses."""
    draw = random.Random(3)
    for length in (1, 100, 5000):
        message = draw.randbytes(length)
        signature = bench.owner.sign(message)
        assert ed25519.verify_ed25519(bench.owner.raw, message, signature)
        assert not ed25519.verify_ed25519(bench.witness.raw, message, signature)
        assert not ed25519.verify_ed25519(bench.owner.raw, message + b"x", signature)
        for at in range(0, 64, 7):
            wrong = bytearray(signature)
            wrong[at] ^= 0x10
            assert not ed25519.verify_ed25519(bench.owner.raw, message, bytes(wrong)), at
        again = int.from_bytes(signature[32:], "little") + ed25519.ORDER  # the same point, another spelling
        assert not ed25519.verify_ed25519(bench.owner.raw, message, signature[:32] + again.to_bytes(32, "little"))
        assert not ed25519.verify_ed25519(bench.owner.raw, message, signature[:40])
    for text in ("0", "100", "2.5", "0.95", "0.0003", "1e-8", "1.5e+22", "-3", "0.000001", "1e+21", "100000000000000000000"):
        assert forms.is_real(text), text
    for text in ("-0", "1.0", "01", "1e3", "1e-6", "0.0000001", "1e+20", "NaN", "0.1000000000000000055511151231257827", "",
                 "1e+400"):
        assert not forms.is_real(text), text
    assert forms.canonical({"b": [1], "a": "\u00e9"}) == canonical({"a": "\u00e9", "b": [1]})
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
        check_release(bench)
        check_flips(bench, arguments)
        check_garbage(bench, arguments)
        check_random_flips(bench, arguments, 250)
        check_resumed(bench)
        check_keys(bench)
        check_beacon(bench)
    except AssertionError as error:
        print(f"verify_run_test.py: {error}")
        return 1
    print(f"verify_run_test.py: {time.monotonic() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
