"""Step 0 from seed and declarations, and what it is held against: docs/formats/genesis.md."""
import math
import struct
import time

from .canonical import sha256
from .files import read_file
from .functions import log
from .merkle import tree_root
from .parameters import CHUNK, Tensor, declare_parameters
from .report import Rejected, require, require_equal
from .seed import seed_of
from .state import state_leaf

MASK32 = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10: section 1."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (p1 >> 32) ^ b ^ k0, p1 & MASK32, (p0 >> 32) ^ d ^ k1, p0 & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return a, b, c, d


def stream_key(seed, name):
    return struct.unpack("<II", sha256(b"baekji.genesis.v1\0" + struct.pack("<Q", seed) + name.encode())[:8])


def uniforms(key, first, count):
    """uniform(i) for i from `first`: section 2. One block of Philox gives two of them."""
    result = []
    for block in range(first >> 1, (first + count + 1) >> 1):
        a, b, c, d = philox((block & MASK32, block >> 32, 0, 0), key)
        result.append((float((b << 32 | a) >> 12) + 0.5) * 2.0**-52)
        result.append((float((d << 32 | c) >> 12) + 0.5) * 2.0**-52)
    return result[first & 1:][:count]


# Section 3: AS 241. Each row is one of the polynomials A to F, highest power first.
A = (2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
     1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0)
B = (5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
     5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0)
C = (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
     3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0)
DD = (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0)
E = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0)
F = (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0)


def horner(coefficients, x):
    p = coefficients[0]
    for a in coefficients[1:]:
        p = p * x + a
    return p


def quantile(p):
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return (horner(A, r) * q) / horner(B, r)
    r = math.sqrt(-log(p)) if q <= 0.0 else math.sqrt(-log(1.0 - p))
    if r <= 5.0:
        r = r - 1.6
        x = horner(C, r) / horner(DD, r)
    else:
        r = r - 5.0
        x = horner(E, r) / horner(F, r)
    return -x if q < 0.0 else x


def step0_elements(tensor, seed, first, count):
    """Master weights [first, first + count) in the row-major order of the logical tensor, as bytes: section 5."""
    if tensor.kind == "constant":
        return struct.pack("<f", tensor.value) * count
    key = stream_key(seed, tensor.name)
    return struct.pack(f"<{count}f", *(quantile(u) * tensor.value for u in uniforms(key, first, count)))


def step0_chunk(tensor, seed, slice_index, chunk):
    """The master weights of one chunk: runs of elements that stand together in the logical tensor, then the padding."""
    out, at = [], chunk * CHUNK
    end = at + tensor.chunk_elements(chunk)
    while at < end:
        row, column = divmod(at, tensor.slice_columns)
        count = min(tensor.slice_columns - column, end - at)
        if tensor.split == "rows":
            row += slice_index * tensor.slice_rows
        elif tensor.split == "columns":
            column += slice_index * tensor.slice_columns
        first = row * tensor.columns + column
        out.append(step0_elements(tensor, seed, first, count) if row < tensor.rows else bytes(4 * count))
        at += count
    return b"".join(out)


def every_chunk(tensors):
    return [(index, s, c) for index, t in enumerate(tensors) for s in range(t.slices) for c in range(t.chunks)]


def step0_root(tensors, seed):
    """The state root of step 0, from nothing but seed and declarations; the moments are zero."""
    leaves = []
    for index, slice_index, chunk in every_chunk(tensors):
        master = step0_chunk(tensors[index], seed, slice_index, chunk)
        for kind, data in enumerate((master, bytes(len(master)), bytes(len(master)))):
            leaves.append(state_leaf(tensors[index], kind, slice_index, chunk, data))
    return tree_root(leaves)


def check_whole_genesis(contract, ledger, report):
    tensors, seed = declare_parameters(contract), seed_of(contract, ledger.genesis)
    count, begin = sum(t.rows * t.columns for t in tensors if t.kind == "normal"), time.monotonic()
    step0_elements(Tensor("trial", (4096,), "none", 1, 0, "normal", 1.0), seed, 0, 4096)
    seconds = (time.monotonic() - begin) / 4096 * count
    report.note("genesis", f"{count} random elements to compute: about {seconds:.0f} s")
    root = step0_root(tensors, seed).hex()
    require_equal(ledger.genesis["state_root"], root, "step 0 has another state root than the genesis record", "line 1")
    return True, (f"all {len(every_chunk(tensors))} chunks of {len(tensors)} tensors computed from seed {seed} in "
                  f"{time.monotonic() - begin:.1f} s; state root {root} is the genesis record's")


def sample_chunks(chunks, count, nonce):
    """`count` different chunks: SHA-256(nonce, i) for i = 0, 1, 2, ... as numbers, modulo how many there are."""
    drawn, i = {}, 0
    while len(drawn) < min(count, len(chunks)):
        number = int.from_bytes(sha256(nonce + struct.pack("<Q", i)), "little") % len(chunks)
        drawn[number] = chunks[number]
        i += 1
    return list(drawn.values())


def check_sampled_genesis(contract, ledger, export, count, nonce):
    """The export's root was found to be that of genesis, and its moments to be zero; here its master weights."""
    require(export is not None, "a sample is held against an exported step 0", "--chunks of step 0 that passed", "none",
            "command line (--genesis all needs no export)")
    tensors, seed = declare_parameters(contract), seed_of(contract, ledger.genesis)
    chunks = every_chunk(tensors)
    sample = sample_chunks(chunks, count, nonce)
    for index, slice_index, chunk in sample:
        tensor = tensors[index]
        computed = step0_chunk(tensor, seed, slice_index, chunk)
        if state_leaf(tensor, 0, slice_index, chunk, computed) == export.leaves[index, slice_index, chunk, 0]:
            continue
        path = export.path(tensor, 0, slice_index)
        came = read_file(path, 4 * tensor.slice_elements)[4 * chunk * CHUNK:][:len(computed)]
        at = next((i for i in range(0, len(computed), 4) if computed[i:i + 4] != came[i:i + 4]), 0)
        raise Rejected("an element of step 0 does not come from the seed (bytes)", computed[at:at + 4].hex(),
                       came[at:at + 4].hex(), f"{path}, element {chunk * CHUNK + at // 4}")
    return True, (f"{len(sample)} of {len(chunks)} chunks, drawn by nonce {nonce.hex()}, computed from seed {seed}: "
                  "every bit equal")
