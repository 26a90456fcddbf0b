# SPDX-License-Identifier: Apache-2.0
"""Results for other programs and for papers: a line of CSV for each speaker, a Markdown table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msdet.evaluation.tables import columns_of
from msdet.metrics import MEASURES, Measure, SceneRow, SceneScore
from msdet.metrics.scores import SpeakerScore

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


def csv_rows(rows: Sequence[SceneRow]) -> Iterator[dict[str, Cell]]:
    """One for each scene, system and speaker, with the same keys in each.

    ``index``, ``id``, ``system``, ``speaker``; the labels of the scene and of the speaker; what
    ``SpeakerScore`` holds; ``wrong_slot`` of the speaker's slot; ``not_scored``, how many of its
    values could not be computed; of the scene ``ambiguous``,
    ``order_correct`` and ``speakers_claimed``; each score that any system has. Degrees, metres
    and dB; None where there is nothing.
    """
    of_scene = tuple(dict.fromkeys(label for row in rows for label in row.labels.scene))
    of_speaker = tuple(dict.fromkeys(label for row in rows for label in row.labels.speaker))
    scores = _score_names(rows)
    for row in rows:
        for system, score in row.systems.items():
            for speaker in score.speakers:
                yield {
                    "index": row.index,
                    "id": row.id,
                    "system": system,
                    "speaker": speaker.speaker,
                    **{label: row.labels.scene.get(label) for label in of_scene},
                    **{
                        label: row.labels.speaker[label][speaker.speaker]
                        if label in row.labels.speaker
                        else None
                        for label in of_speaker
                    },
                    **{name: getattr(speaker, name) for name in _OF_SPEAKER},
                    "wrong_slot": _wrong_slot(score, speaker),
                    "not_scored": sum(f.speaker == speaker.speaker for f in score.failures),
                    **{name: getattr(score, name) for name in _OF_SCENE},
                    **{name: speaker.scores.get(name) for name in scores},
                }


def csv_lines(rows: Sequence[SceneRow]) -> Iterator[str]:
    """``csv_rows`` as the lines of a file, the header first; empty cells where there is nothing."""
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for cells in csv_rows(rows):
        if writer is None:
            writer = csv.DictWriter(text, list(cells), lineterminator="\n")
            writer.writeheader()
        writer.writerow(cells)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


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


def _wrong_slot(score: SceneScore, speaker: SpeakerScore) -> bool | None:
    return None if speaker.slot is None else score.wrong_slot[speaker.slot]


def _score_names(rows: Sequence[SceneRow]) -> tuple[str, ...]:
    """Scores that any speaker has, in the order of the tables, the user's own last."""
    scores = (of.scores for row in rows for s in row.systems.values() for of in s.speakers)
    there = dict.fromkeys(name for names in scores for name in names)
    order = [measure.quantity for measure in MEASURES.values()]
    known = [name for name in order if name in there]
    return tuple(dict.fromkeys((*known, *there)))
