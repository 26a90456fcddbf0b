# SPDX-License-Identifier: Apache-2.0
"""Losses of the two tasks. Always in float32, also under mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from msdet.geometry import AzimuthGrid


def spectral_l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean over bins of |real difference| + |imaginary difference| + |magnitude difference|.

    Args:
        estimate, target: complex ``[..., freq, frame]``, broadcast against each other; of signals
            divided by the mixture's RMS, with a window of unit energy, so that silence costs O(1).
    Returns:
        ``[...]``.
    """
    estimate, target = estimate.to(torch.complex64), target.to(torch.complex64)
    difference = estimate - target
    bins = difference.real.abs() + difference.imag.abs() + (estimate.abs() - target.abs()).abs()
    return bins.mean(dim=(-2, -1))


def pairwise_spectral_l1(estimates: Tensor, targets: Tensor) -> Tensor:
    """:func:`spectral_l1` of every pair ``[batch, slot, speaker]``, a slot in memory at a time."""
    return torch.stack(
        [spectral_l1(estimates[:, slot, None], targets) for slot in range(estimates.shape[1])],
        dim=1,
    )


def pairwise_cross_entropy(logits: Tensor, azimuth: Tensor, grid: AzimuthGrid) -> Tensor:
    """:func:`azimuth_cross_entropy` of every pair.

    Args:
        logits: ``[batch, slot, class]``. azimuth: degrees ``[batch, speaker]``.
    Returns:
        ``[batch, slot, speaker]``.
    """
    classes = grid.index(azimuth)[:, None].expand(-1, logits.shape[1], -1)
    return -logits.float().log_softmax(-1).gather(-1, classes)


def azimuth_cross_entropy(logits: Tensor, azimuth: Tensor, grid: AzimuthGrid) -> Tensor:
    """Cross-entropy of azimuth classes.

    Args:
        logits: ``[batch, slot, class]``. azimuth: degrees ``[batch, slot]``.
    Returns:
        ``[batch, slot]``.
    """
    classes = grid.index(azimuth)
    return F.cross_entropy(logits.float().movedim(-1, 1), classes, reduction="none")
