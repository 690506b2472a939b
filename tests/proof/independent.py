#!/usr/bin/env python3
"""What the unit tests of proof/ hold against the second implementation of docs/formats, scripts/baekji_verify.

  independent.py state     reads a JSON list of tensors and a seed from stdin, regenerates step 0, prints its state root
  independent.py elements  the same input with "elements"; prints the fp32 bits of each as 8 hex digits
  independent.py ledger F  checks the chain and the records of ledger F, prints the number of records and the head
"""
import json
import struct
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from baekji_verify import genesis, ledger, parameters  # noqa: E402


def main():
    if sys.argv[1] == "ledger":
        read, _ = ledger.read_ledger(Path(sys.argv[2]))
        print(len(read.lines), read.lines[-1].hex())
        return
    state = json.load(sys.stdin)
    tensors = [parameters.Tensor(**tensor) for tensor in sorted(state["tensors"], key=lambda t: t["name"].encode())]
    if sys.argv[1] == "state":
        print(genesis.step0_root(tensors, state["seed"]).hex())
    else:
        for index in state["elements"]:
            print("%08x" % struct.unpack("<I", genesis.step0_elements(tensors[0], state["seed"], index, 1)))


main()
