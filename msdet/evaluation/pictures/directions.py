# SPDX-License-Identifier: Apache-2.0
"""Directions: those of one scene, and the azimuths and their errors of many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.figures import COLOURS, GREY, grid_of_axes, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.projections.polar import PolarAxes


_RIM = 1.0
_BAND = 0.35
"""Height of the fringe of posteriors beyond the rim, as a share of the rim's radius."""


@styled
def polar_plot(
    azimuth_truth: ArrayLike,
    distance: ArrayLike,
    azimuth_estimate: ArrayLike,
    path: Path,
    *,
    posteriors: ArrayLike | None = None,
    linear_array: bool = False,
    title: str = "",
) -> None:
    """One scene's directions: where the speakers are, and where the model says they are.

    0 degrees points right, along the array's x axis; angles grow counter-clockwise. Nothing is
    farther out for being farther away: distances stand in the legend.

    Args:
        azimuth_truth, azimuth_estimate: ``[speaker]`` degrees, in the same order of speakers; NaN
            for one who was not found.
        distance: ``[speaker]`` metres.
        posteriors: ``[speaker, class]``, probabilities of the classes of an ``AzimuthGrid``;
            drawn as a fringe around the rim. NaN for one who was not found.
        linear_array: draw half a circle, since the array cannot tell its two sides apart.
        path: the PNG file.
    """
    truth, far = np.asarray(azimuth_truth, np.float64), np.asarray(distance, np.float64)
    estimate = np.asarray(azimuth_estimate, np.float64)
    figure = new_figure((7.2, 4.6))
    axes: PolarAxes = figure.add_subplot(projection="polar")  # type: ignore[assignment]
    for speaker in range(len(truth)):
        colour, name = COLOURS[speaker % len(COLOURS)], f"speaker {speaker + 1}"
        label = f"{name}, true: {truth[speaker]:.0f}° ({far[speaker]:.1f} m away)"
        at = np.radians(truth[speaker])
        axes.plot(at, _RIM, "o", color=colour, markersize=10, label=label, clip_on=False)
        if np.isfinite(estimate[speaker]):
            said = np.radians([estimate[speaker]] * 2)
            label = f"{name}, estimated: {estimate[speaker]:.0f}°"
            ray: dict[str, Any] = {"color": colour, "linewidth": 1.6, "markerfacecolor": "white"}
            axes.plot(said, [0, 0.86 * _RIM], "--D", markevery=[1], label=label, **ray)
        if posteriors is not None:
            probabilities = np.nan_to_num(np.asarray(posteriors, np.float64)[speaker])
            turn = 180.0 if linear_array else 360.0
            if not linear_array:  # back to class 0
                probabilities = np.append(probabilities, probabilities[0])
            angles = np.radians(np.linspace(0.0, turn, len(probabilities)))
            _draw_posterior(axes, angles, probabilities, colour)
    axes.plot(0, 0, "+", color="black", markersize=9, markeredgewidth=1.5, label="array")
    axes.set_ylim(0, _RIM if posteriors is None else _RIM + _BAND)
    axes.set_yticks([_RIM], [])
    axes.set_xticks(np.radians(np.arange(0, 181 if linear_array else 360, 30)))
    if linear_array:
        axes.set_thetamax(180.0)
    axes.spines["polar"].set_color("#BBBBBB")
    axes.set_title(title, pad=12)
    figure.legend(loc="outside right center")
    save(figure, path)


def _draw_posterior(
    axes: PolarAxes, angles: NDArray[np.float64], posterior: NDArray[np.float64], colour: str
) -> None:
    """A fringe outside the rim, as high as ``_BAND`` at the likeliest class."""
    share = posterior / max(float(posterior.max()), 1e-12)
    height = np.where(share > 0.01, _RIM + _BAND * share, np.nan)
    axes.fill_between(angles, _RIM, height, color=colour, alpha=0.35, linewidth=0)
    axes.plot(angles, height, color=colour, linewidth=0.8)


@styled
def azimuth_scatter(
    azimuth_truth: ArrayLike,
    azimuth_estimate: ArrayLike,
    path: Path,
    *,
    linear_array: bool = False,
) -> None:
    """Estimated against true azimuth of every speaker of a test set, degrees, any shape.

    The band around the diagonal goes on in the two other corners, where 359 meets 1 degree.
    """
    truth, estimate = _pairs(azimuth_truth, azimuth_estimate)
    turn = 180 if linear_array else 360
    figure, grid = grid_of_axes(1, 1, (5.0, 5.2))
    axes = grid[0, 0]
    for shift in (0,) if linear_array else (-turn, 0, turn):
        line = np.array([0, turn])
        label = {} if shift else {"label": "within 10°"}
        band = (line + shift - 10, line + shift + 10)
        axes.fill_between(line, *band, color=COLOURS[4], alpha=0.4, linewidth=0, **label)
    dots = {"markersize": 3.5, "alpha": 0.7, "markeredgewidth": 0}
    axes.plot(truth, estimate, "o", color=COLOURS[0], label=f"speakers ({len(truth)})", **dots)
    axes.set(xlim=(0, turn), ylim=(0, turn), aspect="equal")
    axes.set(xlabel="true azimuth (deg)", ylabel="estimated azimuth (deg)")
    axes.set_xticks(range(0, turn + 1, turn // 6))
    axes.set_yticks(range(0, turn + 1, turn // 6))
    figure.legend(loc="outside upper center", ncols=2, markerscale=1.8)
    save(figure, path)


@styled
def error_histogram(
    errors: ArrayLike, path: Path, *, best_matched: ArrayLike | None = None
) -> None:
    """How large the azimuth errors are: their histogram and the share below each error.

    Args:
        errors: degrees, any shape, as claimed by the slots.
        best_matched: the same under the matching that suits the angles best.
        path: the PNG file.
    """
    claimed = _sorted_finite(errors)
    last, step = 40.0, 2.5  # what is larger shares one bar on the right
    figure, grid = grid_of_axes(1, 2, (9.0, 3.4))
    counts, shares = grid[0]

    bars = {"edgecolor": "white", "linewidth": 0.5}
    counts.hist(claimed, bins=np.arange(0, last + step, step), color=COLOURS[0], **bars)
    counts.bar(last + 1.5 * step, (claimed > last).sum(), width=step, color=GREY, **bars)
    median = float(np.median(claimed))
    counts.axvline(
        median, color="black", linestyle="--", linewidth=1.2, label=f"median {median:.1f}°"
    )
    counts.set(xlabel="azimuth error (deg)", ylabel="speakers", xlim=(0, last + 2.5 * step))
    counts.set_xticks([0, 10, 20, 30, last + 1.5 * step], ["0", "10", "20", "30", f"> {last:g}"])
    counts.legend()

    curves = [(claimed, "as claimed by the slot", "-")]
    if best_matched is not None:
        curves.append((_sorted_finite(best_matched), "best matched", "--"))
    for (values, name, style), colour in zip(curves, COLOURS, strict=False):
        share = 100.0 * np.arange(len(values) + 1) / len(values)
        x, y = np.concatenate([[0.0], values, [180.0]]), np.append(share, share[-1])
        shares.plot(x, y, style, drawstyle="steps-post", color=colour, linewidth=1.6, label=name)
    shares.set(xlabel="azimuth error (deg)", ylabel="speakers at or below (%)")
    shares.set(xlim=(0, last), ylim=(0, 101))
    shares.set_xticks(range(0, int(last) + 1, 5))
    shares.legend(loc="lower right")
    save(figure, path)


def _sorted_finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, np.float64).ravel()
    found = np.sort(flat[np.isfinite(flat)])
    if not len(found):
        raise ValueError("there is no azimuth error to draw")
    return found


def _pairs(
    truth: ArrayLike, estimate: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both flat, without the pairs in which one is missing."""
    t, e = (np.asarray(x, np.float64).ravel() for x in (truth, estimate))
    both = np.isfinite(t) & np.isfinite(e)
    if not both.any():
        raise ValueError("there is no azimuth estimate to draw")
    return t[both], e[both]
