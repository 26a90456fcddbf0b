# SPDX-License-Identifier: Apache-2.0
"""A study's results as files for other programs: ``study.json``, and its raw rows as CSV."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from msdet.files import write_atomically, write_json
from msdet.metrics import score_table
from msdet.metrics.bootstrap import CONFIDENCE_PERCENT, RESAMPLES
from msdet.sweeps.findings import Findings
from msdet.sweeps.run import Run
from msdet.sweeps.study_scores import Results


def write_files(found: Findings, made_with: Mapping[str, Any]) -> None:
    """Write ``study.json`` and the raw rows. Shares and rates are 0 to 1; nothing is null."""
    results, folder = found.results, Path(found.study.results)
    record = {
        "title": found.study.title,
        "runs": [_run(found, run) for run in results.runs],
        "numbers": _lines(found.numbers),
        "comparisons": _lines(found.differences.rename(columns={"value": "difference"})),
        "seam": _lines(found.seam.rename(columns={"value": "difference"})),
        "missing": dict(results.missing),
        "left_out": dict(results.left_out),
        "bootstrap": {"resamples": RESAMPLES, "confidence_percent": CONFIDENCE_PERCENT},
        **made_with,
    }
    write_json(Path(f"{found.study.results}.json"), record)
    _write_csv(folder / "rows.csv.gz", rows_table(results))
    _write_csv(folder / "scenes.csv.gz", scenes_table(results))


def _lines(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the lines of a frame, numbers to six decimals, null for NaN."""
    plain = found.round(6).astype(object)
    lines: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return lines


def _run(found: Findings, run: Run) -> dict[str, Any]:
    criterion, method, summary = run.config.criterion, run.values["method"], run.summary()
    description = run.description()
    return {
        "method": method,
        "label": found.study.label(method),
        "criterion": str(criterion.assignment),
        "tasks": list(run.tasks),
        "weight": criterion.weight,
        "guidance": run.config.model.heads.guidance,
        "overrides": list(found.study.methods[method].overrides),
        "seed": run.config.seed,
        **{name: summary[name] for name in ("train_seconds", "examples", "examples_per_second")},
        "best_epoch": description.training.get("epoch"),
        "git_commit": description.git_commit,
        "versions": description.versions,
    }


def rows_table(results: Results) -> pd.DataFrame:
    """Return the table of scores, a column a quantity: lines of speakers, and of whole scenes
    (speaker -1), by method, seed and set of scenes."""
    runs = pd.DataFrame(
        [
            {"system": run.name, "method": run.values["method"], "seed": run.config.seed}
            for run in results.runs
        ]
    )
    parts = []
    for scenes_set, rows in results.rows.items():
        table = score_table(rows).astype({"system": str, "quantity": str})
        table["scene"] = table["scene"].map({row.index: row.id for row in rows})
        wide = table.pivot_table(
            index=["system", "scene", "speaker"], columns="quantity", values="value", sort=False
        )
        parts.append(wide.reset_index().assign(scenes_set=scenes_set))
    found = runs.merge(pd.concat(parts, ignore_index=True), on="system").drop(columns="system")
    first = ["method", "seed", "scenes_set", "scene", "speaker"]
    return found[first + [name for name in found if name not in first]]


def scenes_table(results: Results) -> pd.DataFrame:
    """Return what is known of the scenes, a line for each speaker."""
    return pd.DataFrame(
        {
            "scenes_set": scenes_set,
            "scene": row.id,
            "speaker": j,
            "azimuth_deg": speaker.azimuth,
            **row.labels.scene,
            **{name: values[j] for name, values in row.labels.speaker.items()},
        }
        for scenes_set, rows in results.rows.items()
        for row in rows
        for j, speaker in enumerate(next(iter(row.systems.values())).speakers)
    )


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write the same bytes for the same rows: gzip's header would hold the time."""
    write_atomically(path, gzip.compress(frame.round(3).to_csv(index=False).encode(), mtime=0))
