# SPDX-License-Identifier: Apache-2.0
"""Cost of room responses: how many times as fast ``hybrid`` is as ``exact``; and of walking: how
many times as long a mixture takes to render in which both speakers walk, as one of those who stand.

``OMP_NUM_THREADS=1 python scripts/bench_simulation.py`` measures on one core, with 8 microphones, 2
speakers, 16 kHz; walking with 4 microphones, in mixtures of 4 s with responses and speech at hand.
It prints one JSON object, for each T60 the median over rooms of the ratio of the same room's times:
seconds do not hold on a shared machine (``msdet simulate --dry-run`` tells them for this one).
"""

from __future__ import annotations

import json
import statistics
import time

from msdet.corpora import BundledConfig, open_corpus
from msdet.geometry import Circle, MicrophoneArray
from msdet.simulation import Room, SceneConfig, compute_rirs, draw_scene, pool_room, render

RATE = 16000
ARRAY: MicrophoneArray = Circle(shape="circle", num_mics=8, radius=0.05).build()
T60 = (0.3, 0.6)
ROOMS = 24
"""Rooms for each T60."""


def speedup(t60: float) -> float:
    """Compare both backends."""
    config = SceneConfig.model_validate({"t60": [t60, t60]})
    ratios = []
    for index in range(ROOMS):
        exact = pool_room(config, ARRAY, seed=0, split="test", room_index=index)
        hybrid = exact.model_copy(update={"rirs": "hybrid"})
        for room in (exact, hybrid) if not ratios else (hybrid,):
            compute_rirs(room, ARRAY, RATE)  # everything is loaded, and what is cached is there
        ratios.append(seconds(exact) / seconds(hybrid))
    return statistics.median(ratios)


def seconds(room: Room) -> float:
    """Time the responses of a room."""
    start = time.perf_counter()
    compute_rirs(room, ARRAY, RATE)
    return time.perf_counter() - start


def cost_of_walking() -> float:
    """Compare the rendering of the same scenes with and without paths."""
    array = Circle(shape="circle", num_mics=4, radius=0.05).build()
    corpus = open_corpus(BundledConfig(), RATE).split("test")
    config = SceneConfig.model_validate({"rirs": "hybrid", "movement": {}})
    ratios = []
    for index in range(ROOMS):
        walking = draw_scene(config, array, corpus, index=index, num_samples=4 * RATE)
        standing = walking.model_copy(update={"paths": ()})
        rirs, times = compute_rirs(walking.room, array, RATE), []
        for scene in (standing, walking):
            render(scene, corpus, rirs)
            start = time.perf_counter()
            render(scene, corpus, rirs)
            times.append(time.perf_counter() - start)
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


if __name__ == "__main__":
    found = {f"T60 {t60:g} s": round(speedup(t60), 1) for t60 in T60}
    print(json.dumps({**found, "walking, times as long": round(cost_of_walking(), 1)}))
