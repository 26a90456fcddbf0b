# SPDX-License-Identifier: Apache-2.0
"""``msdet bank``: the responses of many rooms, made ahead of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from msdet.ending import tell
from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.geometry import DEFAULT_ARRAY, ArrayConfig
from msdet.output_folder import contents, sole_user
from msdet.parsing import MOST_WORKERS, Config, SampleRate, Seed, first_difference, parse
from msdet.simulation import SceneConfig
from msdet.simulation.bank import RirBank, pyroomacoustics_version
from msdet.simulation.rirs import METHOD
from msdet.simulation.room_sets import (
    BANK_NAME,
    BankDescription,
    RoomSet,
    read_description,
    shaping,
)
from msdet.simulation.rooms import check_scene_config
from msdet.simulation.scene import ArrayRecord
from msdet.workers import available_cores


class BankConfig(Config):
    """Rooms whose responses are made ahead of training.

    Attributes:
        output: folder: `bank.json` says what the rooms are, and each has a file of responses.
        seed: of the rooms.
        sample_rate: hertz.
        split: the scenes that the rooms are for: rooms of different splits differ.
        num_rooms: how many; with more, the same command adds to a bank.
        num_workers: rooms at a time; null takes one per core.
    """

    output: str
    seed: Seed = 0
    sample_rate: SampleRate = 16000
    split: Literal["train", "valid", "test"] = "train"
    num_rooms: int = Field(default=4000, ge=1, le=10**6)
    num_workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    scene: SceneConfig = SceneConfig()
    array: ArrayConfig = DEFAULT_ARRAY


def run(values: dict[str, Any]) -> None:
    """Run ``msdet bank``."""
    make_bank(parse(BankConfig, values))


def make_bank(config: BankConfig) -> None:
    """``msdet bank``: draw rooms and keep their responses in a folder.

    The same config and folder go on where a stopped run was; more rooms may be asked for.

    Raises:
        InputError: the rooms cannot be drawn, or the folder is not for them; before any work.
    """
    array = config.array.build()
    check_scene_config(config.scene, array)
    folder = Path(config.output)
    wanted = BankDescription(
        array=ArrayRecord(name=array.name, positions=array.positions),
        sample_rate=config.sample_rate,
        seed=config.seed,
        split=config.split,
        num_rooms=config.num_rooms,
        scene=config.scene,
        method=METHOD,
        pyroomacoustics=pyroomacoustics_version(),
    )
    rooms = RoomSet(config.scene, array, config.seed, config.split, config.num_rooms)
    with sole_user(folder):
        _keep_description(folder, wanted)
        bank = RirBank(folder, array, config.sample_rate)
        made = bank.fill(rooms, config.num_workers or available_cores())
    there = f", {len(rooms) - made} were there" if made < len(rooms) else ""
    Console(stderr=True).print(f"{folder}: responses of {made} rooms made{there}", soft_wrap=True)
    tell(next=("train", f"data.bank={folder}"))


def _keep_description(folder: Path, wanted: BankDescription) -> None:
    """Write ``bank.json``, or see that the one there is for these rooms, or for fewer of them."""
    path = folder / BANK_NAME
    if path.exists():
        found = read_description(path)
        difference = first_difference(_compared(found), _compared(wanted))
        if difference:
            raise InputError(
                f"output={folder}: holds another bank ({difference}); choose another output="
            )
        if wanted.num_rooms < found.num_rooms:
            wanted = wanted.model_copy(update={"num_rooms": found.num_rooms})
    elif contents(folder):
        raise InputError(f"output={folder}: is not empty and holds no bank; choose another output=")
    try:
        write_atomically(path, wanted.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _compared(bank: BankDescription) -> dict[str, Any]:
    """Return what two banks must share for one to go on with the other."""
    keys = {"array", "sample_rate", "seed", "split"}
    return {**bank.model_dump(mode="json", include=keys), "scene": shaping(bank.scene)}
