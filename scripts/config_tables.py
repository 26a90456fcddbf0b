#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of keys in ``docs/configs.md`` from the config classes: what each may be, its
default, and what its class's docstring says of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from msdet.commands.bank import BankConfig
from msdet.commands.import_scenes import ImportConfig
from msdet.commands.simulate import SimulateConfig
from msdet.corpora import CorpusConfig
from msdet.criteria import CriterionConfig
from msdet.datasets import DataConfig
from msdet.evaluation.config import EvaluationConfig
from msdet.inference.config import ExportConfig, ListenConfig, SeparateConfig
from msdet.models.config import ModelConfig
from msdet.parts import OwnPart
from msdet.serve.config import ServeConfig
from msdet.simulation import SceneConfig
from msdet.training.config import LoggerConfig, TrainConfig, TrainerConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configs.md"
COMMANDS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "evaluate": EvaluationConfig,
    "simulate": SimulateConfig,
    "bank": BankConfig,
    "import": ImportConfig,
    "separate": SeparateConfig,
    "listen": ListenConfig,
    "serve": ServeConfig,
    "export": ExportConfig,
}
GROUPS: dict[str, type[BaseModel]] = {
    "scene": SceneConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "criterion": CriterionConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}
Row = tuple[str, str, str, str]
"""Key, what it may be, default, meaning."""


def tables() -> dict[str, str]:
    """Every table, by what its marker in the page names."""
    found = {name: table(list(rows(config, parts=False))) for name, config in COMMANDS.items()}
    found |= {name: table(list(rows(config))) for name, config in GROUPS.items()}
    corpora = [c for c in classes_in(CorpusConfig) if c is not OwnPart]
    options: list[Sequence[str]] = []
    for corpus in corpora:
        name = get_args(corpus.model_fields["name"].annotation)[0]
        options.append((f"**`{name}`**", "", "", in_brief(corpus)))
        options += (row for row in rows(corpus) if row[0] != "`name`")
    return found | {"corpus": table(options, "`corpus=` and its keys")}


def filled(page: str) -> str:
    """The page with every table as it is today."""
    for name, text in tables().items():
        begin, end = f"<!-- {name}: by scripts/config_tables.py -->\n", "<!-- end -->\n"
        before, marked, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not marked or not ended:
            raise SystemExit(f"{PAGE}: has no place for the keys of {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def table(lines: Sequence[Sequence[str]], first: str = "key") -> str:
    head = f"| {first} | values | default | |\n| --- | --- | --- | --- |\n"
    return head + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def rows(config: type[BaseModel], prefix: str = "", *, parts: bool = True) -> Iterator[Row]:
    """A class's keys; those of the parts in it, if asked for, with a dot."""
    words = descriptions(config)
    for key, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if not isinstance(default, BaseModel):
            meaning = words.get(key, "")
            yield f"`{prefix}{key}`", values(field), shown(field, default), meaning
            parts_of = classes_in(field.annotation)
            if default is None and len(parts_of) == 1 and parts_of != [OwnPart]:
                yield from rows(parts_of[0], f"{prefix}{key}.")
        elif parts:
            yield from part_rows(field, default, f"{prefix}{key}.")


def part_rows(field: FieldInfo, default: BaseModel, prefix: str) -> Iterator[Row]:
    """The keys of a part, and what it is called where there are several to choose from."""
    options = {
        get_args(c.model_fields["name"].annotation)[0]: c
        for c in classes_in(field.annotation)
        if "name" in c.model_fields
    }
    for row in rows(type(default), prefix):
        if options and row[0] == f"`{prefix}name`":
            words = " ".join(f"`{name}`: {in_brief(c)}" for name, c in options.items())
            yield row[0], ", ".join(f"`{name}`" for name in options), row[2], words
        else:
            yield row


def classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [c for part in get_args(annotation) for c in classes_in(part)]


def in_brief(config: type[BaseModel]) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(config) or "").split("\n\n")[0].split())


def descriptions(config: type[BaseModel]) -> dict[str, str]:
    """Return what a class's docstring, and those of its bases, say of each key."""
    found: dict[str, str] = {}
    for one in reversed(config.__mro__):
        section = re.search(
            r"^Attributes:\n((?: {4}.*\n?|\n)+)", inspect.cleandoc(one.__doc__ or ""), re.M
        )
        for names, text in re.findall(
            r"^ {4}([a-z]\w*(?:, \w+)*): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M
        ):
            text = " ".join(text.split())
            found |= dict.fromkeys(names.split(", "), text.replace("|", "\\|"))
    return found


def values(field: FieldInfo) -> str:
    """Return what a key may be, in words."""
    return in_words(field.annotation, field.metadata).replace("|", "\\|")


def in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is OwnPart:
        return "a class of yours (`_target_`)"
    if origin is Annotated:
        return in_words(parts[0], parts[1:])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple and parts[-1] is Ellipsis:
        inner = in_words(parts[0])
        return f"list of {inner}"
    if origin is tuple:
        return "[low, high]" if len(parts) == 2 else "list"
    if origin is dict:
        return "names with values"
    if parts:  # a union
        told = [in_words(p, metadata) for p in parts if p is not type(None)]
        return ", or ".join(dict.fromkeys([*told, "null"] if type(None) in parts else told))
    plain = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text"}
    return f"{plain.get(annotation, 'keys')}{bounds(metadata)}"


def bounds(metadata: Sequence[Any]) -> str:
    nested = [m for one in metadata for m in getattr(one, "metadata", [one])]
    words = ""
    for name, word in {"ge": "from", "gt": "above", "le": "to", "lt": "below"}.items():
        found = [getattr(m, name) for m in nested if hasattr(m, name)]
        if found and found[0] < 10**6:  # larger ones are out of reach
            words += f" {word} {found[0]:g}"
    return words


def shown(field: FieldInfo, default: Any) -> str:
    """A default as YAML has it."""
    if field.is_required():
        return "needed"
    plain = list(default) if isinstance(default, tuple) else default
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
