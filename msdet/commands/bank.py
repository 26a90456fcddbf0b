# SPDX-License-Identifier: Apache-2.0
"""``msdet bank``: the responses of many rooms, made ahead of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from msdet.ending import tell
from msdet.geometry import DEFAULT_ARRAY, ArrayConfig
from msdet.output_folder import sole_user
from msdet.parsing import MOST_WORKERS, Config, SampleRate, Seed, parse
from msdet.simulation import SceneConfig
from msdet.simulation.bank import BANK_NAME, BankDescription, RirBank, RoomSet
from msdet.simulation.folder_record import refuse_another, write_record
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
    )
    rooms = RoomSet(config.scene, array, config.seed, config.split, config.num_rooms)
    path = folder / BANK_NAME
    with sole_user(folder):
        found = refuse_another(path, wanted, "bank", BankDescription.shaping)
        most = max(config.num_rooms, found.num_rooms if found else 0)
        write_record(path, wanted.model_copy(update={"num_rooms": most}))
        bank = RirBank(folder, array, config.sample_rate)
        made = bank.fill(rooms, config.num_workers or available_cores())
    there = f", {len(rooms) - made} were there" if made < len(rooms) else ""
    Console(stderr=True).print(f"{folder}: responses of {made} rooms made{there}", soft_wrap=True)
    tell(next=("train", f"data.bank={folder}"))
