# SPDX-License-Identifier: Apache-2.0
"""What MkDocs is told beyond mkdocs.yml: the changelog and cards are pages, how docstrings read."""

from __future__ import annotations

import re
from collections.abc import Collection
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


class Docstrings(griffe.Extension):
    """Docstrings as they are written here, in the words of Griffe and of Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            parameters = getattr(obj, "parameters", ())
            names = {parameter.name for parameter in parameters} | obj.all_members.keys()
            obj.docstring.value = for_griffe(obj.docstring.value, names)


def for_griffe(text: str, names: Collection[str]) -> str:
    """Write a docstring so that Griffe finds its sections, and Markdown its code.

    Args:
        text: the docstring, without indentation.
        names: what "Args" and "Attributes" may describe; those that share a line or a description
            get a line each.
    """
    text = re.sub(r":\w+:`[~.]?([^`]+)`", r"`\1`", text).replace("``", "`")
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S)\n(?=(?:Args|Attributes|Returns|Yields|Raises):$)", "\n\n", text, flags=re.M)
    text = re.sub(r"^>>>.*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.M)
    name = "|".join(map(re.escape, names))
    list_of = rf"(?:{name})(?:, (?:{name}))*"

    def name_by_name(section: re.Match[str]) -> str:
        body = re.sub(rf"(?<=[.;]) +(?={list_of}: )", "\n    ", section[0])
        return re.sub(rf"^    ({list_of})(: .*(?:\n {{5}}.*)*)", each_alone, body, flags=re.M)

    def each_alone(item: re.Match[str]) -> str:
        return "\n".join(f"    {one}{item[2]}" for one in item[1].split(", "))

    return re.sub(r"^(?:Args|Attributes):$(?:\n {4}.*)+", name_by_name, text, flags=re.M)
