# SPDX-License-Identifier: Apache-2.0
"""What a training step costs, and what keeping freed memory pages buys on a CPU.

``python scripts/bench_training.py [KEY=VALUE ...]`` takes the overrides of ``msdet train``. Each
way is timed in processes of its own, in turn (A B A B ...), since an allocator cannot be reset.
The last line is one JSON object; ratios hold on a noisy machine where seconds do not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time


def main() -> None:
    """Time both ways in turn and print the medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", help="overrides of msdet train")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of processes")
    parser.add_argument("--steps", type=int, default=8, help="timed steps in each")
    parser.add_argument("--keep-pages", choices=("yes", "no"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.keep_pages:
        keep = options.keep_pages == "yes"
        print(json.dumps(step_seconds(options.overrides, options.steps, keep)))
        return
    seconds: dict[str, list[float]] = {"yes": [], "no": []}
    for _ in range(options.rounds):
        for way in ("yes", "no"):
            command = [sys.executable, __file__, *options.overrides]
            command += ["--steps", str(options.steps), "--keep-pages", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"keep freed pages: {way:3}  {seconds[way][-1]:.3f} s a step", flush=True)
    ratios = [no / yes for yes, no in zip(seconds["yes"], seconds["no"], strict=True)]
    print(
        json.dumps(
            {
                "step_seconds": round(statistics.median(seconds["yes"]), 4),
                "step_seconds_default_allocator": round(statistics.median(seconds["no"]), 4),
                "speedup_of_kept_pages": round(statistics.median(ratios), 2),
                "speedup_lowest": round(min(ratios), 2),
                "speedup_highest": round(max(ratios), 2),
            }
        )
    )


def step_seconds(overrides: list[str], steps: int, keep_pages: bool) -> float:
    """Median seconds of an optimiser step on random audio, after two steps of warm-up."""
    from msdet.memory import keep_freed_pages

    if keep_pages:
        keep_freed_pages()
    import torch

    from msdet.cli import compose
    from msdet.config import TrainConfig, parse
    from msdet.criteria import Criterion
    from msdet.datasets import Batch
    from msdet.training.run import build_model

    config = parse(TrainConfig, compose("train", overrides or ["experiment=quickstart"]))
    array = config.array.build()
    model, criterion = build_model(config, array), Criterion(config.criterion, array.is_linear)
    optimiser = torch.optim.AdamW(model.parameters(), config.trainer.learning_rate)
    size, speakers = config.data.batch_size, config.num_slots
    samples = round(config.data.crop_seconds * config.sample_rate)
    angles = torch.rand(size, speakers) * (180 if array.is_linear else 360)
    batch = Batch(
        mixture=torch.randn(size, array.num_mics, samples),
        targets=torch.randn(size, speakers, samples),
        azimuth=angles,
        elevation=torch.zeros(size, speakers),
        distance=torch.ones(size, speakers),
        present=torch.ones(size, speakers, dtype=torch.bool),
        has_targets=torch.ones(size, dtype=torch.bool),
        has_azimuth=torch.ones(size, dtype=torch.bool),
        has_distance=torch.ones(size, dtype=torch.bool),
        index=torch.arange(size),
    )
    times = []
    for _ in range(2 + steps):
        start = time.perf_counter()
        optimiser.zero_grad()
        criterion(model, model(batch.mixture), batch).total.backward()
        optimiser.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
