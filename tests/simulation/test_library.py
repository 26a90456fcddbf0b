# SPDX-License-Identifier: Apache-2.0
"""The simulation as a library: the page's lines run, nothing of training is imported, and the same
scenes have sounded the same since golden values were taken."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.geometry import MicrophoneArray
from msdet.simulation import Scene, SceneConfig, compute_rirs, render

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
    "exact": ({}, "circle", "f66eca7a1075293f", [375.4446, 25.24729, 151.6405, 0.1688076]),
    "hybrid": (
        {"rirs": "hybrid", "t60": [0.3, 0.5]},
        "circle",
        "303eaf20ed703df3",
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
        "8ed6d7ad8a2efd32",
        [586.9715, 24.12009, 69.55488, 0.3179062],
    ),
    "diffuse": (
        {"background": {"kinds": ["diffuse"]}, "target": "image"},
        "circle",
        "d2cc302ee3b31d15",
        [436.1266, 150.4297, 112.4788, 0.1688076],
    ),
    "babble": (
        {"background": {"kinds": ["babble"]}},
        "circle",
        "8907a19afed2ac00",
        [479.1097, 22.72039, 136.4634, 0.1688076],
    ),
    "point": (
        {"background": {"kinds": ["point"], "sources": [2, 2]}},
        "circle",
        "8545676ad3b1a1b4",
        [356.8629, 22.77203, 136.7735, 0.1688076],
    ),
    "imperfect": (
        {"imperfections": {"gain_db": 1, "phase": 5, "position": 0.002, "tilt": 2}},
        "circle",
        "866110eb8becae4e",
        [376.7371, 30.04849, 151.6544, 0.1686222],
    ),
    "line": (
        {"num_speakers": [3, 3], "overlap": [0.3, 0.6]},
        "line",
        "4489296383cb9b29",
        [288.5934, 63.2237, 89.50826, 0.1716929],
    ),
}
"""Ranges, array; the digest of the scene's numbers, and levels of what is rendered."""


def digest_of(scene: Scene) -> str:
    """Return a digest of ten digits of each number: processors differ in an arccosine's last."""
    text = scene.model_dump_json()
    rounded = json.loads(text, parse_float=lambda number: f"{float(number):.10g}")
    return hashlib.sha256(json.dumps(rounded).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", GOLDEN)
def test_scenes_stay_what_they_are(
    name: str, request: pytest.FixtureRequest, draw: Any, corpus: Any
) -> None:
    """Drawn and rendered to what processors differ in."""
    ranges, array_name, digest, levels = GOLDEN[name]
    array: MicrophoneArray = request.getfixturevalue(array_name)
    scene = draw(SceneConfig.model_validate(ranges), array=array, index=3)
    assert digest_of(scene) == digest
    assert levels_of(scene, corpus, array) == pytest.approx(levels, rel=1e-4)


def levels_of(scene: Any, corpus: Any, array: MicrophoneArray) -> list[float]:
    """Of a few samples and sums, which any change of the rendering moves."""
    rirs = compute_rirs(scene.room, array, RATE)
    example = render(scene, corpus, rirs, (1,))
    spread = np.sin(np.arange(example.mixture.shape[-1]))  # tells one sample from another
    mixed, heard = example.mixture @ spread, example.targets @ spread
    alone = example.others[1].targets @ spread
    return [float(np.abs(x).sum()) for x in (mixed, heard, alone, rirs.t60_measured)]
