# SPDX-License-Identifier: Apache-2.0
"""How raw clips become one continuous recording: cleaned, tightened, levelled, joined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import signal as dsp

from voices import measure
from voices.measure import Signal

SAMPLE_RATE = 16000
HIGH_PASS_HZ = 60.0  # rumble and mains hum lie below every voice
ACTIVE_LEVEL_DB = -26.0  # usual speech level (ITU-T P.56); leaves room for peaks
MAX_PEAK = 0.9
MAX_PAUSE = 0.16  # seconds; crops of 2 to 4 s should be mostly speech; stops last up to 0.12
MARGIN = 0.04  # seconds kept before and after speech, and on each side of a shortened pause
GAP = 0.06  # seconds of silence between the pieces that are joined
FADE = 0.01  # seconds, so that joins do not click


def clean(samples: Signal, rate: int) -> Signal:
    """Resample to 16 kHz, take out DC and rumble without shifting phases."""
    if rate != SAMPLE_RATE and len(samples):
        common = math.gcd(rate, SAMPLE_RATE)
        samples = dsp.resample_poly(samples, SAMPLE_RATE // common, rate // common)
    if len(samples) < SAMPLE_RATE // 10:
        return samples[:0]
    sections = dsp.butter(4, HIGH_PASS_HZ, "highpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(dsp.sosfiltfilt(sections, samples), np.float32)


def join(pieces: Sequence[Signal], gap: float) -> Signal:
    """Put pieces behind each other with faded ends and ``gap`` seconds of silence between."""
    ramp = np.linspace(0.0, 1.0, round(FADE * SAMPLE_RATE), dtype=np.float32)
    silence = np.zeros(round(gap * SAMPLE_RATE), np.float32)
    out: list[Signal] = []
    for piece in pieces:
        faded = piece.copy()
        faded[: len(ramp)] *= ramp
        faded[-len(ramp) :] *= ramp[::-1]
        out += [faded, silence]
    return np.concatenate(out[:-1]) if out else np.zeros(0, np.float32)


def tighten(samples: Signal) -> Signal:
    """Cut silence off the ends and shorten pauses that are longer than ``MAX_PAUSE``."""
    active = np.flatnonzero(measure.active_frames(samples, SAMPLE_RATE))
    if not active.size:
        return samples[:0]
    frame = round(measure.FRAME_SECONDS * SAMPLE_RATE)
    long_pause = np.flatnonzero(np.diff(active) > MAX_PAUSE / measure.FRAME_SECONDS)
    starts = active[np.r_[0, long_pause + 1]]
    ends = active[np.r_[long_pause, len(active) - 1]] + 1
    margin = round(MARGIN * SAMPLE_RATE)
    pieces = [
        samples[max(0, s * frame - margin) : e * frame + margin]
        for s, e in zip(starts, ends, strict=True)
    ]
    return join(pieces, gap=GAP)


def level(samples: Signal) -> Signal:
    """Bring speech to ``ACTIVE_LEVEL_DB``; less where a peak would come too near to clipping."""
    gain = 10.0 ** ((ACTIVE_LEVEL_DB - measure.active_level(samples, SAMPLE_RATE)) / 20.0)
    peak = float(np.max(np.abs(samples)))
    return samples * np.float32(min(gain, MAX_PEAK / peak))
