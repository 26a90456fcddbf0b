# SPDX-License-Identifier: Apache-2.0
"""Mixtures: the sum of their parts, at the levels asked, aligned with their targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray, angular_error
from msdet.simulation import (
    RirBank,
    Scene,
    SceneConfig,
    compute_rirs,
    render,
    render_parts,
    rotated,
)

Draw = Callable[..., Scene]
RATE = 8000
FULL = SceneConfig()
PARTIAL = SceneConfig(num_speakers=(3, 3), overlap=(0.3, 0.3), reference_mic=2)


def power_db(signal: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(signal, dtype=np.float64))))


@pytest.mark.parametrize("config", [FULL, PARTIAL], ids=["full", "partial"])
def test_the_parts_sum_to_the_mixture_at_the_levels_asked(
    config: SceneConfig, draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    for index in range(3):
        scene = draw(config, index=index)
        rirs = compute_rirs(scene.room, circle, RATE)
        example, parts = render(scene, corpus, rirs), render_parts(scene, corpus, rirs)
        total = parts.images.sum(axis=0) + parts.noise
        np.testing.assert_allclose(total, example.mixture, atol=5e-6)
        reference = scene.reference_mic
        assert power_db(example.mixture[reference]) == pytest.approx(0, abs=1e-4)
        images = parts.images[:, reference]
        spoken = [
            power_db(image[c.onset : c.onset + c.length])
            for image, c in zip(images, scene.speech, strict=True)
        ]
        levels = [c.level_db for c in scene.speech]
        np.testing.assert_allclose(np.subtract(spoken, spoken[0]), levels, atol=1e-3)
        snr = power_db(images.sum(axis=0)) - power_db(parts.noise[reference])
        assert snr == pytest.approx(scene.noise.snr_db, abs=1e-3)
        noise = np.corrcoef(parts.noise)
        assert np.abs(noise - np.eye(4)).max() < 0.05


def test_rendering_is_pure(draw: Draw, corpus: Any, circle: MicrophoneArray) -> None:
    scene = draw()
    rirs = compute_rirs(scene.room, circle, RATE)
    first = render(scene, corpus, rirs)
    render(draw(index=1), corpus, compute_rirs(draw(index=1).room, circle, RATE))
    again = render(Scene.model_validate_json(scene.model_dump_json()), corpus, rirs)
    for name in ("mixture", "targets", "azimuth", "distance", "elevation", "drr_db"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert getattr(first, name).dtype == np.float32
    assert (first.t60, first.gain) == (again.t60, again.gain)


@pytest.mark.parametrize("target", ["direct", "early", "image"])
def test_targets_are_aligned_with_their_speakers_in_the_mixture(
    target: str, draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    config = SceneConfig(target=target, t60=(0.15, 0.2), reference_mic=1)  # type: ignore[arg-type]
    for index in range(4):
        scene = draw(config, index=index)
        rirs = compute_rirs(scene.room, circle, RATE)
        example, parts = render(scene, corpus, rirs), render_parts(scene, corpus, rirs)
        for s in range(2):
            image = parts.images[s, 1]
            correlation = fftconvolve(image, example.targets[s, ::-1])
            assert correlation.argmax() == scene.num_samples - 1  # lag 0
            if target == "image":
                np.testing.assert_allclose(example.targets[s], image, atol=1e-5)
            if target == "early":
                np.testing.assert_array_equal(example.targets[s], parts.early[s])
            if (
                target != "image"
            ):  # what the target leaves out is the rest of the room, not another scale
                scale = image @ example.targets[s] / (example.targets[s] @ example.targets[s])
                assert 0.6 < scale < 1.6


def test_the_direct_target_is_the_dry_speech_late_by_its_travel(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw()
    rirs = compute_rirs(scene.room, circle, RATE)
    example = render(scene, corpus, rirs)
    mic = scene.room.microphones(circle)[0]
    for s, (crop, speaker) in enumerate(zip(scene.speech, scene.room.speakers, strict=True)):
        dry = corpus.audio[crop.utterance][crop.offset : crop.offset + crop.length]
        distance = np.linalg.norm(np.subtract(speaker.position, mic))
        correlation = fftconvolve(example.targets[s], dry[::-1])
        lag = correlation.argmax() - (len(dry) - 1)
        assert lag == pytest.approx(distance / 343 * RATE, abs=0.6)


def test_the_crop_begins_with_the_reverberation_of_what_came_before(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw(SceneConfig(target="image", snr_db=(60, 60)), index=3)
    rirs = compute_rirs(scene.room, circle, RATE)
    example = render(scene, corpus, rirs)
    for s, crop in enumerate(scene.speech):
        whole = fftconvolve(corpus.audio[crop.utterance], rirs.image[s, 0])[rirs.delay :]
        expected = whole[crop.offset : crop.offset + crop.length]
        target = example.targets[s] * (expected @ example.targets[s])
        target /= example.targets[s] @ example.targets[s]
        error = np.mean((target - expected) ** 2) / np.mean(expected**2)
        assert error < 1e-3  # the high-pass takes that little from this speech


def test_labels_come_along(draw: Draw, corpus: Any, circle: MicrophoneArray) -> None:
    scene = draw()
    rirs = compute_rirs(scene.room, circle, RATE)
    example = render(scene, corpus, rirs)
    assert example.azimuth == pytest.approx([s.azimuth for s in scene.room.speakers])
    assert example.elevation == pytest.approx([s.elevation for s in scene.room.speakers])
    assert example.distance == pytest.approx([s.distance for s in scene.room.speakers])
    np.testing.assert_array_equal(example.drr_db, rirs.drr_db[:, 0])
    assert example.t60 == rirs.t60_measured
    assert example.scene is scene
    assert example.mixture.shape == (4, 16000)
    assert example.targets.shape == (2, 16000)


def test_the_gain_leads_back_to_the_recording(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw(SceneConfig(target="image"))
    rirs = compute_rirs(scene.room, circle, RATE)
    example = render(scene, corpus, rirs)
    crop = scene.speech[0]
    whole = fftconvolve(corpus.audio[crop.utterance], rirs.image[0, 0])[rirs.delay :]
    expected = whole[crop.offset : crop.offset + crop.length]
    assert power_db(example.targets[0] / example.gain) == pytest.approx(
        power_db(expected), abs=0.02
    )


def test_a_turned_scene_from_the_bank_sounds_as_if_rendered_from_scratch(
    draw: Draw, corpus: Any, circle: MicrophoneArray, tmp_path: Path
) -> None:
    bank = RirBank(tmp_path, circle, RATE)
    plain = draw(SceneConfig(use_symmetry=False), room_index=0)
    bank.fill([plain.room], progress=False)
    turns = set()
    for index in range(8):
        scene = draw(index=index, room_index=0)
        turns.add(scene.room.array_rotation)
        stored = render(scene, corpus, bank.get(scene.room))
        fresh = render(scene, corpus, compute_rirs(scene.room, circle, RATE))
        np.testing.assert_allclose(stored.mixture, fresh.mixture, atol=1e-4)
        np.testing.assert_allclose(stored.targets, fresh.targets, atol=1e-4)
        np.testing.assert_array_equal(stored.azimuth, fresh.azimuth)
    assert len(turns) > 1
    assert len(list(tmp_path.iterdir())) == 1


def test_turning_by_a_symmetry_is_reading_the_microphones_in_another_order(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw(SceneConfig(snr_db=(100, 100)))
    parts = render_parts(scene, corpus, compute_rirs(scene.room, circle, RATE))
    for degrees, permutation in circle.rotations():
        room = rotated(scene.room, circle, degrees)
        where = permutation.index(scene.reference_mic)  # the same microphone, by its new name
        turned = scene.model_copy(update={"room": room, "reference_mic": where})
        heard = render_parts(turned, corpus, compute_rirs(room, circle, RATE))
        np.testing.assert_allclose(heard.images, parts.images[:, list(permutation)], atol=2e-4)
        for before, after in zip(scene.room.speakers, room.speakers, strict=True):
            assert angular_error(after.azimuth, before.azimuth - degrees) < 1e-6


def test_silence_and_missing_speech_are_named(
    draw: Draw, corpus: Any, make_corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw()
    rirs = compute_rirs(scene.room, circle, RATE)
    used = scene.speech[1].utterance
    silent = make_corpus({**corpus.audio, used: np.zeros(6 * RATE, np.float32)})
    with pytest.raises(InputError, match=rf"train-e000-000000: utterance '{used}' is silent"):
        render(scene, silent, rirs)
    short = make_corpus({**corpus.audio, used: corpus.audio[used][:100]})
    with pytest.raises(InputError, match=rf"utterance '{used}', which has 100 at 8000 Hz"):
        render(scene, short, rirs)
    with pytest.raises(ValueError, match=r"responses are of .* \(2, 4, 16000\)"):
        render(scene, corpus, compute_rirs(scene.room, circle, 16000))
