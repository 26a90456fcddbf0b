# SPDX-License-Identifier: Apache-2.0
"""One window of a recording through the network.

A network that learned from people who all speak at once spreads one voice over several outputs
where that person is alone, each with that person's azimuth. Outputs that come from one direction,
closer together than any two speakers of its training, are therefore one speaker's, and are summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from msdet.audio import rms
from msdet.checkpoints import Checkpoint
from msdet.geometry import MicrophoneArray, angular_error
from msdet.inference.asked import MISSED_DEGREES, guide, needs_estimates
from msdet.models.frontends import power
from msdet.models.msdet import Output

SILENT_RMS = 1e-6
"""Of the reference microphone, where full scale is 1: a window below it holds nothing."""

_ONE_DIRECTION = 10.0
"""Degrees: the azimuths of outputs that hold one voice differ by less (by 5 at most in 16 windows
in which the model that ships heard one speaker)."""

_MEL_BANDS = 24
_VOICE_RANGE_DB = 25.0


@dataclass(frozen=True)
class WindowEstimate:
    """What the network says about a window. Slots that hold nobody are left out; several that hold
    one speaker are one.

    Attributes:
        audio: float32 ``[slot, sample]`` at the recording's level.
        azimuth: degrees ``[slot]``; NaN of a model for separation alone.
        posterior: ``[slot, class]``, or None. distance: metres ``[slot]``, or None.
        voice: ``[slot, band]`` decibels, mean log-mel spectrum of the slot's loud frames, less
            its mean over bands: how somebody sounds, however loud.
    """

    audio: NDArray[np.float32]
    azimuth: NDArray[np.float64]
    posterior: NDArray[np.float64] | None
    distance: NDArray[np.float64] | None
    voice: NDArray[np.float64]


class WindowNetwork:
    """A model at work on the windows of one recording.

    Args:
        asked: directions in degrees, checked; their speakers are put out, in this order.
    """

    def __init__(
        self, checkpoint: Checkpoint, array: MicrophoneArray, asked: NDArray[np.float64] | None
    ) -> None:
        self._model, self._description = checkpoint.model, checkpoint.description
        self._array, self._asked = array, asked
        self._nearest = min(checkpoint.description.nearest_speakers, _ONE_DIRECTION)
        self._mel: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(self, audio: NDArray[np.float32]) -> WindowEstimate | None:
        """Of ``[mic, sample]``; None where the reference microphone is silent."""
        mixture = torch.from_numpy(np.ascontiguousarray(audio))
        level = rms(mixture[self._description.reference_mic].double()).float()  # 1e19 squared
        if level < SILENT_RMS:
            return None
        normal = (mixture / level)[None]
        asked: dict[int, float] = {}
        if self._asked is None:
            output = self._model(normal, self._array)
        else:
            output, slots = self._guided(normal, self._asked)
            asked = dict(zip(slots, self._asked.tolist(), strict=True))
        return self._read(output, float(level), asked)

    def _guided(
        self, mixture: torch.Tensor, asked: NDArray[np.float64]
    ) -> tuple[Output, list[int]]:
        own = None
        if needs_estimates(len(asked), self._description):
            found = self._model.locate(self._model(mixture, self._array))
            own = [np.nan] * self._model.num_slots if found is None else found.azimuth[0].tolist()
        guidance = guide(asked, own, self._description)
        output = self._model(mixture, self._array, guidance.azimuth, guidance.estimate_of)
        return output, list(guidance.slots)

    def _read(self, output: Output, level: float, asked: dict[int, float]) -> WindowEstimate:
        model = self._model
        locations = model.locate(output)
        everyone = torch.ones(model.num_slots, dtype=torch.bool)
        there = everyone if locations is None else ~locations.empty[0]
        found = self._loudest(torch.nonzero(there)[:, 0].tolist(), output.audio[0])
        angles = np.full(model.num_slots, np.nan)
        if locations is not None:
            angles = locations.azimuth[0].double().numpy()
        parts = one_speaker_each(found, asked, angles, self._nearest, model.grid.linear)
        chosen = list(parts)
        azimuth, posterior, distance = np.full(len(chosen), np.nan), None, None
        if locations is not None:
            posterior = locations.posterior[0, chosen].double().numpy()
            azimuth = model.grid.decode(locations.posterior[0, chosen]).double().numpy()
        if model.distance_head is not None and output.distance is not None:
            distance = model.distance_head.decode(output.distance)[0, chosen].double().numpy()
        audio = (_summed(output.audio[0], parts) * level).float().numpy()
        voice = self._voice(_summed(output.spectra[0], parts))
        return WindowEstimate(audio, azimuth, posterior, distance, voice)

    def _loudest(self, slots: list[int], audio: torch.Tensor) -> list[int]:
        """As many as there were speakers in training, loudest first: outputs to spare hold
        leftovers."""
        energy = audio.square().sum(-1).tolist()
        loudest = sorted(slots, key=lambda slot: -energy[slot])
        return loudest[: self._description.trained_speakers[1]]

    def _voice(self, spectra: torch.Tensor) -> NDArray[np.float64]:
        if self._mel is None:
            from torchaudio.functional import melscale_fbanks

            rate = self._description.sample_rate
            self._mel = melscale_fbanks(spectra.shape[-2], 80.0, rate / 2, _MEL_BANDS, rate)
        powers = power(spectra)  # [slot, freq, frame]
        loudness = powers.sum(-2)
        floor = loudness.amax(-1, keepdim=True) * 10 ** (-_VOICE_RANGE_DB / 10)
        loud = (loudness >= floor).to(powers.dtype)[:, None]
        bands = torch.einsum("sft,fm->smt", powers, self._mel)
        decibels = 10 * torch.log10(bands + 1e-3 * bands.amax((-2, -1), keepdim=True) + 1e-20)
        mean = (decibels * loud).sum(-1) / loud.sum(-1).clamp_min(1.0)
        return (mean - mean.mean(-1, keepdim=True)).double().numpy()


def one_speaker_each(
    found: Sequence[int],
    asked: Mapping[int, float],
    azimuth: NDArray[np.float64],
    nearest: float,
    linear: bool,
) -> dict[int, list[int]]:
    """Which slots together are each speaker, by the slot that says where the speaker is.

    Args:
        found: slots that hold somebody, loudest first.
        asked: slots that are to be put out, in this order, and the degrees that were asked for;
            none: all that are found. A slot that holds somebody else than asked for gets no more
            of that voice.
        azimuth: degrees ``[slot]``; one that is NaN is near none.
        nearest: two speakers are at least as many degrees apart.
        linear: azimuths are angles to a line.

    >>> one_speaker_each([1, 0], {}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    {1: [1, 0]}
    >>> one_speaker_each([1, 0], {0: 30.0}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    {0: [0, 1]}
    >>> one_speaker_each([1, 0], {0: 200.0}, np.array([40.0, 43.0]), nearest=8.0, linear=False)
    {0: [0]}
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
        elif not asked:
            speakers[slot] = [slot]
    return speakers if asked else dict(sorted(speakers.items()))


def _summed(slots: torch.Tensor, parts: dict[int, list[int]]) -> torch.Tensor:
    """``[slot, ...]`` to ``[speaker, ...]``."""
    return torch.stack([slots[group].sum(0) for group in parts.values()]) if parts else slots[:0]
