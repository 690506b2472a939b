"""Run folders with anything done to their files: whatever it is, the verifier ends with a verdict of its own making."""
import os
import random
import shutil

from run_builder import WITNESS, Run, verify, write_contract_note, write_log

NASTY = [b"", b"\n", b"[" * 20000, b'{"a":' * 20000, b"\xff" * 40, b"\0" * 100, b"9" * 5000, b"1e999", b'"\\ud800"', b"\x1b[31m",
         b"null", b"[]", b"{}", b"\n\n\xe2\x80\x94 a b\n", b"step-00000000"]


def mutate(draw, path, others):
    """One change of a file; says which."""
    kind = draw.choice(["flip", "flip", "cut", "insert", "double", "replace", "nasty", "remove", "pipe", "link", "device", "folder",
                        "number"])
    data = path.read_bytes()
    at = draw.randrange(len(data) + 1)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(draw.choice(["/etc/passwd", "nowhere", path, "/"]))
    elif kind == "device":
        path.symlink_to(draw.choice(["/dev/zero", "/dev/null", "/dev/tty"]))
    elif kind == "folder":
        path.mkdir()
    elif kind != "remove":
        path.write_bytes({
            "flip": data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1:] if at < len(data) else data + b"x",
            "cut": data[:at], "insert": data[:at] + draw.choice(NASTY) + data[at:], "double": data + data,
            "replace": draw.choice(others).read_bytes(), "nasty": draw.choice(NASTY),
            "number": data.replace(b":1", draw.choice([b":18446744073709551616", b":-1", b":1.0", b":true", b':"1"', b":[]"]), 1),
        }[kind])
    return f"{kind} {path}"


def attack_mutated_folders(bench, count=200, seed=16):
    """A verdict for each, and never one that the run was not right for: what could not be foreseen has a line of its own."""
    run = Run(bench.work, "mutated")
    run.write_checkpoint(6)
    write_log(run.folder, bench.owner, witnesses=[(bench.witness, 1700000000)])
    write_contract_note(run.folder, bench.owner, [(bench.witness, 1700000000)])
    state = run.write_chunks(bench.work / "mutated-state", 6)
    arguments = ["--key", bench.owner.public, "--witness", f"{WITNESS}={bench.witness.public}", "--digests", "--chunks", state]
    tried, folder, verdicts = random.Random(seed), bench.work / "tried", {0: 0, 1: 0, 2: 0}
    others = sorted(path for path in run.folder.rglob("*") if path.is_file())
    for number in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run.folder, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        chosen = tried.sample(files, tried.choice([1, 1, 2]))
        before = {path: path.read_bytes() for path in chosen}
        done = [mutate(tried, path, others) for path in chosen]
        status, text = verify(folder, *arguments)
        verdicts[status] += 1
        assert text.isascii() and "\x1b" not in text, done
        assert "could not be checked" not in text, f"{number}: {done}\n{text}"
        # A note's signature of an unknown key is nobody's concern; all else that was changed is seen.
        unseen = [path for path in chosen if status == 0 and path.name not in ("contract.note", "checkpoint") and
                  path.read_bytes() != before[path]]
        assert not unseen, f"{done}\n{text}"
    assert verdicts[1] > count // 2, verdicts


ATTACKS = [attack_mutated_folders]
