# SPDX-License-Identifier: Apache-2.0
"""What the page's process is asked for: a recording, an example or a room, separated, with the
files to play and to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.audio import write_audio
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.errors import InputError
from msdet.evaluation.report.media import common_gain, levels_db, spectrogram_uri
from msdet.geometry import MicrophoneArray
from msdet.inference.recordings import open_recording
from msdet.inference.result import Separation
from msdet.inference.separator import Options, Separator
from msdet.inference.speakers_file import SPEAKERS_NAME, Source, array_of, speakers_file
from msdet.metrics import Claims, SceneTruth, score_scene
from msdet.metrics.scores import SpeakerScore
from msdet.serve.examples import example_scene
from msdet.serve.outcome import Clip, Outcome, Truth, Voice
from msdet.serve.room_setup import RoomSetup, scene_of
from msdet.simulation import Example, Scene, compute_rirs, render


@dataclass(frozen=True)
class RecordingJob:
    """A file, what it was made with, and where the results go."""

    file: Path
    array: MicrophoneArray
    max_minutes: float
    folder: Path


@dataclass(frozen=True)
class ExampleJob:
    """A scene of a benchmark."""

    benchmark: str
    number: int
    folder: Path


@dataclass(frozen=True)
class RoomJob:
    """A room that was set up."""

    setup: RoomSetup
    array: MicrophoneArray
    folder: Path


@cache
def unseen_voices(sample_rate: int) -> Corpus:
    """The bundled voices that no model was trained on, at a sample rate."""
    return open_corpus(BundledConfig(), sample_rate).split("test")


def separate_recording(separator: Separator, job: RecordingJob) -> Outcome:
    """Separate a file; messages call it by its name alone."""
    name, reference = job.file.name, separator.description.reference_mic
    try:
        check_header(job.file, job.array, job.max_minutes)
        recording = open_recording([job.file], job.array, None, separator.description)
        audio = np.concatenate(list(recording.blocks()), axis=1)
        result = separator.separate(audio, recording.sample_rate, job.array)
    except InputError as error:
        told = str(error).replace(str(job.file), name)
        raise InputError(told if told.startswith(name) else f"{name}: {told}") from error
    return _outcome(
        separator,
        name,
        job.array,
        audio[reference],
        result,
        job.folder,
        channels=recording.channels,
        warnings=recording.warnings,
    )


def check_header(path: Path, array: MicrophoneArray, max_minutes: float) -> None:
    """Refuse from its header alone, before it is decoded, what is too long or of another array.

    Raises:
        InputError: also what is no audio.
    """
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


def separate_example(separator: Separator, job: ExampleJob) -> Outcome:
    """Render a benchmark's scene and separate it."""
    scene = example_scene(separator, job.benchmark, job.number)
    return _separate_scene(separator, f"{job.benchmark}, scene {job.number}", scene, job.folder)


def separate_room(separator: Separator, job: RoomJob) -> Outcome:
    """Render a room that was set up and separate it."""
    description = separator.description
    voices = unseen_voices(description.sample_rate)
    scene = scene_of(job.setup, job.array, voices, description)
    return _separate_scene(separator, "your room", scene, job.folder)


def _separate_scene(separator: Separator, name: str, scene: Scene, folder: Path) -> Outcome:
    array = scene.microphone_array()
    rirs = compute_rirs(scene.room, array, scene.sample_rate)
    example = render(scene, unseen_voices(scene.sample_rate), rirs)
    gain = common_gain(example.mixture)  # a mixture of RMS 1 would be clipped where it is played
    mixture = example.mixture * np.float32(gain)
    result = separator.separate(mixture, scene.sample_rate, array)
    folder.mkdir(parents=True, exist_ok=True)
    microphones = folder / "microphones.wav"
    write_audio(microphones, mixture, scene.sample_rate)
    example = replace(example, mixture=mixture, targets=example.targets * np.float32(gain))
    return _outcome(
        separator, name, array, mixture[scene.reference_mic], result, folder, example, microphones
    )


def _outcome(
    separator: Separator,
    name: str,
    array: MicrophoneArray,
    reference: NDArray[np.float32],
    result: Separation,
    folder: Path,
    example: Example | None = None,
    microphones: Path | None = None,
    channels: tuple[int, ...] | None = None,
    warnings: tuple[str, ...] = (),
) -> Outcome:
    """Write the files, turned down alike where a player would clip one, and gather what is shown.

    Args:
        reference: ``[sample]`` of the reference microphone, as loud as ``result``.
        example: what is known of a scene. channels, warnings: of a recording.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = result.num_speakers
    speakers = [] if example is None else _spoke(result, example)
    signals = {"mixture": reference}
    signals |= {f"speaker{slot}": audio for slot, audio in enumerate(result.audio, 1)}
    if example is not None:
        signals |= {_target(of): example.targets[of.speaker] for of in speakers}
    gain = min(1.0, common_gain(*signals.values()))
    clips = _clips(signals, gain, result.sample_rate, folder)
    truths = {of.slot: of for of in speakers}
    voices = []
    for slot in range(found):
        of = truths.get(slot)
        voice = Voice(
            clips[f"speaker{slot + 1}"],
            azimuth=_known(result.azimuth[slot]),
            confidence=_known(result.confidence[slot]),
            distance=None if result.distance is None else _known(result.distance[slot]),
            segments=result.segments[slot],
            window_azimuth=[_known(angle) for angle in result.window_azimuth[slot]],
            truth=None
            if of is None
            else Truth(
                _azimuth(of),
                clips[_target(of)],
                error=of.azimuth_error,
                improvement=of.scores.get("si_sdr_improvement"),
            ),
        )
        voices.append(voice)
    told = tuple(dict.fromkeys((*warnings, *result.warnings)))
    outcome = Outcome(
        name=name,
        array=array.name,
        is_linear=result.is_linear,
        sample_rate=result.sample_rate,
        duration=len(reference) / result.sample_rate,
        mixture=clips["mixture"],
        microphones=microphones,
        findings=folder / SPEAKERS_NAME,
        voices=voices,
        window_times=result.window_times.tolist(),
        missed=[
            Truth(_azimuth(of), clips[_target(of)])
            for of in speakers
            if of.slot is None or of.slot >= found
        ],
        t60=None if example is None else example.t60,
        asked_t60=None if example is None else example.scene.room.t60,
        target=None if example is None else example.scene.target,
        warnings=told,
    )
    source = Source(
        name,
        None,
        result.sample_rate,
        separator.model,
        array_of(
            array,
            range(array.num_mics) if channels is None else channels,
            separator.description.reference_mic,
        ),
        separator.settings(Options()),
    )
    described = speakers_file(
        result,
        source,
        files=[voice.clip.file.name for voice in voices],
        gain=gain,
        warnings=told,
        truths=None if example is None else [_as_numbers(voice.truth) for voice in voices],
    )
    outcome.findings.write_text(described.text(), encoding="utf-8")
    return outcome


def _clips(
    signals: dict[str, NDArray[np.float32]], gain: float, sample_rate: int, folder: Path
) -> dict[str, Clip]:
    """Players of signals, by name, as loud beside each other as they are; pictures on one scale."""
    turned = {name: signal * np.float32(gain) for name, signal in signals.items()}
    levels = {name: levels_db(signal, sample_rate) for name, signal in turned.items()}
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max(float(np.percentile(level, 99.9)) for level in levels.values())
    clips = {}
    for name, signal in turned.items():
        file = folder / f"{name}.wav"
        write_audio(file, signal, sample_rate)
        clips[name] = Clip(file, spectrogram_uri(levels[name], loud))
    return clips


def _spoke(result: Separation, example: Example) -> list[SpeakerScore]:
    """A scene's speakers who say something, as ``msdet evaluate`` scores them.

    Whoever was not found is scored as silence, in a slot after those of the result.
    """
    truth = SceneTruth(
        # Levels do not matter to any score of these.
        example.targets,
        example.mixture[example.scene.reference_mic],
        result.sample_rate,
        example.azimuth,
    )
    claims = Claims(azimuth=result.azimuth if np.isfinite(result.azimuth).any() else None)
    score = score_scene(result.audio, truth, claims)
    return [of for of in score.speakers if not of.silent]


def _azimuth(of: SpeakerScore) -> float:
    assert of.azimuth is not None  # of a simulated scene, where it is known
    return of.azimuth


def _target(of: SpeakerScore) -> str:
    return f"true{of.speaker + 1}"


def _as_numbers(truth: Truth | None) -> dict[str, float | None]:
    return {
        "true_azimuth_deg": None if truth is None else _rounded(truth.azimuth, 1),
        "si_sdr_improvement_db": None if truth is None else _rounded(truth.improvement, 2),
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
