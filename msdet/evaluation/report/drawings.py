# SPDX-License-Identifier: Apache-2.0
"""A scene as drawings: directions around the array, and the room from above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from msdet.evaluation.report.content import SceneView
from msdet.evaluation.report.svg import INK, ON_SPEAKER, PAPER, QUIET, drawn, speaker_colour
from msdet.metrics import SceneRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.9  # inches: 280 units, about as many as the pixels of its column, so text keeps its size
_SMALLEST_ARRAY = 0.04  # of the room's longer side: a smaller array is drawn larger than it is
_DASHED = (0, (3.2, 2.2))

Heard = Sequence[tuple[int, str]]
"""(index, name) of the systems whose directions are drawn; all but the first start hidden."""


def directions_svg(view: SceneView, row: SceneRow | None, heard: Heard, stem: str) -> Markup:
    """Draw true and estimated azimuths around the array, with each slot's posterior if any."""
    truth = ", ".join(f"speaker {i + 1} at {a:.0f}°" for i, a in enumerate(view.azimuth))
    words = f"Directions around the array. True directions: {truth}."
    for _, name in heard:
        azimuths = view.directions[name].azimuth
        angles = ("none" if np.isnan(azimuth) else f"{azimuth:.0f}°" for azimuth in azimuths)
        words += f" {name} says {', '.join(angles)}."

    def draw(figure: Figure) -> None:
        draw_directions(figure, view, row, heard)

    height = 2.8 if view.linear_array else 3.6
    return drawn(draw, f"{stem}-around", height, words, _WIDTH, "drawing directions")


def draw_directions(figure: Figure, view: SceneView, row: SceneRow | None, heard: Heard) -> None:
    """Draw around a circle of radius 1, or half of one for a linear array."""
    axes: Any = figure.add_subplot(projection="polar")
    axes.set(rlim=(0, 1), yticks=[], thetamax=180 if view.linear_array else 360)
    axes.set_xticks(np.radians(np.arange(0, 181 if view.linear_array else 360, 30)))
    axes.tick_params(pad=11.0)  # speakers stand on the circle
    for name, looks in _systems(view, row, heard):
        claims = view.directions[name]
        if claims.posterior is not None and claims.class_centres is not None:
            shares = np.nan_to_num(claims.posterior)
            shares = 0.94 * shares / max(float(shares.max(initial=0.0)), 1e-9)
            around = np.radians(np.append(claims.class_centres, claims.class_centres[:1]))
            for share, look in zip(shares, looks, strict=False):
                outline = np.append(share, share[:1])
                axes.fill(around, outline, alpha=0.22, linewidth=0, zorder=2, **look)
                axes.plot(around, outline, linewidth=1.0, **look)
        for azimuth, look in zip(np.radians(claims.azimuth), looks, strict=True):
            if np.isfinite(azimuth):
                label = f"claim {name}"
                axes.plot([azimuth] * 2, [0, 1], linestyle=_DASHED, label=label, **look)
                mark: dict[str, Any] = {"markerfacecolor": PAPER, "markeredgewidth": 2.0, **look}
                axes.plot(azimuth, 0.86, "D", markersize=8.0, zorder=3, **mark)
    _draw_speakers(axes, [(azimuth, 1.0) for azimuth in np.radians(view.azimuth)])


def room_svg(view: SceneView, row: SceneRow | None, heard: Heard, stem: str) -> Markup:
    """Draw the room from above: array, speakers, and estimated directions, which end at the wall
    since they say nothing of distances."""
    width, depth, _ = view.room
    x, y, _ = view.array_centre
    magnified = _magnified(view)
    places = ", ".join(f"{a:.1f}, {b:.1f} m" for a, b, *_ in view.speakers)
    words = (
        f"The room from above. {width:.1f} by {depth:.1f} m, the array at {x:.1f}, {y:.1f} m, its "
        f"x axis turned by {view.array_rotation:.0f}°; speakers at {places}."
        + (f" Microphones drawn {magnified:.0f} times as far apart." if magnified > 1 else "")
    )

    def draw(figure: Figure) -> None:
        draw_room(figure, view, row, heard)

    height = min(max(0.5 + 3.4 * depth / max(width, 0.1), 1.5), 3.6)
    return drawn(draw, f"{stem}-above", height, words, _WIDTH, "drawing above")


def draw_room(figure: Figure, view: SceneView, row: SceneRow | None, heard: Heard) -> None:
    """Draw in metres, x to the right and y up."""
    width, depth, _ = view.room
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, depth), aspect="equal", xlabel="metres")
    axes.spines[:].set(visible=True, linewidth=1.5)
    axes.grid(visible=False)
    axes.locator_params(integer=True)
    centre, speakers = np.asarray(view.array_centre[:2]), view.speakers[:, :2]
    for number, place in enumerate(speakers):
        look: dict[str, Any] = {"color": speaker_colour(number), "linewidth": 1.0, "alpha": 0.45}
        axes.plot(*np.stack([centre, place]).T, **look)
    for name, looks in _systems(view, row, heard):
        for azimuth, look in zip(view.directions[name].azimuth, looks, strict=True):
            # A line hears the angle to its axis: both sides of it are what it claims.
            for side in (azimuth, -azimuth) if view.linear_array else (azimuth,):
                end = centre + _towards(side + view.array_rotation, width + depth)
                line = np.stack([centre, end]).T  # the axes cut it at the wall
                axes.plot(*line, linestyle=_DASHED, scalex=False, label=f"claim {name}", **look)
    _draw_array(axes, view)
    _draw_speakers(axes, speakers)


def _draw_array(axes: Axes, view: SceneView) -> None:
    """Draw the microphones and the array's x axis."""
    centre = np.asarray(view.array_centre[:2])
    offsets = _magnified(view) * (view.microphones[:, :2] - centre)
    length = float(np.hypot(*offsets.T).max(initial=0.0)) + 0.09 * max(view.room[:2])
    x, y = centre + _towards(view.array_rotation, 1.3 * length)
    axes.text(x, y, "0°", color=QUIET, ha="center", va="center")
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    tip = centre + _towards(view.array_rotation, length)
    axes.annotate("", tuple(tip), tuple(centre), arrowprops=arrow)
    look: dict[str, Any] = {"markerfacecolor": PAPER, "markersize": 5.0, "zorder": 3}
    axes.plot(*(centre + offsets).T, "o", color=INK, markeredgewidth=1.2, **look)


def _draw_speakers(axes: Axes, places: Any) -> None:
    """Draw filled circles with the speakers' numbers: the truth."""
    for number, (x, y) in enumerate(places):
        look: dict[str, Any] = {"clip_on": False, "zorder": 5, "label": f"speaker {number + 1}"}
        axes.plot(x, y, "o", markersize=15.0, color=speaker_colour(number), **look)
        look = {"color": ON_SPEAKER, "weight": "bold", "zorder": 6}
        axes.text(x, y, str(number + 1), ha="center", va="center_baseline", **look)


def _magnified(view: SceneView) -> float:
    """How many times larger than it is the array is drawn."""
    offsets = view.microphones[:, :2] - view.array_centre[:2]
    radius = float(np.hypot(*offsets.T).max(initial=0.0))
    return max(1.0, _SMALLEST_ARRAY * max(view.room[:2]) / radius) if radius > 0 else 1.0


def _systems(
    view: SceneView, row: SceneRow | None, heard: Heard
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return each system's name, and how each of its slots is drawn: in the colour of the speaker
    whom it holds by sound, or by azimuth of a system without; else of its own number."""
    found = []
    for place, (index, name) in enumerate(heard):
        slots, score = len(view.directions[name].azimuth), row and row.systems.get(name)
        owners: Sequence[int | None] = range(slots)
        if score:
            owners, by_azimuth = score.speaker_of_slot, score.speaker_of_slot_by_azimuth
            if by_azimuth is not None and all(speaker is None for speaker in owners):
                owners = by_azimuth
        group = f"system-{index}{'-off' if place else ''}"  # which the page hides and shows
        colours = [speaker_colour(owner) for owner in [*owners, *[None] * slots][:slots]]
        found.append((name, [{"color": colour, "gid": group} for colour in colours]))
    return found


def _towards(degrees: float, length: float) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    return length * np.array([np.cos(angle), np.sin(angle)])
