"""Attacks on the files of a run that need no signature: each is a function that expects the verifier's verdict."""
import copy
import os
import shutil
from pathlib import Path

from baekji_verify import log as logs
from run_builder import (KERNEL_SET, Run, bits, canonical, changed, expect, flipped, sha256, small_contract, verify,
                         write_ledger)


def attack_events_without_records(bench):
    """A checkpoint event belongs to a step record, and a step has one state."""
    run, root, outside = bench.run, "12" * 32, "a checkpoint is of a step of its session"
    for step in (7, 10**6, 2**62):
        bench.refused(outside, [*run.records, bench.event("checkpoint", step=step, state_root=root)])
    for step in (-1, 2**63, 2**64 - 1):
        bench.refused("member step has the wrong form", [*run.records, bench.event("checkpoint", step=step, state_root=root)])
    bench.refused(outside, [*run.records[:2], bench.event("checkpoint", step=0, state_root=run.root(0))])
    resumed = bench.event("resume", step=4, kernel_set=KERNEL_SET, layout="one rank")
    bench.refused("two states of step 6", [*run.records, resumed, bench.event("checkpoint", step=6, state_root=root)])
    bench.refused(outside, [*run.records, bench.event("checkpoint", step=6, state_root=run.root(6))])


def attack_numbers_of_steps(bench):
    """What follows from contract and order is not the owner's to choose."""
    run = bench.run
    at = run.at_step(5)
    rate = run.contract.learning_rate(5)
    near = f"{int(bits(rate), 16) + 1:016x}"
    for wanted, members in [
        ("the learning rate is not the contract's", {"learning_rate": near}), ("tokens do not add up", {"tokens": 321}),
        ("position is not batch 5's", {"position": 27}), ("updates do not count", {"updates": 6}),
        ("a norm has a sign", {"move": "8000000000000000"}), ("a norm has a sign", {"gradient_norm": bits(-1.0)}),
        ("a void step moves nothing", {"void": True, "void_tensor": "head", "updates": 4}),
        ("and no other, names a tensor", {"void_tensor": "head"}), ("missing or stands twice", {"step": 6}),
        ("do not belong there", {"gpu": "h100"}), ("wrong form", {"loss": "7ff8000000000001"}),
    ]:
        bench.refused(wanted, run.with_body(at, **members))
    bench.refused("missing or stands twice", run.records[:at] + run.records[at + 1:])
    void = {"void": True, "void_tensor": "no.such", "gradient_norm": "0" * 16, "move": "0" * 16, "updates": 4}
    bench.refused("names no parameter of the model", run.with_body(at, **void)[:at + 1])
    bench.passes(run.with_body(at, **{**void, "void_tensor": "head"})[:at + 1])


def attack_order_of_records(bench):
    run = bench.run
    for wanted, records in [
        ("may not", run.records[1:]), ("may not", [run.records[0], *run.records[2:]]),
        ("may not", [*run.records, run.records[1]]), ("may not", [*run.records, run.records[0]]),
        ("may not", [*run.records, bench.event("divergence", step=6, members=["loss"]), run.step(7, 448)]),
        ("no records of that kind", [*run.records, ("surprise", {})]),
        ("knows no such event", [*run.records, bench.event("anomaly", step=3)]),
        ("an event has no name", [*run.records, ("event", {"step": 1})]),
        ("trained again", [*run.records, bench.event("divergence", step=0, members=[])]),
        ("another format", run.with_body(0, format="baekji.ledger.v1")),
        ("a member is missing", run.records[:1] + [("event", {"event": "start"})]),
        ("belongs to another contract", run.with_body(0, contract="12" * 32)),
    ]:
        bench.refused(wanted, records)
    for name in ("recheck", "spike", "opened", "restart"):
        bench.passes([*run.records, bench.event(name, step=6, hosts=["ef" * 32], details="said")])
        bench.refused("about a step of the ledger", [*run.records, bench.event(name, step=7)])
        bench.refused("wrong form", [*run.records, bench.event(name, step=6, hosts=["gpu7.example"])])


def attack_rollbacks(bench):
    """Grinding shows: what was not trained on cannot be left out; the price is printed; the contract limits it."""
    run = bench.run
    back = bench.event("rollback", to=1, skip=[3, 5])  # no root stands at step 1
    resume = bench.event("resume", step=0, kernel_set=KERNEL_SET, layout="one rank")
    again = [run.step(2, 128), run.step(3, 192, batch=6)]
    bench.passes([*run.records, back, resume, *again], "1 rollbacks, 3 batches left out, 5 steps trained and thrown away",
                 "freedom: at most 5.8 bits", "3 to 5")
    bench.refused("position is not batch 6's", [*run.records, back, resume, run.step(2, 128), run.step(3, 192)])
    bench.refused("may not", [*run.records, back, *again])
    for wanted, event in [
        ("were trained on behind its step", {"to": 2, "skip": [2, 3]}), ("were trained on", {"to": 2, "skip": [3, 7]}),
        ("were trained on", {"to": 2, "skip": [5, 4]}), ("goes back to a step", {"to": 7, "skip": [7, 7]}),
        ("were trained on", {"to": 6, "skip": [7, 7]}), ("were trained on", {"to": 0, "skip": [1]}),
        ("were trained on", {"to": 0, "skip": [1, True]}),
    ]:
        bench.refused(wanted, [*run.records, bench.event("rollback", **event)])
    write_ledger(run.folder, [*run.records, back, resume])
    expect(1, [run.folder, "--require", "no-rollback"], "no-rollback is required, and is not so")
    write_ledger(run.folder, run.records)
    limited = Run(bench.work, "limited", small_contract(max_skipped_batches=2))
    limited_back = [*limited.records, bench.event("rollback", to=1, skip=[3, 5])]
    write_ledger(limited.folder, limited_back)
    expect(1, [limited.folder], "more batches than the contract allows")
    neutral = canonical(dict(small_contract(), max_skipped_batches=-1))
    with changed(limited.folder / "contract.json", neutral):
        expect(1, [limited.folder], "member max_skipped_batches has the wrong form")
    records = run.records[:2] + [run.step(1, 64)]
    for i in range(1001):
        records += [bench.event("rollback", to=0, skip=[i + 1, i + 1]), resume]
        batch = i + 2
        records.append(("step", {**run.step(1, run.contract.batch_tokens(batch))[1], "position": run.contract.position(batch)}))
    bench.refused("rolls back too often", records)


def attack_torn_tails(bench):
    run = bench.run
    whole = (run.folder / "ledger.jsonl").read_bytes()
    for torn in (b'{"body":{"ba', b"\0\0\0\n", b"[" * 100 + b"\n", b'"\\ud800"\n'):
        with changed(run.folder / "ledger.jsonl", whole + torn):
            expect(0, [run.folder], f"the last {len(torn)} bytes are part of a line")
    for more in (b"{}\n", b"[" * 100 + b"]" * 100 + b"\n", b"1e5\n", b'"' + b"a" * 70000 + b'"\n', b"{}\0\n"):
        with changed(run.folder / "ledger.jsonl", whole + more):
            expect(1, [run.folder])
    with changed(run.folder / "ledger.jsonl", whole.replace(b'"layout":"one rank"', b'"layout":' + b"[" * 20000 + b"]" * 20000)):
        expect(1, [run.folder], "nests too deeply")
    with changed(run.folder / "contract.json", b'{"a":' * 20000 + b"1" + b"}" * 20000):
        expect(1, [run.folder], "nests too deeply")
    with changed(run.folder / "ledger.jsonl", whole.replace(b"one rank", b"\\u001b[31mx")):
        text = expect(1, [run.folder])
    assert "\x1b" not in text, text


def attack_special_files(bench):
    """Pipes, devices and links to them are refused, and nobody waits for them."""
    run = bench.run
    for name in ("contract.json", "ledger.jsonl", "tokenizer.model"):
        path = run.folder / name
        good = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        expect(1, [run.folder], "not a regular file")
        path.unlink()
        for target in ("/dev/zero", "/dev/null", bench.work):
            path.symlink_to(target)
            expect(1, [run.folder], "not a regular file")
            path.unlink()
        path.symlink_to(path)
        expect(1, [run.folder], "cannot be opened")
        path.unlink()
        path.write_bytes(good)
    with open(run.folder / "huge", "wb") as file:
        file.truncate(2**40)
    good = (run.folder / "contract.json").read_bytes()
    (run.folder / "contract.json").unlink()
    (run.folder / "contract.json").symlink_to(run.folder / "huge")
    expect(1, [run.folder], "a file is too long")
    (run.folder / "contract.json").unlink()
    (run.folder / "huge").unlink()
    (run.folder / "contract.json").write_bytes(good)


def attack_tokenizer(bench):
    run = bench.run
    with flipped(run.folder / "tokenizer.model", 9):
        expect(1, [run.folder], "tokenizer.model is not the one of the contract")
    with changed(run.folder / "tokenizer.model", None):
        expect(2, [run.folder], "tokenizer.model is not there")
        expect(1, [run.folder, "--require", "tokenizer"], "was not checked in full")


def attack_checkpoint_names(bench):
    """The name, the manifest, the ledger's event and its record are one step; step 0 comes from genesis alone."""
    run = bench.run
    good = run.write_checkpoint(6)
    expect(0, [run.folder, "--digests"], "steps [6]", "every byte")
    for name, wanted in [("step-00000000", "step 0 comes from genesis alone"), ("step-00000003", "another step than its manifest's"),
                         ("step-00000004", "another step than its manifest's"), ("step-6", "not the name of a checkpoint"),
                         ("step-000000006", "not the name"), ("step-00000007", "another step")]:
        for parent in ("checkpoints", "opened"):
            copied = run.folder / parent / name
            shutil.copytree(good, copied)
            expect(1, [run.folder], wanted)
            shutil.rmtree(copied)
    shutil.rmtree(run.folder / "opened")
    for step, changes, wanted in [
        (2, {"state_root": "12" * 32}, "another root of step 2"), (5, {}, "the ledger holds no state of that step"),
        (4, {"tokens": 1}, "tokens is not that of the ledger's step"), (4, {"contract": "12" * 32}, "of another contract"),
        (4, {"tensor_grains": 1}, "tensor_grains"), (4, {"tensors": []}, "the tensors are not the contract's"),
        (4, {"ranges": []}, "not those of every slice"), (4, {"updates": 3}, "updates is not"), (4, {"more": 1}, "do not belong"),
        (4, {"format": "baekji.checkpoint.v2"}, "another format"),
    ]:
        folder = run.write_checkpoint(step, **changes)
        expect(1, [run.folder], wanted)
        shutil.rmtree(folder)
    shutil.rmtree(run.folder / "checkpoints")


def attack_checkpoint_files(bench):
    """No file more, none less, none of another size, and with --digests no other bit."""
    run = bench.run
    folder = run.write_checkpoint(6)
    with changed(folder / "shard-00001.h5", b"a foreign shard"):
        expect(1, [run.folder], "files that its manifest does not name")
    with changed(folder / "index.h5", None):
        expect(1, [run.folder], "or lacks some")
    with changed(folder / "index.h5", b"an index, longer"):
        expect(1, [run.folder], "a file has another size")
    with flipped(folder / "shard-00000.h5", 5):
        expect(0, [run.folder], "no digests")
        expect(1, [run.folder, "--digests"], "a file has another digest")
    with flipped(folder / "manifest.json", 30):
        expect(1, [run.folder])
    (folder / "index.h5").unlink()
    os.mkfifo(folder / "index.h5")
    expect(1, [run.folder, "--digests"], "not a regular file")
    shutil.rmtree(run.folder / "checkpoints")
    for target in ("nowhere", "checkpoints", "ledger.jsonl"):  # dangling, looping, a file: not the same as nothing
        (run.folder / "checkpoints").symlink_to(target)
        expect(1, [run.folder], "manifests")
        (run.folder / "checkpoints").unlink()
    (run.folder / "checkpoints" / "step-00000006.partial").mkdir(parents=True)
    expect(0, [run.folder], "not a checkpoint, not looked at")
    shutil.rmtree(run.folder / "checkpoints")


def attack_chunks(bench):
    """An exported state is one of the ledger's, whatever it says."""
    run = bench.run
    state = run.write_chunks(bench.work / "state6", 6)
    expect(0, [run.folder, "--chunks", state], "for step 6")
    slice_file = state / "master" / "layers.0.feed_forward.up" / "1.f32"
    with flipped(slice_file, 5):
        expect(1, [run.folder, "--chunks", state], "another state root than their chunks.json says")
    with changed(slice_file, slice_file.read_bytes()[:-4]):
        expect(1, [run.folder, "--chunks", state], "the wrong size")
    described = state / "chunks.json"
    with changed(described, described.read_bytes().replace(b'"step":6', b'"step":4')):
        expect(1, [run.folder, "--chunks", state], "the ledger holds no such state")
    with changed(described, described.read_bytes().replace(b'"padded_rows":0', b'"padded_rows":false', 1)):
        expect(1, [run.folder, "--chunks", state], "a tensor is not the contract's")
    step0 = run.write_chunks(bench.work / "state0", 0)
    expect(0, [run.folder, "--chunks", step0, "--nonce", "00ff"], "4 of 23 chunks", "nonce 00ff", "not asked: genesis")
    expect(1, [run.folder, "--chunks", step0, "--require", "genesis"], "genesis is required")
    expect(0, [run.folder, "--chunks", step0, "--genesis", "1000", "--require", "genesis"], "23 of 23 chunks")
    shutil.rmtree(state)
    shutil.rmtree(step0)


def attack_forged_genesis(bench):
    """A step 0 with one element that the seed does not give, and a ledger that agrees with it."""
    run = Run(bench.work, "forged")
    state = run.write_chunks(bench.work / "forged0", 0)
    head = state / "master" / "head" / "0.f32"
    data = bytearray(head.read_bytes())
    data[4 * 7 + 1] ^= 1
    head.write_bytes(data)
    text = expect(1, [run.folder, "--chunks", state], "another state root than their chunks.json says")
    root = text.split("came:     ")[1].split("\n")[0]
    described = state / "chunks.json"
    described.write_bytes(described.read_bytes().replace(run.root(0).encode(), root.encode()))
    write_ledger(run.folder, run.with_body(0, state_root=root))
    expect(1, [run.folder, "--chunks", state, "--genesis", 1000], "does not come from the seed", "0.f32, element 7")
    expect(1, [run.folder, "--genesis", "all"], "another state root than the genesis record")
    expect(1, [run.folder, "--genesis", 5], "a sample is held against an exported step 0")


def attack_nonsense_requests(bench):
    """What asks for nothing is an error, and no success."""
    for options in (["--genesis", "0"], ["--genesis", "-1"], ["--nonce", "FF"], ["--head", "12"], ["--require", "everything"],
                    ["--require", "challenge"], ["--require", "data"], ["--witness", "a=b"], ["--witnessed", "x"],
                    ["--release", "x"], ["--attestations", "x"], ["--revocation", "x"], ["--unknown"]):
        status, text = verify(bench.run.folder, *options)
        assert status == 1 and "usage:" in text, (options, status, text)
    expect(1, [bench.run.folder, "--head", "12" * 32], "not in the ledger")
    expect(1, [bench.work / "nowhere"], "a file is missing")
    for name in ("log", "witnessed", "seed-proved", "attested", "genesis"):
        expect(1, [bench.run.folder, "--require", name], f"{name} is required, and is not proved")
    expect(0, [bench.run.folder, "--require", "ledger,contract,tokenizer,kernel-set,no-rollback"])
    assert logs.tile_name(0, 1234067, 256) == "0/x001/x234/067"


def attack_versions(bench):
    """A run of the first formats is refused, with what to do."""
    run = bench.run
    old = small_contract()
    old["formats"] = dict.fromkeys(old["formats"], 1)
    with changed(run.folder / "contract.json", canonical(old)):
        expect(1, [run.folder], "formats of another version", "the build that wrote the run")
    odd = small_contract()
    odd["formats"] = dict(odd["formats"], checkpoint=True)
    with changed(run.folder / "contract.json", canonical(odd)):
        expect(1, [run.folder], "formats of another version")
    for change in ({"beacon": {"name": "drand-quicknet", "round": 0}}, {"beacon": {"name": "mine", "round": 1}}, {"more": 1}):
        value = dict(small_contract(), **change)
        if "beacon" in change:
            del value["seed"]
        with changed(run.folder / "contract.json", canonical(value)):
            expect(1, [run.folder])


def attack_beacon_values(bench):
    """A round's value is as long as its network says."""
    for name, size in (("drand-quicknet", 31), ("drand-quicknet", 33), ("drand-default", 64), ("drand-quicknet", 1)):
        run = Run(bench.work, f"{name}-{size}", small_contract(beacon={"name": name, "round": 1000}))
        expect(0, [run.folder])
        write_ledger(run.folder, run.with_body(0, seed={"value": "ab" * size}))
        expect(1, [run.folder], "not what the contract asks for")
    bench.refused("not what the contract asks for", bench.run.with_body(0, seed={"value": "ab" * 32}))
    bench.refused("wrong form", bench.run.with_body(0, seed={"value": ""}))


def attack_kernel_sets(bench):
    """A session under a kernel set that nobody named is not proved, and the steps are said."""
    run = bench.run
    exotic = dict(KERNEL_SET, device="an exotic machine")
    resume = bench.event("resume", step=6, kernel_set=exotic, layout="one rank")
    write_ledger(run.folder, [*run.records, resume, run.step(7, 448)])
    expect(2, [run.folder], "steps 7 to 7 under an exotic machine", "not proved")
    expect(1, [run.folder, "--require", "kernel-set"])
    write_ledger(run.folder, run.records)
    missing = copy.deepcopy(KERNEL_SET)
    del missing["flags"]
    bench.refused("a member is missing", run.with_body(0, kernel_set=missing))
    bench.refused("described by text", run.with_body(0, kernel_set=dict(KERNEL_SET, libraries={"a": 1})))


def honest_runs(bench):
    """What must pass: interrupted, resumed, under another layout, diverged and repaired."""
    run = bench.run
    write_ledger(run.folder, run.records)
    expect(0, [run.folder, "--genesis", "all"], "is the genesis record's")
    resume = bench.event("resume", step=4, kernel_set=KERNEL_SET, layout="two ranks", torn_bytes=17,
                         problems=["a shard is missing"])
    bench.passes([*run.records, resume, run.step(7, 448)])
    bench.passes([*run.records, resume, bench.event("divergence", step=5, members=["loss"]), resume], "came out otherwise")
    bench.passes([run.records[0], bench.event("resume", step=0, kernel_set=KERNEL_SET, layout="one rank"), run.step(1, 64)])
    assert sha256(run.data).hex() == run.contract.digest and Path(run.folder).exists()


ATTACKS = [honest_runs, attack_events_without_records, attack_numbers_of_steps, attack_order_of_records, attack_rollbacks,
           attack_torn_tails, attack_special_files, attack_tokenizer, attack_checkpoint_names, attack_checkpoint_files,
           attack_chunks, attack_forged_genesis, attack_nonsense_requests, attack_versions, attack_beacon_values,
           attack_kernel_sets]
