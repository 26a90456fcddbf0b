# SPDX-License-Identifier: Apache-2.0
"""Take offsets and rumble out of recordings, which real microphones have and simulated ones lack.

A linear-phase filter (Kaiser window) whose delay is taken out again, so that speech stays where it
is: -58 dB or less below 30 Hz, -6 dB at 50 Hz, within .01 dB above 70 Hz. Voices begin above it
(fundamentals of 80 Hz and more).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy
from numpy.typing import NDArray

CUTOFF_HZ = 50.0
_TRANSITION_HZ = 40.0
_STOPBAND_DB = 60.0

Audio = NDArray[np.float32]


class HighPass:
    """Filters audio ``[channel, sample]`` that comes in blocks of any length.

    The pieces together are what filtering the whole at once gives, and as long as it.
    """

    def __init__(self, sample_rate: int) -> None:
        self._taps, self._half = _taps(sample_rate), reach(sample_rate)
        self._pending: Audio | None = None

    def feed(self, block: Audio, last: bool = False) -> Audio:
        """Return what is settled after one more block; after the last one, all of the rest.

        At both ends the recording is taken to go on as it begins and ends (its first and last
        sample), so that an offset makes no step there.
        """
        if self._pending is None:
            if not block.shape[1]:
                return block
            self._pending = np.repeat(block[:, :1], self._half, axis=1)
        pending = np.concatenate([self._pending, block], axis=1)
        if last:
            pending = np.concatenate(
                [pending, np.repeat(pending[:, -1:], self._half, axis=1)], axis=1
            )
        settled = max(0, pending.shape[1] - 2 * self._half)
        self._pending = pending[:, settled:]
        if not settled:
            return np.zeros((len(pending), 0), np.float32)
        filtered = scipy.signal.oaconvolve(pending, self._taps[None], mode="valid", axes=1)
        return np.asarray(filtered, np.float32)


def high_passed(audio: Audio, sample_rate: int) -> Audio:
    """Filter all of ``[channel, sample]`` at once; same shape.

    >>> offset = np.full((2, 8000), 0.5, np.float32)
    >>> bool(np.abs(high_passed(offset, 8000)).max() < 1e-5)
    True
    """
    return HighPass(sample_rate).feed(audio, last=True)


def reach(sample_rate: int) -> int:
    """Return how many samples on each side decide what one becomes."""
    return len(_taps(sample_rate)) // 2


@cache
def _taps(sample_rate: int) -> Audio:
    half_band = sample_rate / 2
    count, beta = scipy.signal.kaiserord(_STOPBAND_DB, _TRANSITION_HZ / half_band)
    taps = scipy.signal.firwin(
        count | 1, CUTOFF_HZ / half_band, window=("kaiser", beta), pass_zero="highpass"
    )
    return np.asarray(taps - taps.mean(), np.float32)  # exactly nothing of an offset
