# SPDX-License-Identifier: Apache-2.0
"""Versions of libraries and the commit of msdet's own checkout, which a result is made with."""

from __future__ import annotations

import os
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path


def versions() -> dict[str, str]:
    """Return the versions of the packages that shape a result."""
    names = ("msdet", "torch", "torchaudio", "lightning", "numpy", "scipy", "pyroomacoustics")
    return {name: version(name) for name in names}


def git_commit() -> str | None:
    """Return the commit of msdet's own checkout, with ``-dirty`` where files of it were changed;
    None where this package does not run from one, such as in a ``.venv`` inside another's."""
    root = Path(__file__).resolve().parent.parent
    # Beside an installed package there is neither; somebody else's checkout has another name.
    project = root / "pyproject.toml"
    if not (root / ".git").exists() or not project.is_file():
        return None
    if tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"] != "msdet":
        return None
    # What a hook or an editor exported names another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def short_commit(commit: str | None) -> str:
    """Shorten a commit for a page.

    >>> short_commit("0123456789abcdef-dirty"), short_commit(None)
    ('0123456789ab-dirty', 'unknown')
    """
    if commit is None:
        return "unknown"
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")
