# SPDX-License-Identifier: Apache-2.0
"""Scores of a network's outputs on valid scenes, by the functions that evaluation uses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from msdet.datasets import Batch
from msdet.metrics.metric import SceneTruth
from msdet.metrics.scene import score_scene
from msdet.metrics.scores import Claims, SceneLabels, SceneRow
from msdet.models.msdet import MSDET, Output


def claims_of(model: MSDET, output: Output) -> list[Claims]:
    """Return what a network says of its slots, for each example of a batch."""
    found = model.locate(output)
    distance = None
    if model.distance_head is not None and output.distance is not None:
        distance = model.distance_head.decode(output.distance).double().cpu().numpy()
    return [
        Claims(
            azimuth=None if found is None else found.azimuth[i].double().cpu().numpy(),
            distance=None if distance is None else distance[i],
            empty=found.empty[i].cpu().numpy() if found and model.empty_slots else None,
        )
        for i in range(len(output.audio))
    ]


def score_batch(
    model: MSDET, output: Output, batch: Batch, order: Tensor | Sequence[Sequence[int]] | None
) -> list[SceneRow]:
    """Score every example of a batch, by SI-SDR and directions.

    Args:
        order: speakers that the assignment prescribes, ``[batch, slot]``; None where it prescribes
            none.
    """
    audio, rows = output.audio.float().cpu().numpy(), []
    for i, claims in enumerate(claims_of(model, output)):
        count = int(batch.present[i].sum())
        distance = batch.distance[i, :count].cpu().numpy()
        truth = SceneTruth(
            batch.targets[i, :count].cpu().numpy(),
            batch.mixture[i, model.reference_mic].cpu().numpy(),
            model.sample_rate,
            batch.azimuth[i, :count].cpu().numpy(),
            distance,
        )
        prescribed = None if order is None else [int(speaker) for speaker in order[i][:count]]
        score = score_scene(audio[i], truth, claims, order=prescribed)
        labels = SceneLabels(speaker={"distance": tuple(distance.tolist())})
        rows.append(SceneRow.of(score, int(batch.index[i]), labels))
    return rows
