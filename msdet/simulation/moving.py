# SPDX-License-Identifier: Apache-2.0
"""Sound of a speaker who walks: responses along the path, each of which is heard for a moment.

The sound is cut into overlapping triangular windows that add up to one, and each piece goes through
the response of the place where it was uttered. Windows are so short that nobody moves farther than
:data:`SPACING` from one to the next. What varies is the early response, direct path and first
reflections; the diffuse tail of the first place stays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.simulation.paths import SpeakerPath
from msdet.simulation.rirs import (
    EARLY_MILLISECONDS,
    direct_paths,
    image_response,
    mixed_from,
    stacked,
    wall_reflections,
)
from msdet.simulation.rooms import Room

SPACING = 0.005
"""Metres between neighbouring responses. Halfway between two, a tone of frequency f is off by
``(pi * SPACING * f / c) ** 2 / 2`` of its level: -60 dB at 1 kHz, -36 dB at 4 kHz."""
NEAREST = 0.1
"""Metres: nobody's mouth comes closer to a microphone."""
_TOGETHER = 128
"""Windows that are heard at once: what bounds the memory."""

Responses = NDArray[np.float32]
Places = NDArray[np.float64]


class MovingSource:
    """One speaker who walks.

    Args:
        dry: ``[lead + sample + tail]``, the speech, from `lead` samples before the scene.
        mics: ``[mic, 3]``, metres in the room.
    Raises:
        InputError: the path leads through a wall or a microphone.
    """

    def __init__(
        self,
        room: Room,
        path: SpeakerPath,
        mics: NDArray[np.float64],
        dry: NDArray[np.float32],
        lead: int,
        num_samples: int,
        sample_rate: int,
    ) -> None:
        self.room, self.mics, self.sample_rate = room, mics, sample_rate
        self.lead, self.num_samples = lead, num_samples
        self.hop = _hop(path, sample_rate)
        self.count = -(-(lead + num_samples) // self.hop) + 1
        moments = (np.arange(self.count) * self.hop - lead) / sample_rate
        places = path.at(moments)
        self.places, self.place_of = _in_turn(places)
        self._check(path.speaker)
        self.first = np.array([room.speakers[path.speaker].position])
        self.start = float(mixed_from(room, self.first)[0])
        ramp = np.arange(self.hop, dtype=np.float32) / np.float32(self.hop)
        window = np.concatenate([ramp, 1 - ramp])
        padded = np.zeros((self.count + 1) * self.hop, np.float32)
        known = dry[: self.count * self.hop]
        padded[self.hop : self.hop + len(known)] = known
        view = np.lib.stride_tricks.sliding_window_view(padded, 2 * self.hop)[:: self.hop]
        self.pieces = view * window  # [window, 2 * hop], the first of which is before the sound

    def _check(self, speaker: int) -> None:
        """Refuse paths through walls and microphones."""
        outside = (self.places <= 0) | (self.places >= np.array(self.room.size))
        gaps = np.linalg.norm(self.places[:, None] - self.mics, axis=-1).min(axis=1)
        for wrong, what in (
            (outside.any(axis=1), f"outside of the room of {self.room.size} m"),
            (gaps < NEAREST, f"closer than {NEAREST:g} m to a microphone"),
        ):
            if wrong.any():
                place = ", ".join(f"{x:.2f}" for x in self.places[int(wrong.argmax())])
                raise InputError(f"speaker {speaker} walks to ({place}), {what}")

    def direct(self, mic: int) -> NDArray[np.float32]:
        """Return the direct path at a microphone ``[sample]``."""
        return np.asarray(self._heard(lambda places: self._direct_paths(places, mic))[0])

    def early(self) -> NDArray[np.float32]:
        """Return the sound at all microphones, without the tail, ``[mic, sample]``."""
        return self._heard(self._early_responses)

    def tail_of(self, response: Responses) -> Responses:
        """Return what a response of the first place ``[mic, tap]`` has besides its early part."""
        tail, early = response.copy(), self._early_responses(self.first)[0]
        tail[:, : early.shape[-1]] -= early[:, : tail.shape[-1]]
        return tail

    def up_to(
        self, mic: int, tail: NDArray[np.float32], milliseconds: float = EARLY_MILLISECONDS
    ) -> NDArray[np.float32]:
        """Return what arrives at a microphone up to a time after the direct path ``[sample]``.

        Args:
            tail: :meth:`tail_of` the response there ``[tap]``.
        """
        after = round(milliseconds / 1000 * self.sample_rate)

        def cut(places: Places) -> Responses:
            ends = np.abs(self._direct_paths(places, mic)[:, 0]).argmax(axis=-1) + after
            early = self._early_responses(places)[:, mic]
            whole = np.zeros((len(places), max(early.shape[-1], len(tail))), np.float32)
            whole[:, : early.shape[-1]] = early
            whole[:, : len(tail)] += tail
            whole[np.arange(whole.shape[-1]) > ends[:, None]] = 0
            return whole[:, None, : int(ends.max()) + 1]

        return np.asarray(self._heard(cut)[0])

    def _direct_paths(self, places: Places, mic: int) -> Responses:
        return direct_paths(places, self.mics[mic : mic + 1], self.sample_rate)

    def _early_responses(self, places: Places) -> Responses:
        """``[place, mic, tap]``"""
        room, mics, rate = self.room, self.mics, self.sample_rate
        if room.rirs == "anechoic":
            return direct_paths(places, mics, rate)
        walls = wall_reflections(room)
        return stacked([image_response(room, walls, mics, p, self.start, rate) for p in places])

    def _heard(self, respond: Callable[[Places], Responses]) -> NDArray[np.float32]:
        """Each piece through the response of its place: ``[mic, sample]``.

        Args:
            respond: from places ``[place, 3]`` to responses ``[place, mic, tap]``.
        """
        end = self.lead + self.num_samples + self.hop  # the first piece begins a hop early
        out: NDArray[np.float32] | None = None
        for first in range(0, self.count, _TOGETHER):
            numbers = slice(first, first + _TOGETHER)
            known, which = np.unique(self.place_of[numbers], return_inverse=True)
            responses = respond(self.places[known])
            if out is None:
                out = np.zeros((responses.shape[1], end), np.float32)
            length = 2 * self.hop + responses.shape[-1] - 1
            size = scipy.fft.next_fast_len(length, real=True)
            pieces = scipy.fft.rfft(self.pieces[numbers], size, axis=-1)
            spectra = scipy.fft.rfft(responses, size, axis=-1)[which]
            sounds = scipy.fft.irfft(pieces[:, None] * spectra, size, axis=-1)[..., :length]
            for number, sound in enumerate(sounds, first):
                into = out[:, number * self.hop : number * self.hop + length]
                into += sound[:, : into.shape[-1]]
        assert out is not None  # there are two pieces at least
        return out[:, self.lead + self.hop :]


def _hop(path: SpeakerPath, sample_rate: int) -> int:
    """Samples in which the fastest part of a path is not longer than the spacing."""
    steps = np.linalg.norm(np.diff(path.positions, axis=0), axis=-1) / np.diff(path.times)
    fastest = float(steps.max(initial=0.0))
    if fastest == 0.0:
        return sample_rate
    return max(1, min(sample_rate, int(SPACING / fastest * sample_rate)))


def _in_turn(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The places without those that repeat the last one, and the number among them of each."""
    new = np.ones(len(places), np.bool_)
    new[1:] = (np.diff(places, axis=0) != 0).any(axis=1)
    return places[new], np.cumsum(new) - 1
