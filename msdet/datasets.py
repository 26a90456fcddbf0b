# SPDX-License-Identifier: Apache-2.0
"""Torch datasets over scenes, and the samplers that name their examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal, Protocol, get_args

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
    RoomSet,
    Scene,
    SceneConfig,
    compute_rirs,
    draw_scene,
    render,
)


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
        labelled: a list of recordings with the labels that they have (`msdet.labelled`).
        labelled_share: share of the training examples that are cut from these; 1 uses no others.
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
    simulated: str | None = None  # as in configs of models that were trained before there was this
    train_rooms: int | None = Field(ge=1)
    bank: str | None = None
    fresh_rooms: float = Field(default=0.0, ge=0, le=1)
    labelled: str | None = None
    labelled_share: float = Field(default=0.5, gt=0, le=1)
    valid_scenes: int = Field(ge=1)
    test_scenes: int = Field(ge=1)
    eval_seed: int = Field(ge=0)
    num_workers: int = Field(ge=0)
    prefetch: int = Field(ge=1)
    cache: str | None


Label = Literal["targets", "azimuth", "distance"]
"""What an example may lack, and a task or an assignment need."""
ALL_LABELS: frozenset[Label] = frozenset(get_args(Label))
_PLACES = ("azimuth", "elevation", "distance")


class LabelledMixture(Protocol):
    """What a batch is made of: a simulated example, or a recording with the labels it has.

    ``mixture`` is ``[mic, sample]``; ``targets`` ``[speaker, sample]``; azimuth, elevation
    (degrees) and distance (metres) are ``[speaker]``; each is None where it is not known.
    ``index`` tells it from the others of its set.
    """

    @property
    def mixture(self) -> NDArray[np.float32]: ...
    @property
    def targets(self) -> NDArray[np.float32] | None: ...
    @property
    def azimuth(self) -> NDArray[np.float32] | None: ...
    @property
    def elevation(self) -> NDArray[np.float32] | None: ...
    @property
    def distance(self) -> NDArray[np.float32] | None: ...
    @property
    def num_speakers(self) -> int: ...
    @property
    def index(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """Examples of one length, stacked; scenes with fewer speakers are filled up with absent ones.

    What is absent or not labelled is zero.

    Attributes:
        mixture: ``[batch, mic, sample]``. targets: ``[batch, speaker, sample]``.
        azimuth, elevation: degrees ``[batch, speaker]``. distance: metres, same shape.
        present: bool ``[batch, speaker]``, a scene's speakers first.
        has_targets, has_azimuth, has_distance: bool ``[batch]``, which labels an example has.
        index: the scene's index in its split, int64 ``[batch]``.
    """

    mixture: Tensor
    targets: Tensor
    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    present: Tensor
    has_targets: Tensor
    has_azimuth: Tensor
    has_distance: Tensor
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
    def stack(examples: Sequence[LabelledMixture], num_speakers: int | None = None) -> Batch:
        """Stack examples.

        Args:
            num_speakers: of the batch; None takes the most that an example has.
        """
        width = num_speakers or max(e.num_speakers for e in examples)
        samples = examples[0].mixture.shape[-1]
        size = len(examples)
        targets = np.zeros((size, width, samples), np.float32)
        places = {name: np.zeros((size, width), np.float32) for name in _PLACES}
        present = np.zeros((size, width), np.bool_)
        for i, example in enumerate(examples):
            present[i, : example.num_speakers] = True
            if example.targets is not None:
                targets[i, : example.num_speakers] = example.targets
            for name, values in places.items():
                if (found := getattr(example, name)) is not None:
                    values[i, : example.num_speakers] = found
        labelled = {
            f"has_{name}": torch.tensor([getattr(e, name) is not None for e in examples])
            for name in ("targets", "azimuth", "distance")
        }
        return Batch(
            mixture=torch.from_numpy(np.stack([e.mixture for e in examples])),
            targets=torch.from_numpy(targets),
            **{name: torch.from_numpy(values) for name, values in places.items()},
            present=torch.from_numpy(present),
            **labelled,
            index=torch.tensor([e.index for e in examples]),
        )


ORDER, CROP, FRESH, SYMMETRY, LABELLED, LABELLED_ORDER, LABELLED_CROP = range(7, 14)
"""First of two or three spawn keys; the simulation's own begin with the split, 0 to 2."""

CROP_TRIES = 8
"""Stretches of a recording that are looked at for one in which nobody is silent."""
SILENT_RMS = 1e-2
"""What is below it, 40 dB under the mixture, is silent."""


class ExampleSet(Dataset[LabelledMixture], ABC):
    """Training examples: each a pure function of (seed, index, epoch).

    Indexed by ``(epoch, index)``, which the sampler makes, since workers that persist over
    epochs would not see an epoch set on the dataset.

    Attributes:
        length: examples in an epoch. labels: those that every example has.
    """

    def __init__(self, length: int, labels: frozenset[Label]) -> None:
        self.length, self.labels = length, labels

    def __len__(self) -> int:
        return self.length

    @abstractmethod
    def __getitem__(self, key: tuple[int, int]) -> LabelledMixture: ...


class TrainingExamples(ExampleSet):
    """Examples drawn on the fly.

    They take place in a set of rooms whose responses a bank keeps, or in rooms of their own whose
    responses are computed on the fly, or some in these and some in those.
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
        rooms: RoomSet | None,
        fresh_rooms: float = 0.0,
    ) -> None:
        super().__init__(length, ALL_LABELS)
        self.scene, self.array, self.corpus, self.bank = scene, array, corpus, bank
        self.seed, self.sample_rate, self.num_samples = seed, sample_rate, num_samples
        self.rooms, self.fresh_rooms = rooms, fresh_rooms

    def shared_room(self, epoch: int, index: int) -> Room | None:
        """The room that an example shares with others; None where it has one of its own.

        Every room once before any comes again, in an order that changes with each pass.
        """
        if self.rooms is None:
            return None
        if self.fresh_rooms:
            sequence = np.random.SeedSequence(self.seed, spawn_key=(FRESH, epoch, index))
            if np.random.default_rng(sequence).random() < self.fresh_rooms:
                return None
        lap, place = divmod(epoch * self.length + index, len(self.rooms))
        return self.rooms[int(shuffled(self.seed, lap, len(self.rooms))[place])]

    def draw(self, epoch: int, index: int) -> Scene:
        """The scene of an example."""
        return self._draw(epoch, index, self.shared_room(epoch, index))

    def _draw(self, epoch: int, index: int, room: Room | None) -> Scene:
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
            room=room,
        )

    def __getitem__(self, key: tuple[int, int]) -> Example:
        room = self.shared_room(*key)
        scene = self._draw(*key, room)
        if room is None:
            rirs = compute_rirs(scene.room, self.array, self.sample_rate)
        else:
            rirs = self.bank.get(scene.room)
        return render(scene, self.corpus, rirs)


class MixedExamples(ExampleSet):
    """Examples of two sets of one length: by chance of the first, or else of the second."""

    def __init__(self, first: ExampleSet, second: ExampleSet, *, seed: int, share: float) -> None:
        super().__init__(len(first), first.labels & second.labels)
        self.first, self.second, self.seed, self.share = first, second, seed, share

    def is_first(self, epoch: int, index: int) -> bool:
        """Whether an example is of the first set."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(LABELLED, epoch, index))
        return bool(np.random.default_rng(sequence).random() < self.share)

    def __getitem__(self, key: tuple[int, int]) -> LabelledMixture:
        return self.first[key] if self.is_first(*key) else self.second[key]


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


@lru_cache(maxsize=4)
def shuffled(seed: int, lap: int, length: int, stream: int = ORDER) -> NDArray[np.int64]:
    """The order in which things are taken one after the other, another one for each lap.

    Args:
        stream: spawn key; two sets that are mixed have orders that know nothing of each other.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, lap))
    return np.random.default_rng(sequence).permutation(length)
