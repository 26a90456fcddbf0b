# SPDX-License-Identifier: Apache-2.0
"""Reading back the mixtures that ``msdet simulate`` wrote, any of them at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.corpora import Split
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation.layouts import (
    FOLDERS,
    Format,
    file_names,
    member_name,
    read_labels,
    tar_path,
)
from msdet.simulation.render import Example
from msdet.simulation.request import REQUEST_NAME, read_request
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import lines_of
from msdet.simulation.shard_files import first_damaged, marker_path

_MADE_AGAIN = "the command that made it makes it again"
_POSITION_TOLERANCE = 1e-6
"""Metres: microphones that are closer stand at the same place."""


@dataclass(frozen=True)
class Task:
    """What mixtures must be for a model to be trained on them.

    Attributes:
        split: whose speakers; those of another are kept for scoring.
        num_samples: that they have at least.
    """

    split: Split
    array: MicrophoneArray
    sample_rate: int
    target: str
    reference_mic: int
    num_speakers: int
    num_samples: int


@dataclass(frozen=True)
class StoredMixtures:
    """The mixtures of finished shards, by number; can be sent to other processes.

    Attributes:
        ids: bytes ``[mixture]``. shards: the shard of each ``[mixture]``.
        places: of archives, where each file's content begins and how long it is, bytes
            ``[mixture, file, 2]``: the mixture, its speakers, its labels.
        identity: of all that determines which mixture has which number.
    """

    folder: Path
    format: Format
    num_speakers: int
    ids: NDArray[np.bytes_]
    shards: NDArray[np.int32]
    places: NDArray[np.int64] | None
    identity: str

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Example:
        """A mixture as it was rendered, all of it.

        Raises:
            InputError: its files are gone, or not what was written; names the one to remove.
        """
        id = bytes(self.ids[number]).decode()
        where = self._where(number, id)
        try:
            contents = self._contents(number, id)
            labels = read_labels(contents)
            *audio, _ = contents.values()
            return _example(labels, [_decoded(wav) for wav in audio])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            mend = f"remove it, and {_MADE_AGAIN}" if where.exists() else _MADE_AGAIN
            raise InputError(f"{where}: mixture {id} cannot be read ({reason}); {mend}") from error

    def _where(self, number: int, id: str) -> Path:
        if self.format == "tar":
            return tar_path(self.folder, int(self.shards[number]))
        return self.folder / FOLDERS["folder"] / id

    def _contents(self, number: int, id: str) -> dict[str, bytes]:
        """By name, of the mixture, its speakers and its labels."""
        where, names = self._where(number, id), file_names(self.num_speakers)
        if self.places is None:
            return {name: (where / name).read_bytes() for name in names}
        places = self.places[number]
        begin, end = int(places[0, 0]), int(places[-1].sum())
        with where.open("rb") as file:
            file.seek(begin)
            content = memoryview(file.read(end - begin))
        parts = [bytes(content[start - begin :][:size]) for start, size in places]
        return dict(zip(names, parts, strict=True))


def open_mixtures(folder: Path, task: Task) -> StoredMixtures:
    """See that all mixtures of a folder's finished shards serve a task, and where they are.

    Raises:
        InputError: names the folder and the first thing that does not fit, or the damaged file.
    """
    where = f"data.simulated={folder}"
    if not (folder / REQUEST_NAME).is_file():
        raise InputError(f"{where}: has no {REQUEST_NAME}; name an output folder of msdet simulate")
    request = read_request(folder)
    if not request.audio:
        raise InputError(f"{where}: holds scenes without audio; simulate with audio=true")
    finished = [k for k in range(request.num_shards) if marker_path(folder, k).exists()]
    if not finished:
        raise InputError(
            f"{where}: none of its {request.num_shards} shards is finished; the command that "
            "began it goes on"
        )
    names, shards, places = [], [], []
    identity = hashlib.sha256(request.model_dump_json().encode())
    for shard in finished:
        if damaged := first_damaged(folder, shard):
            raise InputError(f"{where}: {damaged} is damaged or gone; {_MADE_AGAIN}")
        ids = _ids(where, marker_path(folder, shard), task)
        names.append(np.array([id.encode() for id in ids]))
        shards.append(np.full(len(ids), shard, np.int32))
        if request.format == "tar":
            places.append(_places(where, tar_path(folder, shard), ids, task.num_speakers))
        identity.update(str(shard).encode() + b",")
    return StoredMixtures(
        folder=folder,
        format=request.format,
        num_speakers=task.num_speakers,
        ids=np.concatenate(names),
        shards=np.concatenate(shards),
        places=np.concatenate(places) if places else None,
        identity=identity.hexdigest(),
    )


def _ids(where: str, marker: Path, task: Task) -> list[str]:
    """The ids of a shard's scenes, if all serve the task."""
    ids = []
    try:
        for line in lines_of(marker.read_text(encoding="utf-8")):
            if not line:
                continue
            # Without checking every key, which takes a minute for a million scenes.
            scene = json.loads(line)
            if misfit := _misfit(scene, task):
                raise InputError(f"{where}: scene {scene['id']}: {misfit}")
            ids.append(str(scene["id"]))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{where}: {marker} is damaged ({error}); remove it, and {_MADE_AGAIN}"
        ) from error
    if not ids:
        raise InputError(
            f"{where}: {marker} is damaged (holds no scenes); remove it, and {_MADE_AGAIN}"
        )
    return ids


def _misfit(scene: dict[str, Any], task: Task) -> str:
    """Why a scene does not serve; empty if it does."""
    array = scene["array"]
    positions, wanted = np.asarray(array["positions"]), task.array.as_array()
    if positions.shape != wanted.shape or np.abs(positions - wanted).max() > _POSITION_TOLERANCE:
        return (
            f"array {array['name']!r} has {len(positions)} microphones, not at the places of "
            f"training's {task.array.name!r} ({len(wanted)} microphones)"
        )
    if scene["split"] != task.split:
        return (
            f"split is {scene['split']!r}, that of training {task.split!r}: its speakers are kept "
            f"for scoring; msdet simulate split={task.split} makes scenes to train on"
        )
    for key in ("sample_rate", "target", "reference_mic"):
        if scene[key] != getattr(task, key):
            return f"{key} is {scene[key]!r}, that of training {getattr(task, key)!r}"
    if len(scene["speech"]) != task.num_speakers:
        return f"has {len(scene['speech'])} speakers, training's scenes have {task.num_speakers}"
    if scene["num_samples"] < task.num_samples:
        rate = task.sample_rate
        return (
            f"is {scene['num_samples'] / rate:g} s long, shorter than "
            f"data.crop_seconds={task.num_samples / rate:g}"
        )
    return ""


def _places(where: str, path: Path, ids: Sequence[str], num_speakers: int) -> NDArray[np.int64]:
    """Where the content of each member is, if the archive holds the members that it should."""
    wanted = [member_name(id, name) for id in ids for name in file_names(num_speakers)]
    try:
        with tarfile.open(path, "r:") as archive:
            found = [(member.name, member.offset_data, member.size) for member in archive]
        length = os.path.getsize(path)
    except (tarfile.TarError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{where}: {path} is damaged ({reason}); remove it, and {_MADE_AGAIN}"
        ) from error
    if [name for name, _, _ in found] != wanted or sum(found[-1][1:]) > length:
        raise InputError(
            f"{where}: {path} is damaged (its {len(found)} members are not the {len(wanted)} that "
            f"it was written with); remove it, and {_MADE_AGAIN}"
        )
    numbers = [(start, size) for _, start, size in found]
    return np.array(numbers, np.int64).reshape(len(ids), -1, 2)


def _decoded(wav: bytes) -> NDArray[np.float32]:
    """``[channel, sample]``."""
    import soundfile

    audio, _ = soundfile.read(BytesIO(wav), dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T)


def _example(labels: dict[str, Any], signals: Sequence[NDArray[np.float32]]) -> Example:
    scene = Scene.model_validate(labels["scene"])
    speakers = scene.room.speakers
    mixture, *targets = signals
    for signal, channels in zip(
        signals, (len(scene.array.positions), *[1] * len(targets)), strict=True
    ):
        if signal.shape != (channels, scene.num_samples):
            raise ValueError(f"audio is {signal.shape}, expected {(channels, scene.num_samples)}")
        if not np.isfinite(signal).all():
            raise ValueError("audio holds values that are no numbers")
    drr = [np.inf if s["drr_db"] is None else s["drr_db"] for s in labels["speakers"]]
    return Example(
        mixture=mixture,
        targets=np.concatenate(targets),
        azimuth=np.array([s.azimuth for s in speakers], np.float32),
        elevation=np.array([s.elevation for s in speakers], np.float32),
        distance=np.array([s.distance for s in speakers], np.float32),
        drr_db=np.array(drr, np.float32),
        t60=labels["t60_measured"] or 0.0,
        gain=labels["gain"],
        scene=scene,
    )
