# SPDX-License-Identifier: Apache-2.0
"""Delays between the channels of a recording, from its loud stretches, in bounded time and memory.

Generalised cross-correlation (Knapp and Carter, 1976), each frequency weighted by its coherence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import butter, sosfilt

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray

Floats = NDArray[np.float64]

CHUNK_SECONDS = 10.0
STRETCHES = 24
"""The loudest of a chunk that are looked at, which bounds the time."""
LOUD_DB = -30.0
"""Stretches this far below the chunk's loudest are left out."""
KEPT = 64
"""Stretches whose evidence is kept, the most coherent ones, which bounds memory."""
WINDOW_SECONDS, FRAMES = 0.032, 8
"""A stretch is .144 s. With windows twice as long, delays of pairs agree less often in rooms."""
BAND_HZ = (150.0, 8000.0)
"""Rumble is below. Above, speech has little, and places of microphones are not known so well."""
LAG_RATE = 96000
"""Cross-correlations are sampled this finely, in hertz; a parabola gives what is between."""
NEAR = 2.5
"""Peaks are sought within what this many times the distance allows: other arrays than stated are
seldom larger."""
FAR_HEIGHT = 1.05
"""A peak farther off counts where it is so many times as high: an echo in matching scenes, but the
direct sound of devices that are not synchronised."""
NEAR_SECONDS = 1.5e-4
"""Added to it: the main lobe of speech sampled at 8 kHz, for microphones close to each other."""
SHARED = 1.65
"""Height over that of noise, from which on channels have something in common. Where they have, it
is 1.9 or more in simulated scenes; where not, 1.55 at most."""
AGREE_METRES, AGREE_SHARE = 0.01, 0.75
"""Pairs within a centimetre of the delays of the whole stretch, and how many of them must be: at .9
a third of the matching scenes has no such stretches, at .75 a tenth."""
ABOVE_FLOOR = 30.0
"""Power over that of the chunk's quietest stretch, where sound is no microphone's own noise."""


@dataclass(frozen=True)
class Delays:
    """Evidence from stretches: ``[stretch, pair]``.

    Attributes:
        path: by how much later the pair's first microphone hears than its second, in metres of
            travel.
        height: of the correlation there, 1 where all frequencies agree.
        trough: depth of the deepest trough within reach, in the same measure.
        low: coherence where the wavelength is more than 6 times the distance; NaN where no such
            frequency is loud enough.
    """

    path: Floats
    height: Floats
    trough: Floats
    low: Floats


class ChannelDelays:
    """Gathers them, and the channels' powers and correlations.

    Attributes:
        pairs: ``[pair, 2]``, the microphones of each.
        gram: ``[mic, mic]``, correlations of the samples' differences, without rumble.
        noise_height: of the correlation of channels that have nothing in common.
    """

    def __init__(self, array: MicrophoneArray, sample_rate: int) -> None:
        points = array.as_array()
        self.pairs = np.array(list(combinations(range(len(points)), 2)))
        first, second = self.pairs.T
        self._seconds = np.linalg.norm(points[first] - points[second], axis=1) / SPEED_OF_SOUND
        self.gram = np.zeros((len(points), len(points)))
        self._rate = sample_rate
        self._window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        self._stretch = self._window * (FRAMES + 1) // 2
        frequency = fft.rfftfreq(self._window, 1 / sample_rate)
        self._bins = np.flatnonzero(
            (frequency >= BAND_HZ[0]) & (frequency <= min(BAND_HZ[1], 0.45 * sample_rate))
        )
        self.noise_height = 1.4 / math.sqrt(len(self._bins))
        self._low = 2 * np.pi * frequency[self._bins, None] * self._seconds < 1
        self._size = fft.next_fast_len(round(self._window / sample_rate * LAG_RATE), real=True)
        steps = np.arange(self._size)
        self._lag_rate = self._size * sample_rate / self._window
        lags = np.abs(np.where(steps > self._size // 2, steps - self._size, steps)) / self._lag_rate
        self._near = lags <= NEAR * self._seconds[:, None] + NEAR_SECONDS
        self._far = lags <= 0.35 * WINDOW_SECONDS  # beyond, windows share too little
        self._high_pass = butter(4, 100, "highpass", fs=sample_rate, output="sos")
        self._state = np.zeros((len(self._high_pass), len(points), 2))
        self._pending: list[NDArray[np.float32]] = []
        self._waiting = 0
        empty = np.zeros((0, len(self.pairs)))
        self._kept = Delays(empty, empty, empty, empty)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next ``[mic, sample]``, of any length."""
        chunk = round(CHUNK_SECONDS * self._rate)
        self._pending.append(np.array(block))
        self._waiting += block.shape[1]
        if self._waiting >= chunk:
            whole = np.concatenate(self._pending, axis=1)
            rest = self._waiting % chunk
            for start in range(0, self._waiting - rest, chunk):
                self._look_at(whole[:, start : start + chunk])
            self._pending, self._waiting = [whole[:, self._waiting - rest :].copy()], rest

    def delays(self) -> Delays:
        """Return the evidence that is kept of all that came so far."""
        if self._waiting:
            self._look_at(np.concatenate(self._pending, axis=1))
            self._pending, self._waiting = [], 0
        return self._kept

    def travel(self) -> Floats:
        """Delays ``[stretch, mic]`` in metres of travel, mean 0, of the stretches in which most
        pairs agree on them: those of one wave."""
        delays = self.delays()
        count = len(self.gram)
        table = np.eye(count)[self.pairs[:, 0]] - np.eye(count)[self.pairs[:, 1]]
        trust = weight = np.square(delays.height)
        for _ in range(8):  # reweighted least squares: echoes mislead single pairs
            normal = np.einsum("pm,gp,pn->gmn", table, weight, table, optimize=True) + 1.0
            right = (weight * delays.path) @ table
            found = np.linalg.solve(normal, right[..., None])[..., 0]
            left = delays.path - found @ table.T
            weight = trust / (1 + np.square(left / (AGREE_METRES / 2)))
        agree = (np.abs(left) < AGREE_METRES).mean(axis=1) >= AGREE_SHARE
        agree &= delays.height.mean(axis=1) > SHARED * self.noise_height
        return np.asarray(found[agree])

    def _look_at(self, chunk: NDArray[np.float32]) -> None:
        audio, self._state = sosfilt(self._high_pass, chunk.astype(np.float64), zi=self._state)
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
        floor = np.einsum("fmm->fm", self._covariance(stretches[:, power.argmin()])).real
        found = [self._evidence(self._covariance(stretches[:, i]), floor) for i in loudest]
        kept = (self._kept.path, self._kept.height, self._kept.trough, self._kept.low)
        both = [
            np.concatenate([old, np.array(new)])
            for old, new in zip(kept, zip(*found, strict=True), strict=True)
        ]
        best = np.argsort(-both[1].mean(axis=1), kind="stable")[:KEPT]
        self._kept = Delays(*(values[best] for values in both))

    def _covariance(self, stretch: Floats) -> NDArray[np.complex128]:
        """``[freq, mic, mic]``"""
        frames = np.lib.stride_tricks.sliding_window_view(stretch, self._window, axis=1)
        frames = frames[:, :: self._window // 2] * np.hanning(self._window)
        spectra = fft.rfft(frames, axis=-1)[:, :, self._bins].transpose(2, 0, 1)
        return np.asarray(spectra @ spectra.conj().swapaxes(1, 2))

    def _evidence(
        self, covariance: NDArray[np.complex128], floor: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """The fields of `Delays` for one stretch, ``[pair]`` each."""
        first, second = self.pairs.T
        power = np.einsum("fmm->fm", covariance).real
        scale = np.sqrt(power[:, first] * power[:, second])
        coherence = covariance[:, first, second] / np.maximum(scale, 1e-30)
        size = np.abs(coherence)
        total = power.sum(axis=1)
        weight = size * (total > 1e-6 * total.max())[:, None]  # not what a codec left out
        spectrum = np.zeros((len(first), self._size // 2 + 1), np.complex64)
        spectrum[:, self._bins] = (coherence * weight).T
        height = np.maximum(weight.sum(axis=0), 1e-9)[:, None]
        curve = fft.irfft(spectrum, self._size, axis=-1) * (self._size / 2) / height
        each = np.arange(len(first))
        peak = np.where(self._near, curve, -np.inf).argmax(axis=1)
        trough = np.where(self._near, -curve, -np.inf).max(axis=1)
        distant = np.where(self._far, curve, -np.inf).argmax(axis=1)
        higher = curve[each, distant] > FAR_HEIGHT * np.maximum(curve[each, peak], trough)
        peak = np.where(higher, distant, peak)
        before, top, after = (curve[each, (peak + step) % self._size] for step in (-1, 0, 1))
        bend = before - 2 * top + after
        between = np.where(bend < 0, (before - after) / np.minimum(2 * bend, -1e-12), 0.0)
        lag = np.where(peak > self._size // 2, peak - self._size, peak) + between.clip(-0.5, 0.5)
        loud = (power > ABOVE_FLOOR * floor)[:, first] & (power > ABOVE_FLOOR * floor)[:, second]
        loud &= self._low
        low = np.where(loud, size, 0.0).sum(axis=0) / np.maximum(loud.sum(axis=0), 1)
        low[loud.sum(axis=0) < 4] = np.nan
        return lag / self._lag_rate * SPEED_OF_SOUND, top, trough, low
