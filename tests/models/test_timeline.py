# SPDX-License-Identifier: Apache-2.0
"""Means over frames, moment by moment, against the same written out."""

from __future__ import annotations

import pytest
import torch

from msdet.models.timeline import WHOLE, Around, Timeline

FRAMES = 22


def noise(*shape: int, complex_: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    kind = torch.complex64 if complex_ else torch.float32
    return torch.randn(*shape, dtype=kind, generator=generator)


def frames_of(timeline: Around, moment: int) -> slice:
    first = (moment - timeline.reach) * timeline.stride - timeline.stride // 2
    length = (2 * timeline.reach + 1) * timeline.stride
    return slice(max(0, first), min(FRAMES, first + length))


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("stride", [1, 3, 4])
@pytest.mark.parametrize("reach", [0, 2])
def test_moments_are_means_of_the_frames_around(stride: int, reach: int, complex_: bool) -> None:
    timeline = Around(FRAMES, stride, reach)
    values = noise(2, 5, FRAMES, complex_=complex_)
    left, right = (noise(2, 5, n, FRAMES, complex_=complex_) for n in (3, 4))
    means, products = timeline.mean(values), timeline.product(left, right)
    assert means.shape == (2, 5, timeline.blocks)
    assert products.shape == (2, timeline.blocks, 5, 3, 4)
    for moment in range(timeline.blocks):
        frames = frames_of(timeline, moment)
        torch.testing.assert_close(means[..., moment], values[..., frames].mean(-1))
        alone = WHOLE.product(left[..., frames], right[..., frames])[:, 0]
        torch.testing.assert_close(products[:, moment], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_weights_of_a_moment_are_for_its_own_frames(stride: int) -> None:
    timeline = Around(FRAMES, stride, 2)
    weights, signals = noise(2, 3, timeline.blocks, 5, 4), noise(2, 5, 4, FRAMES)
    found = timeline.apply(weights, signals)
    held = timeline.held(weights.permute(0, 1, 3, 4, 2))
    assert found.shape == (2, 3, 5, FRAMES)
    torch.testing.assert_close(found, (held * signals[:, None]).sum(3))
    for moment in range(timeline.blocks):
        first = moment * stride - stride // 2
        own = slice(max(0, first), first + stride)
        expected = WHOLE.apply(weights[:, :, moment, None], signals[..., own])
        torch.testing.assert_close(found[..., own], expected)


@pytest.mark.parametrize("timeline", [WHOLE, Around(FRAMES, 4, 1)])
def test_one_weight_serves_all_frames(timeline: Timeline) -> None:
    weights, signals = noise(2, 3, 1, 1, 4), noise(2, 5, 4, FRAMES)
    expected = (weights[:, :, 0, :, :, None] * signals[:, None]).sum(3)
    torch.testing.assert_close(timeline.apply(weights, signals), expected)
    assert timeline.held(weights[..., 0]).shape[-1] == 1
