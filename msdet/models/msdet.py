# SPDX-License-Identifier: Apache-2.0
"""The multitask network: STFT, frontend, shared encoder, direction and separation heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from msdet.audio import Stft, StftConfig
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray, angular_error
from msdet.models.beamforming import RefinementHead, beamform
from msdet.models.encoders import EncoderConfig, Encoding, UNet
from msdet.models.frontends import (
    DirectionalFeatures,
    DirectionalFrontend,
    FrontendConfig,
    RealImaginaryFrontend,
    look_grid,
    phase_differences,
)
from msdet.models.heads import CoarseDirectionHead, FineDirectionHead, MaskHead


class HeadsConfig(BaseModel):
    """What follows the shared encoder.

    Attributes:
        guidance: what tells each mask where its speaker is: nothing (`none`: plain multitask
            heads), the coarse direction head (`estimated`), or the true azimuth (`oracle`).
        beamformer: refine the masks behind a mask-based MVDR beamformer.
        resolution: width of an azimuth class, degrees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    guidance: Literal["none", "estimated", "oracle"]
    beamformer: bool
    resolution: float = Field(gt=0, le=90)
    direction_channels: int = Field(ge=4)
    mask_channels: int = Field(ge=4)
    mask_bound: float = Field(gt=0)


class ModelConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stft: StftConfig
    frontend: FrontendConfig
    encoder: EncoderConfig
    heads: HeadsConfig


Task = Literal["separation", "direction"]


def trained_tasks(weight: float) -> frozenset[Task]:
    """What a criterion of this weight of the separation loss trains."""
    tasks: set[Task] = set()
    if weight > 0:
        tasks.add("separation")
    if weight < 1:
        tasks.add("direction")
    return frozenset(tasks)


@dataclass(frozen=True)
class Output:
    """What the network says about a batch of mixtures.

    Attributes:
        audio: ``[batch, slot, sample]`` separated speakers at the reference microphone.
        spectra: complex ``[batch, slot, freq, frame]``, what ``audio`` was made from.
        stages: the estimates of every stage, the last being ``spectra``.
        azimuth_logits: ``[batch, slot, class]``, the fine stage: what is reported; None where the
            network is for separation alone.
        coarse_logits: ``[batch, slot, direction]``, the stage that guides the masks; None where
            nothing trains it.
        encoding: the shared encoder's features, where the tasks part.
    """

    audio: Tensor
    spectra: Tensor
    stages: tuple[Tensor, ...]
    azimuth_logits: Tensor | None
    coarse_logits: Tensor | None
    encoding: Encoding


@dataclass(frozen=True)
class Steering:
    """An array's steering matrices, ``[elevation, freq, direction, 2 * pair]``."""

    coarse: Tensor
    fine: Tensor


class MSDET(nn.Module):
    """Multitask separation and direction-of-arrival estimation (MSDET).

    Our implementation of the idea of Hartanto, Sakti, Shinoda (Interspeech 2024): one shared
    encoder, a separation head and a direction head, trained together.

    Args:
        num_slots: how many speakers it puts out. reference_mic: where it puts them out.
        tasks: what it is for. A head that serves none of them is not built; without separation,
            slots are masks of one stage, through which directions are pooled.
    """

    def __init__(
        self,
        config: ModelConfig,
        array: MicrophoneArray,
        sample_rate: int,
        num_slots: int,
        reference_mic: int = 0,
        tasks: frozenset[Task] = frozenset({"separation", "direction"}),
    ) -> None:
        super().__init__()
        self.config, self.array, self.sample_rate = config, array, sample_rate
        self.num_slots, self.reference_mic = num_slots, reference_mic
        linear, heads = array.is_linear, config.heads
        self.stft = Stft(config.stft)
        frequencies, num_freqs = self.stft.frequencies(sample_rate), self.stft.num_freqs
        self.grid = AzimuthGrid(heads.resolution, linear)
        num_directions = config.frontend.directions
        self.look_grid = look_grid(num_directions, linear)
        self.coarse_features = DirectionalFeatures(
            self.look_grid.centres, frequencies, config.frontend.elevations
        )
        self.fine_features = DirectionalFeatures(self.grid.centres, frequencies)
        self.frontend: nn.Module
        if config.frontend.name == "directional":
            self.frontend = DirectionalFrontend(num_directions, frequencies)
        else:
            self.frontend = RealImaginaryFrontend(array.num_mics, frequencies)
        self.encoder = UNet(config.encoder, self.frontend.out_channels)
        full, bottom = self.encoder.full_channels, self.encoder.bottom_channels
        guided, localises = heads.guidance != "none", "direction" in tasks
        self.coarse_head = (
            CoarseDirectionHead(
                num_freqs, num_directions, bottom, num_slots, heads.direction_channels, linear
            )
            if localises or heads.guidance == "estimated"
            else None
        )
        self.fine_head = (
            FineDirectionHead(
                num_freqs, self.grid.num_classes, full, heads.direction_channels, linear
            )
            if localises
            else None
        )
        self.mask_head = MaskHead(
            full + guided * num_slots, heads.mask_channels, num_slots, heads.mask_bound
        )
        self.refinement_head = (
            RefinementHead(full, heads.mask_channels, heads.mask_bound)
            if heads.beamformer and "separation" in tasks
            else None
        )
        self._steering: dict[tuple[object, torch.device], Steering] = {}
        self.to(memory_format=torch.channels_last)

    def steering(self, array: MicrophoneArray) -> Steering:
        """Steering matrices of an array, computed once per array and device."""
        device = self.stft.taper.device
        key = (array.positions, device)
        if key not in self._steering:
            with torch.inference_mode(False):  # they may be needed by a later training step
                positions = torch.tensor(array.positions, dtype=torch.float32, device=device)
                self._steering[key] = Steering(
                    self.coarse_features.steering(positions),
                    self.fine_features.steering(positions),
                )
        return self._steering[key]

    def forward(
        self,
        mixture: Tensor,
        array: MicrophoneArray | None = None,
        azimuth: Tensor | None = None,
    ) -> Output:
        """Separate and localise.

        Args:
            mixture: ``[batch, mic, sample]``, reference microphone at an RMS near one.
            array: the microphones; None for those of training.
            azimuth: true azimuth per slot in degrees, ``[batch, slot]``; with
                ``guidance: oracle`` it is needed and replaces the estimate.
        """
        spectra, steering = self.stft(mixture), self.steering(array or self.array)
        reference = spectra[:, self.reference_mic]
        differences = phase_differences(spectra)
        directional = self.coarse_features(differences, steering.coarse)
        features = self.frontend(spectra, directional, self.reference_mic)
        encoding = self.encoder(features)
        energy = reference.abs().sqrt()
        coarse = None
        if self.coarse_head is not None:
            coarse = self.coarse_head(directional, energy, encoding.bottom)
        mask_input = encoding.full
        if self.config.heads.guidance != "none":
            posterior = self._guidance(coarse, azimuth)
            guidance = torch.einsum("bnk,bfkt->bnft", posterior, directional)
            mask_input = torch.cat([mask_input, guidance], dim=1)
        stages = [self.mask_head(mask_input) * reference[:, None]]
        if self.refinement_head is not None:
            beams = beamform(spectra, stages[0].detach(), self.reference_mic)
            stages.append(self.refinement_head(reference, beams, stages[0], encoding.full))
        fine = None
        if self.fine_head is not None:
            weight = stages[-1].abs()
            fine = self.fine_head(differences, steering.fine[0], weight, encoding.full)
        audio = self.stft.inverse(stages[-1], mixture.shape[-1])
        return Output(audio, stages[-1], tuple(stages), fine, coarse, encoding)

    def _guidance(self, coarse: Tensor | None, azimuth: Tensor | None) -> Tensor:
        """Weights over look directions ``[batch, slot, direction]``."""
        if azimuth is None:
            if coarse is None or self.config.heads.guidance == "oracle":
                raise InputError("guidance 'oracle' needs the azimuth of every slot")
            return coarse.softmax(dim=-1)
        looks = torch.as_tensor(self.look_grid.centres, device=azimuth.device).to(azimuth.dtype)
        gap = angular_error(looks, azimuth[..., None])
        weight = (1.0 - gap / self.look_grid.resolution).clamp_min(0.0)
        return weight / weight.sum(-1, keepdim=True)
