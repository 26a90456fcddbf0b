# SPDX-License-Identifier: Apache-2.0
"""The weights of a network for planar arrays, as a network for lines can begin from them.

Microphones on a line hear azimuths t and -t alike. So what reads the two looks of a circle reads
one look of a half circle with the sum of its weights, and hears the same as before; what puts out
both puts out their mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def fold_looks(
    weights: Mapping[str, Tensor], looks: int, classes: int, num_slots: int
) -> dict[str, Tensor]:
    """Return weights of a network for planar arrays as those of one for lines.

    Args:
        weights: of a network with the directional frontend, or of some of its parts.
        looks, classes: look directions and azimuth classes on the line; there are
            ``2 * (looks - 1)`` and ``2 * (classes - 1)`` on the circle.
        num_slots: of both networks.
    """
    out = dict(weights)
    fold = _fold(looks)
    for name, weight in weights.items():
        part = name.split(".")[0]
        if part.endswith("encoder") and weight.ndim == 4 and weight.shape[1] == fold.shape[1] + 2:
            out[name] = _sum_read(weight, fold)
        elif name.startswith("coarse_head.histogram"):
            out[name] = _average_put_out(weight, fold)
        elif name.startswith("coarse_head.out"):
            out[name] = _coarse_output(weight, fold, num_slots)
        elif name.startswith("fine_head.bias"):
            out[name] = _average_put_out(weight, _fold(classes))
    return out


def _fold(count: int) -> Tensor:
    """Return which of ``count`` looks of a line each look of a circle is, one or zero
    ``[line, circle]``."""
    around = torch.arange(2 * (count - 1))
    return F.one_hot(torch.minimum(around, len(around) - around), count).T.float()


def _sum_read(weight: Tensor, fold: Tensor) -> Tensor:
    """Sum over looks along dimension 1; what stands behind them there stays."""
    looks, others = weight[:, : fold.shape[1]], weight[:, fold.shape[1] :]
    return torch.cat([torch.einsum("oc...,lc->ol...", looks, fold), others], dim=1)


def _average_put_out(weight: Tensor, fold: Tensor) -> Tensor:
    """Average over looks along dimension 0; what stands behind them there stays."""
    looks, others = weight[: fold.shape[1]], weight[fold.shape[1] :]
    shares = fold / fold.sum(dim=1, keepdim=True)
    return torch.cat([torch.einsum("c...,lc->l...", looks, shares), others])


def _coarse_output(weight: Tensor, fold: Tensor, num_slots: int) -> Tensor:
    """Fold the coarse head's last layer, or its bias: from ``channel x look`` and a summary of
    ``channel`` numbers to ``slot x (look and, where slots may be empty, nobody)``."""
    slots = [_average_put_out(rows, fold) for rows in weight.chunk(num_slots)]
    out = torch.cat(slots)
    if out.ndim == 1:
        return out
    channels = out.shape[1] // (fold.shape[1] + 1)
    looks, summary = out[:, :-channels].reshape(len(out), channels, -1), out[:, -channels:]
    return torch.cat([torch.einsum("okc,lc->okl", looks, fold).flatten(1), summary], dim=1)
