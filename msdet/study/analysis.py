# SPDX-License-Identifier: Apache-2.0
"""What a study's results say: differences between methods, the seam, kinds of scenes, gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.bootstrap import (
    Interval,
    Values,
    Verdict,
    contrast,
    difference,
    interval,
    verdict,
)
from msdet.metrics.conditions import SEAM_DEGREES
from msdet.metrics.measures import COMPARED, MEASURES, Measure
from msdet.study.config import Comparison, StudyConfig
from msdet.study.grid import flat_settings
from msdet.study.results import Results, RunResult, SceneTable

ANGLES = (0.0, 15.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0)
SEAM_BINS = (0.0, 5.0, 15.0, 30.0, 60.0, 90.0, 180.0)
_T60S = (0.0, 0.2, 0.3, 0.4, 0.6, math.inf)
_DISTANCES = (0.0, 1.0, 1.5, 2.0, 2.5, math.inf)
_SEAM = "nearest speaker to the seam"
_MIXTURES = (-math.inf, -8.0, -4.0, 0.0, math.inf)

SEAM_MEASURES = (
    "si_sdr_improvement_db",
    "azimuth_error_median_deg",
    "azimuth_error_mean_deg",
    "azimuth_error_mean_deg_best_matched",
    "wrong_slot_rate",
    "order_accuracy",
)
BREAKDOWN_MEASURES = (
    "si_sdr_improvement_db",
    "azimuth_error_mean_deg",
    "azimuth_error_mean_deg_best_matched",
    "order_accuracy",
)
FEWEST_SHOWN, FEWEST_NAMED = 5, 20
"""Scenes that a group must have to be shown, and to be named as having the most or least gain."""


@dataclass(frozen=True)
class Compared:
    """A method minus its reference, in one measure on one set of scenes."""

    method: str
    reference: str
    scenes_set: str
    measure: Measure
    estimate: Interval


@dataclass(frozen=True)
class SeamEffect:
    """Scenes on the seam minus scenes off it, for one method.

    Attributes:
        paired: the same scenes with the array turned, or other scenes of ``main``.
    """

    method: str
    measure: Measure
    paired: bool
    estimate: Interval

    @property
    def verdict(self) -> Verdict:
        return verdict(self.estimate, self.measure)


@dataclass(frozen=True)
class Group:
    """A kind of scene or speaker, and the differences there, by measure; NaN where there is none.

    Attributes:
        kind: what is grouped by. scenes: how many hold such speakers.
    """

    kind: str
    name: str
    scenes: int
    estimates: dict[str, Interval]


@dataclass(frozen=True)
class Findings:
    """All that is computed once and shown in several places.

    Attributes:
        methods: those that have a finished run, in the study's order.
        numbers: by method, set of scenes and measure, where there are any.
        comparisons: those of which both methods share a seed.
    """

    study: StudyConfig
    results: Results
    methods: list[str]
    numbers: dict[str, dict[str, dict[str, Interval]]]
    comparisons: list[tuple[Comparison, list[Compared]]]
    seam: list[SeamEffect]

    def label(self, method: str) -> str:
        """A method's name for readers."""
        return self.study.methods[method].label

    def words(self, comparison: Comparison) -> str:
        """A comparison's name for readers."""
        return f"{self.label(comparison.method)} against {self.label(comparison.reference)}"


def find(study: StudyConfig, results: Results) -> Findings:
    """Compute them; takes a while where there are many methods."""
    methods = [method for method in study.methods if results.of(method)]
    return Findings(
        study=study,
        results=results,
        methods=methods,
        numbers={method: estimates_of(results, method) for method in methods},
        comparisons=[
            (comparison, compare(results, comparison))
            for comparison in study.comparisons
            if results.seeds(comparison.method, comparison.reference)
        ],
        seam=[effect for method in methods for effect in seam_effects(results, method)],
    )


def present(values: Values) -> bool:
    """Whether a method has such values at all."""
    return bool(np.isfinite(values).any())


def values_on(
    results: Results, method: str, quantity: str, seeds: Sequence[int]
) -> dict[str, Values]:
    """``[seed, scene, speaker]`` for each set of scenes, those of the seam by their side."""
    found: dict[str, Values] = {}
    for name in results.scenes:
        values = results.values(method, name, quantity, seeds)
        if name == "seam":
            found["on the seam"], found["off the seam"] = values[:, 0::2], values[:, 1::2]
        else:
            found[name] = values
    return found


def estimates_of(results: Results, method: str) -> dict[str, dict[str, Interval]]:
    """A method's own numbers, by set and measure, where it has them."""
    found: dict[str, dict[str, Interval]] = {}
    for measure in COMPARED:
        seeds = results.seeds(method)
        for set_name, values in values_on(results, method, measure.quantity, seeds).items():
            if present(values):
                found.setdefault(set_name, {})[measure.name] = interval(values, measure)
    return found


def compare(results: Results, comparison: Comparison) -> list[Compared]:
    """All that both methods have, over the seeds that both have."""
    seeds = results.seeds(comparison.method, comparison.reference)
    found: list[Compared] = []
    if not seeds:
        return found
    for measure in COMPARED:
        mine, theirs = (
            values_on(results, method, measure.quantity, seeds)
            for method in (comparison.method, comparison.reference)
        )
        for set_name, values in mine.items():
            if present(values) and present(theirs[set_name]):
                difference_there = difference(values, theirs[set_name], measure)
                pair = comparison.method, comparison.reference
                found.append(Compared(*pair, set_name, measure, difference_there))
    return found


def remarks(study: StudyConfig, results: Results, comparison: Comparison) -> list[str]:
    """What a reader must know of a comparison: other heads, another network, seeds missing."""
    found = []
    first, second = (
        results.of(method)[0].run.config for method in (comparison.method, comparison.reference)
    )
    mine, theirs = flat_settings(first), flat_settings(second)
    differ = [k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k)]
    if any(key.startswith("model.heads.") for key in differ):
        found.append("other heads")
    if any(key.startswith("model.") and not key.startswith("model.heads.") for key in differ):
        found.append("other network")
    if any(key.startswith("trainer.") for key in differ):
        found.append("other optimiser")
    seeds = len(results.seeds(comparison.method, comparison.reference))
    if seeds < len(study.seeds):
        found.append(f"{seeds} of {len(study.seeds)} seeds")
    return found


def seam_effects(results: Results, method: str) -> list[SeamEffect]:
    """The seam's effect on a method, on pairs, then among the scenes of `main`."""
    found: list[SeamEffect] = []
    if results.linear_array:
        return found
    seeds = results.seeds(method)
    for name in SEAM_MEASURES:
        measure = MEASURES[name]
        values = values_on(results, method, measure.quantity, seeds)
        if "on the seam" in values and present(values["on the seam"]):
            on, off = values["on the seam"], values["off the seam"]
            found.append(SeamEffect(method, measure, True, difference(on, off, measure)))
        near = results.scenes["main"].to_seam < SEAM_DEGREES
        if present(values["main"]) and near.any() and not near.all():
            effect = contrast(values["main"], near, ~near, measure)
            found.append(SeamEffect(method, measure, False, effect))
    return found


def groups(table: SceneTable, linear: bool) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Kinds of scenes and speakers of a set: what is grouped by, the group, ``[scene, speaker]``.

    Groups of very few scenes are left out, and the seam where the array is linear.
    """
    shape = table.azimuth.shape

    def of_scene(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.broadcast_to(values[:, None], shape)

    binned = (
        ("angle between speakers", of_scene(table.nearest), ANGLES, "°"),
        (_SEAM, of_scene(table.to_seam), SEAM_BINS, "°"),
        ("speaker's SI-SDR in the mixture", table.unprocessed, _MIXTURES, " dB"),
        ("T60", of_scene(table.t60), _T60S, " s"),
        ("distance of the speaker", table.distance, _DISTANCES, " m"),
    )
    found = []
    for kind, values, edges, unit in binned:
        if kind == _SEAM and linear:
            continue
        for low, high in pairwise(edges):
            inside = (values >= low) & ((values < high) | (high == edges[-1]) & (values == high))
            if inside.any(axis=1).sum() >= FEWEST_SHOWN:
                found.append((kind, _named(low, high, unit), inside))
    return found


def breakdown(results: Results, comparison: Comparison) -> list[Group]:
    """Differences by kind of scene, on `main`."""
    seeds = results.seeds(comparison.method, comparison.reference)
    found = []
    pairs = {}
    for name in BREAKDOWN_MEASURES:
        mine, theirs = (
            results.values(method, "main", MEASURES[name].quantity, seeds)
            for method in (comparison.method, comparison.reference)
        )
        if present(mine) and present(theirs):
            pairs[name] = mine, theirs
    for kind, label, inside in groups(results.scenes["main"], results.linear_array):
        estimates = {}
        for name, (mine, theirs) in pairs.items():
            one_column = mine.shape[2] == 1  # of the whole scene
            chosen = inside.any(axis=1, keepdims=True) if one_column else inside
            mask = np.where(chosen, 1.0, np.nan)
            estimates[name] = difference(mine * mask, theirs * mask, MEASURES[name])
        found.append(Group(kind, label, int(inside.any(axis=1).sum()), estimates))
    return found


def extremes(found: Sequence[Group], measure: Measure) -> tuple[Group, Group] | None:
    """The groups where a method gains most and least; None where too few are large enough."""
    large = [g for g in found if measure.name in g.estimates and g.scenes >= FEWEST_NAMED]
    if len(large) < 2:
        return None
    sign = 1 if measure.higher_is_better else -1
    ranked = sorted(large, key=lambda g: sign * g.estimates[measure.name].value)
    return ranked[-1], ranked[0]


def curve(runs: Sequence[RunResult], name: str) -> NDArray[np.float64]:
    """A column of the histories, ``[seed, epoch]``; NaN where an epoch lacks it."""
    length = max((len(r.history) for r in runs), default=0)
    found = np.full((len(runs), length), np.nan)
    for i, run in enumerate(runs):
        for epoch, row in enumerate(run.history):
            found[i, epoch] = _number(row, name)
    return found


COSINE = "train_gradient_cosine_separation_direction"
NORMS = {
    "separation": "train_gradient_norm_separation",
    "direction": "train_gradient_norm_direction",
}


def has_gradients(runs: Sequence[RunResult]) -> bool:
    """Whether both tasks' gradients on the shared encoder were measured."""
    return bool(runs) and bool(np.isfinite(curve(runs, COSINE)).any())


def weighted_share(runs: Sequence[RunResult]) -> NDArray[np.float64]:
    """The separation loss's share of the two weighted gradients' norms, ``[seed, epoch]``.

    By the weights in force, of which balancing methods keep a record.
    """
    fixed = runs[0].run.config.criterion.weight
    weighted = []
    for task, weight in (("separation", fixed), ("direction", 1.0 - fixed)):
        found = curve(runs, f"train_{task}_weight")
        weighted.append(np.where(np.isfinite(found), found, weight) * curve(runs, NORMS[task]))
    return np.asarray(weighted[0] / (weighted[0] + weighted[1]))


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def _named(low: float, high: float, unit: str) -> str:
    if math.isinf(low):
        return f"under {high:g}{unit}"
    if math.isinf(high):
        return f"{low:g}{unit} or more"
    return f"{low:g} to {high:g}{unit}"
