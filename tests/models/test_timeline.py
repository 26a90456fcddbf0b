# SPDX-License-Identifier: Apache-2.0
"""Means over frames, moment by moment, against the same written out."""

from __future__ import annotations

import pytest
import torch

from msdet.models.timeline import WHOLE, Around, Memory, Past, Timeline

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


# --- the past -----------------------------------------------------------------------------


@pytest.mark.parametrize("complex_", [False, True])
def test_means_of_the_past_decay_with_age(complex_: bool) -> None:
    timeline = Past(FRAMES, 4, 0.5, None)
    values = noise(2, 5, FRAMES, complex_=complex_)
    left, right = (noise(2, 5, n, FRAMES, complex_=complex_) for n in (3, 4))
    means, products = timeline.mean(values), timeline.product(left, right)
    for moment in range(timeline.blocks):
        frames = torch.arange(min(FRAMES, 4 * (moment + 1)))
        weights = 0.5 ** (moment - frames // 4)
        weights = (weights / weights.sum()).to(values.dtype)
        heard = values[..., : len(frames)]
        torch.testing.assert_close(means[..., moment], (heard * weights).sum(-1))
        ours, others = left[..., : len(frames)] * weights, right[..., : len(frames)]
        torch.testing.assert_close(products[:, moment], ours @ others.mH, atol=1e-5, rtol=1e-4)


def test_peaks_of_the_past_fall_with_age() -> None:
    values = torch.zeros(1, 12)
    values[0, 2], values[0, 9] = 8.0, 1.5
    peaks = Past(12, 2, 0.5, None).peak(values)
    torch.testing.assert_close(peaks, torch.tensor([[0.0, 8.0, 4.0, 2.0, 1.5, 0.75]]))


@pytest.mark.parametrize("blocks", [(1, 1, 4), (3, 3), (2, 4)])
def test_pieces_are_as_the_whole(blocks: tuple[int, ...]) -> None:
    values, left, right = noise(2, 5, 24), noise(2, 5, 3, 24), noise(2, 5, 2, 24)
    memory = Memory()

    def heard(values: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> list[torch.Tensor]:
        timeline = Past(values.shape[-1], 4, 0.7, memory)
        before = timeline.before(values, 3)[..., : values.shape[-1]]
        product = timeline.product(left, right).movedim(1, -1)
        return [before, timeline.mean(values), timeline.peak(values.abs()), product]

    expected = heard(values, left, right)
    memory = Memory()
    first, pieces = 0, []
    for count in blocks:
        some = slice(first, first + 4 * count)
        memory.rewind()
        pieces.append(heard(values[..., some], left[..., some], right[..., some]))
        first += 4 * count
    for whole, *parts in zip(expected, *pieces, strict=True):
        torch.testing.assert_close(torch.cat(parts, dim=-1), whole)
