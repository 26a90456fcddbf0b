# SPDX-License-Identifier: Apache-2.0
"""The time that systems took, kept beside the rows, which hold nothing that changes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.metrics.scores import Record

TIMES_NAME = "times.jsonl"


class SceneTime(Record):
    """The time that systems took for one scene: a line of ``times.jsonl``; processor seconds."""

    index: int
    audio_seconds: float
    seconds: dict[str, float]


class Times:
    """The times of the scenes that have rows.

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
