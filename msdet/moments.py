# SPDX-License-Identifier: Apache-2.0
"""The moments at which labels and results say where somebody is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TRACK_SECONDS = 0.1
"""Between two of them."""


def moments_of(seconds: float) -> NDArray[np.float64]:
    """Return the moments ``[moment]`` of so many seconds, from their start to behind their end.

    >>> moments_of(0.25).round(1).tolist()
    [0.0, 0.1, 0.2, 0.3]
    """
    count = math.ceil(round(seconds / TRACK_SECONDS, 6)) + 1  # .3 / .1 is a little less than 3
    return np.asarray(np.arange(count) * TRACK_SECONDS, np.float64)
