# SPDX-License-Identifier: Apache-2.0
"""What cannot be evaluated is told before any work, with its name and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msdet.benchmarks import scenes_file
from msdet.checkpoints import Description, load_checkpoint, save_portable
from msdet.corpora import BundledConfig
from msdet.errors import InputError
from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.preparation import check_scenes, prepare
from msdet.evaluation.systems.names import ALONE
from msdet.models.msdet import MSDET
from msdet.simulation import Scene, read_scenes


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, ...]:
    return read_scenes(scenes_file("bundled-easy"))[:2]


@pytest.fixture
def config(tmp_path: Path, scenes: tuple[Scene, ...]) -> Callable[..., EvaluationConfig]:
    """Of a folder that holds directions alone."""
    for scene in scenes:
        (tmp_path / "theirs" / scene.id).mkdir(parents=True, exist_ok=True)
        speakers = [{"azimuth_deg": 10.0} for _ in scene.speech]
        found = json.dumps({"speakers": speakers})
        (tmp_path / "theirs" / scene.id / "directions.json").write_text(found)

    def make(**keys: Any) -> EvaluationConfig:
        return EvaluationConfig(
            checkpoint=None,
            estimates=str(tmp_path / "theirs"),
            scenes="bundled-easy",
            num_scenes=len(scenes),
            output=str(tmp_path / "out"),
            **keys,
        )

    return make


def test_baselines_can_stand_alone_on_scenes_that_are_given(tmp_path: Path) -> None:
    alone = EvaluationConfig(scenes="bundled-line", num_scenes=1, output=str(tmp_path))
    prepared = prepare(alone)
    assert prepared.scoring.systems == ALONE
    assert prepared.main == "unprocessed"
    assert prepared.linear
    with pytest.raises(InputError, match=r"^checkpoint: is needed; give .* alone scenes=VALUE"):
        prepare(alone.model_copy(update={"scenes": None}))


def test_a_metric_without_audio_to_compute_it_of_is_refused(
    config: Callable[..., EvaluationConfig],
) -> None:
    with pytest.raises(InputError, match=r"'sir' has no separated audio.*slow_metrics_of=") as told:
        prepare(config(metrics=("sir",)))
    assert "srp_mpdr" in str(told.value)
    with pytest.raises(InputError, match=r"'sdr' has no separated audio.*leave it out$"):
        prepare(config(metrics=("sdr",), systems=("estimates", "music")))


@pytest.mark.parametrize(
    "keys",
    [
        {"metrics": ("sdr",)},  # of the classical chain and the ceilings
        {"metrics": ("sir",), "slow_metrics_of": ("srp_mpdr",)},
        {"metrics": ("sir",), "systems": ("estimates", "unprocessed")},  # the mixture by its name
        {"metrics": ("si_sdr",), "systems": ("estimates",)},
        {},
    ],
)
def test_a_metric_that_some_audio_has_is_computed(
    config: Callable[..., EvaluationConfig], keys: dict[str, Any]
) -> None:
    prepare(config(**keys))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sample_rate": 44100}, r"at 44100 Hz, the model at 8000 Hz; give scenes at 8000 Hz"),
        ({"target": "image"}, r"target is 'image'.*scene\.target=direct"),
        ({"reference_mic": 1}, r"reference_mic is 1.*scene\.reference_mic=0"),
    ],
)
def test_scenes_that_do_not_fit_name_the_checkpoint_and_what_would(
    saved: Path, scenes: tuple[Scene, ...], changes: dict[str, Any], told: str
) -> None:
    checkpoint = load_checkpoint(saved)
    scene = scenes[0].model_copy(update={"sample_rate": 8000})
    check_scenes([scene], checkpoint)
    with pytest.raises(InputError, match=told) as error:
        check_scenes([scene.model_copy(update=changes)], checkpoint)
    assert str(saved) in str(error.value)
    assert scene.id in str(error.value)


def test_a_benchmark_brings_its_voices_where_those_of_training_are_gone(
    make_model: Callable[..., MSDET], describe: Callable[..., Description], tmp_path: Path
) -> None:
    model = make_model()
    gone = {"corpus": {"name": "folder", "path": str(tmp_path / "gone")}}
    path = tmp_path / "model.ckpt"
    save_portable(path, model, describe(model, sample_rate=16000, config=gone))
    keys: dict[str, Any] = {"checkpoint": str(path), "output": str(tmp_path / "out")}
    prepared = prepare(EvaluationConfig(scenes="bundled-easy", num_scenes=2, **keys))
    assert prepared.scoring.corpus == BundledConfig()


def test_estimates_have_the_names_that_they_are_given_and_the_first_is_the_main_one(
    config: Callable[..., EvaluationConfig],
) -> None:
    folder = str(config().estimates)
    both = {"mine": folder, "theirs": folder}
    found = prepare(config().model_copy(update={"estimates": both}))
    assert found.main == "mine"
    assert found.scoring.systems[:2] == ("mine", "theirs")
    beside = {"estimates": both, "checkpoint": "planar-pairs"}
    found = prepare(config().model_copy(update=beside))
    assert list(found.scoring.models) == ["mine", "theirs", "planar-pairs"]
    assert found.main == "mine"
    other = {**beside, "systems": ("planar-pairs", "theirs")}
    assert prepare(config().model_copy(update=other)).main == "planar-pairs"


@pytest.mark.parametrize("name", ["model", "music", "one+mvdr", ""])
def test_a_name_that_means_something_else_is_refused(
    config: Callable[..., EvaluationConfig], name: str
) -> None:
    with pytest.raises(InputError, match=rf"estimates\.{re.escape(name)}: cannot be the name"):
        prepare(config().model_copy(update={"estimates": {name: str(config().estimates)}}))


def test_a_folder_that_is_missing_is_named_by_its_key(
    config: Callable[..., EvaluationConfig], tmp_path: Path
) -> None:
    gone = {"estimates": {"mine": str(tmp_path / "gone")}}
    with pytest.raises(InputError, match=r"estimates\.mine=.*gone: no such folder"):
        prepare(config().model_copy(update=gone))
