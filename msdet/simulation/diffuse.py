# SPDX-License-Identifier: Apache-2.0
"""Spherically isotropic (diffuse) sound fields: their coherence, and signals that have it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.geometry import SPEED_OF_SOUND

_GRID = 513
"""Frequencies at which the mixing matrices are computed; between them they are interpolated. 16 Hz
apart at 16 kHz, where the coherence of microphones 1 m apart has its first zero at 172 Hz."""

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
    size = fft.next_fast_len(samples, real=True)
    spectra = fft.rfft(streams, size, axis=-1)
    mixing = diffuse_mixing(positions, sample_rate, size)
    mixed = np.matmul(mixing, spectra.T[..., None])[..., 0].T
    return np.asarray(fft.irfft(mixed, size, axis=-1)[..., :samples], np.float32)


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
