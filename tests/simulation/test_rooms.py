# SPDX-License-Identifier: Apache-2.0
"""Rooms: labels follow geometry, angles keep their distance, symmetries map onto each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from msdet.errors import InputError
from msdet.geometry import Circle, Line, MicrophoneArray, angular_error
from msdet.simulation import SceneConfig, draw_room, rotated
from msdet.simulation.rooms import canonical, draw_symmetry, random_generator

CIRCLE = Circle(shape="circle", num_mics=4, radius=0.05).build()
SEVEN = Circle(shape="circle", num_mics=7, radius=0.05).build()
LINE = Line(shape="line", num_mics=4, spacing=0.04).build()
SECTOR = {"azimuth": [-60, 60], "min_angle": 20}


def between(azimuths: list[float], linear: bool) -> float:
    a = np.array(azimuths)
    gaps = np.abs(a[:, None] - a) if linear else angular_error(a[:, None], a)
    return float(gaps[~np.eye(len(a), dtype=bool)].min())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    speakers=st.integers(2, 4),
    min_angle=st.floats(0, 40),
    array=st.sampled_from([CIRCLE, LINE]),
)
def test_a_room_is_what_was_asked(
    seed: int, speakers: int, min_angle: float, array: MicrophoneArray
) -> None:
    config = SceneConfig.model_validate(
        {"num_speakers": [speakers, speakers], "speaker": {"min_angle": min_angle}}
    )
    room = draw_room(config, array, random_generator(seed))
    assert len(room.speakers) == speakers
    assert between([s.azimuth for s in room.speakers], array.is_linear) >= min_angle
    for speaker in room.speakers:
        vector = np.subtract(speaker.position, room.array_centre)
        assert speaker.distance == pytest.approx(np.linalg.norm(vector), abs=1e-9)
        assert 0.7 - 1e-5 <= speaker.distance <= 2.5 + 1e-5
        assert np.degrees(np.arcsin(vector[2] / speaker.distance)) == pytest.approx(
            speaker.elevation
        )
        assert abs(vector[2]) <= 0.2 + 1e-5
        assert all(p >= 0.3 - 1e-5 for p in speaker.position)
        assert all(
            p <= side - 0.3 + 1e-5 for p, side in zip(speaker.position, room.size, strict=True)
        )
        axis = np.radians(room.array_rotation)
        if array.is_linear:
            along = vector @ [np.cos(axis), np.sin(axis), 0]
            expected = np.degrees(np.arccos(along / speaker.distance))
        else:
            expected = np.degrees(np.arctan2(vector[1], vector[0]) - axis)
        assert angular_error(speaker.azimuth, expected) < 1e-6


@pytest.mark.parametrize("array", [CIRCLE, LINE], ids=["circle", "line"])
def test_azimuths_are_uniform_even_where_rooms_are_tight(array: MicrophoneArray) -> None:
    config = SceneConfig.model_validate(
        {
            "room": {"length": [5, 6], "width": [3, 3.2]},
            "t60": [0.2, 0.3],
            "array": {"rotation": [0, 0]},
            "speaker": {"min_angle": 0},
        }
    )
    rng = random_generator(1)
    azimuths = [s.azimuth for _ in range(600) for s in draw_room(config, array, rng).speakers]
    span = 180 if array.is_linear else 360
    counts = np.histogram(azimuths, 12, (0, span))[0]
    assert chisquare(counts).pvalue > 1e-3


def test_azimuths_keep_to_their_sector() -> None:
    config = SceneConfig.model_validate({"speaker": SECTOR})
    rng = random_generator(2)
    for _ in range(50):
        room = draw_room(config, CIRCLE, rng)
        room = draw_symmetry(config, CIRCLE, room, rng)
        assert all(angular_error(s.azimuth, 0.0) <= 60 + 1e-3 for s in room.speakers)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"speaker": {"distance": [8, 9]}}, r"speaker\.distance=\[8\.0, 9\.0\]"),
        ({"t60": [0.05, 0.06]}, r"t60=\[0\.05, 0\.06\]"),
        (
            {"speaker": {"height_offset": [2.6, 2.7], "distance": [3, 3]}},
            r"speaker\.height_offset=",
        ),
    ],
)
def test_what_never_fits_is_named_after_a_bounded_search(changes: dict[str, Any], key: str) -> None:
    config = SceneConfig.model_validate(changes | {"room": {"length": [4, 6], "width": [4, 6]}})
    with pytest.raises(InputError, match=rf"scene\.{key}.*attempts"):
        draw_room(config, CIRCLE, random_generator(0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), turn=st.floats(-720, 720))
def test_turning_the_array_turns_the_labels(seed: int, turn: float) -> None:
    room = draw_room(SceneConfig(), CIRCLE, random_generator(seed))
    turned = rotated(room, CIRCLE, turn)
    assert 0 <= turned.array_rotation < 360
    for before, after in zip(room.speakers, turned.speakers, strict=True):
        assert angular_error(after.azimuth, before.azimuth - turn) < 1e-6
        assert after.position == before.position
        assert after.distance == pytest.approx(before.distance)
        assert after.elevation == pytest.approx(before.elevation)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), array=st.sampled_from([CIRCLE, SEVEN]), index=st.integers(0, 6))
def test_symmetric_poses_share_one_canonical_room(
    seed: int, array: MicrophoneArray, index: int
) -> None:
    room = draw_room(SceneConfig(), array, random_generator(seed))
    turned = rotated(room, array, index * 360 / array.num_mics)
    base, permutation = canonical(turned, array)
    assert base.array_rotation == canonical(room, array)[0].array_rotation
    assert 0 <= base.array_rotation < 360 / array.num_mics
    stood = base.microphones(array)[list(permutation)]
    np.testing.assert_allclose(stood, turned.microphones(array), atol=1e-8)


def test_a_line_has_no_symmetry_to_turn_by() -> None:
    room = draw_room(SceneConfig(), LINE, random_generator(3))
    assert draw_symmetry(SceneConfig(), LINE, room, random_generator(4)) == room
    assert canonical(room, LINE) == (room, (0, 1, 2, 3))


def test_distances_follow_their_law() -> None:
    """Evenly over the area: three quarters of the way out, (.75^2 - .5^2) / .75 of the speakers."""
    config = SceneConfig.model_validate(
        {
            "room": {"length": [8, 8], "width": [8, 8], "height": [3, 3]},
            "array": {"offset": 0.1},
            "speaker": {"distance": [1, 2], "distance_law": "area", "min_angle": 0},
        }
    )
    rooms = [draw_room(config, CIRCLE, random_generator(seed)) for seed in range(600)]
    squares = [s.distance**2 for room in rooms for s in room.speakers]
    assert chisquare(np.histogram(squares, 6, (1, 4))[0]).pvalue > 1e-3
    for room in rooms:
        assert np.abs(np.subtract(room.array_centre, 4.0)[:2]).max() <= 0.1


def test_what_a_config_adds_leaves_the_rest_of_the_room() -> None:
    plain = draw_room(SceneConfig(), CIRCLE, random_generator(4))
    config = SceneConfig.model_validate(
        {
            "rirs": "hybrid",
            "background": {"kinds": ["point"], "sources": [2, 2]},
            "imperfections": {"position": 0.001},
            "t60_per_octave": [1.1, 1.1, 1, 1, 1, 1, 0.95],
        }
    )
    full = draw_room(config, CIRCLE, random_generator(4))
    assert (full.size, full.array_centre, full.speakers) == (
        plain.size,
        plain.array_centre,
        plain.speakers,
    )
    assert full.rirs == "hybrid"
    assert full.t60_per_octave == config.t60_per_octave
    assert len(full.noise_sources) == 2
    for source in full.noise_sources:
        assert all(0.3 <= p <= side - 0.3 for p, side in zip(source, full.size, strict=True))
