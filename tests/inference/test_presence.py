# SPDX-License-Identifier: Apache-2.0
"""How many people come out: nobody is invented, nobody is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import msdet
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.inference.presence import MEASURES, PRESENT, measure, one_speaker_each, probability_of
from msdet.inference.separator import Separator
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.named_arrays import named_array
from msdet.simulation import Example, SceneConfig, compute_rirs, draw_scene, render, render_parts

RATE = 16000
ARRAY = named_array("circle4")
Draw = Callable[..., Example]


@pytest.fixture(scope="module")
def separator() -> Separator:
    return msdet.load("planar-pairs")


@pytest.fixture(scope="module")
def draw() -> Draw:
    """A scene of the valid voices with so many speakers, rendered."""
    corpus: Corpus = open_corpus(BundledConfig(), RATE).split("valid")

    def drawn(speakers: int, index: int, noise_alone: bool = False) -> Example:
        config = SceneConfig(num_speakers=(speakers, speakers), t60=(0.2, 0.4), rirs="hybrid")
        scene = draw_scene(
            config,
            ARRAY,
            corpus,
            seed=3,
            split="valid",
            index=index,
            epoch=0,
            sample_rate=RATE,
            num_samples=3 * RATE,
        )
        rirs = compute_rirs(scene.room, ARRAY, RATE)
        example = render(scene, corpus, rirs)
        if noise_alone:
            example.mixture[:] = render_parts(scene, corpus, rirs).noise
        return example

    return drawn


@pytest.mark.parametrize("index", [0, 1])
def test_as_many_come_out_as_speak(separator: Separator, draw: Draw, index: int) -> None:
    for speakers in (1, 2):
        example = draw(speakers, index)
        result = separator.separate(0.05 * example.mixture, RATE, ARRAY)
        errors = angular_error(result.azimuth[:, None], example.azimuth[None])
        assert errors.shape == (speakers, speakers)
        assert errors.min(axis=1).max() < 10
    silence = separator.separate(0.05 * draw(1, index, noise_alone=True).mixture, RATE, ARRAY)
    assert silence.audio.shape == (0, 3 * RATE)


def test_one_speaker_alone_is_better_than_the_microphone(separator: Separator, draw: Draw) -> None:
    for index in (2, 3, 4):
        example = draw(1, index)
        (voice,) = separator.separate(0.05 * example.mixture, RATE, ARRAY).audio
        target = example.targets[0]
        assert si_sdr(voice, target) > si_sdr(example.mixture[0], target) + 1.0


def test_who_is_asked_for_is_put_out_and_nobody_else(separator: Separator, draw: Draw) -> None:
    example = draw(2, 1)
    mixture, (one, other) = 0.05 * example.mixture, example.azimuth.tolist()
    both = separator.separate(mixture, RATE, ARRAY, azimuth=[other, one])
    for asked in (one, other):
        (voice,) = separator.separate(mixture, RATE, ARRAY, azimuth=asked).audio
        found = both.audio[[other, one].index(asked)]
        assert np.corrcoef(found, voice)[0, 1] > 0.9
    far = max(np.arange(0.0, 360.0, 5.0), key=lambda a: angular_error(a, [one, other]).min())
    nobody = separator.separate(mixture, RATE, ARRAY, azimuth=[one, far])
    assert nobody.num_speakers == 1
    assert f"asked for {far:g} degrees" in nobody.warnings[-1]


def test_two_that_are_known_to_be_there_come_out(separator: Separator, draw: Draw) -> None:
    alone = 0.05 * draw(1, 0).mixture
    two = separator.separate(alone, np.int64(RATE), ARRAY, num_speakers=np.int64(2))
    assert two.num_speakers == 2
    assert any("more likely nobody" in text for text in two.warnings)
    assert separator.separate(alone, RATE, ARRAY, num_speakers=1).num_speakers == 1
    three = separator.separate(alone, RATE, ARRAY, num_speakers=3)
    assert three.num_speakers == 2
    assert "num_speakers=3: 2 were found" in three.warnings[-1]


def test_offsets_and_rumble_move_nothing(separator: Separator, draw: Draw) -> None:
    mixture = 0.05 * draw(2, 0).mixture
    slow = 0.1 * np.sin(2 * np.pi * 12 * np.arange(mixture.shape[1]) / RATE) + 0.3
    plain = separator.separate(mixture, RATE, ARRAY)
    moved = separator.separate(mixture + slow.astype(np.float32), RATE, ARRAY)
    np.testing.assert_allclose(moved.azimuth, plain.azimuth, atol=1.0)
    assert np.abs(moved.activity.sum(1) - plain.activity.sum(1)).max() < 0.1 * len(plain.activity.T)


def test_measures_follow_their_candidates_and_no_level(separator: Separator, draw: Draw) -> None:
    model, example = separator._checkpoint.model, draw(2, 1)
    with torch.inference_mode():
        mixture = model.stft(torch.from_numpy(example.mixture))
        voices = model.stft(torch.from_numpy(example.targets))
        azimuth = example.azimuth.astype(np.float64)
        found = measure(model, mixture, voices, azimuth, ARRAY)
        turned = measure(model, 7 * mixture, 7 * voices.flip(0), azimuth[::-1].copy(), ARRAY)
    assert found.shape == (2, len(MEASURES))
    np.testing.assert_allclose(turned[::-1], found, atol=1e-3)
    assert (probability_of(found) >= PRESENT).all()


@pytest.mark.parametrize(("gap", "count"), [(3.0, 1), (30.0, 2)])
def test_outputs_from_one_direction_are_one(gap: float, count: int) -> None:
    azimuth = np.array([358.0, (358.0 + gap) % 360, np.nan])
    slots = one_speaker_each([1, 0], {}, azimuth, nearest=8.0, linear=False)
    assert len(slots) == count


def test_saving_writes_what_the_command_writes(
    separator: Separator, draw: Draw, tmp_path: Path
) -> None:
    result = separator.separate(0.05 * draw(2, 0).mixture, RATE, ARRAY)
    result.save(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "speakers.json").read_text())
    assert [speaker["file"] for speaker in content["speakers"]] == ["speaker1.wav", "speaker2.wav"]
    assert (tmp_path / "saved" / "speakers.png").exists()
    voice, rate = soundfile.read(tmp_path / "saved" / "speaker2.wav")
    assert rate == RATE
    np.testing.assert_allclose(voice, result.audio[1], atol=1e-5)
    result.save(tmp_path / "saved", exact=True)  # the same recording again
    other = separator.separate(0.05 * draw(1, 0).mixture, RATE, ARRAY)
    with pytest.raises(InputError, match="another recording"):
        other.save(tmp_path / "saved")
