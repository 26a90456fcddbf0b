# SPDX-License-Identifier: Apache-2.0
"""Files of a user's that begin with a byte-order mark, as some editors write them, are read."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from msdet.benchmarks import benchmark_path
from msdet.composing import compose
from msdet.corpora.utterance import MANIFEST, read_manifest
from msdet.datasets.labelled import open_labelled
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.resources import configs_dir, voices_dir
from msdet.simulation import read_scenes
from msdet.sweeps.study import load_study


def marked(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mics.json", "[[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]"),
        ("mics.csv", "x,y,z\n0,0,0\n0.1,0,0\n0,0.1,0\n"),
    ],
)
def test_positions(tmp_path: Path, name: str, text: str) -> None:
    file = marked(tmp_path / name, text)
    values = compose("train", ["experiment=debug", f"array={file}"])
    assert len(values["array"]["positions"]) == 3


def test_scenes(tmp_path: Path) -> None:
    rows = lzma.decompress(benchmark_path("bundled-seam").read_bytes()).decode().split("\n")[:2]
    file = marked(tmp_path / "scenes.jsonl", "\n".join(rows))
    assert [scene.id for scene in read_scenes(file)] == [json.loads(row)["id"] for row in rows]


def test_a_manifest(tmp_path: Path) -> None:
    text = (voices_dir() / MANIFEST).read_text(encoding="utf-8")
    assert read_manifest(marked(tmp_path / MANIFEST, text)) == read_manifest(
        voices_dir() / MANIFEST
    )


def test_labelled_recordings(tmp_path: Path, arrays: dict[str, MicrophoneArray]) -> None:
    """As far as the row that names a file that is not there."""
    row = json.dumps({"mixture": "gone.wav", "azimuth": [10, 90]})
    with pytest.raises(InputError, match=r"gone\.wav"):
        open_labelled(
            marked(tmp_path / "list.jsonl", row),
            array=arrays["circle4"],
            sample_rate=8000,
            reference_mic=0,
            num_speakers=(2, 2),
            num_samples=8000,
        )


def test_a_study(tmp_path: Path) -> None:
    text = (configs_dir() / "study" / "debug.yaml").read_text(encoding="utf-8")
    assert load_study(str(marked(tmp_path / "own.yaml", text))) == load_study("debug")
