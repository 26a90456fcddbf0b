# SPDX-License-Identifier: Apache-2.0
"""Sets of rooms that many scenes share, and banks of their responses made ahead of training.

::

    BANK/bank.json     what the rooms were drawn from, for which array and sample rate
    BANK/*.rirs        the responses, one file a room
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from msdet.corpora import Split
from msdet.errors import InputError, first_mistake
from msdet.geometry import MicrophoneArray
from msdet.simulation.bank import RirBank, pyroomacoustics_version
from msdet.simulation.config import SceneConfig
from msdet.simulation.draw_rooms import check_scene_config, pool_room
from msdet.simulation.rirs import METHOD
from msdet.simulation.rooms import Room
from msdet.simulation.scene import ArrayRecord
from msdet.workers import available_cores

if TYPE_CHECKING:
    from msdet.config import BankConfig

_log = logging.getLogger(__name__)

BANK_NAME = "bank.json"


@dataclass(frozen=True)
class RoomSet:
    """Rooms 0 to `count` - 1 of a config and seed; drawn when they are asked for."""

    scene: SceneConfig
    array: MicrophoneArray
    seed: int
    split: Split
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Room:
        return pool_room(self.scene, self.array, seed=self.seed, split=self.split, room_index=index)

    def __iter__(self) -> Iterator[Room]:
        return (self[index] for index in range(self.count))


class _Description(BaseModel):
    """What ``bank.json`` holds. `rooms`: the part of the scene config that shapes rooms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    array: ArrayRecord
    sample_rate: int
    seed: int
    split: Split
    num_rooms: int
    scene: SceneConfig
    method: str
    pyroomacoustics: str


def make_bank(config: BankConfig) -> None:
    """``msdet bank``: draw rooms and keep their responses in a folder.

    The same config and folder go on where a stopped run was; more rooms may be asked for.

    Raises:
        InputError: the rooms cannot be drawn, or the folder is not for them; before any work.
    """
    array = config.array.build()
    check_scene_config(config.scene, array)
    folder = Path(config.output)
    wanted = _Description(
        array=ArrayRecord(name=array.name, positions=array.positions),
        sample_rate=config.sample_rate,
        seed=config.seed,
        split=config.split,
        num_rooms=config.num_rooms,
        scene=config.scene,
        method=METHOD,
        pyroomacoustics=pyroomacoustics_version(),
    )
    _keep_description(folder, wanted)
    bank = RirBank(folder, array, config.sample_rate)
    rooms = RoomSet(config.scene, array, config.seed, config.split, config.num_rooms)
    made = bank.fill(rooms, config.num_workers or available_cores())
    there = f", {len(rooms) - made} were there" if made < len(rooms) else ""
    Console(stderr=True).print(f"{folder}: responses of {made} rooms made{there}", soft_wrap=True)


def open_bank(
    folder: str | Path, scene: SceneConfig, array: MicrophoneArray, sample_rate: int
) -> tuple[RoomSet, RirBank]:
    """The rooms of a bank, and their responses.

    Args:
        scene, array, sample_rate: what they are wanted for.
    Raises:
        InputError: the bank was made for something else; names what.
    """
    folder = Path(folder)
    key = f"data.bank={folder}"
    path = folder / BANK_NAME
    if not path.is_file():
        raise InputError(f"{key}: has no {BANK_NAME}; make a bank with msdet bank output={folder}")
    found = _read(path)
    if found.sample_rate != sample_rate:
        raise InputError(f"{key}: was made for {found.sample_rate} Hz, sample_rate={sample_rate}")
    if found.array.positions != array.positions:
        raise InputError(
            f"{key}: was made for array {found.array.name!r} of {len(found.array.positions)} "
            f"microphones, not for {array.name!r} of {array.num_mics}"
        )
    difference = _difference(shaping(found.scene), shaping(scene))
    if difference:
        raise InputError(f"{key}: was made with {difference}; ask for the same, or make another")
    if (found.method, found.pyroomacoustics) != (METHOD, pyroomacoustics_version()):
        _log.warning(
            "%s was made with another version (%s, pyroomacoustics %s): its responses are made "
            "again as they are needed",
            *(folder, found.method, found.pyroomacoustics),
        )
    rooms = RoomSet(scene, array, found.seed, found.split, found.num_rooms)
    return rooms, RirBank(folder, array, sample_rate)


def shaping(scene: SceneConfig) -> dict[str, Any]:
    """The keys of a scene config that rooms and their responses depend on, and their values."""
    background, imperfections = scene.background, scene.imperfections
    found: dict[str, Any] = {
        key: getattr(scene, key)
        for key in ("num_speakers", "room", "t60", "t60_per_octave", "rirs", "array", "speaker")
    }
    points = "point" in background.kinds
    found["background.kinds"] = "with point" if points else "without point"
    if points:
        found["background.sources"] = background.sources
    for key in ("position", "rotation", "tilt"):
        found[f"imperfections.{key}"] = getattr(imperfections, key)
    return found


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            for name in type(old).model_fields:
                if getattr(old, name) != getattr(new, name):
                    return _shown(f"{key}.{name}", getattr(old, name), getattr(new, name))
        return _shown(key, old, new)
    return ""


def _shown(key: str, old: object, new: object) -> str:
    def text(value: object) -> str:
        return "none" if value is None else str(list(value) if isinstance(value, tuple) else value)

    return f"scene.{key}={text(old)}, not {text(new)}"


def _keep_description(folder: Path, wanted: _Description) -> None:
    """Write ``bank.json``, or see that the one there is for these rooms, or for fewer of them."""
    path = folder / BANK_NAME
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    if path.exists():
        found = _read(path)
        for key in ("array", "sample_rate", "seed", "split"):
            old, new = getattr(found, key), getattr(wanted, key)
            if old != new:
                old, new = (old.name, new.name) if key == "array" else (old, new)
                raise InputError(
                    f"output={folder}: holds a bank of {key}={old}, not {new}; choose another "
                    "output="
                )
        difference = _difference(shaping(found.scene), shaping(wanted.scene))
        if difference:
            raise InputError(
                f"output={folder}: holds a bank of {difference}; choose another output="
            )
        if wanted.num_rooms < found.num_rooms:
            wanted = wanted.model_copy(update={"num_rooms": found.num_rooms})
    elif folder.exists() and any(not p.name.startswith(f".{BANK_NAME}") for p in folder.iterdir()):
        raise InputError(f"output={folder}: is not empty and holds no bank; choose another output=")
    temporary = folder / f".{BANK_NAME}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(wanted.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _read(path: Path) -> _Description:
    try:
        return _Description.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: does not describe a bank ({error})") from error
