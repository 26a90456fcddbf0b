# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's network with all of its outputs, as they are: what training validates and studies
compare, where nothing but the networks may differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msdet.checkpoints import Checkpoint, Description
from msdet.criteria.labels import Labels, take
from msdet.datasets import Batch
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.tasks import trained_tasks
from msdet.training.validation import claims_of


class Network:
    """Puts out whatever is in its slots, somebody or nobody."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model, self.description = checkpoint.model, checkpoint.description

    @torch.inference_mode()
    def __call__(self, heard: Heard) -> Estimate:
        """Separate and localise a scene; guided by true azimuths, a network is told them."""
        batch = Batch.stack([heard.example])
        azimuth = None
        if self.description.model.heads.guidance == "oracle":
            azimuth = _slot_azimuths(self.description, batch, self.model.num_slots)
        output = self.model(batch.mixture, heard.array, azimuth)
        found = self.model.locate(output)
        (claims,) = claims_of(self.model, output)
        return Estimate(
            audio=output.audio[0].float().numpy() if separates(self.description) else None,
            azimuth=_array(claims.azimuth),
            distance=_array(claims.distance),
            empty=_array(claims.empty),
            posterior=None if found is None else found.posterior[0].float().numpy(),
            track=_array(claims.track),
        )

    def order(self, heard: Heard) -> tuple[int, ...] | None:
        """Return which speaker each slot must hold; None where outputs decide."""
        return prescribed_order(self.description, heard)


def _array(values: ArrayLike | None) -> NDArray[Any] | None:
    return None if values is None else np.asarray(values)


def separates(description: Description) -> bool:
    """Return whether a model's outputs hold voices: those for direction alone do not."""
    return "separation" in trained_tasks(description.weight, description.distance_weight)


def prescribed_order(description: Description, heard: Heard) -> tuple[int, ...] | None:
    """Return the speakers in the order of the slots that training's assignment gives them; None
    where outputs decide."""
    orders = description.location_order(Labels.of(Batch.stack([heard.example])))
    return None if orders is None else tuple(orders[0].tolist())


def _slot_azimuths(description: Description, batch: Batch, num_slots: int) -> Tensor | None:
    """True azimuths ``[batch, slot]`` in the order of the slots, NaN for empty ones; None where
    nothing prescribes an order."""
    orders = description.location_order(Labels.of(batch))
    if orders is None:
        return None
    azimuth = torch.full((len(orders), num_slots), torch.nan)
    there = batch.azimuth.masked_fill(~batch.present, torch.nan)
    azimuth[:, : orders.shape[1]] = take(there, orders)
    return azimuth
