# SPDX-License-Identifier: Apache-2.0
"""Confidence, times of speech, and audio in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.geometry import AzimuthGrid
from msdet.inference.activity import FramePowers, activities_of, frame_powers, segments_of
from msdet.inference.conditioning import BlockResampler, resampled
from msdet.inference.speakers import mass_near
from msdet.inference.tracks import Track, windows

RATE = 8000


@pytest.mark.parametrize("resolution", [2.0, 5.0, 15.0])
@given(turn=st.floats(0, 359.99), centre=st.floats(0, 359.99))
@settings(deadline=None, max_examples=30)
def test_confidence_turns_with_the_circle(resolution: float, turn: float, centre: float) -> None:
    grid = AzimuthGrid(resolution)
    even = np.full(grid.num_classes, 1 / grid.num_classes)
    assert mass_near(even, centre, grid) == pytest.approx(20 / 360)
    classes = int(turn / resolution)
    peaked = np.roll(np.eye(grid.num_classes)[0], classes)
    assert mass_near(peaked, classes * resolution, grid) == pytest.approx(1.0)


def test_confidence_on_a_line_does_not_wrap() -> None:
    grid = AzimuthGrid(5.0, linear=True)
    posterior = np.zeros(37)
    posterior[[0, 36]] = 0.5
    assert mass_near(posterior, 0.0, grid) == pytest.approx(0.5)
    assert mass_near(posterior, 180.0, grid) == pytest.approx(0.5)


def test_activity_is_where_somebody_speaks() -> None:
    rng = np.random.default_rng(0)
    loudness = np.zeros(4 * RATE)
    loudness[RATE : 2 * RATE] = loudness[3 * RATE :] = 1.0
    voice = (loudness * rng.standard_normal(4 * RATE)).astype(np.float32)
    mixture = voice + 0.03 * rng.standard_normal(4 * RATE).astype(np.float32)
    heard = [frame_powers(a, RATE) for a in (0.3 * voice + 0.01 * mixture, mixture)]
    (first, second) = segments_of(activities_of(heard[0][None], heard[1], 0.032)[0], 0.032)
    assert first == pytest.approx((1.0, 2.0), abs=0.05)
    assert second == pytest.approx((3.0, 4.0), abs=0.05)


def test_what_another_speaker_leaves_is_no_activity() -> None:
    rng = np.random.default_rng(0)
    powers = frame_powers(rng.standard_normal(RATE).astype(np.float32), RATE)
    both = np.stack([powers, 0.05 * powers])
    assert activities_of(both, powers, 0.032)[0].all()
    assert not activities_of(both, powers, 0.032)[1].any()
    assert activities_of(both[1:], powers, 0.032).all()  # a direct path that is alone
    assert not activities_of(0.001 * powers[None], powers, 0.032).any()
    assert not activities_of(np.zeros((1, 32)), powers[:32], 0.032).any()


@pytest.mark.parametrize(("seconds", "gain"), [(0.001, 1000.0), (0.25, 30.0)])
@pytest.mark.parametrize("at", [0.0, 1.7])
def test_a_click_a_pop_and_a_door_take_no_speech_away(
    seconds: float, gain: float, at: float
) -> None:
    rng = np.random.default_rng(0)
    voice = rng.standard_normal(8 * RATE).astype(np.float32)
    voice[: 2 * RATE] = voice[5 * RATE :] = 1e-3
    disturbed = voice.copy()
    part = slice(int(at * RATE), int((at + seconds) * RATE))
    disturbed[part] += gain * np.exp(-np.linspace(0, 5, part.stop - part.start))
    plain, heard = (
        activities_of(frame_powers(a[None], RATE), frame_powers(a, RATE), 0.032)[0]
        for a in (voice, disturbed)
    )
    assert (heard & plain).sum() > 0.95 * plain.sum()
    assert heard.sum() < plain.sum() + 0.6 / 0.032


def pieces(audio: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    found, start = [], 0
    for size in [*sizes, audio.shape[-1]]:
        found.append(audio[..., start : start + size])
        start += size
    return found


SIZES = st.lists(st.integers(0, 900), max_size=8)


@given(sizes=SIZES)
@settings(deadline=None, max_examples=30)
def test_powers_do_not_depend_on_the_pieces(sizes: list[int]) -> None:
    audio = np.random.default_rng(0).standard_normal(3001).astype(np.float32)
    collected = FramePowers(RATE)
    for piece in pieces(audio, sizes):
        collected.add(piece)
    np.testing.assert_allclose(collected.powers(), frame_powers(audio, RATE))


@pytest.mark.parametrize(("rate", "to"), [(44100, 8000), (16000, 8000), (8000, 11025)])
def test_resampling_does_not_depend_on_the_pieces(rate: int, to: int) -> None:
    audio = np.random.default_rng(0).standard_normal((2, 9001)).astype(np.float32)
    stream = BlockResampler(rate, to, 2)
    *first, final = pieces(audio, [100, 1, 4000, 777])
    made = [stream.feed(piece) for piece in first] + [stream.feed(final, last=True)]
    np.testing.assert_allclose(np.concatenate(made, 1), resampled(audio, rate, to), atol=1e-5)


def test_resampling_keeps_time() -> None:
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)[None].astype(np.float32)
    back = resampled(resampled(tone, RATE, 11025), 11025, RATE)
    np.testing.assert_allclose(back[0, 500:-500], tone[0, 500:-500], atol=1e-3)


@given(
    length=st.integers(1, 400),
    size=st.sampled_from([20, 64, 101]),
    share=st.sampled_from([2, 3, 4, 10]),
    sizes=SIZES,
)
@settings(deadline=None, max_examples=60)
def test_windows_crossfade_to_what_they_were(
    length: int, size: int, share: int, sizes: list[int]
) -> None:
    audio = np.random.default_rng(0).standard_normal((1, length)).astype(np.float32)
    overlap = size // share
    track, made = Track(overlap, RATE), []
    for window in windows(pieces(audio, sizes), size, overlap):
        held = window.audio.shape[1]
        if window.last:
            assert size // 2 <= held or window.start == 0
            assert held <= 1.5 * size
            assert window.start + held == length
        else:
            assert held == size
        np.testing.assert_array_equal(window.audio, audio[:, window.start :][:, :held])
        made.append(track.crossfaded(window.audio[0], window))
    np.testing.assert_allclose(np.concatenate(made), audio[0], atol=1e-5)
