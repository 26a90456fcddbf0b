# SPDX-License-Identifier: Apache-2.0
"""Channels that an array cannot have made are found out, and those that it made are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.geometry import MicrophoneArray
from msdet.inference.array_check import ArrayCheck, Misfit
from msdet.inference.channel_delays import KEPT

RATE = 8000

Arrays = dict[str, MicrophoneArray]
Audio = NDArray[np.float32]
Listen = Callable[..., Audio]


@pytest.fixture(scope="module")
def listen(arrays: Arrays, voices: NDArray[np.float64], free_field: Listen) -> Listen:
    """Two voices at 40 and 160 degrees one after the other, then both, with some noise."""

    def heard(name: str, noise: float = 0.03) -> Audio:
        one, other = free_field(arrays[name], voices[:2], [40.0, 160.0])
        audio = np.concatenate([one, other, one + other], axis=1)
        audio += noise * np.random.default_rng(5).standard_normal(audio.shape)
        return np.asarray(audio, np.float32)

    return heard


def misfits(array: MicrophoneArray, audio: Audio, rate: int = RATE) -> list[Misfit]:
    check = ArrayCheck(array, rate)
    check.add(audio)
    return check.misfits()


NAMES = ["circle4", "circle6", "line2", "line4", "l5", "tetrahedron", "respeaker4"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_what_fits(arrays: Arrays, listen: Listen, name: str) -> None:
    audio = listen(name)
    size, rng = audio.shape, np.random.default_rng(1)
    rumble = np.cumsum(rng.standard_normal(size), axis=1) * 0.01 + 0.5
    gains = 10 ** (rng.uniform(-1, 1, (size[0], 1)) / 20)
    for heard in (audio, audio * gains, audio + rumble, audio * 1e-3):
        assert misfits(arrays[name], np.asarray(heard, np.float32)) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_noise_silence_or_a_moment(
    arrays: Arrays, listen: Listen, name: str
) -> None:
    audio = listen(name)
    noise = np.random.default_rng(2).standard_normal(audio.shape).astype(np.float32)
    for heard in (noise, 0 * audio, audio[:, :700]):
        assert misfits(arrays[name], heard) == []
    assert ArrayCheck(arrays[name], RATE).misfits() == []


@pytest.mark.parametrize(
    ("recorded", "claimed"),
    [("circle4", "line4"), ("line4", "circle4"), ("l5", "circle5"), ("circle4", "respeaker4")],
)
def test_other_arrays_are_contradicted(
    arrays: Arrays, listen: Listen, recorded: str, claimed: str
) -> None:
    (misfit,) = misfits(arrays[claimed], listen(recorded))
    assert misfit.contradicts
    assert misfit.kind == "delays"


def test_larger_and_smaller(arrays: Arrays, listen: Listen) -> None:
    """Delays that are too short may be a sound from above: that is no contradiction."""
    (misfit,) = misfits(arrays["respeaker4"], listen("circle4"))
    assert "1.6 times as large" in misfit.sentence
    large = MicrophoneArray(
        "large", tuple((2 * x, 2 * y, z) for x, y, z in arrays["circle4"].positions)
    )
    (misfit,) = misfits(large, listen("circle4"))
    assert (misfit.kind, misfit.contradicts) == ("elevation", False)
    assert "(0.5 times)" in misfit.sentence


@pytest.mark.parametrize("name", ["circle6", "line4", "l5"])
def test_swapped_channels_are_named(arrays: Arrays, listen: Listen, name: str) -> None:
    audio = listen(name)
    audio[[0, 1]] = audio[[1, 0]]
    (misfit,) = misfits(arrays[name], audio)
    assert misfit.contradicts
    assert misfit.mics == (0, 1)
    assert misfit.sentence.startswith("channel 0 and channel 1: they look swapped")


def test_mirrored_channels_cannot_be_told(arrays: Arrays, listen: Listen) -> None:
    assert misfits(arrays["circle4"], listen("circle4")[[2, 1, 0, 3]]) == []
    assert misfits(arrays["circle4"], listen("circle4")[[1, 2, 3, 0]]) == []


def spoilt(audio: Audio, kind: str) -> Audio:
    """With the channel of microphone 2 changed."""
    rng = np.random.default_rng(3)
    loudness = np.repeat(rng.random(audio.shape[1] // 800 + 1) > 0.5, 800)[: audio.shape[1]]
    channel = {
        "silent": 0 * audio[2],
        "copy": 0.5 * audio[0],
        "inverted copy": -audio[0],
        "inverted": -audio[2],
        "quiet": 0.1 * audio[2],
        "late": np.roll(audio[2], 12),
        "much later": np.roll(audio[2], 3000),
        "loopback": loudness * rng.standard_normal(audio.shape[1]),
    }[kind]
    changed = audio.copy()
    changed[2] = channel
    return changed


@pytest.mark.parametrize("name", ["circle4", "circle6", "line4"])
@pytest.mark.parametrize(
    ("kind", "found", "contradicts"),
    [
        ("silent", "silent", False),
        ("copy", "copy", True),
        ("inverted copy", "copy", True),
        ("inverted", "polarity", True),
        ("quiet", "level", False),
        ("late", "delays", True),
        ("much later", "foreign", True),
        ("loopback", "foreign", True),
    ],
)
def test_a_channel_at_fault_is_named(
    arrays: Arrays, listen: Listen, name: str, kind: str, found: str, contradicts: bool
) -> None:
    (misfit,) = misfits(arrays[name], spoilt(listen(name), kind))
    assert (misfit.kind, misfit.contradicts) == (found, contradicts)
    assert misfit.mics == ((0, 2) if found == "copy" else (2,))


@pytest.mark.parametrize(("samples", "side"), [(12, "later"), (-12, "earlier")])
def test_how_late_a_channel_is(arrays: Arrays, listen: Listen, samples: int, side: str) -> None:
    audio = listen("circle6")
    audio[3] = np.roll(audio[3], samples)
    (misfit,) = misfits(arrays["circle6"], audio)
    assert misfit.sentence.startswith("channel 3: 1.")
    assert f"ms {side} than the others" in misfit.sentence


@pytest.mark.parametrize(
    ("kind", "found"),
    [("late", "delays"), ("inverted", "polarity"), ("loopback", "foreign"), ("copy", "copy")],
)
def test_two_microphones(arrays: Arrays, listen: Listen, kind: str, found: str) -> None:
    both = np.concatenate([listen("line2")[:1], listen("line2")[1:], listen("line2")[1:]])
    heard = spoilt(both, kind)[[0, 2]]
    (misfit,) = misfits(arrays["line2"], heard)
    assert misfit.kind == found
    assert misfit.contradicts


def test_channels_are_called_what_the_user_calls_them(arrays: Arrays, listen: Listen) -> None:
    check = ArrayCheck(arrays["circle4"], RATE, names=["a.wav", "b.wav", "c.wav", "d.wav"])
    check.add(spoilt(listen("circle4"), "copy"))
    (misfit,) = check.misfits()
    assert misfit.sentence.startswith("a.wav and c.wav: one signal")
    assert misfit.mics == (0, 2)


def test_blocks_add_up(arrays: Arrays, listen: Listen) -> None:
    """Also those of which none would do alone, and what is said does not end the recording."""
    audio = np.tile(listen("circle4"), 5)[[1, 0, 2, 3]]
    check, told = ArrayCheck(arrays["circle4"], RATE), []
    for start in range(0, audio.shape[1], RATE // 4):
        check.add(audio[:, start : start + RATE // 4])
        told.append([misfit.kind for misfit in check.misfits()])
    assert (told[0], told[-1]) == ([], ["delays"])


def test_what_is_kept_does_not_grow(arrays: Arrays, listen: Listen) -> None:
    check = ArrayCheck(arrays["circle4"], RATE)
    for _ in range(20):
        check.add(np.tile(listen("circle4"), 5))
    assert check._evidence.path.shape == (KEPT, 6)
    assert check.misfits() == []


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_rate(arrays: Arrays, rate: int) -> None:
    """Delays are in seconds, whatever the rate."""
    array = arrays["circle6"]
    rng = np.random.default_rng(6)
    size = 2 * rate
    spectrum = np.fft.rfft(rng.standard_normal(size) * np.repeat(rng.random(20), size // 20))
    frequency = np.fft.rfftfreq(size, 1 / rate)
    spectrum[frequency > 3500] = 0
    toward = np.array([np.cos(0.1), np.sin(0.1), 0.0])
    delays = -array.as_array() @ toward / 343.0
    audio = np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequency * delays[:, None]), size)
    audio = np.asarray(audio + 0.01 * audio.std() * rng.standard_normal(audio.shape), np.float32)
    assert misfits(array, audio, rate) == []
    (misfit,) = misfits(array, audio[[1, 0, 2, 3, 4, 5]], rate)
    assert misfit.contradicts
