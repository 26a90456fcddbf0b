# SPDX-License-Identifier: Apache-2.0
"""Clicks and pops in recordings, which are turned down before anything else is done.

One of a millisecond can hold more energy than all the speech around it, and a filter spreads it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msdet.inference.activity import frame_length, frame_powers, lasting

_SECONDS, _DECIBELS = 0.16, 15.0
"""What lasts for less is shorter than any word; no syllable is so far above the next ones."""
_LEFT_DB = -20.0
"""Of a click, relative to the loudest level that lasts; any louder, its direction misleads."""
_LEAST_SECONDS = 1.0
"""Of audio, to know how loud the rest is."""


def declicked(block: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Turn down frames that stand out from all others, in all channels alike.

    Args:
        block: ``[mic, sample]`` of some seconds; less than one is returned as it is.
    """
    if block.shape[1] < _LEAST_SECONDS * sample_rate:
        return block
    offset = block.mean(axis=1, keepdims=True)  # microphones may have one: no sound, and no click
    powers = frame_powers(block - offset, sample_rate).max(axis=0)
    level = lasting(powers, _SECONDS)
    clicks = powers > level * 10 ** (_DECIBELS / 10)
    if not level or not clicks.any():
        return block
    left = level * 10 ** (_LEFT_DB / 10)
    gains = np.where(clicks, np.sqrt(left / np.where(clicks, powers, 1.0)), 1.0)
    each = np.repeat(gains, frame_length(sample_rate))[: block.shape[1]]
    return np.asarray(offset + (block - offset) * each, np.float32)
