# SPDX-License-Identifier: Apache-2.0
"""Stored mixtures in training: each is heard in all poses that its array allows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from msdet.corpora import Corpus, Utterance
from msdet.corpora.corpus import make_corpus
from msdet.datasets import Batch
from msdet.datasets.stored import StoredExamples
from msdet.geometry import MicrophoneArray, angular_error
from msdet.simulation import Example, SceneConfig, compute_rirs, render
from msdet.simulation.engines import make_locally
from msdet.simulation.request import keep_request, request_of
from msdet.simulation.rooms import symmetries
from msdet.simulation.scene_sources import DrawnScenes
from msdet.simulation.shards import Shards
from msdet.simulation.stored import Task, open_mixtures

RATE, WHOLE, CROP = 8000, 4000, 3000
SCENE = SceneConfig.model_validate(
    {
        "room": {"length": (4, 5), "width": (4, 5), "height": (2.5, 2.6)},
        "t60": (0.15, 0.18),
        "speaker": {"distance": (0.7, 1.2)},
        "snr_db": (90, 90),
    }
)
"""Hardly any noise: that of the microphones is drawn anew where a scene is rendered."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(3):
        loudness = np.abs(np.sin(np.arange(2 * RATE) * (5 + number) / RATE))
        path = root / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(2 * RATE) * loudness, RATE)
        rows.append(
            Utterance(
                id=f"u{number}",
                speaker=f"s{number}",
                split="train",
                path=path.name,
                duration=2.0,
                sample_rate=RATE,
                bandwidth_hz=4000,
                num_bytes=path.stat().st_size,
            )
        )
    return make_corpus("tiny", root, rows, RATE).split("train")


@pytest.fixture(scope="module")
def examples(
    corpus: Corpus,
    arrays: dict[str, MicrophoneArray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., StoredExamples]:
    """Training examples of two stored mixtures."""

    @functools.cache
    def stored(array: str, targets_at: Any) -> Any:
        source = DrawnScenes(
            SCENE, arrays[array], corpus, 0, "train", RATE, seconds=WHOLE / RATE, count=2
        )
        output = tmp_path_factory.mktemp("mixtures") / "set"
        shards = Shards(output, source, corpus, 2, True, "tar", targets_at)
        keep_request(output, request_of(shards))
        make_locally(shards, [0], 1)
        task = Task("train", arrays[array], RATE, "direct", 0, (2, 2), CROP)
        return open_mixtures(output, task)

    def made(
        array: str = "circle4", targets_at: str = "symmetric", **changes: Any
    ) -> StoredExamples:
        keys = {"seed": 0, "num_samples": CROP, "length": 40, "scene": SCENE} | changes
        return StoredExamples(stored(array, targets_at), **keys)

    return made


def same(a: Example, b: Example) -> bool:
    names = ("mixture", "targets", "azimuth", "elevation", "distance", "drr_db")
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
    return equal and a.scene == b.scene and a.gain == b.gain


def turns(turned: StoredExamples, plain: StoredExamples, count: int = 40) -> list[float]:
    """Of the arrays of the first examples, degrees."""
    rotations = (
        (
            turned.example(0, i).scene.room.array_rotation,
            plain.example(0, i).scene.room.array_rotation,
        )
        for i in range(count)
    )
    return [round((after - before) % 360, 3) % 360 for after, before in rotations]


@pytest.mark.parametrize("array", ["circle4", "tetrahedron"])
def test_every_symmetry_comes_up_and_turns_the_labels_as_far(
    array: str, examples: Callable[..., StoredExamples], arrays: dict[str, MicrophoneArray]
) -> None:
    turned, plain = examples(array), examples(array, scene=None)
    found = turns(turned, plain)
    assert set(found) == {round(degrees, 3) for degrees, _ in symmetries(arrays[array])}
    assert min(Counter(found).values()) >= 3
    for index, turn in enumerate(found):
        after, before = turned.example(0, index), plain.example(0, index)
        assert (angular_error(after.azimuth, before.azimuth - turn) < 1e-4).all()
        np.testing.assert_array_equal(after.elevation, before.elevation)
        np.testing.assert_array_equal(after.distance, before.distance)
        assert np.sqrt(np.mean(after.mixture[0] ** 2)) == pytest.approx(1, rel=1e-5)
        if turn == 0:
            assert same(after, before)


def test_a_turned_example_is_a_crop_of_what_its_scene_renders(
    examples: Callable[..., StoredExamples], corpus: Corpus, arrays: dict[str, MicrophoneArray]
) -> None:
    array = arrays["circle4"]
    turned = examples(num_samples=WHOLE)  # all of it
    rotations = set()
    for index in range(12):
        example = turned.example(0, index)
        rotations.add(example.scene.room.array_rotation)
        rirs = compute_rirs(example.scene.room, array, RATE)
        expected = render(example.scene, corpus, rirs)
        np.testing.assert_allclose(example.mixture, expected.mixture, atol=1e-3)
        np.testing.assert_allclose(example.targets, expected.targets, atol=2e-4)
        np.testing.assert_array_equal(example.azimuth, expected.azimuth)
        np.testing.assert_allclose(example.drr_db, expected.drr_db, atol=1e-4)
    assert len(rotations) > 4, "two mixtures in several poses"


def test_an_example_depends_on_its_numbers_alone(examples: Callable[..., StoredExamples]) -> None:
    expected = [examples().example(0, i) for i in range(6)]
    np.random.seed(1)  # noqa: NPY002
    again = examples()
    assert all(same(again.example(0, i), expected[i]) for i in (3, 1, 5, 0))
    plain = examples(scene=None)
    assert turns(examples(seed=1), examples(seed=1, scene=None), 12) != turns(again, plain, 12)
    turned_by = [
        again.example(epoch, 0).scene.room.array_rotation
        - plain.example(epoch, 0).scene.room.array_rotation
        for epoch in range(12)
    ]
    assert len(set(turned_by)) > 1, "epochs differ"


@pytest.mark.parametrize(
    ("array", "targets_at", "changes"),
    [
        ("circle4", "reference", {}),
        ("circle4", "symmetric", {"scene": SCENE.model_copy(update={"use_symmetry": False})}),
        ("line4", "symmetric", {}),
        ("l5", "symmetric", {}),
    ],
    ids=["no targets", "not wanted", "line", "l"],
)
def test_otherwise_mixtures_stay_as_they_are(
    examples: Callable[..., StoredExamples],
    array: str,
    targets_at: str,
    changes: dict[str, Any],
) -> None:
    found, plain = examples(array, targets_at, **changes), examples(array, targets_at, scene=None)
    assert all(same(found.example(0, i), plain.example(0, i)) for i in range(12))


def test_azimuths_keep_to_the_range_of_the_training(
    examples: Callable[..., StoredExamples],
) -> None:
    """As they do where rooms are simulated on the fly."""
    plain = examples(scene=None)
    azimuths = {n: plain.example(0, n).azimuth for n in range(2)}
    low, high = 0.0, 359.0 - 90.0
    narrow = SCENE.model_copy(
        update={"speaker": SCENE.speaker.model_copy(update={"azimuth": (low, high)})}
    )
    turned = examples(scene=narrow)
    found = turns(turned, plain)
    for index, turn in enumerate(found):
        inside = (turned.example(0, index).azimuth <= high).all()
        assert inside or turn == 0
    assert len(set(found)) > 1, azimuths


def test_the_same_batches_with_and_without_workers(
    examples: Callable[..., StoredExamples], batches: Callable[..., list[Batch]]
) -> None:
    expected, found = (batches(examples(length=8), workers) for workers in (0, 2))
    assert len(found) == len(expected) == 4
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.mixture, b.mixture)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.azimuth, b.azimuth)
