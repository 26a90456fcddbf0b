# SPDX-License-Identifier: Apache-2.0
"""A scene as drawings: directions around the array, and the room from above.

SVG whose colours come from the page's style sheet (``report.css``), so that they follow its light
and dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from msdet.evaluation.report.content import Directions, SceneView
from msdet.evaluation.report.wording import finite
from msdet.metrics import SceneRow, SceneScore

SPEAKER_COLOURS = 6
"""Number of colours ``--speaker-N`` in the style sheet; more speakers start over."""

RADIUS = 100.0  # of the circle of directions, in units of its drawing
_ROOM_UNITS = (300.0, 232.0)  # width and height that a room must fit into
_SMALLEST_ARRAY = 11.0  # units: a smaller array is drawn larger than it is

# --- directions ---------------------------------------------------------------------------


def directions_svg(
    view: SceneView, row: SceneRow | None, heard: Sequence[tuple[int, str]]
) -> Markup:
    """True and estimated azimuths around the array, and each slot's posterior where there is one.

    Args:
        heard: (index, name) of the systems to draw; all but the first start hidden.
    """
    truth = np.atleast_1d(np.asarray(view.azimuth, float))
    half = view.linear_array
    parts = [rings(half)]
    for place, (index, name) in enumerate(heard):
        parts.append(_open_system(index, place))
        parts.append(_claims_around(view.directions[name], _score(row, name), half))
        parts.append("</g>")
    for speaker, azimuth in enumerate(truth):
        x, y = point_at(azimuth, RADIUS)
        parts.append(_numbered(x, y, speaker))
    words = [
        "True directions: "
        + ", ".join(f"speaker {i + 1} at {a:.0f}°" for i, a in enumerate(truth))
        + "."
    ]
    for _, name in heard:
        angles = _azimuths(view.directions[name])
        shown = ", ".join(f"{a:.0f}°" if math.isfinite(a) else "none" for a in angles)
        words.append(f"{name} says {shown}.")
    box = "-140 -132 280 164" if half else "-140 -132 280 264"
    return _svg("directions", box, "Directions around the array", " ".join(words), parts)


def rings(half: bool) -> str:
    parts = []
    last = 180 if half else 360
    if half:
        r = _n(RADIUS)
        parts.append(f'<path class="rim" d="M{r} 0A{r} {r} 0 0 0 -{r} 0Z"/>')
    else:
        parts.append(f'<circle class="rim" r="{_n(RADIUS)}"/>')
    for degrees in range(0, last + (1 if half else 0), 30):
        x, y = point_at(degrees, RADIUS)
        parts.append(_line("grid", (0, 0), (x, y)))
        x, y = point_at(degrees, RADIUS + 23)
        parts.append(_text("tick", x, y + 3.5, f"{degrees}°"))
    return "".join(parts)


def _claims_around(claims: Directions, score: SceneScore | None, half: bool) -> str:
    parts = []
    azimuths = _azimuths(claims)
    owners = _owners(score, len(azimuths))
    if claims.posterior is not None and claims.class_centres is not None:
        posterior = np.nan_to_num(np.atleast_2d(np.asarray(claims.posterior, float)))
        centres = np.asarray(claims.class_centres, float)
        posterior = posterior[:, : len(centres)]  # a class "nobody" has no direction
        top = max(float(posterior.max(initial=0.0)), 1e-9)
        for slot, shares in enumerate(posterior):
            owner = owners[slot] if slot < len(owners) else None
            points = [
                point_at(c, 0.94 * RADIUS * s / top) for c, s in zip(centres, shares, strict=True)
            ]
            if half:
                points = [(0.0, 0.0), *points]
            path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points) + "Z"
            parts.append(f'<path class="posterior {_colour(owner)}" d="{path}"/>')
    for slot, azimuth in enumerate(azimuths):
        if math.isfinite(azimuth):
            colour = _colour(owners[slot])
            parts.append(_line(f"claim {colour}", (0, 0), point_at(azimuth, RADIUS)))
            parts.append(_diamond(*point_at(azimuth, RADIUS - 14), colour))
    return "".join(parts)


# --- the room -----------------------------------------------------------------------------


def room_svg(view: SceneView, row: SceneRow | None, heard: Sequence[tuple[int, str]]) -> Markup:
    """The room from above, x to the right and y up: array, speakers, and estimated directions,
    which end at the wall since they say nothing of distances."""
    width, depth, _ = view.room
    scale = min(_ROOM_UNITS[0] / max(width, 0.1), _ROOM_UNITS[1] / max(depth, 0.1))
    right, high = width * scale, depth * scale

    def place(x: float, y: float) -> tuple[float, float]:
        return x * scale, high - y * scale

    cx, cy = place(*view.array_centre[:2])
    speakers = np.atleast_2d(np.asarray(view.speakers, float))
    parts = [f'<rect class="room" width="{_n(right)}" height="{_n(high)}"/>']
    for number, (x, y) in enumerate(place(*s[:2]) for s in speakers):
        parts.append(_line(f"sight {_colour(number)}", (cx, cy), (x, y)))
    for position, (index, name) in enumerate(heard):
        parts.append(_open_system(index, position))
        azimuths = _azimuths(view.directions[name])
        owners = _owners(_score(row, name), len(azimuths))
        for slot, azimuth in enumerate(azimuths):
            if not math.isfinite(azimuth):
                continue
            # A line hears the angle to its axis: both sides of it are what it claims.
            for side in (azimuth, -azimuth) if view.linear_array else (azimuth,):
                end = _to_wall(cx, cy, side + view.array_rotation, right, high)
                parts.append(_line(f"claim {_colour(owners[slot])}", (cx, cy), end))
        parts.append("</g>")
    drawn, magnified = _array_svg(view, cx, cy, scale)
    parts.append(drawn)
    parts += [_numbered(*place(*s[:2]), number) for number, s in enumerate(speakers)]
    parts.append(_scale_bar(scale, high))
    words = (
        f"{width:.1f} by {depth:.1f} m, the array at {view.array_centre[0]:.1f}, "
        f"{view.array_centre[1]:.1f} m, its x axis turned by {view.array_rotation:.0f}°; "
        "speakers at "
        + ", ".join(f"{x:.1f}, {y:.1f} m" for x, y, *_ in speakers)
        + "."
        + (f" Microphones drawn {magnified:.0f} times as far apart." if magnified > 1 else "")
    )
    box = f"-16 -16 {_n(right + 32)} {_n(high + 46)}"
    return _svg("above", box, "The room from above", words, parts)


def _array_svg(view: SceneView, cx: float, cy: float, scale: float) -> tuple[str, float]:
    """The array with its x axis, and how many times larger than it is it was drawn."""
    offsets = np.atleast_2d(np.asarray(view.microphones, float))[:, :2] - np.asarray(
        view.array_centre[:2], float
    )
    radius = float(np.hypot(*offsets.T).max(initial=0.0)) * scale
    magnified = max(1.0, _SMALLEST_ARRAY / radius) if radius > 0 else 1.0
    turn = view.array_rotation
    length = max(radius * magnified, _SMALLEST_ARRAY) + 22
    tip = point_at(turn, length)
    wings = [point_at(turn + side, length - 6) for side in (7.0, -7.0)]
    label = point_at(turn, length + 9)
    parts = [
        f'<g transform="translate({_n(cx)} {_n(cy)})">',
        _line("axis", (0, 0), tip),
        '<path class="axis-tip" d="M'
        + "L".join(f"{_n(x)} {_n(y)}" for x, y in (tip, *wings))
        + 'Z"/>',
        _text("tick", label[0], label[1] + 3.5, "0°"),
    ]
    for x, y in offsets * scale * magnified:
        parts.append(f'<circle class="mic" cx="{_n(x)}" cy="{_n(-y)}" r="2.6"/>')
    parts.append("</g>")
    return "".join(parts), magnified


def _scale_bar(scale: float, high: float) -> str:
    y = high + 14
    return (
        f'<path class="axis" d="M0 {_n(y - 3)}V{_n(y + 3)}M0 {_n(y)}H{_n(scale)}'
        f'M{_n(scale)} {_n(y - 3)}V{_n(y + 3)}"/>'
        f'<text class="tick" x="{_n(scale + 6)}" y="{_n(y + 3.5)}">1 m</text>'
    )


def _to_wall(x: float, y: float, degrees: float, right: float, high: float) -> tuple[float, float]:
    """Where a ray from (x, y) meets the wall, in units of the drawing (y down)."""
    dx, dy = point_at(degrees, 1.0)
    steps = [math.inf]
    if abs(dx) > 1e-9:
        steps.append(((right if dx > 0 else 0.0) - x) / dx)
    if abs(dy) > 1e-9:
        steps.append(((high if dy > 0 else 0.0) - y) / dy)
    step = max(min(steps), 0.0)
    return x + step * dx, y + step * dy


# --- pieces -------------------------------------------------------------------------------


def _svg(css: str, box: str, title: str, words: str, parts: Sequence[str]) -> Markup:
    described = Markup('<svg class="drawing {}" viewBox="{}" role="img" aria-label="{}">').format(
        css, box, f"{title}. {words}"
    )
    return described + Markup("".join(parts)) + Markup("</svg>")


def _open_system(index: int, place: int) -> str:
    return f'<g data-system="{index}"{"" if place == 0 else " class=off"}>'


def _line(css: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{css}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _text(css: str, x: float, y: float, text: str) -> str:
    return f'<text class="{css}" x="{_n(x)}" y="{_n(y)}" text-anchor="middle">{text}</text>'


def _numbered(x: float, y: float, speaker: int) -> str:
    """A filled circle with the speaker's number: the truth."""
    return f'<circle class="speaker {_colour(speaker)}" cx="{_n(x)}" cy="{_n(y)}" r="9"/>' + _text(
        "speaker-number", x, y + 3.8, str(speaker + 1)
    )


def _diamond(x: float, y: float, colour: str) -> str:
    """A hollow diamond: an estimate."""
    return (
        f'<path class="claim-end {colour}" d="M{_n(x - 6)} {_n(y)}L{_n(x)} {_n(y - 6)}'
        f'L{_n(x + 6)} {_n(y)}L{_n(x)} {_n(y + 6)}Z"/>'
    )


def point_at(degrees: float, radius: float) -> tuple[float, float]:
    """A point around the origin; y grows downwards in SVG."""
    angle = math.radians(degrees)
    return radius * math.cos(angle), -radius * math.sin(angle)


def _colour(speaker: int | None) -> str:
    return "nobody" if speaker is None else f"speaker-{speaker % SPEAKER_COLOURS}"


def _owners(score: SceneScore | None, slots: int) -> list[int | None]:
    """``[slot]`` -> speaker: by sound, or by azimuth of a system without; else its own number."""
    if score is None:
        return list(range(slots))
    by_azimuth = score.speaker_of_slot_by_azimuth
    if by_azimuth is not None and all(speaker is None for speaker in score.speaker_of_slot):
        return [*by_azimuth, *[None] * slots][:slots]
    return [*score.speaker_of_slot, *[None] * slots][:slots]


def _score(row: SceneRow | None, system: str) -> SceneScore | None:
    return row.systems.get(system) if row else None


def _azimuths(claims: Directions) -> list[float]:
    if claims.azimuth is None:
        return []
    return [math.nan if finite(a) is None else float(a) for a in np.ravel(claims.azimuth).tolist()]


def _n(value: float) -> str:
    """A coordinate: two decimals, no minus before zero."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown in ("-0", "") else shown
