# SPDX-License-Identifier: Apache-2.0
"""Losses of separation and direction. Always in float32, also under mixed precision."""

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
    return (_parts(estimate) - _parts(target)).abs().mean(dim=(-2, -1)).sum(dim=0)


def pairwise_spectral_l1(estimates: Tensor, targets: Tensor) -> Tensor:
    """:func:`spectral_l1` of every pair ``[batch, slot, speaker]``, a slot in memory at a time."""
    held = _parts(targets)
    losses = [
        (_parts(slot[:, None]) - held).abs().mean(dim=(-2, -1)).sum(dim=0)
        for slot in estimates.unbind(dim=1)
    ]
    return torch.stack(losses, dim=1)


def _parts(spectra: Tensor) -> Tensor:
    """Real and imaginary parts and magnitudes, float32 ``[3, ...]``."""
    spectra = spectra.to(torch.complex64)
    return torch.stack([spectra.real, spectra.imag, spectra.abs()])


def azimuth_targets(
    azimuth: Tensor, present: Tensor, grid: AzimuthGrid, num_outputs: int, width: float
) -> Tensor:
    """What a direction head is trained to say of each speaker.

    Args:
        azimuth: degrees ``[batch, speaker]``. present: bool, same shape.
        num_outputs: the grid's classes, or one more, "no speaker", which absent speakers get.
        width: degrees, the standard deviation of a Gaussian around the azimuth, circular unless
            the grid is linear; 0 puts everything into the nearest class.
    Returns:
        Probabilities ``[batch, speaker, output]``.
    """
    if width > 0:
        centres = torch.as_tensor(grid.centres, dtype=torch.float64, device=azimuth.device)
        apart = azimuth.double()[..., None] - centres
        if not grid.linear:
            apart = torch.remainder(apart + 180.0, 360.0) - 180.0
        classes = (-0.5 * (apart / width).square()).softmax(-1).float()
    else:
        classes = F.one_hot(grid.index(azimuth), grid.num_classes).float()
    if num_outputs == grid.num_classes:
        return classes
    nobody = (~present)[..., None].float()
    return torch.cat([classes * (1.0 - nobody), nobody], dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against probabilities: of hard labels the usual one.

    Args:
        logits, targets: ``[..., class]``, broadcast against each other.
    Returns:
        ``[...]``.
    """
    return -(targets * logits.float().log_softmax(-1)).sum(-1)


def pairwise_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """:func:`cross_entropy` of every pair.

    Args:
        logits: ``[batch, slot, class]``. targets: probabilities ``[batch, speaker, class]``.
    Returns:
        ``[batch, slot, speaker]``.
    """
    return -torch.einsum("bnk,bsk->bns", logits.float().log_softmax(-1), targets)
