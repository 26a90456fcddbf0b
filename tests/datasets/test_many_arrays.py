# SPDX-License-Identifier: Apache-2.0
"""Training on many arrays: a batch is of one, all have their turn, and nothing else changes."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.composing import compose
from msdet.corpora import open_corpus
from msdet.datasets import Batch
from msdet.datasets.config import ArraysConfig
from msdet.datasets.many_arrays import ManyArrays, build_arrays
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.parsing import parse
from msdet.training.checks import check
from msdet.training.config import TrainConfig
from msdet.training.data import open_examples

CIRCLE6 = {"shape": "circle", "num_mics": 6, "radius": 0.05}


def config(tmp_path: Path, *overrides: str) -> TrainConfig:
    given = [
        "experiment=debug",
        f"data.cache={tmp_path}",
        "data.crop_seconds=0.3",
        "data.batch_size=2",
        "data.train_rooms=7",
        "data.examples_per_epoch=9",
        "data.arrays.shapes=[{shape: circle, num_mics: 6, radius: 0.05}]",
        "data.arrays.drawn=1",
        *overrides,
    ]
    return parse(TrainConfig, compose("train", given))


def examples_of(config: TrainConfig) -> ManyArrays:
    array = config.array.build()
    check(config, array)
    corpus = open_corpus(config.corpus, config.sample_rate)
    found = open_examples(config, array, corpus).examples
    assert isinstance(found, ManyArrays)
    return found


def test_drawn_arrays_are_planar_apart_and_of_the_asked_sizes(
    arrays: dict[str, MicrophoneArray],
) -> None:
    ranges = ArraysConfig(drawn=30, num_mics=(3, 5), radius=(0.03, 0.06), spacing=0.02)
    drawn = build_arrays(ranges, arrays["circle4"], seed=0)[1:]
    assert len({array.positions for array in drawn}) == 30
    assert {array.num_mics for array in drawn} == {3, 4, 5}
    for array in drawn:
        points = array.as_array()
        assert not array.is_linear
        assert not points[:, 2].any()
        gaps = [math.dist(a, b) for a in points for b in points if a is not b]
        assert min(gap for gap in gaps if gap) >= 0.02 - 1e-9
        assert max(gaps) <= 2 * 0.06 + 1e-3
    assert drawn == build_arrays(ranges, arrays["circle4"], seed=0)[1:]
    assert drawn != build_arrays(ranges, arrays["circle4"], seed=1)[1:]


def test_beside_a_line_lines_are_drawn(arrays: dict[str, MicrophoneArray]) -> None:
    ranges = ArraysConfig(drawn=30, num_mics=(2, 4), radius=(0.03, 0.1), spacing=0.015)
    drawn = build_arrays(ranges, arrays["line4"], seed=0)[1:]
    assert {array.num_mics for array in drawn} == {2, 3, 4}
    for array in drawn:
        places = np.sort(array.as_array()[:, 0])
        assert array.is_linear
        assert np.diff(places).min() >= 0.015 - 2e-4
        assert np.ptp(places) <= 2 * 0.1 + 1e-9


def test_the_own_array_is_not_taken_twice(arrays: dict[str, MicrophoneArray]) -> None:
    shapes = ArraysConfig.model_validate({"shapes": [CIRCLE6]})
    own = shapes.shapes[0].build()
    assert build_arrays(shapes, own, seed=0) == [own]


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_array_has_its_turn_once_before_any_comes_again(tmp_path: Path, epochs: int) -> None:
    examples = examples_of(config(tmp_path))
    turns = [
        [examples.turn(epoch, index)[0] for index in range(8)]  # the ninth fills no batch
        for epoch in range(epochs)
    ]
    batches = [epoch[i : i + 2] for epoch in turns for i in range(0, 8, 2)]
    assert all(len(set(batch)) == 1 for batch in batches)
    order = [batch[0] for batch in batches]
    laps = [order[i : i + 3] for i in range(0, len(order) - 2, 3)]
    assert all(sorted(lap) == [0, 1, 2] for lap in laps)
    places = Counter(examples.turn(epoch, index) for epoch in range(epochs) for index in range(8))
    assert set(places.values()) == {1}, "no two examples have one place in an array's row"


def test_each_array_has_rooms_of_its_own_and_uses_all_of_them(tmp_path: Path) -> None:
    chosen = config(tmp_path)
    corpus = open_corpus(chosen.corpus, chosen.sample_rate)
    opened = open_examples(chosen, chosen.array.build(), corpus)
    rooms = [list(shared) for _, shared in opened.banks]
    assert [len(some) for some in rooms] == [3, 2, 2]
    assert len({room.size for some in rooms for room in some}) == 7
    examples = examples_of(chosen)
    keys = [(epoch, index) for epoch in range(3) for index in range(8)]
    heard: dict[int, set[Any]] = {0: set(), 1: set(), 2: set()}
    for key in keys:
        number, position = examples.turn(*key)
        heard[number].add(examples.sets[number].draw(*key, position).room.size)
    assert heard == {number: {room.size for room in some} for number, some in enumerate(rooms)}


def test_a_batch_is_recorded_with_one_array_which_it_carries(tmp_path: Path) -> None:
    examples = examples_of(config(tmp_path))
    found = set()
    for first in range(0, 6, 2):
        pair = [examples.example(0, first), examples.example(0, first + 1)]
        batch = Batch.stack(pair)
        assert batch.array is not None
        assert batch.mixture.shape[1] == batch.array.num_mics
        assert batch.array.positions == pair[0].scene.array.positions
        found.add(batch.array.positions)
    assert len(found) == 3
    with pytest.raises(ValueError, match="one array"):
        Batch.stack([examples.example(0, 0), examples.example(0, 2)])


def test_an_example_depends_on_its_numbers_alone(tmp_path: Path) -> None:
    expected = examples_of(config(tmp_path)).example(1, 3)
    again = examples_of(config(tmp_path / "elsewhere")).example(1, 3)
    assert again.scene == expected.scene
    np.testing.assert_array_equal(again.mixture, expected.mixture)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["data.arrays.num_mics=[1,4]"], "data.arrays: num_mics"),
        (
            ["array=line4", "data.arrays.shapes=[]", "data.arrays.spacing=0.1"],
            "data.arrays: .* do not fit into a line",
        ),
        (["data.arrays.radius=[0.08,0.03]"], "data.arrays: radius"),
        (["data.arrays.radius=[0.01,0.01]"], "data.arrays: .* do not fit into a disc"),
        (
            ["data.arrays.shapes=[{shape: line, num_mics: 3, spacing: 0.05}]"],
            "'line3' is on a line",
        ),
        (["data.arrays.num_mics=[2,4]"], "data.arrays.num_mics=.2, 4.: two microphones are a line"),
        (["model.frontend.name=ri"], "'ri' serves one array"),
        (["data.train_rooms=2"], "data.train_rooms=2: fewer than the 3 arrays"),
        (["data.simulated=somewhere"], "data.arrays: with data.simulated=somewhere"),
        (["data.bank=somewhere"], "data.arrays: with data.bank=somewhere"),
        (["data.labelled=list.jsonl"], "data.arrays: with data.labelled=list.jsonl"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    tmp_path: Path, overrides: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        examples_of(config(tmp_path, *overrides))
