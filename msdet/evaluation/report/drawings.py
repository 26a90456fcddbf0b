# SPDX-License-Identifier: Apache-2.0
"""A scene as drawings: directions around the array, and the room from above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from msdet.evaluation.report.content import Directions, SceneView
from msdet.evaluation.report.svg import INK, ON_SPEAKER, PAPER, QUIET, drawn, speaker_colour
from msdet.metrics import SceneRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.9  # inches: 280 units, about as many as the pixels of its column, so text keeps its size
_SMALLEST_ARRAY = 0.04  # of the room's longer side: a smaller array is drawn larger than it is

Heard = Sequence[tuple[int, str]]
"""(index, name) of the systems whose directions are drawn; all but the first start hidden."""


def directions_svg(view: SceneView, row: SceneRow | None, heard: Heard, stem: str) -> Markup:
    """Draw true and estimated azimuths around the array, with each slot's posterior if any."""
    truth = np.ravel(np.asarray(view.azimuth, float))
    words = "Directions around the array. True directions: "
    words += ", ".join(f"speaker {i + 1} at {a:.0f}°" for i, a in enumerate(truth)) + "."
    for _, name in heard:
        angles = (f"{a:.0f}°" if math.isfinite(a) else "none" for a in _azimuths(view, name))
        words += f" {name} says {', '.join(angles)}."
    height = 2.8 if view.linear_array else 3.6

    def draw(figure: Figure) -> None:
        draw_directions(figure, view, row, heard)

    return drawn(draw, f"{stem}-around", height, words, _WIDTH, "drawing directions")


def draw_directions(figure: Figure, view: SceneView, row: SceneRow | None, heard: Heard) -> None:
    """Draw around a circle of radius 1, or half of one for a linear array."""
    axes: Any = figure.add_subplot(projection="polar")
    axes.set(rlim=(0, 1), yticks=[], thetamax=180 if view.linear_array else 360)
    axes.set_xticks(np.radians(np.arange(0, 181 if view.linear_array else 360, 30)))
    axes.tick_params(pad=11.0)  # speakers stand on the circle
    for index, name, shown in _systems(heard):
        claims, owners = view.directions[name], _owners(view, row, name)
        for angles, shares, owner in _posteriors(claims, owners):
            look: dict[str, Any] = {"color": _colour(owner), "gid": shown}
            axes.fill(angles, shares, alpha=0.22, linewidth=0, zorder=2, **look)
            axes.plot(angles, shares, linewidth=1.0, **look)
        for azimuth, owner in zip(_azimuths(view, name), owners, strict=True):
            if math.isfinite(azimuth):
                look = {"color": _colour(owner), "gid": shown, "label": f"claim {index}"}
                axes.plot([math.radians(azimuth)] * 2, [0, 1], linestyle=(0, (3.2, 2.2)), **look)
                look |= {"markerfacecolor": PAPER, "markeredgewidth": 2.0, "label": ""}
                axes.plot(math.radians(azimuth), 0.86, "D", markersize=8.0, zorder=3, **look)
    _draw_speakers(axes, [(math.radians(a), 1.0) for a in np.ravel(np.asarray(view.azimuth))])


def room_svg(view: SceneView, row: SceneRow | None, heard: Heard, stem: str) -> Markup:
    """Draw the room from above: array, speakers, and estimated directions, which end at the wall
    since they say nothing of distances."""
    width, depth, _ = view.room
    x, y, _ = view.array_centre
    magnified = _magnified(view)
    places = (f"{a:.1f}, {b:.1f} m" for a, b, *_ in np.atleast_2d(np.asarray(view.speakers, float)))
    words = (
        f"The room from above. {width:.1f} by {depth:.1f} m, the array at {x:.1f}, {y:.1f} m, its "
        f"x axis turned by {view.array_rotation:.0f}°; speakers at {', '.join(places)}."
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
    centre = np.asarray(view.array_centre[:2], float)
    speakers = np.atleast_2d(np.asarray(view.speakers, float))[:, :2]
    for number, place in enumerate(speakers):
        axes.plot(*np.stack([centre, place]).T, color=_colour(number), linewidth=1.0, alpha=0.45)
    for index, name, shown in _systems(heard):
        for azimuth, owner in zip(_azimuths(view, name), _owners(view, row, name), strict=True):
            # A line hears the angle to its axis: both sides of it are what it claims.
            for side in (azimuth, -azimuth) if view.linear_array else (azimuth,):
                end = centre + _towards(side + view.array_rotation, width + depth)
                look: dict[str, Any] = {"color": _colour(owner), "label": f"claim {index}"}
                line = np.stack([centre, end]).T  # the axes cut it at the wall
                axes.plot(*line, linestyle=(0, (3.2, 2.2)), gid=shown, scalex=False, **look)
    _draw_array(axes, view)
    _draw_speakers(axes, speakers)


def _draw_array(axes: Axes, view: SceneView) -> None:
    """Draw the microphones and the array's x axis."""
    centre = np.asarray(view.array_centre[:2], float)
    offsets = np.atleast_2d(np.asarray(view.microphones, float))[:, :2] - centre
    offsets *= _magnified(view)
    length = float(np.hypot(*offsets.T).max(initial=0.0)) + 0.09 * max(view.room[:2])
    x, y = centre + _towards(view.array_rotation, 1.3 * length)
    axes.text(x, y, "0°", color=QUIET, ha="center", va="center")
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    tip = centre + _towards(view.array_rotation, length)
    axes.annotate("", tip, tuple(centre), arrowprops=arrow)
    look: dict[str, Any] = {"markerfacecolor": PAPER, "markersize": 5.0, "zorder": 3}
    axes.plot(*(centre + offsets).T, "o", color=INK, markeredgewidth=1.2, **look)


def _draw_speakers(axes: Axes, places: Any) -> None:
    """Draw filled circles with the speakers' numbers: the truth."""
    for number, (x, y) in enumerate(places):
        look: dict[str, Any] = {"clip_on": False, "zorder": 5, "label": f"speaker {number + 1}"}
        axes.plot(x, y, "o", markersize=15.0, color=_colour(number), **look)
        look = {"color": ON_SPEAKER, "weight": "bold", "zorder": 6}
        axes.text(x, y, str(number + 1), ha="center", va="center_baseline", **look)


def _magnified(view: SceneView) -> float:
    """How many times larger than it is the array is drawn."""
    offsets = np.atleast_2d(np.asarray(view.microphones, float))[:, :2] - view.array_centre[:2]
    radius = float(np.hypot(*offsets.T).max(initial=0.0))
    return max(1.0, _SMALLEST_ARRAY * max(view.room[:2]) / radius) if radius > 0 else 1.0


def _posteriors(claims: Directions, owners: Sequence[int | None]) -> Any:
    """Yield (angles, radii, speaker) of each slot's closed outline; the largest share is at .94."""
    if claims.posterior is None or claims.class_centres is None:
        return
    centres = np.radians(np.asarray(claims.class_centres, float))
    # A class "nobody" behind the others has no direction.
    shares = np.nan_to_num(np.atleast_2d(np.asarray(claims.posterior, float)))[:, : len(centres)]
    shares = 0.94 * shares / max(float(shares.max(initial=0.0)), 1e-9)
    for slot, share in enumerate(shares):
        owner = owners[slot] if slot < len(owners) else None
        yield np.append(centres, centres[:1]), np.append(share, share[:1]), owner


def _systems(heard: Heard) -> list[tuple[int, str, str]]:
    """(index, name, id of the group), which the page hides and shows."""
    return [(i, name, f"system-{i}{'-off' if n else ''}") for n, (i, name) in enumerate(heard)]


def _towards(degrees: float, length: float) -> Any:
    angle = math.radians(degrees)
    return length * np.array([math.cos(angle), math.sin(angle)])


def _colour(speaker: int | None) -> str:
    return QUIET if speaker is None else speaker_colour(speaker)


def _owners(view: SceneView, row: SceneRow | None, system: str) -> list[int | None]:
    """``[slot]`` -> speaker: by sound, or by azimuth of a system without; else its own number."""
    slots, score = len(_azimuths(view, system)), row.systems.get(system) if row else None
    if score is None:
        return list(range(slots))
    by_azimuth, found = score.speaker_of_slot_by_azimuth, score.speaker_of_slot
    if by_azimuth is not None and all(speaker is None for speaker in found):
        found = by_azimuth
    return [*found, *[None] * slots][:slots]


def _azimuths(view: SceneView, system: str) -> list[float]:
    azimuth = view.directions[system].azimuth
    found: list[float] = [] if azimuth is None else np.ravel(np.asarray(azimuth, float)).tolist()
    return found
