# SPDX-License-Identifier: Apache-2.0
"""How much data, and how it is fed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from msdet.datasets.many_arrays import ArraysConfig
from msdet.parsing import MOST_WORKERS, Seed


class DataConfig(BaseModel):
    """How much data, and how it is fed.

    Attributes:
        crop_seconds: of training examples.
        eval_seconds: of valid and test scenes.
        batch_size: examples per step and device.
        examples_per_epoch: training examples, over all devices.
        simulated: output folder of `msdet simulate`, of either format, whose mixtures training
            examples are cut from; null simulates them on the fly.
        train_rooms: rooms that training uses again with fresh speech; null draws and computes a
            room for every example.
        bank: folder of `msdet bank`, whose rooms training uses instead of drawing `train_rooms`
            with its own seed. Its array, sample rate and ranges must be those of the training.
        fresh_rooms: share of the examples that get a room of their own all the same.
        arrays: further arrays that simulated examples are recorded with.
        labelled: list of recordings with the labels that they have (JSONL).
        labelled_share: share of the training examples that are cut from these recordings; the rest
            is simulated. 1: none is.
        valid_scenes, test_scenes: number of fixed scenes.
        eval_seed: of those scenes, apart from `seed`: runs with different seeds are scored on the
            same ones.
        num_workers: processes that make examples.
        prefetch: batches that each keeps ready.
        cache: folder of room responses; null: `msdet/rirs` in `$XDG_CACHE_HOME` or `~/.cache`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop_seconds: float = Field(default=4.0, gt=0, le=3600)
    eval_seconds: float = Field(default=4.0, gt=0, le=3600)
    batch_size: int = Field(default=8, ge=1, le=2**16)
    examples_per_epoch: int = Field(default=4000, ge=1, le=10**9)
    simulated: str | None = None
    train_rooms: int | None = Field(default=4000, ge=1, le=10**6)
    bank: str | None = None
    fresh_rooms: float = Field(default=0.0, ge=0, le=1)
    arrays: ArraysConfig = ArraysConfig()
    labelled: str | None = None
    labelled_share: float = Field(default=0.5, gt=0, le=1)
    valid_scenes: int = Field(default=100, ge=1, le=10**6)
    test_scenes: int = Field(default=200, ge=1, le=10**6)
    eval_seed: Seed = 0
    num_workers: int = Field(default=1, ge=0, le=MOST_WORKERS)
    prefetch: int = Field(default=4, ge=1, le=1000)
    cache: str | None = None
