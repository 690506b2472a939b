"""Reading what a stranger wrote: regular files only, never more than a format can need, never waiting.

A pipe or a device in place of a file would hang or feed a reader for ever, so a file is looked at after it was opened
and before anything is read. A link is followed; what counts is what stands at its end.
"""
import os
import stat

from .report import Rejected, require

LEDGER_LINE = 65535  # docs/formats/ledger.md
CONTRACT = 2**24
MANIFEST = 2**30
NOTE = 2**20         # docs/formats/log.md
LIST = 2**26         # a witness's list
STATEMENT = 2**28
TOKENIZER = 2**30


def open_regular(path):
    """The file, open for reading in binary; anything but a regular file is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Rejected("a file is missing", "a regular file", "none", path) from None
    except (OSError, ValueError) as error:
        raise Rejected("cannot be opened", "a regular file", str(error), path) from None
    file = None
    try:
        require(stat.S_ISREG(os.fstat(descriptor).st_mode), "not a regular file", "a regular file", "something else", path)
        file = os.fdopen(descriptor, "rb")
    finally:
        if file is None:
            os.close(descriptor)
    return file


def read_file(path, most_bytes):
    """A whole file; one that is larger than anything it could hold is refused unread."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        require(size <= most_bytes, "a file is too long", f"at most {most_bytes} bytes", f"{size} bytes", path)
        data = file.read(most_bytes + 1)
    require(len(data) <= most_bytes, "a file is too long", f"at most {most_bytes} bytes", "more", path)
    return data


def size_of(path):
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size


def hash_file(path, new):
    """Feeds a file to a hash object; gives its digest in hex."""
    digest = new()
    with open_regular(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def names_in(folder):
    """The names in a folder, sorted; a link to a folder is followed, as one to a file is."""
    try:
        require(stat.S_ISDIR(os.stat(folder).st_mode), "not a folder", "a folder", "something else", folder)
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        raise Rejected("a folder is missing", "a folder", "none", folder) from None
    require(len(names) <= 10**6, "too many files", "at most 1,000,000 in a folder", len(names), folder)
    return names


def files_below(folder, depth=16):
    """Every path below a folder that is no folder, relative and sorted. Links are named, never followed."""
    found, todo = [], [("", 0)]
    while todo:
        prefix, level = todo.pop()
        require(level <= depth, "folders nest too deeply", f"at most {depth} levels", "more", folder)
        for name in names_in(os.path.join(folder, prefix)):
            path = f"{prefix}/{name}" if prefix else name
            if stat.S_ISDIR(os.lstat(os.path.join(folder, path)).st_mode):
                todo.append((path, level + 1))
            else:
                found.append(path)
        require(len(found) <= 10**6, "too many files", "at most 1,000,000", len(found), folder)
    return sorted(found)
