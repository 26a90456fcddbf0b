# SPDX-License-Identifier: Apache-2.0
"""Time and memory that a causal network takes to hear a stream.

``python scripts/bench_stream.py CHECKPOINT [--minutes 2] [--threads 1]``

Noise comes in pieces of the network's own blocks, as fast as it is heard. Printed is one JSON
object: the algorithm's latency; processor seconds for a second of the stream, in the mean, and
of the slowest block in a hundred relative to the block's length; and how much memory grew from the
first tenth of the stream to its end.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import psutil
import torch

import msdet


def main() -> None:
    """Hear a stream of noise, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    separator = msdet.load(options.checkpoint)
    model, rate = separator.description.model, separator.description.sample_rate
    stream = separator.stream(rate)
    mics = separator.description.array.num_mics
    size = round(stream.latency * rate) - model.stft.window + model.stft.hop
    generator = np.random.default_rng(0)
    blocks = round(60 * options.minutes * rate / size)
    seconds, memory = [], []
    process = psutil.Process()
    for _ in range(blocks):
        piece = 0.1 * generator.standard_normal((mics, size)).astype(np.float32)
        began = time.process_time()
        stream.push(piece)
        seconds.append(time.process_time() - began)
        memory.append(process.memory_info().rss)
    steady = np.array(seconds[min(20, blocks // 2) :])
    length = size / rate
    report = {
        "latency_ms": round(1000 * stream.latency, 1),
        "block_ms": round(1000 * length, 1),
        "real_time_factor": round(float(steady.mean()) / length, 3),
        "slowest_block_of_100": round(float(np.quantile(steady, 0.99)) / length, 3),
        "stream_minutes": round(blocks * length / 60, 2),
        "memory_mb": round(memory[-1] / 2**20),
        "memory_grew_mb": round((memory[-1] - memory[len(memory) // 10]) / 2**20, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
