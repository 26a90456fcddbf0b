# SPDX-License-Identifier: Apache-2.0
"""Cost of room responses: ``hybrid`` beside ``exact`` and pyroomacoustics.

``python scripts/bench_simulation.py`` measures on one core, with 8 microphones, 2 speakers, 16
kHz. Everything is a ratio within one run, since seconds do not hold on a shared machine (``msdet
simulate --dry-run`` tells them for this one). The last line is one JSON object:

hybrid_speedup_t60_0.6, hybrid_speedup_t60_0.3: seconds of the ``exact`` backend over those of
``hybrid``, same rooms, in turn; ``..._over_pyroomacoustics`` likewise for pyroomacoustics' own
``ShoeBox`` at the order that its ``inverse_sabine`` asks for.
edc_error_db: largest difference, over the decay down to -30 dB, between the energy decay curves of
both, each a mean over rooms, speakers and microphones; the larger of both T60.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from msdet.geometry import Circle, MicrophoneArray
from msdet.simulation import Room, SceneConfig, compute_rirs, pool_room
from msdet.simulation.acoustics import energy_decay, high_passed

RATE = 16000
ARRAY: MicrophoneArray = Circle(shape="circle", num_mics=8, radius=0.05).build()
T60 = (0.3, 0.6)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Measure all of it and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rooms", type=int, default=24, help="for each T60")
    options = parser.parse_args()
    if any(os.environ.get(variable) != "1" for variable in THREADS):
        # Libraries read these when they are loaded, so the script starts again.
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)
    found: dict[str, float] = {}
    errors = []
    for t60 in T60:
        say(f"T60 {t60:g} s: room responses of {options.rooms} rooms")
        speedup, over_theirs, error = compare_backends(t60, options.rooms)
        found[f"hybrid_speedup_t60_{t60:g}"] = round(speedup, 1)
        found[f"hybrid_speedup_t60_{t60:g}_over_pyroomacoustics"] = round(over_theirs, 1)
        say(f"  hybrid is {speedup:.1f} times as fast, its decay within {error:.2f} dB")
        errors.append(error)
    found["edc_error_db"] = round(max(errors), 3)
    print(json.dumps(found))


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Time something; return the seconds and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare_backends(t60: float, count: int) -> tuple[float, float, float]:
    """(speed-up over exact, over pyroomacoustics, error of the decay in dB)"""
    config = SceneConfig.model_validate({"t60": [t60, t60]})
    rooms = [
        pool_room(config, ARRAY, seed=0, split="test", room_index=index) for index in range(count)
    ]
    hybrid = [room.model_copy(update={"rirs": "hybrid"}) for room in rooms]
    for room in (*rooms[:1], *hybrid):  # everything is loaded, and what is cached is there
        compute_rirs(room, ARRAY, RATE)
    times: dict[str, list[float]] = {"exact": [], "hybrid": [], "theirs": []}
    decays: dict[str, list[Any]] = {"exact": [], "hybrid": []}
    for index, room in enumerate(rooms):
        for name, asked in (("exact", room), ("hybrid", hybrid[index])):
            took, rirs = seconds(lambda asked=asked: compute_rirs(asked, ARRAY, RATE))
            times[name].append(took)
            decay = energy_decay(high_passed(rirs.image, RATE))
            decays[name].append(decay[..., : int(t60 * RATE)].mean(axis=(0, 1)))
        if index < max(1, count // 6):
            times["theirs"].append(seconds(lambda room=room: pyroomacoustics_rirs(room))[0])
    exact, tail = np.mean(decays["exact"], axis=0), np.mean(decays["hybrid"], axis=0)
    error = float(np.abs(tail - exact)[exact > -30].max())
    return ratio(times["exact"], times["hybrid"]), ratio(times["theirs"], times["hybrid"]), error


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over rooms of the ratio of the same room's times."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=False))


def pyroomacoustics_rirs(room: Room) -> object:
    """The same room as a user of pyroomacoustics would have it."""
    import pyroomacoustics

    absorption, order = pyroomacoustics.inverse_sabine(room.t60, room.size)
    shoebox = pyroomacoustics.ShoeBox(
        room.size, RATE, materials=pyroomacoustics.Material(absorption), max_order=order
    )
    shoebox.add_microphone_array(room.microphones(ARRAY).T)
    for speaker in room.speakers:
        shoebox.add_source(speaker.position)
    shoebox.compute_rir()
    return shoebox.rir


if __name__ == "__main__":
    main()
