# SPDX-License-Identifier: Apache-2.0
"""Conditions that scores are broken down by: which scenes and speakers belong to which group.

Those of ``DEFAULT_CONDITIONS`` have names and limits of their own. Any other label of the rows is
a condition under its own name: words by value, numbers in thirds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics.scores import SceneRow, SpeakerScore

SEAM_DEGREES = 15.0
"""A scene lies on the seam of sorting if a speaker stands nearer than this to 0 degrees."""
OPPOSITION_DEGREES = 165.0
"""From which angle between two speakers on they stand opposite, where `cyclic` breaks."""

LABELS = (
    "num_speakers",
    "t60",
    "snr_db",
    "sensor_snr_db",
    "background",
    "overlap",
    "array",
    "room_volume_m3",
    "distance",
    "elevation",
    "drr_db",
    "sir_db",
)
"""The labels that an evaluation gives its rows; some may be missing."""

Group = tuple[str, NDArray[np.bool_]]
"""A name for people, and who belongs to it, ``[scene, speaker]``."""


@dataclass(frozen=True)
class _Limits:
    """A label with limits of its own; ``scale`` is of what the group's name shows."""

    label: str
    edges: tuple[float, ...]
    unit: str
    scale: float = 1.0


_ANGLES = (0.0, 15.0, 30.0, 60.0, 90.0, 180.0)
_LIMITS = {
    "t60": _Limits("t60", (0.0, 0.2, 0.3, 0.4, 0.6, 0.8, math.inf), "s T60"),
    "distance": _Limits("distance", (0.0, 1.0, 1.5, 2.0, 3.0, math.inf), "m away"),
    "drr": _Limits("drr_db", (-math.inf, -5.0, 0.0, 5.0, 10.0, math.inf), "dB DRR"),
    "sir": _Limits("sir_db", (-math.inf, -5.0, -2.5, 0.0, 2.5, 5.0, math.inf), "dB SIR"),
    "snr": _Limits("snr_db", (-math.inf, 0.0, 10.0, 20.0, 30.0, math.inf), "dB SNR"),
    "overlap": _Limits("overlap", (0.0, 0.25, 0.5, 0.75, 1.0), "% overlap", 100.0),
}

DEFAULT_CONDITIONS = (
    "num_speakers",
    "angle",
    "seam",
    "opposition",
    "t60",
    "distance",
    "drr",
    "sir",
    "snr",
    "overlap",
    "background",
    "array",
)


def check_conditions(names: Iterable[str], known_labels: Iterable[str] = LABELS) -> None:
    """Refuse a condition that is neither in ``DEFAULT_CONDITIONS`` nor a label.

    Args:
        known_labels: of the rows that are, or will be, there.
    Raises:
        InputError: names it and the choices.
    """
    covered = {limits.label for limits in _LIMITS.values()}
    choices = dict.fromkeys((*DEFAULT_CONDITIONS, *(x for x in known_labels if x not in covered)))
    for name in names:
        if name not in choices:
            raise InputError(f"conditions: {name!r} is none of {', '.join(choices)}")


def groups_of(
    rows: Sequence[SceneRow], names: Sequence[str], *, linear_array: bool = False
) -> dict[str, list[Group]]:
    """The groups of each condition; some may be empty, and silent speakers are among them.

    A condition whose label no row has is left out; so are ``seam`` and ``opposition`` of a linear
    array, which has neither.

    Raises:
        InputError: an unknown name, see ``check_conditions``.
    """
    in_rows = (label for row in rows for label in (*row.labels.scene, *row.labels.speaker))
    check_conditions(names, dict.fromkeys((*LABELS, *in_rows)))
    found: dict[str, list[Group]] = {}
    for name in names:
        if linear_array and name in ("seam", "opposition"):
            continue
        if name in _DERIVED:
            groups = _DERIVED[name](rows)
        elif name in _LIMITS:
            limits = _LIMITS[name]
            groups = _bins(_numbers(rows, limits.label), limits.edges, limits.unit, limits.scale)
        else:
            groups = _by_label(rows, name)
        if any(chosen.any() for _, chosen in groups):
            found[name] = groups
    return found


# --- groups -------------------------------------------------------------------------------


def _by_number(rows: Sequence[SceneRow]) -> list[Group]:
    counts = [sum(not s.silent for s in _speakers(row)) for row in rows]
    return [
        (f"{n} speaker{'s' if n > 1 else ''}", _whole([count == n for count in counts], rows))
        for n in sorted(set(counts) - {0})
    ]


def _by_angle(rows: Sequence[SceneRow]) -> list[Group]:
    nearest = [min(_gaps(_azimuths(row)), default=math.nan) for row in rows]
    return _bins(_whole(nearest, rows), _ANGLES, "deg apart")


def _by_seam(rows: Sequence[SceneRow]) -> list[Group]:
    nearest = [min(map(_on_circle, _azimuths(row)), default=math.nan) for row in rows]
    distance = _whole(nearest, rows)
    return [
        (f"seam within {SEAM_DEGREES:g} deg", distance < SEAM_DEGREES),
        ("seam further away", distance >= SEAM_DEGREES),
    ]


def _by_opposition(rows: Sequence[SceneRow]) -> list[Group]:
    widest = _whole([max(_gaps(_azimuths(row)), default=math.nan) for row in rows], rows)
    limit = f"{OPPOSITION_DEGREES:g} deg apart"
    return [
        (f"over {limit}", widest > OPPOSITION_DEGREES),
        (f"up to {limit}", widest <= OPPOSITION_DEGREES),
    ]


_DERIVED: dict[str, Callable[[Sequence[SceneRow]], list[Group]]] = {
    "num_speakers": _by_number,
    "angle": _by_angle,
    "seam": _by_seam,
    "opposition": _by_opposition,
}


def _by_label(rows: Sequence[SceneRow], label: str) -> list[Group]:
    """Words by value; numbers in thirds, or by value where there are no more than three."""
    words = [row.labels.scene.get(label) for row in rows]
    if kinds := sorted({word for word in words if isinstance(word, str)}):
        return [(f"{label}: {kind}", _whole([w == kind for w in words], rows)) for kind in kinds]
    values = _numbers(rows, label)
    found = values[np.isfinite(values)]
    single = np.unique(found)
    if len(single) <= 3:
        return [(f"{label}: {value:.4g}", values == value) for value in single]
    # `nearest` keeps the limits among the values: the names then hold numbers that occur.
    edges = np.unique(np.quantile(found, [0.0, 1 / 3, 2 / 3, 1.0], method="nearest"))
    return [(f"{label}: {name}", of) for name, of in _bins(values, edges.tolist(), digits=4)]


def _bins(
    values: NDArray[np.float64],
    edges: Sequence[float],
    unit: str = "",
    scale: float = 1.0,
    digits: int = 6,
) -> list[Group]:
    """Half-open bins ``[low, high)`` with their names; the last one holds its upper edge too."""
    found = []
    for low, high in pairwise(edges):
        inside = (values >= low) & ((values <= high) if high == edges[-1] else (values < high))
        first, last = f"{scale * low:.{digits}g}", f"{scale * high:.{digits}g}"
        name = f"{first} to {last} {unit}"
        if math.isinf(low) or math.isinf(high):
            name = f"under {last} {unit}" if math.isinf(low) else f"{first} {unit} or more"
        found.append((name.strip(), inside))
    return found


# --- rows as arrays -----------------------------------------------------------------------


def smallest_angle(row: SceneRow) -> float | None:
    """Degrees between the two speakers who stand nearest to each other; None of fewer."""
    return min(_gaps(_azimuths(row)), default=None)


def _gaps(azimuths: Sequence[float]) -> list[float]:
    return [_on_circle(a - b) for a, b in combinations(azimuths, 2)]


def _on_circle(degrees: float) -> float:
    """The size of an angle, [0, 180]. Not ``geometry.angular_error``: that imports torch."""
    return abs((degrees + 180.0) % 360.0 - 180.0)


def _speakers(row: SceneRow) -> Sequence[SpeakerScore]:
    """The speakers, as any of the systems has them: who is there is the truth, the same for all."""
    return next(iter(row.systems.values())).speakers


def _azimuths(row: SceneRow) -> list[float]:
    """Azimuths of the speakers that are not silent."""
    return [s.azimuth for s in _speakers(row) if not s.silent and s.azimuth is not None]


def _numbers(rows: Sequence[SceneRow], label: str) -> NDArray[np.float64]:
    """A label ``[scene, speaker]``, NaN where it is not known; of a scene for all its speakers."""
    values = _whole([math.nan] * len(rows), rows)
    for i, row in enumerate(rows):
        of_scene = row.labels.scene.get(label)
        if isinstance(of_scene, int | float):
            values[i] = of_scene
        for j, value in enumerate(row.labels.speaker.get(label, ())):
            values[i, j] = math.nan if value is None else value
    return values


def _whole(values: Iterable[float] | Iterable[bool], rows: Sequence[SceneRow]) -> NDArray[Any]:
    """Values of scenes for each of their speakers, ``[scene, speaker]``."""
    width = max(len(_speakers(row)) for row in rows)
    return np.repeat(np.array(list(values))[:, None], width, axis=1)
