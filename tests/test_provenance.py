# SPDX-License-Identifier: Apache-2.0
"""The commit that results name is that of msdet's own checkout, or none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from msdet import provenance


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def placed(root: Path) -> ModuleType:
    """The module as a package in this folder has it."""
    (root / "msdet").mkdir(parents=True)
    file = Path(shutil.copy(str(provenance.__file__), root / "msdet"))
    spec = importlib.util.spec_from_file_location("placed", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _no_settings_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, ModuleType]:
    root = tmp_path / "checkout"
    module = placed(root)
    (root / "pyproject.toml").write_text('[project]\nname = "msdet"\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root, module


def test_the_commit_of_the_checkout(
    checkout: tuple[Path, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, module = checkout
    head = git(root, "rev-parse", "HEAD")
    git(root, "tag", "v1")
    assert module.git_commit() == head
    (root / "outputs").mkdir()
    (root / "outputs" / "new.txt").write_text("of no matter")
    assert module.git_commit() == head
    (root / "msdet" / "provenance.py").write_text("changed = True\n")
    assert module.git_commit() == f"{head}-dirty"
    assert module.short_commit(module.git_commit()) == f"{head[:12]}-dirty"


def test_another_repository_that_the_shell_names(
    checkout: tuple[Path, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, module = checkout
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-qm", "of others", "--allow-empty")
    head = git(root, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.chdir(other)
    assert module.git_commit() == head


@pytest.mark.parametrize("inside", [".venv/lib/python3.11/site-packages", "vendored", "."])
def test_a_copy_in_somebody_else_s_repository_has_none(tmp_path: Path, inside: str) -> None:
    module = placed(tmp_path / inside)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "pyproject.toml")
    git(tmp_path, "commit", "-qm", "theirs")
    assert module.git_commit() is None
