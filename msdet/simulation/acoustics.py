# SPDX-License-Identifier: Apache-2.0
"""What is measured on room impulse responses."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

MEASURE_ABOVE_HZ = 50.0
"""T60 and direct-to-reverberant ratio are measured above this: at the lowest frequencies all image
sources add up in phase, which no real room does (some 15 % of the energy lies there)."""


def measure_drr(
    image: NDArray[np.float32], direct: NDArray[np.float32], sample_rate: int
) -> NDArray[np.float32]:
    """Direct-to-reverberant ratio ``[...]`` of responses ``[..., tap]``, dB, above 50 Hz."""
    padding = [(0, 0)] * (direct.ndim - 1) + [(0, image.shape[-1] - direct.shape[-1])]
    padded = np.pad(direct, padding)
    pair = _high_passed(np.stack([padded, image - padded]), sample_rate)
    energy = (pair**2).sum(axis=-1) + 1e-20
    return np.asarray(10 * np.log10(energy[0] / energy[1]), np.float32)


def measure_t60(image: NDArray[np.float32], sample_rate: int) -> float:
    """Reverberation time of responses ``[..., tap]``: mean of their T20 fits, seconds.

    Schroeder's backward integral above 50 Hz, a line from -5 to -25 dB, times three.
    """
    filtered = _high_passed(image, sample_rate).reshape(-1, image.shape[-1])
    energy = np.cumsum((filtered**2)[:, ::-1], axis=-1)[:, ::-1]
    decay = 10 * np.log10(energy / energy[:, :1] + 1e-12)
    return float(np.mean([_t20(row, sample_rate) for row in decay]))


def _t20(decay: NDArray[np.float64], sample_rate: int) -> float:
    first, last = np.searchsorted(-decay, [5.0, 25.0])
    if last - first < 2:
        return 0.0  # an anechoic response: it falls 20 dB within a sample
    time = np.arange(first, last) / sample_rate
    time = time - time.mean()
    slope = float((time * decay[first:last]).sum() / (time**2).sum())
    return -60.0 / slope


@lru_cache(maxsize=8)
def _high_pass(sample_rate: int) -> NDArray[np.float64]:
    return np.asarray(butter(4, MEASURE_ABOVE_HZ, "highpass", fs=sample_rate, output="sos"))


def _high_passed(signal: NDArray[np.floating], sample_rate: int) -> NDArray[np.float64]:
    return np.asarray(sosfilt(_high_pass(sample_rate), signal.astype(np.float64), axis=-1))
