# SPDX-License-Identifier: Apache-2.0
"""One window of a recording through the network: who is in it, and what each of them says.

Where one person is alone in it, a network that learned from people who all speak at once spreads
the voice thin. That person's audio is then a superdirective beam towards the azimuth found.
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
from msdet.inference.guidance import MISSED_DEGREES, guide, needs_estimates
from msdet.inference.presence import PRESENT, Candidates, candidates_in, fits
from msdet.models.beamforming import plane_waves, superdirective_weights
from msdet.models.frontends import power
from msdet.models.msdet import Output

SILENT_RMS = 1e-6
"""RMS of the reference microphone, where full scale is 1: a window below it holds nothing."""

_APART_DEGREES = 20.0
"""Somebody whom the network did not find by itself is sought this far from the others."""
_BLOCK_SECONDS, _TURN_BLOCKS = 0.5, 2
"""Who speaks in turn with somebody else is noticed by so many blocks of a window."""
_TURN_MARGIN = 0.06
"""Mean cosine by which these blocks fit another direction better. In windows of simulated
conversations in which one person spoke, the second best block had .03 at most; in 9 of 19 windows
with two of whom the network found one, .06 and more."""
_TURN_RANGE_DB = 15.0
_MEL_BANDS = 24
_VOICE_RANGE_DB = 25.0


Azimuths = NDArray[np.float64]
Verdict = tuple[Output, Candidates]
"""An output of the network, and who may be in it."""


@dataclass(frozen=True)
class WindowSpeakers:
    """The speakers who are heard in a window.

    Attributes:
        audio: float32 ``[speaker, sample]`` at the recording's level.
        azimuth: degrees ``[speaker]``; NaN of a model for separation alone.
        posterior: ``[speaker, class]``, or None. distance: metres ``[speaker]``, or None.
        voice: ``[speaker, band]`` decibels, mean log-mel spectrum of the loud frames, less its
            mean over bands: how somebody sounds, however loud.
        presence: ``[speaker]``, the probability that it is one.
        track: degrees ``[speaker, moment]``, over time; None of a model that does not tell.
        track_seconds: between two of these moments.
        asked: which of the directions that were asked for each of them is in; None where none
            were.
    """

    audio: NDArray[np.float32]
    azimuth: NDArray[np.float64]
    posterior: NDArray[np.float64] | None
    distance: NDArray[np.float64] | None
    voice: NDArray[np.float64]
    presence: NDArray[np.float64]
    asked: tuple[int, ...] | None = None
    track: NDArray[np.float64] | None = None
    track_seconds: float = 0.0


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
        self._mel: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(
        self, audio: NDArray[np.float32], num_speakers: int | None = None
    ) -> WindowSpeakers | None:
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
            output, asked = self.guided(mixture, self._asked)
        spectra = self._model.stft(mixture[0])
        who = self._who(spectra, output, asked)
        if not asked:
            output, who = self._second_look(mixture, spectra, output, who, num_speakers)
        return self._read(spectra, output, level, asked, who, num_speakers)

    def _second_look(
        self,
        mixture: torch.Tensor,
        spectra: torch.Tensor,
        output: Output,
        who: Candidates,
        num_speakers: int | None,
    ) -> Verdict:
        """Guide the network to directions where it did not find all who speak by itself."""
        locations, most = self._model.locate(output), self._description.trained_speakers[1]
        guided = self._description.model.heads.guidance == "estimated"
        if not guided and len(who.slots) < min(num_speakers or 0, most):  # each slot by itself
            everyone = dict.fromkeys(range(self._model.num_slots), float("nan"))
            return output, self._who(spectra, output, everyone)
        if locations is None or not guided or most < 2:
            return output, who
        heads = [group[0] for group in who.slots]
        known = self._model.grid.decode(locations.posterior[0, heads]).double().cpu().numpy()
        if num_speakers is not None:
            count = min(num_speakers, most)
            enough = len(heads) >= count
            return (output, who) if enough else self._more(mixture, spectra, known, count)
        present = known[who.probability >= PRESENT]
        other = self._other_turns(spectra, float(present[0])) if len(present) == 1 else None
        if other is None:
            return output, who
        again = self._towards(mixture, spectra, np.append(present, other))
        both = (again[1].probability[:2] >= PRESENT).all()
        return again if both else (output, who)

    def _who(self, spectra: torch.Tensor, output: Output, asked: Mapping[int, float]) -> Candidates:
        return candidates_in(self._model, self._description, spectra, output, self._array, asked)

    def guided(self, mixture: torch.Tensor, asked: Azimuths) -> tuple[Output, dict[int, float]]:
        """Guide the network to directions in degrees; return them by their slots too.

        Args:
            mixture: ``[1, mic, sample]``, reference microphone at an RMS near one.
        """
        own = None
        if needs_estimates(len(asked), self._description):
            found = self._model.locate(self._model(mixture, self._array))
            own = [np.nan] * self._model.num_slots if found is None else found.azimuth[0].tolist()
        return self._guide(mixture, asked, own)

    def _guide(
        self, mixture: torch.Tensor, asked: Azimuths, own: Sequence[float] | None
    ) -> tuple[Output, dict[int, float]]:
        guidance = guide(asked, own, self._description)
        told = guidance.azimuth.to(self._device), guidance.estimate_of.to(self._device)
        output = self._model(mixture, self._array, *told)
        return output, dict(zip(guidance.slots, asked.tolist(), strict=True))

    def _read(
        self,
        spectra: torch.Tensor,
        output: Output,
        level: float,
        asked: Mapping[int, float],
        who: Candidates,
        num_speakers: int | None,
    ) -> WindowSpeakers:
        model, size = self._model, output.audio.shape[-1]
        locations = model.locate(output)
        heads = [group[0] for group in who.slots]
        azimuth, posterior, distance = np.full(len(heads), np.nan), None, None
        way = None
        if locations is not None:
            posterior = locations.posterior[0, heads].double().cpu().numpy()
            azimuth = model.grid.decode(locations.posterior[0, heads]).double().cpu().numpy()
            if locations.track is not None:
                way = locations.track[0, heads].double().cpu().numpy()
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
            voices = self._beams(spectra, azimuth[chosen] if way is None else way[chosen])
            audio = model.stft.inverse(voices, size)
        return WindowSpeakers(
            (audio * level).float().cpu().numpy(),
            azimuth[chosen],
            None if posterior is None else posterior[chosen],
            None if distance is None else distance[chosen],
            self._voice(voices),
            who.probability[chosen],
            tuple(chosen.tolist()) if self._asked is not None else None,
            None if way is None else way[chosen],
            model.track_seconds,
        )

    def _beams(self, spectra: torch.Tensor, azimuth: NDArray[np.float64]) -> torch.Tensor:
        """Superdirective beams ``[beam, freq, frame]`` towards azimuths in degrees ``[beam]``, or
        over time ``[beam, moment]``."""
        frequencies = self._model.fine_features.frequencies
        reference, linear = self._model.reference_mic, self._model.grid.linear
        towards = torch.as_tensor(azimuth, device=self._device).reshape(1, len(azimuth), -1)
        array = self._model.steering(self._array)
        waves = plane_waves(towards, array.positions, frequencies, reference, linear)
        weights = superdirective_weights(waves, array.diffuse).conj()
        span = self._model.config.heads.span if azimuth.ndim > 1 else None
        timeline = self._model.timeline(spectra.shape[-1], span)
        return timeline.apply(weights, spectra.transpose(0, 1)[None])[0]

    def _more(
        self, mixture: torch.Tensor, spectra: torch.Tensor, known: Azimuths, count: int
    ) -> Verdict:
        """Look for more speakers than these: guide the network to their directions, and to those
        that fit best what beams to these leave."""
        centres, reference = self._model.grid.centres, spectra[self._model.reference_mic]
        while len(known) < count:
            left = reference - self._beams(spectra, known).sum(0) if len(known) else reference
            fit = fits(self._model, spectra, left[None], centres, self._array)[0]
            known = np.append(known, centres[np.where(self._apart(known), fit, -np.inf).argmax()])
        return self._towards(mixture, spectra, known)

    def _towards(self, mixture: torch.Tensor, spectra: torch.Tensor, azimuth: Azimuths) -> Verdict:
        """Guide the network to these directions, each of which is somebody of its own."""
        output, asked = self._guide(mixture, azimuth, None)
        return output, self._who(spectra, output, asked)

    def _other_turns(self, spectra: torch.Tensor, azimuth: float) -> float | None:
        """The direction of somebody who speaks while the one at ``azimuth`` is silent: where the
        phases of some blocks of the window fit a direction far from it clearly better."""
        model, rate = self._model, self._description.sample_rate
        reference = spectra[model.reference_mic]
        size = max(1, round(_BLOCK_SECONDS * rate / model.stft.hop))
        count = reference.shape[-1] // size
        if count < _TURN_BLOCKS:
            return None
        frames = torch.arange(reference.shape[-1], device=self._device) // size
        blocks = reference * (frames == torch.arange(count, device=self._device)[:, None, None])
        fit = fits(model, spectra, blocks, model.grid.centres, self._array)  # [block, class]
        energy = power(blocks).sum((1, 2)).double().cpu().numpy()
        far = self._apart(np.array([azimuth]))
        here = fit[:, int(angular_error(model.grid.centres, azimuth, model.grid.linear).argmin())]
        other = fit[:, far].max(axis=1) - here >= _TURN_MARGIN
        other &= energy >= np.sort(energy)[-_TURN_BLOCKS:].min() * 10 ** (-_TURN_RANGE_DB / 10)
        if other.sum() < _TURN_BLOCKS:
            return None
        return float(model.grid.centres[far][fit[other][:, far].sum(axis=0).argmax()])

    def _apart(self, known: Azimuths) -> NDArray[np.bool_]:
        """The azimuth classes that are far from all of these."""
        centres, linear = self._model.grid.centres, self._model.grid.linear
        errors = angular_error(centres[:, None], known[None], linear)
        return np.asarray((errors >= _APART_DEGREES).all(axis=1))

    def _voice(self, spectra: torch.Tensor) -> NDArray[np.float64]:
        if self._mel is None:
            from torchaudio.functional import melscale_fbanks

            rate = self._description.sample_rate
            filters = melscale_fbanks(spectra.shape[-2], 80.0, rate / 2, _MEL_BANDS, rate)
            self._mel = filters.to(self._device)
        powers = power(spectra)  # [slot, freq, frame]
        loudness = powers.sum(-2)
        floor = loudness.amax(-1, keepdim=True) * 10 ** (-_VOICE_RANGE_DB / 10)
        loud = (loudness >= floor).to(powers.dtype)[:, None]
        bands = torch.einsum("sft,fm->smt", powers, self._mel)
        decibels = 10 * torch.log10(bands + 1e-3 * bands.amax((-2, -1), keepdim=True) + 1e-20)
        mean = (decibels * loud).sum(-1) / loud.sum(-1).clamp_min(1.0)
        return (mean - mean.mean(-1, keepdim=True)).double().cpu().numpy()


def _summed(slots: torch.Tensor, groups: Sequence[list[int]]) -> torch.Tensor:
    """``[slot, ...]`` to ``[speaker, ...]``."""
    return torch.stack([slots[group].sum(0) for group in groups]) if groups else slots[:0]
