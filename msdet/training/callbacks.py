# SPDX-License-Identifier: Apache-2.0
"""Callbacks around training steps: they measure the run, score epochs, describe checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from msdet.checkpoints import DESCRIPTION_KEY, Description, save_portable
from msdet.criteria import Criterion
from msdet.datasets import Batch
from msdet.ending import heed_sigterm
from msdet.files import write_atomically
from msdet.memory import PeakMemory
from msdet.metrics.measures import MEASURES, VALIDATION
from msdet.metrics.scores import SceneRow
from msdet.metrics.summary import summarise

if TYPE_CHECKING:
    from msdet.training.module import Training

T = TypeVar("T")


class Stopping(Callback):
    """Lets SIGTERM stop a training at once, as Ctrl-C does.

    Lightning would wait for the next step, with several processes in a broadcast that they may
    never meet in, and end the training as if it were finished.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        heed_sigterm()


class Bookkeeping(Callback):
    """Measurements of a run: time, examples, waiting for data, the history of its epochs.

    All of it is kept in the training checkpoint, so that a resumed run reports the whole.
    """

    def __init__(self, folder: Path, memory: PeakMemory) -> None:
        self.path, self.memory = folder / "history.jsonl", memory
        self.history: list[dict[str, float]] = []
        self.seconds = self.waited = self.stepping = self.peak_gb = 0.0
        self.examples = 0
        self._measured: dict[str, list[Tensor]] = {}
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
        for name, value in outputs["parts"].items():
            self._measured.setdefault(name, []).append(value)

    def close_epoch(
        self, trainer: pl.Trainer, metrics: Mapping[str, Any], valid_loss: float
    ) -> None:
        """Add an epoch with its validation metrics to the history, and write it out."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now
        row = {f"train_{name}": mean for name, mean in _means(self._measured, trainer).items()}
        self._measured.clear()
        row["valid_loss"] = valid_loss
        row |= {f"valid_{name}": metrics[name] for name in VALIDATION}
        self.history.append({"epoch": trainer.current_epoch, **self.summary(), **row})
        if trainer.is_global_zero:
            write_atomically(self.path, (json.dumps(row) + "\n" for row in self.history))

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
        module = cast("Training", pl_module)
        rows = _gather(module.rows, trainer)
        losses = [one for share in _of_all(module.valid_losses, trainer) for one in share]
        valid_loss = sum(loss * size for loss, size in losses) / sum(size for _, size in losses)
        module.rows, module.valid_losses = [], []
        metrics = summarise(rows, linear_array=module.model.array.is_linear)
        monitor = monitored(module.criterion)
        for name in {*VALIDATION, monitor}:
            if metrics[name] is not None:
                shown = name in VALIDATION[:2]
                module.log(f"valid/{name}", float(metrics[name]), prog_bar=shown)
        self.bookkeeping.close_epoch(trainer, metrics, valid_loss)
        summary = self.bookkeeping.summary()
        module.log("examples_per_second", summary["examples_per_second"])
        module.log("data_wait_share", summary["data_wait_share"])
        value = metrics[monitor]  # None where no valid scene could be scored
        score = -math.inf if value is None else value * monitor_sign(module.criterion)
        if score >= self.best:
            self.best = score
            if trainer.is_global_zero:
                state = {**summary, "epoch": trainer.current_epoch, "steps": trainer.global_step}
                description = self.describe(metrics, state)
                save_portable(self.folder / "model.ckpt", module.model, description)


def monitored(criterion: Criterion) -> str:
    """The validation metric that decides which network is best."""
    by_angle = "azimuth_error_mean_deg_best_matched"
    return "si_sdr_improvement_db" if "separation" in criterion.tasks else by_angle


def monitor_sign(criterion: Criterion) -> float:
    """1 where more of the monitored metric is better, -1 where less is."""
    return 1.0 if MEASURES[monitored(criterion)].higher_is_better else -1.0


class SelfDescribing(Callback):
    """Puts the model's description into the training checkpoint, so that any command takes it."""

    def __init__(self, describe: Callable[..., Description]) -> None:
        self.describe = describe

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[DESCRIPTION_KEY] = self.describe({}, {}).model_dump(mode="json")


def _means(measured: Mapping[str, list[Tensor]], trainer: pl.Trainer) -> dict[str, float]:
    """Return the means of measurements over all steps of all processes, by name."""
    own = {name: (torch.stack(v).sum().item(), len(v)) for name, v in measured.items()}
    sums: dict[str, tuple[float, int]] = {}
    for share in _of_all(own, trainer):
        for name, (total, count) in share.items():
            before = sums.get(name, (0.0, 0))
            sums[name] = before[0] + total, before[1] + count
    return {name: total / count for name, (total, count) in sums.items()}


def _gather(rows: list[SceneRow], trainer: pl.Trainer) -> list[SceneRow]:
    """All processes' rows, in scene order."""
    every = [row for share in _of_all(rows, trainer) for row in share]
    return sorted(every, key=lambda row: row.index)


def _of_all(own: T, trainer: pl.Trainer) -> list[T]:
    """Return what each process has."""
    if trainer.world_size == 1:
        return [own]
    shares: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(shares, own)
    return shares
