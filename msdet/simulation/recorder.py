# SPDX-License-Identifier: Apache-2.0
"""Faults of recorders: rumble, clicks, offsets, clipping, noise that is not white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msdet.simulation.noise import filtered, sensor_noise
from msdet.simulation.scene import Recorder

_CLICK_SECONDS, _CLICK_DB = (0.0002, 0.002), (6.0, 26.0)
"""A click falls to 1/e in so long, and begins so far above the RMS of the mixture."""


def coloured(noise: NDArray[np.float32], slope: float, sample_rate: int) -> NDArray[np.float32]:
    """White noise ``[mic, sample]`` with a spectrum of so many dB per octave."""
    return filtered(noise, sample_rate, lambda hertz: (hertz / 1000) ** (slope / 20 / np.log10(2)))


def rumble(recorder: Recorder, num_samples: int, sample_rate: int) -> NDArray[np.float32]:
    """Noise ``[sample]`` that falls by 24 dB per octave above its corner; at any level."""
    assert recorder.rumble_hz is not None
    corner = recorder.rumble_hz
    white = sensor_noise(recorder.seed, 1, num_samples)[0]
    return filtered(white, sample_rate, lambda hertz: 1 / (1 + (hertz / corner) ** 4))


def recorded(
    recorder: Recorder, mixture: NDArray[np.float32], reference_mic: int, sample_rate: int
) -> NDArray[np.float32]:
    """Record a mixture ``[mic, sample]``: clicks and offsets are added, then all is clipped."""
    level = np.sqrt(np.mean(np.square(mixture[reference_mic], dtype=np.float64)))
    found = mixture.copy()
    if recorder.clicks is not None:
        rng = np.random.Generator(np.random.PCG64([recorder.seed, 1]))
        seconds = mixture.shape[1] / sample_rate
        for _ in range(int(rng.poisson(recorder.clicks * seconds))):
            channel = found[int(rng.integers(len(found))), int(rng.integers(mixture.shape[1])) :]
            decay = float(rng.uniform(*_CLICK_SECONDS)) * sample_rate
            peak = level * 10 ** (float(rng.uniform(*_CLICK_DB)) / 20) * rng.choice([-1, 1])
            times = np.arange(min(len(channel), int(10 * decay) + 1))
            channel[: len(times)] += (peak * np.exp(-times / decay)).astype(np.float32)
    if recorder.dc_offset is not None:
        found += (level * np.array(recorder.dc_offset)).astype(np.float32)[:, None]
    if recorder.clipping_db is not None:
        limit = np.float32(np.abs(found).max() * 10 ** (-recorder.clipping_db / 20))
        found = np.clip(found, -limit, limit)
    return found
