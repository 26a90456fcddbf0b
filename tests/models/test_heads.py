# SPDX-License-Identifier: Apache-2.0
"""Pooling, convolutions along direction, and masks."""

from __future__ import annotations

import pytest
import torch

from msdet.models.heads import DirectionConvolutions, MaskHead, pool_over_time


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_pooling_with_equal_weights_is_the_mean_over_time() -> None:
    features = noise(2, 5, 7, 9)
    pooled = pool_over_time(features, torch.full((2, 3, 5, 9), 0.3))
    assert pooled.shape == (2, 3, 1, 5, 7)
    for slot in range(3):
        torch.testing.assert_close(pooled[:, slot, 0], features.mean(-1), atol=1e-5, rtol=1e-5)


def test_pooling_hears_only_where_there_is_weight() -> None:
    features = noise(1, 4, 3, 6)
    weight = torch.zeros(1, 1, 4, 6)
    weight[0, 0, 2, 1] = 5.0
    pooled = pool_over_time(features, weight)[0, 0, 0]
    assert pooled[[0, 1, 3]].abs().max() == 0
    torch.testing.assert_close(pooled[2], 4 * features[0, 2, :, 1])
    assert pool_over_time(features, torch.zeros_like(weight)).abs().max() == 0


def test_pooling_does_not_depend_on_loudness() -> None:
    features, weight = noise(1, 4, 3, 6), noise(1, 2, 4, 6).abs()
    torch.testing.assert_close(
        pool_over_time(features, 100 * weight), pool_over_time(features, weight)
    )


def test_turning_the_scene_turns_convolutions_along_direction() -> None:
    layers = DirectionConvolutions(3, 4, linear=False)
    x = noise(2, 3, 24)
    torch.testing.assert_close(layers(x.roll(7, -1)), layers(x).roll(7, -1))


def test_ends_of_a_line_are_no_neighbours() -> None:
    layers = DirectionConvolutions(3, 4, linear=True)
    x = noise(1, 3, 24)
    moved = x.clone()
    moved[..., -1] += 1.0
    torch.testing.assert_close(layers(moved)[..., :12], layers(x)[..., :12])


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_masks_start_from_equal_shares_and_are_bounded(slots: int) -> None:
    head = MaskHead(5, 4, slots, bound=2.0).eval()
    torch.nn.init.normal_(head.out.weight, std=100.0)
    ones = torch.ones(2, 3, 9, 6, dtype=torch.complex64)
    masks = head(noise(2, 5, 9, 6), ones, 1)
    assert masks.shape == (2, slots, 9, 6)
    assert ((masks.real - 1 / slots).abs() <= 2.0001).all()
    assert (masks.imag.abs() <= 2.0001).all()
    torch.nn.init.zeros_(head.out.weight)
    assert head.out.bias is not None
    torch.nn.init.zeros_(head.out.bias)
    torch.testing.assert_close(head(noise(2, 5, 9, 6), ones, 1).sum(1), ones[:, 0])
