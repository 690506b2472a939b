"""Elementary functions to the bit: docs/formats/genesis.md, section 4, and docs/formats/training.md.

The C library's differ between machines. Every operation is one fp64 operation, in the order that is written here.
"""
import struct


def log(x):
    """Natural, of a normal number above 0."""
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
    e = float(exponent)
    return e * 6.93147180369123816490e-01 + (((2.0 * s) * p) + e * 1.90821492927058770002e-10)


def cos(x):
    """Of x in [0, pi]: reduction by pi/2 in three parts, then Taylor's series."""
    n = (x * 0.63661977236758134308 + 6755399441055744.0) - 6755399441055744.0
    r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21
    z = r * r
    s = c = 1.0
    for k in range(8, 0, -1):
        s = 1.0 - s * z / float((2 * k) * (2 * k + 1))
        c = 1.0 - c * z / float((2 * k - 1) * (2 * k))
    s = s * r
    return (c, -s, -c, s)[int(n) & 3]
