# SPDX-License-Identifier: Apache-2.0
"""The criterion: assignment, losses and how the tasks are balanced.

It knows tensors and labels, no network: whatever separates or localises can be trained by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msdet.criteria.assignment import assignment_rule
from msdet.criteria.balancing import LossBalance
from msdet.criteria.config import CriterionConfig
from msdet.criteria.labels import Labels, Predictions
from msdet.criteria.losses import (
    DirectionLoss,
    NegativeSnr,
    SeparationLoss,
    azimuth_targets,
    cross_entropy,
    distance_loss,
    spectral_l1,
)
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid
from msdet.parts import OwnPart, build
from msdet.tasks import LABEL_OF, Task, task_weights

_OURS: dict[str, Callable[..., Tensor]] = {
    "l1": spectral_l1,
    "snr": NegativeSnr(),
    "cross_entropy": cross_entropy,
}


@dataclass(frozen=True)
class Losses:
    """Scalars to minimise and to log, and the order that they were computed in.

    Attributes:
        total: the balanced sum.
        tasks: the losses of the tasks that are trained, neither weighted nor balanced; 0 where no
            example of the batch has its labels.
        labelled: how many examples have them, by task; a task of which all do is left out.
        order: int64 ``[batch, slot]``: which speaker each slot was held to.
    """

    total: Tensor
    tasks: dict[Task, Tensor]
    labelled: dict[Task, Tensor]
    order: Tensor


class Criterion(nn.Module):
    """Losses of the tasks under one assignment, and their balance.

    A loss is the mean over slots, then over the examples that have its labels; 0 in a batch where
    none has them. A slot without a speaker is held to silence, and to the class "no speaker".

    Args:
        config: ``CriterionConfig(assignment="azimuth", weight=0.5)``, say.
        linear_array: azimuths lie on [0, 180], not on a circle.
    Raises:
        InputError: a class that the config names cannot be made, or the assignment is not for
            this array.
    """

    def __init__(self, config: CriterionConfig, linear_array: bool = False) -> None:
        super().__init__()
        self.config = config
        weights = task_weights(config.weight, config.distance_weight)
        self.balance = LossBalance(config.balancing, weights)
        self.tasks = tuple(weights)
        self.assign = assignment_rule(
            config.assignment,
            gap=config.nearest_gap,
            linear=linear_array,
            weights=self.balance.current,
        )
        self.separation_loss: SeparationLoss = _loss("separation_loss", config)
        self.direction_loss: DirectionLoss = _loss("direction_loss", config)

    @property
    def on_signals(self) -> bool:
        """Return whether the separation loss takes signals in place of spectra."""
        return getattr(self.separation_loss, "domain", "spectrum") == "signal"

    def location_order(self, labels: Labels) -> Tensor | None:
        """Return the order ``[batch, slot]`` by location; None where outputs decide."""
        return self.assign(labels, None) if self.assign.by_location else None

    def forward(self, predictions: Predictions, labels: Labels) -> Losses:
        """Return the losses of a batch."""
        with torch.no_grad():
            by_location = self.assign.by_location
            order = self.assign(
                labels, None if by_location else lambda w: self._pairs(w, predictions, labels)
            )
        labels = labels.ordered(order)
        tasks: dict[Task, Tensor] = {}
        labelled: dict[Task, Tensor] = {}
        for task in self.tasks:
            per_slot = self._loss(task, predictions, labels).mean(dim=1)
            known = labels.known(LABEL_OF[task])
            if known is None:
                tasks[task] = per_slot.mean()
            else:
                labelled[task] = known.sum()
                tasks[task] = (per_slot * known).sum() / labelled[task].clamp_min(1)
        return Losses(self.balance.total(tasks), tasks, labelled, order)

    def _loss(self, task: Task, predictions: Predictions, labels: Labels) -> Tensor:
        """Return a task's losses ``[batch, slot]``, those of stages as their mean."""
        if task == "separation":
            assert labels.targets is not None
            stages = [self.separation_loss(e, labels.targets) for e in predictions.estimates]
        elif task == "direction":
            stages = [
                self.direction_loss(logits, self._azimuths(logits, grid, labels), grid)
                for logits, grid in predictions.directions
            ]
            once = torch.stack(stages).mean(dim=0) if stages else torch.zeros(())
            stages += [self._over_time(*stage, labels, once) for stage in predictions.tracks]
        else:
            assert predictions.distance is not None
            assert labels.distance is not None
            stages = [distance_loss(predictions.distance, labels.distance) * _shares(labels)]
        if not stages:
            raise InputError(f"criterion: {task} is to be trained, but nothing is predicted of it")
        return torch.stack(stages).mean(dim=0)

    def _azimuths(self, logits: Tensor, grid: AzimuthGrid, labels: Labels) -> Tensor:
        """Probabilities ``[batch, speaker, class]``; of who walks, the share of the time that the
        speaker is heard from there."""
        assert labels.azimuth is not None
        still = azimuth_targets(
            labels.azimuth, labels.present, grid, logits.shape[-1], self.config.label_width
        )
        if labels.track is None:
            return still
        heard = (~labels.track.isnan())[..., None]
        shares = (self._moments(labels.track, grid, logits.shape[-1]) * heard).sum(dim=2)
        return torch.where(heard.any(dim=2), shares / heard.sum(dim=2).clamp_min(1), still)

    def _over_time(self, logits: Tensor, grid: AzimuthGrid, labels: Labels, once: Tensor) -> Tensor:
        """Return the direction's loss, the mean over the moments at which a speaker is heard,
        ``[batch, slot]``; that of the utterance, ``once``, of a slot with nobody to hear."""
        assert labels.track is not None
        heard = ~labels.track.isnan()
        moments = self._moments(labels.track, grid, logits.shape[-1])
        losses = self.direction_loss(logits, moments, grid)
        mean = (losses * heard).sum(-1) / heard.sum(-1).clamp_min(1)
        return torch.where(heard.any(dim=-1), mean, once.to(mean))

    def _moments(self, track: Tensor, grid: AzimuthGrid, num_outputs: int) -> Tensor:
        """Probabilities ``[batch, speaker, moment, class]``."""
        width = self.config.label_width
        return azimuth_targets(track.nan_to_num(), None, grid, num_outputs, width)

    def _pairs(
        self, weights: dict[Task, float], predictions: Predictions, labels: Labels
    ) -> Tensor:
        """Return the weighted losses ``[batch, slot, speaker]`` of all pairs, by the labels that
        an example has; a slot at a time, since all pairs at once would not fit memory."""
        parts = []
        for task, weight in weights.items():
            slots = predictions_by_slot(predictions, labels.num_speakers)
            losses = torch.stack([self._loss(task, slot, labels) for slot in slots], dim=1)
            known = labels.known(LABEL_OF[task])
            parts.append(weight * (losses if known is None else losses * known[:, None, None]))
        return torch.stack(parts).sum(dim=0)


def predictions_by_slot(predictions: Predictions, num_speakers: int) -> list[Predictions]:
    """Return each slot's predictions ``[batch, 1, ...]``, to be broadcast against all speakers."""
    distance = predictions.distance
    told = [*predictions.directions, *predictions.tracks]
    given = [*predictions.estimates, *(logits for logits, _ in told)]
    given += [] if distance is None else [distance]
    return [
        Predictions(
            [estimate[:, n : n + 1] for estimate in predictions.estimates],
            [(logits[:, n : n + 1], grid) for logits, grid in predictions.directions],
            None if distance is None else distance[:, n : n + 1].expand(-1, num_speakers, -1),
            [(logits[:, n : n + 1], grid) for logits, grid in predictions.tracks],
        )
        for n in range(given[0].shape[1])
    ]


def _loss(key: str, config: CriterionConfig) -> Any:
    """Return a loss: ours, or the one that the config names."""
    part = getattr(config, key)
    if not isinstance(part, OwnPart):
        return _OURS[part]
    made = build(part, f"criterion.{key}")
    if not callable(made):
        raise InputError(f"criterion.{key}: {part.target} cannot be called; a loss is a function")
    return made


def _shares(labels: Labels) -> Tensor | float:
    """Return ``[batch, speaker]``: 0 for absent speakers; of mean 1 over all."""
    if labels.present is None:
        return 1.0
    there = labels.present.float()
    return there / there.mean(dim=1, keepdim=True).clamp_min(1e-12)
