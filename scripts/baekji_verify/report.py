"""What was checked, what was not, and what failed: docs/evaluator.md, "Verdicts".

A line is `ok` (checked in full), `note` (for people; nobody asked), `left` (asked for, and not checked) or `FAIL`.
The last line and the exit status say the same in one word: verified (0), partly verified (2), NOT verified (1).
"""
from pathlib import Path


class Rejected(Exception):
    """A check that did not pass: what must hold, both values, the place."""

    def __init__(self, what, required, came, where):
        super().__init__(what)
        self.what, self.required, self.came, self.where = what, required, came, where

    def __str__(self):
        return f"{show(self.what)} (required: {show(self.required)}; came: {show(self.came)}; {show(self.where)})"


def show(value, most=160):
    """A value from a file as printable ASCII, not too long: no byte of a file reaches a terminal as it is."""
    text = str(value) if isinstance(value, (str, Path)) else repr(value)
    text = ascii(text)[1:-1] if not (text.isascii() and text.isprintable()) else text
    return text if len(text) <= most else text[:most] + "..."


def require(holds, what, required, came, where):
    if not holds:
        raise Rejected(what, required, came, where)


def require_equal(required, came, what, where):
    require(type(required) is type(came) and required == came, what, required, came, where)


# What --require knows, and which checks prove it.
NAMES = ("ledger", "contract", "tokenizer", "genesis", "data", "log", "witnessed", "seed-proved", "attested", "challenge",
         "kernel-set", "no-rollback")
FACTS = {"seed": "seed-proved", "kernels": "kernel-set", "rollbacks": "no-rollback"}
# What a run is, not what somebody did to it: nobody has to ask.
PROPERTIES = ("kernel-set", "no-rollback")


class Report:
    """One line for each check; three more when it fails."""

    def __init__(self, write=None):
        self.write = write or (lambda line: print(line, flush=True))
        self.passed, self.unchecked, self.failed = [], [], []  # (check, text for the last line)

    def tell(self, verdict, check, text):
        self.write(f"{verdict:<5} {show(check):<10} {show(text, 2000)}")

    def ok(self, check, text, what=""):
        self.passed.append((check, what or FACTS.get(check, check)))
        self.tell("ok", check, text)

    def note(self, check, text):
        self.tell("note", check, text)

    def leave(self, check, text, takes):
        """Asked for and not checked; `takes` says what a check would take."""
        self.unchecked.append((check, f"{FACTS.get(check, check)}: {text}; it would take {takes}"))
        self.tell("left", check, f"{text}; it would take {takes}")

    def fail(self, check, error):
        self.failed.append((check, f"{check}: {error.what}"))
        self.tell("FAIL", check, error.what)
        self.write(f"          required: {show(error.required)}\n          came:     {show(error.came)}\n"
                   f"          where:    {show(error.where, 400)}")

    def attempt(self, check, function, *arguments):
        """What function gives, or None where it was refused."""
        try:
            return function(*arguments)
        except Rejected as error:
            self.fail(check, error)
        except OSError as error:
            self.fail(check, Rejected("cannot be read", "a readable file", error.strerror, error.filename))
        except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            # Every known kind of damage is refused by name; what was not foreseen is refused all the same.
            self.fail(check, Rejected("could not be checked", "well-formed input", repr(error), check))
        return None

    def check(self, check, function, *arguments):
        """The same for a function that gives (result, text): passed."""
        pair = self.attempt(check, function, *arguments)
        if pair is None:
            return None
        self.ok(check, pair[1])
        return pair[0]

    def holds(self, name, checks):
        return any(FACTS.get(check, check) == name for check, _ in checks)

    def proved(self, name):
        return self.holds(name, self.passed) and not self.holds(name, self.unchecked + self.failed)

    def finish(self, required):
        """Prints the last line; gives the exit status."""
        for name in required:
            if not self.proved(name) and not self.holds(name, self.failed):
                why = ("was not checked in full" if self.holds(name, self.unchecked) else
                       "is not so" if name in PROPERTIES else "is not proved")
                self.fail("require", Rejected(f"{name} is required, and {why}", name, why, "--require"))
        done = ", ".join(dict.fromkeys(what for _, what in self.passed)) or "nothing"
        if self.failed or not self.passed:
            why = "; ".join(dict.fromkeys(what for _, what in self.failed)) or "nothing was checked"
            self.write(f"NOT verified: {show(why, 1000)}")
            return 1
        if self.unchecked:
            why = "; ".join(dict.fromkeys(what for _, what in self.unchecked))
            self.write(f"partly verified: {show(done, 1000)}; not verified: {show(why, 1000)}")
            return 2
        asked = [name for name in NAMES if name not in PROPERTIES and not self.holds(name, self.passed)]
        self.write(f"verified: {show(done, 1000)}; not asked: {', '.join(asked) or 'nothing'}")
        return 0
