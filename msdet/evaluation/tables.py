# SPDX-License-Identifier: Apache-2.0
"""The summaries of an evaluation as tables for the screen: one system, or one beside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msdet.metrics import MEASURES, Measure
from msdet.metrics.measures import BEST_MATCHED, DASH
from msdet.metrics.summary import FEW_SCENES

if TYPE_CHECKING:
    from rich.table import Table


_WITH_INTERVAL = "si_sdr_improvement_db"
"""The column of systems that has its intervals on the screen too; more would not fit."""
_TOGETHER = (
    "wrong_slot_rate",
    "order_accuracy",
    "speaker_count_accuracy",
    "distance_error_median_m",
)
_ALWAYS = _TOGETHER[:2]
_NAMED = 5
"""Files that a warning names; ``summary.json`` has all."""


def result_tables(
    summary: Mapping[str, Any], measures: Mapping[str, Measure] = MEASURES
) -> list[Table]:
    """The summary of one system as rich tables: separation, directions, breakdowns.

    What a system does not do has no table.
    """
    tables = []
    separates = any(summary[key] is not None for key in ("si_sdr_db", "si_sdr_unprocessed_db"))
    if separates:
        tables.append(_separation_table(summary, measures))
    if summary["azimuth_error_mean_deg_best_matched"] is not None:
        tables.append(_direction_table(summary, notes=[] if separates else _notes(summary)))
    if any(_divides(summary, entries) for entries in summary["breakdowns"].values()):
        tables.append(_breakdown_table(summary))
    return tables


def systems_table(
    summaries: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Measure] = MEASURES
) -> Table:
    """A line for each system, by name; blank for what does not apply.

    A column that no system has is left out. Intervals stand below their numbers, and what was not
    scored below the table, so that it fits 80 columns with its names whole; early SI-SDR stands in
    each system's own table alone.
    """
    elsewhere = "not_scored", "si_sdr_early_improvement_db"
    columns = [c for c in columns_of(summaries, measures) if c.name not in elsewhere]
    left_out = [f"{n} of {name}" for name, s in summaries.items() if (n := s.get("not_scored"))]
    not_scored = f"; values not scored: {', '.join(left_out)}" if left_out else ""
    table = _new_table(
        "Systems",
        ("system", *(_short(column) for column in columns)),
        caption="error: the median; claim: of the slot that holds the speaker's voice; "
        f"best: directions and speakers matched by themselves{not_scored}",
        tight=True,
    )
    for name, summary in summaries.items():
        cells = (_system_cell(summary, column) for column in columns)
        table.add_row(name.replace("+", "\n+"), *cells)
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"  # sooner than numbers
    return table


def columns_of(
    summaries: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Measure] = MEASURES
) -> list[Measure]:
    """Return the measures that any of the systems has a number for; errors of counting, and what
    was not scored, only where there is any."""

    def says(summary: Mapping[str, Any], measure: Measure) -> bool:
        value = summary.get(measure.name)
        return bool(value) if measure.if_any else value is not None

    return [
        measure
        for measure in measures.values()
        if "tables" in measure.places and any(says(s, measure) for s in summaries.values())
    ]


def _short(measure: Measure) -> str:
    """The head of a column, broken into lines."""
    if "\n" in measure.short or measure.unit in ("", "%"):
        return measure.short if "\n" in measure.short else measure.short.replace(" ", "\n")
    lines = max(1, measure.short.count(" "))
    return f"{measure.short}, {measure.unit}".replace(" ", "\n", lines)


def clipping_warnings(clipped: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each system whose files have samples at full scale, which names the first.

    Args:
        clipped: by system and file, how many samples.
    """
    return [
        f"{system}: {len(files)} {'file has' if len(files) == 1 else 'files have'} samples at full "
        "scale, which cuts what is louder: "
        + ", ".join(f"{file} ({count})" for file, count in list(files.items())[:_NAMED])
        + (f" and {len(files) - _NAMED} more" if len(files) > _NAMED else "")
        + "; turn all outputs of a scene down alike, or write 32-bit floats"
        for system, files in clipped.items()
    ]


def _system_cell(summary: Mapping[str, Any], column: Measure) -> str:
    text = column.text(summary.get(column.name))
    if column.name == _WITH_INTERVAL and column.name in summary["intervals"]:
        text += f"\n{column.interval(summary['intervals'][column.name])}"
    return text


def _separation_table(summary: Mapping[str, Any], measures: Mapping[str, Measure]) -> Table:
    table = _new_table(
        f"Separation: {summary['num_scenes']} scenes, {summary['num_speakers']} speakers",
        ("metric", "mixture", "estimate", "improvement", "95 % interval"),
        caption="; ".join(_notes(summary)),
    )
    for metric in dict.fromkeys(m.metric for m in measures.values() if m.metric):
        after, before, gain = (m for m in measures.values() if m.metric == metric)
        shown = [_cell(summary, measure) for measure in (before, after, gain)]
        if any(summary[m.name] is not None for m in (before, after, gain)) or (
            metric in summary["failures"]
        ):
            table.add_row(after.heading, *shown, _interval(summary, gain))
    return table


def _notes(summary: Mapping[str, Any]) -> list[str]:
    """Notes on what the numbers of a system leave out."""
    notes = [f"{metric} is not installed" for metric in summary["unavailable"]]
    if 1 < summary["num_scenes"] < FEW_SCENES:
        notes.append(f"intervals from only {summary['num_scenes']} scenes are too narrow to trust")
    if missing := _missing(summary):
        notes.append(f"not scored: {missing}")
    if missed := summary["missed_rate"]:
        notes.append(f"{missed:.1%} of the speakers missed, and scored as the mixture")
    if invented := summary["invented_rate"]:
        notes.append(f"{invented:.1%} of the outputs are more than there are speakers")
    if silent := summary["num_silent_targets"]:
        note = f"{silent} silent targets left out"
        if summary["attenuation_db"] is not None:
            note += f", their slots {summary['attenuation_db']:.1f} dB down"
        notes.append(note)
    return notes


def _direction_table(summary: Mapping[str, Any], notes: Sequence[str]) -> Table:
    about = [
        f"ambiguous matching in {_cell(summary, MEASURES['ambiguous_share'])} of the scenes",
        "as claimed: the direction of the slot that holds the speaker's voice",
    ]
    table = _new_table(
        "Direction of arrival",
        ("azimuth error", "as claimed", "95 % interval", "best matched"),
        caption="; ".join([*about, *notes]),
    )
    for name, measure in MEASURES.items():
        if measure.quantity == "azimuth_error":
            best = MEASURES[f"{name}{BEST_MATCHED}"]
            title = measure.heading.replace(", as claimed", "")
            cells = _cell(summary, measure), _interval(summary, measure), _cell(summary, best)
            table.add_row(title.replace(" azimuth error", "").removeprefix("azimuths "), *cells)
    for name in _TOGETHER:
        if name in _ALWAYS or summary[name] is not None:
            measure = MEASURES[name]
            cells = _cell(summary, measure), _interval(summary, measure), ""
            table.add_row(measure.heading, *cells)
    return table


def _breakdown_table(summary: Mapping[str, Any]) -> Table:
    claims = summary["azimuth_error_median_deg"] is not None
    finds = not claims and summary[f"azimuth_error_median_deg{BEST_MATCHED}"] is not None
    suffix = BEST_MATCHED if finds else ""
    notes = ["what differs between a scene's speakers groups speakers; scenes may then count twice"]
    if finds:
        notes.append("errors best matched: the system finds directions alone")
    columns = {
        "SI-SDR\ngain, dB": MEASURES["si_sdr_improvement_db"],
        "median\nerror, deg": MEASURES[f"azimuth_error_median_deg{suffix}"],
        "within\n10 deg": MEASURES[f"azimuth_within_10deg{suffix}"],
        "in\norder": MEASURES["order_accuracy"],
    }
    heads = ("group", "scenes", "speakers", *columns)
    table = _new_table("By kind of scene", heads, "; ".join(notes), tight=True)
    for entries in summary["breakdowns"].values():
        if not _divides(summary, entries):
            continue
        for entry in entries:
            table.add_row(
                entry["group"],
                str(entry["num_scenes"]),
                str(entry["num_speakers"]),
                *(_cell(entry, measure) for measure in columns.values()),
                end_section=entry is entries[-1],
            )
    return table


def _divides(summary: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a breakdown says more than its whole: a single group does not."""
    return len(entries) > 1 or any(
        entry["num_speakers"] < summary["num_speakers"] for entry in entries
    )


def _new_table(
    title: str, columns: Sequence[str], caption: str = "", *, tight: bool = False
) -> Table:
    """Where ``tight``, columns stand close."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 0 if tight else 1),
    )
    first, *others = columns
    table.add_column(first, no_wrap=True)
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _missing(summary: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{metric} {entry['estimate'] + entry['unprocessed']}"
        for metric, entry in summary["failures"].items()
    )


def _cell(summary: Mapping[str, Any], measure: Measure) -> str:
    return measure.text(summary[measure.name]) or DASH


def _interval(summary: Mapping[str, Any], measure: Measure) -> str:
    return measure.interval(summary["intervals"].get(measure.name)) or DASH
