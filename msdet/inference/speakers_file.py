# SPDX-License-Identifier: Apache-2.0
"""``speakers.json``: what is written of a recording's speakers, and the source of its JSON schema.

``docs/speakers.schema.json`` is `schema` as a file (``scripts/speakers_schema.py`` writes it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msdet.checkpoints import Description
from msdet.geometry import MicrophoneArray

if TYPE_CHECKING:
    from msdet.inference.speakers import Speakers

SPEAKERS_NAME = "speakers.json"

_AT_CENTRE = 1e-3
"""Metres: no direction leads to a microphone in the middle."""


class _Record(BaseModel):
    """Keys of later versions are left out where such a file is read."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


class SpeakerTrack(_Record):
    """The azimuth over time, every tenth of a second of speech."""

    seconds: tuple[float, ...]
    """Ascending."""
    azimuth_deg: tuple[float, ...]
    """Degrees in the array's frame, as many."""

    @model_validator(mode="after")
    def _one_azimuth_a_time(self) -> SpeakerTrack:
        if len(self.seconds) != len(self.azimuth_deg):
            raise ValueError(f"{len(self.azimuth_deg)} azimuth_deg for {len(self.seconds)} seconds")
        if any(b <= a for a, b in zip(self.seconds, self.seconds[1:], strict=False)):
            raise ValueError("seconds do not ascend")
        return self


class Located(_Record):
    """A speaker's file and place, as far as they are known."""

    file: str | None = None
    """Name of the audio beside this file."""
    azimuth_deg: float | None
    """Degrees in the array's frame; null where none is known."""
    distance_m: float | None = Field(default=None, ge=0)
    """Metres from the array's centre; missing where the model does not say."""
    track: SpeakerTrack | None = None
    """Where the speaker is over time; missing where the model does not say."""


class Speaker(Located):
    """A speaker who was found."""

    file: str
    """Name of the audio beside this file."""
    azimuth_deg: float | None = Field(ge=0, lt=360)
    """Degrees in the array's frame (`array.azimuth`); null of a model that only separates."""
    confidence: float | None = Field(ge=0, le=1)
    """Probability that a speaker is within 10 degrees of the azimuth; null likewise."""
    presence: float = Field(ge=0, le=1)
    """Probability that this is a speaker."""
    spoken_seconds: float = Field(ge=0)
    """Length of all segments together."""
    segments: tuple[tuple[float, float], ...]
    """Start and end of each stretch of speech, seconds."""
    true_azimuth_deg: float | None = None
    """Degrees; of simulated scenes on the page alone."""
    si_sdr_improvement_db: float | None = None
    """Against the reference microphone; of simulated scenes on the page alone."""


class Model(_Record):
    """The network that separated."""

    checkpoint: str
    """Name of its file."""
    checkpoint_sha256: str | None
    """Digest of the file's content; null where the file is gone."""
    sample_rate: int
    """Hertz, of the audio inside the network."""
    num_outputs: int
    """Speakers at most in one window."""
    target: str
    """Part of a speaker's sound that is put out, such as the direct path."""
    assignment: str
    """Order of the outputs in training."""
    trained_on_array: str
    msdet: str
    """Version."""


class Array(_Record):
    """The microphones."""

    name: str
    positions_m: tuple[tuple[float, float, float], ...]
    """x, y and z of each microphone from their centre, metres."""
    channels: tuple[int, ...]
    """The channel of the recording that each microphone is, from 0."""
    reference_mic: int
    """The microphone at which the speakers are heard, from 0."""
    azimuth: str
    """The meaning of azimuths, in words."""


class SeparatedWith(_Record):
    """The settings of the command."""

    azimuth: float | tuple[float, ...] | None
    """Degrees; the directions that were asked for, or null."""
    window_seconds: float
    overlap: float
    num_speakers: int | None
    max_speakers: int | None
    moving: bool = False
    """Whether people were followed as they walk about."""


class SpeakersFile(_Record):
    """The speakers who were found in a recording."""

    model_config = ConfigDict(title=SPEAKERS_NAME)

    recording: str
    """Name of the file, without its folder."""
    recording_files: tuple[str, ...] = ()
    """Names of the files, where there is one for each microphone."""
    recording_id: str | None
    """Digest of where the file lies: only its own results are replaced. Null on the page."""
    sample_rate: int
    """Hertz, of the recording and of the speakers' audio."""
    duration_seconds: float
    speakers: tuple[Speaker, ...]
    gain_db: float = Field(le=0)
    """All of the speakers' audio was turned down by this; 0 is the recording's own level."""
    bandwidth_hz: float
    """There is no sound above it."""
    model: Model
    array: Array
    separated_with: SeparatedWith
    warnings: tuple[str, ...]

    def text(self) -> str:
        """The file's content."""
        return self.model_dump_json(indent=2, exclude_unset=True) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SpeakersFile.model_json_schema(),
    }


@dataclass(frozen=True)
class Origin:
    """The origin of a recording's speakers: the recording, the network, the microphones.

    Attributes:
        recording: its name. recording_id: tells it from others.
        sample_rate: of it and of the speakers' audio, hertz.
        recording_files: names of its files, where there are several.
    """

    recording: str
    recording_id: str | None
    sample_rate: int
    model: Model
    array: Array
    separated_with: SeparatedWith
    recording_files: Sequence[str] = ()


def model_of(description: Description, path: Path) -> Model:
    """Describe a network by its checkpoint."""
    return Model(
        checkpoint=path.name,
        checkpoint_sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None,
        sample_rate=description.sample_rate,
        num_outputs=description.trained_speakers[1],
        target=description.target,
        assignment=str(description.assignment),
        trained_on_array=description.array.name,
        msdet=version("msdet"),
    )


def array_of(array: MicrophoneArray, channels: Sequence[int], reference_mic: int) -> Array:
    """Describe microphones, which are these channels of a recording."""
    return Array(
        name=array.name,
        positions_m=array.positions,
        channels=tuple(channels),
        reference_mic=reference_mic,
        azimuth=azimuth_frame(array),
    )


def speakers_file(
    found: Speakers,
    origin: Origin,
    *,
    files: Sequence[str],
    gain: float,
    truths: Sequence[dict[str, Any]] | None = None,
) -> SpeakersFile:
    """Describe the speakers who were found.

    Args:
        files: names of the speakers' audio. gain: factor on it.
        truths: of each speaker the keys of `Speaker` that hold what is true.
    """
    several = origin.recording_files if len(origin.recording_files) > 1 else ()
    return SpeakersFile(
        recording=_readable(origin.recording),
        recording_files=tuple(map(_readable, several)),
        recording_id=origin.recording_id,
        sample_rate=round(origin.sample_rate),
        duration_seconds=round(found.duration, 3),
        speakers=tuple(
            _speaker(found, index, name, truths[index] if truths else {})
            for index, name in enumerate(files)
        ),
        gain_db=round(20 * float(np.log10(gain)), 2) + 0.0,  # never -0.0
        bandwidth_hz=min(origin.sample_rate, origin.model.sample_rate) / 2,
        model=origin.model,
        array=origin.array,
        separated_with=origin.separated_with,
        warnings=found.warnings,
    )


def _readable(name: str) -> str:
    """Return a file's name with escapes for what is not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def azimuth_frame(array: MicrophoneArray) -> str:
    """Say in words in which frame directions are given."""
    first = "azimuth in degrees, counter-clockwise seen from above"
    if array.is_linear:
        return (
            f"array {array.name}: {array.num_mics} microphones on a line: azimuth is the angle to "
            "the line, 0 to 180, 0 at the end away from microphone 0; front and back are the same "
            "to them"
        )
    points = array.as_array()[0]
    angle = float(np.degrees(np.arctan2(points[1], points[0]))) % 360
    at_0 = min(angle, 360 - angle) < 0.5 and float(np.hypot(*points[:2])) > _AT_CENTRE
    towards = "towards microphone 0" if at_0 else "along the x axis of its positions"
    return f"array {array.name}: {array.num_mics} microphones, {first}, 0 {towards}"


def _speaker(found: Speakers, index: int, name: str, truth: dict[str, Any]) -> Speaker:
    azimuth, segments = _rounded(found.azimuth[index], 1), found.segments[index]
    more: dict[str, Any] = {}  # keys that not every model has
    if found.distance is not None:
        more["distance_m"] = _rounded(found.distance[index], 2)
    if found.track is not None:
        seconds, degrees = found.way(index)
        more["track"] = SpeakerTrack(
            seconds=tuple(seconds.round(1).tolist()),
            azimuth_deg=tuple((degrees.round(1) % 360).tolist()),
        )
    return Speaker(
        file=name,
        azimuth_deg=azimuth if azimuth is None else azimuth % 360,  # 359.97 is rounded to 360
        confidence=_rounded(found.confidence[index], 3),
        presence=round(float(found.presence[index]), 3),
        spoken_seconds=round(sum(end - start for start, end in segments), 2),
        segments=tuple((round(start, 2), round(end, 2)) for start, end in segments),
        **more,
        **truth,
    )


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
