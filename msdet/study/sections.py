# SPDX-License-Identifier: Apache-2.0
"""The parts of a study's page that show what came out, each a table, a picture or both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.bootstrap import Verdict
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.metrics.measures import COMPARED, MEASURES, Measure
from msdet.study import curves, pictures
from msdet.study.analysis import (
    BREAKDOWN_MEASURES,
    COSINE,
    FEWEST_NAMED,
    FEWEST_SHOWN,
    NORMS,
    SEAM_MEASURES,
    Compared,
    Findings,
    Group,
    SeamEffect,
    breakdown,
    curve,
    extremes,
    has_gradients,
    remarks,
    weighted_share,
)
from msdet.study.config import Comparison
from msdet.study.markdown import NOTHING, difference, heading, number, picture, table

_VERDICTS: dict[Verdict, str] = {
    "equivalent": "equivalent",
    "better": "better on the seam",
    "worse": "worse on the seam",
    "not shown": "neither shown",
}
_DRAWN = ("si_sdr_improvement_db", "azimuth_error_mean_deg", "azimuth_error_mean_deg_best_matched")
_SEAM_DRAWN = ("si_sdr_improvement_db", "azimuth_error_mean_deg", "order_accuracy")
_SMALL_DB, _SMALL_DEG = (MEASURES[name].margin for name in _DRAWN[:2])


def numbers(found: Findings) -> str:
    """Every method on the scenes of the task."""
    scenes = len(found.results.scenes["main"].ids)
    failed = sum(run.failures for run in found.results.runs)
    return (
        f"## On {scenes} scenes of the task\n\nMeans over seeds [95 % interval over seeds and "
        "scenes], on voices and rooms that training never saw. As claimed: the direction of the "
        "slot that holds the speaker's voice; best matched: of the slot whose direction fits best, "
        "which is all that direction alone can be scored by.\n\n"
        + _own_numbers(found, "main")
        + (f"\n{failed} values could not be computed.\n" if failed else "")
    )


def comparisons(found: Findings, folder: Path) -> str:
    """All comparisons on the scenes of the task."""
    if not found.comparisons:
        return ""
    on_main = _on(found, "main")
    notes = {
        comparison: ", ".join(remarks(found.study, found.results, comparison))
        for comparison, _ in on_main
    }
    having = {name for _, by_name in on_main for name in by_name}
    lines = [
        (found.words(c), {name: one.estimate for name, one in by_name.items()})
        for c, by_name in on_main
    ]
    drawn = [MEASURES[name] for name in _DRAWN if name in having]
    pictures.draw_differences(lines, drawn, folder / "comparisons.png")
    return (
        "## Differences\n\nThe first minus the second, paired by seed, scene and speaker [95 % "
        "interval]; bold where the interval excludes zero. Other heads, another network: they "
        "differ in more than their criterion.\n\n"
        + _differences(found, on_main, notes)
        + picture(folder, "comparisons.png", "Differences with their intervals")
    )


def by_angle(found: Findings, folder: Path) -> str:
    """Scores by the angle between the speakers."""
    pictures.draw_by_angle(found.results, looks(found), folder / "angle.png")
    words = "Scores by the angle between the speakers"
    return "## By angle between speakers\n" + picture(folder, "angle.png", words)


def seam(found: Findings, folder: Path) -> str:
    """What happens where sorting by azimuth breaks."""
    if not found.seam:
        return ""
    text = (
        "## The seam\n\nSorting by azimuth from 0 degrees parts neighbours at 359 and 1 degree. "
        f"On the seam: a speaker stands within {SEAM_DEGREES:g} degrees of 0. "
    )
    paired = [effect for effect in found.seam if effect.paired]
    if paired:
        text += (
            f"{paired[0].estimate.scenes} scenes were rendered twice, their array turned by one "
            "of its own symmetries so that one of the two is on the seam: room, voices and "
            "microphones' places are the same, labels turn. On the seam minus off it [95 % "
            f"interval]. Equivalent: the whole interval is within {_SMALL_DB:g} dB, or "
            f"{_SMALL_DEG:g} degree. Neither shown: it is wider than that and holds zero.\n\n"
        )
        text += _seam_table(found, paired)
        drawn = [MEASURES[n] for n in _SEAM_DRAWN if any(e.measure.name == n for e in paired)]
        lines = [
            (found.label(m), {e.measure.name: e.estimate for e in paired if e.method == m})
            for m in found.methods
        ]
        shown = [line for line in lines if line[1]]
        pictures.draw_differences(shown, drawn, folder / "seam-pairs.png")
        text += picture(folder, "seam-pairs.png", "The seam's effect on pairs of scenes")
    else:
        text += f"No pairs: {found.results.left_out['seam']}.\n"
    unpaired = [effect for effect in found.seam if not effect.paired]
    if unpaired:
        text += (
            "\nAmong the scenes of the task, which differ in more than the seam (not paired):\n\n"
            + _seam_table(found, unpaired)
        )
    pictures.draw_by_seam(found.results, looks(found), folder / "seam.png")
    return text + picture(folder, "seam.png", "Scores by the nearest speaker's angle to the seam")


def opposite(found: Findings) -> str:
    """What happens where `cyclic` breaks."""
    text = "## Speakers opposite each other\n\n"
    if "opposite" in found.results.left_out:
        return text + f"Left out: {found.results.left_out['opposite']}.\n"
    scenes = len(found.results.scenes["opposite"].ids)
    text += (
        f"{scenes} scenes with two speakers more than {OPPOSITION_DEGREES:g} degrees apart, where "
        "`cyclic` breaks: its price.\n\n"
    )
    text += _own_numbers(found, "opposite")
    if found.comparisons:
        text += "\n" + _differences(found, _on(found, "opposite"))
    return text


def training(found: Findings, folder: Path) -> str:
    """Validation scores over examples and time."""
    curves.draw_training(found.results, looks(found), folder / "training.png")
    words = "Validation scores over examples and over time"
    text = "## Training\n" + picture(folder, "training.png", words)
    alone = [m for m in found.methods if "separation" not in found.results.of(m)[0].tasks]
    if alone:
        names = ", ".join(found.label(method) for method in alone)
        text += (
            f"\nAngles are as claimed; of {names}, slots are matched by what passes the masks that "
            "its directions are pooled with.\n"
        )
    return text


def gradients(found: Findings, folder: Path) -> str:
    """How the tasks pull at the shared encoder."""
    having = [m for m in found.methods if has_gradients(found.results.of(m))]
    if not having:
        return ""
    drawn = {method: look for method, look in looks(found).items() if method in having}
    curves.draw_gradients(found.results, drawn, folder / "gradients.png")
    rows = []
    for method in having:
        runs = found.results.of(method)
        cosine, share = curve(runs, COSINE), weighted_share(runs)
        norms = [curve(runs, name) for name in NORMS.values()]
        rows.append(
            [
                found.label(method),
                *(_shown(end, "{:.3g}") for norm in norms for end in _ends(norm)),
                *(_shown(100 * end, "{:.0f} %") for end in _ends(share)),
                *(_shown(end, "{:+.2f}") for end in _ends(cosine)),
                _shown(100 * (cosine[np.isfinite(cosine)] < 0).mean(), "{:.0f} %"),
            ]
        )
    head = ["method", "separation, first", "last", "direction, first", "last", "share, first"]
    head += ["last", "cosine, first", "last", "epochs with a negative mean cosine"]
    return (
        "## The tasks' gradients\n\nNorms on the shared encoder, means over the steps of the first "
        "and of the last epoch, then over seeds. Share: of separation, in the sum of both norms "
        "at the weights in force. A negative cosine is a fight between the tasks.\n\n"
        + table(head, rows)
        + picture(folder, "gradients.png", "The tasks' gradients over training")
    )


def where(found: Findings) -> str:
    """For which scenes a difference is large and for which it is small."""
    wanted = [comparison for comparison, _ in found.comparisons if comparison.breakdown]
    if not wanted:
        return ""
    text = (
        "## Where it gains and where it does not\n\nDifferences on the task by kind of scene [95 % "
        f"interval]; groups of fewer than {FEWEST_SHOWN} scenes are left out. Among so many "
        "groups, one in twenty intervals excludes zero by chance.\n"
    )
    for comparison in wanted:
        of_groups = breakdown(found.results, comparison)
        names = [n for n in BREAKDOWN_MEASURES if any(n in g.estimates for g in of_groups)]
        chosen = [MEASURES[name] for name in names]
        rows = [
            [
                group.kind,
                group.name,
                str(group.scenes),
                *(difference(group.estimates.get(m.name), m) for m in chosen),
            ]
            for group in of_groups
        ]
        text += f"\n### {found.words(comparison)}\n\n" + _extremes(of_groups)
        text += table(["by", "group", "scenes", *map(heading, chosen)], rows)
    return text


def looks(found: Findings) -> dict[str, pictures.Look]:
    """Chosen among all methods of the study: that one is missing does not change the others'."""
    every = pictures.looks({name: method.label for name, method in found.study.methods.items()})
    return {method: every[method] for method in found.methods}


_ByName = tuple[Comparison, dict[str, Compared]]


def _on(found: Findings, scenes_set: str) -> list[_ByName]:
    """The comparisons on one set of scenes, by measure."""
    return [
        (comparison, {c.measure.name: c for c in compared if c.scenes_set == scenes_set})
        for comparison, compared in found.comparisons
    ]


def _own_numbers(found: Findings, scenes_set: str) -> str:
    own = {method: found.numbers[method].get(scenes_set, {}) for method in found.methods}
    chosen = _measures_in(name for of_method in own.values() for name in of_method)
    rows = [
        [found.label(method), *(number(of_method.get(m.name), m) for m in chosen)]
        for method, of_method in own.items()
    ]
    return table(["method", *map(heading, chosen)], rows)


def _differences(
    found: Findings, compared: Sequence[_ByName], notes: dict[Comparison, str] | None = None
) -> str:
    chosen = _measures_in(name for _, by_name in compared for name in by_name)
    rows = []
    for comparison, by_name in compared:
        estimates = {name: one.estimate for name, one in by_name.items()}
        cells = [difference(estimates.get(m.name), m) for m in chosen]
        rows.append([found.words(comparison), *cells, *([notes[comparison]] if notes else [])])
    return table(["compared", *map(heading, chosen), *(["remark"] if notes else [])], rows)


def _measures_in(names: Iterable[str]) -> list[Measure]:
    there = set(names)
    return [measure for measure in COMPARED if measure.name in there]


def _seam_table(found: Findings, effects: Sequence[SeamEffect]) -> str:
    chosen = [MEASURES[n] for n in SEAM_MEASURES if any(e.measure.name == n for e in effects)]
    rows = []
    for method in found.methods:
        own = {e.measure.name: e for e in effects if e.method == method}
        if own:
            rows.append([found.label(method), *(_seam_cell(own.get(m.name), m) for m in chosen)])
    return table(["method", *map(heading, chosen)], rows)


def _seam_cell(effect: SeamEffect | None, measure: Measure) -> str:
    if effect is None:
        return NOTHING
    judged = f"<br>{_VERDICTS[effect.verdict]}" if measure.margin is not None else ""
    return difference(effect.estimate, measure) + judged


def _extremes(of_groups: Sequence[Group]) -> str:
    text = ""
    for name in BREAKDOWN_MEASURES[:2]:
        measure = MEASURES[name]
        ends = extremes(of_groups, measure)
        if ends is not None:
            most, least = (
                f"{g.kind} {g.name} ({difference(g.estimates[name], measure)} {measure.unit})"
                for g in ends
            )
            title = measure.title[0].upper() + measure.title[1:]
            text += (
                f"{title}, among groups of {FEWEST_NAMED} scenes or more: gains most with {most}, "
                f"least with {least}.\n\n"
            )
    return text


def _ends(curves: NDArray[np.float64]) -> tuple[float, float]:
    """The first and the last epoch that was measured, means over seeds ``[seed, epoch]``."""
    measured = [curve[np.isfinite(curve)] for curve in curves]
    pairs = [(curve[0], curve[-1]) for curve in measured if len(curve)]
    first, last = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
    return float(first), float(last)


def _shown(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else NOTHING
