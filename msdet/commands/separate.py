# SPDX-License-Identifier: Apache-2.0
"""`msdet separate`: recordings on disk to speakers, directions and a picture on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.ending import tell
from msdet.errors import InputError
from msdet.inference.conditioning import BlockResampler
from msdet.inference.config import SeparateConfig
from msdet.inference.options import (
    Options,
    check_length,
    check_options,
)
from msdet.inference.outputs import (
    PICTURE_NAME,
    TrackFiles,
    check_output,
    id_of_file,
    output_folder,
    subtype_of,
)
from msdet.inference.recording_audio import CheckedRecording, open_recording
from msdet.inference.recording_paths import RecordingPaths, find_recordings
from msdet.inference.separator import load, seconds_done
from msdet.inference.speakers import Speakers
from msdet.inference.speakers_file import SPEAKERS_NAME, azimuth_frame, speakers_file
from msdet.inference.tracks import Sink
from msdet.parsing import parse
from msdet.shipped import ShippedModel, default_model
from msdet.workers import available_cores, in_processes

_LONG_SECONDS = 10.0
"""Length of a recording, from which on it is worth showing how much of it is done."""


def run(values: dict[str, Any]) -> None:
    """Run ``msdet separate``."""
    separate(parse(SeparateConfig, values))


def separate(config: SeparateConfig) -> None:
    """Separate every recording; a bad one gets its message, and the others are still done.

    Raises:
        InputError: before any work, or of the only recording; or says how many were bad.
    """
    names = (config.recording,) if isinstance(config.recording, str) else config.recording
    found = find_recordings(names, config.output, config.together)
    for paths in found:
        try:
            there = os.path.exists(paths.recording)
            check_output(paths.folder, id_of_file(paths.recording) if there else None)
        except OSError as error:  # a name that is too long, a folder that is not one's own
            raise InputError(f"output={paths.folder}: {error.strerror}") from error
    if config.checkpoint is None:
        print(f"model: {_default(config).name}, the default one; checkpoint= takes another")
    work = _Work(config)
    assumed = "" if config.array else ", that of training; array= takes another"
    bad, frame = 0, [azimuth_frame(work.array) + assumed]
    workers = min(config.num_workers or available_cores(), len(found))
    done = (
        map(work, found)
        if workers == 1
        else in_processes(_Work, config, found, num_workers=workers, title="recordings")
    )
    for told, mistake in done:
        if mistake is None:
            print("\n".join([*frame, *told]))
            frame = []
        elif len(found) == 1:
            raise InputError(mistake if mistake.startswith("output=") else f"recording={mistake}")
        else:
            print(f"msdet separate: {mistake}", file=sys.stderr)
            bad += 1
    if len(found) == 1:
        folder = found[0].folder
        tell(picture=folder / PICTURE_NAME, details=folder / SPEAKERS_NAME)
    if bad:
        raise InputError(f"recording: {bad} of {len(found)} recordings could not be separated")


class _Work:
    """A model, and what is to be done with it to each recording.

    Raises:
        InputError: the model cannot do what is asked.
    """

    def __init__(self, config: SeparateConfig) -> None:
        self._config = config
        self._options = Options(**{of.name: getattr(config, of.name) for of in fields(Options)})
        path = config.checkpoint or _default(config).path
        self._separator = load(path, config.device, trust=config.trust)
        check_options(self._options, self._separator.description)
        self.array = self._separator.array_for(config.array.build() if config.array else None)

    def __call__(self, paths: RecordingPaths) -> tuple[list[str], str | None]:
        """Separate a recording; return what there is to tell, or what is wrong with it."""
        try:
            return self._separate(paths), None
        except InputError as error:
            message = str(error)
            named = any(str(file) in message for file in (paths.recording, *paths.files))
            if not named and not message.startswith("output="):
                message = f"{paths.recording}: {message}"
            return [], message

    def _separate(self, paths: RecordingPaths) -> list[str]:
        config, description = self._config, self._separator.description
        recording = open_recording(
            paths.files, self.array, config.channels, description, assumed=config.array is None
        )
        rate, size = recording.sample_rate, recording.num_samples
        check_length(size, rate, description)
        _warn(paths, recording.warnings)
        with output_folder(paths.folder, id_of_file(paths.recording)) as folder:
            files = TrackFiles(folder, description.sample_rate, rate, size)
            try:
                found, kept = self._track(paths, recording, files.write)
                audio, gain = files.finish(kept, subtype_of(recording.subtype, config.exact))
            finally:
                files.close()
            _warn(paths, found.warnings)
            if config.picture:
                _draw(folder / PICTURE_NAME, found, audio, rate)
            origin = self._separator.origin(
                paths.recording.name,
                id_of_file(paths.recording),
                rate,
                self.array,
                self._options,
                recording.channels,
                [file.name for file in paths.files],
            )
            names = [path.name for path in audio]
            found = replace(found, warnings=(*recording.warnings, *found.warnings))
            described = speakers_file(found, origin, files=names, gain=gain)
            (folder / SPEAKERS_NAME).write_text(described.text(), encoding="utf-8")
        return list(_told(paths, found, names, config.azimuth is not None))

    def _track(
        self, paths: RecordingPaths, recording: CheckedRecording, sink: Sink
    ) -> tuple[Speakers, list[int]]:
        rate = self._separator.description.sample_rate
        shown = recording.duration > _LONG_SECONDS and self._config.num_workers == 1
        with seconds_done(paths.recording.name, recording.duration, rate, shown) as counted:
            blocks = counted(_at_rate(recording, rate))
            return self._separator.track(blocks, self.array, self._options, sink)


def _default(config: SeparateConfig) -> ShippedModel:
    return default_model(config.array is not None and config.array.build().is_linear)


def _warn(paths: RecordingPaths, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"{paths.recording}: warning: {warning}", file=sys.stderr)


def _at_rate(recording: CheckedRecording, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    resampler = BlockResampler(recording.sample_rate, sample_rate, len(recording.channels))
    for block in recording.blocks():
        yield resampler.feed(block)
    yield resampler.feed(np.zeros((len(recording.channels), 0), np.float32), last=True)


def _draw(path: Path, found: Speakers, audio: list[Path], sample_rate: int) -> None:
    from msdet.inference.pictures import draw, spectrogram

    pictures = []
    for voice in audio:
        with soundfile.SoundFile(voice) as file:

            def read(samples: slice, file: soundfile.SoundFile = file) -> NDArray[np.float32]:
                file.seek(samples.start)
                return np.asarray(file.read(samples.stop - samples.start, dtype="float32"))

            pictures.append(spectrogram(read, file.frames, sample_rate))
    draw(found, pictures, sample_rate).savefig(path)


def _told(paths: RecordingPaths, found: Speakers, names: list[str], asked: bool) -> Iterator[str]:
    for index, name in enumerate(names):
        azimuth, confidence = found.azimuth[index], found.confidence[index]
        where = "" if np.isnan(azimuth) else f" at {azimuth:.1f} degrees ({confidence:.0%} sure)"
        spoken = sum(end - start for start, end in found.segments[index])
        yield f"{paths.folder / name}: speaker {index + 1}{where}, speaks {spoken:.1f} s"
    if not names:
        where = "where one was asked for" if asked else "in it"
        yield f"{paths.recording}: no speaker was found {where}"
