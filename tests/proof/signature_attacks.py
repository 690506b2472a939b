"""Attacks on what is signed: the log and its keys, witnesses and seeds, statements and releases."""
import copy
import json
import os
import shutil

from baekji_verify import envelopes, p256, safetensors
from baekji_verify.attestations import chain_statement, contract_statement, model_statement, release_statement
from run_builder import (KERNEL_SET, NAME, ROUND, ROUND_TIME, WITNESS, Run, b64, canonical, changed, checkpoint_note, expect,
                         flipped, make_state, sha256, signed, small_contract, write_contract_note, write_ledger, write_log,
                         write_opening)


def fresh(bench, name, **contract):
    return Run(bench.work, name, small_contract(**contract) if contract else None)


def hand_over(run, old, new, size, number=1, signers=None, contract=None):
    contract = contract or sha256((run / "contract.json").read_bytes()).hex()
    text = f"baekji/key/{contract}\n{b64(old.raw)}\n{b64(new.raw)}\n{size}\n".encode()
    path = run / "log" / "keys" / f"{number:04}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(signed(text, *(key.owner_line("baekji/key", text) for key in signers or (old, new))))
    return path


def revocation(run, key, size, signer):
    contract = sha256((run / "contract.json").read_bytes()).hex()
    text = f"baekji/revoked/{contract}\n{b64(key.raw)}\n{size}\n".encode()
    return signed(text, signer.owner_line("baekji/revoked", text))


def attack_log(bench):
    """A log says whose it is, covers what it says, and holds nothing else."""
    run = fresh(bench, "logged")
    write_log(run.folder, bench.owner)
    log, owner = run.folder / "log", ["--key", bench.owner.public]
    expect(0, [run.folder], "not checked: --key")
    expect(0, [run.folder, *owner, "--require", "log"], "signed for 10 of 10 records by key 1 of 1", "in force")
    expect(1, [run.folder, "--key", bench.stranger.public], "the key is none of this log's")
    for name, wanted in [("keys.txt", "does not belong to the log"), ("tile/0/001.p/3", "more than the ledger"),
                         ("keys/1", "numbered without a gap"), ("tile/entries/x", "does not belong")]:
        (log / name).parent.mkdir(exist_ok=True)
        with changed(log / name, b"x" * 96):
            expect(1, [run.folder, *owner], wanted)
    with changed(log / "tile" / "0" / "000.p" / "3.new", b"what a crash left"):
        expect(0, [run.folder, *owner], "1 unfinished files")
    for name in ("checkpoint", "opening", "tile/0/000.p/10", "tile/entries/000.p/10"):
        with changed(log / name, None):
            expect(1, [run.folder, *owner], "missing")
        for at in (3, 40):
            with flipped(log / name, at):
                expect(1, [run.folder, *owner])
    with changed(log / "checkpoint", checkpoint_note(run.folder, [bench.stranger], 10)):
        expect(1, [run.folder, *owner], "no signature of a key of this log")
    good = (log / "opening").read_bytes()
    write_opening(run.folder, bench.owner, (KERNEL_SET, dict(KERNEL_SET, device="exotic")))
    expect(1, [run.folder, *owner], "another opening than its checkpoint says")
    write_opening(run.folder, bench.stranger)
    expect(1, [run.folder, *owner], "none of this log's")
    (log / "opening").write_bytes(good)
    (log / "checkpoint").unlink()
    os.mkfifo(log / "checkpoint")
    expect(1, [run.folder, *owner], "not a regular file")
    (log / "checkpoint").unlink()
    write_ledger(run.folder, run.records[:8])
    write_log(run.folder, bench.owner)
    write_ledger(run.folder, run.records)
    expect(2, [run.folder, *owner], "signed for 8 of 10 records", "nobody signed the rest")
    expect(1, [run.folder, *owner, "--require", "log"], "log is required, and was not checked in full")
    write_ledger(run.folder, run.records[:6])
    expect(1, [run.folder, *owner], "the ledger lacks published entries")
    write_ledger(run.folder, run.records[:6] + [run.step(4, 1)] + run.records[7:])
    expect(1, [run.folder, *owner])


def attack_keys(bench):
    """Keys rotate and are revoked: each signs in its time, and a hand-over needs both."""
    run = fresh(bench, "rotated")
    folder, log = run.folder, run.folder / "log"
    write_log(folder, bench.owner, 5)
    early = (log / "checkpoint").read_bytes()
    path = hand_over(folder, bench.owner, bench.second, 5)
    write_log(folder, bench.second)
    first, second = ["--key", bench.owner.public], ["--key", bench.second.public]
    expect(0, [folder, *second], "by key 2 of 2")
    expect(0, [folder, *first], "the given key is key 1 of 2", "handed over at size 5")
    (bench.work / "early").write_bytes(early)
    expect(0, [folder, *second, "--witnessed", bench.work / "early"], "the first 5 of 10 records are those that were kept")
    good = path.read_bytes()
    for options, wanted in [({"signers": [bench.second]}, "not signed by key"), ({"signers": [bench.owner]}, "not signed by key"),
                            ({"size": 0}, "the size of a hand-over"), ({"contract": "12" * 32}, "of another contract"),
                            ({"old": bench.third}, "not in force"), ({"new": bench.owner}, "cannot come back")]:
        hand_over(folder, **{"old": bench.owner, "new": bench.second, "size": 5, **options})
        expect(1, [folder, *second], wanted)
    hand_over(folder, bench.owner, bench.second, 7)
    expect(0, [folder, *second])
    hand_over(folder, bench.owner, bench.second, 11)
    expect(1, [folder, *second], "may not sign it")
    with changed(log / "checkpoint", checkpoint_note(folder, [bench.owner], 10)):
        expect(1, [folder, *first], "handed over behind the end of the log")
    path.write_bytes(good)
    with changed(log / "checkpoint", checkpoint_note(folder, [bench.owner], 10)):
        expect(1, [folder, *first], "may not sign it")
    with changed(log / "checkpoint", checkpoint_note(folder, [bench.owner, bench.second], 10)):
        expect(1, [folder, *first], "may not sign it")
    gap = hand_over(folder, bench.second, bench.third, 9, number=3)
    expect(1, [folder, *second], "numbered without a gap")
    gap.unlink()
    past = hand_over(folder, bench.second, bench.third, 5, number=2)
    expect(1, [folder, *second], "lies in the past")
    past.unlink()
    outside = bench.work / "revoked"
    for size, signer, status, wanted in [(10, bench.second, 0, "revoked beyond size 10"), (9, bench.second, 1, "may not sign it"),
                                         (9, bench.stranger, 1, "nobody who may"), (9, bench.owner, 1, "nobody who may")]:
        outside.write_bytes(revocation(folder, bench.second, size, signer))
        expect(status, [folder, *second, "--revocation", outside], wanted)
    outside.write_bytes(revocation(folder, bench.owner, 4, bench.second))
    expect(1, [folder, *second, "--revocation", outside], "handed over that is revoked")
    outside.write_bytes(revocation(folder, bench.stranger, 4, bench.stranger))
    expect(1, [folder, *second, "--revocation", outside], "a key that this log never had")
    (log / "revoked").mkdir()
    inside = log / "revoked" / sha256(bench.owner.raw).hex()[:8]
    inside.write_bytes(revocation(folder, bench.owner, 5, bench.owner))
    expect(0, [folder, *second])
    inside.rename(log / "revoked" / "12345678")
    expect(1, [folder, *second], "under the name of another key")


def attack_admissible_kernel_sets(bench):
    """The opening names what is admissible; it cannot be changed later, and others are not proved."""
    exotic = dict(KERNEL_SET, device="cuda")
    for name, admitted, status in [("admitted", (KERNEL_SET, exotic), 0), ("exotic", (KERNEL_SET,), 2), ("foreign", (exotic,), 2)]:
        run = fresh(bench, name)
        resume = bench.event("resume", step=6, kernel_set=exotic, layout="one rank")
        write_ledger(run.folder, [*run.records, resume, run.step(7, 448)])
        write_log(run.folder, bench.owner, kernel_sets=admitted)
        text = expect(status, [run.folder, "--key", bench.owner.public])
        assert status == 0 or "not admissible" in text, text
        expect(min(status, 1), [run.folder, "--key", bench.owner.public, "--require", "kernel-set"])


def attack_witnesses(bench):
    run = fresh(bench, "cosigned")
    folder = run.folder
    write_log(folder, bench.owner, 6)
    (bench.work / "kept").write_bytes(checkpoint_note(folder, [bench.owner], 6, [(bench.witness, 1700000000)]))
    write_log(folder, bench.owner, witnesses=[(bench.witness, 1700000000)])
    owner = [folder, "--key", bench.owner.public]
    witness = [*owner, "--witness", f"{WITNESS}={bench.witness.public}"]
    expect(0, [*witness, "--require", "witnessed"], "signed log/checkpoint at 2023-11-14 22:13:20 UTC")
    expect(0, [*owner, "--witnessed", bench.work / "kept"], "by whoever gave it")
    expect(0, [*witness, "--witnessed", bench.work / "kept"], f"signed by {WITNESS}")
    expect(1, [*owner, "--witness", f"{WITNESS}={bench.stranger.public}"], "signed nothing that is here")
    expect(1, [*owner, "--witness", f"other={bench.witness.public}"], "signed nothing that is here")
    write_log(folder, bench.owner)
    expect(1, witness, "signed nothing that is here")
    data = (bench.work / "kept").read_bytes()
    for at in (len(data) - 60, 20, 75):
        with flipped(bench.work / "kept", at):
            expect(1, [*witness, "--witnessed", bench.work / "kept"])
    other = Run(bench.work, "other-history")
    write_ledger(other.folder, other.with_body(other.at_step(2), loss="3ff0000000000000"))
    write_log(other.folder, bench.owner)
    expect(1, [other.folder, "--key", bench.owner.public, "--witnessed", bench.work / "kept"],
           "lines of the ledger have another root")


def witness_list(bench, path, entries, when):
    lines = "".join(f"{time} {digest} {name} {seed}\n" for time, digest, name, seed in entries)
    text = ("baekji/witness-register/v1\n" + lines).encode()
    path.write_bytes(signed(text, bench.witness.witness_line(text, when)))
    return path


def attack_seed(bench):
    """A seed is proved by a witness who signed this contract, and no other of its name, before the round came."""
    run = fresh(bench, "beacon", beacon={"name": "drand-quicknet", "round": ROUND})
    folder, seed = run.folder, f"beacon drand-quicknet {ROUND}"
    write_log(folder, bench.owner)
    base = [folder, "--key", bench.owner.public, "--witness", f"{WITNESS}={bench.witness.public}"]
    early, other = ROUND_TIME - 60, "12" * 32
    entry = (early, run.contract.digest, NAME, seed)
    listed = bench.work / "list"
    arguments = [*base, "--witness-list", f"{WITNESS}={listed}"]
    expect(0, base[:3], "the run has no contract note")
    write_contract_note(folder, bench.owner, [(bench.witness, early)])
    expect(0, base, "not proved", "is not given")
    expect(1, [*base, "--require", "seed-proved"], "seed-proved is required, and is not proved")
    witness_list(bench, listed, [entry, (early, other, "another/name", seed)], ROUND_TIME + 5)
    expect(0, [*arguments, "--require", "seed-proved"], "proved: witness.example/1", "signed 2 contracts for that round: 1 under",
           f"seed {run.seed()}. LOOK UP", run.value.hex())
    expect(0, [*base[:3], "--genesis", "all"], "is the genesis record's")
    for entries, when, status, wanted in [
        ([entry, (early, other, NAME, seed)], ROUND_TIME + 5, 1, "several contracts of this name for one round"),
        ([entry], ROUND_TIME - 1, 2, "before the round came"), ([], ROUND_TIME + 5, 2, "does not have this contract"),
        ([(early, other, NAME, seed)], ROUND_TIME + 5, 2, "does not have this contract"),
        ([(ROUND_TIME, *entry[1:])], ROUND_TIME + 5, 2, "does not have this contract before the round"),
        ([entry, (early - 1, other, NAME, "seed")], ROUND_TIME + 5, 1, "go back, or tell of the future"),
        ([(ROUND_TIME + 9, *entry[1:])], ROUND_TIME + 5, 1, "tell of the future"),
        ([(early, other, "a name", seed)], ROUND_TIME + 5, 1, "not a line of a witness's register"),
        ([entry, (early, other, NAME, f"beacon drand-quicknet {ROUND + 1}")], ROUND_TIME + 5, 0, "proved"),
    ]:
        expect(status, [*arguments[:-1], f"{WITNESS}={witness_list(bench, listed, entries, when)}"], wanted)
    witness_list(bench, listed, [entry], ROUND_TIME + 5)
    with flipped(listed, 60):
        expect(1, arguments)
    write_contract_note(folder, bench.owner, [(bench.witness, ROUND_TIME)])
    expect(2, arguments, "not before the round came")
    for options, wanted in [({"seed": "seed"}, "another seed line"), ({"seed": f"beacon drand-quicknet {ROUND - 1}"}, "another seed line"),
                            ({"name": "a\u00e9"}, "the name of a contract note"), ({"name": "a" * 129}, "the name of")]:
        write_contract_note(folder, bench.owner, [(bench.witness, early)], **options)
        expect(1, arguments, wanted)
    write_contract_note(folder, bench.stranger, [(bench.witness, early)])
    expect(1, arguments, "not signed by a key of the owner's")
    write_contract_note(bench.run.folder, bench.owner, [(bench.witness, early)])
    shutil.move(bench.run.folder / "contract.note", folder / "contract.note")
    expect(1, arguments, "a note of another contract")


def write_release(run, state, folder, form, tamper=None):
    """The files of an export of this state; gives the subjects of its statement."""
    folder.mkdir()
    export = make_state(run, state)

    def take(name, data):
        with open(folder / name, "ab") as file:
            file.write(data)

    safetensors.make_release(run.contract, run.read(), export, form, run.folder / "tokenizer.model", take)
    if tamper:
        tamper(folder)
    names = ["config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json", *sorted(
        path.name for path in folder.glob("model*.safetensors")), *(
        ["model.safetensors.index.json"] if (folder / "model.safetensors.index.json").exists() else []), "provenance.json"]
    return [(name, sha256((folder / name).read_bytes()).hex()) for name in names]


class Statements:
    """A folder of statements of a run, with its release of step 6."""

    def __init__(self, bench, name, dtype="bf16", shard_bytes=1000, tamper=None):
        self.bench, self.run = bench, fresh(bench, name)
        self.state = self.run.write_chunks(bench.work / f"{name}-state", 6)
        self.release, self.folder = bench.work / f"{name}-release", bench.work / f"{name}-statements"
        self.folder.mkdir()
        self.form = safetensors.Form(dtype, shard_bytes)
        self.subjects = write_release(self.run, self.state, self.release, self.form, tamper)
        ledger = self.run.read()
        self.said = {"contract.dsse.json": contract_statement(self.run.contract, ledger),
                     "chain.dsse.json": chain_statement(self.run.contract, ledger, 10),
                     "release.dsse.json": release_statement(self.run.contract, ledger, 6, ledger.lines[9].hex(), self.form,
                                                            self.subjects)}
        for name_of_file, statement in self.said.items():
            self.sign(name_of_file, statement)
        self.sign_model(self.subjects)
        self.base = [self.run.folder, "--attestations", self.folder, "--attestation-key", bench.attester.public]
        self.all = [*self.base, "--release", self.release, "--chunks", self.state]

    def sign(self, name, statement, key=None):
        (self.folder / name).write_bytes(json.dumps((key or self.bench.attester).envelope(statement)).encode() + b"\n")

    def sign_model(self, subjects):
        key = self.bench.attester
        name = f"baekji-{self.run.contract.digest}-step-6"
        bundle = {"mediaType": envelopes.BUNDLE_TYPE, "dsseEnvelope": key.envelope(model_statement(name, subjects)),
                  "verificationMaterial": {"publicKey": {"hint": key.key_id}, "tlogEntries": []}}
        (self.folder / "model.sig").write_bytes(json.dumps(bundle).encode())


def attack_statements(bench):
    """Every field of every statement is what the run says; the type is that of the file's name."""
    s = Statements(bench, "stated")
    text = expect(0, [*s.all, "--require", "attested"], "chain of 10 of 10 records", "weights bit for bit", "none more")
    assert "model-00002-of-" in str(sorted(s.release.iterdir())), text
    for name, said in s.said.items():
        for member in said["predicate"]:
            for value in ("12" * 32, 5, None):
                wrong = copy.deepcopy(said)
                if wrong["predicate"][member] == value:
                    continue
                wrong["predicate"][member] = value
                s.sign(name, wrong)
                expect(1, s.all if member == "shard_bytes" else s.base, "FAIL  attested")
            missing = copy.deepcopy(said)
            del missing["predicate"][member]
            s.sign(name, missing)
            expect(1, s.base, "FAIL  attested")
        for change in ({"predicateType": "https://baekji/attestation/other/v2"}, {"subject": []}, {"more": 1},
                       {"predicateType": said["predicateType"].replace("v2", "v1")}, {"_type": "x"},
                       {"subject": [{"name": "x", "digest": {"sha256": "12" * 32}}]}, {"predicate": {**said["predicate"], "more": 1}},
                       {"subject": [*said["subject"], said["subject"][0]]}):
            s.sign(name, {**said, **change})
            expect(1, s.all, "FAIL  attested")
        s.sign(name, next(other for kind, other in s.said.items() if kind != name))
        expect(1, s.base, "a statement of another kind")
        s.sign(name, said, bench.other_attester)
        expect(1, s.base, "signed by another key")
        s.sign(name, said)
        data = (s.folder / name).read_bytes()
        for at in range(3, len(data) - 3, len(data) // 9):
            with flipped(s.folder / name, at):
                expect(1, s.base, "FAIL  attested")
        with changed(s.folder / name, b"[" * 20000):
            expect(1, s.base, "nests too deeply")
    expect(1, [*s.base[:-1], bench.owner.public], "not a public key on the curve P-256")


def attack_missing_statements(bench):
    s = Statements(bench, "missing")
    for name, wanted in [("contract.dsse.json", "is not there"), ("chain.dsse.json", "is not there"),
                         ("release.dsse.json", "without its release.dsse.json"), ("model.sig", "without its model.sig")]:
        with changed(s.folder / name, None):
            expect(2, [*s.base, "--chunks", s.state], wanted)
            expect(1, [*s.all, "--require", "attested"], "attested is required, and was not checked in full")
    with changed(s.folder / "model.sig", None), changed(s.folder / "release.dsse.json", None):
        expect(1, s.all, "no statement is about a release")
        expect(0, s.base, "contract", "chain of 10")
    ledger = s.run.read()
    run_part = chain_statement(s.run.contract, part_of(s.run, 8), 8)
    s.sign("chain.dsse.json", run_part)
    expect(2, s.all, "chain of 8 of 10 records: nobody signed the rest")
    wrong = copy.deepcopy(run_part)
    wrong["predicate"]["state_roots"].append({"step": 6, "state_root": ledger.roots[6]})
    s.sign("chain.dsse.json", wrong)
    expect(1, s.all, "not true of this run")
    for path in s.folder.iterdir():
        path.unlink()
    expect(1, s.base, "no attestations")


def part_of(run, records):
    whole = (run.folder / "ledger.jsonl").read_bytes()
    write_ledger(run.folder, run.records[:records])
    part = run.read()
    (run.folder / "ledger.jsonl").write_bytes(whole)
    return part


def attack_foreign_weights(bench):
    """Foreign weights, signed by the owner: the state that the ledger holds gives others."""
    def foreign(folder):
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(data)

    for dtype in ("fp32", "bf16"):
        s = Statements(bench, f"foreign-{dtype}", dtype, 10**9, foreign)
        expect(2, [*s.base, "--release", s.release], "whether they come from the state of step 6", "--chunks")
        expect(1, s.all, "a released file is not what the state gives", "lm_head.weight, element")
        expect(1, [*s.base, "--chunks", s.state], "a released file is not what the state gives")
        honest = Statements(bench, f"honest-{dtype}", dtype, 10**9)
        expect(0, honest.all, "weights bit for bit")
        step2 = honest.run.write_chunks(bench.work / f"step2-{dtype}", 2)
        expect(2, [*honest.base, "--chunks", step2], "whether they come from the state of step 6")
        said = honest.said["release.dsse.json"]
        for step, root in ((2, honest.run.root(2)), (0, honest.run.root(0)), (6, honest.run.root(4))):
            predicate = {**said["predicate"], "step": step, "state_root": root, "tokens": 64 * step}
            honest.sign("release.dsse.json", {**said, "predicate": predicate})
            expect(1, [*honest.all, "--chunks", step2], "FAIL  attested")


def attack_release_files(bench):
    """The files are those that were signed: none more, none less, no links."""
    s = Statements(bench, "files")
    weights = next(s.release.glob("model-00001-of-*.safetensors"))
    with changed(s.release / "pytorch_model.bin", b"foreign"):
        expect(1, s.all, "other files than were signed")
    with changed(s.release / "generation_config.json", None):
        expect(1, s.all, "other files than were signed")
    with changed(s.release / "model.sig", b"its place in a release"):
        expect(0, s.all)
    for path in (weights, s.release / "config.json", s.release / "provenance.json"):
        with flipped(path, path.stat().st_size - 3):
            expect(1, s.all, "not what was signed")
        good = path.read_bytes()
        path.rename(bench.work / "elsewhere")
        path.symlink_to(bench.work / "elsewhere")
        expect(1, s.all, "plain files only")
        path.unlink()
        os.mkfifo(path)
        expect(1, s.all, "not a regular file")
        path.unlink()
        path.write_bytes(good)
    s.sign_model(s.subjects[1:])
    expect(1, s.all, "model.sig is of other files")
    config = json.loads((s.release / "config.json").read_bytes())
    (s.release / "config.json").write_bytes(json.dumps({**config, "rope_theta": 1.0}).encode())
    subjects = [(name, sha256((s.release / name).read_bytes()).hex()) for name, _ in s.subjects]
    said = s.said["release.dsse.json"]
    s.sign("release.dsse.json", {**said, "subject": envelopes.statement("", subjects, {})["subject"]})
    s.sign_model(subjects)
    expect(1, s.all, "a released file is not what the state gives", "config.json")


def attack_signature_arithmetic(bench):
    """The verifier's own P-256 against openssl, and forms that it must refuse."""
    key, key_id = p256.read_p256_key(bench.attester.public)
    assert key_id == bench.attester.key_id
    for length in (0, 1, 1000):
        message = bytes(length)
        der = bench.attester.sign(message)
        assert p256.verify_p256(key, message, der)
        assert not p256.verify_p256(p256.read_p256_key(bench.other_attester.public)[0], message, der)
        assert not p256.verify_p256(key, message + b"x", der)
        for at in range(0, len(der), 5):
            wrong = bytearray(der)
            wrong[at] ^= 4
            assert not p256.verify_p256(key, message, bytes(wrong)), at
        for wrong in (b"", der[:-1], der + b"\0", b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x06\x02\x01\x01\x02\x01\x01"):
            assert not p256.verify_p256(key, message, wrong)
    assert p256.multiply_sum(p256.ORDER, p256.BASE, 0, p256.BASE) is None and p256.is_on_curve(p256.BASE)
    assert p256.multiply_sum(3, p256.BASE, p256.ORDER - 3, p256.BASE) is None
    assert p256.multiply_sum(1, p256.BASE, 1, p256.BASE) == p256.multiply_sum(2, p256.BASE, 0, p256.BASE)
    assert safetensors.to_bf16(bytes.fromhex("0080803f" "0080813f" "0180803f" "ffff7f7f" "0000807f" "0100807f")) == \
        bytes.fromhex("803f" "823f" "813f" "807f" "807f" "c07f")
    assert canonical({"b": 1, "a": "\u00e9"}) == b'{"a":"\xc3\xa9","b":1}'


ATTACKS = [attack_log, attack_keys, attack_admissible_kernel_sets, attack_witnesses, attack_seed, attack_statements,
           attack_missing_statements, attack_foreign_weights, attack_release_files, attack_signature_arithmetic]
