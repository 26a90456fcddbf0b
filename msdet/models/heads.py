# SPDX-License-Identifier: Apache-2.0
"""Heads: what turns the trunk's features into directions and masks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.encoders.unet import normalisation


def pool_over_time(directional: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over frames.

    Args:
        directional: ``[batch, freq, feature, frame]``.
        weight: ``[batch, slot, freq, frame]``, non-negative.
    Returns:
        ``[batch, slot, freq, feature]``, each bin divided by the utterance's mean weight a
        frequency, so that frequencies without energy count for nothing.
    """
    pooled = torch.einsum("bnft,bfkt->bnfk", weight, directional)
    scale = weight.sum(dim=(2, 3), keepdim=True) / weight.shape[2]
    return pooled / (scale + 1e-8)


class DirectionConvolutions(nn.Module):
    """Convolutions along direction, circular unless the array is linear.

    The same weights look at every direction, so that a few rooms teach all azimuths.
    """

    def __init__(self, in_channels: int, channels: int, linear: bool) -> None:
        super().__init__()
        mode: Literal["replicate", "circular"] = "replicate" if linear else "circular"
        self.layers = nn.Sequential(
            nn.Conv1d(in_channels, channels, 5, padding=2, padding_mode=mode),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 5, padding=2, padding_mode=mode),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in_channels, direction]`` to ``[batch, channels, direction]``."""
        out: Tensor = self.layers(x)
        return out


class CoarseDirectionHead(nn.Module):
    """Which look direction each slot's speaker stands in, from globally pooled features.

    Energy-weighted directional features per frequency band and the mean and maximum of the
    trunk's features. The slots' order (say, by azimuth) is absolute, so the last layer is not a
    convolution along direction.
    """

    def __init__(
        self,
        num_freqs: int,
        num_directions: int,
        trunk_channels: int,
        num_slots: int,
        channels: int,
        linear: bool,
    ) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.histogram = nn.Conv2d(trunk_channels, num_directions, 1)
        self.pooled = nn.Linear(2 * trunk_channels, channels)
        self.convolutions = DirectionConvolutions(num_freqs + 1, channels, linear)
        self.out = nn.Linear(channels * num_directions + channels, num_slots * num_directions)

    def forward(self, directional: Tensor, weight: Tensor, bottom: Tensor) -> Tensor:
        """Logits ``[batch, slot, direction]``.

        Args:
            directional: ``[batch, freq, direction, frame]``.
            weight: energy weight per bin ``[batch, freq, frame]``.
            bottom: the trunk's lowest features ``[batch, channel, reduced freq, frame]``.
        """
        per_frequency = pool_over_time(directional, weight[:, None])[:, 0]
        shares = self.histogram(bottom).softmax(dim=1)
        reduced = F.adaptive_avg_pool2d(weight[:, None], (bottom.shape[2], bottom.shape[3]))
        histogram = (shares * reduced).sum(dim=(2, 3)) / (reduced.sum(dim=(2, 3)) + 1e-8)
        x = self.convolutions(torch.cat([per_frequency, 10 * histogram[:, None]], dim=1))
        summary = F.relu(self.pooled(torch.cat([bottom.mean((2, 3)), bottom.amax((2, 3))], dim=1)))
        logits: Tensor = self.out(torch.cat([x.flatten(1), summary], dim=1))
        return logits.reshape(len(logits), self.num_slots, -1)


class FineDirectionHead(nn.Module):
    """The azimuth of what a slot extracted: directional features pooled with its magnitude."""

    def __init__(
        self, num_freqs: int, num_classes: int, trunk_channels: int, channels: int, linear: bool
    ) -> None:
        super().__init__()
        self.convolutions = DirectionConvolutions(num_freqs, channels, linear)
        self.trunk = nn.Linear(trunk_channels, channels)
        self.out = nn.Conv1d(channels, 1, 1)
        self.bias = nn.Linear(channels, num_classes)

    def forward(
        self, differences: Tensor, steering: Tensor, weight: Tensor, full: Tensor
    ) -> Tensor:
        """Logits ``[batch, slot, class]``.

        Args:
            differences: phase differences ``[batch, freq, 2 * pair, frame]``.
            steering: towards each class ``[freq, class, 2 * pair]``.
            weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
            full: the trunk's features ``[batch, channel, freq, frame]``.
        """
        batch, slots = weight.shape[:2]
        pooled = pool_over_time(differences, weight)  # [batch, slot, freq, 2 * pair]
        towards = torch.einsum("fkp,bnfp->bnfk", steering, pooled)
        x = self.convolutions(towards.flatten(0, 1))
        share = weight / (weight.sum((2, 3), keepdim=True) + 1e-8)
        summary = F.relu(self.trunk(torch.einsum("bnft,bcft->bnc", share, full)))
        logits: Tensor = self.out(x)[:, 0] + self.bias(summary.flatten(0, 1))
        return logits.reshape(batch, slots, -1)


class MaskHead(nn.Module):
    """Bounded complex masks on the reference microphone, all slots at once."""

    def __init__(self, in_channels: int, channels: int, num_slots: int, bound: float) -> None:
        super().__init__()
        self.num_slots, self.bound = num_slots, bound
        self.hidden = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = normalisation(channels)
        self.out = nn.Conv2d(channels, 2 * num_slots, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, in_channels, freq, frame]`` to complex masks ``[batch, slot, freq, frame]``."""
        x = self.out(F.relu(self.norm(self.hidden(features))))
        real, imag = (self.bound * torch.tanh(x / self.bound)).float().chunk(2, dim=1)
        return torch.complex(real + 1.0 / self.num_slots, imag)
