#!/usr/bin/env python3
"""The first half of scripts/gpu_check: builds the release with CUDA for any x86-64-v3 processor, and packs what a bare GPU host
needs to run the second half. The bundle mirrors the checkout, so that scripts/layouts finds its way:

    gpu_check  scripts/  configs/     this script, its second half, the layout matrix and its experiment
    programs/                         links to a launcher: mpirun, baekji, the test programs that use a GPU, step_bench
    root/usr/                         these programs and their shared libraries, in Debian's folders: MPI finds its parts that way
    newer/  libc/                     libstdc++ and libgcc_s, and the C library, for a host whose own are older
    data/                             token stores and their tokenizer
    manifest.json                     commit, versions, what is expected of the host

CUDA's own libraries (2.5 GB) stay out: the GPU host has them."""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import time

LIMIT_BYTES = 40 << 20
MARCH = "x86-64-v3"
FOLDER = "gpu-check"
LIBRARIES = "root/usr/lib/x86_64-linux-gnu"
# Test programs with cases for a GPU, and which these are (GoogleTest's filter).
TESTS = {"kernels_test": "*", "trainer_test": "DeviceTraining.*"}
# The host's own: the C library, whose parts belong together, the driver, and CUDA.
GLIBC = re.compile(r"(linux-vdso|ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl))\.so\b")
CUDA = re.compile(r"lib(cuda|cudart|cublas|cublasLt|cudnn\w*|nccl|nvrtc\S*)\.so\b")
CXX_RUNTIME = ("libstdc++.so.6", "libgcc_s.so.1")
LAUNCHER = """#!/bin/sh
# Starts the program that this is called as, with the libraries of the bundle; what runs beside it keeps the host's.
# BAEKJI_LIBRARIES: folders to look into besides, for CUDA's libraries. BAEKJI_LIBC=1: with the bundle's C library, too.
bundle=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$bundle/root/usr/lib/x86_64-linux-gnu${BAEKJI_LIBRARIES:+:$BAEKJI_LIBRARIES}
# Debian's MPI, wherever the bundle lies and without ssh; also as root, in a container that forbids ranks each other's memory.
export OPAL_PREFIX="$bundle/root/usr" PMIX_INSTALL_PREFIX="$bundle/root/usr" PMIX_MCA_pcompress_base_silence_warning=1
export OMPI_MCA_plm=isolated OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
name=$(basename "$0")
if [ "$name" = mpirun ]; then name=orterun; fi
program=$bundle/root/usr/bin/$name
if [ "${BAEKJI_LIBC:-}" = 1 ]; then
  libraries=$bundle/libc:$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  exec "$bundle/libc/ld-linux-x86-64.so.2" --library-path "$libraries" --argv0 "$program" "$program" "$@"
fi
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$program" "$@"
"""
# Plugins of MPI for networks and devices that one host does without; with them come their libraries.
NETWORKS = re.compile(r"lib(ucp|ucs|uct|ucm|fabric|psm2|psm_infinipath|ibverbs|rdmacm|cuda|pmi2?|slurm\w*|lustreapi|numa)\.so\b")
# And those for what nobody here does: MPI's own files, OpenSHMEM, checkpoints of processes.
FOREIGN = re.compile(r"mca_(io|fs|fbtl|fcoll|sharedfp|memheap|scoll|spml|sshmem|atomic|crs|vprotocol)_")
MPI_PLUGINS = "usr/lib/x86_64-linux-gnu/openmpi/lib/openmpi3"
PMIX_PLUGINS = "usr/lib/x86_64-linux-gnu/pmix2/lib/pmix"


def fail(text):
    sys.exit(f"scripts/gpu_check: {text}")


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run_logged(log, *command, **options):
    """Runs quietly; a failure shows the end of its log."""
    with open(log, "ab") as sink:
        code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False, **options).returncode
    if code != 0:
        sys.stderr.write("".join(pathlib.Path(log).read_text(errors="replace").splitlines(keepends=True)[-30:]))
        fail(f"{' '.join(map(str, command[:4]))} ... failed; all of it: {log}")


def build(folder, cuda, jobs):
    """Configures and builds; returns the programs."""
    log = folder.with_suffix(".log")
    log.write_bytes(b"")
    run_logged(log, "cmake", "--preset", "release", "-B", str(folder), "-DBAEKJI_NATIVE=OFF", f"-DBAEKJI_MARCH={MARCH}",
               f"-DBAEKJI_CUDA={'ON' if cuda else 'OFF'}")
    known = set(re.findall(r"^(\w+): phony", output_of("ninja", "-C", str(folder), "-t", "targets", "all"), re.MULTILINE))
    targets = ["baekji", *(name for name in (*TESTS, "step_bench") if name in known)]
    run_logged(log, "cmake", "--build", str(folder), "--parallel", str(jobs), "--target", *targets)
    places = {name: path for path in folder.rglob("*") for name in targets if path.name == name and path.is_file()}
    return [places[name] for name in targets]


def needed_libraries(file):
    """What the dynamic linker would load for a file: name -> path."""
    found = {}
    for line in output_of("ldd", str(file)).splitlines():
        match = re.match(r"\s*(\S+) => (\S+|not found)", line)
        if match:
            found[match.group(1)] = match.group(2)
    return found


def copy_stripped(file, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    target.chmod(0o755)
    subprocess.run(["strip", "--strip-unneeded", str(target)], check=True)


def pack_programs(bundle, programs):
    """Copies programs, MPI and all the libraries that they load; returns the names of CUDA's, which stay out."""
    launcher = bundle / "programs/launcher"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    for program in programs:
        copy_stripped(program, bundle / "root/usr/bin" / program.name)
    for name in ("mpirun", *(program.name for program in programs)):
        (bundle / "programs" / name).symlink_to("launcher")
    roots = list(programs)
    for name in ("orterun", "orted"):
        file = pathlib.Path("/usr/bin", name)
        if not file.exists():
            fail(f"{file} is missing; the bundle takes OpenMPI as Debian 12 packages it (scripts/setup)")
        roots.append(file)
        copy_stripped(file, bundle / "root/usr/bin" / name)
    for folder in (MPI_PLUGINS, PMIX_PLUGINS):
        for plugin in sorted(pathlib.Path("/", folder).glob("*mca_*.so")):
            if not FOREIGN.match(plugin.name) and not any(NETWORKS.match(name) for name in needed_libraries(plugin)):
                roots.append(plugin)
                copy_stripped(plugin, bundle / "root" / folder / plugin.name)
    shutil.copytree("/usr/share/openmpi", bundle / "root/usr/share/openmpi", ignore=shutil.ignore_patterns("*wrapper-data*", "doc"))

    loader = bundle / "libc/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    shutil.copyfile("/lib64/ld-linux-x86-64.so.2", loader)
    loader.chmod(0o755)
    cuda = set()
    done = set()
    for root in roots:
        for name, path in needed_libraries(root).items():
            if name in done or name.startswith("linux-vdso"):
                continue
            done.add(name)
            if GLIBC.match(name):
                shutil.copyfile(path, bundle / "libc" / name)
            elif CUDA.match(name):
                cuda.add(name)
            elif path == "not found":
                fail(f"{root} needs {name}, which is not on this machine")
            else:
                copy_stripped(path, bundle / ("newer" if name in CXX_RUNTIME else LIBRARIES) / name)
    return sorted(cuda)


def newest_symbols(bundle, prefix):
    """The newest version of e.g. GLIBC_ that a file of the bundle asks for, and the file."""
    newest = ((0,), "")
    for file in [*(bundle / "root").rglob("*"), *(bundle / "newer").rglob("*")]:
        if file.is_symlink() or not file.is_file() or file.read_bytes()[:4] != b"\x7fELF":
            continue
        for version in re.findall(rf"\b{prefix}_([0-9.]+)\b", output_of("objdump", "-T", str(file))):
            newest = max(newest, (tuple(map(int, version.split("."))), str(file.relative_to(bundle))))
    return ".".join(map(str, newest[0])), newest[1]


def pack_data(bundle, folder):
    """Scripts, the experiment, and its token stores, made with the program just built."""
    scripts = bundle / "scripts"
    scripts.mkdir()
    for name in ("gpu_check", "gpu_check_run.py", "gpu_check_host.py", "layouts"):
        shutil.copy2(pathlib.Path("scripts", name), scripts / name)
    (bundle / "gpu_check").symlink_to("scripts/gpu_check")
    (bundle / "configs").mkdir()
    shutil.copy2("configs/layouts.toml", bundle / "configs")
    for name in ("configs/bench/gpu", "bench/gpu", "bench/peer"):
        shutil.copytree(name, bundle / name, ignore=shutil.ignore_patterns("__pycache__"))
    work = folder / "data"
    run_logged(folder.with_suffix(".log"), "scripts/layouts", "--data-only", "--build", str(folder), "--work", str(work))
    for name in ("tokenizer.model", "docs.h5", "code.h5"):
        (bundle / "data").mkdir(exist_ok=True)
        shutil.copy2(work / "layouts-data" / name, bundle / "data" / name)


def pack(bundle, archive):
    """One archive of sorted, nameless entries; xz, which Python unpacks where no tool does."""
    def entry(info):
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        return info

    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w") as plain:
        plain.add(bundle, arcname=FOLDER, filter=entry)
    subprocess.run(["xz", "--force", "--threads=0", "-6", "--suffix=.xz", str(partial)], check=True)
    os.replace(str(partial) + ".xz", archive)


def main():
    parser = argparse.ArgumentParser(prog="scripts/gpu_check bundle")
    parser.add_argument("--output", default="build", type=pathlib.Path, help="where to (build/)")
    parser.add_argument("--jobs", default=os.cpu_count(), type=int, help="compilers at a time")
    parser.add_argument("--without-cuda", action="store_true", help="pack a build without CUDA: to try the bundle itself")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    begin = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    if not arguments.without_cuda:
        subprocess.run(["scripts/setup", "--cuda"], check=True)
    folder = pathlib.Path("build/gpu-check-build").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    print("gpu_check: building (build/gpu-check-build.log)", flush=True)
    programs = build(folder, not arguments.without_cuda, arguments.jobs)

    print("gpu_check: packing", flush=True)
    bundle = output / FOLDER
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    cuda = pack_programs(bundle, programs)
    pack_data(bundle, folder)
    glibc, asking = newest_symbols(bundle, "GLIBC")
    glibcxx, _ = newest_symbols(bundle, "GLIBCXX")
    manifest = {
        "commit": output_of("git", "rev-parse", "HEAD").strip(),
        "changed": bool(output_of("git", "status", "--porcelain").strip()),
        "built": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "march": MARCH,
        "tests": {program.name: TESTS[program.name] for program in programs if program.name in TESTS},
        "programs": [program.name for program in programs],
        "cuda_libraries": cuda,
        "glibc": glibc,
        "glibc_for": asking,
        "glibcxx": glibcxx,
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    archive = output / f"{FOLDER}.tar.xz"
    pack(bundle, archive)
    size = archive.stat().st_size
    raw = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file() and not file.is_symlink())
    if size > LIMIT_BYTES:
        fail(f"{archive} has {size / 2**20:.1f} MiB, and the limit is {LIMIT_BYTES >> 20}; unpacked it is {bundle}")
    print(f"gpu_check: {archive}: {size / 2**20:.1f} MiB ({raw / 2**20:.0f} unpacked), {len(programs)} programs, needs glibc {glibc}, "
          f"{' '.join(cuda) or 'no CUDA'}; {time.monotonic() - begin:.0f} s")
    print(f"  on the GPU host: tar xf {archive.name} (or python3 -m tarfile -e {archive.name}) && {FOLDER}/gpu_check run")


if __name__ == "__main__":
    main()
