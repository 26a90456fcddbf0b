# SPDX-License-Identifier: Apache-2.0
"""Losses of separation, direction and distance. Always in float32, also under mixed precision.

A loss of one's own has the signature of :class:`SeparationLoss` or :class:`DirectionLoss`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from msdet.geometry import DISTANCES, AzimuthGrid, distance_octaves


class SeparationLoss(Protocol):
    """A loss between separated speakers and their targets.

    An attribute ``domain = "signal"`` asks for signals ``[..., sample]`` in place of spectra.
    """

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return ``[...]``, one number for each pair.

        Args:
            estimate, target: complex ``[..., freq, frame]``, broadcast against each other; of
                signals divided by the RMS of their mixture. A target may be silent.
        """
        ...


class DirectionLoss(Protocol):
    """A loss between a direction head's output and the speakers' azimuths."""

    def __call__(self, logits: Tensor, targets: Tensor, grid: AzimuthGrid) -> Tensor:
        """Return ``[...]``, one number for each pair.

        Args:
            logits: ``[..., class]``. targets: probabilities of the classes
                (:func:`azimuth_targets`), broadcast against each other.
            grid: the azimuths of the classes; a class more than it has is "no speaker".
        """
        ...


def spectral_l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean over bins of the differences of real parts, imaginary parts and magnitudes.

    Args:
        estimate, target: complex ``[..., freq, frame]``, broadcast against each other; of signals
            divided by the mixture's RMS, with a window of unit energy, so that silence costs O(1).
    Returns:
        ``[...]``.
    """
    return (_parts(estimate) - _parts(target)).abs().mean(dim=(-2, -1)).sum(dim=0)


def _parts(spectra: Tensor) -> Tensor:
    """Return real and imaginary parts and magnitudes, float32 ``[3, ...]``."""
    spectra = spectra.to(torch.complex64)
    return torch.stack([spectra.real, spectra.imag, spectra.abs()])


class NegativeSnr:
    """The negative signal-to-noise ratio in decibels, softly limited at 30 dB.

    The limit is that of Wisdom et al. 2020 (arXiv 2006.12701). Of a silent target the loss is the
    estimate's level against the mixture, limited at -30 dB (Wisdom et al. 2021, arXiv 2011.00803).
    """

    domain = "signal"

    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        """Return ``[...]``, decibels.

        Args:
            estimate, target: ``[..., sample]``, broadcast against each other; signals divided by
                the mixture's RMS.
        """
        error = (estimate - target).float().square().mean(-1)
        power = target.float().square().mean(-1)
        reference = torch.where(power > 0, power, 1.0)
        return 10 * (error / reference + 1e-3).log10()


def azimuth_targets(
    azimuth: Tensor,
    present: Tensor | None,
    grid: AzimuthGrid,
    num_outputs: int,
    width: float = 0.0,
) -> Tensor:
    """Return what a direction head is trained to say of each speaker.

    Args:
        azimuth: degrees ``[...]``. present: bool, same shape; None: all are there.
        num_outputs: the grid's classes, or one more, "no speaker", which absent speakers get.
        width: degrees, the standard deviation of a Gaussian around the azimuth, circular unless
            the grid is linear; 0 puts everything into the nearest class.
    Returns:
        Probabilities ``[..., output]``.
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
    if present is None:
        present = torch.ones_like(azimuth, dtype=torch.bool)
    nobody = (~present)[..., None].float()
    return torch.cat([classes * (1.0 - nobody), nobody], dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor, grid: AzimuthGrid | None = None) -> Tensor:
    """Cross-entropy against probabilities; with hard labels the usual one.

    Args:
        logits, targets: ``[..., class]``, broadcast against each other. grid: not needed.
    Returns:
        ``[...]``.
    """
    return -(targets * logits.float().log_softmax(-1)).sum(-1)


def distance_loss(output: Tensor, distance: Tensor) -> Tensor:
    """Octaves off (Huber, quadratic below a quarter), or the cross-entropy of distance classes.

    On a scale of octaves since what tells distance, the direct-to-reverberant ratio, falls by
    6 dB with each.

    Args:
        output: octaves above a metre ``[..., 1]``, or logits ``[..., class]``.
        distance: metres ``[...]``.
    Returns:
        ``[...]``.
    """
    octaves = distance.clamp(*DISTANCES).log2()
    if output.shape[-1] == 1:
        return F.huber_loss(output[..., 0].float(), octaves, reduction="none", delta=0.25)
    scale = torch.as_tensor(distance_octaves(output.shape[-1])).to(octaves)
    nearest = (octaves[..., None] - scale).abs().argmin(-1)
    return F.cross_entropy(output.float().movedim(-1, 1), nearest, reduction="none")
