# SPDX-License-Identifier: Apache-2.0
"""Sets of examples: drawn on the fly, mixed, and the fixed ones of validation; and which of them a
process takes in an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from msdet.corpora import Corpus, Split
from msdet.datasets.batch import ALL_LABELS, LabelledMixture
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    RirBank,
    RoomSet,
    Scene,
    SceneConfig,
    compute_rirs,
    draw_scene,
    render,
)
from msdet.simulation.rooms import random_generator
from msdet.tasks import Label

ORDER, CROP, FRESH, SYMMETRY, LABELLED, LABELLED_ORDER, LABELLED_CROP, ARRAYS, ARRAYS_ORDER = range(
    7, 16
)
"""First of two or three spawn keys; the simulation's own begin with the split, 0 to 2."""

_CROP_TRIES = 8
"""Stretches of a recording that are looked at for one in which nobody is silent."""
_SILENT_RMS = 1e-2
"""RMS below which a target is silent: 40 dB under the mixture."""


class ExampleSet(Dataset[LabelledMixture], ABC):
    """Training examples, a plain map-style dataset: each is a pure function of its number.

    ``dataset[0]`` to ``dataset[len(dataset) - 1]`` are the examples of one epoch, so that any
    ``DataLoader`` serves them, also with ``shuffle=True``. Larger numbers are those of later
    epochs, which `ExampleSampler` asks for: workers that persist
    over epochs would not see an epoch set on the dataset.

    Args:
        length: examples in an epoch. labels: those that every example has.
        any_labels: those that some have; None: the same.
    """

    def __init__(
        self, length: int, labels: frozenset[Label], any_labels: frozenset[Label] | None = None
    ) -> None:
        self.length, self.labels = length, labels
        self.any_labels = labels if any_labels is None else any_labels

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> LabelledMixture:
        if number < 0:
            raise IndexError(f"example {number}: they are counted from 0")
        return self.example(*divmod(number, self.length))

    def __iter__(self) -> Iterator[LabelledMixture]:
        return (self[number] for number in range(self.length))

    @abstractmethod
    def example(self, epoch: int, index: int) -> LabelledMixture: ...


class SimulatedMixtures(ExampleSet):
    """Mixtures that are drawn and rendered as they are asked for, with all labels.

    They take place in rooms of their own, whose responses are computed each time; in a set of
    rooms whose responses a bank keeps; or some in these and some in those.

    Args:
        corpus: of the speech, at the sample rate of the mixtures.
        array: the microphones. scene: what rooms, speakers and noise are drawn from.
        length: mixtures in an epoch. num_samples: of each.
        seed: of all that is drawn. split: whose speakers are heard.
        rooms, bank: rooms that mixtures share, and their responses.
        fresh_rooms: share of the mixtures that have a room of their own all the same.
    """

    def __init__(
        self,
        corpus: Corpus,
        array: MicrophoneArray,
        scene: SceneConfig,
        *,
        length: int,
        num_samples: int,
        seed: int = 0,
        split: Split = "train",
        rooms: RoomSet | None = None,
        bank: RirBank | None = None,
        fresh_rooms: float = 0.0,
    ) -> None:
        super().__init__(length, ALL_LABELS)
        self.corpus, self.array, self.scene = corpus.split(split), array, scene
        self.num_samples, self.seed, self.speakers_of = num_samples, seed, split
        self.rooms, self.bank, self.fresh_rooms = rooms, bank, fresh_rooms

    def shares_room(self, epoch: int, index: int) -> bool:
        """Return whether a mixture takes place in a room of the set, not in one of its own."""
        if self.rooms is None or not self.fresh_rooms:
            return self.rooms is not None
        rng = random_generator(self.seed, FRESH, epoch, index)
        return bool(rng.random() >= self.fresh_rooms)

    def draw(self, epoch: int, index: int, position: int | None = None) -> Scene:
        """Draw the scene of a mixture; rooms that are shared come as `in_turn` has them.

        Args:
            position: how many mixtures were before it; None: as they are counted.
        """
        room = None
        if self.rooms is not None and self.shares_room(epoch, index):
            position = epoch * self.length + index if position is None else position
            room = self.rooms[in_turn(self.seed, position, len(self.rooms))]
        return draw_scene(
            self.scene,
            self.array,
            self.corpus,
            seed=self.seed,
            split=self.speakers_of,
            index=index,
            epoch=epoch,
            num_samples=self.num_samples,
            room=room,
        )

    def example(self, epoch: int, index: int, position: int | None = None) -> Example:
        scene = self.draw(epoch, index, position)
        if self.bank is not None and self.shares_room(epoch, index):
            rirs = self.bank.get(scene.room)
        else:
            rirs = compute_rirs(scene.room, self.array, scene.sample_rate)
        return render(scene, self.corpus, rirs)


class MixedExamples(ExampleSet):
    """Examples of two sets of one length: by chance of the first, or else of the second."""

    def __init__(self, first: ExampleSet, second: ExampleSet, *, seed: int, share: float) -> None:
        labels = first.labels & second.labels, first.any_labels | second.any_labels
        super().__init__(len(first), *labels)
        self.first, self.second, self.seed, self.share = first, second, seed, share

    def is_first(self, epoch: int, index: int) -> bool:
        """Return whether an example is of the first set."""
        return bool(random_generator(self.seed, LABELLED, epoch, index).random() < self.share)

    def example(self, epoch: int, index: int) -> LabelledMixture:
        chosen = self.first if self.is_first(epoch, index) else self.second
        return chosen.example(epoch, index)


class FixedScenes(Dataset[Example]):
    """Valid or test scenes, the same in every epoch."""

    def __init__(self, scenes: Sequence[Scene], corpus: Corpus, bank: RirBank) -> None:
        self.scenes, self.corpus, self.bank = scenes, corpus, bank

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Example:
        scene = self.scenes[index]
        return render(scene, self.corpus, self.bank.get(scene.room))


def in_turn(seed: int, position: int, count: int, stream: int = ORDER) -> int:
    """Return which of `count` things is taken after `position` others: every one once before any
    comes again, in an order that changes with each lap.

    Args:
        stream: spawn key; two sets that are mixed have orders that know nothing of each other.
    """
    lap, place = divmod(position, count)
    return int(_shuffled(seed, lap, count, stream)[place])


@lru_cache(maxsize=4)
def _shuffled(seed: int, lap: int, count: int, stream: int) -> NDArray[np.int64]:
    return random_generator(seed, stream, lap).permutation(count)


def start_of_crop(spare: int, rng: np.random.Generator, level: Callable[[int], float]) -> int:
    """Return where a stretch begins in which nobody is silent, if one is found soon; else of a few
    that in which the quietest is loudest.

    Args:
        spare: the latest beginning.
        level: RMS of the quietest in the stretch that begins there, next to that of the mixture.
    """
    best, best_level = 0, -1.0
    for _ in range(_CROP_TRIES if spare else 1):
        start = int(rng.integers(spare + 1))
        found = level(start)
        if found > best_level:
            best, best_level = start, found
        if found > _SILENT_RMS:
            break
    return best


class ExampleSampler(Sampler[int]):
    """This process's examples by their numbers: none twice on any number of devices.

    A batch is a run of `batch_size` indices, and the devices take the batches in turn: what is in
    a batch does not hang on how many devices there are. Batches that not every device would get
    one of are left out.
    """

    def __init__(
        self, length: int, batch_size: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        self.length, self.batch_size = length, batch_size
        self.rank, self.world_size = rank, world_size
        self.steps = length // (batch_size * world_size)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.rank, self.steps * self.world_size, self.world_size):
            for index in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                yield self.epoch * self.length + index
