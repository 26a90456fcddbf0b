# SPDX-License-Identifier: Apache-2.0
"""The tables of a report: all systems, how they compare, and every scene."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.wording import DASH, edges, finite, quantity
from msdet.evaluation.rows import Row, SceneRow
from msdet.evaluation.scores import SceneScore, SpeakerScore
from msdet.evaluation.signal_metrics import METRIC
from msdet.evaluation.statistics import azimuth_error

SUMMARY_KEYS = (
    "si_sdr_improvement_db",
    "sdr_db",
    "sir_improvement_db",
    "sar_db",
    "estoi",
    "pesq_nb",
    "pesq_wb",
    "dnsmos",
    "wer",
    "azimuth_error_median_deg",
    "azimuth_within_10deg",
    "wrong_slot_rate",
    "order_accuracy",
    "missed_rate",
    "invented_rate",
    "distance_error_median_m",
    "real_time_factor",
)
"""Columns of the table of systems, those that no system has left out, and what systems are compared
by; the summary has more."""

_IF_ANY = ("missed_rate", "invented_rate", "wrong_slot_rate")
"""Left out where no system has any."""

_METRIC_WORDS = {name: metric.title.removesuffix(", dB") for name, metric in METRIC.items()} | {
    "azimuth": "azimuth",
    "azimuth_best_matched": "azimuth, matched by itself",
}


# --- systems ------------------------------------------------------------------------------


def summary_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the table of all systems."""
    keys = [key for key in SUMMARY_KEYS if _is_shown(content, key)]
    unscored = {name: not_scored(content, name) for name in content.systems}
    return {
        "columns": [quantity(key).title for key in keys],
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


def _is_shown(content: ReportContent, key: str) -> bool:
    values = [
        finite(content.summary_of(name).get(content.number(name, key))) for name in content.systems
    ]
    return any(value if key in _IF_ANY else value is not None for value in values)


def highlights(content: ReportContent) -> list[dict[str, str]]:
    """The main system's numbers that stand at the top of the page: the first ones of any table."""
    main = content.systems[0]
    found = []
    for key in ("si_sdr_improvement_db", "azimuth_error_median_deg", "azimuth_within_10deg"):
        kind, cell = quantity(key), _cell(content.summary_of(main), content.number(main, key))
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
    """How many values of a system are missing, and why: lines of (metric, reason, count)."""
    summary = content.summary_of(system)
    lines = [
        (_METRIC_WORDS.get(metric, metric), reason, count)
        for metric, entry in (summary.get("failures") or {}).items()
        for reason, count in entry["reasons"].items()
    ]
    unavailable = [
        (_METRIC_WORDS.get(metric, metric), reason)
        for metric, reason in (summary.get("unavailable") or {}).items()
    ]
    total = sum(count for *_, count in lines)
    return {"total": total, "lines": lines, "unavailable": unavailable}


def comparison_table(content: ReportContent) -> dict[str, Any]:
    """Columns and lines of the main system minus the others, paired by scene."""
    found = {
        (entry["reference"], entry["measure"]): entry
        for entry in content.summary.get("comparisons") or ()
    }
    references = dict.fromkeys(reference for reference, _ in found)
    keys = [
        key
        for key in SUMMARY_KEYS
        if _is_shown(content, key)
        and any((reference, content.number(reference, key)) in found for reference in references)
    ]
    return {
        "columns": [quantity(key).title for key in keys],
        "lines": [
            {
                "name": reference,
                "cells": [
                    _difference(
                        found.get((reference, content.number(reference, key)))
                        if content.tells(reference, key)
                        else None,
                        key,
                    )
                    for key in keys
                ],
            }
            for reference in references
        ],
    }


def _difference(entry: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    if entry is None:
        return {"value": None, "text": DASH, "interval": "", "won": "", "decided": False}
    kind, value = quantity(key), finite(entry["difference"])
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
    return _cell(shown, content.number(system, key))


def _cell(summary: Mapping[str, Any], key: str) -> dict[str, Any]:
    kind = quantity(key)
    return {
        "value": finite(summary.get(key)),
        "text": kind.text(summary.get(key)),
        "interval": kind.interval((summary.get("intervals") or {}).get(key)),
    }


# --- scenes -------------------------------------------------------------------------------


def scene_table(content: ReportContent) -> dict[str, Any]:
    """What ``report.js`` makes the table of scenes from, compact: lists instead of objects.

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
        add("angle", [_smallest_angle(row) for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.labels.scene):
        add(name, [_plain(row.labels.scene.get(name)) for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.labels.speaker):
        add(name, [_plain_list(row.labels.speaker.get(name)) for row in rows])
    return {
        "systems": list(content.systems),
        "columns": columns,
        "scenes": [[row.id, [column[i] for column in values]] for i, row in enumerate(rows)],
        "scores": [[_scene_numbers(row, system) for row in rows] for system in content.systems],
    }


def mean_score(score: SceneScore, name: str) -> float | None:
    """Mean over the speakers of a scene that are not silent; None where none was scored."""
    values = (of.scores.get(name) for of in score.speakers if not of.silent)
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def error_of(row: Row, speaker: SpeakerScore) -> float | None:
    """Azimuth error as claimed; best matched of a system that gives no sound to match by."""
    claimed = finite(azimuth_error(row, speaker))
    return finite(azimuth_error(row, speaker, best_matched=True)) if claimed is None else claimed


def _scene_numbers(scene: SceneRow, system: str) -> list[Any] | None:
    if system not in scene.systems:
        return None
    row = scene.of(system)
    score = row.score
    errors = [e for of in score.speakers if (e := error_of(row, of)) is not None]
    return [
        _rounded(mean_score(score, "si_sdr_improvement")),
        _rounded(mean_score(score, "si_sdr_unprocessed")),
        _rounded(statistics.fmean(errors) if errors else None),
        None if score.order_correct is None else int(score.order_correct),
        len(score.failures),
    ]


def _smallest_angle(row: SceneRow) -> float | None:
    score = next(iter(row.systems.values()), None)
    azimuths = [of.azimuth for of in score.speakers if not of.silent] if score else []
    gaps = [abs((a - b + 180.0) % 360.0 - 180.0) for a, b in combinations(azimuths, 2)]
    return _rounded(min(gaps, default=None))


def _plain(value: float | str | None) -> float | str | None:
    return value if isinstance(value, str) else _rounded(value)


def _plain_list(values: tuple[float | None, ...] | None) -> list[float | None] | None:
    return None if values is None else [_rounded(value) for value in values]


def _rounded(value: float | None) -> float | None:
    """Three decimals: more than is shown, and a third of the bytes."""
    number = finite(value)
    return None if number is None else round(number, 3)
