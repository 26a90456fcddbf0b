# SPDX-License-Identifier: Apache-2.0
"""The circle of directions that a result of the page is drawn on."""

from __future__ import annotations

import math

from markupsafe import Markup

RADIUS = 100.0
"""In units of the drawing."""


def rings(half: bool) -> Markup:
    """Return the circle, or the upper half of one for a linear array, with a mark every 30
    degrees."""
    shape = f"M{RADIUS} 0A{RADIUS} {RADIUS} 0 0 0 -{RADIUS} 0Z" if half else ""
    parts = [f'<path class="rim" d="{shape}"/>' if half else f'<circle class="rim" r="{RADIUS}"/>']
    for degrees in range(0, 181 if half else 360, 30):
        (x, y), (label_x, label_y) = point_at(degrees, RADIUS), point_at(degrees, RADIUS + 23)
        parts.append(
            f'<line class="grid" x2="{x:.2f}" y2="{y:.2f}"/><text class="tick" x="{label_x:.2f}" '
            f'y="{label_y + 3.5:.2f}" text-anchor="middle">{degrees}°</text>'
        )
    return Markup("".join(parts))


def point_at(degrees: float, radius: float) -> tuple[float, float]:
    """Return a point around the origin; y grows downwards in SVG."""
    angle = math.radians(degrees)
    return radius * math.cos(angle), -radius * math.sin(angle)
