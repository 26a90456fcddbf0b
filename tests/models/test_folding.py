# SPDX-License-Identifier: Apache-2.0
"""A network for lines that begins from one for planar arrays hears the same."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from msdet.models.folding import fold_looks

LOOKS, CLASSES, SLOTS, CHANNELS = 5, 3, 2, 3
AROUND, CLASSES_AROUND = 2 * (LOOKS - 1), 2 * (CLASSES - 1)


def on_the_circle(line: torch.Tensor) -> torch.Tensor:
    """``[..., look]`` of a line, as a circle's looks hear it: t and -t alike."""
    return torch.cat([line, line[..., 1:-1].flip(-1)], dim=-1)


def weights(empty_slots: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    outputs = SLOTS * (AROUND + empty_slots)
    return {
        "encoder.down.0.0.weight": torch.randn(6, AROUND + 2, 5, 3),
        "encoder.levels.0.0.first.weight": torch.randn(6, 6, 3, 3),
        "coarse_head.histogram.weight": torch.randn(AROUND, 6, 1, 1),
        "coarse_head.histogram.bias": torch.randn(AROUND),
        "coarse_head.out.weight": torch.randn(outputs, CHANNELS * AROUND + CHANNELS),
        "coarse_head.out.bias": torch.randn(outputs),
        "fine_head.bias.weight": torch.randn(CLASSES_AROUND, 4),
        "fine_head.bias.bias": torch.randn(CLASSES_AROUND),
    }


def test_the_encoder_hears_what_it_heard() -> None:
    circle = weights(False)
    line = fold_looks(circle, LOOKS, CLASSES, SLOTS)
    looks, others = torch.randn(1, 8, 7, LOOKS), torch.randn(1, 8, 7, 2)
    name = "encoder.down.0.0.weight"
    heard = torch.cat([looks, others], dim=-1).permute(0, 3, 1, 2)
    before = torch.cat([on_the_circle(looks), others], dim=-1).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        F.conv2d(heard, line[name]), F.conv2d(before, circle[name]), rtol=1e-4, atol=1e-4
    )
    other = "encoder.levels.0.0.first.weight"
    assert line[other] is circle[other]


def test_the_coarse_head_says_what_it_said() -> None:
    """Of looks that are alike, the mean of what the circle's two said, for every slot; nobody's
    logit is the same."""
    circle = weights(True)
    line = fold_looks(circle, LOOKS, CLASSES, SLOTS)
    looks, summary = torch.randn(1, CHANNELS, LOOKS), torch.randn(1, CHANNELS)
    said = F.linear(
        torch.cat([looks.flatten(1), summary], dim=1),
        line["coarse_head.out.weight"],
        line["coarse_head.out.bias"],
    ).reshape(SLOTS, LOOKS + 1)
    before = F.linear(
        torch.cat([on_the_circle(looks).flatten(1), summary], dim=1),
        circle["coarse_head.out.weight"],
        circle["coarse_head.out.bias"],
    ).reshape(SLOTS, AROUND + 1)
    one, other = before[:, :LOOKS], before[:, [0, *range(AROUND - 1, LOOKS - 2, -1)]]
    torch.testing.assert_close(said[:, :LOOKS], (one + other) / 2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(said[:, LOOKS], before[:, AROUND], rtol=1e-4, atol=1e-4)


def test_outputs_for_looks_and_classes_are_averaged() -> None:
    circle = weights(False)
    line = fold_looks(circle, LOOKS, CLASSES, SLOTS)
    histogram, bias = circle["coarse_head.histogram.bias"], circle["fine_head.bias.bias"]
    assert line["coarse_head.histogram.weight"].shape == (LOOKS, 6, 1, 1)
    expected = torch.stack(
        [histogram[0], *(histogram[[k, AROUND - k]].mean() for k in range(1, LOOKS - 1))]
    )
    torch.testing.assert_close(line["coarse_head.histogram.bias"][:-1], expected)
    torch.testing.assert_close(
        line["fine_head.bias.bias"], torch.stack([bias[0], bias[[1, 3]].mean(), bias[2]])
    )
