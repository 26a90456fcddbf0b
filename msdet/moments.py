# SPDX-License-Identifier: Apache-2.0
"""The moments at which labels and results say where somebody is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TRACK_SECONDS = 0.1
"""Between two of them."""


def nearest_known(
    seconds: NDArray[np.float64], degrees: NDArray[np.float64], moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the degrees of the nearest of some times, at moments ``[moment]``; NaN without any.

    Args:
        seconds: ascending ``[time]``. degrees: at these ``[time]``. moments: seconds.

    >>> nearest_known(np.array([0.1, 0.5]), np.array([10.0, 20.0]), moments_of(0.6)).tolist()
    [10.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0]
    """
    if not len(seconds):
        return np.full(len(moments), np.nan)
    after = np.searchsorted(seconds, moments).clip(max=len(seconds) - 1)
    before = (after - 1).clip(min=0)
    earlier = np.abs(seconds[before] - moments) <= np.abs(seconds[after] - moments) + 1e-9
    return degrees[np.where(earlier, before, after)]


def moments_of(seconds: float) -> NDArray[np.float64]:
    """Return the moments ``[moment]`` of so many seconds, from their start to behind their end.

    >>> moments_of(0.25).round(1).tolist()
    [0.0, 0.1, 0.2, 0.3]
    """
    count = math.ceil(round(seconds / TRACK_SECONDS, 6)) + 1  # .3 / .1 is a little less than 3
    return np.asarray(np.arange(count) * TRACK_SECONDS, np.float64)
