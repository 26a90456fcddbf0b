# SPDX-License-Identifier: Apache-2.0
"""Audio on its way to the network, block by block: its sample rate, and clicks turned down.

A click of a millisecond can hold more energy than all the speech around it, and a filter spreads
it: they go before the high-pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from msdet.high_pass import HighPass
from msdet.inference.activity import frame_length, frame_powers, lasting

Audio = NDArray[np.float32]

_CLICK_SECONDS, _CLICK_DB = 0.16, 15.0
"""A sound that lasts for less is shorter than any word; no syllable is so far above the next."""
_LEFT_DB = -20.0
"""Level left of a click, relative to the loudest that lasts; louder, its direction misleads."""
_LEAST_SECONDS = 1.0
"""Audio that it takes to know how loud the rest is."""


class BlockResampler:
    """Resamples audio that comes in blocks ``[channel, sample]``, aligned with its input; the
    pieces together are what the whole would be."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32")
        self._num_channels = num_channels

    def feed(self, block: Audio, last: bool = False) -> Audio:
        """Return what is settled after one more block; after the last one, all of the rest."""
        if self._stream is None:
            return block
        rows = np.ascontiguousarray(block.T, np.float32)
        made = self._stream.resample_chunk(rows, last=last)
        return np.asarray(made, np.float32).reshape(-1, self._num_channels).T


def resampled(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """Resample all of ``[channel, sample]`` at once.

    >>> resampled(np.ones((2, 441), np.float32), 44100, 8000).shape
    (2, 80)
    """
    return BlockResampler(from_rate, to_rate, len(audio)).feed(audio, last=True)


def conditioned(blocks: Iterable[Audio], sample_rate: int, num_mics: int) -> Iterator[Audio]:
    """Turn clicks down, then take offsets and rumble out of ``[mic, sample]``."""
    high_pass = HighPass(sample_rate)
    for block in blocks:
        yield high_pass.feed(declicked(block, sample_rate))
    yield high_pass.feed(np.zeros((num_mics, 0), np.float32), last=True)


def declicked(block: Audio, sample_rate: int) -> Audio:
    """Turn down frames that stand out from all others, in all channels alike.

    Args:
        block: ``[mic, sample]`` of some seconds; less than one is returned as it is.
    """
    if block.shape[1] < _LEAST_SECONDS * sample_rate:
        return block
    offset = block.mean(axis=1, keepdims=True)  # microphones may have one: no sound, and no click
    powers = frame_powers(block - offset, sample_rate).max(axis=0)
    level = lasting(powers, _CLICK_SECONDS)
    clicks = powers > level * 10 ** (_CLICK_DB / 10)
    if not level or not clicks.any():
        return block
    left = level * 10 ** (_LEFT_DB / 10)
    gains = np.where(clicks, np.sqrt(left / np.where(clicks, powers, 1.0)), 1.0)
    each = np.repeat(gains, frame_length(sample_rate))[: block.shape[1]]
    return np.asarray(offset + (block - offset) * each, np.float32)
