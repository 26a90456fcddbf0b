# SPDX-License-Identifier: Apache-2.0
"""From a scene to its row: rendered, separated and scored with one model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.corpora import Corpus, CorpusConfig, Split, open_corpus
from msdet.criteria.assignment import BY_LOCATION, assign_by_location
from msdet.datasets import Batch
from msdet.evaluation.metrics import Claims, SceneScore, score_scene
from msdet.evaluation.rows import Row, SceneLabels
from msdet.models.msdet import MSDET, Output
from msdet.simulation import Example, RirBank, Scene, render


@dataclass(frozen=True)
class Task:
    """What a worker process needs to score scenes; sent once to each."""

    checkpoint: Path
    corpus: CorpusConfig
    split: Split
    bank: Path
    metrics: tuple[str, ...]


class SceneScorer:
    """Renders, separates and scores scenes with one model, on one thread.

    Each scene is a batch of its own, so that a row does not depend on its neighbours or on the
    number of processes.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.checkpoint: Checkpoint = load_checkpoint(task.checkpoint)
        description = self.checkpoint.description
        corpus = open_corpus(task.corpus, description.sample_rate)
        self.corpus: Corpus = corpus.split(task.split)
        self.banks: dict[str, RirBank] = {}

    @torch.inference_mode()
    def separate(self, scene: Scene) -> tuple[Example, Output]:
        """The rendered example and the model's output, as a batch of one."""
        array = scene.microphone_array()
        key = json.dumps(scene.array.positions)
        if key not in self.banks:
            self.banks[key] = RirBank(self.task.bank, array, scene.sample_rate)
        example = render(scene, self.corpus, self.banks[key].get(scene.room))
        batch = Batch.stack([example])
        azimuth = None
        if self.checkpoint.description.model.heads.guidance == "oracle":
            order = prescribed_order(self.checkpoint.description, batch)
            azimuth = _slot_azimuths(batch, order, self.checkpoint.model.num_slots)
        return example, self.checkpoint.model(batch.mixture, array, azimuth)

    def score(self, scene: Scene) -> Row:
        """The row of one scene."""
        example, output = self.separate(scene)
        description = self.checkpoint.description
        batch = Batch.stack([example])
        return Row(
            index=scene.index,
            id=scene.id,
            labels=SceneLabels(
                t60=example.t60 if math.isfinite(example.t60) else None,
                snr_db=scene.noise.snr_db,
                distance=tuple(s.distance for s in scene.room.speakers),
            ),
            score=score_output(
                self.checkpoint.model,
                output,
                batch,
                0,
                order=prescribed_order(description, batch),
                metrics=self.task.metrics,
            ),
        )


def score_output(
    model: MSDET,
    output: Output,
    batch: Batch,
    index: int,
    *,
    order: Sequence[int] | None,
    metrics: Sequence[str],
) -> SceneScore:
    """Score example ``index`` of a batch.

    Args:
        order: ``[slot]`` -> speaker that the assignment prescribes; None where it prescribes none.
        metrics: from ``choose_metrics``.
    """
    count = int(batch.present[index].sum())
    locations = model.locate(output)
    distance = None
    if model.distance_head is not None and output.distance is not None:
        distance = model.distance_head.decode(output.distance)[index].cpu().numpy()
    claims = Claims(
        azimuth=None if locations is None else locations.azimuth[index].cpu().numpy(),
        distance=distance,
        empty=locations.empty[index].cpu().numpy() if locations and model.empty_slots else None,
    )
    return score_scene(
        output.audio[index].float().cpu().numpy(),
        batch.targets[index, :count].cpu().numpy(),
        batch.mixture[index, model.reference_mic].cpu().numpy(),
        claims,
        batch.azimuth[index, :count].cpu().numpy(),
        distance_truth=batch.distance[index, :count].cpu().numpy(),
        sample_rate=model.sample_rate,
        order=None if order is None else order[:count],
        metrics=metrics,
    )


def _slot_azimuths(batch: Batch, order: Sequence[int] | None, num_slots: int) -> Tensor | None:
    """True azimuths ``[1, slot]`` of a batch of one in the order of its slots, NaN for empty ones;
    None where nothing prescribes an order."""
    if order is None:
        return None
    azimuth = torch.full((1, num_slots), torch.nan)
    azimuth[0, : len(order)] = batch.azimuth[0, list(order)]
    return azimuth


def prescribed_order(description: Description, batch: Batch) -> tuple[int, ...] | None:
    """Which speaker each slot must hold, of a batch of one; None where outputs decide."""
    if description.assignment not in BY_LOCATION:
        return None
    order = assign_by_location(
        description.assignment,
        batch.azimuth,
        batch.distance,
        batch.elevation,
        gap=description.nearest_gap or 0.0,
        linear=description.array.is_linear,
        present=batch.present,
    )
    return tuple(order[0].tolist())
