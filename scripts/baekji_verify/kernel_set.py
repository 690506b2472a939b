"""The kernel set: what computed the bits. docs/formats/contract.md, "Kernel set"."""
from .canonical import canonical, check_members, sha256
from .report import require

KERNEL_SET = {**dict.fromkeys(("device", "processor", "instruction_set", "compiler", "flags"), "text"),
              "libraries": "object", "numerics_sources": "digest"}


def check_kernel_set(value, where):
    check_members(value, KERNEL_SET, where)
    for name, text in value["libraries"].items():
        require(isinstance(text, str), "a library is described by text", "a string", text, f"{where}: {name}")


def kernel_set_digest(value):
    return sha256(canonical(value)).hex()


def describe_kernel_set(value):
    return f"{value['device']}, {value['processor']}, {value['compiler']}, {kernel_set_digest(value)[:16]}..."
