# SPDX-License-Identifier: Apache-2.0
"""``msdet study``: killed, gone on with, one run failing, and complete in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from msdet.cli import main
from msdet.output_folder import sole_user

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.usefixtures("same_home")
def test_a_study_goes_on_from_wherever_it_was(
    start: Callable[..., Any],
    debug: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, results = tmp_path / "output", tmp_path / "results" / "page"
    runs = output / "runs"
    base = f"base=[{','.join(debug)}]"
    command = ["study", "debug", f"output={output}", f"results={results}", base]
    names = ["lbt-seed0", "msdet-seed0", "lbt-seed1", "msdet-seed1"]

    killed = start(*command)
    killed.wait_until(lambda: (runs / "lbt-seed0" / "last.ckpt").exists())
    children = psutil.Process(killed.process.pid).children(recursive=True)
    killed.kill()
    assert psutil.wait_procs(children, timeout=30)[1] == [], "trainings that outlive the study"
    assert main([*command, "--dry-run"]) == 0
    assert "msdet-seed1: waiting" in capsys.readouterr().out

    with sole_user(runs / "msdet-seed1"):  # this run cannot be trained
        assert main(command) == 2
    assert "1 failed, the first is msdet-seed1: output=" in capsys.readouterr().err
    record = json.loads(Path(f"{results}.json").read_text())
    assert [f"{run['method']}-seed{run['seed']}" for run in record["runs"]] == names[:3]
    assert "is writing there" in record["missing"]["msdet-seed1"]
    assert "1 of 4 runs are missing" in Path(f"{results}.md").read_text()

    done = {path: path.stat().st_mtime_ns for path in runs.glob("*/model.ckpt")}
    rows = {path: path.stat().st_mtime_ns for path in output.glob("evaluation/*/*/rows.jsonl")}
    assert (len(done), len(rows)) == (3, 9)
    assert main([*command, "jobs=1"]) == 0
    for path, changed in {**done, **rows}.items():
        assert path.stat().st_mtime_ns == changed, "done again"
    record = json.loads(Path(f"{results}.json").read_text())
    assert [f"{run['method']}-seed{run['seed']}" for run in record["runs"]] == names
    assert record["missing"] == {}
    assert all(run["examples"] == 64 for run in record["runs"])
    compared = {
        one["scenes_set"]: one
        for one in record["comparisons"]
        if one["metric"] == "si_sdr_improvement_db"
    }
    for scenes_set, scenes in (("main", 12), ("on the seam", 4), ("opposite", 4)):
        one = compared[scenes_set]
        assert (one["seeds"], one["scenes"]) == (2, scenes)
        assert one["low"] <= one["difference"] <= one["high"]

    capsys.readouterr()
    assert main([*command, "scenes.main=13"]) == 2
    assert "holds other scenes" in capsys.readouterr().err
