"""Draws random tensors as a pure function of a key and counters: which clip, which step, which feature.

An entry depends on its own counters alone, so that a clip draws the same numbers on any device and rank, whatever it is
batched with and however it is padded. There is no generator and no state. The keys come from trivium.core.seeding.

With one counter c, `bits` is output c + 1 of SplitMix64 (Steele, Lea and Flood, 2014) seeded with the mixed key. Each
further counter does the same, with the result so far as the seed. int64 arithmetic wraps, as uint64's does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _signed(word: int) -> int:
    """Returns a 64-bit word as the int64 of the same bits."""
    return (word & (2**64 - 1)) - ((word & 2**63) << 1)


GAMMA = _signed(0x9E3779B97F4A7C15)
STAGES = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))
# Bits of the significand.
PRECISION = {torch.float32: 24, torch.float64: 53}


def bits(key: int, *counters: Tensor) -> Tensor:
    """Returns 64 random bits an entry, as int64, of the shape that the counters broadcast to.

    key: any int, of which 64 bits count. counters: int64 tensors. Each is mixed in at the shape reached so far, so it
    costs least to give the largest last: clips (B, 1, 1), steps (T, 1), features (D,).
    """
    assert counters
    assert all(counter.dtype == torch.int64 for counter in counters), [counter.dtype for counter in counters]
    first, *others = counters
    state = _mix(first * GAMMA + _signed(_mixed_key(key) + GAMMA))
    for counter in others:
        state = _mix(state + (counter + 1) * GAMMA)
    return state


def uniform(key: int, *counters: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns uniform numbers in [0, 1) of 24 bits (float32) or 53 (float64), shaped as `bits`, equal on any device."""
    precision = PRECISION[dtype]
    high = _shift(bits(key, *counters), 64 - precision)
    return high.to(dtype).mul_(2.0**-precision)


def normal(key: int, *counters: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns standard normal numbers, by the inverse of the distribution function, shaped as `bits`.

    Devices may differ in the last bits of that function. The numbers lie within +-5.4 (float32) or +-8.2 (float64).
    """
    precision = PRECISION[dtype]
    # A signed integer and a half: symmetric about 0, exact in dtype, and never as far as -1 or 1 once scaled.
    high = bits(key, *counters) >> (64 - precision)
    inside = high.to(dtype).add_(0.5).mul_(2.0 ** (1 - precision))
    return inside.erfinv_().mul_(math.sqrt(2.0))


def _mixed_key(key: int) -> int:
    """Returns `_mix` of the key's first step, in Python: a tensor would cost as many kernels as a counter does."""
    word = (key + GAMMA) % 2**64
    for shift, factor in STAGES:
        word = (word ^ word >> shift) * factor % 2**64
    return word ^ word >> 31


def _mix(word: Tensor) -> Tensor:
    """Applies SplitMix64's finaliser in place: twice an xor with itself shifted, times an odd constant; then an xor."""
    for shift, factor in STAGES:
        word.bitwise_xor_(_shift(word, shift)).mul_(factor)
    return word.bitwise_xor_(_shift(word, 31))


def _shift(word: Tensor, by: int) -> Tensor:
    """Shifts to the right, with zeros moving in: int64's own shift repeats the sign."""
    return (word >> by).bitwise_and_((1 << (64 - by)) - 1)
