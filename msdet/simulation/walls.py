# SPDX-License-Identifier: Apache-2.0
"""How much a room's walls reflect, over frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.errors import InputError
from msdet.simulation.config import MOST_ABSORPTION, OCTAVES_HZ, sabine_absorption
from msdet.simulation.rooms import Room


@dataclass(frozen=True)
class Walls:
    """All walls of a room absorb alike.

    Attributes:
        reflections: amplitude factor of a reflection: one for all frequencies, or one for each of
            the octaves around `OCTAVES_HZ`.
    """

    reflections: tuple[float, ...]

    @staticmethod
    def of(room: Room) -> Walls:
        """The walls that give a room its T60 by Sabine's formula.

        Raises:
            InputError: no walls do.
        """
        absorptions = [
            sabine_absorption(room.size, room.t60 * factor)
            for factor in room.t60_per_octave or (1.0,)
        ]
        if max(absorptions) > MOST_ABSORPTION:
            size = " x ".join(f"{side:g}" for side in room.size)
            shortest = math.ceil(1000 * room.t60 * max(absorptions)) / 1000
            raise InputError(
                f"t60={room.t60:g}: not reachable in a room of {size} m, at least {shortest:g} s is"
            )
        return Walls(tuple(math.sqrt(max(0.0, 1.0 - a)) for a in absorptions))

    def band_gains(self, size: int, sample_rate: int) -> Sequence[NDArray[np.float32] | None]:
        """Gains ``[freq]`` of each band for a Fourier transform; they add up to one.

        Zero-phase, cosine-shaped over the logarithm of the frequency; the outer bands reach to
        zero and to half the sample rate. None: the one band that passes everything.
        """
        return octave_gains(size, sample_rate) if len(self.reflections) > 1 else (None,)


@lru_cache(maxsize=8)
def octave_gains(size: int, sample_rate: int) -> tuple[NDArray[np.float32], ...]:
    """See `Walls.band_gains`."""
    frequency = np.maximum(fft.rfftfreq(size, 1 / sample_rate), 1.0)
    place = np.clip(np.log2(frequency / OCTAVES_HZ[0]), 0, len(OCTAVES_HZ) - 1)
    distance = np.abs(place - np.arange(len(OCTAVES_HZ))[:, None])
    gains = np.where(distance < 1, np.cos(np.pi / 2 * distance) ** 2, 0.0)
    return tuple(np.asarray(row, np.float32) for row in gains)
