# SPDX-License-Identifier: Apache-2.0
"""The multitask network: STFT, frontend, shared encoder, direction and separation heads."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msdet.audio import Stft
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray, angular_error
from msdet.models.beamforming import (
    DRY_SHARE,
    beamform,
    beamform_towards,
    inverse_coherence,
    no_louder,
    plane_waves,
    predict_paths,
    superdirective_weights,
)
from msdet.models.config import ModelConfig
from msdet.models.encoders import Encoding, make_encoder
from msdet.models.equaliser import Combiner, Equaliser, statistics_of_two
from msdet.models.frontends import (
    DirectionalFeatures,
    look_grid,
    magnitude,
    make_frontend,
    phase_differences,
    power,
)
from msdet.models.heads import (
    CoarseDirectionHead,
    DistanceHead,
    FineDirectionHead,
    MaskHead,
)
from msdet.models.refinement import FilterHead, RefinementHead
from msdet.models.timeline import WHOLE, Around, Memory, Past, Timeline
from msdet.moments import TRACK_SECONDS
from msdet.parts import OwnPart, build_module
from msdet.tasks import Task


@dataclass(frozen=True)
class Estimates:
    """Estimates of a batch of mixtures, in the domain of the transform.

    Attributes:
        spectra: complex ``[batch, slot, freq, frame]``, the separated speakers at the reference
            microphone.
        stages: the estimates of every stage, the last being ``spectra``.
        azimuth_logits: ``[batch, slot, class]``, the fine stage: what is reported; None where the
            network is for separation alone, and of pieces of a stream. Of a network whose slots may
            be empty, a last class stands for "no speaker".
        track_logits: ``[batch, slot, moment, class]``, the fine stage read moment by moment, every
            ``track_seconds``; None unless ``heads.span`` asks for it.
        coarse_logits: ``[batch, slot, direction]``, likewise, the stage that guides the masks; of a
            causal network ``[batch, slot, moment, direction]``; None where nothing trains it.
        distance: the distance head's output, ``[batch, slot, ...]``; None without one.
        encoding: the encoder's features, where the tasks part.
    """

    spectra: Tensor
    stages: tuple[Tensor, ...]
    azimuth_logits: Tensor | None
    track_logits: Tensor | None
    coarse_logits: Tensor | None
    distance: Tensor | None
    encoding: Encoding


@dataclass(frozen=True)
class Output(Estimates):
    """The estimates and their audio, ``[batch, slot, sample]``."""

    audio: Tensor


@dataclass(frozen=True)
class Locations:
    """Where the slots' speakers are, as read from an :class:`Output`.

    Attributes:
        azimuth: degrees ``[batch, slot]``; NaN for a slot that holds no speaker.
        posterior: probabilities of the azimuth classes ``[batch, slot, class]``, given that there
            is a speaker.
        empty: bool ``[batch, slot]``: more likely than not, no speaker.
        track: degrees ``[batch, slot, moment]``, where a speaker is every ``track_seconds``,
            whether anybody is heard or not; None of a network that does not tell.
    """

    azimuth: Tensor
    posterior: Tensor
    empty: Tensor
    track: Tensor | None = None


@dataclass(frozen=True)
class Steering:
    """An array's steering matrices, ``[elevation, freq, direction, 2 * pair]``, where its
    microphones are, ``[mic, 3]`` metres, and how alike a diffuse field is at them
    (:func:`inverse_coherence`)."""

    coarse: Tensor
    fine: Tensor
    positions: Tensor
    diffuse: Tensor


def _size(steering: Steering) -> int:
    """Bytes."""
    return sum(part.nbytes for part in vars(steering).values())


@dataclass(frozen=True)
class _Scene:
    """A mixture, while its estimates are refined: all that stays the same.

    Attributes:
        spectra: complex ``[batch, mic, freq, frame]``. reference: its reference microphone.
        differences: of its phases. located: the encoding as directions are read from it.
        past: what convolutions of a causal network see of it; else the whole.
        places: which frames the directions of beams are read from. filters: which ones the beams
            and filters themselves are computed from.
    """

    spectra: Tensor
    reference: Tensor
    differences: Tensor
    steering: Steering
    encoding: Encoding
    located: Encoding
    past: Timeline
    places: Timeline
    filters: Timeline


_FIXED_BEAMS = 8
"""Looks of a fixed beamformer, a beam each."""

LATENCY = 0.048
"""Seconds from a sample to its separated one, of a causal network whose window is no longer."""

_QUIETEST = 1e-4
"""A causal network amplifies what is softer, full scale being one, no more than this."""

STEERING_BYTES = 2**28
"""The 48 arrays of three to six microphones that the shipped model learned from take two thirds."""


class MSDET(nn.Module):
    """Multitask separation and direction-of-arrival estimation (MSDET).

    Our implementation of the idea of Hartanto, Sakti, Shinoda (Interspeech 2024): one shared
    encoder, a separation head and a direction head, trained together.

    Args:
        num_slots: how many speakers it puts out, two or more.
        reference_mic: where it puts them out.
        tasks: what it is for. A head that serves none of them is not built; without separation,
            slots are masks of one stage, through which directions are pooled.
        empty_slots: scenes may have fewer speakers than slots.
    Raises:
        InputError: there is nothing to separate in one slot; or a part of one's own cannot be made.
    """

    def __init__(
        self,
        config: ModelConfig,
        array: MicrophoneArray,
        sample_rate: int,
        num_slots: int,
        reference_mic: int = 0,
        tasks: tuple[Task, ...] = ("separation", "direction"),
        empty_slots: bool = False,
    ) -> None:
        super().__init__()
        if num_slots < 2:
            raise InputError(
                f"num_slots={num_slots}: there is nothing to separate in one; 2 or more"
            )
        self.config, self.array, self.sample_rate = config, array, sample_rate
        self.num_slots, self.reference_mic = num_slots, reference_mic
        self.empty_slots = empty_slots
        linear, heads = array.is_linear, config.heads
        self.stft = Stft(config.stft.window, config.stft.hop)
        frequencies, num_freqs = self.stft.frequencies(sample_rate), self.stft.num_freqs
        self.grid = AzimuthGrid(heads.resolution, linear)
        self.track_stride = max(1, int(TRACK_SECONDS * sample_rate / config.stft.hop))
        if config.causal:  # a block is waited for
            spare = LATENCY * sample_rate - config.stft.window
            self.track_stride = 1 + max(0, int(spare / config.stft.hop))
        num_directions = config.frontend.directions
        self.look_grid = look_grid(num_directions, linear)
        self.coarse_features = DirectionalFeatures(
            self.look_grid, frequencies, config.frontend.elevations
        )
        self.fine_features = DirectionalFeatures(self.grid, frequencies)
        self.frontend = make_frontend(config.frontend, array.num_mics, frequencies)
        causal = config.causal
        self.encoder = make_encoder(config.encoder, self.frontend.out_channels, num_freqs, causal)
        full, bottom = self.encoder.full_channels, self.encoder.bottom_channels
        guided, localises = heads.guidance != "none", "direction" in tasks
        self.coarse_head = (
            CoarseDirectionHead(
                num_freqs,
                num_directions,
                bottom,
                num_slots,
                heads.direction_channels,
                linear,
                empty_slots,
            )
            if localises or heads.guidance == "estimated"
            else None
        )
        self.fine_head = (
            FineDirectionHead(
                num_freqs,
                self.grid.num_classes,
                full,
                heads.direction_channels,
                linear,
                empty_slots,
            )
            if localises
            else None
        )
        in_channels = full + guided * num_slots
        self.separation_head: nn.Module
        if isinstance(heads.separation, OwnPart):
            self.separation_head = build_module(
                heads.separation,
                "model.heads.separation",
                in_channels=in_channels,
                num_slots=num_slots,
            )
        else:
            self.separation_head = MaskHead(
                in_channels,
                heads.mask_channels,
                num_slots,
                heads.mask_bound,
                _FIXED_BEAMS * (heads.separation == "beams"),
                causal,
            )
        self.refinement_head: RefinementHead | FilterHead | None = None
        self.equaliser: Equaliser | None = None
        if heads.beamformer != "none" and "separation" in tasks:
            filters = heads.beamformer == "convolutive"
            sizes = full, heads.mask_channels
            blocks = heads.refinement_blocks, heads.refinement_channels
            self.refinement_head = (
                FilterHead(*sizes, *blocks, causal)
                if filters
                else RefinementHead(*sizes, heads.mask_bound, *blocks, causal)
            )
            if filters and heads.equaliser_blocks:
                self.equaliser = Equaliser(
                    frequencies, heads.equaliser_channels, heads.equaliser_blocks
                )
        self.combiner: Combiner | None = None
        combined = heads.dereverberations > 0 and heads.combiner_blocks > 0
        if combined and localises and "separation" in tasks:
            self.combiner = Combiner(frequencies, heads.equaliser_channels, heads.combiner_blocks)
        self.distance_head = (
            None if heads.distance == "none" else DistanceHead(full, bottom, heads.distance)
        )
        self.direction_encoder = (
            make_encoder(config.encoder, self.frontend.out_channels, num_freqs, causal)
            if config.sharing in ("soft", "none")
            else None
        )
        self._steering: dict[tuple[object, torch.device], Steering] = {}
        self.to(memory_format=torch.channels_last)

    def with_spans(self, span: float | None, filter_span: float | None) -> MSDET:
        """Return a network of the same weights that looks along time in other spans, seconds."""
        heads = self.config.heads.model_copy(update={"span": span, "filter_span": filter_span})
        other = copy.copy(self)
        other.config = self.config.model_copy(update={"heads": heads})
        return other

    @property
    def track_seconds(self) -> float:
        """Return the time between two moments of a track."""
        return self.track_stride * self.config.stft.hop / self.sample_rate

    def steering(self, array: MicrophoneArray) -> Steering:
        """Steering matrices of an array, computed once per array and device.

        Those of the arrays used last are kept, up to :data:`STEERING_BYTES`.
        """
        device = self.stft.taper.device
        key = (array.positions, device)
        if key not in self._steering:
            with torch.inference_mode(False):  # they may be needed by a later training step
                positions = torch.tensor(array.positions, dtype=torch.float64)
                parts = vars(self.steering_of(positions))
                self._steering[key] = Steering(
                    **{name: part.float().to(device) for name, part in parts.items()}
                )
            while sum(map(_size, self._steering.values())) > STEERING_BYTES:
                oldest = next(iter(self._steering))
                if oldest == key:
                    break
                del self._steering[oldest]
        self._steering[key] = self._steering.pop(key)  # the last to go
        return self._steering[key]

    def steering_of(self, positions: Tensor) -> Steering:
        """Steering matrices for microphones at ``[mic, 3]`` metres, on the CPU."""
        return Steering(
            self.coarse_features.steering(positions),
            self.fine_features.steering(positions),
            positions,
            inverse_coherence(positions, self.fine_features.frequencies),
        )

    def forward(
        self,
        mixture: Tensor,
        array: MicrophoneArray | None = None,
        azimuth: Tensor | None = None,
        estimate_of: Tensor | None = None,
    ) -> Output:
        """Separate and localise.

        Args:
            mixture: ``[batch, mic, sample]``, reference microphone at an RMS near one.
            array: the microphones; None for those of training.
            azimuth: true azimuth per slot in degrees, ``[batch, slot]``, NaN for an empty one;
                with ``guidance: oracle`` it is needed and replaces the estimate.
            estimate_of: int64 ``[batch, slot]``, beside ``azimuth``: the slot whose own estimated
                direction guides this one (itself, or another where the order of the slots moves
                it), -1 where ``azimuth`` does; None takes ``azimuth`` for all.
        """
        spectra = self.stft(mixture)
        steering = self.steering(array or self.array)
        estimates = self.estimate(spectra, steering, azimuth, estimate_of)
        audio = self.stft.inverse(estimates.spectra, mixture.shape[-1])
        return Output(**vars(estimates), audio=audio)

    def estimate(
        self,
        spectra: Tensor,
        steering: Steering,
        azimuth: Tensor | None = None,
        estimate_of: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Estimates:
        """The network between the transforms.

        Args:
            spectra: the mixture's, complex ``[batch, mic, freq, frame]``.
            steering: of its microphones. azimuth, estimate_of: as of :meth:`forward`.
            memory: of a causal network, what came before these frames, of which there are
                ``track_stride`` or a multiple; it is left with what comes before the next ones.
        """
        frames, heads = spectra.shape[-1], self.config.heads
        past, level = self.timeline(frames, None), None
        if self.config.causal:
            if memory is not None:
                memory.rewind()
            past = self.timeline(frames, heads.filter_span, memory)
            level = past.mean(power(spectra[:, self.reference_mic]).mean(dim=1))
            level = past.held(level.clamp_min(_QUIETEST**2).sqrt())[:, None, None]
            spectra = spectra / level
        reference = spectra[:, self.reference_mic]
        differences = phase_differences(spectra)
        directional = self.coarse_features(differences, steering.coarse)
        features = self.frontend(spectra, directional, self.reference_mic)
        in_time = {"timeline": past} if self.config.causal else {}  # ours alone know it
        encoding = self.encoder(features, **in_time)
        if self.direction_encoder is not None:
            located = self.direction_encoder(features, **in_time)
        else:
            located = Encoding(*map(self._across, encoding))
        energy = magnitude(reference).sqrt()
        coarse = None
        if self.coarse_head is not None:
            coarse = self.coarse_head(directional, energy, located.bottom, past)
        mask_input = encoding.full
        if self.config.heads.guidance != "none":
            posterior = self._across(self._guidance(coarse, azimuth, estimate_of))
            everywhere = posterior[:, :, :, None].expand(-1, -1, -1, len(directional[0]), -1)
            guidance = past.apply(everywhere, directional)
            mask_input = torch.cat([mask_input, guidance], dim=1)
        fixed: dict[str, Any] = {}
        if heads.separation == "beams":
            fixed["beams"] = self._fixed_beams(spectra, steering)
        stages = [self.separation_head(mask_input, spectra, self.reference_mic, **fixed, **in_time)]
        filters = past if self.config.causal else self.timeline(frames, heads.filter_span)
        moments = self.timeline(frames, heads.span, memory)
        places = WHOLE if heads.filter_span is None else moments
        scene = _Scene(
            spectra, reference, differences, steering, encoding, located, past, places, filters
        )
        if isinstance(self.refinement_head, RefinementHead):
            for _ in range(heads.refinements):
                last = stages[-1].detach()
                if heads.beamformer == "mask":
                    beams = beamform(spectra, last, self.reference_mic, filters)
                else:
                    towards = self._plane_waves(self._azimuths(last, scene), steering)
                    beams = beamform_towards(spectra, last, towards, filters)
                stages.append(self.refinement_head(reference, beams, last, encoding.full, past))
        elif self.refinement_head is not None:
            stages += self._filtered(stages[0].detach(), scene)
        weight, fine, track, distance = self._across(stages[-1].abs()), None, None, None
        if self.fine_head is not None:
            if memory is None:  # pieces are no utterance
                fine = self._directions(weight, scene, WHOLE)
            if heads.span is not None:
                track = self._directions(weight, scene, moments)
        if self.distance_head is not None:
            distance = self.distance_head(weight, reference, located.full, located.bottom)
        steered = fine if heads.filter_span is None else track
        if steered is not None and heads.dereverberations:
            stages.append(self._dereverberated(stages[-1], steered, scene))
        if level is not None:
            stages = [stage * level for stage in stages]
        return Estimates(
            spectra=stages[-1],
            stages=tuple(stages),
            azimuth_logits=None if fine is None else fine[:, :, 0],
            track_logits=track,
            coarse_logits=coarse if coarse is None or self.config.causal else coarse[:, :, 0],
            distance=distance,
            encoding=encoding,
        )

    def timeline(self, frames: int, span: float | None, memory: Memory | None = None) -> Timeline:
        """Return how an utterance of so many frames is read that is looked at in spans, seconds;
        None: as a whole.

        Args:
            memory: of a causal network, what came before these frames.
        """
        if span is None:
            return WHOLE
        if self.config.causal:
            return Past(frames, self.track_stride, math.exp(-2 * self.track_seconds / span), memory)
        reach = round((span / self.track_seconds - 1) / 2)
        return Around(frames, self.track_stride, max(0, reach))

    def locate(self, output: Output) -> Locations | None:
        """Read the directions of an output; None of a network for separation alone."""
        if output.azimuth_logits is None:
            return None
        azimuth, posterior, empty = self.read(output.azimuth_logits)
        track = None
        if output.track_logits is not None:
            track = self._decoded(output.track_logits)
        return Locations(azimuth.masked_fill(empty, torch.nan), posterior, empty, track)

    def read(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read a fine head's logits ``[..., class]``.

        Returns:
            Degrees ``[...]``, were there a speaker; the probabilities of the azimuth classes, given
            that there is one ``[..., class]``; whether there is more likely none, bool ``[...]``.
        """
        everything = logits.float().softmax(dim=-1)
        classes = everything[..., : self.grid.num_classes]
        here = classes.sum(-1)
        empty = here < 0.5 if self.empty_slots else torch.zeros_like(here, dtype=torch.bool)
        posterior = classes / here[..., None].clamp_min(1e-12)
        return self.grid.decode(posterior), posterior, empty

    def _filtered(self, last: Tensor, scene: _Scene) -> list[Tensor]:
        """Refinements by filters, each before and after its equaliser, of the ``last`` estimates.

        A gain for each frequency and moment changes no path but its own: what is known of
        estimates before the equaliser serves it and the refinement behind it.
        """
        assert isinstance(self.refinement_head, FilterHead)
        stages: list[Tensor] = []
        spectra, steering, timeline = scene.spectra, scene.steering, scene.filters
        refinements = self.config.heads.refinements
        for turn in range(refinements + (self.equaliser is not None)):
            azimuths = self._azimuths(last, scene)
            towards = self._plane_waves(azimuths, steering)
            weights = superdirective_weights(towards, steering.diffuse)
            paths = predict_paths(spectra, last, weights, timeline)
            if stages and self.equaliser is not None:
                around = self._around(azimuths, self.equaliser.relative_beams, steering)
                stages.append(self.equaliser(stages[-1], paths, around, timeline))
                last = stages[-1].detach()
            if turn < refinements:
                beams = beamform_towards(spectra, last, towards, timeline)
                full = scene.encoding.full
                heard = scene.reference, beams, paths, last, full, scene.past
                stages.append(self.refinement_head(*heard))
                last = stages[-1].detach()
        return stages

    def _dereverberated(self, last: Tensor, logits: Tensor, scene: _Scene) -> Tensor:
        """The ``last`` estimates, averaged with what beams hear without reverberation, or summed
        by the combiner's weights.

        Args:
            logits: of the directions that the beams are steered to, the fine head's.
        """
        azimuths, steering, timeline = self._decoded(logits), scene.steering, scene.filters
        weights = superdirective_weights(self._plane_waves(azimuths, steering), steering.diffuse)
        estimates, paths = last.detach(), []
        dry = estimates
        for _ in range(self.config.heads.dereverberations):
            paths.append(predict_paths(scene.spectra, dry, weights, timeline))
            dry = no_louder(paths[-1].dry, estimates, timeline)
        if self.combiner is None:
            return last + (dry - last) * DRY_SHARE
        around = self._around(azimuths, self.combiner.relative_beams, steering)
        statistics = statistics_of_two(estimates, paths[0], dry, paths[-1], around, timeline)
        combined: Tensor = self.combiner(last, dry, statistics, timeline)
        return combined

    def _around(self, azimuths: Tensor, relative: Tensor, steering: Steering) -> Tensor:
        """Superdirective beams beside each slot's direction (of a line, mirrored into 0 to 180
        degrees), complex ``[batch, slot, moment, beam, freq, mic]``.

        Args:
            azimuths: degrees ``[batch, slot, moment]``. relative: degrees ``[beam]`` from them.
        """
        beside = azimuths[..., None] + relative
        return superdirective_weights(self._plane_waves(beside, steering), steering.diffuse)

    def _fixed_beams(self, spectra: Tensor, steering: Steering) -> Tensor:
        """Superdirective beams around the array, complex ``[batch, beam, freq, frame]``."""
        looks = look_grid(_FIXED_BEAMS, self.grid.linear).centres
        towards = torch.as_tensor(looks, device=spectra.device)[None]
        waves = self._plane_waves(towards, steering)
        weights = superdirective_weights(waves, steering.diffuse)[0]
        return torch.einsum("kfm,bmft->bkft", weights.conj(), spectra)

    def _directions(self, weight: Tensor, scene: _Scene, timeline: Timeline) -> Tensor:
        """The fine head's logits ``[batch, slot, moment, class]`` of what the slots hold, by their
        magnitudes ``[batch, slot, freq, frame]``."""
        assert self.fine_head is not None  # the checks refuse such beamformers without directions
        fine, full = scene.steering.fine[0], scene.located.full
        logits: Tensor = self.fine_head(
            scene.differences, fine, weight, scene.reference, full, timeline
        )
        return logits

    @torch.no_grad()
    def _azimuths(self, estimates: Tensor, scene: _Scene) -> Tensor:
        """Degrees ``[batch, slot, moment]`` that the estimates come from."""
        return self._decoded(self._directions(magnitude(estimates), scene, scene.places))

    @torch.no_grad()
    def _decoded(self, logits: Tensor) -> Tensor:
        """Degrees ``[...]`` from a fine head's logits ``[..., class]``, as if all slots held
        somebody."""
        return self.grid.decode(logits[..., : self.grid.num_classes].float().softmax(dim=-1))

    def _plane_waves(self, azimuths: Tensor, steering: Steering) -> Tensor:
        """Plane waves ``[..., freq, mic]`` from azimuths in degrees ``[...]``."""
        return plane_waves(
            azimuths,
            steering.positions,
            self.fine_features.frequencies,
            self.reference_mic,
            self.grid.linear,
        )

    def _across(self, features: Tensor) -> Tensor:
        """From one task to the other: without a gradient unless they train one encoder."""
        return features if self.config.sharing == "hard" else features.detach()

    def _guidance(
        self, coarse: Tensor | None, azimuth: Tensor | None, estimate_of: Tensor | None = None
    ) -> Tensor:
        """Weights over look directions ``[batch, slot, moment, direction]``, of one moment where
        the azimuths are told."""
        if azimuth is None:
            return self._estimated(coarse)
        looks = torch.as_tensor(self.look_grid.centres, device=azimuth.device).to(azimuth.dtype)
        gap = angular_error(looks, azimuth[..., None, None])
        weight = (1.0 - gap / self.look_grid.resolution).clamp_min(0.0)
        given = (weight / weight.sum(-1, keepdim=True)).nan_to_num()
        if estimate_of is None or bool((estimate_of < 0).all()):
            return given
        chosen = estimate_of[..., None, None]
        own = torch.take_along_dim(self._estimated(coarse), chosen.clamp_min(0), 1)
        return torch.where(chosen < 0, given, own)

    def _estimated(self, coarse: Tensor | None) -> Tensor:
        """The network's own weights over look directions ``[batch, slot, moment, direction]``."""
        if coarse is None or self.config.heads.guidance == "oracle":
            raise InputError("guidance 'oracle' needs the azimuth of every slot")
        return coarse.softmax(dim=-1)[..., : self.look_grid.num_classes]
