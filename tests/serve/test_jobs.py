# SPDX-License-Identifier: Apache-2.0
"""Recordings and scenes to outcomes: what is refused and how it is called, what is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.inference.separator import Separator, load
from msdet.inference.speakers_file import SpeakersFile
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.serve import jobs
from msdet.serve.arrays import chosen_array
from msdet.serve.jobs import (
    ExampleJob,
    RecordingJob,
    RoomJob,
    separate_example,
    separate_recording,
    separate_room,
    unseen_voices,
)
from msdet.serve.result_view import result_html
from msdet.serve.room_setup import default_setup

RATE = 8000


@pytest.fixture(scope="module")
def separator(saved: Path) -> Separator:
    return load(saved)


def job_of(file: Path, separator: Separator, max_minutes: float = 10.0) -> RecordingJob:
    return RecordingJob(file, separator.description.array, max_minutes, file.parent / "out")


def test_a_choice_of_an_array_is_never_a_file(separator: Separator, tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    file.write_text("[[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0]]")
    assert separator.array_for(str(file)).num_mics == 3
    with pytest.raises(InputError, match="no such array"):
        chosen_array(separator, str(file), "")


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
    ],
)
def test_bad_files_are_called_by_their_name_alone(
    kind: str, says: str, separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    file = bad_file(kind, tmp_path, recording)
    with pytest.raises(InputError, match=says) as caught:
        separate_recording(separator, job_of(file, separator))
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
        separate_recording(separator, job_of(file, separator, max_minutes=0.01))


@pytest.fixture(autouse=True)
def everybody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of random weights put out noise, in which nobody speaks."""
    monkeypatch.setattr("msdet.inference.estimates.PRESENT", 0.0)


def test_a_recording_is_separated(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    recording = np.float32(0.05) * recording  # so that nothing is turned down
    file = write(tmp_path / "<i>two.wav", recording)
    outcome = separate_recording(separator, job_of(file, separator))
    direct = separator.separate(recording, RATE)
    assert len(outcome.voices) == 2
    for voice, azimuth, audio in zip(outcome.voices, direct.azimuth, direct.audio, strict=True):
        assert voice.azimuth == pytest.approx(azimuth)
        assert voice.truth is None
        written, rate = soundfile.read(voice.clip.file, dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(written, audio, atol=1e-6)
    mixture, _ = soundfile.read(outcome.mixture.file, dtype="float32")
    np.testing.assert_array_equal(mixture, recording[0])
    content = SpeakersFile.model_validate_json(outcome.findings.read_text()).model_dump()
    assert str(tmp_path) not in outcome.findings.read_text()
    assert [s["file"] for s in content["speakers"]] == ["speaker1.wav", "speaker2.wav"]
    assert content["array"]["name"] == "circle4"
    page = result_html(outcome)
    assert "<i>two" not in page
    assert "&lt;i&gt;two" in page
    assert "http" not in page


def test_a_loud_recording_is_turned_down_before_it_is_played(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    loud = 30000 * recording / np.abs(recording).max()
    outcome = separate_recording(separator, job_of(write(tmp_path / "loud.wav", loud), separator))
    files = [outcome.mixture.file, *(voice.clip.file for voice in outcome.voices)]
    assert max(np.abs(soundfile.read(file)[0]).max() for file in files) == pytest.approx(0.9)
    told = SpeakersFile.model_validate_json(outcome.findings.read_text())
    mixture, _ = soundfile.read(outcome.mixture.file)
    np.testing.assert_allclose(mixture, 10 ** (told.gain_db / 20) * loud[0], atol=1e-3)


def test_of_a_truncated_file_what_is_there_is_separated_with_a_warning(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    file = write(tmp_path / "cut.wav", recording)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 4])
    outcome = separate_recording(separator, job_of(file, separator))
    assert outcome.duration == pytest.approx(0.75, abs=0.01)
    assert "ends in the middle" in outcome.warnings[0]
    assert "ends in the middle" in result_html(outcome)


@pytest.mark.parametrize("kind", ["example", "room"])
def test_of_scenes_the_truth_is_told(kind: str, separator: Separator, tmp_path: Path) -> None:
    if kind == "example":
        outcome = separate_example(separator, ExampleJob("bundled-easy", 0, tmp_path))
    else:
        setup = default_setup(2, unseen_voices(RATE).speakers)
        array = separator.description.array
        outcome = separate_room(separator, RoomJob(setup, array, tmp_path))
        truths = {round(voice.truth.azimuth, 3) for voice in outcome.voices if voice.truth}
        (cx, cy), places = setup.array, setup.speakers
        assert truths == {
            round(float(np.degrees(np.arctan2(y - cy, x - cx))) % 360, 3) for x, y in places
        }
    mixture = soundfile.read(outcome.mixture.file)[0]
    for voice in outcome.voices:
        truth = voice.truth
        assert truth is not None
        assert voice.azimuth is not None
        assert truth.error == pytest.approx(angular_error(voice.azimuth, truth.azimuth), abs=1e-4)
        true, separated = (soundfile.read(c.file)[0] for c in (truth.target, voice.clip))
        heard = float(si_sdr(separated, true)) - float(si_sdr(mixture, true))
        assert truth.improvement == pytest.approx(heard, abs=0.01), (
            "what is played is what is scored"
        )
    assert len({voice.truth.target.file for voice in outcome.voices if voice.truth}) == 2
    assert outcome.missed == []
    assert outcome.microphones is not None
    audio, _ = soundfile.read(outcome.microphones, dtype="float32")
    assert audio.shape == (round(outcome.duration * RATE), 4)
    assert np.abs(audio).max() <= 0.9 + 1e-6  # as it is played, nothing is clipped
    page = result_html(outcome)
    assert page.count('class="truth ') == 2
    assert page.count('aria-label="True voice ') == 2
    assert page.count("SI-SDR improvement") == 2


def test_of_recordings_no_truth_is_told(
    separator: Separator, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    page = result_html(
        separate_recording(separator, job_of(write(tmp_path / "two.wav", recording), separator))
    )
    assert "True" not in page
    assert "T60" not in page


def test_whoever_is_not_found_is_still_heard(
    separator: Separator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msdet.inference.estimates.PRESENT", 1.1)
    outcome = separate_example(separator, ExampleJob("bundled-easy", 0, tmp_path))
    assert outcome.voices == []
    assert len(outcome.missed) == 2
    assert all(np.abs(soundfile.read(of.target.file)[0]).max() > 0.01 for of in outcome.missed)
    page = result_html(outcome)
    assert page.count("Nobody was found for the speaker at") == 2
    assert page.count('aria-label="True voice at ') == 2


@pytest.mark.parametrize("t60", [0.0, 0.3])
def test_the_t60_that_was_asked_for_stands_beside_the_real_one(
    t60: float, separator: Separator, tmp_path: Path
) -> None:
    setup = default_setup(2, unseen_voices(RATE).speakers).model_copy(update={"t60": t60})
    array = separator.description.array
    outcome = separate_room(separator, RoomJob(setup, array, tmp_path))
    page = result_html(outcome)
    if t60:
        assert outcome.t60 == pytest.approx(t60, rel=0.5)
        assert outcome.t60 != t60
        assert f"T60 {outcome.t60:.2f} s measured, {t60:.2f} s asked for" in page
        assert "Sabine" in page
    else:
        assert "no walls" in page
        assert "Sabine" not in page
