# SPDX-License-Identifier: Apache-2.0
"""Who goes to which slot: by azimuth, around the circle, by distance, and by permutation."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from msdet.criteria.assignment import (
    BY_LOCATION,
    Assignment,
    assign_by_location,
    assign_by_permutation,
    assignment_rule,
)
from msdet.criteria.labels import take
from msdet.errors import InputError

fast = settings(deadline=None, max_examples=80)
azimuths = st.lists(st.floats(0, 360, exclude_max=True), min_size=2, max_size=5)
few = st.tuples(
    st.sampled_from([0, 90, 180, 270]), st.sampled_from([1, 2]), st.sampled_from([0, 9])
)
Places = list[tuple[float, float, float]]
places = st.lists(few, min_size=2, max_size=5)


def order_of(
    assignment: Assignment,
    azimuth: list[float],
    distance: list[float] | None = None,
    elevation: list[float] | None = None,
    *,
    gap: float = 20.0,
    linear: bool = False,
    present: list[bool] | None = None,
) -> list[int]:
    """Speakers by slot, of one scene."""
    where = [azimuth, distance or [1.0] * len(azimuth), elevation or [0.0] * len(azimuth)]
    tensors = (torch.tensor([x], dtype=torch.float64) for x in where)
    there = None if present is None else torch.tensor([present])
    order = assign_by_location(assignment, *tensors, gap=gap, linear=linear, present=there)
    return order[0].tolist()


def order_of_places(assignment: Assignment, where: Places) -> list[int]:
    azimuth, distance, elevation = (list(x) for x in zip(*where, strict=True))
    return order_of(assignment, azimuth, distance, elevation)


def largest_gaps(azimuth: list[float]) -> tuple[float, float]:
    """The largest and the second largest empty arc, degrees."""
    around = sorted(azimuth)
    gaps = sorted((b - a) % 360 for a, b in zip(around, around[1:] + around[:1], strict=True))
    return gaps[-1], gaps[-2]


# --- by location --------------------------------------------------------------------------


def test_azimuth_and_distance_ascend() -> None:
    assert order_of("azimuth", [200.0, 10.0, 90.0]) == [1, 2, 0]
    assert order_of("distance", [200.0, 10.0, 90.0], [2.0, 3.0, 1.0]) == [2, 0, 1]


def test_ties_are_broken_by_azimuth_then_distance_then_elevation() -> None:
    assert order_of("azimuth", [50.0, 50.0], [2.0, 1.0]) == [1, 0]
    assert order_of("azimuth", [50.0, 50.0], [1.0, 1.0], [9.0, -9.0]) == [1, 0]
    assert order_of("distance", [90.0, 50.0], [1.0, 1.0]) == [1, 0]
    assert order_of("distance", [50.0, 50.0], [1.0, 1.0], [9.0, -9.0]) == [1, 0]
    assert order_of("cyclic", [50.0, 50.0], [2.0, 1.0]) == [1, 0]
    for assignment in BY_LOCATION:
        assert order_of(assignment, [50.0] * 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("assignment", BY_LOCATION)
@fast
@given(where=places, data=st.data())
def test_speakers_that_tie_take_the_same_slots_however_they_are_listed(
    assignment: Assignment, where: Places, data: st.DataObject
) -> None:
    """Equal in one key or two; those equal in all three cannot be told apart."""
    mixed = data.draw(st.permutations(where))
    slots = [where[i] for i in order_of_places(assignment, where)]
    assert [mixed[i] for i in order_of_places(assignment, mixed)] == slots


@pytest.mark.parametrize("assignment", BY_LOCATION)
@fast
@given(where=places, data=st.data())
def test_speakers_at_one_place_stay_in_the_order_they_have(
    assignment: Assignment, where: Places, data: st.DataObject
) -> None:
    where = [*where, data.draw(st.sampled_from(where))]
    order = order_of_places(assignment, where)
    for place in set(where):
        twins = [speaker for speaker in order if where[speaker] == place]
        assert twins == sorted(twins)


@pytest.mark.parametrize("assignment", BY_LOCATION)
@fast
@given(azimuth=azimuths, turn=st.floats(0, 360), data=st.data())
def test_absent_speakers_come_last_and_change_nothing(
    assignment: Assignment, azimuth: list[float], turn: float, data: st.DataObject
) -> None:
    """Wherever their labels say they stand."""
    count = len(azimuth)
    present = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    distance = [1.0 + 0.25 * ((3 * i) % 5) for i in range(count)]
    there = [i for i in range(count) if present[i]]
    absent = [i for i in range(count) if not present[i]]
    order = order_of(assignment, azimuth, distance, present=present)
    assert order[len(there) :] == absent
    if there:
        alone = order_of(assignment, [azimuth[i] for i in there], [distance[i] for i in there])
        assert order[: len(there)] == [there[i] for i in alone]
    elsewhere = [a if present[i] else (a + turn) % 360 for i, a in enumerate(azimuth)]
    assert order_of(assignment, elsewhere, distance, present=present) == order


def test_neighbours_across_zero_stay_together_in_cyclic_order_only() -> None:
    """Both scenes are one scene, turned by two degrees: 359 and 40 degrees, then 1 and 42."""
    assert order_of("azimuth", [359.0, 40.0]) == [1, 0]
    assert order_of("azimuth", [1.0, 42.0]) == [0, 1]
    assert order_of("cyclic", [359.0, 40.0]) == order_of("cyclic", [1.0, 42.0]) == [0, 1]
    assert order_of("cyclic", [1.0, 359.0]) == [1, 0]


@fast
@given(azimuth=azimuths, turn=st.floats(0, 360))
def test_turning_a_scene_keeps_its_cyclic_order(azimuth: list[float], turn: float) -> None:
    largest, second = largest_gaps(azimuth)
    assume(largest - second > 0.1)
    turned = [(a + turn) % 360 for a in azimuth]
    assume(abs(largest_gaps(turned)[0] - largest) < 1e-6)
    distance = [1.0 + 0.1 * i for i in range(len(azimuth))]
    gaps = [abs((a - b + 180) % 360 - 180) for a, b in combinations(azimuth, 2)]
    assume(min(gaps, default=180.0) > 1e-4)  # also across 0: rounding decides between the others
    assert order_of("cyclic", turned, distance) == order_of("cyclic", azimuth, distance)


@fast
@given(azimuth=azimuths)
def test_cyclic_order_starts_after_the_largest_gap_and_runs_counter_clockwise(
    azimuth: list[float],
) -> None:
    assume(largest_gaps(azimuth)[0] - largest_gaps(azimuth)[1] > 0.1)
    slots = [azimuth[i] for i in order_of("cyclic", azimuth)]
    steps = [(b - a) % 360 for a, b in zip(slots, slots[1:] + slots[:1], strict=True)]
    assert steps[-1] % 360 == pytest.approx(largest_gaps(azimuth)[0] % 360, abs=1e-6)
    assert sum(steps[:-1]) < 360


def test_close_speakers_are_sorted_by_distance_and_others_by_azimuth() -> None:
    near, far = [2.0, 1.0, 3.0], [1.0, 2.0, 3.0]
    assert order_of("nearest_gap", [10.0, 29.0, 200.0], near) == [1, 0, 2]
    assert order_of("nearest_gap", [10.0, 31.0, 200.0], near) == [0, 1, 2]
    assert order_of("nearest_gap", [10.0, 31.0, 200.0], near, gap=30.0) == [1, 0, 2]
    assert order_of("nearest_gap", [200.0, 190.0, 10.0], far) == [0, 1, 2]


def test_close_across_zero_is_close_on_a_circle_and_not_on_a_line() -> None:
    assert order_of("nearest_gap", [355.0, 5.0], [1.0, 2.0]) == [0, 1]
    assert order_of("azimuth", [355.0, 5.0], [1.0, 2.0]) == [1, 0]
    assert order_of("nearest_gap", [175.0, 0.0], [1.0, 2.0], linear=True, gap=170.0) == [1, 0]
    assert order_of("nearest_gap", [175.0, 0.0], [1.0, 2.0], linear=True, gap=176.0) == [0, 1]


@pytest.mark.parametrize("first", [0.0, 10.0, 170.0, 180.0, 355.0])
@pytest.mark.parametrize("slant", [0.0, 5e-4, -5e-4])
def test_of_two_who_stand_opposite_the_nearer_is_first(first: float, slant: float) -> None:
    pair = [first, (first + 180.0 + slant) % 360]
    assert order_of("cyclic", pair, [1.0, 2.0]) == [0, 1]
    assert order_of("cyclic", pair, [2.0, 1.0]) == [1, 0]


def test_away_from_opposition_distance_does_not_matter() -> None:
    for distance in ([1.0, 2.0], [2.0, 1.0]):
        assert order_of("cyclic", [10.0, 189.0], distance) == [0, 1]
        assert order_of("cyclic", [10.0, 191.0], distance) == [1, 0]


@pytest.mark.parametrize("assignment", BY_LOCATION)
@fast
@given(azimuth=azimuths, data=st.data())
def test_the_order_of_the_input_does_not_matter(
    assignment: Assignment, azimuth: list[float], data: st.DataObject
) -> None:
    count = len(azimuth)
    distance = [1.0 + 0.25 * i for i in range(count)]
    mixed = data.draw(st.permutations(range(count)))
    plain = order_of(assignment, azimuth, distance)
    other = order_of(assignment, [azimuth[i] for i in mixed], [distance[i] for i in mixed])
    assert [mixed[i] for i in other] == plain


def test_scenes_of_a_batch_are_assigned_apart() -> None:
    azimuth = torch.tensor([[20.0, 10.0], [10.0, 20.0]])
    ones = torch.ones(2, 2)
    order = assign_by_location("azimuth", azimuth, ones, ones, gap=20.0, linear=False)
    assert order.tolist() == [[1, 0], [0, 1]]


def test_permutation_search_is_not_by_location() -> None:
    with pytest.raises(InputError, match="pit"):
        order_of("pit", [10.0, 20.0])


def test_cyclic_is_refused_on_a_line() -> None:
    with pytest.raises(InputError, match=r"cyclic.*linear"):
        assignment_rule("cyclic", gap=0, linear=True)
    assignment_rule("cyclic", gap=0, linear=False)
    for assignment in ("azimuth", "distance", "nearest_gap", "pit", "doa_pit", "joint_pit"):
        assignment_rule(assignment, gap=0, linear=True)


# --- by permutation -----------------------------------------------------------------------


def cheapest(losses: torch.Tensor) -> float:
    """The least total of one scene's ``[slot, speaker]``, by trying all."""
    slots = range(len(losses))
    return min(
        float(sum(losses[slot, speaker] for slot, speaker in zip(slots, tried, strict=True)))
        for tried in permutations(slots)
    )


@pytest.mark.parametrize("slots", [2, 3, 4, 5])
def test_permutation_search_finds_the_cheapest(slots: int) -> None:
    losses = torch.rand(20, slots, slots, generator=torch.Generator().manual_seed(slots))
    order = assign_by_permutation(losses)
    assert order.shape == (20, slots)
    assert order.dtype == torch.int64
    for scene, chosen in zip(losses, order, strict=True):
        assert sorted(chosen.tolist()) == list(range(slots))
        total = float(scene[torch.arange(slots), chosen].sum())
        assert total == pytest.approx(cheapest(scene), rel=1e-6)
        rows, columns = linear_sum_assignment(scene.numpy())
        assert total == pytest.approx(float(scene[rows, columns].sum()), rel=1e-6)


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_permutation_search_undoes_a_known_permutation(slots: int) -> None:
    for known in permutations(range(slots)):
        losses = torch.ones(1, slots, slots)
        losses[0, torch.arange(slots), torch.tensor(known)] = 0.0
        assert tuple(assign_by_permutation(losses)[0].tolist()) == known


@pytest.mark.parametrize("slots", [2, 3, 4, 5])
def test_where_all_permutations_cost_the_same_speakers_stay(slots: int) -> None:
    order = assign_by_permutation(torch.ones(3, slots, slots))
    assert order.tolist() == [list(range(slots))] * 3


@fast
@given(slots=st.integers(2, 3), data=st.data())
def test_of_permutations_that_cost_the_same_the_first_is_taken(
    slots: int, data: st.DataObject
) -> None:
    entries = st.lists(st.integers(0, 2), min_size=slots**2, max_size=slots**2)
    losses = torch.tensor(data.draw(entries)).float().reshape(slots, slots)
    first = min(permutations(range(slots)), key=lambda tried: losses[range(slots), tried].sum())
    assert tuple(assign_by_permutation(losses[None])[0].tolist()) == first


@pytest.mark.parametrize("shape", [(), (7,), (4, 6)])
@pytest.mark.parametrize("kind", [torch.float32, torch.complex64, torch.bool])
def test_taking_keeps_whatever_a_speaker_has(shape: tuple[int, ...], kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, *shape, generator=generator).to(kind)
    order = torch.stack([torch.randperm(5, generator=generator) for _ in range(3)])
    taken = take(values, order)
    assert taken.dtype == kind
    for scene in range(3):
        for slot, speaker in enumerate(order[scene].tolist()):
            assert torch.equal(taken[scene, slot], values[scene, speaker])


def test_taking_brings_speakers_into_the_slots_order() -> None:
    values = torch.arange(12.0).reshape(2, 3, 2)
    order = torch.tensor([[2, 0, 1], [0, 1, 2]])
    taken = take(values, order)
    assert torch.equal(taken[0], values[0, [2, 0, 1]])
    assert torch.equal(taken[1], values[1])
    assert torch.equal(take(values[..., 0], order)[0], values[0, [2, 0, 1], 0])


@pytest.mark.parametrize("slots", [2, 3, 4, 5])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_losses_of_a_diverged_run_still_give_an_order(slots: int, broken: float) -> None:
    """Which its loss, not an error of the search, then tells of."""
    losses = torch.rand(2, slots, slots)
    losses[0, 1] = broken
    order = assign_by_permutation(losses)
    assert order.sort(dim=-1).values.tolist() == [list(range(slots))] * 2
    assert torch.equal(order[1:], assign_by_permutation(losses[1:]))
