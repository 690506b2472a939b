"""The state root and exported states: docs/formats/state-root.md, docs/formats/chunks.md."""
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from .canonical import canonical, check_members, parse_canonical, sha256
from .files import MANIFEST, open_regular, read_file
from .merkle import tree_root
from .parameters import declare_parameters
from .report import require, require_equal

KINDS = ("master", "moment1", "moment2")


def state_leaf(tensor, kind, slice_index, chunk, data):
    name = tensor.name.encode()
    header = b"baekji.state.v1\0" + struct.pack("<I", len(name)) + name
    header += bytes([kind, 0, ("none", "rows", "columns").index(tensor.split), len(tensor.shape)])
    header += b"".join(struct.pack("<Q", extent) for extent in tensor.shape)
    header += struct.pack("<QQQQQ", tensor.all_rows, tensor.slices, slice_index, chunk, len(data) // 4)
    return sha256(b"\0" + header + data)


@dataclass
class Export:
    """A state that `baekji chunks` wrote, as its files were when they were read."""
    folder: Path
    step: int
    root: str
    leaves: dict  # (tensor's index by name, slice, chunk, kind) to leaf hash: sorted, the order of the tree

    def path(self, tensor, kind, slice_index):
        return self.folder / KINDS[kind] / tensor.name / f"{slice_index}.f32"


def hash_slice(export, tensor, index, kind, slice_index):
    """The leaves of one array of one slice, chunk by chunk."""
    path = export.path(tensor, kind, slice_index)
    with open_regular(path) as file:
        require_equal(4 * tensor.slice_elements, os.fstat(file.fileno()).st_size, "a slice has the wrong size (bytes)", path)
        for chunk in range(tensor.chunks):
            data = file.read(4 * tensor.chunk_elements(chunk))
            require_equal(4 * tensor.chunk_elements(chunk), len(data), "a slice became shorter", path)
            require(kind == 0 or export.step > 0 or not any(data), "a moment of step 0", "zeros", "others", path)
            export.leaves[index, slice_index, chunk, kind] = state_leaf(tensor, kind, slice_index, chunk, data)


def read_export(folder, contract, ledger):
    where = folder / "chunks.json"
    data = read_file(where, MANIFEST)
    require(data.endswith(b"\n"), "chunks.json is one line", "a newline at its end", "none", where)
    value = parse_canonical(data[:-1], where)
    check_members(value, {"format": "text", "step": "count", "contract": "digest", "state_root": "digest",
                          "tensors": "array"}, where)
    require_equal("baekji.chunks.v1", value["format"], "another format", where)
    require_equal(contract.digest, value["contract"], "chunks of another contract", where)
    declared = declare_parameters(contract)
    require_equal(len(declared), len(value["tensors"]), "not the parameters of the contract's model", where)
    for i, (tensor, came) in enumerate(zip(declared, value["tensors"])):
        require(canonical(tensor.geometry()) == canonical(came), "a tensor is not the contract's", tensor.geometry(), came,
                f"{where}: tensors[{i}]")
    export = Export(folder, value["step"], value["state_root"], {})
    for index, tensor in enumerate(declared):
        for kind, slice_index in itertools.product(range(3), range(tensor.slices)):
            hash_slice(export, tensor, index, kind, slice_index)
    root = tree_root([leaf for _, leaf in sorted(export.leaves.items())]).hex()
    require_equal(value["state_root"], root, "the chunks have another state root than their chunks.json says", folder)
    recorded = sorted(known for step, known in ledger.known if step == export.step)
    require(root in recorded, "the ledger holds no such state", recorded, root, f"{folder}, step {export.step}")
    history = "" if ledger.roots.get(export.step) == root else ", which a rollback left behind"
    return export, (f"{folder}: {len(declared)} tensors, {len(export.leaves)} chunks; the ledger holds their root "
                    f"{root} for step {export.step}{history}")
