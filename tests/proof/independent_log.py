#!/usr/bin/env python3
"""An independent reading of docs/formats/log.md, standard library and the openssl program.

  independent_log.py LEDGER LOG PUBLIC_KEY [WITNESS WITNESS_KEY]

checks every file of the folder LOG against LEDGER and its checkpoint against the PEM file PUBLIC_KEY (and a witness's signature);
prints the published size, the root, the number of files and the witness's time."""
import base64
import hashlib
import os
import struct
import subprocess
import sys
import tempfile


def sha256(data):
    return hashlib.sha256(data).digest()


def tree(nodes):
    if not nodes:
        return sha256(b"")
    if len(nodes) == 1:
        return nodes[0]
    k = 1
    while 2 * k < len(nodes):
        k *= 2
    return sha256(b"\x01" + tree(nodes[:k]) + tree(nodes[k:]))


def number(n):
    groups = ["%03d" % (n % 1000)]
    while n >= 1000:
        n //= 1000
        groups.insert(0, "x%03d" % (n % 1000))
    return "/".join(groups)


def tiles(lines):
    """Name, without a width, to the pieces of each tile of the log of all these lines."""
    found = {}
    nodes = [sha256(b"\0" + line) for line in lines]
    for i in range(0, len(lines), 256):
        found["tile/entries/" + number(i // 256)] = [struct.pack(">H", len(line)) + line for line in lines[i:i + 256]]
    level = 0
    while nodes:
        for i in range(0, len(nodes), 256):
            found["tile/%d/%s" % (level, number(i // 256))] = nodes[i:i + 256]
        nodes = [tree(nodes[i:i + 256]) for i in range(0, len(nodes) - 255, 256)]
        level += 1
    return found


def raw_public_key(path):
    with open(path) as file:
        body = "".join(file.read().split("\n")[1:-2])
    return base64.b64decode(body)[-32:]


def check_signature(signatures, name, algorithm, key_path, message_of):
    key_id = sha256(name + b"\n" + algorithm + raw_public_key(key_path))[:4]
    matching = [raw for key, raw in signatures if key == name and raw[:4] == key_id]
    assert len(matching) == 1, "signatures of %s: %d" % (name.decode(), len(matching))
    raw = matching[0][4:]
    with tempfile.TemporaryDirectory() as folder:
        for file_name, data in (("message", message_of(raw)), ("signature", raw[-64:])):
            with open(os.path.join(folder, file_name), "wb") as file:
                file.write(data)
        subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key_path, "-in", folder + "/message",
                        "-sigfile", folder + "/signature"], check=True, stdout=subprocess.DEVNULL)
    return raw


def check_files(log, lines):
    required, count = tiles(lines), 0
    for folder, _, names in os.walk(log):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), log)
            if path in ("checkpoint", "opening"):
                continue
            whole, _, width = path.partition(".p/")
            pieces = required[whole][:int(width or 256)]
            assert len(pieces) == int(width or 256), path
            with open(os.path.join(log, path), "rb") as file:
                assert file.read() == b"".join(pieces), path
            count += 1
    for name, pieces in required.items():
        path = os.path.join(log, name + ("" if len(pieces) == 256 else ".p/%d" % len(pieces)))
        assert os.path.exists(path), path
    return count


def read_note(path):
    with open(path, "rb") as file:
        text, _, block = file.read().rpartition(b"\n\n")
    signatures = []
    for line in block.decode().split("\n")[:-1]:
        dash, name, data = line.split(" ")
        assert dash == "\u2014", line
        signatures.append((name.encode(), base64.b64decode(data, validate=True)))
    return text + b"\n", signatures


def main():
    ledger, log, key = sys.argv[1:4]
    with open(ledger, "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    opening, signatures = read_note(os.path.join(log, "opening"))
    check_signature(signatures, b"baekji/opening", b"\x01", key, lambda raw: opening)
    first, owner, *kernel_sets = opening.decode().split("\n")[:-1]
    assert base64.b64decode(owner) == raw_public_key(key), "another first key"
    assert kernel_sets and kernel_sets == sorted(set(kernel_sets)), "kernel sets"
    text, signatures = read_note(os.path.join(log, "checkpoint"))
    origin, size, root, bound = text.split(b"\n")[:-1]
    assert first == origin.decode().replace("baekji/", "baekji/opening/"), "another contract"
    assert bound.decode() == "opening " + sha256(opening).hex(), "another opening"
    lines = lines[:int(size)]
    assert len(lines) == int(size), "the ledger is shorter"
    assert base64.b64decode(root) == tree([sha256(b"\0" + line) for line in lines]), "another root"
    check_signature(signatures, origin, b"\x01", key, lambda raw: text)
    out = [size.decode(), base64.b64decode(root).hex(), str(check_files(log, lines) + 2)]
    if len(sys.argv) > 4:
        said = lambda raw: b"cosignature/v1\ntime %d\n%s" % (struct.unpack(">Q", raw[:8])[0], text)
        raw = check_signature(signatures, sys.argv[4].encode(), b"\x04", sys.argv[5], said)
        out.append(str(struct.unpack(">Q", raw[:8])[0]))
    print(*out)


main()
