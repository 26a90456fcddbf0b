# SPDX-License-Identifier: Apache-2.0
"""Studies that cannot be, or whose runs could not be compared, are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from msdet.cli import main
from msdet.errors import InputError
from msdet.resources import configs_dir
from msdet.sweeps.run import Run
from msdet.sweeps.study import StudyConfig, load_study, plan
from msdet.sweeps.study_scores import how_far

Studies = Callable[..., StudyConfig]
NAMES = sorted(file.stem for file in (configs_dir() / "study").glob("*.yaml"))


def keep(run: Run, *, finished: bool, without: tuple[str, ...] = (), **changes: object) -> None:
    """The folder of a run, as ``msdet train`` leaves it."""
    stored = OmegaConf.create(run.config.model_dump(mode="json"))
    for key, value in changes.items():
        OmegaConf.update(stored, key.replace("__", "."), value)
    for key in without:
        parent, _, last = key.rpartition(".")
        del OmegaConf.select(stored, parent)[last]
    run.folder.mkdir(parents=True)
    OmegaConf.save(stored, run.folder / "config.yaml")
    (run.folder / "last.ckpt").touch()
    (run.folder / "history.jsonl").write_text("{}\n{}\n")
    if finished:
        (run.folder / "summary.json").write_text("{}")


@pytest.mark.parametrize("name", NAMES)
def test_the_studies_that_come_along_can_be_run(name: str) -> None:
    study = load_study(name)
    runs = plan(study)
    assert len(runs) == len(study.methods) * len(study.seeds)
    assert len({run.name for run in runs}) == len(runs)


def test_seeds_are_complete_one_after_the_other(study: Studies) -> None:
    runs = plan(study("seeds=[3,1]"))
    assert [run.name for run in runs] == ["lbt-seed3", "msdet-seed3", "lbt-seed1", "msdet-seed1"]
    assert [run.config.seed for run in runs] == [3, 3, 1, 1]
    assert not any(run.config.evaluate for run in runs)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seeds=[0,0]"], "seeds=[0, 0]: one comes twice"),
        (["seeds=[]"], "seeds"),
        (["seeds=[-1]"], "seeds"),
        (["jobs=0"], "jobs"),
        (["job=2"], "job"),
        (["scenes.main=1"], "scenes.main"),
        (["comparisons=[{method: msdet, reference: pit}]"], "no such method; there are lbt, msdet"),
        (["comparisons=[{method: lbt, reference: lbt}]"], "compares 'lbt' with itself"),
        (["methods.a b={label: x, overrides: []}"], "methods.a b"),
        (["methods.msdet.overrides=[seed=3]"], "a study sets 'seed'"),
        (["base=[experiment=debug,output=x]"], "a study sets 'output'"),
        (["methods.msdet.overrides=[criterion.wait=3]"], "criterion.wait"),
        (["methods.msdet.overrides=[criterion.weight=3]"], "criterion.weight"),
        (
            ["methods.msdet.overrides=[criterion.assignment=cyclic,array=line4]"],
            "(in the run msdet-seed0)",
        ),
        (
            ["methods.msdet.overrides=[data.batch_size=2]"],
            "methods.msdet: data.batch_size was 4, is 2",
        ),
        (["methods.msdet.overrides=[trainer.epochs=2]"], "methods.msdet: trainer.epochs was"),
        (['methods.msdet.overrides=["scene.t60=[0.2,0.3]"]'], "methods.msdet: scene.t60"),
        (["methods.msdet.overrides=[sample_rate=16000]"], "methods.msdet: sample_rate"),
        (["methods.msdet.overrides=[array=circle6]"], "methods.msdet: array.num_mics"),
        (
            ["methods.msdet.overrides=[criterion.weight=1,model.heads.guidance=none]"],
            "methods.msdet: is the same as methods.lbt",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_named_before_any_work(
    study: Studies, tmp_path: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan(study(*overrides))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_what_does_not_shape_the_examples_may_differ(study: Studies) -> None:
    plan(study("methods.msdet.overrides=[data.num_workers=2,trainer.learning_rate=1e-3]"))


def test_a_study_is_found_by_name_or_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="there are assignments, debug, details, longer, losses, main"
    ):
        load_study("mian")
    path = tmp_path / "own.yaml"
    with pytest.raises(InputError, match=r"own\.yaml: cannot be read"):
        load_study(str(path))
    path.write_text("title: a\ntitle: b\n")
    with pytest.raises(InputError, match="title"):
        load_study(str(path))
    text = (configs_dir() / "study" / "debug.yaml").read_text()
    path.write_text(text.replace("  msdet:\n", "  lbt:\n"))
    with pytest.raises(InputError, match="lbt"):
        load_study(str(path))
    path.write_text(text)
    assert load_study(str(path)) == load_study("debug")


def test_the_state_of_runs_is_read_off_their_folders(study: Studies) -> None:
    first, second, third, fourth = plan(study())
    keep(first, finished=True)
    keep(second, finished=False)
    # As an older version wrote it: without keys that have a default now, or with another place.
    keep(third, finished=True, without=("trainer.gradient_interval",), output="elsewhere")
    fourth.folder.mkdir()
    assert [how_far(run) for run in plan(study())] == [
        "finished",
        "unfinished, 2 of 4 epochs",
        "finished",
        "waiting",
    ]


def test_a_folder_with_something_else_is_refused(study: Studies) -> None:
    run = plan(study())[0]
    keep(run, finished=True, criterion__weight=0.5)
    with pytest.raises(InputError, match=r"criterion\.weight was 0\.5, is 1"):
        plan(study())
    (run.folder / "config.yaml").write_text("nonsense: [")
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read") as caught:
        plan(study())
    assert "\n" not in str(caught.value)
    (run.folder / "config.yaml").unlink()
    with pytest.raises(InputError, match="lbt-seed0: is there and holds no run"):
        plan(study())


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.freeze=[nope]", r"trainer\.freeze: there is no part 'nope'"),
        ("data.labelled=/nope.jsonl", r"data\.labelled=/nope\.jsonl.*lbt-seed0"),
        ("init_from=/nope.ckpt", r"checkpoint=/nope\.ckpt: no such file.*lbt-seed0"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_the_first(
    study: Studies, override: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        plan(study(f"base=[experiment=debug,'{override}']"))


def test_results_that_cannot_be_written_are_refused_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    results = f"results={tmp_path / 'file' / 'page'}"
    assert main(["study", "debug", f"output={tmp_path / 'output'}", results]) == 2
    assert f"msdet study: {results}: Not a directory" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
