# SPDX-License-Identifier: Apache-2.0
"""One JSON line per evaluated scene, written as it is finished, so that a killed run goes on.

``rows.jsonl`` holds the rows, ``rows.meta.json`` beside it says what they are rows of, and
``times.jsonl`` how long they took, which rows do not hold: they are the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.metrics.scores import Record, SceneRow
from msdet.metrics.signals.error_parts import WINDOW_MS
from msdet.parsing import first_difference

ROWS_NAME = "rows.jsonl"
HEADER_NAME = "rows.meta.json"
TIMES_NAME = "times.jsonl"


class RowsHeader(Record):
    """The evaluation that the rows of a folder belong to: rows of anything else must not join them.

    Attributes:
        models: hashes of what is evaluated, by name. scenes: hash of those it is evaluated on.
        systems: the metrics that are computed of each. recogniser: of the word error rate.
        error_window_ms: windows that the parts of the error are told apart in.
        own_metrics: classes and arguments of the user's own metrics, by name.
        as_networks: checkpoints are scored as networks alone, not as ``msdet separate`` uses them.
        moving: they follow people who walk, as with ``msdet separate moving=true``.
    """

    models: Mapping[str, str]
    scenes: str
    systems: Mapping[str, tuple[str, ...]]
    recogniser: str | None = None
    error_window_ms: float = WINDOW_MS
    own_metrics: Mapping[str, str] = {}
    as_networks: bool = True
    moving: bool = False


class SceneTime(Record):
    """The time that systems took for one scene: a line of ``times.jsonl``; processor seconds."""

    index: int
    audio_seconds: float
    seconds: dict[str, float]


class RowWriter:
    """Appends rows to ``folder/rows.jsonl``; goes on after a kill with the rows that are there.

    Rows may be added in any order, each is on disk when ``add`` returns; ``close`` leaves the
    file in scene order. A last line that a kill cut short is dropped, and its scene is done again.
    A scene's time is written before its row: every row that a stop leaves has its time. A time
    without a row, or one that was cut, is dropped when the evaluation goes on.

    Raises:
        InputError: the folder is a file or cannot be written, holds rows of another checkpoint,
            other scenes or other metrics, or a damaged line.
    """

    def __init__(self, folder: Path, header: RowsHeader) -> None:
        self._folder, self._path = folder, folder / ROWS_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._check_header(header)
            self._rows: dict[int, SceneRow] = {}
            if self._path.exists():
                _drop_cut_line(self._path)
                self._rows = {row.index: row for row in _parse(self._path)}
            self._times = self._read_times()
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"output={folder}: {error.strerror}; choose another folder") from error

    @property
    def rows(self) -> tuple[SceneRow, ...]:
        """All rows so far, those of earlier runs included, in scene order."""
        return tuple(self._rows[index] for index in sorted(self._rows))

    @property
    def done(self) -> frozenset[int]:
        """Indices of the scenes that need no work any more."""
        return frozenset(self._rows)

    def add(self, row: SceneRow, time: SceneTime | None = None) -> None:
        """Write a row, behind its time where that was taken."""
        if row.index in self._rows:
            raise ValueError(f"scene {row.id} (index {row.index}) has a row already")
        try:
            if time is not None:
                with (self._folder / TIMES_NAME).open("a", encoding="utf-8") as file:
                    file.write(time.model_dump_json() + "\n")
                self._times.append(time)
            self._file.write(row.model_dump_json() + "\n")
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"{self._folder}: {error.strerror}; the same command goes on from here"
            ) from error
        self._rows[row.index] = row

    def real_time_factor(self, system: str) -> float | None:
        """Return the seconds for a second of audio on one thread; None where none were taken."""
        measured = [time for time in self._times if system in time.seconds]
        if not measured:
            return None
        taken = sum(time.seconds[system] for time in measured)
        return round(taken / sum(time.audio_seconds for time in measured), 4)

    def close(self) -> None:
        self._file.close()
        if list(self._rows) != sorted(self._rows):
            write_atomically(self._path, (row.model_dump_json() + "\n" for row in self.rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # closing flushes, which on a full disk would hide the error that is on its way
            with suppress(OSError):
                self._file.close()

    def _read_times(self) -> list[SceneTime]:
        path, found = self._folder / TIMES_NAME, {}
        if not path.exists():
            return []
        for line in path.read_bytes().splitlines():
            with suppress(ValidationError):
                time = SceneTime.model_validate_json(line)
                if time.index in self._rows:
                    found[time.index] = time
        write_atomically(path, (time.model_dump_json() + "\n" for time in found.values()))
        return list(found.values())

    def _check_header(self, header: RowsHeader) -> None:
        path = self._folder / HEADER_NAME
        if not self._path.exists() or not self._path.stat().st_size:
            write_atomically(path, header.model_dump_json(indent=2) + "\n")
            return
        mend = f"choose another folder, or delete {ROWS_NAME} there"
        if not path.exists():
            raise InputError(
                f"output={self._folder}: it has a {ROWS_NAME} but no {HEADER_NAME} that says what "
                f"its rows belong to; {mend}"
            )
        try:
            found = RowsHeader.model_validate_json(path.read_bytes())
        except ValidationError:
            raise InputError(f"{path}: not a header of evaluation rows; {mend}") from None
        difference = first_difference(
            found.model_dump(mode="json"), header.model_dump(mode="json"), frozenset()
        )
        if difference:
            raise InputError(
                f"output={self._folder}: it holds rows of another evaluation ({difference}); {mend}"
            )


def read_rows(folder: Path) -> tuple[SceneRow, ...]:
    """The rows of an evaluation, finished or not, in scene order.

    Raises:
        InputError: there are none, or a line is damaged.
    """
    path = folder / ROWS_NAME
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the output folder of an evaluation")
    return tuple(sorted(_parse(path), key=lambda row: row.index))


def _parse(path: Path) -> list[SceneRow]:
    """Rows in the file's order. A last line without its newline is one that is being written."""
    rows: list[SceneRow] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(SceneRow.model_validate_json(line))
        except ValidationError:
            raise InputError(
                f"{path}, line {number}: not an evaluation row; delete the line and run again"
            ) from None
    indices = [row.index for row in rows]
    if len(set(indices)) != len(indices):
        twice = next(index for index in indices if indices.count(index) > 1)
        raise InputError(f"{path}: scene {twice} is there twice; delete one of its lines")
    return rows


def _drop_cut_line(path: Path) -> None:
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end != len(content):
        os.truncate(path, end)
