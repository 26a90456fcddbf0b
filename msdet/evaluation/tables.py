# SPDX-License-Identifier: Apache-2.0
"""The summaries of an evaluation as tables for the screen: one system, or one beside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msdet.evaluation.signal_metrics import METRIC
from msdet.evaluation.statistics import FEW_SCENES, WITHIN_DEGREES

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Column:
    """A number of a system in a table of systems.

    Attributes:
        title: in full. heading: short and broken into lines, for the screen.
        key: in a summary.
        digits: behind the point; None for a share, which is shown as a percentage.
        interval: shown with its interval, on the screen too.
    """

    title: str
    heading: str
    key: str
    digits: int | None
    interval: bool = False


_IF_ANY = ("missed_rate", "invented_rate", "not_scored")
"""Said only where a system has any."""
_NAMED = 5
"""Files that a warning names; ``summary.json`` has all."""
_CLAIMED, _MATCHED = ("", "as claimed", "claim"), ("_best_matched", "best matched", "best")


def _error_column(suffix: str, words: str, short: str) -> Column:
    title, key = f"median azimuth error {words}, deg", f"azimuth_error_median_deg{suffix}"
    return Column(title, f"error,\ndeg,\n{short}", key, 1)


SYSTEM_COLUMNS = (
    Column("SI-SDR improvement, dB", "SI-SDR\ngain, dB", "si_sdr_improvement_db", 1, interval=True),
    Column("SDR, dB", "SDR,\ndB", "sdr_db", 1),
    Column("ESTOI", "ESTOI", "estoi", 2),
    Column("PESQ, narrow-band", "PESQ\nnarrow", "pesq_nb", 2),
    Column("PESQ, wide-band", "PESQ\nwide", "pesq_wb", 2),
    _error_column(*_CLAIMED),
    _error_column(*_MATCHED),
    Column(
        "within 10 deg best matched",
        "within\n10 deg,\nbest",
        "azimuth_within_10deg_best_matched",
        None,
    ),
    Column("wrong slot", "wrong\nslot", "wrong_slot_rate", None),
    Column("speakers missed", "missed", "missed_rate", None),
    Column("outputs invented", "inven-\nted", "invented_rate", None),
    Column("values not scored", "not\nscored", "not_scored", 0),
)


def result_tables(summary: Mapping[str, Any]) -> list[Table]:
    """The summary of one system as rich tables: separation, directions, breakdowns.

    What a system does not do has no table.
    """
    tables = []
    separates = any(summary[key] is not None for key in ("si_sdr_db", "si_sdr_unprocessed_db"))
    if separates:
        tables.append(_separation_table(summary))
    if summary["azimuth_error_mean_deg_best_matched"] is not None:
        tables.append(_direction_table(summary, notes=[] if separates else _notes(summary)))
    if any(_divides(summary, entries) for entries in summary["breakdowns"].values()):
        tables.append(_breakdown_table(summary))
    return tables


def systems_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each system, by name; blank for what does not apply.

    A column that no system has is left out. Intervals stand below their numbers, and what was not
    scored below the table, so that it fits 80 columns with its names whole.
    """
    columns = [column for column in columns_of(summaries) if column.key != "not_scored"]
    left_out = [f"{n} of {name}" for name, s in summaries.items() if (n := s.get("not_scored"))]
    not_scored = f"; values not scored: {', '.join(left_out)}" if left_out else ""
    table = _new_table(
        "Systems",
        ("system", *(column.heading for column in columns)),
        caption="error: the median; claim: of the slot that holds the speaker's voice; "
        f"best: directions and speakers matched by themselves{not_scored}",
        tight=True,
    )
    for name, summary in summaries.items():
        cells = (_system_cell(summary, column) for column in columns)
        table.add_row(name.replace("+", "\n+"), *cells)
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"  # sooner than numbers
    return table


def columns_of(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns that any of the systems has a number for; errors of counting, and what was not
    scored, only where there is any."""

    def says(value: float | None, key: str) -> bool:
        return bool(value) if key in _IF_ANY else value is not None

    return tuple(
        column
        for column in SYSTEM_COLUMNS
        if any(says(summary.get(column.key), column.key) for summary in summaries.values())
    )


def shown(value: float | None, digits: int | None) -> str:
    """A number, or a share as a percentage where ``digits`` is None; blank for None."""
    if value is None:
        return ""
    return f"{100 * value:.0f} %" if digits is None else f"{value:.{digits}f}"


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


def _system_cell(summary: Mapping[str, Any], column: Column) -> str:
    text = shown(summary.get(column.key), column.digits)
    if column.interval and column.key in summary["intervals"]:
        low, high = summary["intervals"][column.key]
        text += f"\n{shown(low, column.digits)} to {shown(high, column.digits)}"
    return text


def _separation_table(summary: Mapping[str, Any]) -> Table:
    table = _new_table(
        f"Separation: {summary['num_scenes']} scenes, {summary['num_speakers']} speakers",
        ("metric", "mixture", "estimate", "improvement", "95 % interval"),
        caption="; ".join(_notes(summary)),
    )
    for name, metric in METRIC.items():
        digits = 1 if metric.decibels else 2
        keys = [f"{name}{part}{metric.suffix}" for part in ("_unprocessed", "", "_improvement")]
        if all(summary[key] is None for key in keys) and name not in summary["failures"]:
            continue
        before, after, gain = (_shown(summary[key], digits) for key in keys)
        interval = _shown_interval(summary, keys[2], digits)
        table.add_row(metric.title, before, after, gain, interval)
    return table


def _notes(summary: Mapping[str, Any]) -> list[str]:
    """What is not in the numbers of a system."""
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
            note += f", their slots {_shown(summary['attenuation_db'], 1)} dB down"
        notes.append(note)
    return notes


def _direction_table(summary: Mapping[str, Any], notes: Sequence[str]) -> Table:
    about = [
        f"ambiguous matching in {_percent(summary['ambiguous_share'])} of the scenes",
        "as claimed: the direction of the slot that holds the speaker's voice",
    ]
    table = _new_table(
        "Direction of arrival",
        ("azimuth error", "as claimed", "95 % interval", "best matched"),
        caption="; ".join([*about, *notes]),
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
        "speakers",
        "SI-SDR\ngain, dB",
        "median\nerror, deg",
        "within\n10 deg",
        "in\norder",
    )
    claims = summary["azimuth_error_median_deg"] is not None
    finds = not claims and summary["azimuth_error_median_deg_best_matched"] is not None
    suffix = "_best_matched" if finds else ""
    notes = ["what differs between a scene's speakers groups speakers; scenes may then count twice"]
    if finds:
        notes.append("errors best matched: the system finds directions alone")
    table = _new_table("By kind of scene", columns, "; ".join(notes), tight=True)
    for entries in summary["breakdowns"].values():
        if not _divides(summary, entries):
            continue
        for entry in entries:
            table.add_row(
                entry["group"],
                str(entry["num_scenes"]),
                str(entry["num_speakers"]),
                _shown(entry["si_sdr_improvement_db"], 1),
                _shown(entry[f"azimuth_error_median_deg{suffix}"], 1),
                _percent(entry[f"azimuth_within_10deg{suffix}"]),
                _percent(entry["order_accuracy"]),
                end_section=entry is entries[-1],
            )
    return table


def _divides(summary: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a breakdown says more than its whole: a single group of all speakers does not."""
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


def _shown(value: float | None, digits: int | None) -> str:
    return shown(value, digits) or "–"  # noqa: RUF001


def _percent(share: float | None) -> str:
    return _shown(share, None)


def _shown_interval(summary: Mapping[str, Any], key: str, digits: int | None) -> str:
    """``low to high``; as percentages where ``digits`` is None."""
    if key not in summary["intervals"]:
        return "–"  # noqa: RUF001
    ends = summary["intervals"][key]
    return " to ".join(shown(end, digits) for end in ends)
