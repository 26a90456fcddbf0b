# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: all systems, how they compare, and every scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.wording import Words, edges, finite, quantity
from msdet.metrics import Measure
from msdet.metrics.conditions import smallest_angle
from msdet.metrics.measures import BEST_MATCHED, DASH

_DIRECTIONS = {"azimuth": "azimuth", "azimuth_best_matched": "azimuth, matched by itself"}


# --- systems ------------------------------------------------------------------------------


def summary_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the table of all systems."""
    keys = _shown_measures(content)
    unscored = {name: not_scored(content, name) for name in content.systems}
    return {
        "columns": [quantity(key, content.measures).title for key in keys],
        "lines": [
            {
                "name": name,
                "cells": [_shown_cell(content, name, key) for key in keys],
                "unscored": unscored[name],
            }
            for name in content.systems
        ],
        "some_unscored": any(found["total"] for found in unscored.values()),
        "unavailable": list(
            dict.fromkeys(entry for found in unscored.values() for entry in found["unavailable"])
        ),
    }


def _shown_measures(content: ReportContent) -> list[str]:
    """The columns of the tables of systems that some system has a number for."""

    def says(measure: Measure) -> bool:
        values = [
            finite(content.summary_of(name).get(content.number(name, measure.name)))
            for name in content.systems
        ]
        rare = measure.if_any or measure.name == "wrong_slot_rate"
        return any(value if rare else value is not None for value in values)

    columns = [
        name
        for name, measure in content.measures.items()
        if "tables" in measure.places or "report" in measure.places
        if says(measure)
    ]
    return [key for key in columns if key != "not_scored" and not key.endswith(BEST_MATCHED)]


def highlights(content: ReportContent) -> list[dict[str, str]]:
    """The main system's numbers that stand at the top of the page: the first ones of any table."""
    main = content.systems[0]
    found = []
    for key in ("si_sdr_improvement_db", "azimuth_error_median_deg", "azimuth_within_10deg"):
        kind = quantity(key)
        cell = _cell(content.summary_of(main), content.number(main, key), kind)
        if cell["value"] is not None:
            found.append(
                {
                    "heading": kind.heading,
                    "value": cell["text"],
                    "unit": kind.unit,
                    "interval": cell["interval"],
                }
            )
    return found


def not_scored(content: ReportContent, system: str) -> dict[str, Any]:
    """Return the number of values that a system lacks, and (metric, reason, count) of each."""
    summary = content.summary_of(system)
    lines = [
        (_metric_words(content, metric), reason, count)
        for metric, entry in (summary.get("failures") or {}).items()
        for reason, count in entry["reasons"].items()
    ]
    unavailable = [
        (_metric_words(content, metric), reason)
        for metric, reason in (summary.get("unavailable") or {}).items()
    ]
    total = sum(count for *_, count in lines)
    return {"total": total, "lines": lines, "unavailable": unavailable}


def _metric_words(content: ReportContent, metric: str) -> str:
    titles = {measure.quantity: measure.title for measure in content.measures.values()}
    return (titles | _DIRECTIONS).get(metric, metric)


def comparison_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the main system minus the others, paired by scene."""
    found = {
        (entry["reference"], entry["measure"]): entry
        for entry in content.summary.get("comparisons") or ()
    }
    references = dict.fromkeys(reference for reference, _ in found)
    keys = [
        key
        for key in _shown_measures(content)
        if any((reference, content.number(reference, key)) in found for reference in references)
    ]
    return {
        "columns": [quantity(key, content.measures).title for key in keys],
        "lines": [
            {
                "name": reference,
                "cells": [
                    _difference(
                        found.get((reference, content.number(reference, key)))
                        if content.tells(reference, key)
                        else None,
                        quantity(key, content.measures),
                    )
                    for key in keys
                ],
            }
            for reference in references
        ],
    }


def _difference(entry: Mapping[str, Any] | None, kind: Words) -> dict[str, Any]:
    if entry is None:
        return {"value": None, "text": DASH, "interval": "", "won": "", "decided": False}
    value = finite(entry["difference"])
    low, high = edges([entry["low"], entry["high"]])
    return {
        "value": value,
        "text": ("+" if value is not None and value > 0 else "") + kind.text(value),
        "interval": kind.interval([low, high]),
        "won": f"{100 * entry['won_share']:.0f} % won",
        "decided": low is not None and high is not None and not low <= 0 <= high,
    }


def _shown_cell(content: ReportContent, system: str, key: str) -> dict[str, Any]:
    shown = content.summary_of(system) if content.tells(system, key) else {}
    return _cell(shown, content.number(system, key), quantity(key, content.measures))


def _cell(summary: Mapping[str, Any], key: str, kind: Words) -> dict[str, Any]:
    return {
        "value": finite(summary.get(key)),
        "text": kind.text(summary.get(key)),
        "interval": kind.interval((summary.get("intervals") or {}).get(key)),
    }


# --- scenes -------------------------------------------------------------------------------


def scene_table(content: ReportContent) -> dict[str, Any]:
    """Return the data of the table of scenes for ``report.js``, compact: lists instead of objects.

    ``columns`` describes the label columns that tell scenes apart; ``scenes`` is
    ``[id, [label, ...]]``; ``scores[system]`` holds per scene
    ``[improvement, before, azimuth error, order, failures]`` or null.
    """
    rows = content.rows
    columns: list[dict[str, Any]] = []
    values: list[list[Any]] = []

    def add(name: str, column: list[Any]) -> None:
        same = len(column) > 1 and all(value == column[0] for value in column)
        if same or all(value is None for value in column) or column in values:
            return
        kind = quantity(name)
        words = any(isinstance(value, str) for value in column)
        columns.append(
            {
                "name": kind.title,
                "digits": kind.digits,
                "percent": kind.unit == "%",
                "words": words,
            }
        )
        values.append(column)

    labelled = {name for row in rows for name in row.labels.scene}
    if "angle" not in labelled:
        add("angle", [_rounded(smallest_angle(row)) for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.labels.scene):
        add(name, [_plain(row.labels.scene.get(name)) for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.labels.speaker):
        add(name, [_plain_list(row.labels.speaker.get(name)) for row in rows])
    return {
        "systems": list(content.systems),
        "columns": columns,
        "scenes": [[row.id, [column[i] for column in values]] for i, row in enumerate(rows)],
        "scores": [_scene_numbers(content, system) for system in content.systems],
    }


def scene_means(content: ReportContent, system: str, quantity: str) -> dict[int, float]:
    """Return a system's mean over the speakers of each scene that has values, by its index."""
    table = content.table
    own = table[(table["system"] == system) & (table["quantity"] == quantity)]
    means = own.groupby("scene")["value"].mean()
    return dict(zip(means.index.tolist(), means.tolist(), strict=True))


def errors_of(content: ReportContent, system: str) -> str:
    """Return the quantity of a system's azimuth errors: as claimed; best matched of one that gives
    no sound to match by."""
    table = content.table
    claims = ((table["system"] == system) & (table["quantity"] == "azimuth_error")).any()
    return "azimuth_error" if claims else f"azimuth_error{BEST_MATCHED}"


def _scene_numbers(content: ReportContent, system: str) -> list[list[Any] | None]:
    names = ("si_sdr_improvement", "si_sdr_unprocessed", errors_of(content, system))
    columns = [scene_means(content, system, name) for name in names]
    right = scene_means(content, system, "order_correct")
    return [
        [
            *(_rounded(column.get(row.index)) for column in columns),
            None if (order := right.get(row.index)) is None else int(order),
            len(row.systems[system].failures),
        ]
        if system in row.systems
        else None
        for row in content.rows
    ]


def _plain(value: float | str | None) -> float | str | None:
    return value if isinstance(value, str) else _rounded(value)


def _plain_list(values: tuple[float | None, ...] | None) -> list[float | None] | None:
    return None if values is None else [_rounded(value) for value in values]


def _rounded(value: float | None) -> float | None:
    """Three decimals: more than is shown, and a third of the bytes."""
    number = finite(value)
    return None if number is None else round(number, 3)
