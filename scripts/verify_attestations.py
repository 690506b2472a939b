#!/usr/bin/env python3
"""Verifies the signed statements of a run (docs/formats/attestation.md): Python's standard library and the stock openssl program.

  verify_attestations.py RUN DIR --key PUBLIC.pem

RUN is the run folder, DIR what `baekji attest` wrote, PUBLIC.pem the P-256 public key, from somewhere else than either. Each
envelope must be signed by that key, and each statement must be about this run: its contract, a line of its ledger, a state root
that its ledger holds. What a ledger's lines are worth is what verify_run.py says. The exit status is 0 only if all of it passed.
This file shares no code with the program that made the run.
"""
import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

STATEMENTS = ("contract.dsse.json", "chain.dsse.json", "release.dsse.json")
PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Rejected(Exception):
    """What is wrong with an envelope or a statement."""


def require(holds, problem):
    if not holds:
        raise Rejected(problem)


def strict_base64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 in another spelling than its own")
    return data


def signature_holds(key, message, signature):
    """Whether `signature` (DER) is that of `message` under the public key: asks openssl, which has the curve."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "message").write_bytes(message)
        (Path(folder) / "signature").write_bytes(signature)
        command = ["openssl", "dgst", "-sha256", "-verify", str(key), "-signature", f"{folder}/signature", f"{folder}/message"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def open_envelope(path, key):
    """The statement in a DSSE envelope whose one signature holds."""
    envelope = json.loads(path.read_bytes())
    require(envelope["payloadType"] == PAYLOAD_TYPE, f"payloadType is {envelope['payloadType']!r}")
    require(len(envelope["signatures"]) == 1, f"{len(envelope['signatures'])} signatures, not one")
    payload, signature = strict_base64(envelope["payload"]), strict_base64(envelope["signatures"][0]["sig"])
    hint = hashlib.sha256(key.read_bytes()).hexdigest()
    require(envelope["signatures"][0]["keyid"] == hint, f"signed by key {envelope['signatures'][0]['keyid']}, not {hint}")
    message = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    require(signature_holds(key, message, signature), "the signature does not hold")
    statement = json.loads(payload)
    require(statement["_type"] == "https://in-toto.io/Statement/v1", f"_type is {statement['_type']!r}")
    return statement


def state_roots(lines):
    """Every state root that the ledger holds, by step; the later record of a step counts."""
    roots = {}
    for line in lines:
        record = json.loads(line)
        body = record["body"]
        if record["kind"] == "event" and body["event"] == "rollback":
            roots = {step: root for step, root in roots.items() if step <= body["to"]}
        saved = record["kind"] == "event" and body["event"] == "checkpoint"
        if "state_root" in body and (saved or record["kind"] in ("genesis", "step")):
            roots[body.get("step", 0)] = body["state_root"]
    return roots


def check_statement(statement, contract, lines):
    """What the statement must say of this run, by its type; gives a text for people."""
    kind, predicate = statement["predicateType"].split("/")[-2], statement["predicate"]
    subject = statement["subject"][0]["digest"]["sha256"]
    if kind == "contract":
        require(subject == contract, f"the contract is {contract}, the statement's {subject}")
        return f"contract {contract}"
    require(predicate["contract"] == contract, f"the contract is {contract}, the statement's {predicate['contract']}")
    if kind == "chain":
        records = predicate["records"]
        require(1 <= records <= len(lines), f"the ledger has {len(lines)} lines, the statement {records}")
        head = hashlib.sha256(lines[records - 1]).hexdigest()
        require(subject == head, f"line {records} has digest {head}, the statement {subject}")
        return f"chain of {records} records"
    require(kind == "release", f"a statement of another kind: {statement['predicateType']}")
    root = state_roots(lines).get(predicate["step"])
    require(root == predicate["state_root"], f"the ledger's root of step {predicate['step']} is {root}, not {predicate['state_root']}")
    return f"release of {len(statement['subject'])} files from step {predicate['step']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--key", type=Path, required=True, metavar="PEM")
    a = parser.parse_args()
    checked = failed = 0
    for path in (a.folder / name for name in STATEMENTS):
        if not path.exists():
            continue
        checked += 1
        try:
            contract = hashlib.sha256((a.run / "contract.json").read_bytes()).hexdigest()
            lines = (a.run / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
            print(f"ok      {path.name}: {check_statement(open_envelope(path, a.key), contract, lines)}")
        except (Rejected, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            failed += 1
            print(f"FAILED  {path.name}: {type(error).__name__}: {error}")
    print(f"verify_attestations: {checked} statements, {failed} FAILED")
    return 0 if checked > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
