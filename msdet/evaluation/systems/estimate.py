# SPDX-License-Identifier: Apache-2.0
"""The input of systems, and their output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import MicrophoneArray
from msdet.simulation import Example, Parts


@dataclass(frozen=True)
class Heard:
    """A rendered scene.

    Attributes:
        example: mixture ``[mic, sample]`` with the reference microphone at an RMS of 1, targets
            ``[speaker, sample]``, azimuths; see :class:`msdet.simulation.Example`.
        array: as planned, which is what every system is told.
        parts: what the mixture is the sum of, for ceilings and metrics that look at the truth.
    """

    example: Example
    array: MicrophoneArray
    parts: Parts

    @property
    def reference_mic(self) -> int:
        return self.example.scene.reference_mic

    @property
    def sample_rate(self) -> int:
        return self.example.scene.sample_rate

    @property
    def reference(self) -> NDArray[np.float32]:
        """The mixture at the reference microphone ``[sample]``."""
        channel: NDArray[np.float32] = self.example.mixture[self.reference_mic]
        return channel


@dataclass(frozen=True)
class Estimate:
    """The output of a system for one scene.

    Attributes:
        audio: float32 ``[slot, sample]`` at the reference microphone; None of a system that finds
            directions alone.
        azimuth: float64 ``[slot]`` degrees in the array's frame, NaN for a slot that claims none;
            None of a system that separates alone.
        distance: float64 ``[slot]`` metres; None of a system that does not say.
        empty: bool ``[slot]``, nobody is there; None of a system that cannot say so.
        track: float64 ``[slot, moment]`` degrees, every ``msdet.moments.TRACK_SECONDS``;
            None of a system that says one direction a slot.
        posterior: float32 ``[slot, class]``, for pictures; None of a system without one.
    """

    audio: NDArray[np.float32] | None
    azimuth: NDArray[np.float64] | None = None
    distance: NDArray[np.float64] | None = None
    empty: NDArray[np.bool_] | None = None
    posterior: NDArray[np.float32] | None = None
    track: NDArray[np.float64] | None = None
