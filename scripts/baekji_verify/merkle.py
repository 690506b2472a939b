"""Merkle trees over leaf hashes: docs/formats/log.md, "Tree"; RFC 6962, section 2.1."""
from .canonical import sha256


def tree_root(leaves, begin=0, end=None):
    """The root over leaf hashes [begin, end), at least one."""
    end = len(leaves) if end is None else end
    if end - begin == 1:
        return leaves[begin]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    return sha256(b"\1" + tree_root(leaves, begin, middle) + tree_root(leaves, middle, end))
