# SPDX-License-Identifier: Apache-2.0
"""A sweep's settings: Hydra's grammar, names that reach the runs, one folder a run, docs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.cli import main
from msdet.commands.multirun import run as multirun
from msdet.composing import compose, in_quotes, quoted
from msdet.errors import InputError
from msdet.resources import configs_dir
from msdet.sweeps.settings import (
    combinations,
    read_settings,
    run_name,
    short_keys,
    swept_keys,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(*overrides: str, **params: str) -> list[dict[str, str]]:
    return combinations(read_settings(params, overrides))


# --- grids --------------------------------------------------------------------------------


def test_a_grid_is_every_combination_and_its_last_key_changes_fastest() -> None:
    found = rows("criterion.assignment=azimuth,cyclic", "seed=range(3)", "trainer.epochs=2")
    pairs = [(row["criterion.assignment"], row["seed"]) for row in found]
    assert pairs == [(a, s) for a in ("azimuth", "cyclic") for s in "012"]
    assert {row["trainer.epochs"] for row in found} == {"2"}


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("seed=choice(4,7)", ["4", "7"]),
        ("seed=range(1,6,2)", ["1", "3", "5"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("seed=1,1,2", ["1", "2"]),
        ("trainer.ema_decay=null,0.9", ["null", "0.9"]),
        ("scene.t60=[0.1,0.2],[0.3,0.4]", ["[0.1,0.2]", "[0.3,0.4]"]),
        ("init_from='a b','c,d'", ["'a b'", "'c,d'"]),
    ],
)
def test_values_are_those_of_hydra_s_grammar(override: str, values: list[str]) -> None:
    key = override.partition("=")[0]
    assert [row[key] for row in rows(override)] == values


def test_a_glob_takes_the_files_of_a_group() -> None:
    found = [row["array"] for row in rows("array=glob(circle*)")]
    assert found == sorted(p.stem for p in (configs_dir() / "array").glob("circle*.yaml"))
    assert len(found) == 2


def test_the_command_s_values_replace_those_of_the_sweep_s_file() -> None:
    assert [row["seed"] for row in rows("seed=5,6", seed="range(3)")] == ["5", "6"]
    assert len(rows("criterion.weight=0.5,0.9", seed="range(3)")) == 6


TEXTS = st.text("ab1.-_/ =,()[]{}'\"\\:&%é", min_size=1, max_size=10).map(lambda t: f"x{t}x")


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS.map(lambda t: f"y{t}"))
def test_any_name_reaches_its_run(first: str, second: str) -> None:
    """In quotes, beside others: each run's setting is the name, also through a command line."""
    found = rows(f"init_from={in_quotes(first)},{in_quotes(second)}", "seed=1")
    texts = [quoted(f"init_from={row['init_from']}") for row in found]
    assert [OverridesParser.create().parse_override(t).value() for t in texts] == [first, second]


def test_blanks_and_backslashes_need_no_quotes() -> None:
    found = rows(r"init_from=a b.ckpt,c\,d.ckpt")
    values = [compose("train", [f"init_from={row['init_from']}"])["init_from"] for row in found]
    assert values == ["a b.ckpt", "c,d.ckpt"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=3"], "seed=0,1,2"),
        (["seed=interval(0,3)"], r"interval\(0,3\).*sweep=optuna"),
        (["array=glob(square*)"], r"square\*.*matches nothing"),
        (["init_from=a=b.ckpt,c.ckpt"], "a=b.ckpt.*quotes"),
        (["quickstart"], "KEY=VALUE"),
    ],
)
def test_what_is_no_grid_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        swept_keys(found := read_settings({}, overrides)) and combinations(found)


# --- folders ------------------------------------------------------------------------------

VALUES = st.dictionaries(
    st.sampled_from(("seed", "criterion.weight", "scene.t60", "corpus.seed", "init_from")),
    st.text("ab1.-/ ,[]'\\é", min_size=1, max_size=8),
    min_size=1,
)


@settings(max_examples=200)
@given(VALUES, VALUES)
def test_a_run_s_folder_is_its_own(one: dict[str, str], other: dict[str, str]) -> None:
    names = {run_name(one).casefold(), run_name(other).casefold()}
    assert all(re.fullmatch(r"[\w.+=-]{1,110}", name) for name in names)
    if one.keys() == other.keys() and {k: v.casefold() for k, v in one.items()} != {
        k: v.casefold() for k, v in other.items()
    }:
        assert len(names) == 2


def test_keys_are_shown_short_where_that_is_clear() -> None:
    assert short_keys(["criterion.weight", "seed"]) == ["weight", "seed"]
    assert short_keys(["corpus.seed", "seed"]) == ["corpus.seed", "seed"]


def test_runs_find_configs_in_a_folder_of_the_user_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    mine = tmp_path / "experiment" / "mine.yaml"
    mine.write_text("# @package _global_\ndefaults: [debug]\nname: mine\n")
    where = ["--config-dir", str(tmp_path)]
    assert main(["train", "-m", *where, "experiment=mine", "seed=0,1", "--config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["output"] == "outputs/sweeps/mine"
    for overrides in printed["runs"].values():
        assert compose("train", overrides)["name"] == "mine"
    assert main(["study", "debug", *where, "base=[experiment=mine]", "--dry-run"]) == 0
    assert "lbt-seed0: waiting" in capsys.readouterr().out


# --- documentation ------------------------------------------------------------------------


def shown_sweeps() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README + CONFIGS, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if "--multirun" in line]


@pytest.mark.parametrize("arguments", shown_sweeps(), ids=" ".join)
def test_sweeps_of_the_documentation_can_be_typed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command, *overrides = [a for a in arguments if a != "--multirun"]
    assert command == "train"
    multirun(overrides, print_config=True)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed.keys() & {"runs", "search"}


def test_sweeps_are_documented() -> None:
    assert len(shown_sweeps()) >= 3
    sweep: dict[str, Any] = compose("sweep", ["sweep=optuna"])["sweep"]
    for key, value in sweep.items():
        row = re.search(rf"^\| `sweep\.{key}` \| (.*?) \|", CONFIGS, re.MULTILINE)
        assert row is not None, key
        if isinstance(value, int | str):
            assert yaml.safe_load(row[1].replace("`", "")) == value
    for key, values in sweep["params"].items():
        assert f"`{key}`" in CONFIGS
        assert f"`{values}`" in CONFIGS
