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
    "exact": (
        {},
        "circle",
        "bcafd7c4c4f4ed84",
        [
            -176.2313,
            98.64295,
            92.22756,
            8.342796,
            0.01846215,
            -25.22883,
            105.7093,
            149.0684,
            21.6754,
            0.1688076,
        ],
    ),
    "hybrid": (
        {"rirs": "hybrid", "t60": [0.3, 0.5]},
        "circle",
        "94ada7f3156e1442",
        [
            -190.7745,
            50.59282,
            90.0615,
            38.36205,
            0.01488486,
            -22.21794,
            83.49617,
            149.0684,
            21.6754,
            0.3569831,
        ],
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
        [
            6.356448,
            -104.5564,
            -206.8791,
            73.40754,
            195.7719,
            18.92885,
            5.191233,
            -69.55488,
            149.0684,
            21.6754,
            0.3179062,
        ],
    ),
    "diffuse": (
        {"background": {"kinds": ["diffuse"]}, "target": "image"},
        "circle",
        "65cfd06a12c9b540",
        [
            -173.4905,
            114.3312,
            133.897,
            14.40796,
            -131.7641,
            -18.66568,
            93.3924,
            149.0684,
            21.6754,
            0.1688076,
        ],
    ),
    "babble": (
        {"background": {"kinds": ["babble"]}},
        "circle",
        "4ce32aa76c7f6136",
        [
            -167.7718,
            145.6823,
            163.6599,
            1.995647,
            0.01661451,
            -22.70378,
            95.12927,
            149.0684,
            21.6754,
            0.1688076,
        ],
    ),
    "point": (
        {"background": {"kinds": ["point"], "sources": [2, 2]}},
        "circle",
        "c1a28ef558fb49ac",
        [
            -108.0066,
            123.792,
            109.3434,
            15.72093,
            0.01665078,
            -22.75538,
            95.34547,
            149.0684,
            21.6754,
            0.1688076,
        ],
    ),
    "imperfect": (
        {"imperfections": {"gain_db": 1, "phase": 5, "position": 0.002, "tilt": 2}},
        "circle",
        "e07aaabcea483c37",
        [
            -170.1708,
            100.2779,
            92.99065,
            -13.29774,
            4.481019,
            -25.56747,
            105.949,
            149.0684,
            21.6754,
            0.1686222,
        ],
    ),
    "line": (
        {"num_speakers": [3, 3], "overlap": [0.3, 0.6]},
        "line",
        "6e46e8d1704320a7",
        [
            60.45439,
            125.4025,
            99.59464,
            3.141909,
            37.22337,
            -18.71706,
            -7.283267,
            43.21174,
            62.1118,
            113.9123,
            174.2376,
            0.1716929,
        ],
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
    other = example.others[1]
    return [
        *(example.mixture @ spread).tolist(),
        *(example.targets @ spread).tolist(),
        float((other.targets @ spread).sum()),
        *example.azimuth.tolist(),
        rirs.t60_measured,
    ]
