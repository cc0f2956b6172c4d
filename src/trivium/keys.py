"""Derives seeds from keys. Imports no torch, which a search's own process does without."""

from __future__ import annotations

import hashlib


def derive(seed: int, *keys: str | int) -> int:
    """Returns a 63-bit seed from a seed and any keys; different keys give unrelated seeds."""
    text = "/".join(map(str, (seed, *keys))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
