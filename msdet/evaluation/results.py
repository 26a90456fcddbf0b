# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves: a summary of all systems, tables, and the time that they took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from msdet.evaluation.conditions import DEFAULT_CONDITIONS
from msdet.evaluation.exports import csv_lines, markdown_table
from msdet.evaluation.paired import compare_systems
from msdet.evaluation.preparation import Prepared
from msdet.evaluation.rows import SceneRow
from msdet.evaluation.statistics import summarise
from msdet.files import write_atomically, write_json

TIMES_NAME = "times.json"


@dataclass
class Times:
    """How long systems took, kept beside the rows, which hold nothing that changes from run to run.

    Attributes:
        audio_seconds: that were done. seconds: that each system took for them.
    """

    audio_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Of an earlier run; nothing where the file is missing or damaged."""
        try:
            found = json.loads(path.read_text())
            return cls(float(found["audio_seconds"]), dict(found["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def add(self, seconds: Mapping[str, float], audio_seconds: float) -> None:
        self.audio_seconds += audio_seconds
        for system, taken in seconds.items():
            self.seconds[system] = self.seconds.get(system, 0.0) + taken

    def write(self, path: Path) -> None:
        write_json(path, {"audio_seconds": self.audio_seconds, "seconds": self.seconds})

    def real_time_factor(self, system: str) -> float | None:
        """Seconds for a second of audio on one thread; None where it was not measured."""
        taken = self.seconds.get(system)
        if taken is None or not self.audio_seconds:
            return None
        return round(taken / self.audio_seconds, 4)


def summarise_systems(
    prepared: Prepared,
    rows: Sequence[SceneRow],
    times: Times,
    conditions: Sequence[str] | None,
) -> dict[str, Any]:
    """What ``summary.json`` holds: the main system's numbers, ``systems`` with those of all, and
    ``comparisons`` of each with the main one."""
    of_system: dict[str, dict[str, Any]] = {}
    others = [system for system in prepared.task.systems if system != prepared.main]
    for system in (prepared.main, *others):
        of_system[system] = summarise(
            [row.of(system) for row in rows],
            linear_array=prepared.linear,
            unavailable=prepared.unavailable,
            conditions=DEFAULT_CONDITIONS if conditions is None else tuple(conditions),
        )
        of_system[system]["real_time_factor"] = times.real_time_factor(system)
    main = [row.of(prepared.main) for row in rows]
    return {
        **of_system[prepared.main],
        "main_system": prepared.main,
        "systems": of_system,
        "comparisons": [
            {"system": system, "reference": prepared.main, **found}
            for system in others
            for found in compare_systems([row.of(system) for row in rows], main)
        ],
    }


def write_tables(folder: Path, summary: Mapping[str, Any], rows: Sequence[SceneRow]) -> None:
    """``rows.csv``, a line for each scene, system and speaker; ``table.md`` for papers."""
    write_atomically(folder / "rows.csv", csv_lines(rows))
    write_atomically(folder / "table.md", markdown_table(summary["systems"]))
