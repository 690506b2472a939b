"""Saved states: docs/formats/checkpoint.md. What a folder's name says must be what it holds, and what the ledger holds.

The arrays lie in HDF5 files, which this program does not read: it compares their digests with the manifest, and the
manifest with the ledger. Whether the arrays have the manifest's root is for `baekji verify` or `baekji chunks` to say.
"""
import hashlib
import os
import re
from itertools import groupby

from .canonical import canonical, check_members, is_integer, parse_canonical, sha256
from .files import MANIFEST, TOKENIZER, hash_file, names_in, read_file, size_of
from .kernel_set import check_kernel_set
from .parameters import declare_parameters
from .report import require, require_equal

BODY = {"format": "text", "contract": "digest", "state_root": "digest", "kernel_set": "object", "step": "positive",
        "updates": "count", "position": "count", "tokens": "count", "tensor_grains": "positive", "index": "object",
        "shards": "array", "tensors": "array", "ranges": "array"}
FILE = {"name": "text", "sha256": "digest", "size_bytes": "count"}


def read_manifest(path):
    data = read_file(path, MANIFEST)
    require(data.endswith(b"\n"), "a manifest is one line", "a newline at its end", "none", path)
    value = parse_canonical(data[:-1], path)
    check_members(value, {"body": "object", "sha256": "digest"}, path)
    require_equal(value["sha256"], sha256(canonical(value["body"])).hex(), "a manifest has another digest than it says", path)
    body = value["body"]
    check_members(body, BODY, path)
    require_equal("baekji.checkpoint.v1", body["format"], "another format", path)
    check_kernel_set(body["kernel_set"], f"{path}: kernel_set")
    for file in (body["index"], *body["shards"]):
        check_members(file, FILE, f"{path}: files")
    require_equal("index.h5", body["index"]["name"], "the index has another name", path)
    for i, shard in enumerate(body["shards"]):
        require_equal(f"shard-{i:05}.h5", shard["name"], "a shard has another name", path)
    return body


def check_ranges(body, tensors, where):
    """The ranges of all shards cover every slice of every tensor exactly once, in order."""
    shards = len(body["shards"])
    for item in body["ranges"]:
        require(isinstance(item, list) and len(item) == 5 and all(is_integer(n) for n in item) and item[0] < shards and
                item[1] < len(tensors) and item[4] >= 1, "not a range", "[shard, tensor, slice, begin, count]", item, where)
    slices = sum(tensor.slices for tensor in tensors)
    require(slices <= len(body["ranges"]), "the ranges are not those of every slice", f"at least {slices}", len(body["ranges"]),
            where)
    every = [(t, s, tensor.slice_elements) for t, tensor in enumerate(tensors) for s in range(tensor.slices)]
    groups = [(key, list(items)) for key, items in groupby(body["ranges"], key=lambda item: (item[1], item[2]))]
    require_equal([(t, s) for t, s, _ in every], [key for key, _ in groups], "the ranges are not those of every slice", where)
    for (t, s, elements), (_, items) in zip(every, groups):
        at = 0
        for _, _, _, begin, count in items:
            require_equal(at, begin, f"tensor {t}, slice {s}: a gap, or elements that stand twice", where)
            at += count
        require_equal(elements, at, f"tensor {t}, slice {s}: elements are missing", where)


def check_checkpoint(folder, name, contract, ledger, digests):
    """One folder; with `digests` every byte of its files is read."""
    where = folder / name
    match = re.fullmatch("step-([0-9]{8,18})", name)
    require(match and name == f"step-{int(match[1]):08}", "not the name of a checkpoint", "step-NNNNNNNN", name, folder)
    step = int(match[1])
    require(step >= 1, "step 0 comes from genesis alone", "a step from 1", step, where)
    body = read_manifest(where / "manifest.json")
    require_equal(step, body["step"], "the folder's name is another step than its manifest's", where)
    require(step in ledger.roots, "the ledger holds no state of that step", "a committed step", step, where)
    require_equal(ledger.roots[step], body["state_root"], f"the ledger has another root of step {step}", where)
    require_equal(contract.digest, body["contract"], "a checkpoint of another contract", where)
    known = ledger.steps[step - 1]
    terms = {"updates": known.updates, "tokens": known.tokens, "position": contract.position(ledger.batch(step)),
             "tensor_grains": contract.value["numerics"]["tensor_grains"]}
    for term, value in terms.items():
        require_equal(value, body[term], f"{term} is not that of the ledger's step", where)
    tensors = declare_parameters(contract)
    require(canonical([tensor.geometry() for tensor in tensors]) == canonical(body["tensors"]),
            "the tensors are not the contract's", "docs/formats/parameters.md", "others", where)
    check_ranges(body, tensors, where)
    files = [body["index"], *body["shards"]]
    require_equal(sorted(["manifest.json", *(file["name"] for file in files)]), names_in(where),
                  "a checkpoint has files that its manifest does not name, or lacks some", where)
    for file in files:
        require_equal(file["size_bytes"], size_of(where / file["name"]), "a file has another size", where / file["name"])
        if digests:
            require_equal(file["sha256"], hash_file(where / file["name"], hashlib.sha256), "a file has another digest",
                          where / file["name"])
    return step


def verify_checkpoints(run, contract, ledger, digests, report):
    """All of checkpoints/ and opened/."""
    everywhere = set()
    for folder in (run / "checkpoints", run / "opened"):
        if not os.path.lexists(folder):
            continue
        found = []
        names = report.attempt("manifests", names_in, folder)
        for name in names or []:
            if not name.startswith("step-") or "." in name:  # `.partial`, `.rolled-back`: no reader takes it for a state
                report.note("manifests", f"{folder / name}: not a checkpoint, not looked at")
                continue
            step = report.attempt("manifests", check_checkpoint, folder, name, contract, ledger, digests)
            if step is not None:
                report.attempt("manifests", require, step not in everywhere, "a state lies in checkpoints/ and in opened/",
                               "one place", f"step {step}", folder / name)
                everywhere.add(step)
                found.append(step)
        if found:
            how = "every byte" if digests else "sizes, no digests: ask for --digests"
            report.ok("manifests", f"{folder}: steps {found}, with the ledger's roots in their manifests; {how}")


def check_tokenizer(run, contract):
    digest = sha256(read_file(run / "tokenizer.model", TOKENIZER)).hex()
    require_equal(contract.value["tokenizer"], digest, "tokenizer.model is not the one of the contract", run / "tokenizer.model")
    return True, digest
