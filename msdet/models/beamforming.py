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
from dataclasses import dataclass

import torch
from torch import Tensor

from msdet.geometry import SPEED_OF_SOUND
from msdet.models.frontends import line_axis, power
from msdet.models.timeline import WHOLE, Timeline

_LOADING = 1e-3
"""Diagonal loading relative to the trace, for covariances of a few seconds of speech."""

_TAPS = 4
"""Frames of an estimate, the present one and those before it, that explain a beam."""

_SILENCE = 1e-6
"""Power of an estimate, in a frequency, below which its path is not scaled up further."""

_LEAKAGE = 0.01
"""Share of the loudest slot's power that a slot's own is raised by before it is scaled up. An empty
slot holds 50 dB less of the others: scaled up to their level, it explained their own sound away
(of two speakers in three slots .3 dB of SI-SDR; greater shares are alike)."""

_LOUDEST_BEAM = 4.0
"""Direct paths have 1. An estimate of next to nothing seems to reach a beam a thousand times as
loud as it is; no colour of a room does."""

DRY_SHARE = 0.35
"""Share of dereverberated beams in their average with a network's estimates. On 72 valid scenes .35
gained more than .5 and .65 in long reverberation and noise, and .2 dB less in short."""

_LOUDER = 4.0
"""Power that a dereverberated beam may have relative to the estimate that it was made by."""

_SELF_NOISE = 0.03
"""Power of a microphone's own noise relative to the diffuse field. One speaker alone in 120
simulated scenes gained, with .01, .03 and .1: 5.2, 4.8 and 3.9 dB of SI-SDR with true microphones;
1.7, 2.8 and 3.1 dB (at worst -8.5, -1.7 and .7) with gains off by 1.5 dB, phases by 8 degrees and
places by 3 mm (standard deviations)."""


@torch.no_grad()
def beamform(
    spectra: Tensor, estimates: Tensor, reference: int, timeline: Timeline = WHOLE
) -> Tensor:
    """MVDR outputs, one per slot, from the slots' first estimates.

    The beamformer is an analysis of the mixture: no gradient passes through it.

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        estimates: complex ``[batch, slot, freq, frame]`` at the reference microphone.
        reference: index of the reference microphone.
        timeline: which frames the covariances of a moment are of.
    Returns:
        complex ``[batch, slot, freq, frame]``.
    """
    explained = power(estimates)
    residual = power(spectra[:, reference] - estimates.sum(1))
    share = explained / (explained.sum(1) + residual + 1e-8)[:, None]
    wanted = covariance(spectra, share, timeline)
    unwanted = covariance(spectra, 1.0 - share, timeline)
    weights = mvdr_weights(wanted, unwanted, reference)
    return timeline.apply(weights.conj(), spectra.transpose(1, 2))


@torch.no_grad()
def beamform_towards(
    spectra: Tensor, estimates: Tensor, steering: Tensor, timeline: Timeline = WHOLE
) -> Tensor:
    """MVDR outputs, one per slot, which leave a plane wave from the slot's direction as it is.

    What is to be removed is all that the slot's first estimate, were it that plane wave, does not
    explain of the microphones: the other speakers, the noise, and this speaker's echoes.

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        estimates: complex ``[batch, slot, freq, frame]`` at the reference microphone.
        steering: :func:`plane_waves` from the slots' directions, complex
            ``[batch, slot, moment, freq, mic]``.
        timeline: which frames the covariances of a moment are of.
    Returns:
        complex ``[batch, slot, freq, frame]``.
    """
    mixture = spectra.transpose(1, 2)  # [batch, freq, mic, frame]
    slots = estimates.transpose(1, 2)  # [batch, freq, slot, frame]
    everything = timeline.product(mixture, mixture)[:, None]
    cross = _by_slot(timeline.product(mixture, slots).transpose(-2, -1))
    level = timeline.mean(power(estimates)).transpose(-2, -1)  # [batch, slot, moment, freq]
    towards, crossed = steering[..., None], cross[..., None]
    explained = crossed @ towards.mH
    rest = everything - explained - explained.mH + (towards @ towards.mH) * level[..., None, None]
    loading = _LOADING * rest.diagonal(dim1=-2, dim2=-1).sum(-1).real + 1e-8
    identity = torch.eye(rest.shape[-1], device=rest.device)
    product = torch.linalg.solve(rest + identity * loading[..., None, None], towards)
    response = (towards.mH @ product)[..., 0] + 1e-8  # [batch, slot, moment, freq, 1]
    weights = product[..., 0] / response
    return timeline.apply(weights.conj(), mixture)


def _by_slot(values: Tensor) -> Tensor:
    """From ``[batch, moment, freq, slot, mic]`` to ``[batch, slot, moment, freq, mic]``."""
    return values.transpose(1, 3).transpose(2, 3)


def superdirective_weights(steering: Tensor, inverse: Tensor) -> Tensor:
    """Pass a plane wave from each direction as it is, and as little of a diffuse field as possible.

    A fixed beamformer: it asks nothing of estimates, and cannot cancel what it is to pass (Bitzer,
    Simmer 2001, in Brandstein, Ward: Microphone Arrays, eq. 2.26).

    Args:
        steering: :func:`plane_waves` from the directions, complex ``[..., freq, mic]``.
        inverse: :func:`inverse_coherence`.
    Returns:
        complex ``[..., freq, mic]``.
    """
    inverse = torch.complex(inverse, torch.zeros_like(inverse))
    product = torch.einsum("...fm,fml->...fl", steering, inverse)
    response = (steering.conj() * product).sum(-1).real
    weights: Tensor = product / response[..., None]
    return weights


def inverse_coherence(positions: Tensor, frequencies: Tensor) -> Tensor:
    """Return the inverse of a diffuse field's coherence and the microphones' own noise.

    Args:
        positions: ``[mic, 3]`` metres. frequencies: hertz ``[freq]``.
    Returns:
        real ``[freq, mic, mic]``, float32.
    """
    places = positions.double()
    distances = torch.linalg.norm(places[:, None] - places, dim=-1)
    hertz = frequencies.to(places)[:, None, None]  # of a network that may be on another device
    coherence = torch.sinc(2 / SPEED_OF_SOUND * hertz * distances)
    identity = torch.eye(len(places), device=places.device).expand_as(coherence).to(coherence)
    zeros = torch.zeros_like(coherence)  # complex, since a solver that can be exported is
    loaded = torch.complex(coherence + _SELF_NOISE * identity, zeros)
    inverse: Tensor = torch.linalg.solve(loaded, torch.complex(identity, zeros)).real.float()
    return inverse


@dataclass(frozen=True)
class Paths:
    """How estimates reach the microphones, and what beams hear without one another's.

    Attributes:
        transfer: from an estimate to the microphones, complex ``[batch, slot, moment, freq, mic]``;
            scaled down where the beam hears more than 4 times the estimate.
        beam: the same behind the slot's beam, complex ``[batch, slot, moment, freq]``.
        late: the energy of the taps of the past behind the beam, over all of them
            ``[batch, slot, moment, freq]``.
        alone: the slot's beam without what the other estimates explain of it, complex
            ``[batch, slot, freq, frame]``. dry: and without the slot's own past frames.
    """

    transfer: Tensor
    beam: Tensor
    late: Tensor
    alone: Tensor
    dry: Tensor


@torch.no_grad()
def predict_paths(
    spectra: Tensor, estimates: Tensor, weights: Tensor, timeline: Timeline = WHOLE
) -> Paths:
    """Explain beams by filters of the estimates over the present and past frames.

    Forward convolutive prediction (Wang, Wichern, Le Roux 2021): one least-squares problem for all
    slots and each frequency. Of fewer frames than four for each slot, what is explained by which
    slot is ambiguous.

    Args:
        spectra: mixture, complex ``[batch, mic, freq, frame]``.
        estimates: complex ``[batch, slot, freq, frame]`` at the reference microphone.
        weights: of each slot's beam, complex ``[batch, slot, moment, freq, mic]``.
        timeline: which frames the filters of a moment explain.
    """
    slots = estimates.shape[1]
    mixture = spectra.transpose(1, 2)
    taps = torch.cat(delayed(estimates, _TAPS - 1, timeline), dim=1)
    regressors = taps.transpose(1, 2)  # [batch, freq, tap * slot, frame]
    own_level = timeline.mean(power(estimates)).transpose(-2, -1)  # [batch, slot, moment, freq]
    loudest = own_level.amax(dim=1, keepdim=True)
    level = (own_level + _LEAKAGE * loudest + _SILENCE).sqrt()
    scale = (1.0 / level).permute(0, 2, 3, 1).repeat(1, 1, 1, _TAPS)  # [.., tap * slot]
    gram = timeline.product(regressors, regressors) * (scale[..., None] * scale[..., None, :])
    cross = timeline.product(regressors, mixture) * scale[..., None]
    identity = torch.eye(gram.shape[-1], device=gram.device)
    filters = torch.linalg.solve(gram + _LOADING * identity, cross)  # conjugate [.., mic]
    behind = torch.einsum("bkfim,bnkfm->bnkfi", filters, weights).conj()
    whose = torch.arange(slots, device=gram.device).repeat(_TAPS)
    own = (whose == torch.arange(slots, device=gram.device)[:, None])[None, :, None, None].float()
    past = own * (torch.arange(slots * _TAPS, device=gram.device) >= slots).float()
    beams = timeline.apply(weights.conj(), mixture)
    alone = beams - timeline.apply(behind * ((1 - own) * scale[:, None]), regressors)
    dry = alone - timeline.apply(behind * (past * scale[:, None]), regressors)
    late = (power(behind) * past).sum(-1) / ((power(behind) * own).sum(-1) + 1e-8)
    transfer = _by_slot(filters[..., :slots, :].conj()) / level[..., None]
    beam = (transfer * weights.conj()).sum(-1)
    bound = (_LOUDEST_BEAM * (power(beam) + 1e-12).rsqrt()).clamp_max(1.0)
    return Paths(transfer * bound[..., None], beam * bound, late, alone, dry)


def no_louder(spectra: Tensor, estimates: Tensor, timeline: Timeline = WHOLE) -> Tensor:
    """Scale spectra down, slot by slot, to about the estimates' power.

    A beam towards where a slot's estimate of next to nothing seems to come from hears the room.

    Args:
        spectra, estimates: complex ``[batch, slot, freq, frame]``.
        timeline: over which frames power is compared.
    """
    allowed = _LOUDER * timeline.mean(power(estimates).mean(dim=-2))
    found = timeline.mean(power(spectra).mean(dim=-2))
    return spectra * timeline.held((allowed / (found + 1e-12)).sqrt().clamp_max(1.0))[:, :, None]


def delayed(spectra: Tensor, frames: int, timeline: Timeline = WHOLE) -> list[Tensor]:
    """Return ``[..., frame]`` as it is, and shifted later by one and up to so many frames: what was
    before comes in, silence at the start."""
    joined, count = timeline.before(spectra, frames), spectra.shape[-1]
    return [joined[..., frames - tap : frames - tap + count] for tap in range(frames + 1)]


@torch.no_grad()
def plane_waves(
    azimuth: Tensor, positions: Tensor, frequencies: Tensor, reference: int, linear: bool
) -> Tensor:
    """Return what plane waves measure at the microphones relative to the reference.

    Args:
        azimuth: degrees ``[...]``; of a linear array, the angle to its line.
        positions: ``[mic, 3]`` metres. frequencies: hertz ``[freq]``.
        reference: index of the reference microphone. linear: whether the array is a line.
    Returns:
        complex ``[..., freq, mic]``.
    """
    angle = torch.deg2rad(azimuth.float())[..., None]
    offsets = (positions - positions[reference : reference + 1]).float()
    if linear:
        leads = angle.cos() * (offsets * line_axis(positions).float()).sum(-1)
    else:
        leads = angle.cos() * offsets[:, 0] + angle.sin() * offsets[:, 1]
    phases = (2 * math.pi / SPEED_OF_SOUND) * frequencies[:, None] * leads[..., None, :]
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


def covariance(spectra: Tensor, weight: Tensor, timeline: Timeline = WHOLE) -> Tensor:
    """Covariance of the microphones for every slot, the mean over frames by weights.

    One product of matrices: torchaudio's ``psd`` keeps the outer product of every bin, which takes
    several times as long.

    Args:
        spectra: complex ``[batch, mic, freq, frame]``.
        weight: ``[batch, slot, freq, frame]``. timeline: which frames a moment's mean is over.
    Returns:
        complex ``[batch, slot, moment, freq, mic, mic]``.
    """
    by_frequency = spectra.transpose(1, 2)[:, None]  # [batch, 1, freq, mic, frame]
    product = timeline.product(by_frequency * weight[:, :, :, None], by_frequency)
    whole = timeline.mean(weight).transpose(-2, -1)
    return product * (1.0 / (whole + 1e-10))[..., None, None]
