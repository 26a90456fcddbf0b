# SPDX-License-Identifier: Apache-2.0
"""Speakers who walk: their paths, what is heard of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from msdet.errors import InputError
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation import (
    Scene,
    SceneConfig,
    compute_rirs,
    moving,
    render,
    render_parts,
)
from msdet.simulation.checks import check_ranges
from msdet.simulation.mixture_files import labels
from msdet.simulation.moving import MovingSource
from msdet.simulation.paths import SpeakerPath
from msdet.simulation.rirs import DELAY

Draw = Callable[..., Scene]
RATE = 8000
WALKING = SceneConfig(rirs="hybrid", movement={}, target="image")


def rendered(scene: Scene, corpus: Any, array: MicrophoneArray) -> Any:
    return render(scene, corpus, compute_rirs(scene.room, array, RATE))


def difference_db(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(10 * np.log10(np.square(found - expected).mean() / np.square(expected).mean()))


# --- paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["circle", "line"])
def test_paths_begin_at_the_speaker_and_stay_in_the_ranges(
    name: str, draw: Draw, request: pytest.FixtureRequest
) -> None:
    array: MicrophoneArray = request.getfixturevalue(name)
    walked = 0
    for index in range(8):
        scene = draw(WALKING, index=index, array=array, num_samples=20 * RATE)
        seconds = np.arange(0, 20, 0.05)
        positions = scene.positions(seconds)
        distance = np.linalg.norm(positions, axis=-1)
        ranges = WALKING.speaker.distance
        assert distance.min() >= ranges[0] - 1e-3
        assert distance.max() <= ranges[1] + 1e-3
        start = [speaker.azimuth for speaker in scene.room.speakers]
        np.testing.assert_allclose(scene.azimuths([0.0])[:, 0], start, atol=1e-3)
        speed = np.linalg.norm(np.diff(positions, axis=1), axis=-1) / 0.05
        assert WALKING.movement is not None
        assert speed.max() <= np.pi / 2 * WALKING.movement.speed[1] + 0.05  # it starts gently
        for path in scene.paths:
            inside = np.array(path.positions)
            wall = WALKING.speaker.wall_distance - 1e-3
            assert (inside >= wall).all()
            assert (inside <= np.array(scene.room.size) - wall).all()
        walked += len(scene.paths)
    assert walked >= 14  # of 16; some have nowhere to go


def test_without_movement_a_scene_is_as_it_was(draw: Draw) -> None:
    scene = draw(SceneConfig(rirs="hybrid"))
    assert scene.paths == ()
    assert "paths" not in scene.model_dump(mode="json")
    walking = draw(WALKING)
    kept = {"room", "speech", "noise"}
    assert walking.model_dump(include=kept) == scene.model_dump(include=kept)
    assert Scene.model_validate_json(walking.model_dump_json()) == walking


def test_a_share_of_the_speakers_walks(draw: Draw) -> None:
    config = SceneConfig(rirs="hybrid", movement={"share": 0.5})
    walking = sum(len(draw(config, index=index).paths) for index in range(40))
    assert 20 <= walking <= 60  # of 80
    assert not draw(SceneConfig(rirs="hybrid", movement={"share": 0.0})).paths


@pytest.mark.parametrize(
    ("times", "positions", "says"),
    [
        ((0.0, 2.0, 1.0), ((1, 1, 1),) * 3, "1 s comes after 2 s"),
        ((0.0, 0.0), ((1, 1, 1),) * 2, "0 s comes after 0 s"),
        ((0.0, 1.0), ((1, 1, 1),), "2 times and 1 positions"),
        ((), (), "0 times"),
    ],
)
def test_a_path_that_cannot_be_is_refused(times: Any, positions: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SpeakerPath(speaker=0, times=times, positions=positions)


@pytest.mark.parametrize("speakers", [(2,), (0, 0)])
def test_a_path_of_nobody_is_refused(draw: Draw, speakers: tuple[int, ...]) -> None:
    scene = draw(WALKING)
    start = scene.room.speakers[0].position
    paths = tuple(SpeakerPath(speaker=n, times=(0.0,), positions=(start,)) for n in speakers)
    with pytest.raises(
        ValidationError, match=r"paths: of speakers .*; expected one each, of 0 to 1"
    ):
        Scene.model_validate({**scene.model_dump(), "paths": [p.model_dump() for p in paths]})


@pytest.mark.parametrize(
    ("place", "says"),
    [((9.5, 1.0, 1.0), "outside of the room"), (None, "closer than 0.1 m to a microphone")],
)
def test_a_path_through_walls_or_microphones_is_refused(
    draw: Draw, corpus: Any, circle: MicrophoneArray, place: Any, says: str
) -> None:
    scene = draw(WALKING)
    centre = scene.room.array_centre
    through = place or centre
    start = scene.room.speakers[0].position
    path = SpeakerPath(speaker=0, times=(0.0, 1.0), positions=(start, through))
    with pytest.raises(InputError, match=rf"{scene.id}: speaker 0 walks .*{says}"):
        rendered(scene.model_copy(update={"paths": (path,)}), corpus, circle)


def test_movement_needs_responses_that_are_quick(circle: MicrophoneArray) -> None:
    with pytest.raises(InputError, match=r"scene\.rirs=exact: speakers who move need 'hybrid'"):
        check_ranges(SceneConfig(movement={}), circle)


def test_labels_say_where_somebody_is_every_tenth_of_a_second(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw(SceneConfig(rirs="anechoic", movement={"pause": [0, 0]}), num_samples=2 * RATE)
    standing = scene.model_copy(update={"paths": scene.paths[:1]})
    first, second = labels(rendered(standing, corpus, circle), corpus, 1.0)["speakers"]
    assert "track" not in second
    track = first["track"]
    assert track["seconds"][:3] == [0.0, 0.1, 0.2]
    assert len(track["seconds"]) == len(track["azimuth"]) == len(track["distance"]) == 20
    assert track["azimuth"][0] == pytest.approx(first["azimuth"], abs=2e-3)
    assert track["distance"][-1] != pytest.approx(first["distance"], abs=1e-2)


# --- sound --------------------------------------------------------------------------------


@pytest.mark.parametrize("rirs", ["hybrid", "anechoic"])
@pytest.mark.parametrize("target", ["direct", "early", "image"])
def test_who_stands_sounds_as_without_a_path(
    draw: Draw, corpus: Any, circle: MicrophoneArray, rirs: str, target: str
) -> None:
    scene = draw(SceneConfig(rirs=rirs, target=target, reference_mic=1))
    standing = tuple(
        SpeakerPath(speaker=number, times=(0.5,), positions=(speaker.position,))
        for number, speaker in enumerate(scene.room.speakers)
    )
    still = rendered(scene, corpus, circle)
    found = rendered(scene.model_copy(update={"paths": standing}), corpus, circle)
    assert difference_db(found.mixture, still.mixture) < -90
    assert difference_db(found.targets, still.targets) < -90


def tone_through(path: SpeakerPath, scene: Scene, mics: NDArray[Any], hertz: float) -> Any:
    lead = RATE // 10
    tone = np.sin(2 * np.pi * hertz * np.arange(-lead, scene.num_samples + 100) / RATE)
    source = MovingSource(
        scene.room, path, mics, tone.astype(np.float32), lead, scene.num_samples, RATE
    )
    return source.direct(0)


@pytest.mark.parametrize(("hertz", "least"), [(250, -50), (1000, -50), (3000, -36)])
def test_a_tone_stays_a_tone(draw: Draw, hertz: float, least: float) -> None:
    """Against the closed form: what is heard at time t was uttered at t - distance / c, and comes
    with the frequency shifted (Doppler); walking by at 1.2 m/s."""
    hall = {"length": [8, 8], "width": [8, 8]}
    scene = draw(SceneConfig(rirs="anechoic", room=hall), num_samples=3 * RATE)
    x, y, z = 1.0, 1.0, 1.2
    velocity = np.array([1.2, 0.3, 0.0])
    path = SpeakerPath(
        speaker=0,
        times=(-1.0, 4.0),
        positions=tuple(tuple(np.array([x, y, z]) + velocity * (t + 1)) for t in (-1.0, 4.0)),
    )
    mics = np.array([[3.0, 2.5, 1.2]])
    found = tone_through(path, scene, mics, hertz)
    uttered = np.arange(-RATE // 10, scene.num_samples) / RATE
    fine = np.linspace(uttered[0], uttered[-1], 8 * len(uttered))
    distance = np.linalg.norm(path.at(fine) - mics[0], axis=-1)
    heard = fine + distance / SPEED_OF_SOUND
    slower = np.gradient(heard, fine)
    sample = np.arange(scene.num_samples) / RATE
    # responses are late by the filter's own delay
    late = sample - DELAY / RATE
    moment = np.interp(late, heard, fine)
    amplitude = np.interp(late, heard, 1 / (distance * slower))
    expected = amplitude * np.sin(2 * np.pi * hertz * moment)
    inside = slice(RATE // 10, -RATE // 10)
    assert difference_db(found[inside], expected[inside]) < least


def test_half_the_spacing_changes_little(
    draw: Draw, corpus: Any, circle: MicrophoneArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = draw(WALKING)
    whole = rendered(scene, corpus, circle)
    monkeypatch.setattr(moving, "SPACING", moving.SPACING / 2)
    half = rendered(scene, corpus, circle)
    assert scene.paths
    assert difference_db(half.mixture, whole.mixture) < -40


def test_the_parts_of_a_walk_sum_to_the_mixture(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    scene = draw(WALKING)
    rirs = compute_rirs(scene.room, circle, RATE)
    example, parts = render(scene, corpus, rirs), render_parts(scene, corpus, rirs)
    np.testing.assert_allclose(parts.images.sum(axis=0) + parts.noise, example.mixture, atol=1e-5)


def test_the_direct_path_comes_from_where_the_path_is(
    draw: Draw, corpus: Any, circle: MicrophoneArray
) -> None:
    """Delays between microphones of the direct path, second by second, against the geometry."""
    config = SceneConfig(rirs="anechoic", movement={"speed": [0.8, 0.8]}, num_speakers=(2, 2))
    scene = draw(config, num_samples=4 * RATE)
    rirs = compute_rirs(scene.room, circle, RATE)
    images = render_parts(scene, corpus, rirs).images
    mics = circle.as_array()
    moments = np.arange(0.5, 4.0, 0.5)
    places = scene.positions(moments)
    for number in range(2):
        for column, moment in enumerate(moments):
            around = slice(round((moment - 0.1) * RATE), round((moment + 0.1) * RATE))
            one, other = images[number, 0, around], images[number, 2, around]
            if np.square(one).mean() < 1e-2 * np.square(images[number, 0]).mean():
                continue  # a pause
            size = 16 * 4096
            cross = np.fft.rfft(one, 4096) * np.fft.rfft(other, 4096).conj()
            lags = np.roll(np.fft.irfft(cross, size), size // 2)
            found = (lags.argmax() - size // 2) / (16 * RATE)
            gaps = np.linalg.norm(places[number, column] - mics[[0, 2]], axis=-1)
            assert found == pytest.approx((gaps[0] - gaps[1]) / SPEED_OF_SOUND, abs=4e-5)
