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
    """The look direction of each slot's speaker, from globally pooled features.

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

    def forward(self, directional: Tensor, weight: Tensor, bottom: Tensor) -> Tensor:
        """Logits ``[batch, slot, direction]``; with empty slots, one more for "no speaker".

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
        return logits.reshape(logits.shape[0], self.num_slots, -1)


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
        self, differences: Tensor, steering: Tensor, weight: Tensor, mixture: Tensor, full: Tensor
    ) -> Tensor:
        """Logits ``[batch, slot, class]``; with empty slots, one more for "no speaker".

        Args:
            differences: phase differences ``[batch, freq, 2 * pair, frame]``.
            steering: towards each class ``[freq, class, 2 * pair]``.
            weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            full: the trunk's features ``[batch, channel, freq, frame]``.
        """
        batch, slots = weight.shape[:2]
        pooled = pool_over_time(differences, weight)  # [batch, slot, freq, 2 * pair]
        towards = torch.einsum("fkp,bnfp->bnfk", steering, pooled)
        shared, level = _shared_out(weight, full), slot_levels(weight, mixture)
        return self._read(towards.flatten(0, 1), shared, level).reshape(batch, slots, -1)

    def over_time(
        self,
        differences: Tensor,
        steering: Tensor,
        weight: Tensor,
        mixture: Tensor,
        full: Tensor,
        span: int,
        stride: int = 1,
    ) -> Tensor:
        """Logits ``[batch, slot, moment, class]``, each as :meth:`forward` reads a span around a
        frame, with the same weights.

        Args:
            span: frames, an odd number. stride: every so many frames are a moment, from the first
                on. The others are those of :meth:`forward`.
        """
        batch, slots, num_freqs, _ = weight.shape

        def mean(values: Tensor) -> Tensor:
            return moving_mean(values, span, stride)

        whole = mean(weight.sum(2))
        heard = weight[:, :, :, None] * differences[:, None]  # [batch, slot, freq, 2 * pair, frame]
        pooled = mean(heard) / (whole / num_freqs + 1e-8)[:, :, None, None]
        towards = torch.einsum("fkp,bnfpt->bntfk", steering, pooled)
        weighted = torch.einsum("bnft,bcft->bnct", weight, full)
        shared = mean(weighted) / (whole + 1e-8)[:, :, None]
        energy = mean(weight.square().sum(2))
        mixed = mean(mixture.abs().square().sum(1))[:, None]
        level = _log_share(energy, mixed).flatten()
        logits = self._read(towards.flatten(0, 2), shared.transpose(2, 3), level)
        return logits.reshape(batch, slots, whole.shape[-1], -1)

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
        pooled = [_shared_out(weight, full), _shared_out(reduced, bottom)]
        everywhere = torch.cat([full.mean((2, 3)), bottom.mean((2, 3))], dim=1)
        slots = weight.shape[1]
        level = slot_levels(weight, mixture)[..., None]
        features = [*pooled, everywhere[:, None].expand(-1, slots, -1), level]
        out: Tensor = self.layers(torch.cat(features, dim=-1))
        return out

    def decode(self, output: Tensor) -> Tensor:
        """Metres ``[batch, slot]``; of classes, the mean over them on the scale of octaves."""
        if self.kind == "regression":
            return torch.exp2(output[..., 0].float()).clamp(*DISTANCES)
        scale = torch.as_tensor(distance_octaves(output.shape[-1])).float().to(output.device)
        return torch.exp2((output.float().softmax(-1) * scale).sum(-1))


def slot_levels(weight: Tensor, mixture: Tensor) -> Tensor:
    """Log energy of slots relative to the mixture, ``[batch, slot]``, -8 or more, over 2.

    Args:
        weight: the slots' magnitudes ``[batch, slot, freq, frame]``.
        mixture: the reference microphone ``[batch, freq, frame]``, complex or magnitude.
    """
    whole = mixture.abs().square().sum((1, 2))[:, None]
    return _log_share(weight.square().sum((2, 3)), whole)


def _log_share(energy: Tensor, whole: Tensor) -> Tensor:
    """Half the log of the share that energy has of the whole, -8 or more before it is halved."""
    return (energy / (whole + 1e-8) + math.exp(-8)).log() / 2


def moving_mean(values: Tensor, span: int, stride: int = 1) -> Tensor:
    """Return the mean of ``[..., frame]`` around every ``stride``-th frame, ``[..., moment]``.

    Beyond the ends there is silence.

    Args:
        span: frames, an odd number.
    """
    pooled = F.avg_pool1d(values.flatten(0, -2), span, stride=stride, padding=span // 2)
    return pooled.reshape(*values.shape[:-1], pooled.shape[-1])


def _shared_out(weight: Tensor, features: Tensor) -> Tensor:
    """Mean of features ``[batch, channel, freq, frame]`` weighted by each slot's magnitude,
    ``[batch, slot, channel]``."""
    share = weight / (weight.sum((2, 3), keepdim=True) + 1e-8)
    return torch.einsum("bnft,bcft->bnc", share, features)


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
        self, in_channels: int, channels: int, num_slots: int, bound: float, beams: int = 0
    ) -> None:
        super().__init__()
        self.num_slots, self.bound, self.beams = num_slots, bound, beams
        self.hidden = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = normalisation(channels)
        self.out = nn.Conv2d(channels, 2 * num_slots * (1 + beams), 3, padding=1)

    def forward(
        self, features: Tensor, spectra: Tensor, reference: int, beams: Tensor | None = None
    ) -> Tensor:
        """Return the speakers, like a :class:`SeparationHead`.

        Args:
            beams: complex ``[batch, beam, freq, frame]``.
        """
        x = self.out(F.relu(self.norm(self.hidden(features))))
        real, imag = (self.bound * torch.tanh(x / self.bound)).float().chunk(2, dim=1)
        slots = self.num_slots
        masked = torch.complex(real[:, :slots] + 1.0 / slots, imag[:, :slots])
        out = masked * spectra[:, reference, None]
        if beams is None:
            return out
        weights = zip(real[:, slots:].chunk(slots, 1), imag[:, slots:].chunk(slots, 1), strict=True)
        weighted = [(torch.complex(*parts) * beams).sum(dim=1) for parts in weights]
        return out + torch.stack(weighted, dim=1)
