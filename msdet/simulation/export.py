# SPDX-License-Identifier: Apache-2.0
"""``msdet simulate``: a set of scenes as a file, and on request their audio and labels.

::

    OUTPUT/scenes.jsonl                 one scene a line, all that `render` needs beside the corpus
    OUTPUT/metadata.csv                 one row a mixture, in the columns of LibriMix
    OUTPUT/audio/ID/mixture.wav         all microphones, 32-bit float
    OUTPUT/audio/ID/speaker1.wav ...    targets at the reference microphone, 32-bit float
    OUTPUT/audio/ID/labels.json         what is known about the mixture and its speakers

Samples are those that training and evaluation see: the reference microphone has an RMS of 1, so
peaks lie beyond 1. Players clip them; dividing by ``gain`` gives the level of the recordings.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from msdet.audio import write_audio
from msdet.corpora import Corpus, open_corpus
from msdet.errors import InputError
from msdet.simulation.bank import RirBank, rirs_folder
from msdet.simulation.render import Example, render
from msdet.simulation.rooms import check_scene_config
from msdet.simulation.scene import Scene, fixed_scenes
from msdet.simulation.scene_files import read_scenes, write_scenes
from msdet.workers import available_cores, in_processes

if TYPE_CHECKING:
    from msdet.config import SimulateConfig

SCENES_NAME = "scenes.jsonl"
METADATA_NAME = "metadata.csv"
LABELS_NAME = "labels.json"
_PART = ".part"
_ANOTHER = "choose another output="


def simulate(config: SimulateConfig) -> None:
    """Write the scenes of a config, and their audio if asked.

    The same config and folder go on where a stopped run was: what is there is not made again.

    Raises:
        InputError: the scenes cannot be drawn, or the folder is not for them; before any work.
    """
    array = config.array.build()
    check_scene_config(config.scene, array)
    if round(config.seconds * config.sample_rate) < 1:
        raise InputError(f"seconds={config.seconds}: less than a sample; give the scenes' length")
    folder = Path(config.output)
    check_folder(folder)
    corpus = open_corpus(config.corpus, config.sample_rate).split(config.split)
    scenes = fixed_scenes(
        config.scene,
        array,
        corpus,
        seed=config.seed,
        split=config.split,
        count=config.num_scenes,
        sample_rate=config.sample_rate,
        seconds=config.seconds,
    )
    keep_scenes(folder, scenes)
    console = Console(stderr=True)
    console.print(f"{folder / SCENES_NAME}: {len(scenes)} scenes", soft_wrap=True)
    if config.audio:
        renderer = Renderer(corpus, rirs_folder(config.cache), folder / "audio")
        made = render_all(renderer, scenes, config.num_workers or available_cores())
        write_metadata(folder, scenes)
        there = f", {len(scenes) - made} were there" if made < len(scenes) else ""
        console.print(f"{folder / 'audio'}: {made} scenes rendered{there}", soft_wrap=True)


# --- the folder ---------------------------------------------------------------------------


def check_folder(folder: Path) -> None:
    """Refuse what is not a folder of scenes; an empty or missing one will become one."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    if not folder.exists() or (folder / SCENES_NAME).exists():
        return
    # A kill while the first file was written leaves its hidden temporary name.
    if any(not path.name.startswith(f".{SCENES_NAME}.") for path in folder.iterdir()):
        raise InputError(f"output={folder}: is not empty and holds no scenes; {_ANOTHER}")


def keep_scenes(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write the scenes' file, or see that the one that is there holds these very scenes."""
    path = folder / SCENES_NAME
    if path.exists():
        difference = _difference(read_scenes(path), scenes)
        if difference:
            raise InputError(
                f"output={folder}: holds another set of scenes ({difference}); give the settings "
                f"that it was made with, or {_ANOTHER}"
            )
        return
    write_scenes(path, scenes)


def _difference(found: Sequence[Scene], wanted: Sequence[Scene]) -> str:
    """What is different, in a few words; empty where nothing is."""
    if len(found) != len(wanted):
        return f"num_scenes was {len(found)}, is {len(wanted)}"
    for old, new in zip(found, wanted, strict=True):
        for key in Scene.model_fields:
            if getattr(old, key) != getattr(new, key):
                return f"the first difference is {key!r} of scene {old.id}"
    return ""


def write_metadata(folder: Path, scenes: Sequence[Scene]) -> None:
    """The table of LibriMix, with where the speakers stand; paths are relative to its folder."""
    most = max(len(scene.speech) for scene in scenes)
    numbers = range(1, most + 1)
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(
        [
            *("mixture_ID", "mixture_path"),
            *(f"source_{number}_path" for number in numbers),
            "length",
            *(f"azimuth_{number}" for number in numbers),
            *(f"distance_{number}" for number in numbers),
        ]
    )
    for scene in scenes:
        inside = f"audio/{scene.id}"
        speakers = scene.room.speakers
        missing = [""] * (most - len(speakers))
        writer.writerow(
            [
                *(scene.id, f"{inside}/mixture.wav"),
                *(f"{inside}/{speaker_file(i)}" for i in range(len(speakers))),
                *missing,
                scene.num_samples,
                *(round(speaker.azimuth, 4) for speaker in speakers),
                *missing,
                *(round(speaker.distance, 4) for speaker in speakers),
                *missing,
            ]
        )
    path = folder / METADATA_NAME
    temporary = folder / f".{METADATA_NAME}{_PART}"
    try:
        temporary.write_text(table.getvalue(), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


# --- one scene ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Renderer:
    """Renders scenes into folders of their own under ``audio``.

    Attributes:
        corpus: the split's part of the corpus that the scenes were drawn from.
        bank: folder of room responses; those that are missing are made, and kept there.
    """

    corpus: Corpus
    bank: Path
    audio: Path

    def folder(self, scene: Scene) -> Path:
        """Where a scene's files are; it exists when all of them do."""
        return self.audio / scene.id

    def __call__(self, scene: Scene) -> None:
        """Write a scene's folder under a temporary name, then rename it.

        Raises:
            InputError: the speech cannot be read, or the files cannot be written.
        """
        bank = RirBank(self.bank, scene.microphone_array(), scene.sample_rate)
        example = render(scene, self.corpus, bank.get(scene.room))
        folder = self.folder(scene)
        temporary = self.audio / f".{scene.id}{_PART}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # what a killed run was writing
            temporary.mkdir(parents=True)
            write_audio(temporary / "mixture.wav", example.mixture, scene.sample_rate)
            for i, target in enumerate(example.targets):
                write_audio(temporary / speaker_file(i), target, scene.sample_rate)
            content = json.dumps(labels(example, self.corpus), indent=2, allow_nan=False)
            (temporary / LABELS_NAME).write_text(content + "\n", encoding="utf-8")
            temporary.rename(folder)
        except (OSError, InputError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{folder}: cannot be written ({reason}); the same command goes on from here"
            ) from error


def speaker_file(speaker: int) -> str:
    """Name of the file of a speaker's target, counted from 0; names count from 1."""
    return f"speaker{speaker + 1}.wav"


def labels(example: Example, corpus: Corpus) -> dict[str, Any]:
    """What ``labels.json`` holds: metres, seconds, degrees in the array's frame, decibels.

    ``t60_measured`` is null where the responses show no decay (an anechoic room).
    """
    scene = example.scene
    room = scene.room
    return {
        "id": scene.id,
        "split": scene.split,
        "sample_rate": scene.sample_rate,
        "num_samples": scene.num_samples,
        "mixture": "mixture.wav",
        "gain": example.gain,
        "target": scene.target,
        "reference_mic": scene.reference_mic,
        "array": scene.array.model_dump(mode="json"),
        "room": {
            "size": room.size,
            "array_centre": room.array_centre,
            "array_rotation": room.array_rotation,
        },
        "t60_asked": room.t60,
        "t60_measured": example.t60 or None,
        "noise": scene.noise.kind,
        "snr_db": scene.noise.snr_db,
        "corpus": {"name": corpus.name, "fingerprint": scene.corpus},
        "speakers": [
            {
                "file": speaker_file(i),
                "azimuth": placement.azimuth,
                "elevation": placement.elevation,
                "distance": placement.distance,
                "position": placement.position,
                "drr_db": float(example.drr_db[i]),
                "level_db": crop.level_db,
                "speaker": corpus.by_id(crop.utterance).speaker,
                "utterance": crop.utterance,
                "offset": crop.offset,
                "onset": crop.onset,
                "length": crop.length,
            }
            for i, (placement, crop) in enumerate(zip(room.speakers, scene.speech, strict=True))
        ],
    }


# --- all scenes ---------------------------------------------------------------------------


def render_all(renderer: Renderer, scenes: Sequence[Scene], num_workers: int) -> int:
    """Render what is not there yet, in processes; returns how many scenes that were."""
    try:
        renderer.audio.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in renderer.audio.iterdir()}
    except OSError as error:
        raise InputError(f"{renderer.audio}: cannot be written ({error.strerror})") from error
    missing = [scene for scene in scenes if scene.id not in there]
    if not missing:
        return 0
    _check_space(renderer.audio, missing)
    made = in_processes(
        _itself,
        renderer,
        missing,
        num_workers=num_workers,
        title="rendering",
        done=len(scenes) - len(missing),
    )
    deque(made, maxlen=0)
    return len(missing)


def _check_space(folder: Path, scenes: Sequence[Scene]) -> None:
    """Refuse at once what would fill the disk after an hour."""
    channels = (len(scene.array.positions) + len(scene.speech) for scene in scenes)
    needed = sum(4 * c * scene.num_samples for c, scene in zip(channels, scenes, strict=True))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {len(scenes)} scenes take {needed / 1e9:.1f} GB, the disk has "
            f"{free / 1e9:.1f} GB left; ask for fewer (num_scenes), or {_ANOTHER}"
        )


def _itself(renderer: Renderer) -> Renderer:
    return renderer
