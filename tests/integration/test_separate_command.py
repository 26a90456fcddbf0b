# SPDX-License-Identifier: Apache-2.0
"""A trained model on a recording: in three lines, and by ``msdet separate``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import msdet
from msdet.cli import main

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def recording(simulated: Path) -> Path:
    return simulated / "audio" / "test-e000-000000" / "mixture.wav"


def test_three_lines(trained: Path, recording: Path) -> None:
    audio, sample_rate = soundfile.read(recording, dtype="float32")
    separator = msdet.load(trained / "model.ckpt")
    result = separator.separate(audio.T, sample_rate=sample_rate)
    assert result.audio.shape == (2, len(audio))
    assert result.audio.dtype == np.float32
    assert np.isfinite(result.audio).all()
    assert result.azimuth.shape == (2,)
    assert ((result.azimuth >= 0) & (result.azimuth < 360)).all()


@pytest.mark.parametrize("name", ["model.ckpt", "last.ckpt"])
def test_any_checkpoint_of_a_run_loads(trained: Path, name: str) -> None:
    assert msdet.load(trained / name).description.sample_rate == 8000


def test_command_writes_speakers_directions_and_a_picture(
    trained: Path, recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "a=b (separated)"
    settings = (f"recording={recording}", f"checkpoint={trained / 'model.ckpt'}")
    assert main(["separate", *settings, f"output={folder}"]) == 0
    shown = capsys.readouterr().out
    audio, sample_rate = soundfile.read(recording, dtype="float32")
    wanted = msdet.load(trained / "model.ckpt").separate(audio.T, sample_rate)
    content = json.loads((folder / "speakers.json").read_text())
    assert content["sample_rate"] == sample_rate
    assert {path.name for path in folder.iterdir()} == {
        "speaker1.wav",
        "speaker2.wav",
        "speakers.json",
        "speakers.png",
    }
    for i, speaker in enumerate(content["speakers"]):
        assert speaker["azimuth_deg"] == pytest.approx(wanted.azimuth[i], abs=0.06)
        speech, rate = soundfile.read(folder / speaker["file"], dtype="float32")
        assert rate == sample_rate
        np.testing.assert_allclose(speech, wanted.audio[i], atol=1e-4)
        assert f"speaker {i + 1} at" in shown
