# SPDX-License-Identifier: Apache-2.0
"""The cost of `msdet separate`: real-time factor, peak memory, and how long it takes to start.

``python scripts/bench_separation.py CHECKPOINT [--seconds 300] [--sample-rate 16000]``

A recording of noise in syllables, of as many microphones as the checkpoint was trained with, is
written to a temporary folder; every command is a process of its own, on one thread.

- ``start_cpu_seconds``: CPU seconds of separating 5 s, start to end, without a picture.
- ``cpu_real_time_factor``: CPU seconds of the long recording less those of the short one, over the
  seconds between them: below 1 is faster than real time on one core.
- ``network_share``: of it, what the network's windows alone take, clocked in this process; the rest
  is reading, resampling, stitching and writing.
- ``peak_megabytes``: largest resident memory of the long one; ``..._short``: of the short one.

CPU seconds, since others on the same cores do not enter. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from msdet.shipped import find_checkpoint

SHORT_SECONDS = 5.0
WINDOWS = 3


def main() -> None:
    """Measure a short and a long recording, and the network alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", help="a file, or the name of a model that ships")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--sample-rate", type=int, default=16000)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    checkpoint = find_checkpoint(options.checkpoint).absolute()
    network, num_mics = network_seconds(checkpoint)
    with TemporaryDirectory() as folder:
        short = measured(Path(folder), checkpoint, options.sample_rate, SHORT_SECONDS, num_mics)
        long = measured(Path(folder), checkpoint, options.sample_rate, options.seconds, num_mics)
    factor = (long[0] - short[0]) / (options.seconds - SHORT_SECONDS)
    print(
        json.dumps(
            {
                "start_cpu_seconds": round(short[0], 2),
                "cpu_real_time_factor": round(factor, 3),
                "times_real_time": round(1 / factor, 1),
                "network_share": round(network / factor, 2),
                "peak_megabytes": round(long[1] / 1e6),
                "peak_megabytes_short": round(short[1] / 1e6),
            }
        )
    )


def network_seconds(checkpoint: Path) -> tuple[float, int]:
    """CPU seconds that the network takes for a second of a long recording; microphones."""
    import torch

    from msdet.checkpoints import load_checkpoint
    from msdet.inference.config import OVERLAP, WINDOW_SECONDS
    from msdet.inference.window_network import WindowNetwork

    torch.set_num_threads(1)
    loaded = load_checkpoint(checkpoint)
    array = loaded.description.array
    network = WindowNetwork(loaded, array, None)
    size = round(WINDOW_SECONDS * loaded.description.sample_rate)
    audio = np.random.default_rng(0).standard_normal((array.num_mics, size)).astype(np.float32)
    network(audio)
    start = time.process_time()
    for _ in range(WINDOWS):
        network(audio)
    took = (time.process_time() - start) / WINDOWS
    return took / (WINDOW_SECONDS * (1.0 - OVERLAP)), array.num_mics


def measured(
    folder: Path, checkpoint: Path, rate: int, seconds: float, num_mics: int
) -> tuple[float, float]:
    """CPU seconds and peak bytes of separating a recording of this length."""
    path = folder / f"{seconds:g}.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, num_mics, subtype="PCM_16", format="WAV") as file:
        for second in range(int(seconds)):
            loudness = 0.1 * abs(np.sin(2 * np.pi * (3.1 * second + np.arange(rate) / rate * 3.1)))
            file.write((loudness[:, None] * rng.standard_normal((rate, num_mics))).clip(-1, 1))
    out = folder / f"out {seconds:g}"
    command = [sys.executable, "-m", "msdet", "separate", str(path), "picture=false"]
    command += [f"checkpoint={checkpoint}", f"output={out}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, after.ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
