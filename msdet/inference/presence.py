# SPDX-License-Identifier: Apache-2.0
"""The number of people in a network's outputs: some hold one speaker together, some nobody.

A network that learned from people who all speak at once spreads one voice over several outputs
where that person is alone, each with that person's azimuth. Outputs that come from one direction,
closer together than any two speakers of its training, are therefore one *candidate*.

A candidate may still hold nobody: leakage of another one, noise from a place in the room. One
logistic regression on what is measured of the candidates (:data:`MEASURES`) gives the probability
that it holds a speaker. Its weights lie beside this file; ``scripts/calibrate_presence.py`` makes
them from simulated scenes of no to three speakers, ``scripts/bench_counting.py`` shows on others
how often it is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from msdet.checkpoints import Description
from msdet.geometry import MicrophoneArray, angular_error
from msdet.inference.guidance import MISSED_DEGREES
from msdet.models.beamforming import plane_waves
from msdet.models.frontends import magnitude, phase_differences, power
from msdet.models.msdet import MSDET, Output

PRESENT = 0.5
"""A candidate of at least this probability is a speaker."""

MEASURES = ("level", "below", "modulation", "mixture_modulation", "correlation", "margin", "angle")
"""Numbers that the probability is computed from, see :func:`measure`."""

WEIGHTS_NAME = "presence.json"

_ONE_DIRECTION = 10.0
"""Degrees: the azimuths of outputs that hold one voice differ by less (by 5 at most in 16 windows
in which the model that ships heard one speaker)."""

_BAND_HZ = (200.0, 4000.0)
"""Where voices are strong and microphones some centimetres apart tell directions."""
_RANGE_DB = 30.0
"""Frames further below a signal's loudest count as so far below."""
_WIDE_DEGREES = 60.0
"""Apart: no voice is spread over outputs so different."""
_LOUDEST = 0.05
"""Share of the frames whose mean level is a signal's loud level here."""


@dataclass(frozen=True)
class Candidates:
    """Those who may be in a window.

    Attributes:
        slots: of each candidate, the slots that hold it, the one that tells its direction first.
        measures: ``[candidate, measure]``, see :func:`measure`.
    """

    slots: list[list[int]]
    measures: NDArray[np.float64]

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """That each candidate is a speaker, ``[candidate]``."""
        return probability_of(self.measures)


def candidates_in(
    model: MSDET,
    description: Description,
    mixture: Tensor,
    output: Output,
    array: MicrophoneArray,
    asked: Mapping[int, float],
) -> Candidates:
    """Find who may be in an output of a network, and how surely.

    Args:
        mixture: complex ``[mic, freq, frame]``. output: of a batch of one.
        asked: slots that are guided to a direction, and the degrees: the first candidates, in
            this order.
    """
    locations = model.locate(output)
    azimuth, there = np.full(model.num_slots, np.nan), np.ones(model.num_slots, np.bool_)
    if locations is not None:
        azimuth = locations.azimuth[0].double().cpu().numpy()
        there = ~locations.empty[0].cpu().numpy()
    energy = output.audio[0].square().sum(-1).cpu().numpy()
    loudest = sorted(np.flatnonzero(there).tolist(), key=lambda slot: -energy[slot])
    # outputs to spare hold leftovers
    found = loudest[: description.trained_speakers[1]]
    nearest = min(description.nearest_speakers, _ONE_DIRECTION)
    slots = one_speaker_each(found, asked, azimuth, nearest, model.grid.linear)
    if not slots:
        return Candidates([], np.zeros((0, len(MEASURES))))
    voices = torch.stack([output.spectra[0, group].sum(0) for group in slots])
    heads = azimuth[[group[0] for group in slots]]
    return Candidates(slots, measure(model, mixture, voices, heads, array))


def one_speaker_each(
    found: Sequence[int],
    asked: Mapping[int, float],
    azimuth: NDArray[np.float64],
    nearest: float,
    linear: bool,
) -> list[list[int]]:
    """Group the slots that together are one speaker, the one that tells the direction first.

    Args:
        found: slots that hold somebody, loudest first.
        asked: slots that come first, in this order, and the degrees that were asked for. A slot
            that holds somebody else than asked for gets no more of that voice.
        azimuth: degrees ``[slot]``; one that is NaN is near none.
        nearest: two speakers are at least as many degrees apart.
        linear: azimuths are angles to a line.

    >>> one_speaker_each([1, 0], {}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    [[1, 0]]
    >>> one_speaker_each([1, 0], {0: 30.0}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    [[0, 1]]
    >>> one_speaker_each([1, 0], {0: 200.0}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    [[0], [1]]
    """
    speakers = {slot: [slot] for slot in asked}
    elsewhere = {  # or nowhere: NaN
        slot
        for slot, degrees in asked.items()
        if not angular_error(azimuth[slot], degrees, linear) <= MISSED_DEGREES
    }
    for slot in found:
        if slot in asked:
            continue
        heads = [head for head in speakers if head not in elsewhere]
        errors = angular_error(azimuth[slot], azimuth[heads], linear)
        near = np.flatnonzero(errors < nearest)
        if len(near):
            speakers[heads[near[errors[near].argmin()]]].append(slot)
        else:
            speakers[slot] = [slot]
    others = sorted(slot for slot in speakers if slot not in asked)
    return [speakers[slot] for slot in [*asked, *others]]


def measure(
    model: MSDET,
    mixture: Tensor,
    voices: Tensor,
    azimuth: NDArray[np.float64],
    array: MicrophoneArray,
) -> NDArray[np.float64]:
    """Measure what tells a speaker from nobody, ``[candidate, measure]``, 200 to 4000 Hz.

    - level: energy relative to the mixture, dB.
    - below: relative to the strongest candidate, dB.
    - modulation, mixture_modulation: standard deviation of the frames' levels, dB; syllables and
      pauses move speech, little moves noise.
    - correlation: of the frames' levels with those of the candidate most like this one; leakage
      speaks when its source does. 0 of one alone.
    - margin: how much better the phases of the *other* candidate's bins fit its own direction
      than this one's, 0 to 1: low where both are one voice, cut by frequency. 1 of one alone.
    - angle: to the nearest other candidate, degrees, 60 at most and of one alone.

    Args:
        mixture: complex ``[mic, freq, frame]``. voices: complex ``[candidate, freq, frame]``.
        azimuth: degrees ``[candidate]``; NaN where a model says none.
    """
    band = _in_band(model.fine_features.frequencies)
    heard, reference = voices[:, band], mixture[model.reference_mic, band]
    frames = power(heard).sum(1).double().cpu().numpy()  # [candidate, frame]
    mixed = power(reference).sum(0).double().cpu().numpy()
    energy, total = frames.sum(1) + 1e-20, mixed.sum() + 1e-20
    levels = _levels(frames, 1e-9 * total / len(mixed))
    count = len(frames)
    measures = np.zeros((count, len(MEASURES)))
    measures[:, 0] = np.maximum(-40.0, _decibels(energy / total))
    measures[:, 1] = np.maximum(-_RANGE_DB, _decibels(energy / energy.max()))
    measures[:, 2] = levels.std(axis=1)
    measures[:, 3] = _levels(mixed[None], 1e-9 * total / len(mixed)).std()
    measures[:, 5:] = 1.0, _WIDE_DEGREES
    if count > 1:
        likeness = _correlation(levels) - 2 * np.eye(count)
        measures[:, 4] = likeness.max(axis=1)
        if np.isfinite(azimuth).all():
            fit = fits(model, mixture, voices, azimuth, array)
            others = np.diag(fit)[None] - fit.T + 9.0 * np.eye(count)  # [candidate, other]
            measures[:, 5] = others.min(axis=1)
            between = angular_error(azimuth[:, None], azimuth, model.grid.linear)
            between += 360.0 * np.eye(count)
            measures[:, 6] = np.minimum(between.min(axis=1), _WIDE_DEGREES)
    return measures


def probability_of(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability ``[candidate]`` that candidates of these measures are speakers."""
    weights = _weights()
    logits = terms((measures - weights["mean"]) / weights["scale"]) @ weights["weight"]
    return np.asarray(expit(logits + weights["bias"]), np.float64)


def terms(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append squares and products: ``[candidate, measure]`` to ``[candidate, term]``."""
    first, second = np.triu_indices(measures.shape[1])
    return np.concatenate([measures, measures[:, first] * measures[:, second]], axis=1)


@cache
def _weights() -> dict[str, NDArray[np.float64]]:
    content = json.loads(files(__package__).joinpath(WEIGHTS_NAME).read_text(encoding="utf-8"))
    assert content["measures"] == list(MEASURES)
    return {name: np.asarray(content[name]) for name in ("mean", "scale", "weight", "bias")}


def fits(
    model: MSDET,
    mixture: Tensor,
    voices: Tensor,
    azimuth: NDArray[np.float64],
    array: MicrophoneArray,
) -> NDArray[np.float64]:
    """Return how well the phases in each voice's bins fit a plane wave from each azimuth.

    Args:
        mixture: complex ``[mic, freq, frame]``. voices: complex ``[voice, freq, frame]``, whose
            magnitudes weight the bins. azimuth: degrees ``[azimuth]``.
    Returns:
        ``[voice, azimuth]``, the mean cosine of the phase errors over pairs of microphones, -1 to
        1, from 200 to 4000 Hz.
    """
    frequencies = model.fine_features.frequencies
    band = _in_band(frequencies)
    weight = magnitude(voices[:, band])
    differences = phase_differences(mixture[None, :, band])[0]  # [freq, 2 * pair, frame]
    pooled = torch.einsum("nft,fpt->nfp", weight, differences)
    directions = torch.as_tensor(azimuth, device=mixture.device)[None]
    positions = torch.tensor(array.positions, device=mixture.device)
    linear = model.grid.linear
    waves = plane_waves(directions, positions, frequencies[band], model.reference_mic, linear)
    expected = phase_differences(waves.permute(0, 3, 2, 1))[0]  # [freq, 2 * pair, azimuth]
    fit = torch.einsum("nfp,fpk->nk", pooled, expected) / (expected.shape[1] // 2)
    return np.asarray((fit / (weight.sum((1, 2))[:, None] + 1e-20)).double().cpu().numpy())


def _in_band(frequencies: Tensor) -> Tensor:
    return (frequencies >= _BAND_HZ[0]) & (frequencies <= _BAND_HZ[1])


def _levels(powers: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Decibels below the loud level, ``[signal, frame]``, cut off at both ends."""
    decibels = _decibels(powers + floor)
    count = max(3, int(_LOUDEST * decibels.shape[1]))
    loud = np.sort(decibels, axis=1)[:, -count:].mean(axis=1, keepdims=True)
    return np.asarray(np.clip(decibels - loud, -_RANGE_DB, 0.0))


def _correlation(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = levels - levels.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1) + 1e-12
    return np.asarray(centred @ centred.T / np.outer(norms, norms))


def _decibels(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10.0 * np.log10(ratio + 1e-20))
