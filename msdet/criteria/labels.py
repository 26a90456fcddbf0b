# SPDX-License-Identifier: Apache-2.0
"""Predictions of a network and the labels they are compared with, as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from msdet.geometry import AzimuthGrid
from msdet.tasks import Label


@dataclass(frozen=True)
class Predictions:
    """Outputs of a network for a batch of mixtures; what it does not tell is left out.

    Attributes:
        estimates: the separated speakers, one tensor for each stage of the network that is
            trained, complex ``[batch, slot, freq, frame]`` (or ``[batch, slot, sample]`` for a
            loss on signals).
        directions: logits ``[batch, slot, class]`` and the grid of their azimuths, one pair for
            each stage. A class more than the grid has stands for "no speaker".
        distance: ``[batch, slot, 1]`` octaves above a metre, or logits ``[batch, slot, class]``
            of :func:`msdet.criteria.losses.distance_octaves`.
        tracks: as ``directions``, over time: logits ``[batch, slot, moment, class]``.
    """

    estimates: Sequence[Tensor] = ()
    directions: Sequence[tuple[Tensor, AzimuthGrid]] = ()
    distance: Tensor | None = None
    tracks: Sequence[tuple[Tensor, AzimuthGrid]] = ()


@dataclass(frozen=True)
class Labels:
    """The speakers of a batch of mixtures, in any order; what is not known is None.

    Attributes:
        targets: their signals, as the predictions' estimates have them ``[batch, speaker, ...]``.
        azimuth, elevation: degrees ``[batch, speaker]``. distance: metres, same shape.
        track: degrees ``[batch, speaker, moment]``, the azimuth over time, NaN where a speaker
            is not heard; None: all stand still, and ``azimuth`` says where.
        present: bool ``[batch, speaker]``; None where all are there. A scene may have fewer
            speakers than the network has slots: the others are listed as absent.
        has_targets, has_azimuth, has_distance: bool ``[batch]``, the examples that have such
            labels; None where all have them.
    """

    targets: Tensor | None = None
    azimuth: Tensor | None = None
    distance: Tensor | None = None
    elevation: Tensor | None = None
    track: Tensor | None = None
    present: Tensor | None = None
    has_targets: Tensor | None = None
    has_azimuth: Tensor | None = None
    has_distance: Tensor | None = None

    @classmethod
    def of(cls, batch: Any, targets: Tensor | None = None, track: Tensor | None = None) -> Labels:
        """Return the labels of a `msdet.datasets.Batch`.

        Args:
            targets, track: as the estimates that they are compared with; None: none are needed.
        """
        values = {field.name: getattr(batch, field.name) for field in fields(cls)}
        return cls(**{**values, "targets": targets, "track": track})

    @property
    def num_speakers(self) -> int:
        """Speakers of the batch, absent ones included."""
        given = (self.azimuth, self.targets, self.distance)
        return next(x.shape[1] for x in given if x is not None)

    def known(self, label: Label) -> Tensor | None:
        """Return bool ``[batch]``, which examples have a label; None where all have it."""
        found: Tensor | None = getattr(self, f"has_{label}")
        return found

    def ordered(self, order: Tensor) -> Labels:
        """Return them with the slots' order ``[batch, slot]`` in place of the speakers'."""
        per_speaker = ("targets", "azimuth", "distance", "elevation", "track", "present")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        taken = {
            name: take(values[name], order) for name in per_speaker if values[name] is not None
        }
        return Labels(**{**values, **taken})


def take(values: Tensor, order: Tensor) -> Tensor:
    """Bring values ``[batch, speaker, ...]`` into the slots' order ``[batch, slot]``."""
    # whole rows; take_along_dim goes element by element, which takes some six times as long
    return values[torch.arange(len(order), device=order.device)[:, None], order]
