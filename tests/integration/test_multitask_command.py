# SPDX-License-Identifier: Apache-2.0
"""Training with each way of balancing and sharing, and with a varying number of speakers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import msdet
from msdet.checkpoints import load_checkpoint

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "settings",
    [
        ("criterion.balancing=upgrad", "criterion.sparsity=1e-6"),
        (
            "criterion.balancing=uncertainty",
            "model.heads.distance=classes",
            "criterion.distance_weight=0.1",
        ),
        ("criterion.balancing=anneal",),
        (
            "criterion.balancing=dwa",
            "model.sharing=soft",
            "criterion.sharing_strength=10",
            "criterion.label_width=10",
        ),
    ],
    ids=lambda settings: settings[0],
)
def test_every_way_trains_and_a_stopped_run_goes_on_to_the_same_weights(
    start: Callable[..., Any],
    run: Callable[..., Any],
    debug: tuple[str, ...],
    tmp_path: Path,
    settings: tuple[str, ...],
) -> None:
    command = ("train", *debug, *settings, "evaluate=false", "trainer.gradient_interval=1")
    run(*command, f"output={tmp_path / 'whole'}")
    stopped = start(*command, f"output={tmp_path / 'stopped'}")
    stopped.wait_until(lambda: (tmp_path / "stopped" / "last.ckpt").exists())
    stopped.kill()
    run(*command, f"output={tmp_path / 'stopped'}")

    whole, resumed = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "stopped")
    )
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = history(tmp_path / "whole")
    assert all(math.isfinite(row["train_separation_loss"]) for row in rows)
    shared = "model.sharing=soft" not in settings
    assert ("train_gradient_cosine_separation_direction" in rows[-1]) is shared
    if "criterion.balancing=anneal" in settings:
        assert rows[-1]["train_direction_weight"] < rows[0]["train_direction_weight"]
    for name in ("model.ckpt", "last.ckpt"):
        load_checkpoint(tmp_path / "whole" / name)


@pytest.fixture(scope="module")
def varying(
    run: Callable[..., Any], debug: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on scenes of one or two speakers."""
    folder = tmp_path_factory.mktemp("varying") / "run"
    run("train", *debug, "scene.num_speakers=[1,2]", f"output={folder}")
    return folder


def test_a_varying_number_of_speakers_is_scored(varying: Path) -> None:
    summary = json.loads((varying / "summary.json").read_text())
    assert 0 <= summary["speaker_count_accuracy"] <= 1
    groups = {entry["group"] for entry in summary["breakdowns"]["num_speakers"]}
    assert groups == {"1 speaker", "2 speakers"}
    assert 0 <= summary["missed_rate"] <= 1
    rows = [json.loads(line) for line in (varying / "rows.jsonl").read_text().splitlines()]
    right = 0
    for row in rows:
        score = row["systems"]["model"]
        there = len(score["speakers"])
        right += score["speakers_claimed"] == there
    assert summary["speaker_count_accuracy"] == pytest.approx(right / len(rows), abs=1e-6)


def test_as_many_speakers_are_separated_as_the_model_finds(
    varying: Path, simulated: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    recording = simulated / "audio" / "test-e000-000000" / "mixture.wav"
    audio, sample_rate = soundfile.read(recording, dtype="float32")
    result = msdet.load(varying / "model.ckpt").separate(audio.T, sample_rate)
    assert len(result.audio) == len(result.azimuth) <= 2
    settings = (f"recording={recording}", f"checkpoint={varying / 'model.ckpt'}")
    run("separate", *settings, f"output={tmp_path / 'out'}")
    content = json.loads((tmp_path / "out" / "speakers.json").read_text())
    assert len(content["speakers"]) == len(result.audio)
    assert len(list((tmp_path / "out").glob("*.wav"))) == len(result.audio)


def test_slots_to_spare_are_kept_when_training_goes_on_with_other_scenes(
    run: Callable[..., Any], debug: tuple[str, ...], tmp_path: Path
) -> None:
    pairs, varying = tmp_path / "pairs", tmp_path / "varying"
    common = ("train", *debug, "evaluate=false", "model.slots=3")
    run(*common, f"output={pairs}")
    first = load_checkpoint(pairs / "model.ckpt")
    assert first.description.empty_slots
    assert first.model(torch.randn(1, first.model.array.num_mics, 8000)).audio.shape[1] == 3
    further = ("scene.num_speakers=[1,2]", f"init_from={pairs / 'model.ckpt'}")
    run(*common, *further, f"output={varying}")
    assert load_checkpoint(varying / "model.ckpt").description.num_slots == 3
