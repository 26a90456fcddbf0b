# SPDX-License-Identifier: Apache-2.0
"""Cost of a training step, and the two things that `msdet train` does for it on a CPU: it keeps
freed memory pages, and lets threads that wait for one another sleep.

``python scripts/bench_training.py [KEY=VALUE ...]`` takes the overrides of ``msdet train``. Each
way is timed in processes of its own, in turn (A B C A B C ...), since neither an allocator nor
OpenMP can be reset; ``--beside 1`` does it while one other process works on these cores. The last
line is one JSON object; ratios hold on a noisy machine where seconds do not. With ``--parts`` the
shares of the step that the network's parts take, in place of these ways.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

WAYS = ("as it is", "default allocator", "spinning threads")


def main() -> None:
    """Time all ways in turn and print the medians of their ratios."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("overrides", nargs="*", help="overrides of msdet train")
    parser.add_argument("--rounds", type=int, default=3, help="of all ways")
    parser.add_argument("--steps", type=int, default=8, help="timed steps in each")
    parser.add_argument("--beside", type=int, default=0, help="processes that work meanwhile")
    parser.add_argument("--parts", action="store_true", help="shares of a step")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.parts:
        print(json.dumps(shares_of_parts(options.overrides, options.steps)))
        return
    if options.way:
        keep = options.way != "default allocator"
        print(json.dumps(step_seconds(options.overrides, options.steps, keep)))
        return
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.beside)
    ]
    try:
        seconds = in_turn(options.overrides, options.steps, options.rounds)
    finally:
        for other in others:
            other.kill()
    found: dict[str, object] = {"beside": options.beside}
    found["step_seconds"] = round(statistics.median(seconds["as it is"]), 4)
    for way in WAYS[1:]:
        pairs = zip(seconds[way], seconds["as it is"], strict=True)
        ratios = sorted(round(there / here, 2) for there, here in pairs)
        found[f"{way}, times as long"] = [statistics.median(ratios), ratios[0], ratios[-1]]
    print(json.dumps(found))


def in_turn(overrides: list[str], steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step in each way, one for each round."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *overrides, "--steps", str(steps), "--way", way]
            policy = {} if way == "spinning threads" else {"OMP_WAIT_POLICY": "PASSIVE"}
            inherited = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=inherited | policy
            )
            seconds[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{way:17}  {seconds[way][-1]:.3f} s a step", flush=True)
    return seconds


def step_seconds(overrides: list[str], steps: int, keep_pages: bool) -> float:
    """Median seconds of an optimiser step on random audio, after two steps of warm-up."""
    from msdet.memory import keep_freed_pages

    if keep_pages:
        keep_freed_pages()
    step = Step(overrides)
    times = []
    for _ in range(2 + steps):
        start = time.perf_counter()
        step.take()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def shares_of_parts(overrides: list[str], steps: int) -> dict[str, float]:
    """Return the shares of a step's time: the forward passes of parts, the rest of the forward
    pass, the losses, the backward pass and the optimiser."""
    from msdet.memory import keep_freed_pages

    keep_freed_pages()
    step, taken, begun = Step(overrides), Counter[str](), dict[str, float]()
    for name, part in step.model.named_children():
        part.register_forward_pre_hook(
            lambda _, __, name=name: begun.update({name: time.perf_counter()})
        )
        part.register_forward_hook(
            lambda _, __, ___, name=name: taken.update({name: time.perf_counter() - begun[name]})
        )
    step.take()
    taken.clear()
    for _ in range(steps):
        step.take(taken)
    whole = sum(taken[name] for name in ("forward", "loss", "backward", "optimiser"))
    parts = sum(taken.values()) - whole
    taken["beams, paths and the rest of forward"] = taken.pop("forward") - parts
    return {name: round(seconds / whole, 3) for name, seconds in taken.most_common()}


class Step:
    """A training step on random audio."""

    def __init__(self, overrides: list[str]) -> None:
        import torch

        from msdet.composing import compose
        from msdet.criteria import Criterion
        from msdet.datasets import Batch
        from msdet.parsing import parse
        from msdet.training.config import TrainConfig
        from msdet.training.run import build_model

        config = parse(TrainConfig, compose("train", overrides or ["experiment=quickstart"]))
        array = config.array.build()
        self.model = build_model(config, array)
        self.criterion = Criterion(config.criterion, array.is_linear)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), config.trainer.learning_rate)
        size, speakers = config.data.batch_size, config.num_slots
        samples = round(config.data.crop_seconds * config.sample_rate)
        angles = torch.rand(size, speakers) * (180 if array.is_linear else 360)
        self.batch = Batch(
            mixture=torch.randn(size, array.num_mics, samples),
            targets=torch.randn(size, speakers, samples),
            azimuth=angles,
            elevation=torch.zeros(size, speakers),
            distance=torch.ones(size, speakers),
            present=torch.ones(size, speakers, dtype=torch.bool),
            index=torch.arange(size),
        )

    def take(self, taken: Counter[str] | None = None) -> None:
        """Take a step; add the seconds of its phases to `taken`."""
        from msdet.training.module import losses_of

        marks = [time.perf_counter()]
        self.optimiser.zero_grad()
        output = self.model(self.batch.mixture)
        marks.append(time.perf_counter())
        total = losses_of(self.criterion, self.model, output, self.batch).total
        marks.append(time.perf_counter())
        total.backward()
        marks.append(time.perf_counter())
        self.optimiser.step()
        marks.append(time.perf_counter())
        if taken is not None:
            phases = ("forward", "loss", "backward", "optimiser")
            for name, (start, end) in zip(phases, pairwise(marks), strict=True):
                taken[name] += end - start


if __name__ == "__main__":
    main()
