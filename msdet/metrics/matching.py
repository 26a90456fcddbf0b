# SPDX-License-Identifier: Apache-2.0
"""The matching of slots and speakers: the least mean cost, its margin, its meaning.

Where ``signals`` is asked for, it is a number of each slot ``[slot]`` that slots of the same audio
share, None for silence: which of those is whose, the audio does not say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def match_active(
    cost: NDArray[np.float64], active: Sequence[int]
) -> tuple[tuple[int | None, ...], float | None]:
    """``match`` over the active speakers alone, in the scene's own numbering of speakers."""
    columns, margin = match(cost[:, list(active)])
    named = tuple(None if column is None else active[column] for column in columns)
    return named, None if margin is None else round(margin, 6)


def wrong_slots(
    by_separation: Sequence[int | None],
    by_azimuth: Sequence[int | None] | None,
    signals: Sequence[int | None],
) -> tuple[bool | None, ...]:
    """``[slot]``: whether two matchings differ; None where one of them says nothing."""
    if by_azimuth is None:
        return (None,) * len(by_separation)
    return tuple(
        None
        if speaker is None or signals[slot] is None or signals.count(signals[slot]) > 1
        else speaker != by_azimuth[slot]
        for slot, speaker in enumerate(by_separation)
    )


def in_order(
    speaker_of_slot: Sequence[int | None],
    order: Sequence[int],
    signals: Sequence[int | None],
) -> bool | None:
    """Return whether the speakers come in this order, silence and who is left over aside.

    None where fewer than two are heard, or where a speaker's slot holds the same as another.

    >>> in_order([2, None, 0], order=[2, 1, 0], signals=[0, None, 2])
    True
    """
    heard = [s for s, signal in zip(speaker_of_slot, signals, strict=True) if signal is not None]
    found = [speaker for speaker in heard if speaker is not None]
    shared = any(
        speaker is not None and signal is not None and signals.count(signal) > 1
        for speaker, signal in zip(speaker_of_slot, signals, strict=True)
    )
    if shared or len(found) < 2:
        return None
    return found == [int(speaker) for speaker in order if speaker in found]
