# SPDX-License-Identifier: Apache-2.0
"""Results for other programs and for papers: a line of CSV for each speaker, a Markdown table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from msdet.evaluation.tables import columns_of
from msdet.metrics import MEASURES, Measure, SceneRow

_OF_SPEAKER = (
    "slot",
    "silent",
    "azimuth",
    "azimuth_estimate",
    "azimuth_error",
    "azimuth_estimate_best_matched",
    "azimuth_error_best_matched",
    "distance_estimate",
    "distance_error",
)
_OF_SCENE = ("ambiguous", "order_correct", "speakers_claimed")
Cell = str | float | int | bool | None


def csv_rows(rows: Sequence[SceneRow]) -> list[dict[str, Cell]]:
    """Return one for each scene, system and speaker, with the same keys in each.

    ``index``, ``id``, ``system``, ``speaker``; the labels of the scene and of the speaker; what
    ``SpeakerScore`` holds; ``wrong_slot`` of the speaker's slot; ``not_scored``, how many of its
    values could not be computed; of the scene ``ambiguous``,
    ``order_correct`` and ``speakers_claimed``; each score that any system has. Degrees, metres
    and dB; None where there is nothing.
    """
    of_scene = dict.fromkeys(label for row in rows for label in row.labels.scene)
    of_speaker = dict.fromkeys(label for row in rows for label in row.labels.speaker)
    spoken = [speaker for row in rows for s in row.systems.values() for speaker in s.speakers]
    order = {measure.quantity: i for i, measure in enumerate(MEASURES.values())}
    there = dict.fromkeys(name for speaker in spoken for name in speaker.scores)
    scores = sorted(there, key=lambda name: order.get(name, len(order)))  # one's own come last
    found: list[dict[str, Cell]] = []
    for row in rows:
        for system, score in row.systems.items():
            for of in score.speakers:
                cells: dict[str, Cell] = {"index": row.index, "id": row.id, "system": system}
                cells["speaker"] = of.speaker
                cells |= {label: row.labels.scene.get(label) for label in of_scene}
                labels = {name: values[of.speaker] for name, values in row.labels.speaker.items()}
                cells |= {label: labels.get(label) for label in of_speaker}
                cells |= {name: getattr(of, name) for name in _OF_SPEAKER}
                cells["wrong_slot"] = None if of.slot is None else score.wrong_slot[of.slot]
                cells["not_scored"] = sum(f.speaker == of.speaker for f in score.failures)
                cells |= {name: getattr(score, name) for name in _OF_SCENE}
                found.append(cells | {name: of.scores.get(name) for name in scores})
    return found


def csv_text(rows: Sequence[SceneRow]) -> str:
    """Return ``csv_rows`` as a file, the header first; empty cells where there is nothing."""
    cells, text = csv_rows(rows), io.StringIO(newline="")
    if cells:
        writer = csv.DictWriter(text, list(cells[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
    return text.getvalue()


def markdown_table(
    summaries: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Measure] = MEASURES
) -> str:
    """A line for each system, by name, with 95 % intervals in brackets; ends in a line break.

    Blank for what does not apply; a column that no system has is left out.
    """
    columns = columns_of(summaries, measures)
    lines = [["system", *(c.heading for c in columns)], ["---", *(["---:"] * len(columns))]]
    for name, summary in summaries.items():
        cells = []
        for column in columns:
            text, ends = column.text(summary.get(column.name)), summary["intervals"]
            if text and column.name in ends:
                low, high = (column.text(end) for end in ends[column.name])
                text += f" [{low}, {high}]"
            cells.append(text)
        lines.append([name.replace("|", r"\|"), *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
