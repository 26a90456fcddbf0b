# SPDX-License-Identifier: Apache-2.0
"""A metric of the user's own: as the documentation shows it, from a folder outside the package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics import MEASURES, score
from msdet.metrics.choose import choose_metrics
from msdet.metrics.measures import measures_of
from msdet.parts import OwnPart
from scripts.metrics_table import PAGE, with_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
WRONG = """
import numpy as np

class Named:
    name = "sdr"
    def __call__(self, signal, truth, speaker): return 0.0

class Improved(Named):
    name = "si_sdr_improvement"

class Nameless:
    def __call__(self, signal, truth, speaker): return 0.0

class Text(Named):
    name = "text"
    def __call__(self, signal, truth, speaker): return "loud"

class Shaped(Named):
    name = "shaped"
    def __call__(self, signal, truth, speaker): return np.abs(truth.targets).mean(axis=1)

class Pair(Named):
    name = "pair"
    def __call__(self, estimate, target): return 0.0

class Digits(Named):
    name, digits = "digits", "two"

class Opened(Named):
    name = "opened"
    def __init__(self): self.file = open(__file__)
"""


def code_of(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "envelopes.py").write_text(code_of("own-metric.md")[0])
    (tmp_path / "wrong_for_tests.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_code_of_the_page_runs(folder: Path, speech: NDArray[np.float64]) -> None:
    targets = speech[:2]
    names = {
        "targets": targets,
        "estimates": targets + 0.1 * speech[2],
        "mixture": targets.sum(axis=0),
        "sample_rate": 8000,
    }
    exec(code_of("own-metric.md")[1], names)
    found: Any = names["found"]
    for speaker in found.speakers:
        assert 0.9 < speaker.scores["envelope"] <= 1.0
        assert speaker.scores["envelope_improvement"] > 0.05


def test_estimates_are_scored_from_python_in_ten_lines(speech: NDArray[np.float64]) -> None:
    (block,) = code_of("evaluation.md")
    lines = [line for line in block.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) <= 10
    targets = speech[:2]
    mixture = targets.sum(axis=0)
    made = np.stack([targets[1], targets[0]]) + 0.1 * mixture
    scene = made, targets, mixture, [100.0, 12.0], [10.0, 100.0]
    names: dict[str, Any] = {"scenes": [scene, scene]}
    exec(block, names)
    assert [of.slot for of in names["found"].speakers] == [1, 0]
    assert [of.azimuth_error for of in names["found"].speakers] == [2.0, 0.0]
    assert names["summary"]["si_sdr_improvement_db"] > 10
    assert {"scene", "system", "speaker", "quantity", "value"} == set(names["table"].columns)


def test_the_table_of_metrics_is_that_of_the_registry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run python scripts/metrics_table.py"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Named", "there is a metric of the name 'sdr' already"),
        ("Improved", "there is a metric of the name 'si_sdr_improvement' already"),
        ("Nameless", "is no metric"),
        ("Text", r"returned str 'loud', expected one number"),
        ("Shaped", r"returned an array of shape \(2,\), expected one number"),
        ("Pair", r"cannot be called with \(signal, truth, speaker\)"),
        ("Missing", "cannot be made"),
        ("Digits", "digits='two': Input should be a valid integer"),
        ("Opened", "does not pickle, .*cannot pickle"),
    ],
)
def test_what_is_no_metric_is_one_line_with_its_key(
    folder: Path, target: str, message: str
) -> None:
    part = OwnPart.model_validate({"_target_": f"wrong_for_tests.{target}"})
    with pytest.raises(InputError, match=rf"^metrics\.1: .*{message}") as caught:
        choose_metrics(["sdr", part], 8000)
    assert "\n" not in str(caught.value)


def test_a_name_is_given_once(folder: Path) -> None:
    part = OwnPart.model_validate({"_target_": "envelopes.EnvelopeCorrelation"})
    with pytest.raises(InputError, match=r"metrics\.2: .*'envelope' already"):
        choose_metrics(["sdr", part, part], 8000)


def test_measures_of_an_own_metric_join_those_that_ship(folder: Path) -> None:
    part = OwnPart.model_validate({"_target_": "envelopes.EnvelopeCorrelation"})
    chosen, _ = choose_metrics([part], 8000)
    measures = measures_of(chosen[1:])
    assert set(measures) - set(MEASURES) == {
        "envelope",
        "envelope_unprocessed",
        "envelope_improvement",
    }
    assert measures["envelope"].heading == "envelope correlation"


def test_a_scorer_that_fails_is_counted(speech: NDArray[np.float64]) -> None:
    class Shy:
        name = "shy"

        def __call__(self, signal: Any, truth: Any, speaker: int) -> float:
            if len(signal) < 20_000:
                raise ValueError("too short")
            return 1.0

    found = score(speech, speech, speech.sum(axis=0), 8000, metrics=[Shy()])  # type: ignore[list-item]
    assert {(f.metric, f.reason) for f in found.failures if f.metric == "shy"} == {
        ("shy", "too short")
    }


@pytest.mark.slow
def test_the_command_tells_an_own_metric_everywhere(folder: Path) -> None:
    command = [
        "-m",
        "msdet",
        "evaluate",
        "checkpoint=planar-pairs",
        "scenes=bundled-easy",
        "num_scenes=2",
        "pictures=0",
        "num_workers=1",
        "systems=[model,unprocessed]",
        "output=out",
    ]
    own = "metrics=[sdr,{_target_: envelopes.EnvelopeCorrelation, window_ms: 30}]"
    root = str(DOCS.parent)
    environment = {
        "PYTHONPATH": f"{folder}:{root}",
        "PATH": "/usr/bin:/bin",
        "HOME": str(Path.home()),
    }
    run = [sys.executable, *command, own]
    done = subprocess.run(run, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert "envelope correlation" in done.stdout
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert 0.5 < summary["envelope"] <= 1.0
    assert "envelope_improvement" in summary["intervals"]
    assert "envelope" in {entry["measure"] for entry in summary["comparisons"]}
    assert "envelope correlation" in (folder / "out" / "table.md").read_text()
    assert "Envelope correlation" in (folder / "out" / "report.html").read_text()
    assert "envelope_unprocessed" in (folder / "out" / "rows.csv").read_text().splitlines()[0]
    run[-1] = own.replace("30", "40")
    done = subprocess.run(run, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 2
    assert "own_metrics" in done.stderr
