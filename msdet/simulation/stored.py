# SPDX-License-Identifier: Apache-2.0
"""Reading back the mixtures that ``msdet simulate`` wrote, any of them at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
    LABELS_NAME,
    MIXTURE_NAME,
    Format,
    check_files,
    file_names,
    member_name,
    parse_labels,
    speaker_file,
    tar_path,
)
from msdet.simulation.render import AtMicrophone, Example
from msdet.simulation.request import REQUEST_NAME, read_request
from msdet.simulation.rooms import Room
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import lines_of
from msdet.simulation.shard_files import first_damaged, marker_path
from msdet.simulation.symmetry import (
    TargetsAt,
    channel_order,
    may_be_turned,
    other_references,
    turned,
)

_MADE_AGAIN = "the command that made it makes it again"
_POSITION_TOLERANCE = 1e-6
"""Metres: microphones that are closer stand at the same place."""


@dataclass(frozen=True)
class Task:
    """What mixtures must be for a model to be trained on them.

    Attributes:
        split: whose speakers; those of another are kept for scoring.
        num_speakers: least and most of a scene. num_samples: that they have at least.
    """

    split: Split
    array: MicrophoneArray
    sample_rate: int
    target: str
    reference_mic: int
    num_speakers: tuple[int, int]
    num_samples: int


@dataclass(frozen=True)
class StoredMixtures:
    """The mixtures of finished shards, by number; can be sent to other processes.

    Attributes:
        ids: bytes ``[mixture]``. shards: the shard of each ``[mixture]``.
        places: of archives, where each file's content begins and how long it is, bytes
            ``[file, 2]``; of each mixture they are in the order of `file_names`.
        ends: of archives, behind the last place of each ``[mixture]``.
        identity: of all that determines which mixture has which number.
    """

    folder: Path
    format: Format
    ids: NDArray[np.bytes_]
    shards: NDArray[np.int32]
    places: NDArray[np.int64] | None
    ends: NDArray[np.int64] | None
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
        where = self._where(number, id)
        try:
            with ExitStack() as opened:
                return _read(self._reader(number, id, opened), pose)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            mend = f"remove it, and {_MADE_AGAIN}" if where.exists() else _MADE_AGAIN
            raise InputError(f"{where}: mixture {id} cannot be read ({reason}); {mend}") from error

    def _where(self, number: int, id: str) -> Path:
        if self.format == "tar":
            return tar_path(self.folder, int(self.shards[number]))
        return self.folder / FOLDERS["folder"] / id

    def _reader(self, number: int, id: str, opened: ExitStack) -> Callable[[str, int], bytes]:
        """Reads a file of a mixture by its name and its place among its files."""
        where = self._where(number, id)
        if self.places is None or self.ends is None:
            return lambda name, _: (where / name).read_bytes()
        begin = int(self.ends[number - 1]) if number else 0
        places = self.places[begin : int(self.ends[number])]
        file = opened.enter_context(where.open("rb"))

        def read(_: str, place: int) -> bytes:
            start, size = places[place].tolist()
            file.seek(start)
            return file.read(size)

        return read


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
    names, shards, places, counts = [], [], [], []
    # Without what has its default: sets from before there was such a key stay the same ones.
    identity = hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode())
    for shard in finished:
        if damaged := first_damaged(folder, shard):
            raise InputError(f"{where}: {damaged} is damaged or gone; {_MADE_AGAIN}")
        contents = _contents(where, marker_path(folder, shard), task, request.targets_at)
        names.append(np.array([id.encode() for id, _ in contents]))
        shards.append(np.full(len(contents), shard, np.int32))
        if request.format == "tar":
            places.append(_places(where, tar_path(folder, shard), contents))
            counts += [len(files) for _, files in contents]
        identity.update(str(shard).encode() + b",")
    return StoredMixtures(
        folder=folder,
        format=request.format,
        ids=np.concatenate(names),
        shards=np.concatenate(shards),
        places=np.concatenate(places) if places else None,
        ends=np.cumsum(counts) if places else None,
        identity=identity.hexdigest(),
    )


def _contents(
    where: str, marker: Path, task: Task, targets_at: TargetsAt
) -> list[tuple[str, list[str]]]:
    """The ids of a shard's scenes and the names of their files, if all serve the task."""
    found = []
    try:
        for line in lines_of(marker.read_text(encoding="utf-8")):
            if not line:
                continue
            # Without checking every key, which takes a minute for a million scenes.
            scene = json.loads(line)
            if misfit := _misfit(scene, task):
                raise InputError(f"{where}: scene {scene['id']}: {misfit}")
            found.append((str(scene["id"]), _files(scene, task.array, targets_at)))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: {marker} is damaged ({error}); remove it, and {_MADE_AGAIN}"
        ) from error
    if not found:
        raise InputError(
            f"{where}: {marker} is damaged (holds no scenes); remove it, and {_MADE_AGAIN}"
        )
    return found


def _files(scene: dict[str, Any], array: MicrophoneArray, targets_at: TargetsAt) -> list[str]:
    """As `scene_files`, of a row."""
    imperfect = scene.get("mismatch") is not None or scene["room"].get("mic_errors")
    if targets_at == "reference" or imperfect:
        return file_names(len(scene["speech"]))
    return file_names(len(scene["speech"]), other_references(array, scene["reference_mic"]))


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
    fewest, most = task.num_speakers
    if not fewest <= len(scene["speech"]) <= most:
        counts = f"{most}" if fewest == most else f"{fewest} to {most}"
        return f"has {len(scene['speech'])} speakers, training's scenes have {counts}"
    if scene["num_samples"] < task.num_samples:
        rate = task.sample_rate
        return (
            f"is {scene['num_samples'] / rate:g} s long, shorter than "
            f"data.crop_seconds={task.num_samples / rate:g}"
        )
    return ""


def _places(where: str, path: Path, contents: Sequence[tuple[str, list[str]]]) -> NDArray[np.int64]:
    """Where the content of each member is, if the archive holds the members that it should."""
    wanted = [member_name(id, name) for id, names in contents for name in names]
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
    return np.array([(start, size) for _, start, size in found], np.int64)


def _read(read: Callable[[str, int], bytes], pose: Callable[[Scene], Room]) -> Example:
    """An example from the files of a mixture, and of its targets those that it needs."""
    content = read(LABELS_NAME, -1)
    labels = parse_labels(content)
    scene = Scene.model_validate(labels["scene"])
    heard = {entry["mic"]: entry for entry in labels.get("other_references", ())}
    names = file_names(len(scene.speech), tuple(heard))
    room = scene.room
    if may_be_turned(scene, heard.keys()):
        room = pose(scene)
    mic = channel_order(scene, room)[scene.reference_mic]
    other = None if mic == scene.reference_mic else mic
    wanted = [MIXTURE_NAME, *(speaker_file(i, other) for i in range(len(scene.speech)))]
    audio = {name: read(name, names.index(name)) for name in wanted}
    check_files(labels, audio)
    example = _example(labels, scene, [_decoded(wav) for wav in audio.values()])
    if room == scene.room:
        return example
    return turned(example, room, _at(example, heard.get(mic)))


def _at(example: Example, entry: dict[str, Any] | None) -> AtMicrophone:
    """What labels say of the microphone that an example's targets are at; None is the reference."""
    if entry is None:
        scene = example.scene
        return AtMicrophone(
            example.targets,
            example.drr_db,
            tuple(crop.level_db for crop in scene.speech),
            scene.noise.snr_db,
            None if scene.background is None else scene.background.snr_db,
        )
    return AtMicrophone(
        targets=example.targets,
        drr_db=_drr(entry["speakers"]),
        level_db=tuple(speaker["level_db"] for speaker in entry["speakers"]),
        snr_db=entry["snr_db"],
        background_snr_db=entry["background_snr_db"],
    )


def _decoded(wav: bytes) -> NDArray[np.float32]:
    """``[channel, sample]``."""
    import soundfile

    audio, _ = soundfile.read(BytesIO(wav), dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T)


def _example(
    labels: dict[str, Any], scene: Scene, signals: Sequence[NDArray[np.float32]]
) -> Example:
    speakers = scene.room.speakers
    mixture, *targets = signals
    for signal, channels in zip(
        signals, (len(scene.array.positions), *[1] * len(targets)), strict=True
    ):
        if signal.shape != (channels, scene.num_samples):
            raise ValueError(f"audio is {signal.shape}, expected {(channels, scene.num_samples)}")
        if not np.isfinite(signal).all():
            raise ValueError("audio holds values that are no numbers")
    scale = labels.get("scale", 1.0)  # sets from before there was such a key have an RMS of 1
    return Example(
        mixture=mixture / np.float32(scale),
        targets=np.concatenate(targets) / np.float32(scale),
        azimuth=np.array([s.azimuth for s in speakers], np.float32),
        elevation=np.array([s.elevation for s in speakers], np.float32),
        distance=np.array([s.distance for s in speakers], np.float32),
        drr_db=_drr(labels["speakers"]),
        t60=labels["t60_measured"] or 0.0,
        gain=labels["gain"] / scale,
        scene=scene,
    )


def _drr(speakers: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    """Direct-to-reverberant ratios ``[speaker]``; JSON has no infinity."""
    return np.array([np.inf if s["drr_db"] is None else s["drr_db"] for s in speakers], np.float32)
