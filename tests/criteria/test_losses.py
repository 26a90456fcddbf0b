# SPDX-License-Identifier: Apache-2.0
"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from msdet.criteria.losses import (
    NegativeSnr,
    azimuth_targets,
    cross_entropy,
    spectral_l1,
)
from msdet.geometry import AzimuthGrid


def spectra(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize(
    ("estimate", "target", "loss"),
    [
        (3 + 4j, 0j, 3 + 4 + 5),
        (0j, 3 + 4j, 3 + 4 + 5),
        (3 + 4j, 3 + 4j, 0),
        (5j, 3 + 4j, 3 + 1 + 0),  # as loud: the magnitude costs nothing
        (-3 - 4j, 3 + 4j, 6 + 8 + 0),  # the wrong sign is not free
        (2 + 0j, 1 + 0j, 1 + 0 + 1),
    ],
)
def test_a_bin_costs_real_imaginary_and_magnitude_differences(
    estimate: complex, target: complex, loss: float
) -> None:
    found = spectral_l1(torch.tensor([[estimate]]), torch.tensor([[target]]))
    assert float(found) == pytest.approx(loss)


def test_the_loss_is_the_mean_over_bins_of_each_slot() -> None:
    estimate, target = spectra(2, 3, 4, 5), spectra(2, 3, 4, 5, seed=1)
    found = spectral_l1(estimate, target)
    assert found.shape == (2, 3)
    bins = [
        spectral_l1(estimate[1, 2, f, t][None, None], target[1, 2, f, t][None, None])
        for f in range(4)
        for t in range(5)
    ]
    assert float(found[1, 2]) == pytest.approx(float(torch.stack(bins).mean()), rel=1e-5)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0])
def test_the_snr_is_the_one_asked_for_up_to_its_limit(snr: float) -> None:
    target = torch.randn(2, 3, 16_000, generator=torch.Generator().manual_seed(0))
    error = torch.randn(2, 3, 16_000, generator=torch.Generator().manual_seed(1))
    error *= target.norm(dim=-1, keepdim=True) / error.norm(dim=-1, keepdim=True)
    found = NegativeSnr()(target + error * 10 ** (-snr / 20), target)
    limited = 10 * math.log10(10 ** (-snr / 10) + 1e-3)
    torch.testing.assert_close(found, torch.full((2, 3), limited), atol=1e-3, rtol=0)
    assert float(NegativeSnr()(target, target).max()) == pytest.approx(-30)


def test_the_snr_of_a_silent_target_is_the_level_that_is_left() -> None:
    silent = torch.zeros(1, 1, 1000)
    estimate = torch.full((1, 1, 1000), 0.1, requires_grad=True)
    loss = NegativeSnr()(estimate, silent)
    assert float(loss.detach()) == pytest.approx(10 * math.log10(0.01 + 1e-3), abs=1e-4)
    loss.sum().backward()
    assert estimate.grad is not None
    assert bool((estimate.grad > 0).all())


def test_silence_costs_about_two() -> None:
    """Of noise with an RMS of one: 2 / sqrt(pi) for the parts, sqrt(pi) / 2 for the magnitude."""
    noise = spectra(1, 200, 200)
    expected = 2 / math.sqrt(math.pi) + math.sqrt(math.pi) / 2
    assert float(spectral_l1(torch.zeros_like(noise), noise)) == pytest.approx(expected, rel=0.02)


def test_silence_has_a_gradient() -> None:
    estimate = torch.zeros(1, 3, 3, dtype=torch.complex64, requires_grad=True)
    spectral_l1(estimate, torch.zeros_like(estimate)).sum().backward()
    assert estimate.grad is not None
    assert torch.isfinite(torch.view_as_real(estimate.grad)).all()


# --- directions ---------------------------------------------------------------------------

GRID = AzimuthGrid(5.0)


def labels(
    azimuth: list[float],
    *,
    present: list[bool] | None = None,
    grid: AzimuthGrid = GRID,
    width: float = 0.0,
) -> torch.Tensor:
    """Labels ``[speaker, class]`` of one scene; with ``present``, of slots that may be empty."""
    there = torch.tensor([present or [True] * len(azimuth)])
    outputs = grid.num_classes + (present is not None)
    return azimuth_targets(torch.tensor([azimuth]), there, grid, outputs, width)[0]


def test_guessing_directions_costs_the_log_of_their_number() -> None:
    loss = cross_entropy(torch.zeros(3, 72), labels([10.0, 200.0, 359.0]))
    torch.testing.assert_close(loss, torch.full((3,), math.log(72)))


def test_hard_labels_give_the_usual_cross_entropy() -> None:
    logits = torch.randn(1, 4, 72, generator=torch.Generator().manual_seed(0))
    azimuth = torch.tensor([[3.0, 358.0, 90.0, 181.0]])
    usual = torch.nn.functional.cross_entropy(logits[0], GRID.index(azimuth[0]), reduction="none")
    torch.testing.assert_close(cross_entropy(logits[0], labels(azimuth[0].tolist())), usual)


def test_azimuths_around_zero_are_one_class() -> None:
    logits = torch.zeros(2, 72)
    logits[..., 0] = 20.0
    assert cross_entropy(logits, labels([359.0, 1.0])).max() < 1e-3


@pytest.mark.parametrize("width", [0.0, 3.0, 10.0])
@pytest.mark.parametrize("grid", [GRID, AzimuthGrid(5.0, linear=True)])
def test_labels_are_probabilities(width: float, grid: AzimuthGrid) -> None:
    found = labels([0.0, 2.4, 179.0], grid=grid, width=width)
    torch.testing.assert_close(found.sum(-1), torch.ones(3))
    assert (found >= 0).all()


@pytest.mark.parametrize("azimuth", [0.0, 5.0, 90.0, 355.0])
def test_soft_labels_fall_as_a_gaussian_around_the_circle(azimuth: float) -> None:
    found = labels([azimuth], width=10.0)[0]
    peak = int(azimuth / 5)
    assert int(found.argmax()) == peak
    for steps in (1, 4):
        for side in (-1, 1):
            ratio = float(found[(peak + side * steps) % 72] / found[peak])
            assert ratio == pytest.approx(math.exp(-0.5 * (5 * steps / 10) ** 2), rel=1e-4)


def test_soft_labels_turn_with_the_scene_and_have_the_asked_width() -> None:
    one, other = labels([42.0], width=8.0)[0], labels([42.0 + 35.0], width=8.0)[0]
    torch.testing.assert_close(torch.roll(one, 7), other)
    apart = torch.from_numpy(GRID.centres) - 42.0
    assert float((one * apart.square()).sum().sqrt()) == pytest.approx(8.0, rel=0.01)
    assert float((one * apart).sum()) == pytest.approx(0.0, abs=1e-3)  # between the classes


def test_soft_labels_of_a_line_do_not_reach_around() -> None:
    found = labels([2.0], grid=AzimuthGrid(5.0, linear=True), width=8.0)[0]
    assert float(found[-1]) < 1e-9
    assert int(found.argmax()) == 0


@pytest.mark.parametrize("width", [0.0, 8.0])
def test_an_absent_speaker_is_the_class_behind_the_last(width: float) -> None:
    found = labels([42.0, 42.0], present=[True, False], width=width)
    assert found.shape == (2, 73)
    assert found[0, -1] == 0
    assert found[1].tolist() == [0.0] * 72 + [1.0]


def test_losses_are_float32_also_of_half_precision() -> None:
    logits = torch.zeros(1, 72, dtype=torch.bfloat16)
    assert cross_entropy(logits, labels([0.0])).dtype == torch.float32
