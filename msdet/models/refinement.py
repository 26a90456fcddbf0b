# SPDX-License-Identifier: Apache-2.0
"""Refinement of first estimates: second masks on beams, or filters of beams and past frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.beamforming import Paths, delayed
from msdet.models.encoders.unet import ReducedContext, normalisation
from msdet.models.frontends import log_magnitude, unit_phasors
from msdet.models.timeline import WHOLE, Convolution, Timeline

_PAST_FRAMES = 2
"""Frames before the present one, of each signal that a filter weighs."""


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
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.trunk = Convolution(trunk_channels, channels, bias=False, causal=causal)
        self.own = Convolution(8, channels, bias=False, causal=causal)
        self.norm = normalisation(channels)
        self.context = ReducedContext(channels, block_channels, blocks, causal) if blocks else None
        self.out = Convolution(channels, 4, causal=causal)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))

    def forward(
        self,
        mixture: Tensor,
        beams: Tensor,
        estimates: Tensor,
        full: Tensor,
        timeline: Timeline = WHOLE,
    ) -> Tensor:
        """Refined estimates, complex ``[batch, slot, freq, frame]``.

        Args:
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            beams: a beamformer's output, complex ``[batch, slot, freq, frame]``.
            estimates: the first estimates, same shape.
            full: the trunk's features ``[batch, channel, freq, frame]``.
            timeline: of a causal network, its past.
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
        x = self.own(features, timeline) + self.trunk(full, timeline).repeat_interleave(
            slots, dim=0
        )
        x = F.relu(self.norm(x), inplace=True)
        if self.context is not None:
            x = self.context(x, timeline)
        x = self.out(x, timeline)
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
        causal: bool = False,
    ) -> None:
        super().__init__()
        signals = 3 * (_PAST_FRAMES + 1) + 1
        self.trunk = Convolution(trunk_channels, channels, bias=False, causal=causal)
        self.own = Convolution(12, channels, bias=False, causal=causal)
        self.norm = normalisation(channels)
        self.context = ReducedContext(channels, block_channels, blocks, causal) if blocks else None
        self.out = Convolution(channels, 2 * signals, causal=causal)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.zero_()
            self.out.bias[[0, _PAST_FRAMES + 1]] = 0.4

    def forward(
        self,
        mixture: Tensor,
        beams: Tensor,
        paths: Paths,
        estimates: Tensor,
        full: Tensor,
        timeline: Timeline = WHOLE,
    ) -> Tensor:
        """Refined estimates, complex ``[batch, slot, freq, frame]``.

        Args:
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            beams: steered beams, complex ``[batch, slot, freq, frame]``.
            paths: of the estimates. estimates: the last ones, shaped as the beams.
            full: the trunk's features ``[batch, channel, freq, frame]``.
            timeline: of a causal network, its past.
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
        trunk = self.trunk(full, timeline).repeat_interleave(slots, dim=0)
        x = self.own(x, timeline) + trunk
        x = F.relu(self.norm(x), inplace=True)
        if self.context is not None:
            x = self.context(x, timeline)
        x = self.out(x, timeline).float()
        real, imag = x.reshape(batch, slots, *x.shape[1:]).chunk(2, dim=2)
        mixtures = mixture[:, None].expand_as(beams)
        signals = [
            shifted
            for signal in (beams, paths.alone, mixtures)
            for shifted in delayed(signal, _PAST_FRAMES, timeline)
        ]
        weighted = torch.complex(real, imag) * torch.stack([*signals, paths.dry], dim=2)
        return weighted.sum(dim=2)


def _strongest_other(x: Tensor) -> Tensor:
    """Per slot the maximum over the other slots, ``[batch, slot, freq, frame]``."""
    slots = x.shape[1]
    return torch.stack(
        [torch.cat([x[:, :slot], x[:, slot + 1 :]], dim=1).amax(dim=1) for slot in range(slots)],
        dim=1,
    )
