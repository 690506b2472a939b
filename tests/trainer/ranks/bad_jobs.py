#!/usr/bin/env python3
"""Real jobs of several ranks that must not go well: each ends in one message, a status that is not 0, within seconds,
and leaves no process behind.

    bad_jobs.py GROUP --baekji PROGRAM --mpirun PROGRAM --work FOLDER
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 40  # for a job to end, on however busy a machine
EXPERIMENT = """
[experiment]
name = 'bad'
seed = 3
[model]
layers = 4
hidden = 32
heads = 4
kv_heads = 4
ffn = 48
vocab = 332
context = 32
document_mask = true
[data]
tokenizer = '{data}/tok.model'
[[data.source]]
name = 'a'
path = '{store}'
[numerics]
global_batch = 8
micro_batch = 1
replicas = 4
tensor_grains = 4
precision = 'fp32'
[layout]
threads = 1
[run]
steps = 100000
checkpoint_every = 0
evaluate_every = 0
evaluate_sequences = 2
[log]
every = 1
tensorboard = false
measure_ceiling = false
"""
NAMES = {
    "data=2": ["pipeline 0, data 0, tensor 0", "pipeline 0, data 1, tensor 0"],
    "tensor=2": ["pipeline 0, data 0, tensor 0", "pipeline 0, data 0, tensor 1"],
    "pipeline=2": ["pipeline 0, data 0, tensor 0", "pipeline 1, data 0, tensor 0"],
    "pipeline=3": [f"pipeline {p}, data 0, tensor 0" for p in range(3)],
    "data=3": [f"pipeline 0, data {d}, tensor 0" for d in range(3)],
}


def name_of(layout, rank):
    return f"rank {rank} ({NAMES[layout][rank]})"


class Job:
    """One mpirun. `apps` are lists of (ranks, overrides, folder to start in, shell prefix)."""

    def __init__(self, bench, apps):
        self.bench = bench
        self.run = bench.work / "run"
        self.log = bench.work / "job.log"
        self.killed = set()
        # Tagged: mpirun puts the rank before each line.
        command = [bench.mpirun, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
        command += ["--tag-output"] if any(app.get("tagged") for app in apps) else []
        for i, app in enumerate(apps):
            command += [":"] if i > 0 else []
            command += ["-n", str(app["ranks"])]
            command += ["-wdir", str(app["folder"])] if "folder" in app else []
            command += app.get("prefix", [])
            command += [bench.baekji, "train", str(app.get("experiment", bench.experiment))]
            for override in [f"run.output='{self.run}'"] + app["overrides"]:
                command += ["--set", override]
        env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        if shutil.which("ssh") is None:
            env["OMPI_MCA_plm"] = "isolated"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        self.began = time.monotonic()

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ranks(self):
        """Process ids of the job's ranks, by rank."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or str(self.run) not in (entry / "cmdline").read_text():
                    continue
                number = re.search(r"\0OMPI_COMM_WORLD_RANK=(\d+)\0", "\0" + (entry / "environ").read_text())
            except (OSError, UnicodeDecodeError):
                continue
            if number:
                found[int(number[1])] = int(entry.name)
        return found

    def until_step(self, step):
        while not re.search(rf"step +{step}/", self.text()):
            assert self.process.poll() is None, "the job ended too early:\n" + self.text()
            assert time.monotonic() - self.began < SECONDS, "the job does not begin:\n" + self.text()
            time.sleep(0.02)
        self.began = time.monotonic()

    def end(self):
        """The exit status and what was printed."""
        try:
            status = self.process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            for process in self.ranks().values():
                os.kill(process, signal.SIGKILL)
            self.process.kill()
            raise AssertionError("the job hangs:\n" + self.text()) from None
        seconds = time.monotonic() - self.began
        deadline = time.monotonic() + 5
        while self.ranks() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not self.ranks(), f"processes are left behind: {self.ranks()}\n" + self.text()
        return status, self.text(), seconds


class Bench:
    def __init__(self, arguments):
        self.baekji, self.mpirun = str(Path(arguments.baekji).resolve()), arguments.mpirun
        self.work = Path(arguments.work).resolve() / arguments.group
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        things = ["the moon", "a blank page", "seven stones", "the river", "an open door", "my old friend", "a dog"]
        texts = [" ".join(f"{things[(i * k) % 7]} meets {things[(i + k * k) % 7]}." for k in range(12))
                 for i in range(200)]
        (self.work / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        self.program("tokenizer", "--input", "a.jsonl", "--vocab", "331", "--output", "tok.model")
        self.program("data", "--tokenizer", "tok.model", "--input", "a.jsonl", "--output", "a.h5")
        self.experiment = self.write_experiment("bad.toml", self.work / "a.h5")

    def program(self, *arguments):
        done = subprocess.run([self.baekji, *arguments], cwd=self.work, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def write_experiment(self, name, store):
        (self.work / name).write_text(EXPERIMENT.format(data=self.work, store=store))
        return self.work / name

    def start(self, ranks, *overrides, **more):
        return self.mixed({"ranks": ranks, "overrides": list(overrides), **more})

    def mixed(self, *apps):
        return Job(self, apps)

    def fresh(self):
        shutil.rmtree(self.work / "run", ignore_errors=True)

    def train(self, ranks, *overrides, **more):
        """A job that must go well: its summary and what it printed."""
        status, text, _ = self.start(ranks, *overrides, **more).end()
        assert status == 0, text
        return json.loads((self.work / "run" / "summary.json").read_text()), text


def expect_message(job, what, *wanted):
    """One message of ours, with a label in front of each of its lines, that says all of `wanted`."""
    status, text, seconds = job.end()
    assert status != 0, text
    first = re.findall(r"^(rank \d+(?: \([^)]*\))?): error.*$", text, re.M)
    assert len(first) == 1, f"{len(first)} messages:\n" + text
    message = "\n".join(line for line in text.splitlines() if line.startswith(first[0] + ": "))
    for part in wanted:
        assert re.search(part, message, re.M), f"'{part}' is missing:\n{text}"
    loose = [line for line in text.splitlines() if re.match(r" *(required|came|where|HINT):? ", line)]
    assert not loose, "lines of nobody:\n" + text
    print(f"{what}: {seconds:.1f} s, status {status}\n    " + message.replace("\n", "\n    "))


def killed(bench):
    for layout, ranks, victim in [("data=2", 2, 1), ("tensor=2", 2, 0), ("pipeline=3", 3, 1)]:
        bench.fresh()
        job = bench.start(ranks, "layout." + layout)
        job.until_step(3)
        os.kill(job.ranks()[victim], signal.SIGKILL)
        status, text, seconds = job.end()
        assert status != 0, text
        # The others are ended by mpirun, which names the rank; they have nothing to say.
        assert re.search(rf"rank {victim} .*signal 9", text) and "error" not in text, text
        print(f"{layout}: rank {victim} killed, the job ended in {seconds:.1f} s, status {status}")
    _, text = bench.train(2, "layout.tensor=2", "run.steps=2")
    assert "going on" in text, text


def stopped(bench):
    for layout, ranks, victim in [("data=3", 3, 2), ("tensor=2", 2, 0), ("pipeline=3", 3, 1)]:
        bench.fresh()
        job = bench.start(ranks, "layout." + layout, "run.collective_limit_s=1")
        job.until_step(3)
        os.kill(job.ranks()[victim], signal.SIGSTOP)
        victims = re.escape(name_of(layout, victim))
        expect_message(job, f"{layout}: rank {victim} stopped", "a collective is stuck", r"error in step \d+",
                       rf"came: +(no answer from {victims}|{victims} has not (sent|received))",
                       r"where: +rank \d \(pipeline \d, data \d, tensor \d\), .*group, step \d+", "collective_limit_s")


def checkpoint(bench):
    layout = ["layout.data=2", "layout.zero=1", "run.checkpoint_every=2", "run.keep=3"]
    whole, _ = bench.train(2, *layout, "run.steps=6")
    bench.fresh()
    bench.train(2, *layout, "run.steps=4")
    checkpoints = bench.work / "run" / "checkpoints"
    (checkpoints / "step-00000004" / "shard-00001.h5").unlink()
    summary, text = bench.train(3, "layout.data=3", "run.checkpoint_every=2", "run.keep=3", "run.steps=6", tagged=True)
    speakers = set(re.findall(r"^\[1,(\d+)\]<std", text, re.M))
    assert speakers == {"0"}, f"ranks {speakers} speak:\n" + text
    assert summary["state_root"] == whole["state_root"], text
    assert re.search("warning: .*missing", text) and "step-00000004/shard-00001.h5" in text and "2 -> 6" in text, text
    print("a shard is missing: the run goes on from the checkpoint before, to the same state root; only rank 0 speaks")
    for shard in checkpoints.glob("*/shard-00000.h5"):
        shard.unlink()
    expect_message(bench.start(2, *layout, "run.steps=8"), "no checkpoint is good", "no checkpoint of the run is good",
                   "step-00000006/shard-00000.h5", "step-00000002/shard-00000.h5", "HINT")


def refused(bench):
    groups = ["layout.virtual_stages=2", "layout.schedule='interleaved'"]
    for ranks, overrides, wanted in [
        (3, ["layout.data=2"], ["2 ranks for 1x2x1", "came:     3 ranks", "mpirun -n 2"]),
        (3, ["layout.tensor=3"], ["a divisor of 4", "came: +3"]),
        (2, ["layout.tensor=8"], ["a divisor of 4", "came: +8"]),
        (5, ["layout.data=5"], ["data <= replicas = 4", "data = 5"]),
        (3, ["layout.pipeline=3", *groups], ["layers = 4", "6"]),
        (2, ["layout.pipeline=2", "numerics.replicas=1", "numerics.global_batch=3", *groups],
         ['"interleaved" cannot hold', "groups of pipeline = 2", "3 micro-batches"]),
        (2, ["layout.pipeline=2", "layout.layers_per_stage=[1,2]"], ["add up to 4 layers", r"\[1, 2\].*add up to 3"]),
        (5, ["layout.pipeline=5"], ["layers = 4", "5"]),
        (2, ["layout.data=2", "data.tokenizer='nowhere.model'"], ["nowhere.model"]),
    ]:
        expect_message(bench.start(ranks, *overrides), f"{ranks} ranks, {' '.join(overrides)}", *wanted)
        assert not (bench.work / "run").exists(), "something was written"


def disagreement(bench):
    for overrides, wanted in [
        (["experiment.seed=77"], [r"rank 0: \[experiment\] seed = 3$", r"rank 1.*: \[experiment\] seed = 77$"]),
        (["run.steps=99"], [r"rank 0: \[run\] steps = 100000$", r"rank 1: \[run\] steps = 99$"]),
        (["layout.data=1", "layout.pipeline=2"], [r"rank 0: \[layout\] data = 2$", r"rank 1: \[layout\] data = 1$"]),
        (["layout.data=3"], ["the mesh does not match", "3 ranks for 1x3x1", "came: +2 ranks"]),
    ]:
        job = bench.mixed({"ranks": 1, "overrides": ["layout.data=2"]},
                          {"ranks": 1, "overrides": ["layout.data=2", *overrides]})
        expect_message(job, f"rank 1 has {' '.join(overrides)}", *wanted)
        assert not (bench.work / "run").exists(), "something was written"


def own_folders(bench, ranks):
    """One folder for each rank with a copy of the store, which the experiment names by a relative path."""
    experiment = bench.write_experiment("own.toml", "a.h5")
    folders = []
    for rank in range(ranks):
        folders.append(bench.work / f"own{rank}")
        folders[-1].mkdir(exist_ok=True)
        shutil.copy(bench.work / "a.h5", folders[-1] / "a.h5")
    return experiment, folders


def failing(bench):
    experiment, folders = own_folders(bench, 2)
    store = bytearray((folders[1] / "a.h5").read_bytes())
    middle = len(store) // 2
    store[middle:middle + 400] = b"\xff" * 400
    (folders[1] / "a.h5").write_bytes(store)
    for layout in ["data=2", "tensor=2", "pipeline=2"]:
        bench.fresh()
        job = bench.mixed(*({"ranks": 1, "overrides": ["layout." + layout], "experiment": experiment,
                             "folder": folder} for folder in folders))
        expect_message(job, f"{layout}: the store of rank 1 is damaged",
                       rf"{re.escape(name_of(layout, 1))}: error in step \d+: the token store holds an id beyond",
                       "65535", r"a.h5 : /tokens\[")
    for layout, rank in [("tensor=2", 1), ("data=2", 0)]:
        bench.fresh()
        job = bench.start(2, "layout." + layout, "run.checkpoint_every=20", "run.keep=1",
                          prefix=["bash", "-c", "trap '' XFSZ; exec \"$@\"", "bash"])
        job.until_step(3)
        # No file may grow on this rank: the full disk.
        resource.prlimit(job.ranks()[rank], resource.RLIMIT_FSIZE, (0, 0))
        expect_message(job, f"{layout}: no room for rank {rank}",
                       rf"{re.escape(name_of(layout, rank))}: error in step \d+: ")


def main():
    groups = {"killed": killed, "stopped": stopped, "checkpoint": checkpoint, "refused": refused,
              "disagreement": disagreement, "failing": failing}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=groups)
    parser.add_argument("--baekji", required=True)
    parser.add_argument("--mpirun", required=True)
    parser.add_argument("--work", required=True)
    arguments = parser.parse_args()
    begin = time.monotonic()
    try:
        groups[arguments.group](Bench(arguments))
    except AssertionError as error:
        print(f"bad_jobs.py {arguments.group}: {error}")
        return 1
    print(f"bad_jobs.py {arguments.group}: {time.monotonic() - begin:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
