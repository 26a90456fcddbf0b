# SPDX-License-Identifier: Apache-2.0
"""What other programs and papers read."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest

from msdet.evaluation.exports import csv_rows, csv_text, markdown_table
from msdet.metrics.scores import Failure, SceneRow
from msdet.metrics.summary import summarise

MakeRow = Callable[..., SceneRow]


@pytest.fixture
def scenes(make_row: MakeRow) -> list[SceneRow]:
    """Two scenes as two systems do them, the second with a silent speaker and further labels."""
    found = []
    for i in range(2):
        labels = {"scene_labels": {"background": "babble, loud"}} if i else {}
        failures = [Failure("pesq_nb", "estimate", 0, "no utterance")] if i else []
        model = make_row(
            i, silent=(1,) if i else (), scores={"sdr": 7.5}, failures=failures, **labels
        )
        alone = make_row(i, separates=False, silent=(1,) if i else ())
        found.append(
            SceneRow(
                index=i,
                id=model.id,
                labels=model.labels,
                systems={"model": model.systems["model"], "srp_phat": alone.systems["model"]},
            )
        )
    return found


def test_a_line_for_each_scene_system_and_speaker(scenes: list[SceneRow]) -> None:
    rows = list(csv_rows(scenes))
    assert [(r["index"], r["system"], r["speaker"]) for r in rows] == [
        (i, system, speaker)
        for i in range(2)
        for system in ("model", "srp_phat")
        for speaker in range(2)
    ]
    assert len({tuple(row) for row in rows}) == 1
    first, silent, alone = rows[0], rows[5], rows[2]
    assert [row["not_scored"] for row in rows] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert (first["t60"], first["background"], first["distance"]) == (0.25, None, 1.0)
    assert (first["sdr"], first["si_sdr_improvement"], first["wrong_slot"]) == (7.5, 5.0, False)
    assert (silent["silent"], silent["sdr"], silent["slot"]) == (True, None, None)
    assert (alone["azimuth_error"], alone["azimuth_error_best_matched"]) == (None, 3.0)
    assert (alone["azimuth_estimate_best_matched"], alone["wrong_slot"]) == (13.0, None)


def test_the_file_is_read_back_by_any_reader(scenes: list[SceneRow]) -> None:
    text = csv_text(scenes)
    read = list(csv.DictReader(text.splitlines()))
    assert len(read) == 8
    for line, cells in zip(read, csv_rows(scenes), strict=True):
        assert line == {key: "" if cell is None else str(cell) for key, cell in cells.items()}
    assert read[4]["background"] == "babble, loud"
    assert csv_text([]) == ""


def test_a_table_for_papers(make_row: MakeRow) -> None:
    rows = [make_row(i, improvement=(4.0 + i, 5.0 + i)) for i in range(5)]
    summaries = {
        "a|b": summarise(rows),
        "srp_phat": summarise([make_row(i, separates=False) for i in range(5)]),
    }
    text = markdown_table(summaries)
    assert "not scored" not in text
    summaries["a|b"]["not_scored"] = 3
    text = markdown_table(summaries)
    assert "| values not scored |" in text
    assert text.endswith("|\n")
    header, rule, model, alone = (
        [cell.strip() for cell in line.strip("|").replace(r"\|", "/").split("|")]
        for line in text.splitlines()
    )
    assert len(header) == len(rule) == len(model) == len(alone)
    assert header[:2] == ["system", "SI-SDR improvement, dB"]
    assert "ESTOI" not in header
    assert model[0] == "a/b"
    low, high = summaries["a|b"]["intervals"]["si_sdr_improvement_db"]
    assert model[1] == f"6.5 [{low:.1f}, {high:.1f}]"
    assert (model[-1], alone[-1]) == ("3", "0")
    cells = dict(zip(header, alone, strict=True))
    assert cells["SI-SDR improvement, dB"] == cells["wrong slot"] == ""
    assert cells["median azimuth error, best matched, deg"] == "3.0 [3.0, 3.0]"
    assert cells["azimuths within 10 degrees, best matched"] == "100 % [100 %, 100 %]"
