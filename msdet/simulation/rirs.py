# SPDX-License-Identifier: Apache-2.0
"""Room to room impulse responses, by the image-source method, and what is measured on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from msdet.errors import InputError
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation.config import sabine_absorption
from msdet.simulation.rooms import Room

METHOD = "ism-1"
"""Changes whenever this file computes something else; part of what names a stored response."""
FILTER_TAPS = 81
DELAY = FILTER_TAPS // 2
"""Samples by which pyroomacoustics' fractional-delay filter delays every response."""
_SINC_POINTS = 20
"""Points of its look-up table per sample (pyroomacoustics' default)."""
IMAGE_FLOOR = 1e-6
"""The weakest images that together carry less than -60 dB of the energy are left out."""
MEASURE_ABOVE_HZ = 50.0
"""T60 and direct-to-reverberant ratio are measured above this: at the lowest frequencies all image
sources add up in phase, which no real room does (some 15 % of the energy lies there)."""


@dataclass(frozen=True)
class Rirs:
    """Responses of one room.

    Attributes:
        image: float32 ``[speaker, mic, tap]``, 1/d at a distance of d metres.
        direct: float32 ``[speaker, mic, tap]``, the direct path alone; shorter.
        delay: samples by which both are late beyond the travel of the sound.
        t60_measured: seconds; T20 (-5 to -25 dB), mean over speakers and microphones.
        drr_db: float32 ``[speaker, mic]``, direct-to-reverberant ratio.
    """

    image: NDArray[np.float32]
    direct: NDArray[np.float32]
    delay: int
    sample_rate: int
    t60_measured: float
    drr_db: NDArray[np.float32]

    def permuted(self, permutation: Sequence[int]) -> Rirs:
        """The same responses with the microphones read in another order."""
        order = list(permutation)
        return replace(
            self,
            image=self.image[:, order],
            direct=self.direct[:, order],
            drr_db=self.drr_db[:, order],
        )

    def early(self, mic: int, milliseconds: float = 50.0) -> NDArray[np.float32]:
        """Responses ``[speaker, tap]`` at a microphone, up to a time after the direct peak."""
        after = round(milliseconds / 1000 * self.sample_rate)
        ends = np.abs(self.direct[:, mic]).argmax(axis=-1) + after
        taps = np.arange(self.image.shape[-1])
        return np.where(taps <= ends[:, None], self.image[:, mic], np.float32(0))


def compute_rirs(room: Room, array: MicrophoneArray, sample_rate: int) -> Rirs:
    """Responses of a room by the image-source method (Allen and Berkley, 1979).

    Walls absorb alike, by Sabine's formula. Image sources reach as far as sound travels in the
    asked T60; the weakest, which together carry less than -60 dB of the energy, are left out.
    No high-pass (pyroomacoustics' default one is zero-phase and rings before the direct path).

    Raises:
        InputError: the room cannot reach its T60, or a microphone is outside of it.
    """
    mics = room.microphones(array)
    sources = np.array([s.position for s in room.speakers])
    size = np.array(room.size)
    inside = np.concatenate([mics, sources])
    if (inside <= 0).any() or (inside >= size).any():
        raise InputError(f"room of {room.size} m: a microphone or speaker stands outside of it")
    absorption = sabine_absorption(room.size, room.t60)
    if absorption > 1:
        raise InputError(f"t60={room.t60:g}: not reachable in a room of {room.size} m")

    image, direct = [], []
    for source in sources:
        found = image_sources(room.size, source, room.array_centre, absorption, room.t60)
        image.append(_responses(*found, mics, sample_rate))
        direct.append(_responses(source[:, None], np.ones(1), mics, sample_rate))
    stacked, order_zero = _stack(image), _stack(direct)
    return Rirs(
        image=stacked,
        direct=order_zero,
        delay=DELAY,
        sample_rate=sample_rate,
        t60_measured=measure_t60(stacked, sample_rate),
        drr_db=measure_drr(stacked, order_zero, sample_rate),
    )


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


def _responses(
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


def _stack(responses: list[list[NDArray[np.float32]]]) -> NDArray[np.float32]:
    """``[speaker, mic, tap]``, zeros at the end where one is shorter."""
    taps = max(len(r) for row in responses for r in row)
    stacked = np.zeros((len(responses), len(responses[0]), taps), np.float32)
    for s, row in enumerate(responses):
        for m, response in enumerate(row):
            stacked[s, m, : len(response)] = response
    return stacked
