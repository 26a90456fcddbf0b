# SPDX-License-Identifier: Apache-2.0
"""Heads: what turns the trunk's features into directions and masks."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.geometry import DISTANCES, distance_octaves
from msdet.models.encoders.unet import normalisation
from msdet.models.frontends import power
from msdet.models.timeline import WHOLE, Convolution, Timeline


def pool_over_time(directional: Tensor, weight: Tensor, timeline: Timeline = WHOLE) -> Tensor:
    """Weighted mean over frames.

    Args:
        directional: ``[batch, freq, feature, frame]``.
        weight: ``[batch, slot, freq, frame]``, non-negative.
        timeline: which frames are pooled for a moment.
    Returns:
        ``[batch, slot, moment, freq, feature]``, each bin divided by the mean weight of these
        frames, so that frequencies without energy count for nothing.
    """
    pooled = timeline.product(weight.transpose(1, 2), directional)  # [.., freq, slot, feature]
    scale = timeline.mean(weight.mean(dim=2))[..., None, None]
    return pooled.permute(0, 3, 1, 2, 4) / (scale + 1e-8)


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
    """The look direction of each slot's speaker, from features pooled over time.

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
        empty_slots: bool = False,
    ) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.histogram = nn.Conv2d(trunk_channels, num_directions, 1)
        self.pooled = nn.Linear(2 * trunk_channels, channels)
        self.convolutions = DirectionConvolutions(num_freqs + 1, channels, linear)
        outputs = num_directions + empty_slots
        self.out = nn.Linear(channels * num_directions + channels, num_slots * outputs)

    def forward(
        self, directional: Tensor, weight: Tensor, bottom: Tensor, timeline: Timeline = WHOLE
    ) -> Tensor:
        """Logits ``[batch, slot, moment, direction]``; with empty slots, one more for "no speaker".

        Args:
            directional: ``[batch, freq, direction, frame]``.
            weight: energy weight per bin ``[batch, freq, frame]``.
            bottom: the trunk's lowest features ``[batch, channel, reduced freq, frame]``.
            timeline: which frames are pooled for a moment.
        """
        per_frequency = pool_over_time(directional, weight[:, None], timeline)[:, 0]
        shares = self.histogram(bottom).softmax(dim=1)
        reduced = F.adaptive_avg_pool2d(weight[:, None], (bottom.shape[2], bottom.shape[3]))
        whole = timeline.mean(reduced.sum(dim=2))  # [batch, 1, moment]
        histogram = timeline.mean((shares * reduced).sum(dim=2)) / (whole + 1e-8)
        histogram = histogram.transpose(1, 2)[:, :, None]  # [batch, moment, 1, direction]
        seen = torch.cat([per_frequency, 10 * histogram], dim=2)
        x = self.convolutions(seen.flatten(0, 1))
        levels = torch.cat([timeline.mean(bottom.mean(2)), timeline.peak(bottom.amax(2))], dim=1)
        summary = F.relu(self.pooled(levels.transpose(1, 2))).flatten(0, 1)
        logits: Tensor = self.out(torch.cat([x.flatten(1), summary], dim=1))
        return logits.reshape(*seen.shape[:2], self.num_slots, -1).transpose(1, 2)


class FineDirectionHead(nn.Module):
    """The azimuth of what a slot extracted: directional features pooled with its magnitude."""

    def __init__(
        self,
        num_freqs: int,
        num_classes: int,
        trunk_channels: int,
        channels: int,
        linear: bool,
        empty_slots: bool = False,
    ) -> None:
        super().__init__()
        self.convolutions = DirectionConvolutions(num_freqs, channels, linear)
        self.trunk = nn.Linear(trunk_channels, channels)
        self.out = nn.Conv1d(channels, 1, 1)
        self.bias = nn.Linear(channels, num_classes)
        self.nobody = nn.Linear(2 * channels + 1, 1) if empty_slots else None

    def forward(
        self,
        differences: Tensor,
        steering: Tensor,
        weight: Tensor,
        mixture: Tensor,
        full: Tensor,
        timeline: Timeline = WHOLE,
    ) -> Tensor:
        """Logits ``[batch, slot, moment, class]``; with empty slots, one more for "no speaker".

        Args:
            differences: phase differences ``[batch, freq, 2 * pair, frame]``.
            steering: towards each class ``[freq, class, 2 * pair]``.
            weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            full: the trunk's features ``[batch, channel, freq, frame]``.
            timeline: which frames are pooled for a moment.
        """
        pooled = pool_over_time(differences, weight, timeline)
        towards = torch.einsum("fkp,bnmfp->bnmfk", steering, pooled)
        shared = _shared_out(weight, full, timeline)
        level = slot_levels(weight, mixture, timeline)
        logits = self._read(towards.flatten(0, 2), shared, level)
        return logits.reshape(*towards.shape[:3], -1)

    def _read(self, towards: Tensor, shared: Tensor, level: Tensor) -> Tensor:
        """Logits ``[row, class]``.

        Args:
            towards: how well what is pooled fits each class ``[row, freq, class]``.
            shared: the trunk's features ``[..., channel]``. level: of the slots ``[...]``.
        """
        x = self.convolutions(towards)
        summary = F.relu(self.trunk(shared)).flatten(0, -2)
        logits: Tensor = self.out(x)[:, 0] + self.bias(summary)
        if self.nobody is not None:
            # what is pooled does not show that there was next to nothing to pool
            seen = [x.amax(dim=-1), summary, level.flatten()[:, None]]
            logits = torch.cat([logits, self.nobody(torch.cat(seen, dim=1))], dim=1)
        return logits


_DISTANCE_CLASSES = 21
"""A quarter of an octave each."""


class DistanceHead(nn.Module):
    """How far the speaker is that a slot extracted: on a scale of octaves, since what tells
    distance, the direct-to-reverberant ratio, falls by 6 dB with each.

    From the trunk's features, weighted by the slot's share of the mixture, and its level.
    """

    def __init__(
        self, full_channels: int, bottom_channels: int, kind: Literal["regression", "classes"]
    ) -> None:
        super().__init__()
        self.kind = kind
        hidden = 2 * bottom_channels
        outputs = 1 if kind == "regression" else _DISTANCE_CLASSES
        self.layers = nn.Sequential(
            nn.Linear(2 * (full_channels + bottom_channels) + 1, hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, weight: Tensor, mixture: Tensor, full: Tensor, bottom: Tensor) -> Tensor:
        """``[batch, slot, 1]`` octaves above a metre, or logits ``[batch, slot, class]``.

        Args:
            weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            full, bottom: the trunk's features ``[batch, channel, freq, frame]``, the latter at
                its reduced resolution.
        """
        reduced = F.adaptive_avg_pool2d(weight, (bottom.shape[2], bottom.shape[3]))
        pooled = [_shared_out(weight, full)[:, :, 0], _shared_out(reduced, bottom)[:, :, 0]]
        everywhere = torch.cat([full.mean((2, 3)), bottom.mean((2, 3))], dim=1)
        slots = weight.shape[1]
        level = slot_levels(weight, mixture)
        features = [*pooled, everywhere[:, None].expand(-1, slots, -1), level]
        out: Tensor = self.layers(torch.cat(features, dim=-1))
        return out

    def decode(self, output: Tensor) -> Tensor:
        """Metres ``[batch, slot]``; of classes, the mean over them on the scale of octaves."""
        if self.kind == "regression":
            return torch.exp2(output[..., 0].float()).clamp(*DISTANCES)
        scale = torch.as_tensor(distance_octaves(output.shape[-1])).float().to(output.device)
        return torch.exp2((output.float().softmax(-1) * scale).sum(-1))


def slot_levels(weight: Tensor, mixture: Tensor, timeline: Timeline = WHOLE) -> Tensor:
    """Log energy of slots relative to the mixture, ``[batch, slot, moment]``, -8 or more, over 2.

    Args:
        weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
        mixture: the reference microphone, complex ``[batch, freq, frame]``.
        timeline: which frames are compared.
    """
    energy = timeline.mean(weight.square().sum(dim=2))
    whole = timeline.mean(power(mixture).sum(dim=1))[:, None]
    return (energy / (whole + 1e-8) + math.exp(-8)).log() / 2


def _shared_out(weight: Tensor, features: Tensor, timeline: Timeline = WHOLE) -> Tensor:
    """Mean of features ``[batch, channel, freq, frame]`` weighted by each slot's magnitude,
    ``[batch, slot, moment, channel]``."""
    weighted = timeline.mean(torch.einsum("bnft,bcft->bnct", weight, features))
    whole = timeline.mean(weight.sum(dim=2))[..., None]
    return weighted.transpose(2, 3) / (whole + 1e-8)


class SeparationHead(Protocol):
    """A ``torch.nn.Module`` from an encoder's features to the separated speakers.

    One of one's own is made with ``in_channels`` and ``num_slots`` beside the arguments of its
    config.
    """

    def __call__(self, features: Tensor, spectra: Tensor, reference: int) -> Tensor:
        """Return the speakers, complex ``[batch, slot, freq, frame]``.

        Args:
            features: the encoding at full resolution, and with guidance one channel a slot more,
                ``[batch, in_channels, freq, frame]``.
            spectra: the mixture, complex ``[batch, mic, freq, frame]``.
            reference: index of the microphone at which the speakers are put out.
        """
        ...


class MaskHead(nn.Module):
    """Bounded complex weights for every bin, all slots at once: of the reference microphone
    (masks), or also of beams.

    Args:
        beams: how many.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_slots: int,
        bound: float,
        beams: int = 0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.num_slots, self.bound, self.beams = num_slots, bound, beams
        self.hidden = Convolution(in_channels, channels, bias=False, causal=causal)
        self.norm = normalisation(channels)
        self.out = Convolution(channels, 2 * num_slots * (1 + beams), causal=causal)

    def forward(
        self,
        features: Tensor,
        spectra: Tensor,
        reference: int,
        beams: Tensor | None = None,
        timeline: Timeline = WHOLE,
    ) -> Tensor:
        """Return the speakers, like a :class:`SeparationHead`.

        Args:
            beams: complex ``[batch, beam, freq, frame]``. timeline: of a causal network, its past.
        """
        x = self.out(F.relu(self.norm(self.hidden(features, timeline))), timeline)
        real, imag = (self.bound * torch.tanh(x / self.bound)).float().chunk(2, dim=1)
        slots = self.num_slots
        masked = torch.complex(real[:, :slots] + 1.0 / slots, imag[:, :slots])
        out = masked * spectra[:, reference, None]
        if beams is None:
            return out
        weights = zip(real[:, slots:].chunk(slots, 1), imag[:, slots:].chunk(slots, 1), strict=True)
        weighted = [(torch.complex(*parts) * beams).sum(dim=1) for parts in weights]
        return out + torch.stack(weighted, dim=1)
