# SPDX-License-Identifier: Apache-2.0
"""The outcome of a job of the page: players, findings, and the truth where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """Something to play: a file, and its spectrogram as a ``data:`` URI."""

    file: Path
    spectrogram: str


@dataclass(frozen=True)
class Truth:
    """A speaker of a scene, who says something.

    Attributes:
        azimuth: degrees. target: what the model should put out. Of a speaker who was found:
        error: degrees between both azimuths.
        improvement: of SI-SDR over the reference microphone, dB.
    """

    azimuth: float
    target: Clip
    error: float | None = None
    improvement: float | None = None


@dataclass(frozen=True)
class Voice:
    """A speaker who was found; None where the model does not say.

    Attributes:
        azimuth: degrees. confidence: 0 to 1. distance: metres.
        segments: start and end in seconds of the speech.
        window_azimuth: degrees, of each window of the outcome.
        truth: the scene's speaker that this is.
    """

    clip: Clip
    azimuth: float | None
    confidence: float | None
    distance: float | None
    segments: list[tuple[float, float]]
    window_azimuth: list[float | None]
    truth: Truth | None


@dataclass(frozen=True)
class Outcome:
    """All that the page shows of a job.

    Attributes:
        mixture: the reference microphone. microphones: all of a scene's, as a file to keep.
        window_times: seconds, the middle of each window.
        t60: as measured on a scene's responses, seconds; asked_t60: what its walls were chosen
            for; None of recordings, 0 without walls.
        missed: a scene's speakers of whom there is no output. target: which sound of theirs the
            model was trained for: ``direct``, ``early`` or ``image``; None of recordings.
        warnings: what the user should know of a recording, a sentence each.
    """

    name: str
    array: str
    is_linear: bool
    sample_rate: int
    duration: float
    mixture: Clip
    microphones: Path | None
    findings: Path
    voices: list[Voice]
    window_times: list[float]
    missed: list[Truth]
    t60: float | None
    asked_t60: float | None
    target: str | None
    warnings: tuple[str, ...]
