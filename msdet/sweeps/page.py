# SPDX-License-Identifier: Apache-2.0
"""A study's page in Markdown, around the prose that somebody wrote beside it.

The page is made anew each time; what is written by hand stands in ``NAME-notes.md`` beside it and
is taken in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from msdet.files import write_atomically
from msdet.metrics.bootstrap import RESAMPLES
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.metrics.measures import COMPARED, DASH, MEASURES, Measure
from msdet.provenance import short_commit
from msdet.sweeps.findings import (
    FEWEST_SHOWN,
    Findings,
    breakdown,
    find,
    remarks,
    shared,
)
from msdet.sweeps.pictures import draw_differences, draw_training
from msdet.sweeps.study import Comparison, StudyConfig
from msdet.sweeps.study_files import write_files
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
    found = find(study, results)
    write_files(found, made_with)
    differences = {name: _differences(found, name) for name in (MAIN, OPPOSITE)}
    seam = found.seam.assign(method=found.seam["method"].map(study.label))
    paired, others = (seam[seam["pairs"] == same] for same in (True, False))
    if not differences[MAIN].empty:
        draw_differences(differences[MAIN], "compared", folder / "comparisons.png")
    if not paired.empty:
        draw_differences(paired, "method", folder / "seam-pairs.png")
    labels = {name: method.label for name, method in study.methods.items()}
    draw_training(found.history, labels, folder / "training.png")
    notes = page.with_name(f"{page.stem}-notes.md")
    pairs = shared(study, results)
    missing = [{"run": f"`{name}`", "why": why} for name, why in results.missing.items()]
    rows = [row for of_set in results.rows.values() for row in of_set]
    text = _template().render(
        study=study,
        results=results,
        folder=folder.name,
        made_with=made_with,
        notes=notes.read_text(encoding="utf-8").strip() if notes.exists() else "",
        methods=markdown(_methods(found)),
        scenes={name: len(of_set) for name, of_set in results.rows.items()},
        numbers={name: _numbers(found, name) for name in results.rows},
        not_scored=sum(len(s.failures) for row in rows for s in row.systems.values()),
        differences=_wide(
            differences[MAIN],
            "compared",
            remark={_words(study, pair): remarks(study, results, pair) for pair in pairs},
        ),
        seam_pairs=_wide(paired, "method"),
        seam_others=_wide(others, "method"),
        opposite_differences=_wide(differences[OPPOSITE], "compared"),
        breakdowns={
            _words(study, pair): _wide(breakdown(results, pair), "kind", "group", "scenes")
            for pair in pairs
            if pair.breakdown
        },
        train_seconds=sum(run.summary()["train_seconds"] for run in results.runs),
        commits=sorted({short_commit(run.description().git_commit) for run in results.runs}),
        commit=short_commit(made_with["git_commit"]),
        missing_table=markdown(pd.DataFrame(missing)),
        seam_degrees=SEAM_DEGREES,
        opposition_degrees=OPPOSITION_DEGREES,
        small_db=MEASURES["si_sdr_improvement_db"].margin,
        small_deg=MEASURES["azimuth_error_mean_deg"].margin,
        fewest_shown=FEWEST_SHOWN,
        resamples=RESAMPLES,
    )
    write_atomically(page, text)
    return page


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


def _methods(found: Findings) -> pd.DataFrame:
    rows = []
    for method in found.results.methods:
        runs = found.results.of(method)
        config, summaries = runs[0].config, [run.summary() for run in runs]
        heads = config.model.heads.guidance
        rows.append(
            {
                "method": found.study.label(method),
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


def _numbers(found: Findings, scenes_set: str) -> str:
    own = found.numbers[found.numbers["scenes_set"] == scenes_set]
    return _wide(own.assign(method=own["method"].map(found.study.label)), "method", sign="")


def _words(study: StudyConfig, pair: Comparison) -> str:
    return f"{study.label(pair.method)} against {study.label(pair.reference)}"


def _differences(found: Findings, scenes_set: str) -> pd.DataFrame:
    """Return the lines of one set of scenes, with what is ``compared`` in words."""
    own = found.differences[found.differences["scenes_set"] == scenes_set]
    method, reference = (own[name].map(found.study.label) for name in ("method", "reference"))
    return own.assign(compared=method + " against " + reference)
