# SPDX-License-Identifier: Apache-2.0
"""Balancing: what becomes of the tasks' fixed weights in training.

- ``fixed``: nothing.
- ``anneal``: the weights of all tasks but separation fall to zero.
- ``uncertainty``: weights are learned (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115).
- ``dwa``: dynamic weight average (Liu, Johns, Davison, CVPR 2019, arXiv 1803.10704).
- ``upgrad``: unconflicting projection of gradients (Quinton, Rey, 2024, arXiv 2406.16232).

The last one changes gradients, not weights, and only those of what the tasks share
(`msdet.criteria.upgrad`). With two tasks it is the gradient surgery of PCGrad (Yu et al., NeurIPS
2020, arXiv 2001.06782).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from msdet.criteria.config import Balancing
from msdet.tasks import Task

_TEMPERATURE = 2.0  # of dwa, from its paper
_LOG_SCALE_FACTOR: dict[Task, float] = {"separation": 1.0, "direction": 0.5, "distance": 0.5}
"""The c of ``uncertainty``, from the negative log-likelihood exp(-s) * loss + c * s + constant.

An L1 loss is that of a Laplace distribution, |x| / b + log(2 b): c = 1 with s = log(b). The paper's
loss / sigma^2 + log(sigma) has c = 1/2 with s = log(sigma^2), for the cross-entropy of classes and
for half a squared error, which the distance's Huber loss is near zero.
"""


class LossBalance(nn.Module):
    """The tasks' losses as one, under one method.

    A loss of exactly 0 is that of a batch without the task's labels, and tells nothing of the task.

    - ``anneal``: all weights but that of separation are multiplied with what is left of the
      training (`left`), so that the other tasks shape the encoder first and separation last.
    - ``uncertainty``: the sum of exp(-s) * loss + c * s, s learned for each task. exp(-s) starts at
      the fixed weight, since a separation loss below 1 and a cross-entropy of ln(classes) are far
      from balanced at s = 0, and an optimiser with steps of its learning rate takes more than a
      thousand from there. It tends to c / loss, wherever it started. The total may be negative.
    - ``dwa``: the fixed weights times factors that add up to the number of tasks; larger for a task
      whose loss fell less from the last epoch but one to the last. They are 1 in two first epochs.
      The paper has them alone, with losses of one scale.
    - ``upgrad``: the total is that of ``fixed``, its gradient is what
      `msdet.criteria.upgrad.backward` makes of the weighted losses' gradients.

    Args:
        weights: by task, above 0; all that are trained.

    Attributes:
        left: share of the training that is still to come, set before each step.
    """

    left: float
    log_scales: nn.Parameter
    log_scale_factors: Tensor
    fixed: Tensor
    history: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, method: Balancing, weights: Mapping[Task, float]) -> None:
        super().__init__()
        self.method, self.weights, self.left = method, dict(weights), 1.0
        fixed = torch.tensor(list(weights.values()))
        if method == "uncertainty":
            self.log_scales = nn.Parameter(-fixed.log())
            factors = torch.tensor([_LOG_SCALE_FACTOR[task] for task in weights])
            self.register_buffer("log_scale_factors", factors, persistent=False)
        elif method == "dwa":
            self.register_buffer("fixed", fixed, persistent=False)
            # mean losses [last but one, last epoch][task], and of the running epoch what they
            # are made of: a checkpoint may be written before the epoch is closed
            self.register_buffer("history", torch.zeros(2, len(weights)))
            self.register_buffer("sums", torch.zeros(len(weights)))
            self.register_buffer("counts", torch.zeros(len(weights)))

    def total(self, losses: Mapping[Task, Tensor]) -> Tensor:
        """Return the sum to minimise of unweighted scalars; ``dwa`` notes them in training."""
        if self.method == "uncertainty":
            values = torch.stack([losses[task] for task in self.weights])
            told = values.detach() != 0
            costs = self.log_scale_factors * self.log_scales * told
            return ((-self.log_scales).exp() * values + costs).sum()
        if self.method == "dwa":
            values = torch.stack([losses[task] for task in self.weights])
            if self.training:
                self._take_note(values.detach())
            return (self._dynamic_weights() * values).sum()
        return torch.stack(self.weighted(losses)).sum()

    def _left(self, task: Task) -> float:
        return self.left if self.method == "anneal" and task != "separation" else 1.0

    def close_epoch(self) -> None:
        """To be called after each training epoch: the next one's weights come into force.

        Nothing happens where no batch came since the last call.
        """
        if self.method != "dwa" or not self.counts.any():
            return
        means = torch.where(self.counts > 0, self.sums / self.counts, self.history[1])
        self.history.copy_(torch.stack([self.history[1], means]))
        self.sums.zero_()
        self.counts.zero_()

    @torch.no_grad()
    def current(self) -> dict[Task, float]:
        """Return the weights in force."""
        if self.method == "uncertainty":
            return dict(zip(self.weights, (-self.log_scales).exp().tolist(), strict=True))
        if self.method == "dwa":
            return dict(zip(self.weights, self._dynamic_weights().tolist(), strict=True))
        return {task: weight * self._left(task) for task, weight in self.weights.items()}

    def weighted(self, losses: Mapping[Task, Tensor]) -> list[Tensor]:
        """Return the losses times their weights, which are fixed or annealed."""
        return [weight * self._left(task) * losses[task] for task, weight in self.weights.items()]

    def _take_note(self, values: Tensor) -> None:
        told = torch.stack([values, (values != 0).to(values.dtype)])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # At every step, not once an epoch: DDP copies the first process's buffers to the
            # others at every step, and the checkpoint holds the first one's.
            torch.distributed.all_reduce(told)
        self.sums += told[0]
        self.counts += told[1]

    def _dynamic_weights(self) -> Tensor:
        rates = self.history[1] / self.history[0]
        rates = torch.where(rates.isfinite(), rates, 1.0)  # unknown as yet
        return self.fixed * len(rates) * (rates / _TEMPERATURE).softmax(dim=0)
