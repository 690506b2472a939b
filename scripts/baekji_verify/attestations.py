"""Signed statements of a run: docs/formats/attestation.md. Every field is what the run says, or the statement is false."""
import hashlib
import os

from .canonical import check_members, is_integer, sha256
from .envelopes import read_bundle, read_statement, require_same, statement, subjects_of
from .files import files_below, hash_file, open_regular
from .kernel_set import kernel_set_digest
from .ledger import Ledger
from .report import Rejected, require, require_equal
from .safetensors import BYTES, Form, file_names, first_difference, form_of, make_release

KIND = "https://baekji/attestation/{}/v2"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore", "model.sig")


def contract_statement(contract, ledger):
    return statement(KIND.format("contract"), [("contract.json", contract.digest)],
                     {"contract": contract.value, "kernel_set": kernel_set_digest(ledger.genesis["kernel_set"]),
                      "genesis_state_root": ledger.genesis["state_root"]})


def chain_statement(contract, part, records):
    """Of the ledger's first `records` lines, which `part` holds."""
    last = len(part.steps)
    head = part.lines[records - 1].hex()
    return statement(KIND.format("chain"), [("ledger.jsonl#last-line", head)],
                     {"contract": contract.digest, "head": head, "records": records, "first_step": min(1, last),
                      "last_step": last,
                      "state_roots": [{"step": step, "state_root": root} for step, root in sorted(part.roots.items())]})


def release_statement(contract, ledger, step, head, form, subjects):
    return statement(KIND.format("release"), subjects,
                     {"contract": contract.digest, "ledger_head": head, "state_root": ledger.roots[step], "step": step,
                      "tokens": ledger.steps[step - 1].tokens, "kernel_set": kernel_set_digest(ledger.kernel_set_of(step)),
                      "form": form_of(contract), "dtype": form.dtype, "shard_bytes": form.shard_bytes})


def model_statement(name, files):
    """OpenSSF model signing."""
    ordered = sorted(files, key=lambda file: file[0].split("/"))
    digest = sha256(b"".join(bytes.fromhex(digest) for _, digest in ordered)).hex()
    return statement("https://model_signing/signature/v1.0", [(name, digest)],
                     {"resources": [{"algorithm": "sha256", "digest": digest, "name": path} for path, digest in ordered],
                      "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False,
                                        "ignore_paths": list(IGNORED)}})


class Attestations:
    """One folder of statements. `exports` are the states that were given as chunks and that the ledger holds."""

    def __init__(self, run, folder, key, contract, ledger, exports, report):
        self.run, self.folder, self.key = run, folder, key
        self.contract, self.ledger, self.exports, self.report = contract, ledger, exports, report

    def there(self, name):
        return os.path.lexists(self.folder / name)

    def verify(self, release):
        names = ("contract.dsse.json", "chain.dsse.json", "release.dsse.json")
        if not any(map(self.there, names)):
            self.report.fail("attested", Rejected("no attestations", names, "none", self.folder))
        for name, check in zip(names[:2], (self.check_contract, self.check_chain)):
            if self.there(name):
                self.report.attempt("attested", check, self.folder / name)
            else:
                self.report.leave("attested", f"{self.folder / name} is not there", "what `baekji attest` writes")
        if self.there("release.dsse.json"):
            self.report.attempt("attested", self.check_release, self.folder / names[2], release)
        elif self.there("model.sig"):
            self.report.leave("attested", "a model.sig without its release.dsse.json", "what `baekji attest` writes")
        elif release:
            self.report.fail("attested", Rejected("no statement is about a release", names[2], "none", self.folder))

    def read(self, path, kind):
        said = read_statement(path, self.key)
        require_equal(KIND.format(kind), said["predicateType"], "a statement of another kind", path)
        return said

    def check_contract(self, path):
        require_same(contract_statement(self.contract, self.ledger), self.read(path, "contract"),
                     "a statement is not true of this run", path)
        self.report.ok("attested", f"contract {self.contract.digest}")

    def check_chain(self, path):
        said = self.read(path, "chain")
        records = said["predicate"].get("records")
        total = len(self.ledger.lines)
        require(is_integer(records, 1, total), "the ledger has not so many records", f"1 to {total}", records, path)
        part = self.ledger if records == total else self.part_of_ledger(records)
        require_same(chain_statement(self.contract, part, records), said, "a statement is not true of this run", path)
        text = f"chain of {records} of {total} records"
        if records == total:
            self.report.ok("attested", text)
        else:
            self.report.leave("attested", text + ": nobody signed the rest", "`baekji attest` of the ledger as it is")

    def part_of_ledger(self, records):
        """The history that counted after so many lines."""
        part = Ledger(self.contract)
        with open_regular(self.run / "ledger.jsonl") as file:
            for line in file:
                if len(part.lines) == records:
                    break
                part.take_line(line.removesuffix(b"\n"), self.run / "ledger.jsonl")
        require_equal(self.ledger.lines[:records], part.lines, "the ledger changed while it was read", self.run)
        return part

    def check_release(self, path, release):
        said = self.read(path, "release")
        predicate, subjects = said["predicate"], subjects_of(said)
        check_members(predicate, {**dict.fromkeys(("contract", "ledger_head", "state_root", "kernel_set"), "digest"),
                                  "step": "positive", "tokens": "count", "shard_bytes": "positive", "form": "text",
                                  "dtype": "text"}, path)
        step, form = predicate["step"], Form(predicate["dtype"], predicate["shard_bytes"])
        require(form.dtype in BYTES, "no export has that type", "fp32 or bf16", form.dtype, path)
        require(step in self.ledger.roots, "the ledger holds no state of the released step", "a committed step", step, path)
        heads = {line.hex() for line in self.ledger.lines[self.ledger.root_records[step]:]}
        require(predicate["ledger_head"] in heads, "the head of a release is no line at or behind its state",
                "SHA-256 of a line", predicate["ledger_head"], path)
        require_same(release_statement(self.contract, self.ledger, step, predicate["ledger_head"], form, subjects), said,
                     "a statement is not true of this run", path)
        self.check_subjects(subjects, step, form, release, path)
        if self.there("model.sig"):
            bundle = read_bundle(self.folder / "model.sig", self.key)
            require_same(model_statement(f"baekji-{self.contract.digest}-step-{step}", subjects), bundle, "model.sig is of other files",
                         self.folder / "model.sig")
            self.report.ok("attested", "model.sig is of the same files")
        else:
            self.report.leave("attested", "a release without its model.sig", "what `baekji attest` writes")

    def check_subjects(self, subjects, step, form, release, path):
        """The released files: those of the folder, and those that the state gives."""
        require_equal(file_names(self.contract, form), [name for name, _ in subjects],
                      "a release has other files than its state gives", path)
        if release:
            self.check_folder(release, subjects)
        else:
            self.report.note("attested", "files of a release were not compared: --release names their folder")
        export = next((export for export in self.exports if export.root == self.ledger.roots[step]), None)
        if export is None:
            self.report.leave("attested", f"release of {len(subjects)} files: whether they come from the state of step {step}",
                              "`baekji chunks` of that state, and --chunks, or `baekji verify`")
            return
        made = make_release(self.contract, self.ledger, export, form, self.run / "tokenizer.model")
        for (name, digest), (_, came) in zip(made, subjects):
            place = first_difference(release / name, self.contract, export, form) if release and digest != came else ""
            require(digest == came, "a released file is not what the state gives", digest, came,
                    f"{path}: {name}{', ' + place if place else ''}")
        self.report.ok("attested", f"release of {len(subjects)} files: the state of step {step}, exported again, gives each, "
                                   "weights bit for bit")

    def check_folder(self, release, subjects):
        found = [name for name in files_below(release) if name.split("/")[0] not in IGNORED]
        require_equal(sorted(name for name, _ in subjects), found, "the release has other files than were signed", release)
        for name, digest in subjects:
            path = release / name
            require(not os.path.islink(path), "a release holds plain files only", "a file", "a link", path)
            require_equal(digest, hash_file(path, hashlib.sha256), "a file of the release is not what was signed (SHA-256)", path)
        self.report.ok("attested", f"{release} holds these {len(subjects)} files, none more")
