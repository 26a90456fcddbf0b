# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: commands that can be typed, every key and its default, the voices."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from msdet.composing import compose
from msdet.config import (
    BankConfig,
    EvaluationConfig,
    ExportConfig,
    ImportConfig,
    SimulateConfig,
    TrainConfig,
    parse,
)
from msdet.corpora import CorpusConfig
from msdet.corpora.utterance import read_manifest
from msdet.geometry import ArrayConfig
from msdet.inference.config import SeparateConfig
from msdet.resources import voices_dir
from msdet.serve.config import ServeConfig

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
PAGES = (
    "evaluation",
    "benchmarks",
    "separating",
    "page",
    "export",
    "tutorial-recording",
    "tutorial-corpus",
)
"""Further pages with commands."""
COMMANDS: dict[str, tuple[type[BaseModel], list[str]]] = {
    "train": (TrainConfig, []),
    "evaluate": (EvaluationConfig, []),
    "simulate": (SimulateConfig, ["output=needed"]),
    "separate": (SeparateConfig, ["recording=needed"]),
    "serve": (ServeConfig, []),
    "bank": (BankConfig, ["output=needed"]),
    "import": (ImportConfig, ["scenes=needed", "output=needed"]),
    "export": (ExportConfig, ["checkpoint=needed", "output=needed"]),
}
TABLES = ("scene", "data", "model", "criterion", "trainer", "logger")
"""Groups whose keys stand in a table with their defaults."""


def shown_commands() -> list[list[str]]:
    """The arguments of every ``msdet`` line in the code blocks of the documentation."""
    files = [ROOT / "docs" / f"{name}.md" for name in PAGES]
    files += sorted((ROOT / "data" / "models").glob("*.md"))
    pages = [file.read_text(encoding="utf-8") for file in files]
    blocks = re.findall(r"```bash\n(.*?)```", README + CONFIGS + "".join(pages), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("msdet ")]


def documented(heading: str) -> dict[str, Any]:
    """Keys and defaults of the table under a heading: ``| `a`, `b` | 1, [2, 3] | words |``."""
    _, section = re.split(rf"^##+ `{heading}`.*$", CONFIGS, maxsplit=1, flags=re.MULTILINE)
    section = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, Any] = {}
    for names, defaults in re.findall(r"^\| (`.+?`) \| (.*?) \|", section, re.MULTILINE):
        keys = re.findall(r"`([\w.]+)`", names)
        values = yaml.safe_load(f"[{defaults.replace('`', '').replace('${name}', 'msdet')}]")
        found |= dict(zip(keys, values * len(keys) if len(values) == 1 else values, strict=True))
    return found


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """All keys with a dot between levels."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


@pytest.mark.parametrize("arguments", shown_commands(), ids=" ".join)
def test_commands_of_the_documentation_can_be_typed(arguments: list[str]) -> None:
    command, *overrides = [a for a in arguments if not a.startswith("--")]
    if command not in ("COMMAND", "models"):
        parse(COMMANDS[command][0], compose(command, overrides))


@pytest.mark.parametrize("group", TABLES)
def test_the_keys_of_a_group_are_documented(group: str) -> None:
    assert documented(group) == flat(compose("train", [])[group])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_keys_of_a_command_are_documented(command: str) -> None:
    values = compose(command, COMMANDS[command][1])
    own = {key: value for key, value in values.items() if not isinstance(value, dict)}
    found = documented(f"msdet {command}")
    found.pop("experiment", None)  # a file of other keys, not a key of its own
    assert found == own


@pytest.mark.parametrize("union", [CorpusConfig, ArrayConfig], ids=["corpus", "array"])
def test_the_keys_of_every_corpus_and_array_are_documented(union: Any) -> None:
    for config in get_args(get_args(union)[0]):
        for key in config.model_fields:
            assert f"`{key}`" in CONFIGS, f"{config.__name__}.{key}"


def test_the_voices_are_counted_right() -> None:
    count = len({row.speaker for row in read_manifest(voices_dir() / "manifest.jsonl")})
    for text in (README, CONFIGS, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
        assert re.search(rf"\b{count} (bundled )?voices", text)
