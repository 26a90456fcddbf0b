# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: all systems, how they compare, and every scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.wording import Words, edges, finite, quantity
from msdet.metrics.conditions import smallest_angle
from msdet.metrics.measures import BEST_MATCHED

_DIRECTIONS = {"azimuth": "azimuth", "azimuth_best_matched": "azimuth, matched by itself"}


# --- systems ------------------------------------------------------------------------------


def summary_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the table of all systems."""
    keys = _shown_measures(content)
    unscored = {name: _not_scored(content, name) for name in content.systems}
    reasons = (entry for found in unscored.values() for entry in found["unavailable"])
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
        "unavailable": list(dict.fromkeys(reasons)),
    }


def _shown_measures(content: ReportContent) -> list[str]:
    """The columns of the tables of systems that some system has a number for."""
    found = []
    for name, measure in content.measures.items():
        numbers = (content.summary_of(s).get(content.number(s, name)) for s in content.systems)
        values = [finite(number) for number in numbers]
        rare = measure.if_any or name == "wrong_slot_rate"
        told = {"tables", "report"} & set(measure.places) and name != "not_scored"
        if told and any(value if rare else value is not None for value in values):
            found.append(name)
    return [name for name in found if not name.endswith(BEST_MATCHED)]


def highlights(content: ReportContent) -> list[dict[str, Any]]:
    """The main system's numbers that stand at the top of the page: the first ones of any table."""
    keys = ("si_sdr_improvement_db", "azimuth_error_median_deg", "azimuth_within_10deg")
    cells = [(quantity(key), _shown_cell(content, content.systems[0], key)) for key in keys]
    return [
        {"heading": kind.heading, "unit": kind.unit, **cell}
        for kind, cell in cells
        if cell["value"] is not None
    ]


def _not_scored(content: ReportContent, system: str) -> dict[str, Any]:
    """The number of values that a system lacks, and (metric, reason, count) of each."""
    summary = content.summary_of(system)
    titles = {measure.quantity: measure.title for measure in content.measures.values()}
    titles |= _DIRECTIONS
    lines = [
        (titles.get(metric, metric), reason, count)
        for metric, entry in (summary.get("failures") or {}).items()
        for reason, count in entry["reasons"].items()
    ]
    unavailable = (summary.get("unavailable") or {}).items()
    return {
        "total": sum(count for *_, count in lines),
        "lines": lines,
        "unavailable": [(titles.get(metric, metric), reason) for metric, reason in unavailable],
    }


def comparison_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the main system minus the others, paired by scene."""
    found = {
        (entry["reference"], entry["measure"]): entry
        for entry in content.summary.get("comparisons") or ()
    }
    references = dict.fromkeys(reference for reference, _ in found)

    def entry(reference: str, key: str) -> Mapping[str, Any]:
        return found.get((reference, content.number(reference, key))) or {}

    keys = [
        key
        for key in _shown_measures(content)
        if any(entry(reference, key) for reference in references)
    ]
    return {
        "columns": [quantity(key, content.measures).title for key in keys],
        "lines": [
            {
                "name": reference,
                "cells": [
                    _difference(
                        entry(reference, key) if content.tells(reference, key) else {},
                        quantity(key, content.measures),
                    )
                    for key in keys
                ],
            }
            for reference in references
        ],
    }


def _difference(entry: Mapping[str, Any], kind: Words) -> dict[str, Any]:
    value, ends = finite(entry.get("difference")), [entry.get("low"), entry.get("high")]
    low, high = edges(ends)
    return {
        "value": value,
        "text": ("+" if value is not None and value > 0 else "") + kind.text(value),
        "interval": kind.interval(ends),
        "won": f"{100 * entry['won_share']:.0f} % won" if entry else "",
        "decided": low is not None and high is not None and not low <= 0 <= high,
    }


def _shown_cell(content: ReportContent, system: str, key: str) -> dict[str, Any]:
    summary = content.summary_of(system) if content.tells(system, key) else {}
    own, kind = content.number(system, key), quantity(key, content.measures)
    return {
        "value": finite(summary.get(own)),
        "text": kind.text(summary.get(own)),
        "interval": kind.interval((summary.get("intervals") or {}).get(own)),
    }


# --- scenes -------------------------------------------------------------------------------


def scene_table(content: ReportContent) -> dict[str, Any]:
    """Return the data of the table of scenes for ``report.js``, compact: lists instead of objects.

    ``columns`` describes the label columns that tell scenes apart; ``scenes`` is
    ``[id, [label, ...]]``; ``scores[system]`` holds per scene
    ``[improvement, before, azimuth error, order, failures]`` or null.
    """
    rows = content.rows
    labels: dict[str, list[Any]] = {"angle": [_plain(smallest_angle(row)) for row in rows]}
    for name in dict.fromkeys(name for row in rows for name in row.labels.scene):
        labels[name] = [_plain(row.labels.scene.get(name)) for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row.labels.speaker):
        labels[name] = [_plain(row.labels.speaker.get(name)) for row in rows]
    shown: dict[str, list[Any]] = {}
    for name, column in labels.items():
        same = len(column) > 1 and all(value == column[0] for value in column)
        if not same and column not in shown.values() and any(v is not None for v in column):
            shown[name] = column
    return {
        "systems": list(content.systems),
        "columns": [
            {
                "name": quantity(name).title,
                "digits": quantity(name).digits,
                "percent": quantity(name).unit == "%",
                "words": any(isinstance(value, str) for value in column),
            }
            for name, column in shown.items()
        ],
        "scenes": [
            [row.id, [column[i] for column in shown.values()]] for i, row in enumerate(rows)
        ],
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
            *(_plain(column.get(row.index)) for column in columns),
            None if (order := right.get(row.index)) is None else int(order),
            len(row.systems[system].failures),
        ]
        if system in row.systems
        else None
        for row in content.rows
    ]


def _plain(value: Any) -> Any:
    """Words as they are; numbers with three decimals: more than is shown, a third of the bytes."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    number = finite(value)
    return value if isinstance(value, str) else None if number is None else round(number, 3)
