# SPDX-License-Identifier: Apache-2.0
"""Rooms that are set up on the page: their scene, its labels, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray, angular_error
from msdet.serve.actions import drawn_array
from msdet.serve.room import (
    HEIGHT,
    RoomSetup,
    default_setup,
    read_setup,
    scene_of,
    shortest_t60,
)

if TYPE_CHECKING:
    from msdet.checkpoints import Description
    from msdet.corpora import Corpus
    from msdet.models.msdet import MSDET
    from msdet.simulation import Scene


@pytest.fixture(scope="module")
def voices() -> Corpus:
    from msdet.serve.jobs import unseen_voices

    return unseen_voices(8000)


@pytest.fixture(scope="module")
def description(
    make_model: Callable[..., MSDET], describe: Callable[..., Description]
) -> Description:
    return describe(make_model(), target="early")


@pytest.fixture
def setup(voices: Corpus) -> RoomSetup:
    return default_setup(2, voices.speakers)


@pytest.fixture
def scene(
    setup: RoomSetup,
    arrays: dict[str, MicrophoneArray],
    voices: Corpus,
    description: Description,
) -> Callable[..., Scene]:
    """Make the scene of the set-up with some values changed."""
    circle = arrays["circle4"]
    return lambda **change: scene_of(setup.model_copy(update=change), circle, voices, description)


def test_the_scene_is_the_room_that_was_drawn(
    setup: RoomSetup, scene: Callable[..., Scene], voices: Corpus, description: Description
) -> None:
    made = scene()
    assert made.room.size == setup.size
    assert made.room.t60 == setup.t60
    assert made.room.array_centre == (*setup.array, HEIGHT)
    assert tuple(s.position[:2] for s in made.room.speakers) == setup.speakers
    assert [voices.by_id(crop.utterance).speaker for crop in made.speech] == list(setup.voices)
    assert made.num_samples == 8000 * setup.seconds
    assert (made.target, made.sample_rate) == (description.target, description.sample_rate)


@pytest.mark.parametrize("count", [2, 3])
def test_the_room_that_is_shown_first_can_be_rendered(
    count: int, scene: Callable[..., Scene], voices: Corpus
) -> None:
    made = scene(**dict(default_setup(count, voices.speakers)))
    assert len(made.speech) == len(made.room.speakers) == count


def test_a_turned_array_turns_the_labels(setup: RoomSetup, scene: Callable[..., Scene]) -> None:
    def azimuths(rotation: float) -> np.ndarray[Any, Any]:
        return np.array([s.azimuth for s in scene(rotation=rotation).room.speakers])

    (x, y), (cx, cy) = setup.speakers[0], setup.array
    assert azimuths(0.0)[0] == pytest.approx(np.degrees(np.arctan2(y - cy, x - cx)))
    assert angular_error(azimuths(70.0), azimuths(0.0) - 70.0).max() < 1e-6


def test_other_takes_are_other_stretches_of_the_same_voices(scene: Callable[..., Scene]) -> None:
    first, again, other = (scene(take=take) for take in (0, 0, 1))
    assert first == again
    assert first.speech != other.speech
    assert first.room == other.room


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"speakers": ((0.1, 2.0), (2.0, 3.0))}, "speaker 1 stands at 0.10, 2.00 m"),
        ({"speakers": ((1.0, 2.0), (1.0, 4.4))}, "speaker 2 stands at"),
        ({"array": (5.9, 2.0)}, "the array stands at"),
        ({"speakers": ((2.9, 2.0), (2.0, 3.0))}, "the array and speaker 1 are 0.10 m apart"),
        ({"speakers": ((1.0, 1.0), (1.0, 1.2))}, "speaker 1 and speaker 2 are 0.20 m apart"),
        ({"t60": 0.02}, "T60 of 0.02 s; take at least"),
        ({"voices": ("tuxpaint-fr", "tuxpaint-fr")}, "chosen twice"),
        ({"voices": ("tuxpaint-fr",)}, "1 voices for 2 speakers"),
        ({"voices": ("tuxpaint-fr", "nobody")}, "no speaker 'nobody'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    change: dict[str, Any], says: str, scene: Callable[..., Scene]
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        scene(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": [6.0, 100.0]}, "size"),
        ({"size": None}, "size"),
        ({"height": 100.0}, "size"),
        ({"t60": -1}, "t60"),
        ({"speakers": [[1.0, 1.0]]}, "speakers"),
        ({"speakers": [[1.0, 1.0], [float("nan"), 2.0]]}, "speakers"),
        ({"seconds": 1e6}, "seconds"),
        ({"walls": 5}, "walls"),
    ],
)
def test_what_a_browser_sends_is_checked(
    change: dict[str, Any], says: str, setup: RoomSetup
) -> None:
    with pytest.raises(InputError, match=says):
        sent(setup, **change)
    assert sent(setup) == setup


@pytest.mark.parametrize("drawn", [None, 5, "room", [], {}, {"size": 5}])
def test_what_is_no_drawing_is_refused(drawn: object) -> None:
    with pytest.raises(InputError, match="room: "):
        read_setup(drawn, 2.8)


def sent(setup: RoomSetup, **changes: Any) -> RoomSetup:
    """A set-up as the page sends it: the drawing, and the sliders."""
    values = setup.model_dump(mode="json")
    *sides, height = values.pop("size")
    values = {"size": sides, "height": height} | values | changes
    drawn = {key: values.pop(key) for key in ("size", "array", "rotation", "speakers")}
    return read_setup(drawn, **values)


def test_the_shortest_t60_can_be_had_and_less_cannot(
    setup: RoomSetup, scene: Callable[..., Scene]
) -> None:
    shortest = shortest_t60(setup.size)
    scene(t60=shortest)
    with pytest.raises(InputError, match=f"at least {shortest:g} s"):
        scene(t60=shortest - 0.011)


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 200.0])
def test_the_drawn_axis_of_a_line_is_where_its_azimuth_is_0(turn: float) -> None:
    along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn)), 0.0])
    points = [tuple(x * along) for x in (0.0, 0.05, 0.1)]
    array = MicrophoneArray("line", tuple(points))
    axis = drawn_array(array)["axis"]
    assert axis is not None
    direction = [np.cos(np.radians(axis)), np.sin(np.radians(axis)), 0.0]
    assert array.azimuth_of(direction) == pytest.approx(0.0, abs=1e-5)


def test_only_lines_have_an_axis(arrays: dict[str, MicrophoneArray]) -> None:
    assert drawn_array(arrays["circle4"])["axis"] is None
