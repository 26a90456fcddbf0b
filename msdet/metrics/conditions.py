# SPDX-License-Identifier: Apache-2.0
"""Conditions that scores are broken down by: which scenes and speakers belong to which group.

Those of ``DEFAULT_CONDITIONS`` have names and limits of their own. Any other label of the rows is
a condition under its own name: words by value, numbers in thirds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

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


_INF = math.inf
_BINS: dict[str, tuple[str, tuple[float, ...], str]] = {
    "angle": ("angle", (0.0, 15.0, 30.0, 60.0, 90.0, 180.0), "deg apart"),
    "t60": ("t60", (0.0, 0.2, 0.3, 0.4, 0.6, 0.8, _INF), "s T60"),
    "distance": ("distance", (0.0, 1.0, 1.5, 2.0, 3.0, _INF), "m away"),
    "drr": ("drr_db", (-_INF, -5.0, 0.0, 5.0, 10.0, _INF), "dB DRR"),
    "sir": ("sir_db", (-_INF, -5.0, -2.5, 0.0, 2.5, 5.0, _INF), "dB SIR"),
    "snr": ("snr_db", (-_INF, 0.0, 10.0, 20.0, 30.0, _INF), "dB SNR"),
    "overlap": ("overlap", (0.0, 0.25, 0.5, 0.75, 1.0), "% overlap"),
}
"""Conditions with limits of their own: their label, the limits, and the unit in groups' names."""

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
    covered = {label for label, _, _ in _BINS.values()}
    choices = dict.fromkeys((*DEFAULT_CONDITIONS, *(x for x in known_labels if x not in covered)))
    for name in names:
        if name not in choices:
            raise InputError(f"conditions: {name!r} is none of {', '.join(choices)}")


def groups_of(
    rows: Sequence[SceneRow], names: Sequence[str], *, linear_array: bool = False
) -> dict[str, list[Group]]:
    """Return the groups of each condition; some may be empty, and silent speakers are among them.

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
        groups = _groups(rows, name)
        if any(chosen.any() for _, chosen in groups):
            found[name] = groups
    return found


def _groups(rows: Sequence[SceneRow], name: str) -> list[Group]:
    if name in _BINS:
        label, edges, unit = _BINS[name]
        scale = 100.0 if unit.startswith("%") else 1.0
        return _bins(_numbers(rows, label), edges, unit, scale)
    values = _numbers(rows, name)
    found = values[np.isfinite(values)]
    single = np.unique(found)
    if name == "num_speakers":
        return [(f"{n:g} speaker{'s' if n > 1 else ''}", values == n) for n in single if n]
    if name == "seam":
        return [
            (f"seam within {SEAM_DEGREES:g} deg", values < SEAM_DEGREES),
            ("seam further away", values >= SEAM_DEGREES),
        ]
    if name == "opposition":
        limit = f"{OPPOSITION_DEGREES:g} deg apart"
        return [
            (f"over {limit}", values > OPPOSITION_DEGREES),
            (f"up to {limit}", values <= OPPOSITION_DEGREES),
        ]
    words = np.array([str(row.labels.scene.get(name)) for row in rows])[:, None]
    if kinds := {w for row in rows if isinstance(w := row.labels.scene.get(name), str)}:
        return [
            (f"{name}: {kind}", np.broadcast_to(words == kind, values.shape))
            for kind in sorted(kinds)
        ]
    if len(single) <= 3:
        return [(f"{name}: {value:.4g}", values == value) for value in single]
    # `nearest` keeps the limits among the values: the names then hold numbers that occur.
    thirds = np.unique(np.quantile(found, [0.0, 1 / 3, 2 / 3, 1.0], method="nearest"))
    return [(f"{name}: {of}", inside) for of, inside in _bins(values, thirds.tolist(), digits=4)]


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


def smallest_angle(row: SceneRow) -> float | None:
    """Return the degrees between the two speakers who stand nearest to each other; None of
    fewer."""
    angle = _of_places(row)["angle"]
    return angle if math.isfinite(angle) else None


def _of_places(row: SceneRow) -> dict[str, float]:
    """The labels that follow from where the speakers who are not silent stand."""
    heard = [speaker for speaker in _speakers(row) if not speaker.silent]
    azimuths = [speaker.azimuth for speaker in heard if speaker.azimuth is not None]
    gaps = [_on_circle(a - b) for a, b in combinations(azimuths, 2)]
    return {
        "num_speakers": float(len(heard)),
        "angle": min(gaps, default=math.nan),
        "opposition": max(gaps, default=math.nan),
        "seam": min(map(_on_circle, azimuths), default=math.nan),
    }


def _on_circle(degrees: float) -> float:
    """The size of an angle, [0, 180]. Not ``geometry.angular_error``: that imports torch."""
    return abs((degrees + 180.0) % 360.0 - 180.0)


def _speakers(row: SceneRow) -> Sequence[SpeakerScore]:
    """The speakers, as any of the systems has them: who is there is the truth, the same for all."""
    return next(iter(row.systems.values())).speakers


def _numbers(rows: Sequence[SceneRow], label: str) -> NDArray[np.float64]:
    """A label ``[scene, speaker]``, NaN where it is not known; of a scene for all its speakers."""
    values = np.full((len(rows), max(len(_speakers(row)) for row in rows)), math.nan)
    for i, row in enumerate(rows):
        of_scene = {**row.labels.scene, **_of_places(row)}.get(label)
        if isinstance(of_scene, int | float):
            values[i] = of_scene
        for j, value in enumerate(row.labels.speaker.get(label, ())):
            values[i, j] = math.nan if value is None else value
    return values
