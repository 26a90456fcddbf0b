# SPDX-License-Identifier: Apache-2.0
"""Hooks of MkDocs beyond mkdocs.yml: pages from elsewhere, and how docstrings read."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MOVED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"} | {
    f"data/models/{card.stem}.md": f"models/{card.stem}.md"
    for card in sorted((ROOT / "data" / "models").glob("*.ckpt"))
}
"""Pages of the site that lie elsewhere than in docs/."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make pages of files that lie elsewhere."""
    for source, page in MOVED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links are written as they work in the repository; the site's pages lie elsewhere."""
    here = page.file.src_uri
    source = next((old for old, new in MOVED.items() if new == here), f"docs/{here}")

    def moved(link: re.Match[str]) -> str:
        target = normpath(join(dirname(source), link[1]))
        if target not in MOVED and not target.startswith("docs/"):
            return link[0]
        new = MOVED.get(target, target.removeprefix("docs/"))
        return f"]({relpath(new, dirname(here) or '.')}"

    return re.sub(r"\]\(([\w./-]+)", moved, markdown)


def on_page_content(html: str, *, page: Page, **_: Any) -> str:
    """Links of notebooks, which their plugin leaves as they are in the repository."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'href="([\w./-]+)\.(?:md|ipynb)(?=[#"])', r'href="\1.html', html)


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
    text = re.sub(
        r"(?<=\S)\n(?=(?:Args|Attributes|Returns|Yields|Raises):$)", "\n\n", text, flags=re.M
    )
    text = re.sub(r"^>>>.*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.M)
    name = "|".join(map(re.escape, names))
    list_of = rf"(?:{name})(?:, (?:{name}))*"

    def name_by_name(section: re.Match[str]) -> str:
        body = re.sub(rf"(?<=[.;]) +(?={list_of}: )", "\n    ", section[0])
        return re.sub(rf"^    ({list_of})(: .*(?:\n {{5}}.*)*)", each_alone, body, flags=re.M)

    def each_alone(item: re.Match[str]) -> str:
        return "\n".join(f"    {one}{item[2]}" for one in item[1].split(", "))

    return re.sub(r"^(?:Args|Attributes):$(?:\n {4}.*)+", name_by_name, text, flags=re.M)
