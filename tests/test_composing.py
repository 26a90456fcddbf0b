# SPDX-License-Identifier: Apache-2.0
"""Configs of a user's own: files and folders of his, and classes in place of our parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from msdet.cli import main
from msdet.composing import compose, search_path
from msdet.errors import InputError
from msdet.training.config import TrainConfig

MINE = """\
# @package _global_
defaults: [debug, _self_]
name: mine
model:
  encoder: {_target_: mine.Narrow, width: 8}
"""
NARROW = {"_target_": "mine.Narrow", "width": 8}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, in which he works: a config by its path, and a folder of configs."""
    monkeypatch.chdir(tmp_path)
    files = {
        "mine.yaml": MINE,
        "hall.yaml": "defaults: [default, _self_]\nt60: [0.6, 0.8]\n",
        "conf/experiment/theirs.yaml": MINE.replace("name: mine", "name: theirs"),
        "conf/experiment/quickstart.yaml": "# @package _global_\nname: slowstart\n",
        "conf/model/encoder/narrow.yaml": "_target_: mine.Narrow\nwidth: 8\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def encoder(*overrides: str) -> Any:
    return compose("train", list(overrides))["model"]["encoder"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=./mine.yaml"],
        ["experiment=debug", "model.encoder={_target_: mine.Narrow, width: 8}"],
        ["experiment=./mine.yaml", "model.encoder={_target_: mine.Narrow, width: 8}"],
        ["~model.encoder", "+model.encoder={_target_: mine.Narrow, width: 8}"],
        ["++model.encoder._target_=mine.Narrow", "++model.encoder.width=8"],
        ["model/encoder=conf/model/encoder/narrow.yaml"],
        ["hydra.searchpath=[conf]", "model/encoder=narrow"],
        ["hydra.searchpath=[conf]", "model/encoder=narrow", "experiment=debug"],
        ["hydra.searchpath=[conf]", "experiment=theirs"],
    ],
    ids=" ".join,
)
def test_a_class_takes_the_place_of_the_part_that_was_there(
    folder: Path, overrides: list[str]
) -> None:
    assert encoder(*overrides) == NARROW


def test_arguments_of_a_class_are_set_and_added(folder: Path) -> None:
    given = ["model.encoder.width=3", "+model.encoder.inner={_target_: mine.Inner, depth: 1}"]
    inner = {"_target_": "mine.Inner", "depth": 1}
    assert encoder("experiment=./mine.yaml", *given) == {**NARROW, "width": 3, "inner": inner}


def test_a_class_takes_the_place_of_an_option() -> None:
    clips = {"_target_": "mine.Clips", "folder": "speech"}
    given = ["corpus={_target_: mine.Clips, folder: other}", "corpus.folder=speech"]
    for experiment in ([], ["experiment=quickstart"], ["corpus=folder", "corpus.path=x"]):
        assert compose("train", [*experiment, *given])["corpus"] == clips


def test_an_experiment_by_its_path_is_one_of_ours_with_changes(folder: Path) -> None:
    mine, debug = (compose("train", [f"experiment={e}"]) for e in ("./mine.yaml", "debug"))
    debug["model"]["encoder"] = NARROW
    assert mine == debug | {"name": "mine", "output": "outputs/mine"}


def test_a_file_is_an_option_of_any_group_in_any_command(folder: Path) -> None:
    for command, needed in (("train", []), ("bank", ["output=x"]), ("simulate", ["output=x"])):
        scene = compose(command, [*needed, "scene=hall.yaml"])["scene"]
        wanted = TrainConfig().scene.model_copy(update={"t60": (0.6, 0.8)})
        assert scene == wanted.model_dump(mode="json")


def test_configs_of_the_users_folder_come_before_ours(folder: Path) -> None:
    ours, theirs = [], [search_path("conf")]
    names = [compose("train", [*o, "experiment=quickstart"])["name"] for o in (ours, theirs, ours)]
    assert names == ["quickstart", "slowstart", "quickstart"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["experiment=./gone.yaml"], "experiment=./gone.yaml: cannot be read"),
        (["--config-dir", "gone"], "--config-dir gone: is no folder"),
        (["--config-dir", "conf", "experiment=their"], "did you mean 'theirs'?"),
        (["--config-dir", "conf", "model/encoder=narow"], "there are narrow, unet; did you mean"),
        (["model.encodr={_target_: mine.Narrow}"], "model.encodr: no such key; did you mean"),
        (["experiment=./mine.yaml", "model.encoder.wdth=3"], "did you mean 'width'?"),
        (["array=tetrahedrn"], "did you mean 'tetrahedron'?"),
        (["scene=bad.yaml"], "scene=bad.yaml: cannot be read"),
        (["scene=worse.yaml"], "scene=worse.yaml: cannot be used"),
        (["scene=hall.yaml", "scene.t61=[0.1,0.2]"], "did you mean 't60'?"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_mistakes_are_one_line(
    folder: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text("t60: [0.1\n")
    (folder / "worse.yaml").write_text("defaults: [nowhere]\n")
    assert main(["train", *arguments, "--config"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_hydras_other_settings_are_refused() -> None:
    with pytest.raises(InputError, match="no effect"):
        compose("train", ["hydra.run.dir=x"])


def test_runs_of_a_sweep_are_composed_with_the_users_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swept = ["-m", "--config-dir", "conf", "experiment=quickstart", "seed=0,1", "--config"]
    assert main(["train", *swept]) == 0
    runs = yaml.safe_load(capsys.readouterr().out)["runs"]
    found = [compose("train", overrides) for overrides in runs.values()]
    assert [(run["name"], run["seed"]) for run in found] == [("slowstart", 0), ("slowstart", 1)]


WORKERS = """\
from multiprocessing import get_context
from torch.utils.data import DataLoader
from msdet.cli import main

if __name__ == "__main__":
    assert main(["train", "experiment=./mine.yaml", "--config"]) == 0
    import mine
    for start in ("fork", "spawn", "forkserver"):
        loader = DataLoader(mine.Three(), num_workers=1, multiprocessing_context=get_context(start))
        assert [int(one) for one in loader] == [0, 1, 2], start
"""


def test_modules_of_the_current_directory_are_found_here_and_by_workers(folder: Path) -> None:
    """As of the command ``msdet``, whose own folder is on the path in place of the current one."""
    (folder / "mine.py").write_text(
        "class Three:\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, i):\n"
        "        import mine\n"
        "        return i if i < 3 else mine.gone\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "command.py").write_text(WORKERS)
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        [sys.executable, "bin/command.py"], env=where, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
