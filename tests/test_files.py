# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msdet.errors import InputError
from msdet.files import (
    ProcessPaths,
    read_json,
    read_json_lines,
    replacing,
    scratch_folder,
    user_cache,
    write_atomically,
)


@pytest.mark.parametrize("content", ["ü\n", "ü\n".encode(), iter(["ü", "\n"])], ids=type)
def test_text_bytes_and_pieces_are_written(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, content)
    assert path.read_bytes() == "ü\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_who_looks_meanwhile_sees_what_was_there(tmp_path: Path) -> None:
    path, scratch = tmp_path / "file", tmp_path / "scratch"
    scratch.mkdir()
    path.write_text("old")
    with replacing(path, scratch) as file:
        file.write(b"new")
        assert path.read_text() == "old"
        assert [p.parent for p in tmp_path.rglob("*.part")] == [scratch]
    assert path.read_text() == "new"
    assert list(scratch.iterdir()) == []


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def pieces() -> Iterator[str]:
        yield "new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as error:
        write_atomically(path, pieces())
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    path = tmp_path / "file" / "folder" / "deeper"
    with pytest.raises(NotADirectoryError) as error:
        write_atomically(path, "new")
    assert error.value.filename == str(path)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    place = ProcessPaths(tmp_path, ".take.", ".part")
    mine = place.new()
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    number = killed.stdout.decode().strip()
    left = tmp_path / mine.name.replace(f"-{os.getpid()}-", f"-{number}-")
    elsewhere = tmp_path / f".take.{0:08x}-1-aa.part"  # of another machine, perhaps at work
    old = tmp_path / f".take.{0:08x}-2-aa.part"
    others = [elsewhere, tmp_path / ".take.0000-1-aa.part", tmp_path / f".other-{number}-aa.part"]
    for folder in (mine, left, old, *others):
        folder.mkdir()
        (folder / "track0.wav").write_bytes(b"x")
    days_ago = time.time() - 2 * 24 * 3600
    for path in (old / "track0.wav", old):
        os.utime(path, (days_ago, days_ago))
    place.remove_leftovers()
    assert not left.exists()
    assert not old.exists()
    assert all(folder.exists() for folder in (mine, *others))


def test_the_next_write_removes_what_a_kill_left_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    script = (
        "import os, sys; from pathlib import Path; from msdet.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file: file.write(b'half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert [p.name for p in tmp_path.iterdir()] != []
    write_atomically(path, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_scratch_folder_is_gone_however_its_use_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from msdet.files import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as folder: (folder / 'a').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "take")], check=False)
    (left,) = tmp_path.iterdir()

    def fail(folder: Path) -> None:
        assert list(tmp_path.iterdir()) == [folder]  # and not what the killed one left
        assert left.name != folder.name
        raise InputError("no")

    with pytest.raises(InputError), scratch_folder(tmp_path / "take") as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["/dev/null/nobody", None])
def test_without_a_home_what_can_be_made_again_is_kept_in_the_temporary_folder(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if home is None:  # nor an entry among the system's users
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", home)
    folder = user_cache("rirs")
    assert folder.is_relative_to(tmp_path)
    assert folder.is_dir()
    assert not folder.parent.stat().st_mode & 0o077


# --- reading what msdet wrote for itself --------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"a": 1',
        b"\xff\xfe\x00",
        b"[1]",
        b"null",
        b"5",
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "cut", "binary", "list", "null", "number", "nested", "a number of 5000 digits"],
)
def test_damaged_json_is_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(path, "make it again")
    assert str(caught.value).startswith(f"{path}: is damaged")
    assert str(caught.value).endswith("; make it again")
    assert "\n" not in str(caught.value)


def test_json_after_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "one.json", "") == {"a": 1}
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8-sig")
    assert read_json_lines(tmp_path / "rows.jsonl", "") == [{"a": 1}, {"a": 2}]


def test_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: cannot be read.*; make it again"):
        read_json(tmp_path / "gone.json", "make it again")


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        write_atomically(pipe, "text")
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]
