# SPDX-License-Identifier: Apache-2.0
"""Losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from msdet.criteria.losses import azimuth_cross_entropy, pairwise_spectral_l1, spectral_l1
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


def test_pairs_are_every_slot_against_every_speaker() -> None:
    slots, speakers = spectra(2, 3, 4, 5), spectra(2, 3, 4, 5, seed=1)
    pairs = pairwise_spectral_l1(slots, speakers)
    assert pairs.shape == (2, 3, 3)
    for slot in range(3):
        for speaker in range(3):
            expected = spectral_l1(slots[:, slot], speakers[:, speaker])
            torch.testing.assert_close(pairs[:, slot, speaker], expected)


def test_guessing_directions_costs_the_log_of_their_number() -> None:
    grid = AzimuthGrid(5.0)
    loss = azimuth_cross_entropy(torch.zeros(2, 3, 72), torch.rand(2, 3) * 360, grid)
    torch.testing.assert_close(loss, torch.full((2, 3), math.log(72)))


def test_azimuths_around_zero_are_one_class() -> None:
    logits = torch.zeros(1, 2, 72)
    logits[..., 0] = 20.0
    loss = azimuth_cross_entropy(logits, torch.tensor([[359.0, 1.0]]), AzimuthGrid(5.0))
    assert loss.max() < 1e-3


def test_losses_are_float32_also_of_half_precision() -> None:
    logits = torch.zeros(1, 1, 72, dtype=torch.bfloat16)
    assert azimuth_cross_entropy(logits, torch.zeros(1, 1), AzimuthGrid(5.0)).dtype == torch.float32
