# SPDX-License-Identifier: Apache-2.0
"""Lightning's trainer, put together from a config."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from msdet.checkpoints import Description, save_atomically
from msdet.criteria import Criterion
from msdet.errors import InputError
from msdet.memory import PeakMemory
from msdet.models.msdet import MSDET
from msdet.training.callbacks import (
    Bookkeeping,
    Scoring,
    SelfDescribing,
    Stopping,
    monitor_sign,
    monitored,
)
from msdet.training.config import TrainConfig
from msdet.training.data import MixtureData
from msdet.training.module import Training
from msdet.training.precision import settled_precision
from msdet.training.processes import EndTogether, told_of_deaths
from msdet.training.progress import Progress


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name beside the target, flushes to disk, then renames.

    A killed run or a full disk leaves the previous file whole.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        save_atomically(checkpoint, Path(path))


def fit(
    config: TrainConfig,
    folder: Path,
    model: MSDET,
    criterion: Criterion,
    data: MixtureData,
    describe: Callable[..., Description],
    memory: PeakMemory,
) -> dict[str, float]:
    """Train; goes on from ``folder/last.ckpt`` where there is one.

    Returns:
        What the run measured of itself: seconds, examples, waiting for data, memory.

    Raises:
        InputError: the machine lacks what the trainer's keys ask for.
    """
    _quieten()
    settings = config.trainer
    module = Training(model, criterion, settings)
    bookkeeping = Bookkeeping(folder, memory)
    scoring = Scoring(folder, bookkeeping, describe)
    callbacks: list[Callback] = [
        Stopping(),
        EndTogether(),
        bookkeeping,
        scoring,
        SelfDescribing(describe),
    ]
    if settings.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay, use_buffers=True))
    if settings.early_stop is not None:
        mode = "max" if monitor_sign(criterion) > 0 else "min"
        name = f"valid/{monitored(criterion)}"
        callbacks.append(EarlyStopping(name, patience=settings.early_stop, mode=mode))
    callbacks += [
        LearningRateMonitor("step"),
        Progress(config, bookkeeping),
        ModelCheckpoint(
            folder,
            "last",
            monitor=None,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        ),
    ]
    trainer = pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settled_precision(config, model, criterion, folder),
        max_epochs=settings.epochs,
        max_time=None if settings.minutes is None else timedelta(minutes=settings.minutes),
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=_loggers(config, folder),
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=10,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / "last.ckpt"
    try:
        with told_of_deaths(trainer):
            trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise type(stop.__context__) from stop
        raise
    return bookkeeping.summary()


def _quieten() -> None:
    """Lightning's advertisements, and warnings about what is meant here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*exists and is not empty",
        ".*LeafSpec",
        ".*does not have many workers",
        ".*logging interval",
        ".*sync_dist=True",  # each process has the same: they are scores of all
    ):
        warnings.filterwarnings("ignore", message)


def _loggers(config: TrainConfig, folder: Path) -> list[Logger]:
    loggers: list[Logger] = [TensorBoardLogger(folder, name=None, version="tensorboard")]
    if config.logger.wandb_project is not None:
        try:
            project = config.logger.wandb_project
            loggers.append(WandbLogger(config.name, project=project, save_dir=folder))
        except ModuleNotFoundError as error:
            raise InputError(
                "logger.wandb_project: Weights & Biases is not installed; in the clone of msdet: "
                "pip install '.[wandb]'"
            ) from error
    return loggers
