# SPDX-License-Identifier: Apache-2.0
"""The short-time spectra that the classical systems work on: one window for all of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msdet.audio import Stft

_HALF_WINDOW_SECONDS = 0.032
"""Filters of one weight per frequency need a window that holds the direct path and the first
echoes; 64 ms also served the network better than 32 ms in rooms like those that are scored."""

_OVERLAP = 4
"""Hops in a window, so 16 ms: the masks of overlapping frames are averaged."""


class Spectra:
    """To short-time spectra in double precision and back, at a sample rate in hertz."""

    def __init__(self, sample_rate: int) -> None:
        self.window = 2 * round(_HALF_WINDOW_SECONDS * sample_rate)
        self._stft = Stft(self.window, self.window // _OVERLAP).double()
        self.frequencies: NDArray[np.float64] = self._stft.frequencies(sample_rate)

    def of(self, audio: NDArray[np.floating]) -> Tensor:
        """``[..., sample]`` to complex128 ``[..., freq, frame]``."""
        spectra: Tensor = self._stft(torch.from_numpy(np.asarray(audio, np.float64)))
        return spectra

    def audio(self, spectra: Tensor, num_samples: int) -> NDArray[np.float32]:
        """Complex ``[..., freq, frame]`` to float32 ``[..., sample]``."""
        return np.asarray(self._stft.inverse(spectra, num_samples).numpy(), np.float32)
