# SPDX-License-Identifier: Apache-2.0
"""Fitting the combiner: what is kept of examples stands for their signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msdet.metrics.signals.si_sdr import si_sdr as si_sdr_of_signals
from msdet.models.equaliser import Combiner
from scripts.fit_combiner import Kept, closest, error, fit, predicted, si_sdr

SLOTS, FREQS, FRAMES = 24, 9, 30


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    """Targets ``[slot, freq, frame]``, and two signals ``[slot, freq, 2, frame]`` that hold them
    with gains, told by the first statistics, and noise."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.complex64, generator=generator)

    targets = noise(SLOTS, FREQS, FRAMES)
    gains = 1 + 0.5 * noise(SLOTS, FREQS, 2)
    found = gains[..., None] * targets[:, :, None] + 0.2 * noise(SLOTS, FREQS, 2, FRAMES)
    return targets, torch.cat([found, gains[..., None]], dim=-1)


def kept(combiner: Combiner) -> tuple[torch.Tensor, torch.Tensor, Kept]:
    targets, found = signals()
    found, gains = found[..., :-1], found[..., -1]
    energy = targets.abs().square().sum((1, 2))[:, None]
    told = torch.view_as_real(gains).flatten(2).mT
    statistics = torch.zeros(SLOTS, combiner.inlet.in_channels - 1, FREQS)
    statistics[:, :4] = told
    return (
        targets,
        found,
        {
            "statistics": statistics,
            "covariance": found @ found.mH / energy[..., None, None],
            "cross": (found @ targets[..., None].conj())[..., 0] / energy[..., None],
            "share": targets.abs().square().sum(-1) / energy,
        },
    )


def combiner() -> Combiner:
    torch.manual_seed(0)
    return Combiner(np.linspace(0.0, 4000.0, FREQS), 16, 2)


def test_the_quadratic_form_is_the_error_of_the_signals() -> None:
    targets, found, coefficients = kept(combiner())
    weights = torch.randn(SLOTS, FREQS, 2, dtype=torch.complex64)
    summed = (weights[..., None] * found).sum(2)
    difference = (summed - targets).abs().square().sum((1, 2))
    expected = difference / targets.abs().square().sum((1, 2))
    torch.testing.assert_close(error(weights, coefficients), expected)
    gains = [
        si_sdr_of_signals(*(torch.view_as_real(part).flatten().numpy() for part in pair))
        for pair in zip(summed, targets, strict=True)
    ]
    assert si_sdr(weights, coefficients) == pytest.approx(np.mean(gains), abs=0.01)


def test_fitting_learns_what_statistics_tell() -> None:
    made = combiner()
    *_, coefficients = kept(made)
    before = si_sdr(predicted(made.eval(), coefficients["statistics"]), coefficients)
    fit(made, coefficients, epochs=100)
    after = si_sdr(predicted(made, coefficients["statistics"]), coefficients)
    assert after > before + 3
    assert not made.training


def test_speakers_find_their_slots() -> None:
    targets, _ = signals()
    estimates = torch.stack([targets[1], torch.zeros_like(targets[0]), 0.1 * targets[0]])
    assert closest(estimates, targets[:2]) == (2, 0)
