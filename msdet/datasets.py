# SPDX-License-Identifier: Apache-2.0
"""Torch datasets over scenes, and the samplers that name their examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from msdet.corpora import Corpus
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    RirBank,
    Room,
    Scene,
    SceneConfig,
    compute_rirs,
    draw_scene,
    pool_room,
    render,
)


class DataConfig(BaseModel):
    """How much data, and how it is fed.

    Attributes:
        crop_seconds: length of training examples. eval_seconds: of valid and test scenes.
        batch_size: examples per step and device.
        examples_per_epoch: training examples in one epoch, over all devices.
        train_rooms: rooms that training draws from with fresh speech, their impulse responses
            kept on disk; null draws a fresh room for every example.
        valid_scenes, test_scenes: number of fixed scenes.
        eval_seed: of those scenes; apart from the run's seed, so that runs with different seeds
            are scored on the same scenes.
        num_workers, prefetch: loader processes and batches that each keeps ready.
        cache: folder for impulse responses; null keeps them under the user's cache folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop_seconds: float = Field(gt=0)
    eval_seconds: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    examples_per_epoch: int = Field(ge=1)
    train_rooms: int | None = Field(ge=1)
    valid_scenes: int = Field(ge=1)
    test_scenes: int = Field(ge=1)
    eval_seed: int = Field(ge=0)
    num_workers: int = Field(ge=0)
    prefetch: int = Field(ge=1)
    cache: str | None


@dataclass(frozen=True)
class Batch:
    """Examples of one length, stacked.

    Attributes:
        mixture: ``[batch, mic, sample]``. targets: ``[batch, speaker, sample]``.
        azimuth, elevation: degrees ``[batch, speaker]``. distance: metres, same shape.
        index: the scene's index in its split, int64 ``[batch]``.
    """

    mixture: Tensor
    targets: Tensor
    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    index: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=non_blocking)
            for f in fields(self)
        }
        return Batch(**moved)

    def pin_memory(self) -> Batch:
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    @staticmethod
    def stack(examples: Sequence[Example]) -> Batch:
        names = ("mixture", "targets", "azimuth", "elevation", "distance")
        stacked = {name: np.stack([getattr(e, name) for e in examples]) for name in names}
        return Batch(
            **{name: torch.from_numpy(value).float() for name, value in stacked.items()},
            index=torch.tensor([e.scene.index for e in examples]),
        )


_ROOM_ORDER = 7
"""Spawn key of the order of rooms; the simulation's own keys are three numbers or more."""


class TrainingExamples(Dataset[Example]):
    """Examples drawn on the fly: each a pure function of (seed, index, epoch).

    Indexed by ``(epoch, index)``, which the sampler makes, since workers that persist over
    epochs would not see an epoch set on the dataset.
    """

    def __init__(
        self,
        scene: SceneConfig,
        array: MicrophoneArray,
        corpus: Corpus,
        bank: RirBank,
        *,
        seed: int,
        sample_rate: int,
        num_samples: int,
        length: int,
        rooms: int | None,
    ) -> None:
        self.scene, self.array, self.corpus, self.bank = scene, array, corpus, bank
        self.seed, self.sample_rate, self.num_samples = seed, sample_rate, num_samples
        self.length, self.rooms = length, rooms

    def __len__(self) -> int:
        return self.length

    def pool(self) -> Iterator[Room]:
        """The rooms that examples share; none where every example has a fresh one."""
        for index in range(self.rooms or 0):
            yield pool_room(self.scene, self.array, seed=self.seed, split="train", room_index=index)

    def draw(self, epoch: int, index: int) -> Scene:
        """The scene of an example."""
        room_index = None
        if self.rooms is not None:
            # Every room once before any comes again, in an order that changes with each pass.
            position = epoch * self.length + index
            lap, place = divmod(position, self.rooms)
            room_index = int(_room_order(self.seed, lap, self.rooms)[place])
        return draw_scene(
            self.scene,
            self.array,
            self.corpus,
            seed=self.seed,
            split="train",
            index=index,
            epoch=epoch,
            sample_rate=self.sample_rate,
            num_samples=self.num_samples,
            room_index=room_index,
        )

    def __getitem__(self, key: tuple[int, int]) -> Example:
        scene = self.draw(*key)
        if self.rooms is None:
            rirs = compute_rirs(scene.room, self.array, self.sample_rate)
        else:
            rirs = self.bank.get(scene.room)
        return render(scene, self.corpus, rirs)


class FixedScenes(Dataset[Example]):
    """Valid or test scenes, the same in every epoch."""

    def __init__(self, scenes: Sequence[Scene], corpus: Corpus, bank: RirBank) -> None:
        self.scenes, self.corpus, self.bank = scenes, corpus, bank

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Example:
        scene = self.scenes[index]
        return render(scene, self.corpus, self.bank.get(scene.room))


class ExampleSampler(Sampler[tuple[int, int]]):
    """Names this process's examples ``(epoch, index)``: none twice on any number of devices."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.rank, self.world_size = length, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for index in range(self.rank, len(self) * self.world_size, self.world_size):
            yield self.epoch, index


class UnpaddedSampler(Sampler[int]):
    """This process's share of fixed scenes: no scene twice, none left out."""

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


@lru_cache(maxsize=2)
def _room_order(seed: int, lap: int, length: int) -> NDArray[np.int64]:
    sequence = np.random.SeedSequence(seed, spawn_key=(_ROOM_ORDER, lap))
    return np.random.default_rng(sequence).permutation(length)
