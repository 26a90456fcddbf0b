# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: one network under one criterion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from msdet.checkpoints import not_finite
from msdet.criteria import Criterion
from msdet.criteria.assignment import take
from msdet.criteria.balancing import GRADIENT_BASED
from msdet.criteria.gradients import measure_gradients
from msdet.datasets import Batch
from msdet.errors import InputError
from msdet.metrics.scores import SceneRow
from msdet.models.msdet import MSDET, Output
from msdet.training.config import TrainerConfig
from msdet.training.validation import score_batch


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
        output = self._forward(batch)
        losses = self.criterion(self.model, output, batch)
        if not torch.isfinite(losses.total):
            raise self._diverged(f"the loss is {losses.total.item()}")
        measured = {"loss": losses.total}
        told = {task: loss for task, loss in losses.tasks.items() if losses.labelled[task]}
        measured |= {f"{task}_loss": loss for task, loss in told.items()}
        if self.criterion.config.balancing in ("uncertainty", "dwa"):
            weights = self.criterion.balance.current().items()
            measured |= {f"{task}_weight": torch.tensor(weight) for task, weight in weights}
        if self._measures_gradients():
            measured |= measure_gradients(told, self.model.encoder.parameters())
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
        output = self._forward(batch)
        losses = self.criterion(self.model, output, batch)
        self.log("valid/loss", losses.total, batch_size=len(batch.mixture), sync_dist=True)
        self.valid_losses.append((losses.total.item(), len(batch.mixture)))
        prescribed = self.criterion.location_order(batch)
        self.rows += score_batch(self.model, output, batch, prescribed)

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
        azimuth = None
        if self.model.config.heads.guidance == "oracle":
            order = self.criterion.location_order(batch)
            assert order is not None  # the checks refuse permutation searches with it
            azimuth = take(batch.azimuth.masked_fill(~batch.present, torch.nan), order)
        output: Output = self.model(batch.mixture, batch.array, azimuth)
        return output


def warmup_cosine(warmup: int, total: int, step: int) -> float:
    """Factor on the learning rate: rises linearly over ``warmup`` steps, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup)))
