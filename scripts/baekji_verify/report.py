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


class Report:
    """One line for each check; three more when it fails."""

    def __init__(self, write=None):
        self.write = write or (lambda line: print(line, flush=True))
        self.failed, self.unchecked, self.passed = [], [], []
        self.proved = set()  # names that --require knows

    def ok(self, what, text):
        self.passed.append(what)
        self.write(f"ok      {show(what)}: {show(text, 2000)}")

    def note(self, what, text):
        self.write(f"note    {show(what)}: {show(text, 2000)}")

    def leave(self, what, text, takes):
        """Asked for and not checked; `takes` says what a check would take."""
        self.unchecked.append(f"{what} ({text})")
        self.write(f"left    {show(what)}: {show(text, 2000)}; it would take {show(takes, 400)}")

    def fail(self, what, error):
        self.failed.append(f"{what}: {error.what}")
        self.write(f"FAIL    {show(what)}: {show(error.what)}\n          required: {show(error.required)}\n"
                   f"          came:     {show(error.came)}\n          where:    {show(error.where, 400)}")

    def check(self, what, function, *arguments):
        """Calls function, which gives (result, text) or raises; gives the result, or None where it was refused."""
        try:
            result, text = function(*arguments)
        except Rejected as error:
            return self.fail(what, error)
        except OSError as error:
            return self.fail(what, Rejected("cannot be read", "a readable file", error.strerror, error.filename))
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            # Every known kind of damage is refused by name; what was not foreseen is refused all the same.
            return self.fail(what, Rejected("could not be checked", "well-formed input", repr(error), what))
        self.ok(what, text)
        return result

    def finish(self, required, not_asked):
        """Prints the last line; gives the exit status."""
        for name in required:
            if name not in self.proved:
                self.fail(f"require {name}", Rejected("required, and not verified", name, "not verified", "--require"))
        done = ", ".join(dict.fromkeys(self.passed)) or "nothing"
        if self.failed or not self.passed:
            why = "; ".join(self.failed or ["nothing was checked"])
            self.write(f"NOT verified: {show(why, 1000)}")
            return 1
        if self.unchecked:
            self.write(f"partly verified: {show(done, 1000)}; not verified: {show('; '.join(self.unchecked), 1000)}")
            return 2
        asked = show(", ".join(not_asked) or "nothing", 1000)
        self.write(f"verified: {show(done, 1000)}; not asked: {asked}")
        return 0
