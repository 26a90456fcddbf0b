# SPDX-License-Identifier: Apache-2.0
"""Noise: what the microphones hear besides the speakers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sensor_noise(seed: int, num_mics: int, num_samples: int) -> NDArray[np.float32]:
    """White Gaussian noise of unit variance ``[mic, sample]``, independent per microphone."""
    generator = np.random.Generator(np.random.SFC64(seed))
    return generator.standard_normal((num_mics, num_samples), dtype=np.float32)
