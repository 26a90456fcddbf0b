# SPDX-License-Identifier: Apache-2.0
"""Classical beamformers: linear filters of the microphones, one weight per frequency for a scene.

All are aligned with the reference microphone: what they let through undistorted comes out as it
is there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msdet.evaluation.systems.directions import srp_phat
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.spectra import Spectra
from msdet.geometry import far_field_delays

_MPDR_LOADING = 1e-2
"""Diagonal loading relative to the trace. Less, and echoes cancel the speaker; more, and it becomes
delay-and-sum: 4.1 dB of SI-SDR improvement here, 3.4 dB at .001 and at .03, 1.2 dB at 1 (true
azimuths, 24 training scenes of the quickstart's rooms)."""

_ORACLE_LOADING = 1e-6
"""Only against singular matrices: what is known exactly needs no caution."""


def delay_and_sum(heard: Heard, azimuth: NDArray[np.floating]) -> Estimate:
    """The mean of the microphones after far-field delays from each azimuth are undone.

    Args:
        azimuth: where to listen ``[slot]``, degrees in the array's frame; NaN for nowhere.
    Returns:
        audio ``[slot, sample]``; the reference microphone itself where the azimuth is NaN.
    """
    spectra = Spectra(heard.sample_rate)
    weights = _steering(heard, spectra, azimuth) / heard.array.num_mics
    return _filtered(heard, spectra, spectra.of(heard.example.mixture), weights, azimuth)


def mpdr(heard: Heard, azimuth: NDArray[np.floating]) -> Estimate:
    """Minimum power distortionless response towards far fields (Capon 1969; Van Trees 2002).

    The least output power of the *mixture* that leaves a plane wave from the azimuth as it is.
    The speaker is part of that mixture: what does not fit the plane wave (echoes, errors of the
    direction) is cancelled too, which diagonal loading limits (Cox, Zeskind, Owen 1987).

    Args:
        azimuth: where to listen ``[slot]``, degrees in the array's frame; NaN for nowhere.
    Returns:
        As :func:`delay_and_sum`.
    """
    from torchaudio.functional import mvdr_weights_rtf

    spectra = Spectra(heard.sample_rate)
    mixture = spectra.of(heard.example.mixture)
    steering = _steering(heard, spectra, azimuth)
    covariance = _covariance(mixture).expand(len(steering), -1, -1, -1)
    weights = mvdr_weights_rtf(steering, covariance, heard.reference_mic, diag_eps=_MPDR_LOADING)
    return _filtered(heard, spectra, mixture, weights, azimuth)


def srp_mpdr(heard: Heard, count: int) -> Estimate:
    """The classical chain: directions by SRP-PHAT, then an MPDR beamformer towards each.

    Args:
        count: the true number of speakers: an oracle, for that one fact.
    Returns:
        audio ``[count, sample]`` and azimuth ``[count]``; the reference microphone and NaN where
        SRP-PHAT found fewer directions.
    """
    azimuth = srp_phat(heard, count).azimuth
    assert azimuth is not None
    return Estimate(audio=mpdr(heard, azimuth).audio, azimuth=azimuth)


def mvdr_from_estimates(heard: Heard, audio: NDArray[np.float32]) -> Estimate:
    """Mask-based MVDR (Souden, Benesty, Affes 2010) after a separation.

    A bin's share of power, among the slots and what they leave of the reference microphone, is
    its weight in a slot's covariance, and one minus it in that of all else: what a network runs
    between its masks, as a last step and in double precision.

    Args:
        audio: separated voices at the reference microphone ``[slot, sample]``.
    Returns:
        audio ``[slot, sample]``; a slot that is silent stays silent.
    """
    from msdet.models.beamforming import beamform

    spectra = Spectra(heard.sample_rate)
    mixture, estimates = spectra.of(heard.example.mixture), spectra.of(audio)
    beams = beamform(mixture[None], estimates[None], heard.reference_mic)[0]
    return Estimate(audio=spectra.audio(beams, heard.reference.shape[-1]))


def oracle_mvdr(heard: Heard) -> Estimate:
    """The MVDR beamformer of someone who knows every target and every speaker's image.

    Per speaker and frequency: the transfer function from the target to the microphones is the
    least-squares one from the target to the speaker's own image (an early or a direct target
    leaves its echoes out of it), and the covariance is that of whatever the mixture holds besides:
    other speakers, noise, and the speaker's own reverberation where that is not wanted. So it is
    the ceiling of distortionless beamformers with one weight per frequency and scene, for the
    very target that is scored. With the principal eigenvector of the image's covariance and the
    other speakers' and the noise's alone, reverberation would pass, and masks would beat it.

    Returns:
        audio ``[speaker, sample]``, in the scene's order.
    """
    from torchaudio.functional import mvdr_weights_rtf

    spectra = Spectra(heard.sample_rate)
    mixture = spectra.of(heard.example.mixture)
    targets = spectra.of(heard.example.targets)[:, None]  # [speaker, 1, freq, frame]
    images = spectra.of(heard.parts.images)
    products = (images * targets.conj()).mean(dim=-1)
    transfer = products / targets.abs().square().mean(dim=-1).clamp(min=1e-12)
    unwanted = mixture - transfer[..., None] * targets
    weights = mvdr_weights_rtf(
        transfer.transpose(1, 2), _covariance(unwanted), diag_eps=_ORACLE_LOADING
    )
    return _filtered(heard, spectra, mixture, weights)


def _steering(heard: Heard, spectra: Spectra, azimuth: NDArray[np.floating]) -> Tensor:
    """Plane waves relative to the reference microphone, ``[slot, freq, mic]``."""
    known = np.nan_to_num(np.asarray(azimuth, np.float64))
    delays = far_field_delays(heard.array.as_array(), known)  # [slot, mic]
    delays -= delays[:, heard.reference_mic, None]
    phases = -2 * np.pi * spectra.frequencies[:, None] * delays[:, None]
    return torch.from_numpy(np.exp(1j * phases))


def _covariance(spectra: Tensor) -> Tensor:
    """Mean over frames, ``[..., mic, freq, frame]`` to ``[..., freq, mic, mic]``."""
    by_frequency = spectra.transpose(-3, -2)  # [..., freq, mic, frame]
    return by_frequency @ by_frequency.mH / spectra.shape[-1]


def _filtered(
    heard: Heard,
    spectra: Spectra,
    mixture: Tensor,
    weights: Tensor,
    azimuth: NDArray[np.floating] | None = None,
) -> Estimate:
    """The microphones by conjugate weights ``[slot, freq, mic]``; nothing done where NaN."""
    outputs = torch.einsum("sfm,mft->sft", weights.conj(), mixture)
    audio = spectra.audio(outputs, heard.reference.shape[-1])
    if azimuth is not None:
        audio[np.isnan(azimuth)] = heard.reference
    return Estimate(audio=audio)
