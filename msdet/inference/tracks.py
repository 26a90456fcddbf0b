# SPDX-License-Identifier: Apache-2.0
"""A recording of any length through the network: blocks in, one track a speaker out, in pieces.

Blocks are joined to overlapping windows, each goes through the network, and each speaker heard in
it goes to a track (:mod:`msdet.inference.stitching`), whose windows are crossfaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msdet.inference.activity import (
    FramePowers,
    Powers,
    activities_of,
    frame_length,
    frame_powers,
    loud_level,
)
from msdet.inference.stitching import Assignment, Known
from msdet.inference.window_network import WindowNetwork, WindowSpeakers
from msdet.moments import TRACK_SECONDS

Audio = NDArray[np.float32]
Sink = Callable[[int, Audio], None]
"""Takes the next ``[sample]`` of a track, by its number; all tracks get as many, a new one first
what it lacks."""

_UNSPOKEN_SECONDS = 1e-3
"""Weight of a window in which somebody is silent, so that one who never speaks has a direction."""


@dataclass(frozen=True)
class Window:
    """A piece of a recording: ``[mic, sample]``, from sample ``start`` on."""

    start: int
    audio: Audio
    last: bool


def windows(blocks: Iterable[Audio], length: int, overlap: int) -> Iterator[Window]:
    """Cut blocks into windows of which neighbours share ``overlap`` samples.

    The last one ends with the recording, and is half a window longer at most, and half a window
    long at least unless it is the only one.

    Args:
        blocks: ``[mic, sample]`` each, of any length. length: of a window.
        overlap: half of it at most, so that no three windows share a sample.

    >>> blocks = [np.zeros((1, 3), np.float32)] * 4
    >>> [(w.start, w.audio.shape[1], w.last) for w in windows(blocks, 4, 2)]
    [(0, 4, False), (2, 4, False), (4, 4, False), (6, 4, False), (8, 4, True)]
    """
    start, hop = 0, length - overlap
    most = length + max(0, length // 2 - overlap)
    pending: Audio | None = None
    for block in blocks:
        pending = block if pending is None else np.concatenate([pending, block], axis=1)
        while pending.shape[1] > most:
            yield Window(start, pending[:, :length], last=False)
            pending, start = pending[:, hop:], start + hop
    if pending is not None and pending.shape[1]:
        yield Window(start, pending, last=True)


class Track(Known):
    """One speaker of the whole recording, or one direction that was asked for.

    Attributes:
        powers: of the audio's frames.
        posterior, distance: sums over windows, weighted by ``weight``.
        presence: the highest probability of any window that this is a speaker.
        spoken_in, azimuth_in: seconds of speech, and azimuth, by the number of the window.
        azimuth_at: degrees, by the number of the moment (:mod:`msdet.moments`); empty of a model
            that does not tell.
    """

    def __init__(self, overlap: int, sample_rate: int) -> None:
        super().__init__(np.zeros(overlap, np.float32))
        self.powers = FramePowers(sample_rate)
        self.posterior: NDArray[np.float64] | None = None
        self.distance = self.weight = self.presence = 0.0
        self.spoken_in: dict[int, float] = {}
        self.azimuth_in: dict[int, float] = {}
        self.azimuth_at: dict[int, float] = {}
        phase = (np.arange(overlap) + 0.5) / overlap
        self._rise = np.asarray(np.sin(0.5 * np.pi * phase) ** 2, np.float32)

    def add_findings(
        self, speakers: WindowSpeakers, index: int, window: int, seconds: float
    ) -> None:
        """Take what a window says of one of its speakers, who speaks for ``seconds`` in it."""
        weight = seconds + _UNSPOKEN_SECONDS
        if speakers.posterior is not None:
            before = 0.0 if self.posterior is None else self.posterior
            self.posterior = before + weight * speakers.posterior[index]
        if speakers.distance is not None:
            self.distance += weight * float(speakers.distance[index])
        self.weight += weight
        self.presence = max(self.presence, float(speakers.presence[index]))
        self.spoken_in[window] = seconds
        self.azimuth_in[window] = float(speakers.azimuth[index])
        self.hear(self.azimuth_in[window], speakers.voice[index], seconds)

    def walk(
        self, speakers: WindowSpeakers, index: int, start: float, end: float, shared: float
    ) -> None:
        """Take where a window has one of its speakers over time; what the window before said of
        the first half of what they share stays.

        Args:
            start, end: of the window, seconds. shared: with the window before, seconds.
        """
        if speakers.track is None:
            return
        track = speakers.track[index]
        moments = np.arange(_moment(start), _moment(end) + 1)
        nearest = np.rint((moments * TRACK_SECONDS - start) / speakers.track_seconds)
        degrees = track[nearest.astype(np.int64).clip(0, len(track) - 1)]
        settled = _moment(start + shared / 2)
        for moment, there in zip(moments.tolist(), degrees.tolist(), strict=True):
            if moment >= settled or moment not in self.azimuth_at:
                self.azimuth_at[moment] = there

    def crossfaded(self, audio: Audio, window: Window) -> Audio:
        """Take this track's ``[sample]`` of a window; return what no later window changes.

        Two windows are crossfaded by sin² over what they share.
        """
        mixed, shared = audio.copy(), len(self.tail)
        if window.start:
            mixed[:shared] = self._rise * audio[:shared] + self._rise[::-1] * self.tail
        if window.last:
            return mixed
        self.tail = audio[-shared:].copy()
        return mixed[:-shared]


@dataclass(frozen=True)
class Tracks:
    """All of a recording.

    Attributes:
        tracks: in the order in which they were begun.
        mixture: power of the reference microphone in each frame.
        window_times: middle of each window, seconds. num_samples: at the model's rate.
    """

    tracks: list[Track]
    mixture: Powers
    window_times: NDArray[np.float64]
    num_samples: int
    sample_rate: int

    def spoken_seconds(self) -> list[float]:
        """Seconds of speech of each track."""
        powers = np.array([track.powers.powers() for track in self.tracks])
        return _spoken(powers.reshape(-1, len(self.mixture)), self.mixture, self.sample_rate)


def _moment(seconds: float) -> int:
    """The first moment that is not before a time."""
    return math.ceil(round(seconds / TRACK_SECONDS, 6))


class Tracker:
    """Takes the windows of one recording, one after the other.

    Args:
        assignment: whose speakers of a window are whose; None where directions are asked for, each
            of which is a track.
        length, overlap: of windows, samples.
        sample_rate, reference_mic: the model's.
        num_speakers: where that is known.
    """

    def __init__(
        self,
        network: WindowNetwork,
        assignment: Assignment | None,
        *,
        length: int,
        overlap: int,
        sample_rate: int,
        reference_mic: int,
        num_speakers: int | None = None,
    ) -> None:
        self._network, self._assignment = network, assignment
        self._length, self._overlap = length, overlap
        self._rate, self._reference = sample_rate, reference_mic
        self._num_speakers = num_speakers
        self._tracks: list[Track] = []
        self._mixture = FramePowers(sample_rate)
        self._times: list[float] = []
        self._settled = 0

    def run(self, blocks: Iterable[Audio], sink: Sink) -> Tracks:
        """Track all of a recording.

        Args:
            blocks: ``[mic, sample]`` at the model's rate. sink: gets the audio as it is final.
        """
        for window in windows(blocks, self._length, self._overlap):
            self._take(window, sink)
        times = np.asarray(self._times)
        return Tracks(self._tracks, self._mixture.powers(), times, self._settled, self._rate)

    def _take(self, window: Window, sink: Sink) -> None:
        reference = window.audio[self._reference]
        whole = window.start == 0 and window.last  # else somebody may be silent in it
        speakers = self._network(window.audio, self._num_speakers if whole else None)
        of_track: dict[int, int] = {}
        if speakers is not None:
            powers = frame_powers(reference, self._rate)
            loud = loud_level(np.concatenate([self._mixture.powers(), powers]))
            own = frame_powers(speakers.audio, self._rate)
            spoken = _spoken(own, powers, self._rate, loud)
            placed: list[int | None] = list(speakers.asked or ())
            if self._assignment is not None:
                placed = self._assignment(speakers, spoken, self._tracks, reference)
            for index, number in enumerate(placed):
                if number is not None:
                    of_track[number] = index
                    self._begin_until(number, sink)
                    track, count = self._tracks[number], len(self._times)
                    track.add_findings(speakers, index, count, spoken[index])
                    shared = self._overlap / self._rate if window.start else 0.0
                    start = window.start / self._rate
                    end = start + window.audio.shape[1] / self._rate
                    track.walk(speakers, index, start, end, shared)
        size = window.audio.shape[1]
        settled = size if window.last else size - self._overlap
        for number, track in enumerate(self._tracks):
            audio = np.zeros(size, np.float32)
            if speakers is not None and number in of_track:
                audio = speakers.audio[of_track[number]]
            self._put(number, track.crossfaded(audio, window), sink)
        self._mixture.add(reference[:settled])
        self._settled += settled
        self._times.append((window.start + size / 2) / self._rate)

    def _begin_until(self, number: int, sink: Sink) -> None:
        """Begin new tracks up to this one; they were silent until now."""
        while len(self._tracks) <= number:
            self._tracks.append(Track(self._overlap, self._rate))
            new = len(self._tracks) - 1
            for start in range(0, self._settled, self._length):
                silence = np.zeros(min(self._length, self._settled - start), np.float32)
                self._put(new, silence, sink)

    def _put(self, number: int, samples: Audio, sink: Sink) -> None:
        self._tracks[number].powers.add(samples)
        sink(number, samples)


def _spoken(
    powers: Powers, mixture: Powers, sample_rate: int, loud_mixture: float | None = None
) -> list[float]:
    """Seconds of speech of each speaker, by :func:`activities_of`."""
    seconds = frame_length(sample_rate) / sample_rate
    active = activities_of(powers, mixture, seconds, loud_mixture)
    return [float(frames.sum() * seconds) for frames in active]
