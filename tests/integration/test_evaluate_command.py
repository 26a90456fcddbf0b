# SPDX-License-Identifier: Apache-2.0
"""``msdet evaluate``: what training reported, and what a kill does not change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.benchmarks import scenes_file
from msdet.checkpoints import load_checkpoint
from msdet.cli import main
from msdet.commands.train import OWN_SYSTEMS
from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.preparation import prepare
from msdet.evaluation.scoring import SceneScorer, Scoring
from msdet.metrics.summary import summarise
from msdet.simulation import read_scenes, write_scenes

pytestmark = pytest.mark.integration


def test_valid_scenes_score_as_training_reported(trained: Path, tmp_path: Path) -> None:
    """As the network alone: what training validates."""
    checkpoint = trained / "model.ckpt"
    prepared = prepare(
        EvaluationConfig(checkpoint=str(checkpoint), output=str(tmp_path), split="valid")
    )
    task = prepared.scoring
    scorer = SceneScorer(
        Scoring.of_network(checkpoint, task.corpus, task.sample_rate, "valid", task.bank)
    )
    found = summarise([scorer.score(scene)[0] for scene in prepared.scenes])
    reported = load_checkpoint(checkpoint).description.metrics
    assert found["num_scenes"] == reported["num_scenes"] == 5
    assert found["si_sdr_improvement_db"] == pytest.approx(
        reported["si_sdr_improvement_db"], abs=1e-3
    )
    assert found["azimuth_error_median_deg"] == pytest.approx(
        reported["azimuth_error_median_deg"], abs=0.01
    )
    history = [json.loads(line) for line in (trained / "history.jsonl").open()]
    best = max(row["valid_si_sdr_improvement_db"] for row in history)
    assert found["si_sdr_improvement_db"] == pytest.approx(best, abs=1e-3)


@pytest.mark.slow
def test_a_model_is_scored_as_what_separate_writes(run: Callable[..., Any], tmp_path: Path) -> None:
    """Of three speakers, of whom the model finds two; under a name of one's own, which is first."""
    run(
        "simulate",
        f"output={tmp_path / 'rendered'}",
        "scenes=bundled-three",
        "num_scenes=2",
        "audio=true",
    )
    written = tmp_path / "written"
    run(
        "separate",
        str(tmp_path / "rendered"),
        "array=circle4",
        f"output={written}",
        "num_workers=1",
    )
    run(
        "checkpoint=planar-pairs",
        f"estimates={{mine: {written}}}",
        f"output={tmp_path / 'scored'}",
        "scenes=bundled-three",
        "num_scenes=2",
        "pictures=1",
        "metrics=[sdr]",
        "systems=[model,unprocessed]",
        "num_workers=1",
        script=Path(__file__).parents[2] / "scripts/evaluate.py",
    )
    summary = json.loads((tmp_path / "scored" / "summary.json").read_text())
    assert list(summary["systems"]) == ["mine", "planar-pairs", "unprocessed"]
    mine, model, _ = summary["systems"].values()
    for key in ("si_sdr_improvement_db", "sdr_db", "azimuth_error_mean_deg"):
        assert model[key] == pytest.approx(mine[key], abs=0.02), key
    for found in (mine, model):
        assert found["missed_rate"] == pytest.approx(1 / 3, abs=1e-6)
        assert found["invented_rate"] == found["speaker_count_accuracy"] == 0.0
        assert found["not_scored"] == 0
    drawn = {path.name for path in (tmp_path / "scored" / "audio").iterdir()}
    assert sum("estimate" in name for name in drawn) == 2  # the third speaker has none
    assert sum("target" in name for name in drawn) == 3
    gains = {
        (c["system"], c["reference"]): c["difference"]
        for c in summary["comparisons"]
        if c["measure"] == "si_sdr_improvement_db"
    }
    assert gains["mine", "unprocessed"] == pytest.approx(mine["si_sdr_improvement_db"], abs=1e-5)
    assert gains["mine", "planar-pairs"] == pytest.approx(0.0, abs=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_killed_evaluation_goes_on_to_the_rows_that_training_wrote(
    trained: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    wanted = (trained / "rows.jsonl").read_bytes()
    count = wanted.count(b"\n")
    rows = tmp_path / "killed" / "rows.jsonl"
    command = [
        "evaluate",
        f"checkpoint={trained / 'model.ckpt'}",
        f"output={rows.parent}",
        f"systems=[{','.join(OWN_SYSTEMS)}]",
        "pictures=0",
        "num_workers=1",
    ]
    killed = start(*command)
    killed.wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 3)
    killed.kill()
    assert 3 <= rows.read_bytes().count(b"\n") < count
    assert not (rows.parent / "summary.json").exists()

    assert main(command) == 0
    indices = [json.loads(line)["index"] for line in rows.read_text().splitlines()]
    assert indices == list(range(count))
    assert rows.read_bytes() == wanted
    times = [json.loads(line) for line in (rows.parent / "times.jsonl").open()]
    assert sorted(line["index"] for line in times) == indices
    summaries = [
        json.loads((folder / "summary.json").read_text()) for folder in (rows.parent, trained)
    ]
    for key in ("si_sdr_improvement_db", "azimuth_error_median_deg", "num_scenes", "intervals"):
        assert summaries[0][key] == summaries[1][key], key


@pytest.mark.slow
def test_what_was_found_becomes_a_page(
    trained: Path, run: Callable[..., Any], start: Callable[..., Any], tmp_path: Path
) -> None:
    """A training's own scores and those on other scenes, each with the command that made them."""
    checkpoint = trained / "model.ckpt"
    run(
        "evaluate",
        f"checkpoint={checkpoint}",
        f"output={tmp_path / 'valid'}",
        "split=valid",
        "pictures=0",
        "metrics=[si_sdr]",
        "systems=[model,unprocessed]",
    )
    script = Path(__file__).parents[2] / "scripts/results_page.py"
    evaluations = (trained, tmp_path / "valid")
    arguments = map(str, ("tiny", checkpoint, *evaluations, "--results", tmp_path))
    run(*arguments, script=script)
    page = (tmp_path / "tiny.md").read_text()
    assert f"msdet evaluate checkpoint={checkpoint}" in page
    assert "| model | " in page
    assert f"(tiny/{trained.name}.png)" in page
    assert (tmp_path / "tiny" / f"{trained.name}.png").stat().st_size > 0
    last = json.loads((trained / "history.jsonl").read_text().splitlines()[-1])
    score = f"{last['valid_si_sdr_improvement_db']:.2f}"
    assert f"| {last['examples']} | 0 | {score} |" in page
    found = json.loads((tmp_path / "tiny.json").read_text())
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in evaluations]
    assert list(found.values()) == summaries
    nothing = start("tiny", str(checkpoint), str(tmp_path), script=script).finish()
    assert nothing.code == 2
    assert f"{tmp_path / 'summary.json'}: cannot be read" in nothing.err


SMALL = ("pictures=0", "scenes=bundled-easy", "num_scenes=6", "metrics=[si_sdr]")
NO_MODEL = ("systems=[unprocessed,srp_phat,delay_and_sum,estimates]",)


@pytest.fixture(scope="module")
def estimates(run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody else's system made of a benchmark: the truth, a little spoiled."""
    folder = tmp_path_factory.mktemp("theirs")
    scenes = folder / "scenes.jsonl"
    write_scenes(scenes, read_scenes(scenes_file("bundled-easy"))[:6])
    run("simulate", f"output={folder / 'rendered'}", f"scenes={scenes}", "audio=true")
    rng = np.random.default_rng(0)
    for scene in sorted((folder / "rendered" / "audio").iterdir()):
        labels = json.loads((scene / "labels.json").read_text())
        place = folder / "estimates" / scene.name
        place.mkdir(parents=True)
        speakers = []
        for number, speaker in enumerate(labels["speakers"], 1):
            target, rate = soundfile.read(scene / f"speaker{number}.wav", dtype="float32")
            noise = rng.standard_normal(len(target)) * target.std() * 0.1
            name = f"speaker{number}.wav"
            soundfile.write(place / name, target + noise, rate, subtype="FLOAT")
            azimuth = (speaker["azimuth"] + 2.0) % 360
            speakers.append({"file": name, "azimuth_deg": azimuth})
        (place / "directions.json").write_text(json.dumps({"speakers": speakers}))
    return folder / "estimates"


@pytest.mark.slow
def test_what_another_system_made_is_scored_the_same_with_any_number_of_processes(
    estimates: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    found = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        run(
            "evaluate",
            f"estimates={estimates}",
            f"output={output}",
            f"num_workers={workers}",
            *SMALL,
            *NO_MODEL,
        )
        found.append((output / "rows.jsonl").read_bytes())
        summary = json.loads((output / "summary.json").read_text())
    assert found[0] == found[1]
    assert summary["main_system"] == "estimates"
    assert summary["scenes_corpus"] == read_scenes(scenes_file("bundled-easy"))[0].corpus
    assert summary["si_sdr_db"] == pytest.approx(20.0, abs=0.5)
    assert summary["azimuth_error_mean_deg"] == pytest.approx(2.0, abs=0.01)
    assert summary["systems"]["unprocessed"]["si_sdr_improvement_db"] == 0.0
    against = {(c["reference"], c["measure"]): c for c in summary["comparisons"]}
    assert against["unprocessed", "si_sdr_improvement_db"]["won_share"] == 1.0
    assert against["unprocessed", "si_sdr_improvement_db"]["difference"] > 20.0
    assert (output / "report.html").stat().st_size < 15e6
    lines = (output / "rows.csv").read_text().splitlines()
    assert len(lines) == 1 + 6 * 4 * 2


@pytest.mark.slow
def test_estimates_that_are_incomplete_are_refused_and_rows_stay(
    estimates: Path, run: Callable[..., Any], start: Callable[..., Any], tmp_path: Path
) -> None:
    copy, output = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(estimates, copy)
    command = ["evaluate", f"estimates={copy}", f"output={output}", *SMALL, *NO_MODEL]
    run(*command)
    rows = (output / "rows.jsonl").read_bytes()
    gone = next(copy.iterdir()) / "speaker2.wav"
    gone.unlink()
    refused = start(*command).finish()
    assert refused.code == 2
    assert gone.parent.name in refused.err
    assert (output / "rows.jsonl").read_bytes() == rows


@pytest.mark.slow
def test_two_checkpoints_are_compared_scene_by_scene(
    trained: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    last = tmp_path / "last.ckpt"
    shutil.copy(trained / "last.ckpt", last)
    run(
        "evaluate",
        f"checkpoint=[{trained / 'model.ckpt'},{last}]",
        f"output={tmp_path / 'both'}",
        "pictures=1",
        "num_scenes=5",
        "systems=[model]",
        "metrics=[si_sdr]",
    )
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert len(summary["systems"]) == 2
    assert {c["system"] for c in summary["comparisons"]} == {summary["main_system"]}
    assert all(0 <= c["won_share"] <= 1 for c in summary["comparisons"])


@pytest.mark.slow
def test_what_finds_directions_alone_has_a_report_with_its_scenes(
    estimates: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    directions = tmp_path / "directions"
    for scene in estimates.iterdir():
        (directions / scene.name).mkdir(parents=True)
        content = json.loads((scene / "directions.json").read_text())
        speakers = [{"azimuth_deg": s["azimuth_deg"]} for s in content["speakers"]]
        written = json.dumps({"speakers": speakers})
        (directions / scene.name / "directions.json").write_text(written)
    output = tmp_path / "out"
    run(
        "evaluate",
        f"estimates={directions}",
        f"output={output}",
        "scenes=bundled-easy",
        "num_scenes=6",
        "pictures=2",
        "systems=[estimates,srp_phat]",
    )
    summary = json.loads((output / "summary.json").read_text())
    assert summary["azimuth_error_mean_deg_best_matched"] == pytest.approx(2.0, abs=0.01)
    assert summary["si_sdr_db"] is None
    page = (output / "report.html").read_text()
    assert page.count('class="drawing directions"') == 2


@pytest.mark.slow
def test_the_truth_is_no_estimate(
    estimates: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    rendered = estimates.parent / "rendered" / "audio"
    command = ["evaluate", f"estimates={rendered}", f"output={tmp_path / 'out'}", *SMALL, *NO_MODEL]
    refused = start(*command).finish()
    assert refused.code == 2
    assert "truth" in refused.err
