# SPDX-License-Identifier: Apache-2.0
"""Directions over time, held against speakers who walk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import angular_error

WITHIN_DEGREES = (5, 10, 15)
"""How near an azimuth is to count as right."""

_HEARD_DB = -30.0
"""Someone is heard at a moment whose tenth of a second has as much of the loudest one's energy."""
_SWITCH_DEGREES = 10.0
"""By as much must two tracks fit better with their speakers exchanged than as they were."""

Track = NDArray[np.float64]
"""Degrees ``[slot or speaker, moment]``."""


def heard_moments(
    signals: NDArray[np.float64], sample_rate: int, seconds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return whether each of the signals ``[speaker, sample]`` is heard around each moment.

    Args:
        seconds: the moments ``[moment]``, evenly apart.
    Returns:
        ``[speaker, moment]``.
    """
    half = round((seconds[1] - seconds[0]) / 2 * sample_rate)
    energy = np.cumsum(np.pad(np.square(signals), ((0, 0), (1, 0))), axis=1)
    around = np.round(seconds * sample_rate).astype(np.int64)
    ends = [np.clip(around + side, 0, signals.shape[1]) for side in (-half, half)]
    within = energy[:, ends[1]] - energy[:, ends[0]]
    loudest = within.max(axis=1, keepdims=True)
    return np.asarray((within > loudest * 10 ** (_HEARD_DB / 10)) & (loudest > 0))


def track_errors(claimed: Track, true: Track, heard: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean errors in degrees ``[slot, speaker]`` over the moments at which a speaker is
    heard, of which one without a direction counts as 180; NaN for a slot that claims nothing at
    all, and for a speaker who is never heard.

    Args:
        claimed: ``[slot, moment]``, NaN where nothing is claimed. true, heard: ``[speaker,
            moment]``.
    """
    errors = np.nan_to_num(angular_error(claimed[:, None], true[None]), nan=180.0)
    count = heard.sum(axis=-1)
    mean = (errors * heard).sum(axis=-1) / np.maximum(count, 1)
    nothing = np.isnan(claimed).all(axis=-1, keepdims=True) | (count == 0)
    return np.where(nothing, np.nan, mean)


def frames_within(
    claimed: NDArray[np.float64], true: NDArray[np.float64], heard: NDArray[np.bool_]
) -> dict[int, float]:
    """Return, by a limit in degrees, the share of the moments at which a speaker is heard with at
    most that error; a moment at which nothing is claimed is 180 degrees off.

    Args:
        claimed, true: degrees ``[moment]``. heard: ``[moment]``.
    """
    errors = np.nan_to_num(angular_error(claimed[heard], true[heard]), nan=180.0)
    return {limit: round(float((errors <= limit).mean()), 6) for limit in WITHIN_DEGREES}


def identity_switches(
    claimed: Track, true: Track, heard: NDArray[np.bool_], slots: Mapping[int, int]
) -> int | None:
    """Return how often tracks of two speakers change over from one to the other, and back; None
    where there are no two tracks.

    Two tracks have changed over where they fit better with the speakers exchanged, by 10 degrees
    in the mean of the two; between these moments they are as they were.

    Args:
        slots: of each speaker, the slot that holds the voice.
    """
    known = [speaker for speaker, slot in slots.items() if np.isfinite(claimed[slot]).any()]
    if len(known) < 2:
        return None
    switches = 0
    for one, other in itertools.combinations(known, 2):
        pair, swapped = [slots[one], slots[other]], [slots[other], slots[one]]
        both = heard[one] & heard[other]
        truth = true[[one, other]][:, both]
        straight = angular_error(claimed[pair][:, both], truth).mean(axis=0)
        crossed = angular_error(claimed[swapped][:, both], truth).mean(axis=0)
        states = np.sign(straight - crossed)[np.abs(straight - crossed) >= _SWITCH_DEGREES]
        switches += int((np.diff(states) != 0).sum())
    return switches
