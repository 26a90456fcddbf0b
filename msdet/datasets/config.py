# SPDX-License-Identifier: Apache-2.0
"""How much data, and how it is fed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from msdet.datasets.many_arrays import ArraysConfig
from msdet.parsing import MOST_WORKERS, Seed


class DataConfig(BaseModel):
    """How much data, and how it is fed.

    Attributes:
        crop_seconds: length of training examples. eval_seconds: of valid and test scenes.
        batch_size: examples per step and device.
        examples_per_epoch: training examples in one epoch, over all devices.
        simulated: output folder of ``msdet simulate`` whose mixtures training uses; null
            simulates them on the fly.
        train_rooms: rooms that training draws from with fresh speech, their impulse responses
            kept on disk; null draws a fresh room for every example.
        bank: folder of ``msdet bank`` whose rooms training uses instead.
        fresh_rooms: share of the examples that get a room of their own all the same.
        arrays: further arrays that simulated examples are recorded with, a batch with each in
            turn; the rooms are shared out among them.
        labelled: a list of recordings with the labels that they have (`msdet.datasets.labelled`).
        labelled_share: share of the training examples that are cut from these; 1 uses no others.
        valid_scenes, test_scenes: number of fixed scenes.
        eval_seed: of those scenes; apart from the run's seed, so that runs with different seeds
            are scored on the same scenes.
        num_workers, prefetch: loader processes and batches that each keeps ready.
        cache: folder for impulse responses; null keeps them under the user's cache folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop_seconds: float = Field(gt=0, le=3600)
    eval_seconds: float = Field(gt=0, le=3600)
    batch_size: int = Field(ge=1, le=2**16)
    examples_per_epoch: int = Field(ge=1, le=10**9)
    simulated: str | None = None  # as in configs of models that were trained before there was this
    train_rooms: int | None = Field(ge=1, le=10**6)
    bank: str | None = None
    fresh_rooms: float = Field(default=0.0, ge=0, le=1)
    arrays: ArraysConfig = ArraysConfig()
    labelled: str | None = None
    labelled_share: float = Field(default=0.5, gt=0, le=1)
    valid_scenes: int = Field(ge=1, le=10**6)
    test_scenes: int = Field(ge=1, le=10**6)
    eval_seed: Seed
    num_workers: int = Field(ge=0, le=MOST_WORKERS)
    prefetch: int = Field(ge=1, le=1000)
    cache: str | None
