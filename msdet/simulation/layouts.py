# SPDX-License-Identifier: Apache-2.0
"""How mixtures lie on disk: a folder each, or many in a tar archive as WebDataset reads them.

::

    audio/ID/mixture.wav                   all microphones, 32-bit float
    audio/ID/speaker1.wav ...              targets at the reference microphone, 32-bit float
    audio/ID/labels.json                   what is known about the mixture and its speakers

    shards/shard-000000.tar                members ID.mixture.wav, ID.speaker1.wav, ..., ID.json

Samples are those that training and evaluation see: the reference microphone has an RMS of 1, so
peaks lie beyond 1. Players clip them; dividing by ``gain`` gives the level of the recordings.
The same scene gives the same bytes: nothing here holds a time or a name of a user.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.render import Example
from msdet.simulation.scene import Scene

Format = Literal["folder", "tar"]
Render = Callable[[Scene], Example]

MIXTURE_NAME = "mixture.wav"
LABELS_NAME = "labels.json"
FOLDERS = {"folder": "audio", "tar": "shards"}
"""Where the audio of each format lies within the output folder."""


def shard_name(shard: int) -> str:
    """The stem of a shard's files."""
    return f"shard-{shard:06d}"


def tar_path(output: Path, shard: int) -> Path:
    """A shard's archive."""
    return output / FOLDERS["tar"] / f"{shard_name(shard)}.tar"


def speaker_file(speaker: int) -> str:
    """Name of the file of a speaker's target, counted from 0; names count from 1."""
    return f"speaker{speaker + 1}.wav"


def member_name(id: str, name: str) -> str:
    """Name in an archive: what stands before the first dot tells which mixture it belongs to."""
    return f"{id}.json" if name == LABELS_NAME else f"{id}.{name}"


def path_within(format: Format, shard: int, id: str, name: str) -> str:
    """Where a file of a mixture is, relative to the output folder; archives read as folders."""
    if format == "tar":
        return f"{FOLDERS['tar']}/{shard_name(shard)}.tar/{member_name(id, name)}"
    return f"{FOLDERS['folder']}/{id}/{name}"


# --- the files of one mixture -------------------------------------------------------------


def files(example: Example, corpus: Corpus) -> dict[str, bytes]:
    """Names and contents of a mixture's files."""
    rate = example.scene.sample_rate
    content = json.dumps(labels(example, corpus), indent=2, allow_nan=False) + "\n"
    return {
        MIXTURE_NAME: wav(example.mixture, rate),
        **{speaker_file(i): wav(target, rate) for i, target in enumerate(example.targets)},
        LABELS_NAME: content.encode(),
    }


def wav(audio: NDArray[np.float32], sample_rate: int) -> bytes:
    """``[sample]`` or ``[channel, sample]`` as a 32-bit float WAV.

    By scipy: libsndfile writes the time into such files, so that no two would be alike.
    """
    buffer = BytesIO()
    wavfile.write(buffer, sample_rate, np.asarray(audio, "<f4").T)
    return buffer.getvalue()


def labels(example: Example, corpus: Corpus) -> dict[str, Any]:
    """What ``labels.json`` holds: metres, seconds, degrees in the array's frame, decibels.

    ``t60_measured`` is null where the responses show no decay (an anechoic room), ``background``
    where there is none; ``scene`` is the row of ``scenes.jsonl``.
    """
    scene = example.scene
    room, background = scene.room, scene.background
    return {
        "id": scene.id,
        "split": scene.split,
        "sample_rate": scene.sample_rate,
        "num_samples": scene.num_samples,
        "mixture": MIXTURE_NAME,
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
        "snr_db": scene.noise.snr_db,
        "background": background and {"kind": background.kind, "snr_db": background.snr_db},
        "corpus": {"name": corpus.name, "fingerprint": scene.corpus},
        "speakers": [
            {
                "file": speaker_file(i),
                "azimuth": placement.azimuth,
                "elevation": placement.elevation,
                "distance": placement.distance,
                "position": placement.position,
                "drr_db": _finite(float(example.drr_db[i])),
                "level_db": crop.level_db,
                "speaker": corpus.by_id(crop.utterance).speaker,
                "utterance": crop.utterance,
                "offset": crop.offset,
                "onset": crop.onset,
                "length": crop.length,
            }
            for i, (placement, crop) in enumerate(zip(room.speakers, scene.speech, strict=True))
        ],
        "scene": scene.model_dump(mode="json"),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity, which is the direct-to-reverberant ratio of a room without walls."""
    return value if np.isfinite(value) else None


# --- the mixtures of one shard ------------------------------------------------------------


def write_folders(
    output: Path, attempt: Path, scenes: Iterable[Scene], render: Render, corpus: Corpus
) -> None:
    """A folder for each scene that has none; it gets its name when all of its files are there.

    Args:
        attempt: folder for what is not whole yet, on the same disk.
    """
    audio = output / FOLDERS["folder"]
    audio.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        folder = audio / scene.id
        if folder.exists():
            continue
        temporary = attempt / scene.id
        contents = files(render(scene), corpus)
        with _naming(folder):
            temporary.mkdir()
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was quicker with the same scene
                raise


def write_tar(
    path: Path, attempt: Path, scenes: Iterable[Scene], render: Render, corpus: Corpus
) -> None:
    """An archive of all scenes of a shard, in their order; it gets its name when it is whole.

    Args:
        attempt: folder for what is not whole yet, on the same disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = attempt / path.name
    with _naming(path), temporary.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for scene in scenes:
                for name, content in files(render(scene), corpus).items():
                    member = tarfile.TarInfo(member_name(scene.id, name))  # time and owner: 0
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of a disk name what was to be written, and not the name that it has meanwhile."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def check_id(id: str, format: Format) -> None:
    """Refuse ids that cannot be names of files, or of members that WebDataset tells apart."""
    refused = "/\\:\0\n" + ("." if format == "tar" else "")
    if not id or id.startswith(".") or any(character in id for character in refused):
        raise InputError(
            f"scene id {id!r}: cannot name files of format={format} "
            f"(no {' '.join(c for c in refused if c.isprintable())}, no dot at the start)"
        )
