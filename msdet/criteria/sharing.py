# SPDX-License-Identifier: Apache-2.0
"""Penalties on weights: what holds the tasks' encoders together, and what thins a network out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def weight_distance(one: nn.Module, other: nn.Module) -> Tensor:
    """Mean squared distance between matching weights: the penalty of soft parameter sharing
    (Duong et al., ACL 2015).

    Args:
        one, other: networks of one architecture.
    """
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    total = torch.stack([(a - b).square().sum() for a, b in pairs]).sum()
    return total / sum(a.numel() for a, _ in pairs)


def weight_magnitude(network: nn.Module) -> Tensor:
    """Sum of the weights' absolute values (lasso); biases and normalisations are left alone."""
    return torch.stack([w.abs().sum() for w in network.parameters() if w.ndim > 1]).sum()
