# SPDX-License-Identifier: Apache-2.0
"""The image-source method (Allen and Berkley, 1979): where the images are, and what they sum to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import SPEED_OF_SOUND

FILTER_TAPS = 81
DELAY = FILTER_TAPS // 2
"""Samples by which pyroomacoustics' fractional-delay filter delays every response."""
_SINC_POINTS = 20
"""Points of its look-up table per sample (pyroomacoustics' default)."""
IMAGE_FLOOR = 1e-6
"""The weakest images that together carry less than -60 dB of the energy are left out."""


def image_sources(
    size: Sequence[float],
    source: NDArray[np.float64],
    centre: Sequence[float],
    absorption: float,
    seconds: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image sources within the reach of sound in `seconds` that matter at `centre`.

    Returns:
        Positions ``[3, image]`` in metres and gains ``[image]``.
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
    gain_of_order = math.sqrt(max(1.0 - absorption, 0.0)) ** np.arange(order.max() + 1)
    gains = gain_of_order[order]
    energy = gains**2 / squared
    ascending = np.sort(energy)
    total = np.cumsum(ascending)
    weakest = ascending[np.searchsorted(total, IMAGE_FLOOR * total[-1])]
    strong = energy >= weakest
    index = np.unravel_index(kept[strong], tuple(len(c) for c in coordinates))
    images = np.stack([c[i] for c, i in zip(coordinates, index, strict=True)])
    return images, gains[strong]


def sum_images(
    images: NDArray[np.float64],
    gains: NDArray[np.float64],
    mics: NDArray[np.float64],
    sample_rate: int,
) -> list[NDArray[np.float32]]:
    """The sum of images ``[3, image]`` with their gains ``[image]`` at each microphone."""
    from pyroomacoustics import libroom  # takes a second to import, and only this line needs it

    x, y, z = images
    responses = []
    for mic in mics:
        distance = np.sqrt((x - mic[0]) ** 2 + (y - mic[1]) ** 2 + (z - mic[2]) ** 2)
        arrival = distance / SPEED_OF_SOUND + DELAY / sample_rate
        response = np.zeros(math.ceil(arrival.max() * sample_rate) + DELAY + 2, np.float32)
        libroom.rir_builder(
            response,
            arrival.astype(np.float32),
            (gains / distance).astype(np.float32),
            sample_rate,
            FILTER_TAPS,
            _SINC_POINTS,
            1,
        )
        responses.append(response)
    return responses
