# SPDX-License-Identifier: Apache-2.0
"""Turning an array by its symmetries: the same sound in other channels, labels turned as far."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from msdet.geometry import Circle, MicrophoneArray, Positions, Tetrahedron, angular_error
from msdet.simulation import Example, Scene, SceneConfig, compute_rirs, render, rotated
from msdet.simulation.mixture_files import is_symmetric, may_be_turned, turned
from msdet.simulation.noise import sensor_noise
from msdet.simulation.render import AtMicrophone
from msdet.simulation.rooms import channel_order, other_references, symmetries
from msdet.simulation.scene import Background, Mismatch

RATE = 8000
SQUARE = Circle(shape="circle", num_mics=4, radius=0.05).build()
SEVEN = Circle(shape="circle", num_mics=7, radius=0.05).build()
"""Its step is no round number of degrees."""
PYRAMID = Tetrahedron(shape="tetrahedron", edge=0.06).build()
CENTRED = Positions(
    shape="positions", positions=((0, 0, 0), (0.04, 0, 0), (-0.02, 0.0346, 0), (-0.02, -0.0346, 0))
).build()
SYMMETRIC = pytest.mark.parametrize(
    "array", [SQUARE, SEVEN, PYRAMID], ids=["square", "seven", "pyramid"]
)


@pytest.fixture
def permuted_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, ...]], None]:
    """The microphones' own noise in another order: it is drawn by the number of a channel."""

    def permute(order: tuple[int, ...]) -> None:
        def drawn(seed: int, num_mics: int, num_samples: int) -> Any:
            return sensor_noise(seed, num_mics, num_samples)[list(order)]

        module = import_module("msdet.simulation.render")  # the package has a function of its name
        monkeypatch.setattr(module, "sensor_noise", drawn)

    return permute


def heard(scene: Scene, corpus: Any, others: tuple[int, ...] = ()) -> Example:
    array = scene.microphone_array()
    return render(scene, corpus, compute_rirs(scene.room, array, RATE), others)


def same(found: Example, expected: Example, tolerance: float = 2e-4) -> None:
    np.testing.assert_allclose(found.mixture, expected.mixture, atol=tolerance)
    np.testing.assert_allclose(found.targets, expected.targets, atol=tolerance)
    np.testing.assert_array_equal(found.azimuth, expected.azimuth)
    np.testing.assert_allclose(found.elevation, expected.elevation, atol=1e-5)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-6)
    np.testing.assert_allclose(found.drr_db, expected.drr_db, atol=1e-4)
    assert found.gain == pytest.approx(expected.gain, rel=1e-5)
    assert found.t60 == pytest.approx(expected.t60)


@SYMMETRIC
@pytest.mark.parametrize("target", ["direct", "early", "image"])
def test_a_turned_example_is_what_rendering_its_scene_gives(
    array: MicrophoneArray, target: str, draw: Any, corpus: Any, permuted_noise: Any
) -> None:
    """At its own levels, which are a little others at another microphone, with noise that moves
    along."""
    config = SceneConfig(target=target, num_speakers=(3, 3), reference_mic=1, snr_db=(5, 10))  # type: ignore[arg-type]
    scene = draw(config, array=array)
    others = other_references(array, 1)
    plain = heard(scene, corpus, others)
    moved = 0
    for degrees, order in symmetries(array)[1:]:
        room = rotated(scene.room, array, degrees)
        assert channel_order(scene.room, room, scene.microphone_array()) == order
        found = turned(plain, room, plain.others[order[1]])
        permuted_noise(order)
        same(found, heard(found.scene, corpus))
        moved += not np.allclose(found.mixture, plain.mixture, atol=0.01)
        for before, after in zip(plain.azimuth, found.azimuth, strict=True):
            assert angular_error(after, before - degrees) < 1e-4
        assert found.scene.room == room
        assert np.sqrt(np.mean(found.mixture[1] ** 2)) == pytest.approx(1, rel=1e-5)
        np.testing.assert_array_equal(found.elevation, plain.elevation)
        np.testing.assert_array_equal(found.distance, plain.distance)
    assert moved == len(others)


def test_a_background_from_places_in_the_room_turns_too(
    draw: Any, corpus: Any, permuted_noise: Any
) -> None:
    config = SceneConfig.model_validate({"background": {"kinds": ["point"], "snr_db": [0, 5]}})
    scene = draw(config)
    assert scene.background is not None
    plain = heard(scene, corpus, (1, 2, 3))
    room = rotated(scene.room, SQUARE, 90.0)
    found = turned(plain, room, plain.others[1])
    permuted_noise((1, 2, 3, 0))
    same(found, heard(found.scene, corpus))
    assert found.scene.background.snr_db != scene.background.snr_db


def test_there_and_back_changes_nothing(draw: Any, corpus: Any) -> None:
    scene = draw()
    plain = heard(scene, corpus, (1,))
    there = turned(plain, rotated(scene.room, SQUARE, 90.0), plain.others[1])
    first = AtMicrophone(
        targets=plain.targets * np.float32(there.gain / plain.gain),
        drr_db=plain.drr_db,
        level_db=tuple(crop.level_db for crop in scene.speech),
        snr_db=scene.noise.snr_db,
        background_snr_db=None,
    )
    back = turned(there, scene.room, first)
    assert there.scene != scene
    assert back.scene == scene
    assert not np.allclose(there.mixture, plain.mixture, atol=0.01)
    same(back, plain, 1e-5)


@SYMMETRIC
def test_a_turned_scene_is_the_same_mixture_in_other_channels(
    array: MicrophoneArray, draw: Any, corpus: Any, permuted_noise: Any
) -> None:
    """Training on the fly: the room is turned before anything is rendered."""
    scene = draw(SceneConfig(snr_db=(10, 10)), array=array)
    plain = heard(scene, corpus)
    for degrees, order in symmetries(array):
        where = order.index(scene.reference_mic)  # the same microphone, by its new number
        room = rotated(scene.room, array, degrees)
        permuted_noise(order)
        found = heard(scene.model_copy(update={"room": room, "reference_mic": where}), corpus)
        np.testing.assert_allclose(found.mixture, plain.mixture[list(order)], atol=2e-4)
        np.testing.assert_allclose(found.targets, plain.targets, atol=2e-4)
        assert (angular_error(found.azimuth, plain.azimuth - degrees) < 1e-4).all()
        np.testing.assert_allclose(found.elevation, plain.elevation, atol=1e-4)
        np.testing.assert_allclose(found.distance, plain.distance, rtol=1e-6)


def test_what_belongs_to_other_microphones_leaves_the_rest(draw: Any, corpus: Any) -> None:
    scene = draw()
    without, with_others = heard(scene, corpus), heard(scene, corpus, (2, 3))
    np.testing.assert_array_equal(without.mixture, with_others.mixture)
    np.testing.assert_array_equal(without.targets, with_others.targets)
    assert list(with_others.others) == [2, 3]
    assert not without.others
    at = with_others.others[2]
    assert at.level_db[0] == scene.speech[0].level_db
    assert at.snr_db == pytest.approx(scene.noise.snr_db, abs=3)
    assert at.background_snr_db is None


def test_microphones_that_symmetries_make_the_reference(
    line: MicrophoneArray, l_shape: MicrophoneArray
) -> None:
    assert other_references(SQUARE, 1) == (0, 2, 3)
    assert other_references(PYRAMID, 1) == (0, 2)
    assert other_references(PYRAMID, 3) == ()  # its top stays where it is
    assert other_references(CENTRED, 0) == ()
    for array in (line, l_shape):
        assert other_references(array, 0) == ()


def test_where_targets_are_missing_or_arrays_are_imperfect_nothing_turns(draw: Any) -> None:
    scene = draw()
    assert is_symmetric(scene)
    assert may_be_turned(scene, {1, 2, 3})
    assert not may_be_turned(scene, {1, 2})
    assert not may_be_turned(scene, ())
    assert may_be_turned(scene.model_copy(update={"reference_mic": 0}), (3, 1, 2))
    mismatch = Mismatch(gain_db=(0, 1, 0, 0), phase=(0, 0, 0, 0))
    moved = scene.room.model_copy(update={"mic_errors": ((0.001, 0, 0),) * 4})
    for change in ({"mismatch": mismatch}, {"room": moved}):
        imperfect = scene.model_copy(update=change)
        assert not is_symmetric(imperfect)
        assert not may_be_turned(imperfect, {1, 2, 3})


def test_a_reference_on_the_axis_needs_no_other_targets(draw: Any) -> None:
    scene = draw(array=CENTRED)
    assert may_be_turned(scene, ())
    background = Background(kind="diffuse", snr_db=3.0, seed=1)
    assert may_be_turned(scene.model_copy(update={"background": background}), ())
