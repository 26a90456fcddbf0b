# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves: a summary of all systems, tables, and the time that they took."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from msdet.errors import InputError
from msdet.evaluation.exports import csv_lines, markdown_table
from msdet.evaluation.preparation import Prepared
from msdet.files import write_atomically
from msdet.metrics import Measure, SceneRow, compare_systems, score_table, summarise
from msdet.metrics.conditions import DEFAULT_CONDITIONS

TIMES_NAME = "times.jsonl"


class SceneTime(BaseModel):
    """How long systems took for one scene: a line of ``times.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    index: int
    audio_seconds: float
    seconds: dict[str, float]


class Times:
    """How long systems took, kept beside the rows, which hold nothing that changes from run to run.

    A scene's line is written before its row: every row that a stop leaves has its times. A line
    without a row, or one that was cut, is dropped when the evaluation goes on.
    """

    def __init__(self, path: Path, done: Collection[int]) -> None:
        """Go on with the times of the scenes that are done."""
        self._path = path
        self._of_scene: dict[int, SceneTime] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with suppress(ValidationError):
                time = SceneTime.model_validate_json(line)
                if time.index in done:
                    self._of_scene[time.index] = time
        lines = (time.model_dump_json() + "\n" for time in self._of_scene.values())
        write_atomically(path, lines)

    def add(self, time: SceneTime) -> None:
        """Before the scene's row. Raises InputError where the file cannot be written."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(time.model_dump_json() + "\n")
        except OSError as error:
            raise InputError(
                f"{self._path}: {error.strerror}; the same command goes on from here"
            ) from error
        self._of_scene[time.index] = time

    def real_time_factor(self, system: str) -> float | None:
        """Seconds for a second of audio on one thread; None where it was not measured."""
        measured = [time for time in self._of_scene.values() if system in time.seconds]
        if not measured:
            return None
        taken = sum(time.seconds[system] for time in measured)
        return round(taken / sum(time.audio_seconds for time in measured), 4)


def summarise_systems(
    prepared: Prepared,
    rows: Sequence[SceneRow],
    times: Times,
    conditions: Sequence[str] | None,
) -> dict[str, Any]:
    """Return what ``summary.json`` holds: the main system's numbers, ``systems`` with those of all,
    and ``comparisons`` of the main one with each of them."""
    table, measures = score_table(rows), prepared.measures
    of_system: dict[str, dict[str, Any]] = {}
    others = [system for system in prepared.scoring.systems if system != prepared.main]
    for system in (prepared.main, *others):
        of_system[system] = summarise(
            rows,
            system,
            table=table,
            measures=measures,
            linear_array=prepared.linear,
            unavailable=prepared.unavailable,
            conditions=DEFAULT_CONDITIONS if conditions is None else tuple(conditions),
        )
        of_system[system]["real_time_factor"] = times.real_time_factor(system)
    return {
        **of_system[prepared.main],
        "main_system": prepared.main,
        "systems": of_system,
        "comparisons": [
            {"system": prepared.main, "reference": system, **found}
            for system in others
            for found in compare_systems(table, prepared.main, system, measures=measures)
        ],
    }


def write_tables(
    folder: Path,
    summary: Mapping[str, Any],
    rows: Sequence[SceneRow],
    measures: Mapping[str, Measure],
) -> None:
    """``rows.csv``, a line for each scene, system and speaker; ``table.md`` for papers."""
    write_atomically(folder / "rows.csv", csv_lines(rows))
    write_atomically(folder / "table.md", markdown_table(summary["systems"], measures))
