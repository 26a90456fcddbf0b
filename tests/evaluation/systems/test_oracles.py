# SPDX-License-Identifier: Apache-2.0
"""Ideal masks: far above the unprocessed mixture, and above any other mask between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.systems.estimate import Heard
from msdet.evaluation.systems.oracles import oracle_image, oracle_mask
from msdet.evaluation.systems.spectra import Spectra

Score = Callable[[NDArray[Any], NDArray[Any]], float]


def audio_of(heard: Heard) -> NDArray[np.float32]:
    audio = oracle_mask(heard).audio
    assert audio is not None
    assert audio.dtype == np.float32
    assert audio.shape == heard.example.targets.shape
    assert np.isfinite(audio).all()
    return audio


def test_it_lies_far_above_the_mixture(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        for estimate, target in zip(audio_of(heard), heard.example.targets, strict=True):
            assert si_sdr(estimate, target) > si_sdr(heard.reference, target) + 5.0


def test_it_lies_above_the_ideal_ratio_mask(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        spectra = Spectra(heard.sample_rate)
        mixture, targets = spectra.of(heard.reference), spectra.of(heard.example.targets)
        ratio = targets.abs() / (targets.abs() + (mixture - targets).abs() + 1e-12)
        by_ratio = spectra.audio(ratio * mixture, len(heard.reference))
        for ours, other, target in zip(
            audio_of(heard), by_ratio, heard.example.targets, strict=True
        ):
            assert si_sdr(ours, target) > si_sdr(other, target)


def test_a_silent_target_is_silent_and_the_scene_is_repeatable(rooms: list[Heard]) -> None:
    heard = rooms[0]
    targets = heard.example.targets.copy()
    targets[1] = 0
    silenced = replace(heard, example=replace(heard.example, targets=targets))
    audio = audio_of(silenced)
    assert np.abs(audio[1]).max() == 0
    np.testing.assert_array_equal(audio[0], audio_of(heard)[0])


def test_spectra_come_back_as_the_audio_at_any_rate() -> None:
    rng = np.random.default_rng(0)
    for rate in (8000, 11025, 16000, 44100, 48000):
        audio = rng.standard_normal((2, rate // 2 + 1)).astype(np.float32)
        spectra = Spectra(rate)
        assert abs(spectra.window / rate - 0.064) < 1e-3
        assert spectra.frequencies[-1] == rate / 2
        back = spectra.audio(spectra.of(audio), audio.shape[-1])
        np.testing.assert_allclose(back, audio, atol=1e-6)


def test_images_are_separated_and_keep_their_room(rooms: list[Heard], si_sdr: Score) -> None:
    for heard in rooms:
        audio = oracle_image(heard).audio
        assert audio is not None
        rest = heard.reference - audio.sum(axis=0)
        np.testing.assert_allclose(rest, heard.parts.noise[heard.reference_mic], atol=1e-5)
        for image, early, target in zip(
            audio, heard.parts.early, heard.example.targets, strict=True
        ):
            assert si_sdr(image, early) > si_sdr(image, target)
