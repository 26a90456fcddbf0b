# SPDX-License-Identifier: Apache-2.0
"""Energy decay curves of both backends, and the law that the tail of `hybrid` follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation.acoustics import energy_decay, high_passed
from msdet.simulation.config import OCTAVES_HZ
from msdet.simulation.image_sources import DELAY, image_sources
from msdet.simulation.rirs import mixing_time
from msdet.simulation.tail import image_power
from msdet.simulation.walls import Walls
from verification.rooms import RATE, SIZES, Array, Size, by, rooms

TILTED_OCTAVES = (1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7)
"""Factors on the T60 from 125 to 8000 Hz: walls that absorb more at high frequencies."""

Filter = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Decays:
    """Energy decay curves of the same scenes by two backends.

    Attributes:
        time: ``[time]`` seconds. exact, hybrid: ``[scene, time]``, dB.
    """

    time: Array
    exact: Array
    hybrid: Array

    @property
    def heard(self) -> NDArray[np.bool_]:
        """``[time]``: where the mean exact curve is above -30 dB."""
        return np.asarray(self.exact.mean(axis=0) >= -30)

    @property
    def mean_difference(self) -> Array:
        """``[time]``: hybrid less exact."""
        return np.asarray((self.hybrid - self.exact).mean(axis=0))

    def at(self, level: float) -> int:
        """Index of the time when the mean exact curve falls to a level."""
        return int(np.argmax(self.exact.mean(axis=0) <= level))


def decays(
    count: int, size: Size, t60: float, filters: Sequence[Filter] = (), **config: Any
) -> list[Decays]:
    """Measure rooms of one size, once for each filter that the responses go through.

    Args:
        filters: none is the high-pass of T60 and DRR, above 50 Hz.
    """
    filters = filters or (lambda response: high_passed(response, RATE),)
    step = RATE // 1000
    taps = math.ceil(t60 * RATE) + DELAY
    curves: list[dict[str, list[Array]]] = [{"exact": [], "hybrid": []} for _ in filters]
    for room in rooms(count, 3, size=size, t60=(t60, t60), **config):
        for backend in ("exact", "hybrid"):
            image = by(backend, room).image
            fitted = np.zeros((*image.shape[:2], taps), np.float32)
            fitted[..., : image.shape[-1]] = image[..., :taps]
            for into, passed in zip(curves, filters, strict=True):
                curve = energy_decay(passed(fitted))[..., DELAY::step]
                into[backend].extend(10 * np.log10(np.mean(10 ** (curve / 10), axis=1)))
    time = np.arange(0, taps - DELAY, step) / RATE
    return [Decays(time, np.array(c["exact"]), np.array(c["hybrid"])) for c in curves]


def octave(centre: float) -> Filter:
    """Lets one octave pass, responses ``[..., tap]``; zero-phase."""
    edges = [centre / math.sqrt(2), centre * math.sqrt(2)]
    sections = signal.butter(4, edges, "bandpass", fs=RATE, output="sos")

    def passed(response: NDArray[np.float32]) -> NDArray[np.float32]:
        size = fft.next_fast_len(response.shape[-1] + RATE // 4, real=True)
        gain = signal.sosfreqz(sections, fft.rfftfreq(size, 1 / RATE), fs=RATE)[1]
        spectrum = fft.rfft(response, size, axis=-1) * np.abs(gain)
        return np.asarray(fft.irfft(spectrum, size, axis=-1)[..., : response.shape[-1]], np.float32)

    return passed


def octave_decays(count: int, t60: float) -> dict[float, Decays]:
    """Measure octaves up to 4 kHz, behind walls that absorb more at high frequencies."""
    centres = OCTAVES_HZ[:-1]
    filters = [octave(centre) for centre in centres]
    found = decays(count, SIZES["medium"], t60, filters, t60_per_octave=TILTED_OCTAVES)
    return dict(zip(centres, found, strict=True))


@dataclass(frozen=True)
class Law:
    """Power over time, ``[time]`` each, dB (1 = amplitude 1/d at 1 m, per second).

    Attributes:
        images: sum of the squares of the images' amplitudes. responses: of the exact samples.
        law: `image_power`. exponential: the asked T60.
    """

    time: Array
    images: Array
    responses: Array
    law: Array
    exponential: Array
    mixing: float

    @property
    def late(self) -> NDArray[np.bool_]:
        """``[time]``: from the mixing time, counted from the direct sound, down to -40 dB."""
        return np.asarray((self.time > self.mixing + 0.01) & (self.images > self.images.max() - 40))

    def offset(self, of: Array) -> float:
        """Mean difference from the images' power, dB."""
        return float(np.mean((of - self.images)[self.late]))

    def error(self, of: Array) -> float:
        """Root mean square difference from the images' power, dB."""
        return float(np.sqrt(np.mean((of - self.images)[self.late] ** 2)))


def law(count: int, size: Size, t60: float) -> Law:
    """Against image sources over random positions in a room."""
    width = 0.01
    edges = np.arange(0, t60, width)
    images, responses = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for room in rooms(count, 4, size=size, t60=(t60, t60)):
        beta = Walls.of(room).reflections[0]
        rirs = by("exact", room)
        square = (high_passed(rirs.image, RATE).astype(float) ** 2).mean(axis=(0, 1))[rirs.delay :]
        place = np.arange(len(square)) / RATE
        responses += np.histogram(place, edges, weights=square)[0]
        for speaker in room.speakers:
            position = np.array(speaker.position)
            found = image_sources(room.size, position, room.array_centre, beta, t60)
            far = np.linalg.norm(found.positions.T - np.array(room.array_centre), axis=-1)
            energy = beta ** (2.0 * found.reflections) / far**2 / len(room.speakers)
            images += np.histogram(far / SPEED_OF_SOUND, edges, weights=energy)[0]
    time = edges[:-1] + width / 2
    power = image_power(size, beta, time)
    straight = 4 * np.pi * SPEED_OF_SOUND / math.prod(size) * 10 ** (-6 * time / t60)
    powers = (images / count / width, responses / count / width, power, straight)
    return Law(time, *(10 * np.log10(p + 1e-30) for p in powers), mixing_time(size))
