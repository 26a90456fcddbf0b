# SPDX-License-Identifier: Apache-2.0
"""Which output of a window belongs to which speaker of the recording.

A network orders its slots anew in every window, and people come and go. A *track* is one speaker
of the whole recording. :class:`DirectionAndVoice` gives each slot in which somebody speaks to the
track that it is most like, or begins a new one; :class:`Permutation` is what is usually done
(Chen et al., "Continuous speech separation", ICASSP 2020, arXiv 2001.11482): the permutation that
agrees best with the last window where the two overlap, which forgets whoever was silent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import angular_error
from msdet.inference.activity import (
    MIXTURE_RANGE_DB,
    Powers,
    activities_of,
    frame_length,
    frame_powers,
)
from msdet.inference.estimates import WindowEstimate

Stitching = Literal["direction_and_voice", "permutation"]

_DIRECTION_DEGREES = 10.0
"""Azimuths that differ by as much cost 1; the trained models' errors are mostly below. Of 16 valid
conversations of a minute, 15 leaves 1.2 % of the speech with somebody else, 6 to 10 leave .3 %."""
_DIRECTION_LIMIT = 60.0
"""Degrees from which on two directions are simply different."""
_OVERLAP_COST = 3.0
"""Of two estimates that have nothing in common where they overlap."""
_VOICE_DECIBELS = 4.0
"""Mean log-mel spectra that differ by as much (root mean square over bands) cost 1."""
_VOICE_LIMIT = 12.0
_BIRTH_COST = 4.5
"""A slot that is less like every track than this begins a new one: from 45 degrees on a direction
of its own alone does; below, with nothing in common in the overlap or another voice."""
_UNHEARD_COST = 2.0
"""Of a track that nobody has spoken in: sooner than a new one, later than one that fits."""
_BIRTH_SECONDS = 0.5
"""Of speech in a window, that a new track needs."""

SHORTEST_SPEAKER = 1.0
"""Seconds of speech that somebody must have in a recording of several windows to be put out."""


@dataclass
class Track:
    """What is known of a speaker so far.

    Attributes:
        azimuth: degrees, of the last speech. voice: mean of the windows' ``voice``, weighted by
            the seconds of speech in them. spoken: these seconds.
        tail: float32 ``[sample]``, what the last window shares with the next one.
    """

    azimuth: float
    voice: NDArray[np.float64]
    spoken: float
    tail: NDArray[np.float32] = field(repr=False)

    def hear(
        self, azimuth: float, voice: NDArray[np.float64], seconds: float, surely: bool
    ) -> None:
        """Speech in one more window."""
        if seconds <= 0.0:
            return
        if surely or np.isnan(self.azimuth):
            self.azimuth = azimuth
        total = self.spoken + seconds
        self.voice = (self.spoken * self.voice + seconds * voice) / total
        self.spoken = total


class Stitcher(Protocol):
    """Gives slots to tracks, and keeps the tracks."""

    tracks: list[Track]

    def place(
        self, estimate: WindowEstimate, spoken: Sequence[float], mixture: NDArray[np.float32]
    ) -> list[int | None]:
        """The track of each slot, be it a new one; None for what belongs to nobody.

        Args:
            spoken: seconds in which each slot holds speech. mixture: the reference microphone.
        """


class DirectionAndVoice:
    """By direction, by what overlapping windows have in common, and by voice.

    The cost of giving a slot to a track adds up: the angle between them; where either is heard
    in the overlap, how little they have in common there; where neither is, how much their
    long-term spectra differ. Slots in which somebody speaks go first, at the least total cost.
    """

    def __init__(self, overlap: int, linear: bool, max_speakers: int | None) -> None:
        self.tracks: list[Track] = []
        self._overlap, self._linear = overlap, linear
        self._max_speakers = max_speakers

    def place(
        self, estimate: WindowEstimate, spoken: Sequence[float], mixture: NDArray[np.float32]
    ) -> list[int | None]:
        placed: list[int | None] = [None] * len(spoken)
        if not self.tracks:
            most = sorted(range(len(spoken)), key=lambda slot: -spoken[slot])[: self._max_speakers]
            for slot in sorted(most):
                placed[slot] = self._begin(estimate, slot)
        else:
            cost = self._costs(estimate, mixture[: self._overlap])
            speaking = [slot for slot, seconds in enumerate(spoken) if seconds > 0]
            self._place_speaking(estimate, speaking, spoken, cost, placed)
            free = [track for track in range(cost.shape[1]) if track not in placed]
            quiet = [slot for slot in range(len(spoken)) if slot not in speaking]
            for slot, choice in zip(quiet, _cheapest(cost[np.ix_(quiet, free)]), strict=True):
                placed[slot] = None if choice is None else free[choice]
        for slot, track in enumerate(placed):
            if track is not None:
                surely = spoken[slot] >= _BIRTH_SECONDS
                azimuth, voice = float(estimate.azimuth[slot]), estimate.voice[slot]
                self.tracks[track].hear(azimuth, voice, spoken[slot], surely)
        return placed

    def _place_speaking(
        self,
        estimate: WindowEstimate,
        speaking: list[int],
        spoken: Sequence[float],
        cost: NDArray[np.float64],
        placed: list[int | None],
    ) -> None:
        known, room = len(self.tracks), len(speaking)
        if self._max_speakers is not None:  # who hardly spoke does not keep others out
            settled = sum(track.spoken >= SHORTEST_SPEAKER for track in self.tracks)
            room = min(room, max(0, self._max_speakers - settled))
        births = np.full((len(speaking), room), _BIRTH_COST)
        for row, slot in enumerate(speaking):
            if spoken[slot] < _BIRTH_SECONDS:
                births[row] = np.inf
        choices = _cheapest(np.concatenate([cost[speaking], births], axis=1))
        for slot, choice in zip(speaking, choices, strict=True):
            if choice is not None:
                placed[slot] = choice if choice < known else self._begin(estimate, slot)

    def _begin(self, estimate: WindowEstimate, slot: int) -> int:
        silence = np.zeros(self._overlap, np.float32)
        azimuth = float(estimate.azimuth[slot])
        self.tracks.append(Track(azimuth, estimate.voice[slot], 0.0, silence))
        return len(self.tracks) - 1

    def _costs(self, estimate: WindowEstimate, mixture: NDArray[np.float32]) -> NDArray[np.float64]:
        """``[slot, track]``."""
        cost = np.zeros((len(estimate.audio), len(self.tracks)))
        floor = float(np.square(mixture).sum()) * 10 ** (-MIXTURE_RANGE_DB / 10)
        for slot, number in np.ndindex(cost.shape):
            track = self.tracks[number]
            if track.spoken == 0.0:
                cost[slot, number] = _UNHEARD_COST
                continue
            between = self._angle(float(estimate.azimuth[slot]), track.azimuth)
            cost[slot, number] = min(between, _DIRECTION_LIMIT) / _DIRECTION_DEGREES
            common = _in_common(estimate.audio[slot, : len(mixture)], track.tail, floor)
            if common is not None:
                cost[slot, number] += _OVERLAP_COST * (1.0 - common)
            else:
                apart = np.sqrt(np.square(estimate.voice[slot] - track.voice).mean())
                cost[slot, number] += min(float(apart), _VOICE_LIMIT) / _VOICE_DECIBELS
        return cost

    def _angle(self, one: float, other: float) -> float:
        """Degrees; 0 where a model says no directions."""
        if np.isnan(one) or np.isnan(other):
            return 0.0
        return float(angular_error(one, other, self._linear))


class Permutation:
    """As many tracks as slots, by the permutation of most correlation in the overlap."""

    def __init__(self, num_slots: int, overlap: int) -> None:
        self.tracks: list[Track] = []
        self._num_slots, self._overlap = num_slots, overlap

    def place(
        self, estimate: WindowEstimate, spoken: Sequence[float], mixture: NDArray[np.float32]
    ) -> list[int | None]:
        slots = len(estimate.audio)
        while len(self.tracks) < min(self._num_slots, max(slots, len(self.tracks))):
            slot = len(self.tracks)
            silence = np.zeros(self._overlap, np.float32)
            azimuth, voice = float(estimate.azimuth[slot]), estimate.voice[slot]
            self.tracks.append(Track(azimuth, voice, 0.0, silence))
        if not self.tracks:
            return []
        heads = estimate.audio[:, : self._overlap]
        tails = np.stack([track.tail for track in self.tracks])[:, : heads.shape[1]]
        norms = np.linalg.norm(heads, axis=1)[:, None] * np.linalg.norm(tails, axis=1)
        return _cheapest(-(heads @ tails.T) / np.maximum(norms, 1e-12))


def make_stitcher(
    stitching: Stitching,
    *,
    overlap: int,
    num_slots: int,
    linear: bool,
    max_speakers: int | None = None,
) -> Stitcher:
    """The stitcher of this name.

    Args:
        overlap: samples that two windows share.
        max_speakers: tracks of some length at most; None for as many as are found. Of
            `direction_and_voice`.
    """
    if stitching == "permutation":
        return Permutation(num_slots, overlap)
    return DirectionAndVoice(overlap, linear, max_speakers)


def spoken_seconds(
    estimate: WindowEstimate, mixture: Powers, loud: float, sample_rate: int
) -> list[float]:
    """How long each slot of a window holds speech.

    Args:
        mixture: of the reference microphone in the window's frames. loud: of the recording so far.
    """
    seconds = frame_length(sample_rate) / sample_rate
    active = activities_of(frame_powers(estimate.audio, sample_rate), mixture, seconds, loud)
    return [float(frames.sum() * seconds) for frames in active]


def _in_common(head: NDArray[np.float32], tail: NDArray[np.float32], floor: float) -> float | None:
    """Inner product over the larger energy, 0 to 1; None where neither is above the floor."""
    size = min(len(head), len(tail))
    energies = float(np.square(head).sum()), float(np.square(tail).sum())
    if max(energies) <= floor:
        return None
    return min(1.0, max(0.0, float(head[:size] @ tail[:size]) / max(energies)))


def _cheapest(cost: NDArray[np.float64]) -> list[int | None]:
    """The column of each row at the least total cost; None for rows that get none."""
    from scipy.optimize import linear_sum_assignment

    chosen: list[int | None] = [None] * len(cost)
    if cost.size:
        # linear_sum_assignment refuses infinity where it cannot be avoided
        rows, columns = linear_sum_assignment(np.minimum(cost, 1e6))
        for row, column in zip(rows, columns, strict=True):
            chosen[row] = int(column) if cost[row, column] < np.inf else None
    return chosen
