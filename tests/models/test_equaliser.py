# SPDX-License-Identifier: Apache-2.0
"""Weights for the whole utterance: the equaliser of one estimate, the combiner of two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msdet.models.beamforming import DRY_SHARE, Paths, predict_paths
from msdet.models.equaliser import (
    RELATIVE_BEAMS,
    Combiner,
    Equaliser,
    statistics_of_two,
)

FREQS, FRAMES = 33, 40


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def heard() -> tuple[torch.Tensor, Paths]:
    """Estimates of two speakers and their paths to three microphones."""
    mixture, estimates = noise(2, 3, FREQS, FRAMES), noise(2, 2, FREQS, FRAMES)
    return estimates, predict_paths(mixture, estimates, noise(2, 2, 1, FREQS, 3))


def equaliser(bound: float) -> Equaliser:
    torch.manual_seed(0)
    made = Equaliser(np.linspace(0.0, 4000.0, FREQS), 8, 3).eval()
    torch.nn.init.uniform_(made.out.weight, -bound, bound)
    return made


def around() -> torch.Tensor:
    return noise(2, 2, 1, len(RELATIVE_BEAMS), FREQS, 3)


def test_the_equaliser_starts_as_none() -> None:
    estimates, paths = heard()
    assert torch.equal(equaliser(0.0)(estimates, paths, around()), estimates)


def test_the_equaliser_has_one_gain_for_a_slot_and_frequency() -> None:
    estimates, paths = heard()
    gain = equaliser(0.5)(estimates, paths, around()) / estimates
    torch.testing.assert_close(gain, gain[..., :1].expand_as(gain), atol=1e-4, rtol=1e-3)
    assert gain[..., 0].std() > 0.1


def test_slots_are_equalised_by_themselves() -> None:
    estimates, paths = heard()
    turned = Paths(**{name: part.flip(1) for name, part in vars(paths).items()})
    plain = equaliser(0.5)(estimates, paths, around())
    swapped = equaliser(0.5)(estimates.flip(1), turned, around().flip(1))
    torch.testing.assert_close(swapped.flip(1), plain)


def test_no_gradient_passes_through_statistics() -> None:
    estimates, paths = heard()
    estimates.requires_grad_()
    made = equaliser(0.5)
    found = made(estimates, paths, around())
    gain = (found / estimates).detach()
    found.real.sum().backward()
    torch.testing.assert_close(estimates.grad, gain.conj(), atol=1e-4, rtol=1e-3)


# --- of two -------------------------------------------------------------------------------


def combiner(bound: float) -> Combiner:
    torch.manual_seed(0)
    made = Combiner(np.linspace(0.0, 4000.0, FREQS), 8, 3).eval()
    torch.nn.init.uniform_(made.out.weight, -bound, bound)
    return made


def two() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Estimates, others of the same speakers, and their statistics."""
    estimates, paths = heard()
    dry = 0.5 * estimates + noise(2, 2, FREQS, FRAMES + 1)[..., 1:]
    return estimates, dry, statistics_of_two(estimates, paths, dry, paths, around())


def test_the_combiner_starts_as_the_average() -> None:
    estimates, dry, statistics = two()
    found = combiner(0.0)(estimates, dry, statistics)
    torch.testing.assert_close(found, estimates + (dry - estimates) * DRY_SHARE)


@pytest.mark.parametrize("which", [0, 1])
def test_the_combiner_has_one_weight_for_a_slot_and_frequency(which: int) -> None:
    *signals, statistics = two()
    signals[1 - which] = torch.zeros_like(signals[which])
    weight = combiner(0.5)(*signals, statistics) / signals[which]
    torch.testing.assert_close(weight, weight[..., :1].expand_as(weight), atol=1e-4, rtol=1e-3)
    assert weight[..., 0].std() > 0.1


def test_statistics_of_two_tell_how_alike_they_are() -> None:
    estimates, paths = heard()
    *_, real, imag, ratio = statistics_of_two(
        estimates, paths, 2j * estimates, paths, around()
    ).unbind(-2)
    torch.testing.assert_close(real, torch.zeros_like(real))
    torch.testing.assert_close(imag, torch.ones_like(imag))
    torch.testing.assert_close(ratio, torch.full_like(ratio, np.log(2.0)), atol=1e-4, rtol=0)


def test_statistics_of_silence_are_bounded() -> None:
    estimates, paths = heard()
    silent = torch.zeros_like(estimates)
    for pair in ((estimates, silent), (silent, estimates), (silent, silent)):
        found = statistics_of_two(pair[0], paths, pair[1], paths, around())
        assert found.isfinite().all()
        assert found.abs().max() <= 4.0
