#!/usr/bin/env python3
"""Training speed of PyTorch on this machine's CPU, in every setting that is known to help, each in a fresh process.

Prints a table, the best setting of each model and precision, and writes all figures as JSON. Settings take turns within a
repeat, so that a machine whose speed drifts is unfair to none; the reported figure is the median of all steps.
"""

import argparse
import datetime
import glob
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PRECISIONS = ("fp32", "bf16 autocast", "bf16 weights")


def find_library(*patterns):
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if found:
            return found[0]
    return None


def available_settings(cores):
    """name -> {env, threads, processes, compile}. What this machine lacks is named in the second result."""
    settings, missing = {}, []
    tcmalloc = find_library("/usr/lib/*/libtcmalloc_minimal.so.4", "/usr/lib/*/libtcmalloc.so.4")
    iomp = find_library(f"{sys.prefix}/lib/libiomp5.so")
    pinned = {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}
    intel = {"KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}

    settings["as installed"] = {}
    settings["pinned threads"] = {"env": pinned, "threads": cores}
    if tcmalloc:
        settings["tcmalloc"] = {"env": {**pinned, "LD_PRELOAD": tcmalloc}, "threads": cores}
    else:
        missing.append("tcmalloc (apt-get install libtcmalloc-minimal4)")
    if iomp:
        settings["intel openmp"] = {"env": {**intel, "LD_PRELOAD": iomp}, "threads": cores}
    else:
        missing.append("Intel OpenMP (pip install intel-openmp)")
    preload = ":".join(filter(None, (iomp, tcmalloc)))
    best_env = {**(intel if iomp else pinned), **({"LD_PRELOAD": preload} if preload else {})}
    settings["all"] = {"env": best_env, "threads": cores}
    settings["all + huge pages"] = {"env": {**best_env, "THP_MEM_ALLOC_ENABLE": "1"}, "threads": cores}
    if cores > 1:
        single = {key: value for key, value in best_env.items() if key != "KMP_AFFINITY"}
        single["GLOO_SOCKET_IFNAME"] = "lo"  # by the host name it may find no way to itself
        settings[f"all + {cores} processes"] = {"env": single, "threads": 1, "processes": cores}
    if shutil.which("g++"):
        settings["all + compiled"] = {"env": best_env, "threads": cores, "compile": "default"}
        settings["all + compiled + autotuned"] = {"env": best_env, "threads": cores, "compile": "max-autotune-no-cudagraphs"}
    else:
        missing.append("torch.compile (apt-get install g++ python3-dev)")
    return settings, missing


# ---------------------------------------------------------------------------------------------- one measurement


def step_function(model, shape, precision, rank, processes, torch):
    """A function that trains one step on this process's part of the batch and returns the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator = torch.Generator().manual_seed(rank)
    rows = shape.batch // processes
    token_BT = torch.randint(shape.vocab, (rows, shape.context + 1), generator=generator)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16 autocast")

    def step():
        with autocast:
            loss = model(token_BT[:, :-1], token_BT[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss.item()

    return step


def measure(job):
    """Runs in a fresh process: trains, and returns what it saw."""
    import resource

    import torch

    from model import SHAPES, Model

    def resident_bytes():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    libraries_bytes = resident_bytes()  # what importing costs before any model exists
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    shape = SHAPES[job["model"]]
    model = Model(shape)
    if job["precision"] == "bf16 weights":
        model = model.to(torch.bfloat16)
    if job["processes"] > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{job['meet']}", rank=job["rank"],
                                             world_size=job["processes"])
        model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    if job["compile"]:
        model = torch.compile(model, mode=job["compile"])
    step = step_function(model, shape, job["precision"], job["rank"], job["processes"], torch)

    losses = [step() for _ in range(job["warmup"])]
    seconds = []
    for _ in range(job["steps"]):
        begin = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - begin)
    if job["processes"] > 1:
        torch.distributed.destroy_process_group()
    return {"seconds": seconds, "losses": losses, "torch": torch.__version__, "threads": torch.get_num_threads(),
            "peak_bytes": resident_bytes(), "libraries_bytes": libraries_bytes}


def run_job(job, env, timeout_s, folder):
    """All processes of one measurement. Returns their results, or the reason why there are none."""
    meet = folder.resolve() / "meet"
    meet.unlink(missing_ok=True)
    children, outputs = [], []
    for rank in range(job["processes"]):
        output = folder / f"rank{rank}.json"
        output.unlink(missing_ok=True)
        text = json.dumps({**job, "rank": rank, "meet": str(meet), "output": str(output)})
        log = open(folder / f"rank{rank}.log", "w")
        children.append(subprocess.Popen([sys.executable, __file__, "--measure", text], env={**os.environ, **env},
                                         stdout=log, stderr=subprocess.STDOUT))
        outputs.append(output)
    deadline = time.monotonic() + timeout_s
    try:
        # One process that fails leaves the others waiting for it: the first failure ends all.
        while any(child.poll() is None for child in children) and not any(child.poll() for child in children):
            if time.monotonic() > deadline:
                return None, f"longer than {timeout_s} s"
            time.sleep(0.05)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    if any(child.returncode != 0 or not output.exists() for child, output in zip(children, outputs)):
        lines = (folder / "rank0.log").read_text(errors="replace").strip().splitlines()
        return None, lines[-1][:100] if lines else "no output"
    return [json.loads(output.read_text()) for output in outputs], None


# ---------------------------------------------------------------------------------------------- the table


def summarise(runs, shape):
    """One result from all repeats of a setting. Ranks step together, so the slowest one counts."""
    seconds = [max(times) for ranks in runs for times in zip(*(rank["seconds"] for rank in ranks))]
    rate = shape.tokens / statistics.median(seconds)
    return {
        "tokens_per_s": rate,
        "tokens_per_s_least": shape.tokens / max(seconds),
        "tokens_per_s_most": shape.tokens / min(seconds),
        "gflops": rate * shape.flops_per_token() / 1e9,
        "peak_bytes": max(sum(rank["peak_bytes"] for rank in ranks) for ranks in runs),
        "libraries_bytes": max(sum(rank["libraries_bytes"] for rank in ranks) for ranks in runs),
        "steps": len(seconds),
        "first_loss": runs[0][0]["losses"][0],
        "last_loss": runs[0][0]["losses"][-1],
        "torch": runs[0][0]["torch"],
        "threads": runs[0][0]["threads"],
    }


def print_table(results):
    print(f"\n{'model':<6}{'precision':<15}{'setting':<26}{'tokens/s':>10}{'(least':>9}{'most)':>9}{'GFLOP/s':>9}{'MiB':>8}{'(libs)':>8}  loss")
    for r in results:
        if "why" in r:
            print(f"{r['model']:<6}{r['precision']:<15}{r['setting']:<26}{'-':>10}  {r['why']}")
            continue
        print(f"{r['model']:<6}{r['precision']:<15}{r['setting']:<26}{r['tokens_per_s']:>10,.0f}{r['tokens_per_s_least']:>9,.0f}"
              f"{r['tokens_per_s_most']:>9,.0f}{r['gflops']:>9.1f}{r['peak_bytes'] / 2**20:>8,.0f}{r['libraries_bytes'] / 2**20:>8,.0f}"
              f"  {r['first_loss']:.2f} -> {r['last_loss']:.2f}")


def best_of(results):
    best = {}
    for r in results:
        kind = (r["model"], r["precision"].split()[0])
        if "why" not in r and r["tokens_per_s"] > best.get(kind, {"tokens_per_s": 0})["tokens_per_s"]:
            best[kind] = r
    return best


def describe_machine():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"processor": names[0] if names else platform.processor(), "cores": len(os.sched_getaffinity(0)),
            "system": platform.platform(), "python": platform.python_version(),
            "date": datetime.date.today().isoformat()}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="10M,50M", help="comma-separated: 10M, 50M")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="comma-separated")
    parser.add_argument("--settings", default="", help="comma-separated names (--list); default: every one")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each measurement")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--repeat", type=int, default=1, help="measurements of each setting, taking turns")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one measurement")
    parser.add_argument("--output", default="build/peer/peer.json", help="where the JSON goes")
    parser.add_argument("--list", action="store_true", help="name the settings and stop")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def names_of(option, text, known):
    """The names of a comma-separated option; a name that is not known would otherwise be measured as something else."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"peer.py: {option} has {', '.join(unknown)}; known are {', '.join(known)}")
    return names


def collect(arguments, settings, folder):
    """Every combination, `repeat` times. Returns one row for each."""
    from model import SHAPES

    wanted = names_of("--settings", arguments.settings, settings)
    chosen = {name: s for name, s in settings.items() if not wanted or name in wanted}
    models = names_of("--models", arguments.models, SHAPES)
    precisions = names_of("--precisions", arguments.precisions, PRECISIONS)
    rows = {(m, p, s): [] for m in models for p in precisions for s in chosen}
    why = {}
    for _ in range(arguments.repeat):
        for model, precision, name in rows:
            setting = chosen[name]
            if (model, precision, name) in why:
                continue
            print(f"measuring {model}, {precision}, {name}", file=sys.stderr, flush=True)
            job = {"model": model, "precision": precision, "steps": arguments.steps, "warmup": arguments.warmup,
                   "threads": setting.get("threads", 0), "processes": setting.get("processes", 1),
                   "compile": setting.get("compile", "")}
            ranks, problem = run_job(job, setting.get("env", {}), arguments.timeout, folder)
            if ranks:
                rows[model, precision, name].append(ranks)
            else:
                why[model, precision, name] = problem
    results = []
    for (model, precision, name), runs in rows.items():
        row = {"model": model, "precision": precision, "setting": name, "env": chosen[name].get("env", {})}
        results.append({**row, **(summarise(runs, SHAPES[model]) if runs else {"why": why[model, precision, name]})})
    return results


def main():
    arguments = parse_arguments()
    if arguments.measure:
        sys.path.insert(0, str(HERE))
        job = json.loads(arguments.measure)
        result = measure(job)
        pathlib.Path(job["output"]).write_text(json.dumps(result))
        return
    machine = describe_machine()
    settings, missing = available_settings(machine["cores"])
    for name in missing:
        print(f"not measured: {name}")
    if arguments.list:
        print("\n".join(settings))
        return
    output = pathlib.Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    results = collect(arguments, settings, output.parent)
    print_table(results)
    print()
    for (model, precision), r in best_of(results).items():
        print(f"best {model} {precision}: {r['tokens_per_s']:,.0f} tokens/s ({r['setting']}, {r['precision']}, torch {r['torch']})")
    output.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    print(f"all figures: {output}")


if __name__ == "__main__":
    main()
