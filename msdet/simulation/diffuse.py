# SPDX-License-Identifier: Apache-2.0
"""Diffuse (spherically isotropic) sound: fields of it, and tails of reverberation made of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.geometry import SPEED_OF_SOUND
from msdet.simulation.config import OCTAVES_HZ

_GRID = 513
"""Frequencies at which the mixing matrices are computed; between them they are interpolated. 16 Hz
apart at 16 kHz, where the coherence of microphones 1 m apart has its first zero at 172 Hz."""
_DIRECTIONS, _TIMES = 8, 32
"""Points of each angle's quadrature over an octant of the sphere, and in time: down to -45 dB they
give what many more do to .02 dB, where walls absorb three quarters to .2 dB."""
_BLOCK = 1024
"""Tails are computed in multiples of this many samples, so that transforms have few sizes."""

Positions = tuple[tuple[float, float, float], ...]


def diffuse_coherence(
    positions: NDArray[np.float64], frequency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coherence of a diffuse field between microphones, sin(kd)/(kd), ``[freq, mic, mic]``.

    Args:
        positions: ``[mic, 3]``, metres. frequency: ``[freq]``, hertz.
    """
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return np.asarray(np.sinc(2 * frequency[:, None, None] * distance / SPEED_OF_SOUND))


def diffuse_mixing(
    positions: NDArray[np.float64], sample_rate: int, size: int
) -> NDArray[np.float32]:
    """Matrices ``[freq, mic, mic]`` that turn uncorrelated signals into a diffuse field.

    The symmetric square root of the coherence: of all the roots it is the one that varies
    smoothly over frequency and treats microphones alike (cf. Habets, Cohen, Gannot, 2008;
    Mirabilii, Schlecht, Habets, 2021).

    Args:
        size: of the Fourier transform that they are applied in; ``freq`` is size // 2 + 1.
    """
    return _interpolated(tuple(map(tuple, positions.round(9).tolist())), sample_rate, size)


def diffuse_noise(
    shape: tuple[int, int],
    positions: NDArray[np.float64],
    sample_rate: int,
    rng: np.random.Generator,
) -> NDArray[np.complex64]:
    """Spectra ``[count, mic, freq]`` of white Gaussian diffuse noise of unit variance.

    Made in the frequency domain, where it is mixed; `scipy.fft.irfft` turns it into samples.

    Args:
        shape: (count, samples); the samples must be even in number.
    """
    count, samples = shape
    mixing = diffuse_mixing(positions, sample_rate, samples)
    white = rng.standard_normal((len(mixing), len(positions), 2 * count), np.float32)
    white *= np.float32(np.sqrt(samples / 2))
    white[0] = 0.0  # no offset
    white[-1, :, count:] = 0.0
    white[-1, :, :count] *= np.float32(np.sqrt(2))
    mixed = (mixing @ white).transpose(2, 1, 0)
    spectra = np.empty((count, len(positions), len(mixing)), np.complex64)
    spectra.real, spectra.imag = mixed[:count], mixed[count:]
    return spectra


def diffuse_field(
    streams: NDArray[np.float32], positions: NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """A diffuse field made of uncorrelated signals ``[mic, sample]``, same shape.

    Circular: what leaves at one end by the travel over the array comes in at the other.
    """
    samples = streams.shape[-1]
    size = scipy.fft.next_fast_len(samples, real=True)
    spectra = scipy.fft.rfft(streams, size, axis=-1)
    mixing = diffuse_mixing(positions, sample_rate, size)
    mixed = np.matmul(mixing, spectra.T[..., None])[..., 0].T
    return np.asarray(scipy.fft.irfft(mixed, size, axis=-1)[..., :samples], np.float32)


@lru_cache(maxsize=32)
def _roots(positions: Positions, sample_rate: int) -> NDArray[np.float32]:
    """``[freq, mic, mic]`` on the grid."""
    frequency = np.linspace(0, sample_rate / 2, _GRID)
    values, vectors = np.linalg.eigh(diffuse_coherence(np.array(positions), frequency))
    roots = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors
    return np.asarray(roots @ vectors.swapaxes(1, 2), np.float32)


@lru_cache(maxsize=4)
def _interpolated(positions: Positions, sample_rate: int, size: int) -> NDArray[np.float32]:
    roots = _roots(positions, sample_rate)
    place = np.linspace(0, _GRID - 1, size // 2 + 1, dtype=np.float32)
    below = np.minimum(place.astype(np.int64), _GRID - 2)
    share = (place - below).astype(np.float32)[:, None, None]
    mixing = roots[below] * (1 - share) + roots[below + 1] * share
    mixing.flags.writeable = False
    return np.asarray(mixing)


# --- the tail of a response --------------------------------------------------------------


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
    reflections: Sequence[float],
    microphones: NDArray[np.float64],
    sample_rate: int,
    start: int,
    stop: int,
    rng: np.random.Generator,
    count: int,
) -> NDArray[np.float32]:
    """Decaying diffuse sound ``[count, mic, stop - start]`` with the power of the image sources.

    Args:
        size: of the room, metres. reflections: as `wall_reflections` gives them.
        microphones: ``[mic, 3]`` in any frame, metres.
        start, stop: samples since the sound was made.
    """
    samples = -(-(stop - start) // _BLOCK) * _BLOCK
    noise = diffuse_noise((count, samples), microphones, sample_rate, rng)
    bands = octave_gains(samples, sample_rate) if len(reflections) > 1 else (None,)
    tail = np.zeros((count, len(microphones), stop - start), np.float32)
    for reflection, gains in zip(reflections, bands, strict=True):
        shaped = noise if gains is None else noise * gains
        samples_of_band = scipy.fft.irfft(shaped, samples, axis=-1)[..., : stop - start]
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


@lru_cache(maxsize=8)
def octave_gains(size: int, sample_rate: int) -> tuple[NDArray[np.float32], ...]:
    """Gains ``[freq]`` of each octave for a Fourier transform of `size`; they add up to one.

    Zero-phase, cosine-shaped over the logarithm of the frequency; the outer bands reach to zero and
    to half the sample rate.
    """
    frequency = np.maximum(scipy.fft.rfftfreq(size, 1 / sample_rate), 1.0)
    place = np.clip(np.log2(frequency / OCTAVES_HZ[0]), 0, len(OCTAVES_HZ) - 1)
    distance = np.abs(place - np.arange(len(OCTAVES_HZ))[:, None])
    gains = np.where(distance < 1, np.cos(np.pi / 2 * distance) ** 2, 0.0)
    return tuple(np.asarray(row, np.float32) for row in gains)
