# SPDX-License-Identifier: Apache-2.0
"""``msdet import``: scenes described elsewhere become scenes and a corpus of msdet.

::

    OUTPUT/scenes.jsonl       one scene a line, as `msdet simulate` writes them
    OUTPUT/manifest.jsonl     the speech files, as a corpus: corpus=folder corpus.path=OUTPUT
    OUTPUT/speech/            links to the speech files
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from rich.console import Console

from msdet.corpora import Corpus
from msdet.ending import tell
from msdet.errors import InputError
from msdet.files import scratch_folder
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray, rotate_about_vertical, wrap_degrees
from msdet.parsing import Config, SampleRate, parse
from msdet.simulation.checks import MOST_IMAGES
from msdet.simulation.config import MOST_DECIBELS
from msdet.simulation.foreign import SceneDescription, read_descriptions
from msdet.simulation.foreign_speech import crop_of, link_corpus, speech_files
from msdet.simulation.rooms import Room, place
from msdet.simulation.scene import ArrayRecord, Noise, Scene
from msdet.simulation.scene_files import SCENES_NAME, write_scenes
from msdet.simulation.walls import Walls


class ImportConfig(Config):
    """Scenes made elsewhere, to be made scenes of ours.

    Attributes:
        scenes: JSON file that describes them.
        output: folder for `scenes.jsonl` and `manifest.jsonl`, empty or new.
        sample_rate: hertz.
        split: what the scenes and their speakers are for; of SMS-WSJ, which data set.
        snr_db: of scenes that give none, -100 to 100; at 100 nobody hears the noise.
        target, reference_mic: of scenes that name none.
        rirs: how room responses are computed; a T60 of 0 is anechoic in any case.
    """

    scenes: str
    output: str
    sample_rate: SampleRate = 16000
    split: Literal["train", "valid", "test"] = "test"
    snr_db: float = MOST_DECIBELS
    target: Literal["direct", "early", "image"] = "direct"
    reference_mic: int = Field(default=0, ge=0)
    rirs: Literal["exact", "hybrid"] = "exact"


def run(values: dict[str, Any]) -> None:
    """Run ``msdet import``."""
    import_scenes(parse(ImportConfig, values))


ARRAY_NAME = "imported"

_CLOSEST = 1e-3
"""Metres: nearer to the array's axis a speaker has no azimuth, nearer to a microphone no level."""


def import_scenes(config: ImportConfig) -> None:
    """Write the folder of a description; it appears whole or not at all.

    Raises:
        InputError: names the description's file, its scene and key, or the folder.
    """
    path, output = Path(config.scenes).expanduser(), Path(os.path.abspath(config.output))
    check_output(output)
    if not abs(config.snr_db) <= MOST_DECIBELS:
        raise InputError(
            f"snr_db={config.snr_db:g}: expected -{MOST_DECIBELS:g} to {MOST_DECIBELS:g} dB"
        )
    found = [
        Described(where, scene, *pose(where, scene, config))
        for where, scene in read_descriptions(path, config.split)
    ]
    files = speech_files(
        (
            (f"{described.where}: speakers.{i}", speaker)
            for described in found
            for i, speaker in enumerate(described.scene.speakers)
        ),
        path.parent,
    )
    try:
        with scratch_folder(output) as folder:
            corpus = link_corpus(files, folder, config.split, config.sample_rate)
            scenes = [scene_of(described, i, corpus, config) for i, described in enumerate(found)]
            write_scenes(folder / SCENES_NAME, scenes)
            folder.replace(output)
    except OSError as error:
        raise InputError(
            f"output={output}: cannot be written ({error.strerror or error})"
        ) from error
    Console(stderr=True).print(
        f"{output / SCENES_NAME}: {len(scenes)} scenes, {len(corpus.utterances)} utterances of "
        f"{len(corpus.speakers)} speakers",
        soft_wrap=True,
    )
    speech = ("corpus=folder", f"corpus.path={config.output}")
    scored = f"scenes={Path(config.output) / SCENES_NAME}"
    tell(next=("evaluate", "checkpoint=MODEL.ckpt", scored, *speech))


def check_output(folder: Path) -> None:
    """Refuse what would be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"output={folder}: is not empty; name another folder")


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
    _check_t60(where, room)
    return array, room


def _check_t60(where: str, room: Room) -> None:
    """Refuse a reverberation that the room cannot have, or that would take gigabytes."""
    if room.rirs == "anechoic":
        return
    try:
        Walls.of(room)
    except InputError as error:
        raise InputError(f"{where}: {error}; give a longer one, or 0 for no walls") from error
    images = 4 / 3 * math.pi * (room.t60 * SPEED_OF_SOUND) ** 3 / math.prod(room.size)
    if room.rirs == "exact" and images > MOST_IMAGES:
        raise InputError(
            f"{where}: t60={room.t60:g}: too long for the image-source method in a room of "
            f"{_metres(room.size)}; give rirs=hybrid"
        )


def _metres(point: Sequence[float]) -> str:
    return " x ".join(f"{p:g}" for p in point) + " m"


# --- the scene ----------------------------------------------------------------------------


def scene_of(described: Described, index: int, corpus: Corpus, config: ImportConfig) -> Scene:
    """The scene, as `msdet simulate` would have drawn it."""
    scene, rate = described.scene, corpus.sample_rate
    num_samples = None if scene.seconds is None else max(1, round(scene.seconds * rate))
    crops = [
        crop_of(f"{described.where}: speakers.{i}", speaker, corpus, num_samples)
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
