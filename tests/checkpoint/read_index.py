#!/usr/bin/env python3
"""Reads datasets of an index.h5 with h5py; prints name, shape, type and SHA-256 of the little-endian bytes of each."""
import hashlib
import sys

import h5py

with h5py.File(sys.argv[1], "r") as file:
    for name in sys.argv[2:]:
        dataset = file[name]
        assert dataset.is_virtual
        values = dataset[...]
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        print(name, "x".join(map(str, dataset.shape)), dataset.dtype, digest)
