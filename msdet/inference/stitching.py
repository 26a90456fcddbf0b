# SPDX-License-Identifier: Apache-2.0
"""Speakers of a window given to the speakers of the recording, by direction and voice.

A network orders its slots anew in every window, and people come and go. The cost of giving a
speaker of a window to a track adds up: the angle between them; where either is heard in what two
windows share, how little they have in common there; where neither is, how much their long-term
spectra differ. Those who speak go first, at the least total cost; who is like no track begins one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from msdet.geometry import angular_error
from msdet.inference.activity import MIXTURE_RANGE_DB
from msdet.inference.window_network import WindowSpeakers

_DIRECTION_DEGREES = 10.0
"""Azimuths that differ by as much cost 1; the trained models' errors are mostly below. Of 16 valid
conversations of a minute, 15 leaves 1.2 % of the speech with somebody else, 6 to 10 leave .3 %."""
_DIRECTION_LIMIT = 60.0
"""Degrees from which on two directions are simply different."""
_OVERLAP_COST = 3.0
"""Cost of two signals that have nothing in common where they overlap."""
_VOICE_DECIBELS = 4.0
"""Mean log-mel spectra that differ by as much (root mean square over bands) cost 1."""
_VOICE_LIMIT = 12.0
_BIRTH_COST = 4.5
"""Who is less like every track than this begins a new one: from 45 degrees on a direction of its
own alone does; below, with nothing in common in the overlap or another voice."""
_UNHEARD_COST = 2.0
"""Cost of a track that nobody has spoken in: sooner than a new one, later than one that fits."""
_BIRTH_SECONDS = 0.5
"""Seconds of speech in a window that a new track needs."""

SHORTEST_SPEAKER = 1.0
"""Seconds of speech that somebody must have in a recording of several windows to be put out."""


@dataclass
class Known:
    """A speaker of the recording, as far as known yet.

    Attributes:
        tail: float32 ``[sample]``, what the last window shares with the next one.
        azimuth: degrees, of the last speech. voice: mean of the windows' ``voice``, weighted by
            the seconds of speech in them. spoken: these seconds.
    """

    tail: NDArray[np.float32] = field(repr=False)
    azimuth: float = np.nan
    voice: NDArray[np.float64] | float = 0.0
    spoken: float = 0.0

    def hear(self, azimuth: float, voice: NDArray[np.float64], seconds: float) -> None:
        """Take so much speech in one more window."""
        if seconds >= _BIRTH_SECONDS or np.isnan(self.azimuth):
            self.azimuth = azimuth
        if seconds <= 0.0:
            return
        total = self.spoken + seconds
        self.voice = (self.spoken * self.voice + seconds * voice) / total
        self.spoken = total


@dataclass(frozen=True)
class Assignment:
    """Gives the speakers of a window to tracks.

    Args:
        overlap: samples that two windows share.
        linear: azimuths are angles to a line.
        max_speakers: tracks of some length at most; None for as many as are found.
    """

    overlap: int
    linear: bool
    max_speakers: int | None = None

    def __call__(
        self,
        speakers: WindowSpeakers,
        spoken: Sequence[float],
        tracks: Sequence[Known],
        mixture: NDArray[np.float32],
    ) -> list[int | None]:
        """Return the track of each speaker, new ones numbered on; None for what is nobody's.

        Args:
            spoken: seconds of speech of each in the window. mixture: the reference microphone.
        """
        placed: list[int | None] = [None] * len(spoken)
        if not tracks:
            most = sorted(range(len(spoken)), key=lambda one: -spoken[one])[: self.max_speakers]
            for number, one in enumerate(sorted(most)):
                placed[one] = number
            return placed
        cost = self._costs(speakers, tracks, mixture[: self.overlap])
        speaking = [one for one, seconds in enumerate(spoken) if seconds > 0]
        births = np.full((len(speaking), self._room(tracks, len(speaking))), _BIRTH_COST)
        births[[spoken[one] < _BIRTH_SECONDS for one in speaking]] = np.inf
        new = len(tracks)
        choices = _cheapest(np.concatenate([cost[speaking], births], axis=1))
        for one, choice in zip(speaking, choices, strict=True):
            placed[one] = choice
            if choice is not None and choice >= len(tracks):
                placed[one], new = new, new + 1
        free = [track for track in range(len(tracks)) if track not in placed]
        quiet = [one for one in range(len(spoken)) if one not in speaking]
        for one, choice in zip(quiet, _cheapest(cost[np.ix_(quiet, free)]), strict=True):
            placed[one] = None if choice is None else free[choice]
        return placed

    def _room(self, tracks: Sequence[Known], speaking: int) -> int:
        """The number of new tracks that may begin; who hardly spoke does not keep others out."""
        if self.max_speakers is None:
            return speaking
        settled = sum(track.spoken >= SHORTEST_SPEAKER for track in tracks)
        return min(speaking, max(0, self.max_speakers - settled))

    def _costs(
        self, speakers: WindowSpeakers, tracks: Sequence[Known], mixture: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """``[speaker, track]``."""
        cost = np.zeros((len(speakers.audio), len(tracks)))
        floor = float(np.square(mixture).sum()) * 10 ** (-MIXTURE_RANGE_DB / 10)
        for one, number in np.ndindex(cost.shape):
            track = tracks[number]
            if track.spoken == 0.0:
                cost[one, number] = _UNHEARD_COST
                continue
            between = float(angular_error(speakers.azimuth[one], track.azimuth, self.linear))
            if np.isnan(between):  # a model that says no directions
                between = 0.0
            cost[one, number] = min(between, _DIRECTION_LIMIT) / _DIRECTION_DEGREES
            common = _in_common(speakers.audio[one, : len(mixture)], track.tail, floor)
            if common is not None:
                cost[one, number] += _OVERLAP_COST * (1.0 - common)
            else:
                apart = np.sqrt(np.square(speakers.voice[one] - track.voice).mean())
                cost[one, number] += min(float(apart), _VOICE_LIMIT) / _VOICE_DECIBELS
        return cost


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
