# SPDX-License-Identifier: Apache-2.0
"""What MkDocs is told beyond mkdocs.yml: the changelog and cards are pages, how docstrings read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The changelog and the models' cards are pages too, and stay where they are."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=text))
    for card in sorted((ROOT / "data" / "models").glob("*.md")):
        if card.with_suffix(".ckpt").exists():
            text = card.read_text(encoding="utf-8").replace("](../../docs/", "](../")
            files.append(File.generated(config, f"models/{card.name}", content=text))
    return files


class RolesAsCode(griffe.Extension):
    """Roles and double backticks of docstrings as Markdown's code; one example as "Examples"."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r":\w+:`[~.]?([^`]+)`", r"`\1`", obj.docstring.value)
            text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
            obj.docstring.value = text.replace("``", "`")
