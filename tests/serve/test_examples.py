# SPDX-License-Identifier: Apache-2.0
"""Which benchmarks a model is offered, and their scenes at its sample rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from msdet.benchmarks import benchmark_path
from msdet.errors import InputError
from msdet.inference.separator import Separator, load
from msdet.serve.examples import example_benchmarks, example_scene
from msdet.simulation import read_scenes


@pytest.fixture(scope="module")
def separator(saved: Path) -> Separator:
    return load(saved)


def test_a_model_is_offered_scenes_of_as_many_speakers_as_it_puts_out(
    separator: Separator,
) -> None:
    offered = example_benchmarks(separator)
    assert {"bundled-easy", "bundled-opposite"} <= set(offered)
    assert "bundled-three" not in offered


def test_a_scene_is_the_same_at_another_rate(separator: Separator) -> None:
    original = read_scenes(benchmark_path("bundled-easy"))[3]
    scene = example_scene(separator, "bundled-easy", 3)
    assert (original.sample_rate, scene.sample_rate) == (16000, 8000)
    assert scene.room == original.room
    assert scene.num_samples == original.num_samples / 2
    for crop, was in zip(scene.speech, original.speech, strict=True):
        assert crop.utterance == was.utterance
        assert abs(crop.offset - was.offset / 2) <= 0.5
        assert abs(crop.onset - was.onset / 2) <= 0.5
        assert crop.onset + crop.length <= scene.num_samples
    assert scene.target == separator.description.target


def test_scenes_that_there_are_not_are_refused(separator: Separator) -> None:
    with pytest.raises(InputError, match="scenes 0 to 199"):
        example_scene(separator, "bundled-easy", 200)
    with pytest.raises(InputError, match="is no benchmark"):
        example_scene(separator, "bundled-none", 0)
