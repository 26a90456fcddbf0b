# SPDX-License-Identifier: Apache-2.0
"""The data module, which feeds Lightning's trainer, and the sources of its examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from msdet.corpora import Corpus
from msdet.datasets.batch import Batch, LabelledMixture
from msdet.datasets.config import DataConfig
from msdet.datasets.examples import (
    ExampleSampler,
    ExampleSet,
    FixedScenes,
    MixedExamples,
    SimulatedMixtures,
)
from msdet.datasets.labelled import LabelledExamples, LabelledRecordings, open_labelled
from msdet.datasets.many_arrays import ManyArrays, build_arrays
from msdet.datasets.stored import StoredExamples
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    RirBank,
    RoomSet,
    StoredMixtures,
    Wanted,
    fill_banks,
    fixed_scenes,
    open_bank,
    open_mixtures,
    rirs_folder,
)
from msdet.training.config import TrainConfig
from msdet.training.run_folder import is_first_process
from msdet.workers import available_cores, be_a_worker


class Opened(NamedTuple):
    """Examples of a config and their rooms, opened and found to serve.

    Attributes:
        examples: of training.
        banks: rooms that they share, with the banks that keep their responses.
        identities: of mixtures that are read from disk: by config key their number, and a hash
            that tells them from others.
    """

    examples: ExampleSet
    banks: Sequence[tuple[RirBank, RoomSet]] = ()
    identities: Mapping[str, tuple[int, str]] = {}


def open_examples(config: TrainConfig, array: MicrophoneArray, corpus: Corpus) -> Opened:
    """Open what a config names: examples that are simulated, cut from recordings, or both.

    Raises:
        InputError: it is not there, or not for this training; before any work.
    """
    data = config.data
    if data.labelled is None:
        return _open_simulated(config, array, corpus)
    recordings = _open_labelled(config, array)
    key = {f"data.labelled={data.labelled}": (len(recordings), recordings.identity)}
    labelled = LabelledExamples(
        recordings,
        seed=config.seed,
        num_samples=_crop_samples(config),
        length=data.examples_per_epoch,
        reference_mic=config.scene.reference_mic,
    )
    if data.labelled_share == 1:
        return Opened(labelled, identities=key)
    simulated = _open_simulated(config, array, corpus)
    share = data.labelled_share
    mixed = MixedExamples(labelled, simulated.examples, seed=config.seed, share=share)
    return Opened(mixed, simulated.banks, {**simulated.identities, **key})


def _open_labelled(config: TrainConfig, array: MicrophoneArray) -> LabelledRecordings:
    data = config.data
    assert data.labelled is not None
    for key in ("simulated", "bank", "fresh_rooms"):
        if data.labelled_share == 1 and (value := getattr(data, key)):
            raise InputError(
                f"data.{key}={value}: is never used with data.labelled_share=1; give a smaller "
                "share, or one of them alone"
            )
    recordings = open_labelled(
        Path(data.labelled),
        array=array,
        sample_rate=config.sample_rate,
        reference_mic=config.scene.reference_mic,
        num_speakers=config.scene.heard_speakers,
        num_samples=_crop_samples(config),
    )
    counts = ", ".join(
        f"{sum(label in r.row.labels for r in recordings.recordings)} with {label}"
        for label in sorted(recordings.any_labels)
    )
    Console(stderr=True).print(
        f"{data.labelled}: {len(recordings)} recordings to train on ({counts})", soft_wrap=True
    )
    return recordings


def _open_simulated(config: TrainConfig, array: MicrophoneArray, corpus: Corpus) -> Opened:
    data, length = config.data, config.data.examples_per_epoch
    if data.bank is not None and data.simulated is not None:
        raise InputError(
            f"data.bank={data.bank} and data.simulated={data.simulated}: give one of them"
        )
    if data.simulated is not None:
        mixtures = _open_mixtures(config, array)
        stored = StoredExamples(
            mixtures,
            seed=config.seed,
            num_samples=_crop_samples(config),
            length=length,
            scene=config.scene,
        )
        key = f"data.simulated={data.simulated}"
        return Opened(stored, identities={key: (len(mixtures), mixtures.identity)})
    places: list[tuple[MicrophoneArray, RirBank, RoomSet | None]] = []
    if data.bank is not None:
        rooms, bank = open_bank(data.bank, config.scene, array, config.sample_rate)
        places.append((array, bank, rooms))
    else:
        places += _places(config, array)
    sets = [
        SimulatedMixtures(
            corpus,
            array,
            config.scene,
            length=length,
            num_samples=_crop_samples(config),
            seed=config.seed,
            rooms=shared,
            bank=bank,
            fresh_rooms=data.fresh_rooms,
        )
        for array, bank, shared in places
    ]
    many = ManyArrays(sets, seed=config.seed, batch_size=data.batch_size)
    banks = [(bank, shared) for _, bank, shared in places if shared is not None]
    return Opened(sets[0] if len(sets) == 1 else many, banks)


def _places(
    config: TrainConfig, own: MicrophoneArray
) -> Iterator[tuple[MicrophoneArray, RirBank, RoomSet | None]]:
    """Yield each array with its bank and the rooms that its examples share, if they share some;
    the rooms are shared out, each is of one array only."""
    data = config.data
    arrays = build_arrays(data.arrays, own, config.seed)
    first = 0
    for number, array in enumerate(arrays):
        bank = RirBank(rirs_folder(data.cache), array, config.sample_rate)
        if data.train_rooms is None:
            yield array, bank, None
            continue
        count = (data.train_rooms - number - 1) // len(arrays) + 1
        rooms = RoomSet(config.scene, array, config.seed, "train", count, first=first)
        yield array, bank, rooms
        first += count


def _open_mixtures(config: TrainConfig, array: MicrophoneArray) -> StoredMixtures:
    assert config.data.simulated is not None
    mixtures = open_mixtures(
        Path(config.data.simulated),
        Wanted(
            split="train",
            array=array,
            sample_rate=config.sample_rate,
            target=config.scene.target,
            reference_mic=config.scene.reference_mic,
            num_speakers=config.scene.heard_speakers,
            num_samples=_crop_samples(config),
            over_time=config.model.heads.span is not None
            and config.model.heads.guidance != "oracle",
        ),
    )
    Console(stderr=True).print(f"{config.data.simulated}: {len(mixtures)} mixtures to train on")
    return mixtures


def build_data(
    config: TrainConfig, array: MicrophoneArray, corpus: Corpus, opened: Opened
) -> MixtureData:
    """Return training examples and valid scenes; make and keep the responses of their rooms."""
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
        fill_banks([(bank, [scene.room for scene in scenes]), *opened.banks], available_cores())
    valid = FixedScenes(scenes, valid_corpus, bank)
    return MixtureData(config.data, config.num_slots, opened.examples, valid)


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
        rank, world_size = self._place()
        share = range(rank, len(self.valid), world_size)  # no scene twice, none left out
        return self._loader(self.valid, share, min(1, self.config.num_workers), drop_last=False)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _loader(
        self, dataset: Dataset[Any], sampler: Iterable[int], workers: int, drop_last: bool
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
