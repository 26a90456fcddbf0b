# SPDX-License-Identifier: Apache-2.0
"""``msdet simulate``: audio on disk is what models see, also after a kill."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.cli import main
from msdet.corpora import BundledConfig, open_corpus
from msdet.simulation import compute_rirs, read_scenes, render

pytestmark = pytest.mark.integration


def test_killed_simulation_is_made_complete(simulated: Path) -> None:
    scenes = read_scenes(simulated / "scenes.jsonl")
    assert len(scenes) == 24
    files = {"mixture.wav", "speaker1.wav", "speaker2.wav", "labels.json"}
    there = {path.name: path for path in (simulated / "audio").iterdir()}
    assert there.keys() == {scene.id for scene in scenes}, "nothing else, nothing left over"
    for folder in there.values():
        assert {path.name for path in folder.iterdir()} == files
        json.loads((folder / "labels.json").read_text())
    with (simulated / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_ID"] for row in rows] == [scene.id for scene in scenes]
    assert all((simulated / row["source_2_path"]).is_file() for row in rows)


@pytest.mark.parametrize("index", [0, 23])
def test_audio_is_what_training_and_evaluation_render(simulated: Path, index: int) -> None:
    scene = read_scenes(simulated / "scenes.jsonl")[index]
    corpus = open_corpus(BundledConfig(), 8000).split("test")
    rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
    example = render(scene, corpus, rirs)
    folder = simulated / "audio" / scene.id
    mixture, rate = soundfile.read(folder / "mixture.wav", dtype="float32")
    assert rate == 8000
    assert np.array_equal(mixture.T, example.mixture)
    for i, target in enumerate(example.targets, start=1):
        assert np.array_equal(
            soundfile.read(folder / f"speaker{i}.wav", dtype="float32")[0], target
        )


@pytest.mark.usefixtures("same_home")
def test_other_scenes_do_not_enter_a_folder(
    simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in simulated.rglob("*")}
    settings = ["simulate", f"output={simulated}", "num_scenes=24", "seconds=2", "sample_rate=8000"]
    assert main(settings) == 0, "the same scenes without audio: nothing to do"
    capsys.readouterr()
    assert main([*settings, "seed=1"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(simulated) in message
    assert "holds another set of scenes" in message
    assert {path: path.stat().st_mtime_ns for path in simulated.rglob("*")} == before
