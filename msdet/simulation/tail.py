# SPDX-License-Identifier: Apache-2.0
"""Late reverberation as a diffuse field that decays as the image sources of its room would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation.diffuse import diffuse_noise
from msdet.simulation.walls import Walls

_DIRECTIONS, _TIMES = 8, 32
"""Points of each angle's quadrature over an octant of the sphere, and in time: down to -45 dB they
give what many more do to .02 dB, where walls absorb three quarters to .2 dB."""
_BLOCK = 1024
"""Tails are computed in multiples of this many samples, so that transforms have few sizes."""


def image_power(
    size: Sequence[float], reflection: float, time: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected energy per second that image sources bring at each time ``[time]`` (seconds).

    Images fill space evenly, one in each volume V of the room. Those at distance ct in the
    direction u are x = ct |u_i| / L_i rooms away along axis i: sound from there crosses floor(x) or
    ceil(x) walls, and x on average. Their energy is 4 pi c / V times the mean over directions of
    what is expected of beta^2 over all walls crossed. The decay is no exponential: sound along the
    longest way between walls outlives the rest (Lehmann and Johansson, 2010, give a closed form
    under further assumptions; here it is integrated).

    Args:
        size: of the room, metres. reflection: amplitude factor beta of each reflection.
    """
    directions, weights = _octant()
    mean = np.ones((len(time), len(weights)))
    for along, side in zip(directions, size, strict=True):
        rooms = np.multiply.outer(time * (SPEED_OF_SOUND / side), along)
        walls = np.arange(int(rooms.max()) + 2)
        mean *= np.interp(rooms, walls, reflection ** (2.0 * walls))
    return np.asarray(4 * np.pi * SPEED_OF_SOUND / np.prod(size) * (mean @ weights), np.float64)


def diffuse_tail(
    size: Sequence[float],
    walls: Walls,
    microphones: NDArray[np.float64],
    sample_rate: int,
    start: int,
    stop: int,
    rng: np.random.Generator,
    count: int,
) -> NDArray[np.float32]:
    """Decaying diffuse sound ``[count, mic, stop - start]`` with the power of the image sources.

    Args:
        size: of the room, metres. microphones: ``[mic, 3]`` in any frame, metres.
        start, stop: samples since the sound was made.
    """
    samples = -(-(stop - start) // _BLOCK) * _BLOCK
    noise = diffuse_noise((count, samples), microphones, sample_rate, rng)
    bands = walls.band_gains(samples, sample_rate)
    tail = np.zeros((count, len(microphones), stop - start), np.float32)
    for reflection, gains in zip(walls.reflections, bands, strict=True):
        shaped = noise if gains is None else noise * gains
        samples_of_band = fft.irfft(shaped, samples, axis=-1)[..., : stop - start]
        tail += samples_of_band * _amplitude(size, reflection, sample_rate, start, stop)
    return tail


def _amplitude(
    size: Sequence[float], reflection: float, sample_rate: int, start: int, stop: int
) -> NDArray[np.float32]:
    """Standard deviation ``[stop - start]`` of the samples of a response."""
    coarse = np.linspace(start, max(stop - 1, start), _TIMES)
    power = image_power(size, reflection, coarse / sample_rate) / sample_rate
    level = np.interp(np.arange(start, stop), coarse, 0.5 * np.log(power + 1e-30))
    return np.exp(level.astype(np.float32))


@lru_cache(maxsize=1)
def _octant() -> tuple[tuple[NDArray[np.float64], ...], NDArray[np.float64]]:
    """|ux|, |uy|, |uz| of directions of an octant, each ``[direction]``, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(_DIRECTIONS)
    node, weight = (node + 1) / 2, weight / 2
    up, turn = np.meshgrid(node, node * np.pi / 2, indexing="ij")
    flat = np.sqrt(1 - up**2)
    along = (flat * np.cos(turn), flat * np.sin(turn), up)
    return tuple(u.ravel() for u in along), np.outer(weight, weight).ravel()
