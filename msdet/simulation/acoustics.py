# SPDX-License-Identifier: Apache-2.0
"""Measurements of room impulse responses.

All of it above 50 Hz: at the lowest frequencies all image sources add up in phase, which no real
room does (some 15 % of the energy lies there).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

MEASURE_ABOVE_HZ = 50.0
_STEP_SECONDS = 0.0005
"""Between points of the decay that a line is laid through: it is smooth over such times."""
_ORDER = 4
"""Order of the Butterworth high-pass whose gain, without its phase, removes what lies below."""


def high_passed(response: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Responses ``[..., tap]`` above 50 Hz; zero-phase, the same number of taps."""
    taps = response.shape[-1]
    size = scipy.fft.next_fast_len(taps + int(0.05 * sample_rate), real=True)
    spectrum = scipy.fft.rfft(response, size, axis=-1) * _high_pass(size, sample_rate)
    return np.asarray(scipy.fft.irfft(spectrum, size, axis=-1)[..., :taps])


def energy_decay(filtered: NDArray[np.float32]) -> NDArray[np.float64]:
    """Energy decay curves ``[..., tap]``, dB below the whole: Schroeder's backward integral.

    Args:
        filtered: responses ``[..., tap]``, as `high_passed` gives them.
    """
    energy = _backward_integral(filtered)
    return np.asarray(10 * np.log10(energy / energy[..., :1] + 1e-12))


def _backward_integral(filtered: NDArray[np.float32]) -> NDArray[np.float64]:
    squares = np.square(filtered)
    return np.cumsum(squares[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]


def measure_drr(
    filtered: NDArray[np.float32], direct: NDArray[np.float32], sample_rate: int
) -> NDArray[np.float32]:
    """Direct-to-reverberant ratio ``[...]``, dB.

    Args:
        filtered: responses ``[..., tap]``, as `high_passed` gives them.
        direct: their direct path alone ``[..., tap]``, as it is; may be shorter.
    """
    rest = filtered.copy()
    ringing = int(0.05 * sample_rate)
    padding = [(0, 0)] * (direct.ndim - 1) + [(0, ringing)]
    alone = high_passed(np.pad(direct, padding), sample_rate)[..., : rest.shape[-1]]
    rest[..., : alone.shape[-1]] -= alone
    energies = [np.square(part, dtype=np.float64).sum(axis=-1) + 1e-20 for part in (alone, rest)]
    return np.asarray(10 * np.log10(energies[0] / energies[1]), np.float32)


def measure_t60(filtered: NDArray[np.float32], sample_rate: int) -> float:
    """Reverberation time of responses ``[..., tap]``: mean of their T20 fits, seconds.

    A line through the energy decay from -5 to -25 dB, times three; 0 where there is no decay.

    Args:
        filtered: as `high_passed` gives them.
    """
    step = max(1, round(_STEP_SECONDS * sample_rate))
    energy = _backward_integral(filtered).reshape(-1, filtered.shape[-1])[:, ::step]
    return float(np.mean([_t20(row, sample_rate / step) for row in energy]))


def _t20(energy: NDArray[np.float64], sample_rate: float) -> float:
    levels = 10 ** (-np.array([5.0, 25.0]) / 10)
    last, first = len(energy) - np.searchsorted(energy[::-1], energy[0] * levels[::-1], "right")
    if last - first < 2:
        return 0.0  # an anechoic response: it falls 20 dB within a sample
    time = np.arange(first, last) / sample_rate
    time = time - time.mean()
    slope = float((time * 10 * np.log10(energy[first:last])).sum() / (time**2).sum())
    return -60.0 / slope


@lru_cache(maxsize=16)
def _high_pass(size: int, sample_rate: int) -> NDArray[np.float32]:
    """Gains ``[freq]`` of a Butterworth filter."""
    ratio = np.maximum(scipy.fft.rfftfreq(size, 1 / sample_rate), 1e-9) / MEASURE_ABOVE_HZ
    return np.asarray(1 / np.sqrt(1 + ratio ** (-2.0 * _ORDER)), np.float32)
