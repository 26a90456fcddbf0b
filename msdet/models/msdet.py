# SPDX-License-Identifier: Apache-2.0
"""The multitask network: STFT, frontend, shared encoder, direction and separation heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from msdet.audio import Stft, StftConfig
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray, angular_error
from msdet.models.beamforming import (
    RefinementHead,
    beamform,
    beamform_towards,
    plane_waves,
)
from msdet.models.encoders import (
    MOST_BLOCKS,
    MOST_CHANNELS,
    EncoderConfig,
    Encoding,
    UNetConfig,
    make_encoder,
)
from msdet.models.frontends import (
    DirectionalConfig,
    DirectionalFeatures,
    FrontendConfig,
    look_grid,
    magnitude,
    make_frontend,
    phase_differences,
)
from msdet.models.heads import (
    CoarseDirectionHead,
    DistanceHead,
    FineDirectionHead,
    MaskHead,
)
from msdet.parsing import Config
from msdet.parts import NameOrOwn, OwnPart, build_module
from msdet.tasks import Task


class HeadsConfig(Config):
    """The heads behind the shared encoder.

    Attributes:
        separation: what the speakers are first made by: complex masks on the reference microphone
            (`mask`), or a class, a `msdet.models.heads.SeparationHead`.
        guidance: what tells each mask where its speaker is: nothing (`none`: plain multitask
            heads), the network's own direction (`estimated`), or the true one (`oracle`, a
            ceiling).
        beamformer: what refines the masks: nothing (`none`), an MVDR beamformer with covariances
            from the masks (`mask`), or one that is steered to the direction of what each mask holds
            (`steered`), which leaves echoes out.
        refinements: how often, each time with the beamformer of the last estimates and the same
            weights.
        refinement_blocks: residual blocks in the refinement, at a quarter of the frequencies.
        refinement_channels: of these blocks.
        resolution: degrees per azimuth class; must divide 360 (180 for a line).
        direction_channels, mask_channels: widths of the heads.
        mask_bound: largest real and imaginary part that a mask adds to an even share.
        distance: what a third head says of each speaker's distance: nothing (`none`), a number
            (`regression`), or a class (`classes`); with `criterion.distance_weight`.
    """

    separation: NameOrOwn[Literal["mask"]] = "mask"
    guidance: Literal["none", "estimated", "oracle"] = "estimated"
    beamformer: Literal["none", "mask", "steered"] = "mask"
    refinements: int = Field(default=1, ge=1, le=MOST_BLOCKS)
    refinement_blocks: int = Field(default=0, ge=0, le=12)  # the last looks 2**11 frames around
    refinement_channels: int = Field(default=32, ge=4, le=MOST_CHANNELS)
    resolution: float = Field(default=5.0, ge=0.25, le=90)  # no array tells finer ones apart
    direction_channels: int = Field(default=32, ge=4, le=MOST_CHANNELS)
    mask_channels: int = Field(default=16, ge=4, le=MOST_CHANNELS)
    mask_bound: float = Field(default=2.0, gt=0, le=1e6)
    distance: Literal["none", "regression", "classes"] = "none"


MOST_SLOTS = 32
"""Speakers that a network puts out; simulated scenes have up to five."""


class ModelConfig(Config):
    """The network; the defaults are of a size for CPUs.

    Attributes:
        sharing: one encoder for all tasks (`hard`: Caruana 1997); one for separation and one for
            the others (`none`); or likewise with a penalty on their distance (`soft`). With an
            encoder each, what one task feeds the other carries no gradient.
        slots: outputs; null: as many as `scene.num_speakers` allows. Outputs to spare learn to be
            empty, and serve when training goes on (`init_from`) with more speakers.
    """

    stft: StftConfig = StftConfig()
    frontend: FrontendConfig = DirectionalConfig()
    encoder: EncoderConfig = UNetConfig()
    heads: HeadsConfig = HeadsConfig()
    sharing: Literal["hard", "soft", "none"] = "hard"
    slots: int | None = Field(default=None, ge=2, le=MOST_SLOTS)


@dataclass(frozen=True)
class Estimates:
    """Estimates of a batch of mixtures, in the domain of the transform.

    Attributes:
        spectra: complex ``[batch, slot, freq, frame]``, the separated speakers at the reference
            microphone.
        stages: the estimates of every stage, the last being ``spectra``.
        azimuth_logits: ``[batch, slot, class]``, the fine stage: what is reported; None where the
            network is for separation alone. Of a network whose slots may be empty, a last class
            stands for "no speaker".
        coarse_logits: ``[batch, slot, direction]``, likewise, the stage that guides the masks;
            None where nothing trains it.
        distance: the distance head's output, ``[batch, slot, ...]``; None without one.
        encoding: the encoder's features, where the tasks part.
    """

    spectra: Tensor
    stages: tuple[Tensor, ...]
    azimuth_logits: Tensor | None
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
    """

    azimuth: Tensor
    posterior: Tensor
    empty: Tensor


@dataclass(frozen=True)
class Steering:
    """An array's steering matrices, ``[elevation, freq, direction, 2 * pair]``, and where its
    microphones are, ``[mic, 3]`` metres."""

    coarse: Tensor
    fine: Tensor
    positions: Tensor


def _size(steering: Steering) -> int:
    """Bytes."""
    return sum(part.nbytes for part in vars(steering).values())


STEERING_BYTES = 2**28
"""The 48 arrays of three to six microphones that the shipped model learned from take two thirds."""


class MSDET(nn.Module):
    """Multitask separation and direction-of-arrival estimation (MSDET).

    Our implementation of the idea of Hartanto, Sakti, Shinoda (Interspeech 2024): one shared
    encoder, a separation head and a direction head, trained together.

    Args:
        num_slots: how many speakers it puts out. reference_mic: where it puts them out.
        tasks: what it is for. A head that serves none of them is not built; without separation,
            slots are masks of one stage, through which directions are pooled.
        empty_slots: scenes may have fewer speakers than slots.
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
        self.config, self.array, self.sample_rate = config, array, sample_rate
        self.num_slots, self.reference_mic = num_slots, reference_mic
        self.empty_slots = empty_slots
        linear, heads = array.is_linear, config.heads
        self.stft = Stft(config.stft)
        frequencies, num_freqs = self.stft.frequencies(sample_rate), self.stft.num_freqs
        self.grid = AzimuthGrid(heads.resolution, linear)
        num_directions = config.frontend.directions
        self.look_grid = look_grid(num_directions, linear)
        self.coarse_features = DirectionalFeatures(
            self.look_grid, frequencies, config.frontend.elevations
        )
        self.fine_features = DirectionalFeatures(self.grid, frequencies)
        self.frontend = make_frontend(config.frontend, array.num_mics, frequencies)
        self.encoder = make_encoder(config.encoder, self.frontend.out_channels, num_freqs)
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
                in_channels, heads.mask_channels, num_slots, heads.mask_bound
            )
        self.refinement_head = (
            RefinementHead(
                full,
                heads.mask_channels,
                heads.mask_bound,
                heads.refinement_blocks,
                heads.refinement_channels,
            )
            if heads.beamformer != "none" and "separation" in tasks
            else None
        )
        self.distance_head = (
            None if heads.distance == "none" else DistanceHead(full, bottom, heads.distance)
        )
        self.direction_encoder = (
            None
            if config.sharing == "hard"
            else make_encoder(config.encoder, self.frontend.out_channels, num_freqs)
        )
        self._steering: dict[tuple[object, torch.device], Steering] = {}
        self.to(memory_format=torch.channels_last)

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
    ) -> Estimates:
        """The network between the transforms.

        Args:
            spectra: the mixture's, complex ``[batch, mic, freq, frame]``.
            steering: of its microphones. azimuth, estimate_of: as of :meth:`forward`.
        """
        reference = spectra[:, self.reference_mic]
        differences = phase_differences(spectra)
        directional = self.coarse_features(differences, steering.coarse)
        features = self.frontend(spectra, directional, self.reference_mic)
        encoding = self.encoder(features)
        located = encoding if self.direction_encoder is None else self.direction_encoder(features)
        energy = magnitude(reference).sqrt()
        coarse = None
        if self.coarse_head is not None:
            coarse = self.coarse_head(directional, energy, located.bottom)
        mask_input = encoding.full
        if self.config.heads.guidance != "none":
            posterior = self._across(self._guidance(coarse, azimuth, estimate_of))
            guidance = torch.einsum("bnk,bfkt->bnft", posterior, directional)
            mask_input = torch.cat([mask_input, guidance], dim=1)
        stages = [self.separation_head(mask_input, spectra, self.reference_mic)]
        if self.refinement_head is not None:
            for _ in range(self.config.heads.refinements):
                last = stages[-1].detach()
                if self.config.heads.beamformer == "mask":
                    beams = beamform(spectra, last, self.reference_mic)
                else:
                    towards = self._directions(differences, steering, last, reference, located)
                    beams = beamform_towards(spectra, last, towards, self.reference_mic)
                stages.append(self.refinement_head(reference, beams, last, encoding.full))
        weight, fine, distance = self._across(stages[-1].abs()), None, None
        if self.fine_head is not None:
            fine = self.fine_head(differences, steering.fine[0], weight, reference, located.full)
        if self.distance_head is not None:
            distance = self.distance_head(weight, reference, located.full, located.bottom)
        return Estimates(stages[-1], tuple(stages), fine, coarse, distance, encoding)

    def locate(self, output: Output) -> Locations | None:
        """Read the directions of an output; None of a network for separation alone."""
        if output.azimuth_logits is None:
            return None
        everything = output.azimuth_logits.float().softmax(dim=-1)
        classes = everything[..., : self.grid.num_classes]
        here = classes.sum(-1)
        empty = here < 0.5 if self.empty_slots else torch.zeros_like(here, dtype=torch.bool)
        posterior = classes / here[..., None].clamp_min(1e-12)
        azimuth = self.grid.decode(posterior).masked_fill(empty, torch.nan)
        return Locations(azimuth, posterior, empty)

    @torch.no_grad()
    def _directions(
        self,
        differences: Tensor,
        steering: Steering,
        estimates: Tensor,
        reference: Tensor,
        located: Encoding,
    ) -> Tensor:
        """Plane waves ``[batch, slot, freq, mic]`` from where the estimates come from."""
        assert self.fine_head is not None  # the checks refuse such beamformers without directions
        fine = steering.fine[0]
        logits = self.fine_head(differences, fine, magnitude(estimates), reference, located.full)
        posterior = logits[..., : self.grid.num_classes].float().softmax(dim=-1)
        return plane_waves(
            self.grid.decode(posterior),
            steering.positions,
            self.fine_features.frequencies,
            self.reference_mic,
            self.grid.linear,
        )

    def _across(self, features: Tensor) -> Tensor:
        """From one task to the other: without a gradient where they share no encoder."""
        return features if self.direction_encoder is None else features.detach()

    def _guidance(
        self, coarse: Tensor | None, azimuth: Tensor | None, estimate_of: Tensor | None = None
    ) -> Tensor:
        """Weights over look directions ``[batch, slot, direction]``."""
        if azimuth is None:
            return self._estimated(coarse)
        looks = torch.as_tensor(self.look_grid.centres, device=azimuth.device).to(azimuth.dtype)
        gap = angular_error(looks, azimuth[..., None])
        weight = (1.0 - gap / self.look_grid.resolution).clamp_min(0.0)
        given = (weight / weight.sum(-1, keepdim=True)).nan_to_num()
        if estimate_of is None or bool((estimate_of < 0).all()):
            return given
        own = torch.take_along_dim(self._estimated(coarse), estimate_of.clamp_min(0)[..., None], 1)
        return torch.where(estimate_of[..., None] < 0, given, own)

    def _estimated(self, coarse: Tensor | None) -> Tensor:
        """The network's own weights over look directions ``[batch, slot, direction]``."""
        if coarse is None or self.config.heads.guidance == "oracle":
            raise InputError("guidance 'oracle' needs the azimuth of every slot")
        return coarse.softmax(dim=-1)[..., : self.look_grid.num_classes]
