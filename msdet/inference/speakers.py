# SPDX-License-Identifier: Apache-2.0
"""Who speaks where and when in a recording, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from msdet.geometry import AzimuthGrid
from msdet.inference.activity import FRAME_SECONDS, activities_of, frame_length, segments_of
from msdet.inference.tracks import Track, Tracks
from msdet.moments import TRACK_SECONDS, moments_of

CONFIDENCE_DEGREES = 10.0
"""Half the width of what :attr:`Speakers.confidence` sums over."""

_SPOKEN_IN_WINDOW = 0.2
"""Seconds of speech that a window's azimuth needs to count in `Speakers.window_azimuth`."""


@dataclass(frozen=True, kw_only=True)
class Speakers:
    """Who speaks where and when. Speakers are in the order of the audio.

    Attributes:
        azimuth: float64 ``[speaker]`` degrees in the array's frame; NaN from a model that was
            trained for separation alone. Over several windows, that of the mean posterior.
        distance: float64 ``[speaker]`` metres; None from a model without a distance head.
        posterior: float64 ``[speaker, class]``, the azimuth classes' probabilities, averaged over
            windows by the seconds of speech in them; None of a model for separation alone.
        presence: float64 ``[speaker]``, the probability that it is a speaker
            (:mod:`msdet.inference.presence`); over several windows, the highest.
        confidence: float64 ``[speaker]``, the probability that a speaker is within 10 degrees of
            the azimuth: ``presence`` times the posterior's mass there, around the circle, or along
            [0, 180] for microphones on a line; NaN like the azimuth.
        activity: bool ``[speaker, frame]``, frames of speech (:mod:`msdet.inference.activity` says
            by which thresholds). frame_seconds: how long a frame is.
        window_times: float64 ``[window]`` seconds, the middle of each window of the recording.
        window_azimuth: float64 ``[speaker, window]`` degrees; NaN where there is no speech.
        track: float64 ``[speaker, moment]`` degrees, where speakers are over time, at the moments
            of :func:`msdet.moments.moments_of`; NaN where nothing was found of one; None of a model
            that was trained without ``heads.span``, and where nobody was found.
        is_linear: whether azimuths are angles to a line, [0, 180], or lie on the circle.
        duration: seconds.
        warnings: what the user should know, a sentence each.
    """

    azimuth: NDArray[np.float64]
    distance: NDArray[np.float64] | None
    posterior: NDArray[np.float64] | None = field(repr=False)
    presence: NDArray[np.float64]
    confidence: NDArray[np.float64]
    activity: NDArray[np.bool_] = field(repr=False)
    frame_seconds: float = FRAME_SECONDS
    window_times: NDArray[np.float64] = field(repr=False)
    window_azimuth: NDArray[np.float64] = field(repr=False)
    track: NDArray[np.float64] | None = field(default=None, repr=False)
    is_linear: bool
    duration: float
    warnings: tuple[str, ...] = ()

    @property
    def num_speakers(self) -> int:
        return len(self.azimuth)

    def way(self, speaker: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return when and where a speaker is while speaking, seconds and degrees ``[moment]``;
        without moments where ``track`` says nothing."""
        degrees = np.zeros(0) if self.track is None else self.track[speaker]
        seconds = np.asarray(np.arange(len(degrees)) * TRACK_SECONDS, np.float64)
        speaks = np.zeros(len(degrees), np.bool_)
        for start, end in self.segments[speaker]:
            speaks |= (start <= seconds) & (seconds <= end)
        speaks &= np.isfinite(degrees)
        return seconds[speaks], degrees[speaks]

    @property
    def segments(self) -> list[list[tuple[float, float]]]:
        """Start and end in seconds of each stretch of speech, a list a speaker."""
        return [
            [(start, min(end, self.duration)) for start, end in segments_of(a, self.frame_seconds)]
            for a in self.activity
        ]

    @classmethod
    def of_tracks(
        cls, tracks: Tracks, kept: Sequence[int], grid: AzimuthGrid, warnings: Sequence[str]
    ) -> Speakers:
        """Return what is known of these of a recording's tracks."""
        chosen = [tracks.tracks[number] for number in kept]
        frame_seconds = frame_length(tracks.sample_rate) / tracks.sample_rate
        posterior = _posteriors(chosen, grid)
        azimuth = confidence = np.full(len(chosen), np.nan)
        presence = np.array([track.presence for track in chosen])
        if posterior is not None:
            azimuth = grid.decode(torch.from_numpy(posterior)).numpy()
            near = [
                mass_near(row, angle, grid) for row, angle in zip(posterior, azimuth, strict=True)
            ]
            confidence = presence * np.array(near)
        ranged = any(track.distance for track in tracks.tracks)
        window_azimuth = np.full((len(chosen), len(tracks.window_times)), np.nan)
        for row, track in enumerate(chosen):
            for window, seconds in track.spoken_in.items():
                if seconds >= _SPOKEN_IN_WINDOW or len(tracks.window_times) == 1:
                    window_azimuth[row, window] = track.azimuth_in[window]
        powers = np.array([track.powers.powers() for track in chosen])
        powers = powers.reshape(len(chosen), len(tracks.mixture))
        return cls(
            azimuth=azimuth,
            distance=np.array([t.distance / t.weight for t in chosen]) if ranged else None,
            posterior=posterior,
            presence=presence,
            confidence=confidence,
            activity=activities_of(powers, tracks.mixture, frame_seconds),
            frame_seconds=frame_seconds,
            window_times=tracks.window_times,
            window_azimuth=window_azimuth,
            track=_tracks(chosen, tracks.num_samples / tracks.sample_rate),
            is_linear=grid.linear,
            duration=tracks.num_samples / tracks.sample_rate,
            warnings=tuple(warnings),
        )


def mass_near(posterior: NDArray[np.float64], azimuth: float, grid: AzimuthGrid) -> float:
    """Return the posterior's mass within :data:`CONFIDENCE_DEGREES` of an azimuth.

    A class's probability is spread evenly over its width, so that the resolution does not matter.

    >>> grid = AzimuthGrid(10.0)
    >>> near_0 = np.zeros(36)
    >>> near_0[[0, 35]] = 0.5
    >>> mass_near(near_0, 355.0, grid)
    1.0
    >>> mass_near(near_0, 340.0, grid)
    0.25
    """
    half = grid.resolution / 2
    low, high = grid.centres - half, grid.centres + half
    if grid.linear:  # the classes at the ends are half as wide
        low, high = low.clip(0.0, 180.0), high.clip(0.0, 180.0)
    within = np.zeros(grid.num_classes)
    for turn in (0.0,) if grid.linear else (-360.0, 0.0, 360.0):
        first = np.maximum(low + turn, azimuth - CONFIDENCE_DEGREES)
        last = np.minimum(high + turn, azimuth + CONFIDENCE_DEGREES)
        within += (last - first).clip(0.0, None)
    return float(posterior @ (within / (high - low)))


def _tracks(chosen: Sequence[Track], seconds: float) -> NDArray[np.float64] | None:
    """``[speaker, moment]``; None where no window told of any."""
    if not any(track.azimuth_at for track in chosen):
        return None
    found = np.full((len(chosen), len(moments_of(seconds))), np.nan)
    for row, track in zip(found, chosen, strict=True):
        for moment, degrees in track.azimuth_at.items():
            row[moment] = degrees
    return found


def _posteriors(tracks: Sequence[Track], grid: AzimuthGrid) -> NDArray[np.float64] | None:
    """``[speaker, class]``; None where no window had any."""
    if not tracks:
        return np.zeros((0, grid.num_classes))
    rows = [t.posterior / t.weight for t in tracks if t.posterior is not None]
    return np.stack(rows) if rows else None
