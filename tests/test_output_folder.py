# SPDX-License-Identifier: Apache-2.0
"""One command at a time writes to a folder; what killed ones left is no content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msdet.errors import InputError
from msdet.output_folder import LOCK_NAME, contents, sole_user

HOLD = (
    "import sys; from pathlib import Path; from msdet.output_folder import sole_user\n"
    "with sole_user(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_command_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    with holder(folder) as first:
        with (
            pytest.raises(InputError, match=f"output=.*: process {first.pid} on .* is writing"),
            sole_user(folder),
        ):
            pass
        first.communicate()  # its standard input ends, and so does it
    with sole_user(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_kill_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.kill()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    assert contents(tmp_path) == []
    with sole_user(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_shares_of_the_same_set_are_let_in(tmp_path: Path) -> None:
    with sole_user(tmp_path, ".lock-0-4"), holder(tmp_path) as other:
        assert contents(tmp_path) == []
        other.communicate()


def test_a_command_that_begins_another_keeps_its_folder(tmp_path: Path) -> None:
    with sole_user(tmp_path):
        with sole_user(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME], "it is held to the end"


def test_the_lock_goes_where_the_folder_was_renamed(tmp_path: Path) -> None:
    folder, kept = tmp_path / "run", tmp_path / "run.1"
    with sole_user(folder):
        (folder / "model.ckpt").touch()
        folder.rename(kept)
        with sole_user(folder):  # another one of this name is free
            pass
    assert [path.name for path in kept.iterdir()] == ["model.ckpt"]


def test_a_mistake_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sole_user(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file"), sole_user(tmp_path / "file"):
        pass
    with pytest.raises(InputError, match="cannot be written"), sole_user(tmp_path / "file" / "a"):
        pass


def test_without_locks_a_command_works_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr("fcntl.flock", refuse)
    with sole_user(tmp_path):
        pass
    assert "has no locks (Function not implemented)" in caplog.text
