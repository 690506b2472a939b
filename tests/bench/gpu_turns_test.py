"""The parts of bench/gpu/run that need no GPU: order of turns, time limit, table, arguments, exit status. All figures in here are
invented."""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "bench/gpu")]

import cases  # noqa: E402
import turns  # noqa: E402

SETTINGS = list(cases.SETTINGS)


def load_run():
    loader = importlib.machinery.SourceFileLoader("gpu_bench_run", str(ROOT / "bench/gpu/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def ours(model="1b3", precision="bf16", number=1, rate=1000.0, seconds=20, flops=8e9):
    result = {"tokens_per_s": rate, "tflops": rate * flops / 1e12, "mfu": 0.5, "ceiling_tflops": 16.0, "taken_bytes": 3 << 30,
              "planned_bytes": 2 << 30}
    return {"turn": {"who": "ours", "model": model, "precision": precision, "round": number}, "seconds": seconds, "result": result}


def peer(setting=SETTINGS[0], model="1b3", number=1, rate=800.0, seconds=60, flops=8e9):
    result = {"tokens_per_s": rate, "tflops": rate * flops / 1e12, "taken_bytes": 5 << 30, "allocated_bytes": 4 << 30,
              "reserved_bytes": 4 << 30}
    return {"turn": {"who": "peer", "model": model, "setting": setting, "round": number}, "seconds": seconds, "result": result}


def failed(record, why):
    return {"turn": record["turn"], "seconds": record["seconds"], "why": why}


class Order(unittest.TestCase):
    def test_both_sides_take_turns_in_every_round(self):
        plan = turns.plan(["1b3", "8b_shaped"], ["bf16", "fp8"], SETTINGS[:2], 3)
        last = [turn for turn in plan if turn["round"] == 3 and turn["model"] == "1b3"]
        self.assertEqual([turn["who"] for turn in last], ["ours", "peer", "ours"])
        self.assertEqual([turn["who"] for turn in plan[:3]], ["ours", "peer", "ours"])
        self.assertEqual(sum(turn.get("setting") == SETTINGS[1] for turn in plan), 2)

    def test_without_the_peer_ours_alone(self):
        self.assertEqual({turn["who"] for turn in turns.plan(["1b3"], ["bf16"], [], 2)}, {"ours"})

    def test_later_rounds_take_the_best_setting(self):
        records = [peer(SETTINGS[0], rate=800), peer(SETTINGS[1], rate=900)]
        turn = turns.resolve({"who": "peer", "model": "1b3", "setting": turns.BEST, "round": 2}, records)
        self.assertEqual(turn["setting"], SETTINGS[1])

    def test_what_has_failed_is_not_tried_again(self):
        records = [failed(peer(), "out of memory")]
        self.assertIsNone(turns.resolve(peer(number=2)["turn"], records))
        self.assertIsNone(turns.resolve({"who": "peer", "model": "1b3", "setting": turns.BEST, "round": 2}, records))


class TimeLimit(unittest.TestCase):
    def taken(self, limit_s, seconds):
        clock = [0.0]

        def measure(turn, left_s):
            clock[0] += seconds[turn["who"]]
            record = ours(**{k: turn[k] for k in ("model", "precision")}) if turn["who"] == "ours" else peer(turn["setting"], turn["model"])
            return {**record, "turn": turn, "seconds": seconds[turn["who"]], "left_s": left_s}

        plan = turns.plan(["1b3"], ["bf16"], SETTINGS[:1], 3)
        records, left_out = turns.take(plan, measure, lambda: clock[0], limit_s)
        return records, left_out, clock[0]

    def test_without_a_limit_all_turns_are_taken(self):
        records, left_out, _ = self.taken(None, {"ours": 10, "peer": 20})
        self.assertEqual((len(records), left_out), (6, []))

    def test_nothing_starts_that_would_not_end_in_time(self):
        records, left_out, end_s = self.taken(200, {"ours": 30, "peer": 60})
        self.assertLessEqual(end_s, 200)
        self.assertEqual(len(records) + len(left_out), 6)
        self.assertEqual([r["turn"]["who"] for r in records], ["ours", "peer", "ours", "peer"])
        self.assertIn("left out, no time: 1b3, ours, bf16, round 3", turns.left_out_lines(left_out)[0])

    def test_a_short_turn_may_fit_where_a_long_one_does_not(self):
        records, left_out, _ = self.taken(100, {"ours": 30, "peer": 60})
        self.assertEqual([r["turn"]["who"] for r in records], ["ours", "ours", "ours"])
        # No figure of the peer was seen, so later rounds have no best setting: only the first of its turns was left out.
        self.assertEqual(len(left_out), 1)

    def test_every_setting_has_a_guess(self):
        for setting in SETTINGS:
            self.assertGreater(turns.estimate_s(peer(setting)["turn"], [], False), 0)


class Table(unittest.TestCase):
    def test_medians_best_setting_and_ratio(self):
        records = [ours(rate=1000), ours(number=2, rate=1200), ours(number=3, rate=1100), ours(precision="fp8", rate=1430),
                   peer(SETTINGS[0], rate=800), peer(SETTINGS[1], rate=1000), failed(peer(SETTINGS[2]), "exit 1: OutOfMemoryError")]
        bf16, fp8 = turns.rows_of(json.loads(json.dumps(records)))
        self.assertEqual((bf16["tokens_per_s"], bf16["least"], bf16["most"], bf16["rounds"]), (1100, 1000, 1200, 3))
        self.assertEqual(bf16["peer_setting"], SETTINGS[1])
        self.assertAlmostEqual(bf16["ratio"], 1.1)
        self.assertAlmostEqual(fp8["over_bf16"], 1.3)
        text = "\n".join(turns.table_of([bf16, fp8]) + turns.peer_table_of(records))
        for part in ("1,100", "1.100", "50.0%", "fp8 at 1.300 of our own bf16", "3.0", "2.0", "5.0", "OutOfMemoryError"):
            self.assertIn(part, text)

    def test_ours_alone_is_marked(self):
        text = "\n".join(turns.table_of(turns.rows_of([ours(), failed(peer(), "exit 77")])))
        self.assertIn("OURS ALONE", text)

    def test_different_models_are_a_mistake(self):
        self.assertIn("not the same model", turns.rows_of([ours(), peer(flops=8.1e9)])[0]["mistake"])

    def test_nothing_measured_gives_a_head_only(self):
        self.assertEqual(len(turns.table_of(turns.rows_of([failed(ours(), "exit 1")]))), 1)


class Models(unittest.TestCase):
    def test_the_peer_has_the_shapes_of_the_experiments(self):
        try:
            import tomllib
        except ImportError:
            self.skipTest("needs Python 3.11")
        base = tomllib.loads((ROOT / "configs/bench/gpu/1b3.toml").read_text())
        files = {file.stem for file in (ROOT / "configs/bench/gpu").glob("*.toml")}
        self.assertEqual(files, set(cases.MODELS))
        for name, (fields, micro_batches) in cases.MODELS.items():
            own = tomllib.loads((ROOT / f"configs/bench/gpu/{name}.toml").read_text())
            model, numerics = {**base["model"], **own["model"]}, {**base["numerics"], **own["numerics"]}
            wanted = {**{key: model[key] for key in fields if key != "batch"}, "batch": numerics["micro_batch"]}
            self.assertEqual(fields, wanted, name)
            self.assertEqual(fields.get("head_dim", 0), model.get("head_dim", 0), name)
            self.assertEqual(micro_batches * numerics["micro_batch"], numerics["global_batch"], name)


class Arguments(unittest.TestCase):
    def test_quick_measures_less(self):
        run = load_run()
        quick, full = run.parse_arguments(["--quick"]), run.parse_arguments([])
        self.assertEqual((quick.models, quick.rounds, len(quick.settings)), (["1b3", "8b_shaped"], 1, 1))
        self.assertEqual((full.models, full.rounds, full.settings), (list(cases.MODELS), 3, SETTINGS))
        self.assertEqual(run.parse_arguments(["--settings", "none"]).settings, [])
        self.assertEqual(run.parse_arguments(["--only", "72b_slice"]).models, ["72b_slice"])

    def test_a_process_that_takes_too_long_is_ended(self):
        run = load_run()
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder, "log")
            self.assertIsNone(run.run_for(0.2, [sys.executable, "-c", "import time; time.sleep(60)"], None, log, pathlib.Path(folder)))

    def test_wrong_arguments(self):
        for wrong in (["--only", "7b"], ["--precisions", "fp4"], ["--rounds", "-1"], ["--settings", "fast"], ["--steps", "0"]):
            status = subprocess.run([sys.executable, str(ROOT / "bench/gpu/run"), *wrong], capture_output=True, check=False).returncode
            self.assertEqual(status, 2, wrong)

    def test_without_a_gpu_it_says_so(self):
        run = load_run()
        if run.why_no_gpu() is None:
            self.skipTest("there is a GPU")
        done = subprocess.run([sys.executable, str(ROOT / "bench/gpu/run"), "--quick"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 77)
        self.assertIn("SKIPPED", done.stderr)


class StepBench(unittest.TestCase):
    """The program, on the CPU: its JSON line, random tokens, and the word where there is no GPU."""

    program = None
    stand_in = None  # the same, on a CPU that stands in for the GPU
    baekji = None

    def setUp(self):
        if self.program is None:
            self.skipTest("no --step-bench")

    def command(self, folder, *more, program=None):
        small = ["model.layers=1", "model.hidden=64", "model.heads=2", "model.kv_heads=2", "model.ffn=96", "model.vocab=300",
                 "model.context=64", "numerics.global_batch=2", "numerics.micro_batch=1", "layout.threads=1"]
        sets = [part for key in small for part in ("--set", key)]
        return subprocess.run([program or self.program, str(ROOT / "configs/bench/gpu/1b3.toml"), "--synthetic", "--steps", "1", *sets, *more],
                              cwd=folder, capture_output=True, text=True, check=False)

    def test_random_tokens_and_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.command(folder, "--set", "layout.device=cpu", "--json", "--rounds", "1")
            self.assertEqual(done.returncode, 0, done.stderr)
            line = json.loads(done.stdout)
            self.assertGreater(line["tokens_per_s"], 0)
            store = pathlib.Path(folder, "runs/bench-data/random-50304.h5")
            self.assertTrue(store.exists())
            self.assertEqual([file.name for file in store.parent.glob("*.partial")], [])
            first = store.stat().st_mtime_ns
            table = self.command(folder, "--set", "layout.device=cpu", "--rounds", "1")
            self.assertIn("upload", table.stdout)
            self.assertEqual(store.stat().st_mtime_ns, first, "a store that is there is left alone")
            if self.baekji:
                shown = subprocess.run([self.baekji, "inspect", str(store)], capture_output=True, text=True, check=False)
                self.assertEqual(shown.returncode, 0, shown.stdout + shown.stderr)

    def test_the_report_of_a_gpu_on_its_stand_in(self):
        if self.stand_in is None:
            self.skipTest("no --stand-in")
        with tempfile.TemporaryDirectory() as folder:
            sets = ("--ceiling-size", "64", "--set", "layout.device=cuda", "--set", "model.context=32")
            done = self.command(folder, *sets, "--set", "numerics.precision=fp8", "--json", program=self.stand_in)
            self.assertEqual(done.returncode, 0, done.stderr)
            line = json.loads(done.stdout)
            limits = {operation["name"]: operation["limit"] for operation in line["operations"]}
            wanted = {"matmul 8 bits": "arithmetic", "matmul bf16": "arithmetic", "attention_backward": "arithmetic", "upload": "bus",
                      "download": "bus", "quantise": "memory", "absolute_max": "memory", "sequence_loss": "memory", "adamw": "memory"}
            self.assertEqual({name: limits.get(name) for name in wanted}, wanted)
            self.assertAlmostEqual(line["mfu"] * line["ceiling_tflops"], line["tflops"])
            self.assertGreater(line["planned_bytes"], 0)
            row = turns.row_of([{**ours(precision="fp8"), "result": line}], [], None)
            self.assertEqual(row["tokens_per_s"], line["tokens_per_s"])
            table = self.command(folder, *sets, program=self.stand_in)
            for part in ("mfu", "bound of ceilings", "everything else", "matmul bf16"):
                self.assertIn(part, table.stdout, table.stderr)
            self.assertNotIn("quantise", table.stdout)

    def test_no_gpu_is_an_error_that_says_so(self):
        if load_run().why_no_gpu() is None:
            self.skipTest("there is a GPU")
        with tempfile.TemporaryDirectory() as folder:
            done = self.command(folder, "--json")
            self.assertEqual(done.returncode, 1)
            self.assertIn("CUDA", done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-bench")
    parser.add_argument("--stand-in")
    parser.add_argument("--baekji")
    known, rest = parser.parse_known_args()
    names = (name and os.path.abspath(name) for name in (known.step_bench, known.stand_in, known.baekji))
    StepBench.program, StepBench.stand_in, StepBench.baekji = names
    unittest.main(argv=[sys.argv[0], *rest])
