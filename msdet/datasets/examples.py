# SPDX-License-Identifier: Apache-2.0
"""Sets of examples: drawn on the fly, mixed, and the fixed ones of validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from msdet.corpora import Corpus
from msdet.datasets.batch import ALL_LABELS, Label, LabelledMixture
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

ORDER, CROP, FRESH, SYMMETRY, LABELLED, LABELLED_ORDER, LABELLED_CROP, ARRAYS, ARRAYS_ORDER = range(
    7, 16
)
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

    def shared_room(self, epoch: int, index: int, position: int) -> Room | None:
        """The room that an example shares with others; None where it has one of its own.

        Every room once before any comes again, in an order that changes with each pass.

        Args:
            position: how many examples were before it.
        """
        if self.rooms is None:
            return None
        if self.fresh_rooms:
            sequence = np.random.SeedSequence(self.seed, spawn_key=(FRESH, epoch, index))
            if np.random.default_rng(sequence).random() < self.fresh_rooms:
                return None
        lap, place = divmod(position, len(self.rooms))
        return self.rooms[int(shuffled(self.seed, lap, len(self.rooms))[place])]

    def draw(self, epoch: int, index: int) -> Scene:
        """The scene of an example."""
        room = self.shared_room(epoch, index, self._position(epoch, index))
        return self._draw(epoch, index, room)

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

    def _position(self, epoch: int, index: int) -> int:
        return epoch * self.length + index

    def __getitem__(self, key: tuple[int, int]) -> Example:
        return self.at(*key, self._position(*key))

    def at(self, epoch: int, index: int, position: int) -> Example:
        """The example ``(epoch, index)``, which `position` others were before."""
        room = self.shared_room(epoch, index, position)
        scene = self._draw(epoch, index, room)
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


@lru_cache(maxsize=4)
def shuffled(seed: int, lap: int, length: int, stream: int = ORDER) -> NDArray[np.int64]:
    """The order in which things are taken one after the other, another one for each lap.

    Args:
        stream: spawn key; two sets that are mixed have orders that know nothing of each other.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, lap))
    return np.random.default_rng(sequence).permutation(length)
