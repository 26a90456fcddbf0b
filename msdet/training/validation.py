# SPDX-License-Identifier: Apache-2.0
"""Scores of a network's outputs on valid scenes, by the functions that evaluation uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from msdet.datasets import Batch
from msdet.metrics.metric import SceneTruth
from msdet.metrics.scene import score_scene
from msdet.metrics.scores import Claims, SceneLabels, SceneRow
from msdet.models.msdet import MSDET, Locations, Output
from msdet.moments import moments_of


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
            track=_track(model, output, found, i),
        )
        for i in range(len(output.audio))
    ]


def _track(
    model: MSDET, output: Output, found: Locations | None, number: int
) -> NDArray[np.float64] | None:
    """Degrees ``[slot, moment]`` of an example, every ``TRACK_SECONDS``; None where a network says
    one direction for all of it."""
    if found is None or found.track is None:
        return None
    seconds = moments_of(output.audio.shape[-1] / model.sample_rate)
    nearest = (seconds / model.track_seconds).round().astype(np.int64)
    track = found.track[number].double().cpu().numpy()
    return track[:, nearest.clip(max=track.shape[1] - 1)]


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
            track=None if batch.track is None else batch.track[i, :count].cpu().numpy(),
        )
        prescribed = None if order is None else [int(speaker) for speaker in order[i][:count]]
        score = score_scene(audio[i], truth, claims, order=prescribed)
        labels = SceneLabels(speaker={"distance": tuple(distance.tolist())})
        rows.append(SceneRow.of(score, int(batch.index[i]), labels))
    return rows
