# SPDX-License-Identifier: Apache-2.0
"""The summary of an evaluation as tables for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msdet.evaluation.signal_metrics import METRICS
from msdet.evaluation.statistics import UNIT, WITHIN_DEGREES

if TYPE_CHECKING:
    from rich.table import Table


def result_tables(summary: Mapping[str, Any]) -> list[Table]:
    """The summary as rich tables: separation, directions, breakdowns."""
    return [_separation_table(summary), _direction_table(summary), _breakdown_table(summary)]


def _separation_table(summary: Mapping[str, Any]) -> Table:
    mode = {"nb": " (narrow-band)", "wb": " (wide-band)"}.get(summary["pesq_mode"], "")
    names = {"si_sdr": "SI-SDR, dB", "sdr": "SDR, dB", "estoi": "ESTOI", "pesq": f"PESQ{mode}"}
    notes = [f"{metric} is not installed" for metric in summary["unavailable"]]
    if missing := _missing(summary):
        notes.append(f"not scored: {missing}")
    if silent := summary["num_silent_targets"]:
        attenuation = _shown(summary["attenuation_db"], 1)
        notes.append(f"{silent} silent targets left out, their slots {attenuation} dB down")
    table = _new_table(
        f"Separation: {summary['num_scenes']} scenes, {summary['num_speakers']} speakers",
        ("metric", "mixture", "estimate", "improvement", "95 % interval"),
        caption="; ".join(notes),
    )
    for metric in METRICS:
        digits = 1 if UNIT[metric] else 2
        keys = [f"{metric}{part}{UNIT[metric]}" for part in ("_unprocessed", "", "_improvement")]
        before, after, gain = (_shown(summary[key], digits) for key in keys)
        table.add_row(names[metric], before, after, gain, _shown_interval(summary, keys[2], digits))
    return table


def _direction_table(summary: Mapping[str, Any]) -> Table:
    table = _new_table(
        "Direction of arrival",
        ("azimuth error", "as claimed", "95 % interval", "best matched"),
        caption=(
            f"ambiguous matching in {_percent(summary['ambiguous_share'])} of the scenes; "
            "as claimed: the direction of the slot that holds the speaker's voice"
        ),
    )
    for name in ("mean", "median"):
        key = f"azimuth_error_{name}_deg"
        interval = _shown_interval(summary, key, 1)
        best = _shown(summary[f"{key}_best_matched"], 1)
        table.add_row(f"{name}, deg", _shown(summary[key], 1), interval, best)
    for limit in WITHIN_DEGREES:
        key = f"azimuth_within_{limit}deg"
        interval = _shown_interval(summary, key, None)
        best = _percent(summary[f"{key}_best_matched"])
        table.add_row(f"within {limit} deg", _percent(summary[key]), interval, best)
    for name, key in (("wrong slot", "wrong_slot_rate"), ("slots in order", "order_accuracy")):
        table.add_row(name, _percent(summary[key]), _shown_interval(summary, key, None), "")
    if summary["speaker_count_accuracy"] is not None:
        interval = _shown_interval(summary, "speaker_count_accuracy", None)
        share = _percent(summary["speaker_count_accuracy"])
        table.add_row("number of speakers", share, interval, "")
    if summary["distance_error_median_m"] is not None:
        key = "distance_error_median_m"
        interval = _shown_interval(summary, key, 2)
        table.add_row("median distance error, m", _shown(summary[key], 2), interval, "")
    return table


def _breakdown_table(summary: Mapping[str, Any]) -> Table:
    columns = (
        "group",
        "scenes",
        "SI-SDR\ngain, dB",
        "median\nerror, deg",
        "within\n10 deg",
        "in\norder",
    )
    table = _new_table("By kind of scene", columns)
    for entries in summary["breakdowns"].values():
        for entry in entries:
            table.add_row(
                entry["group"],
                str(entry["num_scenes"]),
                _shown(entry["si_sdr_improvement_db"], 1),
                _shown(entry["azimuth_error_median_deg"], 1),
                _percent(entry["azimuth_within_10deg"]),
                _percent(entry["order_accuracy"]),
                end_section=entry is entries[-1],
            )
    return table


def _new_table(title: str, columns: Sequence[str], caption: str = "") -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _missing(summary: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{metric} {entry['estimate'] + entry['unprocessed']}"
        for metric, entry in summary["failures"].items()
    )


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"  # noqa: RUF001


def _shown_interval(summary: Mapping[str, Any], key: str, digits: int | None) -> str:
    """``low to high``; as percentages where ``digits`` is None."""
    if key not in summary["intervals"]:
        return "–"  # noqa: RUF001
    ends = summary["intervals"][key]
    shown = [_percent(end) if digits is None else _shown(end, digits) for end in ends]
    return " to ".join(shown)
