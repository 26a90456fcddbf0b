# SPDX-License-Identifier: Apache-2.0
"""How the tasks' gradients lie to each other on shared weights: whether the tasks fight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import Parameter

from msdet.tasks import Task


def measure_gradients(
    losses: Mapping[Task, Tensor], parameters: Iterable[Parameter]
) -> dict[str, Tensor]:
    """Norms of the tasks' gradients and the cosines between them, as scalars without a graph.

    A cosine below zero says that a step for one task undoes some of the other's (the conflict of
    Yu et al., "Gradient surgery for multi-task learning", 2020).

    Args:
        losses: unweighted, by task; their graph is kept.
        parameters: the shared weights; those that do not train are left out.
    Returns:
        ``gradient_norm_<task>``, and for each two tasks ``gradient_cosine_<task>_<task>``; nothing
        where no weight is shared or there is one task only.
    """
    shared = [p for p in parameters if p.requires_grad]
    if len(losses) < 2 or not shared:
        return {}
    gradients = {task: _gradient(loss, shared) for task, loss in losses.items()}
    norms = {task: gradient.norm() for task, gradient in gradients.items()}
    measured = {f"gradient_norm_{task}": norm for task, norm in norms.items()}
    for one, other in combinations(losses, 2):
        product = torch.dot(gradients[one], gradients[other])
        floor = torch.finfo(product.dtype).tiny
        cosine = product / (norms[one] * norms[other]).clamp_min(floor)
        measured[f"gradient_cosine_{one}_{other}"] = cosine
    return measured


def _gradient(loss: Tensor, parameters: list[Parameter]) -> Tensor:
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(parameters, found, strict=True)
        ]
    )
