#!/usr/bin/env python3
"""An independent reading of docs/formats (genesis, state-root, ledger), standard library only.

  independent.py state     reads a JSON list of tensors and a seed from stdin, regenerates step 0, prints its state root
  independent.py elements  the same input with "elements"; prints the fp32 bits of each as 8 hex digits
  independent.py ledger F  checks the chain of ledger F, prints the number of records and the head
"""
import hashlib
import json
import math
import struct
import sys

CHUNK = 65536
MASK32 = 0xFFFFFFFF


def sha256(data):
    return hashlib.sha256(data).digest()


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def stream_key(seed, name):
    digest = sha256(b"baekji.genesis.v1\0" + struct.pack("<Q", seed) + name.encode())
    return struct.unpack("<II", digest[:8])


def uniform(key, index):
    block = index >> 1
    out = philox((block & MASK32, block >> 32, 0, 0), key)
    half = 2 * (index & 1)
    word = out[half + 1] << 32 | out[half]
    return (float(word >> 12) + 0.5) * 2.0**-52


def log(x):
    bits = struct.unpack("<Q", struct.pack("<d", x))[0]
    exponent = (bits >> 52) - 1023
    m = struct.unpack("<d", struct.pack("<Q", bits & 0x000FFFFFFFFFFFFF | 0x3FF0000000000000))[0]
    if m > 1.4142135623730951:
        m, exponent = m * 0.5, exponent + 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 21.0
    for k in (19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        p = p * z + 1.0 / k
    p = p * z + 1.0
    return exponent * 6.93147180369123816490e-01 + (2.0 * s * p + exponent * 1.90821492927058770002e-10)


A = (2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
     1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0)
B = (5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
     5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0)
C = (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
     3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0)
D = (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0)
E = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0)
F = (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0)


def horner(coefficients, x):
    p = coefficients[0]
    for c in coefficients[1:]:
        p = p * x + c
    return p


def normal_quantile(p):
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return horner(A, r) * q / horner(B, r)
    r = math.sqrt(-log(p if q <= 0.0 else 1.0 - p))
    if r <= 5.0:
        r = r - 1.6
        x = horner(C, r) / horner(D, r)
    else:
        r = r - 5.0
        x = horner(E, r) / horner(F, r)
    return -x if q < 0.0 else x


def element(tensor, key, index):
    """The four little-endian bytes of one master weight at step 0."""
    if tensor["kind"] == "constant":
        return struct.pack("<f", tensor["value"])
    return struct.pack("<f", normal_quantile(uniform(key, index)) * tensor["value"])


def slice_geometry(tensor):
    shape = tensor["shape"]
    rows, columns = (1, shape[0]) if len(shape) == 1 else shape
    padded = tensor["padded_rows"] or rows
    split, slices = tensor["split"], tensor["slices"]
    slice_rows = padded // (slices if split == "rows" else 1)
    slice_columns = columns // (slices if split == "columns" else 1)
    return rows, columns, padded, slice_rows, slice_columns


def master_slice(tensor, key, slice_index):
    rows, columns, _, slice_rows, slice_columns = slice_geometry(tensor)
    first_row = slice_index * slice_rows if tensor["split"] == "rows" else 0
    first_column = slice_index * slice_columns if tensor["split"] == "columns" else 0
    out = bytearray()
    for row in range(first_row, first_row + slice_rows):
        for column in range(first_column, first_column + slice_columns):
            out += element(tensor, key, row * columns + column) if row < rows else bytes(4)
    return bytes(out)


def leaf(tensor, kind, slice_index, chunk, data):
    name = tensor["name"].encode()
    _, _, padded, _, _ = slice_geometry(tensor)
    header = b"baekji.state.v1\0" + struct.pack("<I", len(name)) + name
    header += bytes([kind, 0, ("none", "rows", "columns").index(tensor["split"]), len(tensor["shape"])])
    header += b"".join(struct.pack("<Q", extent) for extent in tensor["shape"])
    header += struct.pack("<QQQQQ", padded, tensor["slices"], slice_index, chunk, len(data) // 4)
    return sha256(b"\0" + header + data)


def tree(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:]))


def genesis_root(state):
    leaves = []
    for tensor in sorted(state["tensors"], key=lambda t: t["name"].encode()):
        key = stream_key(state["seed"], tensor["name"])
        for slice_index in range(tensor["slices"]):
            master = master_slice(tensor, key, slice_index)
            for begin in range(0, len(master), 4 * CHUNK):
                data = master[begin:begin + 4 * CHUNK]
                for kind in range(3):
                    values = data if kind == 0 else bytes(len(data))
                    leaves.append(leaf(tensor, kind, slice_index, begin // (4 * CHUNK), values))
    return tree(leaves)


def check_ledger(path):
    previous, count = "0" * 64, 0
    with open(path, "rb") as file:
        data = file.read()
    assert data.endswith(b"\n"), "torn tail"
    for line in data[:-1].split(b"\n"):
        record = json.loads(line)
        again = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert again == line, "not canonical: line %d" % (count + 1)
        assert sorted(record) == ["body", "index", "kind", "previous"]
        assert record["previous"] == previous and record["index"] == count, "broken chain: line %d" % (count + 1)
        previous, count = sha256(line).hex(), count + 1
    return count, previous


def main():
    if sys.argv[1] == "ledger":
        print(*check_ledger(sys.argv[2]))
        return
    state = json.load(sys.stdin)
    if sys.argv[1] == "state":
        print(genesis_root(state).hex())
    else:
        tensor = state["tensors"][0]
        key = stream_key(state["seed"], tensor["name"])
        for index in state["elements"]:
            print("%08x" % struct.unpack("<I", element(tensor, key, index))[0])


main()
