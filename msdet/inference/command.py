# SPDX-License-Identifier: Apache-2.0
"""`msdet separate`: recordings on disk to speakers, directions and a picture on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.config import SeparateConfig
from msdet.inference.outputs import (
    PICTURE_NAME,
    TrackFiles,
    check_output,
    output_folder,
    recording_id,
    subtype_of,
)
from msdet.inference.places import Place, places_of
from msdet.inference.recordings import Recording, open_recording
from msdet.inference.resampling import BlockResampler
from msdet.inference.result import Findings, findings_of
from msdet.inference.separator import Options, Separator, load
from msdet.inference.speakers_file import SPEAKERS_NAME, azimuth_frame, speakers_file
from msdet.inference.unlike_training import unlike_training
from msdet.shipped import default_model


def separate(config: SeparateConfig) -> None:
    """Separate every recording; a bad one gets its message, and the others are still done.

    Raises:
        InputError: before any work, or of the only recording; or says how many were bad.
    """
    names = (config.recording,) if isinstance(config.recording, str) else config.recording
    options = Options(
        config.azimuth,
        config.window_seconds,
        config.overlap,
        config.stitching,
        config.num_speakers,
        config.max_speakers,
    )
    places = places_of(names, config.output, config.together)
    for place in places:
        try:
            check_output(place.folder, place.recording if os.path.exists(place.recording) else None)
        except OSError as error:  # a name that is too long, a folder that is not one's own
            raise InputError(f"output={place.folder}: {error.strerror}") from error
    separator = _model(config)
    separator.check(options)
    array = separator.array_for(config.array.build() if config.array else None)
    assumed = "" if config.array else ", that of training; array= takes another"
    bad, frame = 0, [azimuth_frame(array) + assumed]
    for place in places:
        try:
            told = _separate_one(separator, place, array, options, config)
            print("\n".join([*frame, *told]))
            frame = []
        except InputError as error:
            message = str(error)
            named = any(str(file) in message for file in (place.recording, *place.files))
            if not named and not message.startswith("output="):
                message = f"{place.recording}: {message}"
            if len(places) == 1:
                key = "" if message.startswith("output=") else "recording="
                raise InputError(key + message) from error
            print(f"msdet separate: {message}", file=sys.stderr)
            bad += 1
    if bad:
        raise InputError(f"recording: {bad} of {len(places)} recordings could not be separated")


def _model(config: SeparateConfig) -> Separator:
    if config.checkpoint is not None:
        return load(config.checkpoint)
    model = default_model()
    print(f"model: {model.name}, the default one; checkpoint= takes another")
    return load(model.path)


def _separate_one(
    separator: Separator,
    place: Place,
    array: MicrophoneArray,
    options: Options,
    config: SeparateConfig,
) -> list[str]:
    """Returns what there is to tell."""
    description = separator.description
    recording = open_recording(place.files, array, config.channels, description)
    separator.check_length(recording.num_samples, recording.sample_rate)
    early = [*unlike_training(array, description), *recording.warnings]
    for warning in early:
        print(f"{place.recording}: warning: {warning}", file=sys.stderr)
    with output_folder(place.folder, place.recording) as folder:
        files = TrackFiles(
            folder, description.sample_rate, recording.sample_rate, recording.num_samples
        )
        try:
            blocks = _at_rate(recording, description.sample_rate)
            heard, kept, told = separator.track(blocks, array, options, files)
            paths, gain = files.finish(kept, subtype_of(recording.subtype, config.exact))
        finally:
            files.close()
        findings = Findings(**findings_of(heard, kept, separator.grid, description.sample_rate))
        for warning in told:
            print(f"{place.recording}: warning: {warning}", file=sys.stderr)
        names = [path.name for path in paths]
        if config.picture:
            _draw(folder / PICTURE_NAME, findings, paths, recording.sample_rate)
        described = speakers_file(
            separator,
            findings,
            array,
            options,
            recording=place.recording.name,
            recording_files=[file.name for file in place.files],
            recording_id=recording_id(place.recording),
            sample_rate=recording.sample_rate,
            duration=recording.duration,
            files=names,
            channels=recording.channels,
            gain=gain,
            warnings=[*early, *told],
        )
        (folder / SPEAKERS_NAME).write_text(described.text(), encoding="utf-8")
    return list(_told(place, findings, names))


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


def _told(place: Place, findings: Findings, names: list[str]) -> Iterator[str]:
    for index, name in enumerate(names):
        azimuth, confidence = findings.azimuth[index], findings.confidence[index]
        where = "" if np.isnan(azimuth) else f" at {azimuth:.1f} degrees ({confidence:.0%} sure)"
        spoken = sum(end - start for start, end in findings.segments[index])
        yield f"{place.folder / name}: speaker {index + 1}{where}, speaks {spoken:.1f} s"
    if not names:
        yield f"{place.recording}: the model finds no speaker in it"
