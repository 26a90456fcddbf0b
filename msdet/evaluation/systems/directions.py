# SPDX-License-Identifier: Apache-2.0
"""Classical direction finding: SRP-PHAT and MUSIC on a mixture, and SRP-PHAT per separated voice.

All look in the array's horizontal plane, on a grid of one degree, in the band of speech.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.spectra import Spectra
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray, far_field_delays
from msdet.models.frontends import unit_phasors

if TYPE_CHECKING:
    from pyroomacoustics.doa import DOA

LOWEST_HZ, HIGHEST_HZ = 500.0, 4000.0
"""pyroomacoustics' own defaults: below, an array of centimetres sees next to no phase differences,
above, speech is weak and PHAT would count every bin of noise as much as one of speech."""

_MUSIC_STRIDE = 2
"""MUSIC on every other frame and frequency, in half the time: of frames that overlap by
three quarters and bins closer than the window's main lobe, neighbours say nearly the same."""

_QUIET = 1e-4
"""Bins 40 dB below the separated voices' mean power belong to none of them."""


def srp_phat(heard: Heard, count: int) -> Estimate:
    """Steered response power with phase transform (DiBiase 2000), pyroomacoustics' `SRP`.

    The lobes of an array of centimetres are wide, so two voices pull each other's peaks by some
    degrees.

    Args:
        count: the true number of speakers: an oracle, for that one fact.
    Returns:
        azimuth ``[count]``, degrees in the array's frame, the strongest peak first; NaN where
        fewer peaks were found. No audio.
    """
    from pyroomacoustics.doa import SRP

    spectra = Spectra(heard.sample_rate)
    doa = SRP(num_src=count, **_setup(heard, spectra))
    doa.locate_sources(spectra.of(heard.example.mixture).numpy(), freq_bins=_band(spectra))
    return Estimate(audio=None, azimuth=_highest_peaks(doa, count, heard.array))


def music(heard: Heard, count: int) -> Estimate:
    """Multiple signal classification (Schmidt 1986), pyroomacoustics' `NormMUSIC`.

    Each frequency's pseudo-spectrum is divided by its maximum before they are averaged (Salvati,
    Drioli, Foresti 2014). Without it, in `MUSIC`, the sum is that of the few frequencies where the
    noise happens to be weakest: on 24 training scenes of the quickstart's rooms the median error
    was 6 to 8 degrees so, and 4 degrees with it.

    The signal subspace has as many dimensions as there are speakers, but leaves at least one to
    the noise; so with as many speakers as microphones, it relies on them seldom sharing a bin.

    Args:
        count: the true number of speakers: an oracle, for that one fact.
    Returns:
        As :func:`srp_phat`.
    """
    from pyroomacoustics.doa import NormMUSIC

    spectra = Spectra(heard.sample_rate)
    doa = NormMUSIC(num_src=min(count, heard.array.num_mics - 1), **_setup(heard, spectra))
    mixture = spectra.of(heard.example.mixture)[..., ::_MUSIC_STRIDE]
    doa.locate_sources(mixture.numpy(), freq_bins=_band(spectra)[::_MUSIC_STRIDE])
    return Estimate(audio=None, azimuth=_highest_peaks(doa, count, heard.array))


def weighted_srp_phat(heard: Heard, audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """SRP-PHAT of the mixture for each separated voice, on the bins that it holds.

    A bin counts for a slot by its share of power among the slots, |S_slot|^2 / sum |S|^2 (a
    Wiener-like mask; speech-mask-weighted SRP-PHAT: Wang, Zhang, Wang 2019, "Robust speaker
    localization guided by deep learning-based time-frequency masking"), and for none of them
    where all are 40 dB below their mean power.

    Args:
        audio: separated voices at the reference microphone ``[slot, sample]``.
    Returns:
        azimuth ``[slot]``, degrees in the array's frame; NaN for a slot that is silent.
    """
    spectra = Spectra(heard.sample_rate)
    band = _band(spectra)
    power = spectra.of(audio)[:, band].abs().square()  # [slot, freq, frame]
    total = power.sum(dim=0)
    floor = max(_QUIET * float(total.mean()), np.finfo(np.float64).tiny)
    weights = power / (total + floor)
    azimuths = _grid_degrees(heard.array)
    steered = steered_power(
        spectra.of(heard.example.mixture)[:, band],
        weights,
        far_field_delays(heard.array.as_array(), azimuths),
        spectra.frequencies[band],
    )
    best = azimuths[steered.argmax(dim=1).numpy()]
    return np.where(weights.sum(dim=(1, 2)).numpy() > 0, best, np.nan)


def steered_power(
    mixture: Tensor,
    weights: Tensor,
    delays: NDArray[np.float64],
    frequencies: NDArray[np.float64],
) -> Tensor:
    """Phase-transformed power in each look direction, by weighted bins.

    The mean over microphone pairs and bins of cos(measured phase difference - the one that a
    plane wave from there causes): 1 for nothing but that plane wave.

    Args:
        mixture: complex ``[mic, freq, frame]``.
        weights: ``[slot, freq, frame]``, not negative.
        delays: of the look directions ``[direction, mic]``, seconds.
        frequencies: bin centres ``[freq]``, hertz.
    Returns:
        ``[slot, direction]``; zero for a slot without weight.
    """
    first, second = np.triu_indices(len(mixture), 1)
    phasors = unit_phasors(mixture).transpose(0, 1)  # [freq, mic, frame]
    pairs = (phasors[:, first] * phasors[:, second].conj()).transpose(1, 2)  # [freq, frame, pair]
    by_frequency = weights.transpose(0, 1)  # [freq, slot, frame]
    lags = torch.from_numpy(delays[:, first] - delays[:, second])  # [direction, pair]
    phases = 2 * np.pi * torch.from_numpy(frequencies)[:, None, None] * lags
    power = torch.einsum("fsp,fdp->sd", by_frequency @ pairs.real, phases.cos())
    power -= torch.einsum("fsp,fdp->sd", by_frequency @ pairs.imag, phases.sin())
    whole = weights.sum(dim=(1, 2)).clamp(min=torch.finfo(weights.dtype).tiny)
    return power / (len(first) * whole)[:, None]


def _band(spectra: Spectra) -> NDArray[np.intp]:
    """Indices of the frequencies that are looked at."""
    inside = (spectra.frequencies >= LOWEST_HZ) & (spectra.frequencies < HIGHEST_HZ)
    return np.flatnonzero(inside)


def _grid_degrees(array: MicrophoneArray) -> NDArray[np.float64]:
    """The look directions as azimuth labels: the circle, or the half of it that a line tells."""
    return np.arange(181.0 if array.is_linear else 360.0)


def _setup(heard: Heard, spectra: Spectra) -> dict[str, Any]:
    """Arguments of pyroomacoustics' methods, in its terms: ``[2, mic]`` metres, radians.

    How far microphones reach towards the labels 0 and 90 degrees is where they stand in the
    plane, or along the x axis for a line wherever it points; the rest of pyroomacoustics'
    conventions (counter-clockwise from the x axis) are ours. A line's grid goes a step past both
    ends, into the mirror image, so that sources there make a peak like any other.
    """
    positions = -SPEED_OF_SOUND * far_field_delays(heard.array.as_array(), [0.0, 90.0])
    grid = np.arange(-1.0, 182.0) if heard.array.is_linear else np.arange(360.0)
    return {
        "L": positions,
        "fs": heard.sample_rate,
        "nfft": spectra.window,
        "c": SPEED_OF_SOUND,
        "azimuth": np.radians(grid),
    }


def _highest_peaks(doa: DOA, count: int, array: MicrophoneArray) -> NDArray[np.float64]:
    """Azimuths ``[count]`` of the highest peaks, the highest first; NaN where there are fewer."""
    ascending = doa.grid.find_peaks(k=len(doa.grid))
    degrees = np.rint(np.degrees(doa.grid.azimuth[ascending[::-1]]))
    if array.is_linear:
        degrees = degrees[(degrees >= 0) & (degrees <= 180)]
    found = np.full(count, np.nan)
    found[: len(degrees)] = degrees[:count]
    return found
