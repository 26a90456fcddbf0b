# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: commands that can be typed, keys and defaults, figures, links."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml

from msdet.composing import compose
from msdet.corpora.utterance import read_manifest
from msdet.geometry import ArrayConfig
from msdet.parsing import parse
from msdet.resources import voices_dir
from scripts import config_tables

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"
CONFIGS = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
PAGES = (
    "evaluation",
    "benchmarks",
    "separating",
    "page",
    "export",
    "installation",
    "simulation",
    "training",
)
"""Further pages with commands."""


def shown_commands() -> list[list[str]]:
    """The arguments of every ``msdet`` line in the code blocks of the documentation."""
    files = [ROOT / "docs" / f"{name}.md" for name in PAGES]
    files += sorted((ROOT / "data" / "models").glob("*.md"))
    pages = [file.read_text(encoding="utf-8") for file in files]
    blocks = re.findall(r"```bash\n(.*?)```", README + CONFIGS + "".join(pages), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("msdet ")]


@pytest.mark.parametrize("arguments", shown_commands(), ids=" ".join)
def test_commands_of_the_documentation_can_be_typed(arguments: list[str]) -> None:
    command, *overrides = [a for a in arguments if not a.startswith("--")]
    if command not in ("COMMAND", "models"):
        parse(config_tables.COMMANDS[command], compose(command, overrides))


def test_the_tables_of_keys_are_those_of_the_classes() -> None:
    assert config_tables.filled(CONFIGS) == CONFIGS, "run scripts/config_tables.py"


@pytest.mark.parametrize("name", config_tables.tables())
def test_every_key_has_a_meaning(name: str) -> None:
    for line in config_tables.tables()[name].splitlines():
        key, *_, meaning = line.strip("| ").split(" | ")
        assert meaning, f"{name}: {key}"


def test_the_keys_of_every_array_are_documented() -> None:
    for config in get_args(get_args(ArrayConfig)[0]):
        for key in config.model_fields:
            assert f"`{key}`" in CONFIGS, f"{config.__name__}.{key}"


def test_the_voices_are_counted_right() -> None:
    count = len({row.speaker for row in read_manifest(voices_dir() / "manifest.jsonl")})
    for text in (README, CONFIGS, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
        assert re.search(rf"\b{count} (bundled )?voices", text)


# --- what a newcomer meets ----------------------------------------------------------------

MAX_WORDS = 1200
IN_WORDS = ("README.md", "CONTRIBUTING.md", "Dockerfile", "msdet", "configs", "docs", "data/models")
"""Where people read how to install."""


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MAX_WORDS


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


@pytest.mark.parametrize("name", ["bundled-easy", "bundled-unseen-array", "bundled-hard"])
def test_the_readme_has_the_scores_of_the_model_that_ships(name: str) -> None:
    shipped = json.loads((RESULTS / "shipped.json").read_text(encoding="utf-8"))
    scores = shipped["planar-pairs"][name]
    low, high = scores["intervals"]["si_sdr_improvement_db"]
    assert (
        f"| `{name}` | **{scores['si_sdr_improvement_db']:.1f}** [{low:.1f}, {high:.1f}] "
        f"| **{scores['azimuth_error_median_deg']:.1f}** "
        f"| {percent(scores['azimuth_within_10deg'])} |"
    ) in README


def test_the_scores_of_the_quickstart_are_those_that_were_measured() -> None:
    (scores,) = json.loads((RESULTS / "quickstart.json").read_text(encoding="utf-8")).values()
    gain, error = scores["si_sdr_improvement_db"], scores["azimuth_error_median_deg"]
    low, high = scores["intervals"]["si_sdr_improvement_db"]
    assert f"{gain:.1f} dB [{low:.1f}, {high:.1f}]" in README
    assert f"error of {error:.1f} degrees" in README
    table = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert f"| **{gain:.1f}** ({low:.1f} to {high:.1f}) |" in table
    low, high = scores["intervals"]["azimuth_error_median_deg"]
    assert f"| **{error:.1f}°** ({low:.1f} to {high:.1f}) |" in table
    assert f"| {percent(scores['azimuth_within_10deg'])} |" in table


def test_references_are_those_of_the_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    known = {work["title"].casefold(): work for work in [citation, *citation["references"]]}
    for entry in re.findall(r"^@\w+\{.*?^\}", README, re.MULTILINE | re.DOTALL):
        fields = dict(re.findall(r"^  (\w+)\s*= \{(.*)\},$", entry, re.MULTILINE))
        work = known[re.sub(r"[{}]", "", fields["title"]).casefold()]
        for key, name in (("doi", "doi"), ("year", "year"), ("version", "version")):
            assert fields.get(key, "") == str(work.get(name, ""))
        people = [author.get("family-names", author.get("name")) for author in work["authors"]]
        found = re.sub(r"[{}]", "", fields["author"]).split(" and ")
        assert [name.partition(",")[0] for name in found] == people


def test_links_of_pages_outside_the_site_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        for target, anchor in re.findall(r"\]\(([^)#:\s]+)(?:#([^)]*))?\)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"
            if anchor:
                page = (ROOT / target).read_text(encoding="utf-8")
                headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
                slugs = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
                assert anchor in slugs, f"{name}: {target}#{anchor}"


def test_extras_are_installed_from_the_clone_and_exist() -> None:
    """The package is on no index: ``pip install 'msdet[serve]'`` finds nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = extras["project"]["optional-dependencies"]
    shown = set()
    for place in IN_WORDS:
        for file in [ROOT / place, *sorted((ROOT / place).rglob("*"))]:
            if file.name == "Dockerfile" or file.suffix in (".md", ".py", ".yaml", ".ipynb"):
                text = file.read_text(encoding="utf-8")
                assert not re.search(r"pip install [^\n]*msdet\b", text), file
                assert not re.search(r"pip install (?:-\S+ \S+ )*\.\[", text), f"{file}: quote it"
                shown |= set(re.findall(r"'\.\[([\w,]+)\]'", text))
    assert {name for names in shown for name in names.split(",")} <= known.keys()
    assert "serve" in shown


def test_the_image_is_given_what_the_package_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.partition("/")[0] for path in wheel["only-include"]}
    needed |= {"pyproject.toml", "constraints.txt", project["project"]["readme"], "LICENSES"}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == needed


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_for_issues_has_what_github_asks_for(form: Path) -> None:
    read = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= read.keys()
    fields = [field for field in read["body"] if field["type"] != "markdown"]
    assert fields
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
