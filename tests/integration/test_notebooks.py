# SPDX-License-Identifier: Apache-2.0
"""The notebooks of the documentation run, and what is stored of them is of the code they hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))
MAX_BYTES = 300_000  # each is in every clone
CELL_SECONDS = 500


def stored(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Of each code cell the kinds of what it put out; numbers differ between machines."""
    return [
        sorted({kind for output in cell.outputs for kind in output.get("data", {"text": ""})})
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES
    code = [cell for cell in stored(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", "warnings and progress are no result"


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(
    path: Path, same_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient")
    programs = tmp_path / "bin"  # msdet as these tests see it, whatever else is on the PATH
    programs.mkdir()
    (programs / "msdet").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m msdet "$@"\n')
    (programs / "msdet").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # commands that tests call set it
    notebook = stored(path)
    before = outputs(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, resources=resources).execute()
    assert outputs(notebook) == before
