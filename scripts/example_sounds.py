#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the documentation plays: a scene of a benchmark, separated by a model that ships.

``python scripts/example_sounds.py`` writes ``docs/sounds`` and ``docs/pictures/separated.png``:
two test speakers, whose recordings are under Creative Commons BY 3.0 (REUSE.toml), in a simulated
room, and what `msdet.load(MODEL).separate` makes of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import msdet
from msdet.benchmarks import benchmark_path
from msdet.corpora import BundledConfig, open_corpus
from msdet.geometry import angular_error
from msdet.shipped import default_model
from msdet.simulation import compute_rirs, render
from msdet.simulation.scene_files import read_scenes

DOCS = Path(__file__).resolve().parents[1] / "docs"
PEAK = 0.7


def main() -> None:
    """Render, separate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=default_model().name)
    parser.add_argument("--scene", default=152, type=int, help="of bundled-easy")
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    scene = read_scenes(benchmark_path("bundled-easy"))[options.scene]
    corpus = open_corpus(BundledConfig(), scene.sample_rate).split("test")
    array = scene.microphone_array()
    example = render(scene, corpus, compute_rirs(scene.room, array, scene.sample_rate))
    result = msdet.load(options.model).separate(example.mixture, scene.sample_rate, array)
    sounds = options.docs / "sounds"
    sounds.mkdir(parents=True, exist_ok=True)
    write(sounds / "mixture.mp3", example.mixture[scene.reference_mic], scene.sample_rate)
    for number, audio in enumerate(result.audio, start=1):
        write(sounds / f"speaker{number}.mp3", audio, scene.sample_rate)
    picture = options.docs / "pictures" / "separated.png"
    picture.parent.mkdir(exist_ok=True)
    result.plot().savefig(picture)
    for number, azimuth in enumerate(result.azimuth, start=1):
        nearest = min(example.azimuth.tolist(), key=lambda true: angular_error(azimuth, true))
        print(f"speaker {number}: {azimuth:.1f} degrees, truth {nearest:.1f}")


def write(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write an MP3 as loud as the others."""
    soundfile.write(path, PEAK * audio / np.abs(audio).max(), sample_rate, format="MP3")


if __name__ == "__main__":
    main()
