# SPDX-License-Identifier: Apache-2.0
"""Arrays that differ from their plans: what is heard changes, what is said of it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from msdet.geometry import MicrophoneArray
from msdet.simulation import Scene, SceneConfig, compute_rirs, draw_room, render
from msdet.simulation.rooms import canonical, draw_symmetry, random_generator

RATE = 8000
Draw = Callable[..., Scene]


def config(**imperfections: float) -> SceneConfig:
    return SceneConfig.model_validate({"rirs": "anechoic", "imperfections": imperfections})


def test_none_by_default(draw: Draw) -> None:
    scene = draw()
    assert scene.room.mic_errors == ()
    assert scene.mismatch is None


@pytest.mark.parametrize("key", ["position", "rotation", "tilt", "gain_db", "phase"])
def test_labels_and_places_stay_those_of_the_plans(key: str, draw: Draw) -> None:
    plain, changed = draw(config()), draw(config(**{key: 0.01}))
    assert plain.room.speakers == changed.room.speakers
    assert plain.room.array_rotation == changed.room.array_rotation
    assert plain.speech == changed.speech
    assert plain != changed


def test_positions_spread_as_asked(circle: MicrophoneArray) -> None:
    errors = [
        draw_room(config(position=0.002), circle, random_generator(seed)).mic_errors
        for seed in range(300)
    ]
    found = np.array(errors)
    assert found.shape == (300, 4, 3)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 0.002, rtol=0.1)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 0.0, atol=3e-4)


def test_a_turned_array_keeps_its_shape(circle: MicrophoneArray) -> None:
    angles = []
    for seed in range(100):
        room = draw_room(config(rotation=10.0), circle, random_generator(seed))
        real = circle.as_array() + room.mic_errors
        np.testing.assert_allclose(np.linalg.norm(real, axis=1), 0.05, atol=1e-5)
        np.testing.assert_allclose(real[:, 2], 0.0, atol=1e-6)
        angles.append(np.degrees(np.arctan2(real[0, 1], real[0, 0])))
    assert np.abs(angles).max() <= 10.001
    assert min(angles) < -7
    assert max(angles) > 7


def test_a_tilted_array_leaves_its_plane(circle: MicrophoneArray) -> None:
    heights = [
        np.abs(np.array(draw_room(config(tilt=3.6), circle, random_generator(s)).mic_errors)[:, 2])
        for s in range(100)
    ]
    assert np.max(heights) <= 0.05 * np.sin(np.radians(3.6 * np.sqrt(2)))
    assert np.max(heights) > 0.05 * np.sin(np.radians(3.0))


def test_responses_are_those_of_the_real_places(circle: MicrophoneArray) -> None:
    room = draw_room(config(position=0.02), circle, random_generator(1))
    real = circle.as_array() + np.array(room.mic_errors)
    # A MicrophoneArray is centred: what its centring takes away, the room's centre gets.
    turned = np.radians(room.array_rotation)
    x, y, z = real.mean(axis=0)
    shift = (
        np.cos(turned) * x - np.sin(turned) * y,
        np.sin(turned) * x + np.cos(turned) * y,
        z,
    )
    centre = tuple(np.add(room.array_centre, shift).tolist())
    as_planned = room.model_copy(update={"mic_errors": (), "array_centre": centre})
    other = MicrophoneArray("real", tuple(map(tuple, real.tolist())))
    np.testing.assert_allclose(
        compute_rirs(room, circle, RATE).direct,
        compute_rirs(as_planned, other, RATE).direct,
        atol=2e-3,
    )


def test_such_an_array_has_no_symmetry(circle: MicrophoneArray) -> None:
    chosen = config(position=0.002)
    room = draw_room(chosen, circle, random_generator(3))
    assert canonical(room, circle) == (room, (0, 1, 2, 3))
    turned = {draw_symmetry(chosen, circle, room, random_generator(s)) for s in range(10)}
    assert turned == {room}


def test_microphones_differ_in_gain_and_phase_from_the_reference(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    both = SceneConfig.model_validate(
        {"rirs": "anechoic", "snr_db": (90, 90), "imperfections": {"gain_db": 2.0, "phase": 15.0}}
    )
    scene = draw(both.model_copy(update={"reference_mic": 2}))
    assert scene.mismatch is not None
    assert scene.mismatch.gain_db[2] == scene.mismatch.phase[2] == 0.0
    assert len(set(scene.mismatch.gain_db)) == len(set(scene.mismatch.phase)) == 4
    rirs = compute_rirs(scene.room, circle, RATE)
    found = render(scene, corpus, rirs)
    plain = render(scene.model_copy(update={"mismatch": None}), corpus, rirs)
    np.testing.assert_allclose(found.targets, plain.targets, atol=1e-5)
    ratio = [
        np.vdot(np.fft.rfft(a), np.fft.rfft(b)) / np.vdot(np.fft.rfft(a), np.fft.rfft(a))
        for a, b in zip(plain.mixture, found.mixture, strict=True)
    ]
    np.testing.assert_allclose(20 * np.log10(np.abs(ratio)), scene.mismatch.gain_db, atol=0.01)
    np.testing.assert_allclose(np.degrees(np.angle(ratio)), scene.mismatch.phase, atol=0.2)
