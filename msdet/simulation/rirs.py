# SPDX-License-Identifier: Apache-2.0
"""Room to room impulse responses, by the image-source method, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation.acoustics import measure_drr, measure_t60
from msdet.simulation.config import sabine_absorption
from msdet.simulation.image_sources import DELAY, image_sources, sum_images
from msdet.simulation.rooms import Room

METHOD = "ism-1"
"""Changes whenever this file computes something else; part of what names a stored response."""


@dataclass(frozen=True)
class Rirs:
    """Responses of one room.

    Attributes:
        image: float32 ``[speaker, mic, tap]``, 1/d at a distance of d metres.
        direct: float32 ``[speaker, mic, tap]``, the direct path alone; shorter.
        delay: samples by which both are late beyond the travel of the sound.
        t60_measured: seconds; T20 (-5 to -25 dB), mean over speakers and microphones.
        drr_db: float32 ``[speaker, mic]``, direct-to-reverberant ratio.
    """

    image: NDArray[np.float32]
    direct: NDArray[np.float32]
    delay: int
    sample_rate: int
    t60_measured: float
    drr_db: NDArray[np.float32]

    def permuted(self, permutation: Sequence[int]) -> Rirs:
        """The same responses with the microphones read in another order."""
        order = list(permutation)
        return replace(
            self,
            image=self.image[:, order],
            direct=self.direct[:, order],
            drr_db=self.drr_db[:, order],
        )

    def early(self, mic: int, milliseconds: float = 50.0) -> NDArray[np.float32]:
        """Responses ``[speaker, tap]`` at a microphone, up to a time after the direct peak."""
        after = round(milliseconds / 1000 * self.sample_rate)
        ends = np.abs(self.direct[:, mic]).argmax(axis=-1) + after
        taps = np.arange(self.image.shape[-1])
        return np.where(taps <= ends[:, None], self.image[:, mic], np.float32(0))


def compute_rirs(room: Room, array: MicrophoneArray, sample_rate: int) -> Rirs:
    """Responses of a room by the image-source method (Allen and Berkley, 1979).

    Walls absorb alike, by Sabine's formula. Image sources reach as far as sound travels in the
    asked T60; the weakest, which together carry less than -60 dB of the energy, are left out.
    No high-pass (pyroomacoustics' default one is zero-phase and rings before the direct path).

    Raises:
        InputError: the room cannot reach its T60, or a microphone is outside of it.
    """
    mics = room.microphones(array)
    sources = np.array([s.position for s in room.speakers])
    size = np.array(room.size)
    inside = np.concatenate([mics, sources])
    if (inside <= 0).any() or (inside >= size).any():
        raise InputError(f"room of {room.size} m: a microphone or speaker stands outside of it")
    absorption = sabine_absorption(room.size, room.t60)
    if absorption > 1:
        raise InputError(f"t60={room.t60:g}: not reachable in a room of {room.size} m")

    image, direct = [], []
    for source in sources:
        found = image_sources(room.size, source, room.array_centre, absorption, room.t60)
        image.append(sum_images(*found, mics, sample_rate))
        direct.append(sum_images(source[:, None], np.ones(1), mics, sample_rate))
    stacked, order_zero = _stack(image), _stack(direct)
    return Rirs(
        image=stacked,
        direct=order_zero,
        delay=DELAY,
        sample_rate=sample_rate,
        t60_measured=measure_t60(stacked, sample_rate),
        drr_db=measure_drr(stacked, order_zero, sample_rate),
    )


def _stack(responses: list[list[NDArray[np.float32]]]) -> NDArray[np.float32]:
    """``[speaker, mic, tap]``, zeros at the end where one is shorter."""
    taps = max(len(r) for row in responses for r in row)
    stacked = np.zeros((len(responses), len(responses[0]), taps), np.float32)
    for s, row in enumerate(responses):
        for m, response in enumerate(row):
            stacked[s, m, : len(response)] = response
    return stacked
