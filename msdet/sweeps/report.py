# SPDX-License-Identifier: Apache-2.0
"""What came of a sweep: ``sweep.json``, and a table for the screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from msdet.errors import InputError, first_mistake
from msdet.files import read_json, write_atomically
from msdet.metrics.measures import MEASURES, VALIDATION
from msdet.sweeps.run import Run
from msdet.sweeps.settings import short_keys

SWEEP_NAME = "sweep.json"
Kind = Literal["grid", "search"]
_COLUMNS = tuple(MEASURES[name] for name in VALIDATION[:2])
_MEND = "delete it if the sweep is of the same kind, or choose another output="
_CAPTION = "; ".join(f"{measure.unit}: {measure.title}" for measure in _COLUMNS)


@dataclass(frozen=True)
class Record:
    """A run in ``sweep.json``.

    Attributes:
        values: of the keys that differ between runs. folder: relative to the sweep's.
        error: of a failed run. objective: the valid metric that decides on its best network.
        valid, test: scores of that network; test where the run was evaluated.
    """

    run: str
    folder: str
    values: dict[str, str]
    overrides: list[str]
    state: Literal["finished", "unfinished", "failed", "waiting"]
    error: str | None = None
    objective: str | None = None
    valid: dict[str, float | None] = field(default_factory=dict)
    test: dict[str, float | None] = field(default_factory=dict)
    train_seconds: float | None = None


def record(run: Run, error: str | None = None) -> Record:
    """A run as it is now; ``error`` is why it failed."""
    basic = (run.name, run.name, dict(run.values), list(run.overrides))
    if not run.is_finished:
        begun = "unfinished" if run.epochs_done() else "waiting"
        return Record(*basic, begun if error is None else "failed", error)  # type: ignore[arg-type]
    valid, summary = run.valid_metrics(), run.summary()
    objective, _ = run.objective()
    return Record(
        *basic,
        "finished",
        objective=objective,
        valid={name: valid.get(name) for name in dict.fromkeys((objective, *VALIDATION))},
        test={name: summary[name] for name in VALIDATION if name in summary},
        train_seconds=summary["train_seconds"],
    )


def check_kind(folder: Path, kind: Kind) -> None:
    """Refuse to make a grid where a search is, and the other way round.

    Raises:
        InputError: names the folder.
    """
    path = folder / SWEEP_NAME
    if not path.exists():
        return
    found = read_json(path, _MEND).get("kind")
    if found not in ("grid", "search"):
        raise InputError(f"{path}: does not say what it is of; {_MEND}")
    if found != kind:
        raise InputError(f"output={folder}: holds a {found}, not a {kind}; choose another output=")


def earlier_records(folder: Path) -> dict[str, Record]:
    """What ``sweep.json`` says, by the runs' names."""
    path = folder / SWEEP_NAME
    if not path.exists():
        return {}
    try:
        records = TypeAdapter(list[Record]).validate_python(read_json(path, _MEND).get("runs"))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}; {_MEND}") from error
    return {record.run: record for record in records}


def write_report(folder: Path, kind: Kind, records: Sequence[Record], best: str | None) -> None:
    """Write ``sweep.json``. ``best``: the run that a search found best."""
    content = {"kind": kind, "best": best, "runs": [asdict(r) for r in records]}
    try:
        write_atomically(folder / SWEEP_NAME, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error


def table(records: Sequence[Record], best: str | None) -> Table:
    """One row a run; test scores where some run has them."""
    states = [r.state for r in records]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    shown = Table(title=f"{len(records)} runs: {counts}", title_justify="left", caption=_CAPTION)
    shown.add_column("run", overflow="fold")
    parts = ["valid", "test"] if any(r.test for r in records) else ["valid"]
    for part in parts:
        for measure in _COLUMNS:
            shown.add_column(f"{part}\n{measure.unit}", justify="right")
    shown.add_column("time", justify="right")
    shown.add_column("state")
    for r in records:
        scores = [_scores(r.valid), *([_scores(r.test)] if len(parts) > 1 else [])]
        style = "bold" if r.run == best else None
        state = "best" if r.run == best else r.state
        cells = (cell for part in scores for cell in part)
        shown.add_row(_named(r), *cells, _duration(r.train_seconds), state, style=style)
    return shown


def _named(r: Record) -> str:
    """Its values, numbers rounded; a trial's number before them."""
    values = zip(short_keys(r.values), r.values.values(), strict=True)
    text = " ".join(f"{key}={_rounded(value)}" for key, value in values)
    return f"{r.run}: {text}" if r.run.startswith("trial-") else text


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    return [measure.text(metrics.get(measure.name)) for measure in _COLUMNS]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
