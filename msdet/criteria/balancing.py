# SPDX-License-Identifier: Apache-2.0
"""Balancing: what becomes of the tasks' fixed weights in training.

- ``fixed``: nothing.
- ``uncertainty``: weights are learned (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115).
- ``dwa``: dynamic weight average (Liu, Johns, Davison, CVPR 2019, arXiv 1803.10704).
- ``pcgrad``: gradient surgery (Yu et al., NeurIPS 2020, arXiv 2001.06782).
- ``upgrad``: unconflicting projection of gradients (Quinton, Rey, 2024, arXiv 2406.16232).

The last two change gradients, not weights, and only those of what the tasks share. Of two tasks
both project a gradient onto the plane that the other is normal to, and are one method; of three
they differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torchjd import autojac
from torchjd.aggregation import Aggregator, PCGrad, Sum, UPGrad
from torchjd.linalg import DualConeProjector, PSDMatrix

from msdet.errors import InputError
from msdet.models.msdet import Task

Balancing = Literal["fixed", "uncertainty", "dwa", "pcgrad", "upgrad"]
GRADIENT_BASED: tuple[Balancing, ...] = ("pcgrad", "upgrad")

_TEMPERATURE = 2.0  # of dwa, from its paper
_LOG_SCALE_FACTOR: dict[Task, float] = {"separation": 1.0, "direction": 0.5, "distance": 0.5}
"""The c of ``uncertainty``, from the negative log-likelihood exp(-s) * loss + c * s + constant.

An L1 loss is that of a Laplace distribution, |x| / b + log(2 b): c = 1 with s = log(b). The paper's
loss / sigma^2 + log(sigma) has c = 1/2 with s = log(sigma^2), for the cross-entropy of classes and
for half a squared error, which the distance's Huber loss is near zero.
"""


def check_balancing(
    method: Balancing,
    tasks: Collection[Task],
    *,
    strategy: str,
    devices: int | Literal["auto"],
    precision: str,
    sharing: str,
    compile: bool,
    num_nodes: int = 1,
    accelerator: str = "auto",
    freeze: Collection[str] = (),
) -> None:
    """Refuse a method that cannot work.

    Args:
        tasks: that are trained. sharing: ``model.sharing``; the others are the trainer's keys.

    Raises:
        InputError: names ``criterion.balancing``, the key that it cannot go with, and choices.
    """
    if method == "fixed":
        return
    asked = f"criterion.balancing={method!r}"
    if len(tasks) < 2:
        raise InputError(
            f"{asked} with {' and '.join(tasks) or 'no task'} alone: there is nothing to balance; "
            "give 'fixed', or train two tasks (0 < criterion.weight < 1)"
        )
    if method not in GRADIENT_BASED:
        return
    others = "give 'fixed', 'uncertainty' or 'dwa', or"
    if strategy == "ddp" or num_nodes > 1 or _device_count(devices, accelerator) > 1:
        where = (
            f"trainer.strategy={strategy!r}, trainer.devices={devices}, "
            f"trainer.num_nodes={num_nodes}"
        )
        raise InputError(
            f"{asked} with {where}: it goes around what averages gradients over devices; "
            f"{others} trainer.strategy=auto trainer.devices=1 trainer.num_nodes=1"
        )
    if precision != "32-true":
        raise InputError(
            f"{asked} with trainer.precision={precision!r}: it compares gradients, which mixed "
            f"precision scales and rounds; {others} trainer.precision=32-true"
        )
    if compile:
        raise InputError(
            f"{asked} with trainer.compile=true: it goes through the graph once a task, which a "
            f"compiled network does not allow; {others} trainer.compile=false"
        )
    if sharing != "hard":
        raise InputError(
            f"{asked} with model.sharing={sharing!r}: the tasks share no weights whose gradients "
            f"could conflict; {others} model.sharing=hard"
        )
    if "encoder" in freeze:
        raise InputError(
            f"{asked} with trainer.freeze={list(freeze)}: the weights that the tasks share are "
            f"not trained; {others} take 'encoder' out of trainer.freeze"
        )


def _device_count(devices: int | Literal["auto"], accelerator: str) -> int:
    """How many Lightning would take."""
    if devices != "auto":
        return devices
    return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())


class LossBalance(nn.Module):
    """The tasks' losses as one, under one method.

    A loss of exactly 0 is that of a batch without the task's labels, and tells nothing of the task.

    - ``uncertainty``: the sum of exp(-s) * loss + c * s, s learned for each task. exp(-s) starts at
      the fixed weight, since a separation loss below 1 and a cross-entropy of ln(classes) are far
      from balanced at s = 0, and an optimiser with steps of its learning rate takes more than a
      thousand from there. It tends to c / loss, wherever it started. The total may be negative.
    - ``dwa``: the fixed weights times factors that add up to the number of tasks; larger for a task
      whose loss fell less from the last epoch but one to the last. They are 1 in two first epochs.
      The paper has them alone, with losses of one scale.
    - ``pcgrad``, ``upgrad``: the total is that of ``fixed``, its gradient is what
      :meth:`backward` makes of the weighted losses' gradients.

    Args:
        weights: by task, above 0; all that are trained.
    """

    log_scales: nn.Parameter
    log_scale_factors: Tensor
    fixed: Tensor
    history: Tensor
    sums: Tensor
    counts: Tensor
    steps: Tensor

    def __init__(self, method: Balancing, weights: Mapping[Task, float]) -> None:
        super().__init__()
        self.method, self.weights = method, dict(weights)
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
        elif method == "pcgrad":
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def total(self, losses: Mapping[Task, Tensor]) -> Tensor:
        """What to minimise, of unweighted scalars; in training, ``dwa`` takes note of them."""
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
        return torch.stack(self._weighted(losses)).sum()

    def backward(self, losses: Mapping[Task, Tensor], features: Sequence[Tensor]) -> None:
        """Add to ``.grad`` what a gradient-based method makes of the tasks' gradients.

        The graph is freed.

        Args:
            losses: as of :meth:`total`. features: where the tasks part.
        """
        # of frozen parts alone, a loss has no gradient
        weighted = [loss for loss in self._weighted(losses) if loss.requires_grad]
        if self.method == "upgrad":
            # a sum, as the other methods': their paper's mean would give shared weights a
            # smaller gradient than the heads'
            preference = torch.ones_like(torch.stack(weighted))
            backward_aggregated(weighted, features, UPGrad(preference, _LeastSquares()))
        elif self.method == "pcgrad":
            # The order of its projections is random. It depends on the step alone, so that a
            # resumed run draws it as an uninterrupted one does.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(self.steps))
                backward_aggregated(weighted, features, PCGrad())
            self.steps += 1
        else:
            raise ValueError(f"{self.method!r} is not gradient-based: {GRADIENT_BASED} are")

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
        """The weights in force."""
        if self.method == "uncertainty":
            return dict(zip(self.weights, (-self.log_scales).exp().tolist(), strict=True))
        if self.method == "dwa":
            return dict(zip(self.weights, self._dynamic_weights().tolist(), strict=True))
        return dict(self.weights)

    def _weighted(self, losses: Mapping[Task, Tensor]) -> list[Tensor]:
        return [weight * losses[task] for task, weight in self.weights.items()]

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


def backward_aggregated(
    losses: Sequence[Tensor], features: Sequence[Tensor], aggregator: Aggregator
) -> None:
    """Add gradients to ``.grad``: aggregated where losses share weights, else their sum.

    Shared are the weights that the features were computed from. The graph is freed.

    Whole gradients, not ``torchjd.autojac.mtl_backward``: that one goes from losses to features,
    then from features to weights, and so would count twice what reaches a feature that another one
    is computed from, as a U-Net's lowest is.

    Args:
        losses: scalars. features: where their graphs part.
        aggregator: makes one gradient of the rows of a Jacobian ``[loss, weight]``.
    """
    reached = _leaves(losses)
    shared = {id(weight) for weight in _leaves(features)}
    # a chunk of 1: one loss after the other, as every operator can
    autojac.backward(losses, inputs=reached, parallel_chunk_size=1)
    if common := [weight for weight in reached if id(weight) in shared]:
        autojac.jac_to_grad(common, aggregator)
    if apart := [weight for weight in reached if id(weight) not in shared]:
        autojac.jac_to_grad(apart, Sum())


def _leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The weights that train among those that tensors were computed from."""
    pending = [get_gradient_edge(tensor).node for tensor in tensors if tensor.requires_grad]
    seen, leaves = set(pending), []
    while pending:
        node = pending.pop()
        if (leaf := getattr(node, "variable", None)) is not None:  # an AccumulateGrad
            leaves.append(leaf)
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return leaves


class _LeastSquares(DualConeProjector):
    """Projection onto the dual cone by non-negative least squares.

    TorchJD's own projects no gradients below a norm of 0.01, blurs those that are small beside
    another task's, and needs a solver under the GPL.
    """

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:  # noqa: N803
        """The v >= u of least v' G v, for every row u.

        With v = u + z and G = A' A, that is the z >= 0 of least |A z + A u|.
        """
        from scipy.optimize import nnls

        gramian, rows = (x.detach().double().cpu().numpy() for x in (G, U))
        if not np.isfinite(gramian).all():
            return U  # the plain sum: a diverged run is found by its loss
        norms = np.sqrt(gramian.diagonal())
        norms = np.where(norms > 0, norms, 1.0)  # solved for gradients of norm 1, or 0
        values, vectors = np.linalg.eigh(gramian / np.outer(norms, norms))
        root = np.sqrt(values.clip(0.0))[:, None] * vectors.T
        added = [nnls(root, -root @ (norms * row))[0] / norms for row in rows]
        return torch.as_tensor(rows + np.array(added), dtype=U.dtype, device=U.device)
