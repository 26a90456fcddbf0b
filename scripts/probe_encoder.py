#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well a linear layer reads directions from the features of encoders.

``python scripts/probe_encoder.py CHECKPOINT ... [--train 800] [--test 200]``

A probe (Alain, Bengio 2016, arXiv 1610.01644): what an encoder knows of directions, whether it was
trained for them or not. The features of its lowest level are averaged over time. Ridge regression
maps them to how near each azimuth class is to a speaker; its penalty is chosen on a fifth of the
training scenes. Directions are the highest peaks, as many as there are speakers, and are matched
with the speakers at the least error.

All networks hear the same scenes: those that the first was trained on, with the bundled voices,
train and test. The last line is one JSON object: for each network the mean azimuth error in
degrees, and that of a probe whose training scenes had the azimuths of others (``chance``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import linear_sum_assignment

from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.corpora import BundledConfig, open_corpus
from msdet.corpora.utterance import Split
from msdet.datasets import SimulatedMixtures
from msdet.geometry import AzimuthGrid, angular_error
from msdet.simulation import SceneConfig

SEEDS: dict[Split, int] = {"train": 31, "test": 37}
PENALTIES = tuple(10.0**power for power in range(-3, 5))
WIDTH = 8.0
"""Degrees: the standard deviation of the hill that stands for a speaker."""
APART = 15.0
"""Degrees between two peaks, as between two speakers."""

Features = NDArray[np.float64]
"""``[scene, feature]``"""
Azimuths = list[NDArray[np.float64]]
"""Of each scene, degrees ``[speaker]``."""


def main() -> None:
    """Hear the scenes, and read directions from what each network made of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--train", type=int, default=800, help="scenes to fit to")
    parser.add_argument("--test", type=int, default=200, help="scenes to read directions of")
    options = parser.parse_args()
    networks = [load_checkpoint(path) for path in options.checkpoints]
    heard = {split: hear(networks, split, getattr(options, split)) for split in ("train", "test")}
    (train, known), (test, true) = heard["train"], heard["test"]
    shuffled = [known[i] for i in np.random.default_rng(0).permutation(len(known))]
    grid, found = networks[0].model.grid, {}
    for name, of_train, of_test in zip(options.checkpoints, train, test, strict=True):
        found[name] = {
            "error_deg": round(probe(of_train, known, of_test, true, grid), 2),
            "chance_deg": round(probe(of_train, shuffled, of_test, true, grid), 2),
        }
    print(json.dumps(found))


@torch.inference_mode()
def hear(
    networks: Sequence[Checkpoint], split: Split, count: int
) -> tuple[list[Features], Azimuths]:
    """Return the features of each network, and the azimuths, of so many scenes."""
    mixtures = scenes_of(networks[0].description, split)
    features: list[list[NDArray[np.float64]]] = [[] for _ in networks]
    azimuths = []
    for number in track(range(count), f"{split} scenes"):
        example = mixtures.example(0, number)
        azimuths.append(example.azimuth.astype(np.float64))
        mixture = torch.from_numpy(example.mixture)[None]
        for network, into in zip(networks, features, strict=True):
            model = network.model
            spectra = model.stft(mixture)
            encoding = model.estimate(spectra, model.steering(mixtures.array)).encoding
            into.append(encoding.bottom[0].mean(-1).flatten().double().numpy())
    return [np.stack(of_one) for of_one in features], azimuths


def scenes_of(description: Description, split: Split) -> SimulatedMixtures:
    """Return scenes as a network was trained on, on its own array."""
    config: Any = description.config
    seconds = config["data"]["crop_seconds"]
    return SimulatedMixtures(
        open_corpus(BundledConfig(), description.sample_rate),
        description.array,
        SceneConfig.model_validate(config["scene"]),
        length=10**6,
        num_samples=round(seconds * description.sample_rate),
        seed=SEEDS[split],
        split=split,
    )


def probe(
    train: Features, known: Azimuths, test: Features, true: Azimuths, grid: AzimuthGrid
) -> float:
    """Return the mean error in degrees of directions that are read from features by a linear layer.

    Args:
        train, known: the scenes that it is fitted to. test, true: those that it is scored on.
    """
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-9
    inputs, others = (train - mean) / scale, (test - mean) / scale
    hills = np.stack([hills_of(azimuths, grid) for azimuths in known])
    kept = len(inputs) - len(inputs) // 5
    errors = [
        errors_of(read(inputs[:kept], hills[:kept], inputs[kept:], penalty), known[kept:], grid)
        for penalty in PENALTIES
    ]
    best = PENALTIES[int(np.argmin(errors))]
    return errors_of(read(inputs, hills, others, best), true, grid)


def read(inputs: Features, hills: Features, others: Features, penalty: float) -> Features:
    """Return what ridge regression of ``hills`` on ``inputs`` says of others.

    Args:
        penalty: for each scene.
    """
    offset = hills.mean(axis=0)
    kernel = inputs @ inputs.T
    loaded = kernel + penalty * len(inputs) * np.eye(len(inputs))
    found: Features = others @ inputs.T @ np.linalg.solve(loaded, hills - offset) + offset
    return found


def hills_of(azimuths: NDArray[np.float64], grid: AzimuthGrid) -> NDArray[np.float64]:
    """Return ``[class]``: 1 where a speaker is, less around."""
    apart = angular_error(grid.centres, azimuths[:, None], grid.linear)
    return np.asarray(np.exp(-0.5 * np.square(apart / WIDTH)).max(axis=0, initial=0.0))


def errors_of(hills: Features, true: Azimuths, grid: AzimuthGrid) -> float:
    """Return the mean error of the highest peaks, degrees."""
    errors: list[float] = []
    for row, azimuths in zip(hills, true, strict=True):
        peaks, left = [], row.copy()
        for _ in azimuths:
            peaks.append(float(grid.centres[int(left.argmax())]))
            left[angular_error(grid.centres, peaks[-1], grid.linear) < APART] = -np.inf
        cost = angular_error(np.array(peaks)[:, None], azimuths, grid.linear)
        errors += cost[linear_sum_assignment(cost)].tolist()
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
