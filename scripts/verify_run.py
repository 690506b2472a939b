#!/usr/bin/env python3
"""Verifies a run of Baekji from its files, with nothing but Python's standard library.

  verify_run.py RUN                           ledger, contract, tokenizer, manifests of a run folder
  verify_run.py RUN --key OWNER.pem           also the log, with the owner's signatures
  verify_run.py RUN --key ... --witness NAME=PUB.pem [--witness-list NAME=LIST]   also a witness's, and what it says
  verify_run.py RUN --key ... --witnessed NOTE    the ledger must contain this earlier checkpoint of its log
  verify_run.py RUN --head HEX                the ledger must contain the line with this SHA-256
  verify_run.py RUN --chunks DIR              the state that `baekji chunks` wrote must be one of the ledger's
  verify_run.py RUN --genesis all             computes step 0 again from the contract: some 7 s for a million weights
  verify_run.py RUN --chunks STEP0 --genesis N    the same for N chunks of an exported step 0, drawn by a nonce
  verify_run.py RUN --attestations DIR --attestation-key PEM [--release DIR] [--chunks STATE]
                                              the signed statements; the files; whether the state gives them
  verify_run.py RUN --require LIST            what is not proved of the LIST is a failure

The last line says what was verified, and the exit status the same: 0 verified, all that was asked, in full; 2 partly
verified; 1 NOT verified. This program shares no code with the one that made the run; scripts/baekji_verify was written
from docs/formats/*.md, and every module names the page that it follows. It trusts SHA-256, this machine and the public
keys that it is given, and nothing in the run folder. It reads no training data and does not train: only a replay can tell
whether the batch and the arithmetic of a step are right.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from baekji_verify.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(__doc__))
