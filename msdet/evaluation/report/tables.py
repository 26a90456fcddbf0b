# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: all systems, how they compare, and every scene."""

from __future__ import annotations

import math
from typing import Any

from msdet.evaluation.report.content import ERROR, GAIN, ReportContent
from msdet.evaluation.report.wording import quantity
from msdet.metrics.conditions import smallest_angle
from msdet.metrics.measures import BEST_MATCHED

_FIRST = (GAIN, ERROR, "azimuth_within_10deg")
_DIRECTIONS = {"azimuth": "azimuth", "azimuth_best_matched": "azimuth, matched by itself"}


def summary_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the table of all systems."""
    keys = _shown_measures(content)
    titles = {measure.quantity: measure.title for measure in content.measures.values()}
    titles |= _DIRECTIONS
    unavailable: dict[str, str] = {}
    lines = []
    for name, summary in content.summary["systems"].items():
        failures = [
            (titles.get(metric, metric), reason, count)
            for metric, entry in summary["failures"].items()
            for reason, count in entry["reasons"].items()
        ]
        unavailable |= {titles.get(m, m): reason for m, reason in summary["unavailable"].items()}
        lines.append(
            {
                "name": name,
                "cells": [_words(content, key).cell(*content.told(name, key)) for key in keys],
                "unscored": {"total": sum(n for *_, n in failures), "lines": failures},
            }
        )
    return {
        "columns": [_words(content, key).title for key in keys],
        "lines": lines,
        "some_unscored": any(line["unscored"]["lines"] for line in lines),
        "unavailable": list(unavailable.items()),
    }


def highlights(content: ReportContent) -> list[dict[str, Any]]:
    """The main system's numbers that stand at the top of the page: the first ones of any table."""
    found = {key: content.told(content.systems[0], key) for key in _FIRST}
    kinds = {key: quantity(key) for key in found}
    return [
        {"heading": kinds[key].heading, "unit": kinds[key].unit, **kinds[key].cell(value, ends)}
        for key, (value, ends) in found.items()
        if value is not None
    ]


def comparison_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the main system minus the others, paired by scene."""
    found = {
        (entry["reference"], entry["measure"]): entry for entry in content.summary["comparisons"]
    }
    references = dict.fromkeys(reference for reference, _ in found)
    entries = {
        key: {name: found.get((name, content.number(name, key))) for name in references}
        for key in _shown_measures(content)
    }
    entries = {key: of for key, of in entries.items() if any(of.values())}
    return {
        "columns": [_words(content, key).title for key in entries],
        "lines": [
            {
                "name": name,
                "cells": [_difference(content, name, key, of[name]) for key, of in entries.items()],
            }
            for name in references
        ],
    }


def _difference(content: ReportContent, name: str, key: str, entry: Any) -> dict[str, Any]:
    kind = _words(content, key)
    if entry is None or not content.tells(name, key):
        return {**kind.cell(None, []), "won": "", "decided": False}
    value, low, high = (entry[end] for end in ("difference", "low", "high"))
    cell = kind.cell(value, [] if low is None else [low, high])
    return {
        **cell,
        "text": f"+{cell['text']}" if value > 0 else cell["text"],
        "won": f"{100 * entry['won_share']:.0f} % won",
        "decided": low is not None and not low <= 0 <= high,
    }


def _shown_measures(content: ReportContent) -> list[str]:
    """The columns of the tables of systems that some system has a number for; what tells
    separation and dereverberation apart stands last, where a screen may end."""
    found = []
    for name, measure in content.measures.items():
        told = {"tables", "report"} & set(measure.places) and not name.endswith(BEST_MATCHED)
        if not told or name == "not_scored":
            continue
        rare = measure.if_any or name == "wrong_slot_rate"
        summaries = content.summary["systems"].items()
        values = [summary.get(content.number(system, name)) for system, summary in summaries]
        if any(value if rare else value is not None for value in values):
            found.append(name)
    return sorted(found, key=lambda name: name.startswith(("si_sdr_early", "error_")))


def _words(content: ReportContent, key: str) -> Any:
    return quantity(key, content.measures)


def scene_table(content: ReportContent) -> dict[str, Any]:
    """Return the data of the table of scenes for ``report.js``, compact: lists instead of objects.

    ``columns`` describes the label columns that tell scenes apart; ``scenes`` is
    ``[id, [label, ...]]``; ``scores[system]`` holds per scene
    ``[improvement, before, azimuth error, order, failures]``.
    """
    rows = content.rows
    labels = {"angle": [_plain(smallest_angle(row)) for row in rows]}
    for part in ("scene", "speaker"):
        of_rows = [getattr(row.labels, part) for row in rows]
        for name in dict.fromkeys(name for of in of_rows for name in of):
            labels[name] = [_plain(of.get(name)) for of in of_rows]
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


def _scene_numbers(content: ReportContent, system: str) -> list[list[Any]]:
    names = ("si_sdr_improvement", "si_sdr_unprocessed", content.errors_of(system), "order_correct")
    *columns, order = (content.scene_means(system, name) for name in names)
    return [
        [
            *(_plain(column.get(row.index)) for column in columns),
            int(order[row.index]) if row.index in order.index else None,
            len(row.systems[system].failures),
        ]
        for row in content.rows
    ]


def _plain(value: Any) -> Any:
    """Words as they are; numbers with three decimals: more than is shown, a third of the bytes."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str):
        return value
    return round(float(value), 3) if math.isfinite(value) else None
