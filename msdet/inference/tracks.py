# SPDX-License-Identifier: Apache-2.0
"""A recording of any length through the network: windows in, one track a speaker out, in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from msdet.inference.activity import FramePowers, Powers, frame_powers, loud_level
from msdet.inference.estimates import WindowEstimate, WindowNetwork
from msdet.inference.stitching import Stitcher, spoken_seconds
from msdet.inference.windows import OverlapAdd, Window, windows

Audio = NDArray[np.float32]

_UNSPOKEN_SECONDS = 1e-3
"""Weight of a window in which somebody is silent, so that one who never speaks has a direction."""


class Sink(Protocol):
    """Where the tracks' audio goes."""

    def write(self, track: int, samples: Audio) -> None:
        """The next samples of a track; all tracks get as many, a new one first what it lacks."""


class MemorySink:
    """Keeps all audio."""

    def __init__(self) -> None:
        self._pieces: list[list[Audio]] = []

    def write(self, track: int, samples: Audio) -> None:
        while len(self._pieces) <= track:
            self._pieces.append([])
        self._pieces[track].append(samples)

    def audio(self, track: int) -> Audio:
        """All of a track, ``[sample]``."""
        return np.concatenate([np.zeros(0, np.float32), *self._pieces[track]])


@dataclass
class Record:
    """What was heard of one track.

    Attributes:
        posterior, distance: sums over windows, weighted by ``weight``.
        presence: the highest probability of any window that this is a speaker.
        spoken: seconds of speech in each window, by the window's number; azimuth: likewise.
    """

    powers: FramePowers
    posterior: NDArray[np.float64] | float = 0.0
    distance: float = 0.0
    weight: float = 0.0
    presence: float = 0.0
    spoken: dict[int, float] = field(default_factory=dict)
    azimuth: dict[int, float] = field(default_factory=dict)

    def hear(self, estimate: WindowEstimate, slot: int, window: int, seconds: float) -> None:
        """What a window says of the track."""
        weight = seconds + _UNSPOKEN_SECONDS
        if estimate.posterior is not None:
            self.posterior = self.posterior + weight * estimate.posterior[slot]
        if estimate.distance is not None:
            self.distance += weight * float(estimate.distance[slot])
        self.weight += weight
        self.presence = max(self.presence, float(estimate.presence[slot]))
        self.spoken[window] = seconds
        self.azimuth[window] = float(estimate.azimuth[slot])


@dataclass(frozen=True)
class Heard:
    """All of a recording.

    Attributes:
        records: one a track. mixture: power of the reference microphone in each frame.
        window_times: middle of each window, seconds. num_samples: at the model's rate.
    """

    records: list[Record]
    mixture: Powers
    window_times: NDArray[np.float64]
    num_samples: int


class Tracker:
    """Takes the windows of one recording, one after the other."""

    def __init__(
        self,
        network: WindowNetwork,
        stitcher: Stitcher | None,
        length: int,
        overlap: int,
        sample_rate: int,
        reference_mic: int,
        num_speakers: int | None = None,
    ) -> None:
        """``length`` and ``overlap``: of windows, samples. ``stitcher``: None where directions are
        asked for, each of which is a track. ``num_speakers``: where that is known."""
        self._network, self._stitcher = network, stitcher
        self._length, self._overlap = length, overlap
        self._rate, self._reference = sample_rate, reference_mic
        self._num_speakers = num_speakers
        self._adders: list[OverlapAdd] = []
        self._records: list[Record] = []
        self._mixture = FramePowers(sample_rate)
        self._times: list[float] = []
        self._emitted = 0

    def run(self, blocks: Iterable[Audio], sink: Sink) -> Heard:
        """All of a recording.

        Args:
            blocks: ``[mic, sample]`` at the model's rate. sink: gets the audio as it is final.
        """
        for window in windows(blocks, self._length, self._overlap):
            self._take(window, sink)
        return Heard(
            self._records,
            self._mixture.powers(),
            np.asarray(self._times),
            self._emitted,
        )

    def _take(self, window: Window, sink: Sink) -> None:
        reference = window.audio[self._reference]
        whole = window.start == 0 and window.last  # else somebody may be silent in it
        estimate = self._network(window.audio, self._num_speakers if whole else None)
        placed: list[int | None] = []
        if estimate is not None:
            powers = frame_powers(reference, self._rate)
            loud = loud_level(np.concatenate([self._mixture.powers(), powers]))
            spoken = spoken_seconds(estimate, powers, loud, self._rate)
            if self._stitcher is None:
                placed = list(estimate.places or ())
            else:
                placed = self._stitcher.place(estimate, spoken, reference)
            for slot, track in enumerate(placed):
                if track is not None:
                    self._begin_until(track, sink)
                    self._records[track].hear(estimate, slot, len(self._times), spoken[slot])
        size = window.audio.shape[1]
        final = size if window.last else size - self._overlap
        for track, adder in enumerate(self._adders):
            audio = np.zeros(size, np.float32)
            if estimate is not None and track in placed:
                audio = estimate.audio[placed.index(track)]
            self._put(track, adder.add(audio, window.start == 0, window.last), sink)
            if self._stitcher is not None:
                self._stitcher.tracks[track].tail = adder.tail
        self._mixture.add(reference[:final])
        self._emitted += final
        self._times.append((window.start + size / 2) / self._rate)

    def _begin_until(self, track: int, sink: Sink) -> None:
        """A new track was silent until now."""
        while len(self._adders) <= track:
            self._adders.append(OverlapAdd(self._overlap))
            self._records.append(Record(FramePowers(self._rate)))
            new = len(self._adders) - 1
            for start in range(0, self._emitted, self._length):
                silence = np.zeros(min(self._length, self._emitted - start), np.float32)
                self._put(new, silence, sink)

    def _put(self, track: int, samples: Audio, sink: Sink) -> None:
        self._records[track].powers.add(samples)
        sink.write(track, samples)
