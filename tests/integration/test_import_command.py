# SPDX-License-Identifier: Apache-2.0
"""``msdet import``: scenes described elsewhere are rendered and scored like drawn ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.cli import main
from msdet.corpora import BundledConfig, FolderConfig, open_corpus
from msdet.simulation import compute_rirs, read_scenes, render

pytestmark = pytest.mark.integration

RATE = 8000


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of bundled voices around a circle of microphones, one without walls."""
    folder = tmp_path_factory.mktemp("described")
    corpus = open_corpus(BundledConfig(), RATE).split("test")
    for name in corpus.speakers[:2]:
        audio = corpus.read(corpus.of_speaker(name)[0])[RATE : 3 * RATE]
        soundfile.write(folder / f"{name}.wav", audio, RATE)
    scenes = [
        {
            "id": f"pair-{number}",
            "room_size": [5, 4, 3],
            "t60": t60,
            "microphones": [[2.55, 2, 1.2], [2.5, 2.05, 1.2], [2.45, 2, 1.2], [2.5, 1.95, 1.2]],
            "speakers": [
                {"position": [4.0, 2.0, 1.2], "file": f"{corpus.speakers[0]}.wav"},
                {"position": [1.5, 1.0, 1.2], "file": f"{corpus.speakers[1]}.wav"},
            ],
            "snr_db": 30,
        }
        for number, t60 in enumerate((0.2, 0.3, 0))
    ]
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return folder / "scenes.json"


@pytest.fixture(scope="module")
def imported(description: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported") / "scenes"
    command = ["import", f"scenes={description}", f"output={folder}", f"sample_rate={RATE}"]
    assert main(command) == 0
    return folder


@pytest.mark.usefixtures("same_home")
def test_imported_scenes_are_rendered(imported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    command = [
        "simulate",
        f"output={folder}",
        f"scenes={imported / 'scenes.jsonl'}",
        "corpus=folder",
        f"corpus.path={imported}",
        f"sample_rate={RATE}",
        "audio=true",
        "num_workers=1",
    ]
    assert main(command) == 0
    corpus = open_corpus(FolderConfig(path=str(imported)), RATE).split("test")
    for scene in read_scenes(imported / "scenes.jsonl"):
        example = render(
            scene, corpus, compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
        )
        written = folder / "audio" / scene.id
        mixture, _ = soundfile.read(written / "mixture.wav", dtype="float32")
        scale = json.loads((written / "labels.json").read_text())["scale"]
        np.testing.assert_array_equal(mixture.T, scale * example.mixture)


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_model_is_scored_on_imported_scenes(imported: Path, saved: Path, tmp_path: Path) -> None:
    command = [
        "evaluate",
        f"checkpoint={saved}",
        f"scenes={imported / 'scenes.jsonl'}",
        "corpus=folder",
        f"corpus.path={imported}",
        f"output={tmp_path / 'scores'}",
        "metrics=[si_sdr]",
        "pictures=0",
        "num_workers=1",
    ]
    assert main(command) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["num_scenes"] == 3


def test_a_mistake_is_one_line(
    description: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(description.read_text())
    content["scenes"][1]["speakers"][1]["position"] = [9, 9, 9]
    wrong = description.with_name("wrong.json")
    wrong.write_text(json.dumps(content))
    assert main(["import", f"scenes={wrong}", f"output={tmp_path / 'out'}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("msdet import: ")
    assert "scene 2 ('pair-1'): speakers.1: 9 x 9 x 9 m is not inside the room" in message
    assert list(tmp_path.iterdir()) == []
