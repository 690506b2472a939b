#!/usr/bin/env python3
"""The second half of scripts/gpu_check, in the unpacked bundle on a machine with a GPU: runs the checks one after the other, each
under a time limit, and ends with one table and a JSON file. Nothing is written beside --work (default: gpu-check-work here).

    ./gpu_check run [--quick] [--json FILE] [--work DIR]
    ./gpu_check run --rehearse          the CPU in the GPU's place: tries this script and the bundle, and says nothing of a GPU

Exit status: 0 all that ran has passed, 1 a check failed, 77 nothing could run (the reason stands in table and file)."""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import gpu_check_host as host

BUNDLE = pathlib.Path(__file__).resolve().parent.parent
PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"
NOTHING_RAN = 77

# How far a loss on the GPU may be from the CPU's at the same step, as a share of it. The two differ in the order of sums, and in
# bf16 every product's rounding is up to 2^-9 of it; the mean over 512 tokens averages most of that out, and training magnifies the
# rest with every step.
TOLERANCE = {"bf16": 0.01, "fp32": 0.001}

# Cases of kernels_test that are small enough for compute-sanitizer, which slows a kernel down 10 to 100 times. Own kernels only:
# those of cuBLASLt and cuDNN use shared memory in ways that racecheck and initcheck report.
SANITIZED = "RowWise.*:OptimizerBits.DeviceEqualsReference"

# Seconds for everything, in full and with --quick, and for single commands. What would begin after the end is skipped.
TOTAL = (530, 175)
LIMITS = {"start": (20, 10), "kernels": (100, 45), "train cpu": (30, 15), "train cuda": (40, 20), "layouts": (150, 40),
          "memcheck": (50, 20), "racecheck": (40, 0), "initcheck": (40, 0), "bench": (300, 90)}


class Stop(Exception):
    """A check ends early: its result and the words for the table."""

    def __init__(self, result, detail):
        super().__init__(detail)
        self.result = result
        self.detail = detail


class Session:
    def __init__(self, arguments, manifest):
        self.quick = arguments.quick
        self.device, self.place = ("cpu", "CPU") if arguments.rehearse else ("cuda", "GPU")
        self.work = arguments.work.absolute()
        self.logs = self.work / "logs"
        self.manifest = manifest
        self.environment = {}
        self.rows = []
        self.figures = None
        self.patience = 10 if arguments.rehearse else 1  # a rehearsal's machine may be small and busy
        self.total = TOTAL[1 if self.quick else 0] * self.patience
        self.deadline = time.monotonic() + self.total

    def run(self, limit, *command, log, also=None):
        """Runs a command with its output in a log file; stops the check when it fails or its time is over. All that it started
        ends with it."""
        seconds = LIMITS[limit][1 if self.quick else 0] * self.patience
        if seconds == 0:
            raise Stop(SKIPPED, "not with --quick")
        seconds = min(seconds, int(self.deadline - time.monotonic()))
        if seconds < 2:
            raise Stop(SKIPPED, f"no time is left of {self.total} s")
        path = self.logs / f"{log}.log"
        environment = dict(self.environment, **(also or {}))
        with open(path, "wb") as sink:
            sink.write((" ".join(map(str, command)) + "\n").encode())
            sink.flush()
            process = subprocess.Popen([str(part) for part in command], stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       env=environment, cwd=self.work, start_new_session=True)
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end(process)
        if code is None:
            raise Stop(FAILED, f"not done after {seconds} s; {path.name}")
        if code != 0:
            raise Stop(FAILED, f"{last_words(path)} (exit {code}; {path.name})")
        return path

    def check(self, name, function, *arguments):
        """Runs one check and takes down its row."""
        print(f"  {name} ...", end="", flush=True)
        begin = time.monotonic()
        try:
            result, detail = PASSED, function(self, *arguments)
        except Stop as stop:
            result, detail = stop.result, stop.detail
        except Exception as error:  # a check's own mistake fails that check alone
            result, detail = FAILED, f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - begin
        self.rows.append({"check": name, "result": result, "seconds": round(seconds, 1), "detail": detail})
        print(f" {result} ({seconds:.1f} s)", flush=True)
        return result == PASSED


def end(process):
    """Ends a process and its group: mpirun is asked first, so that it ends its ranks."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        if process.poll() is None:
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def last_words(path):
    """The line of a log that says most about its end."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()[1:] if line.strip()]
    telling = [line for line in lines if line.startswith(("error:", "rank ")) or "FAILED" in line or "ERROR SUMMARY" in line]
    words = (telling or lines or ["no output"])[-1]
    return words if len(words) <= 100 else words[:97] + "..."


def program(session, name):
    if name not in session.manifest["programs"]:
        raise Stop(SKIPPED, f"this bundle has no {name}")
    return BUNDLE / "programs" / name


# ---- the checks ----


def start(session):
    session.run("start", program(session, "baekji"), "keys", log="start")
    if session.device == "cuda" and not session.manifest["cuda_libraries"]:
        raise Stop(FAILED, "the bundle was packed without CUDA")
    return "the program starts"


def unit_tests(session, name):
    """A GoogleTest program whose cases take the device from BAEKJI_TEST_DEVICE."""
    report = session.work / f"{name}.json"
    session.run("kernels", program(session, name), f"--gtest_filter={session.manifest['tests'][name]}",
                f"--gtest_output=json:{report}", log=name, also={"BAEKJI_TEST_DEVICE": session.device})
    cases = [case for suite in json.loads(report.read_text())["testsuites"] for case in suite["testsuite"]]
    skipped = sum(case.get("result") == "SKIPPED" for case in cases)
    if skipped == len(cases):
        raise Stop(FAILED, f"all {skipped} cases were skipped: the program sees no device")
    return f"{len(cases) - skipped} cases, {skipped} skipped"


def train(session, folder, device, precision, steps):
    """A short run of the small experiment of configs/layouts.toml; (losses of each step, state root, contract)."""
    work = session.work / folder
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "layouts-data").symlink_to(BUNDLE / "data")
    text = (BUNDLE / "configs/layouts.toml").read_text().replace('"runs/', f'"{work}/')
    (work / "experiment.toml").write_text(text)
    threads = min(8, len(os.sched_getaffinity(0)))
    session.run(f"train {device}", "mpirun", "-n", "1", "--bind-to", "none", program(session, "baekji"), "train",
                work / "experiment.toml", "--set", f"numerics.precision={precision}", "--set", f"layout.device={device}", "--set",
                f"layout.threads={threads}", "--set", f"run.steps={steps}", log=folder)
    losses = [json.loads(line)["loss"] for line in (work / "layouts/metrics.jsonl").read_text().splitlines()]
    shown = session.run("start", program(session, "baekji"), "inspect", "--json", work / "layouts", log=f"{folder}-inspect")
    state = json.loads(shown.read_text().split("\n", 1)[1])
    return losses, state["state_root"], state["contract"]


def losses_match(session, precision, steps):
    """The same experiment on both devices: the losses stay together, and they fall."""
    there, _, contract = train(session, f"{precision}-cpu", "cpu", precision, steps)
    here, _, contract_here = train(session, f"{precision}-{session.device}", session.device, precision, steps)
    if contract != contract_here or len(there) != steps or len(here) != steps:
        raise Stop(FAILED, f"other runs than asked for: {len(there)} and {len(here)} of {steps} steps, contracts {contract[:8]} and "
                           f"{contract_here[:8]}")
    if None in here or None in there:
        raise Stop(FAILED, "a step was void")
    apart, step = max((abs(a - b) / b, i + 1) for i, (a, b) in enumerate(zip(here, there)))
    words = f"{apart:.2e} of the CPU's loss at most (step {step} of {steps}), limit {TOLERANCE[precision]:g}"
    if apart > TOLERANCE[precision]:
        raise Stop(FAILED, words)
    if here[-1] > 0.97 * here[0]:
        raise Stop(FAILED, f"the loss did not fall: {here[0]:.4f} to {here[-1]:.4f}")
    return f"{words}; {here[0]:.3f} to {here[-1]:.3f}"


def same_root_twice(session, precision, steps):
    roots = [train(session, f"{precision}-again-{number}", session.device, precision, steps)[1] for number in (1, 2)]
    if roots[0] != roots[1]:
        raise Stop(FAILED, f"state roots {roots[0][:16]} and {roots[1][:16]} of two runs")
    return f"state root {roots[0][:16]} twice"


def layouts(session):
    """scripts/layouts on the GPU: several ranks share it, and talk through MPI."""
    work = session.work / "matrix"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(BUNDLE / "data", work / "layouts-data")
    more = ["--quick", "--steps", "6"] if session.quick else ["--steps", "10"]
    log = session.run("layouts", BUNDLE / "scripts/layouts", "--device", session.device, "--build", BUNDLE / "programs", "--work", work, *more,
                      log="layouts")
    return log.read_text().splitlines()[-1].split(": ", 1)[-1]


def sanitizer(session, tool):
    """NVIDIA's checks of memory, races and uninitialised reads on the small cases of kernels_test."""
    if session.device == "cpu":
        raise Stop(SKIPPED, "a rehearsal has no GPU")
    compute_sanitizer = host.find_sanitizer()
    if compute_sanitizer is None:
        raise Stop(SKIPPED, "there is no compute-sanitizer on this host (it comes with the CUDA toolkit)")
    program(session, "kernels_test")
    if "BAEKJI_LIBC" in session.environment:
        raise Stop(SKIPPED, "compute-sanitizer cannot follow a program that runs with another C library than the host's")
    # The program itself, not its launcher: the libraries' folders are handed on by hand.
    folders = [str(BUNDLE / "root/usr/lib/x86_64-linux-gnu"), session.environment["BAEKJI_LIBRARIES"]]
    log = session.run(tool, compute_sanitizer, "--tool", tool, "--error-exitcode", "9", BUNDLE / "root/usr/bin/kernels_test",
                      f"--gtest_filter={SANITIZED}", log=tool,
                      also={"BAEKJI_TEST_DEVICE": "cuda", "LD_LIBRARY_PATH": ":".join(folders)})
    summary = [line for line in log.read_text(errors="replace").splitlines() if "SUMMARY" in line]
    if not summary:
        raise Stop(FAILED, f"no summary in {log.name}")
    return summary[-1].lstrip("= ")


def benchmark(session):
    """bench/gpu/run, which compares with PyTorch where this host has it, in the time that is left: its figures go into this check's
    file. Its exit status 77 says that it could not compare, or could not measure: then there is no file."""
    if session.device == "cpu":
        raise Stop(SKIPPED, "a rehearsal has no GPU")
    program(session, "step_bench")
    seconds = min(LIMITS["bench"][1 if session.quick else 0], int(session.deadline - time.monotonic()))
    report = session.work / "bench.json"
    report.unlink(missing_ok=True)
    try:
        session.run("bench", sys.executable, BUNDLE / "bench/gpu/run", "--quick", "--time-limit", max(seconds - 10, 1), "--json", report,
                    "--work", session.work / "bench", log="bench")
    except Stop as stop:
        if "(exit 77;" in stop.detail and not report.exists():
            raise Stop(SKIPPED, stop.detail) from stop
        if "(exit 77;" not in stop.detail:
            raise
    finally:
        session.figures = json.loads(report.read_text()) if report.exists() else None
    rows, left_out = session.figures["rows"], len(session.figures["left_out"])
    if not rows:
        raise Stop(SKIPPED, "there was no time for a measurement")
    words = ", ".join(f"{row['model']} {row['precision']} {row['tflops']:.0f} TFLOP/s, mfu {row['mfu']:.1%}, "
                      f"{format(row['ratio'], '.2f') + ' of PyTorch' if 'ratio' in row else 'ours alone'}" for row in rows)
    return words + (f"; {left_out} measurements left out for time" if left_out else "")


def run_all(session):
    steps = 10 if session.quick else 30
    if not session.check("start", start):
        return
    for name in session.manifest["tests"]:
        session.check(f"{name} on the {session.place}", unit_tests, name)
    for precision in ("bf16",) if session.quick else ("bf16", "fp32"):
        session.check(f"losses against the CPU's, {precision}", losses_match, precision, steps)
    session.check("two runs, one state root", same_root_twice, "bf16", steps)
    session.check("layouts, one state root", layouts)
    for tool in ("memcheck", "racecheck", "initcheck"):
        session.check(f"compute-sanitizer {tool}", sanitizer, tool)
    session.check("benchmark", benchmark)


def why_nothing_runs(manifest):
    """(what is known of GPUs and CUDA here, folders of CUDA's libraries, why no check can run)."""
    gpus, driver_cuda, why = host.find_gpus()
    folders, missing = host.find_libraries(manifest["cuda_libraries"])
    versions = {name: host.version_of(name, folders) for name in manifest["cuda_libraries"] if name not in missing}
    known = {"gpus": gpus, "driver_cuda": driver_cuda, "libraries": versions, "library_folders": folders}
    if not why:
        why = host.missing_on_host(BUNDLE, manifest)
    if not why and missing:
        why = (f"CUDA's libraries are missing: {' '.join(missing)}; looked in toolkits and pip's packages; BAEKJI_LIBRARIES=DIR:DIR "
               "names other folders")
    return known, folders, why


def print_table(rows):
    width = max(len(row["check"]) for row in rows)
    print()
    print(f"{'check':{width}}  {'result':8}  seconds  detail")
    for row in rows:
        print(f"{row['check']:{width}}  {row['result']:8}  {row['seconds']:7.1f}  {row['detail']}")


def main():
    parser = argparse.ArgumentParser(prog="gpu_check run")
    parser.add_argument("--quick", action="store_true", help="3 minutes instead of 9")
    parser.add_argument("--rehearse", action="store_true", help="the CPU in the GPU's place, to try this script")
    parser.add_argument("--json", type=pathlib.Path, help="where the file for docs/measurements goes")
    parser.add_argument("--work", type=pathlib.Path, default="gpu-check-work", help="folder for logs and runs")
    arguments = parser.parse_args()
    if not (BUNDLE / "manifest.json").exists():
        sys.exit("gpu_check: `run` is for an unpacked bundle; make one with scripts/gpu_check bundle")
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    session = Session(arguments, manifest)
    session.logs.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()

    known, folders, why = why_nothing_runs(manifest)
    machine = host.describe_host()
    print(f"gpu_check: commit {manifest['commit'][:12]}{' with changes' if manifest['changed'] else ''}, {machine['processor']}, "
          f"{machine['cores']} cores, {machine['system']}")
    for gpu in known["gpus"]:
        print(f"  GPU      {gpu['name']}, {gpu['capability']}, {gpu['memory_bytes'] / 2**30:.0f} GiB")
    print(f"  driver   {(machine['nvidia_smi'] or {}).get('driver', '?')}, CUDA {known['driver_cuda'] or 'none'}")
    for name, version in known["libraries"].items():
        print(f"  {name:20} {version}")
    if arguments.rehearse:
        print("  REHEARSAL: every check runs on the CPU")
        why = ""
    if why:
        session.rows.append({"check": "all", "result": SKIPPED, "seconds": 0.0, "detail": why})
    else:
        session.environment = host.environment(BUNDLE, manifest, folders)
        run_all(session)

    results = [row["result"] for row in session.rows]
    verdict = FAILED if FAILED in results else PASSED if PASSED in results else SKIPPED
    seconds = time.monotonic() - begin
    print_table(session.rows)
    report = {"format": 1, "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "verdict": verdict,
              "seconds": round(seconds, 1), "quick": session.quick, "rehearsal": arguments.rehearse, "bundle": manifest, "host": machine,
              **known, "checks": session.rows, "figures": session.figures}
    path = arguments.json or session.work / "gpu-check.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"gpu_check: {'rehearsal ' if arguments.rehearse else ''}{verdict} in {seconds:.0f} s{': ' + why if why else ''}; {path}; "
          f"logs in {session.logs}")
    sys.exit({PASSED: 0, FAILED: 1, SKIPPED: NOTHING_RAN}[verdict])


if __name__ == "__main__":
    main()
