# SPDX-License-Identifier: Apache-2.0
"""From a scene to its row: rendered, separated and scored with one model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.corpora import Corpus, CorpusConfig, Split, open_corpus
from msdet.criteria.assignment import BY_LOCATION, assign_by_location
from msdet.datasets import Batch
from msdet.evaluation.metrics import score_scene
from msdet.evaluation.rows import Row, SceneLabels
from msdet.models.msdet import Output
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
            azimuth = batch.azimuth[:, list(order)] if order else None
        return example, self.checkpoint.model(batch.mixture, array, azimuth)

    def score(self, scene: Scene) -> Row:
        """The row of one scene."""
        example, output = self.separate(scene)
        description = self.checkpoint.description
        order = prescribed_order(description, Batch.stack([example]))
        azimuth = None
        if output.azimuth_logits is not None:
            posterior = output.azimuth_logits[0].softmax(-1)
            azimuth = self.checkpoint.model.grid.decode(posterior).numpy()
        return Row(
            index=scene.index,
            id=scene.id,
            labels=SceneLabels(
                t60=example.t60 if math.isfinite(example.t60) else None,
                snr_db=scene.noise.snr_db,
                distance=tuple(s.distance for s in scene.room.speakers),
            ),
            score=score_scene(
                output.audio[0].numpy(),
                example.targets,
                example.mixture[scene.reference_mic],
                azimuth,
                example.azimuth,
                sample_rate=scene.sample_rate,
                order=order,
                metrics=self.task.metrics,
            ),
        )


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
    )
    return tuple(order[0].tolist())
