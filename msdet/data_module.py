# SPDX-License-Identifier: Apache-2.0
"""The data module: what feeds examples to Lightning's trainer."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from msdet.datasets import (
    Batch,
    DataConfig,
    ExampleSampler,
    FixedScenes,
    TrainingExamples,
    UnpaddedSampler,
)
from msdet.simulation import Example
from msdet.workers import be_a_worker


class MixtureData(pl.LightningDataModule):
    """Training examples drawn on the fly, and fixed valid scenes."""

    def __init__(self, config: DataConfig, training: TrainingExamples, valid: FixedScenes) -> None:
        super().__init__()
        self.config, self.training, self.valid = config, training, valid

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
            collate_fn=Batch.stack,
            num_workers=workers,
            prefetch_factor=self.config.prefetch if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_be_a_worker,
            multiprocessing_context="forkserver" if workers else None,
            pin_memory=torch.cuda.is_available(),
            drop_last=drop_last,
        )


def _be_a_worker(worker: int) -> None:
    be_a_worker()
