# SPDX-License-Identifier: Apache-2.0
"""Gradients of several losses without conflict on what they share, by TorchJD's UPGrad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torchjd import autojac
from torchjd.aggregation import Sum, UPGrad
from torchjd.linalg import DualConeProjector, PSDMatrix


def backward(losses: Sequence[Tensor], features: Sequence[Tensor]) -> None:
    """Add gradients to ``.grad``: aggregated where losses share weights, else their sum.

    Shared are the weights that the features were computed from. The graph is freed.

    Whole gradients, not ``torchjd.autojac.mtl_backward``: that one goes from losses to features,
    then from features to weights, and so would count twice what reaches a feature that another one
    is computed from, as a U-Net's lowest is.

    Args:
        losses: weighted scalars; of frozen parts alone, a loss has no gradient, and is left out.
        features: where their graphs part.
    """
    losses = [loss for loss in losses if loss.requires_grad]
    # A sum, as with fixed weights: the paper's mean would give shared weights a smaller gradient
    # than the heads'.
    aggregator = UPGrad(torch.ones_like(torch.stack(losses)), _LeastSquares())
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
