# SPDX-License-Identifier: Apache-2.0
"""Offsets and rumble go, speech stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.high_pass import HighPass, high_passed


def tone(hertz: float, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)[None].astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_rumble_goes_and_voices_stay_in_place(rate: int) -> None:
    within = slice(rate // 2, -rate // 2)
    for hertz in (5, 20, 30):
        assert np.abs(high_passed(tone(hertz, rate), rate)[0, within]).max() < 2e-3
    for hertz in (75, 120, 1000, rate // 2 - 500):
        heard = tone(hertz, rate)
        kept = high_passed(heard, rate)
        np.testing.assert_allclose(kept[0, within], heard[0, within], atol=5e-3)


def test_an_offset_makes_no_step_at_the_ends() -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    moved = high_passed(noise + 0.5, 16000)
    assert np.abs(moved - high_passed(noise, 16000)).max() < 2e-4
    assert np.abs(moved).max() < 0.1


@given(sizes=st.lists(st.integers(0, 2500), max_size=6))
@settings(deadline=None, max_examples=30)
def test_filtering_does_not_depend_on_the_pieces(sizes: list[int]) -> None:
    audio = 1 + np.random.default_rng(0).standard_normal((2, 4001)).astype(np.float32)
    stream, made, start = HighPass(8000), [], 0
    for size in sizes:
        made.append(stream.feed(audio[:, start : start + size]))
        start += size
    made.append(stream.feed(audio[:, start:], last=True))
    np.testing.assert_allclose(np.concatenate(made, 1), high_passed(audio, 8000), atol=1e-5)
