# SPDX-License-Identifier: Apache-2.0
"""The parts of the error that SI-SDR counts: whose sound it is, as far as fixed filters explain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from msdet.metrics.metric import Metric, SceneTruth, Signal

PARTS = {
    "colour": "colour",
    "reverberation": "own room",
    "others": "others",
    "noise": "noise",
    "varying": "what varies",
}
"""The parts by name, with their words, in the order in which they are explained."""

WINDOW_MS = 128.0
"""Holds the direct path and much of a room, and leaves 128 frames of four seconds."""

_OVERLAP = 4
_FEWEST_FRAMES = 5
"""For each signal that explains: of fewer, a fixed filter fits whatever the error is."""
_NOTHING = 1e-10
"""Share of the target's energy below which a part of an error is rounding."""


def error_parts(
    estimate: Signal, truth: SceneTruth, speaker: int, window_ms: float = WINDOW_MS
) -> dict[str, float]:
    """Energies of the parts of SI-SDR's error, over that of the scaled target.

    The error is the estimate minus the target as SI-SDR scales it. In each frequency of a
    short-time Fourier transform it is projected onto the target; onto what the speaker's own image
    adds to that; onto what the images of the other speakers add, each by itself; and onto what the
    noise adds: ever one complex factor for all frames, so a filter that does not change. What is
    left varies in time, or went through filters longer than a window. The projections are
    orthogonal and the frames tight (root-Hann windows that overlap by three quarters), so the parts
    sum to the error's energy.

    Args:
        estimate: ``[sample]``. truth: with ``images``. speaker: an active one.
    Returns:
        By the names of ``PARTS``, in their order.

    Raises:
        ValueError: the images are not known, or the signal is too short for the window.
    """
    target = truth.targets[speaker]
    scaled = (estimate @ target) / (target @ target) * target
    error = estimate - scaled
    names, basis = truth.once(
        f"parts of {speaker} in {window_ms} ms",
        truth.mixture,
        lambda: _basis(truth, speaker, window_ms),
    )
    factors = basis @ _spectra(error, truth.sample_rate, window_ms)[..., None]
    explained = np.square(np.abs(factors[..., 0])).sum(axis=0)
    found = dict.fromkeys(PARTS, 0.0)
    for name, energy in zip(names, explained, strict=True):
        found[name] += float(energy)
    found["varying"] = max(0.0, float(error @ error - explained.sum()))
    whole = float(scaled @ scaled)
    return {name: energy / whole for name, energy in found.items()}


def _basis(
    truth: SceneTruth, speaker: int, window_ms: float
) -> tuple[list[str], NDArray[np.complex64]]:
    """The names of the parts, and conjugates of orthonormal signals ``[freq, signal, frame]`` that
    explain them; what is silent in the scene explains nothing. In single precision, since a minute
    takes hundreds of megabytes."""
    if truth.images is None:
        raise ValueError("the speakers' images are not known")
    target, images = truth.targets[speaker], truth.images
    others = [("others", image) for i, image in enumerate(images) if i != speaker]
    noise = truth.mixture - images.sum(axis=0)
    rest = [("reverberation", images[speaker] - target), *others, ("noise", noise)]
    audible = [("colour", target), *(part for part in rest if not truth.silent(part[1]))]
    names = [name for name, _ in audible]
    spectra = [_spectra(signal, truth.sample_rate, window_ms) for _, signal in audible]
    frames = spectra[0].shape[1]
    if frames < _FEWEST_FRAMES * len(names):
        raise ValueError(
            f"too short for windows of {window_ms:g} ms: {frames} frames, {len(names)} signals "
            f"need {_FEWEST_FRAMES * len(names)}"
        )
    orthonormal = np.linalg.qr(np.stack(spectra, axis=-1))[0]
    return names, np.ascontiguousarray(orthonormal.conj().swapaxes(1, 2), np.complex64)


def _spectra(signal: Signal, sample_rate: int, window_ms: float) -> NDArray[np.complex128]:
    """Complex ``[freq, frame]`` of the signal's energy: its ends are within as many windows as its
    middle, and positive frequencies stand for negative ones too."""
    from scipy.fft import rfft
    from scipy.signal.windows import hann

    hop = round(window_ms / 1000 * sample_rate / _OVERLAP)
    length = _OVERLAP * hop
    around = length - hop
    padded = np.pad(signal, (around, around + -len(signal) % hop))
    frames = sliding_window_view(padded, length)[::hop]
    spectra = rfft(frames * np.sqrt(hann(length, sym=False) / length))
    spectra[:, [0, -1]] /= math.sqrt(2)
    return np.ascontiguousarray(spectra.T)


class ErrorPart(Metric):
    """The SI-SDR of an estimate whose only error is one part of what it has."""

    unit, digits, slow, column, rank = "dB", 1, False, "report", 3

    def __init__(self, part: str, window_ms: float = WINDOW_MS) -> None:
        """Take a name of ``PARTS``, and the length of the windows."""
        self.part, self.window_ms = part, window_ms
        self.name, self.title = f"error_{part}", f"target to {PARTS[part]}"

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float | None:
        """None of a part that is not there: other speakers where one speaks alone, say."""
        compute = partial(error_parts, signal, truth, speaker, self.window_ms)
        found = truth.once(f"error of {speaker} in {self.window_ms} ms", signal, compute)
        energy = found[self.part]
        return -10 * math.log10(energy) if energy > _NOTHING else None


def error_metrics(window_ms: float = WINDOW_MS) -> tuple[ErrorPart, ...]:
    """One metric for each of ``PARTS``."""
    return tuple(ErrorPart(part, window_ms) for part in PARTS)


def shares_of(scores: Mapping[str, float | None]) -> dict[str, float]:
    """The share of each part in the error, by the scores of all parts in dB; none without any.

    ``error_NAME_share``, 0 to 1, which sum to 1.
    """
    if any(f"error_{part}" not in scores for part in PARTS):
        return {}
    ratios = {part: scores[f"error_{part}"] for part in PARTS}
    energies = {part: 0.0 if db is None else 10 ** (-db / 10) for part, db in ratios.items()}
    whole = sum(energies.values())
    if not whole:
        return {}
    return {f"error_{part}_share": energy / whole for part, energy in energies.items()}


METRICS = error_metrics()
