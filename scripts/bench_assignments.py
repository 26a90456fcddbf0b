# SPDX-License-Identifier: Apache-2.0
"""The cost of an assignment: its share of a training step, and how each search grows.

``python scripts/bench_assignments.py [--quick] [KEY=VALUE ...]`` takes overrides of ``msdet train``
on top of ``experiment=study``. All in one process on one thread, in turn, medians. Times are CPU
seconds of this process: others on the same cores do not enter but by the caches they share.

1. For 2 to 5 speakers, whole steps (forward, criterion, backward, optimiser) on random audio with
   each of the seven assignments. Its cost is that of finding the order, clocked inside the step
   (for permutations with the losses of all pairs), and of bringing the targets into that order.
2. The searches alone for 2 to 16 speakers, and N losses against N x N.
3. Trying all permutations against the Hungarian algorithm, where one takes over from the other.

The last line is one JSON object. ``location_share_5``, ``pit_share_5`` ...: share of a step with 5
speakers, 0 to 1, of location the dearest of four. ``..._exponent``: slope of log seconds over log
speakers, from 2 to 16 (losses: to 8) or, ``..._exponent_large``, from 64 to 256.
``exhaustive_growth``: seconds at 8 over those at 7 speakers, where 8! 8 / (7! 7) = 9.1 times the
work is done. ``exhaustive_over_hungarian_4_of_8``: seconds over seconds, 4 speakers, batches of 8.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from msdet.composing import compose
from msdet.criteria import Criterion, CriterionConfig, assignment
from msdet.criteria.losses import pairwise_spectral_l1, spectral_l1
from msdet.datasets import Batch
from msdet.memory import keep_freed_pages
from msdet.parsing import parse
from msdet.training.config import TrainConfig
from msdet.training.run import build_model

NAMES: tuple[assignment.Assignment, ...] = get_args(assignment.Assignment)
SPEAKERS = (2, 3, 4, 5)
SIZES, LARGE = (2, 3, 4, 5, 6, 7, 8, 12, 16), (64, 128, 256)
EXHAUSTIVE_TO, LOSSES_TO = 8, 8
SCENES, TRIED_SCENES = 1024, 64  # enough to drown what a call costs by itself
BATCHES = (8, 32, 128)
Works = dict[Any, Callable[[], Tensor]]


def main() -> None:
    """Measure all three and print tables and one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="overrides of msdet train")
    parser.add_argument("--quick", action="store_true", help="few repeats: rough figures")
    options = parser.parse_args()
    keep_freed_pages()  # as training does
    torch.set_num_threads(1)
    rounds = 3 if options.quick else 9
    console = Console(width=100, highlight=False)
    found: dict[str, float] = {}
    for speakers in SPEAKERS:
        found |= shares(console, options.overrides, speakers, rounds)
    found |= losses_growth(console, options.overrides, rounds)
    with patch.object(assignment, "_EXHAUSTIVE_SPEAKERS", 0):  # put back afterwards
        found |= growth(console, rounds)
        found |= takeover(console, 2 * rounds)
    print(json.dumps({name: float(f"{value:.3g}") for name, value in found.items()}))


def medians(works: Works, rounds: int, least: float = 1e-3) -> dict[Any, float]:
    """CPU seconds of each, measured in turn; short ones are repeated to ``least`` seconds."""
    repeats = {}
    for key, work in works.items():
        work()
        repeats[key] = max(1, math.ceil(least / max(1e-7, clocked(work, 3))))
    times: dict[Any, list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            if repeats[key] > 1:
                work()  # the one before it has emptied the caches
            times[key].append(clocked(work, repeats[key]))
    return {key: statistics.median(seconds) for key, seconds in times.items()}


def clocked(work: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of one call, over several."""
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def show(console: Console, title: str, headings: tuple[str, ...], rows: list[list[str]]) -> None:
    """A table of figures, the first column of names."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    console.print(title)
    console.print(table)


def exponent(seconds: dict[int, float]) -> float:
    """Slope of log seconds over log speakers."""
    sizes = np.log(list(seconds))
    return float(np.polyfit(sizes, np.log(list(seconds.values())), 1)[0])


# --- share of a training step -------------------------------------------------------------


def watch(owner: object, method: str, spent: list[float]) -> None:
    """Note what each call of a method costs while it goes on being used."""
    original = getattr(owner, method)

    def clocked_method(*args: Any) -> Any:
        start = time.process_time()
        result = original(*args)
        spent.append(time.process_time() - start)
        return result

    setattr(owner, method, clocked_method)


def settings(overrides: list[str], speakers: int) -> TrainConfig:
    """Return the config of a run of the study with scenes of so many speakers."""
    count = f"scene.num_speakers=[{speakers},{speakers}]"
    return parse(TrainConfig, compose("train", ["experiment=study", count, *overrides]))


def random_batch(config: TrainConfig) -> Batch:
    """Noise in place of audio, and speakers in random directions."""
    array, size, speakers = config.array.build(), config.data.batch_size, config.scene.num_speakers
    samples = round(config.data.crop_seconds * config.sample_rate)
    shape = (size, speakers[1])
    everything = torch.ones(size, dtype=torch.bool)
    return Batch(
        mixture=torch.randn(size, array.num_mics, samples),
        targets=torch.randn(*shape, samples),
        azimuth=torch.rand(shape) * (180 if array.is_linear else 360),
        elevation=torch.zeros(shape),
        distance=torch.rand(shape) + 0.7,
        present=torch.ones(shape, dtype=torch.bool),
        has_targets=everything,
        has_azimuth=everything,
        has_distance=everything,
        index=torch.arange(size),
    )


def shares(console: Console, overrides: list[str], speakers: int, rounds: int) -> dict[str, float]:
    """Steps with every assignment in turn: a table, and each one's share."""
    config = settings(overrides, speakers)
    array, batch = config.array.build(), random_batch(config)
    model = build_model(config, array)
    optimiser = torch.optim.AdamW(model.parameters(), config.trainer.learning_rate)
    targets = model.stft(batch.targets)
    criteria, spent = {}, list[float]()
    for name in NAMES:
        keys = {**config.criterion.model_dump(), "assignment": name}
        criteria[name] = Criterion(CriterionConfig.model_validate(keys), array.is_linear)
        for method in ("location_order", "search"):  # inside the step, with its cold caches
            watch(criteria[name], method, spent)

    def step(name: assignment.Assignment) -> tuple[float, float, float]:
        spent.clear()
        start = time.process_time()
        optimiser.zero_grad()
        losses = criteria[name](model, model(batch.mixture), batch)
        losses.total.backward()
        optimiser.step()
        whole = time.process_time() - start
        return sum(spent), clocked(lambda: assignment.take(targets, losses.order)), whole

    for name in NAMES:
        step(name)
    times: dict[assignment.Assignment, list[tuple[float, float, float]]] = {
        name: [] for name in NAMES
    }
    for _ in range(rounds):
        for name in NAMES:
            times[name].append(step(name))
    rows, share = [], dict[str, float]()
    for name, measured in times.items():
        share[name] = statistics.median((find + order) / whole for find, order, whole in measured)
        find, order, whole = (1e3 * statistics.median(x) for x in zip(*measured, strict=True))
        figures = f"{find:.3f}", f"{order:.3f}", f"{whole:.0f}", f"{100 * share[name]:.3f}"
        rows.append([name, *figures])
    title = f"{speakers} speakers: a step on {config.data.batch_size} mixtures"
    headings = ("assignment", "find, ms", "reorder, ms", "step, ms", "share of step, %")
    show(console, f"{title} of {config.data.crop_seconds:g} s", headings, rows)
    by_location = max(share[name] for name in assignment.BY_LOCATION)
    found = {f"location_share_{speakers}": by_location}
    searched = [name for name in NAMES if name not in assignment.BY_LOCATION]
    return found | {f"{name}_share_{speakers}": share[name] for name in searched}


# --- the searches alone -------------------------------------------------------------------


def locations(name: assignment.Assignment, speakers: int) -> Callable[[], Tensor]:
    """The order by location of scenes with random places."""
    azimuth, distance, elevation = (360 * torch.rand(SCENES, speakers) for _ in range(3))
    where = azimuth, distance, elevation
    return partial(assignment.assign_by_location, name, *where, gap=20.0, linear=False)


def permutations(speakers: int, scenes: int, exhaustive: bool) -> Callable[[], Tensor]:
    """The search through random losses, one way or the other whatever the number of speakers."""
    losses = torch.rand(scenes, speakers, speakers)
    limit = speakers if exhaustive else 0

    def search() -> Tensor:
        assignment._EXHAUSTIVE_SPEAKERS = limit  # a patch would take as long as the search
        return assignment.assign_by_permutation(losses)

    return search


def growth(console: Console, rounds: int) -> dict[str, float]:
    """Each search over the number of speakers: a table, and how steeply it rises."""
    works: Works = {}
    scenes: dict[tuple[str, int], int] = {}
    for speakers in (*SIZES, *LARGE):
        for name in assignment.BY_LOCATION:
            works[name, speakers] = locations(name, speakers)
            scenes[name, speakers] = SCENES
        some = max(4, SCENES // speakers**2)
        works["Hungarian", speakers] = permutations(speakers, some, exhaustive=False)
        scenes["Hungarian", speakers] = some
        if speakers <= EXHAUSTIVE_TO:
            works["exhaustive", speakers] = permutations(speakers, TRIED_SCENES, exhaustive=True)
            scenes["exhaustive", speakers] = TRIED_SCENES
    took = {key: t / scenes[key] for key, t in medians(works, rounds).items()}
    ways = (*assignment.BY_LOCATION, "exhaustive", "Hungarian")
    rows = []
    for speakers in (*SIZES, *LARGE):
        cells = [took.get((way, speakers)) for way in ways]
        rows.append([str(speakers), *("" if c is None else f"{1e6 * c:.3f}" for c in cells)])
    show(console, "One scene's order, microseconds, in large batches", ("speakers", *ways), rows)
    sort, hungarian = (
        {n: took[way, n] for n in (*SIZES, *LARGE)} for way in ("azimuth", "Hungarian")
    )
    return {
        "sort_exponent": exponent({n: sort[n] for n in SIZES}),
        "sort_exponent_large": exponent({n: sort[n] for n in LARGE}),
        "hungarian_exponent": exponent({n: hungarian[n] for n in SIZES}),
        "hungarian_exponent_large": exponent({n: hungarian[n] for n in LARGE}),
        "exhaustive_growth": took["exhaustive", 8] / took["exhaustive", 7],
    }


def losses_growth(console: Console, overrides: list[str], rounds: int) -> dict[str, float]:
    """Separation losses of one order against those of all pairs, without gradients."""
    config = settings(overrides, SPEAKERS[-1])
    stft, spectra = config.model.stft, (config.data.batch_size, LOSSES_TO)
    frames = round(config.data.crop_seconds * config.sample_rate) // stft.hop + 1
    shape = (*spectra, stft.window // 2 + 1, frames)
    one, other = (torch.randn(shape, dtype=torch.complex64) for _ in range(2))
    works: Works = {}
    sizes = range(2, LOSSES_TO + 1)
    for n in sizes:
        some = one[:, :n].contiguous(), other[:, :n].contiguous()
        works["one order", n] = partial(spectral_l1, *some)
        works["all pairs", n] = partial(pairwise_spectral_l1, *some)
    took = medians(works, rounds)
    rows = []
    for n in sizes:
        single, pairs = took["one order", n], took["all pairs", n]
        rows.append([str(n), f"{1e3 * single:.2f}", f"{1e3 * pairs:.2f}", f"{pairs / single:.2f}"])
    title = f"Separation losses of {config.data.batch_size} mixtures, milliseconds"
    show(console, title, ("speakers", "one order", "all pairs", "ratio"), rows)
    return {
        "losses_exponent": exponent({n: took["one order", n] for n in sizes}),
        "pairwise_losses_exponent": exponent({n: took["all pairs", n] for n in sizes}),
    }


# --- where the Hungarian algorithm takes over ---------------------------------------------


def takeover(console: Console, rounds: int) -> dict[str, float]:
    """Both searches on training's batches: a table, and exhaustive over Hungarian."""
    sizes = (2, 3, 4, 5, 6)
    works = {
        (batch, speakers, way): permutations(speakers, batch, way == "exhaustive")
        for batch in BATCHES
        for speakers in sizes
        for way in ("exhaustive", "Hungarian")
    }
    took = medians(works, rounds)
    found, rows = {}, []
    for batch in BATCHES:
        for n in sizes:
            tried, solved = took[batch, n, "exhaustive"], took[batch, n, "Hungarian"]
            figures = f"{1e6 * tried:.1f}", f"{1e6 * solved:.1f}", f"{tried / solved:.2f}"
            rows.append([str(batch), str(n), *figures])
            found[f"exhaustive_over_hungarian_{n}_of_{batch}"] = tried / solved
    headings = ("batch", "speakers", "exhaustive", "Hungarian", "ratio")
    show(console, "A batch's permutations, microseconds", headings, rows)
    return found


if __name__ == "__main__":
    main()
