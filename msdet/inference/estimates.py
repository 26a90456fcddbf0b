# SPDX-License-Identifier: Apache-2.0
"""One window of a recording through the network: who is in it, and what each of them says.

Where one person is alone in it, a network that learned from people who all speak at once spreads
the voice thin. That person's audio is then a superdirective beam towards the azimuth that was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint
from msdet.geometry import MicrophoneArray, angular_error
from msdet.inference.activity import frame_powers, without_transients
from msdet.inference.asked import MISSED_DEGREES, guide, needs_estimates
from msdet.inference.presence import PRESENT, Candidates, candidates_in, fits
from msdet.models.beamforming import plane_waves, superdirective
from msdet.models.frontends import power
from msdet.models.msdet import Output

SILENT_RMS = 1e-6
"""Of the reference microphone, where full scale is 1: a window below it holds nothing."""

_APART_DEGREES = 20.0
"""A speaker who is known to be there, but was not found, is sought this far from the others."""
_MEL_BANDS = 24
_VOICE_RANGE_DB = 25.0


@dataclass(frozen=True)
class WindowEstimate:
    """What is heard in a window. Slots that hold nobody are left out; several that hold one speaker
    are one, called a slot too.

    Attributes:
        audio: float32 ``[slot, sample]`` at the recording's level.
        azimuth: degrees ``[slot]``; NaN of a model for separation alone.
        posterior: ``[slot, class]``, or None. distance: metres ``[slot]``, or None.
        voice: ``[slot, band]`` decibels, mean log-mel spectrum of the slot's loud frames, less
            its mean over bands: how somebody sounds, however loud.
        presence: ``[slot]``, the probability that it is a speaker.
        places: of each slot, which of the directions that were asked for it is; None where none
            were.
    """

    audio: NDArray[np.float32]
    azimuth: NDArray[np.float64]
    posterior: NDArray[np.float64] | None
    distance: NDArray[np.float64] | None
    voice: NDArray[np.float64]
    presence: NDArray[np.float64]
    places: tuple[int, ...] | None = None


class WindowNetwork:
    """A model at work on the windows of one recording.

    Args:
        asked: directions in degrees, checked; their speakers alone are put out.
    """

    def __init__(
        self, checkpoint: Checkpoint, array: MicrophoneArray, asked: NDArray[np.float64] | None
    ) -> None:
        self._model, self._description = checkpoint.model, checkpoint.description
        self._array, self._asked = array, asked
        self._device = self._model.stft.taper.device
        self._positions = torch.tensor(array.positions, device=self._device)
        self._mel: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(
        self, audio: NDArray[np.float32], num_speakers: int | None = None
    ) -> WindowEstimate | None:
        """Find who speaks in ``[mic, sample]``; None where the reference microphone is silent.

        Args:
            num_speakers: so many are put out, if the model can separate as many; None for those
                who are more likely there than not.
        """
        reference = audio[self._description.reference_mic]
        powers = frame_powers(reference, self._description.sample_rate)
        level = float(np.sqrt(without_transients(powers).mean()))
        if level < SILENT_RMS:
            return None
        mixture = torch.from_numpy(np.asarray(audio / level, np.float32))[None].to(self._device)
        asked: dict[int, float] = {}
        if self._asked is None:
            output = self._model(mixture, self._array)
        else:
            output, slots = self._guided(mixture, self._asked)
            asked = dict(zip(slots, self._asked.tolist(), strict=True))
        spectra = self._model.stft(mixture[0])
        who = self._who(spectra, output, asked)
        count = min(num_speakers or 0, self._description.trained_speakers[1])
        if not asked and len(who.slots) < count:
            output, apart = self._apart(mixture, spectra, output, who, count)
            who = self._who(spectra, output, apart)
        return self._read(spectra, output, level, asked, who, num_speakers)

    def _who(self, spectra: torch.Tensor, output: Output, asked: Mapping[int, float]) -> Candidates:
        return candidates_in(self._model, self._description, spectra, output, self._array, asked)

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

    def _read(
        self,
        spectra: torch.Tensor,
        output: Output,
        level: float,
        asked: Mapping[int, float],
        who: Candidates,
        num_speakers: int | None,
    ) -> WindowEstimate:
        model, size = self._model, output.audio.shape[-1]
        locations = model.locate(output)
        heads = [group[0] for group in who.slots]
        azimuth, posterior, distance = np.full(len(heads), np.nan), None, None
        if locations is not None:
            posterior = locations.posterior[0, heads].double().cpu().numpy()
            azimuth = model.grid.decode(locations.posterior[0, heads]).double().cpu().numpy()
        if model.distance_head is not None and output.distance is not None:
            distance = model.distance_head.decode(output.distance)[0, heads].double().cpu().numpy()
        present = who.probability >= PRESENT
        if num_speakers is not None:
            present = np.zeros(len(heads), np.bool_)
            present[np.argsort(-who.probability, kind="stable")[:num_speakers]] = True
        alone = present.sum() == 1
        if asked:
            errors = angular_error(azimuth[: len(asked)], list(asked.values()), model.grid.linear)
            present[: len(asked)] &= errors <= MISSED_DEGREES
            present[len(asked) :] = False
        chosen = np.flatnonzero(present)
        voices = _summed(output.spectra[0], [who.slots[i] for i in chosen])
        audio = _summed(output.audio[0], [who.slots[i] for i in chosen])
        if alone and len(chosen) and np.isfinite(azimuth[chosen[0]]):
            voices = self._beams(spectra, azimuth[chosen])
            audio = model.stft.inverse(voices, size)
        return WindowEstimate(
            (audio * level).float().cpu().numpy(),
            azimuth[chosen],
            None if posterior is None else posterior[chosen],
            None if distance is None else distance[chosen],
            self._voice(voices),
            who.probability[chosen],
            tuple(chosen.tolist()) if self._asked is not None else None,
        )

    def _beams(self, spectra: torch.Tensor, azimuth: NDArray[np.float64]) -> torch.Tensor:
        """Superdirective beams ``[beam, freq, frame]`` towards azimuths in degrees."""
        frequencies = self._model.fine_features.frequencies
        reference, linear = self._model.reference_mic, self._model.grid.linear
        towards = torch.as_tensor(azimuth, device=self._device)[None]
        steering = plane_waves(towards, self._positions, frequencies, reference, linear)
        return superdirective(spectra[None], steering, self._positions, frequencies)[0]

    def _apart(
        self,
        mixture: torch.Tensor,
        spectra: torch.Tensor,
        output: Output,
        who: Candidates,
        count: int,
    ) -> tuple[Output, dict[int, float]]:
        """Look for more speakers where outputs hold fewer: guide the network to the directions that
        were found, and to those that fit best what beams to these leave.

        Returns the new output, and the slots of ``count`` directions.
        """
        model, locations = self._model, self._model.locate(output)
        if locations is None or self._description.model.heads.guidance != "estimated":
            return output, {slot: float("nan") for slot in range(model.num_slots)}
        heads = [group[0] for group in who.slots]
        known = model.grid.decode(locations.posterior[0, heads]).double().cpu().numpy()
        centres, reference = model.grid.centres, spectra[model.reference_mic]
        while len(known) < count:
            left = reference - self._beams(spectra, known).sum(0) if len(known) else reference
            fit = fits(model, spectra, left[None], centres, self._array)[0]
            for azimuth in known:
                fit[angular_error(centres, azimuth, model.grid.linear) < _APART_DEGREES] = -np.inf
            known = np.append(known, centres[fit.argmax()])
        guidance = guide(known, None, self._description)
        again = model(mixture, self._array, guidance.azimuth, guidance.estimate_of)
        return again, dict(zip(guidance.slots, known.tolist(), strict=True))

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


def _summed(slots: torch.Tensor, groups: Sequence[list[int]]) -> torch.Tensor:
    """``[slot, ...]`` to ``[speaker, ...]``."""
    return torch.stack([slots[group].sum(0) for group in groups]) if groups else slots[:0]
