# SPDX-License-Identifier: Apache-2.0
"""The distance head: octaves, classes, and what it hears."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from msdet.criteria.losses import distance_loss
from msdet.geometry import DISTANCES, distance_octaves
from msdet.models.heads import DistanceHead, slot_levels
from msdet.models.msdet import MSDET

KINDS = ("regression", "classes")
CLASSES = 21
SCALE = torch.as_tensor(distance_octaves(CLASSES))


def test_regression_decodes_octaves() -> None:
    head = DistanceHead(4, 8, "regression")
    output = torch.tensor([[[0.0], [1.0], [-1.0], [9.0], [-9.0]]])
    torch.testing.assert_close(
        head.decode(output), torch.tensor([[1.0, 2.0, 0.5, DISTANCES[1], DISTANCES[0]]])
    )


def test_classes_decode_to_their_mean_on_the_scale_of_octaves() -> None:
    head = DistanceHead(4, 8, "classes")
    logits = torch.full((1, 1, CLASSES), -50.0)
    one, two = (int((SCALE - octave).abs().argmin()) for octave in (0.0, 1.0))
    logits[..., [one, two]] = 0.0
    assert float(head.decode(logits)) == pytest.approx(2**0.5, rel=1e-4)


@pytest.mark.parametrize("distance", [0.25, 0.7, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_least_at_the_truth(kind: str, distance: float) -> None:
    truth = torch.tensor([[distance]])
    octaves = torch.tensor(distance).log2()
    if kind == "regression":
        outputs = [torch.full((1, 1, 1), float(octaves) + off) for off in (0.0, 0.1, -0.1, 1.0)]
    else:
        peak = int((SCALE - octaves).abs().argmin())
        outputs = [
            torch.nn.functional.one_hot(torch.tensor([[k % CLASSES]]), CLASSES) * 9
            for k in (peak, peak + 1, peak - 1, peak + 4)
        ]
    losses = [float(distance_loss(output.float(), truth)) for output in outputs]
    assert losses[0] < 0.01
    assert min(losses[1:]) > losses[0] + 0.004
    assert losses[3] >= losses[1]


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_a_finite_loss_for_absent_speakers_and_silent_slots(
    make_model: Callable[..., MSDET], kind: str
) -> None:
    model = make_model(distance=kind)
    assert model.distance_head is not None
    output = model(torch.zeros(1, 4, 2000))
    assert output.distance is not None
    loss = distance_loss(output.distance, torch.zeros(1, 2))
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    decoded = model.distance_head.decode(output.distance)
    assert ((decoded >= DISTANCES[0]) & (decoded <= DISTANCES[1])).all()


def test_levels_are_halves_of_the_log_share_of_energy() -> None:
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(2, 5, 7, dtype=torch.complex64, generator=generator)
    weight = torch.stack([mixture.abs(), 0.1 * mixture.abs(), 0 * mixture.abs()], dim=1)
    found = slot_levels(weight, mixture)
    expected = [0.0, torch.log(torch.tensor(0.01)) / 2, -4.0]
    for slot, level in enumerate(expected):
        torch.testing.assert_close(
            found[:, slot, 0], torch.full((2,), float(level)), atol=0.02, rtol=0.0
        )
