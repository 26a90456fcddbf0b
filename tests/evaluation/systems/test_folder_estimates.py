# SPDX-License-Identifier: Apache-2.0
"""What other systems made of scenes is read from a folder, and whatever is wrong is named first."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.errors import InputError
from msdet.evaluation.systems.folder import FolderEstimates, as_rendered
from msdet.geometry import Circle, Line, MicrophoneArray
from msdet.moments import moments_of
from msdet.simulation import Example, Room, Scene
from msdet.simulation.rooms import place
from msdet.simulation.scene import ArrayRecord, Noise
from msdet.simulation.speech import SpeechCrop

RATE, LENGTH = 8000, 400
CIRCLE = Circle(shape="circle", num_mics=4, radius=0.05).build()
LINE = Line(shape="line", num_mics=4, spacing=0.04).build()


def scene(index: int, array: MicrophoneArray = CIRCLE) -> Scene:
    crop = SpeechCrop(utterance="a", offset=0, onset=0, length=LENGTH, level_db=0.0)
    centre = (3.0, 3.0, 1.2)
    return Scene(
        id=f"scene-{index}",
        split="test",
        index=index,
        epoch=0,
        sample_rate=RATE,
        num_samples=LENGTH,
        array=ArrayRecord(name=array.name, positions=array.positions),
        reference_mic=0,
        target="direct",
        room=Room(
            size=(6.0, 5.0, 3.0),
            t60=0.2,
            array_centre=centre,
            array_rotation=0.0,
            speakers=tuple(place(array, centre, 0.0, p) for p in ((4, 3, 1.2), (3, 4, 1.2))),
        ),
        speech=(crop, crop),
        noise=Noise(snr_db=20.0, seed=1),
        corpus="0123",
    )


SCENES = [scene(index) for index in range(3)]


def audio(number: int) -> Any:
    return np.random.default_rng(number).standard_normal(LENGTH).astype(np.float32)


def write(
    folder: Path,
    scenes: Sequence[Scene] = SCENES,
    *,
    files: int = 2,
    azimuths: Sequence[float | None] | None = (10.0, 200.0),
    **more: Any,
) -> Path:
    """A folder as `msdet separate` would fill it for each scene."""
    for one in scenes:
        inside = folder / one.id
        inside.mkdir(parents=True)
        for slot in range(files):
            path = inside / f"speaker{slot + 1}.wav"
            soundfile.write(path, audio(10 * one.index + slot), RATE, subtype="FLOAT")
        if azimuths is not None:
            speakers = [{"azimuth_deg": azimuth, **more} for azimuth in azimuths]
            for slot in range(files):
                speakers[slot]["file"] = f"speaker{slot + 1}.wav"
            content = {"recording": "m.wav", "sample_rate": RATE, "speakers": speakers}
            (inside / "directions.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("more", [{}, {"distance_m": 1.5}])
def test_what_separate_writes_is_read(tmp_path: Path, more: dict[str, Any]) -> None:
    estimates = FolderEstimates(write(tmp_path, **more), SCENES)
    assert estimates.separates
    assert estimates.localises
    for one in SCENES:
        found = pickle.loads(pickle.dumps(estimates)).estimate(one)
        wanted = np.stack([audio(10 * one.index), audio(10 * one.index + 1)])
        np.testing.assert_array_equal(found.audio, wanted)
        np.testing.assert_array_equal(found.azimuth, [10.0, 200.0])
        assert found.audio.dtype == np.float32
        if more:
            np.testing.assert_array_equal(found.distance, [1.5, 1.5])
        else:
            assert found.distance is None


def test_directions_over_time_are_read(tmp_path: Path) -> None:
    assert FolderEstimates(write(tmp_path / "plain"), SCENES).estimate(SCENES[0]).track is None
    ends = LENGTH / RATE
    folder = write(tmp_path / "walks", track={"seconds": [0.0, ends], "azimuth_deg": [10.0, 30.0]})
    path = folder / SCENES[0].id / "directions.json"
    content = json.loads(path.read_text())
    del content["speakers"][1]["track"]
    path.write_text(json.dumps(content))
    track = FolderEstimates(folder, SCENES).estimate(SCENES[0]).track
    assert track is not None
    moments = moments_of(ends)
    np.testing.assert_array_equal(track[0], np.where(moments <= ends / 2, 10.0, 30.0))
    np.testing.assert_array_equal(track[1], np.full(len(moments), 200.0))


@pytest.mark.parametrize(
    ("track", "says"),
    [
        ({"seconds": [0.0], "azimuth_deg": [10.0, 20.0]}, "2 azimuth_deg for 1 seconds"),
        ({"seconds": [0.1, 0.1], "azimuth_deg": [10.0, 20.0]}, "seconds do not ascend"),
        ({"seconds": [0.1]}, "azimuth_deg"),
    ],
)
def test_tracks_that_cannot_be_are_refused(
    tmp_path: Path, track: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=rf"directions\.json: speakers\.0\.track.*{says}"):
        FolderEstimates(write(tmp_path, track=track), SCENES)


def speakers_json(azimuths: Sequence[float | None]) -> dict[str, Any]:
    """What `msdet separate` says of speakers in these directions."""
    known = {"confidence": 0.9, "presence": 1.0, "spoken_seconds": 0.04, "segments": [[0.0, 0.04]]}
    model = {"sample_rate": RATE, "num_outputs": 2, "checkpoint_sha256": "0123"}
    names = ("checkpoint", "target", "assignment", "trained_on_array", "msdet")
    array = {"channels": [0], "positions_m": [[0.0, 0.0, 0.0]], "reference_mic": 0}
    return {
        "recording": "mixture.wav",
        "recording_id": "0123",
        "sample_rate": RATE,
        "duration_seconds": LENGTH / RATE,
        "speakers": [
            {"file": f"speaker{slot + 1}.wav", "azimuth_deg": azimuth, **known}
            for slot, azimuth in enumerate(azimuths)
        ],
        "gain_db": 0.0,
        "bandwidth_hz": RATE / 2,
        "model": model | dict.fromkeys(names, "one"),
        "array": array | {"name": "one", "azimuth": "degrees"},
        "separated_with": {
            "azimuth": None,
            "window_seconds": 8.0,
            "overlap": 0.125,
            "stitching": "direction_and_voice",
            "num_speakers": None,
            "max_speakers": None,
        },
        "warnings": [],
        "of_a_later_version": True,
    }


def test_speakers_json_of_separate_is_read_for_its_directions(tmp_path: Path) -> None:
    content = speakers_json([10.0, 200.0])
    for one in SCENES:
        write(tmp_path, [one], azimuths=None)
        (tmp_path / one.id / "speakers.json").write_text(json.dumps(content))
    found = FolderEstimates(tmp_path, SCENES).estimate(SCENES[0])
    np.testing.assert_array_equal(found.azimuth, [10.0, 200.0])
    content["speakers"][0]["azimuth_deg"] = "north"
    (tmp_path / SCENES[-1].id / "speakers.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"speakers\.json: speakers\.0\.azimuth_deg"):
        FolderEstimates(tmp_path, SCENES)


def test_who_was_not_found_is_left_out(tmp_path: Path) -> None:
    """One, none and two were found; how many is a claim in all three scenes."""
    for one, azimuths in zip(SCENES, ([10.0], [], [10.0, 200.0]), strict=True):
        write(tmp_path, [one], files=len(azimuths), azimuths=None)
        text = json.dumps(speakers_json(azimuths))
        (tmp_path / one.id / "speakers.json").write_text(text)
    estimates = FolderEstimates(tmp_path, SCENES)
    first, second, third = map(estimates.estimate, SCENES)
    assert first.audio is not None
    np.testing.assert_array_equal(first.audio, [audio(0)])
    np.testing.assert_array_equal(first.azimuth, [10.0])
    assert second.audio is not None
    assert second.audio.shape == (0, LENGTH)
    assert second.azimuth is not None
    assert second.azimuth.shape == (0,)
    empty = [found.empty for found in (first, second, third)]
    assert [e.tolist() for e in empty if e is not None] == [[False], [], [False, False]]


def test_silence_says_nobody(tmp_path: Path) -> None:
    """A file of it in one scene makes the number of outputs an answer in all."""
    write(tmp_path, azimuths=None)
    soundfile.write(tmp_path / "scene-1" / "speaker2.wav", np.zeros(LENGTH), RATE)
    estimates = FolderEstimates(tmp_path, SCENES)
    empty = [estimates.estimate(one).empty for one in SCENES]
    wanted = [[False, False], [False, True], [False, False]]
    assert [e.tolist() for e in empty if e is not None] == wanted


def test_directions_alone_may_be_fewer(tmp_path: Path) -> None:
    write(tmp_path, files=0, azimuths=(5.0,))
    found = FolderEstimates(tmp_path, SCENES).estimate(SCENES[0])
    assert found.audio is None
    np.testing.assert_array_equal(found.azimuth, [5.0])


def test_files_have_the_level_of_the_mixture_that_is_written(tmp_path: Path) -> None:
    """Less the gain that is told."""
    write(tmp_path, azimuths=None)
    content = speakers_json([10.0, 200.0]) | {"gain_db": -20.0}
    for one in SCENES:
        (tmp_path / one.id / "speakers.json").write_text(json.dumps(content))
    found = FolderEstimates(tmp_path, SCENES).estimate(SCENES[0])
    assert found.audio is not None
    np.testing.assert_allclose(found.audio, [10 * audio(0), 10 * audio(1)], rtol=1e-6)
    none = np.zeros(2, np.float32)
    example = Example(
        mixture=np.full((4, LENGTH), 50.0, np.float32),  # a peak that needs 1/64
        targets=np.zeros((2, LENGTH), np.float32),
        azimuth=none,
        elevation=none,
        distance=none,
        drr_db=none,
        t60=0.2,
        gain=1.0,
        scene=SCENES[0],
    )
    rendered = as_rendered(found, example).audio
    assert rendered is not None
    np.testing.assert_array_equal(rendered, 64 * found.audio)


def test_audio_alone_and_directions_alone(tmp_path: Path) -> None:
    separated = FolderEstimates(write(tmp_path / "audio", azimuths=None), SCENES)
    found = separated.estimate(SCENES[0])
    assert (separated.separates, separated.localises) == (True, False)
    assert found.azimuth is None
    assert found.audio is not None
    localised = FolderEstimates(write(tmp_path / "directions", files=0), SCENES)
    found = localised.estimate(SCENES[0])
    assert (localised.separates, localised.localises) == (False, True)
    assert found.audio is None
    np.testing.assert_array_equal(found.azimuth, [10.0, 200.0])


def test_a_model_without_directions_writes_null(tmp_path: Path) -> None:
    estimates = FolderEstimates(write(tmp_path, azimuths=(None, None)), SCENES)
    assert not estimates.localises
    assert estimates.estimate(SCENES[1]).azimuth is None


def test_a_slot_may_claim_no_direction(tmp_path: Path) -> None:
    write(tmp_path, SCENES[:1], azimuths=(None, None))
    write(tmp_path, SCENES[1:], azimuths=(-20.0, None))
    estimates = FolderEstimates(tmp_path, SCENES)
    np.testing.assert_array_equal(estimates.estimate(SCENES[0]).azimuth, [np.nan, np.nan])
    np.testing.assert_array_equal(estimates.estimate(SCENES[1]).azimuth, [340.0, np.nan])


def test_more_slots_than_speakers(tmp_path: Path) -> None:
    write(tmp_path, files=3, azimuths=(10.0, 200.0, None))
    found = FolderEstimates(tmp_path, SCENES).estimate(SCENES[2])
    assert found.audio is not None
    assert found.audio.shape == (3, LENGTH)


def test_other_files_and_folders_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "scene-77").mkdir()
    (tmp_path / "scene-0" / "notes.txt").write_text("")
    assert FolderEstimates(tmp_path, SCENES).separates


@pytest.mark.parametrize("name", ["mixture.wav", "labels.json"])
def test_the_folders_of_a_rendered_set_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / "scene-0" / name).write_text("")
    with pytest.raises(InputError, match=rf"scene-0/{name}: is of a rendered scene"):
        FolderEstimates(tmp_path, SCENES)


def test_more_slots_than_speakers_say_how_many_they_claim(tmp_path: Path) -> None:
    write(tmp_path)
    folder = tmp_path / "scene-0"
    shutil.copy(folder / "speaker1.wav", folder / "speaker3.wav")
    content = json.loads((folder / "directions.json").read_text())
    content["speakers"].append({"file": "speaker3.wav", "azimuth_deg": None})
    (folder / "directions.json").write_text(json.dumps(content))
    nobody = FolderEstimates(tmp_path, SCENES).estimate(SCENES[0]).empty
    assert nobody is not None
    assert nobody.tolist() == [False] * 3  # a voice from nowhere is one all the same


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def sound(name: str, shape: Any = LENGTH, rate: int = RATE) -> Callable[[Path], object]:
    return lambda folder: soundfile.write(folder / name, np.zeros(shape), rate)


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def directions(**keys: Any) -> Callable[[Path], object]:
    """Other directions, each of two speakers with these keys, or all of the content."""
    content = keys if "speakers" in keys else {"speakers": [{"azimuth_deg": 1.0} | keys] * 2}
    return text("directions.json", json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("speaker2.wav"), r"directions\.json: 2 speakers, expected 1, one for each WAV"),
        (remove("speaker1.wav"), r"speaker1\.wav: is missing, though there is speaker2\.wav"),
        (remove("directions.json"), r"directions\.json: is missing, though other scenes have one"),
        (sound("speaker3.wav"), r"directions\.json: 2 speakers, expected 3"),
        (sound("speaker2.wav", 399), r"speaker2\.wav: 399 samples, expected 400"),
        (sound("speaker2.wav", (400, 2)), r"speaker2\.wav: 2 channels, expected 1"),
        (sound("speaker2.wav", 400, 16000), r"speaker2\.wav: 16000 Hz, expected 8000"),
        (text("speaker1.wav", "RIFF"), r"speaker1\.wav: cannot be read as audio"),
        (text("directions.json", '{"speakers": ['), r"directions\.json: Invalid JSON: EOF"),
        (text("directions.json", "[]"), r"directions\.json: directions: Input should be"),
        (directions(speakers=[]), r"directions\.json: 0 speakers, expected 2"),
        (directions(azimuth_deg="5"), r"directions\.json: speakers\.0\.azimuth_deg='5'"),
        (directions(azimuth_deg=float("nan")), r"azimuth_deg=nan: .*finite"),
        (directions(azimuth_deg=float("inf")), r"azimuth_deg=inf: .*finite"),
        (directions(azimuth=5.0), r"speakers\.0\.azimuth=5\.0: Extra inputs"),
        (directions(distance_m=-1.0), r"speakers\.0\.distance_m=-1\.0: .*greater"),
        (directions(file="speaker2.wav"), r"file='speaker2\.wav': expected 'speaker1\.wav'"),
        (directions(sample_rate=8, speakers=[]), r"directions\.json: sample_rate=8, expected 8000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(write(tmp_path) / "scene-1")
    place = re.escape(f"estimates={tmp_path}: scene-1/")
    with pytest.raises(InputError, match=f"{place}.*{message}") as caught:
        FolderEstimates(tmp_path, SCENES)
    assert "\n" not in str(caught.value)


def test_fewer_slots_than_speakers_must_be_claimed(tmp_path: Path) -> None:
    write(tmp_path, files=1, azimuths=None)
    with pytest.raises(InputError, match=r"scene-0/speaker2\.wav: is missing, the scene has 2"):
        FolderEstimates(tmp_path, SCENES)


def test_a_scene_without_audio_among_others_is_named(tmp_path: Path) -> None:
    write(tmp_path, SCENES[:2])
    write(tmp_path, SCENES[2:], files=0)
    with pytest.raises(InputError, match=r"scene-2/speaker1\.wav: is missing, though other"):
        FolderEstimates(tmp_path, SCENES)


def test_the_first_mistakes_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    scenes = [scene(index) for index in range(7)]
    write(tmp_path, scenes[:2])
    (tmp_path / "scene-1" / "directions.json").write_text("x")
    with pytest.raises(InputError) as caught:
        FolderEstimates(tmp_path, scenes)
    line = str(caught.value)
    assert "scene-1/directions.json: Invalid JSON" in line
    assert "scene-2/ no such folder; scene-3/ no such folder; and 3 more mistakes" in line


@pytest.mark.parametrize("there", [1, 2])
def test_where_the_first_scenes_are_there_their_number_is_suggested(
    tmp_path: Path, there: int
) -> None:
    write(tmp_path, SCENES[:there])
    with pytest.raises(InputError, match=rf"no such folder.*: num_scenes={there} scores these"):
        FolderEstimates(tmp_path, SCENES)
    FolderEstimates(tmp_path, SCENES[:there])
    with pytest.raises(InputError) as caught:
        FolderEstimates(tmp_path, SCENES[::-1])
    assert "num_scenes" not in str(caught.value)


@pytest.mark.parametrize(
    ("subtype", "told"),
    [("PCM_16", 2), ("PCM_24", 2), ("PCM_32", 2), ("PCM_U8", 2), ("FLOAT", None)],
)
def test_samples_at_full_scale_of_integers_are_counted_by_file(
    tmp_path: Path, subtype: str, told: int | None
) -> None:
    write(tmp_path, azimuths=None)
    loud = 0.3 * np.sin(np.arange(LENGTH))
    loud[5:7] = 1.7, -1.7
    soundfile.write(tmp_path / "scene-1" / "speaker2.wav", loud, RATE, subtype=subtype)
    soundfile.write(tmp_path / "scene-2" / "speaker1.wav", 0.5 * loud, RATE, subtype="PCM_16")
    found = FolderEstimates(tmp_path, SCENES).clipped
    assert found == ({} if told is None else {"scene-1/speaker2.wav": told})


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"estimates=.*gone: no such folder"):
        FolderEstimates(tmp_path / "gone", SCENES)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"estimates=.*file: is no folder"):
        FolderEstimates(tmp_path / "file", SCENES)
    (tmp_path / "scene-0").mkdir()
    with pytest.raises(InputError, match=r"scene-0/ holds neither speaker1\.wav nor directions"):
        FolderEstimates(tmp_path, SCENES[:1])
    write(tmp_path / "nothing", files=0, azimuths=(None, None))
    with pytest.raises(InputError, match="there is no audio, and no azimuth is claimed"):
        FolderEstimates(tmp_path / "nothing", SCENES)
    with pytest.raises(InputError, match="scene-0: 2 of the scenes have this id"):
        FolderEstimates(write(tmp_path / "twice"), [*SCENES, SCENES[0]])


def test_a_line_hears_half_a_circle(tmp_path: Path) -> None:
    scenes = [scene(0, LINE)]
    write(tmp_path / "good", scenes, azimuths=(0.0, 180.0))
    found = FolderEstimates(tmp_path / "good", scenes).estimate(scenes[0])
    np.testing.assert_array_equal(found.azimuth, [0.0, 180.0])
    write(tmp_path / "bad", scenes)
    with pytest.raises(InputError, match=r"speakers\.1\.azimuth_deg=200: expected 0 to 180"):
        FolderEstimates(tmp_path / "bad", scenes)


def test_audio_is_checked_when_it_is_read(tmp_path: Path) -> None:
    estimates = FolderEstimates(write(tmp_path), SCENES)
    path = tmp_path / "scene-0" / "speaker2.wav"
    broken = audio(0)
    broken[7] = np.nan
    soundfile.write(path, broken, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"speaker2\.wav: holds NaN"):
        estimates.estimate(SCENES[0])
    soundfile.write(path, audio(0)[:50], RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"speaker2\.wav: 50 samples, expected 400; it was"):
        estimates.estimate(SCENES[0])
