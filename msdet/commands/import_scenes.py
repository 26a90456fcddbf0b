# SPDX-License-Identifier: Apache-2.0
"""``msdet import``: scenes described elsewhere become scenes and a corpus of msdet.

::

    OUTPUT/scenes.jsonl       one scene a line, as `msdet simulate` writes them
    OUTPUT/manifest.jsonl     the speech files, as a corpus: corpus=folder corpus.path=OUTPUT
    OUTPUT/speech/            links to the speech files
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import soundfile
from pydantic import Field
from rich.console import Console

from msdet.corpora import Corpus
from msdet.corpora.corpus import FULL_BAND_HZ, make_corpus
from msdet.corpora.listing import SpeechFile, inspect_audio, list_files
from msdet.corpora.utterance import MANIFEST, write_manifest
from msdet.ending import tell
from msdet.errors import InputError
from msdet.files import PART, ProcessPaths
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray, rotate_about_vertical, wrap_degrees
from msdet.parsing import Config, SampleRate, parse
from msdet.simulation.checks import MOST_IMAGES
from msdet.simulation.config import MOST_DECIBELS
from msdet.simulation.descriptions import (
    DescribedSpeaker,
    SceneDescription,
    audio_file,
    read_descriptions,
)
from msdet.simulation.rirs import wall_reflections
from msdet.simulation.rooms import Room, place
from msdet.simulation.scene import ArrayRecord, Noise, Scene
from msdet.simulation.scene_files import SCENES_NAME, write_scenes
from msdet.simulation.speech import SpeechCrop


class ImportConfig(Config):
    """Scenes made elsewhere, to be made scenes of ours.

    Attributes:
        scenes: the JSON file that describes them. output: folder for the scenes and their corpus.
        split: what the scenes and their speakers are for; of SMS-WSJ, which data set.
        snr_db, target, reference_mic: of scenes that do not say.
        rirs: how room responses are computed; a T60 of 0 is anechoic in any case.
    """

    scenes: str
    output: str
    sample_rate: SampleRate
    split: Literal["train", "valid", "test"]
    snr_db: float
    target: Literal["direct", "early", "image"]
    reference_mic: int = Field(ge=0)
    rirs: Literal["exact", "hybrid"]


def run(values: dict[str, Any]) -> None:
    """Run ``msdet import``."""
    import_scenes(parse(ImportConfig, values))


log = logging.getLogger(__name__)

ARRAY_NAME = "imported"

_CLOSEST = 1e-3
"""Metres: nearer to the array's axis a speaker has no azimuth, nearer to a microphone no level."""


def import_scenes(config: ImportConfig) -> None:
    """Write the folder of a description; it appears whole or not at all.

    Raises:
        InputError: names the description's file, its scene and key, or the folder.
    """
    path, output = Path(config.scenes).expanduser(), Path(os.path.abspath(config.output))
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output}: is a file; name a folder")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"output={output}: is not empty; name another folder")
    if not abs(config.snr_db) <= MOST_DECIBELS:
        raise InputError(
            f"snr_db={config.snr_db:g}: expected -{MOST_DECIBELS:g} to {MOST_DECIBELS:g} dB"
        )
    found = [
        Described(where, scene, *pose(where, scene, config))
        for where, scene in read_descriptions(path, config.split)
    ]
    files = _speech_files(found, path.parent)
    paths = ProcessPaths(output.parent, f".{output.name}.", PART)
    staging = paths.new()
    try:
        paths.remove_leftovers()
        corpus = _link_corpus(files, staging, config)
        scenes = [_scene_of(described, i, corpus, config) for i, described in enumerate(found)]
        write_scenes(staging / SCENES_NAME, scenes)
        staging.replace(output)
    except OSError as error:
        raise InputError(
            f"output={output}: cannot be written ({error.strerror or error})"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    Console(stderr=True).print(
        f"{output / SCENES_NAME}: {len(scenes)} scenes, {len(corpus.utterances)} utterances of "
        f"{len(corpus.speakers)} speakers",
        soft_wrap=True,
    )
    speech = ("corpus=folder", f"corpus.path={config.output}")
    scored = f"scenes={Path(config.output) / SCENES_NAME}"
    tell(next=("evaluate", "checkpoint=MODEL.ckpt", scored, *speech))


@dataclass(frozen=True)
class Described:
    """A description with its room; ``where`` names it in errors."""

    where: str
    scene: SceneDescription
    array: MicrophoneArray
    room: Room


# --- the room -----------------------------------------------------------------------------


def pose(where: str, scene: SceneDescription, config: ImportConfig) -> tuple[MicrophoneArray, Room]:
    """The array, centred on the mean of its microphones, and the room with the speakers' labels.

    Raises:
        InputError: names the key of what stands outside the room or cannot be.
    """
    size = scene.room_size
    for key, points in (
        ("microphones", scene.microphones),
        ("speakers", [speaker.position for speaker in scene.speakers]),
    ):
        for i, point in enumerate(points):
            if not all(0 < p < end for p, end in zip(point, size, strict=True)):
                raise InputError(
                    f"{where}: {key}.{i}: {_metres(point)} is not inside the room of "
                    f"{_metres(size)}"
                )
    reference = config.reference_mic if scene.reference_mic is None else scene.reference_mic
    if reference >= len(scene.microphones):
        raise InputError(
            f"{where}: reference_mic={reference}: there are microphones 0 to "
            f"{len(scene.microphones) - 1}"
        )
    mics = np.array(scene.microphones)
    centre = mics.mean(axis=0).round(9)
    # To the nanometre, so that one array has the same coordinates wherever it stands.
    turned = rotate_about_vertical(mics - centre, -scene.array_rotation).round(9) + 0.0
    try:
        array = MicrophoneArray(ARRAY_NAME, tuple(map(tuple, turned.tolist())))
    except InputError as error:
        raise InputError(f"{where}: microphones: {error}") from error
    x, y, z = centre.tolist()
    rotation = float(wrap_degrees(scene.array_rotation))
    for i, speaker in enumerate(scene.speakers):
        offset = np.subtract(speaker.position, centre)
        if np.linalg.norm(mics - speaker.position, axis=1).min() < _CLOSEST:
            raise InputError(f"{where}: speakers.{i}.position: is that of a microphone")
        if np.linalg.norm(offset if array.is_linear else offset[:2]) < _CLOSEST:
            raise InputError(
                f"{where}: speakers.{i}.position: is at, above or below the array's centre, where "
                "there is no azimuth"
            )
    room = Room(
        size=size,
        t60=scene.t60,
        array_centre=(x, y, z),
        array_rotation=rotation,
        speakers=tuple(place(array, (x, y, z), rotation, s.position) for s in scene.speakers),
        rirs=config.rirs if scene.t60 else "anechoic",
    )
    if room.rirs != "anechoic":
        try:
            wall_reflections(room)
        except InputError as error:
            raise InputError(f"{where}: {error}; give a longer one, or 0 for no walls") from error
    images = 4 / 3 * math.pi * (room.t60 * SPEED_OF_SOUND) ** 3 / math.prod(room.size)
    if room.rirs == "exact" and images > MOST_IMAGES:
        raise InputError(
            f"{where}: t60={room.t60:g}: too long for the image-source method in a room of "
            f"{_metres(room.size)}; give rirs=hybrid"
        )
    return array, room


def _metres(point: Sequence[float]) -> str:
    return " x ".join(f"{p:g}" for p in point) + " m"


# --- the speech ---------------------------------------------------------------------------


def _id_of(speaker: DescribedSpeaker) -> str:
    """The file as the description calls it: the same on every machine that has the description."""
    return PurePath(speaker.file).as_posix()


def _speech_files(found: Sequence[Described], folder: Path) -> dict[str, tuple[Path, str, str]]:
    """Each file once, by utterance id: its path, who speaks, and the words that name the first
    speaker of a scene who needs it. It is there, and it is of one speaker."""
    files: dict[str, tuple[Path, str, str]] = {}
    for described in found:
        for i, speaker in enumerate(described.scene.speakers):
            where, id = f"{described.where}: speakers.{i}", _id_of(speaker)
            who = speaker.speaker or id
            if id not in files:
                try:
                    files[id] = (audio_file(folder, speaker.file).resolve(), who, where)
                except InputError as error:
                    raise InputError(f"{where}.file: {error}") from error
            elif files[id][1] != who:
                raise InputError(
                    f"{where}.speaker={who!r}: the same file is of {files[id][1]!r} in "
                    f"{files[id][2]}"
                )
    if len({who for _, who, _ in files.values()}) == 1:
        _, who, where = next(iter(files.values()))
        raise InputError(
            f"{where}.speaker={who!r}: all files are of this speaker, a corpus needs two"
        )
    return files


def _link_corpus(
    files: Mapping[str, tuple[Path, str, str]], root: Path, config: ImportConfig
) -> Corpus:
    """Link files below ``root``, measure them as those of any corpus, and list them there.

    Links, since a manifest lists what lies inside its corpus; the speech is not copied.

    Raises:
        InputError: names the first file that is no speech, or not at this sample rate.
        OSError: nothing can be written there.
    """
    (root / "speech").mkdir(parents=True)
    speech, needed_by = [], {}
    for number, (id, (path, who, where)) in enumerate(files.items()):
        inside = f"speech/{number:06d}{path.suffix}"
        (root / inside).symlink_to(path)
        needed_by[root / inside] = where, path
        speech.append(SpeechFile(inside, who, config.split, id=id))

    def inspect(link: Path) -> tuple[float, int]:
        where, path = needed_by[link]
        try:
            seconds, rate = inspect_audio(path)
        except InputError as error:
            raise InputError(f"{where}.file: {error}") from error
        if not seconds:
            raise InputError(f"{where}.file: {path}: holds no samples")
        if rate // 2 < min(config.sample_rate // 2, FULL_BAND_HZ):
            # A corpus leaves such speech out, since its empty upper band would tell who speaks.
            raise InputError(
                f"{where}.file: {path}: is at {rate} Hz, less than "
                f"sample_rate={config.sample_rate} needs; give sample_rate={rate}"
            )
        return seconds, rate

    rows = list_files(root, speech, 0.0, inspect)
    write_manifest(root / MANIFEST, rows)
    several = sum(soundfile.info(path).channels > 1 for path, _, _ in files.values())
    if several:
        log.warning("%d speech files have several channels: the first is taken", several)
    return make_corpus("folder", root, rows, config.sample_rate)


def _crop_of(
    where: str, speaker: DescribedSpeaker, corpus: Corpus, num_samples: int | None
) -> SpeechCrop:
    """The samples of a speaker's file in a scene of ``num_samples``; None: as long as needed.

    Raises:
        InputError: the file or the scene is shorter than that, or the stretch is silent.
    """
    utterance = corpus.by_id(_id_of(speaker))
    rate = corpus.sample_rate
    offset, onset = round(speaker.offset_seconds * rate), round(speaker.onset_seconds * rate)
    there = corpus.num_samples(utterance) - offset
    if there < 1:
        raise InputError(
            f"{where}.offset_seconds={speaker.offset_seconds:g}: {utterance.id} lasts "
            f"{utterance.duration:.3f} s"
        )
    left = there if num_samples is None else num_samples - onset
    if left < 1:
        raise InputError(f"{where}.onset_seconds={speaker.onset_seconds:g}: the scene is over then")
    length = min(there, left)
    if speaker.seconds is not None:
        asked = max(1, round(speaker.seconds * rate))
        if asked > length + 1:  # one sample may be lost where times were rounded
            raise InputError(
                f"{where}.seconds={speaker.seconds:g}: {utterance.id} has {there / rate:.3f} s "
                f"after its offset, the scene {left / rate:.3f} s after the onset"
            )
        length = min(asked, length)
    # In the file itself: what a corpus hands out rings a little where there was nothing.
    ratio = utterance.sample_rate / rate
    begin, frames = round(offset * ratio), max(1, round(length * ratio))
    audio, _ = soundfile.read(corpus.root / utterance.path, frames, begin, always_2d=True)
    if not audio[:, 0].any():
        end = (offset + length) / rate
        raise InputError(
            f"{where}: {utterance.id} is silent from {offset / rate:.3f} s to {end:.3f} s"
        )
    return SpeechCrop(
        utterance=utterance.id,
        offset=offset,
        onset=onset,
        length=length,
        level_db=speaker.level_db,
    )


# --- the scene ----------------------------------------------------------------------------


def _scene_of(described: Described, index: int, corpus: Corpus, config: ImportConfig) -> Scene:
    """The scene, as `msdet simulate` would have drawn it."""
    scene, rate = described.scene, corpus.sample_rate
    num_samples = None if scene.seconds is None else max(1, round(scene.seconds * rate))
    crops = [
        _crop_of(f"{described.where}: speakers.{i}", speaker, corpus, num_samples)
        for i, speaker in enumerate(scene.speakers)
    ]
    first = crops[0].level_db
    digest = hashlib.sha256(scene.id.encode()).digest()
    return Scene(
        id=scene.id,
        split=config.split,
        index=index,
        epoch=0,
        sample_rate=rate,
        num_samples=num_samples or max(crop.onset + crop.length for crop in crops),
        array=ArrayRecord(name=described.array.name, positions=described.array.positions),
        reference_mic=(
            config.reference_mic if scene.reference_mic is None else scene.reference_mic
        ),
        target=scene.target or config.target,
        room=described.room,
        speech=tuple(
            crop.model_copy(update={"level_db": round(crop.level_db - first, 6)}) for crop in crops
        ),
        noise=Noise(
            snr_db=config.snr_db if scene.snr_db is None else scene.snr_db,
            # Of the id alone, and an integer that JSON readers keep.
            seed=int.from_bytes(digest[:6], "big"),
        ),
        corpus=corpus.fingerprint,
    )
