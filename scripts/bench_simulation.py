# SPDX-License-Identifier: Apache-2.0
"""Cost of room responses: how many times as fast ``hybrid`` is as ``exact``.

``OMP_NUM_THREADS=1 python scripts/bench_simulation.py`` measures on one core, with 8 microphones, 2
speakers, 16 kHz.
It prints one JSON object, for each T60 the median over rooms of the ratio of the same room's times:
seconds do not hold on a shared machine (``msdet simulate --dry-run`` tells them for this one).
"""

from __future__ import annotations

import json
import statistics
import time

from msdet.geometry import Circle, MicrophoneArray
from msdet.simulation import Room, SceneConfig, compute_rirs, pool_room

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


if __name__ == "__main__":
    print(json.dumps({f"T60 {t60:g} s": round(speedup(t60), 1) for t60 in T60}))
