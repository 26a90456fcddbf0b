# SPDX-License-Identifier: Apache-2.0
"""The data module, which feeds Lightning's trainer, and the sources of its examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset, Sampler

from msdet.corpora import Corpus
from msdet.datasets.batch import ALL_LABELS, Batch, LabelledMixture
from msdet.datasets.config import DataConfig
from msdet.datasets.examples import ExampleSet, FixedScenes, MixedExamples, SimulatedMixtures
from msdet.datasets.labelled import LabelledRecordings, open_labelled
from msdet.datasets.labelled_examples import LabelledExamples
from msdet.datasets.many_arrays import ManyArrays, build_arrays
from msdet.datasets.samplers import ExampleSampler, UnpaddedSampler
from msdet.datasets.stored import StoredExamples
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    RirBank,
    RoomSet,
    StoredMixtures,
    fill_banks,
    fixed_scenes,
    open_bank,
    open_mixtures,
    rirs_folder,
)
from msdet.simulation.stored import Task
from msdet.tasks import Label
from msdet.training.config import TrainConfig
from msdet.training.run_folder import is_first_process
from msdet.workers import available_cores, be_a_worker


@dataclass(frozen=True)
class Place:
    """Where examples of one array are simulated.

    Attributes:
        bank: the responses of its rooms. rooms: those that examples share, if not each has one of
            its own.
    """

    array: MicrophoneArray
    bank: RirBank
    rooms: RoomSet | None


@dataclass(frozen=True)
class Sources:
    """Where training examples come from.

    Attributes:
        mixtures: what they are cut from, if they are not simulated on the fly.
        places: where they are simulated, one for each array.
        labelled: recordings that a share of them is cut from. share: which; the rest is simulated.
    """

    mixtures: StoredMixtures | None = None
    places: tuple[Place, ...] = ()
    labelled: LabelledRecordings | None = None
    share: float = 0.0

    @property
    def labels(self) -> frozenset[Label]:
        """Those that every example has."""
        return ALL_LABELS if self.labelled is None else self.labelled.labels

    def identities(self, data: DataConfig) -> dict[str, tuple[int, str]]:
        """Number of mixtures that are read from disk, and what tells them from others, by key."""
        sets = {"simulated": self.mixtures, "labelled": self.labelled}
        return {
            f"data.{key}={getattr(data, key)}": (len(found), found.identity)
            for key, found in sets.items()
            if found is not None
        }

    @property
    def any_labels(self) -> frozenset[Label]:
        """Those that some examples have."""
        only = self.labelled if self.share == 1 else None
        return ALL_LABELS if only is None else only.any_labels


def open_sources(config: TrainConfig, array: MicrophoneArray) -> Sources:
    """Open what a config names.

    Raises:
        InputError: it is not there, or not for this training; before any work.
    """
    data = config.data
    if data.labelled is None:
        return _open_simulated(config, array)
    labelled = _open_labelled(config, array)
    if data.labelled_share < 1:
        simulated = _open_simulated(config, array)
        return replace(simulated, labelled=labelled, share=data.labelled_share)
    return Sources(labelled=labelled, share=1.0)


def _open_labelled(config: TrainConfig, array: MicrophoneArray) -> LabelledRecordings:
    data = config.data
    assert data.labelled is not None
    for key in ("simulated", "bank", "fresh_rooms"):
        if data.labelled_share == 1 and (value := getattr(data, key)):
            raise InputError(
                f"data.{key}={value}: is never used with data.labelled_share=1; give a smaller "
                "share, or one of them alone"
            )
    labelled = open_labelled(
        Path(data.labelled),
        array=array,
        sample_rate=config.sample_rate,
        reference_mic=config.scene.reference_mic,
        num_speakers=config.scene.num_speakers,
        num_samples=_crop_samples(config),
    )
    counts = ", ".join(
        f"{sum(label in r.labels for r in labelled.recordings)} with {label}"
        for label in sorted(labelled.any_labels)
    )
    Console(stderr=True).print(
        f"{data.labelled}: {len(labelled)} recordings to train on ({counts})", soft_wrap=True
    )
    return labelled


def _open_simulated(config: TrainConfig, array: MicrophoneArray) -> Sources:
    data = config.data
    if data.bank is not None:
        if data.simulated is not None:
            raise InputError(
                f"data.bank={data.bank} and data.simulated={data.simulated}: give one of them"
            )
        rooms, bank = open_bank(data.bank, config.scene, array, config.sample_rate)
        return Sources(places=(Place(array, bank, rooms),))
    if data.simulated is not None:
        return Sources(mixtures=_open_mixtures(config, array))
    return Sources(places=tuple(_places(config, array)))


def _places(config: TrainConfig, own: MicrophoneArray) -> Iterator[Place]:
    """A place for each array; the rooms are shared out, each is of one array only."""
    data = config.data
    arrays = build_arrays(data.arrays, own, config.seed)
    first = 0
    for number, array in enumerate(arrays):
        bank = RirBank(rirs_folder(data.cache), array, config.sample_rate)
        if data.train_rooms is None:
            yield Place(array, bank, None)
            continue
        count = (data.train_rooms - number - 1) // len(arrays) + 1
        yield Place(
            array, bank, RoomSet(config.scene, array, config.seed, "train", count, first=first)
        )
        first += count


def _open_mixtures(config: TrainConfig, array: MicrophoneArray) -> StoredMixtures:
    assert config.data.simulated is not None
    mixtures = open_mixtures(
        Path(config.data.simulated),
        Task(
            split="train",
            array=array,
            sample_rate=config.sample_rate,
            target=config.scene.target,
            reference_mic=config.scene.reference_mic,
            num_speakers=config.scene.num_speakers,
            num_samples=_crop_samples(config),
        ),
    )
    Console(stderr=True).print(f"{config.data.simulated}: {len(mixtures)} mixtures to train on")
    return mixtures


def build_data(
    config: TrainConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    sources: Sources,
) -> MixtureData:
    """Training examples and valid scenes; the responses of their rooms are made and kept."""
    bank = RirBank(rirs_folder(config.data.cache), array, config.sample_rate)
    valid_corpus = corpus.split("valid")
    scenes = fixed_scenes(
        config.scene,
        array,
        valid_corpus,
        seed=config.data.eval_seed,
        split="valid",
        count=config.data.valid_scenes,
        sample_rate=config.sample_rate,
        seconds=config.data.eval_seconds,
    )
    if is_first_process():
        shared = [(place.bank, place.rooms or ()) for place in sources.places]
        fill_banks([(bank, [scene.room for scene in scenes]), *shared], available_cores())
    return MixtureData(
        config.data,
        config.num_slots,
        training_examples(config, corpus, sources),
        FixedScenes(scenes, valid_corpus, bank),
    )


def training_examples(config: TrainConfig, corpus: Corpus, sources: Sources) -> ExampleSet:
    """The examples that a config asks for, simulated or cut from labelled recordings or both."""
    seed, length, num_samples = config.seed, config.data.examples_per_epoch, _crop_samples(config)
    labelled: ExampleSet | None = None
    if sources.labelled is not None:
        labelled = LabelledExamples(
            sources.labelled,
            seed=seed,
            num_samples=num_samples,
            length=length,
            reference_mic=config.scene.reference_mic,
        )
        if sources.share == 1:
            return labelled
    simulated: ExampleSet
    if sources.mixtures is not None:
        simulated = StoredExamples(
            sources.mixtures,
            seed=seed,
            num_samples=num_samples,
            length=length,
            scene=config.scene,
        )
    else:
        sets = [
            SimulatedMixtures(
                corpus,
                place.array,
                config.scene,
                length=length,
                num_samples=num_samples,
                seed=seed,
                rooms=place.rooms,
                bank=place.bank,
                fresh_rooms=config.data.fresh_rooms,
            )
            for place in sources.places
        ]
        batch_size = config.data.batch_size
        simulated = (
            sets[0] if len(sets) == 1 else ManyArrays(sets, seed=seed, batch_size=batch_size)
        )
    if labelled is None:
        return simulated
    return MixedExamples(labelled, simulated, seed=seed, share=sources.share)


def _crop_samples(config: TrainConfig) -> int:
    return round(config.data.crop_seconds * config.sample_rate)


class MixtureData(pl.LightningDataModule):
    """Training examples, simulated or recorded or both, and fixed valid scenes."""

    def __init__(
        self,
        config: DataConfig,
        num_slots: int,
        training: ExampleSet,
        valid: FixedScenes,
    ) -> None:
        super().__init__()
        self.config, self.num_slots = config, num_slots
        self.training, self.valid = training, valid

    def train_dataloader(self) -> DataLoader[LabelledMixture]:
        """Batches of this process's share of the epoch."""
        sampler = ExampleSampler(len(self.training), self.config.batch_size, *self._place())
        return self._loader(self.training, sampler, self.config.num_workers, drop_last=True)

    def val_dataloader(self) -> DataLoader[Example]:
        """This process's share of the valid scenes."""
        sampler = UnpaddedSampler(len(self.valid), *self._place())
        return self._loader(self.valid, sampler, min(1, self.config.num_workers), drop_last=False)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _loader(
        self, dataset: Dataset[Any], sampler: Sampler[Any], workers: int, drop_last: bool
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.config.batch_size,
            sampler=sampler,
            collate_fn=partial(Batch.stack, num_speakers=self.num_slots),
            num_workers=workers,
            prefetch_factor=self.config.prefetch if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=be_a_worker,  # from a module that needs no trainer, as all workers use
            multiprocessing_context="forkserver" if workers else None,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
        )
