# SPDX-License-Identifier: Apache-2.0
"""Recordings and scenes to results: what is refused and how it is called, what is known."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from msdet.benchmarks import benchmark_path
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.inference.separator import Separator, load
from msdet.inference.speakers_file import SpeakersFile
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.serve import jobs
from msdet.serve.actions import chosen_array
from msdet.serve.jobs import (
    example_benchmarks,
    example_scene,
    separate_example,
    separate_recording,
    separate_room,
    unseen_voices,
)
from msdet.serve.room import default_setup, scene_of
from msdet.simulation import compute_rirs, read_scenes

RATE = 8000


@pytest.fixture(scope="module")
def separator(saved: Path) -> Separator:
    return load(saved)


def separate(file: Path, separator: Separator, max_minutes: float = 10.0) -> str:
    folder = file.parent / "out"
    return separate_recording(separator, folder, file, separator.description.array, max_minutes)


def heard(folder: Path, name: str) -> NDArray[np.float32]:
    audio, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
    assert rate == RATE
    return audio


def numbers(folder: Path) -> SpeakersFile:
    return SpeakersFile.model_validate_json((folder / "speakers.json").read_text())


def test_a_choice_of_an_array_is_never_a_file(separator: Separator, tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    file.write_text("[[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0]]")
    assert separator.array_for(str(file)).num_mics == 3
    with pytest.raises(InputError, match="no such array"):
        chosen_array(separator, str(file), "")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("[[0, 0,", "positions: not JSON"),
        ("null", "positions"),
        ('"circle4"', "positions"),
        ("[[0, 0, 0], [0, 1]]", "positions"),
        ("[[0, 0, 0], [0, 1e999, 0], [1, 0, 0]]", "finite"),
    ],
)
def test_what_is_typed_in_and_no_positions_is_refused(
    typed: str, says: str, separator: Separator
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        chosen_array(separator, "positions", typed)
    assert "\n" not in str(caught.value)


def write(path: Path, audio: NDArray[np.float32]) -> Path:
    soundfile.write(path, audio.T, RATE, subtype="FLOAT")
    return path


def bad_file(kind: str, folder: Path, recording: NDArray[np.float32]) -> Path:
    path = folder / f"{kind}.wav"
    match kind:
        case "text":
            path.write_text("this is no audio")
        case "empty":
            path.write_bytes(b"")
        case "mono":
            write(path, recording[:1])
        case "channels":
            write(path, recording[:3])
        case "no-samples":
            write(path, recording[:, :0])
        case "nan":
            spoilt = recording.copy()
            spoilt[2, 100] = np.nan
            write(path, spoilt)
        case "silence":
            write(path, 0 * recording)
        case "short":
            write(path, recording[:, :20])
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "cannot be read as audio"),
        ("empty", "cannot be read as audio"),
        ("mono", "is mono"),
        ("channels", "has 3 channels, but the array 'circle4' has 4"),
        ("no-samples", "no samples"),
        ("nan", "NaN"),
        ("silence", "silent"),
        ("short", "too short"),
        ("gone", "no longer here"),
    ],
)
def test_bad_files_are_called_by_their_name_alone(
    kind: str, says: str, separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        separate(bad_file(kind, tmp_path, recording), separator)
    message = str(caught.value)
    assert message.startswith(f"{kind}.wav: ")
    assert str(tmp_path) not in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_what_is_too_long_is_refused_before_it_is_decoded(
    separator: Separator,
    recording: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(jobs, "open_recording", decode)
    file = write(tmp_path / "long.wav", recording)
    with pytest.raises(InputError, match=r"long.wav: lasts 0.0 minutes, and this page takes 0.01"):
        separate(file, separator, max_minutes=0.01)


@pytest.fixture(autouse=True)
def everybody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of random weights put out noise, in which nobody speaks."""
    monkeypatch.setattr("msdet.inference.estimates.PRESENT", 0.0)


def test_a_recording_is_separated(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    recording = np.float32(0.05) * recording  # so that nothing is turned down
    page = separate(write(tmp_path / "<i>two.wav", recording), separator)
    direct, told = separator.separate(recording, RATE), numbers(tmp_path / "out")
    assert [speaker.file for speaker in told.speakers] == ["speaker1.wav", "speaker2.wav"]
    for slot, speaker in enumerate(told.speakers):
        assert speaker.azimuth_deg == pytest.approx(direct.azimuth[slot], abs=0.051)
        written = heard(tmp_path / "out", f"speaker{slot + 1}")
        np.testing.assert_allclose(written, direct.audio[slot], atol=1e-6)
    np.testing.assert_array_equal(heard(tmp_path / "out", "mixture"), recording[0])
    assert str(tmp_path) not in (tmp_path / "out" / "speakers.json").read_text()
    assert (told.recording, told.recording_id) == ("<i>two.wav", None)
    assert told.array.name == "circle4"
    assert "<i>two" not in page
    assert "&lt;i&gt;two" in page
    for unknown in ("http", "True", "T60", "undefined"):
        assert unknown not in page


def test_a_loud_recording_is_turned_down_before_it_is_played(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    loud = 30000 * recording / np.abs(recording).max()
    separate(write(tmp_path / "loud.wav", loud), separator)
    played = [heard(tmp_path / "out", name) for name in ("mixture", "speaker1", "speaker2")]
    assert max(np.abs(audio).max() for audio in played) == pytest.approx(0.9)
    gain = 10 ** (numbers(tmp_path / "out").gain_db / 20)
    np.testing.assert_allclose(played[0], gain * loud[0], atol=1e-3)


def test_of_a_truncated_file_what_is_there_is_separated_with_a_warning(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    file = write(tmp_path / "cut.wav", recording)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 4])
    page = separate(file, separator)
    told = numbers(tmp_path / "out")
    assert told.duration_seconds == pytest.approx(0.75, abs=0.01)
    assert "ends in the middle" in told.warnings[0]
    assert page.count("ends in the middle") == 1


@pytest.mark.parametrize("kind", ["example", "room"])
def test_of_scenes_the_truth_is_told(kind: str, separator: Separator, tmp_path: Path) -> None:
    if kind == "example":
        page = separate_example(separator, tmp_path, "bundled-easy", 0)
        speakers = example_scene(separator, "bundled-easy", 0).room.speakers
        truths = {round(speaker.azimuth, 1) for speaker in speakers}
    else:
        setup = default_setup(2, unseen_voices(RATE).speakers)
        page = separate_room(separator, tmp_path, setup, separator.description.array)
        (cx, cy), places = setup.array, setup.speakers
        truths = {round(np.degrees(np.arctan2(y - cy, x - cx)) % 360, 1) for x, y in places}
    told, mixture = numbers(tmp_path).speakers, heard(tmp_path, "mixture")
    assert {speaker.true_azimuth_deg for speaker in told} == truths
    errors = [float(error) for error in re.findall(r"off by ([\d.]+)°", page)]
    true_files = re.findall(r'download="(true\d).wav"', page)
    assert len(set(true_files)) == len(told) == 2
    for speaker, error, file in zip(told, errors, true_files, strict=True):
        assert speaker.azimuth_deg is not None
        assert speaker.true_azimuth_deg is not None
        between = angular_error(speaker.azimuth_deg, speaker.true_azimuth_deg)
        assert error == pytest.approx(between, abs=0.16)
        true, separated = heard(tmp_path, file), heard(tmp_path, speaker.file[:-4])
        gained = float(si_sdr(separated, true)) - float(si_sdr(mixture, true))
        assert speaker.si_sdr_improvement_db == pytest.approx(gained, abs=0.01), (
            "what is played is what is scored"
        )
    audio, _ = soundfile.read(tmp_path / "microphones.wav", dtype="float32")
    assert audio.shape == (len(mixture), 4)
    assert np.abs(audio).max() <= 0.9 + 1e-6  # as it is played, nothing is clipped
    assert page.count('class="truth ') == 2
    assert page.count('aria-label="True voice ') == 2
    assert page.count("SI-SDR improvement") == 2
    assert str(tmp_path) in html.unescape(page)


def test_whoever_is_not_found_is_still_heard(
    separator: Separator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msdet.inference.estimates.PRESENT", 1.1)
    page = separate_example(separator, tmp_path, "bundled-easy", 0)
    assert numbers(tmp_path).speakers == ()
    assert all(np.abs(heard(tmp_path, name)).max() > 0.01 for name in ("true1", "true2"))
    assert page.count("Nobody was found for the speaker at") == 2
    assert page.count('aria-label="True voice at ') == 2
    assert page.count('class="truth nobody"') == 2


@pytest.mark.parametrize("t60", [0.0, 0.3])
def test_the_t60_that_was_asked_for_stands_beside_the_real_one(
    t60: float, separator: Separator, tmp_path: Path
) -> None:
    setup = default_setup(2, unseen_voices(RATE).speakers).model_copy(update={"t60": t60})
    array = separator.description.array
    page = separate_room(separator, tmp_path, setup, array)
    if t60:
        scene = scene_of(setup, array, unseen_voices(RATE), separator.description)
        measured = compute_rirs(scene.room, array, RATE).t60_measured
        assert f"T60 {measured:.2f} s measured, {t60:.2f} s asked for" in page
        assert "Sabine" in page
    else:
        assert "measured" not in page
        assert "no walls" in page
        assert "Sabine" not in page


# --- examples -----------------------------------------------------------------------------


def test_a_model_is_offered_scenes_of_as_many_speakers_as_it_puts_out(
    separator: Separator,
) -> None:
    offered = example_benchmarks(separator)
    assert {"bundled-easy", "bundled-opposite"} <= set(offered)
    assert "bundled-three" not in offered


def test_a_scene_is_the_same_at_another_rate(separator: Separator) -> None:
    original = read_scenes(benchmark_path("bundled-easy"))[3]
    scene = example_scene(separator, "bundled-easy", 3)
    assert (original.sample_rate, scene.sample_rate) == (16000, 8000)
    assert scene.room == original.room
    assert scene.num_samples == original.num_samples / 2
    for crop, was in zip(scene.speech, original.speech, strict=True):
        assert crop.utterance == was.utterance
        assert abs(crop.offset - was.offset / 2) <= 0.5
        assert abs(crop.onset - was.onset / 2) <= 0.5
        assert crop.onset + crop.length <= scene.num_samples
    assert scene.target == separator.description.target


def test_scenes_that_there_are_not_are_refused(separator: Separator) -> None:
    with pytest.raises(InputError, match="scenes 0 to 199"):
        example_scene(separator, "bundled-easy", 200)
    with pytest.raises(InputError, match="is no benchmark"):
        example_scene(separator, "bundled-none", 0)
