#!/usr/bin/env python3
"""scripts/verify_run.py against the run's dishonest owner: runs made in Python, each attack a function, each verdict
expected by name. It needs no program of ours, only stock openssl.

    verify_attacks_test.py --openssl PROGRAM --work FOLDER [NAME...]
"""
import argparse
import shutil
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run_builder import Key, Openssl, Run, StatementKey, expect, write_ledger  # noqa: E402
import ledger_attacks  # noqa: E402
import mutated_folders  # noqa: E402
import signature_attacks  # noqa: E402


class Bench:
    def __init__(self, openssl, work):
        self.work = Path(work).resolve()
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.openssl = Openssl(openssl, self.work)
        self.run = Run(self.work, "run")
        self.owner, self.second, self.third = (Key(self.openssl, name) for name in ("owner", "second", "third"))
        self.witness, self.stranger = Key(self.openssl, "witness"), Key(self.openssl, "stranger")
        self.attester, self.other_attester = StatementKey(self.openssl, "attester"), StatementKey(self.openssl, "other")

    def event(self, name, **members):
        return "event", {"event": name, **members}

    def refused(self, wanted, records):
        """A ledger of these records, chained as it should be, is refused for this reason."""
        write_ledger(self.run.folder, records)
        text = expect(1, [self.run.folder], wanted)
        assert "FAIL  ledger" in text, text
        write_ledger(self.run.folder, self.run.records)

    def passes(self, records, *wanted):
        write_ledger(self.run.folder, records)
        expect(0, [self.run.folder], *wanted)
        write_ledger(self.run.folder, self.run.records)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--openssl", "--work"):
        parser.add_argument(name, required=True)
    parser.add_argument("names", nargs="*")
    a = parser.parse_args()
    bench, failed = Bench(a.openssl, a.work), []
    attacks = [*ledger_attacks.ATTACKS, *signature_attacks.ATTACKS, *mutated_folders.ATTACKS]
    for attack in (attack for attack in attacks if not a.names or attack.__name__ in a.names):
        begin = time.monotonic()
        try:
            attack(bench)
            print(f"ok     {attack.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
        except AssertionError:
            failed.append(attack.__name__)
            print(f"FAILED {attack.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"verify_attacks_test.py: {len(failed)} of {len(attacks)} failed {' '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
