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
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import soundfile
from pydantic import Field
from rich.console import Console

from msdet.corpora import Corpus, Split
from msdet.corpora.corpus import FULL_BAND_HZ, make_corpus
from msdet.corpora.listing import SpeechFile, inspect_audio, list_files
from msdet.corpora.utterance import MANIFEST, write_manifest
from msdet.ending import tell
from msdet.errors import InputError, naming
from msdet.files import scratch_folder
from msdet.geometry import MicrophoneArray, rotate_about_vertical, wrap_degrees
from msdet.parsing import Config, SampleRate, parse
from msdet.simulation.checks import longest_t60, metres
from msdet.simulation.config import MOST_DECIBELS, Backend
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
        scenes: JSON file that describes them.
        output: folder for `scenes.jsonl` and `manifest.jsonl`, empty or new.
        sample_rate: hertz.
        split: what the scenes and their speakers are for; of SMS-WSJ, which data set.
        snr_db: of scenes that give none; at 100 nobody hears the noise.
        target, reference_mic: of scenes that name none.
        rirs: how room responses are computed; a T60 of 0 is anechoic in any case.
    """

    scenes: str
    output: str
    sample_rate: SampleRate = 16000
    split: Literal["train", "valid", "test"] = "test"
    snr_db: float = Field(default=MOST_DECIBELS, ge=-MOST_DECIBELS, le=MOST_DECIBELS)
    target: Literal["direct", "early", "image"] = "direct"
    reference_mic: int = Field(default=0, ge=0)
    rirs: Literal["exact", "hybrid"] = "exact"


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
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        reason = "is not empty" if output.is_dir() else "is a file"
        raise InputError(f"output={output}: {reason}; name another folder")
    defaults = {key: getattr(config, key) for key in ("snr_db", "target", "reference_mic")}
    found = []
    for where, scene in read_descriptions(path, config.split, defaults):
        with naming(where):
            found.append((where, scene, *pose(scene, config.rirs)))
    files = _speech_files([(where, scene) for where, scene, *_ in found], path.parent, config)
    try:
        with scratch_folder(output) as folder:
            corpus = _link_corpus(files, folder, config)
            scenes = [
                _scene_of(*described, index, corpus, config.split)
                for index, described in enumerate(found)
            ]
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


def pose(scene: SceneDescription, rirs: Backend) -> tuple[MicrophoneArray, Room]:
    """The array, centred on the mean of its microphones, and the room with the speakers' labels.

    Args:
        rirs: how responses are computed where there are walls.
    Raises:
        InputError: names the key of what stands outside the room or cannot be.
    """
    size = scene.room_size
    points = {f"microphones.{i}": point for i, point in enumerate(scene.microphones)}
    points |= {f"speakers.{i}": speaker.position for i, speaker in enumerate(scene.speakers)}
    for key, point in points.items():
        if not all(0 < p < end for p, end in zip(point, size, strict=True)):
            raise InputError(f"{key}: {metres(point)} is not inside the room of {metres(size)}")
    mics = np.array(scene.microphones)
    if scene.reference_mic >= len(mics):
        raise InputError(
            f"reference_mic={scene.reference_mic}: there are microphones 0 to {len(mics) - 1}"
        )
    centre = mics.mean(axis=0).round(9)
    # To the nanometre, so that one array has the same coordinates wherever it stands.
    turned = rotate_about_vertical(mics - centre, -scene.array_rotation).round(9) + 0.0
    with naming("microphones"):
        array = MicrophoneArray(ARRAY_NAME, tuple(map(tuple, turned.tolist())))
    x, y, z = centre.tolist()
    rotation = float(wrap_degrees(scene.array_rotation))
    for i, speaker in enumerate(scene.speakers):
        offset = np.subtract(speaker.position, centre)
        if np.linalg.norm(mics - speaker.position, axis=1).min() < _CLOSEST:
            raise InputError(f"speakers.{i}.position: is that of a microphone")
        if np.linalg.norm(offset if array.is_linear else offset[:2]) < _CLOSEST:
            raise InputError(
                f"speakers.{i}.position: is at, above or below the array's centre, where there is "
                "no azimuth"
            )
    room = Room(
        size=size,
        t60=scene.t60,
        array_centre=(x, y, z),
        array_rotation=rotation,
        speakers=tuple(place(array, (x, y, z), rotation, s.position) for s in scene.speakers),
        rirs=rirs if scene.t60 else "anechoic",
    )
    if room.rirs != "anechoic":
        wall_reflections(room)  # which refuses a T60 that the room cannot have
    if room.rirs == "exact" and room.t60 > longest_t60(size):
        raise InputError(
            f"t60={room.t60:g}: too long for the image-source method in a room of "
            f"{metres(size)}; give rirs=hybrid"
        )
    return array, room


# --- the speech ---------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A file of speech, who speaks in it, and the words that name the speaker of a scene who was
    first to need it."""

    path: Path
    speaker: str
    where: str
    seconds: float
    sample_rate: int


def _id_of(speaker: DescribedSpeaker) -> str:
    """The file as the description calls it: the same on every machine that has the description."""
    return PurePath(speaker.file).as_posix()


def _speech_files(
    found: Sequence[tuple[str, SceneDescription]], folder: Path, config: ImportConfig
) -> dict[str, File]:
    """Each file once, by utterance id; it is speech, and it is of one speaker."""
    files: dict[str, File] = {}
    for scene_where, scene in found:
        for i, speaker in enumerate(scene.speakers):
            where, id = f"{scene_where}: speakers.{i}", _id_of(speaker)
            who = speaker.speaker or id
            if id not in files:
                with naming(f"{where}.file"):
                    path = audio_file(folder, speaker.file).resolve()
                    files[id] = File(path, who, where, *_inspect(path, config.sample_rate))
            elif files[id].speaker != who:
                first = files[id]
                raise InputError(
                    f"{where}.speaker={who!r}: the same file is of {first.speaker!r} in "
                    f"{first.where}"
                )
    if len({file.speaker for file in files.values()}) == 1:
        first = next(iter(files.values()))
        raise InputError(
            f"{first.where}.speaker={first.speaker!r}: all files are of this speaker, a corpus "
            "needs two"
        )
    return files


def _inspect(path: Path, sample_rate: int) -> tuple[float, int]:
    """Seconds and sample rate of a file that scenes at a sample rate may use."""
    seconds, rate = inspect_audio(path)
    if not seconds:
        raise InputError(f"{path}: holds no samples")
    if rate // 2 < min(sample_rate // 2, FULL_BAND_HZ):
        # A corpus leaves such speech out: its empty upper band would tell who speaks.
        raise InputError(
            f"{path}: is at {rate} Hz, less than sample_rate={sample_rate} needs; give "
            f"sample_rate={rate}"
        )
    return seconds, rate


def _link_corpus(files: Mapping[str, File], root: Path, config: ImportConfig) -> Corpus:
    """Link files below ``root``, and list them there as those of any corpus.

    Links, since a manifest lists what lies inside its corpus; the speech is not copied.

    Raises:
        OSError: nothing can be written there.
    """
    (root / "speech").mkdir(parents=True)
    speech, known = [], {}
    for number, (id, file) in enumerate(files.items()):
        link = f"speech/{number:06d}{file.path.suffix}"
        (root / link).symlink_to(file.path)
        known[root / link] = file.seconds, file.sample_rate
        speech.append(SpeechFile(link, file.speaker, config.split, id=id))
    rows = list_files(root, speech, 0.0, known.__getitem__)
    write_manifest(root / MANIFEST, rows)
    several = sum(soundfile.info(file.path).channels > 1 for file in files.values())
    if several:
        log.warning("%d speech files have several channels: the first is taken", several)
    return make_corpus("folder", root, rows, config.sample_rate)


def _crop_of(
    speaker: DescribedSpeaker, corpus: Corpus, num_samples: int | None, level_db: float
) -> SpeechCrop:
    """The samples of a speaker's file in a scene of ``num_samples``; None: as long as needed.

    Raises:
        InputError: the file or the scene is shorter than that, or the stretch is silent.
    """
    utterance, rate = corpus.by_id(_id_of(speaker)), corpus.sample_rate
    offset, onset = round(speaker.offset_seconds * rate), round(speaker.onset_seconds * rate)
    there = corpus.num_samples(utterance) - offset
    if there < 1:
        lasts = f"{utterance.id} lasts {utterance.duration:.3f} s"
        raise InputError(f"offset_seconds={speaker.offset_seconds:g}: {lasts}")
    left = there if num_samples is None else num_samples - onset
    if left < 1:
        raise InputError(f"onset_seconds={speaker.onset_seconds:g}: the scene is over then")
    length = min(there, left)
    if speaker.seconds is not None:
        asked = max(1, round(speaker.seconds * rate))
        if asked > length + 1:  # one sample may be lost where times were rounded
            raise InputError(
                f"seconds={speaker.seconds:g}: {utterance.id} has {there / rate:.3f} s after its "
                f"offset, the scene {left / rate:.3f} s after the onset"
            )
        length = min(asked, length)
    # In the file itself: what a corpus hands out rings a little where there was nothing.
    ratio = utterance.sample_rate / rate
    begin, frames = round(offset * ratio), max(1, round(length * ratio))
    audio, _ = soundfile.read(corpus.root / utterance.path, frames, begin, always_2d=True)
    if not audio[:, 0].any():
        times = f"{offset / rate:.3f} s to {(offset + length) / rate:.3f} s"
        raise InputError(f"{utterance.id} is silent from {times}")
    samples = {"offset": offset, "onset": onset, "length": length}
    return SpeechCrop(utterance=utterance.id, level_db=level_db, **samples)


def _scene_of(
    where: str,
    scene: SceneDescription,
    array: MicrophoneArray,
    room: Room,
    index: int,
    corpus: Corpus,
    split: Split,
) -> Scene:
    """The scene, as `msdet simulate` would have drawn it."""
    rate = corpus.sample_rate
    num_samples = None if scene.seconds is None else max(1, round(scene.seconds * rate))
    crops, first = [], scene.speakers[0]
    for i, speaker in enumerate(scene.speakers):
        with naming(f"{where}: speakers.{i}"):
            level_db = round(speaker.level_db - first.level_db, 6)
            crops.append(_crop_of(speaker, corpus, num_samples, level_db))
    # Of the id alone, and an integer that JSON readers keep.
    seed = int.from_bytes(hashlib.sha256(scene.id.encode()).digest()[:6], "big")
    return Scene(
        id=scene.id,
        split=split,
        index=index,
        epoch=0,
        sample_rate=rate,
        num_samples=num_samples or max(crop.onset + crop.length for crop in crops),
        array=ArrayRecord(name=array.name, positions=array.positions),
        reference_mic=scene.reference_mic,
        target=scene.target,
        room=room,
        speech=tuple(crops),
        noise=Noise(snr_db=scene.snr_db, seed=seed),
        corpus=corpus.fingerprint,
    )
