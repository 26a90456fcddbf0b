# SPDX-License-Identifier: Apache-2.0
"""Speakers that are not there and labels that are not known: what they cost, and who goes where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.criteria import Criterion, CriterionConfig, Labels, Losses
from msdet.criteria.assignment import assign_by_location
from msdet.criteria.config import BY_LOCATION, Assignment
from msdet.criteria.losses import distance_loss
from msdet.datasets import Batch
from msdet.models.msdet import MSDET, Output
from msdet.tasks import Label
from msdet.training.module import losses_of

ASSIGNMENTS = (*BY_LOCATION, "pit", "doa_pit", "joint_pit")
SAMPLES = 1600
Case = tuple[MSDET, Output, Batch]

TENSORS = [
    field.name
    for field in fields(Batch)
    if field.name not in ("array", "track") and not field.name.startswith("has_")
]


@pytest.fixture(scope="module")
def case(make_model: Callable[..., MSDET]) -> Case:
    """A network of three slots, and four scenes of 1, 2, 3 and 2 speakers."""
    model = make_model(slots=3, beamformer="none", empty_slots=True).eval()
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(4, 4, SAMPLES, generator=generator)
    with torch.no_grad():
        output = model(mixture)
    present = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    batch = Batch(
        mixture=mixture,
        targets=torch.randn(4, 3, SAMPLES, generator=generator) * present[..., None],
        azimuth=torch.rand(4, 3, generator=generator) * 360 * present,
        elevation=torch.zeros(4, 3),
        distance=(0.7 + torch.rand(4, 3, generator=generator)) * present,
        present=present,
        index=torch.arange(4),
    )
    return model, output, batch


def losses(case: Case, assignment: str, batch: Batch | None = None, **keys: Any) -> Losses:
    model, output, own = case
    config = CriterionConfig.model_validate({"assignment": assignment, "weight": 0.9, **keys})
    return losses_of(Criterion(config), model, output, batch or own)


# --- absent speakers ----------------------------------------------------------------------


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_where_nobody_is_there_every_order_costs_the_same(assignment: str, case: Case) -> None:
    """Silence and "no speaker" in each slot."""
    empty = {
        name: torch.zeros_like(getattr(case[2], name))
        for name in ("targets", "azimuth", "distance", "present")
    }
    found = losses(case, assignment, replace(case[2], **empty))
    assert torch.isfinite(found.total)
    expected = losses(case, "azimuth", replace(case[2], **empty))
    torch.testing.assert_close(found.total, expected.total)


@settings(deadline=None, max_examples=80)
@given(
    azimuth=st.lists(st.floats(0, 359.9), min_size=1, max_size=5),
    absent=st.integers(0, 4),
    assignment=st.sampled_from(BY_LOCATION),
)
def test_absent_speakers_come_last_and_change_nothing_before_them(
    azimuth: list[float], absent: int, assignment: Assignment
) -> None:
    count = len(azimuth)
    distance = [1.0 + 0.3 * i for i in range(count)]

    def order(pad: int) -> list[int]:
        where = (azimuth, distance, [0.0] * count)
        tensors = (torch.tensor([x + [0.0] * pad], dtype=torch.float64) for x in where)
        present = torch.tensor([[True] * count + [False] * pad])
        found = assign_by_location(assignment, *tensors, gap=20.0, linear=False, present=present)
        return found[0].tolist()

    assert order(absent) == order(0) + list(range(count, count + absent))


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_where_absent_speakers_stand_in_the_input_does_not_matter(
    case: Case, assignment: str
) -> None:
    batch = case[2]
    names = ("targets", "azimuth", "elevation", "distance", "present")
    mixed = replace(batch, **{name: getattr(batch, name)[:, [2, 0, 1]] for name in names})
    plain, other = losses(case, assignment), losses(case, assignment, mixed)
    torch.testing.assert_close(other.total, plain.total)


@pytest.mark.parametrize("assignment", BY_LOCATION)
def test_an_empty_slot_is_held_to_silence_and_to_no_speaker(case: Case, assignment: str) -> None:
    model, _, batch = case
    order = losses(case, assignment).order
    held = torch.take_along_dim(batch.present, order, 1)
    assert held.tolist() == batch.present.tolist()  # speakers first
    perfect = right_in_order(case, order)
    assert perfect.spectra[~held].abs().max() == 0
    assert float(losses((model, perfect, batch), assignment).total) < 1e-6


@pytest.mark.parametrize("assignment", ["pit", "doa_pit", "joint_pit"])
def test_permutation_searches_permute_the_silent_ones_too(case: Case, assignment: str) -> None:
    model, _, batch = case
    turned = right_in_order(case, torch.tensor([[1, 2, 0]] * 4))
    assert float(losses((model, turned, batch), assignment).total) < 1e-6
    assert float(losses((model, turned, batch), "azimuth").total) > 0.1


def right_in_order(case: Case, order: torch.Tensor) -> Output:
    """What a network would say that puts the speakers into this order, and makes no mistake."""
    model, output, batch = case
    spectra = model.stft(torch.take_along_dim(batch.targets, order[..., None], 1))
    azimuth, there = (torch.take_along_dim(x, order, 1) for x in (batch.azimuth, batch.present))
    logits = []
    for found, grid in (
        (output.azimuth_logits, model.grid),
        (output.coarse_logits, model.look_grid),
    ):
        assert found is not None
        classes = torch.where(there, grid.index(azimuth), grid.num_classes)
        logits.append(torch.full_like(found, -30.0).scatter(-1, classes[..., None], 30.0))
    return replace(
        output,
        spectra=spectra,
        stages=(spectra,),
        azimuth_logits=logits[0],
        coarse_logits=logits[1],
    )


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_a_distance_loss_is_the_mean_over_those_who_are_there(
    make_model: Callable[..., MSDET], case: Case, kind: str
) -> None:
    model = make_model(slots=3, distance=kind, empty_slots=True).eval()
    batch = case[2]
    with torch.no_grad():
        output = model(batch.mixture)
    found = losses((model, output, batch), "azimuth", distance_weight=1.0)
    assert output.distance is not None
    distance = torch.take_along_dim(batch.distance, found.order, 1)
    each = distance_loss(output.distance, distance)
    expected = [float(e[:n].mean()) for e, n in zip(each, (1, 2, 3, 2), strict=True)]
    assert float(found.tasks["distance"]) == pytest.approx(sum(expected) / 4, rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_a_joint_search_finds_the_least_of_all_three_losses(
    make_model: Callable[..., MSDET], case: Case, kind: str
) -> None:
    model = make_model(slots=3, distance=kind, empty_slots=True).eval()
    batch = case[2]
    with torch.no_grad():
        output = model(batch.mixture)
        generator = torch.Generator().manual_seed(1)
        assert output.distance is not None
        noise = 3 * torch.randn(output.distance.shape, generator=generator)
        output = replace(output, distance=noise)
    keys = {"distance_weight": 2.0, "weight": 0.5}
    found = losses((model, output, batch), "joint_pit", **keys)
    names = ("targets", "azimuth", "elevation", "distance", "present")
    for scene in range(4):
        pick = slice(scene, scene + 1)
        part = Batch(**{f: getattr(batch, f)[pick] for f in TENSORS})
        said = replace(
            output,
            audio=output.audio[pick],
            spectra=output.spectra[pick],
            stages=tuple(stage[pick] for stage in output.stages),
            azimuth_logits=output.azimuth_logits[pick],  # type: ignore[index]
            coarse_logits=output.coarse_logits[pick],  # type: ignore[index]
            distance=output.distance[pick],  # type: ignore[index]
        )
        totals = []
        for order in permutations(range(3)):  # held to this order: sorted by made-up distances
            mixed = replace(part, **{n: getattr(part, n)[:, list(order)] for n in names})
            held = losses_in_order((model, said, mixed), **keys)
            totals.append(held)
        best = losses((model, said, part), "joint_pit", **keys)
        assert float(best.total) == pytest.approx(min(totals), rel=1e-5)
    assert torch.isfinite(found.total)


class AsListed:
    """Every slot takes the speaker of its number."""

    by_location = True
    needs: frozenset[Label] = frozenset()

    def __call__(self, labels: Labels, losses: object) -> torch.Tensor:
        return torch.arange(3)[None]


def losses_in_order(case: Case, **keys: Any) -> float:
    """The total where every slot is held to the speaker of its number."""
    model, output, batch = case
    config = CriterionConfig.model_validate({"assignment": "azimuth", **keys})
    criterion = Criterion(config)
    criterion.assign = AsListed()
    return float(losses_of(criterion, model, output, batch).total)


# --- missing labels -----------------------------------------------------------------------


@pytest.mark.parametrize("assignment", ["azimuth", "cyclic", "joint_pit"])
def test_an_example_without_a_label_trains_only_the_other_task(case: Case, assignment: str) -> None:
    batch = case[2]
    parts = {"separation": "has_targets", "direction": "has_azimuth"}
    for task, label in parts.items():
        known = torch.tensor([True, False, True, False])
        partly = losses(case, assignment, replace(batch, **{label: known}), balancing="fixed")
        kept = Batch(**{name: getattr(batch, name)[known] for name in TENSORS})
        model, output, _ = case
        seen = replace(
            output,
            stages=tuple(stage[known] for stage in output.stages),
            azimuth_logits=output.azimuth_logits[known],  # type: ignore[index]
            coarse_logits=output.coarse_logits[known],  # type: ignore[index]
        )
        alone = losses((model, seen, kept), assignment)
        torch.testing.assert_close(partly.tasks[task], alone.tasks[task])  # type: ignore[index]


def test_a_batch_without_any_label_of_a_task_costs_nothing_there(case: Case) -> None:
    nothing = torch.zeros(4, dtype=torch.bool)
    found = losses(case, "azimuth", replace(case[2], has_azimuth=nothing))
    assert float(found.tasks["direction"]) == 0
    assert float(found.total) == pytest.approx(0.9 * float(found.tasks["separation"]))
    both = replace(case[2], has_azimuth=nothing, has_targets=nothing)
    assert float(losses(case, "azimuth", both).total) == 0


def test_a_joint_search_uses_the_labels_that_an_example_has(case: Case) -> None:
    nothing = torch.zeros(4, dtype=torch.bool)
    without = losses(case, "joint_pit", replace(case[2], has_azimuth=nothing))
    assert torch.equal(without.order, losses(case, "pit").order)
    without = losses(case, "joint_pit", replace(case[2], has_targets=nothing))
    assert torch.equal(without.order, losses(case, "doa_pit").order)


# --- labels, penalties --------------------------------------------------------------------


def test_soft_labels_reach_the_loss(case: Case) -> None:
    hard, soft = losses(case, "azimuth"), losses(case, "azimuth", label_width=10.0)
    assert float(hard.tasks["direction"]) != pytest.approx(float(soft.tasks["direction"]))
    torch.testing.assert_close(hard.tasks["separation"], soft.tasks["separation"])
