# SPDX-License-Identifier: Apache-2.0
"""The matching of slots and speakers: the least mean cost, and its margin."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_FORBIDDEN = 1e9


def match(cost: ArrayLike) -> tuple[tuple[int | None, ...], float | None]:
    """Give each speaker a slot of its own such that the mean cost is the least.

    Args:
        cost: ``[slot, speaker]``, finite, at least as many slots as speakers.
    Returns:
        ``[slot]`` -> speaker, or None for a slot left over, and by how much the second best
        matching is worse on average over the speakers (None where there is no second).
    """
    from scipy.optimize import linear_sum_assignment

    costs = np.asarray(cost, np.float64)
    num_slots, num_speakers = costs.shape
    if num_speakers == 0:
        return (None,) * num_slots, None

    slots, speakers = linear_sum_assignment(costs)
    best = costs[slots, speakers].sum()
    # Any other matching lacks at least one pair of the best: forbid each of them in turn.
    second = math.inf
    for slot, speaker in zip(slots, speakers, strict=True):
        without = costs.copy()
        without[slot, speaker] = _FORBIDDEN
        second = min(second, without[linear_sum_assignment(without)].sum())
    speaker_of_slot: list[int | None] = [None] * num_slots
    for slot, speaker in zip(slots, speakers, strict=True):
        speaker_of_slot[slot] = int(speaker)
    margin = None if second > _FORBIDDEN / 2 else float(second - best) / num_speakers
    return tuple(speaker_of_slot), margin
