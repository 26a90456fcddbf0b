# SPDX-License-Identifier: Apache-2.0
"""Gradients of two tasks on shared weights: known angles, and a graph that is kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from msdet.criteria.gradients import measure_gradients


@pytest.mark.parametrize(
    ("other", "cosine"), [((2.0, 0.0), 1.0), ((0.0, 3.0), 0.0), ((-1.0, 0.0), -1.0)]
)
def test_norms_and_cosine_of_known_gradients(other: tuple[float, float], cosine: float) -> None:
    shared = nn.Parameter(torch.tensor([0.3, -0.7]))
    losses = {
        "separation": 5.0 * shared[0],
        "direction": (shared * torch.tensor(other)).sum(),
    }
    found = measure_gradients(losses, [shared])
    assert float(found["gradient_norm_separation"]) == pytest.approx(5.0)
    assert float(found["gradient_norm_direction"]) == pytest.approx(sum(abs(x) for x in other))
    measured = float(found["gradient_cosine_separation_direction"])
    assert measured == pytest.approx(cosine, abs=1e-6)
    assert shared.grad is None
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert shared.grad is not None


def test_a_task_that_does_not_reach_a_weight_counts_as_zero_there() -> None:
    first, second = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    found = measure_gradients({"separation": 3 * first, "direction": 4 * second}, [first, second])
    assert float(found["gradient_norm_separation"]) == 3
    assert float(found["gradient_norm_direction"]) == 4
    assert float(found["gradient_cosine_separation_direction"]) == 0


def test_one_task_or_frozen_weights_measure_nothing() -> None:
    shared = nn.Parameter(torch.tensor(1.0))
    assert measure_gradients({"separation": 2 * shared}, [shared]) == {}
    losses = {"separation": 2 * shared, "direction": 3 * shared}
    frozen = nn.Parameter(torch.tensor(1.0), requires_grad=False)
    assert measure_gradients(losses, [frozen]) == {}
