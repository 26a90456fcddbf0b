# SPDX-License-Identifier: Apache-2.0
"""The Lightning module, its callbacks, and fit."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from msdet.callbacks import (
    Bookkeeping,
    Progress,
    Scoring,
    SelfDescribing,
    monitor_sign,
    monitored,
)
from msdet.checkpoints import Description, save_atomically
from msdet.config import TrainConfig, TrainerConfig
from msdet.criteria import Criterion
from msdet.criteria.assignment import take
from msdet.criteria.balancing import GRADIENT_BASED
from msdet.criteria.gradients import measure_gradients
from msdet.data_module import MixtureData
from msdet.datasets import Batch
from msdet.errors import InputError
from msdet.evaluation.rows import Row, SceneLabels
from msdet.evaluation.scoring import score_output
from msdet.memory import PeakMemory
from msdet.models.msdet import MSDET, Output


class Training(pl.LightningModule):
    """One network under one criterion."""

    def __init__(self, model: MSDET, criterion: Criterion, config: TrainerConfig) -> None:
        super().__init__()
        self.model, self.criterion, self.config = model, criterion, config
        if config.compile:
            model.compile()  # in place: a wrapper would put its name into the weights' names
        self.rows: list[Row] = []
        self._unsettled: Any = None
        for part in config.freeze:
            getattr(model, part).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Training:
        """Frozen parts stay in evaluation mode: their normalisation statistics are frozen too."""
        super().train(mode)
        for part in self.config.freeze:
            getattr(self.model, part).eval()
        return self

    def training_step(self, batch: Batch, index: int) -> dict[str, Any]:
        """The weighted loss of one batch."""
        output = self._forward(batch)
        losses = self.criterion(self.model, output, batch)
        if not torch.isfinite(losses.total):
            raise InputError(
                f"training diverged: the loss is {losses.total.item()} at step {self.global_step}; "
                "lower trainer.learning_rate or trainer.gradient_clip and start in a new output="
            )
        measured = {"loss": losses.total}
        measured |= {f"{task}_loss": loss for task, loss in losses.tasks.items()}
        if self.criterion.config.balancing in ("uncertainty", "dwa"):
            weights = self.criterion.balance.current().items()
            measured |= {f"{task}_weight": torch.tensor(weight) for task, weight in weights}
        if self._measures_gradients():
            measured |= measure_gradients(losses.tasks, self.model.encoder.parameters())
        for name, value in measured.items():
            self.log(name, value, prog_bar="loss" in name, batch_size=len(batch.mixture))
        self._unsettled = losses, output
        parts = {name: value.detach() for name, value in measured.items()}
        return {"loss": losses.total, "parts": parts}

    def _measures_gradients(self) -> bool:
        interval = self.config.gradient_interval
        shares = self.model.direction_encoder is None and not self.config.compile
        return interval is not None and shares and self.global_step % interval == 0

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The gradient of the loss, or what the balance makes of the tasks' gradients."""
        (losses, output), self._unsettled = self._unsettled, None
        if self.criterion.config.balancing not in GRADIENT_BASED:
            super().backward(loss, *args, **kwargs)
            return
        self.criterion.balance.backward(losses.tasks, tuple(output.encoding))
        if losses.penalty is not None:
            losses.penalty.backward()

    def on_train_epoch_end(self) -> None:
        """Some balances change their weights between epochs."""
        self.criterion.balance.close_epoch()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Scores a batch of valid scenes by the functions that evaluation uses."""
        output = self._forward(batch)
        losses = self.criterion(self.model, output, batch)
        self.log("valid/loss", losses.total, batch_size=len(batch.mixture), sync_dist=True)
        prescribed = self.criterion.location_order(batch)
        for i, scene in enumerate(batch.index.tolist()):
            score = score_output(
                self.model,
                output,
                batch,
                i,
                order=None if prescribed is None else prescribed[i].tolist(),
                metrics=("si_sdr",),
            )
            spoken = batch.distance[i][batch.present[i]]
            labels = SceneLabels(t60=None, snr_db=None, distance=tuple(spoken.tolist()))
            self.rows.append(Row(index=scene, id=f"valid-{scene}", labels=labels, score=score))

    def configure_optimizers(self) -> Any:
        """AdamW; a linear rise, then a cosine to zero, by the step."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": trained}]
        if balance := list(self.criterion.parameters()):
            groups.append({"params": balance, "weight_decay": 0.0})
        optimiser = torch.optim.AdamW(
            groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, partial(warmup_cosine, self.config.warmup_steps, total)
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _forward(self, batch: Batch) -> Output:
        order = self.criterion.location_order(batch)
        oracle = self.model.config.heads.guidance == "oracle" and order is not None
        azimuth = None
        if oracle and order is not None:
            known = batch.azimuth.masked_fill(~batch.present, torch.nan)
            azimuth = take(known, order)
        output: Output = self.model(batch.mixture, azimuth=azimuth)
        return output


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name beside the target, flushes to disk, then renames.

    A killed run or a full disk leaves the previous file whole.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        save_atomically(checkpoint, Path(path))


def warmup_cosine(warmup: int, total: int, step: int) -> float:
    """Factor on the learning rate: rises linearly over ``warmup`` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup)))


def fit(
    config: TrainConfig,
    folder: Path,
    model: MSDET,
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
    criterion = Criterion(config.criterion, model.array.is_linear)
    module = Training(model, criterion, settings)
    bookkeeping = Bookkeeping(folder, memory)
    scoring = Scoring(folder, bookkeeping, describe)
    callbacks: list[Callback] = [bookkeeping, scoring, SelfDescribing(describe)]
    if settings.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay, use_buffers=True))
    if settings.early_stop is not None:
        mode = "max" if monitor_sign(criterion) > 0 else "min"
        name = f"valid/{monitored(criterion)}"
        callbacks.append(EarlyStopping(name, patience=settings.early_stop, mode=mode))
    callbacks += [
        LearningRateMonitor("step"),
        Progress(refresh_rate=10),
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
        precision=settings.precision,
        max_epochs=settings.epochs,
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
        trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
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
                "logger.wandb_project: Weights & Biases is not installed: pip install msdet[wandb]"
            ) from error
    return loggers
