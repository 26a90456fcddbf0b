# SPDX-License-Identifier: Apache-2.0
"""Example scenes: those of the benchmarks that a model can be given, at its own sample rate."""

from __future__ import annotations

from functools import cache

from msdet.benchmarks import Benchmark, benchmark_path, benchmarks
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.separator import Separator
from msdet.simulation.scene import Scene
from msdet.simulation.scene_files import read_scenes


def example_benchmarks(separator: Separator) -> dict[str, Benchmark]:
    """The benchmarks with as many speakers as in training, on arrays that the model serves."""
    found = {}
    fewest, most = separator.description.trained_speakers
    for name, benchmark in benchmarks().items():
        scenes = _scenes(name)
        counts = {len(scene.speech) for scene in scenes}
        fits = fewest <= min(counts) and max(counts) <= most
        arrays = {scene.microphone_array() for scene in scenes}
        if fits and all(_serves(separator, array) for array in arrays):
            found[name] = benchmark
    return found


def example_scene(separator: Separator, name: str, number: int) -> Scene:
    """A scene of a benchmark for this model: the same room, places and stretches of speech.

    What belongs to the model is the model's: sample rate, reference microphone and target.

    Raises:
        InputError: there is no such benchmark or scene.
    """
    scenes = _scenes(name)
    if not 0 <= number < len(scenes):
        raise InputError(f"scene {number}: {name} has scenes 0 to {len(scenes) - 1}")
    description, scene = separator.description, scenes[number]
    ratio = description.sample_rate / scene.sample_rate
    num_samples = round(scene.num_samples * ratio)
    speech = []
    for crop in scene.speech:
        onset = round(crop.onset * ratio)
        scaled = {
            "offset": round(crop.offset * ratio),
            "onset": onset,
            # Each part is rounded: together they must not reach over the end.
            "length": min(round(crop.length * ratio), num_samples - onset),
        }
        speech.append(crop.model_copy(update=scaled))
    return scene.model_copy(
        update={
            "id": f"{name}-{number}",
            "sample_rate": description.sample_rate,
            "num_samples": num_samples,
            "speech": tuple(speech),
            "reference_mic": description.reference_mic,
            "target": description.target,
        }
    )


def _serves(separator: Separator, array: MicrophoneArray) -> bool:
    try:
        separator.array_for(array)
    except InputError:
        return False
    return True


@cache
def _scenes(name: str) -> tuple[Scene, ...]:
    return read_scenes(benchmark_path(name))
