# SPDX-License-Identifier: Apache-2.0
"""The pages on parts of one's own, followed word by word in a folder outside the package."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(?:^`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def follow(page: Path, folder: Path) -> list[str]:
    """Write the page's files, run its commands and its other Python; return what they print."""
    said = []
    for name, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "bash":
            said += [run(shlex.split(line), folder) for line in text.splitlines()]
        elif language == "python":
            said.append(run(["python", "-c", text], folder))
    return said


def run(command: list[str], folder: Path) -> str:
    program = {"msdet": ["-m", "msdet"], "python": []}[command[0]]
    done = subprocess.run(
        [sys.executable, *program, *command[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("page", ["own-encoder.md", "own-loss.md", "own-loop.md"])
def test_the_page_works_as_it_stands(page: str, tmp_path: Path) -> None:
    told = "".join(follow(DOCS / page, tmp_path)).splitlines()
    trusts = [line.endswith(" trust=true") for line in told if line.startswith("next:")]
    assert trusts
    assert set(trusts) == {page != "own-loop.md"}
    assert list(tmp_path.glob("**/*.onnx"))
    assert list(tmp_path.glob("**/report.html"))
