# SPDX-License-Identifier: Apache-2.0
"""Speakers who are asked for by direction: what may be asked, and which slot takes whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msdet.checkpoints import Description
from msdet.criteria.labels import Labels
from msdet.errors import InputError
from msdet.geometry import angular_error, wrap_degrees

_ANGLE_OF_NOBODY = 45.0
"""Degrees. A direction takes the slot of the speaker that the network finds within this angle of
it, and beyond that sooner a slot that holds nobody."""

MISSED_DEGREES = 20.0
"""From what was asked for to what was found: more than a model's errors and a user's guess."""


@dataclass(frozen=True)
class Guidance:
    """Directions for the network, see :meth:`msdet.models.msdet.MSDET.forward`.

    Attributes:
        azimuth, estimate_of: ``[1, slot]``. slots: of each direction that was asked for.
    """

    azimuth: Tensor
    estimate_of: Tensor
    slots: tuple[int, ...]


def checked_directions(
    azimuth: float | Sequence[float], description: Description
) -> NDArray[np.float64]:
    """Return the directions that were asked for ``[speaker]``, degrees.

    Raises:
        InputError: they are no numbers, too many or too few for the model, two are the same, or
            the model's outputs do not follow directions.
    """
    try:
        if np.asarray(azimuth).dtype == np.bool_:
            raise TypeError
        asked = np.atleast_1d(np.asarray(azimuth, np.float64))
    except (TypeError, ValueError):
        asked = np.array([np.nan])
    guidance, slots = description.model.heads.guidance, description.num_slots
    most = description.trained_speakers[1]
    if guidance == "none":
        raise InputError(
            f"azimuth={azimuth}: this model's outputs do not follow directions "
            "(model.heads.guidance=none); ask a model that was trained with guidance, or leave "
            "azimuth out and pick a speaker by the azimuth that is found"
        )
    if asked.ndim != 1 or not len(asked) or not np.isfinite(asked).all():
        raise InputError(f"azimuth={azimuth}: give degrees, one number or a list of them")
    if len(asked) > most:
        raise InputError(
            f"azimuth={azimuth}: {len(asked)} directions, but the model separates {most} speakers"
        )
    if guidance == "oracle" and len(asked) < slots and not description.empty_slots:
        raise InputError(
            f"azimuth={azimuth}: this model estimates no directions of its own "
            f"(model.heads.guidance=oracle): give all {slots}"
        )
    linear = description.array.is_linear
    if linear and ((asked < 0) | (asked > 180)).any():
        raise InputError(
            f"azimuth={azimuth}: microphones on a line hear the angle to their line, 0 to 180"
        )
    between = angular_error(asked[:, None], asked, linear)
    if (between + np.eye(len(asked)) < 1e-6).any():
        raise InputError(f"azimuth={azimuth}: asks twice for one direction")
    return asked if linear else wrap_degrees(asked)


def missed(asked: NDArray[np.float64], found: Sequence[int]) -> list[str]:
    """Return a sentence for each direction that was asked for and from which nothing came.

    Args:
        asked: degrees ``[direction]``. found: which of them were found.
    """
    return [
        f"asked for {one:g} degrees: nobody was found within {MISSED_DEGREES:g} degrees of it, and "
        "nothing is put out for it"
        for number, one in enumerate(asked)
        if number not in found
    ]


def needs_estimates(num_asked: int, description: Description) -> bool:
    """Return whether the network must first say where it finds speakers by itself."""
    if description.model.heads.guidance == "oracle":
        return False
    settled = description.assignment in ("azimuth", "cyclic")
    return num_asked < description.trained_speakers[1] or not settled


def guide(
    asked: NDArray[np.float64], own: Sequence[float] | None, description: Description
) -> Guidance:
    """Give each direction a slot.

    A direction takes the place of what the network found nearest to it; the others keep their
    own estimates, but where as many are asked for as the network was trained to separate: a voice
    that is found elsewhere must not keep what belongs to one of these. Where the assignment of
    training orders slots by azimuth (``azimuth``, ``cyclic``, ``nearest_gap``), all of them are
    then brought into that order, estimates too.

    Args:
        asked: degrees ``[speaker]``.
        own: azimuths that the network found itself ``[slot]``, NaN for nobody; None where
            :func:`needs_estimates` says that they are not needed.
    """
    slots, linear = description.num_slots, description.array.is_linear
    directions = np.full(slots, np.nan) if own is None else np.array(own, np.float64)
    taken = np.arange(len(asked)) if own is None else _nearest(asked, directions, linear)
    others = own is not None and len(asked) < description.trained_speakers[1]
    if not others:
        directions[:] = np.nan
    directions[taken] = asked
    there = torch.from_numpy(directions)[None]
    # distances are not known: slots stand for them, so that what goes by them stays
    by_slot = torch.arange(slots, dtype=torch.float64)[None]
    ordered = description.location_order(
        Labels(
            azimuth=there,
            distance=by_slot,
            elevation=torch.zeros_like(there),
            present=~there.isnan(),
        )
    )
    order = np.arange(slots) if ordered is None else ordered[0].numpy()
    given = np.isin(order, taken)
    return Guidance(
        azimuth=torch.tensor(np.where(given, directions[order], np.nan), dtype=torch.float32)[None],
        estimate_of=torch.tensor(np.where(given | (not others), -1, order))[None],
        slots=tuple(int(np.flatnonzero(order == slot)[0]) for slot in taken),
    )


def _nearest(
    asked: NDArray[np.float64], own: NDArray[np.float64], linear: bool
) -> NDArray[np.int64]:
    """A different slot for each direction, so that all together are nearest to what is there."""
    from scipy.optimize import linear_sum_assignment

    cost = angular_error(asked[:, None], own, linear)
    rows, columns = linear_sum_assignment(np.where(np.isnan(cost), _ANGLE_OF_NOBODY, cost))
    return np.asarray(columns[np.argsort(rows)], np.int64)
