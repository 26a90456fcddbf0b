# SPDX-License-Identifier: Apache-2.0
"""The runs of a sweep and what came of them: ``sweep.json``, and a table for the screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from msdet.errors import InputError
from msdet.files import read_json, write_json
from msdet.metrics.measures import MEASURES, VALIDATION
from msdet.sweeps.run import Run
from msdet.sweeps.settings import short_keys

TABLE_NAME = "sweep.json"
Kind = Literal["grid", "search"]
_COLUMNS = [MEASURES[name] for name in ("si_sdr_improvement_db", "azimuth_error_median_deg")]
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
    """Tell how a run is now; ``error`` is why it failed."""
    basic = run.name, run.name, dict(run.values), list(run.overrides)
    if error is not None or run.state != "finished":
        return Record(*basic, run.state if error is None else "failed", error)
    valid, summary = run.description().metrics, run.summary()
    objective, _ = run.objective
    return Record(
        *basic,
        "finished",
        objective=objective,
        valid={name: valid.get(name) for name in dict.fromkeys((objective, *VALIDATION))},
        test={name: summary[name] for name in VALIDATION if name in summary},
        train_seconds=summary["train_seconds"],
    )


class SweepTable:
    """The records of a sweep by the names of their runs, kept in ``sweep.json``.

    Attributes:
        best: the run that a search found best.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        """Look at what is in the folder.

        Raises:
            InputError: it is a sweep of another kind.
        """
        self.path, self.kind = folder / TABLE_NAME, kind
        self.records: dict[str, Record] = {}
        self.best: str | None = None
        mend = "delete it if the sweep is of the same kind, or choose another output="
        found = read_json(self.path, mend).get("kind") if self.path.exists() else kind
        if found != kind:
            raise InputError(
                f"output={folder}: holds a {found}, not a {kind}; choose another output="
            )

    def keep(self, *records: Record) -> None:
        """Put records in the place of those of the same runs, or after all; write the file.

        Raises:
            InputError: it cannot be written.
        """
        self.records |= {one.run: one for one in records}
        runs = [asdict(one) for one in self.records.values()]
        try:
            write_json(self.path, {"kind": self.kind, "best": self.best, "runs": runs})
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error

    def show(self) -> None:
        """Print one row a run, test scores where some run has them, and where the file is."""
        runs = self.records.values()
        states = [run.state for run in runs]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        title = f"{len(runs)} runs: {counts}"
        shown = Table(title=title, title_justify="left", caption=_CAPTION)
        shown.add_column("run", overflow="fold")
        parts = ("valid", "test") if any(run.test for run in runs) else ("valid",)
        for part in parts:
            for measure in _COLUMNS:
                shown.add_column(f"{part}\n{measure.unit}", justify="right")
        shown.add_column("time", justify="right")
        shown.add_column("state")
        for run in runs:
            scores = [m.text(getattr(run, part).get(m.name)) for part in parts for m in _COLUMNS]
            seconds, best = run.train_seconds, run.run == self.best
            took = "" if seconds is None else str(timedelta(seconds=round(seconds)))
            state = "best" if best else run.state
            shown.add_row(_named(run), *scores, took, state, style="bold" if best else None)
        Console().print(shown)
        print(self.path)


def _named(run: Record) -> str:
    """Return its values, numbers rounded; a trial's number before them."""
    values = zip(short_keys(run.values), run.values.values(), strict=True)
    text = " ".join(f"{key}={_rounded(value)}" for key, value in values)
    return f"{run.run}: {text}" if run.run.startswith("trial-") else text


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
