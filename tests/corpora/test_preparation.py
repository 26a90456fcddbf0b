# SPDX-License-Identifier: Apache-2.0
"""Preparing clips keeps the speech and takes the silence, the rumble and the level away."""

from __future__ import annotations

import numpy as np
import pytest
from voices.measure import Signal, active_level, silence_share
from voices.preparation import GAP, MARGIN, SAMPLE_RATE, clean, join, level, tighten


def speech(seconds: float, seed: int = 0) -> Signal:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))
    return (0.05 * noise).astype(np.float32)


def silence(seconds: float) -> Signal:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def test_ends_are_trimmed_and_long_pauses_shortened() -> None:
    clip = np.concatenate([silence(1), speech(1), silence(2), speech(1), silence(1)])
    tight = tighten(clip)
    assert abs(len(tight) / SAMPLE_RATE - (2 + 4 * MARGIN + GAP)) < 0.05
    assert silence_share(tight, SAMPLE_RATE) < 0.15


def test_short_pauses_stay() -> None:
    clip = np.concatenate([speech(1), silence(0.1), speech(1)])
    assert abs(len(tighten(clip)) - len(clip)) <= 0.02 * SAMPLE_RATE


def test_silence_gives_nothing() -> None:
    assert len(tighten(silence(1))) == 0
    assert len(clean(silence(0.05), SAMPLE_RATE)) == 0
    assert len(join([], gap=GAP)) == 0


@pytest.mark.parametrize("gain", [0.01, 1.0, 10.0])
def test_level_does_not_depend_on_the_recording(gain: float) -> None:
    assert abs(active_level(level(speech(1) * np.float32(gain)), SAMPLE_RATE) + 26.0) < 0.1


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_rumble_goes_and_the_voice_stays_in_phase(rate: int) -> None:
    def tone(frequency: float, at: int) -> Signal:
        return np.sin(2 * np.pi * frequency * np.arange(at) / at).astype(np.float32)

    cleaned = clean(tone(500, rate) + tone(20, rate) + np.float32(0.3), rate)
    middle = slice(4000, 12000)
    assert np.abs(cleaned - tone(500, SAMPLE_RATE))[middle].max() < 0.03
