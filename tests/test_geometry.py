# SPDX-License-Identifier: Apache-2.0
"""Angles, arrays, azimuth classes and delays: the conventions that everything else trusts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.errors import InputError
from msdet.geometry import (
    SPEED_OF_SOUND,
    AzimuthGrid,
    MicrophoneArray,
    angular_error,
    far_field_delays,
    rotate_about_vertical,
    unit_vectors,
    wrap_degrees,
)
from msdet.models.frontends import look_grid

Arrays = dict[str, MicrophoneArray]
Build = Callable[..., MicrophoneArray]

ALL = (
    "circle4",
    "circle5",
    "circle6",
    "line2",
    "line4",
    "l5",
    "tetrahedron",
    "respeaker4",
    "respeaker6",
)
LINES = ("line2", "line4")
TURNS = {"circle4": 4, "circle5": 5, "circle6": 6, "respeaker4": 4, "respeaker6": 6}

angles = st.floats(-1e4, 1e4)
azimuths = st.floats(0, 360, exclude_max=True, width=32)
fast = settings(deadline=None, max_examples=60)


# --- angles -------------------------------------------------------------------------------


def test_a_hair_below_zero_wraps_to_zero() -> None:
    assert wrap_degrees(-1e-17) == 0.0
    assert wrap_degrees([-1e-17, 360.0, 719.0, -1.0]).tolist() == [0.0, 0.0, 359.0, 359.0]


@fast
@given(angles)
def test_wrapping_keeps_the_direction(angle: float) -> None:
    wrapped = float(wrap_degrees(angle))
    assert 0.0 <= wrapped < 360.0
    np.testing.assert_allclose(unit_vectors(wrapped), unit_vectors(angle), atol=1e-9)


def test_neighbours_across_zero_are_two_degrees_apart() -> None:
    assert angular_error(359.0, 1.0) == pytest.approx(2.0)
    assert angular_error(torch.tensor(1.0), torch.tensor(359.0)).item() == pytest.approx(2.0)
    assert angular_error([0.0, 90.0], [180.0, 270.0]).tolist() == [180.0, 180.0]
    assert angular_error([0.0, 10.0], 180.0, linear=True).tolist() == [180.0, 170.0]
    assert angular_error(torch.tensor(5.0), torch.tensor(0.0), linear=True).item() == 5.0


@fast
@given(angles, angles, st.integers(-3, 3))
def test_angular_error_is_a_distance_on_the_circle(a: float, b: float, turns: int) -> None:
    error = float(angular_error(a, b))
    assert 0.0 <= error <= 180.0
    assert error == pytest.approx(float(angular_error(b, a)), abs=1e-9)
    assert error == pytest.approx(float(angular_error(a + 360.0 * turns, b)), abs=1e-8)
    between = np.degrees(np.arccos(np.clip(unit_vectors(a) @ unit_vectors(b), -1, 1)))
    assert error == pytest.approx(float(between), abs=1e-5)
    tensors = (torch.tensor(x, dtype=torch.float64) for x in (a, b))
    assert angular_error(*tensors).item() == pytest.approx(error, abs=1e-9)


def test_azimuth_runs_counter_clockwise_from_x_and_elevation_upwards() -> None:
    np.testing.assert_allclose(unit_vectors([0.0, 90.0]), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(unit_vectors(30.0, 90.0), [0, 0, 1], atol=1e-12)


@fast
@given(angles, st.floats(-90, 90), angles)
def test_rotating_a_point_adds_to_its_azimuth(az: float, el: float, turn: float) -> None:
    turned = rotate_about_vertical(unit_vectors(az, el), turn)
    np.testing.assert_allclose(turned, unit_vectors(az + turn, el), atol=1e-9)


# --- arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_arrays_are_centred_on_their_microphones(arrays: Arrays, name: str) -> None:
    np.testing.assert_allclose(arrays[name].as_array().mean(axis=0), 0.0, atol=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_an_array_that_was_stored_is_the_same_array(arrays: Arrays, name: str) -> None:
    """Checkpoints and scenes store positions and compare them: building anew must not move them."""
    array = arrays[name]
    again = MicrophoneArray(array.name, array.positions, array.channels, array.file_channels)
    assert again == array


@pytest.mark.parametrize(
    ("name", "radius"),
    [("circle4", 0.05), ("circle5", 0.04), ("circle6", 0.05)],
)
def test_circles(arrays: Arrays, name: str, radius: float) -> None:
    array = arrays[name]
    points = array.as_array()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), radius, rtol=1e-12)
    expected = np.arange(array.num_mics) * 360.0 / array.num_mics
    assert angular_error(array.azimuth_of(points), expected).max() < 1e-6
    assert not array.is_linear


@pytest.mark.parametrize(
    ("name", "radius", "mics", "channels", "recorded"),
    [("respeaker4", 0.032, 4, (1, 2, 3, 4), 6), ("respeaker6", 0.0463, 6, (0, 1, 2, 3, 4, 5), 8)],
)
def test_respeakers(
    arrays: Arrays, name: str, radius: float, mics: int, channels: tuple[int, ...], recorded: int
) -> None:
    """Radii and channels as in ODAS' configs respeaker_usb_4_mic_array and respeaker_6_mic_array.

    ODAS numbers channels from 1, and its microphones go counter-clockwise, as ours do.
    """
    array = arrays[name]
    points = array.as_array()
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), radius, atol=0.4e-3)
    expected = np.arange(mics) * 360.0 / mics
    assert angular_error(array.azimuth_of(points), expected).max() < 1e-6
    assert (array.channels, array.file_channels) == (channels, recorded)


def test_line(arrays: Arrays) -> None:
    array = arrays["line4"]
    steps = np.diff(array.as_array(), axis=0)
    np.testing.assert_allclose(steps, np.tile([0.04, 0.0, 0.0], (3, 1)), atol=1e-15)
    assert array.is_linear
    assert array.aperture == pytest.approx(0.12)


def test_l_has_two_equal_arms_at_a_right_angle(arrays: Arrays) -> None:
    array = arrays["l5"]
    points = array.as_array()
    corner, x_tip, y_tip = points[0], points[2], points[4]
    np.testing.assert_allclose(x_tip - corner, [0.08, 0, 0], atol=1e-15)
    np.testing.assert_allclose(y_tip - corner, [0, 0.08, 0], atol=1e-15)
    np.testing.assert_allclose(points[1], (corner + x_tip) / 2, atol=1e-15)
    np.testing.assert_allclose(points[3], (corner + y_tip) / 2, atol=1e-15)
    assert not array.is_linear
    assert array.azimuth_of(points[1] - points[0]) == pytest.approx(0.0)


def test_tetrahedron_has_equal_edges(arrays: Arrays) -> None:
    points = arrays["tetrahedron"].as_array()
    edges = np.linalg.norm(points[:, None] - points[None], axis=-1)[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(edges, 0.06, rtol=1e-12)
    np.testing.assert_allclose(points[:3, 2], points[0, 2], atol=1e-15)
    assert points[3, 2] > points[0, 2]
    assert arrays["tetrahedron"].azimuth_of(points[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", LINES)
@fast
@given(azimuth=st.floats(-180, 180), elevation=st.floats(-89, 89), roll=st.floats(0, 360))
def test_a_line_observes_the_angle_to_its_axis_and_nothing_else(
    arrays: Arrays, name: str, azimuth: float, elevation: float, roll: float
) -> None:
    array = arrays[name]
    x, y, z = unit_vectors(azimuth, elevation)
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    rolled = np.array([x, c * y - s * z, s * y + c * z])  # about the axis of the line
    label = float(array.azimuth_of([x, y, z]))
    assert 0.0 <= label <= 180.0
    assert label == pytest.approx(np.degrees(np.arccos(np.clip(x, -1, 1))), abs=1e-6)
    np.testing.assert_allclose(array.as_array() @ rolled, array.as_array() @ [x, y, z], atol=1e-12)
    assert float(array.azimuth_of(rolled)) == pytest.approx(label, abs=1e-3)


@pytest.mark.parametrize(
    "positions",
    [
        [[0, 0, 0], [0, 0.06, 0]],
        [[0, 0, 0], [0.03, 0.03, 0], [0.06, 0.06, 0]],
        [[0, 0, 0], [0, 0, 0.05]],
    ],
)
def test_directions_that_sound_alike_have_one_label_on_a_line_of_any_pose(
    build: Build, positions: list[list[float]]
) -> None:
    """Labels of a line along y, say, must not be angles to x; refusing such a line is as good."""
    try:
        array = build(shape="positions", positions=positions)
    except InputError:
        return
    axis = array.as_array()[-1] - array.as_array()[0]
    axis /= np.linalg.norm(axis)
    across = np.cross(axis, [0.3, 0.5, 0.8])
    across /= np.linalg.norm(across)
    other = np.cross(axis, across)
    around = np.radians(np.arange(0, 360, 45))[:, None]
    alike = 0.6 * axis + 0.8 * (np.cos(around) * across + np.sin(around) * other)
    np.testing.assert_allclose(np.ptp(alike @ array.as_array().T, axis=0), 0.0, atol=1e-12)
    assert np.ptp(array.azimuth_of(alike)) < 1e-6


@fast
@given(
    line=st.tuples(azimuths, st.floats(-80, 80)),
    source=st.tuples(azimuths, st.floats(-80, 80)),
    spacing=st.floats(0.02, 0.1),
)
def test_the_label_on_a_line_of_any_pose_is_what_it_hears(
    line: tuple[float, float], source: tuple[float, float], spacing: float
) -> None:
    """The line points away from microphone 0; delays by label are those of the true direction."""
    points = spacing * np.arange(3.0)[:, None] * unit_vectors(*line)
    array = MicrophoneArray("rod", tuple(map(tuple, points)))
    assert array.is_linear
    assert float(array.azimuth_of(unit_vectors(*line))) == pytest.approx(0.0, abs=1e-4)
    direction = unit_vectors(*source)
    heard = -array.as_array() @ direction / SPEED_OF_SOUND
    by_label = far_field_delays(array.as_array(), float(array.azimuth_of(direction)))
    np.testing.assert_allclose(by_label, heard, atol=1e-10)


@pytest.mark.parametrize("name", sorted(TURNS))
def test_circles_map_onto_themselves_under_every_step(arrays: Arrays, name: str) -> None:
    array = arrays[name]
    rotations = array.rotations()
    assert rotations[0] == (0.0, tuple(range(array.num_mics)))
    expected = np.arange(TURNS[name]) * 360.0 / TURNS[name]
    np.testing.assert_allclose([degrees for degrees, _ in rotations], expected, atol=1e-5)
    for degrees, permutation in rotations:
        turned = rotate_about_vertical(array.as_array(), degrees)
        np.testing.assert_allclose(turned, array.as_array()[list(permutation)], atol=1e-8)


@pytest.mark.parametrize("name", [*sorted(TURNS), "tetrahedron"])
@fast
@given(azimuth=azimuths, elevation=st.floats(-80, 80))
def test_permuting_microphones_is_listening_with_a_turned_array(
    arrays: Arrays, name: str, azimuth: float, elevation: float
) -> None:
    positions = arrays[name].as_array()
    for degrees, permutation in arrays[name].rotations():
        permuted = far_field_delays(positions, azimuth, elevation)[list(permutation)]
        turned = far_field_delays(positions, azimuth - degrees, elevation)
        np.testing.assert_allclose(permuted, turned, atol=1e-10)


def test_tetrahedron_turns_by_thirds(arrays: Arrays) -> None:
    degrees = [turn for turn, _ in arrays["tetrahedron"].rotations()]
    np.testing.assert_allclose(degrees, [0, 120, 240], atol=1e-5)


@pytest.mark.parametrize("name", ["l5", *LINES])
def test_l_and_line_have_no_rotation_but_none(arrays: Arrays, name: str) -> None:
    assert [degrees for degrees, _ in arrays[name].rotations()] == [0.0]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_microphone_at_the_centre_hides_no_rotation(build: Build, place: int) -> None:
    ring = (0.04 * unit_vectors(30.0 + 60.0 * np.arange(6))).tolist()
    array = build(shape="positions", positions=[*ring[:place], [0.0, 0.0, 0.0], *ring[place:]])
    degrees = [turn for turn, _ in array.rotations()]
    np.testing.assert_allclose(degrees, [0, 60, 120, 180, 240, 300], atol=1e-5)


def test_a_rectangle_turns_by_half(build: Build) -> None:
    corners = [[0.04, 0.02, 0], [-0.04, 0.02, 0], [-0.04, -0.02, 0], [0.04, -0.02, 0]]
    degrees = [turn for turn, _ in build(shape="positions", positions=corners).rotations()]
    np.testing.assert_allclose(degrees, [0, 180], atol=1e-5)


@pytest.mark.parametrize(
    ("positions", "channels", "says"),
    [
        ([[0, 0, 0]], (), "two microphones"),
        ([[0, 0, 0], [0, 0, 0]], (), "same place"),
        ([[0, 0, 0], [0.05, 0, float("nan")]], (), "finite"),
        ([[0, 0, 0], [0.05, 0, float("inf")]], (), "finite"),
        ([[0, 0, 0], [0.05, 0, 0]], (0,), "channel"),
        ([[0, 0, 0], [0.05, 0, 0]], (1, 1), "channel"),
        ([[0, 0, 0], [0.05, 0, 0]], (0, -1), "channel"),
    ],
)
def test_bad_arrays_are_refused(
    build: Build, positions: list[list[float]], channels: tuple[int, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        build(shape="positions", name="mine", positions=positions, channels=channels)
    assert "mine" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_l_needs_an_odd_number_of_microphones(build: Build) -> None:
    with pytest.raises(InputError, match=r"num_mics=4.*odd"):
        build(shape="l", num_mics=4, arm=0.1)


# --- azimuth classes ----------------------------------------------------------------------


@pytest.mark.parametrize(("linear", "classes"), [(False, 72), (True, 37)])
def test_class_centres_are_their_own_class(linear: bool, classes: int) -> None:
    grid = AzimuthGrid(5.0, linear)
    assert grid.num_classes == classes
    centres = torch.from_numpy(grid.centres)
    assert grid.index(centres).tolist() == list(range(classes))
    one_hot = torch.eye(classes)
    np.testing.assert_allclose(grid.decode(one_hot), grid.centres, atol=1e-4)


def test_classes_wrap_on_the_circle_and_end_on_the_line() -> None:
    azimuth = torch.tensor([0.0, 2.4, 357.6, 359.9999])
    assert AzimuthGrid(5.0).index(azimuth).tolist() == [0, 0, 0, 0]
    assert AzimuthGrid(5.0, linear=True).index(torch.tensor([0.0, 177.6, 180.0])).tolist() == [
        0,
        36,
        36,
    ]


resolutions = st.sampled_from([1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 90.0])


@fast
@given(azimuth=azimuths, resolution=resolutions, linear=st.booleans())
def test_the_class_of_an_azimuth_is_at_most_half_a_step_away(
    azimuth: float, resolution: float, linear: bool
) -> None:
    grid = AzimuthGrid(resolution, linear)
    azimuth = azimuth / 2 if linear else azimuth
    index = int(grid.index(torch.tensor(azimuth)))
    assert 0 <= index < grid.num_classes
    assert angular_error(grid.centres[index], azimuth) <= resolution / 2 + 1e-4


@fast
@given(azimuth=azimuths, resolution=resolutions, linear=st.booleans())
def test_decoding_falls_between_classes(azimuth: float, resolution: float, linear: bool) -> None:
    """A posterior shared by the two neighbouring classes says where between them."""
    grid = AzimuthGrid(resolution, linear)
    azimuth = azimuth / 2 if linear else azimuth
    below, share = divmod(azimuth / resolution, 1.0)
    posterior = torch.zeros(grid.num_classes)
    posterior[int(below) % grid.num_classes] += 1 - share
    posterior[(int(below) + 1) % grid.num_classes] += share
    decoded = float(grid.decode(posterior))
    assert 0.0 <= decoded <= (180.0 if linear else 360.0 - 1e-6)
    assert angular_error(decoded, azimuth) < 1e-3 * resolution


def test_decoding_ignores_what_is_far_from_the_peak() -> None:
    posterior = torch.zeros(72)
    posterior[[10, 40]] = torch.tensor([0.6, 0.4])
    assert float(AzimuthGrid(5.0).decode(posterior)) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("resolution", "linear"), [(7.0, False), (120.0, False), (0.0, True), (50.0, True)]
)
def test_resolutions_that_do_not_divide_are_refused(resolution: float, linear: bool) -> None:
    with pytest.raises(InputError, match="resolution"):
        AzimuthGrid(resolution, linear)


@pytest.mark.parametrize("linear", [False, True])
def test_any_number_of_look_directions_makes_a_grid(linear: bool) -> None:
    counts = range(8, 400)
    refused = []
    for count in counts:
        try:
            assert look_grid(count, linear).num_classes == count
        except InputError:
            refused.append(count)
    assert refused == []


# --- delays -------------------------------------------------------------------------------


def test_sound_crosses_a_line_at_the_speed_of_sound(arrays: Arrays) -> None:
    delays = far_field_delays(arrays["line4"].as_array(), [0.0, 90.0, 180.0])
    across = 0.12 / SPEED_OF_SOUND
    np.testing.assert_allclose(delays[:, -1] - delays[:, 0], [-across, 0.0, across], atol=1e-15)


@pytest.mark.parametrize("name", ALL)
@fast
@given(azimuth=azimuths, elevation=st.floats(-80, 80))
def test_delays_are_those_of_a_source_far_away(
    arrays: Arrays, name: str, azimuth: float, elevation: float
) -> None:
    positions = arrays[name].as_array()
    if arrays[name].is_linear:  # its label is the angle to the line: it knows no elevation
        elevation = 0.0
    delays = far_field_delays(positions, azimuth, elevation)
    distances = np.linalg.norm(1000.0 * unit_vectors(azimuth, elevation) - positions, axis=1)
    assert delays[distances.argmin()] == pytest.approx(delays.min(), abs=1e-8)
    np.testing.assert_allclose(delays, (distances - 1000.0) / SPEED_OF_SOUND, atol=2e-8)
    assert delays.mean() == pytest.approx(0.0, abs=1e-15)


def test_sound_from_above_reaches_a_flat_array_at_once(arrays: Arrays) -> None:
    delays = far_field_delays(arrays["circle6"].as_array(), [0.0, 77.0], 90.0)
    np.testing.assert_allclose(delays, 0.0, atol=1e-15)


def test_delays_broadcast(arrays: Arrays) -> None:
    positions = arrays["circle4"].as_array()
    grid = far_field_delays(positions, np.arange(6.0)[:, None], [0.0, 30.0])
    assert grid.shape == (6, 2, 4)
    np.testing.assert_allclose(grid[5, 1], far_field_delays(positions, 5.0, 30.0))


def test_pairs_hear_in_turn(arrays: Arrays) -> None:
    """A source at 0 degrees reaches the microphones of a line from its far end backwards."""
    delays = far_field_delays(arrays["line4"].as_array(), 0.0)
    assert all(later < earlier for earlier, later in pairwise(delays))
