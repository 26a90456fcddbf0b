# SPDX-License-Identifier: Apache-2.0
"""Labels of directions over time, and what a network is trained to say of who walks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from msdet.criteria import Criterion, CriterionConfig, Labels, Predictions
from msdet.criteria.losses import azimuth_targets, cross_entropy
from msdet.datasets import Batch
from msdet.geometry import AzimuthGrid
from msdet.models.msdet import MSDET
from msdet.training.module import labels_of, losses_of
from msdet.training.tracks import track_of

RATE = 8000
SAMPLES = 2 * RATE
MOMENTS = 21


@pytest.fixture(scope="module")
def model(make_model: Callable[..., MSDET]) -> MSDET:
    return make_model(span=0.2).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    """The first walks through 0 degrees and speaks for a second; the second stands."""
    targets = torch.randn(1, 2, SAMPLES, generator=torch.Generator().manual_seed(0))
    targets[0, 0, RATE:] = 0
    walk = torch.linspace(340, 380, MOMENTS)
    return Batch(
        mixture=targets.sum(1, keepdim=True).repeat(1, 4, 1),
        targets=targets,
        azimuth=torch.tensor([[340.0, 100.0]]),
        elevation=torch.zeros(1, 2),
        distance=torch.ones(1, 2),
        present=torch.ones(1, 2, dtype=torch.bool),
        index=torch.zeros(1, dtype=torch.long),
        track=torch.stack([walk, torch.full((MOMENTS,), 100.0)])[None],
    )


def test_labels_are_where_a_speaker_is_while_heard(model: MSDET, batch: Batch) -> None:
    track = track_of(model, batch)[0]
    seconds = torch.arange(track.shape[-1]) * model.track_seconds
    expected = (340 + 20 * seconds).remainder(360)
    early, late = seconds < 0.9, seconds > 1.15
    torch.testing.assert_close(track[0, early], expected[early], atol=1e-3, rtol=0)
    assert bool(track[0, late].isnan().all())
    assert bool((track[1] == 100).all())


def test_who_stands_has_one_azimuth_and_who_is_absent_has_none(model: MSDET, batch: Batch) -> None:
    absent = torch.tensor([[True, False]])
    track = track_of(model, replace(batch, track=None, present=absent))[0]
    assert set(track[0].nan_to_num(-1).tolist()) == {340.0, -1.0}
    assert bool(track[1].isnan().all())


def test_without_targets_all_are_taken_as_heard(model: MSDET, batch: Batch) -> None:
    nothing = torch.zeros_like(batch.targets)
    unknown = replace(batch, targets=nothing, has_targets=torch.tensor([False]))
    assert not track_of(model, unknown).isnan().any()


def test_the_loss_over_time_is_the_mean_over_the_frames_with_a_speaker() -> None:
    grid = AzimuthGrid(15.0)
    track = torch.tensor([[[30.0, 60.0, torch.nan, torch.nan], [90.0, 90.0, 90.0, 90.0]]])
    logits = torch.randn(1, 2, 4, 24, generator=torch.Generator().manual_seed(0))
    criterion = Criterion(CriterionConfig(assignment="azimuth", weight=0.0))
    labels = Labels(azimuth=torch.tensor([[30.0, 90.0]]), track=track)
    found = criterion(Predictions(tracks=[(logits, grid)]), labels).tasks["direction"]
    targets = azimuth_targets(track.nan_to_num(), None, grid, 24)
    losses = cross_entropy(logits, targets)[0]
    expected = (losses[0, :2].mean() + losses[1].mean()) / 2
    torch.testing.assert_close(found, expected)


def test_a_slot_with_nobody_to_hear_is_left_to_the_utterance() -> None:
    grid = AzimuthGrid(15.0)
    track = torch.tensor([[[30.0, 30.0], [torch.nan, torch.nan]]])
    present = torch.tensor([[True, False]])
    labels = Labels(azimuth=torch.tensor([[30.0, 0.0]]), track=track, present=present)
    criterion = Criterion(CriterionConfig(assignment="azimuth", weight=0.0))
    once = torch.randn(1, 2, 25, generator=torch.Generator().manual_seed(0))
    over_time = torch.randn(1, 2, 2, 25, generator=torch.Generator().manual_seed(1))
    parts = {"directions": [(once, grid)]}
    alone = criterion(Predictions(**parts), labels).tasks["direction"]  # type: ignore[arg-type]
    both = criterion(Predictions(**parts, tracks=[(over_time, grid)]), labels)  # type: ignore[arg-type]
    first = cross_entropy(once[0, 0], azimuth_targets(track[0, :1, :1], None, grid, 25)[0, 0])
    read = cross_entropy(over_time[0, 0], azimuth_targets(track[0, :1], None, grid, 25)[0]).mean()
    torch.testing.assert_close(both.tasks["direction"], alone + (read - first) / 4)


def test_the_direction_of_an_utterance_is_shared_out_by_time() -> None:
    grid = AzimuthGrid(15.0)
    track = torch.tensor([[[30.0, 30.0, 30.0, 60.0, torch.nan], [90.0] * 5]])
    labels = Labels(azimuth=torch.tensor([[30.0, 90.0]]), track=track)
    criterion = Criterion(CriterionConfig(assignment="azimuth", weight=0.0))
    shares = torch.zeros(1, 2, 24)
    shares[0, 0, 2], shares[0, 0, 4], shares[0, 1, 6] = 0.75, 0.25, 1.0
    logits = torch.randn(1, 2, 24, generator=torch.Generator().manual_seed(0))
    found = criterion(Predictions(directions=[(logits, grid)]), labels).tasks["direction"]
    torch.testing.assert_close(found, cross_entropy(logits, shares).mean())


@pytest.mark.parametrize("assignment", ["azimuth", "cyclic", "pit", "joint_pit"])
def test_all_orders_train_a_head_that_reads_over_time(
    assignment: str, make_model: Callable[..., MSDET], batch: Batch
) -> None:
    model = make_model(span=0.2)
    criterion = Criterion(CriterionConfig(assignment=assignment, weight=0.5))
    output = model(batch.mixture)
    labels = labels_of(model, batch, criterion)
    assert labels.track is not None
    assert output.track_logits is not None
    assert labels.track.shape == output.track_logits.shape[:-1]
    losses = losses_of(criterion, model, output, batch)
    torch.autograd.backward(losses.total)
    assert model.fine_head is not None
    assert all(p.grad is not None for p in model.fine_head.parameters())
    plain = make_model()
    assert labels_of(plain, batch, criterion).track is None
