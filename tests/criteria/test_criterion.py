# SPDX-License-Identifier: Apache-2.0
"""The criterion on outputs of a real network: invariances, permutation search, and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from msdet.criteria import Criterion, CriterionConfig, Labels
from msdet.criteria.losses import azimuth_targets, cross_entropy, spectral_l1
from msdet.datasets import Batch
from msdet.geometry import AzimuthGrid
from msdet.models.msdet import MSDET, Output
from msdet.training.module import losses_of

FIXED_ORDER = ("azimuth", "distance", "cyclic", "nearest_gap", "pit")
ASSIGNMENTS = (*FIXED_ORDER, "doa_pit", "joint_pit")
SCENES, SAMPLES = 2, 1600
Case = tuple[MSDET, Output, Batch]


@pytest.fixture(scope="module")
def cases(
    make_model: Callable[..., MSDET], recording: NDArray[np.float32], voices: NDArray[np.float64]
) -> dict[int, Case]:
    """Networks of 2 to 5 slots with their outputs on two mixtures, and speakers to learn."""
    made = {}
    for count in (2, 3, 4, 5):
        model = make_model(slots=count, beamformer="none").eval()
        mixture = np.stack([recording[:, i * SAMPLES :][:, :SAMPLES] for i in range(SCENES)])
        with torch.no_grad():
            output = model(torch.from_numpy(mixture))
        rolled = [np.roll(voices[i % 3], 700 * i) for i in range(count)]
        targets = np.stack([np.stack(rolled)[:, i * 500 :][:, :SAMPLES] for i in range(SCENES)])
        rng = np.random.default_rng(count)
        labels = torch.from_numpy(rng.uniform(0, 360, (SCENES, count))).float()
        batch = Batch(
            mixture=torch.from_numpy(mixture),
            targets=torch.from_numpy(targets).float(),
            azimuth=labels,
            elevation=torch.zeros_like(labels),
            distance=torch.from_numpy(rng.uniform(0.7, 2.5, (SCENES, count))).float(),
            present=torch.ones(SCENES, count, dtype=torch.bool),
            index=torch.arange(SCENES),
        )
        made[count] = (model, output, batch)
    return made


def criterion(assignment: str, weight: float = 0.9) -> Criterion:
    config = CriterionConfig.model_validate({"assignment": assignment, "weight": weight})
    return Criterion(config, linear_array=False)


def direction_losses(
    logits: torch.Tensor | None, azimuth: torch.Tensor, grid: AzimuthGrid
) -> torch.Tensor:
    """Of hard labels, ``[batch, slot]``."""
    assert logits is not None
    present = torch.ones_like(azimuth, dtype=torch.bool)
    return cross_entropy(logits, azimuth_targets(azimuth, present, grid, grid.num_classes, 0.0))


def with_speakers(batch: Batch, order: list[int]) -> Batch:
    names = ("targets", "azimuth", "elevation", "distance")
    return replace(batch, **{name: getattr(batch, name)[:, order] for name in names})


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@settings(deadline=None, max_examples=30)
@given(count=st.integers(2, 5), data=st.data())
def test_permuting_the_speakers_never_changes_the_loss(
    cases: dict[int, Case], assignment: str, count: int, data: st.DataObject
) -> None:
    model, output, batch = cases[count]
    some = st.one_of(
        st.floats(0, 360, exclude_max=True, width=32), st.sampled_from([0.0, 90.0, 180.0, 270.0])
    )
    azimuth = data.draw(st.lists(some, min_size=count, max_size=count))
    distance = data.draw(
        st.lists(st.sampled_from(range(1, 20)), min_size=count, max_size=count, unique=True)
    )
    batch = replace(
        batch,
        azimuth=torch.tensor([azimuth] * SCENES),
        distance=torch.tensor([distance] * SCENES) / 8,
    )
    mixed = list(data.draw(st.permutations(range(count))))
    plain = losses_of(criterion(assignment), model, output, batch)
    other = losses_of(criterion(assignment), model, output, with_speakers(batch, mixed))
    torch.testing.assert_close(other.total, plain.total)
    torch.testing.assert_close(other.tasks["direction"], plain.tasks["direction"])
    assert torch.equal(torch.tensor(mixed)[other.order], plain.order)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_pit_takes_the_permutation_of_least_separation_loss(
    cases: dict[int, Case], count: int
) -> None:
    model, output, batch = cases[count]
    losses = losses_of(criterion("pit"), model, output, batch)
    targets = model.stft(batch.targets)
    tried = torch.stack(
        [
            torch.stack([spectral_l1(stage, targets[:, list(p)]) for stage in output.stages])
            .mean(0)
            .mean(1)
            for p in permutations(range(count))
        ]
    )
    assert float(losses.tasks["separation"]) == pytest.approx(float(tried.amin(0).mean()), rel=1e-5)
    for assignment in ("azimuth", "distance", "cyclic"):
        assert (
            losses_of(criterion(assignment), model, output, batch).tasks["separation"]
            >= losses.tasks["separation"] - 1e-6
        )


def test_a_network_that_is_right_in_another_order_costs_pit_nothing(
    cases: dict[int, Case],
) -> None:
    model, output, batch = cases[3]
    spectra = model.stft(batch.targets)[:, [2, 0, 1]]
    perfect = replace(output, spectra=spectra, stages=(spectra,))
    losses = losses_of(criterion("pit"), model, perfect, batch)
    assert losses.tasks["separation"] < 1e-6
    assert losses.order.tolist() == [[2, 0, 1]] * SCENES
    assert (
        losses_of(criterion("azimuth"), model, perfect, with_speakers(batch, [0, 1, 2])).tasks[
            "separation"
        ]
        > 0.1
    )


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_permutations_of_direction_and_of_both_take_the_least_of_theirs(
    cases: dict[int, Case], count: int
) -> None:
    model, output, batch = cases[count]
    targets = model.stft(batch.targets)
    separation, direction = [], []
    for p in permutations(range(count)):
        order = list(p)
        stages = [spectral_l1(stage, targets[:, order]).mean(1) for stage in output.stages]
        separation.append(torch.stack(stages).mean(0))
        azimuth = batch.azimuth[:, order]
        fine = direction_losses(output.azimuth_logits, azimuth, model.grid)
        coarse = direction_losses(output.coarse_logits, azimuth, model.look_grid)
        direction.append(0.5 * (fine + coarse).mean(1))
    apart, where = torch.stack(separation), torch.stack(direction)
    found = losses_of(criterion("doa_pit", 0.5), model, output, batch)
    assert float(found.tasks["direction"]) == pytest.approx(float(where.amin(0).mean()), rel=1e-5)
    for weight in (0.0, 0.3, 0.97, 1.0):
        found = losses_of(criterion("joint_pit", weight), model, output, batch)
        least = (weight * apart + (1 - weight) * where).amin(0).mean()
        assert float(found.total) == pytest.approx(float(least), rel=1e-5)


@pytest.mark.parametrize("assignment", FIXED_ORDER)
def test_the_weight_moves_the_loss_from_one_task_to_the_other(
    cases: dict[int, Case], assignment: str
) -> None:
    model, output, batch = cases[2]
    at = {
        w: losses_of(criterion(assignment, w), model, output, batch) for w in (1 - 1e-9, 0.25, 1e-9)
    }
    tasks = at[0.25].tasks
    assert float(at[1 - 1e-9].total) == pytest.approx(float(tasks["separation"]), rel=1e-5)
    assert float(at[1e-9].total) == pytest.approx(float(tasks["direction"]), rel=1e-5)
    expected = 0.25 * tasks["separation"] + 0.75 * tasks["direction"]
    assert float(at[0.25].total) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("assignment", FIXED_ORDER)
def test_weight_one_is_separation_alone(cases: dict[int, Case], assignment: str) -> None:
    model, output, batch = cases[2]
    losses = losses_of(criterion(assignment, 1.0), model, output, batch)
    assert set(losses.tasks) == {"separation"}
    assert losses.total == losses.tasks["separation"]


def test_weight_zero_is_direction_alone(cases: dict[int, Case]) -> None:
    model, output, batch = cases[2]
    losses = losses_of(criterion("azimuth", 0.0), model, output, batch)
    assert set(losses.tasks) == {"direction"}
    assert losses.total == losses.tasks["direction"]


def test_every_stage_of_separation_is_held_to_the_targets(cases: dict[int, Case]) -> None:
    model, output, batch = cases[2]
    targets = model.stft(batch.targets)
    order = criterion("azimuth").location_order(Labels.of(batch))
    assert order is not None
    right = torch.take_along_dim(targets, order[..., None, None], 1)
    half = replace(output, stages=(output.spectra, right), spectra=right)
    alone = losses_of(criterion("azimuth"), model, output, batch).tasks["separation"]
    assert float(
        losses_of(criterion("azimuth"), model, half, batch).tasks["separation"]
    ) == pytest.approx(float(alone) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"assignment": "pit", "weight": 0.0}, "pit"),
        ({"assignment": "doa_pit", "weight": 1.0}, "doa_pit"),
        ({"assignment": "nearest_gap", "weight": 0.5, "nearest_gap": 0}, "nearest_gap"),
        ({"assignment": "azimuth", "weight": 1.2}, "less than or equal to 1"),
        ({"assignment": "azimuth", "weight": -0.1}, "greater than or equal to 0"),
        ({"assignment": "azimuth", "weight": float("nan")}, "weight"),
        ({"assignment": "alphabet", "weight": 0.5}, "azimuth"),
        ({"assignment": "azimuth"}, "weight"),
        ({"assignment": "azimuth", "weight": 0.5, "wait": 1}, "wait"),
    ],
)
def test_what_cannot_be_trained_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CriterionConfig.model_validate(keys)
