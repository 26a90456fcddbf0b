# SPDX-License-Identifier: Apache-2.0
"""Progress of a training on the screen: the time that is left, and a line an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from msdet.training.callbacks import Bookkeeping
from msdet.training.config import TrainConfig
from msdet.training.module import seconds_taken

_REFRESH_SECONDS = 0.5
"""Drawing takes time of a core that trains, and the loss is fetched from the device for it."""

_FORWARD_SHARE = 1 / 3
"""Validating examples takes this share of training on them, until it is measured."""

_SCORING_FACTOR = 6.0
"""Seconds that a scene takes in the evaluation behind the training, against one in validation: it
is also done by classical systems, and scored by more metrics. So it was in the quickstart."""


class Progress(ProgressBar):
    """Prints a line an epoch; in a terminal there is a bar below it, with the time that is left.

    That is the time of the whole run, with its validations and the evaluation behind it. In a file
    there are lines alone, without carriage returns.
    """

    def __init__(self, config: TrainConfig, bookkeeping: Bookkeeping) -> None:
        super().__init__()
        self._config, self._bookkeeping = config, bookkeeping
        self._console = Console(stderr=True, highlight=False)
        self._bar = RichProgress(
            TextColumn("{task.fields[left]} left"),
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[measured]}"),
            console=self._console,
            refresh_per_second=1 / _REFRESH_SECONDS,
            disable=not self._console.is_terminal,
            transient=True,  # what stays are the lines
            expand=True,
        )
        self._task: TaskID | None = None

    def disable(self) -> None:
        """Print nothing: of several processes only the first does."""
        self._bar.disable = True
        self._console.quiet = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shown = -math.inf
        self._began, self._first_step = time.perf_counter(), trainer.global_step
        self._validating, self._validations = 0.0, 0
        self._bar.start()
        self._task = self._bar.add_task("", left="?", epoch=self._epoch(trainer), measured="")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        if self._bar.disable or self._task is None or now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        self._bar.update(
            self._task,
            total=float(trainer.estimated_stepping_batches),
            completed=trainer.global_step,
            left=clock(self._seconds_left(trainer)),
            epoch=self._epoch(trainer),
            measured=measured_text(self._last_epoch(), loss=float(outputs["loss"])),
        )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validating += time.perf_counter() - self._validation_began
        self._validations += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == self._first_step:
            return  # a run that goes on closes the epoch that was done before
        row = self._last_epoch()
        gone, left = clock(row["train_seconds"]), clock(self._seconds_left(trainer))
        text = measured_text(row, loss=row["train_loss"])
        line = f"{left} left  epoch {self._epoch(trainer)}  {text}  after {gone}"
        self._console.print(line, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()

    def _epoch(self, trainer: pl.Trainer) -> str:
        return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"

    def _last_epoch(self) -> Mapping[str, Any]:
        history = self._bookkeeping.history
        return history[-1] if history else {}

    def _seconds_left(self, trainer: pl.Trainer) -> float:
        steps = trainer.global_step - self._first_step
        total = int(trainer.estimated_stepping_batches)
        step_seconds = (time.perf_counter() - self._began - self._validating) / max(1, steps)
        data = self._config.data
        if self._validations:
            validation_seconds = self._validating / self._validations
        else:
            examples = data.valid_scenes / data.batch_size
            validation_seconds = step_seconds * examples * _FORWARD_SHARE
        epochs = self._config.trainer.epochs
        left = (total - trainer.global_step) * step_seconds
        left += (epochs - len(self._bookkeeping.history)) * validation_seconds
        if (minutes := self._config.trainer.minutes) is not None:
            left = min(left, max(0.0, 60 * minutes - seconds_taken(trainer)))
        if self._config.evaluate:
            of_scene = validation_seconds / data.valid_scenes
            left += data.test_scenes * of_scene * _SCORING_FACTOR
        return left


def clock(seconds: float) -> str:
    """A duration in minutes and seconds, or hours, minutes and seconds.

    >>> [clock(seconds) for seconds in (7.6, 421, 36061)]
    ['0:08', '7:01', '10:01:01']
    """
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def measured_text(row: Mapping[str, Any], loss: float) -> str:
    """The loss, and what the last epoch reached on the valid scenes, in few columns.

    >>> measured_text({"valid_si_sdr_improvement_db": 5.32}, loss=0.4317)
    'loss 0.432  valid 5.3 dB'
    """
    decibels = row.get("valid_si_sdr_improvement_db")
    degrees = row.get("valid_azimuth_error_median_deg")
    valid = [
        *([] if decibels is None else [f"{decibels:.1f} dB"]),
        *([] if degrees is None else [f"{degrees:.1f}°"]),
    ]
    return f"loss {loss:.3f}" + (f"  valid {', '.join(valid)}" if valid else "")
