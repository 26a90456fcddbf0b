# SPDX-License-Identifier: Apache-2.0
"""A beamformer between two masks: spatial filtering from the first masks, refined by second ones.

A mask on one microphone keeps whatever of the other speaker shares its bins. An MVDR beamformer
whose covariances come from the masks removes part of that before the second mask (mask-based
MVDR: Souden, Benesty, Affes 2010; the idea of masking after beamforming:
Erdogan et al. 2016). It passes what the mask holds, the speaker's echoes with it. One that is
steered to the speaker's own direction passes the direct path alone (Capon 1969; Van Trees 2002).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msdet.geometry import SPEED_OF_SOUND
from msdet.models.encoders.unet import ReducedContext, normalisation
from msdet.models.frontends import line_axis, log_magnitude, power, unit_phasors

_LOADING = 1e-3
"""Diagonal loading relative to the trace, for covariances of a few seconds of speech."""

_SELF_NOISE = 0.03
"""Power of a microphone's own noise relative to the diffuse field. One speaker alone in 120
simulated scenes gained, with .01, .03 and .1: 5.2, 4.8 and 3.9 dB of SI-SDR with true microphones;
1.7, 2.8 and 3.1 dB (at worst -8.5, -1.7 and .7) with gains off by 1.5 dB, phases by 8 degrees and
places by 3 mm (standard deviations)."""


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
    explained = power(estimates)
    residual = power(spectra[:, reference] - estimates.sum(1))
    share = explained / (explained.sum(1) + residual + 1e-8)[:, None]
    wanted, unwanted = covariance(spectra, share), covariance(spectra, 1.0 - share)
    weights = mvdr_weights(wanted, unwanted, reference)
    return torch.einsum("bnfm,bmft->bnft", weights.conj(), spectra)


@torch.no_grad()
def beamform_towards(
    spectra: Tensor, estimates: Tensor, steering: Tensor, reference: int
) -> Tensor:
    """MVDR outputs, one per slot, which leave a plane wave from the slot's direction as it is.

    What is to be removed is all that the slot's first estimate, were it that plane wave, does not
    explain of the microphones: the other speakers, the noise, and this speaker's echoes.

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        estimates: complex ``[batch, slot, freq, frame]`` at the reference microphone.
        steering: :func:`plane_waves` from the slots' directions.
        reference: index of the reference microphone.
    Returns:
        complex ``[batch, slot, freq, frame]``.
    """
    frames = spectra.shape[-1]
    mixture = spectra.transpose(1, 2)  # [batch, freq, mic, frame]
    slots = estimates.transpose(1, 2)  # [batch, freq, slot, frame]
    everything = (mixture @ mixture.mH)[:, None] / frames  # [batch, 1, freq, mic, mic]
    cross = (mixture @ slots.mH).transpose(2, 3).transpose(1, 2) / frames
    level = power(estimates).mean(dim=-1)  # [batch, slot, freq]
    towards, crossed = steering[..., None], cross[..., None]
    explained = crossed @ towards.mH
    rest = everything - explained - explained.mH + (towards @ towards.mH) * level[..., None, None]
    loading = _LOADING * rest.diagonal(dim1=-2, dim2=-1).sum(-1).real + 1e-8
    identity = torch.eye(rest.shape[-1], device=rest.device)
    product = torch.linalg.solve(rest + identity * loading[..., None, None], towards)
    response = (towards.mH @ product)[..., 0] + 1e-8  # [batch, slot, freq, 1]
    weights = product[..., 0] / response
    return torch.einsum("bnfm,bmft->bnft", weights.conj(), spectra)


@torch.no_grad()
def superdirective(
    spectra: Tensor, steering: Tensor, positions: Tensor, frequencies: Tensor
) -> Tensor:
    """Pass a plane wave from each direction as it is, and as little of a diffuse field as possible.

    A fixed beamformer: it asks nothing of estimates, and cannot cancel what it is to pass (Bitzer,
    Simmer 2001, in Brandstein, Ward: Microphone Arrays, eq. 2.26).

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        steering: :func:`plane_waves` from the directions, complex ``[batch, slot, freq, mic]``.
        positions: ``[mic, 3]`` metres. frequencies: hertz ``[freq]``.
    Returns:
        complex ``[batch, slot, freq, frame]`` at the reference microphone of the steering.
    """
    places = positions.double()
    distances = torch.linalg.norm(places[:, None] - places, dim=-1)
    coherence = torch.sinc(2 / SPEED_OF_SOUND * frequencies.double()[:, None, None] * distances)
    loaded = coherence + _SELF_NOISE * torch.eye(len(places), device=places.device)
    product = torch.linalg.solve(loaded.to(steering.dtype), steering[..., None])[..., 0]
    response = (steering.conj() * product).sum(-1, keepdim=True)
    return torch.einsum("bnfm,bmft->bnft", (product / response).conj(), spectra)


@torch.no_grad()
def plane_waves(
    azimuth: Tensor, positions: Tensor, frequencies: Tensor, reference: int, linear: bool
) -> Tensor:
    """Return what plane waves measure at the microphones relative to the reference.

    Args:
        azimuth: degrees ``[batch, slot]``; of a linear array, the angle to its line.
        positions: ``[mic, 3]`` metres. frequencies: hertz ``[freq]``.
        reference: index of the reference microphone. linear: whether the array is a line.
    Returns:
        complex ``[batch, slot, freq, mic]``.
    """
    angle = torch.deg2rad(azimuth.float())[..., None]
    offsets = (positions - positions[reference : reference + 1]).float()
    if linear:
        leads = angle.cos() * (offsets * line_axis(positions).float()).sum(-1)
    else:
        leads = angle.cos() * offsets[:, 0] + angle.sin() * offsets[:, 1]
    phases = (2 * math.pi / SPEED_OF_SOUND) * frequencies[:, None] * leads[:, :, None]
    return torch.complex(phases.cos(), phases.sin())


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


def _strongest_other(x: Tensor) -> Tensor:
    """Per slot the maximum over the other slots, ``[batch, slot, freq, frame]``."""
    slots = x.shape[1]
    return torch.stack(
        [torch.cat([x[:, :slot], x[:, slot + 1 :]], dim=1).amax(dim=1) for slot in range(slots)],
        dim=1,
    )
