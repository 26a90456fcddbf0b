# SPDX-License-Identifier: Apache-2.0
"""The Lightning module, its callbacks, and fit."""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from msdet.checkpoints import DESCRIPTION_KEY, AtomicCheckpointIO, Description, save_portable
from msdet.config import TrainConfig, TrainerConfig
from msdet.criteria import Criterion
from msdet.criteria.assignment import take
from msdet.datasets import Batch, MixtureData
from msdet.errors import InputError
from msdet.evaluation.metrics import score_scene
from msdet.evaluation.rows import Row, SceneLabels
from msdet.evaluation.statistics import summarise
from msdet.memory import PeakMemory
from msdet.models.msdet import MSDET, Output

VALID_METRICS = (
    "si_sdr_improvement_db",
    "azimuth_error_median_deg",
    "azimuth_within_10deg",
    "wrong_slot_rate",
)


class Training(pl.LightningModule):
    """One network under one criterion."""

    def __init__(self, model: MSDET, criterion: Criterion, config: TrainerConfig) -> None:
        super().__init__()
        self.model, self.criterion, self.config = model, criterion, config
        if config.compile:
            model.compile()  # in place: a wrapper would put its name into the weights' names
        self.rows: list[Row] = []
        for part in config.freeze:
            getattr(model, part).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Training:
        """Frozen parts stay in evaluation mode: their normalisation statistics are frozen too."""
        super().train(mode)
        for part in self.config.freeze:
            getattr(self.model, part).eval()
        return self

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """The weighted loss of one batch."""
        losses = self.criterion(self.model, self._forward(batch), batch)
        size = len(batch.mixture)
        self.log("loss", losses.total, prog_bar=True, batch_size=size)
        self.log("sep", losses.separation, prog_bar=True, batch_size=size)
        self.log("doa", losses.direction, prog_bar=True, batch_size=size)
        parts = torch.stack([losses.total, losses.separation, losses.direction]).detach()
        return {"loss": losses.total, "parts": parts}

    def validation_step(self, batch: Batch, index: int) -> None:
        """Scores a batch of valid scenes by the functions that evaluation uses."""
        output = self._forward(batch)
        losses = self.criterion(self.model, output, batch)
        self.log("valid/loss", losses.total, batch_size=len(batch.mixture), sync_dist=True)
        angles = None
        if self.criterion.weight < 1:
            angles = self.model.grid.decode(output.azimuth_logits.float().softmax(-1)).cpu().numpy()
        prescribed = self.criterion.location_order(batch)
        audio, targets, mixture = (
            x.float().cpu().numpy() for x in (output.audio, batch.targets, batch.mixture)
        )
        for i, scene in enumerate(batch.index.tolist()):
            score = score_scene(
                audio[i],
                targets[i],
                mixture[i, self.model.reference_mic],
                None if angles is None else angles[i],
                batch.azimuth[i].cpu().numpy(),
                sample_rate=self.model.sample_rate,
                order=None if prescribed is None else prescribed[i].tolist(),
                metrics=("si_sdr",),
            )
            labels = SceneLabels(t60=None, snr_db=None, distance=tuple(batch.distance[i].tolist()))
            self.rows.append(Row(index=scene, id=f"valid-{scene}", labels=labels, score=score))

    def configure_optimizers(self) -> Any:
        """AdamW; a linear rise, then a cosine to zero, by the step."""
        optimiser = torch.optim.AdamW(
            [p for p in self.parameters() if p.requires_grad],
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
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
        azimuth = take(batch.azimuth, order) if oracle and order is not None else None
        output: Output = self.model(batch.mixture, azimuth=azimuth)
        return output


def warmup_cosine(warmup: int, total: int, step: int) -> float:
    """Factor on the learning rate: rises linearly over ``warmup`` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup)))


class Bookkeeping(Callback):
    """What a run measures of itself: time, examples, waiting for data, the history of its epochs.

    All of it is kept in the training checkpoint, so that a resumed run reports the whole.
    """

    def __init__(self, folder: Path, memory: PeakMemory) -> None:
        self.path, self.memory = folder / "history.jsonl", memory
        self.history: list[dict[str, float]] = []
        self.seconds = self.waited = self.stepping = self.peak_gb = 0.0
        self.examples = 0
        self._losses: list[Tensor] = []
        self._mark = self._clock = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """For the training checkpoint."""
        kept = ("history", "seconds", "waited", "stepping", "peak_gb", "examples")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the training checkpoint."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._clock = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        self.stepping += now - self._mark
        self._mark = now
        self.examples += len(batch.mixture) * trainer.world_size
        assert isinstance(outputs, Mapping)
        self._losses.append(outputs["parts"])

    def close_epoch(self, epoch: int, metrics: Mapping[str, Any], write: bool) -> None:
        """Add an epoch with its validation metrics to the history, and write it out if asked."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now
        parts = torch.stack(self._losses).mean(0).tolist() if self._losses else [math.nan] * 3
        self._losses.clear()
        row = dict(zip(("train_loss", "train_separation", "train_direction"), parts, strict=True))
        row |= {f"valid_{name}": metrics[name] for name in VALID_METRICS}
        self.history.append({"epoch": epoch, **self.summary(), **row})
        if write:
            self.path.write_text("".join(json.dumps(row) + "\n" for row in self.history))

    def summary(self) -> dict[str, float]:
        """Seconds with validation, examples, throughput, share of waiting for data, memory."""
        busy = self.waited + self.stepping
        self.peak_gb = max(self.peak_gb, self.memory.peak_gb)
        return {
            "train_seconds": round(self.seconds, 1),
            "examples": self.examples,
            "examples_per_second": round(self.examples / busy, 2) if busy else 0.0,
            "data_wait_share": round(self.waited / busy, 4) if busy else 0.0,
            "peak_rss_gb": self.peak_gb,
        }


class Scoring(Callback):
    """Scores the valid scenes after each epoch and keeps the best network as ``model.ckpt``.

    Stands before weight averaging in the trainer's list: while it runs, the averaged weights are
    in place, so what is scored is what is saved.
    """

    def __init__(
        self, folder: Path, bookkeeping: Bookkeeping, describe: Callable[..., Description]
    ) -> None:
        self.folder, self.bookkeeping, self.describe = folder, bookkeeping, describe
        self.best = -math.inf

    def state_dict(self) -> dict[str, Any]:
        """For the training checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the training checkpoint."""
        self.best = state_dict["best"]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        rows = _gather(pl_module.rows, trainer)
        pl_module.rows = []
        metrics = summarise(rows, linear_array=pl_module.model.array.is_linear)
        monitor = monitored(pl_module.criterion)
        for name in {*VALID_METRICS, monitor}:
            if metrics[name] is not None:
                shown = name in VALID_METRICS[:2]
                pl_module.log(f"valid/{name}", float(metrics[name]), prog_bar=shown)
        self.bookkeeping.close_epoch(trainer.current_epoch, metrics, trainer.is_global_zero)
        summary = self.bookkeeping.summary()
        pl_module.log("examples_per_second", summary["examples_per_second"])
        pl_module.log("data_wait_share", summary["data_wait_share"])
        score = metrics[monitor] * monitor_sign(pl_module.criterion)
        if score >= self.best:
            self.best = score
            if trainer.is_global_zero:
                state = {**summary, "epoch": trainer.current_epoch, "steps": trainer.global_step}
                description = self.describe(metrics, state)
                save_portable(self.folder / "model.ckpt", pl_module.model, description)


def monitored(criterion: Criterion) -> str:
    """The validation metric that decides which network is best."""
    by_angle = "azimuth_error_mean_deg_best_matched"
    return "si_sdr_improvement_db" if criterion.weight > 0 else by_angle


def monitor_sign(criterion: Criterion) -> float:
    """1 where more of the monitored metric is better, -1 where less is."""
    return 1.0 if criterion.weight > 0 else -1.0


class Progress(TQDMProgressBar):
    """Lightning's bar of an epoch, with the time that the whole run still takes."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._start, self._first_step = time.perf_counter(), trainer.global_step

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        done = trainer.global_step - self._first_step
        if done:
            left = int(trainer.estimated_stepping_batches) - trainer.global_step
            seconds = (time.perf_counter() - self._start) / done * left
            metrics["run_left"] = f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
        return metrics


class SelfDescribing(Callback):
    """Puts the model's description into the training checkpoint, so that any command takes it."""

    def __init__(self, describe: Callable[..., Description]) -> None:
        self.describe = describe

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[DESCRIPTION_KEY] = self.describe({}, {}).model_dump(mode="json")


def _gather(rows: list[Row], trainer: pl.Trainer) -> list[Row]:
    """All processes' rows, in scene order."""
    if trainer.world_size > 1:
        shares: list[list[Row]] = [[] for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(shares, rows)
        rows = [row for share in shares for row in share]
    return sorted(rows, key=lambda row: row.index)


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
    criterion = Criterion(config.criterion)
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
