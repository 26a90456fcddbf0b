# SPDX-License-Identifier: Apache-2.0
"""How much data, and how it is fed."""

from __future__ import annotations

from pydantic import Field, model_validator

from msdet.geometry import MOST_MICS, ArrayConfig
from msdet.parsing import MOST_WORKERS, Config, Seed


class ArraysConfig(Config):
    """Arrays that training examples are recorded with, besides the run's own.

    Attributes:
        shapes: each as in the group `array`, such as {shape: circle, num_mics: 6, radius: 0.05}.
        drawn: so many more, drawn by `seed`: lines where the run's own array is one, planar ones
            otherwise.
        num_mics: microphones of these; from 2 for lines, from 3 otherwise.
        radius: metres, of the disc that their microphones lie in; half the length of a line.
        spacing: metres, between two of their microphones, at least.
    """

    shapes: tuple[ArrayConfig, ...] = Field(default=(), max_length=1000)
    drawn: int = Field(default=0, ge=0, le=10_000)
    num_mics: tuple[int, int] = (3, 6)
    radius: tuple[float, float] = (0.03, 0.08)
    spacing: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _ranges(self) -> ArraysConfig:
        if not 2 <= self.num_mics[0] <= self.num_mics[1] <= MOST_MICS:
            raise ValueError(f"num_mics={list(self.num_mics)} must rise, from 2 to {MOST_MICS}")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise ValueError(f"radius={list(self.radius)} must rise, from above 0")
        return self


class DataConfig(Config):
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
