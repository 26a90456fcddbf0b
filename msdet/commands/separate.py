# SPDX-License-Identifier: Apache-2.0
"""`msdet separate`: recordings on disk to speakers, directions and a picture on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import Field, field_validator

from msdet.ending import tell
from msdet.errors import InputError
from msdet.geometry import ArrayConfig, MicrophoneArray
from msdet.inference.outputs import (
    PICTURE_NAME,
    TrackFiles,
    check_output,
    id_of_file,
    output_folder,
    subtype_of,
)
from msdet.inference.places import Place, places_of
from msdet.inference.recordings import Recording, open_recording
from msdet.inference.resampling import BlockResampler
from msdet.inference.result import Findings, findings_of
from msdet.inference.separator import Options, Separator, load, seconds_done
from msdet.inference.speakers_file import (
    SPEAKERS_NAME,
    Source,
    array_of,
    azimuth_frame,
    speakers_file,
)
from msdet.parsing import MOST_WORKERS, Config, parse
from msdet.shipped import default_model
from msdet.workers import available_cores, in_processes

_LONG_SECONDS = 10.0
"""Of a recording, from which on it is worth showing how much of it is done."""


class SeparateConfig(Config):
    """Recordings to separate.

    Attributes:
        recording: audio file with all microphones, a folder of such, or a list of either.
        together: the files are one recording, a microphone each, in this order; of a folder, those
            that lie in it (`--together`).
        checkpoint: `model.ckpt`, or the name of a model that ships; null takes the default one.
        output: folder for the speakers, of several recordings for a folder each; null:
            `outputs/separated/` and the name of the recording.
        array: such as `array=respeaker4`, or a `.json` or `.csv` file of positions; null takes the
            array of training.
        channels: which channel of the file is each microphone, from 0, such as [2, 0, 1, 3]; null
            takes the array's own.
        azimuth: degrees: the speaker in this direction, or in each of a list, and no others; null
            puts out all.
        window_seconds: recordings go through the network in windows of this length.
        overlap: share of a window that the next one has too; what is shared is computed twice.
        stitching: which output of a window is whose.
        num_speakers: people in a recording, where that is known; null: as many as are found.
        max_speakers: people in a recording at most; null: as many as are found.
        exact: 32-bit floats at the recording's own level, however loud, in place of 16 or 24 bits
            that any player plays.
        picture: draw `speakers.png`.
        num_workers: recordings at a time, a process of about a gigabyte each; null takes one per
            core.
        device: where the network computes, as torch names it, such as `cuda`.
    """

    recording: str | tuple[str, ...]
    together: bool = False
    checkpoint: str | None = None
    output: str | None = None
    array: ArrayConfig | None = None
    channels: tuple[int, ...] | None = None
    azimuth: float | tuple[float, ...] | None = None
    window_seconds: float = Field(default=8.0, gt=0, le=3600)  # minutes take gigabytes
    overlap: float = Field(default=0.125, gt=0, le=0.5)
    stitching: Literal["direction_and_voice", "permutation"] = "direction_and_voice"
    num_speakers: int | None = Field(default=None, ge=1)
    max_speakers: int | None = Field(default=None, ge=1)
    exact: bool = False
    picture: bool = True
    num_workers: int | None = Field(default=1, ge=1, le=MOST_WORKERS)
    device: str = "cpu"

    @field_validator("azimuth", mode="before")
    @classmethod
    def _degrees(cls, value: object) -> object:
        numbers = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(_is_finite(number) for number in numbers):
            raise ValueError("give degrees, one number or a list of them")
        return value


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def run(values: dict[str, Any]) -> None:
    """Run ``msdet separate``."""
    separate(parse(SeparateConfig, values))


def separate(config: SeparateConfig) -> None:
    """Separate every recording; a bad one gets its message, and the others are still done.

    Raises:
        InputError: before any work, or of the only recording; or says how many were bad.
    """
    names = (config.recording,) if isinstance(config.recording, str) else config.recording
    places = places_of(names, config.output, config.together)
    for place in places:
        try:
            there = os.path.exists(place.recording)
            check_output(place.folder, id_of_file(place.recording) if there else None)
        except OSError as error:  # a name that is too long, a folder that is not one's own
            raise InputError(f"output={place.folder}: {error.strerror}") from error
    if config.checkpoint is None:
        print(f"model: {default_model().name}, the default one; checkpoint= takes another")
    work = _Work(config)
    assumed = "" if config.array else ", that of training; array= takes another"
    bad, frame = 0, [azimuth_frame(work.array) + assumed]
    workers = min(config.num_workers or available_cores(), len(places))
    done = (
        map(work, places)
        if workers == 1
        else in_processes(_Work, config, places, num_workers=workers, title="recordings")
    )
    for told, mistake in done:
        if mistake is None:
            print("\n".join([*frame, *told]))
            frame = []
        elif len(places) == 1:
            raise InputError(mistake if mistake.startswith("output=") else f"recording={mistake}")
        else:
            print(f"msdet separate: {mistake}", file=sys.stderr)
            bad += 1
    if len(places) == 1:
        folder = places[0].folder
        tell(picture=folder / PICTURE_NAME, details=folder / SPEAKERS_NAME)
    if bad:
        raise InputError(f"recording: {bad} of {len(places)} recordings could not be separated")


class _Work:
    """A model, and what is to be done with it to each recording.

    Raises:
        InputError: the model cannot do what is asked.
    """

    def __init__(self, config: SeparateConfig) -> None:
        self._config = config
        self._options = Options(
            config.azimuth,
            config.window_seconds,
            config.overlap,
            config.stitching,
            config.num_speakers,
            config.max_speakers,
        )
        self._separator = load(config.checkpoint or default_model().path, config.device)
        self._separator.check(self._options)
        self.array = self._separator.array_for(config.array.build() if config.array else None)

    def __call__(self, place: Place) -> tuple[list[str], str | None]:
        """Separate a recording; returns what there is to tell, or what is wrong with it."""
        try:
            return _separate_one(
                self._separator, place, self.array, self._options, self._config
            ), None
        except InputError as error:
            message = str(error)
            named = any(str(file) in message for file in (place.recording, *place.files))
            if not named and not message.startswith("output="):
                message = f"{place.recording}: {message}"
            return [], message


def _separate_one(
    separator: Separator,
    place: Place,
    array: MicrophoneArray,
    options: Options,
    config: SeparateConfig,
) -> list[str]:
    """Returns what there is to tell."""
    description = separator.description
    recording = open_recording(
        place.files, array, config.channels, description, assumed=config.array is None
    )
    separator.check_length(recording.num_samples, recording.sample_rate)
    for warning in recording.warnings:
        print(f"{place.recording}: warning: {warning}", file=sys.stderr)
    with output_folder(place.folder, id_of_file(place.recording)) as folder:
        files = TrackFiles(
            folder, description.sample_rate, recording.sample_rate, recording.num_samples
        )
        try:
            rate, blocks = description.sample_rate, _at_rate(recording, description.sample_rate)
            shown = recording.duration > _LONG_SECONDS and config.num_workers == 1
            with seconds_done(place.recording.name, recording.duration, rate, shown) as counted:
                heard, kept, told = separator.track(counted(blocks), array, options, files)
            paths, gain = files.finish(kept, subtype_of(recording.subtype, config.exact))
        finally:
            files.close()
        findings = Findings(**findings_of(heard, kept, separator.grid, description.sample_rate))
        for warning in told:
            print(f"{place.recording}: warning: {warning}", file=sys.stderr)
        names = [path.name for path in paths]
        if config.picture:
            _draw(folder / PICTURE_NAME, findings, paths, recording.sample_rate)
        source = Source(
            place.recording.name,
            id_of_file(place.recording),
            recording.sample_rate,
            separator.model,
            array_of(array, recording.channels, description.reference_mic),
            separator.settings(options),
            [file.name for file in place.files],
        )
        warnings = [*recording.warnings, *told]
        described = speakers_file(findings, source, files=names, gain=gain, warnings=warnings)
        (folder / SPEAKERS_NAME).write_text(described.text(), encoding="utf-8")
    return list(_told(place, findings, names, options.azimuth))


def _at_rate(recording: Recording, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    resampler = BlockResampler(recording.sample_rate, sample_rate, len(recording.channels))
    for block in recording.blocks():
        yield resampler.feed(block)
    yield resampler.feed(np.zeros((len(recording.channels), 0), np.float32), last=True)


def _draw(path: Path, findings: Findings, audio: list[Path], sample_rate: int) -> None:
    from msdet.inference.pictures import draw, spectrogram

    pictures = []
    for voice in audio:
        with soundfile.SoundFile(voice) as file:

            def read(samples: slice, file: soundfile.SoundFile = file) -> NDArray[np.float32]:
                file.seek(samples.start)
                return np.asarray(file.read(samples.stop - samples.start, dtype="float32"))

            pictures.append(spectrogram(read, file.frames, sample_rate))
    draw(findings, pictures).savefig(path)


def _told(
    place: Place,
    findings: Findings,
    names: list[str],
    asked: float | Sequence[float] | None,
) -> Iterator[str]:
    for index, name in enumerate(names):
        azimuth, confidence = findings.azimuth[index], findings.confidence[index]
        where = "" if np.isnan(azimuth) else f" at {azimuth:.1f} degrees ({confidence:.0%} sure)"
        spoken = sum(end - start for start, end in findings.segments[index])
        yield f"{place.folder / name}: speaker {index + 1}{where}, speaks {spoken:.1f} s"
    if not names:
        where = "in it" if asked is None else "where one was asked for"
        yield f"{place.recording}: no speaker was found {where}"
