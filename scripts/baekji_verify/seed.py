"""Who could choose the seed: docs/formats/log.md, "Contract note" and "Witness"; docs/formats/contract.md, "Seed"."""
import re
import struct
from dataclasses import dataclass

from .canonical import is_hex, sha256
from .contract import BEACONS
from .files import LIST
from .notes import clock, cosigned_at, decimal, read_note
from .report import require, require_equal

NAME = "[A-Za-z0-9._/-]{1,128}"


def seed_of(contract, genesis):
    """The seed that keys step 0."""
    if "seed" in contract.value:
        return contract.value["seed"]
    return struct.unpack("<Q", sha256(bytes.fromhex(contract.digest) + bytes.fromhex(genesis["seed"]["value"]))[:8])[0]


def seed_line(contract):
    beacon = contract.value.get("beacon")
    return f"beacon {beacon['name']} {beacon['round']}" if beacon else "seed"


def is_seed_line(line):
    match = re.fullmatch(f"beacon {NAME} ([0-9]+)", line)
    return line == "seed" or (match is not None and decimal(match[1], 1) is not None)


def round_time(contract):
    beacon = contract.value["beacon"]
    network = BEACONS[beacon["name"]]
    return network.first_time + network.period * (beacon["round"] - 1)


@dataclass
class Entry:
    time: int
    contract: str
    name: str
    seed: str


@dataclass
class WitnessList:
    witness: str
    time: int
    entries: list


def read_contract_note(path, contract):
    """The note, whose four lines must be this contract's; gives it and the name under which it was signed."""
    note = read_note(path)
    lines = note.lines(4, "a contract note", "baekji/contract/v2, digest, name, seed")
    require_equal("baekji/contract/v2", lines[0], "not a contract note of this version", path)
    require_equal(contract.digest, lines[1], "a note of another contract", path)
    require(re.fullmatch(NAME, lines[2]), "the name of a contract note", NAME, lines[2], path)
    require_equal(seed_line(contract), lines[3], "the contract note has another seed line than its contract", path)
    return note, lines[2]


def read_witness_list(path, name, key):
    note = read_note(path, LIST)
    lines = note.text.split("\n")[:-1]
    require_equal("baekji/witness-register/v1", lines[0], "not a witness's list", path)
    time = cosigned_at(note, name, key)
    require(time is not None, "a list that its witness did not sign", name, [who for who, _, _ in note.signatures], path)
    entries = []
    for line in lines[1:]:
        parts = line.split(" ", 3)
        whole = len(parts) == 4 and decimal(parts[0]) is not None and is_hex(parts[1], 64)
        require(whole and re.fullmatch(NAME, parts[2]) and is_seed_line(parts[3]), "not a line of a witness's register",
                "time, contract, name, seed", line, path)
        entry = Entry(int(parts[0]), *parts[1:])
        before = entries[-1].time if entries else 0
        require(before <= entry.time <= time, "the times of a register go back, or tell of the future",
                f"{before} to {time}", entry.time, path)
        entries.append(entry)
    return WitnessList(name, time, entries)


def count_round(entries, name, seed):
    """How many contracts a list has for a beacon's round: of this name, and in all."""
    same = [entry for entry in entries if seed != "seed" and entry.seed == seed]
    return len({entry.contract for entry in same if entry.name == name}), len({entry.contract for entry in same})


def judge_seed(contract, genesis, name, times, lists, report):
    """Whether the seed is proved, and why: (True, text) or (False, text). `name` is the contract note's, or None;
    `times` are those of the witnesses who cosigned it; `lists` what witnesses say that they cosigned."""
    if "beacon" not in contract.value:
        return False, f"the contract names no beacon: its owner chose {contract.value['seed']}"
    if name is None:
        return False, "the run has no contract note that passed"
    for each in lists:
        of_name, in_all = count_round(each.entries, name, seed_line(contract))
        report.note("seed", f"witness {each.witness} signed {in_all} contracts for that round: {of_name} under the name "
                            f"{name}, {in_all - of_name} under others")
        require(of_name <= 1, "a witness signed several contracts of this name for one round", "one contract", of_name,
                f"--witness-list {each.witness}")
    if not times:
        return False, "no given witness cosigned the contract note"
    came, why = round_time(contract), ""
    for witness, when in sorted(times.items(), key=lambda item: item[1]):
        why = why_not(contract, name, witness, when, lists)
        if not why:
            return True, (f"proved: {witness} cosigned this contract, and no other under the name {name}, {came - when} s "
                          f"before {seed_line(contract)} came ({clock(came)}); seed {seed_of(contract, genesis)}. LOOK UP "
                          f"that the round's value is {genesis['seed']['value']}")
    return False, why


def why_not(contract, name, witness, when, lists):
    """Empty when this witness proves the seed."""
    came = round_time(contract)
    if when >= came:
        return f"{witness} cosigned at {clock(when)}, not before the round came at {clock(came)}"
    why = f"--witness-list {witness}=LIST says what else it signed, and is not given"
    for each in (each for each in lists if each.witness == witness):
        if each.time < came:
            why = f"the list of {witness} is of {clock(each.time)}, before the round came at {clock(came)}"
        elif any((e.contract, e.name, e.seed) == (contract.digest, name, seed_line(contract)) and e.time < came
                 for e in each.entries):
            return ""
        else:
            why = f"the list of {witness} does not have this contract before the round"
    return why
