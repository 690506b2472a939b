"""The published log: docs/formats/log.md, "Tree", "Files" and "Checkpoint"."""
import re
from dataclasses import dataclass

from .canonical import is_hex, sha256
from .files import files_below, read_file
from .keys import is_key_file
from .merkle import tree_root
from .notes import Note, decimal, read_note, strict_base64
from .report import require, require_equal

TILE = 256  # nodes of a tile
MOST_TILE_BYTES = TILE * (2 + 65535)


@dataclass
class Checkpoint:
    note: Note
    size: int
    root: bytes
    signer: int  # index in the chain of keys


def read_checkpoint(path, chain, ledger):
    """A signed checkpoint, whose root must be that of the ledger's first lines."""
    note = read_note(path)
    lines = note.lines(4, "a checkpoint of a log", "origin, size, root, opening")
    require_equal(f"baekji/{chain.contract}", lines[0], "a checkpoint of another log: its origin", path)
    size, root, opening = decimal(lines[1]), strict_base64(lines[2]), lines[3].removeprefix("opening ")
    require(size is not None and size >= 1, "the size of a log", "a decimal number from 1", lines[1], path)
    require(len(root) == 32, "the root of a log", "base64 of 32 bytes", lines[2], path)
    require(lines[3].startswith("opening ") and is_hex(opening, 64), "the opening of a log", "opening <digest>", lines[3], path)
    require_equal(chain.opening, opening, "the log has another opening than its checkpoint says", path)
    signer = chain.signer(note, lines[0], size)
    require(size <= len(ledger.leaves), "the ledger lacks published entries", size, len(ledger.leaves), path)
    require_equal(root.hex(), tree_root(ledger.leaves, 0, size).hex(),
                  f"the first {size} lines of the ledger have another root", path)
    return Checkpoint(note, size, root, signer)


def tile_name(level, number, width):
    groups = [group.zfill(3) for group in f"{number:,}".split(",")]
    return "/".join([str(level), *("x" + g for g in groups[:-1]), groups[-1]]) + (f".p/{width}" if width < TILE else "")


def parse_tile_name(name):
    """(level, number, width), or None for what is no name of a tile."""
    match = re.fullmatch(r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?", name)
    if not match:
        return None
    level = match[1] if match[1] == "entries" else int(match[1])
    number, width = int(match[2].replace("/", "").replace("x", "")), int(match[3] or TILE)
    return (level, number, width) if tile_name(level, number, width) == name and width > 0 else None


def tree_levels(leaves):
    levels = [leaves]
    while len(levels[-1]) >= TILE:
        below = levels[-1]
        levels.append([tree_root(below, i, i + TILE) for i in range(0, len(below) - TILE + 1, TILE)])
    return levels


def tile_hashes(path, level, width):
    """The hashes that a tile holds; those of an entry bundle are its entries' leaf hashes."""
    data = read_file(path, MOST_TILE_BYTES)
    if level != "entries":
        require_equal(32 * width, len(data), "a tile has the wrong size (bytes)", path)
        return [data[i:i + 32] for i in range(0, len(data), 32)]
    hashes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        require(at + 2 + size <= len(data), "an entry ends behind its file", size, len(data) - at - 2, path)
        hashes.append(sha256(b"\0" + data[at + 2:at + 2 + size]))
        at += 2 + size
    require_equal(width, len(hashes), "a bundle has the wrong number of entries", path)
    return hashes


def check_files(folder, size, ledger):
    """Every file below log/: tiles node by node; others have no place there. Gives how many tiles, and unfinished files."""
    levels = tree_levels(ledger.leaves)
    present, unfinished = set(), 0
    for name in files_below(folder):
        path = folder / name
        if name == "checkpoint" or is_key_file(name):
            continue
        if name.endswith(".new"):
            unfinished += 1
            continue
        tile = parse_tile_name(name.removeprefix("tile/")) if name.startswith("tile/") else None
        require(tile, "a file does not belong to the log", "tile/<level>/<number>", name, folder)
        level, number, width = tile
        depth, first = 0 if level == "entries" else level, number * TILE
        nodes = levels[depth] if depth < len(levels) else []
        require(first + width <= len(nodes), "a tile holds more than the ledger", len(nodes), first + width, path)
        for i, came in enumerate(tile_hashes(path, level, width)):
            require_equal(nodes[first + i].hex(), came.hex(), f"node {first + i} is not the ledger's", path)
        present.add(tile)
    for level in ("entries", *range(len(levels))):
        nodes = size >> (0 if level == "entries" else 8 * level)
        for number in range(-(-nodes // TILE)):
            width = min(TILE, nodes - number * TILE)
            # A complete tile serves for its partial forms.
            require({(level, number, width), (level, number, TILE)} & present, "a tile is missing",
                    tile_name(level, number, width), "nothing", folder)
    return len(present), unfinished


def verify_log(folder, ledger, chain, given, report):
    """The folder against the ledger; gives the checkpoint. `given` is the key that the verifier was told."""
    checkpoint = read_checkpoint(folder / "checkpoint", chain, ledger)
    newest = chain.keys[-1]
    require(newest.start <= checkpoint.size, "a key was handed over behind the end of the log: it was cut off since",
            f"a checkpoint of size {newest.start} at least", checkpoint.size, folder)
    tiles, unfinished = check_files(folder, checkpoint.size, ledger)
    if given != checkpoint.signer:
        report.note("log", f"the given key is {chain.describe(given)}")
    if newest.until is not None:
        report.note("log", f"the newest key is revoked beyond size {newest.until}: the log cannot go on")
    if unfinished:
        report.note("log", f"{unfinished} unfinished files, as a crash leaves them")
    text = (f"signed for {checkpoint.size} of {len(ledger.lines)} records by {chain.describe(checkpoint.signer)}; root "
            f"{checkpoint.root.hex()}; {tiles} tiles and bundles, {chain.files} files of keys, every hash and entry")
    if checkpoint.size == len(ledger.lines):
        report.ok("log", text)
    else:
        report.leave("log", text + "; nobody signed the rest", "a run that goes on or ends: its owner then signs")
    return checkpoint
