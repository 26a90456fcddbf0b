# SPDX-License-Identifier: Apache-2.0
"""The image-source method (Allen and Berkley, 1979): where the images are, and what they sum to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation.walls import Walls

FILTER_TAPS = 81
DELAY = FILTER_TAPS // 2
"""Samples by which pyroomacoustics' fractional-delay filter delays every response."""
_SINC_POINTS = 20
"""Points of its look-up table per sample (pyroomacoustics' default)."""
_LONGEST_CALL = 0.5
"""Seconds of responses that are summed in one call, which counts time in single precision: to
2e-8 s here."""
IMAGE_FLOOR = 1e-6
"""The weakest images that together carry less than -60 dB of the energy are left out."""


@dataclass(frozen=True)
class Images:
    """Image sources of one source.

    Attributes:
        positions: ``[3, image]``, metres. reflections: how many made each, int ``[image]``.
    """

    positions: NDArray[np.float64]
    reflections: NDArray[np.intp]


def image_sources(
    size: Sequence[float],
    source: NDArray[np.float64],
    centre: Sequence[float],
    reflection: float,
    seconds: float,
) -> Images:
    """Image sources within the reach of sound in `seconds` that matter at `centre`.

    Args:
        size: of the room. source: position ``[3]``. centre: of the microphones. All metres.
        reflection: amplitude factor of a reflection, of the frequencies where it is largest.
    """
    reach = seconds * SPEED_OF_SOUND
    coordinates, bounces, squares = [], [], []
    for side, x, c in zip(size, source, centre, strict=True):
        n = np.arange(-math.ceil(reach / side) - 1, math.ceil(reach / side) + 2)
        positions = np.where(n % 2 == 0, n * side + x, (n + 1) * side - x)
        coordinates.append(positions)
        bounces.append(np.abs(n))
        squares.append((positions - c) ** 2)
    squared = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    order = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    kept = np.flatnonzero(squared.ravel() <= max(reach**2, float(squared.min())))
    squared, order = squared.ravel()[kept], order.ravel()[kept]
    energy = (reflection ** (2 * np.arange(order.max() + 1)))[order] / squared
    ascending = np.sort(energy)
    total = np.cumsum(ascending)
    weakest = ascending[np.searchsorted(total, IMAGE_FLOOR * total[-1])]
    strong = energy >= weakest
    index = np.unravel_index(kept[strong], tuple(len(c) for c in coordinates))
    found = np.stack([c[i] for c, i in zip(coordinates, index, strict=True)])
    return Images(found, order[strong])


def direct_paths(
    sources: NDArray[np.float64], mics: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Free-field responses ``[source, mic, tap]`` of sources ``[source, 3]``, 1/d at d metres."""
    distance = np.linalg.norm(sources[:, None] - mics, axis=-1)
    responses = _sum(distance.reshape(-1, 1), (1 / distance).reshape(-1, 1), sample_rate)
    return responses.reshape(*distance.shape, -1)


def reflected(
    images: Images,
    walls: Walls,
    mics: NDArray[np.float64],
    sample_rate: int,
    weights: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float32]:
    """Responses ``[mic, tap]`` of images behind walls; `weights` are further gains ``[image]``."""
    distance = np.linalg.norm(images.positions[None] - mics[:, :, None], axis=1)
    gains = [r**images.reflections * weights for r in walls.reflections]
    sums = [_sum(distance, g / distance, sample_rate) for g in gains]
    if len(sums) == 1:
        return sums[0]
    taps = sums[0].shape[-1]
    # Room for what the bands' filters ring beyond the last tap, which is as weak as the tail's end.
    size = fft.next_fast_len(taps + int(0.02 * sample_rate), real=True)
    bands = walls.band_gains(size, sample_rate)
    spectrum = sum(fft.rfft(h, size, axis=-1) * g for h, g in zip(sums, bands, strict=True))
    return np.asarray(fft.irfft(spectrum, size, axis=-1)[..., :taps], np.float32)


def _sum(
    distance: NDArray[np.float64], amplitude: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Responses ``[response, tap]`` of images at distances ``[response, image]`` (metres)."""
    from pyroomacoustics import libroom  # takes a second to import, and only this line needs it

    arrival = distance / SPEED_OF_SOUND + DELAY / sample_rate
    amplitude = amplitude.astype(np.float32)
    taps = math.ceil(arrival.max() * sample_rate) + DELAY + 2
    responses = np.zeros((len(distance), taps), np.float32)
    # A call costs as much as a thousand images, so several responses share one, end to end.
    together = max(1, int(_LONGEST_CALL * sample_rate / taps))
    for first in range(0, len(responses), together):
        some = slice(first, first + together)
        shift = np.arange(len(responses[some]))[:, None] * (taps / sample_rate)
        libroom.rir_builder(
            responses[some].reshape(-1),
            (arrival[some] + shift).astype(np.float32).ravel(),
            amplitude[some].ravel(),
            sample_rate,
            FILTER_TAPS,
            _SINC_POINTS,
            1,
        )
    return responses
