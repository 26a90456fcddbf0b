# SPDX-License-Identifier: Apache-2.0
"""Refinement of first estimates: second masks on beams, or filters of beams and past frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.beamforming import Paths, delayed
from msdet.models.encoders.unet import ReducedContext, normalisation
from msdet.models.frontends import log_frequency, log_magnitude, power, unit_phasors

_PAST_FRAMES = 2
"""Frames before the present one, of each signal that a filter weighs."""

RELATIVE_BEAMS = (-135.0, -90.0, -60.0, -30.0, 30.0, 60.0, 90.0, 135.0)
"""Degrees from a slot's own direction."""


class RefinementHead(nn.Module):
    """Second complex masks, on the beamformed signal and on the reference microphone.

    The same weights serve every slot; a slot sees its own beam, its first estimate and the
    strongest of the others', relative to the mixture, beside the trunk's features. Residual blocks
    at a quarter of the frequencies, if any, look further around each bin.
    """

    def __init__(
        self,
        trunk_channels: int,
        channels: int,
        bound: float,
        blocks: int = 0,
        block_channels: int = 32,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.trunk = nn.Conv2d(trunk_channels, channels, 3, padding=1, bias=False)
        self.own = nn.Conv2d(8, channels, 3, padding=1, bias=False)
        self.norm = normalisation(channels)
        self.context = ReducedContext(channels, block_channels, blocks) if blocks else None
        self.out = nn.Conv2d(channels, 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))

    def forward(self, mixture: Tensor, beams: Tensor, estimates: Tensor, full: Tensor) -> Tensor:
        """Refined estimates, complex ``[batch, slot, freq, frame]``.

        Args:
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            beams: a beamformer's output, complex ``[batch, slot, freq, frame]``.
            estimates: the first estimates, same shape.
            full: the trunk's features ``[batch, channel, freq, frame]``.
        """
        batch, slots = beams.shape[:2]
        level = log_magnitude(mixture)[:, None]
        phase = unit_phasors(mixture)[:, None].conj()
        estimates = estimates.detach()
        relative = unit_phasors(beams) * phase
        own_phase = unit_phasors(estimates) * phase
        beam_level, own_level = log_magnitude(beams) - level, log_magnitude(estimates) - level
        features = torch.stack(
            [
                beam_level,
                own_level,
                _strongest_other(beam_level),
                _strongest_other(own_level),
                relative.real,
                relative.imag,
                own_phase.real,
                own_phase.imag,
            ],
            dim=2,
        )
        features = features.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = self.own(features) + self.trunk(full).repeat_interleave(slots, dim=0)
        x = F.relu(self.norm(x), inplace=True)
        if self.context is not None:
            x = self.context(x)
        x = self.out(x)
        parts = (self.bound * torch.tanh(x / self.bound)).float()
        parts = parts.reshape(batch, slots, *parts.shape[1:])
        on_beam = torch.complex(parts[:, :, 0], parts[:, :, 1])
        on_mixture = torch.complex(parts[:, :, 2], parts[:, :, 3])
        return on_beam * beams + on_mixture * mixture[:, None]


class FilterHead(nn.Module):
    """Complex weights over the steered beam, the beam without the other slots, the mixture, two
    past frames of each, and the beam without the slot's own past.

    The same weights serve every slot. A slot sees how loud its beams, its last estimate and the
    strongest of the others' are, and their phases, relative to the mixture, beside the trunk's
    features. Residual blocks
    at a quarter of the frequencies, if any, look further around each bin.
    """

    def __init__(
        self,
        trunk_channels: int,
        channels: int,
        blocks: int = 0,
        block_channels: int = 32,
    ) -> None:
        super().__init__()
        signals = 3 * (_PAST_FRAMES + 1) + 1
        self.trunk = nn.Conv2d(trunk_channels, channels, 3, padding=1, bias=False)
        self.own = nn.Conv2d(12, channels, 3, padding=1, bias=False)
        self.norm = normalisation(channels)
        self.context = ReducedContext(channels, block_channels, blocks) if blocks else None
        self.out = nn.Conv2d(channels, 2 * signals, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.zero_()
            self.out.bias[[0, _PAST_FRAMES + 1]] = 0.4

    def forward(
        self, mixture: Tensor, beams: Tensor, paths: Paths, estimates: Tensor, full: Tensor
    ) -> Tensor:
        """Refined estimates, complex ``[batch, slot, freq, frame]``.

        Args:
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            beams: steered beams, complex ``[batch, slot, freq, frame]``.
            paths: of the estimates. estimates: the last ones, shaped as the beams.
            full: the trunk's features ``[batch, channel, freq, frame]``.
        """
        batch, slots = beams.shape[:2]
        level = log_magnitude(mixture)[:, None]
        phase = unit_phasors(mixture)[:, None].conj()
        alone_level = log_magnitude(paths.alone) - level
        own_level = log_magnitude(estimates) - level
        features = [
            log_magnitude(beams) - level,
            alone_level,
            log_magnitude(paths.dry) - level,
            own_level,
            _strongest_other(alone_level),
            _strongest_other(own_level),
        ]
        for spectra in (beams, paths.alone, estimates):
            relative = unit_phasors(spectra) * phase
            features += [relative.real, relative.imag]
        x = torch.stack(features, dim=2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = self.own(x) + self.trunk(full).repeat_interleave(slots, dim=0)
        x = F.relu(self.norm(x), inplace=True)
        if self.context is not None:
            x = self.context(x)
        x = self.out(x).float()
        real, imag = x.reshape(batch, slots, *x.shape[1:]).chunk(2, dim=2)
        mixtures = mixture[:, None].expand_as(beams)
        signals = [
            delayed(signal, frames)
            for signal in (beams, paths.alone, mixtures)
            for frames in range(_PAST_FRAMES + 1)
        ]
        weighted = torch.complex(real, imag) * torch.stack([*signals, paths.dry], dim=2)
        return weighted.sum(dim=2)


class Equaliser(nn.Module):
    """One complex gain per slot and frequency for the whole utterance: the colour of early echoes.

    Read from statistics over the utterance by convolutions over frequency: how the estimate
    reaches beams around its own direction (of a line, mirrored into 0 to 180 degrees), its late
    part, and its correlation with its past frames. Beams in place of microphones, so that the array
    is free.
    """

    def __init__(self, frequencies: NDArray[np.float64], channels: int, blocks: int) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(2 * len(RELATIVE_BEAMS) + 9, channels, 5, padding=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 5, padding=2 * 2**i, dilation=2**i, bias=False),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
                nn.Conv1d(channels, channels, 1),
            )
            for i in range(blocks)
        )
        self.out = nn.Conv1d(channels, 4, 1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        relative = torch.tensor(RELATIVE_BEAMS)
        self.register_buffer("relative_beams", relative, persistent=False)
        self.register_buffer("log_frequency", log_frequency(frequencies), persistent=False)

    log_frequency: Tensor
    relative_beams: Tensor

    def forward(self, estimates: Tensor, paths: Paths, around: Tensor) -> Tensor:
        """Return the estimates times their gains, complex ``[batch, slot, freq, frame]``.

        Args:
            estimates: complex ``[batch, slot, freq, frame]``. paths: of the estimates.
            around: weights of superdirective beams :data:`RELATIVE_BEAMS` from each slot's
                direction, complex ``[batch, slot * beam, freq, mic]``.
        """
        batch, slots = estimates.shape[:2]
        with torch.no_grad():
            x = self._statistics(estimates, paths, around)
        x = F.relu(self.inlet(x.flatten(0, 1)))
        for block in self.blocks:
            x = F.relu(x + block(x))
        x = self.out(x).float().reshape(batch, slots, 4, -1)
        gain = torch.complex(x[:, :, 0], x[:, :, 1])
        gain = gain + torch.complex(x[:, :, 2], x[:, :, 3]) * paths.beam
        return estimates * gain[..., None]

    def _statistics(self, estimates: Tensor, paths: Paths, around: Tensor) -> Tensor:
        """Return what the gains are read from, ``[batch, slot, feature, freq]``."""
        energy = power(estimates).mean(dim=-1)
        around = around.reshape(*estimates.shape[:2], len(RELATIVE_BEAMS), *around.shape[-2:])
        heard = (around.conj() * paths.transfer[:, :, None]).sum(-1)
        own = paths.beam[:, :, None]
        relative = heard * own.conj() / (power(own) + 1e-2)
        parts = [relative.real, relative.imag, own.real, own.imag, paths.late[:, :, None]]
        for lag in (1, 2):
            product = (estimates * delayed(estimates, lag).conj()).mean(dim=-1)
            product = product / (energy + 1e-6)
            parts += [product.real[:, :, None], product.imag[:, :, None]]
        parts.append((energy + 1e-6).log()[:, :, None] / 4)
        parts.append(self.log_frequency.expand_as(parts[-1]))
        return torch.cat(parts, dim=2)


def _strongest_other(x: Tensor) -> Tensor:
    """Per slot the maximum over the other slots, ``[batch, slot, freq, frame]``."""
    slots = x.shape[1]
    return torch.stack(
        [torch.cat([x[:, :slot], x[:, slot + 1 :]], dim=1).amax(dim=1) for slot in range(slots)],
        dim=1,
    )
