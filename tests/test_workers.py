# SPDX-License-Identifier: Apache-2.0
"""Processes that this one begins end with it, however it ends, and say what they failed of."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from msdet.workers import ChildCommand, stop_all

BEGINS_A_COMMAND = """
import sys, time
from pathlib import Path
from msdet.workers import ChildCommand
child = ChildCommand(("simulate", f"output={sys.argv[1]}/out", "num_scenes=1000"), Path("log"))
time.sleep(600)
"""
BEGINS_WORKERS = """
import time
from msdet.workers import in_processes
def build(seconds): return time.sleep
if __name__ == "__main__":
    list(in_processes(build, 0, [600.0, 600.0], num_workers=2, title=""))
"""
PATIENCE = 300.0


@pytest.mark.parametrize(("code", "begun"), [(BEGINS_A_COMMAND, 1), (BEGINS_WORKERS, 2)])
def test_a_killed_process_leaves_none_behind(code: str, begun: int, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(code)
    killed = psutil.Popen([sys.executable, str(script), str(tmp_path)], cwd=tmp_path)
    until = time.monotonic() + PATIENCE
    while len(children := killed.children(recursive=True)) < begun:
        assert killed.is_running()
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    _, left = psutil.wait_procs(children, timeout=PATIENCE)
    assert not left


def test_a_command_that_fails_tells_why_in_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    command = ChildCommand(("simulate", "num_scenes=2"), log)
    while command.is_running:
        time.sleep(0.01)
    assert (command.failure() or "").startswith("output: is needed")
    stop_all([command])  # which does nothing to one that has ended


def test_a_stopped_command_ends_as_by_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ChildCommand(("simulate", f"output={tmp_path / 'out'}", "num_scenes=100000"), log)
    until = time.monotonic() + PATIENCE
    while not (tmp_path / "out").exists():
        assert command.is_running
        assert time.monotonic() < until
        time.sleep(0.01)
    stop_all([command])
    assert not command.is_running
    assert command.failure() == "stopped; the same command goes on from here"
