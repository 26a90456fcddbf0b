# SPDX-License-Identifier: Apache-2.0
"""The search: what it draws from, what it refuses, and that stopping it changes nothing.

Trainings are stood in for by a function of their settings; tests/integration/ trains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from msdet.checkpoints import Description, save_portable
from msdet.commands.multirun import run as multirun
from msdet.errors import InputError
from msdet.models.msdet import MSDET
from msdet.sweeps.run import Run
from msdet.sweeps.settings import read_settings
from msdet.sweeps.space import distribution, ends
from msdet.training.run_folder import prepare_folder

SPACE = (
    "trainer.learning_rate=tag(log,interval(1e-4,1e-1))",
    "trainer.weight_decay=0.01",
    "criterion.weight=0.97",
    "criterion.assignment=choice(azimuth,cyclic)",
)


def of(override: str) -> Any:
    return distribution(read_settings({}, [override])[0])


# --- what is drawn ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("x=interval(0.5,2)", FloatDistribution(0.5, 2.0)),
        ("x=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("x=int(interval(2,9))", IntDistribution(2, 9)),
        ("x=range(1,7,2)", IntDistribution(1, 5, step=2)),
        ("x=range(5,0,-1)", IntDistribution(1, 5)),
        ("x=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("x=choice(a,b)", CategoricalDistribution(["a", "b"])),
        ("x=[1,2],[3]", CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_hydra_s_sweeps_are_optuna_s_distributions(override: str, wanted: Any) -> None:
    assert of(override) == wanted


def test_all_choices_and_both_ends_are_checked_beforehand() -> None:
    assert ends(of("x=choice(a,b,c)")) == ["a", "b", "c"]
    low, between, high = ends(of("x=tag(log,interval(1e-5,0.1))"))
    assert (low, high) == ("1e-05", "0.1")
    assert 1e-5 < float(between) < 0.1
    assert ends(of("x=range(1,7,2)")) == ["1", "5"]


@pytest.mark.parametrize("override", ["x=interval(2,1)", "x=tag(log,interval(0,1))"])
def test_an_interval_that_cannot_be_is_named(override: str) -> None:
    with pytest.raises(InputError, match="x="):
        of(override)


# --- searching ----------------------------------------------------------------------------


class Trainings:
    """Stands in for trainings: SI-SDR is best at a learning rate of .003 with `cyclic`."""

    def __init__(self, model: MSDET, describe: Callable[..., Description]) -> None:
        self.model, self.describe = model, describe
        self.trained: list[tuple[str, float, Any]] = []
        self.stop_at: int | None = None
        self.fail: Callable[[Run], bool] = lambda run: False

    def __call__(self, runs: Iterable[Run], logs: Path, ended: Any, *, epochs: int) -> None:
        for run in runs:
            if run.state != "finished" and len(self.trained) == self.stop_at:
                self.stop_at = None
                ended(run, None)
                raise KeyboardInterrupt
            ended(run, None if run.state == "finished" else self.train(run))

    def train(self, run: Run) -> str | None:
        rate, assignment = run.config.trainer.learning_rate, run.config.criterion.assignment
        self.trained.append((run.name, rate, assignment))
        if self.fail(run):
            return "the loss is nan"
        assert run.config.evaluate is False
        value = (assignment == "cyclic") - abs(math.log10(rate / 0.003))
        prepare_folder(run.folder, run.config)
        metrics = {"si_sdr_improvement_db": value}
        description = self.describe(self.model, metrics=metrics)
        save_portable(run.checkpoint, self.model, description)
        content = json.dumps({"train_seconds": 1.0, "valid": metrics})
        (run.folder / "summary.json").write_text(content)
        return None


@pytest.fixture
def trainings(
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Trainings:
    made = Trainings(make_model(), describe)
    monkeypatch.setattr("msdet.sweeps.search.train_all", made)
    monkeypatch.chdir(tmp_path)
    return made


def search(*overrides: str, folder: str = "search", trials: int = 8) -> dict[str, Any]:
    given = [*SPACE, *overrides]
    multirun(["sweep=optuna", f"sweep.trials={trials}", f"output={folder}", *given])
    return content(folder)


def content(folder: str = "search") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "sweep.json").read_text())
    return found


def test_the_best_run_is_that_of_the_best_valid_metric(
    trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = search()
    values = {run["run"]: run["valid"]["si_sdr_improvement_db"] for run in found["runs"]}
    assert found["best"] == max(values, key=lambda name: values[name])
    assert len(values) == 8
    rates = [float(run["values"]["trainer.learning_rate"]) for run in found["runs"]]
    assert rates == [rate for _, rate, _ in trainings.trained]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert len(set(rates)) == 8
    assert {run["values"]["criterion.assignment"] for run in found["runs"]} <= {"azimuth", "cyclic"}
    assert f"checkpoint=search/{found['best']}/model.ckpt" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_search_goes_on_to_the_same_trials(trainings: Trainings) -> None:
    """Also where it must learn from earlier trials, after its first ten random ones."""
    whole = search(folder="whole", trials=13)
    wanted, trainings.trained = trainings.trained, []
    trainings.stop_at = 11
    with pytest.raises(KeyboardInterrupt):
        search(trials=13)
    assert [run["state"] for run in content()["runs"]] == ["finished"] * 11 + ["waiting"]
    found = search(trials=13)
    assert trainings.trained == wanted
    assert found["best"] == whole["best"]
    search(trials=13)
    assert len(trainings.trained) == 13, "a finished search trains nothing"


@pytest.mark.slow
def test_a_finished_search_can_be_made_longer(trainings: Trainings) -> None:
    search(folder="whole", trials=6)
    wanted, trainings.trained = trainings.trained, []
    search(trials=3)
    assert len(search(trials=6)["runs"]) == 6
    assert trainings.trained == wanted


def test_failed_trials_are_counted_and_others_take_their_place(trainings: Trainings) -> None:
    trainings.fail = lambda run: run.name in ("trial-0001", "trial-0002")
    with pytest.raises(InputError, match=r"2 failed.*trial-0001: the loss is nan"):
        search(trials=5)
    runs = content()["runs"]
    states = [run["state"] for run in runs]
    assert states == ["finished", "failed", "failed", "finished", "finished"]
    found = search(trials=5)
    assert [run["state"] for run in found["runs"]] == [*states, "finished", "finished"]
    assert found["runs"][1]["error"] == "the loss is nan"


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["evaluate=true"], "evaluate=true.*test scenes"),
        (["scene.snr_db=[20,30],[5,10]"], "scene.*valid scenes"),
        (["data.eval_seconds=interval(1.0,4.0)"], r"data\.eval_seconds.*valid scenes"),
        (["criterion.weight=interval(0.0,1.0)"], "judged by"),
        (["criterion.weight=interval(0.5,1.5)"], "criterion.weight"),
        (["trainer.warmup_steps=interval(1,5)"], "trainer.warmup_steps.*integer"),
        (["criterion.wait=interval(0.5,1.0)"], "criterion.wait"),
        (["sweep.trials=0"], "trials"),
        (["sweep.trails=3"], "trails"),
        (["output=a,b"], "output"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    overrides: list[str], says: str, trainings: Trainings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        search(*overrides)
    assert trainings.trained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer.epochs=7"], "trainer.epochs was 40, is 7"),
        (["trainer.learning_rate=tag(log,interval(1e-3,1e-1))"], "space.trainer.learning_rate was"),
        (["trainer.weight_decay=interval(0.01,0.1)"], "space.trainer.weight_decay was None"),
    ],
)
def test_another_search_is_not_mixed_into_a_folder(
    overrides: list[str], says: str, trainings: Trainings
) -> None:
    search(trials=2)
    before = content()
    with pytest.raises(InputError, match=says):
        search(*overrides, trials=3)
    assert len(trainings.trained) == 2
    assert content() == before


def test_a_grid_is_not_mixed_into_a_search(trainings: Trainings) -> None:
    search(trials=1)
    with pytest.raises(InputError, match="holds a search, not a grid"):
        multirun(["seed=0,1", "output=search"])
    assert len(trainings.trained) == 1


def test_a_damaged_study_is_named(trainings: Trainings) -> None:
    Path("search").mkdir()
    Path("search", "study.db").write_bytes(b"mine" * 1000)
    with pytest.raises(InputError, match=r"study\.db.*another output"):
        search()


def test_any_folder_can_hold_a_search(trainings: Trainings) -> None:
    folder = "a=b (1) 20%25 #?, ü"
    multirun(["sweep=optuna", "sweep.trials=2", f"output='{folder}'", *SPACE])
    assert sorted(path.name for path in Path(folder).glob("*.db")) == ["study.db"]
    assert len(content(folder)["runs"]) == 2
    assert [path.name for path in Path().iterdir()] == [folder]
