# SPDX-License-Identifier: Apache-2.0
"""Delays between the channels of a recording, from its loud stretches, in bounded time and memory.

Generalised cross-correlation (Knapp and Carter, 1976), each frequency weighted by its coherence.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import butter, sosfilt
from scipy.spatial.distance import pdist

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray

Floats = NDArray[np.float64]

STRETCHES, LOUD_DB = 24, -30.0
"""The loudest of a block that are looked at, which bounds the time, unless they are so far below
the loudest one."""
KEPT = 64
"""Stretches whose evidence is kept, the most coherent ones, which bounds memory."""
WINDOW_SECONDS, FRAMES = 0.032, 8
"""A stretch is .144 s. With windows twice as long, delays of pairs agree less often in rooms."""
BAND_HZ = (150.0, 8000.0)
"""Rumble is below. Above, speech has little, and places of microphones are not known so well."""
LAG_RATE = 96000
"""Cross-correlations are sampled this finely, in hertz; a parabola gives what is between."""
NEAR, NEAR_SECONDS = 2.5, 1.5e-4
"""Peaks are sought within what this many times the distance allows, as other arrays than stated are
seldom larger, and within the main lobe of speech sampled at 8 kHz, for close microphones."""
FAR_HEIGHT = 1.05
"""A peak farther off counts where it is so many times as high: an echo in matching scenes, but the
direct sound of devices that are not synchronised."""
SHARED = 1.65
"""Height over that of noise, from which on channels have something in common. Where they have, it
is 1.9 or more in simulated scenes; where not, 1.55 at most."""
AGREE_METRES, AGREE_SHARE = 0.01, 0.75
"""Pairs within a centimetre of the delays of the whole stretch, and how many of them must be: at .9
a third of the matching scenes has no such stretches, at .75 a tenth."""
ABOVE_FLOOR = 30.0
"""Power over that of the block's quietest stretch, where sound is no microphone's own noise."""


class ChannelDelays:
    """Evidence of what the channels have in common, from blocks of a recording.

    Attributes:
        pairs: the first and the second microphone of each pair, in the order of `pdist`.
        gram: ``[mic, mic]``, correlations of the samples' differences, without rumble.
        path: ``[stretch, pair]``, by how much later the pair's first microphone hears than its
            second, in metres of travel.
        height, trough: of the correlation there, and of the deepest trough within reach, as
            multiples of the height where channels have nothing in common.
        low: coherence where the wavelength is more than 6 times the distance; NaN where no such
            frequency is loud enough.
    """

    path: NDArray[np.float64]
    height: NDArray[np.float64]
    trough: NDArray[np.float64]
    low: NDArray[np.float64]

    def __init__(self, array: MicrophoneArray, sample_rate: int) -> None:
        count, seconds = array.num_mics, pdist(array.as_array()) / SPEED_OF_SOUND
        self.pairs = np.triu_indices(count, 1)
        self.gram = np.zeros((count, count))
        self.path, self.height, self.trough, self.low = np.zeros((4, 0, len(seconds)))
        self._window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        self._stretch = self._window * (FRAMES + 1) // 2
        frequency = fft.rfftfreq(self._window, 1 / sample_rate)
        highest = min(BAND_HZ[1], 0.45 * sample_rate)
        self._bins = np.flatnonzero((frequency >= BAND_HZ[0]) & (frequency <= highest))
        self._low = 2 * np.pi * frequency[self._bins, None] * seconds < 1
        self._size = fft.next_fast_len(round(self._window / sample_rate * LAG_RATE), real=True)
        self._lag_seconds = self._window / sample_rate / self._size
        self._lags = fft.fftfreq(self._size, 1 / self._size)
        away = np.abs(self._lags) * self._lag_seconds
        self._near = away <= NEAR * seconds[:, None] + NEAR_SECONDS
        self._far = away <= 0.35 * WINDOW_SECONDS  # beyond, windows share too little
        self._high_pass = butter(4, 100, "highpass", fs=sample_rate, output="sos")
        self._state = np.zeros((len(self._high_pass), count, 2))

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next ``[mic, sample]``, of some seconds."""
        audio, self._state = sosfilt(self._high_pass, block.astype(np.float64), zi=self._state)
        steps = np.diff(audio, axis=1)
        self.gram += steps @ steps.T
        count = audio.shape[1] // self._stretch
        if not count:
            return
        stretches = audio[:, : count * self._stretch].reshape(len(audio), count, self._stretch)
        power = np.square(stretches).mean(axis=(0, 2))
        loudest = np.argsort(-power, kind="stable")[:STRETCHES]
        loudest = loudest[power[loudest] > power.max() * 10 ** (LOUD_DB / 10)]
        if not len(loudest):
            return  # silence
        floor = _powers(self._covariance(stretches[:, power.argmin()]))
        found = [self._evidence(self._covariance(stretches[:, i]), floor) for i in loudest]
        so_far = np.stack([self.path, self.height, self.trough, self.low])
        every = np.concatenate([so_far, np.stack(found, axis=1)], axis=1)
        best = np.argsort(-every[1].mean(axis=1), kind="stable")[:KEPT]
        self.path, self.height, self.trough, self.low = every[:, best]

    def travel(self) -> Floats:
        """Return delays ``[stretch, mic]`` in metres of travel, mean 0, of the stretches in which
        most pairs agree on them: those of one wave."""
        mics = np.eye(len(self.gram))
        table = mics[self.pairs[0]] - mics[self.pairs[1]]
        trust = weight = np.square(self.height)
        for _ in range(8):  # reweighted least squares: echoes mislead single pairs
            normal = np.einsum("pm,gp,pn->gmn", table, weight, table, optimize=True) + 1.0
            right = (weight * self.path) @ table
            found = np.linalg.solve(normal, right[..., None])[..., 0]
            left = self.path - found @ table.T
            weight = trust / (1 + np.square(left / (AGREE_METRES / 2)))
        agree = (np.abs(left) < AGREE_METRES).mean(axis=1) >= AGREE_SHARE
        return np.asarray(found[agree & (self.height.mean(axis=1) > SHARED)])

    def _covariance(self, stretch: Floats) -> NDArray[np.complex128]:
        """``[freq, mic, mic]``"""
        frames = np.lib.stride_tricks.sliding_window_view(stretch, self._window, axis=1)
        frames = frames[:, :: self._window // 2] * np.hanning(self._window)
        spectra = fft.rfft(frames, axis=-1)[:, :, self._bins].transpose(2, 0, 1)
        return np.asarray(spectra @ spectra.conj().swapaxes(1, 2))

    def _evidence(self, covariance: NDArray[np.complex128], floor: Floats) -> Floats:
        """Path, height, trough and low of one stretch, ``[4, pair]``."""
        first, second = self.pairs
        power = _powers(covariance)
        scale = np.sqrt(power[:, first] * power[:, second])
        coherence = covariance[:, first, second] / np.maximum(scale, 1e-30)
        size = np.abs(coherence)
        total = power.sum(axis=1)
        weight = size * (total > 1e-6 * total.max())[:, None]  # not what a codec left out
        spectrum = np.zeros((len(first), self._size // 2 + 1), np.complex64)
        spectrum[:, self._bins] = (coherence * weight).T
        height = np.maximum(weight.sum(axis=0), 1e-9)[:, None]
        curve = fft.irfft(spectrum, self._size, axis=-1) * (self._size / 2) / height
        curve /= 1.4 / math.sqrt(len(self._bins))  # its height of noise
        each = np.arange(len(first))
        peak = np.where(self._near, curve, -np.inf).argmax(axis=1)
        trough = np.where(self._near, -curve, -np.inf).max(axis=1)
        distant = np.where(self._far, curve, -np.inf).argmax(axis=1)
        higher = curve[each, distant] > FAR_HEIGHT * np.maximum(curve[each, peak], trough)
        peak = np.where(higher, distant, peak)
        before, top, after = (curve[each, (peak + step) % self._size] for step in (-1, 0, 1))
        bend = np.minimum(before - 2 * top + after, -1e-12)
        lag = self._lags[peak] + ((before - after) / (2 * bend)).clip(-0.5, 0.5)
        loud = (power > ABOVE_FLOOR * floor)[:, first] & (power > ABOVE_FLOOR * floor)[:, second]
        loud &= self._low
        low = np.where(loud, size, 0.0).sum(axis=0) / np.maximum(loud.sum(axis=0), 1)
        low[loud.sum(axis=0) < 4] = np.nan
        return np.stack([lag * self._lag_seconds * SPEED_OF_SOUND, top, trough, low])


def _powers(covariance: NDArray[np.complex128]) -> Floats:
    return np.asarray(np.diagonal(covariance, axis1=1, axis2=2).real)
