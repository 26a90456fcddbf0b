# SPDX-License-Identifier: Apache-2.0
"""The page, the JSON and the raw rows of a study say what its runs did."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.study.config import StudyConfig, load_study
from msdet.study.grid import Run, plan
from msdet.study.page import MadeWith, write_report
from msdet.study.results import QUANTITIES, Results, RunResult, SceneTable

SCENES = 60
MADE_WITH = MadeWith("python scripts/study.py debug", {"msdet": "1"}, "0" * 40, "a machine", 2, 1)


def scene_table(count: int, rng: np.random.Generator) -> SceneTable:
    return SceneTable(
        ids=tuple(f"scene-{i}" for i in range(count)),
        azimuth=rng.uniform(0, 360, (count, 2)),
        distance=rng.uniform(0.7, 2.5, (count, 2)),
        unprocessed=rng.uniform(-8, 0, (count, 2)),
        t60=rng.uniform(0.15, 0.35, count),
        snr=rng.uniform(20, 30, count),
    )


def run_result(run: Run, gain: float, tasks: tuple[str, ...]) -> RunResult:
    """Improvements of ``gain`` dB, the same noise for every method, half as much on the seam."""
    rng = np.random.default_rng(run.seed)
    values: Any = {}
    for name, count in (("main", SCENES), ("seam", 40), ("opposite", 20)):
        noise, errors = rng.standard_normal((count, 2)), rng.exponential(5.0, (count, 2))
        found = {quantity: np.full((count, 2), np.nan) for quantity in QUANTITIES}
        found["order_correct"] = np.full((count, 1), np.nan)
        if "separation" in tasks:
            found["si_sdr_improvement"] = gain + noise
            if name == "seam":
                found["si_sdr_improvement"][0::2] = found["si_sdr_improvement"][1::2] - 0.5 * gain
        if "direction" in tasks:
            found["azimuth_error_best_matched"] = errors
        if len(tasks) == 2:
            found["azimuth_error"], found["wrong_slot"] = errors, (errors > 20).astype(float)
        values[name] = found
    history = [
        {
            "epoch": epoch,
            "examples": 16 * (epoch + 1),
            "train_seconds": 10.0 * (epoch + 1),
            "valid_si_sdr_improvement_db": gain * epoch / 3,
            "valid_azimuth_error_median_deg": 20.0 - epoch if len(tasks) == 2 else None,
        }
        | (
            {
                "train_gradient_cosine_separation_direction": 0.4 - 0.2 * epoch,
                "train_gradient_norm_separation": 1.0,
                "train_gradient_norm_direction": 2.0,
            }
            if len(tasks) == 2
            else {}
        )
        for epoch in range(4)
    ]
    trained = {"train_seconds": 40.0, "examples": 64, "examples_per_second": 1.6}
    return RunResult(
        run, tasks, tuple(history), trained, f"{run.seed}" * 40, {"msdet": "1"}, 3, values, 0
    )


def results_in(folder: Path) -> tuple[StudyConfig, Results]:
    """LBT, MSDET a dB better, and directions alone, of which a seed is missing."""
    config = load_study(
        "debug",
        [
            f"output={folder / 'output'}",
            f"results={folder / 'results' / 'page'}",
            "methods.doa={label: DoA alone, overrides: [criterion.weight=0]}",
            "comparisons=[{method: msdet, reference: lbt, breakdown: true},"
            "{method: msdet, reference: doa}]",
            "seeds=[0,1]",
        ],
    )
    parts: dict[str, tuple[float, tuple[str, ...]]] = {
        "lbt": (4.0, ("separation",)),
        "msdet": (5.0, ("separation", "direction")),
        "doa": (0.0, ("direction",)),
    }
    runs = [run_result(run, *parts[run.method]) for run in plan(config)]
    rng = np.random.default_rng(0)
    tables: Any = {
        name: scene_table(count, rng)
        for name, count in (("main", SCENES), ("seam", 40), ("opposite", 20))
    }
    missing = {"doa-seed1": "not begun"}
    return config, Results(tuple(runs[:-1]), tables, {}, missing, False)


@dataclass(frozen=True)
class Report:
    """What was written, and of what."""

    study: StudyConfig
    results: Results
    page: str
    record: dict[str, Any]

    @property
    def folder(self) -> Path:
        return Path(self.study.results)


def write(study: StudyConfig, results: Results) -> Report:
    page = write_report(study, results, MADE_WITH)
    assert page == Path(f"{study.results}.md")
    record = json.loads(Path(f"{study.results}.json").read_text())
    return Report(study, results, page.read_text(), record)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write(*results_in(tmp_path_factory.mktemp("study")))


def test_the_json_holds_runs_and_comparisons(report: Report) -> None:
    record = report.record
    assert len(record["runs"]) == 5
    first = record["runs"][0]
    assert (first["method"], first["criterion"], first["seed"]) == ("lbt", "azimuth", 0)
    assert first["tasks"] == ["separation"]
    assert first["si_sdr_improvement_db"] == pytest.approx(4.0, abs=0.3)
    assert first["azimuth_error_median_deg"] is None
    assert first["wrong_slot_rate"] is None
    assert (first["train_seconds"], first["examples"]) == (40.0, 64)
    assert first["git_commit"] == "0" * 40
    assert record["missing"] == {"doa-seed1": "not begun"}
    for one in record["comparisons"]:
        assert set(one) == {
            "method",
            "reference",
            "metric",
            "scenes_set",
            "difference",
            "low",
            "high",
            "seeds",
            "scenes",
        }


def test_differences_are_found(report: Report) -> None:
    record = report.record

    def compared(reference: str, scenes_set: str) -> dict[str, Any]:
        return {
            one["metric"]: one
            for one in record["comparisons"]
            if (one["reference"], one["scenes_set"]) == (reference, scenes_set)
        }

    gain = compared("lbt", "main")["si_sdr_improvement_db"]
    assert gain["difference"] == pytest.approx(1.0)
    assert (gain["low"], gain["high"]) == pytest.approx((1.0, 1.0))
    assert (gain["seeds"], gain["scenes"]) == (2, SCENES)
    assert compared("lbt", "on the seam")["si_sdr_improvement_db"]["difference"] == pytest.approx(
        0.5
    )
    # Of direction alone there is one seed, and no claim that could be compared.
    angles = compared("doa", "main")
    assert set(angles) == {
        "azimuth_error_median_deg_best_matched",
        "azimuth_error_mean_deg_best_matched",
        "azimuth_within_10deg_best_matched",
    }
    assert angles["azimuth_error_mean_deg_best_matched"]["seeds"] == 1


def test_the_seam_is_judged_on_pairs(report: Report) -> None:
    page, record = report.page, report.record
    on_pairs = {(one["method"], one["metric"]): one for one in record["seam"] if one["pairs"]}
    effect = on_pairs["lbt", "si_sdr_improvement_db"]
    assert effect["difference"] == pytest.approx(-2.0)
    assert (effect["verdict"], effect["scenes"]) == ("worse", 20)
    assert "worse on the seam" in page
    assert ("doa", "azimuth_error_mean_deg_best_matched") in on_pairs


def test_the_page_says_what_a_reader_must_know(report: Report) -> None:
    page = report.page
    assert "1 of 6 runs are missing" in page
    assert "| `doa-seed1` | not begun |" in page
    assert "MSDET against DoA alone" in page
    assert "other heads" in page  # DoA alone keeps guided ones here
    assert "1 of 2 seeds" in page
    assert "**+1.00 [+1.00, +1.00]**" in page
    assert "`000000000000`, `111111111111`" in page, "commits of the runs"
    assert MADE_WITH.command in page
    pictures = {line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")}
    assert len(pictures) == 6
    for picture in pictures:
        file = report.folder.parent / picture
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_prose_beside_the_page_is_kept_and_all_else_comes_out_the_same(
    report: Report, tmp_path: Path
) -> None:
    study, results = results_in(tmp_path)
    notes = Path(f"{study.results}-notes.md")
    notes.parent.mkdir(parents=True)
    notes.write_text("## What it says\n\nNothing | at all.\n")
    again = write(study, results)
    assert again.page.replace("## What it says\n\nNothing | at all.\n\n", "") == report.page
    assert len(again.page) > len(report.page)
    assert notes.read_text() == "## What it says\n\nNothing | at all.\n"
    assert again.record == report.record
    for name in ("rows.csv.gz", "scenes.csv.gz"):
        assert (again.folder / name).read_bytes() == (report.folder / name).read_bytes()


def test_raw_rows_hold_what_the_numbers_are_made_of(report: Report) -> None:
    with gzip.open(report.folder / "rows.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2 * (SCENES + 40 + 20)
    own = [
        float(row["si_sdr_improvement_db"])
        for row in rows
        if (row["method"], row["seed"], row["scenes_set"]) == ("msdet", "1", "main")
    ]
    run = next(r for r in report.record["runs"] if (r["method"], r["seed"]) == ("msdet", 1))
    assert np.mean(own) == pytest.approx(run["si_sdr_improvement_db"], abs=1e-3)
    assert all(row["azimuth_error_deg"] == "" for row in rows if row["method"] == "lbt")
    with gzip.open(report.folder / "scenes.csv.gz", "rt") as file:
        assert len(list(csv.DictReader(file))) == 2 * (SCENES + 40 + 20)


@pytest.mark.slow
@pytest.mark.parametrize("linear", [False, True])
def test_without_pairs_and_opposite_speakers(tmp_path: Path, linear: bool) -> None:
    study, full = results_in(tmp_path)
    runs = tuple(replace(run, values={"main": run.values["main"]}) for run in full.runs[:2])
    found = write(
        study,
        Results(
            runs,
            {"main": full.scenes["main"]},
            {"seam": "no rotation maps the array", "opposite": "none were asked for"},
            {},
            linear,
        ),
    )
    assert "Left out: none were asked for." in found.page
    assert ("No pairs: no rotation maps the array." in found.page) is not linear
    assert ("## The seam" in found.page) is not linear
    assert not any(one["pairs"] for one in found.record["seam"])
    assert bool(found.record["seam"]) is not linear
