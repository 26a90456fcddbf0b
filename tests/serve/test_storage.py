# SPDX-License-Identifier: Apache-2.0
"""What a page keeps: never more than its limit, the newest, and whatever is being worked on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from msdet.errors import InputError
from msdet.serve.guard import Storage

MEGABYTE = 1_000_000


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Room for three files of a megabyte."""
    return Storage(tmp_path, max_megabytes=3)


def put(folder: Path, age: float, size: int = MEGABYTE) -> Path:
    """A file in a folder of its own, as gradio keeps uploads."""
    folder.mkdir()
    file = folder / "a.wav"
    file.write_bytes(bytes(size))
    changed = 1e9 - age
    os.utime(folder, (changed, changed))
    return file


def test_the_oldest_make_room_whether_upload_or_result(storage: Storage) -> None:
    upload = put(storage.folder / "upload", age=3)
    result = put(storage.folder / "result", age=2)
    newest = put(storage.folder / "newest", age=1)
    with storage.arriving(MEGABYTE):
        assert not upload.exists()
        assert result.exists()
    with storage.arriving(2 * MEGABYTE):
        assert not result.exists()
        assert newest.exists()


def test_what_fits_stays(storage: Storage) -> None:
    kept = [put(storage.folder / str(age), age=age) for age in (1, 2)]
    with storage.arriving(MEGABYTE):
        assert all(file.exists() for file in kept)


def test_uploads_that_come_at_once_share_the_room(storage: Storage) -> None:
    with storage.arriving(2 * MEGABYTE):
        with pytest.raises(InputError, match=r"no room for this upload of 1\.5 MB"):
            storage.arriving(MEGABYTE * 3 // 2).__enter__()
        with storage.arriving(MEGABYTE):
            pass
    with storage.arriving(3 * MEGABYTE):
        pass


def test_a_refusal_is_one_line_and_names_the_key(storage: Storage) -> None:
    with pytest.raises(InputError) as caught:
        storage.arriving(4 * MEGABYTE).__enter__()
    assert "max_stored_megabytes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_job_works_on_stays_until_it_ends(storage: Storage) -> None:
    upload = put(storage.folder / "upload", age=9)
    with storage.held(upload) as result:
        written = put(result, age=8)
        with pytest.raises(InputError, match="no room"):
            storage.arriving(2 * MEGABYTE).__enter__()
        assert upload.exists()
        assert written.exists()
    with storage.arriving(2 * MEGABYTE):
        assert not upload.exists()


def test_a_result_makes_room_for_itself_when_it_is_there(storage: Storage) -> None:
    old = [put(storage.folder / str(age), age=age) for age in (5, 4, 3)]
    with storage.held() as result:
        written = put(result, age=1)
    assert [file.exists() for file in old] == [False, True, True]
    assert written.exists()


def test_a_job_that_fails_holds_nothing_any_more(storage: Storage) -> None:
    upload = put(storage.folder / "upload", age=1)
    with pytest.raises(InputError, match="bad"), storage.held(upload):
        raise InputError("bad")
    with storage.arriving(3 * MEGABYTE):
        assert not upload.exists()


def test_pieces_of_uploads_that_broke_off_are_deleted(storage: Storage) -> None:
    piece = storage.folder / "tmpabc"
    with storage.arriving(MEGABYTE):
        piece.write_bytes(b"a piece")
        with storage.arriving(MEGABYTE):
            assert piece.exists(), "it may still be coming"
    with storage.arriving(MEGABYTE):
        assert not piece.exists()
