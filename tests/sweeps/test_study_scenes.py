# SPDX-License-Identifier: Apache-2.0
"""The scenes of a study: of the task, in pairs on and off the seam, with opposite speakers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from msdet.corpora import open_corpus
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.simulation import Scene, fixed_scenes
from msdet.sweeps.study import SceneCounts
from msdet.sweeps.study_scenes import SceneSets, reasons, study_scenes
from msdet.training.config import TrainConfig

Training = Callable[..., TrainConfig]
COUNTS = SceneCounts(main=6, seam=8, opposite=5)


def to_seam(scene: Scene) -> float:
    return min(float(angular_error(s.azimuth, 0.0)) for s in scene.room.speakers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def drawn(folder: Path, training: Training) -> SceneSets:
    return study_scenes(folder, COUNTS, training())


def test_scenes_of_the_task_are_those_of_an_evaluation(
    drawn: SceneSets, training: Training
) -> None:
    config = training()
    corpus = open_corpus(config.corpus, config.sample_rate).split("test")
    assert drawn.sets["main"] == fixed_scenes(
        config.scene,
        config.array.build(),
        corpus,
        seed=config.data.eval_seed,
        split="test",
        count=6,
        sample_rate=config.sample_rate,
        seconds=config.data.eval_seconds,
    )


def test_pairs_differ_in_labels_alone(drawn: SceneSets, training: Training) -> None:
    scenes = drawn.sets["seam"]
    array = training().array.build()
    assert len(scenes) == 16
    assert [scene.index for scene in scenes] == list(range(16))
    for on, off in zip(scenes[0::2], scenes[1::2], strict=True):
        assert to_seam(on) < 15.0 <= to_seam(off)
        kept = ("speech", "noise", "num_samples", "target", "corpus", "array")
        assert all(getattr(on, key) == getattr(off, key) for key in kept)
        for key in ("size", "t60", "array_centre"):
            assert getattr(on.room, key) == getattr(off.room, key)
        assert [s.position for s in on.room.speakers] == [s.position for s in off.room.speakers]
        # The microphones stand where they stood, in another order.
        places = [
            sorted(np.round(scene.room.microphones(array), 6).tolist()) for scene in (on, off)
        ]
        np.testing.assert_allclose(places[0], places[1], atol=1e-5)
        azimuths = np.array([[s.azimuth for s in scene.room.speakers] for scene in (on, off)])
        turns = azimuths[1] - azimuths[0]
        np.testing.assert_allclose(angular_error(turns, turns[0]), 0.0, atol=1e-4)
        np.testing.assert_allclose(angular_error(4 * turns, 0.0), 0.0, atol=1e-3)
    quarters = {int(s.room.array_rotation // 90) for s in scenes[1::2]}
    assert len(quarters) > 1, "which turn takes a scene off the seam is drawn"


def test_opposite_speakers_are_opposite(drawn: SceneSets) -> None:
    assert len(drawn.sets["opposite"]) == 5
    for scene in drawn.sets["opposite"]:
        azimuths = [s.azimuth for s in scene.room.speakers]
        assert max(angular_error(a, b) for a, b in combinations(azimuths, 2)) > 165


def test_no_two_scenes_share_speech_or_id(drawn: SceneSets) -> None:
    bases = [*drawn.sets["main"], *drawn.sets["seam"][0::2], *drawn.sets["opposite"]]
    assert len({scene.speech for scene in bases}) == len(bases)
    every = [scene.id for scenes in drawn.sets.values() for scene in scenes]
    assert len(set(every)) == len(every)


def test_they_are_drawn_once(drawn: SceneSets, folder: Path, training: Training) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert study_scenes(folder, COUNTS, training()) == drawn
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert study_scenes(folder / "again", COUNTS, training()) == drawn
    for overrides, counts, key in (
        ([], COUNTS.model_copy(update={"main": 7}), "scenes.main"),
        (["data.eval_seconds=2"], COUNTS, "data.eval_seconds"),
        (["array.radius=0.04"], COUNTS, "array"),
        (["scene.t60=[0.2,0.3]"], COUNTS, "scene.t60"),
    ):
        with pytest.raises(InputError, match=rf"holds other scenes \({key} was"):
            study_scenes(folder, counts, training(*overrides))


@pytest.mark.parametrize(
    ("overrides", "left_out"),
    [
        (["array=line4"], {"seam": "linear", "opposite": "linear"}),
        (["array=l5"], {"seam": "no rotation"}),
        (["scene.imperfections.gain_db=1"], {"seam": "imperfections"}),
        ([], {}),
    ],
    ids=str,
)
def test_what_an_array_cannot_have_is_left_out(
    training: Training, overrides: list[str], left_out: dict[str, str]
) -> None:
    config = training(*overrides)
    found = reasons(COUNTS, config, config.array.build())
    assert found.keys() == left_out.keys()
    for name, words in left_out.items():
        assert words in found[name]  # type: ignore[index]


def test_none_can_be_asked_for(tmp_path: Path, training: Training) -> None:
    found = study_scenes(tmp_path, SceneCounts(main=2, seam=0, opposite=0), training())
    assert list(found.sets) == ["main"]


def test_speakers_in_front_alone_cannot_be_turned_behind(
    tmp_path: Path, training: Training
) -> None:
    config = training("scene.speaker.azimuth=[0,60]")
    with pytest.raises(InputError, match=r"scenes\.seam=1: not found"):
        study_scenes(tmp_path, SceneCounts(main=2, seam=1, opposite=0), config)
