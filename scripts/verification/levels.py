# SPDX-License-Identifier: Apache-2.0
"""Direct-to-reverberant ratios, reverberation times, and how many images there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation import Room
from msdet.simulation.acoustics import high_passed, measure_t60
from msdet.simulation.image_sources import image_sources
from msdet.simulation.rirs import mixing_time
from msdet.simulation.tail import image_power
from msdet.simulation.walls import Walls
from verification.rooms import RATE, SIZES, Array, by, distances, rooms


@dataclass(frozen=True)
class Scene:
    """One speaker of a room, means over the microphones.

    Attributes:
        asked: T60, seconds.
        t60, drr: by backend, and as energies say without any response: "law" from `image_power`,
            "images" from the sum over the image sources.
    """

    asked: float
    t60: dict[str, float]
    drr: dict[str, float]


def scenes(count: int) -> list[Scene]:
    """Measure rooms of any size with an asked T60 of 0.2 to 0.8 s."""
    found = []
    for room in rooms(count, 2, t60=(0.2, 0.8)):
        rirs = {backend: by(backend, room) for backend in ("exact", "hybrid")}
        beta = Walls.of(room).reflections[0]
        far = distances(room).mean(axis=1)
        for s, speaker in enumerate(room.speakers):
            drr = {b: float(r.drr_db[s].mean()) for b, r in rirs.items()}
            position = np.array(speaker.position)
            images = image_sources(room.size, position, room.array_centre, beta, room.t60)
            squares = np.sum((images.positions.T - np.array(room.array_centre)) ** 2, axis=-1)
            energies = beta ** (2.0 * images.reflections) / squares
            nearest = energies.max()
            drr["images"] = 10 * math.log10(nearest / (energies.sum() - nearest))
            time, decay = law_decay(room, float(far[s]))
            drr["law"] = -10 * math.log10(far[s] ** 2 * decay[0] - 1)
            t60 = {b: measure_t60(high_passed(r.image[s], RATE), RATE) for b, r in rirs.items()}
            t60["law"] = t20(time, decay)
            found.append(Scene(room.t60, t60, drr))
    return found


def law_decay(room: Room, distance: float) -> tuple[Array, Array]:
    """Seconds since the direct sound, and the energy to come by `image_power`, ``[time]``."""
    start = distance / SPEED_OF_SOUND
    time = np.arange(start, max(2 * room.t60, start + 0.1), 1e-4)
    power = image_power(room.size, Walls.of(room).reflections[0], time)
    left = np.cumsum(power[::-1])[::-1] * 1e-4
    left[0] += distance**-2
    return time - start, left


def t20(time: Array, energy: Array) -> float:
    """Reverberation time from -5 to -25 dB of a decay ``[time]``."""
    level = 10 * np.log10(energy / energy[0])
    inside = (level <= -5) & (level >= -25)
    return float(-60 / np.polyfit(time[inside], level[inside], 1)[0])


def image_counts(count: int, t60: float) -> dict[str, float]:
    """Image sources that each backend sums for one speaker, medium room, mean."""
    found: dict[str, list[int]] = {"exact": [], "hybrid": []}
    for room in rooms(count, 8, size=SIZES["medium"], t60=(t60, t60)):
        beta = Walls.of(room).reflections[0]
        for speaker, far in zip(room.speakers, distances(room).mean(axis=1), strict=True):
            mixed = far / SPEED_OF_SOUND + mixing_time(room.size)
            for backend, seconds in (("exact", t60), ("hybrid", min(t60, mixed))):
                position = np.array(speaker.position)
                images = image_sources(room.size, position, room.array_centre, beta, seconds)
                found[backend].append(len(images.reflections))
    return {backend: float(np.mean(numbers)) for backend, numbers in found.items()}
