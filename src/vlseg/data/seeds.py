"""Randomness derived from what it is for, never from global state or order."""

import hashlib

import numpy as np


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from the parts, e.g. (run seed, epoch, sample id)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*parts: object) -> np.random.Generator:
    """A numpy generator seeded by `derived_seed`."""
    return np.random.default_rng(derived_seed(*parts))
