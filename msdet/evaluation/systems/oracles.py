# SPDX-License-Identifier: Apache-2.0
"""Ceilings that look at the truth: an ideal mask on the reference microphone, and the speakers as
they are there, without one another."""

from __future__ import annotations

from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.spectra import Spectra


def oracle_mask(heard: Heard) -> Estimate:
    """The ideal phase-sensitive mask, cut to [0, 1], on the reference microphone.

    |S| / |Y| cos(angle S - angle Y), the real part of S / Y (Erdogan, Hershey, Watanabe, Le Roux
    2015, "Phase-sensitive and recognition-boosted speech separation using deep recurrent neural
    networks"). Of all masks between 0 and 1 it leaves the least squared error in every bin, hence
    a ceiling; the ideal ratio mask |S| / (|S| + |Y - S|) lies lower. A complex mask, as the
    network's, may go beyond.

    Returns:
        audio ``[speaker, sample]``, in the scene's order.
    """
    spectra = Spectra(heard.sample_rate)
    mixture, targets = spectra.of(heard.reference), spectra.of(heard.example.targets)
    energy = mixture.abs().square()
    products = (targets * mixture.conj()).real
    masks = (products / energy.clamp(min=1e-20)).clamp(0.0, 1.0)
    return Estimate(audio=spectra.audio(masks * mixture, heard.reference.shape[-1]))


def oracle_image(heard: Heard) -> Estimate:
    """Each speaker's image at the reference microphone: separated without a fault, with its room.

    Against the direct path it is the ceiling of what separates and does not dereverberate.

    Returns:
        audio ``[speaker, sample]``, in the scene's order.
    """
    return Estimate(audio=heard.parts.images[:, heard.reference_mic])
