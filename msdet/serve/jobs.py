# SPDX-License-Identifier: Apache-2.0
"""The jobs of the page's process: a recording, an example or a room, separated for the page.

Each takes the model, the folder for its files, and what it is of; it returns the result as HTML.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from msdet.audio import write_audio
from msdet.benchmarks import Benchmark, benchmark_path, benchmarks
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.errors import InputError
from msdet.evaluation.report.media import common_gain
from msdet.geometry import MicrophoneArray
from msdet.inference.recording_audio import open_recording
from msdet.inference.separator import Separator
from msdet.inference.speakers_file import array_of
from msdet.serve.result import MICROPHONES_NAME, present
from msdet.serve.room import RoomSetup, scene_of
from msdet.simulation import Scene, compute_rirs, render
from msdet.simulation.scene_files import read_scenes


@cache
def unseen_voices(sample_rate: int) -> Corpus:
    """Open the bundled voices that no model was trained on, at a sample rate."""
    return open_corpus(BundledConfig(), sample_rate).split("test")


def separate_recording(
    separator: Separator, folder: Path, file: Path, array: MicrophoneArray, max_minutes: float
) -> str:
    """Separate a file.

    Raises:
        InputError: the file is no recording of this array, or too long; by its name alone.
    """
    name, reference = file.name, separator.description.reference_mic
    try:
        _check_header(file, array, max_minutes)
        recording = open_recording([file], array, None, separator.description)
        audio = np.concatenate(list(recording.blocks()), axis=1)
        result = separator.separate(audio, recording.sample_rate, array)
    except InputError as error:
        told = str(error).replace(str(file), name)
        raise InputError(told if told.startswith(name) else f"{name}: {told}") from error
    result = replace(
        result,
        origin=replace(result.origin, array=array_of(array, recording.channels, reference)),
        warnings=(*recording.warnings, *result.warnings),
    )
    return present(name, audio[reference], result, folder)


def _check_header(path: Path, array: MicrophoneArray, max_minutes: float) -> None:
    """Refuse from its header alone, before it is decoded, what is too long or of another array."""
    if not path.is_file():
        raise InputError(f"{path}: is no longer here; drop it into the box again")
    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as audio; give WAV, FLAC, OGG or MP3") from error
    if header.channels > 1 and array.microphones_of(header.channels) is None:
        raise InputError(
            f"{path}: has {header.channels} channels, but the array {array.name!r} has "
            f"{array.num_mics} microphones; choose the array that it was recorded with"
        )
    minutes = header.frames / header.samplerate / 60
    if minutes > max_minutes:
        raise InputError(
            f"{path}: lasts {minutes:.1f} minutes, and this page takes {max_minutes:g}; cut it, "
            f"start the page with max_minutes={math.ceil(minutes)}, or use msdet separate"
        )


def separate_example(separator: Separator, folder: Path, benchmark: str, number: int) -> str:
    """Render a benchmark's scene and separate it."""
    scene = example_scene(separator, benchmark, number)
    return _separate_scene(separator, folder, f"{benchmark}, scene {number}", scene)


def separate_room(
    separator: Separator, folder: Path, setup: RoomSetup, array: MicrophoneArray
) -> str:
    """Render a room that was set up and separate it."""
    voices = unseen_voices(separator.description.sample_rate)
    scene = scene_of(setup, array, voices, separator.description)
    return _separate_scene(separator, folder, "your room", scene)


def _separate_scene(separator: Separator, folder: Path, name: str, scene: Scene) -> str:
    array, rate = scene.microphone_array(), scene.sample_rate
    example = render(scene, unseen_voices(rate), compute_rirs(scene.room, array, rate))
    # A mixture of RMS 1 would be clipped where it is played.
    gain = np.float32(common_gain(example.mixture))
    example = replace(example, mixture=gain * example.mixture, targets=gain * example.targets)
    result = separator.separate(example.mixture, rate, array)
    folder.mkdir(parents=True, exist_ok=True)
    write_audio(folder / MICROPHONES_NAME, example.mixture, rate)
    return present(name, example.mixture[scene.reference_mic], result, folder, example)


def example_benchmarks(separator: Separator) -> dict[str, Benchmark]:
    """Find the benchmarks of as many speakers as in training, on arrays that the model serves."""
    found = {}
    fewest, most = separator.description.trained_speakers
    for name, benchmark in benchmarks().items():
        scenes = _scenes(name)
        counts = {len(scene.heard) for scene in scenes}
        try:
            for array in {scene.microphone_array() for scene in scenes}:
                separator.array_for(array)
        except InputError:
            continue
        if fewest <= min(counts) and max(counts) <= most:
            found[name] = benchmark
    return found


def example_scene(separator: Separator, name: str, number: int) -> Scene:
    """Fit a scene of a benchmark to a model: the same room, places and stretches of speech.

    What belongs to the model is the model's: sample rate, reference microphone and target.

    Raises:
        InputError: there is no such benchmark or scene.
    """
    scenes = _scenes(name)
    if not 0 <= number < len(scenes):
        raise InputError(f"scene {number}: {name} has scenes 0 to {len(scenes) - 1}")
    description, scene = separator.description, scenes[number]
    ratio = description.sample_rate / scene.sample_rate
    num_samples = round(scene.num_samples * ratio)
    speech = []
    for crop in scene.speech:
        offset, onset, length = (round(n * ratio) for n in (crop.offset, crop.onset, crop.length))
        # Each part is rounded: together they must not reach over the end.
        scaled = {"offset": offset, "onset": onset, "length": min(length, num_samples - onset)}
        speech.append(crop.model_copy(update=scaled))
    return scene.model_copy(
        update={
            "id": f"{name}-{number}",
            "sample_rate": description.sample_rate,
            "num_samples": num_samples,
            "speech": tuple(speech),
            "reference_mic": description.reference_mic,
            "target": description.target,
        }
    )


@cache
def _scenes(name: str) -> tuple[Scene, ...]:
    return read_scenes(benchmark_path(name))
