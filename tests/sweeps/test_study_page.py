# SPDX-License-Identifier: Apache-2.0
"""The page, the JSON and the raw rows of a study say what its runs did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from msdet.checkpoints import Description, save_portable
from msdet.metrics import SceneRow
from msdet.metrics.scores import SceneLabels, SceneScore, SpeakerScore
from msdet.models.msdet import MSDET
from msdet.sweeps.page import write_report
from msdet.sweeps.run import Run
from msdet.sweeps.study import StudyConfig, load_study, plan
from msdet.sweeps.study_scores import MAIN, OFF_SEAM, ON_SEAM, OPPOSITE, Results

COUNTS = {MAIN: 60, ON_SEAM: 20, OFF_SEAM: 20, OPPOSITE: 20}
MADE_WITH: dict[str, Any] = {
    "command": "msdet study debug",
    "versions": {"msdet": "1"},
    "git_commit": "0" * 40,
    "machine": {"name": "a machine", "jobs": 2, "threads": 1},
}
GAINS = {"lbt": 4.0, "msdet": 5.0, "doa": 0.0}


def score(run: Run, scenes_set: str, rng: np.random.Generator, azimuths: list[float]) -> SceneScore:
    """Improvements of the method's gain, the same noise for every method, half on the seam."""
    separates, finds = ("separation" in run.tasks), ("direction" in run.tasks)
    gain = GAINS[run.values["method"]] * (0.5 if scenes_set == ON_SEAM else 1.0)
    noise, errors = rng.standard_normal(2), rng.exponential(5.0, 2)
    both = separates and finds
    speakers = tuple(
        SpeakerScore(
            speaker=j,
            slot=j if separates else None,
            silent=False,
            scores={"si_sdr_improvement": gain + noise[j], "si_sdr_unprocessed": -noise[j]}
            if separates
            else {},
            azimuth=azimuths[j],
            azimuth_estimate=None,
            azimuth_error=errors[j] if both else None,
            azimuth_error_best_matched=errors[j] if finds else None,
        )
        for j in range(2)
    )
    return SceneScore(
        speakers=speakers,
        speaker_of_slot=(0, 1) if separates else (None, None),
        speaker_of_slot_by_azimuth=(0, 1) if finds else None,
        wrong_slot=tuple(bool(error > 20) if both else None for error in errors),
        si_sdr_margin_db=None,
        azimuth_margin_deg=None,
        ambiguous=None,
        order_correct=None,
        attenuation_db=(),
        failures=(),
    )


def rows(runs: list[Run], scenes_set: str) -> Iterator[SceneRow]:
    rng = np.random.default_rng(COUNTS[scenes_set])
    for i in range(COUNTS[scenes_set]):
        azimuths = rng.uniform(0, 360, 2).tolist()
        distance, sir = (
            tuple(rng.uniform(*ends, 2).tolist()) for ends in ((0.7, 2.5), (-5.0, 5.0))
        )
        scene = {"t60": rng.uniform(0.15, 0.35), "snr_db": 25.0}
        name = scenes_set.removeprefix("on ").removeprefix("off ")  # pairs have the same noise
        systems = {
            run.name: score(
                run,
                scenes_set,
                np.random.default_rng([run.config.seed, i, len(name)]),
                azimuths,
            )
            for run in runs
        }
        yield SceneRow(
            index=i,
            id=f"{scenes_set}-{i}",
            labels=SceneLabels(scene=scene, speaker={"distance": distance, "sir_db": sir}),
            systems=systems,
        )


def keep(run: Run, model: MSDET, description: Description) -> None:
    """What a finished run leaves that the page tells of."""
    gain, both = GAINS[run.values["method"]], len(run.tasks) == 2
    history = [
        {
            "epoch": epoch,
            "examples": 16 * (epoch + 1),
            "train_seconds": 10.0 * (epoch + 1),
            "valid_si_sdr_improvement_db": gain * epoch / 3,
            "valid_azimuth_error_median_deg": 20.0 - epoch if both else None,
        }
        | (
            {
                "train_gradient_cosine_separation_direction": 0.4 - 0.2 * epoch,
                "train_gradient_norm_separation": 1.0,
                "train_gradient_norm_direction": 2.0,
            }
            if both
            else {}
        )
        for epoch in range(4)
    ]
    run.folder.mkdir(parents=True)
    (run.folder / "history.jsonl").write_text("\n".join(map(json.dumps, history)) + "\n")
    summary = {"train_seconds": 40.0, "examples": 64, "examples_per_second": 1.6}
    (run.folder / "summary.json").write_text(json.dumps(summary))
    commit = {"git_commit": f"{run.config.seed}" * 40}
    save_portable(run.checkpoint, model, description.model_copy(update=commit))


Made = Callable[[Path], tuple[StudyConfig, Results]]


@pytest.fixture(scope="module")
def results_in(make_model: Callable[..., MSDET], describe: Callable[..., Description]) -> Made:
    """LBT, MSDET a dB better, and directions alone, of which a seed is missing."""
    model = make_model()

    def made(folder: Path) -> tuple[StudyConfig, Results]:
        study = load_study(
            "debug",
            [
                f"output={folder / 'output'}",
                f"results={folder / 'results' / 'page'}",
                "methods.doa={label: DoA alone, overrides: [criterion.weight=0]}",
                "comparisons=[{method: msdet, reference: lbt, breakdown: true},"
                "{method: msdet, reference: doa}]",
            ],
        )
        runs = plan(study)[:-1]
        for run in runs:
            keep(run, model, describe(model))
        every = {name: list(rows(runs, name)) for name in COUNTS}
        return study, Results(tuple(runs), every, {}, {"doa-seed1": "waiting"})

    return made


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
def report(results_in: Made, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write(*results_in(tmp_path_factory.mktemp("study")))


def test_the_json_holds_runs_and_comparisons(report: Report) -> None:
    record = report.record
    assert len(record["runs"]) == 5
    first = record["runs"][0]
    assert (first["method"], first["criterion"], first["seed"]) == ("lbt", "azimuth", 0)
    assert first["tasks"] == ["separation"]
    numbers = {
        (one["scenes_set"], one["metric"]): one["value"]
        for one in record["numbers"]
        if one["method"] == "lbt"
    }
    assert numbers[MAIN, "si_sdr_improvement_db"] == pytest.approx(4.0, abs=0.3)
    assert {metric for _, metric in numbers} == {"si_sdr_improvement_db"}
    assert (first["train_seconds"], first["examples"]) == (40.0, 64)
    assert first["git_commit"] == "0" * 40
    assert record["missing"] == {"doa-seed1": "waiting"}
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
    assert (gain["seeds"], gain["scenes"]) == (2, COUNTS[MAIN])
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
    assert "| `doa-seed1` | waiting |" in page
    assert "MSDET against DoA alone" in page
    assert "other heads" in page  # DoA alone keeps guided ones here
    assert "1 of 2 seeds" in page
    assert "**+1.00 [+1.00, +1.00]**" in page
    assert "`000000000000`, `111111111111`" in page, "commits of the runs"
    assert MADE_WITH["command"] in page
    pictures = {line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")}
    assert len(pictures) == 3
    for picture in pictures:
        file = report.folder.parent / picture
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_prose_beside_the_page_is_kept_and_all_else_comes_out_the_same(
    report: Report, results_in: Made, tmp_path: Path
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
    rows = pd.read_csv(report.folder / "rows.csv.gz")
    speakers = rows[rows["speaker"] >= 0]
    assert len(speakers) == 5 * 2 * sum(COUNTS.values())
    own = speakers[(speakers["method"] == "msdet") & (speakers["scenes_set"] == MAIN)]
    number = next(
        one["value"]
        for one in report.record["numbers"]
        if (one["method"], one["scenes_set"]) == ("msdet", MAIN)
    )
    assert own["si_sdr_improvement"].mean() == pytest.approx(number, abs=1e-3)
    assert speakers.loc[speakers["method"] == "lbt", "azimuth_error"].isna().all()
    scenes = pd.read_csv(report.folder / "scenes.csv.gz")
    assert len(scenes) == 2 * sum(COUNTS.values())
    assert {"azimuth_deg", "distance", "t60", "snr_db"} <= set(scenes)


def test_without_pairs_and_opposite_speakers(results_in: Made, tmp_path: Path) -> None:
    study, full = results_in(tmp_path)
    left_out: Any = {"seam": "no rotation maps the array", "opposite": "none were asked for"}
    found = write(study, replace(full, rows={MAIN: full.rows[MAIN]}, left_out=left_out))
    assert "Left out: none were asked for." in found.page
    assert "No pairs: no rotation maps the array." in found.page
    assert {one["pairs"] for one in found.record["seam"]} == {False}
