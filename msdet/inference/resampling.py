# SPDX-License-Identifier: Apache-2.0
"""Sample rates changed block by block: the pieces together are what the whole would be."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]


class BlockResampler:
    """Resamples audio that comes in pieces ``[channel, sample]``, aligned with its input."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32")
        self._num_channels = num_channels

    def feed(self, block: Audio, last: bool = False) -> Audio:
        """What can be said after one more block; after the last one, all of the rest."""
        if self._stream is None:
            return block
        rows = np.ascontiguousarray(block.T, np.float32)
        made = self._stream.resample_chunk(rows, last=last)
        return np.asarray(made, np.float32).reshape(-1, self._num_channels).T


def resampled(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """All of ``[channel, sample]`` at once.

    >>> resampled(np.ones((2, 441), np.float32), 44100, 8000).shape
    (2, 80)
    """
    return BlockResampler(from_rate, to_rate, len(audio)).feed(audio, last=True)
