# SPDX-License-Identifier: Apache-2.0
"""What feeds examples to Lightning's trainer: where they come from, and the data module."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset, Sampler

from msdet.config import TrainConfig
from msdet.corpora import Corpus
from msdet.datasets import (
    Batch,
    DataConfig,
    ExampleSampler,
    FixedScenes,
    StoredExamples,
    TrainingExamples,
    UnpaddedSampler,
)
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.run_folder import is_first_process
from msdet.simulation import (
    Example,
    RirBank,
    RoomSet,
    StoredMixtures,
    fixed_scenes,
    open_bank,
    open_mixtures,
    rirs_folder,
)
from msdet.simulation.stored import Task
from msdet.workers import available_cores, be_a_worker


@dataclass(frozen=True)
class Sources:
    """Where training examples come from.

    Attributes:
        mixtures: what they are cut from, if they are not simulated on the fly.
        rooms: those that they share, if not each has one of its own. bank: their responses.
    """

    mixtures: StoredMixtures | None
    rooms: RoomSet | None
    bank: RirBank


def open_sources(config: TrainConfig, array: MicrophoneArray) -> Sources:
    """Open what a config names.

    Raises:
        InputError: it is not there, or not for this training; before any work.
    """
    data = config.data
    if data.bank is not None:
        if data.simulated is not None:
            raise InputError(
                f"data.bank={data.bank} and data.simulated={data.simulated}: give one of them"
            )
        rooms, bank = open_bank(data.bank, config.scene, array, config.sample_rate)
        return Sources(None, rooms, bank)
    bank = RirBank(rirs_folder(data.cache), array, config.sample_rate)
    if data.simulated is not None:
        return Sources(_open_mixtures(config, array), None, bank)
    if data.train_rooms is None:
        return Sources(None, None, bank)
    return Sources(None, RoomSet(config.scene, array, config.seed, "train", data.train_rooms), bank)


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
            num_speakers=config.scene.num_speakers[1],
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
    training: TrainingExamples | StoredExamples
    if sources.mixtures is not None:
        training = StoredExamples(
            sources.mixtures,
            seed=config.seed,
            num_samples=_crop_samples(config),
            length=config.data.examples_per_epoch,
        )
    else:
        training = TrainingExamples(
            config.scene,
            array,
            corpus.split("train"),
            sources.bank,
            seed=config.seed,
            sample_rate=config.sample_rate,
            num_samples=_crop_samples(config),
            length=config.data.examples_per_epoch,
            rooms=sources.rooms,
            fresh_rooms=config.data.fresh_rooms,
        )
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
        bank.fill((scene.room for scene in scenes), available_cores())
        if sources.mixtures is None:
            sources.bank.fill(sources.rooms or (), available_cores())
    return MixtureData(
        config.data, config.scene.num_speakers[1], training, FixedScenes(scenes, valid_corpus, bank)
    )


def _crop_samples(config: TrainConfig) -> int:
    return round(config.data.crop_seconds * config.sample_rate)


class MixtureData(pl.LightningDataModule):
    """Training examples, drawn on the fly or stored, and fixed valid scenes."""

    def __init__(
        self,
        config: DataConfig,
        num_slots: int,
        training: TrainingExamples | StoredExamples,
        valid: FixedScenes,
    ) -> None:
        super().__init__()
        self.config, self.num_slots = config, num_slots
        self.training, self.valid = training, valid

    def train_dataloader(self) -> DataLoader[Example]:
        """Batches of this process's share of the epoch."""
        sampler = ExampleSampler(len(self.training), *self._place())
        return self._loader(self.training, sampler, self.config.num_workers, drop_last=True)

    def val_dataloader(self) -> DataLoader[Example]:
        """This process's share of the valid scenes."""
        sampler = UnpaddedSampler(len(self.valid), *self._place())
        return self._loader(self.valid, sampler, min(1, self.config.num_workers), drop_last=False)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def _loader(
        self, dataset: Dataset[Example], sampler: Sampler[Any], workers: int, drop_last: bool
    ) -> DataLoader[Example]:
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
