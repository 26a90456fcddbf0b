# SPDX-License-Identifier: Apache-2.0
"""Reading back the mixtures that ``msdet simulate`` wrote, any of them at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.corpora import Split
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation.folder_record import read_record
from msdet.simulation.mixture_files import FOLDERS, Format, member_name, read_example
from msdet.simulation.render import Example
from msdet.simulation.rooms import Room
from msdet.simulation.scene import Scene
from msdet.simulation.shards import REQUEST_NAME, Request, first_damaged, marker_path, tar_path

_MADE_AGAIN = "the command that made it makes it again"
_DAMAGES = (OSError, RuntimeError, ValueError, KeyError, TypeError, tarfile.TarError)
"""The errors of reading files that are not what was written."""

_POSITION_TOLERANCE = 1e-6
"""Metres: microphones that are closer stand at the same place."""


@dataclass(frozen=True)
class Wanted:
    """The properties that mixtures must have for a model to be trained on them.

    Attributes:
        split: whose speakers; those of another are kept for scoring.
        num_speakers: least and most of a scene. num_samples: that they have at least.
        over_time: the model reads directions over time, and is not told one, so that speakers may
            walk.
    """

    split: Split
    array: MicrophoneArray
    sample_rate: int
    target: str
    reference_mic: int
    num_speakers: tuple[int, int]
    num_samples: int
    over_time: bool = False


@dataclass(frozen=True)
class StoredMixtures:
    """The mixtures of finished shards, by number; can be sent to other processes.

    Attributes:
        ids: bytes ``[mixture]``. shards: the shard of each ``[mixture]``.
        spans: of archives, where the members of each begin and end, bytes ``[mixture, 2]``.
        identity: of all that determines which mixture has which number.
    """

    folder: Path
    format: Format
    ids: NDArray[np.bytes_]
    shards: NDArray[np.int32]
    spans: NDArray[np.int64] | None
    identity: str

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Example:
        """A mixture as it was rendered, all of it; raises what `read` does."""
        return self.read(number, lambda scene: scene.room)

    def read(self, number: int, pose: Callable[[Scene], Room]) -> Example:
        """A mixture, all of it, as its array hears it in a pose.

        Args:
            pose: from the scene to its room, with the array turned by one of its symmetries. It is
                asked where targets are stored for all of these.
        Raises:
            InputError: its files are gone, or not what was written; names the one to remove.
        """
        id = bytes(self.ids[number]).decode()
        where = self.folder / FOLDERS["folder"] / id
        if self.format == "tar":
            where = tar_path(self.folder, int(self.shards[number]))
        try:
            return read_example(self._reader(where, number, id), pose)
        except _DAMAGES as error:
            mend = f"remove it, and {_MADE_AGAIN}" if where.exists() else _MADE_AGAIN
            raise InputError(
                f"{where}: mixture {id} cannot be read ({_reason(error)}); {mend}"
            ) from error

    def _reader(self, where: Path, number: int, id: str) -> Callable[[str], bytes]:
        """Reads a file of a mixture by its name."""
        if self.spans is None:
            return lambda name: (where / name).read_bytes()
        begin, end = self.spans[number].tolist()
        with where.open("rb") as file:
            file.seek(begin)
            content = file.read(end - begin)
        with tarfile.open(fileobj=BytesIO(content), mode="r:") as archive:  # these members alone
            places = {member.name: (member.offset_data, member.size) for member in archive}

        def read(name: str) -> bytes:
            start, size = places[member_name(id, name)]
            return content[start : start + size]

        return read


def open_mixtures(folder: Path, wanted: Wanted) -> StoredMixtures:
    """See that all mixtures of a folder's finished shards serve a training, and where they are.

    Raises:
        InputError: names the folder and the first thing that does not fit, or the damaged file.
    """
    where = f"data.simulated={folder}"
    if not (folder / REQUEST_NAME).is_file():
        raise InputError(f"{where}: has no {REQUEST_NAME}; name an output folder of msdet simulate")
    request = read_record(Request, folder / REQUEST_NAME)
    if not request.audio:
        raise InputError(f"{where}: holds scenes without audio; simulate with audio=true")
    finished = [k for k in range(request.num_shards) if marker_path(folder, k).exists()]
    if not finished:
        raise InputError(
            f"{where}: none of its {request.num_shards} shards is finished; the command that "
            "began it goes on"
        )
    names, shards, spans = [], [], []
    identity = hashlib.sha256(request.model_dump_json().encode())
    for shard in finished:
        if damaged := first_damaged(folder, shard):
            raise InputError(f"{where}: {damaged} is damaged or gone; {_MADE_AGAIN}")
        path = marker_path(folder, shard)
        try:
            ids = _fitting(where, path, wanted)
            if request.format == "tar":
                path = tar_path(folder, shard)
                spans.append(_spans(path, ids))
        except InputError:
            raise
        except _DAMAGES as error:
            raise InputError(
                f"{where}: {path} is damaged ({_reason(error)}); remove it, and {_MADE_AGAIN}"
            ) from error
        names.append(np.array([id.encode() for id in ids]))
        shards.append(np.full(len(ids), shard, np.int32))
        identity.update(str(shard).encode() + b",")
    return StoredMixtures(
        folder=folder,
        format=request.format,
        ids=np.concatenate(names),
        shards=np.concatenate(shards),
        spans=np.concatenate(spans) if spans else None,
        identity=identity.hexdigest(),
    )


def _fitting(where: str, marker: Path, wanted: Wanted) -> list[str]:
    """The ids of a shard's scenes, if all serve."""
    found = []
    for line in filter(None, marker.read_text(encoding="utf-8").split("\n")):
        # Without checking every key, which takes a minute for a million scenes.
        scene = json.loads(line)
        if misfit := _misfit(scene, wanted):
            raise InputError(f"{where}: scene {scene['id']}: {misfit}")
        found.append(str(scene["id"]))
    if not found:
        raise ValueError("holds no scenes")
    return found


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).split("\n")[0]


def _misfit(scene: dict[str, Any], wanted: Wanted) -> str:
    """Why a scene does not serve; empty if it does."""
    array = scene["array"]
    positions, planned = np.asarray(array["positions"]), wanted.array.as_array()
    if positions.shape != planned.shape or np.abs(positions - planned).max() > _POSITION_TOLERANCE:
        return (
            f"array {array['name']!r} has {len(positions)} microphones, not at the places of "
            f"training's {wanted.array.name!r} ({len(planned)} microphones)"
        )
    if scene["split"] != wanted.split:
        return (
            f"split is {scene['split']!r}, that of training {wanted.split!r}: its speakers are "
            f"kept for scoring; msdet simulate split={wanted.split} makes scenes to train on"
        )
    for key in ("sample_rate", "target", "reference_mic"):
        if scene[key] != getattr(wanted, key):
            return f"{key} is {scene[key]!r}, that of training {getattr(wanted, key)!r}"
    if scene.get("paths") and not wanted.over_time:
        return (
            "its speakers walk; model.heads.span=0.5 reads directions over time, with any guidance "
            "but oracle"
        )
    fewest, most = wanted.num_speakers
    numbers = [crop.get("speaker") for crop in scene["speech"]]
    if None not in numbers and fewest > 0:
        return (
            "is a conversation: of its speakers some stretches hold fewer, or none; training on "
            "such needs scene.conversation={}"
        )
    count = len(numbers) if None in numbers else len(set(numbers))
    if not fewest <= count <= most:
        return f"has {count} speakers, training's scenes have {fewest} to {most}"
    seconds, crop = (n / wanted.sample_rate for n in (scene["num_samples"], wanted.num_samples))
    if seconds < crop:
        return f"is {seconds:g} s long, shorter than data.crop_seconds={crop:g}"
    return ""


def _spans(path: Path, ids: list[str]) -> NDArray[np.int64]:
    """Return where each mixture's members begin and end, if the archive holds these."""
    with tarfile.open(path, "r:") as archive:
        members = list(archive)
    starts = {member.name.split(".")[0]: member.offset for member in reversed(members)}
    if [*reversed(starts)] != ids:
        raise ValueError("it holds other mixtures than it was written with")
    begins = [starts[id] for id in ids]
    return np.array(list(zip(begins, [*begins[1:], os.path.getsize(path)], strict=True)), np.int64)
