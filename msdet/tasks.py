# SPDX-License-Identifier: Apache-2.0
"""The tasks that a network is trained for, their labels, and the weights of their losses."""

from __future__ import annotations

from typing import Literal

Task = Literal["separation", "direction", "distance"]

Label = Literal["targets", "azimuth", "distance"]
"""Labels that an example may lack, and a task or an assignment need."""

LABEL_OF: dict[Task, Label] = {
    "separation": "targets",
    "direction": "azimuth",
    "distance": "distance",
}
"""The label that each task is trained with."""


def task_weights(weight: float, distance_weight: float = 0.0) -> dict[Task, float]:
    """Return the weight of each task's loss; a task of weight 0 is not trained and left out.

    Args:
        weight: w in w * separation + (1 - w) * direction. distance_weight: of distance.
    """
    weights: dict[Task, float] = {
        "separation": weight,
        "direction": 1.0 - weight,
        "distance": distance_weight,
    }
    return {task: weight for task, weight in weights.items() if weight > 0}


def trained_tasks(weight: float, distance_weight: float = 0.0) -> tuple[Task, ...]:
    """Return the tasks of :func:`task_weights`."""
    return tuple(task_weights(weight, distance_weight))
