# SPDX-License-Identifier: Apache-2.0
"""The findings of a study as frames: numbers, differences, the seam, kinds of scenes.

Each line has the name of its ``metric``, its ``value`` with the 95 % interval ``low`` to ``high``,
and how many ``seeds`` and ``scenes`` stand behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from msdet.metrics.bootstrap import Interval, contrast, difference, interval, verdict
from msdet.metrics.conditions import groups_of
from msdet.metrics.measures import COMPARED, Measure
from msdet.sweeps.study import Comparison, StudyConfig
from msdet.sweeps.study_scores import MAIN, OFF_SEAM, ON_SEAM, Results

FEWEST_SHOWN = 5
"""Scenes that a group must have to be shown."""

_COLUMNS = pd.Index(["method", "reference", "scenes_set", "pairs", "metric", "value"])
CONDITIONS = ("angle", "seam", "sir", "t60", "distance")


@dataclass(frozen=True)
class Findings:
    """All that is computed once and shown in several places.

    Attributes:
        numbers: by ``method`` and ``scenes_set``.
        differences: ``method`` minus ``reference``, by ``scenes_set``.
        seam: by ``method``, scenes on the seam minus off it: ``pairs``, the same scenes with the
            array turned, or other scenes of the task; with ``margin`` and ``verdict``.
        history: of the runs' epochs, with ``method`` and ``seed``.
    """

    study: StudyConfig
    results: Results
    numbers: pd.DataFrame
    differences: pd.DataFrame
    seam: pd.DataFrame
    history: pd.DataFrame


def find(study: StudyConfig, results: Results) -> Findings:
    """Compute them; takes a while where there are many methods."""
    of_runs = [
        pd.DataFrame(run.history()).astype(float).assign(**run.values) for run in results.runs
    ]
    return Findings(
        study,
        results,
        numbers=frame(_numbers(results)),
        differences=frame(_differences(study, results)),
        seam=frame(() if results.linear_array else _seam(results)),
        history=pd.concat(of_runs, ignore_index=True),
    )


def frame(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Make a frame of lines; one without any has columns all the same."""
    found = list(lines)
    return pd.DataFrame(found, columns=None if found else _COLUMNS)


def _line(measure: Measure, found: Interval, **of: Any) -> dict[str, Any]:
    return {**of, "metric": measure.name, **asdict(found)}


def _numbers(results: Results) -> Iterator[dict[str, Any]]:
    for method in results.methods:
        for scenes_set in results.rows:
            for measure in COMPARED:
                values = results.values(method, scenes_set, measure.quantity)
                if values is not None:
                    found = interval(values, measure)
                    yield _line(measure, found, method=method, scenes_set=scenes_set)


def shared(study: StudyConfig, results: Results) -> list[Comparison]:
    """Return the comparisons of which both methods share a seed."""
    there = results.methods
    pairs = [c for c in study.comparisons if c.method in there and c.reference in there]
    return [c for c in pairs if results.seeds(c.method, c.reference)]


def _differences(study: StudyConfig, results: Results) -> Iterator[dict[str, Any]]:
    for comparison in shared(study, results):
        pair = {"method": comparison.method, "reference": comparison.reference}
        seeds = results.seeds(*pair.values())
        for measure in COMPARED:
            for scenes_set in results.rows:
                mine, theirs = (
                    results.values(method, scenes_set, measure.quantity, seeds)
                    for method in pair.values()
                )
                if mine is not None and theirs is not None:
                    found = difference(mine, theirs, measure)
                    yield _line(measure, found, **pair, scenes_set=scenes_set)


def _seam(results: Results) -> Iterator[dict[str, Any]]:
    _, near = groups_of(results.rows[MAIN], ("seam",))["seam"][0]
    near = near[:, 0]
    for method in results.methods:
        for measure in COMPARED:
            of = {"method": method, "margin": measure.margin}
            if ON_SEAM in results.rows:
                on, off = (
                    results.values(method, name, measure.quantity) for name in (ON_SEAM, OFF_SEAM)
                )
                if on is not None and off is not None:
                    yield _judged(measure, difference(on, off, measure), **of, pairs=True)
            values = results.values(method, MAIN, measure.quantity)
            if values is not None and near.any() and not near.all():
                found = contrast(values, near, ~near, measure)
                yield _judged(measure, found, **of, pairs=False)


def _judged(measure: Measure, found: Interval, **of: Any) -> dict[str, Any]:
    return _line(measure, found, **of, verdict=verdict(found, measure))


def breakdown(results: Results, comparison: Comparison) -> pd.DataFrame:
    """Return differences by ``kind`` and ``group`` of the scenes of the task."""
    methods = comparison.method, comparison.reference
    seeds = results.seeds(*methods)
    groups = groups_of(results.rows[MAIN], CONDITIONS, linear_array=results.linear_array)
    lines = []
    for measure in COMPARED:
        mine, theirs = (results.values(m, MAIN, measure.quantity, seeds) for m in methods)
        if mine is None or theirs is None:
            continue
        for kind, of_kind in groups.items():
            for group, inside in of_kind:
                scenes = int(inside.any(axis=1).sum())
                if scenes < FEWEST_SHOWN:
                    continue
                whole = mine.shape[2] == 1  # of the whole scene
                chosen = inside.any(axis=1, keepdims=True) if whole else inside
                mask = np.where(chosen, 1.0, np.nan)
                found = difference(mine * mask, theirs * mask, measure)
                line = _line(measure, found, kind=kind, group=group)
                lines.append({**line, "scenes": scenes})  # the same for all measures
    return frame(lines)


def remarks(study: StudyConfig, results: Results, comparison: Comparison) -> str:
    """Say what a reader must know of a comparison: other heads, another network, seeds missing."""
    methods = comparison.method, comparison.reference
    first, second = (results.of(method)[0].config for method in methods)
    plain = first.model.model_copy(update={"heads": second.model.heads})
    seeds = len(results.seeds(*methods))
    told = {
        "other heads": first.model.heads != second.model.heads,
        "other network": plain != second.model,
        "other optimiser": first.trainer != second.trainer,
        f"{seeds} of {len(study.seeds)} seeds": seeds < len(study.seeds),
    }
    return ", ".join(words for words, holds in told.items() if holds)
