# SPDX-License-Identifier: Apache-2.0
"""Rows on disk: a killed run goes on, and nothing joins rows of another evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msdet.errors import InputError
from msdet.evaluation.rows import (
    HEADER_NAME,
    ROWS_NAME,
    TIMES_NAME,
    RowsHeader,
    RowWriter,
    SceneTime,
    read_rows,
)
from msdet.metrics.scores import SceneRow

HEADER = RowsHeader(
    models={"model": "a" * 40}, scenes="b" * 40, systems={"model": ("si_sdr", "sdr"), "music": ()}
)
MakeRow = Callable[..., SceneRow]


@pytest.fixture
def make_scene_row(make_row: Callable[..., SceneRow]) -> MakeRow:
    """A row of two systems, of which one hears worse."""

    def make(index: int, **keys: Any) -> SceneRow:
        one, other = make_row(index, **keys), make_row(index, error=(40.0, None))
        systems = {"model": one.systems["model"], "music": other.systems["model"]}
        return SceneRow(index=index, id=one.id, labels=one.labels, systems=systems)

    return make


def test_rows_come_back_as_they_were(tmp_path: Path, make_scene_row: MakeRow) -> None:
    rows = [
        make_scene_row(0),
        make_scene_row(1, error=(None, None), order_correct=None),
        make_scene_row(2, t60=None),
    ]
    with RowWriter(tmp_path, HEADER) as writer:
        for row in rows:
            writer.add(row)
    assert read_rows(tmp_path) == tuple(rows)


def test_each_row_is_on_disk_when_it_was_added(tmp_path: Path, make_scene_row: MakeRow) -> None:
    writer = RowWriter(tmp_path, HEADER)
    for index in range(3):
        writer.add(make_scene_row(index))
        assert len(read_rows(tmp_path)) == index + 1
    writer.close()


def test_a_killed_run_goes_on_behind_its_last_whole_line(
    tmp_path: Path, make_scene_row: MakeRow
) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        for index in range(4):
            writer.add(make_scene_row(index))
    path = tmp_path / ROWS_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-37])

    with RowWriter(tmp_path, HEADER) as writer:
        assert writer.done == {0, 1, 2}
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])
        writer.add(make_scene_row(3))
    assert path.read_bytes() == whole


def test_times_go_on_with_those_of_the_rows_that_are_there(
    tmp_path: Path, make_scene_row: MakeRow
) -> None:
    def time(index: int, seconds: float) -> SceneTime:
        return SceneTime(index=index, audio_seconds=2.0, seconds={"model": seconds})

    with RowWriter(tmp_path, HEADER) as writer:
        for index in range(2):
            writer.add(make_scene_row(index), time(index, 1.0))
    with (tmp_path / TIMES_NAME).open("a") as file:
        file.write(time(2, 9.0).model_dump_json() + "\n")  # a kill before its row was written
        file.write('{"index": 3, "audio_sec')
    with RowWriter(tmp_path, HEADER) as again:
        assert again.real_time_factor("model") == 0.5
        again.add(make_scene_row(2), time(2, 4.0))
        assert again.real_time_factor("model") == 1.0
    with RowWriter(tmp_path, HEADER) as again:
        assert again.real_time_factor("model") == 1.0
        assert again.real_time_factor("music") is None


def test_rows_added_out_of_order_end_in_scene_order(
    tmp_path: Path, make_scene_row: MakeRow
) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        for index in (2, 0, 3, 1):
            writer.add(make_scene_row(index))
    lines = (tmp_path / ROWS_NAME).read_text().splitlines()
    assert [SceneRow.model_validate_json(line).index for line in lines] == [0, 1, 2, 3]


def test_an_error_in_the_loop_keeps_the_rows(tmp_path: Path, make_scene_row: MakeRow) -> None:
    def interrupted() -> None:
        with RowWriter(tmp_path, HEADER) as writer:
            writer.add(make_scene_row(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [row.index for row in read_rows(tmp_path)] == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"models": {"model": "c" * 40}},
        {"scenes": "c" * 40},
        {"systems": {"model": ("si_sdr",)}},
        {"recogniser": "mine:hear"},
        {"own_metrics": {"mine": "{}"}},
        {"as_networks": False},
    ],
)
def test_rows_of_another_evaluation_are_refused_and_kept(
    tmp_path: Path, make_scene_row: MakeRow, change: dict[str, object]
) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        writer.add(make_scene_row(0))
    before = (tmp_path / ROWS_NAME).read_bytes()
    other = HEADER.model_copy(update=change)
    with pytest.raises(InputError, match=next(iter(change))) as caught:
        RowWriter(tmp_path, other)
    assert str(tmp_path) in str(caught.value)
    assert "choose another folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / ROWS_NAME).read_bytes() == before


def test_a_folder_whose_run_wrote_no_row_is_free(tmp_path: Path, make_scene_row: MakeRow) -> None:
    RowWriter(tmp_path, HEADER).close()
    other = HEADER.model_copy(update={"models": {"model": "c" * 40}})
    with RowWriter(tmp_path, other) as writer:
        writer.add(make_scene_row(0))
    with RowWriter(tmp_path, other) as writer:
        assert writer.done == {0}


def test_rows_without_a_header_are_refused(tmp_path: Path, make_scene_row: MakeRow) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        writer.add(make_scene_row(0))
    (tmp_path / HEADER_NAME).unlink()
    with pytest.raises(InputError, match=HEADER_NAME):
        RowWriter(tmp_path, HEADER)


def test_a_damaged_line_is_named(tmp_path: Path, make_scene_row: MakeRow) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        for index in range(3):
            writer.add(make_scene_row(index))
    path = tmp_path / ROWS_NAME
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2]]) + "\n")
    with pytest.raises(InputError, match="line 2"):
        RowWriter(tmp_path, HEADER)


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(InputError, match="taken"):
        RowWriter(path, HEADER)
    assert path.read_text() == "mine"


def test_a_scene_cannot_be_added_twice(tmp_path: Path, make_scene_row: MakeRow) -> None:
    with RowWriter(tmp_path, HEADER) as writer:
        writer.add(make_scene_row(0))
        with pytest.raises(ValueError, match="already"):
            writer.add(make_scene_row(0))


def test_reading_a_folder_without_rows_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output folder of an evaluation"):
        read_rows(tmp_path)
