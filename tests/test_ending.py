# SPDX-License-Identifier: Apache-2.0
"""However a command ends, it says so in a line, and its code tells success from all else."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msdet.ending import ending, program, tell
from msdet.errors import InputError


@pytest.fixture(autouse=True)
def hook() -> Iterator[None]:
    kept = threading.excepthook
    yield
    threading.excepthook = kept


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM; the same command goes on from here"),
        (signal.SIGINT, 130, "stopped; the same command goes on from here"),
    ],
)
def test_a_signal_stops_a_command_in_one_line(
    number: int, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert ending("msdet train", lambda: os.kill(os.getpid(), number) or 0) == code
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert capsys.readouterr().err.split("\n") == ["", line, ""]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_anywhere_is_a_mistake_of_one_line(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "runs/a.png")
    assert ending("msdet train", raising(error)) == 2
    said = capsys.readouterr().err
    assert said == (
        f"msdet train: runs/a.png: cannot be written ({os.strerror(number)}); the same command "
        "goes on from here\n"
    )


def test_a_full_disk_that_a_thread_meets_is_told_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> int:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "events")
        thread = threading.Thread(target=raising(full))
        thread.start()
        thread.join()
        return 0

    assert ending("msdet train", command) == 2
    said = capsys.readouterr().err
    assert said.startswith("msdet train: events: cannot be written")
    assert len(said.splitlines()) == 1


def test_a_mistake_is_told_and_another_error_is_not_hidden(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ending("msdet separate", raising(InputError("array: none")), goes_on=False) == 2
    assert capsys.readouterr().err == "msdet separate: array: none\n"
    with pytest.raises(PermissionError):
        ending("msdet train", raising(PermissionError(errno.EACCES, "no")))


def test_what_is_told_next_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "my report.html"
    report.touch()
    tell(report=report, audio=tmp_path / "none", next=("separate", "a b.wav", "seed=1"))
    first, last = capsys.readouterr().out.splitlines()
    assert shlex.split(first) == ["report:", str(report)]
    assert shlex.split(last)[-3:] == ["separate", "a b.wav", "seed=1"]
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert program() == "msdet"
    monkeypatch.setenv("PATH", "/nowhere")
    typed = shlex.split(program())
    assert Path(typed[0]).exists()
    assert typed[0].endswith("msdet") or typed[1:] == ["-m", "msdet"]
