# SPDX-License-Identifier: Apache-2.0
"""Measurements of a recording of one speaker: where speech is, how loud it is, how
high its spectrum reaches, how high its voice is. Mono numpy signals in, numbers out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

FRAME_SECONDS = 0.01
ACTIVE_RANGE_DB = 30.0
"""A frame is speech when it lies less than this below the loud frames (their 95th percentile):
weak fricatives lie some 25 dB below vowels, room noise and breath of the sources 30 to 50 dB."""

_FLOOR = 1e-10
_PITCH_RANGE_HZ = (65.0, 400.0)
_BANDWIDTH_STEP_HZ = 250
_BANDWIDTH_RANGE_DB = 45.0
"""Loud frames of a band carry speech down to this below the loudest band. Sibilants of a
full-band recording lie 15 to 40 dB below it; the stop band of a telephone codec, 60 or more."""


def frame_levels(signal: Signal, sample_rate: int) -> NDArray[np.float64]:
    """Level of each whole 10 ms frame, dB relative to full scale, ``[frame]``."""
    length = round(FRAME_SECONDS * sample_rate)
    count = len(signal) // length
    frames = signal[: count * length].astype(np.float64).reshape(count, length)
    levels: NDArray[np.float64] = 10.0 * np.log10(np.mean(frames**2, axis=1) + _FLOOR)
    return levels


def active_frames(signal: Signal, sample_rate: int) -> NDArray[np.bool_]:
    """Return which 10 ms frames carry speech, ``[frame]``; gaps of one or two frames are filled."""
    levels = frame_levels(signal, sample_rate)
    if levels.size == 0:
        return np.zeros(0, dtype=bool)
    active = levels > max(float(np.percentile(levels, 95)) - ACTIVE_RANGE_DB, -80.0)
    padded = np.pad(active, 2)
    neighbours = (padded[:-4] | padded[1:-3]) & (padded[3:-1] | padded[4:])
    return active | neighbours


def active_level(signal: Signal, sample_rate: int) -> float:
    """RMS over the frames that carry speech, dB relative to full scale; -inf for silence."""
    active = active_frames(signal, sample_rate)
    if not active.any():
        return -math.inf
    levels = frame_levels(signal, sample_rate)[active]
    return float(10.0 * np.log10(np.mean(10.0 ** (levels / 10.0))))


def silence_share(signal: Signal, sample_rate: int) -> float:
    """Share of 10 ms frames without speech, 0 to 1."""
    active = active_frames(signal, sample_rate)
    return 1.0 - float(active.mean()) if active.size else 1.0


def clipped_share(signal: Signal) -> float:
    """Share of samples within 2 % of the peak, or of full scale where the peak is beyond it.

    Natural speech stays below 5e-4. Lossy codecs turn the flat tops of clipped speech into ripple
    around full scale, so equal neighbouring samples are not what to look for.
    """
    magnitude = np.abs(signal)
    peak = min(float(np.max(magnitude, initial=0.0)), 1.0)
    return float(np.mean(magnitude >= 0.98 * peak)) if peak > 0.0 else 0.0


def bandwidth(signal: Signal, sample_rate: int) -> int:
    """Highest frequency that carries speech, Hz, in steps of 250.

    Taken from the loud frames (98th percentile) of each band, not from the mean, so that the
    highs count even where they sound only in sibilants.
    """
    length = round(0.032 * sample_rate)
    count = len(signal) // length
    frames = signal[: count * length].astype(np.float64).reshape(count, length)
    power = np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)) ** 2
    frequency = np.fft.rfftfreq(length, 1.0 / sample_rate)
    edges = np.arange(_BANDWIDTH_STEP_HZ, sample_rate // 2 + 1, _BANDWIDTH_STEP_HZ)
    loud = np.array(
        [
            np.percentile(power[:, (frequency >= e - _BANDWIDTH_STEP_HZ) & (frequency < e)], 98)
            for e in edges
        ]
    )
    levels = 10.0 * np.log10(loud + _FLOOR)
    reached = np.flatnonzero(levels > levels.max() - _BANDWIDTH_RANGE_DB)
    return int(edges[reached[-1]])


def pitch(signal: Signal, sample_rate: int) -> float | None:
    """Median fundamental frequency of the voiced frames, Hz; ``None`` without voiced frames.

    Normalised autocorrelation (Boersma 1993) over 80 ms, the shortest of the lags within 10 % of
    the best one, so that octaves below are not taken.
    """
    length, hop = round(0.08 * sample_rate), round(0.02 * sample_rate)
    if len(signal) < length:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop].astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    energy = np.sqrt(np.mean(frames**2, axis=1))
    frames = frames[energy > 0.3 * np.percentile(energy, 95)]
    window = np.hanning(length)
    correlation = _autocorrelation(frames * window) / _autocorrelation(window[None])
    shortest, longest = (round(sample_rate / f) for f in reversed(_PITCH_RANGE_HZ))
    lags = correlation[:, shortest:longest]
    best = lags.max(axis=1)
    values = []
    for row, peak in zip(lags[best > 0.6], best[best > 0.6], strict=True):
        lag = int(np.argmax(row > 0.9 * peak))
        while lag + 1 < len(row) and row[lag + 1] > row[lag]:
            lag += 1
        values.append(sample_rate / (shortest + lag))
    return float(np.median(values)) if values else None


def _autocorrelation(frames: NDArray[Any]) -> NDArray[np.float64]:
    """Autocorrelation of each row over half the row, 1 at lag 0."""
    length = frames.shape[-1]
    power = np.abs(np.fft.rfft(frames, 2 * length)) ** 2
    correlation = np.fft.irfft(power)[..., : length // 2 + 1]
    return correlation / (correlation[..., :1] + _FLOOR)
