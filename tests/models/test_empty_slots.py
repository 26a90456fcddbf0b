# SPDX-License-Identifier: Apache-2.0
"""Networks for a varying number of speakers: the class "no speaker", and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from msdet.models.msdet import MSDET

Make = Callable[..., MSDET]
SAMPLES = 2000


@pytest.fixture(scope="module")
def mixture() -> torch.Tensor:
    return torch.randn(2, 4, SAMPLES, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("guidance", ["none", "estimated"])
def test_there_is_one_class_more(make_model: Make, mixture: torch.Tensor, guidance: str) -> None:
    model = make_model(slots=3, empty_slots=True, guidance=guidance).eval()
    output = model(mixture)
    assert output.azimuth_logits is not None
    assert output.coarse_logits is not None
    assert output.azimuth_logits.shape == (2, 3, model.grid.num_classes + 1)
    assert output.coarse_logits.shape == (2, 3, model.look_grid.num_classes + 1)


def test_a_slot_is_empty_where_that_is_likelier_than_not(
    make_model: Make, mixture: torch.Tensor
) -> None:
    model = make_model(slots=3, empty_slots=True).eval()
    output = model(mixture)
    classes = model.grid.num_classes
    logits = torch.full((2, 3, classes + 1), -20.0)
    logits[:, 0, 7] = 5.0  # surely somebody, at 105 degrees
    logits[:, 1, classes] = 5.0  # surely nobody
    logits[:, 2, :classes] = 0.0  # somebody, no idea where: each class less likely than "nobody"
    logits[:, 2, classes] = 1.0
    found = model.locate(replace(output, azimuth_logits=logits))
    assert found is not None
    assert found.empty.tolist() == [[False, True, False]] * 2
    assert float(found.azimuth[0, 0]) == pytest.approx(105.0, abs=1e-3)
    assert found.azimuth[:, 1].isnan().all()
    assert not found.azimuth[:, 2].isnan().any()
    torch.testing.assert_close(found.posterior.sum(-1), torch.ones(2, 3))


def test_a_network_whose_slots_are_never_empty_says_so(
    make_model: Make, mixture: torch.Tensor
) -> None:
    model = make_model(slots=3).eval()
    found = model.locate(model(mixture))
    assert found is not None
    assert not found.empty.any()
    assert torch.isfinite(found.azimuth).all()


def test_a_slot_that_is_surely_empty_is_not_guided(make_model: Make, mixture: torch.Tensor) -> None:
    """What guides a mask is the probability of each direction, which then are all zero."""
    model = make_model(empty_slots=True)
    logits = torch.full((1, 2, model.look_grid.num_classes + 1), -30.0)
    logits[..., -1] = 30.0
    assert model._guidance(logits, None).abs().max() < 1e-6
    known = model._guidance(None, torch.tensor([[40.0, torch.nan]]))
    assert float(known[0, 0].sum()) == pytest.approx(1.0)
    assert known[0, 1].abs().max() == 0


@pytest.mark.parametrize("guidance", ["none", "estimated", "oracle"])
def test_outputs_and_gradients_are_finite(
    make_model: Make, mixture: torch.Tensor, guidance: str
) -> None:
    model = make_model(empty_slots=True, guidance=guidance)
    azimuth = torch.tensor([[40.0, torch.nan]] * 2) if guidance == "oracle" else None
    for audio in (mixture, torch.zeros_like(mixture)):
        model.zero_grad()
        output = model(audio, azimuth=azimuth)
        assert output.azimuth_logits is not None
        assert output.coarse_logits is not None
        loss = sum(stage.abs().mean() for stage in output.stages)
        loss = loss + output.azimuth_logits.square().mean()
        (loss + output.coarse_logits.square().mean()).backward()
        gradients = [p.grad for p in model.parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)
