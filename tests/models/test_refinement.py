# SPDX-License-Identifier: Apache-2.0
"""Filters of beams and past frames, and the equaliser behind them."""

from __future__ import annotations

import numpy as np
import torch

from msdet.models.beamforming import Paths, delayed, predict_paths
from msdet.models.refinement import RELATIVE_BEAMS, Equaliser, FilterHead

FREQS, FRAMES = 33, 40


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def heard() -> tuple[torch.Tensor, torch.Tensor, Paths]:
    """A mixture ``[batch, mic, freq, frame]``, two estimates of its speakers, their paths."""
    mixture, estimates = noise(2, 3, FREQS, FRAMES), noise(2, 2, FREQS, FRAMES)
    return mixture, estimates, predict_paths(mixture, estimates, noise(2, 2, FREQS, 3))


def test_filters_start_from_both_beams() -> None:
    mixture, estimates, paths = heard()
    beams, full = noise(2, 2, FREQS, FRAMES), torch.randn(2, 4, FREQS, FRAMES)
    refined = FilterHead(4, 6)(mixture[:, 0], beams, paths, estimates, full)
    share = refined / (beams + paths.alone)
    torch.testing.assert_close(share, torch.full_like(share, share[0, 0, 0, 0].real.item()))
    assert 0.3 < share[0, 0, 0, 0].real < 0.5


def test_filters_reach_two_frames_back() -> None:
    mixture, estimates, paths = heard()
    beams, full = noise(2, 2, FREQS, FRAMES), torch.randn(2, 4, FREQS, FRAMES)
    head = FilterHead(4, 6)
    weights = torch.zeros(20)
    weights[2] = 1.0  # the real weight of the beam two frames ago
    with torch.no_grad():
        head.out.bias.copy_(weights)
    refined = head(mixture[:, 0], beams, paths, estimates, full)
    share = refined[..., 2:] / delayed(beams, 2)[..., 2:]
    torch.testing.assert_close(share, torch.full_like(share, share[0, 0, 0, 0].real.item()))


def equaliser(bound: float) -> Equaliser:
    torch.manual_seed(0)
    made = Equaliser(np.linspace(0.0, 4000.0, FREQS), 8, 3).eval()
    torch.nn.init.uniform_(made.out.weight, -bound, bound)
    return made


def around() -> torch.Tensor:
    return noise(2, 2 * len(RELATIVE_BEAMS), FREQS, 3)


def test_the_equaliser_starts_as_none() -> None:
    _, estimates, paths = heard()
    assert torch.equal(equaliser(0.0)(estimates, paths, around()), estimates)


def test_the_equaliser_has_one_gain_for_a_slot_and_frequency() -> None:
    _, estimates, paths = heard()
    gain = equaliser(0.5)(estimates, paths, around()) / estimates
    torch.testing.assert_close(gain, gain[..., :1].expand_as(gain), atol=1e-4, rtol=1e-3)
    assert gain[..., 0].std() > 0.1


def test_slots_are_equalised_by_themselves() -> None:
    _, estimates, paths = heard()
    turned = Paths(**{name: part.flip(1) for name, part in vars(paths).items()})
    beams = around().reshape(2, 2, -1, FREQS, 3)
    plain = equaliser(0.5)(estimates, paths, beams.flatten(1, 2))
    swapped = equaliser(0.5)(estimates.flip(1), turned, beams.flip(1).flatten(1, 2))
    torch.testing.assert_close(swapped.flip(1), plain)


def test_no_gradient_passes_through_statistics() -> None:
    _, estimates, paths = heard()
    estimates.requires_grad_()
    made = equaliser(0.0)
    made(estimates, paths, around()).real.sum().backward()
    torch.testing.assert_close(estimates.grad, torch.ones_like(estimates))
