#!/usr/bin/env python3
"""Installs what this machine lacks for building and running the CUDA back end into build/cuda, from PyPI, without root:
scripts/setup --cuda calls it. What the machine has is not downloaded again (cmake/CudaParts.cmake looks); a second run takes a
moment and needs no network. docs/cuda.md says what comes and how large it is.

    scripts/setup_cuda.py [--root DIR] [--all]

--all (or BAEKJI_CUDA_MACHINE=OFF in the environment): as if the machine had no toolkit of its own; give CMake
-DBAEKJI_CUDA_MACHINE=OFF then."""

import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
import zipfile

# By part of cmake/CudaParts.cmake: the packages, pinned to versions that NVIDIA released together (CUDA 13.0), with the digests of
# their x86-64 wheels. nvcc is a compiler of several packages; cuDNN compiles some of its kernels at run time, with NVRTC.
PACKAGES = {
    "nvcc": {
        "nvidia-cuda-nvcc==13.0.88": "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
        "nvidia-cuda-crt==13.0.88": "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
        "nvidia-nvvm==13.0.88": "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
        "nvidia-cuda-runtime==13.0.96": "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        "nvidia-cuda-cccl==13.0.85": "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
    },
    "cublaslt": {"nvidia-cublas==13.1.0.3": "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171"},
    "cudnn": {
        "nvidia-cudnn-cu13==9.19.0.56": "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        "nvidia-cuda-nvrtc==13.0.88": "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    },
    "nccl": {"nvidia-nccl-cu13==2.28.9": "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42"},
    "cudnn-frontend": {
        "nvidia-cudnn-frontend==1.32.0": "c6006556017a4d1c914c52a556c71b1267f2d6a0500f742e7b4edef539878df0"
    },
}
# The wheels are those of one interpreter and platform whatever runs this, for the digests' sake.
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_18_x86_64", "manylinux_2_17_x86_64",
             "manylinux_2_12_x86_64"]
TARGET = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]
# Where the folders of the wheels go: nvidia/cu13/bin, nvidia/cudnn/lib, and include/ of cudnn-frontend, whose Python code stays out.
FOLDERS = {"bin": "bin", "lib": "lib64", "include": "include", "nvvm": "nvvm"}


def fail(text):
    sys.exit(f"scripts/setup --cuda: {text}")


def missing_parts(root, machine):
    """The parts that cmake/CudaParts.cmake does not find."""
    run = subprocess.run(["cmake", f"-DBAEKJI_CUDA_ROOT={root}", f"-DBAEKJI_CUDA_MACHINE={'ON' if machine else 'OFF'}", "-P",
                          "cmake/CudaParts.cmake"], capture_output=True, text=True, check=False)
    lines = [line for line in run.stderr.splitlines() if line.startswith("missing:")]
    if run.returncode != 0 or len(lines) != 1:
        fail(f"cmake could not look for the toolkit:\n{run.stdout}{run.stderr}")
    return lines[0].split()[1:]


def download(parts, folder):
    """Fetches the wheels with pip, which checks their digests."""
    folder.mkdir(parents=True)
    pins = [f"{package} --hash=sha256:{digest}" for part in parts for package, digest in PACKAGES[part].items()]
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(pins) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir",
               "--only-binary", ":all:", "--require-hashes", *TARGET]
    for tag in PLATFORMS:
        command += ["--platform", tag]
    run = subprocess.run([*command, "--dest", str(folder), "--requirement", str(requirements)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode != 0:
        sys.stderr.write("".join(line + "\n" for line in run.stdout.splitlines() if "WARNING" not in line))
        fail(f"pip could not download {' '.join(parts)} (its words are above); is there a network? "
             "Without CUDA the build is complete on the CPU.")
    return sorted(folder.glob("*.whl"))


def place_of(name):
    """Where a wheel's file goes under the root; None if it stays out."""
    steps = pathlib.PurePosixPath(name).parts
    if steps[0] == "nvidia":
        steps = steps[2:]
    if len(steps) < 2 or steps[0] not in FOLDERS:
        return None
    return pathlib.Path(FOLDERS[steps[0]], *steps[1:])


def unpack(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            place = place_of(entry.filename)
            if place is None or entry.is_dir():
                continue
            target = root / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            if entry.external_attr >> 16 & 0o100 or "bin" in place.parts[:-1]:
                target.chmod(0o755)


def add_links(root):
    """libX.so for the linker, which wheels leave out, and lib beside lib64: nvcc looks in both."""
    libraries = root / "lib64"
    if not libraries.is_dir():
        return
    for library in libraries.glob("lib*.so.*"):
        link = libraries / (library.name.split(".so.")[0] + ".so")
        if not link.exists():
            link.symlink_to(library.name)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("lib64")


def merge(new, root):
    """Moves the files of `new` to their places. What is looked for, libX.so and bin/nvcc, comes last."""
    for file in sorted((path for path in new.rglob("*") if path.is_file()), reverse=True):
        target = root / file.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
    add_links(root)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="build/cuda", type=pathlib.Path, help="where to (build/cuda)")
    parser.add_argument("--all", action="store_true", help="also what the machine has")
    arguments = parser.parse_args()
    root = arguments.root.absolute()
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    machine = not arguments.all and os.environ.get("BAEKJI_CUDA_MACHINE", "ON") not in ("OFF", "0", "")

    parts = missing_parts(root, machine)
    if not parts:
        print("setup: CUDA is complete")
        return
    if platform.machine() != "x86_64":
        fail(f"the pinned packages are for x86-64, and this is {platform.machine()}: install CUDA 13, cuDNN and NCCL from NVIDIA, "
             f"and the headers of cudnn-frontend into {root}/include")
    print(f"setup: installing into {root}: {' '.join(parts)}", flush=True)
    begin = time.monotonic()
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        wheels = download(parts, partial / "wheels")
        size = sum(wheel.stat().st_size for wheel in wheels)
        for wheel in wheels:
            unpack(wheel, partial / "new")
            wheel.unlink()
        merge(partial / "new", root)
    except OSError as error:
        fail(f"{error}; the parts take up to 2.5 GB under {root} while they are unpacked")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    left = missing_parts(root, machine)
    if left:
        fail(f"still missing after the installation: {' '.join(left)}")
    print(f"setup: {len(wheels)} packages, {size / 1e6:,.0f} MB, in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
