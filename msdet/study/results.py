# SPDX-License-Identifier: Apache-2.0
"""What the finished runs of a study say, as arrays: values by method, seed, scene and speaker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.checkpoints import read_description
from msdet.errors import InputError
from msdet.evaluation.rows import read_rows
from msdet.evaluation.systems.names import MODEL
from msdet.files import read_json, read_json_lines
from msdet.geometry import angular_error
from msdet.metrics.bootstrap import Values
from msdet.metrics.scores import SceneRow
from msdet.metrics.table import arrays_of, score_table
from msdet.study.grid import Run
from msdet.study.scenes import SceneSets, SetName
from msdet.study.scoring import rows_folder
from msdet.tasks import Task, trained_tasks
from msdet.training.run_folder import TRAINED_NAME

QUANTITIES: tuple[str, ...] = (
    "si_sdr_improvement",
    "azimuth_error",
    "azimuth_error_best_matched",
    "wrong_slot",
    "order_correct",
)
_NEED_SEPARATION = ("si_sdr_improvement", "azimuth_error", "wrong_slot", "order_correct")
"""What means nothing of a network that was not trained to separate: its slots hold no voices."""


@dataclass(frozen=True)
class RunResult:
    """One finished and scored run.

    Attributes:
        tasks: what it was trained for. history: of its epochs, ``history.jsonl``.
        trained: seconds, examples and what else it measured of itself.
        git_commit, versions: what its network was made with. best_epoch: which one was kept.
        values: by set and quantity, ``[scene, speaker]``, NaN where there is nothing; the order of
            slots has one column.
        failures: values that could not be computed.
    """

    run: Run
    tasks: tuple[str, ...]
    history: tuple[dict[str, Any], ...]
    trained: dict[str, Any]
    git_commit: str | None
    versions: dict[str, str]
    best_epoch: int | None
    values: dict[SetName, dict[str, NDArray[np.float64]]]
    failures: int


@dataclass(frozen=True)
class SceneTable:
    """What is known of the scenes of a set, NaN where a scene has fewer speakers.

    Attributes:
        ids: ``[scene]``. azimuth, distance, unprocessed: ``[scene, speaker]``; degrees, metres, and
            the SI-SDR of the mixture in dB. t60, snr: ``[scene]``; seconds (measured) and dB.
    """

    ids: tuple[str, ...]
    azimuth: NDArray[np.float64]
    distance: NDArray[np.float64]
    unprocessed: NDArray[np.float64]
    t60: NDArray[np.float64]
    snr: NDArray[np.float64]

    @property
    def nearest(self) -> NDArray[np.float64]:
        """The smallest angle between two speakers, ``[scene]`` degrees."""
        return np.array([min(gaps, default=math.nan) for gaps in self._gaps()])

    @property
    def farthest(self) -> NDArray[np.float64]:
        """The largest angle between two speakers, ``[scene]`` degrees."""
        return np.array([max(gaps, default=math.nan) for gaps in self._gaps()])

    @property
    def to_seam(self) -> NDArray[np.float64]:
        """The smallest angle of a speaker to 0 degrees, ``[scene]``."""
        return np.array([np.nanmin(angular_error(a, np.zeros_like(a))) for a in self.azimuth])

    def _gaps(self) -> list[list[float]]:
        rows = [row[np.isfinite(row)] for row in self.azimuth]
        return [[float(angular_error(a, b)) for a, b in combinations(row, 2)] for row in rows]


@dataclass(frozen=True)
class Results:
    """All finished and scored runs.

    Attributes:
        left_out: sets of scenes that there are not, and why.
        missing: runs that are not among them, by name, and why.
        linear_array: no seam there.
    """

    runs: tuple[RunResult, ...]
    scenes: dict[SetName, SceneTable]
    left_out: dict[SetName, str]
    missing: dict[str, str]
    linear_array: bool

    def of(self, method: str, seeds: Sequence[int] | None = None) -> list[RunResult]:
        """A method's runs in order of their seeds."""
        found = [r for r in self.runs if r.run.method == method]
        found = [r for r in found if seeds is None or r.run.seed in seeds]
        return sorted(found, key=lambda r: r.run.seed)

    def seeds(self, *methods: str) -> list[int]:
        """Those that all of these methods have."""
        each = [{r.run.seed for r in self.of(method)} for method in methods]
        return sorted(set.intersection(*each))

    def values(
        self, method: str, set_name: SetName, quantity: str, seeds: Sequence[int] | None = None
    ) -> Values:
        """``[seed, scene, speaker]``."""
        return np.stack([r.values[set_name][quantity] for r in self.of(method, seeds)])


def collect(
    output: Path, runs: Sequence[Run], scenes: SceneSets, failures: Mapping[str, str]
) -> Results:
    """Read what the finished runs left.

    Args:
        failures: of runs that failed just now, by name, why.
    """
    found: list[RunResult] = []
    tables: dict[SetName, SceneTable] = {}
    missing: dict[str, str] = {}
    for run in runs:
        try:
            why = _why_missing(output, run, scenes)
            if why is not None:
                missing[run.name] = failures.get(run.name, why)
                continue
            rows = {name: read_rows(rows_folder(output, run, name)) for name in scenes.sets}
        except InputError as error:
            missing[run.name] = str(error)
            continue
        found.append(_result(run, rows))
        for name, of_set in rows.items():
            tables.setdefault(name, _scene_table(of_set))
    linear = runs[0].config.array.build().is_linear
    return Results(tuple(found), tables, scenes.left_out, missing, linear)


def _why_missing(output: Path, run: Run, scenes: SceneSets) -> str | None:
    state = run.state()
    if state != "finished":
        done = run.epochs_done() if state == "unfinished" else 0
        of = f", {done} of {run.config.trainer.epochs} epochs" if done else ""
        return f"{state}{of}"
    for name, wanted in scenes.sets.items():
        folder = rows_folder(output, run, name)
        there = len(read_rows(folder)) if (folder / "rows.jsonl").exists() else 0
        if there < len(wanted):
            return f"trained; {there} of {len(wanted)} scenes of {name} are scored"
    return None


def _result(run: Run, rows: Mapping[SetName, Sequence[SceneRow]]) -> RunResult:
    description = read_description(run.checkpoint)
    epoch = description.training.get("epoch")
    mend = "delete the folder; the same command trains this run anew"
    tasks = tasks_of(run)
    values = {name: _values(of_set) for name, of_set in rows.items()}
    if "separation" not in tasks:
        for of_set in values.values():
            for quantity in QUANTITIES:
                if quantity in _NEED_SEPARATION:
                    of_set[quantity] = np.full_like(of_set[quantity], np.nan)
    return RunResult(
        run=run,
        tasks=tasks,
        history=tuple(read_json_lines(run.folder / "history.jsonl", mend)),
        trained=read_json(run.folder / TRAINED_NAME, mend),
        git_commit=description.git_commit,
        versions=description.versions,
        best_epoch=None if epoch is None else int(epoch),
        values=values,
        failures=sum(
            len(row.systems[MODEL].failures) for of_set in rows.values() for row in of_set
        ),
    )


def tasks_of(run: Run) -> tuple[Task, ...]:
    """What a run is trained for."""
    criterion = run.config.criterion
    return trained_tasks(criterion.weight, criterion.distance_weight)


def _values(rows: Sequence[SceneRow]) -> dict[str, NDArray[np.float64]]:
    arrays = arrays_of(score_table(rows), MODEL)
    nothing = np.full_like(arrays["silent"], np.nan)
    found = {name: arrays.get(name, nothing) for name in QUANTITIES}
    return found | {"order_correct": arrays.get("order_correct", nothing[:, :1])}


def _scene_table(rows: Sequence[SceneRow]) -> SceneTable:
    width = max(len(row.systems[MODEL].speakers) for row in rows)
    per_speaker = np.full((3, len(rows), width), np.nan)
    for i, row in enumerate(rows):
        for j, speaker in enumerate(row.systems[MODEL].speakers):
            per_speaker[0, i, j] = speaker.azimuth
            per_speaker[1, i, j] = _number(row.labels.speaker["distance"][j])
            per_speaker[2, i, j] = _number(speaker.scores.get("si_sdr_unprocessed"))
    return SceneTable(
        ids=tuple(row.id for row in rows),
        azimuth=per_speaker[0],
        distance=per_speaker[1],
        unprocessed=per_speaker[2],
        t60=np.array([_number(row.labels.scene["t60"]) for row in rows]),
        snr=np.array([_number(row.labels.scene["snr_db"]) for row in rows]),
    )


def _number(value: float | bool | str | None) -> float:
    return math.nan if value is None else float(value)
