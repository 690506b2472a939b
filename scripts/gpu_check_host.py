"""What the second half of scripts/gpu_check finds on its host: the GPUs (through the driver's own library), CUDA's libraries and
their versions, and how to start a program of the bundle with them. Python's standard library alone."""

import ctypes
import ctypes.util
import glob
import os
import pathlib
import platform
import re
import shutil
import site
import subprocess
import sys

# What the kernels are compiled for: code for 9.0a and 10.0a runs on no other device.
CAPABILITIES = {(9, 0): "Hopper", (10, 0): "Blackwell"}


def lines_of(*command):
    """The lines that a command prints; none where it fails or is missing."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.splitlines() if run.returncode == 0 else []


def numbers(version):
    return tuple(map(int, version.split(".")))


def cuda_text(version):
    return f"{version // 1000}.{version % 1000 // 10}"


def find_gpus():
    """(GPUs, what CUDA the driver speaks, why there is none). The driver's library is asked, so nvidia-smi may be missing."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], None, "there is no NVIDIA driver here (libcuda.so.1)"
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    code = driver.cuInit(0)
    if code != 0:
        return [], cuda_text(version.value), f"the NVIDIA driver finds no device (cuInit: error {code})"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = []
    for ordinal in range(count.value):
        device = ctypes.c_int(0)
        name = ctypes.create_string_buffer(256)
        memory = ctypes.c_size_t(0)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, 256, device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        numbers = []
        for attribute in (75, 76, 16):  # compute capability, major and minor; multiprocessors
            number = ctypes.c_int(0)
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            numbers.append(number.value)
        gpus.append({"name": name.value.decode(), "capability": f"{numbers[0]}.{numbers[1]}", "multiprocessors": numbers[2],
                     "memory_bytes": memory.value})
    why = "" if gpus else "the NVIDIA driver is here, and no GPU is visible (CUDA_VISIBLE_DEVICES?)"
    if gpus and numbers(gpus[0]["capability"]) not in CAPABILITIES:
        kinds = " or ".join(f"{a}.{b} ({name})" for (a, b), name in CAPABILITIES.items())
        why = f"{gpus[0]['name']} has compute capability {gpus[0]['capability']}, and the kernels are compiled for {kinds}"
    return gpus, cuda_text(version.value), why


def library_folders():
    """Where CUDA's libraries may be, best first: what the caller says, toolkits, packages of pip (PyTorch brings them), PyTorch."""
    folders = os.environ.get("BAEKJI_LIBRARIES", "").split(":") + os.environ.get("LD_LIBRARY_PATH", "").split(":")
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda", *sorted(glob.glob("/usr/local/cuda-*"))]
    folders += [f"{toolkit}/{lib}" for toolkit in toolkits if toolkit for lib in ("lib64", "lib", "targets/x86_64-linux/lib")]
    packages = [*sys.path, *site.getsitepackages(), site.getusersitepackages()]
    for pattern in ("/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages", "/opt/*/lib/python3*/site-packages",
                    "/usr/local/lib/python3*/site-packages", "/root/*/lib/python3*/site-packages"):
        packages += sorted(glob.glob(pattern))
    for package in packages:
        if package:
            folders += sorted(glob.glob(f"{package}/nvidia/*/lib")) + [f"{package}/torch/lib"]
    folders += ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"]
    return [folder for folder in dict.fromkeys(folders) if folder and os.path.isdir(folder)]


def find_libraries(names):
    """(folders that hold the named libraries, the names that no folder holds)."""
    folders, missing = [], []
    for name in names:
        for folder in library_folders():
            if os.path.exists(os.path.join(folder, name)):
                folders.append(folder)
                break
        else:
            missing.append(name)
    return list(dict.fromkeys(folders)), missing


def version_of(name, folders):
    """What a library of CUDA says of itself."""
    calls = {"libcudart": "cudaRuntimeGetVersion", "libcublasLt": "cublasLtGetVersion", "libcudnn": "cudnnGetVersion",
             "libnccl": "ncclGetVersion"}
    call = calls.get(name.split(".so")[0])
    path = next((os.path.join(folder, name) for folder in folders if os.path.exists(os.path.join(folder, name))), None)
    if call is None or path is None:
        return None
    try:
        function = getattr(ctypes.CDLL(path), call)
    except (OSError, AttributeError) as error:
        return str(error)
    if call in ("cublasLtGetVersion", "cudnnGetVersion"):
        function.restype = ctypes.c_size_t
        return function()
    number = ctypes.c_int(0)
    function(ctypes.byref(number))
    return number.value


def newest_glibcxx():
    """The newest GLIBCXX version of the host's own libstdc++, (0,) without one."""
    paths = [line.split(" => ")[1] for line in lines_of("/sbin/ldconfig", "-p") if "libstdc++.so.6 " in line and "x86-64" in line]
    paths += ["/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib64/libstdc++.so.6"]
    for path in paths:
        if os.path.exists(path):
            found = re.findall(rb"GLIBCXX_([0-9.]+)\0", pathlib.Path(path).read_bytes())
            return max(tuple(map(int, version.split(b"."))) for version in found)
    return (0,)


def missing_on_host(bundle, manifest):
    """Why programs of the bundle cannot start here at all, or nothing."""
    flags = set(re.findall(r"\w+", next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")))
    lacking = sorted({"avx2", "bmi2", "fma", "movbe", "f16c"} - flags)
    if lacking:
        return f"the processor is no {manifest['march']}: it lacks {' '.join(lacking)}"
    if not os.access(bundle / "programs/launcher", os.X_OK):
        return f"{bundle} does not allow programs to be started (mounted noexec?)"
    return ""


def environment(bundle, manifest, folders):
    """The environment that programs of the bundle start in (programs/launcher reads it). An older host gets the newer libstdc++ and
    C library; the driver's and CUDA's libraries run with these, for both promise to serve what was built against older ones."""
    variables = dict(os.environ)
    if newest_glibcxx() < numbers(manifest["glibcxx"]):
        folders = [str(bundle / "newer"), *folders]
    if numbers(platform.libc_ver()[1] or "0") < numbers(manifest["glibc"]):
        variables["BAEKJI_LIBC"] = "1"
    variables["BAEKJI_LIBRARIES"] = ":".join(folders)
    variables["PATH"] = f"{bundle / 'programs'}:{variables.get('PATH', '/usr/bin:/bin')}"
    return variables


def find_sanitizer():
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer",
              "/usr/local/cuda/compute-sanitizer/compute-sanitizer", *sorted(glob.glob("/usr/local/cuda-*/bin/compute-sanitizer"))]
    return next((place for place in places if place and os.access(place, os.X_OK)), None)


def describe_host():
    """What a reader of the JSON file wants to know of the machine."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    release = {}
    if os.path.exists("/etc/os-release"):
        release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    smi = lines_of("nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm,mig.mode.current,ecc.mode.current",
                   "--format=csv,noheader")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": release.get("PRETTY_NAME", "?").strip('"'),
        "kernel": platform.release(),
        "glibc": platform.libc_ver()[1],
        "python": platform.python_version(),
        "nvidia_smi": dict(zip(("driver", "power_limit", "clock_max", "mig", "ecc"), smi[0].split(", "))) if smi else None,
    }
