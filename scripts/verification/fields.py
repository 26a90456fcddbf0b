# SPDX-License-Identifier: Apache-2.0
"""Coherence between microphones: of the end of responses, and of diffuse noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from msdet.geometry import MicrophoneArray
from msdet.simulation.diffuse import diffuse_coherence, diffuse_field, diffuse_noise
from verification.rooms import RATE, SIZES, Array, by, rooms

SPACINGS = (0.02, 0.05, 0.1, 0.2)
"""Metres."""


_ACROSS, _UP = [[d, 0.0, 0.0] for d in SPACINGS], [[0.0, 0.0, d] for d in SPACINGS]
CROSS = MicrophoneArray("cross", ((0.0, 0.0, 0.0), *_ACROSS, *_UP))
"""Microphones at these distances from the first, along the horizontal and up."""


@dataclass(frozen=True)
class Coherence:
    """``[spacing, freq]`` each, real parts; `expected` is sin(kd)/(kd)."""

    frequency: Array
    horizontal: Array
    vertical: Array
    expected: Array

    def error(self, which: str, above: float = 100.0) -> Array:
        """Root mean square difference ``[spacing]`` from what is expected, up to 4 kHz."""
        inside = (self.frequency > above) & (self.frequency < 4000)
        difference = getattr(self, which) - self.expected
        return np.asarray(np.sqrt(np.mean(difference[:, inside] ** 2, axis=-1)))


_SEGMENT = 1024
_SMOOTHED = 5
"""Frequencies that are averaged, 78 Hz in all: as many more draws for the same curve."""


def tail_coherence(
    count: int, backend: str, windows: Sequence[tuple[float, float]]
) -> list[Coherence]:
    """Measure responses within windows after the direct sound, medium room, T60 0.6 s."""
    gathered: list[list[NDArray[np.complex64]]] = [[] for _ in windows]
    for room in rooms(count, 5, CROSS, SIZES["medium"], t60=(0.6, 0.6)):
        rirs = by(backend, room, CROSS)
        for s, direct in enumerate(rirs.direct[:, 0]):
            peak = int(np.abs(direct).argmax())
            for into, (start, stop) in zip(gathered, windows, strict=True):
                part = rirs.image[s, :, peak + round(start * RATE) : peak + round(stop * RATE)]
                into.append(_segments(part))
    return [_coherence(np.concatenate(spectra, axis=1)) for spectra in gathered]


def noise_coherence(seconds: float, source: str) -> Coherence:
    """Measure `diffuse_noise`, or `diffuse_field` made of uncorrelated noises."""
    cross = CROSS.as_array()
    rng = np.random.default_rng(6)
    samples = round(seconds * RATE) // 2 * 2
    if source == "diffuse_noise":
        spectra = diffuse_noise((1, samples), cross, RATE, rng)
        heard = fft.irfft(spectra, samples, axis=-1)[0]
    else:
        streams = rng.standard_normal((len(cross), samples)).astype(np.float32)
        heard = diffuse_field(streams, cross, RATE)
    return _coherence(_segments(heard))


def _segments(signals: NDArray[np.float32]) -> NDArray[np.complex64]:
    """``[mic, segment, freq]``, halves overlapping, each segment of the same power."""
    frames = np.lib.stride_tricks.sliding_window_view(signals, _SEGMENT, axis=-1)
    frames = frames[:, :: _SEGMENT // 2] * np.hanning(_SEGMENT)
    frames = frames / np.sqrt(np.mean(frames**2, axis=(0, 2), keepdims=True))
    return np.asarray(fft.rfft(frames, axis=-1), np.complex64)


def _coherence(spectra: NDArray[np.complex64]) -> Coherence:
    power = np.mean(np.abs(spectra) ** 2, axis=1)
    cross = np.mean(spectra[0].conj() * spectra[1:], axis=1)
    coherence = (cross / np.sqrt(power[0] * power[1:])).real.astype(float)
    frequency = fft.rfftfreq(_SEGMENT, 1 / RATE)
    expected = diffuse_coherence(CROSS.as_array(), frequency)[:, 0, 1:].T
    kernel = np.full((1, _SMOOTHED), 1 / _SMOOTHED)
    frequency, coherence, expected = (
        signal.convolve(x, k, mode="valid")
        for x, k in ((frequency, kernel[0]), (coherence, kernel), (expected, kernel))
    )
    n = len(SPACINGS)
    return Coherence(frequency, coherence[:n], coherence[n:], expected[:n])
