# SPDX-License-Identifier: Apache-2.0
"""A beamformer between two masks: spatial filtering from the first masks, refined by second ones.

A mask on one microphone keeps whatever of the other speaker shares its bins. An MVDR beamformer
whose covariances come from the masks removes part of that before the second mask (mask-based
MVDR: Souden, Benesty, Affes 2010; the idea of masking after beamforming:
Erdogan et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.models.encoders.unet import normalisation
from msdet.models.frontends import log_magnitude, unit_phasors

_LOADING = 1e-3
"""Diagonal loading relative to the trace, for covariances of a few seconds of speech."""


@torch.no_grad()
def beamform(spectra: Tensor, estimates: Tensor, reference: int) -> Tensor:
    """MVDR outputs, one per slot, from the slots' first estimates.

    The beamformer is an analysis of the mixture: no gradient passes through it.

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        estimates: complex ``[batch, slot, freq, frame]`` at the reference microphone.
        reference: index of the reference microphone.
    Returns:
        complex ``[batch, slot, freq, frame]``.
    """
    power = estimates.abs().square()
    residual = (spectra[:, reference] - estimates.sum(1)).abs().square()
    share = power / (power.sum(1) + residual + 1e-8)[:, None]
    wanted, unwanted = covariance(spectra, share), covariance(spectra, 1.0 - share)
    weights = mvdr_weights(wanted, unwanted, reference)
    return torch.einsum("bnfm,bmft->bnft", weights.conj(), spectra)


def mvdr_weights(wanted: Tensor, unwanted: Tensor, reference: int) -> Tensor:
    """Souden, Benesty, Affes (2010), eq. 18: a column of inv(unwanted) @ wanted over its trace.

    As torchaudio's ``mvdr_weights_souden``, in operations that can be traced without complex
    numbers, for export.

    Args:
        wanted, unwanted: covariances, complex ``[..., mic, mic]``.
        reference: index of the reference microphone.
    Returns:
        complex ``[..., mic]``.
    """
    loading = _LOADING * unwanted.diagonal(dim1=-2, dim2=-1).sum(-1).real + 1e-8
    identity = torch.eye(unwanted.shape[-1], device=unwanted.device)
    product = torch.linalg.solve(unwanted + identity * loading[..., None, None], wanted)
    trace = product.diagonal(dim1=-2, dim2=-1).sum(-1)
    weights: Tensor = product[..., reference] / (trace[..., None] + 1e-8)
    return weights


def covariance(spectra: Tensor, weight: Tensor) -> Tensor:
    """Covariance of the microphones for every slot, the mean over frames by weights.

    One product of matrices: torchaudio's ``psd`` keeps the outer product of every bin, which takes
    several times as long.

    Args:
        spectra: complex ``[batch, mic, freq, frame]``.
        weight: ``[batch, slot, freq, frame]``.
    Returns:
        complex ``[batch, slot, freq, mic, mic]``.
    """
    share = weight / (weight.sum(dim=-1, keepdim=True) + 1e-10)
    by_frequency = spectra.transpose(1, 2)[:, None]  # [batch, 1, freq, mic, frame]
    return (by_frequency * share[:, :, :, None]) @ by_frequency.mH


class RefinementHead(nn.Module):
    """Second complex masks, on the beamformed signal and on the reference microphone.

    The same weights serve every slot; a slot sees its own beam, its first estimate and the
    strongest of the others', relative to the mixture, beside the trunk's features.
    """

    def __init__(self, trunk_channels: int, channels: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.trunk = nn.Conv2d(trunk_channels, channels, 3, padding=1, bias=False)
        self.own = nn.Conv2d(8, channels, 3, padding=1, bias=False)
        self.norm = normalisation(channels)
        self.out = nn.Conv2d(channels, 4, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))

    def forward(self, mixture: Tensor, beams: Tensor, estimates: Tensor, full: Tensor) -> Tensor:
        """Refined estimates, complex ``[batch, slot, freq, frame]``.

        Args:
            mixture: the reference microphone, complex ``[batch, freq, frame]``.
            beams: :func:`beamform`'s output, complex ``[batch, slot, freq, frame]``.
            estimates: the first estimates, same shape.
            full: the trunk's features ``[batch, channel, freq, frame]``.
        """
        batch, slots = beams.shape[:2]
        level = log_magnitude(mixture)[:, None]
        phase = unit_phasors(mixture)[:, None].conj()
        estimates = estimates.detach()
        relative = unit_phasors(beams) * phase
        own_phase = unit_phasors(estimates) * phase
        features = torch.stack(
            [
                log_magnitude(beams) - level,
                log_magnitude(estimates) - level,
                _strongest_other(log_magnitude(beams)) - level,
                _strongest_other(log_magnitude(estimates)) - level,
                relative.real,
                relative.imag,
                own_phase.real,
                own_phase.imag,
            ],
            dim=2,
        )
        features = features.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = self.own(features) + self.trunk(full).repeat_interleave(slots, dim=0)
        x = self.out(F.relu(self.norm(x)))
        parts = (self.bound * torch.tanh(x / self.bound)).float()
        parts = parts.reshape(batch, slots, *parts.shape[1:])
        on_beam = torch.complex(parts[:, :, 0], parts[:, :, 1])
        on_mixture = torch.complex(parts[:, :, 2], parts[:, :, 3])
        return on_beam * beams + on_mixture * mixture[:, None]


def _strongest_other(x: Tensor) -> Tensor:
    """Per slot the maximum over the other slots, ``[batch, slot, freq, frame]``."""
    slots = x.shape[1]
    return torch.stack(
        [torch.cat([x[:, :slot], x[:, slot + 1 :]], dim=1).amax(dim=1) for slot in range(slots)],
        dim=1,
    )
