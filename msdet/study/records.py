# SPDX-License-Identifier: Apache-2.0
"""A study's results as files for other programs: ``study.json``, and its raw rows as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msdet.files import write_atomically
from msdet.metrics.bootstrap import (
    CONFIDENCE_PERCENT,
    RESAMPLES,
    Interval,
    Values,
    statistic,
)
from msdet.metrics.measures import COMPARED, Measure
from msdet.study.analysis import Findings, present, values_on
from msdet.study.config import StudyConfig
from msdet.study.results import Results, RunResult

ROWS_NAME = "rows.csv.gz"
SCENES_NAME = "scenes.csv.gz"

ROW_COLUMNS = (
    "method",
    "seed",
    "scenes_set",
    "scene",
    "speaker",
    "si_sdr_improvement_db",
    "azimuth_error_deg",
    "azimuth_error_deg_best_matched",
    "wrong_slot",
    "slots_in_order",
)
SCENE_COLUMNS = (
    "scenes_set",
    "scene",
    "speaker",
    "azimuth_deg",
    "distance_m",
    "si_sdr_unprocessed_db",
    "t60_s",
    "snr_db",
)


def study_record(found: Findings, made_with: dict[str, Any]) -> dict[str, Any]:
    """What ``study.json`` holds. Shares and rates are 0 to 1; what there is not, is null.

    Args:
        made_with: the command, versions and machine.
    """
    study, results = found.study, found.results
    return {
        "title": study.title,
        "runs": [_run(study, results, run) for run in results.runs],
        "comparisons": [
            {
                "method": c.method,
                "reference": c.reference,
                "metric": c.measure.name,
                "scenes_set": c.scenes_set,
                **_estimate(c.estimate),
            }
            for _, compared in found.comparisons
            for c in compared
        ],
        "seam": [
            {
                "method": s.method,
                "metric": s.measure.name,
                "pairs": s.paired,
                **_estimate(s.estimate),
                "margin": s.measure.margin,
                "verdict": s.verdict,
            }
            for s in found.seam
        ],
        "missing": results.missing,
        "left_out": results.left_out,
        "bootstrap": {"resamples": RESAMPLES, "confidence_percent": CONFIDENCE_PERCENT},
        **made_with,
    }


def _run(study: StudyConfig, results: Results, run: RunResult) -> dict[str, Any]:
    criterion, method = run.run.config.criterion, run.run.method
    numbers: dict[str, dict[str, float | None]] = {}
    for measure in COMPARED:
        found = values_on(results, method, measure.quantity, [run.run.seed])
        for set_name, values in found.items():
            value = _plain(values, measure) if present(values) else None
            numbers.setdefault(set_name, {})[measure.name] = value
    return {
        "method": method,
        "label": study.methods[method].label,
        "criterion": criterion.assignment,
        "tasks": list(run.tasks),
        "weight": criterion.weight,
        "guidance": run.run.config.model.heads.guidance,
        "overrides": list(study.methods[method].overrides),
        "seed": run.run.seed,
        **numbers.pop("main"),
        "other_sets": numbers,
        "not_scored": run.failures,
        "train_seconds": run.trained["train_seconds"],
        "examples": run.trained["examples"],
        "examples_per_second": run.trained["examples_per_second"],
        "best_epoch": run.best_epoch,
        "git_commit": run.git_commit,
        "versions": run.versions,
    }


def write_rows(folder: Path, results: Results) -> None:
    """Raw rows, one per run, scene and speaker, and what is known of the scenes."""
    write_atomically(folder / ROWS_NAME, _compressed(ROW_COLUMNS, _rows(results)))
    write_atomically(folder / SCENES_NAME, _compressed(SCENE_COLUMNS, _scenes(results)))


def _rows(results: Results) -> Iterable[Sequence[object]]:
    for run in results.runs:
        for name, values in run.values.items():
            table = results.scenes[name]
            for i, scene in enumerate(table.ids):
                for j in range(table.azimuth.shape[1]):
                    if math.isfinite(table.azimuth[i, j]):
                        yield (
                            run.run.method,
                            run.run.seed,
                            name,
                            scene,
                            j,
                            _short(values["si_sdr_improvement"][i, j]),
                            _short(values["azimuth_error"][i, j]),
                            _short(values["azimuth_error_best_matched"][i, j]),
                            _short(values["wrong_slot"][i, j]),
                            _short(values["order_correct"][i, 0]),
                        )


def _scenes(results: Results) -> Iterable[Sequence[object]]:
    for name, table in results.scenes.items():
        for i, scene in enumerate(table.ids):
            for j in range(table.azimuth.shape[1]):
                if math.isfinite(table.azimuth[i, j]):
                    of_speaker = (table.azimuth, table.distance, table.unprocessed)
                    yield (
                        name,
                        scene,
                        j,
                        *(_short(column[i, j]) for column in of_speaker),
                        _short(table.t60[i]),
                        _short(table.snr[i]),
                    )


def _compressed(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """The same bytes for the same rows: gzip's header would hold the time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _plain(values: Values, measure: Measure) -> float:
    """A measure of one run, without an interval."""
    every = np.ones((1, values.shape[1]))
    return round(float(statistic(measure.of(values), measure.statistic, every)[0, 0]), 6)


def _estimate(found: Interval) -> dict[str, float | int | None]:
    return {
        "difference": _rounded(found.value),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "seeds": found.seeds,
        "scenes": found.scenes,
    }


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _short(value: float) -> str:
    """Three decimals at most; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def as_json(record: dict[str, Any]) -> str:
    """With a line for each number of interest, so that versions can be compared."""
    return json.dumps(record, indent=2, allow_nan=False) + "\n"
