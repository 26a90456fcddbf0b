# SPDX-License-Identifier: Apache-2.0
"""Sets of rooms that many scenes share, and banks of their responses.

::

    BANK/bank.json     what the rooms were drawn from, for which array and sample rate
    BANK/*.rirs        the responses, one file a room
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msdet.corpora import Split
from msdet.errors import InputError, first_mistake
from msdet.files import read_json
from msdet.geometry import MicrophoneArray
from msdet.parsing import first_difference
from msdet.simulation.bank import RirBank, pyroomacoustics_version
from msdet.simulation.config import Record, SceneConfig
from msdet.simulation.rirs import METHOD
from msdet.simulation.rooms import Room, pool_room
from msdet.simulation.scene import ArrayRecord

_log = logging.getLogger(__name__)

BANK_NAME = "bank.json"


@dataclass(frozen=True)
class RoomSet:
    """`count` rooms of a config and seed, from room `first` on; drawn when they are asked for."""

    scene: SceneConfig
    array: MicrophoneArray
    seed: int
    split: Split
    count: int
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Room:
        number = self.first + index
        return pool_room(
            self.scene, self.array, seed=self.seed, split=self.split, room_index=number
        )

    def __iter__(self) -> Iterator[Room]:
        return (self[index] for index in range(self.count))


class BankDescription(Record):
    """The content of ``bank.json``. `scene`: of its keys those count that shape rooms."""

    array: ArrayRecord
    sample_rate: int
    seed: int
    split: Split
    num_rooms: int
    scene: SceneConfig
    method: str
    pyroomacoustics: str


def open_bank(
    folder: str | Path, scene: SceneConfig, array: MicrophoneArray, sample_rate: int
) -> tuple[RoomSet, RirBank]:
    """Open the rooms of a bank, and their responses.

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
    found = read_description(path)
    if found.sample_rate != sample_rate:
        raise InputError(f"{key}: was made for {found.sample_rate} Hz, sample_rate={sample_rate}")
    if found.array.positions != array.positions:
        raise InputError(
            f"{key}: was made for array {found.array.name!r} of {len(found.array.positions)} "
            f"microphones, not for {array.name!r} of {array.num_mics}"
        )
    if different := first_difference(shaping(found.scene), shaping(scene), where="scene"):
        raise InputError(f"{key}: {different} here; ask for the same, or make another")
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
    keys = ("num_speakers", "room", "t60", "t60_per_octave", "rirs", "array", "speaker")
    moves = {"position", "rotation", "tilt"}
    wanted: Any = {**dict.fromkeys(keys, True), "imperfections": moves}
    found: dict[str, Any] = scene.model_dump(mode="json", include=wanted)
    points = "point" in scene.background.kinds
    found["background"] = {"kinds": "with point" if points else "without point"}
    if points:
        found["background"]["sources"] = list(scene.background.sources)
    return found


def read_description(path: Path) -> BankDescription:
    """Read ``bank.json``.

    Raises:
        InputError: the file does not say.
    """
    try:
        return BankDescription.model_validate(
            read_json(path, "make the bank again, or choose another")
        )
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error
