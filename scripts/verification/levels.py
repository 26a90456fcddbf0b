# SPDX-License-Identifier: Apache-2.0
"""Direct paths, direct-to-reverberant ratios and reverberation times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation import Rirs, Room
from msdet.simulation.acoustics import high_passed, measure_t60
from msdet.simulation.diffuse import image_power
from msdet.simulation.rirs import image_sources, mixing_time, wall_reflections
from verification.rooms import CIRCLE, RATE, SIZES, Array, by, distances, rooms


@dataclass(frozen=True)
class DirectPath:
    """Per response: metres, microseconds late, amplitude times distance (dB)."""

    distance: Array
    delay_error_us: Array
    gain_error_db: Array
    before_reflections: float
    """Largest sample of the reverberant part before its first reflection, over the direct peak."""


def direct_path(count: int) -> DirectPath:
    """Delay from the slope of the phase, amplitude from the spectrum, 200 Hz to 7 kHz."""
    frequency = fft.rfftfreq(8192, 1 / RATE)
    band = (frequency > 200) & (frequency < 7000)
    far, late, gain, early = [], [], [], []
    speaker = {"distance": (0.3, 6.0), "height_offset": (-0.3, 0.8)}
    for room in rooms(count, 1, speaker=speaker, t60=(0.3, 0.3)):
        rirs, far_here = by("exact", room), distances(room)
        spectrum = fft.rfft(rirs.direct.astype(float), 8192, axis=-1)[..., band]
        expected = far_here / SPEED_OF_SOUND + rirs.delay / RATE
        turns = 2 * np.pi * frequency[band]
        straight = spectrum * np.exp(1j * turns * expected[..., None])
        phase = np.unwrap(np.angle(straight), axis=-1)
        late.append(-(phase @ turns) / (turns @ turns) * 1e6)
        gain.append(20 * np.log10(np.sqrt(np.mean(np.abs(spectrum) ** 2, -1)) * far_here))
        far.append(far_here)
        early.append(_before_reflections(room, rirs))
    parts = [np.concatenate(p).ravel() for p in (far, late, gain)]
    return DirectPath(parts[0], parts[1], parts[2], max(early))


def _before_reflections(room: Room, rirs: Rirs) -> float:
    """The floor, the ceiling or a wall: whose mirror image is nearest."""
    worst = 0.0
    for s, speaker in enumerate(room.speakers):
        for m, mic in enumerate(room.microphones(CIRCLE)):
            first = math.inf
            for axis, side in enumerate(room.size):
                for mirrored in (-speaker.position[axis], 2 * side - speaker.position[axis]):
                    image = np.array(speaker.position)
                    image[axis] = mirrored
                    first = min(first, float(np.linalg.norm(image - mic)))
            end = math.floor(first / SPEED_OF_SOUND * RATE)  # where its filter begins
            direct = rirs.direct[s, m]
            rest = rirs.image[s, m, :end] - np.pad(direct, (0, max(0, end - len(direct))))[:end]
            worst = max(worst, float(np.abs(rest).max() / np.abs(direct).max()))
    return worst


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
    """Of rooms of any size with an asked T60 of 0.2 to 0.8 s."""
    found = []
    for room in rooms(count, 2, t60=(0.2, 0.8)):
        rirs = {backend: by(backend, room) for backend in ("exact", "hybrid")}
        beta = wall_reflections(room)[0]
        far = distances(room).mean(axis=1)
        for s, speaker in enumerate(room.speakers):
            drr = {b: float(r.drr_db[s].mean()) for b, r in rirs.items()}
            images = image_sources(
                room.size, np.array(speaker.position), room.array_centre, beta, room.t60
            )
            squares = np.sum((images.positions.T - np.array(room.array_centre)) ** 2, axis=-1)
            energies = beta ** (2.0 * images.reflections) / squares
            nearest = energies.max()
            drr["images"] = 10 * math.log10(nearest / (energies.sum() - nearest))
            time, decay = law_decay(room, float(far[s]))
            drr["law"] = -10 * math.log10(far[s] ** 2 * decay[0] - 1)
            t60 = {b: measure_t60(high_passed(r.image[s], RATE), RATE) for b, r in rirs.items()} | {
                "law": t20(time, decay)
            }
            found.append(Scene(room.t60, t60, drr))
    return found


def law_decay(room: Room, distance: float) -> tuple[Array, Array]:
    """Seconds since the direct sound, and the energy to come by `image_power`, ``[time]``."""
    start = distance / SPEED_OF_SOUND
    time = np.arange(start, max(2 * room.t60, start + 0.1), 1e-4)
    power = image_power(room.size, wall_reflections(room)[0], time)
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
        beta = wall_reflections(room)[0]
        for speaker, far in zip(room.speakers, distances(room).mean(axis=1), strict=True):
            mixed = far / SPEED_OF_SOUND + mixing_time(room.size)
            for backend, seconds in (("exact", t60), ("hybrid", min(t60, mixed))):
                position = np.array(speaker.position)
                images = image_sources(room.size, position, room.array_centre, beta, seconds)
                found[backend].append(len(images.reflections))
    return {backend: float(np.mean(numbers)) for backend, numbers in found.items()}
