# SPDX-License-Identifier: Apache-2.0
"""A study's page in Markdown, around the prose that somebody wrote beside it; its numbers as JSON
and its raw rows as CSV for other programs.

The page is made anew each time; what is written by hand stands in ``NAME-notes.md`` beside it and
is taken in.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from msdet.files import write_atomically, write_json
from msdet.metrics.bootstrap import CONFIDENCE_PERCENT, RESAMPLES
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.metrics.measures import COMPARED, DASH, MEASURES, Measure
from msdet.provenance import short_commit
from msdet.sweeps import findings
from msdet.sweeps.pictures import draw_differences, draw_training
from msdet.sweeps.run import Run
from msdet.sweeps.study import Comparison, StudyConfig
from msdet.sweeps.study_scores import MAIN, OPPOSITE, Results

_VERDICTS = {
    "equivalent": "equivalent",
    "better": "better on the seam",
    "worse": "worse on the seam",
    "not shown": "neither shown",
}


def write_report(study: StudyConfig, results: Results, made_with: Mapping[str, Any]) -> Path:
    """Write page, pictures, JSON and raw rows; return the page.

    Args:
        results: of one run at least.
        made_with: ``command``, ``versions``, ``git_commit`` and ``machine`` with its ``name``, the
            ``jobs`` side by side and the ``threads`` of each.
    """
    page, folder = Path(f"{study.results}.md"), Path(study.results)
    numbers, seam = findings.numbers(results), findings.seam(results)
    differences = findings.differences(study, results)
    runs = [_run(study, run) for run in results.runs]
    record = {
        "title": study.title,
        "runs": runs,
        "numbers": _lines(numbers),
        "comparisons": _lines(differences.rename(columns={"value": "difference"})),
        "seam": _lines(seam.rename(columns={"value": "difference"})),
        "missing": dict(results.missing),
        "left_out": dict(results.left_out),
        "bootstrap": {"resamples": RESAMPLES, "confidence_percent": CONFIDENCE_PERCENT},
        **made_with,
    }
    write_json(Path(f"{study.results}.json"), record)
    _write_csv(folder / "rows.csv.gz", _rows(results))
    _write_csv(folder / "scenes.csv.gz", _scenes(results))

    labels = {name: method.label for name, method in study.methods.items()}
    for found in (numbers, seam, differences):
        found["method"] = found["method"].map(labels)
    differences["compared"] = (
        differences["method"] + " against " + differences["reference"].map(labels)
    )
    of_task, opposite = (differences[differences["scenes_set"] == s] for s in (MAIN, OPPOSITE))
    paired, others = (seam[seam["pairs"] == same] for same in (True, False))
    if not of_task.empty:
        draw_differences(of_task, "compared", folder / "comparisons.png")
    if not paired.empty:
        draw_differences(paired, "method", folder / "seam-pairs.png")
    draw_training(_history(results), labels, folder / "training.png")
    notes = page.with_name(f"{page.stem}-notes.md")
    pairs = {_words(study, pair): pair for pair in findings.shared(study, results)}
    missing = [{"run": f"`{name}`", "why": why} for name, why in results.missing.items()]
    rows = [row for of_set in results.rows.values() for row in of_set]
    text = _template().render(
        study=study,
        results=results,
        folder=folder.name,
        made_with=made_with,
        notes=notes.read_text(encoding="utf-8").strip() if notes.exists() else "",
        methods=markdown(_methods(study, results)),
        scenes={name: len(of_set) for name, of_set in results.rows.items()},
        numbers={
            name: _wide(numbers[numbers["scenes_set"] == name], "method", sign="")
            for name in results.rows
        },
        not_scored=sum(len(s.failures) for row in rows for s in row.systems.values()),
        differences=_wide(
            of_task,
            "compared",
            remark={name: findings.remarks(study, results, pair) for name, pair in pairs.items()},
        ),
        seam_pairs=_wide(paired, "method"),
        seam_others=_wide(others, "method"),
        opposite_differences=_wide(opposite, "compared"),
        breakdowns={
            name: _wide(findings.breakdown(results, pair), "kind", "group", "scenes")
            for name, pair in pairs.items()
            if pair.breakdown
        },
        train_seconds=sum(run["train_seconds"] for run in runs),
        commits=sorted({short_commit(run["git_commit"]) for run in runs}),
        commit=short_commit(made_with["git_commit"]),
        missing_table=markdown(pd.DataFrame(missing)),
        seam_degrees=SEAM_DEGREES,
        opposition_degrees=OPPOSITION_DEGREES,
        small_db=MEASURES["si_sdr_improvement_db"].margin,
        small_deg=MEASURES["azimuth_error_mean_deg"].margin,
        fewest_shown=findings.FEWEST_SHOWN,
        resamples=RESAMPLES,
    )
    write_atomically(page, text)
    return page


def _words(study: StudyConfig, pair: Comparison) -> str:
    return f"{study.label(pair.method)} against {study.label(pair.reference)}"


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = (resources.files(__package__) / "study.md.j2").read_text(encoding="utf-8")
    return Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False
    ).from_string(text)


def markdown(frame: pd.DataFrame) -> str:
    """Return a table of texts; a bar in a cell does not end it. Nothing of one without lines."""
    if frame.empty:
        return ""
    lines = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    cells = (" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def _wide(
    found: pd.DataFrame, *rows: str, sign: str = "+", remark: Mapping[str, str] | None = None
) -> str:
    """Return a table of lines of findings, a column a measure; bold differences exclude zero."""
    if found.empty:
        return ""
    texts = [
        _text(MEASURES[metric], value, low, high, sign)
        for metric, value, low, high in found[["metric", "value", "low", "high"]].to_numpy()
    ]
    if "verdict" in found:
        judged = found["verdict"].where(found["margin"].notna()).map(_VERDICTS)
        texts = [t if pd.isna(j) else f"{t}<br>{j}" for t, j in zip(texts, judged, strict=True)]
    shown = found.assign(text=texts).pivot_table(
        index=list(rows), columns="metric", values="text", aggfunc="first", sort=False
    )
    measures = [measure for measure in COMPARED if measure.name in shown]
    shown = shown[[measure.name for measure in measures]].fillna(DASH)
    shown.columns = pd.Index([f"{measure.title}, {measure.unit}" for measure in measures])
    shown = shown.reset_index()
    if remark:
        shown["remark"] = shown[rows[0]].map(remark)
    return markdown(shown)


def _text(measure: Measure, value: float, low: float, high: float, sign: str) -> str:
    """Shares are more finely told where they are differences. No interval where some resamples
    had nothing to average."""
    if math.isnan(value):
        return DASH
    scale, digits = (100, 1 if sign else 0) if measure.unit == "%" else (1, 2)
    shown, least, most = (f"{scale * x:{sign}.{digits}f}" for x in (value, low, high))
    text = shown if math.isnan(low) else f"{shown} [{least}, {most}]"
    return f"**{text}**" if sign and (low > 0 or high < 0) else text


def _methods(study: StudyConfig, results: Results) -> pd.DataFrame:
    rows = []
    for method in results.methods:
        runs = results.of(method)
        config, summaries = runs[0].config, [run.summary() for run in runs]
        heads = config.model.heads.guidance
        rows.append(
            {
                "method": study.label(method),
                "assignment": f"`{config.criterion.assignment}`",
                "trained for": " and ".join(runs[0].tasks),
                "w": f"{config.criterion.weight:g}",
                "heads": "plain" if heads == "none" else f"guided: {heads}",
                "seeds": ", ".join(str(run.config.seed) for run in runs),
                "examples": ", ".join(sorted({str(s["examples"]) for s in summaries})),
                "seconds": f"{sum(s['train_seconds'] for s in summaries) / len(runs):.0f}",
            }
        )
    return pd.DataFrame(rows)


def _history(results: Results) -> pd.DataFrame:
    """The epochs of all runs, with ``method`` and ``seed``."""
    of_runs = (
        pd.DataFrame(run.history()).astype(float).assign(**run.values) for run in results.runs
    )
    return pd.concat(of_runs, ignore_index=True)


# --- files for other programs -------------------------------------------------------------


def _lines(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the lines of a frame, numbers to six decimals, null for NaN."""
    plain = found.round(6).astype(object)
    lines: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return lines


def _run(study: StudyConfig, run: Run) -> dict[str, Any]:
    criterion, method, summary = run.config.criterion, run.values["method"], run.summary()
    description = run.description()
    return {
        "method": method,
        "label": study.label(method),
        "criterion": str(criterion.assignment),
        "tasks": list(run.tasks),
        "weight": criterion.weight,
        "guidance": run.config.model.heads.guidance,
        "overrides": list(study.methods[method].overrides),
        "seed": run.config.seed,
        **{name: summary[name] for name in ("train_seconds", "examples", "examples_per_second")},
        "best_epoch": description.training.get("epoch"),
        "git_commit": description.git_commit,
        "versions": description.versions,
    }


def _rows(results: Results) -> pd.DataFrame:
    """Return the tables of scores, a column a quantity: lines of speakers, and of whole scenes
    (speaker -1), by method, seed and set of scenes."""
    runs = pd.DataFrame(
        [
            {"system": run.name, "method": run.values["method"], "seed": run.config.seed}
            for run in results.runs
        ]
    )
    parts = []
    for scenes_set, table in results.tables.items():
        ids = {row.index: row.id for row in results.rows[scenes_set]}
        named = table.astype({"system": str, "quantity": str})
        wide = named.assign(scene=named["scene"].map(ids)).pivot_table(
            index=["system", "scene", "speaker"], columns="quantity", values="value", sort=False
        )
        parts.append(wide.reset_index().assign(scenes_set=scenes_set))
    found = runs.merge(pd.concat(parts, ignore_index=True), on="system").drop(columns="system")
    first = ["method", "seed", "scenes_set", "scene", "speaker"]
    return found[first + [name for name in found if name not in first]]


def _scenes(results: Results) -> pd.DataFrame:
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
