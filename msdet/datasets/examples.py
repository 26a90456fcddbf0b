# SPDX-License-Identifier: Apache-2.0
"""Sets of examples: drawn on the fly, mixed, and the fixed ones of validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from msdet.corpora import Corpus, Split
from msdet.datasets.batch import ALL_LABELS, LabelledMixture
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
from msdet.tasks import Label

ORDER, CROP, FRESH, SYMMETRY, LABELLED, LABELLED_ORDER, LABELLED_CROP, ARRAYS, ARRAYS_ORDER = range(
    7, 16
)
"""First of two or three spawn keys; the simulation's own begin with the split, 0 to 2."""

CROP_TRIES = 8
"""Stretches of a recording that are looked at for one in which nobody is silent."""
SILENT_RMS = 1e-2
"""What is below it, 40 dB under the mixture, is silent."""


class ExampleSet(Dataset[LabelledMixture], ABC):
    """Training examples, a plain map-style dataset: each is a pure function of its number.

    ``dataset[0]`` to ``dataset[len(dataset) - 1]`` are the examples of one epoch, so that any
    ``DataLoader`` serves them, also with ``shuffle=True``. Larger numbers are those of later
    epochs, which :class:`~msdet.datasets.samplers.ExampleSampler` asks for: workers that persist
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

    def shared_room(self, epoch: int, index: int, position: int) -> Room | None:
        """Return the room that a mixture shares with others; None where it has one of its own.

        Every room once before any comes again, in an order that changes with each pass.

        Args:
            position: how many mixtures were before it.
        """
        if self.rooms is None:
            return None
        if self.fresh_rooms:
            sequence = np.random.SeedSequence(self.seed, spawn_key=(FRESH, epoch, index))
            if np.random.default_rng(sequence).random() < self.fresh_rooms:
                return None
        lap, place = divmod(position, len(self.rooms))
        return self.rooms[int(shuffled(self.seed, lap, len(self.rooms))[place])]

    def draw(self, epoch: int, index: int, position: int | None = None) -> Scene:
        """Return the scene of a mixture, which `position` others were before (None: as counted)."""
        return self._scene(epoch, index, self._room(epoch, index, position))

    def _room(self, epoch: int, index: int, position: int | None) -> Room | None:
        position = epoch * self.length + index if position is None else position
        return self.shared_room(epoch, index, position)

    def _scene(self, epoch: int, index: int, room: Room | None) -> Scene:
        return draw_scene(
            self.scene,
            self.array,
            self.corpus,
            seed=self.seed,
            split=self.speakers_of,
            index=index,
            epoch=epoch,
            sample_rate=self.corpus.sample_rate,
            num_samples=self.num_samples,
            room=room,
        )

    def example(self, epoch: int, index: int, position: int | None = None) -> Example:
        room = self._room(epoch, index, position)
        scene = self._scene(epoch, index, room)
        if room is None or self.bank is None:
            rirs = compute_rirs(scene.room, self.array, scene.sample_rate)
        else:
            rirs = self.bank.get(scene.room)
        return render(scene, self.corpus, rirs)


class MixedExamples(ExampleSet):
    """Examples of two sets of one length: by chance of the first, or else of the second."""

    def __init__(self, first: ExampleSet, second: ExampleSet, *, seed: int, share: float) -> None:
        labels = first.labels & second.labels, first.any_labels | second.any_labels
        super().__init__(len(first), *labels)
        self.first, self.second, self.seed, self.share = first, second, seed, share

    def is_first(self, epoch: int, index: int) -> bool:
        """Return whether an example is of the first set."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(LABELLED, epoch, index))
        return bool(np.random.default_rng(sequence).random() < self.share)

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


@lru_cache(maxsize=4)
def shuffled(seed: int, lap: int, length: int, stream: int = ORDER) -> NDArray[np.int64]:
    """Return the order in which things are taken one after the other, another one for each lap.

    Args:
        stream: spawn key; two sets that are mixed have orders that know nothing of each other.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, lap))
    return np.random.default_rng(sequence).permutation(length)
