# SPDX-License-Identifier: Apache-2.0
"""Speech through room responses: overlap-save convolution, block by block."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

_SMALLEST, _LARGEST = 10, 20
"""Powers of two that a block may be long."""
_IN_CACHE = 2**14
"""Blocks up to this length are transformed within a processor's nearer caches; longer ones cost
half as much again a sample (measured)."""


class Convolution:
    """Dry signals whose convolutions with responses of up to `taps` taps can be asked for.

    Args:
        dry: float32 ``[source, lead + sample]``, with a lead of at least ``taps - 1`` samples that
            hold what sounded before: its reverberation reaches into the first samples.
        num_outputs: about how many convolutions will be asked for; decides the length of blocks.
    """

    def __init__(self, dry: NDArray[np.float32], taps: int, num_outputs: int) -> None:
        overlap = taps - 1
        self.num_samples = dry.shape[-1] - overlap
        self.size = block_size(self.num_samples, taps, num_outputs)
        self.hop = self.size - overlap
        self.blocks = -(-self.num_samples // self.hop)
        padded = np.zeros((len(dry), self.blocks * self.hop + overlap), np.float32)
        padded[:, : dry.shape[-1]] = dry
        strides = (padded.strides[0], self.hop * padded.itemsize, padded.itemsize)
        view = np.lib.stride_tricks.as_strided(
            padded, (len(dry), self.blocks, self.size), strides, writeable=False
        )
        self.spectra: NDArray[np.complex64] = scipy.fft.rfft(view, axis=-1)
        """``[source, block, freq]``"""

    def transform(self, responses: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Spectra ``[..., freq]`` of responses ``[..., tap]``, for `each` and `mixed`."""
        return np.asarray(scipy.fft.rfft(responses, self.size, axis=-1))

    def each(self, responses: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Each source through its response ``[source, freq]``: ``[source, sample]``."""
        found = np.empty((len(self.spectra), self.num_samples), np.float32)
        for signal, x, h in zip(found, self.spectra, responses, strict=True):
            signal[:] = self._back(x * h)
        return found

    def mixed(
        self, responses: NDArray[np.complex64], gains: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The sum of all sources through responses ``[source, freq]``, ``[sample]``."""
        if not len(self.spectra):
            return np.zeros(self.num_samples, np.float32)
        total = self.spectra[0] * (responses[0] * gains[0])
        for x, h, g in zip(self.spectra[1:], responses[1:], gains[1:], strict=True):
            total += x * (h * g)
        return self._back(total)

    def _back(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """``[block, freq]`` to ``[sample]``; each block's first samples hold the circular wrap."""
        blocks = scipy.fft.irfft(spectrum, self.size, axis=-1)[:, self.size - self.hop :]
        return np.asarray(blocks.reshape(-1)[: self.num_samples])


@lru_cache(maxsize=256)
def block_size(num_samples: int, taps: int, num_outputs: int) -> int:
    """The power of two that makes convolutions cheapest: long blocks waste less of their length
    on the overlap, short ones make the transforms of the responses short."""

    def cost(size: int) -> float:
        blocks = -(-num_samples // (size - taps + 1))
        once = (num_outputs * (2 + blocks)) * size * np.log2(size)
        return float(once if size <= _IN_CACHE else 1.5 * once)

    sizes = [2**power for power in range(_SMALLEST, _LARGEST + 1) if 2**power >= 1.25 * taps]
    best: int = min(sizes, key=cost)
    return best
