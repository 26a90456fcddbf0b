# SPDX-License-Identifier: Apache-2.0
"""The simulation as a library: the page's lines run, nothing of training is imported, and the same
scenes have sounded the same since golden values were taken."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.geometry import MicrophoneArray
from msdet.simulation import SceneConfig, compute_rirs, render

RATE = 8000


def test_the_page_s_lines_write_a_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "simulation.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    audio, rate = soundfile.read("scene.wav")
    assert (rate, audio.shape) == (16000, (64000, 4))
    assert np.sqrt(np.mean(audio[:, 0] ** 2)) == pytest.approx(0.1, rel=1e-3)
    assert names["example"].targets.shape == (2, 64000)


def test_simulating_imports_nothing_of_training() -> None:
    """Not even torch, which only resampling needs."""
    code = "import msdet.simulation, sys; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    unwanted = {"torch", "torchaudio", "lightning", "hydra", "pyroomacoustics"}
    assert not unwanted & {module.partition(".")[0] for module in modules}
    rooms = {module.split(".")[1] for module in modules if module.startswith("msdet.")}
    assert not rooms & {"datasets", "models", "criteria", "training", "inference", "evaluation"}


GOLDEN: dict[str, tuple[dict[str, Any], str, str, list[float]]] = {
    "exact": ({}, "circle", "bcafd7c4c4f4ed84", [375.4446, 25.24729, 151.6405, 0.1688076]),
    "hybrid": (
        {"rirs": "hybrid", "t60": [0.3, 0.5]},
        "circle",
        "94ada7f3156e1442",
        [369.7908, 22.23283, 123.9458, 0.3569831],
    ),
    "octaves": (
        {
            "rirs": "hybrid",
            "t60": [0.3, 0.4],
            "t60_per_octave": [1.3, 1.2, 1.1, 1, 0.9, 0.8, 0.7],
            "target": "early",
        },
        "l_shape",
        "8e466f0d1bfa1bbe",
        [586.9715, 24.12009, 69.55488, 0.3179062],
    ),
    "diffuse": (
        {"background": {"kinds": ["diffuse"]}, "target": "image"},
        "circle",
        "65cfd06a12c9b540",
        [436.1266, 150.4297, 112.4788, 0.1688076],
    ),
    "babble": (
        {"background": {"kinds": ["babble"]}},
        "circle",
        "4ce32aa76c7f6136",
        [479.1097, 22.72039, 136.4634, 0.1688076],
    ),
    "point": (
        {"background": {"kinds": ["point"], "sources": [2, 2]}},
        "circle",
        "c1a28ef558fb49ac",
        [356.8629, 22.77203, 136.7735, 0.1688076],
    ),
    "imperfect": (
        {"imperfections": {"gain_db": 1, "phase": 5, "position": 0.002, "tilt": 2}},
        "circle",
        "e07aaabcea483c37",
        [376.7371, 30.04849, 151.6544, 0.1686222],
    ),
    "line": (
        {"num_speakers": [3, 3], "overlap": [0.3, 0.6]},
        "line",
        "6e46e8d1704320a7",
        [288.5934, 63.2237, 89.50826, 0.1716929],
    ),
}
"""Ranges, array; the digest of the scene as it is written, and levels of what is rendered."""


@pytest.mark.parametrize("name", GOLDEN)
def test_scenes_stay_what_they_are(
    name: str, request: pytest.FixtureRequest, draw: Any, corpus: Any
) -> None:
    """Drawn to the bit; rendered to what processors' transforms differ in."""
    ranges, array_name, digest, levels = GOLDEN[name]
    array: MicrophoneArray = request.getfixturevalue(array_name)
    scene = draw(SceneConfig.model_validate(ranges), array=array, index=3)
    assert hashlib.sha256(scene.model_dump_json().encode()).hexdigest()[:16] == digest
    assert levels_of(scene, corpus, array) == pytest.approx(levels, rel=1e-4)


def levels_of(scene: Any, corpus: Any, array: MicrophoneArray) -> list[float]:
    """Of a few samples and sums, which any change of the rendering moves."""
    rirs = compute_rirs(scene.room, array, RATE)
    example = render(scene, corpus, rirs, (1,))
    spread = np.sin(np.arange(example.mixture.shape[-1]))  # tells one sample from another
    mixed, heard = example.mixture @ spread, example.targets @ spread
    alone = example.others[1].targets @ spread
    return [float(np.abs(x).sum()) for x in (mixed, heard, alone, rirs.t60_measured)]
