# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: one network under one criterion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor

from msdet.checkpoints import not_finite
from msdet.criteria import Criterion, Labels, Losses, Predictions
from msdet.criteria.gradients import measure_gradients
from msdet.criteria.labels import take
from msdet.criteria.sharing import weight_distance, weight_magnitude
from msdet.datasets import Batch
from msdet.errors import InputError
from msdet.metrics.scores import SceneRow
from msdet.models.msdet import MSDET, Output
from msdet.parts import OwnPart, build
from msdet.training.config import TrainerConfig
from msdet.training.tracks import track_of
from msdet.training.validation import score_batch

_CHECKED_EVERY = 10
"""Steps between looks at the loss on a device that computes by itself: each makes it wait."""


def predictions_of(model: MSDET, output: Output, criterion: Criterion) -> Predictions:
    """Return what a criterion reads of a network's output."""
    estimates, directions, tracks = output.stages, [], []
    if criterion.on_signals:
        last = output.audio.shape[-1]
        estimates = tuple(model.stft.inverse(stage, last) for stage in output.stages)
    if output.azimuth_logits is not None and output.coarse_logits is not None:
        directions = [(output.azimuth_logits, model.grid)]
        coarse = output.coarse_logits, model.look_grid
        if output.track_logits is not None:
            tracks = [(output.track_logits, model.grid)]
        (tracks if model.config.causal else directions).append(coarse)
    return Predictions(estimates, directions, output.distance, tracks)


def labels_of(model: MSDET, batch: Batch, criterion: Criterion) -> Labels:
    """Return what a criterion compares a network's output on a batch with."""
    targets = None
    if "separation" in criterion.tasks:
        targets = batch.targets if criterion.on_signals else model.stft(batch.targets)
    track = None if model.config.heads.span is None else track_of(model, batch)
    return Labels.of(batch, targets, track)


def losses_of(criterion: Criterion, model: MSDET, output: Output, batch: Batch) -> Losses:
    """Return the losses of a network's output on a batch."""
    predictions = predictions_of(model, output, criterion)
    return criterion(predictions, labels_of(model, batch, criterion))  # type: ignore[no-any-return]


def forward(model: MSDET, batch: Batch, criterion: Criterion) -> Output:
    """Return a network's output on a batch; one that is guided by true azimuths is told them."""
    azimuth = None
    if model.config.heads.guidance == "oracle":
        order = criterion.location_order(Labels.of(batch))
        assert order is not None  # the checks refuse permutation searches with it
        azimuth = take(batch.azimuth.masked_fill(~batch.present, torch.nan), order)
    output: Output = model(batch.mixture, batch.array, azimuth)
    return output


def seconds_taken(trainer: pl.Trainer) -> float:
    """Return how long a run that has a limit of time has taken, before a resumption too."""
    timer = next(one for one in trainer.callbacks if isinstance(one, Timer))  # type: ignore[attr-defined]
    return float(timer.time_elapsed(RunningStage.TRAINING))


class Training(pl.LightningModule):
    """One network under one criterion."""

    def __init__(self, model: MSDET, criterion: Criterion, config: TrainerConfig) -> None:
        super().__init__()
        self.model, self.criterion, self.config = model, criterion, config
        if config.compile:
            model.compile()  # in place: a wrapper would put its name into the weights' names
        self.rows: list[SceneRow] = []
        self.valid_losses: list[tuple[float, int]] = []  # and of how many scenes each is the mean
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
        if self.criterion.config.balancing == "anneal":
            steps = self.global_step / self.trainer.estimated_stepping_batches
            self.criterion.balance.left = 1.0 - min(1.0, max(steps, self._share_of_time()))
        output, losses = self._losses(batch)
        penalty = self.penalty()
        total = losses.total if penalty is None else losses.total + penalty
        looks = total.device.type == "cpu" or self.global_step % _CHECKED_EVERY == 0
        if looks and not torch.isfinite(total):
            raise self._diverged(f"the loss is {total.item()}")
        measured = {"loss": total}
        told = {task: loss for task, loss in losses.tasks.items() if losses.labelled.get(task, 1)}
        measured |= {f"{task}_loss": loss for task, loss in told.items()}
        if self.criterion.config.balancing in ("anneal", "uncertainty", "dwa"):
            weights = self.criterion.balance.current().items()
            measured |= {f"{task}_weight": torch.tensor(weight) for task, weight in weights}
        if self._measures_gradients():
            measured |= measure_gradients(told, self.model.encoder.parameters())
        for name, value in measured.items():
            self.log(name, value, prog_bar="loss" in name, batch_size=len(batch.mixture))
        self._unsettled = losses, output, penalty
        parts = {name: value.detach() for name, value in measured.items()}
        return {"loss": total, "parts": parts}

    def _losses(self, batch: Batch) -> tuple[Output, Losses]:
        output = forward(self.model, batch, self.criterion)
        return output, losses_of(self.criterion, self.model, output, batch)

    def penalty(self) -> Tensor | None:
        """Return the penalties on weights; None where the config asks for none."""
        config, parts = self.criterion.config, []
        if config.sharing_strength > 0 and self.model.direction_encoder is not None:
            distance = weight_distance(self.model.encoder, self.model.direction_encoder)
            parts.append(config.sharing_strength * distance)
        if config.sparsity > 0:
            parts.append(config.sparsity * weight_magnitude(self.model))
        return torch.stack(parts).sum() if parts else None

    def _measures_gradients(self) -> bool:
        interval = self.config.gradient_interval
        shares = self.model.config.sharing == "hard" and not self.config.compile
        return interval is not None and shares and self.global_step % interval == 0

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The gradient of the loss, or what the balance makes of the tasks' gradients."""
        (losses, output, penalty), self._unsettled = self._unsettled, None
        if self.criterion.config.balancing != "upgrad":
            super().backward(loss, *args, **kwargs)
            return
        from msdet.criteria import upgrad

        upgrad.backward(self.criterion.balance.weighted(losses.tasks), tuple(output.encoding))
        if penalty is not None:
            penalty.backward()

    def on_validation_start(self) -> None:
        """The last step before may have made weights that no loss was computed with since."""
        self._check_finite(self.state_dict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A diverged run leaves the last good checkpoint as it is."""
        self._check_finite(checkpoint["state_dict"])

    def _check_finite(self, weights: Mapping[str, Tensor]) -> None:
        if name := not_finite(weights):
            raise self._diverged(f"{name} is not finite")

    def _diverged(self, what: str) -> InputError:
        return InputError(
            f"training diverged: {what} at step {self.global_step}; lower trainer.learning_rate or "
            "trainer.gradient_clip and start in a new output="
        )

    def on_train_epoch_end(self) -> None:
        """Some balances change their weights between epochs."""
        self.criterion.balance.close_epoch()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Scores a batch of valid scenes by the functions that evaluation uses."""
        output, losses = self._losses(batch)
        self.log("valid/loss", losses.total, batch_size=len(batch.mixture), sync_dist=True)
        self.valid_losses.append((losses.total.item(), len(batch.mixture)))
        prescribed = self.criterion.location_order(Labels.of(batch))
        self.rows += score_batch(self.model, output, batch, prescribed)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, which moves by the step."""
        total = int(self.trainer.estimated_stepping_batches)
        optimizer, schedule = optimizer_and_schedule(
            self.config, self.model, self.criterion, total, self._share_of_time
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _share_of_time(self) -> float:
        """Return how much of ``minutes`` has passed."""
        minutes = self.config.minutes
        return 0.0 if minutes is None else seconds_taken(self.trainer) / (60 * minutes)


def optimizer_and_schedule(
    config: TrainerConfig,
    model: MSDET,
    criterion: Criterion,
    total_steps: int,
    share_of_time: Callable[[], float] = lambda: 0.0,
) -> tuple[Any, Any]:
    """Return the optimiser of what is trained, and the schedule of its learning rate.

    Args:
        share_of_time: how much of the time allowed has passed, 0 to 1.

    Raises:
        InputError: a class that the config names cannot be made; names the key.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": config.weight_decay}]
    if others := list(criterion.parameters()):  # weights of tasks, say
        groups.append({"params": others, "weight_decay": 0.0})
    optimizer: Any
    if isinstance(config.optimizer, OwnPart):
        rate = {} if "lr" in config.optimizer.arguments else {"lr": config.learning_rate}
        optimizer = build(config.optimizer, "trainer.optimizer", groups, **rate)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule: Any
    if isinstance(config.schedule, OwnPart):
        schedule = build(config.schedule, "trainer.schedule", optimizer)
    else:

        def factor(step: int) -> float:
            return warmup_cosine(config.warmup_steps, total_steps, step, share_of_time())

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return optimizer, schedule


def warmup_cosine(warmup: int, total: int, step: int, share_of_time: float = 0.0) -> float:
    """Factor on the learning rate: rises linearly over ``warmup`` steps, then a cosine to zero,
    over the steps or over the time allowed, whichever is nearer to its end."""
    if step < warmup:
        return (step + 1) / warmup
    passed = max((step - warmup) / max(1, total - warmup), share_of_time)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, passed))
