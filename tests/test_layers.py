# SPDX-License-Identifier: Apache-2.0
"""What importing a part of the library brings along, and the picture of its layers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_CRITERION = """
import sys
from msdet.criteria import Criterion, CriterionConfig, Labels, Predictions
print(*sorted(sys.modules))
"""


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_criterion_brings_neither_simulator_nor_trainer() -> None:
    found = modules_after(_CRITERION)
    assert {"torch", "msdet.criteria.criterion"} <= found
    assert not {"lightning", "pyroomacoustics", "hydra", "matplotlib", "pandas"} & found
    ours = {name for name in found if name.startswith("msdet.")}
    unwanted = ("simulation", "datasets", "models", "training", "evaluation", "corpora")
    assert not {name for name in ours if name.split(".")[1] in unwanted}
    assert len(ours) <= 15


@pytest.mark.parametrize("module", ["training.config", "evaluation.config", "simulation"])
def test_settings_and_scenes_do_without_torch(module: str) -> None:
    found = modules_after(f"import sys, msdet.{module}; print(*sys.modules)")
    assert f"msdet.{module}" in found
    assert "torch" not in found


def test_the_picture_and_the_page_show_the_layers_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    order = [name for layer in layers for name in layer.split(" | ")]
    picture = (ROOT / "docs/pictures/layers.svg").read_text(encoding="utf-8")
    shown = re.findall(r'font-weight="bold">([^<]*)<', picture)
    drawn = [name for row in shown[:-1] for name in row.split(" | ")]
    assert drawn == [name for name in order if name in drawn]
    packages = {p.parent.name for p in (ROOT / "msdet").glob("*/__init__.py")}
    assert packages <= set(drawn)
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert all(f"`{package}`" in page for package in packages)


def test_docstrings_say_what_a_thing_is_or_does() -> None:
    opening = re.compile(r"(Of|What|Which|As|Whether)\b")
    found = []
    for path in sorted((ROOT / "msdet").glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and opening.match(text):
                    found.append(f"{path.relative_to(ROOT)}: {text.splitlines()[0]}")
    assert found == []
