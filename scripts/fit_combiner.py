# SPDX-License-Identifier: Apache-2.0
"""Fit the combiner of a network, all of whose other weights stay as they are.

``python scripts/fit_combiner.py CHECKPOINT OUTPUT [--examples 3000] [--workers 2]``

A combiner (``model.heads.combiner_blocks``) sums two estimates of each speaker, with weights that
are the same for the whole utterance. So the error is a quadratic form of the weights: of an
example, its coefficients and the statistics that the weights are read from are all that training
needs. The network hears every example once; passes over thousands of them take minutes.

Examples are drawn from the scenes and arrays that the checkpoint was trained on, with the bundled
train voices; microphones are off by 1 mm besides. What is fitted is the mean logarithm of the
error's energy relative to the speaker's. The last line is one JSON object: SI-SDR in dB on examples
of valid voices, of the network's estimates, of the average that the combiner starts as, and of the
combiner. Stopping and starting again goes on from the examples of this checkpoint in ``--cache``.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from msdet.checkpoints import Checkpoint, Description, load_checkpoint, save_portable
from msdet.corpora import BundledConfig, open_corpus
from msdet.corpora.utterance import Split
from msdet.datasets import SimulatedMixtures
from msdet.datasets.config import ArraysConfig
from msdet.datasets.many_arrays import build_arrays
from msdet.files import replacing
from msdet.models.beamforming import DRY_SHARE
from msdet.models.config import HeadsConfig
from msdet.models.equaliser import Combiner
from msdet.models.frontends import power
from msdet.models.msdet import MSDET
from msdet.provenance import git_commit, versions
from msdet.simulation import SceneConfig
from msdet.tasks import trained_tasks

SEEDS: dict[Split, int] = {"train": 1, "valid": 7}
SECONDS = 4.0
POSITION = 0.001
"""Metres by which microphones are off (standard deviation)."""
CHUNK = 25

Kept = dict[str, Tensor]
"""Kept of slots: `statistics` ``[slot, statistic, freq]``; `covariance` ``[slot, freq, 2, 2]`` of
its two signals and `cross` ``[slot, freq, 2]``, theirs with the target, both complex,
relative to the target's energy; `share` ``[slot, freq]``, of the target's energy."""


def main() -> None:
    """Draw examples, fit, score, and write the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", help="a file, or the name of a model that ships")
    parser.add_argument("output", help="the checkpoint to write")
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--valid-examples", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--blocks", type=int, choices=range(1, 13), default=7)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--cache", help="a folder for the examples, of some hundred megabytes")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers
    loaded = load_checkpoint(options.checkpoint)
    description = with_combiner(loaded, options.blocks, options.channels)
    digest = hashlib.sha256(loaded.path.read_bytes()).hexdigest()[:12]
    folder = Path(options.cache) / digest if options.cache else None
    make = partial(examples, options.checkpoint, folder, options.workers)
    valid, train = make("valid", options.valid_examples), make("train", options.examples)
    torch.manual_seed(0)
    model = with_weights(description, loaded)
    assert model.combiner is not None
    fit(model.combiner, train, options.epochs)
    fixed = torch.tensor([1.0 - DRY_SHARE, DRY_SHARE]).to(torch.complex64)
    scores = {
        "estimates": si_sdr(torch.tensor([1.0, 0.0]).to(torch.complex64), valid),
        "average": si_sdr(fixed, valid),
        "combiner": si_sdr(predicted(model.combiner, valid["statistics"]), valid),
    }
    training = {**description.training, "combiner_examples": options.examples}
    made = {"training": training, "versions": versions(), "git_commit": git_commit()}
    save_portable(options.output, model, description.model_copy(update=made))
    print(json.dumps({name: round(score, 2) for name, score in scores.items()}))


def with_combiner(loaded: Checkpoint, blocks: int, channels: int) -> Description:
    """Return a checkpoint's description with the keys of a combiner.

    Args:
        channels: of the combiner's blocks; a network with an equaliser keeps those of that.
    """
    description, config = loaded.description, loaded.description.model.heads
    tasks = trained_tasks(description.weight, description.distance_weight)
    if not {"separation", "direction"} <= set(tasks):
        raise SystemExit(
            f"{loaded.path}: was trained for {' and '.join(tasks)} alone; a combiner "
            "needs separation and directions"
        )
    keys = {"dereverberations": config.dereverberations or 3, "combiner_blocks": blocks}
    if loaded.model.equaliser is None:
        keys["equaliser_channels"] = channels
    heads = HeadsConfig.model_validate({**config.model_dump(), **keys})
    model = description.model.model_copy(update={"heads": heads})
    trained = {**description.config, "model": model.model_dump(mode="json")}
    return description.model_copy(update={"model": model, "config": trained, "metrics": {}})


def with_weights(description: Description, loaded: Checkpoint) -> MSDET:
    """Return the network with a new combiner and a checkpoint's other weights."""
    model, before = description.build(), loaded.model.state_dict()
    others = {name: value for name, value in before.items() if not name.startswith("combiner.")}
    model.load_state_dict({**model.state_dict(), **others})
    return model


# --- examples -----------------------------------------------------------------------------------


def examples(checkpoint: str, folder: Path | None, workers: int, split: Split, count: int) -> Kept:
    """Draw and hear examples, or read those of an earlier run."""
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    make = partial(chunk, checkpoint, folder, split)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        made = [*track(pool.map(make, chunks), f"{split} examples", total=len(chunks))]
    return {
        name: torch.from_numpy(np.concatenate([each[name] for each in made])) for name in made[0]
    }


def chunk(
    checkpoint: str, folder: Path | None, split: Split, numbers: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Hear some examples, or read them; arrays, since each tensor from a process holds a file."""
    path = folder and folder / f"{split}-{numbers[0]:06d}-{len(numbers)}.pt"
    if path and path.exists():
        return {name: value.numpy() for name, value in torch.load(path).items()}
    kept = [heard(checkpoint, split, number) for number in numbers]
    made = {name: torch.cat([each[name] for each in kept]) for name in kept[0]}
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            torch.save(made, file)
    return {name: value.numpy() for name, value in made.items()}


@cache
def opened(checkpoint: str, split: Split) -> tuple[Checkpoint, list[SimulatedMixtures]]:
    """The network, with a combiner to be asked, and scenes of each array that it was trained on."""
    torch.set_num_threads(1)
    loaded = load_checkpoint(checkpoint)
    description = with_combiner(loaded, 1, 4)
    model = with_weights(description, loaded)
    config: Any = description.config
    wrong = {**config["scene"]["imperfections"], "position": POSITION}
    scene = SceneConfig.model_validate({**config["scene"], "imperfections": wrong})
    arrays = ArraysConfig.model_validate(config["data"]["arrays"])
    corpus = open_corpus(BundledConfig(), description.sample_rate)
    mixtures = [
        SimulatedMixtures(
            corpus,
            array,
            scene,
            length=10**6,
            num_samples=round(SECONDS * description.sample_rate),
            seed=SEEDS[split],
            split=split,
        )
        for array in build_arrays(arrays, description.array, config["seed"])
    ]
    return Checkpoint(loaded.path, model.eval(), description), mixtures


@torch.inference_mode()
def heard(checkpoint: str, split: Split, number: int) -> Kept:
    """Hear one example, and keep what fitting needs of the slots that hold its speakers."""
    loaded, mixtures = opened(checkpoint, split)
    model, drawn = loaded.model, mixtures[number % len(mixtures)]
    example = drawn.example(0, number)
    asked: list[Tensor] = []
    assert model.combiner is not None
    hook = model.combiner.register_forward_pre_hook(lambda _, given: asked.extend(given))
    spectra = model.stft(torch.from_numpy(example.mixture)[None])
    model.estimate(spectra, model.steering(drawn.array))
    hook.remove()
    estimates, dry, statistics = asked[0][0], asked[1][0], asked[2][0, :, 0]
    targets = model.stft(torch.from_numpy(example.targets[example.targets.any(1)]))
    slots = torch.tensor(closest(estimates, targets))
    signals = torch.stack([estimates[slots], dry[slots]], dim=2)  # [slot, freq, 2, frame]
    energy = power(targets).sum((-2, -1))[:, None]
    return {
        "statistics": statistics[slots],
        "covariance": signals @ signals.mH / energy[..., None, None],
        "cross": (signals @ targets[..., None].conj())[..., 0] / energy[..., None],
        "share": power(targets).sum(-1) / energy,
    }


def closest(estimates: Tensor, targets: Tensor) -> tuple[int, ...]:
    """The slot of each speaker that is most like them, all in all."""
    alike = torch.einsum("nft,sft->ns", estimates, targets.conj()).abs()
    alike /= power(estimates).sum((1, 2)).sqrt()[:, None] + 1e-6
    orders = itertools.permutations(range(len(estimates)), len(targets))
    return max(orders, key=lambda order: float(alike[list(order), range(len(targets))].sum()))


# --- training -----------------------------------------------------------------------------------


def fit(combiner: Combiner, train: Kept, epochs: int) -> None:
    """Train the combiner, in place."""
    count = len(train["share"])
    size = min(16, count)
    steps = epochs * (count // size)
    optimizer = torch.optim.AdamW(combiner.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps + 1, pct_start=0.1)
    combiner.train()
    for _ in track(range(epochs), "passes"):
        for chosen in torch.randperm(count)[: count // size * size].split(size):
            part = {name: values[chosen] for name, values in train.items()}
            loss = error(weights_of(combiner, part["statistics"]), part).log().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(combiner.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    combiner.eval()


def weights_of(combiner: Combiner, statistics: Tensor) -> Tensor:
    """Return the combiner's weights, complex ``[slot, freq, 2]``."""
    return combiner.complex_weights(statistics[None])[0].mT


@torch.no_grad()
def predicted(combiner: Combiner, statistics: Tensor) -> Tensor:
    """The weights of many slots, some at a time."""
    return torch.cat([weights_of(combiner, part) for part in statistics.split(32)])


def energy_of(weights: Tensor, kept: Kept) -> Tensor:
    """Energy of the weighted sums relative to the targets' ``[slot]``."""
    weights = weights.expand_as(kept["cross"])
    product = (kept["covariance"] * weights.conj()[..., None, :]).sum(-1)
    return (weights * product).sum((-2, -1)).real


def error(weights: Tensor, kept: Kept) -> Tensor:
    """Energy of the difference to the targets relative to theirs ``[slot]``."""
    found = energy_of(weights, kept) - 2 * (weights * kept["cross"]).sum((-2, -1)).real
    return (found + kept["share"].sum(-1)).clamp_min(1e-6)


def si_sdr(weights: Tensor, kept: Kept) -> float:
    """Mean over slots, dB."""
    like = (weights * kept["cross"]).sum((-2, -1)).real.square()
    return float(10 * torch.log10(like / (energy_of(weights, kept) - like)).mean())


if __name__ == "__main__":
    main()
