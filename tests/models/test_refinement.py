# SPDX-License-Identifier: Apache-2.0
"""Filters of beams and past frames."""

from __future__ import annotations

import torch

from msdet.models.beamforming import Paths, delayed, predict_paths
from msdet.models.refinement import FilterHead

FREQS, FRAMES = 33, 40


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def heard() -> tuple[torch.Tensor, torch.Tensor, Paths]:
    """A mixture ``[batch, mic, freq, frame]``, two estimates of its speakers, their paths."""
    mixture, estimates = noise(2, 3, FREQS, FRAMES), noise(2, 2, FREQS, FRAMES)
    return mixture, estimates, predict_paths(mixture, estimates, noise(2, 2, 1, FREQS, 3))


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
    share = refined[..., 2:] / delayed(beams, 2)[2][..., 2:]
    torch.testing.assert_close(share, torch.full_like(share, share[0, 0, 0, 0].real.item()))
