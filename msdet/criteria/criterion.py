# SPDX-License-Identifier: Apache-2.0
"""The criterion: assignment, losses and how the tasks are balanced."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from msdet.criteria.assignment import (
    BY_LOCATION,
    Assignment,
    assign_by_location,
    assign_by_permutation,
    take,
)
from msdet.criteria.balancing import Balancing, LossBalance
from msdet.criteria.losses import (
    azimuth_targets,
    cross_entropy,
    pairwise_cross_entropy,
    pairwise_spectral_l1,
    spectral_l1,
)
from msdet.criteria.sharing import weight_distance, weight_magnitude
from msdet.datasets import Batch
from msdet.geometry import AzimuthGrid
from msdet.models.msdet import MSDET, Output, Task, task_weights


class CriterionConfig(BaseModel):
    """Assignment, weights, labels and penalties.

    Attributes:
        assignment: which speaker a slot must output.
        nearest_gap: degrees, of the assignment of this name: scenes in which any two speakers are
            closer are sorted by distance, the others by azimuth.
        weight: w in w · separation + (1 - w) · direction. 1 trains separation alone, 0 direction
            alone.
        distance_weight: of the distance head's loss, beside these two.
        balancing: what becomes of these weights in training: nothing (`fixed`); weights that
            training finds (`uncertainty`, `dwa`); or the tasks' gradients on the shared encoder
            are combined (`pcgrad`, `upgrad`).
        label_width: degrees: azimuth labels are Gaussian around the truth with this standard
            deviation; 0 puts all into the nearest class.
        sharing_strength: of the penalty on the distance between the tasks' encoders, with
            `model.sharing=soft`; with 0 it is `none`.
        sparsity: of an L1 penalty on the network's weights, such as 1e-6.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    assignment: Assignment = "azimuth"
    nearest_gap: float = Field(default=20.0, gt=0, le=180)
    weight: float = Field(default=0.97, ge=0, le=1)
    distance_weight: float = Field(default=0.0, ge=0, le=1e9)
    balancing: Balancing = "fixed"
    label_width: float = Field(default=0.0, ge=0, le=90)
    sharing_strength: float = Field(default=0.0, ge=0, le=1e9)
    sparsity: float = Field(default=0.0, ge=0, le=1e9)

    @model_validator(mode="after")
    def _permutations_need_their_loss(self) -> CriterionConfig:
        if self.assignment == "pit" and self.weight == 0:
            raise ValueError(
                "assignment 'pit' searches the permutation of least separation loss, which "
                "weight=0 leaves untrained: choose an assignment by location, or weight above 0"
            )
        if self.assignment == "doa_pit" and self.weight == 1:
            raise ValueError(
                "assignment 'doa_pit' searches the permutation of least direction loss, which "
                "weight=1 leaves untrained: choose an assignment by location, or weight below 1"
            )
        return self


@dataclass(frozen=True)
class Losses:
    """Scalars to minimise and to log, and the order that they were computed in.

    Attributes:
        total: the balanced sum, with the penalties. tasks: the losses of the tasks that are
            trained, neither weighted nor balanced; 0 where no example of the batch has its labels.
        labelled: how many examples have them.
        penalty: on weights; None where the config asks for none.
        order: int64 ``[batch, slot]``: which speaker each slot was held to.
    """

    total: Tensor
    tasks: dict[Task, Tensor]
    labelled: dict[Task, Tensor]
    penalty: Tensor | None
    order: Tensor


@dataclass(frozen=True)
class Labels:
    """What slots are held to.

    Attributes:
        targets: complex ``[batch, speaker, freq, frame]``; None where no task needs them.
        azimuth: degrees ``[batch, speaker]``. distance: metres. present: bool, same shape.
    """

    targets: Tensor | None
    azimuth: Tensor
    distance: Tensor
    present: Tensor

    def ordered(self, order: Tensor) -> Labels:
        """With the slots' order ``[batch, slot]`` in place of the speakers'."""
        targets = None if self.targets is None else take(self.targets, order)
        others = (take(x, order) for x in (self.azimuth, self.distance, self.present))
        return Labels(targets, *others)


class Criterion(nn.Module):
    """Losses of the tasks under one assignment, and their balance.

    A loss is the mean over slots, then over the examples that have its labels; 0 in a batch where
    none has them. A slot without a speaker is held to silence, and to the class "no speaker".
    """

    def __init__(self, config: CriterionConfig, linear_array: bool) -> None:
        super().__init__()
        self.config, self.linear_array = config, linear_array
        weights = task_weights(config.weight, config.distance_weight)
        self.balance = LossBalance(config.balancing, weights)
        self.tasks = tuple(weights)

    def location_order(self, batch: Batch) -> Tensor | None:
        """The order ``[batch, slot]`` that locations prescribe; None where outputs decide (PIT)."""
        if self.config.assignment not in BY_LOCATION:
            return None
        return self._by_location(self.config.assignment, batch)

    def forward(self, model: MSDET, output: Output, batch: Batch) -> Losses:
        """The losses of a batch."""
        targets = model.stft(batch.targets) if "separation" in self.tasks else None
        labels = Labels(targets, batch.azimuth, batch.distance, batch.present)
        order = self.location_order(batch)
        if order is None:
            order = self.search(model, output, labels, batch)
        labels = labels.ordered(order)
        losses = {
            "separation": lambda: (_separation(output, labels), batch.has_targets),
            "direction": lambda: (self._direction(model, output, labels), batch.has_azimuth),
            "distance": lambda: (_distance(model, output, labels), batch.has_distance),
        }
        tasks: dict[Task, Tensor] = {}
        labelled: dict[Task, Tensor] = {}
        for task in self.tasks:
            per_slot, known = losses[task]()
            labelled[task] = known.sum()
            tasks[task] = (per_slot.mean(dim=1) * known).sum() / labelled[task].clamp_min(1)
        penalty = self._penalty(model)
        total = self.balance.total(tasks)
        total = total if penalty is None else total + penalty
        return Losses(total, tasks, labelled, penalty, order)

    def _direction(self, model: MSDET, output: Output, labels: Labels) -> Tensor:
        """``[batch, slot]``, the mean of both stages."""
        stages = [
            cross_entropy(logits, self._azimuth_targets(logits, grid, labels))
            for logits, grid in _directions(model, output)
        ]
        return torch.stack(stages).mean(dim=0)

    def _azimuth_targets(self, logits: Tensor, grid: AzimuthGrid, labels: Labels) -> Tensor:
        width = self.config.label_width
        return azimuth_targets(labels.azimuth, labels.present, grid, logits.shape[-1], width)

    def _penalty(self, model: MSDET) -> Tensor | None:
        parts = []
        if self.config.sharing_strength > 0 and model.direction_encoder is not None:
            distance = weight_distance(model.encoder, model.direction_encoder)
            parts.append(self.config.sharing_strength * distance)
        if self.config.sparsity > 0:
            parts.append(self.config.sparsity * weight_magnitude(model))
        return torch.stack(parts).sum() if parts else None

    def _by_location(self, assignment: Assignment, batch: Batch) -> Tensor:
        return assign_by_location(
            assignment,
            batch.azimuth,
            batch.distance,
            batch.elevation,
            gap=self.config.nearest_gap,
            linear=self.linear_array,
            present=batch.present,
        )

    @torch.no_grad()
    def search(self, model: MSDET, output: Output, labels: Labels, batch: Batch) -> Tensor:
        """The order ``[batch, slot]`` of least loss, however the speakers are listed; up to three
        speakers, the one that comes first by azimuth among equals, as of two in one class."""
        by_azimuth = self._by_location("azimuth", batch)
        if self.config.assignment == "doa_pit":
            labels = replace(labels, targets=None)
        pairs = self._pairwise(model, output, labels.ordered(by_azimuth), batch)
        return take(by_azimuth, assign_by_permutation(pairs))

    def _pairwise(self, model: MSDET, output: Output, labels: Labels, batch: Batch) -> Tensor:
        """What a permutation costs: the losses ``[batch, slot, speaker]`` of all pairs, of the
        labels that an example has."""
        searched: dict[Assignment, dict[Task, float]] = {
            "pit": {"separation": 1.0},
            "doa_pit": {"direction": 1.0},
            "joint_pit": self.balance.current(),
        }
        weights = searched[self.config.assignment]
        parts = []
        if "separation" in weights:
            assert labels.targets is not None
            stages = [pairwise_spectral_l1(stage, labels.targets) for stage in output.stages]
            losses = torch.stack(stages).mean(dim=0) * batch.has_targets[:, None, None]
            parts.append(weights["separation"] * losses)
        if "direction" in weights:
            stages = [
                pairwise_cross_entropy(logits, self._azimuth_targets(logits, grid, labels))
                for logits, grid in _directions(model, output)
            ]
            losses = torch.stack(stages).mean(dim=0) * batch.has_azimuth[:, None, None]
            parts.append(weights["direction"] * losses)
        if "distance" in weights:
            losses = _pairwise_distance(model, output, labels)
            parts.append(weights["distance"] * losses * batch.has_distance[:, None, None])
        return torch.stack(parts).sum(dim=0)


def _separation(output: Output, labels: Labels) -> Tensor:
    """``[batch, slot]``, the mean of all stages."""
    assert labels.targets is not None
    return torch.stack([spectral_l1(stage, labels.targets) for stage in output.stages]).mean(dim=0)


def _distance(model: MSDET, output: Output, labels: Labels) -> Tensor:
    """``[batch, slot]``; their mean is the one over those who are there."""
    assert model.distance_head is not None
    assert output.distance is not None
    return model.distance_head.loss(output.distance, labels.distance) * _shares(labels)


def _pairwise_distance(model: MSDET, output: Output, labels: Labels) -> Tensor:
    """:func:`_distance` of every pair, ``[batch, slot, speaker]``."""
    assert model.distance_head is not None
    assert output.distance is not None
    count = labels.present.shape[1]
    slots = [
        model.distance_head.loss(slot[:, None].expand(-1, count, -1), labels.distance)
        for slot in output.distance.unbind(dim=1)
    ]
    return torch.stack(slots, dim=1) * _shares(labels)[:, None]


def _shares(labels: Labels) -> Tensor:
    """``[batch, speaker]``: 0 for absent ones; of mean 1 over all."""
    there = labels.present.float()
    return there / there.mean(dim=1, keepdim=True).clamp_min(1e-12)


def _directions(model: MSDET, output: Output) -> list[tuple[Tensor, AzimuthGrid]]:
    """Both stages' logits, with their classes."""
    assert output.azimuth_logits is not None
    assert output.coarse_logits is not None
    return [(output.azimuth_logits, model.grid), (output.coarse_logits, model.look_grid)]
