# SPDX-License-Identifier: Apache-2.0
"""The criterion: assignment, losses and how the two tasks are weighed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from msdet.criteria.assignment import (
    BY_LOCATION,
    Assignment,
    assign_by_location,
    assign_by_permutation,
    take,
)
from msdet.criteria.losses import (
    azimuth_cross_entropy,
    pairwise_cross_entropy,
    pairwise_spectral_l1,
    spectral_l1,
)
from msdet.datasets import Batch
from msdet.geometry import AzimuthGrid
from msdet.models.msdet import MSDET, Output, Task


class CriterionConfig(BaseModel):
    """Assignment and weight.

    Attributes:
        assignment: which speaker a slot must output.
        nearest_gap: degrees, of the assignment of this name: scenes in which any two speakers are
            closer are sorted by distance, the others by azimuth.
        weight: w in w * separation + (1 - w) * direction; 1 is separation alone, 0 direction alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    assignment: Assignment
    nearest_gap: float = Field(default=20.0, gt=0, le=180)
    weight: float = Field(ge=0, le=1)

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
        total: the weighted sum. tasks: the losses of the tasks that are trained, unweighted.
        order: int64 ``[batch, slot]``: which speaker each slot was held to.
    """

    total: Tensor
    tasks: dict[Task, Tensor]
    order: Tensor


class Criterion:
    """L = w * L_separation + (1 - w) * L_direction under one assignment."""

    def __init__(self, config: CriterionConfig, linear_array: bool) -> None:
        self.assignment, self.weight = config.assignment, config.weight
        self.nearest_gap, self.linear_array = config.nearest_gap, linear_array

    def location_order(self, batch: Batch) -> Tensor | None:
        """The order ``[batch, slot]`` that locations prescribe; None where outputs decide (PIT)."""
        if self.assignment not in BY_LOCATION:
            return None
        return assign_by_location(
            self.assignment,
            batch.azimuth,
            batch.distance,
            batch.elevation,
            gap=self.nearest_gap,
            linear=self.linear_array,
        )

    def __call__(self, model: MSDET, output: Output, batch: Batch) -> Losses:
        """The tasks' losses of a batch, the mean over slots, then scenes."""
        targets = model.stft(batch.targets)
        order = self.location_order(batch)
        if order is None:
            order = self._search(model, output, targets, batch)
        targets, azimuth = take(targets, order), take(batch.azimuth, order)
        tasks: dict[Task, Tensor] = {}
        if self.weight > 0:
            stages = [spectral_l1(stage, targets).mean() for stage in output.stages]
            tasks["separation"] = torch.stack(stages).mean()
        if self.weight < 1:
            both = [
                azimuth_cross_entropy(logits, azimuth, grid).mean()
                for logits, grid in _directions(model, output)
            ]
            tasks["direction"] = torch.stack(both).mean()
        weights: dict[Task, float] = {
            "separation": self.weight,
            "direction": 1.0 - self.weight,
        }
        total = torch.stack([weights[task] * loss for task, loss in tasks.items()]).sum()
        return Losses(total, tasks, order)

    @torch.no_grad()
    def _search(self, model: MSDET, output: Output, targets: Tensor, batch: Batch) -> Tensor:
        """The order ``[batch, slot]`` of least loss; among equals, such as two directions of one
        class, the one that comes first when speakers are sorted by azimuth."""
        by_azimuth = assign_by_location(
            "azimuth", batch.azimuth, batch.distance, batch.elevation, gap=0.0, linear=False
        )
        pairs = self._pairwise(
            model, output, take(targets, by_azimuth), take(batch.azimuth, by_azimuth)
        )
        return take(by_azimuth, assign_by_permutation(pairs))

    def _pairwise(self, model: MSDET, output: Output, targets: Tensor, azimuth: Tensor) -> Tensor:
        """What a permutation costs: the losses ``[batch, slot, speaker]`` of all pairs."""
        weight = {"pit": 1.0, "doa_pit": 0.0}.get(self.assignment, self.weight)
        total = torch.zeros((), device=targets.device)
        if weight > 0:
            stages = [pairwise_spectral_l1(stage, targets) for stage in output.stages]
            total = total + weight * torch.stack(stages).mean(dim=0)
        if weight < 1:
            both = [
                pairwise_cross_entropy(logits, azimuth, grid)
                for logits, grid in _directions(model, output)
            ]
            total = total + (1.0 - weight) * torch.stack(both).mean(dim=0)
        return total


def _directions(model: MSDET, output: Output) -> list[tuple[Tensor, AzimuthGrid]]:
    """Both stages' logits, with their classes."""
    assert output.azimuth_logits is not None
    assert output.coarse_logits is not None
    return [(output.azimuth_logits, model.grid), (output.coarse_logits, model.look_grid)]
