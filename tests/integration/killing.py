# SPDX-License-Identifier: Apache-2.0
"""Runs a command again and again, killed each time at the next change that it makes to a file."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from msdet.cli import main

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
KILLED = 77


def changed_path(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path that is about to be changed, or None."""
    if event == "open":
        path, mode, flags = arguments
        writes = flags & WRITING if mode is None else set(mode) & set("wax+")
        return os.fsdecode(path) if writes and isinstance(path, str | bytes) else None
    if event in CHANGES and isinstance(arguments[0], str | bytes | os.PathLike):
        return os.fsdecode(arguments[0])
    return None


def die_at(number: int, root: Path) -> None:
    """End this process, as by SIGKILL, before the change of this number below ``root``."""
    seen, own = count(1), os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = changed_path(event, arguments)
        if path is None or os.getpid() != own:
            return
        below = os.path.abspath(path).startswith(f"{root}{os.sep}")
        if below and next(seen) == number:
            os.write(2, f"killed at {event} {path}\n".encode())
            os._exit(KILLED)

    sys.addaudithook(hook)


def in_a_child(action: Callable[[], int], log: Path) -> int:
    """The exit code of an action in a forked process; what it prints is added to ``log``."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has others
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def leftovers(root: Path) -> list[str]:
    """What should have gone: hidden files, and others with temporary names."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name.startswith(".") or path.suffix in (".part", ".tmp", ".lock")
    ]


def kill_everywhere(
    command: Sequence[str],
    root: Path,
    prepare: Callable[[Path], None] = lambda folder: None,
    outcome: Callable[[Path], object] = lambda folder: None,
) -> int:
    """Kill a command at each change in turn, let the same command go on, and see what comes of it.

    Args:
        prepare: fills the empty folder that a try is made in.
        outcome: what the command came to there, which no kill may change.
    Returns:
        How many changes there are.
    """
    expected: object = None
    for number in count():
        folder, log = root / f"{number:04d}", root / f"{number:04d}.log"
        folder.mkdir()
        os.chdir(folder)
        prepare(folder)

        def killed(number: int = number, folder: Path = folder) -> int:
            die_at(number, folder)
            return main(command)

        code = in_a_child(killed, log)
        if code == KILLED:
            code = in_a_child(lambda: main(command), log)
        elif number:  # the last change was before this one
            assert code == 0, log.read_text()
            return number - 1
        assert code == 0, f"{number}: {log.read_text()}"
        assert not leftovers(folder), f"{number}: {leftovers(folder)}: {log.read_text()}"
        found = outcome(folder)
        expected = found if expected is None else expected
        assert found == expected, f"{number}: {log.read_text()}"
        os.chdir(root)
        shutil.rmtree(folder)
    raise AssertionError
