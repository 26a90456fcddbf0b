# SPDX-License-Identifier: Apache-2.0
"""Assignment of speakers to output slots: by where they stand, or by trying permutations.

An assignment is an order: ``order[b, slot]`` is the index of the speaker that the slot must
output. Assignments by location (LBT: Taherian, Tan, Wang, arXiv 2110.04289) need N losses and a
sort; permutation invariant training (PIT: Yu et al. 2017) needs the N x N losses of all pairs, of
separation (``pit``), of direction (``doa_pit``) or of both as they are weighed (``joint_pit``).
Ties are broken by azimuth, then distance, then elevation.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from itertools import permutations
from typing import Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from msdet.criteria.config import BY_LOCATION, NEEDS, AssignmentName
from msdet.criteria.labels import Labels, take
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.parts import OwnPart, build
from msdet.tasks import Label, Task

PairLosses = Callable[[dict[Task, float]], Tensor]
"""From weights of tasks to their weighted losses ``[batch, slot, speaker]`` of all pairs."""


class AssignmentRule(Protocol):
    """A rule that says which speaker each slot must output.

    Attributes:
        by_location: whether labels alone decide. Then `losses` is None, evaluation can see
            whether outputs come in this order, and masks can be guided by it.
        needs: labels that every example must have: of ``targets``, ``azimuth``, ``distance``.
    """

    by_location: bool
    needs: frozenset[Label]

    def __call__(self, labels: Labels, losses: PairLosses | None) -> Tensor:
        """Return int64 ``[batch, slot]``: ``order[b, slot]`` is the speaker of the slot.

        Args:
            labels: of the batch, speakers in any order.
            losses: of weights by task, the losses ``[batch, slot, speaker]`` of all pairs, in the
                labels' order of speakers; to be called without a gradient.
        """
        ...


class ByLocation:
    """Sort the speakers by where they stand (:func:`assign_by_location`)."""

    by_location = True

    def __init__(self, name: AssignmentName, gap: float, linear: bool) -> None:
        self.needs = NEEDS[name]
        self._sort = partial(assign_by_location, name, gap=gap, linear=linear)

    def __call__(self, labels: Labels, losses: PairLosses | None) -> Tensor:
        return self._sort(
            azimuth=labels.azimuth,
            distance=labels.distance,
            elevation=labels.elevation,
            present=labels.present,
        )


class ByPermutation:
    """Take the permutation of least loss, however the speakers are listed.

    Up to three speakers, the one that comes first by azimuth among equals, as of two speakers in
    one class.

    Args:
        weights: of the tasks whose losses are searched, at the time of the search.
    """

    by_location = False

    def __init__(self, name: AssignmentName, weights: Callable[[], dict[Task, float]]) -> None:
        self.needs, self._weights = NEEDS[name], weights

    def __call__(self, labels: Labels, losses: PairLosses | None) -> Tensor:
        assert losses is not None
        found = losses(self._weights())
        if labels.azimuth is None:
            return assign_by_permutation(found)
        by_azimuth = assign_by_location(
            "azimuth",
            azimuth=labels.azimuth,
            distance=labels.distance,
            elevation=labels.elevation,
            present=labels.present,
        )
        index = by_azimuth[:, None].expand(-1, found.shape[1], -1)
        return take(by_azimuth, assign_by_permutation(found.gather(2, index)))


def assignment_rule(
    assignment: AssignmentName | OwnPart,
    *,
    gap: float,
    linear: bool,
    weights: Callable[[], dict[Task, float]] = dict,
) -> AssignmentRule:
    """Make the rule that a config names.

    Args:
        gap: degrees, of ``nearest_gap``. linear: azimuths lie on [0, 180], not on a circle.
        weights: of the tasks, as they are in force; what ``joint_pit`` searches.
    Raises:
        InputError: ``cyclic`` with a linear array, whose azimuths do not lie on a circle; or a
            class that makes no rule.
    """
    if isinstance(assignment, OwnPart):
        rule: AssignmentRule = build(assignment, "criterion.assignment")
        for name in ("by_location", "needs"):
            if not hasattr(rule, name):
                raise InputError(
                    f"criterion.assignment: {assignment.target} has no attribute {name!r} "
                    "(see msdet.criteria.assignment.AssignmentRule)"
                )
        labels = get_args(Label)
        if not isinstance(rule.needs, Set) or not rule.needs <= set(labels):
            raise InputError(
                f"criterion.assignment: {assignment.target}: needs={rule.needs!r}: expected a set "
                f"of labels, of {', '.join(labels)}"
            )
        return rule
    if assignment == "cyclic" and linear:
        raise InputError(
            "criterion.assignment='cyclic': a linear array's azimuths lie on [0, 180], not on a "
            "circle; choose 'azimuth', 'distance', 'nearest_gap' or a permutation"
        )
    if assignment in BY_LOCATION:
        return ByLocation(assignment, gap, linear)
    alone: dict[AssignmentName, dict[Task, float]] = {
        "pit": {"separation": 1.0},
        "doa_pit": {"direction": 1.0},
    }
    return ByPermutation(
        assignment, partial(dict, alone[assignment]) if assignment in alone else weights
    )


_EXHAUSTIVE_SPEAKERS = 3
_OPPOSITE_DEGREES = 1e-3
_HUGE = 1e300
"""A loss that no finite one of float32 reaches."""


def assign_by_location(
    assignment: AssignmentName,
    azimuth: Tensor | None,
    distance: Tensor | None = None,
    elevation: Tensor | None = None,
    *,
    gap: float = 0.0,
    linear: bool = False,
    present: Tensor | None = None,
) -> Tensor:
    """Order of the speakers by location; absent ones come last, in the order they have.

    Args:
        assignment: one of :data:`BY_LOCATION`.
        azimuth, elevation: degrees ``[batch, speaker]``. distance: metres, same shape. What the
            assignment does not sort by may be None, and breaks no ties then.
        gap: degrees; of ``nearest_gap``, which sorts by azimuth, but scenes in which any two
            speakers are closer than this by distance.
        linear: azimuths lie on [0, 180], not on a circle.
        present: bool ``[batch, speaker]``; None where all are there.
    Returns:
        int64 ``[batch, slot]``.
    """
    given = {"azimuth": azimuth, "distance": distance, "elevation": elevation}
    if lacking := sorted(name for name in NEEDS.get(assignment, ()) if given.get(name) is None):
        raise InputError(f"assignment {assignment!r} needs the speakers' {' and '.join(lacking)}")
    like = next(values for values in given.values() if values is not None)
    if present is None:
        present = torch.ones_like(like, dtype=torch.bool)
    azimuth, distance, elevation = (
        (torch.zeros_like(like) if values is None else values).masked_fill(~present, torch.inf)
        for values in given.values()
    )
    if assignment == "azimuth":
        return _sort_by(azimuth, distance, elevation)
    if assignment == "distance":
        return _sort_by(distance, azimuth, elevation)
    if assignment == "nearest_gap":
        close = _smallest_angle(azimuth, present, linear) < gap
        by_azimuth = _sort_by(azimuth, distance, elevation)
        return torch.where(close[:, None], _sort_by(distance, azimuth, elevation), by_azimuth)
    if assignment == "cyclic":
        return _sort_cyclic(azimuth, distance, elevation, present)
    raise InputError(f"assignment {assignment!r} is not by location: choose from {BY_LOCATION}")


def assign_by_permutation(losses: Tensor) -> Tensor:
    """The permutation of least total loss.

    Args:
        losses: ``[batch, slot, speaker]``.
    Returns:
        int64 ``[batch, slot]``.
    """
    slots = losses.shape[1]
    if slots > _EXHAUSTIVE_SPEAKERS:
        from scipy.optimize import linear_sum_assignment

        on_host = losses.detach().double().cpu().numpy()
        # scipy refuses NaN. In whatever order, the loss of a diverged run tells of it.
        on_host = np.nan_to_num(on_host, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)
        found = [linear_sum_assignment(matrix)[1] for matrix in on_host]
        return torch.as_tensor(np.array(found), dtype=torch.long, device=losses.device)
    candidates = torch.tensor(list(permutations(range(slots))), device=losses.device)
    totals = losses.detach()[:, torch.arange(slots, device=losses.device), candidates].sum(-1)
    return candidates[totals.argmin(dim=-1)]


def _sort_by(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Stable lexicographic order along the last axis."""
    order = torch.argsort(third, dim=-1, stable=True)
    for key in (second, first):
        ranked = torch.argsort(torch.take_along_dim(key, order, -1), dim=-1, stable=True)
        order = torch.take_along_dim(order, ranked, -1)
    return order


def _smallest_angle(azimuth: Tensor, present: Tensor, linear: bool) -> Tensor:
    """Between any two speakers of each scene, degrees ``[batch]``; infinite for one speaker."""
    azimuth = azimuth.masked_fill(~present, 0.0)
    first, second = azimuth[:, :, None], azimuth[:, None]
    between = angular_error(first, second, linear)
    same = torch.eye(azimuth.shape[-1], dtype=torch.bool, device=azimuth.device)
    pairs = present[:, :, None] & present[:, None] & ~same
    return between.masked_fill(~pairs, torch.inf).amin(dim=(-2, -1))


def _sort_cyclic(azimuth: Tensor, distance: Tensor, elevation: Tensor, present: Tensor) -> Tensor:
    """Ascending azimuth from a cut in the largest empty arc, so that it turns with the scene.

    The first speaker is the one after the largest gap. Where gaps tie (two speakers standing
    opposite), the nearer of the candidates is first.
    """
    order = _sort_by(azimuth, distance, elevation)
    count = present.sum(-1, keepdim=True).clamp_min(1)
    place = torch.arange(azimuth.shape[-1], device=azimuth.device).expand_as(order)
    there = place < count
    sorted_azimuth = torch.take_along_dim(azimuth, order, -1).double().masked_fill(~there, 0.0)
    before = torch.take_along_dim(sorted_azimuth, torch.remainder(place - 1, count), -1)
    gap = torch.remainder(sorted_azimuth - before, 360.0)  # the empty arc before each speaker
    # all at one azimuth: every gap is zero but the circle itself, which lies before the first
    whole = torch.where(there, gap, 0.0).sum(-1) < 180.0
    gap[..., 0] = torch.where(whole, gap[..., 0] + 360.0, gap[..., 0])
    gap = gap.masked_fill(~there, -torch.inf)
    tied = gap >= gap.amax(-1, keepdim=True) - 2 * _OPPOSITE_DEGREES
    near = torch.take_along_dim(distance, order, -1).double()
    start = torch.where(tied, near, torch.inf).argmin(-1, keepdim=True)
    turned = torch.where(there, torch.remainder(place + start, count), place)
    return torch.take_along_dim(order, turned, -1)
