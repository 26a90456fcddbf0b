# SPDX-License-Identifier: Apache-2.0
"""The findings of a study as frames: numbers, differences, the seam, kinds of scenes.

Each line has the name of its ``metric``, its ``value`` with the 95 % interval ``low`` to ``high``,
and how many ``seeds`` and ``scenes`` stand behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
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

CONDITIONS = ("angle", "seam", "sir", "t60", "distance")
_COLUMNS = pd.Index(["method", "reference", "scenes_set", "pairs", "margin", "metric", "value"])


def numbers(results: Results) -> pd.DataFrame:
    """Return every measure by ``method`` and ``scenes_set``."""
    return _frame(
        _line(measure, interval(values, measure), method=method, scenes_set=name)
        for method in results.methods
        for name in results.rows
        for measure in COMPARED
        if (values := results.values(method, name, measure.quantity)) is not None
    )


def differences(study: StudyConfig, results: Results) -> pd.DataFrame:
    """Return ``method`` minus ``reference``, by ``scenes_set``."""
    return _frame(
        _line(measure, difference(*both, measure), **_methods(pair), scenes_set=name)
        for pair in shared(study, results)
        for measure in COMPARED
        for name in results.rows
        if (both := results.pair(pair, name, measure.quantity)) is not None
    )


def seam(results: Results) -> pd.DataFrame:
    """Return scenes on the seam minus off it by ``method``, with ``margin`` and ``verdict``:
    ``pairs``, the same scenes with the array turned, or other scenes of the task."""
    lines: list[dict[str, Any]] = []
    if results.linear_array:
        return _frame(lines)
    _, near = groups_of(results.rows[MAIN], ("seam",))["seam"][0]
    near = near[:, 0]
    for method in results.methods:
        for measure in COMPARED:
            on, off, task = (
                results.values(method, name, measure.quantity) for name in (ON_SEAM, OFF_SEAM, MAIN)
            )
            found: dict[bool, Interval] = {}
            if on is not None and off is not None:
                found[True] = difference(on, off, measure)
            if task is not None and near.any() and not near.all():
                found[False] = contrast(task, near, ~near, measure)
            for pairs, of in found.items():
                judged = {"pairs": pairs, "verdict": verdict(of, measure)}
                lines.append(_line(measure, of, method=method, margin=measure.margin, **judged))
    return _frame(lines)


def breakdown(results: Results, comparison: Comparison) -> pd.DataFrame:
    """Return differences by ``kind`` and ``group`` of the scenes of the task."""
    groups = groups_of(results.rows[MAIN], CONDITIONS, linear_array=results.linear_array)
    lines = []
    for measure in COMPARED:
        both = results.pair(comparison, MAIN, measure.quantity)
        for kind, of_kind in groups.items() if both else ():
            for group, inside in of_kind:
                of_scene = inside.any(axis=1, keepdims=True)
                scenes = int(of_scene.sum())
                if both is None or scenes < FEWEST_SHOWN:
                    continue
                chosen = of_scene if both[0].shape[2] == 1 else inside
                mask = np.where(chosen, 1.0, np.nan)
                found = difference(both[0] * mask, both[1] * mask, measure)
                line = _line(measure, found, kind=kind, group=group)
                lines.append({**line, "scenes": scenes})  # the same for all measures
    return _frame(lines)


def shared(study: StudyConfig, results: Results) -> list[Comparison]:
    """Return the comparisons of which both methods share a seed."""
    return [pair for pair in study.comparisons if results.seeds(pair.method, pair.reference)]


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


def _methods(comparison: Comparison) -> dict[str, str]:
    return {"method": comparison.method, "reference": comparison.reference}


def _frame(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Make a frame of lines; one without any has columns all the same."""
    found = list(lines)
    return pd.DataFrame(found, columns=None if found else _COLUMNS)


def _line(measure: Measure, found: Interval, **of: Any) -> dict[str, Any]:
    return {**of, "metric": measure.name, **asdict(found)}
