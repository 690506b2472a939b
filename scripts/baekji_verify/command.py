"""The command line: what was asked, in an order in which nothing is believed before it is checked. docs/evaluator.md."""
import argparse
import os
import re
import secrets
import sys
from pathlib import Path

from .attestations import Attestations
from .canonical import is_hex
from .checkpoints import check_tokenizer, verify_checkpoints
from .contract import read_contract
from .genesis import check_sampled_genesis, check_whole_genesis
from .kernel_set import describe_kernel_set, kernel_set_digest
from .keys import KeyChain
from .ledger import read_ledger
from .log import read_checkpoint, verify_log
from .notes import clock, cosigned_at, owner_signed, read_public_key
from .p256 import read_p256_key
from .parameters import declare_parameters
from .report import NAMES, Rejected, Report, require, show
from .seed import judge_seed, read_contract_note, read_witness_list
from .state import read_export

TRAINS = ("challenge", "data")  # what needs the program that trains, or its data


def name_and_path(text):
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError("takes NAME=FILE")
    return name, Path(path)


class Parser(argparse.ArgumentParser):
    def exit(self, status=0, message=None):
        """A request that makes no sense is no partial success: argparse's own 2 would say so."""
        super().exit(min(status, 1), message)


def parse_arguments(description):
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--head", metavar="HEX", help="SHA-256 of a line that the ledger must contain")
    parser.add_argument("--digests", action="store_true", help="read every byte of the checkpoints that are there")
    parser.add_argument("--key", type=Path, metavar="PEM", help="a public key of the owner's: one of its log")
    several = {"action": "append", "default": []}
    parser.add_argument("--revocation", **several, type=Path, metavar="FILE", help="one that the folder may lack")
    parser.add_argument("--witness", **several, type=name_and_path, metavar="NAME=PEM", help="a witness and its public key")
    parser.add_argument("--witness-list", **several, type=name_and_path, metavar="NAME=LIST", help="what it says it signed")
    parser.add_argument("--witnessed", **several, type=Path, metavar="NOTE", help="an earlier log/checkpoint that was kept")
    parser.add_argument("--chunks", **several, type=Path, metavar="DIR", help="what `baekji chunks` wrote")
    parser.add_argument("--genesis", metavar="N|all", help="chunks of step 0 to compute again (4 of a step 0)")
    parser.add_argument("--nonce", metavar="HEX", help="draws the sample again that an earlier report named")
    parser.add_argument("--attestations", type=Path, metavar="DIR", help="what `baekji attest` wrote")
    parser.add_argument("--attestation-key", type=Path, metavar="PEM", help="the public key that signed it, on P-256")
    parser.add_argument("--release", type=Path, metavar="DIR", help="an export: its files must be those that were signed")
    parser.add_argument("--require", default="", metavar="LIST", help=f"fail unless all of these are proved: {','.join(NAMES)}")
    a = parser.parse_args()
    check_request(parser, a)
    return a


def check_request(parser, a):
    """Nonsense, and what this program cannot do, is refused before anything is read."""
    a.require = [name for name in a.require.split(",") if name]
    for name in a.require:
        if name not in NAMES:
            parser.error(f"--require knows {','.join(NAMES)}, not {show(name)}")
        if name in TRAINS:
            parser.error(f"--require {name}: that needs training data; `baekji verify --require {name}` can")
    if a.genesis and not re.fullmatch("all|[1-9][0-9]{0,8}", a.genesis):
        parser.error("--genesis takes a number of chunks from 1, or all")
    if (a.nonce and not re.fullmatch("([0-9a-f]{2}){1,64}", a.nonce)) or (a.head and not is_hex(a.head, 64)):
        parser.error("--nonce takes bytes in hex, --head 64 hex digits, both lower-case")
    if (a.witness or a.witness_list or a.witnessed or a.revocation) and not a.key:
        parser.error("--witness, --witness-list, --witnessed and --revocation need --key: witnesses vouch for what the owner "
                     "signed")
    names = [name for name, _ in a.witness]
    if len(set(names)) != len(names) or any(name not in names for name, _ in a.witness_list):
        parser.error("each --witness once; a --witness-list needs its --witness")
    if bool(a.attestations) != bool(a.attestation_key) or (a.release and not a.attestations):
        parser.error("--attestations and --attestation-key go together; --release needs both")


class Signatures:
    """What owner and witnesses signed, held against the keys that the evaluator has."""

    def __init__(self, a, contract, ledger, report):
        self.a, self.contract, self.ledger, self.report = a, contract, ledger, report
        self.chain, self.owner, self.given = None, None, None
        self.witnesses, self.signed = {}, {}

    def read_keys(self):
        self.owner = self.report.attempt("key", read_public_key, self.a.key)
        for name, path in self.a.witness:
            self.signed[name] = []
            key = self.report.attempt("witnessed", read_public_key, path)
            if key:
                self.witnesses[name] = key

    def read_chain(self):
        chain = KeyChain(self.a.run / "log", self.contract.digest, self.a.revocation)
        self.given = chain.require_given(self.owner)
        return chain

    def cosigners(self, note, what):
        """The witnesses whose signature stands on a note and holds, with their times."""
        times = {}
        for name, key in self.witnesses.items():
            when = self.report.attempt("witnessed", cosigned_at, note, name, key)
            if when is not None:
                times[name] = when
                self.signed[name].append(f"{what} at {clock(when)}")
        return times

    def verify(self):
        if not self.a.key:
            if os.path.lexists(self.a.run / "log"):
                self.report.note("log", "not checked: --key names a public key of the owner's")
            return self.verify_seed()
        self.read_keys()
        if self.owner:
            self.chain = self.report.attempt("log", self.read_chain)
        if self.chain:
            self.verify_log()
        self.verify_seed()
        for name, what in self.signed.items():
            if what:
                self.report.note("witness", f"{name} signed {', '.join(what)}")
            else:
                self.report.fail("witnessed", Rejected(f"witness {name} signed nothing that is here", "a cosignature", "none",
                                                       "all notes read"))
        return None

    def verify_log(self):
        newest = self.report.attempt("log", verify_log, self.a.run / "log", self.ledger, self.chain, self.given, self.report)
        if newest:
            times = self.cosigners(newest.note, "log/checkpoint")
            if times:
                self.report.ok("witnessed", f"{newest.size} of {len(self.ledger.lines)} records, by {', '.join(sorted(times))}")
        for path in self.a.witnessed:
            kept = self.report.attempt("witnessed", read_checkpoint, path, self.chain, self.ledger)
            if kept is None:
                continue
            times = self.cosigners(kept.note, "the kept checkpoint")
            if self.witnesses and not times:
                self.report.fail("witnessed", Rejected("no given witness signed the kept checkpoint", sorted(self.witnesses),
                                                       "none", path))
                continue
            who = f"signed by {', '.join(sorted(times))}" if times else "by whoever gave it"
            self.report.ok("witnessed", f"{path}: the first {kept.size} of {len(self.ledger.lines)} records are those that were "
                                        f"kept, {who}")

    def contract_note(self):
        """(note, name), signed by a key of the owner's."""
        note, name = read_contract_note(self.a.run / "contract.note", self.contract)
        keys = [key.key for key in self.chain.keys] if self.chain else [self.owner]
        signed = [owner_signed(note, "baekji/contract", key) for key in keys]
        require(any(signed), "the contract note is not signed by a key of the owner's", "baekji/contract",
                [who for who, _, _ in note.signatures], note.where)
        return note, name

    def verify_seed(self):
        name, times, there = None, {}, os.path.lexists(self.a.run / "contract.note")
        if there and self.owner:
            pair = self.report.attempt("seed", self.contract_note)
            if pair:
                name, times = pair[1], self.cosigners(pair[0], "the contract note")
        elif there:
            self.report.note("seed", "contract.note was not checked: --key names a public key of the owner's")
        lists = []
        for witness, path in self.a.witness_list:
            key = self.witnesses.get(witness)
            read = self.report.attempt("seed", read_witness_list, path, witness, key) if key else None
            if read:
                lists.append(read)
                self.signed[witness].append(f"its list at {clock(read.time)}")
        judged = self.report.attempt("seed", judge_seed, self.contract, self.ledger.genesis, name, times, lists, self.report)
        if judged is None:
            return
        proved, why = judged
        if proved:
            self.report.ok("seed", why)
        elif self.a.witness_list:  # whoever gives a list asked for the proof
            self.report.leave("seed", f"not proved: {why}", "a beacon, a contract note cosigned before it, a later list")
        else:
            self.report.note("seed", f"not proved: {why}")


def report_rollbacks(ledger, report):
    if ledger.rollbacks == 0:
        report.ok("rollbacks", "none", "no rollback")
        return
    report.note("rollbacks", f"{ledger.rollbacks} rollbacks, {ledger.left_out()} batches left out, {ledger.steps_undone} steps "
                             f"trained and thrown away; the owner's freedom: at most {ledger.freedom_bits:.1f} bits")
    ranges = ", ".join(f"{first} to {last}" for first, last in ledger.skipped)
    report.note("rollbacks", f"batches that were left out: {ranges}")


def verify_kernel_sets(ledger, chain, report):
    """The kernel sets of the steps that count, against those that the opening of the log admits."""
    genesis = kernel_set_digest(ledger.genesis["kernel_set"])
    admissible = chain.kernel_sets if chain else [genesis]
    outside, used = [], {}
    for step in range(1, len(ledger.steps) + 1):
        used.setdefault(ledger.steps[step - 1].session, []).append(step)
    sets = {session: (kernel_set_digest(value), value) for session, value in enumerate(ledger.kernel_sets) if session in used}
    for session, steps in used.items():
        if sets[session][0] not in admissible:
            outside.append(f"steps {steps[0]} to {steps[-1]} under {describe_kernel_set(sets[session][1])}")
    if genesis not in admissible:
        outside.append(f"step 0 under {describe_kernel_set(ledger.genesis['kernel_set'])}")
    if not outside:
        report.ok("kernels", f"{len({digest for digest, _ in sets.values()} | {genesis})} in {len(ledger.kernel_sets)} sessions, "
                             f"each admissible ({'the opening of the log' if chain else 'as in the genesis record'})",
                  "kernel-set")
    else:
        report.leave("kernels", f"not admissible, so not proved: {'; '.join(outside)}",
                     "a kernel set that the opening of the log names" if chain else
                     "--key: the opening of the log may name more")


def verify_genesis(a, contract, ledger, exports, report):
    step0 = next((export for export in exports if export.step == 0), None)
    if a.genesis == "all":
        report.check("genesis", check_whole_genesis, contract, ledger, report)
    elif a.genesis or step0:
        nonce = bytes.fromhex(a.nonce) if a.nonce else secrets.token_bytes(16)
        count = int(a.genesis or 4)
        whole = count >= sum(tensor.slices * tensor.chunks for tensor in declare_parameters(contract))
        report.check("genesis" if whole else "a sample of genesis", check_sampled_genesis, contract, ledger, step0, count, nonce)
    else:
        report.note("genesis", "not computed again: ask for --genesis all, or give an exported step 0")


def verify_run(a, report):
    contract = report.check("contract", read_contract, a.run / "contract.json")
    ledger = report.check("ledger", read_ledger, a.run / "ledger.jsonl", contract) if contract else None
    if not ledger:
        return report.note("the rest", "not checked: it needs a contract and a ledger that passed")
    report.note("head", ledger.lines[-1].hex())
    if ledger.torn_bytes:
        report.note("torn tail", f"the last {ledger.torn_bytes} bytes are part of a line, left by a crash: ignored")
    if ledger.divergences:
        report.note("divergence", f"{ledger.divergences} times a step was trained again and came out otherwise")
    if a.head:
        held = bytes.fromhex(a.head) in ledger.lines
        report.check("head", lambda: (require(held, "not in the ledger", a.head, "no such line", a.run), "the ledger holds it"))
    if os.path.lexists(a.run / "tokenizer.model"):
        report.check("tokenizer", check_tokenizer, a.run, contract)
    else:
        report.leave("tokenizer", "tokenizer.model is not there", f"the file with SHA-256 {contract.value['tokenizer']}")
    report.note("experiment", "experiment.toml is not read: contract.json decides; `baekji verify` compares the two")
    report_rollbacks(ledger, report)
    signatures = Signatures(a, contract, ledger, report)
    signatures.verify()
    if not a.key or signatures.chain:
        verify_kernel_sets(ledger, signatures.chain, report)
    verify_checkpoints(a.run, contract, ledger, a.digests, report)
    exports = [report.check("chunks", read_export, folder, contract, ledger) for folder in a.chunks]
    exports = [export for export in exports if export]
    verify_genesis(a, contract, ledger, exports, report)
    if a.attestations:
        key = report.attempt("attested", read_p256_key, a.attestation_key)
        if key:
            Attestations(a.run, a.attestations, key, contract, ledger, exports, report).verify(a.release)
    return None


def main(description=__doc__):
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    a = parse_arguments(description)
    report = Report()
    verify_run(a, report)
    return report.finish(a.require)
